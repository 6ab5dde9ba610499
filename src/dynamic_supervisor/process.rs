//! The dynamic supervisor's process: a server that never waits inside a handler, except to end.
//!
//! ```text
//!  start_child ──▶ attempt ──▶ Polled ─▶ ... ─▶ child runs ──▶ Exit ─┬─▶ forgotten
//!                     ▲                                               │
//!                     │  counted against the intensity                │ to be restarted
//!                     └──────────────── Again ◀── failed ── attempt ◀─┘  (counted, too)
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
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use super::children::Children;
use super::handle::DynamicChild;
use super::jobs::{Job, Stage};
use super::template::Source;
use crate::exit::{ExitReason, drop_quietly};
use crate::gen_server::{
    Context, Down, Exit, GenServer, HandleInfo, HandleRequest, InitStop, ReplyTo,
};
use crate::process::pid::Pid;
use crate::supervisor::process::{Deadline, Polled, tell};
use crate::supervisor::spec::Shutdown;
use crate::supervisor::starter::ChildPid;
use crate::supervisor::strategy::Restarts;
use crate::supervisor::{ChildCounts, ChildError};

/// Starts a child.
pub(crate) struct StartChild<A>(pub(crate) A);
pub(crate) struct TerminateChild(pub(crate) Pid);
pub(crate) struct WhichChildren;
pub(crate) struct CountChildren;

/// The restart of the child with this pid failed, of that, and is tried again. Elixir: `$gen_restart`.
pub(super) struct Again(pub(super) Pid, pub(super) ExitReason);

pub(crate) struct Args<A, P> {
    pub(crate) source: Source<A, P>,
    pub(crate) max_children: usize,
    pub(crate) intensity: u32,
    pub(crate) period: Duration,
}

/// A dynamic supervisor's process.
pub(crate) struct DynamicProcess<A, P> {
    pub(super) source: Source<A, P>,
    max_children: usize,
    pub(super) restarts: Restarts,
    pub(super) children: Children<A>,
    pub(super) jobs: BTreeMap<u64, Job<A, P>>,
    pub(super) by_pid: HashMap<Pid, u64>,
    /// How many jobs are for children that are new.
    pub(super) new: usize,
    pub(super) next: u64,
}

pub(super) type Cx<A, P> = Context<DynamicProcess<A, P>>;

impl<A: Send + 'static, P: ChildPid> GenServer for DynamicProcess<A, P> {
    type Args = Args<A, P>;

    async fn init(args: Args<A, P>, cx: &mut Cx<A, P>) -> Result<Self, InitStop> {
        cx.trap_exit(true);
        Ok(DynamicProcess {
            source: args.source,
            max_children: args.max_children,
            restarts: Restarts::new(args.intensity, args.period),
            children: Children::default(),
            jobs: BTreeMap::new(),
            by_pid: HashMap::new(),
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

    /// Stops all children at once. Requests that are not answered yet are answered by the end of the
    /// process.
    async fn terminate(&mut self, _reason: ExitReason, cx: &mut Cx<A, P>) {
        let mut end = End::default();
        let mut jobs = take(&mut self.jobs);
        for job in jobs.values_mut() {
            let how = self.manner_of(&job.whose).shutdown;
            match replace(&mut job.stage, Stage::Over) {
                Stage::Starting(attempt) => {
                    for pid in attempt.abandon(cx) {
                        end.tell(cx, pid, how).await;
                    }
                }
                Stage::Stopping(mut stopping) => {
                    end.told(cx, take(&mut stopping.left), stopping.deadline.take());
                    job.stage = Stage::Stopping(stopping);
                }
                Stage::Over => {}
            }
        }
        // Who waits for an answer is given none before the end.
        self.jobs = jobs;
        for (pid, child) in self.children.take_running() {
            end.tell(cx, pid, child.manner.shutdown).await;
            // A panic in the drop of arguments changes nothing.
            let _ = drop_quietly(child.kept);
        }
        end.wait(cx).await;
    }
}

/// The end of many processes at once.
#[derive(Default)]
struct End {
    /// In the order of telling.
    told: Vec<Pid>,
    /// Who is killed how long after all have been told.
    times: BTreeMap<Duration, Vec<Pid>>,
    /// Who is killed when, on the system's clock.
    deadlines: BTreeMap<Duration, Vec<Pid>>,
    worked: u32,
}

impl End {
    async fn tell<A, P>(&mut self, cx: &Cx<A, P>, pid: Pid, how: Shutdown)
    where
        A: Send + 'static,
        P: ChildPid,
    {
        if let (_, Some(time)) = tell(cx, &[pid], how) {
            self.times.entry(time).or_default().push(pid);
        }
        self.told.push(pid);
        self.breathe(cx).await;
    }

    /// Processes that were told already, and what they have had of their time counts.
    fn told<A: Send + 'static, P: ChildPid>(
        &mut self,
        cx: &Cx<A, P>,
        left: Vec<(Pid, crate::MonitorRef)>,
        deadline: Option<(Duration, crate::TimerRef)>,
    ) {
        for (pid, monitor) in left {
            cx.demonitor(monitor);
            self.told.push(pid);
            if let Some((at, _)) = deadline {
                self.deadlines.entry(at).or_default().push(pid);
            }
        }
        if let Some((_, timer)) = deadline {
            cx.cancel_timer(timer);
        }
    }

    /// Lets others run now and then: a million children are a lot of work.
    async fn breathe<A: Send + 'static, P: ChildPid>(&mut self, cx: &Cx<A, P>) {
        const TURN: u32 = 128;
        self.worked += 1;
        if self.worked % TURN == 0 {
            cx.yield_now().await;
        }
    }

    /// Waits for one process after the other: as all were told, that takes as long as the slowest.
    async fn wait<A: Send + 'static, P: ChildPid>(mut self, cx: &Cx<A, P>) {
        let system = cx.system();
        let now = system.now();
        for (time, mut pids) in take(&mut self.times) {
            let at = now.saturating_add(time);
            self.deadlines.entry(at).or_default().append(&mut pids);
        }
        // The last told first: most of the others have ended by then.
        while let Some(pid) = self.told.pop() {
            self.breathe(cx).await;
            if !system.is_alive(pid) {
                continue;
            }
            let mut gone = system.monitor(pid);
            loop {
                let first = self.deadlines.first_key_value().map(|(at, _)| *at);
                let mut sleep = first.map(|at| cx.sleep(at.saturating_sub(system.now())));
                let late = std::future::poll_fn(|task| {
                    if Pin::new(&mut gone).poll(task).is_ready() {
                        return Poll::Ready(false);
                    }
                    match &mut sleep {
                        Some(sleep) => Pin::new(sleep).poll(task).map(|()| true),
                        None => Poll::Pending,
                    }
                });
                if !late.await {
                    break;
                }
                for pid in self
                    .deadlines
                    .pop_first()
                    .map_or(Vec::new(), |(_, pids)| pids)
                {
                    cx.exit(pid, ExitReason::Kill);
                    self.breathe(cx).await;
                }
            }
        }
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
        _: &mut Cx<A, P>,
    ) {
        reply.reply(Ok(self.list()));
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

impl<A: Send + 'static, P: ChildPid> HandleInfo<Deadline> for DynamicProcess<A, P> {
    async fn handle_info(&mut self, deadline: Deadline, cx: &mut Cx<A, P>) {
        self.deadline(cx, deadline.number);
    }
}
