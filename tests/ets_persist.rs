//! Persistent tables: what is acknowledged is in the file, what fails is nowhere, and reading never waits.
#![cfg(feature = "persist")]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use noex::ets::{
    Bag, CounterUpdate, DuplicateBag, Durability, Expiry, Increment, OrderedSet, PersistError,
    PersistentTable, Set, TableType,
};
use noex::prelude::*;
use noex::{Inbox, Recipient, TableError};
use serde::{Deserialize, Serialize};

use support::{DEADLINE, on_all, quiet, reports};

/// A file of the test's own, removed at the end.
struct TempFile(PathBuf);

impl TempFile {
    fn new() -> TempFile {
        static FILES: AtomicUsize = AtomicUsize::new(0);
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let name = format!("noex-persist-{}-{number}.redb", std::process::id());
        let path = directory().join(name);
        let _ = std::fs::remove_file(&path);
        TempFile(path)
    }
}

/// In memory, where there is such a thing: what survives a crash is the business of other tests.
fn directory() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    match memory.is_dir() {
        true => memory,
        false => std::env::temp_dir(),
    }
}

impl AsRef<Path> for TempFile {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

type Words = PersistentTable<String, u64>;

fn open(system: &System, file: &TempFile) -> Words {
    let opening = Words::builder(&file.0).open(system);
    opening.wait_timeout(DEADLINE).expect("it opens")
}

fn close<K, V, Kind>(table: &PersistentTable<K, V, Kind>)
where
    K: noex::ets::Stored + Clone,
    V: noex::ets::Stored + Clone,
    Kind: noex::ets::Persists<K, V>,
{
    table.close().wait_timeout(DEADLINE).expect("it closes");
}

#[test]
fn what_was_written_is_there_when_the_file_is_opened_again() {
    on_all(|system| {
        let file = TempFile::new();
        let table = open(system, &file);
        table.insert("a".into(), 1).wait().unwrap();
        table.insert("b".into(), 2).wait().unwrap();
        table.insert("a".into(), 3).wait().unwrap();
        assert_eq!(table.lookup("a"), Ok(Some(3)));
        assert!(table.delete("b".into()).wait().unwrap());
        assert!(!table.delete("b".into()).wait().unwrap());
        close(&table);
        assert!(!table.is_alive());
        assert_eq!(table.lookup("a"), Err(TableError::Gone));

        let again = open(system, &file);
        assert_eq!(again.table().to_list(), Ok(vec![("a".into(), 3)]));
        close(&again);
    });
}

#[test]
fn each_operation_does_in_the_file_what_it_does_in_memory() {
    on_all(|system| {
        let file = TempFile::new();
        let table = open(system, &file);
        let key = |key: &str| key.to_owned();
        table
            .insert_many([(key("a"), 1), (key("b"), 2), (key("c"), 3)])
            .wait()
            .unwrap();
        assert!(table.insert_new(key("d"), 4).wait().unwrap());
        assert!(!table.insert_new(key("d"), 5).wait().unwrap());
        assert!(
            !table
                .insert_new_many([(key("e"), 5), (key("a"), 6)])
                .wait()
                .unwrap()
        );
        assert!(
            table
                .insert_new_many([(key("f"), 6), (key("g"), 7)])
                .wait()
                .unwrap()
        );
        assert_eq!(table.take(key("g")).wait().unwrap(), Some(7));
        assert_eq!(table.take(key("g")).wait().unwrap(), None);
        assert_eq!(
            table
                .update(key("a"), |n| {
                    *n += 9;
                    *n
                })
                .wait()
                .unwrap(),
            Some(10)
        );
        assert_eq!(table.update(key("?"), |n| *n = 0).wait().unwrap(), None);
        assert_eq!(
            table
                .update_or(key("h"), 7, |n| {
                    *n += 1;
                    *n
                })
                .wait()
                .unwrap(),
            8
        );
        assert!(table.update_element(key("b"), |n| n, 20).wait().unwrap());
        assert!(!table.update_element(key("?"), |n| n, 20).wait().unwrap());
        table
            .update_element_or(key("i"), 0, |n| n, 9)
            .wait()
            .unwrap();
        assert_eq!(table.update_counter(key("c"), |n| n, 2).wait().unwrap(), 5);
        let wrap = Increment::by(1).threshold(5, 0);
        assert_eq!(
            table.update_counter(key("c"), |n| n, wrap).wait().unwrap(),
            0
        );
        assert_eq!(
            table
                .update_counter_or(key("j"), 10, |n| n, -1)
                .wait()
                .unwrap(),
            9
        );
        let twice = || [CounterUpdate::new(|n| n, 1), CounterUpdate::new(|n| n, 2)];
        assert_eq!(
            table.update_counters(key("j"), twice()).wait().unwrap(),
            [10, 12]
        );
        assert_eq!(
            table
                .update_counters_or(key("k"), 0, twice())
                .wait()
                .unwrap(),
            [1, 3]
        );
        assert_eq!(table.delete_object(key("k"), 4).wait().unwrap(), 0);
        assert_eq!(table.delete_object(key("k"), 3).wait().unwrap(), 1);
        assert_eq!(
            table
                .select_delete(|_, n| *n == 6 || *n == 9)
                .wait()
                .unwrap(),
            2
        );
        assert_eq!(
            table
                .select_replace(|_, n| (*n == 0).then_some(1))
                .wait()
                .unwrap(),
            1
        );

        let expected: BTreeSet<_> = [
            ("a", 10),
            ("b", 20),
            ("c", 1),
            ("d", 4),
            ("h", 8),
            ("j", 12),
        ]
        .map(|(word, n)| (word.to_owned(), n))
        .into();
        let content = |table: &Words| BTreeSet::from_iter(table.table().to_list().unwrap());
        assert_eq!(content(&table), expected);
        close(&table);
        let again = open(system, &file);
        assert_eq!(content(&again), expected);

        again.delete_all().wait().unwrap();
        assert_eq!(again.len(), Ok(0));
        again.insert(key("z"), 1).wait().unwrap();
        close(&again);
        let last = open(system, &file);
        assert_eq!(last.table().to_list(), Ok(vec![("z".into(), 1)]));
        close(&last);
    });
}

#[test]
fn an_operation_that_cannot_be_done_changes_nothing() {
    on_all(|system| {
        let file = TempFile::new();
        let table = open(system, &file);
        table.insert("a".into(), u64::MAX).wait().unwrap();
        let table_error = |result| match result {
            Err(PersistError::Table(error)) => error,
            other => panic!("{other:?}"),
        };
        let over = table.update_counter("a".into(), |n| n, 1).wait();
        assert_eq!(table_error(over), TableError::Overflow);
        let nobody = table.update_counter("b".into(), |n| n, 1).wait();
        assert_eq!(table_error(nobody), TableError::BadKey);
        let panicked = table.update("a".into(), |n| {
            *n = 0;
            panic!("on purpose");
        });
        let panicked: Result<Option<()>, _> = panicked.wait();
        match panicked {
            Err(PersistError::Panicked(ExitReason::Panic(reason))) => {
                assert!(reason.to_string().contains("on purpose"));
            }
            other => panic!("{other:?}"),
        }
        // It goes on.
        assert_eq!(table.lookup("a"), Ok(Some(u64::MAX)));
        table.insert("c".into(), 1).wait().unwrap();
        close(&table);
        let again = open(system, &file);
        assert_eq!(again.lookup("a"), Ok(Some(u64::MAX)));
        assert_eq!(again.len(), Ok(2));
        close(&again);
    });
}

#[test]
fn writes_that_are_not_waited_for_one_by_one_are_done_in_their_order() {
    on_all(|system| {
        let file = TempFile::new();
        let table = open(system, &file);
        // Each upon what those before it have made, most of them in one batch.
        let all: Vec<_> = (0..50_u64)
            .map(|n| {
                table.update_or("n".into(), 0, move |value| {
                    let was = *value;
                    *value = n + 1;
                    was
                })
            })
            .collect();
        let gone = table.take("n".into());
        let new = table.insert_new("n".into(), 7);
        let before: Vec<_> = all.into_iter().map(|write| write.wait().unwrap()).collect();
        assert_eq!(before, (0..50).collect::<Vec<_>>());
        assert_eq!(gone.wait().unwrap(), Some(50));
        assert!(new.wait().unwrap());
        close(&table);
        let again = open(system, &file);
        assert_eq!(again.table().to_list(), Ok(vec![("n".into(), 7)]));
        close(&again);
    });
}

#[test]
fn a_write_is_done_though_nobody_waits_for_it() {
    on_all(|system| {
        let file = TempFile::new();
        let table = open(system, &file);
        drop(table.insert("a".into(), 1));
        table.sync().wait().unwrap();
        assert_eq!(table.lookup("a"), Ok(Some(1)));
        close(&table);
    });
}

#[test]
fn processes_write_by_awaiting() {
    on_all(|system| {
        let file = TempFile::new();
        let table = open(system, &file);
        let (report, reported) = reports();
        for worker in 0..8_u64 {
            let (table, report) = (table.clone(), report.clone());
            let _worker: Recipient<()> = system
                .spawn(move |_: Inbox<()>| async move {
                    for n in 0..5 {
                        table.insert(format!("{worker}-{n}"), n).await.unwrap();
                        let sum = table.update_counter_or("sum".into(), 0, |n| n, 1).await;
                        assert!(sum.unwrap() > n);
                    }
                    report.send(()).unwrap();
                })
                .unwrap();
        }
        for _ in 0..8 {
            support::next(system, &reported);
        }
        assert_eq!(table.lookup("sum"), Ok(Some(40)));
        close(&table);
        let again = open(system, &file);
        assert_eq!((again.len(), again.lookup("sum")), (Ok(41), Ok(Some(40))));
        close(&again);
    });
}

#[test]
fn all_kinds_come_back_as_they_were() {
    on_all(|system| {
        let file = TempFile::new();
        let bag = PersistentTable::<u8, String, Bag>::builder(&file.0)
            .open(system)
            .wait()
            .unwrap();
        for word in ["x", "y", "x"] {
            bag.insert(1, word.into()).wait().unwrap();
        }
        bag.insert_many([(1, "z".into()), (2, "y".into()), (1, "y".into())])
            .wait()
            .unwrap();
        assert_eq!(bag.delete_object(1, "x".into()).wait().unwrap(), 1);
        close(&bag);
        let bag = PersistentTable::<u8, String, Bag>::builder(&file.0)
            .open(system)
            .wait()
            .unwrap();
        assert_eq!(bag.lookup(&1), Ok(vec!["y".to_owned(), "z".into()]));
        assert_eq!(bag.take(2).wait().unwrap(), ["y"]);
        assert_eq!(bag.select_delete(|_, word| word == "z").wait().unwrap(), 1);
        assert_eq!(bag.table().to_list(), Ok(vec![(1, "y".into())]));
        close(&bag);

        let file = TempFile::new();
        type Pile = PersistentTable<u8, u8, DuplicateBag>;
        let pile = Pile::builder(&file.0).open(system).wait().unwrap();
        pile.insert_many([(1, 1), (1, 1), (1, 2)]).wait().unwrap();
        assert_eq!(
            pile.select_replace(|_, n| (*n == 1).then_some(3))
                .wait()
                .unwrap(),
            2
        );
        close(&pile);
        let pile = Pile::builder(&file.0).open(system).wait().unwrap();
        assert_eq!(pile.lookup(&1), Ok(vec![3, 3, 2]));
        close(&pile);

        let file = TempFile::new();
        type Steps = PersistentTable<i32, (), OrderedSet>;
        let steps = Steps::builder(&file.0).open(system).wait().unwrap();
        steps
            .insert_many((-50..50).map(|n| (n, ())))
            .wait()
            .unwrap();
        close(&steps);
        let steps = Steps::builder(&file.0).open(system).wait().unwrap();
        let keys: Vec<_> = steps
            .table()
            .to_list()
            .unwrap()
            .into_iter()
            .map(|(n, ())| n)
            .collect();
        assert_eq!(keys, (-50..50).collect::<Vec<_>>());
        close(&steps);
    });
}

/// All that only an owner may do.
fn refused(plain: &noex::Table<String, u64>) {
    let access = Err(TableError::Access);
    let nobody = plain.info().unwrap().owner.unwrap();
    assert_eq!(plain.insert("a".into(), 2), access);
    assert_eq!(plain.delete("a"), Err(TableError::Access));
    assert_eq!(plain.delete_all(), access);
    assert_eq!(plain.rename("other name"), access);
    assert_eq!(plain.give_away(&nobody, ()), access);
    assert_eq!(plain.set_heir(&nobody, ()), access);
    assert_eq!(plain.clear_heir(), access);
    assert_eq!(plain.delete_table(), access);
}

#[test]
fn nobody_but_the_tables_process_writes_the_table_itself() {
    on_all(|system| {
        let file = TempFile::new();
        let table = Words::builder(&file.0)
            .named("words")
            .open(system)
            .wait()
            .unwrap();
        table.insert("a".into(), 1).wait().unwrap();
        let plain: noex::Table<String, u64> = system.table_named("words").unwrap();
        assert_eq!(&plain, table.table());
        assert_eq!(plain.insert("a".into(), 2), Err(TableError::Access));
        refused(&plain);
        assert_eq!(plain.lookup("a"), Ok(Some(1)));
        assert_eq!(plain.info().unwrap().owner, table.pid());
        assert_eq!(system.persistent_table("words"), Ok(table.clone()));
        // The name is one of tables.
        let other = system
            .table(noex::Table::<u8, u8>::builder().named("other"))
            .unwrap();
        let not = system.persistent_table::<u8, u8, Set>("other");
        assert_eq!(not.unwrap_err(), TableError::NoTable);
        other.delete_table().unwrap();
        close(&table);
        let gone = system.persistent_table::<String, u64, Set>("words");
        assert_eq!(gone.unwrap_err(), TableError::NoTable);
    });
}

#[test]
fn a_closure_cannot_wait_for_its_own_process() {
    on_all(|system| {
        let file = TempFile::new();
        let table = open(system, &file);
        let own = table.clone();
        let update = table.update_or("a".into(), 1, move |_| {
            // Reading is allowed.
            assert_eq!(own.lookup("a"), Ok(None));
            own.insert("b".into(), 1).wait()
        });
        let inner = update.wait().unwrap();
        assert!(
            matches!(inner, Err(PersistError::Table(TableError::Nested))),
            "{inner:?}"
        );
        close(&table);
    });
}

#[test]
fn a_closure_in_the_tables_process_cannot_pass_the_file_by() {
    on_all(|system| {
        let file = TempFile::new();
        let table = open(system, &file);
        let plain = table.table().clone();
        table.insert("a".into(), 1).wait().unwrap();
        let update = table.update("a".into(), move |n| {
            refused(&plain);
            *n += 1;
        });
        assert_eq!(update.wait().unwrap(), Some(()));
        assert_eq!(table.table().to_list(), Ok(vec![("a".into(), 2)]));
        close(&table);
    });
}

#[test]
fn one_thread_of_the_pool_is_enough_to_take_a_file_over_from_the_dead() {
    let system = quiet()
        .schedulers(2)
        .blocking_threads(1)
        .build()
        .expect("threads");
    let file = TempFile::new();
    let builder = Words::builder(&file.0).durability(Durability::Interval(DEADLINE * 100));
    for round in 0..200 {
        let table = builder.open(&system).wait_timeout(DEADLINE).unwrap();
        assert_eq!(table.len(), Ok(round));
        // Acknowledged, and left behind to be written.
        table.insert(format!("{round}"), 0).wait().unwrap();
        let pid = table.pid().unwrap();
        system.exit(pid, ExitReason::Kill);
        // As early as can be.
        while system.is_alive(pid) {
            std::hint::spin_loop();
        }
    }
}

#[test]
fn a_file_is_open_once() {
    on_all(|system| {
        let file = TempFile::new();
        let table = open(system, &file);
        let second = Words::builder(&file.0).open(system).wait();
        assert!(
            matches!(second, Err(PersistError::AlreadyOpen)),
            "{second:?}"
        );
        // By whatever way one comes to it.
        let name = file.0.file_name().unwrap();
        let directory = directory();
        let detour = directory.join("..").join(directory.file_name().unwrap());
        let second = Words::builder(detour.join(name)).open(system).wait();
        assert!(
            matches!(second, Err(PersistError::AlreadyOpen)),
            "{second:?}"
        );
        close(&table);
        close(&open(system, &file));
    });
}

#[test]
fn a_file_is_open_in_one_of_the_systems_of_a_program() {
    let file = TempFile::new();
    let build = || quiet().schedulers(1).build().unwrap();
    let (one, other) = (build(), build());
    let table = open(&one, &file);
    table.insert("a".into(), 1).wait().unwrap();
    let second = Words::builder(&file.0).open(&other).wait();
    assert!(
        matches!(second, Err(PersistError::AlreadyOpen)),
        "{second:?}"
    );
    // The end of a system frees it, without a word of the table's.
    drop(one);
    let table = open(&other, &file);
    assert_eq!(table.lookup("a"), Ok(Some(1)));
    close(&table);
}

#[test]
fn a_table_of_another_kind_or_types_is_not_opened() {
    on_all(|system| {
        let file = TempFile::new();
        close(&open(system, &file));
        let kind = PersistentTable::<String, u64, OrderedSet>::builder(&file.0)
            .open(system)
            .wait();
        assert!(
            matches!(kind, Err(PersistError::WrongKind(TableType::Set))),
            "{kind:?}"
        );
        let types = PersistentTable::<String, u32>::builder(&file.0)
            .open(system)
            .wait();
        match types {
            Err(PersistError::WrongTypes { key, value }) => {
                assert_eq!(
                    (key.as_str(), value.as_str()),
                    ("alloc::string::String", "u64")
                );
            }
            other => panic!("{other:?}"),
        }
        let any = PersistentTable::<String, u32>::builder(&file.0)
            .any_types()
            .open(system)
            .wait();
        close(&any.unwrap());
        // And it is free again after each of them.
        close(&open(system, &file));
    });
}

#[test]
fn what_is_no_persistent_table_is_not_opened_and_not_touched() {
    let system = quiet().schedulers(2).build().unwrap();
    let file = TempFile::new();
    for bytes in [&b"something else"[..], &[0; 5000], &[0xff; 100_000]] {
        std::fs::write(&file, bytes).unwrap();
        let opened = Words::builder(&file.0).open(&system).wait();
        assert!(
            matches!(
                opened,
                Err(PersistError::NotATable | PersistError::Corrupt(_))
            ),
            "{opened:?}"
        );
        assert_eq!(std::fs::read(&file).unwrap(), bytes);
    }
    let nowhere = Words::builder("/no/such/directory/file")
        .open(&system)
        .wait();
    assert!(
        matches!(nowhere, Err(PersistError::Io { .. })),
        "{nowhere:?}"
    );
    let directory = Words::builder(std::env::temp_dir()).open(&system).wait();
    assert!(
        matches!(directory, Err(PersistError::Io { .. })),
        "{directory:?}"
    );
}

#[test]
fn damage_anywhere_in_a_file_is_told_or_does_no_harm() {
    let system = quiet().schedulers(2).build().unwrap();
    let file = TempFile::new();
    let table = open(&system, &file);
    table
        .insert_many((0..500).map(|n| (format!("word {n}"), n)))
        .wait()
        .unwrap();
    close(&table);
    let whole = std::fs::read(&file).unwrap();
    let mut expected = (0..500)
        .map(|n| (format!("word {n}"), n))
        .collect::<Vec<_>>();
    expected.sort();
    let (mut told, mut versions) = (0, 0);
    for at in (0..whole.len())
        .step_by(whole.len() / 150 + 1)
        .chain(0..320)
    {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        std::fs::write(&file, &damaged).unwrap();
        match Words::builder(&file.0).open(&system).wait() {
            Ok(table) => {
                let mut found = table.table().to_list().unwrap();
                found.sort();
                assert_eq!(found, expected, "byte {at}");
                close(&table);
                continue;
            }
            Err(PersistError::Corrupt(_) | PersistError::NotATable) => told += 1,
            // Of the two bytes that say which version of redb's format it is.
            Err(PersistError::StoreVersion(_)) if at < 4096 => versions += 1,
            Err(other) => panic!("byte {at}: {other:?}"),
        }
        // Whoever wants to look what is left can.
        assert_eq!(std::fs::read(&file).unwrap(), damaged, "byte {at}");
    }
    assert!(told > 10, "{told} were told");
    assert_eq!(versions, 2, "as many as there are commits in the head");
    for length in [1, 100, 4096, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&file, &whole[..length]).unwrap();
        match Words::builder(&file.0).open(&system).wait() {
            Ok(_) => panic!("cut off to {length}"),
            Err(PersistError::Corrupt(_) | PersistError::NotATable | PersistError::Io { .. }) => {}
            Err(other) => panic!("{length}: {other:?}"),
        }
    }
}

