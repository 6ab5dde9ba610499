//! Dynamic supervisors: for children that come and go, many of them, each independent of the others.
//! Elixir: `DynamicSupervisor`; OTP: `supervisor` with `simple_one_for_one`.
//!
//! | part | what it holds |
//! |---|---|
//! | `template` | [`Template`]: a child spec that lacks its arguments; where children come from |
//! | `children` | the children and what is kept of each: little |
//! | `process` | the process: its messages, and how it ends |
//! | `jobs` | what takes time: attempts to start a child, |
//! | `stops` | and stoppings |
//! | `handle` | [`DynamicSupervisorRef`], and the futures of its answers |
//!
//! # Rules
//! - It starts without children, and a child is known by its pid alone.
//! - Children are restarted one for one: permanent ones always, transient ones after an abnormal end,
//!   temporary ones never. All others are forgotten: nothing is kept of a child that has no process and
//!   gets none. That of a child which asks to be ignored, too, also at its restart.
//! - Restarts are counted as by a [`Supervisor`](crate::Supervisor); an attempt that fails is made again,
//!   as a message of the supervisor to itself, and each counts.
//! - It stops all children at once, in no order, and kills each that has not stopped in its own time.

pub(crate) mod children;
pub(crate) mod handle;
mod jobs;
pub(crate) mod process;
mod stops;
pub(crate) mod template;

use std::fmt;

pub use self::handle::{DynamicChild, DynamicSupervisorRef, DynamicSupervisorStart};
pub use self::template::Template;

use self::process::DynamicProcess;
use self::template::Source;
use crate::gen_server;
use crate::process::context::ProcessContext;
use crate::process::pid::Pid;
use crate::process::spawn::Ties;
use crate::sched::core::CoreRef;
use crate::supervisor::flags::{Flags, flag_methods};
use crate::supervisor::spec::{ChildKind, ChildSpec, Restart, Starting};
use crate::supervisor::starter::{ChildPid, Starter};
use crate::sync::Arc;
use crate::system::Handle;

/// What a dynamic supervisor is to be. Elixir: the options of `DynamicSupervisor.init/1`.
///
/// Its children are started by [`start_child`](DynamicSupervisorRef::start_child), each with an `A`: a
/// [`ChildSpec`] of its own ([`new`](Self::new)), or the arguments that a [`Template`] lacks
/// ([`with_template`](Self::with_template)). It is a plain value that can be cloned and put into a tree
/// by [`ChildSpec::dynamic_supervisor`].
///
/// # Examples
/// ```
/// use noex::prelude::*;
/// use noex::{ChildError, DynamicSupervisor};
///
/// struct Room;
/// impl GenServer for Room {
///     type Args = ();
///     async fn init(_: (), _cx: &mut Context<Self>) -> Result<Self, InitStop> {
///         Ok(Room)
///     }
/// }
///
/// let system = System::new()?;
/// let rooms = DynamicSupervisor::new().max_children(2).start(&system).wait()?;
/// let lobby = rooms.start_child(ChildSpec::server::<Room>("lobby", ())).wait()?;
/// rooms.start_child(ChildSpec::server::<Room>("cellar", ()).restart(Restart::Permanent)).wait()?;
/// let attic = rooms.start_child(ChildSpec::server::<Room>("attic", ())).wait();
/// assert_eq!(attic, Err(ChildError::MaxChildren));
///
/// rooms.terminate_child(lobby.expect("it is never ignored")).wait()?;
/// assert_eq!(rooms.count_children().wait()?.active, 1);
/// # system.shutdown().wait()?;
/// # Ok::<(), noex::Error>(())
/// ```
///
/// # Departures from Elixir and OTP
/// - Children are temporary unless their spec or template says otherwise.
/// - A child that takes its time in `init` or `terminate` does not make the supervisor deaf, and others
///   are started meanwhile. Those that are being started count against
///   [`max_children`](DynamicSupervisor::max_children).
/// - The period is measured exactly, not in whole seconds.
pub struct DynamicSupervisor<A = ChildSpec, P = Pid> {
    source: Source<A, P>,
    max_children: usize,
    flags: Flags,
}

