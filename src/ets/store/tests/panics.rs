//! Keys and values whose code panics, at each place where it is run; and where they are dropped.

use std::cell::Cell;
use std::cmp::Ordering;
use std::hash::Hasher;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

thread_local! {
    /// After how many runs of users' code one panics.
    static FUSE: Cell<usize> = const { Cell::new(usize::MAX) };
    /// How many were dropped under a lock, other than by a panic's unwinding.
    static WRONGLY_DROPPED: Cell<usize> = const { Cell::new(0) };
}

fn burn() {
    match FUSE.get() {
        usize::MAX => {}
        0 => {
            FUSE.set(usize::MAX);
            std::panic::resume_unwind(Box::new("the fuse has burnt down"));
        }
        left => FUSE.set(left - 1),
    }
}

/// A key or a value.
#[derive(Debug)]
struct Touchy(u64);

impl Drop for Touchy {
    fn drop(&mut self) {
        if nesting::is_within() && !std::thread::panicking() {
            WRONGLY_DROPPED.set(WRONGLY_DROPPED.get() + 1);
        }
    }
}
impl Clone for Touchy {
    fn clone(&self) -> Self {
        burn();
        Touchy(self.0)
    }
}
impl Hash for Touchy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        burn();
        self.0.hash(state);
    }
}
impl PartialEq for Touchy {
    fn eq(&self, other: &Self) -> bool {
        burn();
        self.0 == other.0
    }
}
impl Eq for Touchy {}
impl PartialOrd for Touchy {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Touchy {
    fn cmp(&self, other: &Self) -> Ordering {
        burn();
        self.0.cmp(&other.0)
    }
}

type Lists = Many<Touchy>;

fn list(key: u64, values: &[u64]) -> Entry<Touchy, Lists> {
    Entry {
        key: Touchy(key),
        content: Many(values.iter().map(|value| Touchy(*value)).collect()),
        expires: NEVER,
    }
}

/// What is in a store, in the order of keys.
fn contents(store: &impl Store<Touchy, Lists>, open: &Open) -> Vec<(u64, Vec<u64>)> {
    let mut seen = Vec::new();
    let end = store.scan(open, None, |entry| {
        let values = entry.content.0.iter().map(|value| value.0);
        seen.push((entry.key.0, values.collect()));
        ControlFlow::Continue(())
    });
    assert!(end.is_ok());
    seen.sort_unstable();
    seen
}

/// An operation that ends by itself, and whether it does one thing or nothing.
struct Operation<S> {
    name: &'static str,
    at_once: bool,
    run: fn(&S, &Open),
}

fn operations<S: Checked<Touchy, Lists>>() -> Vec<Operation<S>> {
    fn push(list: &mut Lists, new: Lists) -> Option<Lists> {
        for value in &new.0 {
            // As a bag does, which looks for an equal one.
            if !list.0.contains(value) {
                list.0.push(value.clone());
            }
        }
        Some(new)
    }
    macro_rules! operation {
        ($name:literal, $at_once:literal, $run:expr) => {
            Operation {
                name: $name,
                at_once: $at_once,
                run: $run,
            }
        };
    }
    vec![
        operation!("insert a new key", true, |store: &S, open| {
            let values = list(0, &[1]).content;
            let old = store.enter(open, Touchy(7), |place| place.insert(values, NEVER));
            assert_eq!(old, Ok(None));
        }),
        operation!("insert many new keys", false, |store: &S, open| {
            for key in 100..140 {
                let values = list(0, &[1]).content;
                let old = store.enter(open, Touchy(key), |place| place.insert(values, NEVER));
                assert_eq!(old, Ok(None));
            }
        }),
        operation!("insert a known key", true, |store: &S, open| {
            let values = list(0, &[2]).content;
            let old = store.enter(open, Touchy(10), |place| place.insert(values, NEVER));
            assert!(old.is_ok_and(|old| old.is_some()));
        }),
        operation!("replace", true, |store: &S, open| {
            let mut old = None;
            let done = store.write(open, &Touchy(12), |spot| {
                let changed = spot.entry().map(|entry| entry.content.clone());
                old = changed.map(|changed| spot.replace(changed, 70));
            });
            assert!(done.is_ok() && old.is_some());
        }),
        operation!("alter", false, |store: &S, open| {
            let done = store.write(open, &Touchy(12), |spot| {
                spot.alter(|list| {
                    for value in 50..60 {
                        let clone = list.0[0].clone();
                        list.0.push(Touchy(value));
                        list.0.push(clone);
                    }
                })
            });
            assert!(done.is_ok());
        }),
        operation!("remove", true, |store: &S, open| {
            let old = store.write(open, &Touchy(14), |spot| spot.remove());
            assert!(old.is_ok_and(|old| old.is_some()));
        }),
        operation!("remove most", false, |store: &S, open| {
            for key in (3..38).filter(|key| *key != 30) {
                let old = store.write(open, &Touchy(2 * key), |spot| spot.remove());
                assert!(old.is_ok_and(|old| old.is_some()));
            }
        }),
        operation!("a batch", true, |store: &S, open| {
            let objects = vec![
                list(9, &[1, 2]),
                list(10, &[3, 100]),
                list(9, &[2, 3]),
                list(60, &[4]),
                list(61, &[5]),
                list(31, &[6]),
                list(10, &[7]),
            ];
            let done = store.batch(open, objects, |batch| {
                for i in 0..batch.len() {
                    match i % 3 {
                        0 => batch.insert(i),
                        _ => batch.merge(i, push),
                    }
                }
            });
            assert!(done.is_ok());
        }),
        operation!("a batch that gives up", true, |store: &S, open| {
            let objects = vec![list(9, &[1]), list(10, &[2])];
            let done = store.batch(open, objects, |batch| {
                (0..batch.len()).all(|i| batch.entry(i).is_none())
            });
            assert!(done.is_ok_and(|(done, left)| !done && left.len() == 2));
        }),
        operation!("an edit", false, |store: &S, open| {
            let mut removed = Vec::new();
            let done = store.edit(open, None, |spot| {
                let key = spot.entry().map(|entry| entry.key.clone());
                match key.as_ref().map(|key| key.0 % 4) {
                    Some(0) => removed.extend(spot.remove()),
                    _ => {
                        spot.alter(|list| list.0.push(Touchy(1)));
                    }
                }
                removed.extend(key.map(|key| Removed {
                    key: Some(key),
                    content: Many(Vec::new()),
                    expires: NEVER,
                }));
                ControlFlow::Continue(())
            });
            assert!(done.is_ok());
        }),
        operation!("a scan with rests", true, |store: &S, open| {
            let mut from = None;
            loop {
                let end = store.scan(open, from.as_ref(), |_| ControlFlow::Break(()));
                match end {
                    Ok(None) => break,
                    more => from = more.unwrap_or(None),
                }
            }
        }),
        operation!("a look behind a key", true, |store: &S, open| {
            assert!(store.after(open, &Touchy(20)).is_ok());
        }),
        operation!("clear", true, |store: &S, open| {
            assert!(store.clear(open).is_ok());
        }),
    ]
}

/// Runs each operation with each of the runs of users' code in it panicking once.
fn holds_against_panics<S: Checked<Touchy, Lists>>(make: impl Fn() -> S) {
    let full = || {
        let (store, open) = (make(), Open::default());
        for key in 0..40 {
            let values = list(0, &[2 * key, 100]).content;
            let old = store.enter(&open, Touchy(2 * key), |place| place.insert(values, NEVER));
            assert_eq!(old, Ok(None));
        }
        // Its time has come.
        let old = store.write(&open, &Touchy(60), |spot| spot.expire(5));
        assert_eq!(old, Ok(true));
        open.now.set(5);
        (store, open)
    };
    for Operation { name, at_once, run } in operations::<S>() {
        let (store, open) = full();
        let before = contents(&store, &open);
        run(&store, &open);
        store.check();
        let after = contents(&store, &open);
        let mut panics = 0;
        for fuse in 0.. {
            let (store, open) = full();
            FUSE.set(fuse);
            let ended = catch_unwind(AssertUnwindSafe(|| run(&store, &open)));
            FUSE.set(usize::MAX);
            store.check();
            let now = contents(&store, &open);
            if ended.is_ok() {
                assert_eq!(now, after, "{name}");
                break;
            }
            panics += 1;
            assert!(!nesting::is_within(), "{name}: left after a panic");
            if at_once {
                assert!(now == before || now == after, "{name}, {fuse}: {now:?}");
            } else {
                // Each key by itself. What was pushed before the panic may be there.
                let of = |all: &[(u64, Vec<u64>)], key| {
                    let found = all.iter().find(|(found, _)| *found == key);
                    found.map(|(_, values)| values.clone())
                };
                for key in 0..200 {
                    let (now, before) = (of(&now, key), of(&before, key));
                    let after = of(&after, key);
                    let on_the_way = now.as_ref().zip(after.as_ref());
                    let on_the_way = on_the_way.is_some_and(|(now, after)| after.starts_with(now));
                    assert!(now == before || now == after || on_the_way, "{name}: {key}");
                }
            }
            // It can be used on.
            let values = list(0, &[9]).content;
            let old = store.enter(&open, Touchy(77), |place| place.insert(values, NEVER));
            assert!(old.is_ok());
            store.check();
        }
        let silent = ["clear", "a scan with rests"];
        assert!(panics > 0 || silent.contains(&name), "{name} ran nothing");
    }
    assert_eq!(WRONGLY_DROPPED.get(), 0);
}

#[test]
fn a_hash_store_holds_against_panics_everywhere() {
    holds_against_panics(|| HashStore::with_shards(2));
}

#[test]
fn a_fixed_hash_store_holds_against_panics_everywhere() {
    holds_against_panics(|| {
        let store = HashStore::with_shards(2);
        store.fix();
        store
    });
}

#[test]
fn an_ordered_store_holds_against_panics_everywhere() {
    for most in [2, 9, 16, 512] {
        holds_against_panics(|| OrderedStore::with_leaves_of(most));
    }
}

/// An order that is none: each comparison says something else.
#[derive(Debug, Clone)]
struct Liar(Cell<u64>);

impl PartialEq for Liar {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Liar {}
impl PartialOrd for Liar {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Liar {
    fn cmp(&self, _: &Self) -> Ordering {
        let mut random = Random(self.0.get() | 1);
        let said = random.below(9);
        self.0.set(random.0);
        said.cmp(&4)
    }
}

#[test]
fn an_order_that_is_none_loses_no_object_and_hangs_nothing() {
    for seed in 1..50 {
        let store = OrderedStore::with_leaves_of(4);
        let open = Open::default();
        let mut count = 0;
        for i in 0..300 {
            let key = Liar(Cell::new(seed * 1_000 + i));
            if i % 3 == 2 {
                let old = store.write(&open, &key, |spot| spot.remove()).unwrap();
                count -= usize::from(old.is_some());
            } else {
                let old = store.enter(&open, key, |place| place.insert(One(i), NEVER));
                count += usize::from(old.unwrap().is_none());
            }
            assert_eq!(store.len(), count);
        }
        assert_eq!(store.clear(&open).unwrap().objects(), count);
    }
}
