//! One shard of a hash store: slots, which hold the entries and never move, and an index into them.
//!
//! ```text
//!            put                     remove
//!   FREE ──────────▶ LIVE ───────────────────────────────▶ FREE
//!                    ↺ put │  ▲
//!     remove, while fixed  ▼  │ put, the same key
//!                         TOMB ─────────────────────────▶ FREE
//!                                 purge, clear
//! ```
//!
//! So the number of a slot is a place in a traversal, good for as long as the entry is there and, while
//! the store is fixed, beyond that: the tomb keeps the key, so that the place can be found by it.
//!
//! # Invariants
//! 1. A slot is in the index, under its tag, if and only if it is `LIVE` or a `TOMB`; for a key there is at
//!    most one.
//! 2. The free list holds the `FREE` slots, each once.
//! 3. `objects` is the sum over the contents of the `LIVE` slots, also when a closure that changes one
//!    panics.
//! 4. Code of users runs in `find` (their `Eq`) and in the closures given to `alter`; neither with anything
//!    half done. What is taken out is returned, never dropped here.

use std::borrow::Borrow;

use super::super::times::Times;
use super::super::{Content, Entry, Item, Part, Removed, counted, recount};
use super::index::{self, Index};

/// Ends the free list.
const NONE: u32 = u32::MAX;

/// Above this a shard that has become empty gives its memory back.
const SMALL: usize = 64;

#[derive(Debug)]
pub(crate) enum Slot<K, C> {
    Free { next: u32 },
    Live { tag: u32, key: K, content: C },
    Tomb { tag: u32, key: K },
}

/// What was in a slot before an entry was put there.
#[derive(Debug)]
pub(super) enum Displaced<K, C> {
    Nothing,
    Entry(Entry<K, C>),
    Tomb(K),
}

/// What every operation touches comes first, and fits with the lock on one cache line; so does not what
/// changes with the number of objects, which a write in the place of another leaves alone.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Shard<K, C> {
    index: Index,
    slots: Vec<Slot<K, C>>,
    /// Of the slots; of those that are not `LIVE` it says nothing.
    times: Times,
    free: u32,
    live: u32,
    tombs: u32,
    objects: usize,
}

impl<K, C> Default for Shard<K, C> {
    fn default() -> Self {
        Shard {
            index: Index::default(),
            slots: Vec::new(),
            times: Times::default(),
            free: NONE,
            live: 0,
            tombs: 0,
            objects: 0,
        }
    }
}

/// The tag of a slot that is in the index.
#[inline]
fn tag_in<K, C>(slots: &[Slot<K, C>], slot: u32) -> Option<u32> {
    match slots.get(slot as usize)? {
        Slot::Live { tag, .. } | Slot::Tomb { tag, .. } => Some(*tag),
        Slot::Free { .. } => None,
    }
}

impl<K, C: Content> Shard<K, C> {
    pub(super) fn objects(&self) -> usize {
        self.objects
    }

    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn tombs(&self) -> usize {
        self.tombs as usize
    }

    /// How many slots are in the index, and how many there are.
    fn sizes(&self) -> (usize, usize) {
        ((self.live + self.tombs) as usize, self.slots.len())
    }

    pub(super) fn memory(&self) -> usize {
        self.index.words() * size_of::<u32>()
            + self.slots.capacity() * size_of::<Slot<K, C>>()
            + self.times.memory()
            + self.objects * C::EACH
    }

    /// The slot that holds `key`, alive or not.
    #[inline]
    pub(super) fn find<Q: Eq + ?Sized>(&self, tag: u32, key: &Q) -> Option<u32>
    where
        K: Borrow<Q>,
    {
        self.index
            .find(tag, |slot| match &self.slots[slot as usize] {
                Slot::Live { key: other, .. } | Slot::Tomb { key: other, .. } => {
                    other.borrow() == key
                }
                Slot::Free { .. } => false,
            })
    }

    /// What is in a slot, and its tag.
    #[inline]
    pub(super) fn live(&self, slot: u32) -> Option<(u32, Item<'_, K, C>)> {
        match self.slots.get(slot as usize)? {
            Slot::Live { tag, key, content } => {
                let expires = self.times.get(slot as usize);
                let item = Item {
                    key,
                    content,
                    expires,
                };
                Some((*tag, item))
            }
            Slot::Free { .. } | Slot::Tomb { .. } => None,
        }
    }

