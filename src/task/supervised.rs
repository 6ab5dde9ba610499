//! The process of a task supervisor.
//!
//! It never waits inside a handler: a task that is being ended is told, and its end comes as a
//! message. Elixir's is a `DynamicSupervisor`; this one knows tasks only.
//!
//! # Invariants
//! 1. `tasks` holds each process started here until its end is known, those that are being ended
//!    included; so `max_children` bounds what lives.
//! 2. A task is linked to its supervisor from before it runs.

use std::collections::HashMap;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use super::TaskError;
use crate::error::SpawnError;
use crate::exit::ExitReason;
use crate::gen_server::{
    Context, Down, Exit, GenServer, HandleCall, HandleInfo, HandleRequest, InitStop, ReplyTo,
};
use crate::hooks::Event;
use crate::process::context::{Monitor, Sleep};
use crate::process::pid::Pid;
use crate::supervisor::{Fate, Restart, Restarts, Shutdown, fate};
use crate::sync::Arc;

pub(super) type Cx = Context<TaskSupervisorProcess>;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) max_children: usize,
    pub(crate) intensity: u32,
    pub(crate) period: Duration,
}

/// Starts a task again.
pub(super) type Again = Arc<dyn Fn(&Cx) -> Result<Pid, SpawnError> + Send + Sync>;

struct Child {
    restart: Restart,
    shutdown: Shutdown,
    again: Option<Again>,
    /// Who waits for its end, once it was told to end.
    ending: Option<Vec<ReplyTo<bool>>>,
    /// Start order.
    number: u64,
}

pub(crate) struct TaskSupervisorProcess {
    settings: Settings,
    restarts: Restarts,
    tasks: HashMap<Pid, Child>,
    next: u64,
}

impl TaskSupervisorProcess {
    /// Starts a task, if there is room.
    pub(super) fn begin<T>(
        &mut self,
        (restart, shutdown): (Restart, Shutdown),
        again: Option<Again>,
        start: impl FnOnce() -> Result<(Pid, T), SpawnError>,
    ) -> Result<T, TaskError> {
        if self.tasks.len() >= self.settings.max_children {
            // What it captured is the asker's; what panics in that must not end all tasks.
            let _ = crate::exit::drop_quietly(start);
            return Err(TaskError::MaxChildren);
        }
        let (pid, started) = start()?;
        let number = self.next;
        self.next += 1;
        let child = Child {
            restart,
            shutdown,
            again,
            ending: None,
            number,
        };
        self.tasks.insert(pid, child);
        Ok(started)
    }

    /// In start order.
    pub(super) fn pids(&self) -> Vec<Pid> {
        let mut pids: Vec<(u64, Pid)> = self
            .tasks
            .iter()
            .map(|(pid, child)| (child.number, *pid))
            .collect();
        pids.sort_unstable();
        pids.into_iter().map(|(_, pid)| pid).collect()
    }

    fn ended(&mut self, cx: &Cx, pid: Pid, reason: ExitReason) {
        let Some(mut child) = self.tasks.remove(&pid) else {
            return;
        };
        match child.ending.take() {
            Some(waiting) => waiting.into_iter().for_each(|reply| reply.reply(true)),
            None => self.restart(cx, pid, child, reason),
        }
    }

    /// A child has ended by itself: starts it again, if that is its fate.
    fn restart(&mut self, cx: &Cx, pid: Pid, mut child: Child, reason: ExitReason) {
        let Some(again) = child.again.clone() else {
            return;
        };
        if fate(child.restart, &reason) != Fate::Restart {
            return;
        }
        if !self.restarts.record(cx.system().now()) {
            let event = Event::GaveUp {
                pid: cx.pid(),
                child: pid.to_string().into(),
                reason,
            };
            cx.core().hooks.event(&event);
            cx.stop(ExitReason::Shutdown(None));
            return;
        }
        // Refused only by a system that is stopped.
        if let Ok(pid) = again(cx) {
            child.number = self.next;
            self.next += 1;
            self.tasks.insert(pid, child);
        }
    }
}

/// Tells a task to end.
fn tell(cx: &Cx, pid: Pid, how: Shutdown) {
    match how {
        Shutdown::BrutalKill => cx.exit(pid, ExitReason::Kill),
        Shutdown::Timeout(_) | Shutdown::Infinity => {
            cx.exit_child(pid, ExitReason::Shutdown(None));
        }
    }
}

