//! The timer service through the public API.

mod support;

use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use noex::prelude::*;
use noex::services::{ScheduledTimer, TimerError, TimerService, TimerServiceRef, Timing};
use noex::{Call, CallError, Inbox, Received, Recipient, Routes, StartError, System};

use support::{DEADLINE, next, on_all, on_all_built, quiet, reports, until};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn start(system: &System, service: &TimerService) -> TimerServiceRef {
    let start = service.start(system);
    start.wait_timeout(DEADLINE).expect("a timer service")
}

fn get<T>(call: Call<T>) -> T {
    call.wait_timeout(DEADLINE).expect("an answer")
}

fn in_virtual_time(body: impl Fn(&System)) {
    for seed in 0..100 {
        let (system, _driver) = quiet().virtual_clock().auto_advance().seed(seed).manual();
        body(&system);
    }
}

/// Lets so much virtual time go by, in pieces within which each wait has its deadline.
fn pass(system: &System, time: Duration) {
    let mut left = time;
    while !left.is_zero() {
        let piece = left.min(10 * SECOND);
        support::pass(system, piece);
        left -= piece;
    }
}

/// A process that reports each message and when it came.
fn listener(system: &System) -> (Recipient<u32>, Receiver<(u32, Duration)>) {
    let (send, heard) = reports();
    let process = system
        .spawn(move |mut cx: Inbox<u32>| async move {
            loop {
                if let Received::Message(n) = cx.recv().await {
                    let _ = send.send((n, cx.system().now()));
                }
            }
        })
        .expect("a process");
    (process, heard)
}

/// A server that reports its ticks; one of many incarnations.
struct Clock(Sender<u32>);
#[derive(Clone, Debug, PartialEq)]
struct Strike(u32);

impl GenServer for Clock {
    type Args = Sender<u32>;
    async fn init(to: Sender<u32>, _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Clock(to))
    }
    fn routes(routes: &mut Routes<'_, Self>) {
        routes.info::<Strike>();
    }
}
impl HandleInfo<Strike> for Clock {
    async fn handle_info(&mut self, Strike(n): Strike, _: &mut Context<Self>) {
        let _ = self.0.send(n);
    }
}

#[test]
fn a_timer_fires_once_at_its_time_and_is_gone() {
    on_all(|system| {
        let timers = start(system, &TimerService::new());
        let (process, heard) = listener(system);
        let begun = system.now();
        let timing = Timing::after(5 * MS);
        let put = timers.schedule("a", process.clone(), 1, timing);
        put.wait_timeout(DEADLINE).unwrap();
        let (n, at) = next(system, &heard);
        assert_eq!(n, 1);
        assert!(at >= begun + 5 * MS, "never early");
        until(system, || get(timers.list()).is_empty());
        assert!(!get(timers.cancel("a")));
    });
}

#[test]
fn a_name_has_one_timer() {
    on_all(|system| {
        let timers = start(system, &TimerService::new());
        let (process, heard) = listener(system);
        let hour = Timing::after(3600 * SECOND);
        let put = timers.schedule("a", process.clone(), 1, hour);
        put.wait_timeout(DEADLINE).unwrap();
        let again = timers.schedule("a", process.clone(), 2, Timing::after(MS));
        match again.wait_timeout(DEADLINE) {
            Err(TimerError::AlreadyScheduled(standing)) => {
                assert_eq!(&*standing.name, "a");
                assert!(standing.due_in > 3000 * SECOND);
            }
            other => panic!("{other:?}"),
        }
        let instead = timers.reschedule("a", process, 3, Timing::after(MS));
        instead.wait_timeout(DEADLINE).unwrap();
        assert_eq!(next(system, &heard).0, 3);
    });
}

#[test]
fn a_cancelled_timer_does_not_fire() {
    in_virtual_time(|system| {
        let timers = start(system, &TimerService::new());
        let (process, heard) = listener(system);
        for (name, n) in [("a", 1), ("b", 2)] {
            let put = timers.schedule(name, process.clone(), n, Timing::after(SECOND));
            put.wait_timeout(DEADLINE).unwrap();
        }
        assert!(get(timers.cancel("a")));
        assert!(!get(timers.cancel("a")));
        assert!(!get(timers.cancel("never there")));
        pass(system, 2 * SECOND);
        let all: Vec<u32> = heard.try_iter().map(|(n, _)| n).collect();
        assert_eq!(all, [2]);
    });
}

