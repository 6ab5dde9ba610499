//! A server from `init` to `terminate`: how it starts, goes on, stops and dies.

mod support;

use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use noex::prelude::*;
use noex::{AnyMessage, CallError, Down, Exit, Routes, StartError, Stats};
use support::{DEADLINE, next, on_all, quiet, reports, settled};

#[derive(Debug, PartialEq, Clone)]
enum Saw {
    Init,
    Continued(u32),
    Message(&'static str),
    Timeout,
    Down(ExitReason),
    Exit(ExitReason),
    Any(&'static str),
    Routed(u32),
    Terminate(ExitReason),
    Dropped,
}

#[derive(Clone, Default)]
struct Plan {
    ignore: bool,
    stop: Option<ExitReason>,
    panic: bool,
    hang: bool,
    traps: bool,
    continues: Vec<u32>,
    terminate_panics: bool,
    drop_panics: bool,
}

struct Subject {
    plan: Plan,
    tell: Sender<Saw>,
}

struct Say(&'static str);
struct Stop(ExitReason);
struct StopWithReply(ExitReason);
struct Panic;
struct Idle(Duration);
struct Monitor(Pid);
struct Next(u32);
struct Hang;
struct Known(u32);

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.tell.send(Saw::Dropped);
        if self.plan.drop_panics {
            panic!("in the drop of the state");
        }
    }
}

impl GenServer for Subject {
    type Args = (Plan, Sender<Saw>);

    async fn init((plan, tell): Self::Args, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        let _ = tell.send(Saw::Init);
        if plan.ignore {
            return Err(InitStop::Ignore);
        }
        if let Some(reason) = plan.stop {
            return Err(reason.into());
        }
        if plan.panic {
            panic!("in init");
        }
        if plan.hang {
            std::future::pending::<()>().await;
        }
        cx.trap_exit(plan.traps);
        for n in &plan.continues {
            cx.continue_with(Next(*n));
        }
        Ok(Subject { plan, tell })
    }
    async fn handle_timeout(&mut self, _: &mut Context<Self>) {
        let _ = self.tell.send(Saw::Timeout);
    }
    async fn handle_down(&mut self, down: Down, _: &mut Context<Self>) {
        let _ = self.tell.send(Saw::Down(down.reason));
    }
    async fn handle_exit(&mut self, exit: Exit, _: &mut Context<Self>) {
        let _ = self.tell.send(Saw::Exit(exit.reason));
    }
    async fn handle_any(&mut self, message: AnyMessage, _: &mut Context<Self>) {
        let _ = self.tell.send(Saw::Any(message.type_name()));
    }
    fn routes(routes: &mut Routes<'_, Self>) {
        routes.info::<Known>();
    }
    async fn terminate(&mut self, reason: ExitReason, _: &mut Context<Self>) {
        let _ = self.tell.send(Saw::Terminate(reason));
        if self.plan.terminate_panics {
            panic!("in terminate");
        }
    }
}
impl HandleCast<Say> for Subject {
    async fn handle_cast(&mut self, say: Say, _: &mut Context<Self>) {
        let _ = self.tell.send(Saw::Message(say.0));
    }
}
impl HandleCast<Stop> for Subject {
    async fn handle_cast(&mut self, stop: Stop, cx: &mut Context<Self>) {
        cx.stop(stop.0);
    }
}
impl HandleCall<StopWithReply> for Subject {
    type Reply = &'static str;
    async fn handle_call(&mut self, stop: StopWithReply, cx: &mut Context<Self>) -> &'static str {
        cx.stop(stop.0);
        "the last word"
    }
}
impl HandleCast<Panic> for Subject {
    async fn handle_cast(&mut self, _: Panic, _: &mut Context<Self>) {
        panic!("in a handler");
    }
}
impl HandleCast<Idle> for Subject {
    async fn handle_cast(&mut self, idle: Idle, cx: &mut Context<Self>) {
        cx.set_timeout(idle.0);
    }
}
impl HandleCall<Monitor> for Subject {
    type Reply = ();
    async fn handle_call(&mut self, monitor: Monitor, cx: &mut Context<Self>) {
        cx.monitor(monitor.0);
    }
}
impl HandleContinue<Next> for Subject {
    async fn handle_continue(&mut self, next: Next, _: &mut Context<Self>) {
        let _ = self.tell.send(Saw::Continued(next.0));
    }
}
impl HandleCast<Hang> for Subject {
    async fn handle_cast(&mut self, _: Hang, _: &mut Context<Self>) {
        let _ = self.tell.send(Saw::Message("hangs"));
        std::future::pending().await
    }
}
impl HandleInfo<Known> for Subject {
    async fn handle_info(&mut self, known: Known, _: &mut Context<Self>) {
        let _ = self.tell.send(Saw::Routed(known.0));
    }
}

