//! What can be done with a system from anywhere.

use std::future::Future;
use std::time::Duration;

use crate::destination::Destination;
use crate::error::SpawnError;
use crate::exit::ExitReason;
use crate::gen_server::{GenServer, Named, Recipient, ServerOptions, ServerRef, Start};
use crate::process::context::{self, Info, Monitor};
use crate::process::deliver::send_signal;
use crate::process::pid::Pid;
use crate::process::signal::{Cause, Signal};
use crate::process::spawn::{SpawnOptions, Ties};
use crate::receive::{self, Inbox, IntoExit, Process};
use crate::registry::Name;
use crate::registry::store::{Refused, Which};
use crate::sched::core::CoreRef;
use crate::sched::manual::must_not_block;
use crate::sched::stats::Stats;
use crate::sched::timers::{self, TimerRef};

/// A weak handle on a system: cheap to clone, usable from any thread and inside processes. It does
/// not keep the system running; once that is gone there are no processes and none can be started.
#[derive(Clone)]
pub struct Handle {
    core: CoreRef,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle")
            .field("system", &self.core.settings.name)
            .finish_non_exhaustive()
    }
}

impl Handle {
    pub(crate) fn new(core: CoreRef) -> Self {
        Handle { core }
    }

    pub(crate) fn core(&self) -> &CoreRef {
        &self.core
    }

    /// What is started from outside is a child of the system's root; from inside a process it is
    /// nobody's.
    pub(crate) fn ties() -> Ties {
        Ties {
            root: !must_not_block(),
            ..Ties::default()
        }
    }

    /// Starts a server. Ready when its `init` is done. OTP: `gen_server:start/3`.
    ///
    /// Started from outside any process it is a child of the system's root (OTP: nobody's): it is stopped
    /// in order at shutdown, and an end that is not `Normal` is what
    /// [`System::wait`](crate::System::wait) returns.
    pub fn start<S: GenServer>(&self, args: S::Args) -> Start<S> {
        self.start_with(args, ServerOptions::new())
    }

    /// As [`start`](Self::start), with a name or other options.
    pub fn start_with<S: GenServer>(&self, args: S::Args, options: ServerOptions) -> Start<S> {
        crate::gen_server::start(&self.core, args, &options, Self::ties())
    }

