//! Servers: a process with state that answers calls and handles casts, one message at a time. OTP:
//! `gen_server`.
//!
//! A server is a type that implements [`GenServer`], and [`HandleCall`], [`HandleCast`] or
//! [`HandleInfo`] for each type of message it takes. Each message type has its own reply type.
//!
//! | OTP | here |
//! |---|---|
//! | `init/1` | [`GenServer::init`]; `{stop, R}` and `ignore` are [`InitStop`]; `{continue, C}` is [`Context::continue_with`] |
//! | `handle_call/3` | [`HandleCall`]; with `noreply` and a later `reply/2`: [`HandleRequest`] |
//! | `handle_cast/2`, `handle_info/2` | [`HandleCast`], [`HandleInfo`], [`GenServer::handle_any`] |
//! | `handle_continue/2` | [`HandleContinue`] |
//! | `{stop, Reason, State}` | [`Context::stop`] |
//! | `{noreply, State, Timeout}` | [`Context::set_timeout`], [`GenServer::handle_timeout`] |
//! | `{'DOWN', ..}`, `{'EXIT', ..}` | [`GenServer::handle_down`], [`GenServer::handle_exit`] |
//! | `terminate/2` | [`GenServer::terminate`] |

mod body;
mod calls;
pub(crate) mod context;
pub(crate) mod inside;
mod refs;
mod start;

use std::any::Any;
use std::future::Future;
use std::ptr::NonNull;

pub use self::calls::{Calls, NextCall, call_all};
pub use self::context::Context;
pub use self::refs::{Named, Recipient, ReplyTo, Requester, Sending, ServerRef, Stop};
pub(crate) use self::refs::{call_whoever, cast_whoever, send_whoever};
pub use self::start::{ServerOptions, Start, StartMonitor};
pub(crate) use self::start::{start, start_prepared};
pub use crate::process::signal::{Down, Exit};

use crate::exit::ExitReason;
use crate::process::ask::Ask;
use crate::process::envelope;
use crate::process::node::Node;

/// Why `init` did not make a server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InitStop {
    /// There is nothing to do for such a server: no process, and no error for a supervisor. OTP:
    /// `ignore`.
    Ignore,
    /// The start failed. OTP: `{stop, Reason}`.
    Stop(ExitReason),
}

impl From<ExitReason> for InitStop {
    fn from(reason: ExitReason) -> Self {
        InitStop::Stop(reason)
    }
}

/// A process with state, started with [`Args`](Self::Args) and fed by messages. OTP: the behaviour
/// `gen_server`.
///
/// All callbacks are `async`; one that waits parks the process, which takes no other message until it
/// is done, as in Erlang. A panic in a callback ends the server, with
/// [`ExitReason::Panic`](crate::ExitReason::Panic), and nothing else.
pub trait GenServer: Sized + Send + 'static {
    /// What `init` is given.
    type Args: Send + 'static;

    /// Makes the state. Whoever starts the server waits until this is done.
    ///
    /// # Errors
    /// [`InitStop::Ignore`] or [`InitStop::Stop`]: no server is started; its name, if it has one, is
    /// free when the starter hears of it. `terminate` is not called.
    fn init(
        args: Self::Args,
        cx: &mut Context<Self>,
    ) -> impl Future<Output = Result<Self, InitStop>> + Send;

    /// A monitored process is gone. Default: nothing.
    fn handle_down(
        &mut self,
        down: Down,
        cx: &mut Context<Self>,
    ) -> impl Future<Output = ()> + Send {
        let _ = (down, cx);
        async {}
    }

    /// An exit signal, if the server traps them ([`trap_exit`](crate::ProcessContext::trap_exit)). The
    /// parent's never comes here: it stops the server. Default: nothing.
    fn handle_exit(
        &mut self,
        exit: Exit,
        cx: &mut Context<Self>,
    ) -> impl Future<Output = ()> + Send {
        let _ = (exit, cx);
        async {}
    }

    /// No message came within the time set by [`Context::set_timeout`]. Default: nothing.
    fn handle_timeout(&mut self, cx: &mut Context<Self>) -> impl Future<Output = ()> + Send {
        let _ = cx;
        async {}
    }

    /// A message that was sent to the bare pid, of a type that [`routes`](Self::routes) does not know.
    /// Default: it is reported as a dead letter and counted as undelivered.
    fn handle_any(
        &mut self,
        message: AnyMessage,
        cx: &mut Context<Self>,
    ) -> impl Future<Output = ()> + Send {
        cx.unexpected(&message);
        async {}
    }

    /// Declares the types that go to [`HandleInfo`] when they come through a bare pid. Default: none.
    fn routes(routes: &mut Routes<'_, Self>) {
        let _ = routes;
    }

    /// What [`sys`](crate::sys) shows of the state. Default: the name of its type. OTP:
    /// `format_status/1`.
    ///
    /// A panic in here ends the server, as one in any callback.
    fn format_status(&self) -> String {
        std::any::type_name::<Self>().to_owned()
    }

    /// The server is about to end, with `reason`. Called after [`Context::stop`], after a panic in a
    /// callback, after `stop()`, and when the parent ends a server that traps exits; not after an
    /// exit signal to one that does not trap, after a kill, or when `init` failed.
    ///
    /// After a panic `self` is as the handler left it, perhaps halfway: trust nothing. (OTP has the
    /// state before the message.) A panic in here changes neither the reason nor who is told
    /// (OTP: it becomes the reason).
    /// Default: nothing.
    fn terminate(
        &mut self,
        reason: ExitReason,
        cx: &mut Context<Self>,
    ) -> impl Future<Output = ()> + Send {
        let _ = (reason, cx);
        async {}
    }
}

