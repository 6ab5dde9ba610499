//! The server that runs a machine: it feeds the [`Engine`] with what comes, calls the callbacks, and
//! does what the engine says.
//!
//! # Invariants
//! 1. Each handler of the server leaves the engine with nothing to do, or the server stopping.
//! 2. A timer is armed exactly while the engine knows it.

use std::future::poll_fn;
use std::task::Poll;

use super::context::MachineContext;
use super::engine::{Change, Engine};
use super::next::{Actions, EnterTo, Inserted, Next, To};
use super::timeouts::{Command, TimeoutId, When};
use super::{EventType, GenStateMachine};
use crate::exit::ExitReason;
use crate::gen_server::{
    AnyMessage, Context, Down, Exit, GenServer, HandleCast, HandleContinue, HandleInfo, InitStop,
};
use crate::process::call::out_of_turn;
use crate::sched::timers::TimerRef;

/// The server that runs the machine `M`: what is started, named, supervised and referred to.
///
/// It takes the machine's events as [casts](HandleCast) and [plain messages](HandleInfo), and as calls
/// by [`request`](crate::ServerRef::request).
///
/// ```
/// # use noex::prelude::*;
/// # use noex::{GenStateMachine, Initial, Machine, MachineContext, Next};
/// # struct Door;
/// # impl GenStateMachine for Door {
/// #     type Args = u32;
/// #     type State = ();
/// #     type Event = ();
/// #     type Timeout = ();
/// #     async fn init(_: u32, _: &mut MachineContext<Self>) -> Result<Initial<Self>, InitStop> {
/// #         Ok(Initial::new(Door, ()))
/// #     }
/// #     async fn handle_event(&mut self, _: &(), _: (), _: &mut MachineContext<Self>) -> Next<Self> {
/// #         Next::keep_state()
/// #     }
/// # }
/// let system = System::new()?;
/// Supervisor::new(Strategy::OneForOne)
///     .child(ChildSpec::server::<Machine<Door>>("front", 1234).name("front door"))
///     .start(&system)
///     .wait()?;
/// let door: Named<Machine<Door>> = system.server("front door");
/// # door.cast(())?;
/// # Ok::<(), noex::Error>(())
/// ```
pub struct Machine<M: GenStateMachine> {
    data: M,
    engine: Engine<M::State, M::Event, M::Timeout, TimerRef>,
    cx: MachineContext<M>,
}

impl<M: GenStateMachine> std::fmt::Debug for Machine<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").finish_non_exhaustive()
    }
}

impl<M: GenStateMachine> Machine<M> {
    /// The state it is in. For whoever looks inside by [`sys`](crate::sys):
    /// `door.sys().with_state(|door| *door.state())`.
    pub fn state(&self) -> &M::State {
        self.engine.state()
    }

    /// Its data.
    pub fn data(&self) -> &M {
        &self.data
    }

    /// Its data, to be changed between two events.
    pub fn data_mut(&mut self) -> &mut M {
        &mut self.data
    }
}

/// Begins: what `init` wanted besides data and state.
pub(crate) struct Begin<M: GenStateMachine>(Inserted<M>, Actions<M>);

/// The timer of that number has fired.
pub(crate) struct Fired<N> {
    id: TimeoutId<N>,
    number: u64,
}

