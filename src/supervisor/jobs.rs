//! What a supervisor has to do, in its order: requests wait for room, become jobs, and a job goes on
//! as its children start and stop. The picture and the invariants are those of [`super::process`].

use std::collections::VecDeque;
use std::mem::replace;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::Supervisor;
use super::children::{After, Attempt, Key, State};
use super::handle::ChildError;
use super::inheritance::{Inheritance, begin};
use super::process::{Cx, Poke, SupervisorProcess, abandon};
use super::spec::{ChildSpec, Restart, Shutdown};
use super::starter::{Started, Starter};
use super::stopping::Stopping;
use super::strategy::{Ending, Fate, Scope, Strategy, check_all, fate};
use crate::error::StartError;
use crate::exit::{ExitReason, catch};
use crate::gen_server::{Exit, ReplyTo};
use crate::hooks::Event;
use crate::process::pid::Pid;
use crate::sync::Arc;

type Reply<R> = ReplyTo<Result<R, ChildError>>;

/// Something that changes children, waiting for its turn.
pub(super) enum Request {
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
    /// The wait of that number is over; the child that waited, unless there are several.
    Resume(u64, Option<Arc<str>>),
    Change(Box<Supervisor>, Reply<()>),
}

impl Request {
    fn scope(&self, strategy: Strategy) -> Scope {
        match self {
            Request::Boot | Request::Resume(_, None) => Scope::All,
            Request::Change(..) => Scope::Specs,
            Request::Start(spec, _) => Scope::of(strategy, &spec.id),
            Request::Terminate { id, .. }
            | Request::Restart(id, _)
            | Request::Delete(id, _)
            | Request::Recover(_, id)
            | Request::Resume(_, Some(id)) => Scope::of(strategy, id),
        }
    }
}

/// Stops some children, then starts some.
pub(super) struct Job {
    scope: Scope,
    /// In start order; the last is stopped first.
    pub(super) stop: Vec<Key>,
    /// In start order.
    pub(super) start: VecDeque<Key>,
    /// For whose failures it waits in between, and until when for each.
    pub(super) causes: Vec<(Key, Duration)>,
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
pub(super) enum Outcome {
    Started(Pid),
    Ignored,
    Failed(StartError),
    Cancelled,
}

impl SupervisorProcess {
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Begins whatever has room, oldest first. What had none when it was passed over has none until
    /// the end of the pass, as a job that begins frees at most what it took: so it is not overtaken.
    pub(super) fn pump(&mut self, cx: &Cx) {
        let mut place = 0;
        while !self.ending && !self.busy.is_full() {
            let Some(request) = self.queue.get(place) else {
                break;
            };
            let scope = request.scope(self.strategy);
            if !self.busy.has_room_for(&scope) {
                place += 1;
            } else if let Some(request) = self.queue.remove(place) {
                self.begin(cx, request, scope);
            }
        }
        self.see_to_significant(cx);
    }

    /// Ends the supervisor if the end of a significant child means that.
    fn see_to_significant(&mut self, cx: &Cx) {
        // OTP hears of it when it is done with its start.
        if !self.significant_ended || self.ending || self.started.is_some() {
            return;
        }
        let mut others = self.children.significant();
        let starting = self.jobs.values().flat_map(|job| &job.start);
        others.is_undecided |= starting
            .filter_map(|key| self.children.get(*key))
            .any(|child| child.spec.significant);
        match self.auto_shutdown.decide(others) {
            Ending::GoOn => self.significant_ended = false,
            Ending::Wait => {}
            Ending::ShutDown => self.end(cx, ExitReason::Shutdown(None)),
        }
    }

    fn begin(&mut self, cx: &Cx, request: Request, scope: Scope) {
        let mut causes = Vec::new();
        let (stop, start, why) = match request {
            Request::Boot => (Vec::new(), self.children.keys().collect(), Why::Boot),
            Request::Start(spec, reply) => match self.auto_shutdown.check(&spec) {
                Err(error) => return reply.reply(Err(error.into())),
                Ok(()) => match self.children.add(spec) {
                    Ok(key) => (Vec::new(), VecDeque::from([key]), Why::Start(reply)),
                    Err(key) => {
                        let error = match self.children.get_mut(key).map(|child| &child.state) {
                            Some(State::Running(pid)) => ChildError::AlreadyStarted(*pid),
                            _ => ChildError::AlreadyPresent,
                        };
                        return reply.reply(Err(error));
                    }
                },
            },
            Request::Terminate {
                id,
                called_off,
                reply,
            } => match self.children.find(&id) {
                None if called_off => return reply.reply(Ok(())),
                None => return reply.reply(Err(ChildError::NotFound)),
                Some((key, child)) => {
                    // Nothing of it is restarted: what it leaves is nobody's.
                    child.heirs.clear();
                    child.failures = 0;
                    self.call_wait_off(cx, key);
                    (vec![key], VecDeque::new(), Why::Terminate(reply))
                }
            },
            Request::Restart(id, reply) => match self.stopped(&id) {
                Ok(key) => (Vec::new(), VecDeque::from([key]), Why::Restart(reply)),
                Err(error) => return reply.reply(Err(error)),
            },
            Request::Delete(id, reply) => {
                if let Some((key, _)) = self.children.find(&id) {
                    self.call_wait_off(cx, key);
                }
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
                let now = cx.system().now();
                if !self.restarts.record(now) {
                    return self.give_up(cx, key, reason);
                }
                let mut group = self.strategy.group(key, self.children.keys());
                causes = self.join_waits(cx, &mut group);
                if let Some(delay) = self.delay(key) {
                    causes.push((key, now.saturating_add(delay)));
                }
                (group.clone(), group.into(), Why::Recover)
            }
            Request::Resume(wait, _) => match self.end_wait(wait) {
                Some(members) => (Vec::new(), members, Why::Recover),
                None => return,
            },
            Request::Change(to, reply) => return reply.reply(self.change(*to)),
        };
        let number = self.number();
        self.busy.take(&scope);
        let job = Job {
            scope,
            stop,
            start,
            causes,
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
            State::Restarting(_) | State::Waiting(_) => Err(ChildError::Restarting),
            State::Starting(_) | State::Running(_) | State::Stopping(..) => {
                Err(ChildError::Running)
            }
        }
    }

