//! Supervisors through the public API: the rules of OTP's `supervisor`, one test each, on one
//! scheduler thread, on four, and on the manual driver with many seeds.

mod supervise;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use noex::prelude::*;
use noex::{
    CallError, ChildCounts, ChildError, ChildKind, ChildStatus, Inbox, Received, StartError, Term,
};

use supervise::{
    Boom, Conduct, Note, Probe, Quit, SECOND, World, everywhere, in_virtual_time, ups,
};

fn shutdown() -> ExitReason {
    ExitReason::Shutdown(None)
}

#[test]
fn a_supervised_server_is_found_by_its_name_in_each_incarnation() {
    everywhere(|world| {
        let life = world.life();
        let sup = world.start(Supervisor::new(Strategy::OneForOne).child(life.child("a")));
        life.expect(world, &ups("a"));
        let first = world.pid("a");
        world.crash("a");
        life.expect(world, &[Note::Down("a"), Note::Up("a")]);
        assert_ne!(world.pid("a"), first);
        assert!(!world.system.is_alive(first));
        assert!(sup.is_alive());
    });
}

#[test]
fn children_start_in_order_and_stop_in_reverse_order() {
    for strategy in [
        Strategy::OneForOne,
        Strategy::OneForAll,
        Strategy::RestForOne,
    ] {
        everywhere(|world| {
            let life = world.life();
            let sup =
                world.start(Supervisor::new(strategy).children(life.children(["a", "b", "c"])));
            life.expect(world, &ups("abc"));
            sup.stop(ExitReason::Normal)
                .wait_timeout(10 * SECOND)
                .unwrap();
            life.expect(world, &[Note::Down("c"), Note::Down("b"), Note::Down("a")]);
        });
    }
}

#[test]
fn the_end_of_the_system_stops_the_tree_in_reverse_order() {
    everywhere(|world| {
        let life = world.life();
        let inner = Supervisor::new(Strategy::OneForOne).children(life.children(["b", "c"]));
        let sup = Supervisor::new(Strategy::OneForOne)
            .child(life.child("a"))
            .child(ChildSpec::supervisor("inner", inner))
            .child(life.child("d"));
        world.start(sup);
        life.expect(world, &ups("abcd"));
        world.system.shutdown().wait_timeout(10 * SECOND).unwrap();
        life.expect(world, &["d", "c", "b", "a"].map(Note::Down));
    });
}

#[test]
fn one_for_one_restarts_the_child_alone() {
    everywhere(|world| {
        let life = world.life();
        world.start(Supervisor::new(Strategy::OneForOne).children(life.children(["a", "b", "c"])));
        life.expect(world, &ups("abc"));
        let (a, c) = (world.pid("a"), world.pid("c"));
        world.crash("b");
        life.expect(world, &[Note::Down("b"), Note::Up("b")]);
        assert_eq!((world.pid("a"), world.pid("c")), (a, c));
    });
}

#[test]
fn one_for_all_stops_the_others_in_reverse_order_and_starts_all() {
    everywhere(|world| {
        let life = world.life();
        world.start(Supervisor::new(Strategy::OneForAll).children(life.children(["a", "b", "c"])));
        life.expect(world, &ups("abc"));
        world.crash("b");
        life.expect(world, &[Note::Down("b"), Note::Down("c"), Note::Down("a")]);
        life.expect(world, &ups("abc"));
    });
}

#[test]
fn rest_for_one_restarts_the_child_and_those_started_after_it() {
    everywhere(|world| {
        let life = world.life();
        let children = life.children(["a", "b", "c", "d"]);
        world.start(Supervisor::new(Strategy::RestForOne).children(children));
        life.expect(world, &ups("abcd"));
        let a = world.pid("a");
        world.crash("b");
        life.expect(world, &[Note::Down("b"), Note::Down("d"), Note::Down("c")]);
        life.expect(world, &ups("bcd"));
        assert_eq!(world.pid("a"), a);
    });
}

#[test]
fn exit_reason_and_restart_type_decide_what_becomes_of_a_child() {
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Then {
        Restarted,
        Kept,
        Forgotten,
    }
    use Then::{Forgotten, Kept, Restarted};
    let orderly = [Restarted, Kept, Forgotten];
    let abnormal = [Restarted, Restarted, Forgotten];
    let table = [
        (ExitReason::Normal, orderly),
        (shutdown(), orderly),
        (ExitReason::shutdown(Term::atom("upgrade")), orderly),
        (ExitReason::error("broken"), abnormal),
        (ExitReason::Timeout, abnormal),
        (ExitReason::NoProc, abnormal),
        (ExitReason::Kill, abnormal),
        (ExitReason::Killed, abnormal),
    ];
    let types = [Restart::Permanent, Restart::Transient, Restart::Temporary];
    everywhere(|world| {
        let life = world.life();
        let sup = world.start(Supervisor::new(Strategy::OneForOne).intensity(1000));
        for (reason, then) in &table {
            for (restart, then) in types.into_iter().zip(then) {
                sup.start_child(life.child("a").restart(restart))
                    .wait_timeout(10 * SECOND)
                    .unwrap();
                life.expect(world, &ups("a"));
                let pid = world.pid("a");
                world.server("a").cast(Quit(reason.clone())).unwrap();
                life.expect(world, &[Note::Down("a")]);
                if *then == Restarted {
                    life.expect(world, &ups("a"));
                }
                world.wait_for_end(pid);
                world.until(|| {
                    let found = match world.status(&sup, "a") {
                        Some(ChildStatus::Running(now)) if now != pid => Restarted,
                        Some(ChildStatus::Stopped) => Kept,
                        None => Forgotten,
                        _ => return false,
                    };
                    assert_eq!(found, *then, "{restart:?} after {reason:?}");
                    true
                });
                if *then != Forgotten {
                    sup.terminate_child("a").wait_timeout(10 * SECOND).unwrap();
                    sup.delete_child("a").wait_timeout(10 * SECOND).unwrap();
                }
                if *then == Restarted {
                    life.expect(world, &[Note::Down("a")]);
                }
            }
        }
    });
}

