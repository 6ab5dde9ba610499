//! Tables of any terms: objects are tuples, patterns are data, as in Erlang.
//!
//! A [`TermTable`] is a [`Table`] whose objects are [`Term`]s, of a type that is chosen when it is made. Data
//! structures, locks, owners and names are the same. What it is for: objects whose types are known at run
//! time only, or differ within a table; queries that come from a configuration, a file or another program;
//! and what was written for OTP's `ets`. Where the types are known, a [`Table`] is checked by the compiler,
//! and faster.
//!
//! | part | what it does |
//! |---|---|
//! | `builder`, `owner` | how it is made, found, given away and inherited |
//! | `objects`, `update` | what is done with the objects of a key |
//! | `select`, `walk` | what goes through all: match specifications; folds, and from key to key |
//! | `spec` | match specifications |
//!
//! # Keys
//! A key is an element of its object, which every table keeps a second time: that is a pointer. In ordered
//! sets it is an [`OrderedTerm`], so `1` finds `1.0`; in the others a [`Term`], so it does not.

mod builder;
mod objects;
mod owner;
mod select;
mod spec;
mod update;
mod walk;

use std::fmt;

pub use self::builder::TermTableBuilder;
pub use self::owner::TermTransfer;
pub use self::select::MatchPages;
pub use self::spec::{MatchPattern, MatchSpec, MatchSpecError};
pub use self::update::CounterOp;
use super::common::{Access, Need, Owner};
use super::error::TableError;
use super::fix::Fixed;
use super::info::TableInfo;
use super::kind::{Bag, DuplicateBag, OrderedSet, Set, TableType};
use super::store::Terms;
use super::table::Table;
use crate::exit::{OrderedTerm, Term};
use crate::process::context::ProcessContext;
use crate::sync::Arc;
use crate::system::Handle;

/// A whole object. A type of its own, so that nobody opens the table as one of keys and values, in which an
/// object could have another key than it is found by.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Object(Term);

/// The table, of each type.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tables {
    Set(Table<Term, Object, Set>),
    OrderedSet(Table<OrderedTerm, Object, OrderedSet>),
    Bag(Table<Term, Object, Bag>),
    DuplicateBag(Table<Term, Object, DuplicateBag>),
}

/// `body` with the table, of whichever type it is.
macro_rules! on {
    ($self:expr, $table:ident => $body:expr) => {
        match &$self.tables {
            $crate::ets::dynamic::Tables::Set($table) => $body,
            $crate::ets::dynamic::Tables::OrderedSet($table) => $body,
            $crate::ets::dynamic::Tables::Bag($table) => $body,
            $crate::ets::dynamic::Tables::DuplicateBag($table) => $body,
        }
    };
    // And with a term as one of its keys.
    ($self:expr, $key:ident, $table:ident => $body:expr) => {
        match &$self.tables {
            $crate::ets::dynamic::Tables::Set($table) => $body,
            $crate::ets::dynamic::Tables::OrderedSet($table) => {
                let $key = $crate::exit::OrderedTerm($key);
                $body
            }
            $crate::ets::dynamic::Tables::Bag($table) => $body,
            $crate::ets::dynamic::Tables::DuplicateBag($table) => $body,
        }
    };
}
use on;

/// A table of [`Term`]s, as OTP's `ets`: objects are tuples, one of whose elements is the key.
///
/// This is a handle, like a [`Table`], and what is said there of owners, rights and locks holds here.
///
/// ```
/// # use noex::prelude::*;
/// use noex::{Term, TermTable};
/// use noex::ets::{MatchSpec, TableType};
///
/// # let system = System::new()?;
/// let people = system.term_table(TermTable::builder(TableType::Set).named("people"))?;
/// people.insert(("ann", 17))?;
/// people.insert(("bob", 18, Term::atom("admin")))?;
/// assert_eq!(people.lookup("bob")?, ["{<<\"bob\">>, 18, admin}".parse::<Term>()?]);
///
/// let adults: MatchSpec = "[{{'$1','$2','_'}, [{'>=','$2',18}], ['$1']}]".parse()?;
/// assert_eq!(people.select(&adults)?, [Term::from("bob")]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// | type | a key has | keys are the same by | order |
/// |---|---|---|---|
/// | [`TableType::Set`] | one object | `=:=`, which is `Eq` | none |
/// | [`TableType::OrderedSet`] | one object | `==`, which is [`Term::compare`]: `1` is `1.0` | of the keys |
/// | [`TableType::Bag`] | objects that differ by `=:=` | `=:=` | of insertion, within a key |
/// | [`TableType::DuplicateBag`] | objects | `=:=` | of insertion, within a key |
///
/// Objects are compared by `=:=` in all of them, patterns too; so in an ordered set `lookup(1)` finds
/// `{1.0,a}`, and the pattern `{1,'_'}` does not fit it, as in OTP.
///
/// Positions of elements are counted from 1, as in Erlang.
///
/// # Errors
/// Every operation can fail with [`TableError::Gone`], [`TableError::Access`] and [`TableError::Nested`]; one
/// that is given an object with [`BadObject`](TableError::BadObject) and
/// [`NotFinite`](TableError::NotFinite) as well. Where there is more to say, the method does.
#[derive(Clone, PartialEq, Eq)]
pub struct TermTable {
    tables: Tables,
    /// Counted from 1.
    keypos: usize,
}