    /// Is from now on what `to` says.
    fn change(&mut self, to: Supervisor) -> Result<(), ChildError> {
        check_all(to.auto_shutdown, &to.children)?;
        self.strategy = to.strategy;
        self.restarts.limit(to.flags.intensity, to.flags.period);
        self.auto_shutdown = to.auto_shutdown;
        self.backoff = to.flags.backoff;
        self.children.change(to.children);
        Ok(())
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

    pub(super) fn end(&mut self, cx: &Cx, reason: ExitReason) {
        self.ending = true;
        cx.stop(reason);
    }

    /// Goes on with a job until it waits or is done.
    pub(super) fn run(&mut self, cx: &Cx, number: u64) {
        while let Some(job) = self.jobs.get_mut(&number).filter(|_| !self.ending) {
            if let Some(key) = job.stop.pop() {
                if !self.stop(cx, key, number) {
                    return;
                }
            } else if !job.causes.is_empty() {
                self.wait(cx, number);
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
        debug_assert!(!self.jobs.is_empty() || self.children.is_tidy());
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
        self.tell_to_stop(cx, key, &[pid], how, After::Stopped);
        false
    }

    /// Tells processes to stop, and sees to it that they do. There is at least one.
    fn tell_to_stop(&mut self, cx: &Cx, key: Key, pids: &[Pid], how: Shutdown, after: After) {
        let which = (key, self.number());
        for pid in pids {
            self.children.knows(*pid, key);
        }
        if let Some(child) = self.children.get_mut(key) {
            child.state = State::Stopping(Stopping::begin(cx, which, pids, how), after);
        }
    }

    /// A process that was told to stop is gone.
    pub(super) fn gone(&mut self, cx: &Cx, key: Key, pid: Pid) {
        self.children.forget_pid(pid);
        let Some(child) = self.children.get_mut(key) else {
            return;
        };
        let State::Stopping(stopping, after) = &mut child.state else {
            return;
        };
        if !stopping.gone(cx, pid) {
            return;
        }
        let after = replace(after, After::Stopped);
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
        let Some(child) = self.children.get_mut(key) else {
            // A temporary one, forgotten when its group was stopped.
            return Some(Outcome::Ignored);
        };
        child.job = job;
        let started = Started::default();
        let starter = Starter::new(cx, child.spec.options(), &started).at(child.place.clone());
        let (fate, heirs) = (&child.spec.mailbox_fate, std::mem::take(&mut child.heirs));
        let (start, core) = (child.spec.start_fn(), cx.core());
        let (future, inheritance) =
            begin(core, fate, heirs, starter, move |starter| start(starter));
        let poke = Poke::new(cx.this().recipient(), key);
        child.state = State::Starting(Attempt {
            future,
            waker: Waker::from(poke.clone()),
            poke,
            started,
            inheritance,
            ended: Vec::new(),
        });
        self.poll(cx, key)
    }

    /// Goes on with an attempt. `None`: it is not over.
    pub(super) fn poll(&mut self, cx: &Cx, key: Key) -> Option<Outcome> {
        let child = self.children.get_mut(key)?;
        let State::Starting(attempt) = &mut child.state else {
            return None;
        };
        // Before the poll, so that a wake-up during it is not lost.
        attempt.poke.heard();
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
        drop(attempt.future);
        for pid in &pids {
            self.children.forget_pid(*pid);
        }
        match result {
            Ok(pid) => {
                self.children.knows(pid, key);
                let inheritance = attempt.inheritance.as_ref();
                let heirs = inheritance.map(|mail| mail.of(pid)).unwrap_or_default();
                if let Some(child) = self.children.get_mut(key) {
                    child.state = State::Running(pid);
                    child.heirs = heirs;
                    child.since = cx.system().now();
                    child.place.set(pid);
                }
                match attempt.ended.into_iter().find(|(ended, _)| *ended == pid) {
                    Some((_, reason)) => self.ended(cx, key, reason),
                    // Whatever the function did: a child is linked.
                    None => cx.link(pid),
                }
                Some(Outcome::Started(pid))
            }
            Err(StartError::Ignore) => {
                if let Some(inheritance) = &attempt.inheritance {
                    inheritance.renounce();
                }
                Some(Outcome::Ignored)
            }
            Err(error) => {
                if let Some(child) = self.children.get_mut(key) {
                    let inheritance = attempt.inheritance.as_ref();
                    child.heirs = inheritance.map(Inheritance::all).unwrap_or_default();
                }
                let left: Vec<Pid> = pids
                    .into_iter()
                    .filter(|pid| cx.system().is_alive(*pid))
                    .collect();
                if left.is_empty() {
                    return Some(Outcome::Failed(error));
                }
                // Not over before they are gone, and their names free.
                let after = After::Failed(error);
                self.tell_to_stop(cx, key, &left, Shutdown::BrutalKill, after);
                None
            }
        }
    }

    /// Calls an attempt off, for `terminate_child`.
    pub(super) fn call_off(&mut self, cx: &Cx, key: Key) {
        let Some(child) = self.children.get_mut(key) else {
            return;
        };
        let State::Starting(attempt) = replace(&mut child.state, State::Stopped) else {
            return;
        };
        let (job, how) = (child.job, child.spec.shutdown_mode());
        // Also those that have ended already.
        for pid in attempt.started.pids() {
            self.children.forget_pid(pid);
        }
        let left = abandon(cx, attempt);
        if left.is_empty() {
            self.started(cx, key, job, Outcome::Cancelled);
            self.run(cx, job);
        } else {
            self.tell_to_stop(cx, key, &left, how, After::Cancelled);
        }
    }

    /// An attempt is over: what that means to its job, which goes on afterwards.
    pub(super) fn started(&mut self, cx: &Cx, key: Key, number: u64, outcome: Outcome) {
        match &outcome {
            Outcome::Started(pid) => self.report(cx, key, |supervisor, child| {
                let pid = *pid;
                Event::ChildStarted {
                    supervisor,
                    child,
                    pid,
                }
            }),
            Outcome::Failed(error) => self.report(cx, key, |supervisor, child| {
                let error = error.clone();
                Event::ChildNotStarted {
                    supervisor,
                    child,
                    error,
                }
            }),
            Outcome::Ignored | Outcome::Cancelled => {}
        }
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
                        Why::Restart(reply) => {
                            if let Some(child) = self.children.get_mut(key) {
                                child.heirs.clear();
                            }
                            reply.reply(Err(error.into()));
                        }
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
    fn ended(&mut self, cx: &Cx, key: Key, reason: ExitReason) {
        let Some(child) = self.children.get_mut(key) else {
            return;
        };
        let State::Running(pid) = replace(&mut child.state, State::Stopped) else {
            return;
        };
        child.ran = Some(cx.system().now().saturating_sub(child.since));
        let fate = fate(child.spec.restart, &reason);
        if fate != Fate::Restart {
            // One that would have been stopped in a moment counts as stopped. OTP: as below.
            if !self.jobs.values().any(|job| job.stop.contains(&key)) {
                self.significant_ended |= child.spec.significant;
            }
            if !self.jobs.values().any(|job| job.start.contains(&key)) {
                child.heirs.clear();
            }
        }
        if reason.is_abnormal() || child.spec.restart == Restart::Permanent {
            self.report(cx, key, |supervisor, child| Event::ChildEnded {
                supervisor,
                child,
                pid,
                reason: reason.clone(),
            });
        }
        self.children.forget_pid(pid);
        match fate {
            // If its group is being stopped just now, it is started with that, and no longer waits to
            // be restarted when this comes up. OTP: `shutdown/1` takes the exit out of the mailbox.
            Fate::Restart => self.recover(key, reason),
            Fate::Keep | Fate::Forget => self.children.settle(key),
        }
    }

    /// Tells whoever listens what became of a child.
    fn report(&mut self, cx: &Cx, key: Key, what: impl FnOnce(Pid, Arc<str>) -> Event) {
        if let Some(child) = self.children.get_mut(key) {
            let event = what(cx.pid(), child.spec.id.clone());
            cx.core().hooks.event(&event);
        }
    }

    /// A linked process has ended, if the signal is to be believed: anybody can send one.
    pub(super) fn linked_process_ended(&mut self, cx: &Cx, exit: Exit) {
        let Some(from) = exit.from.filter(|from| !cx.system().is_alive(*from)) else {
            return;
        };
        let Some((key, child)) = self.children.find_pid(from) else {
            return;
        };
        match &mut child.state {
            State::Running(_) => self.ended(cx, key, exit.reason),
            State::Starting(attempt) => attempt.ended.push((from, exit.reason)),
            State::Stopping(..) => self.gone(cx, key, from),
            State::Stopped | State::Restarting(_) | State::Waiting(_) => {}
        }
    }
}
