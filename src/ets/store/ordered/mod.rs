//! The store of ordered sets: leaves of some hundred entries in the order of their keys, each behind a lock
//! of its own, and a [directory] that says which leaf a key belongs to.
//!
//! ```text
//!                     low:       "f"       "m"       "t"
//!   directory     route 0 ─┐  1 ─┐     2 ─┐      3 ─┐
//!                          ▼     ▼        ▼         ▼
//!   leaves             a b c    f h    m n p r     t x
//! ```
//!
//! An operation asks the directory for the leaf, gives up the directory's lock, and takes the leaf's. In
//! between the leaf may have been split or joined with another; so the directory tells its version as well,
//! and when that is not the leaf's any more, it is asked again. A leaf that has grown above [`MOST`] is split
//! in half by whoever let it grow; one that has shrunk below an eighth of that is joined with a neighbour if
//! both together are small. Each is done under the locks of all leaves concerned.
//!
//! # Invariants
//! 1. A leaf in the directory holds the entries of the keys from its low on and below the next leaf's.
//! 2. That range, or whether the leaf is in the directory, changes only under the leaf's lock, and its version
//!    with it; until all of the directory knows, the lock is kept. So who holds the lock of a leaf whose
//!    version is that of its route has the right leaf, and need not ask a third time.
//! 3. Whoever waits for a leaf's lock holds no lock of the directory, and of leaves only those with lesser
//!    numbers, whose versions it has compared; or it is to be a new leaf, in which nobody stays: who comes to it
//!    by an old route sees the version and leaves. The lock of the pool comes before those of leaves: who
//!    holds one of a leaf only tries for it, and otherwise leaves the change of shape to the next.
//! 4. A leaf that is not in the directory is empty, and its number is in the pool.

use std::borrow::Borrow;
use std::ops::{Bound, ControlFlow};

mod arena;
mod batch;
mod directory;
mod leaf;
mod seek;

pub(crate) use batch::OrderedBatch;
pub(crate) use seek::Seek;

use super::nesting::{Nested, Rank};
use super::{
    Batched, Bin, Cleared, Content, Entry, Find, Item, Part, Place, Removed, SLICE, Sliced, Spot,
    Store, Swept, Terms,
};
use crate::sync::atomic::AtomicIsize;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::{CachePadded, Mutex, RwLockReadGuard, RwLockWriteGuard};
use arena::Arena;
use directory::{Directory, Route};
use leaf::Leaf;

/// The most entries of a leaf.
const MOST: usize = 512;

/// See the module.
pub(crate) struct OrderedStore<K, C> {
    directory: Directory<K>,
    arena: Arena<K, C>,
    pool: Mutex<Pool>,
    /// What can be told without a lock, as each group of threads has changed it.
    tallies: Box<[CachePadded<Tally>]>,
    /// The most entries of a leaf, but for those that could not be split yet.
    most: usize,
    rank: Rank,
}

/// Changes of the numbers of objects and leaves, and of the bytes that leaves take.
#[derive(Default)]
struct Tally {
    objects: AtomicIsize,
    memory: AtomicIsize,
    leaves: AtomicIsize,
}

impl Tally {
    fn add(to: &AtomicIsize, before: usize, after: usize) {
        if before != after {
            to.fetch_add(after.wrapping_sub(before) as isize, Relaxed);
        }
    }
}

/// Leaves that are not in use. Whoever holds it may change which leaves there are.
#[derive(Default)]
struct Pool {
    free: Vec<u32>,
    made: u32,
}

impl Pool {
    fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.made += 1;
            self.made - 1
        })
    }
}

/// A leaf locked for writing, and verified.
struct Locked<'a, K, C: Content> {
    leaf: RwLockWriteGuard<'a, Leaf<K, C>>,
    number: u32,
    /// Its entries when it was locked.
    entries: usize,
    /// Its objects and its memory, as far as they have been counted.
    counted: (usize, usize),
    tally: &'a Tally,
}

