//! The cell: a process's one allocation. Header, mailbox, and behind them the body (the user's state).
//!
//! # Invariants
//! 1. `own` and the body are touched only by the turn that runs the process (there is one at a time:
//!    [`super::mailbox`], invariant 1), or by the maker before it is queued for the first time.
//! 2. `refs` counts, in its lower half, all that keeps the memory: the process itself while it lives
//!    (that one hold serves run queues and turns), the pid table while it lists it, refs and wakers.
//!    In its upper half it counts foreign wakers once more.
//! 3. `exit` is written once, before the mailbox closes, and read only after it was seen closed.
//! 4. The body is dropped by the dying turn; what is freed later is memory without a body.

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

use super::bounded::Bounded;
use super::estate::Estate;
use super::links::Links;
use super::mailbox::{Mailbox, Stack};
use super::node::{List, Node, Stage};
use super::passed::{Passed, PassedOver};
use super::pid::{MonitorRef, Pid};
use super::refs::Refs;
use super::signal::Watcher;
use crate::exit::ExitReason;
use crate::sched::core::CoreRef;
use crate::sched::recycle;
use crate::sched::timers::Alarm;
use crate::sched::worker::Worker;
use crate::sync::atomic::AtomicBool;
use crate::sync::{Arc, UnsafeCell};

/// How urgently a process runs beside others. OTP: `process_flag(priority, _)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Priority {
    /// Runs when nothing else does, and now and then in between so that it never starves.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Runs before all normal and low ones. Use it for short work only: it starves them.
    High,
}

const WAKER: u64 = 1 << 32;

/// What a turn of a body came to.
#[derive(Debug)]
pub(crate) enum Step {
    /// Waits for mail (its waker counts, too).
    Listen,
    /// Waits inside a handler that was polled just now, for its waker only.
    Park,
    /// Still waits inside its handler, which was not polled.
    Stay,
    /// A signal may have come: take in before the next message.
    TakeIn,
    /// Used up its budget or yielded: to the back of the queue.
    Yield,
    /// It is over.
    Exit(ExitReason),
}

/// The operations of a body, one static table for each type of body.
pub(crate) struct CellVtable {
    /// Runs the body until it waits, yields or exits.
    pub(crate) step: unsafe fn(NonNull<Cell>, &Worker) -> Step,
    /// The process must end with this reason although the body goes on: gives the body the chance
    /// to run its `terminate` first (a behaviour's, after a panic). `None`: it wants none.
    pub(crate) panicked: unsafe fn(NonNull<Cell>, &Worker, ExitReason) -> Option<ExitReason>,
    /// Drops the body, whatever stage it is in.
    pub(crate) drop_body: unsafe fn(NonNull<Cell>),
    /// The state, as reports show it, if there is one.
    pub(crate) show: unsafe fn(NonNull<Cell>) -> Option<String>,
    /// Frees the memory.
    pub(crate) dealloc: unsafe fn(NonNull<Cell>),
    /// It answers calls, so it can be part of a cycle of them.
    pub(crate) serves: bool,
    pub(crate) type_name: fn() -> &'static str,
    /// The type whose messages the process handles: a server's, or the message type of a process
    /// that receives by itself.
    pub(crate) type_id: fn() -> std::any::TypeId,
}

/// What does not change after the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fixed {
    pub(crate) priority: Priority,
}

#[repr(C)]
pub(crate) struct Cell {
    pub(crate) mailbox: Mailbox,
    refs: Refs,
    /// The pointer that the allocation gave: unlike one made from a `&Cell`, it reaches the body.
    this: NonNull<Cell>,
    pub(crate) vtable: &'static CellVtable,
    pub(crate) core: CoreRef,
    pub(crate) id: u32,
    pub(crate) serial: u32,
    pub(crate) bounded: Option<Box<Bounded>>,
    pub(crate) fixed: Fixed,
    /// A signal came: checked before each message, in a line that senders of messages do not write.
    pub(crate) urgent: AtomicBool,
    /// It has, or had, [`super::belongings`].
    pub(crate) owns: AtomicBool,
    exit: UnsafeCell<ExitReason>,
    own: UnsafeCell<Own>,
}

