//! How a persistent table is opened.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::PersistentTable;
use super::disk::Medium;
use super::engine::Opening;
use super::error::PersistError;
use super::view::Persists;
use super::writer::{Args, Shared, Writer};
use crate::ets::codec::Stored;
use crate::ets::{Set, TableBuilder};
use crate::gen_server::{self, ServerOptions, ServerRef};
use crate::process::context::ProcessContext;
use crate::process::pid::Pid;
use crate::process::spawn::Ties;
use crate::sched::core::CoreRef;
use crate::supervisor::ChildSpec;
use crate::sync::Arc;
use crate::system::Handle;

/// When a write is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// When it is on the disk. Those that come while the disk is busy share the next sync. OTP's `dets` has
    /// nothing like it.
    #[default]
    Each,
    /// When it is done in memory; it is on the disk within this interval, with all others of that time in one
    /// write, and each key at most once. A crash loses what was acknowledged since, and nothing else: what
    /// is in the file is all that was acknowledged up to some moment. If the disk fails, the writes that
    /// come after are refused until it does not. OTP: `dets`'s `auto_save`.
    Interval(Duration),
}

/// How a persistent table is to be.
pub struct PersistentBuilder<K: 'static, V: 'static, Kind: Persists<K, V> = Set> {
    path: PathBuf,
    name: Option<Arc<str>>,
    ttl: Option<Duration>,
    sweep_every: Duration,
    durability: Durability,
    any_types: bool,
    /// Of tests.
    medium: Option<Medium>,
    types: std::marker::PhantomData<(K, V, Kind)>,
}

impl<K: 'static, V: 'static, Kind: Persists<K, V>> Clone for PersistentBuilder<K, V, Kind> {
    fn clone(&self) -> Self {
        PersistentBuilder {
            path: self.path.clone(),
            name: self.name.clone(),
            ttl: self.ttl,
            sweep_every: self.sweep_every,
            durability: self.durability,
            any_types: self.any_types,
            medium: self.medium.clone(),
            types: self.types,
        }
    }
}

impl<K: 'static, V: 'static, Kind: Persists<K, V>> fmt::Debug for PersistentBuilder<K, V, Kind> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PersistentBuilder")
            .field("kind", &Kind::TYPE)
            .field("path", &self.path)
            .field("name", &self.name)
            .field("ttl", &self.ttl)
            .field("sweep_every", &self.sweep_every)
            .field("durability", &self.durability)
            .field("any_types", &self.any_types)
            .finish_non_exhaustive()
    }
}

