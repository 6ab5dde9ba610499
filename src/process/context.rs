//! What a process can do as itself: link, monitor, set timers, sleep, start others.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use super::ask::{Pending, question};
use super::call::{Call, note_other_wait, out_of_turn, waits};
use super::cell::Cell;
use super::death;
use super::deliver::{send_signal, send_to_nobody};
use super::info::ProcessInfo;
use super::line::{Keepsake, Line};
use super::node::{Kind, Node};
use super::passed::Passed;
use super::pid::{MonitorRef, Pid};
use super::signal::{Cause, Content, Down, Notice, Signal, SystemNode, Watcher};
use super::spawn::{SpawnOptions, Ties};
use super::waker;
use crate::destination::Destination;
use crate::error::CallError;
use crate::exit::ExitReason;
use crate::process::deliver::{Class, deliver};
use crate::receive::{Inbox, IntoExit};
use crate::sched::core::{Core, CoreRef};
use crate::sched::stats::Count;
use crate::sched::timers::{self, Due, TimerRef};
use crate::sched::worker::here;
use crate::system::Handle;

/// A process's handle on itself; a server's [`Context`](crate::Context) and a receiving process's
/// [`Inbox`](crate::Inbox) both dereference to it.
///
/// # Panics
/// Every method panics if it is called anywhere but in the process's own turn: on another thread, or
/// after the process ended. (Moving it elsewhere is the only way to do that.)
pub struct ProcessContext {
    owner: Owner,
}

/// Whose context it is: creation, id and serial of one process; or, with creation 0, of whoever runs.
/// Not its address: after its end another process may lie there.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Owner(u32, u32, u32);

impl Owner {
    fn of(cell: &Cell) -> Self {
        Owner(cell.core.creation(), cell.id, cell.serial)
    }
}

impl std::fmt::Debug for ProcessContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessContext").finish_non_exhaustive()
    }
}

impl ProcessContext {
    /// The context of whatever process runs when it is used (a server's lies in its own body).
    pub(crate) const fn of_whoever_runs() -> Self {
        ProcessContext {
            owner: Owner(0, 0, 0),
        }
    }

    /// The context of one process, which may be moved, and outlive it.
    pub(crate) fn of(cell: &Cell) -> Self {
        ProcessContext {
            owner: Owner::of(cell),
        }
    }

    /// The process's cell. (Not a borrow of `self`: it lives while the turn does, and the result is
    /// used within the calling method.)
    pub(crate) fn cell<'a>(&self) -> &'a Cell {
        match self.running() {
            Some(cell) => cell,
            None => panic!("noex: a process's context was used outside the process's own turn"),
        }
    }

    /// The process's cell, if it is its turn.
    pub(crate) fn running<'a>(&self) -> Option<&'a Cell> {
        let running = here().and_then(|worker| worker.current())?;
        // SAFETY: the running process's cell is alive.
        let cell = unsafe { &*running.as_ptr() };
        (self.owner.0 == 0 || self.owner == Owner::of(cell)).then_some(cell)
    }

    /// Whose context it is, if it is that of one process.
    pub(crate) fn owner(&self) -> Pid {
        let Owner(creation, id, serial) = self.owner;
        Pid::local(creation, id, serial)
    }

    pub(crate) fn core<'a>(&self) -> &'a CoreRef {
        &self.cell().core
    }

    /// The rarely used parts of the process. Not to be kept across another use of the context.
    pub(crate) fn extra<'a>(&self) -> &'a mut super::cell::Extra {
        // SAFETY: in the process's turn (checked by `cell`), and each caller lets go before the next.
        unsafe { self.cell().own() }.extra()
    }

    /// The process's pid. OTP: `self()`.
    pub fn pid(&self) -> Pid {
        self.cell().pid()
    }

    /// The system the process belongs to.
    pub fn system(&self) -> Handle {
        Handle::new(self.core().clone())
    }