#[test]
fn its_process_killed_the_supervisor_opens_the_file_again_with_all_that_was_acknowledged() {
    on_all(|system| {
        let file = TempFile::new();
        let builder = Words::builder(&file.0).named("words");
        let sup = Supervisor::new(Strategy::OneForOne)
            .intensity(100)
            .child(builder.child_spec("words"));
        let sup = sup.start(system).wait().unwrap();
        let mut acknowledged = 0;
        for round in 0..5_u64 {
            let mut table = None;
            support::until(system, || {
                table = system.persistent_table::<String, u64, Set>("words").ok();
                table.is_some()
            });
            let table = table.unwrap();
            assert_eq!(table.len(), Ok(acknowledged as usize), "round {round}");
            for n in 0..3 {
                table.insert(format!("{round}-{n}"), n).wait().unwrap();
                acknowledged += 1;
            }
            let unheard = table.insert(format!("{round}-0"), 77);
            let pid = table.pid().unwrap();
            system.exit(pid, ExitReason::Kill);
            let down = system.monitor(pid).wait_timeout(DEADLINE).unwrap();
            assert!(matches!(
                down.reason,
                ExitReason::Killed | ExitReason::NoProc
            ));
            assert_eq!(table.lookup("0-0"), Err(TableError::Gone));
            match unheard.wait_timeout(DEADLINE) {
                Ok(()) | Err(PersistError::NoAnswer(_) | PersistError::Table(TableError::Gone)) => {
                }
                Err(other) => panic!("{other:?}"),
            }
            let late = table.insert("late".into(), 0).wait_timeout(DEADLINE);
            assert!(late.is_err());
        }
        sup.stop(ExitReason::Normal).wait_timeout(DEADLINE).unwrap();
        close(&open(system, &file));
    });
}

