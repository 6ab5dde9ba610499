//! The supervisor's process: a server that never waits inside a handler.
//!
//! OTP's supervisor starts and stops its children inside its callbacks, so one whose `init` or
//! `terminate` hangs makes the supervisor deaf. This one is told what it waits for, by messages:
//!
//! ```text
//!  requests ─────┐                                      ┌──▶ a child starts   ──▶ Polled, Exit ─┐
//!  a child ended ┴─▶ queue ──▶ job: stop these, then ───┤                                       │
//!                    (pump)         start those (run)   └──▶ a child is told  ──▶ Exit, Down,  ─┤
//!                                        ▲                   to stop              Deadline      │
//!                                        └──────────────────────────────────────────────────────┘
//! ```
//!
//! An attempt to start a child is a future, polled here, in the supervisor's own turn, so that what it
//! starts is linked to the supervisor; its waker sends [`Polled`].
//!
//! # Invariants
//! 1. A job runs only while no other has its [`Scope`](super::strategy::Scope); what cannot run yet waits in `queue`, where
//!    nothing is overtaken by what came later for the same scope.
//! 2. A job waits for at most one child at a time: the one whose `job` is its number and whose state
//!    is `Starting` or `Stopping`.
//! 3. Once the supervisor is about to end (`ending`) no job begins or goes on; `terminate` stops
//!    whatever there is.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::mem::replace;
use std::pin::Pin;
use std::task::{Poll, Wake};
use std::time::Duration;

use super::children::{Attempt, Children, Key, State};
use super::handle::{ChildCounts, ChildError, ChildInfo};
use super::jobs::{Job, Request};
use super::spec::{ChildSpec, Shutdown};
use super::strategy::{Busy, Restarts, Strategy};
use crate::error::StartError;
use crate::exit::{ExitReason, drop_quietly};
use crate::gen_server::{
    Context, Down, Exit, GenServer, HandleContinue, HandleInfo, HandleRequest, InitStop, Recipient,
    ReplyTo,
};
use crate::process::ask::Answer;
use crate::process::context::{Monitor, ProcessContext, Sleep};
use crate::process::pid::Pid;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, Ordering::AcqRel};

pub(crate) struct StartChild(pub(crate) ChildSpec);
pub(crate) struct TerminateChild(pub(crate) Arc<str>);
pub(crate) struct RestartChild(pub(crate) Arc<str>);
pub(crate) struct DeleteChild(pub(crate) Arc<str>);
pub(crate) struct WhichChildren;
pub(crate) struct CountChildren;
pub(crate) struct GetTag;

/// What a supervisor was made for, if it is a part of something else.
pub(crate) type Tag = Arc<dyn Any + Send + Sync>;

/// Starts the children a supervisor was built with.
struct Boot(Vec<ChildSpec>);

/// The attempt to start that child can go on. (An attempt that is over may leave one behind, which
/// polls the next once too often.)
pub(crate) struct Polled(pub(crate) Key);

/// The stopping of that number has taken long enough.
pub(crate) struct Deadline {
    pub(crate) key: Key,
    pub(crate) number: u64,
}

/// The waker of an attempt: sends [`Polled`], one at a time.
pub(crate) struct Poke {
    supervisor: Recipient<Polled>,
    key: Key,
    sent: AtomicBool,
}

impl Poke {
    /// `supervisor` polls the attempt of that number when it is told so.
    pub(crate) fn new(supervisor: Recipient<Polled>, key: Key) -> Arc<Self> {
        Arc::new(Poke {
            supervisor,
            key,
            sent: AtomicBool::new(false),
        })
    }

    /// The attempt is about to be polled; a wake-up from now on sends another message.
    pub(crate) fn heard(&self) {
        // AcqRel: see `wake_by_ref`.
        self.sent.swap(false, AcqRel);
    }
}

impl Wake for Poke {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // AcqRel, with the swap in `heard`: where a message is on its way already, what the waker's
        // thread did before is seen by the poll that the message brings.
        if !self.sent.swap(true, AcqRel) {
            // Unbounded, so never refused.
            let _ = self.supervisor.send(Polled(self.key));
        }
    }
}

pub(crate) struct Args {
    pub(crate) strategy: Strategy,
    pub(crate) intensity: u32,
    pub(crate) period: Duration,
    pub(crate) children: Vec<ChildSpec>,
    pub(crate) tag: Option<Tag>,
    pub(crate) started: Answer<()>,
}

