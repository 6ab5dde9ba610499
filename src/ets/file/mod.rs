//! Tables in files: written whole, read whole. OTP: `ets:tab2file/2`, `ets:file2tab/1` and
//! `ets:tabfile_info/1`.
//!
//! ```text
//!   head: magic, version, length, checksum ─┬─ objects, blocks, bytes of the body
//!                                           └─ kind, access, name, times, names of the types
//!   body: block ┬ length, records, checksum over these, the block's number and what follows
//!         block │ record: key, how long it stays, values
//!         …     └ record …
//! ```
//!
//! # Invariants
//! 1. Whatever a file's bytes are, reading it gives a table or an error: no length is trusted before it
//!    was compared with what is there, and nothing is decoded before its checksum was right.
//! 2. A table is made when all of the file was read and was right, and is filled before anybody can see it.
//! 3. A file has its name only when it is complete and on the disk: it is written under another name, synced,
//!    renamed, and then the directory is synced. So a crash leaves the old file or the new one.

mod error;
mod format;
mod read;
mod write;

use std::path::{Path, PathBuf};

pub use self::error::TableFileError;
pub use self::format::TableFileInfo;

use self::read::{Contents, open};
use super::codec::Stored;
use super::common::{Access, Clearing, Owner};
use super::error::TableError;
use super::kind::{Keeps, Set};
use super::store::{Batch, NEVER, Store};
use super::table::{Table, TableBuilder};
use crate::error::CallError;
use crate::process::call::{Call, waits};
use crate::process::context::{ProcessContext, blocking};
use crate::sched::core::CoreRef;
use crate::system::Handle;

/// A table that is being written to a file: the number of objects that were.
///
/// # Cancellation
/// Dropping it does not stop the writing.
#[must_use = "the table is written, but whether it was is not looked at"]
#[derive(Debug)]
pub struct SaveTable {
    call: Call<Result<u64, TableFileError>>,
}

waits!(
    SaveTable,
    Result<u64, TableFileError>,
    |_: &mut SaveTable, answer| flat(answer)
);

/// A table that is being read from a file.
///
/// # Cancellation
/// Dropping it does not stop the reading: the table is made all the same, and is its owner's.
#[must_use = "the table is read, but whether it was is not looked at"]
pub struct LoadTable<K: 'static, V: 'static, Kind: Keeps<K, V> = Set> {
    call: Call<Result<Table<K, V, Kind>, TableFileError>>,
}

impl<K: 'static, V: 'static, Kind: Keeps<K, V>> std::fmt::Debug for LoadTable<K, V, Kind> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LoadTable").field(&self.call).finish()
    }
}

impl<K: 'static, V: 'static, Kind: Keeps<K, V>> std::future::Future for LoadTable<K, V, Kind> {
    type Output = Result<Table<K, V, Kind>, TableFileError>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.call).poll(cx).map(flat)
    }
}

impl<K: 'static, V: 'static, Kind: Keeps<K, V>> LoadTable<K, V, Kind> {
    /// Blocks the calling thread until the table is there. On the thread that drives a manual system this
    /// runs the system meanwhile.
    ///
    /// # Errors
    /// As the future itself; also that the caller must not block.
    pub fn wait(self) -> Result<Table<K, V, Kind>, TableFileError> {
        flat(self.call.wait())
    }

    /// As [`wait`](Self::wait), for at most `timeout` from now.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait).
    pub fn wait_timeout(
        self,
        timeout: std::time::Duration,
    ) -> Result<Table<K, V, Kind>, TableFileError> {
        flat(self.call.wait_timeout(timeout))
    }
}

fn flat<R>(answer: Result<Result<R, TableFileError>, CallError>) -> Result<R, TableFileError> {
    answer.unwrap_or_else(|error| Err(error.into()))
}

impl<K: Stored, V: Stored, Kind: Keeps<K, V>> Table<K, V, Kind> {
    /// Writes the table to a file, which takes the place of one that is there, whole or not at all. For
    /// whoever may read the table. OTP: `ets:tab2file/2`; the file is not OTP's.
    ///
    /// A thread of the dirty pool writes it; when this is ready, it is on the disk. If others write the table
    /// meanwhile the file is no snapshot, as in OTP: each object that is in the table throughout is in
    /// the file, and the values of one key are there as they were at one time. To have one, write from
    /// the owner of a protected table, and wait. An object that expires is written with the time it has left,
    /// as of now; one that has expired is not.
    ///
    /// # Errors
    /// [`TableFileError::Io`]; [`TableFileError::Encode`]: a key or a value; [`TableFileError::Table`]: the
    /// table is gone, or closed to the caller. The file that was there stays.
    pub fn save_to_file(&self, path: impl Into<PathBuf>) -> SaveTable {
        let (table, path) = (self.clone(), path.into());
        let core = &self.inner.common.core;
        SaveTable {
            call: blocking(core, move || write::save(&table.inner, &path)),
        }
    }

    /// Makes a table of a file that [`save_to_file`](Self::save_to_file) wrote, owned by the process of
    /// `cx`; with the name, the access and the time to live that it had. The heir, if it had one, does not
    /// come along. OTP: `ets:file2tab/1`.
    ///
    /// [`TableBuilder::load_from_file`] makes it otherwise. An object that expires has the time that it had
    /// left when the file was written.
    ///
    /// # Errors
    /// [`TableFileError`] has them all; [`TableError::NameTaken`] is in [`TableFileError::Table`]. No table is
    /// made.
    ///
    /// # Panics
    /// If this is not the process's turn.
    pub fn load_from_file(cx: &ProcessContext, path: impl Into<PathBuf>) -> LoadTable<K, V, Kind> {
        let owner = Owner::Process(cx.pid());
        load(cx.core(), None, owner, path.into(), false)
    }
}

