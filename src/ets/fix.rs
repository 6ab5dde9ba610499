//! Tables that are held still for a traversal. OTP: `ets:safe_fixtable/2`.

use std::fmt;

use super::error::TableError;
use super::kind::{Keeps, TableKind};
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
pub struct Fixed {
    fixation: Arc<dyn End>,
}

impl fmt::Debug for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixed").finish_non_exhaustive()
    }
}

impl Drop for Fixed {
    fn drop(&mut self) {
        self.fixation.end();
    }
}

/// Something that ends, once.
trait End: Send + Sync {
    fn end(&self);
}

struct Fixation<K, V, Kind: TableKind> {
    table: Arc<Inner<K, V, Kind>>,
    number: u64,
    by: Option<Pid>,
    over: AtomicBool,
}

impl<K: 'static, V: 'static, Kind: Keeps<K, V>> Table<K, V, Kind> {
    /// Fixes the table, as often as it is called, each time until what it returns is dropped or the calling
    /// process dies. For whoever may read it. OTP: `ets:safe_fixtable/2`.
    pub fn fix(&self) -> Result<Fixed, TableError> {
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

impl<K: 'static, V: 'static, Kind: Keeps<K, V>> End for Fixation<K, V, Kind> {
    fn end(&self) {
        if self.over.swap(true, AcqRel) {
            return;
        }
        let common = &self.table.common;
        if let Some(pid) = self.by {
            drop(
                common
                    .core
                    .belongings
                    .take_back(&common.core, pid, self.number),
            );
        }
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

impl<K: 'static, V: 'static, Kind: Keeps<K, V>> Belonging for Fixation<K, V, Kind> {
    fn bereave(self: Arc<Self>, _: Pid) {
        self.end();
    }
}
