//! What is scheduled, without a process and without a clock: names, when each is due, and which fire.
//!
//! # Invariants
//! 1. `queue` holds exactly the names in `timers`, each at its due time.
//! 2. A timer that fires has left the schedule before its message is sent, and a repeating one comes
//!    back afterwards: whatever goes wrong in between costs that timer, and never another.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::sync::Arc;

/// A timer and what it does, `J`.
pub(super) struct Timer<J> {
    pub(super) job: J,
    /// When it fires next; for one that waits for its target, when it looks again.
    pub(super) due: Duration,
    pub(super) period: Option<Duration>,
    /// When it was to fire, for the first time or this time.
    pub(super) wanted: Duration,
    pub(super) fired: u64,
}

pub(super) struct Schedule<J> {
    timers: HashMap<Arc<str>, (u64, Timer<J>)>,
    queue: BTreeMap<(Duration, u64), Arc<str>>,
    last: u64,
}

/// How long a one-shot timer whose target has no process waits before it looks again.
pub(super) const RETRY: Duration = Duration::from_millis(50);

/// Who is at the other end when a timer fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Here,
    /// Nobody has the name now; somebody may later.
    Away,
    /// Nobody will ever be there again.
    Gone,
}

/// What a timer that is due does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Firing {
    /// Sends, and is due again at that time; `None`: it is over.
    Send(Option<Duration>),
    /// Sends nothing now, and is due again at that time.
    Later(Duration),
    /// Is over without having sent anything.
    Drop,
}

/// Decides what a timer does that is due.
pub(super) fn fire<J>(
    timer: &Timer<J>,
    presence: Presence,
    now: Duration,
    patience: Duration,
) -> Firing {
    match (presence, timer.period) {
        (Presence::Gone, _) => Firing::Drop,
        (Presence::Here, Some(period)) => Firing::Send(Some(next(timer.wanted, period, now))),
        // Missed, and the next is soon enough.
        (Presence::Away, Some(period)) => Firing::Later(next(timer.wanted, period, now)),
        (Presence::Here, None) => Firing::Send(None),
        (Presence::Away, None) => {
            let end = timer.wanted.saturating_add(patience);
            match now < end {
                true => Firing::Later(now.saturating_add(RETRY).min(end)),
                // A dead letter, which is seen, where a timer that vanishes would not be.
                false => Firing::Send(None),
            }
        }
    }
}

/// When a timer that was wanted at `wanted` is wanted next: on its grid, after `now`. However many
/// were missed, they fire once.
fn next(wanted: Duration, period: Duration, now: Duration) -> Duration {
    let late = now.saturating_sub(wanted).as_nanos();
    let periods = late / period.as_nanos().max(1) + 1;
    let ahead = periods.saturating_mul(period.as_nanos());
    wanted.saturating_add(Duration::from_nanos(
        u64::try_from(ahead).unwrap_or(u64::MAX),
    ))
}

