//! Registries of the user's own: keys of any type, values, listeners, partitions, and what becomes of
//! them when processes and their own process end.

mod support;

use std::sync::{Arc, Mutex};

use noex::prelude::*;
use noex::{
    Agent, CallError, Duplicate, GenEvent, Handle, Inbox, Label, MetaError, Received, Recipient,
    RegisterError, Registry, RegistryError, RegistryEvent, StartError, Unique,
};
use support::{DEADLINE, gate, next, on_all, reports, until};

/// A process that waits for its end.
fn waiter(system: &Handle) -> Pid {
    let run = |mut inbox: Inbox<()>| async move {
        inbox.recv().await;
    };
    system.spawn(run).unwrap().pid()
}

/// Kills it, and waits until that is known.
fn end(system: &Handle, pid: Pid) {
    let monitor = system.monitor(pid);
    system.exit(pid, ExitReason::Kill);
    monitor.wait_timeout(DEADLINE).unwrap();
}

fn unique(system: &Handle) -> Registry<String, u32> {
    Registry::unique("unique").start(system).unwrap()
}

fn duplicate(system: &Handle) -> Registry<String, u32, Duplicate> {
    Registry::duplicate("duplicate").start(system).unwrap()
}

fn key(key: &str) -> String {
    key.to_owned()
}

#[test]
fn a_unique_key_leads_to_its_process_and_value_until_it_is_taken_back() {
    on_all(|system| {
        let users = unique(system);
        let ann = waiter(system);
        assert_eq!(users.lookup("ann"), None);
        assert_eq!(users.register(key("ann"), ann, 7), Ok(()));
        assert_eq!(users.lookup("ann"), Some((ann, 7)));
        assert_eq!(users.whereis("ann"), Some(ann));
        assert_eq!(users.values("ann", ann), [7]);
        assert_eq!(users.keys(ann), ["ann"]);
        assert_eq!(users.unregister("ann", ann), 1);
        assert_eq!(users.unregister("ann", ann), 0);
        assert_eq!(users.lookup("ann"), None);
        assert_eq!(users.keys(ann), [""; 0]);
        assert!(system.is_alive(ann));
    });
}

#[test]
fn a_unique_key_that_a_live_process_has_is_refused_and_says_whose_it_is() {
    on_all(|system| {
        let users = unique(system);
        let (ann, bob) = (waiter(system), waiter(system));
        users.register(key("name"), ann, 1).unwrap();
        let taken = Err(RegisterError::AlreadyRegistered(ann));
        assert_eq!(users.register(key("name"), bob, 2), taken);
        assert_eq!(users.register(key("name"), ann, 3), taken, "also to itself");
        assert_eq!(users.lookup("name"), Some((ann, 1)));
        assert_eq!(users.unregister("name", bob), 0, "it is not bob's");
        end(system, ann);
        assert_eq!(users.register(key("name"), bob, 4), Ok(()));
        assert_eq!(users.lookup("name"), Some((bob, 4)));
    });
}

#[test]
fn the_dead_and_the_processes_of_other_systems_get_no_key() {
    on_all(|system| {
        let users = unique(system);
        let dead = waiter(system);
        end(system, dead);
        assert_eq!(
            users.register(key("k"), dead, 1),
            Err(RegisterError::NoProc)
        );
        let (other, _driver) = System::builder().manual();
        let foreign = waiter(&other);
        assert_eq!(
            users.register(key("k"), foreign, 1),
            Err(RegisterError::NoProc)
        );
        assert_eq!(users.unregister("k", foreign), 0);
        assert_eq!(users.keys(foreign), [""; 0]);
    });
}

#[test]
fn a_duplicate_key_has_all_registrations_in_order_several_of_one_process_too() {
    on_all(|system| {
        let rooms = duplicate(system);
        let (ann, bob) = (waiter(system), waiter(system));
        for (pid, value) in [(ann, 1), (bob, 2), (ann, 3), (bob, 1)] {
            rooms.register(key("room"), pid, value).unwrap();
        }
        assert_eq!(
            rooms.lookup("room"),
            [(ann, 1), (bob, 2), (ann, 3), (bob, 1)]
        );
        assert_eq!(rooms.values("room", ann), [1, 3]);
        assert_eq!(rooms.keys(ann), ["room", "room"]);
        assert_eq!(rooms.count(), 4);
        assert_eq!(rooms.match_values("room", |_, value| *value == 1).len(), 2);
        assert_eq!(rooms.count_match("room", |pid, _| pid == bob), 2);
        assert_eq!(rooms.unregister("room", ann), 2);
        assert_eq!(rooms.lookup("room"), [(bob, 2), (bob, 1)]);
        end(system, bob);
        assert_eq!(rooms.lookup("room"), []);
        assert_eq!(rooms.count(), 0);
    });
}