#[test]
fn a_kill_from_outside_restarts_permanent_and_transient_children() {
    everywhere(|world| {
        for (restart, restarted) in [
            (Restart::Permanent, true),
            (Restart::Transient, true),
            (Restart::Temporary, false),
        ] {
            let life = world.life();
            let child = life.child("a").restart(restart);
            let sup = world.start(Supervisor::new(Strategy::OneForOne).child(child));
            life.expect(world, &ups("a"));
            world.system.exit(world.pid("a"), ExitReason::Kill);
            if restarted {
                life.expect(world, &ups("a"));
            } else {
                world.until(|| world.status(&sup, "a").is_none());
            }
            sup.stop(ExitReason::Normal)
                .wait_timeout(10 * SECOND)
                .unwrap();
        }
    });
}

#[test]
fn the_restart_that_exceeds_the_intensity_ends_the_supervisor_with_shutdown() {
    everywhere(|world| {
        let life = world.life();
        let sup = Supervisor::new(Strategy::OneForOne).children(life.children(["a", "b"]));
        let sup = world.start(sup.period(Duration::from_secs(3600)));
        life.expect(world, &ups("ab"));
        for _ in 0..3 {
            world.crash("a");
            life.expect(world, &[Note::Down("a"), Note::Up("a")]);
        }
        world.crash("a");
        life.expect(world, &[Note::Down("a"), Note::Down("b")]);
        assert_eq!(world.end_of(&sup), shutdown());
    });
}

#[test]
fn with_an_intensity_of_zero_the_first_crash_ends_the_supervisor() {
    everywhere(|world| {
        let life = world.life();
        let sup = Supervisor::new(Strategy::OneForOne).child(life.child("a"));
        let sup = world.start(sup.intensity(0));
        life.expect(world, &ups("a"));
        world.crash("a");
        assert_eq!(world.end_of(&sup), shutdown());
    });
}

#[test]
fn normal_exits_of_permanent_children_count_too() {
    everywhere(|world| {
        let life = world.life();
        let sup = Supervisor::new(Strategy::OneForOne).child(life.child("a"));
        let sup = world.start(sup.intensity(1).period(Duration::from_secs(3600)));
        life.expect(world, &ups("a"));
        let quit = || world.server("a").cast(Quit(ExitReason::Normal)).unwrap();
        quit();
        life.expect(world, &[Note::Down("a"), Note::Up("a")]);
        quit();
        life.expect(world, &[Note::Down("a")]);
        assert_eq!(world.end_of(&sup), shutdown());
    });
}

#[test]
fn restarts_further_apart_than_the_period_never_end_the_supervisor() {
    in_virtual_time(|world| {
        let life = world.life();
        let sup = world.start(Supervisor::new(Strategy::OneForOne).child(life.child("a")));
        // Three in five seconds are allowed, both ends of the five counted.
        let crash_every = |time, times| {
            for _ in 0..times {
                world.crash("a");
                world.advance(time);
            }
        };
        crash_every(Duration::from_millis(1667), 50);
        assert!(sup.is_alive());
        world.advance(10 * SECOND);
        crash_every(Duration::from_millis(1666), 3);
        assert!(sup.is_alive());
        crash_every(Duration::ZERO, 1);
        assert_eq!(sup.exit_reason(), Some(shutdown()));
    });
}

#[test]
fn a_group_restart_costs_one_however_many_children_it_has() {
    everywhere(|world| {
        let life = world.life();
        let sup = Supervisor::new(Strategy::OneForAll).children(life.children(["a", "b", "c"]));
        let sup = world.start(sup.intensity(1).period(Duration::from_secs(3600)));
        life.expect(world, &ups("abc"));
        world.crash("c");
        life.expect(world, &[Note::Down("c"), Note::Down("b"), Note::Down("a")]);
        life.expect(world, &ups("abc"));
        assert!(sup.is_alive());
        world.crash("a");
        assert_eq!(world.end_of(&sup), shutdown());
    });
}

#[test]
fn a_failed_restart_is_tried_again_and_each_try_counts() {
    for (failures, survives) in [(2, true), (3, false)] {
        everywhere(|world| {
            let life = world.life();
            let child = life.conduct("a", Conduct::FailInits { from: 1, failures });
            let sup = Supervisor::new(Strategy::OneForOne).children([child, life.child("b")]);
            let sup = world.start(sup.period(Duration::from_secs(3600)));
            life.expect(world, &ups("ab"));
            world.crash("a");
            life.expect(world, &[Note::Down("a")]);
            if survives {
                life.expect(world, &ups("a"));
                assert!(sup.is_alive());
            } else {
                assert_eq!(world.end_of(&sup), shutdown());
                life.expect(world, &[Note::Down("b")]);
            }
        });
    }
}

#[test]
fn a_group_whose_restart_fails_is_restarted_whole() {
    everywhere(|world| {
        let life = world.life();
        let failing = life.conduct(
            "b",
            Conduct::FailInits {
                from: 1,
                failures: 1,
            },
        );
        let children = [life.child("a"), failing, life.child("c")];
        world.start(Supervisor::new(Strategy::OneForAll).children(children));
        life.expect(world, &ups("abc"));
        world.crash("c");
        life.expect(world, &[Note::Down("c"), Note::Down("b"), Note::Down("a")]);
        // `b` does not start, so `a` is stopped again.
        life.expect(world, &[Note::Up("a"), Note::Down("a")]);
        life.expect(world, &ups("abc"));
    });
}

#[test]
fn a_failed_restart_under_rest_for_one_leaves_those_before_it_running() {
    everywhere(|world| {
        let life = world.life();
        let failing = life.conduct(
            "b",
            Conduct::FailInits {
                from: 1,
                failures: 1,
            },
        );
        let children = [life.child("a"), failing, life.child("c")];
        world.start(Supervisor::new(Strategy::RestForOne).children(children));
        life.expect(world, &ups("abc"));
        world.crash("a");
        life.expect(world, &[Note::Down("a"), Note::Down("c"), Note::Down("b")]);
        life.expect(world, &ups("abc"));
    });
}

