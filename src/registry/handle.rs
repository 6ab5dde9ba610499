//! What can be done with a registry.

use std::any::Any;
use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

use super::builder::RegistryBuilder;
use super::dispatch::Dispatch;
use super::glob::Glob;
use super::keeper;
use super::label::Label;
use super::meta::MetaError;
use super::name::Name;
use super::sealed::Sealed;
use super::shared::{Names, Shared};
use super::store::{Found, Refused, Which};
use super::{Keys, RegisterError, RegistryError};
use crate::exit::ExitReason;
use crate::gen_server::Stop;
use crate::process::pid::Pid;
use crate::sched::core::CoreRef;
use crate::sync::Arc;
use crate::system::Handle;

/// Of a [`Registry`]: a key has one process at most. Elixir: `keys: :unique`.
#[derive(Clone, Copy, Debug)]
pub struct Unique(());

/// Of a [`Registry`]: a key may have any number of registrations, several of one process too. Elixir:
/// `keys: :duplicate`.
#[derive(Clone, Copy, Debug)]
pub struct Duplicate(());

impl Sealed for Unique {}
impl Sealed for Duplicate {}

impl Keys for Unique {
    const UNIQUE: bool = true;
}

impl Keys for Duplicate {
    const UNIQUE: bool = false;
}

/// Processes by keys of type `K`, each registration with a value of type `V`. Elixir: `Registry`.
///
/// ```
/// use noex::prelude::*;
/// use noex::{Duplicate, Registry, RegisterError};
/// # use noex::Inbox;
///
/// let system = System::new()?;
/// let users: Registry<String, u32> = Registry::unique("users").start(&system)?;
/// let waits = |mut inbox: Inbox<()>| async move { inbox.recv().await; };
/// let (ann, bob) = (system.spawn(waits)?.pid(), system.spawn(waits)?.pid());
///
/// users.register("ann".to_owned(), ann, 7)?;
/// assert_eq!(users.whereis("ann"), Some(ann));
/// assert_eq!(users.lookup("ann"), Some((ann, 7)));
/// let taken = users.register("ann".to_owned(), bob, 8);
/// assert_eq!(taken, Err(RegisterError::AlreadyRegistered(ann)));
///
/// let rooms: Registry<u64, &str, Duplicate> = Registry::duplicate("rooms").start(&system)?;
/// rooms.register(1, ann, "owner")?;
/// rooms.register(1, bob, "guest")?;
/// assert_eq!(rooms.lookup(&1), [(ann, "owner"), (bob, "guest")]);
/// # Ok::<(), noex::Error>(())
/// ```
///
/// A handle is cheap to clone and keeps nothing running. It leads to the registry through all its
/// incarnations; while there is none it finds nothing, and what would be registered is
/// [`RegisterError::Closed`].
///
/// # What holds
/// - A registration is there until it is taken back or its process is dead, and no longer: whoever has
///   heard of a death, or sees that [`is_alive`](Handle::is_alive) says no, finds nothing. (Elixir's
///   registry still finds the dead for a while.)
/// - Of several who register for a unique key one gets it, and the others are told who.
/// - Look-ups and registrations read and write shared memory, in the caller. The registry's process only
///   sweeps what the dead leave. If it crashes nothing is lost, and registered processes are not touched:
///   the next one takes over what there is. When it ends in order, by [`stop`](Self::stop) or its
///   supervisor, the registry is over, and what was registered with it; started again it is empty.
/// - `Hash`, `Eq` and `Clone` of keys and `Clone` of values run under a lock: they must not use the
///   registry. All other functions given to it may.
///
/// # Who registers
/// The pid is given: `registry.register(key, cx.pid(), value)` registers the calling process. (Elixir
/// registers `self()` alone, as it links it.) Anybody may register, take back or update for anybody.
pub struct Registry<K, V = (), Q = Unique> {
    system: Handle,
    shared: Arc<Shared<K, V>>,
    keys: PhantomData<fn(Q)>,
}

