//! Elixir's `Registry` and OTP's `pg` beside noex's: random sequences of operations, run by both, answer by
//! answer. `tests/otp/registry/driver.exs` is Elixir's side.
//!
//! Skipped with a notice where there is no `elixir`; with NOEX_REQUIRE_ELIXIR=1 that is a failure.
//!
//! # The language
//! `new NUMBER unique|duplicate PARTITIONS` begins a sequence, with four processes `p0` to `p3`, keys `a` to
//! `d`, groups `a` to `c` and two listeners of groups `m0` and `m1`. An answer is one line; where neither
//! side promises an order it is sorted. ` +key:p:value` and ` -key:p` are what the registry's listener heard,
//! ` | n join group p,..` what a monitor did. `kill p` ends a process, waits until the registry and the scope
//! have heard of it (noex: have swept it), and puts another in its place.
//!
//! # What is not compared
//! What listeners hear, where that is a row of docs/departures.md: Elixir's hear of each call of `unregister`
//! once, also if it ended nothing or several, of `unregister_match` only if it left nothing, never of deaths;
//! ours of each registration that ends.

mod support;

use std::collections::HashMap;
use std::fmt::Display;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender};

use noex::prelude::*;
use noex::{
    Driver, Duplicate, Inbox, Keys, Pg, PgEvent, PgMonitor, Received, Recipient, RegisterError,
    Registry, RegistryEvent, Unique,
};

/// Sequences of a run, and operations of each.
const SEQUENCES: u64 = 200;
const OPERATIONS: usize = 80;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % sides
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.roll(words.len())]
    }
}

