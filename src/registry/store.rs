//! The registrations themselves: read and written by anybody, without a message.
//!
//! ```text
//!   tables   key ──▶ [registration: holder, value] ..   in 32 parts, read without a shared line
//!   owned    holder ──▶ its keys, by stamp              in 16 parts
//! ```
//! # Invariants
//! 1. A registration counts only while its holder is alive, by the same `is_alive` that anybody can ask.
//!    Whoever looks leaves out the dead; whoever registers takes their place.
//! 2. A registration is in a table under its key, and in `owned` under its holder and stamp, or in
//!    neither, for whoever holds the lock of the table's part. Locks are taken in this order: a part of a
//!    table, then a part of `owned`; never two of one kind.
//! 3. With unique keys there is one table; a key has one registration, dead or alive. With duplicate
//!    keys a registration is in the table that its holder's pid names.
//! 4. Of the user's code only `Hash`, `Eq` and `Clone` of keys, and `Clone` of values, run under a lock.
//!    What is taken out is dropped by the caller.
//! 5. Nothing is added to a store that is closed.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash};

use super::entries::{Entries, Entry, Holder};
use super::hashed::{Hashed, HashedMap, Probe, Sought};
use crate::hash::Seeds;
use crate::process::pid::Pid;
use crate::sched::core::Core;
use crate::shards::{SHARDS, Shards};
use crate::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use crate::sync::{CachePadded, Mutex};

/// Parts of `owned`.
const OWNED: usize = 16;

/// Below this a map keeps its memory.
const SMALL: usize = 256;

/// A part of a table.
struct Part<K, V> {
    map: HashedMap<K, Entries<V>>,
    /// How many values have been replaced: whoever wants to replace one sees by it that none was since.
    updates: u64,
}

impl<K, V> Default for Part<K, V> {
    fn default() -> Self {
        Part {
            map: HashedMap::default(),
            updates: 0,
        }
    }
}

type Owned<K> = HashMap<Holder, Keys<K>, Seeds>;

/// The keys of a process, by the stamps of their registrations.
enum Keys<K> {
    One(u64, K),
    Many(BTreeMap<u64, K>),
}

/// What happened to a registration. Told under the lock of its key's part, so of each key in order.
pub(crate) enum Told<'a, K, V> {
    Registered(&'a K, Pid, &'a V),
    Unregistered(&'a K, Pid),
}

impl<K, V> Clone for Told<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Told<'_, K, V> {}

/// Hears what happens. Must not use the store.
pub(crate) type Tell<'a, K, V> = dyn FnMut(Told<'_, K, V>) + 'a;

/// Why nothing was registered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Keys are unique, and this live process has it.
    Taken(Pid),
    /// The pid is one of another system.
    NoProc,
    Closed,
}

/// What was taken out, to be dropped where no lock is held.
pub(crate) struct Taken<K, V> {
    entries: Vec<Entry<V>>,
    _keys: Vec<K>,
    /// The holder has no key any more.
    pub(crate) keyless: bool,
}

impl<K, V> Taken<K, V> {
    fn nothing() -> Self {
        Taken {
            entries: Vec::new(),
            _keys: Vec::new(),
            keyless: false,
        }
    }

    /// How many registrations it were.
    pub(crate) fn count(&self) -> usize {
        self.entries.len()
    }
}

pub(crate) struct Store<K, V> {
    unique: bool,
    open: AtomicBool,
    tables: Box<[Shards<Part<K, V>>]>,
    owned: Box<[CachePadded<Mutex<Owned<K>>>]>,
    seeds: Seeds,
    stamps: AtomicU64,
}

/// The value of a key as it was when somebody looked.
pub(crate) struct Versioned<V> {
    pub(crate) pid: Pid,
    pub(crate) value: V,
    pub(crate) version: (u64, u64),
}

/// A registration that counts, as it was when somebody looked.
pub(crate) struct Found<K, V> {
    pub(crate) stamp: u64,
    pub(crate) key: K,
    pub(crate) pid: Pid,
    pub(crate) value: V,
}

