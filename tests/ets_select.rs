//! Tables: going through all objects, by closures and by keys, also while others write.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use noex::ets::{Bag, DuplicateBag, Fixed, Keeps, OrderedSet, Set};
use noex::{System, Table, TableError};
use support::{on_all, quiet};

fn squares<Kind: Keeps<u32, u32>>(system: &System, n: u32) -> Table<u32, u32, Kind> {
    let table = system.table(Table::builder()).unwrap();
    table.insert_many((0..n).map(|n| (n, n * n))).unwrap();
    table
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list
}

#[test]
fn select_makes_something_of_what_is_wanted() {
    fn selects<Kind: Keeps<u32, u32>>(system: &System) {
        let table = squares::<Kind>(system, 1_000);
        let found = table.select(|key, square| (key % 100 == 3).then_some(square + key));
        assert_eq!(sorted(found.unwrap()).len(), 10);
        assert_eq!(table.select_count(|key, _| *key < 7), Ok(7));
        let objects = table.match_object(|key, _| *key < 3).unwrap();
        assert_eq!(sorted(objects), [(0, 0), (1, 1), (2, 4)]);
        assert_eq!(table.to_list().unwrap().len(), 1_000);
    }
    on_all(|system| {
        selects::<Set>(system);
        selects::<OrderedSet>(system);
        selects::<Bag>(system);
        selects::<DuplicateBag>(system);
    });
}

#[test]
fn an_ordered_set_is_gone_through_in_order() {
    on_all(|system| {
        let table = squares::<OrderedSet>(system, 1_000);
        let keys: Vec<u32> = table.select(|key, _| Some(*key)).unwrap();
        assert_eq!(keys, (0..1_000).collect::<Vec<_>>());
        let push = |mut list: Vec<u32>, key: &u32, _: &u32| {
            list.push(*key);
            list
        };
        assert_eq!(table.foldl(vec![], push), Ok(keys.clone()));
        let back: Vec<u32> = keys.into_iter().rev().collect();
        assert_eq!(table.foldr(vec![], push), Ok(back));
    });
}

#[test]
fn a_fold_meets_every_object_once() {
    on_all(|system| {
        let bag: Table<u32, u32, DuplicateBag> = system.table(Table::builder()).unwrap();
        bag.insert_many((0..900).map(|n| (n % 300, n / 600)))
            .unwrap();
        assert_eq!(
            bag.foldl(0, |sum, key, n| sum + key + n),
            Ok(3 * 44_850 + 300)
        );
        assert_eq!(bag.foldr(0, |count, _, _| count + 1), Ok(900));
        let stopped = bag.visit(|key, _| match key {
            7 => ControlFlow::Break(*key),
            _ => ControlFlow::Continue(()),
        });
        assert_eq!(stopped, Ok(ControlFlow::Break(7)));
    });
}

#[test]
fn pages_are_full_but_the_last_and_together_all() {
    fn pages<Kind: Keeps<u32, u32>>(system: &System, total: u32) {
        let table = squares::<Kind>(system, total);
        for limit in [1, 7, 1_000, usize::MAX] {
            let pages = table.select_pages(limit, |key, _| Some(*key));
            let pages: Vec<Vec<u32>> = pages.collect::<Result<_, _>>().unwrap();
            let full = pages.iter().rev().skip(1).all(|page| page.len() == limit);
            assert!(full && pages.iter().all(|page| !page.is_empty()));
            let all = sorted(pages.concat());
            assert_eq!(all, (0..total).collect::<Vec<_>>());
        }
    }
    on_all(|system| {
        for total in [0, 1, 14, 300] {
            pages::<Set>(system, total);
            pages::<OrderedSet>(system, total);
        }
        // The objects of one key may come in different pages.
        let bag: Table<u32, u32, Bag> = system.table(Table::builder()).unwrap();
        bag.insert_many((0..20).map(|n| (1, n))).unwrap();
        let mut pages = bag.select_pages(8, |_, n| Some(*n));
        assert_eq!(pages.next_page(), Ok(Some((0..8).collect())));
        assert_eq!(pages.next_page(), Ok(Some((8..16).collect())));
        assert_eq!(pages.next_page(), Ok(Some((16..20).collect())));
        assert_eq!((pages.next_page(), pages.next_page()), (Ok(None), Ok(None)));
        // A limit of nothing would never end.
        assert_eq!(bag.select_pages(0, |_, n| Some(*n)).count(), 20);
    });
}

