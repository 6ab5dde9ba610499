//! Processes that receive by themselves: order, selective receives, timeouts, and `recv` inside
//! somebody else's combinator.

mod support;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::time::Duration;

use noex::prelude::*;
use noex::{Budget, Inbox, Process, Received, Recipient, SpawnOptions, Tick};
use support::{
    DEADLINE, end_of, gate, next, on_all, on_all_built, pump, quiet, reports, settled, until,
};

const MS: Duration = Duration::from_millis(1);

fn message<M>(received: Received<M>) -> M {
    match received {
        Received::Message(message) => message,
        _ => panic!("not a message"),
    }
}

/// Pattern of a selective receive.
fn is<M: PartialEq>(wanted: M) -> impl FnMut(&Received<M>) -> bool {
    move |received| matches!(received, Received::Message(message) if *message == wanted)
}

/// A process that links and monitors a victim, has its end in the mailbox (passed over by a selective
/// receive, or not looked at), and takes link and monitor back.
fn taken_back(system: &System, passes_over: bool) {
    let (tell, told) = reports();
    let (at, open) = gate();
    let receiver = system
        .spawn(move |mut cx: Inbox<u32>| async move {
            cx.trap_exit(true);
            let victim = cx.spawn_link(|mut cx: Inbox<()>| async move { drop(cx.recv().await) });
            let victim = victim.expect("a running system");
            let monitor = cx.monitor(victim.pid());
            let _ = tell.send((true, Some(victim.clone())));
            if passes_over {
                message(cx.recv_match(is(1)).await);
            } else {
                at.await;
            }
            let _ = tell.send((cx.demonitor(monitor), None));
            let _ = tell.send((cx.demonitor(monitor), None));
            cx.unlink_flush(victim.pid());
            message(cx.recv_match(is(2)).await);
            let _ = tell.send((cx.try_recv().is_some(), None));
            message(cx.recv_match(is(3)).await);
        })
        .unwrap();
    let queued = || {
        let info = system.process_info(receiver.pid()).wait_timeout(DEADLINE);
        info.map(|info| info.message_queue_len)
    };
    let (_, victim) = next(system, &told);
    victim.expect("the victim").send(()).unwrap();
    until(system, || queued() == Some(2));
    if passes_over {
        receiver.send(1).unwrap();
    }
    open.open();
    assert!(!next(system, &told).0, "its down had come");
    assert!(!next(system, &told).0, "there is no such monitor");
    until(system, || queued() == Some(0));
    settled(system);
    receiver.send(2).unwrap();
    assert!(!next(system, &told).0, "nothing is left");
    receiver.send(3).unwrap();
    assert_eq!(end_of(system, &receiver), ExitReason::Normal);
}

#[test]
fn an_end_that_is_in_the_mailbox_goes_with_demonitor_and_unlink_flush() {
    on_all(|system| taken_back(system, false));
}

#[test]
fn an_end_that_was_passed_over_goes_with_demonitor_and_unlink_flush() {
    on_all(|system| taken_back(system, true));
}

#[test]
fn a_monitor_of_oneself_is_none() {
    on_all(|system| {
        let (tell, told) = reports();
        system
            .spawn(move |cx: Inbox<()>| async move {
                let monitor = cx.monitor(cx.pid());
                let _ = tell.send(cx.demonitor(monitor));
            })
            .unwrap();
        assert!(!next(system, &told));
    });
}

// --- order and selection ---

#[test]
fn what_one_sender_sends_is_received_in_that_order() {
    on_all(|system| {
        let (tell, told) = reports();
        let receiver = system
            .spawn(move |mut cx: Inbox<u32>| async move {
                for _ in 0..1000 {
                    let _ = tell.send(message(cx.recv().await));
                }
            })
            .unwrap();
        for n in 0..1000 {
            receiver.send(n).unwrap();
        }
        for n in 0..1000 {
            assert_eq!(next(system, &told), n);
        }
    });
}