#[test]
fn a_child_that_does_not_start_rolls_the_supervisor_back() {
    everywhere(|world| {
        let life = world.life();
        let failing = life.conduct(
            "c",
            Conduct::FailInits {
                from: 0,
                failures: 1,
            },
        );
        let sup = Supervisor::new(Strategy::OneForOne)
            .children([life.child("a"), life.child("b"), failing, life.child("d")])
            .name("tree");
        let error = sup
            .start(&world.system)
            .wait_timeout(10 * SECOND)
            .unwrap_err();
        let StartError::Child { id, error } = error else {
            panic!("{error:?}")
        };
        assert_eq!(&*id, "c");
        assert_eq!(*error, StartError::Init(ExitReason::Timeout));
        life.expect(world, &ups("ab"));
        life.expect(world, &[Note::Down("b"), Note::Down("a")]);
        assert_eq!(world.system.registered(), []);
    });
}

#[test]
fn a_failed_start_link_returns_the_error_and_delivers_the_exit() {
    everywhere(|world| {
        let life = world.life();
        let failing = life.conduct(
            "a",
            Conduct::FailInits {
                from: 0,
                failures: 1,
            },
        );
        let (send, told) = std::sync::mpsc::channel();
        let run = move |mut inbox: Inbox<()>| async move {
            inbox.trap_exit(true);
            let start = Supervisor::new(Strategy::OneForOne)
                .child(failing)
                .start_link(&inbox);
            let pid = start.pid();
            let error = start.await.unwrap_err();
            let Received::Exit(exit) = inbox.recv().await else {
                panic!("an exit")
            };
            // OTP: `{shutdown, {failed_to_start_child, ..}}`.
            let told = exit.reason.downcast_ref() == Some(&error) && exit.reason.is_shutdown();
            let _ = send.send((pid == exit.from, told));
        };
        world.system.spawn(run).unwrap();
        assert_eq!(world.next(&told), (true, true));
    });
}

#[test]
fn a_supervisor_that_does_not_start_in_time_is_killed_with_what_it_started() {
    everywhere(|world| {
        let life = world.life();
        let children = [life.child("a"), life.conduct("b", Conduct::HangInInit)];
        let start = Supervisor::new(Strategy::OneForOne).children(children);
        let start = start.start(&world.system);
        let sup = start.pid().unwrap();
        life.expect(world, &ups("a"));
        let a = world.pid("a");
        let error = start.wait_timeout(Duration::ZERO).unwrap_err();
        assert_eq!(error, StartError::Timeout);
        for pid in [sup, a] {
            world.wait_for_end(pid);
        }
        world.until(|| world.system.registered().is_empty());
    });
}

#[test]
fn two_children_with_one_id_are_refused() {
    everywhere(|world| {
        let life = world.life();
        let sup = Supervisor::new(Strategy::OneForOne).children(life.children(["a", "a"]));
        assert_eq!(
            sup.start(&world.system)
                .wait_timeout(10 * SECOND)
                .unwrap_err(),
            StartError::DuplicateChild("a".into())
        );
        life.expect(world, &[]);
    });
}

#[test]
fn a_supervisor_whose_name_is_taken_starts_no_child() {
    everywhere(|world| {
        let life = world.life();
        let first = world.start(Supervisor::new(Strategy::OneForOne).name("tree"));
        let second = Supervisor::new(Strategy::OneForOne)
            .name("tree")
            .child(life.child("a"));
        assert_eq!(
            second
                .start(&world.system)
                .wait_timeout(10 * SECOND)
                .unwrap_err(),
            StartError::AlreadyStarted(first.pid())
        );
        life.expect(world, &[]);
        assert_eq!(world.system.supervisor("tree"), Some(first));
    });
}

#[test]
fn an_ignored_child_keeps_its_spec_without_a_process() {
    everywhere(|world| {
        let life = world.life();
        let ignored = |id, inits| life.conduct(id, Conduct::IgnoreInits(inits));
        let sup = Supervisor::new(Strategy::OneForOne).children([
            ignored("a", 1),
            ignored("b", 1).restart(Restart::Temporary),
            life.child("c"),
        ]);
        let sup = world.start(sup);
        life.expect(world, &ups("c"));
        assert_eq!(world.status(&sup, "a"), Some(ChildStatus::Stopped));
        assert_eq!(
            world.status(&sup, "b"),
            None,
            "nothing is kept of a temporary one"
        );
        let started = sup.restart_child("a").wait_timeout(10 * SECOND).unwrap();
        assert_eq!(started, Some(world.pid("a")));
        let added = sup.start_child(ignored("d", 1)).wait_timeout(10 * SECOND);
        assert_eq!(added, Ok(None));
        assert_eq!(world.status(&sup, "d"), Some(ChildStatus::Stopped));
    });
}

