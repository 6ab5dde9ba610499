//! State machines on noex. What a machine does is looked up by state and event, `[a] cast x`, and if
//! nothing is said of that by the event alone, `cast x`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use noex::prelude::*;
use noex::{
    AnyMessage, Down, Enter, EventType, Exit, GenStateMachine, InitStop, Initial, Machine,
    MachineContext, MachineRef, Next, ProcessContext, ReplyTo,
};

use super::actor::{Act, Packet, Person, millis, options, words};
use super::scenario::Program;
use super::tree;
use super::world::World;

/// The machine that has that pid.
pub(crate) fn of(world: &World, pid: Pid) -> Option<MachineRef<Automaton>> {
    world.reference(pid)
}

pub(crate) async fn start(person: &Person, cx: &ProcessContext, m: &str) -> String {
    let args = (person.world.clone(), m.to_string());
    let options = options(&person.world.scenario.actors[m]);
    let start = cx.system().start_with::<Machine<Automaton>>(args, options);
    person.started(start.await)
}

pub(crate) enum Event {
    Text(String),
    Call(String, ReplyTo<String>),
    Do(Program, u64),
    Exit(Exit),
    Down(Down),
}

pub(crate) fn text(text: &str) -> Event {
    Event::Text(text.to_string())
}

pub(crate) fn call(text: &str) -> impl FnOnce(ReplyTo<String>) -> Event + Send + 'static {
    let text = text.to_string();
    move |caller| Event::Call(text, caller)
}

/// What the scenario calls a machine.
pub(crate) struct Automaton {
    person: Person,
    kept: HashMap<String, ReplyTo<String>>,
    /// Callers that nobody will answer.
    forgotten: Vec<ReplyTo<String>>,
    data: String,
}

type Cx = MachineContext<Automaton>;

/// What the commands of a callback come to.
#[derive(Default)]
struct Plan {
    to: To,
    postpones: bool,
    /// The caller of the event that is handled, and what it is answered.
    caller: Option<ReplyTo<String>>,
    reply: Option<String>,
    ignore: bool,
    replies: Vec<(ReplyTo<String>, String)>,
    inserted: Vec<(EventType<String>, Event)>,
    timeouts: Vec<(Timer, Setting)>,
}

#[derive(Default)]
enum To {
    #[default]
    Keep,
    Repeat,
    State(String),
    Stop(ExitReason),
}

enum Timer {
    State,
    Event,
    Named(String),
}

enum Setting {
    After(Duration, String),
    Update(String),
    Cancel,
}

impl Automaton {
    async fn run(&mut self, program: Program, plan: &mut Plan, cx: &ProcessContext) {
        for command in program {
            self.act(&words(&command), plan, cx).await;
        }
    }

