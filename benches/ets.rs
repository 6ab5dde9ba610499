//! Tables beside the concurrent maps that could be used in their place, and beside the bare
//! locked maps of std. Guarded: `ets_read` and `ets_write` at least 0.8 of the better of scc and dashmap,
//! and `ets_mixed`, nine reads to one write in an ordered set, above all others.
//!
//! ```text
//! cargo bench --bench ets -- [WORKLOAD ...] [--reps N] [--threads N]
//! ```
//!
//! prints one line for each: `name<TAB>workload<TAB>n<TAB>median seconds<TAB>ops/s<TAB>extra`. Each
//! repetition is a process of its own, warmed up, and those of all are interleaved. In the last
//! field, `ratio` is noex's speed by that of the other, and `cpu_ratio` the same by processor time, which
//! other work on the machine disturbs less. Sizes and meaning are those of `../shared/peers`.

#![allow(missing_docs)]

use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use noex::System;
use noex::ets::{Access, OrderedSet, Set, Table, TableBuilder};

/// How many keys there are.
const KEYS: u64 = 100_000;

/// How many entries a range has.
const RANGE: u64 = 100;

/// What is measured: a map of u64 to u64.
trait Map: Sync {
    fn new() -> Self;
    fn get(&self, key: u64) -> Option<u64>;
    fn set(&self, key: u64, value: u64);
    fn unset(&self, _key: u64) {
        unimplemented!()
    }
    /// The sum over [`RANGE`] entries from a key on.
    fn sum(&self, _from: u64) -> u64 {
        unimplemented!()
    }
}

/// A table of a system of its own.
struct Ours<Kind: noex::ets::TableKind> {
    table: Table<u64, u64, Kind>,
    _system: System,
}

macro_rules! ours {
    ($($kind:ident { $($rest:item)* })*) => {$(
        impl Map for Ours<$kind> {
            fn new() -> Self {
                let system = System::builder().schedulers(1).build().expect("a system");
                let table: TableBuilder<u64, u64, $kind> = Table::builder().access(Access::Public);
                let table = system.table(table).expect("a table");
                Ours {
                    table,
                    _system: system,
                }
            }
            fn get(&self, key: u64) -> Option<u64> {
                self.table.lookup(&key).expect("a table")
            }
            fn set(&self, key: u64, value: u64) {
                self.table.insert(key, value).expect("a table");
            }
            $($rest)*
        }
    )*};
}

ours! {
    Set {}
    OrderedSet {
        fn unset(&self, key: u64) {
            black_box(self.table.delete(&key).expect("a table"));
        }
        fn sum(&self, from: u64) -> u64 {
            let (mut sum, mut count) = (0, 0);
            let broke = self.table.visit_range(from.., |_, value| {
                sum += value;
                count += 1;
                match count {
                    RANGE => ControlFlow::Break(()),
                    _ => ControlFlow::Continue(()),
                }
            });
            assert!(broke.is_ok());
            sum
        }
    }
}

impl Map for dashmap::DashMap<u64, u64> {
    fn new() -> Self {
        Self::new()
    }
    fn get(&self, key: u64) -> Option<u64> {
        self.get(&key).map(|value| *value)
    }
    fn set(&self, key: u64, value: u64) {
        black_box(self.insert(key, value));
    }
}

impl Map for scc::HashMap<u64, u64> {
    fn new() -> Self {
        Self::new()
    }
    fn get(&self, key: u64) -> Option<u64> {
        self.read_sync(&key, |_, value| *value)
    }
    fn set(&self, key: u64, value: u64) {
        black_box(self.upsert_sync(key, value));
    }
}

impl Map for papaya::HashMap<u64, u64> {
    fn new() -> Self {
        Self::new()
    }
    fn get(&self, key: u64) -> Option<u64> {
        self.pin().get(&key).copied()
    }
    fn set(&self, key: u64, value: u64) {
        black_box(self.pin().insert(key, value).copied());
    }
}