/// The part of the cell that belongs to the running turn.
pub(crate) struct Own {
    pub(crate) trap_exit: bool,
    /// The mailbox is closed; what is left is to drop what lay in it.
    pub(crate) dead: bool,
    /// `current` is noex's own doing, not somebody's message: `terminate`.
    pub(crate) uncounted: bool,
    /// It runs again without being woken: a call of its handler's has not said yet whom to wake.
    pub(crate) asked: bool,
    /// How far the envelope in `current` was opened.
    pub(crate) stage: Stage,
    /// Messages taken in, oldest first.
    pub(crate) inbox: List,
    /// The envelope whose handler runs or waits; null if none does.
    pub(crate) current: *mut Node,
    pub(crate) extra: Option<Box<Extra>>,
}

/// The rarely used parts, allocated at the first use.
#[derive(Default)]
pub(crate) struct Extra {
    pub(crate) parent: Option<Pid>,
    pub(crate) links: Links,
    /// Unlinked, and it is not known yet that the other end has heard so: the unlink's number.
    pub(crate) unlinking: BTreeMap<Pid, u64>,
    pub(crate) unlinks: u64,
    pub(crate) watchers: BTreeMap<MonitorRef, Watcher>,
    pub(crate) monitoring: BTreeMap<MonitorRef, Pid>,
    /// The body was asked to stop after the current handler.
    pub(crate) stop: Option<ExitReason>,
    /// What `handle_continue` shall get next, ahead of the mailbox.
    pub(crate) continues: List,
    /// Calls whose reply waits until `terminate` has run.
    pub(crate) held: List,
    /// Calls whose server died under them, to be answered with its exit reason.
    pub(crate) orphans: List,
    /// The receive timeout: its number and its timer.
    pub(crate) timeout: super::timeout::ReceiveTimeout,
    /// Wakes the process no later than the earliest timeout a handler waits for.
    pub(crate) alarm: Alarm,
    /// A combinator's waker that waits for mail.
    pub(crate) receiver: Option<std::task::Waker>,
    /// What a selective receive has taken out and passed over, once it has: queued all the same.
    pub(crate) passed_over: Option<Arc<PassedOver>>,
    /// A large batch of arrivals, being turned around in slices.
    pub(crate) intake: Option<Intake>,
    /// The error for the call that closed a cycle, until its future picks it up.
    pub(crate) cycle: Option<(super::ask::Question, crate::error::CallPath)>,
    /// It may have an edge in the wait-for graph.
    pub(crate) has_edge: bool,
    /// The entry in the list of what was started from outside.
    pub(crate) root: Option<u64>,
    /// Where its mail goes when it dies.
    pub(crate) estate: Option<Arc<Estate>>,
    pub(crate) initial: super::info::Initial,
    /// The type of the message in whose handler it panicked.
    pub(crate) crashed_in: Option<&'static str>,
    /// It is, or was, suspended or watched.
    pub(crate) sys: Option<Box<super::sys::SysState>>,
}

impl Extra {
    /// Whether there may be something to see to ahead of messages.
    #[inline(always)]
    pub(crate) fn goes_ahead(&self) -> bool {
        self.stop.is_some() || !self.continues.is_empty() || self.sys.is_some()
    }

    /// Takes back the first of those passed over that is this one. `false`: there is none.
    #[must_use = "`true`: the caller accounts for it"]
    pub(crate) fn flush_passed(&mut self, what: Passed) -> bool {
        let passed_over = self.passed_over.as_ref();
        passed_over.is_some_and(|passed_over| passed_over.flush(what))
    }
}

pub(crate) struct Intake {
    pub(crate) stack: Stack,
    pub(crate) turned: List,
    pub(crate) has_signal: bool,
}

