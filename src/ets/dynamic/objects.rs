//! What is done with the objects of one key, or with several objects at once.

use super::{Object, Tables, TermTable, on};
use crate::ets::common::Need;
use crate::ets::engine::Holds;
use crate::ets::error::TableError;
use crate::exit::{OrderedTerm, Term};

impl TermTable {
    /// The key of a term that can be an object here.
    fn key_of(&self, object: &Term) -> Result<Term, TableError> {
        let elements = object.as_tuple().ok_or(TableError::BadObject)?;
        let key = elements.get(self.keypos - 1).ok_or(TableError::BadObject)?;
        match object.is_finite() {
            true => Ok(key.clone()),
            false => Err(TableError::NotFinite),
        }
    }

    /// A term as an object, with its key.
    pub(super) fn object(&self, object: Term) -> Result<(Term, Object), TableError> {
        match self.key_of(&object) {
            Ok(key) => Ok((key, Object(object))),
            Err(error) => self.refuse(Need::Write, error),
        }
    }

    fn objects<T: Into<Term>>(
        &self,
        objects: impl IntoIterator<Item = T>,
    ) -> Result<Vec<(Term, Object)>, TableError> {
        let objects = objects.into_iter().map(|object| self.object(object.into()));
        objects.collect()
    }

    /// Inserts an object. In sets it replaces the one with the same key, key and all; in bags it comes behind
    /// those that have the key, in a bag unless the same one is there. OTP: `ets:insert/2`.
    ///
    /// # Errors
    /// [`TableError::BadObject`]: it is not a tuple, or has no element at the key position.
    /// [`TableError::NotFinite`]: a float in it is NaN or infinite.
    pub fn insert(&self, object: impl Into<Term>) -> Result<(), TableError> {
        let (key, object) = self.object(object.into())?;
        on!(self, key, table => table.insert(key, object))
    }

    /// Inserts all of these, in their order, at once: nobody sees, or changes, the table with some of them
    /// inserted and others not. OTP: `ets:insert/2` with a list.
    ///
    /// # Errors
    /// As for [`insert`](Self::insert); then none is inserted.
    pub fn insert_many<T: Into<Term>>(
        &self,
        objects: impl IntoIterator<Item = T>,
    ) -> Result<(), TableError> {
        let objects = self.objects(objects)?;
        match &self.tables {
            Tables::Set(table) => table.insert_many(objects),
            Tables::OrderedSet(table) => table.insert_many(ordered(objects)),
            Tables::Bag(table) => table.insert_many(objects),
            Tables::DuplicateBag(table) => table.insert_many(objects),
        }
    }

    /// Inserts an object unless there is one with its key; whether it did. OTP: `ets:insert_new/2`.
    ///
    /// # Errors
    /// As for [`insert`](Self::insert).
    pub fn insert_new(&self, object: impl Into<Term>) -> Result<bool, TableError> {
        let (key, object) = self.object(object.into())?;
        on!(self, key, table => table.insert_new(key, object))
    }

    /// Inserts all of these, at once, unless there is an object with a key of one of them; whether it did. OTP:
    /// `ets:insert_new/2` with a list.
    ///
    /// # Errors
    /// As for [`insert`](Self::insert); then none is inserted.
    pub fn insert_new_many<T: Into<Term>>(
        &self,
        objects: impl IntoIterator<Item = T>,
    ) -> Result<bool, TableError> {
        let objects = self.objects(objects)?;
        match &self.tables {
            Tables::Set(table) => table.insert_new_many(objects),
            Tables::OrderedSet(table) => table.insert_new_many(ordered(objects)),
            Tables::Bag(table) => table.insert_new_many(objects),
            Tables::DuplicateBag(table) => table.insert_new_many(objects),
        }
    }

    /// The objects with this key: in sets one or none. OTP: `ets:lookup/2`.
    pub fn lookup(&self, key: impl Into<Term>) -> Result<Vec<Term>, TableError> {
        let mut objects = Vec::new();
        self.visit_key(key.into(), |object| objects.push(object.clone()))?;
        Ok(objects)
    }