#[test]
fn a_selective_receive_leaves_the_others_in_their_places() {
    on_all(|system| {
        let (tell, told) = reports();
        let receiver = system
            .spawn(move |mut cx: Inbox<u32>| async move {
                let mut seen = Vec::new();
                seen.push(message(cx.recv_match(is(4)).await));
                seen.push(message(cx.recv_match(is(2)).await));
                seen.push(message(cx.recv().await));
                seen.push(message(cx.recv_match(is(5)).await));
                seen.push(message(cx.recv().await));
                assert!(cx.try_recv().is_none());
                let _ = tell.send(seen);
            })
            .unwrap();
        for n in 1..=5 {
            receiver.send(n).unwrap();
        }
        assert_eq!(next(system, &told), [4, 2, 1, 5, 3]);
    });
}

#[test]
fn a_selective_receive_looks_at_each_message_once_while_it_waits() {
    let (system, driver) = quiet().virtual_clock().manual();
    let looks = Arc::new(AtomicUsize::new(0));
    let counted = looks.clone();
    let receiver = system
        .spawn(move |mut cx: Inbox<u32>| async move {
            cx.recv_match(|received| {
                counted.fetch_add(1, SeqCst);
                matches!(received, Received::Message(0))
            })
            .await;
        })
        .unwrap();
    for n in 1..=100 {
        receiver.send(n).unwrap();
        driver.run_until_idle();
    }
    receiver.send(0).unwrap();
    driver.run_until_idle();
    assert_eq!(looks.load(SeqCst), 101);
    assert!(!receiver.is_alive());
}

#[test]
fn what_a_selective_receive_passed_over_still_counts_as_queued() {
    on_all(|system| {
        let receiver = system
            .spawn(|mut cx: Inbox<u32>| async move {
                cx.recv_match(is(0)).await;
            })
            .unwrap();
        for n in 1..=3 {
            receiver.send(n).unwrap();
        }
        assert_eq!(settled(system).queued, 3);
        let info = system.process_info(receiver.pid()).wait().unwrap();
        assert_eq!(info.message_queue_len, 3);
    });
}

#[test]
fn what_a_selective_receive_passed_over_is_undelivered_when_the_process_ends() {
    let letters = Arc::new(Mutex::new(Vec::new()));
    let heard = letters.clone();
    let built = move || {
        let heard = heard.clone();
        quiet()
            .on_dead_letter(move |letter| heard.lock().unwrap().push((letter.to, letter.message)))
    };
    on_all_built(built, |system| {
        letters.lock().unwrap().clear();
        let receiver = system
            .spawn(|mut cx: Inbox<u32>| async move {
                cx.recv_match(is(0)).await;
            })
            .unwrap();
        for n in [1, 2, 0] {
            receiver.send(n).unwrap();
        }
        end_of(system, &receiver);
        let stats = settled(system);
        assert_eq!((stats.handled, stats.undelivered), (1, 2));
        let letter = (Some(receiver.pid()), "u32");
        assert_eq!(*letters.lock().unwrap(), [letter, letter]);
    });
}

#[test]
fn a_pattern_that_panics_ends_the_process_and_loses_no_count() {
    on_all(|system| {
        let receiver = system
            .spawn(|mut cx: Inbox<u32>| async move {
                cx.recv_match(|received| matches!(received, Received::Message(3)) && panic!("3"))
                    .await;
            })
            .unwrap();
        for n in 1..=4 {
            receiver.send(n).unwrap();
        }
        assert!(matches!(end_of(system, &receiver), ExitReason::Panic(_)));
        let stats = settled(system);
        assert_eq!(stats.queued, 0);
        assert_eq!(stats.handled, 0);
        assert_eq!(stats.aborted + stats.undelivered, 4);
    });
}

#[test]
fn a_message_of_its_type_sent_to_the_bare_pid_is_a_message_and_others_are_any() {
    on_all(|system| {
        let (tell, told) = reports();
        let receiver = system
            .spawn(move |mut cx: Inbox<u32>| async move {
                let first = matches!(cx.recv().await, Received::Message(7));
                let second = match cx.recv().await {
                    Received::Any(any) => any.downcast::<&str>().ok(),
                    _ => None,
                };
                let _ = tell.send((first, second));
            })
            .unwrap();
        system.send(receiver.pid(), 7u32);
        system.send(receiver.pid(), "seven");
        assert_eq!(next(system, &told), (true, Some("seven")));
    });
}

