//! Tables: the objects of one key, and several objects at once, in every kind of table.

mod support;

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use noex::ets::{Access, Bag, DuplicateBag, OrderedSet, Set, TableBuilder, TableType};
use noex::{System, Table, TableError};
use support::{on_all, quiet};

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list
}

fn set(system: &System) -> Table<u32, &'static str> {
    system.table(Table::builder()).expect("no name")
}

fn ordered(system: &System) -> Table<u32, &'static str, OrderedSet> {
    system.table(Table::builder()).expect("no name")
}

fn bag(system: &System) -> Table<u32, &'static str, Bag> {
    system.table(Table::builder()).expect("no name")
}

fn duplicates(system: &System) -> Table<u32, &'static str, DuplicateBag> {
    system.table(Table::builder()).expect("no name")
}

#[test]
fn a_set_has_one_object_a_key() {
    on_all(|system| {
        let table = set(system);
        assert_eq!(table.lookup(&1), Ok(None));
        assert_eq!(table.insert(1, "a"), Ok(()));
        assert_eq!(table.insert(1, "b"), Ok(()));
        assert_eq!(table.lookup(&1), Ok(Some("b")));
        assert_eq!(table.len(), Ok(1));
        assert_eq!(table.is_empty(), Ok(false));
        assert_eq!((table.member(&1), table.member(&2)), (Ok(true), Ok(false)));
        assert_eq!(table.delete(&1), Ok(true));
        assert_eq!(table.delete(&1), Ok(false));
        assert_eq!(table.is_empty(), Ok(true));
    });
}

#[test]
fn an_ordered_set_has_one_object_a_key_in_the_order_of_the_keys() {
    on_all(|system| {
        let table = ordered(system);
        for (key, value) in [(3, "c"), (1, "a"), (2, "b"), (1, "z")] {
            table.insert(key, value).unwrap();
        }
        assert_eq!(table.to_list(), Ok(vec![(1, "z"), (2, "b"), (3, "c")]));
        assert_eq!(table.delete(&2), Ok(true));
        assert_eq!(table.to_list(), Ok(vec![(1, "z"), (3, "c")]));
    });
}

#[test]
fn a_bag_has_many_objects_a_key_in_order_but_no_two_that_are_equal() {
    on_all(|system| {
        let table = bag(system);
        for value in ["b", "a", "b", "c"] {
            table.insert(1, value).unwrap();
        }
        table.insert(2, "b").unwrap();
        assert_eq!(table.lookup(&1), Ok(vec!["b", "a", "c"]));
        assert_eq!(table.lookup(&3), Ok(vec![]));
        assert_eq!(table.len(), Ok(4));
        assert_eq!(table.delete(&1), Ok(true));
        assert_eq!(table.len(), Ok(1));
    });
}

#[test]
fn a_duplicate_bag_has_equal_objects_too() {
    on_all(|system| {
        let table = duplicates(system);
        for value in ["b", "a", "b"] {
            table.insert(1, value).unwrap();
        }
        assert_eq!(table.lookup(&1), Ok(vec!["b", "a", "b"]));
        assert_eq!(table.len(), Ok(3));
    });
}

#[test]
fn insert_new_inserts_only_where_the_key_is_not() {
    on_all(|system| {
        let (set, bag) = (set(system), bag(system));
        assert_eq!(set.insert_new(1, "a"), Ok(true));
        assert_eq!(set.insert_new(1, "b"), Ok(false));
        assert_eq!(set.lookup(&1), Ok(Some("a")));
        assert_eq!(bag.insert_new(1, "a"), Ok(true));
        assert_eq!(bag.insert_new(1, "b"), Ok(false));
        assert_eq!(bag.lookup(&1), Ok(vec!["a"]));
    });
}

#[test]
fn of_several_objects_with_one_key_a_set_keeps_the_last_and_a_bag_all() {
    on_all(|system| {
        let objects = [(1, "a"), (2, "x"), (1, "b"), (1, "a")];
        let (set, ordered) = (set(system), ordered(system));
        let (bag, duplicates) = (bag(system), duplicates(system));
        set.insert_many(objects).unwrap();
        ordered.insert_many(objects).unwrap();
        bag.insert_many(objects).unwrap();
        duplicates.insert_many(objects).unwrap();
        assert_eq!(set.lookup(&1), Ok(Some("a")));
        assert_eq!(ordered.to_list(), Ok(vec![(1, "a"), (2, "x")]));
        assert_eq!(bag.lookup(&1), Ok(vec!["a", "b"]));
        assert_eq!(duplicates.lookup(&1), Ok(vec!["a", "b", "a"]));
        assert_eq!(
            (set.len(), bag.len(), duplicates.len()),
            (Ok(2), Ok(3), Ok(4))
        );
        assert_eq!(set.insert_many([]), Ok(()));
    });
}

