//! The timeouts of state machines: what starts, changes and takes back each kind, and when it comes.

mod machine;
mod support;

use std::time::Duration;

use machine::{A, B, Event, MS, N, cast, expect, expect_last, plan, start};
use noex::prelude::*;
use noex::{Enter, Next};
use support::{gate, on_all, quiet, settled};

#[test]
fn each_kind_of_timeout_is_taken_back_by_what_takes_it_back() {
    on_all(|system| {
        let (machine, told) = start(
            system,
            plan(|state, event| match (state, event) {
                (A, N(1)) => Next::keep_state()
                    .state_timeout(30 * MS, N(31))
                    .event_timeout(30 * MS, N(32))
                    .timeout("name", 30 * MS, N(33)),
                (A, N(31)) => Next::keep_state()
                    .state_timeout(200 * MS, N(34))
                    .event_timeout(200 * MS, N(35))
                    .timeout("other", 210 * MS, N(36)),
                (A, N(33)) => Next::state(B),
                _ => Next::keep_state(),
            }),
        );
        // The second is an event; it takes back the event timeout, and only that.
        cast(&machine, [1, 2]);
        expect(
            system,
            &told,
            &[
                "enter A -> A",
                "A: Cast 1",
                "A: Cast 2",
                "A: StateTimeout 31",
                "A: Timeout(\"name\") 33",
                "enter A -> B",
                "B: Timeout(\"other\") 36",
            ],
        );
        support::pass(system, 50 * MS);
        expect_last(system, &machine, &told, &[]);
    });
}

#[test]
fn inserted_events_take_a_zero_event_timeout_back_and_messages_come_after_it() {
    on_all(|system| {
        let (machine, told) = start(
            system,
            plan(|_, event| match event {
                N(1) => Next::keep_state()
                    .event_timeout(Duration::ZERO, N(31))
                    .next_event(N(2)),
                N(3) => Next::keep_state().event_timeout(Duration::ZERO, N(32)),
                _ => Next::keep_state(),
            }),
        );
        cast(&machine, [1, 3, 4]);
        expect_last(
            system,
            &machine,
            &told,
            &[
                "enter A -> A",
                "A: Cast 1",
                "A: Internal 2",
                "A: Cast 3",
                "A: EventTimeout 32",
                "A: Cast 4",
            ],
        );
    });
}

#[test]
fn an_update_changes_the_event_and_not_the_time_and_fires_at_once_if_nothing_runs() {
    let (system, driver) = quiet().virtual_clock().manual();
    let (machine, told) = start(
        &system,
        plan(|_, event| match event {
            N(1) => {
                Next::keep_state()
                    .state_timeout(10 * MS, N(31))
                    .timeout("name", 10 * MS, N(32))
            }
            N(2) => Next::keep_state()
                .update_state_timeout(N(33))
                .update_timeout("name", N(34))
                .update_timeout("none", N(35))
                .update_event_timeout(N(36)),
            _ => Next::keep_state(),
        }),
    );
    driver.run_until_idle();
    expect(&system, &told, &["enter A -> A"]);
    cast(&machine, [1]);
    driver.advance(9 * MS);
    cast(&machine, [2, 3]);
    driver.run_until_idle();
    expect(
        &system,
        &told,
        &[
            "A: Cast 1",
            "A: Cast 2",
            "A: Timeout(\"none\") 35",
            // The update of the event timeout was at once too, but the event above took it back.
            "A: Cast 3",
        ],
    );
    driver.advance(MS);
    let mut last: Vec<String> = told.try_iter().collect();
    last.sort();
    assert_eq!(last, ["A: StateTimeout 33", "A: Timeout(\"name\") 34"]);
}

#[test]
fn an_update_of_the_event_timeout_comes_at_once() {
    on_all(|system| {
        let (machine, told) = start(
            system,
            plan(|_, event| match event {
                N(1) => Next::keep_state().event_timeout(1000 * MS, N(31)),
                N(2) => Next::keep_state().update_event_timeout(N(32)),
                _ => Next::keep_state(),
            }),
        );
        cast(&machine, [1, 2, 3]);
        let lines = [
            "enter A -> A",
            "A: Cast 1",
            "A: Cast 2",
            "A: EventTimeout 32",
            "A: Cast 3",
        ];
        expect_last(system, &machine, &told, &lines);
    });
}

#[test]
fn a_timeout_never_comes_after_its_cancel_even_if_it_is_in_the_mailbox() {
    on_all(|system| {
        let (machine, told) = start(
            system,
            plan(|_, event| match event {
                N(1) => Next::keep_state()
                    .state_timeout(5 * MS, N(31))
                    .timeout("name", 5 * MS, N(32))
                    .timeout("again", 5 * MS, N(33)),
                N(2) => Next::keep_state()
                    .cancel_state_timeout()
                    .cancel_timeout("name")
                    .timeout("again", 100 * MS, N(34)),
                _ => Next::keep_state(),
            }),
        );
        let ((first, opens_first), (then, opens)) = (gate(), gate());
        machine.cast(Event::Wait(first)).expect("unbounded");
        machine.cast(N(1)).expect("unbounded");
        machine.cast(Event::Wait(then)).expect("unbounded");
        // Ahead of the timers' messages in the mailbox.
        machine.cast(N(2)).expect("unbounded");
        opens_first.open();
        support::pass(system, 50 * MS);
        // Behind them: the one that was started again must not come of the old timer's message.
        machine.cast(N(5)).expect("unbounded");
        opens.open();
        expect(
            system,
            &told,
            &[
                "enter A -> A",
                "A: Cast 1",
                "A: Cast 2",
                "A: Cast 5",
                "A: Timeout(\"again\") 34",
            ],
        );
        expect_last(system, &machine, &told, &[]);
    });
}

