//! A turn: from the moment a scheduler takes a process from its queue until the process waits,
//! yields or dies.
//!
//! First all that has arrived is taken in: signals act, messages line up. Then the body runs. What
//! is taken in, handled, fired or dropped is charged to the budget, and goes on in the next turn
//! where it is too much for one.
//!
//! # Invariants
//! 1. No handler runs while a batch with a signal in it is being taken in: a signal acts ahead of
//!    every message that no handler has begun.
//! 2. Death is in this order: the reason is published and the mailbox closed; the pid names nothing;
//!    the waiting handler's future, then the state are dropped; held replies are sent; links and
//!    monitors are told; what lay in the mailbox is dropped, which answers its callers, or, if it can
//!    go to another process and that is wanted, left to its [`super::estate`].
//! 3. After `listen` or `park` succeeded the cell is not touched: another thread may run it already.

use std::any::Any;
use std::ptr::{self, NonNull};

use super::cell::{Cell, CellRef, Intake, Step};
use super::cycle;
use super::deliver::{Class, deliver, dropped, send_signal};
use super::info;
use super::node::{Discard, Kind, List, Node};
use super::pid::Pid;
use super::signal::{
    Cause, Content, Down, Exit, Notice, Signal, SystemNode, Verdict, Watcher, judge,
};
use crate::crash::CrashReport;
use crate::exit::{self, ExitReason};
use crate::hooks::Event;
use crate::sched::core::Core;
use crate::sched::stats::Count;
use crate::sched::worker::{Job, Worker};
use crate::sync::atomic::Ordering::Relaxed;

/// How many arrivals are turned around, or dead messages dropped, in one go.
const SLICE: usize = 4096;

enum After {
    /// Waits, or gone for good. The cell must not be touched.
    Left,
    Requeue,
}

