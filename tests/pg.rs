//! Process groups: members, monitors, and what becomes of them when processes and the scope end.

mod support;

use std::sync::mpsc::Receiver;

use noex::prelude::*;
use noex::{
    Handle, Inbox, MailboxPolicy, Overflow, Pg, PgEvent, Received, Recipient, RegistryError,
    ScopeClosed, SpawnOptions, StartError,
};
use support::{DEADLINE, next, on_all, reports, until};

fn waiter(system: &Handle) -> Pid {
    let run = |mut inbox: Inbox<()>| async move {
        inbox.recv().await;
    };
    system.spawn(run).unwrap().pid()
}

fn end(system: &Handle, pid: Pid) {
    let monitor = system.monitor(pid);
    system.exit(pid, ExitReason::Kill);
    monitor.wait_timeout(DEADLINE).unwrap();
}

type Event = PgEvent<&'static str>;

/// A process that passes on what it is sent.
fn ear(system: &Handle, options: SpawnOptions) -> (Recipient<Event>, Receiver<Event>) {
    let (report, reported) = reports();
    let run = move |mut inbox: Inbox<Event>| async move {
        loop {
            if let Received::Message(event) = inbox.recv().await {
                let _ = report.send(event);
            }
        }
    };
    (system.spawn_with(options, run).unwrap(), reported)
}

#[test]
fn a_process_may_join_several_times_and_leaves_once_at_a_time() {
    on_all(|system| {
        let pg: Pg<&str> = Pg::start(system, "scope").unwrap();
        let (ann, bob) = (waiter(system), waiter(system));
        assert_eq!(pg.join("a", [ann]), Ok(1));
        assert_eq!(pg.join("a", [bob, ann]), Ok(2));
        assert_eq!(pg.join("a", []), Ok(0));
        assert_eq!(pg.get_members("a"), [ann, bob, ann]);
        assert_eq!(pg.leave("a", [ann]), 1);
        assert_eq!(pg.get_members("a"), [ann, bob]);
        assert_eq!(pg.leave("a", [ann, bob, bob]), 2);
        assert_eq!(pg.leave("a", [ann]), 0);
        assert_eq!(pg.leave("nobody", [ann]), 0);
        assert_eq!(pg.which_groups(), [""; 0], "an empty group is none");
    });
}

#[test]
fn memberships_of_the_dead_are_gone_with_them() {
    on_all(|system| {
        let pg: Pg<&str> = Pg::start(system, "scope").unwrap();
        let (ann, bob) = (waiter(system), waiter(system));
        pg.join("a", [ann, bob, ann]).unwrap();
        pg.join("b", [ann]).unwrap();
        end(system, ann);
        assert_eq!(pg.get_members("a"), [bob]);
        assert_eq!(pg.get_members("b"), []);
        assert_eq!(pg.which_groups(), ["a"]);
        assert_eq!(pg.join("b", [ann]), Ok(0), "the dead join nothing");
        assert_eq!(pg.join("b", [ann, bob]), Ok(1));
        assert_eq!(pg.get_members("b"), [bob]);
        assert_eq!(pg.leave("a", [ann]), 0);
    });
}

#[test]
fn a_dispatch_is_given_the_members() {
    on_all(|system| {
        let pg: Pg<&str> = Pg::start(system, "scope").unwrap();
        assert_eq!(pg.dispatch("a", |_| unreachable!("nobody is there")), 0);
        let ann = waiter(system);
        pg.join("a", [ann]).unwrap();
        let mut seen = Vec::new();
        let count = pg.dispatch("a", |members| {
            seen.extend_from_slice(members);
            pg.leave("a", [ann]);
        });
        assert_eq!((count, seen), (1, vec![ann]));
        assert_eq!(pg.get_members("a"), []);
    });
}

