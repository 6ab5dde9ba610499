//! How a call is waited for: for how long, where, and by whom.

mod puppet;
mod support;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use noex::prelude::*;
use noex::{Budget, Call, CallError, Inbox, call_all};
use puppet::{
    Gate, Note, Puppet, Strings, act, answer, ask, done, end_of, hold_up, poll_once, puppet,
};
use support::{DEADLINE, next, on_all, quiet, reports};

const MS: Duration = Duration::from_millis(1);

fn exited<R>(reason: ExitReason) -> Result<R, CallError> {
    Err(CallError::Exited(reason))
}

fn silent() -> Strings {
    Strings::new(&reports().0)
}

/// A server that never answers notes: it waits in its handler.
fn mute(system: &System) -> ServerRef<Puppet> {
    let mute = puppet(system, silent());
    hold_up(system, &mute, &Gate::new());
    mute
}

#[test]
fn timeouts_of_calls_in_sequence_each_end_at_their_time() {
    for seed in 0..20u64 {
        let (system, driver) = quiet().virtual_clock().auto_advance().seed(seed).manual();
        let (mute, quick) = (mute(&system), puppet(&system, silent()));
        let (tell, told) = reports();
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let waits: Vec<u64> = (0..40)
            .map(|_| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random % 60
            })
            .collect();
        let wait = waits.clone();
        system
            .spawn(move |cx: Inbox<()>| async move {
                for ms in wait {
                    let start = cx.system().now();
                    // An answered call leaves its alarm behind.
                    let answered = quick
                        .call_with(Note(0), (ms * 7 % 50 + 1) as u32 * MS)
                        .await;
                    let late = mute.call_with(Note(1), ms as u32 * MS).await;
                    let _ = tell.send((answered, late, cx.system().now() - start));
                }
            })
            .unwrap();
        for ms in waits {
            let seen = next(&system, &told);
            assert_eq!(
                seen,
                (Ok(0), Err(CallError::Timeout), ms as u32 * MS),
                "seed {seed}"
            );
        }
        driver.run_until_idle();
        assert_eq!(driver.next_deadline(), None, "no alarm is left");
    }
}

#[test]
fn a_timeout_is_never_early_and_never_lost_on_threads() {
    let system = quiet().schedulers(2).build().unwrap();
    let mute = mute(&system);
    let (tell, told) = reports();
    for caller in 0..4u32 {
        let (mute, tell) = (mute.clone(), tell.clone());
        system
            .spawn(move |_: Inbox<()>| async move {
                for n in 0..160 {
                    let timeout = (caller * 7 + n * 3) % 5 * MS + MS;
                    // The thread may know the time from a moment ago only.
                    let spin = Instant::now() + Duration::from_micros((n * 37 % 90).into());
                    while Instant::now() < spin {}
                    let start = Instant::now();
                    let late = mute.call_with(Note(1), timeout).await;
                    let _ = tell.send((late, start.elapsed(), timeout));
                }
            })
            .unwrap();
    }
    for _ in 0..640 {
        let (late, took, timeout) = next(&system, &told);
        assert_eq!(late, Err(CallError::Timeout));
        assert!(took >= timeout, "{took:?} instead of {timeout:?}");
    }
}

/// Polls both, each only when it was woken, by a waker of its own: what `join_all` and the like do.
struct Join<A: Future, B: Future> {
    a: (Option<A>, Option<A::Output>, Arc<Flag>),
    b: (Option<B>, Option<B::Output>, Arc<Flag>),
}

struct Flag {
    woken: AtomicBool,
    outer: std::sync::Mutex<Option<Waker>>,
}

impl Flag {
    fn new() -> Arc<Self> {
        Arc::new(Flag {
            woken: AtomicBool::new(true),
            outer: std::sync::Mutex::new(None),
        })
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, SeqCst);
        let outer = self.outer.lock().unwrap().clone();
        if let Some(outer) = outer {
            outer.wake();
        }
    }
}

fn join<A: Future + Unpin, B: Future + Unpin>(a: A, b: B) -> Join<A, B> {
    Join {
        a: (Some(a), None, Flag::new()),
        b: (Some(b), None, Flag::new()),
    }
}

fn poll_part<F: Future + Unpin>(
    (future, output, flag): &mut (Option<F>, Option<F::Output>, Arc<Flag>),
    cx: &TaskContext<'_>,
) {
    *flag.outer.lock().unwrap() = Some(cx.waker().clone());
    let Some(polled) = future else { return };
    if !flag.woken.swap(false, SeqCst) {
        return;
    }
    let waker = Waker::from(flag.clone());
    if let Poll::Ready(ready) = Pin::new(polled).poll(&mut TaskContext::from_waker(&waker)) {
        (*future, *output) = (None, Some(ready));
    }
}

