//! What becomes of a message: each is counted once, where it ended, and shown if nobody handled it.

mod puppet;
mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use noex::prelude::*;
use noex::{Inbox, MailboxPolicy, Overflow, Received, Recipient, Stats};
use puppet::{Gate, Note, Puppet, Strings, act, answer, at_once, done, end_of, hold_up, puppet};
use support::{DEADLINE, end_of as process_end, on_all, on_all_built, quiet, reports, settled};

fn silent() -> Strings {
    Strings::new(&reports().0)
}

/// A puppet with room for one message.
fn narrow(system: &System, overflow: Overflow) -> ServerRef<Puppet> {
    let bounded = MailboxPolicy::Bounded {
        capacity: 1,
        overflow,
    };
    system
        .start_with::<Puppet>(silent(), ServerOptions::new().mailbox(bounded))
        .wait_timeout(DEADLINE)
        .unwrap()
}

/// What was counted since `before`, `init`s and all, once no more is queued than then: sent, handled,
/// aborted, rejected, dropped and undelivered.
fn since(system: &System, before: Stats) -> [u64; 6] {
    support::until(system, || settled(system).queued == before.queued);
    let after = settled(system);
    [
        after.sent - before.sent,
        after.handled - before.handled,
        after.aborted - before.aborted,
        after.rejected - before.rejected,
        after.dropped - before.dropped,
        after.undelivered - before.undelivered,
    ]
}

#[test]
fn each_message_is_counted_once_where_it_ended() {
    on_all(|system| {
        // `init`, a cast, an info, a call, an untyped one, a timer's.
        let before = settled(system);
        let it = puppet(system, silent());
        it.cast(Note(1)).unwrap();
        it.send(Note(1)).unwrap();
        system.send(it.pid(), Note(1));
        system.send_after(Duration::ZERO, &it, Note(1));
        assert_eq!(answer(it.call(Note(1))), Ok(1));
        support::pass(system, Duration::from_millis(2));
        assert_eq!(since(system, before), [6, 6, 0, 0, 0, 0]);

        // A `Down`, a trapped exit, and a stop.
        let before = settled(system);
        let other = puppet(system, silent());
        let pid = other.pid();
        done(&it, move |_, cx| {
            cx.trap_exit(true);
            cx.monitor(pid);
            cx.link(pid);
        });
        other
            .stop(ExitReason::Normal)
            .wait_timeout(DEADLINE)
            .unwrap();
        done(&it, |_, _| ());
        assert_eq!(since(system, before), [6, 6, 0, 0, 0, 0]);

        // A handler that panics, with one message behind it.
        let before = settled(system);
        let gate = Gate::new();
        let crashes = puppet(system, silent());
        hold_up(system, &crashes, &gate);
        crashes.cast(at_once(|_, _| panic!("as told"))).unwrap();
        crashes.cast(Note(2)).unwrap();
        gate.open();
        end_of(system, &crashes);
        assert_eq!(since(system, before), [4, 2, 1, 0, 0, 1]);

        // One that is killed while its handler waits; and what comes after its death.
        let before = settled(system);
        let killed = puppet(system, silent());
        hold_up(system, &killed, &Gate::new());
        killed.cast(Note(3)).unwrap();
        let call = killed.call(Note(3));
        system.exit(killed.pid(), ExitReason::Kill);
        end_of(system, &killed);
        assert!(answer(call).is_err());
        killed.cast(Note(4)).unwrap();
        system.send(killed.pid(), Note(4));
        assert!(answer(killed.call(Note(4))).is_err());
        system.server::<Puppet>("nobody").cast(Note(5)).unwrap();
        assert_eq!(since(system, before), [8, 1, 1, 0, 0, 6]);

        // No room.
        for (overflow, counted) in [
            (Overflow::Reject, [5, 3, 0, 2, 0, 0]),
            (Overflow::DropNewest, [5, 3, 0, 0, 2, 0]),
            (Overflow::DropOldest, [5, 3, 0, 0, 2, 0]),
        ] {
            let before = settled(system);
            let gate = Gate::new();
            let full = narrow(system, overflow);
            hold_up(system, &full, &gate);
            for n in 0..3 {
                assert_eq!(
                    full.cast(Note(n)).is_err(),
                    n > 0 && overflow == Overflow::Reject
                );
            }
            gate.open();
            assert_eq!(since(system, before), counted, "{overflow:?}");
        }

        // Passed over by a selective receive, and still in the mailbox.
        let before = settled(system);
        let picky: Recipient<u32> = system
            .spawn(|mut cx: Inbox<u32>| async move {
                let nine =
                    |received: &noex::Received<u32>| matches!(received, noex::Received::Message(9));
                drop(cx.recv_match(nine).await);
            })
            .unwrap();
        for n in [1, 2] {
            picky.send(n).unwrap();
        }
        let stats = settled(system);
        assert_eq!(
            (stats.sent - before.sent, stats.queued - before.queued),
            (2, 2)
        );
        picky.send(9).unwrap();
        process_end(system, &picky);
        assert_eq!(since(system, before), [3, 1, 0, 0, 0, 2]);
    });
}

