//! How a dynamic supervisor stops children, and itself, those included that hang. On one scheduler
//! thread, on four, and on the manual driver with many seeds.

mod dynamic;
mod supervise;

use std::future::pending;
use std::time::Duration;

use noex::prelude::*;
use noex::{CallError, ChildError, ChildStatus, StartError};

use supervise::{Boom, Conduct, Note, SECOND, everywhere, in_virtual_time, ups};

use dynamic::{answer, counts, fails, only_child, probes, shutdown, start};

#[test]
fn a_terminated_child_is_forgotten_whatever_its_restart_type() {
    everywhere(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::new());
        for restart in [Restart::Permanent, Restart::Transient, Restart::Temporary] {
            let child = life.child("a").restart(restart);
            let pid = answer(sup.start_child(child)).unwrap();
            life.expect(world, &ups("a"));
            answer(sup.terminate_child(pid));
            assert!(!world.system.is_alive(pid));
            life.expect(world, &[Note::Down("a")]);
            assert_eq!(counts(&sup), (0, 0, 0, 0));
            assert_eq!(fails(sup.terminate_child(pid)), ChildError::NotFound);
        }
        assert_eq!(fails(sup.terminate_child(sup.pid())), ChildError::NotFound);
        life.expect(world, &[]);
    });
}

#[test]
fn of_two_that_terminate_a_child_the_second_comes_too_late() {
    in_virtual_time(|world| {
        let life = world.life();
        let hangs = life.conduct("a", Conduct::HangInTerminate);
        let sup = start(world, DynamicSupervisor::new());
        let pid = answer(sup.start_child(hangs)).unwrap();
        let mut first = sup.terminate_child(pid);
        let mut second = sup.terminate_child(pid);
        world.advance(5 * SECOND - Duration::from_millis(1));
        assert_eq!(world.poll(&mut first), None);
        assert_eq!(world.poll(&mut second), None);
        world.advance(Duration::from_millis(1));
        assert_eq!(world.poll(&mut first), Some(Ok(())));
        assert_eq!(world.poll(&mut second), Some(Err(ChildError::NotFound)));
        assert!(!world.system.is_alive(pid));
    });
}

#[test]
fn a_child_that_hangs_in_init_keeps_nobody_waiting_and_can_be_terminated() {
    everywhere(|world| {
        for conduct in [Conduct::HangInInit, Conduct::HangInInitTrapping] {
            let life = world.life();
            let sup = start(world, DynamicSupervisor::new());
            let hanging = life.conduct("h", conduct).shutdown(Shutdown::BrutalKill);
            let starting = sup.start_child(hanging);
            answer(sup.start_child(life.child("a").restart(Restart::Permanent)));
            life.expect(world, &ups("a"));
            world.crash("a");
            life.expect(world, &[Note::Down("a"), Note::Up("a")]);
            let hanging = world.pid("h");
            world.until(|| counts(&sup) == (2, 1, 0, 2));
            let told = answer(sup.which_children())
                .into_iter()
                .find(|child| child.status == ChildStatus::Starting);
            assert_eq!(told.unwrap().pid, Some(hanging));
            answer(sup.terminate_child(hanging));
            assert!(!world.system.is_alive(hanging));
            let called_off = StartError::Init(shutdown());
            assert_eq!(fails(starting), ChildError::Start(called_off));
            sup.stop(ExitReason::Normal)
                .wait_timeout(10 * SECOND)
                .unwrap();
        }
    });
}

#[test]
fn a_start_that_takes_longer_than_its_timeout_fails_and_leaves_nothing() {
    in_virtual_time(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::new());
        let hanging = life
            .conduct("h", Conduct::HangInInit)
            .start_timeout(3 * SECOND);
        let mut starting = sup.start_child(hanging);
        world.advance(3 * SECOND - Duration::from_millis(1));
        assert!(world.poll(&mut starting).is_none());
        world.advance(Duration::from_millis(1));
        let timeout = ChildError::Start(StartError::Timeout);
        assert_eq!(world.poll(&mut starting), Some(Err(timeout)));
        assert_eq!(world.system.whereis("h"), None);
        assert_eq!(counts(&sup), (0, 0, 0, 0));
    });
}

#[test]
fn a_child_that_hangs_in_terminate_is_killed_at_its_deadline_and_keeps_nobody_waiting() {
    in_virtual_time(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::new());
        let hangs = life
            .conduct("a", Conduct::HangInTerminate)
            .shutdown(Shutdown::Timeout(3 * SECOND));
        let a = answer(sup.start_child(hangs)).unwrap();
        let mut terminated = sup.terminate_child(a);
        world.settle();
        answer(sup.start_child(life.child("b").restart(Restart::Permanent)));
        world.crash("b");
        world.settle();
        assert_eq!(counts(&sup), (2, 1, 0, 2));
        world.advance(3 * SECOND - Duration::from_millis(1));
        assert!(world.system.is_alive(a));
        assert_eq!(world.poll(&mut terminated), None);
        world.advance(Duration::from_millis(1));
        assert!(!world.system.is_alive(a));
        assert_eq!(world.poll(&mut terminated), Some(Ok(())));
        assert_eq!(world.next_deadline(), None, "no timer is left");
    });
}

