//! Agents on noex: what their functions do is what the scenario says of the event of that name.

use std::sync::Arc;
use std::time::Duration;

use noex::prelude::*;
use noex::{Agent, ProcessContext, StartError};

use super::actor::{Act, Person, millis, options};
use super::scenario::Actor;
use super::world::World;

/// The state of an agent.
pub(crate) struct Keeper {
    world: Arc<World>,
    actor: Actor,
    label: String,
    number: usize,
    state: String,
}

/// What a function of an agent came to.
struct Done {
    reply: Option<String>,
    state: Option<String>,
}

impl Keeper {
    fn new(world: &Arc<World>, name: &str) -> Self {
        let (label, number) = world.enters(name);
        let mut keeper = Keeper {
            world: world.clone(),
            actor: world.scenario.actors[name].clone(),
            label,
            number,
            state: "0".to_string(),
        };
        keeper.log("init");
        let done = keeper.run("init");
        keeper.state = done.state.unwrap_or(keeper.state);
        keeper
    }

    fn log(&self, event: &str) {
        self.world.log(&self.label, event);
    }

    fn run(&self, event: &str) -> Done {
        let mut done = Done {
            reply: None,
            state: None,
        };
        for command in self.actor.on(event, self.number) {
            let command: Vec<&str> = command.iter().map(String::as_str).collect();
            match &command[..] {
                ["log", words @ ..] => self.log(&words.join(" ")),
                ["set", state] => done.state = Some(state.to_string()),
                ["reply", text] => done.reply = Some(text.to_string()),
                ["crash", why] => panic!("{why}"),
                other => self.log(&format!("script: what is {}?", other.join(" "))),
            }
        }
        done
    }

    /// What a function that only reads gives.
    fn read(&self, does: &str) -> String {
        self.log(&format!("does {does}"));
        self.run(does).reply.unwrap_or(self.state.clone())
    }

    fn change(&mut self, does: &str) -> String {
        self.log(&format!("does {does}"));
        let done = self.run(does);
        if let Some(state) = done.state {
            self.state = state;
        }
        done.reply.unwrap_or(self.state.clone())
    }
}

pub(crate) fn child_spec(world: &Arc<World>, name: &str) -> ChildSpec {
    let (world, keeper) = (world.clone(), name.to_string());
    Agent::child_spec(name, move || Keeper::new(&world, &keeper))
}

pub(crate) async fn start(
    world: &Arc<World>,
    cx: &ProcessContext,
    link: bool,
    name: &str,
) -> Result<(), StartError> {
    let (in_agent, keeper) = (world.clone(), name.to_string());
    let init = move || Keeper::new(&in_agent, &keeper);
    let options = options(&world.scenario.actors[name]);
    let start = match link {
        true => Agent::start_link_with(cx, options, init),
        false => Agent::start_with(&cx.system(), options, init),
    };
    // There is none if the name is taken.
    if let Some(pid) = start.pid() {
        world.born(pid, name);
    }
    let agent = start.await?;
    world.leads_to(agent.pid(), agent);
    Ok(())
}

/// The agent `a`: the latest that was started, or the one that has its name.
pub(crate) fn find(world: &World, cx: &ProcessContext, a: &str) -> Option<Agent<Keeper>> {
    let pid = world.state().pid(a)?;
    let known = world.reference::<Agent<Keeper>>(pid);
    known.or_else(|| {
        let name = world.scenario.actors[a].registered()?;
        let agent = cx.system().agent(name).resolve()?;
        (agent.pid() == pid).then_some(agent)
    })
}

/// Asks an agent; `None`: there is no such request.
pub(crate) async fn request(
    person: &Person,
    cx: &ProcessContext,
    verb: &str,
    a: &str,
    words: &[&str],
) -> Option<Act> {
    let world = &person.world;
    let (does, time) = match words {
        [does] => (does.to_string(), Some(Duration::from_secs(5))),
        [does, "infinity"] => (does.to_string(), None),
        [does, time] => (does.to_string(), Some(millis(time))),
        _ => return None,
    };
    if verb == "get_named" {
        let name = world.scenario.actors[a].registered().expect("a name");
        let agent = cx.system().agent::<Keeper>(name);
        let get = agent.get(move |keeper| keeper.read(&does));
        return Some(Act::Said(person.answer(get.await)));
    }
    let Some(agent) = find(world, cx, a) else {
        return Some(Act::Said("failed noproc".to_string()));
    };
    Some(Act::Said(match verb {
        "get" => {
            let get = agent.get_with(move |keeper| keeper.read(&does), time);
            person.answer(get.await)
        }
        "update" => {
            let change = move |keeper: &mut Keeper| {
                keeper.change(&does);
            };
            let update = agent.update_with(change, time);
            person.answer(update.await.map(|()| "ok".to_string()))
        }
        "get_and_update" => {
            let update = agent.get_and_update_with(move |keeper| keeper.change(&does), time);
            person.answer(update.await)
        }
        "agent_cast" => {
            let change = move |keeper: &mut Keeper| {
                keeper.change(&does);
            };
            let cast = agent.cast(change);
            cast.map_err(|_| ()).expect("an unbounded mailbox");
            return Some(Act::Done);
        }
        _ => return None,
    }))
}