#[test]
fn an_absolute_time_is_one_of_the_systems_clock_and_if_past_comes_behind_the_mail() {
    let (system, driver) = quiet().virtual_clock().manual();
    driver.advance(100 * MS);
    let (machine, told) = start(
        &system,
        plan(|_, event| match event {
            N(1) => Next::keep_state()
                .state_timeout_at(150 * MS, N(31))
                .event_timeout_at(140 * MS, N(32))
                .timeout_at("past", 50 * MS, N(33))
                .timeout_at("zero", Duration::ZERO, N(34)),
            N(2) => Next::keep_state().event_timeout_at(140 * MS, N(35)),
            _ => Next::keep_state(),
        }),
    );
    cast(&machine, [1]);
    driver.run_until_idle();
    // As in OTP 0 is "at once" even as an absolute time.
    expect(
        &system,
        &told,
        &[
            "enter A -> A",
            "A: Cast 1",
            "A: Timeout(\"zero\") 34",
            "A: Timeout(\"past\") 33",
        ],
    );
    cast(&machine, [2]);
    driver.advance(39 * MS);
    expect(&system, &told, &["A: Cast 2"]);
    assert_eq!(told.try_iter().count(), 0);
    driver.advance(MS);
    expect(&system, &told, &["A: EventTimeout 35"]);
    driver.advance(10 * MS);
    expect(&system, &told, &["A: StateTimeout 31"]);
}

#[test]
fn of_several_settings_of_one_timeout_the_last_counts_alone() {
    on_all(|system| {
        let (machine, told) = start(
            system,
            plan(|_, event| match event {
                N(1) => Next::keep_state()
                    .timeout("a", Duration::ZERO, N(31))
                    .timeout("b", Duration::ZERO, N(32))
                    .timeout("a", Duration::ZERO, N(33))
                    .timeout("c", Duration::ZERO, N(34))
                    .cancel_timeout("c"),
                // Running for long; the cancel does not count, so the update finds it running.
                N(2) => Next::keep_state().timeout("d", 10_000 * MS, N(35)),
                N(3) => Next::keep_state()
                    .cancel_timeout("d")
                    .update_timeout("d", N(36)),
                _ => Next::keep_state(),
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
                "A: Timeout(\"b\") 32",
                "A: Timeout(\"a\") 33",
                "A: Cast 2",
                "A: Cast 3",
                "A: Cast 4",
            ],
        );
    });
}

#[test]
fn a_zero_timeout_started_again_with_a_time_runs_for_that_time() {
    on_all(|system| {
        let (machine, told) = start(
            system,
            plan(|_, event| match event {
                N(1) => Next::keep_state()
                    .timeout("a", Duration::ZERO, N(31))
                    .next_event(N(2)),
                N(2) => Next::keep_state().timeout("a", 20 * MS, N(32)),
                _ => Next::keep_state(),
            }),
        );
        cast(&machine, [1, 3]);
        let lines = [
            "enter A -> A",
            "A: Cast 1",
            "A: Internal 2",
            "A: Cast 3",
            "A: Timeout(\"a\") 32",
        ];
        expect(system, &told, &lines);
        expect_last(system, &machine, &told, &[]);
    });
}

#[test]
fn enter_may_set_timeouts_and_its_settings_come_after_those_of_the_event() {
    on_all(|system| {
        let (machine, told) = start(
            system,
            plan(|state, event| match (state, event) {
                (A, N(1)) => Next::state(B).state_timeout(10_000 * MS, N(31)),
                _ => Next::keep_state(),
            })
            .enter(|_, state| match state {
                B => Enter::keep_state().state_timeout(5 * MS, N(32)),
                _ => Enter::keep_state(),
            }),
        );
        cast(&machine, [1]);
        let lines = [
            "enter A -> A",
            "A: Cast 1",
            "enter A -> B",
            "B: StateTimeout 32",
        ];
        expect(system, &told, &lines);
        expect_last(system, &machine, &told, &[]);
    });
}

#[test]
fn the_timers_of_a_machine_that_ended_are_gone() {
    let (system, driver) = quiet().virtual_clock().manual();
    let (machine, _told) = start(
        &system,
        plan(|_, _| {
            Next::keep_state()
                .state_timeout(10 * MS, N(31))
                .event_timeout(10 * MS, N(32))
                .timeout("name", 10 * MS, N(33))
        }),
    );
    cast(&machine, [1]);
    driver.run_until_idle();
    system.exit(machine.pid(), ExitReason::Kill);
    driver.run_until_idle();
    driver.advance(100 * MS);
    assert_eq!(settled(&system).undelivered, 0);
}
