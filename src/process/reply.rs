//! Where an answer is put and waited for: one slot, one writer (whoever holds the right to answer),
//! one reader (whoever waits), inside the allocation of the request itself.
//!
//! ```text
//!   EMPTY ──register──▶ WAITING ──mark──▶ MARKED
//!     │  ▲                 │                 │
//!     │  └── register ─────┴─────────────────┤       (with another waker: to EMPTY and back)
//!     ├──────────────────────────────────────┴──publish──▶ DONE    (wakes the registered waker)
//!     └──abandon (also from the others)──▶ GONE ──publish──▶ DONE    (the publisher drops the value)
//! ```
//! `MARKED` is `WAITING` with word for the publisher that the reader has an edge in the wait-for
//! graph, to be cleared when the answer is there ([`super::edge`]).
//!
//! # Invariants
//! 1. `write` happens before `publish`, once, by the one holder of the right to answer; the value is
//!    read only after `DONE` was seen.
//! 2. The waker field belongs to the reader while the state is `EMPTY`, to the publisher from the
//!    moment its swap returned `WAITING` or `MARKED`. So each waker is dropped or woken by exactly one side.
//! 3. A reader that returned `Pending` from `poll` is woken by `publish`.
//! 4. The value is dropped or taken exactly once: by the reader once it saw `DONE`, by the publisher
//!    if the reader abandoned the slot first.

use std::mem::MaybeUninit;
use std::task::Waker;

use crate::sync::UnsafeCell;
use crate::sync::atomic::{
    AtomicU8, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

const EMPTY: u8 = 0;
const WAITING: u8 = 1;
const DONE: u8 = 2;
const GONE: u8 = 3;
const MARKED: u8 = 4;

/// The state, apart from what type of answer it is about.
pub(crate) struct Mark {
    state: AtomicU8,
    /// The reader's edge, good while `MARKED`.
    edge: AtomicU64,
}

impl Mark {
    /// Leaves word for the publisher that the waiting reader has this edge. `false`: the answer is
    /// here already. Only the one reader calls this, after it registered.
    #[must_use = "`false`: the publisher will clear no edge"]
    pub(crate) fn set(&self, edge: u64) -> bool {
        // Relaxed: published by the exchange.
        self.edge.store(edge, Relaxed);
        // Release: pairs with the Acquire in `publish`, which then clears the edge as it was begun.
        self.state
            .compare_exchange(WAITING, MARKED, Release, Relaxed)
            .is_ok()
    }
}

/// A reader that waits.
pub(crate) struct Waiter {
    /// Its edge in the wait-for graph; 0: none.
    pub(crate) edge: u64,
    pub(crate) waker: Waker,
}

pub(crate) struct ReplySlot<T> {
    mark: Mark,
    waker: UnsafeCell<Option<Waker>>,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: value and waker are each touched by one side at a time (invariants 1 and 2).
unsafe impl<T: Send> Sync for ReplySlot<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for ReplySlot<T> {}

impl<T> ReplySlot<T> {
    pub(crate) fn new() -> Self {
        ReplySlot {
            mark: Mark {
                state: AtomicU8::new(EMPTY),
                edge: AtomicU64::new(0),
            },
            waker: UnsafeCell::new(None),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// Puts the answer in; nobody sees it before [`publish`](Self::publish).
    ///
    /// # Safety
    /// The caller holds the right to answer and has not written yet (invariant 1).
    pub(crate) unsafe fn write(&self, value: T) {
        // SAFETY: no reader before `DONE`, one writer.
        self.value.with_mut(|slot| unsafe { (*slot).write(value) });
    }

    /// Hands the written answer over and returns the reader if it waits, for the caller to clear its
    /// edge and wake it.
    ///
    /// # Safety
    /// `write` was called; this is called once.
    pub(crate) unsafe fn publish(&self) -> Option<Waiter> {
        // Release publishes the value to the Acquire in `is_done`; Acquire takes over the waker that
        // `register` released.
        match self.mark.state.swap(DONE, AcqRel) {
            state @ (WAITING | MARKED) => {
                let edge = match state {
                    // Relaxed: ordered by the swap.
                    MARKED => self.mark.edge.load(Relaxed),
                    _ => 0,
                };
                // SAFETY: invariant 2: the field is the publisher's now.
                let waker = self.waker.with_mut(|waker| unsafe { (*waker).take() });
                waker.map(|waker| Waiter { edge, waker })
            }
            GONE => {
                // SAFETY: written above, and no reader will take it (invariant 4).
                self.value
                    .with_mut(|value| unsafe { (*value).assume_init_drop() });
                None
            }
            _ => None,
        }
    }

    /// The reader gives up. The value, if it is here already, is dropped; a later one will be by its
    /// publisher.
    ///
    /// # Safety
    /// Only the one reader calls this, last and once, and only if it has not taken the value.
    pub(crate) unsafe fn abandon(&self) {
        // Acquire: the value, if it is here. (No Release: the publisher leaves a waker alone that it
        // was not told of.)
        match self.mark.state.swap(GONE, Acquire) {
            // SAFETY: the answer is here and nobody else takes it (invariant 4).
            DONE => drop(unsafe { self.take() }),
            // SAFETY: the publisher's swap comes later and finds GONE, so the field is ours.
            _ => self.waker.with_mut(|waker| unsafe { *waker = None }),
        }
    }

    /// For a reader that registered, to mark.
    pub(crate) fn mark(&self) -> &Mark {
        &self.mark
    }

    /// Whether the answer may be taken.
    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        // Acquire pairs with the Release in `publish`.
        self.mark.state.load(Acquire) == DONE
    }

    /// Asks to be woken by `waker` once the answer is here. `true`: it is here already and the waker
    /// is not kept.
    ///
    /// # Safety
    /// Only the one reader calls this, and not after it took the value.
    pub(crate) unsafe fn register(
        &self,
        waker: impl FnOnce() -> Waker,
        same: impl FnOnce(&Waker) -> bool,
    ) -> bool {
        // Acquire: the value may be taken.
        match self.mark.state.load(Acquire) {
            DONE => return true,
            waiting @ (WAITING | MARKED) => {
                // Takes the field back to change it; fails only if the answer came. Relaxed: the field
                // is as we left it. Acquire on failure: the value may be taken.
                if self
                    .mark
                    .state
                    .compare_exchange(waiting, EMPTY, Relaxed, Acquire)
                    .is_err()
                {
                    return true;
                }
                // SAFETY: state EMPTY, so the field is the reader's (invariant 2).
                self.waker.with_mut(|old| unsafe {
                    if !(*old).as_ref().is_some_and(same) {
                        *old = Some(waker());
                    }
                });
            }
            _empty => {
                // SAFETY: state EMPTY, so the field is the reader's (invariant 2).
                self.waker.with_mut(|old| unsafe { *old = Some(waker()) });
            }
        }
        // Release hands the waker to the Acquire in `publish`. Acquire on failure: the value may be
        // taken.
        if self
            .mark
            .state
            .compare_exchange(EMPTY, WAITING, Release, Acquire)
            .is_err()
        {
            // SAFETY: the publisher saw EMPTY and so never takes the field.
            self.waker.with_mut(|old| unsafe { *old = None });
            return true;
        }
        false
    }

    /// Takes the answer out.
    ///
    /// # Safety
    /// `is_done` (or `register`) said `true`; called once, by the reader or, if there is none any
    /// more, by whoever frees the slot.
    pub(crate) unsafe fn take(&self) -> T {
        // SAFETY: invariant 1.
        self.value
            .with(|slot| unsafe { (*slot).assume_init_read() })
    }
}
