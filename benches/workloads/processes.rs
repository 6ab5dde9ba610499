//! Starting processes, from inside a process, as BEAM's does: short-lived ones, and ones that stay.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use noex::prelude::*;
use noex::{Inbox, Process, Received};

use crate::support::{Latch, Row, cpu_seconds, rss, seconds, shrunk, shrunk_time, sleeps, system};

/// A spawner gives others a turn now and then, so that what it starts runs and dies meanwhile.
const TURN: u64 = 64;

/// Runs `spawner` as a process and waits until it and `done` are through.
fn from_inside<F>(
    system: &System,
    done: &Latch,
    spawner: impl FnOnce(Inbox<()>) -> F + Send + 'static,
) -> f64
where
    F: Future<Output = ()> + Send + 'static,
{
    seconds(|| {
        system.spawn(spawner).expect("a spawner starts");
        done.wait();
    })
}

fn short_lived(system: &System, n: u64) -> f64 {
    let done = Latch::new(n);
    let latch = done.clone();
    from_inside(system, &done, move |cx| async move {
        for i in 1..=n {
            let latch = latch.clone();
            let _ = cx.spawn(move |_: Inbox<()>| async move { latch.down() });
            if i % TURN == 0 {
                cx.yield_now().await;
            }
        }
    })
}

pub(crate) fn spawn(schedulers: usize) -> Row {
    let system = system(schedulers);
    let n = shrunk(1_000_000);
    short_lived(&system, n / 10);
    Row::new(n, short_lived(&system, n))
}

/// Is told to stop as soon as it is there.
struct Short(Arc<Latch>);

impl GenServer for Short {
    type Args = Arc<Latch>;
    async fn init(done: Arc<Latch>, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        cx.stop(ExitReason::Normal);
        Ok(Short(done))
    }
}
impl Drop for Short {
    fn drop(&mut self) {
        self.0.down();
    }
}

fn short_servers(system: &System, n: u64) -> f64 {
    let done = Latch::new(n);
    let latch = done.clone();
    from_inside(system, &done, move |cx| async move {
        let system = cx.system();
        for i in 1..=n {
            drop(system.start::<Short>(latch.clone()));
            if i % TURN == 0 {
                cx.yield_now().await;
            }
        }
    })
}

pub(crate) fn spawn_server(schedulers: usize) -> Row {
    let system = system(schedulers);
    let n = shrunk(1_000_000);
    short_servers(&system, n / 10);
    Row::new(n, short_servers(&system, n))
}

const KEEP: u64 = 1_000_000;

/// Eight bytes of state; has handled one message.
struct Idle(Arc<Latch>);
struct Added(u64);

impl Process for Idle {
    type Message = u64;
    fn poll(
        self: Pin<&mut Self>,
        inbox: &mut Inbox<u64>,
        _: &mut std::task::Context<'_>,
    ) -> Poll<ExitReason> {
        while let Some(received) = inbox.try_recv() {
            if let Received::Message(n) = received {
                std::hint::black_box(n);
                self.0.down();
            }
        }
        Poll::Pending
    }
}
impl GenServer for Idle {
    type Args = Arc<Latch>;
    async fn init(done: Arc<Latch>, _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Idle(done))
    }
}
impl HandleCast<Added> for Idle {
    async fn handle_cast(&mut self, added: Added, _: &mut Context<Self>) {
        std::hint::black_box(added.0);
        self.0.down();
    }
}

/// Starts and keeps `n` processes, one way or the other; seconds, and resident bytes gained.
fn keep(system: &System, n: u64, servers: bool) -> (f64, u64) {
    let before = rss();
    let done = Latch::new(n);
    let latch = done.clone();
    let took = from_inside(system, &done, move |cx| async move {
        let system = cx.system();
        for i in 1..=n {
            if servers {
                if let Ok(idle) = system.start::<Idle>(latch.clone()).await {
                    let _ = idle.cast(Added(i));
                }
            } else if let Ok(idle) = system.spawn_process(Idle(latch.clone())) {
                let _ = idle.send(i);
            }
            if i % TURN == 0 {
                cx.yield_now().await;
            }
        }
    });
    (took, rss().saturating_sub(before))
}

fn keep_row(schedulers: usize, servers: bool) -> Row {
    let system = system(schedulers);
    let n = shrunk(KEEP);
    keep(&system, shrunk(1000), servers);
    let (seconds, bytes) = keep(&system, n, servers);
    Row {
        extra: format!("rss_bytes_per_process={}", bytes / n),
        ..Row::new(n, seconds)
    }
}

pub(crate) fn spawn_keep(schedulers: usize) -> Row {
    keep_row(schedulers, false)
}

pub(crate) fn spawn_keep_server(schedulers: usize) -> Row {
    keep_row(schedulers, true)
}

/// Ten thousand processes that have nothing to do, after they had. `n` is milliseconds, and the seconds
/// are CPU seconds.
pub(crate) fn idle(schedulers: usize) -> Row {
    let system = system(schedulers);
    keep(&system, shrunk(10_000), true);
    let time = shrunk_time(Duration::from_secs(3));
    // What was just started comes to rest.
    std::thread::sleep(time / 4);
    let (cpu, slept, woken) = (cpu_seconds(), sleeps(), system.stats().wakeups);
    std::thread::sleep(time);
    // The one is this thread's own.
    let slept = (sleeps() - slept - 1) as f64 / time.as_secs_f64();
    let woken = system.stats().wakeups - woken;
    Row {
        extra: format!("wakeups_a_second={slept:.1} of_schedulers={woken}"),
        ..Row::new(time.as_millis() as u64, cpu_seconds() - cpu)
    }
}
