//! Restarts that wait: backoff, on virtual time to the millisecond, and on threads.

mod supervise;

use std::time::Duration;

use noex::prelude::*;
use noex::{Backoff, ChildError, ChildStatus, StartError};

use supervise::{Conduct, Life, Note, SECOND, World, everywhere, in_virtual_time, ups, with_seeds};

const MS: Duration = Duration::from_millis(1);

fn shutdown() -> ExitReason {
    ExitReason::Shutdown(None)
}

/// Waits 1 s, 2 s, 4 s, 8 s, 8 s...
fn doubling() -> Backoff {
    Backoff::exponential(SECOND).cap(8 * SECOND).jitter(0.0)
}

fn waiting(life: &Life, id: &'static str) -> ChildSpec {
    life.child(id).backoff(doubling())
}

fn crash(world: &World, life: &Life, id: &'static str) {
    world.crash(id);
    world.settle();
    life.expect(world, &[Note::Down(id)]);
}

/// Nothing happens for all of `time` but its last millisecond, and then this does.
#[track_caller]
fn after(world: &World, life: &Life, time: Duration, notes: &[Note]) {
    world.advance(time - MS);
    life.expect(world, &[]);
    world.advance(MS);
    life.expect(world, notes);
    life.expect(world, &[]);
}

#[test]
fn each_failure_in_a_row_makes_a_child_wait_twice_as_long_up_to_the_cap() {
    in_virtual_time(|world| {
        let life = world.life();
        let sup = Supervisor::new(Strategy::OneForOne)
            .child(waiting(&life, "a"))
            .intensity(100);
        world.start(sup);
        life.expect(world, &ups("a"));
        for seconds in [1, 2, 4, 8, 8] {
            crash(world, &life, "a");
            after(world, &life, seconds * SECOND, &ups("a"));
        }
    });
}

#[test]
fn a_child_that_waits_does_not_run_and_says_for_how_long() {
    in_virtual_time(|world| {
        let life = world.life();
        let children = [waiting(&life, "a"), life.child("b")];
        let sup = world.start(Supervisor::new(Strategy::OneForOne).children(children));
        life.expect(world, &ups("ab"));
        crash(world, &life, "a");
        world.advance(300 * MS);
        let status = world.status(&sup, "a");
        assert_eq!(status, Some(ChildStatus::Waiting(700 * MS)));
        let counts = sup.count_children().wait_timeout(SECOND).unwrap();
        assert_eq!((counts.specs, counts.active, counts.waiting), (2, 1, 1));
        assert_eq!(world.system.whereis("a"), None);
        let restarted = sup.restart_child("a").wait_timeout(SECOND);
        assert_eq!(restarted, Err(ChildError::Restarting));
        let added = sup.start_child(life.child("a")).wait_timeout(SECOND);
        assert_eq!(added, Err(ChildError::AlreadyPresent));
        after(world, &life, 700 * MS, &ups("a"));
        let counts = sup.count_children().wait_timeout(SECOND).unwrap();
        assert_eq!((counts.active, counts.waiting), (2, 0));
        assert_eq!(world.next_deadline(), None);
    });
}

#[test]
fn a_run_as_long_as_the_cap_or_as_told_ends_the_row_of_failures() {
    in_virtual_time(|world| {
        for (backoff, long) in [
            (doubling(), 8 * SECOND),
            (doubling().reset_after(3 * SECOND), 3 * SECOND),
        ] {
            let life = world.life();
            let child = life.child("a").backoff(backoff);
            let sup = world.start(Supervisor::new(Strategy::OneForOne).child(child));
            life.expect(world, &ups("a"));
            crash(world, &life, "a");
            after(world, &life, SECOND, &ups("a"));
            world.advance(long - MS);
            crash(world, &life, "a");
            after(world, &life, 2 * SECOND, &ups("a"));
            world.advance(long);
            crash(world, &life, "a");
            after(world, &life, SECOND, &ups("a"));
            sup.stop(shutdown()).wait_timeout(SECOND).unwrap();
        }
    });
}

