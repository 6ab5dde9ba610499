//! The process that starts and stops applications, and sees them end. OTP: `application_controller`,
//! which is the name it is registered by.
//!
//! # Invariants
//! 1. Each application that does not merely lie loaded has one master, and one [`Work`] here, from the
//!    change of its status to the master's end.
//! 2. Whoever asked is answered when the status is what was asked for, or can no longer become it.

use std::collections::HashMap;

use super::master::Orders;
use super::table::{
    ApplicationEnded, ApplicationError, ApplicationKind, ApplicationStatus, Table, takes_down,
};
use crate::error::StartError;
use crate::exit::ExitReason;
use crate::gen_server::{
    Context, Exit, GenServer, HandleCast, HandleRequest, InitStop, Recipient, ReplyTo,
};
use crate::hooks::Event;
use crate::process::ask::{Answer, question};
use crate::process::call::Call;
use crate::process::pid::Pid;
use crate::sync::{Arc, Mutex};

/// The name of the controller.
pub(crate) const NAME: &str = "application_controller";

/// What is loaded in a system, for the controller and for all who only look.
#[derive(Debug, Default)]
pub(crate) struct Shared(pub(crate) Mutex<Table>);

type Asker = ReplyTo<Result<(), ApplicationError>>;

/// An application's master, and who waits for what becomes of it.
struct Work {
    name: Arc<str>,
    orders: Recipient<Orders>,
    /// Answered, or dropped, it calls the start off.
    call_off: Option<Answer<()>>,
    /// Why the start failed, as the master told.
    failure: Option<StartError>,
    askers: Vec<Asker>,
    /// Who wants it started again when it has stopped.
    then_start: Vec<(ApplicationKind, Asker)>,
}

pub(crate) struct Controller {
    shared: Arc<Shared>,
    /// By the master's pid.
    works: HashMap<Pid, Work>,
}

/// Starts an application whose dependencies run.
pub(crate) struct StartApplication {
    pub(crate) name: Arc<str>,
    pub(crate) kind: ApplicationKind,
}

/// Stops one that runs.
pub(crate) struct StopApplication(pub(crate) Arc<str>);

/// A master tells how its start went: the top process of the tree. After a failure it ends.
pub(crate) struct Begun(pub(crate) Pid, pub(crate) Result<Pid, StartError>);

impl GenServer for Controller {
    type Args = Arc<Shared>;

    async fn init(shared: Arc<Shared>, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        cx.trap_exit(true);
        shared.0.lock().under(Some(cx.pid()));
        Ok(Controller {
            shared,
            works: HashMap::new(),
        })
    }

    async fn handle_exit(&mut self, exit: Exit, cx: &mut Context<Self>) {
        let Some(work) = exit.from.and_then(|master| self.works.remove(&master)) else {
            return;
        };
        let name = work.name;
        let (status, kind) = {
            let mut table = self.shared.0.lock();
            let Ok(entry) = table.get_mut(&name) else {
                return;
            };
            let was = std::mem::replace(&mut entry.status, ApplicationStatus::Loaded);
            (was, entry.kind)
        };
        let answer = match status {
            ApplicationStatus::Starting => {
                let error = work.failure.unwrap_or(StartError::Init(exit.reason));
                self.tell(cx, &name, Change::NotStarted(&error));
                let name = name.clone();
                Err(ApplicationError::Start { name, error })
            }
            ApplicationStatus::Stopping => {
                self.tell(cx, &name, Change::Stopped(&ExitReason::Normal));
                Ok(())
            }
            ApplicationStatus::Running(_) | ApplicationStatus::Loaded => {
                self.tell(cx, &name, Change::Stopped(&exit.reason));
                if takes_down(kind, &exit.reason) {
                    let reason = exit.reason;
                    let cause = ExitReason::error(ApplicationEnded { name, reason });
                    cx.system().end_because_of(cx.pid(), cause);
                }
                return;
            }
        };
        for asker in work.askers {
            asker.reply(answer.clone());
        }
        for (kind, asker) in work.then_start {
            let name = name.clone();
            self.start(StartApplication { name, kind }, asker, cx);
        }
    }

    /// The system shuts down: all applications stop, the last started first.
    async fn terminate(&mut self, _: ExitReason, cx: &mut Context<Self>) {
        let order: Vec<_> = {
            let table = self.shared.0.lock();
            let last_first = table.last_first().into_iter();
            let named = last_first.map(|entry| (entry.spec.name.clone(), entry.status));
            named.collect()
        };
        for (name, status) in order {
            let Some(work) = self.work(&name) else {
                continue;
            };
            let gone = cx.system().monitor(work.orders.pid());
            match status {
                // It may hang in there, and then knows nothing of its mailbox.
                ApplicationStatus::Starting => {
                    if let Some(call_off) = work.call_off.take() {
                        call_off.send(Ok(()));
                    }
                }
                // A master's mailbox is unbounded.
                _ => drop(work.orders.send(Orders::Stop)),
            }
            let reason = gone.await.map_or(ExitReason::Killed, |down| down.reason);
            self.shared.0.lock().set(&name, ApplicationStatus::Loaded);
            match status {
                ApplicationStatus::Starting => {
                    let error = StartError::Init(ExitReason::Shutdown(None));
                    self.tell(cx, &name, Change::NotStarted(&error));
                }
                _ => self.tell(cx, &name, Change::Stopped(&reason)),
            }
        }
    }
}

