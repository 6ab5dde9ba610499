//! The timers of a system: a wheel for each scheduler thread, each under its own lock, so that
//! threads that arm timers do not meet. Any thread fires the timers of all of them.
//!
//! # Invariants
//! 1. A timer fires, is cancelled, or is dropped at the end of the system: exactly one of the three,
//!    decided under its shard's lock.
//! 2. `next` of a shard is never later than its earliest timer while its lock is free.

use std::collections::HashMap;
use std::task::Waker;
use std::time::Duration;

use super::clock::{MS, later, tick_at};
use super::core::Core;
use super::wheel::{Key, Wheel};
use super::worker::{Worker, worker_of};
use crate::process::cell::{Cell, CellRef};
use crate::process::deliver::{Class, deliver, guard};
use crate::process::node::{Discard, Node};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

const NEVER: u64 = u64::MAX;
/// How many timers one visit to a shard fires before the lock is given back.
const BATCH: usize = 256;
/// How far the time a thread has cached is behind at the most, with much to spare.
const MARGIN: u64 = 5 * MS;

/// Names a timer. OTP: the reference that `erlang:send_after/3` returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerRef {
    shard: u32,
    interval: bool,
    key: u64,
}

/// What a timer does when its time has come.
pub(crate) enum Due {
    /// Sends the envelope.
    Send(Envelope),
    /// Sends an envelope made for the occasion, and again after the period.
    Repeat(Box<Repeat>),
    /// Wakes whoever waits.
    Wake(Waker),
    /// Wakes a process whose handler may have waited too long for something.
    Alarm(CellRef),
}

/// Where a timer's message goes.
pub(crate) enum Target {
    Cell(CellRef),
    /// A name, resolved when the timer fires.
    Resolve(Box<dyn Fn() -> Option<CellRef> + Send>),
}

/// An owned envelope and its destination.
pub(crate) struct Envelope {
    pub(crate) to: Target,
    node: *mut Node,
}

// SAFETY: the message inside is `Send` (demanded where envelopes are made) and the node is owned.
unsafe impl Send for Envelope {}

impl Envelope {
    /// # Safety
    /// `node` is owned by the caller and handed over.
    pub(crate) unsafe fn new(to: Target, node: *mut Node) -> Self {
        Envelope { to, node }
    }

    fn send(self, core: &Core) {
        let node = self.node;
        // The node is handed on below; `Drop` must not discard it.
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: `this` is never dropped, so the target is moved out once.
        let to = unsafe { std::ptr::read(&this.to) };
        let cell = match to {
            Target::Cell(cell) => Some(cell),
            Target::Resolve(resolve) => resolve(),
        };
        match cell {
            // SAFETY: the envelope's node is ours to hand on.
            Some(cell) => unsafe { deliver(&cell, node, Class::Exempt).settle(&cell) },
            // SAFETY: as above.
            None => unsafe {
                crate::process::deliver::undelivered(core, None, node, Discard::Dead)
            },
        }
    }
}

impl Drop for Envelope {
    fn drop(&mut self) {
        // SAFETY: a timer that is dropped unfired still owns its node.
        unsafe { ((*self.node).vtable.discard)(self.node, Discard::Dead) }
    }
}

pub(crate) struct Repeat {
    pub(crate) id: u64,
    pub(crate) period: u64,
    /// Makes the next envelope; `None`: the target is gone, so is the timer.
    pub(crate) make: Box<dyn FnMut() -> Option<Envelope> + Send>,
}

struct Shard {
    wheel: Mutex<Wheel<Due>>,
    next: AtomicU64,
    intervals: Mutex<HashMap<u64, Key>>,
}

pub(crate) struct Timers {
    shards: Box<[Shard]>,
    numbers: AtomicU64,
}

impl Timers {
    pub(crate) fn new(shards: usize) -> Self {
        Timers {
            shards: (0..shards)
                .map(|_| Shard {
                    wheel: Mutex::new(Wheel::new(0)),
                    next: AtomicU64::new(NEVER),
                    intervals: Mutex::new(HashMap::new()),
                })
                .collect(),
            numbers: AtomicU64::new(1),
        }
    }

