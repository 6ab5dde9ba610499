//! Names through the public API: unique, and never those of the dead.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Barrier, Mutex};
use std::time::Duration;

use noex::prelude::*;
use noex::{Budget, Driver, Handle, Inbox, Received, StartError};

const IN_TIME: Duration = Duration::from_secs(10);

struct Server;

impl GenServer for Server {
    type Args = ();
    async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Server)
    }
}

struct Ping;

impl HandleCall<Ping> for Server {
    type Reply = Pid;
    async fn handle_call(&mut self, _: Ping, cx: &mut Context<Self>) -> Pid {
        cx.pid()
    }
}

fn threads(schedulers: usize) -> System {
    System::builder()
        .on_event(|_| {})
        .schedulers(schedulers)
        .build()
        .unwrap()
}

fn manual(seed: u64) -> (System, Driver) {
    System::builder()
        .on_event(|_| {})
        .virtual_clock()
        .seed(seed)
        .manual()
}

/// Runs a test on one thread, on four, and on the manual driver with 20 seeds.
fn everywhere(test: impl Fn(&System)) {
    for schedulers in [1, 4] {
        let system = threads(schedulers);
        test(&system);
        system.shutdown().wait_timeout(IN_TIME).unwrap();
    }
    for seed in 0..20 {
        let (system, driver) = manual(seed);
        test(&system);
        driver.run_until_idle();
        let stats = system.stats();
        assert_eq!(stats.queued, 0, "seed {seed}: {stats:?}");
        system.shutdown().wait().unwrap();
        assert_eq!(system.stats().queued, 0, "seed {seed}: after the end");
    }
}

/// A process that waits for its end.
fn waiter(system: &Handle) -> Pid {
    let run = |mut inbox: Inbox<()>| async move {
        inbox.recv().await;
    };
    system.spawn(run).unwrap().pid()
}

fn end(system: &Handle, pid: Pid) {
    let monitor = system.monitor(pid);
    system.exit(pid, ExitReason::Kill);
    monitor.wait_timeout(IN_TIME).unwrap();
}

#[test]
fn a_name_leads_to_its_process_until_it_is_taken_back() {
    everywhere(|system| {
        let pid = waiter(system);
        assert_eq!(system.whereis("name"), None);
        assert_eq!(system.register("name", pid), Ok(()));
        assert_eq!(system.whereis("name"), Some(pid));
        assert_eq!(system.unregister("name"), Some(pid));
        assert_eq!(system.whereis("name"), None);
        assert_eq!(system.unregister("name"), None);
        assert!(system.is_alive(pid));
    });
}

#[test]
fn a_name_has_one_process_and_the_next_is_told_which() {
    everywhere(|system| {
        let (first, second) = (waiter(system), waiter(system));
        assert_eq!(system.register("name", first), Ok(()));
        assert_eq!(system.register("name", second), Err(first));
        assert_eq!(system.register("name", first), Ok(()), "the same again");
        assert_eq!(system.whereis("name"), Some(first));
    });
}

#[test]
fn a_process_may_have_several_names_and_they_are_listed_in_order() {
    everywhere(|system| {
        let (a, b) = (waiter(system), waiter(system));
        for (name, pid) in [("beta", b), ("gamma", a), ("alpha", a)] {
            system.register(name, pid).unwrap();
        }
        let listed = |names: &[(&str, Pid)]| {
            let names: Vec<_> = names
                .iter()
                .map(|(name, pid)| ((*name).to_owned(), *pid))
                .collect();
            assert_eq!(system.registered(), names);
        };
        listed(&[("alpha", a), ("beta", b), ("gamma", a)]);
        end(system, a);
        listed(&[("beta", b)]);
    });
}

#[test]
fn a_dead_process_gets_no_name() {
    everywhere(|system| {
        let pid = waiter(system);
        end(system, pid);
        assert_eq!(system.register("name", pid), Err(pid));
        assert_eq!(system.whereis("name"), None);
    });
}

#[test]
fn a_process_of_another_system_gets_no_name() {
    everywhere(|system| {
        let other = threads(1);
        let pid = waiter(&other);
        assert_eq!(system.register("name", pid), Err(pid));
        assert_eq!(other.whereis("name"), None);
    });
}

#[test]
fn a_name_is_free_as_soon_as_its_process_is_known_to_be_dead() {
    everywhere(|system| {
        for _ in 0..10 {
            let pid = waiter(system);
            system.register("name", pid).unwrap();
            end(system, pid);
            assert_eq!(system.whereis("name"), None);
            assert_eq!(
                system.unregister("name"),
                None,
                "the dead had it, so nobody"
            );
            let next = waiter(system);
            assert_eq!(system.register("name", next), Ok(()));
            assert_eq!(system.whereis("name"), Some(next));
            end(system, next);
        }
    });
}

