//! Dynamic supervisors through the public API: the rules of Elixir's `DynamicSupervisor` and of OTP's
//! `simple_one_for_one`, on one scheduler thread, on four, and on the manual driver with many seeds.

mod supervise;

use std::future::pending;
use std::sync::atomic::{AtomicIsize, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use noex::prelude::*;
use noex::{
    CallError, ChildCounts, ChildError, ChildKind, ChildRequest, ChildStatus, DynamicChild, Event,
    Inbox, StartError, Starter, Template, Term,
};

use supervise::{
    Boom, Conduct, Forge, Life, Note, Ping, Probe, Quit, SECOND, World, ups, with_seeds,
};

/// Runs a test on one thread, on four, and on the manual driver with 100 seeds.
fn on_all(test: impl Fn(&World)) {
    for threads in [1, 4] {
        let world = World::threads(threads);
        test(&world);
        world.finish();
    }
    in_virtual_time(test);
}

/// Runs a test on the manual driver with 100 seeds.
fn in_virtual_time(test: impl Fn(&World)) {
    with_seeds(100, |world, _| test(world));
}

fn shutdown() -> ExitReason {
    ExitReason::Shutdown(None)
}

#[track_caller]
fn start<A: Send + 'static, P: noex::ChildPid>(
    world: &World,
    supervisor: DynamicSupervisor<A, P>,
) -> DynamicSupervisorRef<A, P> {
    let start = supervisor.start(&world.system);
    start.wait_timeout(10 * SECOND).unwrap()
}

#[track_caller]
fn answer<R>(request: ChildRequest<R>) -> R
where
    R: Send + 'static,
{
    request.wait_timeout(10 * SECOND).unwrap()
}

#[track_caller]
fn fails<R: std::fmt::Debug>(request: ChildRequest<R>) -> ChildError {
    request.wait_timeout(10 * SECOND).unwrap_err()
}

/// Specs, active, supervisors, workers.
#[track_caller]
fn counts<A: Send + 'static, P: noex::ChildPid>(
    sup: &DynamicSupervisorRef<A, P>,
) -> (usize, usize, usize, usize) {
    let ChildCounts {
        specs,
        active,
        supervisors,
        workers,
        ..
    } = answer(sup.count_children());
    (specs, active, supervisors, workers)
}

#[track_caller]
fn only_child<A: Send + 'static, P: noex::ChildPid>(
    sup: &DynamicSupervisorRef<A, P>,
) -> DynamicChild {
    let mut children = answer(sup.which_children());
    assert_eq!(children.len(), 1);
    children.remove(0)
}

/// A template of probes, to be given their conduct.
fn probes(life: &Life) -> Template<Conduct, ServerRef<Probe>> {
    let probe = Mutex::new(life.probe("p", Conduct::Good));
    Template::server_with::<Probe, _>(move |conduct| {
        probe.lock().unwrap().clone().behaving(conduct)
    })
}

