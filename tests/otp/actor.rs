//! The actors on noex: a process and a server that do what the scenario says, and note what happens
//! to them.

use std::any::Any;
use std::collections::HashMap;
use std::fmt::Debug;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use noex::prelude::*;
use noex::{
    AnyMessage, CallError, Down, Exit, Inbox, InitStop, Machine, MonitorRef, ProcessContext,
    Received, ReplyTo, Routes, StartError, TaskContext, TimerRef,
};

use super::event;
use super::machine::{self, Automaton};
use super::scenario::{Actor, Program};
use super::world::{World, reason};
use super::{agents, dynamic, partitions, tasks, tree};

/// What is sent to actors through their pids.
#[derive(Debug, Clone)]
pub(crate) enum Packet {
    /// A step's commands, and the number under which to say that they are done.
    Do(Program, u64),
    Text(String),
}

/// What an actor is made of, whichever kind it is.
pub(crate) struct Person {
    pub(crate) world: Arc<World>,
    pub(crate) actor: Actor,
    pub(crate) label: String,
    number: usize,
    monitors: Vec<(String, MonitorRef)>,
    timers: HashMap<String, TimerRef>,
}

/// What becomes of a command that [`Person::act`] was given.
pub(crate) enum Act {
    Done,
    /// It has a result, not logged yet.
    Said(String),
    /// The actor is to end.
    Stop(ExitReason),
    /// It is not for any process.
    Unknown,
}

impl Person {
    pub(crate) fn born(world: &Arc<World>, name: &str, cx: &ProcessContext) -> Self {
        Person::labelled(world, name, world.born(cx.pid(), name))
    }

    /// One with that label, which may be no process.
    pub(crate) fn labelled(
        world: &Arc<World>,
        name: &str,
        (label, number): (String, usize),
    ) -> Self {
        Person {
            world: world.clone(),
            actor: world.scenario.actors.get(name).cloned().unwrap_or_default(),
            label,
            number,
            monitors: Vec::new(),
            timers: HashMap::new(),
        }
    }

    pub(crate) fn log(&self, event: impl Into<String>) {
        self.world.log(&self.label, event);
    }

    pub(crate) fn on(&self, event: &str) -> Program {
        self.actor.on(event, self.number)
    }

    /// The same; `None`: nothing is said of that.
    pub(crate) fn says(&self, event: &str) -> Option<Program> {
        self.actor.says(event, self.number)
    }

    pub(crate) fn of_down(&self, down: &Down) -> String {
        let named = self.monitors.iter().find(|(_, m)| *m == down.monitor);
        let name = named.map_or("unknown", |(name, _)| name);
        let (who, why) = (self.world.label(down.pid), self.world.text(&down.reason));
        format!("down {name} {who} {why}")
    }

    pub(crate) fn of_exit(&self, exit: &Exit) -> String {
        let who = exit
            .from
            .map_or("somebody".to_string(), |pid| self.world.label(pid));
        format!("exit {who} {}", self.world.text(&exit.reason))
    }

    /// What kind of actor `name` is.
    pub(crate) fn kind_of(&self, name: &str) -> &str {
        &self.world.scenario.actors[name].kind[0]
    }

    pub(crate) fn pid(&self, cx: &ProcessContext, name: &str) -> Pid {
        match (name, self.world.state().pid(name)) {
            ("self", _) => return cx.pid(),
            (_, Some(pid)) => return pid,
            (_, None) => {}
        }
        self.log(format!("script: who is {name}?"));
        panic!("who is {name}?")
    }

