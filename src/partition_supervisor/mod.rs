//! Partition supervisors: a process that is a bottleneck, made into several, each with a part of the
//! keys. Elixir: `PartitionSupervisor`.
//!
//! ```text
//!                          key ──▶ partition = |key| or its hash, % N
//!                                      │
//!   PartitionSupervisor ── Partitions ─┼──────┬──────┬─── ...    written when a partition has started
//!          │                           ▼      ▼      ▼
//!          └─ one template ─────────▶ "0"    "1"    "2"   ...    its children
//! ```
//!
//! It is a [`Supervisor`] of N children of one [`Template`], whose argument is the number of the
//! partition, and a table that leads to the latest incarnation of each.
//!
//! | part | what it holds |
//! |---|---|
//! | `route` | which partition a key goes to: a pure function |
//! | `table` | [`Partitions`]: where the partitions are now |
//! | `partition` | [`Partition`]: a server by the partition it has |
//! | `handle` | [`PartitionSupervisorRef`], and the futures of its answers |

mod handle;
mod partition;
mod route;
mod table;

use std::fmt;

pub use self::handle::{PartitionLookup, PartitionSupervisorRef, PartitionSupervisorStart};
pub use self::partition::Partition;
pub use self::table::Partitions;

use crate::dynamic_supervisor::Template;
use crate::process::context::ProcessContext;
use crate::sched::core::Core;
use crate::supervisor::flags::{Flags, flag_methods};
use crate::supervisor::spec::{ChildKind, ChildSpec, Starting};
use crate::supervisor::starter::{ChildPid, Starter};
use crate::supervisor::{Strategy, Supervisor};
use crate::sync::Arc;
use crate::system::Handle;

/// What a partition supervisor is to be: so many children of one template, reached by key. Elixir:
/// `PartitionSupervisor.start_link/1`.
///
/// The template's argument is the number of the partition, from 0 (Elixir: `:with_arguments`), and `P`
/// is what leads to a partition. It is cloned for whoever asks, on any thread. If the supervisor has a
/// [`name`](Self::name) (Elixir demands one), [`Handle::partition_supervisor`] finds it.
///
/// # Examples
/// ```
/// use noex::prelude::*;
/// use noex::{PartitionSupervisor, Template};
/// # use std::collections::HashMap;
///
/// #[derive(Default)]
/// struct Counts(HashMap<String, u64>);
/// struct Count(String);
///
/// impl GenServer for Counts {
///     type Args = ();
///     async fn init(_: (), _cx: &mut Context<Self>) -> Result<Self, InitStop> {
///         Ok(Counts::default())
///     }
/// }
/// impl HandleCall<Count> for Counts {
///     type Reply = u64;
///     async fn handle_call(&mut self, Count(word): Count, _cx: &mut Context<Self>) -> u64 {
///         let count = self.0.entry(word).or_default();
///         *count += 1;
///         *count
///     }
/// }
///
/// let system = System::new()?;
/// let counts = PartitionSupervisor::new(Template::server_with::<Counts, _>(|_partition| ()))
///     .partitions(4)
///     .start(&system)
///     .wait()?;
/// for (word, times) in [("so", 1), ("it", 1), ("goes", 1), ("so", 2)] {
///     assert_eq!(counts.server(word).call(Count(word.into())).wait()?, times);
/// }
/// # system.shutdown().wait()?;
/// # Ok::<(), noex::Error>(())
/// ```
pub struct PartitionSupervisor<P> {
    template: Template<usize, P>,
    partitions: usize,
    strategy: Strategy,
    flags: Flags,
    routes: Partitions<P>,
}

/// A clone is another supervisor: it has [`routes`](PartitionSupervisor::routes) of its own.
impl<P> Clone for PartitionSupervisor<P> {
    fn clone(&self) -> Self {
        PartitionSupervisor {
            template: self.template.clone(),
            partitions: self.partitions,
            strategy: self.strategy,
            flags: self.flags.clone(),
            routes: Partitions::new(),
        }
    }
}

impl<P> fmt::Debug for PartitionSupervisor<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionSupervisor")
            .field("template", &self.template)
            .field("partitions", &self.partitions)
            .field("strategy", &self.strategy)
            .field("flags", &self.flags)
            .finish_non_exhaustive()
    }
}

