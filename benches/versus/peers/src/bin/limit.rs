//! Not a peer: what the machine itself allows, with no runtime in between.
//! `vecdeque` rows: one thread, a run queue and boxed messages in VecDeques, no atomics.
//! `crossbeam` / `std` / `segqueue` rows: OS threads.
use harness::*;
use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

const ME: &str = "limit";

/// Every process = a mailbox of boxes; a process runs one message per turn.
fn chain(groups: usize, size: usize, tokens: usize, hops: u64) -> f64 {
    let n = groups * size;
    let mut boxes: Vec<VecDeque<Box<u64>>> = (0..n).map(|_| VecDeque::with_capacity(4)).collect();
    let next: Vec<u32> = (0..n)
        .map(|i| (i / size * size + (i % size + 1) % size) as u32)
        .collect();
    let mut runq = VecDeque::new();
    for g in 0..groups {
        for k in 0..tokens {
            boxes[g * size + k % size].push_back(Box::new(hops));
            runq.push_back((g * size + k % size) as u32);
        }
    }
    let t = Instant::now();
    while let Some(p) = runq.pop_front() {
        let m = black_box(boxes[p as usize].pop_front().unwrap());
        if *m > 0 {
            let to = next[p as usize];
            boxes[to as usize].push_back(Box::new(*m - 1));
            runq.push_back(to);
        }
    }
    t.elapsed().as_secs_f64()
}

fn pingpong_2t(hops: u64, spin: bool) -> f64 {
    let (a, ra) = crossbeam_channel::unbounded::<u64>();
    let (b, rb) = crossbeam_channel::unbounded::<u64>();
    let get = move |r: &crossbeam_channel::Receiver<u64>| {
        if spin {
            loop {
                if let Ok(v) = r.try_recv() {
                    return v;
                }
                std::hint::spin_loop();
            }
        }
        r.recv().unwrap()
    };
    let rounds = hops / 2;
    let t = Instant::now();
    let (mine, theirs) = (get, get);
    let h = thread::spawn(move || {
        for _ in 0..rounds {
            let v = theirs(&rb);
            a.send(v + 1).unwrap();
        }
    });
    for i in 0..rounds {
        b.send(i).unwrap();
        assert_eq!(mine(&ra), i + 1);
    }
    let s = t.elapsed().as_secs_f64();
    h.join().unwrap();
    s
}

/// 8 producer threads, one consumer; `T` makes a sender and a receiving closure.
fn fanin<S: Clone + Send, P: Fn(&S, u64) + Sync>(
    per: u64,
    tx: S,
    push: P,
    mut pop: impl FnMut() -> u64,
) -> f64 {
    let bar = Barrier::new(9);
    let mut secs = 0.0;
    thread::scope(|s| {
        for _ in 0..8 {
            let (tx, bar, push) = (tx.clone(), &bar, &push);
            s.spawn(move || {
                bar.wait();
                for _ in 0..per {
                    push(&tx, 1);
                }
            });
        }
        let t = Instant::now(); // before the wait: the producers run as soon as it ends
        bar.wait();
        let mut sum = 0;
        for _ in 0..8 * per {
            sum += pop();
        }
        secs = t.elapsed().as_secs_f64();
        assert_eq!(sum, 8 * per);
    });
    secs
}

fn fanin_of(kind: &str, per: u64) -> f64 {
    match kind {
        "crossbeam" => {
            let (tx, rx) = crossbeam_channel::unbounded();
            fanin(per, tx, |t, v| t.send(v).unwrap(), || rx.recv().unwrap())
        }
        "std" => {
            let (tx, rx) = std::sync::mpsc::channel();
            fanin(per, tx, |t, v| t.send(v).unwrap(), || rx.recv().unwrap())
        }
        _ => {
            let q = crossbeam_queue::SegQueue::new();
            fanin(
                per,
                &q,
                |q, v| q.push(v),
                || loop {
                    match q.pop() {
                        Some(v) => return v,
                        None => thread::yield_now(),
                    }
                },
            )
        }
    }
}