// SAFETY: what several threads reach are atomics and immutable fields; `own` is exclusive to one
// turn (invariant 1).
unsafe impl Sync for Cell {}
// SAFETY: as above. (The body is not part of this type; its `Send` is demanded at spawn.)
unsafe impl Send for Cell {}

/// A cell with its body.
#[repr(C)]
pub(crate) struct Full<B> {
    cell: Cell,
    body: UnsafeCell<MaybeUninit<B>>,
}

impl Cell {
    /// Allocates a cell whose body is `body`, with two references: the process's own and the caller's.
    pub(crate) fn allocate<B>(
        vtable: &'static CellVtable,
        core: CoreRef,
        (id, serial): (u32, u32),
        bounded: Option<Box<Bounded>>,
        fixed: Fixed,
        extra: Option<Box<Extra>>,
        body: B,
    ) -> NonNull<Cell> {
        let full = recycle::allocate(Layout::new::<Full<B>>())
            .cast::<Full<B>>()
            .as_ptr();
        let made = Full {
            cell: Cell {
                mailbox: Mailbox::new_queued(),
                refs: Refs::new(2),
                this: NonNull::dangling(),
                vtable,
                core,
                id,
                serial,
                bounded,
                fixed,
                urgent: AtomicBool::new(false),
                owns: AtomicBool::new(false),
                exit: UnsafeCell::new(ExitReason::Normal),
                own: UnsafeCell::new(Own {
                    trap_exit: false,
                    dead: false,
                    uncounted: false,
                    asked: false,
                    stage: Stage::Spent,
                    inbox: List::new(),
                    current: ptr::null_mut(),
                    extra,
                }),
            },
            body: UnsafeCell::new(MaybeUninit::new(body)),
        };
        // SAFETY: fresh memory of the right layout, and nobody else has it yet.
        unsafe {
            full.write(made);
            let this = NonNull::new_unchecked(full.cast::<Cell>());
            (*full).cell.this = this;
            this
        }
    }

    /// The pointer to all of the process.
    #[inline(always)]
    pub(crate) fn this(&self) -> NonNull<Cell> {
        self.this
    }

    /// The body of a cell allocated with one of type `B`.
    ///
    /// # Safety
    /// `cell` was allocated with a `B`.
    #[inline(always)]
    pub(crate) unsafe fn body<B>(cell: NonNull<Cell>) -> *mut B {
        // SAFETY: as the caller promises; only an address is computed.
        unsafe {
            (*cell.cast::<Full<B>>().as_ptr())
                .body
                .with_mut(|body| body.cast::<B>())
        }
    }

    /// Frees the memory of a cell allocated with a `B`, whose body is gone.
    ///
    /// # Safety
    /// The last reference is gone.
    pub(crate) unsafe fn dealloc<B>(cell: NonNull<Cell>) {
        // SAFETY: allocated with that layout in `allocate`; `MaybeUninit` drops no body. The core is
        // kept until the memory, which may go to its stock, is given back.
        unsafe {
            let _core = cell.as_ref().core.clone();
            cell.cast::<Full<B>>().drop_in_place();
            recycle::free(cell.cast(), Layout::new::<Full<B>>());
        }
    }

    /// What belongs to the running turn.
    ///
    /// # Safety
    /// The caller is the running turn of this process (or its maker, before the first), and no other
    /// reference from this function is alive.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)] // exclusive by invariant 1, not by the borrow
    pub(crate) unsafe fn own(&self) -> &mut Own {
        // SAFETY: as the caller promises.
        self.own.with_mut(|own| unsafe { &mut *own })
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::local(self.core.creation(), self.id, self.serial)
    }

    pub(crate) fn retain(&self) {
        self.refs.add(1);
    }

    pub(crate) fn retain_waker(&self) {
        self.refs.add(WAKER + 1);
    }

