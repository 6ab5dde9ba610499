//! Servers: how they start, what their callbacks may do, and how they end.

mod puppet;
mod support;

use std::future::Future;
use std::time::Duration;

use noex::prelude::*;
use noex::{CallError, Inbox, Received, Start, StartError};
use puppet::{
    Ask, Do, Gate, Note, Puppet, Strings, Told, act, answer, ask, at_once, done, end_of, hold_up,
    puppet,
};
use support::{DEADLINE, next, on_all, quiet, reports};

struct Counter {
    count: i64,
}
struct Get;
struct Add(i64);
struct Crash;

impl GenServer for Counter {
    type Args = i64;
    async fn init(start: i64, _cx: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Counter { count: start })
    }
}
impl HandleCall<Get> for Counter {
    type Reply = i64;
    async fn handle_call(&mut self, _: Get, _cx: &mut Context<Self>) -> i64 {
        self.count
    }
}
impl HandleCall<Crash> for Counter {
    type Reply = ();
    async fn handle_call(&mut self, _: Crash, _cx: &mut Context<Self>) {
        panic!("as told");
    }
}
impl HandleCast<Add> for Counter {
    async fn handle_cast(&mut self, Add(n): Add, _cx: &mut Context<Self>) {
        self.count += n
    }
}

#[test]
fn a_counter_counts() {
    let system = System::new().unwrap();
    let counter = system.start::<Counter>(40).wait().unwrap();
    counter.cast(Add(2)).unwrap();
    assert_eq!(counter.call(Get).wait(), Ok(42));
    system.shutdown().wait().unwrap();
    assert!(!counter.is_alive());
}

#[test]
fn a_panic_ends_the_server_and_its_callers_hear_why() {
    let system = System::builder().on_event(|_| {}).build().unwrap();
    let counter = system.start::<Counter>(0).wait().unwrap();
    let error = counter.call(Crash).wait().unwrap_err();
    let CallError::Exited(ExitReason::Panic(panic)) = error else {
        panic!("{error:?}")
    };
    assert_eq!(panic.message(), "as told");
    assert!(panic.location().unwrap().file().ends_with("gen_server.rs"));
    assert!(matches!(
        counter.call(Get).wait(),
        Err(CallError::Exited(ExitReason::Panic(_)))
    ));
}

#[test]
fn a_name_is_taken_once() {
    let system = System::new().unwrap();
    let named = |n: i64| {
        system
            .start_with::<Counter>(n, ServerOptions::new().name("counter"))
            .wait()
    };
    let first = named(1).unwrap();
    assert_eq!(
        named(2).unwrap_err(),
        StartError::AlreadyStarted(first.pid())
    );
    first.stop(ExitReason::Normal).wait().unwrap();
    let second = named(3).unwrap();
    assert_eq!(
        system
            .server::<Counter>("counter")
            .call(Get)
            .wait_timeout(Duration::from_secs(5)),
        Ok(3)
    );
    assert_ne!(first.pid(), second.pid());
}

#[test]
fn a_manual_system_is_driven_by_wait() {
    let (system, driver) = System::builder().manual();
    let counter = system.start::<Counter>(40).wait().unwrap();
    counter.cast(Add(2)).unwrap();
    assert_eq!(counter.call(Get).wait(), Ok(42));
    driver.run_until_idle();
    let stats = system.stats();
    assert_eq!((stats.sent, stats.handled, stats.queued), (3, 3, 0));
}

// ---- what follows drives puppets: servers whose callbacks do what the test says ----

fn named(name: &str) -> ServerOptions {
    ServerOptions::new().name(name)
}

/// Starts a puppet that must not come up, and says why it did not.
fn failure(start: Start<Puppet>) -> StartError {
    start.wait_timeout(DEADLINE).expect_err("no start")
}

