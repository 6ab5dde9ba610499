//! How long a child waits for its restart, and who waits with it: values and pure functions.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use super::children::Key;
use crate::process::context::ProcessContext;
use crate::sched::rng::Rng;
use crate::sched::timers::TimerRef;

/// How long a child that ended waits before it is started again: longer from failure to failure. (OTP
/// restarts at once.)
///
/// | failure in a row | waits, with [`exponential`](Self::exponential)`(1 s)` and no jitter |
/// |---|---|
/// | 1st | 1 s |
/// | 2nd | 2 s |
/// | 3rd | 4 s |
/// | nth | 2ⁿ⁻¹ s, at most the [`cap`](Self::cap) |
///
/// A failure is an end that is restarted, or an attempt to start that fails. Failures are in a row
/// unless the child ran for the time of [`reset_after`](Self::reset_after) in between, or was
/// terminated by request.
///
/// The wait begins when the supervisor learns of the failure; those that are restarted together are
/// stopped first and wait together. Nobody who waits counts as running ([`ChildStatus::Waiting`](super::ChildStatus::Waiting)). Each restart counts
/// against the intensity, and does so when it is decided on, not when the wait is over. On a manual
/// system jitter depends on the system's seed alone.
///
/// ```
/// use std::time::Duration;
/// use noex::prelude::*;
/// use noex::Backoff;
///
/// let backoff = Backoff::exponential(Duration::from_millis(100))
///     .factor(3)
///     .cap(Duration::from_secs(10))
///     .jitter(0.5);
/// let child = ChildSpec::worker("uplink", |starter| async move {
///     starter.spawn_link(|mut inbox: noex::Inbox<()>| async move { inbox.recv().await; })
/// })
/// .backoff(backoff);
/// # let _ = child;
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    first: Duration,
    factor: u32,
    cap: Duration,
    jitter: f64,
    reset_after: Option<Duration>,
}

impl Backoff {
    /// No wait at all; for a child whose supervisor has a backoff for all.
    pub const NONE: Backoff = Backoff::exponential(Duration::ZERO);

    /// Waits `first` after the first failure, and twice as long after each further one, with the
    /// defaults that each method names.
    pub const fn exponential(first: Duration) -> Self {
        Backoff {
            first,
            factor: 2,
            cap: Duration::from_secs(60),
            jitter: 0.2,
            reset_after: None,
        }
    }

    /// How many times as long the next wait is; 1: all are of the same length. 0 counts as 1. Default:
    /// 2.
    pub const fn factor(mut self, factor: u32) -> Self {
        self.factor = factor;
        self
    }

    /// The longest wait; also of the first. Default: 60 s.
    pub const fn cap(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// Which part of a wait is left to chance, from 0.0 to 1.0: with 0.2 a wait of 10 s takes anything
    /// from 8 to 10 s. So children that ended together do not start together. What is not in that
    /// range counts as its nearer end, what is not a number as 0. Default: 0.2.
    pub const fn jitter(mut self, part: f64) -> Self {
        self.jitter = part;
        self
    }

    /// How long a child must have run, from the end of its start to its own end, for its next failure
    /// to count as the first again. Default: as long as the cap.
    pub const fn reset_after(mut self, time: Duration) -> Self {
        self.reset_after = Some(time);
        self
    }

    /// The number of this failure in its row. `ran`: how long the child had run; `None`: it did not
    /// start.
    pub(crate) fn number(self, earlier: u32, ran: Option<Duration>) -> u32 {
        match ran {
            Some(ran) if ran >= self.reset_after.unwrap_or(self.cap) => 1,
            _ => earlier.saturating_add(1),
        }
    }

    /// How long to wait after that failure in a row, counted from 1.
    pub(crate) fn delay(self, failure: u32, rng: &mut Rng) -> Duration {
        let mut delay = self.first;
        if self.factor > 1 {
            for _ in 1..failure {
                if delay >= self.cap || delay.is_zero() {
                    break;
                }
                delay = delay.saturating_mul(self.factor);
            }
        }
        let delay = delay.min(self.cap);
        if delay.is_zero() {
            return delay;
        }
        let part = if self.jitter.is_nan() {
            0.0
        } else {
            self.jitter.clamp(0.0, 1.0)
        };
        // 53 bits: as many as a float has.
        let chance = rng.below(1 << 53) as f64 / (1_u64 << 53) as f64;
        delay.saturating_sub(delay.mul_f64(part * chance))
    }
}

/// Where the chance in the backoffs of a supervisor comes from: the same for the same seed on a manual
/// system, so that a run can be repeated.
pub(crate) fn chance(cx: &ProcessContext) -> Rng {
    let core = cx.core();
    let pid = u64::from(cx.pid().id()) << 32 | u64::from(cx.pid().serial());
    let seed = match core.settings.seed {
        Some(seed) => seed,
        None if core.manual.is_some() => 0,
        None => RandomState::new().hash_one(pid),
    };
    Rng::new(seed ^ pid.rotate_left(17))
}

/// Children that wait to be started again, together.
#[derive(Debug)]
pub(crate) struct Wait {
    /// For whose failures they wait, and until when for each.
    pub(crate) causes: Vec<(Key, Duration)>,
    /// All who wait, in start order.
    pub(crate) members: Vec<Key>,
    /// Rings when the wait is over; `None`: it has rung.
    pub(crate) timer: Option<TimerRef>,
}

/// Until when one waits for those; `None`: there is nothing to wait for.
pub(crate) fn until(causes: &[(Key, Duration)]) -> Option<Duration> {
    causes.iter().map(|(_, until)| *until).max()
}

/// What it means to a wait that a child no longer takes part in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Nobody waits any more.
    Nobody,
    /// Nothing is left to wait for: the others are started now.
    Due,
    /// The others wait, until then.
    Until(Duration),
}