/// Runs one turn of a queued process.
pub(crate) fn run(worker: &Worker, job: Job) {
    worker.set_current(Some(job.cell()));
    worker.turn.budget.set(worker.core().settings.budget);
    worker.turn.woken.set(false);
    worker.turn.yielded.set(false);
    let after = {
        let _poll = exit::enter_poll();
        // SAFETY: a queued process is alive, and having taken it from the queue makes this its turn.
        unsafe { turn(worker, job.cell()) }
    };
    worker.flush_counts();
    worker.turn.question.set(None);
    if matches!(after, After::Requeue) {
        // SAFETY: not left, so the process, or what is left of it, is still ours.
        let cell = unsafe { job.cell().as_ref() };
        if worker.turn.woken.get() {
            // The wake-up was taken in but not acted on: it must not be lost.
            let queued_already = !cell.mailbox.wake();
            debug_assert!(queued_already);
        }
        worker.push_back(cell);
    }
    worker.set_current(None);
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
    if unsafe { cell.own() }.dead {
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

/// Tells of a process that is about to end by a failure of its own.
///
/// # Safety
/// As for [`turn`]; no handler's future lives.
unsafe fn report_crash(worker: &Worker, this: NonNull<Cell>, reason: &ExitReason) {
    let core = worker.core();
    if !reason.is_abnormal() || !core.hooks.wants_events() {
        return;
    }
    // SAFETY: alive, as the caller promises.
    let cell = unsafe { this.as_ref() };
    // A panic in there is one of the report only.
    // SAFETY: as the caller promises.
    let state = exit::catch(|| unsafe { (cell.vtable.show)(this) }).unwrap_or_default();
    // SAFETY: as the caller promises.
    let (process, extra) = unsafe { (info::describe(cell), cell.own().extra.as_ref()) };
    let handling = extra.and_then(|extra| extra.crashed_in);
    let report = CrashReport::new(process, reason.clone(), handling, state);
    core.hooks.event(&Event::Crashed(Box::new(report)));
}

/// Ends the process.
///
/// # Safety
/// As for [`turn`].
unsafe fn finish(worker: &Worker, this: NonNull<Cell>, reason: ExitReason) -> After {
    // SAFETY: alive, as the caller promises; not used after `reap`.
    let cell = unsafe { this.as_ref() };
    let core = worker.core();
    let pid = cell.pid();
    // SAFETY: as the caller promises.
    let taken = unsafe { cell.die(reason.clone()) };
    // SAFETY: as the caller promises. Before the slot may have its next process.
    unsafe { cycle::resumed(core, cell) };
    worker.with_ids(|ids| core.table.remove(cell.id, cell.serial, ids));

    // SAFETY: as the caller promises; here and below taken anew after foreign code ran.
    let own = unsafe { cell.own() };
    own.dead = true;
    let running = std::mem::replace(&mut own.current, ptr::null_mut());
    if !running.is_null() {
        let stage = own.stage;
        if !own.uncounted {
            core.count(Count::Aborted, 1);
        }
        // SAFETY: the envelope whose handler ran or waited; nobody else has it.
        let (unanswered, panic) = unsafe { abort(running, stage) };
        if let Some(reason) = panic {
            core.hooks.event(&Event::PanicWhileEnding { pid, reason });
        }
        if unanswered {
            // SAFETY: the right to answer is ours.
            unsafe { ((*running).vtable.fail)(running, Some(&reason)) };
        }
    }
    // SAFETY: no handler lives any more, and the body is dropped once.
    ending(core, pid, || unsafe { (cell.vtable.drop_body)(this) });

    core.count(Count::Exited, 1);
    core.record(|| format!("exit    {pid} {reason}"));
    let event = Event::Exited {
        pid,
        kind: (cell.vtable.type_name)(),
        reason: reason.clone(),
    };
    core.hooks.event(&event);

    let mut estate = None;
    // SAFETY: as the caller promises.
    unsafe { cell.own() }.take_up();
    // SAFETY: as the caller promises.
    if let Some(mut extra) = unsafe { cell.own() }.extra.take() {
        estate = extra.estate.take();
        extra.alarm.cancel(core);
        extra.timeout.disarm(core);
        while let Some(node) = extra.held.pop_front() {
            // SAFETY: a call whose answer was written and held back.
            ending(core, pid, || unsafe { ((*node).vtable.release)(node) });
        }
        while let Some(node) = extra.orphans.pop_front() {
            // SAFETY: a call whose handler is gone and whose right to answer is here.
            ending(core, pid, || unsafe {
                ((*node).vtable.fail)(node, Some(&reason))
            });
        }
        // SAFETY: as the caller promises.
        let inbox = &mut unsafe { cell.own() }.inbox;
        inbox.append(&mut extra.continues);
        if let Some(intake) = &mut extra.intake {
            if estate.is_some() {
                intake.stack.turn(&mut intake.turned, usize::MAX);
            }
            inbox.append(&mut intake.turned);
        }
        // What is the user's in them: a sink, a waker.
        let (sys, receiver) = (extra.sys.take(), extra.receiver.take());
        ending(core, pid, || drop(sys));
        ending(core, pid, || drop(receiver));
        if let Some(number) = extra.root {
            core.remove_root(number, pid, &reason);
        }
        tell(core, pid, &reason, &mut extra);
        // A batch that was only half turned around is dropped with what arrived after it.
        if extra
            .intake
            .as_ref()
            .is_some_and(|intake| !intake.stack.is_empty())
        {
            let intake = extra.intake.take();
            // SAFETY: as the caller promises.
            unsafe { cell.own() }.extra().intake = intake;
        }
    }
    // What arrived and was never taken in; a large batch is turned around as it is dropped.
    let mut stack = taken.stack();
    let mut rest = List::new();
    // SAFETY: as the caller promises.
    let own = unsafe { cell.own() };
    // (What is left to others keeps its order, so it is turned around whole.)
    let at_once = if own.extra.is_some() || estate.is_some() {
        usize::MAX
    } else {
        SLICE
    };
    stack.turn(&mut rest, at_once);
    own.inbox.append(&mut rest);
    if !stack.is_empty() {
        own.extra().intake = Some(Intake {
            stack,
            turned: List::new(),
            has_signal: false,
        });
    }
    if estate.is_some() {
        own.extra().estate = estate;
    }
    // SAFETY: as the caller promises.
    unsafe { reap(worker, this) }
}

/// Drops what is left of an envelope whose handler was running. Whether its caller is still to be
/// answered, and what its `Drop`s panicked with.
///
/// # Safety
/// `node` is the running process's current envelope, at `stage`; unless it is to be answered it is
/// consumed.
pub(crate) unsafe fn abort(
    node: *mut Node,
    stage: super::node::Stage,
) -> (bool, Option<ExitReason>) {
    // SAFETY: whole until `abort`.
    let vtable = unsafe { (*node).vtable };
    // SAFETY: as the caller promises.
    match exit::catch(|| unsafe { (vtable.abort)(node, stage) }) {
        Ok(unanswered) => (unanswered, None),
        // The envelope of a call that is answered in place outlives the panic; others free themselves.
        Err(reason) => (vtable.answered_in_place, Some(reason)),
    }
}

/// Ends a process that nobody runs any more, whatever state it is in, and drops its mailbox.
///
/// # Safety
/// No other turn of the process runs or will ever run.
pub(crate) unsafe fn kill(worker: &Worker, this: NonNull<Cell>) {
    worker.set_current(Some(this));
    let _poll = exit::enter_poll();
    // SAFETY: as the caller promises.
    let mut after = unsafe { finish(worker, this, ExitReason::Killed) };
    while matches!(after, After::Requeue) {
        // SAFETY: as above; the process's own reference is given back only by the last slice.
        after = unsafe { reap(worker, this) };
    }
    worker.flush_counts();
    worker.set_current(None);
}

/// Tells links and monitors of the death, and the monitored that nobody listens any more.
fn tell(core: &Core, pid: Pid, reason: &ExitReason, extra: &mut super::cell::Extra) {
    for link in std::mem::take(&mut extra.links) {
        if let Some(peer) = core.find(link) {
            let signal = Signal::Exit {
                from: Some(pid),
                reason: reason.clone(),
                cause: Cause::Link,
            };
            // A peer that died meanwhile needs no news.
            let _ = send_signal(&peer, signal);
        }
    }
    for (monitor, watcher) in std::mem::take(&mut extra.watchers) {
        send_down(
            core,
            watcher,
            Down {
                monitor,
                pid,
                reason: reason.clone(),
            },
        );
    }
    for (monitor, target) in std::mem::take(&mut extra.monitoring) {
        if let Some(target) = core.find(target) {
            let _ = send_signal(&target, Signal::Demonitor { monitor });
        }
    }
}

/// Sends a `Down` to whoever monitors.
pub(crate) fn send_down(core: &Core, watcher: Watcher, down: Down) {
    match watcher {
        Watcher::Process(pid) => {
            if let Some(cell) = core.find(pid) {
                let node = SystemNode::notice(Notice::Down(down));
                // SAFETY: a fresh node for any process.
                unsafe { deliver(&cell, node, Class::Exempt).settle(&cell) };
            }
        }
        Watcher::Outside(answer) => answer.send(Ok(down)),
    }
}

/// Drops what lay in the mailbox of a dead process, or leaves it to whoever wants it, slice by slice;
/// then lets the cell go.
///
/// # Safety
/// As for [`turn`]; the process is dead.
unsafe fn reap(worker: &Worker, this: NonNull<Cell>) -> After {
    // SAFETY: alive, as the caller promises; not used after the release below.
    let cell = unsafe { this.as_ref() };
    let core = worker.core();
    let pid = cell.pid();
    // SAFETY: as the caller promises.
    let extra = unsafe { cell.own() }.extra.as_ref();
    let estate = extra.and_then(|extra| extra.estate.clone());
    for _ in 0..SLICE {
        // SAFETY: as the caller promises.
        let own = unsafe { cell.own() };
        let node = own.inbox.pop_front().or_else(|| {
            let intake = own.extra.as_mut()?.intake.as_mut()?;
            intake.stack.turn(&mut intake.turned, 1);
            intake.turned.pop_front()
        });
        let node = node.or_else(|| cell.bounded.as_ref().and_then(|bounded| bounded.pop()));
        let Some(node) = node else {
            if let Some(estate) = estate {
                estate.complete();
            }
            // SAFETY: the process's own reference; the cell is not used afterwards.
            unsafe { Cell::release(this) };
            return After::Left;
        };
        let node = match &estate {
            // SAFETY: the mailbox's node, ours now.
            Some(estate) => unsafe { estate.leave(node) },
            None => Some(node),
        };
        if let Some(node) = node {
            // SAFETY: as above, and nobody wanted it.
            unsafe { drop_unread(core, pid, node) };
        }
    }
    After::Requeue
}

/// Answers a signal, or counts and drops a message, that lay in the mailbox of a dead process.
///
/// # Safety
/// `node` was in the mailbox of the process `pid`, and is the caller's and handed over.
unsafe fn drop_unread(core: &Core, pid: Pid, node: *mut Node) {
    // SAFETY: as the caller promises.
    match unsafe { (*node).vtable.kind } {
        // SAFETY: a signal node of ours.
        Kind::Signal => match unsafe { SystemNode::open(node) } {
            Content::Signal(signal) => refuse(core, pid, signal),
            _ => unreachable!("a signal node holds a signal"),
        },
        // SAFETY: a message of ours.
        _ => ending(core, pid, || unsafe {
            core.count(Count::Undelivered, 1);
            dropped(core, Some(pid), node, Discard::Dead);
        }),
    }
}

/// Ends a process that was made and shall not run after all, and lets its cell go.
///
/// # Safety
/// The caller made the process, which was never queued, and took it off the pid table.
pub(crate) unsafe fn abandon(core: &Core, cell: &CellRef) {
    // SAFETY: never queued, so its maker is alone with it; its own reference is given back.
    unsafe {
        let mut unread = List::new();
        unread.append(&mut cell.own().inbox);
        let taken = cell.die(ExitReason::NoProc);
        (cell.vtable.drop_body)(cell.as_ptr());
        // Whoever found the pid in the table may have written already.
        taken.stack().turn(&mut unread, usize::MAX);
        let mut next = || unread.pop_front().or_else(|| cell.bounded.as_ref()?.pop());
        while let Some(node) = next() {
            drop_unread(core, cell.pid(), node);
        }
        Cell::release(cell.this());
    }
}

/// Answers a signal for a process that is dead, as the BEAM does.
pub(crate) fn refuse(core: &Core, dead: Pid, signal: Signal) {
    match signal {
        Signal::Link { from } => {
            if let Some(cell) = core.find(from) {
                let signal = Signal::Exit {
                    from: Some(dead),
                    reason: ExitReason::NoProc,
                    cause: Cause::Link,
                };
                let _ = send_signal(&cell, signal);
            }
        }
        Signal::Monitor { monitor, watcher } => {
            send_down(
                core,
                watcher,
                Down {
                    monitor,
                    pid: dead,
                    reason: ExitReason::NoProc,
                },
            );
        }
        Signal::Unlink { from, number } => unlinked(core, dead, from, number),
        // The dead do not exit again; a question's answer is its `Drop`.
        Signal::Exit { .. }
        | Signal::Unlinked { .. }
        | Signal::Demonitor { .. }
        | Signal::StopNow { .. }
        | Signal::Info { .. }
        | Signal::Bell => {}
    }
}

/// Tells `to` that `from` has heard of its unlink.
fn unlinked(core: &Core, from: Pid, to: Pid, number: u64) {
    if let Some(cell) = core.find(to) {
        let _ = send_signal(&cell, Signal::Unlinked { from, number });
    }
}

/// Runs user code of a dying process; a panic in it is reported and changes nothing.
fn ending(core: &Core, pid: Pid, run: impl FnOnce()) {
    if let Err(reason) = exit::catch(run) {
        core.hooks.event(&Event::PanicWhileEnding { pid, reason });
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
