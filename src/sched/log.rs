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

/// `text` with the pids of the system of this number printed as those of the first are.
pub(crate) fn without_number(text: &str, system: u32) -> String {
    let own = format!("{system}:<");
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(&own) {
        kept.push_str(&rest[..at]);
        // Not the end of another system's number.
        let another = kept.ends_with(|before: char| before.is_ascii_digit());
        kept.push_str(if another { &own } else { "<" });
        rest = &rest[at + own.len()..];
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::without_number;

    #[test]
    fn only_the_systems_own_number_is_left_out() {
        let told = "exit 2:<0.1.1> killed by 12:<0.7.1>, not 2:<0.2.1>";
        let kept = "exit <0.1.1> killed by 12:<0.7.1>, not <0.2.1>";
        assert_eq!(without_number(told, 2), kept);
        assert_eq!(without_number(told, 7), told);
    }
}