#[test]
fn an_attempt_that_fails_is_a_failure_in_the_row() {
    in_virtual_time(|world| {
        let life = world.life();
        let failing = Conduct::FailInits {
            from: 1,
            failures: 2,
        };
        let child = life.conduct("a", failing).backoff(doubling());
        let sup = Supervisor::new(Strategy::OneForOne)
            .child(child)
            .intensity(3)
            .period(3600 * SECOND);
        world.start(sup);
        life.expect(world, &ups("a"));
        crash(world, &life, "a");
        after(world, &life, 7 * SECOND, &ups("a"));
    });
}

#[test]
fn each_restart_counts_against_the_intensity_when_it_is_decided_on() {
    in_virtual_time(|world| {
        let life = world.life();
        let failing = Conduct::FailInits {
            from: 1,
            failures: 100,
        };
        let child = life.conduct("a", failing).backoff(doubling());
        let sup = Supervisor::new(Strategy::OneForOne)
            .child(child)
            .intensity(3)
            .period(3600 * SECOND);
        let sup = world.start(sup);
        life.expect(world, &ups("a"));
        crash(world, &life, "a");
        world.advance(7 * SECOND - MS);
        assert!(sup.is_alive());
        // The third attempt fails, and nobody waits for a fourth.
        world.advance(MS);
        assert_eq!(sup.exit_reason(), Some(shutdown()));
    });
}

#[test]
fn waits_longer_than_the_period_allow_restarts_without_end() {
    in_virtual_time(|world| {
        let life = world.life();
        let failing = Conduct::FailInits {
            from: 1,
            failures: 100,
        };
        let child = life.conduct("a", failing).backoff(doubling());
        let sup = Supervisor::new(Strategy::OneForOne)
            .child(child)
            .intensity(3)
            .period(4 * SECOND);
        let sup = world.start(sup);
        life.expect(world, &ups("a"));
        crash(world, &life, "a");
        world.advance(1000 * SECOND);
        life.expect(world, &ups("a"));
        assert!(sup.is_alive());
    });
}

#[test]
fn a_group_is_stopped_at_once_waits_together_and_starts_in_order() {
    in_virtual_time(|world| {
        let life = world.life();
        let children = [life.child("a"), waiting(&life, "b"), life.child("c")];
        let sup = Supervisor::new(Strategy::RestForOne).children(children);
        let sup = world.start(sup);
        life.expect(world, &ups("abc"));
        world.crash("b");
        world.settle();
        life.expect(world, &[Note::Down("b"), Note::Down("c")]);
        assert_eq!(world.running(&sup), ["a"]);
        let wait = Some(ChildStatus::Waiting(SECOND));
        assert_eq!(
            [world.status(&sup, "b"), world.status(&sup, "c")],
            [wait; 2]
        );
        after(world, &life, SECOND, &ups("bc"));
    });
}

#[test]
fn the_time_it_takes_to_stop_a_group_is_part_of_its_wait() {
    in_virtual_time(|world| {
        for (hangs_for, rest) in [(300 * MS, 700 * MS), (2 * SECOND, Duration::ZERO)] {
            let life = world.life();
            let hangs = life
                .conduct("b", Conduct::HangInTerminate)
                .shutdown(Shutdown::Timeout(hangs_for));
            let sup = Supervisor::new(Strategy::OneForAll).children([waiting(&life, "a"), hangs]);
            let sup = world.start(sup);
            life.expect(world, &ups("ab"));
            world.crash("a");
            world.settle();
            life.expect(world, &[Note::Down("a"), Note::Down("b")]);
            after(world, &life, hangs_for + rest, &ups("ab"));
            let mut stop = sup.stop(shutdown());
            world.advance(hangs_for);
            assert_eq!(world.poll(&mut stop), Some(Ok(())));
            life.expect(world, &[Note::Down("b"), Note::Down("a")]);
        }
    });
}

