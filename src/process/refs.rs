//! How many hold an allocation together, and who frees it. Processes' cells, questions and the
//! system's core are counted this way.
//!
//! # Invariants
//! 1. The number is the number of holds, each owned by one holder, who gives it back once. A hold is
//!    made from a hold: never from none.
//! 2. Exactly one `give_back` says that it was the last, and all that any holder did to the
//!    allocation before it gave its hold back happens before that.

use crate::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

pub(crate) struct Refs(AtomicU64);

impl Refs {
    pub(crate) fn new(holds: u64) -> Self {
        Refs(AtomicU64::new(holds))
    }

    /// Makes more holds. The caller has one.
    #[inline(always)]
    pub(crate) fn add(&self, holds: u64) {
        // Relaxed: whoever gets the new hold gets it from the caller, who had one all the time.
        self.0.fetch_add(holds, Relaxed);
    }

    /// How many there are, at some moment during the call. What those did who had given theirs back
    /// happened before.
    pub(crate) fn get(&self) -> u64 {
        // Acquire: pairs with the Release in `give_back`.
        self.0.load(Acquire)
    }

    /// Ends `holds` of the caller's holds. `true`: those were the last; the caller must free.
    #[inline(always)]
    #[must_use = "`true` leaves it to the caller to free what is counted"]
    pub(crate) fn give_back(&self, holds: u64) -> bool {
        // Release: what we did comes before the free, by the Acquire below, whoever runs that.
        if self.0.fetch_sub(holds, Release) != holds {
            return false;
        }
        // Acquire: reads the end of the chain of all subtractions, so all that others did comes
        // before the free. A load and no fence, which ThreadSanitizer does not understand.
        self.0.load(Acquire);
        true
    }

    /// As `give_back(1)`, for an allocation that is mostly given back by its only holder: that one
    /// needs no read-modify-write, as nobody else can make a hold from none.
    #[inline(always)]
    #[must_use = "`true` leaves it to the caller to free what is counted"]
    pub(crate) fn give_back_last(&self) -> bool {
        // Acquire: pairs with the Release of all who gave back before (invariant 2).
        self.0.load(Acquire) == 1 || self.give_back(1)
    }
}
