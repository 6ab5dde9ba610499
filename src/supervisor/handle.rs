//! How others reach a supervisor.

use std::fmt;
use std::time::Duration;

use super::Supervisor;
use super::process::{
    Change, CountChildren, DeleteChild, GetTag, Locate, RestartChild, StartChild,
    SupervisorProcess, Tag, TerminateChild, WhichChildren,
};
use super::spec::{ChildKind, ChildSpec};
use super::supervised::Supervised;
use crate::error::{CallError, StartError};
use crate::exit::ExitReason;
use crate::gen_server::{GenServer, HandleRequest, ServerRef};
use crate::handles::handles;
use crate::process::call::{Call, waits};
use crate::process::deliver::send_signal;
use crate::process::pid::Pid;
use crate::process::signal::{Cause, Signal};
use crate::registry::Name;
use crate::sync::Arc;
use crate::system::Handle;

/// A reference to a running supervisor: cheap to clone; does not keep it running.
///
/// What changes children is done in order: two requests for the same child (or, unless the strategy is
/// [`OneForOne`](super::Strategy::OneForOne), any two) one after the other, in the order of their
/// sending. Questions are answered at once. As in OTP there is no timeout; `wait_timeout` gives up
/// waiting, not what was asked for.
pub struct SupervisorRef {
    server: ServerRef<SupervisorProcess>,
}

handles! {
    /// Asks the supervisor to stop: its children are stopped in reverse start order, each as its spec
    /// says, then it exits with `reason`. OTP: `gen_server:stop/3`.
    SupervisorRef { server }, "supervisor"
}

impl SupervisorRef {
    /// Adds a child and starts it. The pid; `None` if its `init` asked to be ignored (the spec is kept,
    /// unless it is temporary). OTP: `supervisor:start_child/2`.
    ///
    /// # Errors
    /// - [`ChildError::AlreadyStarted`], [`ChildError::AlreadyPresent`]: there is a child with this id.
    /// - [`ChildError::Start`]: it did not start; its spec is not kept. Also if it is
    ///   [`significant`](ChildSpec::significant) and must not be.
    pub fn start_child(&self, spec: ChildSpec) -> ChildRequest<Option<Pid>> {
        self.ask(StartChild(spec))
    }

    /// Stops a child. Its spec is kept without a process, unless it is temporary. A child that is
    /// being started is stopped as well, even if its `init` never ends; one whose
    /// [`backoff`](ChildSpec::backoff) runs waits no longer, and its group no longer for it. Stopping
    /// one that does not run succeeds. A significant child that is terminated does not shut its
    /// supervisor down. OTP: `supervisor:terminate_child/2`.
    ///
    /// # Errors
    /// [`ChildError::NotFound`]: no child has this id.
    pub fn terminate_child(&self, id: &str) -> ChildRequest<()> {
        self.ask(TerminateChild(id.into()))
    }

    /// Starts a child that has no process. The pid, or `None` as for
    /// [`start_child`](Self::start_child). Does not count against the intensity. OTP:
    /// `supervisor:restart_child/2`.
    ///
    /// # Errors
    /// - [`ChildError::NotFound`]: no child has this id.
    /// - [`ChildError::Running`], [`ChildError::Restarting`]: it has a process, or is about to.
    /// - [`ChildError::Start`]: it did not start.
    pub fn restart_child(&self, id: &str) -> ChildRequest<Option<Pid>> {
        self.ask(RestartChild(id.into()))
    }

    /// Forgets a child that has no process; also one whose [`backoff`](ChildSpec::backoff) runs. OTP:
    /// `supervisor:delete_child/2`.
    ///
    /// # Errors
    /// - [`ChildError::NotFound`]: no child has this id.
    /// - [`ChildError::Running`], [`ChildError::Restarting`]: terminate it first.
    pub fn delete_child(&self, id: &str) -> ChildRequest<()> {
        self.ask(DeleteChild(id.into()))
    }

    /// The children, in start order (OTP: in the reverse), as they are now. OTP:
    /// `supervisor:which_children/1`.
    pub fn which_children(&self) -> ChildRequest<Vec<ChildInfo>> {
        self.ask(WhichChildren)
    }

    /// How many children there are. OTP: `supervisor:count_children/1`.
    pub fn count_children(&self) -> ChildRequest<ChildCounts> {
        self.ask(CountChildren)
    }

