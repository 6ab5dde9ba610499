//! Who asks a server that is queued on the same scheduler thread runs again right behind it, without a
//! waker. Nobody may be able to tell, but by the time it takes: askers are answered, time out and die as
//! others do.

mod support;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::Sender;
use std::task::Poll;
use std::time::{Duration, Instant};

use noex::prelude::*;
use noex::{Budget, Call, CallError, Inbox, Received, Recipient, ReplyTo, Tick};
use support::{DEADLINE, next, on_all, quiet, reports};

/// Answers at once, later, or not before it may.
struct Server {
    kept: Vec<ReplyTo<u32>>,
}
struct Echo(u32);
struct Keep(u32);
/// Says that it has begun, and holds the thread until it is told.
struct Spin(Sender<()>, Arc<AtomicBool>);
struct Through(ServerRef<Server>, u32);

impl GenServer for Server {
    type Args = ();
    async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Server { kept: Vec::new() })
    }
}
impl HandleCall<Echo> for Server {
    type Reply = u32;
    async fn handle_call(&mut self, Echo(n): Echo, _: &mut Context<Self>) -> u32 {
        n
    }
}
impl HandleRequest<Keep> for Server {
    type Reply = u32;
    async fn handle_request(&mut self, Keep(n): Keep, reply: ReplyTo<u32>, _: &mut Context<Self>) {
        // Every second answer comes with the next question.
        match self.kept.pop() {
            Some(kept) => {
                kept.reply(n);
                reply.reply(n);
            }
            None => self.kept.push(reply),
        }
    }
}
impl HandleCall<Spin> for Server {
    type Reply = ();
    async fn handle_call(&mut self, Spin(begun, until): Spin, _: &mut Context<Self>) {
        let end = Instant::now() + DEADLINE;
        let _ = begun.send(());
        while !until.load(SeqCst) && Instant::now() < end {
            std::hint::spin_loop();
        }
    }
}
impl HandleCall<Through> for Server {
    type Reply = Result<u32, CallError>;
    async fn handle_call(&mut self, through: Through, _: &mut Context<Self>) -> Self::Reply {
        let Through(next, n) = through;
        match n {
            0 => next.call(Echo(7)).await,
            n => next.call(Echo(n)).await.map(|n| n * 2),
        }
    }
}

/// Asks the first of them to ask the others. The way round, if that is a circle.
struct Circle(Vec<ServerRef<Server>>);

impl HandleCall<Circle> for Server {
    type Reply = Vec<Pid>;
    async fn handle_call(&mut self, Circle(mut rest): Circle, _: &mut Context<Self>) -> Vec<Pid> {
        if rest.is_empty() {
            return Vec::new();
        }
        let next = rest.remove(0);
        match next.call_with(Circle(rest), None).await {
            Ok(way) => way,
            Err(CallError::Cycle(way)) => way.pids().to_vec(),
            Err(other) => panic!("{other}"),
        }
    }
}

fn server(system: &System) -> ServerRef<Server> {
    system.start::<Server>(()).wait().expect("a server")
}

#[test]
fn questions_and_answers_keep_their_order() {
    on_all(|system| {
        let (a, b) = (server(system), server(system));
        let (tell, told) = reports();
        let asker = system.spawn(move |_: Inbox<()>| async move {
            for n in 0..300 {
                assert_eq!(a.call(Echo(n)).await, Ok(n));
                assert_eq!(
                    a.call(Through(b.clone(), n)).await,
                    Ok(Ok(if n == 0 { 7 } else { 2 * n }))
                );
            }
            let _ = tell.send(());
        });
        assert!(asker.is_ok());
        next(system, &told);
    });
}

#[test]
fn an_answer_that_comes_later_wakes_the_asker() {
    on_all(|system| {
        let it = server(system);
        let (tell, told) = reports();
        for _ in 0..2 {
            let (it, tell) = (it.clone(), tell.clone());
            let asker = system.spawn(move |_: Inbox<()>| async move {
                for n in 0..100 {
                    let answer = it.call_with(Keep(n), None).await;
                    assert!(answer.is_ok(), "{answer:?}");
                }
                let _ = tell.send(());
            });
            assert!(asker.is_ok());
        }
        // The two need each other; each asks as often as the other.
        next(system, &told);
        next(system, &told);
    });
}

