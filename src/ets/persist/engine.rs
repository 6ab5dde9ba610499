//! What the table's process does with a batch of requests, on a thread of the dirty pool: works them out, writes
//! what they change to the file, does it in memory, and answers.
//!
//! # Invariants
//! 1. Only this changes the table, one batch after the other. To all others, a closure that runs here included,
//!    it is sealed.
//! 2. What is in memory is in the file or in `unsaved`. With [`Durability::Each`] nothing is in `unsaved`
//!    between batches.
//! 3. If what is to be done in memory cannot be done, memory is behind the file: then the table is
//!    deleted, and read anew by whoever is its process next.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::claim::{self, Claim, Taken};
use super::disk::{self, Disk, Expected, Medium, Owned, Write, deadline_of};
use super::error::PersistError;
use super::view::{Changes, KeyMap, Pending, Persists, View, expires};
use super::{Durability, inside};
use crate::ets::codec::{Misfit, Stored, take, take_values};
use crate::ets::common::{Access, Clearing, Need, Owner};
use crate::ets::engine::Storage;
use crate::ets::store::{Batch, Entry, Find, NEVER, Spot, Store};
use crate::ets::table::Inner;
use crate::ets::{Table, TableBuilder, TableError};
use crate::exit::{self, ExitReason};
use crate::process::ask::Answer;
use crate::process::context::blocking;
use crate::process::pid::Pid;
use crate::sched::clock::Clock;
use crate::sched::core::CoreRef;
use crate::sched::worker::here;
use crate::sync::{Arc, OnceLock};

/// How many records are removed at once that have expired.
const PURGE: usize = 4096;