#[test]
fn a_process_may_send_to_itself() {
    on_all(|system| {
        let (tell, told) = reports();
        system
            .spawn(move |mut cx: Inbox<u32>| async move {
                let this = cx.this();
                this.send(1).unwrap();
                cx.send(cx.pid(), 2u32);
                let both = (message(cx.recv().await), message(cx.recv().await));
                let _ = tell.send(both);
            })
            .unwrap();
        assert_eq!(next(system, &told), (1, 2));
    });
}

#[test]
fn an_endless_stream_of_messages_does_not_starve_the_neighbours() {
    on_all(|system| {
        let (tell, told) = reports();
        // Two that keep each other busy for ever.
        let echo = |system: &System| {
            system
                .spawn(|mut cx: Inbox<Option<Recipient<()>>>| async move {
                    let Some(to) = message(cx.recv().await) else {
                        return;
                    };
                    loop {
                        // A message of another type: `Any`, taken all the same.
                        cx.send(to.pid(), ());
                        cx.yield_now().await;
                        while cx.try_recv().is_some() {}
                    }
                })
                .unwrap()
        };
        let sink = system
            .spawn(|mut cx: Inbox<()>| async move {
                loop {
                    cx.recv().await;
                }
            })
            .unwrap();
        let busy = [echo(system), echo(system)];
        for process in &busy {
            process.send(Some(sink.clone())).unwrap();
        }
        system
            .spawn(move |_: Inbox<()>| async move {
                let _ = tell.send(());
            })
            .unwrap();
        next(system, &told);
        for process in busy {
            system.exit(process.pid(), ExitReason::Kill);
            end_of(system, &process);
        }
    });
}

// --- timeouts ---

#[test]
fn a_receive_with_a_timeout_gives_up_at_its_moment_and_takes_nothing() {
    let (system, driver) = quiet().virtual_clock().manual();
    let (tell, told) = reports();
    let receiver = system
        .spawn(move |mut cx: Inbox<u32>| async move {
            let none = cx.recv_match_timeout(10 * MS, is(2)).await.is_none();
            let _ = tell.send((none, cx.system().now(), cx.try_recv().map(message)));
            let late = cx.recv_timeout(10 * MS).await.map(message);
            let _ = tell.send((late.is_none(), cx.system().now(), late));
        })
        .unwrap();
    driver.run_until_idle();
    driver.advance(4 * MS);
    receiver.send(1).unwrap();
    driver.advance(5 * MS);
    assert!(told.try_recv().is_err());
    driver.advance(MS);
    assert_eq!(told.try_recv(), Ok((true, 10 * MS, Some(1))));
    driver.advance(3 * MS);
    receiver.send(3).unwrap();
    driver.run_until_idle();
    assert_eq!(told.try_recv(), Ok((false, 13 * MS, Some(3))));
    // Nothing waits any more, so no timer is left behind.
    assert_eq!(driver.next_deadline(), None);
}

#[test]
fn a_timeout_of_zero_looks_through_the_mailbox_once() {
    on_all(|system| {
        let (tell, told) = reports();
        let receiver = system
            .spawn(move |mut cx: Inbox<u32>| async move {
                message(cx.recv_match(is(9)).await);
                let there = cx.recv_match_timeout(Duration::ZERO, is(2)).await;
                let gone = cx.recv_match_timeout(Duration::ZERO, is(2)).await;
                let _ = tell.send((there.map(message), gone.is_none()));
            })
            .unwrap();
        for n in [1, 2, 9] {
            receiver.send(n).unwrap();
        }
        assert_eq!(next(system, &told), (Some(2), true));
    });
}

