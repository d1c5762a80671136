//! A sliding window of results, in slices that are forgotten as a whole.

use std::time::{Duration, Instant};

const SLICES: usize = 10;

/// Results of the recent past.
#[derive(Debug)]
pub(crate) struct Window {
    born: Instant,
    slice: Duration,
    /// Number of the latest slice.
    latest: u64,
    slices: [Totals; SLICES],
    sum: Totals,
}

/// Counts of results.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) calls: u32,
    failed: u32,
    slow: u32,
}

impl Totals {
    pub(crate) fn failure_rate(self) -> f64 {
        share(self.failed, self.calls)
    }

    pub(crate) fn slow_rate(self) -> f64 {
        share(self.slow, self.calls)
    }
}

fn share(part: u32, whole: u32) -> f64 {
    if whole == 0 { 0.0 } else { f64::from(part) * 100.0 / f64::from(whole) }
}

impl Window {
    pub(crate) fn new(length: Duration, now: Instant) -> Self {
        Self {
            born: now,
            slice: (length / SLICES as u32).max(Duration::from_millis(1)),
            latest: 0,
            slices: [Totals::default(); SLICES],
            sum: Totals::default(),
        }
    }

    pub(crate) fn add(&mut self, now: Instant, is_failure: bool, is_slow: bool) {
        self.forget(now);
        let slice = &mut self.slices[(self.latest % SLICES as u64) as usize];
        for totals in [slice, &mut self.sum] {
            totals.calls = totals.calls.saturating_add(1);
            totals.failed = totals.failed.saturating_add(u32::from(is_failure));
            totals.slow = totals.slow.saturating_add(u32::from(is_slow));
        }
    }

    pub(crate) fn totals(&mut self, now: Instant) -> Totals {
        self.forget(now);
        self.sum
    }

    fn forget(&mut self, now: Instant) {
        let number = (now.saturating_duration_since(self.born).as_nanos() / self.slice.as_nanos()) as u64;
        let steps = number.saturating_sub(self.latest).min(SLICES as u64);
        if steps == 0 {
            return;
        }
        for step in 1..=steps {
            // Only the last slices of a long pause matter.
            let index = ((number - steps + step) % SLICES as u64) as usize;
            let old = std::mem::take(&mut self.slices[index]);
            self.sum.calls = self.sum.calls.saturating_sub(old.calls);
            self.sum.failed = self.sum.failed.saturating_sub(old.failed);
            self.sum.slow = self.sum.slow.saturating_sub(old.slow);
        }
        self.latest = number;
    }
}
