//! What each kind of table does with its objects, and where it keeps them.
//!
//! [`Storage`] names the types, for whatever keys and values, so that a table's handle asks nothing of
//! them; [`Engine`] is what a kind can do with keys and values that it can keep.

use std::borrow::Borrow;
use std::hash::Hash;
use std::ops::{Bound, ControlFlow};

use super::common::Pass;
use super::error::TableError;
use super::keeper::Rubbish;
use super::kind::{Bag, DuplicateBag, OrderedSet, Set, TableKind};
use super::store::{
    Cleared, Content, Find, HashStore, Many, One, OrderedStore, Position, Seek, Store,
};

/// Where a kind keeps its objects.
pub(crate) trait Storage {
    /// What is under one key.
    type Content<V>;
    type Store<K, V>;
    /// Where a traversal is.
    type Cursor<K>;
}

impl Storage for Set {
    type Content<V> = One<V>;
    type Store<K, V> = HashStore<K, One<V>>;
    type Cursor<K> = Position;
}

impl Storage for OrderedSet {
    type Content<V> = One<V>;
    type Store<K, V> = OrderedStore<K, One<V>>;
    type Cursor<K> = Bound<K>;
}

impl Storage for Bag {
    type Content<V> = Many<V>;
    type Store<K, V> = HashStore<K, Many<V>>;
    type Cursor<K> = Position;
}

impl Storage for DuplicateBag {
    type Content<V> = Many<V>;
    type Store<K, V> = HashStore<K, Many<V>>;
    type Cursor<K> = Position;
}

/// What a kind does with objects.
pub(crate) trait Engine<K: 'static, V: 'static>:
    TableKind
    + Storage<
        Content<V>: Holds<V>,
        Cursor<K>: Clone + Send + 'static,
        Store<K, V>: Store<
            K,
            <Self as Storage>::Content<V>,
            Cursor = <Self as Storage>::Cursor<K>,
        > + Send
                         + Sync,
    >
{
    /// An object joins those that its key has, instead of replacing it.
    const JOINS: bool;

    /// Whether `new` may join `old`.
    fn may_join(old: &Self::Content<V>, new: &Self::Content<V>) -> bool;
    fn view(content: &Self::Content<V>) -> Self::View<'_, V>;
    fn cloned(content: Option<&Self::Content<V>>) -> Self::Found<V>
    where
        V: Clone;
    fn taken(content: Option<Self::Content<V>>) -> Self::Found<V>;
    fn element<R>(content: &Self::Content<V>, select: impl FnMut(&V) -> R) -> Self::Element<R>;

    /// What was cleared out of a store, to be dropped bit by bit.
    fn rubbish(cleared: Cleared<K, Self::Content<V>>) -> Box<dyn Rubbish>;
    /// The first key, or the last.
    fn edge(
        store: &Self::Store<K, V>,
        pass: &Pass<'_>,
        back: bool,
    ) -> Result<Option<K>, TableError>
    where
        K: Clone;
    /// Visits all entries, from the last to the first if there is an order.
    fn backwards(
        store: &Self::Store<K, V>,
        pass: &Pass<'_>,
        visit: impl FnMut(&K, &Self::Content<V>),
    ) -> Result<(), TableError>;
}

/// What a kind does with keys that are looked for by a `Q`.
pub(crate) trait Finder<K, V, Q: ?Sized>:
    Engine<K, V> + Storage<Store<K, V>: Find<K, <Self as Storage>::Content<V>, Q>>
where
    K: Borrow<Q> + 'static,
    V: 'static,
{
    /// The key after `key`, or before it.
    fn step(
        store: &Self::Store<K, V>,
        pass: &Pass<'_>,
        key: &Q,
        back: bool,
    ) -> Result<Option<K>, TableError>
    where
        K: Clone;
}

/// What is under one key, as a list.
pub(crate) trait Holds<V>: Content + Send + Sync {
    fn of(value: V) -> Self;
    fn values(&self) -> &[V];
    /// Adds the values of `other` behind those that are there, where there can be several. What comes back
    /// has no place.
    fn push(&mut self, other: Self) -> Option<Self>;
    /// Takes out the values at these places, given in order; others must be left.
    fn pick(&mut self, places: &[usize]) -> Vec<V>;
    /// Puts a value in the place of another, which comes back.
    fn exchange(&mut self, place: usize, value: V) -> Option<V>;
}

