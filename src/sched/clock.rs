//! The time of a system: nanoseconds since it was built, from the machine's monotonic clock or from
//! a virtual one that only its driver moves.

use std::time::{Duration, Instant};

use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub(crate) const MS: u64 = 1_000_000;

#[derive(Debug)]
pub(crate) enum Clock {
    Real(Instant),
    Virtual(AtomicU64),
}

impl Clock {
    pub(crate) fn real() -> Self {
        Clock::Real(Instant::now())
    }

    pub(crate) fn virtual_() -> Self {
        Clock::Virtual(AtomicU64::new(0))
    }

    pub(crate) fn is_virtual(&self) -> bool {
        matches!(self, Clock::Virtual(_))
    }

    pub(crate) fn now(&self) -> u64 {
        match self {
            Clock::Real(start) => u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX),
            // Relaxed: a virtual clock is read and moved by the driver's thread; others only peek.
            Clock::Virtual(now) => now.load(Relaxed),
        }
    }

    /// The tick of the timer wheel that has begun.
    pub(crate) fn tick(&self) -> u64 {
        self.now() / MS
    }

    /// Moves a virtual clock on to `to`; a real one moves by itself.
    pub(crate) fn advance_to(&self, to: u64) {
        if let Clock::Virtual(now) = self {
            if now.load(Relaxed) < to {
                now.store(to, Relaxed);
            }
        }
    }
}

/// The time `after` from `now`, or the end of time.
pub(crate) fn later(now: u64, after: Duration) -> u64 {
    now.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX))
}

/// The first tick of the wheel that is not before `at`: timers never fire early.
pub(crate) fn tick_at(at: u64) -> u64 {
    at.div_ceil(MS)
}

/// A reading of the processor's cycle counter, good for nothing but to tell that a cached time is
/// still fresh; `None` where there is none.
#[inline(always)]
pub(crate) fn cycles() -> Option<u64> {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        // SAFETY: every x86-64 processor has the instruction.
        Some(unsafe { std::arch::x86_64::_rdtsc() })
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    None
}
