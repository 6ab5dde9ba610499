//! Cycles of calls: each is an error, to who closes it, with the way round; and nothing else is.

mod puppet;
mod support;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::Poll;
use std::time::Duration;

use noex::prelude::*;
use noex::{Call, CallError, Inbox, MailboxPolicy, Overflow, ReplyTo, StartError, call_all};
use puppet::{Do, Gate, Note, Puppet, Strings, act, answer, ask, at_once, done, hold_up, puppet};
use support::{DEADLINE, next, on_all, pump, quiet, reports};

const MS: Duration = Duration::from_millis(1);

type Server = ServerRef<Puppet>;
type Outcome = Result<u32, CallError>;

fn silent() -> Strings {
    Strings::new(&reports().0)
}

/// Calls the rest of `way`, one through the other; the number of calls, or the error of the last.
fn through(way: Vec<Server>) -> Do<Outcome> {
    act(move |_, _| {
        Box::pin(async move {
            let mut way = way;
            if way.is_empty() {
                return Ok(0);
            }
            let first = way.remove(0);
            let inner: Call<Outcome> = first.call_with(through(way), None);
            // Boxed: the futures are nested as deep as the way is long.
            let answered: Pin<Box<dyn Future<Output = Result<Outcome, CallError>> + Send>> =
                Box::pin(inner);
            answered.await?.map(|n| n + 1)
        })
    })
}

fn cycle_of(outcome: Outcome) -> Vec<Pid> {
    match outcome {
        Err(CallError::Cycle(path)) => {
            let printed: Vec<String> = path.pids().iter().map(Pid::to_string).collect();
            assert_eq!(path.to_string(), printed.join(" -> "));
            path.pids().to_vec()
        }
        other => panic!("no cycle: {other:?}"),
    }
}

fn works(server: &Server) -> bool {
    answer(server.call(Note(7))) == Ok(7)
}

#[test]
fn a_server_that_calls_itself_gets_the_error_at_once() {
    on_all(|system| {
        let it = puppet(system, silent());
        let path = cycle_of(answer(it.call_with(through(vec![it.clone()]), None)).unwrap());
        assert_eq!(path, [it.pid(), it.pid()]);
        // By its name, as a requester, and from every callback.
        let options = ServerOptions::new().name("self");
        let named = system
            .start_with::<Puppet>(silent(), options)
            .wait_timeout(DEADLINE)
            .unwrap();
        let by_name = answer(named.call(act(|_, cx| {
            Box::pin(async move {
                let name = cx.system().server::<Puppet>("self");
                (
                    name.call(Note(1)).await,
                    cx.this().requester::<Note>().call(Note(2)).await,
                )
            })
        })))
        .unwrap();
        cycle_of(by_name.0);
        cycle_of(by_name.1);
        let (tell, told) = reports();
        let terminating = tell.clone();
        let own = act(move |_, cx| {
            Box::pin(async move {
                let _ = terminating.send(cx.this().call(Note(3)).await);
            })
        });
        let own_init = tell.clone();
        let it = puppet(
            system,
            silent().terminate(own).init(move |cx| {
                Box::pin(async move {
                    let _ = own_init.send(cx.this().call(Note(4)).await);
                    Ok(())
                })
            }),
        );
        cycle_of(next(system, &told));
        let continued = tell.clone();
        it.cast(at_once(|_, cx| {
            cx.continue_with(act(move |_, cx| {
                Box::pin(async move {
                    let _ = continued.send(cx.this().call(Note(5)).await);
                    cx.stop(ExitReason::Normal);
                })
            }));
        }))
        .unwrap();
        cycle_of(next(system, &told));
        cycle_of(next(system, &told));
    });
}

