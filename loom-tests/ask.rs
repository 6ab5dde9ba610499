//! Models of how [`process::refs`](crate::process::refs) and
//! [`process::reply`](crate::process::reply) make up a question, as `process::ask` puts them together:
//! memory that goes with its last hold, and a slot in it for the answer.

use std::sync::Arc as Plain;
use std::sync::atomic::AtomicUsize;
use std::task::Waker;

use loom::sync::Arc;
use loom::thread;

use crate::process::refs::Refs;
use crate::process::reply::ReplySlot;
use crate::sync::UnsafeCell;
use crate::sync::atomic::Ordering::Relaxed;

struct Question {
    refs: Refs,
    slot: ReplySlot<Plain<()>>,
    /// Read with each use, written when the memory goes.
    memory: UnsafeCell<bool>,
    freed: AtomicUsize,
    /// All copies of the answer, this one included.
    answer: Plain<()>,
}

// SAFETY: loom checks each access to `memory`.
unsafe impl Sync for Question {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Question {}

impl Question {
    fn new(holds: u64) -> Arc<Question> {
        Arc::new(Question {
            refs: Refs::new(holds),
            slot: ReplySlot::new(),
            memory: UnsafeCell::new(true),
            freed: AtomicUsize::new(0),
            answer: Plain::new(()),
        })
    }

    fn slot(&self) -> &ReplySlot<Plain<()>> {
        // SAFETY: loom checks that no write races.
        self.memory.with(|alive| assert!(unsafe { *alive }));
        &self.slot
    }

    fn release(&self) {
        if self.refs.give_back_last() {
            // SAFETY: loom checks that nobody else has it.
            self.memory.with_mut(|alive| unsafe { *alive = false });
            self.freed.fetch_add(1, Relaxed);
        }
    }

    /// `Ask::answer`.
    fn answer(&self) {
        // SAFETY: the one holder of the right to answer, once.
        unsafe {
            self.slot().write(self.answer.clone());
            if let Some(waiter) = self.slot().publish() {
                waiter.waker.wake();
            }
        }
        self.slot();
        self.release();
    }

    /// `Pending::try_take`, and its `Drop` if the answer is not here.
    fn take_or_drop(&self) {
        let slot = self.slot();
        // SAFETY: the one reader, which takes it or abandons it.
        unsafe {
            if slot.is_done() {
                drop(slot.take());
            } else {
                slot.abandon();
            }
        }
        self.release();
    }

    /// `Pending::poll`.
    fn poll(&self) -> bool {
        // SAFETY: the one reader, which has not taken the value.
        unsafe { self.slot().register(|| Waker::noop().clone(), |_| false) }
    }

    fn check_end(&self) {
        assert_eq!(self.freed.load(Relaxed), 1);
        assert_eq!(
            Plain::strong_count(&self.answer),
            1,
            "the answer is dropped"
        );
    }
}

/// Invariant 1 of `process::ask`, without a wait and with one.
#[test]
fn an_asker_that_takes_or_gives_up_and_a_server_that_answers_free_the_question_once() {
    for polls in [false, true] {
        loom::model(move || {
            let question = Question::new(2);
            let other = question.clone();
            let server = thread::spawn(move || other.answer());
            if polls {
                question.poll();
            }
            question.take_or_drop();
            server.join().unwrap();
            question.check_end();
        });
    }
}

/// A hold of a third: an `Answer` beside its envelope.
#[test]
fn an_envelope_let_go_beside_its_answer_leaves_the_question_to_the_others() {
    loom::model(|| {
        let question = Question::new(3);
        let (envelope, answer) = (question.clone(), question.clone());
        let holders = [
            thread::spawn(move || envelope.release()),
            thread::spawn(move || answer.answer()),
        ];
        question.take_or_drop();
        for holder in holders {
            holder.join().unwrap();
        }
        question.check_end();
    });
}

/// A `Question` marks through a hold of its own, while the asker lets go on another thread.
#[test]
fn a_question_may_be_marked_while_its_asker_lets_go() {
    loom::model(|| {
        let question = Question::new(3);
        assert!(!question.poll());
        let (asker, server) = (question.clone(), question.clone());
        let others = [
            thread::spawn(move || asker.take_or_drop()),
            thread::spawn(move || server.answer()),
        ];
        let _ = question.slot().mark().set(7);
        question.release();
        for other in others {
            other.join().unwrap();
        }
        question.check_end();
    });
}