    /// Who started this process, linked; `None`: it was started from outside, or by `spawn`.
    pub fn parent(&self) -> Option<Pid> {
        self.extra().parent
    }

    /// The parent, the parent's parent, and so on. OTP: `$ancestors`.
    pub fn ancestors(&self) -> Vec<Pid> {
        let me = self.pid();
        self.extra().initial.ancestors.iter(me).collect()
    }

    /// Leaves a keepsake: dropped when this process has ended and all that it started linked, and what
    /// that started, and so on. `Err`: it has started some already.
    pub(crate) fn leave(&self, keepsake: Keepsake) -> Result<(), Keepsake> {
        let me = self.pid();
        self.extra().initial.ancestors.leave(me, keepsake)
    }

    /// In a [task](crate::task): the process that asked for it, then the callers of that one. In
    /// others: nobody. Elixir: `$callers`.
    ///
    /// A task's parent is who starts it, its supervisor perhaps; its caller is on whose behalf it
    /// works. For one that was asked for from outside any process there is none.
    pub fn callers(&self) -> Vec<Pid> {
        let me = self.pid();
        self.extra().initial.callers.iter(me).collect()
    }

    /// The callers of a task that is asked for now: whoever runs, if it is this context's process, and
    /// its own.
    pub(crate) fn asks(&self) -> Line {
        let asker = self.running().map(|cell| cell.pid());
        asker.map_or_else(Line::default, |pid| self.extra().initial.of_task(pid))
    }

    /// Links this process and `pid`: when one exits, the other gets an exit signal. Linking twice, or
    /// to oneself, does nothing. OTP: `link/1`.
    ///
    /// A dead `pid` sends an exit signal with [`ExitReason::NoProc`] (OTP may raise instead).
    pub fn link(&self, pid: Pid) {
        let me = self.pid();
        if pid == me || !self.extra().links.insert(pid) {
            return;
        }
        self.extra().unlinking.remove(&pid);
        let core = self.core();
        let signal = Signal::Link { from: me };
        let refused = match core.find(pid) {
            Some(peer) => send_signal(&peer, signal).err(),
            None => Some(signal),
        };
        if let Some(signal) = refused {
            death::refuse_in_time(core, pid, signal);
        }
    }

    /// Takes the link to `pid` back. An exit of `pid` that has not been taken in yet no longer
    /// reaches this process; one that was trapped may be in the mailbox already
    /// ([`unlink_flush`](Self::unlink_flush)). OTP: `unlink/1`.
    pub fn unlink(&self, pid: Pid) {
        let extra = self.extra();
        if !extra.links.remove(&pid) {
            return;
        }
        extra.unlinks += 1;
        let number = extra.unlinks;
        let from = self.pid();
        let sent = self
            .core()
            .find(pid)
            .is_some_and(|peer| send_signal(&peer, Signal::Unlink { from, number }).is_ok());
        if sent {
            self.extra().unlinking.insert(pid, number);
        }
    }

    /// The processes that are linked to this one.
    pub(crate) fn linked(&self) -> Vec<Pid> {
        self.extra().links.iter().collect()
    }

    /// As [`unlink`](Self::unlink), and removes a trapped exit of `pid` from the mailbox.
    pub fn unlink_flush(&self, pid: Pid) {
        self.unlink(pid);
        self.flush(
            Passed::Exit(Some(pid)),
            |notice| matches!(notice, Notice::Exit(exit) if exit.from == Some(pid)),
        );
    }

