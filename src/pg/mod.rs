//! Process groups: which processes belong together, by groups of a scope. OTP: `pg`.
//!
//! ```text
//!   join, leave ──▶ the lock of the scope ──▶ the store, and an event for each monitor
//!   get_members, which_groups, dispatch ◀── the store, without a lock that is waited for
//! ```
//! The store, and the process that sweeps the dead, are those of the registries ([`crate::registry`]).
//!
//! # Invariants
//! 1. Memberships change under the lock of the scope, and events enter the mailboxes of the monitors
//!    under it: so each monitor hears of all changes in one order.
//! 2. Who begins to monitor is told, under that lock, who is a member, and what of the dead is still in
//!    the store is swept: so what it is told, and the events that follow, add up to the members.

mod scope;

use std::any::type_name;
use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;

use self::scope::Scope;
use crate::error::StartError;
use crate::exit::ExitReason;
use crate::gen_server::{Recipient, Stop};
use crate::process::context::ProcessContext;
use crate::process::pid::Pid;
use crate::process::spawn::Ties;
use crate::registry::builder::LINK;
use crate::registry::directory::{Missing, scopes};
use crate::registry::keeper::{self, Launch};
use crate::registry::{Name, RegistryError};
use crate::sched::core::CoreRef;
use crate::supervisor::{ChildSpec, Starter};
use crate::sync::Arc;
use crate::system::Handle;

/// A scope of process groups, which keys of type `G` name. OTP: `pg`.
///
/// A process may be in any number of groups, and several times in one. A group is there while it has
/// members.
///
/// ```
/// use noex::{Inbox, Pg, System};
///
/// let system = System::new()?;
/// let pg: Pg<&str> = Pg::start(&system, "chat")?;
/// let waits = |mut inbox: Inbox<()>| async move { inbox.recv().await; };
/// let (ann, bob) = (system.spawn(waits)?.pid(), system.spawn(waits)?.pid());
///
/// pg.join("lobby", [ann, bob]).unwrap();
/// pg.join("attic", [bob]).unwrap();
/// assert_eq!(pg.get_members("lobby"), [ann, bob]);
/// assert_eq!(pg.which_groups(), ["lobby", "attic"]);
/// assert_eq!(pg.leave("lobby", [bob]), 1);
/// assert_eq!(pg.get_members("lobby"), [ann]);
/// # Ok::<(), noex::Error>(())
/// ```
///
/// A handle is cheap to clone and keeps nothing running. It leads to the scope through all its
/// incarnations; while there is none it has no groups, and who would join gets [`ScopeClosed`].
///
/// # What holds
/// - A membership ends with its process: whoever has heard of a death finds no membership. (OTP's scope
///   hears of it by its own `DOWN`.)
/// - If the scope's process crashes nothing is lost, and the next one takes over what there is; if it ends in
///   order, by [`stop`](Self::stop) or its supervisor, the scope is over. (In OTP all is lost either way.)
/// - `Hash`, `Eq` and `Clone` of groups run under a lock, and must not use the scope.
/// - All members are local so far: `get_local_members` would be [`get_members`](Self::get_members).
pub struct Pg<G> {
    system: Handle,
    scope: Arc<Scope<G>>,
}

impl<G> Clone for Pg<G> {
    fn clone(&self) -> Self {
        Pg {
            system: self.system.clone(),
            scope: self.scope.clone(),
        }
    }
}

/// Whether they are the same scope.
impl<G> PartialEq for Pg<G> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.scope, &other.scope)
    }
}

impl<G> Eq for Pg<G> {}

impl<G> fmt::Debug for Pg<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pg").field(&self.scope.name).finish()
    }
}

/// The scope has ended in order, and was not started again. OTP: `noproc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the scope is closed")]
#[non_exhaustive]
pub struct ScopeClosed;

/// Names one monitor of a group or a scope. OTP: the reference that `pg:monitor/2` returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PgMonitor(u64);

