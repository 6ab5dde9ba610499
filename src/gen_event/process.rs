//! The manager's process: the handlers, and what becomes of each after a callback.
//!
//! # Invariants
//! 1. User code, callbacks and the `Drop` of handlers, runs only inside [`guarded`] or
//!    [`drop_quietly`]: its panics never reach the manager.
//! 2. A handler leaves `handlers` before its `terminate` runs, so it gets nothing after that.

use super::handler::{
    AnyHandler, Boxed, Handler, HandlerContext, Made, MadeHandler, Next, Seat, Swap, What, init,
};
use super::{
    EventHandler, GenEvent, HandleEventCall, HandlerError, HandlerExit, HandlerExitReason,
    HandlerId, HandlerStop,
};
use crate::exit::{ExitReason, catch, drop_quietly};
use crate::gen_server::{
    AnyMessage, Context, Down, Exit, GenServer, HandleCall, HandleCast, InitStop,
};
use crate::hooks::Event;
use crate::process::pid::Pid;

pub(super) struct Entry<E> {
    pub(super) id: HandlerId,
    /// The process that added it, if that supervises it.
    pub(super) supervisor: Option<Pid>,
    pub(super) handler: Box<dyn AnyHandler<E>>,
}

pub(crate) struct Manager<E> {
    /// The last added first.
    pub(super) handlers: Vec<Entry<E>>,
}

pub(super) type Cx<E> = Context<Manager<E>>;

pub(super) struct Notify<E>(pub(super) E);
pub(super) struct SyncNotify<E>(pub(super) E);
pub(super) struct WhichHandlers;

pub(super) struct AddHandler<H: EventHandler<E>, E> {
    pub(super) handler: Handler<H>,
    pub(super) args: H::Args,
    pub(super) supervisor: Option<Pid>,
}

pub(super) struct DeleteHandler<H>(pub(super) Handler<H>);

/// Puts `swap` in the place of `old`, or beside the others if that is not there.
pub(super) struct SwapHandler<E> {
    pub(super) old: HandlerId,
    pub(super) swap: Swap<E>,
    /// The new one's, if it is given one; else it has the old one's.
    pub(super) supervisor: Option<Pid>,
}

pub(super) struct CallHandler<H, M> {
    pub(super) handler: Handler<H>,
    pub(super) request: M,
}

/// Runs a callback; what it panics with is the `Err`.
async fn guarded<T>(mut callback: Boxed<'_, T>) -> Result<T, ExitReason> {
    let outcome = std::future::poll_fn(|cx| {
        // A handler that panicked is not used again, but to be terminated and dropped.
        match catch(|| callback.as_mut().poll(cx)) {
            Ok(polled) => polled.map(Ok),
            Err(reason) => std::task::Poll::Ready(Err(reason)),
        }
    })
    .await;
    match (drop_quietly(callback), outcome) {
        (Err(reason), Ok(_)) => Err(reason),
        (_, outcome) => outcome,
    }
}