    async fn act(&mut self, command: &[&str], plan: &mut Plan, cx: &ProcessContext) {
        let mut set = |timer, setting| plan.timeouts.push((timer, setting));
        match command {
            ["go", state] => plan.to = To::State(state.to_string()),
            ["repeat"] => plan.to = To::Repeat,
            ["ignore"] => plan.ignore = true,
            ["postpone"] => plan.postpones = true,
            ["reply", text] => plan.reply = Some(text.to_string()),
            ["defer", name] => {
                let caller = plan.caller.take().expect("a call");
                self.kept.insert(name.to_string(), caller);
            }
            ["reply_to", name, text] => {
                let caller = self.kept.remove(*name).expect("kept");
                plan.replies.push((caller, text.to_string()));
            }
            ["answer", name, text] => {
                let caller = self.kept.remove(*name).expect("kept");
                caller.reply(text.to_string());
            }
            ["insert", event_type, content] => {
                let event_type = match *event_type {
                    "internal" => EventType::Internal,
                    "cast" => EventType::Cast,
                    "info" => EventType::Info,
                    "timeout" => EventType::EventTimeout,
                    "state_timeout" => EventType::StateTimeout,
                    other => panic!("what is {other}?"),
                };
                plan.inserted.push((event_type, text(content)));
            }
            ["insert_call", name, text] => {
                let caller = self.kept.remove(*name).expect("kept");
                let event = Event::Call(text.to_string(), caller);
                plan.inserted.push((EventType::Call, event));
            }
            ["state_timeout", time, text] => {
                set(Timer::State, Setting::After(millis(time), text.to_string()));
            }
            ["event_timeout", time, text] => {
                set(Timer::Event, Setting::After(millis(time), text.to_string()));
            }
            ["timeout", name, time, text] => {
                let setting = Setting::After(millis(time), text.to_string());
                set(Timer::Named(name.to_string()), setting);
            }
            ["update_state_timeout", text] => set(Timer::State, Setting::Update(text.to_string())),
            ["update_timeout", name, text] => {
                let setting = Setting::Update(text.to_string());
                set(Timer::Named(name.to_string()), setting);
            }
            ["cancel_state_timeout"] => set(Timer::State, Setting::Cancel),
            ["cancel_event_timeout"] => set(Timer::Event, Setting::Cancel),
            ["cancel_timeout", name] => set(Timer::Named(name.to_string()), Setting::Cancel),
            ["set", text] => self.data = text.to_string(),
            ["state"] => self.person.log(format!("state -> {}", self.data)),
            _ => match self.person.act(cx, command).await {
                Act::Done | Act::Said(_) => {}
                Act::Stop(reason) => plan.to = To::Stop(reason),
                Act::Unknown => {
                    let command = command.join(" ");
                    self.person.log(format!("script: what is {command}?"));
                }
            },
        }
    }

    /// What the scenario says of that.
    fn program(&self, state: &str, key: &str) -> Program {
        let here = self.person.says(&format!("[{state}] {key}"));
        here.unwrap_or_else(|| self.person.on(key))
    }
}

/// What `Next`, `Enter` and `Initial` have in common.
macro_rules! with_actions {
    ($to:expr, $plan:expr) => {{
        let mut to = $to;
        for (caller, text) in $plan.replies {
            to = to.reply(caller, text);
        }
        for (timer, setting) in $plan.timeouts {
            to = match (timer, setting) {
                (Timer::State, Setting::After(time, it)) => to.state_timeout(time, text(&it)),
                (Timer::State, Setting::Update(it)) => to.update_state_timeout(text(&it)),
                (Timer::State, Setting::Cancel) => to.cancel_state_timeout(),
                (Timer::Event, Setting::After(time, it)) => to.event_timeout(time, text(&it)),
                (Timer::Event, Setting::Update(it)) => to.update_event_timeout(text(&it)),
                (Timer::Event, Setting::Cancel) => to.cancel_event_timeout(),
                (Timer::Named(n), Setting::After(time, it)) => to.timeout(n, time, text(&it)),
                (Timer::Named(n), Setting::Update(it)) => to.update_timeout(n, text(&it)),
                (Timer::Named(n), Setting::Cancel) => to.cancel_timeout(n),
            };
        }
        to
    }};
}

impl GenStateMachine for Automaton {
    type Args = (Arc<World>, String);
    type State = String;
    type Event = Event;
    type Timeout = String;

    async fn init((world, name): Self::Args, cx: &mut Cx) -> Result<Initial<Self>, InitStop> {
        tree::parent_of(&world, &name, cx);
        let mut machine = Automaton {
            person: Person::born(&world, &name, cx),
            kept: HashMap::new(),
            forgotten: Vec::new(),
            data: "0".to_string(),
        };
        world.leads_to(cx.pid(), cx.this());
        machine.person.log("init");
        let mut plan = Plan::default();
        let program = machine.person.on("init");
        machine.run(program, &mut plan, cx).await;
        if plan.ignore {
            return Err(InitStop::Ignore);
        }
        if let To::Stop(reason) = plan.to {
            return Err(InitStop::Stop(reason));
        }
        let state = machine.person.actor.kind[1].clone();
        let mut initial = Initial::new(machine, state);
        for (event_type, event) in plan.inserted {
            initial = initial.next_event_as(event_type, event);
        }
        Ok(with_actions!(initial, plan))
    }