impl<K, V> Store<K, V> {
    /// A store with unique keys, which is closed.
    pub(crate) fn unique() -> Self {
        Self::new(true, 1)
    }

    /// A store with duplicate keys in so many tables, which is closed.
    pub(crate) fn duplicate(tables: usize) -> Self {
        Self::new(false, tables.max(1))
    }

    fn new(unique: bool, tables: usize) -> Self {
        let seeds = Seeds::random();
        let owned = |_| CachePadded(Mutex::new(HashMap::with_hasher(seeds.clone())));
        Store {
            unique,
            open: AtomicBool::new(false),
            tables: (0..tables).map(|_| Shards::new()).collect(),
            owned: (0..OWNED).map(owned).collect(),
            seeds,
            stamps: AtomicU64::new(0),
        }
    }

    pub(crate) fn is_unique(&self) -> bool {
        self.unique
    }

    pub(crate) fn tables(&self) -> usize {
        self.tables.len()
    }

    /// Where the registrations of a process are.
    fn table_of(&self, holder: Holder) -> &Shards<Part<K, V>> {
        match &*self.tables {
            [one] => one,
            many => &many[self.seeds.hash_one(holder) as usize % many.len()],
        }
    }

    fn owned_by(&self, holder: Holder) -> &Mutex<Owned<K>> {
        &self.owned[(self.seeds.hash_one(holder) >> 32) as usize % OWNED].0
    }

    /// Whether the process has a registration, or had one when it died that is not swept yet.
    pub(crate) fn has(&self, core: &Core, pid: Pid) -> bool {
        Holder::of(core, pid)
            .is_some_and(|holder| self.owned_by(holder).lock().contains_key(&holder))
    }

    /// All processes that have registrations, in order, those of the dead included.
    pub(crate) fn holders(&self, core: &Core) -> Vec<Pid> {
        let mut all = Vec::new();
        for owned in &self.owned {
            all.extend(owned.lock().keys().map(|holder| holder.pid(core)));
        }
        all.sort_unstable();
        all
    }

    /// How many registrations count.
    pub(crate) fn count(&self, core: &Core) -> usize {
        let of_part = |owned: &CachePadded<Mutex<Owned<K>>>| -> usize {
            let owned = owned.lock();
            let living = owned.iter().filter(|(holder, _)| holder.lives(core));
            living.map(|(_, keys)| keys.len()).sum()
        };
        self.owned.iter().map(of_part).sum()
    }

    /// Notes that the holder has the key; whether it is its first.
    fn own(&self, holder: Holder, stamp: u64, key: K) -> bool {
        let mut owned = self.owned_by(holder).lock();
        match owned.get_mut(&holder) {
            Some(keys) => {
                keys.add(stamp, key);
                false
            }
            None => {
                owned.insert(holder, Keys::One(stamp, key));
                true
            }
        }
    }

    /// Notes that it has that key no more; the key, and whether it was its last.
    fn disown(&self, holder: Holder, stamp: u64) -> (Option<K>, bool) {
        let mut owned = self.owned_by(holder).lock();
        let Some(keys) = owned.get_mut(&holder) else {
            return (None, true);
        };
        if let Keys::Many(many) = keys {
            let key = many.remove(&stamp);
            if !many.is_empty() {
                return (key, false);
            }
            owned.remove(&holder);
            tidy(&mut owned);
            return (key, true);
        }
        if !matches!(keys, Keys::One(at, _) if *at == stamp) {
            return (None, false);
        }
        let key = owned.remove(&holder).and_then(Keys::into_one);
        tidy(&mut owned);
        (key, true)
    }

    /// Ends all registrations, and lets no more be made. What it gives back is to be dropped.
    pub(crate) fn close(&self) -> impl Sized {
        // Release: pairs with the Acquire in `register`; a later one takes the part's lock after us.
        self.open.store(false, Release);
        let mut parts = Vec::new();
        for table in &self.tables {
            parts.extend((0..SHARDS).map(|at| table.write(at, std::mem::take)));
        }
        let empty = || HashMap::with_hasher(self.seeds.clone());
        let owned = self
            .owned
            .iter()
            .map(|part| std::mem::replace(&mut *part.lock(), empty()));
        (parts, owned.collect::<Vec<_>>())
    }

