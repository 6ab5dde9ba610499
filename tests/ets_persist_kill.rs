//! A program that is killed at any moment: what it was told was written is in the file, and nothing is half
//! there.
//!
//! The program is this test's own binary, started again to run `child`. It says on its standard output what
//! it asks for before it asks, and when that was acknowledged. It is killed (by SIGKILL) after a random
//! number of lines, and after a random number of turns of a loop. What it said is read to the end, and then
//! a copy of its file is opened. The file itself stays as the crash left it, and the next child begins
//! with that.
//!
//! A program that is killed leaves to the kernel what it has written, synced or not. So the file is in memory
//! where that can be had (`/dev/shm`): that the right things are synced is proved on the simulated disk of
//! `src/ets/persist/tests.rs`. `NOEX_KILL_DIR` says where else, `NOEX_KILL_ROUNDS` how often.
#![cfg(all(feature = "persist", unix))]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use noex::ets::{Durability, OrderedSet, PersistError, PersistentTable};
use noex::prelude::*;
use noex::{Inbox, Recipient};

use support::{DEADLINE, quiet};

/// A writer, and one of its things.
type Key = (u8, u16);
type Table = PersistentTable<Key, u64, OrderedSet>;
type Content = BTreeMap<Key, u64>;

/// What all writers count in.
const TOTAL: Key = (u8::MAX, 0);
const WRITERS: u8 = 4;
/// How many objects a group has that is inserted at once.
const GROUP: u16 = 25;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Random(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % limit
    }
}

/// One thing that a writer asks for. As a word: its letter, the thing and the value.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Step {
    what: char,
    thing: u16,
    value: u64,
}

impl Step {
    fn random(random: &mut Random, value: u64) -> Step {
        let what = ['i', 'i', 'm', 'd', 'u', 't', 'c', 's'][random.below(8) as usize];
        let thing = random.below(6) as u16;
        Step { what, thing, value }
    }

    /// What it makes of the table.
    fn apply(self, writer: u8, table: &mut Content) {
        let key = (writer, self.thing);
        match self.what {
            'i' => {
                table.insert(key, self.value);
            }
            'm' => table.extend((0..GROUP).map(|n| ((writer, 100 + n), self.value))),
            'd' => {
                table.remove(&key);
            }
            'u' => {
                if let Some(value) = table.get_mut(&key) {
                    *value = value.wrapping_mul(31).wrapping_add(self.value);
                }
            }
            't' => *table.entry(TOTAL).or_insert(0) += 1,
            'c' => *table.entry((writer, 50)).or_insert(0) += self.value,
            // All of its own that are odd.
            's' => table.retain(|(owner, thing), value| {
                *owner != writer || *thing >= 100 || *value % 2 == 0
            }),
            other => panic!("no step {other}"),
        }
    }

    async fn ask(self, writer: u8, table: &Table) -> Result<(), PersistError> {
        let (key, value) = ((writer, self.thing), self.value);
        match self.what {
            'i' => table.insert(key, value).await,
            'm' => {
                table
                    .insert_many((0..GROUP).map(|n| ((writer, 100 + n), value)))
                    .await
            }
            'd' => table.delete(key).await.map(drop),
            'u' => table
                .update(key, move |old| {
                    *old = old.wrapping_mul(31).wrapping_add(value)
                })
                .await
                .map(drop),
            't' => table.update_counter_or(TOTAL, 0, |n| n, 1).await.map(drop),
            'c' => table
                .update_counter_or((writer, 50), 0, |n| n, value)
                .await
                .map(drop),
            's' => {
                let odd =
                    move |key: &Key, value: &u64| key.0 == writer && key.1 < 100 && value % 2 == 1;
                table.select_delete(odd).await.map(drop)
            }
            other => panic!("no step {other}"),
        }
    }
}

fn say(line: &str) {
    // In one piece: a pipe takes that much at once.
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{line}\n").as_bytes())
        .and_then(|()| out.flush())
        .expect("a reader");
}

/// The program that is killed.
#[test]
#[ignore = "is run, and killed, by the other tests"]
fn child() {
    let Ok(path) = std::env::var("NOEX_KILL_FILE") else {
        return;
    };
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let seed = number("NOEX_KILL_SEED").expect("a seed");
    let interval = number("NOEX_KILL_INTERVAL").map(Duration::from_millis);
    let system = quiet().schedulers(2).build().expect("threads");
    let durability = interval.map_or(Durability::Each, Durability::Interval);
    let table = Table::builder(path)
        .durability(durability)
        .open(&system)
        .wait()
        .expect("it opens");
    say("open");
    let writers = if interval.is_some() { 1 } else { WRITERS };
    let all: Vec<Recipient<()>> = (0..writers)
        .map(|writer| {
            let table = table.clone();
            let mut random = Random::new(seed * 100 + u64::from(writer));
            system
                .spawn(move |_: Inbox<()>| async move {
                    for n in 0.. {
                        let step = Step::random(&mut random, seed * 1_000_000 + n);
                        say(&format!(
                            "ask {writer} {} {} {}",
                            step.what, step.thing, step.value
                        ));
                        step.ask(writer, &table)
                            .await
                            .expect("the disk is all right");
                        say(&format!("ack {writer}"));
                        if interval.is_some() && random.below(16) == 0 {
                            table.sync().await.expect("the disk is all right");
                            say(&format!("sync {writer}"));
                        }
                    }
                })
                .expect("a running system")
        })
        .collect();
    for writer in all {
        let _ = system.monitor(writer.pid()).wait();
    }
}

