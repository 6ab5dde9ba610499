//! The stores through their interface.

use std::cell::Cell;
use std::fmt::Debug;
use std::hash::Hash;
use std::ops::ControlFlow;

use super::nesting::Nested;
use super::*;

mod history;
mod model;
mod panics;
mod threads;
mod traversals;

/// The terms of these tests: a clock set by hand, and a door that can be shut.
#[derive(Default)]
struct Open {
    now: Cell<u64>,
    asked: Cell<usize>,
    shut: Cell<bool>,
}

#[derive(Debug, PartialEq, Eq)]
enum Refused {
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

/// Both stores, as these tests use them.
trait Checked<K: 'static, C: Content>: Store<K, C> + Find<K, C, K> {
    /// Panics if something in it is not as it should be.
    fn check(&self);
}

impl<K: Hash + Eq + 'static, C: Content> Checked<K, C> for HashStore<K, C> {
    fn check(&self) {
        HashStore::check(self);
    }
}

impl<K: Ord + Clone + Debug + 'static, C: Content> Checked<K, C> for OrderedStore<K, C> {
    fn check(&self) {
        OrderedStore::check(self);
    }
}

/// Numbers that look random: the same for the same seed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// An entry that stays.
fn entry<K, V>(key: K, value: V) -> Entry<K, One<V>> {
    Entry {
        key,
        content: One(value),
        expires: NEVER,
    }
}

/// What is in a store, as a traversal meets it.
fn all<K: Clone + 'static, C: Content + Clone>(
    store: &impl Store<K, C>,
    open: &Open,
) -> Vec<Entry<K, C>> {
    let mut seen = Vec::new();
    let end = store.scan(open, None, |entry| {
        seen.push(Entry {
            key: entry.key.clone(),
            content: entry.content.clone(),
            expires: entry.expires,
        });
        ControlFlow::Continue(())
    });
    assert!(matches!(end, Ok(None)));
    seen
}

#[test]
fn the_time_is_asked_for_only_if_an_entry_has_one() {
    let store = HashStore::new();
    let open = Open::default();
    let put = |key, expires| {
        let old = store.enter(&open, key, |place| place.insert(One(0), expires));
        assert_eq!(old, Ok(None));
    };
    put(1, NEVER);
    assert_eq!(store.read(&open, &1, |entry| entry.is_some()), Ok(true));
    assert_eq!(open.asked.get(), 0);
    put(2, 10);
    assert_eq!(store.read(&open, &2, |entry| entry.is_some()), Ok(true));
    assert_eq!(open.asked.get(), 1);
    open.now.set(10);
    assert_eq!(store.read(&open, &2, |entry| entry.is_some()), Ok(false));
}

/// Nothing is done, and nothing is lost, by an operation that is refused.
fn refused(store: impl Checked<u64, One<u64>>) {
    let open = Open::default();
    let old = store.enter(&open, 1, |place| place.insert(One(1), NEVER));
    assert_eq!(old, Ok(None));
    open.shut.set(true);
    let shut = Some(Refused::Shut);
    let never = "it is not admitted";
    assert_eq!(store.read(&open, &1, |_| panic!("{never}")).err(), shut);
    assert_eq!(store.write(&open, &1, |_| panic!("{never}")).err(), shut);
    assert_eq!(store.enter(&open, 1, |_| panic!("{never}")).err(), shut);
    let batch = store.batch(&open, vec![entry(2, 2)], |_| panic!("{never}"));
    assert_eq!(batch.err(), shut);
    assert_eq!(store.scan(&open, None, |_| panic!("{never}")).err(), shut);
    assert_eq!(store.edit(&open, None, |_| panic!("{never}")).err(), shut);
    assert_eq!(store.clear(&open).err(), shut);
    open.shut.set(false);
    assert_eq!(all(&store, &open), [entry(1, 1)]);
    store.check();
}

#[test]
fn what_is_not_admitted_under_the_lock_does_nothing() {
    refused(HashStore::new());
    refused(OrderedStore::new());
}

/// An operation on the store from each closure of the store.
fn nested(store: impl Checked<u64, One<u64>>) {
    let open = Open::default();
    let again = || store.read(&open, &1, |_| ()).err();
    let nested = || Ok(Some(Refused::Nested));
    assert_eq!(store.enter(&open, 1, |_| again()), nested());
    assert_eq!(
        store.enter(&open, 1, |place| {
            place.insert(One(1), NEVER);
            again()
        }),
        nested()
    );
    assert_eq!(store.read(&open, &1, |_| again()), nested());
    assert_eq!(store.write(&open, &1, |_| again()), nested());
    assert_eq!(
        store.write(&open, &1, |spot| spot.alter(|_| again())),
        Ok(Some(Some(Refused::Nested)))
    );
    let batch = store.batch(&open, vec![entry(2, 2)], |_| again());
    assert_eq!(batch.map(|(again, _)| again), nested());
    let mut visited = 0;
    let scanned = store.scan(&open, None, |_| {
        visited += 1;
        assert_eq!(again(), Some(Refused::Nested));
        ControlFlow::Continue(())
    });
    assert!(scanned.is_ok());
    assert_eq!(visited, 1);
    assert_eq!(again(), None);
    // What takes no lock can be asked.
    let asked = store.write(&open, &1, |_| {
        (store.len(), store.memory() > 0, store.parts() > 0)
    });
    assert_eq!(asked, Ok((1, true, true)));
}

#[test]
fn an_operation_on_the_store_from_its_own_closures_is_refused() {
    nested(HashStore::new());
    nested(OrderedStore::new());
}
