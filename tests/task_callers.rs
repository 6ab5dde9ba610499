//! On whose behalf a task works: who asked for it, and for that one.

mod support;

use std::future::Future;

use noex::prelude::*;
use noex::task::{async_stream, async_stream_nolink};
use noex::{Agent, Inbox, Task, TaskContext, TaskSupervisor, TaskSupervisorRef};
use support::{DEADLINE, next, on_all, quiet, reports, until};

/// Runs `body` as a process, and gives what it returns.
fn run<T, F>(system: &System, body: impl FnOnce(Inbox<()>) -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (tell, told) = reports();
    let body = move |cx| async move {
        let _ = tell.send(body(cx).await);
    };
    system.spawn(body).expect("a running system");
    next(system, &told)
}

fn tasks(system: &System) -> TaskSupervisorRef {
    let start = TaskSupervisor::new().start(system);
    start.wait_timeout(DEADLINE).expect("a start")
}

async fn callers(cx: TaskContext) -> Vec<Pid> {
    cx.callers()
}

#[test]
fn a_task_knows_who_asked_for_it_and_for_that_one() {
    on_all(|system| {
        let (asker, own, (task, first, (inner, second))) = run(system, |cx| async move {
            let task = Task::async_link(&cx, |cx| async move {
                let inner = Task::async_link(&cx, |cx| async move { (cx.pid(), cx.callers()) });
                (cx.pid(), cx.callers(), inner.await.expect("a value"))
            });
            (cx.pid(), cx.callers(), task.await.expect("a value"))
        });
        assert_eq!(own, [], "it is no task");
        assert_eq!(first, [asker]);
        assert_eq!(second, [task, asker]);
        assert_ne!(inner, task);
    });
}

#[test]
fn an_unlinked_task_has_callers_and_no_parent() {
    on_all(|system| {
        let (asker, (parent, callers)) = run(system, |cx| async move {
            let ask = |cx: TaskContext| async move { (cx.parent(), cx.callers()) };
            let task = Task::async_nolink(&cx.system(), ask);
            (cx.pid(), task.await.expect("a value"))
        });
        assert_eq!((parent, callers), (None, vec![asker]));
    });
}

#[test]
fn a_task_nobody_waits_for_has_callers_too() {
    on_all(|system| {
        let (tell, told) = reports();
        let asker = run(system, |cx| async move {
            let other = tell.clone();
            let start = Task::start(&cx.system(), move |cx| async move {
                let _ = other.send(cx.callers());
            });
            start.expect("a running system");
            let start = Task::start_link(&cx, move |cx| async move {
                let _ = tell.send(cx.callers());
            });
            let task = start.expect("a running system");
            // So that it does not die of this one's end.
            let _ended = cx.system().monitor(task).await;
            cx.pid()
        });
        assert_eq!(next(system, &told), [asker]);
        assert_eq!(next(system, &told), [asker]);
    });
}

#[test]
fn a_task_asked_for_from_outside_has_no_callers() {
    on_all(|system| {
        let task = Task::async_nolink(system, callers);
        assert_eq!(task.wait_timeout(DEADLINE), Ok(vec![]));
        let task = tasks(system).async_nolink(callers).wait();
        let task = task.expect("a start");
        assert_eq!(task.wait_timeout(DEADLINE), Ok(vec![]));
    });
}

#[test]
fn a_supervised_task_comes_from_its_supervisor_and_works_for_its_caller() {
    on_all(|system| {
        let tasks = tasks(system);
        let supervisor = tasks.pid();
        let (asker, (linked, unlinked)) = run(system, |cx| async move {
            let about = |cx: TaskContext| async move { (cx.ancestors(), cx.callers()) };
            let linked = tasks.async_link(&cx, about).await.expect("a start");
            let unlinked = tasks.async_nolink(about).await.expect("a start");
            let linked = linked.await.expect("a value");
            (cx.pid(), (linked, unlinked.await.expect("a value")))
        });
        for (ancestors, callers) in [linked, unlinked] {
            assert_eq!(ancestors.first(), Some(&supervisor));
            assert_eq!(callers, [asker]);
        }
    });
}

