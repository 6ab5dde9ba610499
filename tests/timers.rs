//! Timers: when they fire and in what order, what cancels them, and what becomes of their messages.

mod puppet;
mod support;

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use noex::prelude::*;
use noex::{Handle, Inbox, Received, Recipient, TimerRef};
use puppet::{Note, Puppet, Strings, Told, act, done, end_of, puppet};
use support::{DEADLINE, next, on_all, quiet, reports, settled};

const MS: Duration = Duration::from_millis(1);

#[test]
fn timers_fire_at_their_time_in_order_and_those_of_one_time_in_order_of_arming() {
    let (system, driver) = quiet().virtual_clock().manual();
    let (tell, told) = reports();
    system
        .spawn(move |mut cx: Inbox<(u64, u32)>| async move {
            let me = cx.this();
            let mut random = 1u64;
            for n in 0..100_000 {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                // From none at all to ten days.
                let ms = (random >> 33) % [1, 10, 1000, 1_000_000, 864_000_000][n as usize % 5];
                cx.send_after(Duration::from_millis(ms), &me, (ms, n));
            }
            let mut last = (0, 0);
            for _ in 0..100_000 {
                let Received::Message((ms, n)) = cx.recv().await else {
                    return;
                };
                assert!((ms, n) >= last, "{:?} after {last:?}", (ms, n));
                assert_eq!(cx.system().now(), Duration::from_millis(ms));
                last = (ms, n);
            }
            let _ = tell.send(());
        })
        .unwrap();
    driver.advance(Duration::from_millis(864_000_000));
    assert_eq!(told.try_recv(), Ok(()));
    assert_eq!(driver.next_deadline(), None);
    assert_eq!(settled(&system).handled, 100_000);
}

#[test]
fn on_threads_too_timers_fire_in_order_and_not_after_cancel() {
    on_all(|system| {
        let (tell, told) = reports();
        let it = puppet(system, Strings::new(&tell));
        let start = system.now();
        for n in [30, 10, 20] {
            system.send_after(n * MS, &it, Note(n));
        }
        let cancelled = system.send_after(15 * MS, &it, Note(15));
        let left = system.read_timer(cancelled).unwrap();
        assert!(left <= 16 * MS);
        assert!(system.cancel_timer(cancelled).is_some());
        assert_eq!(
            (system.cancel_timer(cancelled), system.read_timer(cancelled)),
            (None, None)
        );
        let sleeper: Recipient<()> = system
            .spawn(move |cx: Inbox<()>| async move { cx.sleep(40 * MS).await })
            .unwrap();
        system
            .monitor(sleeper.pid())
            .wait_timeout(DEADLINE)
            .unwrap();
        assert!(system.now() - start >= 40 * MS, "a sleep never ends early");
        for n in [10, 20, 30] {
            assert_eq!(next(system, &told), Told::Note(n));
        }
        assert!(told.try_recv().is_err());
    });
}

#[test]
fn a_million_live_timers_are_no_strain() {
    let (system, driver) = quiet().virtual_clock().manual();
    let (tell, told) = reports();
    let receiver = system
        .spawn(move |mut cx: Inbox<u32>| async move {
            let mut last = 0;
            for _ in 0..500_000 {
                let Received::Message(n) = cx.recv().await else {
                    return;
                };
                assert!(n >= last);
                last = n;
            }
            let _ = tell.send(last);
        })
        .unwrap();
    let timers: Vec<TimerRef> = (0..1_000_000u32)
        .map(|n| {
            let ms = n.wrapping_mul(2_654_435_761) % 1000;
            system.send_after(Duration::from_millis(ms.into()), &receiver, ms)
        })
        .collect();
    for timer in timers.iter().step_by(2) {
        assert!(system.cancel_timer(*timer).is_some());
    }
    driver.advance(Duration::from_secs(1));
    assert!(told.try_recv().is_ok());
    assert!(
        timers
            .iter()
            .all(|timer| system.read_timer(*timer).is_none())
    );
    assert_eq!(driver.next_deadline(), None);
}