#[test]
fn a_repeating_timer_does_not_drift() {
    in_virtual_time(|system| {
        let timers = start(system, &TimerService::new());
        let (process, heard) = listener(system);
        let begun = system.now();
        let timing = Timing::every(10 * SECOND).first_after(3 * SECOND);
        let put = timers.schedule("a", process.clone(), 7, timing);
        put.wait_timeout(DEADLINE).unwrap();
        let offset = get(timers.get("a")).unwrap().due_in + system.now() - begun;
        pass(system, 34 * SECOND);
        let at: Vec<Duration> = heard.try_iter().map(|(_, at)| at - begun).collect();
        let wanted = [0, 10, 20, 30].map(|after| offset + after * SECOND);
        assert_eq!(at.len(), wanted.len(), "{at:?}");
        for (at, wanted) in at.iter().zip(wanted) {
            assert!(*at >= wanted && *at < wanted + 10 * MS, "{at:?} {wanted:?}");
        }
        assert_eq!(get(timers.get("a")).unwrap().fired, 4);
    });
}

#[test]
fn timers_can_be_looked_at() {
    in_virtual_time(|system| {
        let timers = start(system, &TimerService::new());
        let (process, _heard) = listener(system);
        let pid = process.pid();
        let clock = system.server::<Clock>("clock");
        let once = Timing::after(20 * SECOND);
        timers
            .schedule("once", clock, Strike(1), once)
            .wait()
            .unwrap();
        let every = Timing::every(10 * SECOND);
        timers.schedule("often", process, 2, every).wait().unwrap();
        let list = get(timers.list());
        let names: Vec<&str> = list.iter().map(|timer| &*timer.name).collect();
        assert_eq!(names, ["often", "once"]);
        let often: &ScheduledTimer = &list[0];
        assert_eq!(often.period, Some(10 * SECOND));
        assert_eq!(*often.target, pid.to_string());
        assert_eq!((often.message, often.fired), ("u32", 0));
        assert!(often.due_in <= 10 * SECOND && often.due_in > 9 * SECOND);
        assert_eq!(&*list[1].target, "clock");
        assert_eq!(list[1].period, None);
        assert!(list[1].message.ends_with("Strike"));
        assert_eq!(get(timers.get("once")), Some(list[1].clone()));
        assert_eq!(get(timers.get("other")), None);
    });
}

/// A supervised service, and its handle.
fn supervised(system: &System, service: TimerService) -> TimerServiceRef {
    Supervisor::new(Strategy::OneForOne)
        .child(service.name("timers").child_spec("timers"))
        .start(system)
        .wait_timeout(DEADLINE)
        .expect("a supervisor");
    TimerServiceRef::named(system, "timers")
}

fn crash(system: &System, timers: &TimerServiceRef) {
    let first = timers.pid().expect("it runs");
    system.exit(first, ExitReason::Kill);
    until(system, || timers.pid().is_some_and(|pid| pid != first));
}

#[test]
fn timers_survive_a_crash_of_the_service() {
    on_all(|system| {
        let timers = supervised(system, TimerService::new());
        let (process, heard) = listener(system);
        let put = timers.schedule("soon", process.clone(), 1, Timing::after(50 * MS));
        put.wait_timeout(DEADLINE).unwrap();
        let hour = Timing::every(3600 * SECOND);
        let put = timers.schedule("later", process.clone(), 2, hour);
        put.wait_timeout(DEADLINE).unwrap();
        crash(system, &timers);
        assert_eq!(next(system, &heard).0, 1);
        let left = get(timers.list());
        assert_eq!(left.len(), 1);
        assert_eq!((&*left[0].name, left[0].fired), ("later", 0));
        // Another incarnation can take it back.
        assert!(get(timers.cancel("later")));
    });
}