#[test]
fn children_are_started_and_known_by_their_pids() {
    on_all(|world| {
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
fn exit_reason_and_restart_type_decide_whether_a_child_is_restarted_or_forgotten() {
    let orderly = [true, false, false];
    let abnormal = [true, true, false];
    let table = [
        (ExitReason::Normal, orderly),
        (shutdown(), orderly),
        (ExitReason::shutdown(Term::atom("upgrade")), orderly),
        (ExitReason::error("broken"), abnormal),
        (ExitReason::Kill, abnormal),
        (ExitReason::NoProc, abnormal),
    ];
    let types = [Restart::Permanent, Restart::Transient, Restart::Temporary];
    on_all(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::new().intensity(1000));
        for (reason, restarted) in &table {
            for (restart, restarted) in types.into_iter().zip(*restarted) {
                let child = life.child("a").restart(restart);
                let pid = answer(sup.start_child(child)).unwrap();
                life.expect(world, &ups("a"));
                world.server("a").cast(Quit(reason.clone())).unwrap();
                life.expect(world, &[Note::Down("a")]);
                if restarted {
                    life.expect(world, &ups("a"));
                    world.until(|| {
                        let now = only_child(&sup);
                        matches!(now.status, ChildStatus::Running(now) if now != pid)
                    });
                    answer(sup.terminate_child(world.pid("a")));
                    life.expect(world, &[Note::Down("a")]);
                }
                world.until(|| counts(&sup) == (0, 0, 0, 0));
                assert_eq!(fails(sup.terminate_child(pid)), ChildError::NotFound);
            }
        }
    });
}

#[test]
fn children_are_temporary_unless_their_spec_or_template_says_otherwise() {
    on_all(|world| {
        let life = world.life();
        let specs = start(world, DynamicSupervisor::new());
        let template = start(world, DynamicSupervisor::with_template(probes(&life)));
        answer(specs.start_child(life.child("a")));
        let child = answer(template.start_child(Conduct::Good)).unwrap();
        world.crash("a");
        child.cast(Boom).unwrap();
        world.until(|| counts(&specs).0 == 0 && counts(&template).0 == 0);

        let permanent = probes(&life).restart(Restart::Permanent);
        let template = start(world, DynamicSupervisor::with_template(permanent));
        answer(specs.start_child(life.child("b").restart(Restart::Permanent)));
        let child = answer(template.start_child(Conduct::Good)).unwrap();
        let b = world.pid("b");
        world.crash("b");
        child.cast(Boom).unwrap();
        world.until(|| {
            let replaced = |child: DynamicChild, old| match child.status {
                ChildStatus::Running(pid) => pid != old,
                _ => false,
            };
            replaced(only_child(&specs), b) && replaced(only_child(&template), child.pid())
        });
    });
}

#[test]
fn no_more_children_are_started_than_there_may_be() {
    on_all(|world| {
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
    on_all(|world| {
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
    on_all(|world| {
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
fn a_child_that_is_ignored_at_its_restart_is_forgotten() {
    on_all(|world| {
        let (send, ups) = std::sync::mpsc::channel();
        let (send, inits) = (Mutex::new(send), AtomicU32::new(0));
        let start_one = move |starter: Starter, ()| {
            let first = inits.fetch_add(1, SeqCst) == 0;
            let up = send.lock().unwrap().clone();
            let running = starter.spawn_link(move |mut inbox: Inbox<()>| async move {
                up.send(first).unwrap();
                inbox.recv().await;
                panic!("as told");
            });
            async move {
                let running = running?;
                if first {
                    Ok(running)
                } else {
                    Err(StartError::Ignore)
                }
            }
        };
        let template = Template::worker(start_one).restart(Restart::Permanent);
        let sup = start(world, DynamicSupervisor::with_template(template));
        let child = answer(sup.start_child(())).unwrap();
        assert!(world.next(&ups));
        child.send(()).unwrap();
        world.until(|| counts(&sup).0 == 0);
        assert!(sup.is_alive());
    });
}

#[test]
fn a_terminated_child_is_forgotten_whatever_its_restart_type() {
    on_all(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::new());
        for restart in [Restart::Permanent, Restart::Transient, Restart::Temporary] {
            let child = life.child("a").restart(restart);
            let pid = answer(sup.start_child(child)).unwrap();
            life.expect(world, &ups("a"));
            answer(sup.terminate_child(pid));
            assert!(!world.system.is_alive(pid));
            life.expect(world, &[Note::Down("a")]);
            assert_eq!(counts(&sup), (0, 0, 0, 0));
            assert_eq!(fails(sup.terminate_child(pid)), ChildError::NotFound);
        }
        assert_eq!(fails(sup.terminate_child(sup.pid())), ChildError::NotFound);
        life.expect(world, &[]);
    });
}

#[test]
fn of_two_that_terminate_a_child_the_second_comes_too_late() {
    in_virtual_time(|world| {
        let life = world.life();
        let hangs = life.conduct("a", Conduct::HangInTerminate);
        let sup = start(world, DynamicSupervisor::new());
        let pid = answer(sup.start_child(hangs)).unwrap();
        let mut first = sup.terminate_child(pid);
        let mut second = sup.terminate_child(pid);
        world.advance(5 * SECOND - Duration::from_millis(1));
        assert_eq!(world.poll(&mut first), None);
        assert_eq!(world.poll(&mut second), None);
        world.advance(Duration::from_millis(1));
        assert_eq!(world.poll(&mut first), Some(Ok(())));
        assert_eq!(world.poll(&mut second), Some(Err(ChildError::NotFound)));
        assert!(!world.system.is_alive(pid));
    });
}

#[test]
fn a_template_gives_typed_references_to_children_with_their_own_arguments() {
    struct Account(String, u32);
    impl GenServer for Account {
        type Args = (String, u32);
        async fn init(
            (owner, sum): (String, u32),
            _: &mut Context<Self>,
        ) -> Result<Self, InitStop> {
            Ok(Account(owner, sum))
        }
    }
    struct Show;
    impl HandleCall<Show> for Account {
        type Reply = (String, u32);
        async fn handle_call(&mut self, _: Show, _: &mut Context<Self>) -> (String, u32) {
            (self.0.clone(), self.1)
        }
    }
    impl HandleCast<u32> for Account {
        async fn handle_cast(&mut self, sum: u32, _: &mut Context<Self>) {
            self.1 = self.1.checked_add(sum).unwrap();
        }
    }
    on_all(|world| {
        let show =
            |account: &ServerRef<Account>| account.call(Show).wait_timeout(10 * SECOND).unwrap();
        let template = Template::server::<Account>().restart(Restart::Transient);
        let sup = start(world, DynamicSupervisor::with_template(template));
        let joe = answer(sup.start_child(("joe".into(), 10))).unwrap();
        let ann = answer(sup.start_child(("ann".into(), 20))).unwrap();
        ann.cast(5).unwrap();
        assert_eq!(show(&joe), ("joe".into(), 10));
        assert_eq!(show(&ann), ("ann".into(), 25));

        // A restart begins with the arguments of that child.
        ann.cast(u32::MAX).unwrap();
        world.wait_for_end(ann.pid());
        let mut ann_again = None;
        world.until(|| {
            ann_again = answer(sup.which_children())
                .into_iter()
                .filter_map(|child| match child.status {
                    ChildStatus::Running(pid) if pid != joe.pid() => Some(pid),
                    _ => None,
                })
                .find_map(|pid| world.system.server_ref::<Account>(pid));
            ann_again.is_some()
        });
        assert_eq!(show(&ann_again.unwrap()), ("ann".into(), 20));

        let fixed = Template::server_with::<Account, _>(|owner: &str| (owner.to_owned(), 7));
        let sup = start(world, DynamicSupervisor::with_template(fixed));
        let bob = answer(sup.start_child("bob")).unwrap();
        assert_eq!(show(&bob), ("bob".into(), 7));
    });
}

#[test]
fn templates_make_processes_workers_supervisors_and_copies_of_a_spec() {
    on_all(|world| {
        let life = world.life();
        let (send, got) = std::sync::mpsc::channel();
        let send = Arc::new(Mutex::new(send));
        let echo = Template::process(move |mut inbox: Inbox<u32>, add: u32| {
            let send = send.clone();
            async move {
                while let noex::Received::Message(n) = inbox.recv().await {
                    let _ = send.lock().unwrap().send(n + add);
                }
            }
        });
        let sup = start(world, DynamicSupervisor::with_template(echo));
        let echo = answer(sup.start_child(40)).unwrap();
        echo.send(2).unwrap();
        assert_eq!(world.next(&got), 42);

        let worker = Template::worker(|starter: Starter, name: &'static str| async move {
            let options = starter.options().name(name);
            starter.start_link_with::<Idle>((), options).await
        });
        let sup = start(world, DynamicSupervisor::with_template(worker));
        let named = answer(sup.start_child("named")).unwrap();
        assert_eq!(world.pid("named"), named.pid());
        let taken = StartError::AlreadyStarted(named.pid());
        assert_eq!(fails(sup.start_child("named")), ChildError::Start(taken));

        let shared = life.child("inside");
        let branch = Template::supervisor(move |()| {
            Supervisor::new(Strategy::OneForOne).child(shared.clone())
        });
        assert_eq!(branch.kind(), ChildKind::Supervisor);
        let sup = start(world, DynamicSupervisor::with_template(branch));
        let branch = answer(sup.start_child(())).unwrap();
        assert_eq!(world.running(&branch), ["inside"]);

        let nested = Template::dynamic_supervisor(|max| DynamicSupervisor::new().max_children(max));
        let sup = start(world, DynamicSupervisor::with_template(nested));
        let nested = answer(sup.start_child(1)).unwrap();
        answer(nested.start_child(life.child("leaf"))).unwrap();
        let full = fails(nested.start_child(life.child("leaf")));
        assert_eq!(full, ChildError::MaxChildren);
        assert_eq!(counts(&sup), (1, 1, 1, 0));

        let copies = Template::spec(ChildSpec::server::<Idle>("idle", ()));
        let sup = start(world, DynamicSupervisor::with_template(copies));
        let first = answer(sup.start_child(())).unwrap();
        let second = answer(sup.start_child(())).unwrap();
        assert_ne!(first, second);
        assert!(world.system.server_ref::<Idle>(second).is_some());
    });
}

struct Idle;
impl GenServer for Idle {
    type Args = ();
    async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Idle)
    }
}

#[test]
fn the_restart_that_is_one_too_many_ends_the_supervisor_and_all_children() {
    on_all(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::new().intensity(2));
        answer(sup.start_child(life.child("a").restart(Restart::Permanent)));
        answer(sup.start_child(life.child("b")));
        life.expect(world, &ups("ab"));
        for _ in 0..2 {
            world.crash("a");
            life.expect(world, &[Note::Down("a"), Note::Up("a")]);
        }
        assert!(sup.is_alive());
        world.crash("a");
        life.expect(world, &[Note::Down("a"), Note::Down("b")]);
        world.until(|| sup.exit_reason() == Some(shutdown()));
        assert_eq!(life.living(), 0);
    });
}

#[test]
fn restarts_longer_ago_than_the_period_do_not_count() {
    in_virtual_time(|world| {
        let life = world.life();
        let sup = DynamicSupervisor::new().intensity(1).period(10 * SECOND);
        let sup = start(world, sup);
        answer(sup.start_child(life.child("a").restart(Restart::Permanent)));
        life.expect(world, &ups("a"));
        for _ in 0..3 {
            world.crash("a");
            life.expect(world, &[Note::Down("a"), Note::Up("a")]);
            world.advance(10 * SECOND + Duration::from_millis(1));
        }
        assert!(sup.is_alive());
        world.crash("a");
        world.settle();
        world.crash("a");
        world.settle();
        assert_eq!(sup.exit_reason(), Some(shutdown()));
    });
}

#[test]
fn a_restart_that_fails_is_tried_again_and_each_attempt_counts() {
    let failing = |failures| Conduct::FailInits { from: 1, failures };
    on_all(|world| {
        for (id, failures, survives) in [("a", 2, true), ("b", 3, false)] {
            let life = world.life();
            let sup = start(world, DynamicSupervisor::new().intensity(3));
            let child = life
                .conduct(id, failing(failures))
                .restart(Restart::Transient);
            let pid = answer(sup.start_child(child)).unwrap();
            life.expect(world, &ups(id));
            world.crash(id);
            life.expect(world, &[Note::Down(id)]);
            if survives {
                life.expect(world, &ups(id));
                world.until(|| only_child(&sup).pid != Some(pid));
            } else {
                world.until(|| sup.exit_reason() == Some(shutdown()));
            }
        }
    });
}

#[test]
fn giving_up_is_reported_with_the_id_of_the_child_or_the_type_of_the_template() {
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let hook = {
        let told = told.clone();
        move |event: &Event| {
            if let Event::GaveUp { child, reason, .. } = event {
                told.lock().unwrap().push(format!("{child}: {reason}"));
            }
        }
    };
    let system = System::builder()
        .on_event(hook)
        .schedulers(1)
        .build()
        .unwrap();
    let world = World::of(system);
    let life = world.life();
    let sup = start(&world, DynamicSupervisor::new().intensity(0));
    let spec = life.child("fragile").restart(Restart::Permanent);
    answer(sup.start_child(spec));
    let reason = ExitReason::Normal;
    world.server("fragile").cast(Quit(reason.clone())).unwrap();
    world.until(|| !sup.is_alive());

    let template = probes(&life).restart(Restart::Permanent);
    let sup = start(
        &world,
        DynamicSupervisor::with_template(template).intensity(0),
    );
    let child = answer(sup.start_child(Conduct::Good)).unwrap();
    child.cast(Quit(reason)).unwrap();
    world.until(|| !sup.is_alive());
    let type_name = std::any::type_name::<Probe>();
    assert_eq!(
        *told.lock().unwrap(),
        ["fragile: normal".to_owned(), format!("{type_name}: normal")]
    );
    world.finish();
}

#[test]
fn a_child_that_waits_for_its_restart_is_terminated_by_the_pid_it_had() {
    // Each restart fails for ever, and is as often allowed.
    on_all(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::new().intensity(1_000_000));
        let failing = Conduct::HangInInits { from: 1 };
        let child = life.conduct("a", failing).restart(Restart::Permanent);
        let pid = answer(sup.start_child(child)).unwrap();
        life.expect(world, &ups("a"));
        world.crash("a");
        life.expect(world, &[Note::Down("a")]);
        world.until(|| only_child(&sup).status == ChildStatus::Starting);
        assert_eq!(only_child(&sup).pid, Some(pid));
        assert_eq!(counts(&sup), (1, 0, 0, 1));
        world.until(|| world.system.whereis("a").is_some());
        let new = world.pid("a");
        answer(sup.terminate_child(pid));
        assert!(!world.system.is_alive(new));
        assert_eq!(counts(&sup), (0, 0, 0, 0));
        life.expect(world, &[]);
    });
}

