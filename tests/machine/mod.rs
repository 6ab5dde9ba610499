//! A state machine that does as its plan says, and tells what happens to it.
#![allow(dead_code, unused_imports)] // each test binary uses its own part

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use crate::support::{DEADLINE, Gate, gate, next, reports, settled};
use noex::prelude::*;
use noex::{
    AnyMessage, Down, Enter, Exit, GenStateMachine, Initial, Machine, MachineContext, MachineRef,
    Next, ReplyTo,
};

pub(crate) const MS: Duration = Duration::from_millis(1);

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum State {
    A,
    B,
    C,
    Payload(u32),
}
pub(crate) use State::{A, B, C, Payload};

/// Events are numbers; each test says what its numbers mean.
pub(crate) enum Event {
    N(u32),
    Ask(u32, ReplyTo<u32>),
    Wait(Gate),
    Down(ExitReason),
    Exit(ExitReason),
}
pub(crate) use Event::N;

pub(crate) type Rules = Arc<dyn Fn(&mut Probe, &State, Event, &Cx) -> Next<Probe> + Send + Sync>;
pub(crate) type EnterRules = Arc<dyn Fn(&mut Probe, &State, &State) -> Enter<Probe> + Send + Sync>;
pub(crate) type Begin =
    Arc<dyn Fn(Initial<Probe>) -> Result<Initial<Probe>, InitStop> + Send + Sync>;
pub(crate) type Cx = MachineContext<Probe>;

#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) state: State,
    pub(crate) rules: Rules,
    pub(crate) enter: EnterRules,
    pub(crate) begin: Begin,
    pub(crate) traps: bool,
    /// Where it waits: in this callback, entering B or terminating.
    pub(crate) hold: Option<(&'static str, Gate)>,
}

/// Does as its plan says, and tells what happens to it: events as `state: type content`.
pub(crate) struct Probe {
    pub(crate) plan: Plan,
    pub(crate) tell: Sender<String>,
    pub(crate) kept: Vec<ReplyTo<u32>>,
    pub(crate) count: u32,
}

impl GenStateMachine for Probe {
    type Args = (Plan, Sender<String>);
    type State = State;
    type Event = Event;
    type Timeout = &'static str;

    async fn init((plan, tell): Self::Args, cx: &mut Cx) -> Result<Initial<Self>, InitStop> {
        assert_eq!(cx.event_type(), None);
        cx.trap_exit(plan.traps);
        let (state, begin) = (plan.state.clone(), plan.begin.clone());
        let probe = Probe {
            plan,
            tell,
            kept: Vec::new(),
            count: 0,
        };
        begin(Initial::new(probe, state))
    }

    async fn handle_event(&mut self, state: &State, event: Event, cx: &mut Cx) -> Next<Self> {
        if let Event::Wait(gate) = event {
            gate.await;
            return Next::keep_state();
        }
        let how = cx.event_type().expect("an event");
        let what = match &event {
            N(n) | Event::Ask(n, _) => n.to_string(),
            Event::Down(reason) => format!("Down({reason:?})"),
            Event::Exit(reason) => format!("Exit({reason:?})"),
            Event::Wait(_) => "Wait".into(),
        };
        let _ = self.tell.send(format!("{state:?}: {how:?} {what}"));
        let rules = self.plan.rules.clone();
        rules(self, state, event, cx)
    }

    async fn enter(&mut self, old: &State, state: &State, cx: &mut Cx) -> Enter<Self> {
        assert_eq!(cx.event_type(), None);
        let _ = self.tell.send(format!("enter {old:?} -> {state:?}"));
        if *state == B {
            self.hold("enter").await;
        }
        let rules = self.plan.enter.clone();
        rules(self, old, state)
    }

