//! Tables, read and written by two processes at once.

use std::ops::Range;
use std::sync::Arc;

use noex::System;
use noex::ets::{Access, Keeps, OrderedSet, Set, Table, TableBuilder};

use crate::support::{Latch, Row, seconds, system};

const KEYS: u64 = 100_000;
const PROCESSES: u64 = 2;

/// Between two yields of a process: a scheduler thread is not kept from others for long.
const SLICE: u64 = 1_000;

fn table<Kind: Keeps<u64, u64>>(system: &System) -> Table<u64, u64, Kind> {
    let table: TableBuilder<u64, u64, Kind> = Table::builder().access(Access::Public);
    let table = system.table(table).expect("a table");
    for key in 0..KEYS {
        table.insert(key, key).expect("a table");
    }
    table
}

/// Two processes walk over the keys, `n` steps in all; `step` gets a key and which steps are next.
fn walk<Kind: Keeps<u64, u64>>(
    system: &System,
    table: &Table<u64, u64, Kind>,
    n: u64,
    step: fn(&Table<u64, u64, Kind>, &mut u64, Range<u64>),
) -> f64 {
    let latch = Latch::new(PROCESSES);
    seconds(|| {
        for process in 0..PROCESSES {
            let (table, latch) = (table.clone(), Arc::clone(&latch));
            let walker = move |cx: noex::Inbox<()>| async move {
                let mut key = process * KEYS / PROCESSES;
                let steps = n / PROCESSES;
                for first in (0..steps).step_by(SLICE as usize) {
                    step(&table, &mut key, first..steps.min(first + SLICE));
                    cx.yield_now().await;
                }
                latch.down();
            };
            system.spawn(walker).expect("a walker starts");
        }
        latch.wait();
    })
}

fn next(key: &mut u64) -> u64 {
    *key += 7919;
    if *key >= KEYS {
        *key %= KEYS;
    }
    *key
}

fn run<Kind: Keeps<u64, u64>>(
    schedulers: usize,
    n: u64,
    step: fn(&Table<u64, u64, Kind>, &mut u64, Range<u64>),
) -> Row {
    let system = system(schedulers);
    let table = table::<Kind>(&system);
    walk(&system, &table, n / 10, step);
    Row::new(n, walk(&system, &table, n, step))
}

pub(crate) fn ets_read(schedulers: usize) -> Row {
    run::<Set>(schedulers, 10_000_000, |table, key, steps| {
        for _ in steps {
            let key = next(key);
            assert_eq!(table.lookup(&key), Ok(Some(key)));
        }
    })
}

pub(crate) fn ets_write(schedulers: usize) -> Row {
    run::<Set>(schedulers, 2_000_000, |table, key, steps| {
        for _ in steps {
            let key = next(key);
            assert_eq!(table.insert(key, key), Ok(()));
        }
    })
}

/// Nine reads to one write.
pub(crate) fn ets_mixed(schedulers: usize) -> Row {
    run::<OrderedSet>(schedulers, 5_000_000, |table, key, steps| {
        for step in steps {
            let key = next(key);
            if step % 10 == 0 {
                assert_eq!(table.insert(key, key), Ok(()));
            } else {
                assert_eq!(table.lookup(&key), Ok(Some(key)));
            }
        }
    })
}
