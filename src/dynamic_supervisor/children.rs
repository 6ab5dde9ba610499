//! The children of a dynamic supervisor: found by pid, and counted.
//!
//! There may be a million, so what is kept of one that runs is little: nothing but how to treat it,
//! which it shares with others, and the arguments for its restart, if it is ever restarted.
//!
//! # Invariants
//! 1. A child is known by the pid of its latest process, until the next has started.
//! 2. The counts are those of what is in the map.

use std::collections::BTreeMap;

use super::handle::DynamicChild;
use super::template::Manner;
use crate::process::pid::Pid;
use crate::supervisor::{ChildCounts, ChildKind, ChildStatus};
use crate::sync::Arc;

pub(crate) struct Child<A> {
    pub(crate) manner: Arc<Manner>,
    /// The arguments, for a restart.
    pub(crate) kept: Option<Box<A>>,
    phase: Phase,
}

/// ```text
///              ended                  ok
///   Running ──────────▶ Starting ──────────▶ Running, under its new pid
///      │                 │    ▲
///      │ stop     failed ▼    │ again
///      ▼                 Waiting
///   Stopping
/// ```
/// From any of them a child can be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    /// Its restart failed; the next attempt is on its way as a message.
    Waiting,
    /// It is being restarted.
    Starting,
    /// It was told to stop.
    Stopping,
}

impl Phase {
    fn status(self, pid: Pid) -> ChildStatus {
        match self {
            Phase::Running => ChildStatus::Running(pid),
            Phase::Waiting => ChildStatus::Restarting,
            Phase::Starting => ChildStatus::Starting,
            Phase::Stopping => ChildStatus::Stopping,
        }
    }
}

pub(crate) struct Children<A> {
    /// By pid, in an order that is the same each time: what is done to all must be replayable.
    by_pid: BTreeMap<Pid, Child<A>>,
    active: usize,
    supervisors: usize,
}

impl<A> Default for Children<A> {
    fn default() -> Self {
        Children {
            by_pid: BTreeMap::new(),
            active: 0,
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
        kept: Option<Box<A>>,
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
        self.supervisors -= usize::from(child.manner.kind == ChildKind::Supervisor);
        Some(child)
    }

    pub(crate) fn get(&self, pid: Pid) -> Option<&Child<A>> {
        self.by_pid.get(&pid)
    }

    pub(crate) fn phase(&self, pid: Pid) -> Option<Phase> {
        self.by_pid.get(&pid).map(|child| child.phase)
    }

    pub(crate) fn set_phase(&mut self, pid: Pid, phase: Phase) {
        if let Some(child) = self.by_pid.get_mut(&pid) {
            let was = std::mem::replace(&mut child.phase, phase);
            self.active -= usize::from(was == Phase::Running);
            self.active += usize::from(phase == Phase::Running);
        }
    }

    /// Those that run, for the end.
    pub(crate) fn take_running(&mut self) -> impl Iterator<Item = (Pid, Child<A>)> + use<A> {
        let children = std::mem::take(self).by_pid;
        children
            .into_iter()
            .filter(|(_, child)| child.phase == Phase::Running)
    }

    pub(crate) fn list(&self) -> impl Iterator<Item = DynamicChild> + '_ {
        self.by_pid.iter().map(|(pid, child)| DynamicChild {
            pid: Some(*pid),
            kind: child.manner.kind,
            status: child.phase.status(*pid),
        })
    }

    pub(crate) fn count(&self) -> ChildCounts {
        ChildCounts {
            specs: self.by_pid.len(),
            active: self.active,
            supervisors: self.supervisors,
            workers: self.by_pid.len() - self.supervisors,
            // No child waits out a backoff here.
            waiting: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::{Restart, Shutdown};

    fn manner(kind: ChildKind) -> Arc<Manner> {
        Arc::new(Manner {
            restart: Restart::Temporary,
            shutdown: Shutdown::Infinity,
            kind,
        })
    }

    fn pid(id: u32) -> Pid {
        Pid::local(1, id, 1)
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
        children.add(pid(1), manner(ChildKind::Worker), None);
        children.add(pid(2), manner(ChildKind::Supervisor), None);
        assert_eq!(counts(&children), (2, 2, 1, 1));
        children.set_phase(pid(1), Phase::Starting);
        children.set_phase(pid(1), Phase::Waiting);
        assert_eq!(counts(&children), (2, 1, 1, 1));
        children.set_phase(pid(1), Phase::Running);
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
        children.add(pid(1), manner(ChildKind::Supervisor), None);
        children.set_phase(pid(1), Phase::Stopping);
        assert!(
            children
                .add(pid(1), manner(ChildKind::Worker), None)
                .is_some()
        );
        assert_eq!(counts(&children), (1, 1, 0, 1));
        assert_eq!(children.phase(pid(1)), Some(Phase::Running));
    }

    #[test]
    fn at_the_end_only_those_that_run_are_to_be_stopped() {
        let mut children = Children::default();
        for id in 1..=4 {
            children.add(pid(id), manner(ChildKind::Worker), None::<Box<()>>);
        }
        children.set_phase(pid(1), Phase::Waiting);
        children.set_phase(pid(2), Phase::Starting);
        children.set_phase(pid(3), Phase::Stopping);
        let running: Vec<Pid> = children.take_running().map(|(pid, _)| pid).collect();
        assert_eq!(running, [pid(4)]);
        assert_eq!(counts(&children), (0, 0, 0, 0));
    }

    #[test]
    fn what_is_kept_of_a_child_is_small() {
        assert!(size_of::<Child<[u64; 100]>>() <= 24);
    }
}
