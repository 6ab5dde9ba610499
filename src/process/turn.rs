//! A turn: from the moment a scheduler takes a process from its queue until the process waits,
//! yields or dies.
//!
//! First all that has arrived is taken in: signals act, messages line up. Then the body runs. What
//! is taken in, handled, fired or dropped is charged to the budget, and goes on in the next turn
//! where it is too much for one. How a process ends is in [`super::death`].
//!
//! # Invariants
//! 1. No handler runs while a batch with a signal in it is being taken in: a signal acts ahead of
//!    every message that no handler has begun.
//! 2. After `listen` or `park` succeeded the cell is not touched: another thread may run it already.

use std::any::Any;
use std::ptr::NonNull;

use super::cell::{Cell, CellRef, Intake, Step};
use super::cycle;
use super::death::{finish, reap, report_crash, unlinked};
use super::info;
use super::node::{Kind, List, Node};
use super::signal::{Cause, Content, Exit, Notice, Signal, SystemNode, Verdict, judge};
use crate::exit::{self, ExitReason};
use crate::sched::stats::Count;
use crate::sched::worker::{Job, Worker};
use crate::sync::atomic::Ordering::Relaxed;

/// How many arrivals are turned around, or dead messages dropped, in one go.
pub(super) const SLICE: usize = 4096;

pub(super) enum After {
    /// Waits, or gone for good. The cell must not be touched.
    Left,
    Requeue,
    /// To run again, as if woken, once the process that it asked has run.
    Behind {
        /// It is a server that has yet to make its edge in the wait-for graph.
        owes_edge: bool,
    },
}

/// Runs one turn of a queued process.
pub(crate) fn run(worker: &Worker, job: Job) {
    worker.set_current(Some(job.cell()));
    worker.turn.budget.set(worker.core().settings.budget);
    worker.turn.yielded.set(false);
    worker.turn.unsaid.set(false);
    let after = {
        let _poll = exit::enter_poll();
        // SAFETY: a queued process is alive, and having taken it from the queue makes this its turn.
        unsafe { turn(worker, job.cell()) }
    };
    worker.flush_counts();
    worker.turn.question.set(None);
    if !matches!(after, After::Left) {
        // SAFETY: not left, so the process, or what is left of it, is still ours.
        unsafe { queue_again(worker, job.cell(), after) };
    }
    worker.set_current(None);
}

/// Queues a process that has had its turn; and if it pushes out one that asked before and has yet to wait,
/// runs a turn of that one. A pointer, as for [`turn`]: once it is queued it may go.
///
/// # Safety
/// The caller has just run a turn of the process, and not left it.
#[inline(never)]
unsafe fn queue_again(worker: &Worker, this: NonNull<Cell>, after: After) {
    let before = {
        // SAFETY: as the caller promises; not used once it is queued.
        let cell = unsafe { this.as_ref() };
        if worker.turn.woken.get() {
            // The wake-up was taken in but not acted on: it must not be lost.
            let queued_already = !cell.mailbox.wake();
            debug_assert!(queued_already);
        }
        match after {
            After::Behind { owes_edge } => worker.run_behind(cell, owes_edge),
            After::Requeue | After::Left => {
                worker.push_back(cell);
                None
            }
        }
    };
    let Some(before) = before else {
        return;
    };
    if worker.catches_up.replace(true) {
        // The one that runs was pushed out itself, and asks again.
        // SAFETY: pushed out, so queued, and alive.
        return worker.push_back(unsafe { before.cell().as_ref() });
    }
    run(worker, before);
    worker.catches_up.set(false);
}

