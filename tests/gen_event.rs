//! Event managers: who gets events, and what becomes of handlers that fail, leave or are replaced.

mod events;
mod support;

use events::{
    Ask, Do, Heir, Inherited, Init, Probe, Saw, Stage, Stop, Will, crash, id, is_crash, quoted,
};
use noex::gen_event::{Handler, HandlerStop};
use noex::prelude::*;
use noex::{Event, HandlerError};
use support::{on_all, on_all_built, quiet, reports};

#[test]
fn an_event_goes_to_all_handlers_the_last_added_first() {
    on_all(|system| {
        let stage = Stage::with(system, &["a", "b", "c"]);
        stage.manager.notify(Do::Note(1)).expect("room");
        stage.all(Do::Note(2));
        let expected = [("c", 1), ("b", 1), ("a", 1), ("c", 2), ("b", 2), ("a", 2)];
        assert_eq!(stage.seen(), expected.map(|(who, n)| Saw::Event(who, n)));
    });
}

#[test]
fn handlers_are_listed_by_type_and_id() {
    on_all(|system| {
        let stage = Stage::with(system, &["a", "b"]);
        let plain = stage
            .manager
            .add_handler(Handler::<Probe>::new(), stage.plan("plain"));
        plain.wait().expect("it is added");
        let heir = Handler::<Heir>::with_id(7);
        let will = Will::of(None);
        stage
            .manager
            .add_handler(heir.clone(), will)
            .wait()
            .expect("it is added");
        let ids = stage.handlers();
        let expected = [
            heir.handler_id(),
            Handler::<Probe>::new().handler_id(),
            id("b").handler_id(),
            id("a").handler_id(),
        ];
        assert_eq!(ids, expected);
        assert!(ids[0].is::<Heir>() && !ids[0].is::<Probe>());
        assert!(ids[0].to_string().ends_with("Heir,7}"), "{}", ids[0]);
        assert!(ids[1].to_string().ends_with("Probe"), "{}", ids[1]);
        assert_eq!(ids[1].id(), None);
    });
}

#[test]
fn a_call_goes_to_the_one_handler_it_is_for() {
    on_all(|system| {
        let stage = Stage::with(system, &["a"]);
        stage.all(Do::Note(1));
        stage.add("b").expect("it is added");
        stage.all(Do::Note(2));
        assert_eq!(
            stage.manager.call(id("a"), Ask::Notes).wait(),
            Ok(vec![1, 2])
        );
        assert_eq!(stage.manager.call(id("b"), Ask::Notes).wait(), Ok(vec![2]));
        let nobody = Err(HandlerError::NotInstalled);
        assert_eq!(stage.manager.call(id("c"), Ask::Notes).wait(), nobody);
        let without_id = Handler::<Probe>::new();
        assert_eq!(stage.manager.call(without_id, Ask::Notes).wait(), nobody);
    });
}

#[test]
fn of_two_with_one_id_the_last_added_is_meant() {
    on_all(|system| {
        let stage = Stage::with(system, &["a"]);
        stage.all(Do::Note(1));
        stage.add("a").expect("it is added");
        let notes = || stage.manager.call(id("a"), Ask::Notes).wait();
        assert_eq!(notes(), Ok(vec![]));
        assert_eq!(stage.names(), quoted(&["a", "a"]));
        stage
            .manager
            .delete_handler(id("a"))
            .wait()
            .expect("it is there");
        assert_eq!(notes(), Ok(vec![1]));
    });
}

#[test]
fn a_handler_that_crashes_is_removed_and_reported_and_the_others_go_on() {
    let (report, reported) = reports();
    let builder = move || {
        let report = report.clone();
        quiet().on_event(move |event| {
            if let Event::HandlerCrashed {
                manager,
                handler,
                reason,
            } = event
            {
                let _ = report.send((*manager, handler.clone(), reason.clone()));
            }
        })
    };
    on_all_built(builder, |system| {
        for crash in [Do::Panic("b"), Do::PanicLater("b")] {
            let stage = Stage::with(system, &["a", "b", "c"]);
            stage.all(crash);
            let seen = stage.seen();
            assert!(
                matches!(&seen[..], [Stop("b", HandlerStop::Error(reason))] if is_crash(reason)),
                "{seen:?}"
            );
            let reports: Vec<_> = reported.try_iter().collect();
            let [(manager, handler, reason)] = &reports[..] else {
                panic!("{reports:?}")
            };
            assert_eq!(*manager, stage.manager.pid());
            assert_eq!(*handler, id("b").handler_id());
            assert!(is_crash(reason));
            assert_eq!(stage.names(), quoted(&["c", "a"]));
            stage.all(Do::Note(1));
            assert_eq!(stage.seen(), [Saw::Event("c", 1), Saw::Event("a", 1)]);
        }
    });
}

