//! What can be asked about a table. OTP: `ets:info/1`.

use std::time::Duration;

use super::common::{Access, Need, Owner};
use super::error::TableError;
use super::keeper;
use super::kind::{Keeps, TableType};
use super::store::{Store, Terms};
use super::table::{Inner, Table};
use crate::exit::Term;
use crate::process::pid::Pid;
use crate::sync::Arc;

/// A table as it is when asked. OTP: `ets:info/1`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TableInfo {
    /// Which table of its system, in the order in which they were made. OTP: `id`.
    pub number: u64,
    /// Its name, if it has one.
    pub name: Option<Arc<str>>,
    /// Of what kind it is. OTP: `type`.
    pub kind: TableType,
    /// Of a dynamic table, where in its objects their key is, counted from 1. OTP: the same.
    pub keypos: Option<usize>,
    /// The type of its keys.
    pub key: &'static str,
    /// The type of its values.
    pub value: &'static str,
    /// Who may use it. OTP: `protection`.
    pub access: Access,
    /// Whose it is: of a table of the system's, the process that keeps those. `None`: the system is about to
    /// end.
    pub owner: Option<Pid>,
    /// Who gets it when the owner dies: of one that is given by name, whoever has the name now.
    /// `None` also if that one is dead.
    pub heir: Option<Pid>,
    /// How many objects there are, as [`Table::len`] counts them. OTP: `size`.
    pub size: usize,
    /// How many bytes it takes, as an estimate: its own structure, and keys and values as far as they lie
    /// in that. What these own elsewhere, as a `String` does, is not known and not counted. OTP: `memory`,
    /// in words, and all of it.
    pub memory: usize,
    /// In how many parts it is, each with a lock of its own.
    pub parts: usize,
    /// Who keeps it fixed, and how often; `None`: from outside any process. OTP: `safe_fixed`.
    pub fixed: Vec<(Option<Pid>, usize)>,
    /// How long objects stay that are given no time of their own.
    pub ttl: Option<Duration>,
}

impl<K: 'static, V: 'static, Kind: Keeps<K, V>> Table<K, V, Kind> {
    /// What there is to say about the table; also about one the caller may not read. OTP: `ets:info/1`.
    pub fn info(&self) -> Result<TableInfo, TableError> {
        self.inner.common.pass(Need::Keep).admit()?;
        Ok(self.inner.describe())
    }
}

impl<K: 'static, V: 'static, Kind: Keeps<K, V>> Inner<K, V, Kind> {
    pub(super) fn describe(&self) -> TableInfo {
        let common = &self.common;
        let (owner, name, fixed) = {
            let rights = common.rights.lock();
            let fixed = rights.fixed.iter().map(|(who, times)| (*who, *times));
            (rights.owner, rights.name.clone(), fixed.collect())
        };
        let owner = match owner {
            Owner::Process(pid) => Some(pid),
            Owner::System => keeper::pid(&common.core),
        };
        let (key, value) = match common.keypos {
            None => (std::any::type_name::<K>(), std::any::type_name::<V>()),
            Some(_) => (std::any::type_name::<Term>(), std::any::type_name::<Term>()),
        };
        TableInfo {
            number: common.number,
            name,
            kind: Kind::TYPE,
            keypos: common.keypos,
            key,
            value,
            access: common.access,
            owner,
            heir: self.heir_now(),
            size: self.store.len(),
            memory: size_of_val(self) + self.store.memory(),
            parts: self.store.parts(),
            fixed,
            ttl: common.ttl,
        }
    }
}