#[test]
fn only_the_registrations_that_match_are_taken_back() {
    on_all(|system| {
        let rooms = duplicate(system);
        let (ann, bob) = (waiter(system), waiter(system));
        for value in 0..10 {
            rooms.register(key("room"), ann, value).unwrap();
        }
        rooms.register(key("room"), bob, 4).unwrap();
        assert_eq!(rooms.unregister_match("room", ann, |n| n % 2 == 0), 5);
        assert_eq!(rooms.unregister_match("room", ann, |n| *n > 100), 0);
        assert_eq!(rooms.values("room", ann), [1, 3, 5, 7, 9]);
        assert_eq!(rooms.values("room", bob), [4], "bob's are bob's");
        let users = unique(system);
        users.register(key("a"), ann, 1).unwrap();
        assert_eq!(users.unregister_match("a", ann, |n| *n == 2), 0);
        assert_eq!(users.unregister_match("a", ann, |n| *n == 1), 1);
        assert_eq!(users.whereis("a"), None);
    });
}

#[test]
fn a_value_is_updated_for_the_process_that_has_the_key_alone() {
    on_all(|system| {
        let users = unique(system);
        let (ann, bob) = (waiter(system), waiter(system));
        users.register(key("a"), ann, 1).unwrap();
        assert_eq!(users.update_value("a", ann, |n| n + 1), Some((2, 1)));
        assert_eq!(users.update_value("a", bob, |n| n + 1), None);
        assert_eq!(users.update_value("b", ann, |n| n + 1), None);
        assert_eq!(users.lookup("a"), Some((ann, 2)));
        let (same, inner) = (users.clone(), users.clone());
        let nested = users.update_value("a", ann, move |n| {
            // It is on no lock.
            inner.register(key("c"), ann, 9).ok();
            n + inner.count() as u32
        });
        assert_eq!(nested, Some((4, 2)));
        end(system, ann);
        assert_eq!(same.update_value("a", ann, |n| n + 1), None);
    });
}

#[test]
fn no_update_is_lost_among_threads() {
    let system = support::quiet().schedulers(2).build().unwrap();
    let counters: Registry<u32, u64> = Registry::unique("counters").start(&system).unwrap();
    let pid = waiter(&system);
    for n in 0..3 {
        counters.register(n, pid, 0).unwrap();
    }
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..3000 {
                    counters.update_value(&(n % 3), pid, |n| n + 1).unwrap();
                }
            });
        }
    });
    for n in 0..3 {
        assert_eq!(counters.lookup(&n), Some((pid, 4000)));
    }
}

#[test]
fn a_panic_in_a_change_leaves_the_value_as_it_was() {
    let (system, _driver) = support::quiet().manual();
    let users = unique(&system);
    let ann = waiter(&system);
    users.register(key("a"), ann, 1).unwrap();
    let change = || users.update_value("a", ann, |_| panic!("a change"));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(change)).is_err());
    assert_eq!(users.lookup("a"), Some((ann, 1)));
    assert_eq!(users.update_value("a", ann, |n| n + 1), Some((2, 1)));
}

#[test]
fn all_registrations_are_selected_in_their_order_and_counted() {
    on_all(|system| {
        let users = unique(system);
        let pids: Vec<Pid> = (0..50).map(|_| waiter(system)).collect();
        for (n, pid) in pids.iter().enumerate() {
            let group = ["red", "blue"][n % 2];
            let name = format!("{group}/{n}");
            users.register(name, *pid, n as u32).unwrap();
        }
        let even = users.select(|_, _, n| (n % 2 == 0).then_some(*n));
        assert_eq!(even, (0..50).step_by(2).collect::<Vec<u32>>());
        assert_eq!(users.count(), 50);
        assert_eq!(users.count_select(|name, _, _| name.starts_with("red")), 25);
        let of_glob = users.select_glob("blue/?");
        let names: Vec<&str> = of_glob.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["blue/1", "blue/3", "blue/5", "blue/7", "blue/9"]);
        assert_eq!(users.select_glob("*").len(), 0);
        assert_eq!(users.select_glob("**").len(), 50);
        for pid in &pids[..10] {
            end(system, *pid);
        }
        assert_eq!(users.count(), 40);
        assert_eq!(users.count_select(|_, _, _| true), 40);
        assert_eq!(users.select(|_, pid, _| Some(pid)), &pids[10..]);
    });
}

