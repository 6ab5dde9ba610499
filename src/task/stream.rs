//! A task for each item of an iterator, so many at a time.
//!
//! ```text
//!  items ──▶ begin ──▶ [ Starting ─▶ Running ─▶ Done ]  ──▶ next_value()
//!         (only while fewer than max_concurrency are      (from the front, or,
//!          starting or running: back-pressure)             unordered, whichever is done)
//! ```
//!
//! # Invariants
//! 1. An item is taken from the iterator only inside `next_value`, only when a task for it may start, and
//!    only if no value is known yet that could be given instead: who takes no more has nothing started
//!    that it does not need.
//! 2. Of `flight`, `busy` are not `Done`, at most `max_concurrency`. Done ones wait in it for their turn.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::supervisor::StartTask;
use super::wait::Limit;
use super::{DEFAULT_TIMEOUT, Doom, SHUTDOWN, Task, TaskContext, TaskError, running};
use crate::error::CallError;
use crate::exit::ExitReason;
use crate::process::context::ProcessContext;
use crate::process::pid::Pid;
use crate::process::wait::wait;
use crate::sched::core::CoreRef;
use crate::supervisor::Shutdown;
use crate::sync::Arc;
use crate::system::Handle;

/// What becomes of a stream one of whose tasks takes longer than [`AsyncStream::timeout`]. Elixir: the
/// option `:on_timeout`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnTimeout {
    /// The stream ends: it gives [`TaskError::Timeout`], and all its tasks are killed. The default.
    /// Elixir's exits the caller.
    #[default]
    Exit,
    /// The task is killed; in its place the stream gives [`TaskError::Timeout`], and goes on.
    KillTask,
}

/// A task under way, or to be.
pub(super) enum Begun<R> {
    Task(Task<R>),
    Start(StartTask<R>),
}

/// Starts the task for an item, to be ended in this way with its supervisor, if it has one.
type Begin<I, R> = Box<dyn Fn(I, Shutdown) -> Begun<R> + Send>;

enum Slot<R> {
    Starting(StartTask<R>),
    Running {
        task: Task<R>,
        limit: Limit,
        late: bool,
    },
    Done(Result<R, TaskError>),
}

/// Runs a task for each item, linked to the calling process: a crash of one ends it, unless it traps
/// exits; its end is theirs. Elixir: `Task.async_stream/3`.
///
/// Nothing is started before the first [`next_value`](AsyncStream::next_value). See [`AsyncStream`] for what can be
/// set.
///
/// ```
/// use noex::{System, Task};
///
/// let system = System::new()?;
/// let sum = Task::async_nolink(&system, |cx| async move {
///     let squares = noex::task::async_stream(&cx, 1..=4u64, |n, _| async move { n * n });
///     let mut squares = squares.max_concurrency(2);
///     let mut sum = 0;
///     while let Some(square) = squares.next_value().await {
///         sum += square.unwrap_or(0);
///     }
///     sum
/// });
/// assert_eq!(sum.wait()?, 30);
/// # Ok::<(), noex::Error>(())
/// ```
///
/// # Panics
/// As for [`ProcessContext`].
pub fn async_stream<I, R, F>(
    cx: &ProcessContext,
    items: I,
    work: impl Fn(I::Item, TaskContext) -> F + Send + Sync + 'static,
) -> AsyncStream<I::IntoIter, R>
where
    I: IntoIterator,
    I::Item: Send + 'static,
    R: Send + 'static,
    F: Future<Output = R> + Send + 'static,
{
    let work = Arc::new(work);
    let begin = move |item, _| {
        let work = work.clone();
        let me = ProcessContext::of_whoever_runs();
        Begun::Task(Task::async_link(&me, move |cx| work(item, cx)))
    };
    AsyncStream::new(cx.core(), Some(cx.pid()), items, Box::new(begin))
}

/// As [`async_stream`], with tasks that are linked to nobody: the crash of one is the error in its
/// place. Elixir: `Task.Supervisor.async_stream_nolink/4`, without a supervisor.
///
/// The running process, if there is one, is the owner of the stream; only it may use it. Without an
/// owner, outside any process, whoever holds it may.
pub fn async_stream_nolink<I, R, F>(
    system: &Handle,
    items: I,
    work: impl Fn(I::Item, TaskContext) -> F + Send + Sync + 'static,
) -> AsyncStream<I::IntoIter, R>
where
    I: IntoIterator,
    I::Item: Send + 'static,
    R: Send + 'static,
    F: Future<Output = R> + Send + 'static,
{
    let work = Arc::new(work);
    let handle = system.clone();
    let begin = move |item, _| {
        let work = work.clone();
        Begun::Task(Task::async_nolink(&handle, move |cx| work(item, cx)))
    };
    AsyncStream::new(system.core(), running(), items, Box::new(begin))
}

