//! Tables beside a plain model, through random operations: what OTP's `ets` does not have and so
//! cannot check (tests/ets_otp.rs): objects that expire, in virtual time, and ranges.

mod support;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Bound;
use std::time::Duration;

use noex::ets::{Bag, DuplicateBag, Expiry, Finds, OrderedSet, Set, TableType};
use noex::{System, Table};

/// Sequences of a run for each kind, and operations of each.
const SEQUENCES: u64 = 150;
const OPERATIONS: usize = 300;
const SECOND: Duration = Duration::from_secs(1);

struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Dice((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) % sides
    }
}

/// The objects of each key, and when they expire, in seconds; `u64::MAX`: never.
struct Model {
    kind: TableType,
    ttl: Option<u64>,
    now: u64,
    all: BTreeMap<u64, (Vec<u64>, u64)>,
}

impl Model {
    fn expires(&self, expiry: Expiry) -> u64 {
        let after = |seconds| self.now + seconds;
        match expiry {
            Expiry::Default => self.ttl.map_or(u64::MAX, after),
            Expiry::After(time) => after(time.as_secs()),
            _ => u64::MAX,
        }
    }

    fn tidy(&mut self) {
        let now = self.now;
        self.all.retain(|_, (_, expires)| *expires > now);
    }

    fn is_set(&self) -> bool {
        matches!(self.kind, TableType::Set | TableType::OrderedSet)
    }

    fn insert(&mut self, key: u64, value: u64, expiry: Expiry) {
        let expires = self.expires(expiry);
        let (set, bag) = (self.is_set(), self.kind == TableType::Bag);
        let (values, until) = self.all.entry(key).or_insert_with(|| (Vec::new(), expires));
        *until = expires;
        if set {
            values.clear();
        }
        if !bag || !values.contains(&value) {
            values.push(value);
        }
        if expires <= self.now {
            self.all.remove(&key);
        }
    }

    fn values(&self, key: u64) -> Vec<u64> {
        self.all.get(&key).map_or(Vec::new(), |it| it.0.clone())
    }

    fn list(&self) -> Vec<(u64, u64)> {
        let all = self.all.iter();
        all.flat_map(|(key, (values, _))| values.iter().map(|value| (*key, *value)))
            .collect()
    }

    /// Removes the objects that are wanted; how many that were.
    fn remove(&mut self, wanted: impl Fn(u64, u64) -> bool) -> usize {
        let before = self.list().len();
        for (key, (values, _)) in &mut self.all {
            values.retain(|value| !wanted(*key, *value));
        }
        self.all.retain(|_, (values, _)| !values.is_empty());
        before - self.list().len()
    }
}

/// What a look-up found, as a list.
trait Found {
    fn values(self) -> Vec<u64>;
}
impl Found for Option<u64> {
    fn values(self) -> Vec<u64> {
        self.into_iter().collect()
    }
}
impl Found for Vec<u64> {
    fn values(self) -> Vec<u64> {
        self
    }
}

fn bound(dice: &mut Dice, keys: u64) -> Bound<u64> {
    match dice.roll(3) {
        0 => Bound::Unbounded,
        1 => Bound::Included(dice.roll(keys)),
        _ => Bound::Excluded(dice.roll(keys)),
    }
}

fn expiry(dice: &mut Dice) -> Expiry {
    match dice.roll(5) {
        0 | 1 => Expiry::Default,
        2 => Expiry::Never,
        _ => Expiry::After(SECOND * dice.roll(6) as u32),
    }
}

/// One table and its model.
struct Pair<Kind: Finds<u64, u64, u64>> {
    table: Table<u64, u64, Kind>,
    model: Model,
}

