//! The store of ordered sets.

use std::borrow::Borrow;
use std::ops::{Bound, ControlFlow};

use super::leaf::Leaf;
use super::nesting::{Nested, Rank};
use super::{
    Batch, Batched, Bin, Cleared, Content, Entry, Find, Part, Place, Removed, SLICE, Spot, Store,
    Swept, Terms,
};
use crate::sync::RwLock;
use crate::sync::atomic::AtomicUsize;
use crate::sync::atomic::Ordering::Relaxed;

/// See the module.
pub(crate) struct OrderedStore<K, C> {
    leaf: RwLock<Leaf<K, C>>,
    rank: Rank,
    fixed: AtomicUsize,
}

/// Which key is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seek<'q, Q: ?Sized> {
    /// The least.
    First,
    /// The greatest.
    Last,
    /// The least that is greater than this.
    After(&'q Q),
    /// The greatest that is less than this.
    Before(&'q Q),
    /// The least that is not less than this.
    AtOrAfter(&'q Q),
    /// The greatest that is not greater than this.
    AtOrBefore(&'q Q),
}

/// See [`Spot`].
pub(crate) struct OrderedSpot<'a, K, C> {
    leaf: &'a mut Leaf<K, C>,
    at: Result<usize, usize>,
    /// What is at `at` is there.
    lives: bool,
    bin: &'a mut Bin<K, C>,
}

impl<K, C> OrderedSpot<'_, K, C> {
    fn found(&self) -> Option<usize> {
        self.at.ok().filter(|_| self.lives)
    }
}

impl<K, C: Content> Spot<K, C> for OrderedSpot<'_, K, C> {
    fn entry(&self) -> Option<&Entry<K, C>> {
        self.leaf.entries().get(self.found()?)
    }

    fn alter<R>(&mut self, change: impl FnOnce(&mut C) -> R) -> Option<R> {
        let at = self.found()?;
        Some(self.leaf.alter(at, change))
    }

    fn expire(&mut self, expires: u64) -> bool {
        if let Some(at) = self.found() {
            self.leaf.expire(at, expires);
        }
        self.lives
    }

    fn replace(&mut self, content: C, expires: u64) -> Result<C, C> {
        match self.found() {
            Some(at) => Ok(self.leaf.replace(at, content, expires)),
            None => Err(content),
        }
    }

    fn remove(&mut self) -> Option<Removed<K, C>> {
        let at = self.found()?;
        (self.at, self.lives) = (Err(at), false);
        Some(self.leaf.remove(at))
    }

    fn put(&mut self, entry: Entry<K, C>) -> Option<Entry<K, C>> {
        let old = self.leaf.put(self.at, entry);
        let lived = std::mem::replace(&mut self.lives, true);
        self.at = self.at.or_else(Ok);
        if lived {
            return old;
        }
        self.bin.entries.extend(old);
        None
    }
}

