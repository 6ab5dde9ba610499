//! The kinds of tables, as types: what a kind cannot do does not compile.

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::ops::ControlFlow;

use super::common::Pass;
use super::error::TableError;
use super::keeper::Rubbish;
use super::store::{Cleared, Content, Find, HashStore, Many, One, OrderedStore, Seek, Store};

/// One object a key, in no order. `K: Hash + Eq`. OTP: `set`.
#[derive(Debug, Clone, Copy)]
pub enum Set {}

/// One object a key, in the order of the keys. `K: Ord + Clone`. OTP: `ordered_set`.
#[derive(Debug, Clone, Copy)]
pub enum OrderedSet {}

/// Many objects a key, but no two that are equal. `K: Hash + Eq`, `V: PartialEq`. OTP: `bag`.
#[derive(Debug, Clone, Copy)]
pub enum Bag {}

/// Many objects a key, equal ones too. `K: Hash + Eq`. OTP: `duplicate_bag`.
#[derive(Debug, Clone, Copy)]
pub enum DuplicateBag {}

/// Of what kind a table is, as [`TableInfo`](super::TableInfo) says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TableType {
    /// [`Set`].
    Set,
    /// [`OrderedSet`].
    OrderedSet,
    /// [`Bag`].
    Bag,
    /// [`DuplicateBag`].
    DuplicateBag,
}

impl fmt::Display for TableType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TableType::Set => "set",
            TableType::OrderedSet => "ordered_set",
            TableType::Bag => "bag",
            TableType::DuplicateBag => "duplicate_bag",
        })
    }
}

mod sealed {
    pub trait Sealed {}
}
use sealed::Sealed;

/// A kind of table: [`Set`], [`OrderedSet`], [`Bag`] or [`DuplicateBag`]. Sealed.
pub trait TableKind: Sealed + Send + Sync + 'static {
    /// Its name as a value.
    const TYPE: TableType;
    /// What is under a key, seen in its place: `&V` in sets; in bags `&[V]`, in the order of insertion, and
    /// never none.
    type View<'a, V: 'a>;
    /// What a look-up gives: an `Option<T>` in sets; in bags a `Vec<T>`, empty if there is nothing.
    type Found<T>;
    /// What a look-up of a key that must be there gives: `T` in sets, a `Vec<T>` in bags.
    type Element<T>;
}

/// What a table of a kind does with keys and values of these types, and where it keeps them.
pub(crate) trait Engine<K: 'static, V: 'static>: TableKind {
    type Content: Holds<V>;
    type Store: Store<K, Self::Content, Cursor: Send + Sync> + Send + Sync;
    /// An object joins those that its key has, instead of replacing it.
    const JOINS: bool;

    /// Whether `new` may join `old`.
    fn may_join(old: &Self::Content, new: &Self::Content) -> bool;
    fn view(content: &Self::Content) -> Self::View<'_, V>;
    fn cloned(content: Option<&Self::Content>) -> Self::Found<V>
    where
        V: Clone;
    fn taken(content: Option<Self::Content>) -> Self::Found<V>;
    fn element<R>(content: &Self::Content, select: impl FnMut(&V) -> R) -> Self::Element<R>;