#[test]
fn a_start_that_fails_says_why_runs_no_terminate_and_frees_its_name() {
    on_all(|system| {
        let (tell, told) = reports();
        let start = |strings| system.start_with::<Puppet>(strings, named("it"));
        let ignore = Strings::new(&tell).init(|_| Box::pin(async { Err(InitStop::Ignore) }));
        assert_eq!(failure(start(ignore)), StartError::Ignore);
        assert_eq!(system.whereis("it"), None);

        let stop =
            Strings::new(&tell).init(|_| Box::pin(async { Err(ExitReason::Timeout.into()) }));
        assert_eq!(failure(start(stop)), StartError::Init(ExitReason::Timeout));
        assert_eq!(system.whereis("it"), None);

        let panic = Strings::new(&tell).init(|_| Box::pin(async { panic!("in init") }));
        let StartError::Init(ExitReason::Panic(reason)) = failure(start(panic)) else {
            panic!("not a panic")
        };
        assert_eq!(reason.message(), "in init");
        assert_eq!(system.whereis("it"), None);

        let at = Gate::new(); // never opened
        let wait = Strings::new(&tell).init(move |_| {
            Box::pin(async move {
                at.pass().await;
                Ok(())
            })
        });
        let starting = start(wait);
        let pid = starting.pid().expect("it is there while its init runs");
        assert_eq!(system.whereis("it"), Some(pid));
        system.exit(pid, ExitReason::Kill);
        assert_eq!(failure(starting), StartError::Init(ExitReason::Killed));
        assert_eq!(system.whereis("it"), None);

        let it = start(Strings::new(&tell))
            .wait_timeout(DEADLINE)
            .expect("the name is free");
        assert_eq!(system.whereis("it"), Some(it.pid()));
        assert!(told.try_recv().is_err(), "no terminate ran");
    });
}

#[test]
fn an_init_that_takes_longer_than_its_timeout_is_killed_and_its_name_is_free() {
    on_all(|system| {
        let (tell, _told) = reports();
        let never = Strings::new(&tell).init(|_| Box::pin(std::future::pending()));
        let options = named("slow").timeout(Duration::from_millis(3));
        let starting = system.start_with::<Puppet>(never, options);
        let pid = starting.pid().expect("a process");
        assert_eq!(failure(starting), StartError::Timeout);
        assert_eq!(system.whereis("slow"), None);
        assert!(!system.is_alive(pid));
        system
            .start_with::<Puppet>(Strings::new(&tell), named("slow"))
            .wait_timeout(DEADLINE)
            .expect("the name is free");
    });
}

#[test]
fn messages_sent_while_init_runs_are_handled_after_it() {
    on_all(|system| {
        let (tell, told) = reports();
        let (gate, note) = (Gate::new(), tell.clone());
        let at = gate.clone();
        let starting = system.start::<Puppet>(Strings::new(&tell).init(move |_| {
            Box::pin(async move {
                at.pass().await;
                let _ = note.send(Told::Note(1));
                Ok(())
            })
        }));
        let pid = starting.pid().expect("a process");
        let server = system.server_ref::<Puppet>(pid).expect("a puppet");
        server.cast(Note(2)).unwrap();
        let call = server.call(Note(3));
        gate.open();
        starting.wait_timeout(DEADLINE).expect("a start");
        assert_eq!(answer(call), Ok(3));
        for n in 1..=3 {
            assert_eq!(next(system, &told), Told::Note(n));
        }
    });
}

#[test]
fn a_failed_start_link_is_an_error_and_an_exit_signal_as_well() {
    on_all(|system| {
        let (tell, told) = reports();
        let parent = puppet(system, Strings::new(&tell));
        let failing = |tell: &_, trap| {
            let strings =
                Strings::new(tell).init(|_| Box::pin(async { Err(ExitReason::Timeout.into()) }));
            act(move |_, cx| {
                cx.trap_exit(trap);
                Box::pin(async move {
                    let start = cx.start_link::<Puppet>(strings);
                    let pid = start.pid().expect("a process");
                    (pid, start.await.map(|_| ()))
                })
            })
        };
        let (child, error) = answer(parent.call(failing(&tell, true))).unwrap();
        assert_eq!(error, Err(StartError::Init(ExitReason::Timeout)));
        assert_eq!(
            next(system, &told),
            Told::Exit(Some(child), ExitReason::Timeout)
        );
        // One that does not trap ends by it: before its handler goes on, or right after.
        let last = answer(parent.call(failing(&tell, false)));
        assert!(
            matches!(last, Ok(_) | Err(CallError::Exited(ExitReason::Timeout))),
            "{last:?}"
        );
        assert_eq!(end_of(system, &parent), ExitReason::Timeout);
        assert!(told.try_recv().is_err(), "no terminate");
    });
}