fn fanout(procs: usize, rounds: u64) -> f64 {
    let mut boxes: Vec<VecDeque<Box<u64>>> =
        (0..procs).map(|_| VecDeque::with_capacity(4)).collect();
    let (mut back, mut runq) = (VecDeque::new(), VecDeque::new());
    let t = Instant::now();
    for r in 0..rounds {
        for (p, b) in boxes.iter_mut().enumerate() {
            b.push_back(Box::new(r));
            runq.push_back(p as u32);
        }
        while let Some(p) = runq.pop_front() {
            let m = black_box(boxes[p as usize].pop_front().unwrap());
            back.push_back(Box::new(*m));
        }
        while let Some(m) = back.pop_front() {
            black_box(m);
        }
    }
    t.elapsed().as_secs_f64()
}

fn call_2t(n: u64) -> f64 {
    let (tx, rx) = crossbeam_channel::unbounded::<u64>();
    let (rtx, rrx) = crossbeam_channel::unbounded::<u64>();
    let h = thread::spawn(move || {
        while let Ok(v) = rx.recv() {
            rtx.send(v + 1).unwrap();
        }
    });
    let t = Instant::now();
    let mut v = 0;
    while v < n {
        tx.send(v).unwrap();
        v = rrx.recv().unwrap();
    }
    let s = t.elapsed().as_secs_f64();
    drop(tx);
    h.join().unwrap();
    s
}

type Task = [u64; 16]; // 128 bytes

fn spawn(n: u64, live: usize) -> f64 {
    let t = Instant::now();
    let mut q: VecDeque<Box<Task>> = VecDeque::with_capacity(live + 1);
    for i in 0..n {
        let mut b: Box<Task> = Box::new([0; 16]);
        b[0] = i;
        q.push_back(black_box(b));
        if q.len() > live {
            drop(q.pop_front());
        }
    }
    drop(q);
    t.elapsed().as_secs_f64()
}

fn spawn_keep(n: u64) -> (f64, u64) {
    let before = rss();
    let t = Instant::now();
    let mut keep: Vec<Box<Task>> = Vec::with_capacity(n as usize);
    for i in 0..n {
        keep.push(Box::new([i; 16]));
    }
    black_box(&keep);
    let s = t.elapsed().as_secs_f64();
    (s, rss().saturating_sub(before))
}

fn table(kind: &str, write: bool, n: u64) -> f64 {
    const N: u64 = 100_000;
    let per = n / THREADS as u64;
    macro_rules! go {
        ($k:ident, $op:expr) => {
            on_threads(|i| {
                let mut $k = i * N / 2;
                for _ in 0..per {
                    $k = step($k, N);
                    $op;
                }
            })
        };
    }
    match kind {
        "dashmap" => {
            let m: dashmap::DashMap<u64, u64> = (0..N).map(|k| (k, k)).collect();
            match write {
                false => go!(k, assert_eq!(*m.get(&k).unwrap(), k)),
                true => go!(k, black_box(m.insert(k, k))),
            }
        }
        "scc" => {
            let m: scc::HashMap<u64, u64> = scc::HashMap::new();
            (0..N).for_each(|k| assert!(m.insert_sync(k, k).is_ok()));
            match write {
                false => go!(k, assert_eq!(m.read_sync(&k, |_, v| *v), Some(k))),
                true => go!(k, black_box(m.upsert_sync(k, k))),
            }
        }
        _ => {
            let m: papaya::HashMap<u64, u64> = (0..N).map(|k| (k, k)).collect();
            match write {
                false => go!(k, assert_eq!(m.pin().get(&k).copied(), Some(k))),
                true => go!(k, black_box(m.pin().insert(k, k).copied())),
            }
        }
    }
}

fn registry(kind: &str, entries: u64, lookups: u64) -> f64 {
    let names = names(entries);
    let per = lookups / THREADS as u64;
    macro_rules! go {
        ($n:ident, $op:expr) => {
            on_threads(|i| {
                let mut k = i * entries / 2;
                for _ in 0..per {
                    k = step(k, entries);
                    let $n = names[k as usize].as_str();
                    assert!($op.is_some());
                }
            })
        };
    }
    let all = names.iter().cloned().zip(0u64..);
    match kind {
        "dashmap" => {
            let m: dashmap::DashMap<String, u64> = all.collect();
            go!(n, m.get(n).map(|v| *v))
        }
        "scc" => {
            let m: scc::HashMap<String, u64> = scc::HashMap::new();
            all.for_each(|(k, v)| assert!(m.insert_sync(k, v).is_ok()));
            go!(n, m.read_sync(n, |_, v| *v))
        }
        _ => {
            let m: papaya::HashMap<String, u64> = all.collect();
            go!(n, m.pin().get(n).copied())
        }
    }
}

