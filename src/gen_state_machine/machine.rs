//! The server that runs a machine: it feeds the [`Engine`] with what comes, calls the callbacks, and
//! does what the engine says.
//!
//! # Invariants
//! 1. Each handler of the server leaves the engine with nothing to do, or the server stopping.
//! 2. A timer is armed exactly while the engine knows it.
//! 3. `entering` is there exactly while `enter` runs, and how it ends is not decided.
//!
//! What an event comes to is kept here, not in the future that handles it: that has the callback's own
//! future in it and little else, so that it fits into the event's envelope.

use std::future::{Future, poll_fn};
use std::task::Poll;

use super::context::MachineContext;
use super::engine::{Change, Engine, Typed};
use super::next::{Actions, ChangeOf, Enter, EnterTo, Next, To};
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
    /// What the event comes to, up to what `enter` adds.
    entering: Option<ChangeOf<M>>,
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

    /// The state it is in, to be changed between two events without a transition: `enter` is not called,
    /// nothing postponed comes again, and all timeouts run on. What `sys:replace_state/2` and a code
    /// change do with it in OTP.
    pub fn state_mut(&mut self) -> &mut M::State {
        self.engine.state_mut()
    }

    /// Its data, to be changed between two events.
    pub fn data_mut(&mut self) -> &mut M {
        &mut self.data
    }
}

/// Begins: what `init` wanted besides data and state.
pub(crate) struct Begin<M: GenStateMachine>(Actions<M>);

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

/// Where a machine is when it was told what an event comes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// There: on to the next event.
    Settled,
    /// `enter` is to be called.
    Enter,
    /// It goes no further.
    Stopped,
}

impl<M: GenStateMachine> Machine<M> {
    /// An event came: handles it, and all that follows from it without another message.
    pub(super) fn receive(
        &mut self,
        event_type: EventType<M::Timeout>,
        event: M::Event,
    ) -> impl Future<Output = ()> + Send {
        self.engine.receive((event_type, event));
        self.run()
    }

    async fn run(&mut self) {
        // Not `while let`: what is looked at there lives as long as the body.
        loop {
            let Some(event) = self.engine.next() else {
                return;
            };
            let next = self.handle(event).await;
            let mut then = self.follow(next);
            if then == Then::Enter {
                then = self.enter().await;
            }
            if then == Then::Stopped || self.engine.is_idle() {
                return;
            }
            charge().await;
            // Somebody may have stopped it meanwhile, ahead of what is queued.
            if self.cx.server.is_stopping() {
                return;
            }
        }
    }

    fn handle(
        &mut self,
        (event_type, event): Typed<M::Event, M::Timeout>,
    ) -> impl Future<Output = Next<M>> + Send {
        self.cx.event_type = Some(event_type);
        let state = self.engine.state();
        self.data.handle_event(state, event, &mut self.cx)
    }

    /// Goes where `next` says, or up to `enter`.
    fn follow(&mut self, next: Next<M>) -> Then {
        let Next {
            to,
            postponed,
            actions,
        } = next;
        // An event has its type, or it would not have been handled.
        let event_type = self.cx.event_type.take();
        let stays = matches!(to, To::Keep) && postponed.is_none() && actions.is_empty();
        if stays && self.engine.keeps_as_it_is() {
            return Then::Settled; // what most events come to
        }
        let mut change = Change::new(None, event_type.zip(postponed));
        actions.begin(&mut change);
        match to {
            To::Keep => self.settle(change),
            To::State(state) if !self.engine.is_change(&state) => self.settle(change),
            To::State(state) => {
                change.state = Some(state);
                self.entering = Some(change);
                Then::Enter
            }
            To::Repeat => {
                self.entering = Some(change);
                Then::Enter
            }
            To::Stop(reason) => self.end(change, reason),
        }
    }

    /// Goes through `enter` to where [`follow`](Self::follow) was going.
    async fn enter(&mut self) -> Then {
        loop {
            let old = self.engine.state();
            let change = self.entering.as_ref();
            let state = change.and_then(|change| change.state.as_ref());
            let entered = self.data.enter(old, state.unwrap_or(old), &mut self.cx);
            let entered = entered.await;
            let then = self.entered(entered);
            if then != Then::Enter {
                return then;
            }
            charge().await;
        }
    }

    fn entered(&mut self, entered: Enter<M>) -> Then {
        let Some(mut change) = self.entering.take() else {
            return Then::Settled; // invariant 3: it is there
        };
        entered.actions.begin(&mut change);
        match entered.to {
            EnterTo::Keep => self.settle(change),
            EnterTo::Repeat => {
                self.entering = Some(change);
                Then::Enter
            }
            EnterTo::Stop(reason) => self.end(change, reason),
        }
    }

    fn settle(&mut self, change: ChangeOf<M>) -> Then {
        for command in self.engine.commit(change) {
            self.carry_out(command);
        }
        Then::Settled
    }

    fn end(&mut self, change: ChangeOf<M>, reason: ExitReason) -> Then {
        self.engine.end(change.state, change.postponed);
        self.cx.server.stop(reason);
        Then::Stopped
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
        cx.continue_with(Begin(initial.actions));
        Ok(Machine {
            data: initial.data,
            engine: Engine::new(initial.state),
            entering: None,
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
        let mut change = Change::new(None, None);
        begin.0.begin(&mut change);
        self.entering = Some(change);
        if self.enter().await != Then::Stopped {
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

// Not `async fn`: their futures would have the event in them twice.

impl<M: GenStateMachine> HandleCast<M::Event> for Machine<M> {
    fn handle_cast(
        &mut self,
        event: M::Event,
        _: &mut Context<Self>,
    ) -> impl Future<Output = ()> + Send {
        self.receive(EventType::Cast, event)
    }
}

impl<M: GenStateMachine> HandleInfo<M::Event> for Machine<M> {
    fn handle_info(
        &mut self,
        event: M::Event,
        _: &mut Context<Self>,
    ) -> impl Future<Output = ()> + Send {
        self.receive(EventType::Info, event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gen_state_machine::Initial;
    use crate::process::envelope::IN_PLACE;

    struct Small;

    impl GenStateMachine for Small {
        type Args = ();
        type State = u8;
        type Event = [u64; 4];
        type Timeout = ();

        async fn init(_: (), _: &mut MachineContext<Self>) -> Result<Initial<Self>, InitStop> {
            Err(InitStop::Ignore)
        }

        async fn handle_event(
            &mut self,
            state: &u8,
            event: [u64; 4],
            cx: &mut MachineContext<Self>,
        ) -> Next<Self> {
            cx.yield_now().await;
            Next::state(state + 1).next_event(event)
        }
    }

    #[test]
    fn what_handles_a_small_event_fits_into_its_envelope() {
        let mut machine = Machine {
            data: Small,
            engine: Engine::new(0),
            entering: None,
            cx: MachineContext::new(),
        };
        let handling = machine.receive(EventType::Cast, [0; 4]);
        assert!(size_of_val(&handling) <= IN_PLACE);
    }
}
