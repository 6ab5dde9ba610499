//! Envelopes and questions: what is handled in place, waits, is answered, or never is.

use super::*;

#[test]
fn miri_casts_infos_and_calls_are_handled_in_place() {
    let (system, driver) = manual();
    let server = start(&system);
    server.cast(Say("a")).unwrap();
    server.send(Say("b")).unwrap();
    server.recipient::<Say>().send(Say("c")).unwrap();
    system.send(server.pid(), 5_u8);
    assert_eq!(lines(&server), ["a", "info b", "info c"]);
    driver.run_until_idle();
    assert_eq!(system.stats().queued, 0);
}

#[test]
fn miri_a_reply_is_taken_polled_or_dropped() {
    let (system, driver) = manual();
    let server = start(&system);
    let mut taken = server.call(Lines);
    let mut polled = server.call(Lines);
    let (dropped, late) = (server.call(Lines), server.call(Lines));
    drop(dropped);
    let (old, new) = (Arc::new(Bell(0.into())), Arc::new(Bell(0.into())));
    for bell in [&old, &old, &new] {
        let waker = Waker::from(bell.clone());
        let poll = Pin::new(&mut polled).poll(&mut TaskContext::from_waker(&waker));
        assert!(poll.is_pending());
    }
    assert!(taken.try_take().is_none());
    driver.run_until_idle();
    drop(late);
    assert_eq!(taken.try_take(), Some(Ok(vec![])));
    assert_eq!((old.0.load(Relaxed), new.0.load(Relaxed)), (0, 1));
    assert_eq!(polled.wait(), Ok(vec![]));
    assert_eq!((Arc::strong_count(&old), Arc::strong_count(&new)), (1, 1));
}

#[test]
fn miri_a_future_that_waits_stays_where_it_is_in_its_envelope_or_a_box() {
    let (system, driver) = manual();
    let (server, drops) = (start(&system), Drops::default());
    let large = server.call(Large(drops.one()));
    let small = server.call(Small(drops.one()));
    server.cast(Say("after")).unwrap();
    driver.advance(2 * SECOND);
    assert_eq!(large.wait(), Ok(1025));
    assert_eq!(small.wait(), Ok(2));
    assert_eq!(lines(&server), ["large", "small", "after"]);
    assert_eq!(drops.count(), 2);
}

#[test]
fn miri_a_parked_handler_is_dropped_with_its_server_and_the_callers_are_told() {
    for large in [false, true] {
        let (system, driver) = manual();
        let (server, drops) = (start(&system), Drops::default());
        let parked: Box<dyn FnOnce() -> CallError> = if large {
            let call = server.call(Large(drops.one()));
            Box::new(|| call.wait().unwrap_err())
        } else {
            let call = server.call(Small(drops.one()));
            Box::new(|| call.wait().unwrap_err())
        };
        driver.run_until_idle();
        let queued = server.call(Small(drops.one()));
        let (request, gone) = (server.call(Answer::Later), server.call(Answer::Now));
        drop(gone);
        server.cast(Say("never handled")).unwrap();
        assert_eq!(drops.count(), 0);
        system.exit(server.pid(), ExitReason::Kill);
        driver.run_until_idle();
        assert_eq!(drops.count(), 2);
        let killed = CallError::Exited(ExitReason::Killed);
        assert_eq!(parked(), killed);
        assert_eq!(queued.wait().unwrap_err(), killed);
        assert_eq!(request.wait().unwrap_err(), killed);
        assert_eq!(server.call(Lines).wait().unwrap_err(), killed);
        server.cast(Say("to nobody")).unwrap();
    }
}

#[test]
fn miri_a_panic_before_or_after_a_wait_ends_the_server_with_terminate() {
    for how in [Crash::AtOnce, Crash::AfterAWait] {
        let (system, driver) = manual();
        let (drops, out) = (
            Drops::default(),
            Arc::<std::sync::Mutex<Vec<String>>>::default(),
        );
        let server = Server {
            drops: Some(drops.one()),
            out: Some(out.clone()),
            ..Server::default()
        };
        let server = system.start::<Server>(server).wait().unwrap();
        let (crashed, queued) = (server.call(how), server.call(Lines));
        driver.advance(3 * SECOND);
        assert!(matches!(
            crashed.wait(),
            Err(CallError::Exited(ExitReason::Panic(_)))
        ));
        assert!(matches!(
            queued.wait(),
            Err(CallError::Exited(ExitReason::Panic(_)))
        ));
        assert_eq!((drops.count(), out.lock().unwrap().len()), (1, 1));
    }
}

#[test]
fn miri_a_reply_waits_for_terminate_and_a_late_continue_is_dropped() {
    let (system, driver) = manual();
    let server = start(&system);
    let mut reply = server.call(Finish);
    driver.run_until_idle();
    assert!(reply.try_take().is_none());
    driver.advance(SECOND);
    assert_eq!(reply.try_take(), Some(Ok("finished".into())));
    assert_eq!(server.exit_reason(), Some(ExitReason::Shutdown(None)));
}

#[test]
fn miri_requests_are_answered_now_later_or_never() {
    let (system, driver) = manual();
    let server = start(&system);
    let (now, later) = (server.call(Answer::Now), server.call(Answer::Later));
    let never = server.call(Answer::Never);
    driver.advance(SECOND);
    assert_eq!(now.wait(), Ok("now".into()));
    assert_eq!(later.wait(), Ok("later".into()));
    assert_eq!(never.wait(), Err(CallError::NoReply));
}

#[test]
fn miri_continues_come_first_and_timeouts_last() {
    let (system, driver) = manual();
    let server = start(&system);
    let both = run(|_, cx| {
        cx.continue_with(Say("1"));
        cx.continue_with(Say("2"));
        async {}
    });
    server.cast(both).unwrap();
    let timeout = run(|_, cx| {
        cx.set_timeout(SECOND);
        async {}
    });
    server.cast(timeout).unwrap();
    driver.run_until_idle();
    driver.advance(SECOND);
    assert_eq!(lines(&server), ["continue 1", "continue 2", "timeout"]);
}

#[test]
fn miri_a_cycle_of_calls_is_an_error() {
    let (system, _driver) = manual();
    let (one, other) = (start(&system), start(&system));
    let reply = one.call(CallBack(other.clone())).wait().unwrap().unwrap();
    let Err(CallError::Cycle(path)) = reply else {
        panic!("{reply:?}")
    };
    assert!(path.to_string().contains(&one.pid().to_string()));
    assert!(lines(&one).is_empty() && lines(&other).is_empty());
}

/// The turn notes what a handler waits for when its call is polled, and looks at it after the poll.
#[test]
fn miri_a_call_that_is_dropped_after_a_poll_leaves_nothing_behind() {
    let (system, driver) = manual();
    let options = ServerOptions::new().mailbox(MailboxPolicy::Bounded {
        capacity: 1,
        overflow: Overflow::DropOldest,
    });
    let target = system
        .start_with::<Server>(Server::default(), options)
        .wait()
        .unwrap();
    let server = start(&system);
    let to = target.clone();
    let job = run(move |_, _| async move {
        let mut call = to.call(Lines);
        poll_fn(|cx| {
            assert!(Pin::new(&mut call).poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        // Pushes the question out of its mailbox, so that nobody holds it but `call`.
        to.cast(Say("instead")).unwrap();
        drop(call);
        std::future::pending::<()>().await;
    });
    server.cast(job).unwrap();
    driver.run_until_idle();
    system.exit(server.pid(), ExitReason::Kill);
    assert_eq!(lines(&target), ["instead"]);
}
