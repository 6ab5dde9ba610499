//! actix with two arbiters (one thread each; an actor never leaves its own).
//! Rings are cut in two halves; pairs, and a client with its server, share an arbiter
//! (the `:2t` rows put the two sides on different ones).
use actix::Supervised;
use actix::prelude::*;
use harness::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

struct Actix(Vec<ArbiterHandle>);

struct Node(Option<Addr<Node>>, Arc<Latch>);
impl Actor for Node {
    type Context = Context<Self>;
}
#[derive(Message)]
#[rtype(result = "()")]
struct Next(Addr<Node>);
#[derive(Message)]
#[rtype(result = "()")]
struct Token(u64);
impl Handler<Next> for Node {
    type Result = ();
    fn handle(&mut self, m: Next, _: &mut Context<Self>) {
        self.0 = Some(m.0);
    }
}
impl Handler<Token> for Node {
    type Result = ();
    fn handle(&mut self, m: Token, _: &mut Context<Self>) {
        if m.0 == 0 {
            self.1.down();
        } else {
            self.0.as_ref().unwrap().do_send(Token(m.0 - 1));
        }
    }
}

/// One of a pair, whose round trips are laps; and the other.
struct Probe(
    Option<Addr<Partner>>,
    Option<Laps>,
    std::sync::mpsc::Sender<Laps>,
);
impl Actor for Probe {
    type Context = Context<Self>;
}
struct Partner(Addr<Probe>);
impl Actor for Partner {
    type Context = Context<Self>;
}
#[derive(Message)]
#[rtype(result = "()")]
struct Meet(Addr<Partner>);
impl Handler<Meet> for Probe {
    type Result = ();
    fn handle(&mut self, m: Meet, _: &mut Context<Self>) {
        self.0 = Some(m.0);
    }
}
impl Handler<Token> for Probe {
    type Result = ();
    fn handle(&mut self, m: Token, _: &mut Context<Self>) {
        if self.1.as_mut().is_some_and(Laps::lap) {
            self.0.as_ref().unwrap().do_send(m);
        } else if let Some(laps) = self.1.take() {
            let _ = self.2.send(laps);
        }
    }
}
impl Handler<Token> for Partner {
    type Result = ();
    fn handle(&mut self, m: Token, _: &mut Context<Self>) {
        self.0.do_send(m);
    }
}

struct Server(u64);
impl Actor for Server {
    type Context = Context<Self>;
}
#[derive(Message)]
#[rtype(result = "()")]
struct Add(u64);
#[derive(Message)]
#[rtype(result = "u64")]
struct Get;
#[derive(Message)]
#[rtype(result = "u64")]
struct Inc(u64);
impl Handler<Add> for Server {
    type Result = ();
    fn handle(&mut self, m: Add, _: &mut Context<Self>) {
        self.0 += m.0;
    }
}
impl Handler<Get> for Server {
    type Result = u64;
    fn handle(&mut self, _: Get, _: &mut Context<Self>) -> u64 {
        self.0
    }
}
impl Handler<Inc> for Server {
    type Result = u64;
    fn handle(&mut self, m: Inc, _: &mut Context<Self>) -> u64 {
        m.0 + 1
    }
}

struct Echo(Addr<Fan>);
impl Actor for Echo {
    type Context = Context<Self>;
}
#[derive(Message)]
#[rtype(result = "()")]
struct Ping(u64);
impl Handler<Ping> for Echo {
    type Result = ();
    fn handle(&mut self, m: Ping, _: &mut Context<Self>) {
        self.0.do_send(Pong(m.0));
    }
}
struct Fan {
    targets: Vec<Addr<Echo>>,
    rounds: u64,
    got: usize,
    latch: Arc<Latch>,
}
impl Actor for Fan {
    type Context = Context<Self>;
}
impl Fan {
    fn round(&self) {
        if self.rounds > 0 {
            for t in &self.targets {
                t.do_send(Ping(self.rounds));
            }
        }
    }
}
#[derive(Message)]
#[rtype(result = "()")]
struct Start(Vec<Addr<Echo>>, u64);
#[derive(Message)]
#[rtype(result = "()")]
struct Pong(#[allow(dead_code)] u64);
impl Handler<Start> for Fan {
    type Result = ();
    fn handle(&mut self, m: Start, _: &mut Context<Self>) {
        self.targets = m.0;
        self.rounds = m.1;
        self.round();
    }
}
impl Handler<Pong> for Fan {
    type Result = ();
    fn handle(&mut self, _: Pong, _: &mut Context<Self>) {
        self.got += 1;
        if self.got == self.targets.len() {
            self.got = 0;
            self.rounds -= 1;
            self.latch.down();
            self.round();
        }
    }
}

struct Short(Arc<Latch>);
impl Actor for Short {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.stop();
    }
    fn stopped(&mut self, _: &mut Context<Self>) {
        self.0.down();
    }
}

