//! A supervisor's flags and specs replaced while it runs, as a code change does in OTP; and references
//! to children that lead to whichever incarnation runs.

mod supervise;

use std::time::Duration;

use noex::prelude::*;
use noex::{
    AutoShutdown, Backoff, CallError, ChildError, ChildStatus, Inbox, MailboxFate, StartError,
    Supervised,
};

use supervise::{
    Boom, Conduct, Life, Note, Ping, Probe, Quit, SECOND, everywhere, in_virtual_time, ups,
};

fn shutdown() -> ExitReason {
    ExitReason::Shutdown(None)
}

fn change(sup: &SupervisorRef, to: Supervisor) -> Result<(), ChildError> {
    sup.change(to).wait_timeout(10 * SECOND)
}

fn ids(sup: &SupervisorRef) -> Vec<String> {
    let children = sup.which_children().wait_timeout(10 * SECOND).unwrap();
    children.iter().map(|child| child.id.to_string()).collect()
}

fn supervised(sup: &SupervisorRef, id: &str) -> Supervised<Probe> {
    sup.supervised(id).wait_timeout(10 * SECOND).unwrap()
}

#[test]
fn a_change_restarts_nobody_and_holds_from_the_next_restart_on() {
    everywhere(|world| {
        let life = world.life();
        let children = life.children(["a", "b", "c"]);
        let sup = world.start(Supervisor::new(Strategy::OneForOne).children(children));
        life.expect(world, &ups("abc"));
        let before = ["a", "b", "c"].map(|id| world.pid(id));
        let to = Supervisor::new(Strategy::OneForAll).children(life.children(["a", "b", "c"]));
        assert_eq!(change(&sup, to), Ok(()));
        assert_eq!(["a", "b", "c"].map(|id| world.pid(id)), before);
        life.expect(world, &[]);
        world.crash("b");
        life.expect(world, &[Note::Down("b"), Note::Down("c"), Note::Down("a")]);
        life.expect(world, &ups("abc"));
    });
}

#[test]
fn changed_specs_set_the_order_keep_others_behind_and_add_new_ones_without_a_process() {
    everywhere(|world| {
        let life = world.life();
        let children = life.children(["a", "b", "c", "d"]);
        let sup = world.start(Supervisor::new(Strategy::OneForAll).children(children));
        life.expect(world, &ups("abcd"));
        let to = Supervisor::new(Strategy::OneForAll).children(life.children(["e", "d", "b"]));
        assert_eq!(change(&sup, to), Ok(()));
        assert_eq!(ids(&sup), ["e", "d", "b", "a", "c"]);
        assert_eq!(world.status(&sup, "e"), Some(ChildStatus::Stopped));
        assert_eq!(world.running(&sup), ["d", "b", "a", "c"]);
        world.crash("a");
        life.expect(world, &["a", "c", "b", "d"].map(Note::Down));
        life.expect(world, &["e", "d", "b", "a", "c"].map(Note::Up));
        sup.stop(shutdown()).wait_timeout(10 * SECOND).unwrap();
        life.expect(world, &["c", "a", "b", "d", "e"].map(Note::Down));
    });
}

#[test]
fn a_new_child_is_started_by_request_and_an_added_one_comes_last() {
    everywhere(|world| {
        let life = world.life();
        let sup = world.start(Supervisor::new(Strategy::OneForOne).child(life.child("a")));
        let to = Supervisor::new(Strategy::OneForOne).children(life.children(["b", "a"]));
        assert_eq!(change(&sup, to), Ok(()));
        let started = sup.restart_child("b").wait_timeout(10 * SECOND);
        assert_eq!(started, Ok(Some(world.pid("b"))));
        sup.start_child(life.child("c"))
            .wait_timeout(10 * SECOND)
            .unwrap();
        assert_eq!(ids(&sup), ["b", "a", "c"]);
        sup.terminate_child("b").wait_timeout(10 * SECOND).unwrap();
        sup.delete_child("b").wait_timeout(10 * SECOND).unwrap();
        assert_eq!(ids(&sup), ["a", "c"]);
    });
}

