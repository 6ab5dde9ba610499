//! The mailbox and the state word of a process, which are one word: a stack of what has arrived,
//! newest first, with four tag bits in the pointer that say who runs the process and what it waits
//! for. One compare-and-swap is a send; one swap takes in all that has arrived; one swap is a death.
//!
//! ```text
//!             push (mail) · push_signal · wake: the caller now owes a `schedule`
//!          ┌───────────────────────────────────────────────────┐
//!          │                                                   ▼
//!   LISTEN, no nodes        PARKED (no tag), nodes pile up    QUEUED ──▶ CLOSED
//!          ▲                 ▲  push: stays parked             │  take: all nodes and flags
//!          │ listen          │  push_signal · wake: QUEUED     │
//!          └─────────────────┴─────────────── park ────────────┘
//! ```
//!
//! `QUEUED`: in a run queue or running, so nobody else may queue it. `LISTEN`: idle, waits for mail.
//! *Parked*: waits inside a handler; mail alone does not queue it, a signal or its waker does.
//! `SIGNAL`: one of the nodes is a signal. `WAKE`: the waker fired since the last `take`.
//!
//! A stack that is taken whole and reversed was chosen over Vyukov's queue because (measurements
//! and argument: `docs/design/mailbox.md`) a push onto a closed mailbox fails there and then, with
//! its node in hand; there is no moment between swap and link at which the consumer must wait for a
//! sender; and mail, wake-up and death need no second word.
//!
//! # Invariants
//! 1. `QUEUED` is set by exactly one transition from unqueued, whose caller gets `Schedule` and must
//!    queue the process; it is cleared only by the running turn (`listen`, `park`, `close`). So a
//!    process is in at most one run queue or running, never both.
//! 2. What is pushed before a `listen` or (a signal, a wake) before a `park` makes that transition
//!    fail. So nothing that should run the process is left behind while it is unqueued.
//! 3. `CLOSED` is final: no transition leaves it, every later push returns its node.
//! 4. Nodes come out in the order of their pushes.
//! 5. All that a turn wrote to the process before `listen` or `park` is seen by the next turn, from
//!    its `begin` on.

use std::ptr;

use super::node::{List, Node};
use crate::sync::atomic::{
    AtomicPtr,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

const QUEUED: usize = 1;
const WAKE: usize = 2;
const SIGNAL: usize = 4;
const LISTEN: usize = 8;
const TAGS: usize = 15;
/// All ones: no node lies there, and no tag can be added to it.
const CLOSED: usize = usize::MAX;

pub(crate) struct Mailbox {
    word: AtomicPtr<Node>,
}

/// What a push came to.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "`Schedule` leaves it to the caller to queue the process, `Closed` returns the node"]
pub(crate) enum Pushed {
    /// Taken; the process runs already or does not want to know yet.
    Quiet,
    /// Taken; the caller must now put the process on a run queue.
    Schedule,
    /// The process is dead; the node is still the caller's.
    Closed,
}

/// All that had arrived: nodes (newest first) and flags.
#[derive(Debug)]
pub(crate) struct Taken {
    stack: *mut Node,
    flags: usize,
}

impl Taken {
    pub(crate) fn woken(&self) -> bool {
        self.flags & WAKE != 0
    }

    pub(crate) fn has_signal(&self) -> bool {
        self.flags & SIGNAL != 0
    }

    /// The nodes, newest first.
    pub(crate) fn stack(self) -> Stack {
        Stack(self.stack)
    }
}

/// Nodes as the mailbox stacks them, newest first; turned around into a [`List`] step by step.
#[derive(Debug)]
pub(crate) struct Stack(*mut Node);

impl Stack {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_null()
    }

    /// The one node, or none, or the stack again if it has more.
    #[inline(always)]
    pub(crate) fn single(self) -> Result<Option<*mut Node>, Stack> {
        if self.0.is_null() {
            return Ok(None);
        }
        // SAFETY: the stack owns its nodes.
        if unsafe { Node::next(self.0) }.is_null() {
            Ok(Some(self.0))
        } else {
            Err(self)
        }
    }

    /// Moves up to `limit` nodes to the front of `onto`, so that once the stack is empty `onto` has
    /// them oldest first. Returns how many it moved.
    #[inline(always)]
    pub(crate) fn turn(&mut self, onto: &mut List, limit: usize) -> usize {
        let mut moved = 0;
        while !self.0.is_null() && moved < limit {
            let node = self.0;
            // SAFETY: the stack owns its nodes.
            unsafe {
                self.0 = Node::next(node);
                onto.push_front(node);
            }
            moved += 1;
        }
        moved
    }
}

