//! Tasks: their values and ends, their owners, and what links do.

mod support;

use std::future::{Future, pending};
use std::time::Duration;

use noex::prelude::*;
use noex::task::{await_many, yield_many};
use noex::{
    CallError, Inbox, MailboxPolicy, Overflow, Received, Recipient, Task, TaskContext, TaskError,
};
use support::{DEADLINE, end_of, gate, next, on_all, quiet, reports, until};

const LONG: Duration = Duration::from_secs(3600);
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

/// How a process ends, once it has.
async fn end(cx: &Inbox<()>, pid: Pid) -> ExitReason {
    cx.system().monitor(pid).await.expect("its end").reason
}

fn exited<R: std::fmt::Debug>(end: Result<R, TaskError>) -> ExitReason {
    match end {
        Err(TaskError::Exited(reason)) => reason,
        other => panic!("it should have ended without a value: {other:?}"),
    }
}

async fn crash(_: TaskContext) -> u32 {
    crash_as()
}

fn crash_as<T>() -> T {
    panic!("as it should")
}

fn is_panic(reason: &ExitReason) -> bool {
    matches!(reason, ExitReason::Panic(panic) if panic.message() == "as it should")
}

#[test]
fn a_task_gives_its_value_to_its_owner() {
    on_all(|system| {
        let (owner, pid, value) = run(system, |cx| async move {
            let task = Task::async_link(&cx, |cx| async move { (cx.pid(), cx.parent()) });
            assert_eq!(task.owner(), Some(cx.pid()));
            let pid = task.pid();
            (cx.pid(), pid, task.await)
        });
        let (task, parent) = value.expect("a value");
        assert_eq!((Some(task), Some(owner)), (pid, parent));
    });
}

#[test]
fn an_error_that_the_work_returns_is_a_value() {
    on_all(|system| {
        let value = run(system, |cx| async move {
            Task::async_link(&cx, |_| async { "x".parse::<u8>() }).await
        });
        assert!(value.expect("a value").is_err());
    });
}

#[test]
fn a_crash_takes_the_owner_along_which_never_sees_the_error() {
    on_all(|system| {
        let (tell, told) = reports::<String>();
        let owner = spawn(system, move |cx| async move {
            let end = Task::async_link(&cx, crash).await;
            let _ = tell.send(format!("{end:?}"));
        });
        assert!(is_panic(&end_of(system, &owner)));
        assert!(told.recv().is_err(), "it went on");
    });
}

#[test]
fn a_crash_that_was_there_before_the_await_takes_the_owner_along_too() {
    let system = quiet().schedulers(4).build().expect("threads");
    for _ in 0..50 {
        let (tell, told) = reports::<String>();
        let owner = spawn(&system, move |cx| async move {
            let task = Task::async_link(&cx, crash);
            let pid = task.pid().expect("a process");
            // Without an `.await`, at which the signal would act.
            let end = std::time::Instant::now() + DEADLINE;
            while cx.system().is_alive(pid) {
                assert!(std::time::Instant::now() < end, "it never ran");
                std::thread::yield_now();
            }
            let end = task.await;
            let _ = tell.send(format!("{end:?}"));
        });
        assert!(is_panic(&end_of(&system, &owner)));
        assert!(told.recv().is_err(), "it went on");
    }
}

#[test]
fn an_owner_that_traps_exits_gets_the_error_and_the_exit() {
    on_all(|system| {
        let (pid, end, exit) = run(system, |mut cx| async move {
            cx.trap_exit(true);
            let task = Task::async_link(&cx, crash);
            let pid = task.pid();
            (pid, task.await, cx.recv().await)
        });
        assert!(is_panic(&exited(end)));
        let Received::Exit(exit) = exit else {
            panic!("{exit:?}")
        };
        assert_eq!(exit.from, pid);
        assert!(is_panic(&exit.reason));
    });
}

#[test]
fn an_unlinked_task_that_crashes_is_an_error_and_nothing_else() {
    on_all(|system| {
        let end = run(system, |cx| async move {
            let end = Task::async_nolink(&cx.system(), crash).await;
            cx.yield_now().await;
            end
        });
        assert!(is_panic(&exited(end)));
    });
}

#[test]
fn a_task_that_ends_itself_says_why() {
    on_all(|system| {
        let end = run(system, |cx| async move {
            let quit = |cx: TaskContext| async move {
                cx.exit(cx.pid(), ExitReason::Timeout);
                pending::<()>().await
            };
            Task::async_nolink(&cx.system(), quit).await
        });
        assert_eq!(exited(end), ExitReason::Timeout);
    });
}

