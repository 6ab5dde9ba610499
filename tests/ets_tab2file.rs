//! Tables in files: what is written is read, and what is damaged is told.
#![cfg(feature = "tab2file")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use noex::ets::{
    Access, Bag, DuplicateBag, Expiry, OrderedSet, Set, TableFileError, TableFileInfo, TableType,
};
use noex::prelude::*;
use noex::{CallError, Inbox, Recipient, Table, TableError};
use serde::{Deserialize, Serialize};

use support::{DEADLINE, on_all, quiet, reports};

/// A file of the test's own, removed at the end.
struct TempFile(PathBuf);

impl TempFile {
    fn new() -> TempFile {
        static FILES: AtomicUsize = AtomicUsize::new(0);
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let name = format!("noex-tab-{}-{number}.tab", std::process::id());
        let memory = PathBuf::from("/dev/shm");
        let directory = if memory.is_dir() {
            memory
        } else {
            std::env::temp_dir()
        };
        TempFile(directory.join(name))
    }

    /// What else is there that begins with its name.
    fn drafts(&self) -> usize {
        let name = self.0.file_name().unwrap().to_str().unwrap();
        let directory = fs::read_dir(self.0.parent().unwrap()).unwrap();
        let names = directory.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .filter(|other| other.starts_with(name) && other != name)
            .count()
    }
}