fn start(system: &System, plan: Plan) -> (Result<ServerRef<Subject>, StartError>, Receiver<Saw>) {
    let (tell, saw) = reports();
    (
        system.start::<Subject>((plan, tell)).wait_timeout(DEADLINE),
        saw,
    )
}

fn gone(system: &System, server: &ServerRef<Subject>) -> ExitReason {
    system.monitor(server.pid()).wait_timeout(DEADLINE).unwrap();
    server.exit_reason().unwrap()
}

fn all(saw: &Receiver<Saw>) -> Vec<Saw> {
    saw.try_iter().collect()
}

#[test]
fn init_may_ignore_stop_and_panic_and_none_of_them_terminates() {
    on_all(|system| {
        let (ignored, saw) = start(
            system,
            Plan {
                ignore: true,
                ..Plan::default()
            },
        );
        assert_eq!(ignored.unwrap_err(), StartError::Ignore);
        assert_eq!(all(&saw), [Saw::Init]);
        let reason = ExitReason::error("no");
        let (stopped, saw) = start(
            system,
            Plan {
                stop: Some(reason.clone()),
                ..Plan::default()
            },
        );
        assert_eq!(stopped.unwrap_err(), StartError::Init(reason));
        assert_eq!(all(&saw), [Saw::Init]);
        let (panicked, saw) = start(
            system,
            Plan {
                panic: true,
                ..Plan::default()
            },
        );
        assert!(matches!(
            panicked.unwrap_err(),
            StartError::Init(ExitReason::Panic(_))
        ));
        assert_eq!(all(&saw), [Saw::Init]);
    });
}

#[test]
fn an_init_that_takes_too_long_is_killed_and_its_name_is_free() {
    on_all(|system| {
        let (tell, _saw) = reports();
        let plan = Plan {
            hang: true,
            ..Plan::default()
        };
        let options = ServerOptions::new()
            .name("slow")
            .timeout(Duration::from_millis(20));
        let started = system
            .start_with::<Subject>((plan, tell.clone()), options)
            .wait();
        assert_eq!(started.unwrap_err(), StartError::Timeout);
        let options = ServerOptions::new().name("slow");
        // The kill is on its way; the name is free when the process is gone.
        while system.whereis("slow").is_some() {
            support::pump(system);
        }
        system
            .start_with::<Subject>((Plan::default(), tell), options)
            .wait_timeout(DEADLINE)
            .unwrap();
    });
}

/// Starts a linked child, and tells of its exit.
struct Parent(Sender<ExitReason>);
struct StartChild(Plan, Sender<Saw>);
impl GenServer for Parent {
    type Args = Sender<ExitReason>;
    async fn init(tell: Self::Args, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        cx.trap_exit(true);
        Ok(Parent(tell))
    }
    async fn handle_exit(&mut self, exit: Exit, _: &mut Context<Self>) {
        let _ = self.0.send(exit.reason);
    }
}
impl HandleCall<StartChild> for Parent {
    type Reply = Result<ServerRef<Subject>, StartError>;
    async fn handle_call(&mut self, start: StartChild, cx: &mut Context<Self>) -> Self::Reply {
        cx.start_link::<Subject>((start.0, start.1)).await
    }
}

#[test]
fn a_failed_start_link_gives_the_error_and_the_exit() {
    on_all(|system| {
        let (tell, told) = reports();
        let parent = system.start::<Parent>(tell).wait_timeout(DEADLINE).unwrap();
        let (subject, _saw) = reports();
        let plan = Plan {
            stop: Some(ExitReason::Timeout),
            ..Plan::default()
        };
        let started = parent
            .call(StartChild(plan, subject))
            .wait_timeout(DEADLINE)
            .unwrap();
        assert_eq!(started.unwrap_err(), StartError::Init(ExitReason::Timeout));
        assert_eq!(next(system, &told), ExitReason::Timeout);
    });
}

#[test]
fn the_parents_exit_terminates_a_child_that_traps_whatever_the_reason() {
    on_all(|system| {
        let (tell, _told) = reports();
        let parent = system.start::<Parent>(tell).wait_timeout(DEADLINE).unwrap();
        let (subject, saw) = reports();
        let plan = Plan {
            traps: true,
            ..Plan::default()
        };
        let child = parent
            .call(StartChild(plan, subject))
            .wait_timeout(DEADLINE)
            .unwrap()
            .unwrap();
        parent
            .stop(ExitReason::Normal)
            .wait_timeout(DEADLINE)
            .unwrap();
        assert_eq!(gone(system, &child), ExitReason::Normal);
        assert_eq!(
            all(&saw),
            [Saw::Init, Saw::Terminate(ExitReason::Normal), Saw::Dropped]
        );
    });
}

