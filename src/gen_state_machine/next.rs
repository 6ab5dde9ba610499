//! What the callbacks of a machine return: where it goes, and what is to be done on the way.

use std::fmt;
use std::time::Duration;

use super::engine::{Change, Typed};
use super::timeouts::{Setting, TimeoutId, When};
use super::{EventType, GenStateMachine};
use crate::exit::ExitReason;
use crate::gen_server::ReplyTo;

/// What a machine of that type makes of an event.
pub(crate) type ChangeOf<M> = Change<
    <M as GenStateMachine>::State,
    <M as GenStateMachine>::Event,
    <M as GenStateMachine>::Timeout,
>;

/// Something to be done on the way.
enum Action<M: GenStateMachine> {
    Reply(Box<dyn FnOnce() + Send>),
    Insert(Typed<M::Event, M::Timeout>),
    Set(TimeoutId<M::Timeout>, Setting<M::Event>),
}

/// What is to be done on the way, in the order in which it was given. Most events come to nothing, so this
/// is one list, which costs nothing as long as it is empty.
pub(crate) struct Actions<M: GenStateMachine>(Vec<Action<M>>);

impl<M: GenStateMachine> Actions<M> {
    fn new() -> Self {
        Actions(Vec::new())
    }

    fn add(&mut self, action: Action<M>) {
        if self.0.capacity() == 0 {
            self.0.reserve_exact(1);
        }
        self.0.push(action);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn inserts(&self) -> usize {
        let inserts = |action: &&Action<M>| matches!(action, Action::Insert(_));
        self.0.iter().filter(inserts).count()
    }

    /// Sends the replies; the rest becomes part of the change.
    #[inline]
    pub(crate) fn begin(self, change: &mut ChangeOf<M>) {
        if !self.0.is_empty() {
            self.begin_some(change);
        }
    }

    fn begin_some(self, change: &mut ChangeOf<M>) {
        for action in self.0 {
            match action {
                Action::Reply(reply) => reply(),
                Action::Insert(event) => change.inserted.push(event),
                Action::Set(id, setting) => change.timeouts.push((id, setting)),
            }
        }
    }
}

/// Where a machine goes.
pub(crate) enum To<S> {
    Keep,
    Repeat,
    State(S),
    Stop(ExitReason),
}

impl<S> To<S> {
    fn name(&self) -> &'static str {
        match self {
            To::Keep => "keep_state",
            To::Repeat => "repeat_state",
            To::State(_) => "next_state",
            To::Stop(_) => "stop",
        }
    }
}

/// What an event comes to: the result of [`handle_event`](GenStateMachine::handle_event). Made by one
/// of [`state`](Self::state), [`keep_state`](Self::keep_state), [`repeat_state`](Self::repeat_state)
/// and [`stop`](Self::stop); the other methods add what is to be done. OTP: what a state callback
/// returns.
///
/// # Timeouts
/// There are three kinds. Each has an event, which comes when its time is over; starting one that
/// runs starts it anew. One that was taken back never comes, even if its time was over before.
///
/// | kind | OTP | how many | taken back by |
/// |---|---|---|---|
/// | state | `state_timeout` | one | a change of state |
/// | event | `timeout` | one | any event |
/// | by name | `{timeout, Name}` | one of each name | nothing but `cancel_timeout` |
///
/// Times are counted on the system's clock, from the moment the callbacks of the event are done; `.._at` gives a time of
/// that clock ([`Handle::now`](crate::Handle::now)) instead. A time of zero needs no timer: the event comes as soon as nothing else is
/// queued in the machine, ahead of all messages. A time that is past already comes behind the
/// messages that are there. `update_..` changes the event and leaves the time; if the timeout does not
/// run, the event comes at once, as with a time of zero. Of several settings of the same timeout in
/// one transition the last counts alone.
#[must_use = "this is what happens next only if the callback returns it"]
pub struct Next<M: GenStateMachine> {
    pub(crate) to: To<M::State>,
    pub(crate) postponed: Option<M::Event>,
    pub(crate) actions: Actions<M>,
}

impl<M: GenStateMachine> fmt::Debug for Next<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next")
            .field("to", &self.to.name())
            .field("postpones", &self.postponed.is_some())
            .field("inserts", &self.actions.inserts())
            .finish_non_exhaustive()
    }
}

impl<M: GenStateMachine> Next<M> {
    fn new(to: To<M::State>) -> Self {
        Next {
            to,
            postponed: None,
            actions: Actions::new(),
        }
    }

