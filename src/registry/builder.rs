//! How a registry is started, and found again.

use std::any::{Any, type_name};
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

use super::directory::{Missing, registries};
use super::handle::Registry;
use super::keeper::Launch;
use super::listeners::{Listener, RegistryEvent};
use super::meta::Note;
use super::name::Name;
use super::shared::Shared;
use super::store::Store;
use super::{Keys, RegistryError};
use crate::destination::Destination;
use crate::error::StartError;
use crate::process::context::ProcessContext;
use crate::process::pid::Pid;
use crate::process::spawn::Ties;
use crate::sched::core::CoreRef;
use crate::supervisor::{ChildSpec, Starter};
use crate::sync::Arc;
use crate::system::Handle;

/// Linked to whoever starts it.
pub(crate) const LINK: Ties = Ties {
    link: true,
    monitor: false,
    root: false,
};

/// Builds a [`Registry`]: [`Registry::unique`] and [`Registry::duplicate`] begin it.
///
/// ```
/// use noex::prelude::*;
/// use noex::{Duplicate, Registry};
///
/// let system = System::new()?;
/// let topics = Registry::<String, u32, Duplicate>::duplicate("topics")
///     .partitions(4)
///     .meta("limit", 100u32);
/// Supervisor::new(Strategy::OneForOne)
///     .child(topics.child_spec("topics"))
///     .start(&system)
///     .wait()?;
/// let topics: Registry<String, u32, Duplicate> = system.registry("topics")?;
/// assert_eq!(*topics.meta::<u32>("limit").unwrap(), 100);
/// # Ok::<(), noex::Error>(())
/// ```
pub struct RegistryBuilder<K, V, Q> {
    name: Arc<str>,
    partitions: usize,
    listeners: Vec<Listener<K, V>>,
    meta: Vec<Note>,
    keys: PhantomData<fn(Q)>,
}

impl<K, V, Q> Clone for RegistryBuilder<K, V, Q> {
    fn clone(&self) -> Self {
        RegistryBuilder {
            name: self.name.clone(),
            partitions: self.partitions,
            listeners: self.listeners.clone(),
            meta: self.meta.clone(),
            keys: PhantomData,
        }
    }
}

impl<K, V, Q> fmt::Debug for RegistryBuilder<K, V, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryBuilder")
            .field("name", &self.name)
            .field("partitions", &self.partitions)
            .field("listeners", &self.listeners.len())
            .finish_non_exhaustive()
    }
}

impl<K, V, Q> RegistryBuilder<K, V, Q>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    Q: Keys,
{
    pub(super) fn new(name: Arc<str>) -> Self {
        RegistryBuilder {
            name,
            partitions: 1,
            listeners: Vec::new(),
            meta: Vec::new(),
            keys: PhantomData,
        }
    }

    /// In how many parts the registrations of each key lie, by their processes, so that
    /// [`dispatch_parallel`](Registry::dispatch_parallel) can go through them at the same time. At least
    /// and by default 1. Elixir: `partitions`.
    ///
    /// It is no matter of speed otherwise: whatever it is, a registry is read without a shared line, and
    /// written in 32 parts. With unique keys a key has one registration, and it means nothing.
    pub fn partitions(mut self, partitions: usize) -> Self {
        self.partitions = partitions.max(1);
        self
    }

    /// Adds a listener, which is sent a [`RegistryEvent`] for each change. One by name, or by its place in
    /// a tree, is looked up each time. Events do not count against the bound of its mailbox. Elixir:
    /// `listeners`.
    pub fn listener<D>(mut self, to: D) -> Self
    where
        D: Destination<RegistryEvent<K, V>> + Send + Sync + 'static,
        V: Clone,
    {
        self.listeners.push(Listener::new(to));
        self
    }

    /// Notes something about the registry from the start. Elixir: `meta`.
    pub fn meta<T: Any + Send + Sync>(mut self, key: impl Into<Arc<str>>, value: T) -> Self {
        self.meta.push((key.into(), Arc::new(value)));
        self
    }

    /// Starts it. From outside any process it is a child of the system's root: stopped in order at
    /// shutdown. Elixir: `Registry.start_link/1`, without the link.
    ///
    /// A registry whose process has crashed is taken over as it is: registrations, listeners, metadata.
    ///
    /// # Errors
    /// [`StartError::AlreadyStarted`]: it runs. [`StartError::Init`] with
    /// [`RegistryError::WrongType`]: a registry with other types runs under that name, or crashed and was
    /// not stopped. [`StartError::Refused`]: the system starts no more processes.
    pub fn start(self, system: &Handle) -> Result<Registry<K, V, Q>, StartError> {
        let started = self.launch(system.core(), Handle::ties(), None);
        started.map(|(registry, _)| registry)
    }

    /// Starts it linked to the running process, which is its parent. Elixir: `Registry.start_link/1`.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn start_link(self, cx: &ProcessContext) -> Result<Registry<K, V, Q>, StartError> {
        self.launch(cx.core(), LINK, None)
            .map(|(registry, _)| registry)
    }

    /// It as the child of a supervisor. Elixir: `Registry.child_spec/1`.
    pub fn child_spec(self, id: impl Into<Arc<str>>) -> ChildSpec {
        ChildSpec::worker(id, move |starter: Starter| {
            let name = starter.options().name;
            let core = starter.process().core();
            let started = self.clone().launch(core, LINK, name.as_ref());
            let pid = started.map(|(_, pid)| pid);
            starter.note(pid.as_ref().ok().copied());
            std::future::ready(pid)
        })
    }

    /// `process`: the name of its process.
    fn launch(
        self,
        core: &CoreRef,
        ties: Ties,
        process: Option<&Name>,
    ) -> Result<(Registry<K, V, Q>, Pid), StartError> {
        let launch = Launch {
            directory: &registries(core),
            name: &self.name,
            wanted: type_name::<Registry<K, V, Q>>(),
            ties,
            process,
        };
        let make = || {
            let store = match Q::UNIQUE {
                true => Store::unique(),
                false => Store::duplicate(self.partitions),
            };
            Shared::<K, V>::new(self.name.clone(), store)
        };
        let fits = |shared: &Shared<K, V>| shared.store.is_unique() == Q::UNIQUE;
        let open = |shared: &Shared<K, V>| shared.open(self.listeners.into(), self.meta);
        let (shared, pid) = launch.start(core, fits, make, open)?;
        Ok((Registry::new(Handle::new(core.clone()), shared), pid))
    }
}

/// The open registry of that name.
pub(super) fn find<K, V, Q>(system: &Handle, name: &str) -> Result<Registry<K, V, Q>, RegistryError>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    Q: Keys,
{
    let found = registries(system.core()).find::<Shared<K, V>>(name);
    let found = match found {
        Ok(shared) if shared.store.is_unique() != Q::UNIQUE => Err(Missing::OtherType),
        found => found,
    };
    match found {
        Ok(shared) => Ok(Registry::new(system.clone(), shared)),
        Err(Missing::NotFound) => Err(RegistryError::NotFound(name.into())),
        Err(Missing::OtherType) => Err(RegistryError::WrongType {
            name: name.into(),
            wanted: type_name::<Registry<K, V, Q>>(),
        }),
    }
}
