//! Supervisors of tasks: what they start, how many, and what ends with them.

mod support;

use std::future::{Future, pending};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use noex::prelude::*;
use noex::task::await_many;
use noex::{
    CallError, ChildKind, Event, Inbox, Received, Recipient, TaskContext, TaskError,
    TaskSupervisor, TaskSupervisorRef,
};
use support::{DEADLINE, end_of, gate, next, on_all, on_all_built, quiet, reports, until};

const SHORT: Duration = Duration::from_millis(5);

/// Runs `body` as a process, and gives what it returns.
fn run<T, F>(system: &System, body: impl FnOnce(Inbox<()>) -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (tell, told) = reports();
    spawn(system, move |cx| async move {
        let _ = tell.send(body(cx).await);
    });
    next(system, &told)
}

fn spawn<F>(system: &System, body: impl FnOnce(Inbox<()>) -> F + Send + 'static) -> Recipient<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    system.spawn(body).expect("a running system")
}

fn tasks(system: &System) -> TaskSupervisorRef {
    let start = TaskSupervisor::new().start(system);
    start.wait_timeout(DEADLINE).expect("a start")
}

fn children(tasks: &TaskSupervisorRef) -> Vec<Pid> {
    tasks.children().wait().expect("an answer")
}

async fn crash(_: TaskContext) -> u32 {
    panic!("as it should")
}

fn is_panic(reason: &ExitReason) -> bool {
    matches!(reason, ExitReason::Panic(panic) if panic.message() == "as it should")
}

#[test]
fn a_task_has_its_supervisor_as_parent_and_its_owner_as_owner() {
    on_all(|system| {
        let tasks = tasks(system);
        let supervisor = tasks.pid();
        let (owner, of, value) = run(system, move |cx| async move {
            let task = tasks.async_link(&cx, |cx| async move { cx.parent() });
            let task = task.await.expect("a start");
            (cx.pid(), task.owner(), task.await)
        });
        assert_eq!(of, Some(owner));
        assert_eq!(value, Ok(Some(supervisor)));
    });
}

#[test]
fn a_crash_of_a_linked_task_takes_its_owner_along_but_not_its_supervisor() {
    on_all(|system| {
        let tasks = tasks(system);
        let (tell, told) = reports::<String>();
        let of_owner = tasks.clone();
        let owner = spawn(system, move |cx| async move {
            let task = of_owner.async_link(&cx, crash).await.expect("a start");
            let _ = tell.send(format!("{:?}", task.await));
        });
        assert!(is_panic(&end_of(system, &owner)));
        assert!(told.recv().is_err(), "it went on");
        until(system, || children(&tasks).is_empty());
        assert!(tasks.is_alive());
    });
}

#[test]
fn a_crash_of_an_unlinked_task_is_an_error_and_nothing_else() {
    on_all(|system| {
        let tasks = tasks(system);
        let end = run(system, move |cx| async move {
            let end = tasks.async_nolink(crash).await.expect("a start").await;
            cx.yield_now().await;
            end
        });
        assert!(matches!(end, Err(TaskError::Exited(reason)) if is_panic(&reason)));
    });
}

#[test]
fn the_owners_death_ends_a_linked_task_and_no_other() {
    on_all(|system| {
        let tasks = tasks(system);
        let (tell, told) = reports();
        let of_owner = tasks.clone();
        let owner = spawn(system, move |cx| async move {
            let linked = of_owner.async_link(&cx, |_| pending::<()>()).await;
            let unlinked = of_owner.async_nolink(|_| pending::<()>()).await;
            let (linked, unlinked) = (linked.expect("a start"), unlinked.expect("a start"));
            let _ = tell.send((linked.pid(), unlinked.pid()));
            let _ = linked.await_for(None).await;
        });
        let (linked, unlinked) = next(system, &told);
        let monitor = system.monitor(linked.expect("a process"));
        system.exit(owner.pid(), ExitReason::Timeout);
        let down = monitor.wait_timeout(DEADLINE).expect("its end");
        assert_eq!(down.reason, ExitReason::Timeout);
        until(system, || children(&tasks).len() == 1);
        assert_eq!(children(&tasks), [unlinked.expect("a process")]);
    });
}

