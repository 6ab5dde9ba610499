//! Who sleeps and who is woken: the scheduler threads' agreement on when to park, which one wakes
//! for new work, and which one sleeps no longer than the next timer.
//!
//! A thread is in one of three states. It holds a [`Search`] exactly while it searches, and runs
//! user code only while it does not.
//!
//! ```text
//!              start_searching                sleep
//!   RUNNING ───────────────────▶ SEARCHING ─────────▶ ASLEEP
//!      ▲  ▲                        │   ▲                │
//!      │  └────────────────────────┘   └────────────────┘
//!      │         found_work          notify · timeout · own recheck
//!      └─ a thread refused a search goes to sleep from RUNNING
//! ```
//! At most one sleeper, the *keeper* of the time, sleeps with a timeout: until the next timer, and while some
//! thread is awake also no longer than [`WATCH_MS`], to look in on threads that are stuck.
//!
//! # Invariants
//! 1. The summary word counts the threads asleep and the `Search`es, and only the holder of the
//!    lock on [`Sleepers`] changes the former. A sleeper is woken by taking it off the list.
//! 2. *No lost wake-up.* Work pushed before [`notify`](Idle::notify) is found by a searcher, by a
//!    thread on its way to sleep, or by a sleeper that is woken for it.
//! 3. *No herd.* A `notify` wakes one sleeper at most, and none while anyone searches: the woken
//!    thread counts as searching before its waker lets go of the lock. The last searcher to find
//!    work wakes one more if there is more.
//! 4. *Timers.* While a timer is armed and anyone sleeps, a sleeper is keeper for a time no later
//!    than the timer's; or some thread is awake that will see to it before it sleeps or runs user
//!    code. So a handler that holds its thread delays no timer while another thread sleeps.
//! 5. *Watch.* A thread that goes to sleep while another is awake leaves a keeper on watch, and the
//!    watch ends only when all are asleep, or none is, or with a thread that sets it up again
//!    before it sleeps or runs user code.
//! 6. *Silence.* With no timer armed and all asleep, nobody has a timeout: 0 wake-ups a second.
//!
//! # Why nothing is lost
//! Both sides write, fence, and read what the other wrote; of two sequentially consistent fences
//! one comes first, and the read behind the other one sees the write before it.
//!
//! ```text
//!   notify: push work ──▶ fence ──▶ read the summary
//!   sleep:  join the sleepers, leave the searchers ──▶ fence ──▶ look for work, read the deadline
//!   found_work (last searcher): leave the searchers ──▶ fence ──▶ look for more work
//! ```
//! So if `notify` reads a searcher, the last of them leaves later than that read and its look sees
//! the push. If it reads no sleepers, whoever joins them later sees it. Else it wakes one, who does.
//! A timer and the keeper's time take the place of work and summary in
//! [`timer_armed`](Idle::timer_armed). The list of sleepers and the keeper's time are changed under
//! the one lock a sleeper waits with, so from there on it is the textbook condition variable.
//!
//! # What local pushes may skip
//! [`notify_local`](Idle::notify_local) reads without a fence, so it may miss a thread that is just
//! going to sleep. The push is not lost, its thread will look at its own queue; only help is late.
//! The thread missed went to sleep while the pusher was awake, so it has left a keeper on watch
//! (invariant 5), and help comes at the next push, or when the handler now running ends, or when the
//! watch looks, in `WATCH_MS`, whichever is first. [`watch`](Idle::watch) asks for the last alone,
//! without waking a searcher: it is for the LIFO slot, whose item is better left to its owner
//! unless the owner is stuck.

use std::hint;
use std::thread;
use std::time::Duration;

use crate::sync::atomic::Ordering::{Relaxed, SeqCst};
use crate::sync::atomic::{AtomicU32, AtomicU64, fence};
use crate::sync::{Condvar, Mutex, MutexGuard};

#[cfg(all(test, not(loom)))]
mod tests;

/// How many pauses of the processor a push from outside waits for a scheduler thread to search by
/// itself: about a microsecond. (Two show a model all there is to see.)
const PATIENCE: u32 = if cfg!(all(test, loom)) { 2 } else { 40 };

/// How often the keeper looks in on threads that may be stuck, while any is awake.
pub(crate) const WATCH_MS: u64 = 10;

