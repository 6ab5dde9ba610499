//! Tables that processes share. OTP: `ets`.
//!
//! TODO

mod common;
mod counter;
mod error;
mod fix;
mod info;
mod keeper;
mod kind;
mod objects;
mod order;
mod owner;
mod select;
pub(crate) mod store;
mod table;
pub(crate) mod tables;
mod update;

pub use self::common::{Access, Expiry};
pub use self::counter::{Counter, CounterUpdate, Increment};
pub use self::error::TableError;
pub use self::fix::Fixed;
pub use self::info::TableInfo;
pub use self::kind::{
    Bag, DuplicateBag, Finds, Keeps, OrderedSet, Replaces, Set, TableKind, TableType, Unique,
};
pub use self::owner::Transfer;
pub use self::select::Pages;
pub use self::table::{Table, TableBuilder};
