//! A scheduler thread's own side: its run queues, and what it knows of the turn it runs.

use std::cell::{Cell as Local, RefCell};
use std::ptr::{self, NonNull};
use std::time::Instant;

use super::clock::cycles;
use super::core::{Core, CoreRef, PRIORITIES, Remote, lane};
use super::recycle::Recycler;
use super::rng::Rng;
use crate::process::ask::Question;
use crate::process::cell::{Cell, Priority};
use crate::process::node::NodeVtable;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::{Deque, Steal};

/// A queued process. It needs no reference of its own: a queued process is alive, and a live one
/// holds its cell.
#[derive(Clone, Copy)]
pub(crate) struct Job(NonNull<Cell>);

// SAFETY: `Cell` is `Send + Sync`; that a local process stays on its thread is the manual driver's
// doing (its system has no other).
unsafe impl Send for Job {}

impl Job {
    pub(crate) fn new(cell: &Cell) -> Self {
        Job(cell.this())
    }

    pub(crate) fn cell(self) -> NonNull<Cell> {
        self.0
    }
}

/// How often in a row the slot is served before the queue gets its turn.
const SLOT_RUNS: u32 = 64;
/// Every how many turns the injector, the low queue and the timers are looked at although there is
/// other work. A prime, so that it does not beat with a pattern of the program's.
const ROUND: u32 = 61;
/// Cycles for which a cached time is good: well under a millisecond on any processor.
const FRESH: u64 = 200_000;
const STOCK: usize = 1024;

/// What a turn knows and collects while it runs; reset for each.
pub(crate) struct Turn {
    pub(crate) budget: Local<u32>,
    /// The process's waker fired, or it runs for the first time.
    pub(crate) woken: Local<bool>,
    /// It asked to go to the back of the queue.
    pub(crate) yielded: Local<bool>,
    /// Its receive found nothing: mail shall queue it.
    pub(crate) listens: Local<bool>,
    /// How many calls the handler waits for, seen in the latest poll.
    pub(crate) calls: Local<u32>,
    /// How many other things of noex's it waits for.
    pub(crate) others: Local<u32>,
    /// One of the calls has not said yet whom to wake: see [`Worker::may_run_behind`].
    pub(crate) unsaid: Local<bool>,
    /// It runs again behind one that it asked, and has not been answered yet: who asks anew on each poll and
    /// lets go of the call is not to run for ever.
    pub(crate) unanswered: Local<bool>,
    /// The earliest timeout it waits with, on the system's clock.
    pub(crate) deadline: Local<u64>,
    /// What the one call asked, and whom.
    pub(crate) question: Local<Option<Question>>,
    pub(crate) target: Local<(u32, u32)>,
}

pub(crate) struct Worker {
    core: CoreRef,
    index: usize,
    queues: [Deque<Job>; PRIORITIES],
    /// Instead of the queues, on a seeded manual system: one bag, drawn from at random.
    seeded: Option<RefCell<(Vec<Job>, Rng)>>,
    /// `core.remotes[index]`, found once.
    remote: NonNull<Remote>,
    current: Local<Option<NonNull<Cell>>>,
    pub(crate) turn: Turn,
    round: Local<u32>,
    slot_runs: Local<u32>,
    /// What is in `Remote::asker`, if anything, is a server that has yet to make its edge in the wait-for
    /// graph.
    owes_edge: Local<bool>,
    /// Whoever was pushed out of there has its turn.
    pub(crate) catches_up: Local<bool>,
    pub(crate) recycler: Recycler,
    ids: RefCell<Vec<u32>>,
    credit: Local<usize>,
    fresh: Local<(u64, u64)>,
    rng: RefCell<Rng>,
    sent: Local<u64>,
    handled: Local<u64>,
    /// A manual tick's limits: when to stop, and after how many messages.
    stop_at: Local<Option<Instant>>,
    /// When the clock was last looked at for that, in cycles, and the nanoseconds that were left.
    looked: Local<(u64, u64)>,
    messages_left: Local<u32>,
}

