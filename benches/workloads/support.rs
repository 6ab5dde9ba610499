//! What the workloads share: systems, countdowns, and readings of time and memory.

use std::sync::atomic::{AtomicU64, Ordering::AcqRel, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use noex::System;

/// One measurement.
pub(crate) struct Row {
    pub(crate) n: u64,
    pub(crate) seconds: f64,
    pub(crate) extra: String,
}

impl Row {
    pub(crate) fn new(n: u64, seconds: f64) -> Self {
        Row {
            n,
            seconds,
            extra: String::new(),
        }
    }
}

/// What `--shrink` says.
static SHRINK: AtomicU64 = AtomicU64::new(1);

/// From now on all sizes are divided by this.
pub(crate) fn shrink_by(by: u64) {
    SHRINK.store(by.max(1), Relaxed);
}

/// `n`, divided by what `--shrink` says; at least 1.
pub(crate) fn shrunk(n: u64) -> u64 {
    (n / SHRINK.load(Relaxed)).max(1)
}

/// The same of a time.
pub(crate) fn shrunk_time(time: Duration) -> Duration {
    time / SHRINK.load(Relaxed) as u32
}

/// A system whose crashes print nothing: that is part of `supervise`.
pub(crate) fn system(schedulers: usize) -> System {
    let builder = System::builder().schedulers(schedulers).on_event(|_| {});
    builder.build().expect("scheduler threads")
}

pub(crate) fn seconds(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64()
}

/// Counts events down to zero and wakes the thread that waits for them.
pub(crate) struct Latch {
    left: AtomicU64,
    open: Mutex<bool>,
    bell: Condvar,
}

impl Latch {
    pub(crate) fn new(n: u64) -> Arc<Latch> {
        Arc::new(Latch {
            left: AtomicU64::new(n),
            open: Mutex::new(n == 0),
            bell: Condvar::new(),
        })
    }

    pub(crate) fn down(&self) {
        if self.left.fetch_sub(1, AcqRel) == 1 {
            *self.open.lock().expect("nobody panics with it") = true;
            self.bell.notify_all();
        }
    }

    /// Takes one unit, unless none is left.
    pub(crate) fn take(&self) -> bool {
        if self.left.load(std::sync::atomic::Ordering::Acquire) == 0 {
            return false;
        }
        self.down();
        true
    }

    pub(crate) fn wait(&self) {
        let mut open = self.open.lock().expect("nobody panics with it");
        while !*open {
            open = self.bell.wait(open).expect("nobody panics with it");
        }
    }
}

/// Counts a latch down when dropped: a timer that fired or was cancelled.
pub(crate) struct Guard(pub(crate) Arc<Latch>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.down();
    }
}

/// Resident memory in bytes.
pub(crate) fn rss() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0);
    pages * 4096
}

/// CPU seconds of the whole program so far, at 100 ticks a second.
pub(crate) fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let field = |n: usize| {
        after_name
            .split_whitespace()
            .nth(n)
            .and_then(|ticks| ticks.parse::<f64>().ok())
    };
    (field(11).unwrap_or(0.0) + field(12).unwrap_or(0.0)) / 100.0
}

/// How often the threads of this program went to sleep of their own will, so far.
pub(crate) fn sleeps() -> u64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return 0;
    };
    let of_task = |path: std::path::PathBuf| -> Option<u64> {
        let status = std::fs::read_to_string(path.join("status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse().ok()
    };
    let paths = tasks.flatten().map(|task| task.path());
    paths.filter_map(of_task).sum()
}

/// The delays of the timers workload, 1 to 1,000 ms: the sequence that every peer uses.
pub(crate) struct Delays(u64);

impl Delays {
    pub(crate) fn new() -> Delays {
        Delays(0x9e37_79b9_7f4a_7c15)
    }
}

impl Iterator for Delays {
    type Item = u64;
    fn next(&mut self) -> Option<u64> {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Some(1 + (self.0 >> 11) % 1000)
    }
}
