//! State machines: servers that are in one of several states, and for which the same event means
//! something else in each. OTP: `gen_statem`.
//!
//! A machine is a type that implements [`GenStateMachine`]: the type itself is the *data*, what
//! [`State`](GenStateMachine::State) it is in is kept beside it. [`Machine<M>`](Machine) is the server
//! that runs it, so everything that takes a [`GenServer`](crate::GenServer) takes a machine: `system.start::<Machine<Door>>(..)`,
//! names, [`ChildSpec::server`](crate::ChildSpec::server), monitors, timers, `stop`.
//!
//! # Why one event type
//! A server has a handler for each type of message. A machine is read the other way: *in this state,
//! what does each event do?* So it has one enum of events, and its whole behaviour is one `match` on state and event,
//! which the compiler checks to be complete. A call is an event with a
//! [`ReplyTo<R>`](crate::ReplyTo) in it, so each has a reply type of its own that is checked where the call is
//! made; the token can be kept, postponed with its event, and answered by any later event. Down, exit
//! and untyped messages become events by [`from_down`](GenStateMachine::from_down) and its kin, and
//! the content of a timeout is an event. How an event came is [`MachineContext::event_type`].
//!
//! ```text
//!   mailbox ──▶ queue ──▶ handle_event ──▶ Next ──▶ [enter ──▶ Enter] ──▶ transition ─┐
//!                ▲ ▲ ▲                                                                │
//!                │ │ └── inserted events                                              │
//!                │ └──── postponed events, if the state changed                       │
//!                └────── timeouts of zero, when nothing else is queued ◀──────────────┘
//! ```
//!
//! # A transition, step by step
//! 1. The [`Next`] of `handle_event` is looked at: its replies are sent.
//! 2. If the state changes, or [`repeat_state`](Next::repeat_state) was asked for: [`enter`](GenStateMachine::enter);
//!    its replies are sent, its timeouts come after those of `Next`.
//! 3. The new state is there. On a change the postponed events are queued again, oldest first, ahead
//!    of what is queued already, and the state timeout is off.
//! 4. The event timeout is off, whatever the event was.
//! 5. Timeouts are started, updated and cancelled; of several for the same one the last counts.
//! 6. Inserted events are queued ahead of all others, in the order of inserting.
//! 7. The next event: the first of the queue; else the first timeout of zero; else the next message.
//!
//! A state is *changed* if the new one is not equal (`PartialEq`, payload included) to the old. What must not count as a
//! change belongs in the data.
//!
//! | OTP | here |
//! |---|---|
//! | `init/1` | [`GenStateMachine::init`], giving [`Initial`] |
//! | `handle_event/4`, `Module:StateName/3` | [`GenStateMachine::handle_event`] |
//! | `{next_state, S, D, Actions}`, `{keep_state, ..}`, `{repeat_state, ..}` | [`Next::state`], [`Next::keep_state`], [`Next::repeat_state`] |
//! | `{stop, R, D}`, `{stop_and_reply, R, Replies}` | [`Next::stop`], and [`reply`](Next::reply) |
//! | `postpone`, `{next_event, T, C}`, `{reply, F, R}` | [`Next::postpone`], [`Next::next_event`], [`Next::reply`] |
//! | `{state_timeout, T, C}`, `{timeout, T, C}`, `{{timeout, N}, T, C}` | [`Next::state_timeout`], [`Next::event_timeout`], [`Next::timeout`] |
//! | the same with `[{abs, true}]`, `update`, `cancel` | `.._at`, `update_..`, `cancel_..` |
//! | `state_enter`, `Module:State(enter, Old, D)` | [`GenStateMachine::enter`], giving [`Enter`] |
//! | `gen_statem:call/2,3` | [`ServerRef::request`](crate::ServerRef::request) |
//! | `gen_statem:cast/2`, `Pid ! Event` | [`ServerRef::cast`](crate::ServerRef::cast), [`ServerRef::send`](crate::ServerRef::send) |
//! | `terminate/3` | [`GenStateMachine::terminate`] |

