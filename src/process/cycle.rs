//! Cycles of calls: A waits for B, B for C, C for A. Each of them would wait until its timeout; here
//! the call that closes the cycle is an error at once.
//!
//! While a server's handler waits for exactly one call and nothing else could wake it (timeouts
//! apart), the pid table's slot of the server holds an *edge*: whom it waits for ([`super::edge`] has
//! the protocol and its invariants). A server that is about to wait sets its edge and walks along the
//! edges from its target; if it comes back to itself it walks again, and reports a cycle only if it
//! met the same waits.
//!
//! # Invariants
//! 1. An edge stands only while its server can do nothing until the answer comes, a timeout apart: it
//!    is set just before the server parks, cleared when the answer is there, and when the server runs
//!    on or dies.
//! 2. A false alarm is worse than a missed one: a call whose right to answer may be handed on
//!    (`HandleRequest`) makes no edge; neither do several calls at once, foreign wakers, or a handler
//!    that has woken itself.
//! 3. The error goes to the call that closed the cycle and to no other: it is kept with a hold on that
//!    call's question.

use std::sync::Arc;

use super::ask::Question;
use super::cell::Cell;
use super::edge;
use super::pid::Pid;
use crate::error::CallPath;
use crate::sched::core::Core;
use crate::sched::worker::Worker;

/// Sets the edge of a server that is about to park. If that closes a cycle, notes the path and wakes
/// the server up again, for its call to return the error.
///
/// # Safety
/// The caller is the running turn of `cell`, whose handler has just registered for one call, the one
/// that asked `question`.
pub(crate) unsafe fn enter(worker: &Worker, cell: &Cell, question: Question) {
    let core = worker.core();
    // SAFETY: as the caller promises.
    let extra = unsafe { cell.own() }.extra();
    extra.has_edge = true;
    let (me, target) = ((cell.id, cell.serial), worker.turn.target.get());
    let Some(way) = edge::wait(&core.table, me, target, |edge| question.mark(edge)) else {
        return;
    };
    let pid = |node: edge::Node| Pid::local(core.creation(), node.0, node.1);
    let path: Vec<Pid> = std::iter::once(cell.pid())
        .chain(way.iter().map(|(node, _)| pid(*node)))
        .chain(std::iter::once(cell.pid()))
        .collect();
    extra.cycle = Some((question, CallPath(Arc::from(path))));
    leave(core, cell);
    let queued_already = !cell.mailbox.wake();
    debug_assert!(queued_already, "the turn is running");
}

/// Clears the edge of a server whose handler runs on.
///
/// # Safety
/// The caller is the running turn of `cell`.
#[inline]
pub(crate) unsafe fn resumed(core: &Core, cell: &Cell) {
    // SAFETY: as the caller promises.
    if let Some(extra) = unsafe { cell.own() }.extra.as_mut() {
        if std::mem::take(&mut extra.has_edge) {
            leave(core, cell);
        }
    }
}

/// Takes the running process's edge back.
fn leave(core: &Core, cell: &Cell) {
    if let Some(edge) = core.table.edge_of(cell.id) {
        edge.leave();
    }
}