#[test]
fn an_asker_waits_for_other_things_beside_the_answer() {
    on_all(|system| {
        let (fast, mute) = (server(system), server(system));
        let (tell, told) = reports();
        let asker: Recipient<u32> = system
            .spawn(move |mut inbox: Inbox<u32>| async move {
                // Two calls at once, of which one is not answered; then a call that is polled once and
                // dropped; then mail.
                let (quick, silent) = (fast.call(Echo(1)), mute.call_with(Keep(2), None));
                let first = first_of(silent, quick).await;
                let mut once = pin!(fast.call(Echo(3)));
                poll_fn(|cx| {
                    let _ = once.as_mut().poll(cx);
                    Poll::Ready(())
                })
                .await;
                let Received::Message(mail) = inbox.recv().await else {
                    return;
                };
                let _ = tell.send((first, mail));
            })
            .expect("a process");
        asker.send(5).expect("it lives");
        assert_eq!(next(system, &told), (Ok(1), 5));
    });
}

/// The answer of whichever of two calls is there first.
async fn first_of(a: Call<u32>, b: Call<u32>) -> Result<u32, CallError> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|cx| match a.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(answer),
        Poll::Pending => b.as_mut().poll(cx),
    })
    .await
}

#[test]
fn an_asker_times_out_though_the_server_holds_its_thread() {
    for threads in [2, 4] {
        let system = quiet().schedulers(threads).build().expect("threads");
        let it = server(&system);
        let ((tell, told), (begin, _begun)) = (reports(), reports());
        let free = Arc::new(AtomicBool::new(false));
        let until = free.clone();
        let asker = system.spawn(move |_: Inbox<()>| async move {
            let timeout = Duration::from_millis(150);
            let _ = tell.send(it.call_with(Spin(begin, until), timeout).await);
        });
        assert!(asker.is_ok());
        // While it is answered by nobody.
        assert_eq!(told.recv_timeout(DEADLINE), Ok(Err(CallError::Timeout)));
        free.store(true, SeqCst);
        assert!(system.shutdown().wait_timeout(DEADLINE).is_ok());
    }
}

#[test]
fn an_asker_dies_though_the_server_holds_its_thread() {
    for threads in [2, 4] {
        let system = quiet().schedulers(threads).build().expect("threads");
        let it = server(&system);
        let (begin, begun) = reports();
        let free = Arc::new(AtomicBool::new(false));
        let until = free.clone();
        let asker: Recipient<()> = system
            .spawn(move |_: Inbox<()>| async move {
                let _never = it.call_with(Spin(begin, until), None).await;
            })
            .expect("a process");
        let end = system.monitor(asker.pid());
        assert!(begun.recv_timeout(DEADLINE).is_ok());
        system.exit(asker.pid(), ExitReason::Kill);
        let down = end.wait_timeout(DEADLINE);
        assert_eq!(down.map(|down| down.reason), Ok(ExitReason::Killed));
        free.store(true, SeqCst);
        assert!(system.shutdown().wait_timeout(DEADLINE).is_ok());
    }
}

#[test]
fn under_a_driver_without_a_seed_a_tick_of_one_message_at_a_time_comes_to_the_same() {
    let (system, driver) = System::builder().manual();
    let (a, b) = (server(&system), server(&system));
    let (tell, told) = reports();
    let asker = system.spawn(move |_: Inbox<()>| async move {
        for n in 1..50 {
            assert_eq!(a.call(Through(b.clone(), n)).await, Ok(Ok(2 * n)));
        }
        let _ = tell.send(());
    });
    assert!(asker.is_ok());
    while driver.tick(Budget::messages(1)) == Tick::More {}
    assert!(
        told.try_recv().is_ok(),
        "nothing is left to run, and all is answered"
    );
}

#[test]
fn of_servers_that_ask_each_other_in_a_circle_the_last_is_told() {
    let on_a_thread = quiet().schedulers(1).build().expect("a thread");
    let (under_a_driver, _driver) = quiet().manual();
    for system in [on_a_thread, under_a_driver] {
        for length in 1..=5 {
            let all: Vec<_> = (0..length).map(|_| server(&system)).collect();
            let mut way = all[1..].to_vec();
            way.push(all[0].clone());
            let told = all[0].call_with(Circle(way), None).wait_timeout(DEADLINE);
            let mut round: Vec<Pid> = all.iter().map(ServerRef::pid).collect();
            round.rotate_right(1);
            round.push(round[0]);
            assert_eq!(told, Ok(round));
        }
        assert!(system.shutdown().wait_timeout(DEADLINE).is_ok());
    }
}

