//! What a process can be named by: a name of the system, or a key of a registry.

use std::fmt;
use std::hash::Hash;

use super::handle::{Registry, Unique};
use super::label::Label;
use super::store::Refused;
use crate::error::StartError;
use crate::process::pid::Pid;
use crate::process::spawn::Unborn;
use crate::sched::core::CoreRef;
use crate::sync::Arc;

/// A name for a process: one of the system's names, which any string is, or a key of a [`Registry`], which
/// [`Registry::via`] makes. What takes a name takes either. OTP: `{local, Name}` and `{via, Module, Name}`.
///
/// ```
/// # use noex::prelude::*;
/// # use noex::{Agent, Registry};
/// let system = System::new()?;
/// let games: Registry<u64> = Registry::unique("games").start(&system)?;
/// let options = ServerOptions::new().name(games.via(42));
/// Agent::start_with(&system, options, || vec!["e4"]).wait()?;
///
/// let game = system.agent::<Vec<&str>>(games.via(42));
/// assert_eq!(game.get(|moves| moves.len()).wait()?, 1);
/// # Ok::<(), noex::Error>(())
/// ```
#[derive(Clone)]
pub struct Name(Repr);

#[derive(Clone)]
enum Repr {
    System(Label),
    Via(Arc<dyn Via>),
}

/// A key of a registry, whatever their types.
trait Via: Send + Sync {
    fn registry(&self) -> &str;
    fn register(&self, pid: Pid) -> Result<(), StartError>;
    fn whereis(&self) -> Option<Pid>;
}

struct Key<K, V> {
    registry: Registry<K, V, Unique>,
    key: K,
    value: V,
}

impl<K, V> Via for Key<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn registry(&self) -> &str {
        self.registry.name()
    }

    fn register(&self, pid: Pid) -> Result<(), StartError> {
        let (key, value) = (self.key.clone(), self.value.clone());
        self.registry
            .claim(key, pid, value)
            .map_err(|refused| match refused {
                Refused::Taken(holder) => StartError::AlreadyStarted(holder),
                Refused::NoProc | Refused::Closed => StartError::NoRegistry(self.registry().into()),
            })
    }

    fn whereis(&self) -> Option<Pid> {
        self.registry.whereis(&self.key)
    }
}

impl Name {
    pub(super) fn via<K, V>(registry: Registry<K, V, Unique>, key: K, value: V) -> Self
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
    {
        let key = Key {
            registry,
            key,
            value,
        };
        Name(Repr::Via(Arc::new(key)))
    }

    /// The live process that has the name; with a name of the system: of that one.
    pub(crate) fn whereis(&self, core: &CoreRef) -> Option<Pid> {
        match &self.0 {
            Repr::System(name) => core.names.whereis(core, &**name),
            Repr::Via(via) => via.whereis(),
        }
    }

    fn register(&self, core: &CoreRef, pid: Pid) -> Result<(), StartError> {
        match &self.0 {
            Repr::System(name) => match core.names.register(core, name.clone(), pid, ()) {
                Err(Refused::Taken(holder)) => Err(StartError::AlreadyStarted(holder)),
                Err(Refused::NoProc | Refused::Closed) => Err(StartError::Refused),
                Ok(()) => Ok(()),
            },
            Repr::Via(via) => via.register(pid),
        }
    }

    /// Gives the name to a process that has not begun; one that does not get it is undone.
    pub(crate) fn give(name: Option<&Name>, unborn: Unborn) -> Result<Unborn, StartError> {
        let Some(name) = name else {
            return Ok(unborn);
        };
        let cell = unborn.cell();
        // `Hash`, `Eq` and `Clone` of a key are anybody's.
        match crate::exit::catch(|| name.register(&cell.core, cell.pid())) {
            Ok(Ok(())) => Ok(unborn),
            Ok(Err(refused)) => {
                unborn.abandon();
                Err(refused)
            }
            Err(panic) => {
                unborn.abandon();
                Err(StartError::Init(panic))
            }
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::System(name) => f.write_str(name),
            Repr::Via(via) => write!(f, "a key of `{}`", via.registry()),
        }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::System(name) => name.fmt(f),
            Repr::Via(via) => f.debug_tuple("Via").field(&via.registry()).finish(),
        }
    }
}

/// A name of the system.
impl<N: Into<Label>> From<N> for Name {
    fn from(name: N) -> Self {
        Name(Repr::System(name.into()))
    }
}
