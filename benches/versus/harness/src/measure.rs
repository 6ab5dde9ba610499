//! Readings of time and memory, and the sequences that all programs go through alike.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::THREADS;

/// Resident memory in bytes.
pub fn rss() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0);
    // SAFETY: it only reads a setting.
    pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64
}

/// CPU seconds of the whole program so far.
pub fn cpu_seconds() -> f64 {
    // SAFETY: all zeros is a valid `rusage`.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is a valid place to write to.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// How often the threads of this program went to sleep of their own will, so far.
pub fn wakeups() -> u64 {
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
    tasks
        .flatten()
        .filter_map(|task| of_task(task.path()))
        .sum()
}

/// The delays of the workload `timers`, 1 to 1,000 ms: one sequence for all programs in Rust.
#[derive(Clone)]
pub struct Delays(u64);

impl Delays {
    pub fn new() -> Delays {
        Delays(0x9e37_79b9_7f4a_7c15)
    }
}

impl Default for Delays {
    fn default() -> Self {
        Self::new()
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

/// Runs `work(thread)` on [`THREADS`] threads that start together; seconds until the last ends.
pub fn on_threads<F: Fn(u64) + Sync>(work: F) -> f64 {
    let barrier = Barrier::new(THREADS + 1);
    let mut start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (work, barrier) = (&work, &barrier);
            scope.spawn(move || {
                barrier.wait();
                work(thread as u64);
            });
        }
        start = Instant::now();
        barrier.wait();
    });
    start.elapsed().as_secs_f64()
}

/// Holds the calling thread for so long.
pub fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// The next key of a walk that visits all of `0..n` when `n` has no factor in common with the stride.
#[inline(always)]
pub fn step(key: u64, n: u64) -> u64 {
    let key = key + 7919;
    if key >= n { key % n } else { key }
}

pub fn names(n: u64) -> Vec<String> {
    (0..n).map(|i| format!("name_{i}")).collect()
}
