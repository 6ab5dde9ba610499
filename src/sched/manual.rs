//! A system without threads: its [`Driver`] runs it, on the thread that made it, when the host calls.
//!
//! # Invariants
//! 1. Processes of a manual system are run and their state is dropped on the driver's thread only.
//! 2. After a tick that reports the system idle, the first input from outside calls the `on_ready`
//!    hook, once ([`super::ready`]).

use std::cell::{Cell as Local, RefCell};
use std::future::Future;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::clock::{MS, later};
use super::core::{Core, CoreRef};
use super::ready::Ready;
use super::worker::{Entered, Worker, here};
use crate::error::SpawnError;
use crate::gen_server::Recipient;
use crate::process::spawn::{SpawnOptions, Ties};
use crate::process::turn;
use crate::receive::{self, Inbox, IntoExit, Process};
use crate::sync::{Condvar, Mutex};

type ReadyHook = Arc<dyn Fn() + Send + Sync>;

/// What other threads reach of a manual system's driver.
pub(crate) struct ManualShared {
    ready: Ready,
    rung: Mutex<bool>,
    bell: Condvar,
    hook: Mutex<Option<ReadyHook>>,
}

impl ManualShared {
    pub(crate) fn new() -> Self {
        ManualShared {
            ready: Ready::new(),
            rung: Mutex::new(false),
            bell: Condvar::new(),
            hook: Mutex::new(None),
        }
    }

    /// Input came: tells the host, if it was told that there is none.
    pub(crate) fn ring(&self) {
        if self.ready.claim() {
            *self.rung.lock() = true;
            self.bell.notify_all();
            let hook = self.hook.lock().clone();
            if let Some(hook) = hook {
                crate::process::deliver::guard(|| hook());
            }
        }
    }

    /// Blocks until somebody rings, or until `timeout` is over.
    fn wait(&self, timeout: Option<Duration>) {
        let mut rung = self.rung.lock();
        if !*rung {
            match timeout {
                Some(timeout) => {
                    self.bell.wait_for(&mut rung, timeout);
                }
                None => self.bell.wait(&mut rung),
            }
        }
        *rung = false;
    }
}

/// How much a [`Driver::tick`] may do.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    time: Option<Duration>,
    messages: u32,
}

impl Budget {
    /// Until this much time has passed on the host's clock. The tick overruns it by at most one
    /// handler, or one poll of a process that receives by itself: the time is looked at before each.
    pub fn time(limit: Duration) -> Self {
        Budget {
            time: Some(limit),
            messages: u32::MAX,
        }
    }

    /// Until this many messages have been handled, where `terminate` counts as one, and so does each
    /// time that a process goes on after it waited. The only kind of budget that is deterministic.
    pub fn messages(limit: u32) -> Self {
        Budget {
            time: None,
            messages: limit,
        }
    }
}

/// What a tick left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// Processes are waiting to run: the budget was used up.
    More,
    /// Nothing to run until a timer is due ([`Driver::next_deadline`]) or input comes
    /// ([`Driver::on_ready`]).
    Idle,
}

struct Inner {
    core: CoreRef,
    worker: Worker,
    ticking: Local<bool>,
    auto_advance: bool,
}

thread_local! {
    /// The drivers of this thread, for `.wait()` to find the one that can bring the answer.
    static DRIVERS: RefCell<Vec<Weak<Inner>>> = const { RefCell::new(Vec::new()) };
}

/// Runs a manual system, on the thread that built it: it alone ticks, moves a virtual clock, and
/// starts processes whose state is not `Send`.
///
/// Dropping it ends every process of the system with [`ExitReason::Killed`](crate::ExitReason), as
/// nobody could run them any more.
pub struct Driver {
    inner: Rc<Inner>,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver")
            .field("now", &self.now())
            .finish_non_exhaustive()
    }
}

impl Driver {
    pub(crate) fn new(core: CoreRef, worker: Worker, auto_advance: bool) -> Self {
        let inner = Rc::new(Inner {
            core,
            worker,
            ticking: Local::new(false),
            auto_advance,
        });
        DRIVERS.with_borrow_mut(|drivers| {
            drivers.retain(|driver| driver.strong_count() > 0);
            drivers.push(Rc::downgrade(&inner));
        });
        Driver { inner }
    }

