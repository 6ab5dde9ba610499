//! Event managers and their handlers on noex. A handler is an actor in its manager's process: it has a
//! label, and a log, of its own.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};

use noex::gen_event::{
    EventHandler, HandleEventCall, Handler, HandlerContext, HandlerExit, HandlerExitReason,
    HandlerId, HandlerStop,
};
use noex::prelude::*;
use noex::{AnyMessage, Down, Exit, GenEvent, HandlerError, ProcessContext, Term};

use super::actor::{Act, Packet, Person, millis, words};
use super::scenario::Program;
use super::world::World;

/// An event.
pub(crate) struct Note(String);
struct Ask(String);

/// The name under which the manager `m` is found.
fn registered(world: &World, m: &str) -> String {
    let named = world.scenario.actors[m].registered();
    named.map_or_else(|| format!("manager {m}"), str::to_string)
}

/// The manager `m`, if it runs. One that a supervisor has started is known from here on.
pub(crate) fn manager(world: &World, cx: &ProcessContext, m: &str) -> Option<GenEvent<Note>> {
    let is_one = world.scenario.actors.get(m)?.is("manager");
    let name = is_one.then(|| registered(world, m))?;
    let manager = cx.system().gen_event(name).resolve()?;
    world.born(manager.pid(), m);
    Some(manager)
}

pub(crate) fn spec(world: &World, m: &str) -> ChildSpec {
    GenEvent::<Note>::child_spec(m).name(registered(world, m))
}

pub(crate) async fn start(person: &Person, cx: &ProcessContext, how: &str, m: &str) -> String {
    let options = ServerOptions::new().name(registered(&person.world, m));
    let start = match how {
        "start_link" => GenEvent::<Note>::start_link_with(cx, options),
        _ => GenEvent::<Note>::start_with(&cx.system(), options),
    };
    let started = start.await;
    if let Ok(manager) = &started {
        person.world.born(manager.pid(), m);
    }
    person.started(started)
}

/// One that is addressed by its type alone is called `bare`.
fn handler(world: &World, h: &str) -> Handler<Listener> {
    match &world.scenario.actors[h].kind[..] {
        [_, bare] if bare == "bare" => Handler::new(),
        _ => Handler::with_id(Term::atom(h)),
    }
}

/// Asks a manager; `None`: there is no such request.
pub(crate) async fn request(person: &Person, cx: &ProcessContext, command: &[&str]) -> Option<Act> {
    let known = [
        "add",
        "add_sup",
        "delete",
        "swap",
        "swap_sup",
        "notify",
        "sync_notify",
        "ask",
        "handlers",
    ];
    let [verb, m, arguments @ ..] = command else {
        return None;
    };
    if !known.contains(verb) {
        return None;
    }
    let world = &person.world;
    let failed = || Some(Act::Said("failed noproc".to_string()));
    let Some(manager) = manager(world, cx, m) else {
        let nothing = *verb == "notify";
        return nothing.then_some(Act::Done).or_else(failed);
    };
    let handler = |h: &str| handler(world, h);
    let made = |k: &str| {
        let (world, name) = (world.clone(), k.to_string());
        move |old: Option<Listener>| Args {
            world,
            name,
            after: Some(old.map(|old| old.name)),
        }
    };
    let args = |h: &str| Args {
        world: world.clone(),
        name: h.to_string(),
        after: None,
    };
    let ok = |()| "ok".to_string();
    let result = match (*verb, arguments) {
        ("add", [h]) => manager.add_handler(handler(h), args(h)).await.map(ok),
        ("add_sup", [h]) => {
            let add = manager.add_sup_handler(cx, handler(h), args(h));
            add.await.map(ok)
        }
        ("delete", [h]) => {
            let deleted = manager.delete_handler(handler(h)).await;
            deleted.map(|_| "ok".to_string())
        }
        ("swap", [h, k]) => {
            let swap = manager.swap_handler(handler(h), handler(k), made(k));
            swap.await.map(ok)
        }
        ("swap_sup", [h, k]) => {
            let swap = manager.swap_sup_handler(cx, handler(h), handler(k), made(k));
            swap.await.map(ok)
        }
        ("notify", [text]) => {
            let sent = manager.notify(Note(text.to_string()));
            sent.expect("an unbounded mailbox");
            return Some(Act::Done);
        }
        ("sync_notify", [text]) => {
            let done = manager.sync_notify(Note(text.to_string())).await;
            done.map(ok).map_err(HandlerError::from)
        }
        ("ask", [h, text]) => {
            let ask = manager.call_with(handler(h), Ask(text.to_string()), None);
            ask.await
        }
        ("ask", [h, text, time]) => {
            let ask = manager.call_with(handler(h), Ask(text.to_string()), millis(time));
            ask.await
        }
        ("handlers", []) => {
            let handlers = manager.which_handlers().await;
            let names = handlers.map(|ids| ids.iter().map(text_of).collect::<Vec<_>>().join(" "));
            names.map_err(HandlerError::from)
        }
        _ => return None,
    };
    Some(Act::Said(match result {
        Ok(result) => result,
        Err(HandlerError::NotInstalled) => "error not_installed".to_string(),
        Err(HandlerError::Init(why) | HandlerError::Crashed(why)) => {
            format!("error {}", world.text(&why))
        }
        Err(HandlerError::Call(error)) => person.answer(Err(error)),
        Err(other) => format!("script: {other:?}"),
    }))
}

