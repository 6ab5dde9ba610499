//! So much for each key within a sliding window.
//!
//! # Rules
//! - The window slides exactly: what was consumed at `t` counts until just before `t + window`. So no
//!   stretch of that length ever holds more than the limit, which windows that begin anew cannot promise.
//! - [`consume`](RateLimiterRef::consume) takes the whole cost or nothing; [`check`](RateLimiterRef::check)
//!   never takes anything. A request is never queued: whoever is refused is told when to try again.
//! - Keys know nothing of each other. A key has the limiter's limit unless it was given its own.
//! - A key is remembered while something of it is in the window, with at most as many entries as its
//!   limit (one for each moment at which it consumed). It is forgotten after that, within the limiter's
//!   own window.
//! - What was consumed is the process's to know: a restarted limiter begins with empty windows. Limits
//!   given to the builder hold again, those set later do not.

mod window;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use self::window::Window;
use super::handle::{Common, Request, service};
use crate::{Call, CallError, Context, GenServer, HandleCall, HandleInfo, InitStop, TimerRef};

/// How much may be consumed within what time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limit {
    /// The sum of the costs within a window. With 0 all that costs something is refused.
    pub max: u64,
    /// How long what was consumed counts. With zero nothing is ever remembered.
    pub window: Duration,
}

impl Limit {
    /// `max` within each `window`.
    pub const fn new(max: u64, window: Duration) -> Self {
        Limit { max, window }
    }
}

/// Builds a rate limiter.
///
/// ```
/// use std::time::Duration;
/// use noex::prelude::*;
/// use noex::services::{Limit, RateLimitError, RateLimiter};
///
/// let system = System::new()?;
/// let hour = Duration::from_secs(3600);
/// let limiter = RateLimiter::new(Limit::new(2, hour))
///     .limit_for("the boss", Limit::new(1_000, hour))
///     .start(&system)
///     .wait()?;
/// assert_eq!(limiter.consume("ann", 2).wait().unwrap().remaining, 0);
/// match limiter.consume("ann", 1).wait() {
///     Err(RateLimitError::Exceeded(status)) => assert!(status.retry_after.unwrap() <= hour),
///     other => panic!("{other:?}"),
/// }
/// assert!(limiter.check("the boss", 500).wait()?.allowed);
/// # Ok::<(), noex::Error>(())
/// ```
#[derive(Clone)]
pub struct RateLimiter<K> {
    common: Common,
    limit: Limit,
    overrides: HashMap<K, Limit>,
}

impl<K> fmt::Debug for RateLimiter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("common", &self.common)
            .field("limit", &self.limit)
            .field("overrides", &self.overrides.len())
            .finish()
    }
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static> RateLimiter<K> {
    /// A limiter that gives each key `limit`.
    pub fn new(limit: Limit) -> Self {
        RateLimiter {
            common: Common::default(),
            limit,
            overrides: HashMap::new(),
        }
    }

    /// Gives a key a limit of its own, in each incarnation.
    pub fn limit_for(mut self, key: K, limit: Limit) -> Self {
        self.overrides.insert(key, limit);
        self
    }

    fn args(&self) -> (Limit, HashMap<K, Limit>) {
        (self.limit, self.overrides.clone())
    }
}

