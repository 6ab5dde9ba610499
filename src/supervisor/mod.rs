//! Supervisors: processes that start others, and start them again when they end. OTP: `supervisor`.
//!
//! ```text
//!            Supervisor  (Strategy, intensity in period)
//!            ┌───────┼─────────┐      start order ─▶ , stop order ◀─
//!       ChildSpec ChildSpec ChildSpec
//!        server    worker   supervisor ── ...
//! ```
//!
//! | part | what it holds |
//! |---|---|
//! | `flags` | what a supervisor is told of itself, whatever its kind |
//! | `spec` | [`ChildSpec`]: what a supervisor is told of a child |
//! | `starter` | [`Starter`]: how a start function starts processes as the supervisor |
//! | `strategy` | what a supervisor decides: pure functions |
//! | `backoff` | [`Backoff`]: how long who waits for a restart |
//! | `children` | the children and the state of each |
//! | `process` | the process: its messages, and how it ends |
//! | `jobs` | what it has to do, and in which order |
//! | `stopping` | how processes are made to stop, by any kind of supervisor |
//! | `ending` | how a supervisor that ends waits for processes |
//! | `waits` | jobs that wait for a backoff, and what calls the wait off |
//! | `inheritance` | [`MailboxFate`]: what becomes of the mail of a child that is restarted |
//! | `supervised` | [`Supervised`]: references that outlive an incarnation |
//! | `status` | how any kind of supervisor shows itself to [`sys`](crate::sys) |
//! | `handle` | [`SupervisorRef`], and the futures of its answers |
//!
//! # Rules
//! - Children are started in the order of their specs and stopped in the reverse. The next is started
//!   when the `init` of the one before is done, and stopped when the one after is gone.
//! - A child that ended by itself is restarted as its [`Restart`] says, with whom the [`Strategy`] says.
//! - Each restart of a group costs one of the intensity, however many children are in it; each attempt
//!   that fails costs one more, and is made again until the intensity is used up.
//! - The restart that would exceed the intensity within the period is not made: the supervisor stops its
//!   children and ends with [`ExitReason::Shutdown`](crate::ExitReason::Shutdown). So its own supervisor
//!   starts it again only if it is permanent. It is reported: [`Event::GaveUp`](crate::Event::GaveUp).
//! - A child with a [`Backoff`] waits before it is restarted, and those that are restarted with it.
//! - The end of a [`significant`](ChildSpec::significant) child that is not restarted may end the
//!   supervisor: [`AutoShutdown`].
//! - If a child does not start with its supervisor, those before it are stopped again and the start fails
//!   with [`StartError::Child`](crate::StartError::Child).
//! - A supervisor that is killed takes its children along, by their links, without their shutdown times.

pub(crate) mod backoff;
mod children;
pub(crate) mod ending;
pub(crate) mod flags;
pub(crate) mod handle;
pub(crate) mod inheritance;
mod jobs;
pub(crate) mod process;
pub(crate) mod spec;
pub(crate) mod starter;
pub(crate) mod status;
pub(crate) mod stopping;
pub(crate) mod strategy;
mod supervised;
mod waits;

pub use self::backoff::Backoff;
pub(crate) use self::flags::Flags;
pub use self::handle::{
    ChildCounts, ChildError, ChildInfo, ChildRequest, ChildStatus, SupervisorRef, SupervisorStart,
};
pub use self::inheritance::MailboxFate;
pub use self::spec::{ChildKind, ChildSpec, Restart, Shutdown};
pub use self::starter::{ChildPid, Starter};
pub use self::strategy::{AutoShutdown, Strategy};
pub(crate) use self::strategy::{Fate, Restarts, fate};
pub use self::supervised::Supervised;

use self::flags::flag_methods;
use self::process::{Args, SupervisorProcess, Tag};
use self::supervised::Directory;
use crate::gen_server;
use crate::process::ask::question;
use crate::process::call::Call;
use crate::process::context::ProcessContext;
use crate::process::spawn::Ties;
use crate::sched::core::CoreRef;
use crate::sync::Arc;
use crate::system::Handle;

