//! What one key has used within a sliding window: pure, the time is passed in.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Limit, RateStatus};

/// The log of what was consumed: when, and how much at that moment, oldest first. No longer than the
/// limit: each entry has a cost of at least one.
#[derive(Debug, Default)]
pub(super) struct Window {
    log: VecDeque<(Duration, u64)>,
    used: u64,
}

impl Window {
    /// Forgets what has left the window: what was consumed at `t` counts until just before `t + window`.
    pub(super) fn slide(&mut self, limit: Limit, now: Duration) {
        while let Some(&(at, cost)) = self.log.front() {
            if at.saturating_add(limit.window) > now {
                break;
            }
            self.used -= cost;
            self.log.pop_front();
        }
    }

    /// Where the key stands for a request of `cost`. Slide first.
    pub(super) fn status(&self, limit: Limit, cost: u64, now: Duration) -> RateStatus {
        let remaining = limit.max.saturating_sub(self.used);
        let allowed = cost <= remaining;
        RateStatus {
            allowed,
            used: self.used,
            limit: limit.max,
            remaining,
            retry_after: match allowed {
                true => Some(Duration::ZERO),
                false => self.retry_after(limit, cost, now),
            },
            reset_after: self.empty_at(limit).saturating_sub(now),
        }
    }

    /// Consumes, if there is room; the status afterwards, or, if it was refused, for the cost.
    pub(super) fn consume(&mut self, limit: Limit, cost: u64, now: Duration) -> RateStatus {
        let before = self.status(limit, cost, now);
        if !before.allowed || cost == 0 {
            return before;
        }
        match self.log.back_mut() {
            Some((at, sum)) if *at == now => *sum += cost,
            _ => self.log.push_back((now, cost)),
        }
        self.used += cost;
        let after = self.status(limit, 0, now);
        RateStatus {
            allowed: true,
            retry_after: Some(Duration::ZERO),
            ..after
        }
    }

    /// When the window will be empty if nothing more is consumed.
    pub(super) fn empty_at(&self, limit: Limit) -> Duration {
        let last = self.log.back();
        last.map_or(Duration::ZERO, |(at, _)| at.saturating_add(limit.window))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.log.is_empty()
    }

    /// How long until enough has left the window; `None`: it will never be enough.
    fn retry_after(&self, limit: Limit, cost: u64, now: Duration) -> Option<Duration> {
        let mut room = limit.max.checked_sub(cost)?;
        // Kept from the newest backwards: the first that does not fit must go.
        for (at, cost) in self.log.iter().rev() {
            match room.checked_sub(*cost) {
                Some(left) => room = left,
                None => return Some(at.saturating_add(limit.window).saturating_sub(now)),
            }
        }
        Some(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const LIMIT: Limit = Limit::new(5, Duration::from_secs(10));

    fn at(seconds: u32) -> Duration {
        seconds * SECOND
    }

    fn consume(window: &mut Window, limit: Limit, cost: u64, now: Duration) -> RateStatus {
        window.slide(limit, now);
        window.consume(limit, cost, now)
    }

    #[test]
    fn the_window_slides() {
        let mut window = Window::default();
        assert!(consume(&mut window, LIMIT, 3, at(0)).allowed);
        assert!(consume(&mut window, LIMIT, 2, at(4)).allowed);
        assert!(!consume(&mut window, LIMIT, 1, at(9)).allowed);
        // What was consumed at 0 has left at 10.
        assert!(consume(&mut window, LIMIT, 3, at(10)).allowed);
        assert!(!consume(&mut window, LIMIT, 1, at(13)).allowed);
        assert!(consume(&mut window, LIMIT, 2, at(14)).allowed);
    }

    #[test]
    fn a_refusal_spends_nothing_and_is_whole() {
        let mut window = Window::default();
        consume(&mut window, LIMIT, 3, at(0));
        let refused = consume(&mut window, LIMIT, 3, at(1));
        assert_eq!(
            (refused.allowed, refused.used, refused.remaining),
            (false, 3, 2)
        );
        assert!(consume(&mut window, LIMIT, 2, at(1)).allowed);
    }

    #[test]
    fn retry_after_is_the_first_moment_at_which_it_fits() {
        let mut window = Window::default();
        for second in [0, 1, 2, 3, 4] {
            consume(&mut window, LIMIT, 1, at(second));
        }
        for (cost, expected) in [(1, 5), (2, 6), (5, 9)] {
            let status = window.status(LIMIT, cost, at(5));
            assert_eq!(status.retry_after, Some(at(expected)), "cost {cost}");
            let mut later = Window {
                log: window.log.clone(),
                used: window.used,
            };
            let moment = at(5) + at(expected);
            assert!(!consume(&mut later, LIMIT, cost, moment - Duration::from_nanos(1)).allowed);
            assert!(consume(&mut later, LIMIT, cost, moment).allowed);
        }
    }

    #[test]
    fn what_is_above_the_limit_is_never_allowed() {
        let mut window = Window::default();
        let status = consume(&mut window, LIMIT, 6, at(0));
        assert_eq!((status.allowed, status.retry_after), (false, None));
        assert!(window.is_empty());
        assert_eq!(window.status(LIMIT, u64::MAX, at(0)).retry_after, None);
    }

    #[test]
    fn a_lower_limit_leaves_nothing_rather_than_less() {
        let mut window = Window::default();
        consume(&mut window, LIMIT, 5, at(0));
        let low = Limit::new(2, at(10));
        let status = window.status(low, 1, at(1));
        assert_eq!(
            (status.allowed, status.used, status.remaining),
            (false, 5, 0)
        );
        assert_eq!(status.retry_after, Some(at(9)));
    }

    #[test]
    fn the_log_has_an_entry_a_moment_at_most() {
        let mut window = Window::default();
        for _ in 0..4 {
            consume(&mut window, LIMIT, 1, at(1));
        }
        assert_eq!((window.log.len(), window.used), (1, 4));
        assert_eq!(window.status(LIMIT, 1, at(3)).reset_after, at(8));
    }

    #[test]
    fn nothing_costs_nothing_even_when_nothing_is_left() {
        let mut window = Window::default();
        consume(&mut window, LIMIT, 5, at(0));
        assert!(consume(&mut window, LIMIT, 0, at(1)).allowed);
        assert_eq!(window.log.len(), 1);
    }

    /// No stretch of the length of a window ever holds more than the limit.
    #[test]
    fn no_window_ever_holds_more_than_the_limit() {
        let mut seed = 7_u64;
        let mut random = move |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        let mut window = Window::default();
        let mut spent: Vec<(Duration, u64)> = Vec::new();
        let mut now = Duration::ZERO;
        let mut refused = 0;
        for _ in 0..2_000 {
            now += Duration::from_millis(random(3_000));
            let cost = random(4);
            if consume(&mut window, LIMIT, cost, now).allowed {
                spent.push((now, cost));
            } else {
                refused += 1;
            }
            let within = spent.iter().filter(|(at, _)| *at + LIMIT.window > now);
            assert!(within.map(|(_, cost)| cost).sum::<u64>() <= LIMIT.max);
        }
        assert!(refused > 0);
    }
}
