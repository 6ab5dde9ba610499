//! What a selective receive has taken out of the mailbox and passed over, as far as others than its
//! [`Inbox`](crate::Inbox), which has the messages, must know it: they are queued all the same, and a
//! notice among them may be taken back.
//!
//! Shared by the inbox and its process, as neither is sure to outlive the other: an inbox may be moved out
//! of its process and dropped elsewhere, at any time.
//!
//! # Invariants
//! 1. As long as the inbox lives there is one entry here for each message in it, in the same order; it adds
//!    and removes both, in its process's turn. When it is dropped, [`close`](PassedOver::close) takes all
//!    at once.
//! 2. Whoever takes an entry out accounts for its message, unless it is `Flushed`: whoever flushed it has
//!    done so. So each is accounted for once.

use std::collections::VecDeque;

use super::pid::{MonitorRef, Pid};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A message that was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    Message,
    Down(MonitorRef),
    Exit(Option<Pid>),
    /// Taken back, and counted as handled: not to be received any more.
    Flushed,
}

#[derive(Default)]
pub(crate) struct PassedOver {
    /// Oldest first.
    entries: Mutex<VecDeque<Passed>>,
    /// How many of them are `Flushed`: what a receive looks at, which may have to pass by many. Changed
    /// and looked at in the process's turn.
    flushed: AtomicUsize,
}

impl PassedOver {
    pub(crate) fn push(&self, passed: Passed) {
        self.entries.lock().push_back(passed);
    }

    /// Removes the entry of a message that is taken.
    pub(crate) fn remove(&self, at: usize) {
        self.entries.lock().remove(at);
    }

    /// Removes an entry if it was taken back.
    pub(crate) fn remove_flushed(&self, at: usize) -> bool {
        if self.flushed.load(Relaxed) == 0 {
            return false;
        }
        let mut entries = self.entries.lock();
        if entries.get(at) != Some(&Passed::Flushed) {
            return false;
        }
        entries.remove(at);
        self.flushed.fetch_sub(1, Relaxed);
        true
    }

    /// Takes back the first that is this one. `false`: there is none.
    #[must_use = "`true`: the caller accounts for it"]
    pub(crate) fn flush(&self, what: Passed) -> bool {
        let mut entries = self.entries.lock();
        let Some(passed) = entries.iter_mut().find(|passed| **passed == what) else {
            return false;
        };
        *passed = Passed::Flushed;
        self.flushed.fetch_add(1, Relaxed);
        true
    }

    /// How many are queued.
    pub(crate) fn len(&self) -> usize {
        let entries = self.entries.lock();
        entries.iter().filter(|it| **it != Passed::Flushed).count()
    }

    /// The inbox is dropped: all entries, oldest first. None can be taken back any more.
    pub(crate) fn close(&self) -> VecDeque<Passed> {
        std::mem::take(&mut *self.entries.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN: Passed = Passed::Down(MonitorRef(1));

    fn passed() -> PassedOver {
        let passed = PassedOver::default();
        for entry in [Passed::Message, DOWN, Passed::Exit(None), DOWN] {
            passed.push(entry);
        }
        passed
    }

    #[test]
    fn what_is_taken_back_is_not_queued_and_goes_when_it_is_come_to() {
        let passed = passed();
        assert!(passed.flush(DOWN));
        assert_eq!(passed.len(), 3);
        assert!(!passed.remove_flushed(0));
        assert!(passed.remove_flushed(1));
        assert!(!passed.remove_flushed(1));
        passed.remove(1);
        assert!(passed.flush(DOWN) && !passed.flush(DOWN));
        assert_eq!((passed.len(), passed.close().len()), (1, 2));
    }

    #[test]
    fn what_is_dropped_cannot_be_taken_back() {
        let passed = passed();
        assert!(passed.flush(Passed::Exit(None)));
        let left = passed.close();
        assert_eq!(left, [Passed::Message, DOWN, Passed::Flushed, DOWN]);
        assert!(!passed.flush(DOWN));
        assert_eq!(passed.len(), 0);
    }
}
