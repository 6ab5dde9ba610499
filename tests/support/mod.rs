//! What tests share: one body on every kind of driver.
#![allow(dead_code)] // each test binary uses its own part

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use noex::{Builder, Inbox, Recipient, Stats, System};

/// No wait of a test takes longer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A builder of systems whose crashes are expected.
pub(crate) fn quiet() -> Builder {
    System::builder().on_event(|_| {})
}

/// Runs `body` on one scheduler thread, on four, and on manual systems with virtual time and a
/// hundred seeds (there the body's `.wait()`s drive the system).
pub(crate) fn on_all(body: impl Fn(&System)) {
    for threads in [1, 4] {
        let system = quiet().schedulers(threads).build().expect("threads");
        body(&system);
        settled(&system);
        system
            .shutdown()
            .wait_timeout(DEADLINE)
            .expect("an orderly end");
    }
    for seed in 0..100 {
        let (system, driver) = quiet().virtual_clock().auto_advance().seed(seed).manual();
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

/// The next thing a process reported; drives a manual system meanwhile, and its virtual time.
pub(crate) fn next<T>(system: &System, from: &Receiver<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Ok(value) = from.try_recv() {
            return value;
        }
        assert!(Instant::now() < end, "nothing was reported");
        pass(system, Duration::from_millis(1));
    }
}

/// Lets others run: until a process that was queued behind them is through.
pub(crate) fn pump(system: &System) {
    pass(system, Duration::ZERO);
}

/// Lets `time` pass on the system's clock.
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
