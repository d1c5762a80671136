//! Pace: so many bytes per second, over any number of streams.
//!
//! The state is one number: when all that was let through would be paid for (the generic cell rate algorithm, with bytes
//! for cells). A stream reserves a piece and learns how long to wait before it passes it on, so that streams that share a pace
//! take turns, and the rate is exact however late their timers are, as long as they are no later than the burst is long.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Lateness of timers that the burst makes up for, whatever was asked for.
const SLACK: Duration = Duration::from_millis(50);
/// A piece is what passes in this time, within bounds.
const PIECE: Duration = Duration::from_millis(50);
/// Bounds of a piece, in bytes: fewer would be all overhead, more would not be even.
const PIECE_BYTES: std::ops::RangeInclusive<u64> = 256..=65_536;
const SHARDS: usize = 32;
const SECOND: u128 = 1_000_000_000;

/// So many bytes per second, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    per_second: u64,
    /// Nanoseconds that may be owed.
    burst: u64,
    piece: usize,
}

impl Rate {
    /// `per_second` bytes; up to `burst` at once, at least a piece and what timers are late by.
    pub fn new(per_second: u64, burst: u64) -> Self {
        let per_second = per_second.max(1);
        let piece = share(per_second, PIECE).clamp(*PIECE_BYTES.start(), *PIECE_BYTES.end());
        let least = piece.saturating_add(share(per_second, SLACK));
        let rate = Self { per_second, burst: 0, piece: usize::try_from(piece).unwrap_or(usize::MAX) };
        Self { burst: rate.time(burst.max(least)), ..rate }
    }

    /// Bytes that pass at a time.
    pub fn piece(&self) -> usize {
        self.piece
    }

    /// Nanoseconds that so many bytes take.
    fn time(&self, bytes: u64) -> u64 {
        u64::try_from(u128::from(bytes) * SECOND / u128::from(self.per_second)).unwrap_or(u64::MAX)
    }
}

/// What passes in a time.
fn share(per_second: u64, time: Duration) -> u64 {
    u64::try_from(u128::from(per_second) * time.as_nanos() / SECOND).unwrap_or(u64::MAX)
}

/// A pace that streams share.
#[derive(Debug)]
pub struct Pace {
    rate: Rate,
    born: Instant,
    /// When all that was let through is paid for, in nanoseconds since `born`.
    paid_at: AtomicU64,
}

impl Pace {
    /// A pace of which nothing is used.
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, born: now, paid_at: AtomicU64::new(0) }
    }

    /// Its rate.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes so many bytes; how long until they may pass.
    pub fn reserve(&self, bytes: usize, now: Instant) -> Duration {
        let (now, cost) = (self.nanos(now), self.rate.time(bytes as u64));
        let next = |paid_at: u64| Some(paid_at.max(now).saturating_add(cost));
        let before =
            self.paid_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or_else(|at| at);
        let owed = before.max(now).saturating_add(cost) - now;
        Duration::from_nanos(owed.saturating_sub(self.rate.burst))
    }

    /// Gives back bytes that were taken and never passed.
    pub fn give_back(&self, bytes: usize) {
        let cost = self.rate.time(bytes as u64);
        let next = |paid_at: u64| Some(paid_at.saturating_sub(cost));
        let _ = self.paid_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.paid_at.load(Ordering::Relaxed) <= self.nanos(now)
    }

    fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.born).as_nanos()).unwrap_or(u64::MAX)
    }
}

type Shard = HashMap<u64, Arc<Pace>, BuildHasherDefault<Ready>>;

/// Keys are hashes already.
#[derive(Debug, Default, Clone, Copy)]
struct Ready(u64);

