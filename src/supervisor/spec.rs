//! What a supervisor is told of a child: how it is started, when it is restarted, how it is stopped.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::backoff::Backoff;
use super::inheritance::MailboxFate;
use super::starter::{ChildPid, Starter};
use super::{Supervisor, SupervisorStart};
use crate::error::StartError;
use crate::exit::Quiet;
use crate::gen_server::{GenServer, ServerOptions};
use crate::process::bounded::MailboxPolicy;
use crate::process::cell::Priority;
use crate::process::pid::Pid;
use crate::receive::{Inbox, IntoExit};
use crate::registry::Name;
use crate::sync::Arc;

/// Whether a child that ended by itself is started again. OTP: `restart` of a `child_spec()`.
///
/// | it ended with | `Permanent` | `Transient` | `Temporary` |
/// |---|---|---|---|
/// | `Normal` | restarted | its spec is kept | forgotten |
/// | `Shutdown`, with or without a term | restarted | its spec is kept | forgotten |
/// | any other reason: panic, error, `Killed`, ... | restarted | restarted | forgotten |
///
/// `Shutdown` is what [`ExitReason::is_shutdown`](crate::ExitReason::is_shutdown) says.
///
/// Each restart counts against the supervisor's intensity, whatever the reason was. What the
/// supervisor itself stopped has not ended by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Restart {
    /// Always. The default.
    #[default]
    Permanent,
    /// If it ended abnormally.
    Transient,
    /// Never, and its spec goes with it: also when it is terminated, or stopped with a group.
    Temporary,
}

/// How a child is stopped. OTP: `shutdown` of a `child_spec()`.
///
/// However long it takes, a child that is being stopped does not keep its supervisor from serving
/// others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Shutdown {
    /// Killed at once: `terminate` does not run. OTP: `brutal_kill`.
    BrutalKill,
    /// Told to stop, with [`ExitReason::Shutdown`](crate::ExitReason::Shutdown), and killed if it has
    /// not by then. The default of workers: 5 s.
    Timeout(Duration),
    /// Told to stop, and waited for as long as it takes. The default of supervisors, so that their own
    /// children get their time. OTP: `infinity`.
    Infinity,
}

/// What a child is. OTP: `type` of a `child_spec()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChildKind {
    /// A process that does the work.
    Worker,
    /// A supervisor of others.
    Supervisor,
}

impl ChildKind {
    /// How such a child is stopped unless its spec says otherwise.
    pub(crate) fn shutdown(self) -> Shutdown {
        match self {
            ChildKind::Worker => Shutdown::Timeout(Duration::from_secs(5)),
            ChildKind::Supervisor => Shutdown::Infinity,
        }
    }
}

pub(crate) type Starting = Pin<Box<dyn Future<Output = Result<Pid, StartError>> + Send>>;
pub(crate) type StartFn = dyn Fn(Starter) -> Starting + Send + Sync;

