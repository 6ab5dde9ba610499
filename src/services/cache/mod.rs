//! Values by key, kept for a time and up to a number, each loaded once however many ask for it.
//!
//! # Rules
//! - An entry expires at its deadline; from then on nobody sees it. It is removed when somebody looks for
//!   it, when room is needed, when entries are counted or listed, and at intervals.
//! - A new key for which there is no room first removes all that have expired, then the least recently
//!   used, in constant time. A `get` and a `set` are uses, `has` is not. A new value for an old key
//!   evicts nothing.
//! - [`get_or_set`](CacheRef::get_or_set) runs one factory for a key at a time, in a process of its own;
//!   who asks meanwhile waits for its result. A factory that fails or panics tells all of them, keeps
//!   nothing, and the next to ask runs its own.
//! - `set`, `delete` and `clear` while a factory runs have the last word: its result goes to those who
//!   waited, and is not kept. Who asks afterwards gets what was set, or a new factory.
//! - The entries are the process's: a restarted cache is empty.
//!
//! Each read is a call, which keeps all this simple and costs what a call costs (the guide has a
//! measurement). Values are cloned out; make large ones `Arc`s.

mod store;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use self::store::Store;
use super::handle::{Common, Request, service};
use crate::sync::{Arc, Mutex};
use crate::{
    Call, CallError, Context, Exit, ExitReason, GenServer, HandleCall, HandleInfo, HandleRequest,
    Inbox, InitStop, Pid, ReplyTo, TimerRef,
};

/// Builds a cache.
///
/// ```
/// use std::time::Duration;
/// use noex::prelude::*;
/// use noex::services::{Cache, Ttl};
///
/// let system = System::new()?;
/// let pages = Cache::<String, usize>::new()
///     .max_len(1_000)
///     .ttl(Duration::from_secs(60))
///     .start(&system)
///     .wait()?;
/// let length = pages.get_or_set("index".to_owned(), || async { Ok::<_, ExitReason>(4096) });
/// assert_eq!(length.wait(), Ok(4096));
/// pages.set_with("about".to_owned(), 512, Ttl::Never).wait()?;
/// assert_eq!(pages.get("about".to_owned()).wait()?, Some(512));
/// assert_eq!(pages.stats().wait()?.hit_rate(), 0.5);
/// # Ok::<(), noex::Error>(())
/// ```
pub struct Cache<K, V> {
    common: Common,
    settings: Settings,
    entry: PhantomData<fn(K, V)>,
}

#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    ttl: Option<Duration>,
    max: usize,
    prune: Duration,
}

impl<K, V> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        Cache {
            common: self.common.clone(),
            settings: self.settings,
            entry: PhantomData,
        }
    }
}

impl<K, V> fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("common", &self.common)
            .field("settings", &self.settings)
            .finish()
    }
}

impl<K, V> Default for Cache<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + 'static,
{
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> Cache<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + 'static,
{
    /// A cache with the defaults that each method names.
    pub fn new() -> Self {
        Cache {
            common: Common::default(),
            settings: Settings {
                ttl: None,
                max: usize::MAX,
                prune: Duration::from_secs(60),
            },
            entry: PhantomData,
        }
    }

    /// How long an entry lives that is set with [`Ttl::Default`]. Default: for ever.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.settings.ttl = Some(ttl);
        self
    }

    /// How many entries are kept; with 0, none is. Default: as many as there is memory for.
    pub fn max_len(mut self, entries: usize) -> Self {
        self.settings.max = entries;
        self
    }

    /// How often what has expired is removed though nobody asks for it; only while there is something
    /// that will expire. Default: every 60 s.
    pub fn prune_every(mut self, interval: Duration) -> Self {
        self.settings.prune = interval;
        self
    }

    fn args(&self) -> Settings {
        self.settings
    }
}

service! {
    /// A handle on a cache: cheap to clone, does not keep the cache running.
    CacheRef, Cache, CacheServer,
    [K: Clone + Eq + Hash + Send + 'static, V: Clone + Send + 'static], [K, V]
}

/// How long an entry lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ttl {
    /// As long as the cache says ([`Cache::ttl`]).
    #[default]
    Default,
    /// Until it is deleted or evicted.
    Never,
    /// So long. With zero it has expired already.
    After(Duration),
}

/// How [`CacheRef::get_or_set_with`] goes about it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Fetch {
    /// How long the value lives if this is the call whose factory makes it. Default: [`Ttl::Default`].
    pub ttl: Ttl,
    /// How long this caller waits; `None`: as long as it takes. The factory goes on without it, and
    /// its value is kept. Default: 5 s.
    pub timeout: Option<Duration>,
}