// SAFETY: a worker moves to its thread before its first turn and back after its last; the pointers in
// it are those of a turn, void in between.
unsafe impl Send for Worker {}

thread_local! {
    static HERE: Local<*const Worker> = const { Local::new(ptr::null()) };
    static HOME: Local<*const Worker> = const { Local::new(ptr::null()) };
}

/// The scheduler thread that the caller runs on, if it is one (a manual system's driver is one while
/// it ticks).
#[inline(always)]
pub(crate) fn here<'a>() -> Option<&'a Worker> {
    // SAFETY: set by `enter` to a worker that outlives its guard, on this thread only. The result is
    // used within the call that asked for it.
    HERE.try_with(|here| unsafe { here.get().as_ref() })
        .ok()
        .flatten()
}

/// The scheduler thread that the caller runs on, if it is one of `core`'s.
#[inline(always)]
pub(crate) fn worker_of<'a>(core: &Core) -> Option<&'a Worker> {
    here().filter(|worker| ptr::eq(worker.core(), core))
}

/// Between two ticks: the worker of the manual system that the calling thread drives; of several, the one it
/// ticked last. Good for what neither runs users' code nor needs a turn.
#[inline]
pub(crate) fn home<'a>() -> Option<&'a Worker> {
    if here().is_some() {
        return None;
    }
    // SAFETY: set by a driver that is alive, as it leaves before it is dropped, on this thread, which it
    // never leaves. Nobody else uses the worker between two ticks. The result is used within the call that
    // asked for it.
    HOME.try_with(|home| unsafe { home.get().as_ref() })
        .ok()
        .flatten()
}

/// Makes `worker` the calling thread's, until the guard goes.
pub(crate) struct Entered(*const Worker);

impl Drop for Entered {
    fn drop(&mut self) {
        HERE.with(|here| here.set(self.0));
    }
}

impl Worker {
    pub(crate) fn new(core: CoreRef, index: usize, queues: [Deque<Job>; PRIORITIES]) -> Self {
        let seed = core.settings.seed;
        let seeded = seed
            .filter(|_| core.manual.is_some())
            .map(|seed| RefCell::new((Vec::new(), Rng::new(seed))));
        let remote = NonNull::from(&core.remotes[index]);
        Worker {
            core,
            remote,
            index,
            queues,
            seeded,
            current: Local::new(None),
            turn: Turn {
                budget: Local::new(0),
                woken: Local::new(false),
                yielded: Local::new(false),
                listens: Local::new(false),
                calls: Local::new(0),
                others: Local::new(0),
                unsaid: Local::new(false),
                unanswered: Local::new(false),
                deadline: Local::new(u64::MAX),
                question: Local::new(None),
                target: Local::new((0, 0)),
            },
            round: Local::new(0),
            slot_runs: Local::new(0),
            owes_edge: Local::new(false),
            catches_up: Local::new(false),
            recycler: Recycler::new(),
            ids: RefCell::new(Vec::new()),
            credit: Local::new(0),
            fresh: Local::new((0, 0)),
            rng: RefCell::new(Rng::new(seed.unwrap_or(0x9e37_79b9) ^ index as u64)),
            sent: Local::new(0),
            handled: Local::new(0),
            stop_at: Local::new(None),
            looked: Local::new((0, 0)),
            messages_left: Local::new(u32::MAX),
        }
    }

    /// Limits what a manual system's tick may do.
    pub(crate) fn limit(&self, stop_at: Option<Instant>, messages: u32) {
        self.stop_at.set(stop_at);
        self.looked.set((0, 0));
        self.messages_left.set(messages);
    }

    /// Whether the tick's limit is reached.
    #[inline(always)]
    pub(crate) fn limit_reached(&self) -> bool {
        self.messages_left.get() == 0
            || self
                .stop_at
                .get()
                .is_some_and(|stop_at| self.is_past(stop_at))
    }

