//! What a dynamic supervisor does that takes time: attempts to start a child here, stoppings in
//! [`super::stops`]. The picture and the invariants are those of [`super::process`].

use std::mem::take;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::children::{Child, History, Kept, Phase};
use super::handle::DynamicChild;
use super::process::{Again, Cx, DynamicProcess, Resume};
use super::stops::{Stop, Then};
use super::template::{Manner, Starting};
use crate::error::StartError;
use crate::exit::{ExitReason, Quiet, catch, drop_quietly};
use crate::gen_server::ReplyTo;
use crate::hooks::Event;
use crate::process::pid::Pid;
use crate::supervisor::inheritance::{Inheritance, MailboxFate, begin};
use crate::supervisor::process::Poke;
use crate::supervisor::spec::{ChildKind, Restart, Shutdown};
use crate::supervisor::starter::{ChildPid, Started, Starter};
use crate::supervisor::strategy::{Fate, fate};
use crate::supervisor::{ChildCounts, ChildError, ChildStatus};
use crate::sync::Arc;

pub(super) type Reply<R> = ReplyTo<Result<R, ChildError>>;

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
        kept: Quiet<Option<Box<Kept<A>>>>,
    },
    /// The child with this pid: it is being stopped, or was and is being restarted.
    Known(Pid),
}

pub(super) enum Stage<P> {
    Starting(Attempt<P>),
    Stopping(Stop),
    /// The supervisor ends; who waits for the job hears of that.
    Over(#[allow(dead_code)] Option<Then>),
}

/// An attempt to start a child, under way.
pub(super) struct Attempt<P> {
    future: Quiet<Starting<P>>,
    poke: Arc<Poke>,
    waker: Waker,
    pub(super) started: Started,
    /// `None`: no process of the child leaves anything.
    inheritance: Option<Inheritance>,
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
        drop(self.future);
        if let Some(inheritance) = self.inheritance {
            inheritance.renounce();
        }
        let mut pids = self.started.pids();
        pids.retain(|pid| cx.system().is_alive(*pid));
        pids
    }
}

