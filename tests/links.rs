//! Links: whom an exit reaches along them, and what takes them back.

mod orders;
mod support;

use noex::prelude::*;
use noex::{Inbox, Received};
use orders::{Do, Told, broken, done, order, reasons, run, start};
use support::{DEADLINE, end_of, next, on_all, quiet, reports};

#[test]
fn an_abnormal_exit_travels_along_a_chain_of_links() {
    on_all(|system| {
        let (a, _ta) = start(system);
        let (b, _tb) = start(system);
        let (c, _tc) = start(system);
        order(&a, Do::Link(b.pid()));
        order(&b, Do::Link(c.pid()));
        order(&b, Do::Note(""));
        let reason = broken();
        // Each link is made before its maker's end.
        done(system, &b, &_tb);
        done(system, &a, &_ta);
        order(&c, Do::End(reason.clone()));
        assert_eq!(end_of(system, &a), reason);
        assert_eq!(end_of(system, &b), reason);
    });
}

#[test]
fn a_normal_exit_ends_nobody_but_reaches_who_traps() {
    on_all(|system| {
        let (plain, told_plain) = start(system);
        let (traps, told) = start(system);
        let (ends, _t) = start(system);
        order(&traps, Do::Trap(true));
        order(&plain, Do::Link(ends.pid()));
        order(&traps, Do::Link(ends.pid()));
        done(system, &plain, &told_plain);
        done(system, &traps, &told);
        order(&ends, Do::End(ExitReason::Normal));
        assert_eq!(
            next(system, &told),
            Told::Exit(Some(ends.pid()), ExitReason::Normal)
        );
        done(system, &plain, &told_plain);
        assert!(plain.is_alive());
    });
}

#[test]
fn a_process_ends_with_the_reason_it_returns_and_its_links_hear_that() {
    on_all(|system| {
        for reason in reasons() {
            let (ends, told_ends) = start(system);
            let (traps, told) = start(system);
            let (plain, told_plain) = start(system);
            order(&traps, Do::Trap(true));
            order(&traps, Do::Link(ends.pid()));
            order(&plain, Do::Link(ends.pid()));
            done(system, &traps, &told);
            done(system, &plain, &told_plain);
            done(system, &ends, &told_ends);
            order(&ends, Do::End(reason.clone()));
            assert_eq!(end_of(system, &ends), reason);
            if reason.is_shutdown() {
                // `obey` takes that for its own.
                assert_eq!(end_of(system, &traps), reason);
            } else {
                assert_eq!(
                    next(system, &told),
                    Told::Exit(Some(ends.pid()), reason.clone())
                );
            }
            match reason {
                ExitReason::Normal => done(system, &plain, &told_plain),
                reason => assert_eq!(end_of(system, &plain), reason),
            }
        }
    });
}

#[test]
fn who_ends_itself_with_kill_sends_an_ordinary_signal() {
    on_all(|system| {
        let (ends, told_ends) = start(system);
        let (traps, told) = start(system);
        let (plain, told_plain) = start(system);
        order(&traps, Do::Trap(true));
        order(&traps, Do::Link(ends.pid()));
        order(&plain, Do::Link(ends.pid()));
        done(system, &traps, &told);
        done(system, &plain, &told_plain);
        done(system, &ends, &told_ends);
        order(&ends, Do::End(ExitReason::Kill));
        assert_eq!(
            next(system, &told),
            Told::Exit(Some(ends.pid()), ExitReason::Kill)
        );
        assert_eq!(end_of(system, &plain), ExitReason::Kill);
    });
}

#[test]
fn a_link_to_the_dead_gives_noproc_and_so_does_a_monitor() {
    on_all(|system| {
        let (dead, _t) = start(system);
        order(&dead, Do::End(ExitReason::Normal));
        end_of(system, &dead);
        let (traps, told) = start(system);
        order(&traps, Do::Trap(true));
        order(&traps, Do::Link(dead.pid()));
        assert_eq!(
            next(system, &told),
            Told::Exit(Some(dead.pid()), ExitReason::NoProc)
        );
        let (plain, _t) = start(system);
        order(&plain, Do::Link(dead.pid()));
        assert_eq!(end_of(system, &plain), ExitReason::NoProc);
        let down = system
            .monitor(dead.pid())
            .wait_timeout(DEADLINE)
            .expect("at once");
        assert_eq!((down.pid, down.reason), (dead.pid(), ExitReason::NoProc));
    });
}

#[test]
fn an_exit_after_unlink_does_not_arrive() {
    on_all(|system| {
        let (a, told) = start(system);
        let (b, _t) = start(system);
        order(&a, Do::Link(b.pid()));
        order(&a, Do::Unlink(b.pid()));
        done(system, &a, &told);
        order(&b, Do::End(broken()));
        end_of(system, &b);
        done(system, &a, &told);
        assert!(a.is_alive());
    });
}

