//! What an operation sees and what it changes, before any of it counts.
//!
//! ```text
//!   mine      what this operation has changed          ─┐
//!   staged    what those before it in the batch have    ├─ the first that knows the key
//!   memory    the table                                ─┘
//! ```
//! The operations of a batch are worked out one after the other, each upon those before it. Then all of it is
//! written to the file, and then done in memory, in the same order. So a batch is as if its operations had
//! been done one by one, and nobody sees anything that is not on the disk.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use serde::Serialize;

use super::disk::{FOREVER, record};
use super::error::PersistError;
use crate::ets::codec::{Stored, content_of, encode, encode_values};
use crate::ets::common::Need;
use crate::ets::engine::{Holds, Storage};
use crate::ets::kind::{Finds, Keeps};
use crate::ets::store::{Find, Item, NEVER};
use crate::ets::table::Inner;
use crate::ets::{Bag, DuplicateBag, OrderedSet, Set, TableKind};

/// A map by keys, as a kind of table can compare them.
pub(crate) trait KeyMap<K, T>: Default + Send {
    fn get(&self, key: &K) -> Option<&T>;
    fn get_mut(&mut self, key: &K) -> Option<&mut T>;
    fn insert(&mut self, key: K, value: T);
    fn values<'a>(&'a self) -> impl Iterator<Item = &'a T>
    where
        T: 'a;
    fn values_mut<'a>(&'a mut self) -> impl Iterator<Item = &'a mut T>
    where
        T: 'a;
    fn is_empty(&self) -> bool;
}

macro_rules! key_map {
    ($map:ident, $($bound:tt)*) => {
        impl<K: $($bound)* + Send, T: Send> KeyMap<K, T> for $map<K, T> {
            fn get(&self, key: &K) -> Option<&T> {
                $map::get(self, key)
            }
            fn get_mut(&mut self, key: &K) -> Option<&mut T> {
                $map::get_mut(self, key)
            }
            fn insert(&mut self, key: K, value: T) {
                $map::insert(self, key, value);
            }
            fn values<'a>(&'a self) -> impl Iterator<Item = &'a T>
            where
                T: 'a,
            {
                $map::values(self)
            }
            fn values_mut<'a>(&'a mut self) -> impl Iterator<Item = &'a mut T>
            where
                T: 'a,
            {
                $map::values_mut(self)
            }
            fn is_empty(&self) -> bool {
                $map::is_empty(self)
            }
        }
    };
}
key_map!(HashMap, Hash + Eq);
key_map!(BTreeMap, Ord);

/// A kind of table with a map for its keys.
pub(crate) trait Maps<K>: TableKind {
    type Map<T: Send>: KeyMap<K, T>;
}

/// A kind of table can be persistent with such keys and values: those that it keeps, if they are [`Stored`] and
/// `Clone`. Sealed.
#[allow(private_bounds)] // sealed by it
pub trait Persists<K: 'static, V: 'static>: Keeps<K, V> + Finds<K, V, K> + Maps<K> {}

macro_rules! persists {
    ($($kind:ident, $map:ident, [$($key:tt)*], [$($value:tt)*];)*) => {$(
        impl<K: $($key)* + Send> Maps<K> for $kind {
            type Map<T: Send> = $map<K, T>;
        }
        impl<K, V> Persists<K, V> for $kind
        where
            K: $($key)* + Stored + Clone,
            V: $($value)* Stored + Clone,
        {
        }
    )*};
}

persists! {
    Set, HashMap, [Hash + Eq], [];
    OrderedSet, BTreeMap, [Ord + Clone], [];
    Bag, HashMap, [Hash + Eq], [PartialEq +];
    DuplicateBag, HashMap, [Hash + Eq], [];
}

/// The content of a key and when it expires, on the system's clock.
pub(super) type Object<V, Kind> = (<Kind as Storage>::Content<V>, u64);

/// A key as it is in the table, and what is under it.
type Found<K, V, Kind> = (K, Object<V, Kind>);

/// What an operation makes of one key.
pub(super) struct Change<K, C> {
    pub(super) key: K,
    /// `None`: it goes.
    pub(super) to: Option<(C, u64)>,
    bytes: Vec<u8>,
    record: Option<Vec<u8>>,
    /// The bytes of the key in the file, if it was in memory and not in `unsaved`.
    old: Option<Vec<u8>>,
}

pub(super) type Changes<K, V, Kind> = Vec<Change<K, <Kind as Storage>::Content<V>>>;

/// What is not in the file yet, of one key.
pub(super) struct Unsaved {
    /// The bytes of the key in the file, if it is there.
    pub(super) old: Option<Vec<u8>>,
    /// Those that it is to have.
    pub(super) bytes: Vec<u8>,
    /// `None`: it is to go.
    pub(super) record: Option<Vec<u8>>,
    /// Where in the batch it is changed last; `None`: in memory already.
    at: Option<(usize, usize)>,
}