/// A child as its supervisor knows it: data, and a function that starts it, used again for every
/// restart. OTP: `child_spec()`.
///
/// ```
/// use std::time::Duration;
/// use noex::prelude::*;
///
/// struct Cache;
/// impl GenServer for Cache {
///     type Args = usize;
///     async fn init(_size: usize, _cx: &mut Context<Self>) -> Result<Self, InitStop> {
///         Ok(Cache)
///     }
/// }
///
/// let cache = ChildSpec::server::<Cache>("cache", 1024)
///     .name("cache")
///     .restart(Restart::Transient)
///     .shutdown(Shutdown::Timeout(Duration::from_secs(1)));
/// assert_eq!(cache.id(), "cache");
/// ```
#[derive(Clone)]
pub struct ChildSpec {
    pub(crate) id: Arc<str>,
    pub(crate) kind: ChildKind,
    pub(crate) restart: Restart,
    pub(crate) significant: bool,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) mailbox_fate: Quiet<MailboxFate>,
    /// What [`restart`](Self::restart) was told, if it was.
    pub(crate) chosen_restart: Option<Restart>,
    shutdown: Option<Shutdown>,
    options: ServerOptions,
    /// What the function captured is the user's, who may drop it anywhere, and we do.
    start: Quiet<Arc<StartFn>>,
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("restart", &self.restart)
            .field("significant", &self.significant)
            .field("backoff", &self.backoff)
            .field("mailbox_fate", &self.mailbox_fate)
            .field("shutdown", &self.shutdown_mode())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl ChildSpec {
    pub(crate) fn new(id: impl Into<Arc<str>>, kind: ChildKind, start: Arc<StartFn>) -> Self {
        ChildSpec {
            id: id.into(),
            kind,
            restart: Restart::default(),
            significant: false,
            backoff: None,
            mailbox_fate: MailboxFate::default().into(),
            chosen_restart: None,
            shutdown: None,
            options: ServerOptions::new(),
            start: start.into(),
        }
    }

    /// A server of type `S`. Each incarnation is given a clone of `args`.
    ///
    /// `id` tells it from its siblings; it is not a [`name`](Self::name).
    pub fn server<S>(id: impl Into<Arc<str>>, args: S::Args) -> Self
    where
        S: GenServer,
        S::Args: Clone + Sync,
    {
        Self::worker(id, move |starter| starter.start_link::<S>(args.clone()))
    }

    /// A process started by a function of yours, as `start_link` functions do it in OTP.
    ///
    /// `start` runs as the supervisor; what it starts through the [`Starter`] is linked to it, and it
    /// gives the pid of the child, or anything that has one. While it waits the supervisor serves
    /// others. A panic in it is a failed start. Of several processes it starts only the one it returns
    /// is the child; when it fails, all of them are killed.
    ///
    /// ```
    /// use noex::prelude::*;
    /// # struct Cache;
    /// # impl GenServer for Cache {
    /// #     type Args = u64;
    /// #     async fn init(_size: u64, _cx: &mut Context<Self>) -> Result<Self, InitStop> {
    /// #         Ok(Cache)
    /// #     }
    /// # }
    /// let sized_by_hand = ChildSpec::worker("cache", |starter| async move {
    ///     let size = std::env::var("CACHE_SIZE").map_or(Ok(1024), |size| size.parse());
    ///     let size: u64 = size.map_err(ExitReason::error)?;
    ///     starter.start_link::<Cache>(size).await
    /// });
    /// ```
    pub fn worker<F, P>(
        id: impl Into<Arc<str>>,
        start: impl Fn(Starter) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<P, StartError>> + Send + 'static,
        P: ChildPid,
    {
        let start = move |starter| -> Starting {
            let starting = start(starter);
            Box::pin(async move { starting.await.map(|child| child.child_pid()) })
        };
        Self::new(id, ChildKind::Worker, Arc::new(start))
    }

    /// A process that receives messages of type `M` by itself. It counts as started at once.
    pub fn process<M, F, R>(
        id: impl Into<Arc<str>>,
        run: impl Fn(Inbox<M>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        M: Send + 'static,
        F: Future<Output = R> + Send + 'static,
        R: IntoExit,
    {
        let run = Arc::new(run);
        Self::worker(id, move |starter| {
            let run = run.clone();
            std::future::ready(starter.spawn_link(move |inbox: Inbox<M>| run(inbox)))
        })
    }

    /// A supervisor under this one: a branch of the tree. It is stopped with [`Shutdown::Infinity`]
    /// unless told otherwise.
    pub fn supervisor(id: impl Into<Arc<str>>, supervisor: Supervisor) -> Self {
        let start = move |starter: Starter| -> Starting {
            let starting: SupervisorStart = starter.start_supervisor(supervisor.clone());
            Box::pin(async move { starting.await.map(|child| child.pid()) })
        };
        Self::new(id, ChildKind::Supervisor, Arc::new(start))
    }

    /// Registers each incarnation under `name`, before its `init` runs. Default: none (of a
    /// supervisor: the name it was built with).
    ///
    /// The name of one that died is free for the next by construction: names of the dead count as
    /// free. With [`worker`](Self::worker) the [`Starter`] applies it.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.options = self.options.name(name);
        self
    }

    /// What it is said to be. Default: a worker, unless it was made by [`supervisor`](Self::supervisor).
    /// OTP: `type` of a `child_spec()`.
    ///
    /// A process of yours that has children of its own counts as a supervisor: by default it is given
    /// the time to stop them, whatever that takes.
    pub fn of_kind(mut self, kind: ChildKind) -> Self {
        self.kind = kind;
        self
    }

    /// When it is restarted. Default: [`Restart::Permanent`]; under a
    /// [`DynamicSupervisor`](crate::DynamicSupervisor): [`Restart::Temporary`].
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self.chosen_restart = Some(restart);
        self
    }

    /// Whether its end may end its supervisor, as that supervisor's
    /// [`auto_shutdown`](super::Supervisor::auto_shutdown) says. A significant child must be transient
    /// or temporary, and its supervisor's `auto_shutdown` must not be `Never`; else the supervisor does
    /// not start ([`StartError::SignificantPermanent`], [`StartError::SignificantInVain`]). Default: it
    /// is not significant. OTP: `significant` of a `child_spec()`.
    pub fn significant(mut self, significant: bool) -> Self {
        self.significant = significant;
        self
    }

    /// How long it waits before it is restarted. Default: as its supervisor's
    /// [`backoff`](super::Supervisor::backoff) says, which by default is not at all. (No counterpart in
    /// OTP.)
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = Some(backoff);
        self
    }

    /// What becomes of the messages it has not handled when it is restarted. Default:
    /// [`MailboxFate::Drop`], as in OTP. Of no effect on a supervisor, whose requests are calls, nor on a
    /// child that is never restarted.
    pub fn mailbox_fate(mut self, fate: MailboxFate) -> Self {
        self.mailbox_fate = fate.into();
        self
    }

    /// How it is stopped. Default: within 5 s; a [supervisor](Self::of_kind): without a limit.
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = Some(shutdown);
        self
    }

    /// How many messages may wait. Default: [`MailboxPolicy::Unbounded`].
    pub fn mailbox(mut self, mailbox: MailboxPolicy) -> Self {
        self.options = self.options.mailbox(mailbox);
        self
    }

    /// How urgently it runs. Default: [`Priority::Normal`].
    pub fn priority(mut self, priority: Priority) -> Self {
        self.options = self.options.priority(priority);
        self
    }

    /// How long the `init` of a server may take before it is killed and the start fails with
    /// [`StartError::Timeout`]. Default: as long as it likes, as in OTP.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.options = self.options.timeout(timeout);
        self
    }

    /// The id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it is.
    pub fn kind(&self) -> ChildKind {
        self.kind
    }

    /// When it is restarted under a supervisor whose default that is.
    pub(crate) fn restart_or(&self, default: Restart) -> Restart {
        self.chosen_restart.unwrap_or(default)
    }

    pub(crate) fn shutdown_mode(&self) -> Shutdown {
        self.shutdown.unwrap_or(self.kind.shutdown())
    }

    pub(crate) fn with_options(mut self, options: ServerOptions) -> Self {
        self.options = options;
        self
    }

    pub(crate) fn options(&self) -> &ServerOptions {
        &self.options
    }

    pub(crate) fn start_fn(&self) -> Quiet<Arc<StartFn>> {
        self.start.clone()
    }
}
