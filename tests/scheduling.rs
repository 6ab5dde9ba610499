//! Threads: fairness, stuck handlers, idleness, blocking work, timers, and the end of systems.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use noex::prelude::*;
use noex::{CallError, Event, Inbox, Priority, Received, ShutdownError, SpawnOptions};
use support::{DEADLINE, next, on_all, quiet, reports, settled};

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
fn who_keeps_itself_busy_does_not_starve_others() {
    let system = quiet().schedulers(1).build().unwrap();
    let busy = system
        .spawn(|mut cx: Inbox<()>| async move {
            let me = cx.this();
            let _ = me.send(());
            while let Received::Message(()) = cx.recv().await {
                let _ = me.send(());
            }
        })
        .unwrap();
    let (tell, told) = reports();
    for n in 0..10 {
        let tell = tell.clone();
        system
            .spawn(move |_: Inbox<()>| async move {
                let _ = tell.send(n);
            })
            .unwrap();
    }
    for _ in 0..10 {
        next(&system, &told);
    }
    assert!(busy.is_alive());
}

#[test]
fn what_a_stuck_thread_has_queued_is_run_by_another() {
    let system = quiet().schedulers(2).build().unwrap();
    let (tell, told) = reports();
    let (release, held) = channel::<()>();
    // From inside, so that both land on the hog's own thread: one in its slot, one in its queue.
    system
        .spawn(move |cx: Inbox<()>| async move {
            for n in 0..2 {
                let tell = tell.clone();
                let _ = cx.spawn(move |_: Inbox<()>| async move {
                    let _ = tell.send(n);
                });
            }
            let _ = held.recv();
        })
        .unwrap();
    let mut seen = [
        told.recv_timeout(DEADLINE).unwrap(),
        told.recv_timeout(DEADLINE).unwrap(),
    ];
    seen.sort_unstable();
    assert_eq!(seen, [0, 1]);
    drop(release);
}

#[test]
fn a_long_handler_is_reported_with_its_message() {
    let (tell, told) = reports();
    let builder = System::builder()
        .schedulers(1)
        .long_handler(Duration::from_millis(30))
        .on_event(move |event| {
            if let Event::LongHandler { pid, message, .. } = event {
                let _ = tell.send((*pid, *message));
            }
        });
    let system = builder.build().unwrap();
    let hog = system.start::<Hog>(()).wait_timeout(DEADLINE).unwrap();
    let (release, held) = channel();
    let (started, begun) = channel();
    hog.cast(Hold(started, held)).unwrap();
    begun.recv_timeout(DEADLINE).unwrap();
    let (pid, message) = told.recv_timeout(DEADLINE).unwrap();
    assert_eq!(pid, hog.pid());
    assert!(message.unwrap().contains("Hold"));
    drop(release);
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

#[test]
fn an_idle_system_wakes_nobody() {
    let system = quiet().schedulers(4).build().unwrap();
    let hog = system.start::<Hog>(()).wait_timeout(DEADLINE).unwrap();
    assert!(hog.is_alive());
    // Wait until two looks, half a second apart, find that nobody woke: then it is at rest.
    let end = Instant::now() + DEADLINE;
    let (watch, quiet) = channel::<()>();
    loop {
        let before = system.stats().wakeups;
        // A channel nobody sends on: waits for the time, and is no sleep of a scheduler's.
        let _ = quiet.recv_timeout(Duration::from_millis(500));
        if system.stats().wakeups == before {
            break;
        }
        assert!(Instant::now() < end, "somebody keeps waking");
    }
    drop(watch);
}

#[test]
fn blocking_work_leaves_the_scheduler_thread_free_and_ends_with_its_result() {
    let system = quiet().schedulers(1).build().unwrap();
    let (release, held) = channel::<()>();
    let (tell, told) = reports();
    system
        .spawn(move |cx: Inbox<()>| async move {
            let done = cx.blocking(move || held.recv().is_err()).await;
            let panicked = cx.blocking(|| -> () { panic!("in the closure") }).await;
            let _ = tell.send((done, panicked));
        })
        .unwrap();
    support::pump(&system); // the only scheduler thread runs others meanwhile
    drop(release);
    let (done, panicked) = told.recv_timeout(DEADLINE).unwrap();
    assert_eq!(done, Ok(true));
    assert!(matches!(
        panicked,
        Err(CallError::Exited(ExitReason::Panic(_)))
    ));
}

#[test]
fn a_process_in_blocking_work_can_be_killed_at_once() {
    let system = quiet().schedulers(1).build().unwrap();
    let (release, held) = channel::<()>();
    let process = system
        .spawn(move |cx: Inbox<()>| async move {
            let _ = cx.blocking(move || held.recv().is_err()).await;
        })
        .unwrap();
    support::pump(&system);
    system.exit(process.pid(), ExitReason::Kill);
    system
        .monitor(process.pid())
        .wait_timeout(DEADLINE)
        .unwrap();
    assert_eq!(process.exit_reason(), Some(ExitReason::Killed));
    drop(release);
}

#[test]
fn high_runs_before_normal_before_low() {
    let (system, driver) = quiet().manual();
    let (tell, told) = reports();
    for priority in [Priority::Low, Priority::Normal, Priority::High] {
        let tell = tell.clone();
        let run = move |_: Inbox<()>| async move {
            let _ = tell.send(priority);
        };
        system
            .spawn_with(SpawnOptions::new().priority(priority), run)
            .unwrap();
    }
    driver.run_until_idle();
    let order: Vec<_> = told.try_iter().collect();
    assert_eq!(order, [Priority::High, Priority::Normal, Priority::Low]);
}

struct Ticks(std::sync::mpsc::Sender<u32>);
#[derive(Clone)]
struct Tick(u32);
impl GenServer for Ticks {
    type Args = std::sync::mpsc::Sender<u32>;
    async fn init(tell: Self::Args, _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Ticks(tell))
    }
}
impl HandleInfo<Tick> for Ticks {
    async fn handle_info(&mut self, tick: Tick, _: &mut Context<Self>) {
        let _ = self.0.send(tick.0);
    }
}