#[test]
fn children_are_added_terminated_restarted_and_deleted_with_otps_errors() {
    everywhere(|world| {
        let life = world.life();
        let sup = world.start(Supervisor::new(Strategy::OneForOne).child(life.child("a")));
        let a = world.pid("a");
        let again = || sup.start_child(life.child("a")).wait_timeout(10 * SECOND);
        let restart = |id| sup.restart_child(id).wait_timeout(10 * SECOND);
        let terminate = |id| sup.terminate_child(id).wait_timeout(10 * SECOND);
        let delete = |id| sup.delete_child(id).wait_timeout(10 * SECOND);

        assert_eq!(again(), Err(ChildError::AlreadyStarted(a)));
        assert_eq!(restart("a"), Err(ChildError::Running));
        assert_eq!(delete("a"), Err(ChildError::Running));
        assert_eq!(terminate("x"), Err(ChildError::NotFound));
        assert_eq!(restart("x"), Err(ChildError::NotFound));
        assert_eq!(delete("x"), Err(ChildError::NotFound));

        assert_eq!(terminate("a"), Ok(()));
        assert!(!world.system.is_alive(a));
        assert_eq!(terminate("a"), Ok(()), "one that does not run");
        assert_eq!(again(), Err(ChildError::AlreadyPresent));
        let new = restart("a").unwrap();
        assert_eq!(new, Some(world.pid("a")));
        assert_ne!(new, Some(a));

        assert_eq!(terminate("a"), Ok(()));
        assert_eq!(delete("a"), Ok(()));
        assert_eq!(restart("a"), Err(ChildError::NotFound));
        assert_eq!(again().unwrap(), Some(world.pid("a")));

        let failing = life.conduct(
            "b",
            Conduct::FailInits {
                from: 0,
                failures: 2,
            },
        );
        let failed = ChildError::Start(StartError::Init(ExitReason::Timeout));
        let added = sup.start_child(failing).wait_timeout(10 * SECOND);
        assert_eq!(added, Err(failed), "and its spec is not kept");
        assert_eq!(restart("b"), Err(ChildError::NotFound));

        assert_eq!(
            sup.stop(ExitReason::Normal).wait_timeout(10 * SECOND),
            Ok(())
        );
        assert_eq!(
            terminate("a"),
            Err(ChildError::Call(CallError::Exited(ExitReason::Normal)))
        );
    });
}

#[test]
fn a_restart_by_request_that_fails_keeps_the_spec() {
    everywhere(|world| {
        let life = world.life();
        let failing = life.conduct(
            "a",
            Conduct::FailInits {
                from: 1,
                failures: 1,
            },
        );
        let sup = world.start(Supervisor::new(Strategy::OneForOne).child(failing));
        let restart = || sup.restart_child("a").wait_timeout(10 * SECOND);
        sup.terminate_child("a").wait_timeout(10 * SECOND).unwrap();
        let failed = ChildError::Start(StartError::Init(ExitReason::Timeout));
        assert_eq!(restart(), Err(failed));
        assert_eq!(world.status(&sup, "a"), Some(ChildStatus::Stopped));
        assert_eq!(restart().unwrap(), Some(world.pid("a")));
    });
}

#[test]
fn children_are_listed_in_start_order_and_counted() {
    everywhere(|world| {
        let life = world.life();
        let inner = Supervisor::new(Strategy::OneForOne).child(life.child("x"));
        let sup = Supervisor::new(Strategy::OneForOne)
            .child(life.child("b"))
            .child(ChildSpec::supervisor("inner", inner).name("inner"))
            .child(life.child("a"));
        let sup = world.start(sup);
        sup.terminate_child("b").wait_timeout(10 * SECOND).unwrap();
        let children = sup.which_children().wait_timeout(10 * SECOND).unwrap();
        let listed: Vec<_> = children
            .iter()
            .map(|child| (&*child.id, child.kind, child.pid()))
            .collect();
        let inner = world.system.supervisor("inner").unwrap();
        assert_eq!(
            listed,
            [
                ("b", ChildKind::Worker, None),
                ("inner", ChildKind::Supervisor, Some(inner.pid())),
                ("a", ChildKind::Worker, Some(world.pid("a"))),
            ]
        );
        let ChildCounts {
            specs,
            active,
            supervisors,
            workers,
            ..
        } = sup.count_children().wait_timeout(10 * SECOND).unwrap();
        assert_eq!((specs, active, supervisors, workers), (3, 2, 1, 2));
    });
}

#[test]
fn a_terminated_child_stays_so_until_its_group_is_restarted() {
    everywhere(|world| {
        let life = world.life();
        let sup =
            world.start(Supervisor::new(Strategy::OneForAll).children(life.children(["a", "b"])));
        life.expect(world, &ups("ab"));
        sup.terminate_child("a").wait_timeout(10 * SECOND).unwrap();
        life.expect(world, &[Note::Down("a")]);
        assert_eq!(world.status(&sup, "a"), Some(ChildStatus::Stopped));
        world.crash("b");
        life.expect(world, &[Note::Down("b")]);
        life.expect(world, &ups("ab"));
    });
}

#[test]
fn temporary_children_stopped_with_a_group_or_by_request_are_forgotten() {
    everywhere(|world| {
        let life = world.life();
        let temporary = |id| life.child(id).restart(Restart::Temporary);
        let children = [temporary("a"), life.child("b"), temporary("c")];
        let sup = world.start(Supervisor::new(Strategy::OneForAll).children(children));
        life.expect(world, &ups("abc"));
        sup.terminate_child("c").wait_timeout(10 * SECOND).unwrap();
        life.expect(world, &[Note::Down("c")]);
        assert_eq!(world.status(&sup, "c"), None);
        world.crash("b");
        life.expect(world, &[Note::Down("b"), Note::Down("a"), Note::Up("b")]);
        world.until(|| world.running(&sup) == ["b"]);
        let counts = sup.count_children().wait_timeout(10 * SECOND).unwrap();
        assert_eq!(counts.specs, 1);
    });
}

#[test]
fn the_crash_of_a_temporary_child_restarts_no_group() {
    everywhere(|world| {
        let life = world.life();
        let children = [life.child("a").restart(Restart::Temporary), life.child("b")];
        let sup = world.start(
            Supervisor::new(Strategy::OneForAll)
                .children(children)
                .intensity(0),
        );
        life.expect(world, &ups("ab"));
        let b = world.pid("b");
        world.crash("a");
        life.expect(world, &[Note::Down("a")]);
        world.until(|| world.running(&sup) == ["b"]);
        assert_eq!(world.pid("b"), b);
    });
}

#[test]
fn a_child_with_brutal_kill_does_not_terminate() {
    everywhere(|world| {
        let life = world.life();
        let child = life.child("a").shutdown(Shutdown::BrutalKill);
        let sup = world.start(Supervisor::new(Strategy::OneForOne).child(child));
        life.expect(world, &ups("a"));
        let end = world.system.monitor(world.pid("a"));
        sup.terminate_child("a").wait_timeout(10 * SECOND).unwrap();
        let down = end.wait_timeout(10 * SECOND).unwrap();
        assert_eq!(down.reason, ExitReason::Killed);
        life.expect(world, &[]);
    });
}