fn tag(word: *mut Node) -> usize {
    word.addr() & TAGS
}

fn node(word: *mut Node) -> *mut Node {
    word.map_addr(|addr| addr & !TAGS)
}

fn is_closed(word: *mut Node) -> bool {
    word.addr() == CLOSED
}

fn tagged(node: *mut Node, tags: usize) -> *mut Node {
    node.map_addr(|addr| addr | tags)
}

impl Mailbox {
    /// A mailbox whose process is about to be queued by its maker.
    pub(crate) fn new_queued() -> Self {
        Mailbox {
            word: AtomicPtr::new(tagged(ptr::null_mut(), QUEUED)),
        }
    }

    /// Adds a message. Queues a process that listens; a parked one stays parked.
    ///
    /// # Safety
    /// `new` is a valid node of the caller's; unless `Closed` comes back it is the mailbox's now.
    #[inline(always)]
    pub(crate) unsafe fn push(&self, new: *mut Node) -> Pushed {
        // SAFETY: as the caller promises.
        unsafe {
            self.add(new, |tags| {
                if tags & LISTEN != 0 {
                    (tags & !LISTEN) | QUEUED
                } else {
                    tags
                }
            })
        }
    }

    /// Adds a signal. Queues the process unless it is queued already.
    ///
    /// # Safety
    /// As for [`push`](Self::push).
    pub(crate) unsafe fn push_signal(&self, new: *mut Node) -> Pushed {
        // SAFETY: as the caller promises.
        unsafe { self.add(new, |tags| (tags & !LISTEN) | QUEUED | SIGNAL) }
    }

    #[inline(always)]
    unsafe fn add(&self, new: *mut Node, tags_after: impl Fn(usize) -> usize) -> Pushed {
        let mut word = self.word.load(Relaxed);
        loop {
            if is_closed(word) {
                return Pushed::Closed;
            }
            // SAFETY: `new` is ours until the exchange succeeds.
            unsafe { Node::set_next(new, node(word)) };
            let (before, after) = (tag(word), tags_after(tag(word)));
            // Release publishes the node to the Acquire in `take` and `close`. The exchange also
            // continues the release sequence of `listen` and `park` (invariant 5).
            match self
                .word
                .compare_exchange_weak(word, tagged(new, after), Release, Relaxed)
            {
                Ok(_) if after & QUEUED != before & QUEUED => return Pushed::Schedule,
                Ok(_) => return Pushed::Quiet,
                Err(seen) => word = seen,
            }
        }
    }

    /// Records that the waker fired. `true`: the caller must now queue the process.
    #[must_use = "`true` leaves it to the caller to queue the process"]
    pub(crate) fn wake(&self) -> bool {
        let mut word = self.word.load(Relaxed);
        loop {
            if is_closed(word) {
                return false;
            }
            let after = word.map_addr(|addr| (addr & !LISTEN) | QUEUED | WAKE);
            // Release: what the waking thread did before is seen by the turn that polls again
            // (Acquire in `take`); needed even where the flags stand already, for the turn that
            // reads them must see *this* thread's work.
            match self
                .word
                .compare_exchange_weak(word, after, Release, Relaxed)
            {
                Ok(_) => return tag(word) & QUEUED == 0,
                Err(seen) => word = seen,
            }
        }
    }

    /// Queues a process that listens, for mail that lies elsewhere (a bounded mailbox keeps its own
    /// ring, under whose lock both this and `listen` are called). `true`: the caller must queue it.
    #[must_use = "`true` leaves it to the caller to queue the process"]
    pub(crate) fn ring(&self) -> bool {
        let mut word = self.word.load(Relaxed);
        loop {
            if is_closed(word) || tag(word) & LISTEN == 0 {
                return false;
            }
            let after = word.map_addr(|addr| (addr & !LISTEN) | QUEUED);
            match self
                .word
                .compare_exchange_weak(word, after, Relaxed, Relaxed)
            {
                Ok(_) => return true,
                Err(seen) => word = seen,
            }
        }
    }

