//! Several threads at one store.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::thread;

use super::*;

const THREADS: u64 = 4;

type Numbers = One<u64>;

/// Runs `work` on [`THREADS`] threads, with their numbers.
fn on_threads(work: impl Fn(u64) + Sync) {
    thread::scope(|scope| {
        let work = &work;
        let threads = (0..THREADS).map(|thread| scope.spawn(move || work(thread)));
        for thread in threads.collect::<Vec<_>>() {
            assert!(thread.join().is_ok());
        }
    });
}

fn put(store: &impl Store<u64, Numbers>, open: &Open, key: u64, value: u64) -> Option<u64> {
    let old = store.enter(open, key, |place| place.insert(One(value), NEVER));
    old.unwrap().map(|old| old.content.0)
}

fn get(store: &impl Find<u64, Numbers, u64>, open: &Open, key: u64) -> Option<u64> {
    let value = store.read(open, &key, |entry| entry.map(|entry| entry.content.0));
    value.unwrap()
}

fn remove(store: &impl Find<u64, Numbers, u64>, open: &Open, key: u64) -> Option<u64> {
    let removed = store.write(open, &key, |spot| spot.remove());
    removed.unwrap().map(|removed| removed.content.0)
}

fn put_all(store: &impl Store<u64, Numbers>, open: &Open, keys: &[u64], value: u64) {
    let objects = keys.iter().map(|key| entry(*key, value)).collect();
    let done = store.batch(open, objects, |batch| {
        (0..batch.len()).for_each(|i| batch.insert(i));
    });
    assert!(done.is_ok());
}

/// Each thread has keys of its own between those of the others, so it knows what must be under them,
/// though the threads split and join the same leaves and let the same shards grow.
fn nobody_disturbs_the_keys_of_another(store: &(impl Checked<u64, Numbers> + Sync), steps: u64) {
    on_threads(|thread| {
        let open = Open::default();
        let mut random = Random::new(thread + 1);
        let mut model = BTreeMap::new();
        for step in 0..steps {
            // Now mostly in, now mostly out.
            let grows = step / 500 % 2 == 0;
            let key = random.below(300) * THREADS + thread;
            match random.below(10) {
                0..4 if grows => {
                    assert_eq!(put(store, &open, key, step), model.insert(key, step));
                }
                0..4 => assert_eq!(remove(store, &open, key), model.remove(&key)),
                4 => {
                    let keys = [key, random.below(300) * THREADS + thread];
                    put_all(store, &open, &keys, step);
                    model.extend(keys.map(|key| (key, step)));
                }
                5 => {
                    let mut mine = 0;
                    let end = store.scan(&open, None, |entry| {
                        mine += usize::from(*entry.key % THREADS == thread);
                        ControlFlow::Continue(())
                    });
                    assert!(end.is_ok());
                    assert_eq!(mine, model.len());
                }
                6 if step % 7 == 0 => {
                    let mut taken = 0;
                    let end = store.edit(&open, None, |spot| {
                        let key = spot.entry().map(|entry| *entry.key);
                        if key.is_some_and(|key| key % THREADS == thread && key % 5 == 0) {
                            taken += usize::from(spot.remove().is_some());
                        }
                        ControlFlow::Continue(())
                    });
                    assert!(end.is_ok());
                    let before = model.len();
                    model.retain(|key, _| key % 5 != 0);
                    assert_eq!(before - model.len(), taken);
                }
                _ => assert_eq!(get(store, &open, key), model.get(&key).copied()),
            }
        }
        for (key, value) in model {
            assert_eq!(get(store, &open, key), Some(value));
            assert_eq!(remove(store, &open, key), Some(value));
        }
    });
    store.check();
    assert_eq!(store.len(), 0);
}

#[test]
fn threads_with_keys_of_their_own_do_not_disturb_each_other() {
    nobody_disturbs_the_keys_of_another(&HashStore::with_shards(2), 3_000);
    for most in [2, 9, 32] {
        nobody_disturbs_the_keys_of_another(&OrderedStore::with_leaves_of(most), 3_000);
    }
}

/// All threads add to the same entries.
fn no_addition_is_lost(store: &(impl Checked<u64, Numbers> + Sync)) {
    on_threads(|thread| {
        let open = Open::default();
        for step in 0..2_000 {
            let key = (step * 7 + thread) % 50;
            let done = store.enter(&open, key, |place| {
                let added = place.spot.alter(|value| value.0 += 1);
                if added.is_none() {
                    place.insert(One(1), NEVER);
                }
            });
            assert!(done.is_ok());
        }
    });
    store.check();
    let all = all(store, &Open::default());
    let sum: u64 = all.iter().map(|entry| entry.content.0).sum();
    assert_eq!((sum, store.len()), (2_000 * THREADS, 50));
}

#[test]
fn additions_from_several_threads_are_all_counted() {
    no_addition_is_lost(&HashStore::new());
    no_addition_is_lost(&OrderedStore::with_leaves_of(8));
}

