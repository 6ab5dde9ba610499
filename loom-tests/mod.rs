//! Models of the lock-free cores, each against the invariants its module states.

mod ask;
mod cycle;
mod idle;
mod mailbox;
mod refs;
mod reply;
mod shards;
mod slot;
mod table;
mod watch;
