//! Whose a table is: given away, inherited, or left to nobody.
//!
//! ```text
//!   owner ── give_away ──▶ another process, told by a `Transfer`
//!     │
//!     └── dies ──▶ its heir, told by a `Transfer` before anybody hears of the death
//!             └──▶ nobody: the table is gone before anybody hears of the death
//! ```
//!
//! # Invariants
//! 1. A table that is there is owned by the process that `rights` names, and is one of its belongings; or it
//!    is on the way from one to another, and whoever passes it on sees to it that it arrives or is orphaned.
//! 2. The new owner is the owner before it gets the `Transfer`, so that it may do with the table what it
//!    likes when it sees that.
//! 3. An heir's data is the user's: it is cloned and dropped under no lock. If that panics in the owner's
//!    last turn, the table goes.

use super::common::Owner;
use super::error::TableError;
use super::kind::{Keeps, Set, TableKind};
use super::table::{Inner, Table};
use crate::destination::Destination;
use crate::process::cell::CellRef;
use crate::process::pid::Pid;
use crate::sched::core::CoreRef;
use crate::sched::timers::Envelope;
use crate::sync::{Arc, Mutex};
use crate::system::Handle;

/// A table has become the receiver's. Always accepted, however full a bounded mailbox is. OTP:
/// `{'ETS-TRANSFER', Tab, FromPid, Data}`.
///
/// A server gets it by [`HandleInfo`](crate::HandleInfo); one that is reached by its bare pid as a message of
/// any type.
#[derive(Debug)]
#[non_exhaustive]
pub struct Transfer<K, V, Kind: TableKind = Set, D = ()> {
    /// The table.
    pub table: Table<K, V, Kind>,
    /// Who owned it before.
    pub from: Pid,
    /// What [`Table::give_away`] or [`Table::set_heir`] was given to pass on.
    pub data: D,
}

/// Who gets a table when its owner dies.
pub(super) trait Heir<K, V, Kind: TableKind>: Send + Sync {
    /// The transfer message of the table, which `from` owned.
    fn letter(&self, table: Table<K, V, Kind>, from: Pid) -> Option<Envelope>;
    /// Which process that is.
    fn pid(&self, system: &Handle) -> Option<Pid>;
}

pub(super) type SomeHeir<K, V, Kind> = Arc<dyn Heir<K, V, Kind>>;

struct HeirWith<H, D> {
    to: H,
    /// Taken out while it is cloned, which only the owner's death does.
    data: Mutex<Option<D>>,
}

impl<K, V, Kind, H, D> Heir<K, V, Kind> for HeirWith<H, D>
where
    K: 'static,
    V: 'static,
    Kind: Keeps<K, V>,
    H: Destination<Transfer<K, V, Kind, D>> + Send + Sync,
    D: Clone + Send + 'static,
{
    fn letter(&self, table: Table<K, V, Kind>, from: Pid) -> Option<Envelope> {
        let data = self.data.lock().take()?;
        let copy = data.clone();
        *self.data.lock() = Some(data);
        Some(transfer(table, from, &self.to, copy))
    }

    fn pid(&self, system: &Handle) -> Option<Pid> {
        self.to.pid(system)
    }
}

pub(super) fn heir<K, V, Kind, D, H>(to: &H, data: D) -> SomeHeir<K, V, Kind>
where
    K: 'static,
    V: 'static,
    Kind: Keeps<K, V>,
    D: Clone + Send + 'static,
    H: Destination<Transfer<K, V, Kind, D>> + Clone + Send + Sync + 'static,
{
    Arc::new(HeirWith {
        to: to.clone(),
        data: Mutex::new(Some(data)),
    })
}

fn transfer<K: 'static, V: 'static, Kind: Keeps<K, V>, D>(
    table: Table<K, V, Kind>,
    from: Pid,
    to: &impl Destination<Transfer<K, V, Kind, D>>,
    data: D,
) -> Envelope {
    let system = table.system();
    to.letter(&system, Transfer { table, from, data }).0
}