/// The default number of looks the last searcher takes before it parks; see [`Idle::new`].
pub(crate) const SPIN: u32 = 40;

/// Each look of a spin is followed by twice the pause of the one before, up to 2 to this power.
const SPIN_PAUSE_LIMIT: u32 = 6;

/// "No deadline": the keeper keeps no timer.
const NEVER: u64 = u64::MAX;

// The summary word: bits 0..15 count searchers, 15..30 sleepers, bit 30 is the watch.
const SEARCHER: u32 = 1;
const SLEEPER: u32 = 1 << 15;
const WATCHED: u32 = 1 << 30;

fn searchers(summary: u32) -> u32 {
    summary % SLEEPER
}

fn sleepers(summary: u32) -> u32 {
    summary % WATCHED / SLEEPER
}

/// What an idle thread can see of the scheduler around it.
///
/// Called with no lock of `Idle` held, `now` apart.
pub(crate) trait Outlook {
    /// Whether a search begun now would find something: any queue, injector or slot not empty, the
    /// thread's own included. A `true` that the search cannot make good keeps the thread awake.
    fn work(&self) -> bool;

    /// Asked by the thread on watch: whether work waits on a thread that has not moved since the
    /// last look. `true` makes the asker search.
    fn stuck(&mut self) -> bool {
        self.work()
    }

    /// The earliest armed deadline, or a lower bound of it, on the clock of [`now`](Self::now).
    fn next_deadline(&self) -> Option<u64>;

    /// The time in milliseconds, rounded down. Must not block.
    fn now(&self) -> u64;
}

/// The right, and the duty, to search: while one exists `notify` leaves new work to its holder.
///
/// Given up by [`Idle::found_work`] before any user code runs, or by [`Idle::sleep`]; one that is
/// dropped silences `notify` for good.
#[must_use = "end the search with `found_work` or `sleep`"]
#[derive(Debug)]
pub(crate) struct Search {
    /// Whether it may spin before it parks: pointless for a thread that woke for a timer.
    spins: bool,
    /// This thread was keeper, and hands the role on before it runs user code (invariant 4).
    owes_keeper: bool,
}

/// Why [`Idle::sleep`] came back.
#[must_use]
#[derive(Debug)]
pub(crate) enum Woken {
    /// There may be work: search.
    Work(Search),
    /// A deadline has passed: fire the timers, then search.
    Timer(Search),
    /// [`Idle::shutdown`] was called.
    Shutdown,
}

/// The idle protocol of one scheduler, shared by its threads and by all who push work to it.
pub(crate) struct Idle {
    threads: u32,
    spin: u32,
    shared: Shared,
    sleepers: Mutex<Sleepers>,
    /// Where each thread waits, by its index, with the lock on `sleepers`.
    beds: Box<[Condvar]>,
}

/// What `notify` reads: on cache lines of its own, which stay shared while everybody is awake.
#[repr(align(128))]
struct Shared {
    summary: AtomicU32,
    /// The time the keeper sleeps for. Written under the lock.
    until: AtomicU64,
}

struct Sleepers {
    /// Who is asleep; the last to lie down is woken first, its cache is the warmest.
    asleep: Vec<usize>,
    keeper: Option<usize>,
    shutdown: bool,
    wakeups: u64,
}

impl Idle {
    /// For `threads` scheduler threads, all awake.
    ///
    /// Before the last searcher parks it looks for work `spin` times more, with growing pauses
    /// (the first few double, the later ones also yield the core): a caller outside the scheduler
    /// that waits for a reply and calls again then pays no system call. It is bounded and
    /// happens once a sleep; 0 parks at once. [`SPIN`] looks for about 70 µs.
    pub(crate) fn new(threads: usize, spin: u32) -> Self {
        assert!(threads > 0 && threads < SLEEPER as usize);
        Idle {
            threads: threads as u32,
            spin,
            shared: Shared {
                summary: AtomicU32::new(0),
                until: AtomicU64::new(NEVER),
            },
            sleepers: Mutex::new(Sleepers {
                asleep: Vec::with_capacity(threads),
                keeper: None,
                shutdown: false,
                wakeups: 0,
            }),
            beds: (0..threads).map(|_| Condvar::new()).collect(),
        }
    }

