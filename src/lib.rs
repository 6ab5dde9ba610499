//! Erlang/OTP as a Rust library, on a scheduler of its own.

pub(crate) mod sched;
pub(crate) mod sync;
