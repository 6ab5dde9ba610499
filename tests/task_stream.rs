//! A task for each item of an iterator: order, concurrency, timeouts, and what ends with what.

mod support;

use std::future::{Future, pending};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use noex::prelude::*;
use noex::task::{OnTimeout, async_stream, async_stream_nolink};
use noex::{CallError, Inbox, Recipient, Task, TaskContext, TaskError};
use support::{DEADLINE, Gate, end_of, gate, next, on_all, quiet, reports, until};

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

fn is_panic(end: &Result<u32, TaskError>) -> bool {
    matches!(end, Err(TaskError::Exited(ExitReason::Panic(panic))) if panic.message() == "as it should")
}

/// Where what is quick comes before a short time is over: on the virtual clock only.
fn on_virtual(body: impl Fn(&System)) {
    for seed in 0..100 {
        let (system, _driver) = quiet().virtual_clock().auto_advance().seed(seed).manual();
        body(&system);
    }
}

/// How many run at once, and how many ever did.
#[derive(Clone, Default)]
struct Crowd(Arc<(AtomicUsize, AtomicUsize)>);

impl Crowd {
    fn enter(&self) -> Inside {
        let now = self.0.0.fetch_add(1, SeqCst) + 1;
        self.0.1.fetch_max(now, SeqCst);
        Inside(self.clone())
    }
    fn now(&self) -> usize {
        self.0.0.load(SeqCst)
    }
    fn most(&self) -> usize {
        self.0.1.load(SeqCst)
    }
}

struct Inside(Crowd);
impl Drop for Inside {
    fn drop(&mut self) {
        self.0.0.0.fetch_sub(1, SeqCst);
    }
}

#[test]
fn values_come_in_the_order_of_the_items_whichever_is_done_first() {
    on_all(|system| {
        let values = run(system, |cx| async move {
            let slow_first = |n: u32, cx: TaskContext| async move {
                cx.sleep(Duration::from_micros(u64::from(100 - 10 * n)))
                    .await;
                n
            };
            let stream = async_stream(&cx, 0..10, slow_first).max_concurrency(4);
            stream.collect().await
        });
        assert_eq!(values, (0..10).map(Ok).collect::<Vec<_>>());
    });
}

#[test]
fn unordered_values_come_as_they_are_done() {
    on_all(|system| {
        let values = run(system, |cx| async move {
            let gates: Vec<(Gate, Gate)> = (0..3).map(|_| gate()).collect();
            let at: Vec<Gate> = gates.iter().map(|(at, _)| at.clone()).collect();
            let wait = move |n: usize, _: TaskContext| {
                let at = at[n].clone();
                async move {
                    at.await;
                    n
                }
            };
            let mut stream = async_stream(&cx, 0..3, wait)
                .max_concurrency(3)
                .ordered(false);
            let mut values = Vec::new();
            for n in [2, 0, 1] {
                gates[n].1.open();
                values.push(stream.next_value().await);
            }
            values.push(stream.next_value().await);
            values
        });
        assert_eq!(values, [Some(Ok(2)), Some(Ok(0)), Some(Ok(1)), None]);
    });
}

#[test]
fn no_more_tasks_run_at_once_than_may_and_no_fewer() {
    on_all(|system| {
        for ordered in [true, false] {
            let crowd = Crowd::default();
            let inside = crowd.clone();
            let sum = run(system, move |cx| async move {
                let work = move |n: usize, cx: TaskContext| {
                    let inside = inside.enter();
                    async move {
                        cx.sleep(Duration::from_micros(n as u64 * 37 % 50)).await;
                        drop(inside);
                        n
                    }
                };
                let mut stream = async_stream(&cx, 0..60, work)
                    .max_concurrency(5)
                    .ordered(ordered);
                let mut sum = 0;
                while let Some(value) = stream.next_value().await {
                    sum += value.expect("a value");
                }
                sum
            });
            assert_eq!(sum, (0..60).sum());
            assert_eq!(crowd.now(), 0);
            assert!(crowd.most() <= 5, "{}", crowd.most());
        }
    });
}