#[test]
fn what_continues_comes_before_messages() {
    on_all(|system| {
        let (tell, saw) = reports();
        let plan = Plan {
            continues: vec![1, 2],
            ..Plan::default()
        };
        let starting = system.start::<Subject>((plan, tell));
        let server = starting.wait_timeout(DEADLINE).unwrap();
        server.cast(Say("hello")).unwrap();
        let seen: Vec<Saw> = (0..4).map(|_| next(system, &saw)).collect();
        assert_eq!(
            seen,
            [
                Saw::Init,
                Saw::Continued(1),
                Saw::Continued(2),
                Saw::Message("hello")
            ]
        );
    });
}

#[test]
fn terminate_runs_after_stop_panic_and_the_parents_exit_and_not_after_kill() {
    on_all(|system| {
        let reason = ExitReason::error("told to");
        let (server, saw) = start(system, Plan::default());
        let server = server.unwrap();
        server.cast(Stop(reason.clone())).unwrap();
        assert_eq!(gone(system, &server), reason);
        assert_eq!(all(&saw), [Saw::Init, Saw::Terminate(reason), Saw::Dropped]);

        let (server, saw) = start(system, Plan::default());
        let server = server.unwrap();
        server.cast(Panic).unwrap();
        let panic = gone(system, &server);
        assert!(matches!(panic, ExitReason::Panic(_)));
        assert_eq!(all(&saw), [Saw::Init, Saw::Terminate(panic), Saw::Dropped]);

        let (server, saw) = start(
            system,
            Plan {
                traps: true,
                ..Plan::default()
            },
        );
        let server = server.unwrap();
        system.exit(server.pid(), ExitReason::Kill);
        assert_eq!(gone(system, &server), ExitReason::Killed);
        assert_eq!(all(&saw), [Saw::Init, Saw::Dropped]);

        let (server, saw) = start(system, Plan::default());
        let server = server.unwrap();
        system.exit(server.pid(), ExitReason::Timeout);
        assert_eq!(gone(system, &server), ExitReason::Timeout);
        assert_eq!(all(&saw), [Saw::Init, Saw::Dropped]);

        let (server, saw) = start(
            system,
            Plan {
                traps: true,
                ..Plan::default()
            },
        );
        let server = server.unwrap();
        system.exit(server.pid(), ExitReason::Timeout);
        server
            .stop(ExitReason::Normal)
            .wait_timeout(DEADLINE)
            .unwrap();
        let seen = [
            Saw::Init,
            Saw::Exit(ExitReason::Timeout),
            Saw::Terminate(ExitReason::Normal),
            Saw::Dropped,
        ];
        assert_eq!(all(&saw), seen);
    });
}

#[test]
fn a_reply_together_with_stop_comes_after_terminate_and_before_the_down() {
    on_all(|system| {
        let (server, saw) = start(system, Plan::default());
        let server = server.unwrap();
        let down = system.monitor(server.pid());
        assert_eq!(
            server
                .call(StopWithReply(ExitReason::Normal))
                .wait_timeout(DEADLINE),
            Ok("the last word")
        );
        assert!(all(&saw).contains(&Saw::Terminate(ExitReason::Normal)));
        assert_eq!(
            down.wait_timeout(DEADLINE).unwrap().reason,
            ExitReason::Normal
        );
    });
}

#[test]
fn a_second_panic_changes_nothing() {
    let (tell, told) = reports();
    let events = System::builder().on_event(move |event| {
        if let noex::Event::PanicWhileEnding { .. } = event {
            let _ = tell.send(());
        }
    });
    let system = events.schedulers(2).build().unwrap();
    let plan = Plan {
        terminate_panics: true,
        drop_panics: true,
        ..Plan::default()
    };
    let (server, saw) = start(&system, plan);
    let server = server.unwrap();
    server.cast(Stop(ExitReason::Timeout)).unwrap();
    assert_eq!(gone(&system, &server), ExitReason::Timeout);
    assert_eq!(
        all(&saw),
        [Saw::Init, Saw::Terminate(ExitReason::Timeout), Saw::Dropped]
    );
    assert_eq!(told.try_iter().count(), 2);
    settled(&system);
}

