//! What is loaded in a system and how it stands; and what follows from it. No processes here.
//!
//! ```text
//!            begin_start          started
//!   Loaded ─────────────▶ Starting ───────▶ Running
//!     ▲                      │ failed        │ ended │ begin_stop
//!     ├──────────────────────┘◀──────────────┘       ▼
//!     └────────────────────────────────────────── Stopping
//! ```
//!
//! # Invariants
//! 1. Only the controller moves an application from one status to another.
//! 2. A status other than `Loaded` counts only while the controller lives that set it: when that dies,
//!    all masters and trees die by their links.
//! 3. `order` of those that run is the order in which their starts began, and one's dependencies ran
//!    before its own start began; so stopping by falling `order` stops each before what it depends on.

use std::collections::BTreeMap;
use std::fmt;

use super::spec::{ApplicationSpec, Env};
use crate::error::{CallError, StartError};
use crate::exit::ExitReason;
use crate::process::pid::Pid;
use crate::sync::Arc;

/// What the end of an application means to its system. OTP: `restart_type()` of `application`, where
/// it is the node that is taken down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ApplicationKind {
    /// Nothing; it is reported. The default.
    #[default]
    Temporary,
    /// An end with any reason but `Normal` takes the system down; so does the `Shutdown` of a tree
    /// that gave up.
    Transient,
    /// Any end takes the system down.
    Permanent,
}

/// How an application stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApplicationStatus {
    /// It does not run.
    Loaded,
    /// It is being started.
    Starting,
    /// It runs; the top process of its tree.
    Running(Pid),
    /// It is being stopped.
    Stopping,
}

/// Why something could not be done to an application.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplicationError {
    /// None of this name is loaded: [`Applications::load`](super::Applications::load) it.
    #[error("no application `{0}` is loaded")]
    NotLoaded(Arc<str>),
    /// One of this name is loaded already. OTP: `{already_loaded, Name}`.
    #[error("an application `{0}` is loaded already")]
    AlreadyLoaded(Arc<str>),
    /// It runs. OTP: `{already_started, Name}`.
    #[error("the application `{0}` is started already")]
    AlreadyStarted(Arc<str>),
    /// It does not run; of a start: one it depends on does not. OTP: `{not_started, Name}`.
    #[error("the application `{0}` is not started")]
    NotStarted(Arc<str>),
    /// It was started or is being started, and so cannot be unloaded. OTP: `{running, Name}`.
    #[error("the application `{0}` runs; stop it first")]
    Running(Arc<str>),
    /// These depend on each other in a circle.
    #[error("these applications depend on each other: {}", .0.join(" -> "))]
    Circle(Vec<Arc<str>>),
    /// Its start failed.
    #[error("the application `{name}` did not start")]
    Start {
        /// Which.
        name: Arc<str>,
        /// Why.
        #[source]
        error: StartError,
    },
    /// The application of this name is another type than the one asked for.
    #[error("the application `{0}` is of another type")]
    WrongType(Arc<str>),
    /// The controller is gone, as the system shuts down; or `.wait()` must not be used here.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl ApplicationError {
    /// Whether one of `names` is what is not started.
    pub(crate) fn is_about(&self, names: &[Arc<str>]) -> bool {
        matches!(self, ApplicationError::NotStarted(name) if names.contains(name))
    }
}

/// An application that everything depends on has ended; the reason with which the system ends. OTP:
/// `{application_terminated, Name, Reason}`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the application `{name}` ended")]
pub(crate) struct ApplicationEnded {
    pub(crate) name: Arc<str>,
    #[source]
    pub(crate) reason: ExitReason,
}

pub(crate) struct Entry {
    pub(crate) spec: Arc<ApplicationSpec>,
    pub(crate) env: Env,
    pub(crate) status: ApplicationStatus,
    pub(crate) kind: ApplicationKind,
    order: u64,
}

#[derive(Default)]
pub(crate) struct Table {
    entries: BTreeMap<Arc<str>, Entry>,
    starts: u64,
    controller: Option<Pid>,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(
                self.entries
                    .iter()
                    .map(|(name, entry)| (name, entry.status)),
            )
            .finish()
    }
}

