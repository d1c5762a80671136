//! Balancers: which endpoint takes the next call.
//!
//! A balancer is built once for a set of members and shared by all threads; a pick takes no lock and allocates
//! nothing. Whether a member is to be used at the moment is asked at each pick.

mod cycle;
mod maglev;
mod ring;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

pub use self::cycle::WeightedCycle;
use self::{maglev::Maglev, ring::Ring};
use crate::{hash::mix, load::EndpointLoad};

/// How the next endpoint is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// In turn, smoothly by weight.
    RoundRobin,
    /// The less busy of two that are drawn.
    LeastRequest,
    /// The one of two with the better latency under its load.
    PeakEwma,
    /// Drawn by weight.
    Random,
    /// Consistent hashing on a ring, with so many points for a member of weight 1.
    RingHash {
        /// Points of a member of weight 1.
        points: u32,
    },
    /// Consistent hashing with a Maglev table (Eisenbud et al., NSDI 2016).
    Maglev,
}

/// One of those to pick among.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its share against the others.
    pub weight: u32,
    /// Its load.
    pub load: Arc<EndpointLoad>,
    /// What stands for it in consistent hashing.
    pub hash_name: Arc<str>,
}

/// Picks members.
#[derive(Debug)]
pub struct Balancer {
    members: Vec<Member>,
    slow_start: Option<Duration>,
    cycle: WeightedCycle,
    way: Way,
}

#[derive(Debug)]
enum Way {
    InTurn,
    Random,
    LeastRequest,
    PeakEwma,
    Ring(Ring),
    Maglev(Maglev),
}

/// An endpoint that is new takes this share of its weight at least.
const SLOW_START_FLOOR: f64 = 0.1;
/// Draws for each of two choices before any is taken.
const DRAWS_MAX: u32 = 8;

impl Balancer {
    /// A balancer over these members.
    pub fn new(algorithm: Algorithm, members: Vec<Member>, slow_start: Option<Duration>) -> Self {
        let weights: Vec<u32> = members.iter().map(|member| member.weight).collect();
        let way = match algorithm {
            Algorithm::RoundRobin => Way::InTurn,
            Algorithm::Random => Way::Random,
            Algorithm::LeastRequest => Way::LeastRequest,
            Algorithm::PeakEwma => Way::PeakEwma,
            Algorithm::RingHash { points } => Way::Ring(Ring::new(&members, points)),
            Algorithm::Maglev => Way::Maglev(Maglev::new(&members)),
        };
        Self { cycle: WeightedCycle::new(&weights), members, slow_start, way }
    }

    /// Picks among the members that `usable` lets through; none when it lets none.
    pub fn pick(
        &self,
        now: Instant,
        random: u64,
        hash: Option<u64>,
        usable: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        // Only `Ring` and `Maglev` are made for hashes; under the others a hash ties its client to one member.
        if let (Some(hash), Way::InTurn | Way::Random | Way::LeastRequest | Way::PeakEwma) = (hash, &self.way)
        {
            return self.tied(hash, &usable);
        }
        match &self.way {
            Way::InTurn => self.in_turn(now, random, &usable),
            Way::Random => self.drawn(now, random, &usable),
            Way::LeastRequest => self.better_of_two(now, random, &usable, |index| {
                f64::from(self.members[index].load.in_flight() + 1)
                    / f64::from(self.members[index].weight.max(1))
            }),
            Way::PeakEwma => self.better_of_two(now, random, &usable, |index| {
                let member = &self.members[index];
                // One that was never measured is tried before those that are known to be slow.
                member.load.cost(now) / f64::from(member.weight.max(1))
            }),
            Way::Ring(ring) => ring.pick(hash.unwrap_or_else(|| mix(random)), &usable),
            Way::Maglev(table) => table.pick(hash.unwrap_or_else(|| mix(random)), &usable),
        }
    }

