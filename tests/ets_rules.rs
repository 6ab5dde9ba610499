//! Tables: what closures, and `Drop` of keys and values, may do with tables.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use noex::ets::{Bag, DuplicateBag, Expiry, Keeps, OrderedSet, Set, Unique};
use noex::{System, Table, TableError};
use support::{on_all, quiet, reports, until};

#[test]
fn a_closure_that_touches_its_own_table_gets_an_error() {
    on_all(|system| {
        let table: Table<u32, u32> = system.table(Table::builder()).unwrap();
        table.insert(1, 1).unwrap();
        let nested = Err(TableError::Nested);
        let inside = || {
            assert_eq!(table.lookup(&2), Err(TableError::Nested));
            assert_eq!(table.insert(2, 2), nested);
            assert_eq!(table.insert_many([(2, 2)]), nested);
            assert_eq!(table.update(&1, |_| ()), Err(TableError::Nested));
            assert_eq!(table.delete_all(), nested);
            assert_eq!(table.to_list(), Err(TableError::Nested));
            assert_eq!(table.delete_table(), nested);
            // What needs no lock of the objects goes on.
            assert!(table.is_alive());
            assert_eq!(table.len(), Ok(1));
        };
        table.read(&1, |_| inside()).unwrap();
        table.update(&1, |_| inside()).unwrap();
        table.update_or(1, 0, |_| inside()).unwrap();
        table
            .update_counter(
                &1,
                |n| {
                    inside();
                    n
                },
                0,
            )
            .unwrap();
        table.lookup_element(&1, |_| inside()).unwrap();
        table
            .select(|_, _| Some(inside).map(|inside| inside()))
            .unwrap();
        table
            .select_pages(1, |_, _| Some(inside).map(|inside| inside()))
            .next_page()
            .unwrap();
        table
            .select_delete(|_, _| {
                inside();
                false
            })
            .unwrap();
        table
            .select_replace(|_, _| {
                inside();
                None
            })
            .unwrap();
        table.foldl((), |(), _, _| inside()).unwrap();
        assert_eq!(table.to_list(), Ok(vec![(1, 1)]));
    });
}

#[test]
fn a_closure_may_touch_tables_that_were_made_later_and_no_others() {
    on_all(|system| {
        let early: Table<u32, u32> = system.table(Table::builder()).unwrap();
        let late: Table<u32, u32, OrderedSet> = system.table(Table::builder()).unwrap();
        early.insert(1, 1).unwrap();
        late.insert(1, 1).unwrap();
        let moved = early.update(&1, |n| late.insert(2, *n)).unwrap();
        assert_eq!(moved, Some(Ok(())));
        let refused = late.update(&1, |n| early.insert(2, *n)).unwrap();
        assert_eq!(refused, Some(Err(TableError::Nested)));
        let refused = late.foldl(Ok(None), |_, _, _| early.lookup(&1)).unwrap();
        assert_eq!(refused, Err(TableError::Nested));
        assert_eq!((early.len(), late.len()), (Ok(1), Ok(2)));
    });
}

#[test]
fn a_fixation_that_ends_inside_a_closure_is_over_all_the_same() {
    on_all(|system| {
        let table: Table<u32, u32> = system.table(Table::builder()).unwrap();
        table.insert_many([(1, 1), (2, 2)]).unwrap();
        let mut fixed = Some(table.fix().unwrap());
        table.delete(&2).unwrap();
        table.read(&1, |_| drop(fixed.take())).unwrap();
        assert!(table.info().unwrap().fixed.is_empty());
        drop(table.fix().unwrap());
        assert_eq!(table.next(&2), Err(TableError::BadKey));
    });
}

/// Says, when it is dropped, whether its table could be used then.
struct Tattler<Kind: noex::ets::TableKind>(Arc<Probe<Kind>>);

struct Probe<Kind: noex::ets::TableKind> {
    table: std::sync::OnceLock<Table<u32, Tattler<Kind>, Kind>>,
    tell: Sender<Result<bool, TableError>>,
    live: AtomicUsize,
}

impl<Kind: Probing> Clone for Tattler<Kind> {
    fn clone(&self) -> Self {
        Kind::tattler(&self.0)
    }
}

impl<Kind: noex::ets::TableKind> PartialEq for Tattler<Kind> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<Kind: noex::ets::TableKind> Drop for Tattler<Kind> {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, SeqCst);
        if let Some(table) = self.0.table.get() {
            let _told = self.0.tell.send(probe(table));
        }
    }
}

