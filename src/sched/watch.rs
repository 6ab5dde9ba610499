//! Where the watchdog waits, and how it knows that it may sleep for good.
//!
//! # Invariant
//! While a scheduler thread is awake the watchdog does not sleep for good: a thread says that it is
//! awake and then looks whether the watchdog sleeps; the watchdog says that it sleeps and then looks
//! whether a thread is awake; a full fence stands between on both sides. So one of them sees the other.

use std::time::Duration;

use crate::sync::atomic::{
    AtomicBool,
    Ordering::{Relaxed, SeqCst},
    fence,
};
use crate::sync::{Condvar, Mutex};

pub(crate) struct Watch {
    parked: AtomicBool,
    lock: Mutex<()>,
    bell: Condvar,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Watch {
            parked: AtomicBool::new(false),
            lock: Mutex::new(()),
            bell: Condvar::new(),
        }
    }

    /// Wakes the watchdog if it sleeps. Called by a scheduler thread that has just said it is awake.
    pub(crate) fn stir(&self) {
        // Pairs with the fence in `pause`.
        fence(SeqCst);
        if self.parked.load(Relaxed) {
            self.ring();
        }
    }

    /// Ends the watchdog's pause, whatever it waits for.
    pub(crate) fn ring(&self) {
        let _lock = self.lock.lock();
        // Relaxed: the watchdog reads it under the lock.
        self.parked.store(false, Relaxed);
        self.bell.notify_one();
    }

    /// The watchdog's pause: until somebody rings, but no longer than `look` if `awake` says that a
    /// thread does not sleep. `awake` must read what a thread writes before it calls
    /// [`stir`](Self::stir) or [`ring`](Self::ring).
    pub(crate) fn pause(&self, look: Duration, awake: impl FnOnce() -> bool) {
        let mut lock = self.lock.lock();
        self.parked.store(true, Relaxed);
        // Pairs with the fence in `stir`.
        fence(SeqCst);
        if awake() {
            self.parked.store(false, Relaxed);
            self.bell.wait_for(&mut lock, look);
            return;
        }
        while self.parked.load(Relaxed) {
            self.bell.wait(&mut lock);
        }
    }
}
