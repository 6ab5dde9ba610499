//! Values of users, kept by a process of noex's own.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

use super::drop_quietly;

/// A value whose `Drop` is not ours: should it panic nothing comes of it, wherever it is dropped. So
/// any number of them can lie in one collection, whose drop would else end the program at the second
/// panic.
pub(crate) struct Quiet<T>(ManuallyDrop<T>);

impl<T> Quiet<T> {
    pub(crate) fn new(value: T) -> Self {
        Quiet(ManuallyDrop::new(value))
    }
}

impl<T> Drop for Quiet<T> {
    fn drop(&mut self) {
        // SAFETY: it is taken here alone, and nobody reaches what is being dropped afterwards.
        let value = unsafe { ManuallyDrop::take(&mut self.0) };
        let _ = drop_quietly(value);
    }
}

impl<T> Deref for Quiet<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Quiet<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Clone> Clone for Quiet<T> {
    fn clone(&self) -> Self {
        Quiet::new(T::clone(self))
    }
}

impl<T: fmt::Debug> fmt::Debug for Quiet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

impl<T> From<T> for Quiet<T> {
    fn from(value: T) -> Self {
        Quiet::new(value)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use super::*;

    #[test]
    fn many_that_panic_when_dropped_are_all_dropped() {
        static DROPPED: AtomicU32 = AtomicU32::new(0);
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                DROPPED.fetch_add(1, SeqCst);
                panic!("as told");
            }
        }
        drop([(); 5].map(|()| Quiet::new(Bomb)));
        assert_eq!(DROPPED.load(SeqCst), 5);
    }

    #[test]
    fn it_is_as_large_as_what_is_in_it() {
        assert_eq!(size_of::<Option<Quiet<Box<u8>>>>(), size_of::<Box<u8>>());
    }
}