impl<K: Ord + Clone + 'static, C: Content> OrderedStore<K, C> {
    fn at<T: Terms, Q: Ord + ?Sized, R>(
        &self,
        terms: &T,
        key: &Q,
        work: impl FnOnce(OrderedSpot<'_, K, C>) -> R,
    ) -> Result<R, T::Refusal>
    where
        K: Borrow<Q>,
    {
        let mut bin = Bin::default();
        let _within = self.rank.enter()?;
        let mut leaf = self.leaf.write();
        terms.admit()?;
        let at = leaf.find(key);
        Ok(work(OrderedSpot {
            at,
            lives: at.is_ok_and(|at| leaf.entries()[at].lives(terms)),
            leaf: &mut leaf,
            bin: &mut bin,
        }))
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        self.leaf.read().check();
    }

    /// Looks at the entry of the key that is sought.
    pub(crate) fn seek<T: Terms, Q: Ord + ?Sized, R>(
        &self,
        terms: &T,
        seek: Seek<'_, Q>,
        look: impl FnOnce(Option<&Entry<K, C>>) -> R,
    ) -> Result<R, T::Refusal>
    where
        K: Borrow<Q>,
    {
        let _within = self.rank.enter()?;
        let leaf = self.leaf.read();
        terms.admit()?;
        let lives = |entry: &&Entry<K, C>| entry.lives(terms);
        let entries = leaf.entries();
        let up = |from| entries[from..].iter().find(lives);
        let down = |to| entries[..to].iter().rev().find(lives);
        let entry = match seek {
            Seek::First => up(0),
            Seek::Last => down(entries.len()),
            Seek::After(key) => up(leaf.start(Bound::Excluded(key))),
            Seek::AtOrAfter(key) => up(leaf.start(Bound::Included(key))),
            Seek::Before(key) => down(leaf.end(Bound::Excluded(key))),
            Seek::AtOrBefore(key) => down(leaf.end(Bound::Included(key))),
        };
        Ok(look(entry))
    }

    /// Visits the entries between two bounds, upwards, until `visit` breaks; whether it did. A lock is held
    /// for at most [`SLICE`] of them at a time.
    ///
    /// The bounds may be the wrong way round: then nothing is between them.
    pub(crate) fn range<T: Terms, Q: Ord + ?Sized>(
        &self,
        terms: &T,
        (from, to): (Bound<&Q>, Bound<&Q>),
        mut visit: impl FnMut(&Entry<K, C>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, T::Refusal>
    where
        K: Borrow<Q>,
    {
        let mut came_to: Option<K> = None;
        loop {
            let _within = self.rank.enter()?;
            let leaf = self.leaf.read();
            terms.admit()?;
            let start = match &came_to {
                Some(key) => leaf.start::<Q>(Bound::Excluded(key.borrow())),
                None => leaf.start(from),
            };
            let end = leaf.end(to);
            let slice = &leaf.entries()[start.min(end)..end];
            let now = &slice[..slice.len().min(SLICE)];
            for entry in now {
                if entry.lives(terms) && visit(entry).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            match now.last() {
                Some(last) if now.len() < slice.len() => came_to = Some(last.key.clone()),
                _ => return Ok(ControlFlow::Continue(())),
            }
        }
    }

    /// As [`range`](Self::range), downwards.
    pub(crate) fn range_back<T: Terms, Q: Ord + ?Sized>(
        &self,
        terms: &T,
        (from, to): (Bound<&Q>, Bound<&Q>),
        mut visit: impl FnMut(&Entry<K, C>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, T::Refusal>
    where
        K: Borrow<Q>,
    {
        let mut came_to: Option<K> = None;
        loop {
            let _within = self.rank.enter()?;
            let leaf = self.leaf.read();
            terms.admit()?;
            let start = leaf.start(from);
            let end = match &came_to {
                Some(key) => leaf.end::<Q>(Bound::Excluded(key.borrow())),
                None => leaf.end(to),
            };
            let slice = &leaf.entries()[start.min(end)..end];
            let now = &slice[slice.len() - slice.len().min(SLICE)..];
            for entry in now.iter().rev() {
                if entry.lives(terms) && visit(entry).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            match now.first() {
                Some(last) if now.len() < slice.len() => came_to = Some(last.key.clone()),
                _ => return Ok(ControlFlow::Continue(())),
            }
        }
    }

    /// Calls `visit` for up to [`SLICE`] entries after `from`, under one lock. Where to go on, and whether
    /// to.
    fn slice<T: Terms>(
        &self,
        terms: &T,
        from: Option<&K>,
        visit: &mut impl FnMut(&mut OrderedSpot<'_, K, C>) -> ControlFlow<()>,
        expired_too: bool,
    ) -> Result<ControlFlow<Option<K>, K>, T::Refusal> {
        let mut bin = Bin::default();
        let _within = self.rank.enter()?;
        let mut leaf = self.leaf.write();
        terms.admit()?;
        let mut at = leaf.start(from.map_or(Bound::Unbounded, Bound::Excluded));
        for count in 1.. {
            let Some(entry) = leaf.entries().get(at) else {
                break;
            };
            let lives = expired_too || entry.lives(terms);
            // Before the visit, which may remove it. Which is the last is not known.
            let key = entry.key.clone();
            let mut spot = OrderedSpot {
                at: Ok(at),
                lives,
                leaf: &mut leaf,
                bin: &mut bin,
            };
            let broke = lives && visit(&mut spot).is_break();
            at = spot.at.map_or_else(|at| at, |at| at + 1);
            if broke {
                return Ok(ControlFlow::Break(Some(key)));
            }
            if count == SLICE {
                return Ok(ControlFlow::Continue(key));
            }
            bin.keys.push(key);
        }
        Ok(ControlFlow::Break(None))
    }
}

impl<K: Ord + Clone + 'static, C: Content> Store<K, C> for OrderedStore<K, C> {
    /// The key that the traversal has come to.
    type Cursor = K;
    type Spot<'a> = OrderedSpot<'a, K, C>;
    type Batch<'a> = OrderedBatch<'a, K, C>;

    fn new() -> Self {
        OrderedStore {
            leaf: RwLock::default(),
            rank: Rank::next(),
            fixed: AtomicUsize::new(0),
        }
    }

    fn len(&self) -> usize {
        self.leaf.read().objects()
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + self.leaf.read().memory()
    }

    fn parts(&self) -> usize {
        1
    }

    fn enter<T: Terms, R>(
        &self,
        terms: &T,
        key: K,
        work: impl FnOnce(&mut Place<'_, K, OrderedSpot<'_, K, C>>) -> R,
    ) -> Result<R, T::Refusal> {
        let mut key = Some(key);
        let mut bin = Bin::default();
        let _within = self.rank.enter()?;
        let mut leaf = self.leaf.write();
        terms.admit()?;
        let at = key.as_ref().map_or(Err(0), |key| leaf.find(key));
        let spot = OrderedSpot {
            at,
            lives: at.is_ok_and(|at| leaf.entries()[at].lives(terms)),
            leaf: &mut leaf,
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
        work: impl FnOnce(&mut OrderedBatch<'_, K, C>) -> R,
    ) -> Result<Batched<R, K, C>, T::Refusal> {
        let mut objects: Vec<_> = objects.into_iter().map(Some).collect();
        let mut undo = Vec::with_capacity(objects.len());
        let mut bin = Bin::default();
        let done = {
            let _within = self.rank.enter()?;
            let mut leaf = self.leaf.write();
            terms.admit()?;
            let mut batch = OrderedBatch {
                leaf: &mut leaf,
                objects: &mut objects,
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
        from: Option<&K>,
        mut visit: impl FnMut(&Entry<K, C>) -> ControlFlow<()>,
    ) -> Result<Option<K>, T::Refusal> {
        let mut end = None;
        let from = from.map_or(Bound::Unbounded, Bound::Excluded);
        let _broke = self.range(terms, (from, Bound::Unbounded), |entry| {
            let flow = visit(entry);
            if flow.is_break() {
                end = Some(entry.key.clone());
            }
            flow
        })?;
        Ok(end)
    }

    fn edit<T: Terms>(
        &self,
        terms: &T,
        from: Option<&K>,
        mut visit: impl FnMut(&mut OrderedSpot<'_, K, C>) -> ControlFlow<()>,
    ) -> Result<Option<K>, T::Refusal> {
        let mut next = from.cloned();
        loop {
            match self.slice(terms, next.as_ref(), &mut visit, false)? {
                ControlFlow::Continue(came_to) => next = Some(came_to),
                ControlFlow::Break(end) => return Ok(end),
            }
        }
    }

    fn sweep<T: Terms>(
        &self,
        terms: &T,
        from: Option<&K>,
        slices: usize,
        swept: &mut Swept<K, C>,
    ) -> Result<Option<K>, T::Refusal> {
        let mut next = from.cloned();
        for _ in 0..slices {
            let mut visit = |spot: &mut OrderedSpot<'_, K, C>| {
                swept.visit(spot, terms);
                ControlFlow::Continue(())
            };
            match self.slice(terms, next.as_ref(), &mut visit, true)? {
                ControlFlow::Continue(came_to) => next = Some(came_to),
                ControlFlow::Break(end) => return Ok(end),
            }
        }
        Ok(next)
    }

    fn clear<T: Terms>(&self, terms: &T) -> Result<Cleared<K, C>, T::Refusal> {
        let _within = self.rank.enter()?;
        let mut leaf = self.leaf.write();
        terms.admit()?;
        let objects = leaf.objects();
        let parts = vec![Part::Entries(leaf.clear())];
        Ok(Cleared { parts, objects })
    }

    /// Only counted: a traversal goes on from any key.
    fn fix(&self) {
        self.fixed.fetch_add(1, Relaxed);
    }

    fn unfix(&self) -> Result<(), Nested> {
        self.fixed.fetch_sub(1, Relaxed);
        Ok(())
    }
}

impl<K: Ord + Clone + Borrow<Q> + 'static, C: Content, Q: Ord + ?Sized> Find<K, C, Q>
    for OrderedStore<K, C>
{
    fn read<T: Terms, R>(
        &self,
        terms: &T,
        key: &Q,
        look: impl FnOnce(Option<&Entry<K, C>>) -> R,
    ) -> Result<R, T::Refusal> {
        let _within = self.rank.enter()?;
        let leaf = self.leaf.read();
        terms.admit()?;
        let entry = leaf.find(key).ok().map(|at| &leaf.entries()[at]);
        Ok(look(entry.filter(|entry| entry.lives(terms))))
    }

    fn write<T: Terms, R>(
        &self,
        terms: &T,
        key: &Q,
        work: impl FnOnce(&mut OrderedSpot<'_, K, C>) -> R,
    ) -> Result<R, T::Refusal> {
        self.at(terms, key, |mut spot| work(&mut spot))
    }

    /// From the key that comes before, if `key` itself is not there.
    fn after<T: Terms>(&self, terms: &T, key: &Q) -> Result<Option<K>, T::Refusal> {
        self.seek(terms, Seek::AtOrBefore(key), |entry| {
            entry.map(|entry| entry.key.clone())
        })
    }
}

/// See [`Batch`].
pub(crate) struct OrderedBatch<'a, K, C: Content> {
    leaf: &'a mut Leaf<K, C>,
    objects: &'a mut Vec<Option<Entry<K, C>>>,
    now: u64,
    undo: &'a mut Vec<Undo<K, C>>,
    bin: &'a mut Bin<K, C>,
    done: bool,
}

/// How to take back a step at a place, as the places are after the step.
enum Undo<K, C> {
    /// What was there before. If it is not taken back, this is what left the store.
    Put(usize, Option<Entry<K, C>>),
    /// How many objects there were before, and their time.
    Joined(usize, usize, u64),
}

impl<K: Ord, C: Content> OrderedBatch<'_, K, C> {
    fn find(&self, i: usize) -> Option<Result<usize, usize>> {
        let key = &self.objects.get(i)?.as_ref()?.key;
        Some(self.leaf.find(key))
    }

    fn lives(&self, at: Result<usize, usize>) -> Option<&Entry<K, C>> {
        let entry = &self.leaf.entries()[at.ok()?];
        (self.now < entry.expires).then_some(entry)
    }

    fn put(&mut self, i: usize, at: Result<usize, usize>) {
        if let Some(entry) = self.objects[i].take() {
            let old = self.leaf.put(at, entry);
            self.undo.push(Undo::Put(at.unwrap_or_else(|at| at), old));
        }
    }
}

impl<K: Ord, C: Content> Batch<K, C> for OrderedBatch<'_, K, C> {
    fn len(&self) -> usize {
        self.objects.len()
    }

    fn object(&self, i: usize) -> Option<&Entry<K, C>> {
        self.objects.get(i)?.as_ref()
    }

    fn entry(&self, i: usize) -> Option<&Entry<K, C>> {
        self.lives(self.find(i)?)
    }

    fn insert(&mut self, i: usize) {
        if let Some(at) = self.find(i) {
            self.put(i, at);
        }
    }

    fn merge(&mut self, i: usize, join: impl FnOnce(&mut C, C) -> Option<C>) {
        let Some(place) = self.find(i) else {
            return;
        };
        let before = self
            .lives(place)
            .map(|entry| (entry.content.objects(), entry.expires));
        let (Some((objects, expires)), Ok(at)) = (before, place) else {
            return self.put(i, place);
        };
        let Some(entry) = self.objects[i].take() else {
            return;
        };
        self.undo.push(Undo::Joined(at, objects, expires));
        // The key is there already.
        self.bin.keys.push(entry.key);
        self.leaf.expire(at, entry.expires);
        let rest = self.leaf.alter(at, |content| join(content, entry.content));
        self.bin.contents.extend(rest);
    }
}

impl<K, C: Content> Drop for OrderedBatch<'_, K, C> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Put(at, Some(old)) => {
                    self.bin.entries.extend(self.leaf.put(Ok(at), old));
                }
                Undo::Put(at, None) => self.bin.entries.push(self.leaf.take(at)),
                Undo::Joined(at, objects, expires) => {
                    self.leaf.expire(at, expires);
                    let added = self.leaf.alter(at, |content| content.split_off(objects));
                    self.bin.contents.extend(added);
                }
            }
        }
    }
}