/// A process that asks on and on, and one beside it that only wants two turns.
fn asks_on_and_on_beside(
    system: &System,
    free: &Arc<AtomicBool>,
    run: impl FnOnce(),
) -> std::sync::mpsc::Receiver<()> {
    let it = server(system);
    let (tell, told) = reports();
    let (begin, begun) = reports();
    let stop = free.clone();
    let asker = system.spawn(move |_: Inbox<()>| async move {
        let mut n = 0;
        while !stop.load(SeqCst) {
            assert!(it.call(Echo(n)).await.is_ok());
            if n == 1000 {
                let _ = begin.send(());
            }
            n = n.wrapping_add(1);
        }
    });
    assert!(asker.is_ok());
    run();
    assert!(begun.recv_timeout(DEADLINE).is_ok());
    let beside = system.spawn(move |cx: Inbox<()>| async move {
        for _ in 0..30 {
            cx.yield_now().await;
        }
        let _ = tell.send(());
    });
    assert!(beside.is_ok());
    told
}

#[test]
fn who_asks_on_and_on_starves_nobody_on_a_thread() {
    let system = quiet().schedulers(1).build().expect("a thread");
    let free = Arc::new(AtomicBool::new(false));
    let told = asks_on_and_on_beside(&system, &free, || ());
    let heard = told.recv_timeout(DEADLINE);
    free.store(true, SeqCst);
    assert_eq!(heard, Ok(()), "starved");
}

#[test]
fn who_asks_on_and_on_starves_nobody_under_a_driver() {
    let (system, driver) = quiet().manual();
    let free = Arc::new(AtomicBool::new(false));
    let told = asks_on_and_on_beside(&system, &free, || {
        let _ = driver.tick(Budget::messages(10_000));
    });
    let _ = driver.tick(Budget::messages(1_000_000));
    let heard = told.try_recv();
    free.store(true, SeqCst);
    driver.run_until_idle();
    assert_eq!(heard, Ok(()), "starved for a million messages");
}

/// What a system of two threads, the other of which is busy, does to one that asks a server that holds
/// its thread.
fn beside_a_busy_thread(timeout: Option<Duration>, kill: bool) -> Result<(), String> {
    let system = quiet().schedulers(2).build().expect("threads");
    let free = Arc::new(AtomicBool::new(false));
    // A thread's worth of work, in two processes that always have one queued.
    for _ in 0..2 {
        let until = free.clone();
        let busy = system.spawn(move |cx: Inbox<()>| async move {
            while !until.load(SeqCst) {
                cx.yield_now().await;
            }
        });
        assert!(busy.is_ok());
    }
    let it = server(&system);
    let ((begin, begun), (tell, told)) = (reports(), reports());
    let until = free.clone();
    let asker: Recipient<()> = system
        .spawn(move |_: Inbox<()>| async move {
            let _ = tell.send(it.call_with(Spin(begin, until), timeout).await);
        })
        .expect("a process");
    let end = system.monitor(asker.pid());
    assert!(begun.recv_timeout(DEADLINE).is_ok());
    if kill {
        system.exit(asker.pid(), ExitReason::Kill);
    }
    let seen = if kill {
        end.wait_timeout(DEADLINE)
            .map(|_| ())
            .map_err(|e| format!("not dead after its kill: {e:?}"))
    } else {
        match told.recv_timeout(DEADLINE) {
            Ok(Err(CallError::Timeout)) => Ok(()),
            other => Err(format!("no timeout: {other:?}")),
        }
    };
    free.store(true, SeqCst);
    assert!(system.shutdown().wait_timeout(DEADLINE).is_ok());
    seen
}

#[test]
fn an_asker_dies_though_the_server_holds_its_thread_and_the_others_are_busy() {
    assert_eq!(beside_a_busy_thread(None, true), Ok(()));
}

#[test]
fn an_asker_times_out_though_the_server_holds_its_thread_and_the_others_are_busy() {
    assert_eq!(
        beside_a_busy_thread(Some(Duration::from_millis(150)), false),
        Ok(())
    );
}

