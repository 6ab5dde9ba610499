//! From key to key, and from object to object.

use std::ops::ControlFlow;

use super::{Tables, TermTable, on};
use crate::ets::error::TableError;
use crate::exit::{OrderedTerm, Term};

/// A method of tables that gives a key.
macro_rules! key {
    ($self:expr, $method:ident($($key:expr)?)) => {
        match &$self.tables {
            Tables::Set(table) => table.$method($(&$key)?),
            Tables::OrderedSet(table) => {
                let key = table.$method($(&OrderedTerm($key))?)?;
                Ok(key.map(|key| key.0))
            }
            Tables::Bag(table) => table.$method($(&$key)?),
            Tables::DuplicateBag(table) => table.$method($(&$key)?),
        }
    };
}

impl TermTable {
    /// The first key; `None`: there is none. In tables without an order, any one. OTP: `ets:first/1`.
    pub fn first(&self) -> Result<Option<Term>, TableError> {
        key!(self, first())
    }

    /// The last key. In tables without an order, the same as [`first`](Self::first). OTP: `ets:last/1`.
    pub fn last(&self) -> Result<Option<Term>, TableError> {
        key!(self, last())
    }

    /// The key after this one; `None`: it is the last. OTP: `ets:next/2`.
    ///
    /// # Errors
    /// [`TableError::BadKey`]: the key is not there, and was not deleted since the table was
    /// [fixed](Self::fix). Never in ordered sets.
    pub fn next(&self, key: impl Into<Term>) -> Result<Option<Term>, TableError> {
        let key = key.into();
        key!(self, next(key))
    }

    /// The key before this one; `None`: it is the first. In tables without an order the same as
    /// [`next`](Self::next). OTP: `ets:prev/2`.
    ///
    /// # Errors
    /// As for [`next`](Self::next).
    pub fn prev(&self, key: impl Into<Term>) -> Result<Option<Term>, TableError> {
        let key = key.into();
        key!(self, prev(key))
    }

    /// All objects. In the order of the keys in an ordered set. OTP: `ets:tab2list/1`.
    pub fn to_list(&self) -> Result<Vec<Term>, TableError> {
        on!(self, table => table.select(|_, object| Some(object.0.clone())))
    }

    /// Calls `fold` with what it returned before, at first `start`, and each object; what it returns at last.
    /// In the order of the keys in an ordered set. No snapshot: see [`Table::select`](super::Table::select).
    /// OTP: `ets:foldl/3`.
    pub fn foldl<A>(&self, start: A, mut fold: impl FnMut(A, &Term) -> A) -> Result<A, TableError> {
        on!(self, table => table.foldl(start, |so_far, _, object| fold(so_far, &object.0)))
    }

    /// As [`foldl`](Self::foldl), in an ordered set from the last to the first. OTP: `ets:foldr/3`.
    pub fn foldr<A>(&self, start: A, mut fold: impl FnMut(A, &Term) -> A) -> Result<A, TableError> {
        on!(self, table => table.foldr(start, |so_far, _, object| fold(so_far, &object.0)))
    }

    /// Calls `visit` with each object until it breaks, with what it breaks.
    pub fn visit<B>(
        &self,
        mut visit: impl FnMut(&Term) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, TableError> {
        on!(self, table => table.visit(|_, object| visit(&object.0)))
    }
}
