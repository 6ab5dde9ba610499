//! The children of a supervisor: in start order, found by id and by pid.
//!
//! # Invariants
//! 1. The order of keys is start order: a child keeps its key, and so its place, however often it is
//!    restarted.
//! 2. `by_pid` holds the pid of each child that runs, and of whatever an attempt to start one, or the
//!    stopping of one, still has to do with; no pid stands for two children.

use std::collections::{BTreeMap, HashMap};
use std::task::Waker;
use std::time::Duration;

use super::handle::{ChildCounts, ChildInfo, ChildStatus};
use super::spec::{ChildKind, ChildSpec, Restart, Starting};
use super::starter::Started;
use crate::error::StartError;
use crate::exit::ExitReason;
use crate::process::pid::{MonitorRef, Pid};
use crate::sched::timers::TimerRef;
use crate::sync::Arc;

/// A child's place in the start order.
pub(crate) type Key = u64;

pub(crate) struct Child {
    pub(crate) spec: ChildSpec,
    pub(crate) state: State,
    /// The job that waits for this child to be started or stopped.
    pub(crate) job: u64,
}

/// ```text
///            start            ok                    ended by itself
///  Stopped ────────▶ Starting ─────▶ Running ─────────────────────────▶ Restarting
///     ▲                 │ failed,       │ stop                    start │   ▲
///     │                 │ cancelled     ▼                               ▼   │ failed again
///     └─────────────────┴────────── Stopping                         Starting
///                (by way of Stopping while something of it is left)
/// ```
pub(crate) enum State {
    Stopped,
    /// It ended, or failed to start, for this reason, and its restart is queued.
    Restarting(ExitReason),
    Starting(Attempt),
    Running(Pid),
    Stopping(Stopping),
}

/// An attempt to start a child, under way.
pub(crate) struct Attempt {
    pub(crate) future: Starting,
    pub(crate) poke: Arc<super::process::Poke>,
    pub(crate) waker: Waker,
    pub(crate) started: Started,
    /// What it started and has ended already.
    pub(crate) ended: Vec<(Pid, ExitReason)>,
}

/// A child, or what is left of an attempt, being stopped.
pub(crate) struct Stopping {
    pub(crate) number: u64,
    pub(crate) left: Vec<(Pid, MonitorRef)>,
    /// When it is killed.
    pub(crate) deadline: Option<(Duration, TimerRef)>,
    pub(crate) after: After,
}

/// What it means that nothing is left.
pub(crate) enum After {
    Stopped,
    /// The attempt to start it has failed.
    Failed(StartError),
    /// The attempt to start it was called off.
    Cancelled,
}

#[derive(Default)]
pub(crate) struct Children {
    by_key: BTreeMap<Key, Child>,
    by_id: HashMap<Arc<str>, Key>,
    by_pid: HashMap<Pid, Key>,
    next: Key,
}

impl Children {
    /// Adds a child, last in start order. `Err`: there is one with its id.
    pub(crate) fn add(&mut self, spec: ChildSpec) -> Result<Key, Key> {
        if let Some(key) = self.by_id.get(&spec.id) {
            return Err(*key);
        }
        let key = self.next;
        self.next += 1;
        self.by_id.insert(spec.id.clone(), key);
        self.by_key.insert(
            key,
            Child {
                spec,
                state: State::Stopped,
                job: 0,
            },
        );
        Ok(key)
    }

    /// Forgets a child, which has no process.
    pub(crate) fn remove(&mut self, key: Key) {
        if let Some(child) = self.by_key.remove(&key) {
            self.by_id.remove(&child.spec.id);
        }
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Child> {
        self.by_key.get_mut(&key)
    }

    pub(crate) fn find(&mut self, id: &str) -> Option<(Key, &mut Child)> {
        let key = *self.by_id.get(id)?;
        self.by_key.get_mut(&key).map(|child| (key, child))
    }

    /// The child that has to do with `pid`.
    pub(crate) fn find_pid(&mut self, pid: Pid) -> Option<(Key, &mut Child)> {
        let key = *self.by_pid.get(&pid)?;
        self.by_key.get_mut(&key).map(|child| (key, child))
    }

    pub(crate) fn knows(&mut self, pid: Pid, key: Key) {
        self.by_pid.insert(pid, key);
    }

    pub(crate) fn forget_pid(&mut self, pid: Pid) {
        self.by_pid.remove(&pid);
    }

    /// Whether no pid is remembered in vain, as far as that can be told at once; for when nothing is
    /// being started or stopped.
    pub(crate) fn is_tidy(&self) -> bool {
        self.by_pid.len() <= self.by_key.len()
    }

    /// In start order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.by_key.keys().copied()
    }

    /// In start order.
    pub(crate) fn all_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Child> {
        self.by_key.values_mut()
    }

    /// Sets the state of a child that has no process any more: a temporary one is forgotten.
    pub(crate) fn settle(&mut self, key: Key) {
        let Some(child) = self.by_key.get_mut(&key) else {
            return;
        };
        if child.spec.restart == Restart::Temporary {
            self.remove(key);
        } else {
            child.state = State::Stopped;
        }
    }

    pub(crate) fn list(&self) -> Vec<ChildInfo> {
        let describe = |child: &Child| ChildInfo {
            id: child.spec.id.clone(),
            kind: child.spec.kind,
            status: match &child.state {
                State::Stopped => ChildStatus::Stopped,
                State::Restarting(_) => ChildStatus::Restarting,
                State::Starting(_) => ChildStatus::Starting,
                State::Running(pid) => ChildStatus::Running(*pid),
                State::Stopping(_) => ChildStatus::Stopping,
            },
        };
        self.by_key.values().map(describe).collect()
    }

    pub(crate) fn count(&self) -> ChildCounts {
        let mut counts = ChildCounts::default();
        for child in self.by_key.values() {
            counts.specs += 1;
            match child.spec.kind {
                ChildKind::Worker => counts.workers += 1,
                ChildKind::Supervisor => counts.supervisors += 1,
            }
            if matches!(child.state, State::Running(_)) {
                counts.active += 1;
            }
        }
        counts
    }
}
