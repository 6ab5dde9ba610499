//! A server by the partition it has.

use std::fmt;

use super::route::Route;
use super::table::Partitions;
use crate::error::SendError;
use crate::gen_server::{GenServer, HandleCast, HandleInfo, ServerRef};
use crate::handles::asks_whoever;

/// The server that has a partition: each send looks up which one lives then. As
/// [`Named`](crate::Named), by key instead of name; made by [`Partitions::server`].
pub struct Partition<S> {
    partitions: Partitions<ServerRef<S>>,
    route: Route,
}

impl<S> Clone for Partition<S> {
    fn clone(&self) -> Self {
        Partition {
            partitions: self.partitions.clone(),
            route: self.route,
        }
    }
}

impl<S> fmt::Debug for Partition<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Partition").field(&self.index()).finish()
    }
}

impl<S> Partition<S> {
    pub(super) fn new(partitions: Partitions<ServerRef<S>>, route: Route) -> Self {
        Partition { partitions, route }
    }

    /// Which partition, counted from 0. `None`: the supervisor has not been started.
    pub fn index(&self) -> Option<usize> {
        match self.partitions.count() {
            0 => None,
            partitions => Some(self.route.pick(partitions)),
        }
    }
}

impl<S: GenServer> Partition<S> {
    /// The live server that has the partition now. `None`: it is being restarted, or not started yet.
    pub fn resolve(&self) -> Option<ServerRef<S>> {
        self.latest().filter(ServerRef::is_alive)
    }

    fn latest(&self) -> Option<ServerRef<S>> {
        self.partitions
            .latest(self.index()?)
            .map(|latest| ServerRef::clone(&latest.1))
    }

    asks_whoever!("no live server has the partition just now");

    /// As [`ServerRef::cast`]. While no server has the partition the message is dropped, and counted as
    /// undelivered (unless the supervisor has never been started: there is no system to count it).
    ///
    /// # Errors
    /// As there.
    pub fn cast<M: Send + 'static>(&self, message: M) -> Result<(), SendError<M>>
    where
        S: HandleCast<M>,
    {
        match self.latest() {
            Some(server) => server.cast(message),
            None => Ok(()),
        }
    }

    /// As [`ServerRef::send`].
    ///
    /// # Errors
    /// As for [`cast`](Self::cast).
    pub fn send<M: Send + 'static>(&self, message: M) -> Result<(), SendError<M>>
    where
        S: HandleInfo<M>,
    {
        match self.latest() {
            Some(server) => server.send(message),
            None => Ok(()),
        }
    }
}