#[test]
fn a_changed_spec_is_what_the_next_incarnation_is_started_with() {
    everywhere(|world| {
        let (old, new) = (world.life(), world.life());
        let sup = world.start(Supervisor::new(Strategy::OneForOne).child(old.child("a")));
        old.expect(world, &ups("a"));
        let to = Supervisor::new(Strategy::OneForOne).child(new.child("a"));
        assert_eq!(change(&sup, to), Ok(()));
        world.crash("a");
        old.expect(world, &[Note::Down("a")]);
        new.expect(world, &ups("a"));
        old.expect(world, &[]);
    });
}

#[test]
fn a_changed_restart_type_decides_about_the_incarnation_that_runs() {
    everywhere(|world| {
        let life = world.life();
        let sup = world.start(Supervisor::new(Strategy::OneForOne).child(life.child("a")));
        life.expect(world, &ups("a"));
        let transient = life.child("a").restart(Restart::Transient);
        let to = Supervisor::new(Strategy::OneForOne).child(transient);
        assert_eq!(change(&sup, to), Ok(()));
        world.server("a").cast(Quit(ExitReason::Normal)).unwrap();
        life.expect(world, &[Note::Down("a")]);
        world.until(|| world.status(&sup, "a") == Some(ChildStatus::Stopped));
    });
}

#[test]
fn restarts_made_before_a_change_count_against_the_new_intensity() {
    in_virtual_time(|world| {
        for (intensity, period, survives) in [
            (2, 3600 * SECOND, false),
            (3, 3600 * SECOND, true),
            (1, SECOND, true),
            (0, SECOND, false),
        ] {
            let life = world.life();
            let sup = Supervisor::new(Strategy::OneForOne)
                .child(life.child("a"))
                .intensity(10)
                .period(3600 * SECOND);
            let sup = world.start(sup);
            for _ in 0..2 {
                world.crash("a");
                world.settle();
                world.advance(2 * SECOND);
            }
            let to = Supervisor::new(Strategy::OneForOne)
                .child(life.child("a"))
                .intensity(intensity)
                .period(period);
            assert_eq!(change(&sup, to), Ok(()));
            assert!(sup.is_alive());
            world.crash("a");
            world.settle();
            assert_eq!(sup.is_alive(), survives);
            if survives {
                sup.stop(shutdown()).wait_timeout(SECOND).unwrap();
            }
        }
    });
}

#[test]
fn a_change_that_is_refused_changes_nothing() {
    everywhere(|world| {
        let life = world.life();
        let sup = world.start(Supervisor::new(Strategy::OneForOne).child(life.child("a")));
        life.expect(world, &ups("a"));
        let twice = life.children(["b", "b"]);
        let to = Supervisor::new(Strategy::OneForAll).children(twice);
        let error = StartError::DuplicateChild("b".into());
        assert_eq!(change(&sup, to), Err(ChildError::Start(error)));
        let significant = life
            .child("b")
            .restart(Restart::Temporary)
            .significant(true);
        let to = Supervisor::new(Strategy::OneForAll).child(significant);
        let error = StartError::SignificantInVain("b".into());
        assert_eq!(change(&sup, to), Err(ChildError::Start(error)));
        assert_eq!(ids(&sup), ["a"]);
        sup.start_child(life.child("c"))
            .wait_timeout(10 * SECOND)
            .unwrap();
        world.crash("c");
        life.expect(world, &[Note::Up("c"), Note::Down("c"), Note::Up("c")]);
        life.expect(world, &[]);
    });
}

#[test]
fn a_child_can_become_significant_by_a_change() {
    everywhere(|world| {
        let life = world.life();
        let sup = world.start(Supervisor::new(Strategy::OneForOne).child(life.child("a")));
        life.expect(world, &ups("a"));
        let significant = life
            .child("a")
            .restart(Restart::Transient)
            .significant(true);
        let to = Supervisor::new(Strategy::OneForOne)
            .child(significant)
            .auto_shutdown(AutoShutdown::AnySignificant);
        assert_eq!(change(&sup, to), Ok(()));
        world.server("a").cast(Quit(ExitReason::Normal)).unwrap();
        assert_eq!(world.end_of(&sup), shutdown());
    });
}

