//! The store of sets and bags: shards, each behind a lock of its own.
//!
//! A key is hashed once, before any lock. The upper bits of the hash say which shard it belongs to, the
//! lower 32 are its tag in there. A traversal goes from shard to shard and from slot to slot.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::ops::ControlFlow;

mod batch;
mod index;
mod shard;

pub(crate) use batch::HashBatch;
pub(super) use shard::Slot;
use shard::{Displaced, Shard};

use super::nesting::{Nested, Rank};
use super::{
    Batched, Bin, Cleared, Content, Entry, Find, Item, Place, Removed, SLICE, Sliced, Spot, Store,
    Swept, Terms,
};
use crate::hash::Seeds;
use crate::sync::atomic::AtomicUsize;
use crate::sync::atomic::Ordering::{Relaxed, SeqCst};
use crate::sync::{CachePadded, RwLock, RwLockWriteGuard};

/// The fewest shards.
const LEAST: usize = 16;

/// Shards for each thread that can run at once.
const EACH: usize = 4;

#[repr(C)]
struct Side<K, C> {
    shard: RwLock<Shard<K, C>>,
    tally: Tally,
}

/// What can be told of a shard without its lock: as it was when that was last given up with another number of
/// objects.
#[derive(Default)]
struct Tally {
    objects: AtomicUsize,
    memory: AtomicUsize,
}

/// See the module.
pub(crate) struct HashStore<K, C> {
    sides: Box<[CachePadded<Side<K, C>>]>,
    shift: u32,
    hasher: Seeds,
    rank: Rank,
    fixed: AtomicUsize,
}

/// A slot of a shard: where a traversal goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Position {
    shard: usize,
    slot: u32,
}

/// A shard locked for writing.
struct Locked<'a, K, C: Content> {
    shard: RwLockWriteGuard<'a, Shard<K, C>>,
    tally: &'a Tally,
}

impl<K, C: Content> Locked<'_, K, C> {
    fn count(&self) {
        self.tally.objects.store(self.shard.objects(), Relaxed);
        self.tally.memory.store(self.shard.memory(), Relaxed);
    }
}

impl<K, C: Content> Drop for Locked<'_, K, C> {
    fn drop(&mut self) {
        if self.tally.objects.load(Relaxed) != self.shard.objects() {
            self.count();
        }
    }
}

/// See [`Spot`].
pub(crate) struct HashSpot<'a, K, C> {
    shard: &'a mut Shard<K, C>,
    tag: u32,
    /// The slot of the key, if it has one.
    at: Option<u32>,
    /// What is in the slot is there.
    lives: bool,
    /// The store is fixed.
    keep: bool,
    bin: &'a mut Bin<K, C>,
}

impl<K, C: Content> Spot<K, C> for HashSpot<'_, K, C> {
    #[inline]
    fn entry(&self) -> Option<Item<'_, K, C>> {
        self.shard.entry(self.at.filter(|_| self.lives)?)
    }

    fn alter<R>(&mut self, change: impl FnOnce(&mut C) -> R) -> Option<R> {
        self.shard.alter(self.at.filter(|_| self.lives)?, change)
    }

    fn expire(&mut self, expires: u64) -> bool {
        if let Some(slot) = self.at.filter(|_| self.lives) {
            self.shard.expire(slot, expires);
        }
        self.lives
    }

    fn replace(&mut self, content: C, expires: u64) -> Result<C, C> {
        match self.at.filter(|_| self.lives) {
            Some(slot) => self.shard.replace(slot, content, expires),
            None => Err(content),
        }
    }

    fn remove(&mut self) -> Option<Removed<K, C>> {
        let slot = self.at.filter(|_| self.lives)?;
        self.lives = false;
        self.at = Some(slot).filter(|_| self.keep);
        self.shard.remove(slot, self.keep)
    }

    #[inline]
    fn put(&mut self, entry: Entry<K, C>) -> Option<Entry<K, C>> {
        let (slot, displaced) = self.shard.put(self.tag, self.at, entry);
        self.at = Some(slot);
        let lived = std::mem::replace(&mut self.lives, true);
        match displaced {
            Displaced::Nothing => None,
            Displaced::Entry(entry) if lived => Some(entry),
            Displaced::Entry(stale) => {
                self.bin.entries([stale]);
                None
            }
            Displaced::Tomb(key) => {
                self.bin.keys([key]);
                None
            }
        }
    }
}

