//! Supervisors on noex: specs from declarations, and what they are asked for.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use noex::prelude::*;
use noex::{
    AutoShutdown, ChildCounts, ChildError, ChildInfo, ChildStatus, Inbox, Machine, ProcessContext,
};

use super::actor::{Packet, Person, Server, live, millis};
use super::event;
use super::machine::Automaton;
use super::scenario::Actor;
use super::world::World;
use super::{agents, dynamic, partitions, tasks};

/// The name under which the supervisor `s` is found.
pub(crate) fn registered(s: &str) -> String {
    format!("supervisor {s}")
}

/// The supervisor that is declared as `name`.
pub(crate) fn supervisor(world: &Arc<World>, name: &str) -> Supervisor {
    let kind = &world.scenario.actors[name].kind;
    let [_, how, intensity, period, children @ ..] = &kind[..] else {
        panic!("supervisor NAME STRATEGY INTENSITY PERIOD CHILDREN: {name}");
    };
    let auto_shutdown = match world.scenario.actors[name].auto_shutdown.as_deref() {
        None | Some("never") => AutoShutdown::Never,
        Some("any_significant") => AutoShutdown::AnySignificant,
        Some("all_significant") => AutoShutdown::AllSignificant,
        Some(other) => panic!("what is {other}?"),
    };
    Supervisor::new(strategy(how))
        .auto_shutdown(auto_shutdown)
        .intensity(intensity.parse().expect("a number"))
        .period(seconds(period))
        .children(children.iter().map(|child| spec(world, child)))
        .name(registered(name))
}

pub(crate) fn strategy(text: &str) -> Strategy {
    match text {
        "one_for_one" => Strategy::OneForOne,
        "one_for_all" => Strategy::OneForAll,
        "rest_for_one" => Strategy::RestForOne,
        other => panic!("what is {other}?"),
    }
}

pub(crate) fn seconds(text: &str) -> Duration {
    Duration::from_secs(text.parse().expect("seconds"))
}

/// `None`: as it is by default.
pub(crate) fn restart(text: &str) -> Option<Restart> {
    Some(match text {
        "permanent" => Restart::Permanent,
        "transient" => Restart::Transient,
        "temporary" => Restart::Temporary,
        "default" => return None,
        other => panic!("what is {other}?"),
    })
}

/// `None`: as it is by default.
pub(crate) fn shutdown(text: &str) -> Option<Shutdown> {
    Some(match text {
        "brutal_kill" => Shutdown::BrutalKill,
        "infinity" => Shutdown::Infinity,
        "default" => return None,
        time => Shutdown::Timeout(millis(time)),
    })
}

pub(crate) fn spec(world: &Arc<World>, name: &str) -> ChildSpec {
    let actor = &world.scenario.actors[name];
    let (how_restarted, how_stopped) = actor.child.as_ref().expect("a child");
    let id = name.to_string();
    let spec = match actor.kind[0].as_str() {
        "server" => ChildSpec::server::<Server>(id, (world.clone(), name.to_string())),
        "machine" => ChildSpec::server::<Machine<Automaton>>(id, (world.clone(), name.to_string())),
        "manager" => event::spec(world, name),
        "supervisor" => ChildSpec::supervisor(id, supervisor(world, name)),
        "agent" => agents::child_spec(world, name),
        "dynamic_supervisor" => dynamic::child_spec(world, name),
        "task_supervisor" => tasks::supervisor(world, name).child_spec(id),
        "partition_supervisor" => {
            ChildSpec::partition_supervisor(id, partitions::supervisor(world, name))
        }
        _ => {
            let (world, name) = (world.clone(), name.to_string());
            ChildSpec::process(id, move |inbox: Inbox<Packet>| {
                parent_of(&world, &name, &inbox);
                live(inbox, world.clone(), name.clone(), false)
            })
        }
    };
    let spec = match actor.registered() {
        Some(name) => spec.name(name),
        None => spec,
    };
    let spec = match restart(how_restarted) {
        Some(restart) => spec.restart(restart),
        None => spec,
    };
    let spec = match shutdown(how_stopped) {
        Some(shutdown) => spec.shutdown(shutdown),
        None => spec,
    };
    spec.significant(actor.significant)
}

/// Makes the supervisor of `child` known, which has no code of its own to do so.
pub(crate) fn parent_of(world: &World, child: &str, cx: &ProcessContext) {
    let is_parent = |actor: &Actor| {
        actor.is("supervisor") && actor.kind.iter().skip(4).any(|name| name == child)
            || partitions::is_of(actor, child)
    };
    let mut actors = world.scenario.actors.iter();
    if let (Some(parent), Some((name, _))) = (cx.parent(), actors.find(|(_, a)| is_parent(a))) {
        world.born(parent, name);
    }
}

/// The supervisor `s`, if it runs.
pub(crate) fn running(cx: &ProcessContext, s: &str) -> Option<SupervisorRef> {
    cx.system().supervisor(registered(s))
}

/// Asks a supervisor; `None`: there is no such request.
pub(crate) async fn request(
    person: &Person,
    cx: &ProcessContext,
    verb: &str,
    s: &str,
    child: &[&str],
) -> Option<String> {
    let world = &person.world;
    let Some(supervisor) = running(cx, s) else {
        return Some("failed noproc".to_string());
    };
    Some(match (verb, child) {
        ("start_child", [child]) => {
            let started = supervisor.start_child(spec(world, child)).await;
            say(world, started.map(|pid| ok(world, pid)))
        }
        ("restart_child", [child]) => {
            let started = supervisor.restart_child(child).await;
            say(world, started.map(|pid| ok(world, pid)))
        }
        ("terminate_child", [child]) => say(
            world,
            supervisor.terminate_child(child).await.map(|()| "ok"),
        ),
        ("delete_child", [child]) => {
            say(world, supervisor.delete_child(child).await.map(|()| "ok"))
        }
        ("which", []) => {
            let children = supervisor.which_children().await;
            say(world, children.map(|children| list(world, &children)))
        }
        ("count", []) => say(world, supervisor.count_children().await.map(counts)),
        _ => return None,
    })
}

pub(crate) fn ok(world: &World, pid: Option<Pid>) -> String {
    let who = pid.map_or("undefined".to_string(), |pid| world.label(pid));
    format!("ok {who}")
}

/// Of children that are in no particular order.
pub(crate) fn names(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    names.sort();
    match names.is_empty() {
        true => "nobody".to_string(),
        false => names.join(" "),
    }
}

pub(crate) fn status(world: &World, status: ChildStatus) -> String {
    match status {
        ChildStatus::Running(pid) => world.label(pid),
        ChildStatus::Stopped => "undefined".to_string(),
        ChildStatus::Restarting => "restarting".to_string(),
        other => format!("{other:?}"),
    }
}

pub(crate) fn list(world: &World, children: &[ChildInfo]) -> String {
    let child = |child: &ChildInfo| format!("{}={}", child.id, status(world, child.status));
    children.iter().map(child).collect::<Vec<_>>().join(" ")
}

pub(crate) fn counts(counts: ChildCounts) -> String {
    let ChildCounts {
        specs,
        active,
        supervisors,
        workers,
        ..
    } = counts;
    format!("{specs} specs, {active} active, {supervisors} supervisors, {workers} workers")
}

pub(crate) fn say(world: &World, result: Result<impl Display, ChildError>) -> String {
    match result {
        Ok(result) => result.to_string(),
        Err(error) => world.child_error(&error),
    }
}