impl<A: Future, B: Future> Unpin for Join<A, B> {}
impl<A: Future + Unpin, B: Future + Unpin> Future for Join<A, B> {
    type Output = (A::Output, B::Output);
    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        poll_part(&mut self.a, cx);
        poll_part(&mut self.b, cx);
        match (self.a.1.take(), self.b.1.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (a, b) => {
                (self.a.1, self.b.1) = (a, b);
                Poll::Pending
            }
        }
    }
}

#[test]
fn calls_wait_in_combinators_with_wakers_of_their_own() {
    on_all(|system| {
        let (one, other, mute) = (
            puppet(system, silent()),
            puppet(system, silent()),
            mute(system),
        );
        let (tell, told) = reports();
        let caller = puppet(system, silent());
        caller
            .cast(act(move |_, cx| {
                Box::pin(async move {
                    let both = join(one.call(Note(1)), other.call(Note(2))).await;
                    let _ = tell.send(both);
                    let late = join(
                        join(mute.call_with(Note(3), 8 * MS), one.call(Note(4))),
                        mute.call_with(Note(5), 3 * MS),
                    );
                    let ((first, second), third) = late.await;
                    let _ = tell.send((first, third));
                    let _ = tell.send((second, Ok(0)));
                    // A sleep has a waker of its own there, too.
                    let sleep = Box::pin(async {
                        cx.sleep(2 * MS).await;
                        cx.system().now()
                    });
                    let before = cx.system().now();
                    let (answered, woke) = join(one.call(Note(5)), sleep).await;
                    assert!(woke >= before + 2 * MS);
                    let _ = tell.send((answered, Ok(0)));
                    // The first to come of a call and a sleep.
                    let mut call = mute.call(Note(6));
                    let mut sleep = cx.sleep(4 * MS);
                    let first = futures_lite::future::or(async { (&mut call).await }, async {
                        (&mut sleep).await;
                        Ok(100)
                    });
                    let _ = tell.send((first.await, Ok(0)));
                })
            }))
            .unwrap();
        assert_eq!(next(system, &told), (Ok(1), Ok(2)));
        let late = || Err(CallError::Timeout);
        assert_eq!(next(system, &told), (late(), late()));
        assert_eq!(next(system, &told), (Ok(4), Ok(0)));
        assert_eq!(next(system, &told), (Ok(5), Ok(0)));
        assert_eq!(next(system, &told), (Ok(100), Ok(0)));
    });
}

/// The smallest runtime there is.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut TaskContext::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park_timeout(DEADLINE),
        }
    }
}

#[test]
fn a_call_may_be_awaited_on_any_runtime() {
    let system = quiet().schedulers(2).build().unwrap();
    let (it, mute) = (puppet(&system, silent()), mute(&system));
    assert_eq!(block_on(it.call(Note(1))), Ok(1));
    assert_eq!(futures_lite::future::block_on(it.call(Note(2))), Ok(2));
    let start = Instant::now();
    assert_eq!(
        block_on(mute.call_with(Note(3), 7 * MS)),
        Err(CallError::Timeout)
    );
    assert!(start.elapsed() >= 7 * MS);
    assert_eq!(
        block_on(join(it.call(Note(4)), mute.call_with(Note(5), MS))),
        (Ok(4), Err(CallError::Timeout))
    );
    // Its server dies while it waits there.
    let waiting = std::thread::spawn({
        let mute = mute.clone();
        move || block_on(mute.call_with(Note(6), None))
    });
    system.exit(mute.pid(), ExitReason::Kill);
    assert_eq!(waiting.join().unwrap(), exited(ExitReason::Killed));
    // What else waits.
    let started = block_on(system.start::<Puppet>(silent())).unwrap();
    let monitor = system.monitor(started.pid());
    assert_eq!(block_on(started.stop(ExitReason::Normal)), Ok(()));
    assert_eq!(block_on(monitor).unwrap().reason, ExitReason::Normal);
}

#[test]
fn a_runtime_waits_for_a_manual_system_that_another_thread_ticks() {
    let (system, driver) = quiet().virtual_clock().manual();
    let it = system.start::<Puppet>(silent()).wait().unwrap();
    let (server, stop) = (it.clone(), Arc::new(AtomicBool::new(false)));
    let stopped = stop.clone();
    let runtime = std::thread::spawn(move || {
        let answered = block_on(server.call(Note(1)));
        let waited = server.call(Note(2)).wait();
        let late =
            block_on(server.call_with(act(|_, _| Box::pin(std::future::pending::<()>())), 30 * MS));
        stopped.store(true, SeqCst);
        (answered, waited, late)
    });
    let end = Instant::now() + DEADLINE;
    while !stop.load(SeqCst) && Instant::now() < end {
        driver.tick(Budget::messages(10));
        driver.advance(MS);
        std::thread::yield_now();
    }
    assert_eq!(
        runtime.join().unwrap(),
        (Ok(1), Ok(2), Err(CallError::Timeout))
    );
}