#[test]
fn a_monitor_of_a_group_is_told_its_members_and_then_each_change() {
    on_all(|system| {
        let pg: Pg<&str> = Pg::start(system, "scope").unwrap();
        let (ann, bob) = (waiter(system), waiter(system));
        pg.join("a", [ann]).unwrap();
        let (to, events) = ear(system, SpawnOptions::new());
        let (monitor, members) = pg.monitor("a", to.clone()).unwrap();
        assert_eq!(members, [ann]);
        pg.join("b", [bob]).unwrap();
        pg.join("a", [bob, bob]).unwrap();
        pg.leave("a", [bob, ann]);
        let join = |group, pids: &[Pid]| PgEvent::Join {
            monitor,
            group,
            pids: pids.to_vec(),
        };
        let leave = |group, pids: &[Pid]| PgEvent::Leave {
            monitor,
            group,
            pids: pids.to_vec(),
        };
        assert_eq!(next(system, &events), join("a", &[bob, bob]));
        assert_eq!(next(system, &events), leave("a", &[bob, ann]));
        end(system, bob);
        assert_eq!(next(system, &events), leave("a", &[bob]));
        // A second one of the same process is another.
        let (second, members) = pg.monitor("a", to).unwrap();
        assert_eq!(members, []);
        assert_ne!(monitor, second);
        assert!(pg.demonitor(monitor) && !pg.demonitor(monitor));
        pg.join("a", [ann]).unwrap();
        let expected = PgEvent::Join {
            monitor: second,
            group: "a",
            pids: vec![ann],
        };
        assert_eq!(next(system, &events), expected);
        assert!(events.try_recv().is_err());
    });
}

#[test]
fn a_monitor_of_the_scope_is_told_all_groups_and_then_each_change() {
    on_all(|system| {
        let pg: Pg<&str> = Pg::start(system, "scope").unwrap();
        let (ann, bob) = (waiter(system), waiter(system));
        pg.join("b", [bob]).unwrap();
        pg.join("a", [ann, bob]).unwrap();
        let dead = waiter(system);
        pg.join("c", [dead]).unwrap();
        end(system, dead);
        let bounded = MailboxPolicy::Bounded {
            capacity: 1,
            overflow: Overflow::DropNewest,
        };
        let (to, events) = ear(system, SpawnOptions::new().mailbox(bounded));
        let (monitor, groups) = pg.monitor_scope(to.clone()).unwrap();
        assert_eq!(groups, [("b", vec![bob]), ("a", vec![ann, bob])]);
        // No bound of a mailbox loses any.
        for _ in 0..20 {
            pg.join("c", [ann]).unwrap();
        }
        for _ in 0..20 {
            let expected = PgEvent::Join {
                monitor,
                group: "c",
                pids: vec![ann],
            };
            assert_eq!(next(system, &events), expected);
        }
        // A monitor ends with its process.
        end(system, to.pid());
        pg.join("a", [ann]).unwrap();
        until(system, || !pg.demonitor(monitor));
    });
}

#[test]
fn scopes_are_apart_and_found_by_name_and_type() {
    on_all(|system| {
        let one: Pg<&str> = Pg::start(system, "one").unwrap();
        let two: Pg<&str> = Pg::start(system, "two").unwrap();
        let ann = waiter(system);
        one.join("a", [ann]).unwrap();
        assert_eq!(two.get_members("a"), []);
        assert_eq!(system.pg::<&str>("one"), Ok(one.clone()));
        let wrong = system.pg::<u8>("one");
        assert!(
            matches!(wrong, Err(RegistryError::WrongType { .. })),
            "{wrong:?}"
        );
        let none = system.pg::<u8>("three");
        assert_eq!(none, Err(RegistryError::NotFound("three".into())));
        let again = Pg::<&str>::start(system, "one");
        let pid = one.pid().unwrap();
        assert_eq!(again, Err(StartError::AlreadyStarted(pid)));
        assert!(matches!(
            Pg::<u8>::start(system, "one"),
            Err(StartError::Init(_))
        ));
    });
}