#[test]
fn start_monitor_gives_a_down_for_a_server_that_started_and_none_for_one_that_did_not() {
    on_all(|system| {
        let (tell, told) = reports();
        let parent = puppet(system, Strings::new(&tell));
        let start = |strings: Strings| {
            let start = act(move |_, cx| {
                Box::pin(async move {
                    cx.start_monitor::<Puppet>(strings)
                        .await
                        .map(|(server, _)| server)
                })
            });
            answer(parent.call(start)).expect("an answer")
        };
        let (quiet, _) = reports();
        let failing = Strings::new(&quiet).init(|_| Box::pin(async { Err(InitStop::Ignore) }));
        assert_eq!(start(failing), Err(StartError::Ignore));
        let child = start(Strings::new(&quiet)).expect("a child");
        system.exit(child.pid(), ExitReason::Timeout);
        assert_eq!(
            next(system, &told),
            Told::Down(child.pid(), ExitReason::Timeout)
        );
        done(&parent, |_, _| ());
        assert!(told.try_recv().is_err(), "one down");
    });
}

#[test]
fn what_a_callback_continues_with_comes_before_all_messages_in_order() {
    on_all(|system| {
        let (tell, told) = reports();
        let starting = system.start::<Puppet>(Strings::new(&tell).init(|cx| {
            cx.continue_with(Note(1));
            cx.continue_with(at_once(|puppet, cx| {
                puppet.tell(Told::Note(2));
                cx.continue_with(Note(4));
            }));
            cx.continue_with(Note(3));
            let _ = cx.this().cast(Note(5));
            Box::pin(async { Ok(()) })
        }));
        let server = starting.wait_timeout(DEADLINE).expect("a start");
        for n in [1, 2, 3, 4, 5] {
            assert_eq!(next(system, &told), Told::Note(n));
        }
        // A call's reply does not wait for what its handler continues with.
        let gate = Gate::new();
        let at = gate.clone();
        let continued = at_once(move |_, cx| {
            let _ = cx.this().cast(Note(8));
            cx.continue_with(act(move |puppet, _| {
                Box::pin(async move {
                    at.pass().await;
                    puppet.tell(Told::Note(7));
                })
            }));
            6
        });
        assert_eq!(answer(server.call(continued)), Ok(6));
        gate.open();
        assert_eq!(next(system, &told), Told::Note(7));
        assert_eq!(next(system, &told), Told::Note(8));
    });
}

#[test]
fn every_callback_can_stop_the_server_and_nothing_is_handled_after_it() {
    on_all(|system| {
        type Trigger = fn(&System, &ServerRef<Puppet>);
        fn prepare(puppet: &ServerRef<Puppet>) {
            done(puppet, |puppet, cx| {
                cx.trap_exit(true);
                puppet.then_stop = Some(ExitReason::Timeout);
            });
        }
        fn stop() -> Do<()> {
            at_once(|_, cx| {
                cx.continue_with(Note(8));
                cx.stop(ExitReason::Timeout);
                cx.stop(ExitReason::Normal); // the first reason stands
            })
        }
        let triggers: [(&str, Trigger); 9] = [
            ("call", |_, puppet| drop(puppet.call(stop()))),
            ("cast", |_, puppet| puppet.cast(stop()).unwrap()),
            ("info", |_, puppet| puppet.send(stop()).unwrap()),
            ("untyped", |system, puppet| {
                prepare(puppet);
                system.send(puppet.pid(), "untyped");
            }),
            ("routed", |system, puppet| system.send(puppet.pid(), stop())),
            ("continue", |_, puppet| {
                puppet
                    .cast(at_once(|_, cx| cx.continue_with(stop())))
                    .unwrap();
            }),
            ("request", |_, puppet| {
                drop(puppet.call(ask::<u32>(|_, _, cx| cx.stop(ExitReason::Timeout))));
            }),
            ("exit", |system, puppet| {
                prepare(puppet);
                system.exit(puppet.pid(), ExitReason::Killed);
            }),
            ("down", |system, puppet| {
                prepare(puppet);
                let other = system
                    .spawn(|mut cx: Inbox<()>| async move { drop(cx.recv().await) })
                    .unwrap();
                let pid = other.pid();
                done(puppet, move |_, cx| {
                    cx.monitor(pid);
                });
                other.send(()).unwrap();
                system.monitor(pid).wait_timeout(DEADLINE).unwrap();
            }),
        ];
        for (name, trigger) in triggers {
            let (tell, told) = reports();
            let it = puppet(system, Strings::new(&tell));
            trigger(system, &it);
            it.cast(Note(9)).unwrap();
            assert_eq!(end_of(system, &it), ExitReason::Timeout, "{name}");
            let seen: Vec<Told> = told.try_iter().collect();
            assert_eq!(
                seen.last(),
                Some(&Told::Terminate(ExitReason::Timeout)),
                "{name}: {seen:?}"
            );
            assert!(
                !seen.contains(&Told::Note(8)) && !seen.contains(&Told::Note(9)),
                "{name}: {seen:?}"
            );
        }
    });
}