#[test]
fn the_end_of_the_system_closes_the_file() {
    let file = TempFile::new();
    for round in 0..3 {
        let system = quiet().schedulers(2).build().unwrap();
        let table = Words::builder(&file.0).durability(Durability::Interval(DEADLINE * 100));
        let table = table.open(&system).wait().unwrap();
        assert_eq!(table.len(), Ok(round));
        // Not on the disk yet.
        table.insert(format!("{round}"), 0).wait().unwrap();
        system.shutdown().wait_timeout(DEADLINE).unwrap();
    }
}

#[test]
fn with_an_interval_a_write_is_in_the_file_when_it_is_over_or_when_asked_for() {
    on_all(|system| {
        let file = TempFile::new();
        let interval = Duration::from_millis(20);
        let builder = Words::builder(&file.0).durability(Durability::Interval(interval));
        let table = builder.open(system).wait().unwrap();
        for n in 0..20 {
            table.insert("a".into(), n).wait().unwrap();
            assert_eq!(table.lookup("a"), Ok(Some(n)));
        }
        table.insert("b".into(), 1).wait().unwrap();
        assert!(table.delete("b".into()).wait().unwrap());
        table.sync().wait().unwrap();
        let crashed = TempFile::new();
        std::fs::copy(&file, &crashed).unwrap();
        let found = open(system, &crashed);
        assert_eq!(found.table().to_list(), Ok(vec![("a".into(), 19)]));
        close(&found);

        table.insert("c".into(), 2).wait().unwrap();
        table.delete("a".into()).wait().unwrap();
        support::pass(system, interval);
        let mut end = Vec::new();
        support::until(system, || {
            std::fs::copy(&file, &crashed).unwrap();
            let Ok(found) = Words::builder(&crashed.0).open(system).wait() else {
                // Copied in the middle of a write.
                return false;
            };
            end = found.table().to_list().unwrap();
            close(&found);
            end.len() == 1 && end[0].0 == "c"
        });
        assert_eq!(end, [("c".to_owned(), 2)]);
        close(&table);
    });
}

