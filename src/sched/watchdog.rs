//! The watchdog: one thread that looks, while anything runs, whether every scheduler thread moves
//! on. A thread whose turn has not changed between two looks is marked stuck (others may then take
//! even its slot), a sleeper is woken if it has work queued, and its handler is reported once it
//! passes the threshold. When all scheduler threads sleep, so does the watchdog.
//!
//! # Invariant
//! While a scheduler thread is awake the watchdog is not parked for good: a thread says that it is
//! awake and then looks whether the watchdog is parked; the watchdog says that it parks and then
//! looks whether a thread is awake; a full fence stands between on both sides.

use std::time::{Duration, Instant};

use super::core::{Core, CoreRef, STOPPED};
use crate::hooks::Event;
use crate::process::pid::Pid;
use crate::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Relaxed, SeqCst},
    fence,
};
use crate::sync::{Condvar, Mutex};

/// How often the watchdog looks.
const LOOK: Duration = Duration::from_millis(10);

/// Where the watchdog waits.
#[derive(Default)]
pub(crate) struct Watch {
    parked: AtomicBool,
    lock: Mutex<()>,
    bell: Condvar,
}

impl Watch {
    /// Wakes the watchdog if it sleeps. Called by a scheduler thread that has just said it is awake.
    pub(crate) fn stir(&self) {
        fence(SeqCst);
        if self.parked.load(Relaxed) {
            self.ring();
        }
    }

    pub(crate) fn ring(&self) {
        let _lock = self.lock.lock();
        self.parked.store(false, Relaxed);
        self.bell.notify_all();
    }
}

struct Seen {
    turns: u64,
    since: Instant,
    reported: bool,
}

pub(crate) fn start(core: CoreRef) -> std::io::Result<std::thread::JoinHandle<()>> {
    let thread = std::thread::Builder::new().name(format!("{}-watchdog", core.settings.name));
    thread.spawn(move || main(&core))
}

fn main(core: &Core) {
    let now = Instant::now();
    let mut seen: Vec<Seen> = core
        .remotes
        .iter()
        .map(|_| Seen {
            turns: 0,
            since: now,
            reported: false,
        })
        .collect();
    while core.state.load(Acquire) != STOPPED {
        pause(core);
        for (index, seen) in seen.iter_mut().enumerate() {
            look(core, index, seen);
        }
    }
}

/// Waits for the time of the next look; for ever while all scheduler threads sleep.
fn pause(core: &Core) {
    let watch = &core.watch;
    let mut lock = watch.lock.lock();
    watch.parked.store(true, Relaxed);
    fence(SeqCst);
    let awake = core.remotes.iter().any(|remote| remote.awake.load(Relaxed));
    if awake || core.state.load(Acquire) == STOPPED {
        watch.parked.store(false, Relaxed);
        watch.bell.wait_for(&mut lock, LOOK);
        return;
    }
    while watch.parked.load(Relaxed) {
        watch.bell.wait(&mut lock);
    }
}

fn look(core: &Core, index: usize, seen: &mut Seen) {
    let remote = &core.remotes[index];
    if core.idle.asleep() > 0 && remote.has_stealable() {
        core.idle.notify();
    }
    let (turns, running) = (remote.turns.load(Relaxed), remote.running.load(Relaxed));
    if running == 0 || turns != seen.turns {
        *seen = Seen {
            turns,
            since: Instant::now(),
            reported: false,
        };
        remote.stuck.store(false, Relaxed);
        return;
    }
    remote.stuck.store(true, Relaxed);
    let running_for = seen.since.elapsed();
    if !seen.reported && running_for >= core.settings.long_handler {
        seen.reported = true;
        let message = remote.message.load(Relaxed);
        // SAFETY: only static tables are stored there.
        let message = unsafe { message.as_ref() }.map(|vtable| (vtable.type_name)());
        let pid = Pid::local(core.creation(), (running >> 32) as u32, running as u32);
        core.hooks.event(&Event::LongHandler {
            pid,
            message,
            running: running_for,
        });
    }
}
