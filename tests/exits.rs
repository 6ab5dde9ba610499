//! Exit signals and kill: what each does to whom, what overtakes what, and when a death is one.

mod orders;
mod support;

use noex::prelude::*;
use noex::{Inbox, Received};
use orders::{Do, Told, broken, done, order, reasons, run, start};
use support::{DEADLINE, end_of, next, on_all, quiet, reports, settled};

#[test]
fn exit_ends_who_does_not_trap_with_any_reason_but_normal() {
    on_all(|system| {
        for reason in reasons() {
            let (plain, told) = start(system);
            system.exit(plain.pid(), reason.clone());
            match reason {
                ExitReason::Normal => done(system, &plain, &told),
                ExitReason::Kill => assert_eq!(end_of(system, &plain), ExitReason::Killed),
                reason => assert_eq!(end_of(system, &plain), reason),
            }
        }
    });
}

#[test]
fn exit_is_a_message_to_who_traps_whatever_the_reason_but_kill() {
    on_all(|system| {
        let (traps, told) = start(system);
        order(&traps, Do::Trap(true));
        done(system, &traps, &told);
        for reason in reasons() {
            if reason != ExitReason::Kill {
                system.exit(traps.pid(), reason.clone());
                assert_eq!(next(system, &told), Told::Exit(None, reason));
            }
        }
        system.exit(traps.pid(), ExitReason::Kill);
        assert_eq!(end_of(system, &traps), ExitReason::Killed);
    });
}

#[test]
fn exit_to_oneself_follows_the_same_table_but_for_normal() {
    on_all(|system| {
        for trap in [false, true] {
            for reason in reasons() {
                let (process, told) = start(system);
                order(&process, Do::Trap(trap));
                let (pid, sent) = (process.pid(), reason.clone());
                run(&process, move |cx| cx.exit(pid, sent));
                match (trap, reason) {
                    (_, ExitReason::Kill) => {
                        assert_eq!(end_of(system, &process), ExitReason::Killed);
                    }
                    (true, reason) if !reason.is_shutdown() => {
                        assert_eq!(next(system, &told), Told::Exit(Some(pid), reason));
                    }
                    (_, reason) => assert_eq!(end_of(system, &process), reason),
                }
            }
        }
    });
}

#[test]
fn kill_cannot_be_trapped_and_is_seen_as_killed() {
    on_all(|system| {
        let (victim, told_victim) = start(system);
        let (linked, told) = start(system);
        order(&victim, Do::Trap(true));
        order(&linked, Do::Trap(true));
        order(&linked, Do::Link(victim.pid()));
        done(system, &victim, &told_victim);
        done(system, &linked, &told);
        system.exit(victim.pid(), ExitReason::Kill);
        assert_eq!(
            next(system, &told),
            Told::Exit(Some(victim.pid()), ExitReason::Killed)
        );
        assert_eq!(end_of(system, &victim), ExitReason::Killed);
    });
}

#[test]
fn messages_and_trapped_exits_of_one_sender_arrive_in_order() {
    on_all(|system| {
        let (receiver, told) = start(system);
        order(&receiver, Do::Trap(true));
        done(system, &receiver, &told);
        let to = receiver.clone();
        let sender = system
            .spawn(move |cx: Inbox<()>| async move {
                to.send(Do::Note("before")).expect("room");
                cx.exit(to.pid(), ExitReason::Timeout);
                to.send(Do::Note("after")).expect("room");
            })
            .expect("a sender");
        assert_eq!(next(system, &told), Told::Note("before"));
        assert_eq!(
            next(system, &told),
            Told::Exit(Some(sender.pid()), ExitReason::Timeout)
        );
        assert_eq!(next(system, &told), Told::Note("after"));
    });
}

