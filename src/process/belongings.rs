//! What a process owns that others can see, and that must not outlive it unnoticed: tables, and the
//! fixations of tables.
//!
//! ```text
//!   give ──▶ belongings of a pid ── take_back ──▶ nobody's, or given to another
//!                    │
//!                    └── its death ──▶ `bereave`, before anybody hears of the death
//! ```
//!
//! Who keeps a [`Belonging`] in its own state needs none of this: a state's `Drop` runs in the dying
//! turn as well, before links and monitors are told, so there is nothing here that a user's process
//! could not do for itself. It is needed because a process can be made an owner by others, and because a
//! table must go with its owner whether or not the owner's state has a handle on it.
//!
//! # Invariants
//! 1. A process that ever was given something is marked (`Cell::owns`); one that is not marked pays one
//!    look at that mark when it dies.
//! 2. Whatever is given is either taken back or told `bereave`, once. A gift to a process that dies
//!    meanwhile is decided by a signal sent after the entry and the mark: if that gets into the mailbox,
//!    the death comes later, and sees both; if not, the giver takes the entry back, unless the death was
//!    faster.
//! 3. As long as a dead process has an entry here, nobody is told of its death who links or monitors it
//!    only now: their signals wait in the entry, until whoever removes it answers them. (Those whose links
//!    and monitors were there before are told after that, by the death itself.)
//! 4. No lock is held while foreign code runs.

use std::collections::{BTreeMap, HashMap};

use super::cell::Cell;
use super::death;
use super::deliver::send_signal;
use super::pid::Pid;
use super::signal::Signal;
use crate::hash::Seeds;
use crate::sched::core::Core;
use crate::sched::worker::here;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::sync::{Arc, Mutex, MutexGuard};

const SHARDS: usize = 16;

/// Something that belongs to a process.
pub(crate) trait Belonging: Send + Sync {
    /// Its owner `owner` is dying, in whose last turn this runs: its state is dropped, and nobody has been
    /// told yet.
    fn bereave(self: Arc<Self>, owner: Pid);
}

/// The process is dead, and owns nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dead;

/// What one process owns.
#[derive(Default)]
struct Entry {
    /// In the order of their numbers, which is that in which they were made.
    things: BTreeMap<u64, Arc<dyn Belonging>>,
    /// The process is dying, and what it owned is being told so.
    settling: bool,
    /// From those who ask for news of its death.
    waiting: Vec<Signal>,
}

type Shard = HashMap<Pid, Entry, Seeds>;

/// What the processes of a system own.
#[derive(Default)]
pub(crate) struct Belongings {
    shards: [Mutex<Shard>; SHARDS],
    numbers: AtomicU64,
}

impl Belongings {
    /// A number for a belonging, later than all before.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Relaxed) + 1
    }

    fn shard(&self, owner: Pid) -> MutexGuard<'_, Shard> {
        self.shards[owner.id() as usize % SHARDS].lock()
    }

    /// Gives `thing` to the process of `to`.
    pub(crate) fn give(
        &self,
        to: &Cell,
        number: u64,
        thing: Arc<dyn Belonging>,
    ) -> Result<(), Dead> {
        let pid = to.pid();
        {
            let mut shard = self.shard(pid);
            shard.entry(pid).or_default().things.insert(number, thing);
        }
        // Relaxed: the signal below orders it before the death, if it comes before it (invariant 2).
        to.owns.store(true, Relaxed);
        let own_turn = here().and_then(|worker| worker.current()) == Some(to.this());
        // SAFETY: in the process's own turn; not kept.
        if own_turn && !unsafe { to.own() }.dead {
            return Ok(());
        }
        if send_signal(to, Signal::Endowed).is_ok() {
            return Ok(());
        }
        match self.take_back(&to.core, pid, number) {
            Some(_) => Err(Dead),
            // It was alive long enough to leave it to others.
            None => Ok(()),
        }
    }

    /// Takes away what `owner` was given under `number`, if it still has it.
    pub(crate) fn take_back(
        &self,
        core: &Core,
        owner: Pid,
        number: u64,
    ) -> Option<Arc<dyn Belonging>> {
        let mut shard = self.shard(owner);
        let thing = shard.get_mut(&owner)?.things.remove(&number);
        answer(core, owner, shard);
        thing
    }

    /// Keeps a signal to a dead process that asks for news of its death, if it is too early for an answer;
    /// else it comes back.
    pub(super) fn keep_waiting(&self, dead: Pid, signal: Signal) -> Option<Signal> {
        match self.shard(dead).get_mut(&dead) {
            Some(entry) => {
                entry.waiting.push(signal);
                None
            }
            None => Some(signal),
        }
    }

    /// Whether anybody owns anything.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.lock().is_empty())
    }

    /// Calls `tell` for each thing that belongs to `owner`, which is dying, to tell it so.
    #[cold]
    pub(super) fn settle(&self, core: &Core, owner: Pid, mut tell: impl FnMut(Arc<dyn Belonging>)) {
        let things = {
            let mut shard = self.shard(owner);
            let Some(entry) = shard.get_mut(&owner) else {
                return;
            };
            entry.settling = true;
            std::mem::take(&mut entry.things)
        };
        things.into_values().for_each(&mut tell);
        let mut shard = self.shard(owner);
        if let Some(entry) = shard.get_mut(&owner) {
            entry.settling = false;
        }
        // What is in there by now comes too late, and its giver takes it back.
        answer(core, owner, shard);
    }
}