/// Answers calls with a message of type `M`. OTP: `handle_call/3` returning `{reply, ..}`.
pub trait HandleCall<M: Send + 'static>: GenServer {
    /// What the caller gets.
    type Reply: Send + 'static;

    /// Handles the call; what it returns is the reply. After [`Context::stop`] the reply is sent when
    /// `terminate` is done, before anybody is told of the end.
    fn handle_call(
        &mut self,
        message: M,
        cx: &mut Context<Self>,
    ) -> impl Future<Output = Self::Reply> + Send;
}

/// Answers calls with a message of type `M` now or later, here or from another process. OTP:
/// `handle_call/3` returning `{noreply, ..}`, and `gen_server:reply/2`.
///
/// Every server that implements [`HandleCall`] has this by itself.
pub trait HandleRequest<M: Send + 'static>: GenServer {
    /// What the caller gets.
    type Reply: Send + 'static;

    /// Handles the call. Whoever holds `reply` owes the caller an answer: keep it, move it to another
    /// process, or answer at once with [`ReplyTo::reply`].
    fn handle_request(
        &mut self,
        message: M,
        reply: ReplyTo<Self::Reply>,
        cx: &mut Context<Self>,
    ) -> impl Future<Output = ()> + Send;

    #[doc(hidden)]
    fn __question(message: M) -> Question<Self::Reply> {
        Question(envelope::request(
            message,
            |body: *mut body::ServerBody<Self>, message, answer| {
                // SAFETY: envelopes are opened by the turn of the server they were sent to.
                let (state, cx) = unsafe { body::parts(body) };
                state.handle_request(message, ReplyTo::new(answer), cx)
            },
        ))
    }
}

impl<S, M> HandleRequest<M> for S
where
    S: HandleCall<M>,
    M: Send + 'static,
{
    type Reply = <S as HandleCall<M>>::Reply;

    // The bridge for types; the runtime builds `handle_call`'s own future (`__question`), which is
    // half as large.
    async fn handle_request(
        &mut self,
        message: M,
        reply: ReplyTo<Self::Reply>,
        cx: &mut Context<Self>,
    ) {
        reply.reply(self.handle_call(message, cx).await);
    }

    fn __question(message: M) -> Question<Self::Reply> {
        Question(envelope::call(
            message,
            |body: *mut body::ServerBody<Self>, message| {
                // SAFETY: envelopes are opened by the turn of the server they were sent to.
                let (state, cx) = unsafe { body::parts(body) };
                state.handle_call(message, cx)
            },
        ))
    }
}

/// An envelope of a call, on its way.
#[doc(hidden)]
pub struct Question<R>(pub(crate) NonNull<Ask<R>>);

