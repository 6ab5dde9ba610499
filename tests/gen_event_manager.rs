//! Event managers as processes: their end, their mail, their names, and who waits for them.

mod events;
mod support;

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use events::{Ask, Do, Init, Plan, Saw, Stage, Stop, crash, id, quoted, run, spawn};
use noex::gen_event::{EventHandler, Handler, HandlerContext, HandlerStop};
use noex::prelude::*;
use noex::{CallError, GenEvent, HandlerError, StartError};
use support::{DEADLINE, next, on_all, reports, until};

#[test]
fn a_manager_that_ends_terminates_its_handlers() {
    on_all(|system| {
        let stage = Stage::with(system, &["a", "b"]);
        stage.manager.notify(Do::Note(1)).expect("room");
        let stop = stage.manager.stop(ExitReason::Timeout);
        assert_eq!(stop.wait(), Ok(()));
        assert_eq!(
            stage.seen(),
            [
                Saw::Event("b", 1),
                Saw::Event("a", 1),
                Stop("b", HandlerStop::Stop),
                Stop("a", HandlerStop::Stop),
            ]
        );
        assert_eq!(stage.manager.exit_reason(), Some(ExitReason::Timeout));
        // To the dead: no error of a `notify`, one of what wants an answer.
        assert!(stage.manager.notify(Do::Note(2)).is_ok());
        let gone = CallError::Exited(ExitReason::Timeout);
        assert_eq!(
            stage.manager.sync_notify(Do::Note(2)).wait(),
            Err(gone.clone())
        );
        assert_eq!(stage.add("c"), Err(HandlerError::Call(gone)));
    });
}

#[test]
fn a_linked_manager_ends_with_its_parent() {
    on_all(|system| {
        let (tell, told) = reports();
        let (give, given) = reports::<Plan>();
        let (saw, seen) = reports();
        let parent = spawn(system, move |cx| async move {
            let manager = GenEvent::<Do>::start_link(&cx).await.expect("a start");
            let plan = given.recv().expect("a plan");
            // By its parent, too: it is the parent whose end counts.
            let added = manager.add_sup_handler(&cx, id("a"), plan).await;
            let _ = tell.send((manager.pid(), added));
            pending::<()>().await;
        });
        let _ = give.send(Plan {
            name: "a",
            tell: saw,
            init: Init::Good,
            terminate_panics: false,
            drop_panics: false,
        });
        let (manager, added) = next(system, &told);
        added.expect("it is added");
        let monitor = system.monitor(manager);
        system.exit(parent.pid(), ExitReason::Timeout);
        let down = monitor.wait_timeout(DEADLINE).expect("its end");
        assert_eq!(down.reason, ExitReason::Timeout);
        let seen: Vec<_> = seen.try_iter().collect();
        assert_eq!(seen, [Stop("a", HandlerStop::Stop)]);
    });
}

#[test]
fn what_is_sent_to_the_manager_goes_to_all_handlers() {
    on_all(|system| {
        let stage = Stage::with(system, &["a", "b"]);
        system.send(stage.manager.pid(), 7u32);
        stage.all(Do::SendAfter("a", Duration::from_millis(1), 8));
        until(system, || {
            let handlers = stage.handlers().len();
            assert_eq!(handlers, 2);
            stage.seen.try_recv() == Ok(Saw::Any("a", 8)) || {
                // Those before it, in their order.
                false
            }
        });
        system.send(stage.manager.pid(), 666u32);
        assert_eq!(stage.handlers(), [], "both crashed");
    });
}

#[test]
fn a_monitor_of_the_managers_tells_all_handlers() {
    on_all(|system| {
        let stage = Stage::with(system, &["a", "b"]);
        let victim = spawn(system, |_| pending::<()>());
        stage.all(Do::Monitor("a", victim.pid()));
        system.exit(victim.pid(), ExitReason::Timeout);
        let expected = ["b", "a"].map(|who| Saw::Down(who, ExitReason::Timeout));
        for saw in expected {
            assert_eq!(next(system, &stage.seen), saw);
        }
    });
}

#[test]
fn a_handler_that_waits_for_its_own_manager_waits_for_itself() {
    on_all(|system| {
        let stage = Stage::with(system, &["a"]);
        stage.all(Do::AskManager("a"));
        assert!(matches!(
            &stage.seen()[..],
            [Saw::Answer(CallError::Cycle(_))]
        ));
        assert_eq!(stage.names(), quoted(&["a"]));
    });
}