#[test]
fn a_supervisors_backoff_is_for_all_children_without_one_of_their_own() {
    in_virtual_time(|world| {
        let life = world.life();
        let children = [
            life.child("a"),
            life.child("b").backoff(Backoff::NONE),
            life.child("c").backoff(doubling().factor(1)),
        ];
        let sup = Supervisor::new(Strategy::OneForOne)
            .children(children)
            .intensity(100)
            .backoff(doubling());
        world.start(sup);
        life.expect(world, &ups("abc"));
        for (id, waits) in [("a", [1, 2]), ("b", [0, 0]), ("c", [1, 1])] {
            for seconds in waits {
                crash(world, &life, id);
                if seconds > 0 {
                    after(world, &life, seconds * SECOND, &[Note::Up(id)]);
                } else {
                    life.expect(world, &[Note::Up(id)]);
                }
            }
        }
    });
}

#[test]
fn terminating_a_child_that_waits_calls_its_wait_off_and_ends_its_row_of_failures() {
    in_virtual_time(|world| {
        let life = world.life();
        let sup = Supervisor::new(Strategy::OneForOne).child(waiting(&life, "a"));
        let sup = world.start(sup.intensity(100));
        life.expect(world, &ups("a"));
        crash(world, &life, "a");
        after(world, &life, SECOND, &ups("a"));
        crash(world, &life, "a");
        sup.terminate_child("a").wait_timeout(SECOND).unwrap();
        assert_eq!(world.status(&sup, "a"), Some(ChildStatus::Stopped));
        assert_eq!(world.next_deadline(), None);
        world.advance(100 * SECOND);
        life.expect(world, &[]);
        sup.restart_child("a").wait_timeout(SECOND).unwrap();
        life.expect(world, &ups("a"));
        crash(world, &life, "a");
        after(world, &life, SECOND, &ups("a"));
    });
}

#[test]
fn deleting_a_child_that_waits_calls_its_wait_off() {
    in_virtual_time(|world| {
        let life = world.life();
        let sup = world.start(Supervisor::new(Strategy::OneForOne).child(waiting(&life, "a")));
        life.expect(world, &ups("a"));
        crash(world, &life, "a");
        assert_eq!(sup.delete_child("a").wait_timeout(SECOND), Ok(()));
        assert_eq!(world.status(&sup, "a"), None);
        assert_eq!(world.next_deadline(), None);
        world.advance(100 * SECOND);
        life.expect(world, &[]);
        let added = sup.start_child(life.child("a")).wait_timeout(SECOND);
        assert_eq!(added, Ok(Some(world.pid("a"))));
    });
}

#[test]
fn the_end_of_a_supervisor_calls_waits_off() {
    in_virtual_time(|world| {
        for kill in [false, true] {
            let life = world.life();
            let sup = world.start(Supervisor::new(Strategy::OneForAll).child(waiting(&life, "a")));
            life.expect(world, &ups("a"));
            crash(world, &life, "a");
            if kill {
                world.system.exit(sup.pid(), ExitReason::Kill);
                world.settle();
            } else {
                sup.stop(shutdown()).wait_timeout(SECOND).unwrap();
                assert_eq!(world.next_deadline(), None);
            }
            assert!(!sup.is_alive());
            world.advance(100 * SECOND);
            life.expect(world, &[]);
        }
    });
}

#[test]
fn if_whom_a_group_waits_for_is_terminated_the_others_are_started_at_once() {
    in_virtual_time(|world| {
        let life = world.life();
        let children = [life.child("a"), waiting(&life, "b"), life.child("c")];
        let sup = world.start(Supervisor::new(Strategy::OneForAll).children(children));
        life.expect(world, &ups("abc"));
        world.crash("b");
        world.settle();
        life.expect(world, &[Note::Down("b"), Note::Down("c"), Note::Down("a")]);
        // One that merely waits with the others is taken out, and they wait on.
        sup.terminate_child("a").wait_timeout(SECOND).unwrap();
        world.settle();
        life.expect(world, &[]);
        sup.terminate_child("b").wait_timeout(SECOND).unwrap();
        world.settle();
        life.expect(world, &ups("c"));
        assert_eq!(world.running(&sup), ["c"]);
        assert_eq!(world.next_deadline(), None);
    });
}

