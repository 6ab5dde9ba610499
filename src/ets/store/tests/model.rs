//! Random operations, one after the other, on a store and on a map of std.

use std::collections::BTreeMap;

use super::*;

/// One store after random operations, and its model.
fn agrees_with_a_model(store: impl Checked<u64, One<u64>>, seed: u64) {
    let open = Open::default();
    let mut model: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    let mut random = Random::new(seed);
    let keys = 1 + random.below(700);
    let lives = |open: &Open, expires: u64| open.now.get() < expires;
    let mut fixed = false;
    for step in 0..3_000 {
        if random.below(30) == 0 {
            match fixed {
                true => assert_eq!(store.unfix(), Ok(())),
                false => store.fix(),
            }
            fixed = !fixed;
        }
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

/// As `agrees_with_a_model`, with lists.
fn lists_agree_with_a_model(store: impl Checked<u64, Many<u64>>, seed: u64) {
    let open = Open::default();
    let mut model: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut random = Random::new(seed);
    for step in 0..1_000 {
        let key = random.below(40);
        match random.below(4) {
            0 => {
                let removed = store.write(&open, &key, |spot| spot.remove()).unwrap();
                let removed = removed.map(|removed| removed.content.0);
                assert_eq!(removed, model.remove(&key));
            }
            1 => {
                let pushed = store.write(&open, &key, |spot| {
                    spot.alter(|content| content.0.push(step))
                });
                let there = model.get_mut(&key);
                assert_eq!(pushed.unwrap().is_some(), there.is_some());
                if let Some(there) = there {
                    there.push(step);
                }
            }
            _ => {
                let objects = (0..random.below(9)).map(|i| Entry {
                    key: random.below(40),
                    content: Many(vec![step + i, step]),
                    expires: NEVER,
                });
                let objects: Vec<_> = objects.collect();
                for entry in &objects {
                    let list = model.entry(entry.key).or_default();
                    list.extend(&entry.content.0);
                }
                let merged = store.batch(&open, objects, |batch| {
                    for i in 0..batch.len() {
                        batch.merge(i, |list, new| {
                            list.0.extend(new.0);
                            None
                        });
                    }
                });
                assert_eq!(merged.map(|(_, left)| left), Ok(Vec::new()));
            }
        }
        assert_eq!(store.len(), model.values().map(Vec::len).sum::<usize>());
    }
    store.check();
    let mut seen: Vec<_> = all(&store, &open)
        .into_iter()
        .map(|entry| (entry.key, entry.content.0))
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, model.into_iter().collect::<Vec<_>>());
}

#[test]
fn lists_in_a_hash_store_agree_with_a_map() {
    (1..12).for_each(|seed| lists_agree_with_a_model(HashStore::new(), seed));
}

#[test]
fn lists_in_an_ordered_store_agree_with_a_map() {
    for seed in 1..12 {
        lists_agree_with_a_model(OrderedStore::with_leaves_of(2 + seed as usize), seed);
    }
}

#[test]
fn a_hash_store_agrees_with_a_map() {
    (1..12).for_each(|seed| agrees_with_a_model(HashStore::new(), seed));
}

#[test]
fn an_ordered_store_agrees_with_a_map() {
    (1..12).for_each(|seed| agrees_with_a_model(OrderedStore::new(), seed));
}

#[test]
fn an_ordered_store_of_small_leaves_agrees_with_a_map() {
    for seed in 1..24 {
        agrees_with_a_model(OrderedStore::with_leaves_of(2 + seed as usize % 20), seed);
    }
}