impl AsRef<Path> for TempFile {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

type Words = Table<String, u32>;

fn words(system: &System, count: u32) -> Words {
    let table = system.table(Table::builder()).unwrap();
    table
        .insert_many((0..count).map(|n| (format!("word {n}"), n)))
        .unwrap();
    table
}

fn load(system: &System, file: &TempFile) -> Result<Words, TableFileError> {
    system
        .load_table(Table::builder(), &file.0)
        .wait_timeout(DEADLINE)
}

#[test]
fn a_table_of_each_kind_comes_back_as_it_was() {
    on_all(|system| {
        let file = TempFile::new();
        let set = words(system, 300);
        assert_eq!(set.save_to_file(&file.0).wait().unwrap(), 300);
        let again = load(system, &file).unwrap();
        let all = |table: &Words| BTreeSet::from_iter(table.to_list().unwrap());
        assert_eq!(all(&again), all(&set));
        assert_eq!(again.lookup("word 7"), Ok(Some(7)));
        // The one table is not the other.
        again.insert("word 7".into(), 8).unwrap();
        assert_eq!(set.lookup("word 7"), Ok(Some(7)));

        let ordered: Table<i64, (), OrderedSet> = system.table(Table::builder()).unwrap();
        ordered.insert_many((-40..40).map(|n| (n, ()))).unwrap();
        ordered.save_to_file(&file.0).wait().unwrap();
        let again: Table<i64, (), OrderedSet> =
            system.load_table(Table::builder(), &file.0).wait().unwrap();
        assert_eq!(again.to_list(), ordered.to_list());

        let bag: Table<u8, Option<char>, Bag> = system.table(Table::builder()).unwrap();
        bag.insert_many([(1, Some('b')), (1, None), (2, None), (1, Some('a'))])
            .unwrap();
        assert_eq!(bag.save_to_file(&file.0).wait().unwrap(), 4);
        let again: Table<u8, Option<char>, Bag> =
            system.load_table(Table::builder(), &file.0).wait().unwrap();
        assert_eq!(again.lookup(&1), Ok(vec![Some('b'), None, Some('a')]));
        assert_eq!((again.lookup(&2), again.len()), (Ok(vec![None]), Ok(4)));

        let pile: Table<u8, u8, DuplicateBag> = system.table(Table::builder()).unwrap();
        pile.insert_many([(1, 5), (1, 5), (1, 6), (1, 5)]).unwrap();
        pile.save_to_file(&file.0).wait().unwrap();
        let again: Table<u8, u8, DuplicateBag> =
            system.load_table(Table::builder(), &file.0).wait().unwrap();
        assert_eq!(again.lookup(&1), Ok(vec![5, 5, 6, 5]));

        let empty = words(system, 0);
        assert_eq!(empty.save_to_file(&file.0).wait().unwrap(), 0);
        assert_eq!(load(system, &file).unwrap().len(), Ok(0));
        assert_eq!(file.drafts(), 0);
    });
}

#[test]
fn a_table_of_many_blocks_comes_back_whole() {
    let system = quiet().schedulers(2).build().unwrap();
    let file = TempFile::new();
    let table: Table<u32, Vec<u8>> = system.table(Table::builder()).unwrap();
    table
        .insert_many((0..3000).map(|n| (n, vec![n as u8; 100 + n as usize % 50])))
        .unwrap();
    table.insert(9999, vec![1; 1 << 20]).unwrap();
    assert_eq!(table.save_to_file(&file.0).wait().unwrap(), 3001);
    let again: Table<u32, Vec<u8>> = system.load_table(Table::builder(), &file.0).wait().unwrap();
    assert_eq!(again.len(), Ok(3001));
    let same = |key: &u32, value: &Vec<u8>| table.lookup(key) == Ok(Some(value.clone()));
    // Made later than `table`, so its closures may not use that one.
    let all = again.to_list().unwrap();
    assert!(all.iter().all(|(key, value)| same(key, value)));
}

#[test]
fn a_process_reads_its_table_with_the_name_and_the_rights_that_it_had() {
    on_all(|system| {
        let file = TempFile::new();
        let builder = Words::builder().named("words").access(Access::Private);
        let (path, (report, reported)) = (file.0.clone(), reports());
        let owner: Recipient<()> = system
            .spawn(move |cx: Inbox<()>| async move {
                let ttl = Duration::from_secs(60);
                let table = builder.ttl(ttl).build(&cx).unwrap();
                table.insert_with("a".into(), 1, Expiry::Never).unwrap();
                // The owner may, though a thread of the pool does it.
                table.save_to_file(&path).await.unwrap();
                let taken = Words::load_from_file(&cx, &path).await;
                let taken = matches!(taken, Err(TableFileError::Table(TableError::NameTaken)));
                table.delete_table().unwrap();
                let again = Words::load_from_file(&cx, &path).await.unwrap();
                let other = Table::builder().load_from_file(&cx, &path).await.unwrap();
                report
                    .send((taken, again.info().unwrap(), other.info().unwrap()))
                    .unwrap();
                report
                    .send((again.lookup("a") == Ok(Some(1)), again.info().unwrap(), {
                        let other: Words = other;
                        other.info().unwrap()
                    }))
                    .unwrap();
            })
            .unwrap();
        let (taken, again, other) = support::next(system, &reported);
        assert!(taken);
        assert_eq!(again.name.as_deref(), Some("words"));
        assert_eq!((again.access, again.size), (Access::Private, 1));
        assert_eq!(
            (again.owner, again.ttl),
            (Some(owner.pid()), Some(Duration::from_secs(60)))
        );
        // As the builder says.
        assert_eq!(
            (other.name, other.access, other.ttl),
            (None, Access::Protected, None)
        );
        let (found, ..) = support::next(system, &reported);
        assert!(found);
    });
}

#[test]
fn what_is_said_about_a_file_is_what_was_written() {
    let system = quiet().schedulers(2).build().unwrap();
    let file = TempFile::new();
    let before = SystemTime::now();
    let builder = Table::<String, u32, OrderedSet>::builder().named("höhen");
    let table = system
        .table(builder.ttl(Duration::from_millis(2500)))
        .unwrap();
    table
        .insert_many((0..10).map(|n| (n.to_string(), n)))
        .unwrap();
    table.save_to_file(&file.0).wait().unwrap();
    let info = TableFileInfo::read(&file.0).unwrap();
    assert_eq!(
        (info.version, info.kind, info.objects),
        (1, TableType::OrderedSet, 10)
    );
    assert_eq!(info.name.as_deref(), Some("höhen"));
    assert_eq!(
        (info.key.as_str(), info.value.as_str()),
        ("alloc::string::String", "u32")
    );
    assert_eq!(
        (info.access, info.ttl),
        (Access::Public, Some(Duration::from_millis(2500)))
    );
    assert!(before <= info.saved && info.saved <= SystemTime::now());
}

#[test]
fn another_kind_and_other_types_are_refused() {
    on_all(|system| {
        let file = TempFile::new();
        words(system, 10).save_to_file(&file.0).wait().unwrap();
        let kind = system
            .load_table(Table::<String, u32, Bag>::builder(), &file.0)
            .wait();
        assert!(
            matches!(kind, Err(TableFileError::WrongKind(TableType::Set))),
            "{kind:?}"
        );
        let types = system
            .load_table(Table::<String, u64>::builder(), &file.0)
            .wait();
        match types {
            Err(TableFileError::WrongTypes { key, value }) => {
                assert_eq!(
                    (key.as_str(), value.as_str()),
                    ("alloc::string::String", "u32")
                );
            }
            other => panic!("{other:?}"),
        }
        let (path, (report, reported)) = (file.0.clone(), reports());
        let _loader: Recipient<()> = system
            .spawn(move |cx: Inbox<()>| async move {
                let wide = Table::<String, u64>::builder();
                let wide = wide.load_from_file_of_any_types(&cx, &path).await.unwrap();
                // A number is a number, but a text is not.
                let wrong = Table::<String, String>::builder();
                let wrong = wrong.load_from_file_of_any_types(&cx, &path).await;
                report.send((wide.lookup("word 9"), wrong)).unwrap();
            })
            .unwrap();
        let (wide, wrong) = support::next(system, &reported);
        assert_eq!(wide, Ok(Some(9)));
        assert!(matches!(wrong, Err(TableFileError::Decode(_))), "{wrong:?}");
    });
}

#[test]
fn no_damage_to_a_file_goes_unnoticed_and_none_makes_a_table() {
    let system = quiet().schedulers(2).build().unwrap();
    let file = TempFile::new();
    words(&system, 60).save_to_file(&file.0).wait().unwrap();
    let whole = fs::read(&file).unwrap();
    let tables = system.tables().len();
    let damaged = |bytes: &[u8], what: &dyn std::fmt::Debug| {
        fs::write(&file, bytes).unwrap();
        let loaded = system
            .load_table(Words::builder().named("words"), &file.0)
            .wait();
        let error = loaded.expect_err(&format!("{what:?}"));
        assert!(
            matches!(
                error,
                TableFileError::NotATableFile
                    | TableFileError::Version(_)
                    | TableFileError::Truncated
                    | TableFileError::Corrupt(_)
            ),
            "{what:?}: {error:?}"
        );
        error
    };
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        damaged(&bytes, &("byte", at));
    }
    for length in 0..whole.len() {
        let error = damaged(&whole[..length], &("length", length));
        assert!(
            matches!(
                error,
                TableFileError::Truncated | TableFileError::NotATableFile
            ),
            "{length}: {error:?}"
        );
    }
    let mut longer = whole.clone();
    longer.push(0);
    damaged(&longer, &"longer");
    let mut later = whole.clone();
    later[8] = 2;
    assert!(matches!(
        damaged(&later, &"later"),
        TableFileError::Version(2)
    ));
    // Claims to be huge.
    let mut huge = whole[..18].to_vec();
    huge[10..14].copy_from_slice(&u32::MAX.to_le_bytes());
    damaged(&huge, &"huge");
    damaged(b"", &"empty");
    assert_eq!(system.tables().len(), tables);
    assert!(system.table_named::<String, u32, Set>("words").is_err());
    fs::write(&file, &whole).unwrap();
    load(&system, &file).unwrap();
}