impl Hasher for Ready {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 ^= crate::hash::hash64(bytes);
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// Paces of many keys. One that no stream uses and that owes nothing is forgotten when room is needed.
#[derive(Debug)]
pub struct KeyedPaces {
    rate: Rate,
    keys_per_shard: usize,
    shards: [Mutex<Shard>; SHARDS],
}

impl KeyedPaces {
    /// Paces of one rate for up to `max_keys` keys; when all of them are in use, a further key has a pace that is not kept.
    pub fn new(rate: Rate, max_keys: usize) -> Self {
        Self {
            rate,
            keys_per_shard: (max_keys / SHARDS).max(1),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// The pace of a key.
    pub fn of(&self, key: u64, now: Instant) -> Arc<Pace> {
        let at = usize::try_from(key >> 59).unwrap_or_default() % SHARDS;
        let fresh = || Arc::new(Pace::new(self.rate, now));
        let Some(shard) = self.shards.get(at) else { return fresh() };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shard.get(&key) {
            return known.clone();
        }
        if shard.len() >= self.keys_per_shard {
            shard.retain(|_, pace| Arc::strong_count(pace) > 1 || !pace.is_idle(now));
        }
        let pace = fresh();
        if shard.len() < self.keys_per_shard {
            shard.insert(key, pace.clone());
        }
        pace
    }

    /// Keys that are remembered.
    pub fn keys(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays streams that share a pace until each has passed so many bytes; when each was done. Timers are late by `late`.
    fn play(rate: Rate, streams: usize, bytes: usize, late: Duration) -> Vec<Duration> {
        let born = Instant::now();
        let pace = Pace::new(rate, born);
        let mut at: Vec<(Duration, usize)> = vec![(Duration::ZERO, bytes); streams];
        let mut done = vec![Duration::ZERO; streams];
        while let Some(next) =
            (0..streams).filter(|stream| at[*stream].1 > 0).min_by_key(|stream| at[*stream].0)
        {
            let (now, left) = at[next];
            let piece = left.min(rate.piece());
            let wait = pace.reserve(piece, born + now);
            let passed = if wait.is_zero() { now } else { now + wait + late };
            at[next] = (passed, left - piece);
            done[next] = passed;
        }
        done
    }

    #[test]
    fn a_stream_takes_its_time_but_for_the_burst() {
        let rate = Rate::new(100_000, 20_000);
        for late in [0, 15] {
            let took = play(rate, 1, 520_000, Duration::from_millis(late))[0];
            assert!((4.95..5.06).contains(&took.as_secs_f64()), "{took:?}");
        }
    }

    #[test]
    fn streams_share_a_pace_evenly() {
        let done = play(Rate::new(1_000_000, 100_000), 4, 500_000, Duration::from_millis(12));
        for took in &done {
            assert!((1.4..2.0).contains(&took.as_secs_f64()), "{done:?}");
        }
    }

    #[test]
    fn high_rates_are_met_in_spite_of_late_timers() {
        let took = play(Rate::new(1 << 30, 1 << 20), 1, 1 << 30, Duration::from_millis(20))[0];
        assert!((0.9..1.05).contains(&took.as_secs_f64()), "{took:?}");
    }

    #[test]
    fn what_never_passed_is_given_back() {
        let now = Instant::now();
        let pace = Pace::new(Rate::new(1000, 1000), now);
        assert!(pace.reserve(1000, now).is_zero());
        let wait = pace.reserve(500, now);
        pace.give_back(500);
        assert_eq!(pace.reserve(500, now), wait);
    }

    #[test]
    fn pauses_save_up_no_more_than_the_burst() {
        let now = Instant::now();
        let pace = Pace::new(Rate::new(1000, 2000), now);
        let later = now + Duration::from_secs(3600);
        assert!(pace.reserve(2000, later).is_zero());
        assert_eq!(pace.reserve(1000, later), Duration::from_secs(1));
    }

    #[test]
    fn keys_are_bounded_and_those_in_use_stay() {
        let now = Instant::now();
        let paces = KeyedPaces::new(Rate::new(1000, 1000), SHARDS * 2);
        let held = paces.of(1, now);
        held.reserve(5000, now);
        for key in 0..10_000_u64 {
            drop(paces.of(crate::hash::mix(key), now));
        }
        assert!(paces.keys() <= SHARDS * 2);
        assert!(Arc::ptr_eq(&held, &paces.of(1, now)), "whose stream goes on keeps its pace");
        drop(held);
        assert!(!paces.of(1, now).reserve(1000, now).is_zero(), "and so does one that owes");
    }
}
