//! ractor on tokio with two workers, default features.
use harness::*;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent, call};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

type Fail = ActorProcessingErr;

struct Ractor(Runtime);

struct Node;
enum NodeMsg {
    Next(ActorRef<NodeMsg>),
    Token(u64),
}
impl Actor for Node {
    type Msg = NodeMsg;
    type State = (Option<ActorRef<NodeMsg>>, Arc<Latch>);
    type Arguments = Arc<Latch>;
    async fn pre_start(&self, _: ActorRef<NodeMsg>, l: Arc<Latch>) -> Result<Self::State, Fail> {
        Ok((None, l))
    }
    async fn handle(
        &self,
        _: ActorRef<NodeMsg>,
        m: NodeMsg,
        s: &mut Self::State,
    ) -> Result<(), Fail> {
        match m {
            NodeMsg::Next(n) => s.0 = Some(n),
            NodeMsg::Token(0) => s.1.down(),
            NodeMsg::Token(v) => s.0.as_ref().unwrap().cast(NodeMsg::Token(v - 1))?,
        }
        Ok(())
    }
}

/// One of a pair, whose round trips are laps.
struct Probe;
type Told = std::sync::mpsc::Sender<Laps>;
impl Actor for Probe {
    type Msg = NodeMsg;
    type State = (Option<ActorRef<NodeMsg>>, Option<Laps>, Told);
    type Arguments = (Laps, Told);
    async fn pre_start(&self, _: ActorRef<NodeMsg>, a: (Laps, Told)) -> Result<Self::State, Fail> {
        Ok((None, Some(a.0), a.1))
    }
    async fn handle(
        &self,
        _: ActorRef<NodeMsg>,
        m: NodeMsg,
        s: &mut Self::State,
    ) -> Result<(), Fail> {
        match m {
            NodeMsg::Next(n) => s.0 = Some(n),
            NodeMsg::Token(_) if s.1.as_mut().is_some_and(Laps::lap) => {
                s.0.as_ref().unwrap().cast(NodeMsg::Token(u64::MAX))?
            }
            NodeMsg::Token(_) => {
                if let Some(laps) = s.1.take() {
                    let _ = s.2.send(laps);
                }
            }
        }
        Ok(())
    }
}

struct Server;
enum Ask {
    Add(u64),
    Get(RpcReplyPort<u64>),
    Inc(u64, RpcReplyPort<u64>),
}
impl Actor for Server {
    type Msg = Ask;
    type State = u64;
    type Arguments = ();
    async fn pre_start(&self, _: ActorRef<Ask>, _: ()) -> Result<u64, Fail> {
        Ok(0)
    }
    async fn handle(&self, _: ActorRef<Ask>, m: Ask, s: &mut u64) -> Result<(), Fail> {
        match m {
            Ask::Add(v) => *s += v,
            Ask::Get(r) => drop(r.send(*s)),
            Ask::Inc(v, r) => drop(r.send(v + 1)),
        }
        Ok(())
    }
}

