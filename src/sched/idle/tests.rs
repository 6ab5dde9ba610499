use std::time::Instant;

use super::*;
use crate::sync::atomic::AtomicUsize;
use crate::sync::atomic::Ordering::{Acquire, Release};

/// Items are a count; anyone may take them. Time is real.
struct World {
    idle: Idle,
    items: AtomicUsize,
    taken: AtomicUsize,
    timer: AtomicU64,
    fired: AtomicUsize,
    start: Instant,
}

impl World {
    fn new(threads: usize, spin: u32) -> World {
        World {
            idle: Idle::new(threads, spin),
            items: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            timer: AtomicU64::new(NEVER),
            fired: AtomicUsize::new(0),
            start: Instant::now(),
        }
    }

    fn push(&self) {
        self.items.fetch_add(1, Release);
    }

    fn take(&self) -> bool {
        let took = self
            .items
            .fetch_update(Acquire, Relaxed, |items| items.checked_sub(1))
            .is_ok();
        self.taken.fetch_add(usize::from(took), Release);
        took
    }

    /// A scheduler thread, until shutdown.
    fn run(&self, me: usize) {
        loop {
            let mut search = self.idle.start_searching();
            loop {
                if self.take() {
                    if let Some(search) = search {
                        self.idle.found_work(search, &self);
                    }
                    break;
                }
                search = Some(match self.idle.sleep(me, search, &mut &*self) {
                    Woken::Work(search) => search,
                    Woken::Timer(search) => {
                        if self.timer.swap(NEVER, Relaxed) != NEVER {
                            self.fired.fetch_add(1, Release);
                        }
                        search
                    }
                    Woken::Shutdown => return,
                });
            }
        }
    }

    /// Runs `body` beside the scheduler threads `ids`, then shuts down.
    fn with_threads(&self, ids: std::ops::Range<usize>, body: impl FnOnce()) {
        struct Shutdown<'a>(&'a Idle);
        impl Drop for Shutdown<'_> {
            fn drop(&mut self) {
                self.0.shutdown();
            }
        }
        thread::scope(|scope| {
            for me in ids {
                scope.spawn(move || self.run(me));
            }
            let _even_if_body_panics = Shutdown(&self.idle);
            body();
        });
    }

    fn keeper(&self) -> Option<usize> {
        self.idle.sleepers.lock().keeper
    }
}

impl Outlook for &World {
    fn work(&self) -> bool {
        self.items.load(Relaxed) > 0
    }

    fn next_deadline(&self) -> Option<u64> {
        Some(self.timer.load(Relaxed)).filter(|&at| at != NEVER)
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }
}

fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let start = Instant::now();
    while !reached() {
        assert!(start.elapsed() < Duration::from_secs(30), "never {what}");
        thread::yield_now();
    }
}

#[test]
fn at_most_half_of_the_threads_search_at_once() {
    let allowed = |threads| {
        let idle = Idle::new(threads, 0);
        std::iter::from_fn(|| idle.start_searching()).count()
    };
    assert_eq!([1, 2, 3, 4, 8].map(allowed), [1, 1, 2, 2, 4]);
}

#[test]
fn when_all_sleep_and_no_timer_is_armed_nobody_has_a_timeout() {
    let world = World::new(3, SPIN);
    world.with_threads(0..3, || {
        until("silent", || {
            world.idle.asleep() == 3 && world.keeper().is_none()
        });
        assert_eq!(world.idle.shared.until.load(Relaxed), NEVER);
        let searching = searchers(world.idle.shared.summary.load(Relaxed));
        assert_eq!(searching, 0);
    });
}

#[test]
fn each_item_pushed_to_sleeping_threads_is_taken() {
    for spin in [0, SPIN] {
        let world = World::new(2, spin);
        world.with_threads(0..2, || {
            for pushed in 1..=500 {
                world.push();
                world.idle.notify();
                until("taken", || world.taken.load(Acquire) == pushed);
            }
        });
    }
}

#[test]
fn bursts_from_several_threads_are_taken_whole() {
    let world = World::new(3, SPIN);
    world.with_threads(0..3, || {
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        world.push();
                        world.idle.notify();
                    }
                });
            }
        });
        until("all taken", || world.taken.load(Acquire) == 10_000);
    });
}

#[test]
fn a_timer_armed_while_all_sleep_fires() {
    let world = World::new(2, 0);
    world.with_threads(0..2, || {
        for fired in 1..=5 {
            until("asleep", || world.idle.asleep() == 2);
            let at = (&world).now() + 2;
            world.timer.store(at, Relaxed);
            world.idle.timer_armed(at);
            until("fired", || world.fired.load(Acquire) == fired);
        }
    });
}

#[test]
fn an_item_nobody_was_told_of_is_found_while_its_thread_is_stuck() {
    // The stuck thread is this one.
    let world = World::new(2, 0);
    world.with_threads(1..2, || {
        until("watched", || world.keeper() == Some(1));
        world.push();
        until("taken", || world.taken.load(Acquire) == 1);
    });
}

#[test]
fn a_notify_leaves_the_keeper_asleep_if_it_can() {
    let world = World::new(3, 0);
    // No thread waits: the list alone tells.
    let mut list = world.idle.sleepers.lock();
    list.asleep.extend([0, 1]);
    list.keeper = Some(1);
    world.idle.shared.summary.store(2 * SLEEPER, Relaxed);
    drop(list);
    world.idle.notify();
    assert_eq!(world.idle.sleepers.lock().asleep, [1]);
    assert_eq!(world.keeper(), Some(1));
    world.idle.notify();
    assert_eq!(world.idle.asleep(), 1, "someone searches already");
}

/// Work turns up as the thread looks for it, on its way to sleep.
struct Busy<'a> {
    idle: &'a Idle,
    /// Whether the pusher has woken this thread before it notices by itself.
    woken: bool,
}

impl Outlook for Busy<'_> {
    fn work(&self) -> bool {
        if self.woken {
            self.idle.notify();
        }
        true
    }

    fn next_deadline(&self) -> Option<u64> {
        None
    }

    fn now(&self) -> u64 {
        0
    }
}

#[test]
fn a_keeper_that_finds_work_on_its_way_back_to_sleep_still_owes_its_role() {
    for woken in [false, true] {
        let world = World::new(2, 0);
        world.with_threads(1..2, || {
            until("watched", || world.keeper() == Some(1));
            world.timer.store(0, Relaxed);
            let Woken::Timer(search) = world.idle.sleep(0, None, &mut &world) else {
                panic!("the deadline has passed");
            };
            assert_eq!(world.keeper(), None);
            world.timer.store(NEVER, Relaxed);
            let mut busy = Busy {
                idle: &world.idle,
                woken,
            };
            let Woken::Work(search) = world.idle.sleep(0, Some(search), &mut busy) else {
                panic!("there is work");
            };
            assert!(search.owes_keeper);
            world.idle.found_work(search, &&world);
            assert_eq!(world.keeper(), Some(1));
        });
    }
}

#[test]
fn a_thread_that_goes_to_sleep_after_shutdown_does_not() {
    let world = World::new(1, 0);
    world.idle.shutdown();
    let search = world.idle.start_searching();
    let woken = world.idle.sleep(0, search, &mut &world);
    assert!(matches!(woken, Woken::Shutdown));
    assert_eq!(world.idle.shared.summary.load(Relaxed), 0);
    assert_eq!(world.idle.wakeups(), 0);
}
