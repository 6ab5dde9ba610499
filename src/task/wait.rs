//! The futures that wait for tasks.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::{Doom, State, Task, TaskError};
use crate::exit::ExitReason;
use crate::process::context::{ProcessContext, Sleep};
use crate::process::pid::Pid;
use crate::process::wait::{Unready, wait};
use crate::sched::core::CoreRef;
use crate::sched::timers;
use crate::supervisor::Shutdown;
use crate::system::Handle;

/// A time that runs from when it was set, on the clock of a system.
pub(super) struct Limit {
    core: Option<CoreRef>,
    at: Option<u64>,
    sleep: Option<Sleep>,
}

impl Limit {
    /// `None` for no system: nothing is waited for. `None` for a timeout: there is none.
    pub(super) fn new(core: Option<&CoreRef>, timeout: Option<Duration>) -> Self {
        let at = core
            .zip(timeout)
            .map(|(core, timeout)| timers::due_in(core, timeout));
        Limit {
            core: core.cloned(),
            at,
            sleep: None,
        }
    }

    /// Ready once the time is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (Some(core), Some(at)) = (&self.core, self.at) else {
            return Poll::Pending;
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| Sleep::until(core.clone(), at));
        Pin::new(sleep).poll(cx)
    }

    /// Removes the limit, for whoever watches the time itself; what was left.
    fn lift(&mut self) -> Option<Duration> {
        self.sleep = None;
        let (core, at) = (self.core.as_ref()?, self.at.take()?);
        Some(Duration::from_nanos(at.saturating_sub(core.clock.now())))
    }

    fn core(&self) -> Option<CoreRef> {
        self.core.clone()
    }
}

/// Gives a future with a [`Limit`] its two ways of blocking.
macro_rules! blocks {
    ([$($params:tt)*] $name:ty, $output:ty, $unready:expr) => {
        impl<$($params)*> $name {
            /// Blocks the calling thread. On the thread that drives a manual system this runs the
            /// system meanwhile.
            ///
            /// # Errors
            /// As the future itself; also, as [`TaskError::Call`](crate::TaskError::Call), that the
            /// caller must not block, or that a manual system has nothing left to run.
            pub fn wait(mut self) -> $output {
                let left = self.limit.lift();
                self.block(left)
            }

            /// As [`wait`](Self::wait), for at most `timeout` from now, whichever ends first.
            ///
            /// # Errors
            /// As for [`wait`](Self::wait).
            pub fn wait_timeout(mut self, timeout: ::std::time::Duration) -> $output {
                let left = self.limit.lift().map_or(timeout, |left| left.min(timeout));
                self.block(Some(left))
            }

            fn block(mut self, timeout: Option<::std::time::Duration>) -> $output {
                let core = self.limit.core();
                match $crate::process::wait::wait(core.as_deref(), &mut self, timeout) {
                    Ok(output) => output,
                    Err(unready) => ($unready)(&mut self, unready),
                }
            }
        }
    };
}

fn unready(unready: Unready) -> TaskError {
    crate::error::CallError::from(unready).into()
}

/// The wait for a task's value: `task.await` and [`Task::await_for`].
///
/// # Cancellation
/// As for the [`Task`]: it goes on, and its value is dropped.
#[must_use = "waits for nothing unless waited for"]
pub struct Await<R> {
    task: Task<R>,
    limit: Limit,
}

impl<R> Await<R> {
    pub(super) fn new(task: Task<R>, timeout: Option<Duration>) -> Self {
        let limit = Limit::new(task.core(), timeout);
        Await { task, limit }
    }
}

impl<R> std::fmt::Debug for Await<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Await").field(&self.task).finish()
    }
}

impl<R: Send + 'static> Future for Await<R> {
    type Output = Result<R, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(end) = self.task.poll_end(cx, Doom::Waits) {
            return Poll::Ready(end);
        }
        self.limit.poll(cx).map(|()| Err(TaskError::Timeout))
    }
}

blocks!([R: Send + 'static] Await<R>, Result<R, TaskError>, |_: &mut Self, why| Err(unready(why)));

/// The wait for a task that may not be done: [`Task::yield_for`].
///
/// # Cancellation
/// Dropped before it is ready it has taken nothing.
#[must_use = "waits for nothing unless waited for"]
pub struct Yielding<'a, R> {
    task: &'a mut Task<R>,
    limit: Limit,
}

impl<'a, R> Yielding<'a, R> {
    pub(super) fn new(task: &'a mut Task<R>, timeout: Option<Duration>) -> Self {
        let limit = Limit::new(task.core(), timeout);
        Yielding { task, limit }
    }
}

impl<R> std::fmt::Debug for Yielding<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Yielding").field(&self.task).finish()
    }
}