#[test]
fn a_child_that_hangs_in_terminate_is_killed_at_its_deadline_and_keeps_nobody_waiting() {
    in_virtual_time(|world| {
        let life = world.life();
        let hangs = life
            .conduct("a", Conduct::HangInTerminate)
            .shutdown(Shutdown::Timeout(3 * SECOND));
        let sup =
            world.start(Supervisor::new(Strategy::OneForOne).children([hangs, life.child("b")]));
        let a = world.pid("a");
        let mut terminated = sup.terminate_child("a");
        world.settle();
        // Meanwhile others are restarted, started and answered.
        assert_eq!(world.status(&sup, "a"), Some(ChildStatus::Stopping));
        let b = world.pid("b");
        world.crash("b");
        world.settle();
        assert_ne!(world.pid("b"), b);
        sup.start_child(life.child("c"))
            .wait_timeout(SECOND)
            .unwrap();
        // What comes for the same child waits its turn.
        let mut restarted = sup.restart_child("a");
        world.advance(3 * SECOND - Duration::from_millis(1));
        assert!(world.system.is_alive(a));
        assert!(world.poll(&mut terminated).is_none());
        assert!(world.poll(&mut restarted).is_none());
        world.advance(Duration::from_millis(1));
        assert!(!world.system.is_alive(a));
        assert_eq!(world.poll(&mut terminated), Some(Ok(())));
        let new = world.poll(&mut restarted).unwrap().unwrap();
        assert_eq!(new, Some(world.pid("a")));
        // The end of the system meets it again.
        let mut end = world.system.shutdown();
        world.advance(4 * SECOND);
        assert!(matches!(world.poll(&mut end), Some(Ok(()))));
    });
}

#[test]
fn a_child_that_is_being_stopped_gets_no_more_time_when_its_supervisor_is_stopped_too() {
    in_virtual_time(|world| {
        let life = world.life();
        let hangs = life
            .conduct("a", Conduct::HangInTerminate)
            .shutdown(Shutdown::Timeout(3 * SECOND));
        let sup = world.start(Supervisor::new(Strategy::OneForOne).child(hangs));
        let terminated = sup.terminate_child("a");
        world.advance(2 * SECOND);
        let mut stop = sup.stop(ExitReason::Normal);
        world.advance(SECOND - Duration::from_millis(1));
        assert!(world.poll(&mut stop).is_none());
        world.advance(Duration::from_millis(1));
        assert_eq!(world.poll(&mut stop), Some(Ok(())));
        let gone = ChildError::Call(CallError::Exited(ExitReason::Normal));
        assert_eq!(terminated.wait_timeout(SECOND), Err(gone));
    });
}

#[test]
fn a_child_that_stops_in_time_leaves_no_timer() {
    in_virtual_time(|world| {
        let life = world.life();
        let sup = world.start(Supervisor::new(Strategy::OneForOne).child(life.child("a")));
        sup.terminate_child("a").wait_timeout(SECOND).unwrap();
        world.settle();
        assert_eq!(world.next_deadline(), None);
    });
}

#[test]
fn the_shutdown_of_a_tree_waits_for_each_child_no_longer_than_its_spec_says() {
    in_virtual_time(|world| {
        let life = world.life();
        let hangs = |id| life.conduct(id, Conduct::HangInTerminate);
        let inner = Supervisor::new(Strategy::OneForOne)
            .child(hangs("a").shutdown(Shutdown::Timeout(2 * SECOND)))
            .child(hangs("b").shutdown(Shutdown::Timeout(SECOND)));
        let sup = Supervisor::new(Strategy::OneForOne)
            .child(ChildSpec::supervisor("inner", inner))
            .child(hangs("c"));
        let sup = world.start(sup);
        let pids = ["a", "b", "c"].map(|id| world.pid(id));
        let living = || pids.map(|pid| world.system.is_alive(pid));
        let mut stop = sup.stop(shutdown());
        world.advance(5 * SECOND - Duration::from_millis(1));
        assert_eq!(living(), [true, true, true], "5 s are a worker's default");
        world.advance(Duration::from_millis(1));
        assert_eq!(living(), [true, true, false]);
        world.advance(SECOND);
        assert_eq!(living(), [true, false, false]);
        world.advance(2 * SECOND);
        assert_eq!(living(), [false, false, false]);
        assert_eq!(world.poll(&mut stop), Some(Ok(())));
    });
}

#[test]
fn a_child_with_infinity_gets_all_the_time_it_wants() {
    in_virtual_time(|world| {
        let life = world.life();
        let hangs = life
            .conduct("a", Conduct::HangInTerminate)
            .shutdown(Shutdown::Infinity);
        let sup = world.start(Supervisor::new(Strategy::OneForOne).child(hangs));
        let a = world.pid("a");
        let mut stop = sup.stop(shutdown());
        world.advance(100_000 * SECOND);
        assert!(world.system.is_alive(a) && world.poll(&mut stop).is_none());
        world.system.exit(a, ExitReason::Kill);
        world.settle();
        assert_eq!(world.poll(&mut stop), Some(Ok(())));
    });
}

#[test]
fn a_child_that_hangs_in_init_keeps_nobody_waiting_and_can_be_terminated() {
    everywhere(|world| {
        let life = world.life();
        let sup = world.start(Supervisor::new(Strategy::OneForOne).child(life.child("a")));
        life.expect(world, &ups("a"));
        let hanging = sup.start_child(life.conduct("b", Conduct::HangInInit));
        world.until(|| world.status(&sup, "b") == Some(ChildStatus::Starting));
        let b = world.pid("b");
        world.crash("a");
        life.expect(world, &[Note::Down("a"), Note::Up("a")]);
        sup.terminate_child("b").wait_timeout(10 * SECOND).unwrap();
        assert!(!world.system.is_alive(b));
        assert_eq!(world.status(&sup, "b"), None, "its start has failed");
        assert_eq!(
            hanging.wait_timeout(10 * SECOND),
            Err(ChildError::Start(StartError::Init(shutdown())))
        );
    });
}

