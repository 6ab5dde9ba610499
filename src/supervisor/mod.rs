//! Supervisors: processes that start others, and start them again when they fail. OTP: `supervisor`.

mod children;
mod handle;
mod process;
mod spec;
mod starter;
mod strategy;

use std::time::Duration;

pub use self::handle::{
    ChildCounts, ChildError, ChildInfo, ChildRequest, ChildStatus, SupervisorRef, SupervisorStart,
};
pub use self::spec::{ChildKind, ChildSpec, Restart, Shutdown};
pub use self::starter::{ChildPid, Starter};
pub use self::strategy::Strategy;

use self::process::{Args, SupervisorProcess};
use crate::gen_server::{self, ServerOptions};
use crate::process::ask::question;
use crate::process::call::Call;
use crate::process::context::ProcessContext;
use crate::process::spawn::Ties;
use crate::sched::core::CoreRef;
use crate::sync::Arc;
use crate::system::Handle;

/// What a supervisor is to be.
#[derive(Clone, Debug)]
pub struct Supervisor {
    strategy: Strategy,
    intensity: u32,
    period: Duration,
    children: Vec<ChildSpec>,
    name: Option<Arc<str>>,
}

impl Supervisor {
    /// A supervisor without children, with the defaults that each method names.
    pub fn new(strategy: Strategy) -> Self {
        Supervisor {
            strategy,
            intensity: 3,
            period: Duration::from_secs(5),
            children: Vec::new(),
            name: None,
        }
    }

    /// How many restarts are allowed within the [`period`](Self::period); one more ends the supervisor.
    /// Default: 3 (as in Elixir; OTP: 1).
    pub fn intensity(mut self, restarts: u32) -> Self {
        self.intensity = restarts;
        self
    }

    /// Within what time restarts count together. Measured exactly (OTP: in whole seconds). Default:
    /// 5 s.
    pub fn period(mut self, period: Duration) -> Self {
        self.period = period;
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

    /// Registers the supervisor under `name`. Default: none.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Starts it. From outside any process it is a child of the system's root: stopped in order at
    /// shutdown.
    pub fn start(self, system: &Handle) -> SupervisorStart {
        self.launch(system.core(), Handle::ties())
    }

    /// Starts it linked to the running process, which is its parent. If it fails, the error comes back
    /// *and* the exit signal does. OTP: `supervisor:start_link/2`.
    pub fn start_link(self, cx: &ProcessContext) -> SupervisorStart {
        let ties = Ties {
            link: true,
            ..Ties::default()
        };
        self.launch(cx.core(), ties)
    }

    fn launch(self, core: &CoreRef, ties: Ties) -> SupervisorStart {
        let (started, pending) = question();
        let args = Args {
            strategy: self.strategy,
            intensity: self.intensity,
            period: self.period,
            children: self.children,
            started,
        };
        let options = match self.name {
            Some(name) => ServerOptions::new().name(name),
            None => ServerOptions::new(),
        };
        let start = gen_server::start::<SupervisorProcess>(core, args, &options, ties);
        SupervisorStart::new(Call::new(core, pending, None), start.launched())
    }
}
