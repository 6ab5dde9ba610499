//! Who is started, in which order, and who starts it again.

use std::time::Duration;

use noex::prelude::*;
use noex::{Error, SupervisorRef};

use crate::hub::Hub;
use crate::listener::{self, Listener};
use crate::options::Options;
use crate::reactor::Poller;
use crate::server::{HUB, shard_name};
use crate::shard::Shard;

/// Starts everything, clients last. Each of them crashes alone: nobody keeps a reference to another
/// that its restart would make stale, but a name.
///
/// # Errors
/// One of them did not start.
pub(crate) fn start(
    system: &System,
    listener: listener::Args,
    options: &Options,
) -> Result<SupervisorRef, Error> {
    let starts = &listener.server.counters.starts;
    let shards = starts.iter().enumerate().map(|(index, starts)| {
        let name = shard_name(index);
        ChildSpec::server::<Shard>(name.as_str(), starts.clone()).name(name.as_str())
    });
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .intensity(options.restarts)
        .period(Duration::from_secs(1))
        .children(shards)
        .child(ChildSpec::server::<Hub>("hub", options.output_limit).name(HUB))
        .child(ChildSpec::server::<Poller>(
            "poller",
            listener.reactor.clone(),
        ))
        .child(ChildSpec::server::<Listener>("listener", listener))
        .start(system)
        .wait()?;
    Ok(supervisor)
}
