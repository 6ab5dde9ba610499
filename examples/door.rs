//! A door with a code lock: a state machine with all three kinds of timeout.
//!
//! ```text
//! cargo run --release --example door            tells the story of one evening
//! cargo run --release --example door -- --dot | dot -Tsvg > door.svg
//! cargo run --release --example door -- --mermaid
//! ```
//!
//! - A *state* timeout shuts the door again when it has stood open for a while.
//! - An *event* timeout forgets the digits of somebody who stopped typing.
//! - Timeouts *with names* ring the bell, and end the night; neither cares what else happens.
//!
//! The evening is played at 67 times its speed, and every state the door enters is checked
//! against the table that it declares.

use std::error::Error;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use noex::prelude::*;
use noex::{
    Enter, EventType, GenStateMachine, Initial, Machine, MachineContext, Next, ReplyTo, Transitions,
};

/// A second of the story.
const SECOND: Duration = Duration::from_millis(15);

struct Door {
    code: Vec<u8>,
    visitors: u32,
    began: Instant,
    tell: Sender<Told>,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    /// With the digits typed so far.
    Locked(Vec<u8>),
    Open,
    /// For the night: no code helps.
    Barred,
}

impl State {
    fn name(&self) -> &'static str {
        match self {
            State::Locked(_) => "locked",
            State::Open => "open",
            State::Barred => "barred",
        }
    }
}

enum Event {
    /// Somebody types these, one after the other.
    Code(Vec<u8>),
    Digit(u8),
    /// Wants to get in, and waits until that is possible.
    Enter(ReplyTo<u32>),
    /// The bell is to be heard that many times.
    Ring(u32),
    Bar,
    Morning,
    /// The content of timeouts.
    StoodOpen,
    StoppedTyping,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Bell,
    Night,
}

/// What the door tells the audience.
enum Told {
    Line(Duration, String),
    Entered {
        from: &'static str,
        to: &'static str,
    },
}

impl Door {
    fn say(&self, line: impl Into<String>) {
        let _ = self
            .tell
            .send(Told::Line(self.began.elapsed(), line.into()));
    }
}

impl GenStateMachine for Door {
    type Args = (Vec<u8>, Sender<Told>);
    type State = State;
    type Event = Event;
    type Timeout = Timer;

    async fn init(
        (code, tell): Self::Args,
        cx: &mut MachineContext<Self>,
    ) -> Result<Initial<Self>, InitStop> {
        cx.trap_exit(true); // so that `terminate` runs when the supervisor stops it
        let door = Door {
            code,
            visitors: 0,
            began: Instant::now(),
            tell,
        };
        Ok(Initial::new(door, State::Locked(Vec::new())))
    }

    async fn enter(
        &mut self,
        old: &State,
        state: &State,
        _: &mut MachineContext<Self>,
    ) -> Enter<Self> {
        let (from, to) = (old.name(), state.name());
        let _ = self.tell.send(Told::Entered { from, to });
        match state {
            State::Locked(digits) if digits.is_empty() => {
                self.say("the door is locked");
                Enter::keep_state()
            }
            State::Locked(digits) => {
                self.say(format!("beep ({} of {})", digits.len(), self.code.len()));
                // An event timeout: the next event, whatever it is, takes it back.
                Enter::keep_state().event_timeout(5 * SECOND, Event::StoppedTyping)
            }
            State::Open => {
                self.say("click: the door is open");
                Enter::keep_state().state_timeout(10 * SECOND, Event::StoodOpen)
            }
            State::Barred => {
                self.say("the door is barred for the night");
                Enter::keep_state().timeout(Timer::Night, 60 * SECOND, Event::Morning)
            }
        }
    }

    async fn handle_event(
        &mut self,
        state: &State,
        event: Event,
        cx: &mut MachineContext<Self>,
    ) -> Next<Self> {
        match (state, event) {
            // Inserted events: nothing comes between them.
            (_, Event::Code(digits)) => {
                digits.into_iter().fold(Next::keep_state(), |next, digit| {
                    next.next_event(Event::Digit(digit))
                })
            }
            (State::Locked(digits), Event::Digit(digit)) => {
                let digits = [digits.as_slice(), &[digit]].concat();
                if digits == self.code {
                    Next::state(State::Open)
                } else if digits.len() == self.code.len() {
                    self.say("wrong code");
                    Next::state(State::Locked(Vec::new()))
                } else {
                    Next::state(State::Locked(digits))
                }
            }
            (State::Locked(_), Event::StoppedTyping) => {
                self.say("nobody types any more");
                Next::state(State::Locked(Vec::new()))
            }
            (State::Open, Event::StoodOpen) => Next::state(State::Locked(Vec::new())),
            (State::Open, Event::Enter(reply)) => {
                self.visitors += 1;
                self.say(format!("visitor {} comes in", self.visitors));
                Next::keep_state().reply(reply, self.visitors)
            }
            // Comes again when the state has changed.
            (_, event @ Event::Enter(_)) => Next::keep_state().postpone(event),
            (_, Event::Ring(times)) => {
                let again = matches!(cx.event_type(), Some(EventType::Timeout(Timer::Bell)));
                self.say(if again { "ring (again)" } else { "ring" });
                match times {
                    0 | 1 => Next::keep_state(),
                    times => {
                        let event = Event::Ring(times - 1);
                        Next::keep_state().timeout(Timer::Bell, 2 * SECOND, event)
                    }
                }
            }
            (_, Event::Bar) => Next::state(State::Barred),
            (State::Barred, Event::Morning) => Next::state(State::Locked(Vec::new())),
            (State::Barred, Event::Digit(_)) => {
                self.say("no code helps");
                Next::keep_state()
            }
            (State::Open, Event::Digit(_)) => Next::keep_state(),
            // A timeout of a state that was left would not come; of one with a name it might.
            (_, Event::StoodOpen | Event::StoppedTyping | Event::Morning) => Next::keep_state(),
        }
    }