/// The functions through which a cell may go take a pointer, not a reference, as a reference given as
/// an argument must stay valid to the end of the call.
///
/// # Safety
/// This is the one running turn of the process, which is alive, or dead and not yet reaped.
unsafe fn turn(worker: &Worker, this: NonNull<Cell>) -> After {
    // SAFETY: alive, as the caller promises; not used after it was left.
    let cell = unsafe { this.as_ref() };
    cell.mailbox.begin();
    // SAFETY: as the caller promises; the reference is not kept across other uses of `own`.
    let own = unsafe { cell.own() };
    worker.turn.woken.set(std::mem::take(&mut own.asked));
    worker.turn.unanswered.set(worker.turn.woken.get());
    if own.dead {
        // SAFETY: as the caller promises.
        return unsafe { reap(worker, this) };
    }
    loop {
        // SAFETY: as the caller promises.
        match unsafe { take_in(worker, cell) } {
            TakenIn::Done => {}
            TakenIn::More => return After::Requeue,
            // SAFETY: as the caller promises.
            TakenIn::Die(reason) => return unsafe { finish(worker, this, reason) },
        }
        // SAFETY: as the caller promises; the vtable is the body's.
        let step = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| unsafe {
            (cell.vtable.step)(this, worker)
        }));
        if step
            .as_ref()
            .is_ok_and(|step| !matches!(step, Step::Exit(_)))
        {
            // SAFETY: as the caller promises.
            unsafe { answer_orphans(cell) };
        }
        match step {
            Ok(Step::Listen | Step::Park) if worker.turn.unsaid.get() => {
                worker.turn.unsaid.set(false);
                // A call of the handler's would not wake it.
                // SAFETY: as the caller promises.
                unsafe { cell.own() }.asked = true;
                if worker.turn.yielded.replace(false) {
                    return After::Requeue;
                }
                let owes_edge = cell.vtable.serves;
                return After::Behind { owes_edge };
            }
            Ok(Step::Park) if waits_too_soon(worker) => {
                // SAFETY: as the caller promises.
                unsafe { cell.own() }.asked = true;
                return After::Behind { owes_edge: false };
            }
            Ok(Step::Listen) => {
                if !cell.vtable.serves {
                    // SAFETY: as the caller promises.
                    unsafe { arm_alarm(worker, cell) };
                }
                let left = match &cell.bounded {
                    None => cell.mailbox.listen(),
                    Some(bounded) => {
                        // SAFETY: as the caller promises.
                        let suspended = unsafe { cell.own() }.is_suspended();
                        bounded.listen(&cell.mailbox, suspended)
                    }
                };
                if left {
                    return After::Left;
                }
                if worker.turn.yielded.replace(false) {
                    return After::Requeue;
                }
            }
            Ok(Step::Park) => {
                // SAFETY: as the caller promises.
                unsafe { prepare_park(worker, cell) };
                if cell.mailbox.park() {
                    return After::Left;
                }
                if worker.turn.yielded.replace(false) {
                    return After::Requeue;
                }
            }
            Ok(Step::Stay) => {
                if cell.mailbox.park() {
                    return After::Left;
                }
            }
            Ok(Step::TakeIn) => {}
            Ok(Step::Yield) => return After::Requeue,
            // SAFETY: as the caller promises.
            Ok(Step::Exit(reason)) => unsafe {
                report_crash(worker, this, &reason);
                return finish(worker, this, reason);
            },
            Err(payload) => {
                let reason = panic_reason(payload);
                // SAFETY: as the caller promises.
                if let Some(reason) = unsafe { (cell.vtable.panicked)(this, worker, reason) } {
                    // SAFETY: as the caller promises.
                    unsafe {
                        report_crash(worker, this, &reason);
                        return finish(worker, this, reason);
                    }
                }
            }
        }
    }
}

/// The exit reason of a panic that was caught.
pub(crate) fn panic_reason(payload: Box<dyn Any + Send>) -> ExitReason {
    ExitReason::from_panic_payload(payload, exit::take_location())
}

enum TakenIn {
    Done,
    /// The batch is too large for one turn; the rest is remembered.
    More,
    Die(ExitReason),
}

/// Takes in what has arrived.
///
/// # Safety
/// As for [`turn`].
unsafe fn take_in(worker: &Worker, cell: &Cell) -> TakenIn {
    // SAFETY: as the caller promises.
    let own = unsafe { cell.own() };
    if let Some(unfinished) = own.extra.as_mut().and_then(|extra| extra.intake.take()) {
        // SAFETY: as the caller promises.
        return unsafe { line_up(worker, cell, unfinished) };
    }
    if !cell.mailbox.has_arrivals() {
        return TakenIn::Done;
    }
    let taken = cell.mailbox.take();
    if taken.woken() {
        worker.turn.woken.set(true);
    }
    let has_signal = taken.has_signal();
    let stack = taken.stack();
    if !has_signal {
        // The usual batch: one message.
        match stack.single() {
            Ok(Some(node)) => {
                // SAFETY: taken, so ours.
                unsafe { own.inbox.push_back(node) };
                return TakenIn::Done;
            }
            Ok(None) => return TakenIn::Done,
            Err(stack) => {
                let intake = Intake {
                    stack,
                    turned: List::new(),
                    has_signal,
                };
                // SAFETY: as the caller promises.
                return unsafe { line_up(worker, cell, intake) };
            }
        }
    }
    // Relaxed: a hint for this thread; a later signal sets it again after its push.
    cell.urgent.store(false, Relaxed);
    // SAFETY: as the caller promises.
    unsafe {
        line_up(
            worker,
            cell,
            Intake {
                stack,
                turned: List::new(),
                has_signal,
            },
        )
    }
}

