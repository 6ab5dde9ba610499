//! Ends: links and monitors, what panics as it is dropped, and what a driver leaves.

use super::*;

#[test]
fn miri_links_and_monitors_tell_of_ends() {
    let (system, driver) = manual();
    let server = start(&system);
    let watch = run(|_, cx| {
        let linked = cx.spawn_link(|mut inbox: Inbox<()>| async move {
            inbox.recv().await;
            Err::<(), _>("linked")
        });
        let monitored = cx.spawn(|mut inbox: Inbox<()>| async move {
            inbox.recv().await;
        });
        let (linked, monitored) = (linked.unwrap(), monitored.unwrap());
        cx.monitor(monitored.pid());
        let unwanted = cx.monitor(monitored.pid());
        cx.demonitor(unwanted);
        linked.send(()).unwrap();
        monitored.send(()).unwrap();
        async {}
    });
    server.cast(watch).unwrap();
    driver.run_until_idle();
    let lines = lines(&server);
    assert_eq!(lines.len(), 2);
    assert!(lines.contains(&"down normal".into()));
    // Of the dead, everybody hears at once.
    let dead = system.spawn(|_: Inbox<()>| async {}).unwrap();
    driver.run_until_idle();
    let monitor = system.monitor(dead.pid());
    assert_eq!(monitor.wait().unwrap().reason, ExitReason::NoProc);
    let living = system.monitor(server.pid());
    let stop = server.stop_now(ExitReason::Shutdown(None));
    driver.advance(SECOND);
    stop.wait().unwrap();
    assert_eq!(living.wait().unwrap().reason, ExitReason::Shutdown(None));
}

#[test]
fn miri_a_process_may_be_asked_about_itself() {
    let (system, driver) = manual();
    let server = start(&system);
    server.cast(Say("a")).unwrap();
    let info = system.process_info(server.pid());
    driver.run_until_idle();
    assert!(info.wait().is_some());
    // Also one with a bounded mailbox, whose signals lie in its ring.
    let options = ServerOptions::new().mailbox(MailboxPolicy::Bounded {
        capacity: 1,
        overflow: Overflow::Reject,
    });
    let bounded = system
        .start_with::<Server>(Server::default(), options)
        .wait()
        .unwrap();
    bounded.cast(Say("b")).unwrap();
    let info = system.process_info(bounded.pid());
    driver.run_until_idle();
    assert!(info.wait().is_some());
}

#[test]
fn miri_wakers_outlive_the_process_and_its_system() {
    let (system, driver) = manual();
    let (send, receive) = std::sync::mpsc::channel();
    let process = system
        .spawn(move |_: Inbox<()>| async move {
            let mut polls = 0;
            poll_fn(|cx| {
                send.send(cx.waker().clone()).unwrap();
                polls += 1;
                if polls < 3 {
                    Poll::Pending
                } else {
                    Poll::Ready(())
                }
            })
            .await;
        })
        .unwrap();
    driver.run_until_idle();
    receive.try_recv().unwrap().wake();
    driver.run_until_idle();
    let waker = receive.try_recv().unwrap();
    waker.wake_by_ref();
    driver.run_until_idle();
    assert!(!process.is_alive());
    drop((process, driver, system));
    waker.wake_by_ref();
    drop(waker.clone());
    waker.wake();
}

#[test]
fn miri_a_failed_start_leaves_nothing_behind() {
    struct Failing(Dropped);
    impl GenServer for Failing {
        type Args = (Drops, bool);
        async fn init(
            (drops, waits): (Drops, bool),
            cx: &mut Context<Self>,
        ) -> Result<Self, InitStop> {
            let server = Failing(drops.one());
            if waits {
                cx.sleep(SECOND).await;
            }
            drop(server.0);
            Err(ExitReason::Shutdown(None).into())
        }
    }
    let (system, driver) = manual();
    let drops = Drops::default();
    let mut started = [false, true].map(|waits| system.start::<Failing>((drops.clone(), waits)));
    driver.advance(SECOND);
    for start in &mut started {
        let mut cx = TaskContext::from_waker(Waker::noop());
        let Poll::Ready(Err(error)) = Pin::new(start).poll(&mut cx) else {
            panic!("not started")
        };
        assert_eq!(error, StartError::Init(ExitReason::Shutdown(None)));
    }
    assert_eq!(drops.count(), 2);
    // One that nobody lets finish.
    drop(system.start::<Failing>((drops.clone(), true)));
    driver.run_until_idle();
    drop(driver);
    assert_eq!(drops.count(), 3);
}

/// A message whose `Drop` panics, thrown away at each place where that happens.
struct Bomb;
impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("bomb");
    }
}
impl HandleCall<Bomb> for Server {
    type Reply = ();
    async fn handle_call(&mut self, bomb: Bomb, cx: &mut Context<Self>) {
        cx.sleep(SECOND).await;
        drop(bomb);
    }
}
impl HandleCast<Bomb> for Server {
    async fn handle_cast(&mut self, bomb: Bomb, cx: &mut Context<Self>) {
        cx.sleep(SECOND).await;
        drop(bomb);
    }
}

