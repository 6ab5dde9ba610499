//! Calls: every way in which one is answered, and every way in which it is not; and cycles.

mod support;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::time::Duration;

use noex::prelude::*;
use noex::{Call, CallError, Calls, Inbox, ReplyTo, call_all};
use support::{DEADLINE, next, on_all, quiet, reports};

/// Answers as it is asked to.
#[derive(Default)]
struct Clerk {
    kept: Vec<ReplyTo<u32>>,
}
/// Answers at once.
struct Now(u32);
/// Sleeps first.
struct After(u64, u32);
/// Keeps the right to answer.
struct Keep;
/// Answers all that were kept.
struct AnswerKept(u32);
/// Drops all that were kept.
struct DropKept;
/// Panics with the right to answer in its hand.
struct PanicWithIt;
/// Hands the right to answer on.
struct HandOn(std::sync::mpsc::Sender<ReplyTo<u32>>);
/// Calls another server and gives its answer.
#[derive(Clone)]
struct Through(Vec<ServerRef<Clerk>>);
/// As `Through`, with the right to answer in hand.
struct ThroughRequest(Vec<ServerRef<Clerk>>);

impl GenServer for Clerk {
    type Args = ();
    async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Clerk::default())
    }
}
impl HandleCall<Now> for Clerk {
    type Reply = u32;
    async fn handle_call(&mut self, now: Now, _: &mut Context<Self>) -> u32 {
        now.0
    }
}
impl HandleCall<After> for Clerk {
    type Reply = u32;
    async fn handle_call(&mut self, after: After, cx: &mut Context<Self>) -> u32 {
        cx.sleep(Duration::from_millis(after.0)).await;
        after.1
    }
}
impl HandleRequest<Keep> for Clerk {
    type Reply = u32;
    async fn handle_request(&mut self, _: Keep, reply: ReplyTo<u32>, _: &mut Context<Self>) {
        self.kept.push(reply);
    }
}
impl HandleCast<AnswerKept> for Clerk {
    async fn handle_cast(&mut self, answer: AnswerKept, _: &mut Context<Self>) {
        for reply in self.kept.drain(..) {
            reply.reply(answer.0);
        }
    }
}
impl HandleCast<DropKept> for Clerk {
    async fn handle_cast(&mut self, _: DropKept, _: &mut Context<Self>) {
        self.kept.clear();
    }
}
impl HandleRequest<PanicWithIt> for Clerk {
    type Reply = u32;
    async fn handle_request(
        &mut self,
        _: PanicWithIt,
        _reply: ReplyTo<u32>,
        _: &mut Context<Self>,
    ) {
        panic!("with the right to answer in hand");
    }
}
impl HandleRequest<HandOn> for Clerk {
    type Reply = u32;
    async fn handle_request(&mut self, to: HandOn, reply: ReplyTo<u32>, _: &mut Context<Self>) {
        let _ = to.0.send(reply);
    }
}
impl HandleCall<Through> for Clerk {
    type Reply = Result<u32, CallError>;
    async fn handle_call(
        &mut self,
        mut through: Through,
        _: &mut Context<Self>,
    ) -> Result<u32, CallError> {
        match through.0.pop() {
            None => Ok(0),
            Some(next) => next.call(through).await?.map(|n| n + 1),
        }
    }
}
impl HandleRequest<ThroughRequest> for Clerk {
    type Reply = Result<u32, CallError>;
    async fn handle_request(
        &mut self,
        mut through: ThroughRequest,
        reply: ReplyTo<Self::Reply>,
        _: &mut Context<Self>,
    ) {
        reply.reply(match through.0.pop() {
            None => Ok(0),
            Some(next) => match next.call(through).await {
                Ok(answer) => answer,
                Err(error) => Err(error),
            },
        });
    }
}

fn clerk(system: &System) -> ServerRef<Clerk> {
    system.start::<Clerk>(()).wait_timeout(DEADLINE).unwrap()
}