#[test]
fn an_object_that_expires_does_so_in_the_file() {
    for seed in 0..20 {
        let (system, driver) = quiet().virtual_clock().seed(seed).manual();
        let file = TempFile::new();
        let builder = Words::builder(&file.0).ttl(Duration::from_secs(3600));
        let table = builder.open(&system).wait().unwrap();
        table.insert("hour".into(), 1).wait().unwrap();
        let minute = Expiry::After(Duration::from_secs(60));
        table
            .insert_with("minute".into(), 2, minute)
            .wait()
            .unwrap();
        table
            .insert_with("ever".into(), 3, Expiry::Never)
            .wait()
            .unwrap();
        table.insert_with("later".into(), 4, minute).wait().unwrap();
        assert!(
            table
                .expire("later".into(), Expiry::Default)
                .wait()
                .unwrap()
        );
        assert!(
            !table
                .expire("nobody".into(), Expiry::Default)
                .wait()
                .unwrap()
        );
        table
            .insert_new_with("day".into(), 5, Expiry::After(Duration::from_secs(86400)))
            .wait()
            .unwrap();
        // An update does not change how long it stays.
        table.update("minute".into(), |n| *n += 10).wait().unwrap();
        driver.advance(Duration::from_secs(30));
        close(&table);

        let table = builder.open(&system).wait().unwrap();
        assert_eq!(table.lookup("minute"), Ok(Some(12)));
        driver.advance(Duration::from_secs(31));
        assert_eq!(table.lookup("minute"), Ok(None));
        // As if it had never been.
        assert!(table.insert_new("minute".into(), 1).wait().unwrap());
        assert!(table.delete("minute".into()).wait().unwrap());
        close(&table);
        let table = builder.open(&system).wait().unwrap();
        assert_eq!(table.len(), Ok(4));
        driver.advance(Duration::from_secs(3600));
        let left = BTreeSet::from_iter(table.table().to_list().unwrap());
        assert_eq!(
            left,
            BTreeSet::from([("ever".to_owned(), 3), ("day".into(), 5)])
        );
        close(&table);
    }
}