    fn from_down(down: Down) -> Option<Event> {
        Some(Event::Down(down.reason))
    }
    fn from_exit(exit: Exit) -> Option<Event> {
        Some(Event::Exit(exit.reason))
    }
    fn from_any(message: AnyMessage) -> Result<Event, AnyMessage> {
        match message.downcast::<u64>() {
            Ok(n) => Ok(N(n as u32)),
            Err(other) => other.downcast(),
        }
    }

    async fn terminate(&mut self, reason: ExitReason, state: &State, _: &mut Cx) {
        let reason = match reason {
            ExitReason::Panic(_) => "panic".into(),
            reason => format!("{reason:?}"),
        };
        let _ = self.tell.send(format!("{state:?}: terminate {reason}"));
        self.hold("terminate").await;
    }
}

impl Probe {
    pub(crate) async fn hold(&self, place: &str) {
        if let Some((at, gate)) = &self.plan.hold {
            if *at == place {
                gate.clone().await;
            }
        }
    }
}

pub(crate) fn plan(rules: impl Fn(&State, Event) -> Next<Probe> + Send + Sync + 'static) -> Plan {
    plan_with(move |_, state, event, _| rules(state, event))
}

pub(crate) fn plan_with(
    rules: impl Fn(&mut Probe, &State, Event, &Cx) -> Next<Probe> + Send + Sync + 'static,
) -> Plan {
    Plan {
        state: A,
        rules: Arc::new(rules),
        enter: Arc::new(|_, _, _| Enter::keep_state()),
        begin: Arc::new(Ok),
        traps: false,
        hold: None,
    }
}

impl Plan {
    pub(crate) fn enter(
        mut self,
        rules: impl Fn(&State, &State) -> Enter<Probe> + Send + Sync + 'static,
    ) -> Self {
        self.enter = Arc::new(move |_, old, state| rules(old, state));
        self
    }
    pub(crate) fn begin(
        mut self,
        begin: impl Fn(Initial<Probe>) -> Initial<Probe> + Send + Sync + 'static,
    ) -> Self {
        self.begin = Arc::new(move |initial| Ok(begin(initial)));
        self
    }
    pub(crate) fn state(mut self, state: State) -> Self {
        self.state = state;
        self
    }
    pub(crate) fn hold(mut self, place: &'static str, gate: Gate) -> Self {
        self.hold = Some((place, gate));
        self
    }
    pub(crate) fn traps(mut self) -> Self {
        self.traps = true;
        self
    }
}

pub(crate) fn start(system: &System, plan: Plan) -> (MachineRef<Probe>, Receiver<String>) {
    let (tell, told) = reports();
    let machine = system
        .start::<Machine<Probe>>((plan, tell))
        .wait_timeout(DEADLINE)
        .expect("started");
    (machine, told)
}

/// The next things the machine tells, and that they are these.
#[track_caller]
pub(crate) fn expect(system: &System, told: &Receiver<String>, lines: &[&str]) {
    let seen: Vec<String> = lines.iter().map(|_| next(system, told)).collect();
    assert_eq!(seen, lines);
}

/// Lets all happen that is under way, and stops the machine: there was nothing but these lines.
#[track_caller]
pub(crate) fn expect_last(
    system: &System,
    machine: &MachineRef<Probe>,
    told: &Receiver<String>,
    lines: &[&str],
) {
    machine
        .stop(ExitReason::Normal)
        .wait_timeout(DEADLINE)
        .expect("stopped");
    let all: Vec<String> = told.try_iter().collect();
    let (end, rest) = all.split_last().expect("it terminates");
    assert!(end.ends_with(": terminate Normal"), "{all:?}");
    assert_eq!(rest, lines);
    settled(system);
}

/// Casts these, all of them in the mailbox before the first is handled.
pub(crate) fn cast(machine: &MachineRef<Probe>, numbers: impl IntoIterator<Item = u32>) {
    let (waits, opens) = gate();
    machine.cast(Event::Wait(waits)).expect("unbounded");
    for n in numbers {
        machine.cast(N(n)).expect("unbounded");
    }
    opens.open();
}
