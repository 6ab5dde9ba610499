//! Names for processes. OTP: `register/2` and its kin, and the ground on which Elixir's `Registry`
//! will stand.
//!
//! | part | what it does |
//! |---|---|
//! | `names` | the map from names to pids: read and written by anybody, without a message |
//! | `keeper` | the process that takes the entries of the dead out of the map |
//!
//! # Invariants
//! 1. An entry counts only while its process is alive, by the same `is_alive` that anybody can ask. A
//!    process is dead no later than anybody hears of its death, so nobody finds a dead one by its name,
//!    and the name is free for the next, whether or not the entry is still in the map. (Elixir's
//!    registry finds the dead right after `Down` as often as not: it waits for its own process.)
//! 2. So the keeper is needed for nothing but memory: it may lag behind, and it may be killed. The next
//!    registration starts another, which begins by looking at the whole map.
//! 3. Every change of the map is followed by a message to the keeper, or by the start of one.
//!
//! # Why a process
//! Two ways need none, and were weighed. Sweeping a part of the map with each registration keeps what
//! is left of the dead within a factor of the living, but does not free a burst of names that nobody
//! follows up, and makes whoever registers pay for it. Taking the entry out as part of dying would be a
//! way into the scheduler that no user's process has. A monitor each is what a user would write; it
//! costs a message and a monitor for a registration, and nothing for a process without a name.

pub(crate) mod keeper;
pub(crate) mod names;