#[test]
fn insert_new_of_many_is_all_or_nothing() {
    on_all(|system| {
        let (set, bag) = (set(system), bag(system));
        // Those with the same key do not exclude each other (as in OTP 25).
        assert_eq!(set.insert_new_many([(1, "a"), (1, "b")]), Ok(true));
        assert_eq!(set.to_list(), Ok(vec![(1, "b")]));
        assert_eq!(
            set.insert_new_many([(2, "c"), (1, "d"), (3, "e")]),
            Ok(false)
        );
        assert_eq!(set.to_list(), Ok(vec![(1, "b")]));
        assert_eq!(
            bag.insert_new_many([(1, "a"), (1, "b"), (1, "a")]),
            Ok(true)
        );
        assert_eq!(bag.lookup(&1), Ok(vec!["a", "b"]));
        assert_eq!(bag.insert_new_many([(2, "c"), (1, "c")]), Ok(false));
        assert_eq!(bag.len(), Ok(2));
        assert_eq!(set.insert_new_many([]), Ok(true));
    });
}

#[test]
fn delete_object_deletes_all_that_are_equal() {
    on_all(|system| {
        let (set, bag, duplicates) = (set(system), bag(system), duplicates(system));
        set.insert(1, "a").unwrap();
        assert_eq!(set.delete_object(&1, &"b"), Ok(0));
        assert_eq!(set.delete_object(&2, &"a"), Ok(0));
        assert_eq!(set.delete_object(&1, &"a"), Ok(1));
        assert_eq!(set.len(), Ok(0));
        bag.insert_many([(1, "a"), (1, "b")]).unwrap();
        assert_eq!(bag.delete_object(&1, &"a"), Ok(1));
        assert_eq!(bag.lookup(&1), Ok(vec!["b"]));
        assert_eq!(bag.delete_object(&1, &"b"), Ok(1));
        assert_eq!(bag.member(&1), Ok(false));
        duplicates
            .insert_many([(1, "a"), (1, "b"), (1, "a"), (1, "c")])
            .unwrap();
        assert_eq!(duplicates.delete_object(&1, &"a"), Ok(2));
        assert_eq!(duplicates.lookup(&1), Ok(vec!["b", "c"]));
        assert_eq!(duplicates.len(), Ok(2));
    });
}

#[test]
fn take_gives_what_it_deletes() {
    on_all(|system| {
        let (set, bag) = (set(system), bag(system));
        set.insert(1, "a").unwrap();
        assert_eq!(set.take(&1), Ok(Some("a")));
        assert_eq!(set.take(&1), Ok(None));
        bag.insert_many([(1, "a"), (1, "b")]).unwrap();
        assert_eq!(bag.take(&1), Ok(vec!["a", "b"]));
        assert_eq!(bag.take(&1), Ok(vec![]));
    });
}

#[test]
fn a_part_of_a_value_is_looked_up_without_the_rest() {
    on_all(|system| {
        // Neither is `Clone`.
        struct User(Box<str>, AtomicBool);
        let users: Table<u32, User> = system.table(Table::builder()).unwrap();
        users
            .insert(1, User("ann".into(), AtomicBool::new(true)))
            .unwrap();
        assert_eq!(users.lookup_element(&1, |user| user.0.len()), Ok(3));
        assert_eq!(
            users.lookup_element(&2, |user| user.0.len()),
            Err(TableError::BadKey)
        );
        assert_eq!(users.lookup_element_or(&2, |user| user.0.len(), 7), Ok(7));
        assert_eq!(users.read(&1, |user| user.1.load(SeqCst)), Ok(Some(true)));
        assert_eq!(users.read(&2, |user| user.1.load(SeqCst)), Ok(None));
        let words = bag(system);
        words.insert_many([(1, "a"), (1, "bcd")]).unwrap();
        assert_eq!(words.lookup_element(&1, |word| word.len()), Ok(vec![1, 3]));
        assert_eq!(
            words.lookup_element(&2, |word| word.len()),
            Err(TableError::BadKey)
        );
        assert_eq!(
            words.lookup_element_or(&2, |word| word.len(), vec![]),
            Ok(vec![])
        );
        assert_eq!(words.read(&1, |words| words.len()), Ok(Some(2)));
    });
}

