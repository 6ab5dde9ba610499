//! Waiting for many events at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// Counts events down to zero and wakes the thread that waits for them.
pub struct Latch {
    left: AtomicU64,
    open: Mutex<bool>,
    bell: Condvar,
}

impl Latch {
    pub fn new(n: u64) -> Arc<Latch> {
        Arc::new(Latch {
            left: AtomicU64::new(n),
            open: Mutex::new(n == 0),
            bell: Condvar::new(),
        })
    }

    pub fn down(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            *self.open.lock().unwrap() = true;
            self.bell.notify_all();
        }
    }

    /// Takes one unit, unless none is left; whether it did.
    pub fn take(&self) -> bool {
        let any = self.left.load(Ordering::Acquire) > 0;
        if any {
            self.down();
        }
        any
    }

    pub fn wait(&self) {
        let mut open = self.open.lock().unwrap();
        while !*open {
            open = self.bell.wait(open).unwrap();
        }
    }
}

/// Counts a latch down when dropped: a timer that fired or was cancelled.
pub struct Guard(pub Arc<Latch>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.down();
    }
}
