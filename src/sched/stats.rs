//! Counters of messages: each scheduler thread counts in a line of its own, all others share one.
//!
//! Whenever a system is idle, `sent = handled + aborted + rejected + dropped + undelivered + queued`.

use crate::sync::CachePadded;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Count {
    Sent,
    Handled,
    Aborted,
    Rejected,
    Dropped,
    Undelivered,
    Spawned,
    Exited,
}

const KINDS: usize = 8;

#[derive(Default)]
pub(crate) struct Counters(CachePadded<[AtomicU64; KINDS]>);

impl Counters {
    /// Counts on the thread that owns these counters: no read-modify-write.
    #[inline(always)]
    pub(crate) fn add_own(&self, what: Count, n: u64) {
        let counter = &self.0[what as usize];
        counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Counts on any thread.
    pub(crate) fn add_shared(&self, what: Count, n: u64) {
        self.0[what as usize].fetch_add(n, Relaxed);
    }

    pub(crate) fn get(&self, what: Count) -> u64 {
        self.0[what as usize].load(Relaxed)
    }
}

/// What became of all messages of a system so far, and how many processes there were.
///
/// Whenever the system is idle, `sent` is exactly the sum of the others from `handled` to `queued`.
/// While it runs the figures are a little apart, as they are read one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Messages sent: casts, calls, plain messages, timer messages, `Down`s and trapped exits.
    pub sent: u64,
    /// Messages whose handler ran to its end, or that a process received by itself.
    pub handled: u64,
    /// Messages whose handler panicked, or was running when its process was killed.
    pub aborted: u64,
    /// Messages that a full mailbox gave back to the sender.
    pub rejected: u64,
    /// Messages that a full mailbox dropped.
    pub dropped: u64,
    /// Messages sent to a dead process, or still queued when their process died.
    pub undelivered: u64,
    /// Messages in the mailboxes of live processes, those whose handlers wait, and those that a
    /// supervisor keeps for the next incarnation of a child.
    pub queued: u64,
    /// Processes started.
    pub spawned: u64,
    /// Processes ended.
    pub exited: u64,
    /// How often a sleeping scheduler thread was woken, or woke up by itself. Does not rise while
    /// the system is idle and no timer is due.
    pub wakeups: u64,
}
