use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;

use super::*;

/// A cell on the heap that knows its pid; `alive` counts all that are not freed.
struct Cell {
    references: AtomicUsize,
    pid: (u32, u32),
    alive: Arc<AtomicUsize>,
}

impl Cell {
    /// With one reference, the caller's.
    fn boxed(pid: (u32, u32), alive: &Arc<AtomicUsize>) -> NonNull<Cell> {
        alive.fetch_add(1, SeqCst);
        let cell = Cell {
            references: AtomicUsize::new(1),
            pid,
            alive: alive.clone(),
        };
        NonNull::from(Box::leak(Box::new(cell)))
    }
}

// SAFETY: the count starts with a reference and the box is freed with the last; SeqCst orders all.
unsafe impl Counted for Cell {
    unsafe fn retain(this: NonNull<Self>) {
        // SAFETY: the caller has a reference.
        let before = unsafe { this.as_ref() }.references.fetch_add(1, SeqCst);
        assert_ne!(before, 0, "retained before it is freed");
    }

    unsafe fn release(this: NonNull<Self>) {
        // SAFETY: the caller has a reference.
        if unsafe { this.as_ref() }.references.fetch_sub(1, SeqCst) == 1 {
            // SAFETY: that was the last reference to what `boxed` made.
            let cell = unsafe { Box::from_raw(this.as_ptr()) };
            cell.alive.fetch_sub(1, SeqCst);
        }
    }
}

/// A table, one cache, and the count of cells.
struct World {
    table: Table<Cell>,
    cache: Vec<u32>,
    alive: Arc<AtomicUsize>,
}

impl World {
    fn new() -> World {
        World::with_limit(u32::MAX)
    }

    fn with_limit(limit: u32) -> World {
        World {
            table: Table::with_limit(limit),
            cache: Vec::new(),
            alive: Arc::default(),
        }
    }

    fn spawn(&mut self) -> (u32, u32) {
        spawn(&self.table, &mut self.cache, &self.alive).expect("a free id")
    }

    fn end(&mut self, pid: (u32, u32)) -> bool {
        self.table.remove(pid.0, pid.1, &mut self.cache)
    }

    fn alive(&self) -> usize {
        self.alive.load(SeqCst)
    }
}

fn spawn(
    table: &Table<Cell>,
    cache: &mut Vec<u32>,
    alive: &Arc<AtomicUsize>,
) -> Option<(u32, u32)> {
    let (id, generation) = table.reserve(cache)?;
    let cell = Cell::boxed((id, generation), alive);
    // SAFETY: just reserved; the cell's only reference goes to the table.
    unsafe { table.publish(id, generation, cell) };
    Some((id, generation))
}

/// Looks a pid up, reads the pid that the cell has, and releases it.
fn found(table: &Table<Cell>, pid: (u32, u32)) -> Option<(u32, u32)> {
    let cell = table.lookup(pid.0, pid.1)?;
    // SAFETY: `lookup` gave a reference, which is given up after the read.
    unsafe {
        let pid = cell.as_ref().pid;
        Cell::release(cell);
        Some(pid)
    }
}

#[test]
fn ids_and_generations_start_at_one_and_a_slot_is_two_words() {
    let mut world = World::new();
    assert_eq!(
        [world.spawn(), world.spawn(), world.spawn()],
        [(1, 1), (2, 1), (3, 1)]
    );
    assert_eq!(size_of::<Slot<Cell>>(), 16);
}

#[test]
fn an_empty_table_has_no_process_and_no_segment() {
    let World { table, .. } = World::new();
    for id in [0, 1, 256, 257, u32::MAX] {
        for generation in [0, 1, u32::MAX] {
            assert_eq!(table.lookup(id, generation), None);
            assert!(!table.is_live(id, generation));
            assert!(!table.remove(id, generation, &mut Vec::new()));
        }
    }
    assert!(
        table
            .segments
            .iter()
            .all(|segment| segment.load(Relaxed).is_null())
    );
}

#[test]
fn a_pid_is_found_from_publish_to_remove_and_not_before_or_after() {
    let mut world = World::new();
    let (id, generation) = world.table.reserve(&mut world.cache).unwrap();
    assert!(!world.table.is_live(id, generation));
    assert_eq!(found(&world.table, (id, generation)), None);
    assert!(!world.end((id, generation)), "a reserved pid is no process");

    let cell = Cell::boxed((id, generation), &world.alive);
    // SAFETY: reserved above; the cell's only reference goes to the table.
    unsafe { world.table.publish(id, generation, cell) };
    assert!(world.table.is_live(id, generation));
    assert_eq!(
        found(&world.table, (id, generation)),
        Some((id, generation))
    );
    assert_eq!(found(&world.table, (id, generation + 1)), None);
    assert_eq!(found(&world.table, (id, generation - 1)), None);

    assert!(world.end((id, generation)));
    assert_eq!(world.alive(), 0);
    assert!(!world.table.is_live(id, generation));
    assert_eq!(found(&world.table, (id, generation)), None);
    assert!(!world.end((id, generation)), "it is removed once");
}

