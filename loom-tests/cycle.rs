//! Models of [`process::edge`](crate::process::edge), with the questions of
//! [`process::reply`](crate::process::reply) and the slots of
//! [`process::table`](crate::process::table).

use std::ptr::NonNull;
use std::task::Waker;

use loom::sync::Arc;
use loom::thread;

use crate::process::edge::{self, Node};
use crate::process::reply::ReplySlot;
use crate::process::table::{Counted, Table};

/// The processes here do nothing but wait for each other.
struct Cell;
static CELL: Cell = Cell;

// SAFETY: it is static.
unsafe impl Counted for Cell {
    unsafe fn retain(_: NonNull<Self>) {}
    unsafe fn release(_: NonNull<Self>) {}
}

type Graph = Table<Cell>;

/// A table of processes with the pids (1, 1) to (`n`, 1).
fn graph(n: u32) -> Graph {
    let (table, mut cache) = (Table::with_limit(n), Vec::new());
    for id in 1..=n {
        assert_eq!(spawn(&table, &mut cache), Some((id, 1)));
    }
    table
}

fn spawn(table: &Graph, cache: &mut Vec<u32>) -> Option<Node> {
    let (id, generation) = table.reserve(cache)?;
    // SAFETY: just reserved, and a static cell needs no reference.
    unsafe { table.publish(id, generation, NonNull::from(&CELL)) };
    Some((id, generation))
}

const A: Node = (1, 1);
const B: Node = (2, 1);
const C: Node = (3, 1);
const D: Node = (4, 1);
const E: Node = (5, 1);

/// `from` waits for `to`, whose answer will not come; whether that closes a cycle.
fn wait(table: &Graph, from: Node, to: Node) -> bool {
    edge::wait(table, from, to, |_| true).is_some()
}

/// As `wait`; the edge, for who answers.
fn wait_unanswered(table: &Graph, from: Node, to: Node) -> u64 {
    let mut marked = 0;
    let way = edge::wait(table, from, to, |edge| {
        marked = edge;
        true
    });
    assert_eq!(way, None);
    marked
}

fn leave(table: &Graph, from: Node) {
    table.edge_of(from.0).unwrap().leave();
}

/// Invariant 5.
#[test]
fn of_two_servers_that_close_a_cycle_at_once_one_sees_it() {
    loom::model(|| {
        let table = Arc::new(graph(2));
        let other = table.clone();
        let first = thread::spawn(move || wait(&other, A, B));
        let second = wait(&table, B, A);
        assert!(first.join().unwrap() | second);
    });
}

/// Invariant 5, on a longer way.
#[test]
fn of_two_servers_that_close_a_cycle_of_three_at_once_one_sees_it() {
    loom::model(|| {
        let table = Arc::new(graph(3));
        assert!(!wait(&table, A, B));
        let other = table.clone();
        let first = thread::spawn(move || wait(&other, B, C));
        let second = wait(&table, C, A);
        assert!(first.join().unwrap() | second);
    });
}

/// A question between two servers, and the table they are in.
struct Asked {
    table: Graph,
    slot: ReplySlot<()>,
}

impl Asked {
    fn new(n: u32) -> Arc<Asked> {
        Arc::new(Asked {
            table: graph(n),
            slot: ReplySlot::new(),
        })
    }

    /// The asker: polls, and if there is no answer yet parks.
    fn ask(&self, from: Node, to: Node) -> bool {
        // SAFETY: the one reader, which has not taken the value.
        let done = unsafe { self.slot.register(|| Waker::noop().clone(), |_| false) };
        let mark = self.slot.mark();
        !done && edge::wait(&self.table, from, to, |edge| mark.set(edge)).is_some()
    }

    /// The server, as `Ask::publish` does it.
    fn answer(&self) {
        // SAFETY: the one publisher, once.
        unsafe {
            self.slot.write(());
            if let Some(waiter) = self.slot.publish() {
                if waiter.edge != 0 {
                    edge::answered(&self.table, waiter.edge);
                }
            }
        }
    }
}

/// Invariants 3 and 4: B answers A and then calls it, and whoever is late in noticing, there is no
/// moment at which each waits for the other.
#[test]
fn a_server_that_answers_and_then_calls_its_caller_closes_no_cycle() {
    loom::model(|| {
        let asked = Asked::new(2);
        let other = asked.clone();
        let asker = thread::spawn(move || other.ask(A, B));
        asked.answer();
        assert!(!wait(&asked.table, B, A));
        assert!(!asker.join().unwrap());
        assert_eq!(asked.table.edge(A), None, "the answered wait left no edge");
    });
    loom::model(|| {
        let asked = Asked::new(2);
        let other = asked.clone();
        let server = thread::spawn(move || {
            other.answer();
            assert!(!wait(&other.table, B, A));
        });
        assert!(!asked.ask(A, B));
        server.join().unwrap();
        assert_eq!(asked.table.edge(A), None, "the answered wait left no edge");
    });
}

