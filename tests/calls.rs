//! Calls: what the caller hears, and what is left of a call that nobody waits for any more.

mod puppet;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering::SeqCst};
use std::time::Duration;

use noex::prelude::*;
use noex::{CallError, Calls, Inbox, Received, ReplyTo, call_all};
use puppet::{
    Gate, Note, Puppet, Strings, Told, act, answer, ask, at_once, done, end_of, hold_up, puppet,
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
fn a_call_to_a_server_of_another_system_is_answered_or_times_out() {
    let (here, there) = (
        quiet().schedulers(1).build().unwrap(),
        quiet().schedulers(1).build().unwrap(),
    );
    let (it, mute) = (puppet(&there, silent()), mute(&there));
    let (tell, told) = reports();
    here.spawn(move |_: Inbox<()>| async move {
        let answered = it.call(Note(6)).await;
        let _ = tell.send((answered, mute.call_with(Note(7), 20 * MS).await));
    })
    .unwrap();
    assert_eq!(next(&here, &told), (Ok(6), Err(CallError::Timeout)));
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
        // However slow the host is, at some patience those that answer are in time.
        let mut patience = 10 * MS;
        loop {
            let all = call_all([&it, &mute, &it], Note(1)).wait_timeout(patience);
            if all == [Ok(1), Err(CallError::Timeout), Ok(1)] {
                break;
            }
            assert!(patience < DEADLINE, "{all:?}");
            patience *= 2;
        }
    });
}

#[test]
fn the_answers_of_a_set_are_waited_for_one_by_one_on_a_thread() {
    on_all(|system| {
        let it = puppet(system, silent());
        let mut calls = Calls::new();
        calls.add(it.call(ask(|puppet, reply, _| puppet.kept.push(reply))));
        calls.add(it.call(Note(2)));
        let next_one = |calls: &mut Calls<u32>| calls.next_answer().wait_timeout(DEADLINE);
        assert_eq!(next_one(&mut calls), Ok(Some((1, Ok(2)))));
        // No answer yet: the wait ends, and the call goes on.
        let none = calls.next_answer().wait_timeout(MS);
        assert_eq!(none, Err(CallError::Timeout));
        done(&it, |puppet, _| puppet.kept.pop().unwrap().reply(1));
        assert_eq!(calls.next_answer().wait(), Ok(Some((0, Ok(1)))));
        assert_eq!(next_one(&mut calls), Ok(None));

        // A process must not block, and loses no call by trying to.
        let (tell, told) = reports();
        system
            .spawn(move |_: Inbox<()>| async move {
                let mut calls = Calls::new();
                calls.add(it.call(Note(3)));
                let blocked = calls.next_answer().wait();
                let _ = tell.send((blocked, calls.next_answer().await));
            })
            .unwrap();
        let blocked = Err(CallError::WouldBlock);
        assert_eq!(next(system, &told), (blocked, Some((0, Ok(3)))));
    });
}
