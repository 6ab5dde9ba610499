//! Models of [`process::reply`](crate::process::reply): one publisher, one reader.

use std::sync::Arc as Plain;
use std::sync::atomic::AtomicUsize;
use std::task::{Wake, Waker};

use loom::sync::Arc;
use loom::thread;

use crate::process::reply::ReplySlot;
use crate::sync::UnsafeCell;
use crate::sync::atomic::Ordering::Relaxed;

const ANSWER: u32 = 42;

/// What is dropped once for each that was made.
#[derive(Default)]
struct Count {
    made: AtomicUsize,
    dropped: AtomicUsize,
}

impl Count {
    fn left(&self) -> usize {
        self.made.load(Relaxed) - self.dropped.load(Relaxed)
    }
}

struct Value(u32, Plain<Count>);

impl Value {
    fn new(count: &Plain<Count>) -> Self {
        count.made.fetch_add(1, Relaxed);
        Value(ANSWER, count.clone())
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.1.dropped.fetch_add(1, Relaxed);
        assert!(self.1.dropped.load(Relaxed) <= self.1.made.load(Relaxed));
    }
}

/// A waker that says whether it was called. What it reads then was written by the reader.
struct Bell {
    written: UnsafeCell<u32>,
    rung: Plain<AtomicUsize>,
    count: Plain<Count>,
}

// SAFETY: loom checks each access.
unsafe impl Sync for Bell {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Bell {}

impl Wake for Bell {
    fn wake(self: Plain<Self>) {
        // SAFETY: loom checks that no write races.
        self.written
            .with(|written| assert_eq!(unsafe { *written }, 1));
        self.rung.fetch_add(1, Relaxed);
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.count.dropped.fetch_add(1, Relaxed);
    }
}

struct Model {
    slot: ReplySlot<Value>,
    values: Plain<Count>,
    wakers: Plain<Count>,
}

impl Model {
    fn new() -> Arc<Model> {
        Arc::new(Model {
            slot: ReplySlot::new(),
            values: Plain::default(),
            wakers: Plain::default(),
        })
    }

    /// The publisher's part; the edge that it was asked to clear.
    fn publish(&self) -> Option<u64> {
        // SAFETY: the one publisher, once.
        unsafe {
            self.slot.write(Value::new(&self.values));
            self.slot.publish()
        }
        .map(|waiter| {
            waiter.waker.wake();
            waiter.edge
        })
    }

    fn waker(&self, rung: &Plain<AtomicUsize>) -> Waker {
        self.wakers.made.fetch_add(1, Relaxed);
        let bell = Bell {
            written: UnsafeCell::new(0),
            rung: rung.clone(),
            count: self.wakers.clone(),
        };
        // SAFETY: nobody else has it yet.
        bell.written.with_mut(|written| unsafe { *written = 1 });
        Waker::from(Plain::new(bell))
    }

    /// Registers a new waker that rings `rung`.
    fn register(&self, rung: &Plain<AtomicUsize>) -> bool {
        // SAFETY: the one reader, which has not taken the value.
        unsafe { self.slot.register(|| self.waker(rung), |_| false) }
    }

    /// Takes the answer, which is here: the reader was told so, or woken.
    fn take(&self) {
        // SAFETY: the one reader, and it is here.
        assert_eq!(unsafe { self.slot.take() }.0, ANSWER);
    }

