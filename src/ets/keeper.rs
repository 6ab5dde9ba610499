//! The process that keeps house for a system's tables: an ordinary one.
//!
//! It owns the tables that were made by [`Handle::table`](crate::Handle::table), removes what has expired,
//! and drops, bit by bit, what was in large tables that were deleted. It is started when there is first
//! something of that to do; its mailbox is empty, and it has no timer, as long as there is nothing.
//!
//! # Invariants
//! 1. Nothing but memory depends on it: what has expired or was deleted is absent for everybody at once.
//! 2. When it dies while the system runs, its last act is to appoint the next, which begins by looking at
//!    all tables in which something can expire. The system's tables do not go with it.
//! 3. For each table it has at most one timer, for when [`Plan`](super::common) says that something
//!    will have expired; a plan that was made earlier comes with a [`Job::Plan`].

use std::collections::HashMap;
use std::time::Duration;

use super::store::NEVER;
use super::tables::Tables;
use crate::exit;
use crate::process::belongings::Belonging;
use crate::process::context::send_any;
use crate::process::pid::Pid;
use crate::process::spawn::{SpawnOptions, Ties};
use crate::receive::{self, Inbox, Received};
use crate::sched::clock::later;
use crate::sched::core::{CoreRef, RUNNING};
use crate::sched::timers::TimerRef;
use crate::sync::atomic::Ordering::Acquire;
use crate::sync::{Arc, Mutex};

/// Who keeps the tables now.
#[derive(Default)]
pub(super) struct Post(Mutex<Option<Pid>>);

/// What the keeper is asked to do.
pub(super) enum Job {
    /// Something in this table expires earlier than all that was known.
    Plan(u64),
    /// Something in this table may have expired.
    Due(u64),
    /// This is to be dropped.
    Drop(Box<dyn Rubbish>),
}

/// Much that is to be dropped.
pub(crate) trait Rubbish: Send {
    /// Drops some of it. `false`: there is no more.
    fn drop_some(&mut self) -> bool;
}

/// A look through a table for what has expired.
pub(super) trait Sweeper: Send {
    /// Looks through some of it. `false`: it has come to the end.
    fn step(&mut self) -> bool;
    /// When the first of those will expire that it left there.
    fn soonest(&self) -> Option<u64>;
}

/// Asks the keeper to do something; appoints one if there is none. When the system ends it is done here, or
/// not at all.
pub(super) fn tell(core: &CoreRef, job: Job) {
    if let Some(keeper) = pid(core) {
        send_any(core, keeper, job);
    }
}

/// The process that keeps the tables; `None`: the system is about to end.
pub(super) fn pid(core: &CoreRef) -> Option<Pid> {
    if core.state.load(Acquire) != RUNNING {
        return None;
    }
    let tables = core.attached.get::<Tables>();
    let post = &tables.keeper.0;
    let living = |keeper: &Pid| core.is_alive(*keeper);
    let keeper = *post.lock();
    if let Some(keeper) = keeper.filter(living) {
        return Some(keeper);
    }
    let options = SpawnOptions::new();
    let candidate = receive::conceive_async(core, &options, Ties::default(), keep).ok()?;
    let cell = candidate.cell();
    let keepership = Arc::new(Keepership { core: core.clone() });
    let number = core.belongings.number();
    // Not yet run, so it is alive.
    let _given = core.belongings.give(cell, number, keepership);
    let elected = {
        let mut post = post.lock();
        match post.filter(living) {
            Some(other) => Err(other),
            None => {
                *post = Some(cell.pid());
                Ok(cell.pid())
            }
        }
    };
    // It runs, or is dropped, outside the lock: users' hooks hear of both.
    match elected {
        Ok(keeper) => {
            drop(candidate.bear());
            Some(keeper)
        }
        Err(other) => {
            drop(
                core.belongings
                    .take_back(core, candidate.cell().pid(), number),
            );
            candidate.abandon();
            Some(other)
        }
    }
}

/// What belongs to a keeper: its post.
struct Keepership {
    core: CoreRef,
}

impl Belonging for Keepership {
    fn bereave(self: Arc<Self>, _: Pid) {
        // Appoints the next.
        let _keeper = pid(&self.core);
    }
}

/// What the keeper knows of a table in which something expires.
struct Watched {
    timer: Option<(TimerRef, u64)>,
    /// When it was last looked through.
    last: u64,
}

#[derive(Default)]
struct Watch(HashMap<u64, Watched>);

impl Watch {
    /// Sees to it that the table is looked through in time.
    fn plan(&mut self, cx: &Inbox<Job>, tables: &Tables, number: u64) {
        let table = tables.get(number);
        let Some((at, every)) = table.and_then(|table| {
            let common = table.common();
            Some((common.plan.at()?, common.sweep_every))
        }) else {
            if let Some((timer, _)) = self.0.remove(&number).and_then(|watched| watched.timer) {
                cx.cancel_timer(timer);
            }
            return;
        };
        let watched = self.0.entry(number).or_insert(Watched {
            timer: None,
            last: 0,
        });
        let at = match watched.last {
            0 => at,
            last => at.max(later(last, every)),
        };
        if watched.timer.is_some_and(|(_, planned)| planned <= at) {
            return;
        }
        if let Some((timer, _)) = watched.timer.take() {
            cx.cancel_timer(timer);
        }
        let now = cx.core().clock.now();
        let after = Duration::from_nanos(at.saturating_sub(now));
        watched.timer = Some((cx.send_after(after, &cx.pid(), Job::Due(number)), at));
    }

    /// Looks through a table.
    async fn sweep(&mut self, cx: &Inbox<Job>, tables: &Tables, number: u64) {
        let Some(table) = tables.get(number) else {
            self.0.remove(&number);
            return;
        };
        let mut sweeper = table.clone().sweeper();
        while let Some(true) = quietly(|| sweeper.step()) {
            cx.yield_now().await;
        }
        let soonest = sweeper.soonest().unwrap_or(NEVER);
        // Whether or not it is told: the plan is looked at below.
        let _earlier = table.common().plan.expect(soonest);
        let now = cx.core().clock.now();
        self.0.insert(
            number,
            Watched {
                timer: None,
                last: now,
            },
        );
        self.plan(cx, tables, number);
    }
}

/// Runs what drops users' keys and values; `None`: it panicked, for which nobody is to blame here.
fn quietly<R>(run: impl FnOnce() -> R) -> Option<R> {
    exit::catch(run).ok()
}

async fn keep(mut cx: Inbox<Job>) {
    let system = cx.system();
    let tables = system.core().attached.get::<Tables>();
    let mut watch = Watch::default();
    for table in tables.all() {
        let number = table.common().number;
        if table.common().plan.was_needed() {
            watch.sweep(&cx, &tables, number).await;
        }
    }
    loop {
        match cx.recv().await {
            Received::Message(Job::Plan(number)) => watch.plan(&cx, &tables, number),
            Received::Message(Job::Due(number)) => watch.sweep(&cx, &tables, number).await,
            Received::Message(Job::Drop(mut rubbish)) => {
                // One that panics has dropped what panicked.
                while quietly(|| rubbish.drop_some()) != Some(false) {
                    cx.yield_now().await;
                }
            }
            // Not for a keeper.
            Received::Down(_) | Received::Exit(_) | Received::Any(_) => {}
        }
    }
}
