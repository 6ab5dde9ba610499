//! Templates: a child spec that lacks its arguments.

use std::any::type_name;
use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::time::Duration;

use super::{DynamicSupervisor, DynamicSupervisorRef};
use crate::error::StartError;
use crate::exit::Quiet;
use crate::gen_server::{GenServer, Recipient, ServerOptions, ServerRef};
use crate::process::bounded::MailboxPolicy;
use crate::process::cell::Priority;
use crate::process::pid::Pid;
use crate::receive::{Inbox, IntoExit};
use crate::supervisor::spec::{self, ChildKind, ChildSpec, Restart, Shutdown};
use crate::supervisor::starter::{ChildPid, Starter};
use crate::supervisor::{Backoff, MailboxFate, Supervisor, SupervisorRef};
use crate::sync::Arc;

/// An attempt to start a child: its pid, and what whoever started it gets.
pub(crate) type Starting<P> = Pin<Box<dyn Future<Output = Result<(Pid, P), StartError>> + Send>>;

/// Clones arguments.
type CopyFn<A> = fn(&A) -> A;
pub(crate) type StartFn<A, P> = dyn Fn(Starter, A) -> Starting<P> + Send + Sync;

/// A child spec that lacks its arguments: each child is started with an `A` of its own, and whoever
/// starts it gets a `P` that leads to it. OTP: the one child spec of a `simple_one_for_one` supervisor,
/// whose start function is given further arguments by `start_child`.
///
/// | made by | `A` | `P` |
/// |---|---|---|
/// | [`server`](Self::server) | the server's `Args` | [`ServerRef`] |
/// | [`server_with`](Self::server_with) | yours; a function makes the `Args` of it | [`ServerRef`] |
/// | [`process`](Self::process) | yours | [`Recipient`] |
/// | [`worker`](Self::worker) | yours | whatever has a pid ([`ChildPid`]) |
/// | [`supervisor`](Self::supervisor), [`dynamic_supervisor`](Self::dynamic_supervisor) | yours; a function makes a supervisor of it | a reference to it |
/// | [`spec`](Self::spec) | any, ignored | [`Pid`] |
///
/// It says the same of its children as a [`ChildSpec`] does, except for an id and a name, which would
/// be the same for all. It serves a [`DynamicSupervisor`](crate::DynamicSupervisor::with_template) or a
/// [`PartitionSupervisor`](crate::PartitionSupervisor), and is cheap to clone.
///
/// ```
/// use noex::prelude::*;
/// use noex::{DynamicSupervisor, Template};
///
/// struct Session { user: String }
/// impl GenServer for Session {
///     type Args = String;
///     async fn init(user: String, _cx: &mut Context<Self>) -> Result<Self, InitStop> {
///         Ok(Session { user })
///     }
/// }
/// struct User;
/// impl HandleCall<User> for Session {
///     type Reply = String;
///     async fn handle_call(&mut self, _: User, _cx: &mut Context<Self>) -> String {
///         self.user.clone()
///     }
/// }
///
/// let system = System::new()?;
/// let sessions = DynamicSupervisor::with_template(Template::server::<Session>())
///     .start(&system)
///     .wait()?;
/// let session = sessions.start_child("joe".into()).wait()?.expect("it is never ignored");
/// assert_eq!(session.call(User).wait()?, "joe");
/// # system.shutdown().wait()?;
/// # Ok::<(), noex::Error>(())
/// ```
pub struct Template<A, P> {
    start: Quiet<Arc<StartFn<A, P>>>,
    /// What a child is called in reports: the type of its server or start function.
    what: Arc<str>,
    kind: ChildKind,
    /// With the means to keep the arguments for it.
    restart: Option<(Restart, CopyFn<A>)>,
    shutdown: Option<Shutdown>,
    backoff: Option<Backoff>,
    mailbox_fate: Quiet<MailboxFate>,
    /// As the spec is that it was made of.
    significant: bool,
    options: ServerOptions,
}

impl<A, P> Clone for Template<A, P> {
    fn clone(&self) -> Self {
        Template {
            start: self.start.clone(),
            what: self.what.clone(),
            kind: self.kind,
            restart: self.restart,
            shutdown: self.shutdown,
            backoff: self.backoff,
            mailbox_fate: self.mailbox_fate.clone(),
            significant: self.significant,
            options: self.options.clone(),
        }
    }
}

