//! The entries of a cache, without a process: by key, in the order of their last use, and by their
//! deadline.
//!
//! ```text
//!   index: key ─▶ place          slots: [ a │ b │ - │ c ]      newest ─▶ c ⇄ a ⇄ b ◀─ oldest
//!   deadlines: (time, place), only of entries that expire
//! ```
//! To look up, to use, to add without a deadline and to evict the least recently used take constant
//! time; to add with a deadline and to remove what has expired, logarithmic time each.
//!
//! The time is asked for only where something may expire: a clock costs as much as a look-up.
//!
//! # Invariants
//! 1. `index` holds exactly the keys of the used slots; all of these are in the list of use, once.
//! 2. `deadlines` holds exactly the used slots with a deadline.
//! 3. What has expired is never seen from outside, whether or not it has been removed yet.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

/// No place.
const NONE: usize = usize::MAX;

struct Entry<K, V> {
    key: K,
    value: V,
    deadline: Option<Duration>,
    newer: usize,
    older: usize,
}

pub(super) struct Store<K, V> {
    index: HashMap<K, usize>,
    slots: Vec<Option<Entry<K, V>>>,
    free: Vec<usize>,
    newest: usize,
    oldest: usize,
    deadlines: BTreeSet<(Duration, usize)>,
    max: usize,
    pub(super) counts: Counts,
}

/// What happened since the last `clear`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) evictions: u64,
    pub(super) expirations: u64,
}

impl<K: Clone + Eq + Hash, V: Clone> Store<K, V> {
    /// For at most `max` entries.
    pub(super) fn new(max: usize) -> Self {
        Store {
            index: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            newest: NONE,
            oldest: NONE,
            deadlines: BTreeSet::new(),
            max,
            counts: Counts::default(),
        }
    }

    /// A clone of the value, which counts as a hit and as a use; or a miss.
    pub(super) fn get(&mut self, key: &K, now: impl FnOnce() -> Duration) -> Option<V> {
        match self.live(key, now) {
            Some(place) => {
                self.counts.hits += 1;
                self.unlink(place);
                self.link(place);
                self.slots[place].as_ref().map(|entry| entry.value.clone())
            }
            None => {
                self.counts.misses += 1;
                None
            }
        }
    }

    /// Whether there is a value. Neither a hit nor a use.
    pub(super) fn has(&mut self, key: &K, now: impl FnOnce() -> Duration) -> bool {
        self.live(key, now).is_some()
    }

    /// Puts a value in, as the newest, to expire at `deadline`. A new key that makes one too many
    /// first ends all that have expired, then the least recently used.
    pub(super) fn set(
        &mut self,
        key: K,
        value: V,
        deadline: Option<Duration>,
        now: impl FnOnce() -> Duration,
    ) {
        if let Some(&place) = self.index.get(&key) {
            if let Some(entry) = &mut self.slots[place] {
                let old = std::mem::replace(&mut entry.deadline, deadline);
                entry.value = value;
                if let Some(old) = old {
                    self.deadlines.remove(&(old, place));
                }
            }
            self.unlink(place);
            self.link(place);
            self.due(place, deadline);
            return;
        }
        if self.index.len() >= self.max && !self.deadlines.is_empty() {
            self.prune(now());
        }
        let entry = Entry {
            key: key.clone(),
            value,
            deadline,
            newer: NONE,
            older: NONE,
        };
        let place = match self.free.pop() {
            Some(place) => {
                self.slots[place] = Some(entry);
                place
            }
            None => {
                self.slots.push(Some(entry));
                self.slots.len() - 1
            }
        };
        self.index.insert(key, place);
        self.link(place);
        self.due(place, deadline);
        while self.index.len() > self.max {
            self.counts.evictions += 1;
            self.take(self.oldest);
        }
    }

    /// Removes an entry; whether there was a value.
    pub(super) fn remove(&mut self, key: &K, now: impl FnOnce() -> Duration) -> bool {
        match self.live(key, now) {
            Some(place) => {
                self.take(place);
                true
            }
            None => false,
        }
    }

