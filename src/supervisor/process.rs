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
//! 1. A job runs only while no other has its [`Scope`]; what cannot run yet waits in `queue`, where
//!    nothing is overtaken by what came later for the same scope.
//! 2. A job waits for at most one child at a time: the one whose `job` is its number and whose state
//!    is `Starting` or `Stopping`.
//! 3. Once the supervisor is about to end (`ending`) no job begins or goes on; `terminate` stops
//!    whatever there is.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::mem::replace;
use std::pin::Pin;
use std::task::{Poll, Wake, Waker};
use std::time::Duration;

use super::children::{After, Attempt, Children, Key, State, Stopping};
use super::handle::{ChildCounts, ChildError, ChildInfo};
use super::spec::{ChildSpec, Shutdown};
use super::starter::{Started, Starter};
use super::strategy::{Busy, Fate, Restarts, Scope, Strategy, fate};
use crate::error::StartError;
use crate::exit::{ExitReason, catch, drop_quietly};
use crate::gen_server::{
    Context, Down, Exit, GenServer, HandleContinue, HandleInfo, HandleRequest, InitStop, Recipient,
    ReplyTo,
};
use crate::hooks::Event;
use crate::process::ask::Answer;
use crate::process::context::{Monitor, Sleep};
use crate::process::pid::Pid;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, Ordering::AcqRel};

pub(crate) struct StartChild(pub(crate) ChildSpec);
pub(crate) struct TerminateChild(pub(crate) Arc<str>);
pub(crate) struct RestartChild(pub(crate) Arc<str>);
pub(crate) struct DeleteChild(pub(crate) Arc<str>);
pub(crate) struct WhichChildren;
pub(crate) struct CountChildren;

/// Starts the children a supervisor was built with.
struct Boot(Vec<ChildSpec>);

/// The attempt of that number can go on.
pub(crate) struct Polled {
    key: Key,
    number: u64,
}

/// The stopping of that number has taken long enough.
pub(crate) struct Deadline {
    key: Key,
    number: u64,
}

/// The waker of an attempt: sends [`Polled`], one at a time.
pub(crate) struct Poke {
    supervisor: Recipient<Polled>,
    key: Key,
    number: u64,
    sent: AtomicBool,
}

impl Wake for Poke {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // AcqRel, with the swap in `poll`: where a message is on its way already, what the waker's
        // thread did before is seen by the poll that the message brings.
        if !self.sent.swap(true, AcqRel) {
            let (key, number) = (self.key, self.number);
            // Unbounded, so never refused.
            let _ = self.supervisor.send(Polled { key, number });
        }
    }
}

type Reply<R> = ReplyTo<Result<R, ChildError>>;

/// Something that changes children, waiting for its turn.
enum Request {
    Boot,
    Start(ChildSpec, Reply<Option<Pid>>),
    /// `called_off`: the child was being started when this came.
    Terminate {
        id: Arc<str>,
        called_off: bool,
        reply: Reply<()>,
    },
    Restart(Arc<str>, Reply<Option<Pid>>),
    Delete(Arc<str>, Reply<()>),
    /// A child is to be restarted because it ended, or failed to start.
    Recover(Key, Arc<str>),
}

impl Request {
    fn scope(&self, strategy: Strategy) -> Scope {
        match self {
            Request::Boot => Scope::All,
            Request::Start(spec, _) => Scope::of(strategy, &spec.id),
            Request::Terminate { id, .. }
            | Request::Restart(id, _)
            | Request::Delete(id, _)
            | Request::Recover(_, id) => Scope::of(strategy, id),
        }
    }
}

/// Stops some children, then starts some.
struct Job {
    scope: Scope,
    /// In start order; the last is stopped first.
    stop: Vec<Key>,
    /// In start order.
    start: VecDeque<Key>,
    why: Why,
    /// The latest child it started.
    started: Option<Pid>,
}

enum Why {
    Boot,
    Start(Reply<Option<Pid>>),
    Restart(Reply<Option<Pid>>),
    Terminate(Reply<()>),
    Recover,
}

