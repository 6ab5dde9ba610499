//! Tables: objects that are changed in their place.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};

use noex::ets::{CounterUpdate, Expiry, Increment, OrderedSet};
use noex::{System, Table, TableError};
use support::{on_all, quiet};

#[derive(Clone, Debug, Default, PartialEq)]
struct User {
    name: String,
    visits: u8,
    balance: i64,
}

fn users(system: &System) -> Table<u32, User> {
    let users = system.table(Table::builder()).unwrap();
    let name = "ann".to_owned();
    let ann = User {
        name,
        ..User::default()
    };
    users.insert(1, ann).unwrap();
    users
}

#[test]
fn update_changes_what_is_there_and_nothing_else() {
    on_all(|system| {
        let users = users(system);
        let visits = users.update(&1, |user| {
            user.visits += 1;
            user.visits
        });
        assert_eq!(visits, Ok(Some(1)));
        assert_eq!(users.update(&2, |user| user.visits), Ok(None));
        assert_eq!(users.lookup_element(&1, |user| user.visits), Ok(1));
        assert_eq!(users.len(), Ok(1));
    });
}

#[test]
fn update_or_begins_with_the_default() {
    on_all(|system| {
        let words: Table<&str, Vec<u8>, OrderedSet> = system.table(Table::builder()).unwrap();
        for n in 1..=3 {
            let len = words.update_or("a", vec![0], |list| {
                list.push(n);
                list.len()
            });
            assert_eq!(len, Ok(usize::from(n) + 1));
        }
        assert_eq!(words.lookup("a"), Ok(Some(vec![0, 1, 2, 3])));
    });
}

#[test]
fn update_element_sets_one_part() {
    on_all(|system| {
        let users = users(system);
        let name = |user: &User| user.name.clone();
        assert_eq!(
            users.update_element(&1, |user| &mut user.name, "bob".into()),
            Ok(true)
        );
        assert_eq!(
            users.update_element(&2, |user| &mut user.name, "eve".into()),
            Ok(false)
        );
        assert_eq!(users.lookup_element(&1, name), Ok("bob".to_owned()));
        assert_eq!(users.member(&2), Ok(false));
        let eve = || "eve".to_owned();
        for visits in [0, 7] {
            let default = User {
                visits,
                ..User::default()
            };
            let set = users.update_element_or(2, default, |user| &mut user.name, eve());
            assert_eq!(set, Ok(()));
        }
        assert_eq!(
            users.lookup_element(&2, |user| (user.name.clone(), user.visits)),
            Ok((eve(), 0))
        );
    });
}

#[test]
fn a_counter_is_added_to_and_told() {
    on_all(|system| {
        let users = users(system);
        assert_eq!(users.update_counter(&1, |user| &mut user.visits, 5), Ok(5));
        assert_eq!(users.update_counter(&1, |user| &mut user.visits, -2), Ok(3));
        assert_eq!(users.update_counter(&1, |user| &mut user.visits, 0), Ok(3));
        assert_eq!(
            users.update_counter(&1, |user| &mut user.balance, -9_i64),
            Ok(-9)
        );
        let missing = users.update_counter(&2, |user| &mut user.visits, 1);
        assert_eq!(missing, Err(TableError::BadKey));
        assert_eq!(users.len(), Ok(1));
        let new = users.update_counter_or(2, User::default(), |user| &mut user.visits, 1);
        assert_eq!(new, Ok(1));
        let again = users.update_counter_or(2, User::default(), |user| &mut user.visits, 1);
        assert_eq!(again, Ok(2));
    });
}

#[test]
fn a_counter_goes_to_a_value_of_its_own_beyond_its_threshold() {
    on_all(|system| {
        let counters: Table<u8, i32> = system.table(Table::builder()).unwrap();
        counters.insert(1, 0).unwrap();
        let up = Increment::by(2).threshold(5, 100);
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(counters.update_counter(&1, |n| n, up).unwrap());
        }
        assert_eq!(seen, [2, 4, 100]);
        let down = Increment::by(-60).threshold(0, -1);
        assert_eq!(counters.update_counter(&1, |n| n, down), Ok(40));
        assert_eq!(counters.update_counter(&1, |n| n, down), Ok(-1));
    });
}

