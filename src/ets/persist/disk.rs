//! The file of a persistent table: a redb database of three tables.
//!
//! ```text
//!   about     "format" "kind" "key" "value" "writes"     what the file holds; how many times it was written
//!   objects   key ─▶ deadline, values                    one record a key
//!   expiry    deadline, key                              which records to remove, and when to look at them
//! ```
//! A deadline is in nanoseconds since 1970 on the host's clock, so that time passes while the file is closed.
//!
//! # Invariants
//! 1. A write is one transaction, which is on the disk when [`Disk::write`] returns `Ok`, and in the file
//!    not at all when it returns `Err`. redb gives no such answer after an error in a commit, which may
//!    have come before or after the point that counts. So each transaction counts `writes` up; after an
//!    error the file is opened anew, which has redb verify and recover it, and that number tells.
//! 2. After a sync that failed, the kernel may show as written what is not on the disk. Nothing that is read
//!    then can be trusted, so there the error is final: [`PersistError::InDoubt`] to all further writes.

use std::fmt;
use std::fs::{self, OpenOptions, TryLockError};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{
    BackendError, Builder, Database, Durability, ReadableDatabase, ReadableTable, StorageBackend,
    TableDefinition, TableHandle, WriteTransaction,
};

use super::claim::Claim;
use super::error::PersistError;
use crate::ets::TableType;
use crate::ets::codec::{kind_code, kind_of};
use crate::ets::draft::Draft;
use crate::exit;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, Ordering::Relaxed};

const ABOUT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("about");
const OBJECTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("objects");
const EXPIRY: TableDefinition<'_, (u64, &[u8]), ()> = TableDefinition::new("expiry");

/// Of what the three tables hold; one more with each change that an older reader would misread.
const VERSION: u16 = 1;

/// What redb keeps of the file in memory. Little is needed: the table itself is in memory.
const CACHE: usize = 32 << 20;

/// The deadline of a record that stays.
pub(super) const FOREVER: u64 = u64::MAX;

/// Opens the medium that a database is on.
pub(super) type Medium = Arc<dyn Fn() -> io::Result<Box<dyn StorageBackend>> + Send + Sync>;

/// What the file must hold.
#[derive(Clone)]
pub(super) struct Expected {
    pub(super) kind: TableType,
    pub(super) key: &'static str,
    pub(super) value: &'static str,
    pub(super) any_types: bool,
}

/// What a write does to one key.
pub(super) struct Write<'a> {
    /// The bytes of the key as they are in the file, if it is there.
    pub(super) old: Option<&'a [u8]>,
    /// Those of the key from now on.
    pub(super) key: &'a [u8],
    /// The record from now on, made by [`record`]; `None`: it goes.
    pub(super) record: Option<&'a [u8]>,
}

impl Write<'_> {
    pub(super) fn to_owned(&self) -> Owned {
        Owned {
            old: self.old.map(<[u8]>::to_vec),
            key: self.key.to_vec(),
            record: self.record.map(<[u8]>::to_vec),
        }
    }
}

/// A [`Write`] that can be kept.
pub(super) struct Owned {
    old: Option<Vec<u8>>,
    key: Vec<u8>,
    record: Option<Vec<u8>>,
}

impl Owned {
    pub(super) fn as_write(&self) -> Write<'_> {
        Write {
            old: self.old.as_deref(),
            key: &self.key,
            record: self.record.as_deref(),
        }
    }
}

/// See the module.
pub(super) struct Disk {
    path: PathBuf,
    medium: Medium,
    /// `None` after an error, until it could be opened again.
    database: Option<Database>,
    /// How many transactions are in the file.
    writes: u64,
    sync_failed: Arc<AtomicBool>,
    doubt: Option<Arc<PersistError>>,
    /// Behind the database, which is closed before the file is anybody else's.
    claim: Option<Claim>,
}

/// A record: its deadline, and what comes behind it.
pub(super) fn record(deadline: u64) -> Vec<u8> {
    deadline.to_le_bytes().to_vec()
}

/// Takes a record apart.
pub(super) fn deadline_of(record: &[u8]) -> Option<(u64, &[u8])> {
    let (deadline, rest) = record.split_first_chunk()?;
    Some((u64::from_le_bytes(*deadline), rest))
}

/// An ordinary file.
pub(super) fn file(path: &Path) -> Medium {
    let path = path.to_owned();
    Arc::new(move || {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let backend = FileBackend::new(file).map_err(io::Error::other)?;
        Ok(Box::new(backend))
    })
}