#[test]
fn a_message_that_comes_before_the_time_is_up_wins() {
    on_all(|system| {
        let (tell, told) = reports();
        let receiver = system
            .spawn(move |mut cx: Inbox<u32>| async move {
                let _ = tell.send(None);
                let got = cx.recv_timeout(Duration::from_secs(3600)).await;
                let _ = tell.send(got.map(message));
            })
            .unwrap();
        assert_eq!(next(system, &told), None);
        receiver.send(5).unwrap();
        assert_eq!(next(system, &told), Some(5));
    });
}

#[test]
fn a_sleeping_process_keeps_its_mail() {
    on_all(|system| {
        let (tell, told) = reports();
        let receiver = system
            .spawn(move |mut cx: Inbox<u32>| async move {
                cx.sleep(5 * MS).await;
                let mut seen = Vec::new();
                for _ in 0..3 {
                    seen.push(message(cx.recv().await));
                }
                let _ = tell.send(seen);
            })
            .unwrap();
        for n in 1..=3 {
            receiver.send(n).unwrap();
        }
        assert_eq!(next(system, &told), [1, 2, 3]);
    });
}

// --- combinators with wakers of their own ---

/// A child's waker: says that the child wants to be polled, and wakes the whole.
struct Flag {
    woken: AtomicBool,
    parent: Mutex<Option<Waker>>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, SeqCst);
        let parent = self.parent.lock().unwrap().clone();
        if let Some(parent) = parent {
            parent.wake();
        }
    }
}

struct Child<'a, T> {
    future: Pin<Box<dyn Future<Output = T> + Send + 'a>>,
    flag: Arc<Flag>,
}

/// Like `FuturesUnordered`: polls only those children whose waker was called.
struct Several<'a, T> {
    children: Vec<Option<Child<'a, T>>>,
    polls: usize,
}

impl<'a, T> Several<'a, T> {
    fn new() -> Self {
        Several {
            children: Vec::new(),
            polls: 0,
        }
    }

    fn and(mut self, future: impl Future<Output = T> + Send + 'a) -> Self {
        let flag = Flag {
            woken: AtomicBool::new(true),
            parent: Mutex::new(None),
        };
        self.children.push(Some(Child {
            future: Box::pin(future),
            flag: Arc::new(flag),
        }));
        self
    }

    /// The next child that is done.
    fn next(&mut self) -> impl Future<Output = (usize, T)> {
        std::future::poll_fn(|cx| self.poll(cx))
    }

    fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<(usize, T)> {
        self.polls += 1;
        assert!(self.polls < 1000, "polled again and again for nothing");
        for (i, place) in self.children.iter_mut().enumerate() {
            let Some(child) = place else { continue };
            *child.flag.parent.lock().unwrap() = Some(cx.waker().clone());
            if !child.flag.woken.swap(false, SeqCst) {
                continue;
            }
            let waker = Waker::from(child.flag.clone());
            let polled = child
                .future
                .as_mut()
                .poll(&mut TaskContext::from_waker(&waker));
            if let Poll::Ready(value) = polled {
                *place = None;
                return Poll::Ready((i, value));
            }
        }
        Poll::Pending
    }
}

#[test]
fn mail_reaches_a_receive_in_a_combinator_that_other_children_have_woken_since() {
    on_all(|system| {
        let (tell, told) = reports();
        let receiver = system
            .spawn(move |mut cx: Inbox<u32>| async move {
                let (first, second) = (cx.sleep(MS), cx.sleep(2 * MS));
                let mut several = Several::new()
                    .and(async { message(cx.recv().await) })
                    .and(async {
                        first.await;
                        100
                    })
                    .and(async {
                        second.await;
                        200
                    });
                for _ in 0..3 {
                    let _ = tell.send(several.next().await);
                }
            })
            .unwrap();
        assert_eq!(next(system, &told), (1, 100));
        assert_eq!(next(system, &told), (2, 200));
        receiver.send(7).unwrap();
        assert_eq!(next(system, &told), (0, 7));
    });
}