    /// Removes the first notice that is wanted from the mailbox, where what was passed over by a
    /// selective receive comes first. `false`: there is none.
    fn flush(&self, passed: Passed, wanted: impl Fn(&Notice) -> bool) -> bool {
        let cell = self.cell();
        if self.extra().flush_passed(passed) {
            cell.core.count(Count::Handled, 1);
            return true;
        }
        let is_it = |node: *mut Node| {
            // SAFETY: a node in this process's mailbox, in its turn.
            unsafe {
                (*node).vtable.kind == Kind::Notice
                    && matches!(SystemNode::content(node), Content::Notice(notice) if wanted(notice))
            }
        };
        // SAFETY: in the process's turn.
        let node = unsafe { cell.own() }.inbox.remove_first(is_it).or_else(|| {
            let bounded = cell.bounded.as_ref()?;
            bounded.remove_first(is_it)
        });
        let Some(node) = node else {
            return false;
        };
        cell.core.count(Count::Handled, 1);
        // SAFETY: taken out, so ours.
        drop(unsafe { SystemNode::open(node) });
        true
    }

    /// Asks for a [`Down`] when `pid` exits; at once, with [`ExitReason::NoProc`], if it is dead.
    /// Each call makes a monitor of its own. One of oneself is never heard of. OTP:
    /// `monitor(process, Pid)`.
    pub fn monitor(&self, pid: Pid) -> MonitorRef {
        let core = self.core();
        let monitor = core.new_monitor();
        if pid == self.pid() {
            return monitor;
        }
        self.extra().monitoring.insert(monitor, pid);
        let watcher = Watcher::Process(self.pid());
        let signal = Signal::Monitor { monitor, watcher };
        let refused = match core.find(pid) {
            Some(target) => send_signal(&target, signal).err(),
            None => Some(signal),
        };
        if let Some(signal) = refused {
            death::refuse_in_time(core, pid, signal);
        }
        monitor
    }

    /// Takes a monitor back; whether its `Down` had not come yet. It is never handled afterwards, even
    /// if it is in the mailbox already. OTP: `demonitor(Ref, [flush, info])`; the form without `flush`
    /// does not exist here.
    pub fn demonitor(&self, monitor: MonitorRef) -> bool {
        let Some(pid) = self.extra().monitoring.remove(&monitor) else {
            if self.extra().flush_passed(Passed::Down(monitor)) {
                self.core().count(Count::Handled, 1);
            }
            return false;
        };
        let target = self.core().find(pid);
        if target.is_some_and(|target| send_signal(&target, Signal::Demonitor { monitor }).is_ok())
        {
            return true;
        }
        // Dead, so that its `Down` may be here; if it is not, it is dropped when it comes.
        !self.flush(
            Passed::Down(monitor),
            |notice| matches!(notice, Notice::Down(down) if down.monitor == monitor),
        )
    }

    /// Whether exit signals become messages; returns what it was before. Default: `false`, an
    /// abnormal exit signal ends the process. OTP: `process_flag(trap_exit, _)`.
    pub fn trap_exit(&self, trap: bool) -> bool {
        // SAFETY: in the process's turn.
        std::mem::replace(&mut unsafe { self.cell().own() }.trap_exit, trap)
    }

    /// Sends an exit signal. [`ExitReason::Kill`] cannot be trapped. To a dead process: nothing. OTP:
    /// `exit/2`; the table of what it does is in the guide.
    pub fn exit(&self, pid: Pid, reason: ExitReason) {
        if let Some(target) = self.core().find(pid) {
            let _ = send_signal(
                &target,
                Signal::Exit {
                    from: Some(self.pid()),
                    reason,
                    cause: Cause::Sent,
                },
            );
        }
    }

    /// As [`exit`](Self::exit), as the parent that ends its child: a behaviour that traps exits stops
    /// with this reason.
    pub(crate) fn exit_child(&self, pid: Pid, reason: ExitReason) {
        if let Some(target) = self.core().find(pid) {
            let _ = send_signal(
                &target,
                Signal::Exit {
                    from: Some(self.pid()),
                    reason,
                    cause: Cause::Parent,
                },
            );
        }
    }

