//! The children of a supervisor: in start order, found by id and by pid.
//!
//! # Invariants
//! 1. A child keeps its key as long as it is one. The order of ranks is start order; a child keeps
//!    its rank, however often it is restarted, until the specs are changed.
//! 2. `by_pid` holds the pid of each child that runs, and of whatever an attempt to start one, or the
//!    stopping of one, still has to do with; no pid stands for two children.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::task::Waker;
use std::time::Duration;

use super::handle::{ChildCounts, ChildInfo, ChildStatus};
use super::inheritance::Inheritance;
use super::spec::{ChildKind, ChildSpec, Restart, Starting};
use super::starter::Started;
use super::stopping::Stopping;
use super::strategy::Significant;
use super::supervised::{Directory, Place};
use crate::error::StartError;
use crate::exit::{ExitReason, Quiet};
use crate::hash::Seeds;
use crate::process::estate::Heir;
use crate::process::pid::Pid;
use crate::sync::Arc;

/// Names a child, for its supervisor.
pub(crate) type Key = u64;

pub(crate) struct Child {
    pub(crate) spec: ChildSpec,
    pub(crate) state: State,
    /// The job that waits for this child to be started or stopped.
    pub(crate) job: u64,
    /// Its rank in the start order.
    rank: u64,
    /// Where those find it who hold a reference to it.
    pub(crate) place: Arc<Place>,
    /// What its incarnations so far have left, or will leave, for the next.
    pub(crate) heirs: Vec<Heir>,
    /// When its present incarnation had started.
    pub(crate) since: Duration,
    /// How long its last incarnation ran; `None`: it did not start, or was stopped.
    pub(crate) ran: Option<Duration>,
    /// How often it failed in a row, for its backoff.
    pub(crate) failures: u32,
}

/// ```text
///            start            ok                    ended by itself
///  Stopped ────────▶ Starting ─────▶ Running ─────────────────────────▶ Restarting
///     ▲                 │ failed,       │ stop                    start │   ▲
///     │                 │ cancelled     ▼                               ▼   │ failed again
///     ├─────────────────┴────────── Stopping                         Starting
///     │           (by way of Stopping while something of it is left)
///     │    backoff, for all that are restarted together
///     └──────────────────────────────────────────────▶ Waiting ──▶ Stopped, then Starting
/// ```
pub(crate) enum State {
    Stopped,
    /// It ended, or failed to start, for this reason, and its restart is queued.
    Restarting(ExitReason),
    /// Stopped, and to be started when the wait of that number is over.
    Waiting(u64),
    Starting(Attempt),
    Running(Pid),
    Stopping(Stopping<Which>, After),
}

/// An attempt to start a child, under way.
pub(crate) struct Attempt {
    pub(crate) future: Quiet<Starting>,
    pub(crate) poke: Arc<super::process::Poke>,
    pub(crate) waker: Waker,
    pub(crate) started: Started,
    /// `None`: no process of the child leaves anything.
    pub(crate) inheritance: Option<Inheritance>,
    /// What it started and has ended already.
    pub(crate) ended: Vec<(Pid, ExitReason)>,
}

/// Which stopping: of which child, with a number of its own.
pub(crate) type Which = (Key, u64);

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
    by_rank: BTreeMap<u64, Key>,
    by_id: HashMap<Arc<str>, Key, Seeds>,
    by_pid: HashMap<Pid, Key, Seeds>,
    next: Key,
    next_rank: u64,
    directory: Arc<Directory>,
}

impl Children {
    pub(crate) fn new(directory: Arc<Directory>) -> Self {
        Children {
            directory,
            ..Children::default()
        }
    }

    /// Adds a child, last in start order. `Err`: there is one with its id.
    pub(crate) fn add(&mut self, spec: ChildSpec) -> Result<Key, Key> {
        if let Some(key) = self.by_id.get(&spec.id) {
            return Err(*key);
        }
        let (key, rank) = (self.next, self.next_rank);
        self.next += 1;
        self.next_rank += 1;
        self.by_id.insert(spec.id.clone(), key);
        self.by_rank.insert(rank, key);
        let child = Child {
            place: self.directory.place(&spec.id),
            spec,
            state: State::Stopped,
            job: 0,
            rank,
            heirs: Vec::new(),
            since: Duration::ZERO,
            ran: None,
            failures: 0,
        };
        self.by_key.insert(key, child);
        Ok(key)
    }