    /// What was cleared out of a store, to be dropped bit by bit.
    fn rubbish(cleared: Cleared<K, Self::Content>) -> Box<dyn Rubbish>;
    /// The first key, or the last.
    fn edge(store: &Self::Store, pass: &Pass<'_>, back: bool) -> Result<Option<K>, TableError>
    where
        K: Clone;
    /// Visits all entries from the last to the first if there is an order, else as it comes.
    fn backwards(
        store: &Self::Store,
        pass: &Pass<'_>,
        visit: impl FnMut(&K, &Self::Content),
    ) -> Result<(), TableError>;
}

/// As [`Engine`], with keys that are looked for by a `Q`.
pub(crate) trait Finder<K, V, Q: ?Sized>:
    Engine<K, V, Store: Find<K, <Self as Engine<K, V>>::Content, Q>>
where
    K: Borrow<Q> + 'static,
    V: 'static,
{
    /// The key after `key`, or before it.
    fn step(
        store: &Self::Store,
        pass: &Pass<'_>,
        key: &Q,
        back: bool,
    ) -> Result<Option<K>, TableError>
    where
        K: Clone;
}

/// What a content of a table holds, as a list.
pub(crate) trait Holds<V>: Content + Send + Sync {
    fn of(value: V) -> Self;
    fn values(&self) -> &[V];
    /// Adds the values of `other` behind those that are there, where both may be several. What comes back
    /// has no place.
    fn push(&mut self, other: Self) -> Option<Self>;
    /// Takes out the values at these places, given in order, if others are left.
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

/// A kind of table can keep such keys and values. Sealed.
///
/// All keys and values are `Send + Sync + 'static`. What else each kind wants of them stands with its
/// type.
#[allow(private_bounds)] // sealed by it
pub trait Keeps<K: 'static, V: 'static>: Engine<K, V> {}

/// A kind of table can find its keys by a `Q`, as std's maps do: `String`s by `str`, for example. `Q: Hash
/// + Eq`, in ordered sets `Q: Ord`. Sealed.
#[allow(private_bounds)] // sealed by it
pub trait Finds<K, V, Q: ?Sized>: Keeps<K, V> + Finder<K, V, Q>
where
    K: Borrow<Q> + 'static,
    V: 'static,
{
}

/// A kind of table that keeps one object a key: [`Set`] and [`OrderedSet`]. Sealed.
#[allow(private_bounds)] // sealed by it
pub trait Unique<K: 'static, V: 'static>: Keeps<K, V> + Engine<K, V, Content = One<V>> {}

/// A kind of table whose objects can be replaced one by one: all but [`Bag`], where two could become equal.
/// Sealed.
pub trait Replaces: TableKind {}

impl Replaces for Set {}
impl Replaces for OrderedSet {}
impl Replaces for DuplicateBag {}

/// The functions that read a content as one value, or as several.
macro_rules! reads {
    (one) => {
        type Content = One<V>;
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
    };
    (many) => {
        type Content = Many<V>;
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
    };
}

/// The functions that depend on whether there is an order.
macro_rules! unordered {
    () => {
        fn edge(store: &Self::Store, pass: &Pass<'_>, _: bool) -> Result<Option<K>, TableError>
        where
            K: Clone,
        {
            first_from(store, pass, None)
        }
        fn backwards(
            store: &Self::Store,
            pass: &Pass<'_>,
            mut visit: impl FnMut(&K, &Self::Content),
        ) -> Result<(), TableError> {
            let _end = store.scan(pass, None, |entry| {
                visit(&entry.key, &entry.content);
                ControlFlow::Continue(())
            })?;
            Ok(())
        }
    };
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

macro_rules! kinds {
    ($($kind:ident, $reads:ident, [$($key:tt)*], $store:ident, { $($order:tt)* }, { $($join:tt)* }, [$($value:tt)*];)*) => {$(
        impl Sealed for $kind {}

        impl<K: $($key)* + Send + Sync + 'static, V: $($value)* Send + Sync + 'static> Engine<K, V> for $kind {
            type Store = $store<K, Self::Content>;
            reads!($reads);

            fn rubbish(cleared: Cleared<K, Self::Content>) -> Box<dyn Rubbish> {
                Box::new(cleared)
            }
            $($join)*
            $($order)*
        }

        impl<K: $($key)* + Send + Sync + 'static, V: $($value)* Send + Sync + 'static> Keeps<K, V> for $kind {}
    )*};
}

kinds! {
    Set, one, [Hash + Eq], HashStore, { unordered!(); }, {}, [];
    OrderedSet, one, [Ord + Clone], OrderedStore, {
        fn edge(store: &Self::Store, pass: &Pass<'_>, back: bool) -> Result<Option<K>, TableError>
        where
            K: Clone,
        {
            let seek: Seek<'_, K> = if back { Seek::Last } else { Seek::First };
            store.seek(pass, seek, |entry| entry.map(|entry| entry.key.clone()))
        }
        fn backwards(
            store: &Self::Store,
            pass: &Pass<'_>,
            mut visit: impl FnMut(&K, &Self::Content),
        ) -> Result<(), TableError> {
            use std::ops::Bound::Unbounded;
            let _flow = store.range_back::<_, K>(pass, (Unbounded, Unbounded), |entry| {
                visit(&entry.key, &entry.content);
                ControlFlow::Continue(())
            })?;
            Ok(())
        }
    }, {}, [];
    Bag, many, [Hash + Eq], HashStore, { unordered!(); }, {
        fn may_join(old: &Many<V>, new: &Many<V>) -> bool {
            new.0.iter().all(|new| !old.0.contains(new))
        }
    }, [PartialEq +];
    DuplicateBag, many, [Hash + Eq], HashStore, { unordered!(); }, {
        fn may_join(_: &Many<V>, _: &Many<V>) -> bool {
            true
        }
    }, [];
}

impl<K: Hash + Eq + Send + Sync + 'static, V: Send + Sync + 'static> Unique<K, V> for Set {}
impl<K: Ord + Clone + Send + Sync + 'static, V: Send + Sync + 'static> Unique<K, V> for OrderedSet {}

macro_rules! view {
    ($($kind:ident, [$view:ty], [$found:ty], [$element:ty];)*) => {$(
        impl TableKind for $kind {
            const TYPE: TableType = TableType::$kind;
            type View<'a, V: 'a> = $view;
            type Found<T> = $found;
            type Element<T> = $element;
        }
    )*};
}

view! {
    Set, [&'a V], [Option<T>], [T];
    OrderedSet, [&'a V], [Option<T>], [T];
    Bag, [&'a [V]], [Vec<T>], [Vec<T>];
    DuplicateBag, [&'a [V]], [Vec<T>], [Vec<T>];
}

/// Finding in a store without an order.
macro_rules! finds {
    ($($kind:ident, [$($value:tt)*];)*) => {$(
        impl<K, V, Q> Finder<K, V, Q> for $kind
        where
            K: Hash + Eq + Borrow<Q> + Send + Sync + 'static,
            V: $($value)* Send + Sync + 'static,
            Q: Hash + Eq + ?Sized,
        {
            fn step(
                store: &Self::Store,
                pass: &Pass<'_>,
                key: &Q,
                _: bool,
            ) -> Result<Option<K>, TableError>
            where
                K: Clone,
            {
                match store.after(pass, key)? {
                    Some(at) => first_from(store, pass, Some(&at)),
                    None => Err(TableError::BadKey),
                }
            }
        }

        impl<K, V, Q> Finds<K, V, Q> for $kind
        where
            K: Hash + Eq + Borrow<Q> + Send + Sync + 'static,
            V: $($value)* Send + Sync + 'static,
            Q: Hash + Eq + ?Sized,
        {
        }
    )*};
}

finds! {
    Set, [];
    Bag, [PartialEq +];
    DuplicateBag, [];
}

impl<K, V, Q> Finder<K, V, Q> for OrderedSet
where
    K: Ord + Clone + Borrow<Q> + Send + Sync + 'static,
    V: Send + Sync + 'static,
    Q: Ord + ?Sized,
{
    fn step(
        store: &Self::Store,
        pass: &Pass<'_>,
        key: &Q,
        back: bool,
    ) -> Result<Option<K>, TableError>
    where
        K: Clone,
    {
        let seek = if back {
            Seek::Before(key)
        } else {
            Seek::After(key)
        };
        store.seek(pass, seek, |entry| entry.map(|entry| entry.key.clone()))
    }
}

impl<K, V, Q> Finds<K, V, Q> for OrderedSet
where
    K: Ord + Clone + Borrow<Q> + Send + Sync + 'static,
    V: Send + Sync + 'static,
    Q: Ord + ?Sized,
{
}