#[test]
fn the_call_that_closes_a_cycle_gets_the_way_round_and_the_others_go_on() {
    on_all(|system| {
        for length in 2..=5 {
            let servers: Vec<_> = (0..length).map(|_| puppet(system, silent())).collect();
            let mut way = servers[1..].to_vec();
            way.push(servers[0].clone());
            let outcome = answer(servers[0].call_with(through(way), None)).unwrap();
            // Who closed it is who began to wait last: on one thread the last, by calling the first.
            let round: Vec<Pid> = servers.iter().map(ServerRef::pid).collect();
            let path = cycle_of(outcome);
            assert_eq!((path.len(), path[0]), (length + 1, path[length]));
            let start = round
                .iter()
                .position(|pid| *pid == path[0])
                .expect("one of them");
            assert!(
                (0..length).all(|n| path[n] == round[(start + n) % length]),
                "{path:?}"
            );
            assert!(servers.iter().all(works));
        }
    });
}

#[test]
fn a_cycle_closed_from_all_sides_at_once_hangs_nobody() {
    let system = quiet().schedulers(4).build().unwrap();
    for length in 2..=4 {
        let servers: Vec<_> = (0..length).map(|_| puppet(&system, silent())).collect();
        for _ in 0..400 {
            let calls: Vec<_> = (0..length)
                .map(|n| {
                    servers[n].call_with(through(vec![servers[(n + 1) % length].clone()]), None)
                })
                .collect();
            for call in calls {
                match call.wait_timeout(DEADLINE).expect("nobody hangs") {
                    Ok(1) => {}
                    other => drop(cycle_of(other)),
                }
            }
        }
    }
}

#[test]
fn a_true_cycle_closed_from_all_sides_is_an_error_of_at_least_one() {
    // Each holds its server until all are inside, so the calls cannot come one after the other.
    fn meet(
        arrived: Arc<std::sync::atomic::AtomicUsize>,
        all: usize,
        other: Server,
    ) -> Do<Outcome> {
        act(move |_, cx| {
            Box::pin(async move {
                arrived.fetch_add(1, SeqCst);
                while arrived.load(SeqCst) < all {
                    cx.yield_now().await;
                }
                other.call_with(Note(1), None).await
            })
        })
    }
    let round = |system: &System, length: usize, rounds: usize| {
        for _ in 0..rounds {
            let servers: Vec<_> = (0..length).map(|_| puppet(system, silent())).collect();
            let arrived = Arc::default();
            let calls: Vec<_> = (0..length)
                .map(|n| {
                    let meet = meet(
                        Arc::clone(&arrived),
                        length,
                        servers[(n + 1) % length].clone(),
                    );
                    servers[n].call_with(meet, None)
                })
                .collect();
            let outcomes: Vec<Outcome> = calls
                .into_iter()
                .map(|call| call.wait_timeout(DEADLINE).expect("nobody hangs"))
                .collect();
            let errors = outcomes.iter().filter(|outcome| outcome.is_err()).count();
            assert!(errors >= 1, "{outcomes:?}");
            for outcome in outcomes.into_iter().filter(Result::is_err) {
                assert_eq!(cycle_of(outcome).len(), length + 1);
            }
            assert!(servers.iter().all(works));
        }
    };
    on_all(|system| round(system, 3, 2));
    let system = quiet().schedulers(4).build().unwrap();
    for length in 2..=4 {
        round(&system, length, 150);
    }
}

#[test]
fn an_init_that_calls_its_starter_closes_a_cycle_whoever_is_first() {
    let starter = |system: &System| {
        let parent = puppet(system, silent());
        let back = parent.clone();
        let (tell, told) = reports();
        let strings = silent().init(move |_| {
            Box::pin(async move {
                let called = back.call_with(Note(1), None).await;
                let _ = tell.send(called.clone());
                called
                    .map(drop)
                    .map_err(|error| ExitReason::error(error).into())
            })
        });
        let (pid, started) = answer(parent.call(act(move |_, cx| {
            Box::pin(async move {
                cx.trap_exit(true);
                let start = cx.start_link::<Puppet>(strings);
                let pid = start.pid().expect("a process");
                (pid, start.await.map(drop))
            })
        })))
        .unwrap();
        // Its own error or the starter's: either way there is no server.
        assert!(
            matches!(started, Err(StartError::Init(ExitReason::Error(_)))),
            "{started:?}"
        );
        assert!(!system.is_alive(pid));
        assert!(works(&parent));
        drop(told);
    };
    on_all(starter);
    let system = quiet().schedulers(4).build().unwrap();
    for _ in 0..200 {
        starter(&system);
    }
}

