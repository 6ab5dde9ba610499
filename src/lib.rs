//! Erlang/OTP as a Rust library, on a scheduler of its own.

mod exit;
pub(crate) mod sync;

pub use exit::{ErrorReason, ExitReason, PanicLocation, PanicReason, Term, TermKind};
