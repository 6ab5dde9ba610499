//! What a supervisor decides, apart from what it does: whether a child that ended is restarted, who
//! is restarted with it, whether that is one restart too many, and which of its jobs may run at once.
//! Pure functions and values, tested without a process.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use super::spec::{ChildSpec, Restart};
use crate::error::StartError;
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

/// Whether a supervisor ends by itself when children with
/// [`significant`](super::ChildSpec::significant) have ended. OTP: `auto_shutdown` of `sup_flags()`.
///
/// A significant child has ended in that sense when it ended by itself and is not restarted: a
/// transient one with `Normal` or `Shutdown`, a temporary one with any reason. What the supervisor
/// stopped (by request, with a group, at its own end) has not. The supervisor then stops its children
/// and exits with [`ExitReason::Shutdown`], so that its own supervisor restarts it only if it is
/// permanent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AutoShutdown {
    /// Never. No child may be significant. The default.
    #[default]
    Never,
    /// When a significant child has ended.
    AnySignificant,
    /// When a significant child has ended and no other one is left that runs or is about to be
    /// restarted.
    AllSignificant,
}

/// What a supervisor knows of its significant children after one of them has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Significant {
    /// One runs, or is about to be restarted.
    pub(crate) lives: bool,
    /// One is being started or stopped: it is not known yet whether it will live.
    pub(crate) is_undecided: bool,
}

/// What the end of a significant child means to its supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    GoOn,
    /// To be decided when what is under way is done.
    Wait,
    ShutDown,
}

impl AutoShutdown {
    /// Decides what the end of a significant child means. OTP's supervisor waits while it starts or
    /// stops a child, and decides when it hears of the end; so what is under way counts as what
    /// becomes of it.
    pub(crate) fn decide(self, others: Significant) -> Ending {
        match self {
            AutoShutdown::Never => Ending::GoOn,
            AutoShutdown::AnySignificant => Ending::ShutDown,
            AutoShutdown::AllSignificant if others.lives => Ending::GoOn,
            AutoShutdown::AllSignificant if others.is_undecided => Ending::Wait,
            AutoShutdown::AllSignificant => Ending::ShutDown,
        }
    }

    /// Looks whether a child may be as it is.
    pub(crate) fn check(self, child: &ChildSpec) -> Result<(), StartError> {
        match (child.significant, self, child.restart) {
            (false, _, _) => Ok(()),
            (_, AutoShutdown::Never, _) => Err(StartError::SignificantInVain(child.id.clone())),
            (_, _, Restart::Permanent) => Err(StartError::SignificantPermanent(child.id.clone())),
            _ => Ok(()),
        }
    }
}

/// Looks whether children may be as they are, and have an id each.
pub(crate) fn check_all(
    auto_shutdown: AutoShutdown,
    children: &[ChildSpec],
) -> Result<(), StartError> {
    let mut ids = HashSet::new();
    for child in children {
        auto_shutdown.check(child)?;
        if !ids.insert(&child.id) {
            return Err(StartError::DuplicateChild(child.id.clone()));
        }
    }
    Ok(())
}

/// The restarts of the latest period: a sliding window, exact to the nanosecond of the system's
/// clock. OTP: `add_restart/1` of `supervisor`, which counts whole seconds.
#[derive(Clone, Debug)]
pub(crate) struct Restarts {
    intensity: u32,
    period: Duration,
    /// Oldest first; never more than the largest `intensity` so far and one.
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

    /// Other limits, for the restarts from now on. Those that were made still count. OTP: `code_change/3`
    /// of `supervisor`.
    pub(crate) fn limit(&mut self, intensity: u32, period: Duration) {
        self.intensity = intensity;
        self.period = period;
    }

    pub(crate) fn intensity(&self) -> u32 {
        self.intensity
    }

    pub(crate) fn period(&self) -> Duration {
        self.period
    }

    /// How many restarts there were within the period that ends now.
    pub(crate) fn within(&self, now: Duration) -> usize {
        let oldest = now.saturating_sub(self.period);
        self.at.iter().filter(|at| **at >= oldest).count()
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
///
/// A change of the specs is no job: it is done at once, unless somebody has everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Specs,
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
            Scope::Specs => !self.all,
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
            Scope::Specs => {}
            Scope::All => self.all = true,
            Scope::Child(id) => {
                self.children.insert(id.clone());
            }
        }
    }

    pub(crate) fn release(&mut self, scope: &Scope) {
        match scope {
            Scope::Specs => {}
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
    fn with_any_significant_the_first_end_shuts_down_and_with_never_none() {
        for (lives, is_undecided) in [(false, false), (true, false), (false, true)] {
            let others = Significant {
                lives,
                is_undecided,
            };
            assert_eq!(AutoShutdown::Never.decide(others), Ending::GoOn);
            assert_eq!(
                AutoShutdown::AnySignificant.decide(others),
                Ending::ShutDown
            );
        }
    }

    #[test]
    fn with_all_significant_one_that_lives_decides_and_one_that_is_undecided_delays() {
        let decide = |lives, is_undecided| {
            AutoShutdown::AllSignificant.decide(Significant {
                lives,
                is_undecided,
            })
        };
        assert_eq!(decide(false, false), Ending::ShutDown);
        assert_eq!(decide(false, true), Ending::Wait);
        assert_eq!(decide(true, false), Ending::GoOn);
        assert_eq!(decide(true, true), Ending::GoOn);
    }

    #[test]
    fn restarts_made_count_under_other_limits_too() {
        let mut restarts = three_in_five_seconds();
        assert!((0..3).all(|_| restarts.record(SECOND)));
        restarts.limit(4, 5 * SECOND);
        assert!(restarts.record(SECOND));
        restarts.limit(2, 5 * SECOND);
        assert!(!restarts.record(SECOND));
        restarts.limit(2, SECOND);
        assert!(restarts.record(3 * SECOND));
    }

    #[test]
    fn a_change_of_the_specs_waits_only_for_who_has_everything() {
        let mut busy = Busy::default();
        busy.take(&Scope::Child("a".into()));
        assert!(busy.has_room_for(&Scope::Specs));
        busy.take(&Scope::Specs);
        assert!(busy.has_room_for(&Scope::Child("b".into())));
        busy.release(&Scope::Child("a".into()));
        busy.take(&Scope::All);
        assert!(!busy.has_room_for(&Scope::Specs));
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