    /// A reference to a child that is a server, by its id, whichever incarnation of it runs. The child
    /// need not run, and needs no name.
    ///
    /// # Errors
    /// - [`ChildError::NotFound`]: no child has this id.
    /// - [`ChildError::WrongType`]: it runs, and is no `S`.
    pub fn supervised<S: GenServer>(&self, id: &str) -> ChildRequest<Supervised<S>> {
        self.ask(Locate::<S>::new(id))
    }

    /// Gives the supervisor another strategy, intensity, period, auto-shutdown, backoff and other
    /// children, those of `to`, without restarting anybody. OTP: what `supervisor` does with the result
    /// of `init/1` in a code change.
    ///
    /// | a child | with its id in `to` | not in `to` |
    /// |---|---|---|
    /// | that there is | keeps its process, or its lack of one; the new spec holds from its next start on, and at once for how it is stopped and whether it is restarted | stays as it is |
    /// | that there is not | is added without a process: [`restart_child`](Self::restart_child), or the restart of its group, starts it | |
    ///
    /// Start order is then that of `to`, the children that are not in it behind. Restarts made so far
    /// count in the new period, failures in the new backoff; a wait that runs goes on. The name stays
    /// what it is. Unless the strategy is [`OneForOne`](super::Strategy::OneForOne) (or the supervisor
    /// is not done with its start) this waits its turn like any other request.
    ///
    /// # Errors
    /// [`ChildError::Start`] with [`StartError::DuplicateChild`],
    /// [`StartError::SignificantPermanent`] or [`StartError::SignificantInVain`]: nothing is changed.
    pub fn change(&self, to: Supervisor) -> ChildRequest<()> {
        self.ask(Change(to))
    }

    /// Asks it for its tag.
    pub(crate) fn tag(&self) -> Call<Option<Tag>> {
        self.server.call_with(GetTag, None)
    }

    fn ask<M, R>(&self, message: M) -> ChildRequest<R>
    where
        M: Send + 'static,
        R: Send + 'static,
        SupervisorProcess: HandleRequest<M, Reply = Result<R, ChildError>>,
    {
        ChildRequest {
            call: self.server.call_with(message, None),
        }
    }
}

impl Handle {
    /// The live supervisor that has `name`.
    pub fn supervisor(&self, name: impl Into<Name>) -> Option<SupervisorRef> {
        let server = self.server(name).resolve()?;
        Some(SupervisorRef { server })
    }
}

/// A request to a supervisor, under way: a future of its answer.
///
/// # Errors
/// Those of the method that made it, and [`ChildError::Call`]: the supervisor is gone, or `.wait()`
/// must not be used here.
///
/// # Cancellation
/// Dropping it gives up interest in the answer, nothing else.
#[must_use = "the request is sent, but its answer is dropped"]
#[derive(Debug)]
pub struct ChildRequest<R> {
    call: Call<Result<R, ChildError>>,
}

impl<R> ChildRequest<R> {
    pub(crate) fn new(call: Call<Result<R, ChildError>>) -> Self {
        ChildRequest { call }
    }
}

waits!(ChildRequest<R>, Result<R, ChildError>, |_: &mut ChildRequest<R>, answer| flatten(answer));

fn flatten<R>(answer: Result<Result<R, ChildError>, CallError>) -> Result<R, ChildError> {
    answer.unwrap_or_else(|error| Err(error.into()))
}

/// A supervisor that is being started: a future of its reference, ready when all its children are.
///
/// # Errors
/// [`StartError::Child`]: a child did not start, and which; those started before it are stopped again.
/// [`StartError::DuplicateChild`]: two have the same id. [`StartError::Timeout`], by `wait_timeout`: the
/// supervisor was killed. The others as for a server.
///
/// # Cancellation
/// Dropping it does not stop the supervisor.
#[must_use = "the supervisor starts, but whether it did is not looked at"]
pub struct SupervisorStart {
    call: Call<()>,
    launched: Result<ServerRef<SupervisorProcess>, StartError>,
}

impl fmt::Debug for SupervisorStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SupervisorStart").field(&self.call).finish()
    }
}

