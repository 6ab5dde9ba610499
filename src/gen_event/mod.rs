//! Event managers: a process to which events are sent, and the handlers in it that each get them all.
//! OTP: `gen_event`.
//!
//! ```text
//!   notify(event) ──▶ ┌ manager ───────────────────────────────┐
//!                     │  handler ─▶ handler ─▶ handler          │   last added first
//!                     │     │ panics: terminate, removed, told  │
//!                     └─────┼───────────────────────────────────┘
//!                           └── HandlerExit ──▶ the process that added it, if it supervises it
//! ```
//!
//! Handlers are no processes: they are values in the manager's process, each with its own state and
//! type, and run there one after the other. What crashes one of them does not touch the others.
//!
//! | OTP | here |
//! |---|---|
//! | a callback module | a type that implements [`EventHandler`], and [`HandleEventCall`] for each request it answers |
//! | `Handler`, `{Handler, Id}` | [`Handler::new`], [`Handler::with_id`] |
//! | `add_handler/3`, `add_sup_handler/3` | [`GenEvent::add_handler`], [`GenEvent::add_sup_handler`] |
//! | `delete_handler/3` | [`GenEvent::delete_handler`], which gives the handler back |
//! | `swap_handler/3`, `swap_sup_handler/3` | [`GenEvent::swap_handler`], [`GenEvent::swap_sup_handler`] |
//! | `notify/2`, `sync_notify/2` | [`GenEvent::notify`], [`GenEvent::sync_notify`] |
//! | `call/3,4`, `which_handlers/1` | [`GenEvent::call`], [`GenEvent::which_handlers`] |
//! | returning `remove_handler`, `{swap_handler, ..}` | [`HandlerContext::remove_handler`], [`HandlerContext::swap_handler`] |
//! | `{gen_event_EXIT, Handler, Reason}` | [`HandlerExit`] |
//! | `sys:get_state/1`, `replace_state/2`, `change_code/4` | [`GenEvent::sys`], for one handler |
//! | `format_status/1` | [`EventHandler::format_status`] |
//!
//! | part | what it holds |
//! |---|---|
//! | `handler` | [`Handler`], [`HandlerId`], [`HandlerContext`], and a handler of whatever type |
//! | `handle` | [`GenEvent`], [`NamedGenEvent`], and the futures of their answers |
//! | `process`, `sys` | the manager's process, and its system side |
//!
//! # Rules
//! - An event goes to the handlers one after the other, the last added first. The next message is
//!   taken when all are done with it.
//! - A handler that panics, in whatever callback, is removed: its [`terminate`](EventHandler::terminate)
//!   runs with [`HandlerStop::Error`], and the crash is reported
//!   ([`Event::HandlerCrashed`](crate::Event::HandlerCrashed)). The manager and the others go on.
//! - Ids are not unique: of two handlers with one id, what is addressed is the one added last.
//! - A supervised handler's adder and the manager are linked. When the adder ends the handler is
//!   removed; when the handler is removed for another reason the adder gets a [`HandlerExit`]. The
//!   link stays after that, as another handler may need it.
//! - A manager that ends, but for a kill, terminates its handlers first, and unlinks the adders.

mod handle;
mod handler;
mod process;
mod sys;

use std::future::Future;

pub use self::handle::{GenEvent, GenEventStart, HandlerError, HandlerRequest, NamedGenEvent};
pub use self::handler::{
    Handler, HandlerContext, HandlerExit, HandlerExitReason, HandlerId, HandlerStop,
};
pub use self::sys::GenEventSys;
use crate::exit::ExitReason;
use crate::gen_server::AnyMessage;
use crate::process::signal::{Down, Exit};

/// Handles events of type `E` inside an event manager. OTP: a callback module of the behaviour
/// `gen_event`.
///
/// A callback that waits makes the manager and all its handlers wait. A panic in one removes the
/// handler, and nothing else.
///
/// # Departures from OTP
/// - `delete_handler` takes no `Args` for `terminate`, and gives the handler itself, not what
///   `terminate` returned; a swap makes the new handler's arguments of the old handler itself.
/// - An exit signal that a living adder sends is not taken for its end.
/// - The adder of a handler that could not swap itself for another is told why. (OTP 25 says `crash`.)
pub trait EventHandler<E>: Sized + Send + 'static {
    /// What `init` is given.
    type Args: Send + 'static;

    /// Makes the handler, in the manager. OTP: `init/1`.
    ///
    /// # Errors
    /// It is not added; whoever adds it gets [`HandlerError::Init`].
    fn init(
        args: Self::Args,
        cx: &mut HandlerContext<Self, E>,
    ) -> impl Future<Output = Result<Self, ExitReason>> + Send;

    /// Handles an event. OTP: `handle_event/2`.
    fn handle_event(
        &mut self,
        event: &E,
        cx: &mut HandlerContext<Self, E>,
    ) -> impl Future<Output = ()> + Send;

    /// A process is gone that one of the manager's handlers monitors: compare the number. OTP:
    /// `handle_info/2`. Default: nothing.
    fn handle_down(
        &mut self,
        down: &Down,
        cx: &mut HandlerContext<Self, E>,
    ) -> impl Future<Output = ()> + Send {
        let _ = (down, cx);
        async {}
    }

    /// An exit signal reached the manager, which traps them; not its parent's. OTP: `handle_info/2`.
    /// Default: nothing.
    fn handle_exit(
        &mut self,
        exit: &Exit,
        cx: &mut HandlerContext<Self, E>,
    ) -> impl Future<Output = ()> + Send {
        let _ = (exit, cx);
        async {}
    }

    /// A message that was sent to the manager's pid, by a timer say; all handlers get it. Look into it
    /// with [`AnyMessage::downcast_ref`]. Not `async`, as a message of any type cannot be shared
    /// across a wait. OTP: `handle_info/2`. Default: nothing.
    fn handle_any(&mut self, message: &AnyMessage, cx: &mut HandlerContext<Self, E>) {
        let _ = (message, cx);
    }

    /// What [`sys`](crate::sys) and crash reports show of the handler, among the others. A panic in here
    /// harms nobody. Default: the name of its type. OTP: `format_status/1`.
    fn format_status(&self) -> String {
        std::any::type_name::<Self>().to_owned()
    }

    /// The handler is about to be removed. A panic in here is reported and changes nothing else. OTP:
    /// `terminate/2`. Default: nothing.
    fn terminate(
        &mut self,
        why: HandlerStop,
        cx: &mut HandlerContext<Self, E>,
    ) -> impl Future<Output = ()> + Send {
        let _ = (why, cx);
        async {}
    }
}

/// Answers requests of type `M` that are sent to this one handler. OTP: `handle_call/2`.
pub trait HandleEventCall<E, M: Send + 'static>: EventHandler<E> {
    /// What the caller gets.
    type Reply: Send + 'static;

    /// Handles the request; what it returns is the reply.
    fn handle_call(
        &mut self,
        request: M,
        cx: &mut HandlerContext<Self, E>,
    ) -> impl Future<Output = Self::Reply> + Send;
}