/// Starts a call to `b` inside `a`, made by `wait`, and has `b` call `a` meanwhile. `b`'s call must be
/// answered.
fn no_cycle(
    system: &System,
    wait: impl for<'a> FnOnce(&'a mut Context<Puppet>, Server, Gate) -> puppet::Doing<'a, ()>
    + Send
    + 'static,
) {
    let (a, b) = (puppet(system, silent()), puppet(system, silent()));
    let (inside, release) = (Gate::new(), Gate::new());
    // `b` is held up in a handler that will call `a`.
    let (at, back) = (inside.clone(), a.clone());
    let called = b.call_with(
        act(move |_, _| {
            Box::pin(async move {
                at.pass().await;
                back.call_with(Note(1), Duration::from_secs(15)).await
            })
        }),
        None,
    );
    while inside.waiting() == 0 {
        pump(system);
    }
    // `a` waits for `b`, and for something else.
    let (target, free) = (b.clone(), release.clone());
    a.cast(act(move |_, cx| wait(cx, target, free))).unwrap();
    while system
        .process_info(a.pid())
        .wait_timeout(DEADLINE)
        .unwrap()
        .message_queue_len
        > 0
    {
        pump(system);
    }
    inside.open();
    for _ in 0..5 {
        pump(system);
    }
    release.open();
    assert_eq!(answer(called), Ok(Ok(1)));
}

#[test]
fn a_call_raced_against_something_else_is_no_cycle() {
    use futures_lite::future::or;
    on_all(|system| {
        // A sleep,
        no_cycle(system, |cx, b, _| {
            Box::pin(async move {
                let sleep = cx.sleep(10 * MS);
                or(async { drop(b.call_with(Note(2), None).await) }, sleep).await;
            })
        });
        // a future of another library's,
        no_cycle(system, |_, b, release| {
            Box::pin(or(
                async move { drop(b.call_with(Note(2), None).await) },
                release.pass(),
            ))
        });
        // blocking work,
        no_cycle(system, |cx, b, release| {
            let work = cx.blocking(move || {
                // Inline on a manual system: it must not wait for anybody there.
                let end = std::time::Instant::now() + 5 * MS;
                while release.waiting() == 0 && std::time::Instant::now() < end {
                    std::thread::yield_now();
                }
            });
            Box::pin(or(
                async move { drop(b.call_with(Note(2), None).await) },
                async { drop(work.await) },
            ))
        });
        // one that wakes its waker by itself and keeps none,
        no_cycle(system, |_, b, release| {
            let spin = std::future::poll_fn(move |cx| {
                let mut pass = release.pass();
                match Pin::new(&mut pass)
                    .poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
                {
                    Poll::Ready(()) => Poll::Ready(()),
                    Poll::Pending => {
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    }
                }
            });
            Box::pin(or(
                async move { drop(b.call_with(Note(2), None).await) },
                spin,
            ))
        });
        // room in a mailbox,
        no_cycle(system, |cx, b, release| {
            let bounded = MailboxPolicy::Bounded {
                capacity: 1,
                overflow: Overflow::Reject,
            };
            let full = cx
                .spawn_with(
                    noex::SpawnOptions::new().mailbox(bounded),
                    move |mut cx: Inbox<u32>| async move {
                        release.pass().await;
                        while let noex::Received::Message(_) = cx.recv().await {}
                    },
                )
                .unwrap();
            let _ = full.send(1);
            Box::pin(or(
                async move { drop(b.call_with(Note(2), None).await) },
                full.send_async(2),
            ))
        });
        // or the yielding of its turn.
        no_cycle(system, |cx, b, release| {
            let yielding = async move {
                while release.waiting() == 0 {
                    let mut pass = release.pass();
                    if puppet::poll_once(&mut pass).await.is_some() {
                        return;
                    }
                    cx.yield_now().await;
                }
                release.pass().await;
            };
            Box::pin(or(
                async move { drop(b.call_with(Note(2), None).await) },
                yielding,
            ))
        });
    });
}

