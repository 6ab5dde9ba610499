//! Handlers and the processes that supervise them: who goes with whom, and who is told.

mod events;
mod support;

use std::future::pending;
use std::sync::mpsc::Sender;

use events::{Do, Heir, Plan, Saw, Stage, Stop, Will, adder, id, is_crash, run, spawn};
use noex::GenEvent;
use noex::gen_event::{Handler, HandlerExit, HandlerExitReason, HandlerStop};
use noex::prelude::*;
use support::{end_of, next, on_all, reports, until};

#[test]
fn the_adders_end_removes_its_handlers() {
    on_all(|system| {
        let stage = Stage::with(system, &["a"]);
        let (adder, _) = adder(system, &stage, "b");
        stage.add("c").expect("it is added");
        system.exit(adder.pid(), ExitReason::Timeout);
        end_of(system, &adder);
        until(system, || stage.handlers().len() == 2);
        let reason = ExitReason::Timeout;
        assert_eq!(
            stage.seen(),
            [
                Stop("b", HandlerStop::AdderExited(reason.clone())),
                // The others get the signal.
                Saw::Exit("c", reason.clone()),
                Saw::Exit("a", reason),
            ]
        );
    });
}

#[test]
fn an_exit_signal_of_an_adder_that_lives_removes_nothing() {
    on_all(|system| {
        let stage = Stage::new(system);
        let (manager, plan) = (stage.manager.clone(), stage.plan("a"));
        let count = run(system, move |cx| async move {
            let added = manager.add_sup_handler(&cx, id("a"), plan).await;
            added.expect("it is added");
            cx.exit(manager.pid(), ExitReason::Timeout);
            manager
                .which_handlers()
                .await
                .map(|handlers| handlers.len())
        });
        assert_eq!(count, Ok(1));
    });
}

#[test]
fn a_dead_adder_gets_no_handler() {
    on_all(|system| {
        let stage = Stage::new(system);
        let (manager, plan) = (stage.manager.clone(), stage.plan("a"));
        let adder = spawn(system, move |cx| async move {
            drop(manager.add_sup_handler(&cx, id("a"), plan));
            cx.exit(cx.pid(), ExitReason::Timeout);
            pending::<()>().await;
        });
        end_of(system, &adder);
        until(system, || stage.handlers().is_empty());
        assert!(stage.manager.is_alive());
    });
}

#[test]
fn the_adder_is_told_when_its_handler_is_removed() {
    on_all(|system| {
        let stage = Stage::new(system);
        let (_adder, told) = adder(system, &stage, "a");
        let pid = stage.manager.pid();
        let expect = |reason| {
            let exit = next(system, &told);
            assert_eq!((exit.manager, exit.handler), (pid, id("a").handler_id()));
            assert_eq!(exit.reason, reason);
        };
        stage
            .manager
            .delete_handler(id("a"))
            .wait()
            .expect("it is there");
        expect(HandlerExitReason::Normal);

        let (_adder, told) = adder(system, &stage, "b");
        stage.all(Do::Remove("b"));
        assert_eq!(next(system, &told).reason, HandlerExitReason::Normal);

        let (_adder, told) = adder(system, &stage, "c");
        stage.all(Do::Panic("c"));
        match next(system, &told).reason {
            HandlerExitReason::Failed(reason) => assert!(is_crash(&reason)),
            other => panic!("{other:?}"),
        }

        let (lives, told) = adder(system, &stage, "d");
        stage
            .manager
            .stop(ExitReason::Timeout)
            .wait()
            .expect("its end");
        assert_eq!(next(system, &told).reason, HandlerExitReason::Shutdown);
        assert!(lives.is_alive(), "unlinked");
    });
}

#[test]
fn who_supervises_a_handler_supervises_the_one_in_its_place() {
    on_all(|system| {
        let stage = Stage::new(system);
        let heir = Handler::<Heir>::new();
        let (adder, told) = adder(system, &stage, "a");
        let swap = stage.manager.swap_handler(id("a"), heir.clone(), Will::of);
        swap.wait().expect("it is swapped");
        let swapped = HandlerExitReason::Swapped {
            new: heir.handler_id(),
            supervisor: Some(adder.pid()),
        };
        assert_eq!(next(system, &told).reason, swapped);
        stage
            .manager
            .delete_handler(heir.clone())
            .wait()
            .expect("it is there");
        let exit = next(system, &told);
        assert_eq!(exit.handler, heir.handler_id());
        assert_eq!(exit.reason, HandlerExitReason::Normal);
    });
}