    /// Says that work was pushed where any searcher finds it, and wakes a sleeper if need be.
    #[inline]
    pub(crate) fn notify(&self) {
        // Pairs with the fences in `sleep` and `found_work`: what was pushed before it is seen
        // there, or what was written there is seen here.
        fence(SeqCst);
        if self.needs_waking(self.shared.summary.load(Relaxed)) {
            self.wake_one();
        }
    }

    /// [`notify`](Self::notify) for a thread outside the scheduler: where a scheduler thread is awake
    /// that will be out of work in a moment, it is left to find the new work itself. Waking another
    /// costs the caller more than that moment, and in an exchange of calls the two would take turns
    /// at being woken. `waits` tells whether what was pushed still waits: once somebody has taken it
    /// there is nothing to wake anybody for.
    #[inline]
    pub(crate) fn notify_from_outside(&self, waits: impl Fn() -> bool) {
        // As in `notify`.
        fence(SeqCst);
        let mut summary = self.shared.summary.load(Relaxed);
        for _ in 0..PATIENCE {
            if !self.needs_waking(summary) || !waits() {
                return;
            }
            if sleepers(summary) == self.threads {
                break;
            }
            hint::spin_loop();
            // As good as the first read: it is behind the fence as well.
            summary = self.shared.summary.load(Relaxed);
        }
        self.wake_one();
    }

    /// [`notify`](Self::notify) for a scheduler thread that pushed to its own queue: one load while
    /// nobody sleeps. Help may be late by `WATCH_MS`; see the module.
    #[inline]
    pub(crate) fn notify_local(&self) {
        if sleepers(self.shared.summary.load(Relaxed)) > 0 {
            self.notify();
        }
    }

    /// Says that this scheduler thread holds an item it would rather run itself: wakes no searcher,
    /// but sees to it that a sleeper, if there is one, looks in every `WATCH_MS`.
    ///
    /// One load, unless a thread was woken since all slept and this is the first call after.
    #[inline]
    pub(crate) fn watch(&self) {
        // No fence: a sleeper this load misses went to sleep after it and watches (invariant 5). A
        // `WATCHED` it reads too late was cleared when all slept, before this thread was woken, or
        // by a thread that sets it again.
        let summary = self.shared.summary.load(Relaxed);
        if sleepers(summary) > 0 && summary & WATCHED == 0 {
            self.appoint_keeper(NEVER);
        }
    }

    /// Says that a timer was armed for `at`, and that `next_deadline` already tells.
    ///
    /// A thread that holds a [`Search`] need not call it for what it arms itself: the end of the
    /// search looks at the deadline.
    pub(crate) fn timer_armed(&self, at: u64) {
        // Pairs with the fence between joining the sleepers and reading the deadline, in `sleep`,
        // and with the one between giving up the role and reading it, in `found_work`.
        fence(SeqCst);
        if sleepers(self.shared.summary.load(Relaxed)) > 0 && at < self.shared.until.load(Relaxed) {
            self.appoint_keeper(at);
        }
    }

    /// Asks to search, with nothing of one's own left to run. `None`: half of the threads search
    /// already, go to sleep instead.
    pub(crate) fn start_searching(&self) -> Option<Search> {
        // Relaxed, and the bound may be overshot by threads that ask at once: nothing rests on the
        // moment a search begins, only on the moment it ends.
        if searchers(self.shared.summary.load(Relaxed)) * 2 >= self.threads {
            return None;
        }
        self.shared.summary.fetch_add(SEARCHER, Relaxed);
        Some(Search {
            spins: true,
            owes_keeper: false,
        })
    }

    /// Ends a search that found work, before it is run: wakes a sleeper if this was the last search
    /// and there is more, and hands on the keeper's role if this thread brought it from its sleep.
    pub(crate) fn found_work(&self, search: Search, outlook: &impl Outlook) {
        let before = self.shared.summary.fetch_sub(SEARCHER, Relaxed);
        let last = searchers(before) == 1;
        // Whoever joins the sleepers after that reads queues and deadline itself.
        if sleepers(before) == 0 || !(last || search.owes_keeper) {
            return;
        }
        // Pairs with the fences in `notify` and `timer_armed`, which may have read a searcher
        // that is one no more, or a keeper's time that is void.
        fence(SeqCst);
        if last && outlook.work() {
            self.wake_one();
        }
        if search.owes_keeper {
            self.appoint_keeper(outlook.next_deadline().unwrap_or(NEVER));
        }
    }

