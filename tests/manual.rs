//! The manual driver: budgets, clocks, readiness, determinism, local processes, and the end. (What a
//! budget and an idle host are promised in full: `drivers.rs`.)

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use noex::prelude::*;
use noex::{Budget, CallError, Driver, Inbox, Received, Tick};
use support::{gate, quiet, reports};

struct Counter(u64);
struct Add(u64);
struct Get;

impl GenServer for Counter {
    type Args = u64;
    async fn init(start: u64, _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Counter(start))
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

#[test]
fn a_budget_of_messages_is_kept_to_the_message() {
    let (system, driver) = System::builder().manual();
    let counter = system.start::<Counter>(0).wait().unwrap();
    for _ in 0..10 {
        counter.cast(Add(1)).unwrap();
    }
    for handled in 1..=9 {
        assert_eq!(driver.tick(Budget::messages(1)), Tick::More);
        assert_eq!(system.stats().handled, 1 + handled); // and `init`
    }
    driver.tick(Budget::messages(1));
    assert_eq!(driver.tick(Budget::messages(1)), Tick::Idle);
    assert_eq!(counter.call(Get).wait(), Ok(10));
}

#[test]
fn virtual_time_moves_only_when_told_and_stops_at_each_timer() {
    let (system, driver) = System::builder().virtual_clock().manual();
    let (tell, told) = reports();
    for ms in [30, 10, 20] {
        let tell = tell.clone();
        system
            .spawn(move |cx: Inbox<()>| async move {
                cx.sleep(Duration::from_millis(ms)).await;
                let _ = tell.send((ms, cx.system().now()));
            })
            .unwrap();
    }
    driver.run_until_idle();
    assert_eq!(driver.next_deadline(), Some(Duration::from_millis(10)));
    assert!(told.try_recv().is_err());
    driver.advance(Duration::from_millis(25));
    let seen: Vec<_> = told.try_iter().collect();
    let ms = Duration::from_millis;
    assert_eq!(seen, [(10, ms(10)), (20, ms(20))]);
    assert_eq!(
        (driver.now(), driver.next_deadline()),
        (ms(25), Some(ms(5)))
    );
    driver.advance(ms(5));
    assert_eq!(told.try_recv(), Ok((30, ms(30))));
    assert_eq!(driver.next_deadline(), None);
}

#[test]
fn waiting_for_what_cannot_come_is_stalled_not_a_hang() {
    struct Mute;
    impl GenServer for Mute {
        type Args = ();
        async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
            Ok(Mute)
        }
    }
    impl HandleCall<Get> for Mute {
        type Reply = ();
        async fn handle_call(&mut self, _: Get, _: &mut Context<Self>) {
            std::future::pending().await
        }
    }
    let (system, _driver) = System::builder().virtual_clock().manual();
    let mute = system.start::<Mute>(()).wait().unwrap();
    assert_eq!(mute.call_with(Get, None).wait(), Err(CallError::Stalled));
    let (system, driver) = System::builder().virtual_clock().auto_advance().manual();
    let mute = system.start::<Mute>(()).wait().unwrap();
    assert_eq!(mute.call(Get).wait(), Err(CallError::Timeout));
    assert_eq!(driver.now(), Duration::from_secs(5));
}

#[test]
fn on_a_real_clock_waiting_sleeps_until_a_timer_is_due_or_help_comes_from_outside() {
    let (system, _driver) = quiet().manual();
    let spawned = std::time::Instant::now();
    let sleeps = system
        .spawn(|cx: Inbox<()>| async move { cx.sleep(Duration::from_millis(5)).await })
        .unwrap();
    let down = system.monitor(sleeps.pid()).wait().unwrap();
    assert_eq!(down.reason, ExitReason::Normal);
    assert!(spawned.elapsed() >= Duration::from_millis(5));
    // A waker that another thread calls.
    let (held, opener) = gate();
    let waits = system.spawn(|_: Inbox<()>| held).unwrap();
    let ended = system.monitor(waits.pid());
    let other = std::thread::spawn(move || opener.open());
    assert_eq!(ended.wait().unwrap().reason, ExitReason::Normal);
    other.join().unwrap();
    // A message that another thread sends.
    let takes = system
        .spawn(|mut cx: Inbox<u32>| async move { drop(cx.recv().await) })
        .unwrap();
    let ended = system.monitor(takes.pid());
    let other = std::thread::spawn(move || takes.send(1).unwrap());
    assert_eq!(ended.wait().unwrap().reason, ExitReason::Normal);
    other.join().unwrap();
    // Or the time that one is willing to wait.
    let never = system
        .spawn(|_: Inbox<()>| std::future::pending::<()>())
        .unwrap();
    let late = system
        .monitor(never.pid())
        .wait_timeout(Duration::from_millis(5));
    assert_eq!(late.unwrap_err(), CallError::Timeout);
}

