//! A process and what it is made of.

pub(crate) mod table;
