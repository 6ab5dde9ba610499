//! The workloads with their sizes, and what a program offers to have them run.

use std::sync::OnceLock;
use std::time::Duration;

use crate::{Laps, cpu_seconds, wakeups};

/// What a program can do. `None`: it has no such thing.
#[allow(unused_variables)]
pub trait Peer {
    const NAME: &'static str;
    /// How many `spawn` starts: fewer for one that is slow at it.
    const SPAWNS: u64 = 1_000_000;
    /// How many `spawn_keep` keeps, and the most that `scale` goes up to.
    const KEEP: u64 = 1_000_000;

    /// `groups` rings of `size` processes; `tokens` a ring, each handed on `hops` times. Seconds.
    fn chain(&self, groups: usize, size: usize, tokens: usize, hops: u64) -> Option<f64>;
    /// `producers` send `each` messages to one process, which then answers with their sum.
    fn fanin(&self, producers: usize, each: u64) -> Option<f64>;
    /// One process sends to each of `processes`, each answers; the next round starts when all have.
    fn fanout(&self, processes: usize, rounds: u64) -> Option<f64>;
    /// One process calls another.
    fn call(&self, n: u64) -> Option<f64>;
    /// A thread outside calls a process.
    fn call_sync(&self, n: u64) -> Option<f64>;
    /// `n` processes that end at once, from inside.
    fn spawn(&self, n: u64) -> Option<f64>;
    /// `n` processes that stay, each of which has handled a message: seconds, and bytes of memory gained.
    fn spawn_keep(&self, n: u64) -> Option<(f64, u64)>;
    /// `n` restarts of a child that crashes: by a panic, or the program's own way to fail with an error.
    fn supervise(&self, n: u64, panic: bool) -> Option<f64> {
        None
    }
    fn registry(&self, entries: u64, lookups: u64) -> Option<f64> {
        None
    }
    /// `n` timers, every other one cancelled; seconds until the last is gone.
    fn timers(&self, n: u64) -> Option<f64> {
        None
    }
    /// One process calls another, each call a lap.
    fn call_laps(&self, laps: Laps) -> Option<Laps> {
        None
    }
    /// `pairs` pairs of processes play ping-pong for ever; one more pair does, and each of its round trips
    /// is a lap.
    fn pingpong_laps(&self, pairs: usize, laps: Laps) -> Option<Laps> {
        None
    }
    /// A call from a thread outside, to be made again and again.
    fn caller(&self) -> Option<Box<dyn FnMut() + '_>> {
        None
    }
    /// Starts a process that holds its thread for `hold` again and again, until the program ends; between
    /// two times others get their turn. `false`: it has no such thing.
    fn hog(&self, hold: Duration) -> bool {
        false
    }
    /// Rows that only this program has; `false`: no such workload.
    fn more(&self, workload: &str) -> bool {
        false
    }
}

fn arguments() -> (String, u64) {
    let (mut workload, mut shrink) = (None, 1);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == "--shrink" {
            shrink = args.next().and_then(|n| n.parse().ok()).unwrap_or(1).max(1);
        } else {
            workload = Some(arg);
        }
    }
    match workload {
        Some(workload) => (workload, shrink),
        None => {
            eprintln!("usage: <program> <workload> [--shrink N]");
            std::process::exit(2);
        }
    }
}

/// `n`, divided by what `--shrink` says; at least 1.
pub fn shrunk(n: u64) -> u64 {
    static SHRINK: OnceLock<u64> = OnceLock::new();
    (n / SHRINK.get_or_init(|| arguments().1)).max(1)
}

pub fn emit(program: &str, workload: &str, n: u64, seconds: f64, extra: &str) {
    println!("{program}\t{workload}\t{n}\t{seconds:.9}\t{extra}");
}

pub fn na(program: &str, workload: &str) {
    println!("{program}\t{workload}\t0\tn/a\t");
}

fn row(program: &str, workload: &str, n: u64, seconds: Option<f64>, extra: &str) {
    match seconds {
        Some(seconds) => emit(program, workload, n, seconds, extra),
        None => na(program, workload),
    }
}

fn laps(program: &str, workload: &str, laps: Option<Laps>) {
    match laps {
        Some(laps) => emit(
            program,
            workload,
            laps.rounds(),
            laps.seconds(),
            &laps.extra(),
        ),
        None => na(program, workload),
    }
}

/// How long the workloads last that are measured for a time: `latency_hogs` and `idle`.
const TIME: Duration = Duration::from_secs(3);

/// How long a hog holds its thread at a time.
const HOLD: Duration = Duration::from_millis(100);

/// How much time is between the calls of `latency_hogs`.
const PACE: Duration = Duration::from_millis(1);

