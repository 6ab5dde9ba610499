//! How others reach a partition supervisor.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::table::Partitions;
use crate::error::{CallError, StartError};
use crate::handles::handles;
use crate::process::call::{Call, waits};
use crate::process::pid::Pid;
use crate::registry::Name;
use crate::supervisor::process::Tag;
use crate::supervisor::starter::ChildPid;
use crate::supervisor::{ChildCounts, ChildInfo, ChildRequest, SupervisorRef, SupervisorStart};
use crate::system::Handle;

/// A reference to a running [`PartitionSupervisor`](crate::PartitionSupervisor): cheap to clone; does
/// not keep it running.
///
/// It dereferences to its [`Partitions`], which go on leading to the partitions if the supervisor is
/// restarted; the other methods ask this incarnation of it.
pub struct PartitionSupervisorRef<P> {
    supervisor: SupervisorRef,
    partitions: Partitions<P>,
}

handles! {
    /// Asks the supervisor to stop: as [`SupervisorRef::stop`]. Elixir: `PartitionSupervisor.stop/3`.
    PartitionSupervisorRef<P: (Send + Sync + 'static)> { supervisor, partitions }, "supervisor"
}

impl<P> Deref for PartitionSupervisorRef<P> {
    type Target = Partitions<P>;
    fn deref(&self) -> &Partitions<P> {
        &self.partitions
    }
}

impl<P> PartitionSupervisorRef<P> {
    /// The partitions in order; the id of each is its number, from `"0"`. Elixir:
    /// `PartitionSupervisor.which_children/1`.
    pub fn which_children(&self) -> ChildRequest<Vec<ChildInfo>> {
        self.supervisor.which_children()
    }

    /// How many partitions there are, and how many run. Elixir: `PartitionSupervisor.count_children/1`.
    pub fn count_children(&self) -> ChildRequest<ChildCounts> {
        self.supervisor.count_children()
    }
}

impl Handle {
    /// Looks up the live partition supervisor that has `name` and whose partitions are reached by a
    /// `P`: `ServerRef<Counter>` for servers.
    ///
    /// It is asked for its [`Partitions`], hence the wait; keep them.
    pub fn partition_supervisor<P: ChildPid>(&self, name: impl Into<Name>) -> PartitionLookup<P> {
        let supervisor = self.supervisor(name);
        PartitionLookup {
            call: match &supervisor {
                Some(supervisor) => supervisor.tag(),
                None => Call::failed(CallError::NoProc),
            },
            supervisor,
            partition: PhantomData,
        }
    }
}

/// The look-up of a partition supervisor, under way: a future of a reference to it.
///
/// # Errors
/// [`CallError::NoProc`]: nobody has that name, or it is no partition supervisor with such partitions.
/// The others as for a call; there is no timeout.
///
/// # Cancellation
/// Dropping it gives up interest in the answer, nothing else.
#[must_use = "the answer is dropped"]
pub struct PartitionLookup<P> {
    call: Call<Option<Tag>>,
    supervisor: Option<SupervisorRef>,
    partition: PhantomData<fn(P)>,
}

impl<P> fmt::Debug for PartitionLookup<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PartitionLookup").field(&self.call).finish()
    }
}

impl<P: ChildPid> PartitionLookup<P> {
    fn finish(
        &mut self,
        answer: Result<Option<Tag>, CallError>,
    ) -> Result<PartitionSupervisorRef<P>, CallError> {
        let tag = answer?;
        let partitions = tag
            .as_ref()
            .and_then(|tag| tag.downcast_ref::<Partitions<P>>());
        match (self.supervisor.take(), partitions) {
            (Some(supervisor), Some(partitions)) => Ok(PartitionSupervisorRef {
                supervisor,
                partitions: partitions.clone(),
            }),
            _ => Err(CallError::NoProc),
        }
    }
}

waits!(
    PartitionLookup<P: ChildPid>,
    Result<PartitionSupervisorRef<P>, CallError>,
    |lookup: &mut PartitionLookup<P>, answer| lookup.finish(answer)
);

/// A partition supervisor that is being started: a future of its reference, ready when all partitions
/// are.
///
/// # Errors
/// As for [`SupervisorStart`]; the id in a [`StartError::Child`] is the number of the partition.
///
/// # Cancellation
/// Dropping it does not stop the supervisor.
#[must_use = "the supervisor starts, but whether it did is not looked at"]
pub struct PartitionSupervisorStart<P> {
    start: SupervisorStart,
    partitions: Partitions<P>,
}

impl<P> fmt::Debug for PartitionSupervisorStart<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PartitionSupervisorStart")
            .field(&self.start)
            .finish()
    }
}

impl<P> PartitionSupervisorStart<P> {
    pub(super) fn new(start: SupervisorStart, partitions: Partitions<P>) -> Self {
        PartitionSupervisorStart { start, partitions }
    }

    /// The pid, as soon as there is one.
    pub fn pid(&self) -> Option<Pid> {
        self.start.pid()
    }

    /// Blocks the calling thread until all partitions run. On the thread that drives a manual system
    /// this runs the system meanwhile.
    ///
    /// # Errors
    /// As the future itself; also that the caller must not block, or that a manual system has nothing
    /// left to run.
    pub fn wait(self) -> Result<PartitionSupervisorRef<P>, StartError> {
        Ok(PartitionSupervisorRef {
            supervisor: self.start.wait()?,
            partitions: self.partitions,
        })
    }

    /// As [`wait`](Self::wait), for at most `timeout` from now; then the supervisor is killed.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait).
    pub fn wait_timeout(self, timeout: Duration) -> Result<PartitionSupervisorRef<P>, StartError> {
        Ok(PartitionSupervisorRef {
            supervisor: self.start.wait_timeout(timeout)?,
            partitions: self.partitions,
        })
    }
}

impl<P> Future for PartitionSupervisorStart<P> {
    type Output = Result<PartitionSupervisorRef<P>, StartError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Poll::Ready(started) = Pin::new(&mut self.start).poll(cx) else {
            return Poll::Pending;
        };
        Poll::Ready(started.map(|supervisor| PartitionSupervisorRef {
            supervisor,
            partitions: self.partitions.clone(),
        }))
    }
}
