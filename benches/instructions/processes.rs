//! Processes that start, end, are watched and are restarted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use noex::Inbox;
use noex::prelude::*;

use crate::messages::{in_process, system};

/// A spawner gives others a turn now and then, so that what it starts runs and dies meanwhile.
const TURN: u64 = 64;

/// A process that ends at once.
pub(crate) fn spawn(n: u64) {
    let system = system();
    in_process(&system, move |cx| async move {
        for i in 1..=n {
            let _ = cx.spawn(|_: Inbox<()>| async {});
            if i % TURN == 0 {
                cx.yield_now().await;
            }
        }
    });
}

/// Ends as soon as it is there.
struct Short;

impl GenServer for Short {
    type Args = ();
    async fn init(_: (), cx: &mut Context<Self>) -> Result<Self, InitStop> {
        cx.stop(ExitReason::Normal);
        Ok(Short)
    }
}

/// A server that is told to stop in its `init`.
pub(crate) fn spawn_server(n: u64) {
    let system = system();
    in_process(&system, move |cx| async move {
        let system = cx.system();
        for i in 1..=n {
            drop(system.start::<Short>(()));
            if i % TURN == 0 {
                cx.yield_now().await;
            }
        }
    });
}

/// A monitor that is set and taken back.
pub(crate) fn monitor(n: u64) {
    let system = system();
    let target = system
        .spawn(|mut inbox: Inbox<()>| async move {
            while let noex::Received::Message(()) = inbox.recv().await {}
        })
        .expect("a process starts");
    in_process(&system, move |cx| async move {
        for i in 1..=n {
            let monitor = cx.monitor(target.pid());
            cx.demonitor(monitor);
            if i % TURN == 0 {
                cx.yield_now().await;
            }
        }
    });
}

/// Crashes itself as soon as it runs, as long as there are crashes left.
struct Child {
    panics: bool,
}
struct Crash;
#[derive(Clone)]
struct Crashes {
    left: Arc<AtomicU64>,
    over: Sender<()>,
    panics: bool,
}

impl GenServer for Child {
    type Args = Crashes;
    async fn init(crashes: Crashes, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        if crashes.left.load(Relaxed) == 0 {
            let _ = crashes.over.send(());
        } else {
            crashes.left.fetch_sub(1, Relaxed);
            let _ = cx.this().cast(Crash);
        }
        Ok(Child {
            panics: crashes.panics,
        })
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

fn restarts(n: u64, panics: bool) {
    let system = system();
    let (over, last) = channel();
    let crashes = Crashes {
        left: Arc::new(AtomicU64::new(n)),
        over,
        panics,
    };
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .intensity(u32::MAX)
        .period(Duration::from_secs(1))
        .child(ChildSpec::server::<Child>("child", crashes));
    let _supervisor = supervisor.start(&system).wait().expect("a supervisor");
    last.recv().expect("a last restart");
}

/// A restart after a panic.
pub(crate) fn supervise(n: u64) {
    restarts(n, true);
}

/// A restart after an exit with an error: no unwinding.
pub(crate) fn supervise_err(n: u64) {
    restarts(n, false);
}