impl<K, V, Q> Clone for Registry<K, V, Q> {
    fn clone(&self) -> Self {
        Registry {
            system: self.system.clone(),
            shared: self.shared.clone(),
            keys: PhantomData,
        }
    }
}

/// Whether they are the same registry.
impl<K, V, Q> PartialEq for Registry<K, V, Q> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl<K, V, Q> Eq for Registry<K, V, Q> {}

impl<K, V, Q: Keys> fmt::Debug for Registry<K, V, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("name", &self.shared.name)
            .field("unique", &Q::UNIQUE)
            .finish_non_exhaustive()
    }
}

impl<K, V> Registry<K, V, Unique>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// A registry with unique keys, to be started under a name.
    pub fn unique(name: impl Into<Arc<str>>) -> RegistryBuilder<K, V, Unique> {
        RegistryBuilder::new(name.into())
    }
}

impl<K, V> Registry<K, V, Duplicate>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// A registry with duplicate keys, to be started under a name.
    pub fn duplicate(name: impl Into<Arc<str>>) -> RegistryBuilder<K, V, Duplicate> {
        RegistryBuilder::new(name.into())
    }
}

impl<K, V, Q: Keys> Registry<K, V, Q> {
    pub(super) fn new(system: Handle, shared: Arc<Shared<K, V>>) -> Self {
        Registry {
            system,
            shared,
            keys: PhantomData,
        }
    }

    fn core(&self) -> &CoreRef {
        self.system.core()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Whether it is open: it was started, and has not ended in order since.
    pub fn is_open(&self) -> bool {
        self.shared.store.is_open()
    }

    /// The process that sweeps it just now; `None`: nobody does. After a crash, or where nothing was
    /// registered yet, that is no error: whoever registers next appoints one.
    pub fn pid(&self) -> Option<Pid> {
        self.shared.post.keeper(self.core())
    }

    /// In how many parts [`dispatch`](Self::dispatch) goes through the registrations of a key. With
    /// unique keys: 1. Elixir: `partitions`.
    pub fn partitions(&self) -> usize {
        self.shared.store.tables()
    }

    /// What is noted about the registry under a key. Elixir: `Registry.meta/2`.
    ///
    /// # Errors
    /// [`MetaError::NotFound`]: nothing. [`MetaError::WrongType`]: it is no `T`.
    pub fn meta<T: Any + Send + Sync>(&self, key: &str) -> Result<Arc<T>, MetaError> {
        self.shared.meta.get(key)
    }

    /// Notes something about the registry, in place of what is there under that key, until it ends in
    /// order. Elixir: `Registry.put_meta/3`.
    pub fn put_meta<T: Any + Send + Sync>(&self, key: impl Into<Arc<str>>, value: T) {
        drop(self.shared.meta.put(key.into(), Arc::new(value)));
    }

    /// Takes a note back; whether there was one. Elixir: `Registry.delete_meta/2`.
    pub fn delete_meta(&self, key: &str) -> bool {
        self.shared.meta.delete(key).is_some()
    }
}

impl<K, V, Q> Registry<K, V, Q>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    Q: Keys,
{
    /// Registers a process under a key, with a value. Elixir: `Registry.register/3`.
    ///
    /// With duplicate keys a process may be registered several times under the same one.
    ///
    /// # Errors
    /// [`RegisterError::AlreadyRegistered`]: keys are unique, and this live process has it, perhaps `pid`
    /// itself. [`RegisterError::NoProc`]: `pid` is dead. [`RegisterError::Closed`]: the registry has
    /// ended.
    pub fn register(&self, key: K, pid: Pid, value: V) -> Result<(), RegisterError> {
        if !self.system.is_alive(pid) {
            return Err(RegisterError::NoProc);
        }
        Ok(self.claim(key, pid, value)?)
    }

