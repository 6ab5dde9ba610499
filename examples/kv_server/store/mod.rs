//! What one shard holds, and what an operation does to it.
//!
//! [`Store::apply`] is given an [`Op`] and the time, and returns what to answer and which timers
//! to set or drop. It reads no clock and sets no timer, so its whole behaviour is tested by value.
//!
//! A key with a deadline is in two states after it: *invisible* at once, because every operation
//! looks at the deadline, and *removed* when its timer fires, so that memory comes back although
//! nobody asks for the key again.
//!
//! # Invariants
//! 1. Every entry with a deadline has exactly one timer that was asked for and not cancelled, and
//!    an entry without one has none. So the timers are as many as the keys that expire, however
//!    often they are overwritten.
//! 2. A timer carries the version of its entry. A version is given once in the life of a store,
//!    when a deadline is set; a timer whose version is not the entry's changes nothing, though it
//!    was already on its way when it was cancelled.

mod op;

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

pub(crate) use op::{Condition, ExpireIf, Lifetime, Op, Set, Unit};

use crate::resp::{Bytes, Reply, decimal, integer};

/// Milliseconds since some fixed moment, the same for all calls on a store.
pub(crate) type Millis = u64;

/// Which deadline of which key a timer stands for.
pub(crate) type Version = u64;

/// What the owner of the store has to do about timers, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// At `deadline`, call [`Store::expire`] with this key and version.
    Set {
        key: Bytes,
        version: Version,
        deadline: Millis,
    },
    /// Drop the timer of this version.
    Cancel(Version),
    CancelAll,
}

/// What an operation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "the client waits for the reply, and timers must be set for keys to be removed"]
pub(crate) struct Outcome {
    pub(crate) reply: Reply,
    pub(crate) alarms: Vec<Alarm>,
}

/// What became of a timer that fired.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a timer that came early must be set again"]
pub(crate) enum Expired {
    Removed,
    /// The key has another deadline by now, or none, or is gone.
    Stale,
    /// Its time has not come; set this one. Timers that cannot reach far ahead may so go in steps.
    Early(Alarm),
}

#[derive(Debug)]
enum Value {
    Bytes(Bytes),
    /// Counted with; its bytes are its decimal text, which [`integer`] makes certain.
    Int(i64),
}

