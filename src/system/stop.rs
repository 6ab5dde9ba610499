//! The end of a system: in order, by shutdown; or at once, when its owner is dropped.

use std::thread::JoinHandle;
use std::time::Duration;

use super::Handle;
use crate::error::{CallError, Error, ShutdownError};
use crate::exit::ExitReason;
use crate::gen_server::Recipient;
use crate::process::ask::{Answer, question};
use crate::process::call::{Call, waits};
use crate::process::cell::CellRef;
use crate::process::pid::Pid;
use crate::process::spawn::{SpawnOptions, Ties};
use crate::process::{death, turn};
use crate::receive::{self, Inbox, Received};
use crate::sched::core::{Core, CoreRef, RUNNING, STOPPED, STOPPING};
use crate::sched::worker::{Worker, here};
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// How long the kill at the end of a shutdown is waited for, and a thread when its system is dropped.
const GRACE: Duration = Duration::from_secs(1);

/// A shutdown under way: [`System::shutdown`](crate::System::shutdown).
#[must_use = "the system is shutting down; whether it is done is not looked at"]
#[derive(Debug)]
pub struct ShuttingDown {
    call: Call<Result<(), ShutdownError>>,
}

waits!(ShuttingDown, Result<(), Error>, |_: &mut ShuttingDown, answer: Result<Result<(), ShutdownError>, CallError>| {
    match answer {
        Ok(result) => result.map_err(Error::from),
        Err(CallError::WouldBlock) => Err(ShutdownError::WouldBlock.into()),
        Err(error @ (CallError::Stalled | CallError::Timeout)) => Err(error.into()),
        // Whoever stops the system was stopped with it.
        Err(_) => Ok(()),
    }
});

/// The end of a system, or of something it depends on: [`System::wait`](crate::System::wait).
#[must_use = "waits for nothing unless waited for"]
#[derive(Debug)]
pub struct Ended {
    call: Call<Option<(Pid, ExitReason)>>,
}

waits!(Ended, Result<(), Error>, |_: &mut Ended, answer: Result<Option<(Pid, ExitReason)>, CallError>| match answer {
    Ok(None) => Ok(()),
    Ok(Some((_, reason))) => Err(Error::Exited(reason)),
    Err(error) => Err(error.into()),
});

pub(crate) fn ended(core: &CoreRef) -> Ended {
    let (answer, pending) = question();
    let mut roots = core.roots.lock();
    match roots.failure.clone() {
        Some(failure) => {
            drop(roots);
            answer.send(Ok(Some(failure)));
        }
        None if core.state.load(Acquire) == STOPPED => {
            drop(roots);
            answer.send(Ok(None));
        }
        None => roots.waiting.push(answer),
    }
    Ended {
        call: Call::new(core, pending, None),
    }
}

/// Tells all who wait for the end.
pub(crate) fn tell_ended(
    waiting: Vec<Answer<Option<(Pid, ExitReason)>>>,
    failure: Option<&(Pid, ExitReason)>,
) {
    for answer in waiting {
        answer.send(Ok(failure.cloned()));
    }
}

/// Starts the shutdown: it is itself a process, of high priority so that it gets its turn.
pub(crate) fn shutdown(core: &CoreRef, deadline: Duration) -> ShuttingDown {
    let (answer, pending) = question();
    let first = core
        .state
        .compare_exchange(RUNNING, STOPPING, AcqRel, Acquire)
        .is_ok();
    if !first && core.state.load(Acquire) == STOPPED {
        answer.send(Ok(Ok(())));
        return ShuttingDown {
            call: Call::new(core, pending, None),
        };
    }
    let options = SpawnOptions::new().priority(crate::Priority::High);
    let stop = move |inbox: Inbox<()>| stop_all(inbox, deadline, answer);
    let spawned: Result<(Recipient<()>, _), _> =
        receive::spawn(core, &options, Ties::default(), stop);
    // Refused only by a system that is stopped, and then the answer is dropped: `NoReply`, which
    // counts as done.
    drop(spawned);
    ShuttingDown {
        call: Call::new(core, pending, None),
    }
}

async fn stop_all(
    mut cx: Inbox<()>,
    deadline: Duration,
    answer: Answer<Result<(), ShutdownError>>,
) {
    let handle = cx.system();
    let end = handle.now().saturating_add(deadline);
    let reason = ExitReason::Shutdown(None);
    // The applications, then the system's other children, last first.
    let mut roots: Vec<Pid> = {
        let mut roots = handle.core().roots.lock();
        roots.stopping = true;
        roots.live.values().rev().copied().collect()
    };
    let applications = handle.whereis(crate::application::CONTROLLER);
    roots.sort_by_key(|root| Some(*root) != applications);
    for pid in roots {
        cx.exit_child(pid, reason.clone());
        let left = end.saturating_sub(handle.now());
        gone(&mut cx, &[pid], left).await;
    }
    // All others at once.
    let others = |cx: &Inbox<()>| -> Vec<Pid> {
        let me = cx.pid();
        handle
            .processes()
            .into_iter()
            .filter(|pid| *pid != me)
            .collect()
    };
    let rest = others(&cx);
    for pid in &rest {
        cx.exit_child(*pid, reason.clone());
    }
    let left = end.saturating_sub(handle.now());
    gone(&mut cx, &rest, left).await;
    // Whatever would not go, or was started meanwhile.
    let mut stuck = others(&cx);
    for _ in 0..16 {
        if stuck.is_empty() {
            break;
        }
        for pid in &stuck {
            cx.exit(*pid, ExitReason::Kill);
        }
        gone(&mut cx, &stuck, GRACE).await;
        let left = others(&cx);
        let hangs = stuck.iter().any(|pid| left.contains(pid));
        stuck = left;
        if hangs {
            break;
        }
    }
    let core = handle.core();
    halt(core);
    crate::ets::tables::close(core);
    core.timers.close();
    answer.send(Ok(if stuck.is_empty() {
        Ok(())
    } else {
        Err(ShutdownError::Stuck(stuck))
    }));
}