#[test]
fn a_dispatch_calls_with_all_registrations_and_not_at_all_with_none() {
    on_all(|system| {
        let rooms = duplicate(system);
        assert_eq!(
            rooms.dispatch("room", |_| unreachable!("nobody is there")),
            0
        );
        let (ann, bob, cid) = (waiter(system), waiter(system), waiter(system));
        for (n, pid) in [ann, bob, cid].into_iter().enumerate() {
            rooms.register(key("room"), pid, n as u32).unwrap();
        }
        end(system, bob);
        let mut seen = Vec::new();
        let count = rooms.dispatch("room", |entries| {
            seen.extend_from_slice(entries);
            // It is on no lock.
            rooms.unregister("room", ann);
        });
        assert_eq!((count, seen), (2, vec![(ann, 0), (cid, 2)]));
        assert_eq!(rooms.lookup("room"), [(cid, 2)]);
    });
}

#[test]
fn a_dispatch_goes_through_each_partition_once_at_the_same_time_if_wanted() {
    on_all(|system| {
        let topics: Registry<&str, u32, Duplicate> = Registry::duplicate("topics")
            .partitions(4)
            .start(system)
            .unwrap();
        assert_eq!(topics.partitions(), 4);
        let pids: Vec<Pid> = (0..40).map(|_| waiter(system)).collect();
        for (n, pid) in pids.iter().enumerate() {
            topics.register("news", *pid, n as u32).unwrap();
        }
        let in_order: Vec<(Pid, u32)> = pids.iter().copied().zip(0..).collect();
        assert_eq!(topics.lookup("news"), in_order);
        let mut parts = 0;
        let mut seen = Vec::new();
        let count = topics.dispatch("news", |entries| {
            assert!(entries.is_sorted_by_key(|(_, n)| *n));
            parts += 1;
            seen.extend_from_slice(entries);
        });
        seen.sort_by_key(|(_, n)| *n);
        assert_eq!((count, parts, seen), (40, 4, in_order.clone()));

        let together = Arc::new(Mutex::new(Vec::new()));
        let into = together.clone();
        let dispatch = topics.dispatch_parallel("news", move |entries| {
            into.lock().unwrap().push(entries.to_vec());
        });
        assert_eq!(dispatch.wait_timeout(DEADLINE), Ok(40));
        let mut seen = together.lock().unwrap().concat();
        seen.sort_by_key(|(_, n)| *n);
        assert_eq!((together.lock().unwrap().len(), seen), (4, in_order));

        let nobody = topics.dispatch_parallel("weather", |_| unreachable!("nobody is there"));
        assert_eq!(nobody.wait_timeout(DEADLINE), Ok(0));
        let fails = topics.dispatch_parallel("news", |entries| {
            assert!(!entries.iter().any(|(_, n)| *n == 7), "one of them fails");
        });
        let failed = fails.wait_timeout(DEADLINE);
        assert!(matches!(failed, Err(CallError::Exited(_))), "{failed:?}");
        for pid in pids {
            end(system, pid);
        }
        assert_eq!((topics.count(), topics.lookup("news")), (0, vec![]));
    });
}

#[test]
fn registries_are_found_by_name_and_a_wrong_type_is_an_error() {
    on_all(|system| {
        let users = unique(system);
        let rooms = duplicate(system);
        let found: Registry<String, u32> = system.registry("unique").unwrap();
        assert_eq!(found, users);
        let found: Registry<String, u32, Duplicate> = system.registry("duplicate").unwrap();
        assert_eq!(found, rooms);
        assert_eq!(
            system.registry::<String, u32, Unique>("nobody"),
            Err(RegistryError::NotFound("nobody".into()))
        );
        let wrong = [
            system.registry::<String, u64, Unique>("unique").err(),
            system.registry::<u32, u32, Unique>("unique").err(),
            system.registry::<String, u32, Duplicate>("unique").err(),
            system.registry::<String, u32, Unique>("duplicate").err(),
        ];
        for error in wrong {
            assert!(
                matches!(error, Some(RegistryError::WrongType { .. })),
                "{error:?}"
            );
        }
        let again = Registry::<String, u32>::unique("unique").start(system);
        let pid = users.pid().unwrap();
        assert_eq!(again, Err(StartError::AlreadyStarted(pid)));
        let other = Registry::<u8, u32>::unique("unique").start(system);
        let Err(StartError::Init(reason)) = other else {
            panic!("{other:?}");
        };
        let error = reason.downcast_ref::<RegistryError>();
        assert!(
            matches!(error, Some(RegistryError::WrongType { .. })),
            "{error:?}"
        );
    });
}

