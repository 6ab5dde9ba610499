//! Plain tokio: a process is a task with an unbounded mpsc mailbox; a call carries a oneshot.
use harness::*;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

struct Tokio(Runtime);

enum Ask {
    Add(u64),
    Get(oneshot::Sender<u64>),
    Inc(u64, oneshot::Sender<u64>),
}

impl Tokio {
    fn server(&self) -> UnboundedSender<Ask> {
        let (tx, mut rx) = unbounded_channel();
        self.0.spawn(async move {
            let mut total = 0u64;
            while let Some(m) = rx.recv().await {
                match m {
                    Ask::Add(v) => total += v,
                    Ask::Get(r) => drop(r.send(total)),
                    Ask::Inc(v, r) => drop(r.send(v + 1)),
                }
            }
        });
        tx
    }
}

impl Peer for Tokio {
    const NAME: &'static str = "tokio";
    fn chain(&self, groups: usize, size: usize, tokens: usize, hops: u64) -> Option<f64> {
        let latch = Latch::new((groups * tokens) as u64);
        let mut starts = vec![];
        for _ in 0..groups {
            let (txs, rxs): (Vec<_>, Vec<_>) =
                (0..size).map(|_| unbounded_channel::<u64>()).unzip();
            for (i, mut rx) in rxs.into_iter().enumerate() {
                let (next, latch) = (txs[(i + 1) % size].clone(), latch.clone());
                self.0.spawn(async move {
                    while let Some(v) = rx.recv().await {
                        if v == 0 {
                            latch.down();
                        } else {
                            let _ = next.send(v - 1);
                        }
                    }
                });
            }
            starts.push(txs);
        }
        let t = Instant::now();
        let go = starts.clone();
        self.0.spawn(async move {
            for g in &go {
                for k in 0..tokens {
                    let _ = g[k % size].send(hops);
                }
            }
        });
        latch.wait();
        Some(t.elapsed().as_secs_f64())
    }
    fn fanin(&self, producers: usize, per: u64) -> Option<f64> {
        let tx = self.server();
        let t = Instant::now();
        let hs: Vec<_> = (0..producers)
            .map(|_| {
                let tx = tx.clone();
                self.0.spawn(async move {
                    for _ in 0..per {
                        let _ = tx.send(Ask::Add(1));
                    }
                })
            })
            .collect();
        let total = self.0.block_on(async move {
            for h in hs {
                h.await.unwrap();
            }
            let (r, got) = oneshot::channel();
            let _ = tx.send(Ask::Get(r));
            got.await.unwrap()
        });
        let s = t.elapsed().as_secs_f64();
        assert_eq!(total, producers as u64 * per);
        Some(s)
    }
    fn fanout(&self, procs: usize, rounds: u64) -> Option<f64> {
        let (back, mut replies) = unbounded_channel::<u64>();
        let targets: Vec<_> = (0..procs)
            .map(|_| {
                let (tx, mut rx) = unbounded_channel::<u64>();
                let back = back.clone();
                self.0.spawn(async move {
                    while let Some(v) = rx.recv().await {
                        let _ = back.send(v);
                    }
                });
                tx
            })
            .collect();
        self.0
            .block_on(self.0.spawn(async move {
                let t = Instant::now();
                for r in 0..rounds {
                    for x in &targets {
                        let _ = x.send(r);
                    }
                    for _ in 0..targets.len() {
                        replies.recv().await.unwrap();
                    }
                }
                t.elapsed().as_secs_f64()
            }))
            .ok()
    }
    fn call(&self, n: u64) -> Option<f64> {
        let tx = self.server();
        self.0
            .block_on(self.0.spawn(async move {
                let t = Instant::now();
                let mut v = 0;
                while v < n {
                    let (r, got) = oneshot::channel();
                    let _ = tx.send(Ask::Inc(v, r));
                    v = got.await.unwrap();
                }
                t.elapsed().as_secs_f64()
            }))
            .ok()
    }
    fn call_sync(&self, n: u64) -> Option<f64> {
        let tx = self.server();
        let t = Instant::now();
        let mut v = 0;
        while v < n {
            let (r, got) = oneshot::channel();
            let _ = tx.send(Ask::Inc(v, r));
            v = got.blocking_recv().unwrap();
        }
        Some(t.elapsed().as_secs_f64())
    }
    fn spawn(&self, n: u64) -> Option<f64> {
        let latch = Latch::new(n);
        let l = latch.clone();
        let t = Instant::now();
        self.0.spawn(async move {
            for _ in 0..n {
                let (tx, rx) = unbounded_channel::<u64>();
                let l = l.clone();
                tokio::spawn(async move {
                    drop(rx);
                    l.down();
                });
                drop(tx);
            }
        });
        latch.wait();
        Some(t.elapsed().as_secs_f64())
    }
    fn spawn_keep(&self, n: u64) -> Option<(f64, u64)> {
        let before = rss();
        let latch = Latch::new(n);
        let t = Instant::now();
        let l = latch.clone();
        let keep = self.0.spawn(async move {
            let mut keep = Vec::with_capacity(n as usize);
            for i in 0..n {
                let (tx, mut rx) = unbounded_channel::<u64>();
                let l = l.clone();
                tokio::spawn(async move {
                    let mut sum = 0u64;
                    while let Some(v) = rx.recv().await {
                        sum += v;
                        std::hint::black_box(sum);
                        l.down();
                    }
                });
                let _ = tx.send(i);
                keep.push(tx);
            }
            keep
        });
        latch.wait();
        let s = t.elapsed().as_secs_f64();
        let r = rss().saturating_sub(before);
        std::mem::forget(self.0.block_on(keep));
        Some((s, r))
    }
    fn timers(&self, n: u64) -> Option<f64> {
        let latch = Latch::new(n);
        let t = Instant::now();
        let l = latch.clone();
        self.0.spawn(async move {
            let mut hs = Vec::with_capacity(n as usize);
            for d in Delays::new().take(n as usize) {
                let g = Guard(l.clone());
                hs.push(tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(d)).await;
                    drop(g);
                }));
            }
            for h in hs.iter().step_by(2) {
                h.abort();
            }
        });
        latch.wait();
        Some(t.elapsed().as_secs_f64())
    }
    fn call_laps(&self, mut laps: Laps) -> Option<Laps> {
        let tx = self.server();
        self.0
            .block_on(self.0.spawn(async move {
                let mut v = 0;
                laps.begin();
                loop {
                    let (r, got) = oneshot::channel();
                    let _ = tx.send(Ask::Inc(v, r));
                    v = got.await.unwrap();
                    if !laps.lap() {
                        return laps;
                    }
                }
            }))
            .ok()
    }
    fn pingpong_laps(&self, pairs: usize, mut laps: Laps) -> Option<Laps> {
        // Hands back whatever comes.
        let player = |to: UnboundedSender<u64>, mut from: UnboundedReceiver<u64>| {
            self.0.spawn(async move {
                while let Some(v) = from.recv().await {
                    let _ = to.send(v + 1);
                }
            })
        };
        for _ in 0..pairs {
            let (one, of_one) = unbounded_channel();
            let (other, of_other) = unbounded_channel();
            let _ = one.send(0);
            player(other, of_one);
            player(one, of_other);
        }
        let (me, mut mine) = unbounded_channel();
        let (other, of_other) = unbounded_channel();
        player(me, of_other);
        self.0
            .block_on(self.0.spawn(async move {
                laps.begin();
                loop {
                    let _ = other.send(0);
                    mine.recv().await.unwrap();
                    if !laps.lap() {
                        return laps;
                    }
                }
            }))
            .ok()
    }
    fn caller(&self) -> Option<Box<dyn FnMut() + '_>> {
        let tx = self.server();
        Some(Box::new(move || {
            let (r, got) = oneshot::channel();
            let _ = tx.send(Ask::Inc(0, r));
            got.blocking_recv().unwrap();
        }))
    }
    fn hog(&self, hold: Duration) -> bool {
        self.0.spawn(async move {
            loop {
                spin(hold);
                tokio::task::yield_now().await;
            }
        });
        true
    }
    fn more(&self, w: &str) -> bool {
        if w != "spawn:bare_task" {
            return false;
        }
        let run = |n: u64| {
            let latch = Latch::new(n);
            let l = latch.clone();
            let t = Instant::now();
            self.0.spawn(async move {
                for _ in 0..n {
                    let l: Arc<Latch> = l.clone();
                    tokio::spawn(async move { l.down() });
                }
            });
            latch.wait();
            t.elapsed().as_secs_f64()
        };
        run(shrunk(100_000));
        let n = shrunk(1_000_000);
        emit(Self::NAME, w, n, run(n), "no mailbox");
        true
    }
}

fn main() {
    let rt = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .unwrap();
    main_for(Tokio(rt));
    std::process::exit(0); // do not time or wait for the teardown of a million tasks
}
