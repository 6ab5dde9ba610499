//! How a supervisor that ends waits for processes: any number of them, at once.

use std::collections::BTreeMap;
use std::mem::take;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use super::spec::Shutdown;
use super::stopping::{Force, Stopping, insist, tell};
use crate::process::context::{Monitor, ProcessContext};
use crate::process::pid::Pid;
use crate::sync::Arc;

/// The end of processes that are all told at once, each with a time of its own.
#[derive(Default)]
pub(crate) struct Ending {
    /// In the order of telling.
    told: Vec<Pid>,
    /// With whom more is done how long after all have been told.
    times: BTreeMap<Duration, Vec<(Pid, Force)>>,
    /// With whom more is done when, on the system's clock.
    deadlines: BTreeMap<Duration, Vec<(Pid, Force)>>,
    /// Whose end is to be known at once.
    watched: Vec<(Pid, Monitor)>,
    worked: u32,
}

impl Ending {
    /// Tells a process to stop; its time begins when all have been told.
    pub(crate) async fn tell(&mut self, cx: &ProcessContext, pid: Pid, how: Shutdown) {
        if let (force, Some(time)) = tell(cx, pid, how) {
            self.times.entry(time).or_default().push((pid, force));
        }
        self.told.push(pid);
        self.breathe(cx).await;
    }

    /// Takes over processes that were told already; what they have had of their time counts.
    pub(crate) fn told<W>(&mut self, cx: &ProcessContext, stopping: Stopping<W>) {
        let at = stopping.deadline.map(|(at, timer)| {
            cx.cancel_timer(timer);
            at
        });
        for (pid, monitor) in stopping.left {
            cx.demonitor(monitor);
            self.told.push(pid);
            if let Some(at) = at {
                let late = self.deadlines.entry(at).or_default();
                late.push((pid, stopping.force));
            }
        }
    }

    /// [`wait`](Self::wait) says when that process is gone, though others are not.
    pub(crate) fn watch(&mut self, cx: &ProcessContext, pid: Pid) {
        self.watched.push((pid, cx.system().monitor(pid)));
    }

    /// Lets others run now and then: a million processes are a lot of work.
    async fn breathe(&mut self, cx: &ProcessContext) {
        const TURN: u32 = 128;
        self.worked += 1;
        if self.worked % TURN == 0 {
            cx.yield_now().await;
        }
    }

    /// Waits until all are gone. `child`: what a process is called in a report; `gone`: is told of
    /// those that are watched.
    ///
    /// It waits for one after the other: as all were told, that takes as long as the slowest.
    pub(crate) async fn wait(
        mut self,
        cx: &ProcessContext,
        mut child: impl FnMut(Pid) -> Arc<str>,
        mut gone: impl FnMut(Pid),
    ) {
        let system = cx.system();
        let now = system.now();
        for (time, mut all) in take(&mut self.times) {
            let at = now.saturating_add(time);
            self.deadlines.entry(at).or_default().append(&mut all);
        }
        // The last told first: most of the others have ended by then.
        while let Some(pid) = self.told.pop() {
            self.breathe(cx).await;
            if !system.is_alive(pid) {
                continue;
            }
            let mut end = system.monitor(pid);
            loop {
                let first = self.deadlines.first_key_value().map(|(at, _)| *at);
                let mut sleep = first.map(|at| cx.sleep(at.saturating_sub(system.now())));
                let is_late = std::future::poll_fn(|task| {
                    see(&mut self.watched, task, &mut gone);
                    if Pin::new(&mut end).poll(task).is_ready() {
                        return Poll::Ready(false);
                    }
                    match &mut sleep {
                        Some(sleep) => Pin::new(sleep).poll(task).map(|()| true),
                        None => Poll::Pending,
                    }
                });
                if !is_late.await {
                    break;
                }
                let late = self.deadlines.pop_first();
                for (pid, force) in late.map_or(Vec::new(), |(_, late)| late) {
                    if system.is_alive(pid) {
                        let (force, time) = insist(cx, || child(pid), pid, force);
                        if let Some(time) = time {
                            let at = system.now().saturating_add(time);
                            self.deadlines.entry(at).or_default().push((pid, force));
                        }
                    }
                    self.breathe(cx).await;
                }
            }
        }
        std::future::poll_fn(|task| {
            see(&mut self.watched, task, &mut gone);
            match self.watched.is_empty() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }
}

/// Tells of those that are gone.
fn see(
    watched: &mut Vec<(Pid, Monitor)>,
    task: &mut std::task::Context<'_>,
    gone: &mut impl FnMut(Pid),
) {
    watched.retain_mut(|(pid, monitor)| {
        let is_there = Pin::new(monitor).poll(task).is_pending();
        if !is_there {
            gone(*pid);
        }
        is_there
    });
}