service! {
    /// A handle on a rate limiter: cheap to clone, does not keep the limiter running.
    RateLimiterRef, RateLimiter, Limiter,
    [K: Clone + Eq + Hash + Send + Sync + 'static], [K]
}

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateStatus {
    /// Whether the cost that was asked about is, or was, within the limit.
    pub allowed: bool,
    /// How much of the limit is used.
    pub used: u64,
    /// The limit of this key.
    pub limit: u64,
    /// How much is left.
    pub remaining: u64,
    /// How long until the cost will be within the limit if nobody else consumes: zero if it is now,
    /// `None` if it is above the limit and never will be.
    pub retry_after: Option<Duration>,
    /// How long until the window is empty if nobody consumes.
    pub reset_after: Duration,
}

/// Why nothing was consumed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RateLimitError {
    /// The cost is more than what is left. The status says how long to wait.
    #[error("the rate limit of {} is exceeded", .0.limit)]
    Exceeded(RateStatus),
    /// The limiter gave no answer. Whether it consumed is unknown.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl RateLimitError {
    /// How long to wait before the same request can succeed; `None` if waiting does not help.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            RateLimitError::Exceeded(status) => status.retry_after,
            RateLimitError::Call(_) => None,
        }
    }
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static> RateLimiterRef<K> {
    /// Whether `cost` is within the key's limit now. Consumes nothing.
    ///
    /// # Errors
    /// As for every call.
    pub fn check(&self, key: K, cost: u64) -> Call<RateStatus> {
        self.reach.call(Check(key, cost))
    }

    /// Where the key stands; `allowed` says whether a cost of 1 would be. Consumes nothing.
    ///
    /// # Errors
    /// As for every call.
    pub fn status(&self, key: K) -> Call<RateStatus> {
        self.check(key, 1)
    }

    /// Consumes `cost`, all of it or nothing; the status afterwards. A cost of 0 is always allowed.
    ///
    /// # Errors
    /// [`RateLimitError::Exceeded`]: nothing was consumed. [`RateLimitError::Call`].
    pub fn consume(&self, key: K, cost: u64) -> Request<RateStatus, RateLimitError> {
        Request::sent(self.reach.call(Consume(key, cost)))
    }

    /// Gives a key a limit of its own from now on, until the limiter ends or
    /// [`clear_limit`](Self::clear_limit). What the key has consumed stays, and counts for the new
    /// limit as far as the old window reached back.
    ///
    /// # Errors
    /// As for every call.
    pub fn set_limit(&self, key: K, limit: Limit) -> Call<()> {
        self.reach.call(SetLimit(key, Some(limit)))
    }

    /// Gives a key the limit of all others; also if it had its own from the builder.
    ///
    /// # Errors
    /// As for every call.
    pub fn clear_limit(&self, key: K) -> Call<()> {
        self.reach.call(SetLimit(key, None))
    }

    /// Forgets what a key has consumed; whether there was anything. Its limit stays.
    ///
    /// # Errors
    /// As for every call.
    pub fn reset(&self, key: K) -> Call<bool> {
        self.reach.call(Reset(key))
    }

    /// The keys that have something in their windows, in no order.
    ///
    /// # Errors
    /// As for every call.
    pub fn keys(&self) -> Call<Vec<K>> {
        self.reach.call(Keys)
    }

    /// Forgets the keys that have nothing in their windows any more; how many. This is done by itself
    /// too, within the limiter's own window after a key went idle.
    ///
    /// # Errors
    /// As for every call.
    pub fn cleanup(&self) -> Call<usize> {
        self.reach.call(Cleanup)
    }
}

struct Consumer {
    window: Window,
    /// Its place in `sweep`.
    place: (Duration, u64),
}

/// The process.
///
/// `sweep` has each key once, at a time no later than its window can be empty: looked at then, it is
/// forgotten or put in again. So a key costs one look a window, and keys that are busy cost nothing more.
#[doc(hidden)]
pub struct Limiter<K> {
    limit: Limit,
    overrides: HashMap<K, Limit>,
    keys: HashMap<K, Consumer>,
    sweep: BTreeMap<(Duration, u64), K>,
    last: u64,
    sweeping: Option<TimerRef>,
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static> Limiter<K> {
    fn limit_of(&self, key: &K) -> Limit {
        self.overrides.get(key).copied().unwrap_or(self.limit)
    }

    fn check(&mut self, key: &K, cost: u64, now: Duration) -> RateStatus {
        let limit = self.limit_of(key);
        match self.keys.get_mut(key) {
            Some(consumer) => {
                consumer.window.slide(limit, now);
                consumer.window.status(limit, cost, now)
            }
            None => Window::default().status(limit, cost, now),
        }
    }

    fn consume(&mut self, key: K, cost: u64, now: Duration) -> RateStatus {
        let limit = self.limit_of(&key);
        if let Some(consumer) = self.keys.get_mut(&key) {
            consumer.window.slide(limit, now);
            return consumer.window.consume(limit, cost, now);
        }
        let mut window = Window::default();
        let status = window.consume(limit, cost, now);
        if !window.is_empty() {
            self.last += 1;
            let place = (window.empty_at(limit), self.last);
            self.sweep.insert(place, key.clone());
            self.keys.insert(key, Consumer { window, place });
        }
        status
    }

    /// Looks at all keys that may be idle.
    fn clean(&mut self, now: Duration) -> usize {
        let mut forgotten = 0;
        while let Some(entry) = self.sweep.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let key = entry.remove();
            let limit = self.limit_of(&key);
            let Some(consumer) = self.keys.get_mut(&key) else {
                continue;
            };
            consumer.window.slide(limit, now);
            if consumer.window.is_empty() {
                self.keys.remove(&key);
                forgotten += 1;
                continue;
            }
            // Later than now: something of it is in the window.
            self.last += 1;
            consumer.place = (consumer.window.empty_at(limit), self.last);
            self.sweep.insert(consumer.place, key);
        }
        forgotten
    }