impl Default for Fetch {
    fn default() -> Self {
        Fetch {
            ttl: Ttl::Default,
            timeout: Some(Duration::from_secs(5)),
        }
    }
}

impl Fetch {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how long the value lives.
    pub fn ttl(mut self, ttl: Ttl) -> Self {
        self.ttl = ttl;
        self
    }

    /// Sets how long the caller waits.
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = timeout.into();
        self
    }
}

/// Why [`CacheRef::get_or_set`] gave no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The factory failed: with its error ([`ExitReason::Error`]), a panic, or because it was killed.
    /// All who waited for it get the same.
    #[error("the factory made no value")]
    Failed(#[source] ExitReason),
    /// The cache gave no answer.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// How a cache does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// How many entries there are; none of them has expired.
    pub len: usize,
    /// How many there may be.
    pub max_len: usize,
    /// How many `get`s and `get_or_set`s found a value, since the start or the last `clear`.
    pub hits: u64,
    /// How many did not. One that waits for a factory, its own or another's, is a miss.
    pub misses: u64,
    /// How many entries went to make room.
    pub evictions: u64,
    /// How many entries were removed because they had expired.
    pub expirations: u64,
    /// How many factories are running.
    pub fetching: usize,
}

impl CacheStats {
    /// The share of hits, from 0 to 1; 0 if there were no requests.
    pub fn hit_rate(&self) -> f64 {
        match self.hits + self.misses {
            0 => 0.0,
            all => self.hits as f64 / all as f64,
        }
    }
}

impl<K, V> CacheRef<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + 'static,
{
    /// A clone of the value. A hit or a miss, and a use.
    ///
    /// # Errors
    /// As for every call.
    pub fn get(&self, key: K) -> Call<Option<V>> {
        self.reach.call(Get(key))
    }

    /// Keeps a value, for as long as the cache's default says. The answer says that it is there.
    ///
    /// # Errors
    /// As for every call.
    pub fn set(&self, key: K, value: V) -> Call<()> {
        self.set_with(key, value, Ttl::Default)
    }

    /// As [`set`](Self::set), for a time of its own.
    ///
    /// # Errors
    /// As for every call.
    pub fn set_with(&self, key: K, value: V, ttl: Ttl) -> Call<()> {
        self.reach.call(Set(key, value, ttl))
    }

    /// The value; if there is none, the one that `factory` makes, which is kept. While it runs, others
    /// that ask for the same key wait for it, and their factories are dropped.
    ///
    /// The factory runs in a process of its own and may take its time; it must not ask this cache for
    /// the same key. It ends with the cache.
    ///
    /// # Errors
    /// [`FetchError::Failed`], [`FetchError::Call`]: among them
    /// [`CallError::Timeout`] after 5 s; the factory goes on and its value is kept.
    pub fn get_or_set<F, E>(
        &self,
        key: K,
        factory: impl FnOnce() -> F + Send + 'static,
    ) -> Request<V, FetchError>
    where
        F: Future<Output = Result<V, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.get_or_set_with(key, Fetch::default(), factory)
    }

    /// As [`get_or_set`](Self::get_or_set), for a time, or with a timeout, of its own.
    ///
    /// # Errors
    /// As for [`get_or_set`](Self::get_or_set).
    pub fn get_or_set_with<F, E>(
        &self,
        key: K,
        how: Fetch,
        factory: impl FnOnce() -> F + Send + 'static,
    ) -> Request<V, FetchError>
    where
        F: Future<Output = Result<V, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let factory: Factory<V> = Box::new(move || {
            Box::pin(async move { factory().await.map_err(|error| ExitReason::error(error)) })
        });
        let get = GetOrSet {
            key,
            ttl: how.ttl,
            factory,
        };
        Request::sent(self.reach.call_with(get, how.timeout))
    }

    /// Whether there is a value. Neither a hit nor a miss nor a use.
    ///
    /// # Errors
    /// As for every call.
    pub fn has(&self, key: K) -> Call<bool> {
        self.reach.call(Has(key))
    }

    /// Removes an entry; whether there was a value.
    ///
    /// # Errors
    /// As for every call.
    pub fn delete(&self, key: K) -> Call<bool> {
        self.reach.call(Delete(key))
    }

    /// Removes all entries, and sets the statistics to zero.
    ///
    /// # Errors
    /// As for every call.
    pub fn clear(&self) -> Call<()> {
        self.reach.call(Look(|cache, _| {
            cache.current.clear();
            cache.store.clear();
        }))
    }

    /// How many values there are.
    ///
    /// # Errors
    /// As for every call.
    pub fn len(&self) -> Call<usize> {
        self.reach.call(Look(|cache, now| {
            cache.store.prune(now);
            cache.store.len()
        }))
    }

    /// Whether there is none.
    ///
    /// # Errors
    /// As for every call.
    pub fn is_empty(&self) -> Call<bool> {
        self.reach.call(Look(|cache, now| {
            cache.store.prune(now);
            cache.store.len() == 0
        }))
    }

    /// The keys, the most recently used first. Takes time with their number, as it clones them.
    ///
    /// # Errors
    /// As for every call.
    pub fn keys(&self) -> Call<Vec<K>> {
        self.reach.call(Look(|cache, now| {
            cache.store.prune(now);
            cache.store.keys()
        }))
    }

    /// Removes what has expired now; how many entries that were.
    ///
    /// # Errors
    /// As for every call.
    pub fn prune(&self) -> Call<usize> {
        self.reach.call(Look(|cache, now| cache.store.prune(now)))
    }

    /// How the cache does.
    ///
    /// # Errors
    /// As for every call.
    pub fn stats(&self) -> Call<CacheStats> {
        self.reach.call(Look(|cache, now| {
            cache.store.prune(now);
            let counts = cache.store.counts;
            CacheStats {
                len: cache.store.len(),
                max_len: cache.settings.max,
                hits: counts.hits,
                misses: counts.misses,
                evictions: counts.evictions,
                expirations: counts.expirations,
                fetching: cache.flights.len(),
            }
        }))
    }
}