impl Value {
    fn reply(&self) -> Reply {
        match self {
            Value::Bytes(bytes) => Reply::Bulk(bytes.clone()),
            Value::Int(value) => Reply::bulk(decimal(*value, &mut [0; 20])),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Expiry {
    deadline: Millis,
    version: Version,
}

#[derive(Debug)]
struct Entry {
    value: Value,
    expiry: Option<Expiry>,
}

impl Entry {
    fn is_live(&self, now: Millis) -> bool {
        self.expiry.is_none_or(|expiry| now < expiry.deadline)
    }
}

/// The keys of one shard.
#[derive(Debug, Default)]
pub(crate) struct Store {
    entries: HashMap<Bytes, Entry>,
    last_version: Version,
    volatile: usize,
    expired: u64,
}

impl Store {
    /// Keys held, with those that have expired and not been removed yet, as Redis counts.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many of them have a deadline.
    pub(crate) fn volatile(&self) -> usize {
        self.volatile
    }

    /// How many keys have expired so far.
    pub(crate) fn expired(&self) -> u64 {
        self.expired
    }

    /// Carries out `op` at the time `now`, which never goes back.
    pub(crate) fn apply(&mut self, op: Op, now: Millis) -> Outcome {
        let mut alarms = Vec::new();
        let reply = match op {
            Op::Get(key) => self.get(&key, now),
            Op::Set(set) => self.set(set, now, &mut alarms),
            Op::IncrBy(key, step) => self.incr_by(key, step, now, &mut alarms),
            Op::MGet(keys) => Reply::Array(keys.iter().map(|key| self.get(key, now)).collect()),
            Op::MSet(pairs) => {
                for (key, value) in pairs {
                    self.put(key, value, now, &mut alarms);
                }
                Reply::OK
            }
            Op::Del(keys) => self.count(&keys, |store, key| store.del(key, now, &mut alarms)),
            Op::Exists(keys) => self.count(&keys, |store, key| store.live(key, now).is_some()),
            Op::Expire { key, after, when } => {
                Reply::Int(self.expire_in(&key, after, when, now, &mut alarms).into())
            }
            Op::Persist(key) => Reply::Int(self.persist(&key, now, &mut alarms).into()),
            Op::Ttl(key, unit) => Reply::Int(self.ttl(&key, unit, now)),
            Op::DbSize => Reply::Int(self.len() as i64),
            Op::Flush => {
                self.entries = HashMap::new();
                if self.volatile > 0 {
                    self.volatile = 0;
                    alarms.push(Alarm::CancelAll);
                }
                Reply::OK
            }
        };
        Outcome { reply, alarms }
    }

    /// The timer of `version` fired. The owner forgets that timer, whatever comes of it.
    pub(crate) fn expire(&mut self, key: &Bytes, version: Version, now: Millis) -> Expired {
        let Some(Entry {
            expiry: Some(expiry),
            ..
        }) = self.entries.get(key)
        else {
            return Expired::Stale;
        };
        if expiry.version != version {
            return Expired::Stale;
        }
        if now < expiry.deadline {
            return Expired::Early(Alarm::Set {
                key: key.clone(),
                version,
                deadline: expiry.deadline,
            });
        }
        self.entries.remove(key);
        self.volatile -= 1;
        self.expired += 1;
        Expired::Removed
    }

    fn live(&self, key: &[u8], now: Millis) -> Option<&Entry> {
        self.entries.get(key).filter(|entry| entry.is_live(now))
    }

    fn get(&self, key: &[u8], now: Millis) -> Reply {
        self.live(key, now)
            .map_or(Reply::Nil, |entry| entry.value.reply())
    }

    fn count(&mut self, keys: &[Bytes], mut one: impl FnMut(&mut Self, &[u8]) -> bool) -> Reply {
        let mut count = 0;
        for key in keys {
            count += i64::from(one(self, key));
        }
        Reply::Int(count)
    }

    fn set(&mut self, set: Set, now: Millis, alarms: &mut Vec<Alarm>) -> Reply {
        let (there, old) = match self.live(&set.key, now) {
            Some(entry) => (true, set.get.then(|| entry.value.reply())),
            None => (false, set.get.then_some(Reply::Nil)),
        };
        let allowed = match set.condition {
            Condition::Always => true,
            Condition::IfAbsent => !there,
            Condition::IfPresent => there,
        };
        if !allowed {
            return old.unwrap_or(Reply::Nil);
        }
        match set.lifetime {
            Lifetime::Keep if there => {
                if let Some(entry) = self.entries.get_mut(&set.key) {
                    entry.value = Value::Bytes(set.value);
                }
            }
            Lifetime::Keep | Lifetime::Endless => self.put(set.key, set.value, now, alarms),
            Lifetime::Millis(after) => {
                let key = set.key.clone();
                self.put(set.key, set.value, now, alarms);
                self.set_deadline(&key, now.saturating_add(after), alarms);
            }
        }
        old.unwrap_or(Reply::OK)
    }

    /// Gives `key` a value and no deadline, whatever it was before.
    fn put(&mut self, key: Bytes, value: Bytes, now: Millis, alarms: &mut Vec<Alarm>) {
        let entry = Entry {
            value: Value::Bytes(value),
            expiry: None,
        };
        match self.entries.entry(key) {
            Slot::Vacant(slot) => {
                slot.insert(entry);
            }
            Slot::Occupied(mut slot) => {
                let before = slot.insert(entry);
                if let Some(expiry) = before.expiry {
                    self.volatile -= 1;
                    self.expired += u64::from(!before.is_live(now));
                    alarms.push(Alarm::Cancel(expiry.version));
                }
            }
        }
    }

    fn incr_by(&mut self, key: Bytes, step: i64, now: Millis, alarms: &mut Vec<Alarm>) -> Reply {
        let Some(entry) = self
            .entries
            .get_mut(&key)
            .filter(|entry| entry.is_live(now))
        else {
            // Also where an expired entry still lies: it is overwritten, deadline and all.
            let text = Bytes::from(decimal(step, &mut [0; 20]));
            self.put(key, text, now, alarms);
            return Reply::Int(step);
        };
        let value = match &entry.value {
            Value::Int(value) => *value,
            Value::Bytes(bytes) => match integer(bytes) {
                Some(value) => value,
                None => return Reply::error("ERR value is not an integer or out of range"),
            },
        };
        match value.checked_add(step) {
            Some(value) => {
                entry.value = Value::Int(value);
                Reply::Int(value)
            }
            None => Reply::error("ERR increment or decrement would overflow"),
        }
    }

    /// Whether there was such a key.
    fn del(&mut self, key: &[u8], now: Millis, alarms: &mut Vec<Alarm>) -> bool {
        let Some(entry) = self.entries.remove(key) else {
            return false;
        };
        if let Some(expiry) = entry.expiry {
            self.volatile -= 1;
            alarms.push(Alarm::Cancel(expiry.version));
        }
        let was_live = entry.is_live(now);
        self.expired += u64::from(!was_live);
        was_live
    }

    fn expire_in(
        &mut self,
        key: &Bytes,
        after: i64,
        when: ExpireIf,
        now: Millis,
        alarms: &mut Vec<Alarm>,
    ) -> bool {
        let Some(entry) = self.live(key, now) else {
            return false;
        };
        let deadline = now.saturating_add_signed(after);
        if !when.allows(entry.expiry.map(|expiry| expiry.deadline), deadline) {
            return false;
        }
        if after <= 0 {
            return self.del(key, now, alarms);
        }
        self.set_deadline(key, deadline, alarms);
        true
    }

    /// Whether there was a deadline to take away.
    fn persist(&mut self, key: &[u8], now: Millis, alarms: &mut Vec<Alarm>) -> bool {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.is_live(now)) else {
            return false;
        };
        let Some(expiry) = entry.expiry.take() else {
            return false;
        };
        self.volatile -= 1;
        alarms.push(Alarm::Cancel(expiry.version));
        true
    }

    fn ttl(&self, key: &[u8], unit: Unit, now: Millis) -> i64 {
        let Some(entry) = self.live(key, now) else {
            return -2;
        };
        let Some(expiry) = entry.expiry else {
            return -1;
        };
        let left = i64::try_from(expiry.deadline - now).unwrap_or(i64::MAX);
        match unit {
            Unit::Millis => left,
            // To the nearest second, as Redis: a key set for 10 s has 10 s right after.
            Unit::Seconds => left.saturating_add(500) / 1000,
        }
    }

    /// Moves the deadline of a key that is there (invariants 1 and 2).
    fn set_deadline(&mut self, key: &Bytes, deadline: Millis, alarms: &mut Vec<Alarm>) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        self.last_version += 1;
        let version = self.last_version;
        match entry.expiry.replace(Expiry { deadline, version }) {
            Some(before) => alarms.push(Alarm::Cancel(before.version)),
            None => self.volatile += 1,
        }
        alarms.push(Alarm::Set {
            key: key.clone(),
            version,
            deadline,
        });
    }
}

#[cfg(test)]
mod tests;
