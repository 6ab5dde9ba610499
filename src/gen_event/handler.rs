//! Handlers: how they are named, what their callbacks are given, and one of whatever type.

use std::any::{Any, TypeId};
use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ops::Deref;
use std::pin::Pin;

use super::{EventHandler, GenEvent, HandlerError};
use crate::exit::{ExitReason, Term};
use crate::gen_server::AnyMessage;
use crate::process::context::ProcessContext;
use crate::process::pid::Pid;
use crate::process::signal::{Down, Exit};

/// A handler of type `H`, as it is addressed: by its type alone, or by an id as well, to have several
/// of one type in a manager. OTP: `Handler` and `{Handler, Id}`.
pub struct Handler<H> {
    id: Option<Term>,
    handler: PhantomData<fn() -> H>,
}

impl<H> Handler<H> {
    /// The handler of type `H` without an id. OTP: `Handler`.
    pub fn new() -> Self {
        Handler {
            id: None,
            handler: PhantomData,
        }
    }

    /// The handler of type `H` with this id. OTP: `{Handler, Id}`.
    pub fn with_id(id: impl Into<Term>) -> Self {
        Handler {
            id: Some(id.into()),
            handler: PhantomData,
        }
    }
}

impl<H: 'static> Handler<H> {
    /// Its id, without the type.
    pub fn handler_id(&self) -> HandlerId {
        HandlerId {
            type_id: TypeId::of::<H>(),
            type_name: std::any::type_name::<H>(),
            id: self.id.clone(),
        }
    }
}

impl<H> Default for Handler<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H> Clone for Handler<H> {
    fn clone(&self) -> Self {
        Handler {
            id: self.id.clone(),
            handler: PhantomData,
        }
    }
}

impl<H: 'static> fmt::Debug for Handler<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handler").field(&self.handler_id()).finish()
    }
}

/// Which handler of a manager: its type, and its id if it has one. Printed as Erlang would print
/// `Handler` or `{Handler, Id}`.
#[derive(Clone)]
pub struct HandlerId {
    type_id: TypeId,
    type_name: &'static str,
    id: Option<Term>,
}

impl HandlerId {
    /// Whether its handlers are of type `H`.
    pub fn is<H: 'static>(&self) -> bool {
        self.type_id == TypeId::of::<H>()
    }

    /// The name of the handler's type.
    pub fn type_name(&self) -> &'static str {
        self.type_name
    }

    /// The id beside the type, if there is one.
    pub fn id(&self) -> Option<&Term> {
        self.id.as_ref()
    }
}

impl PartialEq for HandlerId {
    fn eq(&self, other: &Self) -> bool {
        self.type_id == other.type_id && self.id == other.id
    }
}

impl Eq for HandlerId {}

impl Hash for HandlerId {
    fn hash<S: Hasher>(&self, state: &mut S) {
        self.type_id.hash(state);
        self.id.hash(state);
    }
}

impl fmt::Display for HandlerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.id {
            None => f.write_str(self.type_name),
            Some(id) => write!(f, "{{{},{id}}}", self.type_name),
        }
    }
}

impl fmt::Debug for HandlerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a handler is removed: the argument of [`EventHandler::terminate`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandlerStop {
    /// By [`GenEvent::delete_handler`]. OTP: the `Args` of `delete_handler/3`.
    Deleted,
    /// Another takes its place. OTP: the `Args1` of the swap.
    Swapped,
    /// It asked for it: [`HandlerContext::remove_handler`]. OTP: `remove_handler`.
    Removed,
    /// The process that added it, and supervises it, has ended. OTP: `{stop, Reason}`.
    AdderExited(ExitReason),
    /// The manager ends. OTP: `stop`.
    Stop,
    /// One of its callbacks panicked. OTP: `{error, {'EXIT', Reason}}`.
    Error(ExitReason),
}

/// A supervised handler was removed: the message to the process that added it. OTP:
/// `{gen_event_EXIT, Handler, Reason}`.
///
/// It comes to the bare pid: a server takes it by [`routes`](crate::GenServer::routes) or in
/// [`handle_any`](crate::GenServer::handle_any), another process as
/// [`Received::Any`](crate::Received::Any), or as a message if that is all its [`Inbox`](crate::Inbox)
/// takes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerExit {
    /// The manager it was in.
    pub manager: Pid,
    /// Which it was.
    pub handler: HandlerId,
    /// Why it was removed.
    pub reason: HandlerExitReason,
}