impl<E: Send + Sync + 'static> Manager<E> {
    /// Where the handler with this id is; of several, the last added.
    pub(super) fn find(&self, id: &HandlerId) -> Option<usize> {
        self.handlers.iter().position(|entry| entry.id == *id)
    }

    /// Gives something to each handler in turn.
    async fn each(&mut self, cx: &Cx<E>, what: What<'_, E>) {
        let mut at = 0;
        while at < self.handlers.len() {
            let entry = &mut self.handlers[at];
            let seat = seat(cx, &entry.id);
            let outcome = guarded(entry.handler.handle(what, seat)).await;
            if self.settle(cx, at, outcome).await {
                at += 1;
            }
        }
    }

    /// Sees to what becomes of a handler after a callback. Whether there is still one in its place.
    pub(super) async fn settle(
        &mut self,
        cx: &Cx<E>,
        at: usize,
        outcome: Result<Next<E>, ExitReason>,
    ) -> bool {
        let mut outcome = outcome;
        loop {
            match outcome {
                Ok(Next::Stay) => return true,
                Ok(Next::Remove) => {
                    let told = HandlerExitReason::Normal;
                    let entry = self.end(cx, at, HandlerStop::Removed, told).await.0;
                    discard(cx, entry);
                    return false;
                }
                Ok(Next::Swap(swap)) => {
                    let supervisor = self.handlers[at].supervisor;
                    let new = swap.new.clone();
                    let old = self.swap_out(cx, at, new.clone(), supervisor).await;
                    match made(cx, swap, Some(old)).await {
                        Ok((handler, next)) => {
                            let entry = Entry {
                                id: new,
                                supervisor,
                                handler,
                            };
                            self.handlers.insert(at, entry);
                            outcome = Ok(next);
                        }
                        Err(error) => {
                            let reason = error.into_reason();
                            report(cx, &new, &reason);
                            tell(cx, supervisor, new, HandlerExitReason::Failed(reason));
                            return false;
                        }
                    }
                }
                Err(reason) => {
                    let told = HandlerExitReason::Failed(reason.clone());
                    let entry = self.end(cx, at, HandlerStop::Error(reason), told).await.0;
                    discard(cx, entry);
                    return false;
                }
            }
        }
    }

    /// Takes a handler out and terminates it; it, and what its `terminate` panicked with.
    async fn end(
        &mut self,
        cx: &Cx<E>,
        at: usize,
        why: HandlerStop,
        told: HandlerExitReason,
    ) -> (Entry<E>, Result<(), ExitReason>) {
        let mut entry = self.handlers.remove(at);
        let seat = seat(cx, &entry.id);
        let done = guarded(entry.handler.terminate(why, seat)).await;
        if let HandlerExitReason::Failed(reason) = &told {
            report(cx, &entry.id, reason);
        }
        if let Err(reason) = &done {
            report(cx, &entry.id, reason);
        }
        tell(cx, entry.supervisor, entry.id.clone(), told);
        (entry, done)
    }

    /// Terminates a handler whose place another takes, to be supervised by `supervisor`.
    async fn swap_out(
        &mut self,
        cx: &Cx<E>,
        at: usize,
        new: HandlerId,
        supervisor: Option<Pid>,
    ) -> Box<dyn AnyHandler<E>> {
        let told = HandlerExitReason::Swapped { new, supervisor };
        let (entry, _) = self.end(cx, at, HandlerStop::Swapped, told).await;
        entry.handler
    }

    /// Adds a handler that was made, as the last.
    async fn add(
        &mut self,
        cx: &Cx<E>,
        id: HandlerId,
        supervisor: Option<Pid>,
        made: MadeHandler<E>,
    ) -> Result<(), HandlerError> {
        let (handler, next) = made?;
        let entry = Entry {
            id,
            supervisor,
            handler,
        };
        self.handlers.insert(0, entry);
        self.settle(cx, 0, Ok(next)).await;
        Ok(())
    }
}

fn seat<E: Send + Sync + 'static>(cx: &Cx<E>, id: &HandlerId) -> Seat<E> {
    Seat {
        manager: GenEvent::new(cx.this()),
        id: id.clone(),
    }
}

/// Makes a handler of the one whose place it takes.
async fn made<E: Send + Sync + 'static>(
    cx: &Cx<E>,
    swap: Swap<E>,
    old: Option<Box<dyn AnyHandler<E>>>,
) -> MadeHandler<E> {
    let making: Made<E> = (swap.make)(old, GenEvent::new(cx.this()));
    guarded(making)
        .await
        .unwrap_or_else(|reason| Err(HandlerError::Crashed(reason)))
}

/// Drops a handler that was removed.
fn discard<E: Send + Sync + 'static>(cx: &Cx<E>, entry: Entry<E>) {
    if let Err(reason) = drop_quietly(entry.handler) {
        report(cx, &entry.id, &reason);
    }
}