/// Runs the workload that the command line names.
pub fn main_for<P: Peer>(peer: P) {
    let (workload, shrink) = arguments();
    let (name, load) = (P::NAME, workload.as_str());
    // Crashes are part of `supervise`, and print nothing.
    std::panic::set_hook(Box::new(|_| {}));
    let n = |n| shrunk(n);
    let few = |n: usize| shrunk(n as u64) as usize;
    match load {
        "pingpong" => {
            peer.chain(1, 2, 1, n(200_000));
            let hops = n(2_000_000);
            row(name, load, hops, peer.chain(1, 2, 1, hops), "");
        }
        "pingpong_pairs" => {
            let (pairs, hops) = (few(1000), 2000);
            peer.chain(pairs, 2, 1, hops / 10);
            let seconds = peer.chain(pairs, 2, 1, hops);
            row(name, load, pairs as u64 * hops, seconds, "");
        }
        "ring" => {
            peer.chain(1, 1000, 1, n(100_000));
            let hops = n(1_000_000);
            row(name, load, hops, peer.chain(1, 1000, 1, hops), "");
        }
        "ring_many" => {
            let hops = n(10_000);
            peer.chain(1, 1000, 1000, n(1000));
            let seconds = peer.chain(1, 1000, 1000, hops);
            row(name, load, 1000 * hops, seconds, "10 laps");
        }
        "fanin" => {
            peer.fanin(8, n(25_000));
            let each = n(250_000);
            row(name, load, 8 * each, peer.fanin(8, each), "");
        }
        "fanout" => {
            peer.fanout(few(10_000), 2);
            let processes = few(100_000);
            let seconds = peer.fanout(processes, 10);
            row(name, load, 2 * 10 * processes as u64, seconds, "");
        }
        "call" => {
            peer.call(n(50_000));
            let calls = n(500_000);
            row(name, load, calls, peer.call(calls), "");
        }
        "call_sync" => {
            peer.call_sync(n(5_000));
            let calls = n(100_000);
            row(name, load, calls, peer.call_sync(calls), "");
        }
        "spawn" => {
            let spawns = n(P::SPAWNS);
            peer.spawn(spawns / 10 + 2);
            row(name, load, spawns, peer.spawn(spawns), "");
        }
        "spawn_keep" => {
            peer.spawn(n(1000));
            let keep = n(P::KEEP);
            match peer.spawn_keep(keep) {
                Some((seconds, bytes)) => {
                    let extra = format!("rss_bytes_per_process={}", bytes / keep);
                    emit(name, load, keep, seconds, &extra);
                }
                None => na(name, load),
            }
        }
        "supervise" => {
            let (few, many) = (n(1000), n(20_000));
            peer.supervise(few, true);
            row(name, load, many, peer.supervise(many, true), "crash=panic");
            if peer.supervise(few, false).is_some() {
                let seconds = peer.supervise(many, false);
                row(name, "supervise:err", many, seconds, "crash=error");
            }
        }
        "registry_lookup" => {
            let lookups = n(5_000_000);
            row(name, load, lookups, peer.registry(10_000, lookups), "");
        }
        "timers" => {
            peer.timers(n(1000));
            let timers = n(1_000_000);
            let before = cpu_seconds();
            let wall = peer.timers(timers);
            let cpu = cpu_seconds() - before;
            // The seconds of this row are CPU seconds.
            let extra = wall.map(|wall| format!("wall_s={wall:.3}"));
            row(
                name,
                load,
                timers,
                wall.map(|_| cpu),
                &extra.unwrap_or_default(),
            );
        }
        "latency_call" => {
            peer.call_laps(Laps::new(n(20_000)));
            laps(name, load, peer.call_laps(Laps::new(n(200_000))));
        }
        "latency_pingpong" => {
            let rounds = n(20_000);
            laps(name, load, peer.pingpong_laps(100, Laps::new(rounds)));
        }
        "latency_hogs" => hogs(&peer, load, shrink),
        "idle" => idle(&peer, load, shrink),
        _ => match load.strip_prefix("scale:").map(str::parse::<u64>) {
            Some(Ok(processes)) if processes <= P::KEEP => {
                let rounds = (n(1_000_000) / processes).max(1);
                peer.fanout(100, 10);
                let seconds = peer.fanout(processes as usize, rounds);
                row(name, load, 2 * rounds * processes, seconds, "");
            }
            None if peer.more(load) => {}
            _ => na(name, load),
        },
    }
}

/// How long a call waits, made every millisecond by a thread outside, while each scheduler thread is held
/// by a process again and again.
fn hogs<P: Peer>(peer: &P, load: &str, shrink: u64) {
    let Some(mut call) = peer.caller() else {
        return na(P::NAME, load);
    };
    (0..shrunk(5_000)).for_each(|_| call());
    if !(0..crate::THREADS).all(|_| peer.hog(HOLD / shrink as u32)) {
        return na(P::NAME, load);
    }
    let mut all = Laps::paced(TIME / shrink as u32, PACE);
    loop {
        std::thread::sleep(PACE);
        all.begin();
        call();
        if !all.lap() {
            return laps(P::NAME, load, Some(all));
        }
    }
}

/// What ten thousand processes cost that have nothing to do: `n` is milliseconds, the seconds are CPU
/// seconds, and the extra says how often a thread went to sleep.
fn idle<P: Peer>(peer: &P, load: &str, shrink: u64) {
    if peer.spawn_keep(shrunk(10_000)).is_none() {
        return na(P::NAME, load);
    }
    let time = TIME / shrink as u32;
    // What was just started comes to rest.
    std::thread::sleep(time / 4);
    let (cpu, woken) = (cpu_seconds(), wakeups());
    std::thread::sleep(time);
    // The one is this thread's own.
    let woken = wakeups() - woken - 1;
    let cpu = cpu_seconds() - cpu;
    let a_second = woken as f64 / time.as_secs_f64();
    let extra = format!("wakeups_a_second={a_second:.1}");
    emit(P::NAME, load, time.as_millis() as u64, cpu, &extra);
}