#[test]
fn a_wait_holds_up_nobody_else() {
    in_virtual_time(|world| {
        let life = world.life();
        let children = [waiting(&life, "a"), life.child("b")];
        let sup = world.start(Supervisor::new(Strategy::OneForAll).children(children));
        life.expect(world, &ups("ab"));
        world.crash("a");
        world.settle();
        life.expect(world, &[Note::Down("a"), Note::Down("b")]);
        let added = sup.start_child(life.child("c"));
        assert!(added.wait_timeout(SECOND).is_ok());
        life.expect(world, &ups("c"));
        sup.terminate_child("c").wait_timeout(SECOND).unwrap();
        sup.restart_child("c").wait_timeout(SECOND).unwrap();
        life.expect(world, &[Note::Down("c"), Note::Up("c")]);
        after(world, &life, SECOND, &ups("ab"));
    });
}

#[test]
fn who_fails_while_its_group_waits_waits_with_it_until_the_later_of_both_times() {
    in_virtual_time(|world| {
        for (backoff, at) in [
            (Backoff::NONE, 2 * SECOND),
            (doubling(), 2 * SECOND),
            (Backoff::exponential(5 * SECOND).jitter(0.0), 6 * SECOND),
        ] {
            let life = world.life();
            let children = [waiting(&life, "a"), life.child("b")];
            let sup = Supervisor::new(Strategy::OneForAll).children(children);
            let sup = world.start(sup.intensity(100));
            life.expect(world, &ups("ab"));
            // `a` has failed once already.
            world.crash("a");
            world.settle();
            life.expect(world, &[Note::Down("a"), Note::Down("b")]);
            after(world, &life, SECOND, &ups("ab"));
            world.crash("a");
            world.settle();
            life.expect(world, &[Note::Down("a"), Note::Down("b")]);
            // A third is started, and fails, one second later.
            let c = life.child("c").backoff(backoff);
            sup.start_child(c).wait_timeout(SECOND).unwrap();
            life.expect(world, &ups("c"));
            world.advance(SECOND);
            crash(world, &life, "c");
            let statuses = ["a", "b", "c"].map(|id| world.status(&sup, id));
            assert_eq!(statuses, [Some(ChildStatus::Waiting(at - SECOND)); 3]);
            after(world, &life, at - SECOND, &ups("abc"));
            sup.stop(shutdown()).wait_timeout(SECOND).unwrap();
        }
    });
}

#[test]
fn a_group_that_waits_and_fails_again_waits_again() {
    in_virtual_time(|world| {
        let life = world.life();
        let failing = Conduct::FailInits {
            from: 1,
            failures: 1,
        };
        let failing = life.conduct("b", failing).backoff(doubling());
        let children = [life.child("a"), failing, life.child("c")];
        world.start(Supervisor::new(Strategy::OneForAll).children(children));
        life.expect(world, &ups("abc"));
        world.crash("b");
        world.settle();
        life.expect(world, &[Note::Down("b"), Note::Down("c"), Note::Down("a")]);
        world.advance(SECOND);
        life.expect(world, &[Note::Up("a"), Note::Down("a")]);
        after(world, &life, 2 * SECOND, &ups("abc"));
    });
}

#[test]
fn a_child_that_hangs_after_its_wait_can_be_terminated() {
    in_virtual_time(|world| {
        let life = world.life();
        let hangs = Conduct::HangInInits { from: 1 };
        let children = [
            life.conduct("a", hangs).backoff(doubling()),
            life.child("b"),
        ];
        let sup = world.start(Supervisor::new(Strategy::OneForAll).children(children));
        life.expect(world, &ups("ab"));
        world.crash("a");
        world.settle();
        life.expect(world, &[Note::Down("a"), Note::Down("b")]);
        world.advance(SECOND);
        assert_eq!(world.status(&sup, "a"), Some(ChildStatus::Starting));
        sup.terminate_child("a").wait_timeout(SECOND).unwrap();
        life.expect(world, &ups("b"));
        assert_eq!(world.status(&sup, "a"), Some(ChildStatus::Stopped));
    });
}

#[test]
fn a_first_start_that_fails_does_not_wait() {
    everywhere(|world| {
        let life = world.life();
        let failing = Conduct::FailInits {
            from: 0,
            failures: 1,
        };
        let child = life.conduct("a", failing).backoff(doubling());
        let error = Supervisor::new(Strategy::OneForOne)
            .child(child)
            .start(&world.system)
            .wait_timeout(10 * SECOND)
            .unwrap_err();
        assert!(matches!(error, StartError::Child { .. }), "{error:?}");
    });
}