#[test]
fn a_change_during_the_start_waits_for_its_end_and_one_beside_a_hanging_child_does_not() {
    everywhere(|world| {
        let life = world.life();
        let children = [life.child("a"), life.conduct("b", Conduct::HangInInit)];
        let start = Supervisor::new(Strategy::OneForOne)
            .children(children)
            .name("tree")
            .start(&world.system);
        world.until(|| world.system.whereis("b").is_some());
        let sup = world.system.supervisor("tree").unwrap();
        let to = || Supervisor::new(Strategy::OneForOne).children(life.children(["c", "a"]));
        let changed = sup.change(to());
        assert_eq!(ids(&sup), ["a", "b"]);
        sup.terminate_child("b").wait_timeout(10 * SECOND).unwrap();
        start.wait_timeout(10 * SECOND).unwrap();
        assert_eq!(changed.wait_timeout(10 * SECOND), Ok(()));
        assert_eq!(ids(&sup), ["c", "a", "b"]);
        let hanging = sup.restart_child("b");
        world.until(|| world.status(&sup, "b") == Some(ChildStatus::Starting));
        assert_eq!(change(&sup, to()), Ok(()));
        drop(hanging);
    });
}

#[test]
fn a_change_while_children_wait_leaves_them_waiting_and_holds_for_their_next_start() {
    in_virtual_time(|world| {
        let (old, new) = (world.life(), world.life());
        let backoff = Backoff::exponential(10 * SECOND).jitter(0.0);
        let sup = Supervisor::new(Strategy::OneForAll)
            .children(old.children(["a", "b", "c"]))
            .backoff(backoff);
        let sup = world.start(sup);
        old.expect(world, &ups("abc"));
        world.crash("b");
        world.settle();
        let to = Supervisor::new(Strategy::OneForOne).children(new.children(["c", "b", "d"]));
        assert_eq!(change(&sup, to), Ok(()));
        let wait = Some(ChildStatus::Waiting(10 * SECOND));
        assert_eq!(["a", "b", "c"].map(|id| world.status(&sup, id)), [wait; 3]);
        world.advance(10 * SECOND);
        assert_eq!(world.running(&sup), ["c", "b", "a"]);
        new.expect(world, &ups("cb"));
        assert_eq!(world.status(&sup, "d"), Some(ChildStatus::Stopped));
    });
}

#[test]
fn a_change_under_a_group_that_waits_and_another_failure_restart_all_of_it() {
    in_virtual_time(|world| {
        let life = world.life();
        let backoff = Backoff::exponential(10 * SECOND).jitter(0.0);
        let spec = |id| life.child(id).backoff(backoff);
        let sup = Supervisor::new(Strategy::OneForAll).children(["a", "b", "c"].map(spec));
        let sup = world.start(sup);
        life.expect(world, &ups("abc"));
        world.crash("b");
        world.settle();
        life.expect(world, &["b", "c", "a"].map(Note::Down));
        // `d` comes first of all but `c`, and takes those after it along: so `a` and `b`, and `c`,
        // which waits with them.
        let to = Supervisor::new(Strategy::RestForOne).children(["c", "d", "a", "b"].map(spec));
        assert_eq!(change(&sup, to), Ok(()));
        sup.restart_child("d").wait_timeout(SECOND).unwrap();
        life.expect(world, &ups("d"));
        world.advance(SECOND);
        world.crash("d");
        world.settle();
        life.expect(world, &[Note::Down("d")]);
        let wait = Some(ChildStatus::Waiting(10 * SECOND));
        let statuses = ["a", "b", "c", "d"].map(|id| world.status(&sup, id));
        assert_eq!(statuses, [wait; 4]);
        world.advance(10 * SECOND);
        life.expect(world, &["c", "d", "a", "b"].map(Note::Up));
    });
}

#[test]
fn a_reference_to_a_child_leads_to_each_of_its_incarnations() {
    everywhere(|world| {
        let life = world.life();
        let nameless = ChildSpec::server::<Probe>("a", life.probe("a", Conduct::Good));
        let sup = world.start(Supervisor::new(Strategy::OneForOne).child(nameless));
        life.expect(world, &ups("a"));
        let a = supervised(&sup, "a");
        assert_eq!((a.id(), &a), ("a", &supervised(&sup, "a")));
        for _ in 0..3 {
            let pid = a.pid().unwrap();
            assert_eq!(a.call(Ping).wait_timeout(10 * SECOND), Ok(()));
            assert_eq!(a.resolve().unwrap().pid(), pid);
            a.cast(Boom).unwrap();
            life.expect(world, &[Note::Down("a"), Note::Up("a")]);
            world.until(|| a.pid().is_some_and(|new| new != pid));
        }
        let call = a.call(Ping).wait_timeout(10 * SECOND);
        assert_eq!(call, Ok(()));
    });
}

