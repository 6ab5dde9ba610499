//! The supervisor's process: a server that never waits inside a handler.
//!
//! OTP's supervisor starts and stops its children inside its callbacks, so one whose `init` or
//! `terminate` hangs makes the supervisor deaf. This one is told what it waits for, by messages:
//!
//! ```text
//!  requests ─────┐                                      ┌──▶ a child starts   ──▶ Polled, Exit ─┐
//!  a child ended ┼─▶ queue ──▶ job: stop these, then ───┤                                       │
//!  a wait is over┘   (pump)         start those (run)   └──▶ a child is told  ──▶ Exit, Down,  ─┤
//!        ▲                               ▲     │             to stop              Deadline      │
//!        │                               └─────┼────────────────────────────────────────────────┘
//!        └──────────── Resume ──── wait ◀──────┘ backoff, once those are stopped
//! ```
//!
//! A wait ([`super::waits`]) is no job: while children wait others are served, and they themselves can
//! be terminated.
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
use std::marker::PhantomData;
use std::mem::replace;
use std::task::Wake;

use super::Supervisor;
use super::backoff::{Backoff, Wait, chance};
use super::children::{Attempt, Children, Key, State, Which};
use super::ending::Ending;
use super::handle::{ChildCounts, ChildError, ChildInfo};
use super::jobs::{Job, Request};
use super::spec::ChildSpec;
use super::status::{self, MOST_CHILDREN, Shown, ShownChild};
use super::stopping::Deadline;
use super::strategy::{AutoShutdown, Busy, Restarts, Strategy, check_all};
use super::supervised::{Directory, Supervised};
use crate::exit::ExitReason;
use crate::gen_server::{
    Context, Down, Exit, GenServer, HandleContinue, HandleInfo, HandleRequest, InitStop, Recipient,
    ReplyTo,
};
use crate::process::ask::Answer;
use crate::process::pid::Pid;
use crate::sched::rng::Rng;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, Ordering::AcqRel};

pub(crate) struct StartChild(pub(crate) ChildSpec);
pub(crate) struct TerminateChild(pub(crate) Arc<str>);
pub(crate) struct RestartChild(pub(crate) Arc<str>);
pub(crate) struct DeleteChild(pub(crate) Arc<str>);
pub(crate) struct WhichChildren;
pub(crate) struct CountChildren;
pub(crate) struct Change(pub(crate) Supervisor);

/// Asks for a reference to the child with that id.
pub(crate) struct Locate<S>(Arc<str>, PhantomData<fn(S)>);

impl<S> Locate<S> {
    pub(crate) fn new(id: &str) -> Self {
        Locate(id.into(), PhantomData)
    }
}

pub(crate) struct GetTag;

/// What a supervisor was made for, if it is a part of something else: of a
/// [`PartitionSupervisor`](crate::PartitionSupervisor).
pub(crate) type Tag = Arc<dyn Any + Send + Sync>;

/// Starts the children a supervisor was built with.
struct Boot(Vec<ChildSpec>);

/// The wait of that number is over.
pub(crate) struct Resume(pub(super) u64);

/// The attempt to start that child can go on. (An attempt that is over may leave one behind, which
/// polls the next once too often.)
pub(crate) struct Polled(pub(crate) Key);

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
    pub(crate) supervisor: Supervisor,
    pub(crate) directory: Arc<Directory>,
    pub(crate) started: Answer<()>,
}

pub(crate) struct SupervisorProcess {
    pub(super) strategy: Strategy,
    pub(super) restarts: Restarts,
    pub(super) auto_shutdown: AutoShutdown,
    /// A significant child has ended, and what that means is not decided yet.
    pub(super) significant_ended: bool,
    pub(super) backoff: Option<Backoff>,
    pub(super) rng: Rng,
    pub(super) children: Children,
    pub(super) waits: BTreeMap<u64, Wait>,
    pub(super) queue: VecDeque<Request>,
    pub(super) jobs: BTreeMap<u64, Job>,
    pub(super) busy: Busy,
    /// Numbers jobs, stoppings and waits.
    pub(super) next: u64,
    /// Answered when all children have been started; if that fails, by the process's end.
    pub(super) started: Option<Answer<()>>,
    pub(super) ending: bool,
    tag: Option<Tag>,
}

pub(super) type Cx = Context<SupervisorProcess>;

/// Gives an attempt up; what it started and is alive.
pub(super) fn abandon(cx: &Cx, attempt: Attempt) -> Vec<Pid> {
    drop(attempt.future);
    if let Some(inheritance) = attempt.inheritance {
        inheritance.renounce();
    }
    let mut pids = attempt.started.pids();
    pids.retain(|pid| cx.system().is_alive(*pid));
    pids
}

impl GenServer for SupervisorProcess {
    type Args = Args;

    async fn init(args: Args, cx: &mut Cx) -> Result<Self, InitStop> {
        cx.trap_exit(true);
        // Not here: whoever starts it is answered by the process's end if that fails, and until
        // `init` is done nothing but a kill would end it.
        let supervisor = args.supervisor;
        args.directory.begin(&supervisor.children);
        cx.continue_with(Boot(supervisor.children));
        Ok(SupervisorProcess {
            strategy: supervisor.strategy,
            restarts: supervisor.flags.restarts(),
            auto_shutdown: supervisor.auto_shutdown,
            significant_ended: false,
            backoff: supervisor.flags.backoff,
            rng: chance(cx),
            children: Children::new(args.directory),
            waits: BTreeMap::new(),
            queue: VecDeque::new(),
            jobs: BTreeMap::new(),
            busy: Busy::default(),
            next: 0,
            started: Some(args.started),
            ending: false,
            tag: supervisor.tag,
        })
    }

