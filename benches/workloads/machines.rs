//! Casts to a state machine, beside the same to a server. What is guarded: an event costs little more
//! than a message does, whether or not it changes the state.

use noex::prelude::*;
use noex::{GenStateMachine, Initial, Machine, MachineContext, Next, ReplyTo};

use crate::support::{Row, seconds, system};

/// Casts between two calls: as many as the queue is long.
const BATCH: u64 = 1000;

struct Server(u64);
struct Add(u64);
struct Sum;

impl GenServer for Server {
    type Args = ();
    async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Server(0))
    }
}
impl HandleCast<Add> for Server {
    async fn handle_cast(&mut self, add: Add, _: &mut Context<Self>) {
        self.0 += add.0;
    }
}
impl HandleCall<Sum> for Server {
    type Reply = u64;
    async fn handle_call(&mut self, _: Sum, _: &mut Context<Self>) -> u64 {
        self.0
    }
}

/// Adds up, in one of two states.
struct Adder(u64);
#[derive(Clone, Copy, PartialEq)]
enum State {
    Even,
    Odd,
}
enum Event {
    /// The state stays.
    Add(u64),
    /// The state changes.
    Flip(u64),
    Sum(ReplyTo<u64>),
}

impl GenStateMachine for Adder {
    type Args = ();
    type State = State;
    type Event = Event;
    type Timeout = std::convert::Infallible;

    async fn init(_: (), _: &mut MachineContext<Self>) -> Result<Initial<Self>, InitStop> {
        Ok(Initial::new(Adder(0), State::Even))
    }

    async fn handle_event(
        &mut self,
        state: &State,
        event: Event,
        _: &mut MachineContext<Self>,
    ) -> Next<Self> {
        match (state, event) {
            (_, Event::Add(n)) => {
                self.0 += n;
                Next::keep_state()
            }
            (state, Event::Flip(n)) => {
                self.0 += n;
                Next::state(match state {
                    State::Even => State::Odd,
                    State::Odd => State::Even,
                })
            }
            (_, Event::Sum(reply)) => Next::keep_state().reply(reply, self.0),
        }
    }
}

/// A process casts `n` ones, and asks for the sum after each batch.
fn run(
    system: &System,
    n: u64,
    cast: impl Fn() + Send + 'static,
    sum: impl Fn() -> noex::Call<u64> + Send + 'static,
) -> f64 {
    let (send, receive) = std::sync::mpsc::channel();
    let caster = move |_: noex::Inbox<()>| async move {
        for _ in 0..n / BATCH {
            (0..BATCH).for_each(|_| cast());
            let _ = send.send(sum().await);
        }
    };
    let mut last = Ok(0);
    let took = seconds(|| {
        system.spawn(caster).expect("a process starts");
        last = receive.iter().last().expect("a sum");
    });
    assert_eq!(last, Ok(n));
    took
}

const CASTS: u64 = 2_000_000;

fn row(run: impl Fn(u64) -> f64) -> Row {
    run(CASTS / 10);
    Row::new(CASTS, run(CASTS))
}

pub(crate) fn cast_server(schedulers: usize) -> Row {
    let system = system(schedulers);
    row(|n| {
        let server = system.start::<Server>(()).wait().expect("it starts");
        let other = server.clone();
        let cast = move || drop(server.cast(Add(1)));
        run(&system, n, cast, move || other.call(Sum))
    })
}

fn machine(schedulers: usize, event: fn(u64) -> Event) -> Row {
    let system = system(schedulers);
    row(|n| {
        let start = system.start::<Machine<Adder>>(());
        let machine = start.wait().expect("it starts");
        let other = machine.clone();
        let cast = move || drop(machine.cast(event(1)));
        run(&system, n, cast, move || other.request(Event::Sum))
    })
}

pub(crate) fn cast_machine(schedulers: usize) -> Row {
    machine(schedulers, Event::Add)
}

pub(crate) fn cast_machine_flip(schedulers: usize) -> Row {
    machine(schedulers, Event::Flip)
}