#[test]
fn select_delete_deletes_what_is_wanted() {
    on_all(|system| {
        let set = squares::<Set>(system, 5_000);
        let ordered = squares::<OrderedSet>(system, 5_000);
        assert_eq!(set.select_delete(|key, _| key % 5 != 0), Ok(4_000));
        assert_eq!(ordered.select_delete(|key, _| key % 5 != 0), Ok(4_000));
        let left: Vec<u32> = (0..1_000).map(|n| n * 5).collect();
        assert_eq!(sorted(set.select(|key, _| Some(*key)).unwrap()), left);
        assert_eq!(ordered.select(|key, _| Some(*key)), Ok(left));
        let bag: Table<u32, u32, Bag> = system.table(Table::builder()).unwrap();
        bag.insert_many((0..3_000).map(|n| (n % 3, n))).unwrap();
        assert_eq!(
            bag.select_delete(|key, n| *key == 0 || n % 2 == 0),
            Ok(2_000)
        );
        assert_eq!((bag.len(), bag.member(&0)), (Ok(1_000), Ok(false)));
        assert_eq!(bag.lookup(&1).unwrap()[..3], [1, 7, 13]);
        assert_eq!(bag.select_delete(|_, _| true), Ok(1_000));
        assert_eq!(bag.is_empty(), Ok(true));
    });
}

#[test]
fn select_replace_replaces_values() {
    on_all(|system| {
        let set = squares::<Set>(system, 3_000);
        let ordered = squares::<OrderedSet>(system, 3_000);
        let double = |key: &u32, _: &u32| (key % 3 == 0).then_some(key * 2);
        assert_eq!(set.select_replace(double), Ok(1_000));
        assert_eq!(ordered.select_replace(double), Ok(1_000));
        assert_eq!(
            (set.lookup(&9), set.lookup(&10)),
            (Ok(Some(18)), Ok(Some(100)))
        );
        assert_eq!(ordered.lookup(&2_997), Ok(Some(5_994)));
        let bag: Table<u32, u32, DuplicateBag> = system.table(Table::builder()).unwrap();
        bag.insert_many([(1, 1), (1, 2), (1, 1)]).unwrap();
        assert_eq!(bag.select_replace(|_, n| (*n == 1).then_some(7)), Ok(2));
        assert_eq!(bag.lookup(&1), Ok(vec![7, 2, 7]));
    });
}

#[test]
fn keys_follow_each_other() {
    fn walks<Kind: noex::ets::Finds<u32, u32, u32>>(system: &System) {
        let table = squares::<Kind>(system, 500);
        let mut met = BTreeSet::new();
        let mut key = table.first().unwrap();
        while let Some(at) = key {
            assert!(met.insert(at));
            key = table.next(&at).unwrap();
        }
        assert_eq!(met.len(), 500);
        let mut key = table.last().unwrap();
        while let Some(at) = key {
            assert!(met.remove(&at));
            key = table.prev(&at).unwrap();
        }
        assert!(met.is_empty());
        let empty = squares::<Kind>(system, 0);
        assert_eq!((empty.first(), empty.last()), (Ok(None), Ok(None)));
    }
    on_all(|system| {
        walks::<Set>(system);
        walks::<OrderedSet>(system);
        walks::<Bag>(system);
        walks::<DuplicateBag>(system);
    });
}