#[test]
fn stop_waits_its_turn_and_stop_now_does_not() {
    let (system, driver) = quiet().manual();
    for now in [false, true] {
        let (server, saw) = start(&system, Plan::default());
        let server = server.unwrap();
        server.cast(Say("one")).unwrap();
        server.cast(Say("two")).unwrap();
        let stop = if now {
            server.stop_now(ExitReason::Normal)
        } else {
            server.stop(ExitReason::Normal)
        };
        driver.run_until_idle();
        assert_eq!(stop.wait(), Ok(()));
        let said = all(&saw)
            .into_iter()
            .filter(|saw| matches!(saw, Saw::Message(_)))
            .count();
        assert_eq!(said, if now { 0 } else { 2 });
    }
}

#[test]
fn a_receive_timeout_fires_once_and_any_message_takes_it_back() {
    let (system, driver) = quiet().virtual_clock().manual();
    let (server, saw) = start(&system, Plan::default());
    let server = server.unwrap();
    let ms = Duration::from_millis;
    server.cast(Idle(ms(10))).unwrap();
    driver.advance(ms(9));
    server.cast(Say("in time")).unwrap();
    driver.advance(ms(50));
    assert_eq!(all(&saw), [Saw::Init, Saw::Message("in time")]);
    server.cast(Idle(ms(10))).unwrap();
    driver.advance(ms(50));
    assert_eq!(all(&saw), [Saw::Timeout]);
    // Zero: at once, unless a message is there already.
    server.cast(Idle(Duration::ZERO)).unwrap();
    server.cast(Say("first")).unwrap();
    driver.advance(ms(5));
    assert_eq!(all(&saw), [Saw::Message("first")]);
    server.cast(Idle(Duration::ZERO)).unwrap();
    driver.advance(ms(5));
    assert_eq!(all(&saw), [Saw::Timeout]);
}

#[test]
fn what_comes_through_a_pid_is_routed_or_any() {
    on_all(|system| {
        let (server, saw) = start(system, Plan::default());
        let server = server.unwrap();
        system.send(server.pid(), Known(7));
        system.send(server.pid(), "text");
        let seen: Vec<Saw> = (0..3).map(|_| next(system, &saw)).collect();
        assert_eq!(seen, [Saw::Init, Saw::Routed(7), Saw::Any("&str")]);
    });
}

#[test]
fn a_monitor_tells_the_reason_and_a_killed_handler_is_aborted() {
    on_all(|system| {
        let (watched, saw_watched) = start(system, Plan::default());
        let (watches, saw) = start(system, Plan::default());
        let (watched, watches) = (watched.unwrap(), watches.unwrap());
        watches
            .call(Monitor(watched.pid()))
            .wait_timeout(DEADLINE)
            .unwrap();
        watched.cast(Hang).unwrap();
        while next(system, &saw_watched) != Saw::Message("hangs") {}
        let waits = watched.call(StopWithReply(ExitReason::Normal));
        let before: Stats = system.stats();
        system.exit(watched.pid(), ExitReason::Kill);
        assert_eq!(
            waits.wait_timeout(DEADLINE),
            Err(CallError::Exited(ExitReason::Killed))
        );
        assert_eq!(next(system, &saw), Saw::Init);
        assert_eq!(next(system, &saw), Saw::Down(ExitReason::Killed));
        let after = settled(system);
        assert_eq!(
            (
                after.aborted - before.aborted,
                after.undelivered - before.undelivered
            ),
            (1, 1)
        );
    });
}

/// Continues for ever.
struct Restless;
impl GenServer for Restless {
    type Args = ();
    async fn init(_: (), cx: &mut Context<Self>) -> Result<Self, InitStop> {
        cx.continue_with(());
        Ok(Restless)
    }
}
impl HandleContinue<()> for Restless {
    async fn handle_continue(&mut self, _: (), cx: &mut Context<Self>) {
        cx.continue_with(());
    }
}

#[test]
fn a_server_that_continues_for_ever_lets_others_run_and_can_be_killed() {
    on_all(|system| {
        let restless = system.start::<Restless>(()).wait_timeout(DEADLINE).unwrap();
        let (other, saw) = start(system, Plan::default());
        other.unwrap().cast(Say("here")).unwrap();
        assert_eq!(next(system, &saw), Saw::Init);
        assert_eq!(next(system, &saw), Saw::Message("here"));
        let watch = system.monitor(restless.pid());
        system.exit(restless.pid(), ExitReason::Kill);
        let down = watch.wait_timeout(DEADLINE).unwrap();
        assert_eq!(down.reason, ExitReason::Killed);
    });
}