#[test]
fn a_crash_in_a_call_is_the_callers_error() {
    on_all(|system| {
        let stage = Stage::with(system, &["a", "b"]);
        match stage.manager.call(id("a"), Ask::Panic).wait() {
            Err(HandlerError::Crashed(reason)) => assert!(is_crash(&reason)),
            other => panic!("{other:?}"),
        }
        assert_eq!(stage.names(), quoted(&["b"]));
        assert!(matches!(
            &stage.seen()[..],
            [Stop("a", HandlerStop::Error(_))]
        ));
        let gone = stage.manager.call(id("a"), Ask::Notes).wait();
        assert_eq!(gone, Err(HandlerError::NotInstalled));
    });
}

#[test]
fn a_handler_that_is_not_made_is_not_added() {
    on_all(|system| {
        let stage = Stage::with(system, &["a"]);
        let mut plan = stage.plan("b");
        plan.init = Init::Fail(ExitReason::Timeout);
        let failed = HandlerError::Init(ExitReason::Timeout);
        assert_eq!(stage.add_as(plan.clone()), Err(failed));
        plan.init = Init::Panic;
        match stage.add_as(plan) {
            Err(HandlerError::Crashed(reason)) => assert!(is_crash(&reason)),
            other => panic!("{other:?}"),
        }
        assert_eq!(stage.names(), quoted(&["a"]));
        assert_eq!(stage.seen(), [], "no `terminate`");
    });
}

#[test]
fn a_handler_may_want_to_be_removed_from_its_init_on() {
    on_all(|system| {
        let stage = Stage::new(system);
        let mut plan = stage.plan("a");
        plan.init = Init::Remove;
        assert_eq!(stage.add_as(plan), Ok(()));
        assert_eq!(stage.seen(), [Stop("a", HandlerStop::Removed)]);
        assert_eq!(stage.handlers(), []);
    });
}

#[test]
fn a_deleted_handler_comes_back() {
    on_all(|system| {
        let stage = Stage::with(system, &["a", "b"]);
        stage.all(Do::Note(1));
        stage.seen();
        let probe = stage.manager.delete_handler(id("a")).wait();
        assert_eq!(probe.expect("it is there").notes, [1]);
        assert_eq!(stage.seen(), [Stop("a", HandlerStop::Deleted)]);
        let gone = stage.manager.delete_handler(id("a")).wait();
        assert!(matches!(gone, Err(HandlerError::NotInstalled)));
        assert_eq!(stage.names(), quoted(&["b"]));
    });
}

#[test]
fn a_terminate_that_panics_changes_nothing_else() {
    on_all(|system| {
        let stage = Stage::new(system);
        for name in ["a", "b", "c", "d"] {
            let mut plan = stage.plan(name);
            plan.terminate_panics = true;
            stage.add_as(plan).expect("it is added");
        }
        match stage.manager.delete_handler(id("a")).wait() {
            Err(HandlerError::Crashed(reason)) => assert!(is_crash(&reason)),
            other => panic!("{other:?}"),
        }
        stage.all(Do::Panic("b"));
        stage.all(Do::Remove("c"));
        assert_eq!(stage.names(), quoted(&["d"]));
        let seen = stage.seen();
        let [
            Stop("a", HandlerStop::Deleted),
            Stop("b", HandlerStop::Error(reason)),
            Stop("c", HandlerStop::Removed),
        ] = &seen[..]
        else {
            panic!("{seen:?}")
        };
        assert!(is_crash(reason));
        let stopped = stage.manager.stop(ExitReason::Normal).wait();
        assert_eq!(stopped, Ok(()));
    });
}

