//! Going through all objects: selecting, counting, deleting, replacing and folding.
//!
//! What OTP says with a match specification is a closure here: of a key and a value it says whether, or what,
//! is wanted. None of these is a snapshot: each object is seen once, as it is when it is come to, if it is
//! there throughout; others may or may not be seen. A lock is held for some hundred objects at a time, so
//! writers go on meanwhile.

use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::ControlFlow;

use super::engine::Holds;
use super::error::TableError;
use super::kind::{Finds, Keeps, Replaces, TableKind};
use super::objects::Picked;
use super::store::{Find, Item, Spot, Store};
use super::table::{Inner, Table};

/// How many objects are taken out, or replaced, before they are dropped.
const SHEAF: usize = 1024;

impl<K: 'static, V: 'static, Kind: Keeps<K, V>> Table<K, V, Kind> {
    /// What `select` makes of those objects of which it makes something. In the order of the keys in an
    /// ordered set. OTP: `ets:select/2`.
    pub fn select<R>(
        &self,
        mut select: impl FnMut(&K, &V) -> Option<R>,
    ) -> Result<Vec<R>, TableError> {
        let mut selected = Vec::new();
        self.inner
            .each(|key, value| selected.extend(select(key, value)))?;
        Ok(selected)
    }

    /// As [`select`](Self::select), in pages of `limit`, each of which is looked for when it is asked for.
    /// OTP: `ets:select/3`, and `ets:select/1` for the next page: what this returns is the continuation.
    ///
    /// ```
    /// # use noex::prelude::*;
    /// # use noex::Table;
    /// # let system = System::new()?;
    /// let numbers = system.table(Table::<u32, u32>::builder())?;
    /// numbers.insert_many((0..25).map(|n| (n, n * n)))?;
    /// let mut even = numbers.select_pages(5, |n, square| (n % 2 == 0).then_some(*square));
    /// assert_eq!(even.next_page()?.map(|page| page.len()), Some(5));
    /// let rest: Result<Vec<_>, _> = even.collect();
    /// assert_eq!(rest?.iter().map(Vec::len).collect::<Vec<_>>(), [5, 3]);
    /// # Ok::<(), noex::Error>(())
    /// ```
    pub fn select_pages<R, F>(&self, limit: usize, select: F) -> Pages<K, V, Kind, R, F>
    where
        F: FnMut(&K, &V) -> Option<R>,
    {
        Pages {
            table: self.clone(),
            limit: limit.max(1),
            select,
            at: At::Start,
            ahead: Vec::new(),
            selected: PhantomData,
        }
    }

    /// Clones of the objects that are wanted. OTP: `ets:match_object/2`.
    pub fn match_object(
        &self,
        mut wanted: impl FnMut(&K, &V) -> bool,
    ) -> Result<Vec<(K, V)>, TableError>
    where
        K: Clone,
        V: Clone,
    {
        self.select(|key, value| wanted(key, value).then(|| (key.clone(), value.clone())))
    }

    /// Clones of all objects. OTP: `ets:tab2list/1`.
    pub fn to_list(&self) -> Result<Vec<(K, V)>, TableError>
    where
        K: Clone,
        V: Clone,
    {
        self.match_object(|_, _| true)
    }

    /// How many objects are wanted. OTP: `ets:select_count/2`.
    pub fn select_count(
        &self,
        mut wanted: impl FnMut(&K, &V) -> bool,
    ) -> Result<usize, TableError> {
        let mut count = 0;
        self.inner
            .each(|key, value| count += usize::from(wanted(key, value)))?;
        Ok(count)
    }

    /// Deletes the objects that are wanted; how many that were. OTP: `ets:select_delete/2`.
    pub fn select_delete(
        &self,
        mut wanted: impl FnMut(&K, &V) -> bool,
    ) -> Result<usize, TableError> {
        let inner = &self.inner;
        let mut picked = Picked::<K, V, Kind>::default();
        let mut at = None;
        loop {
            at = inner
                .store
                .edit(&inner.common.write(), at.as_ref(), |spot| {
                    picked.take(spot, &mut wanted);
                    flow(picked.waiting() >= SHEAF)
                })?;
            picked.drop_all();
            if at.is_none() {
                return Ok(picked.count);
            }
        }
    }