/// What a monitor is sent: members have joined or left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PgEvent<G> {
    /// These have joined. OTP: `{Ref, join, Group, Pids}`.
    Join {
        /// By which monitor this comes.
        monitor: PgMonitor,
        /// The group.
        group: G,
        /// Who joined, in one step; at least one.
        pids: Vec<Pid>,
    },
    /// These have left, or are dead. OTP: `{Ref, leave, Group, Pids}`.
    Leave {
        /// By which monitor this comes.
        monitor: PgMonitor,
        /// The group.
        group: G,
        /// Who left, in one step; at least one.
        pids: Vec<Pid>,
    },
}

impl<G> Pg<G>
where
    G: Hash + Eq + Clone + Send + Sync + 'static,
{
    /// Starts the scope of that name. From outside any process it is a child of the system's root: stopped
    /// in order at shutdown. OTP: `pg:start/1`.
    ///
    /// A scope whose process has crashed is taken over as it is.
    ///
    /// # Errors
    /// [`StartError::AlreadyStarted`]: it runs. [`StartError::Init`] with
    /// [`RegistryError::WrongType`]: a scope with other groups runs under that name, or crashed and was not
    /// stopped. [`StartError::Refused`]: the system starts no more processes.
    pub fn start(system: &Handle, scope: impl Into<Arc<str>>) -> Result<Self, StartError> {
        let started = Self::launch(system.core(), scope.into(), Handle::ties(), None);
        started.map(|(pg, _)| pg)
    }

    /// Starts it linked to the running process, which is its parent. OTP: `pg:start_link/1`.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn start_link(cx: &ProcessContext, scope: impl Into<Arc<str>>) -> Result<Self, StartError> {
        Self::launch(cx.core(), scope.into(), LINK, None).map(|(pg, _)| pg)
    }

    /// The scope of that name as the child of a supervisor.
    pub fn child_spec(id: impl Into<Arc<str>>, scope: impl Into<Arc<str>>) -> ChildSpec {
        let scope = scope.into();
        ChildSpec::worker(id, move |starter: Starter| {
            let name = starter.options().name;
            let core = starter.process().core();
            let started = Self::launch(core, scope.clone(), LINK, name.as_ref());
            let pid = started.map(|(_, pid)| pid);
            starter.note(pid.as_ref().ok().copied());
            std::future::ready(pid)
        })
    }

    fn launch(
        core: &CoreRef,
        name: Arc<str>,
        ties: Ties,
        process: Option<&Name>,
    ) -> Result<(Self, Pid), StartError> {
        let launch = Launch {
            directory: &scopes(core),
            name: &name,
            wanted: type_name::<Self>(),
            ties,
            process,
        };
        let make = || Scope::new(name.clone());
        let (scope, pid) = launch.start(core, |_| true, make, |scope| scope.store.open())?;
        let system = Handle::new(core.clone());
        Ok((Pg { system, scope }, pid))
    }

    fn core(&self) -> &CoreRef {
        self.system.core()
    }

    /// The name of the scope.
    pub fn name(&self) -> &str {
        &self.scope.name
    }

    /// Whether it is open: it was started, and has not ended in order since.
    pub fn is_open(&self) -> bool {
        self.scope.store.is_open()
    }

    /// The process that sweeps it just now; `None`: nobody does. After a crash that is no error: whoever
    /// joins next appoints one.
    pub fn pid(&self) -> Option<Pid> {
        use crate::registry::keeper::Kept;
        self.scope.post().keeper(self.core())
    }

    /// Has processes join a group, all at once, each once more if it is in the group already; how many they
    /// were. The dead are left out (in OTP they join, and leave at once). OTP: `pg:join/3`.
    ///
    /// # Errors
    /// [`ScopeClosed`].
    pub fn join(
        &self,
        group: G,
        pids: impl IntoIterator<Item = Pid>,
    ) -> Result<usize, ScopeClosed> {
        self.scope
            .join(self.core(), group, pids.into_iter().collect())
    }

    /// Has processes leave a group, all at once, each as often as it is given; how many memberships that
    /// ended. 0: none of them was in the group. OTP: `pg:leave/3`, which gives `not_joined` then.
    pub fn leave<B>(&self, group: &B, pids: impl IntoIterator<Item = Pid>) -> usize
    where
        G: Borrow<B>,
        B: Hash + Eq + ?Sized,
    {
        self.scope
            .leave(self.core(), group, pids.into_iter().collect())
    }

    /// The members of a group, in the order in which they joined, each as often as it has. OTP:
    /// `pg:get_members/2`.
    pub fn get_members<B>(&self, group: &B) -> Vec<Pid>
    where
        G: Borrow<B>,
        B: Hash + Eq + ?Sized,
    {
        self.scope.store.members(self.core(), group).0
    }

    /// All groups that have members, in the order in which the first member of each joined. OTP:
    /// `pg:which_groups/1`.
    pub fn which_groups(&self) -> Vec<G> {
        let (groups, _) = self.scope.store.groups(self.core());
        groups.into_iter().map(|(group, _)| group).collect()
    }

    /// Calls `act` with the members of a group, in the caller; how many they are. Not at all if there are
    /// none. (No counterpart in OTP; as [`Registry::dispatch`](crate::Registry::dispatch).)
    pub fn dispatch<B>(&self, group: &B, act: impl FnOnce(&[Pid])) -> usize
    where
        G: Borrow<B>,
        B: Hash + Eq + ?Sized,
    {
        let members = self.get_members(group);
        if !members.is_empty() {
            act(&members);
        }
        members.len()
    }

    /// Begins to monitor a group: its members now, as [`get_members`](Self::get_members) gives them; `to` is
    /// sent a [`PgEvent`] for each change from now on, in one order with all others of the scope, until it
    /// is dead or [`demonitor`](Self::demonitor) is called. Events do not count against the bound of its
    /// mailbox. OTP: `pg:monitor/2`.
    ///
    /// # Errors
    /// [`ScopeClosed`].
    pub fn monitor(
        &self,
        group: G,
        to: Recipient<PgEvent<G>>,
    ) -> Result<(PgMonitor, Vec<Pid>), ScopeClosed> {
        self.scope.monitor(self.core(), group, to)
    }

    /// As [`monitor`](Self::monitor), for all groups of the scope: those that have members now, with them,
    /// in the order in which the first member of each joined. OTP: `pg:monitor_scope/1`, which gives a map.
    ///
    /// # Errors
    /// [`ScopeClosed`].
    #[allow(clippy::type_complexity)] // groups and their members
    pub fn monitor_scope(
        &self,
        to: Recipient<PgEvent<G>>,
    ) -> Result<(PgMonitor, Vec<(G, Vec<Pid>)>), ScopeClosed> {
        self.scope.monitor_scope(self.core(), to)
    }

    /// Takes a monitor back; whether it was there. OTP: `pg:demonitor/2`.
    ///
    /// Departs from it: events that are in the mailbox already stay there. They say by which monitor they
    /// come.
    pub fn demonitor(&self, monitor: PgMonitor) -> bool {
        self.scope.demonitor(self.core(), monitor)
    }

    /// Ends the scope, in order, with its process: all groups and monitors are gone. The wait is for the
    /// process.
    pub fn stop(&self, reason: ExitReason) -> Stop {
        keeper::stop(self.core(), &self.scope, reason)
    }
}

impl Handle {
    /// The open scope of process groups of that name: `let pg: Pg<u64> = system.pg("rooms")?`.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`]: there is none. [`RegistryError::WrongType`]: its groups are of another
    /// type.
    pub fn pg<G: Send + Sync + 'static>(&self, scope: &str) -> Result<Pg<G>, RegistryError> {
        match scopes(self.core()).find::<Scope<G>>(scope) {
            Ok(scope) => Ok(Pg {
                system: self.clone(),
                scope,
            }),
            Err(Missing::NotFound) => Err(RegistryError::NotFound(scope.into())),
            Err(Missing::OtherType) => Err(RegistryError::WrongType {
                name: scope.into(),
                wanted: type_name::<Pg<G>>(),
            }),
        }
    }
}