#[test]
fn a_counter_that_would_overflow_stays_as_it_is() {
    on_all(|system| {
        let users = users(system);
        assert_eq!(
            users.update_counter(&1, |user| &mut user.visits, 255),
            Ok(255)
        );
        for by in [1, -256, i64::MAX, i64::MIN] {
            let over = users.update_counter(&1, |user| &mut user.visits, by);
            assert_eq!(over, Err(TableError::Overflow));
        }
        assert_eq!(users.lookup_element(&1, |user| user.visits), Ok(255));
        // Nor is a default left behind that it fails on.
        let over = users.update_counter_or(9, User::default(), |user| &mut user.visits, -1);
        assert_eq!(over, Err(TableError::Overflow));
        assert_eq!(users.member(&9), Ok(false));
    });
}

#[test]
fn several_counters_are_updated_in_turn_and_all_or_none() {
    on_all(|system| {
        let users = users(system);
        let updates = |visits: i32| {
            [
                CounterUpdate::new(|user: &mut User| &mut user.balance, 10),
                CounterUpdate::new(|user: &mut User| &mut user.balance, -30),
                CounterUpdate::new(|user: &mut User| &mut user.visits, visits),
            ]
        };
        assert_eq!(users.update_counters(&1, updates(3)), Ok(vec![10, -20, 3]));
        assert_eq!(
            users.update_counters(&1, updates(-4)),
            Err(TableError::Overflow)
        );
        let now = users.lookup_element(&1, |user| (user.visits, user.balance));
        assert_eq!(now, Ok((3, -20)));
        assert_eq!(
            users.update_counters(&2, updates(1)),
            Err(TableError::BadKey)
        );
        assert_eq!(users.update_counters(&1, []), Ok(vec![]));
        let new = users.update_counters_or(2, User::default(), updates(1));
        assert_eq!(new, Ok(vec![10, -20, 1]));
    });
}

#[test]
fn a_closure_that_panics_leaves_the_object_as_it_was() {
    on_all(|system| {
        let users = users(system);
        let before = users.lookup(&1).unwrap();
        let panics: [&dyn Fn(); 6] = [
            &|| {
                let _never = users.update(&1, |user| {
                    user.visits = 99;
                    user.name.clear();
                    panic!("half done");
                });
            },
            &|| {
                let _never = users.update_or(1, User::default(), |user| {
                    user.visits = 99;
                    panic!("half done");
                });
            },
            &|| {
                let _never = users.update_or(2, User::default(), |_| panic!("no default"));
            },
            &|| {
                let _never = users.update_element(&1, |_| panic!("no such part"), 1_u8);
            },
            &|| {
                let _never = users.select_replace(|_, _| panic!("no replacement"));
            },
            &|| {
                let _never = users.read(&1, |_| panic!("no look"));
            },
        ];
        for panics in panics {
            assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
            assert_eq!(users.lookup(&1), Ok(before.clone()));
            assert_eq!(users.len(), Ok(1));
        }
        // No lock was left behind.
        assert_eq!(users.update_counter(&1, |user| &mut user.visits, 1), Ok(1));
    });
}

#[test]
fn an_update_does_not_change_how_long_an_object_stays() {
    let (system, driver) = quiet().virtual_clock().manual();
    let table: Table<u8, u8> = system.table(Table::builder()).unwrap();
    let second = std::time::Duration::from_secs(1);
    table.insert_with(1, 0, Expiry::After(2 * second)).unwrap();
    driver.advance(second);
    table.update(&1, |n| *n += 1).unwrap();
    assert_eq!(table.update_counter(&1, |n| n, 1), Ok(2));
    assert_eq!(table.select_replace(|_, n| Some(n + 1)), Ok(1));
    driver.advance(second - std::time::Duration::from_nanos(1));
    assert_eq!(table.lookup(&1), Ok(Some(3)));
    driver.advance(std::time::Duration::from_nanos(1));
    assert_eq!(table.lookup(&1), Ok(None));
}

#[test]
fn no_increment_of_many_threads_is_lost() {
    let system = quiet().schedulers(1).build().unwrap();
    let set: Table<u32, u64> = system.table(Table::builder()).unwrap();
    let ordered: Table<u32, (u64, u64), OrderedSet> = system.table(Table::builder()).unwrap();
    let (threads, rounds) = (4, 2_000);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for n in 0..rounds {
                    set.update_counter_or(n % 3, 0, |n| n, 1).unwrap();
                    let twice = |both: &mut (u64, u64)| {
                        both.0 += 1;
                        both.1 += 1;
                        assert_eq!(both.0, both.1);
                    };
                    ordered.update_or(n % 3, (0, 0), twice).unwrap();
                }
            });
        }
    });
    let total = u64::from(threads * rounds);
    assert_eq!(set.foldl(0, |sum, _, n| sum + n), Ok(total));
    assert_eq!(ordered.foldl(0, |sum, _, n| sum + n.1), Ok(total));
}
