//! `sched::idle`: a wake-up that is lost leaves a thread asleep for good, which loom reports as a
//! deadlock.
//!
//! Stand-ins: a run queue is a counter with no more ordering than crossbeam-deque gives (a Release
//! push, an Acquire steal, a Relaxed look); the armed timers are two cells; the clock moves when a
//! model says so, and a timed wait ends only then. A thread that has found work never comes back,
//! as if stuck in a handler: so every item and every timer must find a thread of its own.

use loom::sync::Arc;
use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use loom::thread::{self, JoinHandle};

use crate::sched::idle::{Idle, Outlook, WATCH_MS, Woken};

/// Explores `body` with at most this many preemptions an execution: three threads with a lock
/// between them are too many for all. `LOOM_MAX_PREEMPTIONS` overrides it.
fn model_within(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.check(body);
}

const UNARMED: u64 = u64::MAX;

struct World {
    idle: Idle,
    queues: [AtomicUsize; 2],
    timers: [AtomicU64; 2],
    clock: AtomicU64,
}

impl World {
    fn new(threads: usize) -> Arc<World> {
        Arc::new(World {
            idle: Idle::new(threads, 0),
            queues: [AtomicUsize::new(0), AtomicUsize::new(0)],
            timers: [AtomicU64::new(UNARMED), AtomicU64::new(UNARMED)],
            clock: AtomicU64::new(0),
        })
    }

    /// Each queue has one pusher and gets one item.
    fn push(&self, queue: usize) {
        self.queues[queue].store(1, Release);
    }

    /// As `Core::inject` does.
    fn push_from_outside(&self, queue: usize) {
        self.push(queue);
        self.idle
            .notify_from_outside(|| self.queues.iter().any(|queue| queue.load(Relaxed) > 0));
    }

    fn steal(&self) -> bool {
        self.queues
            .iter()
            .any(|queue| queue.compare_exchange(1, 0, Acquire, Relaxed).is_ok())
    }

    fn arm(&self, timer: usize, at: u64) {
        self.timers[timer].store(at, Relaxed);
        self.idle.timer_armed(at);
    }

    /// Disarms one timer that is due.
    fn fire(&self) -> bool {
        let now = self.clock.load(Relaxed);
        self.timers.iter().any(|timer| {
            let at = timer.load(Relaxed);
            at <= now
                && timer
                    .compare_exchange(at, UNARMED, Relaxed, Relaxed)
                    .is_ok()
        })
    }

    fn move_clock(&self, now: u64) {
        self.clock.store(now, Relaxed);
        self.idle.clock_moved();
    }

    /// A scheduler thread, until it has found one item or fired one timer. `false`: shut down.
    fn run(&self, me: usize) -> bool {
        if self.steal() {
            return true;
        }
        let mut search = self.idle.start_searching();
        loop {
            if let Some(mine) = search.take() {
                if self.steal() {
                    self.idle.found_work(mine, &self);
                    return true;
                }
                search = Some(mine);
            }
            search = match self.idle.sleep(me, search.take(), &mut &*self) {
                Woken::Work(search) => Some(search),
                Woken::Timer(search) if self.fire() => {
                    self.idle.found_work(search, &self);
                    return true;
                }
                Woken::Timer(search) => Some(search),
                Woken::Shutdown => return false,
            };
        }
    }
}

impl Outlook for &World {
    fn work(&self) -> bool {
        self.queues.iter().any(|queue| queue.load(Relaxed) > 0)
    }

    fn next_deadline(&self) -> Option<u64> {
        let earliest = self.timers.iter().map(|timer| timer.load(Relaxed)).min();
        earliest.filter(|&at| at != UNARMED)
    }

    fn now(&self) -> u64 {
        self.clock.load(Relaxed)
    }
}

fn start(world: &Arc<World>, me: usize) -> JoinHandle<bool> {
    let world = world.clone();
    thread::spawn(move || world.run(me))
}

#[test]
fn a_push_that_races_with_the_only_thread_going_to_sleep_is_found() {
    loom::model(|| {
        let world = World::new(1);
        let sleeper = start(&world, 0);
        world.push(0);
        world.idle.notify();
        assert!(sleeper.join().unwrap());
    });
}

#[test]
fn of_two_pushes_from_two_threads_neither_is_lost_on_one_sleeper() {
    model_within(3, || {
        let world = World::new(1);
        let sleeper = {
            let world = world.clone();
            thread::spawn(move || world.run(0) && world.run(0))
        };
        let other = {
            let world = world.clone();
            thread::spawn(move || {
                world.push(1);
                world.idle.notify();
            })
        };
        world.push(0);
        world.idle.notify();
        other.join().unwrap();
        assert!(sleeper.join().unwrap());
    });
}

#[test]
fn of_two_sleepers_one_finds_the_one_push() {
    model_within(3, || {
        let world = World::new(2);
        let thread = |me| {
            let world = world.clone();
            thread::spawn(move || {
                let found = world.run(me);
                world.idle.shutdown();
                found
            })
        };
        let (one, two) = (thread(0), thread(1));
        world.push(0);
        world.idle.notify();
        assert!(one.join().unwrap() ^ two.join().unwrap());
    });
}

#[test]
fn a_searcher_that_finds_work_passes_the_baton_for_the_rest() {
    model_within(3, || {
        let world = World::new(2);
        let (one, two) = (start(&world, 0), start(&world, 1));
        world.push(0);
        world.idle.notify();
        world.push(1);
        world.idle.notify();
        assert!(one.join().unwrap() && two.join().unwrap());
    });
}

