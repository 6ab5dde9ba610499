//! Models of [`process::table`](crate::process::table), with tables of one slot or two.
//!
//! The cells lie in an array that outlives the model, and a freed one is marked, so that a use after
//! free is a failed assertion. The mark is written, and the body read, through loom's `UnsafeCell`:
//! an access that is not ordered after or before it fails too.

use std::ptr::NonNull;

use loom::sync::Arc;
use loom::thread;

use crate::process::table::{Counted, Table};
use crate::sync::UnsafeCell;
use crate::sync::atomic::AtomicUsize;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};

const UNBORN: u32 = 0;
const FREED: u32 = u32::MAX;

/// A cell whose body is the generation that its pid has.
struct Cell {
    references: AtomicUsize,
    body: UnsafeCell<u32>,
}

impl Cell {
    fn body(&self) -> u32 {
        // SAFETY: loom checks that no write races.
        self.body.with(|body| unsafe { *body })
    }

    fn set_body(&self, value: u32) -> u32 {
        // SAFETY: loom checks that no access races.
        self.body.with_mut(|body| unsafe { body.replace(value) })
    }

    fn is_freed(&self) -> bool {
        self.references.load(Relaxed) == 0 && self.body() == FREED
    }
}

// SAFETY: it counts as `Arc` does; the memory outlives every use.
unsafe impl Counted for Cell {
    unsafe fn retain(this: NonNull<Self>) {
        // SAFETY: the cells outlive the model's threads.
        let before = unsafe { this.as_ref() }.references.fetch_add(1, Relaxed);
        assert_ne!(before, 0, "a freed cell is retained");
    }

    unsafe fn release(this: NonNull<Self>) {
        // SAFETY: the cells outlive the model's threads.
        let cell = unsafe { this.as_ref() };
        let before = cell.references.fetch_sub(1, Release);
        assert_ne!(before, 0, "released once too often");
        if before == 1 {
            cell.references.load(Acquire);
            assert_ne!(cell.set_body(FREED), FREED, "freed once");
        }
    }
}

/// A table and the cells of the processes in it: the first one's, the next one's.
struct World {
    table: Table<Cell>,
    cells: std::sync::Arc<[Cell; 2]>,
}

// SAFETY: loom checks each access to a body.
unsafe impl Sync for World {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for World {}

impl World {
    fn new(limit: u32) -> Arc<World> {
        let cell = || Cell {
            references: AtomicUsize::new(1),
            body: UnsafeCell::new(UNBORN),
        };
        Arc::new(World {
            table: Table::with_limit(limit),
            cells: [cell(), cell()].into(),
        })
    }

    /// Reserves a slot and publishes a cell there.
    fn spawn(&self, cell: usize, cache: &mut Vec<u32>) -> Option<(u32, u32)> {
        let (id, generation) = self.table.reserve(cache)?;
        let cell = &self.cells[cell];
        cell.set_body(generation);
        // SAFETY: just reserved; the cell's one reference goes to the table.
        unsafe { self.table.publish(id, generation, NonNull::from(cell)) };
        Some((id, generation))
    }

    /// Looks a process up, checks that it is the one asked for, and lets it go.
    fn visit(&self, id: u32, generation: u32) -> bool {
        let Some(cell) = self.table.lookup(id, generation) else {
            return false;
        };
        // SAFETY: `lookup` gave a reference, given up after the read.
        unsafe {
            assert_eq!(
                cell.as_ref().body(),
                generation,
                "neither freed nor foreign"
            );
            Cell::release(cell);
        }
        true
    }

