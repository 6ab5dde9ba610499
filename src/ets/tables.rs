//! The tables of a system: all of them, and those that have names.
//!
//! # Invariants
//! 1. A table that is there is in `all`; one that has a name is in `names` under that. One that is gone may be
//!    in either for a moment, and counts as absent.
//! 2. What is kept here is dropped under no lock: it may be the last hold on a table, and user code.
//! 3. A table holds the system, so these maps are emptied when the system ends.

use std::collections::{BTreeMap, HashMap};

use super::error::TableError;
use super::info::TableInfo;
use super::keeper::Post;
use super::kind::Keeps;
use super::table::{AnyTable, Inner, Table, TableBuilder};
use crate::sched::core::Core;
use crate::sync::{Arc, Mutex, RwLock};
use crate::system::Handle;

/// A table of whatever types.
type Listed = Arc<dyn AnyTable>;

/// See the module.
#[derive(Default)]
pub(crate) struct Tables {
    all: Mutex<BTreeMap<u64, Listed>>,
    names: RwLock<HashMap<Arc<str>, Listed>>,
    pub(super) keeper: Post,
}

impl Tables {
    /// Takes a new table in, and its name if it has one.
    pub(super) fn enter(&self, table: Listed) -> Result<(), TableError> {
        let name = table.common().rights.lock().name.clone();
        if let Some(name) = name {
            self.name(&name, table.clone())?;
        }
        self.all.lock().insert(table.common().number, table);
        Ok(())
    }

    /// Gives a name to a table, unless another one that is there has it.
    fn name(&self, name: &Arc<str>, table: Listed) -> Result<(), TableError> {
        let mut names = self.names.write();
        if names
            .get(name)
            .is_some_and(|table| !table.common().is_gone())
        {
            drop(names);
            return Err(TableError::NameTaken);
        }
        let dead = names.insert(name.clone(), table);
        drop(names);
        drop(dead);
        Ok(())
    }

    /// Takes a name away from a table, if it has it.
    fn unname(&self, name: &str, table: &dyn AnyTable) {
        let number = table.common().number;
        let mut names = self.names.write();
        let is_its = |table: &Listed| table.common().number == number;
        let old = match names.get(name).is_some_and(is_its) {
            true => names.remove(name),
            false => None,
        };
        drop(names);
        drop(old);
    }

    pub(super) fn rename<K: 'static, V: 'static, Kind: Keeps<K, V>>(
        &self,
        table: &Arc<Inner<K, V, Kind>>,
        name: Arc<str>,
    ) -> Result<(), TableError> {
        let old = {
            // One renaming after the other.
            let mut rights = table.common.rights.lock();
            let Some(old) = rights.name.clone() else {
                return Ok(());
            };
            let mut names = self.names.write();
            let is_there = |table: &Listed| !table.common().is_gone();
            if names.get(&name).is_some_and(is_there) {
                return Err(TableError::NameTaken);
            }
            rights.name = Some(name.clone());
            (names.remove(&old), names.insert(name, table.clone()))
        };
        drop(old);
        if table.common.is_gone() {
            // Deleted meanwhile, maybe under its old name.
            self.leave(table.as_ref());
        }
        Ok(())
    }

    /// Lets go of a table that is gone.
    pub(super) fn leave(&self, table: &dyn AnyTable) {
        let common = table.common();
        let name = common.rights.lock().name.clone();
        if let Some(name) = name {
            self.unname(&name, table);
        }
        let left = self.all.lock().remove(&common.number);
        drop(left);
    }

    /// The table with this number.
    pub(super) fn get(&self, number: u64) -> Option<Listed> {
        self.all.lock().get(&number).cloned()
    }

    /// All that are there, in the order in which they were made.
    pub(super) fn all(&self) -> Vec<Listed> {
        let all = self.all.lock();
        let there = all.values().filter(|table| !table.common().is_gone());
        there.cloned().collect()
    }

    pub(super) fn find(&self, name: &str) -> Option<Listed> {
        let table = self.names.read().get(name).cloned();
        table.filter(|table| !table.common().is_gone())
    }

    /// The system has ended: its tables are gone.
    pub(crate) fn close(&self) {
        let all = std::mem::take(&mut *self.all.lock());
        let names = std::mem::take(&mut *self.names.write());
        for table in all.values() {
            table.common().close();
        }
        drop((all, names));
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        self.close();
    }
}

/// The system has stopped running processes: its tables are gone.
pub(crate) fn close(core: &Core) {
    core.attached.get::<Tables>().close();
}

impl Handle {
    /// Makes a table that belongs to the system, until that ends: owned by a process of noex's that keeps
    /// tables. Unless the builder says otherwise, everybody may write it.
    ///
    /// # Errors
    /// [`TableError::NameTaken`]; [`TableError::Gone`]: the system has ended.
    pub fn table<K: 'static, V: 'static, Kind: Keeps<K, V>>(
        &self,
        table: TableBuilder<K, V, Kind>,
    ) -> Result<Table<K, V, Kind>, TableError> {
        table.build_for(self.core())
    }

    /// The table that has this name. OTP: `ets:whereis/1`.
    ///
    /// # Errors
    /// [`TableError::NoTable`]; [`TableError::WrongType`]: it has other keys or values, or is of another kind.
    pub fn table_named<K: 'static, V: 'static, Kind: Keeps<K, V>>(
        &self,
        name: &str,
    ) -> Result<Table<K, V, Kind>, TableError> {
        let tables = self.core().attached.get::<Tables>();
        let table = tables.find(name).ok_or(TableError::NoTable)?;
        match table.into_any().downcast::<Inner<K, V, Kind>>() {
            Ok(inner) => Ok(Table { inner }),
            Err(_) => Err(TableError::WrongType),
        }
    }

    /// All tables of the system, in the order in which they were made. OTP: `ets:all/0`.
    pub fn tables(&self) -> Vec<TableInfo> {
        let tables = self.core().attached.get::<Tables>();
        tables.all().iter().map(|table| table.info()).collect()
    }
}
