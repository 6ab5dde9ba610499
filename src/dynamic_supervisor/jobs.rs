//! What a dynamic supervisor does that takes time: attempts to start a child, and stoppings. The
//! picture and the invariants are those of [`super::process`].

use std::task::{Poll, Waker};
use std::time::Duration;

use super::children::Phase;
use super::handle::DynamicChild;
use super::process::{Again, Cx, DynamicProcess};
use super::template::{Manner, Starting};
use crate::error::StartError;
use crate::exit::{ExitReason, catch, drop_quietly};
use crate::gen_server::ReplyTo;
use crate::hooks::Event;
use crate::process::pid::{MonitorRef, Pid};
use crate::sched::timers::TimerRef;
use crate::supervisor::process::{Deadline, Poke, tell};
use crate::supervisor::spec::{ChildKind, Restart, Shutdown};
use crate::supervisor::starter::{ChildPid, Started, Starter};
use crate::supervisor::strategy::{Fate, fate};
use crate::supervisor::{ChildCounts, ChildError, ChildStatus};
use crate::sync::Arc;

type Reply<R> = ReplyTo<Result<R, ChildError>>;

/// Something that takes time.
pub(super) struct Job<A, P> {
    pub(super) whose: Whose<A, P>,
    pub(super) stage: Stage<P>,
}

/// For which child.
pub(super) enum Whose<A, P> {
    /// One that is started for the first time.
    New {
        reply: Reply<Option<P>>,
        manner: Arc<Manner>,
        kept: Option<Box<A>>,
    },
    /// The child with this pid: it is being stopped, or was and is being restarted.
    Known(Pid),
}

pub(super) enum Stage<P> {
    Starting(Attempt<P>),
    Stopping(Stopping),
    /// The supervisor ends.
    Over,
}

/// An attempt to start a child, under way.
pub(super) struct Attempt<P> {
    future: Starting<P>,
    poke: Arc<Poke>,
    waker: Waker,
    started: Started,
    /// What it started and has ended already.
    ended: Vec<(Pid, ExitReason)>,
}

impl<P> Attempt<P> {
    /// Gives it up; what it started and is alive.
    pub(super) fn abandon<A, Q>(self, cx: &Cx<A, Q>) -> Vec<Pid>
    where
        A: Send + 'static,
        Q: ChildPid,
    {
        // A panic in there changes nothing.
        let _ = drop_quietly(self.future);
        let mut pids = self.started.pids();
        pids.retain(|pid| cx.system().is_alive(*pid));
        pids
    }
}

/// A child, or what is left of an attempt, being stopped.
pub(super) struct Stopping {
    pub(super) left: Vec<(Pid, MonitorRef)>,
    /// When it is killed.
    pub(super) deadline: Option<(Duration, TimerRef)>,
    after: After,
    /// Who asked for it, first come first: the others come too late.
    wanted: Vec<Reply<()>>,
}

/// What it means that nothing is left.
enum After {
    /// The child is gone.
    Stopped,
    /// The attempt to start it has failed.
    Failed(StartError),
}