/// Runs `body` as a process and gives what it returns.
fn inside<R, F>(system: &System, body: impl FnOnce(Inbox<()>) -> F + Send + 'static) -> R
where
    R: Send + 'static,
    F: Future<Output = R> + Send + 'static,
{
    let (tell, told) = reports();
    let run = move |cx: Inbox<()>| async move {
        let _ = tell.send(body(cx).await);
    };
    system.spawn(run).unwrap();
    next(system, &told)
}

#[test]
fn a_dead_server_answers_at_once_with_its_reason() {
    on_all(|system| {
        let server = clerk(system);
        server
            .stop(ExitReason::Timeout)
            .wait_timeout(DEADLINE)
            .unwrap();
        let mut call = server.call_with(Now(1), None);
        assert_eq!(
            call.try_take(),
            Some(Err(CallError::Exited(ExitReason::Timeout)))
        );
        assert_eq!(
            system.server::<Clerk>("nobody").call(Now(1)).wait(),
            Err(CallError::NoProc)
        );
    });
}

#[test]
fn a_server_that_dies_wakes_its_caller_and_those_who_queue() {
    on_all(|system| {
        let server = clerk(system);
        let calls: Vec<_> = [
            server.call_with(After(3_600_000, 1), None),
            server.call_with(After(0, 2), None),
        ]
        .into();
        support::pump(system);
        system.exit(server.pid(), ExitReason::Kill);
        for call in calls {
            assert_eq!(
                call.wait_timeout(DEADLINE),
                Err(CallError::Exited(ExitReason::Killed))
            );
        }
    });
}

#[test]
fn the_right_to_answer_can_be_kept_handed_on_dropped_and_lost_with_its_holder() {
    on_all(|system| {
        let server = clerk(system);
        let kept = server.call_with(Keep, None);
        server.cast(AnswerKept(7)).unwrap();
        assert_eq!(kept.wait_timeout(DEADLINE), Ok(7));

        let dropped = server.call_with(Keep, None);
        server.cast(DropKept).unwrap();
        assert_eq!(dropped.wait_timeout(DEADLINE), Err(CallError::NoReply));
        assert!(server.is_alive());

        let (to, holder) = reports();
        let handed_on = server.call_with(HandOn(to), None);
        let reply = next(system, &holder);
        std::thread::spawn(move || reply.reply(8)).join().unwrap();
        assert_eq!(handed_on.wait_timeout(DEADLINE), Ok(8));

        let lost = server.call_with(Keep, None);
        support::pump(system);
        server
            .stop(ExitReason::Timeout)
            .wait_timeout(DEADLINE)
            .unwrap();
        assert_eq!(
            lost.wait_timeout(DEADLINE),
            Err(CallError::Exited(ExitReason::Timeout))
        );

        let server = clerk(system);
        let panicked = server.call_with(PanicWithIt, None).wait_timeout(DEADLINE);
        assert!(
            matches!(panicked, Err(CallError::Exited(ExitReason::Panic(_)))),
            "{panicked:?}"
        );
    });
}

#[test]
fn a_caller_that_gave_up_leaves_no_trace() {
    struct Heavy(Arc<AtomicUsize>);
    impl Drop for Heavy {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    struct Make(Arc<AtomicUsize>);
    impl HandleCall<Make> for Clerk {
        type Reply = Heavy;
        async fn handle_call(&mut self, make: Make, _: &mut Context<Self>) -> Heavy {
            Heavy(make.0)
        }
    }
    on_all(|system| {
        let server = clerk(system);
        let drops = Arc::new(AtomicUsize::new(0));
        drop(server.call(Make(drops.clone())));
        assert_eq!(server.call(Now(1)).wait_timeout(DEADLINE), Ok(1));
        assert_eq!(drops.load(SeqCst), 1);
        drop(
            server
                .call(Make(drops.clone()))
                .wait_timeout(DEADLINE)
                .unwrap(),
        );
        assert_eq!(drops.load(SeqCst), 2);
    });
}

#[test]
fn timeouts_of_calls_in_a_process_each_come_at_their_own_time() {
    let (system, _driver) = quiet().virtual_clock().auto_advance().manual();
    let server = clerk(&system);
    let times = inside(&system, move |cx: Inbox<()>| async move {
        let mut times = Vec::new();
        for ms in [20, 5, 10] {
            let start = cx.system().now();
            let asked = server
                .call_with(After(1000, 0), Duration::from_millis(ms))
                .await;
            times.push((asked, cx.system().now() - start));
        }
        // One that is answered in time leaves no alarm that ends a later wait.
        times.push((
            server.call_with(Now(3), Duration::from_secs(3600)).await,
            Duration::ZERO,
        ));
        times
    });
    let ms = Duration::from_millis;
    let timeout = Err(CallError::Timeout);
    assert_eq!(
        times[..3],
        [
            (timeout.clone(), ms(20)),
            (timeout.clone(), ms(5)),
            (timeout, ms(10))
        ]
    );
    assert_eq!(times[3].0, Ok(3));
}

#[test]
fn a_call_to_a_server_that_never_answers_times_out_on_every_driver_and_runtime() {
    on_all(|system| {
        let server = clerk(system);
        let ms = Duration::from_millis;
        assert_eq!(
            server.call_with(Keep, ms(20)).wait(),
            Err(CallError::Timeout)
        );
        assert_eq!(
            server.call_with(Keep, None).wait_timeout(ms(20)),
            Err(CallError::Timeout)
        );
        let inside_it = server.clone();
        let asked = inside(system, move |_: Inbox<()>| async move {
            inside_it.call_with(Keep, ms(20)).await
        });
        assert_eq!(asked, Err(CallError::Timeout));
    });
    // Another runtime: it only knows wakers.
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let system = quiet().schedulers(2).build().unwrap();
    let server = clerk(&system);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = TaskContext::from_waker(&waker);
    for (timeout, expected) in [(20, Err(CallError::Timeout)), (60_000, Ok(9))] {
        let mut call: Call<u32> = server.call_with(Keep, Duration::from_millis(timeout));
        if expected.is_ok() {
            server.cast(AnswerKept(9)).unwrap();
        }
        let answer = loop {
            match Pin::new(&mut call).poll(&mut cx) {
                Poll::Ready(answer) => break answer,
                Poll::Pending => std::thread::park_timeout(DEADLINE),
            }
        };
        assert_eq!(answer, expected);
    }
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Polls only those of its futures whose own waker was called, as `FuturesUnordered` does.
struct Picky<T> {
    futures: Vec<(Arc<Flag>, Option<Boxed<T>>)>,
}
struct Flag {
    woken: std::sync::atomic::AtomicBool,
    outer: std::sync::Mutex<Option<Waker>>,
}
impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, SeqCst);
        if let Some(outer) = self.outer.lock().unwrap().as_ref() {
            outer.wake_by_ref();
        }
    }
}
impl<T> Picky<T> {
    fn new(futures: Vec<Boxed<T>>) -> Self {
        let flag = || {
            Arc::new(Flag {
                woken: true.into(),
                outer: None.into(),
            })
        };
        Picky {
            futures: futures
                .into_iter()
                .map(|future| (flag(), Some(future)))
                .collect(),
        }
    }
}
impl<T> Future for Picky<T> {
    type Output = T;
    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<T> {
        for (flag, slot) in &mut self.futures {
            *flag.outer.lock().unwrap() = Some(cx.waker().clone());
            let Some(future) = slot else { continue };
            if flag.woken.swap(false, SeqCst) {
                let waker = Waker::from(flag.clone());
                if let Poll::Ready(value) =
                    future.as_mut().poll(&mut TaskContext::from_waker(&waker))
                {
                    *slot = None;
                    return Poll::Ready(value);
                }
            }
        }
        Poll::Pending
    }
}

