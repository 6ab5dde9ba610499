//! What comes to a state machine from elsewhere: calls, which are answered now, later or never, ends,
//! messages to the pid; and who starts it.

mod machine;
mod support;

use std::sync::Arc;
use std::time::Duration;

use machine::{A, B, Event, MS, N, Plan, Probe, cast, expect, expect_last, plan, plan_with, start};
use noex::prelude::*;
use noex::{
    CallError, Down, Enter, Exit, GenStateMachine, Inbox, Initial, Machine, MachineContext, Next,
    ReplyTo,
};
use support::{DEADLINE, gate, next, on_all, quiet, reports, settled, until};

// Calls and replies.

#[test]
fn a_postponed_call_is_answered_in_the_state_that_can() {
    on_all(|system| {
        let (machine, told) = start(
            system,
            plan(|state, event| match (state, event) {
                (A, event @ Event::Ask(..)) => Next::keep_state().postpone(event),
                (B, Event::Ask(n, reply)) => Next::keep_state().reply(reply, n + 1),
                (A, N(1)) => Next::state(B),
                _ => Next::keep_state(),
            }),
        );
        let answer = machine.request(|reply| Event::Ask(41, reply));
        cast(&machine, [1]);
        assert_eq!(answer.wait_timeout(DEADLINE), Ok(42));
        expect_last(
            system,
            &machine,
            &told,
            &[
                "enter A -> A",
                "A: Call 41",
                "A: Cast 1",
                "enter A -> B",
                "B: Call 41",
            ],
        );
    });
}

#[test]
fn a_kept_token_is_answered_by_another_event_and_a_dropped_one_is_no_reply() {
    on_all(|system| {
        let (machine, _told) = start(
            system,
            plan_with(|probe, _, event, _| match event {
                Event::Ask(0, _dropped) => Next::keep_state(),
                Event::Ask(_, reply) => {
                    probe.kept.push(reply);
                    Next::keep_state().state_timeout(5 * MS, N(7))
                }
                N(7) => {
                    let kept = std::mem::take(&mut probe.kept);
                    kept.into_iter()
                        .fold(Next::keep_state(), |next, reply| next.reply(reply, 7))
                }
                _ => Next::keep_state(),
            }),
        );
        let dropped = machine.request(|reply| Event::Ask(0, reply));
        let first = machine.request(|reply| Event::Ask(1, reply));
        let second = machine.request(|reply| Event::Ask(2, reply));
        assert_eq!(dropped.wait_timeout(DEADLINE), Err(CallError::NoReply));
        assert_eq!(first.wait_timeout(DEADLINE), Ok(7));
        assert_eq!(second.wait_timeout(DEADLINE), Ok(7));
    });
}

#[test]
fn a_call_has_no_timeout_unless_it_is_given_one() {
    let (system, driver) = quiet().virtual_clock().auto_advance().manual();
    let (machine, _told) = start(
        &system,
        plan_with(|probe, _, event, _| match event {
            Event::Ask(_, reply) => {
                probe.kept.push(reply);
                Next::keep_state()
            }
            _ => Next::keep_state(),
        }),
    );
    let patient = machine.request(|reply| Event::Ask(1, reply));
    let hasty = machine.request_with(|reply| Event::Ask(1, reply), 10 * MS);
    assert_eq!(hasty.wait(), Err(CallError::Timeout));
    driver.advance(Duration::from_secs(3600));
    assert_eq!(patient.wait(), Err(CallError::Stalled));
}

#[test]
fn callers_whose_event_is_queued_postponed_or_kept_hear_of_the_machines_end() {
    on_all(|system| {
        let (machine, told) = start(
            system,
            plan_with(|probe, _, event, _| match event {
                event @ Event::Ask(1, _) => Next::keep_state().postpone(event),
                Event::Ask(2, reply) => {
                    probe.kept.push(reply);
                    Next::keep_state()
                }
                // Postponed by the event that stops it.
                event @ Event::Ask(3, _) => Next::stop(ExitReason::Timeout).postpone(event),
                _ => Next::keep_state(),
            }),
        );
        let (waits, opens) = gate();
        machine.cast(Event::Wait(waits)).expect("unbounded");
        let calls: Vec<_> = (1..=4)
            .map(|n| machine.request(move |reply| Event::Ask(n, reply)))
            .collect();
        opens.open();
        for call in calls {
            assert_eq!(
                call.wait_timeout(DEADLINE),
                Err(CallError::Exited(ExitReason::Timeout))
            );
        }
        drop(told);
        let late = machine.request(|reply| Event::Ask(5, reply));
        assert_eq!(late.wait(), Err(CallError::Exited(ExitReason::Timeout)));
    });
}