#[test]
fn an_unlink_takes_back_a_link_to_the_dead_too() {
    on_all(|system| {
        let (dead, _t) = start(system);
        order(&dead, Do::End(ExitReason::Normal));
        end_of(system, &dead);
        let dead = dead.pid();
        let (plain, told) = start(system);
        run(&plain, move |cx| {
            cx.link(dead);
            cx.unlink(dead);
        });
        done(system, &plain, &told);
        assert!(plain.is_alive());
        let (traps, told) = start(system);
        order(&traps, Do::Trap(true));
        run(&traps, move |cx| {
            cx.link(dead);
            cx.unlink(dead);
        });
        order(&traps, Do::Note("done"));
        assert_eq!(next(system, &told), Told::Note("done"));
    });
}

#[test]
fn a_link_has_two_ends_and_either_may_take_it_back() {
    on_all(|system| {
        let (a, told_a) = start(system);
        let (b, told_b) = start(system);
        let links = |pid| system.process_info(pid).wait().expect("alive").links;
        order(&a, Do::Link(b.pid()));
        order(&a, Do::Link(b.pid()));
        order(&a, Do::Link(a.pid()));
        done(system, &a, &told_a);
        done(system, &b, &told_b);
        assert_eq!(links(a.pid()), [b.pid()]);
        assert_eq!(links(b.pid()), [a.pid()]);
        order(&b, Do::Unlink(a.pid()));
        done(system, &b, &told_b);
        done(system, &a, &told_a);
        assert_eq!((links(a.pid()), links(b.pid())), (vec![], vec![]));
        order(&a, Do::End(broken()));
        end_of(system, &a);
        done(system, &b, &told_b);
    });
}

#[test]
fn linking_twice_gives_one_exit() {
    on_all(|system| {
        let (traps, told) = start(system);
        let (ends, _t) = start(system);
        order(&traps, Do::Trap(true));
        order(&traps, Do::Link(ends.pid()));
        order(&traps, Do::Link(ends.pid()));
        done(system, &traps, &told);
        order(&ends, Do::Link(traps.pid()));
        order(&ends, Do::End(ExitReason::Timeout));
        end_of(system, &ends);
        order(&traps, Do::Note("done"));
        let exit = Told::Exit(Some(ends.pid()), ExitReason::Timeout);
        assert_eq!(next(system, &told), exit);
        assert_eq!(next(system, &told), Told::Note("done"));
    });
}

#[test]
fn unlink_flush_takes_back_an_exit_that_is_in_the_mailbox() {
    on_all(|system| {
        let (traps, told) = start(system);
        let (ends, _t) = start(system);
        let (gate, open) = support::gate();
        order(&traps, Do::Trap(true));
        order(&traps, Do::Link(ends.pid()));
        done(system, &traps, &told);
        // Ends while the other is busy; so the exit lies in its mailbox when it goes on.
        let pid = ends.pid();
        let busy = system
            .spawn(move |mut cx: Inbox<()>| async move {
                cx.trap_exit(true);
                cx.link(pid);
                gate.await;
                cx.yield_now().await;
                cx.unlink_flush(pid);
                let left = cx.try_recv().is_none();
                if left { ExitReason::Normal } else { broken() }
            })
            .expect("a process");
        support::until(system, || {
            let info = system.process_info(pid).wait().expect("alive");
            info.links.len() == 2
        });
        order(&ends, Do::End(ExitReason::Timeout));
        end_of(system, &ends);
        open.open();
        assert_eq!(end_of(system, &busy), ExitReason::Normal);
        let exit = Told::Exit(Some(pid), ExitReason::Timeout);
        assert_eq!(next(system, &told), exit);
    });
}

#[test]
fn an_unlink_and_a_link_that_cross_leave_both_ends_agreed() {
    let system = quiet().schedulers(2).build().expect("threads");
    let (a, told_a) = start(&system);
    let (b, told_b) = start(&system);
    order(&a, Do::Link(b.pid()));
    done(&system, &a, &told_a);
    done(&system, &b, &told_b);
    // `b` is inside its turn, with the unlink on its way, when it links again.
    let (enter, entered) = std::sync::mpsc::channel();
    let (go, gone) = std::sync::mpsc::channel();
    let pid = a.pid();
    run(&b, move |cx| {
        enter.send(()).expect("the test waits");
        gone.recv().expect("the test sends");
        cx.unlink(pid);
        cx.link(pid);
    });
    entered.recv_timeout(DEADLINE).expect("it runs");
    order(&a, Do::Unlink(b.pid()));
    done(&system, &a, &told_a);
    go.send(()).expect("it waits");
    done(&system, &b, &told_b);
    done(&system, &a, &told_a);
    done(&system, &b, &told_b);
    let links = |pid| system.process_info(pid).wait().expect("alive").links;
    assert_eq!(
        links(a.pid()).contains(&b.pid()),
        links(b.pid()).contains(&a.pid()),
    );
    // And a link made now is one.
    order(&a, Do::Link(b.pid()));
    done(&system, &a, &told_a);
    done(&system, &b, &told_b);
    order(&b, Do::End(broken()));
    assert!(matches!(end_of(&system, &a), ExitReason::Error(_)));
}