#[test]
fn a_supervisor_whose_child_hangs_in_init_is_stopped_all_the_same() {
    in_virtual_time(|world| {
        let life = world.life();
        let hangs = life
            .conduct("b", Conduct::HangInInitTrapping)
            .shutdown(Shutdown::Timeout(SECOND));
        let sup = Supervisor::new(Strategy::OneForAll).children([
            life.child("a"),
            hangs,
            life.child("c"),
        ]);
        let mut start = sup.start(&world.system);
        world.settle();
        life.expect(world, &ups("a"));
        assert!(world.poll(&mut start).is_none());
        let mut end = world.system.shutdown();
        world.advance(SECOND - Duration::from_millis(1));
        life.expect(world, &[]);
        world.advance(Duration::from_millis(1));
        life.expect(world, &[Note::Down("a")]);
        assert!(matches!(world.poll(&mut end), Some(Ok(()))));
        assert_eq!(
            world.poll(&mut start),
            Some(Err(StartError::Init(shutdown())))
        );
    });
}

#[test]
fn a_child_that_hangs_when_it_is_restarted_can_be_terminated() {
    everywhere(|world| {
        let life = world.life();
        let hangs = life.conduct("b", Conduct::HangInInits { from: 1 });
        let children = [life.child("a"), hangs, life.child("c")];
        let sup = world.start(Supervisor::new(Strategy::OneForAll).children(children));
        life.expect(world, &ups("abc"));
        world.crash("c");
        life.expect(
            world,
            &[
                Note::Down("c"),
                Note::Down("b"),
                Note::Down("a"),
                Note::Up("a"),
            ],
        );
        world.until(|| world.status(&sup, "b") == Some(ChildStatus::Starting));
        sup.terminate_child("b").wait_timeout(10 * SECOND).unwrap();
        life.expect(world, &ups("c"));
        assert_eq!(world.status(&sup, "b"), Some(ChildStatus::Stopped));
        world.until(|| world.running(&sup) == ["a", "c"]);
    });
}

#[test]
fn what_was_asked_of_a_supervisor_that_ends_is_answered() {
    everywhere(|world| {
        let life = world.life();
        let sup = world.start(Supervisor::new(Strategy::OneForAll));
        let hanging = sup.start_child(life.conduct("a", Conduct::HangInInit));
        let queued = sup.start_child(life.child("b"));
        world.until(|| world.status(&sup, "a") == Some(ChildStatus::Starting));
        sup.stop(ExitReason::Normal)
            .wait_timeout(10 * SECOND)
            .unwrap();
        let gone = Err(ChildError::Call(CallError::Exited(ExitReason::Normal)));
        assert_eq!(hanging.wait_timeout(10 * SECOND), gone);
        assert_eq!(queued.wait_timeout(10 * SECOND), gone);
        life.expect(world, &[]);
    });
}

#[test]
fn an_init_that_takes_longer_than_its_start_timeout_is_killed_before_the_next_try() {
    in_virtual_time(|world| {
        let life = world.life();
        let child = life
            .conduct("a", Conduct::HangInInits { from: 1 })
            .start_timeout(SECOND);
        let sup = Supervisor::new(Strategy::OneForOne)
            .child(child)
            .intensity(2);
        let sup = world.start(sup.period(3600 * SECOND));
        world.crash("a");
        world.settle();
        let hanging = world.pid("a");
        world.advance(SECOND);
        assert!(!world.system.is_alive(hanging));
        assert_ne!(world.pid("a"), hanging, "the name was free");
        world.advance(SECOND);
        assert_eq!(sup.exit_reason(), Some(shutdown()));
    });
}

#[test]
fn the_death_of_a_supervisor_takes_its_children_along() {
    everywhere(|world| {
        let life = world.life();
        let inner = Supervisor::new(Strategy::OneForOne).child(life.child("b"));
        let sup = Supervisor::new(Strategy::OneForOne)
            .child(life.child("a"))
            .child(ChildSpec::supervisor("inner", inner).name("inner"));
        let sup = world.start(sup);
        life.expect(world, &ups("ab"));
        let inner = world.system.supervisor("inner").unwrap().pid();
        let pids = [world.pid("a"), world.pid("b"), inner];
        world.system.exit(sup.pid(), ExitReason::Kill);
        for pid in pids {
            world.wait_for_end(pid);
        }
    });
}

#[test]
fn a_branch_that_gives_up_is_restarted_by_its_parent_unless_it_is_transient() {
    for (restart, restarted) in [(Restart::Permanent, true), (Restart::Transient, false)] {
        everywhere(|world| {
            let life = world.life();
            let inner = Supervisor::new(Strategy::OneForOne)
                .intensity(0)
                .children(life.children(["a", "b"]));
            let inner = ChildSpec::supervisor("inner", inner).restart(restart);
            let sup = world.start(Supervisor::new(Strategy::OneForOne).child(inner));
            life.expect(world, &ups("ab"));
            world.crash("a");
            life.expect(world, &[Note::Down("a"), Note::Down("b")]);
            if restarted {
                life.expect(world, &ups("ab"));
            } else {
                world.until(|| world.status(&sup, "inner") == Some(ChildStatus::Stopped));
            }
        });
    }
}

#[test]
fn a_branch_that_does_not_start_says_which_leaf_it_was() {
    everywhere(|world| {
        let life = world.life();
        let leaf = life.conduct(
            "leaf",
            Conduct::FailInits {
                from: 0,
                failures: 1,
            },
        );
        let inner = Supervisor::new(Strategy::OneForOne).child(leaf);
        let sup = Supervisor::new(Strategy::OneForOne)
            .child(life.child("a"))
            .child(ChildSpec::supervisor("inner", inner));
        let error = sup
            .start(&world.system)
            .wait_timeout(10 * SECOND)
            .unwrap_err();
        let leaf = StartError::Child {
            id: "leaf".into(),
            error: Box::new(StartError::Init(ExitReason::Timeout)),
        };
        let id = "inner".into();
        assert_eq!(
            error,
            StartError::Child {
                id,
                error: Box::new(leaf)
            }
        );
        life.expect(world, &[Note::Up("a"), Note::Down("a")]);
    });
}