#[test]
fn a_reply_with_stop_is_sent_before_terminate_is_done() {
    on_all(|system| {
        let (waits, opens) = gate();
        let (machine, told) = start(
            system,
            plan(|_, event| match event {
                Event::Ask(n, reply) => Next::stop(ExitReason::Normal).reply(reply, n),
                _ => Next::keep_state(),
            })
            .hold("terminate", waits),
        );
        let answer = machine.request(|reply| Event::Ask(3, reply));
        assert_eq!(answer.wait_timeout(DEADLINE), Ok(3));
        expect(
            system,
            &told,
            &["enter A -> A", "A: Call 3", "A: terminate Normal"],
        );
        assert!(machine.is_alive());
        opens.open();
        until(system, || !machine.is_alive());
        assert_eq!(machine.exit_reason(), Some(ExitReason::Normal));
    });
}

#[test]
fn replies_of_the_event_are_sent_before_enter_and_those_of_enter_after_it() {
    on_all(|system| {
        let (waits, opens) = gate();
        let plan = plan_with(|probe, _, event, _| match event {
            Event::Ask(1, reply) => {
                probe.kept.push(reply);
                Next::keep_state()
            }
            Event::Ask(_, reply) => Next::state(B).reply(reply, 2),
            _ => Next::keep_state(),
        });
        let plan = Plan {
            enter: Arc::new(|probe, _, _| match probe.kept.pop() {
                Some(reply) => Enter::keep_state().reply(reply, 1),
                None => Enter::keep_state(),
            }),
            ..plan
        };
        let (machine, _told) = start(system, plan.hold("enter", waits));
        let mut first = machine.request(|reply| Event::Ask(1, reply));
        let second = machine.request(|reply| Event::Ask(2, reply));
        assert_eq!(second.wait_timeout(DEADLINE), Ok(2));
        assert_eq!(first.try_take(), None);
        opens.open();
        assert_eq!(first.wait_timeout(DEADLINE), Ok(1));
    });
}

// What comes from elsewhere.

#[test]
fn a_down_and_a_message_to_the_bare_pid_are_events_and_can_be_postponed() {
    on_all(|system| {
        let (machine, told) = start(
            system,
            plan_with(|_, state, event, cx| match (state, event) {
                (A, N(1)) => {
                    let watched = cx
                        .spawn(|_: Inbox<()>| async { ExitReason::Timeout })
                        .expect("running");
                    cx.monitor(watched.pid());
                    Next::keep_state()
                }
                (A, event @ Event::Down(_)) => {
                    cx.send(cx.pid(), 3_u64);
                    Next::keep_state().postpone(event)
                }
                (A, N(3)) => {
                    cx.send(cx.pid(), N(4));
                    Next::state(B)
                }
                _ => Next::keep_state(),
            }),
        );
        cast(&machine, [1]);
        let seen: Vec<String> = (0..7).map(|_| next(system, &told)).collect();
        // It may be dead before it is watched.
        let down = seen[2].trim_start_matches("A: Info ").to_owned();
        assert!(down == "Down(Timeout)" || down == "Down(NoProc)", "{down}");
        assert_eq!(
            seen,
            [
                "enter A -> A".to_owned(),
                "A: Cast 1".into(),
                format!("A: Info {down}"),
                "A: Info 3".into(),
                "enter A -> B".into(),
                format!("B: Info {down}"),
                "B: Info 4".into(),
            ]
        );
        // Of another type: a dead letter, and no event.
        system.send(machine.pid(), "text");
        expect_last(system, &machine, &told, &[]);
        assert_eq!(settled(system).undelivered, 1);
    });
}

#[test]
fn sends_recipients_and_timers_of_the_users_are_info() {
    on_all(|system| {
        let (machine, told) = start(system, plan(|_, _| Next::keep_state()));
        machine.send(N(1)).expect("unbounded");
        machine.recipient::<Event>().send(N(2)).expect("unbounded");
        expect(system, &told, &["enter A -> A", "A: Info 1", "A: Info 2"]);
        system.send_after(5 * MS, &machine, N(3));
        expect(system, &told, &["A: Info 3"]);
    });
}