/// How an attempt to start a child ended.
enum Outcome {
    Started(Pid),
    Ignored,
    Failed(StartError),
    Cancelled,
}

pub(crate) struct Args {
    pub(crate) strategy: Strategy,
    pub(crate) intensity: u32,
    pub(crate) period: Duration,
    pub(crate) children: Vec<ChildSpec>,
    pub(crate) started: Answer<()>,
}

pub(crate) struct SupervisorProcess {
    strategy: Strategy,
    restarts: Restarts,
    children: Children,
    queue: VecDeque<Request>,
    jobs: BTreeMap<u64, Job>,
    busy: Busy,
    /// Numbers jobs, attempts and stoppings.
    next: u64,
    /// Answered when all children have been started; if that fails, by the process's end.
    started: Option<Answer<()>>,
    ending: bool,
}

type Cx = Context<SupervisorProcess>;

impl SupervisorProcess {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Begins whatever has room.
    fn pump(&mut self, cx: &Cx) {
        // What is passed over, so that nothing overtakes it.
        let mut waiting = Busy::default();
        let mut place = 0;
        while !self.ending && !self.busy.is_full() && !waiting.is_full() {
            let Some(request) = self.queue.get(place) else {
                return;
            };
            let scope = request.scope(self.strategy);
            if !(self.busy.has_room_for(&scope) && waiting.has_room_for(&scope)) {
                waiting.take(&scope);
                place += 1;
                continue;
            }
            if let Some(request) = self.queue.remove(place) {
                self.begin(cx, request, scope);
            }
        }
    }

    fn begin(&mut self, cx: &Cx, request: Request, scope: Scope) {
        let (stop, start, why) = match request {
            Request::Boot => (Vec::new(), self.children.keys().collect(), Why::Boot),
            Request::Start(spec, reply) => match self.children.add(spec) {
                Ok(key) => (Vec::new(), VecDeque::from([key]), Why::Start(reply)),
                Err(key) => {
                    let error = match self.children.get_mut(key).map(|child| &child.state) {
                        Some(State::Running(pid)) => ChildError::AlreadyStarted(*pid),
                        _ => ChildError::AlreadyPresent,
                    };
                    return reply.reply(Err(error));
                }
            },
            Request::Terminate {
                id,
                called_off,
                reply,
            } => match self.children.find(&id) {
                None if called_off => return reply.reply(Ok(())),
                None => return reply.reply(Err(ChildError::NotFound)),
                Some((key, _)) => (vec![key], VecDeque::new(), Why::Terminate(reply)),
            },
            Request::Restart(id, reply) => match self.stopped(&id) {
                Ok(key) => (Vec::new(), VecDeque::from([key]), Why::Restart(reply)),
                Err(error) => return reply.reply(Err(error)),
            },
            Request::Delete(id, reply) => {
                let deleted = self.stopped(&id).map(|key| self.children.remove(key));
                return reply.reply(deleted);
            }
            Request::Recover(key, _) => {
                let Some(State::Restarting(reason)) =
                    self.children.get_mut(key).map(|child| &child.state)
                else {
                    // Restarted with a group, or terminated, meanwhile.
                    return;
                };
                let reason = reason.clone();
                if !self.restarts.record(cx.system().now()) {
                    return self.give_up(cx, key, reason);
                }
                let group = self.strategy.group(key, self.children.keys());
                for key in &group {
                    if let Some(child) = self.children.get_mut(*key) {
                        child.doomed = true;
                    }
                }
                (group.clone(), group.into(), Why::Recover)
            }
        };
        let number = self.number();
        self.busy.take(&scope);
        let job = Job {
            scope,
            stop,
            start,
            why,
            started: None,
        };
        self.jobs.insert(number, job);
        self.run(cx, number);
    }