impl SupervisorStart {
    pub(crate) fn new(
        call: Call<()>,
        launched: Result<ServerRef<SupervisorProcess>, StartError>,
    ) -> Self {
        SupervisorStart { call, launched }
    }

    /// The pid, as soon as there is one; it has one while its children are being started.
    pub fn pid(&self) -> Option<Pid> {
        self.launched.as_ref().ok().map(ServerRef::pid)
    }

    fn finish(&self, answer: Result<(), CallError>) -> Result<SupervisorRef, StartError> {
        let server = self.launched.clone()?;
        match answer {
            Ok(()) => Ok(SupervisorRef { server }),
            Err(CallError::Exited(reason)) => Err(StartError::of(reason)),
            Err(CallError::WouldBlock) => Err(StartError::WouldBlock),
            Err(CallError::Stalled) => Err(StartError::Stalled),
            Err(CallError::Timeout) => {
                // As `proc_lib:start_link/5` does it; the links see to the children.
                let kill = Signal::Exit {
                    from: None,
                    reason: ExitReason::Kill,
                    cause: Cause::Sent,
                };
                // One that died meanwhile needs no kill.
                let _ = send_signal(server.cell(), kill);
                Err(StartError::Timeout)
            }
            Err(_) => Err(StartError::Refused),
        }
    }
}

waits!(SupervisorStart, Result<SupervisorRef, StartError>, |start: &mut SupervisorStart, answer| start.finish(answer));

/// Why a supervisor did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChildError {
    /// No child has this id. OTP: `not_found`.
    #[error("the supervisor has no such child")]
    NotFound,
    /// A child with this id runs, as this process. OTP: `{already_started, Pid}`.
    #[error("a child with this id runs as {0}")]
    AlreadyStarted(Pid),
    /// There is a child with this id, without a process now. OTP: `already_present`.
    #[error("a child with this id is there, though it does not run")]
    AlreadyPresent,
    /// The child runs. OTP: `running`.
    #[error("the child runs")]
    Running,
    /// The child is about to be restarted. OTP: `restarting`.
    #[error("the child is about to be restarted")]
    Restarting,
    /// A dynamic supervisor has as many children as it may have. Elixir: `max_children`.
    #[error("the supervisor has as many children as it may have")]
    MaxChildren,
    /// The child did not start. OTP: `{error, Reason}`.
    #[error("the child did not start")]
    Start(#[from] StartError),
    /// The child runs, and is no server of the type that was asked for.
    #[error("the child is a server of another type, or none")]
    WrongType,
    /// The supervisor gave no answer.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// A child, as its supervisor sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChildInfo {
    /// The id in its spec.
    pub id: Arc<str>,
    /// What it is.
    pub kind: ChildKind,
    /// What it does now.
    pub status: ChildStatus,
}

impl ChildInfo {
    /// The process, if it has one that was started and that nobody stops.
    pub fn pid(&self) -> Option<Pid> {
        match self.status {
            ChildStatus::Running(pid) => Some(pid),
            _ => None,
        }
    }
}

/// What a child does. OTP knows a pid, `undefined` and `restarting`: its supervisor is never asked
/// while it starts or stops one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChildStatus {
    /// It is being started.
    Starting,
    /// It runs, as this process. (It may have ended just now, and its supervisor not know yet.)
    Running(Pid),
    /// It was told to stop and has not ended yet.
    Stopping,
    /// It was killed, a second ago or earlier, and still runs: some code of it does not return
    /// ([`Event::Stuck`](crate::Event::Stuck)). What comes after its end waits; others are served.
    Stuck,
    /// It ended, or failed to start again, and its restart is due.
    Restarting,
    /// It, or one that is restarted together with it, ended or failed to start again, and its
    /// [`backoff`](ChildSpec::backoff) runs: it is started in so long.
    Waiting(Duration),
    /// It has no process and gets none by itself: it was terminated, ignored, or ended in a way that
    /// is not restarted. OTP: `undefined`.
    Stopped,
}

/// How many children a supervisor has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChildCounts {
    /// All children, running or not.
    pub specs: usize,
    /// Those that run.
    pub active: usize,
    /// Those that are [`Waiting`](ChildStatus::Waiting).
    pub waiting: usize,
    /// Those that are supervisors, running or not.
    pub supervisors: usize,
    /// Those that are workers, running or not.
    pub workers: usize,
}