#[test]
fn a_reply_given_with_stop_is_sent_after_terminate_and_before_the_down() {
    on_all(|system| {
        let (tell, told) = reports();
        let gate = Gate::new();
        let (at, ready) = (gate.clone(), gate.clone());
        let it = puppet(
            system,
            Strings::new(&tell)
                .tell_drop()
                .terminate(act(move |puppet, _| {
                    Box::pin(async move {
                        at.pass().await;
                        puppet.tell(Told::Note(1));
                    })
                })),
        );
        let server = it.clone();
        let report = tell.clone();
        system
            .spawn(move |mut cx: Inbox<()>| async move {
                cx.monitor(server.pid());
                let mut call = server.call(at_once(|_, cx| {
                    cx.stop(ExitReason::Timeout);
                    7
                }));
                // Not before `terminate` is done ...
                while ready.waiting() == 0 {
                    cx.yield_now().await;
                }
                let early = call.try_take().is_some();
                ready.open();
                // ... and there when the `Down` is.
                let Received::Down(down) = cx.recv().await else {
                    return;
                };
                assert_eq!(down.reason, ExitReason::Timeout);
                let reply = call.try_take();
                let _ = report.send(Told::Note(if !early && reply == Some(Ok(7)) {
                    2
                } else {
                    0
                }));
            })
            .unwrap();
        assert_eq!(next(system, &told), Told::Terminate(ExitReason::Timeout));
        assert_eq!(next(system, &told), Told::Note(1));
        assert_eq!(next(system, &told), Told::Dropped);
        assert_eq!(next(system, &told), Told::Note(2));
    });
}

/// Starts a puppet as the child of another; the parent, the child, and what the child tells.
fn family(
    system: &System,
    child_traps: bool,
) -> (
    ServerRef<Puppet>,
    ServerRef<Puppet>,
    std::sync::mpsc::Receiver<Told>,
) {
    let (tell, told) = reports();
    let (quiet, _) = reports();
    let parent = puppet(system, Strings::new(&quiet));
    let strings = Strings::new(&tell).init(move |cx| {
        cx.trap_exit(child_traps);
        Box::pin(async { Ok(()) })
    });
    let child = answer(parent.call(act(move |_, cx| {
        Box::pin(async move { cx.start_link::<Puppet>(strings).await.expect("a child") })
    })))
    .expect("a child");
    (parent, child, told)
}

#[test]
fn the_parents_exit_stops_a_child_that_traps_whatever_the_reason() {
    on_all(|system| {
        for reason in [
            ExitReason::Normal,
            ExitReason::Shutdown(None),
            ExitReason::Timeout,
        ] {
            let (parent, child, told) = family(system, true);
            child.cast(Note(1)).unwrap();
            parent.stop(reason.clone()).wait_timeout(DEADLINE).unwrap();
            assert_eq!(end_of(system, &child), reason);
            let seen: Vec<Told> = told.try_iter().collect();
            assert_eq!(seen, [Told::Note(1), Told::Terminate(reason)]);
        }
    });
}

#[test]
fn the_parents_exit_ends_a_child_that_does_not_trap_without_terminate_unless_normal() {
    on_all(|system| {
        let (parent, child, told) = family(system, false);
        parent
            .stop(ExitReason::Timeout)
            .wait_timeout(DEADLINE)
            .unwrap();
        assert_eq!(end_of(system, &child), ExitReason::Timeout);
        assert!(told.try_recv().is_err());

        let (parent, child, told) = family(system, false);
        parent
            .stop(ExitReason::Normal)
            .wait_timeout(DEADLINE)
            .unwrap();
        done(&child, |_, _| ());
        assert!(child.is_alive() && told.try_recv().is_err());
    });
}