mod context;
mod engine;
mod machine;
mod next;
mod request;
mod timeouts;
mod transitions;

use std::future::Future;

pub use self::context::MachineContext;
pub use self::machine::Machine;
pub use self::next::{Enter, Initial, Next};
pub use self::transitions::{Transition, Transitions};
use crate::exit::ExitReason;
use crate::gen_server::{AnyMessage, Down, Exit, InitStop, ServerRef};

/// A reference to a machine: a [`ServerRef`] to the server that runs it.
pub type MachineRef<M> = ServerRef<Machine<M>>;

/// How an event came to a machine. `N` is the type of the names of its timeouts. OTP: `event_type()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventType<N> {
    /// By [`request`](crate::ServerRef::request). OTP: `{call, From}`.
    Call,
    /// By [`cast`](crate::ServerRef::cast).
    Cast,
    /// By a plain send, a timer of the user's, or a `Down` or `Exit`.
    Info,
    /// Inserted by the machine itself: [`Next::next_event`].
    Internal,
    /// The event timeout. OTP: `timeout`.
    EventTimeout,
    /// The state timeout.
    StateTimeout,
    /// The timeout of that name. OTP: `{timeout, Name}`.
    Timeout(N),
}

/// A state machine; the implementing type is its data. OTP: the behaviour `gen_statem`, with
/// `handle_event_function` and `state_enter`.
///
/// All callbacks are `async`; one that waits parks the process, which takes no other event until it is done. A panic in a
/// callback ends the machine with [`ExitReason::Panic`](crate::ExitReason::Panic), and nothing else.
///
/// ```
/// use noex::prelude::*;
/// use noex::{EventType, GenStateMachine, Initial, Machine, MachineContext, Next, ReplyTo};
/// use std::time::Duration;
///
/// /// A lamp that goes out by itself.
/// struct Lamp {
///     switched_on: u32,
/// }
/// #[derive(PartialEq)]
/// enum Light {
///     Off,
///     On,
/// }
/// enum Event {
///     Press,
///     Dark,
///     Count(ReplyTo<u32>),
/// }
///
/// impl GenStateMachine for Lamp {
///     type Args = ();
///     type State = Light;
///     type Event = Event;
///     type Timeout = std::convert::Infallible; // no timeouts with a name
///
///     async fn init(_: (), _: &mut MachineContext<Self>) -> Result<Initial<Self>, InitStop> {
///         Ok(Initial::new(Lamp { switched_on: 0 }, Light::Off))
///     }
///
///     async fn handle_event(&mut self, state: &Light, event: Event, _: &mut MachineContext<Self>) -> Next<Self> {
///         match (state, event) {
///             (Light::Off, Event::Press) => {
///                 self.switched_on += 1;
///                 Next::state(Light::On).state_timeout(Duration::from_secs(60), Event::Dark)
///             }
///             (Light::On, Event::Press | Event::Dark) => Next::state(Light::Off),
///             (Light::Off, Event::Dark) => Next::keep_state(),
///             (_, Event::Count(reply)) => Next::keep_state().reply(reply, self.switched_on),
///         }
///     }
/// }
///
/// let system = System::new()?;
/// let lamp = system.start::<Machine<Lamp>>(()).wait()?;
/// lamp.cast(Event::Press)?;
/// assert_eq!(lamp.request(Event::Count).wait()?, 1);
/// # Ok::<(), noex::Error>(())
/// ```
///
/// # Departures from OTP
/// - The data is changed in place. After a panic [`terminate`](GenStateMachine::terminate) gets it as
///   the callback left it; the state is the one before the event, as in OTP.
/// - A message the machine makes no event of (`from_down` and its kin give none) is none: it does not
///   take the event timeout back.
/// - `enter` is always called; its default does nothing.
/// - There is no `change_callback_module`: a machine's type is fixed. There is no `hibernate`.
/// - A running timeout of zero that is restarted with a time of its own runs for that time. (OTP 25
///   forgets its timer and delivers its message as an `info`.)
/// - After a crash `terminate` gets the same reason as links and monitors. (OTP 25 leaves the stack trace
///   out there, and in what the starter gets of a crash in `init`.)
pub trait GenStateMachine: Sized + Send + 'static {
    /// What `init` is given.
    type Args: Send + 'static;

    /// The states: an enum, as a rule. Two that are equal are the same state.
    type State: PartialEq + Send + Sync + 'static;

    /// All that can happen to the machine.
    type Event: Send + 'static;

    /// The names of its generic timeouts: an enum, a `&'static str`, or
    /// [`Infallible`](std::convert::Infallible) if it has none.
    type Timeout: Clone + Ord + Send + Sync + 'static;

    /// Makes the data and chooses the first state. Whoever starts the machine waits until this is
    /// done; then [`enter`](Self::enter) is called for that state, ahead of all messages.
    ///
    /// # Errors
    /// [`InitStop::Ignore`] or [`InitStop::Stop`]: no machine is started; its name, if it has one, is
    /// free when the starter hears of it. `terminate` is not called.
    fn init(
        args: Self::Args,
        cx: &mut MachineContext<Self>,
    ) -> impl Future<Output = Result<Initial<Self>, InitStop>> + Send;

    /// Something happened. What comes of it is the returned [`Next`].
    fn handle_event(
        &mut self,
        state: &Self::State,
        event: Self::Event,
        cx: &mut MachineContext<Self>,
    ) -> impl Future<Output = Next<Self>> + Send;

    /// The machine comes from `old` to `state`: called on every change of state, on
    /// [`repeat_state`](Next::repeat_state), and for the first state; in the latter two `old` is
    /// `state`. Only then do other events follow.
    ///
    /// It cannot change the state, postpone or insert events: [`Enter`] has no such thing. Default:
    /// nothing.
    fn enter(
        &mut self,
        old: &Self::State,
        state: &Self::State,
        cx: &mut MachineContext<Self>,
    ) -> impl Future<Output = Enter<Self>> + Send {
        let _ = (old, state, cx);
        async { Enter::keep_state() }
    }

    /// The event that the end of a monitored process is; `None`: it is none. Default: none.
    fn from_down(down: Down) -> Option<Self::Event> {
        let _ = down;
        None
    }

    /// The event that a trapped exit signal is; `None`: it is none. The parent's is never asked
    /// about: it stops the machine. Default: none.
    fn from_exit(exit: Exit) -> Option<Self::Event> {
        let _ = exit;
        None
    }

    /// The event that a message to the bare pid is. Default: itself, if it is an
    /// [`Event`](Self::Event).
    ///
    /// # Errors
    /// It is none; it is reported as a dead letter and counted as undelivered.
    fn from_any(message: AnyMessage) -> Result<Self::Event, AnyMessage> {
        message.downcast()
    }

    /// The machine is about to end, with `reason`, in `state`. Called after [`Next::stop`] and
    /// [`Enter::stop`], after a panic in a callback, after `stop()`, and when the parent ends a
    /// machine that traps exits; not after an exit signal to one that does not trap, after a kill,
    /// or when `init` failed. Default: nothing.
    ///
    /// Events that are queued or postponed are dropped afterwards; callers among them get
    /// [`CallError::Exited`](crate::CallError::Exited). After a panic in `handle_event` or `enter`
    /// `state` is the one before the event, and the data as the callback left it.
    fn terminate(
        &mut self,
        reason: ExitReason,
        state: &Self::State,
        cx: &mut MachineContext<Self>,
    ) -> impl Future<Output = ()> + Send {
        let _ = (reason, state, cx);
        async {}
    }

    /// What [`sys`](crate::sys) and crash reports show of the machine. Default: the name of its type.
    /// OTP: `format_status/1`.
    fn format_status(&self, state: &Self::State) -> String {
        let _ = state;
        std::any::type_name::<Self>().to_owned()
    }

    /// What the machine may do, for a picture of it ([`Transitions::to_dot`],
    /// [`Transitions::to_mermaid`]). Default: an empty table.
    fn transitions() -> Transitions {
        Transitions::new()
    }
}