    /// The child with this id, if it has no process and gets none by itself.
    fn stopped(&mut self, id: &str) -> Result<Key, ChildError> {
        let (key, child) = self.children.find(id).ok_or(ChildError::NotFound)?;
        match child.state {
            State::Stopped => Ok(key),
            State::Restarting(_) => Err(ChildError::Restarting),
            State::Starting(_) | State::Running(_) | State::Stopping(_) => Err(ChildError::Running),
        }
    }

    /// The intensity is exceeded: the supervisor ends.
    fn give_up(&mut self, cx: &Cx, key: Key, reason: ExitReason) {
        if let Some(child) = self.children.get_mut(key) {
            cx.core().hooks.event(&Event::GaveUp {
                pid: cx.pid(),
                child: child.spec.id.clone(),
                reason,
            });
        }
        self.end(cx, ExitReason::Shutdown(None));
    }

    fn end(&mut self, cx: &Cx, reason: ExitReason) {
        self.ending = true;
        cx.stop(reason);
    }

    /// Goes on with a job until it waits or is done.
    fn run(&mut self, cx: &Cx, number: u64) {
        while let Some(job) = self.jobs.get_mut(&number).filter(|_| !self.ending) {
            if let Some(key) = job.stop.pop() {
                if !self.stop(cx, key, number) {
                    return;
                }
            } else if let Some(key) = job.start.pop_front() {
                match self.start(cx, key, number) {
                    Some(outcome) => self.started(cx, key, number, outcome),
                    None => return,
                }
            } else {
                self.finish(number);
            }
        }
    }

    fn finish(&mut self, number: u64) {
        let Some(job) = self.jobs.remove(&number) else {
            return;
        };
        self.busy.release(&job.scope);
        match job.why {
            Why::Boot => {
                if let Some(started) = self.started.take() {
                    started.send(Ok(()));
                }
            }
            Why::Start(reply) | Why::Restart(reply) => reply.reply(Ok(job.started)),
            Why::Terminate(reply) => reply.reply(Ok(())),
            Why::Recover => {}
        }
    }

    /// Has a child stopped for a job. `true`: it has no process.
    fn stop(&mut self, cx: &Cx, key: Key, job: u64) -> bool {
        let Some(child) = self.children.get_mut(key) else {
            return true;
        };
        child.job = job;
        let State::Running(pid) = child.state else {
            self.children.settle(key);
            return true;
        };
        let how = child.spec.shutdown_mode();
        self.tell_to_stop(cx, key, vec![pid], how, After::Stopped);
        false
    }

    /// Tells processes to stop, and sees to it that they do. There is at least one.
    fn tell_to_stop(&mut self, cx: &Cx, key: Key, pids: Vec<Pid>, how: Shutdown, after: After) {
        let number = self.number();
        let deadline = tell(cx, &pids, how).map(|time| {
            let timer = cx.send_after(time, &cx.this(), Deadline { key, number });
            (cx.system().now().saturating_add(time), timer)
        });
        // Monitored as well, in case one has unlinked itself. OTP: `monitor_child/1`.
        let left: Vec<_> = pids.iter().map(|pid| (*pid, cx.monitor(*pid))).collect();
        for pid in pids {
            self.children.knows(pid, key);
        }
        if let Some(child) = self.children.get_mut(key) {
            child.state = State::Stopping(Stopping {
                number,
                left,
                deadline,
                after,
            });
        }
    }

    /// A process that was told to stop is gone.
    fn gone(&mut self, cx: &Cx, key: Key, pid: Pid) {
        self.children.forget_pid(pid);
        let Some(child) = self.children.get_mut(key) else {
            return;
        };
        let State::Stopping(stopping) = &mut child.state else {
            return;
        };
        if let Some(place) = stopping.left.iter().position(|(left, _)| *left == pid) {
            let (_, monitor) = stopping.left.swap_remove(place);
            cx.demonitor(monitor);
        }
        if !stopping.left.is_empty() {
            return;
        }
        if let Some((_, timer)) = stopping.deadline.take() {
            cx.cancel_timer(timer);
        }
        let after = replace(&mut stopping.after, After::Stopped);
        let job = child.job;
        child.state = State::Stopped;
        match after {
            After::Stopped => self.children.settle(key),
            After::Failed(error) => self.started(cx, key, job, Outcome::Failed(error)),
            After::Cancelled => self.started(cx, key, job, Outcome::Cancelled),
        }
        self.run(cx, job);
    }