impl<K, C: Content> Locked<'_, K, C> {
    fn route(&self) -> Route {
        Route {
            leaf: self.number,
            version: self.leaf.version,
        }
    }

    fn count(&mut self) {
        let (objects, memory) = (self.leaf.objects(), self.leaf.memory());
        Tally::add(&self.tally.objects, self.counted.0, objects);
        Tally::add(&self.tally.memory, self.counted.1, memory);
        self.counted = (objects, memory);
    }

    /// Objects have been moved from or to this leaf: what both leaves took before, and take now.
    fn moved(&mut self, before: usize, after: usize) {
        Tally::add(&self.tally.memory, before, after);
        self.counted = (self.leaf.objects(), self.leaf.memory());
    }
}

impl<K, C: Content> Drop for Locked<'_, K, C> {
    fn drop(&mut self) {
        self.count();
    }
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
    fn entry(&self) -> Option<Item<'_, K, C>> {
        self.leaf.get(self.found()?)
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
        self.bin.entries(old);
        None
    }
}

/// Which slice of a range comes next: from where, and probably in which leaf.
type NextSlice<K> = (Bound<K>, Option<Route>);

fn borrowed<K: Borrow<Q>, Q: ?Sized>(bound: &Bound<K>) -> Bound<&Q> {
    bound.as_ref().map(Borrow::borrow)
}

