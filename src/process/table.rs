//! From a pid to a live process, while that process may end and be freed at any moment.
//!
//! A pid is two numbers: the *id* of a slot in this table, and the *generation* of the process that
//! has the slot. A slot serves one process after another, each with a generation of its own, so an
//! old pid finds nothing, never a stranger. [`lookup`](Table::lookup) must read the slot's pointer
//! and then count a reference at the pointee, and in between the process could end and its cell be
//! freed. So a lookup *pins* the slot for those few instructions: the reference that the table holds
//! is not given up while a pin is there. A process that ends does not wait for pins; whoever takes
//! the last one away does the rest.
//!
//! Each slot is a state word, a pointer and the process's edge in the wait-for graph ([`super::edge`];
//! it lies here so that a walk needs no pins: slots are never freed), 32 bytes. The word:
//!
//! ```text
//!   63          32  31   30         0
//!  ┌──────────────┬──────┬───────────┐        LIVE: `lookup` finds the process
//!  │  generation  │ LIVE │   pins    │        pins: how many are looking at the cell right now
//!  └──────────────┴──────┴───────────┘
//!            publish           remove, no pins
//!  VACANT ───────────▶ LIVE ──────────────────────▶ finish ──▶ VACANT, generation + 1
//!                    ↺ pin,  │                      ▲
//!                      unpin │ remove, some pins    │ the last unpin
//!                            ▼                      │
//!                         LEAVING ──────────────────┘
//!                           ↺ unpin
//! ```
//!
//! Slots lie in *segments*, each twice as large as the one before and none ever moved or freed
//! before the table is: an index splits into segment and offset by its leading zeros, and a lookup
//! takes no lock. Free ids are kept by each scheduler thread in a *cache* of its own, a plain vector
//! that is refilled from and emptied into one shared list, [`BATCH`] ids at a time. So spawning takes
//! the lock once in 64 times, and a table holds memory for the most processes there ever were at
//! once: 32 bytes each, and 4 for each id in the shared list.
//!
//! # Invariants
//! 1. A `VACANT` slot's id is with exactly one owner: the shared list, a cache, or whoever reserved
//!    it; only that owner writes the slot. A slot that is not `VACANT` is in no list.
//! 2. From `publish` to `finish` the slot's pointer does not change, and the table owns one reference
//!    of what it points to; `finish` gives up that reference.
//! 3. Pins are added only while `LIVE`, and with the generation that the pinner asked for. So once
//!    `LIVE` is cleared they only fall, and exactly one step, `remove` or an unpin, leaves the word
//!    without `LIVE` and without pins: that one runs `finish`, once for each process.
//! 4. What was done before `publish` happens before what is done under a pin; what was done under a
//!    pin, or before `remove`, happens before `finish` and so before the table's reference goes.
//! 5. A slot's generation only grows. At its end the slot is retired: its id is in no list again, so
//!    no pid names two processes.
//! 6. A segment is stored before any of its ids is given out, all its slots `VACANT`, and stays until
//!    the table is dropped.
//! 7. No code of the pointee (`retain`, `release`) runs under the lock or with the slot in between
//!    two states: `release`, which may run destructors, is the last thing that `finish` does.

use std::ptr::{self, NonNull};

use super::edge::Edge;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::sync::atomic::{AtomicPtr, AtomicU64};
use crate::sync::{Mutex, zeroed_slice};

#[cfg(all(test, not(loom)))]
mod tests;

/// What a table points to: something that counts its own references.
///
/// # Safety
/// From a `retain` to its `release` the pointee stays where it is, alive. Both may be called from
/// any thread, and what was done before any `release` happens before the pointee is freed.
pub(crate) unsafe trait Counted {
    /// Adds a reference.
    ///
    /// # Safety
    /// There is a reference, and it outlasts this call.
    unsafe fn retain(this: NonNull<Self>);

    /// Gives up a reference; the last one frees the pointee.
    ///
    /// # Safety
    /// The caller owns a reference, and does not use it afterwards.
    unsafe fn release(this: NonNull<Self>);
}

/// How many ids go between a cache and the shared list at once.
pub(crate) const BATCH: usize = 64;

/// The slots of the first segment: one page of memory.
const FIRST: u64 = 256;

/// The segments that 2^32 ids need.
const SEGMENTS: usize = 25;

/// The process is there to be looked up.
const LIVE: u64 = 1 << 31;

/// The part of the word that counts pins. A thread holds one at a time, or as many as it has calls
/// of `for_each_live` within each other, so they never fill 31 bits.
const PINS: u64 = LIVE - 1;

/// The word of a slot that is `LIVE` in this generation, without its pins.
const fn live(generation: u32) -> u64 {
    vacant(generation) | LIVE
}

