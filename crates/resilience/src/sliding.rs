//! Rate limiting by sliding windows: within any stretch of time as long as the window, no more calls than the limit.
//!
//! A key's state is when its calls of the last window were. Keys and what is remembered of them are bounded together:
//! beyond the bound those that called least recently are forgotten first.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{gcra::Decision, hash::hash64};

const SHARDS: usize = 64;

/// Sliding windows of many keys.
#[derive(Debug)]
pub struct KeyedSliding {
    limit: usize,
    window: u64,
    born: Instant,
    calls_per_shard: usize,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    keys: HashMap<u64, VecDeque<u64>>,
    /// Calls that are remembered, of all keys.
    calls: usize,
}

impl KeyedSliding {
    /// At most `limit` calls within any `window`, for up to `max_keys` keys; as many calls are remembered in all, and
    /// those of one key in any case.
    pub fn new(limit: u64, window: Duration, max_keys: usize, now: Instant) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).max(1);
        Self {
            limit,
            window: u64::try_from(window.as_nanos()).unwrap_or(u64::MAX).max(1),
            born: now,
            calls_per_shard: (max_keys / SHARDS).max(limit),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Asks for a call of a key.
    pub fn check(&self, key: &[u8], now: Instant) -> Decision {
        let hash = hash64(key);
        let at = u64::try_from(now.saturating_duration_since(self.born).as_nanos()).unwrap_or(u64::MAX);
        let mut shard = self.shard(hash);
        let shard = &mut *shard;
        if shard.calls >= self.calls_per_shard {
            shard.make_room(hash, at, self.window, self.calls_per_shard);
        }
        let times = shard.keys.entry(hash).or_default();
        let before = times.len();
        while times.front().is_some_and(|first| first.saturating_add(self.window) <= at) {
            times.pop_front();
        }
        shard.calls -= before - times.len();
        if times.len() >= self.limit {
            let leaves = |time: Option<&u64>| {
                Duration::from_nanos(time.map_or(0, |time| (time + self.window).saturating_sub(at)))
            };
            return Decision::Limited { retry_after: leaves(times.front()), reset: leaves(times.back()) };
        }
        // Clocks of workers may be read in another order than they come here.
        times.push_back(at.max(times.back().copied().unwrap_or(0)));
        shard.calls += 1;
        Decision::Allowed {
            remaining: (self.limit - times.len()) as u64,
            reset: Duration::from_nanos(self.window),
        }
    }

    /// Gives back what a call took that was then refused for another reason.
    pub fn give_back(&self, key: &[u8]) {
        let hash = hash64(key);
        let mut shard = self.shard(hash);
        if shard.keys.get_mut(&hash).and_then(VecDeque::pop_back).is_some() {
            shard.calls -= 1;
        }
    }

    /// Calls that are remembered.
    pub fn calls(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).calls).sum()
    }

    fn shard(&self, hash: u64) -> std::sync::MutexGuard<'_, Shard> {
        self.shards[(hash >> 58) as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    /// Forgets what is over; when that is not enough, the keys that called least recently, but for the one that asks.
    fn make_room(&mut self, asks: u64, now: u64, window: u64, bound: usize) {
        self.keys.retain(|_, times| {
            while times.front().is_some_and(|first| first.saturating_add(window) <= now) {
                times.pop_front();
            }
            !times.is_empty()
        });
        self.calls = self.keys.values().map(VecDeque::len).sum();
        if self.calls < bound {
            return;
        }
        let mut last: Vec<(u64, u64)> =
            self.keys.iter().map(|(key, times)| (times.back().copied().unwrap_or(0), *key)).collect();
        last.sort_unstable();
        for (_, key) in last.into_iter().filter(|(_, key)| *key != asks) {
            if self.calls <= bound / 4 * 3 {
                return;
            }
            self.calls -= self.keys.remove(&key).map_or(0, |times| times.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_stretch_of_time_has_more_and_a_refusal_says_when_the_first_leaves() {
        let now = Instant::now();
        let limiter = KeyedSliding::new(3, Duration::from_secs(1), 1000, now);
        let at = |millis| now + Duration::from_millis(millis);
        let left: Vec<_> = [0, 100, 900].map(|millis| limiter.check(b"a", at(millis))).into();
        assert_eq!(left[0], Decision::Allowed { remaining: 2, reset: Duration::from_secs(1) });
        assert!(matches!(left[2], Decision::Allowed { remaining: 0, .. }));
        let refused = limiter.check(b"a", at(950));
        let (retry_after, reset) = (Duration::from_millis(50), Duration::from_millis(950));
        assert_eq!(refused, Decision::Limited { retry_after, reset });
        assert!(limiter.check(b"b", at(950)).is_allowed(), "others have their own");
        assert!(limiter.check(b"a", at(1000)).is_allowed());
        assert!(!limiter.check(b"a", at(1050)).is_allowed());
        limiter.give_back(b"a");
        assert!(limiter.check(b"a", at(1050)).is_allowed());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let now = Instant::now();
        let limiter = KeyedSliding::new(4, Duration::from_secs(3600), 640, now);
        for number in 0..10_000_u32 {
            assert!(limiter.check(&number.to_be_bytes(), now).is_allowed());
        }
        assert!(limiter.calls() <= 640, "{}", limiter.calls());
    }

    proptest! {
        #[test]
        fn any_window_has_at_most_the_limit(steps in proptest::collection::vec(0u64..400, 1..200)) {
            let now = Instant::now();
            let limiter = KeyedSliding::new(5, Duration::from_millis(1000), 1000, now);
            let (mut at, mut passed) = (0, Vec::new());
            for step in steps {
                at += step;
                let fits = passed.iter().filter(|time| **time + 1000 > at).count() < 5;
                let decision = limiter.check(b"k", now + Duration::from_millis(at));
                prop_assert_eq!(decision.is_allowed(), fits);
                if fits { passed.push(at) }
            }
        }
    }
}