#[test]
fn timers_fire_in_the_order_of_their_times_and_not_after_cancel() {
    on_all(|system| {
        let (tell, told) = reports();
        let ticks = system.start::<Ticks>(tell).wait_timeout(DEADLINE).unwrap();
        let ms = Duration::from_millis;
        let start = system.now();
        for n in [30, 10, 20] {
            system.send_after(ms(n), &ticks, Tick(n as u32));
        }
        let cancelled = system.send_after(ms(15), &ticks, Tick(15));
        let left = system.read_timer(cancelled).unwrap();
        assert!(left <= ms(16));
        assert!(system.cancel_timer(cancelled).is_some());
        assert_eq!(
            (system.cancel_timer(cancelled), system.read_timer(cancelled)),
            (None, None)
        );
        let waiter = system
            .spawn(move |cx: Inbox<()>| async move { cx.sleep(Duration::from_millis(40)).await })
            .unwrap();
        system.monitor(waiter.pid()).wait_timeout(DEADLINE).unwrap();
        assert!(system.now() - start >= ms(40), "a sleep never ends early");
        assert_eq!(
            [
                next(system, &told),
                next(system, &told),
                next(system, &told)
            ],
            [10, 20, 30]
        );
        assert!(told.try_recv().is_err());
    });
}

#[test]
fn an_interval_does_not_drift_and_ends_with_its_target_or_by_cancel() {
    let (system, driver) = quiet().virtual_clock().manual();
    let (tell, told) = reports();
    let ticks = system.start::<Ticks>(tell).wait().unwrap();
    let ms = Duration::from_millis;
    let timer = system.send_interval(ms(10), &ticks, Tick(1));
    driver.advance(ms(95));
    assert_eq!(told.try_iter().count(), 9);
    assert!(system.cancel_timer(timer).is_some());
    driver.advance(ms(100));
    assert_eq!(told.try_iter().count(), 0);
    system.send_interval(ms(10), &ticks, Tick(1));
    system.exit(ticks.pid(), ExitReason::Kill);
    driver.advance(ms(100));
    assert_eq!(driver.next_deadline(), None);
}

#[test]
fn a_timer_to_a_name_finds_who_has_it_when_it_fires() {
    let (system, driver) = quiet().virtual_clock().manual();
    let (tell, told) = reports();
    let named = system.server::<Ticks>("ticks");
    let ms = Duration::from_millis;
    system.send_after(ms(10), &named, Tick(1)); // nobody then
    system.send_after(ms(30), &named, Tick(2));
    driver.advance(ms(20));
    system
        .start_with::<Ticks>(tell, ServerOptions::new().name("ticks"))
        .wait()
        .unwrap();
    driver.advance(ms(20));
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [2]);
    assert_eq!(settled(&system).undelivered, 1);
}

#[test]
fn a_hundred_thousand_timers_fire_in_order() {
    let (system, driver) = quiet().virtual_clock().manual();
    let (tell, told) = reports();
    let ticks = system.start::<Ticks>(tell).wait().unwrap();
    let mut state = 1_u64;
    for _ in 0..100_000 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let ms = (state >> 33) % 5000;
        system.send_after(Duration::from_millis(ms), &ticks, Tick(ms as u32));
    }
    driver.advance(Duration::from_secs(5));
    let fired: Vec<u32> = told.try_iter().collect();
    assert_eq!(fired.len(), 100_000);
    assert!(fired.is_sorted());
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
fn waiting_inside_a_process_is_an_error_at_once() {
    on_all(|system| {
        let (tell, told) = reports();
        let hog = system.start::<Hog>(()).wait_timeout(DEADLINE).unwrap();
        system
            .spawn(move |cx: Inbox<()>| async move {
                let stopped = hog.stop(ExitReason::Normal).wait();
                let asked = cx.system().monitor(cx.pid()).wait().map(|_| ());
                let _ = tell.send((stopped, asked));
            })
            .unwrap();
        assert_eq!(
            next(system, &told),
            (Err(CallError::WouldBlock), Err(CallError::WouldBlock))
        );
    });
}

#[test]
fn the_end_of_what_was_started_outside_is_told_to_who_waits_for_the_system() {
    let system = quiet().schedulers(1).build().unwrap();
    let waits = system.wait();
    let asked = AtomicBool::new(false);
    assert!(!asked.load(SeqCst));
    system
        .spawn(|_: Inbox<()>| async { ExitReason::Normal })
        .unwrap();
    system
        .spawn(|_: Inbox<()>| async { ExitReason::Timeout })
        .unwrap();
    let error = waits.wait_timeout(DEADLINE).unwrap_err();
    assert!(matches!(error, noex::Error::Exited(ExitReason::Timeout)));
}
