//! Registries and process groups beside plain models, through random operations, deaths and crashes; and
//! races of deaths against look-ups, under many schedules.

mod support;

use std::collections::BTreeMap;

use noex::prelude::*;
use noex::{
    Budget, Driver, Duplicate, Handle, Inbox, Keys, Pg, PgEvent, Received, RegisterError, Registry,
    Unique,
};
use support::{DEADLINE, quiet};

/// Random numbers, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % sides
    }
}

fn waiter(system: &Handle) -> Pid {
    let run = |mut inbox: Inbox<()>| async move {
        inbox.recv().await;
    };
    system.spawn(run).unwrap().pid()
}

/// A few processes that die now and then, and are replaced.
struct People<'a> {
    system: &'a System,
    driver: &'a Driver,
    pids: Vec<Pid>,
}

impl<'a> People<'a> {
    fn new(system: &'a System, driver: &'a Driver, number: usize) -> Self {
        let pids = (0..number).map(|_| waiter(system)).collect();
        driver.run_until_idle();
        People {
            system,
            driver,
            pids,
        }
    }

    /// Ends one, and runs the system no further than that it is dead; who it was.
    fn kill(&mut self, at: usize) -> Pid {
        let pid = std::mem::replace(&mut self.pids[at], waiter(self.system));
        self.system.exit(pid, ExitReason::Kill);
        while self.system.is_alive(pid) {
            self.driver.tick(Budget::messages(1));
        }
        pid
    }
}

/// What a registry should hold: in the order of registration.
#[derive(Default)]
struct Model(Vec<(u8, Pid, u32)>);

impl Model {
    fn of_key(&self, key: u8) -> Vec<(Pid, u32)> {
        let own = self.0.iter().filter(|(of, ..)| *of == key);
        own.map(|(_, pid, value)| (*pid, *value)).collect()
    }

    fn keys(&self, pid: Pid) -> Vec<u8> {
        let own = self.0.iter().filter(|(_, of, _)| *of == pid);
        own.map(|(key, ..)| *key).collect()
    }

    /// Takes out what is wanted; how much.
    fn remove(&mut self, wanted: impl Fn(&(u8, Pid, u32)) -> bool) -> usize {
        let before = self.0.len();
        self.0.retain(|entry| !wanted(entry));
        before - self.0.len()
    }
}

const KEYS: u8 = 5;

/// What is the same for both kinds.
fn agree<Q: Keys>(registry: &Registry<u8, u32, Q>, model: &Model, pids: &[Pid]) {
    for key in 0..KEYS {
        let all = registry.match_values(&key, |_, _| true);
        assert_eq!(all, model.of_key(key));
        let odd = registry.count_match(&key, |_, value| value % 2 == 1);
        let entries = model.of_key(key);
        assert_eq!(odd, entries.iter().filter(|(_, n)| n % 2 == 1).count());
        for pid in pids {
            let own = entries.iter().filter(|(of, _)| of == pid);
            let values: Vec<u32> = own.map(|(_, value)| *value).collect();
            assert_eq!(registry.values(&key, *pid), values);
        }
        let mut seen = Vec::new();
        registry.dispatch(&key, |entries| {
            assert!(!entries.is_empty());
            seen.extend_from_slice(entries);
        });
        seen.sort();
        let mut entries = entries;
        entries.sort();
        assert_eq!(seen, entries);
    }
    for pid in pids {
        assert_eq!(registry.keys(*pid), model.keys(*pid));
    }
    assert_eq!(registry.count(), model.0.len());
    let all = registry.select(|key, pid, value| Some((*key, pid, *value)));
    assert_eq!(all, model.0);
}

