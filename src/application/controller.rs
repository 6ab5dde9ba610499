//! The process that starts and stops applications, and sees them end. OTP: `application_controller`,
//! which is the name it is registered by.
//!
//! # Invariants
//! 1. Each application that does not merely lie loaded has one master, and one [`Work`] here, from the
//!    change of its status until the master has ended and [`Left`] tells that nothing is left of its
//!    tree. Only then is it loaded again, and said to have stopped.
//! 2. Whoever asked is answered when the status is what was asked for, or can no longer become it.
//! 3. From a master's end until nothing is left a process of ours is at it: `remains`.

use std::time::Duration;

use super::master::{MasterArgs, Orders, either};
use super::remains;
use super::table::{
    ApplicationEnded, ApplicationError, ApplicationKind, ApplicationStatus, Table, takes_down,
};
use crate::error::StartError;
use crate::exit::ExitReason;
use crate::gen_server::{
    Context, Exit, GenServer, HandleCast, HandleRequest, InitStop, Recipient, ReplyTo, ServerRef,
};
use crate::hooks::Event;
use crate::process::ask::{Answer, question};
use crate::process::call::Call;
use crate::process::pid::Pid;
use crate::receive::Inbox;
use crate::sync::{Arc, Mutex};

/// The name of the controller.
pub(crate) const NAME: &str = "application_controller";

/// What is loaded in a system, for the controller and for all who only look.
#[derive(Debug, Default)]
pub(crate) struct Shared(pub(crate) Mutex<Table>);

type Asker = ReplyTo<Result<(), ApplicationError>>;

/// An application's master, and who waits for what becomes of it.
struct Work {
    /// Unlike the name, no two have the same.
    number: u64,
    name: Arc<str>,
    kind: ApplicationKind,
    orders: Recipient<Orders>,
    stop_timeout: Option<Duration>,
    /// Ready when nothing is left. (`Left` tells it in the mailbox, too.)
    gone: Call<()>,
    nothing_left: bool,
    /// The master has ended: how the application stood then, and why.
    ended: Option<(ApplicationStatus, ExitReason)>,
    /// Who sees to what is left.
    remains: Option<Pid>,
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
    starts: u64,
    works: Vec<Work>,
}

/// What a master leaves to all that comes from it, and the last of them drops.
pub(crate) struct Left {
    number: u64,
    controller: ServerRef<Controller>,
    gone: Option<Answer<()>>,
}

/// Nothing is left of the start of this number.
struct NothingLeft(u64);