#[test]
fn an_absent_key_has_neighbours_where_there_is_an_order() {
    on_all(|system| {
        let ordered: Table<u32, (), OrderedSet> = system.table(Table::builder()).unwrap();
        ordered.insert_many([1, 3, 5].map(|key| (key, ()))).unwrap();
        assert_eq!(
            (ordered.next(&2), ordered.prev(&2)),
            (Ok(Some(3)), Ok(Some(1)))
        );
        assert_eq!(
            (ordered.next(&0), ordered.prev(&0)),
            (Ok(Some(1)), Ok(None))
        );
        assert_eq!(
            (ordered.next(&9), ordered.prev(&9)),
            (Ok(None), Ok(Some(5)))
        );
        assert_eq!(
            (ordered.first(), ordered.last()),
            (Ok(Some(1)), Ok(Some(5)))
        );
        let set = squares::<Set>(system, 3);
        let bad = Err(TableError::BadKey);
        assert_eq!((set.next(&7), set.prev(&7)), (bad, bad));
        set.delete(&1).unwrap();
        assert_eq!(set.next(&1), bad);
    });
}

#[test]
fn a_fixed_table_can_be_walked_while_it_is_deleted() {
    on_all(|system| {
        let set = squares::<Set>(system, 500);
        let fixed: Fixed = set.fix().unwrap();
        assert_eq!(set.info().unwrap().fixed, [(None, 1)]);
        let mut met = BTreeSet::new();
        let mut key = set.first().unwrap();
        while let Some(at) = key {
            assert!(met.insert(at));
            set.delete(&at).unwrap();
            key = set.next(&at).unwrap();
        }
        assert_eq!((met.len(), set.len()), (500, Ok(0)));
        assert!(set.next(&3).is_ok());
        // A key that is put back is the same place.
        set.insert(3, 9).unwrap();
        assert_eq!(set.to_list(), Ok(vec![(3, 9)]));
        let again = set.fix().unwrap();
        drop(fixed);
        assert_eq!(set.info().unwrap().fixed, [(None, 1)]);
        assert!(set.next(&4).is_ok());
        drop(again);
        assert!(set.info().unwrap().fixed.is_empty());
        assert_eq!(set.next(&4), Err(TableError::BadKey));
        assert_eq!(set.next(&3), Ok(None));
    });
}

#[test]
fn a_fixation_ends_with_the_process_that_made_it() {
    use noex::{ExitReason, Inbox};
    use support::{DEADLINE, next, reports};
    on_all(|system| {
        let set = squares::<Set>(system, 10);
        let (tell, told) = reports();
        let copy = set.clone();
        let fixer = system.spawn(move |mut cx: Inbox<()>| async move {
            let twice = (copy.fix().unwrap(), copy.fix().unwrap());
            // One of them lives on elsewhere.
            tell.send(twice.0).unwrap();
            cx.recv().await;
        });
        let fixer = fixer.unwrap().pid();
        let moved = next(system, &told);
        assert_eq!(set.info().unwrap().fixed, [(Some(fixer), 2)]);
        set.delete(&1).unwrap();
        assert!(set.next(&1).is_ok());
        let end = system.monitor(fixer);
        system.exit(fixer, ExitReason::Kill);
        end.wait_timeout(DEADLINE).unwrap();
        assert!(set.info().unwrap().fixed.is_empty());
        assert_eq!(set.next(&1), Err(TableError::BadKey));
        drop(moved);
        assert!(set.info().unwrap().fixed.is_empty());
    });
}