impl<J> Schedule<J> {
    pub(super) fn new() -> Self {
        Schedule {
            timers: HashMap::new(),
            queue: BTreeMap::new(),
            last: 0,
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Timer<J>> {
        self.timers.get(name).map(|(_, timer)| timer)
    }

    /// Puts a timer in; the one that had the name.
    #[must_use = "drop what was there outside any lock"]
    pub(super) fn insert(&mut self, name: Arc<str>, timer: Timer<J>) -> Option<Timer<J>> {
        let old = self.remove(&name);
        self.last += 1;
        self.queue.insert((timer.due, self.last), name.clone());
        self.timers.insert(name, (self.last, timer));
        old
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Timer<J>> {
        let (number, timer) = self.timers.remove(name)?;
        self.queue.remove(&(timer.due, number));
        Some(timer)
    }

    /// Takes out the next timer that is due by `now`: the earliest, and of several the first scheduled.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<(Arc<str>, Timer<J>)> {
        let (&(due, _), name) = self.queue.first_key_value()?;
        if due > now {
            return None;
        }
        let name = name.clone();
        self.remove(&name).map(|timer| (name, timer))
    }

    /// When the next is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.queue.first_key_value().map(|((due, _), _)| *due)
    }

    /// All timers, the next due first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Timer<J>)> {
        self.queue
            .values()
            .filter_map(|name| self.timers.get(name).map(|(_, timer)| (name, timer)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn timer(due: u32, period: Option<u32>) -> Timer<()> {
        Timer {
            job: (),
            due: due * SECOND,
            period: period.map(|period| period * SECOND),
            wanted: due * SECOND,
            fired: 0,
        }
    }

    fn at(seconds: u32) -> Duration {
        seconds * SECOND
    }

    #[test]
    fn a_repeating_timer_stays_on_its_grid() {
        let here = |now| fire(&timer(10, Some(10)), Presence::Here, now, SECOND);
        assert_eq!(here(at(10)), Firing::Send(Some(at(20))));
        assert_eq!(here(at(10) + SECOND / 2), Firing::Send(Some(at(20))));
        assert_eq!(here(at(20)), Firing::Send(Some(at(30))));
        // Three were missed, and one fires.
        assert_eq!(here(at(45)), Firing::Send(Some(at(50))));
    }

    #[test]
    fn a_timer_whose_target_will_never_come_is_over() {
        for period in [None, Some(1)] {
            let gone = fire(&timer(1, period), Presence::Gone, at(1), SECOND);
            assert_eq!(gone, Firing::Drop);
        }
    }

    #[test]
    fn a_one_shot_waits_for_its_target_for_so_long() {
        let away = |now| fire(&timer(10, None), Presence::Away, now, SECOND);
        assert_eq!(away(at(10)), Firing::Later(at(10) + RETRY));
        let almost = at(11) - RETRY / 2;
        assert_eq!(away(almost), Firing::Later(at(11)));
        assert_eq!(away(at(11)), Firing::Send(None));
        assert_eq!(
            fire(&timer(10, None), Presence::Away, at(10), Duration::ZERO),
            Firing::Send(None)
        );
        assert_eq!(
            fire(&timer(10, None), Presence::Here, at(10), SECOND),
            Firing::Send(None)
        );
    }

    #[test]
    fn a_repeating_timer_skips_who_is_away() {
        let away = fire(&timer(10, Some(10)), Presence::Away, at(10), SECOND);
        assert_eq!(away, Firing::Later(at(20)));
    }

    #[test]
    fn far_away_times_do_not_overflow() {
        let mut far = timer(1, Some(1));
        far.period = Some(Duration::MAX);
        assert!(matches!(
            fire(&far, Presence::Here, at(2), SECOND),
            Firing::Send(Some(next)) if next > at(1_000_000)
        ));
        far.wanted = Duration::MAX;
        assert!(matches!(
            fire(&far, Presence::Here, Duration::MAX, Duration::MAX),
            Firing::Send(Some(Duration::MAX))
        ));
    }

    #[test]
    fn the_earliest_comes_first_and_each_name_once() {
        let mut schedule = Schedule::new();
        for (name, due) in [("b", 2), ("a", 1), ("c", 2), ("d", 9)] {
            assert!(schedule.insert(name.into(), timer(due, None)).is_none());
        }
        assert!(schedule.insert("a".into(), timer(3, None)).is_some());
        assert_eq!(schedule.next_due(), Some(at(2)));
        let names: Vec<_> = schedule.iter().map(|(name, _)| name.to_string()).collect();
        assert_eq!(names, ["b", "c", "a", "d"]);
        let mut due = Vec::new();
        while let Some((name, _)) = schedule.take_due(at(5)) {
            due.push(name.to_string());
        }
        assert_eq!(due, ["b", "c", "a"]);
        assert!(schedule.get("b").is_none());
        assert!(schedule.remove("d").is_some());
        assert!(schedule.timers.is_empty());
        assert_eq!(schedule.next_due(), None);
    }
}