    /// The answer was dropped or taken, and each waker dropped, once.
    fn check_end(&self) {
        assert_eq!((self.values.left(), self.wakers.left()), (0, 0));
    }
}

fn publisher(model: &Arc<Model>) -> thread::JoinHandle<Option<u64>> {
    let model = model.clone();
    thread::spawn(move || model.publish())
}

fn rung(bell: &Plain<AtomicUsize>) -> usize {
    bell.load(Relaxed)
}

/// Invariants 1 to 4.
#[test]
fn a_reader_that_registers_finds_the_answer_or_is_woken() {
    loom::model(|| {
        let (model, bell) = (Model::new(), Plain::default());
        let publisher = publisher(&model);
        if model.register(&bell) {
            model.take();
            publisher.join().unwrap();
            assert_eq!(rung(&bell), 0);
        } else {
            assert_eq!(publisher.join().unwrap(), Some(0));
            assert_eq!(rung(&bell), 1);
            assert!(model.slot.is_done());
            model.take();
        }
        model.check_end();
    });
}

/// Invariant 1, for a reader that only looks.
#[test]
fn a_reader_that_sees_the_answer_done_sees_the_answer() {
    loom::model(|| {
        let model = Model::new();
        let publisher = publisher(&model);
        let early = model.slot.is_done();
        if early {
            model.take();
        }
        publisher.join().unwrap();
        if !early {
            model.take();
        }
        model.check_end();
    });
}

/// Invariants 2 and 3: the latest waker is the one that is called.
#[test]
fn a_reader_that_changes_its_waker_is_woken_by_the_new_one() {
    loom::model(|| {
        let (model, old, new) = (Model::new(), Plain::default(), Plain::default());
        let publisher = publisher(&model);
        let done = model.register(&old) || model.register(&new);
        if done {
            model.take();
        }
        publisher.join().unwrap();
        if !done {
            assert_eq!((rung(&old), rung(&new)), (0, 1));
            model.take();
        }
        assert!(rung(&old) + rung(&new) <= 1);
        model.check_end();
    });
}

/// Invariants 2 and 3.
#[test]
fn a_reader_that_registers_the_same_waker_again_is_woken_by_it() {
    loom::model(|| {
        let (model, bell) = (Model::new(), Plain::default());
        let publisher = publisher(&model);
        // SAFETY: the one reader, which has not taken the value.
        let done =
            model.register(&bell) || unsafe { model.slot.register(|| unreachable!(), |_| true) };
        if done {
            model.take();
        }
        publisher.join().unwrap();
        if !done {
            assert_eq!(rung(&bell), 1);
            model.take();
        }
        model.check_end();
    });
}

/// Invariant 4, and 2 for the waker of a reader that waited.
#[test]
fn of_a_reader_that_gives_up_answer_and_waker_are_dropped_once() {
    for registers in [false, true] {
        loom::model(move || {
            let (model, bell) = (Model::new(), Plain::default());
            let publisher = publisher(&model);
            if registers && model.register(&bell) {
                model.take();
            } else {
                // SAFETY: the one reader, which has not taken the value.
                unsafe { model.slot.abandon() };
            }
            publisher.join().unwrap();
            model.check_end();
        });
    }
}

/// Invariant 2, for a reader that gives up after it changed its waker.
#[test]
fn of_a_reader_that_changes_its_waker_and_gives_up_all_wakers_are_dropped_once() {
    loom::model(|| {
        let (model, bell) = (Model::new(), Plain::default());
        let publisher = publisher(&model);
        if model.register(&bell) || model.register(&bell) {
            model.take();
        } else {
            // SAFETY: the one reader, which has not taken the value.
            unsafe { model.slot.abandon() };
        }
        publisher.join().unwrap();
        model.check_end();
    });
}

/// The publisher is told of the edge exactly if the reader was told that it would be.
#[test]
fn a_mark_that_was_set_reaches_the_publisher() {
    loom::model(|| {
        let (model, bell) = (Model::new(), Plain::default());
        let publisher = publisher(&model);
        if model.register(&bell) {
            assert!(!model.slot.mark().set(7));
            publisher.join().unwrap();
        } else {
            let marked = model.slot.mark().set(7);
            assert_eq!(publisher.join().unwrap(), Some(if marked { 7 } else { 0 }));
            assert_eq!(rung(&bell), 1);
        }
        model.take();
        model.check_end();
    });
}

/// A reader that runs on has taken its edge back: registering again takes the mark back.
#[test]
fn a_reader_that_registers_again_after_a_mark_is_woken_without_it() {
    loom::model(|| {
        let (model, bell) = (Model::new(), Plain::default());
        assert!(!model.register(&bell) && model.slot.mark().set(7));
        let publisher = publisher(&model);
        let done = model.register(&bell);
        if done {
            model.take();
        }
        let edge = publisher.join().unwrap();
        if !done {
            assert_eq!((edge, rung(&bell)), (Some(0), 1));
            model.take();
        }
        model.check_end();
    });
}
