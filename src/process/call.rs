//! Futures that wait for an answer: [`Call`] and, built on it, everything else that asks.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::ask::Pending;
use super::cell::Cell;
use super::wait::wait;
use super::waker;
use crate::error::CallError;
use crate::sched::core::{Core, CoreRef};
use crate::sched::timers::{Due, TimerRef};
use crate::sched::worker::{Worker, here};
use crate::sync::atomic::Ordering::Relaxed;

/// The default timeout of a call, as in OTP.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// A call with less time than this, in nanoseconds, says at its first poll whom to wake, so that it does not
/// miss its timeout while its target runs.
const UNSAID: u64 = 100_000_000;

/// A call that has been sent: a future of the reply. OTP: `gen_server:send_request/2` and what
/// `gen_server:call/2` does with it.
///
/// The request is on its way, and the timeout running, from the moment the method that made this
/// returned. Wait for the reply in one of three ways: `.await` (in a process or on any runtime),
/// [`wait`](Self::wait), or [`wait_timeout`](Self::wait_timeout).
///
/// Unlike OTP's, a call that fails is an `Err`, not an exit of the caller.
///
/// # Cancellation
/// Dropping it gives up interest in the reply, nothing else: the server may handle the request all
/// the same. A late reply is dropped and can never enter a mailbox (in OTP it can, but for calls by
/// alias).
#[must_use = "a call does nothing for you unless its reply is waited for; to send without a reply, cast"]
pub struct Call<R> {
    state: State<R>,
    /// On the system's clock; `u64::MAX`: never.
    deadline: u64,
    core: Option<CoreRef>,
    /// Whom it waits for, if that process is bound to answer itself.
    target: Option<(u32, u32)>,
    /// The turn in which it may leave it at that it is polled again once the target has run, without saying
    /// whom to wake: that in which it was made, until it is polled. 0: none.
    unsaid_in: u32,
    timer: Option<(TimerRef, Waker)>,
}

enum State<R> {
    Pending(Pending<R>),
    Failed(CallError),
    Over,
}

impl<R> std::fmt::Debug for Call<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.state {
            State::Pending(pending) if !pending.is_done() => "waiting",
            State::Over => "over",
            _ => "answered",
        };
        f.debug_tuple("Call").field(&state).finish()
    }
}

impl<R> Call<R> {
    /// A wait for an answer from `core`'s system. The timeout runs on the clock of the asker's own
    /// system, if the asker is a process.
    pub(crate) fn new(core: &CoreRef, pending: Pending<R>, timeout: Option<Duration>) -> Self {
        let (home, now, turn) = match here() {
            Some(worker) => {
                let now = worker.coarse_now_or_later();
                (worker.core_ref().clone(), now, worker.turn_number())
            }
            None if timeout.is_some() => (core.clone(), core.clock.now(), 0),
            None => (core.clone(), 0, 0),
        };
        let deadline = timeout.map_or(u64::MAX, |timeout| crate::sched::clock::later(now, timeout));
        Call {
            state: State::Pending(pending),
            deadline,
            core: Some(home),
            target: None,
            unsaid_in: if deadline.saturating_sub(now) > UNSAID {
                turn
            } else {
                0
            },
            timer: None,
        }
    }

    /// The process of `core`'s with this id and serial has to answer itself.
    #[inline]
    pub(crate) fn answered_by(mut self, core: &Core, target: (u32, u32)) -> Self {
        // Another system's pids mean nothing in the wait-for graph of this one.
        if self.core.as_ref().is_some_and(|home| home.is(core)) {
            self.target = Some(target);
        }
        self
    }

    pub(crate) fn failed(error: CallError) -> Self {
        Call {
            state: State::Failed(error),
            deadline: u64::MAX,
            core: None,
            target: None,
            unsaid_in: 0,
            timer: None,
        }
    }

    /// Takes the reply if it is here already.
    ///
    /// # Errors
    /// `None`: not yet. `Some(Err(_))`: as for [`wait`](Self::wait).
    pub fn try_take(&mut self) -> Option<Result<R, CallError>> {
        let answer = match &mut self.state {
            State::Pending(pending) => pending.try_take(),
            State::Failed(_) | State::Over => match std::mem::replace(&mut self.state, State::Over)
            {
                State::Failed(error) => Some(Err(error)),
                _ => None,
            },
        };
        if answer.is_some() {
            self.state = State::Over;
            self.disarm();
        }
        answer
    }