impl<A, P> fmt::Debug for Template<A, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template")
            .field("what", &self.what)
            .field("kind", &self.kind)
            .field("restart", &self.restart.map(|(restart, _)| restart))
            .field("shutdown", &self.shutdown)
            .field("backoff", &self.backoff)
            .field("mailbox_fate", &self.mailbox_fate)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl<A: Send + 'static, P: ChildPid> Template<A, P> {
    fn new<F>(
        what: &str,
        kind: ChildKind,
        start: impl Fn(Starter, A) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<P, StartError>> + Send + 'static,
    {
        let start = move |starter, args| -> Starting<P> {
            let starting = start(starter, args);
            Box::pin(async move { starting.await.map(|child| (child.child_pid(), child)) })
        };
        Template {
            start: Quiet::new(Arc::new(start)),
            what: what.into(),
            kind,
            restart: None,
            shutdown: None,
            backoff: None,
            mailbox_fate: MailboxFate::Drop.into(),
            significant: false,
            options: ServerOptions::new(),
        }
    }
}

/// The constructors. (They stand here so that `Template::server::<S>()` needs no more types.)
impl Template<(), ()> {
    /// Servers of type `S`, each with the arguments that `start_child` is given.
    pub fn server<S: GenServer>() -> Template<S::Args, ServerRef<S>> {
        Self::server_with::<S, S::Args>(|args| args)
    }

    /// Servers of type `S`; `args` makes the arguments of each, of what `start_child` is given. (OTP
    /// appends the latter to the arguments in the template.)
    pub fn server_with<S: GenServer, A: Send + 'static>(
        args: impl Fn(A) -> S::Args + Send + Sync + 'static,
    ) -> Template<A, ServerRef<S>> {
        let start = move |starter: Starter, a| starter.start_link::<S>(args(a));
        Template::new(type_name::<S>(), ChildKind::Worker, start)
    }

    /// Processes that receive messages of type `M` by themselves. They count as started at once.
    pub fn process<A, M, F, R>(
        run: impl Fn(Inbox<M>, A) -> F + Send + Sync + 'static,
    ) -> Template<A, Recipient<M>>
    where
        A: Send + 'static,
        M: Send + 'static,
        F: Future<Output = R> + Send + 'static,
        R: IntoExit,
    {
        let run = Arc::new(run);
        let start = move |starter: Starter, args| {
            let run = run.clone();
            ready(starter.spawn_link(move |inbox: Inbox<M>| run(inbox, args)))
        };
        Template::new(type_name::<F>(), ChildKind::Worker, start)
    }

    /// Processes started by a function of yours, as [`ChildSpec::worker`] describes it; what it gives
    /// is what whoever starts a child gets.
    pub fn worker<A, P, F>(
        start: impl Fn(Starter, A) -> F + Send + Sync + 'static,
    ) -> Template<A, P>
    where
        A: Send + 'static,
        P: ChildPid,
        F: Future<Output = Result<P, StartError>> + Send + 'static,
    {
        Template::new(type_name::<F>(), ChildKind::Worker, start)
    }

    /// Supervisors. They are stopped with [`Shutdown::Infinity`] unless told otherwise.
    pub fn supervisor<A: Send + 'static>(
        make: impl Fn(A) -> Supervisor + Send + Sync + 'static,
    ) -> Template<A, SupervisorRef> {
        let start = move |starter: Starter, args| starter.start_supervisor(make(args));
        Template::new("supervisor", ChildKind::Supervisor, start)
    }

    /// Dynamic supervisors. They are stopped with [`Shutdown::Infinity`] unless told otherwise.
    pub fn dynamic_supervisor<A, B, Q>(
        make: impl Fn(A) -> DynamicSupervisor<B, Q> + Send + Sync + 'static,
    ) -> Template<A, DynamicSupervisorRef<B, Q>>
    where
        A: Send + 'static,
        B: Send + 'static,
        Q: ChildPid,
    {
        let start = move |starter: Starter, args| starter.start_dynamic_supervisor(make(args));
        Template::new("dynamic supervisor", ChildKind::Supervisor, start)
    }

    /// Children that are all as `spec` says, its name included; its id is only shown in reports.
    ///
    /// If the spec is [`significant`](ChildSpec::significant) whatever supervisor the template serves
    /// does not start ([`StartError::SignificantInVain`]): none of them ends by itself. OTP: the same.
    pub fn spec<A: Clone + Send + 'static>(spec: ChildSpec) -> Template<A, Pid> {
        let start = spec.start_fn();
        let start: Arc<StartFn<A, Pid>> = Arc::new(move |starter, _| pid_twice(start(starter)));
        Template {
            what: spec.id.clone(),
            kind: spec.kind,
            restart: spec.chosen_restart.map(|restart| (restart, A::clone as _)),
            shutdown: Some(spec.shutdown_mode()),
            backoff: spec.backoff,
            mailbox_fate: spec.mailbox_fate.clone(),
            significant: spec.significant,
            options: spec.options().clone(),
            start: start.into(),
        }
    }
}

