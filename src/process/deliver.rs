//! The one way into a mailbox, and what becomes of a message that does not get in.

use super::bounded::{Overflow, Put};
use super::cell::Cell;
use super::mailbox::Pushed;
use super::node::{Discard, Node};
use super::pid::Pid;
use super::signal::{Signal, SystemNode};
use crate::sched::core::Core;
use crate::sched::{self, stats::Count, worker::worker_of};

/// Whether a message counts against the bound of a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// A user's cast, call or plain message.
    Counted,
    /// One whose sender waits for room: if there is none it comes back, whatever the policy, and is
    /// not sent yet; its sender counts it.
    Patient,
    /// A timer's message, a `Down`, an `Exit`: always accepted.
    Exempt,
}

/// What a delivery came to; a node that did not get in is in the caller's hands again.
#[must_use = "a node that did not get in must be settled"]
pub(crate) enum Delivered {
    In,
    Dead(*mut Node),
    Full(*mut Node, Overflow),
}

/// Puts a message into the mailbox of `cell`.
///
/// # Safety
/// `node` is an envelope for that process, owned by the caller and handed over.
#[inline(always)]
pub(crate) unsafe fn deliver(cell: &Cell, node: *mut Node, class: Class) -> Delivered {
    let worker = worker_of(&cell.core);
    match worker {
        _ if class == Class::Patient => {}
        Some(worker) => worker.count_sent(),
        None => cell.core.count(Count::Sent, 1),
    }
    if let Some(bounded) = &cell.bounded {
        return deliver_bounded(cell, bounded, node, class);
    }
    // SAFETY: as the caller promises.
    match unsafe { cell.mailbox.push(node) } {
        Pushed::Quiet => Delivered::In,
        Pushed::Schedule => {
            match worker {
                Some(worker) => worker.push(cell),
                None => cell.core.inject(cell),
            }
            Delivered::In
        }
        Pushed::Closed => Delivered::Dead(node),
    }
}

#[cold]
fn deliver_bounded(
    cell: &Cell,
    bounded: &super::bounded::Bounded,
    node: *mut Node,
    class: Class,
) -> Delivered {
    match bounded.push(&cell.mailbox, node, class) {
        Put::Quiet => Delivered::In,
        Put::Schedule => {
            sched::schedule(cell);
            Delivered::In
        }
        Put::Closed => Delivered::Dead(node),
        Put::Full(overflow) => Delivered::Full(node, overflow),
        Put::Displaced(oldest, schedule) => {
            if schedule {
                sched::schedule(cell);
            }
            sched::count(&cell.core, Count::Dropped);
            // SAFETY: the ring gave the node up.
            unsafe { dropped(&cell.core, Some(cell.pid()), oldest, Discard::Overload) };
            Delivered::In
        }
    }
}

impl Delivered {
    /// Ends a delivery nobody wants to hear of: a message that did not get in is dropped and counted.
    ///
    /// # Safety
    /// Any node in `self` is the caller's, for `cell`.
    pub(crate) unsafe fn settle(self, cell: &Cell) {
        match self {
            Delivered::In => {}
            // SAFETY: as the caller promises.
            Delivered::Dead(node) => unsafe {
                undelivered(&cell.core, Some(cell.pid()), node, Discard::Dead);
            },
            Delivered::Full(node, _) => {
                sched::count(&cell.core, Count::Dropped);
                // SAFETY: as the caller promises.
                unsafe { dropped(&cell.core, Some(cell.pid()), node, Discard::Overload) };
            }
        }
    }
}

/// Counts and drops a message whose receiver is dead; a caller gets its answer by that.
///
/// # Safety
/// `node` is the caller's and handed over.
pub(crate) unsafe fn undelivered(core: &Core, to: Option<Pid>, node: *mut Node, why: Discard) {
    sched::count(core, Count::Undelivered);
    // SAFETY: as the caller promises.
    unsafe { dropped(core, to, node, why) };
}

/// Sends a message to nobody: there is no process at the pid `to`, or none has the name.
///
/// # Safety
/// As for [`undelivered`].
pub(crate) unsafe fn send_to_nobody(core: &Core, to: Option<Pid>, node: *mut Node) {
    core.count(Count::Sent, 1);
    // SAFETY: as the caller promises.
    unsafe { undelivered(core, to, node, Discard::Dead) };
}

/// Shows a lost message to the dead-letter hook and drops it.
///
/// # Safety
/// As for [`undelivered`].
pub(crate) unsafe fn dropped(core: &Core, to: Option<Pid>, node: *mut Node, why: Discard) {
    // SAFETY: the node is ours and whole.
    let vtable = unsafe { (*node).vtable };
    core.hooks.dead_letter(to, (vtable.type_name)(), why);
    // SAFETY: as above; a message's `Drop` that panics must not take the turn with it.
    guard(|| unsafe { (vtable.discard)(node, why) });
}

/// Runs user code that must not unwind into noex (`Drop`s, hooks). `false`: it panicked.
pub(crate) fn guard(run: impl FnOnce()) -> bool {
    crate::exit::catch(run).is_ok()
}

/// Accounts for a message in case user code that looks at it outside a handler panics; to be forgotten
/// if it does not.
pub(crate) struct AbortOnDrop<'a>(pub(crate) &'a Core);

impl Drop for AbortOnDrop<'_> {
    fn drop(&mut self) {
        self.0.count(Count::Aborted, 1);
    }
}

/// Sends a signal. `false`: the process is dead, the signal is dropped.
pub(crate) fn send_signal(cell: &Cell, signal: Signal) -> Result<(), Signal> {
    let node = SystemNode::signal(signal);
    let pushed = match &cell.bounded {
        None => {
            // SAFETY: a fresh node of ours.
            unsafe { cell.mailbox.push_signal(node) }
        }
        Some(bounded) => {
            let bell = SystemNode::signal(Signal::Bell);
            // SAFETY: fresh nodes of ours.
            let pushed = unsafe { bounded.push_signal(&cell.mailbox, node, bell) };
            if pushed == Pushed::Closed {
                // SAFETY: given back.
                drop(unsafe { SystemNode::open(bell) });
            }
            pushed
        }
    };
    match pushed {
        Pushed::Closed => {
            // SAFETY: given back by the push.
            match unsafe { SystemNode::open(node) } {
                super::signal::Content::Signal(signal) => Err(signal),
                _ => unreachable!("a signal node holds a signal"),
            }
        }
        pushed => {
            cell.urgent
                .store(true, crate::sync::atomic::Ordering::Relaxed);
            if pushed == Pushed::Schedule {
                sched::schedule(cell);
            }
            Ok(())
        }
    }
}
