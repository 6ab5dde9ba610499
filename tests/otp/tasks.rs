//! Tasks on noex, streams of them, and their supervisors.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use noex::prelude::*;
use noex::task::{AsyncStream, OnTimeout, async_stream, await_many, yield_many};
use noex::{
    ExitReason, ProcessContext, StartError, Task, TaskContext, TaskError, TaskSupervisor,
    TaskSupervisorRef,
};

use super::actor::{Act, Life, Person, errand, millis, task};
use super::tree::{self, registered, seconds};
use super::world::World;

/// The work of the task `name`: one that is waited for.
fn work(
    world: &Arc<World>,
    name: &str,
) -> impl Fn(TaskContext) -> Life<String> + Send + Sync + 'static {
    let (world, name) = (world.clone(), name.to_string());
    move |inbox| task(inbox, world.clone(), name.clone())
}

/// And of one that is not.
fn errands(
    world: &Arc<World>,
    name: &str,
) -> impl Fn(TaskContext) -> Life<ExitReason> + Send + Sync + 'static {
    let (world, name) = (world.clone(), name.to_string());
    move |inbox| errand(inbox, world.clone(), name.clone())
}

fn time(text: &str) -> Option<Duration> {
    (text != "infinity").then(|| millis(text))
}

impl World {
    /// What a look at a task gave.
    fn end_of(&self, end: Option<Result<String, TaskError>>) -> String {
        match end {
            None => "nil".to_string(),
            Some(Ok(value)) => format!("ok {value}"),
            Some(Err(TaskError::Exited(why))) => format!("exit {}", self.text(&why)),
            Some(Err(error)) => self.task_failure(&error),
        }
    }

    fn task(&self, name: &str) -> Task<String> {
        let task = self.take_task(name);
        task.unwrap_or_else(|| panic!("a script: who is the task {name}?"))
    }
}

/// What is done with tasks; `None`: something else.
pub(crate) async fn act(person: &mut Person, cx: &ProcessContext, command: &[&str]) -> Option<Act> {
    let world = person.world.clone();
    let said = match command {
        ["task_start", t] => {
            let pid = Task::start(&cx.system(), errands(&world, t)).expect("a running system");
            world.born(pid, t);
            return Some(Act::Done);
        }
        ["task_start_link", t] => {
            let pid = Task::start_link(cx, errands(&world, t)).expect("a running system");
            world.born(pid, t);
            return Some(Act::Done);
        }
        ["async", t] => {
            world.keep_task(t, Task::async_link(cx, work(&world, t)));
            return Some(Act::Done);
        }
        ["async_in", sup, t] => supervised(&world, cx, true, sup, t).await,
        ["async_nolink", sup, t] => supervised(&world, cx, false, sup, t).await,
        ["complete", t, value] => {
            world.keep_task(t, Task::completed(value.to_string()));
            return Some(Act::Done);
        }
        ["await", t] => value(&world, world.task(t).await),
        ["await", t, at_most] => value(&world, world.task(t).await_for(time(at_most)).await),
        ["await_many", at_most, names @ ..] => {
            let tasks: Vec<_> = names.iter().map(|t| world.task(t)).collect();
            let values = await_many(tasks, time(at_most)).await;
            value(&world, values.map(|values| values.join(" ")))
        }
        ["yield", t, at_most] => {
            let mut task = world.task(t);
            let end = task.yield_for(time(at_most)).await;
            world.keep_task(t, task);
            world.end_of(end)
        }
        ["yield_many", at_most, names @ ..] => {
            let mut tasks: Vec<_> = names.iter().map(|t| world.task(t)).collect();
            let ends = yield_many(&mut tasks, time(at_most)).await;
            for (t, task) in names.iter().zip(tasks) {
                world.keep_task(t, task);
            }
            let ends = ends.into_iter().map(|end| world.end_of(end));
            ends.collect::<Vec<_>>().join(", ")
        }
        ["shutdown", t, how] => {
            let how = tree::shutdown(how).expect("no default");
            let end = world.task(t).shutdown(how).await;
            world.end_of(end)
        }
        ["ignore", t] => {
            let end = world.task(t).ignore();
            world.end_of(end)
        }
        ["stream", words @ ..] => stream(person, cx, words).await,
        _ => return None,
    };
    Some(Act::Said(said))
}

fn value(world: &World, value: Result<String, TaskError>) -> String {
    value.unwrap_or_else(|error| world.task_failure(&error))
}

// ---------------------------------------------------------------------------------- streams

/// `stream KEY=VALUE .. ITEM ..`: a task for each item, which has its name.
async fn stream(person: &Person, cx: &ProcessContext, words: &[&str]) -> String {
    let world = &person.world;
    let options = words.iter().filter_map(|word| word.split_once('='));
    let options: HashMap<&str, &str> = options.collect();
    let takes = world.clone();
    let me = person.label.clone();
    let items = words.iter().filter(|word| !word.contains('='));
    let items: Vec<String> = items.map(|item| item.to_string()).collect();
    let items = items.into_iter().inspect(move |item| {
        takes.log(&me, format!("stream takes {item}"));
    });
    let in_task = world.clone();
    let work = move |name: String, inbox| task(inbox, in_task.clone(), name);

    let under = options.get("under").or(options.get("nolink"));
    let Some(sup) = under else {
        return consume(person, cx, &options, async_stream(cx, items, work)).await;
    };
    let Some(supervisor) = running(cx, sup) else {
        return "failed noproc".to_string();
    };
    match options.contains_key("nolink") {
        true => {
            consume(
                person,
                cx,
                &options,
                supervisor.async_stream_nolink(items, work),
            )
            .await
        }
        false => {
            consume(
                person,
                cx,
                &options,
                supervisor.async_stream(cx, items, work),
            )
            .await
        }
    }
}