    /// Goes to `state`. If it is equal to the present one this is [`keep_state`](Self::keep_state).
    /// OTP: `{next_state, State, Data}`.
    pub fn state(state: M::State) -> Self {
        Self::new(To::State(state))
    }

    /// Stays in the state: no `enter`, nothing postponed comes again, the state timeout runs on. OTP:
    /// `keep_state`, `keep_state_and_data`.
    pub fn keep_state() -> Self {
        Self::new(To::Keep)
    }

    /// As [`keep_state`](Self::keep_state), but [`enter`](GenStateMachine::enter) is called again.
    /// OTP: `repeat_state`.
    pub fn repeat_state() -> Self {
        Self::new(To::Repeat)
    }

    /// Ends the machine with `reason`: the [replies](Self::reply) are sent, then `terminate` runs,
    /// then links and monitors hear of it. Timeouts and inserted events are not looked at. OTP:
    /// `{stop, Reason}`, `{stop_and_reply, Reason, Replies}`.
    pub fn stop(reason: ExitReason) -> Self {
        Self::new(To::Stop(reason))
    }

    /// Keeps the event, as a rule the one just handled, until the state changes; then it comes again, as the same type of
    /// event, ahead of what is queued. Postponed events keep their order. OTP: `postpone`.
    ///
    /// One event can be postponed at a time; given twice, the last counts.
    pub fn postpone(mut self, event: M::Event) -> Self {
        self.postponed = Some(event);
        self
    }

    /// Inserts an event, of the type [`Internal`](EventType::Internal), to come before any other, also
    /// before postponed ones. Several come in the order of inserting. OTP: `{next_event, internal,
    /// Content}`.
    pub fn next_event(self, event: M::Event) -> Self {
        self.next_event_as(EventType::Internal, event)
    }

    /// As [`next_event`](Self::next_event), with a type of its own. OTP: `{next_event, Type, Content}`.
    pub fn next_event_as(mut self, event_type: EventType<M::Timeout>, event: M::Event) -> Self {
        self.actions.add(Action::Insert((event_type, event)));
        self
    }
}

/// What [`enter`](GenStateMachine::enter) comes to. The state stays, and no event can be postponed or
/// inserted. About timeouts see [`Next`]. OTP: `state_enter_result()`.
#[must_use = "this is what happens next only if the callback returns it"]
pub struct Enter<M: GenStateMachine> {
    pub(crate) to: EnterTo,
    pub(crate) actions: Actions<M>,
}

#[derive(Debug)]
pub(crate) enum EnterTo {
    Keep,
    Repeat,
    Stop(ExitReason),
}

impl<M: GenStateMachine> fmt::Debug for Enter<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enter")
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}

impl<M: GenStateMachine> Enter<M> {
    fn new(to: EnterTo) -> Self {
        Enter {
            to,
            actions: Actions::new(),
        }
    }

    /// Goes on.
    pub fn keep_state() -> Self {
        Self::new(EnterTo::Keep)
    }

    /// Calls `enter` once more, with the same arguments. OTP: `repeat_state`.
    pub fn repeat_state() -> Self {
        Self::new(EnterTo::Repeat)
    }

    /// Ends the machine, as [`Next::stop`]. `terminate` gets the new state.
    pub fn stop(reason: ExitReason) -> Self {
        Self::new(EnterTo::Stop(reason))
    }
}

/// The first state of a machine, and its data: what [`init`](GenStateMachine::init) makes. About
/// timeouts see [`Next`]. OTP: `{ok, State, Data, Actions}`.
#[must_use = "this is what happens next only if the callback returns it"]
pub struct Initial<M: GenStateMachine> {
    pub(crate) data: M,
    pub(crate) state: M::State,
    pub(crate) actions: Actions<M>,
}

impl<M: GenStateMachine> fmt::Debug for Initial<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Initial")
            .field("inserts", &self.actions.inserts())
            .finish_non_exhaustive()
    }
}

impl<M: GenStateMachine> Initial<M> {
    /// Begins in `state`, with `data`.
    pub fn new(data: M, state: M::State) -> Self {
        Initial {
            data,
            state,
            actions: Actions::new(),
        }
    }

    /// Inserts an event that comes before all messages; see [`Next::next_event`].
    pub fn next_event(self, event: M::Event) -> Self {
        self.next_event_as(EventType::Internal, event)
    }

