//! State machines, through the public API: what is a change of state, what comes in which order, and how
//! one ends.

mod machine;
mod support;

use std::sync::Arc;
use std::time::Duration;

use machine::{
    A, B, C, Event, MS, N, Payload, Plan, Probe, cast, expect, expect_last, plan, plan_with, start,
};
use noex::prelude::*;
use noex::{CallError, Enter, EventType, Machine, Next, StartError};
use support::{DEADLINE, on_all, quiet, reports, settled, until};

// What is a change of state.

#[test]
fn an_equal_state_is_no_change_and_another_payload_is_one() {
    on_all(|system| {
        let (machine, told) = start(
            system,
            plan(|state, event| match (state, event) {
                (_, N(1)) => Next::state(Payload(1)),
                (_, N(2)) => Next::state(Payload(2)),
                (Payload(1), event @ N(9)) => Next::keep_state().postpone(event),
                _ => Next::keep_state(),
            }),
        );
        cast(&machine, [1, 9, 1, 2]);
        expect_last(
            system,
            &machine,
            &told,
            &[
                "enter A -> A",
                "A: Cast 1",
                "enter A -> Payload(1)",
                "Payload(1): Cast 9",
                "Payload(1): Cast 1",
                "Payload(1): Cast 2",
                "enter Payload(1) -> Payload(2)",
                "Payload(2): Cast 9",
            ],
        );
    });
}

#[test]
fn repeat_state_enters_again_and_does_nothing_else_of_a_change() {
    on_all(|system| {
        let (machine, told) = start(
            system,
            plan(|state, event| match (state, event) {
                (A, event @ N(1)) => Next::keep_state()
                    .postpone(event)
                    .state_timeout(20 * MS, N(7)),
                (A, N(2)) => Next::repeat_state(),
                (A, N(7)) => Next::state(B),
                _ => Next::keep_state(),
            }),
        );
        cast(&machine, [1, 2]);
        expect(
            system,
            &told,
            &[
                "enter A -> A",
                "A: Cast 1",
                "A: Cast 2",
                "enter A -> A",
                "A: StateTimeout 7",
                "enter A -> B",
                "B: Cast 1",
            ],
        );
    });
}

// Order.

#[test]
fn enter_then_inserted_then_postponed_then_queued_then_timeouts_of_zero() {
    on_all(|system| {
        let (machine, told) = start(
            system,
            plan(|state, event| match (state, event) {
                (A, event @ N(1 | 2)) => Next::keep_state().postpone(event),
                (A, N(3)) => Next::state(B)
                    .timeout("zero", Duration::ZERO, N(31))
                    .state_timeout(Duration::ZERO, N(32))
                    .next_event(N(33))
                    .next_event_as(EventType::Info, N(34)),
                (B, N(33)) => Next::keep_state().next_event(N(35)),
                _ => Next::keep_state(),
            })
            .enter(|_, state| match state {
                B => Enter::keep_state().timeout("enter", Duration::ZERO, N(36)),
                _ => Enter::keep_state(),
            }),
        );
        cast(&machine, [1, 2, 3, 4]);
        expect_last(
            system,
            &machine,
            &told,
            &[
                "enter A -> A",
                "A: Cast 1",
                "A: Cast 2",
                "A: Cast 3",
                "enter A -> B",
                "B: Internal 33",
                "B: Internal 35",
                "B: Info 34",
                "B: Cast 1",
                "B: Cast 2",
                "B: Timeout(\"zero\") 31",
                "B: StateTimeout 32",
                "B: Timeout(\"enter\") 36",
                "B: Cast 4",
            ],
        );
    });
}

#[test]
fn the_first_state_is_entered_before_any_message_and_what_init_inserts_comes_next() {
    on_all(|system| {
        let (tell, told) = reports();
        let plan = plan(|_, event| match event {
            // Nothing is postponed for want of a change of state.
            event @ N(1) => Next::keep_state().postpone(event),
            _ => Next::keep_state(),
        })
        .begin(|initial| {
            initial
                .timeout("zero", Duration::ZERO, N(3))
                .next_event(N(1))
                .next_event(N(2))
        });
        let starting =
            system.start_with::<Machine<Probe>>((plan, tell), ServerOptions::new().name("machine"));
        let named: Named<Machine<Probe>> = system.server("machine");
        named.cast(N(4)).expect("unbounded");
        let machine = starting.wait_timeout(DEADLINE).expect("started");
        expect_last(
            system,
            &machine,
            &told,
            &[
                "enter A -> A",
                "A: Internal 1",
                "A: Internal 2",
                "A: Timeout(\"zero\") 3",
                "A: Cast 4",
            ],
        );
    });
}

