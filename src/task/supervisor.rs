//! Supervisors of tasks, seen from outside.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::body::{self, Process};
use super::stream::Begun;
use super::supervised::{Do, Settings, TaskSupervisorProcess, Terminate};
use super::{AsyncStream, LINK, SHUTDOWN, State, Task, TaskContext, TaskError, running};
use crate::error::CallError;
use crate::gen_server::{self, Named, ServerRef};
use crate::handles::handles;
use crate::process::ask::{Answer, question};
use crate::process::call::{Call, waits};
use crate::process::context::ProcessContext;
use crate::process::pid::Pid;
use crate::process::spawn::Ties;
use crate::process::wait::wait;
use crate::receive::IntoExit;
use crate::registry::Name;
use crate::sched::core::CoreRef;
use crate::starts::starts;
use crate::supervisor::flags::{Flags, flag_methods};
use crate::supervisor::{ChildKind, ChildSpec, Restart, Shutdown};
use crate::sync::Arc;
use crate::system::Handle;

/// A supervisor of tasks: it starts them, knows which run, and ends them when it ends, all at once.
/// Elixir: `Task.Supervisor`.
///
/// Only tasks that [`start_child_with`](TaskSupervisorRef::start_child_with) started may be restarted.
///
/// It is a plain value that is started, or put into a tree by [`child_spec`](Self::child_spec).
///
/// # Examples
/// ```
/// use noex::{System, TaskSupervisor};
///
/// let system = System::new()?;
/// let tasks = TaskSupervisor::new().max_children(100).start(&system).wait()?;
/// let task = tasks.async_nolink(|_| async { 6 * 7 }).wait()?;
/// assert_eq!(task.wait()?, 42);
/// system.shutdown().wait()?;
/// # Ok::<(), noex::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TaskSupervisor {
    max_children: usize,
    flags: Flags,
}

impl Default for TaskSupervisor {
    fn default() -> Self {
        Self::new()
    }
}

impl TaskSupervisor {
    /// A supervisor of tasks, with the defaults that each method names.
    pub fn new() -> Self {
        TaskSupervisor {
            max_children: usize::MAX,
            flags: Flags::default(),
        }
    }

    /// How many tasks there may be at once; one more is [`TaskError::MaxChildren`]. Default: any
    /// number.
    pub fn max_children(mut self, tasks: usize) -> Self {
        self.max_children = tasks;
        self
    }

    flag_methods!();

    /// Starts it. From outside any process it is a child of the system's root.
    pub fn start(self, system: &Handle) -> TaskSupervisorStart {
        self.launch(system.core(), Handle::ties())
    }

    /// Starts it linked to the calling process, which is its parent. Elixir:
    /// `Task.Supervisor.start_link/1`.
    pub fn start_link(self, cx: &ProcessContext) -> TaskSupervisorStart {
        self.launch(cx.core(), LINK)
    }

    fn launch(self, core: &CoreRef, ties: Ties) -> TaskSupervisorStart {
        let options = self.flags.options();
        TaskSupervisorStart::new(gen_server::start(core, self.settings(), &options, ties))
    }

    fn settings(&self) -> Settings {
        Settings {
            max_children: self.max_children,
            restarts: self.flags.restarts(),
        }
    }

    /// It as the child of a supervisor: a supervisor itself, and permanent. Elixir:
    /// `Task.Supervisor.child_spec/1`.
    ///
    /// The name is the one given here, unless the spec gets [its own](ChildSpec::name).
    pub fn child_spec(self, id: impl Into<Arc<str>>) -> ChildSpec {
        let name = self.flags.name.clone();
        let spec = ChildSpec::worker(id, move |starter| {
            starter.start_link::<TaskSupervisorProcess>(self.settings())
        })
        .of_kind(ChildKind::Supervisor);
        match name {
            Some(name) => spec.name(name),
            None => spec,
        }
    }
}

starts! {
    /// A task supervisor that is being started: [`TaskSupervisor::start`].
    TaskSupervisorStart, TaskSupervisorProcess, TaskSupervisorRef
}

