//! What a table keeps its objects in: data structures with locks of their own, which know no process
//! and no owner.
//!
//! There are two, a [`HashStore`] for sets and bags and an [`OrderedStore`] for ordered sets. Both hold
//! one [`Entry`] for each key, with a content of [`One`] value or [`Many`], and both are used through the
//! traits here: [`Store`], and [`Find`] for what looks for a key by a borrowed form of it.
//!
//! What is done to an entry is a closure, which runs under the lock of the part of the store that the
//! entry is in. An operation comes with [`Terms`]: what to check once the lock is held (whether the table
//! is still there, whether the caller may), and what time it is.
//!
//! # Invariants
//! 1. Whatever users wrote (closures, `Hash`, `Eq`, `Ord`, `Clone` of keys and values) may panic or use
//!    tables, wherever it runs here: it never runs with a store halfway through a change. A panic leaves
//!    each entry as it was or as the closure made it, and of a [`Batch`] all entries as they were.
//! 2. No `Drop` of a key or a value runs under a lock. What leaves the store goes to the caller, or into a
//!    bin that is emptied when the lock is free again.
//! 3. Locks are taken in an order: of stores that of [`nesting`], within a store that of its parts.
//! 4. An entry whose time has come is absent for every operation, whether swept or not. Only
//!    [`Store::len`] counts it, and [`Store::sweep`] finds it.

use std::borrow::Borrow;
use std::ops::ControlFlow;

mod hash;
pub(crate) mod nesting;
mod ordered;
mod times;

#[cfg(test)]
mod tests;

pub(crate) use hash::{HashStore, Position};
pub(crate) use nesting::Nested;
pub(crate) use ordered::{OrderedStore, Seek};

/// The time of an entry that stays until it is removed.
pub(crate) const NEVER: u64 = u64::MAX;

/// How many entries a traversal looks at under one lock.
pub(crate) const SLICE: usize = 256;

/// What came of a slice of a traversal: where the next one begins; or that it is over, and where to go on
/// if there is more.
type Sliced<Cursor> = ControlFlow<Option<Cursor>, Cursor>;

/// One key and what is kept under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry<K, C> {
    pub(crate) key: K,
    pub(crate) content: C,
    /// When it is absent, in nanoseconds on the system's clock; [`NEVER`] if not.
    pub(crate) expires: u64,
}

impl<K, C> Entry<K, C> {
    fn item(&self) -> Item<'_, K, C> {
        Item {
            key: &self.key,
            content: &self.content,
            expires: self.expires,
        }
    }
}

/// An entry in its place: what an [`Entry`] has, wherever the store keeps it.
#[derive(Debug)]
pub(crate) struct Item<'a, K, C> {
    pub(crate) key: &'a K,
    pub(crate) content: &'a C,
    pub(crate) expires: u64,
}

impl<K, C> Clone for Item<'_, K, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, C> Copy for Item<'_, K, C> {}

impl<K, C> Item<'_, K, C> {
    /// Whether its time has not come.
    #[inline]
    pub(crate) fn lives(&self, terms: &impl Terms) -> bool {
        self.expires == NEVER || terms.now() < self.expires
    }
}

/// An entry taken out of a store.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Removed<K, C> {
    /// `None` if the store is fixed and keeps the key, to mark the place.
    pub(crate) key: Option<K>,
    pub(crate) content: C,
    pub(crate) expires: u64,
}

/// What a traversal found out about the times of entries.
#[derive(Debug)]
pub(crate) struct Swept<K, C> {
    /// What it took out: to be dropped by the caller.
    pub(crate) removed: Vec<Removed<K, C>>,
    /// When the first of those that it left there will be absent; [`NEVER`] if none will.
    pub(crate) soonest: u64,
}

impl<K, C> Default for Swept<K, C> {
    fn default() -> Self {
        Swept {
            removed: Vec::new(),
            soonest: NEVER,
        }
    }
}

