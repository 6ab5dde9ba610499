//! The one door to shared memory: every atomic, lock and queue of noex is named here and nowhere
//! else. Under `cfg(all(test, loom))` the atomics and cells are loom's, so that the models in
//! `loom-tests/` explore the very code that ships.
//!
//! Only the lock-free cores (`process::mailbox`, `process::reply`, `process::table`, `sched::idle`,
//! `sched::slot`) are compiled under loom; the rest of the crate stands on them and is tested on
//! real threads.

/// Std's, under loom too: they order nothing that a model is about.
pub(crate) use std::sync::{Arc, Once};

#[cfg(all(test, loom))]
pub(crate) use loom::cell::UnsafeCell;
#[cfg(all(test, loom))]
pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::*;
}

#[cfg(not(all(test, loom)))]
pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::*;
}
#[cfg(not(all(test, loom)))]
pub(crate) use plain::UnsafeCell;

#[cfg(not(all(test, loom)))]
mod plain {
    /// `std::cell::UnsafeCell` with the interface of loom's, which checks each access in a model.
    #[derive(Debug)]
    #[repr(transparent)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            UnsafeCell(std::cell::UnsafeCell::new(value))
        }

        /// Calls `read` with a pointer for reading.
        #[inline(always)]
        pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
            read(self.0.get())
        }

        /// Calls `write` with a pointer for writing.
        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
            write(self.0.get())
        }
    }
}