    /// What any process can do.
    pub(crate) async fn act(&mut self, cx: &ProcessContext, command: &[&str]) -> Act {
        let result = match command {
            ["log", words @ ..] => {
                self.log(words.join(" "));
                return Act::Done;
            }
            ["trap"] => cx.trap_exit(true).to_string(),
            ["untrap"] => cx.trap_exit(false).to_string(),
            ["link", p] => {
                cx.link(self.pid(cx, p));
                // What a dead process's link brings acts at the next poll.
                cx.yield_now().await;
                return Act::Done;
            }
            ["unlink", p] => {
                cx.unlink(self.pid(cx, p));
                return Act::Done;
            }
            ["unlink_flush", p] => {
                cx.unlink_flush(self.pid(cx, p));
                return Act::Done;
            }
            ["monitor", p, name] => {
                let monitor = cx.monitor(self.pid(cx, p));
                self.monitors.push((name.to_string(), monitor));
                return Act::Done;
            }
            ["demonitor", name] => {
                let (_, monitor) = self.monitors.iter().find(|(n, _)| n == name).expect("made");
                cx.demonitor(*monitor).to_string()
            }
            ["exit", p, why] => {
                cx.exit(self.pid(cx, p), reason(why));
                // One to oneself acts at the next poll.
                cx.yield_now().await;
                return Act::Done;
            }
            ["stop", why] => return Act::Stop(reason(why)),
            ["crash", why] => panic!("{why}"),
            ["send", p, text] => {
                cx.send(self.pid(cx, p), Packet::Text(text.to_string()));
                return Act::Done;
            }
            ["after", time, p, text, name] => {
                let (to, packet) = (self.pid(cx, p), Packet::Text(text.to_string()));
                let timer = cx.send_after(millis(time), &to, packet);
                self.timers.insert(name.to_string(), timer);
                return Act::Done;
            }
            ["after_named", time, n, text, name] => {
                let to = cx.system().server::<Server>(*n);
                let timer = cx.send_after(millis(time), &to, Packet::Text(text.to_string()));
                self.timers.insert(name.to_string(), timer);
                return Act::Done;
            }
            ["cancel", name] => left(cx.cancel_timer(self.timers[*name])),
            ["read", name] => left(cx.read_timer(self.timers[*name])),
            ["spawn", p] => {
                let (world, name) = (self.world.clone(), p.to_string());
                let process = cx.spawn(move |inbox| live(inbox, world, name, false));
                self.world.born(process.expect("a running system").pid(), p);
                return Act::Done;
            }
            ["spawn_link", p] => {
                let (world, name) = (self.world.clone(), p.to_string());
                let process = cx.spawn_link(move |inbox| live(inbox, world, name, false));
                self.world.born(process.expect("a running system").pid(), p);
                return Act::Done;
            }
            ["spawn_monitor", p, monitor] => {
                let (world, name) = (self.world.clone(), p.to_string());
                let spawned = cx.spawn_monitor(move |inbox| live(inbox, world, name, false));
                let (process, made) = spawned.expect("a running system");
                self.monitors.push((monitor.to_string(), made));
                self.world.born(process.pid(), p);
                return Act::Done;
            }
            ["start" | "start_link", s, quietly @ ..]
                if self.world.scenario.actors[*s].is("supervisor") =>
            {
                let start = tree::supervisor(&self.world, s).start_link(cx);
                if let Some(pid) = start.pid() {
                    self.world.born(pid, s);
                }
                let started = self.started(start.await);
                if !quietly.is_empty() {
                    return Act::Done;
                }
                started
            }
            ["start" | "start_link", s] if self.world.scenario.actors[*s].is("manager") => {
                event::start(self, cx, command[0], s).await
            }
            ["start", s] if self.world.scenario.actors[*s].is("machine") => {
                machine::start(self, cx, s).await
            }
            ["start", s] | ["start_link", s] if !self.world.scenario.actors[*s].is("server") => {
                self.start_other(cx, command[0], s).await
            }
            ["start", s] => {
                let args = (self.world.clone(), s.to_string());
                let options = options(&self.world.scenario.actors[*s]);
                self.started(cx.system().start_with::<Server>(args, options).await)
            }
            ["call", s, text] => return self.call(cx, s, text, None).await,
            ["call", s, text, time] => {
                return self
                    .call(cx, s, text, (*time != "infinity").then(|| millis(time)))
                    .await;
            }
            ["call_named", n, text] => {
                let server = cx.system().server::<Server>(*n);
                self.answer(server.call_with(Ask(text.to_string()), None).await)
            }
            ["cast", s, text] => {
                if let Some(machine) = machine::of(&self.world, self.pid(cx, s)) {
                    machine
                        .cast(machine::text(text))
                        .expect("an unbounded mailbox");
                }
                if let Some(server) = self.world.server(self.pid(cx, s)) {
                    server
                        .cast(Cast(text.to_string()))
                        .expect("an unbounded mailbox");
                }
                return Act::Done;
            }
            ["stop_server", s] => return self.stop_server(cx, s, "normal", None).await,
            ["stop_server", s, why] => return self.stop_server(cx, s, why, None).await,
            ["stop_server", s, why, time] => {
                return self.stop_server(cx, s, why, Some(millis(time))).await;
            }
            ["register", n, p] => match cx.system().register(n, self.pid(cx, p)) {
                Ok(()) => "true".to_string(),
                Err(_) => "failed".to_string(),
            },
            ["unregister", n] => match cx.system().unregister(n) {
                Some(_) => "true".to_string(),
                None => "failed".to_string(),
            },
            ["whereis", n] => match cx.system().whereis(n) {
                Some(pid) => self.world.label(pid),
                None => "undefined".to_string(),
            },
            ["alive", p] => cx.system().is_alive(self.pid(cx, p)).to_string(),
            ["block", gate] => {
                let gate_of = self.world.gate(gate);
                self.log(format!("blocked {gate}"));
                gate_of.await;
                return Act::Done;
            }
            ["hang"] => {
                self.log("hangs");
                pending().await
            }
            ["suspend", s] => {
                let _ = cx.system().sys(self.pid(cx, s)).suspend().await;
                return Act::Done;
            }
            ["resume", s] => {
                let _ = cx.system().sys(self.pid(cx, s)).resume().await;
                return Act::Done;
            }
            _ => match self.act_on(cx, command).await {
                Act::Said(result) => result,
                other => return other,
            },
        };
        self.log(format!("{} -> {result}", command.join(" ")));
        Act::Done
    }