/// A reference to a running supervisor of tasks: cheap to clone; does not keep it running.
pub struct TaskSupervisorRef {
    server: ServerRef<TaskSupervisorProcess>,
}

handles! {
    /// Asks the supervisor to stop: its tasks are ended, all at once, each as it is to be ended; then
    /// it exits with `reason`.
    TaskSupervisorRef { server }, "supervisor"
}

impl Handle {
    /// The live supervisor of tasks that has `name`.
    pub fn task_supervisor(&self, name: impl Into<Name>) -> Option<TaskSupervisorRef> {
        let named: Named<TaskSupervisorProcess> = self.server(name);
        named.resolve().map(TaskSupervisorRef::new)
    }
}

impl TaskSupervisorRef {
    fn new(server: ServerRef<TaskSupervisorProcess>) -> Self {
        TaskSupervisorRef { server }
    }

    /// Starts a task under the supervisor that is linked to the calling process, its owner, as well.
    /// Elixir: `Task.Supervisor.async/2`.
    ///
    /// The work begins when the future this returns is ready.
    pub fn async_link<R, F>(
        &self,
        cx: &ProcessContext,
        work: impl FnOnce(TaskContext) -> F + Send + 'static,
    ) -> StartTask<R>
    where
        R: Send + 'static,
        F: Future<Output = R> + Send + 'static,
    {
        self.async_link_with(cx, SHUTDOWN, work)
    }

    /// As [`async_link`](Self::async_link); `shutdown` is how the task is ended with its supervisor.
    /// Default: within 5 s.
    pub fn async_link_with<R, F>(
        &self,
        cx: &ProcessContext,
        shutdown: Shutdown,
        work: impl FnOnce(TaskContext) -> F + Send + 'static,
    ) -> StartTask<R>
    where
        R: Send + 'static,
        F: Future<Output = R> + Send + 'static,
    {
        self.request(Some(cx.pid()), true, shutdown, work)
    }

    /// Starts a task under the supervisor that is not linked to its owner, the running process, if
    /// there is one: its crash is an error of the await and nothing else. Elixir:
    /// `Task.Supervisor.async_nolink/2`.
    ///
    /// The work begins when the future this returns is ready.
    pub fn async_nolink<R, F>(
        &self,
        work: impl FnOnce(TaskContext) -> F + Send + 'static,
    ) -> StartTask<R>
    where
        R: Send + 'static,
        F: Future<Output = R> + Send + 'static,
    {
        self.async_nolink_with(SHUTDOWN, work)
    }

    /// As [`async_nolink`](Self::async_nolink); `shutdown` is how the task is ended with its
    /// supervisor. Default: within 5 s.
    pub fn async_nolink_with<R, F>(
        &self,
        shutdown: Shutdown,
        work: impl FnOnce(TaskContext) -> F + Send + 'static,
    ) -> StartTask<R>
    where
        R: Send + 'static,
        F: Future<Output = R> + Send + 'static,
    {
        self.request(running(), false, shutdown, work)
    }

    fn request<R, F>(
        &self,
        owner: Option<Pid>,
        link: bool,
        shutdown: Shutdown,
        work: impl FnOnce(TaskContext) -> F + Send + 'static,
    ) -> StartTask<R>
    where
        R: Send + 'static,
        F: Future<Output = R> + Send + 'static,
    {
        let (go, gate) = question();
        let gate = Call::new(&self.server.cell().core, gate, None);
        let asked = ProcessContext::of_whoever_runs().asks();
        let start = Do::new(move |supervisor: &mut TaskSupervisorProcess, cx: &_| {
            let cx: &super::supervised::Cx = cx;
            supervisor.begin((Restart::Temporary, shutdown), None, || {
                let process = body::spawn(cx.core(), LINK, Some(gate), asked, work)?;
                Ok((process.pid, process))
            })
        });
        StartTask {
            call: self.server.call_with(start, None),
            go: Some(go),
            core: self.server.cell().core.clone(),
            owner,
            link,
        }
    }