    /// Whether registrations are taken.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Acquire)
    }

    /// Takes registrations again.
    pub(crate) fn open(&self) {
        self.open.store(true, Release);
    }
}

impl<K: Hash + Eq + Clone, V> Store<K, V> {
    /// Registers a process under a key; whether it had none before. With unique keys only if no live
    /// process has the key.
    ///
    /// A process that is dead is registered, too, and counts for nothing.
    pub(crate) fn register(
        &self,
        core: &Core,
        key: K,
        pid: Pid,
        value: V,
        tell: &mut Tell<'_, K, V>,
    ) -> Result<bool, Refused> {
        let Some(holder) = Holder::of(core, pid) else {
            return Err(Refused::NoProc);
        };
        let hash = self.seeds.hash_one(&key);
        let copy = key.clone();
        let mut left = Left::default();
        self.table_of(holder).write(Self::place(hash), |part| {
            self.add(
                core,
                part,
                (hash, key, copy),
                (holder, value),
                &mut left,
                tell,
            )
        })
    }

    /// Registers processes under a duplicate key of a store with one table, all of them at once; those
    /// who had none before.
    pub(crate) fn register_all(
        &self,
        core: &Core,
        key: &K,
        processes: impl IntoIterator<Item = (Pid, V)>,
        tell: &mut Tell<'_, K, V>,
    ) -> Result<Vec<Pid>, Refused> {
        debug_assert!(!self.unique && self.tables.len() == 1);
        let hash = self.seeds.hash_one(key);
        let processes: Vec<(Holder, V, K, K)> = processes
            .into_iter()
            .filter_map(|(pid, value)| {
                Some((Holder::of(core, pid)?, value, key.clone(), key.clone()))
            })
            .collect();
        let mut left = Left::default();
        self.tables[0].write(Self::place(hash), |part| {
            let mut first = Vec::new();
            for (holder, value, key, copy) in processes {
                let key = (hash, key, copy);
                if self.add(core, part, key, (holder, value), &mut left, tell)? {
                    first.push(holder.pid(core));
                }
            }
            Ok(first)
        })
    }

    /// Under the lock of the part: as [`register`](Self::register).
    fn add(
        &self,
        core: &Core,
        part: &mut Part<K, V>,
        (hash, key, copy): (u64, K, K),
        (holder, value): (Holder, V),
        left: &mut Left<K, V>,
        tell: &mut Tell<'_, K, V>,
    ) -> Result<bool, Refused> {
        // Acquire: pairs with the Release in `open` and `close`.
        if !self.open.load(Acquire) {
            left.values.push(value);
            left.keys.extend([key, copy]);
            return Err(Refused::Closed);
        }
        let pid = holder.pid(core);
        let stamp = self.stamps.fetch_add(1, Relaxed);
        let probe = Probe { hash, key: &key };
        let there = part.map.get_mut(&probe as &dyn Sought<K>);
        let before = there.as_ref().and_then(|entries| entries.first());
        if let Some((at, before, _)) = before.filter(|_| self.unique) {
            if before.lives(core) {
                left.values.push(value);
                left.keys.extend([key, copy]);
                return Err(Refused::Taken(before.pid(core)));
            }
            tell(Told::Unregistered(&key, before.pid(core)));
            left.keys.extend(self.disown(before, at).0);
        }
        tell(Told::Registered(&key, pid, &value));
        let entry = Entry {
            stamp,
            holder,
            value,
        };
        match there {
            Some(entries) if self.unique => {
                left.entries
                    .push(std::mem::replace(entries, Entries::One(entry)));
                left.keys.push(key);
            }
            Some(entries) => {
                entries.push(entry);
                left.keys.push(key);
            }
            None => {
                part.map.insert(Hashed { hash, key }, Entries::One(entry));
            }
        }
        Ok(self.own(holder, stamp, copy))
    }