    /// What is asked of tasks, agents and supervisors, by the kind of whom it is asked.
    async fn act_on(&mut self, cx: &ProcessContext, command: &[&str]) -> Act {
        if let Some(act) = tasks::act(self, cx, command).await {
            return act;
        }
        if let Some(act) = event::request(self, cx, command).await {
            return act;
        }
        let [verb, s, rest @ ..] = command else {
            return Act::Unknown;
        };
        let Some(actor) = self.world.scenario.actors.get(*s).cloned() else {
            return Act::Unknown;
        };
        let said = match actor.kind[0].as_str() {
            "supervisor" => tree::request(self, cx, verb, s, rest).await,
            "dynamic_supervisor" => dynamic::request(self, cx, verb, s, rest).await,
            "task_supervisor" => tasks::request(self, cx, verb, s, rest).await,
            "partition_supervisor" => {
                let act = partitions::request(self, cx, verb, s, rest).await;
                return act.unwrap_or(Act::Unknown);
            }
            "agent" => {
                let act = agents::request(self, cx, verb, s, rest).await;
                return act.unwrap_or(Act::Unknown);
            }
            _ => None,
        };
        said.map_or(Act::Unknown, Act::Said)
    }

    async fn start_other(&self, cx: &ProcessContext, verb: &str, s: &str) -> String {
        let world = &self.world;
        let started = match world.scenario.actors[s].kind[0].as_str() {
            "agent" => agents::start(world, cx, verb == "start_link", s).await,
            "dynamic_supervisor" => dynamic::start_link(world, cx, s).await,
            "task_supervisor" => tasks::start_link(world, cx, s).await,
            "partition_supervisor" => partitions::start_link(world, cx, s).await,
            other => panic!("what is {other}?"),
        };
        self.started(started)
    }

    pub(crate) fn started<T>(&self, started: Result<T, StartError>) -> String {
        match started {
            Ok(_) => "ok".to_string(),
            Err(error) => self.world.start_error(&error),
        }
    }

    async fn call(
        &mut self,
        cx: &ProcessContext,
        s: &str,
        text: &str,
        timeout: Option<Duration>,
    ) -> Act {
        let pid = self.pid(cx, s);
        let answer = match self.world.server(pid) {
            None => match machine::of(&self.world, pid) {
                Some(machine) => machine.request_with(machine::call(text), timeout).await,
                None => Err(CallError::NoProc),
            },
            // Which of the two a message is, is a matter of its type here.
            Some(server) => match self.world.scenario.actors[s].defers(text) {
                true => server.call_with(AskLater(text.to_string()), timeout).await,
                false => server.call_with(Ask(text.to_string()), timeout).await,
            },
        };
        self.log(format!("call {s} {text} -> {}", self.answer(answer)));
        Act::Done
    }

