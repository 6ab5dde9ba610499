//! References to a child, whichever incarnation of it runs.
//!
//! ```text
//!  Supervised<S> ──▶ Place ◀── the supervisor writes the pid of each incarnation that started
//!                      ▲
//!   Directory: id ─────┘  one for each supervisor; that of a branch belongs to its place in the
//!                         tree, so it outlives the branch's own restarts
//! ```

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

use super::spec::ChildSpec;
use crate::gen_server::{GenServer, ServerRef};
use crate::handles::{asks_whoever, tells_whoever};
use crate::hash::Seeds;
use crate::process::pid::Pid;
use crate::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Release},
};
use crate::sync::{Arc, Mutex};
use crate::system::Handle;

/// Where a child is.
#[derive(Default)]
pub(crate) struct Place {
    /// Id and serial of the latest incarnation that started, which may be dead; 0: there was none, or
    /// the child is forgotten.
    at: AtomicU64,
    /// Where the children of the supervisors are that its start function starts, in order: mostly of
    /// one, the child itself.
    below: Mutex<Vec<Arc<Directory>>>,
}

impl Place {
    pub(crate) fn set(&self, pid: Pid) {
        // Release, with the Acquire in `pid`: whoever reads the pid finds the process.
        let at = u64::from(pid.id()) << 32 | u64::from(pid.serial());
        self.at.store(at, Release);
    }

    pub(crate) fn clear(&self) {
        self.at.store(0, Release);
    }

    fn pid(&self, system: &Handle) -> Option<Pid> {
        let at = self.at.load(Acquire);
        let pid = Pid::local(system.core().creation(), (at >> 32) as u32, at as u32);
        (at != 0).then_some(pid)
    }

    /// Where the children are of the supervisor that is the nth its start function starts, counted from
    /// 0: the same in each incarnation.
    pub(super) fn below(&self, nth: usize) -> Arc<Directory> {
        let mut below = self.below.lock();
        if below.len() <= nth {
            below.resize_with(nth + 1, Arc::default);
        }
        below[nth].clone()
    }
}

/// The places of a supervisor's children.
#[derive(Default)]
pub(crate) struct Directory {
    places: Mutex<HashMap<Arc<str>, Arc<Place>, Seeds>>,
}

impl Directory {
    /// The place of the child with that id.
    pub(crate) fn place(&self, id: &Arc<str>) -> Arc<Place> {
        self.places.lock().entry(id.clone()).or_default().clone()
    }

    /// The child is forgotten. (Its place stays as long as somebody refers to it, for one with the
    /// same id may be added.)
    pub(crate) fn forget(&self, id: &str) {
        let mut places = self.places.lock();
        let Some(place) = places.get(id) else { return };
        place.clear();
        if Arc::strong_count(place) == 1 {
            places.remove(id);
        }
    }

    /// A new incarnation of the supervisor begins, with those children.
    pub(crate) fn begin(&self, children: &[ChildSpec]) {
        let ids: std::collections::HashSet<&str> = children.iter().map(ChildSpec::id).collect();
        self.places.lock().retain(|id, place| {
            place.clear();
            ids.contains(&**id) || Arc::strong_count(place) > 1
        });
    }
}

/// A server that is the child of a supervisor, whichever incarnation of it runs: each call, cast or
/// send goes to the one that does. [`SupervisorRef::supervised`](super::SupervisorRef::supervised)
/// makes it. The child needs no registered name.
///
/// | reference | leads to | where nobody runs |
/// |---|---|---|
/// | [`ServerRef`] | one incarnation, for ever | its exit reason |
/// | [`Named`](crate::Named) | whoever has the name | [`CallError::NoProc`](crate::CallError::NoProc) |
/// | `Supervised` | whoever is the child with that id of that supervisor | [`CallError::NoProc`](crate::CallError::NoProc) |
///
/// Between the end of one incarnation and the end of the next one's `init` nobody runs. A branch of
/// the tree that is restarted, started by [`ChildSpec::supervisor`] or
/// [`Starter::start_supervisor`](super::Starter::start_supervisor), keeps its place: what refers to
/// children below it leads to their new incarnations. When the supervisor is gone for good, or has
/// forgotten the child, it leads to nobody, until a child with the same id is added.
///
/// ```
/// use noex::prelude::*;
/// # use noex::Supervised;
/// # struct Cache(u64);
/// # struct Get;
/// # impl GenServer for Cache {
/// #     type Args = u64;
/// #     async fn init(size: u64, _: &mut Context<Self>) -> Result<Self, InitStop> {
/// #         Ok(Cache(size))
/// #     }
/// # }
/// # impl HandleCall<Get> for Cache {
/// #     type Reply = u64;
/// #     async fn handle_call(&mut self, _: Get, _: &mut Context<Self>) -> u64 { self.0 }
/// # }
/// # let system = System::new()?;
/// let tree = Supervisor::new(Strategy::OneForOne)
///     .child(ChildSpec::server::<Cache>("cache", 7))
///     .start(&system)
///     .wait()?;
/// let cache: Supervised<Cache> = tree.supervised("cache").wait()?;
/// assert_eq!(cache.call(Get).wait()?, 7);
/// # Ok::<(), noex::Error>(())
/// ```
pub struct Supervised<S> {
    system: Handle,
    id: Arc<str>,
    place: Arc<Place>,
    server: PhantomData<fn(S)>,
}

impl<S> Clone for Supervised<S> {
    fn clone(&self) -> Self {
        Supervised {
            system: self.system.clone(),
            id: self.id.clone(),
            place: self.place.clone(),
            server: PhantomData,
        }
    }
}

/// Whether they are the same child of the same supervisor.
impl<S> PartialEq for Supervised<S> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.place, &other.place)
    }
}

impl<S> Eq for Supervised<S> {}

impl<S> fmt::Debug for Supervised<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Supervised").field(&self.id).finish()
    }
}

impl<S: GenServer> Supervised<S> {
    pub(crate) fn new(system: Handle, id: Arc<str>, place: Arc<Place>) -> Self {
        Supervised {
            system,
            id,
            place,
            server: PhantomData,
        }
    }

    /// The child's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The process that is the child now; `None`: none runs.
    pub fn pid(&self) -> Option<Pid> {
        let pid = self.place.pid(&self.system)?;
        self.system.is_alive(pid).then_some(pid)
    }

    /// The incarnation that runs now; `None`: none does, or it is not an `S`.
    pub fn resolve(&self) -> Option<ServerRef<S>> {
        self.system.server_ref(self.place.pid(&self.system)?)
    }

    asks_whoever!("no incarnation runs");
    tells_whoever!("");
}