    /// The usable member that this hash falls to, by weight.
    fn tied(&self, hash: u64, usable: &impl Fn(usize) -> bool) -> Option<usize> {
        let score = |index: usize| pull(hash, &self.members[index].hash_name, self.members[index].weight);
        let all = (0..self.members.len()).filter(|index| usable(*index));
        all.max_by(|one, other| score(*one).total_cmp(&score(*other)))
    }

    /// The share of its weight that a member takes now.
    fn warmth(&self, index: usize, now: Instant) -> f64 {
        let Some(window) = self.slow_start else { return 1.0 };
        self.members[index].load.warmth(now, window).max(SLOW_START_FLOOR)
    }

    /// Whether a member that is still growing gives this turn to another.
    fn stands_back(&self, index: usize, now: Instant, random: u64) -> bool {
        let warmth = self.warmth(index, now);
        warmth < 1.0 && unit(mix(random ^ index as u64)) >= warmth
    }

    fn in_turn(&self, now: Instant, random: u64, usable: &impl Fn(usize) -> bool) -> Option<usize> {
        let mut fallback = None;
        // A turn of one that is out goes to the next in the cycle, which are different ones each time.
        for _ in 0..self.cycle.len().min(4 * self.members.len()) {
            let index = self.cycle.next()?;
            if usable(index) {
                if !self.stands_back(index, now, random) {
                    return Some(index);
                }
                fallback = fallback.or(Some(index));
            }
        }
        fallback.or_else(|| (0..self.members.len()).find(|index| usable(*index)))
    }

    fn drawn(&self, now: Instant, random: u64, usable: &impl Fn(usize) -> bool) -> Option<usize> {
        let mut fallback = None;
        let mut word = random;
        for _ in 0..DRAWS_MAX {
            word = mix(word);
            let index = self.cycle.by_hash(word)?;
            if usable(index) {
                if !self.stands_back(index, now, word) {
                    return Some(index);
                }
                fallback = fallback.or(Some(index));
            }
        }
        fallback.or_else(|| {
            let count = self.members.len();
            let start = (mix(word) % count as u64) as usize;
            (0..count).map(|step| (start + step) % count).find(|index| usable(*index))
        })
    }

    fn better_of_two(
        &self,
        now: Instant,
        random: u64,
        usable: &impl Fn(usize) -> bool,
        cost: impl Fn(usize) -> f64,
    ) -> Option<usize> {
        let count = self.members.len();
        let mut word = random;
        let mut draw = |index: &dyn Fn(u64) -> usize| {
            (0..DRAWS_MAX).find_map(|_| {
                word = mix(word);
                let index = index(word);
                (usable(index) && !self.stands_back(index, now, word)).then_some(index)
            })
        };
        let Some(first) = draw(&|word| below(count, word)) else { return self.drawn(now, random, usable) };
        if count == 1 {
            return Some(first);
        }
        // The second is another one for sure, so that of two the less busy is always taken.
        match draw(&|word| (first + 1 + below(count - 1, word)) % count) {
            Some(second) if cost(second) < cost(first) => Some(second),
            _ => Some(first),
        }
    }
}

/// How strongly a member of this name and weight draws a hash: of several, it falls to the one with the highest. When
/// one comes, goes or changes its weight, only hashes of its own move (weighted rendezvous hashing).
pub fn pull(hash: u64, name: &str, weight: u32) -> f64 {
    let drawn = unit(mix(hash ^ crate::hash::hash64(name.as_bytes()))).max(f64::MIN_POSITIVE);
    -f64::from(weight) / drawn.ln()
}

/// Whether so few of all are healthy that all must share the load.
pub fn panics(healthy: usize, total: usize, threshold_percent: f64) -> bool {
    (healthy as f64) * 100.0 < total as f64 * threshold_percent
}

/// A number below `count`.
fn below(count: usize, word: u64) -> usize {
    ((u128::from(word) * count as u128) >> 64) as usize
}

/// A number from 0 to 1, exclusive.
fn unit(word: u64) -> f64 {
    (word >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests;
