//! What can be asked of a supervisor about its children, with OTP's answers. On one scheduler thread, on
//! four, and on the manual driver with many seeds.

mod supervise;

use noex::prelude::*;
use noex::{CallError, ChildCounts, ChildError, ChildKind, ChildStatus, StartError};

use supervise::{Conduct, Note, SECOND, everywhere, ups};

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
fn a_child_may_ask_its_own_supervisor() {
    everywhere(|world| {
        let life = world.life();
        let asks = life.conduct("b", Conduct::AskInInit("tree"));
        let sup = Supervisor::new(Strategy::RestForOne).children([life.child("a"), asks]);
        world.start(sup.name("tree"));
        life.expect(world, &ups("ab"));
    });
}
