//! What happens in which order, decided apart from who does it: the queue of events, what is
//! postponed, which timeouts run, and the state. No process, no clock, no callback.
//!
//! ```text
//!   receive, fired ──▶ queue ──▶ next ──▶ (the owner's callbacks) ──▶ commit ──▶ Commands
//!                        ▲                                              │
//!                        └──────── inserted, postponed ◀────────────────┘
//! ```
//!
//! # Invariants
//! 1. Messages are received, and timers heard, only when `next` gave `None`: the queue is empty then.
//! 2. After `next` gave an event, `commit` (or the end of the machine) comes before the next `next`.
//! 3. `postponed` is oldest first, and all in it were postponed in the present state.

use std::collections::VecDeque;

use super::EventType;
use super::timeouts::{Command, Settings, TimeoutId, Timeouts};

#[cfg(test)]
mod tests;

/// An event and how it came.
pub(crate) type Typed<E, N> = (EventType<N>, E);

/// What one event comes to, its callbacks done.
#[derive(Debug)]
pub(crate) struct Change<S, E, N> {
    /// The new state, if it is another; [`Engine::is_change`].
    pub(crate) state: Option<S>,
    pub(crate) postponed: Option<Typed<E, N>>,
    pub(crate) inserted: Vec<Typed<E, N>>,
    pub(crate) timeouts: Settings<E, N>,
}

impl<S, E, N> Change<S, E, N> {
    /// Nothing but a new state, or not even that.
    pub(crate) fn new(state: Option<S>, postponed: Option<Typed<E, N>>) -> Self {
        Change {
            state,
            postponed,
            inserted: Vec::new(),
            timeouts: Vec::new(),
        }
    }
}

/// `T` is what the owner knows a timer by.
#[derive(Debug)]
pub(crate) struct Engine<S, E, N, T> {
    state: S,
    queue: VecDeque<Typed<E, N>>,
    postponed: Vec<Typed<E, N>>,
    timeouts: Timeouts<E, N, T>,
}

impl<S: PartialEq, E, N: Clone + Ord, T: Copy> Engine<S, E, N, T> {
    pub(crate) fn new(state: S) -> Self {
        Engine {
            state,
            queue: VecDeque::new(),
            postponed: Vec::new(),
            timeouts: Timeouts::new(),
        }
    }

    pub(crate) fn state(&self) -> &S {
        &self.state
    }

    /// As [`state`](Self::state), to be replaced as if it had been the state all along.
    pub(crate) fn state_mut(&mut self) -> &mut S {
        &mut self.state
    }

    /// Whether `state` is another than the present.
    pub(crate) fn is_change(&self, state: &S) -> bool {
        *state != self.state
    }

    /// An event came from outside.
    pub(crate) fn receive(&mut self, event: Typed<E, N>) {
        self.queue.push_back(event);
    }

    /// A timer fired. `false`: its timeout was taken back before, and this is nothing.
    #[must_use = "`false`: there is no event"]
    pub(crate) fn fired(&mut self, id: TimeoutId<N>, number: u64) -> bool {
        let Some(event) = self.timeouts.fired(&id, number) else {
            return false;
        };
        self.receive((id.into(), event));
        true
    }

    /// The timer that a [`Command::Start`] asked for.
    pub(crate) fn armed(&mut self, id: &TimeoutId<N>, number: u64, timer: T) {
        self.timeouts.armed(id, number, timer);
    }

    /// The next event; `None`: wait for a message or a timer.
    pub(crate) fn next(&mut self) -> Option<Typed<E, N>> {
        self.queue.pop_front().or_else(|| {
            let (id, event) = self.timeouts.next_zero()?;
            Some((id.into(), event))
        })
    }

    /// Whether there is no next event.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && !self.timeouts.has_zero()
    }

    /// Whether a transition without anything in it changes nothing.
    pub(crate) fn keeps_as_it_is(&self) -> bool {
        !self.timeouts.has_event()
    }

    /// The transition that an event comes to. What the owner is to do, in this order.
    #[must_use = "these timers must be started and stopped"]
    #[inline]
    pub(crate) fn commit(&mut self, change: Change<S, E, N>) -> Vec<Command<N, T>> {
        // Most events come to little: what is not there costs a look.
        let mut commands = Vec::new();
        if let Some(postponed) = change.postponed {
            self.postponed.push(postponed);
        }
        if let Some(state) = change.state {
            self.state = state;
            if !self.postponed.is_empty() {
                let postponed = std::mem::take(&mut self.postponed);
                self.put_first(postponed);
            }
            self.timeouts.cancel_state(&mut commands);
        }
        self.timeouts.cancel_event(&mut commands);
        if !change.timeouts.is_empty() {
            self.timeouts.set(change.timeouts, &mut commands);
        }
        if !change.inserted.is_empty() {
            self.put_first(change.inserted);
        }
        commands
    }

    /// The machine ends in `state`, with the event that it handled.
    pub(crate) fn end(&mut self, state: Option<S>, postponed: Option<Typed<E, N>>) {
        self.postponed.extend(postponed);
        if let Some(state) = state {
            self.state = state;
        }
    }

    /// The timers that run.
    pub(crate) fn timers(&self) -> impl Iterator<Item = T> {
        self.timeouts.timers()
    }

    fn put_first(&mut self, events: Vec<Typed<E, N>>) {
        for event in events.into_iter().rev() {
            self.queue.push_front(event);
        }
    }
}
