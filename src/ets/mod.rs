//! Tables that processes and threads share. OTP: `ets`.
//!
//! A [`Table`] holds objects, each a key and a value, of types that it is made for. Reads and writes go
//! straight to shared memory, without a message; each is atomic and isolated. What makes a table more than
//! a concurrent map is that it has an owner: a process, with which it goes, unless there is an heir.
//!
//! ```
//! use noex::prelude::*;
//! use noex::Table;
//!
//! /// Counts what it is told, where all can see it.
//! struct Counts {
//!     seen: Table<String, u64>,
//! }
//! struct Seen(&'static str);
//! struct Counted;
//!
//! impl GenServer for Counts {
//!     type Args = ();
//!     async fn init(_: (), cx: &mut Context<Self>) -> Result<Self, InitStop> {
//!         Ok(Counts { seen: Table::builder().named("counts").build(cx).map_err(ExitReason::error)? })
//!     }
//! }
//! impl HandleCast<Seen> for Counts {
//!     async fn handle_cast(&mut self, Seen(word): Seen, _cx: &mut Context<Self>) {
//!         let _counted = self.seen.update_counter_or(word.into(), 0, |n| n, 1);
//!     }
//! }
//! impl HandleCall<Counted> for Counts {
//!     type Reply = ();
//!     async fn handle_call(&mut self, _: Counted, _cx: &mut Context<Self>) {}
//! }
//!
//! let system = System::new()?;
//! let counts = system.start::<Counts>(()).wait()?;
//! counts.cast(Seen("word"))?;
//! counts.cast(Seen("word"))?;
//! counts.call(Counted).wait()?;
//! let seen: Table<String, u64> = system.table_named("counts")?;
//! assert_eq!(seen.lookup("word")?, Some(2));
//! // Only its owner may write it.
//! assert_eq!(seen.insert("word".into(), 0), Err(noex::TableError::Access));
//! # Ok::<(), noex::Error>(())
//! ```
//!
//! | kind | a key has | order | keys | values |
//! |---|---|---|---|---|
//! | [`Set`] | one object | none | `Hash + Eq` | any |
//! | [`OrderedSet`] | one object | of the keys | `Ord + Clone` | any |
//! | [`Bag`] | objects that differ | of insertion, within a key | `Hash + Eq` | `PartialEq` |
//! | [`DuplicateBag`] | objects | of insertion, within a key | `Hash + Eq` | any |
//!
//! The kind is a type, so what a kind cannot do does not compile. All keys and values are `Send + Sync +
//! 'static`; what hands out values wants `V: Clone`, and [`Table::read`] looks at them in their place.
//!
//! # Who may do what
//!
//! | | owner | others, public | others, protected | others, private |
//! |---|---|---|---|---|
//! | read, traverse, fix | yes | yes | yes | no |
//! | write, delete or rename the table | yes | yes | no | no |
//! | give away, set the heir | yes | no | no | no |
//! | ask about ([`Table::info`], [`Table::len`]) | yes | yes | yes | yes |
//!
//! Who calls is the process whose code runs, be it in a turn of its own or in a closure that it gave to
//! [`ProcessContext::blocking`](crate::ProcessContext::blocking). A thread of the host's is nobody, and so
//! never the owner.
//!
//! # The end of a table
//! A table is gone when it is deleted; when its owner dies, if it has no heir, or a dead one; and when the
//! system ends. Once anybody hears of the owner's death, from a link or a monitor, the table is gone or its
//! heir's, and the heir's [`Transfer`] is in its mailbox before the owner's `Down` is in anybody's.
//!
//! # What an operation guarantees
//! One on a single key, and one of several objects at once ([`Table::insert_many`]), is atomic: nobody sees, or
//! changes, part of it. Those that go through the table are no snapshots: they see each object that is
//! there throughout once, and as a whole; of others they may see some.
//!
//! | part | what it does |
//! |---|---|
//! | `table`, `owner`, `fix` | the handle; ownership, heirs; fixation |
//! | `objects`, `update`, `select`, `order` | the operations |
//! | `kind` | the kinds, as types |
//! | `common` | who may, and whether it is still there |
//! | `tables`, `keeper` | all tables of a system, and the process that keeps house for them |
//! | `dynamic` | tables of any terms, with match specifications: [`TermTable`] |
//! | `store` | the data structures |
//! | `file`, with the feature `tab2file` | tables in files |
//! | `persist`, with the feature `persist` | tables whose writes are on disk when they are acknowledged |

#[cfg(any(feature = "tab2file", feature = "persist"))]
mod codec;
mod common;
mod counter;
#[cfg(any(feature = "tab2file", feature = "persist"))]
mod draft;
mod dynamic;
mod engine;
mod error;
#[cfg(feature = "tab2file")]
mod file;
mod fix;
mod info;
mod keeper;
mod kind;
mod objects;
mod order;
mod owner;
#[cfg(feature = "persist")]
mod persist;
mod select;
pub(crate) mod store;
mod table;
pub(crate) mod tables;
mod update;

#[cfg(any(feature = "tab2file", feature = "persist"))]
pub use self::codec::Stored;
pub use self::common::{Access, Expiry};
pub use self::counter::{Counter, CounterUpdate, Increment};
pub use self::dynamic::{
    CounterOp, MatchPages, MatchPattern, MatchSpec, MatchSpecError, TermTable, TermTableBuilder,
    TermTransfer,
};
pub use self::error::TableError;
#[cfg(feature = "tab2file")]
pub use self::file::{LoadTable, SaveTable, TableFileError, TableFileInfo};
pub use self::fix::Fixed;
pub use self::info::TableInfo;
pub use self::kind::{
    Bag, DuplicateBag, Finds, Keeps, OrderedSet, Replaces, Set, TableKind, TableType, Unique,
};
pub use self::owner::Transfer;
#[cfg(feature = "persist")]
pub use self::persist::{
    Durability, OpenTable, PersistError, PersistentBuilder, PersistentTable, Persists, Writing,
};
pub use self::select::Pages;
pub use self::table::{Table, TableBuilder};
pub use crate::exit::OrderedTerm;
