//! Traversals, while the store changes between their steps.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::*;

fn put(store: &impl Store<u64, One<u64>>, open: &Open, key: u64) {
    let old = store.enter(open, key, |place| place.insert(One(key), NEVER));
    assert!(old.is_ok());
}

fn remove(store: &impl Find<u64, One<u64>, u64>, open: &Open, key: u64) {
    assert!(store.write(open, &key, |spot| spot.remove()).is_ok());
}

/// What a traversal meets that rests after each `step` entries; `meanwhile` is done at each rest.
fn in_steps<S: Store<u64, One<u64>>>(
    store: &S,
    open: &Open,
    step: usize,
    mut meanwhile: impl FnMut(),
) -> Vec<u64> {
    let mut seen = Vec::new();
    let mut from = None;
    loop {
        let rest = seen.len() + step;
        let more = store.scan(open, from.as_ref(), |entry| {
            seen.push(*entry.key);
            match seen.len() == rest {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        meanwhile();
        match more.unwrap() {
            None => return seen,
            more => from = more,
        }
    }
}

/// Even keys stay, odd ones come and go.
fn meets_what_stays_once(store: impl Checked<u64, One<u64>>, seed: u64) -> Vec<u64> {
    let open = Open::default();
    let mut random = Random::new(seed);
    (0..400).for_each(|key| put(&store, &open, 2 * key));
    let step = 1 + random.below(20) as usize;
    let seen = in_steps(&store, &open, step, || {
        for _ in 0..random.below(30) {
            let odd = 2 * random.below(400) + 1;
            match random.below(3) {
                0 => remove(&store, &open, odd),
                1 => put(&store, &open, odd),
                _ => put(&store, &open, odd - 1),
            }
        }
    });
    store.check();
    let mut even: Vec<u64> = seen.iter().copied().filter(|key| key % 2 == 0).collect();
    even.sort_unstable();
    assert_eq!(even, (0..400).map(|key| 2 * key).collect::<Vec<_>>());
    seen
}

#[test]
fn what_is_there_throughout_is_met_once() {
    for seed in 1..20 {
        let _in_any_order = meets_what_stays_once(HashStore::new(), seed);
        for most in [2, 5, 16, 512] {
            let seen = meets_what_stays_once(OrderedStore::with_leaves_of(most), seed);
            assert!(seen.is_sorted_by(|a, b| a < b));
        }
    }
}

#[test]
fn a_traversal_goes_on_from_a_removed_key_only_while_fixed() {
    let store: HashStore<u64, One<u64>> = HashStore::new();
    let open = Open::default();
    (0..100).for_each(|key| put(&store, &open, key));
    assert_eq!(store.after(&open, &100), Ok(None));
    store.fix();
    let mut seen = Vec::new();
    let mut from = None;
    loop {
        let mut next = None;
        let _more = store.scan(&open, from.as_ref(), |entry| {
            next = Some(*entry.key);
            ControlFlow::Break(())
        });
        let Some(key) = next else {
            break;
        };
        seen.push(key);
        remove(&store, &open, key);
        from = store.after(&open, &key).unwrap();
        assert!(from.is_some());
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
    assert_eq!(store.len(), 0);
    assert_eq!(store.unfix(), Ok(()));
    assert!((0..100).all(|key| store.after(&open, &key) == Ok(None)));
    store.check();
}

#[test]
fn places_last_until_the_last_fix_is_taken_back_and_a_key_gets_its_own_again() {
    let store: HashStore<u64, One<u64>> = HashStore::new();
    let open = Open::default();
    (0..10).for_each(|key| put(&store, &open, key));
    let before = store.after(&open, &3).unwrap();
    store.fix();
    store.fix();
    remove(&store, &open, 3);
    assert_eq!(store.unfix(), Ok(()));
    assert_eq!(store.after(&open, &3), Ok(before));
    put(&store, &open, 3);
    assert_eq!(store.after(&open, &3), Ok(before));
    remove(&store, &open, 3);
    assert_eq!(store.unfix(), Ok(()));
    assert_eq!(store.after(&open, &3), Ok(None));
}

#[test]
fn all_is_cleared_and_the_keys_keep_their_places_while_fixed() {
    let store: HashStore<u64, One<u64>> = HashStore::new();
    let open = Open::default();
    (0..50).for_each(|key| put(&store, &open, key));
    store.fix();
    let cleared = store.clear(&open).unwrap();
    assert_eq!((cleared.objects(), store.len()), (50, 0));
    assert!(all(&store, &open).is_empty());
    assert!((0..50).all(|key| store.after(&open, &key).unwrap().is_some()));
    assert_eq!(store.unfix(), Ok(()));
    store.check();
}

/// Drops what was cleared, some at a time.
fn dropped_in_pieces(store: impl Checked<u64, One<std::rc::Rc<()>>>) {
    let open = Open::default();
    let counted = std::rc::Rc::new(());
    for key in 0..1_000 {
        let value = One(counted.clone());
        let old = store.enter(&open, key, |place| place.insert(value, NEVER));
        assert_eq!(old.map(|old| old.is_none()), Ok(true));
    }
    let mut cleared = store.clear(&open).unwrap();
    store.check();
    let mut left = 1_000;
    while cleared.drop_some(100) {
        let now = std::rc::Rc::strong_count(&counted) - 1;
        assert!(now <= left && left - now <= 100);
        left = now;
    }
    assert_eq!(std::rc::Rc::strong_count(&counted), 1);
}

#[test]
fn what_was_cleared_can_be_dropped_in_pieces() {
    dropped_in_pieces(HashStore::new());
    dropped_in_pieces(OrderedStore::with_leaves_of(16));
}

/// Takes out or changes what it visits, with rests.
fn edits(store: impl Checked<u64, One<u64>>, seed: u64) {
    let open = Open::default();
    let mut random = Random::new(seed);
    (0..500).for_each(|key| put(&store, &open, key));
    let (mut seen, mut removed, mut from) = (Vec::new(), Vec::new(), None);
    loop {
        let more = store.edit(&open, from.as_ref(), |spot| {
            let key = *spot.entry().unwrap().key;
            seen.push(key);
            match key % 3 {
                0 => removed.extend(spot.remove()),
                1 => assert_eq!(spot.replace(One(key + 1), NEVER), Ok(One(key))),
                _ => assert!(spot.alter(|value| value.0 = 0).is_some()),
            }
            match random.below(30) {
                0 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        });
        store.check();
        match more.unwrap() {
            None => break,
            more => from = more,
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..500).collect::<Vec<_>>());
    assert_eq!((removed.len(), store.len()), (167, 333));
    for entry in all(&store, &open) {
        let value = match entry.key % 3 {
            1 => entry.key + 1,
            _ => 0,
        };
        assert_eq!(entry.content, One(value));
    }
}

#[test]
fn an_edit_visits_each_entry_once_and_may_take_it_out_or_change_it() {
    for seed in 1..10 {
        edits(HashStore::new(), seed);
        for most in [2, 3, 8, 64, 512] {
            edits(OrderedStore::with_leaves_of(most), seed);
        }
    }
}

fn bound(random: &mut Random) -> Bound<u64> {
    match random.below(5) {
        0 => Bound::Unbounded,
        1 | 2 => Bound::Included(random.below(1_000)),
        _ => Bound::Excluded(random.below(1_000)),
    }
}

#[test]
fn ranges_and_neighbours_are_those_of_a_sorted_map() {
    for seed in 1..30 {
        let mut random = Random::new(seed);
        let store = OrderedStore::with_leaves_of(2 + seed as usize % 9);
        let open = Open::default();
        let mut model = BTreeMap::new();
        for _ in 0..random.below(400) {
            let key = random.below(1_000);
            put(&store, &open, key);
            model.insert(key, key);
        }
        for key in 0..random.below(1_000) {
            // Leaves a run of empty leaves behind.
            remove(&store, &open, key);
            model.remove(&key);
        }
        for _ in 0..200 {
            let (from, to) = (bound(&mut random), bound(&mut random));
            let inside = |key: &u64| std::ops::RangeBounds::contains(&(from, to), key);
            let expected: Vec<u64> = model.keys().copied().filter(inside).collect();
            let limit = random.below(60) as usize;
            let mut seen = Vec::new();
            let mut visit = |entry: Item<'_, u64, One<u64>>| {
                seen.push(*entry.key);
                match seen.len() > limit {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            };
            let range = (from.as_ref(), to.as_ref());
            let up = random.below(2) == 0;
            let flow = match up {
                true => store.range(&open, range, &mut visit),
                false => store.range_back(&open, range, &mut visit),
            };
            assert_eq!(flow.unwrap().is_break(), seen.len() > limit);
            let count = expected.len().min(limit + 1);
            match up {
                true => assert_eq!(seen, expected[..count]),
                false => {
                    seen.reverse();
                    assert_eq!(seen, expected[expected.len() - count..]);
                }
            }
            let key = random.below(1_000);
            let found = |seek: Seek<'_, u64>| {
                let found = store.seek(&open, seek, |entry| entry.map(|entry| *entry.key));
                found.unwrap()
            };
            let first = |mut keys: std::collections::btree_map::Range<'_, u64, u64>| {
                keys.next().map(|(key, _)| *key)
            };
            let last = |mut keys: std::collections::btree_map::Range<'_, u64, u64>| {
                keys.next_back().map(|(key, _)| *key)
            };
            assert_eq!(found(Seek::First), first(model.range(..)));
            assert_eq!(found(Seek::Last), last(model.range(..)));
            assert_eq!(found(Seek::After(&key)), first(model.range(key + 1..)));
            assert_eq!(found(Seek::Before(&key)), last(model.range(..key)));
            assert_eq!(found(Seek::AtOrBefore(&key)), last(model.range(..=key)));
        }
    }
}

#[test]
fn a_store_that_shrinks_gives_memory_back() {
    let open = Open::default();
    fn shrinks(store: impl Checked<u64, One<u64>>, open: &Open) {
        let empty = store.memory();
        (0..20_000).for_each(|key| put(&store, open, key));
        assert!(store.memory() > empty + 20_000 * 16);
        (0..20_000).for_each(|key| remove(&store, open, key));
        assert!(store.memory() < empty + 100_000, "{}", store.memory());
    }
    shrinks(HashStore::new(), &open);
    shrinks(OrderedStore::new(), &open);
}

#[test]
fn one_batch_of_many_new_keys_is_spread_over_leaves() {
    let store = OrderedStore::with_leaves_of(16);
    let open = Open::default();
    let objects = (0..2_000u64).rev().map(|key| entry(key, key)).collect();
    let inserted = store.batch(&open, objects, |batch| {
        (0..batch.len()).for_each(|i| batch.insert(i));
    });
    assert!(inserted.is_ok());
    store.check();
    assert!(store.parts() >= 2_000 / 16);
    let keys: Vec<u64> = all(&store, &open).iter().map(|entry| entry.key).collect();
    assert_eq!(keys, (0..2_000).collect::<Vec<_>>());
}