#[test]
fn a_spawned_and_linked_process_takes_its_parent_along() {
    on_all(|system| {
        let (tell, told) = reports();
        let parent = system
            .spawn(move |mut cx: Inbox<()>| async move {
                let child = cx
                    .spawn_link(|_: Inbox<()>| async { ExitReason::error("child") })
                    .expect("a child");
                let _ = tell.send(child.pid());
                cx.recv().await;
            })
            .expect("a parent");
        let _child = next(system, &told);
        system
            .monitor(parent.pid())
            .wait_timeout(DEADLINE)
            .expect("its end");
        assert!(matches!(parent.exit_reason(), Some(ExitReason::Error(_))));
    });
}

#[test]
fn spawn_link_and_spawn_monitor_never_miss_an_early_end() {
    on_all(|system| {
        let (tell, told) = reports();
        system
            .spawn(move |mut cx: Inbox<()>| async move {
                cx.trap_exit(true);
                for _ in 0..20 {
                    let child = cx
                        .spawn_link(|_: Inbox<()>| async { ExitReason::shutdown("linked") })
                        .expect("a child");
                    let exit = match cx.recv().await {
                        Received::Exit(exit) => (exit.from, exit.reason),
                        other => panic!("{other:?}"),
                    };
                    assert_eq!(exit, (Some(child.pid()), ExitReason::shutdown("linked")));
                    let (child, monitor) = cx
                        .spawn_monitor(|_: Inbox<()>| async { ExitReason::shutdown("monitored") })
                        .expect("a child");
                    let down = match cx.recv().await {
                        Received::Down(down) => (down.monitor, down.pid, down.reason),
                        other => panic!("{other:?}"),
                    };
                    let reason = ExitReason::shutdown("monitored");
                    assert_eq!(down, (monitor, child.pid(), reason));
                }
                let _ = tell.send(cx.try_recv().is_none());
            })
            .expect("a parent");
        assert!(next(system, &told));
    });
}

#[test]
fn a_child_knows_its_ancestors_and_an_unlinked_one_has_no_parent() {
    on_all(|system| {
        let (tell, told) = reports();
        let grandparent = system
            .spawn(move |mut cx: Inbox<()>| async move {
                let spawned = tell.clone();
                cx.spawn_link(move |cx: Inbox<()>| async move {
                    let me = cx.pid();
                    cx.spawn_link(move |cx: Inbox<()>| async move {
                        let _ = tell.send((cx.parent(), cx.ancestors(), Some(me)));
                    })
                    .expect("a grandchild");
                    cx.sleep(std::time::Duration::from_secs(3600)).await;
                })
                .expect("a child");
                cx.spawn(move |cx: Inbox<()>| async move {
                    let _ = spawned.send((cx.parent(), cx.ancestors(), None));
                })
                .expect("a stranger");
                cx.recv().await;
            })
            .expect("a parent");
        for _ in 0..2 {
            match next(system, &told) {
                (parent, ancestors, Some(child)) => {
                    assert_eq!(parent, Some(child));
                    assert_eq!(ancestors, [child, grandparent.pid()]);
                }
                (parent, ancestors, None) => assert_eq!((parent, ancestors), (None, vec![])),
            }
        }
        system.exit(grandparent.pid(), ExitReason::Kill);
        end_of(system, &grandparent);
    });
}

/// Links itself to whoever asks, and answers only then.
struct Tied(std::sync::mpsc::Sender<ExitReason>);
struct Tie(Pid);

impl GenServer for Tied {
    type Args = std::sync::mpsc::Sender<ExitReason>;
    async fn init(tell: Self::Args, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        cx.trap_exit(true);
        Ok(Tied(tell))
    }
    async fn handle_exit(&mut self, exit: noex::Exit, _: &mut Context<Self>) {
        let _ = self.0.send(exit.reason);
    }
}
impl HandleRequest<Tie> for Tied {
    type Reply = ();
    async fn handle_request(
        &mut self,
        Tie(asker): Tie,
        reply: noex::ReplyTo<()>,
        cx: &mut Context<Self>,
    ) {
        cx.link(asker);
        reply.reply(());
    }
}

#[test]
fn a_signal_sent_before_an_answer_acts_before_the_answer_is_seen() {
    on_all(|system| {
        let (tell, told) = reports();
        let tied = system.start::<Tied>(tell).wait_timeout(DEADLINE).unwrap();
        for _ in 0..20 {
            let server = tied.clone();
            system
                .spawn(move |cx: Inbox<()>| async move {
                    // It ends as soon as it has the answer, and is linked by then.
                    let _ = server.call(Tie(cx.pid())).await;
                })
                .unwrap();
        }
        for _ in 0..20 {
            assert_eq!(next(system, &told), ExitReason::Normal);
        }
    });
}
