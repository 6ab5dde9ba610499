//! Casts between servers: rings of two and of a thousand, many to one, one to many.

use std::sync::Arc;

use noex::prelude::*;

use crate::support::{Latch, Row, rss, seconds, shrunk, system};

/// Hands a token on until it is worn out.
struct Node {
    next: Option<ServerRef<Node>>,
    done: Arc<Latch>,
}
struct Next(ServerRef<Node>);
struct Token(u64);

impl GenServer for Node {
    type Args = Arc<Latch>;
    async fn init(done: Arc<Latch>, _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Node { next: None, done })
    }
}
impl HandleCast<Next> for Node {
    async fn handle_cast(&mut self, next: Next, _: &mut Context<Self>) {
        self.next = Some(next.0);
    }
}
impl HandleCast<Token> for Node {
    async fn handle_cast(&mut self, token: Token, _: &mut Context<Self>) {
        match &self.next {
            Some(next) if token.0 > 0 => {
                let _ = next.cast(Token(token.0 - 1));
            }
            _ => self.done.down(),
        }
    }
}

/// `groups` rings of `size` servers; `tokens` a ring, each handed on `hops` times.
fn chain(system: &System, groups: usize, size: usize, tokens: usize, hops: u64) -> f64 {
    let done = Latch::new((groups * tokens) as u64);
    let rings: Vec<Vec<ServerRef<Node>>> = (0..groups)
        .map(|_| {
            let ring: Vec<_> = (0..size)
                .map(|_| {
                    system
                        .start::<Node>(done.clone())
                        .wait()
                        .expect("a node starts")
                })
                .collect();
            for (i, node) in ring.iter().enumerate() {
                let _ = node.cast(Next(ring[(i + 1) % size].clone()));
            }
            ring
        })
        .collect();
    let took = seconds(|| {
        for ring in &rings {
            for node in ring.iter().step_by(size / tokens).take(tokens) {
                let _ = node.cast(Token(hops));
            }
        }
        done.wait();
    });
    for node in rings.iter().flatten() {
        system.exit(node.pid(), ExitReason::Kill);
    }
    took
}

pub(crate) fn pingpong(schedulers: usize) -> Row {
    let system = system(schedulers);
    let hops = shrunk(2_000_000);
    chain(&system, 1, 2, 1, hops / 10);
    Row::new(hops, chain(&system, 1, 2, 1, hops))
}

pub(crate) fn pingpong_pairs(schedulers: usize) -> Row {
    let system = system(schedulers);
    let (pairs, hops) = (shrunk(1000) as usize, 2000);
    chain(&system, pairs, 2, 1, hops / 10);
    Row::new(pairs as u64 * hops, chain(&system, pairs, 2, 1, hops))
}

pub(crate) fn ring(schedulers: usize) -> Row {
    let system = system(schedulers);
    let hops = shrunk(1_000_000);
    chain(&system, 1, 1000, 1, hops / 10);
    Row::new(hops, chain(&system, 1, 1000, 1, hops))
}

pub(crate) fn ring_many(schedulers: usize) -> Row {
    let system = system(schedulers);
    let hops = shrunk(10_000);
    chain(&system, 1, 1000, 1000, hops / 10);
    Row::new(1000 * hops, chain(&system, 1, 1000, 1000, hops))
}

/// Counts what it is sent.
struct Counter(u64);
struct Add(u64);
struct Get;

impl GenServer for Counter {
    type Args = ();
    async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Counter(0))
    }
}
impl HandleCast<Add> for Counter {
    async fn handle_cast(&mut self, add: Add, _: &mut Context<Self>) {
        self.0 += add.0;
    }
}
impl HandleCall<Get> for Counter {
    type Reply = u64;
    async fn handle_call(&mut self, _: Get, _: &mut Context<Self>) -> u64 {
        self.0
    }
}

/// Producers give others a turn after each hundred casts, as the floor's and BEAM's do (BEAM's by its
/// reductions).
const TURN: u64 = 100;

fn count(system: &System, producers: u64, each: u64) -> f64 {
    let counter = system
        .start::<Counter>(())
        .wait()
        .expect("a counter starts");
    let done = Latch::new(producers);
    let took = seconds(|| {
        for _ in 0..producers {
            let (counter, done) = (counter.clone(), done.clone());
            let producer = move |cx: noex::Inbox<()>| async move {
                for i in 1..=each {
                    let _ = counter.cast(Add(1));
                    if i % TURN == 0 {
                        cx.yield_now().await;
                    }
                }
                done.down();
            };
            system.spawn(producer).expect("a producer starts");
        }
        done.wait();
        assert_eq!(counter.call_with(Get, None).wait(), Ok(producers * each));
    });
    system.exit(counter.pid(), ExitReason::Kill);
    took
}

