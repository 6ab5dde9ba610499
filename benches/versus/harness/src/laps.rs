//! Latencies, one by one, in a histogram.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Ten minutes, in nanoseconds: what takes longer is no longer distinguished.
const LONGEST: u64 = 600_000_000_000;

/// Times one round after another, so many or for so long. A clock reading, some 25 ns, is part of each.
pub struct Laps {
    histogram: Histogram<u64>,
    left: u64,
    end: Option<Instant>,
    pace: u64,
    begun: Option<Instant>,
    first: Option<Instant>,
}

impl Laps {
    fn with(left: u64, end: Option<Instant>, pace: Duration) -> Laps {
        Laps {
            // To three digits, and made at once, so that no lap pays for it.
            histogram: Histogram::new_with_bounds(1, LONGEST, 3).expect("sensible bounds"),
            left,
            end,
            pace: pace.as_nanos() as u64,
            begun: None,
            first: None,
        }
    }

    /// So many rounds.
    pub fn new(rounds: u64) -> Laps {
        Laps::with(rounds, None, Duration::ZERO)
    }

    /// As many rounds as there is time for, of which one was to begin at each `pace`: one that takes longer
    /// counts for those that could not begin meanwhile, too, else the worst would hide itself.
    pub fn paced(time: Duration, pace: Duration) -> Laps {
        Laps::with(u64::MAX, Some(Instant::now() + time), pace)
    }

    /// A round begins; nothing is recorded of what was before.
    pub fn begin(&mut self) {
        let now = Instant::now();
        self.begun = Some(now);
        self.first.get_or_insert(now);
    }

    /// A round is over, if one had begun, and the next begins. `false`: that was the last.
    pub fn lap(&mut self) -> bool {
        let now = Instant::now();
        if let Some(begun) = self.begun {
            let took = ((now - begun).as_nanos() as u64).min(LONGEST);
            // An interval of zero corrects nothing.
            let _ = self.histogram.record_correct(took, self.pace);
            self.left -= 1;
        }
        self.begun = Some(now);
        self.first.get_or_insert(now);
        self.left > 0 && self.end.is_none_or(|end| now < end)
    }

    pub fn rounds(&self) -> u64 {
        self.histogram.len()
    }

    /// From the first round's beginning to the last one's end.
    pub fn seconds(&self) -> f64 {
        match (self.first, self.begun) {
            (Some(first), Some(last)) => (last - first).as_secs_f64(),
            _ => 0.0,
        }
    }

    /// The quantiles, as the `extra` of a line.
    pub fn extra(&self) -> String {
        let quantiles = [
            ("p50", 0.5),
            ("p90", 0.9),
            ("p99", 0.99),
            ("p999", 0.999),
            ("p9999", 0.9999),
        ];
        let mut words: Vec<String> = quantiles
            .iter()
            .map(|(name, q)| format!("{name}_ns={}", self.histogram.value_at_quantile(*q)))
            .collect();
        words.push(format!("max_ns={}", self.histogram.max()));
        words.join(" ")
    }
}