#[test]
fn what_has_expired_leaves_the_file_by_itself() {
    let (system, driver) = quiet().virtual_clock().manual();
    let file = TempFile::new();
    type Blobs = PersistentTable<u64, Vec<u8>>;
    let builder = Blobs::builder(&file.0).ttl(Duration::from_secs(10));
    let table = builder.open(&system).wait().unwrap();
    let fill = |round: u64| {
        let blobs = (0..200).map(|n| (round * 200 + n, vec![7; 1000]));
        table.insert_many(blobs).wait().unwrap();
        driver.advance(Duration::from_secs(20));
    };
    (0..5).for_each(fill);
    let size = || std::fs::metadata(&file).unwrap().len();
    let before = size();
    (5..40).for_each(fill);
    assert!(size() <= before * 2, "{before} bytes became {}", size());
    close(&table);
}

/// Equal to others of another spelling.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Loose(String);

impl PartialEq for Loose {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}
impl Eq for Loose {}
impl std::hash::Hash for Loose {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_ascii_lowercase().hash(state);
    }
}

#[test]
fn keys_that_are_equal_are_one_in_the_file_however_they_are_spelled() {
    on_all(|system| {
        let file = TempFile::new();
        type Names = PersistentTable<Loose, u8>;
        for durability in [Durability::Each, Durability::Interval(DEADLINE)] {
            let builder = Names::builder(&file.0).durability(durability);
            let open = || builder.open(system).wait().unwrap();
            let names = open();
            let key = |key: &str| Loose(key.into());
            names.insert(key("Ann"), 1).wait().unwrap();
            let two = [names.insert(key("ANN"), 2), names.insert(key("bob"), 1)];
            two.into_iter().for_each(|write| write.wait().unwrap());
            names.update(key("Bob"), |n| *n += 1).wait().unwrap();
            names.sync().wait().unwrap();
            names.insert(key("ann"), 3).wait().unwrap();
            names.insert(key("aNN"), 4).wait().unwrap();
            close(&names);
            let names = open();
            let mut all = names.table().to_list().unwrap();
            all.sort_by_key(|(_, n)| *n);
            let all: Vec<_> = all.iter().map(|(key, n)| (key.0.as_str(), *n)).collect();
            // The key is that of the last insert; an update leaves it.
            assert_eq!(all, [("bob", 2), ("aNN", 4)]);
            assert!(names.delete(key("ann")).wait().unwrap());
            assert!(names.delete(key("BOB")).wait().unwrap());
            close(&names);
            let names = open();
            assert_eq!(names.len(), Ok(0));
            close(&names);
        }
    });
}