    /// Forgets a child, which has no process.
    pub(crate) fn remove(&mut self, key: Key) {
        if let Some(child) = self.by_key.remove(&key) {
            let Child {
                spec, rank, place, ..
            } = child;
            self.by_id.remove(&spec.id);
            self.by_rank.remove(&rank);
            drop(place);
            self.directory.forget(&spec.id);
        }
    }

    /// Gives the children other specs: those with the same id keep their state; those without one keep
    /// their spec; new ones have no process. Start order is that of `specs`, then that of the rest.
    /// OTP: `update_childspec/2` of `supervisor`.
    pub(crate) fn change(&mut self, specs: Vec<ChildSpec>) {
        let mut order = Vec::new();
        for spec in specs {
            let key = match self.by_id.get(&spec.id) {
                Some(key) => *key,
                None => match self.add(spec.clone()) {
                    Ok(key) | Err(key) => key,
                },
            };
            if let Some(child) = self.by_key.get_mut(&key) {
                child.spec = spec;
            }
            order.push(key);
        }
        let named: HashSet<Key> = order.iter().copied().collect();
        order.extend(self.keys().filter(|key| !named.contains(key)));
        self.by_rank.clear();
        self.next_rank = 0;
        for key in order {
            if let Some(child) = self.by_key.get_mut(&key) {
                child.rank = self.next_rank;
                self.by_rank.insert(self.next_rank, key);
                self.next_rank += 1;
            }
        }
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Child> {
        self.by_key.get(&key)
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
    pub(crate) fn keys(&self) -> impl DoubleEndedIterator<Item = Key> + '_ {
        self.by_rank.values().copied()
    }

    /// Puts keys into start order.
    pub(crate) fn sort(&self, keys: &mut [Key]) {
        keys.sort_by_key(|key| self.by_key.get(key).map(|child| child.rank));
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

    pub(crate) fn significant(&self) -> Significant {
        let mut all = Significant::default();
        for child in self.by_key.values().filter(|child| child.spec.significant) {
            match child.state {
                State::Running(_) | State::Restarting(_) | State::Waiting(_) => all.lives = true,
                State::Starting(_) | State::Stopping(..) => all.is_undecided = true,
                State::Stopped => {}
            }
        }
        all
    }

    /// In start order. `left`: how much is left of the wait of that number.
    pub(crate) fn list<'a>(
        &'a self,
        left: impl Fn(u64) -> Duration + 'a,
    ) -> impl Iterator<Item = ChildInfo> + 'a {
        let describe = move |child: &Child| ChildInfo {
            id: child.spec.id.clone(),
            kind: child.spec.kind,
            status: match &child.state {
                State::Stopped => ChildStatus::Stopped,
                State::Restarting(_) => ChildStatus::Restarting,
                State::Waiting(number) => ChildStatus::Waiting(left(*number)),
                State::Starting(_) => ChildStatus::Starting,
                State::Running(pid) => ChildStatus::Running(*pid),
                State::Stopping(stopping, _) if stopping.is_stuck() => ChildStatus::Stuck,
                State::Stopping(..) => ChildStatus::Stopping,
            },
        };
        self.keys()
            .filter_map(|key| self.by_key.get(&key))
            .map(describe)
    }

    pub(crate) fn count(&self) -> ChildCounts {
        let mut counts = ChildCounts::default();
        for child in self.by_key.values() {
            counts.specs += 1;
            match child.spec.kind {
                ChildKind::Worker => counts.workers += 1,
                ChildKind::Supervisor => counts.supervisors += 1,
            }
            match child.state {
                State::Running(_) => counts.active += 1,
                State::Waiting(_) => counts.waiting += 1,
                _ => {}
            }
        }
        counts
    }
}
