//! Messages and calls between processes.

use std::convert::Infallible;
use std::sync::mpsc::{Sender, channel};

use noex::prelude::*;
use noex::{
    Budget, GenStateMachine, Inbox, Initial, Machine, MachineContext, MachineRef, Next, Received,
    Recipient, Tick,
};

/// A system with one scheduler thread.
pub(crate) fn system() -> System {
    let builder = System::builder().schedulers(1).on_event(|_| {});
    builder.build().expect("a scheduler thread")
}

/// Runs `work` as a process, and waits until it is through.
pub(crate) fn in_process<F>(system: &System, work: impl FnOnce(Inbox<()>) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (tell, told) = channel();
    let process = move |cx: Inbox<()>| async move {
        work(cx).await;
        let _ = tell.send(());
    };
    system.spawn(process).expect("a process starts");
    told.recv().expect("it does not crash");
}

/// Hands a ball back until it is worn out; `ALLOCATES` with one allocation a message more than it takes.
struct Player<const ALLOCATES: bool> {
    peer: Option<ServerRef<Player<ALLOCATES>>>,
    done: Sender<()>,
}
struct Peer<const ALLOCATES: bool>(ServerRef<Player<ALLOCATES>>);
struct Ball(u64);

impl<const ALLOCATES: bool> GenServer for Player<ALLOCATES> {
    type Args = Sender<()>;
    async fn init(done: Sender<()>, _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Player { peer: None, done })
    }
}
impl<const ALLOCATES: bool> HandleCast<Peer<ALLOCATES>> for Player<ALLOCATES> {
    async fn handle_cast(&mut self, peer: Peer<ALLOCATES>, _: &mut Context<Self>) {
        self.peer = Some(peer.0);
    }
}
impl<const ALLOCATES: bool> HandleCast<Ball> for Player<ALLOCATES> {
    async fn handle_cast(&mut self, ball: Ball, _: &mut Context<Self>) {
        if ALLOCATES {
            drop(std::hint::black_box(Box::new(ball.0)));
        }
        match &self.peer {
            Some(peer) if ball.0 > 0 => {
                let _ = peer.cast(Ball(ball.0 - 1));
            }
            _ => {
                let _ = self.done.send(());
            }
        }
    }
}

fn play<const ALLOCATES: bool>(n: u64) {
    let system = system();
    let (done, over) = channel();
    let start = |done: Sender<()>| {
        let start = system.start::<Player<ALLOCATES>>(done);
        start.wait().expect("a player starts")
    };
    let (one, other) = (start(done.clone()), start(done));
    let _ = one.cast(Peer(other.clone()));
    let _ = other.cast(Peer(one.clone()));
    let _ = one.cast(Ball(n));
    over.recv().expect("the ball wears out");
}

/// A cast from one server to another.
pub(crate) fn pingpong(n: u64) {
    play::<false>(n);
}

pub(crate) fn pingpong_allocates(n: u64) {
    play::<true>(n);
}

/// A message between processes that receive by themselves.
pub(crate) fn receive(n: u64) {
    struct Ball(u64, Recipient<Ball>);
    let system = system();
    let player = |done: Sender<()>| {
        let player = move |mut inbox: Inbox<Ball>| async move {
            loop {
                if let Received::Message(Ball(left, from)) = inbox.recv().await {
                    if left == 0 {
                        let _ = done.send(());
                        return;
                    }
                    let _ = from.send(Ball(left - 1, inbox.this()));
                }
            }
        };
        system.spawn(player).expect("a player starts")
    };
    let (done, over) = channel();
    let (one, other) = (player(done.clone()), player(done));
    let _ = one.send(Ball(n, other));
    over.recv().expect("the ball wears out");
}

/// A machine that throws the ball back, and changes its state each time.
struct Thrower {
    peer: Option<MachineRef<Thrower>>,
    done: Sender<()>,
}
#[derive(PartialEq)]
enum Hand {
    Left,
    Right,
}
enum Thrown {
    Peer(MachineRef<Thrower>),
    Ball(u64),
}

impl GenStateMachine for Thrower {
    type Args = Sender<()>;
    type State = Hand;
    type Event = Thrown;
    type Timeout = Infallible;

    async fn init(
        done: Sender<()>,
        _: &mut MachineContext<Self>,
    ) -> Result<Initial<Self>, InitStop> {
        Ok(Initial::new(Thrower { peer: None, done }, Hand::Left))
    }

