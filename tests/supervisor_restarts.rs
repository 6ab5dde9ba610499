//! Which children a supervisor restarts, with whom, and how often: the rules of OTP's `supervisor`, one
//! test each, on one scheduler thread, on four, and on the manual driver with many seeds.

mod supervise;

use std::time::Duration;

use noex::prelude::*;
use noex::{ChildStatus, Term};

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
