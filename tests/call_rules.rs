//! Calls: what the caller hears, when, and what is left of a call that nobody waits for any more.

mod puppet;
mod support;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering::SeqCst};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use noex::prelude::*;
use noex::{Budget, Call, CallError, Calls, Inbox, Received, ReplyTo, call_all};
use puppet::{
    Gate, Note, Puppet, Strings, Told, act, answer, ask, at_once, done, end_of, hold_up, poll_once,
    puppet,
};
use support::{DEADLINE, next, on_all, pump, quiet, reports};

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
fn a_request_is_sent_when_call_is_called_not_when_it_is_polled() {
    on_all(|system| {
        let (tell, told) = reports();
        let it = puppet(system, Strings::new(&tell));
        let first = it.call(Note(1));
        it.cast(Note(2)).unwrap();
        let third = it.call(Note(3));
        drop(it.call(Note(4)));
        it.cast(Note(5)).unwrap();
        assert_eq!((answer(third), answer(first)), (Ok(3), Ok(1)));
        for n in 1..=5 {
            assert_eq!(next(system, &told), Told::Note(n));
        }
    });
}

#[test]
fn a_dead_server_answers_at_once_with_its_reason() {
    on_all(|system| {
        let it = puppet(system, silent());
        it.stop(ExitReason::Timeout).wait_timeout(DEADLINE).unwrap();
        let mut call = it.call(Note(1));
        assert_eq!(call.try_take(), Some(exited(ExitReason::Timeout)));
        assert_eq!(call.try_take(), None, "an answer is taken once");
        assert_eq!(
            answer(it.call_with(Note(1), None)),
            exited(ExitReason::Timeout)
        );
    });
}

#[test]
fn a_server_that_dies_wakes_the_caller_it_serves_and_those_in_its_queue() {
    on_all(|system| {
        let crash = |it: &ServerRef<Puppet>, system: &System, kind| match kind {
            0 => system.exit(it.pid(), ExitReason::Kill),
            1 => system.exit(it.pid(), ExitReason::Timeout),
            _ => drop(it.stop_now(ExitReason::Shutdown(None))),
        };
        for kind in 0..3 {
            let it = puppet(system, silent());
            let gate = Gate::new();
            let at = gate.clone();
            let served = it.call_with(
                act(move |_, _| Box::pin(async move { at.pass().await })),
                None,
            );
            while gate.waiting() == 0 {
                pump(system);
            }
            let queued: Vec<_> = (0..10).map(|n| it.call_with(Note(n), None)).collect();
            let deferred = it.requester().call_with(ask::<u32>(|_, _, _| {}), None);
            crash(&it, system, kind);
            let reason = [
                ExitReason::Killed,
                ExitReason::Timeout,
                ExitReason::Shutdown(None),
            ][kind]
                .clone();
            if kind == 2 {
                // The running handler finishes first.
                gate.open();
                assert_eq!(answer(served), Ok(()));
            } else {
                assert_eq!(answer(served), exited(reason.clone()));
            }
            for call in queued {
                assert_eq!(answer(call), exited(reason.clone()));
            }
            assert_eq!(answer(deferred), exited(reason));
        }
    });
}

#[test]
fn a_handler_that_panics_answers_with_the_panic_and_so_does_each_right_to_answer_it_had() {
    on_all(|system| {
        let it = puppet(system, silent());
        let kept = it.call_with(ask(|puppet, reply, _| puppet.kept.push(reply)), None);
        let dropped = it.call_with(
            ask::<u32>(|_, _reply, _| panic!("with a reply in hand")),
            None,
        );
        let queued = it.call_with(Note(1), None);
        for call in [dropped, kept, queued] {
            match answer(call) {
                Err(CallError::Exited(ExitReason::Panic(panic))) => {
                    assert_eq!(panic.message(), "with a reply in hand");
                }
                other => panic!("{other:?}"),
            }
        }
        let it = puppet(system, silent());
        let served = answer(it.call_with(at_once::<u32>(|_, _| panic!("in its handler")), None));
        assert!(
            matches!(served, Err(CallError::Exited(ExitReason::Panic(_)))),
            "{served:?}"
        );
    });
}

#[test]
fn a_right_to_answer_that_a_live_server_drops_is_no_reply() {
    on_all(|system| {
        let it = puppet(system, silent());
        assert_eq!(
            answer(it.call(ask::<u32>(|_, reply, _| drop(reply)))),
            Err(CallError::NoReply)
        );
        // Also by a panic that the handler itself caught: the server lives.
        let caught = it.call(ask::<u32>(|_, reply, _| {
            let fall = std::panic::AssertUnwindSafe(move || {
                let _reply = reply;
                panic!("caught");
            });
            assert!(std::panic::catch_unwind(fall).is_err());
        }));
        assert_eq!(answer(caught), Err(CallError::NoReply));
        let kept = it.call(ask(|puppet, reply, _| puppet.kept.push(reply)));
        done(&it, |puppet, _| puppet.kept.clear());
        assert_eq!(answer(kept), Err(CallError::NoReply));
        assert!(it.is_alive());
    });
}