/// One operation.
pub(super) trait Operation<K: 'static, V: 'static, Kind: Persists<K, V>>: Send {
    /// Works out what it changes.
    fn work_out(&mut self, view: &mut View<'_, K, V, Kind>) -> Result<(), PersistError>;
    /// Answers whoever waits for it. An `Err` counts for more than what was worked out.
    fn settle(self: Box<Self>, outcome: Result<(), PersistError>);
}

/// What the table's process is asked for.
pub(super) enum Request<K: 'static, V: 'static, Kind: Persists<K, V>> {
    /// Done in a batch with others.
    One(Box<dyn Operation<K, V, Kind>>),
    /// Done by itself, so that it finds all in memory.
    Alone(Box<dyn Operation<K, V, Kind>>),
    /// All objects go.
    Clear(Answer<Result<(), PersistError>>),
    /// All that was done before is to be on the disk.
    Sync(Answer<Result<(), PersistError>>),
}

/// See the module.
pub(super) struct Engine<K: 'static, V: 'static, Kind: Persists<K, V>> {
    pub(super) table: Table<K, V, Kind>,
    pending: Pending<K, V, Kind>,
    disk: Disk,
    durability: Durability,
    /// The last save has failed, with this. Only with [`Durability::Interval`].
    failed: Option<PersistError>,
    /// Why memory is behind the file.
    behind: Option<ExitReason>,
}

/// How a table is opened.
pub(super) struct Opening<K: 'static, V: 'static, Kind: Persists<K, V>> {
    pub(super) path: PathBuf,
    /// Where the file is, if not at the path.
    pub(super) medium: Option<Medium>,
    pub(super) builder: TableBuilder<K, V, Kind>,
    pub(super) durability: Durability,
    pub(super) any_types: bool,
}

impl<K: Stored + Clone, V: Stored + Clone, Kind: Persists<K, V>> Opening<K, V, Kind> {
    /// Opens the file, and makes a table of it that is owned by `pid`.
    pub(super) fn open(self, core: &CoreRef, pid: Pid) -> Result<Engine<K, V, Kind>, PersistError> {
        let path = self.path;
        let claim = Claim::new(&path, core, pid)
            .map_err(|error| PersistError::io("open", &path, error))?
            .map_err(|Taken| PersistError::AlreadyOpen)?;
        let expected = Expected {
            kind: Kind::TYPE,
            key: std::any::type_name::<K>(),
            value: std::any::type_name::<V>(),
            any_types: self.any_types,
        };
        let medium = match self.medium {
            Some(medium) => medium,
            None => {
                disk::create(&path, &expected)?;
                disk::file(&path)
            }
        };
        let disk = Disk::open(&path, medium, &expected, Some(claim))?;
        let (now, wall) = (core.clock.now(), wall(core));
        let mut entries = Vec::new();
        disk.load(|key, record| {
            let entry = exit::catch(|| decode::<K, V, Kind>(key, record, now, wall));
            let entry = entry.map_err(PersistError::Panicked)?;
            entries.extend(entry.map_err(|error| PersistError::Decode(error.to_string()))?);
            Ok(())
        })?;
        let soonest = entries.iter().map(|entry| entry.expires).min();
        let mut filled = Ok(());
        let owner = Owner::Process(pid);
        let prepare = |inner: &Inner<K, V, Kind>| {
            inner.common.seal();
            let batch = inner.store.batch(&Clearing, entries, |batch| {
                (0..batch.len()).for_each(|i| batch.insert(i));
            });
            filled = batch.map(drop);
        };
        let (table, made) = self
            .builder
            .make_with(core, owner, Access::Protected, prepare);
        made?;
        let engine = Engine {
            table,
            pending: Pending::default(),
            disk,
            durability: self.durability,
            failed: None,
            behind: None,
        };
        if let Err(nested) = filled {
            engine.table.inner.orphan();
            return Err(TableError::from(nested).into());
        }
        engine.table.inner.expect(soonest.unwrap_or(NEVER));
        Ok(engine)
    }
}

type EntryOf<K, V, Kind> = Entry<K, <Kind as Storage>::Content<V>>;

/// The entry that a record stands for; `None`: it has expired.
fn decode<K: Stored, V: Stored, Kind: Persists<K, V>>(
    mut key: &[u8],
    record: &[u8],
    now: u64,
    wall: u64,
) -> Result<Option<EntryOf<K, V, Kind>>, Misfit> {
    let (deadline, mut values) = deadline_of(record).ok_or(Misfit::DeserializeUnexpectedEnd)?;
    let Some(expires) = expires(deadline, now, wall) else {
        return Ok(None);
    };
    let entry = Entry {
        key: take(&mut key)?,
        content: take_values(&mut values, Kind::TYPE)?,
        expires,
    };
    match key.is_empty() && values.is_empty() {
        true => Ok(Some(entry)),
        false => Err(Misfit::DeserializeBadEncoding),
    }
}

impl<K: Serialize + Clone + 'static, V: Serialize + Clone + 'static, Kind: Persists<K, V>>
    Engine<K, V, Kind>
{
    /// Does all of this, in this order.
    pub(super) fn perform(&mut self, requests: Vec<Request<K, V, Kind>>) {
        let _inside = inside::enter();
        let mut batch = Vec::new();
        for request in requests {
            match request {
                Request::One(operation) => batch.push(operation),
                Request::Alone(operation) => {
                    self.commit(std::mem::take(&mut batch));
                    self.commit(vec![operation]);
                }
                Request::Clear(answer) => {
                    self.commit(std::mem::take(&mut batch));
                    answer.send(Ok(self.clear()));
                }
                Request::Sync(answer) => {
                    self.commit(std::mem::take(&mut batch));
                    answer.send(Ok(self.save()));
                }
            }
        }
        self.commit(batch);
    }

    /// Does these as one write.
    fn commit(&mut self, mut operations: Vec<Box<dyn Operation<K, V, Kind>>>) {
        if operations.is_empty() {
            return;
        }
        if let Err(error) = self.usable() {
            for operation in operations {
                settle(operation, Err(error.clone()));
            }
            return;
        }
        let wall = wall(&self.table.inner.common.core);
        let mut outcomes = Vec::with_capacity(operations.len());
        for operation in &mut operations {
            let mut view = View::new(&self.table.inner, &self.pending, wall);
            let worked = exit::catch(|| operation.work_out(&mut view));
            let worked = worked.unwrap_or_else(|panic| Err(PersistError::Panicked(panic)));
            let changes = view.into_changes();
            let staged = match worked {
                Ok(()) => self.stage(changes),
                Err(error) => Err(error),
            };
            outcomes.push(staged);
        }
        if let Some(panic) = &self.behind {
            outcomes.fill(Err(PersistError::Panicked(panic.clone())));
        } else if self.pending.is_changed() {
            let saved = match self.durability {
                Durability::Each => self.save(),
                Durability::Interval(_) => Ok(()),
            };
            let batch = self.pending.take_batch();
            let done = saved.and_then(|()| self.apply(batch));
            if let Err(error) = done {
                outcomes.fill(Err(error));
            }
        }
        for (operation, outcome) in operations.into_iter().zip(outcomes) {
            settle(operation, outcome);
        }
    }

    /// Adds the changes of an operation to the batch.
    fn stage(&mut self, changes: Changes<K, V, Kind>) -> Result<(), PersistError> {
        let staged = exit::catch(|| self.pending.stage(changes));
        staged.map_err(|panic| {
            // The keys could be compared a moment ago. Part of an operation must not get into the file.
            let _half = exit::catch(|| self.pending = Pending::default());
            self.wrecked(panic.clone());
            PersistError::Panicked(panic)
        })
    }

    /// Whether an operation can be tried.
    fn usable(&self) -> Result<(), PersistError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        match self.table.is_alive() && self.behind.is_none() {
            true => Ok(()),
            false => Err(TableError::Gone.into()),
        }
    }