/// What may happen to either kind, besides registrations.
fn disturb<Q: Keys>(
    dice: &mut Dice,
    people: &mut People<'_>,
    registry: &Registry<u8, u32, Q>,
    model: &mut Model,
) {
    let (key, at) = (dice.roll(KEYS.into()) as u8, dice.roll(people.pids.len()));
    let pid = people.pids[at];
    match dice.roll(6) {
        0 => {
            let dead = people.kill(at);
            model.remove(|(_, pid, _)| *pid == dead);
        }
        1 => {
            let taken = registry.unregister(&key, pid);
            assert_eq!(taken, model.remove(|(k, p, _)| (*k, *p) == (key, pid)));
        }
        2 => {
            let taken = registry.unregister_match(&key, pid, |value| value % 3 == 0);
            let wanted = |(k, p, v): &(u8, Pid, u32)| (*k, *p) == (key, pid) && v % 3 == 0;
            assert_eq!(taken, model.remove(wanted));
        }
        3 if dice.roll(4) == 0 => {
            if let Some(keeper) = registry.pid() {
                people.system.exit(keeper, ExitReason::Kill);
            }
        }
        3 | 4 => {
            people.driver.tick(Budget::messages(1));
        }
        _ => {
            people.driver.run_until_idle();
        }
    }
}

fn manual(seed: u64) -> (System, Driver) {
    quiet().virtual_clock().seed(seed).manual()
}

#[test]
fn a_unique_registry_does_what_a_plain_list_does() {
    for seed in 0..300 {
        let (system, driver) = manual(seed);
        let registry: Registry<u8, u32> = Registry::unique("r").start(&system).unwrap();
        let mut people = People::new(&system, &driver, 4);
        let (mut dice, mut model) = (Dice::new(seed), Model::default());
        for value in 0..60 {
            let (key, at) = (dice.roll(KEYS.into()) as u8, dice.roll(4));
            let pid = people.pids[at];
            let holder = model.of_key(key).first().copied();
            match dice.roll(3) {
                0 => {
                    let outcome = registry.register(key, pid, value);
                    match holder {
                        None => {
                            assert_eq!(outcome, Ok(()));
                            model.0.push((key, pid, value));
                        }
                        Some((holder, _)) => {
                            assert_eq!(outcome, Err(RegisterError::AlreadyRegistered(holder)));
                        }
                    }
                }
                1 => {
                    let outcome = registry.update_value(&key, pid, |old| old + 1);
                    let own = holder.filter(|(holder, _)| *holder == pid);
                    assert_eq!(outcome, own.map(|(_, old)| (old + 1, old)));
                    for entry in model
                        .0
                        .iter_mut()
                        .filter(|(k, p, _)| (*k, *p) == (key, pid))
                    {
                        entry.2 += 1;
                    }
                }
                _ => disturb(&mut dice, &mut people, &registry, &mut model),
            }
            agree(&registry, &model, &people.pids);
            for key in 0..KEYS {
                let holder = model.of_key(key).first().copied();
                assert_eq!(registry.lookup(&key), holder);
                assert_eq!(registry.whereis(&key), holder.map(|(pid, _)| pid));
            }
        }
        driver.run_until_idle();
        agree(&registry, &model, &people.pids);
    }
}

#[test]
fn a_duplicate_registry_does_what_a_plain_list_does() {
    for seed in 0..300 {
        let (system, driver) = manual(seed);
        let registry: Registry<u8, u32, Duplicate> = Registry::duplicate("r")
            .partitions(1 + seed as usize % 3)
            .start(&system)
            .unwrap();
        let mut people = People::new(&system, &driver, 4);
        let (mut dice, mut model) = (Dice::new(seed), Model::default());
        for value in 0..60 {
            let (key, at) = (dice.roll(KEYS.into()) as u8, dice.roll(4));
            match dice.roll(2) {
                0 => {
                    let pid = people.pids[at];
                    registry.register(key, pid, value).unwrap();
                    model.0.push((key, pid, value));
                }
                _ => disturb(&mut dice, &mut people, &registry, &mut model),
            }
            agree(&registry, &model, &people.pids);
            for key in 0..KEYS {
                assert_eq!(registry.lookup(&key), model.of_key(key));
            }
        }
        driver.run_until_idle();
        agree(&registry, &model, &people.pids);
    }
}