    fn my_shard(&self, core: &Core) -> usize {
        worker_of(core).map_or(0, |worker| worker.index() % self.shards.len())
    }

    /// Arms a timer for `at` (nanoseconds of the system's clock).
    pub(crate) fn arm(&self, core: &Core, at: u64, due: Due) -> TimerRef {
        let index = self.my_shard(core);
        self.arm_in(core, index, tick_at(at), due)
    }

    fn arm_in(&self, core: &Core, index: usize, tick: u64, due: Due) -> TimerRef {
        let shard = &self.shards[index];
        let interval = if let Due::Repeat(repeat) = &due {
            Some(repeat.id)
        } else {
            None
        };
        let mut wheel = shard.wheel.lock();
        let key = wheel.insert(tick, due);
        if let Some(id) = interval {
            shard.intervals.lock().insert(id, key);
        }
        let earlier = tick < shard.next.load(Relaxed);
        if earlier {
            // Relaxed: written under the lock; readers outside take it for a hint and look again
            // under the lock, or before they sleep (`Idle::timer_armed` carries the fence).
            shard.next.store(tick, Relaxed);
        }
        drop(wheel);
        if earlier {
            core.timer_armed(tick);
        }
        TimerRef {
            shard: index as u32,
            interval: interval.is_some(),
            key: interval.unwrap_or(key.to_bits()),
        }
    }

    /// Arms a timer that repeats, first after one `period`.
    pub(crate) fn arm_interval(
        &self,
        core: &Core,
        period: Duration,
        make: Box<dyn FnMut() -> Option<Envelope> + Send>,
    ) -> TimerRef {
        let id = self.numbers.fetch_add(1, Relaxed);
        let period = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX).max(MS);
        let at = core.clock.now().saturating_add(period);
        self.arm(core, at, Due::Repeat(Box::new(Repeat { id, period, make })))
    }

    fn key(&self, timer: TimerRef) -> Option<Key> {
        if timer.interval {
            self.shards
                .get(timer.shard as usize)?
                .intervals
                .lock()
                .get(&timer.key)
                .copied()
        } else {
            Some(Key::from_bits(timer.key))
        }
    }

    /// Takes a timer back; the time it had left, or `None` if it has fired, was cancelled, or never
    /// was.
    pub(crate) fn cancel(&self, core: &Core, timer: TimerRef) -> Option<Duration> {
        let shard = self.shards.get(timer.shard as usize)?;
        let mut wheel = shard.wheel.lock();
        let key = self.key(timer)?;
        let (tick, due) = wheel.cancel(key)?;
        if timer.interval {
            shard.intervals.lock().remove(&timer.key);
        }
        drop(wheel);
        guard(|| drop(due)); // may run user code (the message's `Drop`): not under the lock
        Some(Duration::from_nanos(
            tick.saturating_mul(MS).saturating_sub(core.clock.now()),
        ))
    }

    /// The time a timer has left.
    pub(crate) fn read(&self, core: &Core, timer: TimerRef) -> Option<Duration> {
        let shard = self.shards.get(timer.shard as usize)?;
        let wheel = shard.wheel.lock();
        let tick = wheel.at(self.key(timer)?)?;
        Some(Duration::from_nanos(
            tick.saturating_mul(MS).saturating_sub(core.clock.now()),
        ))
    }

    /// A tick no later than that of the earliest timer.
    pub(crate) fn next(&self) -> Option<u64> {
        let next = self
            .shards
            .iter()
            .map(|shard| shard.next.load(Relaxed))
            .min()?;
        (next != NEVER).then_some(next)
    }

    /// The tick of the earliest timer.
    pub(crate) fn next_exact(&self) -> Option<u64> {
        self.shards
            .iter()
            .filter_map(|shard| shard.wheel.lock().next_exact())
            .min()
    }

    /// Fires up to `limit` timers that are due. `true`: more are.
    pub(crate) fn fire(&self, core: &Core, limit: usize) -> bool {
        let now = core.clock.tick();
        let mut left = limit;
        let mut more = false;
        for index in 0..self.shards.len() {
            while self.shards[index].next.load(Relaxed) <= now {
                if left == 0 {
                    return true;
                }
                let slice = left.min(BATCH);
                let mut due = core.spare_due();
                let shard = &self.shards[index];
                let unfinished = {
                    let mut wheel = shard.wheel.lock();
                    let unfinished = wheel.expire(now, slice, &mut due);
                    shard.next.store(
                        if unfinished {
                            now
                        } else {
                            wheel.next_bound().unwrap_or(NEVER)
                        },
                        Relaxed,
                    );
                    unfinished
                };
                left -= due.len().max(1).min(left);
                for (tick, due) in due.drain(..) {
                    self.fire_one(core, index, tick, due);
                }
                if let Some(worker) = worker_of(core) {
                    worker.flush_counts();
                }
                core.keep_due(due);
                if !unfinished {
                    break;
                }
                more = left == 0;
            }
        }
        more
    }

    fn fire_one(&self, core: &Core, index: usize, tick: u64, due: Due) {
        match due {
            Due::Send(envelope) => envelope.send(core),
            Due::Wake(waker) => {
                guard(|| waker.wake());
            }
            Due::Alarm(cell) => {
                if cell.mailbox.wake() {
                    super::schedule(&cell);
                }
            }
            Due::Repeat(mut repeat) => {
                // The message's `Clone` is user code: if it panics the timer is over.
                let Ok(Some(envelope)) = crate::exit::catch(|| (repeat.make)()) else {
                    self.shards[index].intervals.lock().remove(&repeat.id);
                    guard(|| drop(repeat));
                    return;
                };
                // Re-armed from its own due time, so that it does not drift; before the message is
                // sent, so that its receiver can cancel it. Cancelled while it fired: it ends.
                let still_wanted = self.shards[index].intervals.lock().contains_key(&repeat.id);
                if still_wanted {
                    let next = tick_at((tick * MS).saturating_add(repeat.period));
                    self.arm_in(core, index, next, Due::Repeat(repeat));
                }
                envelope.send(core);
            }
        }
    }

    /// Drops all timers: the end of the system.
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            let all: Vec<_> = {
                let mut wheel = shard.wheel.lock();
                shard.next.store(NEVER, Relaxed);
                wheel.drain().collect()
            };
            shard.intervals.lock().clear();
            for (_, due) in all {
                guard(|| drop(due)); // runs user code (messages' `Drop`s): not under the lock
            }
        }
    }
}

