//! Event managers: who gets events, and what becomes of handlers that fail, end or are replaced.

mod support;

use std::future::{Future, pending};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use noex::gen_event::{
    EventHandler, HandleEventCall, Handler, HandlerContext, HandlerExit, HandlerExitReason,
    HandlerId, HandlerStop,
};
use noex::prelude::*;
use noex::{
    AnyMessage, CallError, Down, Event, Exit, GenEvent, HandlerError, Inbox, Received, Recipient,
    StartError,
};
use support::{DEADLINE, end_of, next, on_all, on_all_built, quiet, reports, until};

/// What handlers are given.
#[derive(Clone, Debug, PartialEq)]
enum Do {
    Note(u32),
    /// Of the probe of that name.
    Panic(&'static str),
    PanicLater(&'static str),
    Remove(&'static str),
    /// By a `Heir`; by one that is not made.
    Swap(&'static str),
    SwapInVain(&'static str),
    Monitor(&'static str, Pid),
    SendAfter(&'static str, Duration, u32),
    AskManager(&'static str),
}

#[derive(Clone, Debug, PartialEq)]
enum Saw {
    Event(&'static str, u32),
    Any(&'static str, u32),
    Down(&'static str, ExitReason),
    Exit(&'static str, ExitReason),
    Stop(&'static str, HandlerStop),
    Answer(CallError),
}
use Saw::Stop;

#[derive(Clone)]
struct Plan {
    name: &'static str,
    tell: Sender<Saw>,
    init: Init,
    terminate_panics: bool,
    drop_panics: bool,
}

#[derive(Clone, PartialEq)]
enum Init {
    Good,
    Fail(ExitReason),
    Panic,
    Remove,
}

struct Probe {
    plan: Plan,
    notes: Vec<u32>,
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Probe").field(&self.plan.name).finish()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if self.plan.drop_panics {
            panic!("in a drop");
        }
    }
}

fn crash<T>() -> T {
    panic!("as it should")
}

fn is_crash(reason: &ExitReason) -> bool {
    matches!(reason, ExitReason::Panic(panic) if panic.message() == "as it should")
}

impl EventHandler<Do> for Probe {
    type Args = Plan;

    async fn init(plan: Plan, cx: &mut HandlerContext<Self, Do>) -> Result<Self, ExitReason> {
        match plan.init.clone() {
            Init::Good => {}
            Init::Fail(reason) => return Err(reason),
            Init::Panic => crash(),
            Init::Remove => cx.remove_handler(),
        }
        Ok(Probe {
            plan,
            notes: Vec::new(),
        })
    }

    async fn handle_event(&mut self, event: &Do, cx: &mut HandlerContext<Self, Do>) {
        let me = self.plan.name;
        match event.clone() {
            Do::Note(n) => {
                self.notes.push(n);
                let _ = self.plan.tell.send(Saw::Event(me, n));
            }
            Do::Panic(name) if name == me => crash(),
            Do::PanicLater(name) if name == me => {
                cx.yield_now().await;
                crash()
            }
            Do::Remove(name) if name == me => cx.remove_handler(),
            Do::Swap(name) if name == me => {
                cx.swap_handler(Handler::<Heir>::new(), |me| Will::of(Some(me)));
            }
            Do::SwapInVain(name) if name == me => {
                cx.swap_handler(Handler::<Heir>::new(), |_| crash());
            }
            Do::Monitor(name, pid) if name == me => drop(cx.monitor(pid)),
            Do::SendAfter(name, time, n) if name == me => {
                cx.send_after(time, &cx.pid(), n);
            }
            Do::AskManager(name) if name == me => {
                if let Err(error) = cx.manager().which_handlers().await {
                    let _ = self.plan.tell.send(Saw::Answer(error));
                }
            }
            _ => {}
        }
    }

    async fn handle_down(&mut self, down: &Down, _: &mut HandlerContext<Self, Do>) {
        let saw = Saw::Down(self.plan.name, down.reason.clone());
        let _ = self.plan.tell.send(saw);
    }

    async fn handle_exit(&mut self, exit: &Exit, _: &mut HandlerContext<Self, Do>) {
        let saw = Saw::Exit(self.plan.name, exit.reason.clone());
        let _ = self.plan.tell.send(saw);
    }

    fn handle_any(&mut self, message: &AnyMessage, cx: &mut HandlerContext<Self, Do>) {
        match message.downcast_ref::<u32>() {
            Some(0) => cx.remove_handler(),
            Some(666) => crash(),
            Some(n) => {
                let _ = self.plan.tell.send(Saw::Any(self.plan.name, *n));
            }
            None => {}
        }
    }

    async fn terminate(&mut self, why: HandlerStop, _: &mut HandlerContext<Self, Do>) {
        let _ = self.plan.tell.send(Stop(self.plan.name, why));
        if self.plan.terminate_panics {
            crash()
        }
    }
}

#[derive(Clone)]
enum Ask {
    Notes,
    Panic,
    Remove,
    Swap,
    Wait,
}

impl HandleEventCall<Do, Ask> for Probe {
    type Reply = Vec<u32>;
    async fn handle_call(&mut self, ask: Ask, cx: &mut HandlerContext<Self, Do>) -> Vec<u32> {
        match ask {
            Ask::Notes => {}
            Ask::Panic => crash(),
            Ask::Remove => cx.remove_handler(),
            Ask::Swap => cx.swap_handler(Handler::<Heir>::new(), |me| Will::of(Some(me))),
            Ask::Wait => pending().await,
        }
        self.notes.clone()
    }
}

/// What a probe leaves to the handler that takes its place.
struct Will {
    notes: Option<Vec<u32>>,
    tell: Option<Sender<Saw>>,
    fail: bool,
}

impl Will {
    fn of(probe: Option<Probe>) -> Self {
        Will {
            notes: probe.as_ref().map(|probe| probe.notes.clone()),
            tell: probe.as_ref().map(|probe| probe.plan.tell.clone()),
            fail: false,
        }
    }
}

/// A handler that takes a probe's place.
struct Heir(Will);

impl EventHandler<Do> for Heir {
    type Args = Will;

    async fn init(will: Will, _: &mut HandlerContext<Self, Do>) -> Result<Self, ExitReason> {
        match will.fail {
            true => Err(ExitReason::Timeout),
            false => Ok(Heir(will)),
        }
    }

    async fn handle_event(&mut self, event: &Do, _: &mut HandlerContext<Self, Do>) {
        if let (Do::Note(n), Some(tell)) = (event, &self.0.tell) {
            let _ = tell.send(Saw::Event("heir", *n));
        }
    }

    async fn terminate(&mut self, why: HandlerStop, _: &mut HandlerContext<Self, Do>) {
        if let Some(tell) = &self.0.tell {
            let _ = tell.send(Stop("heir", why));
        }
    }
}

struct Inherited;
impl HandleEventCall<Do, Inherited> for Heir {
    type Reply = Option<Vec<u32>>;
    async fn handle_call(&mut self, _: Inherited, _: &mut HandlerContext<Self, Do>) -> Self::Reply {
        self.0.notes.clone()
    }
}

/// A manager, and what its probes report.
struct Stage {
    manager: GenEvent<Do>,
    tell: Sender<Saw>,
    seen: Receiver<Saw>,
}

fn id(name: &'static str) -> Handler<Probe> {
    Handler::with_id(name)
}

impl Stage {
    fn new(system: &System) -> Self {
        let start = GenEvent::start(system).wait_timeout(DEADLINE);
        let (tell, seen) = reports();
        Stage {
            manager: start.expect("a start"),
            tell,
            seen,
        }
    }

    /// With probes of these names, added in this order.
    fn with(system: &System, names: &[&'static str]) -> Self {
        let stage = Self::new(system);
        for name in names {
            stage.add(name).expect("it is added");
        }
        stage
    }

    fn plan(&self, name: &'static str) -> Plan {
        Plan {
            name,
            tell: self.tell.clone(),
            init: Init::Good,
            terminate_panics: false,
            drop_panics: false,
        }
    }

    fn add(&self, name: &'static str) -> Result<(), HandlerError> {
        self.add_as(self.plan(name))
    }

    fn add_as(&self, plan: Plan) -> Result<(), HandlerError> {
        self.manager.add_handler(id(plan.name), plan).wait()
    }

    /// Has all handlers do something, and waits until they have.
    fn all(&self, what: Do) {
        self.manager.sync_notify(what).wait().expect("an answer");
    }

    /// All that was reported since.
    fn seen(&self) -> Vec<Saw> {
        self.seen.try_iter().collect()
    }

    fn handlers(&self) -> Vec<HandlerId> {
        self.manager.which_handlers().wait().expect("an answer")
    }

    /// The names of the probes that are there.
    fn names(&self) -> Vec<String> {
        let name = |id: &HandlerId| id.id().map(ToString::to_string).unwrap_or_default();
        self.handlers().iter().map(name).collect()
    }
}

fn quoted(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("<<\"{name}\">>")).collect()
}

/// Runs `body` as a process, and gives what it returns.
fn run<T, F>(system: &System, body: impl FnOnce(Inbox<HandlerExit>) -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (tell, told) = reports();
    spawn(system, move |cx| async move {
        let _ = tell.send(body(cx).await);
    });
    next(system, &told)
}

fn spawn<F>(
    system: &System,
    body: impl FnOnce(Inbox<HandlerExit>) -> F + Send + 'static,
) -> Recipient<HandlerExit>
where
    F: Future<Output = ()> + Send + 'static,
{
    system.spawn(body).expect("a running system")
}

/// A process that supervises a probe, and passes on what it is told of it.
fn adder(
    system: &System,
    stage: &Stage,
    name: &'static str,
) -> (Recipient<HandlerExit>, Receiver<HandlerExit>) {
    let (manager, plan) = (stage.manager.clone(), stage.plan(name));
    let (tell, told) = reports();
    let (ready, is_ready) = reports();
    let adder = spawn(system, move |mut cx| async move {
        let added = manager.add_sup_handler(&cx, id(name), plan).await;
        let _ = ready.send(added);
        loop {
            if let Received::Message(exit) = cx.recv().await {
                let _ = tell.send(exit);
            }
        }
    });
    next(system, &is_ready).expect("it is added");
    (adder, told)
}

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