    async fn terminate(&mut self, _: ExitReason, state: &State, _: &mut MachineContext<Self>) {
        let visitors = self.visitors;
        self.say(format!(
            "dismantled while {}, after {visitors} visitors",
            state.name()
        ));
    }

    fn transitions() -> Transitions {
        Transitions::new()
            .initial("locked")
            .transition("locked", "digit", "locked")
            .transition("locked", "stopped typing (event timeout)", "locked")
            .transition("locked", "last digit", "open")
            .transition("open", "stood open (state timeout)", "locked")
            .transition("locked", "bar", "barred")
            .transition("open", "bar", "barred")
            .transition("barred", "morning (timeout with a name)", "locked")
    }
}

/// Listens to the door: prints what it says, and checks where it goes.
struct Audience {
    told: Receiver<Told>,
    said: Vec<String>,
    table: Transitions,
}

impl Audience {
    /// Until the door has said `line`.
    fn until(&mut self, line: &str) -> Result<(), Box<dyn Error>> {
        loop {
            match self.told.recv_timeout(Duration::from_secs(60))? {
                Told::Line(at, said) => {
                    let seconds = at.as_secs_f64() / SECOND.as_secs_f64();
                    println!("{seconds:>6.1} s  {said}");
                    let found = said == line;
                    self.said.push(said);
                    if found {
                        return Ok(());
                    }
                }
                Told::Entered { from, to } => {
                    if !self.table.allows(from, to) {
                        return Err(format!("from {from} to {to} is not in the table").into());
                    }
                }
            }
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1).as_deref() {
        Some("--dot") => {
            print!("{}", Door::transitions().to_dot());
            return Ok(());
        }
        Some("--mermaid") => {
            print!("{}", Door::transitions().to_mermaid());
            return Ok(());
        }
        Some(other) => return Err(format!("unknown option {other}").into()),
        None => {}
    }
    let (tell, told) = channel();
    let mut audience = Audience {
        told,
        said: Vec::new(),
        table: Door::transitions(),
    };
    let system = System::new()?;
    Supervisor::new(Strategy::OneForOne)
        .child(ChildSpec::server::<Machine<Door>>("door", (vec![4, 7, 1], tell)).name("door"))
        .start(&system)
        .wait()?;
    let door: Named<Machine<Door>> = system.server("door");
    let code = |digits: &[u8]| door.cast(Event::Code(digits.to_vec()));
    audience.until("the door is locked")?;

    // Somebody begins to type, and goes away: the event timeout.
    code(&[4, 7])?;
    audience.until("nobody types any more")?;
    audience.until("the door is locked")?;
    // Somebody who does not know the code.
    code(&[1, 2, 3])?;
    audience.until("wrong code")?;
    audience.until("the door is locked")?;
    // Two visitors ring and wait, and are let in by one who knows the code. The door shuts after them:
    // the state timeout.
    let visitors = [door.request(Event::Enter), door.request(Event::Enter)];
    door.cast(Event::Ring(3))?;
    code(&[4, 7, 1])?;
    for (number, visitor) in (1..).zip(visitors) {
        assert_eq!(visitor.wait()?, number);
    }
    audience.until("the door is locked")?;
    // Who comes by night waits until the morning: the timeout with a name.
    let late = door.request(Event::Enter);
    door.cast(Event::Bar)?;
    code(&[4, 7, 1])?;
    audience.until("the door is barred for the night")?;
    audience.until("the door is locked")?;
    code(&[4, 7, 1])?;
    assert_eq!(late.wait()?, 3);
    audience.until("click: the door is open")?;
    audience.until("the door is locked")?;
    system.shutdown().wait()?;
    audience.until("dismantled while locked, after 3 visitors")?;

    // The bell rang three times, whatever else happened, and nobody got in by night.
    let times = |line: &str| audience.said.iter().filter(|said| *said == line).count();
    assert_eq!((times("ring"), times("ring (again)")), (1, 2));
    assert_eq!((times("no code helps"), times("wrong code")), (3, 1));
    assert_eq!(times("click: the door is open"), 2);
    println!("as it should be");
    Ok(())
}