    /// As [`register`](Self::register).
    pub(super) fn claim(&self, key: K, pid: Pid, value: V) -> Result<(), Refused> {
        self.shared.register(self.core(), key, pid, value)
    }

    /// Takes all registrations of a process under a key back; how many there were. Elixir:
    /// `Registry.unregister/2`.
    pub fn unregister<B>(&self, key: &B, pid: Pid) -> usize
    where
        K: Borrow<B>,
        B: Hash + Eq + ?Sized,
    {
        self.take(key, pid, Which::All)
    }

    fn take<B>(&self, key: &B, pid: Pid, which: Which<'_>) -> usize
    where
        K: Borrow<B>,
        B: Hash + Eq + ?Sized,
    {
        let taken = self.shared.unregister(self.core(), key, pid, which);
        taken.count()
    }

    /// Takes those registrations of a process under a key back for whose value `wanted` says yes; how
    /// many they were. Elixir: `Registry.unregister_match/4`.
    ///
    /// Each is asked about as it was; one that is updated meanwhile is taken back all the same.
    pub fn unregister_match<B>(
        &self,
        key: &B,
        pid: Pid,
        mut wanted: impl FnMut(&V) -> bool,
    ) -> usize
    where
        K: Borrow<B>,
        B: Hash + Eq + ?Sized,
        V: Clone,
    {
        let mut there = self.under(key);
        there.retain(|(_, (of, value))| *of == pid && wanted(value));
        let stamps: Vec<u64> = there.iter().map(|(stamp, _)| *stamp).collect();
        if stamps.is_empty() {
            return 0;
        }
        self.take(key, pid, Which::These(&stamps))
    }

    /// The registrations of a key, in order, with their stamps.
    fn under<B>(&self, key: &B) -> Vec<(u64, (Pid, V))>
    where
        K: Borrow<B>,
        B: Hash + Eq + ?Sized,
        V: Clone,
    {
        let mut all = Vec::new();
        for table in 0..self.partitions() {
            self.shared
                .store
                .look(self.core(), key, table, |stamp, pid, value| {
                    all.push((stamp, (pid, value.clone())));
                });
        }
        if self.partitions() > 1 {
            all.sort_unstable_by_key(|(stamp, _)| *stamp);
        }
        all
    }

    /// The values of a process under a key, in the order of registration. Elixir: `Registry.values/3`.
    pub fn values<B>(&self, key: &B, pid: Pid) -> Vec<V>
    where
        K: Borrow<B>,
        B: Hash + Eq + ?Sized,
        V: Clone,
    {
        let own = self.under(key).into_iter();
        own.filter(|(_, (of, _))| *of == pid)
            .map(|(_, (_, value))| value)
            .collect()
    }

    /// The keys of a process, in the order of registration: one as often as the process is registered
    /// under it. None if it is dead. Elixir: `Registry.keys/2`.
    pub fn keys(&self, pid: Pid) -> Vec<K> {
        self.shared.store.keys(self.core(), pid)
    }

    /// Those registrations under a key for which `wanted` says yes, in order. Elixir:
    /// `Registry.match/4`.
    pub fn match_values<B>(&self, key: &B, mut wanted: impl FnMut(Pid, &V) -> bool) -> Vec<(Pid, V)>
    where
        K: Borrow<B>,
        B: Hash + Eq + ?Sized,
        V: Clone,
    {
        let all = self.under(key).into_iter().map(|(_, entry)| entry);
        all.filter(|(pid, value)| wanted(*pid, value)).collect()
    }

    /// How many registrations under a key `wanted` says yes to. Elixir: `Registry.count_match/4`.
    pub fn count_match<B>(&self, key: &B, mut wanted: impl FnMut(Pid, &V) -> bool) -> usize
    where
        K: Borrow<B>,
        B: Hash + Eq + ?Sized,
        V: Clone,
    {
        let all = self.under(key);
        all.iter()
            .filter(|(_, (pid, value))| wanted(*pid, value))
            .count()
    }

    /// What `pick` makes of each registration, where it makes something, in the order of registration.
    /// Elixir: `Registry.select/2`.
    ///
    /// Goes through the whole registry, in parts that are each as they were at one moment; takes time with
    /// its size. With unique keys no key comes twice unless it changed hands meanwhile.
    pub fn select<R>(&self, mut pick: impl FnMut(&K, Pid, &V) -> Option<R>) -> Vec<R>
    where
        V: Clone,
    {
        let all = self.all().into_iter();
        all.filter_map(|found| pick(&found.key, found.pid, &found.value))
            .collect()
    }

    fn all(&self) -> Vec<Found<K, V>>
    where
        V: Clone,
    {
        self.shared.store.all(self.core())
    }

    /// How many registrations `wanted` says yes to. Elixir: `Registry.count_select/2`.
    pub fn count_select(&self, mut wanted: impl FnMut(&K, Pid, &V) -> bool) -> usize
    where
        V: Clone,
    {
        let all = self.all();
        all.iter()
            .filter(|found| wanted(&found.key, found.pid, &found.value))
            .count()
    }

    /// The registrations whose key, a string, matches a pattern, in the order of registration: `?` is any
    /// one character, `*` any number of them up to the next `/`, `**` any number of them. (No
    /// counterpart in Elixir.)
    pub fn select_glob(&self, pattern: &str) -> Vec<(K, Pid, V)>
    where
        K: AsRef<str>,
        V: Clone,
    {
        let glob = Glob::new(pattern);
        let matching = self.all().into_iter();
        matching
            .filter(|found| glob.matches(found.key.as_ref()))
            .map(|found| (found.key, found.pid, found.value))
            .collect()
    }

    /// How many registrations there are. (Elixir counts in constant time, the dead included; this counts
    /// the living, in time with the number of registered processes.) Elixir: `Registry.count/1`.
    pub fn count(&self) -> usize {
        self.shared.store.count(self.core())
    }

    /// Calls `act` with all registrations under a key, in order, in the caller; how many they were. With
    /// several [`partitions`](Self::partitions): once for each that has some. Not at all if there are
    /// none. Elixir: `Registry.dispatch/3`.
    ///
    /// A panic in `act` is the caller's.
    pub fn dispatch<B>(&self, key: &B, mut act: impl FnMut(&[(Pid, V)])) -> usize
    where
        K: Borrow<B>,
        B: Hash + Eq + ?Sized,
        V: Clone,
    {
        let mut count = 0;
        for entries in self.partitioned(key) {
            count += entries.len();
            act(&entries);
        }
        count
    }

    /// As [`dispatch`](Self::dispatch), with the partitions at the same time, each in a process of its
    /// own. Elixir: `parallel: true`.
    ///
    /// # Errors
    /// Of the future: see [`Dispatch`].
    pub fn dispatch_parallel<B>(
        &self,
        key: &B,
        act: impl Fn(&[(Pid, V)]) + Send + Sync + 'static,
    ) -> Dispatch
    where
        K: Borrow<B>,
        B: Hash + Eq + ?Sized,
        V: Clone,
    {
        Dispatch::start(&self.system, self.partitioned(key), Arc::new(act))
    }

    fn partitioned<B>(&self, key: &B) -> Vec<Vec<(Pid, V)>>
    where
        K: Borrow<B>,
        B: Hash + Eq + ?Sized,
        V: Clone,
    {
        let of_table = |table| {
            let mut entries = Vec::new();
            self.shared
                .store
                .look(self.core(), key, table, |_, pid, value| {
                    entries.push((pid, value.clone()));
                });
            entries
        };
        let parts = (0..self.partitions()).map(of_table);
        parts.filter(|entries| !entries.is_empty()).collect()
    }

    /// Ends the registry, in order, with its process: it is empty, and its name free. The wait is for the
    /// process. (The system's names, [`Handle::names`], have no end but the system's.)
    pub fn stop(&self, reason: ExitReason) -> Stop {
        keeper::stop(self.core(), &self.shared, reason)
    }
}

impl<K, V> Registry<K, V, Unique>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// The live process that has a key. Elixir: `Registry.whereis_name/1`.
    pub fn whereis<B>(&self, key: &B) -> Option<Pid>
    where
        K: Borrow<B>,
        B: Hash + Eq + ?Sized,
    {
        self.shared.whereis(self.core(), key)
    }

