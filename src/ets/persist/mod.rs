//! Persistent tables: in memory to be read, and in a file, with what was acknowledged on the disk. In the place
//! of OTP's `dets`.
//!
//! ```text
//!   readers ─────────────────────────▶ table (protected, owned by its process)
//!                                        ▲ 3. done in memory
//!   writers ──▶ queue ──▶ process ──▶ a thread of the dirty pool ──▶ 4. all are answered
//!                                        │ 1. worked out, 2. written in one transaction
//!                                        ▼
//!                                      file (redb)
//! ```
//! A write is seen by nobody before it is on the disk, so what anybody has seen is there after a crash, not only
//! what was acknowledged; and a write that fails has changed nothing that anybody could have seen. The price
//! is that writers stand in one line, which the disk would make them do anyway.

mod builder;
mod claim;
mod disk;
mod engine;
mod error;
mod inside;
mod ops;
#[cfg(test)]
mod tests;
mod view;
mod writer;

use std::borrow::Borrow;
use std::fmt;
use std::path::PathBuf;

pub use self::builder::{Durability, OpenTable, PersistentBuilder};
pub use self::error::PersistError;
pub use self::ops::Writing;
pub use self::view::Persists;

use self::writer::{Open, Shared};
use super::codec::Stored;
use super::error::TableError;
use super::kind::{Finds, Set};
use super::table::Table;
use crate::exit::ExitReason;
use crate::process::pid::Pid;
use crate::sync::Arc;
use crate::system::Handle;

/// A table in memory with a file behind it: a write is acknowledged when it is on the disk, and a crash at any
/// point loses nothing that was acknowledged. OTP: `dets`, which promises less.
///
/// It is a handle as [`Table`] is: cheap to clone, and keeping nothing alive. The table belongs to a process of its
/// own, which all writes go through; reads go straight to memory, by [`table`](Self::table). Whoever has
/// the handle may write.
///
/// # Writes
/// They take keys by value, and closures that are `Send + 'static`, and return a [`Writing`]: a future that is
/// ready when the write is on the disk (see [`Durability`]). Those of one process or thread are done in the order
/// in which they were asked for, whether or not it waits for each. All that [`Table`] says about an operation
/// holds here, and each operation is all or nothing in the file as well.
///
/// A closure runs in the table's process, under no lock (those of `select_delete` and `select_replace` under the
/// table's, as with [`Table`]), and may read any table; writing to a persistent one is [`TableError::Nested`]
/// there. One that panics leaves the object as it was, and is
/// [`PersistError::Panicked`] to whoever waits.
///
/// # Errors
/// A write that fails has changed nothing, in memory or in the file: [`PersistError`] says of each error what it
/// means, and where that is not so.
///
/// ```
/// # use noex::prelude::*;
/// use noex::ets::PersistentTable;
///
/// # let file = std::env::temp_dir().join(format!("noex-doc-persist-{}.redb", std::process::id()));
/// # let _ = std::fs::remove_file(&file);
/// let system = System::new()?;
/// let visits = PersistentTable::<String, u64>::builder(&file).open(&system).wait()?;
/// visits.update_counter_or("home".into(), 0, |n| n, 1).wait()?;
/// assert_eq!(visits.lookup("home")?, Some(1));
/// visits.close().wait()?;
///
/// let again = PersistentTable::<String, u64>::builder(&file).open(&system).wait()?;
/// assert_eq!(again.lookup("home")?, Some(1));
/// # again.close().wait()?;
/// # std::fs::remove_file(&file)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PersistentTable<K: 'static, V: 'static, Kind: Persists<K, V> = Set> {
    table: Table<K, V, Kind>,
    shared: Arc<Shared<K, V, Kind>>,
}

impl<K: 'static, V: 'static, Kind: Persists<K, V>> Clone for PersistentTable<K, V, Kind> {
    fn clone(&self) -> Self {
        PersistentTable {
            table: self.table.clone(),
            shared: self.shared.clone(),
        }
    }
}

