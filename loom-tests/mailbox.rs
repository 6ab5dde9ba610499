//! Models of [`process::mailbox`](crate::process::mailbox).
//!
//! A run queue is not part of them: whoever is told to queue the process runs its turn there and then.
//! That is the least order a queue could give, so what the mailbox leaves to a queue fails here. A
//! second turn beside the first, or one that does not see what the last one wrote, is an access to
//! `own` that loom rejects.

use std::sync::atomic::AtomicUsize as Plain;

use loom::sync::Arc;
use loom::thread;

use crate::process::mailbox::{Mailbox, Pushed};
use crate::process::node::{Discard, Kind, List, Node, NodeVtable, Progress};
use crate::sync::atomic::AtomicBool;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::{Mutex, UnsafeCell};

/// A message: who sent it, and its place among those of the sender.
#[repr(C)]
struct Mail {
    node: Node,
    content: UnsafeCell<(usize, usize)>,
}

static MAIL: NodeVtable = NodeVtable {
    kind: Kind::Plain,
    answered_in_place: false,
    start: |_, _| Progress::Done,
    resume: |_, _| Progress::Done,
    abort: |_, _| false,
    discard: |_, _: Discard| {},
    take: |_, _| {},
    release: |_| {},
    fail: |_, _| {},
    free: |_| {},
    type_name: || "mail",
    portable: None,
    tied: None,
};

fn mail(from: usize, place: usize) -> *mut Node {
    let mail = Mail {
        node: Node::new(&MAIL),
        content: UnsafeCell::new((from, place)),
    };
    Box::into_raw(Box::new(mail)).cast()
}

/// Reads a message and frees it; loom rejects a node that is not ordered after its push.
///
/// # Safety
/// `node` was made by `mail` and is the caller's.
unsafe fn open(node: *mut Node) -> (usize, usize) {
    // SAFETY: as the caller promises.
    let mail = unsafe { Box::from_raw(node.cast::<Mail>()) };
    // SAFETY: ours; loom checks that it is.
    mail.content.with_mut(|content| unsafe { *content })
}

/// How the process waits when it has nothing to do.
#[derive(Clone, Copy, PartialEq)]
enum Idle {
    Listen,
    Park,
}

/// What belongs to the running turn.
#[derive(Default)]
struct Own {
    turns: usize,
    signals: usize,
    /// For each sender how many of its messages have come.
    got: [usize; 3],
    /// Which wakers' work was there when a turn looked.
    seen: [bool; 2],
}

struct Process {
    mailbox: Mailbox,
    idle: Idle,
    own: UnsafeCell<Own>,
    exit: UnsafeCell<&'static str>,
    /// What wakers do before they wake.
    work: [AtomicBool; 2],
    /// Messages that came back.
    returned: Plain,
}

// SAFETY: loom checks each access to `own` and `exit`.
unsafe impl Sync for Process {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Process {}

impl Process {
    fn new(idle: Idle) -> Arc<Process> {
        Arc::new(Process {
            mailbox: Mailbox::new_queued(),
            idle,
            own: UnsafeCell::new(Own::default()),
            exit: UnsafeCell::new("alive"),
            work: [AtomicBool::new(false), AtomicBool::new(false)],
            returned: Plain::new(0),
        })
    }

    fn own<R>(&self, with: impl FnOnce(&mut Own) -> R) -> R {
        // SAFETY: loom checks that nobody else does.
        self.own.with_mut(|own| with(unsafe { &mut *own }))
    }

    /// One turn, as `process::turn` runs it.
    fn turn(&self) {
        self.mailbox.begin();
        self.own(|own| own.turns += 1);
        loop {
            self.take_in();
            let left = match self.idle {
                Idle::Listen => self.mailbox.listen(),
                Idle::Park => self.mailbox.park(),
            };
            if left {
                return;
            }
        }
    }

    fn take_in(&self) {
        if !self.mailbox.has_arrivals() {
            return;
        }
        let taken = self.mailbox.take();
        let woken = taken.woken();
        self.own(|own| {
            own.signals += usize::from(taken.has_signal());
            let mut list = List::new();
            taken.stack().turn(&mut list, usize::MAX);
            while let Some(node) = list.pop_front() {
                // SAFETY: pushed below, and ours now.
                let (from, place) = unsafe { open(node) };
                assert_eq!(own.got[from], place, "in the order of their pushes");
                own.got[from] += 1;
            }
            if woken {
                for (seen, work) in own.seen.iter_mut().zip(&self.work) {
                    *seen |= work.load(Relaxed);
                }
            }
        });
    }