    /// Whether `stop_at` is past. Exact, but mostly without a look at the clock: a cycle counter
    /// counts at least one cycle a nanosecond (no x86-64 has a slower one), so as long as it has
    /// counted less than what was left at the last look, the time is not up.
    fn is_past(&self, stop_at: Instant) -> bool {
        let counted = cycles();
        let (at, left) = self.looked.get();
        if counted.is_some_and(|counted| counted.wrapping_sub(at) < left) {
            return false;
        }
        let left = stop_at.saturating_duration_since(Instant::now());
        self.looked.set((
            counted.unwrap_or(0),
            u64::try_from(left.as_nanos()).unwrap_or(u64::MAX),
        ));
        left.is_zero()
    }

    /// Forgets what the last poll of a handler waited for.
    #[inline(always)]
    pub(crate) fn begin_poll(&self) {
        self.turn.calls.set(0);
        self.turn.others.set(0);
        self.turn.unsaid.set(false);
        self.turn.question.set(None);
        self.turn.deadline.set(u64::MAX);
    }

    /// Charges one message. `false`: the turn is over before it, for want of budget.
    #[inline(always)]
    pub(crate) fn charge(&self) -> bool {
        let budget = self.turn.budget.get();
        if budget == 0 {
            return false;
        }
        // Relaxed: a hint. Its messages take long, and others wait.
        if self.remote().stuck.load(Relaxed) {
            self.turn.budget.set(0);
            return false;
        }
        if self.core.manual.is_some() {
            if self.limit_reached() {
                return false;
            }
            self.messages_left.set(self.messages_left.get() - 1);
        }
        self.turn.budget.set(budget - 1);
        // Relaxed: a hint for the watchdog.
        self.remote().budget.store(budget - 1, Relaxed);
        true
    }

    /// Whether nothing more may be begun in this turn.
    pub(crate) fn is_spent(&self) -> bool {
        self.turn.budget.get() == 0 || self.core.manual.is_some() && self.limit_reached()
    }

    /// # Safety
    /// `self` stays where it is and alive until the guard is dropped.
    pub(crate) unsafe fn enter(&self) -> Entered {
        Entered(HERE.with(|here| here.replace(self)))
    }

    /// Makes this the calling thread's [`home`].
    ///
    /// # Safety
    /// `self` stays where it is, alive and on this thread, until [`leave_home`](Self::leave_home).
    pub(crate) unsafe fn come_home(&self) {
        HOME.with(|home| home.set(self));
    }

    pub(crate) fn leave_home(&self) {
        HOME.with(|home| {
            if ptr::eq(home.get(), self) {
                home.set(ptr::null());
            }
        });
    }

    #[inline(always)]
    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    #[inline(always)]
    pub(crate) fn core_ref(&self) -> &CoreRef {
        &self.core
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }

    #[inline(always)]
    pub(crate) fn remote(&self) -> &Remote {
        // SAFETY: in the core, which we keep alive and whose remotes never move.
        unsafe { self.remote.as_ref() }
    }

    /// The process whose turn it is.
    #[inline(always)]
    pub(crate) fn current(&self) -> Option<NonNull<Cell>> {
        self.current.get()
    }

    /// Which turn it is, of this thread; never 0.
    #[inline(always)]
    pub(crate) fn turn_number(&self) -> u32 {
        // Relaxed: our own. Two turns share a number, so that none is 0.
        (self.remote().turns.load(Relaxed) as u32) | 1
    }

    pub(crate) fn set_current(&self, cell: Option<NonNull<Cell>>) {
        self.current.set(cell);
        let remote = self.remote();
        // Relaxed throughout: only the watchdog reads these, as hints.
        match cell {
            Some(cell) => {
                // SAFETY: the turn's cell is alive.
                let cell = unsafe { cell.as_ref() };
                // What the one before waits with in its handler is not this one's.
                remote.message.store(ptr::null_mut(), Relaxed);
                // Nor is its delay.
                remote.stuck.store(false, Relaxed);
                remote
                    .running
                    .store(u64::from(cell.id) << 32 | u64::from(cell.serial), Relaxed);
                remote
                    .turns
                    .store(remote.turns.load(Relaxed).wrapping_add(1), Relaxed);
            }
            None => remote.running.store(0, Relaxed),
        }
    }