#[test]
fn what_the_operating_system_refuses_is_told() {
    on_all(|system| {
        let table = words(system, 3);
        let nowhere = table.save_to_file("/no/such/directory/file").wait();
        match nowhere {
            Err(TableFileError::Io { path, error, .. }) => {
                assert_eq!(path, Path::new("/no/such/directory/file"));
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
            }
            other => panic!("{other:?}"),
        }
        let none = table.save_to_file("/").wait();
        assert!(matches!(none, Err(TableFileError::Io { .. })), "{none:?}");
        let file = TempFile::new();
        let absent = load(system, &file);
        assert!(
            matches!(absent, Err(TableFileError::Io { .. })),
            "{absent:?}"
        );
        let absent = TableFileInfo::read(&file.0);
        assert!(
            matches!(absent, Err(TableFileError::Io { .. })),
            "{absent:?}"
        );
        let directory = system
            .load_table(Words::builder(), std::env::temp_dir())
            .wait();
        assert!(
            matches!(directory, Err(TableFileError::Io { .. })),
            "{directory:?}"
        );
    });
}

/// Cannot always be written, or read.
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
fn a_write_that_fails_leaves_the_file_that_was_there() {
    on_all(|system| {
        let file = TempFile::new();
        let moods: Table<u8, Moody> = system.table(Table::builder()).unwrap();
        moods.insert(1, Moody(1)).unwrap();
        moods.save_to_file(&file.0).wait().unwrap();
        let before = fs::read(&file).unwrap();

        moods.insert(2, Moody(13)).unwrap();
        let encode = moods.save_to_file(&file.0).wait();
        assert!(
            matches!(encode, Err(TableFileError::Encode(_))),
            "{encode:?}"
        );
        moods.insert(2, Moody(14)).unwrap();
        let panicked = moods.save_to_file(&file.0).wait();
        let Err(TableFileError::NoAnswer(CallError::Exited(ExitReason::Panic(reason)))) = panicked
        else {
            panic!("{panicked:?}")
        };
        assert!(reason.to_string().contains("not ever"));
        // The table can be used.
        assert_eq!(moods.lookup(&2), Ok(Some(Moody(14))));
        let deleted = moods.clone();
        moods.delete_table().unwrap();
        let gone = deleted.save_to_file(&file.0).wait();
        assert!(
            matches!(gone, Err(TableFileError::Table(TableError::Gone))),
            "{gone:?}"
        );
        assert_eq!(fs::read(&file).unwrap(), before);
        assert_eq!(file.drafts(), 0);

        for (mood, panics) in [(66, false), (67, true)] {
            let moods: Table<u8, Moody> = system.table(Table::builder()).unwrap();
            moods
                .insert_many([(1, Moody(1)), (2, Moody(mood))])
                .unwrap();
            moods.save_to_file(&file.0).wait().unwrap();
            let loaded = system
                .load_table(Table::<u8, Moody>::builder(), &file.0)
                .wait();
            match loaded {
                Err(TableFileError::Decode(_)) => assert!(!panics),
                Err(TableFileError::NoAnswer(CallError::Exited(_))) => assert!(panics),
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn who_may_not_read_a_table_may_not_save_it() {
    on_all(|system| {
        let file = TempFile::new();
        let (report, reported) = reports();
        let _owner: Recipient<()> = system
            .spawn(move |mut cx: Inbox<()>| async move {
                let private = Words::builder().access(Access::Private).build(&cx).unwrap();
                report.send(private).unwrap();
                cx.recv().await;
            })
            .unwrap();
        let private: Words = support::next(system, &reported);
        let refused = private.save_to_file(&file.0).wait();
        assert!(
            matches!(refused, Err(TableFileError::Table(TableError::Access))),
            "{refused:?}"
        );
        assert!(!file.0.exists());
    });
}

#[test]
fn an_object_that_expires_has_the_time_that_it_had_left() {
    for seed in 0..20 {
        let (system, driver) = quiet().virtual_clock().seed(seed).manual();
        let file = TempFile::new();
        let second = Duration::from_secs(1);
        let table = system.table(Words::builder().ttl(10 * second)).unwrap();
        table.insert("ten".into(), 10).unwrap();
        table
            .insert_with("three".into(), 3, Expiry::After(3 * second))
            .unwrap();
        table
            .insert_with("six".into(), 6, Expiry::After(6 * second))
            .unwrap();
        table.insert_with("ever".into(), 0, Expiry::Never).unwrap();
        driver.advance(4 * second);
        assert_eq!(table.save_to_file(&file.0).wait().unwrap(), 3);
        // However long that is ago.
        driver.advance(1000 * second);
        let again = load(&system, &file).unwrap();
        assert_eq!(again.len(), Ok(3));
        driver.advance(2 * second);
        assert_eq!(
            (again.lookup("six"), again.lookup("ten")),
            (Ok(None), Ok(Some(10)))
        );
        driver.advance(4 * second);
        // What has expired is removed, as nobody asks for it.
        driver.advance(10 * second);
        assert_eq!(again.to_list(), Ok(vec![("ever".into(), 0)]));
        assert_eq!(again.len(), Ok(1));
    }
}

#[test]
fn the_owner_dead_there_is_no_table_to_load() {
    on_all(|system| {
        let file = TempFile::new();
        words(system, 100).save_to_file(&file.0).wait().unwrap();
        let (path, (report, reported)) = (file.0.clone(), reports());
        let tables = system.tables().len();
        let loader: Recipient<()> = system
            .spawn(move |cx: Inbox<()>| async move {
                let loading = Words::builder().named("words").load_from_file(&cx, path);
                report.send(loading).unwrap();
            })
            .unwrap();
        let loading = support::next(system, &reported);
        system.monitor(loader.pid()).wait_timeout(DEADLINE).unwrap();
        match loading.wait_timeout(DEADLINE) {
            // It was there before its owner died.
            Ok(table) => assert_eq!(table.len(), Err(TableError::Gone)),
            Err(TableFileError::Table(TableError::Gone)) => {}
            Err(other) => panic!("{other:?}"),
        }
        assert!(system.table_named::<String, u32, Set>("words").is_err());
        assert_eq!(system.tables().len(), tables);
    });
}

#[test]
fn a_table_can_be_saved_while_others_write_it() {
    let system = quiet().schedulers(4).build().unwrap();
    let file = TempFile::new();
    let table: Table<u32, (u64, u64)> = system.table(Table::builder()).unwrap();
    table.insert_many((0..2000).map(|n| (n, (0, 0)))).unwrap();
    let writers: Vec<Recipient<()>> = (0..3)
        .map(|seed| {
            let table = table.clone();
            system
                .spawn(move |cx: Inbox<()>| async move {
                    let mut n = seed;
                    loop {
                        n = (n * 7919 + 13) % 4000;
                        if n < 2000 {
                            let both = |value: &mut (u64, u64)| *value = (value.0 + 1, value.1 + 1);
                            table.update(&n, both).unwrap();
                        } else {
                            let _there =
                                table.delete(&n).unwrap() || table.insert_new(n, (1, 1)).unwrap();
                        }
                        cx.yield_now().await;
                    }
                })
                .unwrap()
        })
        .collect();
    for _ in 0..10 {
        table.save_to_file(&file.0).wait().unwrap();
        let again: Table<u32, (u64, u64)> =
            system.load_table(Table::builder(), &file.0).wait().unwrap();
        let throughout = again
            .select_count(|key, (a, b)| *key < 2000 && a == b)
            .unwrap();
        assert_eq!(throughout, 2000);
        assert_eq!(again.select_count(|_, (a, b)| a != b), Ok(0));
    }
    for writer in writers {
        system.exit(writer.pid(), ExitReason::Kill);
    }
}