#[test]
fn all_that_may_run_at_once_do() {
    on_all(|system| {
        let values = run(system, |cx| async move {
            let met = Arc::new(Mutex::new((0, Vec::new())));
            // Each waits until there are four.
            let meet = move |n: u32, _: TaskContext| {
                let (at, open) = gate();
                let mut met = met.lock().expect("nobody panics here");
                met.0 += 1;
                met.1.push(open);
                if met.0 == 4 {
                    met.1.drain(..).for_each(|gate: Gate| gate.open());
                }
                async move {
                    at.await;
                    n
                }
            };
            let stream = async_stream(&cx, 0..4, meet).max_concurrency(4);
            stream.collect().await
        });
        assert_eq!(values, (0..4).map(Ok).collect::<Vec<_>>());
    });
}

#[test]
fn items_are_taken_only_when_a_task_may_start() {
    on_all(|system| {
        let taken = Arc::new(AtomicUsize::new(0));
        let count = taken.clone();
        let counts = run(system, move |cx| async move {
            let items = (0u32..).inspect(|_| {
                count.fetch_add(1, SeqCst);
            });
            let mut stream = async_stream(&cx, items, |n, _| async move { n }).max_concurrency(3);
            let mut counts = vec![count_of(&taken)];
            for n in 0..5 {
                assert_eq!(stream.next_value().await, Some(Ok(n)));
                counts.push(count_of(&taken));
            }
            counts
        });
        assert_eq!(counts[0], 0, "before the first `next`");
        for (given, taken) in counts.into_iter().enumerate().skip(1) {
            // Those given, one for each that may run, and those that came out of order.
            assert!(taken >= given && taken >= 3, "{taken} taken for {given}");
        }
    });
}

#[test]
fn nothing_is_taken_while_there_is_a_value_to_give() {
    on_all(|system| {
        for (max, ordered) in [(1, true), (1, false), (3, false)] {
            let taken = Arc::new(AtomicUsize::new(0));
            let count = taken.clone();
            let counts = run(system, move |cx| async move {
                let items = (0u32..).inspect(|_| {
                    count.fetch_add(1, SeqCst);
                });
                let mut stream = async_stream(&cx, items, |n, _| async move { n })
                    .max_concurrency(max)
                    .ordered(ordered);
                let mut counts = Vec::new();
                for _ in 0..5 {
                    assert!(matches!(stream.next_value().await, Some(Ok(_))));
                    counts.push(count_of(&taken));
                }
                counts
            });
            // As many as were given, and as many as may run less the one whose value came last.
            assert_eq!(
                counts,
                (max..max + 5).collect::<Vec<_>>(),
                "{max} {ordered}"
            );
        }
    });
}

fn count_of(counter: &AtomicUsize) -> usize {
    counter.load(SeqCst)
}

#[test]
fn an_unordered_stream_takes_no_more_than_was_given_and_runs() {
    on_all(|system| {
        let taken = Arc::new(AtomicUsize::new(0));
        let count = taken.clone();
        let most = run(system, move |cx| async move {
            let items = (0u32..).inspect(|_| {
                count.fetch_add(1, SeqCst);
            });
            let mut stream = async_stream(&cx, items, |_, _| pending::<u32>())
                .max_concurrency(3)
                .timeout(None);
            let polled = std::pin::pin!(async {
                stream.next_value().await;
            });
            // Asked for in vain, again and again.
            futures_lite::future::or(polled, cx.sleep(SHORT)).await;
            taken.load(SeqCst)
        });
        assert_eq!(most, 3);
    });
}

#[test]
fn no_items_no_values() {
    on_all(|system| {
        let values = run(system, |cx| async move {
            let mut stream = async_stream(&cx, [0u32; 0], |n, _| async move { n });
            (stream.next_value().await, stream.next_value().await)
        });
        assert_eq!(values, (None, None));
    });
}

