//! The system side of an event manager: the states of its handlers. OTP: what `gen_event` does for `sys`.

use std::fmt;
use std::ops::Deref;

use super::handle::HandlerRequest;
use super::handler::{Handler, Next};
use super::process::{Cx, Entry, Manager, report, tell};
use super::{EventHandler, GenEvent, HandlerError, HandlerExitReason};
use crate::exit::{ExitReason, catch};
use crate::gen_server::{HandleCall, ServerRef, inside};
use crate::sys::Sys;

/// What can be asked of an event manager beside what it is there for; dereferences to [`Sys`] for the
/// rest: a manager is suspended, traced and counted like any server. A suspended one answers all of this.
///
/// ```
/// # use noex::gen_event::{EventHandler, Handler, HandlerContext};
/// # use noex::{ExitReason, GenEvent, System};
/// # #[derive(Clone, Debug, PartialEq)]
/// # struct Log(Vec<u32>);
/// # impl EventHandler<u32> for Log {
/// #     type Args = ();
/// #     async fn init(_: (), _: &mut HandlerContext<Self, u32>) -> Result<Self, ExitReason> {
/// #         Ok(Log(Vec::new()))
/// #     }
/// #     async fn handle_event(&mut self, n: &u32, _: &mut HandlerContext<Self, u32>) {
/// #         self.0.push(*n);
/// #     }
/// # }
/// # let system = System::new()?;
/// # let numbers = GenEvent::<u32>::start(&system).wait()?;
/// # numbers.add_handler(Handler::<Log>::new(), ()).wait()?;
/// # numbers.sync_notify(7).wait()?;
/// let log = Handler::<Log>::new();
/// assert_eq!(numbers.sys().get_state(log.clone()).wait()?.0, [7]);
/// numbers.sys().with_state(log, |log| log.0.clear()).wait()?;
/// # Ok::<(), noex::Error>(())
/// ```
pub struct GenEventSys<E> {
    sys: Sys,
    server: ServerRef<Manager<E>>,
}

impl<E> Clone for GenEventSys<E> {
    fn clone(&self) -> Self {
        GenEventSys {
            sys: self.sys.clone(),
            server: self.server.clone(),
        }
    }
}

impl<E> fmt::Debug for GenEventSys<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GenEventSys").field(&self.pid()).finish()
    }
}

impl<E> Deref for GenEventSys<E> {
    type Target = Sys;
    fn deref(&self) -> &Sys {
        &self.sys
    }
}

impl<E: Send + Sync + 'static> GenEvent<E> {
    /// The system side of this manager: see [`sys`](crate::sys).
    pub fn sys(&self) -> GenEventSys<E> {
        GenEventSys {
            sys: Sys::clone(&self.server.sys()),
            server: self.server.clone(),
        }
    }
}

