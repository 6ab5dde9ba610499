//! Numbers in objects that are added to. OTP: `ets:update_counter/3` and its `UpdateOp`s.

use std::fmt;

use super::error::TableError;

mod sealed {
    /// What a counter does, out of users' sight.
    pub trait Sealed: Copy {
        fn get(self) -> i128;
        fn of(value: i128) -> Option<Self>;
    }
}
use sealed::Sealed;

/// An integer of up to 64 bits. Sealed.
pub trait Counter: Sealed {}

macro_rules! counters {
    ($($number:ty)*) => {$(
        impl Sealed for $number {
            #[inline]
            fn get(self) -> i128 {
                // No integer of up to 64 bits is too large.
                self as i128
            }
            #[inline]
            fn of(value: i128) -> Option<Self> {
                value.try_into().ok()
            }
        }
        impl Counter for $number {}
        impl From<$number> for Increment {
            fn from(by: $number) -> Self {
                Increment { by: by.get(), threshold: None }
            }
        }
    )*};
}

counters! { i8 i16 i32 i64 isize u8 u16 u32 u64 usize }

/// How a counter is changed: by how much, and what happens beyond a threshold. A plain number is one, too.
/// OTP: `{Pos, Incr, Threshold, SetValue}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Increment {
    by: i128,
    threshold: Option<(i128, i128)>,
}

impl Increment {
    /// Adds `by`, which may be negative, or 0 to read.
    pub fn by(by: impl Counter) -> Self {
        Increment {
            by: by.get(),
            threshold: None,
        }
    }

    /// Sets the counter to `to` if the result would be greater than `threshold`; if a negative number is
    /// added, if it would be less.
    pub fn threshold(mut self, threshold: impl Counter, to: impl Counter) -> Self {
        self.threshold = Some((threshold.get(), to.get()));
        self
    }

    /// What becomes of a counter. Pure: the rule of `ets:update_counter/3`.
    pub(super) fn result(self, counter: i128) -> i128 {
        // Far from the ends of an i128: both are at most 64 bits long.
        let sum = counter + self.by;
        match self.threshold {
            Some((threshold, to)) if self.by >= 0 && sum > threshold => to,
            Some((threshold, to)) if self.by < 0 && sum < threshold => to,
            _ => sum,
        }
    }

    pub(super) fn apply<N: Counter>(self, counter: &mut N) -> Result<N, TableError> {
        let result = N::of(self.result(counter.get())).ok_or(TableError::Overflow)?;
        *counter = result;
        Ok(result)
    }
}

/// A counter in a value and what to add: one of several for
/// [`Table::update_counters`](super::Table::update_counters).
pub struct CounterUpdate<V> {
    apply: Apply<V>,
}

type Apply<V> = Box<dyn Fn(&mut V) -> Result<i128, TableError> + Send>;

impl<V> fmt::Debug for CounterUpdate<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CounterUpdate").finish_non_exhaustive()
    }
}

impl<V> CounterUpdate<V> {
    /// Adds to the counter that `counter` selects.
    pub fn new<N: Counter>(
        counter: impl Fn(&mut V) -> &mut N + Send + 'static,
        by: impl Into<Increment>,
    ) -> Self {
        let by = by.into();
        CounterUpdate {
            apply: Box::new(move |value| by.apply(counter(value)).map(Sealed::get)),
        }
    }

    pub(super) fn apply(&self, value: &mut V) -> Result<i128, TableError> {
        (self.apply)(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_a_limit_in_the_direction_of_the_increment() {
        let up = Increment::by(3).threshold(9, 1);
        assert_eq!((up.result(6), up.result(7)), (9, 1));
        let down = Increment::by(-3).threshold(0, 100);
        assert_eq!((down.result(3), down.result(2)), (0, 100));
        // Going the other way it does not matter (as in OTP 25).
        assert_eq!(down.result(1000), 997);
        assert_eq!(up.result(-1000), -997);
    }

    #[test]
    fn adding_nothing_counts_as_going_up() {
        let nothing = Increment::by(0).threshold(-10, 77);
        assert_eq!((nothing.result(1), nothing.result(-10)), (77, -10));
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let mut counter = 250_u8;
        assert_eq!(Increment::by(5).apply(&mut counter), Ok(255));
        assert_eq!(
            Increment::by(1).apply(&mut counter),
            Err(TableError::Overflow)
        );
        assert_eq!(
            Increment::by(-256).apply(&mut counter),
            Err(TableError::Overflow)
        );
        let far = Increment::by(0).threshold(0, 256);
        assert_eq!(far.apply(&mut counter), Err(TableError::Overflow));
        assert_eq!(counter, 255);
    }

    #[test]
    fn the_ends_of_64_bits_are_reached() {
        let mut counter = u64::MAX;
        let half = (1 << 63) - 1;
        assert_eq!(Increment::by(i64::MIN).apply(&mut counter), Ok(half));
        assert_eq!(
            Increment::by(u64::MAX).apply(&mut counter),
            Err(TableError::Overflow)
        );
        assert_eq!(counter, half);
    }
}
