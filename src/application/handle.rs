//! How others reach the applications of a system.

use super::Application;
use super::controller::{self, Controller, Shared, StartApplication, StopApplication};
use super::spec::ApplicationSpec;
use super::table::{ApplicationError, ApplicationKind, ApplicationStatus, Entry, Table};
use crate::error::CallError;
use crate::gen_server::{self, HandleRequest, ServerOptions, ServerRef};
use crate::process::ask::question;
use crate::process::call::{Call, waits};
use crate::process::context;
use crate::process::info::ProcessInfo;
use crate::process::pid::Pid;
use crate::process::spawn::{SpawnOptions, Ties};
use crate::receive::{self, Inbox};
use crate::sync::{Arc, MutexGuard};
use crate::system::Handle;

/// The applications of a system: what can be done with them, from anywhere.
///
/// What only looks, or changes what is merely loaded, is done at once; what starts or stops something is
/// a request to the controller, a process that is started with the first of them.
#[derive(Clone, Debug)]
pub struct Applications {
    system: Handle,
    shared: Arc<Shared>,
}

/// What is known of a loaded application. OTP: `application:info/0` and its kin.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApplicationInfo {
    /// Its name.
    pub name: Arc<str>,
    /// One line for people.
    pub description: Arc<str>,
    /// How it stands.
    pub status: ApplicationStatus,
    /// What its end means to the system; of one that does not run: as it ran last.
    pub kind: ApplicationKind,
    /// What it depends on, loaded or not.
    pub depends_on: Vec<Arc<str>>,
}

impl Handle {
    /// The applications of this system.
    pub fn applications(&self) -> Applications {
        Applications {
            system: self.clone(),
            shared: self.core().attached.get(),
        }
    }
}