impl Drop for Left {
    fn drop(&mut self) {
        if let Some(gone) = self.gone.take() {
            gone.send(Ok(()));
        }
        // An unbounded mailbox; a dead controller needs no news.
        let _ = self.controller.cast(NothingLeft(self.number));
    }
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
            starts: 0,
            works: Vec::new(),
        })
    }

    async fn handle_exit(&mut self, exit: Exit, cx: &mut Context<Self>) {
        let Some(from) = exit.from else {
            return;
        };
        let masters = |work: &Work| work.orders.pid() == from;
        if let Some(at) = self.works.iter().position(masters) {
            self.master_ended(at, exit.reason, cx);
        } else if let Some(work) = self.works.iter_mut().find(|w| w.remains == Some(from)) {
            // Killed by somebody: it has more to do.
            work.see_to_remains(cx);
        }
    }

    /// The system shuts down: all applications stop, the last started first.
    async fn terminate(&mut self, _: ExitReason, cx: &mut Context<Self>) {
        let order: Vec<_> = {
            let table = self.shared.0.lock();
            let last_first = table.last_first().into_iter();
            last_first.map(|entry| entry.spec.name.clone()).collect()
        };
        for name in order {
            let Some(at) = self.works.iter().position(|work| work.name == name) else {
                continue;
            };
            let mut work = self.works.remove(at);
            let (status, reason) = match work.ended.take() {
                Some(ended) => ended,
                None => self.end(&mut work, cx).await,
            };
            let master = work.orders.pid();
            let gone = async { drop(work.gone.await) };
            either(gone, remains::end(cx, master, work.stop_timeout)).await;
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

impl Work {
    /// Has what is left of it ended, by a process of its own as that may take time.
    fn see_to_remains(&mut self, cx: &Context<Controller>) {
        let (master, timeout) = (self.orders.pid(), self.stop_timeout);
        let started = cx.spawn_link(move |inbox: Inbox<()>| async move {
            remains::end(&inbox, master, timeout).await;
        });
        // Refused by a system that is stopped: then all ends anyway.
        self.remains = started.ok().map(|to| to.pid());
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
        self.works.iter_mut().find(|work| &*work.name == name)
    }

    fn status(&self, name: &str) -> ApplicationStatus {
        let table = self.shared.0.lock();
        let entry = table.get(name);
        entry.map_or(ApplicationStatus::Loaded, |entry| entry.status)
    }

    /// The master of a work has ended. What that means to the system it means at once, as in OTP.
    fn master_ended(&mut self, at: usize, reason: ExitReason, cx: &Context<Self>) {
        let (name, kind) = (self.works[at].name.clone(), self.works[at].kind);
        let status = self.status(&name);
        let by_itself = matches!(status, ApplicationStatus::Running(_));
        if by_itself {
            let stopping = ApplicationStatus::Stopping;
            self.shared.0.lock().set(&name, stopping);
        }
        let work = &mut self.works[at];
        work.ended = Some((status, reason.clone()));
        if work.nothing_left {
            self.conclude(at, cx);
        } else {
            work.see_to_remains(cx);
        }
        if by_itself && takes_down(kind, &reason) {
            let cause = ExitReason::error(ApplicationEnded { name, reason });
            cx.system().end_because_of(cx.pid(), cause);
        }
    }

    /// Master and tree of a work are gone.
    fn conclude(&mut self, at: usize, cx: &Context<Self>) {
        let work = self.works.remove(at);
        let Some((status, reason)) = work.ended else {
            return;
        };
        if let Some(remains) = work.remains {
            cx.exit(remains, ExitReason::Shutdown(None));
        }
        let name = work.name;
        self.shared.0.lock().set(&name, ApplicationStatus::Loaded);
        let answer = match status {
            ApplicationStatus::Starting => {
                let error = work.failure.unwrap_or(StartError::Init(reason));
                self.tell(cx, &name, Change::NotStarted(&error));
                let name = name.clone();
                Err(ApplicationError::Start { name, error })
            }
            ApplicationStatus::Stopping => {
                self.tell(cx, &name, Change::Stopped(&ExitReason::Normal));
                Ok(())
            }
            ApplicationStatus::Running(_) | ApplicationStatus::Loaded => {
                self.tell(cx, &name, Change::Stopped(&reason));
                Ok(())
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

    /// Has a master end because the system does.
    async fn end(
        &mut self,
        work: &mut Work,
        cx: &Context<Self>,
    ) -> (ApplicationStatus, ExitReason) {
        let gone = cx.system().monitor(work.orders.pid());
        let status = self.status(&work.name);
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
        (status, reason)
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
        let (tell_gone, gone) = question();
        self.starts += 1;
        let number = self.starts;
        let stop_timeout = spec.stop_timeout;
        let args = MasterArgs {
            spec: spec.clone(),
            env,
            controller: cx.this(),
            called_off,
            left: Left {
                number,
                controller: cx.this(),
                gone: Some(tell_gone),
            },
        };
        match spec.launch(cx, args) {
            Ok(orders) => self.works.push(Work {
                number,
                name,
                kind,
                orders,
                stop_timeout,
                gone: Call::new(cx.core(), gone, None),
                nothing_left: false,
                ended: None,
                remains: None,
                call_off: Some(call_off),
                failure: None,
                askers: vec![asker],
                then_start: Vec::new(),
            }),
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
        let masters = |work: &&mut Work| work.orders.pid() == master;
        let Some(work) = self.works.iter_mut().find(masters) else {
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

impl HandleCast<NothingLeft> for Controller {
    async fn handle_cast(&mut self, NothingLeft(number): NothingLeft, cx: &mut Context<Self>) {
        let Some(at) = self.works.iter().position(|work| work.number == number) else {
            return;
        };
        self.works[at].nothing_left = true;
        // Else the news of the master's end is on its way.
        if self.works[at].ended.is_some() {
            self.conclude(at, cx);
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