#[test]
fn miri_a_drop_that_panics_takes_nothing_with_it() {
    let (system, driver) = manual();
    // The handler's future, and what is queued behind it.
    let server = start(&system);
    let (parked, queued) = (server.call(Bomb), server.call(Bomb));
    server.cast(Bomb).unwrap();
    driver.run_until_idle();
    system.exit(server.pid(), ExitReason::Kill);
    driver.run_until_idle();
    let killed = CallError::Exited(ExitReason::Killed);
    assert_eq!(parked.wait(), Err(killed.clone()));
    assert_eq!(queued.wait(), Err(killed.clone()));
    // In the handler itself, of a cast.
    let server = start(&system);
    server.cast(Bomb).unwrap();
    let queued = server.call(Lines);
    driver.advance(3 * SECOND);
    assert!(matches!(
        queued.wait(),
        Err(CallError::Exited(ExitReason::Panic(_)))
    ));
}

/// A right to answer, in a message that panics as it is thrown away.
struct Forwarded(Bomb, #[allow(dead_code)] ReplyTo<String>);
struct Forward(Recipient<Forwarded>);
impl HandleRequest<Forward> for Server {
    type Reply = String;
    async fn handle_request(&mut self, to: Forward, reply: ReplyTo<String>, _: &mut Context<Self>) {
        to.0.send(Forwarded(Bomb, reply)).unwrap();
    }
}

#[test]
fn miri_a_right_to_answer_that_is_lost_to_a_panic_is_answered() {
    let (system, driver) = manual();
    let server = start(&system);
    let passing_over = system.spawn(|mut inbox: Inbox<Forwarded>| async move {
        inbox.recv_match(|_| false).await;
    });
    let asleep = system.spawn(|inbox: Inbox<Forwarded>| async move {
        inbox.sleep(SECOND).await;
    });
    for receiver in [passing_over.unwrap(), asleep.unwrap()] {
        driver.run_until_idle();
        let in_time = server.call(Forward(receiver.clone()));
        driver.run_until_idle();
        system.exit(receiver.pid(), ExitReason::Kill);
        let too_late = server.call(Forward(receiver));
        driver.run_until_idle();
        assert_eq!(in_time.wait(), Err(CallError::Exited(ExitReason::Killed)));
        assert_eq!(too_late.wait(), Err(CallError::NoReply));
    }
}

#[test]
fn miri_all_processes_go_with_their_driver_whatever_they_do() {
    let (system, driver) = manual();
    let drops = Drops::default();
    let servers: Vec<_> = (0..3)
        .map(|_| {
            let server = Server {
                drops: Some(drops.one()),
                ..Server::default()
            };
            system.start::<Server>(server).wait().unwrap()
        })
        .collect();
    let parked = servers[0].call(Large(drops.one()));
    driver.run_until_idle();
    let queued = servers[0].call(Small(drops.one()));
    let arrived = servers[1].call(Small(drops.one()));
    let options = SpawnOptions::new();
    let receiver = system.spawn_with(options, |mut inbox: Inbox<Dropped>| async move {
        inbox.recv_match(|_| false).await;
    });
    let receiver = receiver.unwrap();
    receiver.send(drops.one()).unwrap();
    driver.run_until_idle();
    receiver.send(drops.one()).unwrap();
    system.send_after(SECOND, &receiver, drops.one());
    assert_eq!(drops.count(), 0);
    drop(driver);
    assert_eq!(drops.count(), 9);
    let killed = CallError::Exited(ExitReason::Killed);
    assert_eq!(parked.wait().unwrap_err(), killed);
    assert_eq!(queued.wait().unwrap_err(), killed);
    assert_eq!(arrived.wait().unwrap_err(), killed);
    assert!(servers.iter().all(|server| !server.is_alive()));
    drop(system);
    servers[2].cast(Say("to nobody")).unwrap();
}

#[test]
fn miri_a_system_dropped_before_its_driver_leaves_the_driver_usable() {
    let (system, driver) = manual();
    let server = start(&system);
    server.cast(Say("a")).unwrap();
    drop(system);
    driver.run_until_idle();
    assert_eq!(driver.tick(Budget::messages(1)), Tick::Idle);
    drop(driver);
    assert!(!server.is_alive());
}

/// Panics as it is dropped, and has memory to lose.
struct Rude(#[allow(dead_code)] Box<u8>);
impl Drop for Rude {
    fn drop(&mut self) {
        panic!("rude");
    }
}
struct BeRude;
struct BeRudeLater;
impl HandleCall<BeRude> for Server {
    type Reply = Rude;
    async fn handle_call(&mut self, _: BeRude, _: &mut Context<Self>) -> Rude {
        Rude(Box::new(1))
    }
}
impl HandleRequest<BeRudeLater> for Server {
    type Reply = Rude;
    async fn handle_request(
        &mut self,
        _: BeRudeLater,
        reply: ReplyTo<Rude>,
        cx: &mut Context<Self>,
    ) {
        cx.sleep(SECOND).await;
        reply.reply(Rude(Box::new(2)));
    }
}

#[test]
fn miri_an_answer_that_panics_as_it_is_dropped_leaves_nothing_behind() {
    let dropping = |call: noex::Call<Rude>| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(call)))
    };
    let start = |system: &System| system.start::<Server>(Server::default()).wait().unwrap();
    let (system, driver) = manual();
    // Nobody wants it: it panics in the server, which ends by that.
    for later in [false, true] {
        let server = start(&system);
        let given_up = match later {
            false => server.call(BeRude),
            true => server.call(BeRudeLater),
        };
        assert!(dropping(given_up).is_ok());
        driver.run_until_idle();
        driver.advance(SECOND * 3);
        assert!(matches!(server.exit_reason(), Some(ExitReason::Panic(_))));
    }
    // It is here, and panics where it is given up.
    let server = start(&system);
    let answered = server.call(BeRude);
    driver.run_until_idle();
    assert!(dropping(answered).is_err());
    assert!(server.is_alive());
}