    /// Makes an attempt to start a child for a job. `None`: it is under way.
    fn start(&mut self, cx: &Cx, key: Key, job: u64) -> Option<Outcome> {
        let number = self.number();
        let Some(child) = self.children.get_mut(key) else {
            // A temporary one, forgotten when its group was stopped.
            return Some(Outcome::Ignored);
        };
        child.job = job;
        child.doomed = false;
        let started = Started::default();
        let starter = Starter::new(cx, child.spec.options(), &started);
        // OTP: a start function that crashes has returned `{error, {'EXIT', Reason}}`.
        let future = catch(|| child.spec.start(starter))
            .unwrap_or_else(|reason| Box::pin(std::future::ready(Err(StartError::Init(reason)))));
        let poke = Arc::new(Poke {
            supervisor: cx.this().recipient(),
            key,
            number,
            sent: AtomicBool::new(false),
        });
        child.state = State::Starting(Attempt {
            number,
            future,
            waker: Waker::from(poke.clone()),
            poke,
            started,
            ended: Vec::new(),
        });
        self.poll(cx, key)
    }

    /// Goes on with an attempt. `None`: it is not over.
    fn poll(&mut self, cx: &Cx, key: Key) -> Option<Outcome> {
        let child = self.children.get_mut(key)?;
        let State::Starting(attempt) = &mut child.state else {
            return None;
        };
        // AcqRel: see `Poke`. Before the poll, so that a wake-up during it is not lost.
        attempt.poke.sent.swap(false, AcqRel);
        let mut context = std::task::Context::from_waker(&attempt.waker);
        let polled = catch(|| attempt.future.as_mut().poll(&mut context));
        let pids = attempt.started.pids();
        let result = match polled {
            Ok(Poll::Pending) => {
                for pid in pids {
                    self.children.knows(pid, key);
                }
                return None;
            }
            Ok(Poll::Ready(result)) => result,
            Err(reason) => Err(StartError::Init(reason)),
        };
        let State::Starting(attempt) = replace(&mut child.state, State::Stopped) else {
            return None;
        };
        // A panic in there changes nothing.
        let _ = drop_quietly(attempt.future);
        for pid in &pids {
            self.children.forget_pid(*pid);
        }
        match result {
            Ok(pid) => {
                self.children.knows(pid, key);
                if let Some(child) = self.children.get_mut(key) {
                    child.state = State::Running(pid);
                }
                match attempt.ended.into_iter().find(|(ended, _)| *ended == pid) {
                    Some((_, reason)) => self.ended(key, reason),
                    // Whatever the function did: a child is linked.
                    None => cx.link(pid),
                }
                Some(Outcome::Started(pid))
            }
            Err(StartError::Ignore) => Some(Outcome::Ignored),
            Err(error) => {
                let left: Vec<Pid> = pids
                    .into_iter()
                    .filter(|pid| cx.system().is_alive(*pid))
                    .collect();
                if left.is_empty() {
                    return Some(Outcome::Failed(error));
                }
                // Not over before they are gone, and their names free.
                let after = After::Failed(error);
                self.tell_to_stop(cx, key, left, Shutdown::BrutalKill, after);
                None
            }
        }
    }

    /// Calls an attempt off, for `terminate_child`.
    fn call_off(&mut self, cx: &Cx, key: Key) {
        let Some(child) = self.children.get_mut(key) else {
            return;
        };
        let State::Starting(attempt) = replace(&mut child.state, State::Stopped) else {
            return;
        };
        let (job, how) = (child.job, child.spec.shutdown_mode());
        let left = abandon(cx, attempt);
        if left.is_empty() {
            self.started(cx, key, job, Outcome::Cancelled);
            self.run(cx, job);
        } else {
            self.tell_to_stop(cx, key, left, how, After::Cancelled);
        }
    }