impl<A: Send + 'static, P: ChildPid> DynamicProcess<A, P> {
    pub(super) fn number(&mut self) -> u64 {
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
        let has_history = self.has_history(&manner);
        let keep = |copy: fn(&A) -> A| {
            let args = copy(&args);
            let history = has_history.then(Box::default);
            Box::new(Kept { args, history })
        };
        let kept = match catch(|| copy.map(keep)) {
            Ok(kept) => kept.into(),
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

    /// Whether the restart of such a child depends on what was before.
    fn has_history(&self, manner: &Manner) -> bool {
        let waits = manner.backoff.or(self.backoff).is_some();
        waits || !matches!(*manner.mailbox_fate, MailboxFate::Drop)
    }

    /// The earlier life of the child of a job, if that matters.
    fn history<'a>(&'a mut self, whose: &'a mut Whose<A, P>) -> Option<&'a mut History> {
        match whose {
            Whose::New { kept, .. } => kept.as_mut()?.history.as_deref_mut(),
            Whose::Known(pid) => self.children.get_mut(*pid)?.history(),
        }
    }

    /// Makes an attempt to start a child.
    fn attempt(&mut self, cx: &Cx<A, P>, mut whose: Whose<A, P>, args: A) {
        let number = self.number();
        if let Whose::Known(pid) = &whose {
            self.by_pid.insert(*pid, number);
            self.children.set_phase(*pid, Phase::Starting);
        }
        let heirs = self.history(&mut whose).map(|life| take(&mut life.heirs));
        let fate = match self.manner_of(&whose).filter(|_| heirs.is_some()) {
            Some(manner) => manner.mailbox_fate.clone(),
            // It leaves nothing: it will not be restarted.
            None => MailboxFate::Drop.into(),
        };
        let started = Started::default();
        let starter = Starter::new(cx, self.source.options(&args), &started);
        let start = self.source.start.clone();
        let start = move |starter| start(starter, args);
        let heirs = heirs.unwrap_or_default();
        let (future, inheritance) = begin(cx.core(), &fate, heirs, starter, start);
        let poke = Poke::new(cx.this().recipient(), number);
        let attempt = Attempt {
            future,
            waker: Waker::from(poke.clone()),
            poke,
            started,
            inheritance,
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

    fn poll(
        &mut self,
        cx: &Cx<A, P>,
        number: u64,
        mut whose: Whose<A, P>,
        mut attempt: Attempt<P>,
    ) {
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
        drop(attempt.future);
        let by_pid = &mut self.by_pid;
        attempt.started.each(|pid| {
            by_pid.remove(&pid);
        });
        let mail = attempt.inheritance;
        match result {
            Ok((pid, child)) => {
                if let Some(life) = self.history(&mut whose) {
                    life.since = cx.system().now();
                    life.heirs = mail.map(|mail| mail.of(pid)).unwrap_or_default();
                }
                self.started(cx, whose, pid, child, attempt.ended);
            }
            Err(StartError::Ignore) => {
                if let Some(mail) = mail {
                    mail.renounce();
                }
                self.ignored(whose);
            }
            Err(error) => {
                if let Some(life) = self.history(&mut whose) {
                    life.heirs = mail.map(|mail| mail.all()).unwrap_or_default();
                }
                let system = cx.system();
                let mut left = attempt.started.pids();
                left.retain(|pid| system.is_alive(*pid));
                if left.is_empty() {
                    return self.failed(cx, whose, error);
                }
                // Not over before they are gone, and their names free.
                let (how, then) = (Shutdown::BrutalKill, Then::fail(error));
                self.stop(cx, number, whose, &left, how, then);
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
                self.children.add(pid, manner, kept);
                // With nobody there any more the reference is dropped, and it may be anybody's.
                let _ = catch(|| reply.reply(Ok(Some(child))));
            }
            Whose::Known(old) => {
                let _ = drop_quietly(child);
                self.by_pid.remove(&old);
                if let Some(known) = self.children.remove(old) {
                    self.children.add(pid, known.manner, known.kept);
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
            Whose::New { reply, .. } => {
                self.new -= 1;
                reply.reply(Ok(None));
            }
            Whose::Known(pid) => self.forget(pid),
        }
    }

    pub(super) fn failed(&mut self, cx: &Cx<A, P>, whose: Whose<A, P>, error: StartError) {
        match whose {
            Whose::New { reply, .. } => {
                self.new -= 1;
                reply.reply(Err(error.into()));
            }
            Whose::Known(pid) => {
                self.by_pid.remove(&pid);
                self.children.set_phase(pid, Phase::Restarting);
                // By way of the mailbox, so that others have their turn between two attempts.
                // Unbounded, so never refused.
                let _ = cx.this().send(Again(pid, error.into_reason()));
            }
        }
    }

    pub(super) fn forget(&mut self, pid: Pid) {
        self.by_pid.remove(&pid);
        self.children.remove(pid);
    }

    /// A process has ended, if a child, one that is being started, or one that is being stopped.
    pub(super) fn process_ended(&mut self, cx: &Cx<A, P>, pid: Pid, reason: ExitReason) {
        if let Some(number) = self.by_pid.get(&pid).copied() {
            match self.jobs.get_mut(&number).map(|job| &mut job.stage) {
                Some(Stage::Starting(attempt)) => attempt.ended.push((pid, reason)),
                Some(Stage::Stopping(_)) => self.gone(cx, number, pid),
                Some(Stage::Over(_)) | None => {}
            }
        } else if self.children.phase(pid) == Some(Phase::Running) {
            self.ended(cx, pid, reason);
        }
    }

    /// A child that ran has ended by itself.
    fn ended(&mut self, cx: &Cx<A, P>, pid: Pid, reason: ExitReason) {
        let Some(child) = self.children.get_mut(pid) else {
            return;
        };
        if let Some(life) = child.history() {
            life.ran = Some(cx.system().now().saturating_sub(life.since));
        }
        match fate(child.manner.restart, &reason) {
            Fate::Restart => self.restart(cx, pid, reason),
            Fate::Keep | Fate::Forget => self.forget(pid),
        }
    }

    /// The child whose restart failed is to be restarted, unless it was terminated meanwhile.
    pub(super) fn again(&mut self, cx: &Cx<A, P>, pid: Pid, reason: ExitReason) {
        if self.children.phase(pid) == Some(Phase::Restarting) {
            self.restart(cx, pid, reason);
        }
    }

    /// Restarts a child that ended, or failed to start, with `reason`: now, or when its backoff is over.
    fn restart(&mut self, cx: &Cx<A, P>, pid: Pid, reason: ExitReason) {
        let now = cx.system().now();
        if !self.restarts.record(now) {
            cx.core().hooks.event(&Event::GaveUp {
                pid: cx.pid(),
                child: self.name(pid),
                reason,
            });
            self.forget(pid);
            return cx.stop(ExitReason::Shutdown(None));
        }
        if let Some(child) = self.children.get_mut(pid) {
            let backoff = child.manner.backoff.or(self.backoff);
            if let Some((backoff, life)) = backoff.zip(child.history()) {
                life.failures = backoff.number(life.failures, life.ran.take());
                let delay = backoff.delay(life.failures, &mut self.rng);
                if !delay.is_zero() {
                    let timer = cx.send_after(delay, &cx.this(), Resume(pid));
                    life.wait = Some((now.saturating_add(delay), timer));
                    return self.children.set_phase(pid, Phase::Waiting);
                }
            }
        }
        self.attempt_again(cx, pid);
    }

    /// The wait of a child is over, unless it was terminated meanwhile.
    pub(super) fn resume(&mut self, cx: &Cx<A, P>, pid: Pid) {
        if self.children.phase(pid) == Some(Phase::Waiting) {
            if let Some(life) = self.children.get_mut(pid).and_then(Child::history) {
                life.wait = None;
            }
            self.attempt_again(cx, pid);
        }
    }

    fn attempt_again(&mut self, cx: &Cx<A, P>, pid: Pid) {
        let child = self.children.get(pid);
        let kept = child.and_then(|child| child.kept.as_deref());
        let Some((kept, copy)) = kept.zip(self.source.copy) else {
            // Kept of all that may be restarted.
            return self.forget(pid);
        };
        match catch(|| copy(&kept.args)) {
            Ok(args) => self.attempt(cx, Whose::Known(pid), args),
            Err(reason) => self.failed(cx, Whose::Known(pid), StartError::Init(reason)),
        }
    }

    /// How the child of a job is treated.
    pub(super) fn manner_of<'a>(&'a self, whose: &'a Whose<A, P>) -> Option<&'a Manner> {
        match whose {
            Whose::New { manner, .. } => Some(manner),
            Whose::Known(pid) => self.children.get(*pid).map(|child| &*child.manner),
        }
    }

    /// What a process of a child is called in a report.
    pub(super) fn name(&self, pid: Pid) -> Arc<str> {
        let number = self.by_pid.get(&pid);
        let known = |pid| Some(&self.children.get(pid)?.kept);
        let kept = match number.and_then(|number| self.jobs.get(number)) {
            Some(job) => match &job.whose {
                Whose::New { kept, .. } => Some(kept),
                Whose::Known(pid) => known(*pid),
            },
            None => known(pid),
        };
        let kept = kept.and_then(|kept| kept.as_deref());
        self.source.what(pid, kept.map(|kept| &kept.args))
    }

    /// All children, those first that have been started.
    pub(super) fn list(&self, now: Duration) -> impl Iterator<Item = DynamicChild> + '_ {
        let is_stuck = |pid: &Pid| {
            let job = self
                .by_pid
                .get(pid)
                .and_then(|number| self.jobs.get(number));
            matches!(job.map(|job| &job.stage), Some(Stage::Stopping(stop)) if stop.processes.is_stuck())
        };
        let known = self.children.list(now).map(move |mut child| {
            if child.pid.as_ref().is_some_and(is_stuck) {
                child.status = ChildStatus::Stuck;
            }
            child
        });
        let new = self.jobs.values().filter_map(|job| match &job.whose {
            Whose::New { manner, .. } => {
                let (pid, status) = match &job.stage {
                    Stage::Starting(attempt) => (
                        attempt.started.pids().first().copied(),
                        ChildStatus::Starting,
                    ),
                    Stage::Stopping(stop) => (
                        stop.processes.pid(),
                        match stop.processes.is_stuck() {
                            true => ChildStatus::Stuck,
                            false => ChildStatus::Stopping,
                        },
                    ),
                    Stage::Over(_) => return None,
                };
                Some(DynamicChild {
                    pid,
                    kind: manner.kind,
                    status,
                })
            }
            Whose::Known(_) => None,
        });
        known.chain(new)
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
