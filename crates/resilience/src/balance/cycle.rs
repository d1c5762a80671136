//! A cycle in which each member comes as often as its weight says, as evenly spread as can be.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Longest cycle; weights whose sum is larger are rounded to it.
const CYCLE_MAX: u64 = 65_536;

/// A cycle in which each member comes as often as its weight says.
#[derive(Debug)]
pub struct WeightedCycle {
    order: Vec<u32>,
    at: AtomicUsize,
}

impl WeightedCycle {
    /// The cycle for these weights. A weight of zero never has a turn; if all are zero nobody has.
    pub fn new(weights: &[u32]) -> Self {
        let divisor = weights.iter().copied().filter(|weight| *weight > 0).fold(0, gcd).max(1);
        let mut parts: Vec<u64> = weights.iter().map(|weight| u64::from(weight / divisor)).collect();
        let sum: u64 = parts.iter().sum();
        if sum > CYCLE_MAX {
            for part in parts.iter_mut().filter(|part| **part > 0) {
                *part = (*part * CYCLE_MAX / sum).max(1);
            }
        }
        Self { order: smooth(&parts), at: AtomicUsize::new(0) }
    }

    /// The member whose turn it is.
    pub fn next(&self) -> Option<usize> {
        if self.order.len() < 2 {
            return self.order.first().map(|index| *index as usize);
        }
        let at = self.at.fetch_add(1, Ordering::Relaxed);
        Some(self.order[at % self.order.len()] as usize)
    }

    /// The member that a hash falls to, by weight.
    pub fn by_hash(&self, hash: u64) -> Option<usize> {
        let at = ((u128::from(hash) * self.order.len() as u128) >> 64) as usize;
        self.order.get(at).map(|index| *index as usize)
    }

    /// Turns in a cycle.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether nobody ever has a turn.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

/// Orders turns so that those of one member are evenly apart: the k-th of n turns is due at (k + 1/2) / n.
fn smooth(parts: &[u64]) -> Vec<u32> {
    let mut due: Vec<(f64, u32)> = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        due.extend((0..*part).map(|turn| ((turn as f64 + 0.5) / *part as f64, index as u32)));
    }
    due.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    due.into_iter().map(|(_, index)| index).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