#[test]
fn deferred_replies_may_be_given_in_any_order_and_by_anyone() {
    on_all(|system| {
        let it = puppet(system, silent());
        let mut calls: Vec<_> = (0..4)
            .map(|_| it.call(ask(|puppet, reply, _| puppet.kept.push(reply))))
            .collect();
        // The last two by the server itself, backwards.
        done(&it, |puppet, _| {
            puppet.kept.pop().unwrap().reply(3);
            puppet.kept.pop().unwrap().reply(2);
        });
        assert_eq!(answer(calls.pop().unwrap()), Ok(3));
        assert_eq!(answer(calls.pop().unwrap()), Ok(2));
        // One by another process, one by a thread that is none of noex's.
        let mut kept = done(&it, |puppet, _| std::mem::take(&mut puppet.kept));
        let outside = kept.pop().unwrap();
        std::thread::spawn(move || outside.reply(1)).join().unwrap();
        let inside = kept.pop().unwrap();
        let holder = system
            .spawn(|mut cx: Inbox<ReplyTo<u32>>| async move {
                if let Received::Message(reply) = cx.recv().await {
                    reply.reply(0);
                }
            })
            .unwrap();
        holder.send(inside).unwrap();
        assert_eq!(answer(calls.pop().unwrap()), Ok(1));
        assert_eq!(answer(calls.pop().unwrap()), Ok(0));
    });
}

#[test]
fn a_moved_right_to_answer_keeps_the_call_open_until_its_holder_ends() {
    on_all(|system| {
        let holder = puppet(system, silent());
        let it = puppet(system, silent());
        let to = holder.clone();
        let call = it.call_with(
            ask(move |_, reply, _| {
                to.cast(at_once(move |puppet, _| puppet.kept.push(reply)))
                    .unwrap();
            }),
            None,
        );
        done(&it, |_, _| ());
        done(&holder, |_, _| ());
        // The server's end is not the holder's.
        it.stop(ExitReason::Normal).wait_timeout(DEADLINE).unwrap();
        let mut call = call;
        assert!(call.try_take().is_none());
        system.exit(holder.pid(), ExitReason::Kill);
        assert_eq!(answer(call), exited(ExitReason::Killed));
        // Sent to the dead: it is dropped by who sends it, which lives.
        let it = puppet(system, silent());
        let call = it.call(ask(move |_, reply, _| {
            holder
                .cast(at_once(move |puppet, _| puppet.kept.push(reply)))
                .unwrap();
        }));
        assert_eq!(answer(call), Err(CallError::NoReply));
    });
}

/// A value that counts how many of its kind live.
#[derive(Debug)]
struct Counted(Arc<AtomicIsize>);
impl Counted {
    fn new(live: &Arc<AtomicIsize>) -> Self {
        live.fetch_add(1, SeqCst);
        Counted(live.clone())
    }
}
impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[test]
fn a_call_given_up_leaves_no_trace_and_its_late_reply_is_dropped_once() {
    on_all(|system| {
        let live = Arc::new(AtomicIsize::new(0));
        let it = puppet(system, silent());
        let reply = |live: &Arc<AtomicIsize>, gate: Gate| {
            let live = live.clone();
            act(move |_, _| {
                Box::pin(async move {
                    gate.pass().await;
                    Counted::new(&live)
                })
            })
        };
        let open = Gate::new();
        open.open();
        // Before it is handled, while it is, and after the reply came.
        drop(it.call(reply(&live, open.clone())));
        let gate = Gate::new();
        let call = it.call(reply(&live, gate.clone()));
        while gate.waiting() == 0 {
            pump(system);
        }
        drop(call);
        gate.open();
        done(&it, |_, _| ());
        let call = it.call(reply(&live, open.clone()));
        done(&it, |_, _| ());
        drop(call);
        assert_eq!(live.load(SeqCst), 0);

        // Given up by a process that receives: nothing ever comes into its mailbox.
        let gate = Gate::new();
        let (tell, told) = reports();
        let (server, at, count) = (it.clone(), gate.clone(), live.clone());
        let receiver = system
            .spawn(move |mut cx: Inbox<u32>| async move {
                let late = server.call_with(reply(&count, at), 5 * MS).await.map(drop);
                let _ = tell.send((late, None));
                let message = match cx.recv().await {
                    Received::Message(n) => n,
                    other => panic!("{other:?}"),
                };
                let _ = tell.send((Ok(()), Some(message)));
            })
            .unwrap();
        assert_eq!(next(system, &told), (Err(CallError::Timeout), None));
        gate.open();
        done(&it, |_, _| ());
        receiver.send(7).unwrap();
        assert_eq!(next(system, &told), (Ok(()), Some(7)));

        // By one that is killed while it waits.
        let gate = Gate::new();
        let (server, at, count) = (it.clone(), gate.clone(), live.clone());
        let killed = system
            .spawn(move |_: Inbox<()>| async move {
                let _ = server.call_with(reply(&count, at), None).await;
            })
            .unwrap();
        while gate.waiting() == 0 {
            pump(system);
        }
        system.exit(killed.pid(), ExitReason::Kill);
        system.monitor(killed.pid()).wait_timeout(DEADLINE).unwrap();
        gate.open();
        done(&it, |_, _| ());
        // A deferred one, answered by whoever after the caller has gone.
        let count = live.clone();
        drop(it.call(ask::<Counted>(move |_, reply, _| {
            reply.reply(Counted::new(&count))
        })));
        done(&it, |_, _| ());
        assert_eq!(live.load(SeqCst), 0);
    });
}

