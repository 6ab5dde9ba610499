//! The scheduler threads: each runs [`main`] until the system stops.

use super::core::{Core, CoreRef, PRIORITIES, STOPPED};
use super::idle::{Outlook, Search, Woken};
use super::worker::{Job, Worker};
use crate::process::turn;
use crate::sync::Deque;
use crate::sync::atomic::Ordering::{Acquire, Release};

/// How many due timers are fired between two turns.
const TIMERS: usize = 512;

/// Starts scheduler thread `index`.
pub(crate) fn start(
    core: CoreRef,
    index: usize,
    queues: [Deque<Job>; PRIORITIES],
) -> std::io::Result<std::thread::JoinHandle<Worker>> {
    let mut builder = std::thread::Builder::new().name(format!("{}-{index}", core.settings.name));
    if let Some(size) = core.settings.stack_size {
        builder = builder.stack_size(size);
    }
    builder.spawn(move || main(Worker::new(core, index, queues)))
}

/// Runs processes until the system stops; returns the thread's side for the clean-up.
fn main(worker: Worker) -> Worker {
    {
        // SAFETY: `worker` is moved only after the guard is gone.
        let _entered = unsafe { worker.enter() };
        let core = worker.core();
        while core.state.load(Acquire) != STOPPED {
            if worker.is_round() {
                core.timers.fire(core, TIMERS);
            }
            if let Some(job) = worker.next().or_else(|| search(&worker, core)) {
                turn::run(&worker, job);
            }
        }
        let _roots = core.roots.lock();
        worker.remote().ended.store(true, Release);
        core.ended.notify_all();
    }
    worker
}

/// Looks for work elsewhere (due timers, then other threads' queues), and sleeps if there is none.
fn search(worker: &Worker, core: &Core) -> Option<Job> {
    if core.timers.next().is_some_and(|at| at <= core.clock.tick()) {
        core.timers.fire(core, TIMERS);
        if let Some(job) = worker.next() {
            return Some(job);
        }
    }
    let mut search = core.idle.start_searching();
    let mut view = View { worker, core };
    loop {
        if let Some(job) = worker.steal().or_else(|| worker.next()) {
            if let Some(search) = search {
                core.idle.found_work(search, &view);
            }
            return Some(job);
        }
        match sleep(&mut view, search) {
            Woken::Work(again) => search = Some(again),
            Woken::Timer(again) => {
                core.timers.fire(core, TIMERS);
                search = Some(again);
            }
            Woken::Shutdown => return None,
        }
    }
}

fn sleep(view: &mut View<'_>, search: Option<Search>) -> Woken {
    let (worker, core) = (view.worker, view.core);
    let woken = core.idle.sleep(worker.index(), search, view);
    core.watch.stir();
    woken
}

/// What a thread about to sleep looks at.
struct View<'a> {
    worker: &'a Worker,
    core: &'a Core,
}

impl Outlook for View<'_> {
    fn work(&self) -> bool {
        self.worker.has_own_work() || self.core.has_work()
    }

    fn next_deadline(&self) -> Option<u64> {
        self.core.timers.next()
    }

    fn now(&self) -> u64 {
        self.core.clock.tick()
    }
}
