//! Tasks: processes that do one thing and are waited for. OTP: none; Elixir: `Task`.
//!
//! ```text
//!  owner ── Task::async_link ──▶ task's process          the owner's death ends the task,
//!    │            (link)              │ value            and the other way round
//!    │                                ▼
//!    └── task.await ◀── Down ──── [ slot ]
//! ```
//!
//! | Elixir | here |
//! |---|---|
//! | `Task.async/1` | [`Task::async_link`] |
//! | `Task.await/2` | `task.await`, [`Task::await_for`], [`Task::wait`] |
//! | `Task.await_many/2` | [`await_many`] |
//! | `Task.yield/2`, `Task.yield_many/2` | [`Task::yield_for`], [`yield_many`] |
//! | `Task.shutdown/2`, `Task.ignore/1` | [`Task::shutdown`], [`Task::ignore`] |
//! | `Task.start/1`, `Task.start_link/1` | [`Task::start`], [`Task::start_link`] |
//! | `Task.completed/1`, `Task.child_spec/1` | [`Task::completed`], [`Task::child_spec`] |
//! | `Task.async_stream/3` | [`async_stream`], [`async_stream_nolink`] |
//! | `$callers` | [`ProcessContext::callers`], [`ProcessInfo::callers`](crate::ProcessInfo::callers) |
//! | `Task.Supervisor` | [`TaskSupervisor`], [`TaskSupervisorRef`] |
//!
//! | part | what it holds |
//! |---|---|
//! | `body` | the task's process, and the slot for its value |
//! | `wait` | the futures that wait for tasks |
//! | `stream` | [`AsyncStream`]: a task for each item of an iterator, so many at a time |
//! | `supervisor`, `supervised` | [`TaskSupervisor`], and its process |
//!
//! # Rules
//! - **Link.** A task made by [`Task::async_link`] and the process that made it, its *owner*, are
//!   linked. A task that crashes takes an owner along that does not trap exits; such an owner never
//!   sees the error of its `await`. One that traps exits gets the error and the `Exit` message. A task
//!   dies with its owner, unless that ends with `Normal` or the task traps exits.
//! - **Owner.** Only the owner may wait for its task, look whether it is done, or shut it down;
//!   anybody else gets [`TaskError::NotOwner`]. A task that was made outside any process, which only
//!   [`Task::async_nolink`] and its like can, has no owner: whoever holds it may.
//! - **Callers.** A task knows who asked for it, and for that one, and so on:
//!   [`ProcessContext::callers`]. Who starts it, its [parent](ProcessContext::parent), may be another:
//!   its supervisor.
//! - **Value.** A task is done when its process has ended: what its function held is dropped then.
//!
//! # Invariants
//! 1. The value is in the slot before the process ends; so whoever has seen its end finds it there.
//! 2. The process is monitored before it runs; so the reason of its end is never lost.
//! 3. A dying process tells its links first and its monitors after; so when an owner sees the end of a
//!    linked task, the exit signal is in its mailbox.

mod body;
mod stream;
mod supervised;
mod supervisor;
mod wait;

use std::convert::Infallible;
use std::future::{Future, IntoFuture};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub use self::stream::{
    AsyncStream, Collect, NextValue, OnTimeout, async_stream, async_stream_nolink,
};
pub use self::supervisor::{
    StartTask, TaskChild, TaskSupervisor, TaskSupervisorRef, TaskSupervisorStart,
};
pub use self::wait::{Await, AwaitMany, Stopping, YieldMany, Yielding, await_many, yield_many};

use self::body::Process;
use crate::error::{CallError, SpawnError};
use crate::exit::ExitReason;
use crate::process::call::{note_other_wait, out_of_turn};
use crate::process::context::ProcessContext;
use crate::process::line::Line;
use crate::process::pid::Pid;
use crate::process::spawn::Ties;
use crate::receive::{Inbox, IntoExit};
use crate::sched::core::CoreRef;
use crate::sched::worker::here;
use crate::supervisor::{ChildSpec, Restart, Shutdown, Starter};
use crate::sync::Arc;
use crate::system::Handle;

/// The default timeout of [`Task::await_for`] and its like, as in Elixir.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// What a task's function is given: its [`ProcessContext`], and a mailbox. No
/// typed messages can be sent to a task; what is sent to its pid comes as
/// [`Received::Any`](crate::Received::Any).
pub type TaskContext = Inbox<Infallible>;