impl Applications {
    /// The table, as it is now that its controller may be dead.
    fn table(&self) -> MutexGuard<'_, Table> {
        let mut table = self.shared.0.lock();
        if table
            .controller()
            .is_some_and(|pid| !self.system.is_alive(pid))
        {
            table.under(None);
        }
        table
    }

    /// Makes an application known. OTP: `application:load/1`.
    ///
    /// # Errors
    /// [`ApplicationError::AlreadyLoaded`]: one of this name is.
    pub fn load(&self, spec: ApplicationSpec) -> Result<(), ApplicationError> {
        let refused = self.table().load(spec);
        refused.map_err(|spec| ApplicationError::AlreadyLoaded(spec.name.clone()))
    }

    /// Forgets an application that does not run, and its environment. OTP: `application:unload/1`.
    ///
    /// # Errors
    /// [`ApplicationError::NotLoaded`], [`ApplicationError::Running`].
    pub fn unload(&self, name: &str) -> Result<(), ApplicationError> {
        let unloaded = self.table().unload(name)?;
        drop(unloaded);
        Ok(())
    }

    /// Starts a loaded application. Ready when its tree stands and its phases are done. Who asks while it
    /// is being started waits for the same start. (Unlike OTP's, a start that is under way when the
    /// system shuts down is called off: what it has started is stopped.) OTP: `application:start/2`.
    ///
    /// # Errors
    /// - [`ApplicationError::NotLoaded`], [`ApplicationError::AlreadyStarted`].
    /// - [`ApplicationError::NotStarted`]: this one, which it depends on, does not run.
    /// - [`ApplicationError::Start`]: its start failed; nothing of it is left.
    pub fn start(&self, name: &str, kind: ApplicationKind) -> ChangingApplication {
        let name = name.into();
        self.ask(StartApplication { name, kind })
    }

    /// Starts these applications, and before each what it depends on and does not run; all as `kind`. The
    /// names of those it started, in order. OTP: `application:ensure_all_started/2`.
    ///
    /// # Errors
    /// As for [`start`](Self::start), and [`ApplicationError::Circle`]. Those that it started are stopped
    /// again.
    pub fn ensure_all_started<N: Into<Arc<str>>>(
        &self,
        names: impl IntoIterator<Item = N>,
        kind: ApplicationKind,
    ) -> EnsuringStarted {
        let names: Vec<Arc<str>> = names.into_iter().map(Into::into).collect();
        let core = self.system.core();
        let (answer, pending) = question();
        let applications = self.clone();
        let run = move |_: Inbox<()>| async move {
            answer.send(Ok(applications.start_all(&names, kind).await));
        };
        // Refused by a system that is shut down, and then the answer is dropped.
        let refused = receive::spawn(core, &SpawnOptions::new(), Ties::default(), run).is_err();
        EnsuringStarted {
            call: match refused {
                true => Call::failed(CallError::NoProc),
                false => Call::new(core, pending, None),
            },
        }
    }

    async fn start_all(
        &self,
        names: &[Arc<str>],
        kind: ApplicationKind,
    ) -> Result<Vec<Arc<str>>, ApplicationError> {
        let mut started: Vec<Arc<str>> = Vec::new();
        for name in names {
            if let Err(error) = self.start_with_needs(name, kind, &mut started).await {
                for name in started.iter().rev() {
                    // One that has ended by itself is stopped.
                    let _ = self.stop(name).await;
                }
                return Err(error);
            }
        }
        Ok(started)
    }

    /// Starts what is asked for; told what is missing, that first. As in OTP, so that what runs is left
    /// alone, whatever it once depended on.
    async fn start_with_needs(
        &self,
        name: &Arc<str>,
        kind: ApplicationKind,
        started: &mut Vec<Arc<str>>,
    ) -> Result<(), ApplicationError> {
        let mut path = vec![name.clone()];
        while let Some(next) = path.last().cloned() {
            match self.start(&next, kind).await {
                Ok(()) => {
                    started.push(next);
                    path.pop();
                }
                Err(ApplicationError::AlreadyStarted(_)) => {
                    path.pop();
                }
                // It had been started for this, and has ended again.
                Err(error @ ApplicationError::NotStarted(_)) if error.is_about(started) => {
                    return Err(error);
                }
                Err(ApplicationError::NotStarted(needed)) => {
                    let from = path.iter().position(|passed| *passed == needed);
                    path.push(needed);
                    if let Some(from) = from {
                        return Err(ApplicationError::Circle(path.split_off(from)));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Stops an application that runs: `prep_stop`, its tree, `stop`. Ready when it is gone. Those that
    /// depend on it are left alone. OTP: `application:stop/1`.
    ///
    /// # Errors
    /// [`ApplicationError::NotLoaded`]; [`ApplicationError::NotStarted`], also while it is being started.
    pub fn stop(&self, name: &str) -> ChangingApplication {
        self.ask(StopApplication(name.into()))
    }

    fn ask<M: Send + 'static>(&self, message: M) -> ChangingApplication
    where
        Controller: HandleRequest<M, Reply = Result<(), ApplicationError>>,
    {
        let call = match self.controller() {
            Some(controller) => controller.call_with(message, None),
            None => Call::failed(CallError::NoProc),
        };
        ChangingApplication { call }
    }

    /// The controller, started if there is none; `None`: the system is shut down.
    fn controller(&self) -> Option<ServerRef<Controller>> {
        let core = self.system.core();
        loop {
            let found = self.system.whereis(controller::NAME);
            if let Some(found) = found.and_then(|pid| self.system.server_ref(pid)) {
                return Some(found);
            }
            let options = ServerOptions::new().name(controller::NAME);
            let root = Ties {
                root: true,
                ..Ties::default()
            };
            let start = gen_server::start(core, self.shared.clone(), &options, root);
            match start.launched() {
                Ok(controller) => return Some(controller),
                // Somebody was first.
                Err(crate::StartError::AlreadyStarted(pid)) if self.system.is_alive(pid) => {
                    return self.system.server_ref(pid);
                }
                Err(crate::StartError::AlreadyStarted(_)) => {}
                Err(_) => return None,
            }
        }
    }

    /// All loaded applications, by name. OTP: `application:loaded_applications/0`.
    pub fn loaded(&self) -> Vec<ApplicationInfo> {
        self.table().iter().map(info).collect()
    }

    /// Those that run, the last started first, as they will be stopped. OTP:
    /// `application:which_applications/0`.
    pub fn running(&self) -> Vec<ApplicationInfo> {
        let table = self.table();
        let started = table.last_first().into_iter();
        let running = started.filter(|e| matches!(e.status, ApplicationStatus::Running(_)));
        running.map(info).collect()
    }

    /// What is known of one; `None`: it is not loaded.
    pub fn info(&self, name: &str) -> Option<ApplicationInfo> {
        self.table().get(name).ok().map(info)
    }

    /// The environment of `A`, as it is now. OTP: `application:get_all_env/1`.
    ///
    /// # Errors
    /// [`ApplicationError::NotLoaded`]; [`ApplicationError::WrongType`]: what is loaded by the name of `A`
    /// is not `A`.
    pub fn env<A: Application>(&self) -> Result<A::Env, ApplicationError> {
        let table = self.table();
        let env = table.get(A::NAME)?.env.clone();
        // The clone is user code: not under the lock.
        drop(table);
        let typed = env.downcast_ref::<A::Env>().cloned();
        typed.ok_or_else(|| ApplicationError::WrongType(A::NAME.into()))
    }

    /// Sets the environment of `A`. One that runs goes on with what it was started with, unless it reads
    /// the environment again. OTP: `application:set_env/2`.
    ///
    /// # Errors
    /// As for [`env`](Self::env).
    pub fn set_env<A: Application>(&self, env: A::Env) -> Result<(), ApplicationError> {
        let mut table = self.table();
        let entry = table.get_mut(A::NAME)?;
        if !entry.env.is::<A::Env>() {
            return Err(ApplicationError::WrongType(A::NAME.into()));
        }
        let old = std::mem::replace(&mut entry.env, Arc::new(env));
        drop(table);
        drop(old);
        Ok(())
    }

    /// Which running application `pid` belongs to: one whose tree has it, as far as it was started by
    /// links. The process is asked; `None`: to none, or it is dead. OTP:
    /// `application:get_application/1`.
    pub fn of(&self, pid: Pid) -> WhoseProcess {
        WhoseProcess {
            call: context::process_info(self.system.core(), pid).call,
            applications: self.clone(),
        }
    }
}

fn info(entry: &Entry) -> ApplicationInfo {
    let spec = &entry.spec;
    let needs = spec.needs.iter().chain(&spec.needs_if_loaded);
    ApplicationInfo {
        name: spec.name.clone(),
        description: spec.description.clone(),
        status: entry.status,
        kind: entry.kind,
        depends_on: needs.cloned().collect(),
    }
}

/// A start or a stop of an application, under way.
///
/// # Errors
/// Those of the method that made it, and [`ApplicationError::Call`]: the system shuts down, or `.wait()`
/// must not be used here.
///
/// # Cancellation
/// Dropping it gives up interest in the outcome, nothing else.
#[must_use = "the application is told, but what came of it is not looked at"]
#[derive(Debug)]
pub struct ChangingApplication {
    call: Call<Result<(), ApplicationError>>,
}

waits!(ChangingApplication, Result<(), ApplicationError>, |_: &mut ChangingApplication, answer| flatten(answer));

/// A start of several applications, under way: [`Applications::ensure_all_started`].
///
/// # Errors
/// Those of that method, and [`ApplicationError::Call`] as for [`ChangingApplication`].
///
/// # Cancellation
/// Dropping it gives up interest in the outcome, nothing else.
#[must_use = "the applications are started, but whether they did is not looked at"]
#[derive(Debug)]
pub struct EnsuringStarted {
    call: Call<Result<Vec<Arc<str>>, ApplicationError>>,
}

waits!(
    EnsuringStarted,
    Result<Vec<Arc<str>>, ApplicationError>,
    |_: &mut EnsuringStarted, answer| flatten(answer)
);

fn flatten<R>(
    answer: Result<Result<R, ApplicationError>, CallError>,
) -> Result<R, ApplicationError> {
    answer.unwrap_or_else(|error| Err(error.into()))
}

/// The answer of [`Applications::of`].
#[must_use = "the process is asked, but its answer is dropped"]
#[derive(Debug)]
pub struct WhoseProcess {
    call: Call<ProcessInfo>,
    applications: Applications,
}

waits!(
    WhoseProcess,
    Option<Arc<str>>,
    |whose: &mut WhoseProcess, answer: Result<ProcessInfo, CallError>| {
        let info = answer.ok()?;
        let table = whose.applications.table();
        let belongs = |entry: &&Entry| match entry.status {
            ApplicationStatus::Running(top) => info.pid == top || info.ancestors.contains(&top),
            _ => false,
        };
        table
            .iter()
            .find(belongs)
            .map(|entry| entry.spec.name.clone())
    }
);
