//! Significant children and automatic shutdown: the rules of OTP's `auto_shutdown`.

mod supervise;

use noex::prelude::*;
use noex::{AutoShutdown, Backoff, ChildError, ChildStatus, StartError, Term};

use supervise::{Conduct, Life, Note, Quit, SECOND, World, everywhere, in_virtual_time, ups};

fn shutdown() -> ExitReason {
    ExitReason::Shutdown(None)
}

/// A temporary child that is significant.
fn significant(life: &Life, id: &'static str) -> ChildSpec {
    life.child(id).restart(Restart::Temporary).significant(true)
}

fn quit(world: &World, id: &'static str, reason: ExitReason) {
    world.server(id).cast(Quit(reason)).unwrap();
}

/// Runs what there is to run; on threads a round trip through the supervisor stands for it.
fn still_lives(world: &World, sup: &SupervisorRef) {
    world.settle();
    sup.count_children().wait_timeout(10 * SECOND).unwrap();
}

#[test]
fn exit_reason_and_restart_type_decide_whether_a_significant_child_shuts_its_supervisor_down() {
    let table = [
        (ExitReason::Normal, true, true),
        (shutdown(), true, true),
        (ExitReason::shutdown(Term::atom("done")), true, true),
        (ExitReason::error("broken"), false, true),
        (ExitReason::Killed, false, true),
    ];
    everywhere(|world| {
        for (reason, transient, temporary) in &table {
            for (restart, ends) in [
                (Restart::Transient, transient),
                (Restart::Temporary, temporary),
            ] {
                for mode in [AutoShutdown::AnySignificant, AutoShutdown::AllSignificant] {
                    let life = world.life();
                    let child = life.child("b").restart(restart).significant(true);
                    let children = [life.child("a"), child, life.child("c")];
                    let sup = Supervisor::new(Strategy::OneForOne).children(children);
                    let sup = world.start(sup.auto_shutdown(mode));
                    life.expect(world, &ups("abc"));
                    quit(world, "b", reason.clone());
                    life.expect(world, &[Note::Down("b")]);
                    if *ends {
                        life.expect(world, &[Note::Down("c"), Note::Down("a")]);
                        assert_eq!(world.end_of(&sup), shutdown());
                    } else {
                        life.expect(world, &ups("b"));
                        sup.stop(shutdown()).wait_timeout(10 * SECOND).unwrap();
                    }
                }
            }
        }
    });
}

#[test]
fn with_all_significant_the_last_of_them_ends_the_supervisor() {
    everywhere(|world| {
        let life = world.life();
        let children = [
            significant(&life, "a"),
            significant(&life, "b"),
            life.child("c"),
        ];
        let sup = Supervisor::new(Strategy::OneForOne).children(children);
        let sup = world.start(sup.auto_shutdown(AutoShutdown::AllSignificant));
        life.expect(world, &ups("abc"));
        quit(world, "b", ExitReason::Normal);
        life.expect(world, &[Note::Down("b")]);
        world.until(|| world.running(&sup) == ["a", "c"]);
        quit(world, "a", ExitReason::Timeout);
        life.expect(world, &[Note::Down("a"), Note::Down("c")]);
        assert_eq!(world.end_of(&sup), shutdown());
    });
}

#[test]
fn the_end_of_a_child_that_is_not_significant_ends_nobody() {
    everywhere(|world| {
        let life = world.life();
        let plain = life.child("b").restart(Restart::Temporary);
        let sup = Supervisor::new(Strategy::OneForOne).children([significant(&life, "a"), plain]);
        let sup = world.start(sup.auto_shutdown(AutoShutdown::AnySignificant));
        life.expect(world, &ups("ab"));
        quit(world, "b", ExitReason::Normal);
        life.expect(world, &[Note::Down("b")]);
        world.until(|| world.running(&sup) == ["a"]);
    });
}

#[test]
fn a_significant_child_that_is_terminated_ends_nobody_but_does_not_count_as_left() {
    everywhere(|world| {
        for mode in [AutoShutdown::AnySignificant, AutoShutdown::AllSignificant] {
            let life = world.life();
            let transient = life
                .child("a")
                .restart(Restart::Transient)
                .significant(true);
            let children = [transient, significant(&life, "b"), significant(&life, "c")];
            let sup = Supervisor::new(Strategy::OneForOne).children(children);
            let sup = world.start(sup.auto_shutdown(mode));
            life.expect(world, &ups("abc"));
            for id in ["a", "b"] {
                sup.terminate_child(id).wait_timeout(10 * SECOND).unwrap();
            }
            life.expect(world, &[Note::Down("a"), Note::Down("b")]);
            still_lives(world, &sup);
            quit(world, "c", ExitReason::Normal);
            life.expect(world, &[Note::Down("c")]);
            assert_eq!(world.end_of(&sup), shutdown());
        }
    });
}

