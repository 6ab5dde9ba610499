//! A mailbox with a bound: a ring under a short lock. It carries the signals as well, so that the
//! order of sending is kept; only messages of users count against the bound.
//!
//! # Invariants
//! 1. Every node of the process lies in the ring, in order of sending; its stack has bells only.
//! 2. `counted` is the number of bounded entries in the ring, at most `capacity`.
//! 3. An entry keeps its place while the owner walks along the places: what is taken out from the middle
//!    leaves `None`, so places can be named by number. Such holes are dropped as they come to the front,
//!    and all of them, when nobody walks, once they are the most of what is there.
//! 4. A sender that waits for room is woken when room comes, or when the process dies. All are woken
//!    and try again: one alone might have given up meanwhile and take the room to its grave.
//! 5. A signal in the ring was put there together with a bell in the stack. Signals are carried out
//!    when the bells are taken in, and by nobody who merely comes to them.

use std::collections::VecDeque;
use std::task::Waker;

use super::ask::wake_all;
use super::deliver::Class;
use super::mailbox::{Mailbox, Pushed};
use super::node::{Kind, Node};
use super::sys::is_system;
use crate::sync::{Mutex, MutexGuard};

/// What happens to a message for which a bounded mailbox has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// The new message is dropped and counted; its caller, if it is a call, gets
    /// [`CallError::Overloaded`](crate::CallError::Overloaded).
    DropNewest,
    /// The oldest queued message makes room, and is dropped and counted likewise.
    DropOldest,
    /// The sender gets the message back in [`SendError`](crate::SendError), a caller
    /// [`CallError::Overloaded`](crate::CallError::Overloaded).
    Reject,
}

/// How many messages may wait in a mailbox. Default: any number, as in OTP, which knows nothing else.
///
/// Casts, calls and plain messages count. Exit signals, `Down`s, timers, replies and stop requests
/// are always accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MailboxPolicy {
    /// Any number, limited by memory only. Erlang's mailboxes are like this.
    #[default]
    Unbounded,
    /// At most `capacity` (at least 1), then `overflow` decides.
    Bounded {
        /// How many messages may wait, the one being handled not counted.
        capacity: usize,
        /// What happens to the next one.
        overflow: Overflow,
    },
}

struct Entry {
    node: *mut Node,
    counted: bool,
}

struct Ring {
    entries: VecDeque<Option<Entry>>,
    /// The number of the front entry: how many were popped, but for a correction in `put_back`.
    popped: u64,
    /// How many places nothing lies in.
    holes: usize,
    /// The owner walks along the places (`take_signal`): they must keep their numbers.
    walked: bool,
    counted: usize,
    waiting: Vec<Waker>,
    closed: bool,
}

// SAFETY: the nodes are owned by the ring, and their messages are `Send` (demanded where they are
// made).
unsafe impl Send for Ring {}

pub(crate) struct Bounded {
    capacity: usize,
    overflow: Overflow,
    ring: Mutex<Ring>,
}

/// What a push came to. A node that comes back is the caller's again.
pub(crate) enum Put {
    Quiet,
    Schedule,
    Closed,
    /// Full: the new node comes back, to be rejected or dropped.
    Full(Overflow),
    /// Taken, and the oldest message pushed out. `true`: schedule.
    Displaced(*mut Node, bool),
}

/// What comes next for the process.
pub(crate) enum Next {
    Nothing,
    Message(*mut Node),
    /// A signal, to be carried out first: its bell is in the process's own mailbox.
    Signal,
}

impl Ring {
    /// Drops places that nothing lies in: those in front at once, others when there are too many. So the
    /// ring stays as small as what is in it.
    fn tidy(&mut self) {
        while let Some(None) = self.entries.front() {
            self.entries.pop_front();
            self.popped += 1;
            self.holes -= 1;
        }
        if !self.walked && self.holes > 32 && self.holes > self.entries.len() / 2 {
            self.entries.retain(Option::is_some);
            self.holes = 0;
        }
    }
}

/// Takes the first node out, and wakes who waits for its room once the lock is free.
fn pop_front(mut ring: MutexGuard<'_, Ring>) -> Option<*mut Node> {
    loop {
        let entry = ring.entries.pop_front()?;
        ring.popped += 1;
        let Some(entry) = entry else {
            ring.holes -= 1;
            continue;
        };
        ring.counted -= usize::from(entry.counted);
        let waiting = if entry.counted {
            std::mem::take(&mut ring.waiting)
        } else {
            Vec::new()
        };
        drop(ring);
        wake_all(waiting);
        return Some(entry.node);
    }
}

