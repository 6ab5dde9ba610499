//! What can go wrong, an enum for each operation.

use std::fmt;
use std::sync::Arc;

use crate::exit::ExitReason;
use crate::process::pid::Pid;
pub use crate::start_error::StartError;

/// Why a call, or another request that waits for an answer, gave none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// No process has this pid or name; the request reached no one. OTP: `noproc`. (A reference to a
    /// dead incarnation knows more: [`Exited`](Self::Exited).)
    #[error("no such process")]
    NoProc,
    /// The server exited before it replied; whether it handled the request is unknown. OTP: the exit
    /// reason itself.
    #[error("the server exited before it replied")]
    Exited(#[source] ExitReason),
    /// No reply in time. The server may still handle the request; a late reply is dropped. OTP:
    /// `timeout`.
    #[error("no reply within the timeout")]
    Timeout,
    /// The server is alive but dropped the right to reply without using it.
    #[error("the server dropped the request without a reply")]
    NoReply,
    /// The server's bounded mailbox had no room for the request, or dropped it for a newer one.
    #[error("the server's mailbox is full")]
    Overloaded,
    /// This call would have waited for ever: the servers on the path wait for each other. Only the
    /// call that closed the cycle gets the error. (OTP: all of them wait until they time out; a call
    /// to oneself exits with `calling_self`.)
    ///
    /// Only waits of which it is certain count: of a server, in a handler, for one call and nothing
    /// else, which [`HandleCall`](crate::HandleCall) answers. A wait for a
    /// [`HandleRequest`](crate::HandleRequest) never does, as its answer may come from anywhere.
    #[error("the call closes a cycle of calls: {0}")]
    Cycle(CallPath),
    /// `.wait()` on a scheduler thread or inside a tick would block the scheduler; `.await` instead.
    #[error("cannot block here: this thread runs processes; use `.await`")]
    WouldBlock,
    /// A manual system has nothing left to run that could bring the reply.
    #[error("the manual system is idle and nothing in it can bring the reply")]
    Stalled,
}

/// The way round a cycle of calls, from the process that closed it back to itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallPath(pub(crate) Arc<[Pid]>);

impl CallPath {
    /// The processes in the order in which each waits for the next; the first is also the last.
    pub fn pids(&self) -> &[Pid] {
        &self.0
    }
}

impl fmt::Display for CallPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, pid) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(" -> ")?;
            }
            write!(f, "{pid}")?;
        }
        Ok(())
    }
}

/// A message that a bounded mailbox had no room for, given back. A dead receiver is no error: as in
/// OTP, what is sent to it is dropped (and counted as undelivered).
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("the receiver's mailbox is full")]
pub struct SendError<M>(pub M);

// Not derived: a message need not be `Debug` for its sender to `unwrap`.
impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError").finish_non_exhaustive()
    }
}

impl From<SpawnError> for StartError {
    fn from(_: SpawnError) -> Self {
        StartError::Refused
    }
}

/// The system is shut down (or has no room for another process): it starts no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system starts no more processes")]
#[non_exhaustive]
pub struct SpawnError;

/// Any error of noex, for a `main` that only wants to pass them on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A call gave no reply.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A process did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A process was not spawned.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// A supervisor did not do what it was asked for.
    #[error(transparent)]
    Child(#[from] crate::supervisor::ChildError),
    /// An event manager did not do what it was asked for.
    #[error(transparent)]
    Handler(#[from] crate::gen_event::HandlerError),
    /// A task gave no value.
    #[error(transparent)]
    Task(#[from] crate::task::TaskError),
    /// A process was not registered.
    #[error(transparent)]
    Register(#[from] crate::registry::RegisterError),
    /// A registry was not found.
    #[error(transparent)]
    Registry(#[from] crate::registry::RegistryError),
    /// A table did not do what it was asked for.
    #[error(transparent)]
    Table(#[from] crate::ets::TableError),
    /// A table was not written to a file, or not read from one.
    #[cfg(feature = "tab2file")]
    #[error(transparent)]
    TableFile(#[from] crate::ets::TableFileError),
    /// A persistent table was not opened, or not written.
    #[cfg(feature = "persist")]
    #[error(transparent)]
    Persist(#[from] crate::ets::PersistError),
    /// A bounded mailbox was full.
    #[error("the receiver's mailbox is full")]
    Full,
    /// The system could not be built: the operating system gave no thread.
    #[error("no scheduler thread could be started")]
    Threads(#[from] std::io::Error),
    /// A process the program depends on exited.
    #[error("a process exited")]
    Exited(#[from] ExitReason),
    /// The shutdown left processes behind.
    #[error(transparent)]
    Shutdown(#[from] ShutdownError),
}

impl<M> From<SendError<M>> for Error {
    fn from(_: SendError<M>) -> Self {
        Error::Full
    }
}

/// Why a shutdown did not finish.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShutdownError {
    /// These processes were still inside a handler when the deadline passed; their threads were
    /// abandoned.
    #[error("{} processes did not stop in time", .0.len())]
    Stuck(Vec<Pid>),
    /// As [`CallError::WouldBlock`].
    #[error("cannot block here: this thread runs processes; use `.await`")]
    WouldBlock,
}