/// Waits until all of `pids` are gone, for at most `timeout`.
async fn gone(cx: &mut Inbox<()>, pids: &[Pid], timeout: Duration) {
    let monitors: Vec<_> = pids.iter().map(|pid| cx.monitor(*pid)).collect();
    let end = cx.system().now().saturating_add(timeout);
    let mut left = monitors.len();
    while left > 0 {
        let time = end.saturating_sub(cx.system().now());
        match cx.recv_timeout(time).await {
            Some(Received::Down(_)) => left -= 1,
            Some(_) => {}
            None => break,
        }
    }
    for monitor in monitors {
        cx.demonitor(monitor);
    }
}

/// Stops running processes: threads end after their current turn.
pub(crate) fn halt(core: &Core) {
    core.state.store(STOPPED, Release);
    core.timers.clear();
    core.idle.shutdown();
    core.watch.ring();
    if let Some(manual) = &core.manual {
        manual.ring();
    }
    let (waiting, failure) = {
        let mut roots = core.roots.lock();
        (std::mem::take(&mut roots.waiting), roots.failure.clone())
    };
    tell_ended(waiting, failure.as_ref());
}

/// Stops the threads of a system whose owner is dropped, and drops what is left of its processes.
pub(crate) fn join(
    core: &CoreRef,
    schedulers: Vec<JoinHandle<Worker>>,
    watchdog: Option<JoinHandle<()>>,
) {
    halt(core);
    if here().is_some_and(|worker| core.is(worker.core())) {
        // One of its own threads: it cannot wait for itself. The others end by themselves.
        core.timers.close();
        return;
    }
    if let Some(watchdog) = watchdog {
        // It has no state and no user code but the event hook's, which is caught.
        let _ = watchdog.join();
    }
    let total = schedulers.len();
    let mut workers: Vec<Worker> = Vec::new();
    let mut roots = core.roots.lock();
    let give_up = std::time::Instant::now() + GRACE;
    while core
        .remotes
        .iter()
        .take(total)
        .any(|remote| !remote.ended.load(Acquire))
    {
        if core.ended.wait_until(&mut roots, give_up).timed_out() {
            break;
        }
    }
    drop(roots);
    for (index, thread) in schedulers.into_iter().enumerate() {
        if core.remotes[index].ended.load(Acquire) {
            if let Ok(worker) = thread.join() {
                workers.push(worker);
            }
        }
        // A thread that is still inside a handler is abandoned, with the process it runs.
    }
    if workers.len() == total {
        if let Some(worker) = workers.first() {
            for remote in &core.remotes {
                remote.stuck.store(true, Relaxed);
            }
            // SAFETY: the worker stays in the vector until the guard is gone.
            let _entered = unsafe { worker.enter() };
            reap_all(core, worker);
        }
    }
    core.timers.close();
}

/// Drops all processes of a system that nobody runs any more, on the calling thread. `terminate` is
/// not called; callers and monitors are told [`ExitReason::Killed`].
pub(crate) fn reap_all(core: &CoreRef, worker: &Worker) {
    halt(core);
    // The dead whose mailboxes are still being dropped hold no entry in the table.
    while let Some(job) = worker.next().or_else(|| worker.steal()) {
        // SAFETY: a queued process's cell is alive.
        if unsafe { job.cell().as_ref() }.is_dead() {
            turn::run(worker, job);
        }
    }
    loop {
        let mut live: Vec<CellRef> = Vec::new();
        core.table.for_each_live(|_, _, cell| {
            // SAFETY: pinned by the table for the call.
            live.push(unsafe { CellRef::retained(cell) });
        });
        if live.is_empty() {
            break;
        }
        for cell in live {
            // SAFETY: no thread runs the system's processes any more, so this is the only turn.
            unsafe { death::kill(worker, cell.as_ptr()) };
        }
    }
    core.attached.clear();
    core.timers.close();
}

impl Handle {
    /// Starts the orderly end of the system, as [`System::shutdown`](crate::System::shutdown) does.
    /// A process that awaits this is stopped itself before it is done.
    pub fn shutdown(&self) -> ShuttingDown {
        shutdown(self.core(), Duration::from_secs(30))
    }

    /// Shuts the system down because of something that happened to `pid`, which is what
    /// [`System::wait`](crate::System::wait) returns in the end.
    pub(crate) fn end_because_of(&self, pid: Pid, cause: ExitReason) {
        self.core().blame(pid, cause);
        drop(self.shutdown());
    }
}