struct Idle(u64, Arc<Latch>);
impl Actor for Idle {
    type Context = Context<Self>;
}
impl Handler<Add> for Idle {
    type Result = ();
    fn handle(&mut self, m: Add, _: &mut Context<Self>) {
        self.0 += m.0;
        self.1.down();
    }
}

struct Child(Arc<Latch>);
impl Actor for Child {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        if self.0.take() {
            ctx.address().do_send(Add(1));
        }
    }
}
impl Supervised for Child {}
impl Handler<Add> for Child {
    type Result = ();
    fn handle(&mut self, _: Add, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

impl Actix {
    fn server(&self, arbiter: usize) -> Addr<Server> {
        Server::start_in_arbiter(&self.0[arbiter], |_| Server(0))
    }
    fn pairs(&self, groups: usize, size: usize, tokens: usize, hops: u64, apart: bool) -> f64 {
        let latch = Latch::new((groups * tokens) as u64);
        let mut all: Vec<Vec<Addr<Node>>> = vec![];
        for k in 0..groups {
            let g: Vec<_> = (0..size)
                .map(|i| {
                    let l = latch.clone();
                    let at = match (apart, groups) {
                        (true, _) => i * 2 / size,
                        (_, 1) => 0,
                        _ => k % 2,
                    };
                    Node::start_in_arbiter(&self.0[at], move |_| Node(None, l))
                })
                .collect();
            for i in 0..size {
                g[i].do_send(Next(g[(i + 1) % size].clone()));
            }
            all.push(g);
        }
        let sync = Latch::new(2); // both arbiters have started theirs
        for a in &self.0 {
            let s = sync.clone();
            a.spawn_fn(move || s.down());
        }
        sync.wait();
        let t = Instant::now();
        let go = all.clone();
        self.0[0].spawn_fn(move || {
            for g in &go {
                for k in 0..tokens {
                    g[k % size].do_send(Token(hops));
                }
            }
        });
        latch.wait();
        t.elapsed().as_secs_f64()
    }
    fn calls(&self, n: u64, server: usize) -> f64 {
        let a = self.server(server);
        let (tx, rx) = std::sync::mpsc::channel();
        self.0[0].spawn(async move {
            let t = Instant::now();
            let mut v = 0;
            while v < n {
                v = a.send(Inc(v)).await.unwrap();
            }
            tx.send(t.elapsed().as_secs_f64()).unwrap();
        });
        rx.recv().unwrap()
    }
}

impl Peer for Actix {
    const NAME: &'static str = "actix";
    fn chain(&self, groups: usize, size: usize, tokens: usize, hops: u64) -> Option<f64> {
        Some(self.pairs(groups, size, tokens, hops, size > 2))
    }
    fn fanin(&self, producers: usize, per: u64) -> Option<f64> {
        let a = self.server(0);
        let latch = Latch::new(producers as u64);
        let t = Instant::now();
        for i in 0..producers {
            let (a, l) = (a.clone(), latch.clone());
            self.0[i % 2].spawn(async move {
                for _ in 0..per {
                    a.do_send(Add(1));
                }
                l.down();
            });
        }
        latch.wait();
        let total = smol::block_on(a.send(Get)).unwrap();
        let s = t.elapsed().as_secs_f64();
        assert_eq!(total, producers as u64 * per);
        Some(s)
    }
    fn fanout(&self, procs: usize, rounds: u64) -> Option<f64> {
        let latch = Latch::new(rounds);
        let l = latch.clone();
        let fan = Fan::start_in_arbiter(&self.0[0], move |_| Fan {
            targets: vec![],
            rounds: 0,
            got: 0,
            latch: l,
        });
        let targets: Vec<_> = (0..procs)
            .map(|i| {
                let f = fan.clone();
                Echo::start_in_arbiter(&self.0[i % 2], move |_| Echo(f))
            })
            .collect();
        let sync = Latch::new(2);
        for a in &self.0 {
            let s = sync.clone();
            a.spawn_fn(move || s.down());
        }
        sync.wait();
        let t = Instant::now();
        fan.do_send(Start(targets, rounds));
        latch.wait();
        Some(t.elapsed().as_secs_f64())
    }
    fn call(&self, n: u64) -> Option<f64> {
        Some(self.calls(n, 0))
    }
    fn call_sync(&self, n: u64) -> Option<f64> {
        let a = self.server(0);
        let t = Instant::now();
        let mut v = 0;
        while v < n {
            v = smol::block_on(a.send(Inc(v))).unwrap();
        }
        Some(t.elapsed().as_secs_f64())
    }
    fn spawn(&self, n: u64) -> Option<f64> {
        let latch = Latch::new(n);
        let t = Instant::now();
        for (at, a) in self.0.iter().enumerate() {
            let l = latch.clone();
            let share = (n + at as u64) / 2;
            a.spawn(async move {
                for i in 0..share {
                    Short(l.clone()).start();
                    if i % 64 == 63 {
                        tokio::task::yield_now().await; // one thread: let them run and die
                    }
                }
            });
        }
        latch.wait();
        Some(t.elapsed().as_secs_f64())
    }
    fn spawn_keep(&self, n: u64) -> Option<(f64, u64)> {
        let before = rss();
        let latch = Latch::new(n);
        let t = Instant::now();
        for (at, a) in self.0.iter().enumerate() {
            let l = latch.clone();
            let share = (n + at as u64) / 2;
            a.spawn(async move {
                let mut keep = Vec::with_capacity(share as usize);
                for i in 0..share {
                    let a = Idle(0, l.clone()).start();
                    a.do_send(Add(i));
                    keep.push(a);
                }
                std::mem::forget(keep);
            });
        }
        latch.wait();
        let s = t.elapsed().as_secs_f64();
        Some((s, rss().saturating_sub(before)))
    }
    fn call_laps(&self, mut laps: Laps) -> Option<Laps> {
        let a = self.server(0);
        let (tell, told) = std::sync::mpsc::channel();
        self.0[0].spawn(async move {
            let mut v = 0;
            laps.begin();
            loop {
                v = a.send(Inc(v)).await.unwrap();
                if !laps.lap() {
                    return drop(tell.send(laps));
                }
            }
        });
        told.recv().ok()
    }
    fn pingpong_laps(&self, pairs: usize, laps: Laps) -> Option<Laps> {
        let latch = Latch::new(1);
        for k in 0..pairs {
            let start = || {
                let latch = latch.clone();
                Node::start_in_arbiter(&self.0[k % 2], move |_| Node(None, latch))
            };
            let (one, other) = (start(), start());
            one.do_send(Next(other.clone()));
            other.do_send(Next(one.clone()));
            one.do_send(Token(u64::MAX));
        }
        let (tell, told) = std::sync::mpsc::channel();
        let probe = Probe::start_in_arbiter(&self.0[0], move |_| Probe(None, Some(laps), tell));
        let to = probe.clone();
        let partner = Partner::start_in_arbiter(&self.0[0], move |_| Partner(to));
        probe.do_send(Meet(partner));
        probe.do_send(Token(0));
        told.recv().ok()
    }
    fn caller(&self) -> Option<Box<dyn FnMut() + '_>> {
        let a = self.server(0);
        Some(Box::new(move || {
            smol::block_on(a.send(Inc(0))).unwrap();
        }))
    }
    fn hog(&self, hold: Duration) -> bool {
        static HOGS: AtomicUsize = AtomicUsize::new(0);
        let arbiter = HOGS.fetch_add(1, Relaxed) % self.0.len();
        self.0[arbiter].spawn(async move {
            loop {
                spin(hold);
                tokio::task::yield_now().await;
            }
        })
    }
    fn more(&self, w: &str) -> bool {
        match w {
            "pingpong:2t" => {
                self.pairs(1, 2, 1, shrunk(5_000), true);
                let hops = shrunk(100_000);
                emit(
                    Self::NAME,
                    w,
                    hops,
                    self.pairs(1, 2, 1, hops, true),
                    "one on each arbiter",
                );
            }
            "call:2t" => {
                self.calls(shrunk(2_500), 1);
                let n = shrunk(50_000);
                emit(
                    Self::NAME,
                    w,
                    n,
                    self.calls(n, 1),
                    "client and server on different arbiters",
                );
            }
            "supervise:stop" => {
                let go = |n| {
                    let latch = Latch::new(n);
                    let l = latch.clone();
                    let t = Instant::now();
                    let _keep = actix::Supervisor::start_in_arbiter(&self.0[0], |_| Child(l));
                    latch.wait();
                    t.elapsed().as_secs_f64()
                };
                go(shrunk(1000));
                let n = shrunk(20_000);
                emit(
                    Self::NAME,
                    w,
                    n,
                    go(n),
                    "ctx.stop() + same value restarted; a panic is not isolated",
                );
            }
            _ => return false,
        }
        true
    }
}

fn main() {
    let _sys = System::new();
    let two = [Arbiter::new(), Arbiter::new()];
    main_for(Actix(two.iter().map(|a| a.handle()).collect()));
    std::process::exit(0);
}