#[test]
fn a_child_that_hangs_in_its_restart_is_terminated_by_its_new_pid_too() {
    on_all(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::new());
        let hangs = Conduct::HangInInits { from: 1 };
        let child = life.conduct("a", hangs).restart(Restart::Permanent);
        let old = answer(sup.start_child(child)).unwrap();
        world.crash("a");
        world.until(|| world.system.whereis("a").is_some_and(|pid| pid != old));
        let new = world.pid("a");
        answer(sup.terminate_child(new));
        assert!(!world.system.is_alive(new));
        assert_eq!(counts(&sup), (0, 0, 0, 0));
        assert_eq!(fails(sup.terminate_child(old)), ChildError::NotFound);
    });
}

#[test]
fn a_restart_that_fails_for_ever_keeps_nobody_else_waiting() {
    on_all(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::new().intensity(u32::MAX));
        let attempts = Arc::new(AtomicU32::new(0));
        let count = attempts.clone();
        let fails_again = ChildSpec::worker("x", move |starter| {
            let first = count.fetch_add(1, SeqCst) == 0;
            async move {
                match first {
                    true => starter.start_link::<Idle>(()).await,
                    false => Err(StartError::Init(ExitReason::Timeout)),
                }
            }
        });
        let fails_again = fails_again.restart(Restart::Permanent);
        let pid = answer(sup.start_child(fails_again)).unwrap();
        world.system.exit(pid, ExitReason::Kill);
        let mut settled = 0;
        while attempts.load(SeqCst) < 10 {
            world.tick(50);
            settled += 1;
            assert!(settled < 10_000_000, "it is tried again and again");
            std::thread::yield_now();
        }
        // It has no process and none is being started: it waits, under its old pid.
        let a = answer(sup.start_child(life.child("a")));
        assert_eq!(a, Some(world.pid("a")));
        assert_eq!(counts(&sup), (2, 1, 0, 2));
        let status = answer(sup.which_children())
            .into_iter()
            .find(|child| child.pid == Some(pid))
            .map(|child| child.status);
        assert_eq!(status, Some(ChildStatus::Restarting));
        answer(sup.terminate_child(pid));
        assert_eq!(counts(&sup), (1, 1, 0, 1));
        let before = attempts.load(SeqCst);
        answer(sup.count_children());
        assert_eq!(attempts.load(SeqCst), before, "no attempt after that");
    });
}

