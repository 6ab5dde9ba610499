//! What reaches a server, by which way, and in which order.

mod puppet;
mod support;

use std::time::Duration;

use noex::CallError;
use noex::prelude::*;
use puppet::{
    Ask, Gate, Note, Puppet, Strings, Told, act, answer, ask, at_once, done, end_of, puppet,
};
use support::{DEADLINE, next, on_all, quiet, reports};

struct Counter;
struct Get;
impl GenServer for Counter {
    type Args = ();
    async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Counter)
    }
}
impl HandleCall<Get> for Counter {
    type Reply = ();
    async fn handle_call(&mut self, _: Get, _: &mut Context<Self>) {}
}

fn named(name: &str) -> ServerOptions {
    ServerOptions::new().name(name)
}

#[test]
fn what_a_callback_continues_with_comes_before_all_messages_in_order() {
    on_all(|system| {
        let (tell, told) = reports();
        let starting = system.start::<Puppet>(Strings::new(&tell).init(|cx| {
            cx.continue_with(Note(1));
            cx.continue_with(at_once(|puppet, cx| {
                puppet.tell(Told::Note(2));
                cx.continue_with(Note(4));
            }));
            cx.continue_with(Note(3));
            let _ = cx.this().cast(Note(5));
            Box::pin(async { Ok(()) })
        }));
        let server = starting.wait_timeout(DEADLINE).expect("a start");
        for n in [1, 2, 3, 4, 5] {
            assert_eq!(next(system, &told), Told::Note(n));
        }
        // A call's reply does not wait for what its handler continues with.
        let gate = Gate::new();
        let at = gate.clone();
        let continued = at_once(move |_, cx| {
            let _ = cx.this().cast(Note(8));
            cx.continue_with(act(move |puppet, _| {
                Box::pin(async move {
                    at.pass().await;
                    puppet.tell(Told::Note(7));
                })
            }));
            6
        });
        assert_eq!(answer(server.call(continued)), Ok(6));
        gate.open();
        assert_eq!(next(system, &told), Told::Note(7));
        assert_eq!(next(system, &told), Told::Note(8));
    });
}

#[test]
fn a_receive_timeout_comes_after_silence_and_any_message_takes_it_back() {
    let (system, driver) = quiet().virtual_clock().manual();
    let (tell, told) = reports();
    let ms = Duration::from_millis;
    let starting = system.start::<Puppet>(Strings::new(&tell).init(move |cx| {
        cx.set_timeout(ms(10));
        Box::pin(async { Ok(()) })
    }));
    driver.run_until_idle();
    let it = starting.wait().unwrap();
    driver.advance(ms(9));
    assert!(told.try_recv().is_err(), "early");
    driver.advance(ms(1));
    assert_eq!(told.try_recv(), Ok(Told::Timeout));
    driver.advance(ms(100));
    assert!(told.try_recv().is_err(), "it comes once");

    // Each kind of message takes it back.
    let messages: [fn(&System, &ServerRef<Puppet>); 5] = [
        |_, it| it.cast(Note(1)).unwrap(),
        |_, it| it.send(Note(1)).unwrap(),
        |_, it| drop(it.call(Note(1))),
        |system, it| system.send(it.pid(), "untyped"),
        |system, it| system.exit(it.pid(), ExitReason::Normal),
    ];
    done(&it, |_, cx| {
        cx.trap_exit(true);
    });
    for send in messages {
        done(&it, move |_, cx| cx.set_timeout(ms(10)));
        driver.advance(ms(5));
        send(&system, &it);
        driver.advance(ms(100));
        let seen: Vec<Told> = told.try_iter().collect();
        assert!(seen.len() == 1 && seen[0] != Told::Timeout, "{seen:?}");
    }

    // It counts from the end of the callback, and the last one asked for counts.
    it.cast(act(move |_, cx| {
        Box::pin(async move {
            cx.set_timeout(ms(1));
            cx.set_timeout(ms(10));
            cx.sleep(ms(20)).await;
        })
    }))
    .unwrap();
    driver.advance(ms(29));
    assert!(told.try_recv().is_err());
    driver.advance(ms(1));
    assert_eq!(told.try_recv(), Ok(Told::Timeout));

    // Zero: only what is in the mailbox already comes first.
    it.cast(at_once(|_, cx| cx.set_timeout(Duration::ZERO)))
        .unwrap();
    driver.run_until_idle();
    assert_eq!(told.try_recv(), Ok(Told::Timeout));
    it.cast(at_once(|_, cx| cx.set_timeout(Duration::ZERO)))
        .unwrap();
    it.cast(Note(2)).unwrap();
    driver.advance(ms(100));
    let seen: Vec<Told> = told.try_iter().collect();
    assert_eq!(seen, [Told::Note(2)]);

    // And it may stop the server.
    it.cast(at_once(|puppet, cx| {
        puppet.then_stop = Some(ExitReason::Timeout);
        cx.set_timeout(Duration::ZERO);
    }))
    .unwrap();
    driver.run_until_idle();
    let seen: Vec<Told> = told.try_iter().collect();
    assert_eq!(seen, [Told::Timeout, Told::Terminate(ExitReason::Timeout)]);
    assert_eq!(it.exit_reason(), Some(ExitReason::Timeout));
}