/// Turns a batch around, and carries out the signals in it.
///
/// # Safety
/// As for [`turn`].
unsafe fn line_up(worker: &Worker, cell: &Cell, mut intake: Intake) -> TakenIn {
    // SAFETY: as the caller promises.
    let own = unsafe { cell.own() };
    let turned = intake.stack.turn(&mut intake.turned, SLICE);
    if !intake.stack.is_empty() {
        charge(worker, turned);
        own.extra().intake = Some(intake);
        return TakenIn::More;
    }
    if !intake.has_signal {
        own.inbox.append(&mut intake.turned);
        return TakenIn::Done;
    }
    for _ in 0..SLICE {
        let Some(node) = intake.turned.pop_front() else {
            return TakenIn::Done;
        };
        // SAFETY: the list owned the node; a queued node's vtable is what it was made with.
        let acted = match unsafe { (*node).vtable.kind } {
            // SAFETY: as the caller promises; the node is a signal of ours.
            Kind::Signal => unsafe { act(worker, cell, node) },
            _ => Acted::Message(node),
        };
        match acted {
            Acted::Gone => {}
            // SAFETY: as the caller promises, and taken anew, as `act` used it; the node is ours.
            Acted::Message(node) => unsafe { cell.own().inbox.push_back(node) },
            Acted::Die(reason) => {
                // SAFETY: as above.
                unsafe { cell.own() }.inbox.append(&mut intake.turned);
                return TakenIn::Die(reason);
            }
        }
    }
    // SAFETY: as above.
    unsafe { cell.own() }.extra().intake = Some(intake);
    TakenIn::More
}

fn charge(worker: &Worker, nodes: usize) {
    let cost = u32::try_from(nodes / 8).unwrap_or(u32::MAX);
    worker
        .turn
        .budget
        .set(worker.turn.budget.get().saturating_sub(cost));
}

/// What came of a signal.
enum Acted {
    Gone,
    /// It became a message.
    Message(*mut Node),
    Die(ExitReason),
}

/// Carries a signal out.
///
/// # Safety
/// As for [`turn`]; `node` is a signal node owned by the caller and handed over.
unsafe fn act(worker: &Worker, cell: &Cell, node: *mut Node) -> Acted {
    // SAFETY: as the caller promises; not used after a call that takes it anew.
    let own = unsafe { cell.own() };
    // SAFETY: a signal node of ours; the reference is not used once the node is opened or changed.
    let content = unsafe { SystemNode::content(node) };
    if let Content::Signal(Signal::Exit {
        from,
        reason,
        cause,
    }) = content
    {
        let (from, cause) = (*from, *cause);
        let linked = match (&mut own.extra, from, cause) {
            (Some(extra), Some(from), Cause::Link) => extra.links.remove(&from),
            _ => false,
        };
        return match judge(
            cause,
            reason,
            own.trap_exit,
            from == Some(cell.pid()),
            linked,
        ) {
            Verdict::Ignore => {
                // SAFETY: ours.
                drop(unsafe { SystemNode::open(node) });
                Acted::Gone
            }
            Verdict::Deliver => {
                let parent = cause == Cause::Parent
                    || own
                        .extra
                        .as_ref()
                        .is_some_and(|extra| from.is_some() && extra.parent == from);
                let exit = Exit {
                    from,
                    reason: reason.clone(),
                    parent,
                };
                worker.core().count(Count::Sent, 1);
                // SAFETY: ours, and the reference into it is not used any more.
                unsafe { SystemNode::become_notice(node, Notice::Exit(exit)) };
                Acted::Message(node)
            }
            Verdict::Die(reason) => {
                // SAFETY: ours.
                drop(unsafe { SystemNode::open(node) });
                Acted::Die(reason)
            }
        };
    }
    // SAFETY: ours.
    let Content::Signal(signal) = (unsafe { SystemNode::open(node) }) else {
        return Acted::Gone;
    };
    match signal {
        Signal::Link { from } => {
            let extra = own.extra();
            if !extra.unlinking.contains_key(&from) {
                extra.links.insert(from);
            }
        }
        Signal::Unlink { from, number } => {
            if let Some(extra) = own.extra.as_mut() {
                extra.links.remove(&from);
            }
            unlinked(worker.core(), cell.pid(), from, number);
        }
        Signal::Unlinked { from, number } => {
            let unlinking = &mut own.extra().unlinking;
            if unlinking.get(&from) == Some(&number) {
                unlinking.remove(&from);
            }
        }
        Signal::Monitor { monitor, watcher } => {
            own.extra().watchers.insert(monitor, watcher);
        }
        Signal::Demonitor { monitor } => {
            own.extra().watchers.remove(&monitor);
        }
        Signal::StopNow { reason } => {
            own.extra().stop.get_or_insert(reason);
        }
        Signal::Info { answer } => {
            // SAFETY: as the caller promises; `own` is not used during the call.
            let described = unsafe { info::describe(cell) };
            answer.send(Ok(described));
        }
        // That it arrived is all.
        Signal::Endowed => {}
        Signal::Bell => {
            // SAFETY: as the caller promises.
            return match unsafe { answer_bell(worker, cell) } {
                Some(reason) => Acted::Die(reason),
                None => Acted::Gone,
            };
        }
        Signal::Exit { .. } => unreachable!("handled above"),
    }
    Acted::Gone
}

