//! What lies in a mailbox: an intrusive, type-erased node. A message is one allocation, made by its
//! sender, that begins with a [`Node`]; the [`NodeVtable`] beside the link knows what is behind it.
//!
//! # Invariants
//! 1. A node has exactly one owner: its maker until a push succeeds, then the mailbox, then the
//!    process that took it; whoever owns it may touch `next` and must consume it exactly once,
//!    through one of the vtable's consuming functions.
//! 2. The vtable's functions are called only on a node of the type the vtable was made for, so the
//!    cast inside them is right.

use std::any::Any;
use std::ptr;

use crate::exit::ExitReason;
use crate::sync::UnsafeCell;

/// The head of every envelope. Sixteen-byte alignment leaves four tag bits in a pointer to it
/// (see [`super::mailbox`]).
#[repr(C, align(16))]
pub(crate) struct Node {
    pub(crate) next: UnsafeCell<*mut Node>,
    pub(crate) vtable: &'static NodeVtable,
}

impl Node {
    pub(crate) fn new(vtable: &'static NodeVtable) -> Self {
        Node {
            next: UnsafeCell::new(ptr::null_mut()),
            vtable,
        }
    }

    /// # Safety
    /// `node` is valid and owned by the caller (invariant 1).
    #[inline(always)]
    pub(crate) unsafe fn next(node: *mut Node) -> *mut Node {
        // SAFETY: the caller owns the node, so nobody else reads or writes its link.
        unsafe { (*node).next.with(|next| *next) }
    }

    /// Ties a message to the process it was made for: it does not go to another when that one dies.
    ///
    /// # Safety
    /// `node` is valid and owned by the caller (invariant 1), and was not opened.
    pub(crate) unsafe fn tie(node: *mut Node) {
        // SAFETY: the caller owns the node; the other table is for the same type (invariant 2).
        unsafe {
            if let Some(tied) = (*node).vtable.tied {
                (*node).vtable = tied;
            }
        }
    }

    /// # Safety
    /// `node` is valid and owned by the caller (invariant 1).
    #[inline(always)]
    pub(crate) unsafe fn set_next(node: *mut Node, to: *mut Node) {
        // SAFETY: as for `next`.
        unsafe { (*node).next.with_mut(|next| *next = to) }
    }
}

/// What a node is, as far as a process must tell before it opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A message for a handler of the receiving behaviour: cast, call or info.
    Handler,
    /// As `Handler`, for a request that a suspended process sees to as well.
    System,
    /// A plain message of one type, for a process that receives by itself.
    Plain,
    /// A message of unknown type, sent to a bare pid.
    Any,
    /// A [`super::signal::Notice`]: kept in mailbox order, made by noex.
    Notice,
    /// A [`super::signal::Signal`]: acts when it is taken in, ahead of queued messages.
    Signal,
}

/// Why a message is thrown away before a handler saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Discard {
    /// The receiver is dead; its exit reason goes to a caller.
    Dead,
    /// A bounded mailbox had no room.
    Overload,
}

/// How far a handler came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It is done and its node consumed.
    Done,
    /// It waits; the node holds its future and must be resumed or aborted.
    Waits,
}

/// Moves a message out of its node, and consumes that.
pub(crate) type IntoValue = unsafe fn(*mut Node) -> Box<dyn Any + Send>;

/// The operations behind a [`Node`], one static table for each concrete envelope type.
pub(crate) struct NodeVtable {
    pub(crate) kind: Kind,
    /// Whoever takes this call keeps the right to answer to itself, so waiting for the reply is
    /// waiting for that process (see `gen_server::cycle`).
    pub(crate) answered_in_place: bool,
    /// Opens the envelope for the body at `*mut ()` and runs the handler up to its first wait.
    pub(crate) start: unsafe fn(*mut Node, *mut ()) -> Progress,
    /// Polls the future of a handler that waits.
    pub(crate) resume: unsafe fn(*mut Node, *mut ()) -> Progress,
    /// Drops the future of a handler that waits, or what is left of one that panicked. `true`: it was
    /// a call and is still to be answered, by `fail`; `false`: the node is consumed.
    pub(crate) abort: unsafe fn(*mut Node, Stage) -> bool,
    /// Drops a message no handler has seen and consumes the node.
    pub(crate) discard: unsafe fn(*mut Node, Discard),
    /// Moves the message out to `*mut ()` (a pointer to uninitialised memory of the message's type)
    /// and consumes the node. Only `Kind::Plain` and `Kind::Any`.
    pub(crate) take: unsafe fn(*mut Node, *mut ()),
    /// Sends the reply that was held back until `terminate` had run, and consumes the node.
    pub(crate) release: unsafe fn(*mut Node),
    /// Answers a call that was aborted: with the exit reason of its server, or, if that lives, that
    /// nobody replied. Consumes the node.
    pub(crate) fail: unsafe fn(*mut Node, Option<&ExitReason>),
    /// Frees the memory of a call's node once nobody holds it; its contents are gone by then.
    pub(crate) free: unsafe fn(*mut Node),
    pub(crate) type_name: fn() -> &'static str,
    /// Moves the message out as a value and consumes the node. Only of what may go to another process
    /// when its own dies ([`super::estate`]): what somebody sent, and nobody waits for. `None`: calls,
    /// what timers send, and what noex sends.
    pub(crate) portable: Option<IntoValue>,
    /// The table of the same message once it is tied to one process ([`Node::tie`]).
    pub(crate) tied: Option<&'static NodeVtable>,
}

