//! What the threads of one system share.
//!
//! # Invariants
//! 1. The memory lives until the last [`CoreRef`] is gone: the system's, each handle's, each cell's,
//!    each scheduler thread's.
//! 2. A scheduler thread keeps references in stock (`credit`), so that spawning and freeing cells on
//!    it writes no shared line; what is in stock is counted in `refs`.

use std::collections::BTreeMap;
use std::ptr::{self, NonNull};
use std::time::Duration;

use super::blocking::Pool;
use super::clock::Clock;
use super::idle::Idle;
use super::manual::ManualShared;
use super::recycle::Stock;
use super::slot::LifoSlot;
use super::stats::{Count, Counters, Stats};
use super::timers::{Due, Timers};
use super::watch::Watch;
use super::worker::{Job, home, worker_of};
use crate::exit::ExitReason;
use crate::hooks::Hooks;
use crate::process::ask::Answer;
use crate::process::cell::{Cell, CellRef, Priority};
use crate::process::node::NodeVtable;
use crate::process::pid::{MonitorRef, Pid};
use crate::process::refs::Refs;
use crate::process::table::Table;
use crate::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed,
};
use crate::sync::{Arc, Condvar, Injector, Mutex, Stealer};

pub(crate) const PRIORITIES: usize = 3;

pub(crate) const RUNNING: u8 = 0;
/// Starts no more processes from outside; processes are being stopped.
pub(crate) const STOPPING: u8 = 1;
/// Runs nothing any more.
pub(crate) const STOPPED: u8 = 2;

pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) stack_size: Option<usize>,
    pub(crate) budget: u32,
    pub(crate) blocking_threads: usize,
    pub(crate) long_handler: Duration,
    pub(crate) seed: Option<u64>,
    pub(crate) record: bool,
}

/// The side of a scheduler thread that other threads see.
pub(crate) struct Remote {
    pub(crate) stealers: [Stealer<Job>; PRIORITIES],
    /// The process that runs next on this thread. Others take it only from a thread that is stuck.
    pub(crate) slot: LifoSlot<Cell>,
    /// A process that asked one in the slot, and runs when that has; see [`Worker::run_behind`].
    ///
    /// [`Worker::run_behind`]: super::worker::Worker::run_behind
    pub(crate) asker: LifoSlot<Cell>,
    /// Set by the watchdog while the thread's handler holds it up.
    pub(crate) stuck: AtomicBool,
    /// Counts turns; the watchdog sees by it that a thread moves on.
    pub(crate) turns: AtomicU64,
    /// What is left of the turn's budget; the watchdog sees by it that a turn moves on.
    pub(crate) budget: AtomicU32,
    /// The process that runs, as id and serial; 0: none.
    pub(crate) running: AtomicU64,
    /// What kind of message it handles; null: none.
    pub(crate) message: AtomicPtr<NodeVtable>,
    /// The thread has left its loop for good.
    pub(crate) ended: AtomicBool,
    pub(crate) counters: Counters,
}

impl Remote {
    pub(crate) fn new(stealers: [Stealer<Job>; PRIORITIES]) -> Self {
        Remote {
            stealers,
            slot: LifoSlot::new(),
            asker: LifoSlot::new(),
            stuck: AtomicBool::new(false),
            turns: AtomicU64::new(0),
            budget: AtomicU32::new(0),
            running: AtomicU64::new(0),
            message: AtomicPtr::new(std::ptr::null_mut()),
            ended: AtomicBool::new(false),
            counters: Counters::default(),
        }
    }

    /// Whether another thread could take something over.
    pub(crate) fn has_stealable(&self) -> bool {
        self.stealers.iter().any(|stealer| !stealer.is_empty())
            || self.stuck.load(Relaxed) && self.has_kept()
    }

    /// Whether the thread keeps something to itself.
    fn has_kept(&self) -> bool {
        !self.slot.is_empty() || !self.asker.is_empty()
    }

    pub(crate) fn has_queued(&self) -> bool {
        self.has_kept() || self.stealers.iter().any(|stealer| !stealer.is_empty())
    }
}

/// What was started from outside: stopped last-first at shutdown, its abnormal ends remembered.
#[derive(Default)]
pub(crate) struct Roots {
    next: u64,
    pub(crate) live: BTreeMap<u64, Pid>,
    pub(crate) failure: Option<(Pid, ExitReason)>,
    /// A shutdown stops them: their ends are no failures any more.
    pub(crate) stopping: bool,
    pub(crate) waiting: Vec<Answer<Option<(Pid, ExitReason)>>>,
}

