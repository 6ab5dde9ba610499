//! Models of [`process::refs`](crate::process::refs).

use std::sync::atomic::AtomicUsize as Plain;

use loom::sync::Arc;
use loom::thread;

use crate::process::refs::Refs;
use crate::sync::UnsafeCell;
use crate::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What is counted: a field for each holder, which it alone touches while it holds; and the freeing,
/// which touches them all.
struct Counted {
    refs: Refs,
    fields: [UnsafeCell<u32>; 3],
    freed: Plain,
}

// SAFETY: loom checks each access to a field.
unsafe impl Sync for Counted {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Counted {}

impl Counted {
    fn new(holds: u64) -> Arc<Counted> {
        Arc::new(Counted {
            refs: Refs::new(holds),
            fields: std::array::from_fn(|_| UnsafeCell::new(0)),
            freed: Plain::new(0),
        })
    }

    fn touch(&self, field: usize) {
        // SAFETY: loom checks that nobody else does.
        self.fields[field].with_mut(|field| unsafe { *field += 1 });
    }

    fn free_if(&self, last: bool) {
        if last {
            (0..3).for_each(|field| self.touch(field));
            self.freed.fetch_add(1, Relaxed);
        }
    }

    fn check_end(&self) {
        assert_eq!(self.freed.load(Relaxed), 1);
    }
}

fn spawn(counted: &Arc<Counted>, run: impl FnOnce(&Counted) + 'static) -> thread::JoinHandle<()> {
    let counted = counted.clone();
    thread::spawn(move || run(&counted))
}

/// Invariant 2.
#[test]
fn the_last_of_three_holders_frees_after_all_others_are_done() {
    loom::model(|| {
        let counted = Counted::new(3);
        let others = [1, 2].map(|field| {
            spawn(&counted, move |counted| {
                counted.touch(field);
                counted.free_if(counted.refs.give_back(1));
            })
        });
        counted.touch(0);
        counted.free_if(counted.refs.give_back(1));
        for other in others {
            other.join().unwrap();
        }
        counted.check_end();
    });
}

/// Invariant 2, for the short way of the only holder.
#[test]
fn a_holder_that_finds_itself_the_only_one_frees_after_all_others_are_done() {
    loom::model(|| {
        let counted = Counted::new(3);
        let others = [1, 2].map(|field| {
            spawn(&counted, move |counted| {
                counted.touch(field);
                counted.free_if(counted.refs.give_back_last());
            })
        });
        counted.touch(0);
        counted.free_if(counted.refs.give_back_last());
        for other in others {
            other.join().unwrap();
        }
        counted.check_end();
    });
}

/// A waker is used, then given up: who finds it gone sees that it was used.
#[test]
fn who_finds_a_hold_given_back_sees_what_was_done_with_it() {
    loom::model(|| {
        let counted = Counted::new(2);
        let used = Arc::new(AtomicBool::new(false));
        let waker = used.clone();
        let other = spawn(&counted, move |counted| {
            waker.store(true, Relaxed);
            counted.free_if(counted.refs.give_back(1));
        });
        if counted.refs.get() == 1 {
            assert!(used.load(Relaxed));
        }
        other.join().unwrap();
        counted.free_if(counted.refs.give_back(1));
        counted.check_end();
    });
}

/// Invariant 1: a hold that is made and given back meanwhile, and one that counts for several.
#[test]
fn a_hold_made_from_a_hold_keeps_what_is_counted_alive() {
    loom::model(|| {
        let counted = Counted::new(2);
        let other = spawn(&counted, |counted| {
            counted.refs.add(4);
            counted.touch(1);
            counted.free_if(counted.refs.give_back(1));
            counted.touch(2);
            counted.free_if(counted.refs.give_back(4));
        });
        counted.touch(0);
        counted.free_if(counted.refs.give_back_last());
        other.join().unwrap();
        counted.check_end();
    });
}