#[test]
fn keys_are_found_by_a_borrowed_form() {
    on_all(|system| {
        let set: Table<String, Arc<[u8]>> = system.table(Table::builder()).unwrap();
        let ordered: Table<String, u8, OrderedSet> = system.table(Table::builder()).unwrap();
        set.insert("key".to_owned(), [1, 2].into()).unwrap();
        ordered.insert("key".to_owned(), 3).unwrap();
        assert_eq!(set.read("key", |bytes| bytes.len()), Ok(Some(2)));
        assert_eq!(ordered.lookup("key"), Ok(Some(3)));
        let words = (Bound::Included("a"), Bound::Excluded("z"));
        assert_eq!(ordered.range::<str, _>(words).unwrap().len(), 1);
        assert_eq!(set.delete("key"), Ok(true));
        assert_eq!(ordered.take("key"), Ok(Some(3)));
    });
}

#[test]
fn delete_all_leaves_an_empty_table() {
    on_all(|system| {
        let (set, ordered, bag) = (set(system), ordered(system), bag(system));
        set.insert_many((0..1_000).map(|n| (n, "x"))).unwrap();
        ordered.insert_many((0..1_000).map(|n| (n, "x"))).unwrap();
        bag.insert_many((0..1_000).map(|n| (n % 7, if n % 2 == 0 { "x" } else { "y" })))
            .unwrap();
        assert_eq!(bag.len(), Ok(14));
        for deleted in [set.delete_all(), ordered.delete_all(), bag.delete_all()] {
            assert_eq!(deleted, Ok(()));
        }
        assert_eq!((set.len(), ordered.len(), bag.len()), (Ok(0), Ok(0), Ok(0)));
        assert_eq!((set.to_list(), ordered.to_list()), (Ok(vec![]), Ok(vec![])));
        set.insert(1, "a").unwrap();
        assert_eq!(set.lookup(&1), Ok(Some("a")));
    });
}

#[test]
fn a_deleted_table_is_gone_for_every_handle_and_every_operation() {
    on_all(|system| {
        let table: Table<u32, u32> = system.table(Table::builder().named("table")).unwrap();
        let other: Table<u32, u32> = system.table_named("table").unwrap();
        assert_eq!(table, other);
        table.insert(1, 1).unwrap();
        let mut pages = table.select_pages(1, |_, _| Some(()));
        assert!(table.is_alive());
        assert_eq!(other.delete_table(), Ok(()));
        assert!(!table.is_alive());
        let gone = TableError::Gone;
        assert_eq!(table.delete_table(), Err(gone));
        assert_eq!(table.insert(1, 1), Err(gone));
        assert_eq!(table.insert_new(1, 1), Err(gone));
        assert_eq!(table.insert_many([(1, 1)]), Err(gone));
        assert_eq!(table.insert_new_many([(1, 1)]), Err(gone));
        assert_eq!(table.lookup(&1), Err(gone));
        assert_eq!(table.read(&1, |_| ()), Err(gone));
        assert_eq!(table.lookup_element_or(&1, |_| 0, 0), Err(gone));
        assert_eq!(table.member(&1), Err(gone));
        assert_eq!(table.delete(&1), Err(gone));
        assert_eq!(table.delete_object(&1, &1), Err(gone));
        assert_eq!(table.take(&1), Err(gone));
        assert_eq!(table.expire(&1, noex::ets::Expiry::Never), Err(gone));
        assert_eq!(table.update(&1, |_| ()), Err(gone));
        assert_eq!(table.update_or(1, 1, |_| ()), Err(gone));
        assert_eq!(table.update_counter(&1, |n| n, 1), Err(gone));
        assert_eq!(table.delete_all(), Err(gone));
        assert_eq!(table.to_list(), Err(gone));
        assert_eq!(pages.next_page(), Err(gone));
        assert_eq!(table.select_delete(|_, _| true), Err(gone));
        assert_eq!(table.select_replace(|_, _| None), Err(gone));
        assert_eq!(table.foldl(0, |n, _, _| n), Err(gone));
        assert_eq!(table.foldr(0, |n, _, _| n), Err(gone));
        assert_eq!(table.first(), Err(gone));
        assert_eq!(table.last(), Err(gone));
        assert_eq!(table.next(&1), Err(gone));
        assert_eq!(table.prev(&1), Err(gone));
        assert_eq!(table.len(), Err(gone));
        assert_eq!(table.info().err(), Some(gone));
        assert_eq!(table.fix().err(), Some(gone));
        assert_eq!(table.rename("other"), Err(gone));
        assert_eq!(table.clear_heir(), Err(gone));
        let named: Result<Table<u32, u32>, _> = system.table_named("table");
        assert_eq!(named, Err(TableError::NoTable));
        assert!(system.tables().is_empty());
    });
}

