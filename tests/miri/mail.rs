//! Mailboxes: bounds, selective receives, and mail that goes elsewhere.

use super::*;

#[test]
fn miri_a_bounded_mailbox_rejects_or_pushes_out() {
    for overflow in [Overflow::Reject, Overflow::DropNewest, Overflow::DropOldest] {
        let (system, driver) = manual();
        let options = ServerOptions::new().mailbox(MailboxPolicy::Bounded {
            capacity: 1,
            overflow,
        });
        let server = system
            .start_with::<Server>(Server::default(), options)
            .wait()
            .unwrap();
        let mut first = server.call(Lines);
        let second = server.cast(Say("second"));
        assert_eq!(second.is_err(), overflow == Overflow::Reject);
        if overflow == Overflow::DropOldest {
            assert_eq!(first.try_take(), Some(Err(CallError::Overloaded)));
        } else {
            assert_eq!(server.call(Lines).wait(), Err(CallError::Overloaded));
        }
        driver.run_until_idle();
        let mut waiting = server.cast_async(Say("third"));
        let mut cx = TaskContext::from_waker(Waker::noop());
        assert_eq!(Pin::new(&mut waiting).poll(&mut cx), Poll::Ready(()));
        let mut blocked = server.cast_async(Say("fourth"));
        let _ = Pin::new(&mut blocked).poll(&mut cx);
        let stop = server.stop(ExitReason::Normal);
        system.exit(server.pid(), ExitReason::Kill);
        driver.run_until_idle();
        assert!(!server.is_alive());
        drop(stop);
    }
}

#[test]
fn miri_selective_receives_and_timeouts_keep_what_they_pass_over() {
    let (system, driver) = manual();
    let (send, receive) = std::sync::mpsc::channel();
    let process = system
        .spawn(move |mut inbox: Inbox<u32>| async move {
            let two = inbox
                .recv_match(|m| matches!(m, Received::Message(2)))
                .await;
            send.send(format!("{two:?}")).unwrap();
            let none = inbox
                .recv_match_timeout(SECOND, |m| matches!(m, Received::Message(9)))
                .await;
            send.send(format!("{none:?}")).unwrap();
            for _ in 0..3 {
                send.send(format!("{:?}", inbox.recv().await)).unwrap();
            }
            inbox.recv().await;
        })
        .unwrap();
    for n in [1, 3] {
        process.send(n).unwrap();
    }
    driver.run_until_idle();
    for n in [2, 4] {
        process.send(n).unwrap();
    }
    driver.advance(SECOND);
    let got: Vec<String> = receive.try_iter().collect();
    let want = [
        "Message(2)",
        "None",
        "Message(1)",
        "Message(3)",
        "Message(4)",
    ];
    assert_eq!(got, want);
    system.send(process.pid(), "any");
    driver.run_until_idle();
    assert!(!process.is_alive());
}

