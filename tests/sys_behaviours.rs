//! The system side of agents, event managers and state machines, whose states are not the server's own.

mod events;
mod machine;
mod support;

use events::{Do, Heir, Probe, Saw, Stage, Stop, adder, id, is_crash};
use machine::{A, B, Event, N, State, expect, plan, start};
use noex::gen_event::{EventHandler, Handler, HandlerContext, HandlerExitReason, HandlerStop};
use noex::prelude::*;
use noex::{Agent, CallError, GenEvent, HandlerError, Next, Term};
use support::{DEADLINE, next, on_all, on_all_built, quiet, reports, until};

fn wait<R>(call: noex::Call<R>) -> R {
    call.wait_timeout(DEADLINE).expect("an answer")
}

// Agents.

fn agent(system: &System, numbers: &[u32]) -> Agent<Vec<u32>> {
    let numbers = numbers.to_vec();
    let start = Agent::start(system, move || numbers);
    start.wait_timeout(DEADLINE).expect("a start")
}

#[test]
fn a_suspended_agent_shows_and_changes_its_state_and_answers_nothing_else() {
    on_all(|system| {
        let agent = agent(system, &[1]);
        let sys = agent.sys();
        wait(sys.suspend());
        let waits = agent.get(|numbers| numbers.len());
        assert_eq!(wait(sys.get_state()), [1]);
        assert_eq!(wait(sys.replace_state(vec![2, 3])), [1]);
        wait(sys.with_state(|numbers| numbers.push(4)));
        wait(sys.resume());
        assert_eq!(wait(waits), 3);
        assert_eq!(wait(agent.get(Vec::clone)), [2, 3, 4]);
    });
}

#[test]
fn an_agent_moves_to_a_new_version_of_its_state_or_keeps_the_old_one() {
    on_all(|system| {
        let agent = agent(system, &[1, 2]);
        agent.cast(|numbers| numbers.push(3)).unwrap();
        let change = |mut old: Vec<u32>| {
            old.reverse();
            Ok(old)
        };
        assert_eq!(wait(agent.sys().change_code(change)), Ok(()));
        agent.cast(|numbers| numbers.push(0)).unwrap();
        let refuse = |old| Err((old, ExitReason::Timeout));
        let refused = wait(agent.sys().change_code(refuse));
        assert_eq!(refused, Err(ExitReason::Timeout));
        assert_eq!(wait(agent.get(Vec::clone)), [3, 2, 1, 0]);
    });
}

#[test]
fn a_look_at_an_agent_that_panics_ends_it() {
    quiet();
    on_all(|system| {
        let agent = agent(system, &[]);
        let look = agent.sys().with_state(|numbers| numbers[7]);
        let end = look.wait_timeout(DEADLINE);
        assert!(matches!(end, Err(CallError::Exited(ExitReason::Panic(_)))));
        until(system, || !agent.is_alive());
    });
}

// Event managers.

#[test]
fn a_suspended_manager_shows_and_changes_its_handlers_and_keeps_events() {
    on_all(|system| {
        let stage = Stage::with(system, &["a", "b"]);
        let sys = stage.manager.sys();
        wait(sys.suspend());
        let told = stage.manager.sync_notify(Do::Note(3));
        let notes = |name| {
            let look = sys.with_state(id(name), |probe: &mut Probe| {
                probe.notes.push(1);
                probe.notes.clone()
            });
            look.wait_timeout(DEADLINE)
        };
        assert_eq!(notes("a"), Ok(vec![1]));
        assert_eq!(notes("a"), Ok(vec![1, 1]));
        assert_eq!(notes("c"), Err(HandlerError::NotInstalled));
        wait(sys.resume());
        wait(told);
        assert_eq!(notes("a"), Ok(vec![1, 1, 3, 1]));
        assert_eq!(notes("b"), Ok(vec![3, 1]));
        assert_eq!(stage.names(), events::quoted(&["b", "a"]));
    });
}

/// A handler that counts, and shows it.
#[derive(Clone, Debug, PartialEq)]
struct Tally(u32);

impl EventHandler<u32> for Tally {
    type Args = u32;
    async fn init(from: u32, _: &mut HandlerContext<Self, u32>) -> Result<Self, ExitReason> {
        Ok(Tally(from))
    }
    async fn handle_event(&mut self, n: &u32, _: &mut HandlerContext<Self, u32>) {
        self.0 += n;
    }
    fn format_status(&self) -> String {
        assert!(self.0 != 666, "not to be shown");
        format!("{} so far", self.0)
    }
}

#[test]
fn a_handler_is_cloned_and_replaced_and_a_status_shows_all() {
    on_all(|system| {
        let start = GenEvent::<u32>::start(system).wait_timeout(DEADLINE);
        let manager = start.expect("a start");
        let tally = |name: &str| Handler::<Tally>::with_id(Term::from(name));
        for (name, from) in [("x", 1), ("y", 10)] {
            let add = manager.add_handler(tally(name), from);
            add.wait_timeout(DEADLINE).expect("it is added");
        }
        wait(manager.sync_notify(1));
        let sys = manager.sys();
        let got = sys.get_state(tally("x")).wait_timeout(DEADLINE);
        assert_eq!(got, Ok(Tally(2)));
        let old = sys.replace_state(tally("y"), Tally(666));
        assert_eq!(old.wait_timeout(DEADLINE), Ok(Tally(11)));
        let status = wait(sys.get_status()).state;
        assert!(status.contains("2 so far"), "{status}");
        assert!(status.contains("panicked"), "{status}");
        wait(manager.sync_notify(1));
        let got = sys.get_state(tally("y")).wait_timeout(DEADLINE);
        assert_eq!(got, Ok(Tally(667)), "it lives");
    });
}