#[test]
fn a_task_that_takes_too_long_ends_the_stream_and_all_its_tasks() {
    on_virtual(|system| {
        let crowd = Crowd::default();
        let inside = crowd.clone();
        let ends = run(system, move |cx| async move {
            let work = move |n: u32, _: TaskContext| {
                let inside = inside.enter();
                async move {
                    if n > 0 {
                        pending::<()>().await;
                    }
                    drop(inside);
                    n
                }
            };
            let mut stream = async_stream(&cx, 0.., work)
                .max_concurrency(3)
                .timeout(SHORT);
            let ends = [
                stream.next_value().await,
                stream.next_value().await,
                stream.next_value().await,
            ];
            // A link that were still there would act here.
            cx.sleep(SHORT).await;
            ends
        });
        assert_eq!(ends, [Some(Ok(0)), Some(Err(TaskError::Timeout)), None]);
        until(system, || crowd.now() == 0);
    });
}

#[test]
fn a_task_that_takes_too_long_may_be_killed_alone() {
    on_virtual(|system| {
        for ordered in [true, false] {
            let mut ends = run(system, move |cx| async move {
                let work = |n: u32, _: TaskContext| async move {
                    if n % 2 == 1 {
                        pending::<()>().await;
                    }
                    n
                };
                let stream = async_stream(&cx, 0..6, work)
                    .max_concurrency(2)
                    .ordered(ordered)
                    .timeout(SHORT)
                    .on_timeout(OnTimeout::KillTask);
                stream.collect().await
            });
            let expected = [
                Ok(0),
                Err(TaskError::Timeout),
                Ok(2),
                Err(TaskError::Timeout),
                Ok(4),
                Err(TaskError::Timeout),
            ];
            if !ordered {
                ends.sort_by_key(|end| *end.as_ref().unwrap_or(&9));
                assert_eq!(ends[..3], [Ok(0), Ok(2), Ok(4)]);
                assert!(ends[3..].iter().all(|end| *end == Err(TaskError::Timeout)));
            } else {
                assert_eq!(ends, expected);
            }
        }
    });
}

#[test]
fn the_time_of_a_task_runs_from_its_own_start() {
    on_virtual(|system| {
        let all = Task::async_nolink(system, |cx| async move {
            let work = |n: u32, cx: TaskContext| async move {
                cx.sleep(Duration::from_secs(4)).await;
                n
            };
            // By default 5 s for each.
            let stream = async_stream(&cx, 0..4, work).max_concurrency(1);
            stream.collect().await
        });
        let values = all.wait_timeout(LONG);
        assert_eq!(values, Ok((0..4).map(Ok).collect::<Vec<_>>()));
    });
}

#[test]
fn a_crash_in_an_unlinked_stream_is_the_error_in_its_place() {
    on_all(|system| {
        let ends = run(system, |cx| async move {
            let work = |n: u32, _: TaskContext| async move {
                assert!(n != 1, "as it should");
                n
            };
            let stream = async_stream_nolink(&cx.system(), 0..3, work);
            stream.max_concurrency(2).collect().await
        });
        assert_eq!((&ends[0], &ends[2]), (&Ok(0), &Ok(2)));
        assert!(is_panic(&ends[1]), "{:?}", ends[1]);
    });
}

#[test]
fn a_crash_in_a_linked_stream_takes_the_owner_and_all_tasks_along() {
    on_all(|system| {
        let crowd = Crowd::default();
        let inside = crowd.clone();
        let (tell, told) = reports::<String>();
        let owner = spawn(system, move |cx| async move {
            let work = move |n: u32, _: TaskContext| {
                let inside = inside.enter();
                async move {
                    assert!(n != 1, "as it should");
                    pending::<()>().await;
                    drop(inside);
                    n
                }
            };
            let mut stream = async_stream(&cx, 0..3, work).max_concurrency(3);
            let end = stream.next_value().await;
            let _ = tell.send(format!("{end:?}"));
        });
        assert!(is_panic(&Err(TaskError::Exited(end_of(system, &owner)))));
        assert!(told.recv().is_err(), "it went on");
        until(system, || crowd.now() == 0);
    });
}