    /// Sends a message to a bare pid. OTP: `Pid ! Message`.
    pub fn send<M: Send + 'static>(&self, pid: Pid, message: M) {
        send_any(self.core(), pid, message);
    }

    /// Sends `message` to `to` after `after`; at least 1 ms of resolution, never early. OTP:
    /// `erlang:send_after/3`. The target may be a ref, a pid, or a name, which is looked up when the
    /// timer fires.
    pub fn send_after<M: Send + 'static>(
        &self,
        after: Duration,
        to: &impl Destination<M>,
        message: M,
    ) -> TimerRef {
        self.system().send_after(after, to, message)
    }

    /// Sends a clone of `message` to `to` every `period`, first after one; ends with the target, or by
    /// [`cancel_timer`](Self::cancel_timer). OTP: `timer:send_interval/3`. Does not drift.
    pub fn send_interval<M, D>(&self, period: Duration, to: &D, message: M) -> TimerRef
    where
        M: Clone + Send + 'static,
        D: Destination<M> + Clone + Send + 'static,
    {
        self.system().send_interval(period, to, message)
    }

    /// Cancels a timer; the time it had left, or `None` if it has fired (its message may be in the
    /// mailbox) or was cancelled. OTP: `erlang:cancel_timer/1`.
    pub fn cancel_timer(&self, timer: TimerRef) -> Option<Duration> {
        self.core().timers.cancel(self.core(), timer)
    }

    /// The time a timer has left, or `None`. OTP: `erlang:read_timer/1`.
    pub fn read_timer(&self, timer: TimerRef) -> Option<Duration> {
        self.core().timers.read(self.core(), timer)
    }

    /// Waits for `time`, on the system's clock.
    pub fn sleep(&self, time: Duration) -> Sleep {
        Sleep {
            core: self.core().clone(),
            at: timers::due_in(self.core(), time),
            timer: None,
        }
    }

    /// Goes to the back of the queue. OTP: `erlang:yield/0`.
    pub fn yield_now(&self) -> Yield {
        Yield { done: false }
    }

    /// Charges `reductions` messages' worth of work to this turn's budget; when it is used up the
    /// process goes to the back of the queue after the current handler. OTP: `bump_reductions/1`.
    pub fn consume(&self, reductions: u32) {
        if let Some(worker) = here() {
            let budget = &worker.turn.budget;
            budget.set(budget.get().saturating_sub(reductions));
        }
    }

    /// Runs `work`, which may block or compute for long, on a thread of the dirty pool, and waits for
    /// its result. On a manual system without a pool it runs inline.
    ///
    /// # Errors
    /// The closure panicked: [`CallError::Exited`] with the panic.
    ///
    /// # Cancellation
    /// The process may die, or drop this, at once; the closure runs to its end and its result is
    /// dropped.
    pub fn blocking<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Blocking<R> {
        Blocking {
            call: blocking(self.core(), work),
        }
    }

    /// Starts a process that receives messages of type `M` by itself. Not linked. OTP: `spawn/1`.
    ///
    /// # Errors
    /// [`SpawnError`](crate::SpawnError): the system is shut down.
    pub fn spawn<M, F, R>(
        &self,
        run: impl FnOnce(Inbox<M>) -> F + Send + 'static,
    ) -> Result<crate::Recipient<M>, crate::SpawnError>
    where
        M: Send + 'static,
        F: Future<Output = R> + Send + 'static,
        R: IntoExit,
    {
        self.spawn_with(SpawnOptions::new(), run)
    }

    /// As [`spawn`](Self::spawn), with options.
    ///
    /// # Errors
    /// As for [`spawn`](Self::spawn).
    pub fn spawn_with<M, F, R>(
        &self,
        options: SpawnOptions,
        run: impl FnOnce(Inbox<M>) -> F + Send + 'static,
    ) -> Result<crate::Recipient<M>, crate::SpawnError>
    where
        M: Send + 'static,
        F: Future<Output = R> + Send + 'static,
        R: IntoExit,
    {
        crate::receive::spawn(self.core(), &options, Ties::default(), run).map(|(to, _)| to)
    }

    /// As [`spawn`](Self::spawn), linked from the start. OTP: `spawn_link/1`.
    ///
    /// # Errors
    /// As for [`spawn`](Self::spawn).
    pub fn spawn_link<M, F, R>(
        &self,
        run: impl FnOnce(Inbox<M>) -> F + Send + 'static,
    ) -> Result<crate::Recipient<M>, crate::SpawnError>
    where
        M: Send + 'static,
        F: Future<Output = R> + Send + 'static,
        R: IntoExit,
    {
        let ties = Ties {
            link: true,
            ..Ties::default()
        };
        crate::receive::spawn(self.core(), &SpawnOptions::new(), ties, run).map(|(to, _)| to)
    }

    /// As [`spawn`](Self::spawn), monitored from the start. OTP: `spawn_monitor/1`.
    ///
    /// # Errors
    /// As for [`spawn`](Self::spawn).
    pub fn spawn_monitor<M, F, R>(
        &self,
        run: impl FnOnce(Inbox<M>) -> F + Send + 'static,
    ) -> Result<(crate::Recipient<M>, MonitorRef), crate::SpawnError>
    where
        M: Send + 'static,
        F: Future<Output = R> + Send + 'static,
        R: IntoExit,
    {
        let ties = Ties {
            monitor: true,
            ..Ties::default()
        };
        let (to, monitor) = crate::receive::spawn(self.core(), &SpawnOptions::new(), ties, run)?;
        // A monitored spawn from a process always has its monitor.
        Ok((to, monitor.unwrap_or(MonitorRef(0))))
    }
}