/// Handles casts of type `M`. OTP: `handle_cast/2`.
pub trait HandleCast<M: Send + 'static>: GenServer {
    /// Handles the message; nobody waits for it.
    fn handle_cast(
        &mut self,
        message: M,
        cx: &mut Context<Self>,
    ) -> impl Future<Output = ()> + Send;
}

/// Handles plain messages of type `M`: typed sends and timers. OTP: `handle_info/2`.
pub trait HandleInfo<M: Send + 'static>: GenServer {
    /// Handles the message.
    fn handle_info(
        &mut self,
        message: M,
        cx: &mut Context<Self>,
    ) -> impl Future<Output = ()> + Send;
}

/// Goes on after a callback, before any other message. OTP: `handle_continue/2`.
pub trait HandleContinue<C: Send + 'static>: GenServer {
    /// Handles what [`Context::continue_with`] was given.
    fn handle_continue(
        &mut self,
        what: C,
        cx: &mut Context<Self>,
    ) -> impl Future<Output = ()> + Send;
}

pub(crate) fn cast_envelope<S: HandleCast<M>, M: Send + 'static>(message: M) -> *mut Node {
    envelope::message(message, |body: *mut body::ServerBody<S>, message| {
        // SAFETY: envelopes are opened by the turn of the server they were sent to.
        let (state, cx) = unsafe { body::parts(body) };
        state.handle_cast(message, cx)
    })
}

pub(crate) fn info_envelope<S: HandleInfo<M>, M: Send + 'static>(message: M) -> *mut Node {
    envelope::message(message, |body: *mut body::ServerBody<S>, message| {
        // SAFETY: envelopes are opened by the turn of the server they were sent to.
        let (state, cx) = unsafe { body::parts(body) };
        state.handle_info(message, cx)
    })
}

pub(crate) fn continue_envelope<S: HandleContinue<C>, C: Send + 'static>(what: C) -> *mut Node {
    envelope::message(what, |body: *mut body::ServerBody<S>, what| {
        // SAFETY: envelopes are opened by the turn of the server they were sent to.
        let (state, cx) = unsafe { body::parts(body) };
        state.handle_continue(what, cx)
    })
}

/// A message that came through a bare pid: of any type.
pub struct AnyMessage(pub(crate) Box<dyn Any + Send>, pub(crate) &'static str);

impl AnyMessage {
    /// Whether it is an `M`.
    pub fn is<M: 'static>(&self) -> bool {
        self.0.is::<M>()
    }

    /// The message, if it is an `M`.
    ///
    /// # Errors
    /// It is not; it comes back.
    pub fn downcast<M: 'static>(self) -> Result<M, AnyMessage> {
        let name = self.1;
        self.0
            .downcast::<M>()
            .map(|message| *message)
            .map_err(|message| AnyMessage(message, name))
    }

    /// The message, if it is an `M`, by reference.
    pub fn downcast_ref<M: 'static>(&self) -> Option<&M> {
        self.0.downcast_ref()
    }

    /// The name of its type, for logs.
    pub fn type_name(&self) -> &'static str {
        self.1
    }
}

impl std::fmt::Debug for AnyMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("AnyMessage").field(&self.1).finish()
    }
}

/// The types of messages that a server takes through its bare pid; see [`GenServer::routes`].
pub struct Routes<'a, S> {
    message: &'a mut Option<AnyMessage>,
    envelope: &'a mut Option<*mut Node>,
    server: std::marker::PhantomData<fn(S)>,
}

impl<S> std::fmt::Debug for Routes<'_, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routes").finish_non_exhaustive()
    }
}

impl<S: GenServer> Routes<'_, S> {
    /// An `M` goes to [`HandleInfo<M>`](HandleInfo).
    pub fn info<M: Send + 'static>(&mut self) -> &mut Self
    where
        S: HandleInfo<M>,
    {
        match self.message.take().map(AnyMessage::downcast::<M>) {
            Some(Ok(message)) => *self.envelope = Some(info_envelope::<S, M>(message)),
            Some(Err(other)) => *self.message = Some(other),
            None => {}
        }
        self
    }
}