impl<A, P> Clone for DynamicSupervisor<A, P> {
    fn clone(&self) -> Self {
        DynamicSupervisor {
            source: self.source.clone(),
            max_children: self.max_children,
            flags: self.flags.clone(),
        }
    }
}

impl<A, P> fmt::Debug for DynamicSupervisor<A, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamicSupervisor")
            .field("max_children", &self.max_children)
            .field("flags", &self.flags)
            .finish_non_exhaustive()
    }
}

impl DynamicSupervisor {
    /// A supervisor whose children each come with a spec of their own, with the defaults that each
    /// method names. The ids of the specs need not differ: they are only shown in reports.
    ///
    /// Unless [`ChildSpec::restart`] says otherwise such a child is [`Restart::Temporary`] (Elixir:
    /// permanent).
    #[allow(clippy::new_without_default)] // as `Supervisor`
    pub fn new() -> Self {
        Self::from_source(Source::specs())
    }
}

impl<A, P> DynamicSupervisor<A, P> {
    fn from_source(source: Source<A, P>) -> Self {
        DynamicSupervisor {
            source,
            max_children: usize::MAX,
            flags: Flags::default(),
        }
    }

    /// A supervisor whose children are all as `template` says. OTP: `simple_one_for_one`.
    pub fn with_template(template: Template<A, P>) -> Self {
        Self::from_source(Source::template(template, Restart::Temporary))
    }

    /// How many children there may be at once, those included that are being started, restarted or
    /// stopped. 0: none at all. Default: as many as there is room for. Elixir: `max_children`.
    pub fn max_children(mut self, children: usize) -> Self {
        self.max_children = children;
        self
    }

    flag_methods!(backoff);
}

impl<A: Send + 'static, P: ChildPid> DynamicSupervisor<A, P> {
    /// Starts it. From outside any process it is a child of the system's root: stopped in order at
    /// shutdown.
    pub fn start(self, system: &Handle) -> DynamicSupervisorStart<A, P> {
        self.launch(system.core(), Handle::ties())
    }

    /// Starts it linked to the running process, which is its parent. If it fails, the error comes back
    /// *and* the exit signal does. Elixir: `DynamicSupervisor.start_link/1`.
    pub fn start_link(self, cx: &ProcessContext) -> DynamicSupervisorStart<A, P> {
        let ties = Ties {
            link: true,
            ..Ties::default()
        };
        self.launch(cx.core(), ties)
    }

    fn launch(self, core: &CoreRef, ties: Ties) -> DynamicSupervisorStart<A, P> {
        let options = self.flags.options();
        let start = gen_server::start::<DynamicProcess<A, P>>(core, self, &options, ties);
        DynamicSupervisorStart::new(start)
    }
}

impl ChildSpec {
    /// A dynamic supervisor under this supervisor: a branch of the tree. It is stopped with
    /// [`Shutdown::Infinity`](crate::Shutdown::Infinity) unless told otherwise.
    pub fn dynamic_supervisor<A, P>(
        id: impl Into<Arc<str>>,
        supervisor: DynamicSupervisor<A, P>,
    ) -> Self
    where
        A: Send + 'static,
        P: ChildPid,
    {
        let start = move |starter: Starter| -> Starting {
            let starting = starter.start_dynamic_supervisor(supervisor.clone());
            Box::pin(async move { starting.await.map(|child| child.pid()) })
        };
        Self::new(id, ChildKind::Supervisor, Arc::new(start))
    }
}

impl Starter {
    /// Starts a dynamic supervisor, with the name of the spec if there is one.
    pub fn start_dynamic_supervisor<A, P>(
        &self,
        supervisor: DynamicSupervisor<A, P>,
    ) -> DynamicSupervisorStart<A, P>
    where
        A: Send + 'static,
        P: ChildPid,
    {
        let supervisor = match self.options().name {
            Some(name) => supervisor.name(name),
            None => supervisor,
        };
        let start = supervisor.start_link(self.process());
        self.note(start.pid());
        start
    }
}
