//! `shards`: nobody reads while somebody writes, and what was written is seen.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use crate::shards::Shards;

/// Content whose accesses loom checks.
#[derive(Default)]
struct Content(UnsafeCell<u32>);

// SAFETY: loom checks that its accesses are ordered, which is what the models are about.
unsafe impl Sync for Content {}

fn read(shards: &Shards<Content>, row: usize) -> u32 {
    // SAFETY: loom checks it.
    shards.read_in(row, 0, |content| content.0.with(|n| unsafe { *n }))
}

fn add(shards: &Shards<Content>, n: u32) {
    shards.write(0, |content| {
        // SAFETY: as above.
        content.0.with_mut(|content| unsafe { *content += n })
    });
}

#[test]
fn a_reader_sees_all_of_a_write_or_nothing() {
    loom::model(|| {
        let shards = Arc::new(Shards::<Content>::with_rows(1));
        let writer = thread::spawn({
            let shards = shards.clone();
            move || add(&shards, 1)
        });
        let seen = read(&shards, 0);
        assert!(seen <= 1);
        writer.join().unwrap();
        assert_eq!(read(&shards, 0), 1);
    });
}

#[test]
fn readers_in_one_row_and_in_two_keep_a_writer_out() {
    for rows in [1, 2] {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound.get_or_insert(3);
        builder.check(move || {
            let shards = Arc::new(Shards::<Content>::with_rows(rows));
            let reader = thread::spawn({
                let shards = shards.clone();
                move || read(&shards, 0)
            });
            let writer = thread::spawn({
                let shards = shards.clone();
                move || add(&shards, 1)
            });
            let here = read(&shards, rows - 1);
            let there = reader.join().unwrap();
            writer.join().unwrap();
            assert!(here <= 1 && there <= 1);
            assert_eq!(read(&shards, 0), 1);
        });
    }
}

#[test]
fn writers_come_one_after_the_other() {
    loom::model(|| {
        let shards = Arc::new(Shards::<Content>::with_rows(1));
        let other = thread::spawn({
            let shards = shards.clone();
            move || add(&shards, 1)
        });
        add(&shards, 2);
        other.join().unwrap();
        assert_eq!(read(&shards, 0), 3);
    });
}
