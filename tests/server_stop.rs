//! How a server ends: by its own callbacks, by its parent, by request, by a panic.

mod puppet;
mod support;

use std::future::Future;
use std::time::Duration;

use noex::prelude::*;
use noex::{CallError, Inbox, Received};
use puppet::{
    Do, Gate, Note, Puppet, Strings, Told, act, answer, ask, at_once, done, end_of, hold_up, puppet,
};
use support::{DEADLINE, next, on_all, quiet, reports};

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

struct Crash;

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
