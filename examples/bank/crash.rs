//! Crashes on purpose: the branches of this bank panic now and then, at the worst moments.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Where a branch crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Before the entry is written: the transfer has not begun.
    Before,
    /// In the middle of the line.
    Torn,
    /// After the entry is written, before the branch has acted on it or answered anybody.
    After,
}

/// One crash in so many entries, chosen by a seed. Shared by all branches and their incarnations, so
/// that a restart does not begin the same sequence again.
#[derive(Clone, Debug)]
pub(crate) struct Crashes {
    one_in: u64,
    drawn: Arc<AtomicU64>,
}

impl Crashes {
    /// `one_in` 0: none at all.
    pub(crate) fn new(one_in: u64, seed: u64) -> Self {
        Crashes {
            one_in,
            drawn: Arc::new(AtomicU64::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))),
        }
    }

    pub(crate) fn draw(&self) -> Option<Moment> {
        if self.one_in == 0 {
            return None;
        }
        // splitmix64
        let mut z = self.drawn.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        if z % self.one_in != 0 {
            return None;
        }
        Some(match (z / self.one_in) % 3 {
            0 => Moment::Before,
            1 => Moment::Torn,
            _ => Moment::After,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crashes_come_at_about_the_rate_and_at_every_moment() {
        let crashes = Crashes::new(100, 1);
        let drawn: Vec<Moment> = (0..100_000).filter_map(|_| crashes.draw()).collect();
        assert!((800..1200).contains(&drawn.len()), "{}", drawn.len());
        for moment in [Moment::Before, Moment::Torn, Moment::After] {
            assert!(drawn.contains(&moment));
        }
        assert_eq!(Crashes::new(0, 1).draw(), None);
    }
}