/// Makes a file that holds an empty table, unless there is a file. A crash leaves it whole, or empty, which is
/// as if it was not there.
///
/// Of several programs that do this at the same time one does it: nobody's file may be replaced, as whoever has
/// it open would go on to write to a file without a name. So the name is taken by an empty file first, and the
/// table's takes its place only while that is locked, and still there.
// `File::try_lock` is of Rust 1.89, and this feature wants 1.90.
#[allow(clippy::incompatible_msrv)]
pub(super) fn create(path: &Path, expected: &Expected) -> Result<(), PersistError> {
    let failed = |error| PersistError::io("create", path, error);
    let missing = || match fs::metadata(path) {
        Ok(found) => found.is_file() && found.len() == 0,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if !missing() {
        return Ok(());
    }
    let mut options = OpenOptions::new();
    let place = options.write(true).create(true).truncate(false).open(path);
    let place = place.map_err(failed)?;
    match place.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(PersistError::AlreadyOpen),
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    // Somebody else may have been sooner.
    if !missing() {
        return Ok(());
    }
    let (draft, empty) = Draft::new(path).map_err(failed)?;
    drop(empty);
    Disk::open(draft.path(), file(draft.path()), expected, None)?.close()?;
    draft.publish(path).map_err(failed)
}

impl Disk {
    /// Opens a file. If nothing was ever in it, it holds an empty table then.
    pub(super) fn open(
        path: &Path,
        medium: Medium,
        expected: &Expected,
        claim: Option<Claim>,
    ) -> Result<Disk, PersistError> {
        let mut disk = Disk {
            path: path.to_owned(),
            medium,
            database: None,
            writes: 0,
            sync_failed: Arc::default(),
            doubt: None,
            claim,
        };
        let database = disk.connect()?;
        let new = disk.attempt("read", || is_new(&database))?;
        disk.database = Some(database);
        if new {
            disk.write_with(|transaction| {
                let mut about = transaction.open_table(ABOUT)?;
                about.insert("format", VERSION.to_le_bytes().as_slice())?;
                about.insert("kind", [kind_code(expected.kind)].as_slice())?;
                about.insert("key", expected.key.as_bytes())?;
                about.insert("value", expected.value.as_bytes())?;
                transaction.open_table(OBJECTS)?;
                transaction.open_table(EXPIRY)?;
                Ok(())
            })?;
        } else {
            disk.writes = disk.check(expected)?;
        }
        Ok(disk)
    }

    /// Opens the database on the medium, which has redb verify all of it, and recover it from a crash.
    fn connect(&self) -> Result<Database, PersistError> {
        let medium = (self.medium)().map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => PersistError::AlreadyOpen,
            _ => PersistError::io("open", &self.path, error),
        })?;
        let watched = Watched {
            medium,
            sync_failed: self.sync_failed.clone(),
        };
        let opened = self.attempt("open", || {
            let mut builder = Builder::new();
            builder.set_cache_size(CACHE);
            builder.set_check_integrity_on_open(true);
            Ok(builder.create_with_backend(watched)?)
        });
        opened.map_err(|error| match &error {
            // redb's word for a file that begins in another way.
            PersistError::Io { error: why, .. } if why.kind() == io::ErrorKind::InvalidData => {
                PersistError::NotATable
            }
            _ => error,
        })
    }

    /// Does something with redb, which on a damaged file may panic.
    fn attempt<R>(
        &self,
        doing: &'static str,
        work: impl FnOnce() -> Result<R, redb::Error>,
    ) -> Result<R, PersistError> {
        match exit::catch(work) {
            Ok(done) => done.map_err(|error| PersistError::of_store(doing, &self.path, error)),
            Err(panic) => Err(PersistError::Corrupt(panic.to_string())),
        }
    }

    fn database(&self) -> Result<&Database, PersistError> {
        // Only after a failure in `open` or `recover`, which was told.
        let closed = || PersistError::io("use", &self.path, io::ErrorKind::NotConnected.into());
        self.database.as_ref().ok_or_else(closed)
    }

    /// Checks that the file holds what it should; how many times it was written.
    fn check(&self, expected: &Expected) -> Result<u64, PersistError> {
        let database = self.database()?;
        let read = |key: &'static str| {
            self.attempt("read", || {
                let about = database.begin_read()?.open_table(ABOUT)?;
                Ok(about.get(key)?.map(|value| value.value().to_vec()))
            })
        };
        let damaged = || PersistError::Corrupt("what it says about itself".into());
        let text = |bytes: Option<Vec<u8>>| {
            let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
            text.ok_or_else(damaged)
        };
        let format = read("format")?.ok_or(PersistError::NotATable)?;
        let version = format.try_into().map(u16::from_le_bytes);
        match version.map_err(|_| damaged())? {
            VERSION => {}
            other => return Err(PersistError::Version(other)),
        }
        let kind = match read("kind")?.as_deref() {
            Some([code]) => kind_of(*code).ok_or_else(damaged)?,
            _ => return Err(damaged()),
        };
        if kind != expected.kind {
            return Err(PersistError::WrongKind(kind));
        }
        let (key, value) = (text(read("key")?)?, text(read("value")?)?);
        if !expected.any_types && (key.as_str(), value.as_str()) != (expected.key, expected.value) {
            return Err(PersistError::WrongTypes { key, value });
        }
        self.count(database)
    }

    /// How many transactions are in the file.
    fn count(&self, database: &Database) -> Result<u64, PersistError> {
        self.attempt("read", || {
            let about = database.begin_read()?.open_table(ABOUT)?;
            let writes = about.get("writes")?;
            let writes =
                writes.and_then(|writes| Some(u64::from_le_bytes(writes.value().try_into().ok()?)));
            writes.ok_or_else(|| redb::Error::Corrupted("how often it was written".into()))
        })
    }

    /// Visits all records.
    pub(super) fn load(
        &self,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), PersistError>,
    ) -> Result<(), PersistError> {
        let database = self.database()?;
        let mut failed = Ok(());
        self.attempt("read", || {
            let objects = database.begin_read()?.open_table(OBJECTS)?;
            for object in objects.iter()? {
                let (key, record) = object?;
                failed = visit(key.value(), record.value());
                if failed.is_err() {
                    break;
                }
            }
            Ok(())
        })?;
        failed
    }

    /// Writes all of these at once.
    pub(super) fn write<'a>(
        &mut self,
        writes: impl Iterator<Item = Write<'a>>,
    ) -> Result<(), PersistError> {
        self.write_with(|transaction| {
            let mut objects = transaction.open_table(OBJECTS)?;
            let mut expiry = transaction.open_table(EXPIRY)?;
            for Write { old, key, record } in writes {
                if let Some(old) = old.filter(|old| record.is_none() || *old != key) {
                    objects.remove(old)?;
                }
                let Some(record) = record else {
                    continue;
                };
                objects.insert(key, record)?;
                if let Some((deadline, _)) = deadline_of(record).filter(|at| at.0 != FOREVER) {
                    expiry.insert((deadline, key), ())?;
                }
            }
            Ok(())
        })
    }

    /// Removes all records.
    pub(super) fn clear(&mut self) -> Result<(), PersistError> {
        self.write_with(|transaction| {
            transaction.delete_table(OBJECTS)?;
            transaction.delete_table(EXPIRY)?;
            transaction.open_table(OBJECTS)?;
            transaction.open_table(EXPIRY)?;
            Ok(())
        })
    }

    /// Removes records whose deadline was before `now`, at most `limit`; whether there may be more. They are
    /// gone for good with the next write: until then a crash brings them back, to be removed again.
    pub(super) fn purge(&mut self, now: u64, limit: usize) -> Result<bool, PersistError> {
        self.ready()?;
        let database = self.database()?;
        let purged = self.attempt("write", || {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(Durability::None)?;
            let purged = purge(&transaction, now, limit)?;
            match purged {
                // Nothing to write for.
                0 => transaction.abort()?,
                _ => transaction.commit()?,
            }
            Ok(purged)
        });
        match purged {
            Ok(purged) => Ok(purged == limit),
            // Nothing of it counts: a purge is no write.
            Err(error) => self.recover(error, self.writes).map(|()| false),
        }
    }

    /// When the first record that expires does.
    pub(super) fn first_deadline(&self) -> Result<Option<u64>, PersistError> {
        let database = self.database()?;
        self.attempt("read", || {
            let expiry = database.begin_read()?.open_table(EXPIRY)?;
            let first = expiry.first()?;
            Ok(first.map(|(at, _)| at.value().0))
        })
    }

    /// Whether a write can be tried: opens the file again if an error had it closed.
    pub(super) fn ready(&mut self) -> Result<(), PersistError> {
        if let Some(doubt) = &self.doubt {
            return Err(PersistError::InDoubt(doubt.clone()));
        }
        if self.database.is_some() {
            return Ok(());
        }
        let database = self.connect()?;
        let found = self.count(&database)?;
        if found != self.writes {
            // What had been told to have failed is there all the same.
            let late = PersistError::Corrupt("a write that failed is in it".into());
            let doubt = self.doubt.insert(Arc::new(late));
            return Err(PersistError::InDoubt(doubt.clone()));
        }
        self.database = Some(database);
        Ok(())
    }

    fn write_with(
        &mut self,
        work: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), PersistError> {
        self.ready()?;
        let database = self.database()?;
        let writes = self.writes + 1;
        let done = self.attempt("write", || {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            work(&transaction)?;
            transaction
                .open_table(ABOUT)?
                .insert("writes", writes.to_le_bytes().as_slice())?;
            transaction.commit()?;
            Ok(())
        });
        match done {
            Ok(()) => {
                self.writes = writes;
                Ok(())
            }
            Err(error) => self.recover(error, writes),
        }
    }

    /// After an error in the transaction that would have been number `writes`: whether it is in the file
    /// (invariant 1).
    fn recover(&mut self, error: PersistError, writes: u64) -> Result<(), PersistError> {
        drop(self.database.take());
        if self.sync_failed.load(Relaxed) {
            self.doubt = Some(Arc::new(error.clone()));
            return Err(error);
        }
        let Ok(database) = self.connect() else {
            // Tried again with the next write.
            return Err(error);
        };
        let Ok(found) = self.count(&database) else {
            return Err(error);
        };
        self.database = Some(database);
        match found {
            found if found == self.writes => Err(error),
            found if found == writes => {
                self.writes = found;
                Ok(())
            }
            _ => {
                self.doubt = Some(Arc::new(error.clone()));
                Err(error)
            }
        }
    }

    /// The name by which the file is claimed.
    pub(super) fn claimed(&self) -> Option<PathBuf> {
        self.claim.as_ref().map(|claim| claim.path().to_owned())
    }

    /// The file, to be closed by somebody else; `None` if it is closed.
    pub(super) fn take(&mut self) -> Option<Disk> {
        let database = self.database.take()?;
        Some(Disk {
            path: self.path.clone(),
            medium: self.medium.clone(),
            database: Some(database),
            writes: self.writes,
            sync_failed: self.sync_failed.clone(),
            doubt: self.doubt.clone(),
            claim: self.claim.take(),
        })
    }

    /// Closes the file.
    pub(super) fn close(&mut self) -> Result<(), PersistError> {
        let Some(database) = self.database.take() else {
            return Ok(());
        };
        let closed = self.attempt("close", || Ok(database.close()?));
        drop(self.claim.take());
        closed
    }
}

