//! What a process owns that others can see, and that must not outlive it unnoticed: tables, and the
//! fixations of tables.
//!
//! ```text
//!   give ──▶ belongings of a pid ── take_back ──▶ nobody's, or given to another
//!                    │
//!                    └── its death ──▶ `bereave`, before anybody hears of the death
//! ```
//!
//! Who keeps a [`Belonging`] in its own state needs none of this: a state's `Drop` runs in the dying
//! turn as well, before links and monitors are told, so there is nothing here that a user's process
//! could not do for itself. It is needed because a process can be made an owner by others, and because a
//! table must go with its owner whether or not the owner's state has a handle on it.
//!
//! # Invariants
//! 1. A process that ever was given something is marked (`Cell::owns`); one that is not marked pays one
//!    look at that mark when it dies.
//! 2. Whatever is given is either taken back or told `bereave`, once. A gift to a process that dies
//!    meanwhile is decided by a signal sent after the mark and the entry: if that gets into the mailbox,
//!    the death comes later, and sees both; if not, the giver takes the entry back, unless the death was
//!    faster.
//! 3. No lock is held while foreign code runs.

use std::collections::{BTreeMap, HashMap};

use super::cell::Cell;
use super::deliver::send_signal;
use super::pid::Pid;
use super::signal::Signal;
use crate::sched::worker::here;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::sync::{Arc, Mutex};

const SHARDS: usize = 16;

/// Something that belongs to a process.
pub(crate) trait Belonging: Send + Sync {
    /// Its owner `owner` is dying, in whose last turn this runs: its state is dropped, and nobody has been
    /// told yet.
    fn bereave(self: Arc<Self>, owner: Pid);
}

/// The process is dead, and owns nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dead;

/// In the order of their numbers, which is that in which they were made.
type Things = BTreeMap<u64, Arc<dyn Belonging>>;

/// What the processes of a system own.
#[derive(Default)]
pub(crate) struct Belongings {
    shards: [Mutex<HashMap<Pid, Things>>; SHARDS],
    numbers: AtomicU64,
}

impl Belongings {
    /// A number for a belonging, later than all before.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Relaxed) + 1
    }

    fn shard(&self, owner: Pid) -> &Mutex<HashMap<Pid, Things>> {
        &self.shards[owner.id() as usize % SHARDS]
    }

    /// Gives `thing` to the process of `to`.
    pub(crate) fn give(
        &self,
        to: &Cell,
        number: u64,
        thing: Arc<dyn Belonging>,
    ) -> Result<(), Dead> {
        let pid = to.pid();
        self.shard(pid)
            .lock()
            .entry(pid)
            .or_default()
            .insert(number, thing);
        // Relaxed: the signal below orders it before the death, if it comes before it (invariant 2).
        to.owns.store(true, Relaxed);
        let own_turn = here().and_then(|worker| worker.current()) == Some(to.this());
        // SAFETY: in the process's own turn; not kept.
        if own_turn && !unsafe { to.own() }.dead {
            return Ok(());
        }
        if send_signal(to, Signal::Endowed).is_ok() {
            return Ok(());
        }
        match self.take_back(pid, number) {
            Some(_) => Err(Dead),
            // It was alive long enough to leave it to others.
            None => Ok(()),
        }
    }

    /// Takes away what `owner` was given under `number`, if it still has it.
    pub(crate) fn take_back(&self, owner: Pid, number: u64) -> Option<Arc<dyn Belonging>> {
        let mut shard = self.shard(owner).lock();
        let things = shard.get_mut(&owner)?;
        let thing = things.remove(&number);
        if things.is_empty() {
            shard.remove(&owner);
        }
        thing
    }

    /// Whether anybody owns anything.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.lock().is_empty())
    }

    /// All that belongs to `owner`, which is dying: to be told so.
    #[cold]
    #[must_use = "what was a dead process's must be told so"]
    pub(super) fn settle(&self, owner: Pid) -> impl Iterator<Item = Arc<dyn Belonging>> + use<> {
        let things = self.shard(owner).lock().remove(&owner);
        things.unwrap_or_default().into_values()
    }
}
