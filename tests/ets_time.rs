//! Tables: objects that stay for a time, and the process that clears up.

mod support;

use std::sync::Arc;
use std::time::Duration;

use noex::ets::{Access, Bag, Expiry, Finds, OrderedSet, Set, TableBuilder};
use noex::{Driver, ExitReason, Inbox, System, Table, TableError};
use support::{on_all, quiet, until};

const SECOND: Duration = Duration::from_secs(1);

fn manual() -> (System, Driver) {
    quiet().virtual_clock().manual()
}

fn expired_is_absent<Kind>(found: impl Fn(&Table<u32, &'static str, Kind>, u32) -> bool)
where
    Kind: Finds<u32, &'static str, u32>,
{
    let (system, driver) = manual();
    let table: Table<u32, &str, Kind> = system.table(Table::builder()).unwrap();
    table.insert_with(1, "a", Expiry::After(SECOND)).unwrap();
    table.insert(2, "b").unwrap();
    driver.advance(SECOND - Duration::from_nanos(1));
    assert!(found(&table, 1));
    // Nobody ticks, so nothing is swept: it is absent all the same.
    driver.advance(Duration::from_nanos(1));
    assert!(!found(&table, 1));
    assert_eq!(table.member(&1), Ok(false));
    assert_eq!(table.delete(&1), Ok(false));
    assert_eq!(table.expire(&1, Expiry::Never), Ok(false));
    assert_eq!(table.to_list(), Ok(vec![(2, "b")]));
    assert_eq!((table.first(), table.last()), (Ok(Some(2)), Ok(Some(2))));
    assert_eq!(table.select_count(|_, _| true), Ok(1));
    assert_eq!(table.select_delete(|key, _| *key == 1), Ok(0));
    assert_eq!(table.insert_new(1, "c"), Ok(true));
    assert!(found(&table, 1));
    driver.advance(100 * SECOND);
    assert!(found(&table, 1), "it was given no time");
}

#[test]
fn an_object_whose_time_has_come_is_absent_for_every_operation() {
    expired_is_absent::<Set>(|table, key| table.lookup(&key).unwrap().is_some());
    expired_is_absent::<OrderedSet>(|table, key| !table.range(key..=key).unwrap().is_empty());
    expired_is_absent::<Bag>(|table, key| !table.lookup(&key).unwrap().is_empty());
}

#[test]
fn the_table_says_how_long_unless_the_insert_does() {
    let (system, driver) = manual();
    let builder: TableBuilder<u32, u32> = Table::builder().ttl(2 * SECOND);
    let table = system.table(builder).unwrap();
    table.insert(1, 0).unwrap();
    table.insert_with(2, 0, Expiry::After(SECOND)).unwrap();
    table.insert_with(3, 0, Expiry::Never).unwrap();
    table.insert_many([(4, 0), (5, 0)]).unwrap();
    table.insert_many_with([(6, 0)], Expiry::Never).unwrap();
    table
        .insert_with(7, 0, Expiry::After(Duration::ZERO))
        .unwrap();
    table
        .insert_new_with(8, 0, Expiry::After(5 * SECOND))
        .unwrap();
    table.update_counter_or(9, 0, |n| n, 1).unwrap();
    table
        .insert_with(10, 0, Expiry::After(Duration::MAX))
        .unwrap();
    let keys = || {
        let mut keys: Vec<u32> = table.select(|key, _| Some(*key)).unwrap();
        keys.sort_unstable();
        keys
    };
    assert_eq!(keys(), [1, 2, 3, 4, 5, 6, 8, 9, 10]);
    driver.advance(SECOND);
    assert_eq!(keys(), [1, 3, 4, 5, 6, 8, 9, 10]);
    driver.advance(SECOND);
    assert_eq!(keys(), [3, 6, 8, 10]);
    driver.advance(3 * SECOND);
    assert_eq!(keys(), [3, 6, 10]);
    assert_eq!(table.info().unwrap().ttl, Some(2 * SECOND));
}

#[test]
fn the_time_of_an_object_can_be_set_anew() {
    let (system, driver) = manual();
    let builder: TableBuilder<&str, u32> = Table::builder().ttl(2 * SECOND);
    let table = system.table(builder).unwrap();
    table.insert("session", 0).unwrap();
    for _ in 0..5 {
        driver.advance(SECOND);
        assert_eq!(table.expire("session", Expiry::Default), Ok(true));
    }
    assert_eq!(table.expire("session", Expiry::Never), Ok(true));
    driver.advance(100 * SECOND);
    assert_eq!(table.expire("session", Expiry::After(SECOND)), Ok(true));
    driver.advance(SECOND);
    assert_eq!(table.lookup("session"), Ok(None));
}

#[test]
fn in_a_bag_the_last_insert_says_how_long_all_objects_of_the_key_stay() {
    let (system, driver) = manual();
    let bag: Table<u32, &str, Bag> = system.table(Table::builder()).unwrap();
    bag.insert_with(1, "a", Expiry::After(SECOND)).unwrap();
    bag.insert_with(1, "b", Expiry::After(3 * SECOND)).unwrap();
    driver.advance(2 * SECOND);
    assert_eq!(bag.lookup(&1), Ok(vec!["a", "b"]));
    // One that is there already counts, too.
    bag.insert_many_with([(1, "a")], Expiry::After(2 * SECOND))
        .unwrap();
    bag.insert_many_with([(1, "c"), (1, "d")], Expiry::After(2 * SECOND))
        .unwrap();
    driver.advance(SECOND);
    assert_eq!(bag.lookup(&1), Ok(vec!["a", "b", "c", "d"]));
    driver.advance(SECOND);
    assert_eq!(bag.lookup(&1), Ok(vec![]));
}

#[test]
fn what_has_expired_is_removed_though_nobody_asks_for_it() {
    on_all(|system| {
        let alive = Arc::new(());
        let set: Table<u32, Arc<()>> = system.table(Table::builder()).unwrap();
        let ordered: Table<u32, Arc<()>, OrderedSet> = system.table(Table::builder()).unwrap();
        for n in 0..1_000 {
            let expiry = Expiry::After(Duration::from_millis(u64::from(n % 40)));
            set.insert_with(n, alive.clone(), expiry).unwrap();
            ordered.insert_with(n, alive.clone(), expiry).unwrap();
        }
        set.insert(7_000, alive.clone()).unwrap();
        until(system, || Arc::strong_count(&alive) == 2);
        assert_eq!((set.len(), ordered.len()), (Ok(1), Ok(0)));
    });
}

#[test]
fn a_system_is_idle_between_sweeps_and_has_no_timer_without_need() {
    let (system, driver) = manual();
    let table: Table<u32, u32> = system.table(Table::builder()).unwrap();
    table.insert_many((0..100).map(|n| (n, n))).unwrap();
    driver.run_until_idle();
    assert_eq!(driver.next_deadline(), None);
    table.insert_with(1, 1, Expiry::After(60 * SECOND)).unwrap();
    driver.run_until_idle();
    // One timer, for when there is something to do; others that expire later change nothing.
    let first = driver.next_deadline();
    assert!(first.is_some_and(|time| time >= 60 * SECOND && time < 61 * SECOND));
    for n in 200..300 {
        table
            .insert_with(n, n, Expiry::After(Duration::from_secs(u64::from(n))))
            .unwrap();
    }
    driver.run_until_idle();
    assert_eq!(driver.next_deadline(), first);
    driver.advance(60 * SECOND);
    assert_eq!(table.len(), Ok(199));
    let second = driver.next_deadline();
    assert!(second.is_some_and(|time| time >= 139 * SECOND && time <= 141 * SECOND));
    // An earlier one is not overslept.
    table.insert_with(1, 1, Expiry::After(2 * SECOND)).unwrap();
    driver.run_until_idle();
    assert!(driver.next_deadline().is_some_and(|time| time < 3 * SECOND));
    driver.advance(1_000 * SECOND);
    assert_eq!((table.len(), driver.next_deadline()), (Ok(99), None));
}

#[test]
fn a_table_is_swept_no_more_often_than_it_says() {
    let (system, driver) = manual();
    let builder: TableBuilder<u32, u32> = Table::builder().sweep_every(10 * SECOND);
    let table = system.table(builder).unwrap();
    for n in 1..=100 {
        table
            .insert_with(n, n, Expiry::After(Duration::from_secs(n.into())))
            .unwrap();
    }
    let mut sizes = vec![100];
    for _ in 0..120 {
        driver.advance(SECOND);
        let size = table.len().unwrap();
        if sizes.last() != Some(&size) {
            sizes.push(size);
        }
    }
    assert_eq!(sizes.last(), Some(&0));
    assert!((10..=12).contains(&sizes.len()), "{sizes:?}");
}

#[test]
fn a_new_keeper_takes_over_what_expires() {
    let (system, driver) = manual();
    let table: Table<u32, u32> = system.table(Table::builder()).unwrap();
    table.insert_with(1, 1, Expiry::After(5 * SECOND)).unwrap();
    driver.run_until_idle();
    for _ in 0..3 {
        let keeper = table.info().unwrap().owner.unwrap();
        system.exit(keeper, ExitReason::Kill);
        driver.run_until_idle();
        assert!(!system.is_alive(keeper));
    }
    driver.advance(6 * SECOND);
    assert_eq!((table.len(), driver.next_deadline()), (Ok(0), None));
}

#[test]
fn a_table_that_goes_while_something_in_it_expires_leaves_no_timer_for_long() {
    let (system, driver) = manual();
    let (tell, told) = std::sync::mpsc::channel();
    let owner = system.spawn(move |mut cx: Inbox<()>| async move {
        let table = Table::<u32, u32>::builder()
            .access(Access::Public)
            .build(&cx);
        tell.send(table.unwrap()).unwrap();
        cx.recv().await;
    });
    driver.run_until_idle();
    let table = told.recv().unwrap();
    table.insert_with(1, 1, Expiry::After(5 * SECOND)).unwrap();
    driver.run_until_idle();
    system.exit(owner.unwrap().pid(), ExitReason::Kill);
    driver.run_until_idle();
    assert_eq!(table.len(), Err(TableError::Gone));
    driver.advance(6 * SECOND);
    assert_eq!(driver.next_deadline(), None);
}

#[test]
fn much_that_was_deleted_is_dropped_bit_by_bit() {
    let (system, driver) = manual();
    let alive = Arc::new(());
    let objects = || (0..20_000).map(|n| (n, alive.clone()));
    let set: Table<u32, Arc<()>> = system.table(Table::builder()).unwrap();
    let ordered: Table<u32, Arc<()>, OrderedSet> = system.table(Table::builder()).unwrap();
    let bag: Table<u32, Arc<()>, Bag> = system.table(Table::builder()).unwrap();
    set.insert_many(objects()).unwrap();
    ordered.insert_many(objects()).unwrap();
    bag.insert_many(objects()).unwrap();
    set.delete_all().unwrap();
    ordered.delete_table().unwrap();
    bag.delete_table().unwrap();
    assert_eq!(set.len(), Ok(0));
    assert!(Arc::strong_count(&alive) > 50_000, "not by the caller");
    let mut ticks = 0;
    while driver.tick(noex::Budget::messages(1)) == noex::Tick::More {
        ticks += 1;
    }
    assert!(ticks > 10, "{ticks}");
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn what_a_dead_owner_had_in_a_large_table_is_dropped_by_the_keeper() {
    on_all(|system| {
        let alive = Arc::new(());
        let copy = alive.clone();
        let owner = system.spawn(move |cx: Inbox<()>| async move {
            let table: Table<u32, Arc<()>> = Table::new(&cx);
            table
                .insert_many((0..3_000).map(|n| (n, copy.clone())))
                .unwrap();
        });
        support::end_of(system, &owner.unwrap());
        until(system, || Arc::strong_count(&alive) == 1);
    });
}

#[test]
fn an_object_that_a_bag_has_already_stays_as_long_as_its_last_insert_says() {
    for many in [false, true] {
        let (system, driver) = manual();
        let table: Table<u32, &str, Bag> = system.table(Table::builder()).unwrap();
        table.insert_with(1, "a", Expiry::After(SECOND)).unwrap();
        let again = Expiry::After(3 * SECOND);
        let inserted = match many {
            true => table.insert_many_with([(1, "a"), (2, "b")], again),
            false => table.insert_with(1, "a", again),
        };
        assert_eq!(inserted, Ok(()));
        driver.advance(2 * SECOND);
        assert_eq!(table.lookup(&1), Ok(vec!["a"]));
        driver.advance(SECOND);
        assert_eq!(table.lookup(&1), Ok(vec![]));
    }
}
