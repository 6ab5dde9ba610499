//! What is done with the objects of one key, or with several objects at once.

use std::borrow::Borrow;

use super::common::Expiry;
use super::engine::{Holds, Storage};
use super::error::TableError;
use super::kind::{Finds, Keeps, TableKind};
use super::store::{Batch, Entry, Find, Place, Spot, Store};
use super::table::{Inner, Table};

/// What a store of this kind calls the place of a key.
type SpotOf<'a, K, V, Kind> =
    <<Kind as Storage>::Store<K, V> as Store<K, <Kind as Storage>::Content<V>>>::Spot<'a>;

impl<K: 'static, V: 'static, Kind: Keeps<K, V>> Table<K, V, Kind> {
    /// Inserts an object. In sets it replaces the one with the same key, key and all; in bags it comes behind
    /// those that have the key, in a [`Bag`](super::Bag) unless an equal one is there. OTP: `ets:insert/2`.
    pub fn insert(&self, key: K, value: V) -> Result<(), TableError> {
        self.insert_with(key, value, Expiry::Default)
    }

    /// As [`insert`](Self::insert), and says how long the object stays. In bags all objects of the key have
    /// one time, that of the last insert.
    pub fn insert_with(&self, key: K, value: V, expiry: Expiry) -> Result<(), TableError> {
        let inner = &self.inner;
        let expires = inner.expires(expiry);
        // Here and below: what may be left over is dropped at the end, when no lock is held any more, also
        // if something panics.
        let mut new = Some(Kind::Content::<V>::of(value));
        let mut old = None;
        inner.store.enter(&inner.common.write(), key, |place| {
            old = put::<K, V, Kind>(place, &mut new, expires);
        })?;
        inner.expect(expires);
        Ok(())
    }

    /// Inserts an object unless there is one with its key; whether it did. OTP: `ets:insert_new/2`.
    pub fn insert_new(&self, key: K, value: V) -> Result<bool, TableError> {
        self.insert_new_with(key, value, Expiry::Default)
    }

    /// As [`insert_new`](Self::insert_new), and says how long the object stays.
    pub fn insert_new_with(&self, key: K, value: V, expiry: Expiry) -> Result<bool, TableError> {
        let inner = &self.inner;
        let expires = inner.expires(expiry);
        let mut new = Some(Kind::Content::<V>::of(value));
        let inserted = inner.store.enter(&inner.common.write(), key, |place| {
            if place.spot.entry().is_some() {
                return false;
            }
            if let Some(new) = new.take() {
                // Nothing was there.
                let _old = place.insert(new, expires);
            }
            true
        })?;
        if inserted {
            inner.expect(expires);
        }
        Ok(inserted)
    }

    /// Inserts all of these, in their order, at once: nobody sees, or changes, the table with some of them
    /// inserted and others not. OTP: `ets:insert/2` with a list.
    pub fn insert_many(&self, objects: impl IntoIterator<Item = (K, V)>) -> Result<(), TableError> {
        self.insert_many_with(objects, Expiry::Default)
    }

    /// As [`insert_many`](Self::insert_many), and says how long the objects stay.
    pub fn insert_many_with(
        &self,
        objects: impl IntoIterator<Item = (K, V)>,
        expiry: Expiry,
    ) -> Result<(), TableError> {
        self.insert_batch(objects, expiry, false).map(|_| ())
    }

    /// Inserts all of these, at once, unless there is an object with a key of one of them; whether it did.
    /// Those with the same key do not stand in each other's way: they go in one after the other. OTP:
    /// `ets:insert_new/2` with a list.
    pub fn insert_new_many(
        &self,
        objects: impl IntoIterator<Item = (K, V)>,
    ) -> Result<bool, TableError> {
        self.insert_new_many_with(objects, Expiry::Default)
    }

    /// As [`insert_new_many`](Self::insert_new_many), and says how long the objects stay.
    pub fn insert_new_many_with(
        &self,
        objects: impl IntoIterator<Item = (K, V)>,
        expiry: Expiry,
    ) -> Result<bool, TableError> {
        self.insert_batch(objects, expiry, true)
    }