    /// The element at a position of the object with this key, which must be there; in bags a list, of one of
    /// each object. OTP: `ets:lookup_element/3`.
    ///
    /// # Errors
    /// [`TableError::BadKey`]: there is no object with this key. [`TableError::BadPosition`]: one that there is
    /// has no such element.
    pub fn lookup_element(&self, key: impl Into<Term>, at: usize) -> Result<Term, TableError> {
        let mut elements: Vec<Option<Term>> = Vec::new();
        self.visit_key(key.into(), |object| {
            elements.push(element(object, at).cloned())
        })?;
        if elements.is_empty() {
            return Err(TableError::BadKey);
        }
        let elements: Option<Vec<Term>> = elements.into_iter().collect();
        let elements = elements.ok_or(TableError::BadPosition)?;
        match (&self.tables, &elements[..]) {
            (Tables::Set(_) | Tables::OrderedSet(_), [element]) => Ok(element.clone()),
            _ => Ok(elements.into()),
        }
    }

    /// As [`lookup_element`](Self::lookup_element), with what it gives if there is no object with this key.
    /// OTP: `ets:lookup_element/4`.
    ///
    /// # Errors
    /// [`TableError::BadPosition`].
    pub fn lookup_element_or(
        &self,
        key: impl Into<Term>,
        at: usize,
        default: impl Into<Term>,
    ) -> Result<Term, TableError> {
        match self.lookup_element(key, at) {
            Err(TableError::BadKey) => Ok(default.into()),
            other => other,
        }
    }

    /// Whether there is an object with this key. OTP: `ets:member/2`.
    pub fn member(&self, key: impl Into<Term>) -> Result<bool, TableError> {
        let key = key.into();
        on!(self, key, table => table.member(&key))
    }

    /// Deletes all objects with this key; whether there were any. OTP: `ets:delete/2`.
    pub fn delete(&self, key: impl Into<Term>) -> Result<bool, TableError> {
        let key = key.into();
        on!(self, key, table => table.delete(&key))
    }

    /// Deletes the objects that are the same as this one, by `=:=`; how many that were. OTP:
    /// `ets:delete_object/2`.
    pub fn delete_object(&self, object: impl Into<Term>) -> Result<usize, TableError> {
        let (key, object) = self.object(object.into())?;
        on!(self, key, table => table.delete_object(&key, &object))
    }

    /// Takes the objects with this key out. OTP: `ets:take/2`.
    pub fn take(&self, key: impl Into<Term>) -> Result<Vec<Term>, TableError> {
        let key = key.into();
        let taken: Vec<Object> = match &self.tables {
            Tables::Set(table) => table.take(&key)?.into_iter().collect(),
            Tables::OrderedSet(table) => table.take(&OrderedTerm(key))?.into_iter().collect(),
            Tables::Bag(table) => table.take(&key)?,
            Tables::DuplicateBag(table) => table.take(&key)?,
        };
        Ok(taken.into_iter().map(|object| object.0).collect())
    }

    /// Looks at the objects with this key.
    pub(super) fn visit_key(
        &self,
        key: Term,
        mut visit: impl FnMut(&Term),
    ) -> Result<(), TableError> {
        on!(self, key, table => table.inner.look(&key, |content| {
            for object in content.map(|content| content.values()).unwrap_or_default() {
                visit(&object.0);
            }
        }))
    }
}

fn ordered(objects: Vec<(Term, Object)>) -> impl Iterator<Item = (OrderedTerm, Object)> {
    let key = |(key, object)| (OrderedTerm(key), object);
    objects.into_iter().map(key)
}

/// The element of an object at a position that is counted from 1.
pub(super) fn element(object: &Term, at: usize) -> Option<&Term> {
    object.as_tuple()?.get(at.checked_sub(1)?)
}
