//! What the tests of dynamic supervisors share.
#![allow(dead_code)] // each test binary uses its own part

use std::sync::Mutex;

use noex::prelude::*;
use noex::{ChildCounts, ChildError, ChildRequest, DynamicChild, Template};

use crate::supervise::{Conduct, Life, Probe, SECOND, World};

pub(crate) fn shutdown() -> ExitReason {
    ExitReason::Shutdown(None)
}

#[track_caller]
pub(crate) fn start<A: Send + 'static, P: noex::ChildPid>(
    world: &World,
    supervisor: DynamicSupervisor<A, P>,
) -> DynamicSupervisorRef<A, P> {
    let start = supervisor.start(&world.system);
    start.wait_timeout(10 * SECOND).unwrap()
}

#[track_caller]
pub(crate) fn answer<R>(request: ChildRequest<R>) -> R
where
    R: Send + 'static,
{
    request.wait_timeout(10 * SECOND).unwrap()
}

#[track_caller]
pub(crate) fn fails<R: std::fmt::Debug>(request: ChildRequest<R>) -> ChildError {
    request.wait_timeout(10 * SECOND).unwrap_err()
}

/// Specs, active, supervisors, workers.
#[track_caller]
pub(crate) fn counts<A: Send + 'static, P: noex::ChildPid>(
    sup: &DynamicSupervisorRef<A, P>,
) -> (usize, usize, usize, usize) {
    let ChildCounts {
        specs,
        active,
        supervisors,
        workers,
        ..
    } = answer(sup.count_children());
    (specs, active, supervisors, workers)
}

#[track_caller]
pub(crate) fn only_child<A: Send + 'static, P: noex::ChildPid>(
    sup: &DynamicSupervisorRef<A, P>,
) -> DynamicChild {
    let mut children = answer(sup.which_children());
    assert_eq!(children.len(), 1);
    children.remove(0)
}

/// A template of probes, to be given their conduct.
pub(crate) fn probes(life: &Life) -> Template<Conduct, ServerRef<Probe>> {
    let probe = Mutex::new(life.probe("p", Conduct::Good));
    Template::server_with::<Probe, _>(move |conduct| {
        probe.lock().unwrap().clone().behaving(conduct)
    })
}

/// A server that does nothing.
pub(crate) struct Idle;
impl GenServer for Idle {
    type Args = ();
    async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Idle)
    }
}