impl<V: Send + Sync + 'static> Holds<V> for One<V> {
    fn of(value: V) -> Self {
        One(value)
    }
    #[inline]
    fn values(&self) -> &[V] {
        std::slice::from_ref(&self.0)
    }
    fn push(&mut self, other: Self) -> Option<Self> {
        Some(std::mem::replace(self, other))
    }
    fn pick(&mut self, _: &[usize]) -> Vec<V> {
        Vec::new()
    }
    fn exchange(&mut self, _: usize, value: V) -> Option<V> {
        Some(std::mem::replace(&mut self.0, value))
    }
}

impl<V: Send + Sync + 'static> Holds<V> for Many<V> {
    fn of(value: V) -> Self {
        Many(vec![value])
    }
    #[inline]
    fn values(&self) -> &[V] {
        &self.0
    }
    fn push(&mut self, other: Self) -> Option<Self> {
        self.0.extend(other.0);
        None
    }
    fn pick(&mut self, places: &[usize]) -> Vec<V> {
        let mut picked = Vec::with_capacity(places.len());
        let mut left = Vec::with_capacity(self.0.len() - places.len());
        let mut places = places.iter().peekable();
        for (at, value) in std::mem::take(&mut self.0).into_iter().enumerate() {
            if places.next_if(|place| **place == at).is_some() {
                picked.push(value);
            } else {
                left.push(value);
            }
        }
        self.0 = left;
        picked
    }
    fn exchange(&mut self, place: usize, value: V) -> Option<V> {
        let old = self.0.get_mut(place)?;
        Some(std::mem::replace(old, value))
    }
}

/// The functions of an engine whose keys have one value.
macro_rules! one {
    () => {
        const JOINS: bool = false;

        fn may_join(_: &One<V>, _: &One<V>) -> bool {
            true
        }
        #[inline]
        fn view(content: &One<V>) -> &V {
            &content.0
        }
        #[inline]
        fn cloned(content: Option<&One<V>>) -> Option<V>
        where
            V: Clone,
        {
            content.map(|content| content.0.clone())
        }
        fn taken(content: Option<One<V>>) -> Option<V> {
            content.map(|content| content.0)
        }
        #[inline]
        fn element<R>(content: &One<V>, mut select: impl FnMut(&V) -> R) -> R {
            select(&content.0)
        }
        fn rubbish(cleared: Cleared<K, One<V>>) -> Box<dyn Rubbish> {
            Box::new(cleared)
        }
    };
}

/// The functions of an engine whose keys have several values.
macro_rules! many {
    () => {
        const JOINS: bool = true;

        #[inline]
        fn view(content: &Many<V>) -> &[V] {
            &content.0
        }
        fn cloned(content: Option<&Many<V>>) -> Vec<V>
        where
            V: Clone,
        {
            content.map_or_else(Vec::new, |content| content.0.clone())
        }
        fn taken(content: Option<Many<V>>) -> Vec<V> {
            content.map_or_else(Vec::new, |content| content.0)
        }
        fn element<R>(content: &Many<V>, select: impl FnMut(&V) -> R) -> Vec<R> {
            content.0.iter().map(select).collect()
        }
        fn rubbish(cleared: Cleared<K, Many<V>>) -> Box<dyn Rubbish> {
            Box::new(cleared)
        }
    };
}

/// The functions of an engine without an order.
macro_rules! unordered {
    () => {
        fn edge(
            store: &Self::Store<K, V>,
            pass: &Pass<'_>,
            _: bool,
        ) -> Result<Option<K>, TableError>
        where
            K: Clone,
        {
            first_from(store, pass, None)
        }
        fn backwards(
            store: &Self::Store<K, V>,
            pass: &Pass<'_>,
            mut visit: impl FnMut(&K, &Self::Content<V>),
        ) -> Result<(), TableError> {
            let _end = store.scan(pass, None, |entry| {
                visit(entry.key, entry.content);
                ControlFlow::Continue(())
            })?;
            Ok(())
        }
    };
}