pub(crate) fn fanin(schedulers: usize) -> Row {
    let system = system(schedulers);
    let each = shrunk(250_000);
    count(&system, 8, each / 10);
    Row::new(8 * each, count(&system, 8, each))
}

/// Answers each ping.
struct Echo(ServerRef<Fan>);
struct Ping(u64);
/// Pings all of its targets in each round.
struct Fan {
    targets: Vec<ServerRef<Echo>>,
    rounds: u64,
    got: usize,
    done: Arc<Latch>,
}
struct Start(Vec<ServerRef<Echo>>, u64);
struct Pong;

impl GenServer for Echo {
    type Args = ServerRef<Fan>;
    async fn init(fan: ServerRef<Fan>, _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Echo(fan))
    }
}
impl HandleCast<Ping> for Echo {
    async fn handle_cast(&mut self, ping: Ping, _: &mut Context<Self>) {
        std::hint::black_box(ping.0);
        let _ = self.0.cast(Pong);
    }
}
impl GenServer for Fan {
    type Args = Arc<Latch>;
    async fn init(done: Arc<Latch>, _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Fan {
            targets: Vec::new(),
            rounds: 0,
            got: 0,
            done,
        })
    }
}
impl Fan {
    fn round(&self) {
        if self.rounds > 0 {
            for target in &self.targets {
                let _ = target.cast(Ping(self.rounds));
            }
        }
    }
}
impl HandleCast<Start> for Fan {
    async fn handle_cast(&mut self, start: Start, _: &mut Context<Self>) {
        (self.targets, self.rounds) = (start.0, start.1);
        self.round();
    }
}
impl HandleCast<Pong> for Fan {
    async fn handle_cast(&mut self, _: Pong, _: &mut Context<Self>) {
        self.got += 1;
        if self.got == self.targets.len() {
            self.got = 0;
            self.rounds -= 1;
            self.done.down();
            self.round();
        }
    }
}

/// Starts the targets from inside a process: nothing is left behind of as many starts at once.
fn echoes(system: &System, fan: &ServerRef<Fan>, n: usize) -> Vec<ServerRef<Echo>> {
    let (tell, told) = std::sync::mpsc::channel();
    let fan = fan.clone();
    let starter = move |cx: noex::Inbox<()>| async move {
        let system = cx.system();
        let mut echoes = Vec::with_capacity(n);
        for _ in 0..n {
            echoes.push(system.start::<Echo>(fan.clone()).await.expect("an echo"));
        }
        let _ = tell.send(echoes);
    };
    system.spawn(starter).expect("a starter starts");
    told.recv().expect("the starter finishes")
}

/// Seconds, and the bytes of memory gained: the targets, and the references to them.
fn fan(system: &System, targets: usize, rounds: u64) -> (f64, u64) {
    let before = rss();
    let done = Latch::new(rounds);
    let fan = system
        .start::<Fan>(done.clone())
        .wait()
        .expect("a fan starts");
    let targets = echoes(system, &fan, targets);
    let bytes = rss().saturating_sub(before);
    let mut pids: Vec<Pid> = targets.iter().map(ServerRef::pid).collect();
    let took = seconds(|| {
        let _ = fan.cast(Start(targets, rounds));
        done.wait();
    });
    pids.push(fan.pid());
    for pid in pids {
        system.exit(pid, ExitReason::Kill);
    }
    (took, bytes)
}

pub(crate) fn fanout(schedulers: usize) -> Row {
    let system = system(schedulers);
    let targets = shrunk(100_000);
    fan(&system, 1 + targets as usize / 10, 2);
    Row::new(2 * 10 * targets, fan(&system, targets as usize, 10).0)
}

/// What a message costs among so many processes, each of which answers: as `fanout`.
fn scale(schedulers: usize, processes: u64) -> Row {
    let system = system(schedulers);
    let rounds = (shrunk(1_000_000) / processes).max(1);
    fan(&system, 100, 10);
    let (seconds, bytes) = fan(&system, processes as usize, rounds);
    Row {
        extra: format!("rss_bytes_per_process={}", bytes / processes),
        ..Row::new(2 * rounds * processes, seconds)
    }
}

pub(crate) fn scale_3(schedulers: usize) -> Row {
    scale(schedulers, 1_000)
}

pub(crate) fn scale_4(schedulers: usize) -> Row {
    scale(schedulers, 10_000)
}

pub(crate) fn scale_5(schedulers: usize) -> Row {
    scale(schedulers, 100_000)
}

pub(crate) fn scale_6(schedulers: usize) -> Row {
    scale(schedulers, 1_000_000)
}

/// Ten million live processes, each of which answers.
pub(crate) fn scale_7(schedulers: usize) -> Row {
    scale(schedulers, 10_000_000)
}