#[test]
fn a_process_that_sees_down_finds_the_name_free() {
    everywhere(|system| {
        let (send, seen) = std::sync::mpsc::channel();
        let run = move |mut inbox: Inbox<()>| async move {
            for _ in 0..20 {
                let system = inbox.system();
                let pid = waiter(&system);
                system.register("name", pid).unwrap();
                inbox.monitor(pid);
                inbox.exit(pid, ExitReason::Kill);
                let Received::Down(_) = inbox.recv().await else {
                    panic!("a Down")
                };
                let _ = send.send((system.whereis("name"), system.registered()));
            }
        };
        let end = system.monitor(system.spawn(run).unwrap().pid());
        end.wait_timeout(IN_TIME).unwrap();
        assert!(seen.iter().all(|seen| seen == (None, Vec::new())));
    });
}

#[test]
fn a_name_whose_process_failed_to_start_is_free_when_that_is_known() {
    struct Fails;
    impl GenServer for Fails {
        type Args = ();
        async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
            Err(ExitReason::Timeout.into())
        }
    }
    everywhere(|system| {
        for _ in 0..10 {
            let options = ServerOptions::new().name("name");
            let error = system
                .start_with::<Fails>((), options.clone())
                .wait_timeout(IN_TIME);
            assert_eq!(error.unwrap_err(), StartError::Init(ExitReason::Timeout));
            assert_eq!(system.whereis("name"), None);
            let server = system
                .start_with::<Server>((), options)
                .wait_timeout(IN_TIME)
                .unwrap();
            server
                .stop(ExitReason::Normal)
                .wait_timeout(IN_TIME)
                .unwrap();
        }
    });
}

#[test]
fn the_end_of_the_process_that_keeps_the_names_takes_none_along() {
    everywhere(|system| {
        let first = waiter(system);
        system.register("first", first).unwrap();
        for round in 0..3 {
            // It is whoever else is there.
            for other in system.processes() {
                if other != first {
                    end(system, other);
                }
            }
            assert_eq!(system.whereis("first"), Some(first));
            let second = waiter(system);
            assert_eq!(system.register("second", second), Ok(()), "{round}");
            assert_eq!(system.whereis("second"), Some(second));
            end(system, second);
            assert_eq!(system.whereis("second"), None);
        }
        end(system, first);
        assert_eq!(system.registered(), []);
    });
}

#[test]
fn of_two_that_race_for_a_name_one_wins_and_the_other_is_told_who() {
    for schedulers in [1, 4] {
        let system = threads(schedulers);
        for _ in 0..200 {
            let pids = [waiter(&system), waiter(&system)];
            let start = Barrier::new(2);
            let results = std::thread::scope(|scope| {
                pids.map(|pid| {
                    let (system, start) = (&system, &start);
                    scope.spawn(move || {
                        start.wait();
                        system.register("name", pid)
                    })
                })
                .map(|thread| thread.join().unwrap())
            });
            let winner = match results {
                [Ok(()), Err(holder)] if holder == pids[0] => pids[0],
                [Err(holder), Ok(())] if holder == pids[1] => pids[1],
                other => panic!("{other:?}"),
            };
            assert_eq!(system.whereis("name"), Some(winner));
            for pid in pids {
                end(&system, pid);
            }
        }
    }
}

#[test]
fn of_servers_that_race_for_a_name_one_starts_and_the_others_are_told_who() {
    const RACERS: usize = 8;
    everywhere(|system| {
        for _ in 0..10 {
            let starts: Vec<_> = (0..RACERS)
                .map(|_| system.start_with::<Server>((), ServerOptions::new().name("name")))
                .collect();
            let results: Vec<_> = starts
                .into_iter()
                .map(|start| start.wait_timeout(IN_TIME))
                .collect();
            let winner = results
                .iter()
                .find_map(|result| result.as_ref().ok())
                .unwrap();
            let told = results
                .iter()
                .filter(|result| **result == Err(StartError::AlreadyStarted(winner.pid())))
                .count();
            assert_eq!(told, RACERS - 1);
            winner
                .stop(ExitReason::Normal)
                .wait_timeout(IN_TIME)
                .unwrap();
        }
    });
}