    /// Starts a task nobody waits for. What it returns is its exit reason. Elixir:
    /// `Task.Supervisor.start_child/2`.
    pub fn start_child<F, E>(
        &self,
        work: impl FnOnce(TaskContext) -> F + Send + 'static,
    ) -> TaskChild
    where
        F: Future<Output = E> + Send + 'static,
        E: IntoExit,
    {
        let asked = ProcessContext::of_whoever_runs().asks();
        let start = Do::new(move |supervisor: &mut TaskSupervisorProcess, cx: &_| {
            let cx: &super::supervised::Cx = cx;
            supervisor.begin((Restart::Temporary, SHUTDOWN), None, || {
                let pid = body::start(cx.core(), LINK, asked, work)?;
                Ok((pid, pid))
            })
        });
        TaskChild {
            call: self.server.call_with(start, None),
        }
    }

    /// As [`start_child`](Self::start_child), for a task that may be restarted: `restart` says when,
    /// `shutdown` how it is ended. Elixir: the options `:restart` and `:shutdown`, by default
    /// `:temporary` and 5 s.
    ///
    /// A restarted task has another pid, and the same callers.
    pub fn start_child_with<F, E>(
        &self,
        restart: Restart,
        shutdown: Shutdown,
        work: impl Fn(TaskContext) -> F + Send + Sync + 'static,
    ) -> TaskChild
    where
        F: Future<Output = E> + Send + 'static,
        E: IntoExit,
    {
        let work = Arc::new(work);
        let asked = ProcessContext::of_whoever_runs().asks();
        let start = Do::new(move |supervisor: &mut TaskSupervisorProcess, cx: &_| {
            let cx: &super::supervised::Cx = cx;
            let again = Arc::new(move |cx: &super::supervised::Cx| {
                let work = work.clone();
                body::start(cx.core(), LINK, asked.clone(), move |cx| work(cx))
            });
            let first = again.clone();
            supervisor.begin((restart, shutdown), Some(again), || {
                let pid = first(cx)?;
                Ok((pid, pid))
            })
        });
        TaskChild {
            call: self.server.call_with(start, None),
        }
    }

    /// The tasks that run, in start order. Elixir: `Task.Supervisor.children/1`.
    ///
    /// # Errors
    /// As for a [`Call`]; there is no timeout.
    pub fn children(&self) -> Call<Vec<Pid>> {
        let ask =
            |supervisor: &mut TaskSupervisorProcess, _: &super::supervised::Cx| supervisor.pids();
        self.server.call_with(Do::new(ask), None)
    }

    /// Ends a task and waits until it is gone; `false`: there is no such task. Elixir:
    /// `Task.Supervisor.terminate_child/2`.
    ///
    /// # Errors
    /// As for a [`Call`]; there is no timeout.
    pub fn terminate_child(&self, pid: Pid) -> Call<bool> {
        self.server.call_with(Terminate(pid), None)
    }

    /// As [`async_stream`](super::async_stream), with tasks under the supervisor. Elixir:
    /// `Task.Supervisor.async_stream/4`.
    ///
    /// If the supervisor has no room for a task the stream ends with [`TaskError::MaxChildren`].
    pub fn async_stream<I, R, F>(
        &self,
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
        self.stream(Some(cx.pid()), true, items, work)
    }

    /// As [`async_stream_nolink`](super::async_stream_nolink), with tasks under the supervisor.
    /// Elixir: `Task.Supervisor.async_stream_nolink/4`.
    ///
    /// If the supervisor has no room for a task the stream ends with [`TaskError::MaxChildren`].
    pub fn async_stream_nolink<I, R, F>(
        &self,
        items: I,
        work: impl Fn(I::Item, TaskContext) -> F + Send + Sync + 'static,
    ) -> AsyncStream<I::IntoIter, R>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        R: Send + 'static,
        F: Future<Output = R> + Send + 'static,
    {
        self.stream(running(), false, items, work)
    }

