//! Monitors, and pids that name nobody any more or never did.

mod orders;
mod support;

use noex::prelude::*;
use noex::{Inbox, Received};
use orders::{Do, Told, broken, done, order, run, start};
use support::{end_of, next, on_all, quiet, reports, settled};

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
                // Whether it has come by now is the machine's affair.
                let _ = cx.demonitor(monitor);
                let _ = tell.send(cx.try_recv().is_none());
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
