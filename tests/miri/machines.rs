//! What is polled, and what runs by the clock: hand-written processes, timers, budgets, state machines.

use super::*;

/// Takes one message a poll, so that it is polled again; and ends with what it has.
struct Machine(Vec<Arc<u32>>, std::sync::mpsc::Sender<Vec<Arc<u32>>>);
impl Process for Machine {
    type Message = Arc<u32>;
    fn poll(
        mut self: Pin<&mut Self>,
        inbox: &mut Inbox<Arc<u32>>,
        _: &mut TaskContext<'_>,
    ) -> Poll<ExitReason> {
        match inbox.try_recv() {
            Some(Received::Message(n)) if *n == 0 => {
                let all = std::mem::take(&mut self.0);
                self.1.send(all).unwrap();
                Poll::Ready(ExitReason::Normal)
            }
            Some(Received::Message(n)) => {
                self.0.push(n);
                Poll::Pending
            }
            _ => Poll::Pending,
        }
    }
}

#[test]
fn miri_a_state_machine_is_polled_for_each_message() {
    let (system, driver) = manual();
    let (send, receive) = std::sync::mpsc::channel();
    let machine = system.spawn_process(Machine(Vec::new(), send)).unwrap();
    for n in [1, 2, 0, 3] {
        machine.send(Arc::new(n)).unwrap();
    }
    driver.run_until_idle();
    assert_eq!(receive.try_recv().unwrap(), [Arc::new(1), Arc::new(2)]);
    machine.send(Arc::new(4)).unwrap();
    assert!(!machine.is_alive());
}

#[test]
fn miri_processes_that_are_not_send_run_on_the_drivers_thread() {
    let (_system, driver) = manual();
    let seen = std::rc::Rc::new(std::cell::Cell::new(0));
    let own = seen.clone();
    let process = driver
        .spawn_local(move |mut inbox: Inbox<u32>| async move {
            while let Received::Message(n) = inbox.recv().await {
                own.set(own.get() + n);
            }
        })
        .unwrap();
    process.send(2).unwrap();
    process.send(3).unwrap();
    driver.run_until_idle();
    assert_eq!((seen.get(), std::rc::Rc::strong_count(&seen)), (5, 2));
    drop(driver);
    assert_eq!(std::rc::Rc::strong_count(&seen), 1);
}

#[test]
fn miri_timers_fire_are_cancelled_and_repeat_on_a_virtual_clock() {
    let (system, driver) = manual();
    let (server, drops) = (start(&system), Drops::default());
    system.send_after(SECOND, &server.recipient::<Say>(), Say("once"));
    let cancelled = system.send_after(SECOND, &server.recipient::<Say>(), Say("never"));
    assert_eq!(system.cancel_timer(cancelled), Some(SECOND));
    let sink = system
        .spawn(|mut inbox: Inbox<Arc<Dropped>>| async move {
            while !matches!(inbox.recv().await, Received::Exit(_)) {}
        })
        .unwrap();
    let tick = system.send_interval(SECOND, &sink, Arc::new(drops.one()));
    driver.advance(3 * SECOND);
    assert_eq!(lines(&server), ["info once"]);
    system.cancel_timer(tick);
    driver.advance(3 * SECOND);
    assert_eq!(drops.count(), 1);
    // One that never fires.
    system.send_after(SECOND, &server.recipient::<Say>(), Say("too late"));
}

#[test]
fn miri_a_budget_stops_a_tick_between_messages() {
    let (system, driver) = manual();
    let server = start(&system);
    for _ in 0..3 {
        server.cast(Say("a")).unwrap();
    }
    assert_eq!(driver.tick(Budget::messages(2)), Tick::More);
    assert_eq!(driver.tick(Budget::messages(2)), Tick::Idle);
    assert_eq!(lines(&server).len(), 3);
    let ready = Arc::new(Bell(0.into()));
    let hook = ready.clone();
    driver.on_ready(move || {
        hook.0.fetch_add(1, Relaxed);
    });
    server.cast(Say("a")).unwrap();
    server.cast(Say("a")).unwrap();
    assert_eq!(ready.0.load(Relaxed), 1);
}