impl<K, C: Content> HashStore<K, C> {
    pub(super) fn with_shards(shards: usize) -> Self {
        let shards = shards.next_power_of_two().max(2);
        let side = || Side {
            shard: RwLock::default(),
            tally: Tally::default(),
        };
        HashStore {
            sides: (0..shards).map(|_| CachePadded(side())).collect(),
            shift: u64::BITS - shards.ilog2(),
            hasher: Seeds::random(),
            rank: Rank::next(),
            fixed: AtomicUsize::new(0),
        }
    }

    #[inline]
    fn shard_of(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize
    }

    #[inline]
    fn lock(&self, shard: usize) -> Locked<'_, K, C> {
        let side = &self.sides[shard];
        Locked {
            shard: side.shard.write(),
            tally: &side.tally,
        }
    }

    /// Whether removed keys keep their places; asked under the lock of the shard. Whoever fixed the store
    /// before it came to a key under that lock is heard of.
    #[inline]
    fn keep(&self) -> bool {
        self.fixed.load(SeqCst) > 0
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        for side in &self.sides {
            let shard = side.shard.read();
            shard.check();
            assert_eq!(side.tally.objects.load(Relaxed), shard.objects());
        }
    }

    /// Calls `visit` for up to [`SLICE`] slots, under one lock. Where to go on, and whether to.
    fn slice<T: Terms>(
        &self,
        terms: &T,
        from: Position,
        visit: &mut impl FnMut(&mut HashSpot<'_, K, C>) -> ControlFlow<()>,
        expired_too: bool,
    ) -> Result<Sliced<Position>, T::Refusal> {
        let Position { shard, slot: first } = from;
        if shard >= self.sides.len() {
            return Ok(ControlFlow::Break(None));
        }
        let mut bin = Bin::default();
        let _within = self.rank.enter()?;
        let mut locked = self.lock(shard);
        terms.admit()?;
        let keep = self.keep();
        let end = first.saturating_add(SLICE as u32);
        for slot in first..end {
            if slot as usize >= locked.shard.slots() {
                return Ok(ControlFlow::Continue(Position {
                    shard: shard + 1,
                    slot: 0,
                }));
            }
            let Some((tag, entry)) = locked.shard.live(slot) else {
                continue;
            };
            if !expired_too && !entry.lives(terms) {
                continue;
            }
            let mut spot = HashSpot {
                tag,
                at: Some(slot),
                lives: true,
                keep,
                shard: &mut locked.shard,
                bin: &mut bin,
            };
            if visit(&mut spot).is_break() {
                let slot = slot + 1;
                return Ok(ControlFlow::Break(Some(Position { shard, slot })));
            }
        }
        Ok(ControlFlow::Continue(Position { shard, slot: end }))
    }
}

impl<K: Hash + Eq + 'static, C: Content> HashStore<K, C> {
    #[inline]
    fn at<T: Terms, Q: Hash + Eq + ?Sized, R>(
        &self,
        terms: &T,
        key: &Q,
        work: impl FnOnce(HashSpot<'_, K, C>) -> R,
    ) -> Result<R, T::Refusal>
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        let mut bin = Bin::default();
        let _within = self.rank.enter()?;
        let mut locked = self.lock(self.shard_of(hash));
        terms.admit()?;
        let tag = hash as u32;
        let at = locked.shard.find(tag, key);
        let entry = at.and_then(|slot| locked.shard.entry(slot));
        let spot = HashSpot {
            tag,
            at,
            lives: entry.is_some_and(|entry| entry.lives(terms)),
            keep: self.keep(),
            shard: &mut locked.shard,
            bin: &mut bin,
        };
        Ok(work(spot))
    }
}

