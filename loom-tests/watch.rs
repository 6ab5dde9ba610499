//! Models of [`sched::watch`](crate::sched::watch) and [`sched::ready`](crate::sched::ready): one
//! says something and then looks, the other looks and then says something.

use std::time::Duration;

use loom::sync::Arc;
use loom::thread;

use crate::sched::ready::Ready;
use crate::sched::watch::Watch;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::atomic::{AtomicBool, AtomicUsize};

/// The watchdog's pause. It ends by itself while a thread is awake: another thread is the clock then.
/// A watchdog that sleeps although a thread is awake is a deadlock, which loom reports.
fn pause(watch: &Arc<Watch>, awake: &AtomicBool) {
    watch.pause(Duration::ZERO, || {
        let awake = awake.load(Relaxed);
        if awake {
            let clock = watch.clone();
            thread::spawn(move || clock.ring());
        }
        awake
    });
}

#[test]
fn a_thread_that_wakes_while_the_watchdog_lies_down_is_watched() {
    loom::model(|| {
        let shared = Arc::new((Arc::new(Watch::new()), AtomicBool::new(false)));
        let other = shared.clone();
        let watchdog = thread::spawn(move || pause(&other.0, &other.1));
        shared.1.store(true, Relaxed);
        shared.0.stir();
        watchdog.join().unwrap();
    });
}

/// The end of the system rings without a look.
#[test]
fn a_ring_ends_the_pause_or_was_said_before_it() {
    loom::model(|| {
        let shared = Arc::new((Arc::new(Watch::new()), AtomicBool::new(false)));
        let other = shared.clone();
        let watchdog = thread::spawn(move || pause(&other.0, &other.1));
        shared.1.store(true, Relaxed);
        shared.0.ring();
        watchdog.join().unwrap();
    });
}

struct Host {
    ready: Ready,
    input: [AtomicBool; 2],
    told: AtomicUsize,
}

impl Host {
    fn new() -> Arc<Host> {
        Arc::new(Host {
            ready: Ready::new(),
            input: [AtomicBool::new(false), AtomicBool::new(false)],
            told: AtomicUsize::new(0),
        })
    }

    fn push(&self, input: usize) {
        self.input[input].store(true, Relaxed);
        if self.ready.claim() {
            self.told.fetch_add(1, Relaxed);
        }
    }

    /// How many inputs the look finds.
    fn look(&self) -> usize {
        self.ready.arm();
        self.input
            .iter()
            .filter(|input| input.load(Relaxed))
            .count()
    }
}

#[test]
fn input_is_found_by_the_last_look_or_calls_the_host() {
    loom::model(|| {
        let host = Host::new();
        let other = host.clone();
        let sender = thread::spawn(move || other.push(0));
        let found = host.look();
        sender.join().unwrap();
        assert!(found == 1 || host.told.load(Relaxed) == 1);
    });
}

#[test]
fn of_two_inputs_after_the_last_look_one_calls_the_host() {
    loom::model(|| {
        let host = Host::new();
        let senders = [0, 1].map(|input| {
            let host = host.clone();
            thread::spawn(move || host.push(input))
        });
        let found = host.look();
        for sender in senders {
            sender.join().unwrap();
        }
        let told = host.told.load(Relaxed);
        assert!(told <= 1 && (found == 2 || told == 1));
    });
}
