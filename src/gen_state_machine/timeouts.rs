//! Which timeouts of a machine run: the event timeout, the state timeout, and one of each name.
//!
//! Nothing here knows a clock. Whoever owns this is told by [`Command`]s which timers to start and
//! stop, and comes back with what they are ([`Timeouts::armed`]) and that they have fired
//! ([`Timeouts::fired`]).
//!
//! # Invariants
//! 1. `zero` holds the ids of exactly those running timeouts whose timer is [`Timer::Zero`], each
//!    once, in the order of their starts.
//! 2. A timeout that was cancelled or started again never fires: it is gone, or has another number.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::EventType;

/// Names a timeout.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TimeoutId<N> {
    Event,
    State,
    Named(N),
}

impl<N> From<TimeoutId<N>> for EventType<N> {
    fn from(id: TimeoutId<N>) -> Self {
        match id {
            TimeoutId::Event => EventType::EventTimeout,
            TimeoutId::State => EventType::StateTimeout,
            TimeoutId::Named(name) => EventType::Timeout(name),
        }
    }
}

/// When a timeout is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// So long from now.
    After(Duration),
    /// At that time of the system's clock.
    At(Duration),
}

impl When {
    /// Such a timeout has no timer: its event is next when nothing else is queued. An absolute time
    /// has one even if it is past, and so comes behind what is in the mailbox (as in OTP, where only
    /// 0 itself is the exception).
    fn is_zero(self) -> bool {
        matches!(self, When::After(Duration::ZERO) | When::At(Duration::ZERO))
    }
}

/// What is to be done about a timeout.
#[derive(Debug, PartialEq)]
pub(crate) enum Setting<E> {
    /// Start it, or start it again.
    Start(When, E),
    /// Another event, at the same time; at once, if it does not run.
    Update(E),
    Cancel,
}

/// What one transition asks for, in order.
pub(crate) type Settings<E, N> = Vec<(TimeoutId<N>, Setting<E>)>;

/// What the owner is to do.
#[derive(Debug, PartialEq)]
pub(crate) enum Command<N, T> {
    /// Start a timer that comes back with `fired(id, number)`, and call `armed`.
    Start {
        id: TimeoutId<N>,
        number: u64,
        when: When,
    },
    Stop(T),
}

#[derive(Debug)]
enum Timer<T> {
    /// None: see [`When::is_zero`].
    Zero,
    /// The owner has been told to start it.
    Wanted,
    Armed(T),
}

#[derive(Debug)]
struct Running<E, T> {
    number: u64,
    timer: Timer<T>,
    event: E,
}

#[derive(Debug)]
pub(crate) struct Timeouts<E, N, T> {
    event: Option<Running<E, T>>,
    state: Option<Running<E, T>>,
    named: BTreeMap<N, Running<E, T>>,
    zero: VecDeque<TimeoutId<N>>,
    numbers: u64,
}

impl<E, N: Clone + Ord, T: Copy> Timeouts<E, N, T> {
    pub(crate) fn new() -> Self {
        Timeouts {
            event: None,
            state: None,
            named: BTreeMap::new(),
            zero: VecDeque::new(),
            numbers: 0,
        }
    }

    /// Does what one transition asks for; of several settings of the same timeout the last.
    pub(crate) fn set(&mut self, settings: Settings<E, N>, commands: &mut Vec<Command<N, T>>) {
        if settings.len() > 1 {
            let counts = last_of_each(&settings);
            let counted = settings.into_iter().zip(counts);
            for (setting, _) in counted.filter(|(_, counts)| *counts) {
                self.set_one(setting, commands);
            }
        } else {
            for setting in settings {
                self.set_one(setting, commands);
            }
        }
    }

    fn set_one(
        &mut self,
        (id, setting): (TimeoutId<N>, Setting<E>),
        commands: &mut Vec<Command<N, T>>,
    ) {
        match setting {
            Setting::Cancel => self.cancel(&id, commands),
            Setting::Update(event) => match self.find(&id) {
                Some(running) => running.event = event,
                None => self.start(id, When::After(Duration::ZERO), event, commands),
            },
            Setting::Start(when, event) => {
                self.cancel(&id, commands);
                self.start(id, when, event, commands);
            }
        }
    }