/// The word of a slot whose next process has this generation; 0, from a zeroed segment, stands for
/// a slot never used, whose first process has generation 1.
const fn vacant(generation: u32) -> u64 {
    (generation as u64) << 32
}

const fn generation_of(word: u64) -> u32 {
    (word >> 32) as u32
}

/// Where the slot of an index (id − 1) is: its segment, and its place there.
fn place(index: u32) -> (usize, usize) {
    let n = u64::from(index) + FIRST;
    let segment = n.ilog2() - FIRST.ilog2();
    (segment as usize, (n - (FIRST << segment)) as usize)
}

struct Slot<T: Counted> {
    word: AtomicU64,
    cell: AtomicPtr<T>,
    /// Whom the process here waits for.
    edge: Edge,
}

impl<T: Counted> Slot<T> {
    fn unused() -> Self {
        Slot {
            word: AtomicU64::new(0),
            cell: AtomicPtr::new(ptr::null_mut()),
            edge: Edge::none(),
        }
    }

    /// The process that was published here.
    ///
    /// # Safety
    /// The slot is pinned, or `LIVE` with nobody to remove it, or in `finish`.
    unsafe fn cell(&self) -> NonNull<T> {
        // Relaxed: there is one pointer from `publish` to `finish` (invariant 2), and the word has
        // ordered its store before this.
        let cell = self.cell.load(Relaxed);
        debug_assert!(!cell.is_null(), "a process was published here");
        // SAFETY: `publish` stored a pointer that is not null.
        unsafe { NonNull::new_unchecked(cell) }
    }

    /// Makes the slot `VACANT` for the next generation, has its id put in a list by `recycle`
    /// (unless it is retired), and gives up the table's reference.
    ///
    /// # Safety
    /// The caller's own step left the word without `LIVE` and without pins (invariant 3).
    unsafe fn finish(&self, recycle: impl FnOnce()) {
        // Acquire: pairs with the Release in `Pinned::drop` and in `remove`. It reads the last of
        // those steps and so is ordered after all of them: from `LIVE` to here each step is a
        // read-modify-write and continues the release sequences of those before (invariant 4). A
        // fence would do as well, but ThreadSanitizer does not understand fences.
        let word = self.word.load(Acquire);
        debug_assert_eq!(
            word & (LIVE | PINS),
            0,
            "only a slot left by all is finished"
        );
        // SAFETY: the caller is in `finish`.
        let cell = unsafe { self.cell() };
        let next = generation_of(word).wrapping_add(1);
        // Relaxed: whoever reserves the slot next has its id from this thread or through the lock;
        // a lookup that still has the old word fails in its compare-exchange.
        self.word.store(vacant(next), Relaxed);
        if next != 0 {
            recycle();
        }
        // SAFETY: the table owns a reference until here (invariant 2), and `finish` runs once.
        unsafe { T::release(cell) };
    }
}

/// The ids that are in no cache.
struct Free {
    ids: Vec<u32>,
    /// Ids 1 to this one have been given out at some time; the others never.
    issued: u32,
}

/// The processes of a system by pid; see the module.
pub(crate) struct Table<T: Counted> {
    segments: [AtomicPtr<Slot<T>>; SEGMENTS],
    limit: u32,
    free: Mutex<Free>,
}

impl<T: Counted> Table<T> {
    /// An empty table; it allocates nothing before its first process.
    pub(crate) fn new() -> Self {
        Self::with_limit(u32::MAX)
    }

    /// A table of at most `limit` ids, those that lie in caches included.
    pub(crate) fn with_limit(limit: u32) -> Self {
        Table {
            segments: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            limit,
            free: Mutex::new(Free {
                ids: Vec::new(),
                issued: 0,
            }),
        }
    }

    /// Takes a free slot for a process to be: its id (never 0) and generation (never 0).
    ///
    /// `None`: every id is in use, in another thread's cache, or retired. The caller now owes a
    /// [`publish`](Self::publish); or it pushes the id back on its cache, if there will be no process.
    #[must_use = "a reserved id is lost if it is not published"]
    pub(crate) fn reserve(&self, cache: &mut Vec<u32>) -> Option<(u32, u32)> {
        let id = match cache.pop() {
            Some(id) => id,
            None => {
                self.refill(cache);
                cache.pop()?
            }
        };
        // Relaxed: the id came with all that was done to its slot (invariant 1).
        let word = self.slot(id)?.word.load(Relaxed);
        debug_assert_eq!(
            word & (LIVE | PINS),
            0,
            "only a vacant slot's id is in a cache"
        );
        Some((id, generation_of(word).max(1)))
    }

