//! Closures that run inside a server, between two of its messages.

use super::body::{self, ServerBody};
use super::refs::ask_as;
use super::{GenServer, ServerRef};
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