#[test]
fn a_push_from_outside_that_races_with_the_only_thread_going_to_sleep_is_found() {
    loom::model(|| {
        let world = World::new(1);
        let sleeper = start(&world, 0);
        world.push_from_outside(0);
        assert!(sleeper.join().unwrap());
    });
}

#[test]
fn of_a_sleeper_and_a_thread_that_is_awake_one_finds_a_push_from_outside() {
    model_within(3, || {
        let world = World::new(2);
        let thread = |me| {
            let world = world.clone();
            thread::spawn(move || {
                let found = world.run(me);
                world.idle.shutdown();
                found
            })
        };
        let (one, two) = (thread(0), thread(1));
        world.push_from_outside(0);
        assert!(one.join().unwrap() ^ two.join().unwrap());
    });
}

#[test]
fn two_pushes_from_outside_find_a_thread_each() {
    model_within(3, || {
        let world = World::new(2);
        let (one, two) = (start(&world, 0), start(&world, 1));
        world.push_from_outside(0);
        world.push_from_outside(1);
        assert!(one.join().unwrap() && two.join().unwrap());
    });
}

#[test]
fn while_the_woken_thread_searches_a_second_notify_wakes_nobody() {
    model_within(2, || {
        let world = World::new(2);
        let thread = |me| {
            let world = world.clone();
            // The search is never ended.
            thread::spawn(move || {
                matches!(world.idle.sleep(me, None, &mut &*world), Woken::Work(_))
            })
        };
        let (one, two) = (thread(0), thread(1));
        let other = {
            let world = world.clone();
            thread::spawn(move || world.idle.notify())
        };
        world.idle.notify();
        other.join().unwrap();
        world.idle.shutdown();
        assert!(!(one.join().unwrap() && two.join().unwrap()));
    });
}

#[test]
fn a_timer_armed_while_the_only_sleeper_lies_down_is_kept() {
    loom::model(|| {
        let world = World::new(2);
        let sleeper = start(&world, 0);
        world.arm(0, 5);
        world.move_clock(5);
        assert!(sleeper.join().unwrap());
    });
}

#[test]
fn an_earlier_timer_shortens_the_sleep_of_the_keeper() {
    loom::model(|| {
        let world = World::new(2);
        world.arm(0, 9);
        let sleeper = start(&world, 0);
        world.arm(1, 5);
        world.move_clock(5);
        assert!(sleeper.join().unwrap());
        assert_eq!((&*world).next_deadline(), Some(9));
    });
}

#[test]
fn a_keeper_that_woke_for_its_timer_hands_on_the_next() {
    model_within(2, || {
        let world = World::new(2);
        world.arm(0, 1);
        let (one, two) = (start(&world, 0), start(&world, 1));
        world.move_clock(1);
        world.arm(1, 2);
        world.move_clock(2);
        assert!(one.join().unwrap() && two.join().unwrap());
    });
}

#[test]
fn work_and_a_timer_each_find_a_thread() {
    model_within(3, || {
        let world = World::new(2);
        let (one, two) = (start(&world, 0), start(&world, 1));
        world.push(0);
        world.idle.notify();
        world.arm(0, 1);
        world.move_clock(1);
        assert!(one.join().unwrap() && two.join().unwrap());
    });
}

#[test]
fn a_notify_does_not_take_the_keeper_away_from_a_timer() {
    model_within(3, || {
        let world = World::new(2);
        let (one, two) = (start(&world, 0), start(&world, 1));
        world.arm(0, 1);
        world.push(0);
        world.idle.notify();
        world.move_clock(1);
        assert!(one.join().unwrap() && two.join().unwrap());
    });
}

/// Lets time pass, as the stuck thread that pushed the last item, until a watch has found it.
fn tick_until_found(world: &World) {
    let mut now = 0;
    while (&world).work() {
        now += WATCH_MS;
        world.move_clock(now);
        thread::yield_now();
    }
}

#[test]
fn a_local_push_that_misses_a_thread_going_to_sleep_is_found_by_its_watch() {
    loom::model(|| {
        let world = World::new(2);
        let sleeper = start(&world, 0);
        world.push(0);
        world.idle.notify_local();
        tick_until_found(&world);
        assert!(sleeper.join().unwrap());
    });
}

#[test]
fn an_item_in_the_slot_of_a_stuck_thread_is_found_by_the_watch() {
    model_within(3, || {
        let world = World::new(2);
        let stuck = Arc::new(AtomicBool::new(false));
        let thread = |me| {
            let (world, stuck) = (world.clone(), stuck.clone());
            thread::spawn(move || {
                assert!(world.run(me));
                // The first to find work fills its slot from a handler and gets stuck there.
                if !stuck.swap(true, Relaxed) {
                    world.push(1);
                    world.idle.watch();
                    tick_until_found(&world);
                }
            })
        };
        let (one, two) = (thread(0), thread(1));
        world.push(0);
        world.idle.notify();
        one.join().unwrap();
        two.join().unwrap();
    });
}

#[test]
fn shutdown_ends_a_sleep_that_has_just_begun() {
    model_within(3, || {
        let world = World::new(2);
        let (one, two) = (start(&world, 0), start(&world, 1));
        world.idle.shutdown();
        assert!(!one.join().unwrap() && !two.join().unwrap());
    });
}
