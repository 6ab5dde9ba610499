//! How others reach an event manager.

use std::time::Duration;

use super::handler::{Handler, HandlerId, Swap};
use super::process::{
    AddHandler, CallHandler, DeleteHandler, Manager, Notify, SwapHandler, SyncNotify, WhichHandlers,
};
use super::{EventHandler, HandleEventCall};
use crate::error::{CallError, SendError};
use crate::exit::ExitReason;
use crate::gen_server::{self, Named, ServerOptions, ServerRef};
use crate::handles::{handles, named};
use crate::process::call::{Call, DEFAULT_TIMEOUT, waits};
use crate::process::context::ProcessContext;
use crate::process::pid::Pid;
use crate::process::spawn::Ties;
use crate::registry::Name;
use crate::starts::starts;
use crate::supervisor::ChildSpec;
use crate::sync::Arc;
use crate::system::Handle;

/// A reference to a process that hands events of type `E` to the handlers in it: cheap to clone; does
/// not keep the process running, and leads to one incarnation only ([`NamedGenEvent`] to whichever has
/// a name). OTP: `gen_event`.
///
/// # Examples
/// ```
/// use noex::gen_event::{EventHandler, Handler, HandlerContext, HandleEventCall};
/// use noex::{ExitReason, GenEvent, System};
///
/// enum Alarm {
///     Set(&'static str),
///     Clear(&'static str),
/// }
///
/// /// Keeps what is set.
/// struct Panel(Vec<&'static str>);
/// struct WhatIsSet;
///
/// impl EventHandler<Alarm> for Panel {
///     type Args = ();
///     async fn init(_: (), _: &mut HandlerContext<Self, Alarm>) -> Result<Self, ExitReason> {
///         Ok(Panel(Vec::new()))
///     }
///     async fn handle_event(&mut self, alarm: &Alarm, _: &mut HandlerContext<Self, Alarm>) {
///         match alarm {
///             Alarm::Set(name) => self.0.push(name),
///             Alarm::Clear(name) => self.0.retain(|set| set != name),
///         }
///     }
/// }
/// impl HandleEventCall<Alarm, WhatIsSet> for Panel {
///     type Reply = Vec<&'static str>;
///     async fn handle_call(
///         &mut self,
///         _: WhatIsSet,
///         _: &mut HandlerContext<Self, Alarm>,
///     ) -> Vec<&'static str> {
///         self.0.clone()
///     }
/// }
///
/// let system = System::new()?;
/// let alarms = GenEvent::<Alarm>::start(&system).wait()?;
/// alarms.add_handler(Handler::<Panel>::new(), ()).wait()?;
/// alarms.notify(Alarm::Set("disk"))?;
/// alarms.notify(Alarm::Set("fan"))?;
/// alarms.sync_notify(Alarm::Clear("disk")).wait()?;
/// assert_eq!(alarms.call(Handler::<Panel>::new(), WhatIsSet).wait()?, ["fan"]);
/// # Ok::<(), noex::Error>(())
/// ```
pub struct GenEvent<E> {
    pub(super) server: ServerRef<Manager<E>>,
}

/// An event manager by name: each request looks up who has the name then. See
/// [`Handle::gen_event`].
pub struct NamedGenEvent<E> {
    server: Named<Manager<E>>,
}

impl<E> GenEvent<E> {
    pub(super) fn new(server: ServerRef<Manager<E>>) -> Self {
        GenEvent { server }
    }
}