#[test]
fn a_child_that_hangs_in_init_keeps_nobody_waiting_and_can_be_terminated() {
    on_all(|world| {
        for conduct in [Conduct::HangInInit, Conduct::HangInInitTrapping] {
            let life = world.life();
            let sup = start(world, DynamicSupervisor::new());
            let hanging = life.conduct("h", conduct).shutdown(Shutdown::BrutalKill);
            let starting = sup.start_child(hanging);
            answer(sup.start_child(life.child("a").restart(Restart::Permanent)));
            life.expect(world, &ups("a"));
            world.crash("a");
            life.expect(world, &[Note::Down("a"), Note::Up("a")]);
            let hanging = world.pid("h");
            world.until(|| counts(&sup) == (2, 1, 0, 2));
            let told = answer(sup.which_children())
                .into_iter()
                .find(|child| child.status == ChildStatus::Starting);
            assert_eq!(told.unwrap().pid, Some(hanging));
            answer(sup.terminate_child(hanging));
            assert!(!world.system.is_alive(hanging));
            let called_off = StartError::Init(shutdown());
            assert_eq!(fails(starting), ChildError::Start(called_off));
            sup.stop(ExitReason::Normal)
                .wait_timeout(10 * SECOND)
                .unwrap();
        }
    });
}

#[test]
fn a_start_that_takes_longer_than_its_timeout_fails_and_leaves_nothing() {
    in_virtual_time(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::new());
        let hanging = life
            .conduct("h", Conduct::HangInInit)
            .start_timeout(3 * SECOND);
        let mut starting = sup.start_child(hanging);
        world.advance(3 * SECOND - Duration::from_millis(1));
        assert!(world.poll(&mut starting).is_none());
        world.advance(Duration::from_millis(1));
        let timeout = ChildError::Start(StartError::Timeout);
        assert_eq!(world.poll(&mut starting), Some(Err(timeout)));
        assert_eq!(world.system.whereis("h"), None);
        assert_eq!(counts(&sup), (0, 0, 0, 0));
    });
}