    /// As [`next_event`](Self::next_event), with a type of its own.
    pub fn next_event_as(mut self, event_type: EventType<M::Timeout>, event: M::Event) -> Self {
        self.actions.add(Action::Insert((event_type, event)));
        self
    }
}

/// The actions that all three have.
macro_rules! actions {
    ($name:ident) => {
        impl<M: GenStateMachine> $name<M> {
            /// Answers a call when the callback is done, ahead of all that follows. OTP: `{reply,
            /// From, Reply}`. ([`ReplyTo::reply`] answers at once.)
            pub fn reply<R: Send + 'static>(mut self, to: ReplyTo<R>, reply: R) -> Self {
                let reply = Box::new(move || to.reply(reply));
                self.actions.add(Action::Reply(reply));
                self
            }

            /// Starts the state timeout. OTP: `{state_timeout, Time, Content}`.
            pub fn state_timeout(self, after: Duration, event: M::Event) -> Self {
                self.set(TimeoutId::State, Setting::Start(When::After(after), event))
            }

            /// Starts the state timeout, to be over at `at` of the system's clock. OTP:
            /// `{state_timeout, Time, Content, [{abs, true}]}`.
            pub fn state_timeout_at(self, at: Duration, event: M::Event) -> Self {
                self.set(TimeoutId::State, Setting::Start(When::At(at), event))
            }

            /// Changes the event of the state timeout. OTP: `{state_timeout, update, Content}`.
            pub fn update_state_timeout(self, event: M::Event) -> Self {
                self.set(TimeoutId::State, Setting::Update(event))
            }

            /// Takes the state timeout back. OTP: `{state_timeout, cancel}`.
            pub fn cancel_state_timeout(self) -> Self {
                self.set(TimeoutId::State, Setting::Cancel)
            }

            /// Starts the event timeout: `event` comes unless another event does within `after`. OTP:
            /// `{timeout, Time, Content}`.
            pub fn event_timeout(self, after: Duration, event: M::Event) -> Self {
                self.set(TimeoutId::Event, Setting::Start(When::After(after), event))
            }

            /// Starts the event timeout, to be over at `at` of the system's clock. OTP: `{timeout,
            /// Time, Content, [{abs, true}]}`.
            pub fn event_timeout_at(self, at: Duration, event: M::Event) -> Self {
                self.set(TimeoutId::Event, Setting::Start(When::At(at), event))
            }

            /// Changes the event of the event timeout; as that was taken back by the event being
            /// handled, the new one comes at once. OTP: `{timeout, update, Content}`.
            pub fn update_event_timeout(self, event: M::Event) -> Self {
                self.set(TimeoutId::Event, Setting::Update(event))
            }

            /// Takes the event timeout back, if this transition has started it. OTP: `{timeout,
            /// cancel}`.
            pub fn cancel_event_timeout(self) -> Self {
                self.set(TimeoutId::Event, Setting::Cancel)
            }

            /// Starts the timeout of that name, which no event and no change of state takes back. OTP:
            /// `{{timeout, Name}, Time, Content}`.
            pub fn timeout(self, name: M::Timeout, after: Duration, event: M::Event) -> Self {
                let start = Setting::Start(When::After(after), event);
                self.set(TimeoutId::Named(name), start)
            }

            /// Starts the timeout of that name, to be over at `at` of the system's clock. OTP:
            /// `{{timeout, Name}, Time, Content, [{abs, true}]}`.
            pub fn timeout_at(self, name: M::Timeout, at: Duration, event: M::Event) -> Self {
                let start = Setting::Start(When::At(at), event);
                self.set(TimeoutId::Named(name), start)
            }

            /// Changes the event of the timeout of that name. OTP: `{{timeout, Name}, update,
            /// Content}`.
            pub fn update_timeout(self, name: M::Timeout, event: M::Event) -> Self {
                self.set(TimeoutId::Named(name), Setting::Update(event))
            }

            /// Takes the timeout of that name back. OTP: `{{timeout, Name}, cancel}`.
            pub fn cancel_timeout(self, name: M::Timeout) -> Self {
                self.set(TimeoutId::Named(name), Setting::Cancel)
            }

            fn set(mut self, id: TimeoutId<M::Timeout>, setting: Setting<M::Event>) -> Self {
                self.actions.add(Action::Set(id, setting));
                self
            }
        }
    };
}

actions!(Next);
actions!(Enter);
actions!(Initial);