#[test]
fn what_is_postponed_again_stays_in_order() {
    on_all(|system| {
        let (machine, told) = start(
            system,
            plan(|state, event| match (state, event) {
                (_, N(10)) => Next::state(B),
                (_, N(11)) => Next::state(C),
                (A | B, event @ N(1 | 3)) => Next::keep_state().postpone(event),
                (A, event @ N(2)) => Next::keep_state().postpone(event),
                _ => Next::keep_state(),
            }),
        );
        cast(&machine, [1, 2, 3, 10, 11]);
        expect_last(
            system,
            &machine,
            &told,
            &[
                "enter A -> A",
                "A: Cast 1",
                "A: Cast 2",
                "A: Cast 3",
                "A: Cast 10",
                "enter A -> B",
                "B: Cast 1",
                "B: Cast 2",
                "B: Cast 3",
                "B: Cast 11",
                "enter B -> C",
                "C: Cast 1",
                "C: Cast 3",
            ],
        );
    });
}

// The end.

#[test]
fn stop_from_an_event_ends_it_in_the_old_state_and_from_enter_in_the_new() {
    on_all(|system| {
        let (machine, told) = start(
            system,
            plan(|_, event| match event {
                N(1) => Next::stop(ExitReason::Timeout).next_event(N(2)),
                _ => Next::keep_state(),
            }),
        );
        cast(&machine, [1, 3]);
        expect(
            system,
            &told,
            &["enter A -> A", "A: Cast 1", "A: terminate Timeout"],
        );
        until(system, || !machine.is_alive());
        assert_eq!(machine.exit_reason(), Some(ExitReason::Timeout));

        let (machine, told) = start(
            system,
            plan(|_, _| Next::state(B)).enter(|_, state| match state {
                B => Enter::stop(ExitReason::Timeout),
                _ => Enter::keep_state(),
            }),
        );
        cast(&machine, [1]);
        expect(
            system,
            &told,
            &[
                "enter A -> A",
                "A: Cast 1",
                "enter A -> B",
                "B: terminate Timeout",
            ],
        );
    });
}

#[test]
fn enter_may_repeat_itself_with_the_same_states() {
    on_all(|system| {
        let plan = plan(|_, _| Next::state(B));
        let plan = Plan {
            enter: Arc::new(|probe, _, state| match state {
                B if probe.count < 2 => {
                    probe.count += 1;
                    Enter::repeat_state().timeout("zero", Duration::ZERO, N(probe.count))
                }
                _ => Enter::keep_state(),
            }),
            ..plan
        };
        let (machine, told) = start(system, plan);
        cast(&machine, [9]);
        expect_last(
            system,
            &machine,
            &told,
            &[
                "enter A -> A",
                "A: Cast 9",
                "enter A -> B",
                "enter A -> B",
                "enter A -> B",
                "B: Timeout(\"zero\") 2",
            ],
        );
    });
}

#[test]
fn after_a_panic_terminate_has_the_state_from_before_the_event() {
    on_all(|system| {
        for in_enter in [false, true] {
            let (machine, told) = start(
                system,
                plan(move |_, event| match event {
                    Event::Ask(..) if !in_enter => panic!("in the event"),
                    Event::Ask(..) => Next::state(B),
                    event => Next::keep_state().postpone(event),
                })
                .enter(|_, state| match state {
                    B => panic!("in enter"),
                    _ => Enter::keep_state(),
                }),
            );
            cast(&machine, [1]);
            let call = machine.request(|reply| Event::Ask(2, reply));
            let error = call.wait_timeout(DEADLINE).expect_err("it panics");
            if in_enter {
                // The event was handled, its token dropped: by a machine that lived.
                assert_eq!(error, CallError::NoReply);
            } else {
                assert!(matches!(error, CallError::Exited(ExitReason::Panic(_))));
            }
            let lines: &[&str] = if in_enter {
                &["enter A -> A", "A: Cast 1", "A: Call 2", "enter A -> B"]
            } else {
                &["enter A -> A", "A: Cast 1", "A: Call 2"]
            };
            expect(system, &told, lines);
            expect(system, &told, &["A: terminate panic"]);
            until(system, || !machine.is_alive());
        }
    });
}