    /// Starts a process that receives messages of type `M` by itself. OTP: `spawn/1`.
    ///
    /// # Errors
    /// [`SpawnError`]: the system is shut down.
    pub fn spawn<M, F, R>(
        &self,
        run: impl FnOnce(Inbox<M>) -> F + Send + 'static,
    ) -> Result<Recipient<M>, SpawnError>
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
    ) -> Result<Recipient<M>, SpawnError>
    where
        M: Send + 'static,
        F: Future<Output = R> + Send + 'static,
        R: IntoExit,
    {
        receive::spawn(&self.core, &options, Self::ties(), run).map(|(to, _)| to)
    }

    /// Starts a hand-written state machine.
    ///
    /// # Errors
    /// As for [`spawn`](Self::spawn).
    pub fn spawn_process<P: Process + Send>(
        &self,
        process: P,
    ) -> Result<Recipient<P::Message>, SpawnError> {
        self.spawn_process_with(SpawnOptions::new(), process)
    }

    /// As [`spawn_process`](Self::spawn_process), with options.
    ///
    /// # Errors
    /// As for [`spawn`](Self::spawn).
    pub fn spawn_process_with<P: Process + Send>(
        &self,
        options: SpawnOptions,
        process: P,
    ) -> Result<Recipient<P::Message>, SpawnError> {
        receive::spawn_process(&self.core, &options, Self::ties(), process).map(|(to, _)| to)
    }

    /// A server by name, or by a key of a registry, whether or not somebody has the name yet.
    pub fn server<S: GenServer>(&self, name: impl Into<Name>) -> Named<S> {
        Named::new(self.clone(), name.into())
    }

    /// The live process that has `name`. OTP: `whereis/1`.
    pub fn whereis(&self, name: &str) -> Option<Pid> {
        self.core.names.whereis(&self.core, name)
    }

    /// Gives `name` to a live process, which may have several. Again to the same one: nothing changes
    /// (OTP: `badarg` in both cases). A dead process's name is free at once. OTP: `register/2`.
    ///
    /// # Errors
    /// The live process that has the name; or `pid` itself, if it is dead.
    pub fn register(&self, name: &str, pid: Pid) -> Result<(), Pid> {
        if !self.is_alive(pid) {
            return Err(pid);
        }
        match self.core.names.register(&self.core, name.into(), pid, ()) {
            Err(Refused::Taken(holder)) if holder != pid => Err(holder),
            Err(Refused::Taken(_)) | Ok(()) => Ok(()),
            Err(Refused::NoProc | Refused::Closed) => Err(pid),
        }
    }

    /// Takes a name back; the live process that had it. OTP: `unregister/1`.
    pub fn unregister(&self, name: &str) -> Option<Pid> {
        // Between the two it may change hands: then it is not this one's any more.
        let pid = self.whereis(name)?;
        let taken = self
            .core
            .names
            .unregister(&self.core, name, pid, Which::All);
        (taken.count() > 0).then_some(pid)
    }

    /// All names of live processes, sorted. OTP: `registered/0`.
    pub fn registered(&self) -> Vec<(String, Pid)> {
        let names = self.names();
        let mut all = names.select(|name, pid, ()| Some((name.to_string(), pid)));
        all.sort();
        all
    }

    /// The live server of type `S` that `pid` names.
    pub fn server_ref<S: GenServer>(&self, pid: Pid) -> Option<ServerRef<S>> {
        let cell = self.core.find(pid)?;
        // SAFETY: the type is checked.
        (cell.vtable.serves && (cell.vtable.type_id)() == std::any::TypeId::of::<S>())
            .then(|| unsafe { ServerRef::from_cell(cell) })
    }

    /// Whether `pid` names a live process of this system. False no later than anybody is told of its
    /// death. OTP: `is_process_alive/1`.
    pub fn is_alive(&self, pid: Pid) -> bool {
        self.core.is_alive(pid)
    }

    /// Sends a message of any type to a bare pid; dropped and counted if it is dead. OTP: `Pid !
    /// Message`.
    pub fn send<M: Send + 'static>(&self, pid: Pid, message: M) {
        context::send_any(&self.core, pid, message);
    }

    /// Sends an exit signal that comes from nobody. OTP: `exit/2`, which only a process can call.
    pub fn exit(&self, pid: Pid, reason: ExitReason) {
        if let Some(target) = self.core.find(pid) {
            // A process that died meanwhile needs no signal.
            let _ = send_signal(
                &target,
                Signal::Exit {
                    from: None,
                    reason,
                    cause: Cause::Sent,
                },
            );
        }
    }

    /// Waits for the end of `pid`; ready at once, with [`ExitReason::NoProc`], if it is dead. Inside a
    /// process, [`ProcessContext::monitor`](crate::ProcessContext::monitor) sends it a message instead.
    pub fn monitor(&self, pid: Pid) -> Monitor {
        context::monitor_outside(&self.core, pid, None)
    }

    /// Asks a process about itself, ahead of its queued messages; `None`: it is dead. A process that
    /// is inside a handler answers when the handler waits or is done. OTP: `process_info/1`.
    pub fn process_info(&self, pid: Pid) -> Info {
        context::process_info(&self.core, pid)
    }

    /// All live processes, in the order of their ids. OTP: `processes/0`.
    pub fn processes(&self) -> Vec<Pid> {
        let mut pids = Vec::new();
        self.core
            .table
            .for_each_live(|id, serial, _| pids.push(Pid::local(self.core.creation(), id, serial)));
        pids
    }

    /// What became of all messages so far. `queued` is computed from the others, and exact while the
    /// system is idle.
    pub fn stats(&self) -> Stats {
        let mut stats = self.core.stats();
        stats.queued = stats.sent.saturating_sub(
            stats.handled + stats.aborted + stats.rejected + stats.dropped + stats.undelivered,
        );
        stats
    }

    /// Sends `message` to `to` after `after`. OTP: `erlang:send_after/3`.
    pub fn send_after<M: Send + 'static>(
        &self,
        after: Duration,
        to: &impl Destination<M>,
        message: M,
    ) -> TimerRef {
        timers::send_after(&self.core, after, to.letter(self, message).0)
    }

    /// Sends a clone of `message` to `to` every `period` (at least 1 ms), first after one; ends when
    /// the target is dead. OTP: `timer:send_interval/3`. Does not drift.
    pub fn send_interval<M, D>(&self, period: Duration, to: &D, message: M) -> TimerRef
    where
        M: Clone + Send + 'static,
        D: Destination<M> + Clone + Send + 'static,
    {
        let (system, to) = (self.clone(), to.clone());
        let make = move || (!to.is_gone(&system)).then(|| to.letter(&system, message.clone()).0);
        self.core
            .timers
            .arm_interval(&self.core, period, Box::new(make))
    }

    /// Cancels a timer; the time it had left, or `None` if it fired or was cancelled. OTP:
    /// `erlang:cancel_timer/1`.
    pub fn cancel_timer(&self, timer: TimerRef) -> Option<Duration> {
        self.core.timers.cancel(&self.core, timer)
    }

    /// The time a timer has left, or `None`. OTP: `erlang:read_timer/1`.
    pub fn read_timer(&self, timer: TimerRef) -> Option<Duration> {
        self.core.timers.read(&self.core, timer)
    }

    /// The time on the system's clock since it was built.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.core.clock.now())
    }
}
