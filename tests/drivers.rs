//! What the drivers promise beside behaviour: what is allocated and when, that a tick keeps to its
//! budget whatever the processes do, and that a host which sleeps until it is called misses nothing.
//!
//! Allocations are counted for each thread by itself, so tests beside each other do not meet.

mod support;

use std::alloc::{GlobalAlloc, Layout, System as Heap};
use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::mpsc::Receiver;
use std::task::Poll;
use std::time::{Duration, Instant};

use noex::prelude::*;
use noex::{
    AnyMessage, Budget, Down, Driver, Exit, Inbox, Process, Received, Recipient, ReplyTo, Tick,
};
use support::{DEADLINE, gate, quiet, reports};

thread_local! {
    static ALLOCATED: Cell<u64> = const { Cell::new(0) };
    static FREED: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: all is the system's allocator's; the counters are plain numbers and allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.set(ALLOCATED.get() + 1);
        // SAFETY: as the caller promises.
        unsafe { Heap.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.set(ALLOCATED.get() + 1);
        // SAFETY: as the caller promises.
        unsafe { Heap.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATED.set(ALLOCATED.get() + 1);
        // SAFETY: as the caller promises.
        unsafe { Heap.realloc(block, layout, size) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        FREED.set(FREED.get() + 1);
        // SAFETY: as the caller promises.
        unsafe { Heap.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// A server that answers, and sends on what it is sent.
struct Echo;

/// Goes to and fro so many times.
struct Ball<const SIZE: usize> {
    left: u32,
    to: ServerRef<Echo>,
    _ballast: [u8; SIZE],
}
struct Get;
struct Later;
/// Handled by a future that has no room in its envelope.
struct Heavy;

impl GenServer for Echo {
    type Args = ();
    async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Echo)
    }
}
impl<const SIZE: usize> HandleCast<Ball<SIZE>> for Echo {
    async fn handle_cast(&mut self, mut ball: Ball<SIZE>, cx: &mut Context<Self>) {
        if ball.left > 0 {
            ball.left -= 1;
            let to = std::mem::replace(&mut ball.to, cx.this());
            to.cast(ball).unwrap();
        }
    }
}
impl HandleCast<Heavy> for Echo {
    async fn handle_cast(&mut self, _: Heavy, _: &mut Context<Self>) {
        let ballast = std::hint::black_box([0u8; 1000]);
        std::future::ready(()).await;
        std::hint::black_box(&ballast);
    }
}
impl HandleCast<Get> for Echo {
    async fn handle_cast(&mut self, _: Get, _: &mut Context<Self>) {}
}
impl HandleInfo<Get> for Echo {
    async fn handle_info(&mut self, _: Get, _: &mut Context<Self>) {}
}
impl HandleCall<Get> for Echo {
    type Reply = u64;
    async fn handle_call(&mut self, _: Get, _: &mut Context<Self>) -> u64 {
        7
    }
}
impl HandleRequest<Later> for Echo {
    type Reply = u64;
    async fn handle_request(&mut self, _: Later, reply: ReplyTo<u64>, _: &mut Context<Self>) {
        reply.reply(7);
    }
}

/// What a process that is measured works with.
struct Tools {
    cx: Inbox<()>,
    one: ServerRef<Echo>,
    other: ServerRef<Echo>,
}

impl Tools {
    /// Waits until both servers have handled all they were sent, and sent each other.
    async fn drain(&self, rounds: u32) {
        for _ in 0..rounds {
            self.one.call(Get).await.unwrap();
            self.other.call(Get).await.unwrap();
        }
    }
}

const TIMES: u32 = 10_000;

/// How often `work` allocates on its own thread when it does something so many times, after as many to
/// warm up: on a scheduler thread, under a tick, and under ticks with seeds.
fn allocations_of<F>(work: impl Fn(Tools) -> F + Clone + Send + 'static) -> Vec<u64>
where
    F: Future<Output = Tools> + Send + 'static,
{
    let run = |system: &System| {
        let one = system.start::<Echo>(()).wait().unwrap();
        let other = system.start::<Echo>(()).wait().unwrap();
        let (tell, told) = reports();
        let work = work.clone();
        let process: Recipient<()> = system
            .spawn(move |cx: Inbox<()>| async move {
                let tools = work(Tools { cx, one, other }).await;
                let before = ALLOCATED.get();
                let _tools = work(tools).await;
                let _ = tell.send(ALLOCATED.get() - before);
            })
            .unwrap();
        assert_eq!(support::end_of(system, &process), ExitReason::Normal);
        told.try_recv().unwrap()
    };
    let mut all = vec![run(&quiet().schedulers(1).build().unwrap())];
    let (system, _driver) = quiet().manual();
    all.push(run(&system));
    for seed in 0..5 {
        let (system, _driver) = quiet().virtual_clock().auto_advance().seed(seed).manual();
        all.push(run(&system));
    }
    all
}

/// Whether it is `each` for each of the times, and a handful for all together.
fn is_each(counted: &[u64], each: u64) -> bool {
    let times = u64::from(TIMES) * each;
    counted.iter().all(|n| (times..=times + 20).contains(n))
}

#[test]
fn an_idle_tick_allocates_nothing() {
    for virtual_clock in [false, true] {
        let builder = if virtual_clock {
            quiet().virtual_clock()
        } else {
            quiet()
        };
        let (system, driver) = builder.manual();
        let servers: Vec<_> = (0..10)
            .map(|_| system.start::<Echo>(()).wait().unwrap())
            .collect();
        let sleeper: Recipient<()> = system
            .spawn(|cx: Inbox<()>| async move { cx.sleep(Duration::from_secs(3600)).await })
            .unwrap();
        driver.on_ready(|| {});
        driver.run_until_idle();
        let before = (ALLOCATED.get(), FREED.get());
        for _ in 0..1000 {
            assert_eq!(driver.tick(Budget::messages(10)), Tick::Idle);
            assert_eq!(driver.tick(Budget::time(DEADLINE)), Tick::Idle);
            driver.run_until_idle();
            assert!(driver.next_deadline().is_some());
        }
        assert_eq!((ALLOCATED.get(), FREED.get()), before);
        assert!(sleeper.is_alive() && servers.iter().all(ServerRef::is_alive));
    }
}

#[test]
#[cfg_attr(noex_no_recycling, ignore)]
fn messages_between_processes_are_recycled() {
    let casts = allocations_of(|tools| async move {
        let to = tools.other.clone();
        let left = TIMES;
        tools
            .one
            .cast(Ball {
                left,
                to,
                _ballast: [],
            })
            .unwrap();
        tools.drain(TIMES).await;
        tools
    });
    assert_eq!(casts, [0; 7]);
    let calls = allocations_of(|tools| async move {
        for _ in 0..TIMES / 2 {
            assert_eq!(tools.one.call(Get).await, Ok(7));
            assert_eq!(tools.other.call_with(Later, None).await, Ok(7));
        }
        tools
    });
    assert_eq!(calls, [0; 7]);
    let bursts = allocations_of(|tools| async move {
        for _ in 0..TIMES / 500 {
            for _ in 0..250 {
                tools.one.cast(Get).unwrap();
                tools.other.send(Get).unwrap();
            }
            tools.drain(1).await;
        }
        tools
    });
    assert_eq!(bursts, [0; 7]);
    let timers = allocations_of(|tools| async move {
        for _ in 0..TIMES / 1000 {
            for _ in 0..1000 {
                tools
                    .cx
                    .send_after(Duration::from_millis(1), &tools.one, Get);
            }
            tools.cx.sleep(Duration::from_millis(3)).await;
            tools.drain(1).await;
        }
        tools
    });
    assert_eq!(timers, [0; 7]);
}

#[test]
fn a_future_that_has_no_room_in_its_envelope_costs_one_allocation() {
    let heavy = allocations_of(|tools| async move {
        for _ in 0..TIMES / 100 {
            for _ in 0..100 {
                tools.one.cast(Heavy).unwrap();
            }
            tools.drain(1).await;
        }
        tools
    });
    assert!(is_each(&heavy, 1), "{heavy:?}");
}

/// A message of more than a quarter of a kilobyte, and a handler that drops it at once.
struct Large(#[allow(dead_code)] [u8; 300]);

impl HandleCast<Large> for Echo {
    fn handle_cast(&mut self, _: Large, _: &mut Context<Self>) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

#[test]
fn a_message_too_large_to_be_recycled_costs_one_allocation() {
    let large = allocations_of(|tools| async move {
        for _ in 0..TIMES / 100 {
            for _ in 0..100 {
                tools.one.cast(Large([0; 300])).unwrap();
            }
            tools.drain(1).await;
        }
        tools
    });
    assert!(is_each(&large, 1), "{large:?}");
}

#[test]
fn a_message_from_outside_costs_its_sender_one_allocation() {
    let (system, driver) = quiet().manual();
    let one = system.start::<Echo>(()).wait().unwrap();
    let times = u64::from(TIMES);
    let count = |send: &(dyn Fn() + Sync)| {
        let counted = std::thread::scope(|scope| {
            let outside = scope.spawn(|| {
                let before = ALLOCATED.get();
                (0..TIMES).for_each(|_| send());
                ALLOCATED.get() - before
            });
            outside.join().unwrap()
        });
        driver.run_until_idle();
        counted
    };
    // Queued on the first, so that the queue of processes has nothing to allocate for the others.
    let queue = 1;
    for counted in [
        count(&|| one.cast(Get).unwrap()),
        count(&|| one.send(Get).unwrap()),
        count(&|| drop(one.call(Get))),
    ] {
        assert!((times..=times + queue).contains(&counted), "{counted}");
    }
}

#[test]
#[cfg_attr(noex_no_recycling, ignore)]
fn what_the_host_of_a_driver_sends_between_ticks_is_recycled() {
    for seed in [None, Some(1)] {
        let builder = match seed {
            Some(seed) => quiet().seed(seed),
            None => quiet(),
        };
        let (system, driver) = builder.manual();
        let servers: Vec<_> = (0..100)
            .map(|_| system.start::<Echo>(()).wait().unwrap())
            .collect();
        let frame = || {
            for server in &servers {
                server.cast(Get).unwrap();
                server.send(Get).unwrap();
                assert_eq!(server.call(Get).wait(), Ok(7));
            }
            driver.run_until_idle();
        };
        (0..10).for_each(|_| frame());
        let before = (ALLOCATED.get(), FREED.get());
        (0..100).for_each(|_| frame());
        assert_eq!((ALLOCATED.get(), FREED.get()), before);
        let handled = system.stats().handled;
        assert!(handled >= 110 * 300, "{handled}");
    }
}

#[test]
#[cfg_attr(noex_no_recycling, ignore)]
fn a_process_costs_one_allocation_or_a_recycled_one() {
    let small = allocations_of(|mut tools| async move {
        for _ in 0..TIMES {
            let parent = tools.cx.this();
            let child = |_: Inbox<()>| async move { drop(parent.send(())) };
            tools.cx.spawn(child).unwrap();
            tools.cx.recv().await;
        }
        tools
    });
    assert_eq!(small, [0; 7]);
    // Too large to be recycled.
    let large = allocations_of(|mut tools| async move {
        for _ in 0..TIMES {
            let parent = tools.cx.this();
            let child = |cx: Inbox<()>| async move {
                let state = std::hint::black_box([0u8; 300]);
                cx.yield_now().await;
                std::hint::black_box(&state);
                drop(parent.send(()));
            };
            tools.cx.spawn(child).unwrap();
            tools.cx.recv().await;
        }
        tools
    });
    assert!(is_each(&large, 1), "{large:?}");
    let servers = allocations_of(|tools| async move {
        for _ in 0..TIMES {
            let server = tools.cx.system().start::<Brief>(()).await.unwrap();
            server.cast(Get).unwrap();
            while server.is_alive() {
                tools.cx.yield_now().await;
            }
        }
        tools
    });
    // The rarely used part of a process, in which the stop is noted, and the future of `terminate`.
    assert!(is_each(&servers, 2), "{servers:?}");
}

/// Stops at once.
struct Brief;
impl GenServer for Brief {
    type Args = ();
    async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Brief)
    }
}
impl HandleCast<Get> for Brief {
    async fn handle_cast(&mut self, _: Get, cx: &mut Context<Self>) {
        cx.stop(ExitReason::Normal);
    }
}

/// Counts what it does, each time for longer than the budget of the ticks.
#[derive(Clone, Default)]
struct Work(Arc<AtomicU32>);

const TICK: Duration = Duration::from_millis(1);

impl Work {
    fn work(&self) {
        self.0.fetch_add(1, SeqCst);
        let end = Instant::now() + TICK;
        while Instant::now() < end {
            std::hint::spin_loop();
        }
    }
    fn done(&self) -> u32 {
        self.0.load(SeqCst)
    }
}

/// Works in each of its callbacks, and before and after it waits in one.
struct Busy(Work);
struct Step;
struct Crash;
/// Nothing comes after it, so the server stops.
struct Last;

impl GenServer for Busy {
    type Args = Work;
    async fn init(work: Work, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        work.work();
        cx.trap_exit(true);
        let dead = cx
            .spawn(|_: Inbox<()>| async {})
            .map_err(ExitReason::error)?;
        cx.monitor(dead.pid());
        (0..3).for_each(|_| cx.continue_with(Step));
        Ok(Busy(work))
    }
    async fn handle_down(&mut self, _: Down, cx: &mut Context<Self>) {
        self.0.work();
        (0..3).for_each(|_| cx.continue_with(Step));
    }
    async fn handle_exit(&mut self, _: Exit, _: &mut Context<Self>) {
        self.0.work();
    }
    async fn handle_timeout(&mut self, cx: &mut Context<Self>) {
        self.0.work();
        cx.stop(ExitReason::Normal);
    }
    async fn handle_any(&mut self, _: AnyMessage, _: &mut Context<Self>) {
        self.0.work();
    }
    async fn terminate(&mut self, _: ExitReason, cx: &mut Context<Self>) {
        self.0.work();
        cx.yield_now().await;
        self.0.work();
    }
}
impl HandleContinue<Step> for Busy {
    async fn handle_continue(&mut self, _: Step, _: &mut Context<Self>) {
        self.0.work();
    }
}
impl HandleCast<Step> for Busy {
    async fn handle_cast(&mut self, _: Step, cx: &mut Context<Self>) {
        for _ in 0..3 {
            self.0.work();
            cx.yield_now().await;
        }
    }
}
impl HandleInfo<Step> for Busy {
    async fn handle_info(&mut self, _: Step, _: &mut Context<Self>) {
        self.0.work();
    }
}
impl HandleInfo<Last> for Busy {
    async fn handle_info(&mut self, _: Last, cx: &mut Context<Self>) {
        self.0.work();
        cx.set_timeout(TICK);
    }
}
impl HandleCall<Step> for Busy {
    type Reply = ();
    async fn handle_call(&mut self, _: Step, _: &mut Context<Self>) {
        self.0.work();
    }
}
impl HandleCast<Crash> for Busy {
    async fn handle_cast(&mut self, _: Crash, _: &mut Context<Self>) {
        self.0.work();
        panic!("and then terminate");
    }
}

/// Works for each message, and once when there is none.
struct Machine(Work);

impl Process for Machine {
    type Message = u32;
    fn poll(
        self: Pin<&mut Self>,
        inbox: &mut Inbox<u32>,
        _: &mut std::task::Context<'_>,
    ) -> Poll<ExitReason> {
        while let Some(received) = inbox.try_recv() {
            self.0.work();
            if matches!(received, Received::Message(0)) {
                return Poll::Ready(ExitReason::Normal);
            }
        }
        Poll::Pending
    }
}

/// Gives processes of every kind something to do; their pids.
fn busy(system: &System, work: &Work) -> Vec<Pid> {
    let start = |work: &Work| {
        let start = system.start::<Busy>(work.clone());
        system.server_ref::<Busy>(start.pid().unwrap()).unwrap()
    };
    let (stops, crashes) = (start(work), start(work));
    for server in [&stops, &crashes] {
        for _ in 0..2 {
            server.cast(Step).unwrap();
            server.send(Step).unwrap();
            drop(server.call(Step));
            system.send(server.pid(), "of any type");
        }
        system.send_after(TICK, server, Step);
    }
    crashes.cast(Crash).unwrap();
    let last = stops.clone();
    let mine = work.clone();
    let receives = system
        .spawn(move |mut cx: Inbox<u32>| async move {
            for _ in 0..3 {
                mine.work();
                cx.yield_now().await;
            }
            while let Received::Message(1..) = cx.recv().await {
                mine.work();
            }
            while cx.try_recv().is_some() {
                mine.work();
            }
            // Once it has answered it traps exits.
            last.call(Step).await.unwrap();
            cx.exit(last.pid(), ExitReason::Timeout);
            last.send(Last).unwrap();
        })
        .unwrap();
    let machine = system.spawn_process(Machine(work.clone())).unwrap();
    for n in [1, 2, 0, 3, 4] {
        receives.send(n).unwrap();
        machine.send(n).unwrap();
    }
    vec![stops.pid(), crashes.pid(), receives.pid(), machine.pid()]
}

/// The manual system with and without a seed.
fn manual_systems(test: impl Fn(&System, &Driver)) {
    let (system, driver) = quiet().manual();
    test(&system, &driver);
    for seed in 0..20 {
        let (system, driver) = quiet().seed(seed).manual();
        test(&system, &driver);
    }
}

#[test]
fn a_tick_overruns_its_time_by_one_callback_at_most_whatever_runs() {
    manual_systems(|system, driver| {
        let work = Work::default();
        let pids = busy(system, &work);
        let end = Instant::now() + DEADLINE;
        while pids.iter().any(|pid| system.is_alive(*pid)) {
            let before = work.done();
            driver.tick(Budget::time(TICK));
            assert!(work.done() <= before + 1, "{}", work.done() - before);
            assert!(Instant::now() < end);
        }
        assert!(work.done() > 40);
    });
}

#[test]
fn a_budget_of_messages_is_kept_by_processes_of_every_kind() {
    manual_systems(|system, driver| {
        let work = Work::default();
        let pids = busy(system, &work);
        let end = Instant::now() + DEADLINE;
        while pids.iter().any(|pid| system.is_alive(*pid)) {
            let before = (work.done(), system.stats().handled);
            driver.tick(Budget::messages(1));
            assert!(work.done() <= before.0 + 1);
            assert!(system.stats().handled <= before.1 + 1);
            assert!(Instant::now() < end);
        }
    });
}

#[test]
fn a_tick_ends_although_a_process_goes_on_for_ever() {
    /// Continues, and continues.
    struct Endless(Arc<AtomicU32>);
    impl GenServer for Endless {
        type Args = Arc<AtomicU32>;
        async fn init(count: Arc<AtomicU32>, cx: &mut Context<Self>) -> Result<Self, InitStop> {
            cx.continue_with(Step);
            Ok(Endless(count))
        }
    }
    impl HandleContinue<Step> for Endless {
        async fn handle_continue(&mut self, _: Step, cx: &mut Context<Self>) {
            self.0.fetch_add(1, SeqCst);
            cx.continue_with(Step);
        }
    }
    let counted = |start: &dyn Fn(&System, Arc<AtomicU32>) -> Pid| {
        manual_systems(|system, driver| {
            let count = Arc::new(AtomicU32::new(0));
            let pid = start(system, count.clone());
            assert_eq!(driver.tick(Budget::time(TICK)), Tick::More);
            // To begin with there is `init`, or the first time round.
            assert_eq!(driver.tick(Budget::messages(2)), Tick::More);
            let before = count.load(SeqCst);
            assert_eq!(driver.tick(Budget::messages(1000)), Tick::More);
            assert_eq!(count.load(SeqCst), before + 1000);
            system.exit(pid, ExitReason::Kill);
            driver.run_until_idle();
            assert!(!system.is_alive(pid));
        });
    };
    counted(&|system, count| system.start::<Endless>(count).pid().unwrap());
    counted(&|system, count| {
        let yields = |cx: Inbox<()>| async move {
            loop {
                count.fetch_add(1, SeqCst);
                cx.yield_now().await;
            }
        };
        system.spawn(yields).unwrap().pid()
    });
}

#[test]
fn a_budget_of_nothing_runs_nothing() {
    for nothing in [Budget::messages(0), Budget::time(Duration::ZERO)] {
        let (system, driver) = quiet().virtual_clock().manual();
        assert_eq!(driver.tick(nothing), Tick::Idle);
        let one = system.start::<Echo>(()).wait().unwrap();
        one.cast(Get).unwrap();
        let before = system.stats().handled;
        for _ in 0..10 {
            assert_eq!(driver.tick(nothing), Tick::More);
        }
        assert_eq!(system.stats().handled, before);
        driver.run_until_idle();
        assert_eq!(driver.tick(nothing), Tick::Idle);
        assert_eq!(system.stats().handled, before + 1);
    }
}

#[test]
fn a_huge_budget_is_no_limit() {
    let (system, driver) = quiet().manual();
    let one = system.start::<Echo>(()).wait().unwrap();
    for huge in [Budget::messages(u32::MAX), Budget::time(Duration::MAX)] {
        let before = system.stats().handled;
        for _ in 0..1000 {
            one.cast(Get).unwrap();
        }
        assert_eq!(driver.tick(huge), Tick::Idle);
        assert_eq!(system.stats().handled, before + 1000);
    }
}

/// A driver whose ready hook counts.
fn counting_hook(driver: &Driver) -> Arc<AtomicU32> {
    let rung = Arc::new(AtomicU32::new(0));
    let hook = rung.clone();
    driver.on_ready(move || {
        hook.fetch_add(1, SeqCst);
    });
    rung
}

#[test]
fn whatever_comes_from_outside_calls_the_ready_hook() {
    let (system, driver) = quiet().virtual_clock().manual();
    let one = system.start::<Echo>(()).wait().unwrap();
    let victim = system.start::<Echo>(()).wait().unwrap();
    let (held, opener) = gate();
    system.spawn(move |_: Inbox<()>| held).unwrap();
    let rung = counting_hook(&driver);
    let handle = system.handle();
    let second = Duration::from_secs(1);
    type Input = Box<dyn FnOnce() + Send>;
    let inputs: Vec<Input> = vec![
        Box::new({
            let one = one.clone();
            move || one.cast(Get).unwrap()
        }),
        Box::new({
            let one = one.clone();
            move || drop(one.call(Get))
        }),
        Box::new({
            let (handle, pid) = (handle.clone(), one.pid());
            move || handle.send(pid, Get)
        }),
        Box::new({
            let (handle, pid) = (handle.clone(), victim.pid());
            move || handle.exit(pid, ExitReason::Kill)
        }),
        Box::new({
            let handle = handle.clone();
            move || drop(handle.spawn(|_: Inbox<()>| async {}).unwrap())
        }),
        Box::new({
            let handle = handle.clone();
            move || drop(handle.start::<Echo>(()))
        }),
        Box::new({
            let (handle, pid) = (handle.clone(), one.pid());
            move || drop(handle.process_info(pid))
        }),
        Box::new(move || opener.open()),
        Box::new({
            let (handle, one) = (handle.clone(), one.clone());
            move || {
                handle.send_after(second, &one, Get);
            }
        }),
        Box::new({
            let one = one.clone();
            move || drop(one.stop(ExitReason::Normal))
        }),
    ];
    for (i, input) in inputs.into_iter().enumerate() {
        driver.run_until_idle();
        let before = rung.load(SeqCst);
        std::thread::spawn(input).join().unwrap();
        assert_eq!(rung.load(SeqCst), before + 1, "input {i}");
        driver.run_until_idle();
        assert_eq!(
            rung.load(SeqCst),
            before + 1,
            "what a tick does calls nobody"
        );
    }
    assert!(!victim.is_alive() && !one.is_alive());
}

#[test]
fn a_timer_that_is_earlier_than_what_the_host_knows_calls_it_whatever_was_cancelled() {
    let ms = Duration::from_millis;
    let (system, driver) = quiet().virtual_clock().manual();
    let one = system.start::<Echo>(()).wait().unwrap();
    let rung = counting_hook(&driver);
    let handle = system.handle();
    // From another thread, while the host sleeps until what it was told.
    let arm = |after: Duration| {
        let before = rung.load(SeqCst);
        let (handle, one) = (handle.clone(), one.clone());
        let arm = move || handle.send_after(after, &one, Get);
        let timer = std::thread::spawn(arm).join().unwrap();
        (timer, rung.load(SeqCst) - before)
    };
    let cancelled = system.send_after(ms(70), &one, Get);
    system.cancel_timer(cancelled);
    driver.run_until_idle();
    assert_eq!(driver.next_deadline(), None);
    let (late, called) = arm(ms(100));
    assert_eq!((called, driver.next_deadline()), (1, Some(ms(100))));
    let cancelled = system.send_after(ms(70), &one, Get);
    system.cancel_timer(cancelled);
    driver.run_until_idle();
    assert_eq!(driver.next_deadline(), Some(ms(100)));
    let (early, called) = arm(ms(80));
    assert_eq!((called, driver.next_deadline()), (1, Some(ms(80))));
    let before = system.stats().handled;
    driver.advance(ms(80));
    assert_eq!(system.stats().handled, before + 1);
    assert_eq!(system.cancel_timer(early), None);
    assert_eq!(system.cancel_timer(late), Some(ms(20)));
}

/// Runs the system as a host does that has other work: a few messages at a time, asleep in between
/// until it is called or a timer is due.
fn host(driver: &Driver, bell: &Receiver<()>, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < end, "it never came to that");
        if driver.tick(Budget::messages(3)) == Tick::Idle && !done() {
            match driver.next_deadline() {
                Some(left) => drop(bell.recv_timeout(left)),
                None => bell.recv_timeout(DEADLINE).expect("to be called"),
            }
        }
    }
}

#[test]
fn a_host_that_sleeps_until_it_is_called_or_a_timer_is_due_misses_nothing() {
    const ROUNDS: u32 = 300;
    let (system, driver) = quiet().manual();
    let (ring, bell) = reports();
    driver.on_ready(move || ring.send(()).unwrap_or_default());
    let count = Arc::new(AtomicU32::new(0));
    let start = system.start::<Tally>(count.clone());
    host(&driver, &bell, || count.load(SeqCst) == 1);
    let tally = start.wait().unwrap();
    let named = system.handle();
    named.register("tally", tally.pid()).unwrap();
    let outside: Vec<_> = (0..3)
        .map(|kind| {
            let (tally, handle) = (tally.clone(), system.handle());
            std::thread::spawn(move || {
                for round in 0..ROUNDS {
                    match kind {
                        // Waits for the answer before it goes on: each is new input.
                        0 => tally.call(Get).wait_timeout(DEADLINE).unwrap(),
                        1 => {
                            let left = handle.send_after(Duration::from_millis(2), &tally, Get);
                            if round % 3 == 0 && handle.cancel_timer(left).is_some() {
                                tally.send(Get).unwrap();
                            }
                        }
                        _ => {
                            let (held, opener) = gate();
                            let tally = tally.clone();
                            let waits: Recipient<()> = handle
                                .spawn(move |_| async move {
                                    held.await;
                                    tally.send(Get).unwrap();
                                })
                                .unwrap();
                            opener.open();
                            let gone = handle.monitor(waits.pid()).wait_timeout(DEADLINE);
                            assert!(gone.is_ok());
                        }
                    }
                }
            })
        })
        .collect();
    host(&driver, &bell, || count.load(SeqCst) == 1 + 3 * ROUNDS);
    // The last to be answered wait for nothing more than the tick that counted them, and a monitor.
    while outside.iter().any(|thread| !thread.is_finished()) {
        driver.run_until_idle();
    }
    outside
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

/// Counts what it is told, its start too.
struct Tally(Arc<AtomicU32>);
impl GenServer for Tally {
    type Args = Arc<AtomicU32>;
    async fn init(count: Arc<AtomicU32>, _: &mut Context<Self>) -> Result<Self, InitStop> {
        count.fetch_add(1, SeqCst);
        Ok(Tally(count))
    }
}
impl HandleInfo<Get> for Tally {
    async fn handle_info(&mut self, _: Get, _: &mut Context<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}
impl HandleCall<Get> for Tally {
    type Reply = ();
    async fn handle_call(&mut self, _: Get, _: &mut Context<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}
