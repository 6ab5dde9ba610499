//! The wait-for graph: which server waits for which, as far as threads race over it. What it is for,
//! and which waits enter it, is said in `process::cycle`.
//!
//! A process's edge lies in its slot of the pid table, so that a walk needs no pins: the target, and
//! the *number* of the wait, which no other wait of that slot has. The number is odd while the edge
//! stands:
//!
//! ```text
//!                          stand
//!   2n, begun or no edge ────────▶ 2n + 1, stands
//!            │ clear                     │ clear (who answers) · leave (who waits)
//!            └──────▶ 2n + 2, no edge ◀──┘
//! ```
//!
//! In between, [`wait`] *marks* the question ([`Mark`](super::reply::Mark)): from then on whoever
//! answers clears the edge right after the answer is there, before it does anything else. A question
//! that was answered before it could be marked, or cleared before the edge stood, makes no edge.
//!
//! # Invariants
//! 1. `begin`, `stand` and `leave` are the waiting process's own. It writes the target only between
//!    `begin` and `stand`, so a target read between two reads of one odd number is that wait's.
//! 2. An edge that is cleared never stands (again): both go by compare-exchange on its number.
//! 3. A wait whose answer was published makes no edge that stands once its server runs on: the server
//!    clears it first, and whoever sees a later edge of that server sees it cleared (Release in
//!    `stand`, Acquire in `read`).
//! 4. Two walks that met the same numbers met a cycle: by 3, of two neighbours on it the second
//!    began to wait before the first one's answer. So each waits for the next, and the last for the
//!    walker, which walks.
//! 5. Of the processes of a cycle at least one sees all the others: each makes its edge stand, and
//!    then, behind a full fence, reads.

use super::table::{Counted, Table};
use crate::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
    fence,
};

/// A process: id and generation, as the pid table has it.
pub(crate) type Node = (u32, u32);

/// A process on the way, and the number of its wait.
pub(crate) type Step = (Node, u32);

/// Longer chains of waiting servers are not followed.
const LONGEST: usize = 1024;

/// For whom a process waits. All zero: for nobody, and never did.
pub(crate) struct Edge {
    target: AtomicU64,
    number: AtomicU32,
}

impl Edge {
    pub(crate) fn none() -> Self {
        Edge {
            target: AtomicU64::new(0),
            number: AtomicU32::new(0),
        }
    }

    /// An edge to `target` that does not stand yet; its number.
    pub(crate) fn begin(&self, target: Node) -> u32 {
        // Relaxed: our own, or left by who cleared our last edge; either way a new one.
        let number = self.number.load(Relaxed);
        debug_assert_eq!(number & 1, 0, "the last edge was left or cleared");
        // Release: who sees this target sees, in the second look of `read`, that the number moved.
        self.target
            .store(u64::from(target.0) << 32 | u64::from(target.1), Release);
        number
    }

    /// Makes the edge stand. `false`: it was cleared, the answer is here.
    #[must_use = "`false`: there is no edge"]
    pub(crate) fn stand(&self, number: u32) -> bool {
        // Release: who sees the edge sees its target, and that the edges this process cleared before
        // are gone (invariant 3).
        self.number
            .compare_exchange(number, number | 1, Release, Relaxed)
            .is_ok()
    }

    /// Clears the edge of this number, if it still is there.
    pub(crate) fn clear(&self, number: u32) {
        let mut now = self.number.load(Relaxed);
        while now | 1 == number | 1 {
            // Relaxed: `stand` of a later edge publishes it.
            match self.number.compare_exchange_weak(
                now,
                (number | 1).wrapping_add(1),
                Relaxed,
                Relaxed,
            ) {
                Ok(_) => return,
                Err(seen) => now = seen,
            }
        }
    }

    /// The waiting process takes its edge back, if there is one.
    pub(crate) fn leave(&self) {
        let number = self.number.load(Relaxed);
        if number & 1 != 0 {
            self.clear(number);
        }
    }

    /// Whether the edge of this number stands.
    fn stands(&self, number: u32) -> bool {
        // Relaxed: a hint, or behind the Acquire of a `read` that leads to who cleared it.
        self.number.load(Relaxed) == number | 1
    }

    /// The edge that stands, and its number.
    pub(crate) fn read(&self) -> Option<(Node, u32)> {
        // Acquire: pairs with the Release in `stand`.
        let number = self.number.load(Acquire);
        if number & 1 == 0 {
            return None;
        }
        // Acquire: pairs with the Release in `begin`, for the look below.
        let target = self.target.load(Acquire);
        // A target of a later wait comes with a later number (invariant 1).
        self.stands(number)
            .then_some((((target >> 32) as u32, target as u32), number))
    }
}

/// `me`, which is about to park, waits for `target` and for nothing else: sets its edge, and looks
/// whether that closes a cycle. The way round, from the target back to `me`.
///
/// `mark` is given the edge and marks the question with it; `false`: it is answered already.
pub(crate) fn wait<T: Counted>(
    table: &Table<T>,
    me: Node,
    target: Node,
    mark: impl FnOnce(u64) -> bool,
) -> Option<Vec<Step>> {
    let edge = table.edge_of(me.0)?;
    let number = edge.begin(target);
    if !mark(u64::from(me.0) << 32 | u64::from(number)) || !edge.stand(number) {
        return None;
    }
    // Invariant 5: pairs with itself, in the other processes of the cycle.
    fence(SeqCst);
    look(table, me, number, target)
}

/// The way round, if the edge of this number, from `me` to `target`, is part of a cycle.
pub(crate) fn look<T: Counted>(
    table: &Table<T>,
    me: Node,
    number: u32,
    target: Node,
) -> Option<Vec<Step>> {
    let way = walk(table, me, target)?;
    // Our own wait is one of the cycle's, too: it may have been answered before the others began.
    let stands = || table.edge_of(me.0).is_some_and(|edge| edge.stands(number));
    (walk(table, me, target)? == way && stands()).then_some(way)
}

/// The question that was marked with `edge` is answered.
pub(crate) fn answered<T: Counted>(table: &Table<T>, edge: u64) {
    if let Some(slot) = table.edge_of((edge >> 32) as u32) {
        slot.clear(edge as u32);
    }
}

/// Follows the edges from `target`; the way, if it leads back to `me`.
fn walk<T: Counted>(table: &Table<T>, me: Node, target: Node) -> Option<Vec<Step>> {
    // Most walks end at once, and allocate nothing: the target waits for nobody.
    let (mut at, mut steps) = (target, Vec::new());
    while at != me {
        let (next, number) = table.edge(at)?;
        if steps.len() == LONGEST {
            return None;
        }
        steps.push((at, number));
        at = next;
    }
    Some(steps)
}
