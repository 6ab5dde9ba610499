//! Dynamic supervisors and their children: the rules of Elixir's `DynamicSupervisor` and of OTP's
//! `simple_one_for_one`, on one scheduler thread, on four, and on the manual driver with many seeds.

mod dynamic;
mod supervise;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use noex::prelude::*;
use noex::{CallError, ChildError, ChildKind, ChildStatus, Inbox, StartError, Template};

use supervise::{Boom, Conduct, Note, Probe, Quit, SECOND, World, everywhere, ups, with_seeds};

use dynamic::{answer, counts, fails, only_child, probes, shutdown, start};

#[test]
fn children_are_started_and_known_by_their_pids() {
    everywhere(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::new());
        assert_eq!(counts(&sup), (0, 0, 0, 0));
        let a = answer(sup.start_child(life.child("a")));
        assert_eq!(a, Some(world.pid("a")));
        let inner = Supervisor::new(Strategy::OneForOne);
        let b = answer(sup.start_child(ChildSpec::supervisor("a", inner)));
        life.expect(world, &ups("a"));
        assert_eq!(counts(&sup), (2, 2, 1, 1));
        let mut seen: Vec<_> = answer(sup.which_children())
            .into_iter()
            .map(|child| (child.pid, child.kind, child.status))
            .collect();
        seen.sort_by_key(|(pid, ..)| *pid);
        let mut expected = vec![
            (a, ChildKind::Worker, ChildStatus::Running(a.unwrap())),
            (b, ChildKind::Supervisor, ChildStatus::Running(b.unwrap())),
        ];
        expected.sort_by_key(|(pid, ..)| *pid);
        assert_eq!(seen, expected);
    });
}

#[test]
fn no_more_children_are_started_than_there_may_be() {
    everywhere(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::new().max_children(2));
        let a = answer(sup.start_child(life.child("a"))).unwrap();
        answer(sup.start_child(life.child("b")));
        assert_eq!(
            fails(sup.start_child(life.child("c"))),
            ChildError::MaxChildren
        );
        assert_eq!(counts(&sup), (2, 2, 0, 2));
        // One that is terminated, or ends by itself, makes room.
        answer(sup.terminate_child(a));
        answer(sup.start_child(life.child("c")));
        world.crash("b");
        world.until(|| counts(&sup).0 == 1);
        answer(sup.start_child(life.child("d")));
        assert_eq!(
            fails(sup.start_child(life.child("e"))),
            ChildError::MaxChildren
        );

        let none = start(world, DynamicSupervisor::new().max_children(0));
        assert_eq!(
            fails(none.start_child(life.child("e"))),
            ChildError::MaxChildren
        );
    });
}

#[test]
fn a_child_that_is_started_or_restarted_or_stopped_takes_up_its_place() {
    everywhere(|world| {
        let life = world.life();
        let template = probes(&life).restart(Restart::Permanent);
        let sup = start(
            world,
            DynamicSupervisor::with_template(template).max_children(1),
        );
        let refused = || {
            assert_eq!(
                fails(sup.start_child(Conduct::Good)),
                ChildError::MaxChildren
            );
        };
        let _starting = sup.start_child(Conduct::HangInInit);
        refused();
        assert_eq!(only_child(&sup).status, ChildStatus::Starting);
        answer(sup.terminate_child(only_child(&sup).pid.unwrap()));
        assert_eq!(counts(&sup), (0, 0, 0, 0));

        let conduct = Conduct::HangInTerminate;
        let child = answer(sup.start_child(conduct)).unwrap();
        let _stopping = sup.terminate_child(child.pid());
        refused();
        assert_eq!(only_child(&sup).status, ChildStatus::Stopping);
        world.system.exit(child.pid(), ExitReason::Kill);
        world.until(|| counts(&sup).0 == 0);
        answer(sup.start_child(Conduct::Good));
    });
}

#[test]
fn a_child_that_fails_to_start_or_is_ignored_leaves_nothing() {
    everywhere(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::with_template(probes(&life)));
        let failing = Conduct::FailInits {
            from: 0,
            failures: 1,
        };
        let failed = StartError::Init(ExitReason::Timeout);
        assert_eq!(fails(sup.start_child(failing)), ChildError::Start(failed));
        assert_eq!(answer(sup.start_child(Conduct::IgnoreInits(10))), None);
        assert_eq!(counts(&sup), (0, 0, 0, 0));
        assert_eq!(answer(sup.which_children()), []);
        life.expect(world, &[]);
    });
}

#[test]
fn a_child_that_ends_as_soon_as_it_is_up_was_started_and_is_treated_as_any_other() {
    everywhere(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::new());
        let short = |restart| life.conduct("a", Conduct::StopAfterInit).restart(restart);
        for restart in [Restart::Temporary, Restart::Transient] {
            assert!(answer(sup.start_child(short(restart))).is_some());
            world.until(|| counts(&sup).0 == 0);
        }
        answer(sup.start_child(short(Restart::Permanent)));
        world.until(|| sup.exit_reason() == Some(shutdown()));
    });
}

