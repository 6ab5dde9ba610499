//! One leaf of an ordered store: entries in the order of their keys, a column for the keys and others for the
//! rest.
//!
//! # Invariants
//! 1. The keys ascend, and no two are equal. The columns are equally long.
//! 2. The entries and `more` are the sum over the objects of the contents, also when a closure that changes one panics.
//! 3. Code of users runs in the searches (their `Ord`) and in the closures given to `alter`, with nothing
//!    half done. What is taken out is returned, never dropped here.

use std::borrow::Borrow;
use std::ops::{Bound, Range};

use super::super::times::Times;
use super::super::{Content, Entry, Item, Removed, counted, recount};

#[derive(Debug)]
#[repr(C)]
pub(super) struct Leaf<K, C> {
    /// Changes whenever the range of keys does that belongs here.
    pub(super) version: u32,
    /// By themselves, as a search looks at nothing else.
    keys: Vec<K>,
    contents: Vec<C>,
    times: Times,
    /// How many more objects there are than entries, which a write in the place of another seldom changes;
    /// less than none if a closure that panicked has left a content empty.
    more: usize,
    /// Where that range begins, except for the first leaf and those not in use.
    pub(super) low: Option<K>,
}

impl<K, C> Default for Leaf<K, C> {
    fn default() -> Self {
        Leaf {
            version: 0,
            keys: Vec::new(),
            contents: Vec::new(),
            times: Times::default(),
            more: 0,
            low: None,
        }
    }
}

impl<K, C: Content> Leaf<K, C> {
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn key(&self, at: usize) -> &K {
        &self.keys[at]
    }

    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<Item<'_, K, C>> {
        Some(Item {
            key: self.keys.get(at)?,
            content: &self.contents[at],
            expires: self.times.get(at),
        })
    }

    /// The entries of some places.
    pub(super) fn items(
        &self,
        places: Range<usize>,
    ) -> impl DoubleEndedIterator<Item = Item<'_, K, C>> {
        places.filter_map(|at| self.get(at))
    }

    pub(super) fn objects(&self) -> usize {
        self.keys.len().wrapping_add(self.more)
    }

    pub(super) fn memory(&self) -> usize {
        self.keys.capacity() * size_of::<K>()
            + self.contents.capacity() * size_of::<C>()
            + self.times.memory()
            + self.objects() * C::EACH
    }

    /// Where `key` is, or where it would be.
    #[inline]
    pub(super) fn find<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        self.keys.binary_search_by(|other| other.borrow().cmp(key))
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
            Bound::Unbounded => self.keys.len(),
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
        let Entry {
            key,
            content,
            expires,
        } = entry;
        match at {
            Ok(at) => Some(Entry {
                key: std::mem::replace(&mut self.keys[at], key),
                expires: self.times.get(at),
                content: self.replace(at, content, expires),
            }),
            Err(at) => {
                recount(&mut self.more, 1, content.objects());
                self.keys.insert(at, key);
                self.contents.insert(at, content);
                self.times.insert(at, expires, self.keys.len());
                None
            }
        }
    }

    pub(super) fn remove(&mut self, at: usize) -> Removed<K, C> {
        let content = self.contents.remove(at);
        recount(&mut self.more, content.objects(), 1);
        Removed {
            key: Some(self.keys.remove(at)),
            content,
            expires: self.times.remove(at),
        }
    }

    pub(super) fn expire(&mut self, at: usize, expires: u64) {
        self.times.set(at, expires, self.keys.len());
    }

    /// Puts other content under the key at `at`; what was there comes back.
    pub(super) fn replace(&mut self, at: usize, content: C, expires: u64) -> C {
        self.expire(at, expires);
        let new = content.objects();
        let old = std::mem::replace(&mut self.contents[at], content);
        recount(&mut self.more, old.objects(), new);
        old
    }

    /// Changes a content in place.
    pub(super) fn alter<R>(&mut self, at: usize, change: impl FnOnce(&mut C) -> R) -> R {
        counted(&mut self.contents[at], &mut self.more, change)
    }

    /// Takes out all.
    pub(super) fn clear(&mut self) -> (Vec<K>, Vec<C>) {
        self.more = 0;
        self.times = Times::default();
        (
            std::mem::take(&mut self.keys),
            std::mem::take(&mut self.contents),
        )
    }

    /// Moves what is at `at` and behind to the end of another.
    pub(super) fn move_to(&mut self, at: usize, to: &mut Self) {
        let moved = self.contents[at..].iter().map(Content::objects);
        let more = moved.sum::<usize>().wrapping_sub(self.keys.len() - at);
        self.more = self.more.wrapping_sub(more);
        to.more = to.more.wrapping_add(more);
        self.times.move_to(at, &mut to.times, to.keys.len());
        to.keys.extend(self.keys.drain(at..));
        to.contents.extend(self.contents.drain(at..));
        to.times.fill(to.keys.len());
        // Not more room than a leaf fills again.
        self.keys.shrink_to(2 * at);
        self.contents.shrink_to(2 * at);
        if at == 0 {
            self.times = Times::default();
        }
    }

    /// Puts in entries of keys that are not there, with the places where `find` said they would be.
    pub(super) fn put_all(&mut self, mut new: Vec<(usize, Entry<K, C>)>) {
        // They are sorted, unless the order of the keys is none.
        new.sort_by_key(|(at, _)| *at);
        let Some((first, _)) = new.first() else {
            return;
        };
        let mut behind = Leaf::default();
        self.move_to(*first, &mut behind);
        let (more, mut moved) = (behind.keys.len() + new.len(), 0);
        self.keys.reserve_exact(more);
        self.contents.reserve_exact(more);
        let times = behind.times;
        let mut behind = behind.keys.into_iter().zip(behind.contents);
        let mut at = *first;
        for (place, entry) in new {
            for (key, content) in behind.by_ref().take(place - at) {
                self.push(key, content, times.get(moved));
                moved += 1;
            }
            at = place;
            self.push(entry.key, entry.content, entry.expires);
        }
        for (key, content) in behind {
            self.push(key, content, times.get(moved));
            moved += 1;
        }
    }

    fn push(&mut self, key: K, content: C, expires: u64) {
        recount(&mut self.more, 1, content.objects());
        self.keys.push(key);
        self.contents.push(content);
        self.expire(self.keys.len() - 1, expires);
    }

    /// The invariants.
    #[cfg(test)]
    pub(super) fn check(&self)
    where
        K: Ord,
    {
        assert!(self.keys.is_sorted_by(|a, b| a < b));
        assert_eq!(self.keys.len(), self.contents.len());
        self.times.check(self.keys.len());
        let objects = self.contents.iter().map(Content::objects);
        assert_eq!(objects.sum::<usize>(), self.objects());
    }
}