    fn clean_later(&mut self, cx: &Context<Self>) {
        let (Some(((at, _), _)), None) = (self.sweep.first_key_value(), self.sweeping) else {
            return;
        };
        // In lumps: keys that go idle within a window are swept together.
        let after = at.saturating_sub(cx.system().now()).max(self.limit.window);
        self.sweeping = Some(cx.send_after(after, &cx.this(), Sweep));
    }
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static> GenServer for Limiter<K> {
    type Args = (Limit, HashMap<K, Limit>);

    async fn init((limit, overrides): Self::Args, _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Limiter {
            limit,
            overrides,
            keys: HashMap::new(),
            sweep: BTreeMap::new(),
            last: 0,
            sweeping: None,
        })
    }
}

struct Check<K>(K, u64);

impl<K: Clone + Eq + Hash + Send + Sync + 'static> HandleCall<Check<K>> for Limiter<K> {
    type Reply = RateStatus;

    async fn handle_call(
        &mut self,
        Check(key, cost): Check<K>,
        cx: &mut Context<Self>,
    ) -> RateStatus {
        self.check(&key, cost, cx.system().now())
    }
}

struct Consume<K>(K, u64);

impl<K: Clone + Eq + Hash + Send + Sync + 'static> HandleCall<Consume<K>> for Limiter<K> {
    type Reply = Result<RateStatus, RateLimitError>;

    async fn handle_call(
        &mut self,
        Consume(key, cost): Consume<K>,
        cx: &mut Context<Self>,
    ) -> Self::Reply {
        let status = self.consume(key, cost, cx.system().now());
        self.clean_later(cx);
        match status.allowed {
            true => Ok(status),
            false => Err(RateLimitError::Exceeded(status)),
        }
    }
}

struct SetLimit<K>(K, Option<Limit>);

impl<K: Clone + Eq + Hash + Send + Sync + 'static> HandleCall<SetLimit<K>> for Limiter<K> {
    type Reply = ();

    async fn handle_call(&mut self, SetLimit(key, limit): SetLimit<K>, cx: &mut Context<Self>) {
        let now = cx.system().now();
        // What has left the old window is gone, also from a longer one.
        self.check(&key, 0, now);
        match limit {
            Some(limit) => self.overrides.insert(key.clone(), limit),
            None => self.overrides.remove(&key),
        };
        let limit = self.limit_of(&key);
        if let Some(consumer) = self.keys.get_mut(&key) {
            self.sweep.remove(&consumer.place);
            self.last += 1;
            consumer.place = (consumer.window.empty_at(limit), self.last);
            self.sweep.insert(consumer.place, key);
        }
        self.clean_later(cx);
    }
}

struct Reset<K>(K);

impl<K: Clone + Eq + Hash + Send + Sync + 'static> HandleCall<Reset<K>> for Limiter<K> {
    type Reply = bool;

    async fn handle_call(&mut self, Reset(key): Reset<K>, cx: &mut Context<Self>) -> bool {
        let used = self.check(&key, 0, cx.system().now()).used;
        if let Some(consumer) = self.keys.remove(&key) {
            self.sweep.remove(&consumer.place);
        }
        used > 0
    }
}

struct Keys;

impl<K: Clone + Eq + Hash + Send + Sync + 'static> HandleCall<Keys> for Limiter<K> {
    type Reply = Vec<K>;

    async fn handle_call(&mut self, _: Keys, cx: &mut Context<Self>) -> Vec<K> {
        self.clean(cx.system().now());
        self.keys.keys().cloned().collect()
    }
}

struct Cleanup;

impl<K: Clone + Eq + Hash + Send + Sync + 'static> HandleCall<Cleanup> for Limiter<K> {
    type Reply = usize;

    async fn handle_call(&mut self, _: Cleanup, cx: &mut Context<Self>) -> usize {
        self.clean(cx.system().now())
    }
}

struct Sweep;

impl<K: Clone + Eq + Hash + Send + Sync + 'static> HandleInfo<Sweep> for Limiter<K> {
    async fn handle_info(&mut self, _: Sweep, cx: &mut Context<Self>) {
        self.sweeping = None;
        self.clean(cx.system().now());
        self.clean_later(cx);
    }
}