pub(crate) struct SupervisorProcess {
    pub(super) strategy: Strategy,
    pub(super) restarts: Restarts,
    pub(super) children: Children,
    pub(super) queue: VecDeque<Request>,
    pub(super) jobs: BTreeMap<u64, Job>,
    pub(super) busy: Busy,
    /// Numbers jobs and stoppings.
    pub(super) next: u64,
    /// Answered when all children have been started; if that fails, by the process's end.
    pub(super) started: Option<Answer<()>>,
    pub(super) ending: bool,
    tag: Option<Tag>,
}

pub(super) type Cx = Context<SupervisorProcess>;

/// Tells processes to stop. When to kill them, if at all.
pub(crate) fn tell(cx: &ProcessContext, pids: &[Pid], how: Shutdown) -> Option<Duration> {
    for pid in pids {
        match how {
            Shutdown::BrutalKill => cx.exit(*pid, ExitReason::Kill),
            Shutdown::Timeout(_) | Shutdown::Infinity => {
                cx.exit_child(*pid, ExitReason::Shutdown(None));
            }
        }
    }
    match how {
        Shutdown::Timeout(time) => Some(time),
        Shutdown::BrutalKill | Shutdown::Infinity => None,
    }
}

/// Gives an attempt up; what it started and is alive.
pub(super) fn abandon(cx: &Cx, attempt: Attempt) -> Vec<Pid> {
    // A panic in there changes nothing.
    let _ = drop_quietly(attempt.future);
    let mut pids = attempt.started.pids();
    pids.retain(|pid| cx.system().is_alive(*pid));
    pids
}

/// Waits until all have ended; those that have not by `kill_at` are killed then.
async fn until_gone(cx: &Cx, pids: &[Pid], kill_at: Option<Duration>) {
    let system = cx.system();
    let mut monitors: Vec<(Pid, Monitor)> = pids
        .iter()
        .map(|pid| (*pid, system.monitor(*pid)))
        .collect();
    let mut sleep: Option<Sleep> = kill_at.map(|at| cx.sleep(at.saturating_sub(system.now())));
    std::future::poll_fn(|task| {
        monitors.retain_mut(|(_, monitor)| Pin::new(monitor).poll(task).is_pending());
        if monitors.is_empty() {
            return Poll::Ready(());
        }
        if let Some(time) = &mut sleep {
            if Pin::new(time).poll(task).is_ready() {
                sleep = None;
                for (pid, _) in &monitors {
                    system.exit(*pid, ExitReason::Kill);
                }
            }
        }
        Poll::Pending
    })
    .await;
}

impl GenServer for SupervisorProcess {
    type Args = Args;

    async fn init(args: Args, cx: &mut Cx) -> Result<Self, InitStop> {
        cx.trap_exit(true);
        // Not here: whoever starts it is answered by the process's end if that fails, and until
        // `init` is done nothing but a kill would end it.
        cx.continue_with(Boot(args.children));
        Ok(SupervisorProcess {
            strategy: args.strategy,
            restarts: Restarts::new(args.intensity, args.period),
            children: Children::default(),
            queue: VecDeque::new(),
            jobs: BTreeMap::new(),
            busy: Busy::default(),
            next: 0,
            started: Some(args.started),
            ending: false,
            tag: args.tag,
        })
    }

    async fn handle_exit(&mut self, exit: Exit, cx: &mut Cx) {
        self.linked_process_ended(cx, exit);
        self.pump(cx);
    }

    async fn handle_down(&mut self, down: Down, cx: &mut Cx) {
        if let Some((key, child)) = self.children.find_pid(down.pid) {
            if matches!(child.state, State::Stopping(_)) {
                self.gone(cx, key, down.pid);
                self.pump(cx);
            }
        }
    }

    /// Stops all children in reverse start order, one after the other: also what rolls a failed start
    /// back. Requests that are not answered yet are answered by the end of the process.
    async fn terminate(&mut self, _reason: ExitReason, cx: &mut Cx) {
        self.ending = true;
        for child in self.children.all_mut().rev() {
            let how = child.spec.shutdown_mode();
            let (pids, kill_at) = match replace(&mut child.state, State::Stopped) {
                State::Stopped | State::Restarting(_) => continue,
                State::Stopping(stopping) => {
                    // It was told already, and what it has had of its time counts.
                    let kill_at = stopping.deadline.map(|(at, timer)| {
                        cx.cancel_timer(timer);
                        at
                    });
                    (stopping.left.iter().map(|(pid, _)| *pid).collect(), kill_at)
                }
                State::Running(pid) => {
                    let time = tell(cx, &[pid], how);
                    (
                        vec![pid],
                        time.map(|time| cx.system().now().saturating_add(time)),
                    )
                }
                State::Starting(attempt) => {
                    let pids = abandon(cx, attempt);
                    let time = tell(cx, &pids, how);
                    (
                        pids,
                        time.map(|time| cx.system().now().saturating_add(time)),
                    )
                }
            };
            until_gone(cx, &pids, kill_at).await;
        }
    }
}