#[test]
fn where_no_incarnation_runs_calls_fail_and_messages_are_undelivered() {
    everywhere(|world| {
        let life = world.life();
        let sup = world.start(Supervisor::new(Strategy::OneForOne).child(life.child("a")));
        let a = supervised(&sup, "a");
        let other = world.start(
            Supervisor::new(Strategy::OneForOne).child(ChildSpec::server::<Probe>(
                "a",
                life.probe("a", Conduct::Good),
            )),
        );
        assert_ne!(a, supervised(&other, "a"));
        sup.terminate_child("a").wait_timeout(10 * SECOND).unwrap();
        assert_eq!((a.pid(), a.resolve().is_none()), (None, true));
        let call = a.call(Ping).wait_timeout(10 * SECOND);
        assert_eq!(call, Err(CallError::NoProc));
        world.settle();
        let before = world.system.stats().undelivered;
        a.cast(Boom).unwrap();
        world.settle();
        assert!(world.system.stats().undelivered > before);
        sup.restart_child("a").wait_timeout(10 * SECOND).unwrap();
        assert_eq!(a.pid(), world.system.whereis("a"));
        // Forgotten, and added again.
        sup.terminate_child("a").wait_timeout(10 * SECOND).unwrap();
        sup.delete_child("a").wait_timeout(10 * SECOND).unwrap();
        assert_eq!(a.pid(), None);
        sup.start_child(life.child("a"))
            .wait_timeout(10 * SECOND)
            .unwrap();
        assert_eq!(a.call(Ping).wait_timeout(10 * SECOND), Ok(()));
        sup.stop(shutdown()).wait_timeout(10 * SECOND).unwrap();
        let call = a.call(Ping).wait_timeout(10 * SECOND);
        assert_eq!(call, Err(CallError::NoProc));
    });
}

#[test]
fn a_reference_is_made_to_a_child_of_the_right_type_whether_it_runs_or_not() {
    everywhere(|world| {
        struct Other;
        impl GenServer for Other {
            type Args = ();
            async fn init((): (), _: &mut Context<Self>) -> Result<Self, InitStop> {
                Ok(Other)
            }
        }
        let life = world.life();
        let process = ChildSpec::process("p", |mut inbox: Inbox<()>| async move {
            inbox.recv().await;
        });
        let sup = Supervisor::new(Strategy::OneForOne)
            .child(life.child("a"))
            .child(ChildSpec::server::<Other>("o", ()))
            .child(process);
        let sup = world.start(sup);
        for id in ["o", "p"] {
            let wrong = sup.supervised::<Probe>(id).wait_timeout(10 * SECOND);
            assert_eq!(wrong, Err(ChildError::WrongType));
        }
        let none = sup.supervised::<Probe>("x").wait_timeout(10 * SECOND);
        assert_eq!(none, Err(ChildError::NotFound));
        sup.terminate_child("a").wait_timeout(10 * SECOND).unwrap();
        let a = supervised(&sup, "a");
        sup.restart_child("a").wait_timeout(10 * SECOND).unwrap();
        assert_eq!(a.call(Ping).wait_timeout(10 * SECOND), Ok(()));
        // A spec that starts something else from now on.
        let to = Supervisor::new(Strategy::OneForOne).child(ChildSpec::server::<Other>("a", ()));
        assert_eq!(change(&sup, to), Ok(()));
        a.cast(Boom).unwrap();
        let other: Supervised<Other> = sup
            .supervised("a")
            .wait_timeout(10 * SECOND)
            .unwrap_or_else(|_| {
                world.until(|| {
                    sup.supervised::<Other>("a")
                        .wait_timeout(10 * SECOND)
                        .is_ok()
                });
                sup.supervised("a").wait_timeout(10 * SECOND).unwrap()
            });
        world.until(|| other.resolve().is_some());
        assert!(a.resolve().is_none() && a.pid().is_some());
        let call = a.call(Ping).wait_timeout(10 * SECOND);
        assert_eq!(call, Err(CallError::NoProc));
    });
}