#[test]
fn in_a_tree_it_is_found_by_its_name_in_each_incarnation() {
    everywhere(|world| {
        let life = world.life();
        let specs = ChildSpec::dynamic_supervisor("specs", DynamicSupervisor::new()).name("specs");
        let template = DynamicSupervisor::with_template(probes(&life)).name("probes");
        let template = ChildSpec::dynamic_supervisor("probes", template);
        assert_eq!(template.kind(), ChildKind::Supervisor);
        let tree = world.start(Supervisor::new(Strategy::OneForAll).children([specs, template]));
        let found = world.system.dynamic_supervisor("specs").unwrap();
        assert_eq!(found.pid(), world.pid("specs"));
        answer(found.start_child(life.child("a")));

        type Probes = (Conduct, ServerRef<Probe>);
        fn by_type<T: ByType>(world: &World, name: &str) -> Option<Pid> {
            T::find(world, name)
        }
        trait ByType {
            fn find(world: &World, name: &str) -> Option<Pid>;
        }
        impl<A: Send + 'static, P: noex::ChildPid> ByType for (A, P) {
            fn find(world: &World, name: &str) -> Option<Pid> {
                let found = world.system.template_supervisor::<A, P>(name)?;
                Some(found.pid())
            }
        }
        assert_eq!(
            by_type::<Probes>(world, "probes"),
            Some(world.pid("probes"))
        );
        assert_eq!(by_type::<Probes>(world, "specs"), None);
        assert_eq!(by_type::<((), ServerRef<Probe>)>(world, "probes"), None);
        assert_eq!(world.system.dynamic_supervisor("probes"), None);
        assert_eq!(world.system.dynamic_supervisor("nobody"), None);

        // Its parent starts it again, without children.
        life.expect(world, &ups("a"));
        world.system.exit(world.pid("probes"), ExitReason::Kill);
        life.expect(world, &[Note::Down("a")]);
        world.until(|| {
            let again = world.system.dynamic_supervisor("specs");
            again.is_some_and(|again| again != found) && world.running(&tree).len() == 2
        });
        let again = world.system.dynamic_supervisor("specs").unwrap();
        assert_eq!(counts(&again), (0, 0, 0, 0));
        assert_eq!(
            fails(found.count_children()),
            ChildError::Call(CallError::Exited(shutdown()))
        );
    });
}

#[test]
fn a_name_that_is_taken_is_no_second_supervisor() {
    everywhere(|world| {
        let first = start(world, DynamicSupervisor::new().name("sup"));
        let second = DynamicSupervisor::new().name("sup").start(&world.system);
        assert_eq!(
            second.wait_timeout(10 * SECOND),
            Err(StartError::AlreadyStarted(first.pid()))
        );
        assert_eq!(world.system.dynamic_supervisor("sup"), Some(first));
    });
}

#[test]
fn a_process_starts_one_linked_to_itself_and_awaits_children() {
    everywhere(|world| {
        let life = world.life();
        let (send, told) = std::sync::mpsc::channel();
        let (child, failing) = (life.child("a"), life.conduct("b", Conduct::IgnoreInits(1)));
        let parent = world.system.spawn(move |mut inbox: Inbox<()>| async move {
            let sup = DynamicSupervisor::new().start_link(&inbox).await.unwrap();
            let a = sup.start_child(child).await.unwrap();
            let b = sup.start_child(failing).await.unwrap();
            send.send((sup, a, b)).unwrap();
            inbox.recv().await;
        });
        let parent = parent.unwrap();
        let (sup, a, b) = world.next(&told);
        assert_eq!((a, b), (Some(world.pid("a")), None));
        parent.send(()).unwrap();
        life.expect(world, &[Note::Up("a"), Note::Down("a")]);
        world.until(|| sup.exit_reason() == Some(ExitReason::Normal));
    });
}

#[test]
fn a_thousand_children_come_and_go_from_many_processes_at_once() {
    struct Worker(Arc<AtomicUsize>);
    impl Drop for Worker {
        fn drop(&mut self) {
            self.0.fetch_sub(1, SeqCst);
        }
    }
    impl GenServer for Worker {
        type Args = Arc<AtomicUsize>;
        async fn init(living: Arc<AtomicUsize>, _: &mut Context<Self>) -> Result<Self, InitStop> {
            living.fetch_add(1, SeqCst);
            Ok(Worker(living))
        }
    }
    let body = |world: &World| {
        let living = Arc::new(AtomicUsize::new(0));
        let sup = start(
            world,
            DynamicSupervisor::with_template(Template::server::<Worker>()),
        );
        let (send, told) = std::sync::mpsc::channel();
        for _ in 0..10 {
            let (sup, living, send) = (sup.clone(), living.clone(), send.clone());
            let run = move |_: Inbox<()>| async move {
                let starts: Vec<_> = (0..100).map(|_| sup.start_child(living.clone())).collect();
                let mut kept = 0;
                for (n, start) in starts.into_iter().enumerate() {
                    let child = start.await.unwrap().unwrap();
                    match n % 4 {
                        0 => sup.terminate_child(child.pid()).await.unwrap(),
                        1 => drop(child.stop(ExitReason::Normal)),
                        _ => kept += 1,
                    }
                }
                send.send(kept).unwrap();
            };
            world.system.spawn(run).unwrap();
        }
        let kept: usize = (0..10).map(|_| world.next(&told)).sum();
        assert_eq!(kept, 500);
        world.until(|| counts(&sup) == (kept, kept, 0, kept));
        assert_eq!(living.load(SeqCst), kept);
        sup.stop(ExitReason::Normal)
            .wait_timeout(10 * SECOND)
            .unwrap();
        assert_eq!(living.load(SeqCst), 0);
    };
    for threads in [1, 4] {
        let world = World::threads(threads);
        body(&world);
        world.finish();
    }
    with_seeds(5, |world, _| body(world));
}