    async fn handle_exit(&mut self, exit: Exit, cx: &mut Cx) {
        self.linked_process_ended(cx, exit);
        self.pump(cx);
    }

    async fn handle_down(&mut self, down: Down, cx: &mut Cx) {
        if let Some((key, child)) = self.children.find_pid(down.pid) {
            if matches!(child.state, State::Stopping(..)) {
                self.gone(cx, key, down.pid);
                self.pump(cx);
            }
        }
    }

    fn format_status(&self) -> String {
        let now = status::now();
        let children = self.children.list(|wait| self.left_of_wait(wait, now));
        let shown = children.take(MOST_CHILDREN).map(|child| ShownChild {
            id: Some(child.id),
            kind: child.kind,
            pid: None,
            status: child.status,
        });
        let shown = Shown {
            kind: match self.tag {
                Some(_) => "PartitionSupervisor",
                None => "Supervisor",
            },
            strategy: self.strategy,
            restarts: &self.restarts,
            auto_shutdown: self.auto_shutdown,
            backoff: self.backoff,
            max_children: usize::MAX,
            counts: self.children.count(),
            children: shown.collect(),
            now,
        };
        format!("{shown:?}")
    }

    /// Stops all children in reverse start order, one after the other: also what rolls a failed start
    /// back. Requests that are not answered yet are answered by the end of the process.
    async fn terminate(&mut self, _reason: ExitReason, cx: &mut Cx) {
        self.ending = true;
        for wait in std::mem::take(&mut self.waits).into_values() {
            wait.timer.map(|timer| cx.cancel_timer(timer));
        }
        let keys: Vec<Key> = self.children.keys().rev().collect();
        for key in &keys {
            if let Some(child) = self.children.get_mut(*key) {
                // Nothing is restarted any more.
                child.heirs.clear();
            }
        }
        for key in keys {
            let Some(child) = self.children.get_mut(key) else {
                continue;
            };
            let how = child.spec.shutdown_mode();
            let id = child.spec.id.clone();
            let mut end = Ending::default();
            match replace(&mut child.state, State::Stopped) {
                State::Stopped | State::Restarting(_) | State::Waiting(_) => continue,
                State::Stopping(stopping, _) => end.told(cx, stopping),
                State::Running(pid) => end.tell(cx, pid, how).await,
                State::Starting(attempt) => {
                    for pid in abandon(cx, attempt) {
                        end.tell(cx, pid, how).await;
                    }
                }
            }
            end.wait(cx, |_| id.clone(), |_| {}).await;
        }
    }
}

impl HandleContinue<Boot> for SupervisorProcess {
    async fn handle_continue(&mut self, Boot(children): Boot, cx: &mut Cx) {
        if let Err(error) = check_all(self.auto_shutdown, &children) {
            return self.end(cx, error.into_reason());
        }
        for spec in children {
            // No id is there twice: checked.
            let _ = self.children.add(spec);
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

impl HandleInfo<Deadline<Which>> for SupervisorProcess {
    async fn handle_info(&mut self, Deadline(which): Deadline<Which>, cx: &mut Cx) {
        let Some(child) = self.children.get_mut(which.0) else {
            return;
        };
        if let State::Stopping(stopping, _) = &mut child.state {
            stopping.late(cx, which, || child.spec.id.clone());
        }
    }
}

impl HandleInfo<Resume> for SupervisorProcess {
    async fn handle_info(&mut self, Resume(number): Resume, cx: &mut Cx) {
        self.wait_is_over(number);
        self.pump(cx);
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

    async fn handle_request(&mut self, _: WhichChildren, reply: ReplyTo<Self::Reply>, cx: &mut Cx) {
        let now = cx.system().now();
        let children = self.children.list(|wait| self.left_of_wait(wait, now));
        reply.reply(Ok(children.collect()));
    }
}

impl HandleRequest<CountChildren> for SupervisorProcess {
    type Reply = Result<ChildCounts, ChildError>;

    async fn handle_request(&mut self, _: CountChildren, reply: ReplyTo<Self::Reply>, _: &mut Cx) {
        reply.reply(Ok(self.children.count()));
    }
}

impl HandleRequest<Change> for SupervisorProcess {
    type Reply = Result<(), ChildError>;

    async fn handle_request(&mut self, m: Change, reply: ReplyTo<Self::Reply>, cx: &mut Cx) {
        self.queue.push_back(Request::Change(Box::new(m.0), reply));
        self.pump(cx);
    }
}

impl<S: GenServer> HandleRequest<Locate<S>> for SupervisorProcess {
    type Reply = Result<Supervised<S>, ChildError>;

    async fn handle_request(&mut self, m: Locate<S>, reply: ReplyTo<Self::Reply>, cx: &mut Cx) {
        let Locate(id, _) = m;
        let Some((_, child)) = self.children.find(&id) else {
            return reply.reply(Err(ChildError::NotFound));
        };
        let reference = Supervised::new(cx.system(), child.spec.id.clone(), child.place.clone());
        let runs = |pid| cx.system().is_alive(pid);
        let wrong = match child.state {
            State::Running(pid) => reference.resolve().is_none() && runs(pid),
            _ => false,
        };
        reply.reply(if wrong {
            Err(ChildError::WrongType)
        } else {
            Ok(reference)
        });
    }
}

impl HandleRequest<GetTag> for SupervisorProcess {
    type Reply = Option<Tag>;

    async fn handle_request(&mut self, _: GetTag, reply: ReplyTo<Self::Reply>, _: &mut Cx) {
        reply.reply(self.tag.clone());
    }
}
