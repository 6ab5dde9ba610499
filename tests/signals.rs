//! Links, monitors, exit signals and kill: what each does, and what overtakes what.

mod support;

use noex::prelude::*;
use noex::{Inbox, Received, Recipient};
use support::{DEADLINE, next, on_all, reports};

/// A process that waits for its orders.
#[derive(Debug)]
enum Do {
    Link(Pid),
    Unlink(Pid),
    Exit(Pid, ExitReason),
    Trap(bool),
    End(ExitReason),
    Note(&'static str),
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
            Received::Message(Do::Note(note)) => Told::Note(note),
            // The system shuts down.
            Received::Exit(exit) if exit.reason.is_shutdown() => return exit.reason,
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

fn end_of(system: &System, process: &Recipient<Do>) -> ExitReason {
    let down = system
        .monitor(process.pid())
        .wait_timeout(DEADLINE)
        .expect("its end");
    process.exit_reason().unwrap_or(down.reason)
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
