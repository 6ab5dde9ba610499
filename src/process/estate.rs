//! What a process leaves behind: the mail that nobody handled, for its next incarnation.
//!
//! ```text
//!   dying turn ── leave, leave, ... complete ──▶ Estate ──▶ Heir ── give_to ──▶ the next process
//!                      │ `None` in `portable`                └──── take, drop
//!                      ▼
//!                   dropped
//! ```
//!
//! A process that has an estate is made with it, before its first turn; the other end, the [`Heir`],
//! is its supervisor's. Death does not wait: links and monitors are told first, and the mailbox is
//! emptied slice by slice. Whoever goes on waits until the estate is complete.
//!
//! # Invariants
//! 1. A node that is left was sent, and not yet handled, aborted or undelivered: it counts as queued
//!    until it is given to a process, taken, or dropped with the heir, which counts it as undelivered.
//! 2. Nodes lie in the order of their sending, and go to the next process ahead of what is sent to
//!    that one.
//! 3. A node goes only to a process whose [`Takers`] are those of the process it was made for, so the
//!    handler in its envelope is given the body it was made for.
//! 4. Nothing is left once the heir is gone.

use std::any::TypeId;
use std::task::{Poll, Waker};

use super::cell::{Cell, CellRef};
use super::deliver::undelivered;
use super::node::{Discard, List, Node};
use super::pid::Pid;
use super::spawn::Unborn;
use crate::gen_server::AnyMessage;
use crate::sched::core::CoreRef;
use crate::sched::stats::Count;
use crate::sync::{Arc, Mutex};

/// Which processes take the same envelopes: servers of one type, or all that receive messages of one
/// type by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Takers {
    serves: bool,
    of: TypeId,
}

impl Takers {
    pub(crate) fn like(cell: &Cell) -> Self {
        Takers {
            serves: cell.vtable.serves,
            of: (cell.vtable.type_id)(),
        }
    }
}

pub(crate) struct Estate {
    core: CoreRef,
    pid: Pid,
    takers: Takers,
    left: Mutex<Left>,
}

struct Left {
    mail: List,
    /// The heir is there.
    wanted: bool,
    /// Nothing more comes.
    complete: bool,
    waker: Option<Waker>,
}

// SAFETY: the nodes are owned by the list, and their messages are `Send` (demanded where they are
// made).
unsafe impl Send for Left {}

impl Estate {
    /// Leaves a message, unless it must not go to another process, or nobody wants it: then it comes
    /// back.
    ///
    /// # Safety
    /// `node` lay in the mailbox of the process whose estate this is, and is the caller's and handed
    /// over.
    #[must_use = "what comes back is the caller's to drop"]
    pub(crate) unsafe fn leave(&self, node: *mut Node) -> Option<*mut Node> {
        // SAFETY: the caller's node.
        if unsafe { (*node).vtable }.portable.is_none() {
            return Some(node);
        }
        let mut left = self.left.lock();
        if !left.wanted {
            return Some(node);
        }
        // SAFETY: handed over.
        unsafe { left.mail.push_back(node) };
        None
    }

    /// The mailbox is empty.
    pub(crate) fn complete(&self) {
        let waker = {
            let mut left = self.left.lock();
            left.complete = true;
            left.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Whoever disposes of what a process leaves. Dropped, it counts what is left as undelivered, and
/// nothing is left any more.
pub(crate) struct Heir(Arc<Estate>);

impl Heir {
    /// Makes an heir for a process that was not started yet.
    pub(crate) fn of(unborn: &mut Unborn) -> Self {
        let cell: &CellRef = unborn.cell();
        let estate = Arc::new(Estate {
            core: cell.core.clone(),
            pid: cell.pid(),
            takers: Takers::like(cell),
            left: Mutex::new(Left {
                mail: List::new(),
                wanted: true,
                complete: false,
                waker: None,
            }),
        });
        // SAFETY: not queued yet, so its maker, who lends it to us alone, is alone with it.
        unsafe { cell.own() }.extra().estate = Some(estate.clone());
        Heir(estate)
    }

    /// The process whose mail it is.
    pub(crate) fn pid(&self) -> Pid {
        self.0.pid
    }

    /// Whether the process has left all it will; else `waker` is called then.
    pub(crate) fn poll_complete(&self, waker: &Waker) -> Poll<()> {
        let mut left = self.0.left.lock();
        if left.complete {
            return Poll::Ready(());
        }
        let old = left.waker.replace(waker.clone());
        drop(left);
        // A waker may run foreign code when it is dropped.
        drop(old);
        Poll::Pending
    }

    /// Whether nothing is left, and nothing more comes.
    pub(crate) fn is_spent(&self) -> bool {
        let left = self.0.left.lock();
        left.complete && left.mail.is_empty()
    }

    /// Gives all mail to a process that was not started yet, in order, as the first it will handle
    /// after its `init`; unless it is not one of those who take it.
    pub(crate) fn give_to(&self, unborn: &mut Unborn) {
        let cell: &CellRef = unborn.cell();
        if Takers::like(cell) != self.0.takers {
            return;
        }
        let mut mail = std::mem::take(&mut self.0.left.lock().mail);
        // SAFETY: not queued yet, so its maker, who lends it to us alone, is alone with it. It takes
        // the envelopes (invariant 3).
        unsafe { cell.own() }.inbox.append(&mut mail);
    }

    /// Takes the oldest message out; it counts as undelivered.
    pub(crate) fn take(&self) -> Option<AnyMessage> {
        let node = self.0.left.lock().mail.pop_front()?;
        self.0.core.count(Count::Undelivered, 1);
        // SAFETY: the list's node, ours now, of a kind that can be taken out (`leave`).
        unsafe {
            let vtable = (*node).vtable;
            let open = vtable.portable?;
            Some(AnyMessage(open(node), (vtable.type_name)()))
        }
    }
}

impl Drop for Heir {
    fn drop(&mut self) {
        let mut mail = {
            let mut left = self.0.left.lock();
            left.wanted = false;
            std::mem::take(&mut left.mail)
        };
        while let Some(node) = mail.pop_front() {
            // SAFETY: the list's node, ours now.
            unsafe { undelivered(&self.0.core, Some(self.0.pid), node, Discard::Dead) };
        }
    }
}
