//! The kinds of tables, as types: what a kind cannot do does not compile.

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;

use super::engine::{Engine, Finder, Storage};
use super::store::One;

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

/// A kind of table: [`Set`], [`OrderedSet`], [`Bag`] or [`DuplicateBag`]. Sealed.
#[allow(private_bounds)] // sealed by it
pub trait TableKind: Storage + Send + Sync + 'static {
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

impl TableKind for Set {
    const TYPE: TableType = TableType::Set;
    type View<'a, V: 'a> = &'a V;
    type Found<T> = Option<T>;
    type Element<T> = T;
}

impl TableKind for OrderedSet {
    const TYPE: TableType = TableType::OrderedSet;
    type View<'a, V: 'a> = &'a V;
    type Found<T> = Option<T>;
    type Element<T> = T;
}

impl TableKind for Bag {
    const TYPE: TableType = TableType::Bag;
    type View<'a, V: 'a> = &'a [V];
    type Found<T> = Vec<T>;
    type Element<T> = Vec<T>;
}

impl TableKind for DuplicateBag {
    const TYPE: TableType = TableType::DuplicateBag;
    type View<'a, V: 'a> = &'a [V];
    type Found<T> = Vec<T>;
    type Element<T> = Vec<T>;
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
pub trait Unique<K: 'static, V: 'static>: Keeps<K, V> + Storage<Content<V> = One<V>> {}

/// A kind of table whose objects can be replaced one by one: all but [`Bag`], where two could become equal.
/// Sealed.
pub trait Replaces: TableKind {}

impl<K: Hash + Eq + Send + Sync + 'static, V: Send + Sync + 'static> Keeps<K, V> for Set {}
impl<K: Hash + Eq + Send + Sync + 'static, V: Send + Sync + 'static> Keeps<K, V> for DuplicateBag {}
impl<K, V> Keeps<K, V> for OrderedSet
where
    K: Ord + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
}
impl<K, V> Keeps<K, V> for Bag
where
    K: Hash + Eq + Send + Sync + 'static,
    V: PartialEq + Send + Sync + 'static,
{
}

impl<K, V, Q> Finds<K, V, Q> for Set
where
    K: Hash + Eq + Borrow<Q> + Send + Sync + 'static,
    V: Send + Sync + 'static,
    Q: Hash + Eq + ?Sized,
{
}
impl<K, V, Q> Finds<K, V, Q> for OrderedSet
where
    K: Ord + Clone + Borrow<Q> + Send + Sync + 'static,
    V: Send + Sync + 'static,
    Q: Ord + ?Sized,
{
}
impl<K, V, Q> Finds<K, V, Q> for Bag
where
    K: Hash + Eq + Borrow<Q> + Send + Sync + 'static,
    V: PartialEq + Send + Sync + 'static,
    Q: Hash + Eq + ?Sized,
{
}
impl<K, V, Q> Finds<K, V, Q> for DuplicateBag
where
    K: Hash + Eq + Borrow<Q> + Send + Sync + 'static,
    V: Send + Sync + 'static,
    Q: Hash + Eq + ?Sized,
{
}

impl<K: Hash + Eq + Send + Sync + 'static, V: Send + Sync + 'static> Unique<K, V> for Set {}
impl<K, V> Unique<K, V> for OrderedSet
where
    K: Ord + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
}

impl Replaces for Set {}
impl Replaces for OrderedSet {}
impl Replaces for DuplicateBag {}