impl Map for parking_lot::RwLock<HashMap<u64, u64>> {
    fn new() -> Self {
        Self::default()
    }
    fn get(&self, key: u64) -> Option<u64> {
        self.read().get(&key).copied()
    }
    fn set(&self, key: u64, value: u64) {
        black_box(self.write().insert(key, value));
    }
}

impl Map for parking_lot::RwLock<BTreeMap<u64, u64>> {
    fn new() -> Self {
        Self::default()
    }
    fn get(&self, key: u64) -> Option<u64> {
        self.read().get(&key).copied()
    }
    fn set(&self, key: u64, value: u64) {
        black_box(self.write().insert(key, value));
    }
    fn unset(&self, key: u64) {
        black_box(self.write().remove(&key));
    }
    fn sum(&self, from: u64) -> u64 {
        let map = self.read();
        let entries = map.range(from..).take(RANGE as usize);
        entries.map(|(_, value)| value).sum()
    }
}

impl Map for crossbeam_skiplist::SkipMap<u64, u64> {
    fn new() -> Self {
        Self::new()
    }
    fn get(&self, key: u64) -> Option<u64> {
        self.get(&key).map(|entry| *entry.value())
    }
    fn set(&self, key: u64, value: u64) {
        black_box(*self.insert(key, value).value());
    }
    fn unset(&self, key: u64) {
        black_box(self.remove(&key).map(|entry| *entry.value()));
    }
    fn sum(&self, from: u64) -> u64 {
        let entries = self.range(from..).take(RANGE as usize);
        entries.map(|entry| *entry.value()).sum()
    }
}

impl Map for scc::TreeIndex<u64, u64> {
    fn new() -> Self {
        Self::new()
    }
    fn get(&self, key: u64) -> Option<u64> {
        self.peek_with(&key, |_, value| *value)
    }
    /// It has no way to replace a value at once.
    fn set(&self, key: u64, value: u64) {
        black_box(self.remove_sync(&key));
        let _exists = self.insert_sync(key, value);
    }
    fn unset(&self, key: u64) {
        black_box(self.remove_sync(&key));
    }
    fn sum(&self, from: u64) -> u64 {
        let guard = scc::Guard::new();
        let entries = self.range(from.., &guard).take(RANGE as usize);
        entries.map(|(_, value)| value).sum()
    }
}

/// The next key: all come, one time each, before one comes again.
#[inline(always)]
fn step(key: u64, keys: u64) -> u64 {
    let key = key + 7919;
    if key >= keys { key % keys } else { key }
}

/// What a load took.
#[derive(Clone, Copy)]
struct Took {
    seconds: f64,
    /// Of processor time, all threads together.
    cpu: f64,
}

fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn on_threads(threads: u64, work: impl Fn(u64) + Sync) -> Took {
    let barrier = Barrier::new(threads as usize + 1);
    let mut start = Instant::now();
    let cpu = std::thread::scope(|scope| {
        let (work, barrier) = (&work, &barrier);
        let run = move |thread| {
            barrier.wait();
            let start = thread_cpu();
            work(thread);
            thread_cpu() - start
        };
        let workers: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || run(thread)))
            .collect();
        start = Instant::now();
        barrier.wait();
        let each = workers.into_iter().map(|worker| worker.join());
        each.map(|cpu| cpu.expect("it does not panic"))
            .sum::<Duration>()
    });
    Took {
        seconds: start.elapsed().as_secs_f64(),
        cpu: cpu.as_secs_f64(),
    }
}

/// Calls `op` with `n` keys in all, and a count.
fn walk(threads: u64, n: u64, op: impl Fn(u64, u64) + Sync) -> Took {
    on_threads(threads, |thread| {
        let mut key = thread * KEYS / threads;
        for count in 0..n / threads {
            key = step(key, KEYS);
            op(key, count);
        }
    })
}

fn read<M: Map>(map: &M, threads: u64, n: u64) -> Took {
    walk(threads, n, |key, _| assert_eq!(map.get(key), Some(key)))
}

