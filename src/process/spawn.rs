//! Starting a process: an id, a cell, its place in the table, its first turn.

use super::bounded::{Bounded, MailboxPolicy};
use super::cell::{Cell, CellRef, CellVtable, Extra, Fixed, Priority};
use super::death;
use super::line::{Line, Lineage};
use super::node::Node;
use super::pid::MonitorRef;
use super::signal::Watcher;
use crate::hooks::Event;
use crate::sched::core::{CoreRef, RUNNING, STOPPED};
use crate::sched::stats::Count;
use crate::sched::{self, worker::here};
use crate::sync::atomic::Ordering::{Acquire, Relaxed};

/// How a process is started. OTP: the options of `erlang:spawn_opt/2`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SpawnOptions {
    /// Default: [`Priority::Normal`].
    pub priority: Priority,
    /// Default: [`MailboxPolicy::Unbounded`].
    pub mailbox: MailboxPolicy,
}

impl SpawnOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how urgently the process runs.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Sets how many messages may wait.
    pub fn mailbox(mut self, mailbox: MailboxPolicy) -> Self {
        self.mailbox = mailbox;
        self
    }
}

/// How a new process is tied to the one that starts it, or to the system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ties {
    /// Linked to the running process, which is its parent.
    pub(crate) link: bool,
    /// Monitored by the running process.
    pub(crate) monitor: bool,
    /// A child of the system's root: started from outside.
    pub(crate) root: bool,
}

/// The system starts no more processes.
#[derive(Debug)]
pub(crate) struct Refused;

/// A process that exists but is not queued yet: its name can still be registered, or it be dropped.
pub(crate) struct Unborn {
    cell: CellRef,
    pub(crate) monitor: Option<MonitorRef>,
    ties: Ties,
}

/// Makes a process with `body`, tied as `ties` says, to begin with the envelope `first` if there is
/// one.
///
/// # Safety
/// `vtable` is for a `B`; `first` is an envelope for it, owned by the caller and handed over (also if
/// the start is refused: then it is given back in the error).
pub(crate) unsafe fn make<B>(
    core: &CoreRef,
    vtable: &'static CellVtable,
    body: B,
    options: &SpawnOptions,
    ties: Ties,
    first: Option<*mut Node>,
) -> Result<Unborn, (Refused, Option<*mut Node>)> {
    let state = core.state.load(Acquire);
    if state == STOPPED || ties.root && state != RUNNING {
        return Err((Refused, first));
    }
    let Some((id, serial)) = core.with_ids(|ids| core.table.reserve(ids)) else {
        return Err((Refused, first));
    };
    if options.priority == Priority::High {
        // Relaxed: the process's way through a queue orders it.
        core.has_high.store(true, Relaxed);
    }
    let bounded = Bounded::new(options.mailbox);
    let fixed = Fixed {
        priority: options.priority,
    };
    let cell = Cell::allocate(
        vtable,
        core.clone(),
        (id, serial),
        bounded,
        fixed,
        None,
        body,
    );
    // SAFETY: `allocate` made two references: the process's own, and this one.
    let cell = unsafe { CellRef::from_raw(cell) };
    let pid = cell.pid();
    // SAFETY: not queued yet, so the maker is alone with it.
    let own = unsafe { cell.own() };
    if let Some(first) = first {
        // SAFETY: handed over by the caller.
        unsafe { own.inbox.push_back(first) };
        core.count(Count::Sent, 1);
    }
    let mut monitor = None;
    let parent = here()
        .and_then(|worker| worker.current())
        .filter(|_| ties.link || ties.monitor);
    if let Some(parent) = parent {
        // SAFETY: the running process's cell, in its turn.
        let (parent_pid, parent) =
            unsafe { (parent.as_ref().pid(), parent.as_ref().own().extra()) };
        let extra: &mut Extra = own.extra();
        if ties.link {
            extra.initial = parent.initial.of_child(parent_pid);
            extra.parent = Some(parent_pid);
            extra.links.insert(parent_pid);
            parent.links.insert(pid);
        }
        if ties.monitor {
            let number = core.new_monitor();
            extra.watchers.insert(number, Watcher::Process(parent_pid));
            parent.monitoring.insert(number, pid);
            monitor = Some(number);
        }
    }
    // The table's reference.
    cell.retain();
    // SAFETY: reserved above, published once, with a reference of its own.
    unsafe { core.table.publish(id, serial, cell.as_ptr()) };
    Ok(Unborn {
        cell,
        monitor,
        ties,
    })
}

impl Unborn {
    pub(crate) fn cell(&self) -> &CellRef {
        &self.cell
    }

    /// Has it trap exits from the start.
    pub(crate) fn trap_exit(&mut self) {
        // SAFETY: not queued yet, so the maker is alone with it.
        unsafe { self.cell.own() }.trap_exit = true;
    }

    /// It is a task, asked for by these.
    pub(crate) fn asked_for_by(&mut self, callers: Line) {
        // SAFETY: not queued yet, so the maker is alone with it.
        unsafe { self.cell.own() }.extra().initial.callers = Lineage::new(callers);
    }

    /// Queues it for its first turn.
    pub(crate) fn bear(self) -> CellRef {
        let cell = self.cell;
        let core = &cell.core;
        core.count(Count::Spawned, 1);
        if self.ties.root {
            let number = core.add_root(cell.pid());
            // SAFETY: not queued yet, so the maker is alone with it.
            unsafe { cell.own() }.extra().root = Some(number);
        }
        core.record(|| format!("start   {} {}", cell.pid(), (cell.vtable.type_name)()));
        if core.hooks.wants_events() {
            core.hooks.event(&Event::Started {
                pid: cell.pid(),
                kind: (cell.vtable.type_name)(),
            });
        }
        sched::schedule(&cell);
        cell
    }

    /// Undoes the making; the first envelope is dropped, its caller told that there is no process.
    pub(crate) fn abandon(self) {
        let cell = &self.cell;
        let core = &cell.core;
        core.with_ids(|ids| core.table.remove(cell.id, cell.serial, ids));
        if let Some(parent) = here().and_then(|worker| worker.current()) {
            // SAFETY: the running process's cell, in its turn.
            if let Some(extra) = unsafe { parent.as_ref().own() }.extra.as_mut() {
                extra.links.remove(&cell.pid());
                if let Some(monitor) = self.monitor {
                    extra.monitoring.remove(&monitor);
                }
            }
        }
        // SAFETY: ours alone, as it was never queued.
        unsafe { death::abandon(core, cell) };
    }
}