impl<K, C> Swept<K, C> {
    /// Takes the entry of `spot` out if its time has come.
    fn visit(&mut self, spot: &mut impl Spot<K, C>, terms: &impl Terms) {
        let Some(entry) = spot.entry() else {
            return;
        };
        if entry.lives(terms) {
            self.soonest = self.soonest.min(entry.expires);
        } else {
            self.removed.extend(spot.remove());
        }
    }
}

/// On what terms an operation is done.
pub(crate) trait Terms {
    /// Why it is not.
    type Refusal: From<Nested>;
    /// Checked with each lock that the operation takes, once it is held.
    fn admit(&self) -> Result<(), Self::Refusal>;
    /// The time; asked only for an entry that has one.
    fn now(&self) -> u64;
}

/// What an entry holds: objects, of which a table counts the number.
pub(crate) trait Content: Sized + 'static {
    /// How much memory each takes beyond the entry itself.
    const EACH: usize;
    /// How many.
    fn objects(&self) -> usize;
    /// Takes out what came after the first `at`.
    fn split_off(&mut self, at: usize) -> Option<Self>;
}

/// The value of a key in a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct One<V>(pub(crate) V);

/// The values of a key in a bag, in the order in which they were inserted; never none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Many<V>(pub(crate) Vec<V>);

impl<V: 'static> Content for One<V> {
    const EACH: usize = 0;
    #[inline]
    fn objects(&self) -> usize {
        1
    }
    fn split_off(&mut self, _: usize) -> Option<Self> {
        None
    }
}

impl<V: 'static> Content for Many<V> {
    const EACH: usize = size_of::<V>();
    #[inline]
    fn objects(&self) -> usize {
        self.0.len()
    }
    fn split_off(&mut self, at: usize) -> Option<Self> {
        Some(Many(self.0.split_off(at)))
    }
}

/// The place of one key, under its lock.
pub(crate) trait Spot<K, C> {
    /// What is there.
    fn entry(&self) -> Option<Item<'_, K, C>>;

    /// Changes the content in place. It must leave at least one object.
    fn alter<R>(&mut self, change: impl FnOnce(&mut C) -> R) -> Option<R>;

    /// Gives what is there another time. `false`: nothing is.
    fn expire(&mut self, expires: u64) -> bool;

    /// Puts other content in the place of what is there, under the same key: the former content comes
    /// back, or the new one if nothing is there.
    fn replace(&mut self, content: C, expires: u64) -> Result<C, C>;

    /// Takes out what is there.
    fn remove(&mut self) -> Option<Removed<K, C>>;

    /// Puts an entry here, whose key must be the one that this is the place of; what was there comes
    /// back.
    fn put(&mut self, entry: Entry<K, C>) -> Option<Entry<K, C>>;
}

/// The place of a key that the operation brought along.
pub(crate) struct Place<'a, K, S> {
    pub(crate) spot: S,
    key: &'a mut Option<K>,
}

impl<K, S> Place<'_, K, S> {
    /// Puts an entry here, key and all, as `ets:insert/2` does; what was there comes back.
    pub(crate) fn insert<C>(&mut self, content: C, expires: u64) -> Option<Entry<K, C>>
    where
        S: Spot<K, C>,
    {
        let key = self.key.take()?;
        self.spot.put(Entry {
            key,
            content,
            expires,
        })
    }
}

/// Several objects and the places of all their keys, under all their locks. Unless the closure that has it
/// returns, nothing of what it did stays.
pub(crate) trait Batch<K, C> {
    /// How many objects there are.
    fn len(&self) -> usize;
    /// The `i`th; `None` once it is in the store.
    fn object(&self, i: usize) -> Option<&Entry<K, C>>;
    /// What is in the store under the key of the `i`th, which is still here.
    fn entry(&self, i: usize) -> Option<Item<'_, K, C>>;
    /// Puts the `i`th into the store, in the place of what is there under its key.
    fn insert(&mut self, i: usize);
    /// Puts the `i`th into the store. If there is something under its key, `join` gets that and the content
    /// of the `i`th, which it may add behind what is there, and no more. What it returns is thrown away. All
    /// of it then has the time of the `i`th.
    fn merge(&mut self, i: usize, join: impl FnOnce(&mut C, C) -> Option<C>);
}