#[test]
fn an_exit_from_anyone_but_the_parent_reaches_handle_exit() {
    on_all(|system| {
        let (_parent, child, told) = family(system, true);
        for reason in [ExitReason::Normal, ExitReason::Shutdown(None)] {
            system.exit(child.pid(), reason.clone());
            assert_eq!(next(system, &told), Told::Exit(None, reason));
        }
        let (quiet, _) = reports();
        let other = puppet(system, Strings::new(&quiet));
        let pid = child.pid();
        done(&other, move |_, cx| cx.link(pid));
        other
            .stop(ExitReason::Timeout)
            .wait_timeout(DEADLINE)
            .unwrap();
        assert_eq!(
            next(system, &told),
            Told::Exit(Some(other.pid()), ExitReason::Timeout)
        );
        done(&child, |_, _| ());
    });
}

#[test]
fn terminate_runs_after_a_stop_and_a_panic_not_after_a_signal_or_a_kill() {
    on_all(|system| {
        let (tell, told) = reports();
        let it = puppet(system, Strings::new(&tell));
        it.stop(ExitReason::Timeout).wait_timeout(DEADLINE).unwrap();
        assert_eq!(next(system, &told), Told::Terminate(ExitReason::Timeout));

        let it = puppet(system, Strings::new(&tell));
        it.stop_now(ExitReason::Normal)
            .wait_timeout(DEADLINE)
            .unwrap();
        assert_eq!(next(system, &told), Told::Terminate(ExitReason::Normal));

        for (reason, traps) in [
            (ExitReason::Timeout, false),
            (ExitReason::Kill, false),
            (ExitReason::Kill, true),
        ] {
            let it = puppet(system, Strings::new(&tell));
            done(&it, move |_, cx| cx.trap_exit(traps));
            // Queued before: a signal does not wait for it. (It may have been handled by then.)
            system.exit(it.pid(), reason.clone());
            let seen = if reason == ExitReason::Kill {
                ExitReason::Killed
            } else {
                reason
            };
            assert_eq!(end_of(system, &it), seen);
            assert!(told.try_recv().is_err());
        }
    });
}

#[test]
fn stop_waits_for_what_is_queued_and_stop_now_does_not() {
    on_all(|system| {
        let (tell, told) = reports();
        for now in [false, true] {
            let gate = Gate::new();
            let it = puppet(system, Strings::new(&tell));
            hold_up(system, &it, &gate);
            it.cast(Note(1)).unwrap();
            let call = it.call(Note(2));
            let stop = if now {
                it.stop_now(ExitReason::Normal)
            } else {
                it.stop(ExitReason::Normal)
            };
            it.cast(Note(3)).unwrap();
            gate.open();
            assert_eq!(stop.wait_timeout(DEADLINE), Ok(()));
            let seen: Vec<Told> = told.try_iter().collect();
            if now {
                assert_eq!(seen, [Told::Terminate(ExitReason::Normal)]);
                assert_eq!(answer(call), Err(CallError::Exited(ExitReason::Normal)));
            } else {
                assert_eq!(
                    seen,
                    [
                        Told::Note(1),
                        Told::Note(2),
                        Told::Terminate(ExitReason::Normal)
                    ]
                );
                assert_eq!(answer(call), Ok(2));
            }
        }
    });
}

#[test]
fn who_waits_for_its_own_stop_is_told_so_and_stops() {
    struct Quitter;
    struct Quit(bool);
    impl GenServer for Quitter {
        type Args = ();
        async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
            Ok(Quitter)
        }
    }
    impl HandleCall<Quit> for Quitter {
        type Reply = Result<(), CallError>;
        async fn handle_call(&mut self, quit: Quit, cx: &mut Context<Self>) -> Self::Reply {
            let own = cx.this();
            match quit.0 {
                true => own.stop_now(ExitReason::Shutdown(None)).await,
                false => own.stop(ExitReason::Shutdown(None)).await,
            }
        }
    }
    on_all(|system| {
        for now in [false, true] {
            let quitter = system.start::<Quitter>(()).wait().unwrap();
            let end = system.monitor(quitter.pid());
            let path = match quitter.call(Quit(now)).wait_timeout(DEADLINE) {
                Ok(Err(CallError::Cycle(path))) => path,
                other => panic!("{other:?}"),
            };
            assert_eq!(path.pids(), [quitter.pid(), quitter.pid()]);
            let reason = end.wait_timeout(DEADLINE).unwrap().reason;
            assert_eq!(reason, ExitReason::Shutdown(None));
        }
    });
}