    /// The start of a turn, before it touches anything of the process.
    #[inline(always)]
    pub(crate) fn begin(&self) {
        // Acquire: invariant 5. It pairs with the Release in `listen` and `park`, whose release
        // sequences the exchanges since continue. (The run queue alone does not do: it orders us after
        // whoever queued the process, which need not have seen what the last turn wrote.)
        self.word.load(Acquire);
    }

    /// Takes in all that has arrived. Only the running turn calls this.
    #[inline(always)]
    pub(crate) fn take(&self) -> Taken {
        // Acquire: the nodes' contents (Release in `add`), and what wakers did (`wake`).
        let word = self.word.swap(tagged(ptr::null_mut(), QUEUED), Acquire);
        debug_assert!(!is_closed(word), "a dead process takes nothing in");
        Taken {
            stack: node(word),
            flags: tag(word),
        }
    }

    /// Whether something arrived since the last `take`.
    #[inline(always)]
    pub(crate) fn has_arrivals(&self) -> bool {
        // Relaxed: a hint; `take` synchronises.
        self.word.load(Relaxed) != tagged(ptr::null_mut(), QUEUED)
    }

    /// Whether a signal has arrived since the last `take`: each that was sent before something that the
    /// caller has seen by an Acquire.
    pub(crate) fn has_signal(&self) -> bool {
        // Relaxed: that Acquire orders it.
        tag(self.word.load(Relaxed)) & SIGNAL != 0
    }

    /// Whether the waker fired since the last `take`. Only the running turn calls this.
    pub(crate) fn is_woken(&self) -> bool {
        // Relaxed: what the answer means to the caller is for the caller to order.
        tag(self.word.load(Relaxed)) & WAKE != 0
    }

    /// Goes idle until mail, a signal or a wake comes. `false`: something is here already, the turn
    /// goes on. Only the running turn calls this.
    #[inline(always)]
    #[must_use = "`false`: the process still runs"]
    pub(crate) fn listen(&self) -> bool {
        let queued = tagged(ptr::null_mut(), QUEUED);
        let listening = tagged(ptr::null_mut(), LISTEN);
        // Release: invariant 5, paired with the Acquire in `begin`.
        self.word
            .compare_exchange(queued, listening, Release, Relaxed)
            .is_ok()
    }

    /// Goes idle until a signal or a wake comes; mail piles up. `false`: a signal or wake is here
    /// already, the turn goes on. Only the running turn calls this.
    #[must_use = "`false`: the process still runs"]
    pub(crate) fn park(&self) -> bool {
        let mut word = self.word.load(Relaxed);
        loop {
            if tag(word) & (WAKE | SIGNAL) != 0 {
                return false;
            }
            let after = word.map_addr(|addr| addr & !QUEUED);
            // Release: invariant 5, paired with the Acquire in `begin`.
            match self
                .word
                .compare_exchange_weak(word, after, Release, Relaxed)
            {
                Ok(_) => return true,
                Err(seen) => word = seen,
            }
        }
    }

    /// The death of the process: from here on every push fails. Returns what had arrived. Only the
    /// running turn calls this, once.
    pub(crate) fn close(&self) -> Taken {
        // Release publishes the exit reason to the Acquire in `is_closed` and in `Closed` pushes'
        // callers; Acquire as in `take`.
        let word = self.word.swap(ptr::without_provenance_mut(CLOSED), AcqRel);
        debug_assert!(!is_closed(word), "a process dies once");
        Taken {
            stack: node(word),
            flags: tag(word),
        }
    }

    /// Whether the process is dead. After `true` its exit reason may be read.
    #[inline(always)]
    pub(crate) fn is_closed(&self) -> bool {
        // Acquire pairs with the Release in `close`.
        is_closed(self.word.load(Acquire))
    }
}