    async fn enter(&mut self, old: &String, state: &String, cx: &mut Cx) -> Enter<Self> {
        let event = format!("enter {old}");
        self.person.log(format!("[{state}] {event}"));
        let mut plan = Plan::default();
        let program = self.program(state, &event);
        self.run(program, &mut plan, cx).await;
        let enter = match std::mem::take(&mut plan.to) {
            To::Keep => Enter::keep_state(),
            To::Repeat => Enter::repeat_state(),
            To::Stop(reason) => Enter::stop(reason),
            To::State(_) => panic!("not in enter"),
        };
        with_actions!(enter, plan)
    }

    async fn handle_event(&mut self, state: &String, event: Event, cx: &mut Cx) -> Next<Self> {
        let mut plan = Plan::default();
        let what = match (cx.event_type().expect("an event"), &event) {
            (EventType::Timeout(name), _) => format!("timeout {name} "),
            (EventType::Call, _) => "call ".to_string(),
            (EventType::Cast, _) => "cast ".to_string(),
            (EventType::Info, _) => "info ".to_string(),
            (EventType::Internal, _) => "internal ".to_string(),
            (EventType::EventTimeout, _) => "event_timeout ".to_string(),
            (EventType::StateTimeout, _) => "state_timeout ".to_string(),
            (other, _) => format!("script: {other:?}"),
        };
        // What is logged, and what it is looked up by.
        let (log, key) = match &event {
            Event::Text(text) | Event::Call(text, _) => (format!("{what}{text}"), None),
            Event::Exit(exit) => (self.person.of_exit(exit), Some("exit")),
            Event::Down(down) => (self.person.of_down(down), Some("down")),
            Event::Do(program, number) => {
                let number = *number;
                self.run(program.clone(), &mut plan, cx).await;
                self.person.world.done(number);
                (String::new(), None)
            }
        };
        // A caller is taken out of its event, for the commands.
        let (event, call) = match event {
            Event::Call(text, caller) => {
                plan.caller = Some(caller);
                (None, text)
            }
            event => (Some(event), String::new()),
        };
        if !log.is_empty() {
            self.person.log(format!("[{state}] {log}"));
            let program = self.program(state, key.unwrap_or(&log));
            self.run(program, &mut plan, cx).await;
        }
        let mut next = match std::mem::take(&mut plan.to) {
            To::Keep => Next::keep_state(),
            To::Repeat => Next::repeat_state(),
            To::State(state) => Next::state(state),
            To::Stop(reason) => Next::stop(reason),
        };
        match (plan.caller.take(), plan.reply.take()) {
            (Some(caller), _) if plan.postpones => {
                next = next.postpone(Event::Call(call, caller));
            }
            (Some(caller), Some(reply)) => next = next.reply(caller, reply),
            (caller, _) => self.forgotten.extend(caller),
        }
        if let Some(event) = event.filter(|_| plan.postpones) {
            next = next.postpone(event);
        }
        for (event_type, event) in std::mem::take(&mut plan.inserted) {
            next = next.next_event_as(event_type, event);
        }
        with_actions!(next, plan)
    }

    fn from_down(down: Down) -> Option<Event> {
        Some(Event::Down(down))
    }

    fn from_exit(exit: Exit) -> Option<Event> {
        Some(Event::Exit(exit))
    }

    fn from_any(message: AnyMessage) -> Result<Event, AnyMessage> {
        Ok(match message.downcast::<Packet>()? {
            Packet::Do(program, number) => Event::Do(program, number),
            Packet::Text(text) => Event::Text(text),
        })
    }

    async fn terminate(&mut self, reason: ExitReason, state: &String, cx: &mut Cx) {
        let why = self.person.world.text(&reason);
        self.person.log(format!("[{state}] terminate {why}"));
        let program = self.person.on("terminate");
        self.run(program, &mut Plan::default(), cx).await;
    }
}