    async fn stop_server(
        &mut self,
        cx: &ProcessContext,
        s: &str,
        why: &str,
        time: Option<Duration>,
    ) -> Act {
        let pid = self.pid(cx, s);
        let why = reason(why);
        let stop = match self.world.scenario.actors[s].kind[0].as_str() {
            "supervisor" => tree::running(cx, s).map(|it| it.stop(why)),
            "dynamic_supervisor" => dynamic::stop(&self.world, cx, s, why),
            "task_supervisor" => tasks::running(cx, s).map(|it| it.stop(why)),
            "partition_supervisor" => {
                let running = partitions::running(cx, s).await;
                running.ok().map(|it| it.stop(why))
            }
            "agent" => agents::find(&self.world, cx, s).map(|it| it.stop(why)),
            "machine" => machine::of(&self.world, pid).map(|it| it.stop(why)),
            "manager" => event::manager(&self.world, cx, s).map(|it| it.stop(why)),
            _ => self.world.server(pid).map(|it| it.stop(why)),
        };
        let result = match (stop, time) {
            (None, _) => Err(CallError::NoProc),
            (Some(stop), None) => stop.await,
            (Some(stop), Some(time)) => within(cx, stop, time)
                .await
                .unwrap_or(Err(CallError::Timeout)),
        };
        let result = self.answer(result.map(|()| "ok".to_string()));
        self.log(format!("stop_server {s} -> {result}"));
        Act::Done
    }

    /// What a call gives, or that it failed and why: in Erlang that is an exit, here an `Err`.
    pub(crate) fn answer(&self, answer: Result<String, CallError>) -> String {
        answer.unwrap_or_else(|error| self.world.failure(&error))
    }
}

/// What `future` gives within `time`.
async fn within<F: Future + Unpin>(
    cx: &ProcessContext,
    future: F,
    time: Duration,
) -> Option<F::Output> {
    let (mut future, mut sleep) = (future, cx.sleep(time));
    std::future::poll_fn(|task| {
        use std::task::Poll;
        match Pin::new(&mut future).poll(task) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Pin::new(&mut sleep).poll(task).map(|()| None),
        }
    })
    .await
}

fn left(time: Option<Duration>) -> String {
    match time {
        Some(_) => "running".to_string(),
        None => "gone".to_string(),
    }
}

pub(crate) fn millis(text: &str) -> Duration {
    Duration::from_millis(text.parse().expect("milliseconds"))
}

pub(crate) fn words(command: &[String]) -> Vec<&str> {
    command.iter().map(String::as_str).collect()
}

// ---------------------------------------------------------------------------------- a process

/// How a process ends by itself.
enum End {
    Exit(ExitReason),
    /// With the value of a task.
    Value(String),
}

/// What an actor runs in a process of its own. (Boxed, as it may spawn others of its kind.)
pub(crate) type Life<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A process that receives by itself.
pub(crate) fn live(
    mut inbox: Inbox<Packet>,
    world: Arc<World>,
    name: String,
    trap: bool,
) -> Life<ExitReason> {
    Box::pin(async move {
        inbox.trap_exit(trap);
        match receive(&mut inbox, world, name).await {
            End::Exit(reason) => reason,
            End::Value(value) => panic!("nobody waits for {value}"),
        }
    })
}

/// A task that nobody waits for.
pub(crate) fn errand(mut inbox: TaskContext, world: Arc<World>, name: String) -> Life<ExitReason> {
    Box::pin(async move {
        match receive(&mut inbox, world, name).await {
            End::Exit(reason) => reason,
            End::Value(_) => ExitReason::Normal,
        }
    })
}

/// A task that is waited for.
pub(crate) fn task(mut inbox: TaskContext, world: Arc<World>, name: String) -> Life<String> {
    Box::pin(async move {
        match receive(&mut inbox, world, name).await {
            End::Value(value) => value,
            End::Exit(reason) => {
                // What a task returns is its value: one that ends otherwise ends itself.
                inbox.trap_exit(false);
                inbox.exit(inbox.pid(), reason);
                pending().await
            }
        }
    })
}

/// What has come, if it is for an actor: sent to its pid, which a task's type knows nothing of.
fn packet<M: 'static>(received: &Received<M>) -> Option<&Packet> {
    match received {
        Received::Message(message) => (message as &dyn Any).downcast_ref(),
        Received::Any(message) => message.downcast_ref(),
        _ => None,
    }
}

