//! How a supervisor stops children, those included that hang. On one scheduler thread, on four, and on
//! the manual driver with many seeds.

mod supervise;

use std::time::Duration;

use noex::prelude::*;
use noex::{CallError, ChildError, ChildStatus, StartError};

use supervise::{Conduct, Note, SECOND, everywhere, in_virtual_time, ups};

fn shutdown() -> ExitReason {
    ExitReason::Shutdown(None)
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