impl Table {
    /// What was started under another controller than `pid` runs no more.
    pub(crate) fn under(&mut self, pid: Option<Pid>) {
        if self.controller != pid {
            self.controller = pid;
            for entry in self.entries.values_mut() {
                entry.status = ApplicationStatus::Loaded;
            }
        }
    }

    pub(crate) fn controller(&self) -> Option<Pid> {
        self.controller
    }

    pub(crate) fn get(&self, name: &str) -> Result<&Entry, ApplicationError> {
        let unknown = || ApplicationError::NotLoaded(name.into());
        self.entries.get(name).ok_or_else(unknown)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Result<&mut Entry, ApplicationError> {
        let unknown = || ApplicationError::NotLoaded(name.into());
        self.entries.get_mut(name).ok_or_else(unknown)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// What is refused comes back: it is user code that drops it, and not under the table's lock.
    pub(crate) fn load(&mut self, spec: ApplicationSpec) -> Result<(), Box<ApplicationSpec>> {
        if self.entries.contains_key(&spec.name) {
            return Err(Box::new(spec));
        }
        let entry = Entry {
            env: spec.env.clone(),
            status: ApplicationStatus::Loaded,
            kind: ApplicationKind::default(),
            order: 0,
            spec: Arc::new(spec),
        };
        self.entries.insert(entry.spec.name.clone(), entry);
        Ok(())
    }

    /// What was there comes back, as with [`load`](Self::load).
    pub(crate) fn unload(&mut self, name: &str) -> Result<Option<Entry>, ApplicationError> {
        let entry = self.get(name)?;
        if entry.status != ApplicationStatus::Loaded {
            return Err(ApplicationError::Running(entry.spec.name.clone()));
        }
        Ok(self.entries.remove(name))
    }

    fn runs(&self, name: &str) -> bool {
        let status = self.entries.get(name).map(|entry| entry.status);
        matches!(status, Some(ApplicationStatus::Running(_)))
    }

    /// What `entry` depends on, as far as it counts now.
    fn needs<'a>(&'a self, entry: &'a Entry) -> impl Iterator<Item = &'a Arc<str>> {
        let optional = entry.spec.needs_if_loaded.iter();
        let loaded = optional.filter(|name| self.entries.contains_key(*name));
        entry.spec.needs.iter().chain(loaded)
    }

    /// What the start of an application begins with.
    pub(crate) fn begin_start(
        &mut self,
        name: &str,
        kind: ApplicationKind,
    ) -> Result<(Arc<ApplicationSpec>, Env), ApplicationError> {
        let entry = self.get(name)?;
        if entry.status != ApplicationStatus::Loaded {
            return Err(ApplicationError::AlreadyStarted(entry.spec.name.clone()));
        }
        if let Some(missing) = self.needs(entry).find(|needed| !self.runs(needed)) {
            return Err(ApplicationError::NotStarted(missing.clone()));
        }
        self.starts += 1;
        let order = self.starts;
        let entry = self.get_mut(name)?;
        entry.status = ApplicationStatus::Starting;
        entry.kind = kind;
        entry.order = order;
        Ok((entry.spec.clone(), entry.env.clone()))
    }

    pub(crate) fn set(&mut self, name: &str, status: ApplicationStatus) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.status = status;
        }
    }

    /// Those that run or are on their way to or from it, the last started first.
    pub(crate) fn last_first(&self) -> Vec<&Entry> {
        let started = |entry: &&Entry| entry.status != ApplicationStatus::Loaded;
        let mut entries: Vec<_> = self.entries.values().filter(started).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.order));
        entries
    }
}

/// Whether the end of an application takes its system down.
pub(crate) fn takes_down(kind: ApplicationKind, reason: &ExitReason) -> bool {
    match kind {
        ApplicationKind::Temporary => false,
        ApplicationKind::Transient => !reason.is_normal(),
        ApplicationKind::Permanent => true,
    }
}
