//! Disks that lose power and disks that fail.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use redb::StorageBackend;

use super::claim::{self, Claim};
use super::disk::{Disk, Expected, FOREVER, Medium, Write, record};
use super::{Durability, PersistError, PersistentTable};
use crate::ets::{TableError, TableType};
use crate::sync::{Arc, Mutex};
use crate::system::System;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % limit
    }
}

#[derive(Default)]
struct Platter {
    /// As it reads now.
    now: Vec<u8>,
    /// As it is for certain.
    synced: Vec<u8>,
    /// What was done since, in order.
    since: Vec<Step>,
    /// How many more operations the power lasts for.
    fuse: Option<u64>,
    /// Writes fail, and change nothing.
    full: bool,
    /// Syncs fail.
    broken: bool,
    /// How often it was synced.
    syncs: u64,
}

enum Step {
    Write(usize, Vec<u8>),
    Length(usize),
}

fn do_step(image: &mut Vec<u8>, step: &Step) {
    match step {
        Step::Length(length) => image.resize(*length, 0),
        Step::Write(at, bytes) => {
            let end = at + bytes.len();
            if image.len() < end {
                image.resize(end, 0);
            }
            image[*at..end].copy_from_slice(bytes);
        }
    }
}

/// A disk in memory, which keeps nothing for certain that was not synced.
#[derive(Clone, Default)]
struct SimDisk(Arc<Mutex<Platter>>);

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimDisk")
    }
}

impl SimDisk {
    fn of(image: Vec<u8>, fuse: Option<u64>) -> Self {
        SimDisk(Arc::new(Mutex::new(Platter {
            now: image.clone(),
            synced: image,
            fuse,
            ..Platter::default()
        })))
    }

    fn medium(&self) -> Medium {
        let disk = self.clone();
        Arc::new(move || {
            disk.power()?;
            Ok(Box::new(disk.clone()))
        })
    }