/// Why a task gave no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The task ended without a value: it panicked, was killed, or ended itself. Elixir: `{:exit,
    /// reason}`, and the exit of who awaits. `NoProc`: its value was taken before.
    #[error("the task ended without a value")]
    Exited(#[source] ExitReason),
    /// It was not done in time. It goes on, linked if it was. Elixir: `{:timeout, {Task, :await, _}}`.
    #[error("the task was not done within the timeout")]
    Timeout,
    /// Somebody other than the task's owner, this process, waits for it. Elixir: `ArgumentError`.
    #[error("only {0}, which started the task, may wait for it")]
    NotOwner(Pid),
    /// The supervisor has as many tasks as it may. Elixir: `:max_children`.
    #[error("the task supervisor has as many tasks as it may")]
    MaxChildren,
    /// The system starts no more processes.
    #[error("the system starts no more processes")]
    Refused,
    /// The task supervisor is gone; or the caller must not block here, or a manual system has nothing
    /// left to run.
    #[error(transparent)]
    Call(CallError),
}

impl From<CallError> for TaskError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Timeout => TaskError::Timeout,
            other => TaskError::Call(other),
        }
    }
}

impl From<SpawnError> for TaskError {
    fn from(_: SpawnError) -> Self {
        TaskError::Refused
    }
}

/// A task under way: a handle on its process and its value to be. Elixir: `%Task{}`.
///
/// `.await` waits for the value, for at most 5 s; [`await_for`](Self::await_for) with another
/// timeout, [`wait`](Self::wait) blocks. Each task is awaited once, by its owner (see the
/// [rules](self#rules)).
///
/// Unlike Elixir's, an await that fails is an `Err`, not an exit of the caller. So a timeout leaves a
/// linked task running; [`yield_for`](Self::yield_for) and then [`shutdown`](Self::shutdown) end it.
///
/// # Examples
/// ```
/// use noex::{Inbox, System, Task};
///
/// let system = System::new()?;
/// let done = Task::async_nolink(&system, |cx| async move {
///     let half = Task::async_link(&cx, |_| async { 20 });
///     let rest = Task::async_link(&cx, |_| async { 22 });
///     half.await.unwrap_or(0) + rest.await.unwrap_or(0)
/// });
/// assert_eq!(done.wait()?, 42);
/// # Ok::<(), noex::Error>(())
/// ```
///
/// # Cancellation
/// Dropping it gives up interest in the value, nothing else: the task goes on, linked if it was.
#[must_use = "the task runs, but its value is dropped"]
pub struct Task<R> {
    state: State<R>,
    owner: Option<Pid>,
    linked: bool,
}

enum State<R> {
    /// Its process, and how that ended, if the end was seen but not made known yet.
    Process(Process<R>, Option<ExitReason>),
    /// Known without a process.
    Known(Result<R, TaskError>),
    Taken,
}

// The value is moved, never polled.
impl<R> Unpin for Task<R> {}

impl<R> std::fmt::Debug for Task<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task")
            .field("pid", &self.pid())
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

/// How long a supervised task has to end, as in Elixir.
const SHUTDOWN: Shutdown = Shutdown::Timeout(Duration::from_secs(5));

/// How a task is tied to whom it is linked.
const LINK: Ties = Ties {
    link: true,
    monitor: false,
    root: false,
};

/// The process whose turn this is.
pub(crate) fn running() -> Option<Pid> {
    ProcessContext::of_whoever_runs()
        .running()
        .map(|cell| cell.pid())
}

impl Task<()> {
    /// Starts a task nobody waits for, not linked. What it returns is its exit reason. Elixir:
    /// `Task.start/1`.
    ///
    /// # Errors
    /// [`SpawnError`]: the system is shut down.
    pub fn start<F, E>(
        system: &Handle,
        work: impl FnOnce(TaskContext) -> F + Send + 'static,
    ) -> Result<Pid, SpawnError>
    where
        F: Future<Output = E> + Send + 'static,
        E: IntoExit,
    {
        let asked = ProcessContext::of_whoever_runs().asks();
        body::start(system.core(), Handle::ties(), asked, work)
    }

    /// As [`start`](Self::start), linked to the calling process. Elixir: `Task.start_link/1`.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn start_link<F, E>(
        cx: &ProcessContext,
        work: impl FnOnce(TaskContext) -> F + Send + 'static,
    ) -> Result<Pid, SpawnError>
    where
        F: Future<Output = E> + Send + 'static,
        E: IntoExit,
    {
        body::start(cx.core(), LINK, cx.asks(), work)
    }

    /// A task as a child of a supervisor. Temporary: not restarted unless told so by
    /// [`ChildSpec::restart`]. Elixir: `Task.child_spec/1`.
    pub fn child_spec<F, E>(
        id: impl Into<Arc<str>>,
        work: impl Fn(TaskContext) -> F + Send + Sync + 'static,
    ) -> ChildSpec
    where
        F: Future<Output = E> + Send + 'static,
        E: IntoExit,
    {
        let work = Arc::new(work);
        let start = move |starter: Starter| {
            let work = work.clone();
            std::future::ready(starter.spawn_task(move |cx: TaskContext| work(cx)))
        };
        ChildSpec::worker(id, start).restart(Restart::Temporary)
    }
}