fn write<M: Map>(map: &M, threads: u64, n: u64) -> Took {
    walk(threads, n, |key, _| map.set(key, key))
}

fn mixed<M: Map>(map: &M, threads: u64, n: u64) -> Took {
    walk(threads, n, |key, count| match count % 10 {
        0 => map.set(key, key),
        _ => assert_eq!(map.get(key), Some(key)),
    })
}

/// Each write takes out an entry or puts it back, so leaves change in size.
fn churn<M: Map>(map: &M, threads: u64, n: u64) -> Took {
    walk(threads, n, |key, count| match count % 20 {
        0 => map.set(key, key),
        10 => map.unset(key),
        _ => {
            black_box(map.get(key));
        }
    })
}

fn range<M: Map>(map: &M, threads: u64, n: u64) -> Took {
    walk(threads, n / RANGE, |key, _| {
        black_box(map.sum(key % (KEYS - RANGE)));
    })
}

/// Fills an empty one.
fn fill<M: Map>(map: &M, threads: u64, n: u64) -> Took {
    on_threads(threads, |thread| {
        let mut key = thread * n / threads;
        for _ in 0..n / threads {
            key = step(key, n);
            map.set(key, key);
        }
    })
}

/// One of the maps under one of the loads.
fn run<M: Map>(load: fn(&M, u64, u64) -> Took, n: u64, threads: u64) -> Took {
    let map = M::new();
    (0..KEYS).for_each(|key| map.set(key, key));
    load(&map, threads, n / 10);
    load(&map, threads, n)
}

fn run_empty<M: Map>(load: fn(&M, u64, u64) -> Took, n: u64, threads: u64) -> Took {
    load(&M::new(), threads, n);
    load(&M::new(), threads, n)
}

type Hashed = Ours<Set>;
type Ordered = Ours<OrderedSet>;
type Dash = dashmap::DashMap<u64, u64>;
type Scc = scc::HashMap<u64, u64>;
type Papaya = papaya::HashMap<u64, u64>;
type LockedHash = parking_lot::RwLock<HashMap<u64, u64>>;
type LockedTree = parking_lot::RwLock<BTreeMap<u64, u64>>;
type Skip = crossbeam_skiplist::SkipMap<u64, u64>;
type Tree = scc::TreeIndex<u64, u64>;

/// Runs a load on a map from so many threads.
type Run = Box<dyn Fn(u64) -> Took>;