/// Tasks for the items of an iterator, started as they are asked for: [`async_stream`],
/// [`async_stream_nolink`], and the methods of those names of
/// [`TaskSupervisorRef`](super::TaskSupervisorRef).
///
/// | set by | Elixir | default |
/// |---|---|---|
/// | [`max_concurrency`](Self::max_concurrency) | `:max_concurrency` | the number of scheduler threads |
/// | [`ordered`](Self::ordered) | `:ordered` | `true` |
/// | [`timeout`](Self::timeout) | `:timeout` | 5 s for each task |
/// | [`shutdown`](Self::shutdown) | `:shutdown` | within 5 s |
/// | [`on_timeout`](Self::on_timeout) | `:on_timeout` | [`OnTimeout::Exit`] |
///
/// # Back-pressure
/// [`next_value`](Self::next_value) takes items from the iterator while it has no value to give and fewer
/// than `max_concurrency` tasks run, and never more. Between two calls of it the tasks go on, but none is
/// started. An ordered stream keeps the values that came out of order until their turn; their tasks do
/// not count any more.
///
/// # Cancellation
/// Dropped before its end, by a panic too, it kills the tasks that run. (If an exit signal ends its
/// owner, the tasks of a linked stream die of their links, and those of an unlinked one go on, as in
/// Elixir. A linked stream that is dropped elsewhere than in its owner leaves its tasks alone.)
#[must_use = "starts nothing until `next_value` is waited for"]
pub struct AsyncStream<I: Iterator, R> {
    items: Option<I>,
    begin: Begin<I::Item, R>,
    core: CoreRef,
    owner: Option<Pid>,
    max: usize,
    ordered: bool,
    timeout: Option<Duration>,
    shutdown: Shutdown,
    on_timeout: OnTimeout,
    flight: VecDeque<Slot<R>>,
    /// How many in `flight` are not done.
    busy: usize,
}

// Items and values are moved, never polled.
impl<I: Iterator, R> Unpin for AsyncStream<I, R> {}

impl<I: Iterator, R> std::fmt::Debug for AsyncStream<I, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AsyncStream")
            .field("owner", &self.owner)
            .field("max_concurrency", &self.max)
            .field("in_flight", &self.flight.len())
            .finish_non_exhaustive()
    }
}