/// What a supervisor is to be: its strategy, its limits and its first children. OTP: what `init/1` of a
/// `supervisor` returns.
///
/// It is a plain value that can be cloned and put into a tree by [`ChildSpec::supervisor`].
///
/// # Examples
/// ```
/// use noex::prelude::*;
///
/// struct Counter(i64);
/// struct Add(i64);
/// struct Divide(i64);
///
/// impl GenServer for Counter {
///     type Args = i64;
///     async fn init(start: i64, _cx: &mut Context<Self>) -> Result<Self, InitStop> {
///         Ok(Counter(start))
///     }
/// }
/// impl HandleCall<Add> for Counter {
///     type Reply = i64;
///     async fn handle_call(&mut self, Add(n): Add, _cx: &mut Context<Self>) -> i64 {
///         self.0 += n;
///         self.0
///     }
/// }
/// impl HandleCall<Divide> for Counter {
///     type Reply = i64;
///     async fn handle_call(&mut self, Divide(by): Divide, _cx: &mut Context<Self>) -> i64 {
///         self.0 /= by;
///         self.0
///     }
/// }
///
/// # let system = System::builder().on_event(|_| {}).build()?;
/// # /*
/// let system = System::new()?;
/// # */
/// let supervisor = Supervisor::new(Strategy::OneForOne)
///     .child(ChildSpec::server::<Counter>("counter", 40).name("counter"))
///     .start(&system)
///     .wait()?;
/// let first = system.whereis("counter");
/// let counter = system.server::<Counter>("counter");
/// assert_eq!(counter.call(Add(2)).wait()?, 42);
///
/// // A panic ends this incarnation only; the name leads to the next, which starts from 40.
/// assert!(counter.call(Divide(0)).wait().is_err());
/// while system.whereis("counter").is_none_or(|pid| Some(pid) == first) {
///     std::thread::yield_now();
/// }
/// assert_eq!(counter.call(Add(2)).wait()?, 42);
/// assert_eq!(supervisor.count_children().wait()?.active, 1);
/// system.shutdown().wait()?;
/// # Ok::<(), noex::Error>(())
/// ```
///
/// # Departures from OTP
/// - A child that takes its time in `init` or `terminate` does not make the supervisor deaf. Other
///   children are restarted and requests are answered meanwhile; what concerns the same child (with
///   `OneForAll` and `RestForOne`: any child) waits its turn. A child that hangs in `init` can be
///   terminated, and a supervisor with such a child stopped.
/// - The period is measured exactly, not in whole seconds. The defaults are Elixir's: 3 in 5 s.
/// - An exit signal that a living child sends its supervisor is not taken for the child's end.
/// - `which_children` lists in start order.
/// - Restarts may wait ([`Backoff`]), and the mail of a child that is restarted be kept
///   ([`MailboxFate`]). `delete_child` deletes one that waits.
#[derive(Clone, Debug)]
pub struct Supervisor {
    strategy: Strategy,
    flags: Flags,
    auto_shutdown: AutoShutdown,
    children: Vec<ChildSpec>,
    tag: Option<Tag>,
}

impl Supervisor {
    /// A supervisor without children, with the defaults that each method names.
    pub fn new(strategy: Strategy) -> Self {
        Supervisor {
            strategy,
            flags: Flags::default(),
            auto_shutdown: AutoShutdown::Never,
            children: Vec::new(),
            tag: None,
        }
    }

    flag_methods!(backoff);

    /// Whether the ends of [`significant`](ChildSpec::significant) children end the supervisor.
    /// Default: [`AutoShutdown::Never`]. OTP: `auto_shutdown` of `sup_flags()`.
    pub fn auto_shutdown(mut self, when: AutoShutdown) -> Self {
        self.auto_shutdown = when;
        self
    }

    /// Adds a child. They are started in the order of adding, and stopped in the reverse.
    pub fn child(mut self, child: ChildSpec) -> Self {
        self.children.push(child);
        self
    }

    /// Adds children.
    pub fn children(mut self, children: impl IntoIterator<Item = ChildSpec>) -> Self {
        self.children.extend(children);
        self
    }

    /// What it is told of itself.
    pub(crate) fn flags(mut self, flags: Flags) -> Self {
        self.flags = flags;
        self
    }

    /// What whoever finds the supervisor by its name is given.
    pub(crate) fn tag(mut self, tag: Tag) -> Self {
        self.tag = Some(tag);
        self
    }

    /// Starts it. From outside any process it is a child of the system's root: stopped in order at
    /// shutdown.
    pub fn start(self, system: &Handle) -> SupervisorStart {
        self.launch(system.core(), Handle::ties(), Arc::default())
    }

    /// Starts it linked to the running process, which is its parent. If it fails, the error comes back
    /// *and* the exit signal does. OTP: `supervisor:start_link/2`.
    pub fn start_link(self, cx: &ProcessContext) -> SupervisorStart {
        let ties = Ties {
            link: true,
            ..Ties::default()
        };
        self.launch(cx.core(), ties, Arc::default())
    }

    /// `directory`: where references to its children look for them.
    fn launch(self, core: &CoreRef, ties: Ties, directory: Arc<Directory>) -> SupervisorStart {
        let (started, pending) = question();
        let options = self.flags.options();
        let args = Args {
            supervisor: self,
            directory,
            started,
        };
        let start = gen_server::start::<SupervisorProcess>(core, args, &options, ties);
        SupervisorStart::new(Call::new(core, pending, None), start.launched())
    }
}