#[test]
fn a_receive_in_a_combinator_waits_without_being_polled() {
    let (system, driver) = quiet().virtual_clock().manual();
    let receiver = system
        .spawn(|mut cx: Inbox<u32>| async move {
            let polls = {
                let mut several = Several::new().and(async { message(cx.recv_match(is(0)).await) });
                several.next().await;
                several.polls
            };
            ExitReason::shutdown(polls as i64)
        })
        .unwrap();
    driver.run_until_idle();
    for n in [1, 2, 0] {
        receiver.send(n).unwrap();
        assert_eq!(driver.tick(Budget::messages(100)), Tick::Idle);
    }
    // Once to begin with, and once for each message; a spare one each does no harm.
    let polls: i64 = match receiver.exit_reason() {
        Some(ExitReason::Shutdown(Some(term))) => term.to_string().parse().unwrap(),
        other => panic!("{other:?}"),
    };
    assert!((4..=8).contains(&polls), "{polls} polls");
}

#[test]
fn a_receive_that_is_dropped_before_it_is_ready_has_taken_nothing() {
    on_all(|system| {
        let over = Arc::new(AtomicBool::new(false));
        let say_over = over.clone();
        let (tell, told) = reports();
        let receiver = system
            .spawn(move |mut cx: Inbox<u32>| async move {
                let sleep = cx.sleep(MS);
                {
                    let mut either = Several::new()
                        .and(async { message(cx.recv_match(is(3)).await) })
                        .and(async {
                            sleep.await;
                            0
                        });
                    assert_eq!(either.next().await, (1, 0));
                }
                say_over.store(true, SeqCst);
                let mut seen = Vec::new();
                for _ in 0..3 {
                    seen.push(message(cx.recv().await));
                }
                let _ = tell.send(seen);
            })
            .unwrap();
        for n in [1, 2] {
            receiver.send(n).unwrap();
        }
        // The sleep must be over before the third comes.
        until(system, || over.load(SeqCst));
        receiver.send(4).unwrap();
        assert_eq!(next(system, &told), [1, 2, 4]);
    });
}

#[test]
fn a_process_that_waits_for_something_else_is_not_run_for_its_mail() {
    let (system, driver) = quiet().virtual_clock().manual();
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = polls.clone();
    let receiver = system
        .spawn(move |_: Inbox<u32>| {
            std::future::poll_fn(move |_| {
                counted.fetch_add(1, SeqCst);
                Poll::<()>::Pending
            })
        })
        .unwrap();
    driver.run_until_idle();
    for n in 0..10 {
        receiver.send(n).unwrap();
        driver.run_until_idle();
    }
    assert_eq!(polls.load(SeqCst), 1);
    assert_eq!(settled(&system).queued, 10);
}

// --- hand-written state machines ---

/// Takes one message a poll, and keeps its waker for others to call.
struct OneByOne {
    tell: std::sync::mpsc::Sender<u32>,
    waker: Arc<Mutex<Option<Waker>>>,
    rung: Arc<AtomicUsize>,
    heard: usize,
}

