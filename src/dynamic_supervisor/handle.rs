//! How others reach a dynamic supervisor.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::process::{CountChildren, DynamicProcess, StartChild, TerminateChild, WhichChildren};
use crate::error::StartError;
use crate::gen_server::{HandleRequest, ServerRef, Start};
use crate::handles::handles;
use crate::process::pid::Pid;
use crate::registry::Name;
use crate::supervisor::starter::ChildPid;
use crate::supervisor::{ChildCounts, ChildError, ChildKind, ChildRequest, ChildSpec, ChildStatus};
use crate::system::Handle;

/// A reference to a running [`DynamicSupervisor`](crate::DynamicSupervisor): cheap to clone; does not
/// keep it running.
///
/// `A` is what a child is started with and `P` what its starter gets: a [`ChildSpec`] and a [`Pid`],
/// unless there is a [`Template`](crate::Template). As in OTP no request has a timeout; `wait_timeout`
/// gives up waiting, not what was asked for.
pub struct DynamicSupervisorRef<A = ChildSpec, P = Pid> {
    server: ServerRef<DynamicProcess<A, P>>,
}

handles! {
    /// Asks the supervisor to stop: all its children are told to stop at once, each killed when its own
    /// time is over, then it exits with `reason`. Elixir: `DynamicSupervisor.stop/3`.
    DynamicSupervisorRef<A: ('static), P: ('static)> { server }, "supervisor"
}

impl<A: Send + 'static, P: ChildPid> DynamicSupervisorRef<A, P> {
    /// Starts a child. What leads to it, once its `init` is done; `None` if that asked to be ignored,
    /// and then nothing is kept of the child. Elixir: `DynamicSupervisor.start_child/2`; OTP:
    /// `supervisor:start_child/2`.
    ///
    /// Children are started at the same time if requests come so. They begin in the order of the
    /// requests.
    ///
    /// # Errors
    /// - [`ChildError::MaxChildren`]: there are as many children as there may be.
    /// - [`ChildError::Start`]: it did not start; nothing is kept of it. One that was terminated
    ///   meanwhile has failed with [`Shutdown`](crate::ExitReason::Shutdown). A significant one is
    ///   refused ([`StartError::SignificantInVain`](crate::StartError)).
    pub fn start_child(&self, child: A) -> ChildRequest<Option<P>> {
        self.ask(StartChild(child))
    }

    /// Stops the child with this pid, as its spec says, and forgets it, whatever its restart type.
    /// Elixir: `DynamicSupervisor.terminate_child/2`; OTP: `supervisor:terminate_child/2`.
    ///
    /// A child that is being restarted, or waits for it (also for its
    /// [`backoff`](ChildSpec::backoff)), has the pid of its latest process until the
    /// next is there. One that is being started, or restarted, is also stopped by the pid of the new
    /// process, even if its `init` never ends.
    ///
    /// # Errors
    /// [`ChildError::NotFound`]: no child has this pid; also if somebody else was first to terminate
    /// it.
    pub fn terminate_child(&self, pid: Pid) -> ChildRequest<()> {
        self.ask(TerminateChild(pid))
    }

    /// The children as they are now, in no particular order. Elixir:
    /// `DynamicSupervisor.which_children/1`, which a million children make slow and large here as there.
    pub fn which_children(&self) -> ChildRequest<Vec<DynamicChild>> {
        self.ask(WhichChildren)
    }

    /// How many children there are: counted all the time, so that asking is cheap. Those that are being
    /// started count, except as active. Elixir: `DynamicSupervisor.count_children/1`.
    pub fn count_children(&self) -> ChildRequest<ChildCounts> {
        self.ask(CountChildren)
    }

    fn ask<M, R>(&self, message: M) -> ChildRequest<R>
    where
        M: Send + 'static,
        R: Send + 'static,
        DynamicProcess<A, P>: HandleRequest<M, Reply = Result<R, ChildError>>,
    {
        ChildRequest::new(self.server.call_with(message, None))
    }
}

impl Handle {
    /// The live dynamic supervisor without a template that has `name`.
    pub fn dynamic_supervisor(&self, name: impl Into<Name>) -> Option<DynamicSupervisorRef> {
        self.template_supervisor(name)
    }

    /// The live dynamic supervisor that has `name`, if its children are started with an `A` and
    /// whoever starts them gets a `P`.
    pub fn template_supervisor<A, P>(
        &self,
        name: impl Into<Name>,
    ) -> Option<DynamicSupervisorRef<A, P>>
    where
        A: Send + 'static,
        P: ChildPid,
    {
        let server = self.server(name).resolve()?;
        Some(DynamicSupervisorRef { server })
    }
}

/// A dynamic supervisor that is being started: a future of its reference.
///
/// # Errors
/// [`StartError::AlreadyStarted`]: a live process has its name. [`StartError::SignificantInVain`]: its
/// template was made of a significant spec. The others as for a server.
///
/// # Cancellation
/// Dropping it does not stop the supervisor.
#[must_use = "the supervisor starts, but whether it did is not looked at"]
pub struct DynamicSupervisorStart<A = ChildSpec, P = Pid> {
    start: Start<DynamicProcess<A, P>>,
}

impl<A, P> fmt::Debug for DynamicSupervisorStart<A, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DynamicSupervisorStart")
            .field(&self.start)
            .finish()
    }
}

type Started<A, P> = Result<DynamicSupervisorRef<A, P>, StartError>;

fn finish<A, P>(started: Result<ServerRef<DynamicProcess<A, P>>, StartError>) -> Started<A, P> {
    match started {
        Ok(server) => Ok(DynamicSupervisorRef { server }),
        Err(error) => Err(StartError::of(error.into_reason())),
    }
}

impl<A: Send + 'static, P: ChildPid> DynamicSupervisorStart<A, P> {
    pub(super) fn new(start: Start<DynamicProcess<A, P>>) -> Self {
        DynamicSupervisorStart { start }
    }

    /// The pid, as soon as there is one.
    pub fn pid(&self) -> Option<Pid> {
        self.start.pid()
    }

    /// Blocks the calling thread until the supervisor runs. On the thread that drives a manual system
    /// this runs the system meanwhile.
    ///
    /// # Errors
    /// As the future itself; also that the caller must not block, or that a manual system has nothing
    /// left to run.
    pub fn wait(self) -> Started<A, P> {
        finish(self.start.wait())
    }

    /// As [`wait`](Self::wait), for at most `timeout` from now; then the supervisor is killed.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait).
    pub fn wait_timeout(self, timeout: Duration) -> Started<A, P> {
        finish(self.start.wait_timeout(timeout))
    }
}

impl<A: Send + 'static, P: ChildPid> Future for DynamicSupervisorStart<A, P> {
    type Output = Started<A, P>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.start).poll(cx).map(finish)
    }
}

/// A child of a dynamic supervisor. It has no id. Elixir: `{:undefined, pid | :restarting, type,
/// modules}`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DynamicChild {
    /// What [`terminate_child`](DynamicSupervisorRef::terminate_child) knows it by: its process, or its
    /// latest if it is being restarted. `None`: it is being started, and its start function has not
    /// started anything yet.
    pub pid: Option<Pid>,
    /// What it is.
    pub kind: ChildKind,
    /// What it does now. Never [`ChildStatus::Stopped`].
    pub status: ChildStatus,
}