#[test]
fn a_slot_used_again_has_the_next_generation_and_the_old_pid_stays_dead() {
    let mut world = World::new();
    let old = world.spawn();
    assert!(world.end(old));
    let new = world.spawn();
    assert_eq!(new, (old.0, old.1 + 1));
    assert_eq!(found(&world.table, old), None);
    assert!(!world.end(old));
    assert_eq!(found(&world.table, new), Some(new));
}

#[test]
fn a_looked_up_cell_outlives_its_place_in_the_table() {
    let mut world = World::new();
    let pid = world.spawn();
    let cell = world.table.lookup(pid.0, pid.1).unwrap();
    assert!(world.end(pid));
    assert_eq!(world.alive(), 1);
    // SAFETY: the reference from `lookup`.
    unsafe { Cell::release(cell) };
    assert_eq!(world.alive(), 0);
}

#[test]
fn a_process_removed_under_a_pin_goes_with_the_pin() {
    let World {
        table,
        mut cache,
        alive,
    } = World::with_limit(1);
    let pid = spawn(&table, &mut cache, &alive).unwrap();
    let mut met = Vec::new();
    table.for_each_live(|id, generation, cell| {
        assert!(table.remove(id, generation, &mut cache));
        assert!(!table.is_live(id, generation));
        assert_eq!(
            table.reserve(&mut cache),
            None,
            "the slot is not vacant under a pin"
        );
        // SAFETY: pinned.
        met.push(unsafe { cell.as_ref() }.pid);
    });
    assert_eq!(met, [pid]);
    assert_eq!(alive.load(SeqCst), 0);
    assert_eq!(
        table.reserve(&mut cache),
        Some((1, 2)),
        "it came back by the shared list"
    );
}

#[test]
fn a_panic_in_an_enumeration_leaves_no_pin() {
    let mut world = World::new();
    let pid = world.spawn();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        world
            .table
            .for_each_live(|_, _, _| panic!("a panic in `f`, as the test wants it"));
    }));
    assert!(panicked.is_err());
    assert!(world.end(pid));
    assert_eq!(world.alive(), 0, "nothing but the table held it");
}

#[test]
fn a_slot_at_its_last_generation_is_retired() {
    let mut world = World::with_limit(1);
    let (id, _) = world.table.reserve(&mut world.cache).unwrap();
    world
        .table
        .slot(id)
        .unwrap()
        .word
        .store(vacant(u32::MAX), Relaxed);
    world.cache.push(id);
    let last = world.spawn();
    assert_eq!(last, (id, u32::MAX));
    assert_eq!(found(&world.table, last), Some(last));
    assert!(world.end(last));
    assert_eq!(world.alive(), 0);
    assert_eq!(world.table.reserve(&mut world.cache), None);
    assert_eq!(found(&world.table, (id, 0)), None);
}

#[test]
fn reserve_gives_none_while_every_id_is_in_use() {
    for limit in [0, 3, 63, 64, 65, 300] {
        let mut world = World::with_limit(limit);
        let pids: Vec<_> = (0..limit).map(|_| world.spawn()).collect();
        assert!(pids.iter().copied().eq((1..=limit).map(|id| (id, 1))));
        assert_eq!(world.table.reserve(&mut world.cache), None);
        if let Some(&pid) = pids.last() {
            assert!(world.end(pid));
            assert_eq!(world.spawn(), (limit, 2));
            assert_eq!(world.table.reserve(&mut world.cache), None);
        }
    }
}

#[test]
fn each_index_has_a_place_of_its_own_up_to_the_last() {
    let table = Table::<Cell>::new();
    let mut index = 0_u32;
    for segment in 0..SEGMENTS {
        let len = table.segment_len(segment);
        assert_eq!(place(index), (segment, 0));
        assert_eq!(place(index + (len as u32 - 1)), (segment, len - 1));
        index = index.checked_add(len as u32).expect("ids are 32 bits");
    }
    assert_eq!(index, u32::MAX, "ids 1 to u32::MAX have indices below it");
}