/// What is not in the file yet.
pub(super) struct Pending<K: 'static, V: 'static, Kind: Persists<K, V>> {
    pub(super) unsaved: Kind::Map<Unsaved>,
    /// The changes of each operation of the batch.
    staged: Vec<Changes<K, V, Kind>>,
}

impl<K: 'static, V: 'static, Kind: Persists<K, V>> Default for Pending<K, V, Kind> {
    fn default() -> Self {
        Pending {
            unsaved: Default::default(),
            staged: Vec::new(),
        }
    }
}

impl<K: 'static, V: 'static, Kind: Persists<K, V>> Pending<K, V, Kind> {
    /// Whether there is no batch under way.
    pub(super) fn is_settled(&self) -> bool {
        self.staged.is_empty()
    }
}

impl<K: Clone + 'static, V: 'static, Kind: Persists<K, V>> Pending<K, V, Kind> {
    /// Adds the changes of an operation that was worked out.
    pub(super) fn stage(&mut self, changes: Changes<K, V, Kind>) {
        let mut changes = changes;
        let operation = self.staged.len();
        for (place, change) in changes.iter_mut().enumerate() {
            let at = Some((operation, place));
            let bytes = std::mem::take(&mut change.bytes);
            let record = change.record.take();
            match self.unsaved.get_mut(&change.key) {
                Some(unsaved) => {
                    unsaved.bytes = bytes;
                    unsaved.record = record;
                    unsaved.at = at;
                }
                None => {
                    let old = change.old.take();
                    let unsaved = Unsaved {
                        old,
                        bytes,
                        record,
                        at,
                    };
                    self.unsaved.insert(change.key.clone(), unsaved);
                }
            }
        }
        self.staged.push(changes);
    }

    /// Whether the batch changes anything.
    pub(super) fn is_changed(&self) -> bool {
        self.staged.iter().any(|changes| !changes.is_empty())
    }

    /// Takes the batch out, to be done in memory.
    pub(super) fn take_batch(&mut self) -> Vec<Changes<K, V, Kind>> {
        for unsaved in self.unsaved.values_mut() {
            unsaved.at = None;
        }
        std::mem::take(&mut self.staged)
    }
}

/// See the module.
pub(super) struct View<'a, K: 'static, V: 'static, Kind: Persists<K, V>> {
    inner: &'a Inner<K, V, Kind>,
    pending: &'a Pending<K, V, Kind>,
    /// Now, on the system's clock.
    now: u64,
    /// Now, on the host's.
    wall: u64,
    mine: Changes<K, V, Kind>,
    places: Kind::Map<usize>,
}

/// When something that expires does so on the host's clock.
pub(super) fn deadline(expires: u64, now: u64, wall: u64) -> u64 {
    match expires {
        NEVER => FOREVER,
        // Passed, or to come.
        expires if expires < now => wall.saturating_sub(now - expires),
        expires => wall.saturating_add(expires - now).min(FOREVER - 1),
    }
}

/// When something with this deadline expires on the system's clock; `None`: it has.
pub(super) fn expires(deadline: u64, now: u64, wall: u64) -> Option<u64> {
    match deadline {
        FOREVER => Some(NEVER),
        deadline if deadline <= wall => None,
        deadline => Some(now.saturating_add(deadline - wall).min(NEVER - 1)),
    }
}

fn misfit(error: postcard::Error) -> PersistError {
    PersistError::Encode(error.to_string())
}

