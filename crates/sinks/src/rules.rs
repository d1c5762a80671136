//! How a lane behaves: what makes a batch, what may wait, and how often something is tried.

use std::{path::PathBuf, time::Duration};

/// All of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// What the lane is called in the log.
    pub name: String,
    /// When a batch leaves.
    pub batch: Batch,
    /// What may wait in memory.
    pub queue: Queue,
    /// How a batch that failed is tried again.
    pub retry: Retry,
    /// Bound of one try.
    pub timeout: Duration,
    /// Where records go that find the queue full.
    pub spill: Option<SpillTo>,
}

/// A batch leaves when one of these is reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Batch {
    /// So many records.
    pub records: usize,
    /// So many bytes.
    pub bytes: usize,
    /// Its oldest record has waited for so long.
    pub time: Duration,
}

/// What may wait in memory, what is on its way included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Queue {
    /// Records.
    pub records: usize,
    /// Bytes.
    pub bytes: usize,
}

/// Pauses between tries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// The first; it doubles.
    pub first: Duration,
    /// The longest.
    pub max: Duration,
    /// For how long a batch is tried; then it is dropped.
    pub keep: Duration,
}

/// A folder on disk, and how much it may hold.
#[derive(Debug, Clone, PartialEq)]
pub struct SpillTo {
    /// The lane's own folder.
    pub folder: PathBuf,
    /// Bytes of all its files.
    pub bytes: u64,
}

impl Retry {
    /// The pause after so many tries that failed, between half of what it could be and the whole of it, so that many
    /// gateways do not come back at once. `random` is any number.
    pub(crate) fn pause(&self, tries: u32, random: u64) -> Duration {
        let doubled = self.first.saturating_mul(1 << tries.saturating_sub(1).min(16));
        let share = (random >> 11) as f64 / (1_u64 << 54) as f64;
        doubled.min(self.max).mul_f64(0.5 + share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_never_fall_below_half_of_it() {
        let retry = Retry {
            first: Duration::from_millis(100),
            max: Duration::from_secs(1),
            keep: Duration::from_secs(60),
        };
        for (tries, whole) in [(1, 100), (2, 200), (4, 800), (5, 1000), (40, 1000), (u32::MAX, 1000)] {
            let whole = Duration::from_millis(whole);
            assert_eq!(retry.pause(tries, 0), whole / 2, "{tries}");
            assert!(retry.pause(tries, u64::MAX) <= whole, "{tries}");
        }
    }
}
