//! Applications: a supervision tree with a name, an environment and dependencies, started and stopped
//! as one. OTP: `application`.
//!
//! ```text
//!   Applications (handle) ──▶ controller ──link──▶ master ──link──▶ the application's tree
//!        │                    one a system         one for each that runs
//!        └── Table: what is loaded, with its environment and status; read without a message
//! ```
//!
//! | part | what it does |
//! |---|---|
//! | `spec` | [`ApplicationSpec`]: what an application is loaded with |
//! | `table` | what is loaded and how it stands, and every decision: pure functions |
//! | `controller` | the process that starts and stops applications, and sees them end |
//! | `master` | the process that runs the callbacks of one application |
//! | `remains` | the end of what is left when a master has ended, in whatever way |
//! | `handle` | [`Applications`], and the futures of its answers |
//! | `run` | an application as the `main` of a program |
//!
//! # Rules
//! - An application is started when those it depends on run. [`Applications::start`] refuses otherwise;
//!   [`Applications::ensure_all_started`] starts them first, in order.
//! - One that ends by itself takes the *system* down if it is [`Permanent`](ApplicationKind::Permanent),
//!   or [`Transient`](ApplicationKind::Transient) and its reason is not `Normal`: the applications stop
//!   in reverse start order, then all else, and [`System::wait`](crate::System::wait) returns the
//!   cause. noex never ends the OS process; only [`ApplicationSpec::main`] makes an exit code of it.
//! - What is reported as stopped is gone: every process that was started by links from the master on,
//!   whatever ended the master or the tree. What is left when the master has ended is told to shut down,
//!   and killed when it takes too long ([`ApplicationSpec::stop_timeout`]).
//! - [`Applications::stop`] is no end in that sense, whatever the kind.
//! - At [`shutdown`](crate::System::shutdown) applications stop before everything else.

mod controller;
pub(crate) use self::controller::NAME as CONTROLLER;
mod handle;
mod master;
mod remains;
mod run;
mod spec;
mod table;

use std::future::Future;

pub use self::handle::{
    ApplicationInfo, Applications, ChangingApplication, EnsuringStarted, WhoseProcess,
};
pub use self::spec::ApplicationSpec;
pub use self::table::{ApplicationError, ApplicationKind, ApplicationStatus};

use crate::error::StartError;
use crate::exit::ExitReason;
use crate::process::context::ProcessContext;
use crate::process::pid::Pid;

/// The callbacks of an application. OTP: the behaviour `application`.
///
/// All of them run in one process, the application's *master*, one after the other.
///
/// # Examples
/// ```
/// use noex::prelude::*;
/// use noex::{Application, ApplicationKind, ApplicationSpec, Pid, ProcessContext, StartError};
///
/// struct Shop;
///
/// #[derive(Clone)]
/// struct ShopEnv {
///     shelves: usize,
/// }
///
/// impl Application for Shop {
///     const NAME: &'static str = "shop";
///     type Env = ShopEnv;
///
///     async fn start(env: ShopEnv, cx: &ProcessContext) -> Result<(Self, Pid), StartError> {
///         let shelves = (0..env.shelves).map(|n| {
///             ChildSpec::process(format!("shelf{n}"), |mut inbox: noex::Inbox<()>| async move {
///                 loop {
///                     inbox.recv().await;
///                 }
///             })
///         });
///         let tree = Supervisor::new(Strategy::OneForOne).children(shelves).start_link(cx).await?;
///         Ok((Shop, tree.pid()))
///     }
/// }
///
/// let system = System::new()?;
/// let applications = system.applications();
/// applications.load(ApplicationSpec::new::<Shop>(ShopEnv { shelves: 3 }))?;
/// applications.ensure_all_started(["shop"], ApplicationKind::Permanent).wait()?;
/// assert_eq!(applications.env::<Shop>()?.shelves, 3);
/// system.shutdown().wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Departures from OTP
/// - An application is known by its type, and its environment has a type; there are no `.app` files. So
///   there is one application of a type in a system.
/// - What takes "the node" down in OTP takes the `System` down.
/// - A start that is under way when the system shuts down is called off: it goes no further, and what it
///   has linked to the master is stopped.
pub trait Application: Sized + Send + 'static {
    /// Its name, by which others depend on it.
    const NAME: &'static str;

    /// Its environment: what can be set before it starts, and read from anywhere while it is loaded
    /// ([`Applications::env`]). OTP: the key `env` of the application resource.
    type Env: Clone + Send + Sync + 'static;

    /// Starts the application: its tree, whose top process is linked to the running one
    /// ([`Supervisor::start_link`](crate::Supervisor::start_link)), and what the other callbacks are to
    /// know. When the top process ends, the application has ended.
    ///
    /// # Errors
    /// The application is not started; what was linked in here is stopped.
    fn start(
        env: Self::Env,
        cx: &ProcessContext,
    ) -> impl Future<Output = Result<(Self, Pid), StartError>> + Send;

    /// One phase of a start in phases ([`ApplicationSpec::start_phases`]), called for each in order when
    /// the tree stands and before the start is done. Default: nothing. OTP: `start_phase/3`.
    ///
    /// # Errors
    /// The start has failed; the tree is stopped.
    fn start_phase(
        &mut self,
        phase: &str,
        cx: &ProcessContext,
    ) -> impl Future<Output = Result<(), ExitReason>> + Send {
        let _ = (phase, cx);
        async { Ok(()) }
    }

    /// The application is about to be stopped, its tree still runs. Not called if it ends by itself.
    /// Default: nothing. OTP: `prep_stop/1`.
    fn prep_stop(&mut self, cx: &ProcessContext) -> impl Future<Output = ()> + Send {
        let _ = cx;
        async {}
    }

    /// The tree is gone, because the application was stopped or ended by itself. Default: nothing. OTP:
    /// `stop/1`.
    fn stop(self, cx: &ProcessContext) -> impl Future<Output = ()> + Send {
        let _ = cx;
        async {}
    }
}