#[test]
fn an_owner_that_traps_exits_gets_the_error_and_no_exit_messages() {
    on_all(|system| {
        let (ends, left) = run(system, |mut cx| async move {
            cx.trap_exit(true);
            let work = |n: u32, _: TaskContext| async move {
                assert!(n != 1, "as it should");
                n
            };
            let ends = async_stream(&cx, 0..3, work).max_concurrency(2).collect();
            let ends = ends.await;
            (ends, cx.recv_timeout(Duration::ZERO).await.is_some())
        });
        assert_eq!((&ends[0], &ends[2]), (&Ok(0), &Ok(2)));
        assert!(is_panic(&ends[1]), "{:?}", ends[1]);
        assert!(!left);
    });
}

#[test]
fn a_stream_that_is_dropped_kills_what_runs() {
    on_all(|system| {
        for linked in [true, false] {
            let crowd = Crowd::default();
            let inside = crowd.clone();
            let value = run(system, move |cx| async move {
                let work = move |n: u32, _: TaskContext| {
                    let inside = inside.enter();
                    async move {
                        if n > 0 {
                            pending::<()>().await;
                        }
                        drop(inside);
                        n
                    }
                };
                let value = match linked {
                    true => {
                        async_stream(&cx, 0.., work)
                            .max_concurrency(4)
                            .next_value()
                            .await
                    }
                    false => {
                        let stream = async_stream_nolink(&cx.system(), 0.., work);
                        stream.max_concurrency(4).next_value().await
                    }
                };
                cx.sleep(SHORT).await;
                value
            });
            assert_eq!(value, Some(Ok(0)));
            until(system, || crowd.now() == 0);
        }
    });
}

#[test]
fn when_the_owner_dies_linked_tasks_die_and_unlinked_ones_go_on() {
    on_all(|system| {
        for linked in [true, false] {
            let (tell, told) = reports();
            let (at, open) = gate();
            let owner = spawn(system, move |cx| async move {
                let work = move |_: u32, cx: TaskContext| {
                    let (at, tell) = (at.clone(), tell.clone());
                    async move {
                        let _ = tell.send(cx.pid());
                        at.await;
                    }
                };
                if linked {
                    let mut stream = async_stream(&cx, 0..1, work);
                    stream.next_value().await;
                } else {
                    let mut stream = async_stream_nolink(&cx.system(), 0..1, work);
                    stream.next_value().await;
                }
            });
            let task = next(system, &told);
            let monitor = system.monitor(task);
            system.exit(owner.pid(), ExitReason::Timeout);
            if !linked {
                end_of(system, &owner);
                open.open();
            }
            let reason = monitor.wait_timeout(DEADLINE).expect("its end").reason;
            let expected = match linked {
                true => ExitReason::Timeout,
                false => ExitReason::Normal,
            };
            assert_eq!(reason, expected);
        }
    });
}

#[test]
fn an_iterator_that_panics_is_its_callers_panic_and_what_ran_is_killed() {
    on_all(|system| {
        let crowd = Crowd::default();
        let inside = crowd.clone();
        let owner = spawn(system, move |cx| async move {
            let items = (0..3u32).inspect(|n| assert!(*n < 2, "as it should"));
            let work = move |_: u32, _: TaskContext| {
                let inside = inside.enter();
                async move {
                    pending::<()>().await;
                    drop(inside);
                }
            };
            let mut stream = async_stream_nolink(&cx.system(), items, work).max_concurrency(3);
            stream.next_value().await;
        });
        assert!(is_panic(&Err(TaskError::Exited(end_of(system, &owner)))));
        until(system, || crowd.now() == 0);
    });
}

#[test]
fn a_stream_is_its_owners_alone() {
    on_all(|system| {
        let (hand, handed) = reports();
        let owner = spawn(system, move |cx| async move {
            let _ = hand.send(async_stream(&cx, 0..3u32, |n, _| async move { n }));
            pending::<()>().await;
        });
        let mut stream = next(system, &handed);
        let not_owner = Err(TaskError::NotOwner(owner.pid()));
        assert_eq!(stream.next_value().wait(), Some(not_owner.clone()));
        let ends = run(system, |_| stream.collect());
        assert_eq!(ends, [not_owner]);
        system.exit(owner.pid(), ExitReason::Kill);
    });
}

