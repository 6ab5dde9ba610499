//! Objects of sets that are changed in their place, each change atomic and isolated.
//!
//! A change is made on a clone, which then takes the place of the value: a closure that panics leaves the
//! object as it was, and so does one operation of several that cannot be done. For a value that is large to
//! clone, keep an `Arc` of it and replace that, or keep its parts under keys of their own.

use std::borrow::Borrow;

use super::common::Expiry;
use super::counter::{Counter, CounterUpdate, Increment};
use super::error::TableError;
use super::kind::{Finds, Unique};
use super::store::{Find, One, Spot, Store};
use super::table::{Inner, Table};

impl<K: 'static, V: Clone + 'static, Kind: Unique<K, V>> Table<K, V, Kind> {
    /// Changes the value under a key; what `change` returns, or `None` if there is none. How long the object
    /// stays does not change. (OTP has no such thing: there are no closures in its tables.)
    pub fn update<Q: ?Sized, R>(
        &self,
        key: &Q,
        change: impl FnOnce(&mut V) -> R,
    ) -> Result<Option<R>, TableError>
    where
        K: Borrow<Q>,
        Kind: Finds<K, V, Q>,
    {
        self.inner.change(key, |value| Ok(change(value)))
    }

    /// As [`update`](Self::update); if there is no value, it begins with `default`, which then stays as long
    /// as the table says.
    pub fn update_or<R>(
        &self,
        key: K,
        default: V,
        change: impl FnOnce(&mut V) -> R,
    ) -> Result<R, TableError> {
        self.inner
            .change_or(key, default, |value| Ok(change(value)))
    }

    /// Sets a part of the value under a key; whether there is one. For several parts at once use
    /// [`update`](Self::update). OTP: `ets:update_element/3`.
    ///
    /// ```
    /// # use noex::prelude::*;
    /// # use noex::Table;
    /// #[derive(Clone)]
    /// struct User { name: String, visits: u64 }
    ///
    /// # let system = System::new()?;
    /// let users = system.table(Table::<u32, User>::builder())?;
    /// users.insert(1, User { name: "ann".into(), visits: 0 })?;
    /// users.update_element(&1, |user| &mut user.name, "bob".into())?;
    /// assert_eq!(users.lookup_element(&1, |user| user.name.clone())?, "bob");
    /// # Ok::<(), noex::Error>(())
    /// ```
    pub fn update_element<Q: ?Sized, P>(
        &self,
        key: &Q,
        part: impl FnOnce(&mut V) -> &mut P,
        to: P,
    ) -> Result<bool, TableError>
    where
        K: Borrow<Q>,
        Kind: Finds<K, V, Q>,
    {
        // What is replaced, or not needed, is dropped with this, when no lock is held.
        let mut to = Some(to);
        let done = self.inner.change(key, |value| {
            if let Some(to) = &mut to {
                std::mem::swap(part(value), to);
            }
            Ok(())
        })?;
        Ok(done.is_some())
    }

    /// As [`update_element`](Self::update_element), of `default` if there is no value. OTP:
    /// `ets:update_element/4`.
    pub fn update_element_or<P>(
        &self,
        key: K,
        default: V,
        part: impl FnOnce(&mut V) -> &mut P,
        to: P,
    ) -> Result<(), TableError> {
        let mut to = Some(to);
        self.inner.change_or(key, default, |value| {
            if let Some(to) = &mut to {
                std::mem::swap(part(value), to);
            }
            Ok(())
        })
    }

    /// Adds to a counter in the value under a key; what it is then. OTP: `ets:update_counter/3`.
    ///
    /// ```
    /// # use noex::prelude::*;
    /// # use noex::Table;
    /// use noex::ets::Increment;
    ///
    /// # let system = System::new()?;
    /// let hits = system.table(Table::<&str, u8>::builder())?;
    /// hits.insert("home", 7)?;
    /// assert_eq!(hits.update_counter("home", |n| n, 1)?, 8);
    /// // Begins again with 1 after 9.
    /// let wrap = Increment::by(3).threshold(9, 1);
    /// assert_eq!(hits.update_counter("home", |n| n, wrap)?, 1);
    /// # Ok::<(), noex::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`TableError::BadKey`]: there is no object with this key. [`TableError::Overflow`]: the result does not
    /// fit the counter (OTP's counters have no limit).
    pub fn update_counter<Q: ?Sized, N: Counter>(
        &self,
        key: &Q,
        counter: impl FnOnce(&mut V) -> &mut N,
        by: impl Into<Increment>,
    ) -> Result<N, TableError>
    where
        K: Borrow<Q>,
        Kind: Finds<K, V, Q>,
    {
        let by = by.into();
        self.inner
            .change(key, |value| by.apply(counter(value)))?
            .ok_or(TableError::BadKey)
    }