#[test]
fn the_same_seed_gives_the_same_jitter_and_others_give_others() {
    let wait = |seed| {
        let world = World::manual(seed);
        let life = world.life();
        let backoff = Backoff::exponential(10 * SECOND).jitter(1.0);
        let sup = Supervisor::new(Strategy::OneForOne).child(life.child("a").backoff(backoff));
        let sup = world.start(sup);
        crash_only(&world);
        let Some(ChildStatus::Waiting(time)) = world.status(&sup, "a") else {
            panic!("it waits")
        };
        assert!(time <= 10 * SECOND);
        world.finish();
        time
    };
    fn crash_only(world: &World) {
        world.crash("a");
        world.settle();
    }
    let waits: Vec<Duration> = (0..20).map(wait).collect();
    assert_eq!(waits, (0..20).map(wait).collect::<Vec<_>>());
    let mut all = waits;
    all.sort();
    all.dedup();
    assert!(all.len() > 10, "{all:?}");
}

#[test]
fn on_threads_children_that_wait_are_all_back_in_the_end() {
    for strategy in [
        Strategy::OneForOne,
        Strategy::OneForAll,
        Strategy::RestForOne,
    ] {
        let world = World::threads(4);
        let life = world.life();
        let sup = Supervisor::new(strategy)
            .children(life.children(["a", "b", "c"]))
            .intensity(100_000)
            .backoff(Backoff::exponential(MS).cap(4 * MS));
        let sup = world.start(sup);
        for round in 0..30 {
            let id = ["a", "b", "c"][round % 3];
            if let Some(pid) = world.system.whereis(id) {
                world.system.exit(pid, ExitReason::Kill);
                world.wait_for_end(pid);
            }
        }
        world.until(|| world.running(&sup) == ["a", "b", "c"] && life.living() == 3);
        world.finish();
        assert_eq!(life.living(), 0);
    }
}

#[test]
fn crashes_and_requests_at_random_leave_no_orphan_and_no_gap() {
    const IDS: [&str; 5] = ["a", "b", "c", "d", "e"];
    for strategy in [
        Strategy::OneForOne,
        Strategy::OneForAll,
        Strategy::RestForOne,
    ] {
        with_seeds(100, |world, random| {
            let life = world.life();
            let sup = Supervisor::new(strategy)
                .children(life.children(IDS))
                .backoff(Backoff::exponential(10 * MS).cap(50 * MS))
                .intensity(100_000);
            let sup = world.start(sup);
            let mut stopped = [false; 5];
            let mut sent = Vec::new();
            for _ in 0..40 {
                let n = random(5);
                match random(4) {
                    0 => sent.push(sup.terminate_child(IDS[n])),
                    1 => drop(sup.restart_child(IDS[n])),
                    _ => {
                        if let Some(pid) = world.system.whereis(IDS[n]) {
                            world.system.exit(pid, ExitReason::Kill);
                        }
                    }
                }
                world.tick(random(20) as u32);
                world.advance(random(20) as u32 * MS);
                let status = sup.which_children().wait_timeout(SECOND).unwrap();
                let up = status.iter().filter(|child| child.pid().is_some()).count();
                assert!(life.living() <= IDS.len() && up <= life.living());
            }
            for mut answer in sent {
                assert_eq!(world.poll(&mut answer), Some(Ok(())));
            }
            world.advance(SECOND);
            for (n, child) in sup
                .which_children()
                .wait_timeout(SECOND)
                .unwrap()
                .iter()
                .enumerate()
            {
                assert_eq!(&*child.id, IDS[n]);
                stopped[n] = child.status == ChildStatus::Stopped;
                assert_eq!(child.pid().is_none(), stopped[n], "{child:?}");
                assert_eq!(child.pid(), world.system.whereis(IDS[n]));
            }
            let up = stopped.iter().filter(|stopped| !**stopped).count();
            assert_eq!(life.living(), up);
            assert_eq!(world.next_deadline(), None);
        });
    }
}