/// Removes the entry of `owner` if nothing is in it any more, and answers those who waited for that.
fn answer(core: &Core, owner: Pid, mut shard: MutexGuard<'_, Shard>) {
    let is_over = |entry: &Entry| entry.things.is_empty() && !entry.settling;
    let waiting = match shard.get(&owner).is_some_and(is_over) {
        true => shard.remove(&owner).map(|entry| entry.waiting),
        false => None,
    };
    drop(shard);
    for signal in waiting.into_iter().flatten() {
        death::refuse(core, owner, signal);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use super::*;
    use crate::exit::ExitReason;
    use crate::process::spawn::{SpawnOptions, Ties};
    use crate::receive::{self, Inbox};
    use crate::sched::manual::Driver;
    use crate::system::System;

    /// Writes down what happens to it.
    struct Thing(&'static str, Arc<Mutex<Vec<String>>>);

    impl Belonging for Thing {
        fn bereave(self: Arc<Self>, owner: Pid) {
            let alive = Arc::strong_count(&self) > 1;
            self.1.lock().push(format!("{} of {owner} {alive}", self.0));
        }
    }

    struct State(Arc<Mutex<Vec<String>>>);

    impl Drop for State {
        fn drop(&mut self) {
            self.0.lock().push("state".into());
        }
    }

    fn manual() -> (System, Driver, Arc<Mutex<Vec<String>>>) {
        let (system, driver) = System::builder().on_event(|_| {}).virtual_clock().manual();
        (system, driver, Arc::default())
    }

    fn give(system: &System, to: Pid, what: &'static str, log: &Arc<Mutex<Vec<String>>>) -> u64 {
        let core = system.core();
        let number = core.belongings.number();
        let cell = core.find(to).unwrap();
        let thing = Arc::new(Thing(what, log.clone()));
        core.belongings.give(&cell, number, thing).unwrap();
        number
    }

    #[test]
    fn the_dead_owns_nothing_once_its_state_is_gone_and_before_anybody_hears() {
        let (system, driver, log) = manual();
        let (state, heard) = (State(log.clone()), log.clone());
        let owner = system.spawn(move |mut cx: Inbox<()>| async move {
            let _state = state;
            cx.recv().await;
        });
        let pid = owner.unwrap().pid();
        let watcher = system.spawn(move |mut cx: Inbox<()>| async move {
            cx.monitor(pid);
            cx.recv().await;
            heard.lock().push("down".into());
        });
        driver.run_until_idle();
        give(&system, pid, "first", &log);
        let taken = give(&system, pid, "second", &log);
        give(&system, pid, "third", &log);
        assert!(
            system
                .core()
                .belongings
                .take_back(system.core(), pid, taken)
                .is_some()
        );
        assert!(
            system
                .core()
                .belongings
                .take_back(system.core(), pid, taken)
                .is_none()
        );
        system.exit(pid, ExitReason::Kill);
        driver.run_until_idle();
        let expected = [
            "state".into(),
            format!("first of {pid} false"),
            format!("third of {pid} false"),
            "down".into(),
        ];
        assert_eq!(*log.lock(), expected);
        assert!(system.core().belongings.is_empty());
        assert!(!watcher.unwrap().is_alive());
    }

    /// Asks for news of the death of the process whose state it is, as soon as it is dead.
    struct Curious(crate::Handle, Pid, Arc<Mutex<Vec<crate::Monitor>>>);

    impl Drop for Curious {
        fn drop(&mut self) {
            assert!(!self.0.is_alive(self.1));
            let mut end = self.0.monitor(self.1);
            // On a thread that runs no process, where an answer that is there is given at once.
            let poll = || {
                let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
                std::pin::Pin::new(&mut end).poll(&mut cx).is_ready()
            };
            let early = std::thread::scope(|scope| scope.spawn(poll).join());
            let early = early.unwrap();
            self.2.lock().extend((!early).then_some(end));
        }
    }

    #[test]
    fn who_asks_about_one_that_is_dying_hears_when_what_it_owned_is_settled() {
        for owns in [true, false] {
            let (system, driver, log) = manual();
            let ends: Arc<Mutex<Vec<crate::Monitor>>> = Arc::default();
            let (handle, keep) = (system.handle(), ends.clone());
            let process = system.spawn(move |mut cx: Inbox<()>| async move {
                let _curious = Curious(handle, cx.pid(), keep);
                cx.recv().await;
            });
            let pid = process.unwrap().pid();
            driver.run_until_idle();
            if owns {
                give(&system, pid, "thing", &log);
            }
            system.exit(pid, ExitReason::Kill);
            driver.run_until_idle();
            let mut ends = std::mem::take(&mut *ends.lock());
            assert_eq!(
                ends.len(),
                usize::from(owns),
                "there is nothing to wait for"
            );
            if let Some(end) = ends.pop() {
                let down = end.wait_timeout(std::time::Duration::from_secs(20));
                assert_eq!(down.unwrap().reason, ExitReason::NoProc);
            }
            assert!(system.core().belongings.is_empty());
        }
    }

    #[test]
    fn what_is_given_to_the_dead_comes_back() {
        let (system, driver, log) = manual();
        let process = system.spawn(|_: Inbox<()>| async {}).unwrap();
        let core = system.core();
        let cell = core.find(process.pid()).unwrap();
        driver.run_until_idle();
        let thing = Arc::new(Thing("late", log.clone()));
        assert_eq!(core.belongings.give(&cell, 1, thing), Err(Dead));
        assert!(core.belongings.is_empty() && log.lock().is_empty());
    }

    #[test]
    fn what_a_process_that_never_ran_was_given_is_told_so() {
        let (system, _driver, log) = manual();
        let run = |_: Inbox<()>| async {};
        let options = SpawnOptions::new();
        let unborn =
            receive::conceive_async(system.core(), &options, Ties::default(), run).unwrap();
        let pid = unborn.cell().pid();
        give(&system, pid, "thing", &log);
        unborn.abandon();
        assert_eq!(*log.lock(), [format!("thing of {pid} false")]);
        assert!(system.core().belongings.is_empty());
    }

    #[test]
    fn the_end_of_a_system_is_the_end_of_all_its_processes() {
        let (system, driver, log) = manual();
        let process = system.spawn(|mut cx: Inbox<()>| async move {
            cx.recv().await;
        });
        let pid = process.unwrap().pid();
        give(&system, pid, "thing", &log);
        drop(driver);
        assert_eq!(*log.lock(), [format!("thing of {pid} false")]);
        drop(system);
    }

    #[test]
    fn a_gift_to_a_process_that_dies_meanwhile_is_told_or_comes_back() {
        for _ in 0..300 {
            let system = System::builder()
                .on_event(|_| {})
                .schedulers(1)
                .build()
                .unwrap();
            let log: Arc<Mutex<Vec<String>>> = Arc::default();
            let process = system.spawn(|mut cx: Inbox<()>| async move {
                cx.recv().await;
            });
            let process = process.unwrap();
            let core = system.core();
            let cell = core.find(process.pid()).unwrap();
            let end = system.monitor(process.pid());
            system.exit(process.pid(), ExitReason::Kill);
            let given = (0..50).filter(|n| {
                let thing = Arc::new(Thing("thing", log.clone()));
                core.belongings.give(&cell, *n, thing).is_ok()
            });
            let given = given.count();
            end.wait_timeout(std::time::Duration::from_secs(20))
                .unwrap();
            assert_eq!(log.lock().len(), given);
            assert!(core.belongings.is_empty());
        }
    }
}