/// The same, in the one order that loom does not try: A stands, and looks only when B waits for it.
#[test]
fn a_look_that_comes_after_the_answer_sees_no_cycle() {
    loom::model(|| {
        let table = graph(2);
        let answered = wait_unanswered(&table, A, B);
        edge::answered(&table, answered);
        assert!(!wait(&table, B, A));
        assert_eq!(edge::look(&table, A, answered as u32, B), None);
    });
}

/// Invariants 3 and 4, seen from a third: B answers A and then calls C, which calls A.
#[test]
fn a_third_server_sees_no_cycle_through_a_wait_that_was_answered() {
    loom::model(|| {
        let asked = Asked::new(3);
        // SAFETY: the one reader, which has not taken the value.
        assert!(!unsafe { asked.slot.register(|| Waker::noop().clone(), |_| false) });
        let mark = asked.slot.mark();
        assert_eq!(edge::wait(&asked.table, A, B, |edge| mark.set(edge)), None);
        let other = asked.clone();
        let server = thread::spawn(move || {
            other.answer();
            assert!(!wait(&other.table, B, C));
        });
        assert!(!wait(&asked.table, C, A));
        server.join().unwrap();
    });
}

/// Invariant 4, where the numbers of new waits could be taken for those of old ones: A waited for B
/// and B for C, both were answered, and now A waits for E, B for C, and C for D, which calls A.
#[test]
fn a_walk_does_not_take_an_old_target_for_that_of_a_new_wait() {
    loom::model(|| {
        let table = Arc::new(graph(5));
        let (a, b) = (wait_unanswered(&table, A, B), wait_unanswered(&table, B, C));
        let other = table.clone();
        let history = thread::spawn(move || {
            edge::answered(&other, b);
            edge::answered(&other, a);
            wait_unanswered(&other, A, E);
            wait_unanswered(&other, B, C);
            // (Not looked at: D's edge may stand already.)
            wait(&other, C, D)
        });
        let closed = wait(&table, D, A);
        let also_closed = history.join().unwrap();
        assert!(!closed && !also_closed);
    });
}

/// Invariant 1: the target that is read is the number's own.
#[test]
fn a_target_is_read_with_the_number_of_its_own_wait() {
    loom::model(|| {
        let table = Arc::new(graph(3));
        wait_unanswered(&table, A, B);
        let (_, first) = table.edge(A).unwrap();
        let other = table.clone();
        let asker = thread::spawn(move || {
            leave(&other, A);
            wait_unanswered(&other, A, C);
        });
        // Twice, as loom does not have the first look of a thread come late.
        for _ in 0..2 {
            if let Some((target, number)) = table.edge(A) {
                assert_eq!(target, if number == first { B } else { C });
            }
        }
        asker.join().unwrap();
        let (target, number) = table.edge(A).unwrap();
        assert!(target == C && number != first);
    });
}

/// Invariant 2.
#[test]
fn an_edge_that_is_cleared_while_it_is_made_does_not_stand() {
    loom::model(|| {
        let asked = Asked::new(2);
        let other = asked.clone();
        let server = thread::spawn(move || other.answer());
        assert!(!asked.ask(A, B));
        server.join().unwrap();
        assert_eq!(asked.table.edge(A), None);
    });
}

/// Invariant 2: an answer that comes too late clears no later edge.
#[test]
fn a_late_answer_leaves_the_edge_of_the_next_wait_alone() {
    loom::model(|| {
        let table = Arc::new(graph(3));
        let late = wait_unanswered(&table, A, B);
        let other = table.clone();
        let server = thread::spawn(move || edge::answered(&other, late));
        leave(&table, A);
        wait_unanswered(&table, A, C);
        server.join().unwrap();
        assert_eq!(table.edge(A).map(|(target, _)| target), Some(C));
    });
}

/// An edge belongs to one process, not to its slot.
#[test]
fn the_edge_of_the_next_process_in_a_slot_is_not_taken_for_that_of_the_dead() {
    loom::model(|| {
        let table = Arc::new(graph(2));
        let other = table.clone();
        // (Not the other way round: loom would not have the look come late.)
        let looker = thread::spawn(move || assert_eq!(other.edge(A), None, "A never waited"));
        let mut cache = Vec::new();
        assert!(table.remove(A.0, A.1, &mut cache));
        let next = spawn(&table, &mut cache).unwrap();
        wait_unanswered(&table, next, B);
        looker.join().unwrap();
        assert_eq!(next, (1, 2));
        assert_eq!(table.edge(next).map(|(target, _)| target), Some(B));
    });
}