impl HandlerExit {
    pub(super) fn new(manager: Pid, handler: HandlerId, reason: HandlerExitReason) -> Self {
        HandlerExit {
            manager,
            handler,
            reason,
        }
    }
}

/// Why a supervised handler was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandlerExitReason {
    /// It was deleted, or asked to be removed. OTP: `normal`.
    Normal,
    /// The manager ends. OTP: `shutdown`.
    Shutdown,
    /// Another has its place. OTP: `{swapped, NewHandler, Pid}`.
    Swapped {
        /// The other.
        new: HandlerId,
        /// The process that supervises the other, if one does.
        supervisor: Option<Pid>,
    },
    /// It crashed; or, of a handler that was to take another's place by itself, it was not made. OTP:
    /// `{'EXIT', Reason}`, or the term that `init/1` returned.
    Failed(ExitReason),
}

/// What the callbacks of a handler of type `H` are given, beside the event. What every process can
/// do is in [`ProcessContext`], to which it dereferences: it is the manager's, so links, monitors and
/// timers are the manager's, and their messages go to all handlers.
///
/// # Panics
/// As for [`ProcessContext`]: used outside the manager's own turn.
pub struct HandlerContext<H, E> {
    process: ProcessContext,
    seat: Seat<E>,
    next: Next<E>,
    handler: PhantomData<fn(H)>,
}

/// Where a handler is: its manager, and its id there.
pub(super) struct Seat<E> {
    pub(super) manager: GenEvent<E>,
    pub(super) id: HandlerId,
}

/// What becomes of a handler after a callback.
pub(super) enum Next<E> {
    Stay,
    Remove,
    Swap(Swap<E>),
}

pub(super) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
type Make<E> = dyn FnOnce(Option<Box<dyn AnyHandler<E>>>, GenEvent<E>) -> Made<E> + Send;
/// A handler that was made, and what it wants next; or why it was not.
pub(super) type MadeHandler<E> = Result<(Box<dyn AnyHandler<E>>, Next<E>), HandlerError>;
/// A handler that is being made.
pub(super) type Made<E> = Boxed<'static, MadeHandler<E>>;

/// A handler that takes the place of another.
pub(super) struct Swap<E> {
    pub(super) new: HandlerId,
    /// Makes it of the other.
    pub(super) make: Box<Make<E>>,
}

impl<E: Send + Sync + 'static> Swap<E> {
    pub(super) fn new<H1, H2>(
        new: &Handler<H2>,
        make: impl FnOnce(Option<H1>) -> H2::Args + Send + 'static,
    ) -> Self
    where
        H1: EventHandler<E>,
        H2: EventHandler<E>,
    {
        let id = new.handler_id();
        let seat_id = id.clone();
        Swap {
            new: id,
            make: Box::new(move |old, manager| {
                let seat = Seat {
                    manager,
                    id: seat_id,
                };
                Box::pin(async move {
                    let old = old
                        .and_then(|old| old.into_any().downcast::<H1>().ok())
                        .map(|old| *old);
                    init::<H2, E>(make(old), seat).await
                })
            }),
        }
    }
}

/// Makes a handler.
pub(super) async fn init<H: EventHandler<E>, E: Send + Sync + 'static>(
    args: H::Args,
    seat: Seat<E>,
) -> MadeHandler<E> {
    let mut cx = HandlerContext::new(seat);
    match H::init(args, &mut cx).await {
        Ok(handler) => Ok((Box::new(handler), cx.next)),
        Err(reason) => Err(HandlerError::Init(reason)),
    }
}

impl<H, E> Deref for HandlerContext<H, E> {
    type Target = ProcessContext;
    fn deref(&self) -> &ProcessContext {
        &self.process
    }
}