#[test]
fn a_child_that_hangs_in_terminate_is_killed_at_its_deadline_and_keeps_nobody_waiting() {
    in_virtual_time(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::new());
        let hangs = life
            .conduct("a", Conduct::HangInTerminate)
            .shutdown(Shutdown::Timeout(3 * SECOND));
        let a = answer(sup.start_child(hangs)).unwrap();
        let mut terminated = sup.terminate_child(a);
        world.settle();
        answer(sup.start_child(life.child("b").restart(Restart::Permanent)));
        world.crash("b");
        world.settle();
        assert_eq!(counts(&sup), (2, 1, 0, 2));
        world.advance(3 * SECOND - Duration::from_millis(1));
        assert!(world.system.is_alive(a));
        assert_eq!(world.poll(&mut terminated), None);
        world.advance(Duration::from_millis(1));
        assert!(!world.system.is_alive(a));
        assert_eq!(world.poll(&mut terminated), Some(Ok(())));
        assert_eq!(world.next_deadline(), None, "no timer is left");
    });
}

#[test]
fn at_the_end_all_are_told_at_once_and_each_is_killed_when_its_own_time_is_over() {
    in_virtual_time(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::new());
        let hangs = |id, shutdown| {
            life.conduct(id, Conduct::HangInTerminate)
                .shutdown(shutdown)
        };
        let seconds = |n| Shutdown::Timeout(n * SECOND);
        for child in [
            hangs("a", seconds(1)),
            hangs("b", seconds(4)),
            hangs("c", Shutdown::Infinity),
            hangs("d", Shutdown::BrutalKill),
            hangs("e", seconds(4)),
            life.child("f"),
        ] {
            answer(sup.start_child(child));
        }
        life.expect(world, &ups("abcdef"));
        let [a, b, c, e] = ["a", "b", "c", "e"].map(|id| world.pid(id));
        let alive = |pids: &[Pid]| -> Vec<bool> {
            pids.iter().map(|pid| world.system.is_alive(*pid)).collect()
        };
        let mut stop = sup.stop(ExitReason::Normal);
        world.settle();
        let mut downs = [(); 5].map(|()| {
            let Note::Down(id) = life.next(world) else {
                panic!("no child comes up")
            };
            id
        });
        downs.sort();
        assert_eq!(
            downs,
            ["a", "b", "c", "e", "f"],
            "all but the one that is killed"
        );
        world.advance(SECOND - Duration::from_millis(1));
        assert_eq!(alive(&[a, b, c, e]), [true; 4]);
        world.advance(Duration::from_millis(1));
        assert_eq!(alive(&[a, b, c, e]), [false, true, true, true]);
        world.advance(3 * SECOND - Duration::from_millis(1));
        assert_eq!(alive(&[b, c, e]), [true; 3]);
        world.advance(Duration::from_millis(1));
        assert_eq!(alive(&[b, c, e]), [false, true, false]);
        world.advance(1000 * SECOND);
        assert_eq!(alive(&[c]), [true], "it has all the time it likes");
        assert!(world.poll(&mut stop).is_none());
        world.system.exit(c, ExitReason::Kill);
        world.settle();
        assert_eq!(world.poll(&mut stop), Some(Ok(())));
        assert_eq!(life.living(), 0);
        assert_eq!(world.next_deadline(), None, "no timer is left");
    });
}

