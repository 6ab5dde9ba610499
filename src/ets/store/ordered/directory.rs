//! Which leaf a key belongs to: the lows of all leaves in order, searched under a lock that threads do not
//! share.
//!
//! There are several copies of it, the *lanes*, each behind a lock of its own, and a thread reads the one
//! that is its own (or that it shares with few): so readers of an ordered store do not take one cache line
//! from each other for each key. A change is made to all lanes, one after the other. A reader may so be
//! told of a leaf that is about to change, or of one that just has; the leaf's *version*, which comes along,
//! tells it (invariants 2 and 3 of [the store](super)).
//!
//! # Invariants
//! 1. The `lows` ascend; the leaf of route `i` has the keys from low `i - 1` on and below low `i`.
//! 2. All lanes are equal except while a change is being made, which one thread does at a time.

use std::borrow::Borrow;
use std::cell::Cell;

use crate::sync::atomic::AtomicUsize;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::{CachePadded, RwLock};

/// The most lanes: each takes memory for the lows of all leaves, and time when a leaf is split.
const MOST: usize = 16;

thread_local! {
    static THREAD: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// A number of this thread's, small and seldom another's too.
#[inline]
pub(super) fn thread() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    let number = THREAD.get();
    if number != usize::MAX {
        return number;
    }
    let number = THREADS.fetch_add(1, Relaxed) & (usize::MAX >> 1);
    THREAD.set(number);
    number
}

/// A power of two, for one of which each thread of the machine is to have: at most [`MOST`].
pub(super) fn lanes() -> usize {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    threads.next_power_of_two().min(MOST)
}

/// A leaf, as it was when it had this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) leaf: u32,
    pub(super) version: u32,
}

impl Route {
    /// That of the same leaf once its range has changed.
    pub(super) fn next(self) -> Self {
        Route {
            version: self.version.wrapping_add(1),
            ..self
        }
    }
}

struct Lane<K> {
    lows: Vec<K>,
    /// One more than lows.
    routes: Vec<Route>,
}

impl<K> Lane<K> {
    /// Which route a key takes.
    #[inline]
    fn find<Q: Ord + ?Sized>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        self.lows.partition_point(|low| low.borrow() <= key)
    }
}

pub(super) struct Directory<K> {
    lanes: Box<[CachePadded<RwLock<Lane<K>>>]>,
}

impl<K> Directory<K> {
    /// One that leads to one leaf.
    pub(super) fn new(only: Route) -> Self {
        let lane = || Lane {
            lows: Vec::new(),
            routes: vec![only],
        };
        Directory {
            lanes: (0..lanes())
                .map(|_| CachePadded(RwLock::new(lane())))
                .collect(),
        }
    }

    fn lane(&self) -> &RwLock<Lane<K>> {
        &self.lanes[thread() & (self.lanes.len() - 1)]
    }

    pub(super) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// How much it takes to lead to so many leaves.
    pub(super) fn memory(&self, leaves: usize) -> usize {
        let each = leaves * (size_of::<K>() + size_of::<Route>());
        (each + size_of::<CachePadded<RwLock<Lane<K>>>>()) * self.lanes.len()
    }

    pub(super) fn first(&self) -> Route {
        self.lane().read().routes[0]
    }

    pub(super) fn last(&self) -> Route {
        let lane = self.lane().read();
        lane.routes[lane.routes.len() - 1]
    }

    pub(super) fn all(&self) -> Vec<Route> {
        self.lane().read().routes.clone()
    }
}

impl<K: Ord> Directory<K> {
    /// The leaf that `key` belongs to.
    #[inline]
    pub(super) fn locate<Q: Ord + ?Sized>(&self, key: &Q) -> Route
    where
        K: Borrow<Q>,
    {
        let lane = self.lane().read();
        lane.routes[lane.find(key)]
    }

    /// The leaf after the one with this low, and its low.
    pub(super) fn after(&self, low: Option<&K>) -> Option<(K, Route)>
    where
        K: Clone,
    {
        let lane = self.lane().read();
        let at = low.map_or(0, |low| lane.find(low));
        Some((lane.lows.get(at)?.clone(), lane.routes[at + 1]))
    }

    /// Up to `count` leaves before the one with this low, from there on.
    pub(super) fn some_before(&self, low: Option<&K>, count: usize) -> Vec<Route> {
        let lane = self.lane().read();
        let end = low.map_or(0, |low| lane.find(low));
        let routes = lane.routes[end.saturating_sub(count)..end].iter();
        routes.rev().copied().collect()
    }

    /// Up to `count` leaves after the one with this low, from there on.
    pub(super) fn some_after(&self, low: Option<&K>, count: usize) -> Vec<Route> {
        let lane = self.lane().read();
        let start = 1 + low.map_or(0, |low| lane.find(low));
        lane.routes[start..].iter().take(count).copied().collect()
    }

    /// Where the leaves with these routes are, one behind the other, of which the first has this low. `None`
    /// if its low does not lead there, as with an `Ord` that is no order.
    pub(super) fn find(&self, low: Option<&K>, routes: &[Route]) -> Option<usize> {
        let lane = self.lane().read();
        let at = low.map_or(0, |low| lane.find(low));
        (lane.routes.get(at..at + routes.len()) == Some(routes)).then_some(at)
    }
}

/// Changes: one thread at a time makes them. They run no code of keys.
impl<K> Directory<K> {
    /// The leaf at `at` is now reached by `route`, and a new one behind it by `new`. `lows` has that one's low,
    /// once for each lane.
    pub(super) fn split(&self, at: usize, route: Route, lows: impl Iterator<Item = K>, new: Route) {
        for (lane, low) in self.lanes.iter().zip(lows) {
            let mut lane = lane.write();
            lane.routes[at] = route;
            lane.routes.insert(at + 1, new);
            lane.lows.insert(at, low);
        }
    }

    /// The leaf at `at` is now reached by `route`, and the one behind it not any more. What the lanes had of
    /// that one's low goes to `bin`.
    pub(super) fn join(&self, at: usize, route: Route, bin: &mut Vec<K>) {
        for lane in &self.lanes {
            let mut lane = lane.write();
            lane.routes[at] = route;
            lane.routes.remove(at + 1);
            bin.push(lane.lows.remove(at));
        }
    }

    /// Leads to one leaf again.
    pub(super) fn clear(&self, only: Route, bin: &mut Vec<K>) {
        for lane in &self.lanes {
            let mut lane = lane.write();
            lane.routes = vec![only];
            bin.append(&mut std::mem::take(&mut lane.lows));
        }
    }

    /// Invariants 1 and 2.
    #[cfg(test)]
    pub(super) fn check(&self) -> Vec<(Option<K>, Route)>
    where
        K: Ord + Clone + std::fmt::Debug,
    {
        let first = self.lanes[0].read();
        assert!(first.lows.is_sorted_by(|a, b| a < b));
        assert_eq!(first.lows.len() + 1, first.routes.len());
        for lane in &self.lanes[1..] {
            let lane = lane.read();
            assert_eq!((&lane.lows, &lane.routes), (&first.lows, &first.routes));
        }
        let lows = first.lows.iter().cloned().map(Some);
        let lows = std::iter::once(None).chain(lows);
        lows.zip(first.routes.iter().copied()).collect()
    }
}
