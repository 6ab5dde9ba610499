//! One key by its place among the others.

use std::borrow::Borrow;
use std::ops::Bound;

use super::super::{Content, Item, Terms};
use super::OrderedStore;
use super::directory::Route;
use super::leaf::Leaf;

/// Which key is looked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seek<'q, Q: ?Sized> {
    /// The least.
    First,
    /// The greatest.
    Last,
    /// The least that is greater than this.
    After(&'q Q),
    /// The greatest that is less than this.
    Before(&'q Q),
    /// The greatest that is not greater than this.
    AtOrBefore(&'q Q),
}

impl<Q: ?Sized> Clone for Seek<'_, Q> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q: ?Sized> Copy for Seek<'_, Q> {}

impl<Q: Ord + ?Sized> Seek<'_, Q> {
    fn is_upwards(self) -> bool {
        match self {
            Seek::First | Seek::After(_) => true,
            Seek::Last | Seek::Before(_) | Seek::AtOrBefore(_) => false,
        }
    }

    /// What is sought, if it is in this leaf.
    fn search<'l, K: Borrow<Q>, C: Content>(
        self,
        leaf: &'l Leaf<K, C>,
        terms: &impl Terms,
    ) -> Option<Item<'l, K, C>> {
        let lives = |entry: &Item<'l, K, C>| entry.lives(terms);
        let up = |from: usize| leaf.items(from..leaf.len()).find(lives);
        let down = |to: usize| leaf.items(0..to).rev().find(lives);
        match self {
            Seek::First => up(0),
            Seek::Last => down(leaf.len()),
            Seek::After(key) => up(leaf.start(Bound::Excluded(key))),
            Seek::Before(key) => down(leaf.end(Bound::Excluded(key))),
            Seek::AtOrBefore(key) => down(leaf.end(Bound::Included(key))),
        }
    }
}

impl<K: Ord + Clone + 'static, C: Content> OrderedStore<K, C> {
    /// Looks at the entry of the key that is sought. It has been that for a moment of the operation, also
    /// if several leaves had to be looked at.
    pub(crate) fn seek<T: Terms, Q: Ord + ?Sized, R>(
        &self,
        terms: &T,
        seek: Seek<'_, Q>,
        look: impl FnOnce(Option<Item<'_, K, C>>) -> R,
    ) -> Result<R, T::Refusal>
    where
        K: Borrow<Q>,
    {
        let _within = self.rank.enter()?;
        // The leaves to look at, in this order; all of them are locked, so that nothing moves from one
        // that has been looked at to one that has not.
        let mut routes: Vec<Route> = Vec::new();
        loop {
            let first = match (routes.first(), seek) {
                (Some(first), _) => *first,
                (None, Seek::First) => self.directory.first(),
                (None, Seek::Last) => self.directory.last(),
                (None, Seek::After(key)) => self.directory.locate(key),
                (None, Seek::Before(key) | Seek::AtOrBefore(key)) => self.directory.locate(key),
            };
            let more = if routes.len() < 2 {
                let Some(leaf) = self.read_route(first) else {
                    routes.clear();
                    continue;
                };
                terms.admit()?;
                if let Some(entry) = seek.search(&leaf, terms) {
                    return Ok(look(Some(entry)));
                }
                self.more(seek.is_upwards(), leaf.low.as_ref(), 1)
            } else {
                let mut order: Vec<usize> = (0..routes.len()).collect();
                order.sort_unstable_by_key(|at| routes[*at].leaf);
                let mut leaves: Vec<_> = routes.iter().map(|_| None).collect();
                for at in order {
                    leaves[at] = self.read_route(routes[at]);
                    terms.admit()?;
                    if leaves[at].is_none() {
                        break;
                    }
                }
                if leaves.iter().any(Option::is_none) {
                    routes.clear();
                    continue;
                }
                let mut found = leaves.iter().flatten();
                if let Some(entry) = found.find_map(|leaf| seek.search(leaf, terms)) {
                    return Ok(look(Some(entry)));
                }
                let last = leaves.last().and_then(Option::as_ref);
                let low = last.and_then(|leaf| leaf.low.as_ref());
                self.more(seek.is_upwards(), low, routes.len())
            };
            if more.is_empty() {
                return Ok(look(None));
            }
            if routes.is_empty() {
                routes.push(first);
            }
            routes.extend(more);
        }
    }

    fn more(&self, upwards: bool, low: Option<&K>, count: usize) -> Vec<Route> {
        match upwards {
            true => self.directory.some_after(low, count),
            false => self.directory.some_before(low, count),
        }
    }
}
