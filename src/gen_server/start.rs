//! Starting a server: its options, and the wait for its `init`.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use super::GenServer;
use super::body::ServerBody;
use super::refs::ServerRef;
use crate::error::{CallError, StartError};
use crate::exit::ExitReason;
use crate::process::ask::Pending;
use crate::process::bounded::MailboxPolicy;
use crate::process::call::Call;
use crate::process::cell::{CellRef, Priority};
use crate::process::context::{Monitor, monitor_outside};
use crate::process::deliver::send_signal;
use crate::process::pid::{MonitorRef, Pid};
use crate::process::signal::{Cause, Signal};
use crate::process::spawn::{self, SpawnOptions, Ties, Unborn};
use crate::registry::Name;
use crate::sched::core::CoreRef;
use crate::sched::worker::here;

/// How a server is started. OTP: the options of `gen_server:start_link/4`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ServerOptions {
    pub(crate) name: Option<Name>,
    pub(crate) spawn: SpawnOptions,
    pub(crate) timeout: Option<Duration>,
}

impl ServerOptions {
    /// The defaults: no name, normal priority, an unbounded mailbox, no timeout for `init`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers the server under `name` before `init` runs. A name that a live process has is
    /// [`StartError::AlreadyStarted`].
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets how urgently the server runs. Default: [`Priority::Normal`].
    pub fn priority(mut self, priority: Priority) -> Self {
        self.spawn.priority = priority;
        self
    }

    /// Sets how many messages may wait. Default: [`MailboxPolicy::Unbounded`].
    pub fn mailbox(mut self, mailbox: MailboxPolicy) -> Self {
        self.spawn.mailbox = mailbox;
        self
    }

    /// How long `init` may take before the server is killed and the start fails with
    /// [`StartError::Timeout`]. Watched by whoever waits for the start (OTP: by the process that starts
    /// it), and the start ends when the server has; one that holds its scheduler thread is left behind after a second. Default: as long
    /// as it likes, as in OTP.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

/// A server that is being started: a future of its reference, ready when `init` is done.
///
/// # Errors
/// As [`StartError`] says; after each of them the server's name is free.
///
/// # Cancellation
/// Dropping it does not stop the server.
#[must_use = "the server starts, but whether it did is not looked at"]
pub struct Start<S> {
    call: Call<Result<(), StartError>>,
    cell: Option<CellRef>,
    refused: Option<StartError>,
    /// The start has failed with this error, and the server, which lives, is being killed.
    dying: Option<(Monitor, StartError)>,
    pub(crate) monitor: Option<MonitorRef>,
    server: std::marker::PhantomData<fn(S)>,
}

impl<S> std::fmt::Debug for Start<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Start").field(&self.call).finish()
    }
}

/// What the answer to a start means.
enum Judged<S> {
    Over(Result<ServerRef<S>, StartError>),
    /// An error, which is one only once the server is dead.
    Dying(Monitor, StartError),
}

impl<S: GenServer> Start<S> {
    fn refused(error: StartError) -> Self {
        Start {
            call: Call::failed(CallError::NoProc),
            cell: None,
            refused: Some(error),
            dying: None,
            monitor: None,
            server: std::marker::PhantomData,
        }
    }

    /// The pid, as soon as there is one. A server whose `init` runs or failed has had one.
    pub fn pid(&self) -> Option<Pid> {
        self.cell.as_ref().map(|cell| cell.pid())
    }

    /// The server, whose `init` may not be done; the error, if there is none.
    pub(crate) fn launched(self) -> Result<ServerRef<S>, StartError> {
        match (self.refused, self.cell) {
            (Some(error), _) => Err(error),
            // SAFETY: the cell was made with a `ServerBody<S>`.
            (None, Some(cell)) => Ok(unsafe { ServerRef::from_cell(cell) }),
            (None, None) => Err(StartError::Refused),
        }
    }

    /// What an answer means: the outcome, or an error that is one only once the server is dead.
    fn judge(&mut self, answer: Result<Result<(), StartError>, CallError>) -> Judged<S> {
        if let Some(error) = self.refused.take() {
            return Judged::Over(Err(error));
        }
        let Some(cell) = self.cell.clone() else {
            return Judged::Over(Err(StartError::Refused));
        };
        Judged::Over(match answer {
            // SAFETY: the cell was made with a `ServerBody<S>`.
            Ok(Ok(())) => Ok(unsafe { ServerRef::from_cell(cell) }),
            Ok(Err(error)) => Err(error),
            Err(CallError::Exited(reason)) => Err(StartError::Init(reason)),
            Err(CallError::Timeout) => return Judged::Dying(kill(&cell), StartError::Timeout),
            // Its `init` waits for whoever waits here.
            Err(error @ CallError::Cycle(_)) => {
                let error = StartError::Init(ExitReason::error(error));
                return Judged::Dying(kill(&cell), error);
            }
            Err(CallError::WouldBlock) => Err(StartError::WouldBlock),
            Err(CallError::Stalled) => Err(StartError::Stalled),
            Err(_) => Err(StartError::Init(
                cell.exit_reason().unwrap_or(ExitReason::NoProc),
            )),
        })
    }