#[test]
fn a_linked_task_dies_with_its_owner_and_an_unlinked_one_does_not() {
    on_all(|system| {
        let (tell, told) = reports();
        let (at, open) = gate();
        let owner = spawn(system, move |cx| async move {
            let linked = Task::async_link(&cx, |_| pending::<()>());
            let unlinked = Task::async_nolink(&cx.system(), |_| at);
            let _ = tell.send((linked.pid(), unlinked.pid()));
            let _ = linked.await_for(None).await;
        });
        let (linked, unlinked) = next(system, &told);
        let of_linked = system.monitor(linked.expect("a process"));
        let of_unlinked = system.monitor(unlinked.expect("a process"));
        system.exit(owner.pid(), ExitReason::Timeout);
        let end = of_linked.wait_timeout(DEADLINE).expect("its end");
        assert_eq!(end.reason, ExitReason::Timeout);
        assert!(system.is_alive(unlinked.expect("a process")));
        open.open();
        let end = of_unlinked.wait_timeout(DEADLINE).expect("its end");
        assert_eq!(end.reason, ExitReason::Normal);
    });
}

#[test]
fn a_linked_task_outlives_an_owner_that_ends_normally() {
    on_all(|system| {
        let (tell, told) = reports();
        let (at, open) = gate();
        let owner = spawn(system, move |cx| async move {
            drop(Task::async_link(&cx, |_| async move {
                at.await;
                let _ = tell.send("done");
            }));
        });
        assert_eq!(end_of(system, &owner), ExitReason::Normal);
        open.open();
        assert_eq!(next(system, &told), "done");
    });
}

#[test]
fn an_await_that_takes_too_long_is_an_error_and_the_task_goes_on() {
    on_all(|system| {
        let (tell, told) = reports();
        let (at, open) = gate();
        let end = run(system, |cx| async move {
            let slow = move |_| async move {
                at.await;
                let _ = tell.send("done");
            };
            Task::async_nolink(&cx.system(), slow)
                .await_for(SHORT)
                .await
        });
        assert_eq!(end, Err(TaskError::Timeout));
        open.open();
        assert_eq!(next(system, &told), "done");
    });
}

#[test]
fn awaiting_has_a_timeout_of_five_seconds() {
    on_virtual(|system| {
        let timed = Task::async_nolink(system, |cx| async move {
            let before = cx.system().now();
            let task = Task::async_nolink(&cx.system(), |_| pending::<()>());
            assert_eq!(task.await, Err(TaskError::Timeout));
            (before, cx.system().now())
        });
        let (before, after) = timed.wait_timeout(LONG).expect("a value");
        assert_eq!(after - before, Duration::from_secs(5));
    });
}

/// For times: on the virtual clock only.
fn on_virtual(body: impl Fn(&System)) {
    for seed in 0..100 {
        let (system, _driver) = quiet().virtual_clock().auto_advance().seed(seed).manual();
        body(&system);
    }
}

#[test]
fn a_yield_that_comes_too_early_keeps_the_task() {
    on_all(|system| {
        let ends = run(system, |cx| async move {
            let (at, open) = gate();
            let mut task = Task::async_link(&cx, |_| async move {
                at.await;
                7
            });
            let first = task.yield_for(SHORT).await;
            let look = task.yield_for(Duration::ZERO).await;
            open.open();
            let second = task.yield_for(None).await;
            let third = task.yield_for(None).await;
            (first, look, second, third)
        });
        let gone = TaskError::Exited(ExitReason::NoProc);
        assert_eq!(ends, (None, None, Some(Ok(7)), Some(Err(gone))));
    });
}

#[test]
fn a_yield_tells_of_a_crash() {
    on_all(|system| {
        let end = run(system, |cx| async move {
            let mut task = Task::async_nolink(&cx.system(), crash);
            task.yield_for(LONG).await
        });
        assert!(is_panic(&exited(end.expect("an end"))));
    });
}

