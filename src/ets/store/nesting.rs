//! What excludes that tables deadlock: on each thread, locks of tables are taken in one order, that in
//! which the tables were made.
//!
//! Users' code runs under a table's lock: the closures of an operation, and `Hash`, `Eq`, `Ord` and
//! `Clone` of its keys and values. Such code may use another table. Two threads that hold a lock each
//! and want the other's would wait forever; so a thread remembers the latest-made table it holds locks
//! of, and an operation on a table not made after that one is refused. As every thread obeys, whoever
//! waits for a lock holds only those of earlier tables, and there is no circle. The same rule refuses
//! an operation on the table itself.

use std::cell::Cell;
use std::marker::PhantomData;

use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::Relaxed;

thread_local! {
    /// The number of the latest-made table that this thread holds locks of, or 0.
    static LATEST: Cell<u64> = const { Cell::new(0) };
}

static MADE: AtomicU64 = AtomicU64::new(0);

/// An operation on a table from under a lock of the same table, or of one made later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nested;

/// Which table this is, in the order in which they are made: in all systems together, as a thread can
/// serve several.
#[derive(Debug)]
pub(crate) struct Rank(u64);

impl Rank {
    /// That of a table made now.
    pub(crate) fn next() -> Self {
        Rank(1 + MADE.fetch_add(1, Relaxed))
    }

    /// To be held around the locks of the table.
    #[inline]
    pub(crate) fn enter(&self) -> Result<Within, Nested> {
        let before = LATEST.get();
        if before >= self.0 {
            return Err(Nested);
        }
        LATEST.set(self.0);
        Ok(Within {
            before,
            of_this_thread: PhantomData,
        })
    }
}

/// This thread is about to hold, or holds, locks of a table. Dropped in the reverse order of being
/// made, as a local variable is.
#[must_use = "it says how long the locks are held"]
pub(crate) struct Within {
    before: u64,
    of_this_thread: PhantomData<*const ()>,
}

impl Drop for Within {
    #[inline]
    fn drop(&mut self) {
        LATEST.set(self.before);
    }
}

/// Whether this thread is at some table.
#[cfg(test)]
pub(super) fn is_within() -> bool {
    LATEST.get() != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_refused_under_its_own_lock_and_under_that_of_a_later_one() {
        let (early, late) = (Rank::next(), Rank::next());
        let within = late.enter();
        assert!(within.is_ok());
        assert_eq!(late.enter().err(), Some(Nested));
        assert_eq!(early.enter().err(), Some(Nested));
    }

    #[test]
    fn a_later_table_is_let_in_and_counts_until_it_is_left() {
        let ranks = [Rank::next(), Rank::next(), Rank::next()];
        let first = ranks[0].enter();
        {
            let third = ranks[2].enter();
            assert!(third.is_ok());
            assert!(ranks[1].enter().is_err());
        }
        assert!(ranks[1].enter().is_ok());
        assert!(ranks[0].enter().is_err());
        drop(first);
        assert!(ranks[0].enter().is_ok());
    }

    #[test]
    fn it_is_left_by_a_panic_too() {
        let rank = Rank::next();
        let panicked = std::panic::catch_unwind(|| {
            let _within = rank.enter();
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(panicked.is_err());
        assert!(rank.enter().is_ok());
    }

    #[test]
    fn another_thread_is_not_concerned() {
        let rank = Rank::next();
        let _within = rank.enter();
        std::thread::scope(|scope| {
            let other = scope.spawn(|| rank.enter().is_ok());
            assert!(other.join().is_ok_and(|entered| entered));
        });
    }
}