/// The time of a task that was told to end is over.
pub(super) struct Overdue(Pid);

/// A request that is answered at once, as code.
pub(super) struct Do<F, T>(F, PhantomData<fn() -> T>);

impl<F: FnOnce(&mut TaskSupervisorProcess, &Cx) -> T, T> Do<F, T> {
    pub(super) fn new(run: F) -> Self {
        Do(run, PhantomData)
    }
}

pub(super) struct Terminate(pub(super) Pid);

impl GenServer for TaskSupervisorProcess {
    type Args = Settings;

    async fn init(settings: Settings, cx: &mut Cx) -> Result<Self, InitStop> {
        cx.trap_exit(true);
        Ok(TaskSupervisorProcess {
            settings,
            restarts: Restarts::new(settings.intensity, settings.period),
            tasks: HashMap::new(),
            next: 0,
        })
    }

    async fn handle_exit(&mut self, exit: Exit, cx: &mut Cx) {
        // A task that lives and sends such a signal has not ended.
        if let Some(pid) = exit.from.filter(|pid| !cx.system().is_alive(*pid)) {
            self.ended(cx, pid, exit.reason);
        }
    }

    async fn handle_down(&mut self, down: Down, cx: &mut Cx) {
        // Monitored is what was told to end.
        self.ended(cx, down.pid, down.reason);
    }

    /// Ends all tasks at once, each as it is to be ended, and waits until they are gone.
    async fn terminate(&mut self, _reason: ExitReason, cx: &mut Cx) {
        let system = cx.system();
        let mut left: Vec<(Pid, Monitor, Option<Sleep>)> = Vec::with_capacity(self.tasks.len());
        // Who asked for the end of one hears of it when it is gone.
        let mut asked: Vec<(Pid, Vec<ReplyTo<bool>>)> = Vec::new();
        for (pid, mut child) in self.tasks.drain() {
            if child.ending.is_none() {
                tell(cx, pid, child.shutdown);
            }
            let sleep = match child.shutdown {
                Shutdown::Timeout(time) => Some(cx.sleep(time)),
                Shutdown::BrutalKill | Shutdown::Infinity => None,
            };
            left.push((pid, system.monitor(pid), sleep));
            asked.extend(child.ending.take().map(|replies| (pid, replies)));
        }
        std::future::poll_fn(|task| {
            left.retain_mut(|(pid, monitor, sleep)| {
                if Pin::new(monitor).poll(task).is_ready() {
                    if let Some(at) = asked.iter().position(|(of, _)| of == pid) {
                        let (_, replies) = asked.swap_remove(at);
                        replies.into_iter().for_each(|reply| reply.reply(true));
                    }
                    return false;
                }
                if sleep
                    .as_mut()
                    .is_some_and(|sleep| Pin::new(sleep).poll(task).is_ready())
                {
                    *sleep = None;
                    system.exit(*pid, ExitReason::Kill);
                }
                true
            });
            match left.is_empty() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }
}

impl<F, T> HandleCall<Do<F, T>> for TaskSupervisorProcess
where
    F: FnOnce(&mut TaskSupervisorProcess, &Cx) -> T + Send + 'static,
    T: Send + 'static,
{
    type Reply = T;

    async fn handle_call(&mut self, Do(run, _): Do<F, T>, cx: &mut Cx) -> T {
        run(self, cx)
    }
}

impl HandleRequest<Terminate> for TaskSupervisorProcess {
    type Reply = bool;

    async fn handle_request(
        &mut self,
        Terminate(pid): Terminate,
        reply: ReplyTo<bool>,
        cx: &mut Cx,
    ) {
        let Some(child) = self.tasks.get_mut(&pid) else {
            return reply.reply(false);
        };
        if let Some(waiting) = &mut child.ending {
            return waiting.push(reply);
        }
        child.ending = Some(vec![reply]);
        tell(cx, pid, child.shutdown);
        // In case it has unlinked itself. OTP: `monitor_child/1`.
        cx.monitor(pid);
        if let Shutdown::Timeout(time) = child.shutdown {
            cx.send_after(time, &cx.this(), Overdue(pid));
        }
    }
}

impl HandleInfo<Overdue> for TaskSupervisorProcess {
    async fn handle_info(&mut self, Overdue(pid): Overdue, cx: &mut Cx) {
        if self.tasks.contains_key(&pid) {
            cx.exit(pid, ExitReason::Kill);
        }
    }
}
