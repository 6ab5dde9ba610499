//! Dispatching to the partitions of a key at the same time.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::error::CallError;
use crate::gen_server::Calls;
use crate::process::ask::question;
use crate::process::call::Call;
use crate::process::pid::Pid;
use crate::process::spawn::{SpawnOptions, Ties};
use crate::receive::{self, Inbox};
use crate::sync::Arc;
use crate::system::Handle;

/// A dispatch in several processes, under way: [`Registry::dispatch_parallel`](super::Registry::dispatch_parallel).
/// Ready, with the number of registrations, when all are done.
///
/// # Errors
/// [`CallError::Exited`]: one of them panicked. [`CallError::NoProc`]: the system starts no more
/// processes. The others go on in either case. (In Elixir a crash is the caller's, too.)
///
/// # Cancellation
/// Dropped, it ends nothing.
#[must_use = "the dispatch runs, but how it goes is not looked at"]
pub struct Dispatch {
    calls: Calls<()>,
    count: usize,
}

impl fmt::Debug for Dispatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatch")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl Dispatch {
    pub(super) fn start<V: Send + 'static>(
        system: &Handle,
        parts: Vec<Vec<(Pid, V)>>,
        act: Arc<impl Fn(&[(Pid, V)]) + Send + Sync + 'static>,
    ) -> Self {
        let mut calls = Calls::new();
        let mut count = 0;
        for entries in parts {
            count += entries.len();
            let act = act.clone();
            let (answer, pending) = question();
            let run = move |_: Inbox<()>| async move {
                act(&entries);
                answer.send(Ok(()));
            };
            // Nobody's, as its end is told here.
            let (core, options) = (system.core(), SpawnOptions::new());
            calls.add(match receive::spawn(core, &options, Ties::default(), run) {
                Ok(_) => Call::new(system.core(), pending, None),
                Err(_) => Call::failed(CallError::NoProc),
            });
        }
        Dispatch { calls, count }
    }

    fn judge(count: usize, answers: Vec<Result<(), CallError>>) -> Result<usize, CallError> {
        answers
            .into_iter()
            .collect::<Result<(), _>>()
            .map(|()| count)
    }

    /// Blocks until all are done.
    ///
    /// # Errors
    /// As the future itself; also that the caller must not block.
    pub fn wait(self) -> Result<usize, CallError> {
        Self::judge(self.count, self.calls.wait())
    }

    /// As [`wait`](Self::wait), for at most `timeout` from now.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait), and [`CallError::Timeout`].
    pub fn wait_timeout(self, timeout: Duration) -> Result<usize, CallError> {
        Self::judge(self.count, self.calls.wait_timeout(timeout))
    }
}

impl Future for Dispatch {
    type Output = Result<usize, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let count = self.count;
        Pin::new(&mut self.calls)
            .poll(cx)
            .map(|answers| Self::judge(count, answers))
    }
}