#[test]
fn a_handler_that_swaps_itself_for_one_that_fails_leaves_its_adder_with_neither() {
    on_all(|system| {
        let stage = Stage::new(system);
        let (adder, told) = adder(system, &stage, "a");
        stage.all(Do::SwapInVain("a"));
        let heir = Handler::<Heir>::new().handler_id();
        let swapped = HandlerExitReason::Swapped {
            new: heir.clone(),
            supervisor: Some(adder.pid()),
        };
        assert_eq!(next(system, &told).reason, swapped);
        let exit = next(system, &told);
        assert_eq!(exit.handler, heir);
        match exit.reason {
            HandlerExitReason::Failed(reason) => assert!(is_crash(&reason)),
            other => panic!("{other:?}"),
        }
        assert_eq!(stage.handlers(), []);
    });
}

#[test]
fn a_supervised_swap_passes_the_handler_from_one_adder_to_the_other() {
    on_all(|system| {
        let stage = Stage::new(system);
        let heir = Handler::<Heir>::new();
        let (first, told) = adder(system, &stage, "a");
        let (manager, new) = (stage.manager.clone(), heir.clone());
        let (ready, is_ready) = reports();
        let second = spawn(system, move |cx| async move {
            let swap = manager.swap_sup_handler(&cx, id("a"), new, Will::of);
            let _ = ready.send(swap.await);
            pending::<()>().await;
        });
        next(system, &is_ready).expect("it is swapped");
        let swapped = HandlerExitReason::Swapped {
            new: heir.handler_id(),
            supervisor: Some(second.pid()),
        };
        assert_eq!(next(system, &told).reason, swapped);
        system.exit(first.pid(), ExitReason::Kill);
        end_of(system, &first);
        assert_eq!(stage.handlers(), [heir.handler_id()]);
        system.exit(second.pid(), ExitReason::Kill);
        until(system, || stage.handlers().is_empty());
        let stopped = Stop("heir", HandlerStop::AdderExited(ExitReason::Killed));
        assert!(stage.seen().contains(&stopped));
    });
}

#[test]
fn a_manager_that_is_killed_takes_the_adders_along() {
    on_all(|system| {
        let stage = Stage::new(system);
        let (adder, _) = adder(system, &stage, "a");
        system.exit(stage.manager.pid(), ExitReason::Kill);
        assert_eq!(end_of(system, &adder), ExitReason::Killed);
        assert_eq!(stage.seen(), [], "no `terminate`");
    });
}

#[test]
fn a_server_takes_the_news_of_its_handler_by_its_routes() {
    struct Owner(Sender<HandlerExitReason>);
    impl GenServer for Owner {
        type Args = (GenEvent<Do>, Plan, Sender<HandlerExitReason>);
        async fn init(
            (manager, plan, tell): Self::Args,
            cx: &mut Context<Self>,
        ) -> Result<Self, InitStop> {
            let added = manager.add_sup_handler(cx, id("a"), plan).await;
            added.map_err(|error| InitStop::Stop(ExitReason::error(error)))?;
            Ok(Owner(tell))
        }
        fn routes(routes: &mut noex::Routes<'_, Self>) {
            routes.info::<HandlerExit>();
        }
    }
    impl HandleInfo<HandlerExit> for Owner {
        async fn handle_info(&mut self, exit: HandlerExit, _: &mut Context<Self>) {
            let _ = self.0.send(exit.reason);
        }
    }
    on_all(|system| {
        let stage = Stage::new(system);
        let (tell, told) = reports();
        let args = (stage.manager.clone(), stage.plan("a"), tell);
        system.start::<Owner>(args).wait().expect("a start");
        stage.all(Do::Remove("a"));
        assert_eq!(next(system, &told), HandlerExitReason::Normal);
    });
}