impl<Kind> Pair<Kind>
where
    Kind: Finds<u64, u64, u64>,
    Kind::Found<u64>: Found,
{
    fn new(system: &System, dice: &mut Dice) -> Self {
        let ttl = (dice.roll(2) == 0).then(|| 1 + dice.roll(8));
        let mut builder = Table::builder();
        if let Some(ttl) = ttl {
            builder = builder.ttl(SECOND * ttl as u32);
        }
        if dice.roll(2) == 0 {
            builder = builder.sweep_every(SECOND * dice.roll(20) as u32);
        }
        Pair {
            table: system.table(builder).unwrap(),
            model: Model {
                kind: Kind::TYPE,
                ttl,
                now: 0,
                all: BTreeMap::new(),
            },
        }
    }

    /// Does one thing to both; what it was, and whether they agree.
    fn step(&mut self, dice: &mut Dice, keys: u64) -> String {
        let (table, model) = (&self.table, &mut self.model);
        let (key, value) = (dice.roll(keys), dice.roll(4));
        let (what, theirs, ours) = match dice.roll(20) {
            0..=4 => {
                let expiry = expiry(dice);
                table.insert_with(key, value, expiry).unwrap();
                model.insert(key, value, expiry);
                return format!("insert {key} {value} {expiry:?}");
            }
            5 => {
                let expiry = expiry(dice);
                let new = model.values(key).is_empty();
                if new {
                    model.insert(key, value, expiry);
                }
                let inserted = table.insert_new_with(key, value, expiry).unwrap();
                same("insert_new", key, inserted, new)
            }
            6 | 7 => {
                let expiry = expiry(dice);
                let some: Vec<_> = (0..dice.roll(6))
                    .map(|_| (dice.roll(keys), dice.roll(4)))
                    .collect();
                let only_new = dice.roll(2) == 0;
                let fits = !only_new || some.iter().all(|(key, _)| model.values(*key).is_empty());
                if fits {
                    for (key, value) in &some {
                        model.insert(*key, *value, expiry);
                    }
                }
                let what = format!("insert_many {some:?} {expiry:?}, new: {only_new}");
                let done = match only_new {
                    true => table.insert_new_many_with(some, expiry).unwrap(),
                    false => table.insert_many_with(some, expiry).map(|()| true).unwrap(),
                };
                same(&what, key, done, fits)
            }
            8 => {
                let expiry = expiry(dice);
                let there = !model.values(key).is_empty();
                let expires = model.expires(expiry);
                if let Some((_, until)) = model.all.get_mut(&key) {
                    *until = expires;
                }
                model.tidy();
                same("expire", key, table.expire(&key, expiry).unwrap(), there)
            }
            9 => {
                let there = model.remove(|at, _| at == key) > 0;
                same("delete", key, table.delete(&key).unwrap(), there)
            }
            10 => {
                let count = model.remove(|at, it| at == key && it == value);
                let deleted = table.delete_object(&key, &value).unwrap();
                same("delete_object", key, deleted, count)
            }
            11 => {
                let taken = model.values(key);
                model.remove(|at, _| at == key);
                same("take", key, table.take(&key).unwrap().values(), taken)
            }
            12 => {
                let count = model.remove(|_, it| it == value);
                let deleted = table.select_delete(|_, it| *it == value).unwrap();
                same("select_delete", value, deleted, count)
            }
            13 => {
                let wanted = |of: &Vec<(u64, u64)>| of.iter().filter(|it| it.1 == value).count();
                let count = table.select_count(|_, it| *it == value).unwrap();
                same("select_count", value, count, wanted(&model.list()))
            }
            14 => {
                let mut walked = Vec::new();
                let mut at = table.first().unwrap();
                while let Some(key) = at {
                    walked.push(key);
                    at = table.next(&key).unwrap();
                }
                if Kind::TYPE != TableType::OrderedSet {
                    walked.sort();
                }
                let keys: Vec<u64> = model.all.keys().copied().collect();
                same("walk", 0, walked, keys)
            }
            15 => {
                let mut list = table.to_list().unwrap();
                if Kind::TYPE != TableType::OrderedSet {
                    // The order within a key is kept.
                    list.sort_by_key(|it| it.0);
                }
                same("to_list", 0, list, model.list())
            }
            _ => same(
                "lookup",
                key,
                table.lookup(&key).unwrap().values(),
                model.values(key),
            ),
        };
        assert_eq!(theirs, ours, "{what}");
        what
    }

    fn pass(&mut self, seconds: u64) -> String {
        self.model.now += seconds;
        self.model.tidy();
        format!("{seconds} s")
    }
}

/// What was done, and both answers.
fn same<T: Debug>(what: &str, of: u64, theirs: T, ours: T) -> (String, String, String) {
    (
        format!("{what} {of}"),
        format!("{theirs:?}"),
        format!("{ours:?}"),
    )
}