#[test]
fn metadata_is_typed_put_and_deleted() {
    on_all(|system| {
        let users = Registry::<String, u32>::unique("users")
            .meta("limit", 10u32)
            .start(system)
            .unwrap();
        assert_eq!(*users.meta::<u32>("limit").unwrap(), 10);
        let wrong = users.meta::<String>("limit");
        assert!(
            matches!(wrong, Err(MetaError::WrongType { .. })),
            "{wrong:?}"
        );
        let none = users.meta::<u32>("owner");
        assert_eq!(none, Err(MetaError::NotFound("owner".into())));
        users.put_meta("owner", key("ann"));
        users.put_meta("limit", 11u64);
        assert_eq!(*users.meta::<String>("owner").unwrap(), "ann");
        assert_eq!(*users.meta::<u64>("limit").unwrap(), 11);
        assert!(users.delete_meta("owner") && !users.delete_meta("owner"));
        assert!(users.meta::<String>("owner").is_err());
    });
}

#[test]
fn the_names_of_the_system_are_a_registry() {
    on_all(|system| {
        let names: Registry<Label> = system.names();
        let (ann, bob) = (waiter(system), waiter(system));
        system.register("rooms/ann", ann).unwrap();
        names.register("rooms/bob".into(), bob, ()).unwrap();
        assert_eq!(system.whereis("rooms/bob"), Some(bob));
        assert_eq!(names.whereis("rooms/ann"), Some(ann));
        assert_eq!(names.keys(ann), [Label::from("rooms/ann")]);
        assert_eq!(names.select_glob("rooms/*").len(), 2);
        assert_eq!(names.count(), 2);
        assert_eq!(system.unregister("rooms/ann"), Some(ann));
        assert_eq!(names.count(), 1);
        // They end with the system alone.
        names
            .stop(ExitReason::Normal)
            .wait_timeout(DEADLINE)
            .unwrap();
        assert_eq!(system.whereis("rooms/bob"), Some(bob));
        assert_eq!(system.register("rooms/cid", bob), Ok(()));
    });
}

type Event = RegistryEvent<String, u32>;

/// A process that passes on what it hears.
fn listener(system: &Handle) -> (Recipient<Event>, std::sync::mpsc::Receiver<Event>) {
    let (report, reported) = reports();
    let run = move |mut inbox: Inbox<Event>| async move {
        loop {
            if let Received::Message(event) = inbox.recv().await {
                let _ = report.send(event);
            }
        }
    };
    (system.spawn(run).unwrap(), reported)
}

fn registered(key: &str, pid: Pid, value: u32) -> Event {
    RegistryEvent::Registered {
        registry: "users".into(),
        key: key.to_owned(),
        pid,
        value,
    }
}

fn unregistered(key: &str, pid: Pid) -> Event {
    RegistryEvent::Unregistered {
        registry: "users".into(),
        key: key.to_owned(),
        pid,
    }
}

#[test]
fn a_listener_hears_of_each_registration_and_of_its_end_once() {
    on_all(|system| {
        let (to, events) = listener(system);
        let users = Registry::<String, u32>::unique("users")
            .listener(to.clone())
            .start(system)
            .unwrap();
        let (ann, bob) = (waiter(system), waiter(system));
        users.register(key("a"), ann, 1).unwrap();
        users.register(key("a"), bob, 1).unwrap_err();
        users.register(key("b"), bob, 2).unwrap();
        users.unregister("b", ann);
        users.unregister("b", bob);
        assert_eq!(next(system, &events), registered("a", ann, 1));
        assert_eq!(next(system, &events), registered("b", bob, 2));
        assert_eq!(next(system, &events), unregistered("b", bob));
        // Whoever takes a dead one's key over tells of that; else the registry does.
        end(system, ann);
        users.register(key("a"), bob, 3).unwrap();
        assert_eq!(next(system, &events), unregistered("a", ann));
        assert_eq!(next(system, &events), registered("a", bob, 3));
        end(system, bob);
        assert_eq!(next(system, &events), unregistered("a", bob));
        // The end of the listener is nobody's trouble.
        end(system, to.pid());
        let cid = waiter(system);
        users.register(key("a"), cid, 1).unwrap();
        assert_eq!(users.whereis("a"), Some(cid));
    });
}