impl<E: Send + Sync + 'static> GenEventSys<E> {
    /// A clone of a handler. OTP: `sys:get_state/1`, of one handler.
    ///
    /// # Errors
    /// As for [`with_state`](Self::with_state).
    pub fn get_state<H: EventHandler<E> + Clone>(&self, handler: Handler<H>) -> HandlerRequest<H> {
        self.with_state(handler, |handler| handler.clone())
    }

    /// Replaces a handler's state; the old one. Neither `init` nor `terminate` runs
    /// ([`swap_handler`](GenEvent::swap_handler) is what they run for). OTP: `sys:replace_state/2`.
    ///
    /// # Errors
    /// As for [`with_state`](Self::with_state).
    pub fn replace_state<H: EventHandler<E>>(
        &self,
        handler: Handler<H>,
        state: H,
    ) -> HandlerRequest<H> {
        self.with_state(handler, |old| std::mem::replace(old, state))
    }

    /// Runs `look` on a handler, inside the manager, and gives what it returns. OTP:
    /// `sys:replace_state/2` with a function.
    ///
    /// # Errors
    /// - [`HandlerError::NotInstalled`]: there is no such handler.
    /// - [`HandlerError::Crashed`]: `look` panicked; the handler is removed, as by a panic of its own.
    /// - [`HandlerError::Call`]: as for any call.
    pub fn with_state<H: EventHandler<E>, R: Send + 'static>(
        &self,
        handler: Handler<H>,
        look: impl FnOnce(&mut H) -> R + Send + 'static,
    ) -> HandlerRequest<R> {
        let call = inside::call(&self.server, Look { handler, look });
        HandlerRequest { call }
    }

    /// Moves a handler to a new version of its state: `change` is given the old one by value. No event is
    /// lost. OTP: `sys:change_code/4`, `code_change/3`, of one handler.
    ///
    /// The inner error: `change` refused, and the handler goes on with the state that it gave back.
    ///
    /// # Errors
    /// - [`HandlerError::NotInstalled`]: there is no such handler.
    /// - [`HandlerError::Crashed`]: `change` panicked; the handler is gone without `terminate`, as its
    ///   state is lost.
    /// - [`HandlerError::Call`]: as for any call.
    pub fn change_code<H: EventHandler<E>>(
        &self,
        handler: Handler<H>,
        change: impl FnOnce(H) -> Result<H, (H, ExitReason)> + Send + 'static,
    ) -> HandlerRequest<Result<(), ExitReason>> {
        let call = inside::call(&self.server, Change { handler, change });
        HandlerRequest { call }
    }
}

struct Look<H, F> {
    handler: Handler<H>,
    look: F,
}

impl<E, H, F, R> HandleCall<Look<H, F>> for Manager<E>
where
    E: Send + Sync + 'static,
    H: EventHandler<E>,
    F: FnOnce(&mut H) -> R + Send + 'static,
    R: Send + 'static,
{
    type Reply = Result<R, HandlerError>;

    async fn handle_call(&mut self, ask: Look<H, F>, cx: &mut Cx<E>) -> Self::Reply {
        let Some(at) = self.find(&ask.handler.handler_id()) else {
            return Err(HandlerError::NotInstalled);
        };
        let Some(handler) = self.handlers[at].handler.as_any().downcast_mut::<H>() else {
            return Err(HandlerError::NotInstalled);
        };
        match catch(|| (ask.look)(handler)) {
            Ok(seen) => Ok(seen),
            Err(reason) => {
                let crash: Result<Next<E>, _> = Err(reason.clone());
                self.settle(cx, at, crash).await;
                Err(HandlerError::Crashed(reason))
            }
        }
    }
}

struct Change<H, F> {
    handler: Handler<H>,
    change: F,
}

impl<E, H, F> HandleCall<Change<H, F>> for Manager<E>
where
    E: Send + Sync + 'static,
    H: EventHandler<E>,
    F: FnOnce(H) -> Result<H, (H, ExitReason)> + Send + 'static,
{
    type Reply = Result<Result<(), ExitReason>, HandlerError>;

    async fn handle_call(&mut self, ask: Change<H, F>, cx: &mut Cx<E>) -> Self::Reply {
        let Some(at) = self.find(&ask.handler.handler_id()) else {
            return Err(HandlerError::NotInstalled);
        };
        let Entry {
            id,
            supervisor,
            handler,
        } = self.handlers.remove(at);
        let Ok(old) = handler.into_any().downcast::<H>() else {
            return Err(HandlerError::NotInstalled); // its id says that it is one
        };
        let (new, changed) = match catch(|| (ask.change)(*old)) {
            Ok(Ok(new)) => (new, Ok(())),
            Ok(Err((old, reason))) => (old, Err(reason)),
            Err(reason) => {
                // It went with its state.
                report(cx, &id, &reason);
                tell(
                    cx,
                    supervisor,
                    id,
                    HandlerExitReason::Failed(reason.clone()),
                );
                return Err(HandlerError::Crashed(reason));
            }
        };
        let entry = Entry {
            id,
            supervisor,
            handler: Box::new(new),
        };
        self.handlers.insert(at, entry);
        Ok(changed)
    }
}
