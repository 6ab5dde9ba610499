//! Memory for envelopes and cells, recycled. A message is one allocation, made by its sender and
//! freed by its receiver, which is what general allocators do worst; here each scheduler thread keeps
//! what was freed on it, sorted by size, for what is allocated on it next, and threads pass surplus on
//! in batches. A thread that drives a manual system is one between its ticks, too.
//!
//! Every block comes from the global allocator with the layout of its size class, and any thread may
//! give it back there, so nothing depends on where it was made.
//!
//! # Invariants
//! 1. A block in a list is nobody's: no reference to it exists, its first word links it to the next.
//! 2. Blocks of class `c` have the layout of `layout_of(c)`, whoever allocated them.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell as Local;
use std::ptr::{self, NonNull};

use super::worker::{Worker, here, home};
use crate::sync::Mutex;

/// Size classes are this many bytes apart, which is also their alignment.
const STEP: usize = 16;
/// Larger blocks go to the global allocator.
const CLASSES: usize = 16;
/// How many blocks go between a thread and the shared stock at once.
const BATCH: usize = 64;
/// How many blocks of a class a thread keeps; from then on it gives batches away.
const KEEP: usize = 4 * BATCH;
/// How many bytes of a class the shared stock keeps; more go back to the global allocator. Enough for a
/// hundred thousand messages on their way at once: what overflows costs `malloc` and `free`.
const STOCK: usize = 16 << 20;

/// Tools that look for misuse of memory need to see each block freed.
const RECYCLES: bool = !cfg!(any(miri, noex_no_recycling));

/// The size class of a layout; `None`: it is not recycled.
#[inline(always)]
const fn class_of(layout: Layout) -> Option<usize> {
    let class = layout.size().div_ceil(STEP);
    if RECYCLES && layout.align() <= STEP && class >= 1 && class <= CLASSES {
        Some(class - 1)
    } else {
        None
    }
}

const fn layout_of(class: usize) -> Layout {
    match Layout::from_size_align((class + 1) * STEP, STEP) {
        Ok(layout) => layout,
        Err(_) => unreachable!(),
    }
}

/// A chain of free blocks.
struct Chain {
    first: *mut u8,
    len: usize,
}

// SAFETY: the blocks are nobody else's (invariant 1).
unsafe impl Send for Chain {}

impl Chain {
    const EMPTY: Chain = Chain {
        first: ptr::null_mut(),
        len: 0,
    };

    #[inline(always)]
    fn pop(&mut self) -> Option<*mut u8> {
        if self.first.is_null() {
            return None;
        }
        let block = self.first;
        // SAFETY: the first word of a free block is its link (invariant 1).
        self.first = unsafe { block.cast::<*mut u8>().read() };
        self.len -= 1;
        Some(block)
    }

    /// # Safety
    /// `block` is free and of the chain's class, and the caller's to give.
    #[inline(always)]
    unsafe fn push(&mut self, block: *mut u8) {
        // SAFETY: as the caller promises; blocks are at least a word large.
        unsafe { block.cast::<*mut u8>().write(self.first) };
        self.first = block;
        self.len += 1;
    }

    /// Takes up to a batch off.
    fn split(&mut self) -> Chain {
        let mut batch = Chain::EMPTY;
        while batch.len < BATCH {
            let Some(block) = self.pop() else { break };
            // SAFETY: popped, so ours.
            unsafe { batch.push(block) };
        }
        batch
    }

    fn free(&mut self, class: usize) {
        while let Some(block) = self.pop() {
            // SAFETY: invariant 2.
            unsafe { dealloc(block, layout_of(class)) };
        }
    }
}

/// A scheduler thread's free blocks.
pub(crate) struct Recycler {
    chains: [Local<Chain>; CLASSES],
}

impl Recycler {
    pub(crate) fn new() -> Self {
        Recycler {
            chains: std::array::from_fn(|_| Local::new(Chain::EMPTY)),
        }
    }

    #[inline(always)]
    fn with<R>(&self, class: usize, with: impl FnOnce(&mut Chain) -> R) -> R {
        // Not re-entered: nothing below runs user code.
        let mut chain = self.chains[class].replace(Chain::EMPTY);
        let result = with(&mut chain);
        self.chains[class].set(chain);
        result
    }

    /// Frees all.
    pub(crate) fn clear(&self) {
        for class in 0..CLASSES {
            self.with(class, |chain| chain.free(class));
        }
    }
}

/// What threads have too much of, for those that have too little.
pub(crate) struct Stock {
    batches: [Mutex<Vec<Chain>>; CLASSES],
}

impl Stock {
    pub(crate) fn new() -> Self {
        Stock {
            batches: std::array::from_fn(|_| Mutex::new(Vec::new())),
        }
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        for (class, batches) in self.batches.iter().enumerate() {
            for mut batch in batches.lock().drain(..) {
                batch.free(class);
            }
        }
    }
}

/// The worker whose blocks the caller may use.
#[inline(always)]
fn recycling_here<'a>() -> Option<&'a Worker> {
    match here() {
        Some(worker) => Some(worker),
        None => home_of_host(),
    }
}

#[cold]
#[inline(never)]
fn home_of_host<'a>() -> Option<&'a Worker> {
    home()
}

/// Memory of the given layout.
#[inline(always)]
pub(crate) fn allocate(layout: Layout) -> NonNull<u8> {
    let block = match (class_of(layout), recycling_here()) {
        (Some(class), Some(worker)) => match worker.recycler.with(class, Chain::pop) {
            Some(block) => block,
            None => restock(worker, class),
        },
        // SAFETY: the layout of a class is not empty.
        (Some(class), None) => unsafe { alloc(layout_of(class)) },
        // SAFETY: envelopes and cells are not empty.
        (None, _) => unsafe { alloc(layout) },
    };
    match NonNull::new(block) {
        Some(block) => block,
        None => handle_alloc_error(layout),
    }
}

#[cold]
fn restock(worker: &Worker, class: usize) -> *mut u8 {
    let batch = worker.core().stock.batches[class].lock().pop();
    match batch {
        Some(mut batch) => {
            let block = batch.pop();
            worker.recycler.chains[class].set(batch);
            block.unwrap_or(ptr::null_mut())
        }
        // SAFETY: the layout of a class is not empty.
        None => unsafe { alloc(layout_of(class)) },
    }
}

/// Gives memory back.
///
/// # Safety
/// `block` came from [`allocate`] with the same layout, and is not used any more.
#[inline(always)]
pub(crate) unsafe fn free(block: NonNull<u8>, layout: Layout) {
    match (class_of(layout), recycling_here()) {
        (Some(class), Some(worker)) => {
            let surplus = worker.recycler.with(class, |chain| {
                // SAFETY: free now, as the caller says.
                unsafe { chain.push(block.as_ptr()) };
                chain.len > KEEP
            });
            if surplus {
                destock(worker, class);
            }
        }
        // SAFETY: invariant 2.
        (Some(class), None) => unsafe { dealloc(block.as_ptr(), layout_of(class)) },
        // SAFETY: as the caller promises.
        (None, _) => unsafe { dealloc(block.as_ptr(), layout) },
    }
}

#[cold]
fn destock(worker: &Worker, class: usize) {
    let mut batch = worker.recycler.with(class, Chain::split);
    let refused = {
        let mut batches = worker.core().stock.batches[class].lock();
        if batches.len() < STOCK / (BATCH * layout_of(class).size()) {
            batches.push(std::mem::replace(&mut batch, Chain::EMPTY));
        }
        batch
    };
    let mut refused = refused;
    refused.free(class);
}