    /// Takes out what a process has under a key: all of it, or the last registered.
    pub(crate) fn unregister<Q>(
        &self,
        core: &Core,
        key: &Q,
        pid: Pid,
        which: Which<'_>,
        tell: &mut Tell<'_, K, V>,
    ) -> Taken<K, V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let Some(holder) = Holder::of(core, pid) else {
            return Taken::nothing();
        };
        let hash = self.seeds.hash_one(key);
        self.take(core, (hash, key), holder, which, tell)
    }

    fn take<Q>(
        &self,
        core: &Core,
        (hash, key): (u64, &Q),
        holder: Holder,
        which: Which<'_>,
        tell: &mut Tell<'_, K, V>,
    ) -> Taken<K, V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let probe = Probe { hash, key };
        let probe: &dyn Sought<Q> = &probe;
        self.table_of(holder).write(Self::place(hash), |part| {
            let mut taken = Taken::nothing();
            let stamps = part
                .map
                .get(probe)
                .map(|entries| which.stamps(entries, holder));
            let stamps = stamps.unwrap_or_default();
            if stamps.is_empty() {
                return taken;
            }
            // `Eq` of the key ran, and runs no more: its like is in no table now.
            let Some((key, entries)) = part.map.remove_entry(probe) else {
                return taken;
            };
            for _ in &stamps {
                tell(Told::Unregistered(&key.key, holder.pid(core)));
            }
            let (rest, entries) = entries.take(&stamps);
            taken.entries = entries;
            match rest {
                Some(rest) => {
                    part.map.insert(key, rest);
                }
                None => {
                    taken._keys.push(key.key);
                    tidy(&mut part.map);
                }
            }
            for stamp in stamps {
                let (copy, keyless) = self.disown(holder, stamp);
                taken._keys.extend(copy);
                taken.keyless = keyless;
            }
            taken
        })
    }

    /// Takes out all that a dead process has. May be done more than once, by several.
    pub(crate) fn sweep(
        &self,
        core: &Core,
        dead: Pid,
        tell: &mut Tell<'_, K, V>,
    ) -> Vec<Taken<K, V>> {
        let Some(holder) = Holder::of(core, dead) else {
            return Vec::new();
        };
        let keys = {
            let mut owned = self.owned_by(holder).lock();
            let keys = owned.remove(&holder);
            tidy(&mut owned);
            keys
        };
        let keys = keys.into_iter().flat_map(Keys::into_all);
        keys.map(|(stamp, key)| {
            let hash = self.seeds.hash_one(&key);
            let stamps = [stamp];
            let which = Which::These(&stamps);
            let mut taken = self.take(core, (hash, &key), holder, which, tell);
            taken._keys.push(key);
            taken
        })
        .collect()
    }

    /// The registration of a key, if keys are unique, and the number by which it can be replaced.
    pub(crate) fn value<Q>(&self, core: &Core, key: &Q) -> Option<Versioned<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        V: Clone,
    {
        let hash = self.seeds.hash_one(key);
        let probe = Probe { hash, key };
        self.tables.first()?.read(Self::place(hash), |part| {
            let entries = part.map.get(&probe as &dyn Sought<Q>)?;
            let (stamp, holder, value) = entries.first()?;
            holder.lives(core).then(|| Versioned {
                pid: holder.pid(core),
                value: value.clone(),
                version: (stamp, part.updates),
            })
        })
    }

    /// Puts a value in the place of one that was looked at; the one before. `Err`: something has changed
    /// since; the value comes back.
    pub(crate) fn replace<Q>(&self, key: &Q, version: (u64, u64), value: V) -> Result<V, V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let Some(table) = self.tables.first() else {
            return Err(value);
        };
        let hash = self.seeds.hash_one(key);
        let probe = Probe { hash, key };
        let (stamp, updates) = version;
        table.write(Self::place(hash), |part| {
            let entries = part.map.get_mut(&probe as &dyn Sought<Q>);
            let place = entries.and_then(|entries| entries.value_mut(stamp));
            match place.filter(|_| part.updates == updates) {
                Some(place) => {
                    part.updates += 1;
                    Ok(std::mem::replace(place, value))
                }
                None => Err(value),
            }
        })
    }

    #[inline(always)]
    fn place(hash: u64) -> usize {
        Shards::<Part<K, V>>::place(hash)
    }

    /// The live process that has a key, if keys are unique.
    #[inline]
    pub(crate) fn whereis<Q>(&self, core: &Core, key: &Q) -> Option<Pid>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.seeds.hash_one(key);
        let probe = Probe { hash, key };
        let holder = self.tables.first()?.read(Self::place(hash), |part| {
            let entries = part.map.get(&probe as &dyn Sought<Q>)?;
            entries.first().map(|(_, holder, _)| holder)
        })?;
        holder.lives(core).then(|| holder.pid(core))
    }

    /// Calls `look` with each registration under a key that counts and is in that table, in order, under
    /// the part's lock.
    pub(crate) fn look<Q>(
        &self,
        core: &Core,
        key: &Q,
        table: usize,
        mut look: impl FnMut(u64, Pid, &V),
    ) where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.look_at_all(key, table, |stamp, holder, value| {
            if holder.lives(core) {
                look(stamp, holder.pid(core), value);
            }
        });
    }

    /// As [`look`](Self::look), the dead included.
    fn look_at_all<Q>(&self, key: &Q, table: usize, mut look: impl FnMut(u64, Holder, &V))
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.seeds.hash_one(key);
        let probe = Probe { hash, key };
        let Some(table) = self.tables.get(table) else {
            return;
        };
        table.read(Self::place(hash), |part| {
            let entries = part.map.get(&probe as &dyn Sought<Q>);
            for (stamp, holder, value) in entries.iter().flat_map(|entries| entries.iter()) {
                look(stamp, holder, value);
            }
        });
    }

    /// Who is registered under a key, in order, as often as it is; of the dead, who are not swept yet, in
    /// the second place.
    pub(crate) fn members<Q>(&self, core: &Core, key: &Q) -> (Vec<Pid>, Vec<Pid>)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mut all = Vec::new();
        for table in 0..self.tables() {
            self.look_at_all(key, table, |stamp, holder, _| all.push((stamp, holder)));
        }
        all.sort_unstable();
        let all = all.into_iter();
        let (living, dead): (Vec<_>, Vec<_>) = all.partition(|(_, holder)| holder.lives(core));
        let pids = |all: Vec<(u64, Holder)>| all.iter().map(|(_, of)| of.pid(core)).collect();
        (pids(living), pids(dead))
    }

    /// All keys that have registrations which count, in the order of the first of them, each with its
    /// holders, as often as each has it. And the dead who are not swept yet.
    pub(crate) fn groups(&self, core: &Core) -> (Vec<(K, Vec<Pid>)>, Vec<Pid>) {
        let (mut groups, mut dead) = (Vec::new(), Vec::new());
        for table in &self.tables {
            for at in 0..SHARDS {
                table.read(at, |part| {
                    for (key, entries) in &part.map {
                        let (mut first, mut living) = (None, Vec::new());
                        for (stamp, holder, _) in entries.iter() {
                            if holder.lives(core) {
                                first.get_or_insert(stamp);
                                living.push(holder.pid(core));
                            } else {
                                dead.push(holder.pid(core));
                            }
                        }
                        if let Some(first) = first {
                            groups.push((first, key.key.clone(), living));
                        }
                    }
                });
            }
        }
        groups.sort_unstable_by_key(|(first, ..)| *first);
        let groups = groups.into_iter();
        (groups.map(|(_, key, living)| (key, living)).collect(), dead)
    }

    /// The keys of a process, in the order of registration, one for each.
    pub(crate) fn keys(&self, core: &Core, pid: Pid) -> Vec<K> {
        let Some(holder) = Holder::of(core, pid).filter(|holder| holder.lives(core)) else {
            return Vec::new();
        };
        let owned = self.owned_by(holder).lock();
        owned.get(&holder).map(Keys::all).unwrap_or_default()
    }

    /// All registrations that count, in the order in which they were made. Each part as it was at some
    /// moment, not all at the same.
    pub(crate) fn all(&self, core: &Core) -> Vec<Found<K, V>>
    where
        V: Clone,
    {
        let mut all = Vec::new();
        for table in &self.tables {
            for at in 0..SHARDS {
                table.read(at, |part| {
                    for (key, entries) in &part.map {
                        let living = entries.iter().filter(|(_, holder, _)| holder.lives(core));
                        all.extend(living.map(|(stamp, holder, value)| Found {
                            stamp,
                            key: key.key.clone(),
                            pid: holder.pid(core),
                            value: value.clone(),
                        }));
                    }
                });
            }
        }
        all.sort_unstable_by_key(|found| found.stamp);
        all
    }

    /// How many registrations there are, the dead's included; and room for how many keys.
    #[cfg(test)]
    pub(crate) fn size(&self) -> (usize, usize) {
        let mut size = (0, 0);
        for table in &self.tables {
            for at in 0..SHARDS {
                table.read(at, |part| {
                    size.0 += part
                        .map
                        .values()
                        .map(|entries| entries.iter().count())
                        .sum::<usize>();
                    size.1 += part.map.capacity();
                });
            }
        }
        size
    }
}