    /// Notes what kind of message is being handled.
    #[inline(always)]
    pub(crate) fn set_message(&self, vtable: Option<&'static NodeVtable>) {
        let vtable = vtable.map_or(ptr::null_mut(), |vtable| ptr::from_ref(vtable).cast_mut());
        self.remote().message.store(vtable, Relaxed);
    }

    /// Counts a message sent from this thread; told to the others at the end of the turn.
    #[inline(always)]
    pub(crate) fn count_sent(&self) {
        self.sent.set(self.sent.get() + 1);
    }

    /// Counts a handled message; told to the others at the end of the turn.
    #[inline(always)]
    pub(crate) fn count_handled(&self) {
        // Wrapping: `recount_as_undelivered` takes one back that is counted only now.
        self.handled.set(self.handled.get().wrapping_add(1));
    }

    /// The message being handled was nothing the process knows: it counts as undelivered instead.
    pub(crate) fn recount_as_undelivered(&self) {
        self.remote()
            .counters
            .add_own(super::stats::Count::Undelivered, 1);
        self.handled.set(self.handled.get().wrapping_sub(1));
    }

    /// Tells the others what was sent and handled: at the end of each turn, and after timers fired.
    #[inline]
    pub(crate) fn flush_counts(&self) {
        let sent = self.sent.replace(0);
        if sent != 0 {
            self.remote()
                .counters
                .add_own(super::stats::Count::Sent, sent);
        }
        let handled = self.handled.replace(0);
        if handled != 0 {
            self.remote()
                .counters
                .add_own(super::stats::Count::Handled, handled);
        }
    }

    pub(crate) fn with_ids<R>(&self, with: impl FnOnce(&mut Vec<u32>) -> R) -> R {
        with(&mut self.ids.borrow_mut())
    }

    #[inline(always)]
    pub(crate) fn draw_core_ref(&self) {
        match self.credit.get() {
            0 => {
                self.core.take_stock(STOCK);
                self.credit.set(STOCK - 1);
            }
            credit => self.credit.set(credit - 1),
        }
    }

    #[inline(always)]
    pub(crate) fn stock_core_ref(&self) {
        let credit = self.credit.get() + 1;
        if credit >= 4 * STOCK {
            self.core.return_stock(credit - STOCK);
            self.credit.set(STOCK);
        } else {
            self.credit.set(credit);
        }
    }

    /// The time, at most a fraction of a millisecond old: cheap enough for every call.
    #[inline]
    pub(crate) fn coarse_now(&self) -> u64 {
        let clock = &self.core.clock;
        let Some(cycles) = cycles() else {
            return clock.now();
        };
        let (read_at, time) = self.fresh.get();
        if cycles.wrapping_sub(read_at) < FRESH && !clock.is_virtual() {
            return time;
        }
        let now = clock.now();
        self.fresh.set((cycles, now));
        now
    }

    /// As [`coarse_now`](Self::coarse_now), but never before the time: for a deadline that must not
    /// come early. (A cycle counter counts at least one cycle a nanosecond, as in `is_past`.)
    #[inline]
    pub(crate) fn coarse_now_or_later(&self) -> u64 {
        let clock = &self.core.clock;
        let Some(cycles) = cycles().filter(|_| !clock.is_virtual()) else {
            return clock.now();
        };
        let (read_at, time) = self.fresh.get();
        let counted = cycles.wrapping_sub(read_at);
        if counted < FRESH {
            return time.saturating_add(counted);
        }
        let now = clock.now();
        self.fresh.set((cycles, now));
        now
    }

    /// Queues a process on this thread.
    #[inline(always)]
    pub(crate) fn push(&self, cell: &Cell) {
        if cell.fixed.priority != Priority::Normal || self.seeded.is_some() {
            return self.push_back(cell);
        }
        if let Some(older) = self.remote().slot.put(cell.this()) {
            self.queues[lane(Priority::Normal)].push(Job(older));
            self.core.idle.notify_local();
        } else {
            // This thread runs it next; should it be stuck until then, another one looks in.
            self.core.idle.watch();
        }
    }