impl Wait {
    /// Takes a child out that was terminated: the others do not wait for it any more.
    pub(crate) fn leave(&mut self, key: Key) -> Left {
        self.members.retain(|member| *member != key);
        self.causes.retain(|(cause, _)| *cause != key);
        if self.members.is_empty() {
            return Left::Nobody;
        }
        until(&self.causes).map_or(Left::Due, Left::Until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn steady(first: Duration) -> Backoff {
        Backoff::exponential(first).jitter(0.0)
    }

    fn delays(backoff: Backoff, failures: u32) -> Vec<Duration> {
        let mut rng = Rng::new(1);
        (1..=failures).map(|n| backoff.delay(n, &mut rng)).collect()
    }

    #[test]
    fn each_wait_is_a_multiple_of_the_one_before_up_to_the_cap() {
        let backoff = steady(SECOND).factor(3).cap(20 * SECOND);
        assert_eq!(
            delays(backoff, 5),
            [SECOND, 3 * SECOND, 9 * SECOND, 20 * SECOND, 20 * SECOND]
        );
    }

    #[test]
    fn with_factor_one_or_zero_all_waits_are_the_same() {
        for factor in [0, 1] {
            assert_eq!(delays(steady(SECOND).factor(factor), 3), [SECOND; 3]);
        }
    }

    #[test]
    fn the_cap_holds_for_the_first_wait_too() {
        assert_eq!(delays(steady(10 * SECOND).cap(SECOND), 2), [SECOND; 2]);
        assert_eq!(
            delays(steady(SECOND).cap(Duration::ZERO), 1),
            [Duration::ZERO]
        );
    }

    #[test]
    fn the_longest_row_of_failures_neither_overflows_nor_takes_time() {
        let mut rng = Rng::new(1);
        let backoff = steady(SECOND).cap(Duration::MAX);
        assert_eq!(backoff.delay(u32::MAX, &mut rng), Duration::MAX);
        assert_eq!(Backoff::NONE.delay(u32::MAX, &mut rng), Duration::ZERO);
        let wild = Backoff::exponential(Duration::MAX)
            .cap(Duration::MAX)
            .jitter(1.0);
        assert!(wild.delay(7, &mut rng) <= Duration::MAX);
    }

    #[test]
    fn jitter_takes_off_at_most_its_part_and_spreads_over_it() {
        let mut rng = Rng::new(7);
        let backoff = Backoff::exponential(10 * SECOND).jitter(0.5);
        let all: Vec<_> = (0..1000).map(|_| backoff.delay(1, &mut rng)).collect();
        assert!(all.iter().all(|d| (5 * SECOND..=10 * SECOND).contains(d)));
        assert!(all.iter().any(|d| *d < 6 * SECOND) && all.iter().any(|d| *d > 9 * SECOND));
    }

    #[test]
    fn jitter_outside_its_range_counts_as_its_nearer_end() {
        let mut rng = Rng::new(7);
        for jitter in [-1.0, f64::NAN, f64::NEG_INFINITY] {
            assert_eq!(steady(SECOND).jitter(jitter).delay(1, &mut rng), SECOND);
        }
        for jitter in [2.0, f64::INFINITY] {
            let delay = steady(SECOND).jitter(jitter).delay(1, &mut rng);
            assert!(delay <= SECOND, "{delay:?}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_waits() {
        let backoff = Backoff::exponential(SECOND);
        assert_eq!(delays(backoff, 9), delays(backoff, 9));
    }

    #[test]
    fn a_failure_after_a_long_enough_run_is_the_first_again() {
        let backoff = steady(SECOND).cap(8 * SECOND);
        let just_short = 8 * SECOND - Duration::from_nanos(1);
        assert_eq!(backoff.number(3, Some(just_short)), 4);
        assert_eq!(backoff.number(3, Some(8 * SECOND)), 1);
        assert_eq!(backoff.number(3, None), 4, "one that did not start");
        assert_eq!(backoff.reset_after(SECOND).number(3, Some(SECOND)), 1);
        assert_eq!(backoff.number(u32::MAX, None), u32::MAX);
    }

    #[test]
    fn who_leaves_a_wait_is_no_longer_waited_for() {
        let mut wait = Wait {
            causes: vec![(2, 3 * SECOND), (3, 5 * SECOND)],
            members: vec![1, 2, 3],
            timer: None,
        };
        assert_eq!(until(&wait.causes), Some(5 * SECOND));
        assert_eq!(wait.leave(3), Left::Until(3 * SECOND));
        assert_eq!(wait.leave(2), Left::Due);
        assert_eq!(wait.members, [1]);
        assert_eq!(wait.leave(1), Left::Nobody);
    }
}
