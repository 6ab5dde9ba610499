//! Several calls at once.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use super::HandleRequest;
use super::refs::ServerRef;
use crate::error::CallError;
use crate::process::call::Call;
use crate::process::wait::wait;
use crate::sched::core::CoreRef;

/// Calls all of `servers` with clones of `message`, and waits for all replies: in the order of
/// `servers`, each a reply or its error. OTP: `gen_server:multi_call`, for servers of one node.
pub fn call_all<'a, S, M>(
    servers: impl IntoIterator<Item = &'a ServerRef<S>>,
    message: M,
) -> Calls<S::Reply>
where
    S: HandleRequest<M>,
    M: Clone + Send + 'static,
{
    let mut calls = Calls::new();
    for server in servers {
        calls.add(server.call(message.clone()));
    }
    calls
}

/// A set of calls that wait together. OTP: a request id collection of `gen_server`.
///
/// As a future it is ready when all are, with the answers in the order of adding;
/// [`next_answer`](Self::next_answer) gives them one by one as they come.
#[must_use = "the replies are dropped unless waited for"]
pub struct Calls<R> {
    calls: Vec<Slot<R>>,
}

enum Slot<R> {
    Waiting(Call<R>),
    Answered(Result<R, CallError>),
    Taken,
}

impl<R> fmt::Debug for Calls<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls")
            .field("len", &self.calls.len())
            .finish()
    }
}

impl<R> Default for Calls<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> Calls<R> {
    /// An empty set.
    pub fn new() -> Self {
        Calls { calls: Vec::new() }
    }

    /// Adds a call; its place in the results.
    pub fn add(&mut self, call: Call<R>) -> usize {
        self.calls.push(Slot::Waiting(call));
        self.calls.len() - 1
    }

    /// Waits for the next answer, with its place; `None` when all have been given out.
    pub fn next_answer(&mut self) -> NextCall<'_, R> {
        NextCall { calls: self }
    }

    /// Blocks until all answers are here. Errors stand in the answers.
    pub fn wait(mut self) -> Vec<Result<R, CallError>> {
        self.calls
            .drain(..)
            .filter_map(|slot| match slot {
                Slot::Waiting(call) => Some(call.wait()),
                Slot::Answered(answer) => Some(answer),
                Slot::Taken => None,
            })
            .collect()
    }

    /// As [`wait`](Self::wait), for at most `timeout` from now; what has no answer then is
    /// [`CallError::Timeout`].
    pub fn wait_timeout(mut self, timeout: Duration) -> Vec<Result<R, CallError>> {
        let core = self.home();
        let unready = match wait(core.as_deref(), &mut self, Some(timeout)) {
            Ok(answers) => return answers,
            Err(unready) => CallError::from(unready),
        };
        self.calls
            .drain(..)
            .filter_map(|slot| match slot {
                Slot::Waiting(_) => Some(Err(unready.clone())),
                Slot::Answered(answer) => Some(answer),
                Slot::Taken => None,
            })
            .collect()
    }

    /// The system that answers, as far as one of the calls still knows.
    fn home(&self) -> Option<CoreRef> {
        self.calls.iter().find_map(|slot| match slot {
            Slot::Waiting(call) => call.home().cloned(),
            _ => None,
        })
    }

    fn poll_slots(&mut self, cx: &mut std::task::Context<'_>) -> bool {
        let mut all = true;
        for slot in &mut self.calls {
            if let Slot::Waiting(call) = slot {
                match Pin::new(call).poll(cx) {
                    Poll::Ready(answer) => *slot = Slot::Answered(answer),
                    Poll::Pending => all = false,
                }
            }
        }
        all
    }
}

impl<R> Future for Calls<R> {
    type Output = Vec<Result<R, CallError>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        if !self.poll_slots(cx) {
            return Poll::Pending;
        }
        let answers = self.calls.drain(..).filter_map(|slot| match slot {
            Slot::Answered(answer) => Some(answer),
            Slot::Waiting(_) | Slot::Taken => None,
        });
        Poll::Ready(answers.collect())
    }
}

impl<R> Unpin for Calls<R> {}

/// The next answer of a set: [`Calls::next_answer`].
///
/// # Cancellation
/// Dropped before it is ready it has taken nothing.
#[must_use = "does nothing unless waited for"]
#[derive(Debug)]
pub struct NextCall<'a, R> {
    calls: &'a mut Calls<R>,
}

/// The place of a call in its set, and its answer; `None`: all have been given out.
type Next<R> = Option<(usize, Result<R, CallError>)>;

impl<R> NextCall<'_, R> {
    /// Blocks until the next answer is here.
    ///
    /// # Errors
    /// The wait itself failed, not one of the calls, and the set is as it was: the caller must not
    /// block ([`CallError::WouldBlock`]), or a manual system has nothing left to run
    /// ([`CallError::Stalled`]).
    pub fn wait(self) -> Result<Next<R>, CallError> {
        self.block(None)
    }

    /// As [`wait`](Self::wait), for at most `timeout` from now.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait), and [`CallError::Timeout`].
    pub fn wait_timeout(self, timeout: Duration) -> Result<Next<R>, CallError> {
        self.block(Some(timeout))
    }

    fn block(mut self, timeout: Option<Duration>) -> Result<Next<R>, CallError> {
        let core = self.calls.home();
        wait(core.as_deref(), &mut self, timeout).map_err(CallError::from)
    }
}

impl<R> Future for NextCall<'_, R> {
    type Output = Next<R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        self.calls.poll_slots(cx);
        let slots = &mut self.calls.calls;
        if let Some(place) = slots
            .iter()
            .position(|slot| matches!(slot, Slot::Answered(_)))
        {
            if let Slot::Answered(answer) = std::mem::replace(&mut slots[place], Slot::Taken) {
                return Poll::Ready(Some((place, answer)));
            }
        }
        if slots.iter().all(|slot| matches!(slot, Slot::Taken)) {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    }
}
