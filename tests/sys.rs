//! Looking into servers and changing them while they run.

mod support;

use std::sync::mpsc::Sender;
use std::time::Duration;

use noex::prelude::*;
use noex::sys::{SysAction, SysEvent};
use noex::{AnyMessage, CallError, Inbox, MailboxPolicy, Overflow, Routes};
use support::{DEADLINE, Gate, gate, next, on_all, quiet, reports};

/// Keeps what it is told, in order.
#[derive(Clone)]
struct Diary {
    lines: Vec<String>,
    tell: Sender<String>,
}

impl Diary {
    fn write(&mut self, line: impl Into<String>) {
        let line = line.into();
        let _ = self.tell.send(line.clone());
        self.lines.push(line);
    }
}

struct Line(&'static str);
struct Read;
struct Wait(Gate);
struct Idle(u64);

impl GenServer for Diary {
    type Args = Sender<String>;
    async fn init(tell: Sender<String>, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        cx.trap_exit(true);
        let lines = Vec::new();
        Ok(Diary { lines, tell })
    }
    async fn handle_timeout(&mut self, _: &mut Context<Self>) {
        self.write("timeout");
    }
    async fn handle_down(&mut self, _: noex::Down, _: &mut Context<Self>) {
        self.write("down");
    }
    async fn handle_exit(&mut self, _: noex::Exit, _: &mut Context<Self>) {
        self.write("exit");
    }
    async fn handle_any(&mut self, _: AnyMessage, _: &mut Context<Self>) {
        self.write("any");
    }
    fn routes(routes: &mut Routes<'_, Self>) {
        routes.info::<Line>();
    }
    fn format_status(&self) -> String {
        assert!(!self.lines.iter().any(|line| line == "secret"), "not shown");
        format!("{:?}", self.lines)
    }
    async fn terminate(&mut self, reason: ExitReason, _: &mut Context<Self>) {
        self.write(format!("terminate {reason:?}"));
    }
}
impl HandleCast<Line> for Diary {
    async fn handle_cast(&mut self, Line(line): Line, _: &mut Context<Self>) {
        self.write(line);
    }
}
impl HandleInfo<Line> for Diary {
    async fn handle_info(&mut self, Line(line): Line, _: &mut Context<Self>) {
        self.write(line);
    }
}
impl HandleCall<Read> for Diary {
    type Reply = Vec<String>;
    async fn handle_call(&mut self, _: Read, _: &mut Context<Self>) -> Vec<String> {
        self.lines.clone()
    }
}
impl HandleCast<Wait> for Diary {
    async fn handle_cast(&mut self, Wait(gate): Wait, _: &mut Context<Self>) {
        gate.await;
        self.write("waited");
    }
}
impl HandleCast<Idle> for Diary {
    async fn handle_cast(&mut self, Idle(ms): Idle, cx: &mut Context<Self>) {
        cx.set_timeout(Duration::from_millis(ms));
    }
}

fn diary(system: &System) -> (ServerRef<Diary>, std::sync::mpsc::Receiver<String>) {
    diary_with(system, MailboxPolicy::Unbounded)
}

fn diary_with(
    system: &System,
    mailbox: MailboxPolicy,
) -> (ServerRef<Diary>, std::sync::mpsc::Receiver<String>) {
    let (tell, told) = reports();
    let options = ServerOptions::new().mailbox(mailbox);
    let start = system.start_with::<Diary>(tell, options);
    (start.wait_timeout(DEADLINE).unwrap(), told)
}

fn wait<R>(call: noex::Call<R>) -> Result<R, CallError> {
    call.wait_timeout(DEADLINE)
}

const BOUNDED: MailboxPolicy = MailboxPolicy::Bounded {
    capacity: 4,
    overflow: Overflow::Reject,
};

#[test]
fn a_suspended_server_keeps_its_messages_in_order_and_answers_sys_all_the_same() {
    for mailbox in [MailboxPolicy::Unbounded, BOUNDED] {
        on_all(|system| {
            let (diary, _told) = diary_with(system, mailbox);
            wait(diary.sys().suspend()).unwrap();
            diary.cast(Line("a")).unwrap();
            diary.send(Line("b")).unwrap();
            let read = diary.call(Read);
            system.send(diary.pid(), Line("c"));
            // Each of these comes behind messages that wait, and is seen to.
            assert_eq!(wait(diary.sys().get_state()).unwrap().lines.len(), 0);
            let status = wait(diary.sys().get_status()).unwrap();
            assert!(status.suspended);
            assert_eq!(status.process.message_queue_len, 4);
            // Twice is once.
            wait(diary.sys().suspend()).unwrap();
            if mailbox != MailboxPolicy::Unbounded {
                // The bound holds meanwhile.
                assert!(diary.cast(Line("too much")).is_err());
            }
            wait(diary.sys().resume()).unwrap();
            assert_eq!(wait(read).unwrap(), ["a", "b"]);
            assert_eq!(wait(diary.call(Read)).unwrap(), ["a", "b", "c"]);
            wait(diary.sys().resume()).unwrap();
            assert!(!wait(diary.sys().get_status()).unwrap().suspended);
        });
    }
}

#[test]
fn a_suspended_server_hears_stop_its_parent_and_signals_and_nothing_else() {
    for mailbox in [MailboxPolicy::Unbounded, BOUNDED] {
        on_all(|system| {
            // Stop.
            let (stopped, told) = diary_with(system, mailbox);
            wait(stopped.sys().suspend()).unwrap();
            stopped.cast(Line("never")).unwrap();
            let call = stopped.call(Read);
            let stop = stopped.stop(ExitReason::Normal).wait_timeout(DEADLINE);
            assert_eq!(stop, Ok(()));
            assert_eq!(next(system, &told), "terminate Normal");
            assert_eq!(wait(call), Err(CallError::Exited(ExitReason::Normal)));

            // Kill, and a question to the process.
            let (killed, told) = diary_with(system, mailbox);
            wait(killed.sys().suspend()).unwrap();
            killed.cast(Line("never")).unwrap();
            let info = system.process_info(killed.pid()).wait_timeout(DEADLINE);
            assert_eq!(info.unwrap().message_queue_len, 1);
            let end = system.monitor(killed.pid());
            system.exit(killed.pid(), ExitReason::Kill);
            assert_eq!(
                end.wait_timeout(DEADLINE).unwrap().reason,
                ExitReason::Killed
            );
            assert!(told.try_recv().is_err());

            // Timeouts wait, and exits of others. (The exit is a message: it takes the timeout back.)
            for expected in ["timeout", "exit"] {
                let (waits, told) = diary_with(system, mailbox);
                // All three are in its mailbox before the first is done.
                let (shut, open) = gate();
                waits.cast(Wait(shut)).unwrap();
                waits.cast(Idle(1)).unwrap();
                let suspended = waits.sys().suspend();
                open.open();
                wait(suspended).unwrap();
                assert_eq!(next(system, &told), "waited");
                if expected == "exit" {
                    system.exit(waits.pid(), ExitReason::Timeout);
                }
                support::pass(system, Duration::from_millis(5));
                assert!(told.try_recv().is_err());
                wait(waits.sys().resume()).unwrap();
                assert_eq!(next(system, &told), expected);
                wait(waits.sys().get_status()).unwrap();
                assert!(told.try_recv().is_err());
            }
        });
    }
}

#[test]
fn what_waits_in_a_suspended_server_is_accounted_for_when_it_ends() {
    for mailbox in [MailboxPolicy::Unbounded, BOUNDED] {
        on_all(|system| {
            let before = system.stats();
            let (diary, _told) = diary_with(system, mailbox);
            wait(diary.sys().suspend()).unwrap();
            for _ in 0..3 {
                diary.cast(Line("lost")).unwrap();
            }
            // So that they are passed over.
            wait(diary.sys().get_log()).unwrap();
            let stop = diary.stop(ExitReason::Normal).wait_timeout(DEADLINE);
            assert_eq!(stop, Ok(()));
            let after = support::settled(system);
            assert_eq!(after.undelivered - before.undelivered, 3);
        });
    }
}

#[test]
fn a_request_keeps_its_place_behind_messages_and_waits_for_the_handler() {
    on_all(|system| {
        let (diary, told) = diary(system);
        let (shut, open) = gate();
        diary.cast(Wait(shut)).unwrap();
        diary.cast(Line("behind")).unwrap();
        let state = diary.sys().get_state();
        let suspended = diary.sys().suspend();
        diary.cast(Line("after")).unwrap();
        support::pump(system);
        assert!(told.try_recv().is_err());
        open.open();
        assert_eq!(wait(state).unwrap().lines, ["waited", "behind"]);
        wait(suspended).unwrap();
        assert_eq!(wait(diary.sys().get_state()).unwrap().lines.len(), 2);
        wait(diary.sys().resume()).unwrap();
        assert_eq!(
            wait(diary.call(Read)).unwrap(),
            ["waited", "behind", "after"]
        );
    });
}

#[test]
fn the_state_is_replaced_and_looked_at_in_place() {
    on_all(|system| {
        let (diary, _told) = diary(system);
        diary.cast(Line("old")).unwrap();
        let mut new = wait(diary.sys().get_state()).unwrap();
        new.lines = vec!["new".into()];
        assert_eq!(wait(diary.sys().replace_state(new)).unwrap().lines, ["old"]);
        let len = diary.sys().with_state(|state| {
            state.lines.push("more".into());
            state.lines.len()
        });
        assert_eq!(wait(len), Ok(2));
        assert_eq!(wait(diary.call(Read)).unwrap(), ["new", "more"]);

        // A panic in there is the server's.
        let crash = diary.sys().with_state(|_| -> () { panic!("on purpose") });
        assert!(matches!(
            wait(crash),
            Err(CallError::Exited(ExitReason::Panic(_)))
        ));
        assert!(!diary.is_alive());
        assert!(wait(diary.sys().get_state()).is_err());
    });
}

#[test]
fn new_code_finds_the_old_state_and_the_queue_and_no_call_is_lost() {
    on_all(|system| {
        let (diary, told) = diary(system);
        // Two servers are changed together.
        let (other, _others) = self::diary(system);
        for server in [&diary, &other] {
            wait(server.sys().suspend()).unwrap();
        }
        diary.cast(Line("in between")).unwrap();
        let read = diary.call(Read);
        let changed = diary.sys().change_code(|mut old| {
            old.lines.insert(0, "version 2".into());
            Ok(old)
        });
        assert_eq!(wait(changed), Ok(Ok(())));
        let refused = other
            .sys()
            .change_code(|old| Err((old, ExitReason::Timeout)));
        assert_eq!(wait(refused), Ok(Err(ExitReason::Timeout)));
        for server in [&diary, &other] {
            wait(server.sys().resume()).unwrap();
        }
        assert_eq!(wait(read).unwrap(), ["version 2", "in between"]);
        assert!(wait(other.call(Read)).unwrap().is_empty());

        // A change that panics ends the server; there is no state to terminate.
        next(system, &told);
        let crash = diary.sys().change_code(|_| panic!("on purpose"));
        assert!(matches!(
            wait(crash),
            Err(CallError::Exited(ExitReason::Panic(_)))
        ));
        assert!(
            told.recv_timeout(DEADLINE).is_err(),
            "the state is gone, and its sender with it"
        );
    });
}

#[test]
fn what_a_server_does_is_counted_logged_and_traced() {
    on_all(|system| {
        let (diary, _told) = diary(system);
        let sys = system.sys(diary.pid());
        assert_eq!(wait(sys.get_statistics()), Ok(None));
        assert_eq!(wait(sys.get_log()), Ok(Vec::new()));
        wait(sys.statistics(true)).unwrap();
        wait(sys.log(3)).unwrap();
        let (tell, heard) = reports::<SysEvent>();
        wait(sys.trace(move |event| drop(tell.send(event.clone())))).unwrap();

        diary.cast(Line("a")).unwrap();
        diary.send(Line("b")).unwrap();
        system.send(diary.pid(), 5u8);
        system.exit(diary.pid(), ExitReason::Timeout);
        assert_eq!(wait(diary.call(Read)).unwrap(), ["a", "b", "any", "exit"]);

        let statistics = wait(sys.get_statistics()).unwrap().unwrap();
        assert_eq!(statistics.messages_in, 5);
        assert!(statistics.since <= statistics.now);
        let log = wait(sys.get_log()).unwrap();
        let actions: Vec<_> = log.iter().map(|event| event.action).collect();
        let read = SysAction::Got(std::any::type_name::<Read>());
        assert_eq!(actions, [SysAction::Done, read, SysAction::Done]);
        let heard_of: Vec<_> = heard.try_iter().map(|event| event.action).collect();
        assert_eq!(heard_of.len(), 10);
        assert_eq!(heard_of[6], SysAction::Got("Exit"));

        wait(sys.no_trace()).unwrap();
        wait(sys.statistics(false)).unwrap();
        wait(sys.log(0)).unwrap();
        wait(diary.call(Read)).unwrap();
        assert!(heard.try_recv().is_err());
        assert_eq!(wait(sys.get_statistics()), Ok(None));
        assert_eq!(wait(sys.get_log()), Ok(Vec::new()));
    });
}

#[test]
fn a_sink_that_panics_harms_nobody() {
    on_all(|system| {
        let (diary, _told) = diary(system);
        wait(diary.sys().trace(|_| panic!("on purpose"))).unwrap();
        diary.cast(Line("a")).unwrap();
        assert_eq!(wait(diary.call(Read)).unwrap(), ["a"]);
    });
}

#[test]
fn a_status_shows_the_state_as_the_server_wants_and_a_panic_in_that_ends_it() {
    on_all(|system| {
        let (diary, _told) = diary(system);
        diary.cast(Line("a")).unwrap();
        let status = wait(system.sys(diary.pid()).get_status()).unwrap();
        assert_eq!(status.state, r#"["a"]"#);
        assert_eq!(status.process.pid, diary.pid());
        diary.cast(Line("secret")).unwrap();
        let crash = wait(diary.sys().get_status()).unwrap_err();
        assert!(matches!(
            crash,
            CallError::Exited(ExitReason::Panic(_)) | CallError::NoReply
        ));
        let end = system.monitor(diary.pid()).wait_timeout(DEADLINE);
        assert!(end.is_ok());
    });
}

#[test]
fn who_is_no_server_or_dead_or_oneself_is_an_error_at_once() {
    struct Looks;
    struct Look;
    impl GenServer for Looks {
        type Args = ();
        async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
            Ok(Looks)
        }
    }
    impl HandleCall<Look> for Looks {
        type Reply = [bool; 2];
        async fn handle_call(&mut self, _: Look, cx: &mut Context<Self>) -> [bool; 2] {
            let own = cx.this();
            let typed = own.sys().with_state(|_| ()).await;
            let by_pid = cx.system().sys(own.pid()).suspend().await;
            [typed.is_err(), by_pid.is_err()]
        }
    }
    on_all(|system| {
        let process = system.spawn(|mut inbox: Inbox<()>| async move {
            inbox.recv().await;
        });
        let process = process.unwrap();
        let asked = wait(system.sys(process.pid()).suspend());
        assert_eq!(asked, Err(CallError::NoReply));
        process.send(()).unwrap();
        support::end_of(system, &process);
        let dead = wait(system.sys(process.pid()).get_status()).map(drop);
        assert_eq!(dead, Err(CallError::NoProc));

        let looks = system.start::<Looks>(()).wait_timeout(DEADLINE).unwrap();
        assert_eq!(wait(looks.call(Look)), Ok([true, true]));
        // That it asked for was done when it had returned.
        assert!(wait(looks.sys().get_status()).unwrap().suspended);
    });
}

#[test]
fn hundreds_of_thousands_of_messages_to_a_suspended_server_are_passed_over_once() {
    let system = quiet().schedulers(1).build().unwrap();
    let (diary, _told) = diary(&system);
    wait(diary.sys().suspend()).unwrap();
    // Were each looked at again for each that comes, this would take hours.
    for _ in 0..1000 {
        for _ in 0..200 {
            diary.send(Line("x")).unwrap();
        }
        wait(diary.sys().get_log()).unwrap();
    }
    wait(diary.sys().resume()).unwrap();
    assert_eq!(wait(diary.call(Read)).unwrap().len(), 200_000);
    system.shutdown().wait_timeout(DEADLINE).unwrap();
}

#[test]
fn a_crash_is_reported_with_the_message_and_the_state_and_an_orderly_end_is_not() {
    struct Fragile(String);
    struct Break;
    struct End;
    impl GenServer for Fragile {
        type Args = String;
        async fn init(state: String, _: &mut Context<Self>) -> Result<Self, InitStop> {
            Ok(Fragile(state))
        }
        fn format_status(&self) -> String {
            assert!(self.0 != "secret", "not shown");
            self.0.clone()
        }
    }
    impl HandleCast<Break> for Fragile {
        async fn handle_cast(&mut self, _: Break, _: &mut Context<Self>) {
            panic!("on purpose");
        }
    }
    impl HandleCast<End> for Fragile {
        async fn handle_cast(&mut self, _: End, cx: &mut Context<Self>) {
            cx.stop(ExitReason::Timeout);
        }
    }
    let (tell, heard) = reports();
    let builder = || {
        let tell = tell.clone();
        quiet().on_event(move |event| {
            if let noex::Event::Crashed(report) = event {
                let _ = tell.send(report.clone());
            }
        })
    };
    support::on_all_built(builder, |system| {
        let start = |state: &str| {
            let start = system.start::<Fragile>(state.to_owned());
            start.wait_timeout(DEADLINE).unwrap()
        };
        let large = "x".repeat(100_000);
        let broken = start(&large);
        broken.cast(Break).unwrap();
        broken.cast(End).unwrap();
        let report = next(system, &heard);
        assert_eq!(report.process.pid, broken.pid());
        assert_eq!(report.handling, Some(std::any::type_name::<Break>()));
        assert!(matches!(report.reason, ExitReason::Panic(_)));
        assert!(report.state.as_ref().unwrap().len() < 2000);
        assert!(report.to_string().len() < 4000);

        // A state that cannot be shown is left out.
        let ended = start("secret");
        ended.cast(End).unwrap();
        let report = next(system, &heard);
        assert_eq!(report.reason, ExitReason::Timeout);
        assert_eq!((report.handling, report.state.as_deref()), (None, None));

        // Nobody's failure.
        let (killed, stopped) = (start("a"), start("b"));
        system.exit(killed.pid(), ExitReason::Kill);
        let stop = stopped.stop(ExitReason::Shutdown(None));
        assert_eq!(stop.wait_timeout(DEADLINE), Ok(()));
        system.exit(start("c").pid(), ExitReason::Timeout);
        support::pump(system);
        assert!(heard.try_recv().is_err());
    });
}

#[test]
fn a_supervisor_reports_what_becomes_of_its_children() {
    use noex::Event;
    let (tell, heard) = reports();
    let builder = || {
        let tell = tell.clone();
        quiet().on_event(move |event| match event {
            Event::ChildStarted { .. }
            | Event::ChildEnded { .. }
            | Event::ChildNotStarted { .. } => {
                let _ = tell.send(event.clone());
            }
            _ => {}
        })
    };
    support::on_all_built(builder, |system| {
        let (tell, _told) = reports();
        let child = ChildSpec::worker("diary", move |starter| {
            starter.start_link::<Diary>(tell.clone())
        });
        let tree = Supervisor::new(Strategy::OneForOne).child(child.name("diary"));
        let tree = tree.start(system).wait_timeout(DEADLINE).unwrap();
        let Event::ChildStarted {
            supervisor,
            child,
            pid,
        } = next(system, &heard)
        else {
            panic!("not started");
        };
        assert_eq!(
            (supervisor, &*child, Some(pid)),
            (tree.pid(), "diary", system.whereis("diary"))
        );

        system.exit(pid, ExitReason::Kill);
        let Event::ChildEnded {
            pid: ended, reason, ..
        } = next(system, &heard)
        else {
            panic!("not ended");
        };
        assert_eq!((ended, reason), (pid, ExitReason::Killed));
        assert!(matches!(next(system, &heard), Event::ChildStarted { .. }));

        let bad = ChildSpec::worker("bad", |_| async {
            Err::<Pid, _>(noex::StartError::Refused)
        });
        assert!(tree.start_child(bad).wait_timeout(DEADLINE).is_err());
        let Event::ChildNotStarted { child, .. } = next(system, &heard) else {
            panic!("started");
        };
        assert_eq!(&*child, "bad");
    });
}

#[test]
fn a_state_machine_is_looked_into_and_suspended_like_any_server() {
    use noex::{GenStateMachine, Initial, Machine, MachineContext, Next};
    struct Switch(u32);
    enum Event {
        Press,
        Count(noex::ReplyTo<u32>),
    }
    impl GenStateMachine for Switch {
        type Args = ();
        type State = bool;
        type Event = Event;
        type Timeout = std::convert::Infallible;
        async fn init(_: (), _: &mut MachineContext<Self>) -> Result<Initial<Self>, InitStop> {
            Ok(Initial::new(Switch(0), false))
        }
        async fn handle_event(
            &mut self,
            on: &bool,
            event: Event,
            _: &mut MachineContext<Self>,
        ) -> Next<Self> {
            match event {
                Event::Press => {
                    self.0 += 1;
                    Next::state(!on)
                }
                Event::Count(reply) => Next::keep_state().reply(reply, self.0),
            }
        }
        fn format_status(&self, on: &bool) -> String {
            format!("{on} after {}", self.0)
        }
    }
    on_all(|system| {
        let switch = system
            .start::<Machine<Switch>>(())
            .wait_timeout(DEADLINE)
            .unwrap();
        switch.cast(Event::Press).unwrap();
        let on = switch.sys().with_state(|machine| *machine.state());
        assert_eq!(wait(on), Ok(true));
        wait(switch.sys().suspend()).unwrap();
        switch.cast(Event::Press).unwrap();
        let count = switch.request(Event::Count);
        let status = wait(switch.sys().get_status()).unwrap();
        assert_eq!(status.state, "true after 1");
        wait(
            switch
                .sys()
                .with_state(|machine| machine.data_mut().0 += 40),
        )
        .unwrap();
        wait(switch.sys().resume()).unwrap();
        assert_eq!(count.wait_timeout(DEADLINE), Ok(42));
    });
}

#[test]
fn a_sink_that_panics_as_it_is_dropped_harms_nobody() {
    struct Rude;
    impl Drop for Rude {
        fn drop(&mut self) {
            panic!("rude");
        }
    }
    on_all(|system| {
        for stop in [false, true] {
            let (diary, _told) = diary(system);
            let rude = Rude;
            let sink = move |_: &SysEvent| {
                let _ = &rude;
            };
            wait(diary.sys().trace(sink)).unwrap();
            if !stop {
                wait(diary.sys().no_trace()).unwrap();
                assert!(diary.is_alive());
            }
            let end = system.monitor(diary.pid());
            let stopped = diary.stop(ExitReason::Normal).wait_timeout(DEADLINE);
            assert_eq!(stopped, Ok(()));
            assert!(end.wait_timeout(DEADLINE).is_ok());
        }
    });
}