async fn receive<M: Debug + Send + 'static>(
    inbox: &mut Inbox<M>,
    world: Arc<World>,
    name: String,
) -> End {
    let mut person = Person::born(&world, &name, inbox);
    let mut todo = (person.on("start"), None);
    loop {
        let (program, number) = todo;
        for command in program {
            if let Some(end) = process_act(&mut person, inbox, &words(&command)).await {
                return end;
            }
        }
        if let Some(number) = number {
            world.done(number);
        }
        let received = inbox.recv().await;
        todo = match received {
            Received::Message(_) | Received::Any(_) => match packet(&received).cloned() {
                Some(Packet::Do(program, number)) => (program, Some(number)),
                Some(Packet::Text(text)) => {
                    person.log(format!("got {text}"));
                    (person.on(&format!("got {text}")), None)
                }
                None => match received {
                    Received::Any(message) => {
                        event::note_loss(&person, message);
                        (person.on("handler_exit"), None)
                    }
                    other => panic!("what is {other:?}?"),
                },
            },
            Received::Exit(exit) => {
                person.log(person.of_exit(&exit));
                (person.on("exit"), None)
            }
            Received::Down(down) => {
                person.log(person.of_down(&down));
                (person.on("down"), None)
            }
            other => panic!("what is {other:?}?"),
        };
    }
}

/// `Some`: it is to end.
async fn process_act<M: Send + 'static>(
    person: &mut Person,
    inbox: &mut Inbox<M>,
    command: &[&str],
) -> Option<End> {
    match command {
        ["return", value] => return Some(End::Value(value.to_string())),
        ["take", text, time @ ..] => {
            let wanted = |received: &Received<M>| matches!(packet(received), Some(Packet::Text(it)) if it == text);
            let took = match time {
                [] => Some(inbox.recv_match(wanted).await),
                [time, ..] => inbox.recv_match_timeout(millis(time), wanted).await,
            };
            person.log(took.map_or("took nothing".to_string(), |_| format!("took {text}")));
        }
        ["take_exit", p] => {
            let pid = person.pid(inbox, p);
            let wanted = |received: &Received<M>| matches!(received, Received::Exit(exit) if exit.from == Some(pid));
            if let Received::Exit(exit) = inbox.recv_match(wanted).await {
                person.log(format!(
                    "take_exit {p} -> {}",
                    person.world.text(&exit.reason)
                ));
            }
        }
        _ => match person.act(inbox, command).await {
            Act::Done | Act::Said(_) => {}
            Act::Stop(reason) => return Some(End::Exit(reason)),
            Act::Unknown => person.log(format!("script: what is {}?", command.join(" "))),
        },
    }
    None
}

// ---------------------------------------------------------------------------------- a server

/// A call answered by what its handler returns.
pub(crate) struct Ask(pub(crate) String);
/// A call answered later.
pub(crate) struct AskLater(String);
pub(crate) struct Cast(pub(crate) String);
pub(crate) struct Continue(String);

pub(crate) struct Server {
    person: Person,
    kept: HashMap<String, ReplyTo<String>>,
    state: String,
    /// The reply of the call that is handled.
    reply: String,
    /// The caller that is to be kept.
    caller: Option<ReplyTo<String>>,
    /// What `init` gives, if not a server.
    unborn: Option<InitStop>,
}

pub(crate) fn options(actor: &Actor) -> ServerOptions {
    match actor.registered() {
        Some(name) => ServerOptions::new().name(name),
        None => ServerOptions::new(),
    }
}

impl Server {
    async fn run(&mut self, program: Program, cx: &mut Context<Self>) {
        for command in program {
            self.act(&words(&command), cx).await;
        }
    }

    async fn on(&mut self, event: String, cx: &mut Context<Self>) {
        let program = self.person.on(&event);
        self.run(program, cx).await;
    }