/// What came of a [`Batch`], and the objects that are not in the store.
pub(crate) type Batched<R, K, C> = (R, Vec<Entry<K, C>>);

/// Entries by keys.
pub(crate) trait Store<K: 'static, C: Content>: Sized + 'static {
    /// Where a traversal is. One that goes on from where it was meets each entry that is there throughout,
    /// and meets it once, whatever else is done meanwhile.
    type Cursor: Clone;
    /// See [`Spot`].
    type Spot<'a>: Spot<K, C>
    where
        Self: 'a;
    /// See [`Batch`].
    type Batch<'a>: Batch<K, C>
    where
        Self: 'a;

    /// An empty one.
    fn new() -> Self;

    /// How many objects are in it: a sum over parts, exact if nothing changes meanwhile.
    fn len(&self) -> usize;

    /// How many bytes it takes: the store's own, and those of keys and values as far as they lie in it, not
    /// what they own elsewhere. Of bags, what their lists have in reserve is not counted. Takes no lock: as of
    /// the last change of how many objects there are.
    fn memory(&self) -> usize;

    /// In how many parts its entries are now, each with a lock of its own. Takes no lock.
    fn parts(&self) -> usize;

    /// Does `work` at the place of `key`.
    fn enter<T: Terms, R>(
        &self,
        terms: &T,
        key: K,
        work: impl FnOnce(&mut Place<'_, K, Self::Spot<'_>>) -> R,
    ) -> Result<R, T::Refusal>;