    /// Replaces the values of which `replace` makes another; how many that were. Each is atomic. The key
    /// stays, and so does the time that the object has. Not for a [`Bag`](super::Bag), where two objects could
    /// become equal. OTP: `ets:select_replace/2`.
    pub fn select_replace(
        &self,
        mut replace: impl FnMut(&K, &V) -> Option<V>,
    ) -> Result<usize, TableError>
    where
        Kind: Replaces,
    {
        let inner = &self.inner;
        let mut exchange = Exchange::default();
        let mut at = None;
        loop {
            at = inner
                .store
                .edit(&inner.common.write(), at.as_ref(), |spot| {
                    exchange.replace::<K, Kind::Content<V>>(spot, &mut replace);
                    flow(exchange.old.len() >= SHEAF)
                })?;
            exchange.old.clear();
            if at.is_none() {
                return Ok(exchange.count);
            }
        }
    }

    /// Calls `fold` with what it returned before, at first `start`, and each object; what it returns at last.
    /// In the order of the keys in an ordered set. OTP: `ets:foldl/3`.
    pub fn foldl<A>(
        &self,
        start: A,
        mut fold: impl FnMut(A, &K, &V) -> A,
    ) -> Result<A, TableError> {
        let mut folded = Some(start);
        self.inner
            .each(|key, value| folded = folded.take().map(|so_far| fold(so_far, key, value)))?;
        // Taken only while `fold` runs.
        folded.ok_or(TableError::Gone)
    }

    /// As [`foldl`](Self::foldl), in an ordered set from the last to the first. OTP: `ets:foldr/3`.
    pub fn foldr<A>(
        &self,
        start: A,
        mut fold: impl FnMut(A, &K, &V) -> A,
    ) -> Result<A, TableError> {
        let inner = &self.inner;
        let mut folded = Some(start);
        Kind::backwards(&inner.store, &inner.common.read(), |key, content| {
            for value in content.values().iter().rev() {
                folded = folded.take().map(|so_far| fold(so_far, key, value));
            }
        })?;
        folded.ok_or(TableError::Gone)
    }