async fn consume<I: Iterator<Item = String>>(
    person: &Person,
    cx: &ProcessContext,
    options: &HashMap<&str, &str>,
    mut stream: AsyncStream<I, String>,
) -> String {
    // As many as `erl` has schedulers in tests/otp/erlang.rs.
    let mut max = 2;
    let mut on_timeout = OnTimeout::Exit;
    let mut wanted = usize::MAX;
    let mut busy = None;
    for (option, value) in options {
        match (*option, *value) {
            ("max", tasks) => max = tasks.parse().expect("a number"),
            ("ordered", ordered) => stream = stream.ordered(ordered == "true"),
            ("timeout", at_most) => stream = stream.timeout(time(at_most)),
            ("on_timeout", "kill_task") => on_timeout = OnTimeout::KillTask,
            ("busy", time) => busy = Some(millis(time)),
            ("take", count) => wanted = count.parse().expect("a number"),
            _ => {}
        }
    }
    stream = stream.max_concurrency(max).on_timeout(on_timeout);
    for _ in 0..wanted {
        let end = match stream.next_value().await {
            None => break,
            Some(Err(TaskError::Timeout)) if on_timeout == OnTimeout::KillTask => {
                "exit timeout".to_string()
            }
            Some(Err(error)) if !matches!(error, TaskError::Exited(_)) => {
                return person.world.task_failure(&error);
            }
            end => person.world.end_of(end),
        };
        person.log(format!("stream gives {end}"));
        if let Some(time) = busy.take() {
            cx.sleep(time).await;
        }
    }
    "ended".to_string()
}

// ---------------------------------------------------------------------------------- supervisors

/// `task_supervisor NAME INTENSITY PERIOD [max N]`.
pub(crate) fn supervisor(world: &Arc<World>, name: &str) -> TaskSupervisor {
    let kind = &world.scenario.actors[name].kind;
    let [_, intensity, period, max @ ..] = &kind[..] else {
        panic!("task_supervisor NAME INTENSITY PERIOD: {name}");
    };
    let supervisor = TaskSupervisor::new()
        .intensity(intensity.parse().expect("a number"))
        .period(seconds(period))
        .name(registered(name));
    match max {
        [_, max] => supervisor.max_children(max.parse().expect("a number")),
        _ => supervisor,
    }
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
pub(crate) fn running(cx: &ProcessContext, s: &str) -> Option<TaskSupervisorRef> {
    cx.system().task_supervisor(registered(s))
}

/// How a task that is declared as a child is treated.
fn treatment(world: &World, t: &str) -> (Restart, Shutdown) {
    let (restart, shutdown) = match &world.scenario.actors[t].child {
        Some((restart, shutdown)) => (tree::restart(restart), tree::shutdown(shutdown)),
        None => (None, None),
    };
    (
        restart.unwrap_or(Restart::Temporary),
        shutdown.unwrap_or(Shutdown::Timeout(Duration::from_secs(5))),
    )
}

async fn supervised(
    world: &Arc<World>,
    cx: &ProcessContext,
    link: bool,
    sup: &str,
    t: &str,
) -> String {
    let Some(supervisor) = running(cx, sup) else {
        return "failed noproc".to_string();
    };
    let ((_, shutdown), work) = (treatment(world, t), work(world, t));
    let started = match link {
        true => supervisor.async_link_with(cx, shutdown, work).await,
        false => supervisor.async_nolink_with(shutdown, work).await,
    };
    match started {
        Ok(task) => {
            world.keep_task(t, task);
            "ok".to_string()
        }
        Err(error) => world.task_failure(&error),
    }
}

/// Asks a supervisor of tasks; `None`: there is no such request.
pub(crate) async fn request(
    person: &Person,
    cx: &ProcessContext,
    verb: &str,
    s: &str,
    words: &[&str],
) -> Option<String> {
    let world = &person.world;
    let Some(supervisor) = running(cx, s) else {
        return Some("failed noproc".to_string());
    };
    Some(match (verb, words) {
        ("start_child", [t]) => {
            let ((restart, shutdown), work) = (treatment(world, t), errands(world, t));
            match supervisor.start_child_with(restart, shutdown, work).await {
                Ok(pid) => {
                    world.born(pid, t);
                    tree::ok(world, Some(pid))
                }
                Err(TaskError::MaxChildren) => "error max_children".to_string(),
                Err(error) => world.task_failure(&error),
            }
        }
        ("terminate_child", [t]) => match supervisor.terminate_child(person.pid(cx, t)).await {
            Ok(true) => "ok".to_string(),
            Ok(false) => "error not_found".to_string(),
            Err(error) => world.failure(&error),
        },
        ("children", []) => match supervisor.children().await {
            Ok(pids) => tree::names(pids.iter().map(|pid| world.label(*pid))),
            Err(error) => world.failure(&error),
        },
        _ => return None,
    })
}