impl<P> PartitionSupervisor<P> {
    /// A supervisor of partitions that are as `template` says, with the defaults that each method
    /// names. The partitions are [`Restart::Permanent`](crate::Restart::Permanent) unless the template says
    /// otherwise, and none of them can be [`significant`](ChildSpec::significant).
    pub fn new(template: Template<usize, P>) -> Self {
        PartitionSupervisor {
            template,
            partitions: 0,
            strategy: Strategy::OneForOne,
            flags: Flags::default(),
            routes: Partitions::new(),
        }
    }

    /// How many partitions there are. Default, also for 0: as many as the system has scheduler threads.
    /// The number of the first start holds for all.
    pub fn partitions(mut self, partitions: usize) -> Self {
        self.partitions = partitions;
        self
    }

    /// Which partitions are restarted with one that ended. Default: [`Strategy::OneForOne`].
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    flag_methods!(backoff);

    /// The way to the partitions, for those who will send to them once the supervisor runs. If it is
    /// started twice at the same time (as two clones of a [`ChildSpec`] may be), that leads to whichever
    /// partition started last.
    pub fn routes(&self) -> Partitions<P> {
        self.routes.clone()
    }
}

impl<P: ChildPid + Clone + Sync> PartitionSupervisor<P> {
    /// Starts it. From outside any process it is a child of the system's root: stopped in order at
    /// shutdown.
    pub fn start(self, system: &Handle) -> PartitionSupervisorStart<P> {
        let start = self.supervisor(system.core()).start(system);
        PartitionSupervisorStart::new(start, self.routes)
    }

    /// Starts it linked to the running process, which is its parent. If it fails, the error comes back
    /// *and* the exit signal does. Elixir: `PartitionSupervisor.start_link/1`.
    pub fn start_link(self, cx: &ProcessContext) -> PartitionSupervisorStart<P> {
        let start = self.supervisor(cx.core()).start_link(cx);
        PartitionSupervisorStart::new(start, self.routes)
    }

    fn supervisor(&self, core: &Core) -> Supervisor {
        let wanted = match self.partitions {
            0 => core.remotes.len(),
            partitions => partitions,
        };
        let partitions = self.routes.open(wanted);
        Supervisor::new(self.strategy)
            .flags(self.flags.clone())
            .children((0..partitions).map(|index| self.partition(index)))
            .tag(Arc::new(self.routes()))
    }

    fn partition(&self, index: usize) -> ChildSpec {
        let (template, routes) = (self.template.clone(), self.routes());
        let start = move |starter: Starter| -> Starting {
            let system = starter.system();
            let starting = template.start(starter, index);
            let routes = routes.clone();
            Box::pin(async move {
                let (pid, partition) = starting.await?;
                routes.set(index, system, partition);
                Ok(pid)
            })
        };
        self.template.child_spec(index.to_string(), Arc::new(start))
    }
}

impl ChildSpec {
    /// A partition supervisor under this supervisor: a branch of the tree. It is stopped with
    /// [`Shutdown::Infinity`](crate::Shutdown::Infinity) unless told otherwise. Its
    /// [`routes`](PartitionSupervisor::routes) lead to the partitions of each incarnation.
    pub fn partition_supervisor<P: ChildPid + Clone + Sync>(
        id: impl Into<Arc<str>>,
        supervisor: PartitionSupervisor<P>,
    ) -> Self {
        let start = move |starter: Starter| -> Starting {
            let starting = starter.start_partitions(&supervisor);
            Box::pin(async move { starting.await.map(|child| child.pid()) })
        };
        Self::new(id, ChildKind::Supervisor, Arc::new(start))
    }
}

impl Starter {
    /// Starts a partition supervisor, with the name of the spec if there is one.
    pub fn start_partition_supervisor<P: ChildPid + Clone + Sync>(
        &self,
        supervisor: PartitionSupervisor<P>,
    ) -> PartitionSupervisorStart<P> {
        self.start_partitions(&supervisor)
    }

    fn start_partitions<P: ChildPid + Clone + Sync>(
        &self,
        supervisor: &PartitionSupervisor<P>,
    ) -> PartitionSupervisorStart<P> {
        let tree = supervisor.supervisor(self.process().core());
        // With the name of the spec, if there is one.
        let start = self.start_supervisor(tree);
        PartitionSupervisorStart::new(start, supervisor.routes())
    }
}