// Names, links, supervisors.

#[test]
fn a_supervisor_restarts_a_machine_in_its_first_state_and_the_name_leads_to_it() {
    on_all(|system| {
        let (tell, told) = reports();
        let plan = plan(|_, event| match event {
            N(1) => Next::state(B),
            N(2) => panic!("as planned"),
            Event::Ask(_, reply) => Next::keep_state().reply(reply, 5),
            _ => Next::keep_state(),
        });
        let child = ChildSpec::server::<Machine<Probe>>("machine", (plan, tell));
        let supervisor = Supervisor::new(Strategy::OneForOne)
            .child(child.name("machine"))
            .start(system)
            .wait_timeout(DEADLINE)
            .expect("started");
        let machine: Named<Machine<Probe>> = system.server("machine");
        machine.cast(N(1)).expect("unbounded");
        machine.cast(N(2)).expect("unbounded");
        expect(
            system,
            &told,
            &[
                "enter A -> A",
                "A: Cast 1",
                "enter A -> B",
                "B: Cast 2",
                "B: terminate panic",
                "enter A -> A",
            ],
        );
        let call = machine.request_with(|reply| Event::Ask(0, reply), DEADLINE);
        assert_eq!(call.wait_timeout(DEADLINE), Ok(5));
        let stopped = supervisor.stop(ExitReason::Normal).wait_timeout(DEADLINE);
        assert_eq!(stopped, Ok(()));
        let call = machine.request(|reply| Event::Ask(0, reply));
        assert_eq!(call.wait(), Err(CallError::NoProc));
    });
}

#[test]
fn a_machine_starts_linked_and_monitored_others() {
    struct Nest;
    enum Do {
        Link(ReplyTo<(Pid, Vec<Pid>)>),
        Monitor(ReplyTo<Pid>),
        Gone(ExitReason),
        Wait(ReplyTo<ExitReason>),
    }
    #[derive(PartialEq)]
    enum Nested {
        Waits,
        Has(String),
    }
    impl GenStateMachine for Nest {
        type Args = ();
        type State = Nested;
        type Event = Do;
        type Timeout = std::convert::Infallible;
        async fn init(_: (), cx: &mut MachineContext<Self>) -> Result<Initial<Self>, InitStop> {
            cx.trap_exit(true);
            Ok(Initial::new(Nest, Nested::Waits))
        }
        async fn handle_event(
            &mut self,
            state: &Nested,
            event: Do,
            cx: &mut MachineContext<Self>,
        ) -> Next<Self> {
            match (state, event) {
                (_, Do::Link(reply)) => {
                    let child = cx.start_link::<Machine<Nest>>(()).await.expect("started");
                    let me = vec![cx.pid(), cx.this().pid()];
                    Next::keep_state().reply(reply, (child.pid(), me))
                }
                (_, Do::Monitor(reply)) => {
                    let (child, _) = cx
                        .start_monitor::<Machine<Nest>>(())
                        .await
                        .expect("started");
                    Next::keep_state().reply(reply, child.pid())
                }
                (_, Do::Gone(reason)) => Next::state(Nested::Has(format!("{reason:?}"))),
                (Nested::Waits, event @ Do::Wait(_)) => Next::keep_state().postpone(event),
                (Nested::Has(_), Do::Wait(reply)) => {
                    Next::state(Nested::Waits).reply(reply, ExitReason::Normal)
                }
            }
        }
        fn from_down(down: Down) -> Option<Do> {
            Some(Do::Gone(down.reason))
        }
        fn from_exit(exit: Exit) -> Option<Do> {
            Some(Do::Gone(exit.reason))
        }
    }
    on_all(|system| {
        let nest = system
            .start::<Machine<Nest>>(())
            .wait_timeout(DEADLINE)
            .expect("started");
        let (linked, me) = nest
            .request(Do::Link)
            .wait_timeout(DEADLINE)
            .expect("answered");
        assert_eq!(me, [nest.pid(), nest.pid()]);
        let monitored = nest
            .request(Do::Monitor)
            .wait_timeout(DEADLINE)
            .expect("answered");
        for child in [linked, monitored] {
            let wait = nest.request(Do::Wait);
            system.exit(child, ExitReason::Kill);
            assert_eq!(wait.wait_timeout(DEADLINE), Ok(ExitReason::Normal));
        }
    });
}