/// Reports the crash of a handler.
pub(super) fn report<E: Send + Sync + 'static>(
    cx: &Cx<E>,
    handler: &HandlerId,
    reason: &ExitReason,
) {
    let event = Event::HandlerCrashed {
        manager: cx.pid(),
        handler: handler.clone(),
        reason: reason.clone(),
    };
    cx.core().hooks.event(&event);
}

/// Tells the process that supervises a handler that it is gone.
pub(super) fn tell<E: Send + Sync + 'static>(
    cx: &Cx<E>,
    supervisor: Option<Pid>,
    handler: HandlerId,
    reason: HandlerExitReason,
) {
    if let Some(pid) = supervisor.filter(|pid| cx.system().is_alive(*pid)) {
        cx.send(pid, HandlerExit::new(cx.pid(), handler, reason));
    }
}

impl<E: Send + Sync + 'static> GenServer for Manager<E> {
    type Args = ();

    async fn init(_: (), cx: &mut Cx<E>) -> Result<Self, InitStop> {
        cx.trap_exit(true);
        Ok(Manager {
            handlers: Vec::new(),
        })
    }

    async fn handle_down(&mut self, down: Down, cx: &mut Cx<E>) {
        self.each(cx, What::Down(&down)).await;
    }

    async fn handle_exit(&mut self, exit: Exit, cx: &mut Cx<E>) {
        if let Some(pid) = exit.from.filter(|pid| !cx.system().is_alive(*pid)) {
            let mut at = 0;
            while at < self.handlers.len() {
                if self.handlers[at].supervisor != Some(pid) {
                    at += 1;
                    continue;
                }
                let why = HandlerStop::AdderExited(exit.reason.clone());
                let told = HandlerExitReason::Shutdown;
                let entry = self.end(cx, at, why, told).await.0;
                discard(cx, entry);
            }
        }
        self.each(cx, What::Exit(&exit)).await;
    }

    async fn handle_any(&mut self, message: AnyMessage, cx: &mut Cx<E>) {
        let mut at = 0;
        while at < self.handlers.len() {
            let entry = &mut self.handlers[at];
            let seat = seat(cx, &entry.id);
            let outcome = catch(|| entry.handler.any(&message, seat));
            if self.settle(cx, at, outcome).await {
                at += 1;
            }
        }
    }

    /// Each handler, as it shows itself.
    fn format_status(&self) -> String {
        let mut status = String::new();
        for entry in &self.handlers {
            let shown = catch(|| entry.handler.format_status());
            let shown = shown.unwrap_or_else(|_| "its format_status panicked".to_owned());
            let comma = if status.is_empty() { "" } else { ", " };
            status += &format!("{comma}{}: {shown}", entry.id);
        }
        format!("[{status}]")
    }

    async fn terminate(&mut self, _reason: ExitReason, cx: &mut Cx<E>) {
        while !self.handlers.is_empty() {
            let told = HandlerExitReason::Shutdown;
            let entry = self.end(cx, 0, HandlerStop::Stop, told).await.0;
            // An adder is not to be hit by the end of the manager, unless it started that.
            if let Some(pid) = entry.supervisor.filter(|pid| Some(*pid) != cx.parent()) {
                cx.unlink(pid);
            }
            discard(cx, entry);
        }
    }
}

impl<E: Send + Sync + 'static> HandleCast<Notify<E>> for Manager<E> {
    async fn handle_cast(&mut self, Notify(event): Notify<E>, cx: &mut Cx<E>) {
        self.each(cx, What::Event(&event)).await;
    }
}

impl<E: Send + Sync + 'static> HandleCall<SyncNotify<E>> for Manager<E> {
    type Reply = ();

    async fn handle_call(&mut self, SyncNotify(event): SyncNotify<E>, cx: &mut Cx<E>) {
        self.each(cx, What::Event(&event)).await;
    }
}

impl<E: Send + Sync + 'static> HandleCall<WhichHandlers> for Manager<E> {
    type Reply = Vec<HandlerId>;

    async fn handle_call(&mut self, _: WhichHandlers, _: &mut Cx<E>) -> Vec<HandlerId> {
        self.handlers.iter().map(|entry| entry.id.clone()).collect()
    }
}