#[test]
fn what_keeps_its_place_in_the_mailbox_and_what_does_not() {
    on_all(|system| {
        let (ends, _t) = start(system);
        let pid = ends.pid();
        let (gate, open) = support::gate();
        let (tell, told) = reports();
        let receiver = system
            .spawn(move |mut cx: Inbox<&str>| async move {
                cx.trap_exit(true);
                cx.monitor(pid);
                let _ = tell.send("waits".to_owned());
                gate.await;
                for _ in 0..6 {
                    let _ = tell.send(match cx.recv().await {
                        Received::Message(message) => message.to_owned(),
                        Received::Down(_) => "down".to_owned(),
                        Received::Exit(exit) => exit.reason.to_string(),
                        other => panic!("{other:?}"),
                    });
                }
            })
            .expect("a receiver");
        assert_eq!(next(system, &told), "waits");
        let send = |message| receiver.send(message).expect("room");
        send("first");
        order(&ends, Do::End(broken()));
        end_of(system, &ends);
        send("second");
        system.exit(receiver.pid(), ExitReason::Timeout);
        let timer = system.send_after(
            std::time::Duration::from_millis(1),
            &receiver,
            "from a timer",
        );
        // It has fired when its time is gone.
        support::until(system, || {
            support::pass(system, std::time::Duration::from_millis(1));
            system.read_timer(timer).is_none()
        });
        support::until(system, || queued(system, receiver.pid()) == 5);
        send("last");
        // Monitors, links and questions are through before any of that.
        let info = system.process_info(receiver.pid()).wait().expect("alive");
        assert_eq!((info.message_queue_len, info.trap_exit), (6, true));
        open.open();
        for expected in ["first", "down", "second", "timeout", "from a timer", "last"] {
            assert_eq!(next(system, &told), expected);
        }
    });
}

fn queued(system: &System, pid: Pid) -> usize {
    let info = system.process_info(pid).wait().expect("alive");
    info.message_queue_len
}

#[test]
fn who_traps_finishes_what_it_does_before_it_hears_of_an_exit() {
    on_all(|system| {
        let (gate, open) = support::gate();
        let (tell, told) = reports();
        let traps = system
            .spawn(move |mut cx: Inbox<u32>| async move {
                cx.trap_exit(true);
                let _ = tell.send("waits".to_owned());
                gate.await;
                let _ = tell.send("done".to_owned());
                while let Received::Message(n) = cx.recv().await {
                    let _ = tell.send(n.to_string());
                }
                let _ = tell.send("exit".to_owned());
            })
            .expect("a process");
        assert_eq!(next(system, &told), "waits");
        traps.send(1).expect("room");
        system.exit(traps.pid(), ExitReason::Timeout);
        traps.send(2).expect("room");
        support::pump(system);
        assert!(told.try_recv().is_err());
        open.open();
        for expected in ["done", "1", "exit"] {
            assert_eq!(next(system, &told), expected);
        }
    });
}

/// Counts what it handles; the first message takes until it is let go.
struct Slow {
    handled: std::sync::Arc<std::sync::atomic::AtomicU64>,
}
struct Tick;
impl GenServer for Slow {
    type Args = std::sync::Arc<std::sync::atomic::AtomicU64>;
    async fn init(handled: Self::Args, _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Slow { handled })
    }
}
impl HandleCast<Tick> for Slow {
    async fn handle_cast(&mut self, _: Tick, cx: &mut Context<Self>) {
        self.handled
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        cx.sleep(std::time::Duration::from_millis(1)).await;
    }
}

#[test]
fn kill_does_not_wait_behind_a_hundred_thousand_messages() {
    let (system, driver) = support::quiet().virtual_clock().manual();
    let handled = std::sync::Arc::default();
    let slow = system
        .start::<Slow>(std::sync::Arc::clone(&handled))
        .wait()
        .expect("a server");
    for _ in 0..100_000 {
        slow.cast(Tick).expect("room");
    }
    driver.run_until_idle(); // the first is being handled
    system.exit(slow.pid(), ExitReason::Kill);
    driver.run_until_idle();
    assert_eq!(slow.exit_reason(), Some(ExitReason::Killed));
    assert_eq!(handled.load(std::sync::atomic::Ordering::Relaxed), 1);
    let stats = support::settled(&system);
    assert_eq!((stats.aborted, stats.undelivered), (1, 99_999));
}

