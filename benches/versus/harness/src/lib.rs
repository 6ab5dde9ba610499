//! What every program that is measured shares: the list of workloads with their sizes, timing, latencies
//! and the form of a line.
//!
//! A program is called as `<program> <workload> [--shrink N]` and prints a line for each result:
//!
//! ```text
//! program <TAB> workload <TAB> n <TAB> seconds <TAB> extra
//! ```
//!
//! `seconds` is `n/a` where it has no such thing; `extra` is words like `key=value`. Divided by `--shrink`
//! all numbers of operations are smaller: to try whether everything runs, not to measure.

mod laps;
mod latch;
mod measure;
mod peer;

pub use laps::Laps;
pub use latch::{Guard, Latch};
pub use measure::{Delays, cpu_seconds, names, on_threads, rss, spin, step, wakeups};
pub use peer::{Peer, emit, main_for, na, shrunk};

/// How many scheduler threads each has.
pub const THREADS: usize = 2;
