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
pub(crate) use modelled::{Condvar, Mutex, MutexGuard, fence_that_loom_needs, relax, zeroed_slice};
#[cfg(all(test, loom))]
pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::*;
}

#[cfg(not(all(test, loom)))]
pub(crate) use crossbeam_deque::{Injector, Steal, Stealer, Worker as Deque};
#[cfg(not(all(test, loom)))]
pub(crate) use parking_lot::{
    Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
#[cfg(not(all(test, loom)))]
pub(crate) use plain::{UnsafeCell, fence_that_loom_needs, relax, zeroed_slice};
#[cfg(not(all(test, loom)))]
pub(crate) use std::sync::OnceLock;
#[cfg(not(all(test, loom)))]
pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::*;
}
#[cfg(not(all(test, loom)))]
pub(crate) mod channel {
    pub(crate) use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
}

/// On cache lines of its own (two, as processors fetch them in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct CachePadded<T>(pub(crate) T);

impl<T> std::ops::Deref for CachePadded<T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

#[cfg(not(all(test, loom)))]
mod plain {
    use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
    use std::ptr;

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

    /// Nothing: sequentially consistent accesses are enough. Loom takes them for weaker ones.
    #[inline(always)]
    pub(crate) fn fence_that_loom_needs() {}

    /// Passes a moment in which another thread does what this one waits for.
    pub(crate) fn relax(rounds: &mut u32) {
        *rounds += 1;
        // Longer than that it takes only if the other thread does not run.
        if *rounds < 64 {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }

    /// `len` values of all-zero bytes. A large slice comes from the system as untouched pages, so
    /// it costs memory only where it is written. Here because loom's atomics are not all zero.
    ///
    /// # Safety
    /// All-zero bytes are a valid `T`: the value that `zero` gives, which a loom model calls. Neither
    /// `len` nor the size of `T` is 0.
    pub(crate) unsafe fn zeroed_slice<T>(len: usize, _zero: impl Fn() -> T) -> Box<[T]> {
        let layout = Layout::array::<T>(len).expect("a slice of at most isize::MAX bytes");
        // SAFETY: the layout is not of size 0, as the caller says.
        let start = unsafe { alloc_zeroed(layout) };
        if start.is_null() {
            handle_alloc_error(layout);
        }
        // SAFETY: the global allocator gave it for the layout of `[T; len]`, as a box's memory is;
        // the caller says that the zeros in it are values.
        unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(start.cast(), len)) }
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

    pub(crate) fn fence_that_loom_needs() {
        loom::sync::atomic::fence(loom::sync::atomic::Ordering::SeqCst);
    }

    pub(crate) fn relax(_rounds: &mut u32) {
        loom::thread::yield_now();
    }

    /// As the plain one, value by value.
    ///
    /// # Safety
    /// None; the plain one has duties.
    pub(crate) unsafe fn zeroed_slice<T>(len: usize, zero: impl Fn() -> T) -> Box<[T]> {
        (0..len).map(|_| zero()).collect()
    }
}