impl<H, E> fmt::Debug for HandlerContext<H, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerContext")
            .field("handler", &self.seat.id)
            .finish_non_exhaustive()
    }
}

impl<H, E> HandlerContext<H, E> {
    pub(super) fn new(seat: Seat<E>) -> Self {
        HandlerContext {
            process: ProcessContext::of_whoever_runs(),
            seat,
            next: Next::Stay,
            handler: PhantomData,
        }
    }

    pub(super) fn into_next(self) -> Next<E> {
        self.next
    }

    /// The manager this handler is in. To wait for it in a callback is to wait for oneself:
    /// [`CallError::Cycle`](crate::CallError::Cycle).
    pub fn manager(&self) -> &GenEvent<E> {
        &self.seat.manager
    }

    /// This handler's id.
    pub fn handler_id(&self) -> &HandlerId {
        &self.seat.id
    }

    /// Removes this handler when the callback is done: [`terminate`](EventHandler::terminate) runs
    /// with [`HandlerStop::Removed`]; a reply that the callback returns is sent. OTP: the return
    /// values `remove_handler` and `{remove_handler, Reply}`.
    ///
    /// It and [`swap_handler`](Self::swap_handler) exclude each other: the last call counts.
    pub fn remove_handler(&mut self) {
        self.next = Next::Remove;
    }
}

impl<H: EventHandler<E>, E: Send + Sync + 'static> HandlerContext<H, E> {
    /// Puts another handler in this one's place when the callback is done:
    /// [`terminate`](EventHandler::terminate) runs with [`HandlerStop::Swapped`], then `make` gives the
    /// arguments with which the other is made. If this one is supervised the other is. OTP: the return
    /// value `{swap_handler, Args1, State, Handler2, Args2}`.
    ///
    /// If the other is not made both are gone, which is reported.
    pub fn swap_handler<H2: EventHandler<E>>(
        &mut self,
        new: Handler<H2>,
        make: impl FnOnce(H) -> H2::Args + Send + 'static,
    ) {
        self.next = Next::Swap(Swap::new(&new, move |old: Option<H>| match old {
            Some(old) => make(old),
            None => unreachable!("a handler in a callback is installed"),
        }));
    }
}

/// What all handlers are given.
pub(super) enum What<'a, E> {
    Event(&'a E),
    Down(&'a Down),
    Exit(&'a Exit),
}

impl<E> Clone for What<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for What<'_, E> {}

/// A handler of any type.
pub(super) trait AnyHandler<E>: Send {
    fn handle<'a>(&'a mut self, what: What<'a, E>, seat: Seat<E>) -> Boxed<'a, Next<E>>;
    fn any(&mut self, message: &AnyMessage, seat: Seat<E>) -> Next<E>;
    fn format_status(&self) -> String;
    fn terminate<'a>(&'a mut self, why: HandlerStop, seat: Seat<E>) -> Boxed<'a, ()>;
    fn as_any(&mut self) -> &mut dyn Any;
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;
}

impl<H: EventHandler<E>, E: Send + Sync + 'static> AnyHandler<E> for H {
    fn handle<'a>(&'a mut self, what: What<'a, E>, seat: Seat<E>) -> Boxed<'a, Next<E>> {
        Box::pin(async move {
            let mut cx = HandlerContext::new(seat);
            match what {
                What::Event(event) => self.handle_event(event, &mut cx).await,
                What::Down(down) => self.handle_down(down, &mut cx).await,
                What::Exit(exit) => self.handle_exit(exit, &mut cx).await,
            }
            cx.next
        })
    }

    fn any(&mut self, message: &AnyMessage, seat: Seat<E>) -> Next<E> {
        let mut cx = HandlerContext::new(seat);
        self.handle_any(message, &mut cx);
        cx.next
    }

    fn format_status(&self) -> String {
        EventHandler::format_status(self)
    }

    fn terminate<'a>(&'a mut self, why: HandlerStop, seat: Seat<E>) -> Boxed<'a, ()> {
        Box::pin(async move {
            let mut cx = HandlerContext::new(seat);
            EventHandler::terminate(self, why, &mut cx).await;
        })
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}
