//! The dynamic supervisor's process: a server that never waits inside a handler, except to end.
//!
//! ```text
//!  start_child ──▶ attempt ──▶ Polled ─▶ ... ─▶ child runs ──▶ Exit ─┬─▶ forgotten
//!                     ▲                                               │
//!                     │  counted against the intensity                │ to be restarted
//!                     ├──────────────── Again ◀── failed ── attempt ◀─┤  (counted, too)
//!                     └──────────────── Resume ◀── wait: backoff ◀────┘
//! ```
//!
//! What takes time is a [`Job`]: an attempt to start a child, or the stopping of one. Jobs know nothing
//! of each other, so that a child which hangs in `init` or `terminate` costs nobody else anything. The
//! attempts are futures, polled here, in the supervisor's own turn, as those of a
//! [`Supervisor`](crate::Supervisor) are.
//!
//! # Invariants
//! 1. A child whose phase is `Starting` or `Stopping` has exactly one job, and `by_pid` leads to it.
//! 2. `by_pid` holds the pids that jobs have to do with, and no other.
//! 3. `children` and the jobs for children that are new never are more than `max_children`.

use std::collections::{BTreeMap, HashMap};
use std::mem::{replace, take};

use super::DynamicSupervisor;
use super::children::Children;
use super::handle::DynamicChild;
use super::jobs::{Job, Stage};
use super::template::Source;
use crate::error::StartError;
use crate::exit::{ExitReason, drop_quietly};
use crate::gen_server::{
    Context, Down, Exit, GenServer, HandleInfo, HandleRequest, InitStop, ReplyTo,
};
use crate::hash::Seeds;
use crate::process::pid::Pid;
use crate::sched::rng::Rng;
use crate::supervisor::backoff::{Backoff, chance};
use crate::supervisor::ending::Ending;
use crate::supervisor::process::Polled;
use crate::supervisor::starter::ChildPid;
use crate::supervisor::status::{self, MOST_CHILDREN, Shown, ShownChild};
use crate::supervisor::stopping::Deadline;
use crate::supervisor::strategy::Restarts;
use crate::supervisor::{AutoShutdown, ChildCounts, ChildError, Strategy};

/// Starts a child.
pub(crate) struct StartChild<A>(pub(crate) A);
pub(crate) struct TerminateChild(pub(crate) Pid);
pub(crate) struct WhichChildren;
pub(crate) struct CountChildren;

/// The wait of the child with this pid is over.
pub(super) struct Resume(pub(super) Pid);

/// The restart of the child with this pid failed, of that, and is tried again. Elixir: `$gen_restart`.
pub(super) struct Again(pub(super) Pid, pub(super) ExitReason);

/// A dynamic supervisor's process.
pub(crate) struct DynamicProcess<A, P> {
    pub(super) source: Source<A, P>,
    max_children: usize,
    pub(super) restarts: Restarts,
    /// Of children that have none of their own.
    pub(super) backoff: Option<Backoff>,
    pub(super) rng: Rng,
    pub(super) children: Children<A>,
    pub(super) jobs: BTreeMap<u64, Job<A, P>>,
    pub(super) by_pid: HashMap<Pid, u64, Seeds>,
    /// How many jobs are for children that are new.
    pub(super) new: usize,
    pub(super) next: u64,
}

pub(super) type Cx<A, P> = Context<DynamicProcess<A, P>>;