    fn after(&self, pushed: Pushed, node: *mut Node) {
        match pushed {
            Pushed::Quiet => {}
            Pushed::Schedule => self.turn(),
            Pushed::Closed => {
                // SAFETY: given back.
                unsafe { open(node) };
                self.returned.fetch_add(1, Relaxed);
            }
        }
    }

    fn push(&self, from: usize, place: usize) {
        let node = mail(from, place);
        // SAFETY: a fresh node.
        let pushed = unsafe { self.mailbox.push(node) };
        self.after(pushed, node);
    }

    fn push_signal(&self, from: usize, place: usize) {
        let node = mail(from, place);
        // SAFETY: a fresh node.
        let pushed = unsafe { self.mailbox.push_signal(node) };
        self.after(pushed, node);
    }

    fn work_and_wake(&self, waker: usize) {
        self.work[waker].store(true, Relaxed);
        if self.mailbox.wake() {
            self.turn();
        }
    }

    /// Dies, and drops what had arrived. How many that were.
    fn die(&self) -> usize {
        // SAFETY: loom checks that nobody reads.
        self.exit.with_mut(|exit| unsafe { *exit = "dead" });
        let mut list = List::new();
        self.mailbox.close().stack().turn(&mut list, usize::MAX);
        let mut n = 0;
        while let Some(node) = list.pop_front() {
            // SAFETY: pushed, and taken by the close.
            unsafe { open(node) };
            n += 1;
        }
        n
    }