/// Uses a lock of the table, of whatever kind: `Drop` can have no further bounds.
fn probe<Kind: noex::ets::TableKind>(
    table: &Table<u32, Tattler<Kind>, Kind>,
) -> Result<bool, TableError> {
    let any: &dyn std::any::Any = table;
    if let Some(table) = any.downcast_ref::<Table<u32, Tattler<Set>, Set>>() {
        return table.member(&0);
    }
    if let Some(table) = any.downcast_ref::<Table<u32, Tattler<OrderedSet>, OrderedSet>>() {
        return table.member(&0);
    }
    if let Some(table) = any.downcast_ref::<Table<u32, Tattler<Bag>, Bag>>() {
        return table.member(&0);
    }
    let table = any.downcast_ref::<Table<u32, Tattler<DuplicateBag>, DuplicateBag>>();
    table.expect("there are four kinds").member(&0)
}

trait Probing: noex::ets::TableKind {
    fn tattler(probe: &Arc<Probe<Self>>) -> Tattler<Self>
    where
        Self: Sized,
    {
        probe.live.fetch_add(1, SeqCst);
        Tattler(probe.clone())
    }
}

impl<Kind: noex::ets::TableKind> Probing for Kind {}

struct Rig<Kind: noex::ets::TableKind> {
    table: Table<u32, Tattler<Kind>, Kind>,
    probe: Arc<Probe<Kind>>,
    told: Receiver<Result<bool, TableError>>,
}

impl<Kind: Keeps<u32, Tattler<Kind>>> Rig<Kind> {
    fn new(system: &System) -> Self {
        let table: Table<u32, Tattler<Kind>, Kind> = system.table(Table::builder()).unwrap();
        let (tell, told) = reports();
        let probe = Arc::new(Probe {
            table: std::sync::OnceLock::new(),
            tell,
            live: AtomicUsize::new(0),
        });
        probe.table.set(table.clone()).ok().unwrap();
        Rig { table, probe, told }
    }

    fn new_value(&self) -> Tattler<Kind> {
        Kind::tattler(&self.probe)
    }

    /// What is dropped in `run` is dropped where the table can be used; that it is at least one.
    fn dropped_freely(&self, what: &str, run: impl FnOnce()) {
        run();
        let mut dropped = 0;
        while let Ok(result) = self.told.try_recv() {
            dropped += 1;
            assert!(
                matches!(result, Ok(_) | Err(TableError::Gone)),
                "{what}: dropped under a lock"
            );
        }
        assert!(dropped > 0, "{what}: nothing was dropped");
    }

    fn objects(&self) -> Vec<(u32, Tattler<Kind>)> {
        (0..10).map(|key| (key, self.new_value())).collect()
    }
}

fn drops_freely<Kind>(system: &System)
where
    Kind: Keeps<u32, Tattler<Kind>> + noex::ets::Finds<u32, Tattler<Kind>, u32>,
{
    let rig = Rig::<Kind>::new(system);
    let table = &rig.table;
    let panics = |run: &dyn Fn()| {
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
    };
    table.insert(0, rig.new_value()).unwrap();
    rig.dropped_freely("insert_new", || {
        assert_eq!(table.insert_new(0, rig.new_value()), Ok(false));
    });
    rig.dropped_freely("delete", || assert_eq!(table.delete(&0), Ok(true)));
    rig.dropped_freely("insert_many, delete_all", || {
        table.insert_many(rig.objects()).unwrap();
        table.delete_all().unwrap();
    });
    rig.dropped_freely("insert_new_many", || {
        table.insert(5, rig.new_value()).unwrap();
        assert_eq!(table.insert_new_many(rig.objects()), Ok(false));
    });
    rig.dropped_freely("take", || drop(table.take(&5)));
    rig.dropped_freely("delete_object", || {
        table.insert(5, rig.new_value()).unwrap();
        table.delete_object(&5, &rig.new_value()).unwrap();
    });
    rig.dropped_freely("select_delete", || {
        table.insert_many(rig.objects()).unwrap();
        table.select_delete(|_, _| true).unwrap();
    });
    rig.dropped_freely("expiry", || {
        table
            .insert_with(1, rig.new_value(), Expiry::After(Duration::ZERO))
            .unwrap();
        table.insert(1, rig.new_value()).unwrap();
        table.delete(&1).unwrap();
    });
    table.insert_many(rig.objects()).unwrap();
    rig.dropped_freely("lookup that panics", || {
        panics(&|| {
            let _never: Result<Option<()>, _> = table.read(&1, |_| panic!("a look"));
        });
        table.delete(&1).unwrap();
    });
    rig.dropped_freely("select_delete that panics", || {
        let once = AtomicUsize::new(0);
        panics(&|| {
            let _never = table.select_delete(|_, _| match once.fetch_add(1, SeqCst) {
                3 => panic!("not that one"),
                _ => true,
            });
        });
    });
    let fixed = table.fix().unwrap();
    rig.dropped_freely("delete in a fixed table", || {
        table.insert(3, rig.new_value()).unwrap();
        table.delete(&3).unwrap();
        table.insert(3, rig.new_value()).unwrap();
        table.delete_all().unwrap();
    });
    drop(fixed);
    table.insert_many(rig.objects()).unwrap();
    rig.dropped_freely("delete_table", || table.delete_table().unwrap());
    assert_eq!(rig.probe.live.load(SeqCst), 0, "{:?}", Kind::TYPE);
    // The probe and its table hold each other.
}

