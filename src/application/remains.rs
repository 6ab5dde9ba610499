//! What is left of an application whose master has ended, in whatever way. OTP: `kill_all_procs/0`, which
//! knows an application's processes by their group leader; here by their ancestors.
//!
//! Mostly nothing; and what is left of a master that was killed is on its way to its end, as its parent
//! has died. So this is about the rest: what was unlinked, what does not care, what its supervisor, killed,
//! could not stop. In rounds:
//!
//! ```text
//!   PAUSE ──▶ ask all processes for their ancestors ──▶ those of the master whose parent is dead: orphans
//!     ▲               (one whose parent lives is its parent's to stop)        │ told to shut down, as by it
//!     └────────────────────── wait for each, kill it when its time is over ◀──┘
//! ```

use std::collections::HashMap;
use std::time::Duration;

use crate::exit::ExitReason;
use crate::process::context::{ProcessContext, monitor_outside};
use crate::process::info::ProcessInfo;
use crate::process::pid::Pid;

/// How long an orphan may take whose own supervisor was killed, if nothing else is said: what a child has
/// by default.
const PATIENCE: Duration = Duration::from_secs(5);

/// Before each round.
const PAUSE: Duration = Duration::from_millis(100);

/// Ends all that comes from `master`, which is dead. Goes on until it is dropped: that nothing is left is
/// known elsewhere.
pub(super) async fn end(cx: &ProcessContext, master: Pid, timeout: Option<Duration>) {
    let system = cx.system();
    let mut told = HashMap::new();
    loop {
        // First of all: nearly always this is all that is needed.
        cx.sleep(PAUSE).await;
        let mut orphans = Vec::new();
        // All asked at once, so that a round takes as long as the slowest, not as all together.
        let processes = system.processes().into_iter();
        let asked = processes.filter(|pid| *pid != cx.pid());
        let asked: Vec<_> = asked.map(|pid| system.process_info(pid)).collect();
        for info in asked {
            let Some(info) = info.await else {
                continue;
            };
            if is_orphan(&info, master, |pid| system.is_alive(pid)) {
                orphans.push((info.pid, patience(&info, master, timeout)));
            }
        }
        for (orphan, _) in &orphans {
            told.entry(*orphan).or_insert_with(|| {
                cx.exit_child(*orphan, ExitReason::Shutdown(None));
                system.now()
            });
        }
        // One that has for ever comes last.
        orphans.sort_by_key(|(_, patience)| patience.unwrap_or(Duration::MAX));
        for (orphan, patience) in orphans {
            let now = system.now();
            let since = told.get(&orphan).copied().unwrap_or(now);
            let spent = now.saturating_sub(since);
            let left = patience.map(|patience| patience.saturating_sub(spent));
            let gone = monitor_outside(cx.core(), orphan, left);
            if gone.await.is_err() {
                cx.exit(orphan, ExitReason::Kill);
            }
        }
    }
}

/// Whether a process comes from `master`, and nobody is left whose business its end is.
fn is_orphan(info: &ProcessInfo, master: Pid, is_alive: impl Fn(Pid) -> bool) -> bool {
    info.ancestors.contains(&master) && !info.parent.is_some_and(is_alive)
}

/// How long it may take, from when it is told on.
fn patience(info: &ProcessInfo, master: Pid, timeout: Option<Duration>) -> Option<Duration> {
    match info.parent == Some(master) {
        true => timeout,
        false => timeout.or(Some(PATIENCE)),
    }
}