impl<K, V, Kind> PersistentBuilder<K, V, Kind>
where
    K: Stored + Clone,
    V: Stored + Clone,
    Kind: Persists<K, V>,
{
    pub(super) fn new(path: PathBuf) -> Self {
        PersistentBuilder {
            medium: None,
            path,
            name: None,
            ttl: None,
            sweep_every: Duration::from_secs(1),
            durability: Durability::Each,
            any_types: false,
            types: std::marker::PhantomData,
        }
    }

    /// As [`TableBuilder::named`]: by this name [`Handle::persistent_table`] finds it, and
    /// [`Handle::table_named`] the table in it, to read. Default: none.
    pub fn named(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// As [`TableBuilder::ttl`]. In the file a time is one on the host's clock: it passes while the file is
    /// closed. Default: until it is deleted.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// As [`TableBuilder::sweep_every`], in the file, too. Default: every second, and only when something has
    /// expired.
    pub fn sweep_every(mut self, interval: Duration) -> Self {
        self.sweep_every = interval;
        self
    }

    /// When a write is acknowledged. Default: [`Durability::Each`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Opens the file whatever names the types of keys and values had when it was made. For types that have
    /// moved or were renamed; what was of another shape is an error, or other values, as the bytes have it.
    pub fn any_types(mut self) -> Self {
        self.any_types = true;
        self
    }

    /// Has the file somewhere else.
    #[cfg(test)]
    pub(super) fn medium(mut self, medium: Medium) -> Self {
        self.medium = Some(medium);
        self
    }

    /// Opens the table. From outside any process its process is a child of the system's root, which closes the
    /// file at shutdown. OTP: `dets:open_file/2`.
    pub fn open(&self, system: &Handle) -> OpenTable<K, V, Kind> {
        self.launch(system.core(), Handle::ties())
    }

    /// Opens the table, with a process that is linked to the calling one, its parent.
    pub fn open_link(&self, cx: &ProcessContext) -> OpenTable<K, V, Kind> {
        let ties = Ties {
            link: true,
            ..Ties::default()
        };
        self.launch(cx.core(), ties)
    }

    /// The table's process as the child of a supervisor: each incarnation opens the file anew. Give the table a
    /// [name](Self::named), and reach it by [`Handle::persistent_table`].
    pub fn child_spec(&self, id: impl Into<Arc<str>>) -> ChildSpec {
        let builder = self.clone();
        ChildSpec::worker(id, move |starter| {
            let args = builder.args(Shared::new());
            async move {
                let started: ServerRef<Writer<K, V, Kind>> = starter.start_link(args).await?;
                Ok(started.pid())
            }
        })
    }

    fn args(&self, shared: Arc<Shared<K, V, Kind>>) -> Args<K, V, Kind> {
        let mut builder = TableBuilder::new().sweep_every(self.sweep_every);
        if let Some(name) = &self.name {
            builder = builder.named(name.clone());
        }
        if let Some(ttl) = self.ttl {
            builder = builder.ttl(ttl);
        }
        Args {
            opening: Opening {
                path: self.path.clone(),
                medium: self.medium.clone(),
                builder,
                durability: self.durability,
                any_types: self.any_types,
            },
            shared,
            purge_every: self.sweep_every,
        }
    }

    fn launch(&self, core: &CoreRef, ties: Ties) -> OpenTable<K, V, Kind> {
        let shared = Shared::new();
        let args = self.args(shared.clone());
        let start = gen_server::start(core, args, &ServerOptions::new(), ties);
        OpenTable { start, shared }
    }
}

/// A persistent table that is being opened.
///
/// # Cancellation
/// Dropping it does not stop the opening: the table is open all the same, until its process ends.
#[must_use = "the table is opened, but whether it was is not looked at"]
pub struct OpenTable<K: 'static, V: 'static, Kind: Persists<K, V> = Set> {
    start: gen_server::Start<Writer<K, V, Kind>>,
    shared: Arc<Shared<K, V, Kind>>,
}

impl<K: 'static, V: 'static, Kind: Persists<K, V>> fmt::Debug for OpenTable<K, V, Kind> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OpenTable").field(&self.start).finish()
    }
}

impl<K, V, Kind> OpenTable<K, V, Kind>
where
    K: Stored + Clone,
    V: Stored + Clone,
    Kind: Persists<K, V>,
{
    /// The pid of the table's process, as soon as there is one.
    pub fn pid(&self) -> Option<Pid> {
        self.start.pid()
    }

    /// Blocks the calling thread until it is open. On the thread that drives a manual system this runs the
    /// system meanwhile.
    ///
    /// # Errors
    /// As the future itself; also that the caller must not block, or that a manual system has nothing left
    /// to run.
    pub fn wait(self) -> Result<PersistentTable<K, V, Kind>, PersistError> {
        self.start.wait()?;
        Ok(PersistentTable::of(self.shared)?)
    }

    /// As [`wait`](Self::wait), for at most `timeout` from now; then its process is killed.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait).
    pub fn wait_timeout(
        self,
        timeout: Duration,
    ) -> Result<PersistentTable<K, V, Kind>, PersistError> {
        self.start.wait_timeout(timeout)?;
        Ok(PersistentTable::of(self.shared)?)
    }
}

impl<K, V, Kind> std::future::Future for OpenTable<K, V, Kind>
where
    K: Stored + Clone,
    V: Stored + Clone,
    Kind: Persists<K, V>,
{
    type Output = Result<PersistentTable<K, V, Kind>, PersistError>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        let started = std::pin::Pin::new(&mut self.start).poll(cx);
        started.map(|started| {
            started?;
            Ok(PersistentTable::of(self.shared.clone())?)
        })
    }
}