#[test]
fn what_listeners_hear_adds_up_to_the_registry() {
    on_all(|system| {
        let (to, events) = listener(system);
        let users = Registry::<String, u32>::unique("users")
            .listener(to)
            .start(system)
            .unwrap();
        let mut pids: Vec<Pid> = (0..6).map(|_| waiter(system)).collect();
        let mut random = 7u32;
        let mut dice = |sides: usize| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 16) as usize % sides
        };
        for n in 0..60 {
            let (at, name) = (dice(6), format!("k{}", dice(4)));
            match dice(4) {
                0 => drop(users.unregister(&name, pids[at])),
                1 => {
                    system.exit(pids[at], ExitReason::Kill);
                    pids[at] = waiter(system);
                }
                _ => drop(users.register(name, pids[at], n)),
            }
        }
        for pid in pids.split_off(3) {
            end(system, pid);
        }
        let wanted = || users.select(|key, pid, value| Some((key.clone(), (pid, *value))));
        let mut seen = std::collections::BTreeMap::new();
        until(system, || {
            while let Ok(event) = events.try_recv() {
                match event {
                    RegistryEvent::Registered {
                        key, pid, value, ..
                    } => {
                        let before = seen.insert(key, (pid, value));
                        assert_eq!(before, None, "registered over a live one");
                    }
                    RegistryEvent::Unregistered { key, pid, .. } => {
                        let before = seen.remove(&key).expect("it was registered");
                        assert_eq!(before.0, pid);
                    }
                    _ => unreachable!("there are two kinds"),
                }
            }
            let mut wanted = wanted();
            wanted.sort();
            wanted == seen.clone().into_iter().collect::<Vec<_>>()
        });
    });
}

struct Collector(std::sync::mpsc::Sender<Event>);

impl GenServer for Collector {
    type Args = std::sync::mpsc::Sender<Event>;
    async fn init(to: Self::Args, _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Collector(to))
    }
}

impl HandleInfo<Event> for Collector {
    async fn handle_info(&mut self, event: Event, _: &mut Context<Self>) {
        let _ = self.0.send(event);
    }
}

#[test]
fn a_listener_by_name_is_whoever_has_the_name_then() {
    on_all(|system| {
        let (report, events) = reports();
        let users = Registry::<String, u32>::unique("users")
            .listener(system.server::<Collector>("collector"))
            .start(system)
            .unwrap();
        let ann = waiter(system);
        users.register(key("unheard"), ann, 0).unwrap();
        let start = |report: &std::sync::mpsc::Sender<Event>| {
            let options =
                ServerOptions::new()
                    .name("collector")
                    .mailbox(noex::MailboxPolicy::Bounded {
                        capacity: 1,
                        overflow: noex::Overflow::Reject,
                    });
            let start = system.start_with::<Collector>(report.clone(), options);
            start.wait_timeout(DEADLINE).unwrap()
        };
        let first = start(&report);
        users.register(key("a"), ann, 1).unwrap();
        assert_eq!(next(system, &events), registered("a", ann, 1));
        end(system, first.pid());
        start(&report);
        // A bounded mailbox loses nothing of it.
        for n in 0..20 {
            users.register(format!("k{n}"), ann, n).unwrap();
        }
        for n in 0..20 {
            assert_eq!(next(system, &events), registered(&format!("k{n}"), ann, n));
        }
    });
}

#[test]
fn a_crash_of_the_registry_loses_nothing_and_touches_nobody() {
    on_all(|system| {
        let users = unique(system);
        let (ann, bob) = (waiter(system), waiter(system));
        users.register(key("a"), ann, 1).unwrap();
        users.put_meta("limit", 7u32);
        let keeper = users.pid().unwrap();
        end(system, keeper);
        assert!(users.is_open());
        assert_eq!(users.pid(), None);
        assert_eq!(users.lookup("a"), Some((ann, 1)));
        assert!(system.is_alive(ann));
        // Whoever registers appoints another, which a started one relieves.
        users.register(key("b"), bob, 2).unwrap();
        let stand_in = users.pid().unwrap();
        assert_ne!(stand_in, keeper);
        let again = unique(system);
        assert_eq!(again, users);
        until(system, || !system.is_alive(stand_in));
        assert_eq!(users.lookup("a"), Some((ann, 1)));
        assert_eq!(*users.meta::<u32>("limit").unwrap(), 7);
        end(system, ann);
        end(system, bob);
        assert_eq!(users.count(), 0);
        assert_eq!(users.register(key("a"), waiter(system), 3), Ok(()));
    });
}