fn text_of(handler: &HandlerId) -> String {
    handler
        .id()
        .map_or("bare".to_string(), |id| match id.kind() {
            noex::TermKind::Atom(id) => id.to_string(),
            _ => id.to_string(),
        })
}

/// Notes that a handler the actor supervises is gone.
pub(crate) fn note_loss(person: &Person, message: AnyMessage) {
    match message.downcast::<HandlerExit>() {
        Ok(exit) => {
            let why = match &exit.reason {
                HandlerExitReason::Normal => "normal".to_string(),
                HandlerExitReason::Shutdown => "shutdown".to_string(),
                HandlerExitReason::Swapped { new, supervisor } => {
                    let by = supervisor.map(|pid| format!(" {}", person.world.label(pid)));
                    format!("swapped {}{}", text_of(new), by.unwrap_or_default())
                }
                HandlerExitReason::Failed(why) => person.world.text(why),
                other => format!("script: {other:?}"),
            };
            person.log(format!("handler_exit {} {why}", text_of(&exit.handler)));
        }
        Err(message) => person.log(format!("script: {message:?}")),
    }
}

// ---------------------------------------------------------------------------------- a handler

struct Args {
    world: Arc<World>,
    name: String,
    /// Whose place it takes, if it takes somebody's.
    after: Option<Option<String>>,
}

struct Listener {
    person: Person,
    name: String,
    /// The reply of the call that is handled.
    reply: String,
    /// Why `init` fails.
    stop: Option<ExitReason>,
}

type Cx = HandlerContext<Listener, Note>;

impl Listener {
    async fn happens(&mut self, event: &str, cx: &mut Cx) {
        self.person.log(event);
        let program = self.person.on(event);
        self.run(program, cx).await;
    }

    async fn run(&mut self, program: Program, cx: &mut Cx) {
        for command in program {
            match &words(&command)[..] {
                ["reply", text] => self.reply = text.to_string(),
                ["remove"] => cx.remove_handler(),
                ["swap_to", k] => {
                    let (world, name) = (self.person.world.clone(), k.to_string());
                    let new = handler(&world, k);
                    cx.swap_handler(new, move |old: Listener| Args {
                        world,
                        name,
                        after: Some(Some(old.name)),
                    });
                }
                command => match self.person.act(cx, command).await {
                    Act::Done | Act::Said(_) => {}
                    Act::Stop(reason) => self.stop = Some(reason),
                    Act::Unknown => {
                        let command = command.join(" ");
                        self.person.log(format!("script: what is {command}?"));
                    }
                },
            }
        }
    }
}

impl EventHandler<Note> for Listener {
    type Args = Args;

    async fn init(args: Args, cx: &mut Cx) -> Result<Self, ExitReason> {
        let Args { world, name, after } = args;
        let person = Person::labelled(&world, &name, world.made(&name));
        person.log(match after {
            None => "init".to_string(),
            Some(None) => "init after nobody".to_string(),
            Some(Some(old)) => format!("init after {old}"),
        });
        let program = person.on("init");
        let mut listener = Listener {
            person,
            name,
            reply: String::new(),
            stop: None,
        };
        listener.run(program, cx).await;
        match listener.stop.take() {
            Some(reason) => Err(reason),
            None => Ok(listener),
        }
    }

    async fn handle_event(&mut self, Note(text): &Note, cx: &mut Cx) {
        self.happens(&format!("event {text}"), cx).await;
    }

    async fn handle_down(&mut self, down: &Down, cx: &mut Cx) {
        self.person.log(self.person.of_down(down));
        let program = self.person.on("down");
        self.run(program, cx).await;
    }

    async fn handle_exit(&mut self, exit: &Exit, cx: &mut Cx) {
        self.person.log(self.person.of_exit(exit));
        let program = self.person.on("exit");
        self.run(program, cx).await;
    }

    fn handle_any(&mut self, message: &AnyMessage, cx: &mut Cx) {
        let Some(Packet::Text(text)) = message.downcast_ref() else {
            return;
        };
        let event = format!("info {text}");
        // It cannot wait, so neither can what the scenario says of it.
        let done = {
            let mut happens = pin!(self.happens(&event, cx));
            let mut task = std::task::Context::from_waker(Waker::noop());
            happens.as_mut().poll(&mut task)
        };
        if done == Poll::Pending {
            self.person.log("script: this cannot wait");
        }
    }

    async fn terminate(&mut self, why: HandlerStop, cx: &mut Cx) {
        let why = match why {
            HandlerStop::Deleted => "deleted".to_string(),
            HandlerStop::Swapped => "swapped".to_string(),
            HandlerStop::Removed => "removed".to_string(),
            HandlerStop::AdderExited(why) => format!("adder {}", self.person.world.text(&why)),
            HandlerStop::Stop => "stop".to_string(),
            HandlerStop::Error(why) => self.person.world.text(&why),
            other => format!("script: {other:?}"),
        };
        self.person.log(format!("terminate {why}"));
        let program = self.person.on("terminate");
        self.run(program, cx).await;
    }
}

impl HandleEventCall<Note, Ask> for Listener {
    type Reply = String;

    async fn handle_call(&mut self, Ask(text): Ask, cx: &mut Cx) -> String {
        self.reply = "ok".to_string();
        self.happens(&format!("call {text}"), cx).await;
        self.reply.clone()
    }
}
