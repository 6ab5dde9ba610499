//! Objects of sets that are changed in their place, each change atomic and isolated. Of several changes at
//! once all are done or none.

use super::objects::element;
use super::{Object, Tables, TermTable};
use crate::ets::common::Need;
use crate::ets::counter::Increment;
use crate::ets::error::TableError;
use crate::exit::{OrderedTerm, Term, TermKind};

/// What is added to which element of an object. A plain number is one, too: it is added to the element behind
/// the key. OTP: the `UpdateOp` of `ets:update_counter/3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CounterOp {
    /// `None`: behind the key.
    at: Option<usize>,
    by: Increment,
}

impl CounterOp {
    /// Adds to the element at a position, counted from 1.
    ///
    /// ```
    /// # use noex::prelude::*;
    /// # use noex::TermTable;
    /// use noex::ets::{CounterOp, Increment, TableType};
    ///
    /// # let system = System::new()?;
    /// let hits = system.term_table(TermTable::builder(TableType::Set))?;
    /// hits.insert(("home", 7, 0))?;
    /// assert_eq!(hits.update_counter("home", 1)?, 8);
    /// // Begins again with 1 after 9.
    /// let wrap = Increment::by(3).threshold(9, 1);
    /// assert_eq!(hits.update_counters("home", [CounterOp::at(3, 5), CounterOp::at(2, wrap)])?, [5, 1]);
    /// # Ok::<(), noex::Error>(())
    /// ```
    pub fn at(position: usize, by: impl Into<Increment>) -> CounterOp {
        CounterOp {
            at: Some(position),
            by: by.into(),
        }
    }

    /// Adds to the element behind the key.
    pub fn by(by: impl Into<Increment>) -> CounterOp {
        CounterOp {
            at: None,
            by: by.into(),
        }
    }
}

impl<I: Into<Increment>> From<I> for CounterOp {
    fn from(by: I) -> CounterOp {
        CounterOp::by(by)
    }
}

/// `body` with the table and the key, if it is a set; else that it is none.
macro_rules! on_set {
    ($self:expr, $key:ident, $table:ident => $body:expr) => {
        match &$self.tables {
            Tables::Set($table) => $body,
            Tables::OrderedSet($table) => {
                let $key = OrderedTerm($key);
                $body
            }
            _ => $self.refuse(Need::Write, TableError::WrongKind),
        }
    };
}

impl TermTable {
    /// Sets an element of the object with this key; whether there is one. For sets. OTP:
    /// `ets:update_element/3`.
    ///
    /// # Errors
    /// [`TableError::BadPosition`]: the object has no such element. [`TableError::KeyChanged`]: that is its key.
    /// [`TableError::WrongKind`]: the table is a bag.
    pub fn update_element(
        &self,
        key: impl Into<Term>,
        at: usize,
        to: impl Into<Term>,
    ) -> Result<bool, TableError> {
        self.update_elements(key, [(at, to)])
    }

    /// Sets several elements at once, one after the other; whether there is an object with this key. OTP:
    /// `ets:update_element/3` with a list.
    ///
    /// # Errors
    /// As for [`update_element`](Self::update_element); then nothing has changed.
    pub fn update_elements<T: Into<Term>>(
        &self,
        key: impl Into<Term>,
        elements: impl IntoIterator<Item = (usize, T)>,
    ) -> Result<bool, TableError> {
        let (key, keypos) = (key.into(), self.keypos);
        let elements = pairs(elements);
        let done = on_set!(self, key, table => {
            table.inner.change(&key, |object| set(object, keypos, &elements))
        })?;
        Ok(done.is_some())
    }

    /// As [`update_element`](Self::update_element), of `default` if there is no object with this key. What
    /// the default has in the place of the key does not matter. OTP: `ets:update_element/4`.
    ///
    /// # Errors
    /// As for [`update_element`](Self::update_element), and for an object that is inserted.
    pub fn update_element_or(
        &self,
        key: impl Into<Term>,
        at: usize,
        to: impl Into<Term>,
        default: impl Into<Term>,
    ) -> Result<(), TableError> {
        let (key, keypos) = (key.into(), self.keypos);
        let elements = pairs([(at, to)]);
        let default = self.default(&key, default.into())?;
        on_set!(self, key, table => {
            table.inner.change_or(key, default, |object| set(object, keypos, &elements))
        })
    }

    /// Adds to an element of the object with this key; what it is then. For sets. OTP: `ets:update_counter/3`.
    ///
    /// # Errors
    /// - [`TableError::BadKey`]: there is no object with this key.
    /// - [`TableError::BadPosition`]: it has no such element. [`TableError::KeyChanged`]: that is its key.
    /// - [`TableError::NotAnInteger`]: it is something else.
    /// - [`TableError::Overflow`]: the result needs more than 64 bits (OTP's counters have no limit).
    /// - [`TableError::WrongKind`]: the table is a bag.
    pub fn update_counter(
        &self,
        key: impl Into<Term>,
        op: impl Into<CounterOp>,
    ) -> Result<i64, TableError> {
        first(self.update_counters(key, [op])?)
    }

