//! Several objects at once, and how that is taken back.

use super::super::{Batch, Bin, Content, Entry, Item};
use super::Locked;
use super::shard::Displaced;

/// See [`Batch`].
pub(crate) struct HashBatch<'a, K, C: Content> {
    pub(super) shift: u32,
    /// In the order of their shards.
    pub(super) locked: Vec<(usize, Locked<'a, K, C>)>,
    pub(super) objects: &'a mut Vec<Option<Entry<K, C>>>,
    pub(super) hashes: &'a [u64],
    pub(super) now: u64,
    pub(super) undo: &'a mut Vec<Undo<K, C>>,
    pub(super) bin: &'a mut Bin<K, C>,
    pub(super) done: bool,
}

/// How to take back a step.
pub(super) struct Undo<K, C> {
    /// In `locked`.
    shard: usize,
    slot: u32,
    step: Step<K, C>,
}

enum Step<K, C> {
    /// What was there before. If it is not taken back, this is what left the store.
    Put(Displaced<K, C>),
    /// How many objects there were before, and their time.
    Joined(usize, u64),
}

impl<K: Eq, C: Content> HashBatch<'_, K, C> {
    /// Which of `locked` the key of the `i`th belongs to, its tag and its slot.
    fn find(&self, i: usize) -> Option<(usize, u32, Option<u32>)> {
        let key = &self.objects.get(i)?.as_ref()?.key;
        let hash = self.hashes[i];
        let shard = (hash >> self.shift) as usize;
        let locked = self
            .locked
            .binary_search_by_key(&shard, |(shard, _)| *shard);
        let locked = locked.ok()?;
        let slot = self.locked[locked].1.shard.find(hash as u32, key);
        Some((locked, hash as u32, slot))
    }

    fn lives(&self, locked: usize, slot: Option<u32>) -> Option<Item<'_, K, C>> {
        let entry = self.locked[locked].1.shard.entry(slot?)?;
        (self.now < entry.expires).then_some(entry)
    }

    fn put(&mut self, i: usize, locked: usize, tag: u32, slot: Option<u32>) {
        if let Some(entry) = self.objects[i].take() {
            let (slot, displaced) = self.locked[locked].1.shard.put(tag, slot, entry);
            self.undo.push(Undo {
                shard: locked,
                slot,
                step: Step::Put(displaced),
            });
        }
    }
}

impl<K: Eq, C: Content> Batch<K, C> for HashBatch<'_, K, C> {
    fn len(&self) -> usize {
        self.objects.len()
    }

    fn object(&self, i: usize) -> Option<&Entry<K, C>> {
        self.objects.get(i)?.as_ref()
    }

    fn entry(&self, i: usize) -> Option<Item<'_, K, C>> {
        let (locked, _, slot) = self.find(i)?;
        self.lives(locked, slot)
    }

    fn insert(&mut self, i: usize) {
        if let Some((locked, tag, slot)) = self.find(i) {
            self.put(i, locked, tag, slot);
        }
    }

    fn merge(&mut self, i: usize, join: impl FnOnce(&mut C, C) -> Option<C>) {
        let Some((locked, tag, slot)) = self.find(i) else {
            return;
        };
        let before = self
            .lives(locked, slot)
            .map(|entry| (entry.content.objects(), entry.expires));
        let (Some((objects, expires)), Some(slot)) = (before, slot) else {
            return self.put(i, locked, tag, slot);
        };
        let Some(entry) = self.objects[i].take() else {
            return;
        };
        self.undo.push(Undo {
            shard: locked,
            slot,
            step: Step::Joined(objects, expires),
        });
        // The key is there already.
        self.bin.keys([entry.key]);
        let shard = &mut self.locked[locked].1.shard;
        shard.expire(slot, entry.expires);
        let rest = shard.alter(slot, |content| join(content, entry.content));
        self.bin.contents(rest.flatten());
    }
}

impl<K, C: Content> Drop for HashBatch<'_, K, C> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        while let Some(Undo { shard, slot, step }) = self.undo.pop() {
            let shard = &mut self.locked[shard].1.shard;
            match step {
                Step::Put(displaced) => {
                    self.bin.entries(shard.undo(slot, displaced));
                }
                Step::Joined(objects, expires) => {
                    shard.expire(slot, expires);
                    let added = shard.alter(slot, |content| content.split_off(objects));
                    self.bin.contents(added.flatten());
                }
            }
        }
    }
}