#[test]
fn several_calls_at_once_are_no_cycle_while_one_of_them_may_answer() {
    on_all(|system| {
        let third = puppet(system, silent());
        let server = third.clone();
        let gate = Gate::new();
        hold_up(system, &third, &gate);
        let open = gate.clone();
        no_cycle(system, move |_, b, release| {
            // The other call is answered in time, and the handler gives up the one to `b`.
            Box::pin(async move {
                drop(gate);
                let first = futures_lite::future::or(b.call_with(Note(2), None), async {
                    let other = server.call_with(Note(3), None);
                    futures_lite::future::or(other, async {
                        release.pass().await;
                        open.open();
                        std::future::pending().await
                    })
                    .await
                });
                assert_eq!(first.await, Ok(3));
            })
        });
        // A set of them.
        let (it, other) = (puppet(system, silent()), puppet(system, silent()));
        let (me, them) = (it.clone(), other.clone());
        let both = answer(it.call(act(move |_, _| {
            Box::pin(async move { call_all([&them, &them], Note(4)).await })
        })));
        assert_eq!(both, Ok(vec![Ok(4), Ok(4)]));
        // But when all that is left is a cycle it is found.
        let back = act(move |_, _| {
            Box::pin(async move {
                let (called, answered) = futures_lite::future::zip(
                    me.call_with(Note(5), None),
                    other.call_with(Note(6), None),
                )
                .await;
                (called, answered)
            })
        });
        let (called, answered) = answer(it.call_with(back, None)).unwrap();
        assert_eq!(answered, Ok(6));
        assert_eq!(cycle_of(called), [it.pid(), it.pid()]);
    });
}

#[test]
fn a_deferred_call_is_no_cycle_while_its_right_to_answer_may_go_anywhere() {
    on_all(|system| {
        // `a` calls `b`, which hands the call on; whoever has it calls `a`. The first answer comes
        // from outside, and then `a` serves the other.
        let (a, b) = (puppet(system, silent()), puppet(system, silent()));
        let (send, replies) = reports();
        let target = b.clone();
        let outer = a.call_with(
            act(move |_, _| {
                Box::pin(async move {
                    let deferred = ask::<u32>(move |_, reply, _| drop(send.send(reply)));
                    target.call_with(deferred, None).await
                })
            }),
            None,
        );
        let reply = next(system, &replies);
        let back = b.call_with(through(vec![a.clone()]), None);
        for _ in 0..5 {
            pump(system);
        }
        reply.reply(9);
        assert_eq!(answer(outer), Ok(Ok(9)));
        assert_eq!(answer(back), Ok(Ok(1)));
    });
}