#[test]
fn the_ready_hook_is_called_once_for_each_idle_time() {
    let (system, driver) = System::builder().manual();
    let counter = system.start::<Counter>(0).wait().unwrap();
    let rung = Arc::new(AtomicUsize::new(0));
    let hook = rung.clone();
    driver.on_ready(move || {
        hook.fetch_add(1, SeqCst);
    });
    driver.run_until_idle();
    assert_eq!(rung.load(SeqCst), 0);
    let sender = counter.clone();
    std::thread::spawn(move || {
        for _ in 0..3 {
            sender.cast(Add(1)).unwrap();
        }
    })
    .join()
    .unwrap();
    assert_eq!(rung.load(SeqCst), 1);
    while driver.tick(Budget::messages(10)) == Tick::More {}
    counter.cast(Add(1)).unwrap();
    assert_eq!(rung.load(SeqCst), 2);
    assert_eq!(counter.call(Get).wait(), Ok(4));
}

/// A few servers that talk, sleep and crash, by one seed.
fn story(seed: u64) -> String {
    struct Player(u64);
    struct Go(u64, ServerRef<Player>);
    impl GenServer for Player {
        type Args = u64;
        async fn init(n: u64, _: &mut Context<Self>) -> Result<Self, InitStop> {
            Ok(Player(n))
        }
    }
    impl HandleCast<Go> for Player {
        async fn handle_cast(&mut self, go: Go, cx: &mut Context<Self>) {
            self.0 = self.0.wrapping_mul(31).wrapping_add(go.0);
            if go.0 % 7 == 3 {
                cx.sleep(Duration::from_millis(self.0 % 5)).await;
            }
            if go.0 > 0 {
                let _ = go.1.cast(Go(go.0 - 1, cx.this()));
            }
            if self.0 % 97 == 5 {
                cx.stop(ExitReason::Timeout);
            }
        }
    }
    let (system, driver) = quiet().virtual_clock().seed(seed).record().manual();
    let players: Vec<_> = (0..8)
        .map(|n| system.start::<Player>(n).wait().unwrap())
        .collect();
    for (i, player) in players.iter().enumerate() {
        let _ = player.cast(Go(20 + i as u64, players[(i * 5 + 1) % 8].clone()));
    }
    driver.advance(Duration::from_secs(1));
    driver.take_log()
}

#[test]
fn the_same_seed_tells_the_same_story_byte_for_byte() {
    let stories: Vec<String> = (0..20).map(story).collect();
    for (seed, told) in stories.iter().enumerate() {
        assert!(told.lines().count() > 100);
        assert_eq!(*told, story(seed as u64));
    }
    let distinct: std::collections::HashSet<_> = stories.iter().collect();
    assert!(distinct.len() > 10, "seeds explore different schedules");
}

/// Counts its own drop, on the thread it belongs to.
struct Local(Rc<Cell<u32>>);
impl Drop for Local {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

fn local(driver: &Driver, drops: &Rc<Cell<u32>>) -> noex::Recipient<u32> {
    let state = Local(drops.clone());
    driver
        .spawn_local(move |mut cx: Inbox<u32>| async move {
            let sum = Rc::new(Cell::new(0));
            while let Received::Message(n) = cx.recv().await {
                sum.set(sum.get() + n);
                if n == 0 {
                    break;
                }
            }
            drop(state);
        })
        .unwrap()
}

#[test]
fn local_processes_keep_their_state_on_the_drivers_thread() {
    let (system, driver) = System::builder().manual();
    let drops = Rc::new(Cell::new(0));
    let (ends, stays) = (local(&driver, &drops), local(&driver, &drops));
    let to = ends.clone();
    std::thread::spawn(move || [1, 2, 0].map(|n| to.send(n).unwrap()))
        .join()
        .unwrap();
    driver.run_until_idle();
    assert_eq!(
        (drops.get(), ends.is_alive(), stays.is_alive()),
        (1, false, true)
    );
    // The system may go first, and on another thread: the state is dropped here.
    std::thread::spawn(move || drop(system)).join().unwrap();
    assert_eq!(drops.get(), 1);
    drop(driver);
    assert_eq!(drops.get(), 2);
}

#[test]
fn dropping_the_driver_ends_all_and_wakes_who_waits() {
    let (system, driver) = System::builder().manual();
    let counter = system.start::<Counter>(0).wait().unwrap();
    driver.run_until_idle();
    let call = counter.call_with(Get, None);
    drop(driver);
    assert_eq!(call.wait(), Err(CallError::Exited(ExitReason::Killed)));
    assert_eq!(counter.exit_reason(), Some(ExitReason::Killed));
}

#[test]
fn a_tick_within_a_tick_does_nothing() {
    let (_system, driver) = System::builder().manual();
    let driver = Rc::new(driver);
    let inner = driver.clone();
    let ran = Rc::new(Cell::new(None));
    let result = ran.clone();
    driver
        .spawn_local(move |_: Inbox<()>| async move {
            result.set(Some(inner.tick(Budget::messages(1))));
        })
        .unwrap();
    driver.run_until_idle();
    assert_eq!(ran.get(), Some(Tick::More));
}

#[test]
fn blocking_work_runs_inline_without_a_pool() {
    let (system, driver) = System::builder().manual();
    let here = std::thread::current().id();
    let (tell, told) = reports();
    system
        .spawn(move |cx: Inbox<()>| async move {
            let there = cx.blocking(|| std::thread::current().id()).await;
            let panics = cx.blocking(|| panic!("in the closure")).await;
            let _: Result<(), _> = tell.send((there, panics.is_err()));
        })
        .unwrap();
    driver.run_until_idle();
    assert_eq!(told.try_recv(), Ok((Ok(here), true)));
}