    /// Puts the process in its slot: from now on [`lookup`](Self::lookup) finds it.
    ///
    /// # Safety
    /// `id` and `generation` come from a `reserve` of this table and were not published before; no
    /// cache has ids but those that this table put there, each in one (invariant 1). `cell` is alive,
    /// and the caller gives one reference of it to the table.
    pub(crate) unsafe fn publish(&self, id: u32, generation: u32, cell: NonNull<T>) {
        let slot = self.slot(id).expect("a reserved id has a slot");
        debug_assert_eq!(
            slot.word.load(Relaxed).max(vacant(1)),
            vacant(generation),
            "only a reserved slot is published"
        );
        slot.cell.store(cell.as_ptr(), Relaxed);
        // Release: pairs with the Acquire in `pin`, which reads the pointer and what it points to.
        // A plain store loses no pin: there is none before `LIVE` (invariant 3).
        slot.word.store(live(generation), Release);
    }

    /// The process of this pid, with a reference that the caller now owns; `None` if it has ended.
    ///
    /// `None` orders nothing: it says that the process is gone, not what it did before.
    #[must_use = "the reference must be released"]
    pub(crate) fn lookup(&self, id: u32, generation: u32) -> Option<NonNull<T>> {
        let pinned = self.pin(id, generation)?;
        // SAFETY: while pinned the table keeps its reference (invariants 2 and 3).
        unsafe { T::retain(pinned.cell) };
        Some(pinned.cell)
    }

    /// Whether the process of this pid is there, at some moment during the call. Orders nothing.
    pub(crate) fn is_live(&self, id: u32, generation: u32) -> bool {
        self.slot(id)
            .is_some_and(|slot| slot.word.load(Relaxed) & !PINS == live(generation))
    }

