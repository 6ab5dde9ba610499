//! Content in parts that many threads read at once, without writing to memory they share.
//!
//! A lock of the usual kind counts its readers in one place. Two threads that only read then pass the
//! cache line of that counter to and fro, which costs more than the reading: a look-up by name took
//! 55 ns so, and takes 22 ns here (two threads, 10,000 names). So each thread has a *row* of counters,
//! one for each part, on cache lines that no other thread writes while there are no more threads than
//! rows.
//!
//! ```text
//!            part 0  part 1  part 2 ..
//!   row 0  [   0   |   1   |   0   ..    a thread reads part 1
//!   row 1  [   0   |   0   |   0   ..
//!
//!   read:   count in the own row ──▶ is somebody writing? ──no──▶ read ──▶ count out
//!                                                         └─yes─▶ count out, wait for the lock
//!   write:  take the lock ──▶ say so ──▶ wait until the part's counters are 0 ──▶ write
//! ```
//! Reading is a few instructions on a line of one's own; writing goes through all rows.
//!
//! # Invariants
//! 1. Who changes a part has its lock, has `writing` set, and has seen each of its counters at 0 since.
//! 2. Who reads a part has counted itself in and seen `writing` not set since; or has the lock.
//! 3. So nobody reads while somebody changes. Both sides write and then read what the other wrote,
//!    sequentially consistent: one of them sees the other.
//!
//! Nothing may use a part from within a read or a write of the same part: it would wait for itself.

use crate::sync::atomic::Ordering::{Relaxed, Release, SeqCst};
use crate::sync::atomic::{AtomicBool, AtomicU32};
use crate::sync::{CachePadded, Mutex, UnsafeCell, fence_that_loom_needs, relax};

/// How many parts there are: as many counters as fit into a row.
pub(crate) const SHARDS: usize = if cfg!(all(test, loom)) { 1 } else { 32 };

type Row = CachePadded<[AtomicU32; SHARDS]>;

struct Shard<T> {
    writing: AtomicBool,
    writer: Mutex<()>,
    content: UnsafeCell<T>,
}

pub(crate) struct Shards<T> {
    shards: Box<[CachePadded<Shard<T>>]>,
    rows: Box<[Row]>,
}

// SAFETY: several threads have a `&T` at once (invariant 2), so it is `Sync`; and one after the other a
// `&mut T` (invariant 1), so it is `Send`.
unsafe impl<T: Send + Sync> Sync for Shards<T> {}
// SAFETY: it owns its content.
unsafe impl<T: Send> Send for Shards<T> {}

impl<T: Default> Shards<T> {
    pub(crate) fn new() -> Self {
        Self::with_rows(rows::number())
    }

    /// With so many rows, which is at least one.
    pub(crate) fn with_rows(rows: usize) -> Self {
        let shard = |_| {
            CachePadded(Shard {
                writing: AtomicBool::new(false),
                writer: Mutex::new(()),
                content: UnsafeCell::new(T::default()),
            })
        };
        let row = |_| CachePadded(std::array::from_fn(|_| AtomicU32::new(0)));
        Shards {
            shards: (0..SHARDS).map(shard).collect(),
            rows: (0..rows).map(row).collect(),
        }
    }
}

impl<T> Shards<T> {
    /// The part that a hash belongs to.
    #[inline(always)]
    pub(crate) fn place(hash: u64) -> usize {
        // Neither the bits by which a hash map chooses the place, nor those it keeps there.
        (hash >> 40) as usize % SHARDS
    }

    /// Reads a part.
    #[inline]
    pub(crate) fn read<R>(&self, at: usize, look: impl FnOnce(&T) -> R) -> R {
        self.read_in(rows::own() % self.rows.len(), at, look)
    }

    /// As [`read`](Self::read), counted in the row of that number. Any will do.
    #[inline]
    pub(crate) fn read_in<R>(&self, row: usize, at: usize, look: impl FnOnce(&T) -> R) -> R {
        let shard = &self.shards[at];
        let readers = &self.rows[row][at];
        readers.fetch_add(1, SeqCst);
        let inside = Inside(readers);
        fence_that_loom_needs();
        // As an acquire it pairs with the release in `Open`: what was written is seen.
        if shard.writing.load(SeqCst) {
            drop(inside);
            return self.read_locked(at, look);
        }
        // SAFETY: invariant 2; whoever wants to write waits for `inside`.
        shard.content.with(|content| look(unsafe { &*content }))
    }

