//! The scheduler: who runs, on which thread, and when.

pub(crate) mod wheel;
