//! Traversals by keys, and ranges of ordered sets.

use std::borrow::Borrow;
use std::ops::{ControlFlow, RangeBounds};

use super::error::TableError;
use super::kind::{Finds, Keeps, OrderedSet};
use super::table::Table;

impl<K: Clone + 'static, V: 'static, Kind: Keeps<K, V>> Table<K, V, Kind> {
    /// The first key; `None`: there is none. In tables without an order, any one. OTP: `ets:first/1`.
    pub fn first(&self) -> Result<Option<K>, TableError> {
        let inner = &self.inner;
        Kind::edge(&inner.store, &inner.common.read(), false)
    }

    /// The last key. In tables without an order, the same as [`first`](Self::first). OTP: `ets:last/1`.
    pub fn last(&self) -> Result<Option<K>, TableError> {
        let inner = &self.inner;
        Kind::edge(&inner.store, &inner.common.read(), true)
    }

    /// The key after this one; `None`: it is the last. OTP: `ets:next/2`.
    ///
    /// From one to the next, each key is met once that is there throughout; where keys are deleted
    /// meanwhile, [`fix`](Self::fix) the table.
    ///
    /// # Errors
    /// [`TableError::BadKey`]: the key is not there, and was not deleted since the table was fixed. Never in
    /// ordered sets, where the next key is the next greater one whether or not this one is there.
    pub fn next<Q: ?Sized>(&self, key: &Q) -> Result<Option<K>, TableError>
    where
        K: Borrow<Q>,
        Kind: Finds<K, V, Q>,
    {
        let inner = &self.inner;
        Kind::step(&inner.store, &inner.common.read(), key, false)
    }

    /// The key before this one; `None`: it is the first. In tables without an order the same as
    /// [`next`](Self::next). OTP: `ets:prev/2`.
    ///
    /// # Errors
    /// As for [`next`](Self::next).
    pub fn prev<Q: ?Sized>(&self, key: &Q) -> Result<Option<K>, TableError>
    where
        K: Borrow<Q>,
        Kind: Finds<K, V, Q>,
    {
        let inner = &self.inner;
        Kind::step(&inner.store, &inner.common.read(), key, true)
    }
}

impl<K, V> Table<K, V, OrderedSet>
where
    K: Ord + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// Clones of the objects whose keys are in a range, in their order. (OTP: `ets:select/2` with a key that
    /// is bound in part.) For a part of them, or without clones: [`visit_range`](Self::visit_range).
    ///
    /// Bounds the wrong way round are a range without keys.
    ///
    /// ```
    /// # use noex::prelude::*;
    /// use noex::Table;
    /// use noex::ets::OrderedSet;
    ///
    /// # let system = System::new()?;
    /// let ages = system.table(Table::<u8, &str, OrderedSet>::builder())?;
    /// ages.insert_many([(17, "ann"), (18, "bob"), (65, "eve")])?;
    /// assert_eq!(ages.range(18..)?, [(18, "bob"), (65, "eve")]);
    /// assert_eq!(ages.range_back(..=18)?, [(18, "bob"), (17, "ann")]);
    /// # Ok::<(), noex::Error>(())
    /// ```
    pub fn range<Q, B>(&self, bounds: B) -> Result<Vec<(K, V)>, TableError>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
        B: RangeBounds<Q>,
        V: Clone,
    {
        let mut objects = Vec::new();
        let _all = self.visit_range(bounds, |key, value| {
            objects.push((key.clone(), value.clone()));
            ControlFlow::<()>::Continue(())
        })?;
        Ok(objects)
    }

    /// As [`range`](Self::range), from the last to the first.
    pub fn range_back<Q, B>(&self, bounds: B) -> Result<Vec<(K, V)>, TableError>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
        B: RangeBounds<Q>,
        V: Clone,
    {
        let mut objects = Vec::new();
        let _all = self.visit_range_back(bounds, |key, value| {
            objects.push((key.clone(), value.clone()));
            ControlFlow::<()>::Continue(())
        })?;
        Ok(objects)
    }

    /// Calls `visit` with the objects whose keys are in a range, in their order, until it breaks, with what it
    /// breaks. No snapshot.
    pub fn visit_range<Q, B, R>(
        &self,
        bounds: B,
        mut visit: impl FnMut(&K, &V) -> ControlFlow<R>,
    ) -> Result<ControlFlow<R>, TableError>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
        B: RangeBounds<Q>,
    {
        let inner = &self.inner;
        let mut end = ControlFlow::Continue(());
        let bounds = (bounds.start_bound(), bounds.end_bound());
        let _flow = inner.store.range(&inner.common.read(), bounds, |entry| {
            end = visit(entry.key, &entry.content.0);
            match end {
                ControlFlow::Continue(()) => ControlFlow::Continue(()),
                ControlFlow::Break(_) => ControlFlow::Break(()),
            }
        })?;
        Ok(end)
    }

    /// As [`visit_range`](Self::visit_range), from the last to the first.
    pub fn visit_range_back<Q, B, R>(
        &self,
        bounds: B,
        mut visit: impl FnMut(&K, &V) -> ControlFlow<R>,
    ) -> Result<ControlFlow<R>, TableError>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
        B: RangeBounds<Q>,
    {
        let inner = &self.inner;
        let mut end = ControlFlow::Continue(());
        let bounds = (bounds.start_bound(), bounds.end_bound());
        let _flow = inner
            .store
            .range_back(&inner.common.read(), bounds, |entry| {
                end = visit(entry.key, &entry.content.0);
                match end {
                    ControlFlow::Continue(()) => ControlFlow::Continue(()),
                    ControlFlow::Break(_) => ControlFlow::Break(()),
                }
            })?;
        Ok(end)
    }
}
