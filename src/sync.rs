//! The one door to shared memory: every atomic, lock and queue of noex is named here and nowhere
//! else. Under `cfg(all(test, loom))` the atomics and cells are loom's, so that the models in
//! `loom-tests/` explore the very code that ships.
//!
//! Only the lock-free cores (`process::mailbox`, `process::reply`, `process::table`, `sched::idle`,
//! `sched::slot`) are compiled under loom; the rest of the crate stands on them and is tested on
//! real threads.

#[cfg(all(test, loom))]
pub(crate) use loom::cell::UnsafeCell;
#[cfg(all(test, loom))]
pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::*;
}

#[cfg(all(test, loom))]
pub(crate) use modelled::{Condvar, Mutex, MutexGuard};

#[cfg(not(all(test, loom)))]
pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::*;
}
#[cfg(not(all(test, loom)))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
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

/// Loom's lock and condition variable with the interface of parking_lot's, as far as it is used.
#[cfg(all(test, loom))]
mod modelled {
    use std::ops::{Deref, DerefMut};
    use std::time::Duration;

    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);
    /// Holds a guard always; the `Option` only lets `Condvar::wait` move it out and back.
    pub(crate) struct MutexGuard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);
    pub(crate) struct Condvar(loom::sync::Condvar);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Mutex(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(Some(self.0.lock().unwrap()))
        }
    }

    impl Condvar {
        pub(crate) fn new() -> Self {
            Condvar(loom::sync::Condvar::new())
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            let inner = guard.0.take().unwrap();
            guard.0 = Some(self.0.wait(inner).unwrap());
        }

        /// Untimed: a model lets a timeout pass by moving its own clock and then notifying, so a
        /// wake-up that only a timeout would repair is a deadlock here, which loom reports.
        pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _timeout: Duration) {
            self.wait(guard);
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;
        fn deref(&self) -> &T {
            self.0.as_ref().unwrap()
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().unwrap()
        }
    }
}
