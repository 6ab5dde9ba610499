//! Whether the thread is doing the work of a persistent table's process.
//!
//! A closure that is given to an operation runs there. If it wrote to a persistent table and waited for that, it
//! would wait for itself, or for another table whose process waits for it; so there, writing is refused.

use std::cell::Cell;

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

#[must_use = "the work is over when this is dropped"]
pub(super) struct Inside(bool);

pub(super) fn enter() -> Inside {
    Inside(INSIDE.replace(true))
}

pub(super) fn is_inside() -> bool {
    INSIDE.get()
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(self.0);
    }
}
