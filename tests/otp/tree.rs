//! Supervisors on noex: specs from declarations, and what they are asked for.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use noex::prelude::*;
use noex::{ChildError, ChildStatus, Inbox, ProcessContext};

use super::actor::{Packet, Person, Server, live, millis};
use super::scenario::Actor;
use super::world::World;

/// The name under which the supervisor `s` is found.
fn registered(s: &str) -> String {
    format!("supervisor {s}")
}

/// The supervisor that is declared as `name`.
pub(crate) fn supervisor(world: &Arc<World>, name: &str) -> Supervisor {
    let kind = &world.scenario.actors[name].kind;
    let [_, strategy, intensity, period, children @ ..] = &kind[..] else {
        panic!("supervisor NAME STRATEGY INTENSITY PERIOD CHILDREN: {name}");
    };
    let strategy = match strategy.as_str() {
        "one_for_one" => Strategy::OneForOne,
        "one_for_all" => Strategy::OneForAll,
        "rest_for_one" => Strategy::RestForOne,
        other => panic!("what is {other}?"),
    };
    Supervisor::new(strategy)
        .intensity(intensity.parse().expect("a number"))
        .period(Duration::from_secs(period.parse().expect("seconds")))
        .children(children.iter().map(|child| spec(world, child)))
        .name(registered(name))
}

fn spec(world: &Arc<World>, name: &str) -> ChildSpec {
    let actor = &world.scenario.actors[name];
    let (restart, shutdown) = actor.child.as_ref().expect("a child");
    let id = name.to_string();
    let spec = match actor.kind[0].as_str() {
        "server" => ChildSpec::server::<Server>(id, (world.clone(), name.to_string())),
        "supervisor" => ChildSpec::supervisor(id, supervisor(world, name)),
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
    let restart = match restart.as_str() {
        "permanent" => Restart::Permanent,
        "transient" => Restart::Transient,
        "temporary" => Restart::Temporary,
        other => panic!("what is {other}?"),
    };
    let shutdown = match shutdown.as_str() {
        "brutal_kill" => Shutdown::BrutalKill,
        "infinity" => Shutdown::Infinity,
        time => Shutdown::Timeout(millis(time)),
    };
    spec.restart(restart).shutdown(shutdown)
}

/// Makes the supervisor of `child` known, which has no code of its own to do so.
pub(crate) fn parent_of(world: &World, child: &str, cx: &ProcessContext) {
    let is_parent = |actor: &Actor| {
        actor.is("supervisor") && actor.kind.iter().skip(4).any(|name| name == child)
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
    let known = [
        "start_child",
        "restart_child",
        "terminate_child",
        "delete_child",
        "which",
        "count",
    ];
    if !known.contains(&verb) {
        return None;
    }
    let world = &person.world;
    let Some(supervisor) = running(cx, s) else {
        return Some("failed noproc".to_string());
    };
    let who = |pid: Option<Pid>| pid.map_or("undefined".to_string(), |pid| world.label(pid));
    Some(match (verb, child) {
        ("start_child", [child]) => {
            let started = supervisor.start_child(spec(world, child)).await;
            say(world, started.map(|pid| format!("ok {}", who(pid))))
        }
        ("restart_child", [child]) => {
            let started = supervisor.restart_child(child).await;
            say(world, started.map(|pid| format!("ok {}", who(pid))))
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
            say(
                world,
                children.map(|children| {
                    let status = |status| match status {
                        ChildStatus::Running(pid) => world.label(pid),
                        ChildStatus::Stopped => "undefined".to_string(),
                        ChildStatus::Restarting => "restarting".to_string(),
                        other => format!("{other:?}"),
                    };
                    let child = children
                        .iter()
                        .map(|c| format!("{}={}", c.id, status(c.status)));
                    child.collect::<Vec<_>>().join(" ")
                }),
            )
        }
        ("count", []) => say(
            world,
            supervisor.count_children().await.map(|counts| {
                format!(
                    "{} specs, {} active, {} supervisors, {} workers",
                    counts.specs, counts.active, counts.supervisors, counts.workers
                )
            }),
        ),
        _ => return None,
    })
}

fn say(world: &World, result: Result<impl Display, ChildError>) -> String {
    match result {
        Ok(result) => result.to_string(),
        Err(error) => world.child_error(&error),
    }
}