impl<K: Stored, V: Stored, Kind: Keeps<K, V>> TableBuilder<K, V, Kind> {
    /// As [`Table::load_from_file`], with a name, an access, a time to live and an heir as this says, instead
    /// of those that the file has.
    ///
    /// # Errors
    /// As for [`Table::load_from_file`].
    ///
    /// # Panics
    /// If this is not the process's turn.
    pub fn load_from_file(
        self,
        cx: &ProcessContext,
        path: impl Into<PathBuf>,
    ) -> LoadTable<K, V, Kind> {
        let owner = Owner::Process(cx.pid());
        load(cx.core(), Some(self), owner, path.into(), false)
    }

    /// As [`load_from_file`](Self::load_from_file), whatever names the types of keys and values had when the
    /// file was written. For types that have moved or were renamed; what was of another shape is an error,
    /// or other values, as the bytes have it.
    ///
    /// # Errors
    /// As for [`Table::load_from_file`].
    ///
    /// # Panics
    /// If this is not the process's turn.
    pub fn load_from_file_of_any_types(
        self,
        cx: &ProcessContext,
        path: impl Into<PathBuf>,
    ) -> LoadTable<K, V, Kind> {
        let owner = Owner::Process(cx.pid());
        load(cx.core(), Some(self), owner, path.into(), true)
    }
}

impl Handle {
    /// As [`TableBuilder::load_from_file`], a table of the system's, as [`Handle::table`] makes them.
    ///
    /// ```
    /// # use noex::prelude::*;
    /// use noex::Table;
    ///
    /// # let file = std::env::temp_dir().join(format!("noex-doc-{}.tab", std::process::id()));
    /// # let system = System::new()?;
    /// let ages = system.table(Table::<String, u8>::builder())?;
    /// ages.insert("ann".into(), 42)?;
    /// assert_eq!(ages.save_to_file(&file).wait()?, 1);
    ///
    /// let again = system.load_table(Table::<String, u8>::builder(), &file).wait()?;
    /// assert_eq!(again.lookup("ann")?, Some(42));
    /// # std::fs::remove_file(&file)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`Table::load_from_file`].
    pub fn load_table<K: Stored, V: Stored, Kind: Keeps<K, V>>(
        &self,
        table: TableBuilder<K, V, Kind>,
        path: impl Into<PathBuf>,
    ) -> LoadTable<K, V, Kind> {
        load(self.core(), Some(table), Owner::System, path.into(), false)
    }
}

impl TableFileInfo {
    /// What a file says about the table in it. Reads its head alone, and blocks the calling thread for that:
    /// in a process, use [`blocking`](ProcessContext::blocking). OTP: `ets:tabfile_info/1`.
    ///
    /// # Errors
    /// [`TableFileError::Io`], [`TableFileError::NotATableFile`], [`TableFileError::Version`],
    /// [`TableFileError::Truncated`] (in the body, too, but damage there is not looked for),
    /// [`TableFileError::Corrupt`].
    pub fn read(path: impl AsRef<Path>) -> Result<TableFileInfo, TableFileError> {
        open(path.as_ref()).map(|file| file.info)
    }
}

/// Reads a file and makes a table of it, as `builder` says or else the file.
fn load<K: Stored, V: Stored, Kind: Keeps<K, V>>(
    core: &CoreRef,
    builder: Option<TableBuilder<K, V, Kind>>,
    owner: Owner,
    path: PathBuf,
    any_types: bool,
) -> LoadTable<K, V, Kind> {
    let own = core.clone();
    let work = move || {
        let contents: Contents<K, Kind::Content<V>> =
            read::load::<K, V, Kind>(&path, any_types, own.clock.now())?;
        let builder = builder.unwrap_or_else(|| as_saved(&contents.info));
        Ok(fill(builder, &own, owner, contents)?)
    };
    LoadTable {
        call: blocking(core, work),
    }
}

/// A table as the one that was written.
fn as_saved<K: 'static, V: 'static, Kind: Keeps<K, V>>(
    info: &TableFileInfo,
) -> TableBuilder<K, V, Kind> {
    let mut builder = TableBuilder::new().access(info.access);
    if let Some(name) = &info.name {
        builder = builder.named(name.clone());
    }
    if let Some(ttl) = info.ttl {
        builder = builder.ttl(ttl);
    }
    builder
}

/// Makes a table with all this in it.
fn fill<K: 'static, V: 'static, Kind: Keeps<K, V>>(
    builder: TableBuilder<K, V, Kind>,
    core: &CoreRef,
    owner: Owner,
    contents: Contents<K, Kind::Content<V>>,
) -> Result<Table<K, V, Kind>, TableError> {
    let access = match owner {
        Owner::System => Access::Public,
        Owner::Process(_) => Access::Protected,
    };
    let soonest = contents.entries.iter().map(|entry| entry.expires).min();
    let mut filled = Ok(());
    let (table, made) = builder.make_with(core, owner, access, |inner| {
        let batch = inner.store.batch(&Clearing, contents.entries, |batch| {
            (0..batch.len()).for_each(|i| batch.insert(i));
        });
        filled = batch.map(drop);
    });
    made?;
    if let Err(nested) = filled {
        // Read inline, on a manual system, from under a lock of another table's.
        table.inner.orphan();
        return Err(nested.into());
    }
    table.inner.expect(soonest.unwrap_or(NEVER));
    // Its owner may have died while it was read.
    match table.is_alive() {
        true => Ok(table),
        false => Err(TableError::Gone),
    }
}