#[test]
fn a_handler_moves_to_a_new_version_of_its_state_in_its_place() {
    on_all(|system| {
        let stage = Stage::with(system, &["a", "b", "c"]);
        let sys = stage.manager.sys();
        stage.all(Do::Note(1));
        let change = |old: Probe| {
            let mut new = old;
            new.notes.push(100);
            Ok(new)
        };
        let changed = sys.change_code(id("b"), change).wait_timeout(DEADLINE);
        assert_eq!(changed, Ok(Ok(())));
        let refuse = |old| Err((old, ExitReason::Timeout));
        let refused = sys.change_code(id("b"), refuse).wait_timeout(DEADLINE);
        assert_eq!(refused, Ok(Err(ExitReason::Timeout)));
        let none = sys.change_code(Handler::<Heir>::new(), Ok);
        assert_eq!(none.wait_timeout(DEADLINE), Err(HandlerError::NotInstalled));
        assert_eq!(stage.names(), events::quoted(&["c", "b", "a"]));
        let notes = sys.with_state(id("b"), |probe| probe.notes.clone());
        assert_eq!(notes.wait_timeout(DEADLINE), Ok(vec![1, 100]));
    });
}

#[test]
fn a_look_or_a_change_that_panics_costs_that_handler_alone() {
    on_all(|system| {
        let stage = Stage::with(system, &["a", "b"]);
        let (_adder, told) = adder(system, &stage, "c");
        let sys = stage.manager.sys();
        let crashed = |end| matches!(end, Err(HandlerError::Crashed(reason)) if is_crash(&reason));
        let look = sys.with_state(id("a"), |_: &mut Probe| events::crash::<()>());
        assert!(crashed(look.wait_timeout(DEADLINE)));
        // Terminated, as by a panic of its own.
        let seen = stage.seen();
        let [Stop("a", HandlerStop::Error(reason))] = &seen[..] else {
            panic!("{seen:?}")
        };
        assert!(is_crash(reason));
        let change = sys.change_code(id("c"), |_: Probe| events::crash());
        assert!(crashed(change.wait_timeout(DEADLINE).map(drop)));
        let exit = next(system, &told);
        assert!(matches!(exit.reason, HandlerExitReason::Failed(reason) if is_crash(&reason)));
        assert_eq!(stage.names(), events::quoted(&["b"]));
        stage.all(Do::Note(5));
        assert_eq!(stage.seen(), [Saw::Event("b", 5)]);
    });
}

// State machines.

#[test]
fn the_state_of_a_machine_is_replaced_without_a_transition() {
    on_all(|system| {
        let rules = |state: &State, event| match (state, event) {
            (A, event @ N(1)) => Next::keep_state().postpone(event),
            (_, N(9)) => Next::state(A),
            _ => Next::keep_state(),
        };
        let (machine, told) = start(system, plan(rules));
        machine.cast(Event::N(1)).unwrap();
        expect(system, &told, &["enter A -> A", "A: Cast 1"]);
        let sys = machine.sys();
        let old = sys.with_state(|machine| std::mem::replace(machine.state_mut(), B));
        assert_eq!(wait(old), A);
        machine.cast(Event::N(2)).unwrap();
        expect(system, &told, &["B: Cast 2"]);
        // A transition of its own gives back what was postponed.
        machine.cast(Event::N(9)).unwrap();
        expect(system, &told, &["B: Cast 9", "enter B -> A", "A: Cast 1"]);
    });
}

// All of them.

#[test]
fn nobody_counts_traces_or_keeps_anything_after_no_debug() {
    on_all(|system| {
        let agent = agent(system, &[]);
        let sys = agent.sys();
        let (tell, told) = reports();
        wait(sys.statistics(true));
        wait(sys.log(10));
        wait(sys.trace(move |event| drop(tell.send(event.clone()))));
        wait(agent.update(|_| ()));
        next(system, &told);
        wait(sys.no_debug());
        wait(agent.update(|_| ()));
        assert_eq!(wait(sys.get_statistics()), None);
        assert_eq!(wait(sys.get_log()), []);
        until(system, || {
            told.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected)
        });
        wait(sys.suspend());
        wait(sys.no_debug());
        assert!(wait(sys.get_status()).suspended, "that is something else");
        wait(sys.resume());
    });
}

#[test]
fn the_report_of_a_crash_is_small_however_many_were_linked() {
    let (tell, heard) = reports();
    let builder = || {
        let tell = tell.clone();
        quiet().on_event(move |event| {
            if let noex::Event::Crashed(report) = event {
                let _ = tell.send(report.process.clone());
            }
        })
    };
    on_all_built(builder, |system| {
        let crowd = move |cx: noex::Inbox<()>| async move {
            for _ in 0..150 {
                let wait = |_: noex::Inbox<()>| std::future::pending::<()>();
                let (one, _) = cx.spawn_monitor(wait).expect("a running system");
                cx.link(one.pid());
            }
            cx.yield_now().await;
            let info = cx.system().process_info(cx.pid()).await;
            let info = info.expect("it lives");
            assert_eq!((info.links.len(), info.monitors.len()), (150, 150));
            panic!("too many of them")
        };
        system.spawn(crowd).expect("a running system");
        let process = next(system, &heard);
        assert_eq!((process.links.len(), process.monitors.len()), (100, 100));
    });
}