impl<I: Iterator, R: Send + 'static> AsyncStream<I, R> {
    pub(super) fn new(
        core: &CoreRef,
        owner: Option<Pid>,
        items: impl IntoIterator<Item = I::Item, IntoIter = I>,
        begin: Begin<I::Item, R>,
    ) -> Self {
        AsyncStream {
            items: Some(items.into_iter()),
            begin,
            core: core.clone(),
            owner,
            max: core.remotes.len().max(1),
            ordered: true,
            timeout: Some(DEFAULT_TIMEOUT),
            shutdown: SHUTDOWN,
            on_timeout: OnTimeout::default(),
            flight: VecDeque::new(),
            busy: 0,
        }
    }

    /// How many tasks may run at once, at least 1. Default: the number of scheduler threads.
    pub fn max_concurrency(mut self, tasks: usize) -> Self {
        self.max = tasks.max(1);
        self
    }

    /// Whether the values come in the order of the items, or as they are done. Default: `true`.
    pub fn ordered(mut self, ordered: bool) -> Self {
        self.ordered = ordered;
        self
    }

    /// How long each task may take, from its start; `None`: as long as it likes. Default: 5 s.
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = timeout.into();
        self
    }

    /// How the tasks of a [`TaskSupervisorRef`](super::TaskSupervisorRef)'s stream are ended with that
    /// supervisor; other streams have no use for it. Default: within 5 s.
    pub fn shutdown(mut self, how: Shutdown) -> Self {
        self.shutdown = how;
        self
    }

    /// What becomes of the stream when a task takes longer. Default: [`OnTimeout::Exit`].
    pub fn on_timeout(mut self, on_timeout: OnTimeout) -> Self {
        self.on_timeout = on_timeout;
        self
    }

    /// Waits for the next value; `None`: there are no more.
    ///
    /// # Errors
    /// They stand in place of the value. After [`TaskError::Exited`], and after [`TaskError::Timeout`]
    /// with [`OnTimeout::KillTask`], the stream goes on; after any other it is over.
    pub fn next_value(&mut self) -> NextValue<'_, I, R> {
        NextValue { stream: self }
    }

    /// Waits for all values. Elixir: `Enum.to_list/1`.
    ///
    /// # Errors
    /// As for [`next_value`](Self::next_value).
    pub fn collect(self) -> Collect<I, R> {
        Collect {
            stream: self,
            values: Vec::new(),
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<R, TaskError>>> {
        if let Some(owner) = self.owner.filter(|owner| running() != Some(*owner)) {
            return Poll::Ready(Some(Err(TaskError::NotOwner(owner))));
        }
        loop {
            if let Some(value) = self.take_done() {
                return Poll::Ready(Some(value));
            }
            self.fill();
            match self.poll_end(cx) {
                Polled::Busy if self.flight.is_empty() => return Poll::Ready(None),
                Polled::Busy => return Poll::Pending,
                // Its place is filled, if its value is not what comes next.
                Polled::Done => {}
                Polled::Over(error) => {
                    self.close();
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    /// A value that is known and whose turn it is.
    fn take_done(&mut self) -> Option<Result<R, TaskError>> {
        let place = match self.ordered {
            true => 0,
            false => self.flight.iter().position(Slot::is_done)?,
        };
        if !self.flight.get(place)?.is_done() {
            return None;
        }
        match self.flight.remove(place) {
            Some(Slot::Done(value)) => Some(value),
            _ => None,
        }
    }

    /// Starts tasks while there is room.
    fn fill(&mut self) {
        while self.busy < self.max {
            let Some(item) = self.items.as_mut().and_then(Iterator::next) else {
                self.items = None;
                return;
            };
            self.busy += 1;
            self.flight
                .push_back(match (self.begin)(item, self.shutdown) {
                    Begun::Start(start) => Slot::Starting(start),
                    Begun::Task(task) => Slot::run(task, &self.core, self.timeout),
                });
        }
    }

    /// Looks for one task that has ended since, the oldest first; `Busy`: there is none.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Polled {
        for slot in self.flight.iter_mut().filter(|slot| !slot.is_done()) {
            match slot.poll(cx, &self.core, self.timeout, self.on_timeout) {
                Polled::Busy => {}
                Polled::Done => {
                    self.busy -= 1;
                    return Polled::Done;
                }
                over @ Polled::Over(_) => return over,
            }
        }
        Polled::Busy
    }
}

impl<I: Iterator, R> AsyncStream<I, R> {
    /// Ends it: what runs is killed.
    fn close(&mut self) {
        self.items = None;
        self.busy = 0;
        for mut slot in self.flight.drain(..) {
            slot.kill(&self.core);
        }
    }
}

impl<I: Iterator, R> Drop for AsyncStream<I, R> {
    fn drop(&mut self) {
        // An owner that is dying leaves its tasks to their links.
        if self.owner.is_none_or(|owner| self.core.is_alive(owner)) {
            self.close();
        }
    }
}

/// Where a slot is after a poll.
enum Polled {
    Busy,
    Done,
    /// The stream ends with this error.
    Over(TaskError),
}

impl<R> Slot<R> {
    fn run(task: Task<R>, core: &CoreRef, timeout: Option<Duration>) -> Self {
        Slot::Running {
            task,
            limit: Limit::new(Some(core), timeout),
            late: false,
        }
    }

    fn is_done(&self) -> bool {
        matches!(self, Slot::Done(_))
    }

    /// Kills the task, unlinked before so that it takes nobody along.
    fn kill(&mut self, core: &CoreRef) {
        let Slot::Running { task, .. } = self else {
            // One that is being started ends when the right to let it go is dropped.
            return;
        };
        let Some(pid) = task.pid() else { return };
        if task.linked {
            if task.check_owner().is_err() {
                return;
            }
            ProcessContext::of_whoever_runs().unlink_flush(pid);
            task.linked = false;
        }
        Handle::new(core.clone()).exit(pid, ExitReason::Kill);
    }
}

impl<R: Send + 'static> Slot<R> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        core: &CoreRef,
        timeout: Option<Duration>,
        on_timeout: OnTimeout,
    ) -> Polled {
        if let Slot::Starting(start) = self {
            match Pin::new(start).poll(cx) {
                Poll::Pending => return Polled::Busy,
                Poll::Ready(Err(error)) => return Polled::Over(error),
                Poll::Ready(Ok(task)) => *self = Slot::run(task, core, timeout),
            }
        }
        let Slot::Running { task, limit, late } = self else {
            return Polled::Done;
        };
        let (pid, linked) = (task.pid(), task.linked);
        if let Poll::Ready(end) = task.poll_end(cx, Doom::Waits) {
            let end = match end {
                Err(TaskError::Exited(_)) if *late => Err(TaskError::Timeout),
                Err(error @ (TaskError::Refused | TaskError::NotOwner(_))) => {
                    return Polled::Over(error);
                }
                end => end,
            };
            // An owner that traps exits has no use for the `Exit` of each task.
            if let Some(pid) = pid.filter(|_| linked) {
                ProcessContext::of_whoever_runs().unlink_flush(pid);
            }
            *self = Slot::Done(end);
            return Polled::Done;
        }
        if !*late && limit.poll(cx).is_ready() {
            if on_timeout == OnTimeout::Exit {
                return Polled::Over(TaskError::Timeout);
            }
            *late = true;
            self.kill(core);
        }
        Polled::Busy
    }
}

/// The wait for the next value of a stream: [`AsyncStream::next_value`].
///
/// # Cancellation
/// Dropped before it is ready it has taken no value; tasks it started go on.
#[must_use = "does nothing unless waited for"]
pub struct NextValue<'a, I: Iterator, R> {
    stream: &'a mut AsyncStream<I, R>,
}

impl<I: Iterator, R> std::fmt::Debug for NextValue<'_, I, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("NextValue").field(&self.stream).finish()
    }
}