    /// The live process that has a key, and its value. Elixir: `Registry.lookup/2`.
    pub fn lookup<B>(&self, key: &B) -> Option<(Pid, V)>
    where
        K: Borrow<B>,
        B: Hash + Eq + ?Sized,
        V: Clone,
    {
        let found = self.shared.store.value(self.core(), key)?;
        Some((found.pid, found.value))
    }

    /// Changes the value of a process under a key; the new one and the old one, or `None` if it does not
    /// have the key. Elixir: `Registry.update_value/3`.
    ///
    /// `change` runs in the caller, on no lock. If somebody else updates the value meanwhile it is called
    /// again, so that no update is lost.
    pub fn update_value<B>(
        &self,
        key: &B,
        pid: Pid,
        mut change: impl FnMut(&V) -> V,
    ) -> Option<(V, V)>
    where
        K: Borrow<B>,
        B: Hash + Eq + ?Sized,
        V: Clone,
    {
        let store = &self.shared.store;
        loop {
            let found = store.value(self.core(), key)?;
            if found.pid != pid {
                return None;
            }
            let new = change(&found.value);
            if store.replace(key, found.version, new.clone()).is_ok() {
                return Some((new, found.value));
            }
        }
    }

    /// A key as a name, for whatever takes one: to start a process under it, or to reach the process that
    /// has it. Elixir: `{:via, Registry, {registry, key}}`.
    ///
    /// A process that is started under a key that a live one has is
    /// [`StartError::AlreadyStarted`](crate::StartError::AlreadyStarted); while the registry is not open,
    /// [`StartError::NoRegistry`](crate::StartError::NoRegistry).
    pub fn via(&self, key: K) -> Name
    where
        V: Clone + Default,
    {
        self.via_with(key, V::default())
    }