    /// Removes all entries and begins to count anew.
    pub(super) fn clear(&mut self) {
        *self = Store::new(self.max);
    }

    /// Removes what has expired; how many.
    pub(super) fn prune(&mut self, now: Duration) -> usize {
        let mut pruned = 0;
        while let Some(&(deadline, place)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            self.take(place);
            pruned += 1;
        }
        self.counts.expirations += pruned as u64;
        pruned
    }

    /// How many entries there are, expired ones included: prune first.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// The keys, the most recently used first: prune first.
    pub(super) fn keys(&self) -> Vec<K> {
        let mut keys = Vec::with_capacity(self.index.len());
        let mut place = self.newest;
        while let Some(entry) = self.slots.get(place).and_then(Option::as_ref) {
            keys.push(entry.key.clone());
            place = entry.older;
        }
        keys
    }

    /// When the next entry expires.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The place of a key whose value has not expired (invariant 3). One that has is removed.
    fn live(&mut self, key: &K, now: impl FnOnce() -> Duration) -> Option<usize> {
        let place = *self.index.get(key)?;
        let deadline = self.slots[place].as_ref().and_then(|entry| entry.deadline);
        if deadline.is_some_and(|deadline| deadline <= now()) {
            self.counts.expirations += 1;
            self.take(place);
            return None;
        }
        Some(place)
    }