    fn power(&self) -> io::Result<()> {
        match &mut self.0.lock().fuse {
            None => Ok(()),
            Some(0) => Err(io::Error::other("no power")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    /// What is on the disk after the power was lost: what was synced, and of what came since any part.
    fn after_power_loss(&self, random: &mut Random) -> Vec<u8> {
        const SECTOR: usize = 512;
        let platter = self.0.lock();
        let mut image = platter.synced.clone();
        // All of it, nothing, or this and that.
        let mode = random.below(4);
        for step in &platter.since {
            match (mode, step) {
                (0, _) => {}
                (1, step) => do_step(&mut image, step),
                (_, step) if random.below(2) == 0 => do_step(&mut image, step),
                (2, Step::Write(at, bytes)) => {
                    for (sector, part) in bytes.chunks(SECTOR).enumerate() {
                        if random.below(2) == 0 {
                            let part = Step::Write(at + sector * SECTOR, part.to_vec());
                            do_step(&mut image, &part);
                        }
                    }
                }
                _ => {}
            }
        }
        image
    }
}

impl StorageBackend for SimDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.0.lock();
        let at = offset as usize;
        let found = platter.now.get(at..at + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.power()?;
        let mut platter = self.0.lock();
        let step = Step::Length(length as usize);
        do_step(&mut platter.now, &step);
        platter.since.push(step);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.power()?;
        let mut platter = self.0.lock();
        if platter.broken {
            return Err(io::Error::other("broken"));
        }
        platter.synced = platter.now.clone();
        platter.since.clear();
        platter.syncs += 1;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.power()?;
        let mut platter = self.0.lock();
        if platter.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let step = Step::Write(offset as usize, data.to_vec());
        do_step(&mut platter.now, &step);
        platter.since.push(step);
        Ok(())
    }
}

fn expected() -> Expected {
    Expected {
        kind: TableType::Set,
        key: "key",
        value: "value",
        any_types: false,
    }
}

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn content(disk: &Disk) -> Model {
    let mut found = Model::new();
    disk.load(|key, record| {
        found.insert(key.to_vec(), record.to_vec());
        Ok(())
    })
    .expect("it can be read");
    found
}

/// Some changes at once, done to the model too.
fn change(random: &mut Random, model: &mut Model, disk: &mut Disk) -> Result<(), PersistError> {
    let mut changes = Vec::new();
    for _ in 0..random.below(20) {
        let key = random.below(60).to_le_bytes().to_vec();
        let mut new = record(FOREVER);
        new.resize(random.below(700) as usize + 8, random.below(256) as u8);
        let old = model.get(&key).map(|_| key.clone());
        let new = (random.below(3) > 0).then_some(new);
        match &new {
            Some(new) => model.insert(key.clone(), new.clone()),
            None => model.remove(&key),
        };
        changes.push((old, key, new));
    }
    disk.write(changes.iter().map(|(old, key, new)| Write {
        old: old.as_deref(),
        key,
        record: new.as_deref(),
    }))
}

#[test]
fn no_loss_of_power_at_any_point_loses_or_tears_a_write() {
    let path = std::env::temp_dir().join("noex-sim-power");
    let (mut whole, mut lost, mut late) = (0, 0, 0);
    for seed in 0..24 {
        let random = &mut Random::new(seed + 1);
        let disk = SimDisk::default();
        // A new file has its name only when this is done.
        drop(Disk::open(&path, disk.medium(), &expected(), None).unwrap());
        let mut image = disk.after_power_loss(random);
        let mut model = Model::new();
        for round in 0..60 {
            let disk = SimDisk::of(image, Some(random.below(120)));
            let mut next = model.clone();
            // Without power it may not even open.
            if let Ok(mut file) = Disk::open(&path, disk.medium(), &expected(), None) {
                assert_eq!(content(&file), model, "seed {seed}, round {round}");
                // Or it goes between two writes.
                for _ in 0..30 {
                    if change(random, &mut next, &mut file).is_err() {
                        break;
                    }
                    model = next.clone();
                    whole += 1;
                }
            }
            image = disk.after_power_loss(random);
            let again = SimDisk::of(image.clone(), None);
            let file = Disk::open(&path, again.medium(), &expected(), None);
            let found = content(&file.unwrap_or_else(|error| {
                panic!("seed {seed}, round {round}: {error:?}");
            }));
            // What failed may be there all the same, after a crash; but as a whole.
            if found == model {
                lost += 1;
            } else {
                assert_eq!(found, next, "seed {seed}, round {round}");
                late += 1;
                model = next;
            }
        }
    }
    assert!(
        whole > 1000 && lost > 500 && late > 10,
        "{whole} {lost} {late}"
    );
}

#[test]
fn after_a_write_that_failed_the_file_has_nothing_of_it_and_the_next_one_is_done() {
    let path = std::env::temp_dir().join("noex-sim-full");
    let disk = SimDisk::default();
    let mut file = Disk::open(&path, disk.medium(), &expected(), None).unwrap();
    let random = &mut Random::new(7);
    let mut model = Model::new();
    for _ in 0..40 {
        while model.len() < 20 {
            change(random, &mut model, &mut file).unwrap();
        }
        disk.0.lock().full = true;
        for _ in 0..3 {
            let mut next = model.clone();
            while next == model {
                next = model.clone();
                let failed = change(random, &mut next, &mut file);
                assert!(matches!(failed, Err(PersistError::Io { .. })), "{failed:?}");
            }
        }
        disk.0.lock().full = false;
        change(random, &mut model, &mut file).unwrap();
        assert_eq!(content(&file), model);
        let crashed = SimDisk::of(disk.after_power_loss(random), None);
        let copy = Disk::open(&path, crashed.medium(), &expected(), None).unwrap();
        assert_eq!(content(&copy), model);
    }
}

type Words = PersistentTable<String, u32>;

fn system() -> System {
    let system = System::builder().on_event(|_| {}).schedulers(2);
    system.build().expect("threads")
}

fn all(table: &Words) -> BTreeMap<String, u32> {
    table.table().to_list().expect("open").into_iter().collect()
}

#[test]
fn writers_are_told_of_a_full_disk_and_memory_is_as_the_file() {
    let system = system();
    let disk = SimDisk::default();
    let path = std::env::temp_dir().join("noex-sim-table");
    let builder = Words::builder(&path).medium(disk.medium());
    let table = builder.open(&system).wait().unwrap();
    table.insert("a".into(), 1).wait().unwrap();
    disk.0.lock().full = true;
    let writes = [
        table.insert("a".into(), 2),
        table.insert_many([("b".into(), 3), ("c".into(), 4)]),
        table.delete_all(),
    ];
    for write in writes {
        let failed = write.wait();
        assert!(matches!(failed, Err(PersistError::Io { .. })), "{failed:?}");
    }
    let update = table.update_counter("a".into(), |n| n, 1).wait();
    assert!(matches!(update, Err(PersistError::Io { .. })), "{update:?}");
    assert_eq!(all(&table), BTreeMap::from([("a".into(), 1)]));
    disk.0.lock().full = false;
    assert_eq!(
        table.update_counter("a".into(), |n| n, 1).wait().unwrap(),
        2
    );
    table.close().wait().unwrap();
    let again = builder.open(&system).wait().unwrap();
    assert_eq!(all(&again), BTreeMap::from([("a".into(), 2)]));
    again.close().wait().unwrap();
}

#[test]
fn after_a_sync_that_failed_no_write_is_accepted_until_the_table_is_opened_anew() {
    let system = system();
    let disk = SimDisk::default();
    let path = std::env::temp_dir().join("noex-sim-doubt");
    let builder = Words::builder(&path).medium(disk.medium());
    let table = builder.open(&system).wait().unwrap();
    table.insert("a".into(), 1).wait().unwrap();
    disk.0.lock().broken = true;
    let failed = table.insert("a".into(), 2).wait();
    assert!(matches!(failed, Err(PersistError::Io { .. })), "{failed:?}");
    disk.0.lock().broken = false;
    for _ in 0..3 {
        let refused = table.insert("b".into(), 3).wait();
        assert!(
            matches!(refused, Err(PersistError::InDoubt(_))),
            "{refused:?}"
        );
    }
    let refused = table.sync().wait();
    assert!(
        matches!(refused, Err(PersistError::InDoubt(_))),
        "{refused:?}"
    );
    // It can be read.
    assert_eq!(all(&table), BTreeMap::from([("a".into(), 1)]));
    let pid = table.pid().unwrap();
    system.exit(pid, crate::ExitReason::Kill);
    let _down = system.monitor(pid).wait();
    let again = builder.open(&system).wait().unwrap();
    // As the file has it.
    let found = all(&again);
    assert!(
        found == [("a".into(), 1)].into() || found == [("a".into(), 2)].into(),
        "{found:?}"
    );
    again.insert("b".into(), 4).wait().unwrap();
    again.close().wait().unwrap();
}

#[test]
fn with_an_interval_writers_are_refused_as_long_as_the_disk_is_full() {
    let (system, driver) = System::builder().on_event(|_| {}).virtual_clock().manual();
    let disk = SimDisk::default();
    let path = std::env::temp_dir().join("noex-sim-interval");
    let interval = Duration::from_secs(1);
    let builder = Words::builder(&path).medium(disk.medium());
    let builder = builder.durability(Durability::Interval(interval));
    let table = builder.open(&system).wait().unwrap();
    disk.0.lock().full = true;
    // Acknowledged, as nobody has tried yet.
    table.insert("a".into(), 1).wait().unwrap();
    driver.advance(interval);
    let refused = table.insert("b".into(), 2).wait();
    assert!(
        matches!(refused, Err(PersistError::Io { .. })),
        "{refused:?}"
    );
    let refused = table.close().wait();
    assert!(
        matches!(refused, Err(PersistError::Io { .. })),
        "{refused:?}"
    );
    assert!(table.is_alive());
    assert_eq!(all(&table), BTreeMap::from([("a".into(), 1)]));
    disk.0.lock().full = false;
    // It tries by itself.
    driver.advance(interval);
    table.insert("b".into(), 2).wait().unwrap();
    table.close().wait().unwrap();
    let again = builder.open(&system).wait().unwrap();
    assert_eq!(all(&again), [("a".into(), 1), ("b".into(), 2)].into());
    // Killed between two writes to the file, the process leaves what it has to be written.
    again.insert("c".into(), 3).wait().unwrap();
    system.exit(again.pid().unwrap(), crate::ExitReason::Kill);
    driver.run_until_idle();
    assert_eq!(again.lookup("c"), Err(TableError::Gone));
    let last = builder.open(&system).wait().unwrap();
    assert_eq!(last.lookup("c"), Ok(Some(3)));
    last.close().wait().unwrap();
}

#[test]
fn writers_share_a_sync() {
    let system = system();
    let disk = SimDisk::default();
    let path = std::env::temp_dir().join("noex-sim-group");
    let table = Words::builder(&path).medium(disk.medium());
    let table = table.open(&system).wait().unwrap();
    // While the first is held up, the others queue.
    let (open, gate) = crossbeam_channel::bounded::<()>(0);
    let first = table.update_or("gate".into(), 0, move |_| gate.recv().is_err());
    let rest: Vec<_> = (0..1000).map(|n| table.insert(n.to_string(), n)).collect();
    let before = disk.0.lock().syncs;
    drop(open);
    assert!(first.wait().unwrap());
    for write in rest {
        write.wait().unwrap();
    }
    let syncs = disk.0.lock().syncs - before;
    assert!(syncs < 10, "{syncs} syncs for 1001 writes");
    table.close().wait().unwrap();
}

#[test]
fn a_file_of_a_later_version_is_refused_and_says_which() {
    const ABOUT: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("about");
    let path = std::env::temp_dir().join("noex-sim-version");
    let open = |disk: &SimDisk| Disk::open(&path, disk.medium(), &expected(), None).map(drop);
    let disk = SimDisk::default();
    open(&disk).unwrap();
    let file = redb::Builder::new().create_with_backend(disk.clone());
    let file = file.unwrap();
    let transaction = file.begin_write().unwrap();
    let mut about = transaction.open_table(ABOUT).unwrap();
    about.insert("format", [2, 0].as_slice()).unwrap();
    drop(about);
    transaction.commit().unwrap();
    drop(file);
    let before = disk.0.lock().now.clone();
    let later = open(&disk).unwrap_err();
    assert!(matches!(later, PersistError::Version(2)), "{later:?}");
    assert!(later.to_string().contains("version 2"), "{later}");

    // And one of a later redb; both commits in its head say so.
    for version in [4, 200] {
        let mut image = before.clone();
        for at in [64, 192] {
            assert_eq!(image[at], 3, "where redb has it");
            image[at] = version;
        }
        let disk = SimDisk::of(image.clone(), None);
        let later = open(&disk).unwrap_err();
        assert!(
            matches!(later, PersistError::StoreVersion(found) if found == version),
            "{later:?}"
        );
        assert_eq!(disk.0.lock().now, image, "it was not touched");
    }
}

#[test]
fn what_the_dead_left_behind_is_finished_by_whoever_comes_first_and_once() {
    let system = system();
    let path = std::env::temp_dir().join(format!("noex-claim-{}", std::process::id()));
    let core = system.core();
    let dead = system.spawn(|_: crate::Inbox<()>| async {}).unwrap().pid();
    let _down = system.monitor(dead).wait();
    let left = |order: &Arc<Mutex<Vec<&'static str>>>, claim: Claim| {
        let order = order.clone();
        let path = claim.path().to_owned();
        let finish = move || {
            order.lock().push("finished");
            drop(claim);
        };
        claim::leave(&path, Box::new(finish));
        path
    };
    for first_is_the_next in [true, false] {
        let order = Arc::new(Mutex::new(Vec::new()));
        let claim = Claim::new(&path, core, dead).unwrap().unwrap();
        let next = {
            let (order, path, core) = (order.clone(), path.clone(), core.clone());
            move || {
                // That there is nothing yet it waits for.
                let claim = Claim::new(&path, &core, dead).unwrap().unwrap();
                order.lock().push("claimed");
                claim
            }
        };
        match first_is_the_next {
            true => {
                let next = std::thread::spawn(next);
                let name = left(&order, claim);
                let claim = next.join().unwrap();
                // Nothing is left of it, and the new claim stays.
                claim::finish(&name);
                assert_eq!(*order.lock(), ["finished", "claimed"]);
                drop(claim);
            }
            false => {
                claim::finish(&left(&order, claim));
                assert_eq!(*order.lock(), ["finished"]);
                drop(next());
            }
        }
    }
}