struct Echo;
impl Actor for Echo {
    type Msg = u64;
    type State = ActorRef<FanMsg>;
    type Arguments = ActorRef<FanMsg>;
    async fn pre_start(&self, _: ActorRef<u64>, a: Self::State) -> Result<Self::State, Fail> {
        Ok(a)
    }
    async fn handle(&self, _: ActorRef<u64>, m: u64, s: &mut Self::State) -> Result<(), Fail> {
        Ok(s.cast(FanMsg::Reply(m))?)
    }
}
enum FanMsg {
    Start(Vec<ActorRef<u64>>, u64),
    Reply(#[allow(dead_code)] u64),
}
struct Fan;
struct FanState {
    targets: Vec<ActorRef<u64>>,
    rounds: u64,
    got: usize,
    latch: Arc<Latch>,
}
impl Actor for Fan {
    type Msg = FanMsg;
    type State = FanState;
    type Arguments = Arc<Latch>;
    async fn pre_start(&self, _: ActorRef<FanMsg>, latch: Arc<Latch>) -> Result<FanState, Fail> {
        Ok(FanState {
            targets: vec![],
            rounds: 0,
            got: 0,
            latch,
        })
    }
    async fn handle(&self, _: ActorRef<FanMsg>, m: FanMsg, s: &mut FanState) -> Result<(), Fail> {
        match m {
            FanMsg::Start(t, r) => {
                s.targets = t;
                s.rounds = r;
            }
            FanMsg::Reply(_) => {
                s.got += 1;
                if s.got < s.targets.len() {
                    return Ok(());
                }
                s.got = 0;
                s.rounds -= 1;
                s.latch.down();
            }
        }
        if s.rounds > 0 {
            for t in &s.targets {
                t.cast(s.rounds)?;
            }
        }
        Ok(())
    }
}

struct Short;
impl Actor for Short {
    type Msg = ();
    type State = Arc<Latch>;
    type Arguments = Arc<Latch>;
    async fn pre_start(&self, me: ActorRef<()>, l: Arc<Latch>) -> Result<Arc<Latch>, Fail> {
        me.stop(None);
        Ok(l)
    }
    async fn post_stop(&self, _: ActorRef<()>, l: &mut Arc<Latch>) -> Result<(), Fail> {
        l.down();
        Ok(())
    }
}

struct Idle;
impl Actor for Idle {
    type Msg = u64;
    type State = (u64, Arc<Latch>);
    type Arguments = Arc<Latch>;
    async fn pre_start(&self, _: ActorRef<u64>, l: Arc<Latch>) -> Result<Self::State, Fail> {
        Ok((0, l))
    }
    async fn handle(&self, _: ActorRef<u64>, m: u64, s: &mut Self::State) -> Result<(), Fail> {
        s.0 += m;
        s.1.down();
        Ok(())
    }
}

/// Asks itself to crash as soon as it runs, until the latch is spent.
struct Child;
#[derive(Clone)]
struct ChildArgs(Arc<Latch>, bool);
impl Actor for Child {
    type Msg = ();
    type State = ChildArgs;
    type Arguments = ChildArgs;
    async fn pre_start(&self, me: ActorRef<()>, a: ChildArgs) -> Result<ChildArgs, Fail> {
        if a.0.take() {
            me.cast(())?;
        }
        Ok(a)
    }
    async fn handle(&self, _: ActorRef<()>, _: (), s: &mut ChildArgs) -> Result<(), Fail> {
        if s.1 {
            panic!("crash");
        }
        Err("crash".into())
    }
}
struct Sup;
impl Actor for Sup {
    type Msg = ();
    type State = ChildArgs;
    type Arguments = ChildArgs;
    async fn pre_start(&self, me: ActorRef<()>, a: ChildArgs) -> Result<ChildArgs, Fail> {
        Actor::spawn_linked(None, Child, a.clone(), me.get_cell()).await?;
        Ok(a)
    }
    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<()>,
        e: SupervisionEvent,
        s: &mut ChildArgs,
    ) -> Result<(), Fail> {
        if let SupervisionEvent::ActorFailed(..) = e {
            Actor::spawn_linked(None, Child, s.clone(), me.get_cell()).await?;
        }
        Ok(())
    }
}