impl<K: Hash + Eq + 'static, C: Content> Store<K, C> for HashStore<K, C> {
    type Cursor = Position;
    type Spot<'a> = HashSpot<'a, K, C>;
    type Batch<'a> = HashBatch<'a, K, C>;

    fn new() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_shards((threads * EACH).max(LEAST))
    }

    fn len(&self) -> usize {
        let each = self.sides.iter().map(|side| &side.tally.objects);
        each.map(|objects| objects.load(Relaxed)).sum()
    }

    fn memory(&self) -> usize {
        let each = self.sides.iter().map(|side| &side.tally.memory);
        let shards: usize = each.map(|memory| memory.load(Relaxed)).sum();
        size_of::<Self>() + size_of_val(&*self.sides) + shards
    }

    fn parts(&self) -> usize {
        self.sides.len()
    }

    fn enter<T: Terms, R>(
        &self,
        terms: &T,
        key: K,
        work: impl FnOnce(&mut Place<'_, K, HashSpot<'_, K, C>>) -> R,
    ) -> Result<R, T::Refusal> {
        let hash = self.hasher.hash_one(&key);
        let mut key = Some(key);
        let mut bin = Bin::default();
        let _within = self.rank.enter()?;
        let mut locked = self.lock(self.shard_of(hash));
        terms.admit()?;
        let tag = hash as u32;
        let at = key.as_ref().and_then(|key| locked.shard.find(tag, key));
        let entry = at.and_then(|slot| locked.shard.entry(slot));
        let spot = HashSpot {
            tag,
            at,
            lives: entry.is_some_and(|entry| entry.lives(terms)),
            keep: self.keep(),
            shard: &mut locked.shard,
            bin: &mut bin,
        };
        Ok(work(&mut Place {
            spot,
            key: &mut key,
        }))
    }

    fn batch<T: Terms, R>(
        &self,
        terms: &T,
        objects: Vec<Entry<K, C>>,
        work: impl FnOnce(&mut HashBatch<'_, K, C>) -> R,
    ) -> Result<Batched<R, K, C>, T::Refusal> {
        let hashes = objects.iter().map(|entry| self.hasher.hash_one(&entry.key));
        let hashes: Vec<u64> = hashes.collect();
        let mut shards: Vec<usize> = hashes.iter().map(|hash| self.shard_of(*hash)).collect();
        shards.sort_unstable();
        shards.dedup();
        let mut objects: Vec<_> = objects.into_iter().map(Some).collect();
        let mut undo = Vec::with_capacity(objects.len());
        let mut bin = Bin::default();
        let done = {
            let _within = self.rank.enter()?;
            let mut locked = Vec::with_capacity(shards.len());
            for shard in shards {
                locked.push((shard, self.lock(shard)));
                terms.admit()?;
            }
            let mut batch = HashBatch {
                shift: self.shift,
                locked,
                objects: &mut objects,
                hashes: &hashes,
                now: terms.now(),
                undo: &mut undo,
                bin: &mut bin,
                done: false,
            };
            let done = work(&mut batch);
            batch.done = true;
            done
        };
        Ok((done, objects.into_iter().flatten().collect()))
    }

    fn scan<T: Terms>(
        &self,
        terms: &T,
        from: Option<&Position>,
        mut visit: impl FnMut(Item<'_, K, C>) -> ControlFlow<()>,
    ) -> Result<Option<Position>, T::Refusal> {
        let Position {
            mut shard,
            slot: mut first,
        } = from.copied().unwrap_or_default();
        while shard < self.sides.len() {
            let _within = self.rank.enter()?;
            let locked = self.sides[shard].shard.read();
            terms.admit()?;
            let end = first.saturating_add(SLICE as u32);
            for slot in first..end.min(locked.slots() as u32) {
                let entry = locked.entry(slot).filter(|entry| entry.lives(terms));
                if entry.is_some_and(|entry| visit(entry).is_break()) {
                    let slot = slot + 1;
                    return Ok(Some(Position { shard, slot }));
                }
            }
            if end as usize >= locked.slots() {
                (shard, first) = (shard + 1, 0);
            } else {
                first = end;
            }
        }
        Ok(None)
    }

    fn edit<T: Terms>(
        &self,
        terms: &T,
        from: Option<&Position>,
        mut visit: impl FnMut(&mut HashSpot<'_, K, C>) -> ControlFlow<()>,
    ) -> Result<Option<Position>, T::Refusal> {
        let mut from = from.copied().unwrap_or_default();
        loop {
            match self.slice(terms, from, &mut visit, false)? {
                ControlFlow::Continue(next) => from = next,
                ControlFlow::Break(end) => return Ok(end),
            }
        }
    }

    fn sweep<T: Terms>(
        &self,
        terms: &T,
        from: Option<&Position>,
        slices: usize,
        swept: &mut Swept<K, C>,
    ) -> Result<Option<Position>, T::Refusal> {
        let mut from = from.copied().unwrap_or_default();
        for _ in 0..slices {
            let mut visit = |spot: &mut HashSpot<'_, K, C>| {
                swept.visit(spot, terms);
                ControlFlow::Continue(())
            };
            match self.slice(terms, from, &mut visit, true)? {
                ControlFlow::Continue(next) => from = next,
                ControlFlow::Break(end) => return Ok(end),
            }
        }
        Ok(Some(from))
    }

    fn clear<T: Terms>(&self, terms: &T) -> Result<Cleared<K, C>, T::Refusal> {
        let _within = self.rank.enter()?;
        let mut shards = Vec::with_capacity(self.sides.len());
        for shard in 0..self.sides.len() {
            shards.push(self.lock(shard));
            terms.admit()?;
        }
        let keep = self.keep();
        let objects = shards.iter().map(|locked| locked.shard.objects()).sum();
        let parts = shards.iter_mut().map(|locked| locked.shard.clear(keep));
        let parts = parts.collect();
        Ok(Cleared { parts, objects })
    }

    fn fix(&self) {
        self.fixed.fetch_add(1, SeqCst);
    }

    fn unfix(&self) -> Result<(), Nested> {
        // Whether or not the places can be tidied now: the next last one will.
        let others = self.fixed.fetch_sub(1, SeqCst) - 1;
        for shard in 0..self.sides.len() {
            if others > 0 {
                break;
            }
            let _keys = {
                let _within = self.rank.enter()?;
                let mut locked = self.lock(shard);
                if self.keep() {
                    // Somebody fixed it again.
                    break;
                }
                let keys = match locked.shard.tombs() {
                    0 => Vec::new(),
                    _ => locked.shard.purge(),
                };
                locked.count();
                keys
            };
        }
        Ok(())
    }
}

impl<K: Hash + Eq + Borrow<Q> + 'static, C: Content, Q: Hash + Eq + ?Sized> Find<K, C, Q>
    for HashStore<K, C>
{
    #[inline]
    fn read<T: Terms, R>(
        &self,
        terms: &T,
        key: &Q,
        look: impl FnOnce(Option<Item<'_, K, C>>) -> R,
    ) -> Result<R, T::Refusal> {
        let hash = self.hasher.hash_one(key);
        let _within = self.rank.enter()?;
        let shard = self.sides[self.shard_of(hash)].shard.read();
        terms.admit()?;
        let entry = shard
            .find(hash as u32, key)
            .and_then(|slot| shard.entry(slot));
        Ok(look(entry.filter(|entry| entry.lives(terms))))
    }

    fn write<T: Terms, R>(
        &self,
        terms: &T,
        key: &Q,
        work: impl FnOnce(&mut HashSpot<'_, K, C>) -> R,
    ) -> Result<R, T::Refusal> {
        self.at(terms, key, |mut spot| work(&mut spot))
    }

    fn after<T: Terms>(&self, terms: &T, key: &Q) -> Result<Option<Position>, T::Refusal> {
        let hash = self.hasher.hash_one(key);
        let shard = self.shard_of(hash);
        let _within = self.rank.enter()?;
        let locked = self.sides[shard].shard.read();
        terms.admit()?;
        let slot = locked.find(hash as u32, key);
        Ok(slot.map(|slot| Position {
            shard,
            slot: slot + 1,
        }))
    }
}