    async fn handle_event(
        &mut self,
        state: &Hand,
        event: Thrown,
        _: &mut MachineContext<Self>,
    ) -> Next<Self> {
        match event {
            Thrown::Peer(peer) => self.peer = Some(peer),
            Thrown::Ball(left) => match &self.peer {
                Some(peer) if left > 0 => {
                    let _ = peer.cast(Thrown::Ball(left - 1));
                }
                _ => {
                    let _ = self.done.send(());
                }
            },
        }
        match state {
            Hand::Left => Next::state(Hand::Right),
            Hand::Right => Next::state(Hand::Left),
        }
    }
}

/// A cast from one state machine to another, with a change of state.
pub(crate) fn machine(n: u64) {
    let system = system();
    let (done, over) = channel();
    let start = |done: Sender<()>| {
        let start = system.start::<Machine<Thrower>>(done);
        start.wait().expect("a machine starts")
    };
    let (one, other) = (start(done.clone()), start(done));
    let _ = one.cast(Thrown::Peer(other.clone()));
    let _ = other.cast(Thrown::Peer(one.clone()));
    let _ = one.cast(Thrown::Ball(n));
    over.recv().expect("the ball wears out");
}

/// Counts, answers, and calls others.
struct Server(u64);
struct Add(u64);
struct Inc(u64);
struct Run(ServerRef<Server>, u64);

impl GenServer for Server {
    type Args = ();
    async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Server(0))
    }
}
impl HandleCast<Add> for Server {
    async fn handle_cast(&mut self, add: Add, _: &mut Context<Self>) {
        self.0 += add.0;
    }
}
impl HandleCall<Inc> for Server {
    type Reply = u64;
    async fn handle_call(&mut self, inc: Inc, _: &mut Context<Self>) -> u64 {
        inc.0 + 1
    }
}
impl HandleCall<Run> for Server {
    type Reply = u64;
    async fn handle_call(&mut self, run: Run, _: &mut Context<Self>) -> u64 {
        calls(&run.0, run.1).await
    }
}

async fn calls(server: &ServerRef<Server>, n: u64) -> u64 {
    let mut v = 0;
    while v < n {
        v = server.call(Inc(v)).await.expect("a reply");
    }
    v
}

fn server(system: &System) -> ServerRef<Server> {
    system.start::<Server>(()).wait().expect("a server starts")
}

/// A cast to a server that many cast to, and that has more than one message when its turn comes.
pub(crate) fn fanin(n: u64) {
    const PRODUCERS: u64 = 4;
    let system = system();
    let counter = server(&system);
    let (done, all) = channel();
    for _ in 0..PRODUCERS {
        let (counter, done) = (counter.clone(), done.clone());
        let producer = move |cx: Inbox<()>| async move {
            for i in 1..=n / PRODUCERS {
                let _ = counter.cast(Add(1));
                if i % 100 == 0 {
                    cx.yield_now().await;
                }
            }
            let _ = done.send(());
        };
        system.spawn(producer).expect("a producer starts");
    }
    for _ in 0..PRODUCERS {
        all.recv().expect("a producer finishes");
    }
    counter.call(Inc(0)).wait().expect("a reply");
}

/// A call from a process: request and reply.
pub(crate) fn call(n: u64) {
    let system = system();
    let server = server(&system);
    in_process(&system, move |_| async move {
        calls(&server, n).await;
    });
}

/// A call from inside a server's handler, which makes an edge of the wait-for graph.
pub(crate) fn call_from_server(n: u64) {
    let system = system();
    let (client, server) = (server(&system), server(&system));
    let run = client.call_with(Run(server, n), None);
    run.wait().expect("the client finishes");
}

/// A call by the host of a system without threads.
pub(crate) fn call_manual(n: u64) {
    let (system, _driver) = System::builder().on_event(|_| {}).manual();
    let server = server(&system);
    let mut v = 0;
    while v < n {
        v = server.call(Inc(v)).wait().expect("a reply");
    }
}

/// A message to each of 1,000 actors, frame by frame, within a budget of time.
pub(crate) fn tick(n: u64) {
    const ACTORS: usize = 1_000;
    let (system, driver) = System::builder().on_event(|_| {}).manual();
    let actors: Vec<_> = (0..ACTORS).map(|_| server(&system)).collect();
    for _ in 0..n / ACTORS as u64 {
        for actor in &actors {
            let _ = actor.cast(Add(1));
        }
        let budget = std::time::Duration::from_secs(3600);
        assert_eq!(driver.tick(Budget::time(budget)), Tick::Idle);
    }
}