impl<A: Send + 'static, P: ChildPid> GenServer for DynamicProcess<A, P> {
    type Args = DynamicSupervisor<A, P>;

    async fn init(args: DynamicSupervisor<A, P>, cx: &mut Cx<A, P>) -> Result<Self, InitStop> {
        args.source.check().map_err(StartError::into_reason)?;
        cx.trap_exit(true);
        Ok(DynamicProcess {
            source: args.source,
            max_children: args.max_children,
            restarts: args.flags.restarts(),
            backoff: args.flags.backoff,
            rng: chance(cx),
            children: Children::default(),
            jobs: BTreeMap::new(),
            by_pid: HashMap::default(),
            new: 0,
            next: 0,
        })
    }

    async fn handle_exit(&mut self, exit: Exit, cx: &mut Cx<A, P>) {
        // Anybody can send a signal: it is believed when it is true.
        if let Some(pid) = exit.from.filter(|from| !cx.system().is_alive(*from)) {
            self.process_ended(cx, pid, exit.reason);
        }
    }

    async fn handle_down(&mut self, down: Down, cx: &mut Cx<A, P>) {
        // Monitored is what is being stopped.
        self.process_ended(cx, down.pid, down.reason);
    }

    fn format_status(&self) -> String {
        let now = status::now();
        let children = self.list(now).take(MOST_CHILDREN).map(|child| ShownChild {
            id: None,
            kind: child.kind,
            pid: child.pid,
            status: child.status,
        });
        let shown = Shown {
            kind: "DynamicSupervisor",
            strategy: Strategy::OneForOne,
            restarts: &self.restarts,
            auto_shutdown: AutoShutdown::Never,
            backoff: self.backoff,
            max_children: self.max_children,
            counts: self.count(),
            children: children.collect(),
            now,
        };
        format!("{shown:?}")
    }

    /// Stops all children at once. Requests that are not answered yet are answered by the end of the
    /// process.
    async fn terminate(&mut self, _reason: ExitReason, cx: &mut Cx<A, P>) {
        for timer in self.children.restart_none() {
            cx.cancel_timer(timer);
        }
        let mut end = Ending::default();
        let mut jobs = take(&mut self.jobs);
        for job in jobs.values_mut() {
            let how = self.shutdown_of(&job.whose);
            match replace(&mut job.stage, Stage::Over(None)) {
                Stage::Starting(attempt) => {
                    for pid in attempt.abandon(cx) {
                        end.tell(cx, pid, how).await;
                    }
                }
                Stage::Stopping(stop) => {
                    end.told(cx, stop.processes);
                    job.stage = Stage::Over(Some(stop.then));
                }
                Stage::Over(_) => {}
            }
        }
        // Who waits for an answer is given none before the end.
        self.jobs = jobs;
        for (pid, how) in self.children.running() {
            end.tell(cx, pid, how).await;
        }
        let this = &mut *self;
        end.wait(cx, move |pid| this.name(pid), |_| {}).await;
    }
}

impl<A: Send + 'static, P: ChildPid> HandleRequest<StartChild<A>> for DynamicProcess<A, P> {
    type Reply = Result<Option<P>, ChildError>;

    async fn handle_request(
        &mut self,
        StartChild(args): StartChild<A>,
        reply: ReplyTo<Self::Reply>,
        cx: &mut Cx<A, P>,
    ) {
        if self.children.len() + self.new >= self.max_children {
            let _ = drop_quietly(args);
            return reply.reply(Err(ChildError::MaxChildren));
        }
        self.start_new(cx, args, reply);
    }
}

impl<A: Send + 'static, P: ChildPid> HandleRequest<TerminateChild> for DynamicProcess<A, P> {
    type Reply = Result<(), ChildError>;

    async fn handle_request(
        &mut self,
        TerminateChild(pid): TerminateChild,
        reply: ReplyTo<Self::Reply>,
        cx: &mut Cx<A, P>,
    ) {
        self.terminate_child(cx, pid, reply);
    }
}

impl<A: Send + 'static, P: ChildPid> HandleRequest<WhichChildren> for DynamicProcess<A, P> {
    type Reply = Result<Vec<DynamicChild>, ChildError>;

    async fn handle_request(
        &mut self,
        _: WhichChildren,
        reply: ReplyTo<Self::Reply>,
        cx: &mut Cx<A, P>,
    ) {
        reply.reply(Ok(self.list(cx.system().now()).collect()));
    }
}

impl<A: Send + 'static, P: ChildPid> HandleRequest<CountChildren> for DynamicProcess<A, P> {
    type Reply = Result<ChildCounts, ChildError>;

    async fn handle_request(
        &mut self,
        _: CountChildren,
        reply: ReplyTo<Self::Reply>,
        _: &mut Cx<A, P>,
    ) {
        reply.reply(Ok(self.count()));
    }
}

impl<A: Send + 'static, P: ChildPid> HandleInfo<Polled> for DynamicProcess<A, P> {
    async fn handle_info(&mut self, Polled(number): Polled, cx: &mut Cx<A, P>) {
        self.polled(cx, number);
    }
}

impl<A: Send + 'static, P: ChildPid> HandleInfo<Again> for DynamicProcess<A, P> {
    async fn handle_info(&mut self, Again(pid, reason): Again, cx: &mut Cx<A, P>) {
        self.again(cx, pid, reason);
    }
}

impl<A: Send + 'static, P: ChildPid> HandleInfo<Resume> for DynamicProcess<A, P> {
    async fn handle_info(&mut self, Resume(pid): Resume, cx: &mut Cx<A, P>) {
        self.resume(cx, pid);
    }
}

impl<A: Send + 'static, P: ChildPid> HandleInfo<Deadline<u64>> for DynamicProcess<A, P> {
    async fn handle_info(&mut self, Deadline(number): Deadline<u64>, cx: &mut Cx<A, P>) {
        self.deadline(cx, number);
    }
}