#[test]
fn calls_and_sleeps_work_inside_combinators_with_wakers_of_their_own() {
    on_all(|system| {
        let server = clerk(system);
        let first = inside(system, move |cx: Inbox<()>| async move {
            let (slow, kept, quick) = (
                cx.sleep(Duration::from_secs(3000)),
                server.call_with(Keep, None),
                server.call(Now(4)),
            );
            let slow = async move {
                slow.await;
                Ok(0)
            };
            Picky::new(vec![Box::pin(slow), Box::pin(kept), Box::pin(quick)]).await
        });
        assert_eq!(first, Ok(4));
    });
}

#[test]
fn a_set_of_calls_gives_the_answers_as_they_come_or_all_in_order() {
    on_all(|system| {
        let servers: Vec<_> = (0..3).map(|_| clerk(system)).collect();
        let asked = servers.clone();
        let order = inside(system, move |_: Inbox<()>| async move {
            let mut calls = Calls::new();
            for (server, ms) in asked.iter().zip([30, 10, 20]) {
                calls.add(server.call(After(ms, ms as u32)));
            }
            let mut order = Vec::new();
            while let Some((place, answer)) = calls.next_answer().await {
                order.push((place, answer));
            }
            order
        });
        let mut places: Vec<_> = order.iter().map(|(place, _)| *place).collect();
        places.sort_unstable();
        assert_eq!(places, [0, 1, 2]);
        let all = call_all(&servers, Through(Vec::new())).wait();
        assert_eq!(all, [Ok(Ok(0)), Ok(Ok(0)), Ok(Ok(0))]);
    });
}

