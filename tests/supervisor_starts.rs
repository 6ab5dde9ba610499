//! How a supervisor starts its children, in which order, and what comes of a start that fails; start
//! functions. On one scheduler thread, on four, and on the manual driver with many seeds.

mod supervise;

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use noex::prelude::*;
use noex::{ChildError, ChildStatus, Inbox, Received, StartError, Supervised};

use supervise::{Boom, Conduct, Note, Probe, SECOND, everywhere, ups};

fn shutdown() -> ExitReason {
    ExitReason::Shutdown(None)
}

#[test]
fn children_start_in_order_and_stop_in_reverse_order() {
    for strategy in [
        Strategy::OneForOne,
        Strategy::OneForAll,
        Strategy::RestForOne,
    ] {
        everywhere(|world| {
            let life = world.life();
            let sup =
                world.start(Supervisor::new(strategy).children(life.children(["a", "b", "c"])));
            life.expect(world, &ups("abc"));
            sup.stop(ExitReason::Normal)
                .wait_timeout(10 * SECOND)
                .unwrap();
            life.expect(world, &[Note::Down("c"), Note::Down("b"), Note::Down("a")]);
        });
    }
}

#[test]
fn a_child_that_does_not_start_rolls_the_supervisor_back() {
    everywhere(|world| {
        let life = world.life();
        let failing = life.conduct(
            "c",
            Conduct::FailInits {
                from: 0,
                failures: 1,
            },
        );
        let sup = Supervisor::new(Strategy::OneForOne)
            .children([life.child("a"), life.child("b"), failing, life.child("d")])
            .name("tree");
        let error = sup
            .start(&world.system)
            .wait_timeout(10 * SECOND)
            .unwrap_err();
        let StartError::Child { id, error } = error else {
            panic!("{error:?}")
        };
        assert_eq!(&*id, "c");
        assert_eq!(*error, StartError::Init(ExitReason::Timeout));
        life.expect(world, &ups("ab"));
        life.expect(world, &[Note::Down("b"), Note::Down("a")]);
        assert_eq!(world.system.registered(), []);
    });
}

#[test]
fn a_failed_start_link_returns_the_error_and_delivers_the_exit() {
    everywhere(|world| {
        let life = world.life();
        let failing = life.conduct(
            "a",
            Conduct::FailInits {
                from: 0,
                failures: 1,
            },
        );
        let (send, told) = std::sync::mpsc::channel();
        let run = move |mut inbox: Inbox<()>| async move {
            inbox.trap_exit(true);
            let start = Supervisor::new(Strategy::OneForOne)
                .child(failing)
                .start_link(&inbox);
            let pid = start.pid();
            let error = start.await.unwrap_err();
            let Received::Exit(exit) = inbox.recv().await else {
                panic!("an exit")
            };
            // OTP: `{shutdown, {failed_to_start_child, ..}}`.
            let told = exit.reason.downcast_ref() == Some(&error) && exit.reason.is_shutdown();
            let _ = send.send((pid == exit.from, told));
        };
        world.system.spawn(run).unwrap();
        assert_eq!(world.next(&told), (true, true));
    });
}

#[test]
fn a_supervisor_that_does_not_start_in_time_is_killed_with_what_it_started() {
    everywhere(|world| {
        let life = world.life();
        let children = [life.child("a"), life.conduct("b", Conduct::HangInInit)];
        let start = Supervisor::new(Strategy::OneForOne).children(children);
        let start = start.start(&world.system);
        let sup = start.pid().unwrap();
        life.expect(world, &ups("a"));
        let a = world.pid("a");
        let error = start.wait_timeout(Duration::ZERO).unwrap_err();
        assert_eq!(error, StartError::Timeout);
        for pid in [sup, a] {
            world.wait_for_end(pid);
        }
        world.until(|| world.system.registered().is_empty());
    });
}

#[test]
fn two_children_with_one_id_are_refused() {
    everywhere(|world| {
        let life = world.life();
        let sup = Supervisor::new(Strategy::OneForOne).children(life.children(["a", "a"]));
        assert_eq!(
            sup.start(&world.system)
                .wait_timeout(10 * SECOND)
                .unwrap_err(),
            StartError::DuplicateChild("a".into())
        );
        life.expect(world, &[]);
    });
}

#[test]
fn a_supervisor_whose_name_is_taken_starts_no_child() {
    everywhere(|world| {
        let life = world.life();
        let first = world.start(Supervisor::new(Strategy::OneForOne).name("tree"));
        let second = Supervisor::new(Strategy::OneForOne)
            .name("tree")
            .child(life.child("a"));
        assert_eq!(
            second
                .start(&world.system)
                .wait_timeout(10 * SECOND)
                .unwrap_err(),
            StartError::AlreadyStarted(first.pid())
        );
        life.expect(world, &[]);
        assert_eq!(world.system.supervisor("tree"), Some(first));
    });
}

