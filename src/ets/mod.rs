//! Tables that processes share.

pub(crate) mod store;