fn updates_drop_freely<Kind>(system: &System)
where
    Kind: Unique<u32, Tattler<Kind>> + noex::ets::Finds<u32, Tattler<Kind>, u32>,
{
    let rig = Rig::<Kind>::new(system);
    let table = &rig.table;
    table.insert(0, rig.new_value()).unwrap();
    rig.dropped_freely("insert", || table.insert(0, rig.new_value()).unwrap());
    rig.dropped_freely("insert_many", || {
        table.insert_many([(0, rig.new_value())]).unwrap()
    });
    rig.dropped_freely("update", || {
        assert_eq!(table.update(&0, |_| ()), Ok(Some(())))
    });
    rig.dropped_freely("update_or", || {
        assert_eq!(table.update_or(0, rig.new_value(), |_| ()), Ok(()));
    });
    rig.dropped_freely("update_element", || {
        table
            .update_element(&0, |value| value, rig.new_value())
            .unwrap();
    });
    rig.dropped_freely("update_element of nothing", || {
        table
            .update_element(&1, |value| value, rig.new_value())
            .unwrap();
    });
    rig.dropped_freely("update that panics", || {
        let update = || {
            let _never: Result<Option<()>, _> = table.update(&0, |_| panic!("an update"));
        };
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(update)).is_err());
    });
    assert_eq!((table.len(), rig.probe.live.load(SeqCst)), (Ok(1), 1));
}

#[test]
fn nothing_is_dropped_under_a_lock() {
    on_all(|system| {
        drops_freely::<Set>(system);
        drops_freely::<OrderedSet>(system);
        drops_freely::<Bag>(system);
        drops_freely::<DuplicateBag>(system);
        updates_drop_freely::<Set>(system);
        updates_drop_freely::<OrderedSet>(system);
    });
}

#[test]
fn a_select_replace_drops_what_it_replaced_when_no_lock_is_held() {
    on_all(|system| {
        let rig = Rig::<DuplicateBag>::new(system);
        rig.table.insert_many(rig.objects()).unwrap();
        rig.table.insert_many(rig.objects()).unwrap();
        rig.dropped_freely("select_replace", || {
            let replaced = rig.table.select_replace(|_, value| Some(value.clone()));
            assert_eq!(replaced, Ok(20));
        });
        rig.dropped_freely("select_replace that panics", || {
            let count = AtomicUsize::new(0);
            let replace = || {
                let _never =
                    rig.table
                        .select_replace(|_, value| match count.fetch_add(1, SeqCst) {
                            5 => panic!("no replacement"),
                            _ => Some(value.clone()),
                        });
            };
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(replace)).is_err());
        });
        assert_eq!((rig.table.len(), rig.probe.live.load(SeqCst)), (Ok(20), 20));
    });
}