#[test]
fn terminating_the_only_significant_child_ends_nobody() {
    everywhere(|world| {
        let life = world.life();
        let children = [significant(&life, "a"), life.child("b")];
        let sup = Supervisor::new(Strategy::OneForOne).children(children);
        let sup = world.start(sup.auto_shutdown(AutoShutdown::AllSignificant));
        sup.terminate_child("a").wait_timeout(10 * SECOND).unwrap();
        still_lives(world, &sup);
        assert_eq!(world.running(&sup), ["b"]);
    });
}

#[test]
fn a_significant_child_that_is_stopped_with_its_group_ends_nobody() {
    for strategy in [Strategy::OneForAll, Strategy::RestForOne] {
        everywhere(|world| {
            let life = world.life();
            let transient = life
                .child("c")
                .restart(Restart::Transient)
                .significant(true);
            let children = [life.child("a"), significant(&life, "b"), transient];
            let sup = Supervisor::new(strategy).children(children);
            let sup = world.start(sup.auto_shutdown(AutoShutdown::AnySignificant));
            life.expect(world, &ups("abc"));
            world.crash("a");
            life.expect(world, &[Note::Down("a"), Note::Down("c"), Note::Down("b")]);
            life.expect(world, &ups("ac"));
            world.until(|| world.running(&sup) == ["a", "c"]);
        });
    }
}

#[test]
fn a_significant_child_that_ends_while_its_group_is_being_stopped_ends_nobody() {
    in_virtual_time(|world| {
        let life = world.life();
        let hangs = life
            .conduct("c", Conduct::HangInTerminate)
            .shutdown(Shutdown::Timeout(SECOND));
        let transient = life
            .child("b")
            .restart(Restart::Transient)
            .significant(true);
        let sup = Supervisor::new(Strategy::OneForAll)
            .children([life.child("a"), transient, hangs])
            .auto_shutdown(AutoShutdown::AnySignificant);
        let sup = world.start(sup);
        life.expect(world, &ups("abc"));
        world.crash("a");
        world.settle();
        // `c` is being stopped, `b` would be next.
        quit(world, "b", ExitReason::Normal);
        world.settle();
        life.expect(world, &[Note::Down("a"), Note::Down("c"), Note::Down("b")]);
        assert!(sup.is_alive());
        world.advance(SECOND);
        life.expect(world, &ups("abc"));
        assert_eq!(world.running(&sup), ["a", "b", "c"]);
    });
}

#[test]
fn a_significant_child_that_ends_during_the_start_ends_the_supervisor_after_it() {
    everywhere(|world| {
        for mode in [AutoShutdown::AnySignificant, AutoShutdown::AllSignificant] {
            let life = world.life();
            let short = life
                .conduct("a", Conduct::StopAfterInit)
                .restart(Restart::Temporary)
                .significant(true);
            let sup = Supervisor::new(Strategy::OneForOne)
                .children([short, life.child("b"), significant(&life, "c")])
                .auto_shutdown(mode)
                .start(&world.system)
                .wait_timeout(10 * SECOND)
                .expect("the start itself succeeds");
            if mode == AutoShutdown::AllSignificant {
                world.until(|| world.running(&sup) == ["b", "c"]);
                quit(world, "c", ExitReason::Normal);
            }
            assert_eq!(world.end_of(&sup), shutdown());
        }
    });
}

#[test]
fn a_significant_child_that_is_being_stopped_does_not_count_as_left_once_it_is_gone() {
    in_virtual_time(|world| {
        let life = world.life();
        let hangs = life
            .conduct("a", Conduct::HangInTerminate)
            .shutdown(Shutdown::Timeout(SECOND))
            .restart(Restart::Transient)
            .significant(true);
        let sup = Supervisor::new(Strategy::OneForOne).children([hangs, significant(&life, "b")]);
        let sup = world.start(sup.auto_shutdown(AutoShutdown::AllSignificant));
        let terminated = sup.terminate_child("a");
        world.settle();
        quit(world, "b", ExitReason::Normal);
        world.settle();
        assert!(sup.is_alive(), "`a` still runs");
        world.advance(SECOND);
        assert_eq!(sup.exit_reason(), Some(shutdown()));
        drop(terminated);
    });
}