impl Process for OneByOne {
    type Message = u32;
    fn poll(
        mut self: Pin<&mut Self>,
        inbox: &mut Inbox<u32>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<ExitReason> {
        *self.waker.lock().unwrap() = Some(cx.waker().clone());
        while self.heard < self.rung.load(SeqCst) {
            self.heard += 1;
            let _ = self.tell.send(1000);
        }
        match inbox.try_recv() {
            Some(Received::Message(0)) => Poll::Ready(ExitReason::shutdown("zero")),
            Some(Received::Message(n)) => {
                let _ = self.tell.send(n);
                Poll::Pending
            }
            _ => Poll::Pending,
        }
    }
}

#[test]
fn a_state_machine_gets_every_message_and_every_wake_up_from_a_foreign_thread() {
    on_all(|system| {
        let (tell, told) = reports();
        let (waker, rung) = (Arc::new(Mutex::new(None)), Arc::new(AtomicUsize::new(0)));
        let machine = system
            .spawn_process(OneByOne {
                tell,
                waker: waker.clone(),
                rung: rung.clone(),
                heard: 0,
            })
            .unwrap();
        for n in 1..=3 {
            machine.send(n).unwrap();
        }
        for n in 1..=3 {
            assert_eq!(next(system, &told), n);
        }
        for _ in 0..3 {
            let (waker, rung) = (waker.clone(), rung.clone());
            std::thread::spawn(move || {
                rung.fetch_add(1, SeqCst);
                let waker: Option<Waker> = waker.lock().unwrap().clone();
                waker.unwrap().wake();
            })
            .join()
            .unwrap();
            assert_eq!(next(system, &told), 1000);
        }
        let kept: Waker = waker.lock().unwrap().clone().unwrap();
        machine.send(0).unwrap();
        assert_eq!(end_of(system, &machine), ExitReason::shutdown("zero"));
        // A wake after the end does nothing, from anywhere.
        kept.wake_by_ref();
        std::thread::spawn(move || kept.wake()).join().unwrap();
        pump(system);
    });
}

#[test]
fn a_state_machine_that_leaves_mail_is_polled_for_the_next_arrival() {
    /// Takes nothing before it has been polled three times.
    struct Lazy(u32, std::sync::mpsc::Sender<Vec<u32>>);
    impl Process for Lazy {
        type Message = u32;
        fn poll(
            mut self: Pin<&mut Self>,
            inbox: &mut Inbox<u32>,
            _: &mut TaskContext<'_>,
        ) -> Poll<ExitReason> {
            self.0 += 1;
            if self.0 < 3 {
                return Poll::Pending;
            }
            let mut all = Vec::new();
            while let Some(received) = inbox.try_recv() {
                all.push(message(received));
            }
            let _ = self.1.send(all);
            Poll::Ready(ExitReason::Normal)
        }
    }
    let (system, driver) = quiet().virtual_clock().manual();
    let (tell, told) = reports();
    let lazy = system.spawn_process(Lazy(0, tell)).unwrap();
    driver.run_until_idle();
    for n in 1..=2 {
        assert!(told.try_recv().is_err());
        lazy.send(n).unwrap();
        driver.run_until_idle();
    }
    assert_eq!(told.try_recv(), Ok(vec![1, 2]));
}

// --- an inbox belongs to its process ---

fn panics(run: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(run)).is_err()
}

#[test]
fn an_inbox_used_outside_its_process_panics() {
    on_all(|system| {
        let (give, given) = reports();
        system
            .spawn(move |cx: Inbox<u32>| async move {
                let _ = give.send(cx);
            })
            .unwrap();
        let mut stolen = next(system, &given);
        assert!(panics(|| drop(stolen.try_recv())));
        assert!(panics(|| drop(stolen.this())));
        assert!(panics(|| assert!(stolen.pid().id() > 0)));

        let thief = system
            .spawn(move |_: Inbox<u32>| async move {
                stolen.recv().await;
            })
            .unwrap();
        assert!(matches!(end_of(system, &thief), ExitReason::Panic(_)));
    });
}

#[test]
fn an_inbox_that_outlives_its_process_is_not_taken_for_that_of_the_next() {
    on_all(|system| {
        for _ in 0..20 {
            let (give, given) = reports();
            let first = system
                .spawn(move |cx: Inbox<u32>| async move {
                    let _ = give.send(cx);
                })
                .unwrap();
            let stolen = next(system, &given);
            end_of(system, &first);
            drop(first);
            // Likely in the same memory.
            let (tell, told) = reports();
            let second = system
                .spawn(move |mut cx: Inbox<Inbox<u32>>| async move {
                    let mut stolen = message(cx.recv().await);
                    let outcome = panics(|| drop(stolen.try_recv()));
                    let _ = tell.send(outcome);
                })
                .unwrap();
            second.send(stolen).unwrap();
            assert!(next(system, &told), "used as if it were the process's own");
        }
    });
}

#[test]
fn priorities_and_bounds_are_options_of_a_spawn() {
    on_all(|system| {
        let options = SpawnOptions::new().priority(noex::Priority::High);
        let process = system
            .spawn_with(options, |mut cx: Inbox<()>| async move {
                cx.recv().await;
            })
            .unwrap();
        let info = system.process_info(process.pid()).wait().unwrap();
        assert_eq!(info.priority, noex::Priority::High);
    });
}