impl<H, E> HandleCall<AddHandler<H, E>> for Manager<E>
where
    H: EventHandler<E>,
    E: Send + Sync + 'static,
{
    type Reply = Result<(), HandlerError>;

    async fn handle_call(&mut self, add: AddHandler<H, E>, cx: &mut Cx<E>) -> Self::Reply {
        if let Some(pid) = add.supervisor {
            // Stays, as in OTP, whatever becomes of the handler.
            cx.link(pid);
        }
        let id = add.handler.handler_id();
        let seat = seat(cx, &id);
        let made = guarded(Box::pin(init::<H, E>(add.args, seat))).await;
        let made = made.unwrap_or_else(|reason| Err(HandlerError::Crashed(reason)));
        self.add(cx, id, add.supervisor, made).await
    }
}

impl<H, E> HandleCall<DeleteHandler<H>> for Manager<E>
where
    H: EventHandler<E>,
    E: Send + Sync + 'static,
{
    type Reply = Result<H, HandlerError>;

    async fn handle_call(&mut self, delete: DeleteHandler<H>, cx: &mut Cx<E>) -> Self::Reply {
        let Some(at) = self.find(&delete.0.handler_id()) else {
            return Err(HandlerError::NotInstalled);
        };
        let told = HandlerExitReason::Normal;
        let (entry, done) = self.end(cx, at, HandlerStop::Deleted, told).await;
        if let Err(reason) = done {
            discard(cx, entry);
            return Err(HandlerError::Crashed(reason));
        }
        match entry.handler.into_any().downcast::<H>() {
            Ok(handler) => Ok(*handler),
            Err(_) => Err(HandlerError::NotInstalled),
        }
    }
}

impl<E: Send + Sync + 'static> HandleCall<SwapHandler<E>> for Manager<E> {
    type Reply = Result<(), HandlerError>;

    async fn handle_call(&mut self, message: SwapHandler<E>, cx: &mut Cx<E>) -> Self::Reply {
        let SwapHandler {
            old,
            swap,
            supervisor,
        } = message;
        let at = self.find(&old);
        let supervisor = supervisor.or(at.and_then(|at| self.handlers[at].supervisor));
        let id = swap.new.clone();
        let old = match at {
            Some(at) => Some(self.swap_out(cx, at, id.clone(), supervisor).await),
            None => None,
        };
        if let Some(pid) = supervisor {
            cx.link(pid);
        }
        let made = made(cx, swap, old).await;
        self.add(cx, id, supervisor, made).await
    }
}

impl<H, M, E> HandleCall<CallHandler<H, M>> for Manager<E>
where
    H: HandleEventCall<E, M>,
    M: Send + 'static,
    E: Send + Sync + 'static,
{
    type Reply = Result<H::Reply, HandlerError>;

    async fn handle_call(&mut self, call: CallHandler<H, M>, cx: &mut Cx<E>) -> Self::Reply {
        let Some(at) = self.find(&call.handler.handler_id()) else {
            return Err(HandlerError::NotInstalled);
        };
        let entry = &mut self.handlers[at];
        let seat = seat(cx, &entry.id);
        let Some(handler) = entry.handler.as_any().downcast_mut::<H>() else {
            return Err(HandlerError::NotInstalled);
        };
        let request = call.request;
        let callback: Boxed<'_, (H::Reply, Next<E>)> = Box::pin(async move {
            let mut cx = HandlerContext::new(seat);
            let reply = handler.handle_call(request, &mut cx).await;
            (reply, cx.into_next())
        });
        match guarded(callback).await {
            Ok((reply, next)) => {
                self.settle(cx, at, Ok(next)).await;
                Ok(reply)
            }
            Err(reason) => {
                self.settle(cx, at, Err(reason.clone())).await;
                Err(HandlerError::Crashed(reason))
            }
        }
    }
}