/// What of an envelope's content exists while its handler runs; tells `abort` what to drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The message has been moved out and no future has been built yet.
    Opened,
    /// The handler's future lies in the envelope.
    Future,
    /// The future is gone as well; only the envelope is left.
    Spent,
    /// As `Spent`, and the reply is written.
    Answered,
}

/// A singly linked first-in first-out list of owned nodes, linked through the nodes themselves.
#[derive(Debug)]
pub(crate) struct List {
    first: *mut Node,
    last: *mut Node,
}

impl Default for List {
    fn default() -> Self {
        Self::new()
    }
}

impl List {
    pub(crate) const fn new() -> Self {
        List {
            first: ptr::null_mut(),
            last: ptr::null_mut(),
        }
    }

    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    /// # Safety
    /// The caller owns `node` and hands it over.
    #[inline(always)]
    pub(crate) unsafe fn push_back(&mut self, node: *mut Node) {
        // SAFETY: the caller's node; `last` is ours.
        unsafe {
            Node::set_next(node, ptr::null_mut());
            if self.last.is_null() {
                self.first = node;
            } else {
                Node::set_next(self.last, node);
            }
        }
        self.last = node;
    }

    #[inline(always)]
    pub(crate) fn pop_front(&mut self) -> Option<*mut Node> {
        let node = self.first;
        if node.is_null() {
            return None;
        }
        // SAFETY: nodes in the list are owned by it.
        self.first = unsafe { Node::next(node) };
        if self.first.is_null() {
            self.last = ptr::null_mut();
        }
        Some(node)
    }

    /// Moves all of `other` behind what is here.
    pub(crate) fn append(&mut self, other: &mut List) {
        if other.is_empty() {
            return;
        }
        if self.last.is_null() {
            self.first = other.first;
        } else {
            // SAFETY: both lists own their nodes.
            unsafe { Node::set_next(self.last, other.first) };
        }
        self.last = other.last;
        *other = List::new();
    }

    /// Puts `node` at the front.
    ///
    /// # Safety
    /// The caller owns `node` and hands it over.
    pub(crate) unsafe fn push_front(&mut self, node: *mut Node) {
        // SAFETY: the caller's node.
        unsafe { Node::set_next(node, self.first) };
        if self.first.is_null() {
            self.last = node;
        }
        self.first = node;
    }

    /// Takes out the first node for which `wanted` says yes, keeping the order of the others.
    pub(crate) fn remove_first(
        &mut self,
        mut wanted: impl FnMut(*mut Node) -> bool,
    ) -> Option<*mut Node> {
        let mut before: *mut Node = ptr::null_mut();
        let mut node = self.first;
        while !node.is_null() {
            // SAFETY: nodes in the list are owned by it.
            let next = unsafe { Node::next(node) };
            if wanted(node) {
                if before.is_null() {
                    self.first = next;
                } else {
                    // SAFETY: as above.
                    unsafe { Node::set_next(before, next) };
                }
                if next.is_null() {
                    self.last = before;
                }
                return Some(node);
            }
            before = node;
            node = next;
        }
        None
    }

    /// Counts the nodes by walking them.
    pub(crate) fn len(&self) -> usize {
        let mut node = self.first;
        let mut n = 0;
        while !node.is_null() {
            n += 1;
            // SAFETY: nodes in the list are owned by it.
            node = unsafe { Node::next(node) };
        }
        n
    }
}
