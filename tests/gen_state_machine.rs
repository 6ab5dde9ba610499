//! State machines, through the public API.

mod support;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use noex::prelude::*;
use noex::{
    AnyMessage, CallError, Down, Enter, EventType, Exit, GenStateMachine, Inbox, Initial, Machine,
    MachineContext, MachineRef, Next, ReplyTo, StartError,
};
use support::{DEADLINE, gate, next, on_all, quiet, reports, settled, until};

const MS: Duration = Duration::from_millis(1);

#[derive(Clone, Debug, PartialEq)]
enum State {
    A,
    B,
    C,
    Payload(u32),
}
use State::{A, B, C, Payload};

/// Events are numbers; each test says what its numbers mean.
enum Event {
    N(u32),
    Ask(u32, ReplyTo<u32>),
    Wait(support::Gate),
    Down(ExitReason),
    Exit(ExitReason),
}
use Event::N;

type Rules = Arc<dyn Fn(&mut Probe, &State, Event, &Cx) -> Next<Probe> + Send + Sync>;
type EnterRules = Arc<dyn Fn(&mut Probe, &State, &State) -> Enter<Probe> + Send + Sync>;
type Begin = Arc<dyn Fn(Initial<Probe>) -> Result<Initial<Probe>, InitStop> + Send + Sync>;
type Cx = MachineContext<Probe>;

#[derive(Clone)]
struct Plan {
    state: State,
    rules: Rules,
    enter: EnterRules,
    begin: Begin,
    traps: bool,
    /// Where it waits: in this callback, entering B or terminating.
    hold: Option<(&'static str, support::Gate)>,
}

/// Does as its plan says, and tells what happens to it: events as `state: type content`.
struct Probe {
    plan: Plan,
    tell: Sender<String>,
    kept: Vec<ReplyTo<u32>>,
    count: u32,
}

impl GenStateMachine for Probe {
    type Args = (Plan, Sender<String>);
    type State = State;
    type Event = Event;
    type Timeout = &'static str;

    async fn init((plan, tell): Self::Args, cx: &mut Cx) -> Result<Initial<Self>, InitStop> {
        assert_eq!(cx.event_type(), None);
        cx.trap_exit(plan.traps);
        let (state, begin) = (plan.state.clone(), plan.begin.clone());
        let probe = Probe {
            plan,
            tell,
            kept: Vec::new(),
            count: 0,
        };
        begin(Initial::new(probe, state))
    }

    async fn handle_event(&mut self, state: &State, event: Event, cx: &mut Cx) -> Next<Self> {
        if let Event::Wait(gate) = event {
            gate.await;
            return Next::keep_state();
        }
        let how = cx.event_type().expect("an event");
        let what = match &event {
            N(n) | Event::Ask(n, _) => n.to_string(),
            Event::Down(reason) => format!("Down({reason:?})"),
            Event::Exit(reason) => format!("Exit({reason:?})"),
            Event::Wait(_) => "Wait".into(),
        };
        let _ = self.tell.send(format!("{state:?}: {how:?} {what}"));
        let rules = self.plan.rules.clone();
        rules(self, state, event, cx)
    }

    async fn enter(&mut self, old: &State, state: &State, cx: &mut Cx) -> Enter<Self> {
        assert_eq!(cx.event_type(), None);
        let _ = self.tell.send(format!("enter {old:?} -> {state:?}"));
        if *state == B {
            self.hold("enter").await;
        }
        let rules = self.plan.enter.clone();
        rules(self, old, state)
    }

    fn from_down(down: Down) -> Option<Event> {
        Some(Event::Down(down.reason))
    }
    fn from_exit(exit: Exit) -> Option<Event> {
        Some(Event::Exit(exit.reason))
    }
    fn from_any(message: AnyMessage) -> Result<Event, AnyMessage> {
        match message.downcast::<u64>() {
            Ok(n) => Ok(N(n as u32)),
            Err(other) => other.downcast(),
        }
    }

    async fn terminate(&mut self, reason: ExitReason, state: &State, _: &mut Cx) {
        let reason = match reason {
            ExitReason::Panic(_) => "panic".into(),
            reason => format!("{reason:?}"),
        };
        let _ = self.tell.send(format!("{state:?}: terminate {reason}"));
        self.hold("terminate").await;
    }
}

impl Probe {
    async fn hold(&self, place: &str) {
        if let Some((at, gate)) = &self.plan.hold {
            if *at == place {
                gate.clone().await;
            }
        }
    }
}

fn plan(rules: impl Fn(&State, Event) -> Next<Probe> + Send + Sync + 'static) -> Plan {
    plan_with(move |_, state, event, _| rules(state, event))
}

fn plan_with(
    rules: impl Fn(&mut Probe, &State, Event, &Cx) -> Next<Probe> + Send + Sync + 'static,
) -> Plan {
    Plan {
        state: A,
        rules: Arc::new(rules),
        enter: Arc::new(|_, _, _| Enter::keep_state()),
        begin: Arc::new(Ok),
        traps: false,
        hold: None,
    }
}

impl Plan {
    fn enter(
        mut self,
        rules: impl Fn(&State, &State) -> Enter<Probe> + Send + Sync + 'static,
    ) -> Self {
        self.enter = Arc::new(move |_, old, state| rules(old, state));
        self
    }
    fn begin(
        mut self,
        begin: impl Fn(Initial<Probe>) -> Initial<Probe> + Send + Sync + 'static,
    ) -> Self {
        self.begin = Arc::new(move |initial| Ok(begin(initial)));
        self
    }
    fn state(mut self, state: State) -> Self {
        self.state = state;
        self
    }
    fn hold(mut self, place: &'static str, gate: support::Gate) -> Self {
        self.hold = Some((place, gate));
        self
    }
    fn traps(mut self) -> Self {
        self.traps = true;
        self
    }
}

fn start(system: &System, plan: Plan) -> (MachineRef<Probe>, Receiver<String>) {
    let (tell, told) = reports();
    let machine = system
        .start::<Machine<Probe>>((plan, tell))
        .wait_timeout(DEADLINE)
        .expect("started");
    (machine, told)
}

/// The next things the machine tells, and that they are these.
#[track_caller]
fn expect(system: &System, told: &Receiver<String>, lines: &[&str]) {
    let seen: Vec<String> = lines.iter().map(|_| next(system, told)).collect();
    assert_eq!(seen, lines);
}

/// Lets all happen that is under way, and stops the machine: there was nothing but these lines.
#[track_caller]
fn expect_last(
    system: &System,
    machine: &MachineRef<Probe>,
    told: &Receiver<String>,
    lines: &[&str],
) {
    machine
        .stop(ExitReason::Normal)
        .wait_timeout(DEADLINE)
        .expect("stopped");
    let all: Vec<String> = told.try_iter().collect();
    let (end, rest) = all.split_last().expect("it terminates");
    assert!(end.ends_with(": terminate Normal"), "{all:?}");
    assert_eq!(rest, lines);
    settled(system);
}

/// Casts these, all of them in the mailbox before the first is handled.
fn cast(machine: &MachineRef<Probe>, numbers: impl IntoIterator<Item = u32>) {
    let (waits, opens) = gate();
    machine.cast(Event::Wait(waits)).expect("unbounded");
    for n in numbers {
        machine.cast(N(n)).expect("unbounded");
    }
    opens.open();
}

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

// Timeouts.

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
