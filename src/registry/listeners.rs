//! Who hears of what happens to registrations.
//!
//! # Invariants
//! 1. An event enters the listener's mailbox under the lock of its key's part of the store: so each
//!    listener hears of a key in the order in which it changed. Nothing is lost: the bound of a mailbox
//!    does not count for events.
//! 2. User code does not run under that lock: a listener is resolved before, and what was sent to a dead
//!    one is settled after.

use crate::destination::Destination;
use crate::gen_server::Recipient;
use crate::process::cell::CellRef;
use crate::process::deliver::{Class, Delivered, deliver};
use crate::process::node::Node;
use crate::process::pid::Pid;
use crate::sync::Arc;
use crate::system::Handle;

use super::store::Told;

/// What the listeners of a [`Registry`](crate::Registry) are sent. Elixir: `{:register, registry, key,
/// pid, value}` and `{:unregister, registry, key, pid}`.
///
/// Of each key a listener hears in the order in which it changed. A registration that ends with its
/// process is told of, too, when the registry hears of it, or at once if another process takes the key;
/// each exactly once. (In Elixir a listener has to monitor the process.)
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistryEvent<K, V = ()> {
    /// A process was registered.
    Registered {
        /// The name of the registry.
        registry: Arc<str>,
        /// Under which key.
        key: K,
        /// The process.
        pid: Pid,
        /// With which value.
        value: V,
    },
    /// A registration has ended: it was taken back, or its process is dead.
    Unregistered {
        /// The name of the registry.
        registry: Arc<str>,
        /// Under which key it was.
        key: K,
        /// The process.
        pid: Pid,
    },
}

type Make<K, V> = fn(&Arc<str>, Told<'_, K, V>) -> RegistryEvent<K, V>;
type Resolve<M> = dyn Fn(&Handle) -> Option<Recipient<M>> + Send + Sync;

/// Somebody who listens.
pub(super) struct Listener<K, V> {
    resolve: Arc<Resolve<RegistryEvent<K, V>>>,
    /// Made where values are known to be `Clone`, which they need not be otherwise.
    event: Make<K, V>,
}

impl<K, V> Clone for Listener<K, V> {
    fn clone(&self) -> Self {
        Listener {
            resolve: self.resolve.clone(),
            event: self.event,
        }
    }
}

impl<K: Clone, V: Clone> Listener<K, V> {
    pub(super) fn new<D>(to: D) -> Self
    where
        D: Destination<RegistryEvent<K, V>> + Send + Sync + 'static,
    {
        Listener {
            resolve: Arc::new(move |system| to.recipient(system)),
            event: |registry, told| {
                let registry = registry.clone();
                match told {
                    Told::Registered(key, pid, value) => RegistryEvent::Registered {
                        registry,
                        key: key.clone(),
                        pid,
                        value: value.clone(),
                    },
                    Told::Unregistered(key, pid) => RegistryEvent::Unregistered {
                        registry,
                        key: key.clone(),
                        pid,
                    },
                }
            },
        }
    }
}

/// Who a listener is just now.
struct Ear<K, V> {
    to: Recipient<RegistryEvent<K, V>>,
    event: Make<K, V>,
}

/// The listeners as they are while something happens.
pub(super) struct Heard<'a, K, V> {
    registry: &'a Arc<str>,
    ears: Vec<Ear<K, V>>,
    lost: Lost,
}

impl<'a, K, V> Heard<'a, K, V> {
    pub(super) fn nobody(registry: &'a Arc<str>) -> Self {
        Heard {
            registry,
            ears: Vec::new(),
            lost: Lost::default(),
        }
    }

    pub(super) fn new(
        registry: &'a Arc<str>,
        listeners: &[Listener<K, V>],
        system: &Handle,
    ) -> Self {
        let resolved = listeners.iter().filter_map(|listener| {
            Some(Ear {
                to: (listener.resolve)(system)?,
                event: listener.event,
            })
        });
        Heard {
            ears: resolved.collect(),
            ..Self::nobody(registry)
        }
    }
}

impl<K: Clone, V> Heard<'_, K, V>
where
    RegistryEvent<K, V>: Send + 'static,
{
    pub(super) fn tell(&mut self, told: Told<'_, K, V>) {
        for ear in &self.ears {
            self.lost.send(&ear.to, (ear.event)(self.registry, told));
        }
    }
}

/// Messages to the dead, kept until no lock is held.
#[derive(Default)]
pub(crate) struct Lost(Vec<(CellRef, *mut Node)>);

impl Lost {
    /// Sends a message whatever the bound of the mailbox, and runs none of the user's code.
    pub(crate) fn send<M: Send + 'static>(&mut self, to: &Recipient<M>, message: M) {
        let (cell, envelope) = to.parts();
        // SAFETY: a fresh envelope for the process of the cell.
        match unsafe { deliver(cell, envelope(message), Class::Exempt) } {
            Delivered::In => {}
            Delivered::Dead(node) | Delivered::Full(node, _) => self.0.push((cell.clone(), node)),
        }
    }
}

impl Drop for Lost {
    fn drop(&mut self) {
        for (cell, node) in self.0.drain(..) {
            // SAFETY: given back by `deliver`, for that process.
            unsafe { Delivered::Dead(node).settle(&cell) };
        }
    }
}