fn beside_a_model<Kind>(more: impl Fn(&mut Pair<Kind>, &mut Dice, u64))
where
    Kind: Finds<u64, u64, u64>,
    Kind::Found<u64>: Found,
{
    let (system, driver) = support::quiet().virtual_clock().manual();
    for seed in 0..SEQUENCES {
        let mut dice = Dice::new(seed);
        // Most tables are small, so that keys meet. Some have many parts.
        let keys = if seed % 10 == 9 { 2000 } else { 6 };
        let mut pair = Pair::<Kind>::new(&system, &mut dice);
        if keys > 100 {
            let many = (0..keys).map(|key| (key, key % 4));
            many.clone()
                .for_each(|(key, value)| pair.model.insert(key, value, Expiry::Default));
            pair.table.insert_many(many).unwrap();
        }
        let mut done = Vec::new();
        for _ in 0..OPERATIONS {
            // A failure is printed with what came before.
            let before = Told(&mut done);
            match dice.roll(10) {
                0 => {
                    let seconds = dice.roll(4);
                    driver.advance(SECOND * seconds as u32);
                    before.0.push(pair.pass(seconds));
                    if dice.roll(2) == 0 {
                        driver.run_until_idle();
                    }
                }
                1 => more(&mut pair, &mut dice, keys),
                _ => before.0.push(pair.step(&mut dice, keys)),
            }
        }
        // Once all is swept, only what is there is counted.
        driver.advance(SECOND * 60);
        driver.run_until_idle();
        pair.pass(60);
        assert_eq!(
            pair.table.len().unwrap(),
            pair.model.list().len(),
            "seed {seed}"
        );
        pair.table.delete_table().unwrap();
    }
}

/// Prints what was done, if it ends by a panic.
struct Told<'a>(&'a mut Vec<String>);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("after {:#?}", self.0);
        }
    }
}

#[test]
fn sets_do_what_a_model_does() {
    beside_a_model::<Set>(changes);
}

#[test]
fn ordered_sets_do_what_a_model_does() {
    beside_a_model::<OrderedSet>(|pair, dice, keys| {
        if dice.roll(3) == 0 {
            return changes(pair, dice, keys);
        }
        let bounds = (bound(dice, keys), bound(dice, keys));
        let mut expected = pair.model.list();
        expected.retain(|(key, _)| std::ops::RangeBounds::contains(&bounds, key));
        assert_eq!(pair.table.range(bounds).unwrap(), expected, "{bounds:?}");
        expected.reverse();
        assert_eq!(
            pair.table.range_back(bounds).unwrap(),
            expected,
            "{bounds:?}"
        );
        let key = dice.roll(keys);
        let all = &pair.model.all;
        let next = all.range((Bound::Excluded(key), Bound::Unbounded)).next();
        assert_eq!(pair.table.next(&key).unwrap(), next.map(|(key, _)| *key));
        let prev = all.range(..key).next_back();
        assert_eq!(pair.table.prev(&key).unwrap(), prev.map(|(key, _)| *key));
        let last = all.last_key_value();
        assert_eq!(pair.table.last().unwrap(), last.map(|(key, _)| *key));
    });
}

#[test]
fn bags_do_what_a_model_does() {
    beside_a_model::<Bag>(|_, _, _| {});
}

#[test]
fn duplicate_bags_do_what_a_model_does() {
    beside_a_model::<DuplicateBag>(|_, _, _| {});
}

/// An update leaves the time alone; one with a default gives what it begins the table's.
fn changes<Kind>(pair: &mut Pair<Kind>, dice: &mut Dice, keys: u64)
where
    Kind: Finds<u64, u64, u64> + noex::ets::Unique<u64, u64>,
    Kind::Found<u64>: Found,
{
    let (table, model) = (&pair.table, &mut pair.model);
    let key = dice.roll(keys);
    if dice.roll(2) == 0 {
        let there = model.all.get_mut(&key).map(|(values, _)| {
            values[0] += 1;
            values[0]
        });
        let updated = table.update(&key, |value| {
            *value += 1;
            *value
        });
        assert_eq!(updated, Ok(there));
    } else {
        let expires = model.expires(Expiry::Default);
        let (values, _) = model.all.entry(key).or_insert((vec![7], expires));
        values[0] += 2;
        let sum = table.update_counter_or(key, 7, |value| value, 2);
        assert_eq!(sum, Ok(values[0]));
    }
}