#[test]
fn a_table_says_what_it_is() {
    on_all(|system| {
        let builder: TableBuilder<u32, String, OrderedSet> =
            Table::builder().named("people").access(Access::Protected);
        let people = system.table(builder).unwrap();
        let info = people.info().unwrap();
        assert_eq!(info.name.as_deref(), Some("people"));
        assert_eq!(
            (info.kind, info.access),
            (TableType::OrderedSet, Access::Protected)
        );
        assert_eq!((info.key, info.value), ("u32", "alloc::string::String"));
        assert_eq!((info.size, info.heir, info.ttl), (0, None, None));
        assert!(info.fixed.is_empty() && info.parts >= 1);
        assert!(info.owner.is_some_and(|pid| system.is_alive(pid)));
        let bag = bag(system);
        let empty = bag.info().unwrap().memory;
        bag.insert_many((0..10_000).map(|n| (n, "x"))).unwrap();
        let info = bag.info().unwrap();
        assert_eq!(
            (info.kind, info.size, info.name),
            (TableType::Bag, 10_000, None)
        );
        let objects = 10_000 * size_of::<(u32, &str)>();
        assert!(info.memory > empty + objects, "{} bytes", info.memory);
        assert_eq!(info.access, Access::Public);
        let all: Vec<_> = system.tables().iter().map(|table| table.kind).collect();
        assert_eq!(all, [TableType::OrderedSet, TableType::Bag]);
        assert_eq!(TableType::OrderedSet.to_string(), "ordered_set");
    });
}

#[test]
fn nobody_sees_a_part_of_what_is_inserted_at_once() {
    let system = quiet().schedulers(1).build().unwrap();
    let set: Table<u32, u32, Set> = system.table(Table::builder()).unwrap();
    let ordered: Table<u32, u32, OrderedSet> = system.table(Table::builder()).unwrap();
    let keys = 40;
    let writing = AtomicBool::new(true);
    set.insert_many((0..keys).map(|key| (key, 0))).unwrap();
    ordered.insert_many((0..keys).map(|key| (key, 0))).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..2_000 {
                set.insert_many((0..keys).map(|key| (key, round))).unwrap();
                ordered
                    .insert_many((0..keys).map(|key| (key, round)))
                    .unwrap();
            }
            writing.store(false, SeqCst);
        });
        while writing.load(SeqCst) {
            // One object after the other: none is older than one that was seen before it.
            let mut newest = 0;
            for key in 0..keys {
                let round = set.lookup(&key).unwrap().unwrap();
                assert!(round >= newest, "{round} after {newest}");
                newest = round;
            }
            let mut newest = 0;
            for key in 0..keys {
                let round = ordered.lookup(&key).unwrap().unwrap();
                assert!(round >= newest, "{round} after {newest}");
                newest = round;
            }
        }
    });
}

#[test]
fn of_many_that_insert_new_exactly_one_does() {
    let system = quiet().schedulers(1).build().unwrap();
    let set: Table<u32, u32, Set> = system.table(Table::builder()).unwrap();
    let keys = 300;
    let won: Vec<Vec<u32>> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..4)
            .map(|racer| {
                let set = &set;
                scope.spawn(move || {
                    let wins =
                        |key: &u32| set.insert_new_many([(*key, racer), (key + keys, racer)]);
                    (0..keys).filter(|key| wins(key).unwrap()).collect()
                })
            })
            .collect();
        racers
            .into_iter()
            .map(|racer| racer.join().unwrap())
            .collect()
    });
    let all = sorted(won.concat());
    assert_eq!(all, (0..keys).collect::<Vec<_>>());
    for (racer, keys_won) in won.iter().enumerate() {
        for key in keys_won {
            assert_eq!(set.lookup(key), Ok(Some(racer as u32)));
            assert_eq!(set.lookup(&(key + keys)), Ok(Some(racer as u32)));
        }
    }
}
