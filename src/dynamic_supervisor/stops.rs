//! How a dynamic supervisor stops children, and what is left of an attempt to start one, while it goes
//! on with its work. The picture and the invariants are those of [`super::process`].

use super::children::{Child, Phase};
use super::jobs::{Job, Reply, Stage, Whose};
use super::process::{Cx, DynamicProcess};
use crate::error::StartError;
use crate::exit::ExitReason;
use crate::process::pid::Pid;
use crate::supervisor::ChildError;
use crate::supervisor::spec::Shutdown;
use crate::supervisor::starter::ChildPid;
use crate::supervisor::stopping::Stopping;

/// A child, or what is left of an attempt, being stopped.
pub(super) struct Stop {
    pub(super) processes: Stopping<u64>,
    pub(super) then: Then,
}

/// What it means that nothing is left, and to whom.
pub(super) struct Then {
    after: After,
    /// Who asked for it, first come first: the others come too late.
    wanted: Vec<Reply<()>>,
}

/// What it means that nothing is left.
pub(super) enum After {
    /// The child is gone.
    Stopped,
    /// The attempt to start it has failed.
    Failed(StartError),
}

impl Then {
    pub(super) fn fail(error: StartError) -> Self {
        Then {
            after: After::Failed(error),
            wanted: Vec::new(),
        }
    }

    fn answer(reply: Reply<()>) -> Self {
        Then {
            after: After::Stopped,
            wanted: vec![reply],
        }
    }
}

impl<A: Send + 'static, P: ChildPid> DynamicProcess<A, P> {
    pub(super) fn terminate_child(&mut self, cx: &Cx<A, P>, pid: Pid, reply: Reply<()>) {
        let Some(number) = self.by_pid.get(&pid).copied() else {
            return match self.children.phase(pid) {
                Some(Phase::Running) => {
                    let number = self.number();
                    let whose = Whose::Known(pid);
                    let how = self.shutdown_of(&whose);
                    self.children.set_phase(pid, Phase::Stopping);
                    self.stop(cx, number, whose, &[pid], how, Then::answer(reply));
                }
                Some(Phase::Restarting | Phase::Waiting) => {
                    let life = self.children.get_mut(pid).and_then(Child::history);
                    if let Some((_, timer)) = life.and_then(|life| life.wait.take()) {
                        cx.cancel_timer(timer);
                    }
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
            Stage::Over(_) => {}
            Stage::Starting(attempt) => {
                let by_pid = &mut self.by_pid;
                attempt.started.each(|pid| {
                    by_pid.remove(&pid);
                });
                let how = self.shutdown_of(&whose);
                let left = attempt.abandon(cx);
                if let Whose::Known(pid) = whose {
                    self.children.set_phase(pid, Phase::Stopping);
                }
                if left.is_empty() {
                    self.stopped(whose, vec![reply]);
                } else {
                    self.stop(cx, number, whose, &left, how, Then::answer(reply));
                }
            }
            Stage::Stopping(mut stop) => {
                match (&stop.then.after, &whose) {
                    // It never was a child.
                    (After::Failed(_), Whose::New { .. }) => {
                        reply.reply(Err(ChildError::NotFound));
                    }
                    (After::Failed(_), Whose::Known(known)) => {
                        self.children.set_phase(*known, Phase::Stopping);
                        stop.then = Then::answer(reply);
                    }
                    (After::Stopped, _) => stop.then.wanted.push(reply),
                }
                let stage = Stage::Stopping(stop);
                self.jobs.insert(number, Job { whose, stage });
            }
        }
    }

    /// Tells processes to stop, and sees to it that they do. There is at least one.
    pub(super) fn stop(
        &mut self,
        cx: &Cx<A, P>,
        number: u64,
        whose: Whose<A, P>,
        pids: &[Pid],
        how: Shutdown,
        then: Then,
    ) {
        self.by_pid.extend(pids.iter().map(|pid| (*pid, number)));
        let processes = Stopping::begin(cx, number, pids, how);
        let stage = Stage::Stopping(Stop { processes, then });
        self.jobs.insert(number, Job { whose, stage });
    }

    /// A process that was told to stop is gone.
    pub(super) fn gone(&mut self, cx: &Cx<A, P>, number: u64, pid: Pid) {
        let Some(Stage::Stopping(stop)) = self.jobs.get_mut(&number).map(|job| &mut job.stage)
        else {
            return;
        };
        if !stop.processes.holds(pid) {
            return;
        }
        self.by_pid.remove(&pid);
        if !stop.processes.gone(cx, pid) {
            return;
        }
        if let Some(Job {
            whose,
            stage: Stage::Stopping(stop),
        }) = self.jobs.remove(&number)
        {
            match stop.then.after {
                After::Stopped => self.stopped(whose, stop.then.wanted),
                After::Failed(error) => self.failed(cx, whose, error),
            }
        }
    }

    /// A child is gone because it was terminated.
    fn stopped(&mut self, whose: Whose<A, P>, wanted: Vec<Reply<()>>) {
        match whose {
            Whose::Known(pid) => self.forget(pid),
            Whose::New { reply, .. } => {
                self.new -= 1;
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
        // Before: a look at a job by its number is not to be had while it is changed.
        let pid = match self.jobs.get(&number).map(|job| &job.stage) {
            Some(Stage::Stopping(stop)) => stop.processes.pid(),
            _ => None,
        };
        let Some(name) = pid.map(|pid| self.name(pid)) else {
            return;
        };
        if let Some(Stage::Stopping(stop)) = self.jobs.get_mut(&number).map(|job| &mut job.stage) {
            stop.processes.late(cx, number, || name);
        }
    }

    pub(super) fn shutdown_of(&self, whose: &Whose<A, P>) -> Shutdown {
        match self.manner_of(whose) {
            Some(manner) => manner.shutdown,
            // Known of all that have a job.
            None => Shutdown::BrutalKill,
        }
    }
}
