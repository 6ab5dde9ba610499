//! On whose behalf the calling thread runs, where it matters to others: who may do what with a table.

use std::cell::Cell as Local;

use super::pid::Pid;
use crate::sched::worker::here;

thread_local! {
    /// The process whose blocking closure runs on this thread.
    static BEHALF: Local<Option<Pid>> = const { Local::new(None) };
}

/// The process that is polled on this thread, else the one whose blocking closure runs here; a thread of
/// the host's is nobody.
#[inline]
pub(crate) fn caller() -> Option<Pid> {
    match here() {
        // SAFETY: the running process's cell is alive.
        Some(worker) => worker.current().map(|cell| unsafe { cell.as_ref() }.pid()),
        None => BEHALF.get(),
    }
}

/// While it lives, what this thread does it does for a process, unless it polls one.
#[must_use = "the thread is on its own again when this is dropped"]
pub(super) struct OnBehalf(Option<Pid>);

/// Says that this thread runs for `process`.
pub(super) fn on_behalf_of(process: Option<Pid>) -> OnBehalf {
    OnBehalf(BEHALF.replace(process))
}

impl Drop for OnBehalf {
    fn drop(&mut self) {
        BEHALF.set(self.0);
    }
}
