//! The event log of a deterministic run: one line for each thing that happened, byte for byte the
//! same for the same seed.

use std::fmt::Write;

use crate::sync::Mutex;

#[derive(Default)]
pub(crate) struct Log(Mutex<String>);

impl Log {
    pub(crate) fn add(&self, now: u64, event: &str) {
        let mut log = self.0.lock();
        // Writing to a String cannot fail.
        let _ = writeln!(
            log,
            "{:>12}.{:06} {event}",
            now / 1_000_000,
            now % 1_000_000
        );
    }

    pub(crate) fn take(&self) -> String {
        std::mem::take(&mut self.0.lock())
    }
}
