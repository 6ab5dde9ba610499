//! The LIFO slot: the process that runs next on this scheduler thread, ahead of its run queue. What
//! a handler wakes last is warm in this core's cache, and a ping-pong never touches the queue.
//!
//! ```text
//!             put (owner)                       put (owner): new in, old out
//!   EMPTY ──────────────────▶ FULL(item) ──────────────────────────────▶ FULL(new)
//!     ▲                          │
//!     └──────────────────────────┘
//!        take (owner) · steal (anyone)
//! ```
//! # Invariants
//! 1. Only the owner makes the slot full. So when the owner reads null it stays null until the
//!    owner itself puts, and `put` into an empty slot is a load and a store, no read-modify-write.
//! 2. Every item put comes out exactly once, through `put`, `take` or `steal`: it leaves only by a
//!    read-modify-write, and of those one at most reads it.
//! 3. What the owner wrote to an item before `put` is seen by whoever gets it.
//!
//! That an item stuck in the slot under a running handler is noticed at all is the business of
//! [`Idle::watch`](super::idle::Idle::watch).

use std::ptr::{self, NonNull};

use crate::sync::atomic::AtomicPtr;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// A place for one item, filled by its owner and emptied by anyone.
///
/// It moves pointers and never follows them; an item still inside when the slot is dropped is
/// simply forgotten.
pub(crate) struct LifoSlot<T> {
    item: AtomicPtr<T>,
}

impl<T> LifoSlot<T> {
    pub(crate) fn new() -> Self {
        LifoSlot {
            item: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Owner only: puts `item` in, and hands out the one it displaces.
    #[inline]
    #[must_use = "the displaced item is the caller's to queue"]
    pub(crate) fn put(&self, item: NonNull<T>) -> Option<NonNull<T>> {
        // Relaxed: a non-null value is the owner's own store, and null stays null (invariant 1).
        if self.item.load(Relaxed).is_null() {
            // Release: publishes the item to the Acquire in `steal`.
            self.item.store(item.as_ptr(), Release);
            return None;
        }
        // Release as above. A thief may have been faster: then there is nothing to hand out.
        NonNull::new(self.item.swap(item.as_ptr(), Release))
    }

    /// Owner only: takes the item out.
    #[inline]
    pub(crate) fn take(&self) -> Option<NonNull<T>> {
        if self.item.load(Relaxed).is_null() {
            return None;
        }
        // Relaxed: what comes out was put by this very thread. Null if a thief was faster.
        NonNull::new(self.item.swap(ptr::null_mut(), Relaxed))
    }

    /// Takes the item out from any thread.
    pub(crate) fn steal(&self) -> Option<NonNull<T>> {
        let mut seen = self.item.load(Relaxed);
        while let Some(item) = NonNull::new(seen) {
            // Acquire: pairs with the Release in `put`. A compare-exchange and no swap, so that a
            // thief writes only where it takes: an empty slot's cache line stays with its owner
            // (and loom, which keeps no total order of a cell's stores, would let the owner read a
            // null swapped over null as newer than its own put).
            match self
                .item
                .compare_exchange_weak(seen, ptr::null_mut(), Acquire, Relaxed)
            {
                Ok(_) => return Some(item),
                Err(now) => seen = now,
            }
        }
        None
    }

    /// Whether a look finds nothing. For a thread about to sleep it is exact after its fence.
    pub(crate) fn is_empty(&self) -> bool {
        self.item.load(Relaxed).is_null()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::thread;

    use super::*;
    use crate::sync::atomic::{AtomicBool, AtomicU64};

    fn boxed(value: u64) -> NonNull<u64> {
        NonNull::from(Box::leak(Box::new(value)))
    }

    fn open(item: NonNull<u64>) -> u64 {
        // SAFETY: made by `boxed`, and invariant 2 hands it to one taker.
        *unsafe { Box::from_raw(item.as_ptr()) }
    }

    #[test]
    fn the_last_item_put_comes_out_and_the_one_before_is_handed_back() {
        let slot = LifoSlot::new();
        assert!(slot.is_empty() && slot.take().is_none() && slot.steal().is_none());
        assert!(slot.put(boxed(1)).is_none());
        assert_eq!(slot.put(boxed(2)).map(open), Some(1));
        assert!(!slot.is_empty());
        assert_eq!(slot.steal().map(open), Some(2));
        assert!(slot.take().is_none());
    }

    #[test]
    fn under_contention_every_item_comes_out_once() {
        const ITEMS: u64 = 20_000;
        let slot = LifoSlot::new();
        let (stolen, done) = (AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Acquire) {
                        if let Some(item) = slot.steal() {
                            stolen.fetch_add(open(item), Relaxed);
                        }
                    }
                });
            }
            let mut kept = 0;
            for value in 1..=ITEMS {
                kept += slot.put(boxed(value)).map_or(0, open);
                if value % 3 == 0 {
                    kept += slot.take().map_or(0, open);
                }
            }
            kept += slot.take().map_or(0, open);
            done.store(true, Release);
            stolen.fetch_add(kept, Relaxed);
        });
        assert!(slot.is_empty());
        assert_eq!(stolen.into_inner(), ITEMS * (ITEMS + 1) / 2);
    }
}