    /// Blocks the calling thread until the reply is here or the call's timeout is over.
    ///
    /// On the thread that drives a manual system this runs the system meanwhile.
    ///
    /// # Errors
    /// - [`CallError::NoProc`], [`CallError::Exited`], [`CallError::Timeout`],
    ///   [`CallError::NoReply`], [`CallError::Overloaded`]: as their documentation says.
    /// - [`CallError::WouldBlock`]: the caller is a process, or inside a tick.
    /// - [`CallError::Stalled`]: the manual system that should answer has nothing left to run.
    pub fn wait(mut self) -> Result<R, CallError> {
        let timeout = self.time_left();
        self.block(timeout)
    }

    /// As [`wait`](Self::wait), for at most `timeout` from now, whichever ends first.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait).
    pub fn wait_timeout(mut self, timeout: Duration) -> Result<R, CallError> {
        let timeout = self.time_left().map_or(timeout, |left| left.min(timeout));
        self.block(Some(timeout))
    }

    /// Whether the answer was taken.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// The system whose clock its timeout runs on.
    pub(crate) fn home(&self) -> Option<&CoreRef> {
        self.core.as_ref()
    }

    fn time_left(&self) -> Option<Duration> {
        let core = self.core.as_ref()?;
        (self.deadline != u64::MAX)
            .then(|| Duration::from_nanos(self.deadline.saturating_sub(core.clock.now())))
    }

    fn block(&mut self, timeout: Option<Duration>) -> Result<R, CallError> {
        // Blocking watches the time itself: no timer in the system, none left from a poll either.
        self.disarm();
        let core = self.core.take();
        self.deadline = u64::MAX;
        wait(core.as_deref(), self, timeout).unwrap_or_else(|unready| Err(unready.into()))
    }

    fn disarm(&mut self) {
        if let (Some((timer, _)), Some(core)) = (self.timer.take(), &self.core) {
            core.timers.cancel(core, timer);
        }
    }

    /// Polled by the process's own waker, which noex's futures need not clone: notes in the turn what
    /// is waited for, and leaves the timeout to the process's one lazy timer.
    fn poll_in_process(
        &mut self,
        worker: &Worker,
        cell: &Cell,
        cx: &mut Context<'_>,
    ) -> Poll<Result<R, CallError>> {
        let State::Pending(pending) = &mut self.state else {
            return Poll::Pending;
        };
        if std::mem::take(&mut self.unsaid_in) == worker.turn_number()
            && self.target.is_some()
            && !worker.turn.unanswered.get()
            && worker.may_run_behind(cell)
            && !pending.is_done()
        {
            worker.turn.unsaid.set(true);
            return Poll::Pending;
        }
        if let Poll::Ready(answer) = pending.poll(cx) {
            worker.turn.unanswered.set(false);
            return Poll::Ready(answer);
        }
        if pending.is_done() {
            return Poll::Pending; // signals come first
        }
        // SAFETY: this is polled inside the running turn of `cell`.
        if let Some((question, path)) = unsafe { cell.own() }
            .extra
            .as_mut()
            .and_then(|extra| extra.cycle.take())
        {
            // An answer may have come all the same, and this be the next call.
            if pending.asked(&question) {
                return Poll::Ready(Err(CallError::Cycle(path)));
            }
        }
        let turn = &worker.turn;
        if self.deadline != u64::MAX {
            if worker.coarse_now() >= self.deadline {
                return Poll::Ready(Err(CallError::Timeout));
            }
            turn.deadline.set(turn.deadline.get().min(self.deadline));
        }
        match self.target {
            Some(target) => {
                turn.calls.set(turn.calls.get() + 1);
                turn.target.set(target);
                if cell.vtable.serves && turn.calls.get() == 1 {
                    turn.question.set(pending.question());
                }
            }
            None => turn.others.set(turn.others.get() + 1),
        }
        Poll::Pending
    }

    /// Polled by anything else: the timeout is a timer of its own.
    fn poll_outside(&mut self, cx: &mut Context<'_>) -> Poll<Result<R, CallError>> {
        let State::Pending(pending) = &mut self.state else {
            return Poll::Pending;
        };
        if let Poll::Ready(answer) = pending.poll(cx) {
            return Poll::Ready(answer);
        }
        if pending.is_done() {
            return Poll::Pending; // signals come first
        }
        let Some(core) = self.core.clone().filter(|_| self.deadline != u64::MAX) else {
            return Poll::Pending;
        };
        if core.clock.now() >= self.deadline {
            return Poll::Ready(Err(CallError::Timeout));
        }
        if self
            .timer
            .as_ref()
            .is_none_or(|(_, old)| !old.will_wake(cx.waker()))
        {
            self.disarm();
            let timer = core
                .timers
                .arm(&core, self.deadline, Due::Wake(cx.waker().clone()));
            self.timer = Some((timer, cx.waker().clone()));
        }
        if core.timers.is_closed() {
            // The system has ended, and its clock wakes nobody; what is not answered now never is.
            return Poll::Ready(self.try_take().unwrap_or(Err(CallError::Timeout)));
        }
        Poll::Pending
    }
}