#[test]
fn at_the_end_all_are_told_at_once_and_each_is_killed_when_its_own_time_is_over() {
    in_virtual_time(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::new());
        let hangs = |id, shutdown| {
            life.conduct(id, Conduct::HangInTerminate)
                .shutdown(shutdown)
        };
        let seconds = |n| Shutdown::Timeout(n * SECOND);
        for child in [
            hangs("a", seconds(1)),
            hangs("b", seconds(4)),
            hangs("c", Shutdown::Infinity),
            hangs("d", Shutdown::BrutalKill),
            hangs("e", seconds(4)),
            life.child("f"),
        ] {
            answer(sup.start_child(child));
        }
        life.expect(world, &ups("abcdef"));
        let [a, b, c, e] = ["a", "b", "c", "e"].map(|id| world.pid(id));
        let alive = |pids: &[Pid]| -> Vec<bool> {
            pids.iter().map(|pid| world.system.is_alive(*pid)).collect()
        };
        let mut stop = sup.stop(ExitReason::Normal);
        world.settle();
        let mut downs = [(); 5].map(|()| {
            let Note::Down(id) = life.next(world) else {
                panic!("no child comes up")
            };
            id
        });
        downs.sort();
        assert_eq!(
            downs,
            ["a", "b", "c", "e", "f"],
            "all but the one that is killed"
        );
        world.advance(SECOND - Duration::from_millis(1));
        assert_eq!(alive(&[a, b, c, e]), [true; 4]);
        world.advance(Duration::from_millis(1));
        assert_eq!(alive(&[a, b, c, e]), [false, true, true, true]);
        world.advance(3 * SECOND - Duration::from_millis(1));
        assert_eq!(alive(&[b, c, e]), [true; 3]);
        world.advance(Duration::from_millis(1));
        assert_eq!(alive(&[b, c, e]), [false, true, false]);
        world.advance(1000 * SECOND);
        assert_eq!(alive(&[c]), [true], "it has all the time it likes");
        assert!(world.poll(&mut stop).is_none());
        world.system.exit(c, ExitReason::Kill);
        world.settle();
        assert_eq!(world.poll(&mut stop), Some(Ok(())));
        assert_eq!(life.living(), 0);
        assert_eq!(world.next_deadline(), None, "no timer is left");
    });
}

#[test]
fn what_was_being_started_or_stopped_ends_with_the_supervisor() {
    in_virtual_time(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::new());
        let hangs = life.conduct("a", Conduct::HangInTerminate);
        let a = answer(sup.start_child(hangs)).unwrap();
        let mut starting = sup.start_child(life.conduct("b", Conduct::HangInInit));
        let mut terminated = sup.terminate_child(a);
        world.settle();
        let b = world.pid("b");
        world.advance(3 * SECOND);
        let mut stop = sup.stop(ExitReason::Normal);
        // `a` has had three of its five seconds.
        world.advance(2 * SECOND - Duration::from_millis(1));
        assert!(!world.system.is_alive(b) && world.system.is_alive(a));
        assert!(world.poll(&mut stop).is_none());
        world.advance(Duration::from_millis(1));
        assert!(!world.system.is_alive(a));
        assert_eq!(world.poll(&mut stop), Some(Ok(())));
        let gone = ChildError::Call(CallError::Exited(ExitReason::Normal));
        assert_eq!(world.poll(&mut starting), Some(Err(gone.clone())));
        assert_eq!(world.poll(&mut terminated), Some(Err(gone)));
    });
}

#[test]
fn a_supervisor_that_is_killed_takes_its_children_along() {
    everywhere(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::with_template(probes(&life)));
        let children: Vec<_> = (0..5)
            .map(|_| answer(sup.start_child(Conduct::Good)).unwrap())
            .collect();
        world.system.exit(sup.pid(), ExitReason::Kill);
        for child in children {
            world.wait_for_end(child.pid());
        }
        assert_eq!(sup.exit_reason(), Some(ExitReason::Killed));
    });
}

#[test]
fn a_child_that_unlinks_itself_is_linked_again() {
    everywhere(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::with_template(probes(&life)));
        let child = answer(sup.start_child(Conduct::UnlinkInInit)).unwrap();
        answer(sup.count_children());
        child.cast(Boom).unwrap();
        world.until(|| counts(&sup).0 == 0);
    });
}

#[test]
fn the_end_of_the_system_stops_its_children() {
    everywhere(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::new());
        answer(sup.start_child(life.child("a")));
        life.expect(world, &ups("a"));
        world.system.shutdown().wait_timeout(10 * SECOND).unwrap();
        life.expect(world, &[Note::Down("a")]);
    });
}

#[test]
fn what_never_ends_is_left_to_the_end_of_the_supervisor() {
    // A start function that started nothing yet has no pid to terminate it by.
    in_virtual_time(|world| {
        let sup = start(world, DynamicSupervisor::new());
        let never = ChildSpec::worker("never", |_| pending::<Result<Pid, StartError>>());
        let mut starting = sup.start_child(never);
        assert_eq!(only_child(&sup).pid, None);
        assert_eq!(world.poll(&mut starting), None);
        let stopped = sup.stop(ExitReason::Normal).wait_timeout(SECOND);
        assert_eq!(stopped, Ok(()));
        let gone = CallError::Exited(ExitReason::Normal);
        assert_eq!(world.poll(&mut starting), Some(Err(gone.into())));
    });
}
