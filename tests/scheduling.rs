//! Who runs when: priorities, turns and yields, handlers that take long, processes that never let go,
//! work for the pool of blocking threads, and silence when there is nothing to do.

mod puppet;
mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use noex::prelude::*;
use noex::{Budget, CallError, Event, Inbox, Priority, Received, Recipient, SpawnOptions};
use puppet::{Gate, Note, Puppet, Strings, Told, act, answer, at_once, done, end_of, puppet};
use support::{DEADLINE, next, on_all, pump, quiet, reports, settled};

fn silent() -> Strings {
    Strings::new(&reports().0)
}

#[test]
fn blocking_work_gives_its_result_or_its_panic_on_every_driver() {
    on_all(|system| {
        let it = puppet(system, silent());
        let seen = answer(it.call(act(|_, cx| {
            Box::pin(async move {
                let value = cx.blocking(|| 7).await;
                let panicked = cx.blocking(|| -> u32 { panic!("in the closure") }).await;
                (value, panicked)
            })
        })));
        let (value, panicked) = seen.unwrap();
        assert_eq!(value, Ok(7));
        let Err(CallError::Exited(ExitReason::Panic(panic))) = panicked else {
            panic!("{panicked:?}")
        };
        assert_eq!(panic.message(), "in the closure");
        assert!(it.is_alive());
    });
}

#[test]
fn work_may_block_on_calls_to_the_very_system_it_came_from() {
    let system = quiet().schedulers(1).build().unwrap();
    let (it, other) = (puppet(&system, silent()), puppet(&system, silent()));
    let called = answer(it.call(act(move |_, cx| {
        Box::pin(cx.blocking(move || other.call(Note(3)).wait_timeout(DEADLINE)))
    })));
    assert_eq!(called, Ok(Ok(Ok(3))));
}

#[test]
fn more_work_than_threads_is_all_done() {
    let system = quiet().schedulers(1).blocking_threads(2).build().unwrap();
    let (tell, told) = reports();
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for n in 0..50u32 {
        let (tell, running, most) = (tell.clone(), running.clone(), most.clone());
        system
            .spawn(move |cx: Inbox<()>| async move {
                let result = cx
                    .blocking(move || {
                        most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                        std::thread::yield_now();
                        running.fetch_sub(1, SeqCst);
                        n
                    })
                    .await;
                let _ = tell.send(result);
            })
            .unwrap();
    }
    let mut seen: Vec<u32> = (0..50).map(|_| next(&system, &told).unwrap()).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..50).collect::<Vec<_>>());
    assert!(most.load(SeqCst) <= 2);
}

/// Panics when it is dropped.
struct Rude;
impl Drop for Rude {
    fn drop(&mut self) {
        panic!("rude");
    }
}

#[test]
fn a_result_nobody_wants_is_dropped_even_if_it_panics_and_its_thread_works_on() {
    let system = quiet().schedulers(1).blocking_threads(1).build().unwrap();
    for _ in 0..3 {
        let (started, begun) = channel::<()>();
        let (release, held) = channel::<()>();
        let process = system
            .spawn(move |cx: Inbox<()>| async move {
                let work = cx.blocking(move || {
                    let _ = started.send(());
                    let _ = held.recv();
                    Rude
                });
                std::mem::forget(work.await);
            })
            .unwrap();
        begun.recv_timeout(DEADLINE).unwrap();
        system.exit(process.pid(), ExitReason::Kill);
        let down = system.monitor(process.pid()).wait_timeout(DEADLINE);
        assert!(down.is_ok(), "it dies at once, though its work goes on");
        drop(release);
        // The one thread of the pool is free again.
        let it = puppet(&system, silent());
        let call = it.call(act(|_, cx| Box::pin(cx.blocking(|| 5))));
        assert_eq!(answer(call), Ok(Ok(5)));
    }
}