impl<R: Send + 'static> Future for Yielding<'_, R> {
    type Output = Option<Result<R, TaskError>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(end) = self.task.poll_end(cx, Doom::Waits) {
            return Poll::Ready(Some(end));
        }
        self.limit.poll(cx).map(|()| None)
    }
}

blocks!(['a, R: Send + 'static] Yielding<'a, R>, Option<Result<R, TaskError>>, |_: &mut Self, why| match why {
    Unready::Timeout => None,
    why => Some(Err(unready(why))),
});

/// Waits for several tasks, for at most `timeout` in all: what each gave, in their order; `None`: it
/// is not done, and goes on. Elixir: `Task.yield_many/2`.
///
/// # Errors
/// They stand in the answers, as for [`Task::yield_for`].
pub fn yield_many<R: Send + 'static>(
    tasks: &mut [Task<R>],
    timeout: impl Into<Option<Duration>>,
) -> YieldMany<'_, R> {
    let limit = Limit::new(tasks.iter().find_map(|task| task.core()), timeout.into());
    let ends = tasks.iter().map(|_| None).collect();
    YieldMany { tasks, ends, limit }
}

/// The wait for several tasks, that may not be done: [`yield_many`].
///
/// # Cancellation
/// Dropped before it is ready, the values it has seen are lost.
#[must_use = "waits for nothing unless waited for"]
pub struct YieldMany<'a, R> {
    tasks: &'a mut [Task<R>],
    ends: Vec<Option<Result<R, TaskError>>>,
    limit: Limit,
}

impl<R> Unpin for YieldMany<'_, R> {}

impl<R> std::fmt::Debug for YieldMany<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("YieldMany").field(&self.tasks).finish()
    }
}

impl<R: Send + 'static> Future for YieldMany<'_, R> {
    type Output = Vec<Option<Result<R, TaskError>>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut all = true;
        for (task, end) in this.tasks.iter_mut().zip(&mut this.ends) {
            if end.is_none() {
                match task.poll_end(cx, Doom::Waits) {
                    Poll::Ready(ended) => *end = Some(ended),
                    Poll::Pending => all = false,
                }
            }
        }
        if all || this.limit.poll(cx).is_ready() {
            return Poll::Ready(std::mem::take(&mut this.ends));
        }
        Poll::Pending
    }
}

blocks!(['a, R: Send + 'static] YieldMany<'a, R>, Vec<Option<Result<R, TaskError>>>, |this: &mut Self, why| {
    let mut ends = std::mem::take(&mut this.ends);
    if why != Unready::Timeout {
        for end in ends.iter_mut().filter(|end| end.is_none()) {
            *end = Some(Err(unready(why)));
        }
    }
    ends
});

/// Waits for all of several tasks, for at most `timeout` in all: their values, in their order.
/// Elixir: `Task.await_many/2`.
///
/// # Errors
/// As for [`Task::await_for`]: the first there is. The other tasks go on, and their values are
/// dropped.
pub fn await_many<R: Send + 'static>(
    tasks: impl IntoIterator<Item = Task<R>>,
    timeout: impl Into<Option<Duration>>,
) -> AwaitMany<R> {
    let tasks: Vec<(Task<R>, Option<R>)> = tasks.into_iter().map(|task| (task, None)).collect();
    let limit = Limit::new(
        tasks.iter().find_map(|(task, _)| task.core()),
        timeout.into(),
    );
    AwaitMany { tasks, limit }
}

/// The wait for the values of several tasks: [`await_many`].
///
/// # Cancellation
/// As for the [`Task`]s: they go on, and their values are dropped.
#[must_use = "waits for nothing unless waited for"]
pub struct AwaitMany<R> {
    tasks: Vec<(Task<R>, Option<R>)>,
    limit: Limit,
}

impl<R> Unpin for AwaitMany<R> {}

impl<R> std::fmt::Debug for AwaitMany<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AwaitMany")
            .field("len", &self.tasks.len())
            .finish_non_exhaustive()
    }
}