#[test]
fn a_registry_that_is_stopped_is_empty_and_its_name_is_free() {
    on_all(|system| {
        let users = unique(system);
        let ann = waiter(system);
        users.register(key("a"), ann, 1).unwrap();
        users.put_meta("limit", 7u32);
        let stopped = users.stop(ExitReason::Normal).wait_timeout(DEADLINE);
        assert_eq!(stopped, Ok(()));
        assert!(!users.is_open());
        assert_eq!((users.whereis("a"), users.count()), (None, 0));
        assert_eq!(users.keys(ann), [""; 0]);
        assert!(users.meta::<u32>("limit").is_err());
        let closed = Err(RegisterError::Closed);
        assert_eq!(users.register(key("a"), ann, 1), closed);
        let gone = system.registry::<String, u32, Unique>("unique");
        assert_eq!(gone, Err(RegistryError::NotFound("unique".into())));
        assert!(system.is_alive(ann), "nobody is stopped with it");
        // A handle leads to the next one of that name and type.
        let again = unique(system);
        assert_eq!(users, again);
        assert_eq!(users.register(key("a"), ann, 2), Ok(()));
        assert_eq!(again.lookup("a"), Some((ann, 2)));
        again
            .stop(ExitReason::Normal)
            .wait_timeout(DEADLINE)
            .unwrap();
        // The name may go to another type.
        let other: Registry<u8> = Registry::unique("unique").start(system).unwrap();
        assert_eq!(other.register(1, ann, ()), Ok(()));
        let unlike = system.registry::<String, u32, Unique>("unique");
        assert!(unlike.is_err(), "{unlike:?}");
        assert!(!users.is_open());
    });
}

#[test]
fn a_registry_that_has_crashed_can_be_stopped() {
    on_all(|system| {
        let users = unique(system);
        let ann = waiter(system);
        users.register(key("a"), ann, 1).unwrap();
        end(system, users.pid().unwrap());
        users
            .stop(ExitReason::Normal)
            .wait_timeout(DEADLINE)
            .unwrap();
        assert!(!users.is_open());
        assert_eq!(users.whereis("a"), None);
        // With one that stands in.
        let users = unique(system);
        end(system, users.pid().unwrap());
        users.register(key("a"), ann, 1).unwrap();
        assert!(users.pid().is_some());
        users
            .stop(ExitReason::Normal)
            .wait_timeout(DEADLINE)
            .unwrap();
        assert!(!users.is_open());
        assert_eq!(users.pid(), None);
    });
}

#[test]
fn under_a_supervisor_a_crash_is_healed_and_a_shutdown_is_the_end() {
    on_all(|system| {
        let spec = Registry::<String, u32>::unique("users").child_spec("users");
        let tree = Supervisor::new(Strategy::OneForOne)
            .child(spec.name("the users' process"))
            .start(system)
            .wait_timeout(DEADLINE)
            .unwrap();
        let users: Registry<String, u32> = system.registry("users").unwrap();
        let ann = waiter(system);
        users.register(key("a"), ann, 1).unwrap();
        let first = users.pid().unwrap();
        assert_eq!(system.whereis("the users' process"), Some(first));
        end(system, first);
        until(system, || {
            let pid = system.whereis("the users' process");
            pid.is_some_and(|pid| pid != first) && users.pid() == pid
        });
        assert_eq!(users.lookup("a"), Some((ann, 1)));
        end(system, ann);
        assert_eq!(users.whereis("a"), None);
        let bob = waiter(system);
        users.register(key("b"), bob, 1).unwrap();
        tree.stop(ExitReason::Shutdown(None))
            .wait_timeout(DEADLINE)
            .unwrap();
        assert!(!users.is_open());
        assert_eq!(users.whereis("b"), None);
        assert!(system.is_alive(bob));
    });
}

#[test]
fn a_registry_linked_to_a_process_ends_with_it() {
    on_all(|system| {
        let (report, reported) = reports();
        let run = move |mut inbox: Inbox<()>| async move {
            let users = Registry::<String, u32>::unique("linked").start_link(&inbox);
            let _ = report.send(users.unwrap());
            inbox.recv().await;
        };
        let owner = system.spawn(run).unwrap();
        let users = next(system, &reported);
        users.register(key("a"), owner.pid(), 1).unwrap();
        let keeper = users.pid().unwrap();
        owner.send(()).unwrap();
        until(system, || !system.is_alive(keeper));
        assert!(!users.is_open());
    });
}

struct Echo;

impl GenServer for Echo {
    type Args = ();
    async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Echo)
    }
}

impl HandleCall<u32> for Echo {
    type Reply = (Pid, u32);
    async fn handle_call(&mut self, n: u32, cx: &mut Context<Self>) -> (Pid, u32) {
        (cx.pid(), n)
    }
}

struct Tell(std::sync::mpsc::Sender<u32>);

impl HandleInfo<Tell> for Echo {
    async fn handle_info(&mut self, Tell(to): Tell, _: &mut Context<Self>) {
        let _ = to.send(1);
    }
}