    /// Takes the process out of the table: from now on [`lookup`](Self::lookup) fails. `false`: it
    /// was not there (any more). Never waits: the table's reference is given up here, or, where
    /// others are looking at the cell just now, by the last of them.
    pub(crate) fn remove(&self, id: u32, generation: u32, cache: &mut Vec<u32>) -> bool {
        let Some(slot) = self.slot(id) else {
            return false;
        };
        let mut word = slot.word.load(Relaxed);
        loop {
            if word & !PINS != live(generation) {
                return false;
            }
            // Release: pairs with the Acquire in `finish`, which may run on another thread; what
            // the caller did to the cell comes before its end (invariant 4).
            match slot
                .word
                .compare_exchange_weak(word, word & !LIVE, Release, Relaxed)
            {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        if word & PINS == 0 {
            let recycle = || {
                cache.push(id);
                self.spill(cache);
            };
            // SAFETY: the exchange left neither `LIVE` nor pins.
            unsafe { slot.finish(recycle) };
        }
        true
    }

    /// Calls `f` with id, generation and cell of each process, by rising id. The cell is alive while
    /// `f` runs (it is pinned, not retained: `f` retains what it wants to keep). A process that
    /// comes or goes meanwhile may be met or not.
    pub(crate) fn for_each_live(&self, mut f: impl FnMut(u32, u32, NonNull<T>)) {
        for id in 1..=self.issued() {
            // Relaxed: `pin` looks again.
            let word = self.slot(id).map_or(0, |slot| slot.word.load(Relaxed));
            if word & LIVE != 0 {
                if let Some(pinned) = self.pin(id, generation_of(word)) {
                    f(id, generation_of(word), pinned.cell);
                }
            }
        }
    }

    /// How many processes there are, for tests. Counts them one by one, so that spawning shares no counter:
    /// for statistics, not for every message.
    #[cfg(test)]
    pub(crate) fn live_count(&self) -> usize {
        (1..=self.issued())
            .filter_map(|id| self.slot(id))
            .filter(|slot| slot.word.load(Relaxed) & LIVE != 0)
            .count()
    }

    /// Puts all ids of a cache into the shared list: for a thread that ends, or that spawned without
    /// a cache to keep.
    pub(crate) fn give_back(&self, cache: &mut Vec<u32>) {
        self.free.lock().ids.append(cache);
    }

    /// Fills an empty cache with up to a batch of ids: freed ones first, then new ones.
    #[cold]
    fn refill(&self, cache: &mut Vec<u32>) {
        cache.reserve(2 * BATCH);
        let mut free = self.free.lock();
        if !free.ids.is_empty() {
            let kept = free.ids.len().saturating_sub(BATCH);
            cache.extend(free.ids.drain(kept..));
            return;
        }
        let (start, end) = (
            free.issued,
            free.issued.saturating_add(BATCH as u32).min(self.limit),
        );
        for index in start..end {
            let (segment, _) = place(index);
            // Relaxed: segments are stored under the lock only.
            if self.segments[segment].load(Relaxed).is_null() {
                // SAFETY: a slot is integers and a pointer, all atomic and zero when unused; the
                // segment has at least the slot of `index`.
                let slots = unsafe { zeroed_slice(self.segment_len(segment), Slot::<T>::unused) };
                // Release: pairs with the Acquire in `slot`, for a pid that came by no other way.
                self.segments[segment].store(Box::into_raw(slots).cast(), Release);
            }
        }
        free.issued = end;
        cache.extend((start + 1..=end).rev());
    }

    /// Puts the oldest batch of a cache that has two into the shared list; the ids freed last, whose
    /// slots are still near the processor, stay.
    fn spill(&self, cache: &mut Vec<u32>) {
        if cache.len() >= 2 * BATCH {
            self.free.lock().ids.extend(cache.drain(..BATCH));
        }
    }

    fn issued(&self) -> u32 {
        self.free.lock().issued
    }

    /// How many slots a segment has: twice those of the one before, cut off at the limit.
    fn segment_len(&self, segment: usize) -> usize {
        let start = (FIRST << segment) - FIRST;
        (u64::from(self.limit).saturating_sub(start)).min(FIRST << segment) as usize
    }

    /// The edge of the process that has the slot `id`.
    pub(crate) fn edge_of(&self, id: u32) -> Option<&Edge> {
        Some(&self.slot(id)?.edge)
    }

    /// For whom the process of this pid waits, and the number of that wait.
    pub(crate) fn edge(&self, (id, generation): (u32, u32)) -> Option<((u32, u32), u32)> {
        let slot = self.slot(id)?;
        let edge = slot.edge.read()?;
        // Relaxed: after the Acquire in `read`, so an edge of the slot's next process comes with that
        // one's generation.
        (slot.word.load(Relaxed) & !PINS == live(generation)).then_some(edge)
    }

    /// The slot of an id; `None` if no segment has it yet, or it is 0 or beyond the limit.
    fn slot(&self, id: u32) -> Option<&Slot<T>> {
        let index = id.wrapping_sub(1);
        if index >= self.limit {
            return None;
        }
        let (segment, offset) = place(index);
        // Acquire: pairs with the Release in `refill`, which made the slots.
        let slots = NonNull::new(self.segments[segment].load(Acquire))?;
        // SAFETY: the segment lives as long as `self` (invariant 6), and has all the offsets that
        // `place` gives for an index below the limit.
        Some(unsafe { slots.add(offset).as_ref() })
    }

    /// Holds the process of this pid in its slot.
    fn pin(&self, id: u32, generation: u32) -> Option<Pinned<'_, T>> {
        let slot = self.slot(id)?;
        // Relaxed, here and on failure: only a successful exchange leads to the cell.
        let mut word = slot.word.load(Relaxed);
        loop {
            if word & !PINS != live(generation) {
                return None;
            }
            // Acquire: pairs with the Release in `publish`, whose store heads the release sequence
            // of all pins and unpins since.
            match slot
                .word
                .compare_exchange_weak(word, word + 1, Acquire, Relaxed)
            {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        // SAFETY: pinned.
        let cell = unsafe { slot.cell() };
        Some(Pinned {
            table: self,
            slot,
            id,
            cell,
        })
    }
}

/// The right to look at a cell that the table alone may hold; gives it back when dropped, also when
/// the code that looks panics.
struct Pinned<'a, T: Counted> {
    table: &'a Table<T>,
    slot: &'a Slot<T>,
    id: u32,
    cell: NonNull<T>,
}

impl<T: Counted> Drop for Pinned<'_, T> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `finish`, wherever it runs: the look at the cell (and
        // the `retain`) come before the table's reference goes (invariant 4).
        let was = self.slot.word.fetch_sub(1, Release);
        if was & (LIVE | PINS) == 1 {
            let recycle = || self.table.free.lock().ids.push(self.id);
            // SAFETY: the subtraction left neither `LIVE` nor pins.
            unsafe { self.slot.finish(recycle) };
        }
    }
}

impl<T: Counted> Drop for Table<T> {
    fn drop(&mut self) {
        // Relaxed throughout: `&mut self` comes after every other use. There are no pins, as each
        // borrows the table.
        for id in 1..=self.issued() {
            if let Some(slot) = self.slot(id).filter(|s| s.word.load(Relaxed) & LIVE != 0) {
                // SAFETY: the slot is live, so the table owns a reference (invariant 2), and nobody
                // can look at the slot any more.
                unsafe { T::release(slot.cell()) };
            }
        }
        for (segment, slots) in self.segments.iter().enumerate() {
            let slots = slots.load(Relaxed);
            if !slots.is_null() {
                let slots = ptr::slice_from_raw_parts_mut(slots, self.segment_len(segment));
                // SAFETY: `refill` made the segment as a box of this length (invariant 6).
                drop(unsafe { Box::from_raw(slots) });
            }
        }
    }
}