#[test]
fn a_reference_to_a_leaf_outlives_the_restart_of_its_branches() {
    everywhere(|world| {
        let life = world.life();
        let leaf = ChildSpec::server::<Probe>("leaf", life.probe("l", Conduct::Good));
        let inner = Supervisor::new(Strategy::OneForOne)
            .child(leaf)
            .intensity(0);
        let middle = Supervisor::new(Strategy::OneForOne)
            .child(ChildSpec::supervisor("inner", inner).name("inner"))
            .intensity(1);
        let sup =
            Supervisor::new(Strategy::OneForOne).child(ChildSpec::supervisor("middle", middle));
        world.start(sup);
        life.expect(world, &ups("l"));
        let inner = world.system.supervisor("inner").unwrap();
        let leaf = supervised(&inner, "leaf");
        // The second time `middle` gives up as well.
        for _ in 0..2 {
            let pid = leaf.pid().unwrap();
            leaf.cast(Boom).unwrap();
            life.expect(world, &[Note::Down("l"), Note::Up("l")]);
            world.until(|| leaf.pid().is_some_and(|new| new != pid));
            assert_eq!(leaf.call(Ping).wait_timeout(10 * SECOND), Ok(()));
        }
        assert!(!inner.is_alive());
    });
}

#[test]
fn one_spec_in_two_trees_is_two_children() {
    everywhere(|world| {
        let life = world.life();
        let spec = ChildSpec::server::<Probe>("a", life.probe("a", Conduct::Good));
        let branch = Supervisor::new(Strategy::OneForOne).child(spec);
        let start = |branch: &Supervisor| world.start(branch.clone());
        let (one, two) = (start(&branch), start(&branch));
        let (a, b) = (supervised(&one, "a"), supervised(&two, "a"));
        assert_ne!(a.pid(), b.pid());
        assert_eq!(b.call(Ping).wait_timeout(10 * SECOND), Ok(()));
        one.stop(shutdown()).wait_timeout(10 * SECOND).unwrap();
        assert_eq!(a.pid(), None);
        assert_eq!(b.call(Ping).wait_timeout(10 * SECOND), Ok(()));
    });
}

/// All at once: a group with a backoff, its mail kept, reached by references, changed while it waits.
#[test]
fn mail_kept_during_a_wait_reaches_an_incarnation_by_a_changed_spec() {
    in_virtual_time(|world| {
        let (old, new) = (world.life(), world.life());
        let backoff = Backoff::exponential(SECOND).jitter(0.0);
        let spec = |life: &Life, id| {
            life.child(id)
                .backoff(backoff)
                .mailbox_fate(MailboxFate::Keep)
        };
        let hangs = old
            .conduct("b", Conduct::HangInTerminate)
            .shutdown(Shutdown::Timeout(Duration::from_millis(500)))
            .mailbox_fate(MailboxFate::Keep);
        let sup = Supervisor::new(Strategy::OneForAll).children([spec(&old, "a"), hangs]);
        let sup = world.start(sup.intensity(100));
        old.expect(world, &ups("ab"));
        let b = supervised(&sup, "b");
        world.crash("a");
        world.settle();
        // It terminates, and so lies there until it is killed.
        b.cast(Quit(ExitReason::Timeout)).unwrap();
        world.advance(Duration::from_millis(500));
        assert_eq!(b.pid(), None);
        let to = Supervisor::new(Strategy::OneForOne)
            .children([spec(&new, "a"), spec(&new, "b")])
            .intensity(100);
        assert_eq!(change(&sup, to), Ok(()));
        assert_eq!(world.system.stats().queued, 1);
        world.advance(Duration::from_millis(500));
        old.expect(world, &[Note::Down("a"), Note::Down("b")]);
        // The new `b` does what the old one was told.
        new.expect(world, &[Note::Up("a"), Note::Up("b"), Note::Down("b")]);
        let wait = Some(ChildStatus::Waiting(SECOND));
        assert_eq!(world.status(&sup, "b"), wait);
        assert_eq!(
            world.status(&sup, "a"),
            Some(ChildStatus::Running(world.pid("a")))
        );
        world.advance(SECOND);
        new.expect(world, &ups("b"));
        assert_eq!(b.call(Ping).wait_timeout(SECOND), Ok(()));
    });
}