    /// An attempt is over: what that means to its job, which goes on afterwards.
    fn started(&mut self, cx: &Cx, key: Key, number: u64, outcome: Outcome) {
        let Some(job) = self.jobs.get_mut(&number) else {
            return;
        };
        let error = match outcome {
            Outcome::Started(pid) => {
                job.started = Some(pid);
                return;
            }
            Outcome::Ignored => return self.children.settle(key),
            Outcome::Failed(error) => error,
            // Nobody's failure, unless somebody waits for the child.
            Outcome::Cancelled if matches!(job.why, Why::Boot | Why::Recover) => {
                return self.children.settle(key);
            }
            Outcome::Cancelled => StartError::Init(ExitReason::Shutdown(None)),
        };
        match job.why {
            Why::Boot => {
                let id = match self.children.get_mut(key) {
                    Some(child) => child.spec.id.clone(),
                    None => return,
                };
                let error = Box::new(error);
                self.end(cx, StartError::Child { id, error }.into_reason());
            }
            Why::Recover => {
                job.start.clear();
                self.recover(key, error.into_reason());
            }
            Why::Start(_) | Why::Restart(_) | Why::Terminate(_) => {
                if let Some(job) = self.jobs.remove(&number) {
                    self.busy.release(&job.scope);
                    match job.why {
                        Why::Start(reply) => {
                            self.children.remove(key);
                            reply.reply(Err(error.into()));
                        }
                        Why::Restart(reply) => reply.reply(Err(error.into())),
                        Why::Boot | Why::Recover | Why::Terminate(_) => {}
                    }
                }
            }
        }
    }

    /// Queues a child's restart.
    fn recover(&mut self, key: Key, reason: ExitReason) {
        if let Some(child) = self.children.get_mut(key) {
            child.state = State::Restarting(reason);
            let id = child.spec.id.clone();
            self.queue.push_back(Request::Recover(key, id));
        }
    }

    /// A child that ran has ended by itself.
    fn ended(&mut self, key: Key, reason: ExitReason) {
        let Some(child) = self.children.get_mut(key) else {
            return;
        };
        let State::Running(pid) = replace(&mut child.state, State::Stopped) else {
            return;
        };
        let doomed = child.doomed;
        let fate = fate(child.spec.restart, &reason);
        self.children.forget_pid(pid);
        match fate {
            // Its job finds it stopped. OTP: `shutdown/1` takes the exit out of the mailbox.
            _ if doomed => {}
            Fate::Restart => self.recover(key, reason),
            Fate::Keep | Fate::Forget => self.children.settle(key),
        }
    }

    /// A linked process has ended, if the signal is to be believed: anybody can send one.
    fn linked_process_ended(&mut self, cx: &Cx, exit: Exit) {
        let Some(from) = exit.from.filter(|from| !cx.system().is_alive(*from)) else {
            return;
        };
        let Some((key, child)) = self.children.find_pid(from) else {
            return;
        };
        match &mut child.state {
            State::Running(_) => self.ended(key, exit.reason),
            State::Starting(attempt) => attempt.ended.push((from, exit.reason)),
            State::Stopping(_) => self.gone(cx, key, from),
            State::Stopped | State::Restarting(_) => {}
        }
    }
}

/// Tells processes to stop. When to kill them, if at all.
fn tell(cx: &Cx, pids: &[Pid], how: Shutdown) -> Option<Duration> {
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
fn abandon(cx: &Cx, attempt: Attempt) -> Vec<Pid> {
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
    async fn handle_info(&mut self, polled: Polled, cx: &mut Cx) {
        let Some(child) = self.children.get_mut(polled.key) else {
            return;
        };
        let job = child.job;
        if !matches!(&child.state, State::Starting(attempt) if attempt.number == polled.number) {
            return;
        }
        if let Some(outcome) = self.poll(cx, polled.key) {
            self.started(cx, polled.key, job, outcome);
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
