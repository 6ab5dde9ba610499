//! The scheduler: which process runs next, on which thread, and which threads sleep.

pub(crate) mod idle;
pub(crate) mod slot;