impl Bounded {
    pub(crate) fn new(policy: MailboxPolicy) -> Option<Box<Self>> {
        let MailboxPolicy::Bounded { capacity, overflow } = policy else {
            return None;
        };
        Some(Box::new(Bounded {
            capacity: capacity.max(1),
            overflow,
            ring: Mutex::new(Ring {
                entries: VecDeque::new(),
                popped: 0,
                holes: 0,
                walked: false,
                counted: 0,
                waiting: Vec::new(),
                closed: false,
            }),
        }))
    }

    /// Adds a node.
    pub(crate) fn push(&self, mailbox: &Mailbox, node: *mut Node, class: Class) -> Put {
        let counted = class != Class::Exempt;
        let mut ring = self.ring.lock();
        if ring.closed {
            return Put::Closed;
        }
        let mut displaced = None;
        if counted && ring.counted >= self.capacity {
            if class == Class::Patient || self.overflow != Overflow::DropOldest {
                return Put::Full(self.overflow);
            }
            let oldest = ring
                .entries
                .iter_mut()
                .find(|entry| entry.as_ref().is_some_and(|entry| entry.counted));
            displaced = oldest.and_then(Option::take).map(|entry| entry.node);
            ring.counted -= 1;
            ring.holes += 1;
            ring.tidy();
        }
        ring.entries.push_back(Some(Entry { node, counted }));
        ring.counted += usize::from(counted);
        let schedule = mailbox.ring();
        match displaced {
            Some(oldest) => Put::Displaced(oldest, schedule),
            None if schedule => Put::Schedule,
            None => Put::Quiet,
        }
    }

    /// Adds a signal, and to the process's own mailbox `bell`, which announces it. Both come back if
    /// the process is dead.
    ///
    /// # Safety
    /// `bell` is a signal node of the caller's, handed over unless `Closed` comes back.
    pub(crate) unsafe fn push_signal(
        &self,
        mailbox: &Mailbox,
        node: *mut Node,
        bell: *mut Node,
    ) -> Pushed {
        // Both under the lock: whoever finds the signal finds its bell (invariant 5).
        let mut ring = self.ring.lock();
        if ring.closed {
            return Pushed::Closed;
        }
        // SAFETY: as the caller promises.
        let rung = unsafe { mailbox.push_signal(bell) };
        if rung != Pushed::Closed {
            ring.entries.push_back(Some(Entry {
                node,
                counted: false,
            }));
        }
        rung
    }

    /// Registers `waker` for room, unless there is room (or the process is dead): then `false`.
    pub(crate) fn wait_for_room(&self, waker: &Waker) -> bool {
        let mut ring = self.ring.lock();
        if ring.closed || ring.counted < self.capacity {
            return false;
        }
        if !ring.waiting.iter().any(|old| old.will_wake(waker)) {
            ring.waiting.push(waker.clone());
        }
        true
    }

    /// Takes the oldest message. Only the owner's turn calls this.
    pub(crate) fn next(&self) -> Next {
        let mut ring = self.ring.lock();
        loop {
            match ring.entries.front() {
                None => return Next::Nothing,
                // SAFETY: as in `take_signal`.
                Some(Some(entry)) if unsafe { (*entry.node).vtable.kind } == Kind::Signal => {
                    return Next::Signal;
                }
                Some(Some(_)) => return pop_front(ring).map_or(Next::Nothing, Next::Message),
                Some(None) => ring.tidy(),
            }
        }
    }

    /// Takes the oldest node, whatever it is: the process is dead.
    pub(crate) fn pop(&self) -> Option<*mut Node> {
        pop_front(self.ring.lock())
    }

    /// Goes idle if nothing is here that the process would see to: as `Mailbox::listen`, with the ring's
    /// lock held so that no push comes between. Only the owner's turn calls this.
    #[must_use = "`false`: the process still runs"]
    pub(crate) fn listen(&self, mailbox: &Mailbox, suspended: bool) -> bool {
        let ring = self.ring.lock();
        let waits = |entry: &Entry| {
            // SAFETY: the ring owns its nodes, and we hold its lock.
            suspended && unsafe { !is_system(entry.node) }
        };
        ring.entries.iter().flatten().all(waits) && mailbox.listen()
    }

