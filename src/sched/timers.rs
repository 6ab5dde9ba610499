//! The timers of a system: a wheel for each scheduler thread, each under its own lock, so that
//! threads that arm timers do not meet. Any thread fires the timers of all of them.
//!
//! # Invariants
//! 1. A timer fires, is cancelled, or is dropped at the end of the system: exactly one of the three,
//!    decided under its shard's lock. An interval lives as long as it stands in its shard's `intervals`.
//! 2. `next` of a shard is never later than its earliest timer while its lock is free.
//! 3. User code (wakers, and `Clone`s and `Drop`s of messages) runs under no lock, and may panic.

use std::collections::HashMap;
use std::task::Waker;
use std::time::Duration;

use super::clock::{MS, later, tick_at};
use super::core::Core;
use super::stats::Count;
pub use super::timer_ref::TimerRef;
use super::wheel::{Key, Wheel};
use super::worker::{Worker, worker_of};
use crate::process::cell::{Cell, CellRef};
use crate::process::deliver::{Class, deliver, guard, undelivered};
use crate::process::node::{Discard, Node};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use crate::sync::{Mutex, MutexGuard};

const NEVER: u64 = u64::MAX;
/// How many timers one visit to a shard fires before the lock is given back.
const BATCH: usize = 256;
/// How far the time a thread has cached is behind at the most, with much to spare.
const MARGIN: u64 = 5 * MS;

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
        // A timer is one incarnation's affair.
        // SAFETY: the caller's node, which nobody opened.
        unsafe { Node::tie(node) };
        Envelope { to, node }
    }

    /// Whom it goes to; a name is looked up now, once and for all.
    pub(crate) fn address(&mut self) -> Option<CellRef> {
        if let Target::Resolve(resolve) = &self.to {
            let found = resolve();
            self.to = match found {
                Some(cell) => Target::Cell(cell),
                None => Target::Resolve(Box::new(|| None)),
            };
        }
        match &self.to {
            Target::Cell(cell) => Some(cell.clone()),
            Target::Resolve(_) => None,
        }
    }

    /// Delivers it, however full a bounded mailbox is.
    pub(crate) fn send(self, core: &Core) {
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
            None => {
                core.count(Count::Sent, 1);
                // SAFETY: as above.
                unsafe { undelivered(core, None, node, Discard::Dead) };
            }
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
    /// When it is due: exactly, not as rounded up to a tick, or it would drift.
    pub(crate) at: u64,
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
    /// No timer will fire any more.
    closed: AtomicBool,
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
            closed: AtomicBool::new(false),
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
        self.armed(core, shard, wheel, tick);
        TimerRef {
            shard: index as u32,
            interval: interval.is_some(),
            key: interval.unwrap_or(key.to_bits()),
        }
    }

    /// Arms an interval that has fired again, unless it was cancelled meanwhile.
    fn rearm(&self, core: &Core, index: usize, repeat: Box<Repeat>) {
        let shard = &self.shards[index];
        let tick = tick_at(repeat.at);
        let mut wheel = shard.wheel.lock();
        let mut intervals = shard.intervals.lock();
        let Some(key) = intervals.get_mut(&repeat.id) else {
            drop((intervals, wheel));
            discard(Due::Repeat(repeat));
            return;
        };
        *key = wheel.insert(tick, Due::Repeat(repeat));
        drop(intervals);
        self.armed(core, shard, wheel, tick);
    }

    /// A timer for `tick` was put into `wheel`, the shard's: tells whoever would sleep past it.
    fn armed(&self, core: &Core, shard: &Shard, wheel: MutexGuard<'_, Wheel<Due>>, tick: u64) {
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
        let repeat = Repeat {
            id,
            at,
            period,
            make,
        };
        self.arm(core, at, Due::Repeat(Box::new(repeat)))
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
        let key = if timer.interval {
            shard.intervals.lock().remove(&timer.key)?
        } else {
            Key::from_bits(timer.key)
        };
        let cancelled = wheel.cancel(key);
        drop(wheel);
        match cancelled {
            Some((tick, due)) => {
                drop(due); // the canceller's: what panics in it is
                Some(Duration::from_nanos(
                    tick.saturating_mul(MS).saturating_sub(core.clock.now()),
                ))
            }
            // It fires at this moment, for the last time (`rearm`).
            None if timer.interval => Some(Duration::ZERO),
            None => None,
        }
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

    /// The tick of the earliest timer. From here on whoever arms an earlier one tells so
    /// ([`Core::timer_armed`]), even if one that was cancelled would have been earlier still.
    pub(crate) fn next_exact(&self) -> Option<u64> {
        let exact = |shard: &Shard| {
            let wheel = shard.wheel.lock();
            let next = wheel.next_exact();
            shard.next.store(next.unwrap_or(NEVER), Relaxed);
            next
        };
        self.shards.iter().filter_map(exact).min()
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
                for (_, due) in due.drain(..) {
                    self.fire_one(core, index, due);
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

    fn fire_one(&self, core: &Core, index: usize, due: Due) {
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
                let mut made = None;
                guard(|| made = (repeat.make)());
                let Some(envelope) = made else {
                    self.shards[index].intervals.lock().remove(&repeat.id);
                    discard(Due::Repeat(repeat));
                    return;
                };
                // Re-armed from its own due time, so that it does not drift; before the message is
                // sent, so that its receiver can cancel it.
                repeat.at = repeat.at.saturating_add(repeat.period);
                self.rearm(core, index, repeat);
                envelope.send(core);
            }
        }
    }

    /// Drops all messages of timers: nobody handles messages any more. Who waits for an answer or a
    /// time goes on waiting.
    pub(crate) fn clear(&self) {
        self.drain(|due| matches!(due, Due::Wake(_)));
    }

    /// The end of the system: no timer fires any more, and whoever waits for one is woken, to find
    /// [`is_closed`](Self::is_closed).
    pub(crate) fn close(&self) {
        // Relaxed: whoever arms a timer too late for the `drain` had the shard's lock after it.
        self.closed.store(true, Relaxed);
        self.drain(|_| false);
    }

    /// Whether no timer fires any more. Look after arming one.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    fn drain(&self, stays: impl Fn(&Due) -> bool) {
        for shard in &self.shards {
            let mut goes = Vec::new();
            {
                let mut wheel = shard.wheel.lock();
                let all: Vec<_> = wheel.drain().collect();
                for (tick, due) in all {
                    if stays(&due) {
                        wheel.insert(tick, due);
                    } else {
                        goes.push(due);
                    }
                }
                shard
                    .next
                    .store(wheel.next_bound().unwrap_or(NEVER), Relaxed);
                shard.intervals.lock().clear();
            }
            for due in goes {
                match due {
                    Due::Wake(waker) => {
                        guard(|| waker.wake());
                    }
                    due => discard(due),
                }
            }
        }
    }
}

/// Drops what a timer would have done.
fn discard(due: Due) {
    guard(|| drop(due));
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