#[test]
fn what_was_being_started_or_stopped_ends_with_the_supervisor() {
    in_virtual_time(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::new());
        let hangs = life.conduct("a", Conduct::HangInTerminate);
        let a = answer(sup.start_child(hangs)).unwrap();
        let mut starting = sup.start_child(life.conduct("b", Conduct::HangInInit));
        let mut terminated = sup.terminate_child(a);
        world.settle();
        let b = world.pid("b");
        world.advance(3 * SECOND);
        let mut stop = sup.stop(ExitReason::Normal);
        // `a` has had three of its five seconds.
        world.advance(2 * SECOND - Duration::from_millis(1));
        assert!(!world.system.is_alive(b) && world.system.is_alive(a));
        assert!(world.poll(&mut stop).is_none());
        world.advance(Duration::from_millis(1));
        assert!(!world.system.is_alive(a));
        assert_eq!(world.poll(&mut stop), Some(Ok(())));
        let gone = ChildError::Call(CallError::Exited(ExitReason::Normal));
        assert_eq!(world.poll(&mut starting), Some(Err(gone.clone())));
        assert_eq!(world.poll(&mut terminated), Some(Err(gone)));
    });
}

#[test]
fn a_supervisor_that_is_killed_takes_its_children_along() {
    on_all(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::with_template(probes(&life)));
        let children: Vec<_> = (0..5)
            .map(|_| answer(sup.start_child(Conduct::Good)).unwrap())
            .collect();
        world.system.exit(sup.pid(), ExitReason::Kill);
        for child in children {
            world.wait_for_end(child.pid());
        }
        assert_eq!(sup.exit_reason(), Some(ExitReason::Killed));
    });
}

