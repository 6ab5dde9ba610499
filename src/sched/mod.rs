//! When a process runs, and on which thread.
//!
//! Each scheduler thread has a queue for each priority and a slot for the process that was queued
//! last (it is likely to find its message in the cache). It runs the high queue, then the slot (at
//! most 64 times in a row), then the normal queue, then the low one; now and then, for fairness, it
//! looks at the injector, the low queue and the timers first. With nothing of its own it takes half
//! of another thread's queue; with nothing anywhere it sleeps ([`idle`] has the protocol).
//!
//! ```text
//!   a send on this thread ──▶ slot ──pushed out──▶ own queue ◀──half── thieves
//!   a send from elsewhere ──▶ injector ──batch──▶ own queue
//!   a turn that used up its budget ──▶ end of own queue
//! ```

#[cfg(not(all(test, loom)))]
pub(crate) mod attached;
#[cfg(not(all(test, loom)))]
pub(crate) mod blocking;
#[cfg(not(all(test, loom)))]
pub(crate) mod clock;
#[cfg(not(all(test, loom)))]
pub(crate) mod core;
pub(crate) mod idle;
#[cfg(not(all(test, loom)))]
pub(crate) mod log;
#[cfg(not(all(test, loom)))]
pub(crate) mod manual;
pub(crate) mod ready;
#[cfg(not(all(test, loom)))]
pub(crate) mod recycle;
#[cfg(not(all(test, loom)))]
pub(crate) mod rng;
pub(crate) mod slot;
#[cfg(not(all(test, loom)))]
pub(crate) mod stats;
#[cfg(not(all(test, loom)))]
pub(crate) mod threads;
#[cfg_attr(all(test, loom), allow(dead_code, unreachable_pub))]
pub(crate) mod timer_ref;
#[cfg(not(all(test, loom)))]
pub(crate) mod timers;
pub(crate) mod watch;
#[cfg(not(all(test, loom)))]
pub(crate) mod watchdog;
#[cfg(not(all(test, loom)))]
pub(crate) mod wheel;
#[cfg(not(all(test, loom)))]
pub(crate) mod worker;

#[cfg(not(all(test, loom)))]
mod entry {
    use super::core::Core;
    use super::stats::Count;
    use super::worker::worker_of;
    use crate::process::cell::Cell;

    /// Queues a process; the caller got the right to from the process's mailbox.
    #[inline(always)]
    pub(crate) fn schedule(cell: &Cell) {
        match worker_of(&cell.core) {
            Some(worker) => worker.push(cell),
            None => cell.core.inject(cell),
        }
    }

    /// Counts one event of `core`'s.
    #[inline(always)]
    pub(crate) fn count(core: &Core, what: Count) {
        core.count(what, 1);
    }
}
#[cfg(not(all(test, loom)))]
pub(crate) use entry::{count, schedule};