    /// Adds to several elements, one after the other, at once; what each is after its turn. If one of them
    /// cannot be done, none is. OTP: `ets:update_counter/3` with a list.
    ///
    /// # Errors
    /// As for [`update_counter`](Self::update_counter).
    pub fn update_counters<O: Into<CounterOp>>(
        &self,
        key: impl Into<Term>,
        ops: impl IntoIterator<Item = O>,
    ) -> Result<Vec<i64>, TableError> {
        let (key, keypos) = (key.into(), self.keypos);
        let ops: Vec<CounterOp> = ops.into_iter().map(Into::into).collect();
        let counters = on_set!(self, key, table => {
            table.inner.change(&key, |object| count(object, keypos, &ops))
        })?;
        counters.ok_or(TableError::BadKey)
    }

    /// As [`update_counter`](Self::update_counter), of `default` if there is no object with this key. What
    /// the default has in the place of the key does not matter. OTP: `ets:update_counter/4`.
    ///
    /// # Errors
    /// As for [`update_counter`](Self::update_counter), and for an object that is inserted.
    pub fn update_counter_or(
        &self,
        key: impl Into<Term>,
        op: impl Into<CounterOp>,
        default: impl Into<Term>,
    ) -> Result<i64, TableError> {
        first(self.update_counters_or(key, [op], default)?)
    }

    /// As [`update_counters`](Self::update_counters), of `default` if there is no object with this key.
    ///
    /// # Errors
    /// As for [`update_counter_or`](Self::update_counter_or).
    pub fn update_counters_or<O: Into<CounterOp>>(
        &self,
        key: impl Into<Term>,
        ops: impl IntoIterator<Item = O>,
        default: impl Into<Term>,
    ) -> Result<Vec<i64>, TableError> {
        let (key, keypos) = (key.into(), self.keypos);
        let ops: Vec<CounterOp> = ops.into_iter().map(Into::into).collect();
        let default = self.default(&key, default.into())?;
        on_set!(self, key, table => {
            table.inner.change_or(key, default, |object| count(object, keypos, &ops))
        })
    }

    /// An object to begin with, with this key.
    fn default(&self, key: &Term, default: Term) -> Result<Object, TableError> {
        let (_, Object(default)) = self.object(default)?;
        let mut elements = default.as_tuple().unwrap_or_default().to_vec();
        elements[self.keypos - 1] = key.clone();
        self.object(TermKind::Tuple(elements).into())
            .map(|(_, object)| object)
    }
}

fn pairs<T: Into<Term>>(elements: impl IntoIterator<Item = (usize, T)>) -> Vec<(usize, Term)> {
    let pair = |(at, to): (usize, T)| (at, to.into());
    elements.into_iter().map(pair).collect()
}

fn first(counters: Vec<i64>) -> Result<i64, TableError> {
    // One for each operation.
    counters.first().copied().ok_or(TableError::BadPosition)
}

/// Where in an object something is to change.
fn place(object: &Term, keypos: usize, at: usize) -> Result<usize, TableError> {
    match element(object, at) {
        None => Err(TableError::BadPosition),
        Some(_) if at == keypos => Err(TableError::KeyChanged),
        Some(_) => Ok(at - 1),
    }
}

/// Sets elements of an object.
fn set(object: &mut Object, keypos: usize, to: &[(usize, Term)]) -> Result<(), TableError> {
    let mut elements = object.0.as_tuple().unwrap_or_default().to_vec();
    for (at, to) in to {
        let place = place(&object.0, keypos, *at)?;
        if !to.is_finite() {
            return Err(TableError::NotFinite);
        }
        elements[place] = to.clone();
    }
    object.0 = TermKind::Tuple(elements).into();
    Ok(())
}

/// Adds to elements of an object; what each is then.
fn count(object: &mut Object, keypos: usize, ops: &[CounterOp]) -> Result<Vec<i64>, TableError> {
    let mut elements = object.0.as_tuple().unwrap_or_default().to_vec();
    let mut counters = Vec::with_capacity(ops.len());
    for op in ops {
        let at = op.at.map_or_else(|| keypos.checked_add(1), Some);
        let place = place(&object.0, keypos, at.ok_or(TableError::BadPosition)?)?;
        let counter = elements[place]
            .as_integer()
            .ok_or(TableError::NotAnInteger)?;
        let result = op.by.result(i128::from(counter));
        let result = i64::try_from(result).map_err(|_| TableError::Overflow)?;
        elements[place] = result.into();
        counters.push(result);
    }
    object.0 = TermKind::Tuple(elements).into();
    Ok(counters)
}