#[test]
fn a_panic_in_init_or_an_ignore_is_the_starters_to_hear() {
    on_all(|system| {
        for (begin, expected) in [
            (Err(InitStop::Ignore), StartError::Ignore),
            (
                Err(InitStop::Stop(ExitReason::Timeout)),
                StartError::Init(ExitReason::Timeout),
            ),
        ] {
            let (tell, told) = reports();
            let begin: Result<(), InitStop> = begin;
            let plan = Plan {
                begin: Arc::new(move |initial| begin.clone().map(|()| initial)),
                ..plan(|_, _| Next::keep_state())
            };
            let started = system
                .start::<Machine<Probe>>((plan, tell))
                .wait_timeout(DEADLINE);
            assert_eq!(started.expect_err("not started"), expected);
            assert_eq!(told.try_iter().count(), 0);
        }
    });
}

#[test]
fn the_parents_exit_ends_a_machine_that_traps_and_others_are_events() {
    on_all(|system| {
        let (machine, told) = start(system, plan(|_, _| Next::keep_state()).traps());
        system.exit(machine.pid(), ExitReason::Timeout);
        expect(system, &told, &["enter A -> A", "A: Info Exit(Timeout)"]);
        // Started from outside, its parent is the system's root.
        system.shutdown().wait_timeout(DEADLINE).expect("in order");
        expect(system, &told, &["A: terminate Shutdown(None)"]);
    });
}

#[test]
fn a_machine_that_does_not_trap_dies_of_an_exit_signal_without_terminate() {
    on_all(|system| {
        let (machine, told) = start(system, plan(|_, _| Next::keep_state()));
        let watch = system.monitor(machine.pid());
        system.exit(machine.pid(), ExitReason::Timeout);
        let down = watch.wait_timeout(DEADLINE).expect("its end");
        assert_eq!(down.reason, ExitReason::Timeout);
        assert!(told.try_iter().all(|line| !line.contains("terminate")));
    });
}

// A machine that never comes to rest.

/// Drives itself for ever, by inserted events or by timeouts of zero.
fn restless(by_timeout: bool) -> Plan {
    plan_with(move |probe, _, _, _| {
        // Its reports are not read.
        probe.tell = reports().0;
        if by_timeout {
            Next::keep_state().timeout("zero", Duration::ZERO, N(1))
        } else {
            Next::keep_state().next_event(N(1))
        }
    })
}

#[test]
fn a_machine_that_drives_itself_lets_others_run_and_can_be_killed() {
    on_all(|system| {
        for by_timeout in [false, true] {
            let (machine, _told) = start(system, restless(by_timeout));
            cast(&machine, [1]);
            let other = start(system, plan(|_, _| Next::keep_state()));
            cast(&other.0, [1]);
            expect(system, &other.1, &["enter A -> A", "A: Cast 1"]);
            let watch = system.monitor(machine.pid());
            if by_timeout {
                system.exit(machine.pid(), ExitReason::Kill);
                let down = watch.wait_timeout(DEADLINE).expect("its end");
                assert_eq!(down.reason, ExitReason::Killed);
            } else {
                let stopped = machine.stop_now(ExitReason::Normal).wait_timeout(DEADLINE);
                assert_eq!(stopped, Ok(()));
            }
        }
    });
}

#[test]
fn ten_thousand_postponed_events_come_again_in_order() {
    const MANY: u32 = 10_000;
    for threads in [1, 4] {
        let system = quiet().schedulers(threads).build().expect("threads");
        let (machine, told) = start(
            &system,
            plan_with(|probe, state, event, _| match (state, event) {
                (A, N(0)) => Next::state(B),
                (A, event) => Next::keep_state().postpone(event),
                (_, N(n)) => {
                    assert_eq!(n, probe.count + 1);
                    probe.count = n;
                    Next::keep_state()
                }
                (_, Event::Ask(_, reply)) => Next::keep_state().reply(reply, probe.count),
                _ => Next::keep_state(),
            })
            .state(A),
        );
        drop(told);
        cast(&machine, (1..=MANY).chain([0]));
        let count = machine.request(|reply| Event::Ask(0, reply));
        assert_eq!(count.wait_timeout(DEADLINE), Ok(MANY));
        settled(&system);
    }
}