    /// As [`via`](Self::via), with the value that a process started under the name is registered with.
    /// Elixir: `{:via, Registry, {registry, key, value}}`.
    pub fn via_with(&self, key: K, value: V) -> Name
    where
        V: Clone,
    {
        Name::via(self.clone(), key, value)
    }
}

impl<K, V> Registry<K, V, Duplicate>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// The registrations under a key, in order. Elixir: `Registry.lookup/2`.
    pub fn lookup<B>(&self, key: &B) -> Vec<(Pid, V)>
    where
        K: Borrow<B>,
        B: Hash + Eq + ?Sized,
        V: Clone,
    {
        self.match_values(key, |_, _| true)
    }
}

impl Handle {
    /// The open registry of that name, which has keys and values of those types: `let users:
    /// Registry<String, u32> = system.registry("users")?`.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`]: there is none. [`RegistryError::WrongType`]: there is one with other
    /// types, or with duplicate keys instead of unique ones or the reverse.
    pub fn registry<K, V, Q>(&self, name: &str) -> Result<Registry<K, V, Q>, RegistryError>
    where
        K: Send + Sync + 'static,
        V: Send + Sync + 'static,
        Q: Keys,
    {
        super::builder::find(self, name)
    }

    /// The system's names, as a registry: [`whereis`](Self::whereis) and its kin use it, and every
    /// [`Name`](crate::Name) that is a string. It is always open.
    pub fn names(&self) -> Registry<Label> {
        let names: &Arc<Names> = &self.core().names;
        Registry::new(self.clone(), names.clone())
    }
}