    /// Ends a model: what has arrived is dropped.
    fn end(&self) {
        if !self.mailbox.is_closed() {
            self.die();
        }
    }
}

fn spawn(process: &Arc<Process>, run: impl FnOnce(&Process) + 'static) -> thread::JoinHandle<()> {
    let process = process.clone();
    thread::spawn(move || run(&process))
}

/// Invariants 1, 2, 4 and 5.
#[test]
fn mail_that_races_with_listen_is_handled_in_order_and_by_one_turn_at_a_time() {
    loom::model(|| {
        let process = Process::new(Idle::Listen);
        let sender = spawn(&process, |process| {
            process.push(0, 0);
            process.push(0, 1);
        });
        process.turn();
        sender.join().unwrap();
        process.own(|own| assert_eq!(own.got, [2, 0, 0]));
        process.end();
    });
}

/// Invariants 1, 2, 4 and 5, with the senders racing each other as well.
#[test]
fn of_two_senders_each_keeps_its_order_and_one_queues_the_process() {
    loom::model(|| {
        let process = Process::new(Idle::Listen);
        let other = spawn(&process, |process| process.push(0, 0));
        process.turn();
        process.push(1, 0);
        process.push(1, 1);
        other.join().unwrap();
        process.own(|own| {
            assert_eq!(own.got, [1, 2, 0]);
            assert!(own.turns <= 4);
        });
        process.end();
    });
}

/// Invariant 4: what lies in the mailbox together comes out in order, too.
#[test]
fn nodes_taken_together_come_out_in_the_order_of_their_pushes() {
    loom::model(|| {
        let process = Process::new(Idle::Listen);
        let senders = [0, 1].map(|from| {
            spawn(&process, move |process| {
                process.push(from, 0);
                process.push(from, 1);
            })
        });
        for sender in senders {
            sender.join().unwrap();
        }
        process.turn();
        process.own(|own| assert_eq!((own.got, own.turns), ([2, 2, 0], 1)));
        process.end();
    });
}

/// Invariant 5, for `listen`: the sender that runs the next turn has nothing but the mailbox to see
/// the last one by.
#[test]
fn a_turn_sees_what_the_one_before_it_wrote_and_then_listened() {
    loom::model(|| {
        let process = Process::new(Idle::Listen);
        let senders = [0, 1].map(|from| spawn(&process, move |process| process.push(from, 0)));
        process.turn();
        for sender in senders {
            sender.join().unwrap();
        }
        process.own(|own| assert_eq!(own.got, [1, 1, 0]));
        process.end();
    });
}

/// Invariant 2, and 5 for `park`.
#[test]
fn a_signal_that_races_with_park_is_acted_on() {
    loom::model(|| {
        let process = Process::new(Idle::Park);
        let sender = spawn(&process, |process| process.push_signal(0, 0));
        process.turn();
        sender.join().unwrap();
        process.own(|own| assert_eq!((own.got, own.signals), ([1, 0, 0], 1)));
        process.end();
    });
}

/// Invariant 2, and 5 for `park`; the turn sees what every waker did.
#[test]
fn wakers_that_race_with_park_and_each_other_are_all_heard() {
    loom::model(|| {
        let process = Process::new(Idle::Park);
        let waker = spawn(&process, |process| process.work_and_wake(0));
        process.turn();
        process.work_and_wake(1);
        waker.join().unwrap();
        process.own(|own| assert_eq!(own.seen, [true, true]));
        process.end();
    });
}

/// Invariant 2: a wake-up that finds the flag standing adds its work to it.
#[test]
fn a_second_wake_before_the_turn_hands_its_work_over_too() {
    loom::model(|| {
        let process = Process::new(Idle::Park);
        let wakers = [0, 1].map(|n| spawn(&process, move |process| process.work_and_wake(n)));
        process.turn();
        for waker in wakers {
            waker.join().unwrap();
        }
        process.own(|own| assert_eq!(own.seen, [true, true]));
        process.end();
    });
}

/// The word's other transition: mail leaves a parked process where it is, and waits for its wake-up.
#[test]
fn mail_does_not_queue_a_parked_process_and_is_there_when_it_is_woken() {
    loom::model(|| {
        let process = Process::new(Idle::Park);
        let sender = spawn(&process, |process| process.push(0, 0));
        process.turn();
        sender.join().unwrap();
        let handled = process.own(|own| {
            assert_eq!(own.turns, 1, "the sender ran none");
            own.got[0]
        });
        assert!(handled <= 1);
        process.work_and_wake(0);
        process.own(|own| assert_eq!((own.turns, own.got, own.seen[0]), (2, [1, 0, 0], true)));
        process.end();
    });
}

/// Invariant 1: one of those that find the process idle queues it.
#[test]
fn a_signal_and_a_wake_that_race_queue_a_parked_process_once() {
    loom::model(|| {
        let process = Process::new(Idle::Park);
        process.turn();
        let sender = spawn(&process, |process| process.push_signal(0, 0));
        process.work_and_wake(0);
        sender.join().unwrap();
        process.own(|own| {
            assert_eq!((own.got[0], own.signals, own.seen[0]), (1, 1, true));
            assert!(own.turns <= 3);
        });
        process.end();
    });
}

/// Invariant 3: the node is with the dead process or with its sender.
#[test]
fn a_message_that_races_with_the_death_is_taken_or_comes_back() {
    loom::model(|| {
        let process = Process::new(Idle::Listen);
        let sender = spawn(&process, |process| {
            process.push(0, 0);
            process.push_signal(0, 1);
        });
        let taken = process.die();
        sender.join().unwrap();
        assert_eq!(taken + process.returned.load(Relaxed), 2);
    });
}

/// Invariant 3.
#[test]
fn nothing_wakes_the_dead() {
    loom::model(|| {
        let process = Process::new(Idle::Listen);
        let waker = spawn(&process, |process| {
            // The turn goes on until the death, so nobody has to queue the process.
            assert!(!process.mailbox.wake() && !process.mailbox.ring());
        });
        process.die();
        assert!(!process.mailbox.wake());
        process.push(0, 0);
        waker.join().unwrap();
        assert!(process.mailbox.is_closed());
        assert_eq!(process.returned.load(Relaxed), 1);
    });
}

/// The exit reason is there for whoever sees the death.
#[test]
fn whoever_sees_the_death_sees_what_was_written_before_it() {
    loom::model(|| {
        let process = Process::new(Idle::Listen);
        let reader = spawn(&process, |process| {
            if process.mailbox.is_closed() {
                // SAFETY: loom checks that no write races.
                process
                    .exit
                    .with(|exit| assert_eq!(unsafe { *exit }, "dead"));
            }
        });
        process.die();
        reader.join().unwrap();
    });
}

/// A bounded mailbox's ring, whose lock both sides hold when they touch the word.
#[test]
fn mail_in_a_ring_that_races_with_listen_is_handled() {
    struct Bounded {
        process: Arc<Process>,
        ring: Mutex<Vec<usize>>,
    }
    impl Bounded {
        fn turn(&self) {
            self.process.mailbox.begin();
            self.process.own(|own| own.turns += 1);
            loop {
                self.process.take_in();
                let got = self.ring.lock().drain(..).count();
                self.process.own(|own| own.got[0] += got);
                let ring = self.ring.lock();
                if ring.is_empty() && self.process.mailbox.listen() {
                    return;
                }
            }
        }
        fn push(&self) {
            let mut ring = self.ring.lock();
            ring.push(0);
            let schedule = self.process.mailbox.ring();
            drop(ring);
            if schedule {
                self.turn();
            }
        }
    }
    loom::model(|| {
        let bounded = Arc::new(Bounded {
            process: Process::new(Idle::Listen),
            ring: Mutex::new(Vec::new()),
        });
        let other = bounded.clone();
        let sender = thread::spawn(move || other.push());
        bounded.turn();
        sender.join().unwrap();
        bounded.process.own(|own| assert_eq!(own.got[0], 1));
        bounded.process.end();
    });
}
