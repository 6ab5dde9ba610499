//! smol's global executor with two threads: a process is a task with an unbounded async-channel.
use async_channel::{Receiver, Sender, bounded, unbounded};
use harness::*;
use std::time::{Duration, Instant};

struct Smol;

enum Ask {
    Add(u64),
    Get(Sender<u64>),
    Inc(u64, Sender<u64>),
}

fn server() -> Sender<Ask> {
    let (tx, rx) = unbounded();
    smol::spawn(async move {
        let mut total = 0u64;
        while let Ok(m) = rx.recv().await {
            match m {
                Ask::Add(v) => total += v,
                Ask::Get(r) => drop(r.try_send(total)),
                Ask::Inc(v, r) => drop(r.try_send(v + 1)),
            }
        }
    })
    .detach();
    tx
}

impl Peer for Smol {
    const NAME: &'static str = "smol";
    fn chain(&self, groups: usize, size: usize, tokens: usize, hops: u64) -> Option<f64> {
        let latch = Latch::new((groups * tokens) as u64);
        let mut starts = vec![];
        for _ in 0..groups {
            let (txs, rxs): (Vec<_>, Vec<_>) = (0..size).map(|_| unbounded::<u64>()).unzip();
            for (i, rx) in rxs.into_iter().enumerate() {
                let (next, latch) = (txs[(i + 1) % size].clone(), latch.clone());
                smol::spawn(async move {
                    while let Ok(v) = rx.recv().await {
                        if v == 0 {
                            latch.down();
                        } else {
                            let _ = next.try_send(v - 1);
                        }
                    }
                })
                .detach();
            }
            starts.push(txs);
        }
        let t = Instant::now();
        smol::spawn(async move {
            for g in &starts {
                for k in 0..tokens {
                    let _ = g[k % size].try_send(hops);
                }
            }
            std::mem::forget(starts);
        })
        .detach();
        latch.wait();
        Some(t.elapsed().as_secs_f64())
    }
    fn fanin(&self, producers: usize, per: u64) -> Option<f64> {
        let tx = server();
        let t = Instant::now();
        let hs: Vec<_> = (0..producers)
            .map(|_| {
                let tx = tx.clone();
                smol::spawn(async move {
                    for _ in 0..per {
                        let _ = tx.try_send(Ask::Add(1));
                    }
                })
            })
            .collect();
        let total = smol::block_on(async move {
            for h in hs {
                h.await;
            }
            let (r, got) = bounded(1);
            let _ = tx.try_send(Ask::Get(r));
            got.recv().await.unwrap()
        });
        let s = t.elapsed().as_secs_f64();
        assert_eq!(total, producers as u64 * per);
        Some(s)
    }
    fn fanout(&self, procs: usize, rounds: u64) -> Option<f64> {
        let (back, replies) = unbounded::<u64>();
        let targets: Vec<_> = (0..procs)
            .map(|_| {
                let (tx, rx) = unbounded::<u64>();
                let back = back.clone();
                smol::spawn(async move {
                    while let Ok(v) = rx.recv().await {
                        let _ = back.try_send(v);
                    }
                })
                .detach();
                tx
            })
            .collect();
        Some(smol::block_on(smol::spawn(async move {
            let t = Instant::now();
            for r in 0..rounds {
                for x in &targets {
                    let _ = x.try_send(r);
                }
                for _ in 0..targets.len() {
                    replies.recv().await.unwrap();
                }
            }
            t.elapsed().as_secs_f64()
        })))
    }
    fn call(&self, n: u64) -> Option<f64> {
        let tx = server();
        Some(smol::block_on(smol::spawn(async move {
            let t = Instant::now();
            let mut v = 0;
            while v < n {
                let (r, got) = bounded(1);
                let _ = tx.try_send(Ask::Inc(v, r));
                v = got.recv().await.unwrap();
            }
            t.elapsed().as_secs_f64()
        })))
    }
    fn call_sync(&self, n: u64) -> Option<f64> {
        let tx = server();
        let t = Instant::now();
        let mut v = 0;
        while v < n {
            let (r, got) = bounded(1);
            let _ = tx.send_blocking(Ask::Inc(v, r));
            v = got.recv_blocking().unwrap();
        }
        Some(t.elapsed().as_secs_f64())
    }
    fn spawn(&self, n: u64) -> Option<f64> {
        let latch = Latch::new(n);
        let l = latch.clone();
        let t = Instant::now();
        smol::spawn(async move {
            for _ in 0..n {
                let (tx, rx) = unbounded::<u64>();
                let l = l.clone();
                smol::spawn(async move {
                    drop(rx);
                    l.down();
                })
                .detach();
                drop(tx);
            }
        })
        .detach();
        latch.wait();
        Some(t.elapsed().as_secs_f64())
    }
    fn spawn_keep(&self, n: u64) -> Option<(f64, u64)> {
        let before = rss();
        let latch = Latch::new(n);
        let t = Instant::now();
        let l = latch.clone();
        let keep = smol::spawn(async move {
            let mut keep = Vec::with_capacity(n as usize);
            for i in 0..n {
                let (tx, rx) = unbounded::<u64>();
                let l = l.clone();
                smol::spawn(async move {
                    let mut sum = 0u64;
                    while let Ok(v) = rx.recv().await {
                        sum += v;
                        std::hint::black_box(sum);
                        l.down();
                    }
                })
                .detach();
                let _ = tx.try_send(i);
                keep.push(tx);
            }
            keep
        });
        latch.wait();
        let s = t.elapsed().as_secs_f64();
        let r = rss().saturating_sub(before);
        std::mem::forget(smol::block_on(keep));
        Some((s, r))
    }
    fn call_laps(&self, mut laps: Laps) -> Option<Laps> {
        let tx = server();
        Some(smol::block_on(smol::spawn(async move {
            let mut v = 0;
            laps.begin();
            loop {
                let (r, got) = bounded(1);
                let _ = tx.try_send(Ask::Inc(v, r));
                v = got.recv().await.unwrap();
                if !laps.lap() {
                    return laps;
                }
            }
        })))
    }
    fn pingpong_laps(&self, pairs: usize, mut laps: Laps) -> Option<Laps> {
        // Hands back whatever comes.
        let player = |to: Sender<u64>, from: Receiver<u64>| {
            smol::spawn(async move {
                while let Ok(v) = from.recv().await {
                    let _ = to.try_send(v + 1);
                }
            })
            .detach()
        };
        for _ in 0..pairs {
            let (one, of_one) = unbounded();
            let (other, of_other) = unbounded();
            let _ = one.try_send(0);
            player(other, of_one);
            player(one, of_other);
        }
        let (me, mine) = unbounded();
        let (other, of_other) = unbounded();
        player(me, of_other);
        Some(smol::block_on(smol::spawn(async move {
            laps.begin();
            loop {
                let _ = other.try_send(0);
                mine.recv().await.unwrap();
                if !laps.lap() {
                    return laps;
                }
            }
        })))
    }
    fn caller(&self) -> Option<Box<dyn FnMut() + '_>> {
        let tx = server();
        Some(Box::new(move || {
            let (r, got) = bounded(1);
            let _ = tx.send_blocking(Ask::Inc(0, r));
            got.recv_blocking().unwrap();
        }))
    }
    fn hog(&self, hold: Duration) -> bool {
        smol::spawn(async move {
            loop {
                spin(hold);
                smol::future::yield_now().await;
            }
        })
        .detach();
        true
    }
}

fn main() {
    // SAFETY: no other thread runs yet.
    unsafe { std::env::set_var("SMOL_THREADS", THREADS.to_string()) };
    main_for(Smol);
    std::process::exit(0);
}