    /// Sleeps until there is work or a timer, as thread `me`, which has nothing left to run.
    pub(crate) fn sleep(
        &self,
        me: usize,
        search: Option<Search>,
        outlook: &mut impl Outlook,
    ) -> Woken {
        let search = match search {
            Some(search) if search.spins && self.spin(outlook) => return Woken::Work(search),
            search => search,
        };
        let searched = if search.is_some() { SEARCHER } else { 0 };
        let owed = search.is_some_and(|search| search.owes_keeper);
        {
            let mut list = self.sleepers.lock();
            if list.shutdown {
                self.shared.summary.fetch_sub(searched, Relaxed);
                return Woken::Shutdown;
            }
            list.asleep.push(me);
            // Relaxed: the fence below orders it.
            let change = SLEEPER.wrapping_sub(searched);
            self.shared.summary.fetch_add(change, Relaxed);
        }
        // Pairs with the fences in `notify` and `timer_armed`.
        fence(SeqCst);
        let work = outlook.work();
        let deadline = outlook.next_deadline().unwrap_or(NEVER);

        let mut list = self.sleepers.lock();
        if !list.asleep.contains(&me) {
            return woken_by_other(&list, owed);
        }
        if work {
            let mut search = self.get_up(&mut list, me);
            search.owes_keeper |= owed;
            return Woken::Work(search);
        }
        // A keeper this displaces finds out when its own timeout ends.
        self.keep(&mut list, me, deadline);
        self.park(list, me, outlook)
    }