/// A batch gives several keys a new number, a clear takes all away; who reads one key and then another never
/// goes back in time.
fn batches_are_whole(store: &(impl Checked<u64, Numbers> + Sync)) {
    const ROUNDS: u64 = 600;
    let keys: Vec<u64> = (0..12).map(|key| key * 11).collect();
    let over = AtomicBool::new(false);
    on_threads(|thread| {
        let open = Open::default();
        if thread == 0 {
            for round in 1..=ROUNDS {
                let mut keys = keys.clone();
                let count = keys.len();
                keys.rotate_left(round as usize % count);
                put_all(store, &open, &keys, 2 * round);
                if round % 3 == 0 {
                    let cleared = store.clear(&open).map(|cleared| cleared.objects());
                    assert_eq!(cleared, Ok(keys.len()));
                }
            }
            over.store(true, Release);
            return;
        }
        let mut random = Random::new(thread);
        // The least round that the store can be in.
        let mut least = 0;
        while !over.load(Acquire) {
            let key = keys[random.below(keys.len() as u64) as usize];
            match get(store, &open, key) {
                Some(number) => {
                    assert!(number >= least, "{number} after {least}");
                    least = number;
                }
                // Cleared after a round that is a multiple of three, so with a number that is one of six;
                // an odd `least` says that this was seen already, and it may be the same clear still.
                None if least > 0 && least % 2 == 0 => least = least.next_multiple_of(6) + 1,
                None => {}
            }
        }
    });
    store.check();
}

#[test]
fn a_batch_and_a_clear_are_seen_whole_or_not_at_all() {
    batches_are_whole(&HashStore::new());
    for most in [2, 4, 512] {
        batches_are_whole(&OrderedStore::with_leaves_of(most));
    }
}

/// Threads want overlapping sets of new keys, all or nothing.
fn one_wins(store: &(impl Checked<u64, Numbers> + Sync)) {
    for round in 0..150 {
        let first = round * 1_000;
        let won = std::sync::Mutex::new(Vec::new());
        on_threads(|thread| {
            // All want the key in the middle.
            let keys = (0..6).map(|i| first + 500 - i * (thread + 1));
            let objects: Vec<_> = keys.map(|key| entry(key, thread)).collect();
            let open = Open::default();
            let (done, left) = store
                .batch(&open, objects, |batch| {
                    let free = (0..batch.len()).all(|i| batch.entry(i).is_none());
                    if free {
                        (0..batch.len()).for_each(|i| batch.insert(i));
                    }
                    free
                })
                .unwrap();
            assert_eq!(left.len(), if done { 0 } else { 6 });
            if done {
                won.lock().unwrap().push(thread);
            }
        });
        let won = won.into_inner().unwrap();
        assert_eq!(won.len(), 1);
        let open = Open::default();
        assert_eq!(get(store, &open, first + 500), Some(won[0]));
        assert_eq!(store.len() as u64, 6 * (round + 1));
    }
    store.check();
}

#[test]
fn of_several_that_want_a_new_key_all_or_nothing_one_wins() {
    one_wins(&HashStore::new());
    one_wins(&OrderedStore::with_leaves_of(6));
}

#[test]
fn what_is_found_as_the_first_or_the_next_has_been_that_for_a_moment() {
    // Leaves of two that are never joined, so there are many empty ones between the few keys.
    let store = OrderedStore::with_leaves_of(2);
    let open = Open::default();
    (0..200).for_each(|key| assert_eq!(put(&store, &open, key, key), None));
    (0..200)
        .filter(|key| ![100, 199].contains(key))
        .for_each(|key| assert_eq!(remove(&store, &open, key), Some(key)));
    let over = AtomicBool::new(false);
    on_threads(|thread| {
        let open = Open::default();
        if thread == 0 {
            for _ in 0..3_000 {
                // 10 or 100 is there, or both.
                put(&store, &open, 10, 10);
                remove(&store, &open, 100);
                put(&store, &open, 100, 100);
                remove(&store, &open, 10);
            }
            over.store(true, Release);
            return;
        }
        while !over.load(Acquire) {
            for seek in [Seek::First, Seek::After(&5)] {
                let found = store.seek(&open, seek, |entry| entry.map(|entry| *entry.key));
                assert!([Ok(Some(10)), Ok(Some(100))].contains(&found), "{found:?}");
            }
            let found = store.seek(&open, Seek::Before(&150), |entry| {
                entry.map(|entry| *entry.key)
            });
            assert!([Ok(Some(10)), Ok(Some(100))].contains(&found), "{found:?}");
        }
    });
    store.check();
}

/// Closures on each of two stores that use the other one.
#[test]
fn two_stores_do_not_wait_for_each_other() {
    let (early, late) = (HashStore::new(), OrderedStore::new());
    let open = Open::default();
    put(&early, &open, 1, 1);
    put(&late, &open, 1, 1);
    on_threads(|thread| {
        let open = Open::default();
        for _ in 0..2_000 {
            if thread % 2 == 0 {
                let inner = early.write(&open, &1, |_| late.write(&open, &1, |_| ()));
                assert_eq!(inner, Ok(Ok(())));
            } else {
                let inner = late.write(&open, &1, |_| early.write(&open, &1, |_| ()));
                assert_eq!(inner, Ok(Err(Refused::Nested)));
            }
        }
    });
}

/// Places that are asked for while another thread takes back its fix.
#[test]
fn a_fix_keeps_places_though_others_end() {
    let store: HashStore<u64, Numbers> = HashStore::with_shards(2);
    on_threads(|thread| {
        let open = Open::default();
        for step in 0..2_000 {
            let key = thread * 10_000 + step % 10;
            store.fix();
            put(&store, &open, key, step);
            let place = store.after(&open, &key);
            assert_eq!(remove(&store, &open, key), Some(step));
            assert!(place.as_ref().is_ok_and(Option::is_some));
            assert_eq!(store.after(&open, &key), place);
            assert_eq!(store.unfix(), Ok(()));
        }
    });
    assert_eq!(store.len(), 0);
    store.check();
}