    /// Calls `visit` with each object until it breaks, with what it breaks. In the order of the keys in an
    /// ordered set.
    pub fn visit<B>(
        &self,
        mut visit: impl FnMut(&K, &V) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, TableError> {
        let inner = &self.inner;
        let mut end = ControlFlow::Continue(());
        let _at = inner.store.scan(&inner.common.read(), None, |entry| {
            for value in entry.content.values() {
                end = visit(entry.key, value);
                if end.is_break() {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        Ok(end)
    }
}

/// Values that took the place of others, which are to be dropped when no lock is held.
struct Exchange<V> {
    count: usize,
    old: Vec<V>,
    new: Vec<(usize, V)>,
}

impl<V> Default for Exchange<V> {
    fn default() -> Self {
        Exchange {
            count: 0,
            old: Vec::new(),
            new: Vec::new(),
        }
    }
}

impl<V> Exchange<V> {
    /// Replaces those values at a place of which `replace` makes others.
    fn replace<K, C: Holds<V>>(
        &mut self,
        spot: &mut impl Spot<K, C>,
        mut replace: impl FnMut(&K, &V) -> Option<V>,
    ) {
        self.new.clear();
        let Some(entry) = spot.entry() else {
            return;
        };
        for (place, value) in entry.content.values().iter().enumerate() {
            let new = replace(entry.key, value);
            self.new.extend(new.map(|value| (place, value)));
        }
        self.count += self.new.len();
        spot.alter(|content| {
            for (place, value) in self.new.drain(..) {
                self.old.extend(content.exchange(place, value));
            }
        });
    }
}

fn flow(stop: bool) -> ControlFlow<()> {
    match stop {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    }
}

impl<K: 'static, V: 'static, Kind: Keeps<K, V>> Inner<K, V, Kind> {
    /// Replaces those values of a key of which `replace` makes others; how many that were.
    pub(super) fn replace_at<Q: ?Sized>(
        &self,
        key: &Q,
        replace: impl FnMut(&K, &V) -> Option<V>,
    ) -> Result<usize, TableError>
    where
        K: Borrow<Q>,
        Kind: Finds<K, V, Q>,
    {
        let mut exchange = Exchange::default();
        self.store.write(&self.common.write(), key, |spot| {
            exchange.replace(spot, replace);
        })?;
        Ok(exchange.count)
    }

    fn each(&self, mut visit: impl FnMut(&K, &V)) -> Result<(), TableError> {
        let _end = self.store.scan(&self.common.read(), None, |entry| {
            each_of::<K, V, Kind>(entry, &mut visit);
            ControlFlow::Continue(())
        })?;
        Ok(())
    }
}

fn each_of<K: 'static, V: 'static, Kind: Keeps<K, V>>(
    entry: Item<'_, K, Kind::Content<V>>,
    mut visit: impl FnMut(&K, &V),
) {
    for value in entry.content.values() {
        visit(entry.key, value);
    }
}

/// A selection that is under way: [`Table::select_pages`]. It can be kept, and moved, as long as one likes;
/// it holds nothing still. An iterator over pages, too, which ends after an error.
#[must_use = "a page is looked for when it is asked for"]
pub struct Pages<K, V, Kind: TableKind, R, F> {
    table: Table<K, V, Kind>,
    limit: usize,
    select: F,
    at: At<Kind::Cursor<K>>,
    /// Selected already, but for a later page: the objects of one key are looked at together.
    ahead: Vec<R>,
    selected: PhantomData<R>,
}

/// How far a selection has come.
enum At<C> {
    Start,
    Before(C),
    End,
}

impl<K, V, Kind: TableKind, R, F> fmt::Debug for Pages<K, V, Kind, R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages")
            .field("table", &self.table)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl<K, V, Kind, R, F> Pages<K, V, Kind, R, F>
where
    K: 'static,
    V: 'static,
    Kind: Keeps<K, V>,
    F: FnMut(&K, &V) -> Option<R>,
{
    /// The next page: as many as the limit says, fewer only if it is the last. `None`: there is no more. OTP:
    /// `'$end_of_table'`.
    pub fn next_page(&mut self) -> Result<Option<Vec<R>>, TableError> {
        let inner = &self.table.inner;
        let (ahead, select, limit) = (&mut self.ahead, &mut self.select, self.limit);
        let from = match &self.at {
            At::Start => None,
            At::Before(at) => Some(at),
            At::End => return Ok(page(ahead, limit)),
        };
        if ahead.len() < limit {
            let at = inner.store.scan(&inner.common.read(), from, |entry| {
                each_of::<K, V, Kind>(entry, |key, value| ahead.extend(select(key, value)));
                flow(ahead.len() >= limit)
            });
            // After an error there is nothing to go on with.
            self.at = At::End;
            self.at = at?.map_or(At::End, At::Before);
        }
        Ok(page(ahead, limit))
    }
}

fn page<R>(ahead: &mut Vec<R>, limit: usize) -> Option<Vec<R>> {
    let rest = ahead.split_off(limit.min(ahead.len()));
    let page = std::mem::replace(ahead, rest);
    (!page.is_empty()).then_some(page)
}

impl<K, V, Kind, R, F> Iterator for Pages<K, V, Kind, R, F>
where
    K: 'static,
    V: 'static,
    Kind: Keeps<K, V>,
    F: FnMut(&K, &V) -> Option<R>,
{
    type Item = Result<Vec<R>, TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_page().transpose()
    }
}