#[test]
fn a_timer_says_what_it_has_left_until_it_is_cancelled_or_has_fired() {
    let (system, driver) = quiet().virtual_clock().manual();
    let (tell, told) = reports();
    let it = system.start::<Puppet>(Strings::new(&tell)).wait().unwrap();
    let timer = system.send_after(20 * MS, &it, Note(1));
    driver.advance(5 * MS);
    assert_eq!(system.read_timer(timer), Some(15 * MS));
    assert_eq!(system.cancel_timer(timer), Some(15 * MS));
    assert_eq!(
        (system.cancel_timer(timer), system.read_timer(timer)),
        (None, None)
    );
    let fires = system.send_after(20 * MS, &it, Note(2));
    driver.advance(20 * MS);
    assert_eq!(
        (system.cancel_timer(fires), system.read_timer(fires)),
        (None, None)
    );
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [Told::Note(2)]);
    // One that has fired may have its message in the mailbox still.
    let queued = system.send_after(MS, &it, Note(9));
    driver.advance(19 * MS); // in the handler of none, so handled
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [Told::Note(9)]);
    it.cast(act(|_, cx| Box::pin(cx.sleep(10 * MS)))).unwrap();
    let held = system.send_after(MS, &it, Note(10));
    driver.advance(5 * MS);
    assert_eq!(
        (system.cancel_timer(queued), system.cancel_timer(held)),
        (None, None)
    );
    assert!(told.try_recv().is_err());
    driver.advance(5 * MS);
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [Told::Note(10)]);
    // A new timer in the old one's place is not reached by the old name.
    let third = system.send_after(20 * MS, &it, Note(3));
    assert_eq!(
        system.cancel_timer(timer).or(system.cancel_timer(fires)),
        None
    );
    assert_eq!(system.read_timer(third), Some(20 * MS));
}

#[test]
fn a_timer_is_never_early_on_threads() {
    let system = quiet().schedulers(2).build().unwrap();
    let (tell, told) = reports();
    for n in 0..200u64 {
        let tell = tell.clone();
        system
            .spawn(move |mut cx: Inbox<()>| async move {
                let time = Duration::from_micros(n * 37);
                let start = Instant::now();
                cx.send_after(time, &cx.this(), ());
                cx.recv().await;
                let sent = start.elapsed();
                let start = Instant::now();
                cx.sleep(time).await;
                let slept = start.elapsed();
                let start = Instant::now();
                let nothing = cx.recv_timeout(time).await.is_none();
                let _ = tell.send((time, sent, slept, start.elapsed(), nothing));
            })
            .unwrap();
    }
    for _ in 0..200 {
        let (time, sent, slept, received, nothing) = next(&system, &told);
        assert!(sent >= time && slept >= time && received >= time && nothing);
    }
}

#[test]
fn an_interval_keeps_to_its_period_and_does_not_drift() {
    for micros in [1000, 1500, 2250, 3333, 10_000] {
        let (system, driver) = quiet().virtual_clock().manual();
        let (tell, told) = reports();
        let it = system.start::<Puppet>(Strings::new(&tell)).wait().unwrap();
        driver.advance(Duration::from_micros(300)); // not at the beginning of a millisecond
        let timer = system.send_interval(Duration::from_micros(micros), &it, Note(1));
        driver.advance(Duration::from_secs(1));
        let due = 1_000_000 / micros;
        let fired = told.try_iter().count() as u64;
        assert!(
            fired == due || fired == due - 1,
            "{fired} of {due} at {micros} µs"
        );
        assert!(system.cancel_timer(timer).is_some());
        driver.advance(Duration::from_secs(1));
        assert_eq!(told.try_iter().count(), 0);
        assert_eq!(driver.next_deadline(), None);
    }
}

#[test]
fn an_interval_ends_with_its_target_and_can_be_cancelled_by_it() {
    on_all(|system| {
        let (tell, told) = reports();
        let it = puppet(system, Strings::new(&tell));
        let to = it.clone();
        let timer = done(&it, move |_, cx| cx.send_interval(MS, &to, Note(1)));
        for _ in 0..3 {
            assert_eq!(next(system, &told), Told::Note(1));
        }
        assert!(done(&it, move |_, cx| cx.cancel_timer(timer)).is_some());
        assert_eq!(done(&it, move |_, cx| cx.cancel_timer(timer)), None);
        support::pump(system);
        while told.try_recv().is_ok() {}
        let (other, fired) = reports();
        let slow = puppet(system, Strings::new(&other));
        let ends = system.send_interval(MS, &slow, Note(2));
        next(system, &fired);
        system.exit(slow.pid(), ExitReason::Kill);
        end_of(system, &slow);
        let end = Instant::now() + DEADLINE;
        while system.read_timer(ends).is_some() {
            assert!(Instant::now() < end, "it goes on");
            done(&it, |_, _| ());
            let _ = it
                .call(act(|_, cx| Box::pin(cx.sleep(MS))))
                .wait_timeout(DEADLINE);
        }
        assert!(told.try_recv().is_err(), "cancelled");
    });
}

/// Cancels its own interval when it is cloned, which is while the interval fires.
struct Cancels(Arc<OnceLock<(Handle, TimerRef)>>, Arc<AtomicUsize>);
impl Clone for Cancels {
    fn clone(&self) -> Self {
        self.1.fetch_add(1, SeqCst);
        if let Some((system, timer)) = self.0.get() {
            system.cancel_timer(*timer);
        }
        Cancels(self.0.clone(), self.1.clone())
    }
}

