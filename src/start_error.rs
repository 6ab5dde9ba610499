//! [`StartError`]: why a server, a supervisor or another process did not start.

use std::sync::Arc;

use crate::exit::ExitReason;
use crate::process::pid::Pid;

/// Why a server did not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The name is taken by this live process. OTP: `{already_started, Pid}`.
    #[error("already started as {0}")]
    AlreadyStarted(Pid),
    /// It was to be registered under a key of this registry, which is not open.
    #[error("the registry `{0}` is not open")]
    NoRegistry(Arc<str>),
    /// `init` asked not to be started. OTP: `ignore`.
    #[error("init asked to be ignored")]
    Ignore,
    /// `init` failed, panicked or was killed, with this reason. OTP: `{error, Reason}`.
    #[error("init failed")]
    Init(#[source] ExitReason),
    /// `init` took longer than the start's timeout; the process was killed. OTP: `timeout`.
    #[error("init did not finish within the timeout")]
    Timeout,
    /// The system is shutting down, or has no room for another process.
    #[error("the system starts no more processes")]
    Refused,
    /// A supervisor's child did not start; those started before it have been stopped again. OTP:
    /// `{shutdown, {failed_to_start_child, Id, Reason}}`.
    #[error("child `{id}` did not start")]
    Child {
        /// The id in the child's spec.
        id: Arc<str>,
        /// Why it did not start.
        #[source]
        error: Box<StartError>,
    },
    /// Two children of a supervisor have this id. OTP: `{duplicate_child_name, Id}`.
    #[error("two children have the id `{0}`")]
    DuplicateChild(Arc<str>),
    /// A permanent child cannot be significant: it never ends for good. OTP: `{bad_combination,
    /// [{restart, permanent}, {significant, true}]}`.
    #[error("child `{0}` is permanent and so cannot be significant")]
    SignificantPermanent(Arc<str>),
    /// A significant child, of a supervisor whose `auto_shutdown` is `Never`. OTP: `{bad_combination,
    /// [{auto_shutdown, never}, {significant, true}]}`.
    #[error("child `{0}` is significant, but its supervisor never shuts down by itself")]
    SignificantInVain(Arc<str>),
    /// As [`CallError::WouldBlock`](crate::CallError::WouldBlock).
    #[error("cannot block here: this thread runs processes; use `.await`")]
    WouldBlock,
    /// As [`CallError::Stalled`](crate::CallError::Stalled).
    #[error("the manual system is idle and nothing in it can finish the start")]
    Stalled,
}

impl StartError {
    /// The exit reason a supervisor or a caller that passes the failure on would use. That of
    /// [`Child`](Self::Child) counts as a [shutdown](ExitReason::is_shutdown), as in OTP.
    pub fn into_reason(self) -> ExitReason {
        match self {
            StartError::Init(reason) => reason,
            other => ExitReason::error(other),
        }
    }

    /// The error that `reason` was made of by [`into_reason`](Self::into_reason).
    pub(crate) fn of(reason: ExitReason) -> Self {
        match reason.downcast_ref::<StartError>() {
            Some(error) => error.clone(),
            None => StartError::Init(reason),
        }
    }
}

impl From<ExitReason> for StartError {
    fn from(reason: ExitReason) -> Self {
        StartError::Init(reason)
    }
}
