//! The process that keeps the names tidy: an ordinary one, which monitors all that have a name.
//!
//! It is started with the first name of a system and ends with the system, stopped like any other
//! process nobody supervises. Its mailbox is empty whenever no name was given, taken back, or lost by a
//! death, so it never keeps a system busy.
//!
//! # Invariants
//! 1. A [`Changed`] says only which entry to look at: the map is the truth. It is sent after the
//!    change, so whichever of several is handled last finds what they left.
//! 2. `names` holds a monitor for each process that has, as far as the messages so far told, a name.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::names::Names;
use crate::exit::ExitReason;
use crate::process::context::send_any;
use crate::process::pid::{MonitorRef, Pid};
use crate::process::spawn::{SpawnOptions, Ties};
use crate::receive::{self, Inbox, Process, Received};
use crate::sched::core::{CoreRef, RUNNING};
use crate::sync::atomic::Ordering::Acquire;
use crate::sync::{Arc, Mutex};

/// Who keeps the names now.
#[derive(Default)]
pub(crate) struct Post(Mutex<Option<Pid>>);

/// The entry of `name` was, or is, for `pid`.
struct Changed {
    name: Arc<str>,
    pid: Pid,
}

/// Tells the keeper of a change, and appoints one if there is none.
pub(super) fn tell(core: &CoreRef, name: Arc<str>, pid: Pid) {
    if core.state.load(Acquire) != RUNNING {
        // Names and all go with the system.
        return;
    }
    let post = &core.names.keeper.0;
    let living = |keeper: &Pid| core.is_alive(*keeper);
    let keeper = *post.lock();
    if let Some(keeper) = keeper.filter(living) {
        send_any(core, keeper, Changed { name, pid });
        return;
    }
    let options = SpawnOptions::new();
    let Ok(candidate) = receive::conceive(core, &options, Ties::default(), Keeper::default())
    else {
        return;
    };
    let elected = {
        let mut post = post.lock();
        match post.filter(living) {
            Some(other) => Err(other),
            None => {
                *post = Some(candidate.cell().pid());
                Ok(())
            }
        }
    };
    // It runs, or is dropped, outside the lock: users' hooks hear of both.
    match elected {
        // It begins with the whole map, and so with this change.
        Ok(()) => drop(candidate.bear()),
        Err(other) => {
            candidate.abandon();
            send_any(core, other, Changed { name, pid });
        }
    }
}

struct Named {
    monitor: MonitorRef,
    names: HashSet<Arc<str>>,
}

#[derive(Default)]
struct Keeper {
    named: HashMap<Pid, Named>,
    began: bool,
}

impl Keeper {
    /// Looks at an entry that changed.
    fn look(&mut self, cx: &Inbox<Changed>, names: &Names, change: Changed) {
        let Changed { name, pid } = change;
        if names.entry(&name) == Some(pid) {
            let named = self.named.entry(pid).or_insert_with(|| Named {
                monitor: cx.monitor(pid),
                names: HashSet::new(),
            });
            named.names.insert(name);
            return;
        }
        if let Some(named) = self.named.get_mut(&pid) {
            named.names.remove(&name);
            if named.names.is_empty() {
                cx.demonitor(named.monitor);
                self.named.remove(&pid);
            }
        }
    }
}

impl Process for Keeper {
    type Message = Changed;

    fn poll(
        mut self: Pin<&mut Self>,
        inbox: &mut Inbox<Changed>,
        _: &mut Context<'_>,
    ) -> Poll<ExitReason> {
        let system = inbox.system();
        let names = &system.core().names;
        if !std::mem::replace(&mut self.began, true) {
            // Sorted, as the order is that of signals: the same seed shall give the same run.
            let mut entries = names.entries();
            entries.sort_unstable();
            for (name, pid) in entries {
                self.look(inbox, names, Changed { name, pid });
            }
        }
        while let Some(received) = inbox.try_recv() {
            match received {
                Received::Message(change) => self.look(inbox, names, change),
                Received::Down(down) => {
                    let gone = self.named.remove(&down.pid);
                    for name in gone.iter().flat_map(|gone| &gone.names) {
                        names.sweep(name, down.pid);
                    }
                }
                // Not for a keeper.
                Received::Exit(_) | Received::Any(_) => {}
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sched::manual::Driver;
    use crate::system::System;

    fn manual() -> (System, Driver) {
        System::builder().on_event(|_| {}).virtual_clock().manual()
    }

    fn named(system: &System, name: &str) -> Pid {
        let process = system.spawn(|mut inbox: Inbox<()>| async move {
            inbox.recv().await;
        });
        let pid = process.unwrap().pid();
        system.register(name, pid).unwrap();
        pid
    }

    fn exact(system: &System) {
        let stats = system.stats();
        assert_eq!(stats.queued, 0, "{stats:?}");
    }

    #[test]
    fn the_dead_leave_no_entry_and_no_memory() {
        let (system, driver) = manual();
        for round in 0..10 {
            for n in 0..2_000 {
                let pid = named(&system, &format!("{round}-{n}"));
                system.exit(pid, ExitReason::Kill);
            }
            driver.run_until_idle();
        }
        let (entries, room) = system.core().names.size();
        assert_eq!(entries, 0);
        assert!(room < 8_000, "room for {room}");
        exact(&system);
    }

    #[test]
    fn a_name_that_was_taken_over_is_not_swept_with_the_dead() {
        let (system, driver) = manual();
        let first = named(&system, "name");
        driver.run_until_idle();
        system.exit(first, ExitReason::Kill);
        // Dead, but the keeper has not heard of it.
        driver.tick(crate::Budget::messages(1));
        while system.is_alive(first) {
            driver.tick(crate::Budget::messages(1));
        }
        let second = named(&system, "name");
        driver.run_until_idle();
        assert_eq!(system.whereis("name"), Some(second));
    }

    #[test]
    fn names_that_come_and_go_with_a_living_process_leave_nothing() {
        let (system, driver) = manual();
        let pid = named(&system, "anchor");
        for n in 0..1000 {
            let name = format!("name-{n}");
            system.register(&name, pid).unwrap();
            assert_eq!(system.unregister(&name), Some(pid));
        }
        system.unregister("anchor");
        driver.run_until_idle();
        let keeper = system.core().names.keeper.0.lock().unwrap();
        let info = system
            .process_info(keeper)
            .wait_timeout(Duration::from_secs(10))
            .unwrap();
        assert_eq!(info.monitors, []);
    }

    #[test]
    fn a_killed_keeper_is_replaced_and_takes_over_what_was_named() {
        let (system, driver) = manual();
        let old = named(&system, "old");
        driver.run_until_idle();
        let keeper = system.core().names.keeper.0.lock().unwrap();
        system.exit(keeper, ExitReason::Kill);
        driver.run_until_idle();
        assert_eq!(system.whereis("old"), Some(old));
        let new = named(&system, "new");
        driver.run_until_idle();
        for pid in [old, new] {
            system.exit(pid, ExitReason::Kill);
        }
        driver.run_until_idle();
        assert_eq!(system.core().names.size().0, 0);
        exact(&system);
    }
}