#[test]
fn a_child_that_ends_before_its_start_is_noticed_has_the_reason_it_ended_with() {
    everywhere(|world| {
        let life = world.life();
        let child = life
            .conduct("a", Conduct::StopAfterInit)
            .restart(Restart::Transient);
        let sup = world.start(
            Supervisor::new(Strategy::OneForOne)
                .child(child)
                .intensity(0),
        );
        life.expect(world, &[Note::Up("a"), Note::Down("a")]);
        // Not abnormal, so not restarted.
        world.until(|| world.status(&sup, "a") == Some(ChildStatus::Stopped));
        assert!(sup.is_alive());
    });
}

#[test]
fn a_child_that_ended_while_its_start_function_waited_is_noticed_all_the_same() {
    everywhere(|world| {
        for restart in [Restart::Permanent, Restart::Transient, Restart::Temporary] {
            let life = world.life();
            let probe = life.probe("a", Conduct::StopAfterInit);
            let other = world.life().probe("other", Conduct::Good);
            let slow = ChildSpec::worker("a", move |starter| {
                let (probe, other) = (probe.clone(), other.clone());
                async move {
                    let a = starter.start_link::<Probe>(probe).await?;
                    let system = starter.system();
                    system.monitor(a.pid()).await.map_err(ExitReason::error)?;
                    // The exit signal was sent before: it is there when this is answered.
                    let other = system.start::<Probe>(other).await?;
                    other
                        .call(supervise::Ping)
                        .await
                        .map_err(ExitReason::error)?;
                    Ok(a)
                }
            });
            let sup = world.start(Supervisor::new(Strategy::OneForOne).intensity(0));
            let started = sup.start_child(slow.restart(restart));
            // Its end is that of the supervisor, if it is permanent.
            let _ = started.wait_timeout(10 * SECOND);
            world.until(|| match restart {
                Restart::Permanent => sup.exit_reason() == Some(shutdown()),
                Restart::Transient => world.status(&sup, "a") == Some(ChildStatus::Stopped),
                _ => world.status(&sup, "a").is_none(),
            });
            if sup.is_alive() {
                let other = sup.start_child(life.child("b")).wait_timeout(10 * SECOND);
                assert_eq!(other, Ok(Some(world.pid("b"))));
                sup.terminate_child("b").wait_timeout(10 * SECOND).unwrap();
                let again = sup.start_child(life.child("a")).wait_timeout(10 * SECOND);
                assert_eq!(again.is_ok(), restart == Restart::Temporary);
                sup.stop(shutdown()).wait_timeout(10 * SECOND).unwrap();
            }
        }
    });
}

#[test]
fn a_start_function_that_panics_has_failed() {
    everywhere(|world| {
        for late in [false, true] {
            let sup = world.start(Supervisor::new(Strategy::OneForOne));
            let panics = ChildSpec::worker("a", move |starter| {
                assert!(late, "at once");
                async move {
                    assert!(!late, "late");
                    starter.spawn_link(|_: Inbox<()>| async {})
                }
            });
            let error = sup
                .start_child(panics)
                .wait_timeout(10 * SECOND)
                .unwrap_err();
            let ChildError::Start(StartError::Init(ExitReason::Panic(panic))) = error else {
                panic!("{error:?}")
            };
            assert_eq!(panic.message(), if late { "late" } else { "at once" });
            assert!(sup.is_alive());
        }
    });
}

#[test]
fn a_start_function_that_fails_leaves_nothing_of_what_it_started() {
    everywhere(|world| {
        let life = world.life();
        let probe = life.probe("a", Conduct::Good);
        let fails = ChildSpec::worker("a", move |starter| {
            let probe = probe.clone();
            async move {
                starter.start_link::<Probe>(probe).await?;
                Err::<Pid, _>(StartError::Init(ExitReason::Timeout))
            }
        });
        let sup = world.start(Supervisor::new(Strategy::OneForOne));
        let error = sup.start_child(fails.name("a")).wait_timeout(10 * SECOND);
        assert_eq!(
            error,
            Err(ChildError::Start(StartError::Init(ExitReason::Timeout)))
        );
        assert_eq!(world.system.whereis("a"), None);
    });
}

#[test]
fn what_a_start_function_returns_is_linked_even_if_it_was_not() {
    everywhere(|world| {
        let life = world.life();
        let probe = life.probe("a", Conduct::Good);
        let unlinked = ChildSpec::worker("a", move |starter| {
            let options = starter.options();
            starter.system().start_with::<Probe>(probe.clone(), options)
        });
        let sup = world.start(Supervisor::new(Strategy::OneForOne).child(unlinked.name("a")));
        life.expect(world, &ups("a"));
        world.crash("a");
        life.expect(world, &[Note::Down("a"), Note::Up("a")]);
        world.until(|| world.running(&sup) == ["a"]);
        let a = world.pid("a");
        world.system.exit(sup.pid(), ExitReason::Kill);
        world.wait_for_end(a);
    });
}

#[test]
fn a_child_that_unlinked_itself_is_stopped_like_any_other() {
    everywhere(|world| {
        let life = world.life();
        let child = life.conduct("a", Conduct::UnlinkInInit);
        let sup = world.start(Supervisor::new(Strategy::OneForOne).child(child));
        let a = world.pid("a");
        sup.terminate_child("a").wait_timeout(10 * SECOND).unwrap();
        assert!(!world.system.is_alive(a));
        life.expect(world, &[Note::Up("a"), Note::Down("a")]);
    });
}

