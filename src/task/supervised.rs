//! The process of a task supervisor.
//!
//! It never waits inside a handler: a task that is being ended is told, and its end comes as a
//! message. Elixir's is a `DynamicSupervisor`; this one knows tasks only.
//!
//! # Invariants
//! 1. `tasks` holds each process started here until its end is known, those that are being ended
//!    included; so `max_children` bounds what lives.
//! 2. A task is linked to its supervisor from before it runs.

use std::collections::{BTreeMap, HashMap};
use std::marker::PhantomData;

use super::TaskError;
use crate::error::SpawnError;
use crate::exit::{ExitReason, Quiet, catch, drop_quietly};
use crate::gen_server::{
    Context, Down, Exit, GenServer, HandleCall, HandleInfo, HandleRequest, InitStop, ReplyTo,
};
use crate::hooks::Event;
use crate::process::pid::Pid;
use crate::supervisor::ending::Ending;
use crate::supervisor::status::{self, MOST_CHILDREN, Shown, ShownChild};
use crate::supervisor::stopping::{Deadline, Stopping};
use crate::supervisor::{
    AutoShutdown, ChildCounts, ChildKind, ChildStatus, Fate, Restart, Restarts, Shutdown, Strategy,
    fate,
};
use crate::sync::Arc;

pub(super) type Cx = Context<TaskSupervisorProcess>;

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) max_children: usize,
    pub(crate) restarts: Restarts,
}

/// Starts a task again.
pub(super) type Again = Arc<dyn Fn(&Cx) -> Result<Pid, SpawnError> + Send + Sync>;

struct Child {
    restart: Restart,
    shutdown: Shutdown,
    /// What it captured is the user's.
    again: Quiet<Option<Again>>,
    /// Once it was told to end; who waits for that.
    ending: Option<(Stopping<Pid>, Vec<ReplyTo<bool>>)>,
    /// Start order.
    number: u64,
}

pub(crate) struct TaskSupervisorProcess {
    max_children: usize,
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
        let again = Quiet::new(again);
        // What it captured is the asker's; what panics in that must not end all tasks.
        if self.tasks.len() >= self.max_children {
            let _ = drop_quietly(start);
            return Err(TaskError::MaxChildren);
        }
        let (pid, started) = catch(start).map_err(|_| TaskError::Refused)??;
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
            Some((mut stopping, waiting)) => {
                let _it_is_the_only_one = stopping.gone(cx, pid);
                waiting.into_iter().for_each(|reply| reply.reply(true));
            }
            None => self.restart(cx, pid, child, reason),
        }
    }

    /// A child has ended by itself: starts it again, if that is its fate.
    fn restart(&mut self, cx: &Cx, pid: Pid, mut child: Child, reason: ExitReason) {
        let Some(again) = (*child.again).clone() else {
            return;
        };
        if fate(child.restart, &reason) != Fate::Restart {
            return;
        }
        if !self.restarts.record(cx.system().now()) {
            let event = Event::GaveUp {
                pid: cx.pid(),
                child: name(pid),
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
            max_children: settings.max_children,
            restarts: settings.restarts,
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

    fn format_status(&self) -> String {
        let mut first = BTreeMap::new();
        for (pid, child) in &self.tasks {
            first.insert(child.number, (*pid, child));
            if first.len() > MOST_CHILDREN {
                first.pop_last();
            }
        }
        let children = first.into_values().map(|(pid, child)| ShownChild {
            id: None,
            kind: ChildKind::Worker,
            pid: Some(pid),
            status: match &child.ending {
                Some((stopping, _)) if stopping.is_stuck() => ChildStatus::Stuck,
                Some(_) => ChildStatus::Stopping,
                None => ChildStatus::Running(pid),
            },
        });
        let ending = self.tasks.values().filter(|child| child.ending.is_some());
        let shown = Shown {
            kind: "TaskSupervisor",
            strategy: Strategy::OneForOne,
            restarts: &self.restarts,
            auto_shutdown: AutoShutdown::Never,
            backoff: None,
            max_children: self.max_children,
            counts: ChildCounts {
                specs: self.tasks.len(),
                active: self.tasks.len() - ending.count(),
                workers: self.tasks.len(),
                ..ChildCounts::default()
            },
            children: children.collect(),
            now: status::now(),
        };
        format!("{shown:?}")
    }

    /// Ends all tasks at once, each as it is to be ended, and waits until they are gone.
    async fn terminate(&mut self, _reason: ExitReason, cx: &mut Cx) {
        let mut end = Ending::default();
        // Who asked for the end of one hears of it when it is gone.
        let mut asked: HashMap<Pid, Vec<ReplyTo<bool>>> = HashMap::new();
        for pid in self.pids() {
            let Some(child) = self.tasks.get_mut(&pid) else {
                continue;
            };
            match child.ending.take() {
                None => end.tell(cx, pid, child.shutdown).await,
                Some((stopping, replies)) => {
                    end.told(cx, stopping);
                    end.watch(cx, pid);
                    asked.insert(pid, replies);
                }
            }
        }
        let gone = |pid| {
            for reply in asked.remove(&pid).into_iter().flatten() {
                reply.reply(true);
            }
        };
        end.wait(cx, name, gone).await;
    }
}

/// What a task is called in reports.
fn name(pid: Pid) -> Arc<str> {
    pid.to_string().into()
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
        match &mut child.ending {
            Some((_, waiting)) => waiting.push(reply),
            None => {
                let stopping = Stopping::begin(cx, pid, &[pid], child.shutdown);
                child.ending = Some((stopping, vec![reply]));
            }
        }
    }
}

impl HandleInfo<Deadline<Pid>> for TaskSupervisorProcess {
    async fn handle_info(&mut self, Deadline(pid): Deadline<Pid>, cx: &mut Cx) {
        let child = self.tasks.get_mut(&pid);
        if let Some((stopping, _)) = child.and_then(|child| child.ending.as_mut()) {
            stopping.late(cx, pid, || name(pid));
        }
    }
}