#[test]
fn untyped_messages_are_routed_by_type_or_reach_handle_any() {
    on_all(|system| {
        let (tell, told) = reports();
        let it = puppet(system, Strings::new(&tell));
        system.send(it.pid(), Note(1));
        system.send(it.pid(), 2u8);
        let pid = it.pid();
        done(&it, move |_, cx| cx.send(pid, Note(3)));
        assert_eq!(next(system, &told), Told::Note(1));
        assert_eq!(next(system, &told), Told::Any("u8"));
        assert_eq!(next(system, &told), Told::Note(3));
    });
}

#[test]
fn an_untyped_message_that_nobody_expects_is_a_dead_letter() {
    let letters = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let hook = letters.clone();
    let (system, driver) = quiet()
        .on_dead_letter(move |letter| hook.lock().unwrap().push((letter.to, letter.message)))
        .manual();
    let counter = system.start::<Counter>(()).wait().unwrap();
    system.send(counter.pid(), "unexpected");
    driver.run_until_idle();
    assert_eq!(*letters.lock().unwrap(), [(Some(counter.pid()), "&str")]);
    let stats = system.stats();
    assert_eq!(
        (stats.sent, stats.handled, stats.undelivered, stats.queued),
        (2, 1, 1, 0)
    );
    assert_eq!(counter.call(Get).wait(), Ok(()));
}

#[test]
fn a_name_leads_to_whoever_has_it_now() {
    on_all(|system| {
        let (tell, told) = reports();
        let name = system.server::<Puppet>("it");
        assert_eq!(answer(name.call(Note(0))), Err(CallError::NoProc));
        name.cast(Note(0)).unwrap(); // dropped and counted
        let mut pids = std::collections::HashSet::new();
        for n in 1..=3 {
            let it = system
                .start_with::<Puppet>(Strings::new(&tell), named("it"))
                .wait_timeout(DEADLINE)
                .unwrap();
            assert!(pids.insert(it.pid()));
            name.cast(Note(n)).unwrap();
            name.send(Note(n)).unwrap();
            assert_eq!(answer(name.call(Note(n))), Ok(n));
            for _ in 0..3 {
                assert_eq!(next(system, &told), Told::Note(n));
            }
            assert_eq!(name.resolve(), Some(it.clone()));
            // Not by the wrong type.
            assert!(system.server::<Counter>("it").resolve().is_none());
            system.exit(it.pid(), ExitReason::Kill);
            end_of(system, &it);
            assert_eq!((system.whereis("it"), name.resolve()), (None, None));
            // The old reference says why its server ended; it never leads to the new one.
            assert_eq!(
                answer(it.call(Note(n))),
                Err(CallError::Exited(ExitReason::Killed))
            );
        }
    });
}

#[test]
fn recipients_and_requesters_hide_who_it_is() {
    on_all(|system| {
        let (tell, told) = reports();
        let it = puppet(system, Strings::new(&tell));
        let (recipient, requester) = (it.recipient::<Note>(), it.requester::<Note>());
        let deferred = it.requester::<Ask<u32>>();
        recipient.clone().send(Note(1)).unwrap();
        assert_eq!(answer(requester.clone().call(Note(2))), Ok(2));
        assert_eq!(
            answer(deferred.call(ask(|_, reply, _| reply.reply(3)))),
            Ok(3)
        );
        assert_eq!(next(system, &told), Told::Note(1));
        assert_eq!(next(system, &told), Told::Note(2));
        assert_eq!((recipient.pid(), requester.pid()), (it.pid(), it.pid()));
        it.stop(ExitReason::Normal).wait_timeout(DEADLINE).unwrap();
        assert!(!recipient.is_alive());
        recipient.send(Note(4)).unwrap();
        let gone = Err(CallError::Exited(ExitReason::Normal));
        assert_eq!(answer(requester.call(Note(5))), gone);
    });
}
