//! One leaf of an ordered store: entries in the order of their keys.
//!
//! # Invariants
//! 1. The keys ascend, and no two are equal.
//! 2. `objects` is the sum over the contents, also when a closure that changes one panics.
//! 3. Code of users runs in the searches (their `Ord`) and in the closures given to `alter`, with nothing
//!    half done. What is taken out is returned, never dropped here.

use std::borrow::Borrow;
use std::ops::Bound;

use super::super::{Content, Entry, Removed, counted, recount};

#[derive(Debug)]
#[repr(C)]
pub(super) struct Leaf<K, C> {
    /// Changes whenever the range of keys does that belongs here.
    pub(super) version: u32,
    entries: Vec<Entry<K, C>>,
    objects: usize,
    /// Where that range begins, except for the first leaf and those not in use.
    pub(super) low: Option<K>,
}

impl<K, C> Default for Leaf<K, C> {
    fn default() -> Self {
        Leaf {
            version: 0,
            low: None,
            entries: Vec::new(),
            objects: 0,
        }
    }
}

impl<K, C: Content> Leaf<K, C> {
    pub(super) fn entries(&self) -> &[Entry<K, C>] {
        &self.entries
    }

    pub(super) fn objects(&self) -> usize {
        self.objects
    }

    pub(super) fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<Entry<K, C>>() + self.objects * C::EACH
    }

    /// Where `key` is, or where it would be.
    #[inline]
    pub(super) fn find<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        self.entries
            .binary_search_by(|entry| entry.key.borrow().cmp(key))
    }

    /// How many keys come before those that `from` lets in.
    pub(super) fn start<Q: Ord + ?Sized>(&self, from: Bound<&Q>) -> usize
    where
        K: Borrow<Q>,
    {
        match from {
            Bound::Unbounded => 0,
            Bound::Included(key) => self.find(key).unwrap_or_else(|at| at),
            Bound::Excluded(key) => self.find(key).map_or_else(|at| at, |at| at + 1),
        }
    }

    /// How many keys come before the first that `to` does not let in.
    pub(super) fn end<Q: Ord + ?Sized>(&self, to: Bound<&Q>) -> usize
    where
        K: Borrow<Q>,
    {
        match to {
            Bound::Unbounded => self.entries.len(),
            Bound::Included(key) => self.find(key).map_or_else(|at| at, |at| at + 1),
            Bound::Excluded(key) => self.find(key).unwrap_or_else(|at| at),
        }
    }

    /// Puts an entry where `find` said; what was there comes back.
    pub(super) fn put(
        &mut self,
        at: Result<usize, usize>,
        entry: Entry<K, C>,
    ) -> Option<Entry<K, C>> {
        let objects = entry.content.objects();
        match at {
            Ok(at) => {
                let old = std::mem::replace(&mut self.entries[at], entry);
                recount(&mut self.objects, old.content.objects(), objects);
                Some(old)
            }
            Err(at) => {
                self.objects += objects;
                self.entries.insert(at, entry);
                None
            }
        }
    }

    pub(super) fn take(&mut self, at: usize) -> Entry<K, C> {
        let entry = self.entries.remove(at);
        self.objects -= entry.content.objects();
        entry
    }

    pub(super) fn remove(&mut self, at: usize) -> Removed<K, C> {
        let entry = self.take(at);
        Removed {
            key: Some(entry.key),
            content: entry.content,
            expires: entry.expires,
        }
    }

    pub(super) fn expire(&mut self, at: usize, expires: u64) {
        self.entries[at].expires = expires;
    }

    /// Puts other content under the key at `at`; what was there comes back.
    pub(super) fn replace(&mut self, at: usize, content: C, expires: u64) -> C {
        let entry = &mut self.entries[at];
        entry.expires = expires;
        let old = std::mem::replace(&mut entry.content, content);
        recount(&mut self.objects, old.objects(), entry.content.objects());
        old
    }

    /// Changes a content in place.
    pub(super) fn alter<R>(&mut self, at: usize, change: impl FnOnce(&mut C) -> R) -> R {
        counted(&mut self.entries[at].content, &mut self.objects, change)
    }

    /// Takes out all.
    pub(super) fn clear(&mut self) -> Vec<Entry<K, C>> {
        self.objects = 0;
        std::mem::take(&mut self.entries)
    }

    /// Moves what is at `at` and behind into an empty one.
    pub(super) fn split_into(&mut self, at: usize, empty: &mut Self) {
        empty.entries = self.entries.split_off(at);
        let moved = empty.entries.iter().map(|entry| entry.content.objects());
        empty.objects = moved.sum();
        self.objects -= empty.objects;
    }

    /// Moves all into the one before it.
    pub(super) fn join_to(&mut self, before: &mut Self) {
        before.entries.append(&mut self.entries);
        before.objects += std::mem::take(&mut self.objects);
        self.entries = Vec::new();
    }

    /// Puts in entries of keys that are not there, ascending, with the places where `find` said they would
    /// be.
    pub(super) fn put_all(&mut self, new: Vec<(usize, Entry<K, C>)>) {
        let Some((first, _)) = new.first() else {
            return;
        };
        let behind = self.entries.split_off(*first);
        let mut at = *first;
        self.entries.reserve(behind.len() + new.len());
        let mut behind = behind.into_iter();
        for (place, entry) in new {
            self.entries.extend(behind.by_ref().take(place - at));
            at = place;
            self.objects += entry.content.objects();
            self.entries.push(entry);
        }
        self.entries.extend(behind);
    }

    /// Invariants 1 and 2.
    #[cfg(test)]
    pub(super) fn check(&self)
    where
        K: Ord,
    {
        assert!(self.entries.is_sorted_by(|a, b| a.key < b.key));
        let objects = self.entries.iter().map(|entry| entry.content.objects());
        assert_eq!(objects.sum::<usize>(), self.objects);
    }
}