    /// Whether anything but noex's own futures may wake this process, or has since the last `take`.
    /// Called by the running turn.
    pub(crate) fn is_woken_by_others(&self) -> bool {
        // In this order: a waker that is gone by now may have been used first, and then the wake-up
        // is seen (Acquire in `get`).
        self.refs.get() >= WAKER || self.mailbox.is_woken()
    }

    /// Gives one reference back.
    ///
    /// # Safety
    /// The caller owns it and does not use `cell` afterwards.
    pub(crate) unsafe fn release(cell: NonNull<Cell>) {
        // SAFETY: as the caller promises.
        unsafe { Self::give_back(cell, 1) }
    }

    /// As [`release`](Self::release), for a foreign waker's.
    ///
    /// # Safety
    /// As there.
    pub(crate) unsafe fn release_waker(cell: NonNull<Cell>) {
        // SAFETY: as the caller promises.
        unsafe { Self::give_back(cell, WAKER + 1) }
    }

    unsafe fn give_back(cell: NonNull<Cell>, count: u64) {
        // SAFETY: our reference keeps it alive up to here.
        if unsafe { cell.as_ref() }.refs.give_back(count) {
            // SAFETY: that was the last reference.
            unsafe { (cell.as_ref().vtable.dealloc)(cell) };
        }
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.mailbox.is_closed()
    }

    /// Why the process exited; `None` while it lives.
    pub(crate) fn exit_reason(&self) -> Option<ExitReason> {
        // SAFETY: written before the mailbox closed and never again (invariant 3).
        self.is_dead()
            .then(|| self.exit.with(|exit| unsafe { (*exit).clone() }))
    }

    /// Publishes the exit reason and closes the mailbox: the death.
    ///
    /// # Safety
    /// The caller is the running turn; called once.
    pub(crate) unsafe fn die(&self, reason: ExitReason) -> super::mailbox::Taken {
        // SAFETY: as the caller promises; nobody reads `exit` before the close below.
        self.exit.with_mut(|exit| unsafe { *exit = reason });
        if let Some(bounded) = &self.bounded {
            bounded.close();
        }
        self.mailbox.close()
    }
}

impl Own {
    /// The rarely used parts, made now if need be.
    pub(crate) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }
}

/// An owned reference to a cell.
pub(crate) struct CellRef(NonNull<Cell>);

// SAFETY: `Cell` is `Send + Sync`.
unsafe impl Send for CellRef {}
// SAFETY: as above.
unsafe impl Sync for CellRef {}

impl CellRef {
    /// # Safety
    /// One reference passes to the new value.
    pub(crate) unsafe fn from_raw(cell: NonNull<Cell>) -> Self {
        CellRef(cell)
    }

    /// # Safety
    /// `cell` is alive (somebody holds a reference).
    pub(crate) unsafe fn retained(cell: NonNull<Cell>) -> Self {
        // SAFETY: as the caller promises.
        unsafe { cell.as_ref() }.retain();
        CellRef(cell)
    }

    pub(crate) fn as_ptr(&self) -> NonNull<Cell> {
        self.0
    }
}

impl std::ops::Deref for CellRef {
    type Target = Cell;
    #[inline(always)]
    fn deref(&self) -> &Cell {
        // SAFETY: our reference keeps it alive.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for CellRef {
    fn clone(&self) -> Self {
        self.retain();
        CellRef(self.0)
    }
}

impl Drop for CellRef {
    fn drop(&mut self) {
        // SAFETY: ours.
        unsafe { Cell::release(self.0) }
    }
}

// SAFETY: the cell stays where it is until its last reference goes; `give_back` orders all accesses
// before the free.
unsafe impl super::table::Counted for Cell {
    unsafe fn retain(this: NonNull<Self>) {
        // SAFETY: as the trait demands.
        unsafe { this.as_ref() }.retain();
    }
    unsafe fn release(this: NonNull<Self>) {
        // SAFETY: as the trait demands.
        unsafe { Cell::release(this) }
    }
}