#[test]
fn nobody_is_led_to_an_incarnation_that_was_known_to_be_dead() {
    let system = threads(4);
    let child = ChildSpec::server::<Server>("server", ()).name("server");
    let sup = Supervisor::new(Strategy::OneForOne)
        .child(child)
        .intensity(1_000_000);
    sup.start(&system).wait_timeout(IN_TIME).unwrap();
    let over = AtomicBool::new(false);
    let dead = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..2000 {
                if let Some(pid) = system.whereis("server") {
                    end(&system, pid);
                    assert_ne!(system.whereis("server"), Some(pid));
                    assert!(system.registered().iter().all(|(_, named)| *named != pid));
                    dead.lock().unwrap().push(pid);
                }
            }
            over.store(true, SeqCst);
        });
        for _ in 0..2 {
            scope.spawn(|| {
                let named = system.server::<Server>("server");
                while !over.load(SeqCst) {
                    let before = dead.lock().unwrap().len();
                    let found = system.whereis("server");
                    let answered = named.call(Ping).wait_timeout(IN_TIME).ok();
                    let dead = &dead.lock().unwrap()[..before];
                    for pid in found.into_iter().chain(answered) {
                        assert!(!dead.contains(&pid));
                    }
                }
            });
        }
    });
    assert!(!dead.lock().unwrap().is_empty());
    system.shutdown().wait_timeout(IN_TIME).unwrap();
}

#[test]
fn no_schedule_shows_a_dead_incarnation() {
    for seed in 0..100 {
        let (system, driver) = manual(seed);
        let child = ChildSpec::server::<Server>("server", ()).name("server");
        let sup = Supervisor::new(Strategy::OneForOne)
            .child(child)
            .intensity(1000);
        sup.start(&system).wait().unwrap();
        for _ in 0..20 {
            let Some(pid) = system.whereis("server") else {
                panic!("idle, so restarted")
            };
            system.exit(pid, ExitReason::Kill);
            while driver.tick(Budget::messages(1)) == noex::Tick::More {
                if let Some(found) = system.whereis("server") {
                    assert!(system.is_alive(found), "seed {seed}");
                }
            }
            assert_ne!(system.whereis("server"), Some(pid), "seed {seed}");
        }
    }
}

#[test]
fn names_are_as_long_and_as_many_as_one_likes() {
    everywhere(|system| {
        let pid = waiter(system);
        let long = "ü".repeat(10_000);
        for name in ["", " ", "a b", "名前", &long] {
            system.register(name, pid).unwrap();
            assert_eq!(system.whereis(name), Some(pid));
        }
        for n in 0..1000 {
            system.register(&n.to_string(), pid).unwrap();
        }
        assert_eq!(system.registered().len(), 1005);
        end(system, pid);
        assert_eq!(system.registered(), []);
    });
}

#[test]
fn a_name_can_be_given_by_a_process_to_itself_and_to_others() {
    everywhere(|system| {
        let (send, told) = std::sync::mpsc::channel();
        let run = move |mut inbox: Inbox<()>| async move {
            let system = inbox.system();
            let other = waiter(&system);
            let given = (
                system.register("me", inbox.pid()),
                system.register("other", other),
            );
            let found = (
                system.whereis("me") == Some(inbox.pid()),
                system.whereis("other") == Some(other),
            );
            let _ = send.send((given, found));
            inbox.recv().await;
        };
        let pid = system.spawn(run).unwrap().pid();
        // Answered behind the process's first turn.
        system.process_info(pid).wait_timeout(IN_TIME).unwrap();
        assert_eq!(
            told.recv_timeout(IN_TIME),
            Ok(((Ok(()), Ok(())), (true, true)))
        );
    });
}

#[test]
fn an_idle_system_with_names_has_nothing_to_do() {
    let (system, driver) = manual(1);
    let pid = waiter(&system);
    system.register("name", pid).unwrap();
    driver.run_until_idle();
    assert_eq!(driver.tick(Budget::messages(1)), noex::Tick::Idle);
    assert_eq!(driver.next_deadline(), None);
    let before = system.stats();
    driver.advance(Duration::from_secs(3600));
    assert_eq!(system.stats(), before);
}

#[test]
fn the_same_seed_gives_the_same_run_with_many_names() {
    let run = |seed| {
        let builder = System::builder().on_event(|_| {}).virtual_clock();
        let (system, driver) = builder.seed(seed).record().manual();
        let pids: Vec<Pid> = (0..50).map(|_| waiter(&system)).collect();
        driver.run_until_idle();
        for (n, pid) in pids.iter().enumerate() {
            system.register(&format!("name {n}"), *pid).unwrap();
        }
        // Whoever has to do with the names goes first; the order it leaves the others in shows.
        driver.tick(Budget::messages(1));
        for pid in &pids {
            system.send(*pid, ());
        }
        driver.run_until_idle();
        // The system's number, in front of each pid, is not the same.
        let number = format!("{}:<", pids[0].creation());
        driver.take_log().replace(&number, "<")
    };
    for seed in 0..10 {
        assert_eq!(run(seed), run(seed));
    }
}
