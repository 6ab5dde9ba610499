//! A shard: one [`Store`], its clock and its timers, as a server.
//!
//! Its state is nowhere else. A shard that crashes is restarted under its name with no keys, as a
//! Redis without persistence would be; the other shards keep theirs.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use noex::TimerRef;
use noex::prelude::*;

use crate::info::ShardStats;
use crate::resp::{Bytes, Reply};
use crate::store::{Alarm, Expired, Millis, Op, Outcome, Store, Version};

/// The longest a timer is set for: `EXPIRE` takes times that no clock can count. A key that lives
/// longer has its timer set again.
const FARTHEST: Millis = 24 * 60 * 60 * 1000;

pub(crate) struct Shard {
    store: Store,
    /// The timer of each version that has one (invariant 1 of [`crate::store`]).
    timers: HashMap<Version, TimerRef>,
}

/// Carries out operations in order and replies to each. Nothing comes between them.
pub(crate) struct Apply(pub(crate) Vec<Op>);

/// Asks for figures; how often the shard was restarted is left to others.
pub(crate) struct Figures;

/// Panics.
pub(crate) struct Crash;

/// A key's timer fired.
pub(crate) struct Expire {
    key: Bytes,
    version: Version,
}

impl GenServer for Shard {
    /// How often this shard was started, to be counted up.
    type Args = Arc<AtomicU64>;

    async fn init(starts: Self::Args, _: &mut Context<Self>) -> Result<Self, InitStop> {
        starts.fetch_add(1, Relaxed);
        Ok(Shard {
            store: Store::default(),
            timers: HashMap::new(),
        })
    }
}

impl HandleCall<Apply> for Shard {
    type Reply = Vec<Reply>;

    async fn handle_call(&mut self, Apply(ops): Apply, cx: &mut Context<Self>) -> Vec<Reply> {
        // A long pipeline is not to be cheaper than the same commands one by one.
        cx.consume(u32::try_from(ops.len()).unwrap_or(u32::MAX));
        let now = now(cx);
        ops.into_iter()
            .map(|op| {
                let Outcome { reply, alarms } = self.store.apply(op, now);
                for alarm in alarms {
                    self.see_to(alarm, now, cx);
                }
                reply
            })
            .collect()
    }
}

impl HandleCall<Figures> for Shard {
    type Reply = ShardStats;

    async fn handle_call(&mut self, _: Figures, _: &mut Context<Self>) -> ShardStats {
        ShardStats {
            keys: self.store.len(),
            volatile: self.store.volatile(),
            expired: self.store.expired(),
            restarts: 0,
        }
    }
}

impl HandleCall<Crash> for Shard {
    type Reply = ();

    async fn handle_call(&mut self, _: Crash, _: &mut Context<Self>) {
        panic!("DEBUG PANIC");
    }
}

impl HandleInfo<Expire> for Shard {
    async fn handle_info(&mut self, Expire { key, version }: Expire, cx: &mut Context<Self>) {
        self.timers.remove(&version);
        let now = now(cx);
        if let Expired::Early(alarm) = self.store.expire(&key, version, now) {
            self.see_to(alarm, now, cx);
        }
    }
}

impl Shard {
    fn see_to(&mut self, alarm: Alarm, now: Millis, cx: &Context<Self>) {
        match alarm {
            Alarm::Set {
                key,
                version,
                deadline,
            } => {
                let after = deadline.saturating_sub(now).min(FARTHEST);
                let message = Expire { key, version };
                let timer = cx.send_after(Duration::from_millis(after), &cx.this(), message);
                self.timers.insert(version, timer);
            }
            Alarm::Cancel(version) => {
                if let Some(timer) = self.timers.remove(&version) {
                    cx.cancel_timer(timer);
                }
            }
            Alarm::CancelAll => {
                for (_, timer) in self.timers.drain() {
                    cx.cancel_timer(timer);
                }
            }
        }
    }
}

fn now(cx: &Context<Shard>) -> Millis {
    // Not since 1970: a clock that is set back must not bring keys back.
    u64::try_from(cx.system().now().as_millis()).unwrap_or(u64::MAX)
}