#[test]
fn yield_many_tells_what_became_of_each_in_their_order() {
    on_all(|system| {
        let (ends, rest) = run(system, |cx| async move {
            let (at, open) = gate();
            let system = cx.system();
            let mut tasks = [
                Task::async_nolink(&system, |_| async move {
                    at.await;
                    1
                }),
                Task::async_nolink(&system, crash),
                Task::async_nolink(&system, |_| async { 3 }),
            ];
            for task in &tasks[1..] {
                end(&cx, task.pid().expect("a process")).await;
            }
            let ends = yield_many(&mut tasks, SHORT).await;
            open.open();
            (ends, yield_many(&mut tasks, LONG).await)
        });
        let [first, second, third] = <[_; 3]>::try_from(ends).expect("three");
        assert_eq!(first, None);
        assert!(is_panic(&exited(second.expect("an end"))));
        assert_eq!(third, Some(Ok(3)));
        assert_eq!(rest[0], Some(Ok(1)));
    });
}

#[test]
fn await_many_gives_all_values_in_their_order() {
    on_all(|system| {
        let values = run(system, |cx| async move {
            let tasks: Vec<_> = (0..20u32)
                .map(|n| {
                    Task::async_link(&cx, move |cx| async move {
                        cx.sleep(Duration::from_micros(u64::from(20 - n))).await;
                        n
                    })
                })
                .collect();
            await_many(tasks, LONG).await
        });
        assert_eq!(values, Ok((0..20).collect()));
        let none: Result<Vec<()>, _> = run(system, |_| await_many([], LONG));
        assert_eq!(none, Ok(vec![]));
    });
}

#[test]
fn await_many_fails_with_the_first_task_that_fails_or_when_the_time_is_over() {
    on_all(|system| {
        let (failed, late) = run(system, |cx| async move {
            let system = cx.system();
            let slow = || Task::async_nolink(&system, |_| pending::<u32>());
            let failed = await_many([slow(), Task::async_nolink(&system, crash)], LONG).await;
            let done = Task::async_nolink(&system, |_| async { 1 });
            (failed, await_many([done, slow()], SHORT).await)
        });
        assert!(is_panic(&exited(failed)));
        assert_eq!(late, Err(TaskError::Timeout));
    });
}

#[test]
fn shutdown_ends_a_task_without_harm_to_its_owner() {
    on_all(|system| {
        for how in [
            Shutdown::BrutalKill,
            Shutdown::Timeout(LONG),
            Shutdown::Infinity,
        ] {
            let (end, reason) = run(system, move |cx| async move {
                let task = Task::async_link(&cx, |_| pending::<()>());
                let pid = task.pid().expect("a process");
                let monitor = cx.system().monitor(pid);
                let end = task.shutdown(how).await;
                // A link that were still there would act here.
                cx.yield_now().await;
                assert!(!cx.system().is_alive(pid));
                (end, monitor.await.expect("its end").reason)
            });
            assert_eq!(end, None);
            let expected = match how {
                Shutdown::BrutalKill => ExitReason::Killed,
                _ => ExitReason::Shutdown(None),
            };
            assert_eq!(reason, expected);
        }
    });
}

#[test]
fn shutdown_gives_the_value_of_a_task_that_is_done() {
    on_all(|system| {
        for how in [Shutdown::BrutalKill, Shutdown::Infinity] {
            let end = run(system, move |cx| async move {
                let task = Task::async_link(&cx, |_| async { 7 });
                end(&cx, task.pid().expect("a process")).await;
                task.shutdown(how).await
            });
            assert_eq!(end, Some(Ok(7)));
        }
    });
}

#[test]
fn shutdown_tells_of_an_end_of_the_tasks_own() {
    on_all(|system| {
        let ends = run(system, |cx| async move {
            let crashed = Task::async_nolink(&cx.system(), crash);
            end(&cx, crashed.pid().expect("a process")).await;
            let crashed = crashed.shutdown(Shutdown::Infinity).await;

            let killed = Task::async_nolink(&cx.system(), |_| pending::<u32>());
            let pid = killed.pid().expect("a process");
            cx.exit(pid, ExitReason::Kill);
            end(&cx, pid).await;
            let killed = killed.shutdown(Shutdown::Infinity).await;
            (crashed, killed)
        });
        assert!(is_panic(&exited(ends.0.expect("an end"))));
        assert_eq!(exited(ends.1.expect("an end")), ExitReason::Killed);
    });
}

/// A task that traps exits, and says when it does.
fn stubborn(cx: &Inbox<()>, tell: impl FnOnce() + Send + 'static) -> Task<u32> {
    Task::async_link(cx, |mut cx| async move {
        cx.trap_exit(true);
        tell();
        match cx.recv().await {
            Received::Exit(exit) if exit.reason == ExitReason::Shutdown(None) => 7,
            other => panic!("{other:?}"),
        }
    })
}