#[test]
fn a_handler_whose_drop_panics_does_no_harm() {
    on_all(|system| {
        let stage = Stage::with(system, &["a"]);
        let mut plan = stage.plan("b");
        plan.drop_panics = true;
        stage.add_as(plan.clone()).expect("it is added");
        stage.all(Do::Remove("b"));
        stage.add_as(plan.clone()).expect("it is added");
        stage.all(Do::Panic("b"));
        stage.add_as(plan).expect("it is added");
        let swap = stage
            .manager
            .swap_handler(id("b"), Handler::<Heir>::new(), |old| {
                drop(old);
                Will::of(None)
            })
            .wait();
        assert!(matches!(swap, Err(HandlerError::Crashed(_))), "{swap:?}");
        assert_eq!(stage.names(), quoted(&["a"]));
    });
}

#[test]
fn a_handler_removes_itself() {
    on_all(|system| {
        let stage = Stage::with(system, &["a", "b", "c"]);
        stage.all(Do::Remove("b"));
        assert_eq!(stage.manager.call(id("c"), Ask::Remove).wait(), Ok(vec![]));
        system.send(stage.manager.pid(), 0u32);
        assert_eq!(stage.names(), quoted(&[]));
        assert_eq!(
            stage.seen(),
            ["b", "c", "a"].map(|who| Stop(who, HandlerStop::Removed))
        );
    });
}

#[test]
fn a_swap_gives_the_old_handler_to_the_new_one() {
    on_all(|system| {
        let stage = Stage::with(system, &["a", "b"]);
        stage.manager.notify(Do::Note(1)).expect("room");
        let heir = Handler::<Heir>::new();
        let swap = stage.manager.swap_handler(id("a"), heir.clone(), Will::of);
        stage.manager.notify(Do::Note(2)).expect("room");
        assert_eq!(swap.wait(), Ok(()));
        let notes = stage.manager.call(heir.clone(), Inherited).wait();
        assert_eq!(notes, Ok(Some(vec![1])));
        // The new one is the last added.
        assert_eq!(
            stage.seen(),
            [
                Saw::Event("b", 1),
                Saw::Event("a", 1),
                Stop("a", HandlerStop::Swapped),
                Saw::Event("heir", 2),
                Saw::Event("b", 2),
            ]
        );
        let handlers = [heir.handler_id(), id("b").handler_id()];
        assert_eq!(stage.handlers(), handlers);
    });
}

#[test]
fn a_swap_with_nobody_adds() {
    on_all(|system| {
        let stage = Stage::with(system, &["a"]);
        let heir = Handler::<Heir>::new();
        let swap = stage.manager.swap_handler(id("b"), heir.clone(), Will::of);
        assert_eq!(swap.wait(), Ok(()));
        let notes = stage.manager.call(heir, Inherited).wait();
        assert_eq!(notes, Ok(None));
        assert_eq!(stage.handlers().len(), 2);
    });
}

#[test]
fn a_swap_that_fails_leaves_neither() {
    on_all(|system| {
        let stage = Stage::with(system, &["a", "b"]);
        let heir = Handler::<Heir>::new();
        let fail = |old| Will {
            fail: true,
            ..Will::of(old)
        };
        let swap = stage
            .manager
            .swap_handler(id("a"), heir.clone(), fail)
            .wait();
        assert_eq!(swap, Err(HandlerError::Init(ExitReason::Timeout)));
        let swap = stage
            .manager
            .swap_handler(id("b"), heir, |_| crash())
            .wait();
        match swap {
            Err(HandlerError::Crashed(reason)) => assert!(is_crash(&reason)),
            other => panic!("{other:?}"),
        }
        assert_eq!(stage.handlers(), []);
    });
}

#[test]
fn a_handler_puts_another_in_its_own_place() {
    on_all(|system| {
        let stage = Stage::with(system, &["a", "b", "c"]);
        stage.all(Do::Note(1));
        stage.seen();
        stage.all(Do::Swap("b"));
        stage.all(Do::Note(2));
        assert_eq!(
            stage.seen(),
            [
                Stop("b", HandlerStop::Swapped),
                Saw::Event("c", 2),
                Saw::Event("heir", 2),
                Saw::Event("a", 2),
            ]
        );
        let heir = Handler::<Heir>::new();
        let notes = stage.manager.call(heir, Inherited).wait();
        assert_eq!(notes, Ok(Some(vec![1])));
        // With a reply as well.
        let notes = stage.manager.call(id("c"), Ask::Swap).wait();
        assert_eq!(notes, Ok(vec![1, 2]));
        assert!(stage.handlers()[0].is::<Heir>());
        stage.all(Do::SwapInVain("a"));
        assert_eq!(stage.handlers().len(), 2);
    });
}
