//! What all handles of a scope, and its keeper, share.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

use super::{PgEvent, PgMonitor, ScopeClosed};
use crate::gen_server::Recipient;
use crate::process::pid::Pid;
use crate::registry::directory::scopes;
use crate::registry::keeper::{self, Kept, Post};
use crate::registry::listeners::Lost;
use crate::registry::store::{Store, Taken, Told, Which};
use crate::sched::core::{Core, CoreRef};
use crate::sync::{Arc, Mutex};

pub(super) struct Scope<G> {
    pub(super) name: Arc<str>,
    pub(super) store: Store<G, ()>,
    post: Post,
    /// Held by whoever changes memberships, or who monitors them.
    monitors: Mutex<Monitors<G>>,
}

type To<G> = Recipient<PgEvent<G>>;

struct Monitors<G> {
    /// Of the whole scope.
    all: BTreeMap<u64, To<G>>,
    /// Of single groups.
    groups: HashMap<G, BTreeMap<u64, To<G>>>,
    /// What each monitor is of; `None`: the scope.
    of: BTreeMap<u64, (Pid, Option<G>)>,
    /// The monitors of each process.
    by: BTreeMap<Pid, BTreeSet<u64>>,
    next: u64,
}

impl<G> Default for Monitors<G> {
    fn default() -> Self {
        Monitors {
            all: BTreeMap::new(),
            groups: HashMap::new(),
            of: BTreeMap::new(),
            by: BTreeMap::new(),
            next: 0,
        }
    }
}

/// What happened to members.
type Change<G> = fn(PgMonitor, G, Vec<Pid>) -> PgEvent<G>;

fn join<G>(monitor: PgMonitor, group: G, pids: Vec<Pid>) -> PgEvent<G> {
    PgEvent::Join {
        monitor,
        group,
        pids,
    }
}

fn leave<G>(monitor: PgMonitor, group: G, pids: Vec<Pid>) -> PgEvent<G> {
    PgEvent::Leave {
        monitor,
        group,
        pids,
    }
}

impl<G> Monitors<G>
where
    G: Hash + Eq + Clone + Send + 'static,
{
    fn tell(&self, lost: &mut Lost, change: Change<G>, group: &G, pids: &[Pid]) {
        let of_group = self.groups.get(group).into_iter().flatten();
        for (number, to) in self.all.iter().chain(of_group) {
            let event = change(PgMonitor(*number), group.clone(), pids.to_vec());
            lost.send(to, event);
        }
    }

    /// The new monitor, and whether its process had none before.
    fn add(&mut self, group: Option<G>, to: To<G>) -> (PgMonitor, bool) {
        let number = self.next;
        self.next += 1;
        let by = self.by.entry(to.pid()).or_default();
        by.insert(number);
        let first = by.len() == 1;
        self.of.insert(number, (to.pid(), group.clone()));
        let monitors = match group {
            None => &mut self.all,
            Some(group) => self.groups.entry(group).or_default(),
        };
        monitors.insert(number, to);
        (PgMonitor(number), first)
    }

    fn remove(&mut self, number: u64) -> Option<Removed<G>> {
        let (pid, group) = self.of.remove(&number)?;
        let mut groups = Vec::new();
        match group {
            None => {
                self.all.remove(&number);
            }
            Some(group) => {
                let monitors = self.groups.get_mut(&group);
                let is_last = monitors.is_some_and(|monitors| {
                    monitors.remove(&number);
                    monitors.is_empty()
                });
                if is_last {
                    groups.extend(self.groups.remove_entry(&group).map(|(group, _)| group));
                }
                groups.push(group);
            }
        }
        let mut last = true;
        if let Some(by) = self.by.get_mut(&pid) {
            by.remove(&number);
            last = by.is_empty();
            if last {
                self.by.remove(&pid);
            }
        }
        Some(Removed {
            pid,
            last,
            _groups: groups,
        })
    }
}

/// A monitor that is no more; to be dropped where no lock is held.
struct Removed<G> {
    /// Whose it was.
    pid: Pid,
    /// That process has no other.
    last: bool,
    _groups: Vec<G>,
}

impl<G> Scope<G> {
    pub(super) fn new(name: Arc<str>) -> Self {
        Scope {
            name,
            store: Store::duplicate(1),
            post: Post::default(),
            monitors: Mutex::new(Monitors::default()),
        }
    }
}