impl<A: Send + 'static, P: ChildPid> DynamicProcess<A, P> {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Starts a child for whoever asked for it.
    pub(super) fn start_new(&mut self, cx: &Cx<A, P>, args: A, reply: Reply<Option<P>>) {
        let manner = self.source.manner(&args);
        let copy = self
            .source
            .copy
            .filter(|_| manner.restart != Restart::Temporary);
        let kept = match catch(|| copy.map(|copy| Box::new(copy(&args)))) {
            Ok(kept) => kept,
            Err(reason) => {
                let _ = drop_quietly(args);
                return reply.reply(Err(StartError::Init(reason).into()));
            }
        };
        self.new += 1;
        let whose = Whose::New {
            reply,
            manner,
            kept,
        };
        self.attempt(cx, whose, args);
    }

    /// Makes an attempt to start a child.
    fn attempt(&mut self, cx: &Cx<A, P>, whose: Whose<A, P>, args: A) {
        let number = self.number();
        if let Whose::Known(pid) = &whose {
            self.by_pid.insert(*pid, number);
            self.children.set_phase(*pid, Phase::Starting);
        }
        let started = Started::default();
        let starter = Starter::new(cx, self.source.options(&args), &started);
        let start = &self.source.start;
        // OTP: a start function that crashes has returned `{error, {'EXIT', Reason}}`.
        let future = catch(|| start(starter, args))
            .unwrap_or_else(|reason| Box::pin(std::future::ready(Err(StartError::Init(reason)))));
        let poke = Poke::new(cx.this().recipient(), number);
        let attempt = Attempt {
            future,
            waker: Waker::from(poke.clone()),
            poke,
            started,
            ended: Vec::new(),
        };
        self.poll(cx, number, whose, attempt);
    }

    /// An attempt can go on, unless it is over.
    pub(super) fn polled(&mut self, cx: &Cx<A, P>, number: u64) {
        match self.jobs.remove(&number) {
            Some(Job {
                whose,
                stage: Stage::Starting(attempt),
            }) => self.poll(cx, number, whose, attempt),
            Some(job) => {
                self.jobs.insert(number, job);
            }
            None => {}
        }
    }

    fn poll(&mut self, cx: &Cx<A, P>, number: u64, whose: Whose<A, P>, mut attempt: Attempt<P>) {
        // Before the poll, so that a wake-up during it is not lost.
        attempt.poke.heard();
        let mut context = std::task::Context::from_waker(&attempt.waker);
        let polled = catch(|| attempt.future.as_mut().poll(&mut context));
        let result = match polled {
            Ok(Poll::Pending) => {
                let by_pid = &mut self.by_pid;
                attempt.started.each(|pid| {
                    by_pid.insert(pid, number);
                });
                let stage = Stage::Starting(attempt);
                self.jobs.insert(number, Job { whose, stage });
                return;
            }
            Ok(Poll::Ready(result)) => result,
            Err(reason) => Err(StartError::Init(reason)),
        };
        // A panic in there changes nothing.
        let _ = drop_quietly(attempt.future);
        let by_pid = &mut self.by_pid;
        attempt.started.each(|pid| {
            by_pid.remove(&pid);
        });
        match result {
            Ok((pid, child)) => self.started(cx, whose, pid, child, attempt.ended),
            Err(StartError::Ignore) => self.ignored(whose),
            Err(error) => {
                let system = cx.system();
                let mut left = attempt.started.pids();
                left.retain(|pid| system.is_alive(*pid));
                if left.is_empty() {
                    return self.failed(cx, whose, error);
                }
                // Not over before they are gone, and their names free.
                let (how, after) = (Shutdown::BrutalKill, After::Failed(error));
                self.stop(cx, number, whose, left, how, after, Vec::new());
            }
        }
    }

    fn started(
        &mut self,
        cx: &Cx<A, P>,
        whose: Whose<A, P>,
        pid: Pid,
        child: P,
        ended: Vec<(Pid, ExitReason)>,
    ) {
        match whose {
            Whose::New {
                reply,
                manner,
                kept,
            } => {
                self.new -= 1;
                let replaced = self.children.add(pid, manner, kept);
                let _ = drop_quietly(replaced);
                reply.reply(Ok(Some(child)));
            }
            Whose::Known(old) => {
                let _ = drop_quietly(child);
                self.by_pid.remove(&old);
                if let Some(known) = self.children.remove(old) {
                    let replaced = self.children.add(pid, known.manner, known.kept);
                    let _ = drop_quietly(replaced);
                }
            }
        }
        match ended.into_iter().find(|(ended, _)| *ended == pid) {
            Some((_, reason)) => self.ended(cx, pid, reason),
            // Whatever the function did: a child is linked.
            None => cx.link(pid),
        }
    }

    /// Nothing is kept of such a child.
    fn ignored(&mut self, whose: Whose<A, P>) {
        match whose {
            Whose::New { reply, kept, .. } => {
                self.new -= 1;
                let _ = drop_quietly(kept);
                reply.reply(Ok(None));
            }
            Whose::Known(pid) => self.forget(pid),
        }
    }

    fn failed(&mut self, cx: &Cx<A, P>, whose: Whose<A, P>, error: StartError) {
        match whose {
            Whose::New { reply, kept, .. } => {
                self.new -= 1;
                let _ = drop_quietly(kept);
                reply.reply(Err(error.into()));
            }
            Whose::Known(pid) => {
                self.by_pid.remove(&pid);
                self.children.set_phase(pid, Phase::Waiting);
                // By way of the mailbox, so that others have their turn between two attempts.
                // Unbounded, so never refused.
                let _ = cx.this().send(Again(pid, error.into_reason()));
            }
        }
    }

    fn forget(&mut self, pid: Pid) {
        self.by_pid.remove(&pid);
        let child = self.children.remove(pid);
        // A panic in the drop of arguments changes nothing.
        let _ = drop_quietly(child);
    }

    /// A process has ended, if a child, one that is being started, or one that is being stopped.
    pub(super) fn process_ended(&mut self, cx: &Cx<A, P>, pid: Pid, reason: ExitReason) {
        if let Some(number) = self.by_pid.get(&pid).copied() {
            match self.jobs.get_mut(&number).map(|job| &mut job.stage) {
                Some(Stage::Starting(attempt)) => attempt.ended.push((pid, reason)),
                Some(Stage::Stopping(_)) => self.gone(cx, number, pid),
                Some(Stage::Over) | None => {}
            }
        } else if self.children.phase(pid) == Some(Phase::Running) {
            self.ended(cx, pid, reason);
        }
    }

    /// A child that ran has ended by itself.
    fn ended(&mut self, cx: &Cx<A, P>, pid: Pid, reason: ExitReason) {
        let Some(child) = self.children.get(pid) else {
            return;
        };
        match fate(child.manner.restart, &reason) {
            Fate::Restart => self.restart(cx, pid, reason),
            Fate::Keep | Fate::Forget => self.forget(pid),
        }
    }

    /// The child whose restart failed is to be restarted, unless it was terminated meanwhile.
    pub(super) fn again(&mut self, cx: &Cx<A, P>, pid: Pid, reason: ExitReason) {
        if self.children.phase(pid) == Some(Phase::Waiting) {
            self.restart(cx, pid, reason);
        }
    }

    /// Restarts a child that ended, or failed to start, with `reason`.
    fn restart(&mut self, cx: &Cx<A, P>, pid: Pid, reason: ExitReason) {
        let kept = self
            .children
            .get(pid)
            .and_then(|child| child.kept.as_deref());
        if !self.restarts.record(cx.system().now()) {
            cx.core().hooks.event(&Event::GaveUp {
                pid: cx.pid(),
                child: self.source.what(kept),
                reason,
            });
            self.forget(pid);
            return cx.stop(ExitReason::Shutdown(None));
        }
        let Some((kept, copy)) = kept.zip(self.source.copy) else {
            // Kept of all that may be restarted.
            return self.forget(pid);
        };
        match catch(|| copy(kept)) {
            Ok(args) => self.attempt(cx, Whose::Known(pid), args),
            Err(reason) => self.failed(cx, Whose::Known(pid), StartError::Init(reason)),
        }
    }

    pub(super) fn terminate_child(&mut self, cx: &Cx<A, P>, pid: Pid, reply: Reply<()>) {
        let Some(number) = self.by_pid.get(&pid).copied() else {
            return match self.children.phase(pid) {
                Some(Phase::Running) => {
                    let number = self.number();
                    let whose = Whose::Known(pid);
                    let how = self.manner_of(&whose).shutdown;
                    self.children.set_phase(pid, Phase::Stopping);
                    self.stop(
                        cx,
                        number,
                        whose,
                        vec![pid],
                        how,
                        After::Stopped,
                        vec![reply],
                    );
                }
                Some(Phase::Waiting) => {
                    self.forget(pid);
                    reply.reply(Ok(()));
                }
                Some(Phase::Starting | Phase::Stopping) | None => {
                    reply.reply(Err(ChildError::NotFound));
                }
            };
        };
        let Some(Job { whose, stage }) = self.jobs.remove(&number) else {
            return reply.reply(Err(ChildError::NotFound));
        };
        match stage {
            Stage::Over => {}
            Stage::Starting(attempt) => {
                let by_pid = &mut self.by_pid;
                attempt.started.each(|pid| {
                    by_pid.remove(&pid);
                });
                let how = self.manner_of(&whose).shutdown;
                let left = attempt.abandon(cx);
                if let Whose::Known(pid) = whose {
                    self.children.set_phase(pid, Phase::Stopping);
                }
                if left.is_empty() {
                    self.stopped(whose, vec![reply]);
                } else {
                    self.stop(cx, number, whose, left, how, After::Stopped, vec![reply]);
                }
            }
            Stage::Stopping(mut stopping) => {
                match (&stopping.after, &whose) {
                    // It never was a child.
                    (After::Failed(_), Whose::New { .. }) => {
                        reply.reply(Err(ChildError::NotFound));
                    }
                    (After::Failed(_), Whose::Known(known)) => {
                        self.children.set_phase(*known, Phase::Stopping);
                        stopping.after = After::Stopped;
                        stopping.wanted.push(reply);
                    }
                    (After::Stopped, _) => stopping.wanted.push(reply),
                }
                let stage = Stage::Stopping(stopping);
                self.jobs.insert(number, Job { whose, stage });
            }
        }
    }

    /// Tells processes to stop, and sees to it that they do. There is at least one.
    #[allow(clippy::too_many_arguments)] // all that makes a job
    fn stop(
        &mut self,
        cx: &Cx<A, P>,
        number: u64,
        whose: Whose<A, P>,
        pids: Vec<Pid>,
        how: Shutdown,
        after: After,
        wanted: Vec<Reply<()>>,
    ) {
        let deadline = tell(cx, &pids, how).1.map(|time| {
            let timer = cx.send_after(time, &cx.this(), Deadline { key: 0, number });
            (cx.system().now().saturating_add(time), timer)
        });
        self.by_pid.extend(pids.iter().map(|pid| (*pid, number)));
        // Monitored as well, in case one has unlinked itself. OTP: `monitor_child/1`.
        let left = pids.into_iter().map(|pid| (pid, cx.monitor(pid))).collect();
        let stage = Stage::Stopping(Stopping {
            left,
            deadline,
            after,
            wanted,
        });
        self.jobs.insert(number, Job { whose, stage });
    }

    /// A process that was told to stop is gone.
    fn gone(&mut self, cx: &Cx<A, P>, number: u64, pid: Pid) {
        let Some(Stage::Stopping(stopping)) = self.jobs.get_mut(&number).map(|job| &mut job.stage)
        else {
            return;
        };
        let Some(place) = stopping.left.iter().position(|(left, _)| *left == pid) else {
            return;
        };
        let (_, monitor) = stopping.left.swap_remove(place);
        cx.demonitor(monitor);
        self.by_pid.remove(&pid);
        if !stopping.left.is_empty() {
            return;
        }
        if let Some((_, timer)) = stopping.deadline.take() {
            cx.cancel_timer(timer);
        }
        if let Some(Job {
            whose,
            stage: Stage::Stopping(stopping),
        }) = self.jobs.remove(&number)
        {
            match stopping.after {
                After::Stopped => self.stopped(whose, stopping.wanted),
                After::Failed(error) => self.failed(cx, whose, error),
            }
        }
    }

    /// A child is gone because it was terminated.
    fn stopped(&mut self, whose: Whose<A, P>, wanted: Vec<Reply<()>>) {
        match whose {
            Whose::Known(pid) => self.forget(pid),
            Whose::New { reply, kept, .. } => {
                self.new -= 1;
                let _ = drop_quietly(kept);
                reply.reply(Err(StartError::Init(ExitReason::Shutdown(None)).into()));
            }
        }
        let mut answer = Ok(());
        for reply in wanted {
            reply.reply(answer);
            answer = Err(ChildError::NotFound);
        }
    }

    /// The time of what is being stopped is up.
    pub(super) fn deadline(&mut self, cx: &Cx<A, P>, number: u64) {
        if let Some(Stage::Stopping(stopping)) =
            self.jobs.get_mut(&number).map(|job| &mut job.stage)
        {
            stopping.deadline = None;
            for (pid, _) in &stopping.left {
                cx.exit(*pid, ExitReason::Kill);
            }
        }
    }

    /// How the child of a job is treated.
    pub(super) fn manner_of(&self, whose: &Whose<A, P>) -> Manner {
        let known = match whose {
            Whose::New { manner, .. } => Some(manner),
            Whose::Known(pid) => self.children.get(*pid).map(|child| &child.manner),
        };
        // Known of all that have a job.
        known.map_or(Manner::DEFAULT, |manner| **manner)
    }

    /// All children, those first that have been started.
    pub(super) fn list(&self) -> Vec<DynamicChild> {
        let new = self.jobs.values().filter_map(|job| match &job.whose {
            Whose::New { manner, .. } => {
                let (pid, status) = match &job.stage {
                    Stage::Starting(attempt) => (
                        attempt.started.pids().first().copied(),
                        ChildStatus::Starting,
                    ),
                    Stage::Stopping(stopping) => {
                        let left = stopping.left.first().map(|(pid, _)| *pid);
                        (left, ChildStatus::Stopping)
                    }
                    Stage::Over => return None,
                };
                Some(DynamicChild {
                    pid,
                    kind: manner.kind,
                    status,
                })
            }
            Whose::Known(_) => None,
        });
        self.children.list().chain(new).collect()
    }

    pub(super) fn count(&self) -> ChildCounts {
        let mut counts = self.children.count();
        for job in self.jobs.values() {
            if let Whose::New { manner, .. } = &job.whose {
                counts.specs += 1;
                match manner.kind {
                    ChildKind::Worker => counts.workers += 1,
                    ChildKind::Supervisor => counts.supervisors += 1,
                }
            }
        }
        counts
    }
}