#[test]
fn a_start_function_may_wait_for_others() {
    everywhere(|world| {
        let life = world.life();
        let probe = life.probe("b", Conduct::Good);
        let after_a = ChildSpec::worker("b", move |starter| {
            let probe = probe.clone();
            async move {
                let a = starter.system().server::<Probe>("a");
                a.call(supervise::Ping).await.map_err(ExitReason::error)?;
                starter.start_link::<Probe>(probe).await
            }
        });
        let children = [life.child("a"), after_a.name("b")];
        let sup = world.start(Supervisor::new(Strategy::OneForAll).children(children));
        life.expect(world, &ups("ab"));
        world.crash("b");
        life.expect(world, &[Note::Down("b"), Note::Down("a")]);
        life.expect(world, &ups("ab"));
        world.until(|| world.running(&sup) == ["a", "b"]);
    });
}

#[test]
fn a_process_that_receives_by_itself_can_be_a_child() {
    everywhere(|world| {
        let runs = Arc::new(AtomicU32::new(0));
        let counted = runs.clone();
        let child = ChildSpec::process("a", move |mut inbox: Inbox<bool>| {
            let runs = counted.clone();
            async move {
                runs.fetch_add(1, SeqCst);
                while let Received::Message(go_on) = inbox.recv().await {
                    assert!(go_on, "as told");
                }
            }
        });
        let sup = world.start(Supervisor::new(Strategy::OneForOne).child(child.name("a")));
        let first = world.pid("a");
        world.system.send(first, true);
        world.system.send(first, false);
        world.wait_for_end(first);
        world.until(|| world.running(&sup) == ["a"] && runs.load(SeqCst) == 2);
        assert_ne!(world.pid("a"), first);
    });
}

#[test]
fn an_exit_signal_from_the_living_is_not_taken_for_a_childs_end() {
    everywhere(|world| {
        let life = world.life();
        let sup = world.start(
            Supervisor::new(Strategy::OneForOne)
                .child(life.child("a"))
                .intensity(0),
        );
        let a = world.pid("a");
        let forge = supervise::Forge(sup.pid(), ExitReason::Timeout);
        world
            .server("a")
            .call(forge)
            .wait_timeout(10 * SECOND)
            .unwrap();
        world.system.exit(sup.pid(), ExitReason::Timeout);
        assert_eq!(world.running(&sup), ["a"]);
        assert_eq!(world.pid("a"), a);
    });
}

#[test]
fn a_child_may_ask_its_own_supervisor() {
    everywhere(|world| {
        let life = world.life();
        let asks = life.conduct("b", Conduct::AskInInit("tree"));
        let sup = Supervisor::new(Strategy::RestForOne).children([life.child("a"), asks]);
        world.start(sup.name("tree"));
        life.expect(world, &ups("ab"));
    });
}

#[test]
fn crashes_at_random_leave_no_orphan_and_no_gap() {
    const IDS: [&str; 5] = ["a", "b", "c", "d", "e"];
    for strategy in [
        Strategy::OneForOne,
        Strategy::OneForAll,
        Strategy::RestForOne,
    ] {
        supervise::with_seeds(100, |world, random| {
            let life = world.life();
            let sup = Supervisor::new(strategy)
                .children(life.children(IDS))
                .intensity(10_000);
            let sup = world.start(sup);
            for _ in 0..20 {
                for _ in 0..random(4) {
                    let Some(pid) = world.system.whereis(IDS[random(5)]) else {
                        continue;
                    };
                    match random(3) {
                        0 => world.system.exit(pid, ExitReason::Kill),
                        1 => world.system.exit(pid, ExitReason::Timeout),
                        _ => {
                            if let Some(server) = world.system.server_ref::<Probe>(pid) {
                                server.cast(Boom).unwrap();
                            }
                        }
                    }
                    world.tick(random(20) as u32);
                }
                world.settle();
                let children = sup.which_children().wait_timeout(10 * SECOND).unwrap();
                let named = IDS.map(|id| world.system.whereis(id));
                let listed: Vec<_> = children.iter().map(noex::ChildInfo::pid).collect();
                assert_eq!(listed, named);
                assert!(named.iter().all(Option::is_some));
                assert_eq!(life.living(), IDS.len(), "no more and no fewer");
            }
            sup.stop(ExitReason::Normal)
                .wait_timeout(10 * SECOND)
                .unwrap();
            assert_eq!(life.living(), 0);
        });
    }
}

#[test]
fn children_that_crash_all_the_time_on_threads_are_all_there_in_the_end() {
    const IDS: [&str; 4] = ["a", "b", "c", "d"];
    for strategy in [
        Strategy::OneForOne,
        Strategy::OneForAll,
        Strategy::RestForOne,
    ] {
        let world = World::threads(4);
        let life = world.life();
        let sup = Supervisor::new(strategy).children(life.children(IDS));
        let sup = world.start(sup.intensity(100_000));
        std::thread::scope(|scope| {
            for id in IDS {
                let system = world.system.handle();
                scope.spawn(move || {
                    for _ in 0..50 {
                        // Whoever it is, and if there is anybody.
                        if let Some(pid) = system.whereis(id) {
                            system.exit(pid, ExitReason::Kill);
                        }
                        std::thread::yield_now();
                    }
                });
            }
        });
        world.until(|| {
            let named = IDS.map(|id| world.system.whereis(id));
            let children = sup.which_children().wait_timeout(10 * SECOND).unwrap();
            let listed: Vec<_> = children.iter().map(noex::ChildInfo::pid).collect();
            named.iter().all(Option::is_some) && listed == named && life.living() == IDS.len()
        });
        world.finish();
        assert_eq!(life.living(), 0);
    }
}

#[test]
fn the_same_seed_gives_the_same_restarts() {
    let run = |seed| {
        let world = World::recorded(seed);
        let life = world.life();
        let sup = Supervisor::new(Strategy::RestForOne).children(life.children(["a", "b", "c"]));
        let sup = world.start(sup);
        for id in ["b", "c", "a"] {
            world.crash(id);
            world.settle();
        }
        world.system.shutdown().wait().unwrap();
        // Pids have the system's number in front, which is not the same.
        let log = world.take_log();
        let prefix = format!("{}:<", sup.pid().creation());
        log.replace(&prefix, "<")
    };
    assert_eq!(run(7), run(7));
}