impl<R: Send + 'static> Future for AwaitMany<R> {
    type Output = Result<Vec<R>, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut all = true;
        for (task, value) in &mut self.tasks {
            if value.is_none() {
                match task.poll_end(cx, Doom::Waits) {
                    Poll::Ready(Ok(done)) => *value = Some(done),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => all = false,
                }
            }
        }
        if all {
            let tasks = std::mem::take(&mut self.tasks);
            return Poll::Ready(Ok(tasks
                .into_iter()
                .filter_map(|(_, value)| value)
                .collect()));
        }
        self.limit.poll(cx).map(|()| Err(TaskError::Timeout))
    }
}

blocks!([R: Send + 'static] AwaitMany<R>, Result<Vec<R>, TaskError>, |_: &mut Self, why| Err(unready(why)));

/// The end of a task that was told to end: [`Task::shutdown`].
#[must_use = "the task is being ended; dropping this kills it"]
pub struct Stopping<R> {
    task: Task<R>,
    how: Shutdown,
    /// Whom a drop has to kill.
    told: Option<(Handle, Pid)>,
    limit: Limit,
}

impl<R> std::fmt::Debug for Stopping<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Stopping").field(&self.task).finish()
    }
}

impl<R> Stopping<R> {
    pub(super) fn new(mut task: Task<R>, how: Shutdown) -> Self {
        let mut told = None;
        if let (Ok(()), State::Process(process, _)) = (task.check_owner(), &task.state) {
            let (pid, handle) = (process.pid, Handle::new(process.core.clone()));
            task.unlink();
            let reason = match how {
                Shutdown::BrutalKill => ExitReason::Kill,
                Shutdown::Timeout(_) | Shutdown::Infinity => ExitReason::Shutdown(None),
            };
            let me = ProcessContext::of_whoever_runs();
            match me.running() {
                Some(_) => me.exit(pid, reason),
                None => handle.exit(pid, reason),
            }
            told = Some((handle, pid));
        }
        let timeout = match how {
            Shutdown::Timeout(timeout) => Some(timeout),
            Shutdown::BrutalKill | Shutdown::Infinity => None,
        };
        let limit = Limit::new(task.core(), timeout);
        Stopping {
            task,
            how,
            told,
            limit,
        }
    }

    fn kill(&self) {
        if let Some((handle, pid)) = &self.told {
            handle.exit(*pid, ExitReason::Kill);
        }
    }
}

impl<R> Drop for Stopping<R> {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the end of a task means to whoever told it to end so.
fn judge<R>(how: Shutdown, end: Result<R, TaskError>) -> Option<Result<R, TaskError>> {
    match (how, end) {
        (Shutdown::BrutalKill, Err(TaskError::Exited(ExitReason::Killed))) => None,
        (
            Shutdown::Timeout(_) | Shutdown::Infinity,
            Err(TaskError::Exited(ExitReason::Shutdown(None))),
        ) => None,
        (_, end) => Some(end),
    }
}

impl<R: Send + 'static> Future for Stopping<R> {
    type Output = Option<Result<R, TaskError>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(end) = self.task.poll_end(cx, Doom::Waits) {
            self.told = None;
            return Poll::Ready(judge(self.how, end));
        }
        if self.limit.poll(cx).is_ready() {
            self.limit = Limit::new(None, None);
            self.kill();
        }
        Poll::Pending
    }
}

impl<R: Send + 'static> Stopping<R> {
    /// Blocks the calling thread until the task is gone. On the thread that drives a manual system
    /// this runs the system meanwhile.
    ///
    /// # Errors
    /// As the future itself; also, as [`TaskError::Call`], that the caller must not block, or that a
    /// manual system has nothing left to run.
    pub fn wait(self) -> Option<Result<R, TaskError>> {
        self.block(None)
    }

    /// As [`wait`](Self::wait), for at most `timeout` from now; then the task is killed, and this is
    /// [`TaskError::Timeout`].
    ///
    /// # Errors
    /// As for [`wait`](Self::wait).
    pub fn wait_timeout(self, timeout: Duration) -> Option<Result<R, TaskError>> {
        self.block(Some(timeout))
    }

    fn block(mut self, timeout: Option<Duration>) -> Option<Result<R, TaskError>> {
        let core = self.limit.core();
        wait(core.as_deref(), &mut self, timeout).unwrap_or_else(|why| Some(Err(unready(why))))
    }
}