    /// Starts a timeout that does not run.
    fn start(&mut self, id: TimeoutId<N>, when: When, event: E, commands: &mut Vec<Command<N, T>>) {
        self.numbers += 1;
        let number = self.numbers;
        let timer = if when.is_zero() {
            self.zero.push_back(id.clone());
            Timer::Zero
        } else {
            let id = id.clone();
            commands.push(Command::Start { id, number, when });
            Timer::Wanted
        };
        let running = Running {
            number,
            timer,
            event,
        };
        match id {
            TimeoutId::Event => self.event = Some(running),
            TimeoutId::State => self.state = Some(running),
            TimeoutId::Named(name) => {
                self.named.insert(name, running);
            }
        }
    }

    /// Takes the event timeout back, if it runs.
    #[inline]
    pub(crate) fn cancel_event(&mut self, commands: &mut Vec<Command<N, T>>) {
        if self.has_event() {
            self.cancel(&TimeoutId::Event, commands);
        }
    }

    /// Takes the state timeout back, if it runs.
    #[inline]
    pub(crate) fn cancel_state(&mut self, commands: &mut Vec<Command<N, T>>) {
        if self.state.is_some() {
            self.cancel(&TimeoutId::State, commands);
        }
    }

    /// Takes a timeout back, if it runs.
    pub(crate) fn cancel(&mut self, id: &TimeoutId<N>, commands: &mut Vec<Command<N, T>>) {
        if let Some(running) = self.take(id) {
            match running.timer {
                Timer::Zero => self.zero.retain(|other| other != id),
                // Not armed: if it should fire all the same, it has no timeout any more.
                Timer::Wanted => {}
                Timer::Armed(timer) => commands.push(Command::Stop(timer)),
            }
        }
    }

    /// The timer that the command with that number asked for.
    pub(crate) fn armed(&mut self, id: &TimeoutId<N>, number: u64, timer: T) {
        if let Some(running) = self.find(id).filter(|running| running.number == number) {
            running.timer = Timer::Armed(timer);
        }
    }

    /// That timer has fired: its event, unless it was cancelled or started again since.
    pub(crate) fn fired(&mut self, id: &TimeoutId<N>, number: u64) -> Option<E> {
        self.find(id).filter(|running| running.number == number)?;
        self.take(id).map(|running| running.event)
    }

    /// Whether the event timeout runs.
    pub(crate) fn has_event(&self) -> bool {
        self.event.is_some()
    }

    pub(crate) fn has_zero(&self) -> bool {
        !self.zero.is_empty()
    }

    /// The first timeout of zero.
    pub(crate) fn next_zero(&mut self) -> Option<(TimeoutId<N>, E)> {
        let id = self.zero.pop_front()?;
        // Invariant 1.
        let event = self.take(&id)?.event;
        Some((id, event))
    }

    /// The timers that run.
    pub(crate) fn timers(&self) -> impl Iterator<Item = T> {
        let running = self.event.iter().chain(&self.state);
        running
            .chain(self.named.values())
            .filter_map(|running| match running.timer {
                Timer::Armed(timer) => Some(timer),
                Timer::Zero | Timer::Wanted => None,
            })
    }

    fn find(&mut self, id: &TimeoutId<N>) -> Option<&mut Running<E, T>> {
        match id {
            TimeoutId::Event => self.event.as_mut(),
            TimeoutId::State => self.state.as_mut(),
            TimeoutId::Named(name) => self.named.get_mut(name),
        }
    }

    fn take(&mut self, id: &TimeoutId<N>) -> Option<Running<E, T>> {
        match id {
            TimeoutId::Event => self.event.take(),
            TimeoutId::State => self.state.take(),
            TimeoutId::Named(name) => self.named.remove(name),
        }
    }
}

/// For each setting whether no later one is of the same timeout.
fn last_of_each<E, N: Ord>(settings: &[(TimeoutId<N>, Setting<E>)]) -> Vec<bool> {
    let mut seen = BTreeSet::new();
    let mut counts: Vec<bool> = settings
        .iter()
        .rev()
        .map(|(id, _)| seen.insert(id))
        .collect();
    counts.reverse();
    counts
}