fn pid_twice(starting: spec::Starting) -> Starting<Pid> {
    Box::pin(async move { starting.await.map(|pid| (pid, pid)) })
}

impl<A, P> Template<A, P> {
    /// When a child is restarted, with a clone of its arguments. Default: under a dynamic supervisor
    /// [`Restart::Temporary`] (OTP: permanent), for which nothing is kept of the arguments; under a
    /// partition supervisor [`Restart::Permanent`].
    pub fn restart(mut self, restart: Restart) -> Self
    where
        A: Clone,
    {
        self.restart = Some((restart, A::clone));
        self
    }

    /// How a child is stopped. Default: within 5 s; a supervisor: without a limit.
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = Some(shutdown);
        self
    }

    /// As [`ChildSpec::backoff`], for each child by itself.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = Some(backoff);
        self
    }

    /// As [`ChildSpec::mailbox_fate`], for each child by itself.
    pub fn mailbox_fate(mut self, fate: MailboxFate) -> Self {
        self.mailbox_fate = fate.into();
        self
    }

    /// How many messages may wait for a child. Default: [`MailboxPolicy::Unbounded`].
    pub fn mailbox(mut self, mailbox: MailboxPolicy) -> Self {
        self.options = self.options.mailbox(mailbox);
        self
    }

    /// How urgently a child runs. Default: [`Priority::Normal`].
    pub fn priority(mut self, priority: Priority) -> Self {
        self.options = self.options.priority(priority);
        self
    }

    /// As [`ChildSpec::start_timeout`].
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.options = self.options.timeout(timeout);
        self
    }

    /// How its children are treated, under a supervisor whose default that restart type is.
    fn manner(&self, default: Restart) -> Manner {
        Manner {
            restart: self.restart.map_or(default, |(restart, _)| restart),
            shutdown: self.shutdown.unwrap_or(self.kind.shutdown()),
            kind: self.kind,
            backoff: self.backoff,
            mailbox_fate: self.mailbox_fate.clone(),
        }
    }

    /// One of its children as the child of a supervisor, started by `start`; permanent unless told
    /// otherwise.
    pub(crate) fn child_spec(&self, id: String, start: Arc<spec::StartFn>) -> ChildSpec {
        let manner = self.manner(Restart::Permanent);
        let mut spec = ChildSpec::new(id, self.kind, start)
            .restart(manner.restart)
            .shutdown(manner.shutdown)
            .significant(self.significant)
            .with_options(self.options.clone());
        spec.backoff = manner.backoff;
        spec.mailbox_fate = manner.mailbox_fate;
        spec
    }

    pub(crate) fn start(&self, starter: Starter, args: A) -> Starting<P> {
        (self.start)(starter, args)
    }

    /// What the children are.
    pub fn kind(&self) -> ChildKind {
        self.kind
    }
}

/// How a child is treated once it runs. OTP: that part of its `child_spec()`.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    pub(crate) restart: Restart,
    pub(crate) shutdown: Shutdown,
    pub(crate) kind: ChildKind,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) mailbox_fate: Quiet<MailboxFate>,
}

impl Manner {
    fn of(spec: &ChildSpec) -> Self {
        Manner {
            restart: spec.restart_or(Restart::Temporary),
            shutdown: spec.shutdown_mode(),
            kind: spec.kind,
            backoff: spec.backoff,
            mailbox_fate: spec.mailbox_fate.clone(),
        }
    }

