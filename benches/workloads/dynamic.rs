//! A dynamic supervisor's start rate: a million children, started, kept and stopped. What is guarded: a
//! supervised start costs a few times a bare one (`spawn_keep:server`), and a child that runs little more
//! memory than the process it is.

use std::collections::VecDeque;

use noex::prelude::*;
use noex::{ChildPid, Inbox, Template};

use crate::support::{Latch, Row, rss, seconds, shrunk, system};

const CHILDREN: u64 = 1_000_000;

/// Eight bytes of state.
struct Child(#[allow(dead_code)] u64);

impl GenServer for Child {
    type Args = u64;
    async fn init(number: u64, _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Child(number))
    }
}

/// Starts `n` children from one process that has at most `window` requests under way, stops all by
/// stopping the supervisor; seconds of each, and resident bytes gained.
fn start_and_stop<A, P>(
    system: &System,
    supervisor: DynamicSupervisor<A, P>,
    n: u64,
    window: usize,
    args: fn(u64) -> A,
) -> (f64, f64, u64)
where
    A: Send + 'static,
    P: ChildPid,
{
    let supervisor = supervisor
        .start(system)
        .wait()
        .expect("a supervisor starts");
    let before = rss();
    let done = Latch::new(1);
    let (latch, sup) = (done.clone(), supervisor.clone());
    let start = seconds(|| {
        let starter = move |_: Inbox<()>| async move {
            let mut under_way = VecDeque::with_capacity(window);
            for number in 0..n {
                if under_way.len() == window {
                    if let Some(start) = under_way.pop_front() {
                        drop(start.await);
                    }
                }
                under_way.push_back(sup.start_child(args(number)));
            }
            for start in under_way {
                drop(start.await);
            }
            latch.down();
        };
        system.spawn(starter).expect("a starter starts");
        done.wait();
    });
    let bytes = rss().saturating_sub(before);
    let counts = supervisor.count_children().wait().expect("an answer");
    assert_eq!(counts.active as u64, n);
    let stop = seconds(|| {
        let stop = supervisor.stop(ExitReason::Normal);
        stop.wait().expect("an orderly end");
    });
    (start, stop, bytes)
}

fn row<A, P>(
    schedulers: usize,
    supervisor: DynamicSupervisor<A, P>,
    window: usize,
    args: fn(u64) -> A,
) -> Row
where
    A: Send + 'static,
    P: ChildPid,
{
    let system = system(schedulers);
    let n = shrunk(CHILDREN);
    start_and_stop(&system, supervisor.clone(), shrunk(1000), window, args);
    let (start, stop, bytes) = start_and_stop(&system, supervisor, n, window, args);
    Row {
        extra: format!("rss_bytes_per_child={} stop_s={stop:.3}", bytes / n),
        ..Row::new(n, start)
    }
}

fn template() -> DynamicSupervisor<u64, ServerRef<Child>> {
    DynamicSupervisor::with_template(Template::server::<Child>())
}

/// Typed children of a template; 64 requests under way.
pub(crate) fn dynamic_start(schedulers: usize) -> Row {
    row(schedulers, template(), 64, |number| number)
}

/// As Elixir's `start_child`: each is waited for before the next.
pub(crate) fn dynamic_start_one(schedulers: usize) -> Row {
    row(schedulers, template(), 1, |number| number)
}

/// Each with a spec of its own.
pub(crate) fn dynamic_start_spec(schedulers: usize) -> Row {
    row(schedulers, DynamicSupervisor::new(), 64, |number| {
        ChildSpec::server::<Child>("child", number)
    })
}

/// Restarted when they crash, so that their arguments are kept.
pub(crate) fn dynamic_start_permanent(schedulers: usize) -> Row {
    let template = Template::server::<Child>().restart(Restart::Permanent);
    let supervisor = DynamicSupervisor::with_template(template);
    row(schedulers, supervisor, 64, |number| number)
}