#[test]
fn stop_says_if_the_server_ended_otherwise_and_counts_a_dead_one_as_stopped() {
    on_all(|system| {
        let (tell, _told) = reports();
        let it = puppet(system, Strings::new(&tell));
        let gate = Gate::new();
        hold_up(system, &it, &gate);
        let stop = it.stop(ExitReason::Normal);
        system.exit(it.pid(), ExitReason::Kill);
        assert_eq!(
            stop.wait_timeout(DEADLINE),
            Err(CallError::Exited(ExitReason::Killed))
        );
        assert_eq!(it.stop(ExitReason::Normal).wait_timeout(DEADLINE), Ok(()));

        // Given up after its time; the server goes on with stopping.
        let it = puppet(system, Strings::new(&tell));
        let gate = Gate::new();
        hold_up(system, &it, &gate);
        let stop = it.stop(ExitReason::Normal);
        assert_eq!(
            stop.wait_timeout(Duration::from_millis(2)),
            Err(CallError::Timeout)
        );
        gate.open();
        assert_eq!(end_of(system, &it), ExitReason::Normal);
    });
}

#[test]
fn after_a_panic_terminate_gets_the_state_as_the_handler_left_it() {
    on_all(|system| {
        let (tell, told) = reports();
        let it = puppet(
            system,
            Strings::new(&tell)
                .tell_drop()
                .terminate(at_once(|puppet, _| {
                    // Left by the handler that panicked.
                    let left = puppet.then_stop.clone();
                    puppet.tell(Told::Note(u32::from(left == Some(ExitReason::NoProc))));
                })),
        );
        it.cast(at_once(|puppet, _| {
            puppet.then_stop = Some(ExitReason::NoProc);
            panic!("halfway");
        }))
        .unwrap();
        it.cast(Note(9)).unwrap();
        let reason = end_of(system, &it);
        let ExitReason::Panic(panic) = &reason else {
            panic!("{reason:?}")
        };
        assert_eq!(panic.message(), "halfway");
        let seen: Vec<Told> = told.try_iter().collect();
        assert_eq!(
            seen,
            [Told::Terminate(reason), Told::Note(1), Told::Dropped]
        );
    });
}