#[test]
fn an_exit_signal_of_a_living_child_is_not_taken_for_its_end() {
    on_all(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::with_template(probes(&life)));
        let child = answer(sup.start_child(Conduct::Good)).unwrap();
        let forged = child.call(Forge(sup.pid(), ExitReason::error("forged")));
        forged.wait_timeout(10 * SECOND).unwrap();
        assert_eq!(counts(&sup), (1, 1, 0, 1));
        child.call(Ping).wait_timeout(10 * SECOND).unwrap();
    });
}

#[test]
fn a_child_that_ends_as_soon_as_it_is_up_was_started_and_is_treated_as_any_other() {
    on_all(|world| {
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
fn a_child_that_unlinks_itself_is_linked_again() {
    on_all(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::with_template(probes(&life)));
        let child = answer(sup.start_child(Conduct::UnlinkInInit)).unwrap();
        answer(sup.count_children());
        child.cast(Boom).unwrap();
        world.until(|| counts(&sup).0 == 0);
    });
}

#[test]
fn what_panics_in_a_start_function_or_a_clone_is_a_failed_start() {
    struct Brittle(Arc<AtomicIsize>);
    impl Clone for Brittle {
        fn clone(&self) -> Self {
            let left = self.0.fetch_sub(1, SeqCst);
            assert!(left > 0, "no more clones");
            Brittle(self.0.clone())
        }
    }
    on_all(|world| {
        let panics = |start: fn()| {
            Template::worker(move |starter: Starter, ()| {
                start();
                async move {
                    starter.start_link::<Idle>(()).await?;
                    panic!("in the future")
                }
            })
        };
        let template: Template<(), ServerRef<Idle>> = panics(|| panic!("in the function"));
        let sup = start(world, DynamicSupervisor::with_template(template));
        let ChildError::Start(StartError::Init(reason)) = fails(sup.start_child(())) else {
            panic!("it fails to start")
        };
        assert!(reason.to_string().contains("in the function"), "{reason}");

        let template: Template<(), ServerRef<Idle>> = panics(|| {});
        let sup = start(world, DynamicSupervisor::with_template(template));
        let before = world.system.processes().len();
        let ChildError::Start(StartError::Init(reason)) = fails(sup.start_child(())) else {
            panic!("it fails to start")
        };
        assert!(reason.to_string().contains("in the future"), "{reason}");
        assert_eq!(
            world.system.processes().len(),
            before,
            "what it started is gone"
        );

        let brittle = |clones| Brittle(Arc::new(AtomicIsize::new(clones)));
        let template = Template::server_with::<Idle, _>(|_: Brittle| ());
        let template = template.restart(Restart::Permanent);
        let sup = start(
            world,
            DynamicSupervisor::with_template(template).intensity(3),
        );
        let error = fails(sup.start_child(brittle(0)));
        assert!(
            matches!(error, ChildError::Start(StartError::Init(_))),
            "{error:?}"
        );
        // One clone to keep, and one for a restart: the next is a restart that fails.
        let child = answer(sup.start_child(brittle(2))).unwrap();
        world.system.exit(child.pid(), ExitReason::Kill);
        let again = |old| {
            let mut new = None;
            world.until(|| {
                new = only_child(&sup).pid.filter(|pid| *pid != old);
                new.is_some()
            });
            new.unwrap()
        };
        let second = again(child.pid());
        world.system.exit(second, ExitReason::Kill);
        world.until(|| sup.exit_reason() == Some(shutdown()));
    });
}

#[test]
fn arguments_that_panic_when_dropped_harm_nobody() {
    struct Bomb(Arc<AtomicUsize>);
    impl Clone for Bomb {
        fn clone(&self) -> Self {
            Bomb(self.0.clone())
        }
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
            panic!("as it does");
        }
    }
    on_all(|world| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let template = Template::server_with::<Idle, _>(|bomb: Bomb| std::mem::forget(bomb));
        let template = template.restart(Restart::Transient);
        let sup = start(
            world,
            DynamicSupervisor::with_template(template).max_children(2),
        );
        let first = answer(sup.start_child(Bomb(dropped.clone()))).unwrap();
        let second = answer(sup.start_child(Bomb(dropped.clone()))).unwrap();
        // Refused, with its arguments dropped; then terminated; then ended by itself.
        let refused = fails(sup.start_child(Bomb(dropped.clone())));
        assert_eq!(refused, ChildError::MaxChildren);
        assert_eq!(dropped.load(SeqCst), 1);
        answer(sup.terminate_child(first.pid()));
        assert_eq!(dropped.load(SeqCst), 2);
        let ended = second.stop(ExitReason::Normal).wait_timeout(10 * SECOND);
        assert_eq!(ended, Ok(()));
        world.until(|| counts(&sup).0 == 0);
        assert_eq!(dropped.load(SeqCst), 3);
        // And those it still has at its end.
        answer(sup.start_child(Bomb(dropped.clone()))).unwrap();
        let stopped = sup.stop(ExitReason::Normal).wait_timeout(10 * SECOND);
        assert_eq!(stopped, Ok(()));
        assert_eq!(dropped.load(SeqCst), 4);
    });
}

