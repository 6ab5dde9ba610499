//! Where the partitions are: written when one has started, read by whoever sends.

use std::fmt;
use std::hash::Hash;

use super::partition::Partition;
use super::route::Route;
use crate::exit::Quiet;
use crate::gen_server::{GenServer, ServerRef};
use crate::supervisor::starter::ChildPid;
use crate::sync::{Arc, CachePadded, Mutex, OnceLock};
use crate::system::Handle;

/// The way to the partitions of a [`PartitionSupervisor`](crate::PartitionSupervisor), through all
/// restarts: of partitions, and of the supervisor. Cheap to clone; keeps nothing running.
///
/// It is there before the supervisor is ([`PartitionSupervisor::routes`]), so that it can be
/// given to those who will need it. Elixir: `{:via, PartitionSupervisor, {name, key}}`.
///
/// # Keys
/// A key is anything that can be hashed. An integer goes to the partition `|key| % partitions`, and so
/// does what is hashed like one: a `struct UserId(u64)`, an enum without fields. Any other goes by its
/// hash, which is the same in each run of a program. As in Elixir that is not to be relied on, as it may
/// change with a version of noex or Rust.
///
/// [`PartitionSupervisor::routes`]: crate::PartitionSupervisor::routes
pub struct Partitions<P> {
    table: Arc<Table<P>>,
}

struct Table<P> {
    /// There once the supervisor has been started for the first time; as many ever after.
    slots: OnceLock<Box<[CachePadded<Slot<P>>]>>,
}

/// The latest incarnation of a partition.
type Slot<P> = Mutex<Option<Latest<P>>>;

/// Shared, so that no code of `P` runs under the lock.
type Latest<P> = Arc<(Handle, Quiet<P>)>;

impl<P> Clone for Partitions<P> {
    fn clone(&self) -> Self {
        Partitions {
            table: self.table.clone(),
        }
    }
}

impl<P> fmt::Debug for Partitions<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partitions")
            .field("count", &self.slots().len())
            .finish_non_exhaustive()
    }
}

impl<P> Partitions<P> {
    pub(super) fn new() -> Self {
        let slots = OnceLock::new();
        Partitions {
            table: Arc::new(Table { slots }),
        }
    }

    /// Makes room for so many partitions; how many there are now, if that was done before.
    pub(super) fn open(&self, partitions: usize) -> usize {
        let slot = |_| CachePadded(Mutex::new(None));
        let slots = self
            .table
            .slots
            .get_or_init(|| (0..partitions).map(slot).collect());
        slots.len()
    }

    /// Notes the latest incarnation of a partition.
    pub(super) fn set(&self, index: usize, system: Handle, partition: P) {
        if let Some(slot) = self.slots().get(index) {
            let latest = Arc::new((system, partition.into()));
            let before = slot.0.lock().replace(latest);
            // Not under the lock: its `Drop` may be anybody's.
            drop(before);
        }
    }

    /// The latest incarnation of a partition, dead or alive.
    pub(super) fn latest(&self, index: usize) -> Option<Latest<P>> {
        self.slots().get(index)?.0.lock().clone()
    }

    fn slots(&self) -> &[CachePadded<Slot<P>>] {
        self.table.slots.get().map_or(&[], |slots| slots)
    }

    /// How many partitions there are; 0 before the supervisor is started for the first time. Elixir:
    /// `PartitionSupervisor.partitions/1`.
    pub fn count(&self) -> usize {
        self.slots().len()
    }

    /// Which partition a key goes to, counted from 0. `None`: the supervisor has not been started.
    pub fn index<K: Hash + ?Sized>(&self, key: &K) -> Option<usize> {
        match self.count() {
            0 => None,
            partitions => Some(Route::of(key).pick(partitions)),
        }
    }
}

impl<P: ChildPid + Clone + Sync> Partitions<P> {
    /// What leads to the partition of a key, as it is now; `None`: it does not live just now. Elixir:
    /// `GenServer.whereis({:via, PartitionSupervisor, {name, key}})`.
    ///
    /// One incarnation is led to: ask again for each use. (For servers there is
    /// [`server`](Self::server).)
    pub fn find<K: Hash + ?Sized>(&self, key: &K) -> Option<P> {
        self.at(self.index(key)?)
    }

    /// What leads to a partition, as [`find`](Self::find); `None` also if there is no such partition.
    pub fn at(&self, index: usize) -> Option<P> {
        let latest = self.latest(index)?;
        let (system, partition) = &*latest;
        let is_alive = system.is_alive(partition.child_pid());
        is_alive.then(|| P::clone(partition))
    }
}

impl<S: GenServer> Partitions<ServerRef<S>> {
    /// The server that has the partition of a key, whichever lives when it is used.
    pub fn server<K: Hash + ?Sized>(&self, key: &K) -> Partition<S> {
        Partition::new(self.clone(), Route::of(key))
    }

    /// The servers of all partitions, in order. None before the supervisor is started.
    pub fn servers(&self) -> impl Iterator<Item = Partition<S>> + use<S> {
        let partitions = self.clone();
        (0..self.count()).map(move |index| Partition::new(partitions.clone(), Route::at(index)))
    }
}