#[test]
fn a_second_panic_changes_neither_the_reason_nor_who_is_told() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("third, in drop");
        }
    }
    #[expect(dead_code, reason = "it is there to be dropped")]
    struct Twice(Option<Bomb>);
    impl GenServer for Twice {
        type Args = ();
        async fn init(_: (), cx: &mut Context<Self>) -> Result<Self, InitStop> {
            cx.trap_exit(true);
            Ok(Twice(Some(Bomb)))
        }
        async fn terminate(&mut self, _: ExitReason, _: &mut Context<Self>) {
            panic!("second, in terminate");
        }
    }
    impl HandleCall<Crash> for Twice {
        type Reply = ();
        async fn handle_call(&mut self, _: Crash, _: &mut Context<Self>) {
            panic!("first");
        }
    }
    let first = |reason: &ExitReason| matches!(reason, ExitReason::Panic(panic) if panic.message() == "first");
    on_all(|system| {
        let (tell, told) = reports();
        let it = system.start::<Twice>(()).wait_timeout(DEADLINE).unwrap();
        let watched = it.pid();
        let watcher = puppet(system, Strings::new(&tell));
        done(&watcher, move |_, cx| {
            cx.monitor(watched);
            cx.trap_exit(true);
            cx.link(watched);
        });
        let Err(CallError::Exited(reason)) = answer(it.call(Crash)) else {
            panic!("answered")
        };
        assert!(first(&reason), "{reason:?}");
        for _ in 0..2 {
            match next(system, &told) {
                Told::Down(pid, reason) | Told::Exit(Some(pid), reason) => {
                    assert!(pid == watched && first(&reason), "{reason:?}");
                }
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn a_panic_in_any_callback_is_the_servers_end_and_is_accounted_for() {
    // These callbacks panic where they are called, not in the future they return.
    struct Rude;
    impl GenServer for Rude {
        type Args = ();
        async fn init(_: (), cx: &mut Context<Self>) -> Result<Self, InitStop> {
            cx.trap_exit(true);
            Ok(Rude)
        }
        #[allow(unreachable_code)]
        fn handle_exit(
            &mut self,
            _: noex::Exit,
            _: &mut Context<Self>,
        ) -> impl Future<Output = ()> + Send {
            panic!("rude");
            async {}
        }
        #[allow(unreachable_code)]
        fn handle_any(
            &mut self,
            _: noex::AnyMessage,
            _: &mut Context<Self>,
        ) -> impl Future<Output = ()> + Send {
            panic!("rude");
            async {}
        }
        fn routes(routes: &mut noex::Routes<'_, Self>) {
            routes.info::<Crash>();
            if ROUTES_PANIC.with(|panics| panics.get()) {
                panic!("rude");
            }
        }
    }
    thread_local!(static ROUTES_PANIC: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });
    impl HandleInfo<Crash> for Rude {
        #[allow(unreachable_code)]
        fn handle_info(
            &mut self,
            _: Crash,
            _: &mut Context<Self>,
        ) -> impl Future<Output = ()> + Send {
            panic!("rude");
            async {}
        }
    }
    on_all(|system| {
        for kind in 0..3 {
            let it = system.start::<Rude>(()).wait_timeout(DEADLINE).unwrap();
            match kind {
                0 => system.exit(it.pid(), ExitReason::Timeout),
                1 => system.send(it.pid(), 1u8),
                _ => it.send(Crash).unwrap(),
            }
            assert!(matches!(end_of(system, &it), ExitReason::Panic(_)));
        }
    });
    let (system, driver) = quiet().manual();
    let it = system.start::<Rude>(()).wait().unwrap();
    ROUTES_PANIC.with(|panics| panics.set(true));
    system.send(it.pid(), 1u8);
    driver.run_until_idle();
    assert!(matches!(it.exit_reason(), Some(ExitReason::Panic(_))));
    let stats = system.stats();
    assert_eq!((stats.queued, stats.aborted), (0, 1));
}

#[test]
fn a_receive_timeout_comes_after_silence_and_any_message_takes_it_back() {
    let (system, driver) = quiet().virtual_clock().manual();
    let (tell, told) = reports();
    let ms = Duration::from_millis;
    let starting = system.start::<Puppet>(Strings::new(&tell).init(move |cx| {
        cx.set_timeout(ms(10));
        Box::pin(async { Ok(()) })
    }));
    driver.run_until_idle();
    let it = starting.wait().unwrap();
    driver.advance(ms(9));
    assert!(told.try_recv().is_err(), "early");
    driver.advance(ms(1));
    assert_eq!(told.try_recv(), Ok(Told::Timeout));
    driver.advance(ms(100));
    assert!(told.try_recv().is_err(), "it comes once");

    // Each kind of message takes it back.
    let messages: [fn(&System, &ServerRef<Puppet>); 5] = [
        |_, it| it.cast(Note(1)).unwrap(),
        |_, it| it.send(Note(1)).unwrap(),
        |_, it| drop(it.call(Note(1))),
        |system, it| system.send(it.pid(), "untyped"),
        |system, it| system.exit(it.pid(), ExitReason::Normal),
    ];
    done(&it, |_, cx| {
        cx.trap_exit(true);
    });
    for send in messages {
        done(&it, move |_, cx| cx.set_timeout(ms(10)));
        driver.advance(ms(5));
        send(&system, &it);
        driver.advance(ms(100));
        let seen: Vec<Told> = told.try_iter().collect();
        assert!(seen.len() == 1 && seen[0] != Told::Timeout, "{seen:?}");
    }

    // It counts from the end of the callback, and the last one asked for counts.
    it.cast(act(move |_, cx| {
        Box::pin(async move {
            cx.set_timeout(ms(1));
            cx.set_timeout(ms(10));
            cx.sleep(ms(20)).await;
        })
    }))
    .unwrap();
    driver.advance(ms(29));
    assert!(told.try_recv().is_err());
    driver.advance(ms(1));
    assert_eq!(told.try_recv(), Ok(Told::Timeout));

    // Zero: only what is in the mailbox already comes first.
    it.cast(at_once(|_, cx| cx.set_timeout(Duration::ZERO)))
        .unwrap();
    driver.run_until_idle();
    assert_eq!(told.try_recv(), Ok(Told::Timeout));
    it.cast(at_once(|_, cx| cx.set_timeout(Duration::ZERO)))
        .unwrap();
    it.cast(Note(2)).unwrap();
    driver.advance(ms(100));
    let seen: Vec<Told> = told.try_iter().collect();
    assert_eq!(seen, [Told::Note(2)]);

    // And it may stop the server.
    it.cast(at_once(|puppet, cx| {
        puppet.then_stop = Some(ExitReason::Timeout);
        cx.set_timeout(Duration::ZERO);
    }))
    .unwrap();
    driver.run_until_idle();
    let seen: Vec<Told> = told.try_iter().collect();
    assert_eq!(seen, [Told::Timeout, Told::Terminate(ExitReason::Timeout)]);
    assert_eq!(it.exit_reason(), Some(ExitReason::Timeout));
}

#[test]
fn untyped_messages_are_routed_by_type_or_reach_handle_any() {
    on_all(|system| {
        let (tell, told) = reports();
        let it = puppet(system, Strings::new(&tell));
        system.send(it.pid(), Note(1));
        system.send(it.pid(), 2u8);
        let pid = it.pid();
        done(&it, move |_, cx| cx.send(pid, Note(3)));
        assert_eq!(next(system, &told), Told::Note(1));
        assert_eq!(next(system, &told), Told::Any("u8"));
        assert_eq!(next(system, &told), Told::Note(3));
    });
}

#[test]
fn an_untyped_message_that_nobody_expects_is_a_dead_letter() {
    let letters = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let hook = letters.clone();
    let (system, driver) = quiet()
        .on_dead_letter(move |letter| hook.lock().unwrap().push((letter.to, letter.message)))
        .manual();
    let counter = system.start::<Counter>(0).wait().unwrap();
    system.send(counter.pid(), "unexpected");
    driver.run_until_idle();
    assert_eq!(*letters.lock().unwrap(), [(Some(counter.pid()), "&str")]);
    let stats = system.stats();
    assert_eq!(
        (stats.sent, stats.handled, stats.undelivered, stats.queued),
        (2, 1, 1, 0)
    );
    assert_eq!(counter.call(Get).wait(), Ok(0));
}

#[test]
fn a_name_leads_to_whoever_has_it_now() {
    on_all(|system| {
        let (tell, told) = reports();
        let name = system.server::<Puppet>("it");
        assert_eq!(answer(name.call(Note(0))), Err(CallError::NoProc));
        name.cast(Note(0)).unwrap(); // dropped and counted
        let mut pids = std::collections::HashSet::new();
        for n in 1..=3 {
            let it = system
                .start_with::<Puppet>(Strings::new(&tell), named("it"))
                .wait_timeout(DEADLINE)
                .unwrap();
            assert!(pids.insert(it.pid()));
            name.cast(Note(n)).unwrap();
            name.send(Note(n)).unwrap();
            assert_eq!(answer(name.call(Note(n))), Ok(n));
            for _ in 0..3 {
                assert_eq!(next(system, &told), Told::Note(n));
            }
            assert_eq!(name.resolve(), Some(it.clone()));
            // Not by the wrong type.
            assert!(system.server::<Counter>("it").resolve().is_none());
            system.exit(it.pid(), ExitReason::Kill);
            end_of(system, &it);
            assert_eq!((system.whereis("it"), name.resolve()), (None, None));
            // The old reference says why its server ended; it never leads to the new one.
            assert_eq!(
                answer(it.call(Note(n))),
                Err(CallError::Exited(ExitReason::Killed))
            );
        }
    });
}

#[test]
fn recipients_and_requesters_hide_who_it_is() {
    on_all(|system| {
        let (tell, told) = reports();
        let it = puppet(system, Strings::new(&tell));
        let (recipient, requester) = (it.recipient::<Note>(), it.requester::<Note>());
        let deferred = it.requester::<Ask<u32>>();
        recipient.clone().send(Note(1)).unwrap();
        assert_eq!(answer(requester.clone().call(Note(2))), Ok(2));
        assert_eq!(
            answer(deferred.call(ask(|_, reply, _| reply.reply(3)))),
            Ok(3)
        );
        assert_eq!(next(system, &told), Told::Note(1));
        assert_eq!(next(system, &told), Told::Note(2));
        assert_eq!((recipient.pid(), requester.pid()), (it.pid(), it.pid()));
        it.stop(ExitReason::Normal).wait_timeout(DEADLINE).unwrap();
        assert!(!recipient.is_alive());
        recipient.send(Note(4)).unwrap();
        let gone = Err(CallError::Exited(ExitReason::Normal));
        assert_eq!(answer(requester.call(Note(5))), gone);
    });
}