/// Carries out the signals in a bounded mailbox, each where it stands.
///
/// # Safety
/// As for [`turn`].
unsafe fn answer_bell(worker: &Worker, cell: &Cell) -> Option<ExitReason> {
    let bounded = cell.bounded.as_ref()?;
    let mut from = 0;
    while let Some((place, node)) = bounded.take_signal(from) {
        from = place + 1;
        // SAFETY: as the caller promises; the ring gave the node to us.
        match unsafe { act(worker, cell, node) } {
            Acted::Gone => {}
            Acted::Message(node) => bounded.put_back(place, node),
            Acted::Die(reason) => return Some(reason),
        }
    }
    None
}

/// Before a process waits inside a handler: sees to its timeouts, and to the cycle it may close.
///
/// # Safety
/// As for [`turn`].
unsafe fn prepare_park(worker: &Worker, cell: &Cell) {
    let turn = &worker.turn;
    // SAFETY: as the caller promises.
    unsafe { arm_alarm(worker, cell) };
    let Some(question) = turn.question.take() else {
        return;
    };
    if turn.calls.get() == 1 && turn.others.get() == 0 && !cell.is_woken_by_others() {
        // SAFETY: as the caller promises.
        unsafe { cycle::enter(worker, cell, question) };
    }
}

/// Whether a server is about to make an edge in the wait-for graph while one that asked before, and runs
/// behind the slot, has yet to make its own.
fn waits_too_soon(worker: &Worker) -> bool {
    if !worker.asker_owes_edge() || worker.catches_up.get() {
        return false;
    }
    let question = worker.turn.question.take();
    let asks = question.is_some();
    worker.turn.question.set(question);
    asks
}

/// Sees to the timeouts that the process waits with, noted by its latest poll.
///
/// # Safety
/// As for [`turn`].
unsafe fn arm_alarm(worker: &Worker, cell: &Cell) {
    let deadline = worker.turn.deadline.replace(u64::MAX);
    // SAFETY: as the caller promises.
    let own = unsafe { cell.own() };
    if deadline != u64::MAX {
        own.extra().alarm.ensure(worker, cell, deadline);
    } else if worker.core().manual.is_some() {
        // A timer that nobody waits for would be a deadline that the host wakes up for.
        if let Some(extra) = own.extra.as_mut() {
            extra.alarm.cancel(worker.core());
        }
    }
}

/// Answers calls whose right to answer was dropped by a panic that the handler itself caught. (Those
/// of a process that ends are answered at its end, with its reason.)
///
/// # Safety
/// As for [`turn`].
unsafe fn answer_orphans(cell: &Cell) {
    // SAFETY: as the caller promises; taken anew each time, as wakers run foreign code.
    while let Some(extra) = unsafe { cell.own() }.extra.as_mut() {
        if extra.stop.is_some() {
            return;
        }
        let Some(node) = extra.orphans.pop_front() else {
            return;
        };
        // SAFETY: the right to answer is in the list's hands, now ours.
        unsafe { ((*node).vtable.fail)(node, None) };
    }
}

/// A reference to the running process's cell.
///
/// # Safety
/// `cell` is the cell of a live process.
pub(crate) unsafe fn reference(cell: NonNull<Cell>) -> CellRef {
    // SAFETY: as the caller promises.
    unsafe { CellRef::retained(cell) }
}