impl HandleContinue<Boot> for SupervisorProcess {
    async fn handle_continue(&mut self, Boot(children): Boot, cx: &mut Cx) {
        for spec in children {
            let id = spec.id.clone();
            if self.children.add(spec).is_err() {
                return self.end(cx, StartError::DuplicateChild(id).into_reason());
            }
        }
        self.queue.push_back(Request::Boot);
        self.pump(cx);
    }
}

impl HandleInfo<Polled> for SupervisorProcess {
    async fn handle_info(&mut self, Polled(key): Polled, cx: &mut Cx) {
        // Before the poll: a temporary child that has ended already is forgotten by it.
        let Some(job) = self.children.get_mut(key).map(|child| child.job) else {
            return;
        };
        if let Some(outcome) = self.poll(cx, key) {
            self.started(cx, key, job, outcome);
            self.run(cx, job);
            self.pump(cx);
        }
    }
}

impl HandleInfo<Deadline> for SupervisorProcess {
    async fn handle_info(&mut self, deadline: Deadline, cx: &mut Cx) {
        let Some(child) = self.children.get_mut(deadline.key) else {
            return;
        };
        let State::Stopping(stopping) = &mut child.state else {
            return;
        };
        if stopping.number == deadline.number {
            stopping.deadline = None;
            for (pid, _) in &stopping.left {
                cx.exit(*pid, ExitReason::Kill);
            }
        }
    }
}

impl HandleRequest<StartChild> for SupervisorProcess {
    type Reply = Result<Option<Pid>, ChildError>;

    async fn handle_request(&mut self, m: StartChild, reply: ReplyTo<Self::Reply>, cx: &mut Cx) {
        self.queue.push_back(Request::Start(m.0, reply));
        self.pump(cx);
    }
}

impl HandleRequest<TerminateChild> for SupervisorProcess {
    type Reply = Result<(), ChildError>;

    async fn handle_request(
        &mut self,
        m: TerminateChild,
        reply: ReplyTo<Self::Reply>,
        cx: &mut Cx,
    ) {
        let TerminateChild(id) = m;
        let starting = self
            .children
            .find(&id)
            .filter(|(_, child)| matches!(child.state, State::Starting(_)))
            .map(|(key, _)| key);
        self.queue.push_back(Request::Terminate {
            id,
            called_off: starting.is_some(),
            reply,
        });
        if let Some(key) = starting {
            self.call_off(cx, key);
        }
        self.pump(cx);
    }
}

impl HandleRequest<RestartChild> for SupervisorProcess {
    type Reply = Result<Option<Pid>, ChildError>;

    async fn handle_request(&mut self, m: RestartChild, reply: ReplyTo<Self::Reply>, cx: &mut Cx) {
        self.queue.push_back(Request::Restart(m.0, reply));
        self.pump(cx);
    }
}

impl HandleRequest<DeleteChild> for SupervisorProcess {
    type Reply = Result<(), ChildError>;

    async fn handle_request(&mut self, m: DeleteChild, reply: ReplyTo<Self::Reply>, cx: &mut Cx) {
        self.queue.push_back(Request::Delete(m.0, reply));
        self.pump(cx);
    }
}

impl HandleRequest<WhichChildren> for SupervisorProcess {
    type Reply = Result<Vec<ChildInfo>, ChildError>;

    async fn handle_request(&mut self, _: WhichChildren, reply: ReplyTo<Self::Reply>, _: &mut Cx) {
        reply.reply(Ok(self.children.list()));
    }
}

impl HandleRequest<CountChildren> for SupervisorProcess {
    type Reply = Result<ChildCounts, ChildError>;

    async fn handle_request(&mut self, _: CountChildren, reply: ReplyTo<Self::Reply>, _: &mut Cx) {
        reply.reply(Ok(self.children.count()));
    }
}

impl HandleRequest<GetTag> for SupervisorProcess {
    type Reply = Option<Tag>;

    async fn handle_request(&mut self, _: GetTag, reply: ReplyTo<Self::Reply>, _: &mut Cx) {
        reply.reply(self.tag.clone());
    }
}
