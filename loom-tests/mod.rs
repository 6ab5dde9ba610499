//! Models of the lock-free cores, each against the invariants its module states.

mod ask;
mod cycle;
mod mailbox;
mod refs;
mod reply;
mod table;
mod watch;
