//! Ready-made servers for what most programs need: an event bus, a cache, a rate limiter, named timers
//! and a pool of workers. OTP has none of them; in Erlang they are libraries.
//!
//! They are built on what noex exports and on nothing else, so they are also examples of it. (The one
//! exception is house-keeping: locks come through the crate's one door to them.)
//!
//! | service | builder | handle | what it is for |
//! |---|---|---|---|
//! | [`event_bus`] | [`EventBus`] | [`EventBusRef`] | publish to whoever subscribed to a topic |
//! | [`cache`] | [`Cache`] | [`CacheRef`] | keep values for a time and up to a number, load each once |
//! | [`rate_limiter`] | [`RateLimiter`] | [`RateLimiterRef`] | so much for each key in a sliding window |
//! | [`timer_service`] | [`TimerService`] | [`TimerServiceRef`] | timers with names that survive crashes |
//! | [`pool`] | [`Pool`] | [`PoolRef`] | few workers for many borrowers |
//!
//! Each builder can be started (`start`, `start_link`) or put into a supervisor (`child_spec`), with or
//! without a name. Each handle is cheap to clone and leads either to one incarnation (what `start`
//! gives) or, made with `named`, to whichever lives under a name: what an application should hold.
//!
//! A service is a process: a request to it is a call, with a timeout of 5 s unless its method says
//! otherwise, and `Hash`, `Eq`, `Clone` and `Drop` of keys and values run inside it. One that panics
//! there ends the service, which its supervisor starts again.
//!
//! ```
//! use noex::prelude::*;
//! use noex::services::{Cache, CacheRef, EventBus};
//!
//! let system = System::new()?;
//! Supervisor::new(Strategy::OneForOne)
//!     .child(Cache::<String, u32>::new().max_len(1_000).name("prices").child_spec("prices"))
//!     .child(EventBus::<String>::new().name("news").child_spec("news"))
//!     .start(&system)
//!     .wait()?;
//! let prices = CacheRef::<String, u32>::named(&system, "prices");
//! prices.set("apple".to_owned(), 3).wait()?;
//! assert_eq!(prices.get("apple".to_owned()).wait()?, Some(3));
//! # Ok::<(), noex::Error>(())
//! ```

pub mod cache;
pub mod event_bus;
mod handle;
pub mod pool;
pub mod rate_limiter;
pub mod timer_service;

pub use self::cache::{Cache, CacheRef, CacheStats, Fetch, FetchError, Ttl};
pub use self::event_bus::{
    BusError, Delivery, EventBus, EventBusRef, PublishError, Published, SubscriptionId, TopicError,
};
pub use self::handle::{EndOfService, Request, Service, Starting};
pub use self::pool::{Checkout, Pool, PoolError, PoolRef, PoolStatus, Transaction};
pub use self::rate_limiter::{Limit, RateLimitError, RateLimiter, RateLimiterRef, RateStatus};
pub use self::timer_service::{
    ScheduledTimer, TimerError, TimerService, TimerServiceRef, TimerTarget, Timing,
};