    /// Writes to the file what is not there yet.
    fn save(&mut self) -> Result<(), PersistError> {
        if self.pending.unsaved.is_empty() {
            // Whoever asks wants to know how the file is, too.
            return self.disk.ready();
        }
        let writes = self.pending.writes();
        let saved = self.disk.write(writes);
        match self.durability {
            // It was written, or never happens.
            Durability::Each => self.pending.unsaved = Default::default(),
            Durability::Interval(_) => {
                if saved.is_ok() {
                    self.pending.unsaved = Default::default();
                }
                self.failed = saved.as_ref().err().cloned();
            }
        }
        saved
    }

    /// With [`Durability::Interval`]: writes to the file what is not there yet.
    pub(super) fn flush(&mut self) {
        let _inside = inside::enter();
        // Writers hear of it.
        let _failed = self.save();
    }

    /// Whether there is something to be written to the file.
    pub(super) fn is_unsaved(&self) -> bool {
        !self.pending.unsaved.is_empty()
    }

    /// Why the table had to be deleted.
    pub(super) fn wreck(&self) -> Option<ExitReason> {
        self.behind.clone()
    }

    /// Does in memory what is in the file, or is to be.
    fn apply(&mut self, batch: Vec<Changes<K, V, Kind>>) -> Result<(), PersistError> {
        let inner = self.table.inner.clone();
        let applied = exit::catch(|| -> Result<(), TableError> {
            for changes in batch {
                apply::<K, V, Kind>(&inner, changes)?;
            }
            Ok(())
        });
        match (applied, self.durability) {
            (Ok(Ok(())), _) => Ok(()),
            // Its process has died meanwhile. What is on the disk counts all the same.
            (Ok(Err(TableError::Gone)), Durability::Each) => Ok(()),
            (Ok(Err(error)), _) => {
                self.wrecked(ExitReason::error(error));
                Err(error.into())
            }
            (Err(panic), _) => {
                self.wrecked(panic.clone());
                Err(PersistError::Panicked(panic))
            }
        }
    }

    /// Invariant 3.
    fn wrecked(&mut self, why: ExitReason) {
        self.behind = Some(why);
        self.table.inner.orphan();
    }

    fn clear(&mut self) -> Result<(), PersistError> {
        self.usable()?;
        self.disk.clear()?;
        self.pending.unsaved = Default::default();
        let inner = self.table.inner.clone();
        let cleared = exit::catch(|| inner.store.clear(&inner.common.pass(Need::Keep)));
        match cleared {
            Ok(Ok(cleared)) => inner.dispose(cleared),
            Ok(Err(TableError::Gone)) => {}
            Ok(Err(error)) => self.wrecked(ExitReason::error(error)),
            Err(panic) => self.wrecked(panic),
        }
        Ok(())
    }

    /// Removes from the file what has expired; when to do that again, in how long.
    pub(super) fn purge(&mut self, every: Duration) -> Option<Duration> {
        let wall = wall(&self.table.inner.common.core);
        // An error is told to the next writer, if it is still one then.
        while let Ok(true) = self.disk.purge(wall, PURGE) {}
        self.next_purge(every)
    }