#[test]
fn requests_are_dropped_once_whatever_becomes_of_them() {
    on_all(|system| {
        let live = Arc::new(AtomicIsize::new(0));
        let carry = |live: &Arc<AtomicIsize>| {
            let counted = Counted::new(live);
            at_once(move |_, _| drop(counted))
        };
        let it = puppet(system, silent());
        assert_eq!(answer(it.call(carry(&live))), Ok(()));
        hold_up(system, &it, &Gate::new());
        let queued = it.call(carry(&live));
        it.cast(carry(&live)).unwrap();
        it.send(carry(&live)).unwrap();
        system.exit(it.pid(), ExitReason::Kill);
        assert_eq!(answer(queued), exited(ExitReason::Killed));
        assert_eq!(answer(it.call(carry(&live))), exited(ExitReason::Killed));
        it.cast(carry(&live)).unwrap();
        support::settled(system);
        assert_eq!(live.load(SeqCst), 0);
    });
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
                for n in 0..40 {
                    let timeout = (caller * 7 + n * 3) % 5 * MS + MS;
                    let start = Instant::now();
                    let late = mute.call_with(Note(1), timeout).await;
                    let _ = tell.send((late, start.elapsed(), timeout));
                }
            })
            .unwrap();
    }
    for _ in 0..160 {
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
fn a_set_of_calls_gives_answers_as_they_come_or_all_in_order() {
    on_all(|system| {
        let (it, mute) = (puppet(system, silent()), mute(system));
        let (tell, told) = reports();
        let gates: Vec<Gate> = (0..3).map(|_| Gate::new()).collect();
        let servers: Vec<_> = gates.iter().map(|_| puppet(system, silent())).collect();
        let (at, open) = (gates.clone(), gates);
        system
            .spawn(move |_: Inbox<()>| async move {
                let mut set = Calls::new();
                for (server, gate) in servers.iter().zip(at) {
                    set.add(
                        server.call(act(move |_, _| Box::pin(async move { gate.pass().await }))),
                    );
                }
                assert_eq!(
                    set.add(mute.call_with(act(|_, _| Box::pin(async {})), 2 * MS)),
                    3
                );
                for _ in 0..5 {
                    let _ = tell.send(set.next_answer().await);
                }
            })
            .unwrap();
        assert_eq!(next(system, &told), Some((3, Err(CallError::Timeout))));
        for place in [1, 2, 0] {
            open[place].open();
            assert_eq!(next(system, &told), Some((place, Ok(()))));
        }
        assert_eq!(next(system, &told), None);

        let dead = puppet(system, silent());
        system.exit(dead.pid(), ExitReason::Kill);
        end_of(system, &dead);
        let all = call_all([&it, &dead, &it], Note(7));
        assert_eq!(
            all.wait_timeout(DEADLINE),
            [Ok(7), exited(ExitReason::Killed), Ok(7)]
        );
        let all = call_all([&it, &it], Note(8));
        assert_eq!(all.wait(), [Ok(8), Ok(8)]);
        let (tell, told) = reports();
        system
            .spawn(move |_: Inbox<()>| async move {
                let _ = tell.send(call_all([&it, &dead], Note(9)).await);
            })
            .unwrap();
        assert_eq!(next(system, &told), [Ok(9), exited(ExitReason::Killed)]);
        assert_eq!(Calls::<u32>::new().wait_timeout(DEADLINE), []);
    });
}

#[test]
fn a_set_that_is_not_complete_in_time_says_which_are_missing() {
    on_all(|system| {
        let (it, mute) = (puppet(system, silent()), mute(system));
        let all = call_all([&it, &mute, &it], Note(1));
        assert_eq!(
            all.wait_timeout(10 * MS),
            [Ok(1), Err(CallError::Timeout), Ok(1)]
        );
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
            (waited, timed, all, started, stopped)
        });
        let blocked = || Err(CallError::WouldBlock);
        assert_eq!(
            seen,
            (
                blocked(),
                blocked(),
                vec![blocked(), blocked()],
                Err(noex::StartError::WouldBlock),
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
