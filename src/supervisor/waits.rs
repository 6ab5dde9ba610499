//! Children that wait for their backoff: how a job becomes a wait, how a wait becomes a job again, and
//! what calls it off.
//!
//! ```text
//!  job: all are stopped ── wait ──▶ Wait: timer ── Resume, its turn comes ── end_wait ──▶ job: start them
//!                                    │    │
//!                     call_wait_off: │    │ join_waits: one that is restarted with
//!                  one is terminated ▼    ▼ them failed as well
//!               the others wait on, or    all wait with it, until the
//!               are started now           last of their times
//! ```
//!
//! # Invariants
//! 1. A child is `Waiting` for the wait of that number exactly while it is a member of it. A wait has
//!    a member, and at least one cause until its time has come.
//! 2. The timer of a wait is armed until its time has come; then one [`Request::Resume`] is queued.

use std::collections::VecDeque;
use std::mem::take;
use std::time::Duration;

use super::backoff::{Left, Wait, until};
use super::children::{Key, State};
use super::jobs::Request;
use super::process::{Cx, Resume, SupervisorProcess};

impl SupervisorProcess {
    /// How long this failure of a child makes it wait, if it does.
    pub(super) fn delay(&mut self, key: Key) -> Option<Duration> {
        let child = self.children.get_mut(key)?;
        let backoff = child.spec.backoff.or(self.backoff)?;
        child.failures = backoff.number(child.failures, child.ran.take());
        let delay = backoff.delay(child.failures, &mut self.rng);
        (!delay.is_zero()).then_some(delay)
    }

    /// A job has stopped its children: those that it would start wait. (If there is nothing to wait
    /// for, or nobody to wait, it goes on.)
    pub(super) fn wait(&mut self, cx: &Cx, number: u64) {
        let Some(job) = self.jobs.get_mut(&number) else {
            return;
        };
        let now = cx.system().now();
        let mut causes = take(&mut job.causes);
        causes.retain(|(_, until)| *until > now);
        let members: Vec<Key> = take(&mut job.start)
            .into_iter()
            // Temporary ones were forgotten as they were stopped.
            .filter(|key| self.children.get(*key).is_some())
            .collect();
        let Some(until) = until(&causes).filter(|_| !members.is_empty()) else {
            if let Some(job) = self.jobs.get_mut(&number) {
                job.start = members.into();
            }
            return;
        };
        let wait = self.number();
        for key in &members {
            if let Some(child) = self.children.get_mut(*key) {
                child.state = State::Waiting(wait);
            }
        }
        let timer = cx.send_after(until - now, &cx.this(), Resume(wait));
        let timer = Some(timer);
        self.waits.insert(
            wait,
            Wait {
                causes,
                members,
                timer,
            },
        );
    }

    /// The time of a wait has come.
    pub(super) fn wait_is_over(&mut self, number: u64) {
        let Some(wait) = self.waits.get_mut(&number) else {
            return;
        };
        wait.timer = None;
        let alone = match wait.members[..] {
            [key] => self.children.get(key).map(|child| child.spec.id.clone()),
            _ => None,
        };
        self.queue.push_back(Request::Resume(number, alone));
    }

    /// Ends a wait; who is to be started now, in start order. `None`: it was called off.
    pub(super) fn end_wait(&mut self, number: u64) -> Option<VecDeque<Key>> {
        let mut members = self.waits.remove(&number)?.members;
        self.children.sort(&mut members);
        for key in &members {
            if let Some(child) = self.children.get_mut(*key) {
                child.state = State::Stopped;
            }
        }
        Some(members.into())
    }

    /// One of `group` failed: those of it that wait already, and all who wait with them, wait with it.
    /// Returns what they wait for.
    pub(super) fn join_waits(&mut self, cx: &Cx, group: &mut Vec<Key>) -> Vec<(Key, Duration)> {
        let mut causes = Vec::new();
        let mut more = Vec::new();
        for key in group.iter() {
            let Some(State::Waiting(number)) = self.children.get(*key).map(|child| &child.state)
            else {
                continue;
            };
            // Gone already, if it was another member's.
            if let Some(wait) = self.waits.remove(number) {
                wait.timer.map(|timer| cx.cancel_timer(timer));
                causes.extend(wait.causes);
                more.extend(wait.members);
            }
        }
        more.retain(|key| !group.contains(key));
        if !more.is_empty() {
            group.extend(more);
            self.children.sort(group);
        }
        causes
    }

    /// A child is terminated or deleted: if it waits it does so no more, and nobody waits for it.
    pub(super) fn call_wait_off(&mut self, cx: &Cx, key: Key) {
        let Some(child) = self.children.get_mut(key) else {
            return;
        };
        let State::Waiting(number) = child.state else {
            return;
        };
        child.state = State::Stopped;
        let Some(wait) = self.waits.get_mut(&number) else {
            return;
        };
        match wait.leave(key) {
            Left::Nobody => {
                if let Some(wait) = self.waits.remove(&number) {
                    wait.timer.map(|timer| cx.cancel_timer(timer));
                }
            }
            // Its time had come.
            _ if wait.timer.is_none() => {}
            Left::Due => {
                wait.timer.take().map(|timer| cx.cancel_timer(timer));
                self.wait_is_over(number);
            }
            Left::Until(until) => {
                wait.timer.take().map(|timer| cx.cancel_timer(timer));
                let time = until.saturating_sub(cx.system().now());
                wait.timer = Some(cx.send_after(time, &cx.this(), Resume(number)));
            }
        }
    }

    /// How much is left of a wait.
    pub(super) fn left_of_wait(&self, number: u64, now: Duration) -> Duration {
        self.waits
            .get(&number)
            .and_then(|wait| until(&wait.causes))
            .map_or(Duration::ZERO, |until| until.saturating_sub(now))
    }
}