/// All operations of a sequence.
fn sequence(number: u64) -> Vec<String> {
    let mut dice = Dice((number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let kind = dice.of(&["unique", "duplicate"]);
    let mut all = vec![format!("new {number} {kind} {}", 1 + dice.roll(3))];
    let mut monitors = 0;
    for value in 0..OPERATIONS {
        let (p, key) = (
            dice.of(&["p0", "p1", "p2", "p3"]),
            dice.of(&["a", "b", "c", "d"]),
        );
        let group = dice.of(&["a", "b", "c"]);
        let (ear, small) = (dice.of(&["m0", "m1"]), dice.roll(OPERATIONS));
        all.push(match dice.roll(30) {
            0..=5 => format!("register {p} {key} {value}"),
            6 => format!("unregister {p} {key}"),
            7 => format!("unregister_match {p} {key} {small}"),
            8 if kind == "unique" => format!("update {p} {key}"),
            9 if kind == "unique" => format!("whereis {key}"),
            8..=10 => format!("lookup {key}"),
            11 => format!("keys {p}"),
            12 => format!("values {key} {p}"),
            13 => format!("match {key} {small}"),
            14 => format!("count_match {key} {small}"),
            15 => format!("select {small}"),
            16 => format!("count_select {small}"),
            17 => "count".to_owned(),
            18 => format!("dispatch {key}{}", dice.of(&["", " parallel"])),
            19 => match dice.roll(3) {
                0 => format!("meta {}", dice.of(&["first", "second"])),
                1 => format!("put_meta {} {value}", dice.of(&["first", "second"])),
                _ => format!("delete_meta {}", dice.of(&["first", "second"])),
            },
            20..=22 => {
                let others = ["", " p0", " p1 p2", " p3 p3"];
                format!("join {group} {p}{}", dice.of(&others))
            }
            23 | 24 => format!("leave {group} {p}"),
            25 => format!("members {group}"),
            26 => "groups".to_owned(),
            27 if monitors < 3 => {
                monitors += 1;
                match dice.roll(2) {
                    0 => format!("monitor {ear} {group}"),
                    _ => format!("monitor_scope {ear}"),
                }
            }
            27 => format!("demonitor {ear} {}", dice.roll(4)),
            _ => format!("kill {p}"),
        });
    }
    all
}

/// What Elixir answers; `None`: there is none.
fn elixir(operations: &[String]) -> Option<Vec<String>> {
    let there = Command::new("elixir").arg("--version").output();
    if !there.is_ok_and(|output| output.status.success()) {
        let required = std::env::var_os("NOEX_REQUIRE_ELIXIR").is_some_and(|it| it == "1");
        assert!(!required, "elixir is missing: apt-get install elixir");
        eprintln!("skipped: there is no elixir to compare with");
        return None;
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("registry_operations.txt");
    std::fs::write(&file, operations.join("\n")).expect("a file in the target directory");
    let driver = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/otp/registry/driver.exs");
    let run = Command::new("elixir").arg(driver).arg(&file).output();
    let run = run.expect("elixir runs");
    let output = String::from_utf8_lossy(&run.stdout);
    assert!(
        run.status.success(),
        "elixir: {output}\n{}",
        String::from_utf8_lossy(&run.stderr)
    );
    Some(output.lines().map(str::to_owned).collect())
}

fn list<D: Display>(all: impl IntoIterator<Item = D>) -> String {
    let mut all: Vec<String> = all.into_iter().map(|item| item.to_string()).collect();
    all.sort();
    format!("[{}]", all.join(" "))
}

/// noex's side of one sequence.
struct Side<Q> {
    system: System,
    driver: Driver,
    registry: Registry<String, u64, Q>,
    pg: Pg<String>,
    people: Vec<Pid>,
    names: HashMap<Pid, String>,
    heard: Receiver<RegistryEvent<String, u64>>,
    ears: Vec<Recipient<PgEvent<String>>>,
    events: Receiver<PgEvent<String>>,
    monitors: Vec<PgMonitor>,
}

fn waiter(system: &System) -> Pid {
    let run = |mut inbox: Inbox<()>| async move {
        inbox.recv().await;
    };
    system.spawn(run).unwrap().pid()
}

/// A process that passes on what it is sent.
fn ear<M: Send + 'static>(system: &System, report: Sender<M>) -> Recipient<M> {
    let run = move |mut inbox: Inbox<M>| async move {
        loop {
            if let Received::Message(message) = inbox.recv().await {
                let _ = report.send(message);
            }
        }
    };
    system.spawn(run).unwrap()
}

impl<Q: Keys> Side<Q> {
    fn new(
        seed: u64,
        start: impl FnOnce(&System, Recipient<RegistryEvent<String, u64>>) -> Registry<String, u64, Q>,
    ) -> Self {
        let (system, driver) = support::quiet().virtual_clock().seed(seed).manual();
        let (report, heard) = support::reports();
        let registry = start(&system, ear(&system, report));
        let (report, events) = support::reports();
        let ears = (0..2).map(|_| ear(&system, report.clone())).collect();
        let people: Vec<Pid> = (0..4).map(|_| waiter(&system)).collect();
        let names = people.iter().enumerate();
        Side {
            registry,
            pg: Pg::start(&system, "scope").unwrap(),
            names: names.map(|(n, pid)| (*pid, format!("p{n}"))).collect(),
            people,
            heard,
            ears,
            events,
            monitors: Vec::new(),
            system,
            driver,
        }
    }

    fn pid(&self, name: &str) -> Pid {
        self.people[name[1..].parse::<usize>().unwrap()]
    }

    fn name(&self, pid: Pid) -> &str {
        &self.names[&pid]
    }

    fn entries(&self, all: &[(Pid, u64)]) -> String {
        list(
            all.iter()
                .map(|(pid, n)| format!("{}:{n}", self.name(*pid))),
        )
    }

    fn members(&self, pids: &[Pid]) -> String {
        list(pids.iter().map(|pid| self.name(*pid)))
    }

    /// What the listener of the registry has heard since.
    fn heard(&self) -> String {
        self.driver.run_until_idle();
        let event = |event| match event {
            RegistryEvent::Registered {
                key, pid, value, ..
            } => format!(" +{key}:{}:{value}", self.name(pid)),
            RegistryEvent::Unregistered { key, pid, .. } => format!(" -{key}:{}", self.name(pid)),
            _ => unreachable!("there are two kinds"),
        };
        self.heard.try_iter().map(event).collect()
    }

    /// What the monitors of groups have heard since.
    fn events(&self) -> String {
        self.driver.run_until_idle();
        let text = |event| {
            let (verb, monitor, group, pids) = match event {
                PgEvent::Join {
                    monitor,
                    group,
                    pids,
                } => ("join", monitor, group, pids),
                PgEvent::Leave {
                    monitor,
                    group,
                    pids,
                } => ("leave", monitor, group, pids),
            };
            let number = self.monitors.iter().position(|of| *of == monitor).unwrap();
            let pids: Vec<&str> = pids.iter().map(|pid| self.name(*pid)).collect();
            format!(" | {number} {verb} {group} {}", pids.join(","))
        };
        let mut events: Vec<String> = self.events.try_iter().map(text).collect();
        events.sort();
        events.concat()
    }

    /// What is the same for both kinds; `None`: it is another's.
    fn act(&mut self, words: &[&str]) -> Option<String> {
        let registry = &self.registry;
        let number = |word: &str| word.parse::<u64>().unwrap();
        Some(match *words {
            ["register", p, key, value] => {
                let outcome = registry.register(key.to_owned(), self.pid(p), number(value));
                let outcome = match outcome {
                    Ok(()) => "ok".to_owned(),
                    Err(RegisterError::AlreadyRegistered(pid)) => {
                        format!("taken by {}", self.name(pid))
                    }
                    Err(other) => other.to_string(),
                };
                outcome + &self.heard()
            }
            // An event each, where Elixir has one for each call.
            ["unregister", p, key] => match registry.unregister(key, self.pid(p)) {
                1 => format!("ok{}", self.heard()),
                _ => {
                    self.heard();
                    "ok?".to_owned()
                }
            },
            ["unregister_match", p, key, value] => {
                registry.unregister_match(key, self.pid(p), |n| *n == number(value));
                self.heard();
                "ok?".to_owned()
            }
            ["keys", p] => list(registry.keys(self.pid(p))),
            ["values", key, p] => list(registry.values(key, self.pid(p))),
            ["lookup", key] => self.entries(&registry.match_values(key, |_, _| true)),
            ["match", key, above] => {
                self.entries(&registry.match_values(key, |_, n| *n > number(above)))
            }
            ["count_match", key, above] => registry
                .count_match(key, |_, n| *n > number(above))
                .to_string(),
            ["select", above] => {
                let wanted = |n: &u64| *n > number(above);
                let text = |key: &String, pid, n: &u64| format!("{key}:{}:{n}", self.name(pid));
                list(registry.select(|key, pid, n| wanted(n).then(|| text(key, pid, n))))
            }
            ["count_select", above] => registry
                .count_select(|_, _, n| *n > number(above))
                .to_string(),
            ["count"] => registry.count().to_string(),
            ["dispatch", key] => {
                let mut all = Vec::new();
                registry.dispatch(key, |entries| all.extend_from_slice(entries));
                self.entries(&all)
            }
            ["dispatch", key, "parallel"] => {
                let (report, reported) = support::reports();
                let dispatch = registry.dispatch_parallel(key, move |entries| {
                    let _ = report.send(entries.to_vec());
                });
                dispatch.wait().unwrap();
                self.entries(&reported.try_iter().collect::<Vec<_>>().concat())
            }
            ["meta", key] => match registry.meta::<u64>(key) {
                Ok(value) => value.to_string(),
                Err(_) => "error".to_owned(),
            },
            ["put_meta", key, value] => {
                registry.put_meta(key, number(value));
                "ok".to_owned()
            }
            ["delete_meta", key] => {
                registry.delete_meta(key);
                "ok".to_owned()
            }
            ["kill", p] => {
                let pid = self.pid(p);
                self.system.exit(pid, ExitReason::Kill);
                self.driver.run_until_idle();
                let events = self.events();
                // Only ours tell of deaths.
                self.heard();
                let next = waiter(&self.system);
                self.people[p[1..].parse::<usize>().unwrap()] = next;
                self.names.remove(&pid);
                self.names.insert(next, p.to_owned());
                format!("dead{events}")
            }
            ["join", group, ref people @ ..] => {
                let pids = people.iter().map(|p| self.pid(p)).collect::<Vec<_>>();
                self.pg.join(group.to_owned(), pids).unwrap();
                format!("ok{}", self.events())
            }
            ["leave", group, p] => {
                let left = self.pg.leave(group, [self.pid(p)]);
                let outcome = ["not_joined", "ok"][left];
                format!("{outcome}{}", self.events())
            }
            ["members", group] => self.members(&self.pg.get_members(group)),
            ["groups"] => list(self.pg.which_groups()),
            ["monitor", m, group] => {
                let to = self.ears[m[1..].parse::<usize>().unwrap()].clone();
                let (monitor, members) = self.pg.monitor(group.to_owned(), to).unwrap();
                self.monitors.push(monitor);
                self.members(&members)
            }
            ["monitor_scope", m] => {
                let to = self.ears[m[1..].parse::<usize>().unwrap()].clone();
                let (monitor, groups) = self.pg.monitor_scope(to).unwrap();
                self.monitors.push(monitor);
                let text =
                    |(group, pids): &(String, Vec<Pid>)| format!("{group}:{}", self.members(pids));
                list(groups.iter().map(text))
            }
            ["demonitor", _, n] => match self.monitors.get(number(n) as usize) {
                None => "none".to_owned(),
                Some(monitor) if self.pg.demonitor(*monitor) => "ok".to_owned(),
                Some(_) => "false".to_owned(),
            },
            _ => return None,
        })
    }
}

impl Side<Unique> {
    fn act_unique(&mut self, words: &[&str]) -> String {
        match *words {
            ["update", p, key] => match self.registry.update_value(key, self.pid(p), |n| n + 1) {
                Some((new, old)) => format!("{new} from {old}"),
                None => "error".to_owned(),
            },
            ["whereis", key] => match self.registry.whereis(key) {
                Some(pid) => self.name(pid).to_owned(),
                None => "nobody".to_owned(),
            },
            ["lookup", key] => {
                let found = self.registry.lookup(key);
                self.entries(found.as_slice())
            }
            _ => self.act(words).expect("an operation"),
        }
    }
}

/// What noex answers to a sequence.
fn noex(operations: &[String]) -> Vec<String> {
    let first: Vec<&str> = operations[0].split(' ').collect();
    let ["new", number, kind, partitions] = *first else {
        panic!("a sequence begins with new");
    };
    let (seed, partitions) = (number.parse().unwrap(), partitions.parse().unwrap());
    let mut answers = vec!["new".to_owned()];
    let words = operations[1..].iter().map(|line| line.split(' '));
    let words = words.map(|words| words.collect::<Vec<_>>());
    if kind == "unique" {
        let mut side = Side::new(seed, |system, to| {
            let registry = Registry::unique("r").meta("first", 1u64);
            registry
                .partitions(partitions)
                .listener(to)
                .start(system)
                .unwrap()
        });
        answers.extend(words.map(|words| side.act_unique(&words)));
    } else {
        let mut side = Side::<Duplicate>::new(seed, |system, to| {
            let registry = Registry::duplicate("r").meta("first", 1u64);
            registry
                .partitions(partitions)
                .listener(to)
                .start(system)
                .unwrap()
        });
        answers.extend(words.map(|words| side.act(&words).expect("an operation")));
    }
    answers
}

#[test]
fn registries_and_process_groups_answer_as_elixir_and_otp_do() {
    let sequences: Vec<Vec<String>> = (0..SEQUENCES).map(sequence).collect();
    let Some(theirs) = elixir(&sequences.concat()) else {
        return;
    };
    let mut theirs = theirs.into_iter();
    let mut compared = 0;
    for operations in &sequences {
        let ours = noex(operations);
        for (at, mine) in ours.into_iter().enumerate() {
            let answer = theirs.next().expect("an answer to each operation");
            // `ok?`: not just one registration ended; so what listeners hear is not compared.
            let agrees = match mine.as_str() {
                "ok?" => answer.starts_with("ok"),
                _ => answer == mine,
            };
            assert!(
                agrees,
                "Elixir: {answer}\nnoex:   {mine}\nafter {:#?}",
                &operations[..=at]
            );
            compared += 1;
        }
    }
    assert_eq!(theirs.next(), None);
    assert_eq!(compared, SEQUENCES as usize * (OPERATIONS + 1));
}