#[test]
fn a_start_that_is_dropped_begins_no_work() {
    on_all(|system| {
        let tasks = tasks(system);
        let began = Arc::new(AtomicBool::new(false));
        let flag = began.clone();
        let of_owner = tasks.clone();
        run(system, move |_| async move {
            drop(of_owner.async_nolink(move |_| async move { flag.store(true, SeqCst) }));
        });
        // Behind the request.
        children(&tasks);
        until(system, || children(&tasks).is_empty());
        assert!(!began.load(SeqCst));
    });
}

#[test]
fn a_start_is_its_owners_alone() {
    on_all(|system| {
        let tasks = tasks(system);
        let (hand, handed) = reports();
        let of_owner = tasks.clone();
        let owner = spawn(system, move |cx| async move {
            let _ = hand.send(of_owner.async_link(&cx, |_| async {}));
            pending::<()>().await;
        });
        match next(system, &handed).wait_timeout(DEADLINE) {
            Err(TaskError::NotOwner(pid)) => assert_eq!(pid, owner.pid()),
            other => panic!("{other:?}"),
        }
        until(system, || children(&tasks).is_empty());
        assert!(system.is_alive(owner.pid()));
    });
}

#[test]
fn tasks_are_started_and_awaited_outside_any_process() {
    on_all(|system| {
        let tasks = tasks(system);
        let started: Vec<_> = (0..3)
            .map(|n| tasks.async_nolink(move |_| async move { n }))
            .map(|start| start.wait_timeout(DEADLINE).expect("a start"))
            .collect();
        assert!(started.iter().all(|task| task.owner().is_none()));
        assert_eq!(await_many(started, DEADLINE).wait(), Ok(vec![0, 1, 2]));
    });
}