handles! {
    /// Asks the manager to stop, behind the messages that are queued: its handlers are terminated with
    /// [`HandlerStop::Stop`](super::HandlerStop::Stop), then it exits with `reason`. OTP:
    /// `gen_event:stop/3`.
    GenEvent<E: ('static)> { server }, "manager"
}

named!(NamedGenEvent<E: (Send + Sync + 'static)>, GenEvent, "manager");

impl<E: Send + Sync + 'static> GenEvent<E> {
    /// Starts a manager without handlers. From outside any process it is a child of the system's root.
    /// OTP: `gen_event:start/0`.
    pub fn start(system: &Handle) -> GenEventStart<E> {
        Self::start_with(system, ServerOptions::new())
    }

    /// As [`start`](Self::start), with a name or other options. OTP: `gen_event:start/2`.
    pub fn start_with(system: &Handle, options: ServerOptions) -> GenEventStart<E> {
        GenEventStart::new(gen_server::start(
            system.core(),
            (),
            &options,
            Handle::ties(),
        ))
    }

    /// Starts a manager that is linked to the calling process, which is its parent. OTP:
    /// `gen_event:start_link/0`.
    pub fn start_link(cx: &ProcessContext) -> GenEventStart<E> {
        Self::start_link_with(cx, ServerOptions::new())
    }

    /// As [`start_link`](Self::start_link), with a name or other options. OTP:
    /// `gen_event:start_link/2`.
    pub fn start_link_with(cx: &ProcessContext, options: ServerOptions) -> GenEventStart<E> {
        let ties = Ties {
            link: true,
            ..Ties::default()
        };
        GenEventStart::new(gen_server::start(cx.core(), (), &options, ties))
    }

    /// A manager as the child of a supervisor: each incarnation begins without handlers, so those that
    /// are to be there again should be supervised by a process that adds them.
    ///
    /// Give it a [name](ChildSpec::name) and reach it by [`Handle::gen_event`].
    pub fn child_spec(id: impl Into<Arc<str>>) -> ChildSpec {
        ChildSpec::worker(id, |starter| starter.start_link::<Manager<E>>(()))
    }
}

starts! {
    /// An event manager that is being started: [`GenEvent::start`].
    GenEventStart<E: (Send + Sync + 'static)>, Manager<E>, GenEvent<E>
}

impl Handle {
    /// A manager of events of type `E` by name, whether or not somebody has the name yet.
    ///
    /// If something else has it, all requests fail as if nobody had.
    pub fn gen_event<E: Send + Sync + 'static>(&self, name: impl Into<Name>) -> NamedGenEvent<E> {
        NamedGenEvent {
            server: self.server(name),
        }
    }
}

/// What can be asked of a manager, however it is reached.
macro_rules! requests {
    ($manager:ty) => {
        impl<E: Send + Sync + 'static> $manager {
            /// Sends an event to all handlers, and waits for nobody. OTP: `gen_event:notify/2`.
            ///
            /// # Errors
            /// [`SendError`]: the manager's bounded mailbox rejects it; the event comes back. A dead
            /// manager is no error.
            pub fn notify(&self, event: E) -> Result<(), SendError<E>> {
                self.server
                    .cast(Notify(event))
                    .map_err(|SendError(Notify(event))| SendError(event))
            }

            /// Sends an event to all handlers, and waits until they are done with it. OTP:
            /// `gen_event:sync_notify/2`.
            ///
            /// # Errors
            /// As for a [`Call`]; there is no timeout.
            pub fn sync_notify(&self, event: E) -> Call<()> {
                self.server.call_with(SyncNotify(event), None)
            }

            /// Adds a handler, which gets events before those there are. OTP:
            /// `gen_event:add_handler/3`.
            ///
            /// # Errors
            /// [`HandlerError::Init`], [`HandlerError::Crashed`]: it was not made.
            pub fn add_handler<H: EventHandler<E>>(
                &self,
                handler: Handler<H>,
                args: H::Args,
            ) -> HandlerRequest<()> {
                self.add(handler, args, None)
            }

            /// Adds a handler that the calling process supervises: it is removed when that ends, and
            /// when it is removed otherwise that gets a [`HandlerExit`](super::HandlerExit). The
            /// calling process and the manager are linked. OTP: `gen_event:add_sup_handler/3`.
            ///
            /// # Errors
            /// As for [`add_handler`](Self::add_handler); they stay linked.
            pub fn add_sup_handler<H: EventHandler<E>>(
                &self,
                cx: &ProcessContext,
                handler: Handler<H>,
                args: H::Args,
            ) -> HandlerRequest<()> {
                self.add(handler, args, Some(cx.pid()))
            }

            fn add<H: EventHandler<E>>(
                &self,
                handler: Handler<H>,
                args: H::Args,
                supervisor: Option<Pid>,
            ) -> HandlerRequest<()> {
                let add = AddHandler {
                    handler,
                    args,
                    supervisor,
                };
                HandlerRequest {
                    call: self.server.call_with(add, None),
                }
            }

            /// Removes a handler: its [`terminate`](EventHandler::terminate) runs with
            /// [`HandlerStop::Deleted`](super::HandlerStop::Deleted), then it comes back. OTP:
            /// `gen_event:delete_handler/3`, which gives what `terminate/2` returned.
            ///
            /// # Errors
            /// - [`HandlerError::NotInstalled`]: there is no such handler.
            /// - [`HandlerError::Crashed`]: its `terminate` panicked; it is removed all the same.
            pub fn delete_handler<H: EventHandler<E>>(
                &self,
                handler: Handler<H>,
            ) -> HandlerRequest<H> {
                HandlerRequest {
                    call: self.server.call_with(DeleteHandler(handler), None),
                }
            }

            /// Puts the handler `new` in the place of `old`. The [`terminate`](EventHandler::terminate)
            /// of `old` runs with [`HandlerStop::Swapped`](super::HandlerStop::Swapped), then `make`,
            /// in the manager, makes of it what the `init` of `new` is given. If `old` is supervised
            /// `new` is, by the same process. OTP: `gen_event:swap_handler/3`.
            ///
            /// No event is lost or handled by both. If `old` is not there `make` gets `None`, and
            /// `new` is added.
            ///
            /// # Errors
            /// [`HandlerError::Init`], [`HandlerError::Crashed`]: `new` was not made; `old` is gone.
            pub fn swap_handler<H1: EventHandler<E>, H2: EventHandler<E>>(
                &self,
                old: Handler<H1>,
                new: Handler<H2>,
                make: impl FnOnce(Option<H1>) -> H2::Args + Send + 'static,
            ) -> HandlerRequest<()> {
                self.swap(old, Swap::new(&new, make), None)
            }

            /// As [`swap_handler`](Self::swap_handler); the calling process supervises `new`, whether
            /// or not one supervised `old`. OTP: `gen_event:swap_sup_handler/3`.
            ///
            /// # Errors
            /// As for [`swap_handler`](Self::swap_handler).
            pub fn swap_sup_handler<H1: EventHandler<E>, H2: EventHandler<E>>(
                &self,
                cx: &ProcessContext,
                old: Handler<H1>,
                new: Handler<H2>,
                make: impl FnOnce(Option<H1>) -> H2::Args + Send + 'static,
            ) -> HandlerRequest<()> {
                self.swap(old, Swap::new(&new, make), Some(cx.pid()))
            }

            fn swap<H1: EventHandler<E>>(
                &self,
                old: Handler<H1>,
                swap: Swap<E>,
                supervisor: Option<Pid>,
            ) -> HandlerRequest<()> {
                let swap = SwapHandler {
                    old: old.handler_id(),
                    swap,
                    supervisor,
                };
                HandlerRequest {
                    call: self.server.call_with(swap, None),
                }
            }

            /// Sends a request to one handler, with a timeout of 5 s. OTP: `gen_event:call/3`.
            ///
            /// # Errors
            /// - [`HandlerError::NotInstalled`]: there is no such handler.
            /// - [`HandlerError::Crashed`]: it panicked, and is removed.
            /// - [`HandlerError::Call`]: as for a [`Call`].
            pub fn call<H, M>(&self, handler: Handler<H>, request: M) -> HandlerRequest<H::Reply>
            where
                H: HandleEventCall<E, M>,
                M: Send + 'static,
            {
                self.call_with(handler, request, DEFAULT_TIMEOUT)
            }

            /// As [`call`](Self::call), with a timeout of its own; `None`: no timeout. OTP:
            /// `gen_event:call/4`.
            ///
            /// # Errors
            /// As for [`call`](Self::call).
            pub fn call_with<H, M>(
                &self,
                handler: Handler<H>,
                request: M,
                timeout: impl Into<Option<Duration>>,
            ) -> HandlerRequest<H::Reply>
            where
                H: HandleEventCall<E, M>,
                M: Send + 'static,
            {
                let call = CallHandler { handler, request };
                HandlerRequest {
                    call: self.server.call_with(call, timeout),
                }
            }

            /// The handlers, the last added first. OTP: `gen_event:which_handlers/1`.
            ///
            /// # Errors
            /// As for a [`Call`]; there is no timeout.
            pub fn which_handlers(&self) -> Call<Vec<HandlerId>> {
                self.server.call_with(WhichHandlers, None)
            }
        }
    };
}

requests!(GenEvent<E>);
requests!(NamedGenEvent<E>);

/// Why a manager did not do what it was asked for, or a handler gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandlerError {
    /// The manager has no such handler. OTP: `{error, bad_module}`, `{error, module_not_found}`.
    #[error("the event manager has no such handler")]
    NotInstalled,
    /// `init` failed with this reason. OTP: what `init/1` returned, in `{error, _}` after a swap.
    #[error("the handler's init failed")]
    Init(#[source] ExitReason),
    /// The handler panicked. OTP: `{'EXIT', Reason}`.
    #[error("the handler panicked")]
    Crashed(#[source] ExitReason),
    /// The manager gave no answer.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl HandlerError {
    pub(super) fn into_reason(self) -> ExitReason {
        match self {
            HandlerError::Init(reason) | HandlerError::Crashed(reason) => reason,
            other => ExitReason::error(other),
        }
    }
}

/// A request to an event manager, under way: a future of its answer.
///
/// # Errors
/// Those of the method that made it, and [`HandlerError::Call`]: the manager is gone, or `.wait()`
/// must not be used here.
///
/// # Cancellation
/// Dropping it gives up interest in the answer, nothing else.
#[must_use = "the request is sent, but its answer is dropped"]
#[derive(Debug)]
pub struct HandlerRequest<R> {
    pub(super) call: Call<Result<R, HandlerError>>,
}

waits!(HandlerRequest<R>, Result<R, HandlerError>, |_: &mut HandlerRequest<R>, answer| flatten(answer));

fn flatten<R>(answer: Result<Result<R, HandlerError>, CallError>) -> Result<R, HandlerError> {
    answer.unwrap_or_else(|error| Err(error.into()))
}