#[test]
fn an_ignored_child_keeps_its_spec_without_a_process() {
    everywhere(|world| {
        let life = world.life();
        let ignored = |id, inits| life.conduct(id, Conduct::IgnoreInits(inits));
        let sup = Supervisor::new(Strategy::OneForOne).children([
            ignored("a", 1),
            ignored("b", 1).restart(Restart::Temporary),
            life.child("c"),
        ]);
        let sup = world.start(sup);
        life.expect(world, &ups("c"));
        assert_eq!(world.status(&sup, "a"), Some(ChildStatus::Stopped));
        assert_eq!(
            world.status(&sup, "b"),
            None,
            "nothing is kept of a temporary one"
        );
        let started = sup.restart_child("a").wait_timeout(10 * SECOND).unwrap();
        assert_eq!(started, Some(world.pid("a")));
        let added = sup.start_child(ignored("d", 1)).wait_timeout(10 * SECOND);
        assert_eq!(added, Ok(None));
        assert_eq!(world.status(&sup, "d"), Some(ChildStatus::Stopped));
    });
}

#[test]
fn a_branch_that_does_not_start_says_which_leaf_it_was() {
    everywhere(|world| {
        let life = world.life();
        let leaf = life.conduct(
            "leaf",
            Conduct::FailInits {
                from: 0,
                failures: 1,
            },
        );
        let inner = Supervisor::new(Strategy::OneForOne).child(leaf);
        let sup = Supervisor::new(Strategy::OneForOne)
            .child(life.child("a"))
            .child(ChildSpec::supervisor("inner", inner));
        let error = sup
            .start(&world.system)
            .wait_timeout(10 * SECOND)
            .unwrap_err();
        let leaf = StartError::Child {
            id: "leaf".into(),
            error: Box::new(StartError::Init(ExitReason::Timeout)),
        };
        let id = "inner".into();
        assert_eq!(
            error,
            StartError::Child {
                id,
                error: Box::new(leaf)
            }
        );
        life.expect(world, &[Note::Up("a"), Note::Down("a")]);
    });
}

#[test]
fn a_child_that_ends_before_its_start_is_noticed_has_the_reason_it_ended_with() {
    everywhere(|world| {
        let life = world.life();
        let child = life
            .conduct("a", Conduct::StopAfterInit)
            .restart(Restart::Transient);
        let sup = world.start(
            Supervisor::new(Strategy::OneForOne)
                .child(child)
                .intensity(0),
        );
        life.expect(world, &[Note::Up("a"), Note::Down("a")]);
        // Not abnormal, so not restarted.
        world.until(|| world.status(&sup, "a") == Some(ChildStatus::Stopped));
        assert!(sup.is_alive());
    });
}

#[test]
fn a_child_that_ended_while_its_start_function_waited_is_noticed_all_the_same() {
    everywhere(|world| {
        for restart in [Restart::Permanent, Restart::Transient, Restart::Temporary] {
            let life = world.life();
            let probe = life.probe("a", Conduct::StopAfterInit);
            let other = world.life().probe("other", Conduct::Good);
            let slow = ChildSpec::worker("a", move |starter| {
                let (probe, other) = (probe.clone(), other.clone());
                async move {
                    let a = starter.start_link::<Probe>(probe).await?;
                    let system = starter.system();
                    system.monitor(a.pid()).await.map_err(ExitReason::error)?;
                    // The exit signal was sent before: it is there when this is answered.
                    let other = system.start::<Probe>(other).await?;
                    other
                        .call(supervise::Ping)
                        .await
                        .map_err(ExitReason::error)?;
                    Ok(a)
                }
            });
            let sup = world.start(Supervisor::new(Strategy::OneForOne).intensity(0));
            let started = sup.start_child(slow.restart(restart));
            // Its end is that of the supervisor, if it is permanent.
            let _ = started.wait_timeout(10 * SECOND);
            world.until(|| match restart {
                Restart::Permanent => sup.exit_reason() == Some(shutdown()),
                Restart::Transient => world.status(&sup, "a") == Some(ChildStatus::Stopped),
                _ => world.status(&sup, "a").is_none(),
            });
            if sup.is_alive() {
                let other = sup.start_child(life.child("b")).wait_timeout(10 * SECOND);
                assert_eq!(other, Ok(Some(world.pid("b"))));
                sup.terminate_child("b").wait_timeout(10 * SECOND).unwrap();
                let again = sup.start_child(life.child("a")).wait_timeout(10 * SECOND);
                assert_eq!(again.is_ok(), restart == Restart::Temporary);
                sup.stop(shutdown()).wait_timeout(10 * SECOND).unwrap();
            }
        }
    });
}

#[test]
fn a_start_function_that_panics_has_failed() {
    everywhere(|world| {
        for late in [false, true] {
            let sup = world.start(Supervisor::new(Strategy::OneForOne));
            let panics = ChildSpec::worker("a", move |starter| {
                assert!(late, "at once");
                async move {
                    assert!(!late, "late");
                    starter.spawn_link(|_: Inbox<()>| async {})
                }
            });
            let error = sup
                .start_child(panics)
                .wait_timeout(10 * SECOND)
                .unwrap_err();
            let ChildError::Start(StartError::Init(ExitReason::Panic(panic))) = error else {
                panic!("{error:?}")
            };
            assert_eq!(panic.message(), if late { "late" } else { "at once" });
            assert!(sup.is_alive());
        }
    });
}

