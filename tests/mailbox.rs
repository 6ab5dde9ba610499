//! Bounded mailboxes: what happens to the message too many, and what is never refused.

mod support;

use std::time::Duration;

use noex::prelude::*;
use noex::{CallError, Inbox, MailboxPolicy, Overflow, Received, SendError, SpawnOptions, Stats};
use support::{DEADLINE, next, on_all, quiet, reports, settled};

/// Notes what it handles, once its gate is opened.
struct Notes {
    noted: Vec<u32>,
}
#[derive(Clone, Debug, PartialEq)]
struct Note(u32);
struct Noted;
/// Holds the server up until the sender is dropped or used.
struct Gate(
    std::sync::Arc<std::sync::Mutex<Option<std::task::Waker>>>,
    std::sync::Arc<std::sync::atomic::AtomicBool>,
);

impl GenServer for Notes {
    type Args = ();
    async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Notes { noted: Vec::new() })
    }
    async fn handle_down(&mut self, _: noex::Down, _: &mut Context<Self>) {
        self.noted.push(1000);
    }
}
impl HandleCast<Note> for Notes {
    async fn handle_cast(&mut self, note: Note, _: &mut Context<Self>) {
        self.noted.push(note.0);
    }
}
impl HandleInfo<Note> for Notes {
    async fn handle_info(&mut self, note: Note, _: &mut Context<Self>) {
        self.noted.push(note.0);
    }
}
impl HandleCall<Noted> for Notes {
    type Reply = Vec<u32>;
    async fn handle_call(&mut self, _: Noted, _: &mut Context<Self>) -> Vec<u32> {
        self.noted.clone()
    }
}
impl HandleCast<Gate> for Notes {
    async fn handle_cast(&mut self, gate: Gate, _: &mut Context<Self>) {
        std::future::poll_fn(|cx| {
            *gate.0.lock().unwrap() = Some(cx.waker().clone());
            if gate.1.load(std::sync::atomic::Ordering::SeqCst) {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await
    }
}
struct Watch(Pid);
impl HandleCall<Watch> for Notes {
    type Reply = ();
    async fn handle_call(&mut self, watch: Watch, cx: &mut Context<Self>) {
        cx.monitor(watch.0);
    }
}

struct Opener(
    std::sync::Arc<std::sync::Mutex<Option<std::task::Waker>>>,
    std::sync::Arc<std::sync::atomic::AtomicBool>,
);
impl Opener {
    fn open(self) {
        self.1.store(true, std::sync::atomic::Ordering::SeqCst);
        if let Some(waker) = self.0.lock().unwrap().take() {
            waker.wake();
        }
    }
}

/// A server with room for three, held up inside a handler.
fn held_up(system: &System, overflow: Overflow) -> (ServerRef<Notes>, Opener) {
    let options = ServerOptions::new().mailbox(MailboxPolicy::Bounded {
        capacity: 3,
        overflow,
    });
    let notes = system
        .start_with::<Notes>((), options)
        .wait_timeout(DEADLINE)
        .unwrap();
    let (waker, open) = (std::sync::Arc::default(), std::sync::Arc::default());
    notes
        .cast(Gate(
            std::sync::Arc::clone(&waker),
            std::sync::Arc::clone(&open),
        ))
        .unwrap();
    // The gate is being handled once its waker is there.
    while waker.lock().unwrap().is_none() {
        support::pump(system);
    }
    (notes, Opener(waker, open))
}

fn noted(system: &System, notes: &ServerRef<Notes>) -> Vec<u32> {
    // A call needs room as well.
    loop {
        match notes.call(Noted).wait_timeout(DEADLINE) {
            Err(CallError::Overloaded) => support::pump(system),
            other => return other.unwrap(),
        }
    }
}

fn gained(after: Stats, before: Stats) -> (u64, u64) {
    (
        after.dropped - before.dropped,
        after.rejected - before.rejected,
    )
}

#[test]
fn reject_gives_the_message_back() {
    on_all(|system| {
        let before = system.stats();
        let (notes, gate) = held_up(system, Overflow::Reject);
        for n in 1..=3 {
            notes.cast(Note(n)).unwrap();
        }
        let Err(SendError(back)) = notes.cast(Note(4)) else {
            panic!("taken")
        };
        assert_eq!(back, Note(4));
        assert_eq!(
            notes.call(Noted).wait_timeout(DEADLINE),
            Err(CallError::Overloaded)
        );
        gate.open();
        assert_eq!(noted(system, &notes), [1, 2, 3]);
        // The cast, the call, and `noted`'s own calls until there was room.
        let (dropped, rejected) = gained(settled(system), before);
        assert_eq!(dropped, 0);
        assert!(rejected >= 2, "{rejected}");
    });
}

#[test]
fn drop_newest_drops_the_new_one_and_drop_oldest_the_old() {
    on_all(|system| {
        for (overflow, left) in [
            (Overflow::DropNewest, [1, 2, 3]),
            (Overflow::DropOldest, [3, 4, 5]),
        ] {
            let before = system.stats();
            let (notes, gate) = held_up(system, overflow);
            for n in 1..=5 {
                notes.cast(Note(n)).unwrap();
            }
            gate.open();
            support::pump(system);
            // A call may displace, too; so look only once the casts are through.
            while system
                .process_info(notes.pid())
                .wait_timeout(DEADLINE)
                .unwrap()
                .message_queue_len
                > 0
            {
                support::pump(system);
            }
            assert_eq!(noted(system, &notes), left);
            let (dropped, _) = gained(settled(system), before);
            assert_eq!(dropped, 2);
        }
    });
}

#[test]
fn signals_downs_timers_and_stops_are_never_refused_and_keep_their_order() {
    on_all(|system| {
        let (notes, gate) = held_up(system, Overflow::Reject);
        let watched = system
            .spawn(|mut cx: Inbox<()>| async move { drop(cx.recv().await) })
            .unwrap();
        // `Watch` is a call; it must find room, so it comes first.
        let watching = notes.call(Watch(watched.pid()));
        for n in 1..=2 {
            notes.cast(Note(n)).unwrap();
        }
        assert!(notes.cast(Note(3)).is_err());
        for n in 10..20 {
            system.send_after(Duration::ZERO, &notes, Note(n));
        }
        gate.open();
        watching.wait_timeout(DEADLINE).unwrap();
        watched.send(()).unwrap();
        system
            .monitor(watched.pid())
            .wait_timeout(DEADLINE)
            .unwrap();
        let mut seen = noted(system, &notes);
        while seen.len() < 13 {
            support::pump(system);
            seen = noted(system, &notes);
        }
        seen.retain(|n| *n < 10);
        assert_eq!(seen, [1, 2]);
        assert_eq!(
            notes.stop(ExitReason::Normal).wait_timeout(DEADLINE),
            Ok(())
        );
    });
}

#[test]
fn a_full_mailbox_does_not_hold_up_a_kill() {
    on_all(|system| {
        let (notes, _gate) = held_up(system, Overflow::Reject);
        for n in 1..=3 {
            notes.cast(Note(n)).unwrap();
        }
        system.exit(notes.pid(), ExitReason::Kill);
        let down = system.monitor(notes.pid()).wait_timeout(DEADLINE).unwrap();
        assert!(matches!(
            down.reason,
            ExitReason::Killed | ExitReason::NoProc
        ));
    });
}

#[test]
fn an_async_send_waits_for_room_and_ends_with_its_target() {
    on_all(|system| {
        let (notes, gate) = held_up(system, Overflow::DropNewest);
        for n in 1..=3 {
            notes.cast(Note(n)).unwrap();
        }
        let (tell, told) = reports();
        for n in 4..=6 {
            let (notes, tell) = (notes.clone(), tell.clone());
            let send = move |_: Inbox<()>| async move {
                notes.cast_async(Note(n)).await;
                let _ = tell.send(());
            };
            system.spawn(send).unwrap();
        }
        support::pump(system);
        assert!(told.try_recv().is_err());
        gate.open();
        for _ in 4..=6 {
            next(system, &told);
        }
        let mut seen = noted(system, &notes);
        seen.sort_unstable();
        assert_eq!(seen, [1, 2, 3, 4, 5, 6]);

        let (notes, _gate) = held_up(system, Overflow::Reject);
        for n in 1..=3 {
            notes.cast(Note(n)).unwrap();
        }
        let sender = notes.clone();
        let send = move |_: Inbox<()>| async move {
            sender.cast_async(Note(4)).await;
            let _ = tell.send(());
        };
        system.spawn(send).unwrap();
        support::pump(system);
        system.exit(notes.pid(), ExitReason::Kill);
        next(system, &told);
    });
}

#[test]
fn a_foreign_thread_may_block_for_room() {
    let system = quiet().schedulers(2).build().unwrap();
    let (notes, gate) = held_up(&system, Overflow::Reject);
    for n in 1..=3 {
        notes.cast(Note(n)).unwrap();
    }
    let sender = notes.clone();
    let thread = std::thread::spawn(move || sender.cast_async(Note(4)).wait().is_ok());
    gate.open();
    assert!(thread.join().unwrap());
    let mut seen = noted(&system, &notes);
    while seen.len() < 4 {
        seen = noted(&system, &notes);
    }
    assert_eq!(seen, [1, 2, 3, 4]);
}

#[test]
fn a_bounded_receiver_is_bounded_as_well() {
    on_all(|system| {
        let (tell, told) = reports();
        let bounded = MailboxPolicy::Bounded {
            capacity: 2,
            overflow: Overflow::Reject,
        };
        let options = SpawnOptions::new().mailbox(bounded);
        let gate = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let open = gate.clone();
        let receiver = system
            .spawn_with(options, move |mut cx: Inbox<u32>| async move {
                while !open.load(std::sync::atomic::Ordering::SeqCst) {
                    cx.yield_now().await;
                }
                for _ in 0..2 {
                    if let Received::Message(n) = cx.recv().await {
                        let _ = tell.send(n);
                    }
                }
            })
            .unwrap();
        receiver.send(1).unwrap();
        receiver.send(2).unwrap();
        assert!(receiver.send(3).is_err());
        gate.store(true, std::sync::atomic::Ordering::SeqCst);
        assert_eq!((next(system, &told), next(system, &told)), (1, 2));
    });
}

#[test]
fn who_waits_for_room_pushes_nobody_out_whatever_the_policy() {
    let system = quiet().schedulers(4).build().unwrap();
    for overflow in [Overflow::DropOldest, Overflow::DropNewest, Overflow::Reject] {
        let options = ServerOptions::new().mailbox(MailboxPolicy::Bounded {
            capacity: 2,
            overflow,
        });
        let notes = system
            .start_with::<Notes>((), options)
            .wait_timeout(DEADLINE)
            .unwrap();
        let before = settled(&system);
        let (tell, told) = reports();
        std::thread::scope(|scope| {
            for sender in 0..3 {
                let (inside, outside, tell) = (notes.clone(), notes.clone(), tell.clone());
                let send = move |_: Inbox<()>| async move {
                    for n in 0..300 {
                        inside.cast_async(Note(sender * 1000 + n)).await;
                    }
                    let _ = tell.send(());
                };
                system.spawn(send).unwrap();
                scope.spawn(move || {
                    for n in 0..300 {
                        let sent = outside.cast_async(Note((sender + 3) * 1000 + n));
                        sent.wait_timeout(DEADLINE).unwrap();
                    }
                });
            }
        });
        for _ in 0..3 {
            told.recv_timeout(DEADLINE).unwrap();
        }
        // The question below must find room, or it would push one out itself.
        while system
            .process_info(notes.pid())
            .wait_timeout(DEADLINE)
            .unwrap()
            .message_queue_len
            > 0
        {
            support::pump(&system);
        }
        let after = settled(&system);
        assert_eq!(gained(after, before).0, 0, "{overflow:?}");
        let seen = noted(&system, &notes);
        assert_eq!(seen.len(), 1800);
        // Those of each sender in their order.
        for sender in 0..6 {
            let own: Vec<u32> = seen
                .iter()
                .filter(|n| **n / 1000 == sender)
                .copied()
                .collect();
            assert!(own.is_sorted() && own.len() == 300);
        }
    }
}

#[test]
fn a_send_that_is_given_up_sends_nothing_and_one_that_is_late_gives_its_message_back() {
    on_all(|system| {
        let (notes, gate) = held_up(system, Overflow::Reject);
        for n in 1..=3 {
            notes.cast(Note(n)).unwrap();
        }
        drop(notes.cast_async(Note(4)));
        let sent = notes.cast_async(Note(5));
        let Err(SendError(back)) = sent.wait_timeout(Duration::from_millis(2)) else {
            panic!("there was no room")
        };
        assert_eq!(back, Note(5));
        // Neither was sent, so neither was rejected.
        assert_eq!(settled(system).rejected, 0);
        // One that is polled and then dropped.
        let (tell, told) = reports();
        let sender = notes.clone();
        system
            .spawn(move |cx: Inbox<()>| async move {
                let send = sender.cast_async(Note(6));
                let sleep = cx.sleep(Duration::from_millis(1));
                futures_lite::future::or(send, sleep).await;
                let _ = tell.send(());
            })
            .unwrap();
        next(system, &told);
        gate.open();
        assert_eq!(noted(system, &notes), [1, 2, 3]);
    });
}

#[test]
fn every_message_to_a_bounded_mailbox_is_accounted_for_once() {
    // A message that counts how many of its kind live.
    struct Counted(std::sync::Arc<std::sync::atomic::AtomicIsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
        }
    }
    impl HandleCast<Counted> for Notes {
        async fn handle_cast(&mut self, _: Counted, cx: &mut Context<Self>) {
            cx.yield_now().await;
        }
    }
    impl HandleCall<Counted> for Notes {
        type Reply = ();
        async fn handle_call(&mut self, _: Counted, _: &mut Context<Self>) {}
    }
    let system = quiet().schedulers(4).build().unwrap();
    let live = std::sync::Arc::new(std::sync::atomic::AtomicIsize::new(0));
    let counted = || {
        live.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Counted(live.clone())
    };
    let mut rejected = 0;
    for overflow in [Overflow::DropOldest, Overflow::DropNewest, Overflow::Reject] {
        for kill in [false, true] {
            let options = ServerOptions::new().mailbox(MailboxPolicy::Bounded {
                capacity: 5,
                overflow,
            });
            let notes = system
                .start_with::<Notes>((), options)
                .wait_timeout(DEADLINE)
                .unwrap();
            let refused = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4)
                    .map(|_| {
                        scope.spawn(|| {
                            let mut refused = 0;
                            for n in 0..500 {
                                match n % 5 {
                                    0 => match notes.call(counted()).wait_timeout(DEADLINE) {
                                        Ok(()) | Err(CallError::Exited(_)) => {}
                                        Err(CallError::Overloaded) => {
                                            refused += u64::from(overflow == Overflow::Reject);
                                        }
                                        other => panic!("{other:?}"),
                                    },
                                    _ => refused += u64::from(notes.cast(counted()).is_err()),
                                }
                                if kill && n == 250 {
                                    system.exit(notes.pid(), ExitReason::Kill);
                                }
                            }
                            refused
                        })
                    })
                    .collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().unwrap())
                    .sum::<u64>()
            });
            rejected += refused;
        }
    }
    let stats = settled(&system);
    assert_eq!(stats.rejected, rejected);
    system.shutdown().wait_timeout(DEADLINE).unwrap();
    assert_eq!(live.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[test]
fn a_signal_to_a_bounded_mailbox_is_not_lost_however_busy_its_process_is() {
    let system = quiet().schedulers(2).build().unwrap();
    let bounded = MailboxPolicy::Bounded {
        capacity: 8,
        overflow: Overflow::DropNewest,
    };
    let notes = system
        .start_with::<Notes>((), ServerOptions::new().mailbox(bounded))
        .wait_timeout(DEADLINE)
        .unwrap();
    let receiver = system
        .spawn_with(
            SpawnOptions::new().mailbox(bounded),
            |mut cx: Inbox<u32>| async move { while let Received::Message(_) = cx.recv().await {} },
        )
        .unwrap();
    // They empty their mailboxes as fast as the signals come in.
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for n in 0..2000 {
                    notes.cast(Note(n)).unwrap();
                    receiver.send(n).unwrap();
                    for pid in [notes.pid(), receiver.pid()] {
                        drop(system.monitor(pid)); // two signals
                        assert!(system.process_info(pid).wait_timeout(DEADLINE).is_some());
                    }
                }
            });
        }
    });
    settled(&system);
    for pid in [notes.pid(), receiver.pid()] {
        let monitor = system.monitor(pid);
        system.exit(pid, ExitReason::Kill);
        let down = monitor.wait_timeout(DEADLINE).expect("it was killed");
        assert_eq!(down.reason, ExitReason::Killed);
    }
}