/// Spins until `until`, or the deadline.
fn spin(until: impl Fn() -> bool) -> bool {
    let end = Instant::now() + DEADLINE;
    while !until() {
        if Instant::now() > end {
            return false;
        }
        std::hint::spin_loop();
    }
    true
}

#[test]
fn a_long_turn_is_reported_with_what_it_handles_and_nothing_else() {
    let reports = Arc::new(Mutex::new(Vec::<(Pid, Option<&'static str>)>::new()));
    let hook = reports.clone();
    let system = System::builder()
        .schedulers(1)
        .long_handler(Duration::from_millis(15))
        .on_event(move |event| {
            if let Event::LongHandler {
                pid,
                message,
                running,
                ..
            } = event
            {
                assert!(*running >= Duration::from_millis(15));
                hook.lock().unwrap().push((*pid, *message));
            }
        })
        .build()
        .unwrap();
    let reported = {
        let reports = reports.clone();
        move |pid: Pid| {
            reports
                .lock()
                .unwrap()
                .iter()
                .find(|(of, _)| *of == pid)
                .map(|(_, message)| message.map(str::to_owned))
        }
    };
    // One waits in the handler of a `Do`, and leaves the thread to others.
    let gate = Gate::new();
    let waits = puppet(&system, silent());
    let (at, reported_at) = (gate.clone(), reported.clone());
    let pid = waits.pid();
    let resumed = waits.call_with(
        act(move |_, _| {
            Box::pin(async move {
                at.pass().await;
                spin(|| reported_at(pid).is_some())
            })
        }),
        None,
    );
    while gate.waiting() == 0 {
        pump(&system);
    }
    // A process without handlers spins: it handles no message, certainly not the other's.
    let seen = reported.clone();
    let spins = system
        .spawn(move |cx: Inbox<()>| async move {
            let pid = cx.pid();
            spin(|| seen(pid).is_some());
        })
        .unwrap();
    system.monitor(spins.pid()).wait_timeout(DEADLINE).unwrap();
    assert_eq!(reported(spins.pid()), Some(None));
    // A handler that goes on after its wait is still that of its message.
    gate.open();
    assert_eq!(answer(resumed), Ok(true));
    let message = reported(pid).expect("a report").expect("a message");
    assert!(message.contains("Do<bool>"), "{message}");
}

#[test]
fn what_is_queued_behind_a_stuck_handler_runs_elsewhere_with_its_messages_in_order() {
    let system = quiet().schedulers(2).build().unwrap();
    for _ in 0..5 {
        let (tell, told) = reports();
        let servers: Vec<ServerRef<Puppet>> = (0..20)
            .map(|_| puppet(&system, Strings::new(&tell)))
            .collect();
        let count = Arc::new(AtomicUsize::new(0));
        let seen = count.clone();
        // Wakes twenty from inside its turn (the last lies in the slot), and spins until all have run.
        let all = servers.clone();
        let stuck = puppet(&system, silent());
        let call = stuck.call_with(
            at_once(move |_, _| {
                for server in &all {
                    for _ in 0..3 {
                        let seen = seen.clone();
                        let _ = server.cast(at_once(move |_, _| {
                            seen.fetch_add(1, SeqCst);
                        }));
                    }
                }
                spin(|| count.load(SeqCst) == 60)
            }),
            None,
        );
        assert_eq!(answer(call), Ok(true), "they ran while it was stuck");
        drop(told);
    }
}

#[test]
fn who_never_stops_lets_everybody_else_run() {
    // A server that sends to itself, a pair that keep each other awake, one that continues, one that
    // yields, and one that wakes itself, all for ever, on one thread; timers and others still get
    // their turn.
    struct Busy;
    struct Again(Option<ServerRef<Busy>>);
    impl GenServer for Busy {
        type Args = ();
        async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
            Ok(Busy)
        }
    }
    impl HandleCast<Again> for Busy {
        async fn handle_cast(&mut self, again: Again, cx: &mut Context<Self>) {
            cx.consume(10);
            let _ = match again.0 {
                Some(other) => other.cast(Again(Some(cx.this()))),
                None => cx.this().cast(Again(None)),
            };
        }
    }
    impl HandleContinue<Again> for Busy {
        async fn handle_continue(&mut self, again: Again, cx: &mut Context<Self>) {
            cx.continue_with(again);
        }
    }
    struct Continue;
    impl HandleCast<Continue> for Busy {
        async fn handle_cast(&mut self, _: Continue, cx: &mut Context<Self>) {
            cx.continue_with(Again(None));
        }
    }
    let run = |system: &System| {
        let start = || system.start::<Busy>(()).wait_timeout(DEADLINE).unwrap();
        let continues = start();
        continues.cast(Continue).unwrap();
        let wakes: Recipient<()> = system
            .spawn(|_| {
                std::future::poll_fn(|cx| {
                    cx.waker().wake_by_ref();
                    std::task::Poll::<()>::Pending
                })
            })
            .unwrap();
        let (own, one, other) = (start(), start(), start());
        own.cast(Again(None)).unwrap();
        one.cast(Again(Some(other))).unwrap();
        let yields = system
            .spawn(|cx: Inbox<()>| async move {
                while cx.system().now() < DEADLINE {
                    cx.yield_now().await;
                }
            })
            .unwrap();
        // Low priority is no reason to starve.
        let low = SpawnOptions::new().priority(Priority::Low);
        let (ran, runs) = reports();
        let low: Recipient<()> = system
            .spawn_with(low, move |_| async move { ran.send(()).unwrap() })
            .unwrap();
        assert_eq!(runs.recv_timeout(DEADLINE), Ok(()));
        system.monitor(low.pid()).wait_timeout(DEADLINE).unwrap();
        let (tell, told) = reports();
        let it = puppet(system, Strings::new(&tell));
        for n in 0..10 {
            assert_eq!(answer(it.call(Note(n))), Ok(n));
            assert_eq!(told.try_recv(), Ok(Told::Note(n)));
        }
        let timer = Instant::now();
        system.send_after(Duration::from_millis(2), &it, Note(99));
        assert_eq!(told.recv_timeout(DEADLINE), Ok(Told::Note(99)));
        assert!(timer.elapsed() >= Duration::from_millis(2));
        let all = [
            own.pid(),
            one.pid(),
            continues.pid(),
            yields.pid(),
            wakes.pid(),
        ];
        for pid in all {
            // None can keep a kill waiting.
            system.exit(pid, ExitReason::Kill);
            system.monitor(pid).wait_timeout(DEADLINE).unwrap();
        }
        settled(system);
    };
    for threads in [1, 2] {
        run(&quiet().schedulers(threads).build().unwrap());
    }
}

/// A server whose messages take a while, each.
struct Slow(Arc<AtomicUsize>);
struct Work(Duration);
impl GenServer for Slow {
    type Args = Arc<AtomicUsize>;
    async fn init(handled: Self::Args, _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Slow(handled))
    }
}
impl HandleCast<Work> for Slow {
    async fn handle_cast(&mut self, Work(time): Work, _: &mut Context<Self>) {
        let end = Instant::now() + time;
        spin(|| Instant::now() >= end);
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_turn_of_long_messages_is_over_though_its_budget_is_not() {
    let system = quiet().schedulers(1).budget(100_000).build().unwrap();
    let handled = Arc::new(AtomicUsize::new(0));
    let slow = system.start::<Slow>(handled.clone()).wait().unwrap();
    let it = puppet(&system, silent());
    for _ in 0..5_000 {
        slow.cast(Work(Duration::from_millis(1))).unwrap();
    }
    assert!(spin(|| handled.load(SeqCst) > 0), "it has begun");
    assert_eq!(answer(it.call(Note(1))), Ok(1));
    let before = handled.load(SeqCst);
    assert!(before < 2_500, "{before} messages were handled first");
    system.exit(slow.pid(), ExitReason::Kill);
}

#[test]
fn who_comes_from_outside_does_not_wait_for_many_long_turns() {
    // Each message is a turn of its own, longer than the watchdog's look.
    let system = quiet().schedulers(1).budget(1).build().unwrap();
    let handled = Arc::new(AtomicUsize::new(0));
    let slow = [(); 2].map(|()| system.start::<Slow>(handled.clone()).wait().unwrap());
    let it = puppet(&system, silent());
    for slow in &slow {
        for _ in 0..500 {
            slow.cast(Work(Duration::from_millis(25))).unwrap();
        }
    }
    assert!(spin(|| handled.load(SeqCst) > 0), "they have begun");
    for n in 0..3 {
        assert_eq!(answer(it.call(Note(n))), Ok(n));
    }
    // By their number alone others would be looked at every 61 turns.
    let turns = handled.load(SeqCst);
    assert!(turns < 60, "{turns} turns came first");
    for slow in &slow {
        system.exit(slow.pid(), ExitReason::Kill);
    }
}

#[test]
fn a_yield_lets_all_who_are_queued_run_first() {
    let (system, driver) = quiet().manual();
    let order = Arc::new(Mutex::new(Vec::new()));
    let shared = order.clone();
    system
        .spawn(move |cx: Inbox<()>| async move {
            for name in ["a", "b", "c"] {
                let order = shared.clone();
                let run = move |cx: Inbox<()>| async move {
                    for round in 0..3 {
                        order.lock().unwrap().push((round, name));
                        cx.yield_now().await;
                    }
                };
                cx.spawn(run).unwrap();
            }
        })
        .unwrap();
    driver.run_until_idle();
    let seen = order.lock().unwrap().clone();
    let rounds: Vec<i32> = seen.iter().map(|(round, _)| *round).collect();
    assert_eq!(rounds, [0, 0, 0, 1, 1, 1, 2, 2, 2], "{seen:?}");
}

#[test]
fn a_consumed_budget_ends_the_turn_after_the_handler() {
    let (system, driver) = quiet().budget(100).manual();
    let (tell, told) = reports();
    let (greedy, other) = (
        puppet(&system, silent()),
        puppet(&system, Strings::new(&tell)),
    );
    let handled = Arc::new(AtomicUsize::new(0));
    driver.run_until_idle();
    let target = other.clone();
    greedy
        .cast(at_once(move |_, _| target.cast(Note(0)).unwrap()))
        .unwrap();
    for _ in 0..5 {
        let handled = handled.clone();
        greedy
            .cast(at_once(move |_, cx| {
                handled.fetch_add(1, SeqCst);
                cx.consume(1000);
            }))
            .unwrap();
    }
    let at = handled.clone();
    other
        .cast(at_once(move |puppet, _| {
            puppet.tell(Told::Note(at.load(SeqCst) as u32))
        }))
        .unwrap();
    driver.run_until_idle();
    let seen: Vec<Told> = told.try_iter().collect();
    assert!(
        seen.contains(&Told::Note(0))
            && seen
                .iter()
                .any(|told| matches!(told, Told::Note(n) if *n <= 1)),
        "{seen:?}"
    );
    assert_eq!(handled.load(SeqCst), 5);
}

#[test]
fn a_process_that_awaits_only_what_is_there_lets_others_run_and_can_be_killed() {
    // On one thread: each would keep it for ever, and nobody could even start what it waits for.
    let run = |system: &System| {
        let dead = puppet(system, silent());
        dead.stop(ExitReason::Normal)
            .wait_timeout(DEADLINE)
            .unwrap();
        let name = system.server::<Puppet>("late");
        let (tell, told) = reports();
        let retries = system
            .spawn(move |_: Inbox<()>| async move {
                while name.call(Note(1)).await.is_err() {}
                let _ = tell.send(());
            })
            .unwrap();
        let calls = system
            .spawn(move |_: Inbox<()>| async move { while dead.call(Note(1)).await.is_err() {} })
            .unwrap();
        let sleeps = system
            .spawn(|cx: Inbox<()>| async move {
                loop {
                    cx.sleep(Duration::ZERO).await;
                }
            })
            .unwrap();
        pump(system);
        system
            .start_with::<Puppet>(silent(), ServerOptions::new().name("late"))
            .wait_timeout(DEADLINE)
            .unwrap();
        next(system, &told);
        system
            .monitor(retries.pid())
            .wait_timeout(DEADLINE)
            .unwrap();
        for pid in [calls.pid(), sleeps.pid()] {
            system.exit(pid, ExitReason::Kill);
            system.monitor(pid).wait_timeout(DEADLINE).unwrap();
        }
    };
    run(&quiet().schedulers(1).build().unwrap());
    let (system, _driver) = quiet().virtual_clock().auto_advance().manual();
    run(&system);
}

#[test]
fn a_receive_that_does_not_wait_sees_all_that_is_there() {
    for budget in [1, 7, 256] {
        let (system, driver) = quiet().budget(budget).manual();
        let (tell, told) = reports();
        let receiver = system
            .spawn(move |mut cx: Inbox<u32>| async move {
                cx.recv().await;
                let mut seen = 1;
                while cx.recv_timeout(Duration::ZERO).await.is_some() {
                    seen += 1;
                }
                let _ = tell.send(seen);
            })
            .unwrap();
        for n in 0..1000 {
            receiver.send(n).unwrap();
        }
        driver.run_until_idle();
        assert_eq!(told.try_recv(), Ok(1000));
    }
}

#[test]
fn a_process_that_only_looks_into_its_mailbox_can_be_killed() {
    let system = quiet().schedulers(1).build().unwrap();
    let running = Arc::new(AtomicBool::new(false));
    let run = running.clone();
    let process = system
        .spawn(move |mut cx: Inbox<u32>| async move {
            run.store(true, SeqCst);
            loop {
                if let Some(Received::Message(0)) = cx.recv_timeout(Duration::ZERO).await {
                    return;
                }
            }
        })
        .unwrap();
    assert!(spin(|| running.load(SeqCst)));
    process.send(1).unwrap();
    system.exit(process.pid(), ExitReason::Kill);
    system
        .monitor(process.pid())
        .wait_timeout(DEADLINE)
        .unwrap();
    assert_eq!(process.exit_reason(), Some(ExitReason::Killed));
    let it = puppet(&system, silent());
    done(&it, |_, cx| cx.stop(ExitReason::Normal));
    assert_eq!(end_of(&system, &it), ExitReason::Normal);
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

#[test]
fn a_low_process_gets_its_turn_between_normal_ones_with_a_seed_as_well() {
    let mut seeds = (0..20).map(Some).collect::<Vec<_>>();
    seeds.push(None);
    for seed in seeds {
        let builder = quiet().budget(1);
        let (system, driver) = match seed {
            Some(seed) => builder.seed(seed).manual(),
            None => builder.manual(),
        };
        let busy = |mut cx: Inbox<()>| async move {
            let me = cx.this();
            loop {
                me.send(()).unwrap();
                cx.recv().await;
            }
        };
        system.spawn(busy).unwrap();
        let (ran, runs) = reports();
        let options = SpawnOptions::new().priority(Priority::Low);
        let _: Recipient<()> = system
            .spawn_with(options, move |_| async move { ran.send(()).unwrap() })
            .unwrap();
        driver.tick(Budget::messages(5000));
        assert_eq!(runs.try_recv(), Ok(()), "{seed:?}");
    }
}

#[test]
fn an_idle_system_wakes_nobody() {
    let system = quiet().schedulers(4).build().unwrap();
    let it = puppet(&system, silent());
    assert!(it.is_alive());
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