    /// Reads each process under a pin alone.
    fn visit_all(&self) {
        self.table.for_each_live(|_, generation, cell| {
            // SAFETY: pinned.
            let body = unsafe { cell.as_ref() }.body();
            assert_eq!(body, generation, "neither freed nor foreign");
        });
    }
}

/// Three threads, of which loom takes the processor from one that could go on at most three times:
/// without that bound such a model passes too, but takes minutes.
fn model_of_three(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// Invariants 4 and 6. The pid is known before there is a process, as a forged one would be.
#[test]
fn a_lookup_that_races_with_the_first_spawn_finds_nothing_or_the_whole_process() {
    loom::model(|| {
        let world = World::new(1);
        let other = world.clone();
        let visitor = thread::spawn(move || other.visit(1, 1));
        assert_eq!(world.spawn(0, &mut Vec::new()), Some((1, 1)));
        visitor.join().unwrap();
        assert!(world.visit(1, 1));
    });
}

/// Invariants 1, 2, 3 and 5.
#[test]
fn a_lookup_that_races_with_remove_and_reuse_finds_the_process_asked_for_or_none() {
    loom::model(|| {
        let (world, mut cache) = (World::new(1), Vec::new());
        assert_eq!(world.spawn(0, &mut cache), Some((1, 1)));
        let other = world.clone();
        let visitor = thread::spawn(move || {
            other.visit(1, 1);
            other.visit(1, 2);
        });
        assert!(world.table.remove(1, 1, &mut cache));
        assert!(!world.visit(1, 1));
        // None: the visitor has a pin and will put the slot into the shared list.
        let at_once = world.spawn(1, &mut cache);
        visitor.join().unwrap();
        assert!(world.cells[0].is_freed());
        assert_eq!(at_once.or_else(|| world.spawn(1, &mut cache)), Some((1, 2)));
        assert!(world.visit(1, 2) && !world.visit(1, 1));
        assert!(world.table.remove(1, 2, &mut cache));
        assert!(world.cells[1].is_freed());
        assert_eq!(cache, [1], "the slot is in one list");
        assert_eq!(world.table.reserve(&mut Vec::new()), None);
    });
}

/// Invariants 2 and 3.
#[test]
fn a_remove_that_races_with_two_lookups_releases_once() {
    model_of_three(|| {
        let (world, mut cache) = (World::new(1), Vec::new());
        assert_eq!(world.spawn(0, &mut cache), Some((1, 1)));
        let visitors =
            [world.clone(), world.clone()].map(|world| thread::spawn(move || world.visit(1, 1)));
        assert!(world.table.remove(1, 1, &mut cache));
        for visitor in visitors {
            visitor.join().unwrap();
        }
        assert!(world.cells[0].is_freed());
        assert_eq!(
            world.table.reserve(&mut cache),
            Some((1, 2)),
            "the slot is not lost"
        );
    });
}

/// Invariant 3.
#[test]
fn of_two_removes_one_removes() {
    loom::model(|| {
        let (world, mut cache) = (World::new(1), Vec::new());
        assert_eq!(world.spawn(0, &mut cache), Some((1, 1)));
        let other = world.clone();
        let rival = thread::spawn(move || {
            let mut cache = Vec::new();
            let removed = other.table.remove(1, 1, &mut cache);
            other.table.give_back(&mut cache);
            removed
        });
        let removed = world.table.remove(1, 1, &mut cache);
        // A process of a later generation is not the rival's to remove.
        let next = world.spawn(1, &mut cache);
        assert_ne!(removed, rival.join().unwrap());
        assert!(world.cells[0].is_freed());
        assert_eq!(world.table.live_count(), usize::from(next.is_some()));
    });
}

/// Invariant 4: the reader has nothing but its pin.
#[test]
fn what_is_read_under_a_pin_is_read_before_the_cell_is_freed() {
    loom::model(|| {
        let (world, mut cache) = (World::new(1), Vec::new());
        assert_eq!(world.spawn(0, &mut cache), Some((1, 1)));
        let other = world.clone();
        let reader = thread::spawn(move || other.visit_all());
        assert!(world.table.remove(1, 1, &mut cache));
        reader.join().unwrap();
        assert!(world.cells[0].is_freed());
    });
}

/// Invariant 4, over two steps: whoever frees is ordered after the pin that was given back first.
#[test]
fn the_last_of_two_readers_frees_after_the_other_has_read() {
    model_of_three(|| {
        let (world, mut cache) = (World::new(1), Vec::new());
        assert_eq!(world.spawn(0, &mut cache), Some((1, 1)));
        let readers =
            [world.clone(), world.clone()].map(|world| thread::spawn(move || world.visit_all()));
        assert!(world.table.remove(1, 1, &mut cache));
        for reader in readers {
            reader.join().unwrap();
        }
        assert!(world.cells[0].is_freed());
    });
}

/// Invariant 4: the process ends on the table's reference alone.
#[test]
fn what_was_done_before_remove_is_done_before_another_thread_frees_the_cell() {
    loom::model(|| {
        let (world, mut cache) = (World::new(1), Vec::new());
        assert_eq!(world.spawn(0, &mut cache), Some((1, 1)));
        let other = world.clone();
        let pinner = thread::spawn(move || other.table.for_each_live(|_, _, _| ()));
        world.cells[0].set_body(UNBORN);
        assert!(world.table.remove(1, 1, &mut cache));
        pinner.join().unwrap();
        assert!(world.cells[0].is_freed());
    });
}

/// Invariant 2.
#[test]
fn a_dropped_table_releases_what_threads_left_in_it() {
    loom::model(|| {
        let (world, mut cache) = (World::new(2), Vec::new());
        assert_eq!(world.spawn(0, &mut cache), Some((1, 1)));
        let other = world.clone();
        let spawner = thread::spawn(move || other.spawn(1, &mut cache));
        world.visit_all();
        assert_eq!(spawner.join().unwrap(), Some((2, 1)));
        let cells = world.cells.clone();
        drop(world);
        assert!(cells.iter().all(Cell::is_freed));
    });
}