#[test]
fn a_server_is_started_and_reached_by_a_key_and_a_second_one_is_told_who_has_it() {
    on_all(|system| {
        let games: Registry<u64, &str> = Registry::unique("games").start(system).unwrap();
        let options = |n| ServerOptions::new().name(games.via_with(n, "chess"));
        let one = system.start_with::<Echo>((), options(1));
        let one = one.wait_timeout(DEADLINE).unwrap();
        assert_eq!(games.lookup(&1), Some((one.pid(), "chess")));
        let again = system.start_with::<Echo>((), options(1));
        let again = again.wait_timeout(DEADLINE);
        assert_eq!(again, Err(StartError::AlreadyStarted(one.pid())));
        let named: Named<Echo> = system.server(games.via(1));
        assert_eq!(named.resolve(), Some(one.clone()));
        let answer = named.call(5).wait_timeout(DEADLINE);
        assert_eq!(answer, Ok((one.pid(), 5)));
        let nobody: Named<Echo> = system.server(games.via(2));
        assert_eq!(
            nobody.call(5).wait_timeout(DEADLINE),
            Err(CallError::NoProc)
        );
        end(system, one.pid());
        assert_eq!(named.resolve(), None);
        assert_eq!(named.call(5).wait_timeout(DEADLINE), Err(CallError::NoProc));
        let next = system.start_with::<Echo>((), options(1));
        let next = next.wait_timeout(DEADLINE).unwrap();
        assert_eq!(named.call(6).wait_timeout(DEADLINE), Ok((next.pid(), 6)));
    });
}

#[test]
fn a_timer_to_a_key_looks_it_up_when_it_fires() {
    let (system, driver) = support::quiet().virtual_clock().manual();
    let games: Registry<u64> = Registry::unique("games").start(&system).unwrap();
    let named: Named<Echo> = system.server(games.via(1));
    let (report, reported) = reports();
    let second = std::time::Duration::from_secs(1);
    system.send_after(second, &named, Tell(report.clone()));
    driver.advance(2 * second);
    assert!(reported.try_recv().is_err(), "nobody had it");
    system.send_after(second, &named, Tell(report));
    let options = ServerOptions::new().name(games.via(1));
    system.start_with::<Echo>((), options).wait().unwrap();
    driver.advance(2 * second);
    assert_eq!(reported.try_recv(), Ok(1));
}

#[test]
fn a_key_is_a_name_wherever_there_are_names() {
    on_all(|system| {
        let keys: Registry<&str> = Registry::unique("keys").start(system).unwrap();
        let options = ServerOptions::new().name(keys.via("agent"));
        let agent = Agent::start_with(system, options, || 3);
        agent.wait_timeout(DEADLINE).unwrap();
        let agent = system.agent::<i32>(keys.via("agent"));
        assert_eq!(agent.get(|n| *n).wait_timeout(DEADLINE), Ok(3));

        let options = ServerOptions::new().name(keys.via("events"));
        let events = GenEvent::<u8>::start_with(system, options);
        events.wait_timeout(DEADLINE).unwrap();
        assert!(
            system
                .gen_event::<u8>(keys.via("events"))
                .resolve()
                .is_some()
        );

        let child = ChildSpec::server::<Echo>("echo", ()).name(keys.via("child"));
        let process = ChildSpec::process("waiter", |mut inbox: Inbox<()>| async move {
            inbox.recv().await;
        });
        let tree = Supervisor::new(Strategy::OneForOne)
            .name(keys.via("tree"))
            .child(child)
            .child(process.name(keys.via("process")))
            .start(system)
            .wait_timeout(DEADLINE)
            .unwrap();
        assert_eq!(system.supervisor(keys.via("tree")), Some(tree.clone()));
        let echo: Named<Echo> = system.server(keys.via("child"));
        let first = echo.resolve().unwrap().pid();
        assert!(keys.whereis("process").is_some());
        // The next incarnation has the key.
        system.exit(first, ExitReason::Kill);
        until(system, || {
            keys.whereis("child").is_some_and(|pid| pid != first)
        });
        let (second, _) = echo.call(1).wait_timeout(DEADLINE).unwrap();
        assert_eq!(keys.whereis("child"), Some(second));

        let dynamic = DynamicSupervisor::new()
            .name(keys.via("dynamic"))
            .start(system)
            .wait_timeout(DEADLINE)
            .unwrap();
        let found = system.dynamic_supervisor(keys.via("dynamic")).unwrap();
        assert_eq!(found.pid(), dynamic.pid());
        assert_eq!(format!("{}", keys.via("x")), "a key of `keys`");
    });
}