#[test]
fn what_nobody_handled_is_shown_to_the_hook_with_its_receiver_and_type() {
    let letters = Arc::new(Mutex::new(Vec::new()));
    let heard = letters.clone();
    let built = move || {
        let heard = heard.clone();
        quiet().on_dead_letter(move |letter| {
            let seen = (letter.to, letter.message, letter.overload);
            heard.lock().unwrap().push(seen);
        })
    };
    on_all_built(built, |system| {
        let expect = |expected: Vec<(Option<Pid>, &'static str, bool)>| {
            support::until(system, || letters.lock().unwrap().len() >= expected.len());
            settled(system);
            assert_eq!(std::mem::take(&mut *letters.lock().unwrap()), expected);
        };
        let note = std::any::type_name::<Note>();
        let killed = puppet(system, silent());
        let pid = Some(killed.pid());
        hold_up(system, &killed, &Gate::new());
        killed.cast(Note(1)).unwrap();
        drop(killed.call(Note(2)));
        system.exit(killed.pid(), ExitReason::Kill);
        end_of(system, &killed);
        // What was queued; the one that was being handled had its handler.
        expect(vec![(pid, note, false); 2]);
        killed.cast(Note(3)).unwrap();
        assert!(answer(killed.call(Note(3))).is_err());
        system.send(killed.pid(), 3u8);
        expect(vec![
            (pid, note, false),
            (pid, note, false),
            (pid, "u8", false),
        ]);

        let nobody = system.server::<Puppet>("nobody");
        nobody.cast(Note(4)).unwrap();
        system.send_after(Duration::ZERO, &nobody, Note(4));
        support::pass(system, Duration::from_millis(2));
        expect(vec![(None, note, false); 2]);

        for overflow in [Overflow::DropNewest, Overflow::DropOldest] {
            let gate = Gate::new();
            let full = narrow(system, overflow);
            hold_up(system, &full, &gate);
            full.cast(Note(5)).unwrap();
            full.send(Note(6)).unwrap();
            expect(vec![(Some(full.pid()), note, true)]);
            gate.open();
        }
        // What comes back to its sender is the sender's.
        let gate = Gate::new();
        let full = narrow(system, Overflow::Reject);
        hold_up(system, &full, &gate);
        full.cast(Note(7)).unwrap();
        assert!(full.cast(Note(8)).is_err());
        expect(vec![]);
        gate.open();
    });
}

#[test]
fn a_send_never_blocks_a_process_however_full_the_mailbox() {
    on_all(|system| {
        for overflow in [Overflow::Reject, Overflow::DropNewest, Overflow::DropOldest] {
            let full = narrow(system, overflow);
            let gate = Gate::new();
            hold_up(system, &full, &gate);
            full.cast(Note(1)).unwrap();
            let (sender, target) = (puppet(system, silent()), full.clone());
            // It gets the message back at once where it would have had to wait.
            let back = done(&sender, move |_, _| {
                let waited = target.cast_async(Note(2)).wait();
                let timed = target.cast_async(Note(3)).wait_timeout(DEADLINE);
                (
                    waited.map_err(|error| error.0),
                    timed.map_err(|error| error.0),
                )
            });
            assert_eq!(back, (Err(Note(2)), Err(Note(3))));
            // To wait is to await; others run meanwhile.
            let target = full.clone();
            let waits = sender.call(act(move |_, _| {
                Box::pin(async move { target.cast_async(Note(4)).await })
            }));
            support::pump(system);
            gate.open();
            assert_eq!(answer(waits), Ok(()));
        }
    });
}

#[test]
fn a_call_that_finds_no_room_or_loses_it_is_answered_overloaded() {
    on_all(|system| {
        for overflow in [Overflow::Reject, Overflow::DropNewest, Overflow::DropOldest] {
            let full = narrow(system, overflow);
            let gate = Gate::new();
            hold_up(system, &full, &gate);
            let (older, newer) = (full.call(Note(1)), full.call(Note(2)));
            let (lost, kept) = match overflow {
                Overflow::DropOldest => (older, newer),
                _ => (newer, older),
            };
            assert_eq!(answer(lost), Err(noex::CallError::Overloaded));
            gate.open();
            assert!(answer(kept).is_ok());
        }
    });
}

/// A process passes over the end of another and a message, takes the end back, hands its inbox out, and
/// ends, or waits until the gate opens.
fn inbox_of_others(system: &System, ends_first: bool) {
    let before = settled(system);
    let (hand_out, handed) = reports::<Inbox<u32>>();
    let (at, open) = support::gate();
    let victim = system.spawn(|mut cx: Inbox<()>| async move { drop(cx.recv().await) });
    let victim = victim.expect("a running system");
    let pid = victim.pid();
    let receiver = system.spawn(move |mut cx: Inbox<u32>| async move {
        let monitor = cx.monitor(pid);
        let wanted = |received: &_| matches!(received, Received::Message(1));
        drop(cx.recv_match(wanted).await);
        assert!(!cx.demonitor(monitor), "its end was here");
        let _ = hand_out.send(cx);
        if !ends_first {
            at.await;
        }
    });
    let receiver = receiver.expect("a running system");
    receiver.send(5).unwrap();
    let queued = |n| {
        let info = system.process_info(receiver.pid()).wait_timeout(DEADLINE);
        info.is_some_and(|info| info.message_queue_len == n)
    };
    support::until(system, || queued(1));
    victim.send(()).unwrap();
    support::until(system, || queued(2));
    receiver.send(1).unwrap();
    let inbox = support::next(system, &handed);
    if ends_first {
        process_end(system, &receiver);
    } else {
        assert!(queued(1), "the five");
    }
    drop(inbox);
    if !ends_first {
        assert!(queued(0));
        // To its victim, the end, the five, which nobody got, and the one.
        assert_eq!(since(system, before), [4, 3, 0, 0, 0, 1]);
        open.open();
        process_end(system, &receiver);
    }
    assert_eq!(since(system, before), [4, 3, 0, 0, 0, 1]);
}

#[test]
fn what_lies_in_an_inbox_that_is_dropped_elsewhere_is_counted_once() {
    on_all(|system| {
        inbox_of_others(system, false);
        inbox_of_others(system, true);
    });
}