#[test]
fn a_call_to_a_handler_has_a_timeout() {
    on_all(|system| {
        let stage = Stage::with(system, &["a"]);
        let manager = stage.manager.clone();
        let answer = run(system, move |_| async move {
            let time = Duration::from_millis(5);
            manager.call_with(id("a"), Ask::Wait, time).await
        });
        assert_eq!(answer, Err(HandlerError::Call(CallError::Timeout)));
        system.exit(stage.manager.pid(), ExitReason::Kill);
    });
}

#[test]
fn a_process_must_not_block_on_a_manager() {
    on_all(|system| {
        let stage = Stage::with(system, &["a"]);
        let manager = stage.manager.clone();
        let answer = run(system, move |_| async move {
            manager.call(id("a"), Ask::Notes).wait()
        });
        assert_eq!(answer, Err(HandlerError::Call(CallError::WouldBlock)));
    });
}

#[test]
fn a_manager_is_reached_by_its_name_and_begins_anew_under_a_supervisor() {
    on_all(|system| {
        let named = system.gen_event::<Do>("events");
        let nobody = HandlerError::Call(CallError::NoProc);
        assert_eq!(named.call(id("a"), Ask::Notes).wait(), Err(nobody));
        assert!(named.notify(Do::Note(1)).is_ok());

        let supervisor = Supervisor::new(Strategy::OneForOne)
            .child(GenEvent::<Do>::child_spec("events").name("events"))
            .start(system)
            .wait()
            .expect("a start");
        let first = named.resolve().expect("it runs");
        let (tell, seen) = reports();
        let plan = Plan {
            name: "a",
            tell,
            init: Init::Good,
            terminate_panics: false,
            drop_panics: false,
        };
        named
            .add_handler(id("a"), plan)
            .wait()
            .expect("it is added");
        named.sync_notify(Do::Note(1)).wait().expect("an answer");
        assert_eq!(seen.try_recv(), Ok(Saw::Event("a", 1)));
        let options = ServerOptions::new().name("events");
        let taken = GenEvent::<Do>::start_with(system, options).wait();
        assert_eq!(taken, Err(StartError::AlreadyStarted(first.pid())));
        assert_eq!(system.gen_event::<u8>("events").resolve(), None);

        system.exit(first.pid(), ExitReason::Kill);
        until(system, || {
            named.resolve().is_some_and(|manager| manager != first)
        });
        assert_eq!(named.which_handlers().wait(), Ok(vec![]));
        supervisor.stop(ExitReason::Normal).wait().expect("its end");
        assert_eq!(named.resolve(), None);
    });
}

#[test]
fn an_answer_that_a_crashing_handler_held_is_not_waited_for_for_ever() {
    struct Keeper(Arc<Mutex<Option<noex::ReplyTo<u32>>>>);
    struct Give;
    impl GenServer for Keeper {
        type Args = Arc<Mutex<Option<noex::ReplyTo<u32>>>>;
        async fn init(kept: Self::Args, _: &mut Context<Self>) -> Result<Self, InitStop> {
            Ok(Keeper(kept))
        }
    }
    impl HandleRequest<Give> for Keeper {
        type Reply = u32;
        async fn handle_request(
            &mut self,
            _: Give,
            reply: noex::ReplyTo<u32>,
            _: &mut Context<Self>,
        ) {
            *self.0.lock().expect("nobody panics here") = Some(reply);
        }
    }
    /// Crashes with the answer in its hands.
    struct Holder(Arc<Mutex<Option<noex::ReplyTo<u32>>>>);
    impl EventHandler<()> for Holder {
        type Args = Arc<Mutex<Option<noex::ReplyTo<u32>>>>;
        async fn init(
            kept: Self::Args,
            _: &mut HandlerContext<Self, ()>,
        ) -> Result<Self, ExitReason> {
            Ok(Holder(kept))
        }
        async fn handle_event(&mut self, (): &(), _: &mut HandlerContext<Self, ()>) {
            let _held = self.0.lock().expect("nobody panics here").take();
            crash()
        }
    }
    on_all(|system| {
        let kept = Arc::new(Mutex::new(None));
        let keeper = system.start::<Keeper>(kept.clone()).wait();
        let call = keeper.expect("a start").call(Give);
        until(system, || {
            kept.lock().expect("nobody panics here").is_some()
        });
        let manager = GenEvent::<()>::start(system).wait().expect("a start");
        let holder = manager.add_handler(Handler::<Holder>::new(), kept);
        holder.wait().expect("it is added");
        manager.sync_notify(()).wait().expect("an answer");
        assert_eq!(call.wait(), Err(CallError::NoReply));
        assert!(manager.is_alive());
    });
}
