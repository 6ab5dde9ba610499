//! What a shard can be asked: the commands about keys, with every default filled in.

use super::Millis;
use crate::resp::Bytes;

/// One operation on the keys of one shard. Keys of another shard must not be in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    Get(Bytes),
    Set(Set),
    IncrBy(Bytes, i64),
    MGet(Vec<Bytes>),
    MSet(Vec<(Bytes, Bytes)>),
    Del(Vec<Bytes>),
    Exists(Vec<Bytes>),
    /// Lets `key` expire `after` so many milliseconds; at once if that is not positive.
    Expire {
        key: Bytes,
        after: i64,
        when: ExpireIf,
    },
    Persist(Bytes),
    Ttl(Bytes, Unit),
    DbSize,
    Flush,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
    pub(crate) lifetime: Lifetime,
    pub(crate) condition: Condition,
    /// Answer with the value before, whether or not it was replaced.
    pub(crate) get: bool,
}

/// How long a value that is set is to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    Endless,
    /// As long as the value before it.
    Keep,
    Millis(Millis),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    Always,
    IfAbsent,
    IfPresent,
}

/// What `TTL` counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Millis,
}

/// Under which conditions `EXPIRE` moves a deadline; all that are set must hold. A key without a
/// deadline counts as one that lives for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ExpireIf {
    /// There is none yet.
    pub(crate) nx: bool,
    /// There is one.
    pub(crate) xx: bool,
    /// The new one is later.
    pub(crate) gt: bool,
    /// The new one is earlier.
    pub(crate) lt: bool,
}

impl ExpireIf {
    pub(super) fn allows(self, current: Option<Millis>, new: Millis) -> bool {
        !(self.nx && current.is_some()
            || self.xx && current.is_none()
            || self.gt && current.is_none_or(|current| new <= current)
            || self.lt && current.is_some_and(|current| new >= current))
    }
}
