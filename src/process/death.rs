//! The end of a process: what its last turns do, and what becomes of what is sent to the dead.
//!
//! # Invariant
//! Death is in this order: the reason is published and the mailbox closed; the pid names nothing; the
//! waiting handler's future, then the state are dropped; what others can see of what it owned goes, or goes
//! to its heir; held replies are sent; links and monitors are told; what lay in the mailbox is dropped, which answers its callers, or, if it can go to another
//! process and that is wanted, left to its [`super::estate`].
//!
//! "As for a turn" below: the caller is the one running turn of the process, which is alive, or dead and
//! not yet reaped.

use std::ptr::{self, NonNull};

use super::cell::{Cell, CellRef, Intake};
use super::cycle;
use super::deliver::{Class, deliver, dropped, send_signal};
use super::info;
use super::node::{Discard, Kind, List, Node};
use super::pid::Pid;
use super::signal::{Cause, Content, Down, Notice, Signal, SystemNode, Watcher};
use super::turn::{After, SLICE};
use crate::crash::CrashReport;
use crate::exit::{self, ExitReason};
use crate::hooks::Event;
use crate::sched::core::Core;
use crate::sched::stats::Count;
use crate::sched::worker::Worker;
use crate::sync::atomic::Ordering::Relaxed;

/// Tells of a process that is about to end by a failure of its own.
///
/// # Safety
/// As for a turn; no handler's future lives.
pub(super) unsafe fn report_crash(worker: &Worker, this: NonNull<Cell>, reason: &ExitReason) {
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
    let (process, extra) = unsafe {
        (
            info::describe_briefly(cell, CrashReport::MOST_OF_A_LIST),
            cell.own().extra.as_ref(),
        )
    };
    let handling = extra.and_then(|extra| extra.crashed_in);
    let report = CrashReport::new(process, reason.clone(), handling, state);
    core.hooks.event(&Event::Crashed(Box::new(report)));
}

/// Ends the process.
///
/// # Safety
/// As for a turn.
pub(super) unsafe fn finish(worker: &Worker, this: NonNull<Cell>, reason: ExitReason) -> After {
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
    settle(cell);

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

/// Tells what belonged to the process that it is dead.
fn settle(cell: &Cell) {
    // Relaxed: see `belongings`, invariant 2.
    if cell.owns.load(Relaxed) {
        let (core, pid) = (&cell.core, cell.pid());
        core.belongings.settle(core, pid, |thing| {
            ending(core, pid, || thing.bereave(pid));
        });
    }
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
/// As for a turn; the process is dead.
pub(super) unsafe fn reap(worker: &Worker, this: NonNull<Cell>) -> After {
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
        settle(cell);
        // Whoever found the pid in the table may have written already.
        taken.stack().turn(&mut unread, usize::MAX);
        let mut next = || unread.pop_front().or_else(|| cell.bounded.as_ref()?.pop());
        while let Some(node) = next() {
            drop_unread(core, cell.pid(), node);
        }
        Cell::release(cell.this());
    }
}

/// As [`refuse`], once what the dead process owned has gone where it goes: a link or a monitor that comes
/// while it is dying must not tell of the death earlier than one that was there before.
pub(super) fn refuse_in_time(core: &Core, dead: Pid, signal: Signal) {
    if let Some(signal) = core.belongings.keep_waiting(dead, signal) {
        refuse(core, dead, signal);
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
        | Signal::Endowed
        | Signal::Bell => {}
    }
}

/// Tells `to` that `from` has heard of its unlink.
pub(super) fn unlinked(core: &Core, from: Pid, to: Pid, number: u64) {
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
