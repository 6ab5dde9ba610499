//! The children of a dynamic supervisor: found by pid, and counted.
//!
//! There may be a million, so what is kept of one that runs is little: nothing but how to treat it,
//! which it shares with others, and the arguments for its restart, if it is ever restarted.
//!
//! # Invariants
//! 1. A child is known by the pid of its latest process, until the next has started.
//! 2. The counts are those of what is in the map.

use std::collections::BTreeMap;
use std::time::Duration;

use super::handle::DynamicChild;
use super::template::Manner;
use crate::exit::Quiet;
use crate::process::estate::Heir;
use crate::process::pid::Pid;
use crate::sched::timers::TimerRef;
use crate::supervisor::{ChildCounts, ChildKind, ChildStatus, Shutdown};
use crate::sync::Arc;

pub(crate) struct Child<A> {
    pub(crate) manner: Arc<Manner>,
    /// For a restart.
    pub(crate) kept: Quiet<Option<Box<Kept<A>>>>,
    phase: Phase,
}

/// What is kept of a child that may be restarted.
pub(crate) struct Kept<A> {
    pub(crate) args: A,
    /// `None`: a restart depends on nothing that was.
    pub(crate) history: Option<Box<History>>,
}

/// The earlier life of a child, for its backoff and its mail.
#[derive(Default)]
pub(crate) struct History {
    /// What its incarnations so far have left, or will leave, for the next.
    pub(crate) heirs: Vec<Heir>,
    /// When its present incarnation had started.
    pub(crate) since: Duration,
    /// How long its last incarnation ran; `None`: it did not start.
    pub(crate) ran: Option<Duration>,
    /// How often it failed in a row.
    pub(crate) failures: u32,
    /// When its wait is over, and what rings then.
    pub(crate) wait: Option<(Duration, TimerRef)>,
}

/// ```text
///              ended                    ok
///   Running ──────────┬──▶ Starting ──────────▶ Running, under its new pid
///      │      backoff │      │    ▲
///      │              ▼      │    │ its time has come
///      │ stop      Waiting ──┼────┤
///      ▼              ▲      │    │ again
///   Stopping          │      ▼    │
///                     └── Restarting
/// ```
/// From any of them a child can be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    /// Its restart failed; the next attempt is on its way as a message.
    Restarting,
    /// Its backoff runs.
    Waiting,
    /// It is being restarted.
    Starting,
    /// It was told to stop.
    Stopping,
}

impl<A> Child<A> {
    pub(crate) fn history(&mut self) -> Option<&mut History> {
        self.kept.as_mut()?.history.as_deref_mut()
    }

    fn status(&self, pid: Pid, now: Duration) -> ChildStatus {
        let history = || self.kept.as_ref()?.history.as_ref();
        let wait = || history().and_then(|history| history.wait.as_ref());
        match self.phase {
            Phase::Running => ChildStatus::Running(pid),
            Phase::Restarting => ChildStatus::Restarting,
            Phase::Waiting => {
                ChildStatus::Waiting(wait().map_or(now, |(at, _)| *at).saturating_sub(now))
            }
            Phase::Starting => ChildStatus::Starting,
            Phase::Stopping => ChildStatus::Stopping,
        }
    }
}

pub(crate) struct Children<A> {
    /// By pid, in an order that is the same each time: what is done to all must be replayable.
    by_pid: BTreeMap<Pid, Child<A>>,
    active: usize,
    waiting: usize,
    supervisors: usize,
}

impl<A> Default for Children<A> {
    fn default() -> Self {
        Children {
            by_pid: BTreeMap::new(),
            active: 0,
            waiting: 0,
            supervisors: 0,
        }
    }
}

impl<A> Children<A> {
    pub(crate) fn len(&self) -> usize {
        self.by_pid.len()
    }

    /// Adds a child that runs. A child that had its pid goes, and comes back.
    pub(crate) fn add(
        &mut self,
        pid: Pid,
        manner: Arc<Manner>,
        kept: Quiet<Option<Box<Kept<A>>>>,
    ) -> Option<Child<A>> {
        let before = self.remove(pid);
        self.active += 1;
        self.supervisors += usize::from(manner.kind == ChildKind::Supervisor);
        let child = Child {
            manner,
            kept,
            phase: Phase::Running,
        };
        self.by_pid.insert(pid, child);
        before
    }

    pub(crate) fn remove(&mut self, pid: Pid) -> Option<Child<A>> {
        let child = self.by_pid.remove(&pid)?;
        self.active -= usize::from(child.phase == Phase::Running);
        self.waiting -= usize::from(child.phase == Phase::Waiting);
        self.supervisors -= usize::from(child.manner.kind == ChildKind::Supervisor);
        Some(child)
    }

    pub(crate) fn get(&self, pid: Pid) -> Option<&Child<A>> {
        self.by_pid.get(&pid)
    }

    pub(crate) fn get_mut(&mut self, pid: Pid) -> Option<&mut Child<A>> {
        self.by_pid.get_mut(&pid)
    }