pub(crate) struct Core {
    refs: Refs,
    creation: u32,
    pub(crate) state: AtomicU8,
    pub(crate) settings: Settings,
    pub(crate) table: Table<Cell>,
    pub(crate) remotes: Box<[Remote]>,
    /// There is, or was, a process of high priority: only then is the high queue looked at first.
    pub(crate) has_high: AtomicBool,
    pub(crate) injectors: [Injector<Job>; PRIORITIES],
    pub(crate) idle: Idle,
    pub(crate) watch: Watch,
    pub(crate) manual: Option<ManualShared>,
    pub(crate) timers: Timers,
    pub(crate) clock: Clock,
    pub(crate) pool: Pool,
    pub(crate) hooks: Hooks,
    pub(crate) roots: Mutex<Roots>,
    /// Signalled, under the lock of `roots`, when a scheduler thread ends.
    pub(crate) ended: Condvar,
    pub(crate) names: Arc<crate::registry::shared::Names>,
    pub(crate) belongings: crate::process::belongings::Belongings,
    pub(crate) attached: super::attached::Attached,
    pub(crate) log: Option<super::log::Log>,
    outside: Counters,
    /// Ids freed by threads that are none of ours.
    outside_ids: Mutex<Vec<u32>>,
    monitors: AtomicU64,
    spare_due: Mutex<Vec<Vec<(u64, Due)>>>,
    pub(crate) stock: Stock,
}

static CREATIONS: AtomicU32 = AtomicU32::new(1);

pub(crate) struct Parts {
    pub(crate) settings: Settings,
    pub(crate) remotes: Vec<Remote>,
    pub(crate) manual: Option<ManualShared>,
    pub(crate) clock: Clock,
    pub(crate) hooks: Hooks,
}

impl Core {
    pub(crate) fn build(parts: Parts) -> CoreRef {
        let threads = parts.remotes.len();
        let core = Core {
            refs: Refs::new(1),
            creation: CREATIONS.fetch_add(1, Relaxed),
            state: AtomicU8::new(RUNNING),
            table: Table::new(),
            remotes: parts.remotes.into_boxed_slice(),
            has_high: AtomicBool::new(false),
            injectors: std::array::from_fn(|_| Injector::new()),
            idle: Idle::new(threads, super::idle::SPIN),
            watch: Watch::new(),
            timers: Timers::new(threads),
            pool: Pool::new(&parts.settings, parts.manual.is_some()),
            manual: parts.manual,
            clock: parts.clock,
            hooks: parts.hooks,
            roots: Mutex::new(Roots::default()),
            ended: Condvar::new(),
            names: crate::registry::shared::Names::of_a_system(),
            belongings: Default::default(),
            attached: super::attached::Attached::default(),
            log: parts.settings.record.then(Default::default),
            settings: parts.settings,
            outside: Counters::default(),
            outside_ids: Mutex::new(Vec::new()),
            monitors: AtomicU64::new(1),
            spare_due: Mutex::new(Vec::new()),
            stock: Stock::new(),
        };
        CoreRef(NonNull::from(Box::leak(Box::new(core))))
    }

    pub(crate) fn creation(&self) -> u32 {
        self.creation
    }

    /// The live process that `pid` names.
    pub(crate) fn find(&self, pid: Pid) -> Option<CellRef> {
        if pid.creation() != self.creation || pid.node() != 0 {
            return None;
        }
        // SAFETY: `lookup` hands us a reference.
        self.table
            .lookup(pid.id(), pid.serial())
            .map(|cell| unsafe { CellRef::from_raw(cell) })
    }

    /// Whether `pid` names a live process. False no later than anybody is told of its death.
    pub(crate) fn is_alive(&self, pid: Pid) -> bool {
        pid.creation() == self.creation
            && pid.node() == 0
            && self.table.is_live(pid.id(), pid.serial())
    }

    pub(crate) fn new_monitor(&self) -> MonitorRef {
        MonitorRef(self.monitors.fetch_add(1, Relaxed))
    }

    /// Runs `with` on the calling thread's stock of free ids.
    pub(crate) fn with_ids<R>(&self, with: impl FnOnce(&mut Vec<u32>) -> R) -> R {
        match worker_of(self) {
            Some(worker) => worker.with_ids(with),
            None => with(&mut self.outside_ids.lock()),
        }
    }

    /// Queues a process from a thread that is none of this system's.
    #[cold]
    pub(crate) fn inject(&self, cell: &Cell) {
        let injector = &self.injectors[lane(cell.fixed.priority)];
        let Some(manual) = &self.manual else {
            injector.push(Job::new(cell));
            return self.idle.notify_from_outside(|| !injector.is_empty());
        };
        match home().filter(|worker| ptr::eq(worker.core(), self)) {
            Some(worker) => worker.push_back(cell),
            None => injector.push(Job::new(cell)),
        }
        manual.ring();
    }

    /// Tells whoever sleeps that a timer is due at `tick`, earlier than any before.
    pub(crate) fn timer_armed(&self, tick: u64) {
        match &self.manual {
            Some(manual) => manual.ring(),
            None => self.idle.timer_armed(tick),
        }
    }

    /// Whether a process is queued anywhere.
    pub(crate) fn has_work(&self) -> bool {
        self.injectors.iter().any(|injector| !injector.is_empty())
            || self.remotes.iter().any(Remote::has_stealable)
    }