#[test]
fn waiting_is_for_at_most_the_shorter_of_the_two_times() {
    on_all(|system| {
        let mute = mute(system);
        let before = system.now();
        assert_eq!(
            mute.call_with(Note(1), None).wait_timeout(5 * MS),
            Err(CallError::Timeout)
        );
        assert!(system.now() >= before + 5 * MS);
        let before = system.now();
        assert_eq!(
            mute.call_with(Note(2), 5 * MS).wait_timeout(DEADLINE),
            Err(CallError::Timeout)
        );
        assert!(system.now() >= before + 5 * MS);
        assert_eq!(
            mute.call_with(Note(3), Duration::ZERO).wait(),
            Err(CallError::Timeout)
        );
    });
}

#[test]
fn a_call_that_was_polled_elsewhere_may_still_be_waited_for() {
    on_all(|system| {
        let it = puppet(system, silent());
        let gate = Gate::new();
        hold_up(system, &it, &gate);
        let (tell, told) = reports::<Call<u32>>();
        let server = it.clone();
        let (other, finished) = reports();
        // One process polls it, another one awaits it.
        system
            .spawn(move |_: Inbox<()>| async move {
                for n in 1..=2 {
                    let mut call = server.call(Note(n));
                    assert!(poll_once(&mut call).await.is_none());
                    let _ = tell.send(call);
                }
            })
            .unwrap();
        let (first, second) = (next(system, &told), next(system, &told));
        system
            .spawn(move |_: Inbox<()>| async move {
                let _ = other.send(second.await);
            })
            .unwrap();
        gate.open();
        assert_eq!(answer(first), Ok(1));
        assert_eq!(next(system, &finished), Ok(2));
    });
}

#[test]
fn waiting_inside_a_process_is_an_error_at_once_and_not_a_deadlock() {
    on_all(|system| {
        let it = puppet(system, silent());
        let (caller, server) = (puppet(system, silent()), it.clone());
        let seen = done(&caller, move |_, cx| {
            let waited = server.call(Note(1)).wait();
            let timed = server.call(Note(1)).wait_timeout(DEADLINE);
            let all = call_all([&server, &server], Note(1)).wait_timeout(DEADLINE);
            let started = cx.start::<Puppet>(silent()).wait().map(drop);
            let stopped = server.stop(ExitReason::Normal).wait();
            let ended = cx.system().monitor(cx.pid()).wait().map(drop);
            (waited, timed, all, started, stopped, ended)
        });
        let blocked = || Err(CallError::WouldBlock);
        assert_eq!(
            seen,
            (
                blocked(),
                blocked(),
                vec![blocked(), blocked()],
                Err(noex::StartError::WouldBlock),
                Err(CallError::WouldBlock),
                Err(CallError::WouldBlock)
            )
        );
        // The stop itself was asked for.
        assert_eq!(end_of(system, &it), ExitReason::Normal);
    });
}

#[test]
fn a_call_outlives_its_system() {
    let system = quiet().schedulers(2).build().unwrap();
    let mute = mute(&system);
    let (call, polled) = (mute.call_with(Note(1), None), mute.call_with(Note(2), None));
    let waiting = std::thread::spawn(move || block_on(polled));
    drop(system);
    assert_eq!(call.wait(), exited(ExitReason::Killed));
    assert_eq!(waiting.join().unwrap(), exited(ExitReason::Killed));
    assert_eq!(mute.call(Note(3)).wait(), exited(ExitReason::Killed));
}

#[test]
fn a_timeout_ends_a_call_on_another_runtime_even_if_the_system_ends_first() {
    let system = quiet().schedulers(1).build().unwrap();
    let it = puppet(&system, silent());
    let (send, receive) = std::sync::mpsc::channel();
    // The right to answer has left the system, and nobody uses it.
    let call = it.call_with(
        ask::<u32>(move |_, reply, _| {
            let _ = send.send(reply);
        }),
        Duration::from_secs(2),
    );
    let _reply = receive.recv_timeout(DEADLINE).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send(block_on(call)));
    system.shutdown().wait_timeout(DEADLINE).unwrap();
    drop(system);
    assert_eq!(told.recv_timeout(DEADLINE), Ok(Err(CallError::Timeout)));
}
