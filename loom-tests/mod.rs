//! Models of the lock-free cores, each against the invariants its module states.

mod idle;
mod slot;
mod table;
