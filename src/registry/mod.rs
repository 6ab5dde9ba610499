//! Names for processes.

pub(crate) mod names;