fn main() {
    let load = std::env::args().nth(1).expect("usage: limit <workload>");
    let out = |kind: &str, n: u64, seconds: f64, extra: &str| {
        emit(ME, &format!("{load}:{kind}"), n, seconds, extra);
    };
    let n = shrunk;
    let few = |n: usize| shrunk(n as u64) as usize;
    match load.as_str() {
        "pingpong" => {
            let hops = n(2_000_000);
            chain(1, 2, 1, hops / 10);
            out("vecdeque", hops, chain(1, 2, 1, hops), "1 thread");
            let blocking = n(200_000);
            pingpong_2t(blocking / 10, false);
            out(
                "crossbeam",
                blocking,
                pingpong_2t(blocking, false),
                "2 threads, blocking",
            );
            out(
                "crossbeam_spin",
                hops,
                pingpong_2t(hops, true),
                "2 threads, spinning",
            );
        }
        "pingpong_pairs" => {
            let (pairs, hops) = (few(1000), 2000);
            chain(pairs, 2, 1, hops / 10);
            out(
                "vecdeque",
                pairs as u64 * hops,
                chain(pairs, 2, 1, hops),
                "1 thread",
            );
        }
        "ring" => {
            let hops = n(1_000_000);
            chain(1, 1000, 1, hops / 10);
            out("vecdeque", hops, chain(1, 1000, 1, hops), "1 thread");
        }
        "ring_many" => {
            let hops = n(10_000);
            chain(1, 1000, 1000, hops / 10);
            out(
                "vecdeque",
                1000 * hops,
                chain(1, 1000, 1000, hops),
                "1 thread, 10 laps",
            );
        }
        "fanin" => {
            let each = n(250_000);
            for kind in ["crossbeam", "segqueue", "std"] {
                fanin_of(kind, each / 10);
                out(kind, 8 * each, fanin_of(kind, each), "9 threads");
            }
        }
        "fanout" => {
            let processes = few(100_000);
            fanout(processes / 10, 2);
            out(
                "vecdeque",
                20 * processes as u64,
                fanout(processes, 10),
                "1 thread",
            );
        }
        "call" => {
            let calls = n(500_000);
            chain(1, 2, 1, calls / 5);
            out(
                "vecdeque",
                calls,
                chain(1, 2, 1, 2 * calls),
                "1 thread: 2 boxed hops a call",
            );
        }
        "call_sync" => {
            let calls = n(100_000);
            call_2t(calls / 20);
            out("crossbeam", calls, call_2t(calls), "2 threads, blocking");
        }
        "spawn" => {
            let spawns = n(1_000_000);
            spawn(spawns / 10, 1000);
            out("box128", spawns, spawn(spawns, 1000), "1 thread, 1000 live");
        }
        "spawn_keep" => {
            let keep = n(1_000_000);
            let (seconds, bytes) = spawn_keep(keep);
            let extra = format!("rss_bytes_per_process={}", bytes / keep);
            out("box128", keep, seconds, &extra);
        }
        "ets_read" | "ets_write" => {
            let write = load == "ets_write";
            let operations = n(if write { 2_000_000 } else { 10_000_000 });
            for kind in ["dashmap", "scc", "papaya"] {
                table(kind, write, operations / 10);
                out(kind, operations, table(kind, write, operations), "");
            }
        }
        "registry_lookup" => {
            let lookups = n(5_000_000);
            for kind in ["dashmap", "scc", "papaya"] {
                registry(kind, 10_000, lookups / 10);
                out(kind, lookups, registry(kind, 10_000, lookups), "");
            }
        }
        _ => na(ME, &load),
    }
}