#[test]
fn keys_and_values_that_panic_leave_the_table_usable() {
    /// Panics when it is compared with, or hashed as, 13.
    #[derive(Clone, Debug)]
    struct Key(u32);
    impl PartialEq for Key {
        fn eq(&self, other: &Self) -> bool {
            assert!(self.0 != 13 && other.0 != 13, "unlucky");
            self.0 == other.0
        }
    }
    impl Eq for Key {}
    impl PartialOrd for Key {
        fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }
    impl Ord for Key {
        fn cmp(&self, other: &Self) -> std::cmp::Ordering {
            assert!(self.0 != 13 && other.0 != 13, "unlucky");
            self.0.cmp(&other.0)
        }
    }
    impl std::hash::Hash for Key {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            assert!(self.0 != 13, "unlucky");
            self.0.hash(state);
        }
    }
    fn panics(run: impl FnOnce()) {
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
    }
    fn is_usable<Kind: Keeps<Key, Key> + noex::ets::Finds<Key, Key, Key>>(system: &System) {
        let table: Table<Key, Key, Kind> = system.table(Table::builder()).unwrap();
        table
            .insert_many((0..10).map(|n| (Key(n), Key(n))))
            .unwrap();
        panics(|| assert!(table.insert(Key(13), Key(1)).is_err()));
        panics(|| drop(table.lookup(&Key(13))));
        panics(|| assert!(table.delete(&Key(13)).is_err()));
        panics(|| {
            let objects = [(Key(20), Key(1)), (Key(13), Key(1)), (Key(21), Key(1))];
            assert!(table.insert_many(objects).is_err());
        });
        panics(|| assert!(table.delete_object(&Key(1), &Key(13)).is_err()));
        assert_eq!(table.len(), Ok(10));
        table.insert(Key(10), Key(10)).unwrap();
        assert_eq!(table.len(), Ok(11));
        assert_eq!(table.member(&Key(20)), Ok(false));
    }
    on_all(|system| {
        is_usable::<Set>(system);
        is_usable::<OrderedSet>(system);
        is_usable::<Bag>(system);
        is_usable::<DuplicateBag>(system);
    });
}

#[test]
fn a_drop_that_panics_ends_neither_the_keeper_nor_a_dying_owner() {
    struct Bomb(bool, Arc<AtomicUsize>);
    impl Drop for Bomb {
        fn drop(&mut self) {
            self.1.fetch_add(1, SeqCst);
            assert!(!self.0, "boom");
        }
    }
    on_all(|system| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let bomb = |armed| Bomb(armed, dropped.clone());
        let table: Table<u32, Bomb> = system.table(Table::builder()).unwrap();
        let keeper = table.info().unwrap().owner.unwrap();
        // Many, so that the keeper drops them.
        table
            .insert_many((0..2_000).map(|n| (n, bomb(n % 5 == 0))))
            .unwrap();
        table.delete_table().unwrap();
        until(system, || dropped.load(SeqCst) == 2_000);
        let short: Table<u32, Bomb> = system.table(Table::builder()).unwrap();
        let expiry = Expiry::After(Duration::from_millis(5));
        for n in 0..3 {
            short.insert_with(n, bomb(true), expiry).unwrap();
        }
        until(system, || {
            short.len() == Ok(0) && dropped.load(SeqCst) == 2_003
        });
        assert!(system.is_alive(keeper));
        let (tell, told) = reports();
        let bombs = [bomb(true), bomb(false), bomb(true)];
        let owner = system.spawn(move |cx: noex::Inbox<()>| async move {
            let table: Table<u32, Bomb> = Table::new(&cx);
            table.insert_many((0..).zip(bombs)).unwrap();
            tell.send(table).unwrap();
        });
        let owned = support::next(system, &told);
        let reason = support::end_of(system, &owner.unwrap());
        assert_eq!(reason, noex::ExitReason::Normal);
        assert!(!owned.is_alive());
        assert_eq!(dropped.load(SeqCst), 2_006);
    });
}

#[test]
fn two_tables_that_are_used_from_inside_each_other_do_not_deadlock() {
    let system = quiet().schedulers(1).build().unwrap();
    let one: Table<u32, u32> = system.table(Table::builder()).unwrap();
    let two: Table<u32, u32> = system.table(Table::builder()).unwrap();
    let (ones, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for n in 0..2_000 {
                    let inside = one.update_or(n % 8, 0, |_| two.insert(n % 8, n)).unwrap();
                    assert_eq!(inside, Ok(()));
                    ones.fetch_add(1, SeqCst);
                }
            });
            scope.spawn(|| {
                for n in 0..2_000 {
                    let inside = two.update_or(n % 8, 0, |_| one.insert(n % 8, n)).unwrap();
                    assert_eq!(inside, Err(TableError::Nested));
                    refused.fetch_add(1, SeqCst);
                }
            });
        }
    });
    assert_eq!((ones.into_inner(), refused.into_inner()), (4_000, 4_000));
}