    /// As [`update_counter`](Self::update_counter), of `default` if there is no value. OTP:
    /// `ets:update_counter/4`.
    ///
    /// # Errors
    /// [`TableError::Overflow`].
    pub fn update_counter_or<N: Counter>(
        &self,
        key: K,
        default: V,
        counter: impl FnOnce(&mut V) -> &mut N,
        by: impl Into<Increment>,
    ) -> Result<N, TableError> {
        let by = by.into();
        self.inner
            .change_or(key, default, |value| by.apply(counter(value)))
    }

    /// Adds to several counters in the value under a key, one after the other, at once; what each is after its
    /// turn. If one of them cannot be done, none is. OTP: `ets:update_counter/3` with a list.
    ///
    /// ```
    /// # use noex::prelude::*;
    /// # use noex::Table;
    /// use noex::ets::CounterUpdate;
    ///
    /// # let system = System::new()?;
    /// let stock = system.table(Table::<&str, (u32, i64)>::builder())?;
    /// stock.insert("apples", (10, 0))?;
    /// let sell = [
    ///     CounterUpdate::new(|(left, _)| left, -4),
    ///     CounterUpdate::new(|(_, earned)| earned, 200),
    /// ];
    /// assert_eq!(stock.update_counters("apples", sell)?, [6, 200]);
    /// # Ok::<(), noex::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`update_counter`](Self::update_counter).
    pub fn update_counters<Q: ?Sized>(
        &self,
        key: &Q,
        updates: impl IntoIterator<Item = CounterUpdate<V>>,
    ) -> Result<Vec<i128>, TableError>
    where
        K: Borrow<Q>,
        Kind: Finds<K, V, Q>,
    {
        let updates: Vec<_> = updates.into_iter().collect();
        self.inner
            .change(key, |value| {
                updates.iter().map(|it| it.apply(value)).collect()
            })?
            .ok_or(TableError::BadKey)
    }

    /// As [`update_counters`](Self::update_counters), of `default` if there is no value.
    ///
    /// # Errors
    /// [`TableError::Overflow`].
    pub fn update_counters_or(
        &self,
        key: K,
        default: V,
        updates: impl IntoIterator<Item = CounterUpdate<V>>,
    ) -> Result<Vec<i128>, TableError> {
        let updates: Vec<_> = updates.into_iter().collect();
        self.inner.change_or(key, default, |value| {
            updates.iter().map(|it| it.apply(value)).collect()
        })
    }
}

impl<K: 'static, V: Clone + 'static, Kind: Unique<K, V>> Inner<K, V, Kind> {
    /// Changes a value, unless `change` fails. `None`: there is none.
    pub(super) fn change<Q: ?Sized, R>(
        &self,
        key: &Q,
        change: impl FnOnce(&mut V) -> Result<R, TableError>,
    ) -> Result<Option<R>, TableError>
    where
        K: Borrow<Q>,
        Kind: Finds<K, V, Q>,
    {
        // The clone, then the value that it replaced: dropped when no lock is held.
        let mut spare = None;
        let changed = self.store.write(&self.common.write(), key, |spot| {
            replace(spot, &mut spare, change)
        })?;
        match changed {
            Some(result) => result.map(Some),
            None => Ok(None),
        }
    }

    /// As [`change`](Self::change), of `default` if there is none.
    pub(super) fn change_or<R>(
        &self,
        key: K,
        default: V,
        change: impl FnOnce(&mut V) -> Result<R, TableError>,
    ) -> Result<R, TableError> {
        let expires = self.expires(Expiry::Default);
        let (mut spare, mut default) = (None, Some(default));
        let (result, inserted) = self.store.enter(&self.common.write(), key, |place| {
            if place.spot.entry().is_some() {
                return (replace(&mut place.spot, &mut spare, change), false);
            }
            let result = default.as_mut().map(change);
            let done = matches!(result, Some(Ok(_)));
            if done {
                let value = default.take().map(One);
                // Nothing was there.
                let _old = value.and_then(|value| place.insert(value, expires));
            }
            (result, done)
        })?;
        if inserted {
            self.expect(expires);
        }
        // There was something at the place or else there is the default.
        result.unwrap_or(Err(TableError::BadKey))
    }
}

/// Changes a clone of what is at the place, and puts it there unless the change fails. `None`: nothing is
/// there.
fn replace<K, V: Clone, S: Spot<K, One<V>>, R>(
    spot: &mut S,
    spare: &mut Option<V>,
    change: impl FnOnce(&mut V) -> Result<R, TableError>,
) -> Option<Result<R, TableError>> {
    let entry = spot.entry()?;
    let expires = entry.expires;
    let value = spare.insert(entry.content.0.clone());
    let result = change(value);
    if result.is_ok() {
        let value = spare.take()?;
        match spot.replace(One(value), expires) {
            Ok(One(old)) | Err(One(old)) => *spare = Some(old),
        }
    }
    Some(result)
}