/// What is reported of an application.
enum Change<'a> {
    Started,
    NotStarted(&'a StartError),
    Stopped(&'a ExitReason),
}

impl Controller {
    fn work(&mut self, name: &str) -> Option<&mut Work> {
        self.works.values_mut().find(|work| &*work.name == name)
    }

    fn start(&mut self, start: StartApplication, asker: Asker, cx: &Context<Self>) {
        let StartApplication { name, kind } = start;
        let status = self.shared.0.lock().get(&name).map(|entry| entry.status);
        if status == Ok(ApplicationStatus::Starting) {
            // As in OTP: whoever comes second waits for the same start.
            if let Some(work) = self.work(&name) {
                work.askers.push(asker);
            }
            return;
        }
        if status == Ok(ApplicationStatus::Stopping) {
            // OTP's controller would not hear of it before the stop is done.
            if let Some(work) = self.work(&name) {
                work.then_start.push((kind, asker));
            }
            return;
        }
        let begun = self.shared.0.lock().begin_start(&name, kind);
        let (spec, env) = match begun {
            Ok(begun) => begun,
            Err(error) => return asker.reply(Err(error)),
        };
        let (call_off, called_off) = question();
        let called_off = Call::new(cx.core(), called_off, None);
        match spec.launch(cx, env, called_off) {
            Ok(orders) => {
                let work = Work {
                    name,
                    failure: None,
                    askers: vec![asker],
                    then_start: Vec::new(),
                    call_off: Some(call_off),
                    orders,
                };
                self.works.insert(work.orders.pid(), work);
            }
            Err(error) => {
                self.shared.0.lock().set(&name, ApplicationStatus::Loaded);
                asker.reply(Err(ApplicationError::Start { name, error }));
            }
        }
    }

    fn tell(&self, cx: &Context<Self>, name: &Arc<str>, change: Change<'_>) {
        let name = name.clone();
        let event = match change {
            Change::Started => Event::ApplicationStarted { name },
            Change::NotStarted(error) => Event::ApplicationNotStarted {
                name,
                error: error.clone(),
            },
            Change::Stopped(reason) => Event::ApplicationStopped {
                name,
                reason: reason.clone(),
            },
        };
        cx.core().hooks.event(&event);
    }
}

impl HandleRequest<StartApplication> for Controller {
    type Reply = Result<(), ApplicationError>;

    async fn handle_request(
        &mut self,
        start: StartApplication,
        asker: Asker,
        cx: &mut Context<Self>,
    ) {
        self.start(start, asker, cx);
    }
}

impl HandleCast<Begun> for Controller {
    async fn handle_cast(&mut self, Begun(master, top): Begun, cx: &mut Context<Self>) {
        let Some(work) = self.works.get_mut(&master) else {
            return;
        };
        match top {
            Ok(top) => {
                let (name, askers) = (work.name.clone(), std::mem::take(&mut work.askers));
                let running = ApplicationStatus::Running(top);
                self.shared.0.lock().set(&name, running);
                self.tell(cx, &name, Change::Started);
                for asker in askers {
                    asker.reply(Ok(()));
                }
            }
            // Told when the master is gone, and its tree with it.
            Err(error) => work.failure = Some(error),
        }
    }
}

impl HandleRequest<StopApplication> for Controller {
    type Reply = Result<(), ApplicationError>;

    async fn handle_request(
        &mut self,
        StopApplication(name): StopApplication,
        asker: Asker,
        _: &mut Context<Self>,
    ) {
        // Not answered under the lock: an answer runs wakers.
        let status = self.shared.0.lock().get(&name).map(|entry| entry.status);
        let status = match status {
            Ok(status) => status,
            Err(error) => return asker.reply(Err(error)),
        };
        let work = match status {
            ApplicationStatus::Running(_) | ApplicationStatus::Stopping => self.work(&name),
            ApplicationStatus::Loaded | ApplicationStatus::Starting => None,
        };
        let Some(work) = work else {
            return asker.reply(Err(ApplicationError::NotStarted(name)));
        };
        work.askers.push(asker);
        if status != ApplicationStatus::Stopping {
            // A master's mailbox is unbounded, and one that died tells us so by its exit.
            let _ = work.orders.send(Orders::Stop);
            self.shared.0.lock().set(&name, ApplicationStatus::Stopping);
        }
    }
}
