//! Dynamic supervisors on noex: each child with a spec of its own, or all from a template.

use std::sync::Arc;

use noex::prelude::*;
use noex::{ChildError, DynamicChild, ProcessContext, StartError, Stop, Template};

use super::actor::{Person, Server};
use super::tree::{self, counts, ok, registered, say, seconds, spec};
use super::world::World;

/// From a template comes a server that is told its name.
type FromTemplate = DynamicSupervisor<String, ServerRef<Server>>;
type FromTemplateRef = DynamicSupervisorRef<String, ServerRef<Server>>;

enum Kind {
    Specs(DynamicSupervisor),
    Template(FromTemplate),
}

/// `dynamic_supervisor NAME INTENSITY PERIOD [max N] [template RESTART SHUTDOWN]`.
fn supervisor(world: &Arc<World>, name: &str) -> Kind {
    let kind = &world.scenario.actors[name].kind;
    let [_, intensity, period, options @ ..] = &kind[..] else {
        panic!("dynamic_supervisor NAME INTENSITY PERIOD: {name}");
    };
    let (intensity, period) = (intensity.parse().expect("a number"), seconds(period));
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let (max, template) = match &options[..] {
        [] => (None, None),
        ["max", max] => (Some(max), None),
        ["template", restart, shutdown] => (None, Some((restart, shutdown))),
        ["max", max, "template", restart, shutdown] => (Some(max), Some((restart, shutdown))),
        other => panic!("what is {other:?}?"),
    };
    let max = max.map_or(usize::MAX, |max| max.parse().expect("a number"));
    let Some((restart, shutdown)) = template else {
        let supervisor = DynamicSupervisor::new().intensity(intensity);
        let supervisor = supervisor.period(period).max_children(max);
        return Kind::Specs(supervisor.name(registered(name)));
    };
    let world = world.clone();
    let args = move |name: String| (world.clone(), name);
    let mut template = Template::server_with::<Server, _>(args);
    if let Some(restart) = tree::restart(restart) {
        template = template.restart(restart);
    }
    if let Some(shutdown) = tree::shutdown(shutdown) {
        template = template.shutdown(shutdown);
    }
    let supervisor = DynamicSupervisor::with_template(template).intensity(intensity);
    let supervisor = supervisor.period(period).max_children(max);
    Kind::Template(supervisor.name(registered(name)))
}

pub(crate) fn child_spec(world: &Arc<World>, name: &str) -> ChildSpec {
    match supervisor(world, name) {
        Kind::Specs(supervisor) => ChildSpec::dynamic_supervisor(name, supervisor),
        Kind::Template(supervisor) => ChildSpec::dynamic_supervisor(name, supervisor),
    }
}

pub(crate) async fn start_link(
    world: &Arc<World>,
    cx: &ProcessContext,
    s: &str,
) -> Result<(), StartError> {
    let pid = match supervisor(world, s) {
        Kind::Specs(supervisor) => supervisor.start_link(cx).await?.pid(),
        Kind::Template(supervisor) => supervisor.start_link(cx).await?.pid(),
    };
    world.born(pid, s);
    Ok(())
}

enum Running {
    Specs(DynamicSupervisorRef),
    Template(FromTemplateRef),
}

/// The supervisor `s`, if it runs.
fn running(world: &World, cx: &ProcessContext, s: &str) -> Option<Running> {
    let (system, name) = (cx.system(), registered(s));
    let running = match system.dynamic_supervisor(&name) {
        Some(supervisor) => Running::Specs(supervisor),
        None => Running::Template(system.template_supervisor(&name)?),
    };
    let pid = match &running {
        Running::Specs(supervisor) => supervisor.pid(),
        Running::Template(supervisor) => supervisor.pid(),
    };
    world.born(pid, s);
    Some(running)
}

pub(crate) fn stop(
    world: &World,
    cx: &ProcessContext,
    s: &str,
    reason: ExitReason,
) -> Option<Stop> {
    Some(match running(world, cx, s)? {
        Running::Specs(supervisor) => supervisor.stop(reason),
        Running::Template(supervisor) => supervisor.stop(reason),
    })
}

/// Asks a dynamic supervisor; `None`: there is no such request.
pub(crate) async fn request(
    person: &Person,
    cx: &ProcessContext,
    verb: &str,
    s: &str,
    child: &[&str],
) -> Option<String> {
    let world = &person.world;
    let Some(supervisor) = running(world, cx, s) else {
        return Some("failed noproc".to_string());
    };
    Some(match (verb, child) {
        ("start_child", [child]) => {
            let started = match supervisor {
                Running::Specs(supervisor) => {
                    let started = supervisor.start_child(spec(world, child)).await;
                    if let Ok(Some(pid)) = started {
                        world.born(pid, child);
                    }
                    started
                }
                Running::Template(supervisor) => {
                    let started = supervisor.start_child(child.to_string()).await;
                    started.map(|server| server.map(|server| server.pid()))
                }
            };
            let or_ignored = |pid: Option<Pid>| match pid {
                Some(_) => ok(world, pid),
                None => "ignore".to_string(),
            };
            say(world, started.map(or_ignored))
        }
        ("terminate_child", [child]) => {
            let pid = person.pid(cx, child);
            let ended = match supervisor {
                Running::Specs(supervisor) => supervisor.terminate_child(pid).await,
                Running::Template(supervisor) => supervisor.terminate_child(pid).await,
            };
            say(world, ended.map(|()| "ok"))
        }
        ("which", []) => {
            let children = match supervisor {
                Running::Specs(supervisor) => supervisor.which_children().await,
                Running::Template(supervisor) => supervisor.which_children().await,
            };
            names(world, children)
        }
        ("count", []) => {
            let counted = match supervisor {
                Running::Specs(supervisor) => supervisor.count_children().await,
                Running::Template(supervisor) => supervisor.count_children().await,
            };
            say(world, counted.map(counts))
        }
        _ => return None,
    })
}

fn names(world: &World, children: Result<Vec<DynamicChild>, ChildError>) -> String {
    say(
        world,
        children.map(|children| {
            let status = |child: &DynamicChild| tree::status(world, child.status);
            tree::names(children.iter().map(status))
        }),
    )
}