    /// Starts a process whose function and future need not be `Send`: it runs, and its state is
    /// dropped, on this thread only. Its messages must be `Send`, so anybody may send to it.
    ///
    /// # Errors
    /// [`SpawnError`](crate::SpawnError): the system is shut down.
    pub fn spawn_local<M, F, R>(
        &self,
        run: impl FnOnce(Inbox<M>) -> F + 'static,
    ) -> Result<Recipient<M>, SpawnError>
    where
        M: Send + 'static,
        F: Future<Output = R> + 'static,
        R: IntoExit,
    {
        let ties = Ties {
            root: !must_not_block(),
            ..Ties::default()
        };
        receive::spawn(&self.inner.core, &SpawnOptions::new(), ties, run).map(|(to, _)| to)
    }

    /// Starts a hand-written state machine that need not be `Send`; as
    /// [`spawn_local`](Self::spawn_local).
    ///
    /// # Errors
    /// As there.
    pub fn spawn_local_process<P: Process>(
        &self,
        process: P,
    ) -> Result<Recipient<P::Message>, SpawnError> {
        let ties = Ties {
            root: !must_not_block(),
            ..Ties::default()
        };
        receive::spawn_process(&self.inner.core, &SpawnOptions::new(), ties, process)
            .map(|(to, _)| to)
    }

    /// Runs processes until the budget is used up or nothing is left to run. Timers that are due
    /// fire first. A budget of nothing runs nothing. An idle tick costs nanoseconds and allocates
    /// nothing.
    ///
    /// Called from inside a process (a tick within a tick) it does nothing and says [`Tick::More`].
    pub fn tick(&self, budget: Budget) -> Tick {
        let Some(ticking) = self.inner.begin() else {
            return Tick::More;
        };
        // A time beyond the clock's end is none.
        let deadline = budget
            .time
            .and_then(|limit| Instant::now().checked_add(limit));
        ticking.inner.worker.limit(deadline, budget.messages);
        while !ticking.inner.worker.limit_reached() {
            if !ticking.step() {
                return if ticking.inner.rest() {
                    Tick::Idle
                } else {
                    Tick::More
                };
            }
        }
        if ticking.inner.is_idle() && ticking.inner.rest() {
            Tick::Idle
        } else {
            Tick::More
        }
    }

    /// Runs processes until nothing is left to run now. Does not wait for timers and does not return
    /// while processes keep each other busy.
    pub fn run_until_idle(&self) {
        let Some(ticking) = self.inner.begin() else {
            return;
        };
        ticking.inner.worker.limit(None, u32::MAX);
        loop {
            ticking.inner.worker.limit(None, u32::MAX);
            if !ticking.step() && ticking.inner.rest() {
                return;
            }
        }
    }

    /// Moves a virtual clock on by `time`, firing each timer on the way at its own moment and running
    /// until idle after each.
    ///
    /// # Panics
    /// If the system's clock is not virtual ([`Builder::virtual_clock`](crate::Builder::virtual_clock)).
    pub fn advance(&self, time: Duration) {
        let core = &self.inner.core;
        assert!(
            core.clock.is_virtual(),
            "noex: only a virtual clock can be advanced; build the system with virtual_clock()"
        );
        let end = later(core.clock.now(), time);
        self.run_until_idle();
        while let Some(next) = core
            .timers
            .next()
            .map(|tick| tick.saturating_mul(MS))
            .filter(|next| *next <= end)
        {
            core.clock.advance_to(next);
            self.run_until_idle();
        }
        core.clock.advance_to(end);
        self.run_until_idle();
    }

    /// The time until the earliest timer is due; `None` if there is none.
    pub fn next_deadline(&self) -> Option<Duration> {
        let core = &self.inner.core;
        let at = core.timers.next_exact()?.saturating_mul(MS);
        Some(Duration::from_nanos(at.saturating_sub(core.clock.now())))
    }

    /// The time on the system's clock since it was built.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.inner.core.clock.now())
    }

    /// Calls `hook` when something comes in after a tick that was [`Tick::Idle`]: a message or a
    /// wake-up from another thread, or from this one outside a tick. Called on the thread it comes
    /// from, once until the next idle tick; it should do no more than wake the host's loop.
    pub fn on_ready(&self, hook: impl Fn() + Send + Sync + 'static) {
        if let Some(manual) = &self.inner.core.manual {
            *manual.hook.lock() = Some(Arc::new(hook));
        }
        self.inner.rest();
    }

    /// The event log so far, which is emptied: a line for each start, exit, message and timer, the
    /// same byte for byte for the same seed; this system's pids without its number. Empty unless the system was built with
    /// [`Builder::record`](crate::Builder::record).
    pub fn take_log(&self) -> String {
        self.inner
            .core
            .log
            .as_ref()
            .map(super::log::Log::take)
            .unwrap_or_default()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let core = &self.inner.core;
        self.inner.worker.leave_home();
        // SAFETY: the worker stays in its `Rc` until the guard is gone.
        let _entered = unsafe { self.inner.worker.enter() };
        crate::system::stop::reap_all(core, &self.inner.worker);
    }
}

