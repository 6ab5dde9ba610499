//! How a dynamic table is made, and found by its name.

use std::fmt;

use super::owner::{HeirOf, SomeTermHeir, term_heir};
use super::{Object, Tables, TermTable, TermTransfer};
use crate::destination::Destination;
use crate::ets::common::{Access, Owner};
use crate::ets::error::TableError;
use crate::ets::kind::{Bag, DuplicateBag, Keeps, OrderedSet, Set, TableType};
use crate::ets::table::{AnyTable, Inner, Table, TableBuilder};
use crate::exit::{OrderedTerm, Term};
use crate::process::context::ProcessContext;
use crate::sched::core::CoreRef;
use crate::sync::Arc;
use crate::system::Handle;

/// How a [`TermTable`] is to be. OTP: the options of `ets:new/2`.
///
/// ```
/// # use noex::prelude::*;
/// use noex::{Term, TermTable};
/// use noex::ets::{Access, TableType};
///
/// # let system = System::new()?;
/// let builder = TermTable::builder(TableType::OrderedSet)
///     .named("users")
///     .keypos(2)
///     .access(Access::Public);
/// let users = system.term_table(builder)?;
/// users.insert((Term::atom("user"), 7, "ann"))?;
/// assert_eq!(users.lookup_element(7.0, 3)?, Term::from("ann"));
/// assert_eq!(system.term_table_named("users")?, users);
/// # Ok::<(), noex::Error>(())
/// ```
#[derive(Clone)]
pub struct TermTableBuilder {
    kind: TableType,
    keypos: usize,
    name: Option<Arc<str>>,
    access: Option<Access>,
    heir: Option<SomeTermHeir>,
}

impl fmt::Debug for TermTableBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TermTableBuilder")
            .field("kind", &self.kind)
            .field("keypos", &self.keypos)
            .field("name", &self.name)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

impl TermTableBuilder {
    /// A table of this type, with the defaults that each method names.
    pub fn new(kind: TableType) -> Self {
        TermTableBuilder {
            kind,
            keypos: 1,
            name: None,
            access: None,
            heir: None,
        }
    }

    /// Which element of an object is its key, counted from 1. Default: 1. OTP: the same.
    pub fn keypos(mut self, keypos: usize) -> Self {
        self.keypos = keypos;
        self
    }

    /// Gives the table a name, by which [`Handle::term_table_named`](crate::Handle::term_table_named) finds
    /// it. The namespace is that of all tables of the system. Default: none. OTP: `named_table`.
    pub fn named(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Who may read and write it besides its owner. Default: [`Access::Protected`], as OTP's; of a table of
    /// the system's [`Access::Public`].
    pub fn access(mut self, access: Access) -> Self {
        self.access = Some(access);
        self
    }

    /// Sets who gets the table when its owner dies: see [`TermTable::set_heir`]. Default: nobody. OTP: `{heir,
    /// Pid, HeirData}`.
    pub fn heir<D, H>(mut self, to: &H, data: D) -> Self
    where
        D: Clone + Send + 'static,
        H: Destination<TermTransfer<D>> + Clone + Send + Sync + 'static,
    {
        self.heir = Some(term_heir(to, data));
        self
    }

    /// Makes the table, owned by the process of `cx`.
    ///
    /// # Errors
    /// [`TableError::NameTaken`]; [`TableError::BadPosition`]: the key position is 0.
    ///
    /// # Panics
    /// If this is not the process's turn.
    pub fn build(self, cx: &ProcessContext) -> Result<TermTable, TableError> {
        let owner = Owner::Process(cx.pid());
        self.check()?;
        let (table, made) = self.make(cx.core(), owner, Access::Protected);
        made.map(|()| table)
    }

    fn check(&self) -> Result<(), TableError> {
        match self.keypos {
            0 => Err(TableError::BadPosition),
            _ => Ok(()),
        }
    }

    /// Makes a table; if the result is an error, one that is not there.
    pub(super) fn make(
        self,
        core: &CoreRef,
        owner: Owner,
        access: Access,
    ) -> (TermTable, Result<(), TableError>) {
        let keypos = self.keypos;
        let (tables, made) = match self.kind {
            TableType::Set => self.make_of::<Term, Set>(core, owner, access),
            TableType::OrderedSet => self.make_of::<OrderedTerm, OrderedSet>(core, owner, access),
            TableType::Bag => self.make_of::<Term, Bag>(core, owner, access),
            TableType::DuplicateBag => self.make_of::<Term, DuplicateBag>(core, owner, access),
        };
        (TermTable { tables, keypos }, made)
    }

    fn make_of<K: 'static, Kind: Keeps<K, Object>>(
        self,
        core: &CoreRef,
        owner: Owner,
        access: Access,
    ) -> (Tables, Result<(), TableError>)
    where
        Tables: From<Table<K, Object, Kind>>,
    {
        let heir = self.heir.map(|heir| HeirOf::some(heir));
        let builder = TableBuilder::of_objects(self.keypos, self.name, self.access, heir);
        let (table, made) = builder.make(core, owner, access);
        (table.into(), made)
    }
}