#[test]
fn ranges_are_those_of_std() {
    on_all(|system| {
        let table: Table<u32, u32, OrderedSet> = system.table(Table::builder()).unwrap();
        let map: BTreeMap<u32, u32> = (0..400).map(|n| (n * 3, n)).collect();
        table.insert_many(map.clone()).unwrap();
        let bounds = [
            Bound::Unbounded,
            Bound::Included(30),
            Bound::Excluded(30),
            Bound::Included(1_000),
            Bound::Excluded(31),
        ];
        for from in bounds {
            for to in bounds {
                let wrong = matches!(
                    (from, to),
                    (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b))
                        if a > b || (a == b && !matches!((from, to), (Bound::Included(_), Bound::Included(_))))
                );
                let mut expected: Vec<(u32, u32)> = match wrong {
                    // Where std panics.
                    true => Vec::new(),
                    false => map.range((from, to)).map(|(k, v)| (*k, *v)).collect(),
                };
                assert_eq!(table.range((from, to)), Ok(expected.clone()));
                expected.reverse();
                assert_eq!(table.range_back((from, to)), Ok(expected));
            }
        }
        assert_eq!(table.range(..4), Ok(vec![(0, 0), (3, 1)]));
        let third = |seen: &mut u32| {
            *seen += 1;
            *seen == 3
        };
        let mut seen = 0;
        let up = table.visit_range(100.., |key, _| match third(&mut seen) {
            true => ControlFlow::Break(*key),
            false => ControlFlow::Continue(()),
        });
        let mut seen = 0;
        let down = table.visit_range_back(..100, |key, _| match third(&mut seen) {
            true => ControlFlow::Break(*key),
            false => ControlFlow::Continue(()),
        });
        assert_eq!(
            (up, down),
            (Ok(ControlFlow::Break(108)), Ok(ControlFlow::Break(93)))
        );
    });
}

/// Lets the writers end, also when the test fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(false, SeqCst);
    }
}

/// Keys below 1000 stay; others come and go while `look` goes through the table, again and again.
fn under_writes<Kind>(look: impl Fn(&Table<u32, u32, Kind>) -> Vec<u32>)
where
    Kind: Keeps<u32, u32> + noex::ets::Finds<u32, u32, u32>,
{
    let system = quiet().schedulers(1).build().unwrap();
    let table = squares::<Kind>(&system, 1_000);
    let looking = AtomicBool::new(true);
    std::thread::scope(|scope| {
        for part in 0..2 {
            let (table, looking) = (&table, &looking);
            scope.spawn(move || {
                let mut round = 0;
                while looking.load(SeqCst) {
                    for key in (1_000..1_600).filter(|key| key % 2 == part) {
                        match round % 2 {
                            0 => table.insert(key, 0).unwrap(),
                            _ => drop(table.delete(&key).unwrap()),
                        }
                    }
                    round += 1;
                }
            });
        }
        let done = Done(&looking);
        for _ in 0..30 {
            // One that is deleted and put back may be met twice.
            let keys = look(&table).into_iter().filter(|key| *key < 1_000);
            let keys = sorted(keys.collect());
            assert_eq!(keys, (0..1_000).collect::<Vec<_>>());
        }
        drop(done);
    });
}

#[test]
fn whatever_is_there_throughout_is_met_once() {
    under_writes::<Set>(|table| table.select(|key, _| Some(*key)).unwrap());
    under_writes::<OrderedSet>(|table| table.select(|key, _| Some(*key)).unwrap());
    under_writes::<OrderedSet>(|table| {
        table
            .range_back(..)
            .unwrap()
            .into_iter()
            .map(|it| it.0)
            .collect()
    });
}

#[test]
fn whatever_is_there_throughout_is_met_once_by_pages() {
    fn pages<Kind: Keeps<u32, u32>>(table: &Table<u32, u32, Kind>) -> Vec<u32> {
        let pages = table.select_pages(37, |key, _| Some(*key));
        pages.collect::<Result<Vec<_>, _>>().unwrap().concat()
    }
    under_writes::<Set>(pages);
    under_writes::<OrderedSet>(pages);
}

#[test]
fn whatever_is_there_throughout_is_met_once_by_next_in_a_fixed_table() {
    fn walk<Kind: noex::ets::Finds<u32, u32, u32>>(table: &Table<u32, u32, Kind>) -> Vec<u32> {
        let _fixed = table.fix().unwrap();
        let mut keys = Vec::new();
        let mut key = table.first().unwrap();
        while let Some(at) = key {
            keys.push(at);
            key = table.next(&at).unwrap();
        }
        keys
    }
    under_writes::<Set>(walk);
    under_writes::<OrderedSet>(walk);
}