/// Counts down; at zero it kills itself from inside its handler.
struct Fuse {
    left: u32,
    handled: std::sync::Arc<std::sync::atomic::AtomicU64>,
    terminated: std::sync::Arc<std::sync::atomic::AtomicU64>,
}
impl GenServer for Fuse {
    type Args = Fuse;
    async fn init(fuse: Fuse, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        cx.trap_exit(true);
        Ok(fuse)
    }
    async fn terminate(&mut self, _: ExitReason, _: &mut Context<Self>) {
        self.terminated
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}
impl HandleCast<Tick> for Fuse {
    async fn handle_cast(&mut self, _: Tick, cx: &mut Context<Self>) {
        self.handled
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.left -= 1;
        if self.left == 0 {
            cx.exit(cx.pid(), ExitReason::Kill);
        }
    }
}

#[test]
fn no_handler_runs_between_a_kill_and_the_end_however_long_the_queue() {
    const MESSAGES: u64 = 1_000_000;
    let system = quiet().schedulers(2).build().expect("threads");
    let (handled, terminated) = (std::sync::Arc::default(), std::sync::Arc::default());
    let fuse = Fuse {
        left: 1000,
        handled: std::sync::Arc::clone(&handled),
        terminated: std::sync::Arc::clone(&terminated),
    };
    let fuse = system.start::<Fuse>(fuse).wait().expect("a server");
    for _ in 0..MESSAGES {
        fuse.cast(Tick).expect("room");
    }
    let down = system.monitor(fuse.pid()).wait_timeout(DEADLINE);
    assert!(matches!(
        down.expect("its end").reason,
        ExitReason::Killed | ExitReason::NoProc
    ));
    assert_eq!(fuse.exit_reason(), Some(ExitReason::Killed));
    assert_eq!(handled.load(std::sync::atomic::Ordering::Relaxed), 1000);
    assert_eq!(terminated.load(std::sync::atomic::Ordering::Relaxed), 0);
    let stats = settled(&system);
    assert_eq!(stats.undelivered, MESSAGES - 1000);
    assert_eq!(stats.queued, 0);
}

/// Says when it is dropped.
struct Says(&'static str, std::sync::mpsc::Sender<&'static str>);
impl Drop for Says {
    fn drop(&mut self) {
        let _ = self.1.send(self.0);
    }
}

struct Parks {
    _state: Says,
    tell: std::sync::mpsc::Sender<&'static str>,
}
impl GenServer for Parks {
    type Args = std::sync::mpsc::Sender<&'static str>;
    async fn init(tell: Self::Args, _: &mut Context<Self>) -> Result<Self, InitStop> {
        let _state = Says("state", tell.clone());
        Ok(Parks { _state, tell })
    }
    async fn terminate(&mut self, _: ExitReason, _: &mut Context<Self>) {
        let _ = self.tell.send("terminate");
    }
}
impl HandleCast<Says> for Parks {
    async fn handle_cast(&mut self, _message: Says, _: &mut Context<Self>) {
        let _future = Says("future", self.tell.clone());
        let _ = self.tell.send("handles");
        std::future::pending().await
    }
}

#[test]
fn the_handler_is_dropped_before_the_state_and_that_before_the_mailbox() {
    on_all(|system| {
        for reason in [ExitReason::Kill, ExitReason::Timeout] {
            let (tell, told) = reports();
            let parks = system
                .start::<Parks>(tell.clone())
                .wait_timeout(DEADLINE)
                .expect("a server");
            let message = |text| Says(text, tell.clone());
            parks.cast(message("message")).expect("room");
            parks.cast(message("queued")).expect("room");
            assert_eq!(next(system, &told), "handles");
            system.exit(parks.pid(), reason.clone());
            for expected in ["future", "message", "state", "queued"] {
                assert_eq!(next(system, &told), expected);
            }
            let reason = match reason {
                ExitReason::Kill => ExitReason::Killed,
                reason => reason,
            };
            assert_eq!(parks.exit_reason(), Some(reason));
            // `terminate` would have been heard before.
            assert!(told.try_recv().is_err());
        }
    });
}

#[test]
fn a_death_is_declared_only_when_the_handler_has_returned() {
    let system = quiet().schedulers(2).build().expect("threads");
    let (enter, entered) = std::sync::mpsc::channel();
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let returned = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (victim, _t) = start(&system);
    system.register("victim", victim.pid()).expect("alive");
    let returns = returned.clone();
    run(&victim, move |_| {
        let _ = enter.send(());
        let _ = gone.recv();
        returns.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    entered.recv_timeout(DEADLINE).expect("it runs");
    let (tell, told) = reports();
    let (pid, seen) = (victim.pid(), returned.clone());
    system
        .spawn(move |mut cx: Inbox<()>| async move {
            cx.monitor(pid);
            cx.exit(pid, ExitReason::Kill);
            let _ = tell.send(None);
            if let Received::Down(down) = cx.recv().await {
                let declared = seen.load(std::sync::atomic::Ordering::SeqCst);
                let _ = tell.send(Some((down.reason, declared, cx.system().whereis("victim"))));
            }
        })
        .expect("a watcher");
    assert_eq!(next(&system, &told), None);
    for _ in 0..20 {
        support::pump(&system);
        assert!(victim.is_alive());
        assert_eq!(system.whereis("victim"), Some(pid));
        assert_eq!(victim.exit_reason(), None);
        assert!(told.try_recv().is_err());
    }
    go.send(()).expect("it waits");
    assert_eq!(next(&system, &told), Some((ExitReason::Killed, true, None)));
}

#[test]
fn links_monitors_and_questions_do_not_wait_behind_messages() {
    on_all(|system| {
        let (gate, open) = support::gate();
        let (tell, said) = reports();
        let busy = system
            .spawn(move |mut cx: Inbox<u32>| async move {
                let _ = tell.send(0);
                gate.await;
                while let Received::Message(n) = cx.recv().await {
                    let _ = tell.send(n);
                }
            })
            .expect("a process");
        assert_eq!(next(system, &said), 0);
        for n in 1..=100 {
            busy.send(n).expect("room");
        }
        let info = || system.process_info(busy.pid()).wait().expect("alive");
        let (other, told) = start(system);
        let pid = busy.pid();
        order(&other, Do::Link(pid));
        run(&other, move |cx| {
            cx.monitor(pid);
        });
        done(system, &other, &told);
        let me = vec![other.pid()];
        assert_eq!(
            (info().links, info().monitored_by),
            (me.clone(), me.clone())
        );
        order(&other, Do::Unlink(pid));
        let kept = system.monitor(pid);
        run(&other, move |cx| {
            let monitor = cx.monitor(pid);
            assert!(cx.demonitor(monitor));
        });
        done(system, &other, &told);
        assert_eq!((info().links, info().monitored_by), (vec![], me));
        assert_eq!(info().message_queue_len, 100);
        assert!(said.try_recv().is_err(), "none of the messages was handled");
        // And the kill that comes behind them all is the end.
        system.exit(pid, ExitReason::Kill);
        let down = kept.wait_timeout(DEADLINE).expect("its end");
        assert_eq!(down.reason, ExitReason::Killed);
        assert_eq!(next(system, &told), Told::Down(pid, ExitReason::Killed));
        assert!(said.try_recv().is_err());
        open.open();
    });
}

#[test]
fn whoever_hears_of_a_death_finds_the_process_dead() {
    struct Mute;
    struct Ask;
    impl GenServer for Mute {
        type Args = ();
        async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
            Ok(Mute)
        }
    }
    impl HandleCall<Ask> for Mute {
        type Reply = ();
        async fn handle_call(&mut self, _: Ask, _: &mut Context<Self>) {
            std::future::pending().await
        }
    }
    let round = |system: &System| {
        let options = ServerOptions::new().name("mute");
        let mute = system.start_with::<Mute>((), options);
        let mute = mute.wait_timeout(DEADLINE).expect("the name is free");
        let (tell, told) = reports();
        for kind in 0..3 {
            let (mute, tell) = (mute.clone(), tell.clone());
            let hears = move |mut cx: Inbox<()>| async move {
                let pid = mute.pid();
                cx.trap_exit(true);
                match kind {
                    0 => cx.link(pid),
                    1 => drop(cx.monitor(pid)),
                    _ => {}
                }
                let _ = tell.send(None);
                let reason = match kind {
                    2 => match mute.call_with(Ask, None).await {
                        Err(noex::CallError::Exited(reason)) => reason,
                        other => panic!("{other:?}"),
                    },
                    _ => match cx.recv().await {
                        Received::Exit(exit) => exit.reason,
                        Received::Down(down) => down.reason,
                        other => panic!("{other:?}"),
                    },
                };
                let system = cx.system();
                let dead = !system.is_alive(pid)
                    && !mute.is_alive()
                    && mute.exit_reason() == Some(ExitReason::Killed)
                    && system.whereis("mute").is_none()
                    && !system.processes().contains(&pid);
                let _ = tell.send(Some((reason, dead)));
            };
            let _: noex::Recipient<()> = system.spawn(hears).expect("a process");
        }
        for _ in 0..3 {
            assert_eq!(next(system, &told), None);
        }
        system.exit(mute.pid(), ExitReason::Kill);
        for _ in 0..3 {
            let (reason, dead) = next(system, &told).expect("the news");
            // Who came too late to call, link or monitor hears the same or of nobody.
            assert!(matches!(reason, ExitReason::Killed | ExitReason::NoProc));
            assert!(dead);
        }
    };
    on_all(round);
    let system = quiet().schedulers(4).build().expect("threads");
    (0..300).for_each(|_| round(&system));
}