#[test]
fn a_task_that_traps_exits_may_still_give_its_value_when_it_is_shut_down() {
    on_all(|system| {
        let end = run(system, |cx| async move {
            let (at, open) = gate();
            let task = stubborn(&cx, move || open.open());
            at.await;
            task.shutdown(Shutdown::Infinity).await
        });
        assert_eq!(end, Some(Ok(7)));
    });
}

#[test]
fn a_task_that_does_not_end_in_time_is_killed() {
    on_all(|system| {
        let end = run(system, |cx| async move {
            let (at, open) = gate();
            let task = Task::async_link(&cx, |cx| async move {
                cx.trap_exit(true);
                open.open();
                pending::<u32>().await
            });
            at.await;
            task.shutdown(Shutdown::Timeout(SHORT)).await
        });
        assert_eq!(end, Some(Err(TaskError::Exited(ExitReason::Killed))));
    });
}

#[test]
fn a_shutdown_that_is_dropped_kills() {
    on_all(|system| {
        let reason = run(system, |cx| async move {
            let (at, open) = gate();
            let task = Task::async_link(&cx, |cx| async move {
                cx.trap_exit(true);
                open.open();
                pending::<u32>().await
            });
            at.await;
            let monitor = cx.system().monitor(task.pid().expect("a process"));
            drop(task.shutdown(Shutdown::Infinity));
            monitor.await.expect("its end").reason
        });
        assert_eq!(reason, ExitReason::Killed);
    });
}

#[test]
fn a_task_that_is_ignored_goes_on_without_a_link() {
    on_all(|system| {
        let (end, reason) = run(system, |cx| async move {
            let (at, open) = gate();
            let task = Task::async_link(&cx, |_| async move {
                at.await;
                panic!("as it should")
            });
            let monitor = cx.system().monitor(task.pid().expect("a process"));
            let end: Option<Result<(), _>> = task.ignore();
            open.open();
            let reason = monitor.await.expect("its end").reason;
            cx.yield_now().await;
            (end, reason)
        });
        assert_eq!(end, None);
        assert!(is_panic(&reason));
    });
}

#[test]
fn ignoring_a_task_that_is_done_tells_how() {
    on_all(|system| {
        let (value, crashed) = run(system, |cx| async move {
            let done = Task::async_link(&cx, |_| async { 7 });
            end(&cx, done.pid().expect("a process")).await;
            let crashed = Task::async_nolink(&cx.system(), crash);
            end(&cx, crashed.pid().expect("a process")).await;
            (done.ignore(), crashed.ignore())
        });
        assert_eq!(value, Some(Ok(7)));
        assert!(is_panic(&exited(crashed.expect("an end"))));
    });
}

#[test]
fn only_the_owner_may_wait_for_its_task() {
    on_all(|system| {
        let (hand, handed) = reports::<[Task<()>; 5]>();
        let owner = spawn(system, move |cx| async move {
            let task = || Task::async_link(&cx, |_| pending::<()>());
            let _ = hand.send([task(), task(), task(), task(), task()]);
            pending::<()>().await;
        });
        let [a, b, mut c, d, e] = next(system, &handed);
        let pids = [&a, &b, &c, &d, &e].map(|task| task.pid().expect("a process"));
        let not_owner = TaskError::NotOwner(owner.pid());
        assert_eq!(a.wait(), Err(not_owner.clone()), "outside");
        let (from_b, from_c, from_d, from_e) = run(system, |_| async move {
            let c = c.yield_for(LONG).await;
            let d = d.shutdown(Shutdown::BrutalKill).await;
            (b.await, c, d, e.ignore())
        });
        assert_eq!(from_b, Err(not_owner.clone()));
        for end in [from_c, from_d, from_e] {
            assert_eq!(end, Some(Err(not_owner.clone())));
        }
        // Nothing was done to any of them.
        assert!(pids.iter().all(|pid| system.is_alive(*pid)));
        system.exit(owner.pid(), ExitReason::Timeout);
        for pid in pids {
            system.monitor(pid).wait_timeout(DEADLINE).expect("its end");
        }
    });
}

