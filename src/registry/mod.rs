//! Processes by names and keys: the names of the system, and registries of the user's own. OTP:
//! `register/2` and its kin; Elixir: `Registry`.
//!
//! | part | what it does |
//! |---|---|
//! | `handle`, `builder` | what users see: [`Registry`], [`RegistryBuilder`] |
//! | `name`, `label` | [`Name`]: a name of the system, which is a [`Label`], or a key of a registry; for whatever takes a name |
//! | `store` | the registrations: read and written by anybody, without a message |
//! | `entries`, `hashed` | what a key leads to; the maps of the store |
//! | `shared`, `listeners`, `meta` | what belongs to a registry besides |
//! | `keeper` | the process that takes out what the dead leave |
//! | `directory` | where registries are found by their names |
//! | `dispatch`, `glob` | dispatching in parallel; patterns of string keys |
//!
//! The scopes of process groups ([`crate::pg`]) stand on the same store, keeper and directory.
//!
//! # Invariants
//! 1. A registration counts only while its process is alive, by the same `is_alive` that anybody can ask.
//!    A process is dead no later than anybody hears of its death, so nobody finds a dead one, and its key
//!    is free for the next, whether or not the registration is still in the store. (Elixir's registry finds
//!    the dead right after `Down` as often as not: it waits for its own process.)
//! 2. So the keeper is needed for nothing but memory, and for what listeners hear of deaths: it may lag
//!    behind, and it may be killed. The next registration appoints another, which begins by looking at
//!    all there is.
//! 3. Every change that gives a process its first registration, or takes its last, is followed by a message
//!    to the keeper, or by the appointment of one.
//!
//! # Why a process
//! Two ways need none, and were weighed. Sweeping a part of the store with each registration keeps what
//! is left of the dead within a factor of the living, but does not free a burst of names that nobody
//! follows up, and makes whoever registers pay for it. Taking registrations out as part of dying would be
//! a way into the scheduler that no user's process has. A monitor each is what a user would write; it
//! costs a message and a monitor for a process's first registration, and nothing for one without.

pub(crate) mod builder;
pub(crate) mod directory;
mod dispatch;
mod entries;
mod glob;
pub(crate) mod handle;
mod hashed;
pub(crate) mod keeper;
mod label;
pub(crate) mod listeners;
mod meta;
pub(crate) mod name;
pub(crate) mod shared;
pub(crate) mod store;

pub use self::builder::RegistryBuilder;
pub use self::dispatch::Dispatch;
pub use self::handle::{Duplicate, Registry, Unique};
pub use self::label::Label;
pub use self::listeners::RegistryEvent;
pub use self::meta::MetaError;
pub use self::name::Name;

use self::store::Refused;
use crate::process::pid::Pid;
use crate::sync::Arc;

mod sealed {
    /// Keeps [`Keys`](super::Keys) to its two.
    pub trait Sealed {}
}

/// How many registrations a key may have: [`Unique`] or [`Duplicate`]. Sealed.
pub trait Keys: sealed::Sealed + Send + Sync + 'static {
    /// At most one.
    const UNIQUE: bool;
}

/// Why a process was not registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Keys are unique, and this live process has it; it may be the very one. Elixir:
    /// `{:already_registered, pid}`.
    #[error("already registered by {0}")]
    AlreadyRegistered(Pid),
    /// The process is dead, or one of another system.
    #[error("no such process")]
    NoProc,
    /// The registry has ended in order, and was not started again.
    #[error("the registry is closed")]
    Closed,
}

impl From<Refused> for RegisterError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Taken(holder) => RegisterError::AlreadyRegistered(holder),
            Refused::NoProc => RegisterError::NoProc,
            Refused::Closed => RegisterError::Closed,
        }
    }
}

/// Why a registry, or a scope of process groups, was not found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// None of that name is open.
    #[error("there is no `{0}`")]
    NotFound(Arc<str>),
    /// There is one, of another type.
    #[error("`{name}` is not a `{wanted}`")]
    WrongType {
        /// The name.
        name: Arc<str>,
        /// The type that was asked for.
        wanted: &'static str,
    },
}