#[test]
fn in_a_tree_it_is_found_by_its_name_in_each_incarnation() {
    on_all(|world| {
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
fn the_end_of_the_system_stops_its_children() {
    on_all(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::new());
        answer(sup.start_child(life.child("a")));
        life.expect(world, &ups("a"));
        world.system.shutdown().wait_timeout(10 * SECOND).unwrap();
        life.expect(world, &[Note::Down("a")]);
    });
}

#[test]
fn a_name_that_is_taken_is_no_second_supervisor() {
    on_all(|world| {
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
    on_all(|world| {
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
    on_all(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::new());
        drop(sup.start_child(life.child("a")));
        life.expect(world, &ups("a"));
        world.until(|| counts(&sup) == (1, 1, 0, 1));
    });
}

#[test]
fn what_never_ends_is_left_to_the_end_of_the_supervisor() {
    // A start function that started nothing yet has no pid to terminate it by.
    in_virtual_time(|world| {
        let sup = start(world, DynamicSupervisor::new());
        let never = ChildSpec::worker("never", |_| pending::<Result<Pid, StartError>>());
        let mut starting = sup.start_child(never);
        assert_eq!(only_child(&sup).pid, None);
        assert_eq!(world.poll(&mut starting), None);
        let stopped = sup.stop(ExitReason::Normal).wait_timeout(SECOND);
        assert_eq!(stopped, Ok(()));
        let gone = CallError::Exited(ExitReason::Normal);
        assert_eq!(world.poll(&mut starting), Some(Err(gone.into())));
    });
}