#[test]
fn the_supervisors_end_is_what_its_tasks_awaiters_hear() {
    on_all(|system| {
        let tasks = tasks(system);
        let task = tasks.async_nolink(|_| pending::<()>()).wait();
        let task = task.expect("a start");
        tasks.stop(ExitReason::Normal).wait().expect("its end");
        let end = TaskError::Exited(ExitReason::Shutdown(None));
        assert_eq!(task.wait_timeout(DEADLINE), Err(end));
        match tasks.async_nolink(|_| async {}).wait() {
            Err(TaskError::Call(CallError::Exited(ExitReason::Normal))) => {}
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn there_are_no_more_tasks_than_may_be() {
    on_all(|system| {
        let tasks = TaskSupervisor::new().max_children(2).start(system);
        let tasks = tasks.wait().expect("a start");
        let first = tasks.async_nolink(|_| pending::<()>()).wait();
        let second = tasks.start_child(|_| pending::<()>()).wait();
        let second = second.expect("a start");
        let third = tasks.async_nolink(|_| async {}).wait();
        assert_eq!(third.map(drop), Err(TaskError::MaxChildren));
        let third = tasks.start_child(|_| async {}).wait();
        assert_eq!(third, Err(TaskError::MaxChildren));
        assert_eq!(children(&tasks).len(), 2);
        // The place of one that is gone is free.
        assert_eq!(tasks.terminate_child(second).wait(), Ok(true));
        let third = tasks.start_child(|_| pending::<()>()).wait();
        let first = first.expect("a start").pid().expect("a process");
        assert_eq!(children(&tasks), [first, third.expect("a start")]);
    });
}

#[test]
fn a_task_that_is_terminated_is_ended_as_it_wants_to_be() {
    on_all(|system| {
        let tasks = tasks(system);
        for (shutdown, expected) in [
            (Shutdown::BrutalKill, ExitReason::Killed),
            (Shutdown::Timeout(SHORT), ExitReason::Killed),
            (Shutdown::Infinity, ExitReason::Timeout),
        ] {
            let (at, open) = gate();
            let work = move |mut cx: TaskContext| {
                let open = open.clone();
                async move {
                    cx.trap_exit(true);
                    open.open();
                    match cx.recv().await {
                        Received::Exit(_) if shutdown == Shutdown::Infinity => ExitReason::Timeout,
                        _ => pending().await,
                    }
                }
            };
            let pid = tasks
                .start_child_with(Restart::Temporary, shutdown, work)
                .wait();
            let pid = pid.expect("a start");
            run(system, |_| at);
            let monitor = system.monitor(pid);
            assert_eq!(tasks.terminate_child(pid).wait(), Ok(true));
            assert!(!system.is_alive(pid), "before the answer");
            let down = monitor.wait_timeout(DEADLINE).expect("its end");
            assert_eq!(down.reason, expected, "{shutdown:?}");
            assert_eq!(tasks.terminate_child(pid).wait(), Ok(false));
        }
    });
}

#[test]
fn two_may_terminate_the_same_task() {
    on_all(|system| {
        let tasks = tasks(system);
        let pid = tasks.start_child(|_| pending::<()>()).wait();
        let pid = pid.expect("a start");
        let (one, two) = (tasks.terminate_child(pid), tasks.terminate_child(pid));
        assert_eq!((one.wait(), two.wait()), (Ok(true), Ok(true)));
    });
}

#[test]
fn only_what_is_to_be_restarted_is() {
    on_all(|system| {
        let tasks = TaskSupervisor::new().intensity(10).start(system);
        let tasks = tasks.wait().expect("a start");
        // Each ends as the first letter says the first time, and then never.
        let start = |restart: Restart, ends: fn() -> ExitReason| {
            let runs = Arc::new(AtomicUsize::new(0));
            let count = runs.clone();
            let work = move |_: TaskContext| {
                let first = count.fetch_add(1, SeqCst) == 0;
                async move {
                    match first {
                        true => ends(),
                        false => pending().await,
                    }
                }
            };
            let pid = tasks
                .start_child_with(restart, Shutdown::BrutalKill, work)
                .wait()
                .expect("a start");
            until(system, || !system.is_alive(pid));
            until(system, || !children(&tasks).contains(&pid));
            let again = children(&tasks).len();
            children(&tasks).into_iter().for_each(|pid| {
                tasks.terminate_child(pid).wait().expect("an answer");
            });
            again
        };
        let normal = || ExitReason::Normal;
        let failed = || ExitReason::Timeout;
        assert_eq!(start(Restart::Temporary, failed), 0);
        assert_eq!(start(Restart::Transient, normal), 0);
        assert_eq!(start(Restart::Transient, || ExitReason::Shutdown(None)), 0);
        assert_eq!(start(Restart::Transient, failed), 1);
        assert_eq!(start(Restart::Permanent, normal), 1);
    });
}

#[test]
fn a_task_that_was_terminated_is_not_restarted() {
    on_all(|system| {
        let tasks = tasks(system);
        let work = |_: TaskContext| pending::<()>();
        let pid = tasks
            .start_child_with(Restart::Permanent, Shutdown::BrutalKill, work)
            .wait();
        assert_eq!(
            tasks.terminate_child(pid.expect("a start")).wait(),
            Ok(true)
        );
        assert_eq!(children(&tasks), []);
    });
}

#[test]
fn one_restart_too_many_ends_the_supervisor_and_its_tasks() {
    let (tell, gave_up) = reports();
    let builder = move || {
        let tell = tell.clone();
        quiet().on_event(move |event| {
            if let Event::GaveUp { pid, .. } = event {
                let _ = tell.send(*pid);
            }
        })
    };
    on_all_built(builder, |system| {
        let tasks = TaskSupervisor::new().intensity(2).start(system);
        let tasks = tasks.wait().expect("a start");
        let other = tasks.async_nolink(|_| pending::<()>()).wait();
        let runs = Arc::new(AtomicUsize::new(0));
        let count = runs.clone();
        let work = move |_: TaskContext| {
            count.fetch_add(1, SeqCst);
            async { ExitReason::Timeout }
        };
        let started = tasks
            .start_child_with(Restart::Permanent, Shutdown::BrutalKill, work)
            .wait();
        started.expect("a start");
        until(system, || !tasks.is_alive());
        assert_eq!(tasks.exit_reason(), Some(ExitReason::Shutdown(None)));
        assert_eq!(runs.load(SeqCst), 3);
        let end = other.expect("a start").wait_timeout(DEADLINE);
        assert_eq!(end, Err(TaskError::Exited(ExitReason::Shutdown(None))));
        assert_eq!(gave_up.try_iter().collect::<Vec<_>>(), [tasks.pid()]);
    });
}

#[test]
fn all_tasks_are_told_to_end_at_once_and_waited_for() {
    on_all(|system| {
        let tasks = tasks(system);
        let (tell, told) = reports();
        let met = Arc::new(AtomicUsize::new(0));
        // Each goes only when all have been told.
        let pids: Vec<Pid> = (0..3)
            .map(|n| {
                let (tell, met) = (tell.clone(), met.clone());
                let (at, open) = gate();
                let work = move |mut cx: TaskContext| async move {
                    cx.trap_exit(true);
                    open.open();
                    let _ = cx.recv().await;
                    met.fetch_add(1, SeqCst);
                    while met.load(SeqCst) < 3 {
                        cx.sleep(Duration::from_micros(1)).await;
                    }
                    let _ = tell.send(n);
                };
                let pid = tasks.start_child(work).wait().expect("a start");
                run(system, |_| at);
                pid
            })
            .collect();
        tasks.stop(ExitReason::Normal).wait().expect("its end");
        assert!(pids.into_iter().all(|pid| !system.is_alive(pid)));
        let mut ended: Vec<i32> = told.try_iter().collect();
        ended.sort_unstable();
        assert_eq!(ended, [0, 1, 2]);
    });
}

#[test]
fn a_task_that_does_not_end_with_its_supervisor_is_killed() {
    on_all(|system| {
        let tasks = tasks(system);
        let (at, open) = gate();
        let work = move |cx: TaskContext| async move {
            cx.trap_exit(true);
            open.open();
            pending::<()>().await;
        };
        let task = tasks.async_nolink_with(Shutdown::Timeout(SHORT), work);
        let task = task.wait().expect("a start");
        run(system, |_| at);
        tasks.stop(ExitReason::Normal).wait().expect("its end");
        let end = task.wait_timeout(DEADLINE);
        assert_eq!(end, Err(TaskError::Exited(ExitReason::Killed)));
    });
}

#[test]
fn a_supervisor_that_is_killed_takes_its_tasks_along() {
    on_all(|system| {
        let tasks = tasks(system);
        let task = tasks.async_nolink(|_| pending::<()>()).wait();
        system.exit(tasks.pid(), ExitReason::Kill);
        let end = task.expect("a start").wait_timeout(DEADLINE);
        assert_eq!(end, Err(TaskError::Exited(ExitReason::Killed)));
    });
}

#[test]
fn it_is_found_by_its_name_and_part_of_a_tree() {
    on_all(|system| {
        let tree = Supervisor::new(Strategy::OneForOne)
            .child(TaskSupervisor::new().name("tasks").child_spec("tasks"))
            .start(system)
            .wait()
            .expect("a start");
        let infos = tree.which_children().wait().expect("an answer");
        assert_eq!(infos[0].kind, ChildKind::Supervisor);
        let tasks = system.task_supervisor("tasks").expect("it has the name");
        let task = tasks.async_nolink(|_| async { 7 }).wait();
        assert_eq!(task.expect("a start").wait_timeout(DEADLINE), Ok(7));
        let first = tasks.pid();
        system.exit(first, ExitReason::Kill);
        until(system, || {
            let tasks = system.task_supervisor("tasks");
            tasks.is_some_and(|tasks| tasks.pid() != first)
        });
        let taken = TaskSupervisor::new().name("tasks").start(system).wait();
        assert!(matches!(taken, Err(noex::StartError::AlreadyStarted(_))));
        tree.stop(ExitReason::Normal).wait().expect("its end");
        assert!(system.task_supervisor("tasks").is_none());
    });
}

#[test]
fn it_ends_with_the_process_it_is_linked_to() {
    on_all(|system| {
        let (tell, told) = reports();
        let parent = spawn(system, move |cx| async move {
            let tasks = TaskSupervisor::new().start_link(&cx).await;
            let tasks = tasks.expect("a start");
            let task = tasks.async_nolink(|_| pending::<()>()).await;
            let _ = tell.send((tasks.pid(), task.expect("a start").pid()));
            pending::<()>().await;
        });
        let (tasks, task) = next(system, &told);
        let (tasks, task) = (
            system.monitor(tasks),
            system.monitor(task.expect("a process")),
        );
        system.exit(parent.pid(), ExitReason::Timeout);
        let down = tasks.wait_timeout(DEADLINE).expect("its end");
        assert_eq!(down.reason, ExitReason::Timeout);
        let down = task.wait_timeout(DEADLINE).expect("its end");
        assert_eq!(down.reason, ExitReason::Shutdown(None));
    });
}

#[test]
fn an_exit_signal_of_a_task_that_lives_is_not_its_end() {
    on_all(|system| {
        let tasks = tasks(system);
        let supervisor = tasks.pid();
        let (at, open) = gate();
        let work = move |cx: TaskContext| async move {
            cx.exit(supervisor, ExitReason::Timeout);
            open.open();
            pending::<()>().await;
        };
        let pid = tasks.start_child(work).wait().expect("a start");
        run(system, |_| at);
        assert_eq!(children(&tasks), [pid]);
    });
}

#[test]
fn a_stream_runs_its_tasks_under_the_supervisor() {
    on_all(|system| {
        let tasks = tasks(system);
        let supervisor = tasks.pid();
        for linked in [true, false] {
            let tasks = tasks.clone();
            let values = run(system, move |cx| async move {
                let work = |n: u32, cx: TaskContext| async move { (n, cx.parent()) };
                match linked {
                    true => tasks.async_stream(&cx, 0..6, work).max_concurrency(2),
                    false => tasks.async_stream_nolink(0..6, work).max_concurrency(2),
                }
                .collect()
                .await
            });
            let expected = (0..6).map(|n| Ok((n, Some(supervisor))));
            assert_eq!(values, expected.collect::<Vec<_>>());
        }
        until(system, || children(&tasks).is_empty());
        let outside = tasks.async_stream_nolink(0..3, |n: u32, _| async move { n });
        assert_eq!(outside.collect().wait(), [Ok(0), Ok(1), Ok(2)]);
    });
}

#[test]
fn a_stream_for_which_there_is_no_room_ends() {
    on_all(|system| {
        let tasks = TaskSupervisor::new().max_children(2).start(system);
        let tasks = tasks.wait().expect("a start");
        let of_owner = tasks.clone();
        let (end, after) = run(system, move |_| async move {
            let stream = of_owner.async_stream_nolink(0..9u32, |_, _| pending::<()>());
            let mut stream = stream.max_concurrency(3);
            (stream.next_value().await, stream.next_value().await)
        });
        assert_eq!((end, after), (Some(Err(TaskError::MaxChildren)), None));
        until(system, || children(&tasks).is_empty());
    });
}

#[test]
fn a_crash_in_a_linked_stream_takes_the_owner_along_but_not_the_supervisor() {
    on_all(|system| {
        let tasks = tasks(system);
        let of_owner = tasks.clone();
        let owner = spawn(system, move |cx| async move {
            let mut stream = of_owner.async_stream(&cx, 0..2, |n: u32, _| async move {
                assert!(n != 1, "as it should");
                pending::<()>().await;
            });
            stream = stream.max_concurrency(2);
            stream.next_value().await;
        });
        assert!(is_panic(&end_of(system, &owner)));
        until(system, || children(&tasks).is_empty());
        assert!(tasks.is_alive());
    });
}

#[test]
fn who_asked_for_the_end_of_a_task_hears_of_it_though_the_supervisor_stops_meanwhile() {
    on_all(|system| {
        let tasks = tasks(system);
        let (shut, open) = gate();
        let (tell, told) = reports();
        let child = tasks.start_child(move |cx: TaskContext| async move {
            cx.trap_exit(true);
            let _ = tell.send(());
            shut.await;
        });
        let pid = child.wait_timeout(DEADLINE).expect("a start");
        next(system, &told);
        let ended = tasks.terminate_child(pid);
        let stopped = tasks.stop(ExitReason::Normal);
        // Both are with the supervisor before the task may end.
        support::pump(system);
        open.open();
        assert_eq!(ended.wait_timeout(DEADLINE), Ok(true));
        assert_eq!(stopped.wait_timeout(DEADLINE), Ok(()));
    });
}

#[test]
fn work_for_which_there_is_no_room_may_panic_as_it_is_dropped() {
    struct Rude;
    impl Drop for Rude {
        fn drop(&mut self) {
            panic!("rude");
        }
    }
    on_all(|system| {
        let tasks = TaskSupervisor::new().max_children(0).start(system);
        let tasks = tasks.wait_timeout(DEADLINE).expect("a start");
        let rude = Rude;
        let refused = tasks.start_child(move |_| async move {
            let _rude = rude;
        });
        assert_eq!(refused.wait_timeout(DEADLINE), Err(TaskError::MaxChildren));
        assert!(tasks.is_alive());
    });
}
