//! The dirty pool: threads for work that blocks or computes for long, so that no scheduler thread is
//! held up by it. OTP: dirty schedulers.
//!
//! Threads are started as they are needed, up to the limit, and end when they had nothing to do for
//! a while. On a manual system without a pool the closure runs inline, as one unit of the tick.

use std::time::Duration;

use super::core::Settings;
use crate::process::deliver::guard;
use crate::sync::Mutex;
use crate::sync::atomic::{
    AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use crate::sync::channel::{Receiver, RecvTimeoutError, Sender, unbounded};

type Work = Box<dyn FnOnce() + Send>;

/// How long a thread waits for more work before it ends.
const KEEP: Duration = Duration::from_secs(10);

pub(crate) struct Pool {
    limit: usize,
    name: String,
    send: Sender<Work>,
    receive: Receiver<Work>,
    state: Mutex<State>,
    /// Work that waits or runs.
    pending: AtomicUsize,
}

#[derive(Default)]
struct State {
    threads: usize,
    /// Threads that wait for work, less the work that is on its way to them.
    free: isize,
}

impl Pool {
    pub(crate) fn new(settings: &Settings, _manual: bool) -> Self {
        let (send, receive) = unbounded();
        Pool {
            limit: settings.blocking_threads,
            name: settings.name.clone(),
            send,
            receive,
            state: Mutex::new(State::default()),
            pending: AtomicUsize::new(0),
        }
    }

    /// Whether closures run on threads of their own.
    pub(crate) fn has_threads(&self) -> bool {
        self.limit > 0
    }

    /// Whether work is waiting or running.
    pub(crate) fn is_busy(&self) -> bool {
        self.pending.load(Acquire) > 0
    }

    /// Runs `work` on a thread of the pool, now or as soon as one is free.
    pub(crate) fn run(self: &Pool, core: &super::core::CoreRef, work: Work) {
        // The pool is part of the core; it is reached through it by the threads.
        debug_assert!(std::ptr::eq(self, &core.pool));
        self.pending.fetch_add(1, Relaxed);
        let start = {
            let mut state = self.state.lock();
            state.free -= 1;
            let start = state.free < 0 && state.threads < self.limit;
            if start {
                state.threads += 1;
                state.free += 1;
            }
            start
        };
        // The channel lives as long as the pool, so this cannot fail.
        let _ = self.send.send(work);
        if start {
            let core = core.clone();
            let thread = std::thread::Builder::new().name(format!("{}-blocking", self.name));
            if thread.spawn(move || serve(&core.pool)).is_err() {
                let threads = {
                    let mut state = self.state.lock();
                    state.threads -= 1;
                    state.free -= 1;
                    state.threads
                };
                if threads == 0 {
                    // The operating system gives no thread at all: better slow than never.
                    while let Ok(work) = self.receive.try_recv() {
                        self.perform(work);
                    }
                }
            }
        }
    }

    fn perform(&self, work: Work) {
        // What its closure panics with is its result; but that may panic when nobody wants it.
        guard(work);
        self.pending.fetch_sub(1, Release);
        self.state.lock().free += 1;
    }
}

fn serve(pool: &Pool) {
    loop {
        match pool.receive.recv_timeout(KEEP) {
            Ok(work) => pool.perform(work),
            Err(RecvTimeoutError::Timeout) => {
                let mut state = pool.state.lock();
                if state.free > 0 {
                    state.free -= 1;
                    state.threads -= 1;
                    return;
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