    fn block(
        mut self,
        wait: impl FnOnce(Call<Result<(), StartError>>) -> Result<Result<(), StartError>, CallError>,
    ) -> Result<ServerRef<S>, StartError> {
        let call = std::mem::replace(&mut self.call, Call::failed(CallError::NoReply));
        let (monitor, error) = match self.dying.take() {
            Some(dying) => dying,
            None => match self.judge(wait(call)) {
                Judged::Over(outcome) => return outcome,
                Judged::Dying(monitor, error) => (monitor, error),
            },
        };
        // Dead, or left behind.
        let _ = monitor.wait();
        Err(error)
    }

    /// Blocks the calling thread until `init` is done. On the thread that drives a manual system this
    /// runs the system meanwhile.
    ///
    /// # Errors
    /// As the future itself; also that the caller must not block, or that a manual system has nothing
    /// left to run.
    pub fn wait(self) -> Result<ServerRef<S>, StartError> {
        self.block(Call::wait)
    }

    /// As [`wait`](Self::wait), for at most `timeout` from now; then the server is killed.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait).
    pub fn wait_timeout(self, timeout: Duration) -> Result<ServerRef<S>, StartError> {
        self.block(|call| call.wait_timeout(timeout))
    }
}

/// How long the end of a server is waited for whose start has failed: none that is inside `init`
/// takes longer, unless it holds its thread.
const GRACE: Duration = Duration::from_secs(1);

/// Kills a server whose start has failed.
fn kill(cell: &CellRef) -> Monitor {
    let monitor = monitor_outside(&cell.core, cell.pid(), Some(GRACE));
    let kill = Signal::Exit {
        from: None,
        reason: ExitReason::Kill,
        cause: Cause::Sent,
    };
    // One that died meanwhile needs none.
    let _ = send_signal(cell, kill);
    monitor
}

impl<S: GenServer> Future for Start<S> {
    type Output = Result<ServerRef<S>, StartError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        if self.dying.is_none() {
            let Poll::Ready(answer) = Pin::new(&mut self.call).poll(cx) else {
                return Poll::Pending;
            };
            match self.judge(answer) {
                Judged::Over(outcome) => return Poll::Ready(outcome),
                Judged::Dying(monitor, error) => self.dying = Some((monitor, error)),
            }
        }
        if let Some((monitor, _)) = &mut self.dying {
            if Pin::new(monitor).poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        // Polled again after it was ready: an error, whichever.
        let dying = self.dying.take();
        Poll::Ready(Err(dying.map_or(StartError::Refused, |(_, error)| error)))
    }
}

/// As [`Start`], with a monitor: `gen_server:start_monitor/3`. There is no `Down` for a server that did
/// not start.
#[must_use = "the server starts, but whether it did is not looked at"]
#[derive(Debug)]
pub struct StartMonitor<S> {
    start: Start<S>,
}

impl<S: GenServer> StartMonitor<S> {
    pub(crate) fn new(start: Start<S>) -> Self {
        StartMonitor { start }
    }
}

impl<S: GenServer> Future for StartMonitor<S> {
    type Output = Result<(ServerRef<S>, MonitorRef), StartError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        // A start from a process with the monitor tie always has one.
        let monitor = self.start.monitor.unwrap_or(MonitorRef(0));
        let Poll::Ready(started) = Pin::new(&mut self.start).poll(cx) else {
            return Poll::Pending;
        };
        if started.is_err() {
            // Nobody knows this monitor: its `Down`, which is on its way, is nothing (as in OTP).
            let starter = here().and_then(|worker| worker.current());
            // SAFETY: the running process's cell, in its turn.
            let extra = starter.and_then(|cell| unsafe { cell.as_ref().own() }.extra.as_mut());
            if let Some(extra) = extra {
                extra.monitoring.remove(&monitor);
            }
        }
        Poll::Ready(started.map(|server| (server, monitor)))
    }
}

/// Starts a server.
pub(crate) fn start<S: GenServer>(
    core: &CoreRef,
    args: S::Args,
    options: &ServerOptions,
    ties: Ties,
) -> Start<S> {
    start_prepared(core, args, options, ties, |_| {})
}

/// As [`start`]; `prepare` is given the server before it runs, once it has its name.
pub(crate) fn start_prepared<S: GenServer>(
    core: &CoreRef,
    args: S::Args,
    options: &ServerOptions,
    ties: Ties,
    prepare: impl FnOnce(&mut Unborn),
) -> Start<S> {
    let ask = ServerBody::<S>::init(args);
    let first = ask.as_ptr().cast();
    // SAFETY: the asker's hold.
    let pending = unsafe { Pending::from_raw(ask) };
    // SAFETY: the vtable and the envelope are for this body.
    let made = unsafe {
        spawn::make(
            core,
            const { &ServerBody::<S>::VTABLE },
            ServerBody::<S>::new(),
            &options.spawn,
            ties,
            Some(first),
        )
    };
    let unborn = match made {
        Ok(unborn) => unborn,
        Err((_, first)) => {
            if let Some(first) = first {
                // SAFETY: given back to us.
                unsafe { ((*first).vtable.discard)(first, crate::process::node::Discard::Dead) };
            }
            return Start::refused(StartError::Refused);
        }
    };
    let mut unborn = match Name::give(options.name.as_ref(), unborn) {
        Ok(named) => named,
        Err(error) => return Start::refused(error),
    };
    prepare(&mut unborn);
    let monitor = unborn.monitor;
    let target = (unborn.cell().id, unborn.cell().serial);
    let cell = unborn.bear();
    Start {
        call: Call::new(core, pending, options.timeout).answered_by(core, target),
        cell: Some(cell),
        refused: None,
        dying: None,
        monitor,
        server: std::marker::PhantomData,
    }
}