#[test]
fn an_interval_cancelled_while_it_fires_ends() {
    let (system, driver) = quiet().virtual_clock().manual();
    let receiver = system
        .spawn(|mut cx: Inbox<Cancels>| async move {
            while let Received::Message(_) = cx.recv().await {}
        })
        .unwrap();
    let (cell, clones) = (Arc::new(OnceLock::new()), Arc::new(AtomicUsize::new(0)));
    let timer = system.send_interval(MS, &receiver, Cancels(cell.clone(), clones.clone()));
    driver.advance(3 * MS);
    assert_eq!(clones.load(SeqCst), 3);
    assert!(cell.set((system.handle(), timer)).is_ok());
    driver.advance(10 * MS);
    assert_eq!(clones.load(SeqCst), 4);
    assert_eq!(driver.next_deadline(), None);
}

#[test]
fn a_timer_to_a_name_is_for_who_has_it_when_it_fires() {
    on_all(|system| {
        let (tell, told) = reports();
        let name = system.server::<Puppet>("late");
        // Nobody has it yet (on threads the time must do to start a server), and nobody has it at all.
        system.send_after(1000 * MS, &name, Note(1));
        system.send_after(MS, &system.server::<Puppet>("nobody"), Note(2));
        let gone = puppet(system, Strings::new(&tell));
        system.send_after(MS, &gone, Note(3));
        system.send_after(MS, &gone.pid(), Note(4));
        system.exit(gone.pid(), ExitReason::Kill);
        end_of(system, &gone);
        system.send_after(MS, &gone.pid(), Note(5));
        let options = ServerOptions::new().name("late");
        system
            .start_with::<Puppet>(Strings::new(&tell), options)
            .wait_timeout(DEADLINE)
            .unwrap();
        assert_eq!(next(system, &told), Told::Note(1));
        let (other, _) = reports();
        let it = puppet(system, Strings::new(&other));
        let _ = it
            .call(act(|_, cx| Box::pin(cx.sleep(5 * MS))))
            .wait_timeout(DEADLINE);
        assert!(told.try_recv().is_err());
        // Nobody got the other four, and all are accounted for.
        assert_eq!(settled(system).undelivered, 4);
    });
}

/// Panics when it is dropped.
struct Rude(Arc<AtomicUsize>);
impl Drop for Rude {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
        panic!("rude");
    }
}

#[test]
fn messages_of_timers_are_dropped_once_and_may_panic_in_it() {
    for threads in [0, 2] {
        let drops = Arc::new(AtomicUsize::new(0));
        let (system, driver) = match threads {
            0 => {
                let (system, driver) = quiet().virtual_clock().auto_advance().manual();
                (system, Some(driver))
            }
            n => (quiet().schedulers(n).build().unwrap(), None),
        };
        let receiver = system
            .spawn(|_: Inbox<Rude>| std::future::pending::<()>())
            .unwrap();
        for _ in 0..5 {
            system.send_after(Duration::from_secs(3600), &receiver, Rude(drops.clone()));
        }
        // To one that is dead when it fires.
        let gone = system.spawn(|_: Inbox<Rude>| async {}).unwrap();
        system.send_after(MS, &gone, Rude(drops.clone()));
        support::pump(&system);
        system.monitor(gone.pid()).wait_timeout(DEADLINE).unwrap();
        while drops.load(SeqCst) < 1 {
            let (tell, told) = reports();
            system
                .spawn(move |cx: Inbox<()>| async move {
                    cx.sleep(MS).await;
                    let _ = tell.send(());
                })
                .unwrap();
            next(&system, &told);
        }
        system.shutdown().wait_timeout(DEADLINE).unwrap();
        drop(system);
        drop(driver);
        assert_eq!(drops.load(SeqCst), 6);
    }
}

/// Panics when it is cloned.
#[derive(Debug)]
struct Unique;
impl Clone for Unique {
    fn clone(&self) -> Self {
        panic!("not twice");
    }
}

#[test]
fn an_interval_whose_message_cannot_be_cloned_ends_and_takes_no_thread_along() {
    on_all(|system| {
        let receiver = system
            .spawn(|mut cx: Inbox<Unique>| async move { drop(cx.recv().await) })
            .unwrap();
        let broken = system.send_interval(MS, &receiver, Unique);
        let end = Instant::now() + DEADLINE;
        while system.read_timer(broken).is_some() {
            assert!(Instant::now() < end, "it goes on");
            support::pass(system, MS);
        }
        // Timers still fire, on every thread.
        support::pass(system, 5 * MS);
        assert!(receiver.is_alive());
    });
}
