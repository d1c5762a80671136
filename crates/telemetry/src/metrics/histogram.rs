//! A histogram of durations with fixed bounds, fit for a p99 from half a millisecond to half a minute.

use std::time::Duration;

/// Upper bounds of the buckets, in microseconds.
pub(crate) const BOUNDS_MICROS: [u64; 17] = [
    500, 1_000, 2_000, 3_000, 5_000, 7_500, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// Counts of durations.
#[derive(Debug, Clone, Copy, Default)]
pub struct Histogram {
    /// Those within each bound and beyond the one before; the last is beyond all.
    pub(crate) counts: [u64; BOUNDS_MICROS.len() + 1],
    pub(crate) sum_micros: u64,
}

impl Histogram {
    /// Counts one.
    pub fn observe(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        self.counts[bucket] += 1;
        self.sum_micros = self.sum_micros.saturating_add(micros);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum_micros = self.sum_micros.saturating_add(other.sum_micros);
    }

    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}
