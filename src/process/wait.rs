//! Blocking an OS thread until a future of noex's own is ready: `.wait()`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::error::CallError;
use crate::sched::clock::later;
use crate::sched::core::Core;
use crate::sched::manual::{Driven, drive, must_not_block};
use crate::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Relaxed, Release},
};

/// Why blocking ended without the future's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unready {
    WouldBlock,
    Stalled,
    Timeout,
}

impl From<Unready> for CallError {
    fn from(unready: Unready) -> Self {
        match unready {
            Unready::WouldBlock => CallError::WouldBlock,
            Unready::Stalled => CallError::Stalled,
            Unready::Timeout => CallError::Timeout,
        }
    }
}

/// How long to look for the result before the thread is put to sleep: a reply from an idle server
/// usually comes within a few microseconds, a sleep and a wake-up cost about ten.
const SPIN: Duration = Duration::from_micros(40);
const SPIN_ROUNDS: u32 = 64;

struct Parker {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Release: what the waker's thread did is seen after the Acquire in `rest`.
        self.woken.store(true, Release);
        self.thread.unpark();
    }
}

thread_local! {
    static PARKER: (Arc<Parker>, Waker) = {
        let parker = Arc::new(Parker { thread: std::thread::current(), woken: AtomicBool::new(false) });
        (parker.clone(), Waker::from(parker))
    };
}

impl Parker {
    /// Waits for the waker, or until `deadline`. `false`: the time is over.
    fn rest(&self, deadline: Option<Instant>) -> bool {
        let spin_until = Instant::now() + SPIN;
        loop {
            for _ in 0..SPIN_ROUNDS {
                if self.woken.load(Relaxed) && self.woken.swap(false, Acquire) {
                    return true;
                }
                std::hint::spin_loop();
            }
            if Instant::now() >= spin_until {
                break;
            }
        }
        loop {
            if self.woken.swap(false, Acquire) {
                return true;
            }
            match deadline {
                None => std::thread::park(),
                Some(deadline) => {
                    let now = Instant::now();
                    if now >= deadline {
                        return false;
                    }
                    std::thread::park_timeout(deadline - now);
                }
            }
        }
    }
}

/// Blocks until `future` is ready. `timeout` counts from now, on the host's clock (a virtual
/// system's: on that). On the thread that drives a manual system, `core` is that system and is run
/// meanwhile.
pub(crate) fn wait<F: Future + Unpin>(
    core: Option<&Core>,
    future: &mut F,
    timeout: Option<Duration>,
) -> Result<F::Output, Unready> {
    if must_not_block() {
        return Err(Unready::WouldBlock);
    }
    PARKER.with(|(parker, waker)| {
        let mut cx = Context::from_waker(waker);
        if let Some(core) = core.filter(|core| core.manual.is_some()) {
            let mut ready = None;
            let deadline = timeout.map(|timeout| later(core.clock.now(), timeout));
            let done = || {
                if ready.is_none() {
                    if let Poll::Ready(value) = Pin::new(&mut *future).poll(&mut cx) {
                        ready = Some(value);
                    }
                }
                ready.is_some()
            };
            match drive(core, done, deadline) {
                Driven::NotHere => {}
                Driven::Done => return ready.ok_or(Unready::Stalled),
                Driven::Stalled => return Err(Unready::Stalled),
                Driven::Timeout => return Err(Unready::Timeout),
            }
        }
        let deadline = timeout
            .map(|timeout| Instant::now().checked_add(timeout))
            .unwrap_or_default();
        loop {
            if let Poll::Ready(value) = Pin::new(&mut *future).poll(&mut cx) {
                return Ok(value);
            }
            if !parker.rest(deadline) {
                return Err(Unready::Timeout);
            }
        }
    })
}