#[test]
fn who_yields_while_it_asks_goes_to_the_back_of_the_queue() {
    let (system, driver) = quiet().manual();
    let it = server(&system);
    let (tell, told) = reports();
    let other = tell.clone();
    let asker = system.spawn(move |cx: Inbox<()>| async move {
        let beside: Recipient<()> = cx
            .system()
            .spawn(move |mut inbox: Inbox<()>| async move {
                let _ = inbox.recv().await;
                let _ = other.send("other");
            })
            .expect("a process");
        // So that it waits for its message.
        cx.yield_now().await;
        cx.yield_now().await;
        beside.send(()).expect("it lives");
        // Pushes the other one out of the slot into the queue.
        let mut call = pin!(it.call(Echo(1)));
        let mut back = pin!(cx.yield_now());
        poll_fn(|cx| {
            let _ = call.as_mut().poll(cx);
            back.as_mut().poll(cx)
        })
        .await;
        let _ = tell.send("asker");
    });
    assert!(asker.is_ok());
    driver.run_until_idle();
    assert_eq!(told.try_iter().collect::<Vec<_>>(), ["other", "asker"]);
}

/// Asks on each poll, and does not wait for the answer.
#[test]
fn who_asks_anew_on_each_poll_rests_when_it_is_polled_for_nothing() {
    let (system, driver) = quiet().manual();
    let it = server(&system);
    let polls = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = polls.clone();
    let asker = system.spawn(move |_: Inbox<()>| async move {
        poll_fn(|cx| {
            counted.fetch_add(1, SeqCst);
            let mut call = pin!(it.call(Echo(3)));
            let _ = call.as_mut().poll(cx);
            Poll::<()>::Pending
        })
        .await;
    });
    assert!(asker.is_ok());
    let _ = driver.tick(Budget::messages(100_000));
    assert!(
        polls.load(SeqCst) <= 2,
        "polled {} times",
        polls.load(SeqCst)
    );
}

/// Never answers.
struct Nap;
impl HandleCall<Nap> for Server {
    type Reply = ();
    async fn handle_call(&mut self, _: Nap, cx: &mut Context<Self>) {
        cx.sleep(Duration::from_secs(3600)).await;
    }
}

#[test]
fn a_call_whose_time_is_over_says_so_when_it_is_polled() {
    let (system, driver) = quiet().virtual_clock().manual();
    let (mute, it) = (server(&system), server(&system));
    let (tell, told) = reports();
    let asker = system.spawn(move |cx: Inbox<()>| async move {
        let mut call = pin!(mute.call_with(Nap, Duration::from_millis(150)));
        cx.sleep(Duration::from_secs(1)).await;
        // Is in the slot.
        let _other = it.call(Echo(1));
        poll_fn(|cx| {
            let _ = tell.send(call.as_mut().poll(cx));
            Poll::Ready(())
        })
        .await;
    });
    assert!(asker.is_ok());
    driver.advance(Duration::from_secs(2));
    assert_eq!(told.try_recv(), Ok(Poll::Ready(Err(CallError::Timeout))));
}

#[test]
fn of_low_servers_that_ask_each_other_in_a_circle_the_last_is_told() {
    for priority in [noex::Priority::Low, noex::Priority::High] {
        let (system, _driver) = quiet().manual();
        let first = system
            .start_with::<Server>((), noex::ServerOptions::new().priority(priority))
            .wait()
            .expect("a server");
        let second = server(&system);
        let way = vec![second.clone(), first.clone()];
        let told = first.call_with(Circle(way), None).wait_timeout(DEADLINE);
        let round: Vec<Pid> = vec![second.pid(), first.pid(), second.pid()];
        assert_eq!(told, Ok(round), "{priority:?}");
    }
}