impl<'a, K, V, Kind> View<'a, K, V, Kind>
where
    K: Serialize + Clone + 'static,
    V: Serialize + Clone + 'static,
    Kind: Persists<K, V>,
{
    pub(super) fn new(
        inner: &'a Inner<K, V, Kind>,
        pending: &'a Pending<K, V, Kind>,
        wall: u64,
    ) -> Self {
        View {
            inner,
            pending,
            now: inner.common.core.clock.now(),
            wall,
            mine: Vec::new(),
            places: Default::default(),
        }
    }

    pub(super) fn into_changes(self) -> Changes<K, V, Kind> {
        self.mine
    }

    pub(super) fn inner(&self) -> &'a Inner<K, V, Kind> {
        self.inner
    }

    /// Looks at what is under a key.
    pub(super) fn look<R>(
        &self,
        key: &K,
        look: impl FnOnce(Option<(&K, &Kind::Content<V>, u64)>) -> R,
    ) -> Result<R, PersistError> {
        let change = match self.places.get(key) {
            Some(place) => self.mine.get(*place),
            None => {
                let unsaved = self.pending.unsaved.get(key);
                let at = unsaved.and_then(|unsaved| unsaved.at);
                at.and_then(|(operation, place)| self.pending.staged.get(operation)?.get(place))
            }
        };
        if let Some(change) = change {
            let there = change
                .to
                .as_ref()
                .filter(|(_, expires)| *expires > self.now);
            return Ok(look(
                there.map(|(content, expires)| (&change.key, content, *expires)),
            ));
        }
        let pass = self.inner.common.pass(Need::Keep);
        let looked = self.inner.store.read(&pass, key, |entry| {
            look(entry.map(|entry| (entry.key, entry.content, entry.expires)))
        });
        Ok(looked?)
    }

    /// Whether something is under a key.
    pub(super) fn has(&self, key: &K) -> Result<bool, PersistError> {
        self.look(key, |there| there.is_some())
    }

    /// A clone of what is under a key, and of the key as it is there.
    pub(super) fn get(&self, key: &K) -> Result<Option<Found<K, V, Kind>>, PersistError> {
        self.look(key, |there| {
            let (key, content, expires) = there?;
            let content = content_of(content.values().to_vec())?;
            Some((key.clone(), (content, expires)))
        })
    }

    /// Puts something under a key, in the place of what is there.
    pub(super) fn put(
        &mut self,
        key: K,
        content: Kind::Content<V>,
        expires: u64,
    ) -> Result<(), PersistError> {
        let record = record(deadline(expires, self.now, self.wall));
        let record = encode_values(&content, record).map_err(misfit)?;
        let old = self.in_file(&key)?;
        self.change(key, old, Some((content, expires)), Some(record))
    }

    /// Takes away what is under a key.
    pub(super) fn remove(&mut self, key: K) -> Result<(), PersistError> {
        let old = self.in_file(&key)?;
        self.change(key, old, None, None)
    }

    /// As [`put`](Self::put) or [`remove`](Self::remove), under the key of an entry of the table itself.
    pub(super) fn change_entry(
        &mut self,
        entry: Item<'_, K, Kind::Content<V>>,
        to: Option<Kind::Content<V>>,
    ) -> Result<(), PersistError> {
        let old = match self.pending.unsaved.get(entry.key) {
            Some(_) => None,
            None => Some(encode(entry.key, Vec::new()).map_err(misfit)?),
        };
        let record = match &to {
            None => None,
            Some(content) => {
                let record = record(deadline(entry.expires, self.now, self.wall));
                Some(encode_values(content, record).map_err(misfit)?)
            }
        };
        let to = to.map(|content| (content, entry.expires));
        self.change(entry.key.clone(), old, to, record)
    }

    /// The bytes that a key has in the file, if it is in memory and `unsaved` does not know. They may be others
    /// than those of the key that it is looked for by, if these are equal all the same.
    fn in_file(&self, key: &K) -> Result<Option<Vec<u8>>, PersistError> {
        if self.pending.unsaved.get(key).is_some() {
            return Ok(None);
        }
        let pass = self.inner.common.pass(Need::Keep);
        let bytes = self.inner.store.read(&pass, key, |entry| {
            entry.map(|entry| encode(entry.key, Vec::new()))
        })?;
        bytes.transpose().map_err(misfit)
    }

    fn change(
        &mut self,
        key: K,
        old: Option<Vec<u8>>,
        to: Option<(Kind::Content<V>, u64)>,
        record: Option<Vec<u8>>,
    ) -> Result<(), PersistError> {
        let change = Change {
            bytes: encode(&key, Vec::new()).map_err(misfit)?,
            key,
            to,
            record,
            old,
        };
        match self.places.get(&change.key).copied() {
            Some(place) => self.mine[place] = change,
            None => {
                self.places.insert(change.key.clone(), self.mine.len());
                self.mine.push(change);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_on_the_hosts_clock_is_one_on_the_systems_and_back() {
        let (now, wall) = (1_000, 1_700_000_000);
        assert_eq!(deadline(1_500, now, wall), wall + 500);
        assert_eq!(expires(wall + 500, now, wall), Some(1_500));
        assert_eq!(expires(wall + 500, 7, wall + 499), Some(8));
        assert_eq!(expires(wall + 500, 7, wall + 500), None);
    }

    #[test]
    fn what_never_expires_does_not_in_a_file() {
        assert_eq!(deadline(NEVER, 5, 6), FOREVER);
        assert_eq!(expires(FOREVER, 5, 6), Some(NEVER));
        // And what expires at the end of all time is not for ever.
        assert_eq!(deadline(NEVER - 1, 0, 10), FOREVER - 1);
        assert_eq!(expires(FOREVER - 1, 10, 0), Some(NEVER - 1));
    }

    #[test]
    fn what_has_expired_has_a_deadline_that_has_passed() {
        assert_eq!(deadline(900, 1_000, 50_000), 49_900);
        assert_eq!(deadline(0, 1_000, 500), 0);
    }
}
