//! Several objects at once, and how that is taken back.
//!
//! Their keys are sorted first, so that equal ones are known; each key has one place, in a leaf that is locked.
//! Until the closure has returned, entries of new keys are kept apart, and only those of keys that were there
//! are changed in the leaves: so no place moves, and there is little to take back.

use super::super::{Batch, Batched, Bin, Content, Entry, Item, Terms};
use super::directory::Route;
use super::{Locked, OrderedStore};

/// See [`Batch`].
pub(crate) struct OrderedBatch<'a, K, C: Content> {
    objects: &'a mut Vec<Option<Entry<K, C>>>,
    /// The place of each object.
    places: &'a [usize],
    /// In the order of their keys.
    spots: Vec<BatchSpot>,
    /// The entries of keys that were not there, in the same order.
    new: &'a mut Vec<Option<Entry<K, C>>>,
    /// In the order of their numbers.
    leaves: Vec<Locked<'a, K, C>>,
    now: u64,
    undo: &'a mut Vec<Undo<K, C>>,
    bin: &'a mut Bin<K, C>,
    done: bool,
}

/// The place of one key.
#[derive(Clone, Copy)]
struct BatchSpot {
    /// In `leaves`.
    leaf: usize,
    at: Result<usize, usize>,
}

/// How to take back a step at the entry `at` of a leaf.
struct Undo<K, C> {
    leaf: usize,
    at: usize,
    step: Step<K, C>,
}

enum Step<K, C> {
    /// What was there before. If it is not taken back, this is what left the store.
    Put(Entry<K, C>),
    /// How many objects there were before, and their time.
    Joined(usize, u64),
}

impl<K: Ord + Clone + 'static, C: Content> OrderedStore<K, C> {
    pub(super) fn do_batch<T: Terms, R>(
        &self,
        terms: &T,
        objects: Vec<Entry<K, C>>,
        work: impl FnOnce(&mut OrderedBatch<'_, K, C>) -> R,
    ) -> Result<Batched<R, K, C>, T::Refusal> {
        let mut order: Vec<usize> = (0..objects.len()).collect();
        order.sort_by(|a, b| objects[*a].key.cmp(&objects[*b].key));
        // The object that each place is for, and the place of each object.
        let mut firsts: Vec<usize> = Vec::new();
        let mut places = vec![0; objects.len()];
        for i in order {
            let is_new = |first: &usize| objects[*first].key != objects[i].key;
            if firsts.last().is_none_or(is_new) {
                firsts.push(i);
            }
            places[i] = firsts.len() - 1;
        }
        let mut objects: Vec<_> = objects.into_iter().map(Some).collect();
        let mut new: Vec<_> = firsts.iter().map(|_| None).collect();
        let mut undo = Vec::with_capacity(objects.len());
        let (mut bin, mut lows) = (Bin::default(), Vec::new());
        let done = {
            let _within = self.rank.enter()?;
            let keys = || {
                let firsts = firsts.iter().map(|first| objects[*first].as_ref());
                firsts.flatten().map(|entry| &entry.key)
            };
            let (routes, leaves) = loop {
                let routes: Vec<Route> = keys().map(|key| self.directory.locate(key)).collect();
                if let Some(leaves) = self.lock_all(terms, &routes)? {
                    break (routes, leaves);
                }
            };
            let mut spots = Vec::with_capacity(routes.len());
            for (key, route) in keys().zip(&routes) {
                let leaf = leaves.partition_point(|locked| locked.number < route.leaf);
                let at = leaves[leaf].leaf.find(key);
                spots.push(BatchSpot { leaf, at });
            }
            let mut batch = OrderedBatch {
                objects: &mut objects,
                places: &places,
                spots,
                new: &mut new,
                leaves,
                now: terms.now(),
                undo: &mut undo,
                bin: &mut bin,
                done: false,
            };
            let done = work(&mut batch);
            batch.commit();
            let mut leaves = std::mem::take(&mut batch.leaves);
            drop(batch);
            for locked in &mut leaves {
                self.settle(locked, &mut lows);
            }
            done
        };
        Ok((done, objects.into_iter().flatten().collect()))
    }

    /// Locks leaves in the order of their numbers, as long as all are what they were.
    fn lock_all<T: Terms>(
        &self,
        terms: &T,
        routes: &[Route],
    ) -> Result<Option<Vec<Locked<'_, K, C>>>, T::Refusal> {
        let mut routes = routes.to_vec();
        routes.sort_unstable_by_key(|route| (route.leaf, route.version));
        routes.dedup();
        let mut leaves: Vec<Locked<'_, K, C>> = Vec::with_capacity(routes.len());
        for route in routes {
            // Of two versions of one leaf one is out of date, and to lock it twice would be a deadlock.
            if leaves.last().is_some_and(|last| last.number == route.leaf) {
                return Ok(None);
            }
            let locked = self.lock(route.leaf);
            if locked.leaf.version != route.version {
                return Ok(None);
            }
            terms.admit()?;
            leaves.push(locked);
        }
        Ok(Some(leaves))
    }
}