/// The right to run processes, for the length of a tick.
struct Ticking<'a> {
    inner: &'a Inner,
    _entered: Entered,
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.inner.ticking.set(false);
    }
}

impl Ticking<'_> {
    /// Fires due timers or runs one process; `false`: there was neither.
    fn step(&self) -> bool {
        let (core, worker) = (&self.inner.core, &self.inner.worker);
        if core.timers.next().is_some_and(|at| at <= core.clock.tick()) {
            core.timers.fire(core, 64);
        }
        match worker.next() {
            Some(job) => {
                turn::run(worker, job);
                true
            }
            None => core.timers.next().is_some_and(|at| at <= core.clock.tick()),
        }
    }
}

impl Inner {
    fn begin(&self) -> Option<Ticking<'_>> {
        if self.ticking.replace(true) {
            return None;
        }
        // SAFETY: `self` is in an `Rc` held by the driver, which the guard borrows, which stays on this
        // thread, and which leaves home when it is dropped.
        let entered = unsafe {
            self.worker.come_home();
            self.worker.enter()
        };
        Some(Ticking {
            inner: self,
            _entered: entered,
        })
    }

    fn is_idle(&self) -> bool {
        !self.worker.has_own_work()
            && !self.core.has_work()
            && self
                .core
                .timers
                .next()
                .is_none_or(|at| at > self.core.clock.tick())
    }

    /// Arms the ready hook. `false`: something came in meanwhile.
    fn rest(&self) -> bool {
        if let Some(manual) = &self.core.manual {
            manual.ready.arm();
        }
        self.is_idle()
    }
}

/// How driving a system from `.wait()` ended.
pub(crate) enum Driven {
    Done,
    /// Nothing is left that could bring the answer.
    Stalled,
    Timeout,
    /// This thread does not drive that system.
    NotHere,
}

/// Runs the manual system of `core` until `done`, if this is its driver's thread. `deadline` is on
/// the system's clock.
pub(crate) fn drive(core: &Core, mut done: impl FnMut() -> bool, deadline: Option<u64>) -> Driven {
    let Some(manual) = &core.manual else {
        return Driven::NotHere;
    };
    let inner = DRIVERS.with_borrow(|drivers| {
        drivers
            .iter()
            .filter_map(Weak::upgrade)
            .find(|inner| inner.core.is(core))
    });
    let Some(inner) = inner else {
        return Driven::NotHere;
    };
    loop {
        if done() {
            return Driven::Done;
        }
        if deadline.is_some_and(|deadline| core.clock.now() >= deadline) {
            return Driven::Timeout;
        }
        {
            let Some(ticking) = inner.begin() else {
                return Driven::NotHere;
            };
            inner.worker.limit(None, u32::MAX);
            if ticking.step() {
                continue;
            }
        }
        if done() {
            return Driven::Done;
        }
        if !inner.rest() {
            continue;
        }
        let timer = core.timers.next().map(|tick| tick.saturating_mul(MS));
        let next = match (timer, deadline) {
            (Some(timer), Some(deadline)) => Some(timer.min(deadline)),
            (timer, deadline) => timer.or(deadline),
        };
        if core.pool.is_busy() || !core.clock.is_virtual() {
            if next.is_none() && !core.pool.is_busy() && core.clock.is_virtual() {
                return Driven::Stalled;
            }
            let timeout = (!core.clock.is_virtual())
                .then(|| next.map(|at| Duration::from_nanos(at.saturating_sub(core.clock.now()))))
                .flatten();
            manual.wait(timeout);
            continue;
        }
        match next {
            Some(at)
                if inner.auto_advance
                    || Some(at) == deadline && timer.is_none_or(|timer| timer >= at) =>
            {
                core.clock.advance_to(at);
            }
            _ => return Driven::Stalled,
        }
    }
}

/// Whether the caller runs inside a process or a tick, where blocking is an error.
pub(crate) fn must_not_block() -> bool {
    here().is_some()
}
