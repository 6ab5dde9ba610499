//! What a machine's callbacks are given beside the event.

use std::ops::Deref;

use super::machine::Machine;
use super::{EventType, GenStateMachine, MachineRef};
use crate::gen_server::Context;
use crate::process::context::ProcessContext;

/// A machine's handle on itself, given to each of its callbacks. What every process can do, start
/// servers, link, monitor, timers, sleep, is in [`ProcessContext`], to which it dereferences.
///
/// # Panics
/// As for [`ProcessContext`]: used outside the machine's own turn.
pub struct MachineContext<M: GenStateMachine> {
    pub(super) server: Context<Machine<M>>,
    pub(super) event_type: Option<EventType<M::Timeout>>,
}

impl<M: GenStateMachine> std::fmt::Debug for MachineContext<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MachineContext").finish_non_exhaustive()
    }
}

impl<M: GenStateMachine> Deref for MachineContext<M> {
    type Target = ProcessContext;
    fn deref(&self) -> &ProcessContext {
        &self.server
    }
}

impl<M: GenStateMachine> MachineContext<M> {
    pub(super) fn new() -> Self {
        MachineContext {
            server: Context::new(),
            event_type: None,
        }
    }

    /// A reference to this machine.
    pub fn this(&self) -> MachineRef<M> {
        self.server.this()
    }

    /// How the event came that is being handled; `None` in `init`, `enter` and `terminate`.
    pub fn event_type(&self) -> Option<&EventType<M::Timeout>> {
        self.event_type.as_ref()
    }
}