/// An event's worth of the turn is used up: lets others run, and signals act, if that was the last of
/// it.
async fn charge() {
    let mut charged = false;
    poll_fn(|cx| {
        if !charged {
            charged = true;
            if out_of_turn(cx) {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    })
    .await;
}

fn send(replies: Vec<Box<dyn FnOnce() + Send>>) {
    for reply in replies {
        reply();
    }
}

/// The machine goes no further.
struct Stopped;

impl<M: GenStateMachine> Machine<M> {
    /// An event came: handles it, and all that follows from it without another message.
    pub(super) async fn receive(&mut self, event_type: EventType<M::Timeout>, event: M::Event) {
        self.engine.receive((event_type, event));
        self.run().await;
    }

    async fn run(&mut self) {
        while let Some((event_type, event)) = self.engine.next() {
            self.cx.event_type = Some(event_type);
            let handling = self
                .data
                .handle_event(self.engine.state(), event, &mut self.cx);
            let next = handling.await;
            if self.follow(next).await.is_err() || self.engine.is_idle() {
                return;
            }
            charge().await;
            // Somebody may have stopped it meanwhile, ahead of what is queued.
            if self.cx.server.is_stopping() {
                return;
            }
        }
    }

    async fn follow(&mut self, next: Next<M>) -> Result<(), Stopped> {
        let Next {
            to,
            postponed,
            inserted,
            actions,
        } = next;
        // An event has its type, or it would not have been handled.
        let event_type = self.cx.event_type.take();
        let postponed = event_type.zip(postponed);
        send(actions.replies);
        let (state, enter) = match to {
            To::Keep => (None, false),
            To::Repeat => (None, true),
            To::State(state) => {
                let changes = self.engine.is_change(&state);
                (changes.then_some(state), changes)
            }
            To::Stop(reason) => {
                self.engine.end(None, postponed);
                self.cx.server.stop(reason);
                return Err(Stopped);
            }
        };
        let change = Change {
            state,
            postponed,
            inserted,
            timeouts: actions.timeouts,
        };
        self.go(change, enter).await
    }

    /// Goes where `change` says, through `enter` if wanted.
    async fn go(
        &mut self,
        mut change: Change<M::State, M::Event, M::Timeout>,
        enter: bool,
    ) -> Result<(), Stopped> {
        let mut again = enter;
        while again {
            let old = self.engine.state();
            let state = change.state.as_ref().unwrap_or(old);
            let entered = self.data.enter(old, state, &mut self.cx).await;
            send(entered.actions.replies);
            change.timeouts.extend(entered.actions.timeouts);
            match entered.to {
                EnterTo::Keep => again = false,
                EnterTo::Repeat => charge().await,
                EnterTo::Stop(reason) => {
                    self.engine.end(change.state, change.postponed);
                    self.cx.server.stop(reason);
                    return Err(Stopped);
                }
            }
        }
        for command in self.engine.commit(change) {
            self.carry_out(command);
        }
        Ok(())
    }

    fn carry_out(&mut self, command: Command<M::Timeout, TimerRef>) {
        match command {
            Command::Start { id, number, when } => {
                let fired = Fired {
                    id: id.clone(),
                    number,
                };
                let timer = match when {
                    When::After(time) => self.cx.server.continue_after(time, fired),
                    When::At(time) => self.cx.server.continue_at(time, fired),
                };
                self.engine.armed(&id, number, timer);
            }
            Command::Stop(timer) => {
                self.cx.cancel_timer(timer);
            }
        }
    }
}

impl<M: GenStateMachine> Drop for Machine<M> {
    /// Invariant 2: a timer that fired for a dead process would be a dead letter.
    fn drop(&mut self) {
        let Some(cell) = self.cx.running() else {
            return; // the system is gone, and its timers
        };
        for timer in self.engine.timers() {
            cell.core.timers.cancel(&cell.core, timer);
        }
    }
}

impl<M: GenStateMachine> GenServer for Machine<M> {
    type Args = M::Args;

    async fn init(args: M::Args, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        let mut own = MachineContext::new();
        let initial = M::init(args, &mut own).await?;
        cx.continue_with(Begin(initial.inserted, initial.actions));
        Ok(Machine {
            data: initial.data,
            engine: Engine::new(initial.state),
            cx: own,
        })
    }

    async fn handle_down(&mut self, down: Down, _: &mut Context<Self>) {
        if let Some(event) = M::from_down(down) {
            self.receive(EventType::Info, event).await;
        }
    }

    async fn handle_exit(&mut self, exit: Exit, _: &mut Context<Self>) {
        if let Some(event) = M::from_exit(exit) {
            self.receive(EventType::Info, event).await;
        }
    }

    async fn handle_any(&mut self, message: AnyMessage, cx: &mut Context<Self>) {
        match M::from_any(message) {
            Ok(event) => self.receive(EventType::Info, event).await,
            Err(message) => cx.unexpected(&message),
        }
    }

    fn format_status(&self) -> String {
        self.data.format_status(self.engine.state())
    }

    async fn terminate(&mut self, reason: ExitReason, _: &mut Context<Self>) {
        self.cx.event_type = None;
        let state = self.engine.state();
        self.data.terminate(reason, state, &mut self.cx).await;
    }
}

impl<M: GenStateMachine> HandleContinue<Begin<M>> for Machine<M> {
    async fn handle_continue(&mut self, begin: Begin<M>, _: &mut Context<Self>) {
        let Begin(inserted, actions) = begin;
        send(actions.replies);
        let change = Change {
            state: None,
            postponed: None,
            inserted,
            timeouts: actions.timeouts,
        };
        if self.go(change, true).await.is_ok() {
            self.run().await;
        }
    }
}

impl<M: GenStateMachine> HandleContinue<Fired<M::Timeout>> for Machine<M> {
    async fn handle_continue(&mut self, fired: Fired<M::Timeout>, _: &mut Context<Self>) {
        if self.engine.fired(fired.id, fired.number) {
            self.run().await;
        }
    }
}

impl<M: GenStateMachine> HandleCast<M::Event> for Machine<M> {
    async fn handle_cast(&mut self, event: M::Event, _: &mut Context<Self>) {
        self.receive(EventType::Cast, event).await;
    }
}

impl<M: GenStateMachine> HandleInfo<M::Event> for Machine<M> {
    async fn handle_info(&mut self, event: M::Event, _: &mut Context<Self>) {
        self.receive(EventType::Info, event).await;
    }
}