impl<R: Send + 'static> Task<R> {
    /// Starts a task that is linked to the calling process, its owner. Elixir: `Task.async/1`.
    ///
    /// `work` is called in the task's process. What it returns is the value, a `Result` too; a task
    /// crashes by panicking, or by sending itself an exit signal. If the system is shut down, the
    /// await fails with [`TaskError::Refused`].
    ///
    /// # Panics
    /// As for [`ProcessContext`].
    pub fn async_link<F>(
        cx: &ProcessContext,
        work: impl FnOnce(TaskContext) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = R> + Send + 'static,
    {
        Self::launch(cx.core(), LINK, (Some(cx.pid()), cx.asks()), work)
    }

    /// Starts a task that is linked to nobody: its crash is an error of the await and nothing else.
    /// Its owner is the running process, if there is one. Elixir: `Task.Supervisor.async_nolink/2`,
    /// without a supervisor.
    ///
    /// Started from outside any process it is, as all such processes, a child of the system's root.
    pub fn async_nolink<F>(
        system: &Handle,
        work: impl FnOnce(TaskContext) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = R> + Send + 'static,
    {
        let asked = ProcessContext::of_whoever_runs().asks();
        Self::launch(system.core(), Handle::ties(), (running(), asked), work)
    }

    fn launch<F>(
        core: &CoreRef,
        ties: Ties,
        (owner, asked): (Option<Pid>, Line),
        work: impl FnOnce(TaskContext) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = R> + Send + 'static,
    {
        let linked = ties.link;
        let state = match body::spawn(core, ties, None, asked, work) {
            Ok(process) => State::Process(process, None),
            Err(SpawnError) => State::Known(Err(TaskError::Refused)),
        };
        Task {
            state,
            owner,
            linked,
        }
    }

    /// Waits for the value, for at most `timeout` from now; `None`: for as long as it takes. Elixir:
    /// `Task.await/2`.
    ///
    /// # Errors
    /// - [`TaskError::Exited`]: it ended without a value.
    /// - [`TaskError::Timeout`]: it goes on; its value will be dropped.
    /// - [`TaskError::NotOwner`], [`TaskError::Refused`]: see there.
    pub fn await_for(self, timeout: impl Into<Option<Duration>>) -> Await<R> {
        Await::new(self, timeout.into())
    }

    /// Blocks until the value is here, for at most 5 s. For tasks without an owner.
    ///
    /// # Errors
    /// As for [`await_for`](Self::await_for); also, as [`TaskError::Call`], that the caller must not
    /// block, or that a manual system has nothing left to run.
    pub fn wait(self) -> Result<R, TaskError> {
        self.await_for(DEFAULT_TIMEOUT).wait()
    }

    /// As [`wait`](Self::wait), for at most `timeout`.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait).
    pub fn wait_timeout(self, timeout: Duration) -> Result<R, TaskError> {
        self.await_for(timeout).wait()
    }

    /// Waits for the value, for at most `timeout` from now, and keeps the task if it is not done.
    /// Elixir: `Task.yield/2`.
    ///
    /// `None`: not done yet. A zero timeout looks once. What it gave is gone: afterwards the task is
    /// `Some(Err(TaskError::Exited(NoProc)))`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use noex::{Shutdown, System, Task};
    /// # let system = System::new()?;
    /// let mut task = Task::async_nolink(&system, |_| std::future::pending::<u32>());
    /// // At most a millisecond for the value, and then no more of it.
    /// let value = match task.yield_for(Duration::from_millis(1)).wait() {
    ///     None => task.shutdown(Shutdown::BrutalKill).wait(),
    ///     some => some,
    /// };
    /// assert!(value.is_none());
    /// # Ok::<(), noex::Error>(())
    /// ```
    pub fn yield_for(&mut self, timeout: impl Into<Option<Duration>>) -> Yielding<'_, R> {
        Yielding::new(self, timeout.into())
    }

    /// Ends the task, which is unlinked first, and waits until it is gone. Elixir: `Task.shutdown/2`.
    ///
    /// [`Shutdown::Timeout`] and [`Shutdown::Infinity`] send it an exit signal with
    /// [`ExitReason::Shutdown`], which ends it at once unless it traps exits; after the timeout it is
    /// killed. [`Shutdown::BrutalKill`] kills it.
    ///
    /// | how the task ended | `shutdown` gives |
    /// |---|---|
    /// | with a value, before or meanwhile | `Some(Ok(value))` |
    /// | with `Shutdown`, or killed by `BrutalKill`: as it was told | `None` |
    /// | any other reason, of its own or killed after the timeout | `Some(Err(TaskError::Exited(_)))` |
    ///
    /// By somebody else than the owner nothing is done: `Some(Err(TaskError::NotOwner(_)))`. A
    /// [`completed`](Self::completed) task gives its value (Elixir: `ArgumentError`).
    ///
    /// # Cancellation
    /// Dropped before it is ready, it kills the task.
    pub fn shutdown(self, how: Shutdown) -> Stopping<R> {
        Stopping::new(self, how)
    }

    /// Lets go of the task: it goes on, unlinked, and its value is dropped. Elixir: `Task.ignore/1`.
    ///
    /// If it is done already, what an await would have given. By somebody else than the owner nothing
    /// is done: `Some(Err(TaskError::NotOwner(_)))`.
    pub fn ignore(mut self) -> Option<Result<R, TaskError>> {
        if let State::Known(value) = self.state {
            return Some(value);
        }
        match self.poll_end(&mut Context::from_waker(Waker::noop()), Doom::Told) {
            Poll::Ready(end @ Err(TaskError::NotOwner(_) | TaskError::Exited(_))) => Some(end),
            Poll::Ready(end) => {
                self.unlink();
                Some(end)
            }
            Poll::Pending => {
                self.unlink();
                None
            }
        }
    }

    /// A task that is done already, without a process: for code that sometimes needs none. Elixir:
    /// `Task.completed/1`.
    ///
    /// Anybody may await it.
    pub fn completed(value: R) -> Self {
        Task {
            state: State::Known(Ok(value)),
            owner: None,
            linked: false,
        }
    }
}

impl<R> Task<R> {
    /// Its process; `None`: it never had one. It may have ended.
    pub fn pid(&self) -> Option<Pid> {
        match &self.state {
            State::Process(process, _) => Some(process.pid),
            State::Known(_) | State::Taken => None,
        }
    }

    /// The process that started it; `None`: none did.
    pub fn owner(&self) -> Option<Pid> {
        self.owner
    }

    fn core(&self) -> Option<&CoreRef> {
        match &self.state {
            State::Process(process, _) => Some(&process.core),
            State::Known(_) | State::Taken => None,
        }
    }

    fn check_owner(&self) -> Result<(), TaskError> {
        match self.owner {
            Some(owner) if running() != Some(owner) => Err(TaskError::NotOwner(owner)),
            _ => Ok(()),
        }
    }

    /// Takes the link back, in the owner's turn; otherwise there is nothing to be done about it.
    fn unlink(&mut self) {
        if !std::mem::take(&mut self.linked) || self.check_owner().is_err() {
            return;
        }
        if let State::Process(process, _) = &self.state {
            ProcessContext::of_whoever_runs().unlink(process.pid);
        }
    }

    /// Whether it ended without a value being taken.
    fn poll_end(&mut self, cx: &mut Context<'_>, doom: Doom) -> Poll<Result<R, TaskError>> {
        if let Err(error) = self.check_owner() {
            return Poll::Ready(Err(error));
        }
        let State::Process(process, ended) = &mut self.state else {
            if out_of_turn(cx) {
                return Poll::Pending;
            }
            return Poll::Ready(match std::mem::replace(&mut self.state, State::Taken) {
                State::Known(value) => value,
                _ => Err(TaskError::Exited(ExitReason::NoProc)),
            });
        };
        if ended.is_none() {
            let Poll::Ready(reason) = process.poll_end(cx) else {
                return Poll::Pending;
            };
            *ended = Some(reason);
        }
        let Some(reason) = ended.clone() else {
            return Poll::Pending;
        };
        let value = process.slot.lock().take();
        if value.is_none() && doom == Doom::Waits && self.linked && is_doomed(process.pid, &reason)
        {
            // The exit signal is in the mailbox (invariant 3) and acts first.
            if let Some(worker) = here() {
                worker.turn.yielded.set(true);
            }
            note_other_wait(cx);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.state = State::Taken;
        Poll::Ready(value.ok_or(TaskError::Exited(reason)))
    }
}

/// What is to be done about the exit signal of a linked task that crashed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Doom {
    /// It is let act: the owner does not get the error if the signal ends it.
    Waits,
    /// The owner gets the error.
    Told,
}

/// Whether the running process is about to die of the end of `pid`, to which it is linked.
fn is_doomed(pid: Pid, reason: &ExitReason) -> bool {
    let cx = ProcessContext::of_whoever_runs();
    if reason.is_normal() || cx.running().is_none() || !cx.extra().links.contains(&pid) {
        return false;
    }
    let traps = cx.trap_exit(true);
    cx.trap_exit(traps);
    !traps
}

impl<R: Send + 'static> IntoFuture for Task<R> {
    type Output = Result<R, TaskError>;
    type IntoFuture = Await<R>;

    /// Waits for the value, for at most 5 s. Elixir: `Task.await/1`.
    fn into_future(self) -> Await<R> {
        self.await_for(DEFAULT_TIMEOUT)
    }
}