impl<I: Iterator, R: Send + 'static> Future for NextValue<'_, I, R> {
    type Output = Option<Result<R, TaskError>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.stream.poll_next(cx)
    }
}

impl<I: Iterator, R: Send + 'static> NextValue<'_, I, R> {
    /// Blocks the calling thread. On the thread that drives a manual system this runs the system
    /// meanwhile. For streams without an owner.
    ///
    /// # Errors
    /// As the future itself; also, as [`TaskError::Call`], that the caller must not block, or that a
    /// manual system has nothing left to run. The stream is as it was then.
    pub fn wait(self) -> Option<Result<R, TaskError>> {
        self.block(None)
    }

    /// As [`wait`](Self::wait), for at most `timeout` from now.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait), and [`TaskError::Timeout`]; the stream is as it was then.
    pub fn wait_timeout(self, timeout: Duration) -> Option<Result<R, TaskError>> {
        self.block(Some(timeout))
    }

    fn block(mut self, timeout: Option<Duration>) -> Option<Result<R, TaskError>> {
        let core = self.stream.core.clone();
        wait(Some(&core), &mut self, timeout)
            .unwrap_or_else(|why| Some(Err(CallError::from(why).into())))
    }
}

/// The wait for all values of a stream: [`AsyncStream::collect`].
///
/// # Cancellation
/// As for the [`AsyncStream`]: the tasks that run are killed.
#[must_use = "does nothing unless waited for"]
pub struct Collect<I: Iterator, R> {
    stream: AsyncStream<I, R>,
    values: Vec<Result<R, TaskError>>,
}

impl<I: Iterator, R> Unpin for Collect<I, R> {}

impl<I: Iterator, R> std::fmt::Debug for Collect<I, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Collect").field(&self.stream).finish()
    }
}

impl<I: Iterator, R: Send + 'static> Future for Collect<I, R> {
    type Output = Vec<Result<R, TaskError>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        while let Poll::Ready(next) = self.stream.poll_next(cx) {
            let Some(value) = next else {
                return Poll::Ready(std::mem::take(&mut self.values));
            };
            let foreign = matches!(value, Err(TaskError::NotOwner(_)));
            self.values.push(value);
            if foreign {
                return Poll::Ready(std::mem::take(&mut self.values));
            }
        }
        Poll::Pending
    }
}

impl<I: Iterator, R: Send + 'static> Collect<I, R> {
    /// Blocks the calling thread. On the thread that drives a manual system this runs the system
    /// meanwhile. For streams without an owner.
    ///
    /// # Errors
    /// As the future itself; also, as the last value, that the caller must not block, or that a manual
    /// system has nothing left to run.
    pub fn wait(self) -> Vec<Result<R, TaskError>> {
        self.block(None)
    }

    /// As [`wait`](Self::wait), for at most `timeout` from now.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait), and, as the last value, [`TaskError::Timeout`].
    pub fn wait_timeout(self, timeout: Duration) -> Vec<Result<R, TaskError>> {
        self.block(Some(timeout))
    }

    fn block(mut self, timeout: Option<Duration>) -> Vec<Result<R, TaskError>> {
        let core = self.stream.core.clone();
        wait(Some(&core), &mut self, timeout).unwrap_or_else(|why| {
            let mut values = std::mem::take(&mut self.values);
            values.push(Err(CallError::from(why).into()));
            values
        })
    }
}