/// `servers[0]` calls `servers[1]`, and so on round to the first: `length` servers.
fn round(system: &System, length: usize) -> (Vec<ServerRef<Clerk>>, Result<u32, CallError>) {
    let servers: Vec<_> = (0..length).map(|_| clerk(system)).collect();
    let mut way: Vec<_> = servers[1..].to_vec();
    way.push(servers[0].clone());
    way.reverse();
    let answer = servers[0]
        .call(Through(way))
        .wait_timeout(DEADLINE)
        .unwrap();
    (servers, answer)
}

#[test]
fn a_cycle_of_calls_is_an_error_with_its_path() {
    on_all(|system| {
        for length in 1..=4 {
            let (servers, answer) = round(system, length);
            let Err(CallError::Cycle(path)) = answer else {
                panic!("{answer:?}")
            };
            // Who closes it is who began to wait last: on one thread the last, who calls the first.
            let (round, way): (Vec<Pid>, _) =
                (servers.iter().map(ServerRef::pid).collect(), path.pids());
            assert_eq!((way.len(), way[0]), (length + 1, way[length]));
            let start = round.iter().position(|pid| *pid == way[0]).unwrap();
            assert!((0..length).all(|n| way[n] == round[(start + n) % length]));
            // The others went on.
            assert!(
                servers
                    .iter()
                    .all(|server| server.call(Now(5)).wait_timeout(DEADLINE) == Ok(5))
            );
        }
    });
}

#[test]
fn two_that_call_each_other_at_once_never_hang() {
    let system = quiet().schedulers(4).build().unwrap();
    for _ in 0..500 {
        let (a, b) = (clerk(&system), clerk(&system));
        let calls = [
            a.call_with(Through(vec![b.clone()]), None),
            b.call_with(Through(vec![a.clone()]), None),
        ];
        for call in calls {
            let answer = call
                .wait_timeout(DEADLINE)
                .expect("an answer, one way or the other");
            assert!(
                matches!(answer, Ok(1) | Err(CallError::Cycle(_))),
                "{answer:?}"
            );
        }
    }
}

