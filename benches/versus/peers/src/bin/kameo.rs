//! kameo on tokio with two workers, default features, unbounded mailboxes
//! (its default is bounded(64); `fanin:bounded64` shows that one).
use harness::*;
use kameo::error::Infallible;
use kameo::mailbox;
use kameo::prelude::*;
use kameo::supervision::RestartPolicy;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

struct Kameo(Runtime);

macro_rules! plain_actor {
    ($t:ty) => {
        impl Actor for $t {
            type Args = Self;
            type Error = Infallible;
            async fn on_start(a: Self, _: ActorRef<Self>) -> Result<Self, Infallible> {
                Ok(a)
            }
        }
    };
}

struct Node(Option<ActorRef<Node>>, Arc<Latch>);
plain_actor!(Node);
struct Next(ActorRef<Node>);
struct Token(u64);
impl Message<Next> for Node {
    type Reply = ();
    async fn handle(&mut self, m: Next, _: &mut Context<Self, ()>) {
        self.0 = Some(m.0);
    }
}
impl Message<Token> for Node {
    type Reply = ();
    async fn handle(&mut self, m: Token, _: &mut Context<Self, ()>) {
        if m.0 == 0 {
            self.1.down();
        } else {
            let _ = self.0.as_ref().unwrap().tell(Token(m.0 - 1)).send().await;
        }
    }
}

/// One of a pair, whose round trips are laps; and the other.
struct Probe(
    Option<ActorRef<Partner>>,
    Option<Laps>,
    std::sync::mpsc::Sender<Laps>,
);
plain_actor!(Probe);
struct Partner(ActorRef<Probe>);
plain_actor!(Partner);
struct Meet(ActorRef<Partner>);
impl Message<Meet> for Probe {
    type Reply = ();
    async fn handle(&mut self, m: Meet, _: &mut Context<Self, ()>) {
        self.0 = Some(m.0);
    }
}
impl Message<Token> for Probe {
    type Reply = ();
    async fn handle(&mut self, m: Token, _: &mut Context<Self, ()>) {
        if self.1.as_mut().is_some_and(Laps::lap) {
            let _ = self.0.as_ref().unwrap().tell(m).send().await;
        } else if let Some(laps) = self.1.take() {
            let _ = self.2.send(laps);
        }
    }
}
impl Message<Token> for Partner {
    type Reply = ();
    async fn handle(&mut self, m: Token, _: &mut Context<Self, ()>) {
        let _ = self.0.tell(m).send().await;
    }
}

struct Server(u64);
plain_actor!(Server);
struct Add(u64);
struct Get;
struct Inc(u64);
impl Message<Add> for Server {
    type Reply = ();
    async fn handle(&mut self, m: Add, _: &mut Context<Self, ()>) {
        self.0 += m.0;
    }
}
impl Message<Get> for Server {
    type Reply = u64;
    async fn handle(&mut self, _: Get, _: &mut Context<Self, u64>) -> u64 {
        self.0
    }
}
impl Message<Inc> for Server {
    type Reply = u64;
    async fn handle(&mut self, m: Inc, _: &mut Context<Self, u64>) -> u64 {
        m.0 + 1
    }
}