/// Cannot always be written.
#[derive(Debug, Clone, PartialEq)]
struct Moody(u8);

impl Serialize for Moody {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            13 => Err(serde::ser::Error::custom("not today")),
            14 => panic!("not ever"),
            n => n.serialize(to),
        }
    }
}
impl<'de> Deserialize<'de> for Moody {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match u8::deserialize(from)? {
            66 => Err(serde::de::Error::custom("not that")),
            67 => panic!("not that either"),
            n => Ok(Moody(n)),
        }
    }
}

#[test]
fn a_value_that_cannot_be_written_fails_its_own_write_alone() {
    on_all(|system| {
        let file = TempFile::new();
        type Moods = PersistentTable<u8, Moody>;
        let moods = Moods::builder(&file.0).open(system).wait().unwrap();
        let writes = [
            moods.insert(1, Moody(1)),
            moods.insert_many([(2, Moody(2)), (3, Moody(13)), (4, Moody(4))]),
            moods.insert(5, Moody(14)),
            moods.insert(6, Moody(6)),
        ];
        let [one, many, panicked, six] = writes.map(|write| write.wait());
        assert!(one.is_ok() && six.is_ok());
        assert!(matches!(many, Err(PersistError::Encode(_))), "{many:?}");
        assert!(
            matches!(panicked, Err(PersistError::Panicked(_))),
            "{panicked:?}"
        );
        let keys =
            |moods: &Moods| BTreeSet::from_iter(moods.table().select(|k, _| Some(*k)).unwrap());
        assert_eq!(keys(&moods), [1, 6].into());
        close(&moods);
        let moods = Moods::builder(&file.0).open(system).wait().unwrap();
        assert_eq!(keys(&moods), [1, 6].into());
        moods.insert(7, Moody(66)).wait().unwrap();
        close(&moods);
        let wrong = Moods::builder(&file.0).open(system).wait();
        assert!(matches!(wrong, Err(PersistError::Decode(_))), "{wrong:?}");
    });
}

