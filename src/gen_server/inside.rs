//! Closures that run inside a server, between two of its messages.

use super::body::{self, ServerBody};
use super::refs::ask_as;
use super::{GenServer, HandleCall, ServerRef};
use crate::exit::ExitReason;
use crate::process::call::{Call, DEFAULT_TIMEOUT};
use crate::process::deliver::Class;
use crate::process::envelope;

/// Runs `look` on the state; what it returns is the answer.
pub(crate) fn with_state<S, R, F>(server: &ServerRef<S>, look: F) -> Call<R>
where
    S: GenServer,
    R: Send + 'static,
    F: FnOnce(&mut S) -> R + Send + 'static,
{
    let ask = envelope::system(look, |body: *mut ServerBody<S>, look: F| async move {
        // SAFETY: envelopes are opened by the turn of the server they were sent to, once it has a state.
        let (state, _) = unsafe { body::parts(body) };
        look(state)
    });
    ask_as(server.cell(), ask, Some(DEFAULT_TIMEOUT), Class::Exempt)
}

/// Calls the server as [`ServerRef::call`] does, but also if it is suspended, or its mailbox is full.
pub(crate) fn call<S, M>(server: &ServerRef<S>, message: M) -> Call<<S as HandleCall<M>>::Reply>
where
    S: HandleCall<M>,
    M: Send + 'static,
{
    let ask = envelope::system(message, |body: *mut ServerBody<S>, message: M| async move {
        // SAFETY: as above.
        let (state, cx) = unsafe { body::parts(body) };
        state.handle_call(message, cx).await
    });
    ask_as(server.cell(), ask, Some(DEFAULT_TIMEOUT), Class::Exempt)
}

/// Gives the state to `change`, and the server what comes back.
pub(crate) fn change<S, F>(server: &ServerRef<S>, change: F) -> Call<Result<(), ExitReason>>
where
    S: GenServer,
    F: FnOnce(S) -> Result<S, (S, ExitReason)> + Send + 'static,
{
    let ask = envelope::system(change, |body: *mut ServerBody<S>, change: F| async move {
        // SAFETY: as above. If `change` panics there is no state, and the body knows.
        let old = unsafe { body::take_state(body) };
        let (state, outcome) = match change(old) {
            Ok(new) => (new, Ok(())),
            Err((old, reason)) => (old, Err(reason)),
        };
        // SAFETY: as above; it was taken.
        unsafe { body::put_state(body, state) };
        outcome
    });
    ask_as(server.cell(), ask, Some(DEFAULT_TIMEOUT), Class::Exempt)
}