/// Which of a process's registrations under a key.
#[derive(Clone, Copy)]
pub(crate) enum Which<'a> {
    All,
    Last,
    /// Those with these stamps.
    These(&'a [u64]),
}

impl Which<'_> {
    fn stamps<V>(self, entries: &Entries<V>, holder: Holder) -> Vec<u64> {
        let own = entries.iter().filter(|(_, of, _)| *of == holder);
        let own = own.map(|(stamp, _, _)| stamp);
        match self {
            Which::All => own.collect(),
            Which::Last => own.last().into_iter().collect(),
            // One of perhaps many: not looked for among all.
            Which::These(&[stamp]) => entries.has(stamp).then_some(stamp).into_iter().collect(),
            Which::These(stamps) => own.filter(|stamp| stamps.contains(stamp)).collect(),
        }
    }
}

/// What is dropped once the lock is free.
struct Left<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
    entries: Vec<Entries<V>>,
}

impl<K, V> Default for Left<K, V> {
    fn default() -> Self {
        Left {
            keys: Vec::new(),
            values: Vec::new(),
            entries: Vec::new(),
        }
    }
}

impl<K> Keys<K> {
    fn len(&self) -> usize {
        match self {
            Keys::One(..) => 1,
            Keys::Many(many) => many.len(),
        }
    }

