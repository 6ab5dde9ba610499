//! A task's process, and the slot in which it leaves its value.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::TaskContext;
use crate::error::{CallError, SpawnError};
use crate::exit::ExitReason;
use crate::process::call::Call;
use crate::process::context::{Monitor, monitor_outside};
use crate::process::line::Line;
use crate::process::pid::Pid;
use crate::process::spawn::{SpawnOptions, Ties};
use crate::receive::{self, IntoExit};
use crate::sched::core::CoreRef;
use crate::sync::{Arc, Mutex};

/// A task's process, seen from where its value is waited for.
pub(super) struct Process<R> {
    pub(super) pid: Pid,
    pub(super) core: CoreRef,
    pub(super) slot: Arc<Mutex<Option<R>>>,
    monitor: Monitor,
}

impl<R> Process<R> {
    /// How it ended. Not to be polled again after that.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<ExitReason> {
        Pin::new(&mut self.monitor)
            .poll(cx)
            .map(|answer| match answer {
                Ok(down) => down.reason,
                Err(CallError::Exited(reason)) => reason,
                // The system went without a word.
                Err(_) => ExitReason::NoProc,
            })
    }
}

/// Starts a process nobody waits for, for those who `asked` for it.
pub(super) fn start<F, E>(
    core: &CoreRef,
    ties: Ties,
    asked: Line,
    work: impl FnOnce(TaskContext) -> F + Send + 'static,
) -> Result<Pid, SpawnError>
where
    F: Future<Output = E> + Send + 'static,
    E: IntoExit,
{
    let mut unborn = receive::conceive_async(core, &SpawnOptions::new(), ties, work)?;
    unborn.asked_for_by(asked);
    Ok(unborn.bear().pid())
}

/// Starts a task for those who `asked` for it. If there is a `go`, the work begins when that is answered; the process ends when it
/// cannot be any more.
pub(super) fn spawn<R, F>(
    core: &CoreRef,
    ties: Ties,
    go: Option<Call<()>>,
    asked: Line,
    work: impl FnOnce(TaskContext) -> F + Send + 'static,
) -> Result<Process<R>, SpawnError>
where
    R: Send + 'static,
    F: Future<Output = R> + Send + 'static,
{
    let slot = Arc::new(Mutex::new(None));
    let value = slot.clone();
    let run = move |cx: TaskContext| async move {
        if let Some(go) = go {
            if go.await.is_err() {
                return ExitReason::Shutdown(None);
            }
        }
        let done = work(cx).await;
        *value.lock() = Some(done);
        ExitReason::Normal
    };
    let mut unborn = receive::conceive_async(core, &SpawnOptions::new(), ties, run)?;
    unborn.asked_for_by(asked);
    let pid = unborn.cell().pid();
    // Before it runs: invariant 2 of the module.
    let monitor = monitor_outside(core, pid, None);
    unborn.bear();
    Ok(Process {
        pid,
        core: core.clone(),
        slot,
        monitor,
    })
}