#[test]
fn a_deserialize_that_panics_fails_the_opening() {
    let system = quiet().schedulers(2).build().unwrap();
    let file = TempFile::new();
    type Moods = PersistentTable<u8, Moody>;
    let moods = Moods::builder(&file.0).open(&system).wait().unwrap();
    moods.insert(7, Moody(67)).wait().unwrap();
    close(&moods);
    // And the file is free: the second time, too.
    for _ in 0..2 {
        let wrong = Moods::builder(&file.0).open(&system).wait();
        match wrong {
            Err(PersistError::Panicked(reason)) => {
                assert!(reason.to_string().contains("not that either"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Loses its mind when it is told to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mad(u32);

static MAD: AtomicUsize = AtomicUsize::new(usize::MAX);

impl std::hash::Hash for Mad {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        if self.0 == 13 {
            let left = MAD.load(Ordering::SeqCst);
            MAD.store(left.saturating_sub(1), Ordering::SeqCst);
            assert_ne!(left, 0, "mad");
        }
        self.0.hash(state);
    }
}

#[test]
fn a_key_whose_hash_panics_at_any_point_of_a_write_does_not_tear_it() {
    let system = quiet().schedulers(2).build().unwrap();
    type Table = PersistentTable<Mad, u32>;
    let (mut done, mut failed, mut died) = (0, 0, 0);
    for durability in [
        Durability::Each,
        Durability::Interval(Duration::from_millis(1)),
    ] {
        let file = TempFile::new();
        let builder = Table::builder(&file.0).durability(durability);
        let mut before = 0;
        for point in 0..12 {
            MAD.store(usize::MAX, Ordering::SeqCst);
            let table = builder.open(&system).wait().unwrap();
            // All have the value of the same write.
            let all = table.table().to_list().unwrap();
            let round = all.first().map_or(0, |(_, round)| *round);
            assert!(
                all.iter().all(|(_, value)| *value == round),
                "{point}: {all:?}"
            );
            assert!(all.is_empty() || all.len() == 20);
            assert!(round >= before, "acknowledged was {before}, found {round}");
            MAD.store(point, Ordering::SeqCst);
            let next = round + 1;
            let write = table.insert_many((0..20).map(|n| (Mad(n), next))).wait();
            MAD.store(usize::MAX, Ordering::SeqCst);
            match write {
                Ok(()) => {
                    done += 1;
                    // Not that the interval is over.
                    table.sync().wait().unwrap();
                    before = next;
                }
                Err(PersistError::Panicked(_)) => failed += 1,
                Err(other) => panic!("{other:?}"),
            }
            // Either it goes on, or the table is gone, and is what its file says when it is opened anew.
            match table
                .insert_many((0..20).map(|n| (Mad(n), next + 1)))
                .wait()
            {
                Ok(()) => {
                    table.sync().wait().unwrap();
                    before = next + 1;
                    close(&table);
                }
                Err(PersistError::Table(TableError::Gone) | PersistError::NoAnswer(_)) => {
                    died += 1;
                    let _down = system.monitor(table.pid().unwrap()).wait_timeout(DEADLINE);
                    assert!(!table.is_alive());
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    }
    assert!(done > 0 && failed > 0 && died > 0, "{done} {failed} {died}");
}

#[test]
fn a_linked_table_goes_with_the_process_that_opened_it() {
    on_all(|system| {
        let file = TempFile::new();
        let (report, reported) = reports();
        let path = file.0.clone();
        let opener: Recipient<()> = system
            .spawn(move |mut cx: Inbox<()>| async move {
                let table = Words::builder(path).open_link(&cx).await.unwrap();
                table.insert("a".into(), 1).await.unwrap();
                report.send(table).unwrap();
                cx.recv().await;
            })
            .unwrap();
        let table = support::next(system, &reported);
        let pid = table.pid().unwrap();
        system.exit(opener.pid(), ExitReason::Kill);
        let down = system.monitor(pid).wait_timeout(DEADLINE).unwrap();
        assert!(
            matches!(down.reason, ExitReason::Killed | ExitReason::NoProc),
            "{down:?}"
        );
        assert!(!table.is_alive());
        let again = open(system, &file);
        assert_eq!(again.len(), Ok(1));
        close(&again);
    });
}