/// Sends a message of any type to a bare pid.
pub(crate) fn send_any<M: Send + 'static>(core: &Core, pid: Pid, message: M) {
    let node = super::envelope::any(message);
    match core.find(pid) {
        // SAFETY: a fresh envelope that any process can take.
        Some(cell) => unsafe { deliver(&cell, node, Class::Counted).settle(&cell) },
        // SAFETY: as above.
        None => unsafe { send_to_nobody(core, Some(pid), node) },
    }
}

/// Asks a process about itself.
pub(crate) fn process_info(core: &CoreRef, pid: Pid) -> Info {
    let (answer, pending) = question::<ProcessInfo>();
    let asked = core
        .find(pid)
        .is_some_and(|cell| send_signal(&cell, Signal::Info { answer }).is_ok());
    Info {
        call: wait_for(core, pending, asked),
    }
}

/// Monitors a process from outside any process, for at most `timeout`.
pub(crate) fn monitor_outside(core: &CoreRef, pid: Pid, timeout: Option<Duration>) -> Monitor {
    let (answer, pending) = question::<Down>();
    let monitor = core.new_monitor();
    let signal = Signal::Monitor {
        monitor,
        watcher: Watcher::Outside(answer),
    };
    let refused = match core.find(pid) {
        Some(cell) => send_signal(&cell, signal).err(),
        None => Some(signal),
    };
    if let Some(signal) = refused {
        death::refuse_in_time(core, pid, signal);
    }
    Monitor {
        call: Call::new(core, pending, timeout),
        core: core.clone(),
        monitor,
        pid,
    }
}

fn wait_for<R>(core: &CoreRef, pending: Pending<R>, asked: bool) -> Call<R> {
    if asked {
        Call::new(core, pending, None)
    } else {
        Call::failed(CallError::NoProc)
    }
}

pub(crate) fn blocking<R: Send + 'static>(
    core: &CoreRef,
    work: impl FnOnce() -> R + Send + 'static,
) -> Call<R> {
    let (answer, pending) = question::<R>();
    let process = super::caller::caller();
    let run = move || {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        answer
            .send(result.map_err(|payload| CallError::Exited(super::turn::panic_reason(payload))));
    };
    if core.pool.has_threads() {
        core.pool.run(
            core,
            Box::new(move || {
                let _poll = crate::exit::enter_poll();
                let _behalf = super::caller::on_behalf_of(process);
                run();
            }),
        );
    } else {
        run();
    }
    Call::new(core, pending, None)
}

