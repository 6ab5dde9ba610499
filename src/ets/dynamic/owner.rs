//! Whose a dynamic table is: the rules are those of every table, the message is of its own.

use std::marker::PhantomData;

use super::{Object, Tables, TermTable, on};
use crate::destination::Destination;
use crate::ets::error::TableError;
use crate::ets::kind::Keeps;
use crate::ets::owner::{Heir, SomeHeir};
use crate::ets::table::Table;
use crate::process::pid::Pid;
use crate::sched::timers::Envelope;
use crate::sync::{Arc, Mutex};
use crate::system::Handle;

/// A dynamic table has become the receiver's: what [`Transfer`](super::super::Transfer) says of others. OTP:
/// `{'ETS-TRANSFER', Tab, FromPid, Data}`.
#[derive(Debug)]
#[non_exhaustive]
pub struct TermTransfer<D = ()> {
    /// The table.
    pub table: TermTable,
    /// Who owned it before.
    pub from: Pid,
    /// What [`TermTable::give_away`] or [`TermTable::set_heir`] was given to pass on.
    pub data: D,
}

/// Who gets a dynamic table of whichever type when its owner dies.
pub(super) trait TermHeir: Send + Sync {
    /// The transfer message of the table, which `from` owned.
    fn letter(&self, table: TermTable, from: Pid) -> Option<Envelope>;
    /// Which process that is.
    fn pid(&self, system: &Handle) -> Option<Pid>;
}

pub(super) type SomeTermHeir = Arc<dyn TermHeir>;

struct HeirWith<H, D> {
    to: H,
    /// Taken out while it is cloned, which only the owner's death does.
    data: Mutex<Option<D>>,
}

impl<H, D> TermHeir for HeirWith<H, D>
where
    H: Destination<TermTransfer<D>> + Send + Sync,
    D: Clone + Send + 'static,
{
    fn letter(&self, table: TermTable, from: Pid) -> Option<Envelope> {
        let data = self.data.lock().take()?;
        let copy = data.clone();
        *self.data.lock() = Some(data);
        Some(transfer(table, from, &self.to, copy))
    }

    fn pid(&self, system: &Handle) -> Option<Pid> {
        self.to.pid(system)
    }
}

pub(super) fn term_heir<D, H>(to: &H, data: D) -> SomeTermHeir
where
    D: Clone + Send + 'static,
    H: Destination<TermTransfer<D>> + Clone + Send + Sync + 'static,
{
    Arc::new(HeirWith {
        to: to.clone(),
        data: Mutex::new(Some(data)),
    })
}

fn transfer<D>(
    table: TermTable,
    from: Pid,
    to: &impl Destination<TermTransfer<D>>,
    data: D,
) -> Envelope {
    let system = table.system();
    to.letter(&system, TermTransfer { table, from, data }).0
}

/// The heir of a dynamic table as that of the table it is made of.
pub(super) struct HeirOf<K, Kind> {
    heir: SomeTermHeir,
    table: PhantomData<fn(K, Kind)>,
}

impl<K: 'static, Kind: Keeps<K, Object>> HeirOf<K, Kind>
where
    Tables: From<Table<K, Object, Kind>>,
{
    pub(super) fn some(heir: SomeTermHeir) -> SomeHeir<K, Object, Kind> {
        Arc::new(HeirOf {
            heir,
            table: PhantomData,
        })
    }
}

impl<K: 'static, Kind: Keeps<K, Object>> Heir<K, Object, Kind> for HeirOf<K, Kind>
where
    Tables: From<Table<K, Object, Kind>>,
{
    fn letter(&self, table: Table<K, Object, Kind>, from: Pid) -> Option<Envelope> {
        self.heir.letter(table.into(), from)
    }

    fn pid(&self, system: &Handle) -> Option<Pid> {
        self.heir.pid(system)
    }
}

impl TermTable {
    /// Makes `to` the owner, and sends it a [`TermTransfer`]: see [`Table::give_away`]. OTP: `ets:give_away/3`.
    ///
    /// # Errors
    /// [`TableError::Access`]: the caller is not the owner. [`TableError::NoProc`]: there is no such process.
    /// [`TableError::AlreadyOwner`]: it is the owner itself.
    pub fn give_away<D: Send + 'static>(
        &self,
        to: &impl Destination<TermTransfer<D>>,
        data: D,
    ) -> Result<(), TableError> {
        on!(self, table => {
            let from = table.owner_calling()?;
            table.give_with(from, transfer(self.clone(), from, to, data))
        })
    }

    /// Sets who gets the table, and with it a [`TermTransfer`] with a clone of `data`, when its owner dies: see
    /// [`Table::set_heir`]. OTP: `ets:setopts(Tab, {heir, Pid, HeirData})`.
    ///
    /// # Errors
    /// [`TableError::Access`]: the caller is not the owner.
    pub fn set_heir<D, H>(&self, to: &H, data: D) -> Result<(), TableError>
    where
        D: Clone + Send + 'static,
        H: Destination<TermTransfer<D>> + Clone + Send + Sync + 'static,
    {
        let heir = term_heir(to, data);
        on!(self, table => table.replace_heir(Some(HeirOf::some(heir))))
    }

    /// Leaves the table to nobody. For the owner only. OTP: `ets:setopts(Tab, {heir, none})`.
    ///
    /// # Errors
    /// [`TableError::Access`]: the caller is not the owner.
    pub fn clear_heir(&self) -> Result<(), TableError> {
        on!(self, table => table.clear_heir())
    }
}
