//! Registries and process groups, read without locks.

use noex::prelude::*;
use noex::{Inbox, Pg, PgEvent, Registry, RegistryEvent};

use super::manual;

#[test]
fn miri_what_a_registry_tells_a_dead_listener_is_dropped() {
    let (system, driver) = manual();
    let events = |mut inbox: Inbox<RegistryEvent<String, u8>>| async move {
        inbox.recv().await;
    };
    let listener = system.spawn(events).unwrap();
    let registry = Registry::unique("registry")
        .listener(listener.clone())
        .start(&system)
        .unwrap();
    let waits = |mut inbox: Inbox<()>| async move {
        inbox.recv().await;
    };
    let process = system.spawn(waits).unwrap();
    let key = |n: u8| format!("a key that is too long to be kept in place: {n}");
    for n in 0..4 {
        registry.register(key(n), process.pid(), n).unwrap();
        driver.run_until_idle();
    }
    assert!(!listener.is_alive());
    assert_eq!(registry.unregister(&key(1), process.pid()), 1);
    assert!(
        registry
            .update_value(&key(2), process.pid(), |n| n + 1)
            .is_some()
    );
    for name in ["short", "a name that is too long to be kept in place"] {
        system.register(name, process.pid()).unwrap();
        assert_eq!(system.whereis(name), Some(process.pid()));
    }
    let scope: Pg<String> = Pg::start(&system, "scope").unwrap();
    let ear = system.spawn(|mut inbox: Inbox<PgEvent<String>>| async move {
        inbox.recv().await;
    });
    scope.monitor_scope(ear.unwrap()).unwrap();
    scope.join(key(0), [process.pid(), process.pid()]).unwrap();
    system.exit(process.pid(), ExitReason::Kill);
    driver.run_until_idle();
    assert_eq!((registry.count(), scope.which_groups().len()), (0, 0));
    assert_eq!(system.stats().queued, 0);
}

#[test]
fn on_threads_names_are_read_while_they_change() {
    let system = System::builder()
        .on_event(|_| {})
        .schedulers(1)
        .build()
        .unwrap();
    let process = system.spawn(|mut inbox: Inbox<()>| async move {
        inbox.recv().await;
    });
    let pid = process.unwrap().pid();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for n in 0..20 {
                    let found = system.whereis(&(n % 3).to_string());
                    assert!(found.is_none_or(|found| found == pid));
                }
            });
        }
        for n in 0..20 {
            let name = (n % 3).to_string();
            system.register(&name, pid).unwrap();
            if n % 2 == 0 {
                system.unregister(&name);
            }
        }
    });
}