type Making<V> = Pin<Box<dyn Future<Output = Result<V, ExitReason>> + Send>>;
type Factory<V> = Box<dyn FnOnce() -> Making<V> + Send>;

/// A factory that runs, and who waits for it.
struct Flight<K, V> {
    key: K,
    ttl: Ttl,
    /// Where its process leaves the result: its end, which a full mailbox accepts too, is the message.
    result: Arc<Mutex<Option<Result<V, ExitReason>>>>,
    waiting: Vec<ReplyTo<Result<V, FetchError>>>,
}

/// The process.
#[doc(hidden)]
pub struct CacheServer<K, V> {
    settings: Settings,
    store: Store<K, V>,
    /// By the process that runs the factory.
    flights: HashMap<Pid, Flight<K, V>>,
    /// The flights whose results will be kept; who asks for their keys joins them.
    current: HashMap<K, Pid>,
    pruning: Option<TimerRef>,
}

/// What a key must be.
#[doc(hidden)]
pub trait Key: Clone + Eq + Hash + Send + 'static {}
impl<K: Clone + Eq + Hash + Send + 'static> Key for K {}

/// What a value must be.
#[doc(hidden)]
pub trait Value: Clone + Send + 'static {}
impl<V: Clone + Send + 'static> Value for V {}

impl<K: Key, V: Value> CacheServer<K, V> {
    fn put(&mut self, key: K, value: V, ttl: Ttl, cx: &Context<Self>) {
        let ttl = match ttl {
            Ttl::Default => self.settings.ttl,
            Ttl::Never => None,
            Ttl::After(ttl) => Some(ttl),
        };
        // What would expire after the end of time does not.
        let deadline = ttl.and_then(|ttl| cx.system().now().checked_add(ttl));
        self.store.set(key, value, deadline, || cx.system().now());
        self.prune_later(cx);
    }

    /// Sees to it that what has expired goes, if anything ever will.
    fn prune_later(&mut self, cx: &Context<Self>) {
        let (Some(next), None) = (self.store.next_deadline(), self.pruning) else {
            return;
        };
        let after = next
            .saturating_sub(cx.system().now())
            .max(self.settings.prune);
        self.pruning = Some(cx.send_after(after, &cx.this(), PruneNow));
    }

    /// A factory has ended: with its result, or without one.
    fn landed(&mut self, pid: Pid, reason: ExitReason, cx: &Context<Self>) {
        let Some(flight) = self.flights.remove(&pid) else {
            return;
        };
        let result = flight.result.lock().take().unwrap_or(Err(reason));
        let current = self.current.get(&flight.key) == Some(&pid);
        if current {
            self.current.remove(&flight.key);
        }
        for reply in flight.waiting {
            reply.reply(result.clone().map_err(FetchError::Failed));
        }
        match result {
            Ok(value) if current => self.put(flight.key, value, flight.ttl, cx),
            _ => {}
        }
    }
}

