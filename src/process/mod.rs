//! Processes: cell, mailbox, signals, and the turn that runs them.

#[cfg(not(all(test, loom)))]
pub(crate) mod ask;
#[cfg(not(all(test, loom)))]
pub(crate) mod belongings;
#[cfg(not(all(test, loom)))]
pub(crate) mod bounded;
#[cfg(not(all(test, loom)))]
pub(crate) mod call;
#[cfg(not(all(test, loom)))]
pub(crate) mod caller;
#[cfg(not(all(test, loom)))]
pub(crate) mod cell;
#[cfg(not(all(test, loom)))]
pub(crate) mod context;
#[cfg(not(all(test, loom)))]
pub(crate) mod cycle;
#[cfg(not(all(test, loom)))]
pub(crate) mod death;
#[cfg(not(all(test, loom)))]
pub(crate) mod deliver;
pub(crate) mod edge;
#[cfg(not(all(test, loom)))]
pub(crate) mod envelope;
#[cfg(not(all(test, loom)))]
pub(crate) mod estate;
#[cfg(not(all(test, loom)))]
pub(crate) mod info;
#[cfg(not(all(test, loom)))]
pub(crate) mod line;
#[cfg(not(all(test, loom)))]
pub(crate) mod links;
pub(crate) mod mailbox;
pub(crate) mod node;
#[cfg(not(all(test, loom)))]
pub(crate) mod passed;
pub(crate) mod pid;
pub(crate) mod refs;
pub(crate) mod reply;
#[cfg(not(all(test, loom)))]
pub(crate) mod signal;
#[cfg(not(all(test, loom)))]
pub(crate) mod spawn;
#[cfg(not(all(test, loom)))]
pub(crate) mod sys;
pub(crate) mod table;
#[cfg(not(all(test, loom)))]
pub(crate) mod timeout;
#[cfg(not(all(test, loom)))]
pub(crate) mod turn;
#[cfg(not(all(test, loom)))]
pub(crate) mod wait;
#[cfg(not(all(test, loom)))]
pub(crate) mod waker;
