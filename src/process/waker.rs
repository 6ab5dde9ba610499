//! A process's wakers. The one its futures are polled with is a real [`std::task::Waker`] that any
//! thread may keep and call. Beside it there is the *waiter*: the same, but only noex's own futures
//! make one, so that the cell can tell whether anything foreign could still wake the process
//! (`gen_server::cycle` asks).

use std::ptr::NonNull;
use std::task::{RawWaker, RawWakerVTable, Waker};

use super::cell::Cell;
use crate::sched;

static FOREIGN: RawWakerVTable =
    RawWakerVTable::new(clone_foreign, wake_foreign, wake_by_ref, drop_foreign);
static WAITER: RawWakerVTable =
    RawWakerVTable::new(clone_waiter, wake_waiter, wake_by_ref, drop_waiter);

unsafe fn cell<'a>(data: *const ()) -> &'a Cell {
    // SAFETY: every waker holds a reference of the cell (the borrowed one of a turn: the process's).
    unsafe { &*data.cast::<Cell>() }
}

unsafe fn clone_foreign(data: *const ()) -> RawWaker {
    // SAFETY: as in `cell`.
    unsafe { cell(data) }.retain_waker();
    RawWaker::new(data, &FOREIGN)
}
unsafe fn wake_foreign(data: *const ()) {
    // SAFETY: the waker's reference is used up by `drop_foreign`, after the wake.
    unsafe {
        wake_by_ref(data);
        drop_foreign(data);
    }
}
unsafe fn drop_foreign(data: *const ()) {
    // SAFETY: as in `cell`; the reference was this waker's.
    unsafe { Cell::release_waker(NonNull::new_unchecked(data.cast_mut().cast())) }
}
unsafe fn clone_waiter(data: *const ()) -> RawWaker {
    // SAFETY: as in `cell`.
    unsafe { cell(data) }.retain();
    RawWaker::new(data, &WAITER)
}
unsafe fn wake_waiter(data: *const ()) {
    // SAFETY: as in `wake_foreign`.
    unsafe {
        wake_by_ref(data);
        drop_waiter(data);
    }
}
unsafe fn drop_waiter(data: *const ()) {
    // SAFETY: as in `drop_foreign`.
    unsafe { Cell::release(NonNull::new_unchecked(data.cast_mut().cast())) }
}
unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: as in `cell`.
    let cell = unsafe { cell(data) };
    if cell.mailbox.wake() {
        sched::schedule(cell);
    }
}

/// The waker a turn polls with. It borrows the process's own reference, so it must not be dropped.
pub(crate) fn borrowed(cell: &Cell) -> std::mem::ManuallyDrop<Waker> {
    let data = cell.this().as_ptr().cast_const().cast();
    // SAFETY: the vtable keeps `RawWaker`'s contract; no reference is counted for this one, and
    // `ManuallyDrop` never gives one back.
    std::mem::ManuallyDrop::new(unsafe { Waker::new(data, &FOREIGN) })
}

/// Whether `waker` is `cell`'s own, not one that a combinator put around it.
pub(crate) fn is_own(waker: &Waker, cell: &Cell) -> bool {
    std::ptr::eq(waker.data(), cell.this().as_ptr().cast_const().cast())
        && std::ptr::eq(waker.vtable(), &FOREIGN)
}

/// What a future of noex's own keeps to be woken by: a waiter for a process's own waker, a clone of
/// any other.
pub(crate) fn waiter(waker: &Waker) -> Waker {
    if std::ptr::eq(waker.vtable(), &FOREIGN) {
        let data = waker.data();
        // SAFETY: `clone_waiter` counts the reference this waker gives back.
        unsafe { Waker::from_raw(clone_waiter(data)) }
    } else {
        waker.clone()
    }
}

/// The process that a waker made by [`waiter`] wakes; `None`: it is another kind of waker.
pub(crate) fn waiting_process(waker: &Waker) -> Option<&Cell> {
    // SAFETY: as in `cell`; the waker is borrowed for as long as the result.
    std::ptr::eq(waker.vtable(), &WAITER).then(|| unsafe { cell(waker.data()) })
}

/// Whether the kept `old` wakes the same as `new` would.
pub(crate) fn same(old: &Waker, new: &Waker) -> bool {
    if std::ptr::eq(new.vtable(), &FOREIGN) {
        std::ptr::eq(old.data(), new.data()) && std::ptr::eq(old.vtable(), &WAITER)
    } else {
        old.will_wake(new)
    }
}
