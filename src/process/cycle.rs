//! Cycles of calls: A waits for B, B for C, C for A. Each of them would wait until its timeout; here
//! the call that closes the cycle is an error at once.
//!
//! While a server's handler waits for exactly one call and nothing else could wake it (timeouts
//! apart), the pid table's slot of the server holds an *edge*: whom it waits for, and a number that
//! no other wait of that server had. A server that is about to wait sets its edge and walks along
//! the edges from its target; if it comes back to itself it walks again, and reports a cycle only if
//! no number changed.
//!
//! # Invariants
//! 1. An edge exists only while its server can do nothing until the answer comes: it is set just
//!    before the server parks, cleared before the answer is published, and when the server runs on
//!    or dies. So two walks that see the same numbers have seen all edges exist at one moment.
//! 2. Of the servers of a cycle, the last to set its edge sees all the others: each sets its own,
//!    then (after a full fence) reads.
//! 3. A false alarm is worse than a missed one: a call whose right to answer may be handed on
//!    (`HandleRequest`) makes no edge; neither do several calls at once, or foreign wakers.

use std::sync::Arc;

use super::cell::{Cell, Extra};
use super::pid::Pid;
use crate::error::CallPath;
use crate::sched::core::Core;
use crate::sched::worker::Worker;
use crate::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
    fence,
};

/// Longer chains of waiting servers are not followed.
const LONGEST: usize = 1024;

/// Sets the edge of a server that is about to park. If that closes a cycle, notes the path and wakes
/// the server up again, for its call to return the error.
///
/// # Safety
/// The caller is the running turn of `cell`, whose handler has just registered for one call.
pub(crate) unsafe fn enter(worker: &Worker, cell: &Cell) {
    let turn = &worker.turn;
    let (target, answer_edge) = (turn.target.get(), turn.edge.get());
    if answer_edge.is_null() {
        return;
    }
    let core = worker.core();
    // SAFETY: as the caller promises.
    let extra = unsafe { cell.own() }.extra();
    extra.edge_number = extra.edge_number.wrapping_add(1).max(1);
    let number = extra.edge_number;
    core.table.set_edge(cell.id, target, number);
    // Whoever answers clears the edge by this. It may have answered already: then the mailbox has
    // the wake-up, the park fails, and the edge goes when the handler runs on.
    // SAFETY: the handler waits for the call, so its question is alive.
    let word: &AtomicU64 = unsafe { &*answer_edge };
    word.store(u64::from(cell.id) << 32 | u64::from(number), Relaxed);
    fence(SeqCst);
    let me = (cell.id, cell.serial);
    let Some(first) = walk(core, me, target, number) else {
        return;
    };
    if walk(core, me, target, number).as_ref() != Some(&first) {
        return;
    }
    let creation = core.creation();
    let mut path: Vec<Pid> = vec![cell.pid()];
    path.extend(
        first
            .iter()
            .map(|step| Pid::local(creation, step.0.0, step.0.1)),
    );
    extra.cycle = Some(CallPath(Arc::from(path)));
    core.table.drop_edge(cell.id);
    let queued_already = !cell.mailbox.wake();
    debug_assert!(queued_already, "the turn is running");
}

/// A process on the way and the number of its edge.
type Step = ((u32, u32), u32);

/// Follows the edges from `target`; the way, if it leads back to `me`.
fn walk(core: &Core, me: (u32, u32), target: (u32, u32), number: u32) -> Option<Vec<Step>> {
    // Most walks end at once: the target waits for nobody.
    let mut at = target;
    if at != me {
        core.table.edge(at)?;
    }
    let mut steps = Vec::new();
    loop {
        if at == me {
            steps.push((me, number));
            return Some(steps);
        }
        if steps.len() == LONGEST {
            return None;
        }
        let (next, number) = core.table.edge(at)?;
        steps.push((at, number));
        at = next;
    }
}

/// Clears the edge of a server whose handler runs on.
///
/// # Safety
/// The caller is the running turn of `cell`.
#[inline]
pub(crate) unsafe fn resumed(core: &Core, cell: &Cell) {
    // SAFETY: as the caller promises.
    if let Some(extra) = unsafe { cell.own() }.extra.as_ref() {
        if extra.edge_number != 0 {
            core.table.drop_edge(cell.id);
        }
    }
}

/// Clears the edge of a server that died.
pub(crate) fn leave(core: &Core, cell: &Cell, extra: &mut Extra) {
    if extra.edge_number != 0 {
        core.table.drop_edge(cell.id);
    }
}