#[test]
fn a_server_whose_init_fails_leaves_its_key_free() {
    struct Fails;
    impl GenServer for Fails {
        type Args = ();
        async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
            Err(InitStop::Ignore)
        }
    }
    on_all(|system| {
        let keys: Registry<u8> = Registry::unique("keys").start(system).unwrap();
        let options = ServerOptions::new().name(keys.via(1));
        let failed = system.start_with::<Fails>((), options.clone());
        assert_eq!(
            failed.wait_timeout(DEADLINE).err(),
            Some(StartError::Ignore)
        );
        assert_eq!(keys.whereis(&1), None);
        let started = system.start_with::<Echo>((), options.clone());
        let started = started.wait_timeout(DEADLINE).unwrap();
        assert_eq!(keys.whereis(&1), Some(started.pid()));
        keys.stop(ExitReason::Normal)
            .wait_timeout(DEADLINE)
            .unwrap();
        let refused = system.start_with::<Echo>((), options);
        let refused = refused.wait_timeout(DEADLINE).err();
        assert_eq!(refused, Some(StartError::NoRegistry("keys".into())));
    });
}

/// A key whose hash panics on demand.
#[derive(Clone, PartialEq, Eq)]
struct Bad(bool);

impl std::hash::Hash for Bad {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        assert!(!self.0, "a hash");
        state.write_u8(0);
    }
}

#[test]
fn a_key_that_panics_fails_a_start_and_breaks_nothing() {
    on_all(|system| {
        let keys: Registry<Bad> = Registry::unique("keys").start(system).unwrap();
        let before = system.processes().len();
        let options = ServerOptions::new().name(keys.via(Bad(true)));
        let failed = system.start_with::<Echo>((), options);
        let failed = failed.wait_timeout(DEADLINE);
        assert!(matches!(failed, Err(StartError::Init(_))), "{failed:?}");
        assert_eq!(system.processes().len(), before);
        let options = ServerOptions::new().name(keys.via(Bad(false)));
        let fine = system.start_with::<Echo>((), options);
        let fine = fine.wait_timeout(DEADLINE).unwrap();
        assert_eq!(keys.whereis(&Bad(false)), Some(fine.pid()));
    });
}

/// A value that uses its registry when it is dropped.
#[derive(Clone)]
struct Drops(Arc<Mutex<Option<Registry<u8, Drops>>>>, Pid);

impl Drop for Drops {
    fn drop(&mut self) {
        let registry = self.0.lock().unwrap().clone();
        if let Some(registry) = registry {
            registry.whereis(&1);
            registry.unregister(&9, self.1);
        }
    }
}

#[test]
fn values_may_use_the_registry_when_they_are_dropped() {
    on_all(|system| {
        let keys: Registry<u8, Drops> = Registry::unique("keys").start(system).unwrap();
        let me = Arc::new(Mutex::new(Some(keys.clone())));
        let ann = waiter(system);
        let value = || Drops(me.clone(), ann);
        keys.register(1, ann, value()).unwrap();
        assert!(keys.register(1, ann, value()).is_err());
        assert_eq!(keys.unregister(&1, ann), 1);
        keys.register(1, ann, value()).unwrap();
        assert!(keys.update_value(&1, ann, Drops::clone).is_some());
        end(system, ann);
        let bob = waiter(system);
        keys.register(1, bob, value()).unwrap();
        keys.stop(ExitReason::Normal)
            .wait_timeout(DEADLINE)
            .unwrap();
        me.lock().unwrap().take();
    });
}

#[test]
fn of_many_that_race_for_a_key_one_wins_and_all_others_are_told_who() {
    let system = support::quiet().schedulers(4).build().unwrap();
    let keys: Registry<u32> = Registry::unique("keys").start(&system).unwrap();
    for round in 0..200 {
        let (gate, open) = gate();
        let (report, reported) = reports();
        for _ in 0..8 {
            let (keys, gate, report) = (keys.clone(), gate.clone(), report.clone());
            let run = move |mut cx: Inbox<()>| async move {
                gate.await;
                let outcome = keys.register(round, cx.pid(), ());
                let _ = report.send((cx.pid(), outcome));
                cx.recv().await;
            };
            system.spawn(run).unwrap();
        }
        open.open();
        let outcomes: Vec<_> = (0..8).map(|_| next(&system, &reported)).collect();
        let winner = keys.whereis(&round).expect("one won");
        for (pid, outcome) in outcomes {
            if pid == winner {
                assert_eq!(outcome, Ok(()));
            } else {
                assert_eq!(outcome, Err(RegisterError::AlreadyRegistered(winner)));
            }
        }
    }
}

#[test]
fn a_system_that_ends_takes_its_registries_along() {
    let users = {
        let (system, _driver) = support::quiet().manual();
        let users = unique(&system);
        users.register(key("a"), waiter(&system), 1).unwrap();
        system.shutdown().wait_timeout(DEADLINE).unwrap();
        users
    };
    assert_eq!(users.whereis("a"), None);
    assert_eq!(users.count(), 0);
}
