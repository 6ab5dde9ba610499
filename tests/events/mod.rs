//! A manager with handlers that do what the event says, and report what they see.
#![allow(dead_code, unused_imports)] // each test binary uses its own part

use std::future::{Future, pending};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use crate::support::{DEADLINE, next, reports, until};
use noex::gen_event::{
    EventHandler, HandleEventCall, Handler, HandlerContext, HandlerExit, HandlerId, HandlerStop,
};
use noex::prelude::*;
use noex::{
    AnyMessage, CallError, Down, Event, Exit, GenEvent, HandlerError, Inbox, Received, Recipient,
};

/// What handlers are given.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Do {
    Note(u32),
    /// Of the probe of that name.
    Panic(&'static str),
    PanicLater(&'static str),
    Remove(&'static str),
    /// By a `Heir`; by one that is not made.
    Swap(&'static str),
    SwapInVain(&'static str),
    Monitor(&'static str, Pid),
    SendAfter(&'static str, Duration, u32),
    AskManager(&'static str),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Saw {
    Event(&'static str, u32),
    Any(&'static str, u32),
    Down(&'static str, ExitReason),
    Exit(&'static str, ExitReason),
    Stop(&'static str, HandlerStop),
    Answer(CallError),
}
pub(crate) use Saw::Stop;

#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) tell: Sender<Saw>,
    pub(crate) init: Init,
    pub(crate) terminate_panics: bool,
    pub(crate) drop_panics: bool,
}

#[derive(Clone, PartialEq)]
pub(crate) enum Init {
    Good,
    Fail(ExitReason),
    Panic,
    Remove,
}

pub(crate) struct Probe {
    pub(crate) plan: Plan,
    pub(crate) notes: Vec<u32>,
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Probe").field(&self.plan.name).finish()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if self.plan.drop_panics {
            panic!("in a drop");
        }
    }
}

pub(crate) fn crash<T>() -> T {
    panic!("as it should")
}

pub(crate) fn is_crash(reason: &ExitReason) -> bool {
    matches!(reason, ExitReason::Panic(panic) if panic.message() == "as it should")
}

impl EventHandler<Do> for Probe {
    type Args = Plan;

    async fn init(plan: Plan, cx: &mut HandlerContext<Self, Do>) -> Result<Self, ExitReason> {
        match plan.init.clone() {
            Init::Good => {}
            Init::Fail(reason) => return Err(reason),
            Init::Panic => crash(),
            Init::Remove => cx.remove_handler(),
        }
        Ok(Probe {
            plan,
            notes: Vec::new(),
        })
    }

    async fn handle_event(&mut self, event: &Do, cx: &mut HandlerContext<Self, Do>) {
        let me = self.plan.name;
        match event.clone() {
            Do::Note(n) => {
                self.notes.push(n);
                let _ = self.plan.tell.send(Saw::Event(me, n));
            }
            Do::Panic(name) if name == me => crash(),
            Do::PanicLater(name) if name == me => {
                cx.yield_now().await;
                crash()
            }
            Do::Remove(name) if name == me => cx.remove_handler(),
            Do::Swap(name) if name == me => {
                cx.swap_handler(Handler::<Heir>::new(), |me| Will::of(Some(me)));
            }
            Do::SwapInVain(name) if name == me => {
                cx.swap_handler(Handler::<Heir>::new(), |_| crash());
            }
            Do::Monitor(name, pid) if name == me => drop(cx.monitor(pid)),
            Do::SendAfter(name, time, n) if name == me => {
                cx.send_after(time, &cx.pid(), n);
            }
            Do::AskManager(name) if name == me => {
                if let Err(error) = cx.manager().which_handlers().await {
                    let _ = self.plan.tell.send(Saw::Answer(error));
                }
            }
            _ => {}
        }
    }

    async fn handle_down(&mut self, down: &Down, _: &mut HandlerContext<Self, Do>) {
        let saw = Saw::Down(self.plan.name, down.reason.clone());
        let _ = self.plan.tell.send(saw);
    }

    async fn handle_exit(&mut self, exit: &Exit, _: &mut HandlerContext<Self, Do>) {
        let saw = Saw::Exit(self.plan.name, exit.reason.clone());
        let _ = self.plan.tell.send(saw);
    }

    fn handle_any(&mut self, message: &AnyMessage, cx: &mut HandlerContext<Self, Do>) {
        match message.downcast_ref::<u32>() {
            Some(0) => cx.remove_handler(),
            Some(666) => crash(),
            Some(n) => {
                let _ = self.plan.tell.send(Saw::Any(self.plan.name, *n));
            }
            None => {}
        }
    }

    async fn terminate(&mut self, why: HandlerStop, _: &mut HandlerContext<Self, Do>) {
        let _ = self.plan.tell.send(Stop(self.plan.name, why));
        if self.plan.terminate_panics {
            crash()
        }
    }
}

#[derive(Clone)]
pub(crate) enum Ask {
    Notes,
    Panic,
    Remove,
    Swap,
    Wait,
}

impl HandleEventCall<Do, Ask> for Probe {
    type Reply = Vec<u32>;
    async fn handle_call(&mut self, ask: Ask, cx: &mut HandlerContext<Self, Do>) -> Vec<u32> {
        match ask {
            Ask::Notes => {}
            Ask::Panic => crash(),
            Ask::Remove => cx.remove_handler(),
            Ask::Swap => cx.swap_handler(Handler::<Heir>::new(), |me| Will::of(Some(me))),
            Ask::Wait => pending().await,
        }
        self.notes.clone()
    }
}

/// What a probe leaves to the handler that takes its place.
pub(crate) struct Will {
    pub(crate) notes: Option<Vec<u32>>,
    pub(crate) tell: Option<Sender<Saw>>,
    pub(crate) fail: bool,
}

impl Will {
    pub(crate) fn of(probe: Option<Probe>) -> Self {
        Will {
            notes: probe.as_ref().map(|probe| probe.notes.clone()),
            tell: probe.as_ref().map(|probe| probe.plan.tell.clone()),
            fail: false,
        }
    }
}

/// A handler that takes a probe's place.
pub(crate) struct Heir(pub(crate) Will);

impl EventHandler<Do> for Heir {
    type Args = Will;

    async fn init(will: Will, _: &mut HandlerContext<Self, Do>) -> Result<Self, ExitReason> {
        match will.fail {
            true => Err(ExitReason::Timeout),
            false => Ok(Heir(will)),
        }
    }

    async fn handle_event(&mut self, event: &Do, _: &mut HandlerContext<Self, Do>) {
        if let (Do::Note(n), Some(tell)) = (event, &self.0.tell) {
            let _ = tell.send(Saw::Event("heir", *n));
        }
    }

    async fn terminate(&mut self, why: HandlerStop, _: &mut HandlerContext<Self, Do>) {
        if let Some(tell) = &self.0.tell {
            let _ = tell.send(Stop("heir", why));
        }
    }
}

pub(crate) struct Inherited;
impl HandleEventCall<Do, Inherited> for Heir {
    type Reply = Option<Vec<u32>>;
    async fn handle_call(&mut self, _: Inherited, _: &mut HandlerContext<Self, Do>) -> Self::Reply {
        self.0.notes.clone()
    }
}

/// A manager, and what its probes report.
pub(crate) struct Stage {
    pub(crate) manager: GenEvent<Do>,
    pub(crate) tell: Sender<Saw>,
    pub(crate) seen: Receiver<Saw>,
}

pub(crate) fn id(name: &'static str) -> Handler<Probe> {
    Handler::with_id(name)
}

impl Stage {
    pub(crate) fn new(system: &System) -> Self {
        let start = GenEvent::start(system).wait_timeout(DEADLINE);
        let (tell, seen) = reports();
        Stage {
            manager: start.expect("a start"),
            tell,
            seen,
        }
    }

    /// With probes of these names, added in this order.
    pub(crate) fn with(system: &System, names: &[&'static str]) -> Self {
        let stage = Self::new(system);
        for name in names {
            stage.add(name).expect("it is added");
        }
        stage
    }

    pub(crate) fn plan(&self, name: &'static str) -> Plan {
        Plan {
            name,
            tell: self.tell.clone(),
            init: Init::Good,
            terminate_panics: false,
            drop_panics: false,
        }
    }

    pub(crate) fn add(&self, name: &'static str) -> Result<(), HandlerError> {
        self.add_as(self.plan(name))
    }

    pub(crate) fn add_as(&self, plan: Plan) -> Result<(), HandlerError> {
        self.manager.add_handler(id(plan.name), plan).wait()
    }

    /// Has all handlers do something, and waits until they have.
    pub(crate) fn all(&self, what: Do) {
        self.manager.sync_notify(what).wait().expect("an answer");
    }

    /// All that was reported since.
    pub(crate) fn seen(&self) -> Vec<Saw> {
        self.seen.try_iter().collect()
    }

    pub(crate) fn handlers(&self) -> Vec<HandlerId> {
        self.manager.which_handlers().wait().expect("an answer")
    }

    /// The names of the probes that are there.
    pub(crate) fn names(&self) -> Vec<String> {
        let name = |id: &HandlerId| id.id().map(ToString::to_string).unwrap_or_default();
        self.handlers().iter().map(name).collect()
    }
}

pub(crate) fn quoted(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("<<\"{name}\">>")).collect()
}

/// Runs `body` as a process, and gives what it returns.
pub(crate) fn run<T, F>(
    system: &System,
    body: impl FnOnce(Inbox<HandlerExit>) -> F + Send + 'static,
) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (tell, told) = reports();
    spawn(system, move |cx| async move {
        let _ = tell.send(body(cx).await);
    });
    next(system, &told)
}

pub(crate) fn spawn<F>(
    system: &System,
    body: impl FnOnce(Inbox<HandlerExit>) -> F + Send + 'static,
) -> Recipient<HandlerExit>
where
    F: Future<Output = ()> + Send + 'static,
{
    system.spawn(body).expect("a running system")
}

/// A process that supervises a probe, and passes on what it is told of it.
pub(crate) fn adder(
    system: &System,
    stage: &Stage,
    name: &'static str,
) -> (Recipient<HandlerExit>, Receiver<HandlerExit>) {
    let (manager, plan) = (stage.manager.clone(), stage.plan(name));
    let (tell, told) = reports();
    let (ready, is_ready) = reports();
    let adder = spawn(system, move |mut cx| async move {
        let added = manager.add_sup_handler(&cx, id(name), plan).await;
        let _ = ready.send(added);
        loop {
            if let Received::Message(exit) = cx.recv().await {
                let _ = tell.send(exit);
            }
        }
    });
    next(system, &is_ready).expect("it is added");
    (adder, told)
}
