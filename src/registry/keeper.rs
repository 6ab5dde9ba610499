//! The process of a registry: an ordinary one, which monitors all that are registered and takes out what
//! the dead leave.
//!
//! ```text
//!   whoever registers ──▶ the store                    whoever looks ◀── the store
//!          └── Look(pid) ──▶ keeper ── monitors pid, sweeps the store after its Down
//! ```
//! A keeper is *started*, by the user or a supervisor: then its orderly end is the end of the registry.
//! Or it *stands in*, appointed by whoever registers while there is none: for the names of the system,
//! which nobody starts, and for a registry whose keeper has crashed. It goes when one is started.
//!
//! Its mailbox is empty whenever nobody got a first registration, lost the last one, or died; so it never
//! keeps a system busy.
//!
//! # Invariants
//! 1. An [`Order::Look`] says only which process to look at: the store is the truth. It is sent after the change,
//!    so whichever of several is handled last finds what they left.
//! 2. `watched` has a monitor for each process that has, as far as the messages so far told, something
//!    to be swept.
//! 3. The keeper is needed for nothing but memory and for listeners. It may lag behind, and it may be
//!    killed: the next one begins by looking at everything.
//! 4. A registry that a started keeper has, or had when it crashed, is open.

use std::collections::HashMap;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::RegistryError;
use super::directory::{Directory, OtherType};
use super::name::Name;
use crate::error::StartError;
use crate::exit::ExitReason;
use crate::gen_server::Stop;
use crate::process::context::send_any;
use crate::process::pid::{MonitorRef, Pid};
use crate::process::spawn::{SpawnOptions, Ties, Unborn};
use crate::receive::{self, Inbox, Process, Received};
use crate::sched::core::{Core, CoreRef, RUNNING};
use crate::sync::atomic::Ordering::Acquire;
use crate::sync::{Arc, Mutex};

/// What a keeper keeps in order.
pub(crate) trait Kept: Send + Sync + 'static {
    /// Who keeps it.
    fn post(&self) -> &Post;
    /// All processes whose end matters to it, in order.
    fn holders(&self, core: &Core) -> Vec<Pid>;
    /// Whether the end of that process matters to it.
    fn has(&self, core: &Core, pid: Pid) -> bool;
    /// That process is dead: takes out what it left, and says how much that was.
    fn sweep(&self, core: &CoreRef, dead: Pid) -> usize;
    /// It is over, if `still` says so, under the directory's lock.
    fn close(&self, core: &CoreRef, still: &dyn Fn() -> bool);
}

/// Who keeps something now.
#[derive(Default)]
pub(crate) struct Post(Mutex<Option<Holder>>);

#[derive(Clone, Copy, PartialEq, Eq)]
struct Holder {
    keeper: Pid,
    started: bool,
}

impl Post {
    fn living(&self, core: &Core) -> Option<Holder> {
        let holder = *self.0.lock();
        holder.filter(|holder| core.is_alive(holder.keeper))
    }

    /// The live keeper.
    pub(crate) fn keeper(&self, core: &Core) -> Option<Pid> {
        self.living(core).map(|holder| holder.keeper)
    }

    /// Whether there is a live keeper that was started.
    fn is_started(&self, core: &Core) -> bool {
        self.living(core).is_some_and(|holder| holder.started)
    }

    /// Who keeps it, or did last; nobody, if nobody ever did.
    fn latest(&self, core: &Core) -> Pid {
        let nobody = Pid::local(core.creation(), 0, 0);
        self.0.lock().map_or(nobody, |holder| holder.keeper)
    }

    /// Gives the post to `keeper`, unless somebody alive has it who need not go; else whom it had
    /// before, and who must go.
    fn take(&self, core: &Core, keeper: Pid, started: bool) -> Result<Option<Pid>, Pid> {
        let mut post = self.0.lock();
        let before = post.filter(|holder| core.is_alive(holder.keeper));
        match before {
            Some(before) if before.started || !started => Err(before.keeper),
            _ => {
                *post = Some(Holder { keeper, started });
                Ok(before.map(|holder| holder.keeper))
            }
        }
    }

    /// Whether that process is the keeper, and was started.
    fn belongs_to(&self, keeper: Pid) -> bool {
        let started = true;
        *self.0.lock() == Some(Holder { keeper, started })
    }
}

/// What a keeper is told.
enum Order {
    /// Something changed for that process.
    Look(Pid),
    /// Go: another one was started, or all is over.
    Go(ExitReason),
}

/// Tells the keeper of a change, and appoints one if there is none.
pub(crate) fn tell(core: &CoreRef, kept: &Arc<impl Kept>, pid: Pid) {
    if core.state.load(Acquire) != RUNNING {
        // All of it goes with the system.
        return;
    }
    if let Some(keeper) = kept.post().keeper(core) {
        send_any(core, keeper, Order::Look(pid));
        return;
    }
    let Ok(candidate) = conceive(core, kept.clone(), Ties::default()) else {
        return;
    };
    // It runs, or is dropped, outside the lock: users' hooks hear of both.
    match kept.post().take(core, candidate.cell().pid(), false) {
        // It begins by looking at everything, and so at this change.
        Ok(_) => drop(candidate.bear()),
        Err(other) => {
            candidate.abandon();
            send_any(core, other, Order::Look(pid));
        }
    }
}