#[test]
fn a_crash_of_the_scope_loses_nothing_and_its_end_ends_all() {
    on_all(|system| {
        let tree = Supervisor::new(Strategy::OneForOne)
            .child(Pg::<&str>::child_spec("pg", "scope"))
            .start(system)
            .wait_timeout(DEADLINE)
            .unwrap();
        let pg: Pg<&str> = system.pg("scope").unwrap();
        let (ann, bob) = (waiter(system), waiter(system));
        pg.join("a", [ann, bob]).unwrap();
        let (to, events) = ear(system, SpawnOptions::new());
        let (monitor, _) = pg.monitor_scope(to.clone()).unwrap();
        let first = pg.pid().unwrap();
        end(system, first);
        until(system, || pg.pid().is_some_and(|pid| pid != first));
        assert_eq!(pg.get_members("a"), [ann, bob]);
        end(system, ann);
        let expected = PgEvent::Leave {
            monitor,
            group: "a",
            pids: vec![ann],
        };
        assert_eq!(next(system, &events), expected);
        tree.stop(ExitReason::Shutdown(None))
            .wait_timeout(DEADLINE)
            .unwrap();
        assert!(!pg.is_open());
        assert_eq!(pg.get_members("a"), []);
        let refused: Result<usize, ScopeClosed> = pg.join("a", [bob]);
        assert!(refused.is_err());
        assert!(pg.monitor("a", to.clone()).is_err());
        assert!(!pg.demonitor(monitor));
        // Started again it is empty, and the same to who has a handle.
        let again: Pg<&str> = Pg::start(system, "scope").unwrap();
        assert_eq!(pg, again);
        assert_eq!(pg.join("a", [bob]), Ok(1));
        let (later, _) = pg.monitor("a", to).unwrap();
        assert_ne!(later, monitor, "numbers are not used twice");
        again
            .stop(ExitReason::Normal)
            .wait_timeout(DEADLINE)
            .unwrap();
        assert_eq!(again.which_groups(), [""; 0]);
    });
}

#[test]
fn an_idle_scope_with_members_has_nothing_to_do_and_remembers_no_dead() {
    let (system, driver) = support::quiet().virtual_clock().manual();
    let pg: Pg<u32> = Pg::start(&system, "scope").unwrap();
    let keeper = pg.pid().unwrap();
    for round in 0..20 {
        let pid = waiter(&system);
        for group in 0..50 {
            pg.join(group, [pid]).unwrap();
        }
        driver.run_until_idle();
        if round % 2 == 0 {
            for group in 0..50 {
                assert_eq!(pg.leave(&group, [pid]), 1);
            }
        } else {
            system.exit(pid, ExitReason::Kill);
        }
        driver.run_until_idle();
    }
    let info = system.process_info(keeper).wait().unwrap();
    assert_eq!(info.monitors, [], "of those who left, and of the dead");
    assert_eq!(pg.which_groups(), [0; 0]);
    assert_eq!(system.stats().queued, 0);
}

#[test]
fn many_threads_join_and_leave_and_a_monitor_can_follow() {
    let system = support::quiet().schedulers(2).build().unwrap();
    let pg: Pg<&str> = Pg::start(&system, "scope").unwrap();
    let (to, events) = ear(&system, SpawnOptions::new());
    pg.monitor_scope(to).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..300 {
                    let pid = waiter(&system);
                    pg.join("a", [pid, pid]).unwrap();
                    match n % 3 {
                        0 => system.exit(pid, ExitReason::Kill),
                        1 => assert_eq!(pg.leave("a", [pid, pid]), 2),
                        _ => assert_eq!(pg.leave("a", [pid]), 1),
                    }
                }
            });
        }
    });
    let mut heard = Vec::new();
    until(&system, || {
        for event in events.try_iter() {
            match event {
                PgEvent::Join { pids, .. } => heard.extend(pids),
                PgEvent::Leave { pids, .. } => {
                    for pid in pids {
                        let at = heard.iter().position(|other| *other == pid);
                        heard.remove(at.expect("it has joined"));
                    }
                }
            }
        }
        heard.len() == 400
    });
    let mut members = pg.get_members("a");
    members.sort();
    heard.sort();
    assert_eq!(members, heard);
}