    /// Whether the child of `spec` is treated so.
    fn is_of(&self, spec: &ChildSpec) -> bool {
        self.restart == spec.restart_or(Restart::Temporary)
            && self.shutdown == spec.shutdown_mode()
            && self.kind == spec.kind
            && self.backoff == spec.backoff
            && self.mailbox_fate.is_same(&spec.mailbox_fate)
    }
}

/// Where the children of a supervisor come from: from one template, or each from a spec of its own.
pub(crate) struct Source<A, P> {
    pub(crate) start: Quiet<Arc<StartFn<A, P>>>,
    /// For restarts; `None`: no child is ever restarted.
    pub(crate) copy: Option<CopyFn<A>>,
    about: About<A>,
}

enum About<A> {
    All {
        what: Arc<str>,
        manner: Arc<Manner>,
        significant: bool,
        options: ServerOptions,
    },
    Each {
        what: fn(&A) -> Arc<str>,
        /// Given that of the latest child, which mostly is that of the next, too.
        manner: fn(&A, Option<&Arc<Manner>>) -> Arc<Manner>,
        options: fn(&A) -> &ServerOptions,
        latest: Option<Arc<Manner>>,
    },
}

impl<A, P> Clone for Source<A, P> {
    fn clone(&self) -> Self {
        Source {
            start: self.start.clone(),
            copy: self.copy,
            about: match &self.about {
                About::All {
                    what,
                    manner,
                    significant,
                    options,
                } => About::All {
                    what: what.clone(),
                    manner: manner.clone(),
                    significant: *significant,
                    options: options.clone(),
                },
                About::Each {
                    what,
                    manner,
                    options,
                    latest,
                } => About::Each {
                    what: *what,
                    manner: *manner,
                    options: *options,
                    latest: latest.clone(),
                },
            },
        }
    }
}

impl<A, P> Source<A, P> {
    pub(crate) fn template(template: Template<A, P>, default: Restart) -> Self {
        let manner = template.manner(default);
        Source {
            start: template.start,
            copy: template.restart.map(|(_, copy)| copy),
            about: About::All {
                what: template.what,
                manner: Arc::new(manner),
                significant: template.significant,
                options: template.options,
            },
        }
    }

    /// Whether there can be such children at all.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        match &self.about {
            About::All {
                what, significant, ..
            } if *significant => Err(StartError::SignificantInVain(what.clone())),
            _ => Ok(()),
        }
    }

    /// What a child is called in a report; one of which no arguments are kept by its pid.
    pub(crate) fn what(&self, pid: Pid, args: Option<&A>) -> Arc<str> {
        match (&self.about, args) {
            (About::All { what, .. }, _) => what.clone(),
            (About::Each { what, .. }, Some(args)) => what(args),
            (About::Each { .. }, None) => pid.to_string().into(),
        }
    }

    pub(crate) fn manner(&mut self, args: &A) -> Arc<Manner> {
        match &mut self.about {
            About::All { manner, .. } => manner.clone(),
            About::Each { manner, latest, .. } => {
                let manner = manner(args, latest.as_ref());
                *latest = Some(manner.clone());
                manner
            }
        }
    }

    pub(crate) fn options<'a>(&'a self, args: &'a A) -> &'a ServerOptions {
        match &self.about {
            About::All { options, .. } => options,
            About::Each { options, .. } => options(args),
        }
    }
}

impl Source<ChildSpec, Pid> {
    /// Each child is as its own spec says.
    pub(crate) fn specs() -> Self {
        Source {
            start: Quiet::new(Arc::new(|starter, spec: ChildSpec| {
                if spec.significant {
                    // This kind of supervisor never shuts down by itself.
                    let error = StartError::SignificantInVain(spec.id);
                    return Box::pin(std::future::ready(Err(error)));
                }
                pid_twice(spec.start_fn()(starter))
            })),
            copy: Some(ChildSpec::clone),
            about: About::Each {
                what: |spec| spec.id.clone(),
                manner: |spec, latest| match latest.filter(|latest| latest.is_of(spec)) {
                    Some(latest) => latest.clone(),
                    None => Arc::new(Manner::of(spec)),
                },
                options: ChildSpec::options,
                latest: None,
            },
        }
    }
}