    /// Waits until someone takes `me` off the list, or as keeper until there is reason to get up.
    fn park<'a>(
        &'a self,
        mut list: MutexGuard<'a, Sleepers>,
        me: usize,
        outlook: &mut impl Outlook,
    ) -> Woken {
        let mut look_at = None;
        loop {
            if !list.asleep.contains(&me) {
                return woken_by_other(&list, false);
            }
            if list.keeper != Some(me) {
                look_at = None;
                self.beds[me].wait(&mut list);
                list.wakeups += 1;
                continue;
            }
            let now = outlook.now();
            let until = self.shared.until.load(Relaxed);
            if until <= now {
                return Woken::Timer(Search {
                    spins: false,
                    ..self.get_up(&mut list, me)
                });
            }
            if list.asleep.len() as u32 == self.threads {
                look_at = None;
                self.stop_watching(&mut list);
                if until != NEVER {
                    self.wait_for(&mut list, me, until - now);
                }
                continue;
            }
            let due = *look_at.get_or_insert(now.saturating_add(WATCH_MS));
            if due > now {
                self.wait_for(&mut list, me, due.min(until) - now);
                continue;
            }
            look_at = None;
            drop(list);
            let stuck = outlook.stuck();
            list = self.sleepers.lock();
            if stuck && list.asleep.contains(&me) {
                return Woken::Work(self.get_up(&mut list, me));
            }
        }
    }

    /// Ends every sleep, now and from now on, with [`Woken::Shutdown`].
    pub(crate) fn shutdown(&self) {
        let mut list = self.sleepers.lock();
        list.shutdown = true;
        let asleep = list.asleep.len() as u32;
        list.asleep.clear();
        self.dismiss_keeper(&mut list);
        self.shared.summary.fetch_sub(asleep * SLEEPER, Relaxed);
        drop(list);
        self.beds.iter().for_each(|bed| {
            bed.notify_one();
        });
    }

    /// How often a parked thread has come back from its wait, for whatever reason.
    pub(crate) fn wakeups(&self) -> u64 {
        self.sleepers.lock().wakeups
    }

    /// For a model, whose timeouts do not end by themselves: the clock has moved.
    #[cfg(all(test, loom))]
    pub(crate) fn clock_moved(&self) {
        let list = self.sleepers.lock();
        if let Some(keeper) = list.keeper {
            self.beds[keeper].notify_one();
        }
    }

    /// How many threads are asleep just now. (One that spins before it parks is not.)
    pub(crate) fn asleep(&self) -> usize {
        sleepers(self.shared.summary.load(Relaxed)) as usize
    }

    fn needs_waking(&self, summary: u32) -> bool {
        sleepers(summary) > 0 && searchers(summary) == 0
    }

    #[cold]
    fn wake_one(&self) {
        let mut list = self.sleepers.lock();
        // Again, under the lock: of two that came here at once the second finds the first one's
        // sleeper searching. The argument of the module holds for this later read as well.
        if !self.needs_waking(self.shared.summary.load(Relaxed)) {
            return;
        }
        // The keeper only if there is no other: then none is left asleep to need one.
        let top = list.asleep.len() - 1;
        let other = top > 0 && list.keeper == Some(list.asleep[top]);
        let woken = list.asleep.remove(top - usize::from(other));
        if top == 0 {
            self.dismiss_keeper(&mut list);
        }
        let change = SEARCHER.wrapping_sub(SLEEPER);
        self.shared.summary.fetch_add(change, Relaxed);
        drop(list);
        self.beds[woken].notify_one();
    }

    /// Makes some sleeper, if there is one, keeper for no later than `until`, and put it on watch.
    #[cold]
    fn appoint_keeper(&self, until: u64) {
        let mut list = self.sleepers.lock();
        let Some(&first) = list.asleep.first() else {
            return;
        };
        // The first to lie down is the last to be woken for work.
        let keeper = list.keeper.unwrap_or(first);
        if self.keep(&mut list, keeper, until) {
            drop(list);
            self.beds[keeper].notify_one();
        }
    }

    /// Gives `keeper` the role if the one who has it sleeps longer than `until`, or does not watch
    /// and should. Says whether it did.
    fn keep(&self, list: &mut Sleepers, keeper: usize, until: u64) -> bool {
        let before = self.shared.until.load(Relaxed);
        let watched = self.shared.summary.load(Relaxed) & WATCHED != 0;
        let awake = (list.asleep.len() as u32) < self.threads;
        if before <= until && (watched || !awake) {
            return false;
        }
        list.keeper = Some(keeper);
        // Relaxed, both: read under the lock, or as a hint behind a fence.
        self.shared.until.store(before.min(until), Relaxed);
        if awake {
            self.shared.summary.fetch_or(WATCHED, Relaxed);
        }
        true
    }

    /// Called when all are asleep: nobody is left to be watched.
    fn stop_watching(&self, list: &mut Sleepers) {
        self.shared.summary.fetch_and(!WATCHED, Relaxed);
        if self.shared.until.load(Relaxed) == NEVER {
            list.keeper = None;
        }
    }

    fn dismiss_keeper(&self, list: &mut Sleepers) {
        list.keeper = None;
        self.shared.until.store(NEVER, Relaxed);
        self.shared.summary.fetch_and(!WATCHED, Relaxed);
    }

    /// Takes `me` off the list by its own doing.
    fn get_up(&self, list: &mut Sleepers, me: usize) -> Search {
        list.asleep.retain(|&thread| thread != me);
        let owes_keeper = list.keeper == Some(me);
        if owes_keeper {
            self.dismiss_keeper(list);
        }
        let change = SEARCHER.wrapping_sub(SLEEPER);
        self.shared.summary.fetch_add(change, Relaxed);
        Search {
            spins: true,
            owes_keeper,
        }
    }

    fn wait_for(&self, list: &mut MutexGuard<'_, Sleepers>, me: usize, millis: u64) {
        self.beds[me].wait_for(list, Duration::from_millis(millis));
        list.wakeups += 1;
    }

    /// Looks for work a bounded number of times, if nobody else searches.
    fn spin(&self, outlook: &impl Outlook) -> bool {
        if searchers(self.shared.summary.load(Relaxed)) > 1 {
            return false;
        }
        for look in 0..self.spin {
            if outlook.work() {
                return true;
            }
            for _ in 0..1 << look.min(SPIN_PAUSE_LIMIT) {
                hint::spin_loop();
            }
            if look > SPIN_PAUSE_LIMIT {
                thread::yield_now();
            }
        }
        false
    }
}

/// For a thread that another took off the list: `wake_one` has counted its search.
fn woken_by_other(list: &Sleepers, owes_keeper: bool) -> Woken {
    if list.shutdown {
        return Woken::Shutdown;
    }
    Woken::Work(Search {
        spins: true,
        owes_keeper,
    })
}
