//! From words to a typed [`Command`], or to the error that Redis would give for them.
//!
//! The [`table`] has a line for each command: its name, how many words it takes, what
//! `COMMAND` tells clients about it, and the function in [`args`] that reads its arguments. Checks
//! come in the order of Redis: known at all, subcommand known, number of words, then (only for a
//! subscribed connection) whether it may be asked now, and what its arguments say. So a client
//! that makes two mistakes hears of the same one.

mod args;
mod error;
mod table;

pub(crate) use error::CommandError;
pub(crate) use table::Spec;

use crate::resp::{Bytes, Proto, Reply, Request};
use crate::store::Op;

/// What a client asks for, checked as far as can be without knowing anything but the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// An operation on keys, of whatever shards.
    Data(Op),
    Publish {
        channel: Bytes,
        message: Bytes,
    },
    /// Never empty.
    Subscribe(Vec<Bytes>),
    /// Empty: from all.
    Unsubscribe(Vec<Bytes>),
    /// One whose answer depends on nothing but the request.
    Answer(Reply),
    Ping(Option<Bytes>),
    /// The sections asked for; none: the usual ones.
    Info(Vec<Bytes>),
    Hello {
        proto: Option<Proto>,
        name: Option<Bytes>,
    },
    ClientId,
    ClientGetName,
    /// Empty: no name.
    ClientSetName(Bytes),
    /// The patterns asked for.
    ConfigGet(Vec<Bytes>),
    Quit,
    Reset,
    /// Crashes a shard.
    DebugPanic(usize),
    /// A browser talks to us, on behalf of a page that has no business here. Hang up.
    CrossProtocol,
}

impl Command {
    /// Finds out what `request` asks for, on a connection that may be `restricted` to what a
    /// subscriber may ask.
    pub(crate) fn parse(request: &Request<'_>, restricted: bool) -> Result<Command, CommandError> {
        if begins_http(request) {
            return Ok(Command::CrossProtocol);
        }
        let spec = table::find(request)?;
        if restricted && !allowed_to_subscribers(spec) {
            return Err(CommandError::Subscribed(spec.name));
        }
        spec.parse(request)
    }
}

/// Whether a connection that is subscribed and speaks RESP2 may ask this. There every message to
/// it looks like a reply, so it may ask only what it cannot mistake a message for the answer to.
pub(crate) fn allowed_to_subscribers(spec: &Spec) -> bool {
    // `psubscribe` and its kin are not known here at all.
    matches!(
        spec.name,
        "subscribe" | "unsubscribe" | "ping" | "quit" | "reset"
    )
}

/// Whether this is the first or second line of what a browser can be made to send to any port.
fn begins_http(request: &Request<'_>) -> bool {
    request.get(0).is_some_and(|name| {
        name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
    })
}

#[cfg(test)]
mod tests;
