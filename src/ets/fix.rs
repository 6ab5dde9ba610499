//! Tables that are held still for a traversal. OTP: `ets:safe_fixtable/2`.

use std::fmt;

use super::error::TableError;
use super::kind::{Keeps, Set};
use super::store::{Store, Terms};
use super::table::{Inner, Table};
use crate::process::belongings::Belonging;
use crate::process::caller::caller;
use crate::process::pid::Pid;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, Ordering::AcqRel};

/// While it lives, a traversal of the table by keys ([`Table::next`]) can go on from a key that was deleted.
/// Dropped, or when the process dies that made it, the table is no longer fixed by it.
///
/// Fixed for long while much is deleted, a table grows: the keys of deleted objects stay.
#[must_use = "the table is fixed only as long as this lives"]
pub struct Fixed<K: 'static, V: 'static, Kind: Keeps<K, V> = Set> {
    fixation: Arc<Fixation<K, V, Kind>>,
}

impl<K, V, Kind: Keeps<K, V>> fmt::Debug for Fixed<K, V, Kind> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixed").finish_non_exhaustive()
    }
}

struct Fixation<K: 'static, V: 'static, Kind: Keeps<K, V>> {
    table: Arc<Inner<K, V, Kind>>,
    number: u64,
    by: Option<Pid>,
    over: AtomicBool,
}

impl<K, V, Kind: Keeps<K, V>> Table<K, V, Kind> {
    /// Fixes the table, as often as it is called, each time until what it returns is dropped or the calling
    /// process dies. For whoever may read it. OTP: `ets:safe_fixtable/2`.
    pub fn fix(&self) -> Result<Fixed<K, V, Kind>, TableError> {
        let common = &self.inner.common;
        common.read().admit()?;
        let core = &common.core;
        let cell = caller().and_then(|pid| core.find(pid));
        let fixation = Arc::new(Fixation {
            table: self.inner.clone(),
            number: core.belongings.number(),
            by: cell.as_ref().map(|cell| cell.pid()),
            over: AtomicBool::new(false),
        });
        self.inner.store.fix();
        {
            let mut rights = common.rights.lock();
            *rights.fixed.entry(fixation.by).or_default() += 1;
        }
        if let Some(cell) = cell {
            let belonging = fixation.clone();
            // The closure of a process that died meanwhile has it until it drops it.
            let _given = core.belongings.give(&cell, fixation.number, belonging);
        }
        Ok(Fixed { fixation })
    }
}

impl<K, V, Kind: Keeps<K, V>> Fixation<K, V, Kind> {
    /// Ends it, once.
    fn end(&self) {
        if self.over.swap(true, AcqRel) {
            return;
        }
        let common = &self.table.common;
        {
            let mut rights = common.rights.lock();
            if let Some(times) = rights.fixed.get_mut(&self.by) {
                *times -= 1;
                if *times == 0 {
                    rights.fixed.remove(&self.by);
                }
            }
        }
        // From under a lock of the table what was deleted stays until the next fixation ends.
        let _tidied = self.table.store.unfix();
    }
}

impl<K, V, Kind: Keeps<K, V>> Belonging for Fixation<K, V, Kind> {
    fn bereave(self: Arc<Self>, _: Pid) {
        self.end();
    }
}

impl<K, V, Kind: Keeps<K, V>> Drop for Fixed<K, V, Kind> {
    fn drop(&mut self) {
        let fixation = &self.fixation;
        if let Some(pid) = fixation.by {
            let belongings = &fixation.table.common.core.belongings;
            drop(belongings.take_back(pid, fixation.number));
        }
        fixation.end();
    }
}