#[test]
fn what_is_overdue_after_a_crash_fires_once_and_stays_on_its_grid() {
    in_virtual_time(|system| {
        let service = TimerService::new();
        let first = start(system, &service);
        let (process, heard) = listener(system);
        let begun = system.now();
        let every = Timing::every(10 * SECOND);
        first
            .schedule("often", process.clone(), 1, every)
            .wait()
            .unwrap();
        let once = Timing::after(15 * SECOND);
        first.schedule("once", process, 2, once).wait().unwrap();
        let offset = get(first.get("often")).unwrap().due_in + system.now() - begun;
        system.exit(first.pid().unwrap(), ExitReason::Kill);
        pass(system, 47 * SECOND);
        assert!(heard.try_recv().is_err(), "nobody there to fire it");
        let second = start(system, &service);
        let restarted = system.now() - begun;
        pass(system, 14 * SECOND);
        let all: Vec<(u32, Duration)> = heard.try_iter().map(|(n, at)| (n, at - begun)).collect();
        let order: Vec<u32> = all.iter().map(|(n, _)| *n).collect();
        // The two that were missed, in the order in which they were due; then the grid goes on.
        assert_eq!(order, [1, 2, 1, 1], "{all:?}");
        assert!(all[1].1 <= restarted + 10 * MS, "{all:?}");
        for (at, wanted) in [(all[2].1, 40 * SECOND), (all[3].1, 50 * SECOND)] {
            let wanted = offset + wanted;
            assert!(at >= wanted && at < wanted + 10 * MS, "{at:?} {wanted:?}");
        }
        assert_eq!(get(second.get("often")).unwrap().fired, 3);
    });
}

#[test]
fn a_name_leads_to_whichever_incarnation_lives() {
    in_virtual_time(|system| {
        let timers = start(system, &TimerService::new());
        let (send, struck) = reports();
        Supervisor::new(Strategy::OneForOne)
            .child(ChildSpec::server::<Clock>("clock", send).name("clock"))
            .start(system)
            .wait_timeout(DEADLINE)
            .unwrap();
        let clock = system.server::<Clock>("clock");
        let put = timers.schedule("typed", clock, Strike(1), Timing::after(SECOND));
        put.wait_timeout(DEADLINE).unwrap();
        let put = timers.schedule("bare", "clock", Strike(2), Timing::after(SECOND));
        put.wait_timeout(DEADLINE).unwrap();
        let first = system.whereis("clock").unwrap();
        system.exit(first, ExitReason::Kill);
        until(system, || {
            system.whereis("clock").is_some_and(|pid| pid != first)
        });
        let mut both = [next(system, &struck), next(system, &struck)];
        both.sort_unstable();
        assert_eq!(both, [1, 2]);
    });
}

#[test]
fn a_one_shot_waits_for_a_target_that_is_being_restarted() {
    in_virtual_time(|system| {
        let timers = start(system, &TimerService::new());
        let (send, struck) = reports();
        let clock = system.server::<Clock>("clock");
        timers
            .schedule("a", clock, Strike(1), Timing::after(SECOND))
            .wait()
            .unwrap();
        timers
            .schedule("b", "clock", Strike(2), Timing::after(SECOND))
            .wait()
            .unwrap();
        pass(system, 3 * SECOND);
        assert_eq!(get(timers.get("a")).unwrap().due_in, Duration::ZERO);
        let options = ServerOptions::new().name("clock");
        let start = system.start_with::<Clock>(send, options);
        start.wait_timeout(DEADLINE).unwrap();
        pass(system, SECOND);
        let mut both: Vec<u32> = struck.try_iter().collect();
        both.sort_unstable();
        assert_eq!(both, [1, 2]);
        assert!(get(timers.list()).is_empty());
    });
}

#[test]
fn what_waited_in_vain_is_a_dead_letter() {
    let letters: Arc<Mutex<Vec<&'static str>>> = Arc::default();
    let heard = letters.clone();
    let builder = move || {
        let heard = heard.clone();
        quiet().on_dead_letter(move |letter| heard.lock().unwrap().push(letter.message))
    };
    on_all_built(builder, |system| {
        letters.lock().unwrap().clear();
        let timers = start(system, &TimerService::new().patience(20 * MS));
        let clock = system.server::<Clock>("nobody");
        let put = timers.schedule("a", clock, Strike(1), Timing::after(MS));
        put.wait_timeout(DEADLINE).unwrap();
        let put = timers.schedule("b", "nobody".to_owned(), 7_u8, Timing::after(MS));
        put.wait_timeout(DEADLINE).unwrap();
        until(system, || get(timers.list()).is_empty());
        let mut lost = letters.lock().unwrap().clone();
        lost.sort_by_key(|name| name.len());
        assert_eq!(lost.len(), 2, "{lost:?}");
        assert_eq!(lost[0], "u8");
        assert!(lost[1].ends_with("Strike"));
    });
}

