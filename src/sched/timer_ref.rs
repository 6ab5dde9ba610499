//! The name of a timer: small, `Copy`. Apart from the timers, as terms know it and loom does not know those.

use std::fmt;

/// Names a timer. OTP: the reference that `erlang:send_after/3` returns.
///
/// The order is of no meaning, but a total one, as keys of a map want it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerRef {
    pub(super) shard: u32,
    pub(super) interval: bool,
    pub(super) key: u64,
}

impl fmt::Display for TimerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.interval { "Interval" } else { "Timer" };
        write!(f, "#{kind}<{}.{}>", self.shard, self.key)
    }
}