struct Workload {
    name: &'static str,
    n: u64,
    runs: Vec<(&'static str, Run)>,
}

macro_rules! workload {
    ($name:literal, $n:expr, $run:ident, $load:ident, $($map:literal: $type:ty),*) => {
        Workload {
            name: $name,
            n: $n,
            runs: vec![$(($map, Box::new(|threads| $run::<$type>($load, $n, threads)))),*],
        }
    };
}

fn workloads() -> Vec<Workload> {
    macro_rules! hashed {
        ($name:literal, $n:expr, $run:ident, $load:ident) => {
            workload!($name, $n, $run, $load, "noex": Hashed, "dashmap": Dash, "scc": Scc,
                "papaya": Papaya, "RwLock<HashMap>": LockedHash)
        };
    }
    macro_rules! ordered {
        ($name:literal, $n:expr, $run:ident, $load:ident) => {
            workload!($name, $n, $run, $load, "noex": Ordered, "skiplist": Skip, "scc::TreeIndex": Tree,
                "RwLock<BTreeMap>": LockedTree)
        };
    }
    vec![
        hashed!("ets_read", 10_000_000, run, read),
        hashed!("ets_write", 2_000_000, run, write),
        hashed!("ets_fill", 1_000_000, run_empty, fill),
        ordered!("ets_mixed", 5_000_000, run, mixed),
        ordered!("ets_mixed:churn", 5_000_000, run, churn),
        ordered!("ets_mixed:read", 5_000_000, run, read),
        ordered!("ets_mixed:write", 1_000_000, run, write),
        ordered!("ets_mixed:range", 50_000_000, run, range),
        ordered!("ets_mixed:fill", 1_000_000, run_empty, fill),
    ]
}

fn main() {
    let all = workloads();
    let (mut wanted, mut reps, mut threads) = (Vec::new(), 5, 2);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--bench" => {}
            "--reps" => reps = number(args.next(), "--reps") as usize,
            "--threads" => threads = number(args.next(), "--threads"),
            "--one" => {
                let (name, map) = (args.next().unwrap_or_default(), args.next());
                let workload = all.iter().find(|workload| workload.name == name);
                let run = workload.and_then(|workload| {
                    let mut runs = workload.runs.iter();
                    runs.find(|run| Some(run.0) == map.as_deref())
                });
                if let Some((_, run)) = run {
                    let took = run(threads);
                    println!("{}\t{}", took.seconds, took.cpu);
                }
                return;
            }
            name if all.iter().any(|workload| workload.name == name) => wanted.push(arg),
            other => usage(&format!("no such workload: {other}")),
        }
    }
    for workload in all {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == workload.name) {
            continue;
        }
        let mut took = vec![Vec::with_capacity(reps); workload.runs.len()];
        for _ in 0..reps {
            for (map, took) in workload.runs.iter().zip(&mut took) {
                took.push(in_a_fresh_process(workload.name, map.0, threads));
            }
        }
        let mut first = None;
        for ((map, _), took) in workload.runs.iter().zip(took) {
            let sorted = |of: fn(&Took) -> f64| {
                let mut all: Vec<f64> = took.iter().map(of).collect();
                all.sort_by(f64::total_cmp);
                all
            };
            let (seconds, cpu) = (sorted(|took| took.seconds), sorted(|took| took.cpu));
            let (least, most) = (seconds[0], seconds[reps - 1]);
            let (median, cpu) = (seconds[reps / 2], cpu[reps / 2]);
            let (ours, our_cpu) = *first.get_or_insert((median, cpu));
            let (ratio, cpu_ratio) = (median / ours, cpu / our_cpu);
            let cpu_ns = cpu * 1e9 / workload.n as f64;
            println!(
                "{map}\t{}\t{}\t{median:.6}\t{:.0}\tratio={ratio:.2} cpu_ratio={cpu_ratio:.2} cpu_ns_per_op={cpu_ns:.1} min_s={least:.6} max_s={most:.6} reps={reps} threads={threads}",
                workload.name,
                workload.n,
                workload.n as f64 / median,
            );
        }
    }
}

/// Runs one repetition. What one leaves behind is not the next one's.
fn in_a_fresh_process(workload: &str, map: &str, threads: u64) -> Took {
    let me = std::env::current_exe().expect("the path of this program");
    let mut command = std::process::Command::new(me);
    command.args(["--threads", &threads.to_string(), "--one", workload, map]);
    let output = command.output().expect("this program runs again");
    let line = String::from_utf8_lossy(&output.stdout);
    let mut fields = line.trim().split('\t').map(str::parse);
    let took = (|| {
        Some(Took {
            seconds: fields.next()?.ok()?,
            cpu: fields.next()?.ok()?,
        })
    })();
    took.unwrap_or_else(|| {
        let error = String::from_utf8_lossy(&output.stderr);
        eprintln!(
            "{workload} on {map} failed, {}: {line}{error}",
            output.status
        );
        std::process::exit(1);
    })
}

fn number(arg: Option<String>, option: &str) -> u64 {
    match arg.and_then(|arg| arg.parse().ok()) {
        Some(n) if n > 0 => n,
        _ => usage(&format!("{option} takes a number of at least 1")),
    }
}

fn usage(what: &str) -> ! {
    let names: Vec<&str> = workloads().iter().map(|workload| workload.name).collect();
    eprintln!(
        "{what}\nusage: ets [WORKLOAD ...] [--reps N] [--threads N]\nworkloads: {}",
        names.join(" ")
    );
    std::process::exit(2);
}
