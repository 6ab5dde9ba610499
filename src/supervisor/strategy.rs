//! What a supervisor decides, apart from what it does: whether a child that ended is restarted, who
//! is restarted with it, whether that is one restart too many, and which of its jobs may run at once.
//! Pure functions and values, tested without a process.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use super::spec::Restart;
use crate::exit::ExitReason;
use crate::sync::Arc;

/// Who is restarted when a child is. OTP: the restart strategies of `supervisor`, but for
/// `simple_one_for_one`, which is none.
///
/// A group is stopped in reverse start order, each child as its [`Shutdown`](super::Shutdown) says, and
/// started again in start order. Children of it that had no process (terminated, ignored, or ended and
/// not restarted) are started too; temporary ones are forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Strategy {
    /// That child alone. OTP: `one_for_one`.
    OneForOne,
    /// All children. OTP: `one_for_all`.
    OneForAll,
    /// That child and those started after it. OTP: `rest_for_one`.
    RestForOne,
}

impl Strategy {
    /// The children that are restarted because `failed` is, in start order. `children` are all of
    /// them, in start order.
    pub(crate) fn group<K: Copy + PartialEq>(
        self,
        failed: K,
        children: impl IntoIterator<Item = K>,
    ) -> Vec<K> {
        let children = children.into_iter();
        match self {
            Strategy::OneForOne => vec![failed],
            Strategy::OneForAll => children.collect(),
            Strategy::RestForOne => children.skip_while(|child| *child != failed).collect(),
        }
    }
}

/// What becomes of a child that ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Restart,
    /// Its spec is kept, without a process.
    Keep,
    /// Its spec goes too.
    Forget,
}

/// Decides what becomes of a child that ended by itself; the table is at [`Restart`].
pub(crate) fn fate(restart: Restart, reason: &ExitReason) -> Fate {
    match restart {
        Restart::Permanent => Fate::Restart,
        Restart::Transient if reason.is_abnormal() => Fate::Restart,
        Restart::Transient => Fate::Keep,
        Restart::Temporary => Fate::Forget,
    }
}

/// The restarts of the latest period: a sliding window, exact to the nanosecond of the system's
/// clock. OTP: `add_restart/1` of `supervisor`, which counts whole seconds.
#[derive(Clone, Debug)]
pub(crate) struct Restarts {
    intensity: u32,
    period: Duration,
    /// Oldest first; never more than `intensity` and one.
    at: VecDeque<Duration>,
}

impl Restarts {
    pub(crate) fn new(intensity: u32, period: Duration) -> Self {
        Restarts {
            intensity,
            period,
            at: VecDeque::new(),
        }
    }

    /// Counts a restart. `false`: it is one more than the intensity allows within the period; one
    /// exactly a period ago still counts.
    #[must_use = "`false` ends the supervisor"]
    pub(crate) fn record(&mut self, now: Duration) -> bool {
        let oldest = now.saturating_sub(self.period);
        while self.at.front().is_some_and(|at| *at < oldest) {
            self.at.pop_front();
        }
        self.at.push_back(now);
        if self.at.len() <= self.intensity as usize {
            return true;
        }
        self.at.pop_front();
        false
    }
}

/// What a job of a supervisor must have for itself while it runs.
///
/// | strategy | a job for one child | the first start of all children |
/// |---|---|---|
/// | one for one | that child | everything |
/// | others | everything: order among children matters | everything |
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Child(Arc<str>),
    All,
}

impl Scope {
    pub(crate) fn of(strategy: Strategy, child: &Arc<str>) -> Self {
        match strategy {
            Strategy::OneForOne => Scope::Child(child.clone()),
            Strategy::OneForAll | Strategy::RestForOne => Scope::All,
        }
    }
}

/// The scopes that are taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Busy {
    all: bool,
    children: HashSet<Arc<str>>,
}

impl Busy {
    pub(crate) fn has_room_for(&self, scope: &Scope) -> bool {
        match scope {
            Scope::All => !self.all && self.children.is_empty(),
            Scope::Child(id) => !self.all && !self.children.contains(id),
        }
    }

    /// Whether nothing at all has room.
    pub(crate) fn is_full(&self) -> bool {
        self.all
    }

    pub(crate) fn take(&mut self, scope: &Scope) {
        match scope {
            Scope::All => self.all = true,
            Scope::Child(id) => {
                self.children.insert(id.clone());
            }
        }
    }

    pub(crate) fn release(&mut self, scope: &Scope) {
        match scope {
            Scope::All => self.all = false,
            Scope::Child(id) => {
                self.children.remove(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn three_in_five_seconds() -> Restarts {
        Restarts::new(3, 5 * SECOND)
    }

    #[test]
    fn one_for_one_restarts_the_child_alone() {
        assert_eq!(Strategy::OneForOne.group(2, [1, 2, 3]), [2]);
    }

    #[test]
    fn one_for_all_restarts_all_in_start_order() {
        assert_eq!(Strategy::OneForAll.group(2, [1, 2, 3]), [1, 2, 3]);
    }

    #[test]
    fn rest_for_one_restarts_the_child_and_those_started_after_it() {
        let group = |failed| Strategy::RestForOne.group(failed, [1, 2, 3]);
        assert_eq!(group(1), [1, 2, 3]);
        assert_eq!(group(2), [2, 3]);
        assert_eq!(group(3), [3]);
    }

    #[test]
    fn the_fourth_restart_in_five_seconds_is_one_too_many() {
        let mut restarts = three_in_five_seconds();
        assert!((0..3).all(|n| restarts.record(n * SECOND)));
        assert!(!restarts.record(4 * SECOND));
    }

    #[test]
    fn restart_after_the_period_is_not_counted_against_intensity() {
        let mut restarts = three_in_five_seconds();
        let start = 100 * SECOND;
        assert!((0..3).all(|_| restarts.record(start)));
        assert!(restarts.record(start + 6 * SECOND));
        assert!(restarts.record(start + 6 * SECOND));
        assert!(restarts.record(start + 6 * SECOND));
        assert!(!restarts.record(start + 6 * SECOND));
    }

    #[test]
    fn the_period_is_exact_and_its_last_instant_counts() {
        let nanosecond = Duration::from_nanos(1);
        for (later, allowed) in [(5 * SECOND, false), (5 * SECOND + nanosecond, true)] {
            let mut restarts = Restarts::new(1, 5 * SECOND);
            assert!(restarts.record(SECOND));
            assert_eq!(restarts.record(SECOND + later), allowed, "{later:?} later");
        }
    }

    #[test]
    fn no_restart_is_allowed_with_an_intensity_of_zero() {
        assert!(!Restarts::new(0, SECOND).record(SECOND));
    }

    #[test]
    fn the_window_never_holds_more_than_it_needs() {
        let mut restarts = three_in_five_seconds();
        for n in 0..1000 {
            let _ = restarts.record(Duration::from_millis(n));
        }
        assert!(restarts.at.len() <= 4);
    }

    #[test]
    fn jobs_for_different_children_run_at_once_and_for_the_same_one_in_turn() {
        let (a, b) = (Scope::Child("a".into()), Scope::Child("b".into()));
        let mut busy = Busy::default();
        busy.take(&a);
        assert!(!busy.has_room_for(&a) && busy.has_room_for(&b));
        assert!(!busy.has_room_for(&Scope::All));
        busy.release(&a);
        busy.take(&Scope::All);
        assert!(!busy.has_room_for(&a) && !busy.has_room_for(&Scope::All));
        busy.release(&Scope::All);
        assert!(busy.has_room_for(&a) && busy.has_room_for(&Scope::All));
    }
}
