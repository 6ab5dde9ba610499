//! What is the same for tables of all types: whose it is, who may do what, and whether it is there.
//!
//! ```text
//!            give_away, the owner's death: pass_on
//!              ┌──────────┐
//!   made ──▶ owned by one ─┴──▶ gone: deleted, or orphaned
//! ```
//!
//! # Invariants
//! 1. Once a table is `gone` it stays so, and whoever made it gone, nobody else, clears up after it.
//! 2. An operation asks whether the table is there, and whether the caller may, when it holds its first
//!    lock of the store and with each further one. Deletion makes the table gone under a lock of the
//!    store, or before it takes any, and then clears the store under all of its locks: what was done is
//!    done before that, what comes after is refused.
//! 3. `word` says what `rights.owner` does; it is written under the lock of `rights`, and read without.

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::TableError;
use super::store::{NEVER, Terms};
use crate::process::caller::caller;
use crate::process::pid::Pid;
use crate::sched::clock::later;
use crate::sched::core::CoreRef;
use crate::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use crate::sync::{Arc, Mutex};

/// Who may do what with a table besides its owner, who may do all. OTP: the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Access {
    /// Everybody may read and write.
    Public,
    /// Everybody may read.
    #[default]
    Protected,
    /// Nobody may.
    Private,
}

/// How long an object stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Expiry {
    /// As long as the table says ([`TableBuilder::ttl`](super::TableBuilder::ttl)).
    #[default]
    Default,
    /// Until it is deleted.
    Never,
    /// So long, on the system's clock. With zero it has expired already.
    After(Duration),
}

/// Whose a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Process(Pid),
    /// The system's keeper of tables, whichever process that is.
    System,
}

/// No process has this as id and serial: serials begin with 1, and do not wrap.
const NOBODY: u64 = 0;

fn word(pid: Pid) -> u64 {
    u64::from(pid.id()) << 32 | u64::from(pid.serial())
}

/// What changes rarely.
pub(crate) struct Rights {
    pub(crate) owner: Owner,
    pub(crate) name: Option<Arc<str>>,
    /// How often it is fixed, and by whom; `None`: from outside any process.
    pub(crate) fixed: BTreeMap<Option<Pid>, usize>,
}

pub(crate) struct Common {
    pub(crate) core: CoreRef,
    /// Which table of the system it is, in the order in which they were made.
    pub(crate) number: u64,
    pub(crate) access: Access,
    pub(crate) ttl: Option<Duration>,
    pub(crate) sweep_every: Duration,
    /// Where in its objects their key is, counted from 1; `None`: its objects are keys and values.
    pub(super) keypos: Option<usize>,
    gone: AtomicBool,
    word: AtomicU64,
    pub(crate) rights: Mutex<Rights>,
    pub(super) plan: Plan,
}

impl Common {
    pub(super) fn new(
        core: CoreRef,
        owner: Owner,
        access: Access,
        name: Option<Arc<str>>,
        ttl: Option<Duration>,
        sweep_every: Duration,
        keypos: Option<usize>,
    ) -> Self {
        let number = core.belongings.number();
        Common {
            core,
            number,
            access,
            ttl,
            sweep_every,
            keypos,
            gone: AtomicBool::new(false),
            word: AtomicU64::new(match owner {
                Owner::Process(pid) => word(pid),
                Owner::System => NOBODY,
            }),
            rights: Mutex::new(Rights {
                owner,
                name,
                fixed: BTreeMap::new(),
            }),
            plan: Plan::default(),
        }
    }

    #[inline]
    pub(crate) fn is_gone(&self) -> bool {
        // Acquire: who heard of the owner's death finds the table gone.
        self.gone.load(Acquire)
    }

    /// Makes the table gone. `true`: it was there, and it is the caller who clears up.
    #[must_use = "whoever makes a table gone must clear up"]
    pub(super) fn vanish(&self) -> bool {
        !self.gone.swap(true, AcqRel)
    }

    /// As [`vanish`](Self::vanish), of all tables of a system that has ended; nobody clears up.
    pub(super) fn close(&self) {
        self.gone.store(true, Release);
    }

    pub(crate) fn owner(&self) -> Owner {
        self.rights.lock().owner
    }

    /// Makes it `to`'s if it is `from`'s.
    pub(super) fn pass_on(&self, from: Owner, to: Pid) -> bool {
        let mut rights = self.rights.lock();
        if rights.owner != from {
            return false;
        }
        rights.owner = Owner::Process(to);
        // Relaxed: who may is told so by a message, which orders it.
        self.word.store(word(to), Relaxed);
        true
    }