#[test]
fn a_task_that_is_started_again_keeps_its_callers() {
    on_all(|system| {
        quiet();
        let tasks = tasks(system);
        let ((once, told_once), (tell, told)) = (reports(), reports());
        let asker = run(system, move |cx| async move {
            let start = tasks.start_child(move |cx| async move {
                let _ = once.send(cx.callers());
            });
            start.await.expect("a start");
            let again = move |cx: TaskContext| {
                let tell = tell.clone();
                async move {
                    let _ = tell.send((cx.pid(), cx.callers()));
                    std::future::pending::<()>().await;
                }
            };
            let start = tasks.start_child_with(Restart::Permanent, Shutdown::BrutalKill, again);
            start.await.expect("a start");
            cx.pid()
        });
        let of_once = next(system, &told_once);
        let (first, of_first) = next(system, &told);
        system.exit(first, ExitReason::Kill);
        let (second, of_second) = next(system, &told);
        assert_ne!(first, second);
        for callers in [of_once, of_first, of_second] {
            assert_eq!(callers, [asker]);
        }
    });
}

#[test]
fn a_task_in_a_tree_was_asked_for_by_its_supervisor() {
    on_all(|system| {
        let (tell, told) = reports();
        let task = Task::child_spec("task", move |cx| {
            let tell = tell.clone();
            async move {
                let _ = tell.send((cx.parent(), cx.callers()));
            }
        });
        let tree = Supervisor::new(Strategy::OneForOne).child(task);
        let tree = tree.start(system).wait_timeout(DEADLINE).expect("a start");
        let (parent, callers) = next(system, &told);
        assert_eq!((parent, callers), (Some(tree.pid()), vec![tree.pid()]));
    });
}

#[test]
fn the_tasks_of_a_stream_work_for_whoever_takes_its_values() {
    on_all(|system| {
        let tasks = tasks(system);
        let (asker, values) = run(system, |cx| async move {
            let about = |_, cx: TaskContext| async move { cx.callers() };
            let mut values = async_stream(&cx, 0..2, about).collect().await;
            values.extend(
                async_stream_nolink(&cx.system(), 0..2, about)
                    .collect()
                    .await,
            );
            values.extend(tasks.async_stream(&cx, 0..2, about).collect().await);
            values.extend(tasks.async_stream_nolink(0..2, about).collect().await);
            (cx.pid(), values)
        });
        assert_eq!(values, vec![Ok(vec![asker]); 8]);
    });
}

#[test]
fn what_is_no_task_has_no_callers_though_a_task_starts_it() {
    on_all(|system| {
        let (spawned, kept) = run(system, |cx| async move {
            let task = Task::async_link(&cx, |cx| async move {
                let (tell, told) = reports();
                let spawn = cx.spawn_link(move |cx: Inbox<()>| async move {
                    let _ = tell.send(cx.callers());
                });
                let spawned = spawn.expect("a running system");
                let _ended = cx.system().monitor(spawned.pid()).await;
                let agent = Agent::start_link(&cx, || 0).await.expect("a start");
                let info = cx.system().process_info(agent.pid()).await;
                let info = info.expect("it lives");
                (told.try_recv().expect("it has said so"), info.callers)
            });
            task.await.expect("a value")
        });
        assert_eq!((spawned, kept), (vec![], vec![]));
    });
}

#[test]
fn others_can_ask_for_the_callers_of_a_task() {
    on_all(|system| {
        let (asker, task) = run(system, |cx| async move {
            let wait = |_| std::future::pending::<()>();
            (cx.pid(), Task::async_nolink(&cx.system(), wait).pid())
        });
        let task = task.expect("it has a process");
        until(system, || !system.is_alive(asker));
        let info = system.process_info(task).wait_timeout(DEADLINE);
        assert_eq!(info.expect("it lives").callers, [asker], "dead ones too");
    });
}