    #[inline]
    pub(super) fn entry(&self, slot: u32) -> Option<Item<'_, K, C>> {
        self.live(slot).map(|(_, item)| item)
    }

    /// Puts an entry into the slot that `find` gave for its key, or else into a free one. Which, and what
    /// was there.
    ///
    /// # Panics
    /// If there are 2^31 - 2 slots already.
    #[inline]
    pub(super) fn put(
        &mut self,
        tag: u32,
        at: Option<u32>,
        entry: Entry<K, C>,
    ) -> (u32, Displaced<K, C>) {
        let objects = entry.content.objects();
        let Some(slot) = at else {
            let slot = self.occupy(tag, entry);
            self.objects += objects;
            return (slot, Displaced::Nothing);
        };
        let before = self.times.get(slot as usize);
        self.expire(slot, entry.expires);
        let live = Slot::Live {
            tag,
            key: entry.key,
            content: entry.content,
        };
        match std::mem::replace(&mut self.slots[slot as usize], live) {
            Slot::Live { key, content, .. } => {
                recount(&mut self.objects, content.objects(), objects);
                let old = Entry {
                    key,
                    content,
                    expires: before,
                };
                (slot, Displaced::Entry(old))
            }
            Slot::Tomb { key, .. } => {
                self.objects += objects;
                self.tombs -= 1;
                self.live += 1;
                (slot, Displaced::Tomb(key))
            }
            // Not what `find` gives.
            Slot::Free { .. } => (slot, Displaced::Nothing),
        }
    }

    fn occupy(&mut self, tag: u32, entry: Entry<K, C>) -> u32 {
        let reused = match self.slots.get(self.free as usize) {
            Some(Slot::Free { next }) => Some(*next),
            _ => None,
        };
        let slot = match reused {
            Some(_) => self.free,
            None => self.slots.len() as u32,
        };
        assert!((slot as usize) < index::MOST, "a shard of a table is full");
        let (sizes, slots) = (self.sizes(), &self.slots);
        let tag_of = |slot: u32| tag_in(slots, slot);
        self.index.make_room(slot, sizes, tag_of);
        self.index.insert(tag, slot);
        let live = Slot::Live {
            tag,
            key: entry.key,
            content: entry.content,
        };
        match reused {
            Some(next) => {
                self.free = next;
                self.slots[slot as usize] = live;
            }
            None => {
                self.slots.push(live);
                self.times.fill(self.slots.len());
            }
        }
        self.expire(slot, entry.expires);
        self.live += 1;
        slot
    }

    /// Takes a slot out of the index, whose tag this was.
    fn forget(&mut self, tag: u32, slot: u32) {
        let slots = &self.slots;
        let tag_of = |slot: u32| tag_in(slots, slot).unwrap_or(0);
        self.index.remove(tag, slot, tag_of);
    }

    /// Gives memory back if much of it is not needed.
    fn tidy(&mut self) {
        let sizes = self.sizes();
        if sizes.0 == 0 && sizes.1 > SMALL {
            *self = Shard::default();
            return;
        }
        let slots = &self.slots;
        self.index.shrink(sizes, |slot| tag_in(slots, slot));
    }

    /// Puts back what `put` displaced; the entry that it put comes back.
    pub(super) fn undo(&mut self, slot: u32, displaced: Displaced<K, C>) -> Option<Entry<K, C>> {
        let tag = self.live(slot)?.0;
        match displaced {
            Displaced::Nothing => {
                let removed = self.remove(slot, false)?;
                Some(Entry {
                    key: removed.key?,
                    content: removed.content,
                    expires: removed.expires,
                })
            }
            Displaced::Entry(entry) => match self.put(tag, Some(slot), entry).1 {
                Displaced::Entry(put) => Some(put),
                Displaced::Nothing | Displaced::Tomb(_) => None,
            },
            Displaced::Tomb(before) => {
                let removed = self.remove(slot, true)?;
                let tomb = Slot::Tomb { tag, key: before };
                match std::mem::replace(&mut self.slots[slot as usize], tomb) {
                    Slot::Tomb { key, .. } => Some(Entry {
                        key,
                        content: removed.content,
                        expires: removed.expires,
                    }),
                    Slot::Live { .. } | Slot::Free { .. } => None,
                }
            }
        }
    }

    /// Takes out what is in a slot; with `keep` the key stays, in a tomb.
    pub(super) fn remove(&mut self, slot: u32, keep: bool) -> Option<Removed<K, C>> {
        self.live(slot)?;
        let free = Slot::Free { next: self.free };
        let Slot::Live { tag, key, content } =
            std::mem::replace(&mut self.slots[slot as usize], free)
        else {
            return None;
        };
        let expires = self.times.get(slot as usize);
        self.live -= 1;
        self.objects -= content.objects();
        let key = if keep {
            self.tombs += 1;
            self.slots[slot as usize] = Slot::Tomb { tag, key };
            None
        } else {
            self.free = slot;
            self.forget(tag, slot);
            self.tidy();
            Some(key)
        };
        Some(Removed {
            key,
            content,
            expires,
        })
    }

    pub(super) fn expire(&mut self, slot: u32, expires: u64) {
        self.times.set(slot as usize, expires, self.slots.len());
    }

    /// Puts other content into a slot; what was there comes back, or the new one.
    pub(super) fn replace(&mut self, slot: u32, content: C, expires: u64) -> Result<C, C> {
        let new = content.objects();
        let Some(Slot::Live { content: old, .. }) = self.slots.get_mut(slot as usize) else {
            return Err(content);
        };
        let old = std::mem::replace(old, content);
        recount(&mut self.objects, old.objects(), new);
        self.expire(slot, expires);
        Ok(old)
    }

    /// Changes the content of a slot in place.
    pub(super) fn alter<R>(&mut self, slot: u32, change: impl FnOnce(&mut C) -> R) -> Option<R> {
        let Slot::Live { content, .. } = self.slots.get_mut(slot as usize)? else {
            return None;
        };
        Some(counted(content, &mut self.objects, change))
    }

    /// Forgets the keys of removed entries, which come back.
    pub(super) fn purge(&mut self) -> Vec<K> {
        let mut keys = Vec::with_capacity(self.tombs());
        for slot in 0..self.slots.len() {
            if self.tombs == 0 {
                break;
            }
            if !matches!(self.slots[slot], Slot::Tomb { .. }) {
                continue;
            }
            let free = Slot::Free { next: self.free };
            if let Slot::Tomb { tag, key } = std::mem::replace(&mut self.slots[slot], free) {
                self.tombs -= 1;
                self.free = slot as u32;
                self.forget(tag, slot as u32);
                keys.push(key);
            }
        }
        self.tidy();
        keys
    }

    /// Takes out all; with `keep` the keys stay, in tombs.
    pub(super) fn clear(&mut self, keep: bool) -> Part<K, C> {
        if !keep {
            return Part::Slots(std::mem::take(self).slots);
        }
        let mut contents = Vec::with_capacity(self.live as usize);
        for slot in 0..self.slots.len() {
            contents.extend(
                self.remove(slot as u32, true)
                    .map(|removed| removed.content),
            );
        }
        Part::Contents(contents)
    }

    /// Invariants 1 to 3.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let (mut live, mut tombs, mut objects, mut free) = (0, 0, 0, 0);
        for (i, slot) in self.slots.iter().enumerate() {
            let tag = match slot {
                Slot::Free { .. } => {
                    free += 1;
                    continue;
                }
                Slot::Live { tag, content, .. } => {
                    live += 1;
                    objects += content.objects();
                    tag
                }
                Slot::Tomb { tag, .. } => {
                    tombs += 1;
                    tag
                }
            };
            let found = self.index.find(*tag, |slot| slot == i as u32);
            assert_eq!(found, Some(i as u32));
        }
        assert_eq!(
            (live, tombs, objects),
            (self.live, self.tombs, self.objects)
        );
        self.times.check(self.slots.len());
        let mut next = self.free;
        while let Some(Slot::Free { next: after }) = self.slots.get(next as usize) {
            free -= 1;
            next = *after;
        }
        assert_eq!((next, free), (NONE, 0));
        assert_eq!(self.index.taken(), (live + tombs) as usize);
    }
}