/// On threads, for Miri's sake: it says when two turns of a process are not ordered. Not with stacked
/// borrows, nor with a look for leaks, both for crossbeam-epoch's sake: hence the name without `miri_`.
#[test]
fn on_threads_a_server_that_wanders_keeps_its_state() {
    let system = System::builder()
        .schedulers(2)
        .on_event(|_| {})
        .build()
        .unwrap();
    let (one, other) = (start(&system), start(&system));
    let wait = Duration::from_secs(600);
    let senders = [(one.clone(), "a"), (other.clone(), "b")].map(|(to, line)| {
        std::thread::spawn(move || {
            for _ in 0..5 {
                to.cast(Say(line)).unwrap();
                to.call_with(Lines, wait).wait().unwrap();
            }
        })
    });
    for _ in 0..3 {
        one.call_with(CallOn(other.clone()), wait)
            .wait()
            .unwrap()
            .unwrap();
    }
    for sender in senders {
        sender.join().unwrap();
    }
    for server in [&one, &other] {
        assert_eq!(server.call_with(Lines, wait).wait().unwrap().len(), 5);
    }
    system.exit(one.pid(), ExitReason::Kill);
    let monitor = system.monitor(one.pid());
    assert!(monitor.wait_timeout(wait).is_ok());
}

/// A state machine: what it postpones and keeps, and timers that fire, are stopped, and are left.
struct Lockable {
    kept: Option<ReplyTo<u32>>,
    _drops: Dropped,
}

enum Happens {
    Ask(ReplyTo<u32>),
    Keep(ReplyTo<u32>),
    Open,
    Timeout(Dropped),
}

impl noex::GenStateMachine for Lockable {
    type Args = Drops;
    type State = bool;
    type Event = Happens;
    type Timeout = u32;

    async fn init(
        drops: Drops,
        _: &mut noex::MachineContext<Self>,
    ) -> Result<noex::Initial<Self>, InitStop> {
        let machine = Lockable {
            kept: None,
            _drops: drops.one(),
        };
        Ok(noex::Initial::new(machine, false)
            .state_timeout(SECOND, Happens::Timeout(drops.one()))
            .timeout(1, SECOND, Happens::Timeout(drops.one()))
            .timeout(2, 100 * SECOND, Happens::Timeout(drops.one())))
    }

    async fn handle_event(
        &mut self,
        open: &bool,
        event: Happens,
        cx: &mut noex::MachineContext<Self>,
    ) -> noex::Next<Self> {
        match event {
            Happens::Keep(reply) => {
                self.kept = Some(reply);
                noex::Next::keep_state()
            }
            event @ Happens::Ask(_) if !open => noex::Next::keep_state().postpone(event),
            Happens::Ask(reply) => {
                cx.yield_now().await;
                noex::Next::keep_state().reply(reply, 1)
            }
            Happens::Open => noex::Next::state(true),
            Happens::Timeout(_dropped) => noex::Next::keep_state(),
        }
    }
}

#[test]
fn miri_a_state_machine_and_its_timers() {
    let (system, driver) = manual();
    let drops = Drops::default();
    let machine = system.start::<noex::Machine<Lockable>>(drops.clone());
    driver.run_until_idle();
    let machine = machine.wait().unwrap();
    let asks = machine.request(Happens::Ask);
    let kept = machine.request(Happens::Keep);
    driver.run_until_idle();
    machine.cast(Happens::Open).unwrap(); // takes the state timeout back
    driver.run_until_idle();
    assert_eq!((asks.wait(), drops.count()), (Ok(1), 1));
    driver.advance(2 * SECOND);
    assert_eq!(drops.count(), 2);
    system.exit(machine.pid(), ExitReason::Kill);
    driver.run_until_idle();
    assert_eq!(kept.wait(), Err(CallError::Exited(ExitReason::Killed)));
    assert_eq!(drops.count(), 4);
    driver.advance(200 * SECOND);
    assert_eq!(system.stats().undelivered, 0);
}