#[test]
fn the_same_seed_gives_the_same_events_also_at_the_end_of_many_children() {
    let run = |seed| {
        let world = World::recorded(seed);
        let life = world.life();
        let template = probes(&life).restart(Restart::Permanent);
        let sup = start(
            &world,
            DynamicSupervisor::with_template(template).intensity(1000),
        );
        let starts: Vec<_> = (0..50).map(|_| sup.start_child(Conduct::Good)).collect();
        for (n, start) in starts.into_iter().enumerate() {
            let child = answer(start).unwrap();
            if n % 3 == 0 {
                child.cast(Boom).unwrap();
            }
        }
        world.finish();
        world.take_log()
    };
    for seed in 0..5 {
        let log = run(seed);
        assert!(log.lines().count() > 200);
        assert_eq!(log, run(seed));
    }
}

/// Whatever happens to it, in whatever order: what it says of its children is true whenever nothing is
/// under way, it never has more than it may, and at its end nobody is left.
#[test]
fn random_lives_leave_no_orphan_and_no_double() {
    with_seeds(1000, |world, random| {
        let life = world.life();
        let max = 1 + random(6);
        let restart = [Restart::Permanent, Restart::Transient, Restart::Temporary][random(3)];
        let template = probes(&life).restart(restart).shutdown(match random(3) {
            0 => Shutdown::BrutalKill,
            1 => Shutdown::Infinity,
            _ => Shutdown::Timeout(2 * SECOND),
        });
        let sup = DynamicSupervisor::with_template(template);
        let sup = start(world, sup.max_children(max).intensity(20));
        let mut pending = Vec::new();
        for _ in 0..30 {
            match random(6) {
                0 | 1 => {
                    let from = random(3) as u32;
                    let conduct = match random(6) {
                        0 => Conduct::FailInits { from, failures: 2 },
                        1 => Conduct::HangInInits { from: from + 3 },
                        2 => Conduct::StopAfterInit,
                        3 => Conduct::IgnoreInits(from),
                        _ => Conduct::Good,
                    };
                    pending.push(sup.start_child(conduct));
                }
                2 => {
                    if let Ok(children) = sup.which_children().wait_timeout(SECOND) {
                        if let Some(child) = children.get(random(max)) {
                            if let Some(pid) = child.pid {
                                drop(sup.terminate_child(pid));
                            }
                        }
                    }
                }
                3 | 4 => {
                    if let Ok(children) = sup.which_children().wait_timeout(SECOND) {
                        assert!(children.len() <= max);
                        if let Some(child) = children.get(random(max)) {
                            if let Some(child) = child
                                .pid
                                .and_then(|pid| world.system.server_ref::<Probe>(pid))
                            {
                                let reason =
                                    [ExitReason::Normal, ExitReason::Timeout][random(2)].clone();
                                child.cast(Quit(reason)).unwrap();
                            }
                        }
                    }
                }
                _ => world.tick(random(200) as u32),
            }
        }
        world.settle();
        if sup.is_alive() {
            let children = answer(sup.which_children());
            let (specs, active, ..) = counts(&sup);
            assert_eq!(specs, children.len());
            let running: Vec<Pid> = children
                .iter()
                .filter_map(|child| match child.status {
                    ChildStatus::Running(pid) => Some(pid),
                    _ => None,
                })
                .collect();
            assert_eq!(active, running.len());
            assert!(running.iter().all(|pid| world.system.is_alive(*pid)));
            assert_eq!(life.living(), active, "no orphan and no double");
            drop(sup.stop(ExitReason::Normal));
        }
        world.advance(10 * SECOND);
        assert!(!sup.is_alive());
        assert_eq!(life.living(), 0);
        drop(pending);
    });
}

#[test]
fn one_that_is_started_for_nobody_is_a_child_all_the_same() {
    everywhere(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::new());
        drop(sup.start_child(life.child("a")));
        life.expect(world, &ups("a"));
        world.until(|| counts(&sup) == (1, 1, 0, 1));
    });
}