impl fmt::Debug for TermTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("TermTable");
        on!(self, table => {
            let common = &table.inner.common;
            f.field("number", &common.number).field("kind", &self.kind());
            if let Some(name) = &common.rights.lock().name {
                f.field("name", name);
            }
        });
        f.field("keypos", &self.keypos).finish_non_exhaustive()
    }
}

impl TermTable {
    /// Makes a protected table without a name, of objects whose first element is the key, owned by the process
    /// of `cx`. OTP: `ets:new/2`.
    ///
    /// # Panics
    /// If this is not the process's turn.
    pub fn new(cx: &ProcessContext, kind: TableType) -> TermTable {
        // A table without a name is refused only in the last turns of a system's end: it is gone, then.
        let owner = Owner::Process(cx.pid());
        TermTableBuilder::new(kind)
            .make(cx.core(), owner, Access::Protected)
            .0
    }

    /// A table with a name, a key position or an heir, or open to all.
    pub fn builder(kind: TableType) -> TermTableBuilder {
        TermTableBuilder::new(kind)
    }

    /// Of which type it is.
    pub fn kind(&self) -> TableType {
        match self.tables {
            Tables::Set(_) => TableType::Set,
            Tables::OrderedSet(_) => TableType::OrderedSet,
            Tables::Bag(_) => TableType::Bag,
            Tables::DuplicateBag(_) => TableType::DuplicateBag,
        }
    }

    /// Where in its objects their key is, counted from 1.
    pub fn keypos(&self) -> usize {
        self.keypos
    }

    /// See [`Table::delete_table`]. OTP: `ets:delete/1`.
    pub fn delete_table(&self) -> Result<(), TableError> {
        on!(self, table => table.delete_table())
    }

    /// See [`Table::delete_all`]. OTP: `ets:delete_all_objects/1`.
    pub fn delete_all(&self) -> Result<(), TableError> {
        on!(self, table => table.delete_all())
    }

    /// See [`Table::rename`]. OTP: `ets:rename/2`.
    ///
    /// # Errors
    /// [`TableError::NameTaken`].
    pub fn rename(&self, name: impl Into<Arc<str>>) -> Result<(), TableError> {
        let name = name.into();
        on!(self, table => table.rename(name))
    }

    /// The system the table is in.
    pub fn system(&self) -> Handle {
        on!(self, table => table.system())
    }

    /// Whether the table is still there.
    pub fn is_alive(&self) -> bool {
        on!(self, table => table.is_alive())
    }

    /// How many objects there are: exact if nothing changes meanwhile. OTP: `ets:info(Tab, size)`.
    pub fn len(&self) -> Result<usize, TableError> {
        on!(self, table => table.len())
    }

    /// Whether there are none; as [`len`](Self::len).
    pub fn is_empty(&self) -> Result<bool, TableError> {
        self.len().map(|len| len == 0)
    }

    /// What there is to say about the table; also about one the caller may not read. OTP: `ets:info/1`.
    pub fn info(&self) -> Result<TableInfo, TableError> {
        on!(self, table => table.info())
    }

    /// See [`Table::fix`]. OTP: `ets:safe_fixtable/2`.
    pub fn fix(&self) -> Result<Fixed, TableError> {
        on!(self, table => table.fix())
    }

    /// Whether the caller may do this, and the table is there.
    fn admit(&self, need: Need) -> Result<(), TableError> {
        on!(self, table => table.inner.common.pass(need).admit())
    }

    /// That it cannot be done; unless there is something worse to say.
    fn refuse<T>(&self, need: Need, error: TableError) -> Result<T, TableError> {
        self.admit(need)?;
        Err(error)
    }
}