/// The result of [`ProcessContext::blocking`], when it comes.
#[must_use = "the work runs, but its result is dropped"]
#[derive(Debug)]
pub struct Blocking<R> {
    call: Call<R>,
}

waits!(Blocking<R>, Result<R, CallError>, |_: &mut Blocking<R>, answer| answer);

/// The answer of [`Handle::process_info`](crate::Handle::process_info).
#[must_use = "the process is asked, but its answer is dropped"]
#[derive(Debug)]
pub struct Info {
    pub(crate) call: Call<ProcessInfo>,
}

// A process that dies with the question unanswered is one there is nothing to say about.
waits!(Info, Option<ProcessInfo>, |_: &mut Info,
                                   answer: Result<
    ProcessInfo,
    CallError,
>| answer.ok());

/// The end of a process, when it comes: [`Handle::monitor`](crate::Handle::monitor). Dropping it takes
/// the monitor's notice back.
#[must_use = "the process is monitored, but the news of its end is dropped"]
pub struct Monitor {
    call: Call<Down>,
    core: CoreRef,
    monitor: MonitorRef,
    pid: Pid,
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Monitor").field(&self.pid).finish()
    }
}

impl Monitor {
    /// A monitor that was never made.
    pub(crate) fn failed(core: &CoreRef, pid: Pid, error: CallError) -> Self {
        Monitor {
            call: Call::failed(error),
            core: core.clone(),
            monitor: MonitorRef(0),
            pid,
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        if self.call.is_over() {
            return;
        }
        if let Some(target) = self.core.find(self.pid) {
            let _ = send_signal(
                &target,
                Signal::Demonitor {
                    monitor: self.monitor,
                },
            );
        }
    }
}

waits!(Monitor, Result<Down, CallError>, |_: &mut Monitor, answer| answer);

/// A wait for a time: [`ProcessContext::sleep`].
#[must_use = "a sleep does nothing unless awaited"]
pub struct Sleep {
    core: CoreRef,
    at: u64,
    timer: Option<(TimerRef, std::task::Waker)>,
}

impl std::fmt::Debug for Sleep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sleep").finish_non_exhaustive()
    }
}

impl Sleep {
    pub(crate) fn until(core: CoreRef, at: u64) -> Self {
        Sleep {
            core,
            at,
            timer: None,
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        if self.core.clock.now() >= self.at {
            // Whoever waited for it has been out of turn.
            if self.timer.is_none() && out_of_turn(cx) {
                return Poll::Pending;
            }
            return Poll::Ready(());
        }
        note_other_wait(cx);
        if self
            .timer
            .as_ref()
            .is_none_or(|(_, old)| !waker::same(old, cx.waker()))
        {
            if let Some((timer, _)) = self.timer.take() {
                self.core.timers.cancel(&self.core, timer);
            }
            let timer =
                self.core
                    .timers
                    .arm(&self.core, self.at, Due::Wake(waker::waiter(cx.waker())));
            self.timer = Some((timer, waker::waiter(cx.waker())));
        }
        if self.core.timers.is_closed() {
            return Poll::Ready(()); // nobody is woken by this system any more
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some((timer, _)) = self.timer.take() {
            self.core.timers.cancel(&self.core, timer);
        }
    }
}

/// Goes to the back of the queue once: [`ProcessContext::yield_now`].
#[must_use = "yields only when awaited"]
#[derive(Debug)]
pub struct Yield {
    done: bool,
}

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        if self.done {
            return Poll::Ready(());
        }
        self.done = true;
        note_other_wait(cx);
        if let Some(worker) = here() {
            worker.turn.yielded.set(true);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