impl<K: 'static, V: 'static, Kind: Keeps<K, V>> Table<K, V, Kind> {
    /// Makes `to` the owner, and sends it a [`Transfer`]. For the owner only. A name is looked up now. OTP:
    /// `ets:give_away/3`.
    ///
    /// # Errors
    /// [`TableError::Access`]: the caller is not the owner. [`TableError::NoProc`]: there is no such process
    /// in the table's system, and the caller stays the owner. [`TableError::AlreadyOwner`]: it is the owner
    /// itself. The data is dropped.
    pub fn give_away<D: Send + 'static>(
        &self,
        to: &impl Destination<Transfer<K, V, Kind, D>>,
        data: D,
    ) -> Result<(), TableError> {
        let from = self.owner_calling()?;
        self.give_with(from, transfer(self.clone(), from, to, data))
    }

    /// Makes the process that a letter is for the owner after `from`, and sends it.
    pub(super) fn give_with(&self, from: Pid, mut letter: Envelope) -> Result<(), TableError> {
        let inner = &self.inner;
        let core = &inner.common.core;
        let cell = letter.address().ok_or(TableError::NoProc)?;
        if !cell.core.is(core) {
            return Err(TableError::NoProc);
        }
        let to = cell.pid();
        if to == from {
            return Err(TableError::AlreadyOwner);
        }
        if !inner.common.pass_on(Owner::Process(from), to) {
            // It was faster on another thread.
            return Err(TableError::Access);
        }
        drop(core.belongings.take_back(core, from, inner.common.number));
        if inner.belong(&cell) {
            letter.send(core);
            return Ok(());
        }
        // Dead. The former owner has it back, or, if that died meanwhile, its heir.
        if inner.common.pass_on(Owner::Process(to), from) && !inner.own(from) {
            inner.clone().inherit(from);
        }
        Err(TableError::NoProc)
    }

    /// Sets who gets the table, and with it a [`Transfer`] with a clone of `data`, when its owner dies; instead
    /// of whoever was to get it so far. For the owner only. OTP: `ets:setopts(Tab, {heir, Pid, HeirData})`.
    ///
    /// If the heir is dead when the owner dies, or is the owner itself, the table goes. An heir that has
    /// inherited stays the heir, and gets the table back if one dies that it gave it to. A name is looked up
    /// when the owner dies; it may be that of the owner's own next incarnation only if that lives by then,
    /// which under a supervisor it does not.
    ///
    /// # Errors
    /// [`TableError::Access`]: the caller is not the owner.
    pub fn set_heir<D, H>(&self, to: &H, data: D) -> Result<(), TableError>
    where
        D: Clone + Send + 'static,
        H: Destination<Transfer<K, V, Kind, D>> + Clone + Send + Sync + 'static,
    {
        self.replace_heir(Some(heir(to, data)))
    }

    /// Leaves the table to nobody. For the owner only. OTP: `ets:setopts(Tab, {heir, none})`.
    ///
    /// # Errors
    /// [`TableError::Access`]: the caller is not the owner.
    pub fn clear_heir(&self) -> Result<(), TableError> {
        self.replace_heir(None)
    }

    pub(super) fn replace_heir(
        &self,
        heir: Option<SomeHeir<K, V, Kind>>,
    ) -> Result<(), TableError> {
        self.owner_calling()?;
        let before = std::mem::replace(&mut *self.inner.heir.lock(), heir);
        drop(before);
        Ok(())
    }

    /// The owner, if it is who calls.
    pub(super) fn owner_calling(&self) -> Result<Pid, TableError> {
        let common = &self.inner.common;
        if common.is_gone() {
            return Err(TableError::Gone);
        }
        match common.owner() {
            Owner::Process(pid) if common.is_owner_calling() => Ok(pid),
            _ => Err(TableError::Access),
        }
    }
}

/// Deletes a table on the way from one owner to another, unless it arrives.
struct OnTheWay<'a, K: 'static, V: 'static, Kind: Keeps<K, V>>(Option<&'a Arc<Inner<K, V, Kind>>>);

impl<K: 'static, V: 'static, Kind: Keeps<K, V>> Drop for OnTheWay<'_, K, V, Kind> {
    fn drop(&mut self) {
        if let Some(table) = self.0 {
            table.orphan();
        }
    }
}

impl<K: 'static, V: 'static, Kind: Keeps<K, V>> Inner<K, V, Kind> {
    /// What becomes of the table as `owner` dies, if it is still that one's.
    pub(super) fn inherit(self: Arc<Self>, owner: Pid) {
        let common = &self.common;
        if common.is_gone() || common.owner() != Owner::Process(owner) {
            return;
        }
        let mut way = OnTheWay(Some(&self));
        let heir = self.heir.lock().clone();
        let table = Table {
            inner: self.clone(),
        };
        let letter = heir.and_then(|heir| heir.letter(table, owner));
        let Some(mut letter) = letter else {
            return;
        };
        let core: &CoreRef = &common.core;
        let Some(cell) = letter.address().filter(|cell| cell.core.is(core)) else {
            return;
        };
        if self.pass_on_to(owner, &cell) {
            way.0 = None;
            letter.send(core);
        }
    }

    fn pass_on_to(self: &Arc<Self>, from: Pid, cell: &CellRef) -> bool {
        // An heir that is dead by now has not got it; one that dies later leaves it to others.
        cell.pid() != from
            && self.common.pass_on(Owner::Process(from), cell.pid())
            && self.belong(cell)
    }

    /// Who would get the table now: nobody who is dead.
    pub(super) fn heir_now(self: &Inner<K, V, Kind>) -> Option<Pid> {
        let heir = self.heir.lock().clone()?;
        let core = &self.common.core;
        heir.pid(&Handle::new(core.clone()))
            .filter(|pid| core.is_alive(*pid))
    }
}