#[test]
fn a_stream_is_used_outside_any_process() {
    on_all(|system| {
        let mut stream = async_stream_nolink(system, 0..3u32, |n, _| async move { n });
        assert_eq!(stream.next_value().wait_timeout(DEADLINE), Some(Ok(0)));
        assert_eq!(stream.collect().wait_timeout(DEADLINE), [Ok(1), Ok(2)]);
    });
}

#[test]
fn a_stream_is_as_it_was_when_its_wait_is_given_up() {
    on_all(|system| {
        let (at, open) = gate();
        let work = move |n: u32, _: TaskContext| {
            let at = at.clone();
            async move {
                at.await;
                n
            }
        };
        let mut stream = async_stream_nolink(system, 0..2u32, work).timeout(LONG);
        let late = stream.next_value().wait_timeout(SHORT);
        assert_eq!(late, Some(Err(TaskError::Timeout)));
        open.open();
        assert_eq!(stream.collect().wait_timeout(DEADLINE), [Ok(0), Ok(1)]);
    });
}

#[test]
fn a_process_must_not_block_on_a_stream() {
    on_all(|system| {
        let end = run(system, |cx| async move {
            let mut stream = async_stream(&cx, 0..2u32, |n, _| async move { n });
            let end = stream.next_value().wait();
            (end, stream.collect().await)
        });
        let would_block = Some(Err(TaskError::Call(CallError::WouldBlock)));
        assert_eq!(end, (would_block, vec![Ok(0), Ok(1)]));
    });
}

#[test]
fn a_stream_after_the_systems_end_is_refused() {
    let system = quiet().schedulers(1).build().expect("threads");
    let handle = noex::Handle::clone(&system);
    system.shutdown().wait_timeout(DEADLINE).expect("its end");
    let mut stream = async_stream_nolink(&handle, 0..2u32, |n, _| async move { n });
    assert_eq!(stream.next_value().wait(), Some(Err(TaskError::Refused)));
    assert_eq!(stream.next_value().wait(), None);
}

#[test]
fn tasks_that_never_end_are_given_up_in_either_way() {
    on_all(|system| {
        let (killed, ended) = run(system, |cx| async move {
            let never = |_: u32, _: TaskContext| pending::<u32>();
            let killed = async_stream(&cx, 0..4, never)
                .max_concurrency(2)
                .timeout(SHORT)
                .on_timeout(OnTimeout::KillTask)
                .collect()
                .await;
            let stream = async_stream_nolink(&cx.system(), 0..4, never);
            let ended = stream.timeout(SHORT).collect().await;
            (killed, ended)
        });
        assert_eq!(killed, vec![Err(TaskError::Timeout); 4]);
        assert_eq!(ended, [Err(TaskError::Timeout)]);
    });
}

#[test]
fn the_tasks_of_a_supervised_stream_are_ended_with_their_supervisor_as_the_stream_says() {
    on_all(|system| {
        for (how, reason) in [
            (None, ExitReason::Timeout),
            (Some(Shutdown::BrutalKill), ExitReason::Killed),
        ] {
            let start = noex::TaskSupervisor::new().start(system);
            let tasks = start.wait_timeout(DEADLINE).expect("a start");
            let (ready, is_ready) = reports();
            let (tell, told) = reports();
            let supervisor = tasks.clone();
            spawn(system, move |_| async move {
                // Each waits for its end, and gives it a reason of its own.
                let work = move |_: u8, mut cx: TaskContext| {
                    let ready = ready.clone();
                    async move {
                        cx.trap_exit(true);
                        let _ = ready.send(());
                        let _told = cx.recv().await;
                        let me = cx.pid();
                        cx.trap_exit(false);
                        cx.exit(me, ExitReason::Timeout);
                        pending::<()>().await
                    }
                };
                let stream = supervisor.async_stream_nolink([0], work).timeout(None);
                let mut stream = match how {
                    Some(how) => stream.shutdown(how),
                    None => stream,
                };
                let _ = tell.send(stream.next_value().await);
            });
            next(system, &is_ready);
            let stop = tasks.stop(ExitReason::Normal);
            stop.wait_timeout(DEADLINE).expect("its end");
            let end = next(system, &told);
            assert_eq!(end, Some(Err(TaskError::Exited(reason))));
        }
    });
}
