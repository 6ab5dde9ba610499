//! What all handles of a registry, and its keeper, share.

use std::borrow::Borrow;
use std::hash::Hash;

use super::directory::registries;
use super::keeper::{self, Kept, Post};
use super::label::Label;
use super::listeners::{Heard, Listener};
use super::meta::{Meta, Note};
use super::store::{Refused, Store, Taken, Tell, Which};
use crate::process::pid::Pid;
use crate::sched::core::{Core, CoreRef};
use crate::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};
use crate::sync::{Arc, Mutex};
use crate::system::Handle;

pub(crate) struct Shared<K, V> {
    pub(super) name: Arc<str>,
    pub(super) store: Store<K, V>,
    pub(super) post: Post,
    pub(super) meta: Meta,
    /// The system's names: open for as long as the system is.
    endless: bool,
    /// Whether there are listeners: those who change something look at their list only then.
    heard: AtomicBool,
    listeners: Mutex<Arc<[Listener<K, V>]>>,
}

/// The names of a system: its default registry.
pub(crate) type Names = Shared<Label, ()>;

/// What the registry of the system's names is called.
const NAMES: &str = "names";

impl Names {
    pub(crate) fn of_a_system() -> Arc<Self> {
        let names = Shared {
            endless: true,
            ..Shared::new(NAMES.into(), Store::unique())
        };
        names.store.open();
        Arc::new(names)
    }
}

impl<K, V> Shared<K, V> {
    pub(super) fn new(name: Arc<str>, store: Store<K, V>) -> Self {
        Shared {
            name,
            store,
            post: Post::default(),
            meta: Meta::default(),
            endless: false,
            heard: AtomicBool::new(false),
            listeners: Mutex::new(Arc::new([])),
        }
    }

    /// Opens it, if it is closed: with those listeners and notes.
    pub(super) fn open(&self, listeners: Arc<[Listener<K, V>]>, notes: Vec<Note>) {
        if self.store.is_open() {
            return;
        }
        drop(self.listen(listeners));
        for (key, value) in notes {
            drop(self.meta.put(key, value));
        }
        self.store.open();
    }

    /// The listeners from now on; those so far come back.
    fn listen(&self, listeners: Arc<[Listener<K, V>]>) -> Arc<[Listener<K, V>]> {
        let heard = !listeners.is_empty();
        let before = std::mem::replace(&mut *self.listeners.lock(), listeners);
        // Release: with the Acquire in `heard`, so that who sees it finds them.
        self.heard.store(heard, Release);
        before
    }

    fn heard(&self, core: &CoreRef) -> Heard<'_, K, V> {
        if !self.heard.load(Acquire) {
            return Heard::nobody(&self.name);
        }
        let listeners = self.listeners.lock().clone();
        Heard::new(&self.name, &listeners, &Handle::new(core.clone()))
    }
}

impl<K, V> Shared<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// Changes the store with the listeners told.
    fn telling<R>(&self, core: &CoreRef, change: impl FnOnce(&mut Tell<'_, K, V>) -> R) -> R {
        let mut heard = self.heard(core);
        change(&mut |told| heard.tell(told))
    }

    pub(crate) fn register(
        self: &Arc<Self>,
        core: &CoreRef,
        key: K,
        pid: Pid,
        value: V,
    ) -> Result<(), Refused> {
        if self.telling(core, |tell| {
            self.store.register(core, key, pid, value, tell)
        })? {
            keeper::tell(core, self, pid);
        }
        Ok(())
    }

    pub(crate) fn unregister<Q>(
        self: &Arc<Self>,
        core: &CoreRef,
        key: &Q,
        pid: Pid,
        which: Which<'_>,
    ) -> Taken<K, V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let taken = self.telling(core, |tell| {
            self.store.unregister(core, key, pid, which, tell)
        });
        if taken.keyless {
            keeper::tell(core, self, pid);
        }
        taken
    }

    pub(crate) fn whereis<Q>(&self, core: &Core, key: &Q) -> Option<Pid>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.store.whereis(core, key)
    }
}

impl<K, V> Kept for Shared<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    fn post(&self) -> &Post {
        &self.post
    }

    fn holders(&self, core: &Core) -> Vec<Pid> {
        self.store.holders(core)
    }

    fn has(&self, core: &Core, pid: Pid) -> bool {
        self.store.has(core, pid)
    }

    fn sweep(&self, core: &CoreRef, dead: Pid) -> usize {
        let taken = self.telling(core, |tell| self.store.sweep(core, dead, tell));
        taken.len()
    }

    fn close(&self, core: &CoreRef, still: &dyn Fn() -> bool) {
        if self.endless {
            return;
        }
        let left = || {
            (
                self.store.close(),
                self.listen(Arc::new([])),
                self.meta.clear(),
            )
        };
        let directory = registries(core);
        drop(directory.close(&self.name, || still().then(left)));
    }
}