/// Removes what is due; how many entries of `expiry` that were.
fn purge(transaction: &WriteTransaction, now: u64, limit: usize) -> Result<usize, redb::Error> {
    let mut objects = transaction.open_table(OBJECTS)?;
    let mut expiry = transaction.open_table(EXPIRY)?;
    for purged in 0..limit {
        let Some((at, _)) = expiry.first()? else {
            return Ok(purged);
        };
        let (deadline, key) = at.value();
        if deadline > now {
            return Ok(purged);
        }
        let key = key.to_vec();
        drop(at);
        // It may have been given another time since.
        let record = objects.get(key.as_slice())?;
        let still = record.and_then(|record| deadline_of(record.value()).map(|(at, _)| at));
        if still == Some(deadline) {
            objects.remove(key.as_slice())?;
        }
        expiry.remove((deadline, key.as_slice()))?;
    }
    Ok(limit)
}

/// Whether a database has nothing in it: just made, or never written.
fn is_new(database: &Database) -> Result<bool, redb::Error> {
    let transaction = database.begin_read()?;
    let mut tables = transaction.list_tables()?;
    Ok(tables.all(|table| table.name().is_empty()))
}

/// A medium that remembers whether a sync of it failed.
struct Watched {
    medium: Box<dyn StorageBackend>,
    sync_failed: Arc<AtomicBool>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.medium.fmt(f)
    }
}

impl StorageBackend for Watched {
    fn len(&self) -> io::Result<u64> {
        self.medium.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.medium.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.medium.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        let synced = self.medium.sync_data();
        if synced.is_err() {
            // Relaxed: read by the thread that makes the transaction, which this is.
            self.sync_failed.store(true, Relaxed);
        }
        synced
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.medium.write(offset, data)
    }
    fn close(&self) -> io::Result<()> {
        self.medium.close()
    }
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.medium.try_lock_range(start, end)
    }
    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.medium.try_lock_shared_range(start, end)
    }
    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.medium.lock_range(start, end)
    }
    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.medium.lock_shared_range(start, end)
    }
    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.medium.unlock_range(start, end)
    }
    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.medium.query_lock_range(start, end)
    }
}
