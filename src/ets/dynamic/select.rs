//! What patterns and match specifications are for.
//!
//! Where the head of each clause says what the key is, its objects are looked up; else all objects are gone
//! through, by the rules of [`Table::select`](super::Table::select).

use std::fmt;

use super::spec::Reach;
use super::{MatchPattern, MatchSpec, Object, Tables, TermTable, on};
use crate::ets::common::Need;
use crate::ets::error::TableError;
use crate::exit::Term;

impl TermTable {
    /// What a match specification makes of the objects that fit it. In the order of the keys in an ordered
    /// set. OTP: `ets:select/2`.
    ///
    /// If the heads of all clauses say what the key is, only objects with those keys are looked at, and each
    /// key's at once.
    pub fn select(&self, spec: &MatchSpec) -> Result<Vec<Term>, TableError> {
        self.collect(spec.reach(self.keypos), |object| spec.run(object))
    }

    /// As [`select`](Self::select), in pages of `limit`, which is at least 1. Each is looked for when it is
    /// asked for. OTP: `ets:select/3`, and `ets:select/1` for the next page.
    ///
    /// ```
    /// # use noex::prelude::*;
    /// # use noex::TermTable;
    /// use noex::ets::TableType;
    ///
    /// # let system = System::new()?;
    /// let numbers = system.term_table(TermTable::builder(TableType::OrderedSet))?;
    /// numbers.insert_many((1..=9).map(|n| (n, n * n)))?;
    /// let mut odd = numbers.select_pages(2, &"[{{'$1','$2'}, [{'=:=', {'rem','$1',2}, 1}], ['$2']}]".parse()?);
    /// assert_eq!(odd.next_page()?, Some(vec![1.into(), 9.into()]));
    /// assert_eq!(odd.next_page()?, Some(vec![25.into(), 49.into()]));
    /// assert_eq!(odd.next_page()?, Some(vec![81.into()]));
    /// assert_eq!(odd.next_page()?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn select_pages(&self, limit: usize, spec: &MatchSpec) -> MatchPages {
        let (reach, spec) = (spec.reach(self.keypos), spec.clone());
        self.pages(limit, reach, move |object| spec.run(object))
    }

    /// Of how many objects a match specification makes `true`. OTP: `ets:select_count/2`.
    pub fn select_count(&self, spec: &MatchSpec) -> Result<usize, TableError> {
        let mut count = 0;
        self.look_through(spec.reach(self.keypos), |object| {
            count += usize::from(spec.wants(object));
        })?;
        Ok(count)
    }

    /// Deletes the objects of which a match specification makes `true`; how many that were. OTP:
    /// `ets:select_delete/2`.
    pub fn select_delete(&self, spec: &MatchSpec) -> Result<usize, TableError> {
        self.delete_where(spec.reach(self.keypos), |object| spec.wants(object))
    }

    /// Puts what a match specification makes of an object in its place; how many that were. Each is atomic. OTP:
    /// `ets:select_replace/2`.
    ///
    /// # Errors
    /// [`TableError::KeyChanged`]: it is not plain that the key stays the same. Each clause must have one
    /// result, and that must be `'$_'` or a tuple that has in the place of the key either what stands there in
    /// the head, or `{element,KeyPos,'$_'}`. [`TableError::WrongKind`]: in a bag, where two objects could become
    /// the same.
    pub fn select_replace(&self, spec: &MatchSpec) -> Result<usize, TableError> {
        if let Tables::Bag(_) = self.tables {
            return self.refuse(Need::Write, TableError::WrongKind);
        }
        if !spec.keeps_key(self.keypos) {
            return self.refuse(Need::Write, TableError::KeyChanged);
        }
        let replace = |object: &Object| spec.run(&object.0).map(Object);
        let Reach::Keys(keys) = self.reachable(spec.reach(self.keypos)) else {
            return match &self.tables {
                Tables::Set(table) => table.select_replace(|_, object| replace(object)),
                Tables::OrderedSet(table) => table.select_replace(|_, object| replace(object)),
                Tables::DuplicateBag(table) => table.select_replace(|_, object| replace(object)),
                Tables::Bag(_) => Err(TableError::WrongKind),
            };
        };
        self.admit(Need::Write)?;
        let mut count = 0;
        for key in keys {
            count += on!(self, key, table => {
                table.inner.replace_at(&key, |_, object| replace(object))
            })?;
        }
        Ok(count)
    }

    /// What the variables of a pattern are in each object that fits, as a list, in the order of their numbers.
    /// OTP: `ets:match/2`.
    ///
    /// ```
    /// # use noex::prelude::*;
    /// # use noex::{Term, TermTable};
    /// use noex::ets::TableType;
    ///
    /// # let system = System::new()?;
    /// let table = system.term_table(TermTable::builder(TableType::OrderedSet))?;
    /// table.insert_many([(1, "a", 10), (2, "b", 20), (3, "a", 30)])?;
    /// let found = table.match_values(&"{'$2', <<\"a\">>, '$1'}".parse()?)?;
    /// assert_eq!(Term::list(found).to_string(), "[[10,1],[30,3]]");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn match_values(&self, pattern: &MatchPattern) -> Result<Vec<Term>, TableError> {
        self.collect(pattern.reach(self.keypos), |object| pattern.values(object))
    }

    /// As [`match_values`](Self::match_values), in pages of `limit`, which is at least 1. OTP: `ets:match/3`.
    pub fn match_values_pages(&self, limit: usize, pattern: &MatchPattern) -> MatchPages {
        let (reach, pattern) = (pattern.reach(self.keypos), pattern.clone());
        self.pages(limit, reach, move |object| pattern.values(object))
    }

    /// The objects that fit a pattern. OTP: `ets:match_object/2`.
    pub fn match_object(&self, pattern: &MatchPattern) -> Result<Vec<Term>, TableError> {
        self.collect(pattern.reach(self.keypos), |object| {
            pattern.fits(object).then(|| object.clone())
        })
    }

    /// As [`match_object`](Self::match_object), in pages of `limit`, which is at least 1. OTP:
    /// `ets:match_object/3`.
    pub fn match_object_pages(&self, limit: usize, pattern: &MatchPattern) -> MatchPages {
        let (reach, pattern) = (pattern.reach(self.keypos), pattern.clone());
        self.pages(limit, reach, move |object| {
            pattern.fits(object).then(|| object.clone())
        })
    }

    /// Deletes the objects that fit a pattern; how many that were. OTP: `ets:match_delete/2`.
    pub fn match_delete(&self, pattern: &MatchPattern) -> Result<usize, TableError> {
        self.delete_where(pattern.reach(self.keypos), |object| pattern.fits(object))
    }

    fn collect(
        &self,
        reach: Reach,
        select: impl Fn(&Term) -> Option<Term>,
    ) -> Result<Vec<Term>, TableError> {
        let mut selected = Vec::new();
        self.look_through(reach, |object| selected.extend(select(object)))?;
        Ok(selected)
    }

    /// What can be reached here: of keys that are equal by `==` an ordered set has one.
    fn reachable(&self, mut reach: Reach) -> Reach {
        if let (Tables::OrderedSet(_), Reach::Keys(keys)) = (&self.tables, &mut reach) {
            keys.dedup_by(|a, b| a.compare(b).is_eq());
        }
        reach
    }

    /// Looks at the objects that can be wanted.
    fn look_through(&self, reach: Reach, mut look: impl FnMut(&Term)) -> Result<(), TableError> {
        match self.reachable(reach) {
            Reach::All => on!(self, table => table.foldl((), |(), _, object| look(&object.0))),
            Reach::Keys(keys) => {
                self.admit(Need::Read)?;
                let mut keys = keys.into_iter();
                keys.try_for_each(|key| self.visit_key(key, &mut look))
            }
        }
    }

    fn delete_where(
        &self,
        reach: Reach,
        wanted: impl Fn(&Term) -> bool,
    ) -> Result<usize, TableError> {
        let Reach::Keys(keys) = self.reachable(reach) else {
            return on!(self, table => table.select_delete(|_, object| wanted(&object.0)));
        };
        self.admit(Need::Write)?;
        let mut count = 0;
        for key in keys {
            count += on!(self, key, table => {
                table.inner.delete_at(&key, |_, object| wanted(&object.0))
            })?;
        }
        Ok(count)
    }

    fn pages(
        &self,
        limit: usize,
        reach: Reach,
        select: impl Fn(&Term) -> Option<Term> + Send + 'static,
    ) -> MatchPages {
        let limit = limit.max(1);
        let next: NextPage = match reach {
            Reach::All => on!(self, table => {
                let mut pages = table.select_pages(limit, move |_, object| select(&object.0));
                Box::new(move || pages.next_page())
            }),
            reach => {
                let table = self.clone();
                let mut reach = Some(reach);
                let mut rest = Vec::new();
                Box::new(move || {
                    if let Some(reach) = reach.take() {
                        rest = table.collect(reach, &select)?;
                    }
                    let after = rest.split_off(limit.min(rest.len()));
                    let page = std::mem::replace(&mut rest, after);
                    Ok((!page.is_empty()).then_some(page))
                })
            }
        };
        MatchPages { next, limit }
    }
}

type NextPage = Box<dyn FnMut() -> Result<Option<Vec<Term>>, TableError> + Send>;

/// A selection that is under way: [`TermTable::select_pages`] and its like. It can be kept, and moved, as long
/// as one likes; it holds nothing still. An iterator over pages, too, which ends after an error.
#[must_use = "a page is looked for when it is asked for"]
pub struct MatchPages {
    next: NextPage,
    limit: usize,
}

impl fmt::Debug for MatchPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MatchPages")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl MatchPages {
    /// The next page: as many as the limit says, fewer only if it is the last. `None`: there is no more. OTP:
    /// `'$end_of_table'`.
    pub fn next_page(&mut self) -> Result<Option<Vec<Term>>, TableError> {
        (self.next)()
    }
}

impl Iterator for MatchPages {
    type Item = Result<Vec<Term>, TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_page().transpose()
    }
}