    pub(crate) fn count(&self, what: Count, n: u64) {
        match worker_of(self) {
            Some(worker) => worker.remote().counters.add_own(what, n),
            None => self.outside.add_shared(what, n),
        }
    }

    /// Sums the counters up. `queued` is what is left.
    pub(crate) fn stats(&self) -> Stats {
        let sum = |what| {
            self.remotes
                .iter()
                .map(|remote| remote.counters.get(what))
                .sum::<u64>()
                + self.outside.get(what)
        };
        // What ends a message is read before what begins one, so that `queued` never comes out negative.
        let mut stats = Stats {
            handled: sum(Count::Handled),
            aborted: sum(Count::Aborted),
            rejected: sum(Count::Rejected),
            dropped: sum(Count::Dropped),
            undelivered: sum(Count::Undelivered),
            exited: sum(Count::Exited),
            ..Stats::default()
        };
        stats.spawned = sum(Count::Spawned);
        stats.wakeups = self.idle.wakeups();
        stats.sent = sum(Count::Sent);
        stats
    }

    /// Enters a process started from outside; the number to take it out by.
    pub(crate) fn add_root(&self, pid: Pid) -> u64 {
        let mut roots = self.roots.lock();
        let number = roots.next;
        roots.next += 1;
        roots.live.insert(number, pid);
        number
    }

    pub(crate) fn remove_root(&self, number: u64, pid: Pid, reason: &ExitReason) {
        let mut roots = self.roots.lock();
        roots.live.remove(&number);
        if reason.is_normal() || roots.failure.is_some() || roots.stopping {
            return;
        }
        roots.failure = Some((pid, reason.clone()));
        let (waiting, failure) = (std::mem::take(&mut roots.waiting), roots.failure.clone());
        drop(roots);
        crate::system::stop::tell_ended(waiting, failure.as_ref());
    }

    /// The system ends because of this, which is what those hear who wait for its end.
    pub(crate) fn blame(&self, pid: Pid, cause: ExitReason) {
        let mut roots = self.roots.lock();
        if !roots.stopping {
            roots.failure.get_or_insert((pid, cause));
        }
    }

    /// An empty vector for timers that are due, kept so that a tick allocates nothing.
    pub(crate) fn spare_due(&self) -> Vec<(u64, Due)> {
        self.spare_due.lock().pop().unwrap_or_default()
    }

    pub(crate) fn keep_due(&self, due: Vec<(u64, Due)>) {
        self.spare_due.lock().push(due);
    }

    /// Adds to the event log, if one is kept.
    #[inline(always)]
    pub(crate) fn record(&self, event: impl FnOnce() -> String) {
        if let Some(log) = &self.log {
            self.write_down(log, event);
        }
    }

    #[cold]
    fn write_down(&self, log: &super::log::Log, event: impl FnOnce() -> String) {
        // Which number this system has depends on how many the program made before.
        log.add(
            self.clock.now(),
            &super::log::without_number(&event(), self.creation),
        );
    }
}

/// A counted reference to the core.
pub(crate) struct CoreRef(NonNull<Core>);

// SAFETY: `Core` is shared between threads by design: all its parts are `Send + Sync`.
unsafe impl Send for CoreRef {}
// SAFETY: as above.
unsafe impl Sync for CoreRef {}

impl CoreRef {
    pub(crate) fn as_ptr(&self) -> *const Core {
        self.0.as_ptr()
    }

    /// Takes `n` references for a thread's stock.
    pub(crate) fn take_stock(&self, n: usize) {
        self.refs.add(n as u64);
    }

    /// Gives `n` references back from a thread's stock. The caller holds one more.
    pub(crate) fn return_stock(&self, n: usize) {
        let last = self.refs.give_back(n as u64);
        debug_assert!(!last, "the caller's own reference is left");
    }

    pub(crate) fn is(&self, other: &Core) -> bool {
        std::ptr::eq(self.as_ptr(), other)
    }
}

impl std::ops::Deref for CoreRef {
    type Target = Core;
    #[inline(always)]
    fn deref(&self) -> &Core {
        // SAFETY: invariant 1.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for CoreRef {
    #[inline]
    fn clone(&self) -> Self {
        match worker_of(self) {
            Some(worker) => worker.draw_core_ref(),
            None => {
                self.refs.add(1);
            }
        }
        CoreRef(self.0)
    }
}

impl Drop for CoreRef {
    #[inline]
    fn drop(&mut self) {
        match worker_of(self) {
            Some(worker) => worker.stock_core_ref(),
            None => {
                if self.refs.give_back(1) {
                    // SAFETY: the last reference; allocated by `build`.
                    drop(unsafe { Box::from_raw(self.0.as_ptr()) });
                }
            }
        }
    }
}

/// Index of a priority's queue.
pub(crate) fn lane(priority: Priority) -> usize {
    priority as usize
}