impl<K: Hash + Eq + Send + Sync + 'static, V: Send + Sync + 'static> Engine<K, V> for Set {
    one!();
    unordered!();
}

impl<K, V> Engine<K, V> for OrderedSet
where
    K: Ord + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    one!();

    fn edge(
        store: &Self::Store<K, V>,
        pass: &Pass<'_>,
        back: bool,
    ) -> Result<Option<K>, TableError> {
        let seek: Seek<'_, K> = if back { Seek::Last } else { Seek::First };
        store.seek(pass, seek, |entry| entry.map(|entry| entry.key.clone()))
    }
    fn backwards(
        store: &Self::Store<K, V>,
        pass: &Pass<'_>,
        mut visit: impl FnMut(&K, &One<V>),
    ) -> Result<(), TableError> {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let _end = store.range_back::<_, K>(pass, all, |entry| {
            visit(entry.key, entry.content);
            ControlFlow::Continue(())
        })?;
        Ok(())
    }
}

impl<K, V> Engine<K, V> for Bag
where
    K: Hash + Eq + Send + Sync + 'static,
    V: PartialEq + Send + Sync + 'static,
{
    many!();
    unordered!();

    fn may_join(old: &Many<V>, new: &Many<V>) -> bool {
        new.0.iter().all(|new| !old.0.contains(new))
    }
}

impl<K: Hash + Eq + Send + Sync + 'static, V: Send + Sync + 'static> Engine<K, V> for DuplicateBag {
    many!();
    unordered!();

    fn may_join(_: &Many<V>, _: &Many<V>) -> bool {
        true
    }
}

/// The first key at or behind a place.
fn first_from<K: Clone + 'static, C: Content, S: Store<K, C>>(
    store: &S,
    pass: &Pass<'_>,
    from: Option<&S::Cursor>,
) -> Result<Option<K>, TableError> {
    let mut first = None;
    let _more = store.scan(pass, from, |entry| {
        first = Some(entry.key.clone());
        ControlFlow::Break(())
    })?;
    Ok(first)
}

/// The key after another one, where there is no order.
fn next_after<K, C, S, Q>(store: &S, pass: &Pass<'_>, key: &Q) -> Result<Option<K>, TableError>
where
    K: Clone + Borrow<Q> + 'static,
    C: Content,
    S: Find<K, C, Q>,
    Q: ?Sized,
{
    match store.after(pass, key)? {
        Some(at) => first_from(store, pass, Some(&at)),
        None => Err(TableError::BadKey),
    }
}

/// The function of a finder without an order.
macro_rules! step_without_order {
    () => {
        fn step(
            store: &Self::Store<K, V>,
            pass: &Pass<'_>,
            key: &Q,
            _: bool,
        ) -> Result<Option<K>, TableError>
        where
            K: Clone,
        {
            next_after(store, pass, key)
        }
    };
}

impl<K, V, Q> Finder<K, V, Q> for Set
where
    K: Hash + Eq + Borrow<Q> + Send + Sync + 'static,
    V: Send + Sync + 'static,
    Q: Hash + Eq + ?Sized,
{
    step_without_order!();
}

impl<K, V, Q> Finder<K, V, Q> for Bag
where
    K: Hash + Eq + Borrow<Q> + Send + Sync + 'static,
    V: PartialEq + Send + Sync + 'static,
    Q: Hash + Eq + ?Sized,
{
    step_without_order!();
}

impl<K, V, Q> Finder<K, V, Q> for DuplicateBag
where
    K: Hash + Eq + Borrow<Q> + Send + Sync + 'static,
    V: Send + Sync + 'static,
    Q: Hash + Eq + ?Sized,
{
    step_without_order!();
}

impl<K, V, Q> Finder<K, V, Q> for OrderedSet
where
    K: Ord + Clone + Borrow<Q> + Send + Sync + 'static,
    V: Send + Sync + 'static,
    Q: Ord + ?Sized,
{
    fn step(
        store: &Self::Store<K, V>,
        pass: &Pass<'_>,
        key: &Q,
        back: bool,
    ) -> Result<Option<K>, TableError> {
        let seek = match back {
            true => Seek::Before(key),
            false => Seek::After(key),
        };
        store.seek(pass, seek, |entry| entry.map(|entry| entry.key.clone()))
    }
}
