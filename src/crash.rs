//! What is told of a process that ended by a failure of its own. OTP: the crash report of `proc_lib`.

use std::fmt;

use crate::exit::ExitReason;
use crate::process::info::ProcessInfo;

/// The most of a state that a report shows, in bytes.
const MOST: usize = 1024;

/// A process ended abnormally, by a panic or with a reason of its own; not by somebody's signal. Kept
/// small, whatever the process was: the mailbox is counted, not copied, the state is shown as far as one
/// kilobyte goes, and of ancestors, callers, links and monitors there are the first 100 each.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CrashReport {
    /// What was known of the process.
    pub process: ProcessInfo,
    /// Why it ended.
    pub reason: ExitReason,
    /// The type of the message in whose handler it panicked, if it did.
    pub handling: Option<&'static str>,
    /// A server's state, as its [`format_status`](crate::GenServer::format_status) shows it.
    pub state: Option<String>,
}

impl CrashReport {
    /// How many ancestors, callers, links and monitors a report lists, of each.
    pub(crate) const MOST_OF_A_LIST: usize = 100;

    pub(crate) fn new(
        process: ProcessInfo,
        reason: ExitReason,
        handling: Option<&'static str>,
        state: Option<String>,
    ) -> Self {
        CrashReport {
            process,
            reason,
            handling,
            state: state.map(capped),
        }
    }
}

/// As much of `text` as is at most [`MOST`] bytes, and a mark where it was cut.
fn capped(mut text: String) -> String {
    if text.len() > MOST {
        let at = (0..=MOST).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(at.unwrap_or(0));
        text.push_str(" ...");
    }
    text
}

impl fmt::Display for CrashReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let process = &self.process;
        write!(f, "{} ({}) crashed", process.pid, process.kind)?;
        if let Some(message) = self.handling {
            write!(f, " handling {message}")?;
        }
        write!(f, ", {} messages waiting: ", process.message_queue_len)?;
        fmt::Display::fmt(&crate::hooks::Capped(&self.reason), f)?;
        if let Some(state) = &self.state {
            write!(f, "; state: {state}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_two_characters() {
        assert_eq!(capped("short".into()), "short");
        for lead in 0..4 {
            let long = "x".repeat(lead) + &"ü".repeat(MOST);
            let cut = capped(long.clone());
            let kept = cut.strip_suffix(" ...").unwrap();
            assert!(long.starts_with(kept) && kept.len() <= MOST && kept.len() > MOST - 4);
        }
    }
}