    pub(crate) fn phase(&self, pid: Pid) -> Option<Phase> {
        self.by_pid.get(&pid).map(|child| child.phase)
    }

    pub(crate) fn set_phase(&mut self, pid: Pid, phase: Phase) {
        if let Some(child) = self.by_pid.get_mut(&pid) {
            let was = std::mem::replace(&mut child.phase, phase);
            self.active -= usize::from(was == Phase::Running);
            self.active += usize::from(phase == Phase::Running);
            self.waiting -= usize::from(was == Phase::Waiting);
            self.waiting += usize::from(phase == Phase::Waiting);
        }
    }

    /// Those that run, and how each is stopped.
    pub(crate) fn running(&self) -> Vec<(Pid, Shutdown)> {
        let running = self.by_pid.iter();
        running
            .filter(|(_, child)| child.phase == Phase::Running)
            .map(|(pid, child)| (*pid, child.manner.shutdown))
            .collect()
    }

    /// Nothing is restarted any more: what was left for that goes. The timers of those that wait.
    pub(crate) fn restart_none(&mut self) -> Vec<TimerRef> {
        let lives = self.by_pid.values_mut().filter_map(Child::history);
        lives
            .filter_map(|life| {
                life.heirs.clear();
                life.wait.take().map(|(_, timer)| timer)
            })
            .collect()
    }

    pub(crate) fn list(&self, now: Duration) -> impl Iterator<Item = DynamicChild> + '_ {
        self.by_pid.iter().map(move |(pid, child)| DynamicChild {
            pid: Some(*pid),
            kind: child.manner.kind,
            status: child.status(*pid, now),
        })
    }

    pub(crate) fn count(&self) -> ChildCounts {
        ChildCounts {
            specs: self.by_pid.len(),
            active: self.active,
            supervisors: self.supervisors,
            workers: self.by_pid.len() - self.supervisors,
            waiting: self.waiting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::{MailboxFate, Restart};

    fn manner(kind: ChildKind) -> Arc<Manner> {
        Arc::new(Manner {
            restart: Restart::Temporary,
            shutdown: Shutdown::Infinity,
            kind,
            backoff: None,
            mailbox_fate: MailboxFate::Drop.into(),
        })
    }

    fn pid(id: u32) -> Pid {
        Pid::local(1, id, 1)
    }

    fn nothing() -> Quiet<Option<Box<Kept<()>>>> {
        None.into()
    }

    fn counts(children: &Children<()>) -> (usize, usize, usize, usize) {
        let ChildCounts {
            specs,
            active,
            supervisors,
            workers,
            ..
        } = children.count();
        (specs, active, supervisors, workers)
    }

    #[test]
    fn the_counts_follow_whatever_becomes_of_the_children() {
        let mut children = Children::default();
        children.add(pid(1), manner(ChildKind::Worker), nothing());
        children.add(pid(2), manner(ChildKind::Supervisor), nothing());
        assert_eq!(counts(&children), (2, 2, 1, 1));
        children.set_phase(pid(1), Phase::Starting);
        children.set_phase(pid(1), Phase::Restarting);
        assert_eq!(counts(&children), (2, 1, 1, 1));
        children.set_phase(pid(1), Phase::Waiting);
        assert_eq!(counts(&children), (2, 1, 1, 1));
        assert_eq!(children.count().waiting, 1);
        children.set_phase(pid(1), Phase::Running);
        assert_eq!(children.count().waiting, 0);
        children.set_phase(pid(2), Phase::Stopping);
        assert_eq!(counts(&children), (2, 1, 1, 1));
        children.remove(pid(2));
        assert_eq!(counts(&children), (1, 1, 0, 1));
        children.remove(pid(2));
        assert_eq!(counts(&children), (1, 1, 0, 1));
    }

    #[test]
    fn a_child_added_under_a_pid_that_is_there_takes_its_place() {
        let mut children = Children::default();
        children.add(pid(1), manner(ChildKind::Supervisor), nothing());
        children.set_phase(pid(1), Phase::Stopping);
        assert!(
            children
                .add(pid(1), manner(ChildKind::Worker), nothing())
                .is_some()
        );
        assert_eq!(counts(&children), (1, 1, 0, 1));
        assert_eq!(children.phase(pid(1)), Some(Phase::Running));
    }

    #[test]
    fn at_the_end_only_those_that_run_are_to_be_stopped() {
        let mut children = Children::default();
        for id in 1..=4 {
            children.add(pid(id), manner(ChildKind::Worker), nothing());
        }
        children.set_phase(pid(1), Phase::Waiting);
        children.set_phase(pid(2), Phase::Starting);
        children.set_phase(pid(3), Phase::Stopping);
        assert_eq!(children.running(), [(pid(4), Shutdown::Infinity)]);
    }

    #[test]
    fn what_is_kept_of_a_child_is_small() {
        assert!(size_of::<Child<[u64; 100]>>() <= 24);
    }
}
