//! The names of a system: read by anybody, without a message. An entry counts only while the process
//! it names is alive, so a look-up never yields a dead incarnation, whether or not the entry has been
//! swept yet.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::keeper::{self, Post};
use crate::process::pid::Pid;
use crate::sched::core::{Core, CoreRef};
use crate::sync::{Arc, RwLock};

const SHARDS: usize = 16;

/// Below this a shard's map keeps its memory.
const SMALL: usize = 256;

type Shard = HashMap<Arc<str>, Pid>;

pub(crate) struct Names {
    shards: [RwLock<Shard>; SHARDS],
    hasher: RandomState,
    pub(super) keeper: Post,
}

impl Default for Names {
    fn default() -> Self {
        Names {
            shards: std::array::from_fn(|_| RwLock::new(HashMap::new())),
            hasher: RandomState::new(),
            keeper: Post::default(),
        }
    }
}

impl Names {
    fn shard(&self, name: &str) -> &RwLock<Shard> {
        &self.shards[self.hasher.hash_one(name) as usize % SHARDS]
    }

    /// Gives `name` to `pid`, unless a live process has it: then that one comes back. Nothing changes
    /// if `pid` has it already.
    pub(crate) fn register(&self, core: &CoreRef, name: &Arc<str>, pid: Pid) -> Result<(), Pid> {
        {
            let mut names = self.shard(name).write();
            match names.get_mut(name) {
                Some(holder) if *holder == pid => return Ok(()),
                Some(holder) if core.is_alive(*holder) => return Err(*holder),
                Some(dead) => *dead = pid,
                None => {
                    names.insert(name.clone(), pid);
                }
            }
        }
        keeper::tell(core, name.clone(), pid);
        Ok(())
    }

    /// Takes `name` back; the live process that had it.
    pub(crate) fn unregister(&self, core: &CoreRef, name: &str) -> Option<Pid> {
        let (name, pid) = self.shard(name).write().remove_entry(name)?;
        keeper::tell(core, name, pid);
        core.is_alive(pid).then_some(pid)
    }

    /// The live process that has `name`.
    pub(crate) fn lookup(&self, core: &Core, name: &str) -> Option<Pid> {
        self.entry(name).filter(|pid| core.is_alive(*pid))
    }

    /// The names of live processes, in order.
    pub(crate) fn all(&self, core: &Core) -> Vec<(String, Pid)> {
        let mut all: Vec<(String, Pid)> = self
            .entries()
            .into_iter()
            .filter(|(_, pid)| core.is_alive(*pid))
            .map(|(name, pid)| (name.to_string(), pid))
            .collect();
        all.sort();
        all
    }

    /// What the map has for `name`, dead or alive.
    pub(super) fn entry(&self, name: &str) -> Option<Pid> {
        self.shard(name).read().get(name).copied()
    }

    /// All entries, of the dead and the living.
    pub(super) fn entries(&self) -> Vec<(Arc<str>, Pid)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let names = shard.read();
            all.extend(names.iter().map(|(name, pid)| (name.clone(), *pid)));
        }
        all
    }

    /// Takes the entry out, if it still is for `dead`.
    pub(super) fn sweep(&self, name: &str, dead: Pid) {
        let mut names = self.shard(name).write();
        if names.get(name) == Some(&dead) {
            names.remove(name);
            if names.capacity() > SMALL && names.len() < names.capacity() / 8 {
                let room = (names.len() * 2).max(SMALL);
                names.shrink_to(room);
            }
        }
    }

    /// How many entries the map has, and room for how many.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        self.shards.iter().fold((0, 0), |(len, capacity), shard| {
            let names = shard.read();
            (len + names.len(), capacity + names.capacity())
        })
    }
}
