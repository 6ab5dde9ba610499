//! The watchdog: one thread that looks, while anything runs, whether every scheduler thread moves
//! on. A thread whose turn has not changed between two looks is marked stuck (others may then take
//! even its slot; the sleeper on watch, see [`super::idle`], comes for it). A handler is reported
//! once it passes the threshold: the turn and its budget have stood still for so long. When all
//! scheduler threads sleep, so does the watchdog ([`super::watch`] has the protocol).

use std::time::{Duration, Instant};

use super::core::{Core, CoreRef, STOPPED};
use crate::hooks::Event;
use crate::process::pid::Pid;
use crate::sync::atomic::Ordering::{Acquire, Relaxed};

/// How often the watchdog looks.
const LOOK: Duration = Duration::from_millis(10);

struct Seen {
    turns: u64,
    budget: u32,
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
            budget: 0,
            since: now,
            reported: false,
        })
        .collect();
    while core.state.load(Acquire) != STOPPED {
        core.watch.pause(LOOK, || {
            core.idle.asleep() < core.remotes.len() || core.state.load(Acquire) == STOPPED
        });
        for (index, seen) in seen.iter_mut().enumerate() {
            look(core, index, seen);
        }
    }
}

fn look(core: &Core, index: usize, seen: &mut Seen) {
    let remote = &core.remotes[index];
    let (turns, running) = (remote.turns.load(Relaxed), remote.running.load(Relaxed));
    let budget = remote.budget.load(Relaxed);
    let same_turn = running != 0 && turns == seen.turns;
    remote.stuck.store(same_turn, Relaxed);
    if !same_turn || budget != seen.budget {
        *seen = Seen {
            turns,
            budget,
            since: Instant::now(),
            reported: false,
        };
        return;
    }
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