    /// Whether the running process may run again right behind the one in the slot, instead of waiting for
    /// an answer. That one is the last that it queued here, so probably the server that it asks, which will
    /// have answered: then the asker needs no waker, does not park, and is not queued again by the answer.
    /// If not, it waits in the usual way at its second poll.
    #[inline(always)]
    pub(crate) fn may_run_behind(&self, cell: &Cell) -> bool {
        cell.fixed.priority == Priority::Normal
            && !self.remote().slot.is_empty()
            && self.seeded.is_none()
    }

    /// Whether a server that is to run behind the slot has yet to make its edge in the wait-for graph.
    pub(crate) fn asker_owes_edge(&self) -> bool {
        self.owes_edge.get() && !self.remote().asker.is_empty()
    }

    /// Queues the running process to run when the one in the slot, and what that puts there, has run. If
    /// another one was to, it comes out: it is to wait in the usual way, before anything else happens, so
    /// that of those who ask each other the first waits first. `owes_edge`: so is this one then.
    ///
    /// The place is as the slot is: others take from it only if this thread is stuck, and the watch for that
    /// was set up when the slot was filled.
    #[must_use = "it is to run next"]
    pub(crate) fn run_behind(&self, cell: &Cell, owes_edge: bool) -> Option<Job> {
        if cell.fixed.priority != Priority::Normal {
            self.push_back(cell);
            return self.remote().asker.take().map(Job);
        }
        self.owes_edge.set(owes_edge);
        self.remote().asker.put(cell.this()).map(Job)
    }

    /// Queues a process behind all others of its priority.
    pub(crate) fn push_back(&self, cell: &Cell) {
        match &self.seeded {
            Some(bag) => bag.borrow_mut().0.push(Job::new(cell)),
            None => {
                self.queues[lane(cell.fixed.priority)].push(Job::new(cell));
                if self.core.manual.is_none() {
                    self.core.idle.notify_local();
                }
            }
        }
    }

    /// What to run next, from this thread's own queues and the injectors.
    pub(crate) fn next(&self) -> Option<Job> {
        if let Some(bag) = &self.seeded {
            return self.draw(bag);
        }
        let round = self.round.get().wrapping_add(1);
        self.round.set(round);
        if self.is_round() {
            // Fairness: nobody waits for ever behind those who keep each other busy here, nor behind
            // what keeps coming from outside.
            let low = || self.take_low();
            let job = if round % (2 * ROUND) == 0 {
                low().or_else(|| self.take_injected(Priority::Normal))
            } else {
                self.take_injected(Priority::Normal).or_else(low)
            };
            if let Some(job) = job.or_else(|| self.relieve()) {
                return Some(job);
            }
        }
        // Relaxed: a hint; whoever starts a process of high priority has set it before queueing.
        if self.core.has_high.load(Relaxed) {
            let high = self.queues[lane(Priority::High)].pop();
            if let Some(job) = high.or_else(|| self.take_injected(Priority::High)) {
                return Some(job);
            }
        }
        if self.slot_runs.get() < SLOT_RUNS {
            if let Some(cell) = self.remote().slot.take() {
                self.slot_runs.set(self.slot_runs.get() + 1);
                return Some(Job(cell));
            }
            if let Some(cell) = self.remote().asker.take() {
                self.slot_runs.set(self.slot_runs.get() + 1);
                return Some(Job(cell));
            }
        }
        self.slot_runs.set(0);
        let normal = &self.queues[lane(Priority::Normal)];
        // It does not wait for ever behind those who keep the slot full, nor the queue for them and it.
        if let Some(cell) = self.remote().asker.take() {
            let Some(first) = normal.pop() else {
                return Some(Job(cell));
            };
            normal.push(Job(cell));
            if self.core.manual.is_none() {
                self.core.idle.notify_local();
            }
            return Some(first);
        }
        if let Some(job) = normal.pop() {
            return Some(job);
        }
        if let Some(cell) = self.remote().slot.take() {
            return Some(Job(cell));
        }
        self.take_injected(Priority::Normal)
            .or_else(|| self.take_low())
    }