impl<G> Scope<G>
where
    G: Hash + Eq + Clone + Send + Sync + 'static,
{
    pub(super) fn join(
        self: &Arc<Self>,
        core: &CoreRef,
        group: G,
        mut pids: Vec<Pid>,
    ) -> Result<usize, ScopeClosed> {
        // Before the lock, so dropped after it.
        let mut lost = Lost::default();
        let first = {
            let monitors = self.monitors.lock();
            if !self.store.is_open() {
                return Err(ScopeClosed);
            }
            pids.retain(|pid| core.is_alive(*pid));
            if pids.is_empty() {
                return Ok(0);
            }
            let members = pids.iter().map(|pid| (*pid, ()));
            let first = self.store.register_all(core, &group, members, &mut |_| {});
            let first = first.map_err(|_| ScopeClosed)?;
            monitors.tell(&mut lost, join, &group, &pids);
            first
        };
        for pid in first {
            keeper::tell(core, self, pid);
        }
        Ok(pids.len())
    }

    pub(super) fn leave<B>(self: &Arc<Self>, core: &CoreRef, group: &B, pids: Vec<Pid>) -> usize
    where
        G: Borrow<B>,
        B: Hash + Eq + ?Sized,
    {
        // Before the lock, so dropped after it.
        let (mut lost, mut out) = (Lost::default(), Vec::new());
        let (mut keyless, mut left, mut name) = (Vec::new(), Vec::new(), None);
        {
            let monitors = self.monitors.lock();
            for pid in pids.into_iter().filter(|pid| core.is_alive(*pid)) {
                let taken = self
                    .store
                    .unregister(core, group, pid, Which::Last, &mut |told| {
                        if let Told::Unregistered(group, _) = told {
                            name.get_or_insert_with(|| group.clone());
                        }
                    });
                if taken.count() > 0 {
                    left.push(pid);
                }
                if taken.keyless {
                    keyless.push(pid);
                }
                out.push(taken);
            }
            if let Some(group) = &name {
                monitors.tell(&mut lost, leave, group, &left);
            }
        }
        for pid in keyless {
            keeper::tell(core, self, pid);
        }
        left.len()
    }

    pub(super) fn monitor(
        self: &Arc<Self>,
        core: &CoreRef,
        group: G,
        to: To<G>,
    ) -> Result<(PgMonitor, Vec<Pid>), ScopeClosed> {
        self.begin(core, Some(group.clone()), to, || {
            self.store.members(core, &group)
        })
    }

    #[allow(clippy::type_complexity)] // groups and their members
    pub(super) fn monitor_scope(
        self: &Arc<Self>,
        core: &CoreRef,
        to: To<G>,
    ) -> Result<(PgMonitor, Vec<(G, Vec<Pid>)>), ScopeClosed> {
        self.begin(core, None, to, || self.store.groups(core))
    }

    /// Adds a monitor; what `look` sees of the living, and sweeps what it sees of the dead.
    fn begin<R>(
        self: &Arc<Self>,
        core: &CoreRef,
        group: Option<G>,
        to: To<G>,
        look: impl FnOnce() -> (R, Vec<Pid>),
    ) -> Result<(PgMonitor, R), ScopeClosed> {
        // Before the lock, so dropped after it.
        let (mut lost, mut out) = (Lost::default(), Vec::new());
        let pid = to.pid();
        let (monitor, first, living) = {
            let mut monitors = self.monitors.lock();
            if !self.store.is_open() {
                return Err(ScopeClosed);
            }
            let (living, dead) = look();
            for dead in dead {
                out.push(self.sweep_members(core, &monitors, dead, &mut lost));
            }
            let (monitor, first) = monitors.add(group, to);
            (monitor, first, living)
        };
        if first {
            keeper::tell(core, self, pid);
        }
        Ok((monitor, living))
    }

    pub(super) fn demonitor(self: &Arc<Self>, core: &CoreRef, monitor: PgMonitor) -> bool {
        let removed = self.monitors.lock().remove(monitor.0);
        if let Some(removed) = removed.as_ref().filter(|removed| removed.last) {
            keeper::tell(core, self, removed.pid);
        }
        removed.is_some()
    }

    fn sweep_members(
        &self,
        core: &Core,
        monitors: &Monitors<G>,
        dead: Pid,
        lost: &mut Lost,
    ) -> Vec<Taken<G, ()>> {
        self.store.sweep(core, dead, &mut |told| {
            if let Told::Unregistered(group, pid) = told {
                monitors.tell(lost, leave, group, &[pid]);
            }
        })
    }
}

impl<G> Kept for Scope<G>
where
    G: Hash + Eq + Clone + Send + Sync + 'static,
{
    fn post(&self) -> &Post {
        &self.post
    }

    fn holders(&self, core: &Core) -> Vec<Pid> {
        let mut all = self.store.holders(core);
        all.extend(self.monitors.lock().by.keys());
        all.sort_unstable();
        all.dedup();
        all
    }

    fn has(&self, core: &Core, pid: Pid) -> bool {
        self.store.has(core, pid) || self.monitors.lock().by.contains_key(&pid)
    }

    fn sweep(&self, core: &CoreRef, dead: Pid) -> usize {
        let mut lost = Lost::default();
        let mut monitors = self.monitors.lock();
        let swept = self.sweep_members(core, &monitors, dead, &mut lost);
        let numbers = monitors.by.remove(&dead).unwrap_or_default();
        let removed = numbers.iter().filter_map(|number| monitors.remove(*number));
        let removed: Vec<_> = removed.collect();
        drop(monitors);
        swept.len() + removed.len()
    }

    fn close(&self, core: &CoreRef, still: &dyn Fn() -> bool) {
        let left = || {
            let mut monitors = self.monitors.lock();
            // Monitors are numbered on, so that none of before is one of after.
            let next = monitors.next;
            let empty = Monitors {
                next,
                ..Monitors::default()
            };
            let before = std::mem::replace(&mut *monitors, empty);
            (self.store.close(), before)
        };
        let directory = scopes(core);
        drop(directory.close(&self.name, || still().then(left)));
    }
}