macro_rules! tables_from {
    ($($kind:ident $key:ty;)+) => {$(
        impl From<Table<$key, Object, $kind>> for Tables {
            fn from(table: Table<$key, Object, $kind>) -> Tables {
                Tables::$kind(table)
            }
        }
    )+};
}

tables_from! { Set Term; OrderedSet OrderedTerm; Bag Term; DuplicateBag Term; }

impl<K: 'static, Kind: Keeps<K, Object>> From<Table<K, Object, Kind>> for TermTable
where
    Tables: From<Table<K, Object, Kind>>,
{
    fn from(table: Table<K, Object, Kind>) -> TermTable {
        // What was made by a builder of these has a position.
        let keypos = table.inner.common.keypos.unwrap_or(1);
        TermTable {
            tables: table.into(),
            keypos,
        }
    }
}

/// A table of whatever types as one of terms, if it is one.
fn of_terms(table: Arc<dyn AnyTable>) -> Option<TermTable> {
    fn of<K: 'static, Kind: Keeps<K, Object>>(table: &Arc<dyn AnyTable>) -> Option<TermTable>
    where
        Tables: From<Table<K, Object, Kind>>,
    {
        let inner = table
            .clone()
            .into_any()
            .downcast::<Inner<K, Object, Kind>>();
        inner.ok().map(|inner| Table { inner }.into())
    }
    of::<Term, Set>(&table)
        .or_else(|| of::<OrderedTerm, OrderedSet>(&table))
        .or_else(|| of::<Term, Bag>(&table))
        .or_else(|| of::<Term, DuplicateBag>(&table))
}

impl Handle {
    /// Makes a dynamic table that belongs to the system, until that ends: see [`Handle::table`].
    ///
    /// # Errors
    /// [`TableError::NameTaken`]; [`TableError::BadPosition`]: the key position is 0; [`TableError::Gone`]: the
    /// system has ended.
    pub fn term_table(&self, table: TermTableBuilder) -> Result<TermTable, TableError> {
        table.check()?;
        let (table, made) = table.make(self.core(), Owner::System, Access::Public);
        made.map(|()| table)
    }

    /// The dynamic table that has this name, of whichever type. OTP: `ets:whereis/1`.
    ///
    /// # Errors
    /// [`TableError::NoTable`]; [`TableError::WrongType`]: it is a [`Table`].
    pub fn term_table_named(&self, name: &str) -> Result<TermTable, TableError> {
        let tables = self.core().attached.get::<crate::ets::tables::Tables>();
        let table = tables.find(name).ok_or(TableError::NoTable)?;
        of_terms(table).ok_or(TableError::WrongType)
    }
}