    /// Takes out the first signal at or after `from`, leaving its place empty; returns the place.
    pub(crate) fn take_signal(&self, from: u64) -> Option<(u64, *mut Node)> {
        let mut ring = self.ring.lock();
        let popped = ring.popped;
        let skip = from.saturating_sub(popped) as usize;
        for (i, entry) in ring.entries.iter_mut().enumerate().skip(skip) {
            let is_signal = entry.as_ref().is_some_and(|entry| {
                // SAFETY: the ring owns its nodes; `vtable` of a queued node does not change.
                unsafe { (*entry.node).vtable.kind == Kind::Signal }
            });
            if is_signal {
                let taken = entry.take().map(|entry| (popped + i as u64, entry.node));
                ring.holes += 1;
                ring.walked = true;
                return taken;
            }
        }
        ring.walked = false;
        ring.tidy();
        None
    }

    /// Puts a node into the place `take_signal` emptied.
    pub(crate) fn put_back(&self, place: u64, node: *mut Node) {
        let mut ring = self.ring.lock();
        let entry = Some(Entry {
            node,
            counted: false,
        });
        match place.checked_sub(ring.popped) {
            Some(at) => {
                ring.entries[at as usize] = entry;
                ring.holes -= 1;
            }
            // A push has tidied up to there: it is in front of all that is left.
            None => {
                ring.entries.push_front(entry);
                ring.popped -= 1;
            }
        }
    }

    /// How many nodes wait.
    pub(crate) fn len(&self) -> usize {
        self.ring.lock().entries.iter().flatten().count()
    }

    /// Takes the first node for which `wanted` says yes, out of turn.
    pub(crate) fn remove_first(
        &self,
        mut wanted: impl FnMut(*mut Node) -> bool,
    ) -> Option<*mut Node> {
        let mut ring = self.ring.lock();
        let found = ring
            .entries
            .iter_mut()
            .find(|entry| entry.as_ref().is_some_and(|entry| wanted(entry.node)))?;
        let entry = found.take()?;
        ring.holes += 1;
        ring.tidy();
        ring.counted -= usize::from(entry.counted);
        let waiting = if entry.counted {
            std::mem::take(&mut ring.waiting)
        } else {
            Vec::new()
        };
        drop(ring);
        wake_all(waiting);
        Some(entry.node)
    }

    /// Refuses every later push and wakes all who wait for room.
    pub(crate) fn close(&self) {
        let waiting = {
            let mut ring = self.ring.lock();
            ring.closed = true;
            std::mem::take(&mut ring.waiting)
        };
        wake_all(waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::super::signal::{Notice, SystemNode};
    use super::*;

    fn node() -> *mut Node {
        SystemNode::notice(Notice::Timeout(0))
    }

    fn drop_node(node: *mut Node) {
        // SAFETY: made by `node`, and given back.
        drop(unsafe { SystemNode::open(node) });
    }

    #[test]
    fn the_ring_stays_as_small_as_what_is_in_it() {
        let policy = MailboxPolicy::Bounded {
            capacity: 4,
            overflow: Overflow::DropOldest,
        };
        let bounded = Bounded::new(policy).unwrap();
        let mailbox = Mailbox::new_queued();
        let places = || bounded.ring.lock().entries.len();
        // One that no message displaces, in front of all.
        let _ = bounded.push(&mailbox, node(), Class::Exempt);
        for _ in 0..1000 {
            if let Put::Displaced(oldest, _) = bounded.push(&mailbox, node(), Class::Counted) {
                drop_node(oldest);
            }
            assert!(places() <= 2 * (5 + 33), "{} places", places());
        }
        // Taken out from the middle, as a suspended server does.
        for _ in 0..1000 {
            let _ = bounded.push(&mailbox, node(), Class::Exempt);
            let mut passed = 0;
            let last = bounded.remove_first(|_| {
                passed += 1;
                passed > 5
            });
            last.into_iter().for_each(drop_node);
            assert!(places() <= 2 * (6 + 33), "{} places", places());
        }
        let mut left = 0;
        while let Some(node) = bounded.pop() {
            drop_node(node);
            left += 1;
        }
        assert_eq!(left, 5);
        assert_eq!(bounded.ring.lock().holes, 0);
    }
}
