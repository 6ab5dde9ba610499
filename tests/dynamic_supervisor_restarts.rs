//! Which children a dynamic supervisor restarts, and how often. On one scheduler
//! thread, on four, and on the manual driver with many seeds.

mod dynamic;
mod supervise;

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use noex::prelude::*;
use noex::{
    ChildError, ChildStatus, DynamicChild, Event, Inbox, StartError, Starter, Template, Term,
};

use supervise::{
    Boom, Conduct, Forge, Note, Ping, Probe, Quit, SECOND, World, everywhere, in_virtual_time, ups,
};

use dynamic::{Idle, answer, counts, fails, only_child, probes, shutdown, start};

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
    everywhere(|world| {
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
    everywhere(|world| {
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
fn a_child_that_is_ignored_at_its_restart_is_forgotten() {
    everywhere(|world| {
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
fn the_restart_that_is_one_too_many_ends_the_supervisor_and_all_children() {
    everywhere(|world| {
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
    everywhere(|world| {
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
    everywhere(|world| {
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
    everywhere(|world| {
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
    everywhere(|world| {
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
fn an_exit_signal_of_a_living_child_is_not_taken_for_its_end() {
    everywhere(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::with_template(probes(&life)));
        let child = answer(sup.start_child(Conduct::Good)).unwrap();
        let forged = child.call(Forge(sup.pid(), ExitReason::error("forged")));
        forged.wait_timeout(10 * SECOND).unwrap();
        assert_eq!(counts(&sup), (1, 1, 0, 1));
        child.call(Ping).wait_timeout(10 * SECOND).unwrap();
    });
}
