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
