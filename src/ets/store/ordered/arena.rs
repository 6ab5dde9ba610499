//! Leaves, by number. None is ever moved or freed before the store is, so a number out of date leads to a
//! leaf all the same, which then says that it is not the one that was meant.
//!
//! They lie in segments, each twice as large as the one before, made when the first of its leaves is needed.

use super::leaf::Leaf;
use crate::sync::{CachePadded, OnceLock, RwLock};

/// A leaf and its lock, on cache lines of its own.
pub(super) type Cell<K, C> = CachePadded<RwLock<Leaf<K, C>>>;

/// How many there are in the first segment.
const FIRST: u64 = 4;

/// As many as 2^32 leaves need.
const SEGMENTS: usize = 31;

type Segment<K, C> = Box<[Cell<K, C>]>;

pub(super) struct Arena<K, C> {
    segments: [OnceLock<Segment<K, C>>; SEGMENTS],
}

/// The segment of a leaf, and its place there.
fn place(leaf: u32) -> (usize, usize) {
    let n = u64::from(leaf) + FIRST;
    let segment = n.ilog2() - FIRST.ilog2();
    (segment as usize, (n - (FIRST << segment)) as usize)
}

impl<K, C> Arena<K, C> {
    pub(super) fn new() -> Self {
        Arena {
            segments: std::array::from_fn(|_| OnceLock::new()),
        }
    }

    /// The leaf of a number.
    #[inline]
    pub(super) fn get(&self, leaf: u32) -> &Cell<K, C> {
        let (segment, at) = place(leaf);
        let make = || {
            let empty = || CachePadded(RwLock::new(Leaf::default()));
            (0..FIRST << segment).map(|_| empty()).collect()
        };
        &self.segments[segment].get_or_init(make)[at]
    }

    /// What the leaves take, whether they are in use or not, without what is in them.
    pub(super) fn memory(&self) -> usize {
        let made = self.segments.iter().filter_map(OnceLock::get);
        made.map(|segment| size_of_val(&**segment)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_a_place_of_its_own() {
        let mut next = (0, 0);
        for leaf in 0..100_000 {
            assert_eq!(place(leaf), next);
            next.1 += 1;
            if next.1 == (FIRST << next.0) as usize {
                next = (next.0 + 1, 0);
            }
        }
        assert!(place(u32::MAX).0 < SEGMENTS);
    }
}