#[test]
fn a_task_made_outside_any_process_may_be_awaited_by_whoever_holds_it() {
    on_all(|system| {
        let here = Task::async_nolink(system, |_| async { 1 });
        assert_eq!(here.owner(), None);
        assert_eq!(here.wait_timeout(DEADLINE), Ok(1));
        let there = Task::async_nolink(system, |_| async { 2 });
        assert_eq!(run(system, |_| async move { there.await }), Ok(2));
        let mut late = Task::async_nolink(system, |_| pending::<()>());
        assert_eq!(late.yield_for(SHORT).wait(), None);
        assert_eq!(late.shutdown(Shutdown::BrutalKill).wait(), None);
    });
}

#[test]
fn several_tasks_are_waited_for_outside_any_process() {
    on_all(|system| {
        let tasks: Vec<_> = (0..3)
            .map(|n| Task::async_nolink(system, move |_| async move { n }))
            .collect();
        assert_eq!(await_many(tasks, DEADLINE).wait(), Ok(vec![0, 1, 2]));
        let mut tasks: Vec<_> = (0..3)
            .map(|n| Task::async_nolink(system, move |_| async move { n }))
            .collect();
        let ends = yield_many(&mut tasks, DEADLINE).wait();
        assert_eq!(ends, [Some(Ok(0)), Some(Ok(1)), Some(Ok(2))]);
    });
}

#[test]
fn a_failed_task_of_the_systems_root_is_what_its_wait_returns() {
    on_all(|system| {
        let end = Task::async_nolink(system, crash).wait_timeout(DEADLINE);
        assert!(is_panic(&exited(end)));
        match system.wait().wait_timeout(DEADLINE) {
            Err(noex::Error::Exited(reason)) => assert!(is_panic(&reason)),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_process_must_not_block_on_a_task() {
    on_all(|system| {
        let (end, alive) = run(system, |cx| async move {
            let task = Task::async_nolink(&cx.system(), |_| pending::<()>());
            let pid = task.pid().expect("a process");
            (task.wait(), cx.system().is_alive(pid))
        });
        assert_eq!(end, Err(TaskError::Call(CallError::WouldBlock)));
        assert!(alive);
    });
}

#[test]
fn a_wait_that_nothing_can_end_is_stalled_on_a_manual_system() {
    let (system, _driver) = quiet().virtual_clock().manual();
    let task = Task::async_nolink(&system, |_| pending::<()>());
    let end = task.await_for(None).wait();
    assert_eq!(end, Err(TaskError::Call(CallError::Stalled)));
}

#[test]
fn a_completed_task_needs_no_process() {
    on_all(|system| {
        let task = Task::completed(7);
        assert_eq!((task.pid(), task.owner()), (None, None));
        assert_eq!(task.wait(), Ok(7));
        let value = run(system, |_| async {
            let mut last = Ok(0);
            for n in 0..10_000 {
                last = Task::completed(n).await;
            }
            last
        });
        assert_eq!(value, Ok(9_999));
        assert_eq!(Task::completed(7).ignore(), Some(Ok(7)));
        let end = Task::completed(7).shutdown(Shutdown::Infinity).wait();
        assert_eq!(end, Some(Ok(7)));
    });
}

#[test]
fn a_task_after_the_systems_end_is_refused() {
    let system = quiet().schedulers(1).build().expect("threads");
    let handle = noex::Handle::clone(&system);
    system.shutdown().wait_timeout(DEADLINE).expect("its end");
    assert_eq!(
        Task::async_nolink(&handle, |_| async {}).wait(),
        Err(TaskError::Refused)
    );
    assert!(Task::start(&handle, |_| async {}).is_err());
}

#[test]
fn a_task_nobody_waits_for_ends_with_what_it_returns() {
    on_all(|system| {
        let (at, open) = gate();
        let pid = Task::start(system, |_| async move {
            at.await;
            Err::<(), _>("no luck")
        });
        let pid = pid.expect("a running system");
        let monitor = system.monitor(pid);
        // Once this is answered the monitor, sent before it, is there.
        assert!(system.process_info(pid).wait_timeout(DEADLINE).is_some());
        open.open();
        let reason = monitor.wait_timeout(DEADLINE).expect("its end").reason;
        assert_eq!(format!("{reason:#}"), "error: no luck");
    });
}

#[test]
fn a_linked_task_nobody_waits_for_takes_its_starter_along() {
    on_all(|system| {
        let starter = spawn(system, |cx| async move {
            Task::start_link(&cx, |_| async { ExitReason::Timeout }).expect("a running system");
            pending::<()>().await;
        });
        assert_eq!(end_of(system, &starter), ExitReason::Timeout);
    });
}

#[test]
fn a_task_under_a_supervisor_is_not_restarted_unless_told_so() {
    on_all(|system| {
        let start = |restart: Option<Restart>| {
            let (tell, told) = reports();
            let child = Task::child_spec("crashes", move |_| {
                let tell = tell.clone();
                async move {
                    let _ = tell.send(());
                    crash_as::<()>()
                }
            });
            let child = match restart {
                Some(restart) => child.restart(restart),
                None => child,
            };
            let supervisor = Supervisor::new(Strategy::OneForOne)
                .intensity(2)
                .child(child);
            (supervisor.start(system).wait().expect("a start"), told)
        };
        let (supervisor, told) = start(None);
        let children = || supervisor.count_children().wait().expect("an answer").specs;
        until(system, || children() == 0);
        assert_eq!(told.try_iter().count(), 1);

        let (supervisor, told) = start(Some(Restart::Permanent));
        until(system, || !supervisor.is_alive());
        assert_eq!(supervisor.exit_reason(), Some(ExitReason::Shutdown(None)));
        assert_eq!(told.try_iter().count(), 3);
    });
}

#[test]
fn what_is_sent_to_a_task_reaches_it() {
    on_all(|system| {
        let value = run(system, |cx| async move {
            let task = Task::async_link(&cx, |mut cx| async move {
                loop {
                    if let Received::Any(any) = cx.recv().await {
                        break any.downcast::<u32>().ok();
                    }
                }
            });
            cx.send(task.pid().expect("a process"), 7u32);
            task.await
        });
        assert_eq!(value, Ok(Some(7)));
    });
}

#[test]
fn a_task_that_panics_as_it_drops_what_it_holds_has_crashed() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("as it should");
        }
    }
    on_all(|system| {
        let end = run(system, |cx| async move {
            let armed = |_| async {
                let _bomb = Bomb;
                7
            };
            Task::async_nolink(&cx.system(), armed).await
        });
        assert!(is_panic(&exited(end)));
    });
}

#[test]
fn a_handler_of_a_server_awaits_tasks() {
    struct Summer;
    struct Sum(u32);
    impl GenServer for Summer {
        type Args = ();
        async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
            Ok(Summer)
        }
    }
    impl HandleCall<Sum> for Summer {
        type Reply = Result<u32, TaskError>;
        async fn handle_call(&mut self, Sum(n): Sum, cx: &mut Context<Self>) -> Self::Reply {
            let tasks = (0..n).map(|n| Task::async_link(cx, move |_| async move { n }));
            let values = await_many(tasks, LONG).await?;
            Ok(values.into_iter().sum())
        }
    }
    on_all(|system| {
        let summer = system.start::<Summer>(()).wait().expect("a start");
        let sum = summer.call_with(Sum(10), DEADLINE).wait();
        assert_eq!(sum, Ok(Ok(45)));
    });
}