#[test]
fn a_server_that_waits_with_the_right_to_answer_in_hand_is_no_part_of_a_cycle() {
    struct Clerk;
    /// Calls the last of them with the rest, and answers what it is answered.
    struct Through(Vec<ServerRef<Clerk>>);
    impl GenServer for Clerk {
        type Args = ();
        async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
            Ok(Clerk)
        }
    }
    impl HandleRequest<Through> for Clerk {
        type Reply = Outcome;
        async fn handle_request(
            &mut self,
            mut through: Through,
            reply: ReplyTo<Outcome>,
            _: &mut Context<Self>,
        ) {
            reply.reply(match through.0.pop() {
                None => Ok(0),
                Some(next) => next.call(through).await.and_then(|answer| answer),
            });
        }
    }
    on_all(|system| {
        let start = || system.start::<Clerk>(()).wait_timeout(DEADLINE).unwrap();
        let (a, b) = (start(), start());
        assert_eq!(a.call(Through(vec![b.clone()])).wait(), Ok(Ok(0)));
        // It might be handed on meanwhile, so the wait is no edge; the cycle ends by the timeout.
        let ring = Through(vec![a.clone(), b]);
        assert_eq!(a.call_with(ring, 30 * MS).wait(), Err(CallError::Timeout));
    });
}

#[test]
fn a_call_dropped_from_a_full_mailbox_is_no_part_of_a_cycle() {
    // `a` calls `b`, whose mailbox drops that call for a newer message, sent from outside: `a` is
    // answered with that. Until it runs on, `b` calling it is no cycle.
    for seed in 0..40 {
        let (system, driver) = quiet().virtual_clock().auto_advance().seed(seed).manual();
        let a = puppet(&system, silent());
        let bounded = MailboxPolicy::Bounded {
            capacity: 1,
            overflow: Overflow::DropOldest,
        };
        let b = system
            .start_with::<Puppet>(silent(), ServerOptions::new().mailbox(bounded))
            .wait_timeout(DEADLINE)
            .unwrap();
        let gate = Gate::new();
        let (at, back) = (gate.clone(), a.clone());
        let (tell, told) = reports();
        b.cast(act(move |_, _| {
            Box::pin(async move {
                at.pass().await;
                let _ = tell.send(back.call_with(Note(1), None).await);
            })
        }))
        .unwrap();
        driver.run_until_idle();
        let target = b.clone();
        let called = a.call_with(
            act(move |_, _| Box::pin(async move { target.call_with(Note(2), None).await })),
            None,
        );
        driver.run_until_idle();
        gate.open();
        b.cast(Note(3)).unwrap();
        assert_eq!(next(&system, &told), Ok(1), "seed {seed}");
        assert_eq!(answer(called), Ok(Err(CallError::Overloaded)));
    }
}

#[test]
fn a_caller_in_blocking_work_is_no_part_of_a_cycle() {
    let system = quiet().schedulers(2).build().unwrap();
    let (a, b) = (puppet(&system, silent()), puppet(&system, silent()));
    let (target, back) = (b.clone(), a.clone());
    // A real deadlock, which only the timeout ends: a thread of the pool may be woken by anything.
    let outer = a.call_with(
        act(move |_, cx| {
            Box::pin(async move {
                let work = cx.blocking(move || {
                    let call = target.call_with(
                        act(move |_, _| {
                            Box::pin(async move { back.call_with(Note(1), 20 * MS).await })
                        }),
                        None,
                    );
                    call.wait()
                });
                work.await
            })
        }),
        None,
    );
    assert_eq!(answer(outer), Ok(Ok(Ok(Err(CallError::Timeout)))));
}

#[test]
fn a_cycle_is_found_although_each_call_has_a_timeout() {
    on_all(|system| {
        let (a, b) = (puppet(system, silent()), puppet(system, silent()));
        let before = system.now();
        let (target, back) = (b.clone(), a.clone());
        let outcome = answer(a.call(act(move |_, _| {
            Box::pin(async move {
                target
                    .call(act(move |_, _| {
                        Box::pin(async move { back.call(Note(1)).await })
                    }))
                    .await
            })
        })));
        // Either of the two may be the one that closes it.
        cycle_of(outcome.unwrap().and_then(|inner| inner));
        assert!(system.now() < before + Duration::from_secs(5), "at once");
    });
}