/// Collects what a monitor of groups is sent.
#[derive(Default)]
struct Ear(BTreeMap<u8, Vec<Pid>>);

impl Ear {
    fn hear(&mut self, event: PgEvent<u8>) {
        match event {
            PgEvent::Join { group, pids, .. } => self.0.entry(group).or_default().extend(pids),
            PgEvent::Leave { group, pids, .. } => {
                let members = self.0.get_mut(&group).expect("a group with members");
                for pid in pids {
                    let at = members.iter().rposition(|member| *member == pid);
                    members.remove(at.expect("a member"));
                }
                if members.is_empty() {
                    self.0.remove(&group);
                }
            }
        }
    }
}

#[test]
fn process_groups_do_what_plain_lists_do_and_their_monitors_can_follow() {
    for seed in 0..300 {
        let (system, driver) = manual(seed);
        let pg: Pg<u8> = Pg::start(&system, "scope").unwrap();
        let mut people = People::new(&system, &driver, 4);
        let (mut dice, mut model) = (Dice::new(seed), BTreeMap::<u8, Vec<Pid>>::new());
        let (report, reported) = support::reports();
        let run = move |mut inbox: Inbox<PgEvent<u8>>| async move {
            loop {
                if let Received::Message(event) = inbox.recv().await {
                    let _ = report.send(event);
                }
            }
        };
        let to = system.spawn(run).unwrap();
        // It begins some way into the story.
        let begin = dice.roll(30);
        let mut ear = None;
        for step in 0..60 {
            if step == begin {
                let (_, groups) = pg.monitor_scope(to.clone()).unwrap();
                let groups: BTreeMap<u8, Vec<Pid>> = groups.into_iter().collect();
                assert_eq!(groups, model);
                ear = Some(Ear(groups));
            }
            let group = dice.roll(3) as u8;
            let pids: Vec<Pid> = (0..dice.roll(4))
                .map(|_| people.pids[dice.roll(4)])
                .collect();
            match dice.roll(6) {
                0 | 1 => {
                    assert_eq!(pg.join(group, pids.clone()), Ok(pids.len()));
                    if !pids.is_empty() {
                        model.entry(group).or_default().extend(pids);
                    }
                }
                2 => {
                    let mut left = 0;
                    if let Some(members) = model.get_mut(&group) {
                        for pid in &pids {
                            if let Some(at) = members.iter().rposition(|member| member == pid) {
                                members.remove(at);
                                left += 1;
                            }
                        }
                    }
                    assert_eq!(pg.leave(&group, pids), left);
                }
                3 => {
                    let dead = people.kill(dice.roll(4));
                    for members in model.values_mut() {
                        members.retain(|member| *member != dead);
                    }
                }
                4 => {
                    if let Some(keeper) = pg.pid().filter(|_| dice.roll(4) == 0) {
                        system.exit(keeper, ExitReason::Kill);
                    }
                    driver.tick(Budget::messages(1));
                }
                _ => {
                    driver.run_until_idle();
                }
            }
            model.retain(|_, members| !members.is_empty());
            for group in 0..3 {
                let members = model.get(&group).cloned().unwrap_or_default();
                assert_eq!(pg.get_members(&group), members, "seed {seed}");
            }
            let mut groups = pg.which_groups();
            groups.sort_unstable();
            assert_eq!(groups, model.keys().copied().collect::<Vec<_>>());
        }
        // A keeper that has crashed is replaced by whoever joins next.
        driver.run_until_idle();
        let last = waiter(&system);
        pg.join(0, [last]).unwrap();
        model.entry(0).or_default().push(last);
        driver.run_until_idle();
        if let Some(ear) = &mut ear {
            reported.try_iter().for_each(|event| ear.hear(event));
            assert_eq!(ear.0, model, "seed {seed}");
        }
    }
}

