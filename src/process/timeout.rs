//! The receive timeout of a behaviour: a message of noex's own if nothing else comes in time.

use std::time::Duration;

use super::cell::{Cell, CellRef};
use super::node::Node;
use super::signal::{Notice, SystemNode};
use crate::sched::core::Core;
use crate::sched::timers::{self, Envelope, Target, TimerRef};

/// Each timeout has a number, so that one which fired but was overtaken by a message is known to be
/// void when its notice comes up.
#[derive(Default)]
pub(crate) struct ReceiveTimeout {
    wanted: Option<Duration>,
    armed: Option<TimerRef>,
    number: u64,
}

impl ReceiveTimeout {
    /// Asks for a timeout, to start when the current handler is done.
    pub(crate) fn want(&mut self, after: Option<Duration>) {
        self.wanted = after;
    }

    /// A handler is done: starts the timeout it asked for.
    pub(crate) fn arm(&mut self, core: &Core, cell: &Cell) {
        let Some(after) = self.wanted.take() else {
            return;
        };
        self.number += 1;
        let node: *mut Node = SystemNode::notice(Notice::Timeout(self.number));
        // SAFETY: the running process's cell is alive; the node is fresh.
        let envelope = unsafe { Envelope::new(Target::Cell(CellRef::retained(cell.this())), node) };
        self.armed = Some(timers::send_after(core, after, envelope));
    }

    /// A message came up: the timeout is off.
    pub(crate) fn disarm(&mut self, core: &Core) {
        if let Some(timer) = self.armed.take() {
            self.number += 1;
            core.timers.cancel(core, timer);
        }
    }

    /// Whether notice `number` is the one that runs; it no longer is afterwards.
    pub(crate) fn fired(&mut self, number: u64) -> bool {
        let valid = self.armed.is_some() && self.number == number;
        if valid {
            self.armed = None;
        }
        valid
    }

    pub(crate) fn is_active(&self) -> bool {
        self.armed.is_some() || self.wanted.is_some()
    }
}