/// A message that owns something, larger than a pointer.
struct Owned(String, #[allow(dead_code)] Dropped);
impl HandleCast<Owned> for Server {
    async fn handle_cast(&mut self, message: Owned, _: &mut Context<Self>) {
        self.say(message.0.as_str());
    }
}

#[test]
fn miri_mail_goes_to_the_next_incarnation_to_a_hook_or_nowhere() {
    for (bounded, fate) in [
        (false, "keep"),
        (true, "keep"),
        (false, "hand over"),
        (false, "other type"),
        (false, "stop"),
    ] {
        let (system, driver) = manual();
        let drops = Drops::default();
        let handed = Arc::new(std::sync::Mutex::new(Vec::new()));
        let all = handed.clone();
        let mailbox_fate = match fate {
            "hand over" => {
                MailboxFate::hand_over(move |_, message| match message.downcast::<Owned>() {
                    Ok(owned) => all.lock().unwrap().push(owned.0.clone()),
                    Err(other) => drop(other),
                })
            }
            _ => MailboxFate::Keep,
        };
        let starts = AtomicUsize::new(0);
        let child = ChildSpec::worker("a", move |starter| {
            let start = starts.fetch_add(1, Relaxed);
            async move {
                match (start, fate) {
                    (1, "other type") => {
                        let other = starter.spawn_link(|mut inbox: Inbox<()>| async move {
                            inbox.recv().await;
                        });
                        other.map(|other| other.pid())
                    }
                    // It leaves what it was given.
                    (1, "keep") => Err(StartError::Init(ExitReason::Timeout)),
                    _ => {
                        let server = starter.start_link::<Server>(Server::default()).await?;
                        Ok(server.pid())
                    }
                }
            }
        });
        let policy = match bounded {
            true => MailboxPolicy::Bounded {
                capacity: 10,
                overflow: Overflow::Reject,
            },
            false => MailboxPolicy::Unbounded,
        };
        let child = child.name("a").mailbox(policy).mailbox_fate(mailbox_fate);
        let tree = Supervisor::new(Strategy::OneForOne).child(child);
        let tree = tree.start(&system).wait().unwrap();
        let a = tree.supervised::<Server>("a").wait().unwrap();
        let first = a.resolve().unwrap();
        let hang = run(|_, cx| {
            cx.continue_with(Say("never"));
            cx.send_after(Duration::ZERO, &cx.this(), Say("a timer"));
            std::future::pending()
        });
        first.cast(hang).unwrap();
        driver.advance(SECOND);
        first.cast(Owned("one".into(), drops.one())).unwrap();
        first.cast(Say("two")).unwrap();
        let call = first.call(Large(drops.one()));
        system.send(first.pid(), 7_u8);
        first.cast(Owned("three".into(), drops.one())).unwrap();
        driver.run_until_idle();
        assert_eq!(drops.count(), 0);
        if fate == "stop" {
            let terminated = tree.terminate_child("a");
            driver.advance(10 * SECOND);
            terminated.wait().unwrap();
        } else {
            system.exit(first.pid(), ExitReason::Kill);
        }
        driver.run_until_idle();
        assert!(matches!(call.wait(), Err(CallError::Exited(_))));
        assert_eq!(drops.count(), 3, "{fate}");
        match fate {
            "keep" => {
                let lines = a.call(Lines).wait().unwrap();
                assert_eq!(lines, ["one", "two", "three"]);
            }
            "hand over" => {
                assert_eq!(*handed.lock().unwrap(), ["one", "three"]);
                assert!(a.call(Lines).wait().unwrap().is_empty());
            }
            _ => assert!(a.resolve().is_none()),
        }
        driver.run_until_idle();
        assert_eq!(system.stats().queued, 0);
        // Some is left with nobody to take it when the system goes.
        if let Some(second) = a.resolve() {
            second.cast(run(|_, _| std::future::pending())).unwrap();
            second.cast(Owned("four".into(), drops.one())).unwrap();
            driver.run_until_idle();
            system.exit(second.pid(), ExitReason::Kill);
        }
        drop(driver);
        drop((system, tree, a, first));
    }
}

#[test]
fn on_threads_mail_is_left_while_the_next_incarnation_is_started() {
    let system = System::builder()
        .schedulers(2)
        .on_event(|_| {})
        .build()
        .unwrap();
    let drops = Drops::default();
    let child = ChildSpec::worker("a", |starter| {
        starter.start_link::<Server>(Server::default())
    });
    let tree = Supervisor::new(Strategy::OneForOne)
        .child(child.mailbox_fate(MailboxFate::Keep))
        .intensity(1000);
    let tree = tree.start(&system).wait().unwrap();
    let a = tree.supervised::<Server>("a").wait().unwrap();
    for _ in 0..5 {
        for _ in 0..5 {
            a.cast(Owned("mail".into(), drops.one())).unwrap();
        }
        if let Some(pid) = a.pid() {
            system.exit(pid, ExitReason::Kill);
        }
    }
    while a.call(Lines).wait().is_err() {
        std::thread::yield_now();
    }
    system.shutdown().wait().unwrap();
    assert_eq!(drops.count(), 25);
}