    /// From now on nobody is the owner who calls: the table is its process's in all else, but only who passes
    /// without being asked ([`Need::Keep`]) changes it. So no code of the user's does, on whatever thread.
    #[cfg(feature = "persist")]
    pub(super) fn seal(&self) {
        // Relaxed: before anybody else has the table.
        self.word.store(NOBODY, Relaxed);
    }

    /// Whether it is the owner who calls.
    pub(crate) fn is_owner_calling(&self) -> bool {
        // Relaxed: only the owner can make another the owner, so for whoever owns it this is settled.
        caller().is_some_and(|pid| {
            word(pid) == self.word.load(Relaxed) && pid.creation() == self.core.creation()
        })
    }

    pub(crate) fn pass(&self, need: Need) -> Pass<'_> {
        Pass { common: self, need }
    }

    #[inline]
    pub(crate) fn read(&self) -> Pass<'_> {
        self.pass(Need::Read)
    }

    #[inline]
    pub(crate) fn write(&self) -> Pass<'_> {
        self.pass(Need::Write)
    }

    /// When an object that is inserted now expires.
    #[inline]
    pub(super) fn expires(&self, expiry: Expiry) -> u64 {
        let after = match expiry {
            Expiry::Default => self.ttl,
            Expiry::Never => None,
            Expiry::After(time) => Some(time),
        };
        match after {
            None => NEVER,
            // Not the end of all time, which is never.
            Some(time) => later(self.core.clock.now(), time).min(NEVER - 1),
        }
    }
}

/// When a table must be looked through for what has expired.
pub(super) struct Plan {
    /// When there will first be something; [`NEVER`] if there is nothing to wait for.
    at: AtomicU64,
    /// Something in it expires, or did.
    needed: AtomicBool,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            at: AtomicU64::new(NEVER),
            needed: AtomicBool::new(false),
        }
    }
}

impl Plan {
    /// Takes note that something in the table expires then, once it is in there. `true`: that is earlier
    /// than all that was known, so the keeper must hear of it.
    #[must_use = "`true` leaves it to the caller to tell the keeper"]
    pub(super) fn expect(&self, expires: u64) -> bool {
        // Relaxed: if what is read is out of date, it is so by what is about to be told.
        if expires == NEVER || expires >= self.at.load(Relaxed) {
            return false;
        }
        self.needed.store(true, Relaxed);
        self.at.fetch_min(expires, AcqRel) > expires
    }

    /// Begins to look through: from here on, what is inserted is noted anew.
    pub(super) fn begin(&self) {
        self.at.store(NEVER, Release);
    }

    /// When to look through.
    pub(super) fn at(&self) -> Option<u64> {
        Some(self.at.load(Acquire)).filter(|at| *at != NEVER)
    }

    /// Whether there ever was a plan.
    pub(super) fn was_needed(&self) -> bool {
        self.needed.load(Relaxed)
    }
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Read,
    Write,
    /// It keeps house.
    Keep,
}

/// The terms of one operation.
pub(crate) struct Pass<'a> {
    pub(crate) common: &'a Common,
    need: Need,
}

impl Pass<'_> {
    #[inline]
    fn may(&self) -> bool {
        match (self.common.access, self.need) {
            (_, Need::Keep) | (Access::Public, _) | (Access::Protected, Need::Read) => true,
            (Access::Protected, Need::Write) | (Access::Private, _) => {
                self.common.is_owner_calling()
            }
        }
    }
}

impl Terms for Pass<'_> {
    type Refusal = TableError;

    #[inline]
    fn admit(&self) -> Result<(), TableError> {
        if self.common.is_gone() {
            return Err(TableError::Gone);
        }
        match self.may() {
            true => Ok(()),
            false => Err(TableError::Access),
        }
    }

    fn now(&self) -> u64 {
        self.common.core.clock.now()
    }
}

/// The terms of a deletion: whoever is admitted first makes the table gone.
pub(super) struct Deletion<'a> {
    pass: Pass<'a>,
    done: std::cell::Cell<bool>,
}

impl<'a> Deletion<'a> {
    pub(super) fn of(pass: Pass<'a>) -> Self {
        Deletion {
            pass,
            done: std::cell::Cell::new(false),
        }
    }
}

impl Terms for Deletion<'_> {
    type Refusal = TableError;

    fn admit(&self) -> Result<(), TableError> {
        if self.done.get() {
            return Ok(());
        }
        self.pass.admit()?;
        if !self.pass.common.vanish() {
            return Err(TableError::Gone);
        }
        self.done.set(true);
        Ok(())
    }

    fn now(&self) -> u64 {
        self.pass.now()
    }
}

/// The terms on which a table that is gone is cleared.
pub(super) struct Clearing;

impl Terms for Clearing {
    type Refusal = super::store::Nested;

    fn admit(&self) -> Result<(), super::store::Nested> {
        Ok(())
    }

    fn now(&self) -> u64 {
        0
    }
}
