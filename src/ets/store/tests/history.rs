//! Operations on single keys are linearizable: each seems to be done at one moment between its call and its
//! return. Threads record what they did; a search then looks for an order of those moments.
//!
//! The search is Wing and Gong's with Lowe's memory: any operation may come next that was called before the
//! first return among those left, if it returned what it would in the state reached; and what set of
//! operations led to what state is not tried twice. As operations on different keys do not concern each
//! other, each key has a history of its own.

use std::collections::HashSet;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Read,
    /// Whatever is there.
    Put(u64),
    /// Only if nothing is there.
    PutNew(u64),
    /// Only if something is there.
    Add(u64),
    Remove,
}

type State = Option<u64>;

/// What an operation returns, and the state after it.
fn step(state: State, op: Op) -> (State, State) {
    match op {
        Op::Read => (state, state),
        Op::Put(value) => (state, Some(value)),
        Op::PutNew(value) => (state, state.or(Some(value))),
        Op::Add(more) => {
            let sum = state.map(|value| value + more);
            (sum, sum)
        }
        Op::Remove => (state, None),
    }
}

/// One operation, from its call to its return.
#[derive(Debug, Clone, Copy)]
struct Done {
    op: Op,
    returned: State,
    from: u64,
    to: u64,
}

/// Whether there is an order of the operations of one key in which each returns what it did.
fn is_linearizable(history: &[Done]) -> bool {
    let mut tried: HashSet<(Vec<bool>, State)> = HashSet::new();
    let mut paths = vec![(vec![false; history.len()], None)];
    while let Some((placed, state)) = paths.pop() {
        let left = || (0..history.len()).filter(|i| !placed[*i]);
        let Some(first_return) = left().map(|i| history[i].to).min() else {
            return true;
        };
        for i in left().filter(|i| history[*i].from < first_return) {
            let (returned, state) = step(state, history[i].op);
            if returned == history[i].returned {
                let mut placed = placed.clone();
                placed[i] = true;
                let path = (placed, state);
                if tried.insert(path.clone()) {
                    paths.push(path);
                }
            }
        }
    }
    false
}

fn perform(store: &impl Checked<u64, One<u64>>, open: &Open, key: u64, op: Op) -> State {
    match op {
        Op::Read => {
            let value = store.read(open, &key, |entry| entry.map(|entry| entry.content.0));
            value.unwrap()
        }
        Op::Put(value) => {
            let old = store.enter(open, key, |place| place.insert(One(value), NEVER));
            old.unwrap().map(|old| old.content.0)
        }
        Op::PutNew(value) => {
            let there = store.enter(open, key, |place| {
                let there = place.spot.entry().map(|entry| entry.content.0);
                if there.is_none() {
                    place.insert(One(value), NEVER);
                }
                there
            });
            there.unwrap()
        }
        Op::Add(more) => {
            let sum = store.write(open, &key, |spot| {
                spot.alter(|value| {
                    value.0 += more;
                    value.0
                })
            });
            sum.unwrap()
        }
        Op::Remove => {
            let removed = store.write(open, &key, |spot| spot.remove());
            removed.unwrap().map(|removed| removed.content.0)
        }
    }
}

/// Records what three threads do at a few keys, while a fourth lets their leaves and shards change.
fn records_linearizable_histories(make: impl Fn() -> Box<dyn Recorded>, seeds: u64) {
    for seed in 1..=seeds {
        let store = make();
        let clock = AtomicU64::new(0);
        let histories: Vec<Vec<(u64, Done)>> = thread::scope(|scope| {
            let (store, clock) = (&store, &clock);
            let recorders = (0..3).map(|thread| {
                scope.spawn(move || {
                    let mut random = Random::new(seed * 3 + thread);
                    let record = |step| {
                        let key = random.below(3) * 40;
                        let value = thread * 1_000 + step;
                        let op = match random.below(6) {
                            0 => Op::Put(value),
                            1 => Op::PutNew(value),
                            2 => Op::Add(10_000),
                            3 => Op::Remove,
                            _ => Op::Read,
                        };
                        let from = clock.fetch_add(1, SeqCst);
                        let returned = store.do_one(key, op);
                        let to = clock.fetch_add(1, SeqCst);
                        let done = Done {
                            op,
                            returned,
                            from,
                            to,
                        };
                        (key, done)
                    };
                    (0..60).map(record).collect()
                })
            });
            let recorders: Vec<_> = recorders.collect();
            scope.spawn(move || {
                for step in 0..200u64 {
                    let op = if step / 50 % 2 == 0 {
                        Op::Put(0)
                    } else {
                        Op::Remove
                    };
                    // Never one of the three keys.
                    store.do_one(step * 37 % 120 / 40 * 40 + 1 + step % 39, op);
                }
            });
            let histories = recorders.into_iter().map(|recorder| recorder.join());
            histories.map(|history| history.unwrap()).collect()
        });
        for key in [0, 40, 80] {
            let of_key = |(of, done): (u64, Done)| (of == key).then_some(done);
            let all = histories.iter().flatten().copied();
            let history: Vec<Done> = all.filter_map(of_key).collect();
            assert!(is_linearizable(&history), "key {key}: {history:#?}");
        }
    }
}

trait Recorded: Sync {
    fn do_one(&self, key: u64, op: Op) -> State;
}

impl<S: Checked<u64, One<u64>> + Sync> Recorded for S {
    fn do_one(&self, key: u64, op: Op) -> State {
        perform(self, &Open::default(), key, op)
    }
}

#[test]
fn operations_on_single_keys_of_a_hash_store_are_linearizable() {
    records_linearizable_histories(|| Box::new(HashStore::with_shards(2)), 100);
}

#[test]
fn operations_on_single_keys_of_an_ordered_store_are_linearizable() {
    records_linearizable_histories(|| Box::new(OrderedStore::with_leaves_of(2)), 50);
    records_linearizable_histories(|| Box::new(OrderedStore::with_leaves_of(8)), 50);
}

fn done(op: Op, returned: State, (from, to): (u64, u64)) -> Done {
    Done {
        op,
        returned,
        from,
        to,
    }
}

#[test]
fn the_search_accepts_what_can_be_put_in_order() {
    // The read began before the put and ended after it, so it may come first.
    let put = done(Op::Put(1), None, (1, 2));
    assert!(is_linearizable(&[
        put,
        done(Op::Read, None, (0, 3)),
        done(Op::Read, Some(1), (0, 3)),
        done(Op::Remove, Some(1), (4, 5)),
    ]));
}

#[test]
fn the_search_rejects_what_cannot() {
    let put = done(Op::Put(1), None, (0, 1));
    // A read of what is not there any more, or not yet.
    assert!(!is_linearizable(&[put, done(Op::Read, None, (2, 3))]));
    assert!(!is_linearizable(&[
        done(Op::Read, Some(1), (0, 1)),
        done(Op::Put(1), None, (2, 3)),
    ]));
    // An addition that is lost.
    assert!(!is_linearizable(&[
        put,
        done(Op::Add(1), Some(2), (2, 5)),
        done(Op::Add(1), Some(2), (3, 4)),
    ]));
    // Two who removed the same.
    assert!(!is_linearizable(&[
        put,
        done(Op::Remove, Some(1), (2, 5)),
        done(Op::Remove, Some(1), (3, 4)),
    ]));
    // Two reads in one thread that go back in time.
    assert!(!is_linearizable(&[
        done(Op::Put(1), None, (0, 9)),
        done(Op::Read, Some(1), (1, 2)),
        done(Op::Read, None, (3, 4)),
    ]));
}