#[test]
fn the_end_of_a_server_breaks_the_cycle_it_would_be_part_of() {
    on_all(|system| {
        // a waits for b, b for c; c is killed, so nobody is left waiting; then c's slot may be
        // another's, and a new wait there is no cycle.
        let servers: Vec<_> = (0..3).map(|_| puppet(system, silent())).collect();
        let gate = Gate::new();
        hold_up(system, &servers[2], &gate);
        let outer =
            servers[0].call_with(through(vec![servers[1].clone(), servers[2].clone()]), None);
        for _ in 0..3 {
            pump(system);
        }
        system.exit(servers[2].pid(), ExitReason::Kill);
        assert_eq!(
            answer(outer),
            Ok(Err(CallError::Exited(ExitReason::Killed)))
        );
        let fourth = puppet(system, silent());
        assert_eq!(
            answer(fourth.call_with(through(vec![servers[0].clone(), servers[1].clone()]), None)),
            Ok(Ok(2))
        );
    });
}

#[test]
fn calls_that_only_go_down_never_close_a_cycle() {
    // Servers in layers that call only lower ones, hammered from four threads: whatever is answered,
    // it is never a cycle.
    struct Layer {
        below: Vec<Server>,
    }
    let system = quiet().schedulers(4).build().unwrap();
    let layers: Vec<Layer> = {
        let mut all: Vec<Layer> = Vec::new();
        for _ in 0..5 {
            all.push(Layer {
                below: (0..3).map(|_| puppet(&system, silent())).collect(),
            });
        }
        all
    };
    fn random(state: &mut u64) -> usize {
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (*state >> 33) as usize
    }
    let mut seen: HashMap<String, u64> = HashMap::new();
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for thread in 0..4u64 {
            let layers = &layers;
            threads.push(scope.spawn(move || {
                let mut state = thread + 1;
                let mut seen: HashMap<String, u64> = HashMap::new();
                for _ in 0..600 {
                    // A way down, perhaps with layers left out; now and then with a hasty timeout.
                    let way: Vec<Server> = layers
                        .iter()
                        .filter_map(|layer| {
                            let pick = random(&mut state);
                            (pick % 4 > 0)
                                .then(|| layer.below[pick / 4 % layer.below.len()].clone())
                        })
                        .collect();
                    let Some((first, rest)) = way.split_first() else {
                        continue;
                    };
                    let timeout = if random(&mut state) % 16 == 0 {
                        MS
                    } else {
                        DEADLINE
                    };
                    let outcome = first.call_with(through(rest.to_vec()), timeout).wait();
                    let kind = match outcome {
                        Ok(Ok(n)) => {
                            assert_eq!(n as usize, rest.len());
                            "ok".to_owned()
                        }
                        Ok(Err(error)) | Err(error) => format!("{error:?}"),
                    };
                    *seen.entry(kind).or_default() += 1;
                }
                seen
            }));
        }
        for thread in threads {
            for (kind, count) in thread.join().unwrap() {
                *seen.entry(kind).or_default() += count;
            }
        }
    });
    assert!(!seen.keys().any(|kind| kind.contains("Cycle")), "{seen:?}");
    assert!(seen["ok"] > 1000, "{seen:?}");
    for layer in &layers {
        assert!(layer.below.iter().all(works));
    }
}

#[test]
fn servers_that_are_called_round_but_never_all_at_once_get_no_error() {
    // a calls b, then b calls a, over and over, but never while the other waits: an edge that was
    // left behind would close a cycle.
    let round = |system: &System, rounds: u32| {
        let (a, b) = (puppet(system, silent()), puppet(system, silent()));
        for n in 0..rounds {
            let (from, to) = if n % 2 == 0 { (&a, &b) } else { (&b, &a) };
            assert_eq!(
                answer(from.call_with(through(vec![to.clone()]), None)),
                Ok(Ok(1))
            );
        }
        done(&a, |_, _| ());
    };
    on_all(|system| round(system, 10));
    let system = quiet().schedulers(4).build().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| round(&system, 1000));
        }
    });
}
