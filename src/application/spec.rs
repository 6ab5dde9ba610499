//! What an application is loaded with.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use super::Application;
use super::controller::Controller;
use super::master::{Master, MasterArgs, Orders};
use crate::error::StartError;
use crate::gen_server::{Context, Recipient};
use crate::sync::Arc;

/// An environment, whose type is known where it is read.
pub(crate) type Env = Arc<dyn Any + Send + Sync>;

/// Starts the master of an application, linked to the controller.
type Launch = dyn Fn(&Context<Controller>, MasterArgs) -> Launched + Send + Sync;
type Launched = Result<Recipient<Orders>, StartError>;

/// What is known of an application before it starts. OTP: the application resource file, `Name.app`;
/// here a value, the application is known by its type, and its environment has one.
pub struct ApplicationSpec {
    pub(crate) name: Arc<str>,
    pub(crate) description: Arc<str>,
    pub(crate) needs: Vec<Arc<str>>,
    pub(crate) needs_if_loaded: Vec<Arc<str>>,
    pub(crate) phases: Vec<Arc<str>>,
    pub(crate) start_timeout: Option<Duration>,
    pub(crate) stop_timeout: Option<Duration>,
    pub(crate) env: Env,
    launch: Box<Launch>,
}

impl fmt::Debug for ApplicationSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApplicationSpec")
            .field("name", &self.name)
            .field("depends_on", &self.needs)
            .field("depends_on_if_loaded", &self.needs_if_loaded)
            .field("start_phases", &self.phases)
            .finish_non_exhaustive()
    }
}

impl ApplicationSpec {
    /// The application `A` with its environment, and the defaults that each method names.
    pub fn new<A: Application>(env: A::Env) -> Self {
        let launch = |cx: &Context<Controller>, args: MasterArgs| {
            Ok(cx.start_link::<Master<A>>(args).launched()?.recipient())
        };
        ApplicationSpec {
            name: A::NAME.into(),
            description: "".into(),
            needs: Vec::new(),
            needs_if_loaded: Vec::new(),
            phases: Vec::new(),
            start_timeout: None,
            stop_timeout: None,
            env: Arc::new(env),
            launch: Box::new(launch),
        }
    }

    /// One line for people. Default: empty. OTP: `description`.
    pub fn description(mut self, description: impl Into<Arc<str>>) -> Self {
        self.description = description.into();
        self
    }

    /// The application with this name must run before this one starts. Default: none. OTP:
    /// `applications`.
    pub fn depends_on(mut self, name: impl Into<Arc<str>>) -> Self {
        self.needs.push(name.into());
        self
    }

    /// As [`depends_on`](Self::depends_on), if an application with this name is loaded at all. OTP:
    /// `optional_applications`.
    pub fn depends_on_if_loaded(mut self, name: impl Into<Arc<str>>) -> Self {
        self.needs_if_loaded.push(name.into());
        self
    }

    /// The phases of its start, in order: see [`Application::start_phase`]. Default: none. OTP:
    /// `start_phases`.
    pub fn start_phases<P: Into<Arc<str>>>(mut self, phases: impl IntoIterator<Item = P>) -> Self {
        self.phases = phases.into_iter().map(Into::into).collect();
        self
    }

    /// How long its start, phases included, may take before it is killed and the start fails with
    /// [`StartError::Timeout`]. Default: as long as it likes, as in OTP.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = Some(timeout);
        self
    }

    /// How long its tree may take to stop before it is killed. Default: as long as it takes, as in
    /// OTP; the tree's own shutdown times hold all the same. (What is left of a tree whose supervisor
    /// was killed has 5 s then; OTP kills it at once.)
    pub fn stop_timeout(mut self, timeout: Duration) -> Self {
        self.stop_timeout = Some(timeout);
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn launch(&self, cx: &Context<Controller>, args: MasterArgs) -> Launched {
        (self.launch)(cx, args)
    }
}