/// A process's one lazy timer for all the timeouts its handlers wait with: it is armed for the
/// earliest and left alone when the wait ends in time, so a process that makes a million calls in
/// five seconds arms one timer. The waiting future looks at the clock itself when it is woken.
#[derive(Default)]
pub(crate) struct Alarm(Option<(u64, TimerRef)>);

impl Alarm {
    /// Makes sure the running process is woken at `at` or before.
    pub(crate) fn ensure(&mut self, worker: &Worker, cell: &Cell, at: u64) {
        if let Some((armed, _)) = self.0 {
            // The cached time is a little behind; near the end only the true one tells whether the
            // timer has fired (and its wake-up been used) already.
            let now = worker.coarse_now();
            let pending = armed > now.saturating_add(MARGIN) || armed > worker.core().clock.now();
            if armed <= at && pending {
                return;
            }
        }
        let core = worker.core();
        self.cancel(core);
        // SAFETY: the running process's cell is alive.
        let cell = unsafe { CellRef::retained(cell.this()) };
        self.0 = Some((at, core.timers.arm(core, at, Due::Alarm(cell))));
    }

    pub(crate) fn cancel(&mut self, core: &Core) {
        if let Some((_, timer)) = self.0.take() {
            core.timers.cancel(core, timer);
        }
    }
}

/// When something `after` from now is due on `core`'s clock.
pub(crate) fn due_in(core: &Core, after: Duration) -> u64 {
    later(core.clock.now(), after)
}

/// Sends `envelope` after `after`.
pub(crate) fn send_after(core: &Core, after: Duration, envelope: Envelope) -> TimerRef {
    core.timers
        .arm(core, due_in(core, after), Due::Send(envelope))
}
