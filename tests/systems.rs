//! Systems: many in one program, and how they end.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use noex::prelude::*;
use noex::{CallError, Inbox, Received, Recipient, ShutdownError, SpawnError, StartError};
use support::{DEADLINE, next, on_all, quiet, reports};

/// Holds its thread until it is let go.
struct Hog;
struct Hold(std::sync::mpsc::Sender<()>, Receiver<()>);
impl GenServer for Hog {
    type Args = ();
    async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Hog)
    }
}
impl HandleCast<Hold> for Hog {
    async fn handle_cast(&mut self, hold: Hold, _: &mut Context<Self>) {
        let _ = hold.0.send(());
        let _ = hold.1.recv();
    }
}

#[test]
fn a_handler_that_does_not_return_is_stuck_and_not_dead() {
    let system = quiet().schedulers(2).build().unwrap();
    let hog = system.start::<Hog>(()).wait_timeout(DEADLINE).unwrap();
    let (release, held) = channel();
    let (started, begun) = channel();
    hog.cast(Hold(started, held)).unwrap();
    begun.recv_timeout(DEADLINE).unwrap();
    let error = system
        .shutdown_within(Duration::from_millis(50))
        .wait_timeout(DEADLINE)
        .unwrap_err();
    let noex::Error::Shutdown(ShutdownError::Stuck(pids)) = error else {
        panic!("{error}")
    };
    assert_eq!(pids, [hog.pid()]);
    assert!(hog.is_alive());
    drop(release);
}

