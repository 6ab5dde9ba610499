//! Calls, supervision, names and timers.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use noex::prelude::*;

use crate::support::{Delays, Guard, Latch, Row, cpu_seconds, seconds, shrunk, system};

/// Answers each number with the next.
pub(crate) struct Server;
pub(crate) struct Inc(pub(crate) u64);

impl GenServer for Server {
    type Args = ();
    async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Server)
    }
}
impl HandleCall<Inc> for Server {
    type Reply = u64;
    async fn handle_call(&mut self, inc: Inc, _: &mut Context<Self>) -> u64 {
        inc.0 + 1
    }
}

/// A client process calls a server `n` times.
fn calls(system: &System, n: u64) -> f64 {
    let server = system.start::<Server>(()).wait().expect("a server starts");
    let (send, receive) = mpsc::channel();
    let client = move |_: noex::Inbox<()>| async move {
        let start = Instant::now();
        let mut v = 0;
        while v < n {
            v = server.call(Inc(v)).await.expect("a reply");
        }
        let _ = send.send(start.elapsed().as_secs_f64());
    };
    system.spawn(client).expect("a client starts");
    receive.recv().expect("the client finishes")
}

pub(crate) fn call(schedulers: usize) -> Row {
    let system = system(schedulers);
    let n = shrunk(500_000);
    calls(&system, n / 10);
    Row::new(n, calls(&system, n))
}

/// Calls its server, from inside a handler.
struct Client;
struct Run(ServerRef<Server>, u64);

impl GenServer for Client {
    type Args = ();
    async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Client)
    }
}
impl HandleCall<Run> for Client {
    type Reply = f64;
    async fn handle_call(&mut self, run: Run, _: &mut Context<Self>) -> f64 {
        let Run(server, n) = run;
        let start = Instant::now();
        let mut v = 0;
        while v < n {
            v = server.call(Inc(v)).await.expect("a reply");
        }
        start.elapsed().as_secs_f64()
    }
}

/// As `call`, but the client is a server: each wait of its handler makes an edge of the wait-for graph,
/// by which cycles are found.
pub(crate) fn call_from_server(schedulers: usize) -> Row {
    let system = system(schedulers);
    let server = system.start::<Server>(()).wait().expect("a server starts");
    let client = system.start::<Client>(()).wait().expect("a client starts");
    let run = |n| {
        let call = client.call_with(Run(server.clone(), n), None);
        call.wait().expect("the client finishes")
    };
    let n = shrunk(500_000);
    run(n / 10);
    Row::new(n, run(n))
}

/// The client is an OS thread.
fn calls_sync(system: &System, n: u64) -> f64 {
    let server = system.start::<Server>(()).wait().expect("a server starts");
    seconds(|| {
        let mut v = 0;
        while v < n {
            v = server.call(Inc(v)).wait().expect("a reply");
        }
    })
}

pub(crate) fn call_sync(schedulers: usize) -> Row {
    let system = system(schedulers);
    let n = shrunk(100_000);
    calls_sync(&system, n / 20);
    Row::new(n, calls_sync(&system, n))
}

/// Crashes itself as soon as it runs, as long as the latch has crashes left.
struct Child {
    panics: bool,
}
struct Crash;

impl GenServer for Child {
    type Args = (Arc<Latch>, bool);
    async fn init((crashes, panics): Self::Args, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        if crashes.take() {
            let _ = cx.this().cast(Crash);
        }
        Ok(Child { panics })
    }
}
impl HandleCast<Crash> for Child {
    async fn handle_cast(&mut self, _: Crash, cx: &mut Context<Self>) {
        if self.panics {
            panic!("a crash of the workload");
        }
        cx.stop(ExitReason::error("a crash of the workload"));
    }
}

fn restarts(system: &System, n: u64, panics: bool) -> f64 {
    // The start that begins with no crash left is that of the last restart.
    let crashes = Latch::new(n);
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .intensity(u32::MAX)
        .period(Duration::from_secs(1))
        .child(ChildSpec::server::<Child>(
            "child",
            (crashes.clone(), panics),
        ));
    seconds(|| {
        let supervisor = supervisor
            .start(system)
            .wait()
            .expect("a supervisor starts");
        crashes.wait();
        system.exit(supervisor.pid(), ExitReason::Kill);
    })
}

fn supervise_row(schedulers: usize, panics: bool, extra: &str) -> Row {
    let system = system(schedulers);
    let n = shrunk(20_000);
    restarts(&system, shrunk(1000), panics);
    Row {
        extra: extra.to_owned(),
        ..Row::new(n, restarts(&system, n, panics))
    }
}

pub(crate) fn supervise(schedulers: usize) -> Row {
    supervise_row(schedulers, true, "crash=panic")
}

pub(crate) fn supervise_err(schedulers: usize) -> Row {
    supervise_row(schedulers, false, "crash=error")
}

/// `lookups` of `entries` names from two threads.
fn lookups(system: &System, entries: u64, lookups: u64) -> f64 {
    let names: Vec<String> = (0..entries).map(|i| format!("name_{i}")).collect();
    for name in &names {
        let server = system.start::<Server>(()).wait().expect("a server starts");
        system.register(name, server.pid()).expect("a free name");
    }
    let threads = 2;
    seconds(|| {
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let names = &names;
                scope.spawn(move || {
                    let mut at = thread * entries / threads;
                    for _ in 0..lookups / threads {
                        at = (at + 7919) % entries;
                        assert!(system.whereis(&names[at as usize]).is_some());
                    }
                });
            }
        });
    })
}

pub(crate) fn registry_lookup(schedulers: usize) -> Row {
    let n = shrunk(5_000_000);
    Row::new(n, lookups(&system(schedulers), 10_000, n))
}

struct Ticked;
struct Tick {
    _counts: Guard,
}

impl GenServer for Ticked {
    type Args = ();
    async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Ticked)
    }
}
impl HandleInfo<Tick> for Ticked {
    async fn handle_info(&mut self, _: Tick, _: &mut Context<Self>) {}
}

/// `n` timers with random delays, every other one cancelled, the rest awaited.
fn arm(system: &System, n: u64) -> f64 {
    let ticked = system.start::<Ticked>(()).wait().expect("a server starts");
    let latch = Latch::new(n);
    let counts = latch.clone();
    seconds(|| {
        let armer = move |cx: noex::Inbox<()>| async move {
            let delays = Delays::new().take(n as usize);
            let timers: Vec<_> = delays
                .map(|ms| {
                    let tick = Tick {
                        _counts: Guard(counts.clone()),
                    };
                    cx.send_after(Duration::from_millis(ms), &ticked, tick)
                })
                .collect();
            for timer in timers.iter().step_by(2) {
                cx.cancel_timer(*timer);
            }
        };
        system.spawn(armer).expect("an armer starts");
        latch.wait();
    })
}

/// The seconds of this row are CPU seconds, as the peers' are.
pub(crate) fn timers(schedulers: usize) -> Row {
    let system = system(schedulers);
    let n = shrunk(1_000_000);
    arm(&system, shrunk(1000));
    let before = cpu_seconds();
    let wall = arm(&system, n);
    let cpu = cpu_seconds() - before;
    Row {
        extra: format!("wall_s={wall:.3}"),
        ..Row::new(n, cpu)
    }
}