impl<K: 'static, V: 'static, Kind: Persists<K, V>> PartialEq for PersistentTable<K, V, Kind> {
    fn eq(&self, other: &Self) -> bool {
        self.table == other.table
    }
}

impl<K: 'static, V: 'static, Kind: Persists<K, V>> Eq for PersistentTable<K, V, Kind> {}

impl<K: 'static, V: 'static, Kind: Persists<K, V>> fmt::Debug for PersistentTable<K, V, Kind> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PersistentTable").field(&self.table).finish()
    }
}

impl<K, V, Kind> PersistentTable<K, V, Kind>
where
    K: Stored + Clone,
    V: Stored + Clone,
    Kind: Persists<K, V>,
{
    /// How to open the table in this file, which is made if it is not there.
    pub fn builder(path: impl Into<PathBuf>) -> PersistentBuilder<K, V, Kind> {
        PersistentBuilder::new(path.into())
    }
}

impl<K: 'static, V: 'static, Kind: Persists<K, V>> PersistentTable<K, V, Kind> {
    fn of(shared: Arc<Shared<K, V, Kind>>) -> Result<Self, TableError> {
        let table = shared.made().ok_or(TableError::Gone)?.table.clone();
        Ok(PersistentTable { table, shared })
    }

    /// The table, to be read in all the ways that a [`Table`] can be. It is protected and its owner is the
    /// process that writes the file; each operation of its own that would change it, its name, its owner or its
    /// heir, or delete it, is [`TableError::Access`], also in a closure that runs in that process.
    pub fn table(&self) -> &Table<K, V, Kind> {
        &self.table
    }

    /// As [`Table::lookup`].
    pub fn lookup<Q: ?Sized>(&self, key: &Q) -> Result<Kind::Found<V>, TableError>
    where
        K: Borrow<Q>,
        V: Clone,
        Kind: Finds<K, V, Q>,
    {
        self.table.lookup(key)
    }

    /// As [`Table::read`].
    pub fn read<Q: ?Sized, R>(
        &self,
        key: &Q,
        look: impl FnOnce(Kind::View<'_, V>) -> R,
    ) -> Result<Option<R>, TableError>
    where
        K: Borrow<Q>,
        Kind: Finds<K, V, Q>,
    {
        self.table.read(key, look)
    }

    /// As [`Table::member`].
    pub fn member<Q: ?Sized>(&self, key: &Q) -> Result<bool, TableError>
    where
        K: Borrow<Q>,
        Kind: Finds<K, V, Q>,
    {
        self.table.member(key)
    }

    /// As [`Table::len`].
    pub fn len(&self) -> Result<usize, TableError> {
        self.table.len()
    }

    /// As [`Table::is_empty`].
    pub fn is_empty(&self) -> Result<bool, TableError> {
        self.table.is_empty()
    }

    /// The process of the table.
    pub fn pid(&self) -> Option<Pid> {
        self.shared.made().map(|made| made.writer.pid())
    }

    /// Whether the table is open: its process lives.
    pub fn is_alive(&self) -> bool {
        self.table.is_alive()
    }

    /// Why the table's process has ended; `None` while it lives.
    pub fn exit_reason(&self) -> Option<ExitReason> {
        self.shared.made()?.writer.exit_reason()
    }
}

impl Handle {
    /// The persistent table that has this name: that of whichever incarnation of its process lives now.
    ///
    /// # Errors
    /// As [`Handle::table_named`]: [`TableError::NoTable`], also if the table with this name is not persistent;
    /// [`TableError::WrongType`].
    pub fn persistent_table<K: 'static, V: 'static, Kind: Persists<K, V>>(
        &self,
        name: &str,
    ) -> Result<PersistentTable<K, V, Kind>, TableError> {
        let table = self.table_named::<K, V, Kind>(name)?;
        let open: Arc<Open> = self.core().attached.get();
        let found = open.get(table.inner.common.number);
        let shared = found.and_then(|found| found.downcast::<Shared<K, V, Kind>>().ok());
        PersistentTable::of(shared.ok_or(TableError::NoTable)?)
    }
}