    /// Does `work` with several objects, all or nothing, and isolated. Those that are not in the store
    /// then come back.
    fn batch<T: Terms, R>(
        &self,
        terms: &T,
        objects: Vec<Entry<K, C>>,
        work: impl FnOnce(&mut Self::Batch<'_>) -> R,
    ) -> Result<Batched<R, K, C>, T::Refusal>;

    /// Visits entries from `from` on, or from the first, until `visit` breaks: then where to go on, else
    /// `None`. A lock is held for at most [`SLICE`] of them at a time.
    fn scan<T: Terms>(
        &self,
        terms: &T,
        from: Option<&Self::Cursor>,
        visit: impl FnMut(Item<'_, K, C>) -> ControlFlow<()>,
    ) -> Result<Option<Self::Cursor>, T::Refusal>;

    /// As [`scan`](Self::scan), with leave to change what is visited.
    fn edit<T: Terms>(
        &self,
        terms: &T,
        from: Option<&Self::Cursor>,
        visit: impl FnMut(&mut Self::Spot<'_>) -> ControlFlow<()>,
    ) -> Result<Option<Self::Cursor>, T::Refusal>;

    /// Takes entries whose time has come out into `swept`, looking at no more than `slices` times [`SLICE`].
    /// Where to go on, if there is more to look at.
    fn sweep<T: Terms>(
        &self,
        terms: &T,
        from: Option<&Self::Cursor>,
        slices: usize,
        swept: &mut Swept<K, C>,
    ) -> Result<Option<Self::Cursor>, T::Refusal>;

    /// Takes out all at once, isolated. What was in it is the caller's to drop, in pieces if it is much.
    fn clear<T: Terms>(&self, terms: &T) -> Result<Cleared<K, C>, T::Refusal>;

    /// Until [`unfix`](Self::unfix), as often as this, a removed key still has a place, from which a
    /// traversal can go on.
    fn fix(&self);

    /// Takes back a [`fix`](Self::fix). The last one forgets the removed keys.
    fn unfix(&self) -> Result<(), Nested>;
}

/// What looks for a key by a borrowed form of it.
pub(crate) trait Find<K: Borrow<Q> + 'static, C: Content, Q: ?Sized>: Store<K, C> {
    /// Looks at the entry of `key`.
    fn read<T: Terms, R>(
        &self,
        terms: &T,
        key: &Q,
        look: impl FnOnce(Option<Item<'_, K, C>>) -> R,
    ) -> Result<R, T::Refusal>;

    /// Does `work` at the place of `key`.
    fn write<T: Terms, R>(
        &self,
        terms: &T,
        key: &Q,
        work: impl FnOnce(&mut Self::Spot<'_>) -> R,
    ) -> Result<R, T::Refusal>;

    /// Where a traversal goes on that has come to `key`. `None`: the store does not know the key, and has
    /// no order in which it could be between others.
    fn after<T: Terms>(&self, terms: &T, key: &Q) -> Result<Option<Self::Cursor>, T::Refusal>;
}

/// Counts `after` in the place of `before`; nothing is written if that changes nothing, as others may be
/// reading it.
#[inline]
fn recount(objects: &mut usize, before: usize, after: usize) {
    if before != after {
        *objects = objects.wrapping_add(after).wrapping_sub(before);
    }
}

/// Changes a content that counts for `objects`, and counts it again, after a panic as well.
fn counted<C: Content, R>(
    content: &mut C,
    objects: &mut usize,
    change: impl FnOnce(&mut C) -> R,
) -> R {
    struct Recount<'a, C: Content> {
        content: &'a mut C,
        objects: &'a mut usize,
        before: usize,
    }
    impl<C: Content> Drop for Recount<'_, C> {
        fn drop(&mut self) {
            recount(self.objects, self.before, self.content.objects());
        }
    }
    let recount = Recount {
        before: content.objects(),
        content,
        objects,
    };
    change(recount.content)
}

/// What leaves a store under a lock and is nobody's: dropped when the lock is free again. It is made for each
/// operation, and few put anything in.
struct Bin<K, C>(Option<Box<Rubbish<K, C>>>);

struct Rubbish<K, C> {
    entries: Vec<Entry<K, C>>,
    keys: Vec<K>,
    contents: Vec<C>,
}

impl<K, C> Default for Bin<K, C> {
    fn default() -> Self {
        Bin(None)
    }
}

impl<K, C> Bin<K, C> {
    fn open(&mut self) -> &mut Rubbish<K, C> {
        self.0.get_or_insert_with(|| {
            Box::new(Rubbish {
                entries: Vec::new(),
                keys: Vec::new(),
                contents: Vec::new(),
            })
        })
    }

    fn entries(&mut self, entries: impl IntoIterator<Item = Entry<K, C>>) {
        for entry in entries {
            self.open().entries.push(entry);
        }
    }

    fn keys(&mut self, keys: impl IntoIterator<Item = K>) {
        for key in keys {
            self.open().keys.push(key);
        }
    }

    fn contents(&mut self, contents: impl IntoIterator<Item = C>) {
        for content in contents {
            self.open().contents.push(content);
        }
    }
}

/// All that was in a store.
pub(crate) struct Cleared<K, C> {
    parts: Vec<Part<K, C>>,
    objects: usize,
}

/// What a part of a store was.
enum Part<K, C> {
    Slots(Vec<hash::Slot<K, C>>),
    Columns(Vec<K>, Vec<C>),
    Contents(Vec<C>),
}

impl<K, C> Cleared<K, C> {
    /// How many objects there were.
    pub(crate) fn objects(&self) -> usize {
        self.objects
    }

    /// Drops at most `count` entries; whether there are more.
    pub(crate) fn drop_some(&mut self, count: usize) -> bool {
        for _ in 0..count {
            let Some(part) = self.parts.last_mut() else {
                return false;
            };
            let left = match part {
                Part::Slots(slots) => slots.pop().is_some(),
                Part::Columns(keys, contents) => {
                    drop(keys.pop());
                    contents.pop().is_some()
                }
                Part::Contents(contents) => contents.pop().is_some(),
            };
            if !left {
                self.parts.pop();
            }
        }
        !self.parts.is_empty()
    }
}