#[test]
fn processes_are_met_once_each_by_rising_id_across_segments() {
    let mut world = World::new();
    let pids: Vec<_> = (0..1_000).map(|_| world.spawn()).collect();
    assert_eq!(world.table.live_count(), 1_000);
    for pid in pids.iter().filter(|pid| pid.0 % 3 == 0) {
        assert!(world.end(*pid));
    }
    let stay: Vec<_> = pids.iter().copied().filter(|pid| pid.0 % 3 != 0).collect();
    let mut met = Vec::new();
    world.table.for_each_live(|id, generation, cell| {
        // SAFETY: pinned.
        assert_eq!(unsafe { cell.as_ref() }.pid, (id, generation));
        met.push((id, generation));
    });
    assert_eq!(met, stay);
    assert_eq!(world.table.live_count(), stay.len());
    for pid in pids {
        assert_eq!(found(&world.table, pid).is_some(), pid.0 % 3 != 0);
    }
}

#[test]
fn ids_freed_by_one_thread_serve_another() {
    let mut world = World::new();
    let pids: Vec<_> = (0..10 * BATCH).map(|_| world.spawn()).collect();
    let mut dying = Vec::new();
    for &(id, generation) in &pids {
        assert!(world.table.remove(id, generation, &mut dying));
        assert!(
            dying.len() < 2 * BATCH,
            "a cache never holds two batches for long"
        );
    }
    world.table.give_back(&mut dying);
    assert_eq!(dying, []);
    let mut again: Vec<_> = (0..10 * BATCH).map(|_| world.spawn()).collect();
    again.sort_unstable();
    assert!(
        again
            .into_iter()
            .eq(pids.into_iter().map(|(id, _)| (id, 2))),
        "no new ids"
    );
}

#[test]
fn a_dropped_table_releases_what_is_still_published() {
    let World {
        table,
        mut cache,
        alive,
    } = World::new();
    let pids: Vec<_> = (0..1_000)
        .map(|_| spawn(&table, &mut cache, &alive).unwrap())
        .collect();
    let (id, generation) = pids[500];
    let kept = table.lookup(id, generation).unwrap();
    assert!(table.remove(pids[7].0, pids[7].1, &mut cache));
    drop(table);
    assert_eq!(
        alive.load(SeqCst),
        1,
        "only the one with a reference elsewhere"
    );
    // SAFETY: the reference from `lookup`.
    unsafe { Cell::release(kept) };
    assert_eq!(alive.load(SeqCst), 0);
}

/// Two threads spawn and end processes in few slots, two look up pids that the others had or have
/// just now, one of those enumerates: every cell found has the pid asked for, all are freed.
#[test]
fn threads_that_spawn_end_and_look_up_meet_only_the_process_they_asked_for() {
    const ROUNDS: u32 = if cfg!(miri) { 30 } else { 40_000 };
    const PROCESSES: usize = 4;
    let World { table, alive, .. } = World::with_limit(100);
    let known: [AtomicU64; 2 * PROCESSES] = Default::default();
    let working = AtomicUsize::new(2);
    thread::scope(|scope| {
        for mine in known.chunks(PROCESSES) {
            let (table, alive, working) = (&table, &alive, &working);
            scope.spawn(move || {
                let (mut cache, mut pids) = (Vec::new(), [None; PROCESSES]);
                for round in 0..ROUNDS {
                    let at = (round as usize).wrapping_mul(7) % PROCESSES;
                    match pids[at].take() {
                        Some((id, generation)) => {
                            assert!(table.remove(id, generation, &mut cache));
                        }
                        None => {
                            pids[at] = spawn(table, &mut cache, alive);
                            if let Some((id, generation)) = pids[at] {
                                mine[at]
                                    .store(u64::from(id) << 32 | u64::from(generation), Relaxed);
                            }
                        }
                    }
                    if round % 50 == 0 {
                        table.give_back(&mut cache);
                    }
                }
                for (id, generation) in pids.into_iter().flatten() {
                    assert!(table.remove(id, generation, &mut cache));
                }
                table.give_back(&mut cache);
                working.fetch_sub(1, SeqCst);
            });
        }
        for enumerates in [false, true] {
            let (table, known, working) = (&table, &known, &working);
            scope.spawn(move || {
                while working.load(SeqCst) > 0 {
                    for pid in known {
                        let pid = pid.load(Relaxed);
                        let pid = ((pid >> 32) as u32, pid as u32);
                        assert!(found(table, pid).is_none_or(|found| found == pid));
                    }
                    if enumerates {
                        table.for_each_live(|id, generation, cell| {
                            // SAFETY: pinned.
                            assert_eq!(unsafe { cell.as_ref() }.pid, (id, generation));
                        });
                    }
                }
            });
        }
    });
    assert_eq!(table.live_count(), 0);
    assert_eq!(alive.load(SeqCst), 0);
    let mut cache = Vec::new();
    let ids = std::iter::from_fn(|| table.reserve(&mut cache)).count();
    assert_eq!(ids, 100, "no slot is lost");
}