    fn stream<I, R, F>(
        &self,
        owner: Option<Pid>,
        link: bool,
        items: I,
        work: impl Fn(I::Item, TaskContext) -> F + Send + Sync + 'static,
    ) -> AsyncStream<I::IntoIter, R>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        R: Send + 'static,
        F: Future<Output = R> + Send + 'static,
    {
        let (work, supervisor) = (Arc::new(work), self.clone());
        let begin = move |item, shutdown| {
            let work = work.clone();
            let start = move |cx| work(item, cx);
            Begun::Start(supervisor.request(owner, link, shutdown, start))
        };
        AsyncStream::new(&self.server.cell().core, owner, items, Box::new(begin))
    }
}

/// A task that its supervisor is starting: [`TaskSupervisorRef::async_link`],
/// [`TaskSupervisorRef::async_nolink`].
///
/// # Errors
/// [`TaskError::MaxChildren`], [`TaskError::Refused`]; [`TaskError::Call`]: the supervisor is gone, or
/// the caller must not block; [`TaskError::NotOwner`]: another process waits for it than asked for it.
///
/// # Cancellation
/// Dropped before it is ready the work does not begin.
#[must_use = "the work begins when this is ready"]
pub struct StartTask<R> {
    call: Call<Result<Process<R>, TaskError>>,
    /// Lets the work begin.
    go: Option<Answer<()>>,
    core: CoreRef,
    owner: Option<Pid>,
    link: bool,
}

impl<R> Unpin for StartTask<R> {}

impl<R> std::fmt::Debug for StartTask<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StartTask")
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

impl<R> Future for StartTask<R> {
    type Output = Result<Task<R>, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Poll::Ready(answer) = Pin::new(&mut self.call).poll(cx) else {
            return Poll::Pending;
        };
        Poll::Ready(self.finish(answer))
    }
}

impl<R> StartTask<R> {
    fn finish(
        &mut self,
        answer: Result<Result<Process<R>, TaskError>, CallError>,
    ) -> Result<Task<R>, TaskError> {
        let process = answer??;
        // Without this the task ends before its work began.
        let Some(go) = self.go.take() else {
            return Err(TaskError::Refused);
        };
        if let Some(owner) = self.owner.filter(|owner| running() != Some(*owner)) {
            return Err(TaskError::NotOwner(owner));
        }
        if self.link {
            ProcessContext::of_whoever_runs().link(process.pid);
        }
        go.send(Ok(()));
        Ok(Task {
            state: State::Process(process, None),
            owner: self.owner,
            linked: self.link,
        })
    }

    /// Blocks the calling thread until the task has started. On the thread that drives a manual system
    /// this runs the system meanwhile. For tasks without an owner.
    ///
    /// # Errors
    /// As the future itself.
    pub fn wait(self) -> Result<Task<R>, TaskError> {
        self.block(None)
    }

    /// As [`wait`](Self::wait), for at most `timeout` from now.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait), and [`TaskError::Timeout`].
    pub fn wait_timeout(self, timeout: Duration) -> Result<Task<R>, TaskError> {
        self.block(Some(timeout))
    }

    fn block(mut self, timeout: Option<Duration>) -> Result<Task<R>, TaskError> {
        let core = self.core.clone();
        wait(Some(&core), &mut self, timeout)
            .unwrap_or_else(|unready| Err(CallError::from(unready).into()))
    }
}

/// A task nobody waits for that its supervisor is starting: [`TaskSupervisorRef::start_child`].
///
/// # Errors
/// [`TaskError::MaxChildren`], [`TaskError::Refused`]; [`TaskError::Call`]: the supervisor is gone, or
/// the caller must not block.
///
/// # Cancellation
/// Dropping it does not end the task.
#[must_use = "the task is being started, but whether it was is not looked at"]
#[derive(Debug)]
pub struct TaskChild {
    call: Call<Result<Pid, TaskError>>,
}

waits!(
    TaskChild,
    Result<Pid, TaskError>,
    |_: &mut TaskChild, answer: Result<Result<Pid, TaskError>, CallError>| answer
        .map_err(TaskError::from)
        .and_then(|started| started)
);
