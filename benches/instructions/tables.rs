//! Tables, read and written by a process.

use std::hint::black_box;

use noex::System;
use noex::ets::{Access, Keeps, OrderedSet, Set, Table, TableBuilder};

use crate::messages::{in_process, system};

const KEYS: u64 = 1_000;

fn with_table<Kind: Keeps<u64, u64>>(n: u64, step: fn(&Table<u64, u64, Kind>, u64)) {
    let system = system();
    let table = table::<Kind>(&system);
    in_process(&system, move |_| async move {
        for i in 0..n {
            step(&table, i.wrapping_mul(7919) % KEYS);
        }
    });
}

fn table<Kind: Keeps<u64, u64>>(system: &System) -> Table<u64, u64, Kind> {
    let table: TableBuilder<u64, u64, Kind> = Table::builder().access(Access::Public);
    let table = system.table(table).expect("a table");
    for key in 0..KEYS {
        table.insert(key, key).expect("a table");
    }
    table
}

fn lookup<Kind: Keeps<u64, u64> + noex::ets::Finds<u64, u64, u64>>(n: u64) {
    with_table::<Kind>(n, |table, key| {
        assert!(black_box(table.read(&key, |_| ())).is_ok());
    });
}

fn insert<Kind: Keeps<u64, u64>>(n: u64) {
    with_table::<Kind>(n, |table, key| {
        assert!(black_box(table.insert(key, key)).is_ok());
    });
}

/// A look at one of 1,000 objects.
pub(crate) fn lookup_set(n: u64) {
    lookup::<Set>(n);
}

/// An object in the place of one of 1,000.
pub(crate) fn insert_set(n: u64) {
    insert::<Set>(n);
}

/// A look at one of 1,000 objects, in two leaves.
pub(crate) fn lookup_ordered(n: u64) {
    lookup::<OrderedSet>(n);
}

/// An object in the place of one of 1,000, in two leaves.
pub(crate) fn insert_ordered(n: u64) {
    insert::<OrderedSet>(n);
}