    /// Waits for whoever writes. The lock keeps the next one out.
    #[cold]
    #[inline(never)]
    fn read_locked<R>(&self, at: usize, look: impl FnOnce(&T) -> R) -> R {
        let shard = &self.shards[at];
        let _alone = shard.writer.lock();
        // SAFETY: invariant 2.
        shard.content.with(|content| look(unsafe { &*content }))
    }

    /// Changes a part.
    pub(crate) fn write<R>(&self, at: usize, change: impl FnOnce(&mut T) -> R) -> R {
        let shard = &self.shards[at];
        let _alone = shard.writer.lock();
        shard.writing.store(true, SeqCst);
        let _open = Open(&shard.writing);
        fence_that_loom_needs();
        for row in &self.rows {
            let mut rounds = 0;
            // As an acquire it pairs with the release in `Inside`: what was read was read before.
            while row[at].load(SeqCst) != 0 {
                relax(&mut rounds);
            }
        }
        // SAFETY: invariant 1.
        shard
            .content
            .with_mut(|content| change(unsafe { &mut *content }))
    }
}

/// Counts a reader out, also when what it does panics.
struct Inside<'a>(&'a AtomicU32);

impl Drop for Inside<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.fetch_sub(1, Release);
    }
}

/// Lets readers in again, also when what the writer does panics.
struct Open<'a>(&'a AtomicBool);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.store(false, Release);
    }
}

/// Which row a thread counts in.
mod rows {
    use super::Relaxed;
    use std::cell::Cell;
    // Std's, under loom too: numbers of threads order nothing.
    use std::sync::OnceLock;
    use std::sync::atomic::AtomicUsize;

    /// Twice as many as there are processors, as some threads come and go.
    pub(super) fn number() -> usize {
        static NUMBER: OnceLock<usize> = OnceLock::new();
        *NUMBER.get_or_init(|| {
            let processors = std::thread::available_parallelism().map_or(1, usize::from);
            (2 * processors).next_power_of_two().clamp(4, 64)
        })
    }

    thread_local! {
        static OWN: Cell<usize> = const { Cell::new(usize::MAX) };
    }

    #[inline(always)]
    pub(super) fn own() -> usize {
        // A thread that is ending counts with the first.
        OWN.try_with(|own| match own.get() {
            usize::MAX => choose(own),
            number => number,
        })
        .unwrap_or(0)
    }

    #[cold]
    fn choose(own: &Cell<usize>) -> usize {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Relaxed) % number();
        own.set(number);
        number
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;

    use super::*;

    #[test]
    fn writers_lose_nothing_to_each_other_and_readers_see_no_half_of_it() {
        let shards: Arc<Shards<(u64, u64)>> = Arc::new(Shards::with_rows(2));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for n in 0..20_000 {
                        shards.write(n % 2, |pair| {
                            pair.0 += 1;
                            pair.1 += 1;
                        });
                    }
                });
                scope.spawn(|| {
                    for n in 0..20_000 {
                        shards.read(n % 2, |(one, two)| assert_eq!(one, two));
                    }
                });
            }
        });
        assert_eq!(shards.read(0, |pair| *pair), (20_000, 20_000));
        assert_eq!(shards.read(1, |pair| *pair), (20_000, 20_000));
    }

    #[test]
    fn a_panic_in_a_reader_or_a_writer_leaves_it_open_to_others() {
        let shards: Shards<u64> = Shards::new();
        for _ in 0..3 {
            let read = || shards.read(0, |_| panic!("reading"));
            let written = || {
                shards.write(0, |n| {
                    *n += 1;
                    panic!("writing")
                })
            };
            let _: Result<(), _> = catch_unwind(AssertUnwindSafe(read));
            let _: Result<(), _> = catch_unwind(AssertUnwindSafe(written));
        }
        shards.write(0, |n| *n += 1);
        assert_eq!(shards.read(0, |n| *n), 4);
    }

    #[test]
    fn every_hash_has_a_part() {
        let mut parts = std::collections::HashSet::new();
        for n in 0..64u64 {
            parts.insert(Shards::<()>::place(n << 40));
        }
        assert_eq!(parts.len(), SHARDS);
        assert!(Shards::<()>::place(u64::MAX) < SHARDS);
    }
}