impl<R> Future for Call<R> {
    type Output = Result<R, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if matches!(self.state, State::Failed(_)) && out_of_turn(cx) {
            return Poll::Pending;
        }
        if !matches!(self.state, State::Pending(_)) {
            return self.try_take().map_or(Poll::Pending, Poll::Ready);
        }
        let polled = match own_turn(cx) {
            // The deadline is on this system's clock.
            Some((worker, cell))
                if self.core.as_ref().is_none_or(|home| home.is(worker.core())) =>
            {
                self.poll_in_process(worker, cell, cx)
            }
            _ => {
                note_other_wait(cx);
                self.poll_outside(cx)
            }
        };
        if polled.is_ready() {
            self.state = State::Over;
            self.disarm();
        }
        polled
    }
}

impl<R> Unpin for Call<R> {}

impl<R> Drop for Call<R> {
    fn drop(&mut self) {
        self.disarm();
    }
}

/// The running turn, if `cx` is the running process's own context and not a combinator's.
pub(crate) fn own_turn<'a>(cx: &Context<'_>) -> Option<(&'a Worker, &'a Cell)> {
    let worker = here()?;
    // SAFETY: the running process's cell is alive, and this is its turn.
    let cell = unsafe { &*worker.current()?.as_ptr() };
    waker::is_own(cx.waker(), cell).then_some((worker, cell))
}

/// Notes that the handler waits for something besides calls.
pub(crate) fn note_other_wait(cx: &Context<'_>) {
    if let Some((worker, _)) = own_turn(cx) {
        worker.turn.others.set(worker.turn.others.get() + 1);
    }
}

/// Charges the process for something it awaited that was there without a wait. `true`: its turn is
/// over first; it is woken in the next. So one that awaits such things in a loop (a call to a dead
/// server, say) lets others run, and can be killed.
#[must_use = "`true`: return `Pending`"]
pub(crate) fn out_of_turn(cx: &Context<'_>) -> bool {
    let Some((worker, cell)) = here().and_then(|worker| Some((worker, worker.current()?))) else {
        return false;
    };
    // SAFETY: the running process's cell is alive.
    let urgent = &unsafe { cell.as_ref() }.urgent;
    if urgent.load(Relaxed) {
        // Taken in next. (The flag may come late, behind the signal it tells of, and must not stay.)
        urgent.store(false, Relaxed);
    } else if worker.charge() {
        return false;
    }
    worker.turn.yielded.set(true);
    note_other_wait(cx);
    cx.waker().wake_by_ref();
    true
}

/// Gives a named future that wraps a [`Call`] its three ways of waiting.
macro_rules! waits {
    ($name:ident $(<$($param:ident $(: $bound:path)?),+>)?, $output:ty, $map:expr) => {
        impl $(<$($param $(: $bound)?),+>)? ::std::future::Future for $name $(<$($param),+>)? {
            type Output = $output;
            fn poll(mut self: ::std::pin::Pin<&mut Self>, cx: &mut ::std::task::Context<'_>) -> ::std::task::Poll<Self::Output> {
                match ::std::pin::Pin::new(&mut self.call).poll(cx) {
                    ::std::task::Poll::Pending => ::std::task::Poll::Pending,
                    ::std::task::Poll::Ready(answer) => ::std::task::Poll::Ready(($map)(&mut *self, answer)),
                }
            }
        }
        impl $(<$($param $(: $bound)?),+>)? $name $(<$($param),+>)? {
            /// Blocks the calling thread until the answer is here. On the thread that drives a manual
            /// system this runs the system meanwhile.
            ///
            /// # Errors
            /// As the future itself; also that the caller must not block, or that a manual system has
            /// nothing left to run.
            pub fn wait(mut self) -> $output {
                let call = ::std::mem::replace(&mut self.call, $crate::process::call::Call::failed($crate::CallError::NoReply));
                ($map)(&mut self, call.wait())
            }

            /// As [`wait`](Self::wait), for at most `timeout` from now.
            ///
            /// # Errors
            /// As for [`wait`](Self::wait).
            pub fn wait_timeout(mut self, timeout: ::std::time::Duration) -> $output {
                let call = ::std::mem::replace(&mut self.call, $crate::process::call::Call::failed($crate::CallError::NoReply));
                ($map)(&mut self, call.wait_timeout(timeout))
            }
        }
    };
}
pub(crate) use waits;