#[test]
fn what_is_no_cycle_is_never_called_one() {
    // Deferred, and raced: both would be cycles if each wait were an edge.
    struct Race(ServerRef<Clerk>, ServerRef<Clerk>);
    impl HandleCall<Race> for Clerk {
        type Reply = Result<u32, CallError>;
        async fn handle_call(
            &mut self,
            race: Race,
            cx: &mut Context<Self>,
        ) -> Result<u32, CallError> {
            // Calls itself round a corner, but gives up.
            let mut call = race.0.call_with(Through(vec![race.1]), None);
            let mut sleep = cx.sleep(Duration::from_millis(5));
            std::future::poll_fn(|cx| {
                if let Poll::Ready(answer) = Pin::new(&mut call).poll(cx) {
                    return Poll::Ready(answer.and_then(|answer| answer));
                }
                Pin::new(&mut sleep).poll(cx).map(|()| Ok(77))
            })
            .await
        }
    }
    on_all(|system| {
        let (a, b) = (clerk(system), clerk(system));
        assert_eq!(
            a.call(Race(b.clone(), a.clone())).wait_timeout(DEADLINE),
            Ok(Ok(77))
        );
        // The right to answer is in hand: it might be handed on, so waiting is no edge. It times out.
        let (a, b) = (clerk(system), clerk(system));
        let ring = ThroughRequest(vec![a.clone(), b]);
        let asked = a.call_with(ring, Duration::from_millis(30)).wait();
        assert_eq!(asked, Err(CallError::Timeout));
    });
    // Calls that only ever go one way, from four threads.
    let system = quiet().schedulers(4).build().unwrap();
    let servers: Vec<_> = (0..6).map(|_| clerk(&system)).collect();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let servers = &servers;
            scope.spawn(move || {
                let mut state = thread + 1;
                for _ in 0..500 {
                    // Ascending, so without a cycle; popped from the end.
                    let mut way: Vec<_> = (0..6)
                        .filter(|_| {
                            state = state
                                .wrapping_mul(6_364_136_223_846_793_005)
                                .wrapping_add(1);
                            state >> 63 == 1
                        })
                        .collect();
                    way.reverse();
                    let way: Vec<_> = way.into_iter().map(|i| servers[i].clone()).collect();
                    let length = way.len() as u32;
                    let mut way = way;
                    let Some(first) = way.pop() else { continue };
                    let answer = first.call(Through(way)).wait_timeout(DEADLINE);
                    assert_eq!(answer, Ok(Ok(length - 1)));
                }
            });
        }
    });
}

#[test]
fn a_call_to_a_server_of_another_system_is_answered() {
    let (here, there) = (
        quiet().schedulers(1).build().unwrap(),
        quiet().schedulers(1).build().unwrap(),
    );
    let server = clerk(&there);
    let asked = server.clone();
    assert_eq!(
        inside(&here, move |_: Inbox<()>| async move {
            asked.call(Now(6)).await
        }),
        Ok(6)
    );
    let asked = server.clone();
    let late = inside(&here, move |_: Inbox<()>| async move {
        asked.call_with(Keep, Duration::from_millis(20)).await
    });
    assert_eq!(late, Err(CallError::Timeout));
}

#[test]
fn recipients_and_requesters_know_only_the_message() {
    on_all(|system| {
        let server = clerk(system);
        let ask = server.requester::<Now>();
        assert_eq!(ask.call(Now(3)).wait_timeout(DEADLINE), Ok(3));
        assert_eq!(ask.pid(), server.pid());
        let (tell, told) = reports();
        let sink = system
            .spawn(move |mut cx: Inbox<&'static str>| async move {
                if let noex::Received::Message(text) = cx.recv().await {
                    let _ = tell.send(text);
                }
            })
            .unwrap();
        sink.send("hello").unwrap();
        assert_eq!(next(system, &told), "hello");
    });
}

#[test]
fn the_answers_of_a_set_are_waited_for_one_by_one_on_a_thread() {
    on_all(|system| {
        let clerk = clerk(system);
        let mut calls = Calls::new();
        calls.add(clerk.call(Keep));
        calls.add(clerk.call(Now(2)));
        let next = |calls: &mut Calls<u32>| calls.next_answer().wait_timeout(DEADLINE);
        assert_eq!(next(&mut calls), Ok(Some((1, Ok(2)))));
        // No answer yet: the wait ends, and the call goes on.
        assert_eq!(
            calls.next_answer().wait_timeout(Duration::from_millis(1)),
            Err(CallError::Timeout)
        );
        clerk.cast(AnswerKept(1)).unwrap();
        assert_eq!(calls.next_answer().wait(), Ok(Some((0, Ok(1)))));
        assert_eq!(next(&mut calls), Ok(None));

        // A process must not block, and loses no call by trying to.
        let server = clerk.clone();
        let tried = inside(system, |_| async move {
            let mut calls = Calls::new();
            calls.add(server.call(Now(3)));
            let blocked = calls.next_answer().wait();
            (blocked, calls.next_answer().await)
        });
        assert_eq!(tried, (Err(CallError::WouldBlock), Some((0, Ok(3)))));
    });
}