#[test]
fn a_repeating_timer_skips_a_target_that_is_away() {
    in_virtual_time(|system| {
        let timers = start(system, &TimerService::new());
        let (send, struck) = reports();
        let clock = system.server::<Clock>("clock");
        let every = Timing::every(10 * SECOND);
        timers
            .schedule("a", clock, Strike(1), every)
            .wait()
            .unwrap();
        pass(system, 25 * SECOND);
        let options = ServerOptions::new().name("clock");
        system.start_with::<Clock>(send, options).wait().unwrap();
        pass(system, 10 * SECOND);
        assert_eq!(struck.try_iter().count(), 1);
        assert_eq!(get(timers.get("a")).unwrap().fired, 1);
    });
}

#[test]
fn a_timer_for_one_incarnation_ends_with_it() {
    in_virtual_time(|system| {
        let timers = start(system, &TimerService::new());
        let (process, _heard) = listener(system);
        let every = Timing::every(SECOND);
        timers
            .schedule("recipient", process.clone(), 1, every)
            .wait()
            .unwrap();
        timers
            .schedule("pid", process.pid(), 1_u32, every)
            .wait()
            .unwrap();
        pass(system, 2 * SECOND);
        assert_eq!(get(timers.list()).len(), 2);
        system.exit(process.pid(), ExitReason::Kill);
        pass(system, 2 * SECOND);
        assert!(get(timers.list()).is_empty());
    });
}

/// Panics when it is cloned.
struct Bomb;
impl Clone for Bomb {
    fn clone(&self) -> Self {
        panic!("on purpose")
    }
}

#[test]
fn a_message_that_panics_costs_its_own_timer_only() {
    on_all(|system| {
        let timers = supervised(system, TimerService::new());
        let (process, heard) = listener(system);
        let bombed: Recipient<Bomb> = system
            .spawn(|mut cx: Inbox<Bomb>| async move {
                cx.recv().await;
            })
            .unwrap();
        let first = timers.pid();
        let put = timers.schedule("good", process, 1, Timing::after(10 * MS));
        put.wait_timeout(DEADLINE).unwrap();
        let put = timers.schedule("bad", bombed, Bomb, Timing::every(MS));
        put.wait_timeout(DEADLINE).unwrap();
        assert_eq!(next(system, &heard).0, 1);
        until(system, || {
            timers.is_alive() && get(timers.list()).is_empty()
        });
        assert_ne!(timers.pid(), first);
    });
}

#[test]
fn one_schedule_has_one_service() {
    on_all(|system| {
        let service = TimerService::new();
        let first = start(system, &service);
        let taken = |second: Result<TimerServiceRef, StartError>| match second {
            Err(StartError::Init(reason)) => {
                let expected = StartError::AlreadyStarted(first.pid().unwrap());
                assert_eq!(reason.downcast_ref::<StartError>(), Some(&expected));
            }
            other => panic!("{other:?}"),
        };
        taken(service.clone().start(system).wait_timeout(DEADLINE));
        let (other, _driver) = quiet().virtual_clock().manual();
        taken(service.start(&other).wait_timeout(DEADLINE));
        let stop = first.stop(ExitReason::Normal);
        stop.wait_timeout(DEADLINE).unwrap();
        start(system, &service);
    });
}

#[test]
fn a_service_with_nothing_scheduled_waits_for_nothing() {
    let (system, driver) = quiet().virtual_clock().manual();
    let timers = TimerService::new().start(&system).wait().unwrap();
    driver.run_until_idle();
    assert_eq!(driver.next_deadline(), None);
    let (process, _heard) = listener(&system);
    let never = Timing::after(Duration::MAX);
    timers
        .schedule("never", process.clone(), 1, never)
        .wait()
        .unwrap();
    let soon = Timing::after(SECOND);
    timers.schedule("soon", process, 1, soon).wait().unwrap();
    assert!(driver.next_deadline().is_some());
    assert!(get(timers.cancel("soon")));
    assert!(get(timers.cancel("never")));
    driver.run_until_idle();
    assert_eq!(driver.next_deadline(), None);
}

#[test]
fn a_service_that_is_gone_is_an_error() {
    on_all(|system| {
        let timers = TimerServiceRef::named(system, "nobody");
        let (process, _heard) = listener(system);
        let put = timers.schedule("a", process, 1, Timing::after(MS));
        let gone = put.wait_timeout(DEADLINE);
        assert_eq!(gone, Err(TimerError::Call(CallError::NoProc)));
    });
}