/// Counts what lives.
struct Counted(Arc<AtomicUsize>);
impl Counted {
    fn new(live: &Arc<AtomicUsize>) -> Self {
        live.fetch_add(1, SeqCst);
        Counted(live.clone())
    }
}
impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[test]
fn a_system_dropped_without_shutdown_drops_everything_once_and_wakes_callers() {
    struct Holder(#[expect(dead_code)] Counted);
    struct Take(#[expect(dead_code)] Counted);
    struct Ask;
    impl GenServer for Holder {
        type Args = Counted;
        async fn init(counted: Counted, _: &mut Context<Self>) -> Result<Self, InitStop> {
            Ok(Holder(counted))
        }
    }
    impl HandleCast<Take> for Holder {
        async fn handle_cast(&mut self, take: Take, cx: &mut Context<Self>) {
            cx.sleep(Duration::from_secs(3600)).await;
            drop(take);
        }
    }
    impl HandleCall<Ask> for Holder {
        type Reply = ();
        async fn handle_call(&mut self, _: Ask, _: &mut Context<Self>) {}
    }
    let live = Arc::new(AtomicUsize::new(0));
    for threads in [1, 4] {
        let system = quiet().schedulers(threads).build().unwrap();
        let holders: Vec<_> = (0..20)
            .map(|_| {
                system
                    .start::<Holder>(Counted::new(&live))
                    .wait_timeout(DEADLINE)
                    .unwrap()
            })
            .collect();
        for holder in &holders {
            holder.cast(Take(Counted::new(&live))).unwrap();
            holder.cast(Take(Counted::new(&live))).unwrap();
        }
        let calls: Vec<_> = holders
            .iter()
            .map(|holder| holder.call_with(Ask, None))
            .collect();
        drop(system);
        assert_eq!(live.load(SeqCst), 0);
        for call in calls {
            assert_eq!(
                call.wait_timeout(DEADLINE),
                Err(CallError::Exited(ExitReason::Killed))
            );
        }
    }
}

#[test]
fn a_system_may_be_dropped_on_one_of_its_own_threads() {
    let system = Arc::new(quiet().schedulers(2).build().unwrap());
    let inside = system.clone();
    let (tell, told) = reports();
    let process = system
        .spawn(move |mut cx: Inbox<()>| async move {
            let _ = cx.recv().await;
            drop(inside);
            let _ = tell.send(());
        })
        .unwrap();
    drop(system);
    process.send(()).unwrap();
    told.recv_timeout(DEADLINE).unwrap();
}

#[test]
fn many_systems_live_in_one_program() {
    let systems: Vec<System> = (0..8)
        .map(|_| quiet().schedulers(1).build().unwrap())
        .collect();
    for pair in systems.windows(2) {
        // A process of one system sends to a process of the other.
        let (tell, told) = reports();
        let there = pair[1]
            .spawn(move |mut cx: Inbox<u32>| async move {
                if let Received::Message(n) = cx.recv().await {
                    let _ = tell.send(n);
                }
            })
            .unwrap();
        pair[0]
            .spawn(move |_: Inbox<()>| async move { drop(there.send(7)) })
            .unwrap();
        assert_eq!(told.recv_timeout(DEADLINE), Ok(7));
    }
}

#[test]
fn the_end_of_what_was_started_outside_is_told_to_who_waits_for_the_system() {
    let system = quiet().schedulers(1).build().unwrap();
    let waits = system.wait();
    system
        .spawn(|_: Inbox<()>| async { ExitReason::Normal })
        .unwrap();
    system
        .spawn(|_: Inbox<()>| async { ExitReason::Timeout })
        .unwrap();
    let error = waits.wait_timeout(DEADLINE).unwrap_err();
    assert!(matches!(error, noex::Error::Exited(ExitReason::Timeout)));
}

#[test]
fn what_was_started_outside_is_stopped_last_first_and_each_gets_its_time() {
    /// Takes a moment to terminate, and tells of it.
    struct Slow(u32, std::sync::mpsc::Sender<u32>);
    impl GenServer for Slow {
        type Args = (u32, std::sync::mpsc::Sender<u32>);
        async fn init((n, tell): Self::Args, cx: &mut Context<Self>) -> Result<Self, InitStop> {
            cx.trap_exit(true);
            Ok(Slow(n, tell))
        }
        async fn terminate(&mut self, reason: ExitReason, cx: &mut Context<Self>) {
            assert_eq!(reason, ExitReason::Shutdown(None));
            cx.sleep(Duration::from_millis(self.0.into())).await;
            let _ = self.1.send(self.0);
        }
    }
    on_all(|system| {
        let (tell, told) = reports();
        for n in 1..=5 {
            let start = system.start::<Slow>((n, tell.clone()));
            start.wait_timeout(DEADLINE).unwrap();
        }
        let ended = system.wait();
        system.shutdown().wait_timeout(DEADLINE).unwrap();
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [5, 4, 3, 2, 1]);
        assert!(
            ended.wait_timeout(DEADLINE).is_ok(),
            "an orderly end is none to report"
        );
        // Once it has ended it is no error to end it, and nothing starts any more.
        system.shutdown().wait_timeout(DEADLINE).unwrap();
        let refused = system.spawn(|_: Inbox<()>| async {}).map(drop);
        assert!(matches!(refused, Err(SpawnError { .. })));
        let refused = system.start::<Slow>((6, tell)).wait_timeout(DEADLINE);
        assert_eq!(refused.unwrap_err(), StartError::Refused);
    });
}

#[test]
fn the_builder_names_the_threads_and_sizes_their_stacks() {
    fn deep(left: usize) -> usize {
        let frame = std::hint::black_box([left; 128]);
        match left {
            0 => frame[1],
            _ => deep(left - 1) + usize::from(frame[0] == left),
        }
    }
    // At least a kilobyte a call, which the default of 2 MiB would not hold.
    const CALLS: usize = 16 * 1024;
    let builder = quiet().name("mine").schedulers(2).stack_size(256 << 20);
    let system = builder.build().unwrap();
    let (tell, told) = reports();
    let _: Recipient<()> = system
        .spawn(move |cx: Inbox<()>| async move {
            let here = || std::thread::current().name().map(str::to_owned);
            let blocking = cx.blocking(here).await;
            let _ = tell.send((here(), blocking, deep(CALLS)));
        })
        .unwrap();
    let (name, blocking, calls) = next(&system, &told);
    assert!(
        matches!(name.as_deref(), Some("mine-0" | "mine-1")),
        "{name:?}"
    );
    assert_eq!(blocking, Ok(Some("mine-blocking".to_owned())));
    assert_eq!(calls, CALLS);
}
