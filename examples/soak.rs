//! A soak: servers that call, cast, link, monitor and set timers, under supervisors, while they are
//! crashed and killed at random. Looks all the time whether anything is stuck or lost, and whether
//! memory grows; exits with 1 if so.
//!
//! ```text
//! cargo run --release --example soak -- [--minutes N | --seconds N] [--schedulers N] [--seed N]
//! ```

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use noex::prelude::*;
use noex::{CallError, Stats};

/// No call may take longer.
const STUCK: Duration = Duration::from_secs(20);

struct Worker {
    n: u64,
    peers: Vec<Named<Worker>>,
}
#[derive(Clone)]
struct Ask(u32);
struct Tell(u64);
struct Later;
struct Crash;

impl GenServer for Worker {
    type Args = Vec<String>;
    async fn init(peers: Vec<String>, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        let system = cx.system();
        let peers = peers
            .into_iter()
            .map(|name| system.server::<Worker>(name))
            .collect();
        Ok(Worker { n: 0, peers })
    }
    async fn handle_down(&mut self, _: noex::Down, _: &mut Context<Self>) {
        self.n += 1;
    }
}
impl HandleCall<Ask> for Worker {
    type Reply = u64;
    async fn handle_call(&mut self, ask: Ask, cx: &mut Context<Self>) -> u64 {
        self.n += 1;
        if self.n % 11 == 0 {
            cx.sleep(Duration::from_millis(1)).await;
        }
        if ask.0 == 0 {
            return self.n;
        }
        // Calls go round in circles now and then: that is an error here, and no harm.
        let peer = &self.peers[(self.n % self.peers.len() as u64) as usize];
        peer.call_with(Ask(ask.0 - 1), Duration::from_millis(100))
            .await
            .unwrap_or(0)
    }
}
impl HandleCast<Tell> for Worker {
    async fn handle_cast(&mut self, tell: Tell, cx: &mut Context<Self>) {
        self.n = self.n.wrapping_add(tell.0);
        if self.n % 13 == 0 {
            cx.send_after(Duration::from_millis(self.n % 7), &cx.this(), Later);
        }
        if self.n % 17 == 0 {
            let peer = &self.peers[(self.n % self.peers.len() as u64) as usize];
            if let Some(peer) = peer.resolve() {
                let monitor = cx.monitor(peer.pid());
                if self.n % 34 == 0 {
                    cx.demonitor(monitor);
                }
            }
        }
        if self.n % 101 == 0 {
            let _ = cx.spawn_link(|mut inbox: noex::Inbox<()>| async move {
                inbox.recv_timeout(Duration::from_millis(3)).await;
            });
        }
    }
}
impl HandleInfo<Later> for Worker {
    async fn handle_info(&mut self, _: Later, cx: &mut Context<Self>) {
        self.n += 1;
        if self.n % 19 == 0 {
            let _ = cx.blocking(|| std::hint::black_box(7)).await;
        }
    }
}
impl HandleCast<Crash> for Worker {
    async fn handle_cast(&mut self, _: Crash, _: &mut Context<Self>) {
        panic!("crashed by the soak");
    }
}

fn rss_mib() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok())
        .unwrap_or(0)
        * 4096
        / (1 << 20)
}

struct Rng(u64);
impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// One round on a system of its own; its counts, which must add up.
fn round(schedulers: usize, seed: u64, length: Duration) -> Result<(Stats, u64), Box<dyn Error>> {
    let system = System::builder()
        .schedulers(schedulers)
        .on_event(|_| {})
        .build()?;
    let names: Vec<String> = (0..16).map(|i| format!("worker-{i}")).collect();
    let spec = |name: &String| {
        ChildSpec::server::<Worker>(name.as_str(), names.clone()).name(name.as_str())
    };
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .intensity(u32::MAX)
        .children(names.iter().map(spec));
    let supervisor = supervisor.start(&system).wait()?;
    let workers: Vec<Named<Worker>> = names
        .iter()
        .map(|name| system.server(name.as_str()))
        .collect();

    let end = Instant::now() + length;
    let stuck: Vec<Result<u64, String>> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let (workers, system) = (&workers, &system);
                scope.spawn(move || {
                    let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (client + 1));
                    let mut answered = 0;
                    while Instant::now() < end {
                        let worker = &workers[rng.below(16) as usize];
                        match rng.below(1000) {
                            0 => drop(worker.cast(Crash)),
                            1 => {
                                if let Some(server) = worker.resolve() {
                                    system.exit(server.pid(), ExitReason::Kill);
                                }
                            }
                            2..100 => {
                                let asked = worker
                                    .call_with(Ask(rng.below(4) as u32), None)
                                    .wait_timeout(STUCK);
                                if asked == Err(CallError::Timeout) {
                                    return Err(format!("{} does not answer", worker.name()));
                                }
                                answered += u64::from(asked.is_ok());
                            }
                            n => drop(worker.cast(Tell(n))),
                        }
                    }
                    Ok(answered)
                })
            })
            .collect();
        clients
            .into_iter()
            .map(|client| {
                client
                    .join()
                    .unwrap_or_else(|_| Err("a client panicked".into()))
            })
            .collect()
    });
    let answered = stuck.into_iter().sum::<Result<u64, String>>()?;
    if !supervisor.is_alive() {
        return Err("the supervisor is gone".into());
    }
    system.shutdown_within(STUCK).wait()?;
    // The process that carried the shutdown out may still be ending.
    let deadline = Instant::now() + STUCK;
    let stats = loop {
        let stats = system.stats();
        if stats.queued == 0 && stats.spawned == stats.exited {
            break stats;
        }
        if Instant::now() > deadline {
            return Err(format!("not all is accounted for: {stats:?}").into());
        }
        std::thread::yield_now();
    };
    Ok((stats, answered))
}

fn run() -> Result<(), Box<dyn Error>> {
    use lexopt::prelude::*;
    let (mut length, mut schedulers, mut seed) = (Duration::from_secs(60), 4, 1);
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("minutes") => length = Duration::from_secs(60 * args.value()?.parse::<u64>()?),
            Long("seconds") => length = Duration::from_secs(args.value()?.parse()?),
            Long("schedulers") => schedulers = args.value()?.parse()?,
            Long("seed") => seed = args.value()?.parse()?,
            other => return Err(other.unexpected().into()),
        }
    }
    let start = Instant::now();
    let mut settled_rss = 0;
    for n in 0.. {
        let left = length.saturating_sub(start.elapsed());
        if left.is_zero() {
            break;
        }
        let (stats, answered) = round(schedulers, seed + n, left.min(Duration::from_secs(5)))?;
        let rss = rss_mib();
        println!(
            "round {n}: {answered} calls answered, {} messages, {} processes, {} aborted, {} undelivered, {rss} MiB",
            stats.sent, stats.exited, stats.aborted, stats.undelivered
        );
        if n == 2 {
            settled_rss = rss;
        }
        if n > 2 && rss > 2 * settled_rss + 64 {
            return Err(format!("memory grows: {rss} MiB after {settled_rss}").into());
        }
    }
    println!("nothing stuck, nothing lost");
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}