#[test]
fn a_significant_child_that_waits_for_its_restart_counts_as_left() {
    in_virtual_time(|world| {
        let life = world.life();
        let waits = life
            .child("a")
            .restart(Restart::Transient)
            .significant(true)
            .backoff(Backoff::exponential(10 * SECOND).jitter(0.0));
        let sup = Supervisor::new(Strategy::OneForOne).children([waits, significant(&life, "b")]);
        let sup = world.start(sup.auto_shutdown(AutoShutdown::AllSignificant));
        world.crash("a");
        world.settle();
        quit(world, "b", ExitReason::Normal);
        world.settle();
        assert_eq!(
            world.status(&sup, "a"),
            Some(ChildStatus::Waiting(10 * SECOND))
        );
        world.advance(10 * SECOND);
        assert_eq!(world.running(&sup), ["a"]);
        quit(world, "a", ExitReason::Normal);
        world.settle();
        assert_eq!(sup.exit_reason(), Some(shutdown()));
    });
}

#[test]
fn an_ignored_significant_child_ends_nobody_and_does_not_count_as_left() {
    everywhere(|world| {
        let life = world.life();
        let ignored = life
            .conduct("a", Conduct::IgnoreInits(1))
            .restart(Restart::Transient)
            .significant(true);
        let sup = Supervisor::new(Strategy::OneForOne).children([ignored, significant(&life, "b")]);
        let sup = world.start(sup.auto_shutdown(AutoShutdown::AllSignificant));
        still_lives(world, &sup);
        quit(world, "b", ExitReason::Normal);
        assert_eq!(world.end_of(&sup), shutdown());
    });
}

#[test]
fn an_automatic_shutdown_travels_up_through_significant_transient_branches() {
    everywhere(|world| {
        let life = world.life();
        let inner = Supervisor::new(Strategy::OneForOne)
            .children([life.child("b"), significant(&life, "c")])
            .auto_shutdown(AutoShutdown::AnySignificant);
        let branch = ChildSpec::supervisor("inner", inner)
            .restart(Restart::Transient)
            .significant(true);
        let sup = Supervisor::new(Strategy::OneForOne)
            .children([life.child("a"), branch])
            .auto_shutdown(AutoShutdown::AllSignificant);
        let sup = world.start(sup);
        life.expect(world, &ups("abc"));
        quit(world, "c", ExitReason::Normal);
        life.expect(world, &["c", "b", "a"].map(Note::Down));
        assert_eq!(world.end_of(&sup), shutdown());
    });
}

#[test]
fn a_permanent_branch_that_shut_itself_down_is_started_again() {
    everywhere(|world| {
        let life = world.life();
        let inner = Supervisor::new(Strategy::OneForOne)
            .children([life.child("a"), significant(&life, "b")])
            .auto_shutdown(AutoShutdown::AnySignificant);
        let sup = Supervisor::new(Strategy::OneForOne).child(ChildSpec::supervisor("inner", inner));
        world.start(sup);
        life.expect(world, &ups("ab"));
        quit(world, "b", ExitReason::Normal);
        life.expect(world, &[Note::Down("b"), Note::Down("a")]);
        life.expect(world, &ups("ab"));
    });
}

#[test]
fn a_significant_child_that_must_not_be_is_refused_before_anybody_is_started() {
    everywhere(|world| {
        let life = world.life();
        let permanent = || life.child("b").significant(true);
        let in_vain = |id: &str| StartError::SignificantInVain(id.into());
        let refused = StartError::SignificantPermanent("b".into());
        let start = |mode, child| {
            let sup = Supervisor::new(Strategy::OneForOne).children([life.child("a"), child]);
            let start = sup.auto_shutdown(mode).start(&world.system);
            start.wait_timeout(10 * SECOND).unwrap_err()
        };
        for mode in [AutoShutdown::AnySignificant, AutoShutdown::AllSignificant] {
            assert_eq!(start(mode, permanent()), refused);
        }
        assert_eq!(start(AutoShutdown::Never, permanent()), in_vain("b"));
        let temporary = significant(&life, "b");
        assert_eq!(start(AutoShutdown::Never, temporary), in_vain("b"));
        life.expect(world, &[]);

        let sup = Supervisor::new(Strategy::OneForOne);
        let sup = world.start(sup.auto_shutdown(AutoShutdown::AllSignificant));
        let add = |child| sup.start_child(child).wait_timeout(10 * SECOND);
        assert_eq!(add(permanent()), Err(ChildError::Start(refused)));
        assert!(add(significant(&life, "b")).is_ok());
        let plain = world.start(Supervisor::new(Strategy::OneForOne));
        let added = plain.start_child(significant(&life, "c"));
        let error = added.wait_timeout(10 * SECOND);
        assert_eq!(error, Err(ChildError::Start(in_vain("c"))));
        assert_eq!(world.status(&plain, "c"), None);
    });
}
