//! Erlang/OTP as a Rust library, on a scheduler of its own.

pub(crate) mod sched;
pub(crate) mod sync;

#[cfg(all(test, loom))]
#[path = "../loom-tests/mod.rs"]
mod loom_tests;