/// Many askers of all priorities, of servers that ask each other as they like.
#[test]
fn askers_of_all_priorities_are_answered_whatever_else_they_wait_for() {
    for threads in [1, 2, 4] {
        let system = quiet().schedulers(threads).build().expect("threads");
        let servers: Vec<_> = (0..6)
            .map(|n| {
                let priority = [
                    noex::Priority::Low,
                    noex::Priority::High,
                    noex::Priority::Normal,
                ][(n % 6).min(2)];
                system
                    .start_with::<Server>((), noex::ServerOptions::new().priority(priority))
                    .wait()
                    .expect("a server")
            })
            .collect();
        let (tell, told) = reports();
        const ASKERS: u64 = 24;
        for seed in 1..=ASKERS {
            let (servers, tell) = (servers.clone(), tell.clone());
            let priority = [
                noex::Priority::Low,
                noex::Priority::High,
                noex::Priority::Normal,
            ][(seed % 6).min(2) as usize];
            let asker = system.spawn_with(
                noex::SpawnOptions::new().priority(priority),
                move |cx: Inbox<()>| async move {
                    let mut x = seed;
                    let mut rand = move |n: usize| {
                        x ^= x << 13;
                        x ^= x >> 7;
                        x ^= x << 17;
                        (x % n as u64) as usize
                    };
                    for n in 1..1500u32 {
                        let (a, b) = (servers[rand(6)].clone(), servers[rand(6)].clone());
                        match rand(8) {
                            0 => assert_eq!(a.call(Echo(n)).await, Ok(n)),
                            1 => {
                                let got = a.call(Through(b, n)).await;
                                assert!(
                                    matches!(&got, Ok(Ok(m)) if *m == 2 * n)
                                        || matches!(&got, Ok(Err(CallError::Cycle(_)))),
                                    "{got:?}"
                                );
                            }
                            2 => {
                                let got = first_of(a.call(Echo(n)), b.call(Echo(n))).await;
                                assert_eq!(got, Ok(n));
                            }
                            3 => {
                                let mut once = pin!(a.call(Echo(3)));
                                poll_fn(|cx| {
                                    let _ = once.as_mut().poll(cx);
                                    Poll::Ready(())
                                })
                                .await;
                                cx.yield_now().await;
                            }
                            4 => {
                                let way = (0..rand(5)).map(|_| servers[rand(6)].clone()).collect();
                                let got = a.call_with(Circle(way), None).await;
                                assert!(got.is_ok(), "{got:?}");
                            }
                            5 => {
                                let (x, y) = futures_lite::future::zip(a.call(Echo(n)), async {
                                    cx.yield_now().await;
                                    b.call(Echo(n)).await
                                })
                                .await;
                                assert_eq!((x, y), (Ok(n), Ok(n)));
                            }
                            6 => {
                                // First polled here, then elsewhere.
                                let mut call = Box::pin(a.call(Echo(n)));
                                let there = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
                                if there.is_pending() {
                                    let moved = cx
                                        .system()
                                        .spawn(move |_: Inbox<()>| async move {
                                            assert_eq!(call.await, Ok(n));
                                        })
                                        .expect("a process");
                                    let down = cx.system().monitor(moved.pid()).await;
                                    assert!(down.is_ok(), "{down:?}");
                                }
                            }
                            _ => {
                                let got = a.call_with(Echo(n), Duration::from_millis(120)).await;
                                assert!(got == Ok(n) || got == Err(CallError::Timeout), "{got:?}");
                            }
                        }
                    }
                    let _ = tell.send(seed);
                },
            );
            assert!(asker.is_ok());
        }
        drop(tell);
        for _ in 0..ASKERS {
            assert!(told.recv_timeout(DEADLINE).is_ok(), "{threads} threads");
        }
        assert!(system.shutdown().wait_timeout(DEADLINE).is_ok());
    }
}

/// Has something in the slot when it asks the next one, which asks a third.
struct Aside(ServerRef<Server>, ServerRef<Server>, ServerRef<Server>);

impl HandleCall<Aside> for Server {
    type Reply = Result<Result<u32, CallError>, CallError>;
    async fn handle_call(
        &mut self,
        Aside(other, next, last): Aside,
        _: &mut Context<Self>,
    ) -> Self::Reply {
        let _other = other.call(Echo(0));
        next.call(Through(last, 2)).await
    }
}

#[test]
fn a_high_server_that_asks_while_an_asker_owes_its_edge_does_not_spin() {
    let (system, driver) = quiet().manual();
    let high = system
        .start_with::<Server>(
            (),
            noex::ServerOptions::new().priority(noex::Priority::High),
        )
        .wait()
        .expect("a server");
    let (first, other, last) = (server(&system), server(&system), server(&system));
    let mut told = first.call_with(Aside(other, high, last), None);
    assert_eq!(driver.tick(Budget::messages(100_000)), Tick::Idle);
    assert_eq!(told.try_take(), Some(Ok(Ok(Ok(4)))));
}
