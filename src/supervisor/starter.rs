//! What a start function is given: the means to start processes as the supervisor, linked to it.

use std::future::Future;

use super::inheritance::Inheritance;
use super::supervised::Place;
use super::{Supervisor, SupervisorStart};
use crate::error::StartError;
use crate::gen_server::{self, GenServer, Recipient, ServerOptions, ServerRef, Start};
use crate::process::context::ProcessContext;
use crate::process::pid::Pid;
use crate::process::spawn::{Ties, Unborn};
use crate::receive::{self, Inbox, IntoExit};
use crate::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use crate::sync::{Arc, Mutex};
use crate::system::Handle;

/// Starts processes as the supervisor does, linked to it: the argument of the start function of
/// [`ChildSpec::worker`](super::ChildSpec::worker).
///
/// [`start_link`](Self::start_link) and [`spawn_link`](Self::spawn_link) apply what the spec says of
/// name, mailbox and priority.
///
/// # Panics
/// Its methods that start something panic unless they are called from the start function or its
/// future.
pub struct Starter {
    process: ProcessContext,
    options: ServerOptions,
    started: Started,
    inheritance: Option<Inheritance>,
    /// The child's place in the tree.
    place: Option<Arc<Place>>,
    /// How many supervisors were started.
    supervisors: AtomicUsize,
}

impl std::fmt::Debug for Starter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Starter")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// The pids of what one attempt has started so far: known before the attempt is over, so that one that
/// never is can be stopped.
#[derive(Clone, Default)]
pub(crate) struct Started(Arc<Mutex<Vec<Pid>>>);

impl Started {
    pub(crate) fn add(&self, pid: Pid) {
        self.0.lock().push(pid);
    }

    /// Calls `look`, which must not start anything, with each.
    pub(crate) fn each(&self, look: impl FnMut(Pid)) {
        self.0.lock().iter().copied().for_each(look);
    }

    pub(crate) fn pids(&self) -> Vec<Pid> {
        self.0.lock().clone()
    }
}

impl Starter {
    /// For an attempt of the running process.
    pub(crate) fn new(
        process: &ProcessContext,
        options: &ServerOptions,
        started: &Started,
    ) -> Self {
        Starter {
            process: ProcessContext::of(process.cell()),
            options: options.clone(),
            started: started.clone(),
            inheritance: None,
            place: None,
            supervisors: AtomicUsize::new(0),
        }
    }

    /// For a child with that place in the tree.
    pub(crate) fn at(mut self, place: Arc<Place>) -> Self {
        self.place = Some(place);
        self
    }

    /// With what the child's earlier incarnations left.
    pub(super) fn inheriting(mut self, inheritance: Option<Inheritance>) -> Self {
        self.inheritance = inheritance;
        self
    }

    /// What the spec says of name, mailbox, priority and timeout.
    pub fn options(&self) -> ServerOptions {
        self.options.clone()
    }

    /// The system.
    pub fn system(&self) -> Handle {
        self.process.system()
    }

    /// Starts a server, with the options of the spec. OTP: `gen_server:start_link/4`.
    pub fn start_link<S: GenServer>(&self, args: S::Args) -> Start<S> {
        self.start_link_with(args, self.options())
    }

    /// Starts a server with other options.
    pub fn start_link_with<S: GenServer>(&self, args: S::Args, options: ServerOptions) -> Start<S> {
        let prepare = |unborn: &mut Unborn| self.prepare(unborn);
        let core = self.process.core();
        let start = gen_server::start_prepared(core, args, &options, LINK, prepare);
        self.note(start.pid());
        start
    }

    /// Starts a supervisor, with the name of the spec if there is one. OTP:
    /// `supervisor:start_link/3`.
    ///
    /// What refers to its children ([`Supervised`](super::Supervised)) leads to those of the next attempt's
    /// supervisor afterwards: of several, to those of the one that is started as the first, second, ... too.
    pub fn start_supervisor(&self, supervisor: Supervisor) -> SupervisorStart {
        let supervisor = match &self.options.name {
            Some(name) => supervisor.name(name.clone()),
            None => supervisor,
        };
        let core = self.process.core();
        let below = self.place.as_ref().map(|place| {
            // Relaxed: one after the other, in the supervisor's turn.
            place.below(self.supervisors.fetch_add(1, Relaxed))
        });
        let start = supervisor.launch(core, LINK, below.unwrap_or_default());
        self.note(start.pid());
        start
    }

    /// Starts a process that receives messages of type `M` by itself, with the options of the spec.
    /// OTP: `spawn_link/1`.
    ///
    /// # Errors
    /// [`StartError::AlreadyStarted`]: a live process has the name. [`StartError::Refused`]: the
    /// system starts no more processes.
    pub fn spawn_link<M, F, R>(
        &self,
        run: impl FnOnce(Inbox<M>) -> F + Send + 'static,
    ) -> Result<Recipient<M>, StartError>
    where
        M: Send + 'static,
        F: Future<Output = R> + Send + 'static,
        R: IntoExit,
    {
        self.spawn(run, |_| {})
    }

    /// As [`spawn_link`](Self::spawn_link), for a task: this process has asked for it.
    pub(crate) fn spawn_task<M, F, R>(
        &self,
        run: impl FnOnce(Inbox<M>) -> F + Send + 'static,
    ) -> Result<Recipient<M>, StartError>
    where
        M: Send + 'static,
        F: Future<Output = R> + Send + 'static,
        R: IntoExit,
    {
        let asked = self.process.asks();
        self.spawn(run, |unborn| unborn.asked_for_by(asked))
    }

    fn spawn<M, F, R>(
        &self,
        run: impl FnOnce(Inbox<M>) -> F + Send + 'static,
        also: impl FnOnce(&mut Unborn),
    ) -> Result<Recipient<M>, StartError>
    where
        M: Send + 'static,
        F: Future<Output = R> + Send + 'static,
        R: IntoExit,
    {
        let name = self.options.name.as_ref();
        let core = self.process.core();
        let prepare = |unborn: &mut Unborn| {
            self.prepare(unborn);
            also(unborn);
        };
        let process = receive::spawn_named(core, &self.options.spawn, LINK, name, run, prepare)?;
        self.note(Some(process.pid()));
        Ok(process)
    }

    fn prepare(&self, unborn: &mut Unborn) {
        if let Some(inheritance) = &self.inheritance {
            inheritance.prepare(unborn);
        }
    }

    pub(crate) fn process(&self) -> &ProcessContext {
        &self.process
    }

    pub(crate) fn note(&self, pid: Option<Pid>) {
        if let Some(pid) = pid {
            self.started.add(pid);
        }
    }
}

const LINK: Ties = Ties {
    link: true,
    monitor: false,
    root: false,
};

/// What has the pid of a started child: a [`Pid`], or a reference to a server, a supervisor or a
/// process.
pub trait ChildPid: Send + 'static {
    /// The pid.
    fn child_pid(&self) -> Pid;
}

impl ChildPid for Pid {
    fn child_pid(&self) -> Pid {
        *self
    }
}

impl<S: 'static> ChildPid for ServerRef<S> {
    fn child_pid(&self) -> Pid {
        self.pid()
    }
}

impl<M: 'static> ChildPid for Recipient<M> {
    fn child_pid(&self) -> Pid {
        self.pid()
    }
}