#[test]
fn a_server_dies_with_its_linked_task_whatever_its_mailbox() {
    struct Owner(std::sync::mpsc::Sender<String>);
    struct Await;
    impl GenServer for Owner {
        type Args = std::sync::mpsc::Sender<String>;
        async fn init(tell: Self::Args, _: &mut Context<Self>) -> Result<Self, InitStop> {
            Ok(Owner(tell))
        }
    }
    impl HandleCall<Await> for Owner {
        type Reply = ();
        async fn handle_call(&mut self, _: Await, cx: &mut Context<Self>) {
            let end = Task::async_link(cx, crash).await;
            let _ = self.0.send(format!("{end:?}"));
        }
    }
    on_all(|system| {
        let bounded = MailboxPolicy::Bounded {
            capacity: 1,
            overflow: Overflow::Reject,
        };
        for mailbox in [MailboxPolicy::Unbounded, bounded] {
            let (tell, told) = reports();
            let options = ServerOptions::new().mailbox(mailbox);
            let owner = system.start_with::<Owner>(tell, options).wait();
            match owner.expect("a start").call_with(Await, DEADLINE).wait() {
                Err(CallError::Exited(reason)) => assert!(is_panic(&reason)),
                other => panic!("{other:?}"),
            }
            assert!(told.recv().is_err(), "it went on");
        }
    });
}
