//! The names of a system: read by anybody, without a message. An entry counts only while the process
//! it names is alive, so a look-up never yields a dead incarnation, whether or not the entry has been
//! swept yet.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::process::pid::Pid;
use crate::sched::core::Core;
use crate::sync::RwLock;

const SHARDS: usize = 16;

pub(crate) struct Names {
    shards: [RwLock<HashMap<Box<str>, Pid>>; SHARDS],
    hasher: RandomState,
}

impl Default for Names {
    fn default() -> Self {
        Names {
            shards: std::array::from_fn(|_| RwLock::new(HashMap::new())),
            hasher: RandomState::new(),
        }
    }
}

impl Names {
    fn shard(&self, name: &str) -> &RwLock<HashMap<Box<str>, Pid>> {
        &self.shards[self.hasher.hash_one(name) as usize % SHARDS]
    }

    /// Gives `name` to `pid`, unless a live process has it: then that one comes back.
    pub(crate) fn register(&self, core: &Core, name: &str, pid: Pid) -> Result<(), Pid> {
        let mut names = self.shard(name).write();
        match names.get(name) {
            Some(holder) if *holder != pid && core.is_alive(*holder) => Err(*holder),
            Some(_) => {
                names.insert(name.into(), pid);
                Ok(())
            }
            None => {
                names.insert(name.into(), pid);
                Ok(())
            }
        }
    }

    /// Takes `name` back; who had it.
    pub(crate) fn unregister(&self, name: &str) -> Option<Pid> {
        self.shard(name).write().remove(name)
    }

    /// The live process that has `name`.
    pub(crate) fn lookup(&self, core: &Core, name: &str) -> Option<Pid> {
        let pid = *self.shard(name).read().get(name)?;
        core.is_alive(pid).then_some(pid)
    }

    /// The names of live processes, in order.
    pub(crate) fn all(&self, core: &Core) -> Vec<(String, Pid)> {
        let mut all: Vec<(String, Pid)> = Vec::new();
        for shard in &self.shards {
            let names = shard.read();
            all.extend(
                names
                    .iter()
                    .filter(|(_, pid)| core.is_alive(**pid))
                    .map(|(name, pid)| (name.to_string(), *pid)),
            );
        }
        all.sort();
        all
    }

    /// Removes the entries of a dead process.
    pub(crate) fn sweep(&self, core: &Core) {
        for shard in &self.shards {
            shard.write().retain(|_, pid| core.is_alive(*pid));
        }
    }
}