/// What a child said that was killed.
#[derive(Default)]
struct Said {
    /// Of each writer: what it asked for, and how much of that was acknowledged, and was synced.
    writers: BTreeMap<u8, (Vec<Step>, usize, usize)>,
}

impl Said {
    fn line(&mut self, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["ask", writer, what, thing, value] => {
                let step = Step {
                    what: what.parse().expect("a letter"),
                    thing: thing.parse().expect("a number"),
                    value: value.parse().expect("a number"),
                };
                self.writer(writer).0.push(step);
            }
            ["ack", writer] => {
                let writer = self.writer(writer);
                writer.1 = writer.0.len();
            }
            ["sync", writer] => {
                let writer = self.writer(writer);
                writer.2 = writer.1;
            }
            // What the test harness says.
            _ => {}
        }
    }

    fn writer(&mut self, word: &str) -> &mut (Vec<Step>, usize, usize) {
        self.writers
            .entry(word.parse().expect("a number"))
            .or_default()
    }
}

/// Kills what it holds, if a test fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a child and kills it after about so many lines.
fn kill_after(path: &Path, seed: u64, interval: Option<u64>, lines: u64, turns: u64) -> Said {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args([
            "--exact",
            "child",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("NOEX_KILL_FILE", path)
        .env("NOEX_KILL_SEED", seed.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if let Some(interval) = interval {
        command.env("NOEX_KILL_INTERVAL", interval.to_string());
    }
    let mut child = Killed(command.spawn().expect("it starts"));
    let mut out = BufReader::new(child.0.stdout.take().expect("a pipe"));
    let mut heard = String::new();
    let mut count = 0;
    // Asks and acknowledgements count; with 0 it is killed while it starts, or opens the file.
    while count < lines {
        let before = heard.len();
        assert!(
            out.read_line(&mut heard).expect("a pipe") > 0,
            "the child ended: {heard}"
        );
        count += u64::from(
            heard[before..].trim_end().contains(' ') || heard[before..].starts_with("open"),
        );
    }
    // A moment that depends on nothing.
    for turn in 0..turns {
        std::hint::black_box(turn);
    }
    child.0.kill().expect("it is there");
    child.0.wait().expect("it is dead");
    let mut rest = Vec::new();
    out.read_to_end(&mut rest).expect("a pipe");
    heard.push_str(&String::from_utf8_lossy(&rest));
    let mut said = Said::default();
    // What does not end is no line.
    let whole = heard.rfind('\n').map_or(0, |end| end + 1);
    heard[..whole].lines().for_each(|line| said.line(line));
    said
}

struct TempDir(PathBuf);

impl TempDir {
    fn new(name: &str) -> TempDir {
        let memory = || Path::new("/dev/shm").is_dir().then(|| "/dev/shm".into());
        let directory = std::env::var_os("NOEX_KILL_DIR").or_else(memory);
        let directory = directory.map_or_else(std::env::temp_dir, PathBuf::from);
        let path = directory.join(format!("noex-kill-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("a directory");
        TempDir(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What is in a file that a crash has left, which stays as it is.
fn content(system: &System, directory: &TempDir, path: &Path) -> Content {
    if !path.exists() {
        // Killed before it had made one.
        return Content::new();
    }
    let copy = directory.0.join("copy");
    fs::copy(path, &copy).expect("a copy");
    let table = Table::builder(&copy)
        .open(system)
        .wait_timeout(DEADLINE)
        .expect("it opens");
    let content = table
        .table()
        .to_list()
        .expect("it is open")
        .into_iter()
        .collect();
    table.close().wait_timeout(DEADLINE).expect("it closes");
    content
}

fn rounds() -> u64 {
    let rounds = std::env::var("NOEX_KILL_ROUNDS").ok();
    rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(120)
}

#[test]
fn nothing_that_was_acknowledged_is_lost_and_nothing_is_half_there() {
    let system = quiet().schedulers(2).build().expect("threads");
    let directory = TempDir::new("each");
    let path = directory.0.join("table");
    let mut before = Content::new();
    let (mut acknowledged, mut open, mut late) = (0, 0, 0);
    for round in 0..rounds() {
        let mut random = Random::new(round);
        let lines = match random.below(5) {
            0 => random.below(3),
            _ => random.below(200),
        };
        let turns = random.below(300_000);
        let said = kill_after(&path, round, None, lines, turns);
        let after = content(&system, &directory, &path);
        let mut counted = before.get(&TOTAL).copied().unwrap_or(0);
        let mut may_be_counted = counted;
        for (writer, (asked, done, _)) in &said.writers {
            let own = |table: &Content| -> Content {
                let own = table.iter().filter(|((owner, _), _)| owner == writer);
                own.map(|(key, value)| (*key, *value)).collect()
            };
            assert!(asked.len() <= done + 1, "it waits for each");
            let mut least = own(&before);
            asked[..*done]
                .iter()
                .for_each(|step| step.apply(*writer, &mut least));
            let mut most = least.clone();
            asked[*done..]
                .iter()
                .for_each(|step| step.apply(*writer, &mut most));
            let (least, most, found) = (own(&least), own(&most), own(&after));
            assert!(
                found == least || found == most,
                "round {round}, writer {writer}, {:?}\nfound {found:?}\nleast {least:?}\nmost {most:?}",
                &asked[done.saturating_sub(3)..]
            );
            late += usize::from(found == most && least != most);
            open += usize::from(*done < asked.len());
            acknowledged += done;
            let totals =
                |steps: &[Step]| steps.iter().filter(|step| step.what == 't').count() as u64;
            counted += totals(&asked[..*done]);
            may_be_counted += totals(asked);
        }
        let total = after.get(&TOTAL).copied().unwrap_or(0);
        assert!(
            (counted..=may_be_counted).contains(&total),
            "round {round}: {total} is not between {counted} and {may_be_counted}"
        );
        before = after;
    }
    println!("{acknowledged} acknowledged, {open} under way, of which {late} were in the file");
    assert!(
        acknowledged > 1000 && open > 50,
        "{acknowledged} acknowledged, {open} under way"
    );
}

#[test]
fn with_an_interval_the_file_is_as_it_was_at_some_moment_after_the_last_sync() {
    let system = quiet().schedulers(2).build().expect("threads");
    let directory = TempDir::new("interval");
    let path = directory.0.join("table");
    let mut before = Content::new();
    let (mut acknowledged, mut lost) = (0, 0);
    for round in 0..rounds() / 2 {
        let mut random = Random::new(round);
        let lines = random.below(400);
        let said = kill_after(&path, round, Some(3), lines, random.below(300_000));
        let after = content(&system, &directory, &path);
        if let Some((asked, done, synced)) = said.writers.get(&0) {
            let mut at = before.clone();
            asked[..*synced]
                .iter()
                .for_each(|step| step.apply(0, &mut at));
            let mut place = *synced;
            while at != after {
                let step = asked.get(place);
                let step = step.unwrap_or_else(|| panic!("round {round}: it never was {after:?}"));
                step.apply(0, &mut at);
                place += 1;
            }
            acknowledged += done;
            lost += done.saturating_sub(place);
        }
        before = after;
    }
    println!("{acknowledged} acknowledged, of which {lost} were not in the file");
    assert!(acknowledged > 500, "{acknowledged} acknowledged");
}

/// The program whose disk is full: the operating system refuses to let its files grow.
#[test]
#[ignore = "is run by the other tests"]
fn full_child() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Ok(path) = std::env::var("NOEX_FULL_FILE") else {
        return;
    };
    let system = quiet().schedulers(2).build().expect("threads");
    let table = PersistentTable::<u64, Vec<u8>>::builder(path)
        .open(&system)
        .wait()
        .expect("it opens");
    let mut there = BTreeMap::new();
    let mut refused = 0;
    for n in 0..400 {
        let value = vec![n as u8; 3000];
        match table.insert(n, value.clone()).wait() {
            Ok(()) => {
                there.insert(n, value);
            }
            Err(PersistError::Io { .. }) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
        assert_eq!(table.len(), Ok(there.len()));
    }
    assert!(
        there.len() > 20 && refused > 20,
        "{} went, {refused} did not",
        there.len()
    );
    assert_eq!(
        table.table().to_list().map(BTreeMap::from_iter),
        Ok(there.clone())
    );
    // There is room again.
    let limit = getrlimit(Resource::Fsize);
    let more = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Fsize, more).expect("it may");
    for n in 1000..1010 {
        table.insert(n, vec![1]).wait().expect("there is room");
        there.insert(n, vec![1]);
    }
    assert_eq!(
        table.table().to_list().map(BTreeMap::from_iter),
        Ok(there.clone())
    );
    println!("\nthere {}", there.len());
    // Without closing.
    std::process::exit(0);
}

#[test]
fn a_disk_that_is_full_refuses_writes_until_there_is_room() {
    let directory = TempDir::new("full");
    let path = directory.0.join("table");
    // The signal that comes with the limit is ignored, and that is inherited.
    let script =
        "trap '' XFSZ; ulimit -S -f 1000; exec \"$0\" --exact full_child --ignored --nocapture";
    let out = Command::new("bash")
        .arg("-c")
        .arg(script)
        .arg(std::env::current_exe().expect("this program"))
        .env("NOEX_FULL_FILE", &path)
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&out.stdout);
    let there = said.lines().find_map(|line| line.strip_prefix("there "));
    let there: usize = there
        .unwrap_or_else(|| panic!("{out:?}"))
        .parse()
        .expect("a number");
    let system = quiet().schedulers(2).build().expect("threads");
    let table = PersistentTable::<u64, Vec<u8>>::builder(&path)
        .open(&system)
        .wait()
        .expect("it opens");
    assert_eq!(table.len(), Ok(there));
    let right = |n: &u64, value: &Vec<u8>| match n {
        ..400 => *value == vec![*n as u8; 3000],
        _ => *value == [1],
    };
    assert_eq!(table.table().select_count(right), Ok(there));
    table.close().wait().expect("it closes");
}

fn since_1970() -> u128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a clock that is right").as_nanos()
}

/// One of several programs that want the same file.
#[test]
#[ignore = "is run by the other tests"]
fn contender() {
    let Ok(path) = std::env::var("NOEX_CONTEND_FILE") else {
        return;
    };
    let system = quiet().schedulers(2).build().expect("threads");
    say("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("a pipe");
    let moment: u128 = line.trim().parse().expect("a time");
    while since_1970() < moment {
        std::thread::yield_now();
    }
    let own = u64::from(std::process::id());
    match PersistentTable::<u64, u64>::builder(path)
        .open(&system)
        .wait()
    {
        Ok(table) => {
            table.insert(own, own).wait().expect("it is its own");
            say(&format!("open {own}"));
        }
        Err(PersistError::AlreadyOpen) => say("taken"),
        Err(other) => say(&format!("error {other:?}")),
    }
    // Until all have said what came of it. Without closing.
    line.clear();
    std::io::stdin().read_line(&mut line).expect("a pipe");
    std::process::exit(0);
}

#[test]
fn of_several_programs_that_open_one_file_one_has_it_also_if_it_is_not_there_yet() {
    let directory = TempDir::new("contend");
    let system = quiet().schedulers(2).build().expect("threads");
    for round in 0..60 {
        // Every other round the file is there already, made by the one before.
        let path = directory.0.join(format!("table-{}", round / 2));
        let command = || {
            let mut command = Command::new(std::env::current_exe().expect("this program"));
            command.args(["--exact", "contender", "--ignored", "--nocapture"]);
            command.env("NOEX_CONTEND_FILE", &path);
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            command.stderr(Stdio::null());
            Killed(command.spawn().expect("it starts"))
        };
        let mut children: Vec<_> = (0..3).map(|_| command()).collect();
        let mut outs: Vec<_> = children
            .iter_mut()
            .map(|child| BufReader::new(child.0.stdout.take().expect("a pipe")).lines())
            .collect();
        let mut said = |words: &[&str]| -> Vec<String> {
            let heard = |line: &String| words.iter().any(|word| line.starts_with(word));
            outs.iter_mut()
                .map(|out| {
                    let lines = out.map(|line| line.expect("a pipe"));
                    lines.into_iter().find(heard).expect("it says so")
                })
                .collect()
        };
        said(&["ready"]);
        // All at the same moment, as far as there are processors.
        let mut inputs: Vec<_> = children
            .iter_mut()
            .map(|child| child.0.stdin.take().expect("a pipe"))
            .collect();
        let moment = format!("{}\n", since_1970() + 5_000_000);
        inputs
            .iter_mut()
            .for_each(|input| input.write_all(moment.as_bytes()).expect("it reads"));
        let said = said(&["open ", "taken", "error "]);
        drop(inputs);
        children
            .iter_mut()
            .for_each(|child| assert!(child.0.wait().expect("it ends").success()));
        let winners: Vec<u64> = said
            .iter()
            .filter_map(|line| line.strip_prefix("open ")?.parse().ok())
            .collect();
        assert!(winners.len() == 1, "round {round}: {said:?}");
        assert!(
            !said.iter().any(|line| line.starts_with("error")),
            "round {round}: {said:?}"
        );
        let table = PersistentTable::<u64, u64>::builder(&path).open(&system);
        let table = table.wait().expect("it opens");
        assert_eq!(table.lookup(&winners[0]), Ok(Some(winners[0])));
        assert_eq!(table.len(), Ok(1 + round % 2));
        table.close().wait().expect("it closes");
    }
}
