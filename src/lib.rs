//! Erlang/OTP as a Rust library, on a scheduler of its own.

pub(crate) mod sync;