struct Ticked;
struct Tick(#[allow(dead_code)] Guard);
impl Actor for Ticked {
    type Msg = Tick;
    type State = ();
    type Arguments = ();
    async fn pre_start(&self, _: ActorRef<Tick>, _: ()) -> Result<(), Fail> {
        Ok(())
    }
    async fn handle(&self, _: ActorRef<Tick>, m: Tick, _: &mut ()) -> Result<(), Fail> {
        drop(m);
        Ok(())
    }
}

impl Ractor {
    fn start<A: Actor>(&self, a: A, args: A::Arguments) -> ActorRef<A::Msg> {
        self.0
            .block_on(async { A::spawn(None, a, args).await.unwrap().0 })
    }
}

impl Peer for Ractor {
    const NAME: &'static str = "ractor";
    const SPAWNS: u64 = 200_000;
    const KEEP: u64 = 200_000;
    fn chain(&self, groups: usize, size: usize, tokens: usize, hops: u64) -> Option<f64> {
        let latch = Latch::new((groups * tokens) as u64);
        let mut all = vec![];
        for _ in 0..groups {
            let g: Vec<_> = (0..size).map(|_| self.start(Node, latch.clone())).collect();
            for i in 0..size {
                g[i].cast(NodeMsg::Next(g[(i + 1) % size].clone())).unwrap();
            }
            all.push(g);
        }
        let t = Instant::now();
        let go = all.clone();
        self.0.spawn(async move {
            for g in &go {
                for k in 0..tokens {
                    g[k % size].cast(NodeMsg::Token(hops)).unwrap();
                }
            }
        });
        latch.wait();
        let s = t.elapsed().as_secs_f64();
        all.iter().flatten().for_each(|a| a.stop(None));
        Some(s)
    }
    fn fanin(&self, producers: usize, per: u64) -> Option<f64> {
        let a = self.start(Server, ());
        let t = Instant::now();
        let hs: Vec<_> = (0..producers)
            .map(|_| {
                let a = a.clone();
                self.0.spawn(async move {
                    for _ in 0..per {
                        a.cast(Ask::Add(1)).unwrap();
                    }
                })
            })
            .collect();
        let total = self.0.block_on(async {
            for h in hs {
                h.await.unwrap();
            }
            call!(a, Ask::Get).unwrap()
        });
        let s = t.elapsed().as_secs_f64();
        assert_eq!(total, producers as u64 * per);
        Some(s)
    }
    fn fanout(&self, procs: usize, rounds: u64) -> Option<f64> {
        let latch = Latch::new(rounds);
        let fan = self.start(Fan, latch.clone());
        let f = fan.clone();
        let targets = self
            .0
            .block_on(self.0.spawn(async move {
                let mut v = vec![];
                for _ in 0..procs {
                    v.push(Echo::spawn(None, Echo, f.clone()).await.unwrap().0);
                }
                v
            }))
            .unwrap();
        let t = Instant::now();
        fan.cast(FanMsg::Start(targets, rounds)).ok()?;
        latch.wait();
        Some(t.elapsed().as_secs_f64())
    }
    fn call(&self, n: u64) -> Option<f64> {
        let a = self.start(Server, ());
        self.0
            .block_on(self.0.spawn(async move {
                let t = Instant::now();
                let mut v = 0;
                while v < n {
                    v = call!(a, Ask::Inc, v).unwrap();
                }
                t.elapsed().as_secs_f64()
            }))
            .ok()
    }
    fn call_sync(&self, n: u64) -> Option<f64> {
        let a = self.start(Server, ());
        let t = Instant::now();
        let mut v = 0;
        while v < n {
            v = self.0.block_on(async { call!(a, Ask::Inc, v).unwrap() });
        }
        Some(t.elapsed().as_secs_f64())
    }
    fn spawn(&self, n: u64) -> Option<f64> {
        let latch = Latch::new(n);
        let l = latch.clone();
        let t = Instant::now();
        self.0.spawn(async move {
            for _ in 0..n {
                Short::spawn(None, Short, l.clone()).await.unwrap();
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
                let a = Idle::spawn(None, Idle, l.clone()).await.unwrap().0;
                a.cast(i).unwrap();
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
        let t = Instant::now();
        let sup = self.start(Sup, ChildArgs(latch.clone(), panic));
        latch.wait();
        let s = t.elapsed().as_secs_f64();
        sup.stop(None);
        Some(s)
    }
    fn registry(&self, entries: u64, lookups: u64) -> Option<f64> {
        let names = names(entries);
        let latch = Latch::new(1);
        for n in &names {
            self.0.block_on(async {
                Idle::spawn(Some(n.clone()), Idle, latch.clone())
                    .await
                    .unwrap()
            });
        }
        Some(on_threads(|i| {
            let mut k = i * entries / 2;
            for _ in 0..lookups / THREADS as u64 {
                k = step(k, entries);
                assert!(ractor::registry::where_is(names[k as usize].as_str()).is_some());
            }
        }))
    }
    fn timers(&self, n: u64) -> Option<f64> {
        let a = self.start(Ticked, ());
        let latch = Latch::new(n);
        let l = latch.clone();
        let t = Instant::now();
        self.0.spawn(async move {
            let mut hs = Vec::with_capacity(n as usize);
            for d in Delays::new().take(n as usize) {
                let g = Guard(l.clone());
                hs.push(a.send_after(Duration::from_millis(d), move || Tick(g)));
            }
            for h in hs.iter().step_by(2) {
                h.abort();
            }
        });
        latch.wait();
        Some(t.elapsed().as_secs_f64())
    }
    fn call_laps(&self, mut laps: Laps) -> Option<Laps> {
        let a = self.start(Server, ());
        self.0
            .block_on(self.0.spawn(async move {
                let mut v = 0;
                laps.begin();
                loop {
                    v = call!(a, Ask::Inc, v).unwrap();
                    if !laps.lap() {
                        return laps;
                    }
                }
            }))
            .ok()
    }
    fn pingpong_laps(&self, pairs: usize, laps: Laps) -> Option<Laps> {
        let latch = Latch::new(1);
        for _ in 0..pairs {
            let (one, other) = (
                self.start(Node, latch.clone()),
                self.start(Node, latch.clone()),
            );
            one.cast(NodeMsg::Next(other.clone())).ok()?;
            other.cast(NodeMsg::Next(one.clone())).ok()?;
            one.cast(NodeMsg::Token(u64::MAX)).ok()?;
        }
        let (tell, told) = std::sync::mpsc::channel();
        let (one, other) = (self.start(Probe, (laps, tell)), self.start(Node, latch));
        one.cast(NodeMsg::Next(other.clone())).ok()?;
        other.cast(NodeMsg::Next(one.clone())).ok()?;
        one.cast(NodeMsg::Token(0)).ok()?;
        told.recv().ok()
    }
    fn caller(&self) -> Option<Box<dyn FnMut() + '_>> {
        let a = self.start(Server, ());
        Some(Box::new(move || {
            self.0.block_on(async { call!(a, Ask::Inc, 0).unwrap() });
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
}

fn main() {
    let rt = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .unwrap();
    main_for(Ractor(rt));
    std::process::exit(0);
}
