//! Calls to a machine: events with the right to answer in them.

use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

use super::machine::Machine;
use super::{EventType, GenStateMachine};
use crate::gen_server::{Context, HandleRequest, Named, ReplyTo, ServerRef};
use crate::process::call::Call;

/// An event that wants an answer of type `R`, before it has the [`ReplyTo`].
pub struct Asking<M, R, F> {
    make: F,
    machine: PhantomData<fn() -> (M, R)>,
}

impl<M, R, F> std::fmt::Debug for Asking<M, R, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asking").finish_non_exhaustive()
    }
}

impl<M, R, F> HandleRequest<Asking<M, R, F>> for Machine<M>
where
    M: GenStateMachine,
    R: Send + 'static,
    F: FnOnce(ReplyTo<R>) -> M::Event + Send + 'static,
{
    type Reply = R;

    fn handle_request(
        &mut self,
        asking: Asking<M, R, F>,
        reply: ReplyTo<R>,
        _: &mut Context<Self>,
    ) -> impl Future<Output = ()> + Send {
        let event = (asking.make)(reply);
        self.receive(EventType::Call, event)
    }
}

fn asking<M, R, F>(make: F) -> Asking<M, R, F> {
    Asking {
        make,
        machine: PhantomData,
    }
}

impl<M: GenStateMachine> ServerRef<Machine<M>> {
    /// Calls a machine: sends it the event that `make` makes of the right to answer, and returns the
    /// future of the reply. There is no timeout, as in OTP. OTP: `gen_statem:call/2`.
    ///
    /// `make` is a variant of the event enum, or a closure that fills one in:
    /// `door.request(Event::Status)`, `door.request(|reply| Event::Unlock { code, reply })`. It runs
    /// in the machine's process, as part of it: a panic in it is the machine's.
    ///
    /// A machine may answer much later, from another event or another state. So such calls are not
    /// looked through for cycles.
    ///
    /// # Errors
    /// See [`Call`]. A dead machine answers at once, with its exit reason; one that drops the
    /// [`ReplyTo`], with [`CallError::NoReply`](crate::CallError::NoReply).
    pub fn request<R, F>(&self, make: F) -> Call<R>
    where
        R: Send + 'static,
        F: FnOnce(ReplyTo<R>) -> M::Event + Send + 'static,
    {
        self.request_with(make, None)
    }

    /// As [`request`](Self::request), with a timeout. OTP: `gen_statem:call/3`.
    ///
    /// # Errors
    /// As for [`request`](Self::request), and [`CallError::Timeout`](crate::CallError::Timeout).
    pub fn request_with<R, F>(&self, make: F, timeout: impl Into<Option<Duration>>) -> Call<R>
    where
        R: Send + 'static,
        F: FnOnce(ReplyTo<R>) -> M::Event + Send + 'static,
    {
        self.call_with(asking(make), timeout)
    }
}

impl<M: GenStateMachine> Named<Machine<M>> {
    /// As [`ServerRef::request`].
    ///
    /// # Errors
    /// As there; [`CallError::NoProc`](crate::CallError::NoProc): nobody has the name.
    pub fn request<R, F>(&self, make: F) -> Call<R>
    where
        R: Send + 'static,
        F: FnOnce(ReplyTo<R>) -> M::Event + Send + 'static,
    {
        self.request_with(make, None)
    }

    /// As [`ServerRef::request_with`].
    ///
    /// # Errors
    /// As for [`request`](Self::request), and [`CallError::Timeout`](crate::CallError::Timeout).
    pub fn request_with<R, F>(&self, make: F, timeout: impl Into<Option<Duration>>) -> Call<R>
    where
        R: Send + 'static,
        F: FnOnce(ReplyTo<R>) -> M::Event + Send + 'static,
    {
        self.call_with(asking(make), timeout)
    }
}