/// A keeper that has not begun.
fn conceive(core: &CoreRef, kept: Arc<dyn Kept>, ties: Ties) -> Result<Unborn, StartError> {
    let keeper = Keeper {
        kept,
        watched: HashMap::new(),
        began: false,
    };
    let mut keeper = receive::conceive(core, &SpawnOptions::new(), ties, keeper)?;
    // From the start: its parent may end it before it has had a turn.
    keeper.trap_exit();
    Ok(keeper)
}

/// What is to be started.
pub(crate) struct Launch<'a> {
    pub(crate) directory: &'a Directory,
    /// Under which name.
    pub(crate) name: &'a Arc<str>,
    /// The type that it shall have there, for the error if it is another.
    pub(crate) wanted: &'static str,
    pub(crate) ties: Ties,
    /// A name for the keeper itself.
    pub(crate) process: Option<&'a Name>,
}

impl Launch<'_> {
    /// Starts a keeper for the `T` of that name if one is there that `fits`, open or closed, else for a new
    /// one. `open` is called before the keeper begins.
    pub(crate) fn start<T: Kept>(
        &self,
        core: &CoreRef,
        fits: impl Fn(&T) -> bool,
        make: impl FnOnce() -> T,
        open: impl FnOnce(&T),
    ) -> Result<(Arc<T>, Pid), StartError> {
        let wrong = |OtherType| {
            let (name, wanted) = (self.name.clone(), self.wanted);
            StartError::Init(ExitReason::error(RegistryError::WrongType { name, wanted }))
        };
        let kept = self.directory.enter(self.name, fits, make);
        let kept = kept.map_err(wrong)?;
        let candidate = conceive(core, kept.clone(), self.ties)?;
        let candidate = Name::give(self.process, candidate)?;
        let pid = candidate.cell().pid();
        let take = || kept.post().take(core, pid, true);
        let before = match self.directory.open(self.name, &kept, take) {
            Ok(Ok(before)) => before,
            Ok(Err(keeper)) => {
                candidate.abandon();
                return Err(StartError::AlreadyStarted(keeper));
            }
            Err(other) => {
                candidate.abandon();
                return Err(wrong(other));
            }
        };
        // Nobody else starts or ends it while this process, which has not begun, has the post.
        open(&kept);
        candidate.bear();
        if let Some(before) = before {
            dismiss(core, before, ExitReason::Normal);
        }
        Ok((kept, pid))
    }
}

/// Ends a keeper, in order if it was started.
fn dismiss(core: &Core, keeper: Pid, reason: ExitReason) {
    send_any(core, keeper, Order::Go(reason));
}

/// Ends what is kept, in order, with its keeper.
pub(crate) fn stop(core: &CoreRef, kept: &Arc<impl Kept>, reason: ExitReason) -> Stop {
    let post = kept.post();
    let stop = Stop::watch(core, post.latest(core), &reason);
    let keeper = post.living(core);
    if let Some(keeper) = keeper {
        dismiss(core, keeper.keeper, reason);
    }
    if keeper.is_none_or(|keeper| !keeper.started) {
        // The one that was started has crashed: nobody else ends it.
        kept.close(core, &|| !post.is_started(core));
    }
    stop
}

struct Keeper {
    kept: Arc<dyn Kept>,
    watched: HashMap<Pid, MonitorRef>,
    began: bool,
}

impl Keeper {
    /// Looks at a process something changed for.
    fn look(&mut self, inbox: &Inbox<Order>, pid: Pid) {
        match (self.kept.has(inbox.core(), pid), self.watched.get(&pid)) {
            (true, None) => {
                self.watched.insert(pid, inbox.monitor(pid));
            }
            (false, Some(monitor)) => {
                inbox.demonitor(*monitor);
                self.watched.remove(&pid);
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Ends: with its post what it keeps ends.
    fn end(&self, inbox: &Inbox<Order>, reason: ExitReason) -> Poll<ExitReason> {
        let me = inbox.pid();
        self.kept
            .close(inbox.core(), &|| self.kept.post().belongs_to(me));
        Poll::Ready(reason)
    }
}

impl Process for Keeper {
    type Message = Order;

    fn poll(
        mut self: Pin<&mut Self>,
        inbox: &mut Inbox<Order>,
        _: &mut Context<'_>,
    ) -> Poll<ExitReason> {
        let system = inbox.system();
        let core = system.core();
        if !std::mem::replace(&mut self.began, true) {
            for pid in self.kept.holders(core) {
                self.look(inbox, pid);
            }
        }
        while let Some(received) = inbox.try_recv() {
            match received {
                Received::Message(Order::Look(pid)) => self.look(inbox, pid),
                Received::Message(Order::Go(reason)) => return self.end(inbox, reason),
                Received::Down(down) => {
                    self.watched.remove(&down.pid);
                    let swept = self.kept.sweep(core, down.pid);
                    inbox.consume(swept.try_into().unwrap_or(u32::MAX));
                }
                Received::Exit(exit) if exit.parent => return self.end(inbox, exit.reason),
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
        let (entries, room) = system.core().names.store.size();
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
        let keeper = system.names().pid().unwrap();
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
        let keeper = system.names().pid().unwrap();
        system.exit(keeper, ExitReason::Kill);
        driver.run_until_idle();
        assert_eq!(system.whereis("old"), Some(old));
        let new = named(&system, "new");
        driver.run_until_idle();
        for pid in [old, new] {
            system.exit(pid, ExitReason::Kill);
        }
        driver.run_until_idle();
        assert_eq!(system.core().names.store.size().0, 0);
        exact(&system);
    }
}
