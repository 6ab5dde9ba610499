//! Why a process ended, and how a panic becomes such a reason.
//!
//! ```text
//!  a callback returns ────────────────────────────▶ ExitReason ──▶ links, monitors, callers
//!  a callback panics ──▶ hook: where ─┐                 ▲
//!                        catch: what ─┴─▶ PanicReason ──┘
//! ```
//!
//! One death makes one [`ExitReason`]; every link, monitor and waiting caller then holds a clone
//! of it, on whatever thread it lives. So a reason is two words, a clone of it counts a reference,
//! and neither its clone nor its drop may disturb the thread it happens on.
//!
//! | part | what it holds |
//! |---|---|
//! | `reason` | [`ExitReason`], and [`ErrorReason`] for an application's own error |
//! | `panic` | [`PanicReason`], and [`catch`], the boundary that makes one |
//! | `quiet` | a value whose `Drop` harms nobody |
//! | `hook` | the panic hook: where a panic arose, known only before the stack unwinds |
//! | `term` | [`Term`], the Erlang value that a shutdown may carry, and a table keep |
//! | `map` | [`TermMap`], a term's terms by keys |
//! | `convert` | terms of Rust's values, and back |
//! | `order` | Erlang's order of terms, and its `==` |
//! | `read` | a term out of Erlang's syntax |
//! | `erlang` | a term in Erlang's syntax |
//! | `cut` | the writer that bounds a text |
//!
//! # Invariants
//! 1. An [`ExitReason`] and an `Option` of one take 16 bytes, a [`Term`] and an `Option` of one 8.
//! 2. Dropping a reason never unwinds, though it may be the last owner of an application's error
//!    or of a panic's payload, whose `Drop` is not ours.
//! 3. A text that noex makes of a reason takes at most [`TEXT_LIMIT`] bytes and the mark that says
//!    it was cut. (What an application prints of its own error by itself is its own affair.)
//! 4. No work on a term recurses, however deep it is nested: dropping, comparing, hashing, printing
//!    and reading keep their place in a heap-allocated list.
//! 5. A captured location is that of the last panic on this thread since the poll began, or since
//!    the innermost [`catch`] did. A `catch` that runs inside another's unwinding leaves the
//!    outer one's location as it was.

mod convert;
mod cut;
mod erlang;
mod hook;
mod map;
mod order;
mod panic;
mod quiet;
mod read;
mod reason;
mod term;

pub use convert::WrongTerm;
pub use map::TermMap;
pub use order::OrderedTerm;
pub use panic::{PanicLocation, PanicReason};
pub use read::ParseTermError;
pub use reason::{ErrorReason, ExitReason};
pub use term::{Term, TermKind};

pub(crate) use cut::head;
pub(crate) use hook::{enter_poll, install_panic_hook, take_location};
pub(crate) use order::compare_exactly;
pub(crate) use panic::{catch, drop_quietly};
pub(crate) use quiet::Quiet;

/// The most bytes of text that are kept of a panic's message, or printed of a term or of an
/// error with its causes; what is left out is marked as cut.
pub(crate) const TEXT_LIMIT: usize = 4096;