impl<K: Ord + Clone + 'static, C: Content> OrderedStore<K, C> {
    pub(super) fn with_leaves_of(most: usize) -> Self {
        let mut pool = Pool::default();
        let only = Route {
            leaf: pool.take(),
            version: 0,
        };
        OrderedStore {
            directory: Directory::new(only),
            arena: Arena::new(),
            pool: Mutex::new(pool),
            tallies: (0..directory::lanes())
                .map(|_| CachePadded(Tally::default()))
                .collect(),
            most,
            rank: Rank::next(),
        }
    }

    fn sum(&self, of: fn(&Tally) -> &AtomicIsize) -> usize {
        let each = self.tallies.iter().map(|tally| of(tally).load(Relaxed));
        // One was read before and one after something moved between them.
        usize::try_from(each.sum::<isize>()).unwrap_or(0)
    }

    fn lock(&self, number: u32) -> Locked<'_, K, C> {
        let leaf = self.arena.get(number).write();
        Locked {
            number,
            entries: leaf.len(),
            counted: (leaf.objects(), leaf.memory()),
            tally: &self.tallies[directory::thread() & (self.tallies.len() - 1)],
            leaf,
        }
    }

    /// The leaf of `key`, locked for writing.
    fn leaf_of<Q: Ord + ?Sized>(&self, key: &Q) -> Locked<'_, K, C>
    where
        K: Borrow<Q>,
    {
        loop {
            let route = self.directory.locate(key);
            let locked = self.lock(route.leaf);
            if locked.leaf.version == route.version {
                return locked;
            }
        }
    }

    /// The leaf of a route, locked for reading, if it is the same still.
    fn read_route(&self, route: Route) -> Option<RwLockReadGuard<'_, Leaf<K, C>>> {
        let leaf = self.arena.get(route.leaf).read();
        (leaf.version == route.version).then_some(leaf)
    }

    /// Splits the leaf or joins it with another if its size asks for it.
    /// What is to be dropped when the lock is free goes to `lows`.
    fn settle(&self, locked: &mut Locked<'_, K, C>, lows: &mut Vec<K>) {
        let entries = locked.leaf.len();
        if entries > self.most {
            self.split(locked, lows);
        } else if entries < self.most / 8 && entries < locked.entries {
            self.join(locked, lows);
        }
    }

    /// Moves entries from the end of the leaf into new ones until it is not too large.
    fn split(&self, locked: &mut Locked<'_, K, C>, lows: &mut Vec<K>) {
        let Some(mut pool) = self.pool.try_lock() else {
            return;
        };
        locked.count();
        while locked.leaf.len() > self.most {
            // What runs code of the keys comes first. Clones lie outside, as the next may panic.
            let here = locked.route();
            let Some(place) = self.directory.find(locked.leaf.low.as_ref(), &[here]) else {
                return;
            };
            let at = locked.leaf.len() - self.most / 2;
            for _ in 0..=self.directory.lanes() {
                lows.push(locked.leaf.key(at).clone());
            }
            let number = pool.take();
            // Nobody stays in there.
            let mut new = self.arena.get(number).write();
            new.version = new.version.wrapping_add(1);
            new.low = lows.pop();
            let to_new = Route {
                leaf: number,
                version: new.version,
            };
            self.directory
                .split(place, here.next(), lows.drain(..), to_new);
            locked.leaf.version = here.next().version;
            let before = locked.leaf.memory() + new.memory();
            locked.leaf.move_to(at, &mut new);
            locked.moved(before, locked.leaf.memory() + new.memory());
            locked.tally.leaves.fetch_add(1, Relaxed);
        }
    }

    /// Joins the leaf with the one after it or before it, if they may and nobody is at that one.
    fn join(&self, locked: &mut Locked<'_, K, C>, lows: &mut Vec<K>) {
        let Some(mut pool) = self.pool.try_lock() else {
            return;
        };
        locked.count();
        let ours = locked.leaf.len();
        let fits = |theirs: usize| ours == 0 || theirs == 0 || ours + theirs <= self.most / 2;
        let here = locked.route();
        let low = locked.leaf.low.as_ref();
        let after = self.directory.some_after(low, 1).pop();
        let before = self.directory.some_before(low, 1).pop();
        for (there, is_after) in [(after, true), (before, false)] {
            let Some(there) = there else {
                continue;
            };
            let Some(mut other) = self.arena.get(there.leaf).try_write() else {
                continue;
            };
            if !fits(other.len()) {
                continue;
            }
            let (routes, first, second) = match is_after {
                true => ([here, there], &mut *locked.leaf, &mut *other),
                false => ([there, here], &mut *other, &mut *locked.leaf),
            };
            let Some(place) = self.directory.find(first.low.as_ref(), &routes) else {
                return;
            };
            let [stays, goes] = routes.map(Route::next);
            self.directory.join(place, stays, lows);
            first.version = stays.version;
            second.version = goes.version;
            let before = first.memory() + second.memory();
            second.move_to(0, first);
            let after = first.memory() + second.memory();
            lows.extend(second.low.take());
            pool.free.push(goes.leaf);
            locked.moved(before, after);
            locked.tally.leaves.fetch_sub(1, Relaxed);
            return;
        }
    }

    fn place<R>(
        &self,
        locked: &mut Locked<'_, K, C>,
        terms: &impl Terms,
        at: Result<usize, usize>,
        (bin, lows): (&mut Bin<K, C>, &mut Vec<K>),
        work: impl FnOnce(OrderedSpot<'_, K, C>) -> R,
    ) -> R {
        let entry = at.ok().and_then(|at| locked.leaf.get(at));
        let lives = entry.is_some_and(|entry| entry.lives(terms));
        let done = work(OrderedSpot {
            at,
            lives,
            leaf: &mut locked.leaf,
            bin,
        });
        self.settle(locked, lows);
        done
    }

    /// Visits the entries between two bounds, upwards, until `visit` breaks; whether it did. A lock is held
    /// for at most [`SLICE`] of them at a time.
    ///
    /// The bounds may be the wrong way round: then nothing is between them.
    pub(crate) fn range<T: Terms, Q: Ord + ?Sized>(
        &self,
        terms: &T,
        (from, to): (Bound<&Q>, Bound<&Q>),
        mut visit: impl FnMut(Item<'_, K, C>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, T::Refusal>
    where
        K: Borrow<Q>,
    {
        let mut next: Option<NextSlice<K>> = None;
        loop {
            let after: NextSlice<K> = {
                let from = next.as_ref().map_or(from, |(from, _)| borrowed(from));
                let _within = self.rank.enter()?;
                let hint = next.as_ref().and_then(|(_, hint)| *hint);
                let route = hint.unwrap_or_else(|| match from {
                    Bound::Unbounded => self.directory.first(),
                    Bound::Included(key) | Bound::Excluded(key) => self.directory.locate(key),
                });
                let Some(leaf) = self.read_route(route) else {
                    if let Some((_, hint)) = &mut next {
                        *hint = None;
                    }
                    continue;
                };
                terms.admit()?;
                let (start, end) = (leaf.start(from), leaf.end(to));
                let end_of_slice = end.min(start.saturating_add(SLICE));
                for entry in leaf.items(start..end_of_slice) {
                    if entry.lives(terms) && visit(entry).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                if end_of_slice < end {
                    let last = leaf.key(end_of_slice - 1).clone();
                    (Bound::Excluded(last), Some(route))
                } else if end < leaf.len() {
                    return Ok(ControlFlow::Continue(()));
                } else {
                    match self.directory.after(leaf.low.as_ref()) {
                        Some((low, route)) => (Bound::Included(low), Some(route)),
                        None => return Ok(ControlFlow::Continue(())),
                    }
                }
            };
            // Here, where no lock is held, the one before is dropped.
            next = Some(after);
        }
    }

    /// As [`range`](Self::range), downwards.
    pub(crate) fn range_back<T: Terms, Q: Ord + ?Sized>(
        &self,
        terms: &T,
        (from, to): (Bound<&Q>, Bound<&Q>),
        mut visit: impl FnMut(Item<'_, K, C>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, T::Refusal>
    where
        K: Borrow<Q>,
    {
        let mut next: Option<NextSlice<K>> = None;
        loop {
            let after: NextSlice<K> = {
                let to = next.as_ref().map_or(to, |(to, _)| borrowed(to));
                let _within = self.rank.enter()?;
                let hint = next.as_ref().and_then(|(_, hint)| *hint);
                let route = hint.unwrap_or_else(|| match to {
                    Bound::Unbounded => self.directory.last(),
                    Bound::Included(key) | Bound::Excluded(key) => self.directory.locate(key),
                });
                let Some(leaf) = self.read_route(route) else {
                    if let Some((_, hint)) = &mut next {
                        *hint = None;
                    }
                    continue;
                };
                terms.admit()?;
                let (start, end) = (leaf.start(from), leaf.end(to));
                let start_of_slice = start.max(end.saturating_sub(SLICE));
                for entry in leaf.items(start_of_slice..end).rev() {
                    if entry.lives(terms) && visit(entry).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                if start_of_slice > start {
                    let last = leaf.key(start_of_slice).clone();
                    (Bound::Excluded(last), Some(route))
                } else if start > 0 {
                    return Ok(ControlFlow::Continue(()));
                } else {
                    let low = leaf.low.as_ref();
                    match self.directory.some_before(low, 1).pop().zip(low) {
                        Some((route, low)) => (Bound::Excluded(low.clone()), Some(route)),
                        None => return Ok(ControlFlow::Continue(())),
                    }
                }
            };
            next = Some(after);
        }
    }

    /// Calls `visit` for up to [`SLICE`] entries from `from` on, under one lock. Where to go on, and whether
    /// to.
    fn slice<T: Terms>(
        &self,
        terms: &T,
        from: &Bound<K>,
        visit: &mut impl FnMut(&mut OrderedSpot<'_, K, C>) -> ControlFlow<()>,
        expired_too: bool,
    ) -> Result<Sliced<Bound<K>>, T::Refusal> {
        let (mut bin, mut lows) = (Bin::default(), Vec::new());
        let _within = self.rank.enter()?;
        let mut locked = loop {
            let route = match from {
                Bound::Unbounded => self.directory.first(),
                Bound::Included(key) | Bound::Excluded(key) => self.directory.locate(key),
            };
            let locked = self.lock(route.leaf);
            if locked.leaf.version == route.version {
                break locked;
            }
        };
        terms.admit()?;
        let leaf = &mut *locked.leaf;
        let mut at = leaf.start(from.as_ref());
        let mut flow = ControlFlow::Continue(());
        for _ in 0..SLICE {
            let Some(entry) = leaf.get(at) else {
                break;
            };
            if !expired_too && !entry.lives(terms) {
                at += 1;
                continue;
            }
            let mut spot = OrderedSpot {
                at: Ok(at),
                lives: true,
                leaf,
                bin: &mut bin,
            };
            flow = visit(&mut spot);
            at = spot.at.map_or_else(|removed| removed, |kept| kept + 1);
            if flow.is_break() {
                break;
            }
        }
        let next = if at < leaf.len() || flow.is_break() {
            // Behind the last that was visited and stays.
            let last = at.checked_sub(1).map(|last| leaf.key(last).clone());
            Some(last.map_or_else(|| from.clone(), Bound::Excluded))
        } else {
            let after = self.directory.after(leaf.low.as_ref());
            after.map(|(low, _)| Bound::Included(low))
        };
        self.settle(&mut locked, &mut lows);
        Ok(match (flow, next) {
            (ControlFlow::Continue(()), Some(next)) => ControlFlow::Continue(next),
            (_, next) => ControlFlow::Break(next),
        })
    }

    #[cfg(test)]
    pub(super) fn check(&self)
    where
        K: std::fmt::Debug,
    {
        let pool = self.pool.lock();
        let routes = self.directory.check();
        let (mut objects, mut memory) = (0, 0);
        for (i, (low, route)) in routes.iter().enumerate() {
            let leaf = self.arena.get(route.leaf).read();
            assert_eq!(leaf.version, route.version);
            assert!(leaf.low == *low);
            leaf.check();
            objects += leaf.objects();
            memory += leaf.memory();
            let keys = || (0..leaf.len()).map(|at| leaf.key(at));
            assert!(low.as_ref().is_none_or(|low| keys().all(|key| key >= low)));
            let high = routes.get(i + 1).and_then(|(low, _)| low.as_ref());
            assert!(high.is_none_or(|high| keys().all(|key| key < high)));
        }
        for number in &pool.free {
            let leaf = self.arena.get(*number).read();
            assert!(leaf.memory() == 0 && leaf.low.is_none());
            assert!(routes.iter().all(|(_, route)| route.leaf != *number));
        }
        assert_eq!(routes.len() + pool.free.len(), pool.made as usize);
        assert_eq!((self.len(), self.parts()), (objects, routes.len()));
        assert_eq!(self.sum(|tally| &tally.memory), memory);
    }
}

impl<K: Ord + Clone + 'static, C: Content> Store<K, C> for OrderedStore<K, C> {
    /// From which key on.
    type Cursor = Bound<K>;
    type Spot<'a> = OrderedSpot<'a, K, C>;
    type Batch<'a> = OrderedBatch<'a, K, C>;

    fn new() -> Self {
        Self::with_leaves_of(MOST)
    }

    fn len(&self) -> usize {
        self.sum(|tally| &tally.objects)
    }

    fn memory(&self) -> usize {
        let fixed = size_of::<Self>() + size_of_val(&*self.tallies) + self.arena.memory();
        fixed + self.directory.memory(self.parts()) + self.sum(|tally| &tally.memory)
    }

    fn parts(&self) -> usize {
        1 + self.sum(|tally| &tally.leaves)
    }

    fn enter<T: Terms, R>(
        &self,
        terms: &T,
        key: K,
        work: impl FnOnce(&mut Place<'_, K, OrderedSpot<'_, K, C>>) -> R,
    ) -> Result<R, T::Refusal> {
        let (mut bin, mut lows) = (Bin::default(), Vec::new());
        let mut slot = None;
        let key = slot.insert(key);
        let _within = self.rank.enter()?;
        let mut locked = self.leaf_of(key);
        terms.admit()?;
        let at = locked.leaf.find(key);
        Ok(
            self.place(&mut locked, terms, at, (&mut bin, &mut lows), |spot| {
                work(&mut Place {
                    spot,
                    key: &mut slot,
                })
            }),
        )
    }

    fn batch<T: Terms, R>(
        &self,
        terms: &T,
        objects: Vec<Entry<K, C>>,
        work: impl FnOnce(&mut OrderedBatch<'_, K, C>) -> R,
    ) -> Result<Batched<R, K, C>, T::Refusal> {
        self.do_batch(terms, objects, work)
    }

    fn scan<T: Terms>(
        &self,
        terms: &T,
        from: Option<&Bound<K>>,
        mut visit: impl FnMut(Item<'_, K, C>) -> ControlFlow<()>,
    ) -> Result<Option<Bound<K>>, T::Refusal> {
        let mut end = None;
        let from = from.map_or(Bound::Unbounded, Bound::as_ref);
        let _broke = self.range(terms, (from, Bound::Unbounded), |entry| {
            let flow = visit(entry);
            if flow.is_break() {
                end = Some(Bound::Excluded(entry.key.clone()));
            }
            flow
        })?;
        Ok(end)
    }

    fn edit<T: Terms>(
        &self,
        terms: &T,
        from: Option<&Bound<K>>,
        mut visit: impl FnMut(&mut OrderedSpot<'_, K, C>) -> ControlFlow<()>,
    ) -> Result<Option<Bound<K>>, T::Refusal> {
        let mut next = from.cloned().unwrap_or(Bound::Unbounded);
        loop {
            match self.slice(terms, &next, &mut visit, false)? {
                ControlFlow::Continue(after) => next = after,
                ControlFlow::Break(end) => return Ok(end),
            }
        }
    }

    fn sweep<T: Terms>(
        &self,
        terms: &T,
        from: Option<&Bound<K>>,
        slices: usize,
        swept: &mut Swept<K, C>,
    ) -> Result<Option<Bound<K>>, T::Refusal> {
        let mut next = from.cloned().unwrap_or(Bound::Unbounded);
        for _ in 0..slices {
            let mut visit = |spot: &mut OrderedSpot<'_, K, C>| {
                swept.visit(spot, terms);
                ControlFlow::Continue(())
            };
            match self.slice(terms, &next, &mut visit, true)? {
                ControlFlow::Continue(after) => next = after,
                ControlFlow::Break(end) => return Ok(end),
            }
        }
        Ok(Some(next))
    }

    fn clear<T: Terms>(&self, terms: &T) -> Result<Cleared<K, C>, T::Refusal> {
        let mut lows = Vec::new();
        let _within = self.rank.enter()?;
        // While it is held no leaf comes or goes, so no version changes.
        let mut pool = self.pool.lock();
        let mut routes = self.directory.all();
        routes.sort_unstable_by_key(|route| route.leaf);
        let mut leaves = Vec::with_capacity(routes.len());
        for route in routes {
            leaves.push(self.lock(route.leaf));
            terms.admit()?;
        }
        let objects = leaves.iter().map(|locked| locked.leaf.objects()).sum();
        let mut parts = Vec::with_capacity(leaves.len());
        let mut only = None;
        for locked in &mut leaves {
            let (keys, contents) = locked.leaf.clear();
            parts.push(Part::Columns(keys, contents));
            locked.leaf.version = locked.leaf.version.wrapping_add(1);
            lows.extend(locked.leaf.low.take());
            match only {
                None => only = Some(locked.route()),
                Some(_) => {
                    pool.free.push(locked.number);
                    locked.tally.leaves.fetch_sub(1, Relaxed);
                }
            }
        }
        if let Some(only) = only {
            self.directory.clear(only, &mut lows);
        }
        Ok(Cleared { parts, objects })
    }

    /// A traversal goes on from any key, so there is nothing to do.
    fn fix(&self) {}

    fn unfix(&self) -> Result<(), Nested> {
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
        look: impl FnOnce(Option<Item<'_, K, C>>) -> R,
    ) -> Result<R, T::Refusal> {
        let _within = self.rank.enter()?;
        let leaf = loop {
            if let Some(leaf) = self.read_route(self.directory.locate(key)) {
                break leaf;
            }
        };
        terms.admit()?;
        let entry = leaf.find(key).ok().and_then(|at| leaf.get(at));
        Ok(look(entry.filter(|entry| entry.lives(terms))))
    }

    fn write<T: Terms, R>(
        &self,
        terms: &T,
        key: &Q,
        work: impl FnOnce(&mut OrderedSpot<'_, K, C>) -> R,
    ) -> Result<R, T::Refusal> {
        let (mut bin, mut lows) = (Bin::default(), Vec::new());
        let _within = self.rank.enter()?;
        let mut locked = self.leaf_of(key);
        terms.admit()?;
        let at = locked.leaf.find(key);
        Ok(
            self.place(&mut locked, terms, at, (&mut bin, &mut lows), |mut spot| {
                work(&mut spot)
            }),
        )
    }

    /// From the key that comes before, if `key` itself is not there.
    fn after<T: Terms>(&self, terms: &T, key: &Q) -> Result<Option<Bound<K>>, T::Refusal> {
        self.seek(terms, Seek::AtOrBefore(key), |entry| {
            let key = entry.map(|entry| entry.key.clone());
            Some(key.map_or(Bound::Unbounded, Bound::Excluded))
        })
    }
}