impl<K, C: Content> OrderedBatch<'_, K, C> {
    fn lives(&self, spot: BatchSpot) -> Option<Item<'_, K, C>> {
        let entry = self.leaves[spot.leaf].leaf.get(spot.at.ok()?)?;
        (self.now < entry.expires).then_some(entry)
    }

    fn put(&mut self, i: usize) {
        let place = self.places[i];
        let BatchSpot { leaf, at } = self.spots[place];
        let Some(entry) = self.objects[i].take() else {
            return;
        };
        match at {
            Err(_) => self.bin.entries(self.new[place].replace(entry)),
            Ok(at) => {
                if let Some(old) = self.leaves[leaf].leaf.put(Ok(at), entry) {
                    let step = Step::Put(old);
                    self.undo.push(Undo { leaf, at, step });
                }
            }
        }
    }

    /// Puts the new entries in.
    fn commit(&mut self) {
        let mut ready: Vec<_> = self.leaves.iter().map(|_| Vec::new()).collect();
        for (spot, new) in self.spots.iter().zip(&mut *self.new) {
            if let (Err(at), Some(entry)) = (spot.at, new.take()) {
                ready[spot.leaf].push((at, entry));
            }
        }
        for (locked, ready) in self.leaves.iter_mut().zip(ready) {
            locked.leaf.put_all(ready);
        }
        self.done = true;
    }
}

impl<K, C: Content> Batch<K, C> for OrderedBatch<'_, K, C> {
    fn len(&self) -> usize {
        self.objects.len()
    }

    fn object(&self, i: usize) -> Option<&Entry<K, C>> {
        self.objects.get(i)?.as_ref()
    }

    fn entry(&self, i: usize) -> Option<Item<'_, K, C>> {
        self.object(i)?;
        let place = self.places[i];
        let new = self.new[place].as_ref().map(Entry::item);
        new.or_else(|| self.lives(self.spots[place]))
    }

    fn insert(&mut self, i: usize) {
        if self.object(i).is_some() {
            self.put(i);
        }
    }

    fn merge(&mut self, i: usize, join: impl FnOnce(&mut C, C) -> Option<C>) {
        let before = self
            .entry(i)
            .map(|entry| (entry.content.objects(), entry.expires));
        let Some((objects, expires)) = before else {
            return self.insert(i);
        };
        let Some(entry) = self.objects[i].take() else {
            return;
        };
        // The key is there already.
        self.bin.keys([entry.key]);
        let place = self.places[i];
        let BatchSpot { leaf, at } = self.spots[place];
        let rest = match (&mut self.new[place], at) {
            (Some(new), _) => {
                new.expires = entry.expires;
                join(&mut new.content, entry.content)
            }
            (None, Ok(at)) => {
                let step = Step::Joined(objects, expires);
                self.undo.push(Undo { leaf, at, step });
                let leaf = &mut self.leaves[leaf].leaf;
                leaf.expire(at, entry.expires);
                leaf.alter(at, |content| join(content, entry.content))
            }
            (None, Err(_)) => Some(entry.content),
        };
        self.bin.contents(rest);
    }
}

impl<K, C: Content> Drop for OrderedBatch<'_, K, C> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        while let Some(Undo { leaf, at, step }) = self.undo.pop() {
            let leaf = &mut self.leaves[leaf].leaf;
            match step {
                Step::Put(old) => self.bin.entries(leaf.put(Ok(at), old)),
                Step::Joined(objects, expires) => {
                    leaf.expire(at, expires);
                    let added = leaf.alter(at, |content| content.split_off(objects));
                    self.bin.contents(added);
                }
            }
        }
    }
}
