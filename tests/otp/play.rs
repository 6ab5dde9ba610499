//! Plays a scenario on noex: what the boss of `player.erl` does there.

use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use noex::{Driver, ExitReason, Inbox, System};

use super::actor::{Packet, live};
use super::scenario::{Program, Scenario, program};
use super::world::{State, World};
use crate::support::DEADLINE;

/// Nothing that a scenario waits for takes longer, on whichever clock.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a scenario is played on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum On {
    Threads(usize),
    /// A manual system with this seed, and virtual time.
    Seed(u64),
}

struct Stage {
    world: Arc<World>,
    system: System,
    driver: Option<Driver>,
    on: On,
    /// Numbers what actors are told to do.
    next: u64,
}

/// The trace of `scenario` on noex.
pub(crate) fn play(scenario: &Arc<Scenario>, on: On) -> Vec<String> {
    let world = World::new(scenario);
    let hears = world.clone();
    let builder = System::builder()
        .on_event(move |event| hears.hear(event))
        .on_dead_letter(|_| {});
    let (system, driver) = match on {
        On::Threads(n) => (builder.schedulers(n).build().expect("threads"), None),
        On::Seed(seed) => {
            let (system, driver) = builder.virtual_clock().seed(seed).manual();
            (system, Some(driver))
        }
    };
    let in_world = world.clone();
    let main = system
        .spawn(move |inbox| live(inbox, in_world, "main".to_string(), true))
        .expect("a running system");
    world.born(main.pid(), "main");
    let mut stage = Stage {
        world,
        system,
        driver,
        on,
        next: 0,
    };
    for step in &scenario.steps {
        if !stage.step(step) {
            stage.world.log("stage", format!("never: {step}"));
            break;
        }
    }
    stage.settle();
    let trace = stage.report();
    stage.close();
    trace
}

impl Stage {
    /// Does a step; `false`: what it waits for never came.
    fn step(&mut self, step: &str) -> bool {
        let words: Vec<&str> = step.split_whitespace().collect();
        match &words[..] {
            ["start", names @ ..] => {
                let scenario = self.world.scenario.clone();
                let command = |name: &&str| {
                    let process = scenario.actors[*name].is("process");
                    let verb = if process { "spawn" } else { "start" };
                    vec![verb.to_string(), name.to_string()]
                };
                self.tell("main", names.iter().map(command).collect(), true)
            }
            ["wait", label, event @ ..] => {
                let event = event.join(" ");
                let came = self.wait_until(&|state| state.seen(label, &event).is_some());
                self.world.state().take(label, &event);
                came
            }
            ["pause", time] => {
                let time = super::actor::millis(time);
                match &self.driver {
                    Some(driver) => driver.advance(time),
                    None => std::thread::sleep(time),
                }
                true
            }
            ["settle"] => {
                self.settle();
                true
            }
            ["release", gate] => {
                self.world.gate(gate).open();
                true
            }
            _ => {
                let mark = step.find([':', '&']).expect("NAME: commands");
                let (name, commands) = step.split_at(mark);
                self.tell(name, program(&commands[1..]), commands.starts_with(':'))
            }
        }
    }

    /// Has an actor do something; if `wait`, until it is done or dead.
    fn tell(&mut self, name: &str, program: Program, wait: bool) -> bool {
        if !self.wait_until(&|state| state.pid(name).is_some()) {
            return false;
        }
        let pid = self.world.state().pid(name).expect("just seen");
        if !self.system.is_alive(pid) {
            let ended = self.wait_until(&|state| state.has_ended(pid));
            self.world.log(&self.world.label(pid), "(dead)");
            return ended;
        }
        self.next += 1;
        let number = self.next;
        self.system.send(pid, Packet::Do(program, number));
        !wait || self.wait_until(&|state| state.is_done(number) || state.has_ended(pid))
    }

    fn wait_until(&self, holds: &dyn Fn(&State) -> bool) -> bool {
        let Some(driver) = &self.driver else {
            return self.world.wait_until(Instant::now() + PATIENCE, holds);
        };
        let end = driver.now() + PATIENCE;
        loop {
            driver.run_until_idle();
            if holds(&self.world.state()) {
                return true;
            }
            match driver.next_deadline() {
                Some(time) if driver.now() + time <= end => driver.advance(time),
                _ => return false,
            }
        }
    }

    /// Waits until no actor has anything to do: each scheduler thread has finished its turn and all
    /// actors were asked how they are, which each answers in a turn of its own, several times, and
    /// nothing came of it.
    fn settle(&self) {
        let On::Threads(threads) = self.on else {
            let driver = self.driver.as_ref().expect("a manual system");
            return driver.run_until_idle();
        };
        let end = Instant::now() + DEADLINE;
        let (mut before, mut rounds) = (None, 0);
        while rounds < 3 {
            assert!(Instant::now() < end, "it settles");
            self.meet(threads);
            let mut queued = 0;
            let living = self.system.processes();
            for pid in &living {
                let info = self.system.process_info(*pid).wait_timeout(DEADLINE);
                queued += info.map_or(0, |info| info.message_queue_len);
            }
            let now = (self.world.state().log.len(), living, queued);
            let same = before.as_ref() == Some(&now);
            rounds = if same { rounds + 1 } else { 0 };
            before = Some(now);
        }
    }

    /// Has all scheduler threads meet: none is in the middle of a turn then. A process that has ended,
    /// as everybody can see, has told its links and monitors by the end of its last one.
    fn meet(&self, threads: usize) {
        let barrier = Arc::new(Barrier::new(threads));
        let probes: Vec<_> = (0..threads)
            .map(|_| {
                let barrier = barrier.clone();
                let probe = move |_: Inbox<()>| async move {
                    barrier.wait();
                };
                self.system.spawn(probe).expect("a running system").pid()
            })
            .collect();
        for probe in probes {
            let _ = self
                .system
                .monitor(probe)
                .wait_timeout(DEADLINE)
                .expect("they meet");
        }
    }

    /// What was seen: the trace of each actor or group, then who ended how.
    fn report(&self) -> Vec<String> {
        let order = &self.world.scenario.order;
        let log = self.world.state().log.clone();
        let key = |label: &str| {
            let name = label.split('#').next().unwrap_or(label);
            let group = order.iter().find(|group| group.iter().any(|n| n == name));
            group.map_or(name.to_string(), |group| group.join(" "))
        };
        let (ends, rest): (Vec<_>, Vec<_>) = log
            .iter()
            .partition(|entry| entry.event.starts_with("ended "));
        let keys: BTreeSet<String> = rest.iter().map(|entry| key(&entry.label)).collect();
        let line = |entry: &super::world::Entry| format!("{}: {}", entry.label, entry.event);
        let mut trace = Vec::new();
        for one in keys {
            let of_it = rest.iter().filter(|entry| key(&entry.label) == one);
            trace.extend(of_it.map(|entry| line(entry)));
        }
        let mut ends: Vec<String> = ends.into_iter().map(line).collect();
        ends.sort();
        trace.extend(ends);
        trace
    }

    /// Ends it all, whatever hangs.
    fn close(self) {
        for pid in self.world.state().known() {
            self.system.exit(pid, ExitReason::Kill);
        }
        // Children that were restarted meanwhile are killed by it.
        let end = self.system.shutdown_within(Duration::from_millis(100));
        let _ = end.wait_timeout(DEADLINE);
    }
}