    /// What a thread that is stuck keeps to itself: its askers' timeouts and kills do not wait until somebody
    /// is idle.
    #[cold]
    fn relieve(&self) -> Option<Job> {
        let others = self.core.remotes.iter().enumerate();
        others
            .filter(|(index, remote)| *index != self.index && remote.stuck.load(Relaxed))
            .find_map(|(_, remote)| remote.slot.steal().or_else(|| remote.asker.steal()))
            .map(Job)
    }

    fn take_low(&self) -> Option<Job> {
        let low = self.queues[lane(Priority::Low)].pop();
        low.or_else(|| self.take_injected(Priority::Low))
    }

    fn draw(&self, bag: &RefCell<(Vec<Job>, Rng)>) -> Option<Job> {
        let (jobs, rng) = &mut *bag.borrow_mut();
        for injector in self.core.injectors.iter().rev() {
            while let Steal::Success(job) = injector.steal() {
                jobs.push(job);
            }
        }
        // High before normal before low, at random among equals; now and then a lower one first, so
        // that none starves.
        let priorities = || {
            jobs.iter().map(|job| {
                // SAFETY: queued processes are alive.
                unsafe { job.0.as_ref() }.fixed.priority
            })
        };
        let top = match rng.below(u64::from(ROUND)) {
            0 => priorities().min()?,
            _ => priorities().max()?,
        };
        // SAFETY: as above.
        let of_top = jobs
            .iter()
            .filter(|job| unsafe { job.0.as_ref() }.fixed.priority == top)
            .count();
        let mut pick = rng.below(of_top as u64);
        let at = jobs.iter().position(|job| {
            // SAFETY: as above.
            let matches = unsafe { job.0.as_ref() }.fixed.priority == top;
            let here = matches && pick == 0;
            pick -= u64::from(matches && !here);
            here
        })?;
        Some(jobs.remove(at))
    }

    fn take_injected(&self, priority: Priority) -> Option<Job> {
        let injector = &self.core.injectors[lane(priority)];
        if injector.is_empty() {
            return None;
        }
        loop {
            match injector.steal_batch_and_pop(&self.queues[lane(priority)]) {
                Steal::Success(job) => return Some(job),
                Steal::Empty => return None,
                Steal::Retry => std::hint::spin_loop(),
            }
        }
    }

    /// Half of another thread's queue, beginning at a random one; what it keeps only of one that is stuck.
    pub(crate) fn steal(&self) -> Option<Job> {
        let threads = self.core.remotes.len();
        let start = self.rng.borrow_mut().below(threads as u64) as usize;
        for i in 0..threads {
            let victim = (start + i) % threads;
            if victim == self.index {
                continue;
            }
            let remote = &self.core.remotes[victim];
            for priority in [Priority::High, Priority::Normal, Priority::Low] {
                let lane = lane(priority);
                loop {
                    match remote.stealers[lane].steal_batch_and_pop(&self.queues[lane]) {
                        Steal::Success(job) => return Some(job),
                        Steal::Empty => break,
                        Steal::Retry => std::hint::spin_loop(),
                    }
                }
            }
            if remote.stuck.load(Relaxed) {
                if let Some(cell) = remote.slot.steal().or_else(|| remote.asker.steal()) {
                    return Some(Job(cell));
                }
            }
        }
        None
    }

    /// Whether anything is queued on this thread.
    pub(crate) fn has_own_work(&self) -> bool {
        self.remote().has_queued()
            || self
                .seeded
                .as_ref()
                .is_some_and(|bag| !bag.borrow().0.is_empty())
    }

    /// Whether it is time to look beyond this thread's own queue although that has work: every so many
    /// turns, and after one that took long. (Relaxed: a hint of the watchdog's.)
    pub(crate) fn is_round(&self) -> bool {
        self.round.get() % ROUND == 0 || self.remote().stuck.load(Relaxed)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.recycler.clear();
        self.core.table.give_back(&mut self.ids.borrow_mut());
        self.core.return_stock(self.credit.get());
    }
}
