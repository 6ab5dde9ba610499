//! The stores through their interface.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::nesting::Nested;
use super::*;

/// The terms of these tests: a clock set by hand, and a door that can be shut.
#[derive(Default)]
pub(super) struct Open {
    pub(super) now: Cell<u64>,
    pub(super) asked: Cell<usize>,
    pub(super) shut: Cell<bool>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Nested,
    Shut,
}

impl From<Nested> for Refused {
    fn from(_: Nested) -> Self {
        Refused::Nested
    }
}

impl Terms for Open {
    type Refusal = Refused;
    fn admit(&self) -> Result<(), Refused> {
        match self.shut.get() {
            true => Err(Refused::Shut),
            false => Ok(()),
        }
    }
    fn now(&self) -> u64 {
        self.asked.set(self.asked.get() + 1);
        self.now.get()
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

fn entry<K, V>(key: K, value: V) -> Entry<K, One<V>> {
    Entry {
        key,
        content: One(value),
        expires: NEVER,
    }
}

/// A trait for both kinds of sets of these tests.
trait Set: Store<u64, One<u64>> + Find<u64, One<u64>, u64> {
    fn check(&self);
}

impl Set for HashStore<u64, One<u64>> {
    fn check(&self) {
        HashStore::check(self);
    }
}

impl Set for OrderedStore<u64, One<u64>> {
    fn check(&self) {
        OrderedStore::check(self);
    }
}

fn all<K: Clone + 'static, C: Content + Clone>(
    store: &impl Store<K, C>,
    open: &Open,
) -> Vec<Entry<K, C>> {
    let mut seen = Vec::new();
    let end = store.scan(open, None, |entry| {
        seen.push(entry.clone());
        ControlFlow::Continue(())
    });
    assert!(matches!(end, Ok(None)));
    seen
}

/// One store after random operations, and its model.
fn agrees_with_a_model(store: impl Set, seed: u64) {
    let open = Open::default();
    let mut model: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    let mut random = Random(seed | 1);
    let keys = 1 + random.below(700);
    let lives = |open: &Open, expires: u64| open.now.get() < expires;
    for step in 0..3_000 {
        let key = random.below(keys);
        let expires = match random.below(4) {
            0 => open.now.get() + 1 + random.below(50),
            _ => NEVER,
        };
        open.now.set(open.now.get() + random.below(2));
        let there = model.get(&key).copied();
        let there = there.filter(|(_, expires)| lives(&open, *expires));
        match random.below(10) {
            0..4 => {
                let old = store.enter(&open, key, |place| place.insert(One(step), expires));
                let old = old.unwrap().map(|old| (old.content.0, old.expires));
                assert_eq!(old, there);
                model.insert(key, (step, expires));
            }
            4 => {
                let old = store.write(&open, &key, |spot| spot.remove()).unwrap();
                let old = old.map(|old| (old.content.0, old.expires));
                assert_eq!(old, there);
                if old.is_some() {
                    model.remove(&key);
                }
            }
            5 => {
                let added = store.write(&open, &key, |spot| spot.alter(|value| value.0 += 1));
                assert_eq!(added.unwrap().is_some(), there.is_some());
                if let (Some(_), Some((value, _))) = (there, model.get_mut(&key)) {
                    *value += 1;
                }
            }
            6 => {
                let done = store.write(&open, &key, |spot| spot.replace(One(step), expires));
                assert_eq!(done.unwrap().ok(), there.map(|(value, _)| One(value)));
                if there.is_some() {
                    model.insert(key, (step, expires));
                }
            }
            7 => {
                let batch = (0..random.below(6)).map(|_| random.below(keys));
                let batch: Vec<_> = batch.map(|key| entry(key, step)).collect();
                let taken: Vec<_> = batch.iter().map(|entry| entry.key).collect();
                let new_only = random.below(2) == 0;
                let (done, left) = store
                    .batch(&open, batch, |batch| {
                        if new_only && (0..batch.len()).any(|i| batch.entry(i).is_some()) {
                            return false;
                        }
                        (0..batch.len()).for_each(|i| batch.insert(i));
                        true
                    })
                    .unwrap();
                let there = |key: &u64| model.get(key).is_some_and(|e| lives(&open, e.1));
                assert_eq!(done, !(new_only && taken.iter().any(there)));
                match done {
                    true => model.extend(taken.into_iter().map(|key| (key, (step, NEVER)))),
                    false => assert_eq!(left.len(), taken.len()),
                }
            }
            8 => {
                let mut swept = Swept::default();
                let end = store.sweep(&open, None, 10_000, &mut swept);
                assert!(matches!(end, Ok(None)));
                let before = model.len();
                model.retain(|_, (_, expires)| lives(&open, *expires));
                assert_eq!(before - swept.removed.len(), model.len());
                let soonest = model.values().map(|(_, expires)| *expires).min();
                assert_eq!(swept.soonest, soonest.unwrap_or(NEVER));
            }
            _ => {
                let value = store.read(&open, &key, |entry| entry.map(|entry| entry.content.0));
                assert_eq!(value.unwrap(), there.map(|(value, _)| value));
            }
        }
        assert_eq!(store.len(), model.len());
        if step % 100 == 0 {
            store.check();
            let mut seen: Vec<_> = all(&store, &open).into_iter().map(|e| e.key).collect();
            seen.sort_unstable();
            let there = model.iter().filter(|(_, e)| lives(&open, e.1));
            assert_eq!(seen, there.map(|(key, _)| *key).collect::<Vec<_>>());
        }
    }
    let cleared = store.clear(&open);
    assert_eq!(cleared.map(|cleared| cleared.objects()), Ok(model.len()));
    assert_eq!((store.len(), all(&store, &open)), (0, Vec::new()));
    store.check();
}

#[test]
fn a_hash_store_agrees_with_a_map() {
    (1..30).for_each(|seed| agrees_with_a_model(HashStore::new(), seed));
}

#[test]
fn an_ordered_store_agrees_with_a_map() {
    (1..30).for_each(|seed| agrees_with_a_model(OrderedStore::new(), seed));
}

#[test]
fn an_ordered_store_of_small_leaves_agrees_with_a_map() {
    for seed in 1..60 {
        agrees_with_a_model(OrderedStore::with_leaves_of(2 + seed as usize % 20), seed);
    }
}