    fn due(&mut self, place: usize, deadline: Option<Duration>) {
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, place));
        }
    }

    /// Empties a place.
    fn take(&mut self, place: usize) {
        self.unlink(place);
        let Some(entry) = self.slots.get_mut(place).and_then(Option::take) else {
            return;
        };
        self.free.push(place);
        self.index.remove(&entry.key);
        if let Some(deadline) = entry.deadline {
            self.deadlines.remove(&(deadline, place));
        }
    }

    /// Puts a place that is not in the list at its new end.
    fn link(&mut self, place: usize) {
        let second = std::mem::replace(&mut self.newest, place);
        if let Some(entry) = &mut self.slots[place] {
            entry.newer = NONE;
            entry.older = second;
        }
        match self.slots.get_mut(second) {
            Some(Some(entry)) => entry.newer = place,
            _ => self.oldest = place,
        }
    }

    /// Takes a place out of the list.
    fn unlink(&mut self, place: usize) {
        let Some(Some(entry)) = self.slots.get(place) else {
            return;
        };
        let (newer, older) = (entry.newer, entry.older);
        match self.slots.get_mut(newer) {
            Some(Some(entry)) => entry.older = older,
            _ => self.newest = older,
        }
        match self.slots.get_mut(older) {
            Some(Some(entry)) => entry.newer = newer,
            _ => self.oldest = newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn store(max: usize, keys: &[u32]) -> Store<u32, u32> {
        let mut store = Store::new(max);
        for key in keys {
            store.set(*key, key * 10, None, || Duration::ZERO);
        }
        store
    }

    #[test]
    fn the_least_recently_used_is_evicted() {
        let mut store = store(3, &[1, 2, 3]);
        assert_eq!(store.get(&1, || Duration::ZERO), Some(10));
        store.set(4, 40, None, || Duration::ZERO);
        assert_eq!(store.keys(), [4, 1, 3]);
        assert_eq!(store.counts.evictions, 1);
    }

    #[test]
    fn to_look_whether_it_is_there_is_no_use() {
        let mut store = store(2, &[1, 2]);
        assert!(store.has(&1, || Duration::ZERO));
        store.set(3, 30, None, || Duration::ZERO);
        assert_eq!(store.keys(), [3, 2]);
        assert_eq!((store.counts.hits, store.counts.misses), (0, 0));
    }

    #[test]
    fn a_new_value_for_a_key_evicts_nothing_and_is_a_use() {
        let mut store = store(2, &[1, 2]);
        store.set(1, 11, None, || Duration::ZERO);
        assert_eq!(store.keys(), [1, 2]);
        assert_eq!(store.counts.evictions, 0);
        assert_eq!(store.get(&1, || Duration::ZERO), Some(11));
    }

    #[test]
    fn what_has_expired_goes_before_what_was_least_recently_used() {
        let mut store = store(3, &[1]);
        store.set(2, 20, Some(SECOND), || Duration::ZERO);
        store.set(3, 30, Some(2 * SECOND), || Duration::ZERO);
        store.set(4, 40, None, || SECOND);
        assert_eq!(store.keys(), [4, 3, 1]);
        assert_eq!((store.counts.evictions, store.counts.expirations), (0, 1));
    }

    #[test]
    fn an_entry_expires_at_its_deadline() {
        let mut store = store(9, &[]);
        store.set(1, 10, Some(2 * SECOND), || SECOND);
        assert_eq!(
            store.get(&1, || 2 * SECOND - Duration::from_nanos(1)),
            Some(10)
        );
        assert_eq!(store.get(&1, || 2 * SECOND), None);
        assert_eq!(store.len(), 0);
        assert!(!store.remove(&1, || 2 * SECOND));
        assert_eq!(store.next_deadline(), None);
    }

    #[test]
    fn a_new_deadline_replaces_the_old_one() {
        let mut store = store(9, &[]);
        store.set(1, 10, Some(SECOND), || Duration::ZERO);
        store.set(1, 11, Some(3 * SECOND), || Duration::ZERO);
        assert_eq!(store.prune(2 * SECOND), 0);
        store.set(1, 12, None, || Duration::ZERO);
        assert_eq!(store.prune(9 * SECOND), 0);
        assert_eq!(store.get(&1, || 9 * SECOND), Some(12));
    }

    #[test]
    fn a_store_for_nothing_keeps_nothing() {
        let mut store = store(0, &[1, 2]);
        assert_eq!(store.len(), 0);
        assert_eq!(store.get(&2, || Duration::ZERO), None);
    }

    /// Against a list that is looked through from one end to the other.
    #[test]
    fn it_does_what_a_plain_list_does() {
        let mut seed = 1_u64;
        let mut random = move |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        for max in [1, 2, 5] {
            let mut store = Store::new(max);
            // The newest first: key, value, deadline.
            let mut list: Vec<(u64, u64, Option<Duration>)> = Vec::new();
            for step in 0..4_000_u64 {
                let now = Duration::from_secs(step / 4);
                let key = random(8);
                list.retain(|(_, _, at)| at.is_none_or(|at| at > now));
                let place = list.iter().position(|(k, _, _)| *k == key);
                match random(5) {
                    0 | 1 => {
                        let at = (random(2) == 0).then(|| now + random(6) as u32 * SECOND);
                        store.set(key, step, at, || now);
                        if let Some(place) = place {
                            list.remove(place);
                        }
                        list.insert(0, (key, step, at));
                        list.truncate(max);
                        // One that expired the moment it was made still took its place.
                    }
                    2 => {
                        let expected = place.map(|place| {
                            let entry = list.remove(place);
                            list.insert(0, entry);
                            entry.1
                        });
                        assert_eq!(store.get(&key, || now), expected, "step {step}");
                    }
                    3 => {
                        assert_eq!(store.remove(&key, || now), place.is_some());
                        if let Some(place) = place {
                            list.remove(place);
                        }
                    }
                    _ => assert_eq!(store.has(&key, || now), place.is_some()),
                }
                list.retain(|(_, _, at)| at.is_none_or(|at| at > now));
                store.prune(now);
                assert_eq!(store.keys(), list.iter().map(|e| e.0).collect::<Vec<_>>());
                let dated = list.iter().filter(|e| e.2.is_some()).count();
                assert_eq!((store.len(), store.deadlines.len()), (list.len(), dated));
            }
        }
    }
}