/// A process that monitors `pid` from the start, and looks after its end.
fn mourner(
    system: &Handle,
    pid: Pid,
    registry: &Registry<u8, u32>,
    pg: &Pg<u8>,
    report: &std::sync::mpsc::Sender<Result<(), RegisterError>>,
) {
    let (registry, pg, report) = (registry.clone(), pg.clone(), report.clone());
    let run = move |mut inbox: Inbox<()>| async move {
        inbox.monitor(pid);
        while !matches!(inbox.recv().await, Received::Down(_)) {}
        let me = inbox.pid();
        assert_ne!(registry.whereis(&1), Some(pid));
        assert!(registry.lookup(&1).is_none_or(|(holder, _)| holder != pid));
        assert_eq!(registry.keys(pid), []);
        assert!(
            registry
                .select(|_, of, _| (of == pid).then_some(()))
                .is_empty()
        );
        assert!(!pg.get_members(&1).contains(&pid));
        let outcome = registry.register(1, me, 1);
        if let Err(RegisterError::AlreadyRegistered(holder)) = outcome {
            assert_ne!(holder, pid, "a dead one has it");
        }
        let _ = report.send(outcome);
        inbox.recv().await;
    };
    system.spawn(run).unwrap();
}

#[test]
fn no_schedule_of_ten_thousand_shows_a_dead_process() {
    for seed in 0..10_000 {
        let (system, driver) = manual(seed);
        let registry: Registry<u8, u32> = Registry::unique("r").start(&system).unwrap();
        let pg: Pg<u8> = Pg::start(&system, "p").unwrap();
        let (report, reported) = support::reports();
        let (groups, keys) = (pg.clone(), registry.clone());
        let run = move |mut inbox: Inbox<()>| async move {
            let me = inbox.pid();
            keys.register(1, me, 0).unwrap();
            groups.join(1, [me]).unwrap();
            inbox.recv().await;
        };
        let victim = system.spawn(run).unwrap();
        for _ in 0..2 {
            mourner(&system, victim.pid(), &registry, &pg, &report);
        }
        match seed % 3 {
            0 => drop(victim.send(())),
            1 => system.exit(victim.pid(), ExitReason::Kill),
            _ => {
                // Somewhere along the way.
                driver.tick(Budget::messages(seed as u32 % 7));
                system.exit(victim.pid(), ExitReason::Kill);
            }
        }
        while driver.tick(Budget::messages(1)) == noex::Tick::More {
            if !system.is_alive(victim.pid()) {
                assert_ne!(registry.whereis(&1), Some(victim.pid()), "seed {seed}");
                assert!(pg.get_members(&1).iter().all(|pid| system.is_alive(*pid)));
            }
        }
        let outcomes: Vec<_> = reported.try_iter().collect();
        assert_eq!(outcomes.len(), 2, "seed {seed}");
        let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(won, 1, "seed {seed}: {outcomes:?}");
    }
}

#[test]
fn threads_that_look_while_processes_die_never_find_one_known_to_be_dead() {
    let system = quiet().schedulers(2).build().unwrap();
    let registry: Registry<u64, u32, Unique> = Registry::unique("r").start(&system).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    for key in 0..4u64 {
                        if let Some((pid, value)) = registry.lookup(&key) {
                            let serial = pid.serial();
                            assert_eq!(value, serial, "the value of another registration");
                        }
                    }
                }
            });
        }
        for round in 0..3000u64 {
            let key = round % 4;
            let pid = waiter(&system);
            registry.register(key, pid, pid.serial()).unwrap();
            assert_eq!(registry.whereis(&key), Some(pid));
            let monitor = system.monitor(pid);
            system.exit(pid, ExitReason::Kill);
            monitor.wait_timeout(DEADLINE).unwrap();
            assert_eq!(registry.whereis(&key), None);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