    fn insert_batch(
        &self,
        objects: impl IntoIterator<Item = (K, V)>,
        expiry: Expiry,
        new_only: bool,
    ) -> Result<bool, TableError> {
        let inner = &self.inner;
        let expires = inner.expires(expiry);
        let entry = |(key, value)| Entry {
            key,
            content: Kind::Content::<V>::of(value),
            expires,
        };
        let objects: Vec<_> = objects.into_iter().map(entry).collect();
        let (done, _left) = inner.store.batch(&inner.common.write(), objects, |batch| {
            if new_only && (0..batch.len()).any(|i| batch.entry(i).is_some()) {
                return false;
            }
            for i in 0..batch.len() {
                if !Kind::JOINS {
                    batch.insert(i);
                    continue;
                }
                let (Some(old), Some(new)) = (batch.entry(i), batch.object(i)) else {
                    batch.insert(i);
                    continue;
                };
                // One that is there already says anew how long it stays.
                let joins = Kind::may_join(old.content, &new.content);
                batch.merge(i, |old, new| match joins {
                    true => old.push(new),
                    false => Some(new),
                });
            }
            true
        })?;
        if done {
            inner.expect(expires);
        }
        Ok(done)
    }

    /// A clone of the value, or values, under a key. OTP: `ets:lookup/2`.
    #[inline]
    pub fn lookup<Q: ?Sized>(&self, key: &Q) -> Result<Kind::Found<V>, TableError>
    where
        K: Borrow<Q>,
        V: Clone,
        Kind: Finds<K, V, Q>,
    {
        self.inner.look(key, |content| Kind::cloned(content))
    }

