//! The times of entries, by place: a column of its own, as most tables have none. Until the first entry gets
//! a time it takes a pointer, and every entry is taken to stay.
//!
//! # Invariants
//! 1. If there is a column it has a time for each place of whoever owns it, whose operations here mirror
//!    those on its other columns.

use super::NEVER;

/// Boxed, so that what has no times has little to carry.
#[derive(Debug, Default)]
#[allow(clippy::box_collection)]
pub(super) struct Times(Option<Box<Vec<u64>>>);

impl Times {
    #[inline]
    pub(super) fn get(&self, at: usize) -> u64 {
        match &self.0 {
            None => NEVER,
            Some(times) => times[at],
        }
    }

    /// Sets the time of one of `len` places.
    #[inline]
    pub(super) fn set(&mut self, at: usize, time: u64, len: usize) {
        match &mut self.0 {
            None if time == NEVER => {}
            Some(times) if at < times.len() => times[at] = time,
            times => {
                let times = times.get_or_insert_with(Box::default);
                times.resize(len, NEVER);
                times[at] = time;
            }
        }
    }

    /// Makes a place before those from `at` on, now `len`.
    #[inline]
    pub(super) fn insert(&mut self, at: usize, time: u64, len: usize) {
        match &mut self.0 {
            Some(times) => times.insert(at, time),
            None => self.set(at, time, len),
        }
    }

    #[inline]
    pub(super) fn remove(&mut self, at: usize) -> u64 {
        match &mut self.0 {
            None => NEVER,
            Some(times) => times.remove(at),
        }
    }

    /// Moves the places from `at` on to the end of others, of which there are `others`.
    pub(super) fn move_to(&mut self, at: usize, to: &mut Times, others: usize) {
        match (&mut self.0, &mut to.0) {
            (None, None) => {}
            (Some(times), Some(to)) => to.extend(times.drain(at..)),
            (Some(times), None) => {
                let mut column = vec![NEVER; others];
                column.extend(times.drain(at..));
                to.0 = Some(Box::new(column));
            }
            // Of the places that move none has a time: the owner tells how many there are by `fill`.
            (None, Some(_)) => {}
        }
    }

    /// Makes it a column of `len` places, the last of which stay, if there is one.
    pub(super) fn fill(&mut self, len: usize) {
        if let Some(times) = &mut self.0 {
            times.resize(len, NEVER);
        }
    }

    pub(super) fn memory(&self) -> usize {
        let times = self.0.as_ref();
        times.map_or(0, |times| {
            size_of::<Vec<u64>>() + times.capacity() * size_of::<u64>()
        })
    }

    #[cfg(test)]
    pub(super) fn check(&self, len: usize) {
        assert!(self.0.as_ref().is_none_or(|times| times.len() == len));
    }
}