    async fn act(&mut self, command: &[&str], cx: &mut Context<Self>) {
        let person = &mut self.person;
        match command {
            ["reply", text] => self.reply = text.to_string(),
            ["defer", name] => {
                let caller = self.caller.take().expect("a call that is answered later");
                self.kept.insert(name.to_string(), caller);
            }
            ["answer", name, text] => {
                let caller = self.kept.remove(*name).expect("kept");
                caller.reply(text.to_string());
            }
            ["continue", text] => cx.continue_with(Continue(text.to_string())),
            ["timeout", time] => cx.set_timeout(millis(time)),
            ["ignore"] => self.unborn = Some(InitStop::Ignore),
            ["set", text] => self.state = text.to_string(),
            ["state"] => person.log(format!("state -> {}", self.state)),
            ["start_link", s, quietly @ ..]
                if ["server", "machine"].contains(&person.kind_of(s)) =>
            {
                let options = options(&person.world.scenario.actors[*s]);
                let args = (person.world.clone(), s.to_string());
                let started = match person.kind_of(s) {
                    "machine" => {
                        let start = cx.start_link_with::<Machine<Automaton>>(args, options);
                        person.started(start.await)
                    }
                    _ => person.started(cx.start_link_with::<Server>(args, options).await),
                };
                if quietly.is_empty() {
                    person.log(format!("start_link {s} -> {started}"));
                }
            }
            ["start_monitor", s, name] => {
                let args = (person.world.clone(), s.to_string());
                let started = cx.start_monitor::<Server>(args).await;
                if let Ok((_, monitor)) = &started {
                    person.monitors.push((name.to_string(), *monitor));
                }
                let started = person.started(started);
                person.log(format!("start_monitor {s} {name} -> {started}"));
            }
            _ => match person.act(cx, command).await {
                Act::Done | Act::Said(_) => {}
                Act::Stop(reason) => {
                    self.unborn = Some(InitStop::Stop(reason.clone()));
                    cx.stop(reason);
                }
                Act::Unknown => person.log(format!("script: what is {}?", command.join(" "))),
            },
        }
    }
}

impl GenServer for Server {
    type Args = (Arc<World>, String);

    async fn init((world, name): Self::Args, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        tree::parent_of(&world, &name, cx);
        let mut server = Server {
            person: Person::born(&world, &name, cx),
            kept: HashMap::new(),
            state: "0".to_string(),
            reply: String::new(),
            caller: None,
            unborn: None,
        };
        world.serves(cx.pid(), cx.this());
        server.person.log("init");
        server.on("init".to_string(), cx).await;
        match server.unborn.take() {
            Some(stop) => Err(stop),
            None => Ok(server),
        }
    }

    async fn handle_down(&mut self, down: Down, cx: &mut Context<Self>) {
        self.person.log(self.person.of_down(&down));
        self.on("down".to_string(), cx).await;
    }

    async fn handle_exit(&mut self, exit: Exit, cx: &mut Context<Self>) {
        self.person.log(self.person.of_exit(&exit));
        self.on("exit".to_string(), cx).await;
    }

    async fn handle_timeout(&mut self, cx: &mut Context<Self>) {
        self.person.log("timeout");
        self.on("timeout".to_string(), cx).await;
    }

    async fn handle_any(&mut self, message: AnyMessage, cx: &mut Context<Self>) {
        event::note_loss(&self.person, message);
        self.on("handler_exit".to_string(), cx).await;
    }

    fn routes(routes: &mut Routes<'_, Self>) {
        routes.info::<Packet>();
    }

    async fn terminate(&mut self, reason: ExitReason, cx: &mut Context<Self>) {
        let why = self.person.world.text(&reason);
        self.person.log(format!("terminate {why}"));
        self.on("terminate".to_string(), cx).await;
    }
}

impl HandleInfo<Packet> for Server {
    async fn handle_info(&mut self, packet: Packet, cx: &mut Context<Self>) {
        match packet {
            Packet::Do(program, number) => {
                self.run(program, cx).await;
                self.person.world.done(number);
            }
            Packet::Text(text) => {
                self.person.log(format!("info {text}"));
                self.on(format!("info {text}"), cx).await;
            }
        }
    }
}

impl HandleCast<Cast> for Server {
    async fn handle_cast(&mut self, Cast(text): Cast, cx: &mut Context<Self>) {
        self.person.log(format!("cast {text}"));
        self.on(format!("cast {text}"), cx).await;
    }
}

impl HandleCall<Ask> for Server {
    type Reply = String;

    async fn handle_call(&mut self, Ask(text): Ask, cx: &mut Context<Self>) -> String {
        self.reply = "ok".to_string();
        self.person.log(format!("call {text}"));
        self.on(format!("call {text}"), cx).await;
        self.reply.clone()
    }
}

impl HandleRequest<AskLater> for Server {
    type Reply = String;

    async fn handle_request(
        &mut self,
        AskLater(text): AskLater,
        reply: ReplyTo<String>,
        cx: &mut Context<Self>,
    ) {
        self.caller = Some(reply);
        self.person.log(format!("call {text}"));
        self.on(format!("call {text}"), cx).await;
    }
}

impl HandleContinue<Continue> for Server {
    async fn handle_continue(&mut self, Continue(text): Continue, cx: &mut Context<Self>) {
        self.person.log(format!("continue {text}"));
        self.on(format!("continue {text}"), cx).await;
    }
}