#[test]
fn a_start_function_that_fails_leaves_nothing_of_what_it_started() {
    everywhere(|world| {
        let life = world.life();
        let probe = life.probe("a", Conduct::Good);
        let fails = ChildSpec::worker("a", move |starter| {
            let probe = probe.clone();
            async move {
                starter.start_link::<Probe>(probe).await?;
                Err::<Pid, _>(StartError::Init(ExitReason::Timeout))
            }
        });
        let sup = world.start(Supervisor::new(Strategy::OneForOne));
        let error = sup.start_child(fails.name("a")).wait_timeout(10 * SECOND);
        assert_eq!(
            error,
            Err(ChildError::Start(StartError::Init(ExitReason::Timeout)))
        );
        assert_eq!(world.system.whereis("a"), None);
    });
}

#[test]
fn what_a_start_function_returns_is_linked_even_if_it_was_not() {
    everywhere(|world| {
        let life = world.life();
        let probe = life.probe("a", Conduct::Good);
        let unlinked = ChildSpec::worker("a", move |starter| {
            let options = starter.options();
            starter.system().start_with::<Probe>(probe.clone(), options)
        });
        let sup = world.start(Supervisor::new(Strategy::OneForOne).child(unlinked.name("a")));
        life.expect(world, &ups("a"));
        world.crash("a");
        life.expect(world, &[Note::Down("a"), Note::Up("a")]);
        world.until(|| world.running(&sup) == ["a"]);
        let a = world.pid("a");
        world.system.exit(sup.pid(), ExitReason::Kill);
        world.wait_for_end(a);
    });
}

#[test]
fn a_start_function_may_wait_for_others() {
    everywhere(|world| {
        let life = world.life();
        let probe = life.probe("b", Conduct::Good);
        let after_a = ChildSpec::worker("b", move |starter| {
            let probe = probe.clone();
            async move {
                let a = starter.system().server::<Probe>("a");
                a.call(supervise::Ping).await.map_err(ExitReason::error)?;
                starter.start_link::<Probe>(probe).await
            }
        });
        let children = [life.child("a"), after_a.name("b")];
        let sup = world.start(Supervisor::new(Strategy::OneForAll).children(children));
        life.expect(world, &ups("ab"));
        world.crash("b");
        life.expect(world, &[Note::Down("b"), Note::Down("a")]);
        life.expect(world, &ups("ab"));
        world.until(|| world.running(&sup) == ["a", "b"]);
    });
}

#[test]
fn a_process_that_receives_by_itself_can_be_a_child() {
    everywhere(|world| {
        let runs = Arc::new(AtomicU32::new(0));
        let counted = runs.clone();
        let child = ChildSpec::process("a", move |mut inbox: Inbox<bool>| {
            let runs = counted.clone();
            async move {
                runs.fetch_add(1, SeqCst);
                while let Received::Message(go_on) = inbox.recv().await {
                    assert!(go_on, "as told");
                }
            }
        });
        let sup = world.start(Supervisor::new(Strategy::OneForOne).child(child.name("a")));
        let first = world.pid("a");
        world.system.send(first, true);
        world.system.send(first, false);
        world.wait_for_end(first);
        world.until(|| world.running(&sup) == ["a"] && runs.load(SeqCst) == 2);
        assert_ne!(world.pid("a"), first);
    });
}

#[test]
fn each_supervisor_that_a_start_function_starts_has_children_of_its_own() {
    everywhere(|world| {
        let life = world.life();
        let probes = ["a", "b"].map(|id| life.probe(id, Conduct::Good));
        let found: Arc<Mutex<Vec<Supervised<Probe>>>> = Arc::default();
        let tell = found.clone();
        let pair = ChildSpec::worker("pair", move |starter| {
            // Children with the same id, of two supervisors.
            let trees = probes.clone().map(|probe| {
                let child = ChildSpec::server::<Probe>("same", probe);
                Supervisor::new(Strategy::OneForOne).child(child)
            });
            let tell = tell.clone();
            async move {
                let mut last = None;
                for tree in trees {
                    let tree = starter.start_supervisor(tree).await?;
                    let child = tree.supervised("same").await.map_err(ExitReason::error)?;
                    tell.lock().unwrap().push(child);
                    last = Some(tree);
                }
                last.ok_or(StartError::Ignore)
            }
        });
        world.start(Supervisor::new(Strategy::OneForOne).child(pair));
        life.expect(world, &ups("ab"));
        let [a, b] = [0, 1].map(|n| found.lock().unwrap()[n].clone());
        assert_ne!(a, b);
        let pids = [&a, &b].map(|child| child.pid().expect("it runs"));
        assert_ne!(pids[0], pids[1]);
        a.cast(Boom).unwrap();
        life.expect(world, &[Note::Down("a"), Note::Up("a")]);
        world.until(|| a.pid().is_some_and(|pid| !pids.contains(&pid)));
        assert_eq!(b.pid(), Some(pids[1]));
    });
}