impl<K: Key, V: Value> GenServer for CacheServer<K, V> {
    type Args = Settings;

    async fn init(settings: Settings, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        // Factories are linked, so that none outlives the cache; one that fails is an `Exit`.
        cx.trap_exit(true);
        Ok(CacheServer {
            settings,
            store: Store::new(settings.max),
            flights: HashMap::new(),
            current: HashMap::new(),
            pruning: None,
        })
    }

    async fn handle_exit(&mut self, exit: Exit, cx: &mut Context<Self>) {
        if let Some(pid) = exit.from {
            self.landed(pid, exit.reason, cx);
        }
    }

    async fn terminate(&mut self, _: ExitReason, cx: &mut Context<Self>) {
        for pid in self.flights.keys() {
            cx.exit(*pid, ExitReason::Kill);
        }
    }
}

struct Get<K>(K);

impl<K: Key, V: Value> HandleCall<Get<K>> for CacheServer<K, V> {
    type Reply = Option<V>;

    async fn handle_call(&mut self, Get(key): Get<K>, cx: &mut Context<Self>) -> Option<V> {
        self.store.get(&key, || cx.system().now())
    }
}

struct Set<K, V>(K, V, Ttl);

impl<K: Key, V: Value> HandleCall<Set<K, V>> for CacheServer<K, V> {
    type Reply = ();

    async fn handle_call(&mut self, Set(key, value, ttl): Set<K, V>, cx: &mut Context<Self>) {
        self.current.remove(&key);
        self.put(key, value, ttl, cx);
    }
}

struct GetOrSet<K, V> {
    key: K,
    ttl: Ttl,
    factory: Factory<V>,
}

impl<K: Key, V: Value> HandleRequest<GetOrSet<K, V>> for CacheServer<K, V> {
    type Reply = Result<V, FetchError>;

    async fn handle_request(
        &mut self,
        m: GetOrSet<K, V>,
        reply: ReplyTo<Self::Reply>,
        cx: &mut Context<Self>,
    ) {
        if let Some(value) = self.store.get(&m.key, || cx.system().now()) {
            return reply.reply(Ok(value));
        }
        let flight = self.current.get(&m.key);
        if let Some(flight) = flight.and_then(|pid| self.flights.get_mut(pid)) {
            return flight.waiting.push(reply);
        }
        let slot = Arc::new(Mutex::new(None));
        let (result, factory) = (slot.clone(), m.factory);
        let started = cx.spawn_link(move |_: Inbox<()>| async move {
            let made = factory().await;
            *result.lock() = Some(made);
        });
        match started {
            Ok(process) => {
                self.current.insert(m.key.clone(), process.pid());
                let flight = Flight {
                    key: m.key,
                    ttl: m.ttl,
                    result: slot,
                    waiting: vec![reply],
                };
                self.flights.insert(process.pid(), flight);
            }
            Err(error) => reply.reply(Err(FetchError::Failed(ExitReason::error(error)))),
        }
    }
}

struct Has<K>(K);

impl<K: Key, V: Value> HandleCall<Has<K>> for CacheServer<K, V> {
    type Reply = bool;

    async fn handle_call(&mut self, Has(key): Has<K>, cx: &mut Context<Self>) -> bool {
        self.store.has(&key, || cx.system().now())
    }
}

struct Delete<K>(K);

impl<K: Key, V: Value> HandleCall<Delete<K>> for CacheServer<K, V> {
    type Reply = bool;

    async fn handle_call(&mut self, Delete(key): Delete<K>, cx: &mut Context<Self>) -> bool {
        self.current.remove(&key);
        self.store.remove(&key, || cx.system().now())
    }
}

/// A question without arguments: what to ask of the server, and the time it is asked.
struct Look<K, V, R>(fn(&mut CacheServer<K, V>, Duration) -> R);

impl<K: Key, V: Value, R: Send + 'static> HandleCall<Look<K, V, R>> for CacheServer<K, V> {
    type Reply = R;

    async fn handle_call(&mut self, Look(ask): Look<K, V, R>, cx: &mut Context<Self>) -> R {
        ask(self, cx.system().now())
    }
}

struct PruneNow;

impl<K: Key, V: Value> HandleInfo<PruneNow> for CacheServer<K, V> {
    async fn handle_info(&mut self, _: PruneNow, cx: &mut Context<Self>) {
        self.pruning = None;
        self.store.prune(cx.system().now());
        self.prune_later(cx);
    }
}
