//! What can be asked about a process. OTP: `erlang:process_info/1`.

use super::cell::{Cell, Priority};
use super::line::{Line, Lineage};
use super::pid::Pid;

/// A process's state as seen by itself when the question reached it, ahead of its queued messages.
/// OTP: `process_info/2`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProcessInfo {
    /// Which process.
    pub pid: Pid,
    /// The type of its state: the server's, or of the function it runs.
    pub kind: &'static str,
    /// Who started it, linked; `None` if it was started from outside or by `spawn`.
    pub parent: Option<Pid>,
    /// The parent, the parent's parent, and so on. OTP: `$ancestors`.
    pub ancestors: Vec<Pid>,
    /// Of a [task](crate::task): who asked for it, the callers of that process, and so on; of others
    /// none. Elixir: `$callers`.
    pub callers: Vec<Pid>,
    /// How many messages wait in its mailbox. Walked, not counted: takes time with their number.
    pub message_queue_len: usize,
    /// Linked processes, in order of their pids.
    pub links: Vec<Pid>,
    /// Processes this one monitors.
    pub monitors: Vec<Pid>,
    /// Processes that monitor this one.
    pub monitored_by: Vec<Pid>,
    /// Whether exit signals become messages.
    pub trap_exit: bool,
    /// Whether a handler waits for something (as opposed to the process waiting for a message).
    pub in_handler: bool,
    /// Its priority.
    pub priority: Priority,
}

/// What a process remembers of its start.
#[derive(Default)]
pub(crate) struct Initial {
    /// Parent first, then the parent's parent, as `proc_lib` keeps them.
    pub(crate) ancestors: Lineage,
    /// A task's: who asked for it first, then for that one, as `Task` keeps them.
    pub(crate) callers: Lineage,
}

impl Initial {
    /// What a child of this process, whose pid is given, remembers.
    pub(crate) fn of_child(&mut self, pid: Pid) -> Self {
        Initial {
            ancestors: Lineage::new(self.ancestors.hand_on(pid)),
            callers: Lineage::default(),
        }
    }

    /// The callers of a task that this process, whose pid is given, asks for.
    pub(crate) fn of_task(&mut self, pid: Pid) -> Line {
        self.callers.hand_on(pid)
    }
}

/// # Safety
/// The caller is the running turn of `cell`.
pub(crate) unsafe fn describe(cell: &Cell) -> ProcessInfo {
    // SAFETY: as the caller promises.
    unsafe { describe_briefly(cell, usize::MAX) }
}

/// As [`describe`], with at most so many of each list.
///
/// # Safety
/// As for [`describe`].
pub(crate) unsafe fn describe_briefly(cell: &Cell, most: usize) -> ProcessInfo {
    use super::signal::Watcher;
    // SAFETY: as the caller promises.
    let own = unsafe { cell.own() };
    let mut info = ProcessInfo {
        pid: cell.pid(),
        kind: (cell.vtable.type_name)(),
        parent: None,
        ancestors: Vec::new(),
        callers: Vec::new(),
        message_queue_len: own.inbox.len()
            + cell.bounded.as_ref().map_or(0, |bounded| bounded.len()),
        links: Vec::new(),
        monitors: Vec::new(),
        monitored_by: Vec::new(),
        trap_exit: own.trap_exit,
        in_handler: !own.current.is_null(),
        priority: cell.fixed.priority,
    };
    if let Some(extra) = &own.extra {
        info.parent = extra.parent;
        info.ancestors = extra.initial.ancestors.iter(info.pid).take(most).collect();
        info.callers = extra.initial.callers.iter(info.pid).take(most).collect();
        let passed_over = extra.passed_over.as_ref();
        info.message_queue_len += passed_over.map_or(0, |passed_over| passed_over.len());
        info.message_queue_len += extra.sys.as_ref().map_or(0, |sys| sys.aside.len());
        info.links = extra.links.iter().take(most).collect();
        info.monitors = extra.monitoring.values().copied().take(most).collect();
        info.monitored_by = extra
            .watchers
            .values()
            .filter_map(|watcher| match watcher {
                Watcher::Process(pid) => Some(*pid),
                Watcher::Outside(_) => None,
            })
            .take(most)
            .collect();
    }
    info
}
