//! How processes are made to stop, by whichever kind of supervisor.
//!
//! ```text
//!                time is over          a second later
//!        Told ────────────────▶ Killed ──────────────▶ Stuck
//!                                 ▲                    reported, once
//!   Shutdown::BrutalKill ─────────┘
//! ```
//! A supervisor goes on with its work meanwhile: [`Deadline`] comes as a message. One that ends has
//! nothing else to do, and waits by [`Ending`](super::ending::Ending).

use std::time::Duration;

use super::spec::Shutdown;
use crate::exit::ExitReason;
use crate::gen_server::{Context, GenServer, HandleInfo};
use crate::hooks::Event;
use crate::process::context::ProcessContext;
use crate::process::pid::{MonitorRef, Pid};
use crate::sched::timers::TimerRef;
use crate::sync::Arc;

/// How long a process that was killed may take to end before it counts as stuck.
const STUCK: Duration = Duration::from_secs(1);

/// What was done to make a process stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Force {
    /// It was told.
    Told,
    Killed,
    /// It was killed, and still runs: some code of it does not return.
    Stuck,
}

/// Tells a process to stop. What that was, and after what time to do more, if at all.
pub(super) fn tell(cx: &ProcessContext, pid: Pid, how: Shutdown) -> (Force, Option<Duration>) {
    match how {
        Shutdown::BrutalKill => {
            cx.exit(pid, ExitReason::Kill);
            (Force::Killed, Some(STUCK))
        }
        Shutdown::Timeout(time) => {
            cx.exit_child(pid, ExitReason::Shutdown(None));
            (Force::Told, Some(time))
        }
        Shutdown::Infinity => {
            cx.exit_child(pid, ExitReason::Shutdown(None));
            (Force::Told, None)
        }
    }
}

/// Kills a process that was told to stop, or, if it was killed, reports that it is stuck. What it is
/// then, and after what time to do more.
pub(super) fn insist(
    cx: &ProcessContext,
    child: impl FnOnce() -> Arc<str>,
    pid: Pid,
    force: Force,
) -> (Force, Option<Duration>) {
    if force == Force::Told {
        return tell(cx, pid, Shutdown::BrutalKill);
    }
    cx.core().hooks.event(&Event::Stuck {
        pid,
        supervisor: cx.pid(),
        child: child(),
    });
    (Force::Stuck, None)
}

/// The time of the stopping `W` is over.
pub(crate) struct Deadline<W>(pub(crate) W);

/// Processes that are being stopped: a child, or what is left of an attempt to start one. `W` tells
/// their supervisor which stopping it is; each has its own.
pub(crate) struct Stopping<W> {
    which: W,
    pub(super) left: Vec<(Pid, MonitorRef)>,
    /// When they are killed, or, if they were killed, when they count as stuck.
    pub(super) deadline: Option<(Duration, TimerRef)>,
    pub(super) force: Force,
}

impl<W: Copy + PartialEq + Send + 'static> Stopping<W> {
    /// Tells processes to stop, of which there is at least one.
    pub(crate) fn begin<S>(cx: &Context<S>, which: W, pids: &[Pid], how: Shutdown) -> Self
    where
        S: GenServer + HandleInfo<Deadline<W>>,
    {
        let mut then = (Force::Told, None);
        for pid in pids {
            then = tell(cx, *pid, how);
        }
        // Monitored as well, in case one has unlinked itself. OTP: `monitor_child/1`.
        let left = pids.iter().map(|pid| (*pid, cx.monitor(*pid))).collect();
        let mut stopping = Stopping {
            which,
            left,
            deadline: None,
            force: then.0,
        };
        stopping.arm(cx, then.1);
        stopping
    }

    fn arm<S>(&mut self, cx: &Context<S>, time: Option<Duration>)
    where
        S: GenServer + HandleInfo<Deadline<W>>,
    {
        self.deadline = time.map(|time| {
            let timer = cx.send_after(time, &cx.this(), Deadline(self.which));
            (cx.system().now().saturating_add(time), timer)
        });
    }

    /// The time of a stopping is over: if it is this one, more is done. `child`: what is stopped here
    /// is called so in a report.
    pub(crate) fn late<S>(&mut self, cx: &Context<S>, which: W, child: impl FnOnce() -> Arc<str>)
    where
        S: GenServer + HandleInfo<Deadline<W>>,
    {
        // A timer that was cancelled may have rung already.
        if self.which != which {
            return;
        }
        let child = std::cell::LazyCell::new(child);
        let mut then = (self.force, None);
        for (pid, _) in &self.left {
            then = insist(cx, || child.clone(), *pid, self.force);
        }
        self.force = then.0;
        self.arm(cx, then.1);
    }

    pub(crate) fn holds(&self, pid: Pid) -> bool {
        self.left.iter().any(|(left, _)| *left == pid)
    }

    /// A process is gone. `true`: it was the last.
    #[must_use = "`true`: the stopping is over"]
    pub(crate) fn gone(&mut self, cx: &ProcessContext, pid: Pid) -> bool {
        if let Some(place) = self.left.iter().position(|(left, _)| *left == pid) {
            let (_, monitor) = self.left.swap_remove(place);
            cx.demonitor(monitor);
        }
        if !self.left.is_empty() {
            return false;
        }
        if let Some((_, timer)) = self.deadline.take() {
            cx.cancel_timer(timer);
        }
        true
    }

    pub(crate) fn is_stuck(&self) -> bool {
        self.force == Force::Stuck
    }

    /// One of the processes.
    pub(crate) fn pid(&self) -> Option<Pid> {
        self.left.first().map(|(pid, _)| *pid)
    }
}
