//! Links, monitors, exit signals and kill: what each does, and what overtakes what.

mod support;

use noex::prelude::*;
use noex::{Inbox, Received, Recipient};
use support::{DEADLINE, end_of, next, on_all, quiet, reports, settled};

/// A process that waits for its orders.
#[derive(Debug)]
enum Do {
    Link(Pid),
    Unlink(Pid),
    Exit(Pid, ExitReason),
    Trap(bool),
    End(ExitReason),
    Note(&'static str),
    Run(Job),
}

/// Something to do as the process.
#[allow(clippy::type_complexity)]
struct Job(Box<dyn FnOnce(&mut Inbox<Do>) + Send>);
impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

/// What it tells of itself.
#[derive(Debug, PartialEq)]
enum Told {
    Exit(Option<Pid>, ExitReason),
    Down(Pid, ExitReason),
    Note(&'static str),
}

async fn obey(mut cx: Inbox<Do>, tell: std::sync::mpsc::Sender<Told>) -> ExitReason {
    loop {
        let told = match cx.recv().await {
            Received::Message(Do::Link(pid)) => {
                cx.link(pid);
                continue;
            }
            Received::Message(Do::Unlink(pid)) => {
                cx.unlink(pid);
                continue;
            }
            Received::Message(Do::Exit(pid, reason)) => {
                cx.exit(pid, reason);
                continue;
            }
            Received::Message(Do::Trap(trap)) => {
                cx.trap_exit(trap);
                continue;
            }
            Received::Message(Do::End(reason)) => return reason,
            Received::Message(Do::Run(job)) => {
                job.0(&mut cx);
                continue;
            }
            Received::Message(Do::Note(note)) => Told::Note(note),
            // The system shuts down.
            Received::Exit(exit) if exit.reason.is_shutdown() && exit.from.is_some() => {
                return exit.reason;
            }
            Received::Exit(exit) => Told::Exit(exit.from, exit.reason),
            Received::Down(down) => Told::Down(down.pid, down.reason),
            _ => continue,
        };
        let _ = tell.send(told);
    }
}

type Told1 = std::sync::mpsc::Receiver<Told>;

fn start(system: &System) -> (Recipient<Do>, Told1) {
    let (tell, told) = reports();
    let process = system
        .spawn(move |cx: Inbox<Do>| obey(cx, tell))
        .expect("a process");
    (process, told)
}

fn order(to: &Recipient<Do>, order: Do) {
    to.send(order).expect("an unbounded mailbox");
}

fn run(to: &Recipient<Do>, job: impl FnOnce(&mut Inbox<Do>) + Send + 'static) {
    order(to, Do::Run(Job(Box::new(job))));
}

/// Waits until the process has done all its orders so far.
fn done(system: &System, process: &Recipient<Do>, told: &Told1) {
    order(process, Do::Note("done"));
    while next(system, told) != Told::Note("done") {}
}

fn broken() -> ExitReason {
    ExitReason::error("broken")
}

#[test]
fn an_abnormal_exit_travels_along_a_chain_of_links() {
    on_all(|system| {
        let (a, _ta) = start(system);
        let (b, _tb) = start(system);
        let (c, _tc) = start(system);
        order(&a, Do::Link(b.pid()));
        order(&b, Do::Link(c.pid()));
        order(&b, Do::Note(""));
        let reason = broken();
        // Each link is made before its maker's end.
        done(system, &b, &_tb);
        done(system, &a, &_ta);
        order(&c, Do::End(reason.clone()));
        assert_eq!(end_of(system, &a), reason);
        assert_eq!(end_of(system, &b), reason);
    });
}

#[test]
fn a_normal_exit_ends_nobody_but_reaches_who_traps() {
    on_all(|system| {
        let (plain, told_plain) = start(system);
        let (traps, told) = start(system);
        let (ends, _t) = start(system);
        order(&traps, Do::Trap(true));
        order(&plain, Do::Link(ends.pid()));
        order(&traps, Do::Link(ends.pid()));
        done(system, &plain, &told_plain);
        done(system, &traps, &told);
        order(&ends, Do::End(ExitReason::Normal));
        assert_eq!(
            next(system, &told),
            Told::Exit(Some(ends.pid()), ExitReason::Normal)
        );
        done(system, &plain, &told_plain);
        assert!(plain.is_alive());
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
fn who_ends_itself_with_kill_sends_an_ordinary_signal() {
    on_all(|system| {
        let (ends, told_ends) = start(system);
        let (traps, told) = start(system);
        let (plain, told_plain) = start(system);
        order(&traps, Do::Trap(true));
        order(&traps, Do::Link(ends.pid()));
        order(&plain, Do::Link(ends.pid()));
        done(system, &traps, &told);
        done(system, &plain, &told_plain);
        done(system, &ends, &told_ends);
        order(&ends, Do::End(ExitReason::Kill));
        assert_eq!(
            next(system, &told),
            Told::Exit(Some(ends.pid()), ExitReason::Kill)
        );
        assert_eq!(end_of(system, &plain), ExitReason::Kill);
    });
}

#[test]
fn exit_normal_sent_to_another_is_ignored_unless_it_traps_and_ends_oneself() {
    on_all(|system| {
        let (plain, told_plain) = start(system);
        let (traps, told) = start(system);
        order(&traps, Do::Trap(true));
        done(system, &traps, &told);
        system.exit(plain.pid(), ExitReason::Normal);
        system.exit(traps.pid(), ExitReason::Normal);
        assert_eq!(next(system, &told), Told::Exit(None, ExitReason::Normal));
        done(system, &plain, &told_plain);
        order(&plain, Do::Exit(plain.pid(), ExitReason::Normal));
        assert_eq!(end_of(system, &plain), ExitReason::Normal);
    });
}

#[test]
fn a_link_to_the_dead_gives_noproc_and_so_does_a_monitor() {
    on_all(|system| {
        let (dead, _t) = start(system);
        order(&dead, Do::End(ExitReason::Normal));
        end_of(system, &dead);
        let (traps, told) = start(system);
        order(&traps, Do::Trap(true));
        order(&traps, Do::Link(dead.pid()));
        assert_eq!(
            next(system, &told),
            Told::Exit(Some(dead.pid()), ExitReason::NoProc)
        );
        let (plain, _t) = start(system);
        order(&plain, Do::Link(dead.pid()));
        assert_eq!(end_of(system, &plain), ExitReason::NoProc);
        let down = system
            .monitor(dead.pid())
            .wait_timeout(DEADLINE)
            .expect("at once");
        assert_eq!((down.pid, down.reason), (dead.pid(), ExitReason::NoProc));
    });
}

#[test]
fn an_exit_after_unlink_does_not_arrive() {
    on_all(|system| {
        let (a, told) = start(system);
        let (b, _t) = start(system);
        order(&a, Do::Link(b.pid()));
        order(&a, Do::Unlink(b.pid()));
        done(system, &a, &told);
        order(&b, Do::End(broken()));
        end_of(system, &b);
        done(system, &a, &told);
        assert!(a.is_alive());
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

#[test]
fn a_spawned_and_linked_process_takes_its_parent_along() {
    on_all(|system| {
        let (tell, told) = reports();
        let parent = system
            .spawn(move |mut cx: Inbox<()>| async move {
                let child = cx
                    .spawn_link(|_: Inbox<()>| async { ExitReason::error("child") })
                    .expect("a child");
                let _ = tell.send(child.pid());
                cx.recv().await;
            })
            .expect("a parent");
        let _child = next(system, &told);
        system
            .monitor(parent.pid())
            .wait_timeout(DEADLINE)
            .expect("its end");
        assert!(matches!(parent.exit_reason(), Some(ExitReason::Error(_))));
    });
}

#[test]
fn each_monitor_gives_one_down_and_demonitor_takes_it_back() {
    on_all(|system| {
        let (target, _t) = start(system);
        let (tell, told) = reports();
        let pid = target.pid();
        system
            .spawn(move |mut cx: Inbox<()>| async move {
                let (first, second, third) = (cx.monitor(pid), cx.monitor(pid), cx.monitor(pid));
                assert!(cx.demonitor(second));
                assert!(!cx.demonitor(second));
                let _ = tell.send(None);
                let mut seen = Vec::new();
                while seen.len() < 2 {
                    if let Received::Down(down) = cx.recv().await {
                        seen.push(down.monitor);
                    }
                }
                seen.sort();
                let _ = tell.send(Some(seen == [first, third] && cx.try_recv().is_none()));
            })
            .expect("a watcher");
        assert_eq!(next(system, &told), None);
        order(&target, Do::End(ExitReason::Normal));
        assert_eq!(next(system, &told), Some(true));
    });
}

#[test]
fn a_pid_of_another_system_names_nobody() {
    let (one, other) = (
        System::new().expect("threads"),
        System::new().expect("threads"),
    );
    let (process, _told) = start(&one);
    assert!(one.is_alive(process.pid()));
    assert!(!other.is_alive(process.pid()));
    let down = other
        .monitor(process.pid())
        .wait_timeout(DEADLINE)
        .expect("at once");
    assert_eq!(down.reason, ExitReason::NoProc);
    assert_ne!(process.pid().to_string().find('<'), None);
}

#[test]
fn a_reused_slot_is_not_reached_by_an_old_pid() {
    on_all(|system| {
        let mut pids = Vec::new();
        for _ in 0..200 {
            let (process, _t) = start(system);
            pids.push(process.pid());
            system.exit(process.pid(), ExitReason::Kill);
            end_of(system, &process);
        }
        assert!(pids.iter().all(|pid| !system.is_alive(*pid)));
        let distinct: std::collections::HashSet<_> = pids.iter().collect();
        assert_eq!(distinct.len(), pids.len());
    });
}

// --- the tables ---

/// One of each kind but `Panic` (tests/panics.rs has those).
fn reasons() -> Vec<ExitReason> {
    vec![
        ExitReason::Normal,
        ExitReason::Shutdown(None),
        ExitReason::shutdown("why"),
        ExitReason::Kill,
        ExitReason::Killed,
        ExitReason::NoProc,
        ExitReason::NoConnection,
        ExitReason::Timeout,
        broken(),
    ]
}

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
fn a_process_ends_with_the_reason_it_returns_and_its_links_hear_that() {
    on_all(|system| {
        for reason in reasons() {
            let (ends, told_ends) = start(system);
            let (traps, told) = start(system);
            let (plain, told_plain) = start(system);
            order(&traps, Do::Trap(true));
            order(&traps, Do::Link(ends.pid()));
            order(&plain, Do::Link(ends.pid()));
            done(system, &traps, &told);
            done(system, &plain, &told_plain);
            done(system, &ends, &told_ends);
            order(&ends, Do::End(reason.clone()));
            assert_eq!(end_of(system, &ends), reason);
            if reason.is_shutdown() {
                // `obey` takes that for its own.
                assert_eq!(end_of(system, &traps), reason);
            } else {
                assert_eq!(
                    next(system, &told),
                    Told::Exit(Some(ends.pid()), reason.clone())
                );
            }
            match reason {
                ExitReason::Normal => done(system, &plain, &told_plain),
                reason => assert_eq!(end_of(system, &plain), reason),
            }
        }
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

// --- links ---

#[test]
fn an_unlink_takes_back_a_link_to_the_dead_too() {
    on_all(|system| {
        let (dead, _t) = start(system);
        order(&dead, Do::End(ExitReason::Normal));
        end_of(system, &dead);
        let dead = dead.pid();
        let (plain, told) = start(system);
        run(&plain, move |cx| {
            cx.link(dead);
            cx.unlink(dead);
        });
        done(system, &plain, &told);
        assert!(plain.is_alive());
        let (traps, told) = start(system);
        order(&traps, Do::Trap(true));
        run(&traps, move |cx| {
            cx.link(dead);
            cx.unlink(dead);
        });
        order(&traps, Do::Note("done"));
        assert_eq!(next(system, &told), Told::Note("done"));
    });
}

#[test]
fn a_link_has_two_ends_and_either_may_take_it_back() {
    on_all(|system| {
        let (a, told_a) = start(system);
        let (b, told_b) = start(system);
        let links = |pid| system.process_info(pid).wait().expect("alive").links;
        order(&a, Do::Link(b.pid()));
        order(&a, Do::Link(b.pid()));
        order(&a, Do::Link(a.pid()));
        done(system, &a, &told_a);
        done(system, &b, &told_b);
        assert_eq!(links(a.pid()), [b.pid()]);
        assert_eq!(links(b.pid()), [a.pid()]);
        order(&b, Do::Unlink(a.pid()));
        done(system, &b, &told_b);
        done(system, &a, &told_a);
        assert_eq!((links(a.pid()), links(b.pid())), (vec![], vec![]));
        order(&a, Do::End(broken()));
        end_of(system, &a);
        done(system, &b, &told_b);
    });
}

#[test]
fn linking_twice_gives_one_exit() {
    on_all(|system| {
        let (traps, told) = start(system);
        let (ends, _t) = start(system);
        order(&traps, Do::Trap(true));
        order(&traps, Do::Link(ends.pid()));
        order(&traps, Do::Link(ends.pid()));
        done(system, &traps, &told);
        order(&ends, Do::Link(traps.pid()));
        order(&ends, Do::End(ExitReason::Timeout));
        end_of(system, &ends);
        order(&traps, Do::Note("done"));
        let exit = Told::Exit(Some(ends.pid()), ExitReason::Timeout);
        assert_eq!(next(system, &told), exit);
        assert_eq!(next(system, &told), Told::Note("done"));
    });
}

#[test]
fn unlink_flush_takes_back_an_exit_that_is_in_the_mailbox() {
    on_all(|system| {
        let (traps, told) = start(system);
        let (ends, _t) = start(system);
        let (gate, open) = support::gate();
        order(&traps, Do::Trap(true));
        order(&traps, Do::Link(ends.pid()));
        done(system, &traps, &told);
        // Ends while the other is busy; so the exit lies in its mailbox when it goes on.
        let pid = ends.pid();
        let busy = system
            .spawn(move |mut cx: Inbox<()>| async move {
                cx.trap_exit(true);
                cx.link(pid);
                gate.await;
                cx.yield_now().await;
                cx.unlink_flush(pid);
                let left = cx.try_recv().is_none();
                if left { ExitReason::Normal } else { broken() }
            })
            .expect("a process");
        support::until(system, || {
            let info = system.process_info(pid).wait().expect("alive");
            info.links.len() == 2
        });
        order(&ends, Do::End(ExitReason::Timeout));
        end_of(system, &ends);
        open.open();
        assert_eq!(end_of(system, &busy), ExitReason::Normal);
        let exit = Told::Exit(Some(pid), ExitReason::Timeout);
        assert_eq!(next(system, &told), exit);
    });
}

#[test]
fn an_unlink_and_a_link_that_cross_leave_both_ends_agreed() {
    let system = quiet().schedulers(2).build().expect("threads");
    let (a, told_a) = start(&system);
    let (b, told_b) = start(&system);
    order(&a, Do::Link(b.pid()));
    done(&system, &a, &told_a);
    done(&system, &b, &told_b);
    // `b` is inside its turn, with the unlink on its way, when it links again.
    let (enter, entered) = std::sync::mpsc::channel();
    let (go, gone) = std::sync::mpsc::channel();
    let pid = a.pid();
    run(&b, move |cx| {
        enter.send(()).expect("the test waits");
        gone.recv().expect("the test sends");
        cx.unlink(pid);
        cx.link(pid);
    });
    entered.recv_timeout(DEADLINE).expect("it runs");
    order(&a, Do::Unlink(b.pid()));
    done(&system, &a, &told_a);
    go.send(()).expect("it waits");
    done(&system, &b, &told_b);
    done(&system, &a, &told_a);
    done(&system, &b, &told_b);
    let links = |pid| system.process_info(pid).wait().expect("alive").links;
    assert_eq!(
        links(a.pid()).contains(&b.pid()),
        links(b.pid()).contains(&a.pid()),
    );
    // And a link made now is one.
    order(&a, Do::Link(b.pid()));
    done(&system, &a, &told_a);
    done(&system, &b, &told_b);
    order(&b, Do::End(broken()));
    assert!(matches!(end_of(&system, &a), ExitReason::Error(_)));
}

#[test]
fn spawn_link_and_spawn_monitor_never_miss_an_early_end() {
    on_all(|system| {
        let (tell, told) = reports();
        system
            .spawn(move |mut cx: Inbox<()>| async move {
                cx.trap_exit(true);
                for _ in 0..20 {
                    let child = cx
                        .spawn_link(|_: Inbox<()>| async { ExitReason::shutdown("linked") })
                        .expect("a child");
                    let exit = match cx.recv().await {
                        Received::Exit(exit) => (exit.from, exit.reason),
                        other => panic!("{other:?}"),
                    };
                    assert_eq!(exit, (Some(child.pid()), ExitReason::shutdown("linked")));
                    let (child, monitor) = cx
                        .spawn_monitor(|_: Inbox<()>| async { ExitReason::shutdown("monitored") })
                        .expect("a child");
                    let down = match cx.recv().await {
                        Received::Down(down) => (down.monitor, down.pid, down.reason),
                        other => panic!("{other:?}"),
                    };
                    let reason = ExitReason::shutdown("monitored");
                    assert_eq!(down, (monitor, child.pid(), reason));
                }
                let _ = tell.send(cx.try_recv().is_none());
            })
            .expect("a parent");
        assert!(next(system, &told));
    });
}

#[test]
fn a_child_knows_its_ancestors_and_an_unlinked_one_has_no_parent() {
    on_all(|system| {
        let (tell, told) = reports();
        let grandparent = system
            .spawn(move |mut cx: Inbox<()>| async move {
                let spawned = tell.clone();
                cx.spawn_link(move |cx: Inbox<()>| async move {
                    let me = cx.pid();
                    cx.spawn_link(move |cx: Inbox<()>| async move {
                        let _ = tell.send((cx.parent(), cx.ancestors(), Some(me)));
                    })
                    .expect("a grandchild");
                    cx.sleep(std::time::Duration::from_secs(3600)).await;
                })
                .expect("a child");
                cx.spawn(move |cx: Inbox<()>| async move {
                    let _ = spawned.send((cx.parent(), cx.ancestors(), None));
                })
                .expect("a stranger");
                cx.recv().await;
            })
            .expect("a parent");
        for _ in 0..2 {
            match next(system, &told) {
                (parent, ancestors, Some(child)) => {
                    assert_eq!(parent, Some(child));
                    assert_eq!(ancestors, [child, grandparent.pid()]);
                }
                (parent, ancestors, None) => assert_eq!((parent, ancestors), (None, vec![])),
            }
        }
        system.exit(grandparent.pid(), ExitReason::Kill);
        end_of(system, &grandparent);
    });
}

// --- monitors ---

#[test]
fn a_down_after_demonitor_is_never_seen_even_if_it_had_arrived() {
    on_all(|system| {
        let (ends, _t) = start(system);
        let pid = ends.pid();
        let (gate, open) = support::gate();
        let (tell, told) = reports();
        system
            .spawn(move |mut cx: Inbox<()>| async move {
                let monitor = cx.monitor(pid);
                let _ = tell.send(true);
                gate.await;
                cx.yield_now().await;
                let pending = cx.demonitor(monitor);
                let _ = tell.send(pending && cx.try_recv().is_none());
            })
            .expect("a watcher");
        assert!(next(system, &told));
        order(&ends, Do::End(broken()));
        end_of(system, &ends);
        open.open();
        assert!(next(system, &told));
        settled(system);
    });
}

#[test]
fn a_monitor_of_the_dead_gives_its_down_at_once() {
    on_all(|system| {
        let (dead, _t) = start(system);
        order(&dead, Do::End(broken()));
        end_of(system, &dead);
        let (watcher, told) = start(system);
        let pid = dead.pid();
        run(&watcher, move |cx| {
            cx.monitor(pid);
        });
        assert_eq!(next(system, &told), Told::Down(pid, ExitReason::NoProc));
    });
}

#[test]
fn what_the_dying_sent_arrives_before_its_down_and_its_exit() {
    on_all(|system| {
        let (watcher, told) = start(system);
        let to = watcher.clone();
        order(&watcher, Do::Trap(true));
        run(&watcher, move |cx| {
            let child = cx
                .spawn_link(move |_: Inbox<()>| async move {
                    for note in ["one", "two", "three"] {
                        order(&to, Do::Note(note));
                    }
                    ExitReason::Timeout
                })
                .expect("a child");
            cx.monitor(child.pid());
        });
        for note in ["one", "two", "three"] {
            assert_eq!(next(system, &told), Told::Note(note));
        }
        // Between the two no order is promised.
        for _ in 0..2 {
            assert!(matches!(
                next(system, &told),
                Told::Exit(Some(_), ExitReason::Timeout)
                    | Told::Down(_, ExitReason::Timeout | ExitReason::NoProc)
            ));
        }
    });
}

// --- what overtakes, and what keeps its place ---

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

// --- strangers ---

#[test]
fn a_pid_of_another_system_reaches_nobody_whatever_is_done_with_it() {
    let other = quiet().schedulers(1).build().expect("threads");
    let (stranger, told_stranger) = start(&other);
    on_all(|system| {
        let pid = stranger.pid();
        assert!(system.processes().iter().all(|mine| *mine != pid));
        system.exit(pid, ExitReason::Kill);
        system.send(pid, Do::End(ExitReason::Normal));
        assert_eq!(system.register("stranger", pid), Err(pid));
        assert!(system.process_info(pid).wait().is_none());
        let (traps, told) = start(system);
        order(&traps, Do::Trap(true));
        order(&traps, Do::Link(pid));
        let noproc = Told::Exit(Some(pid), ExitReason::NoProc);
        assert_eq!(next(system, &told), noproc);
        run(&traps, move |cx| {
            cx.monitor(pid);
            cx.exit(pid, ExitReason::Kill);
        });
        assert_eq!(next(system, &told), Told::Down(pid, ExitReason::NoProc));
        assert_eq!(settled(system).undelivered, 1);
        done(&other, &stranger, &told_stranger);
    });
}
