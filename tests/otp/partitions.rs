//! Partition supervisors on noex.

use std::sync::Arc;

use noex::prelude::*;
use noex::{
    CallError, PartitionSupervisor, PartitionSupervisorRef, ProcessContext, StartError, Template,
};

use super::actor::{Act, Ask, Cast, Person, Server};
use super::scenario::Actor;
use super::tree::{self, counts, list, registered, say, seconds, strategy};
use super::world::World;

/// `partition_supervisor NAME STRATEGY INTENSITY PERIOD PARTITIONS CHILD`. Its partitions are the
/// actors `CHILD0`, `CHILD1`, ..
pub(crate) fn supervisor(world: &Arc<World>, name: &str) -> PartitionSupervisor<ServerRef<Server>> {
    let kind = &world.scenario.actors[name].kind;
    let [_, how, intensity, period, partitions, child] = &kind[..] else {
        panic!("partition_supervisor NAME STRATEGY INTENSITY PERIOD PARTITIONS CHILD: {name}");
    };
    let (restart, shutdown) = world.scenario.actors[child].child.clone().expect("a child");
    let (in_child, base) = (world.clone(), child.clone());
    let mut template = Template::server_with::<Server, usize>(move |partition| {
        (in_child.clone(), format!("{base}{partition}"))
    });
    if let Some(restart) = tree::restart(&restart) {
        template = template.restart(restart);
    }
    if let Some(shutdown) = tree::shutdown(&shutdown) {
        template = template.shutdown(shutdown);
    }
    PartitionSupervisor::new(template)
        .strategy(strategy(how))
        .intensity(intensity.parse().expect("a number"))
        .period(seconds(period))
        .partitions(partitions.parse().expect("a number"))
        .name(registered(name))
}

/// Whether `child` is a partition of `actor`.
pub(crate) fn is_of(actor: &Actor, child: &str) -> bool {
    let base = child.trim_end_matches(|c: char| c.is_ascii_digit());
    actor.is("partition_supervisor") && actor.kind.last().is_some_and(|name| name == base)
}

pub(crate) async fn start_link(
    world: &Arc<World>,
    cx: &ProcessContext,
    s: &str,
) -> Result<(), StartError> {
    let started = supervisor(world, s).start_link(cx).await?;
    world.born(started.pid(), s);
    Ok(())
}

/// The supervisor `s`, if it runs.
pub(crate) async fn running(
    cx: &ProcessContext,
    s: &str,
) -> Result<PartitionSupervisorRef<ServerRef<Server>>, CallError> {
    let name = registered(s);
    cx.system().partition_supervisor(&name).await
}

/// Asks a partition supervisor, or a partition; `None`: there is no such request.
pub(crate) async fn request(
    person: &Person,
    cx: &ProcessContext,
    verb: &str,
    s: &str,
    words: &[&str],
) -> Option<Act> {
    let world = &person.world;
    let supervisor = match running(cx, s).await {
        Ok(supervisor) => supervisor,
        Err(error) => return Some(Act::Said(world.failure(&error))),
    };
    Some(Act::Said(match (verb, words) {
        ("which", []) => {
            let children = supervisor.which_children().await;
            say(world, children.map(|children| list(world, &children)))
        }
        ("count", []) => say(world, supervisor.count_children().await.map(counts)),
        ("partitions", []) => supervisor.count().to_string(),
        ("route", [key]) => {
            let server = supervisor.find(&integer(key));
            server.map_or("undefined".to_string(), |server| world.label(server.pid()))
        }
        ("call_key", [key, text]) => {
            let key: i64 = key.parse().expect("an integer");
            let call = supervisor
                .server(&key)
                .call_with(Ask(text.to_string()), None);
            person.answer(call.await)
        }
        ("cast_key", [key, text]) => {
            let server = supervisor.server(&integer(key));
            let cast = server.cast(Cast(text.to_string()));
            cast.expect("an unbounded mailbox");
            return Some(Act::Done);
        }
        _ => return None,
    }))
}

fn integer(key: &str) -> i64 {
    key.parse().expect("an integer")
}
