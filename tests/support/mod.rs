//! What tests share: one body on every kind of driver.
#![allow(dead_code)] // each test binary uses its own part

use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use noex::{Builder, ExitReason, Inbox, Recipient, Stats, System};

/// No wait of a test takes longer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A builder of systems whose crashes are expected.
pub(crate) fn quiet() -> Builder {
    System::builder().on_event(|_| {})
}

/// Runs `body` on one scheduler thread, on four, and on manual systems with virtual time and a
/// hundred seeds (there the body's `.wait()`s drive the system).
pub(crate) fn on_all(body: impl Fn(&System)) {
    on_all_built(quiet, body);
}

/// As [`on_all`], with hooks or options of the test's own.
pub(crate) fn on_all_built(builder: impl Fn() -> Builder, body: impl Fn(&System)) {
    for threads in [1, 4] {
        let system = builder().schedulers(threads).build().expect("threads");
        body(&system);
        settled(&system);
        system
            .shutdown()
            .wait_timeout(DEADLINE)
            .expect("an orderly end");
    }
    for seed in 0..100 {
        let (system, driver) = builder().virtual_clock().auto_advance().seed(seed).manual();
        body(&system);
        driver.run_until_idle();
        settled(&system);
        system
            .shutdown()
            .wait_timeout(DEADLINE)
            .expect("an orderly end");
    }
}

/// Waits until all that was sent is accounted for, and checks that by counting what is queued.
pub(crate) fn settled(system: &System) -> Stats {
    let end = Instant::now() + DEADLINE;
    loop {
        let before = system.stats();
        let queued: usize = system
            .processes()
            .into_iter()
            .filter_map(|pid| system.process_info(pid).wait_timeout(DEADLINE))
            // A message whose handler waits is still the process's.
            .map(|info| info.message_queue_len + usize::from(info.in_handler))
            .sum();
        let after = system.stats();
        let still = (before.sent, before.handled) == (after.sent, after.handled);
        let ended =
            after.handled + after.aborted + after.rejected + after.dropped + after.undelivered;
        if still && after.sent == ended + queued as u64 {
            return after;
        }
        assert!(
            Instant::now() < end,
            "never settled: {before:?}, {queued} queued"
        );
        std::thread::yield_now();
    }
}

/// The next thing a process reported; drives a manual system meanwhile.
pub(crate) fn next<T>(system: &System, from: &Receiver<T>) -> T {
    let mut value = None;
    until(system, || {
        value = from.try_recv().ok();
        value.is_some()
    });
    value.expect("until there is one")
}

/// How the process ends, once it has.
pub(crate) fn end_of<M>(system: &System, process: &Recipient<M>) -> ExitReason {
    let down = system
        .monitor(process.pid())
        .wait_timeout(DEADLINE)
        .expect("its end");
    process.exit_reason().unwrap_or(down.reason)
}

/// Waits until `done`; drives a manual system meanwhile, and moves its clock on if nothing else helps.
pub(crate) fn until(system: &System, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    let mut rounds = 0;
    while !done() {
        assert!(Instant::now() < end, "it never came to that");
        rounds += 1;
        match rounds {
            ..50 => pump(system),
            _ => pass(system, Duration::from_millis(1)),
        }
    }
}

/// Lets a manual system run (until a process started for that has ended), or another thread.
pub(crate) fn pump(system: &System) {
    pass(system, Duration::ZERO);
}

/// As [`pump`], for so long on the system's clock.
pub(crate) fn pass(system: &System, time: Duration) {
    let probe: Recipient<()> = system
        .spawn(move |cx: Inbox<()>| async move { cx.sleep(time).await })
        .expect("a running system");
    system
        .monitor(probe.pid())
        .wait_timeout(DEADLINE)
        .expect("its end");
}

pub(crate) fn reports<T>() -> (Sender<T>, Receiver<T>) {
    channel()
}

/// Something to wait for until the test lets go.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<Mutex<(bool, Vec<Waker>)>>);

/// A gate twice: one to wait at, one to open.
pub(crate) fn gate() -> (Gate, Gate) {
    let gate = Gate::default();
    (gate.clone(), gate)
}

impl Gate {
    pub(crate) fn open(&self) {
        let wakers = {
            let mut gate = self.0.lock().expect("nobody panics here");
            gate.0 = true;
            std::mem::take(&mut gate.1)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Future for Gate {
    type Output = ();
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut gate = self.0.lock().expect("nobody panics here");
        if gate.0 {
            return Poll::Ready(());
        }
        gate.1.push(cx.waker().clone());
        Poll::Pending
    }
}