    /// In how long to look for something to purge: when there will be, but not sooner than `every` says,
    /// and not much later, as meanwhile there may be something that expires earlier. `None`: nothing expires.
    pub(super) fn next_purge(&self, every: Duration) -> Option<Duration> {
        let wall = wall(&self.table.inner.common.core);
        match self.disk.first_deadline() {
            Ok(deadline) => {
                let left = |at: u64| Duration::from_nanos(at.saturating_sub(wall));
                deadline.map(|at| left(at).clamp(every, every.saturating_mul(60)))
            }
            Err(_) => Some(every),
        }
    }

    /// Writes what is not in the file yet, and closes it.
    pub(super) fn close(&mut self) -> Result<(), PersistError> {
        let _inside = inside::enter();
        self.save()?;
        self.disk.close()
    }
}

impl<K: 'static, V: 'static, Kind: Persists<K, V>> Drop for Engine<K, V, Kind> {
    fn drop(&mut self) {
        // Its process has died, or did not get so far as to have it. What others have been told was done is
        // to be in the file; if that fails there is nobody left to tell.
        let Some(mut disk) = self.disk.take() else {
            return;
        };
        let whole = self.behind.is_none() && self.pending.is_settled();
        let left: Vec<_> = match self.durability {
            Durability::Interval(_) if whole => {
                self.pending.writes().map(|it| it.to_owned()).collect()
            }
            _ => Vec::new(),
        };
        let claimed = disk.claimed();
        let mut close = move || {
            if !left.is_empty() {
                let _saved = disk.write(left.iter().map(Owned::as_write));
            }
            let _closed = disk.close();
        };
        match (here(), claimed) {
            // A scheduler thread must not wait for that. The file's next owner may be sooner.
            (Some(_), Some(path)) => {
                claim::leave(&path, Box::new(close));
                let finish = move || claim::finish(&path);
                drop(blocking(&self.table.inner.common.core, finish));
            }
            _ => close(),
        }
    }
}

impl<K: 'static, V: 'static, Kind: Persists<K, V>> Pending<K, V, Kind> {
    fn writes(&self) -> impl Iterator<Item = Write<'_>> {
        self.unsaved.values().map(|unsaved| Write {
            old: unsaved.old.as_deref(),
            key: &unsaved.bytes,
            record: unsaved.record.as_deref(),
        })
    }
}

/// Answers, which may drop what nobody waits for any more: user code.
fn settle<K: 'static, V: 'static, Kind: Persists<K, V>>(
    operation: Box<dyn Operation<K, V, Kind>>,
    outcome: Result<(), PersistError>,
) {
    let _panic = exit::catch(|| operation.settle(outcome));
}

/// Does in memory what one operation does, isolated if it inserts.
fn apply<K: Clone + 'static, V: 'static, Kind: Persists<K, V>>(
    inner: &Inner<K, V, Kind>,
    changes: Changes<K, V, Kind>,
) -> Result<(), TableError> {
    let terms = inner.common.pass(Need::Keep);
    let mut soonest = NEVER;
    let mut puts = Vec::new();
    let put = |puts: &mut Vec<_>| -> Result<(), TableError> {
        if puts.is_empty() {
            return Ok(());
        }
        let (_done, _left) = inner.store.batch(&terms, std::mem::take(puts), |batch| {
            (0..batch.len()).for_each(|i| batch.insert(i));
        })?;
        Ok(())
    };
    for change in changes {
        match change.to {
            Some((content, expires)) => {
                soonest = soonest.min(expires);
                puts.push(Entry {
                    key: change.key,
                    content,
                    expires,
                });
            }
            None => {
                put(&mut puts)?;
                let _old = inner
                    .store
                    .write(&terms, &change.key, |spot| spot.remove())?;
            }
        }
    }
    put(&mut puts)?;
    inner.expect(soonest);
    Ok(())
}

/// The host's clock, in nanoseconds since 1970. A virtual one of a system's begins when it is first asked for
/// here, and goes on as the system's does.
pub(super) fn wall(core: &CoreRef) -> u64 {
    #[derive(Default)]
    struct Start(OnceLock<u64>);

    let host = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
    };
    match &core.clock {
        Clock::Real(_) => host(),
        clock @ Clock::Virtual(_) => {
            let start: Arc<Start> = core.attached.get();
            let begun = start.0.get_or_init(|| host().saturating_sub(clock.now()));
            begun.saturating_add(clock.now())
        }
    }
}