    fn add(&mut self, stamp: u64, key: K) {
        if let Keys::Many(many) = self {
            many.insert(stamp, key);
            return;
        }
        if let Keys::One(first, one) = std::mem::replace(self, Keys::Many(BTreeMap::new())) {
            *self = Keys::Many(BTreeMap::from([(first, one), (stamp, key)]));
        }
    }

    fn all(&self) -> Vec<K>
    where
        K: Clone,
    {
        match self {
            Keys::One(_, key) => vec![key.clone()],
            Keys::Many(many) => many.values().cloned().collect(),
        }
    }

    fn into_one(self) -> Option<K> {
        match self {
            Keys::One(_, key) => Some(key),
            Keys::Many(_) => None,
        }
    }

    fn into_all(self) -> impl Iterator<Item = (u64, K)> {
        let (one, many) = match self {
            Keys::One(stamp, key) => (Some((stamp, key)), BTreeMap::new()),
            Keys::Many(many) => (None, many),
        };
        one.into_iter().chain(many)
    }
}

/// Gives memory back that a map has had for much more than it holds.
fn tidy<K: Hash + Eq, T, S: BuildHasher>(map: &mut HashMap<K, T, S>) {
    if map.capacity() > SMALL && map.len() < map.capacity() / 8 {
        let room = (map.len() * 2).max(SMALL);
        map.shrink_to(room);
    }
}