struct Echo(ActorRef<Fan>);
plain_actor!(Echo);
struct Ping(u64);
impl Message<Ping> for Echo {
    type Reply = ();
    async fn handle(&mut self, m: Ping, _: &mut Context<Self, ()>) {
        let _ = self.0.tell(Pong(m.0)).send().await;
    }
}
struct Fan {
    targets: Vec<ActorRef<Echo>>,
    rounds: u64,
    got: usize,
    latch: Arc<Latch>,
}
plain_actor!(Fan);
impl Fan {
    async fn round(&self) {
        if self.rounds > 0 {
            for t in &self.targets {
                let _ = t.tell(Ping(self.rounds)).send().await;
            }
        }
    }
}
struct Start(Vec<ActorRef<Echo>>, u64);
struct Pong(#[allow(dead_code)] u64);
impl Message<Start> for Fan {
    type Reply = ();
    async fn handle(&mut self, m: Start, _: &mut Context<Self, ()>) {
        self.targets = m.0;
        self.rounds = m.1;
        self.round().await;
    }
}
impl Message<Pong> for Fan {
    type Reply = ();
    async fn handle(&mut self, _: Pong, _: &mut Context<Self, ()>) {
        self.got += 1;
        if self.got == self.targets.len() {
            self.got = 0;
            self.rounds -= 1;
            self.latch.down();
            self.round().await;
        }
    }
}

/// Exits as soon as it has started.
struct Short(Arc<Latch>);
impl Actor for Short {
    type Args = Arc<Latch>;
    type Error = Infallible;
    async fn on_start(l: Arc<Latch>, me: ActorRef<Self>) -> Result<Self, Infallible> {
        let _ = me.stop_gracefully().await;
        Ok(Short(l))
    }
    async fn on_stop(
        &mut self,
        _: WeakActorRef<Self>,
        _: ActorStopReason,
    ) -> Result<(), Infallible> {
        self.0.down();
        Ok(())
    }
}

struct Idle(u64, Arc<Latch>);
plain_actor!(Idle);
impl Message<Add> for Idle {
    type Reply = ();
    async fn handle(&mut self, m: Add, _: &mut Context<Self, ()>) {
        self.0 += m.0;
        self.1.down();
    }
}

struct Sup;
plain_actor!(Sup);
#[derive(Clone)]
struct Child(Arc<Latch>, bool);
impl Actor for Child {
    type Args = Child;
    type Error = Infallible;
    async fn on_start(a: Child, me: ActorRef<Self>) -> Result<Self, Infallible> {
        if a.0.take() {
            let _ = me.tell(Crash).send().await;
        }
        Ok(a)
    }
}
struct Crash;
#[derive(Debug)]
struct Crashed;
impl Message<Crash> for Child {
    type Reply = Result<(), Crashed>;
    async fn handle(&mut self, _: Crash, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        if self.1 {
            panic!("crash");
        }
        Err(Crashed) // a failed tell stops the actor
    }
}

impl Kameo {
    fn start<A: Actor>(&self, a: A::Args) -> ActorRef<A> {
        let _in = self.0.enter();
        A::spawn_with_mailbox(a, mailbox::unbounded())
    }
    fn fan_in(&self, a: ActorRef<Server>, producers: usize, per: u64) -> f64 {
        let t = Instant::now();
        let hs: Vec<_> = (0..producers)
            .map(|_| {
                let a = a.clone();
                self.0.spawn(async move {
                    for _ in 0..per {
                        let _ = a.tell(Add(1)).send().await;
                    }
                })
            })
            .collect();
        let total = self.0.block_on(async {
            for h in hs {
                h.await.unwrap();
            }
            a.ask(Get).send().await.unwrap()
        });
        let s = t.elapsed().as_secs_f64();
        assert_eq!(total, producers as u64 * per);
        s
    }
}

impl Peer for Kameo {
    const NAME: &'static str = "kameo";
    const SPAWNS: u64 = 200_000;
    const KEEP: u64 = 200_000;
    fn chain(&self, groups: usize, size: usize, tokens: usize, hops: u64) -> Option<f64> {
        let latch = Latch::new((groups * tokens) as u64);
        let mut all: Vec<Vec<ActorRef<Node>>> = vec![];
        for _ in 0..groups {
            let g: Vec<_> = (0..size)
                .map(|_| self.start::<Node>(Node(None, latch.clone())))
                .collect();
            self.0.block_on(async {
                for i in 0..size {
                    g[i].ask(Next(g[(i + 1) % size].clone()))
                        .send()
                        .await
                        .unwrap();
                }
            });
            all.push(g);
        }
        let t = Instant::now();
        let go = all.clone();
        self.0.spawn(async move {
            for g in &go {
                for k in 0..tokens {
                    let _ = g[k % size].tell(Token(hops)).send().await;
                }
            }
        });
        latch.wait();
        let s = t.elapsed().as_secs_f64();
        all.iter().flatten().for_each(|a| a.kill());
        Some(s)
    }
    fn fanin(&self, producers: usize, per: u64) -> Option<f64> {
        Some(self.fan_in(self.start(Server(0)), producers, per))
    }
    fn fanout(&self, procs: usize, rounds: u64) -> Option<f64> {
        let latch = Latch::new(rounds);
        let fan = self.start::<Fan>(Fan {
            targets: vec![],
            rounds: 0,
            got: 0,
            latch: latch.clone(),
        });
        let targets: Vec<_> = (0..procs)
            .map(|_| self.start::<Echo>(Echo(fan.clone())))
            .collect();
        self.0.block_on(async {
            for t in &targets {
                t.wait_for_startup().await;
            }
        });
        let t = Instant::now();
        self.0
            .block_on(async { fan.tell(Start(targets, rounds)).send().await.unwrap() });
        latch.wait();
        Some(t.elapsed().as_secs_f64())
    }
    fn call(&self, n: u64) -> Option<f64> {
        let a = self.start::<Server>(Server(0));
        self.0
            .block_on(self.0.spawn(async move {
                let t = Instant::now();
                let mut v = 0;
                while v < n {
                    v = a.ask(Inc(v)).send().await.unwrap();
                }
                t.elapsed().as_secs_f64()
            }))
            .ok()
    }
    fn call_sync(&self, n: u64) -> Option<f64> {
        let a = self.start::<Server>(Server(0));
        let t = Instant::now();
        let mut v = 0;
        while v < n {
            v = a.ask(Inc(v)).blocking_send().unwrap();
        }
        Some(t.elapsed().as_secs_f64())
    }
    fn spawn(&self, n: u64) -> Option<f64> {
        let latch = Latch::new(n);
        let l = latch.clone();
        let t = Instant::now();
        self.0.spawn(async move {
            for _ in 0..n {
                Short::spawn_with_mailbox(l.clone(), mailbox::unbounded());
            }
        });
        latch.wait();
        Some(t.elapsed().as_secs_f64())
    }
    fn spawn_keep(&self, n: u64) -> Option<(f64, u64)> {
        let before = rss();
        let latch = Latch::new(n);
        let l = latch.clone();
        let t = Instant::now();
        let keep = self.0.spawn(async move {
            let mut keep = Vec::with_capacity(n as usize);
            for i in 0..n {
                let a = Idle::spawn_with_mailbox(Idle(0, l.clone()), mailbox::unbounded());
                let _ = a.tell(Add(i)).send().await;
                keep.push(a);
            }
            keep
        });
        latch.wait();
        let s = t.elapsed().as_secs_f64();
        let r = rss().saturating_sub(before);
        std::mem::forget(self.0.block_on(keep));
        Some((s, r))
    }
    fn supervise(&self, n: u64, panic: bool) -> Option<f64> {
        let latch = Latch::new(n);
        let sup = self.start::<Sup>(Sup);
        let t = Instant::now();
        let child = self.0.block_on(async {
            Child::supervise(&sup, Child(latch.clone(), panic))
                .restart_policy(RestartPolicy::Permanent)
                .restart_limit(u32::MAX, Duration::from_secs(1))
                .spawn_with_mailbox(mailbox::unbounded())
                .await
        });
        latch.wait();
        let s = t.elapsed().as_secs_f64();
        std::mem::forget((sup, child));
        Some(s)
    }
    fn registry(&self, entries: u64, lookups: u64) -> Option<f64> {
        let names = names(entries);
        let latch = Latch::new(1);
        let mut keep = vec![];
        for n in &names {
            let a = self.start::<Idle>(Idle(0, latch.clone()));
            a.register(n.clone()).unwrap();
            keep.push(a);
        }
        Some(on_threads(|i| {
            let mut k = i * entries / 2;
            for _ in 0..lookups / THREADS as u64 {
                k = step(k, entries);
                assert!(
                    ActorRef::<Idle>::lookup(names[k as usize].as_str())
                        .unwrap()
                        .is_some()
                );
            }
        }))
    }
    fn call_laps(&self, mut laps: Laps) -> Option<Laps> {
        let a = self.start::<Server>(Server(0));
        self.0
            .block_on(self.0.spawn(async move {
                let mut v = 0;
                laps.begin();
                loop {
                    v = a.ask(Inc(v)).send().await.unwrap();
                    if !laps.lap() {
                        return laps;
                    }
                }
            }))
            .ok()
    }
    fn pingpong_laps(&self, pairs: usize, laps: Laps) -> Option<Laps> {
        let latch = Latch::new(1);
        let (tell, told) = std::sync::mpsc::channel();
        let probe = self.start::<Probe>(Probe(None, Some(laps), tell));
        let partner = self.start::<Partner>(Partner(probe.clone()));
        let mut keep = vec![];
        self.0.block_on(async {
            for _ in 0..pairs {
                let one = self.start::<Node>(Node(None, latch.clone()));
                let other = self.start::<Node>(Node(Some(one.clone()), latch.clone()));
                one.tell(Next(other.clone())).send().await.ok()?;
                one.tell(Token(u64::MAX)).send().await.ok()?;
                keep.push((one, other));
            }
            probe.tell(Meet(partner.clone())).send().await.ok()?;
            probe.tell(Token(0)).send().await.ok()
        })?;
        told.recv().ok()
    }
    fn caller(&self) -> Option<Box<dyn FnMut() + '_>> {
        let a = self.start::<Server>(Server(0));
        Some(Box::new(move || {
            a.ask(Inc(0)).blocking_send().unwrap();
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
        if w != "fanin:bounded64" {
            return false;
        }
        let go = |per| {
            let a = {
                let _in = self.0.enter();
                Server::spawn(Server(0))
            };
            self.fan_in(a, 8, per)
        };
        go(shrunk(25_000));
        let each = shrunk(250_000);
        emit(
            Self::NAME,
            w,
            8 * each,
            go(each),
            "the default mailbox, with back-pressure",
        );
        true
    }
}

fn main() {
    let rt = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .unwrap();
    main_for(Kameo(rt));
    std::process::exit(0);
}