    /// What `look` makes of the value under a key, in its place, without a clone of it; of the values, in
    /// bags. `None`: there is none.
    #[inline]
    pub fn read<Q: ?Sized, R>(
        &self,
        key: &Q,
        look: impl FnOnce(Kind::View<'_, V>) -> R,
    ) -> Result<Option<R>, TableError>
    where
        K: Borrow<Q>,
        Kind: Finds<K, V, Q>,
    {
        self.inner.look(key, |content| {
            content.map(|content| look(Kind::view(content)))
        })
    }

    /// A part of the value under a key, which must be there; in bags, of each value. OTP:
    /// `ets:lookup_element/3`.
    ///
    /// # Errors
    /// [`TableError::BadKey`]: there is no object with this key.
    pub fn lookup_element<Q: ?Sized, R>(
        &self,
        key: &Q,
        select: impl FnMut(&V) -> R,
    ) -> Result<Kind::Element<R>, TableError>
    where
        K: Borrow<Q>,
        Kind: Finds<K, V, Q>,
    {
        let select = |content: &Kind::Content<V>| Kind::element(content, select);
        self.inner
            .look(key, |content| content.map(select))?
            .ok_or(TableError::BadKey)
    }

    /// As [`lookup_element`](Self::lookup_element), with what it gives if the key is not there. OTP:
    /// `ets:lookup_element/4`.
    pub fn lookup_element_or<Q: ?Sized, R>(
        &self,
        key: &Q,
        select: impl FnMut(&V) -> R,
        default: Kind::Element<R>,
    ) -> Result<Kind::Element<R>, TableError>
    where
        K: Borrow<Q>,
        Kind: Finds<K, V, Q>,
    {
        match self.lookup_element(key, select) {
            Err(TableError::BadKey) => Ok(default),
            other => other,
        }
    }

    /// Whether there is an object with this key. OTP: `ets:member/2`.
    pub fn member<Q: ?Sized>(&self, key: &Q) -> Result<bool, TableError>
    where
        K: Borrow<Q>,
        Kind: Finds<K, V, Q>,
    {
        self.inner.look(key, |content| content.is_some())
    }

    /// Deletes all objects with this key; whether there were any. OTP: `ets:delete/2`.
    pub fn delete<Q: ?Sized>(&self, key: &Q) -> Result<bool, TableError>
    where
        K: Borrow<Q>,
        Kind: Finds<K, V, Q>,
    {
        let inner = &self.inner;
        let removed = inner
            .store
            .write(&inner.common.write(), key, |spot| spot.remove())?;
        Ok(removed.is_some())
    }

    /// Deletes the objects that have this key and a value equal to this; how many that were. OTP:
    /// `ets:delete_object/2`.
    pub fn delete_object<Q: ?Sized>(&self, key: &Q, value: &V) -> Result<usize, TableError>
    where
        K: Borrow<Q>,
        V: PartialEq,
        Kind: Finds<K, V, Q>,
    {
        self.inner.delete_at(key, |_, candidate| candidate == value)
    }

    /// Takes the value under a key out, or the values. OTP: `ets:take/2`.
    pub fn take<Q: ?Sized>(&self, key: &Q) -> Result<Kind::Found<V>, TableError>
    where
        K: Borrow<Q>,
        Kind: Finds<K, V, Q>,
    {
        let inner = &self.inner;
        let removed = inner
            .store
            .write(&inner.common.write(), key, |spot| spot.remove())?;
        Ok(Kind::taken(removed.map(|removed| removed.content)))
    }

    /// Says anew how long the object stays that has this key, or all of them; whether there is one.
    pub fn expire<Q: ?Sized>(&self, key: &Q, expiry: Expiry) -> Result<bool, TableError>
    where
        K: Borrow<Q>,
        Kind: Finds<K, V, Q>,
    {
        let inner = &self.inner;
        let expires = inner.expires(expiry);
        let there = inner
            .store
            .write(&inner.common.write(), key, |spot| spot.expire(expires))?;
        if there {
            inner.expect(expires);
        }
        Ok(there)
    }
}

/// Inserts a content at its place; what is there no more comes back.
fn put<K: 'static, V: 'static, Kind: Keeps<K, V>>(
    place: &mut Place<'_, K, SpotOf<'_, K, V, Kind>>,
    new: &mut Option<Kind::Content<V>>,
    expires: u64,
) -> Option<Entry<K, Kind::Content<V>>> {
    if Kind::JOINS {
        if let (Some(old), Some(content)) = (place.spot.entry(), new.as_ref()) {
            if Kind::may_join(old.content, content) {
                place.spot.alter(|old| {
                    if let Some(content) = new.take() {
                        *new = old.push(content);
                    }
                });
            }
            place.spot.expire(expires);
            return None;
        }
    }
    place.insert(new.take()?, expires)
}

impl<K: 'static, V: 'static, Kind: Keeps<K, V>> Inner<K, V, Kind> {
    /// Looks at what is under a key.
    #[inline]
    pub(super) fn look<Q: ?Sized, R>(
        &self,
        key: &Q,
        look: impl FnOnce(Option<&Kind::Content<V>>) -> R,
    ) -> Result<R, TableError>
    where
        K: Borrow<Q>,
        Kind: Finds<K, V, Q>,
    {
        self.store.read(&self.common.read(), key, |entry| {
            look(entry.map(|entry| entry.content))
        })
    }
}

impl<K: 'static, V: 'static, Kind: Keeps<K, V>> Inner<K, V, Kind> {
    /// Deletes those objects with this key that are wanted; how many that were.
    pub(super) fn delete_at<Q: ?Sized>(
        &self,
        key: &Q,
        wanted: impl FnMut(&K, &V) -> bool,
    ) -> Result<usize, TableError>
    where
        K: Borrow<Q>,
        Kind: Finds<K, V, Q>,
    {
        let mut picked = Picked::<K, V, Kind>::default();
        self.store.write(&self.common.write(), key, |spot| {
            picked.take(spot, wanted);
        })?;
        Ok(picked.count)
    }
}

/// Objects that were taken out one by one, to be dropped when no lock is held.
pub(super) struct Picked<K, V, Kind: TableKind> {
    pub(super) count: usize,
    entries: Vec<super::store::Removed<K, Kind::Content<V>>>,
    values: Vec<V>,
    places: Vec<usize>,
}

impl<K: 'static, V: 'static, Kind: Keeps<K, V>> Default for Picked<K, V, Kind> {
    fn default() -> Self {
        Picked {
            count: 0,
            entries: Vec::new(),
            values: Vec::new(),
            places: Vec::new(),
        }
    }
}

impl<K: 'static, V: 'static, Kind: Keeps<K, V>> Picked<K, V, Kind> {
    /// Takes the objects out that `wanted` says.
    pub(super) fn take<S: Spot<K, Kind::Content<V>>>(
        &mut self,
        spot: &mut S,
        mut wanted: impl FnMut(&K, &V) -> bool,
    ) {
        let Some(entry) = spot.entry() else {
            return;
        };
        self.places.clear();
        let values = entry.content.values();
        let total = values.len();
        for (at, value) in values.iter().enumerate() {
            if wanted(entry.key, value) {
                self.places.push(at);
            }
        }
        self.count += self.places.len();
        if self.places.len() == total {
            self.entries.extend(spot.remove());
        } else if !self.places.is_empty() {
            let places = &self.places;
            let picked = spot.alter(|content| content.pick(places));
            self.values.extend(picked.into_iter().flatten());
        }
    }

    /// How many wait to be dropped.
    pub(super) fn waiting(&self) -> usize {
        self.entries.len() + self.values.len()
    }

    /// Drops what was taken out so far.
    pub(super) fn drop_all(&mut self) {
        self.entries.clear();
        self.values.clear();
    }
}
