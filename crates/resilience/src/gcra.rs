//! Rate limiting by GCRA, the generic cell rate algorithm (ITU-T I.371, Annex A): a leaky bucket in one number.
//!
//! A key's state is the time at which its bucket would be empty. A call moves it on by the time that one call is
//! worth; it is refused when that would lie further ahead than the burst allows. Keys are bounded: those whose bucket
//! is empty again are forgotten first, then the ones that are closest to it.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::hash::hash64;

/// So many calls per time, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Nanoseconds that one call is worth.
    cost: u64,
    /// Nanoseconds that calls may be ahead.
    burst: u64,
}

impl Quota {
    /// `limit` calls per `window`, of which up to `burst` may come at once.
    pub fn new(limit: u64, window: Duration, burst: u64) -> Self {
        let window = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX).max(1);
        let cost = (window / limit.max(1)).max(1);
        Self { cost, burst: cost.saturating_mul(burst.max(1)) }
    }
}

/// Whether a call may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It may.
    Allowed {
        /// Calls that could follow at once.
        remaining: u64,
        /// When the whole burst is there again.
        reset: Duration,
    },
    /// It may not.
    Limited {
        /// When it could.
        retry_after: Duration,
        /// When the whole burst is there again.
        reset: Duration,
    },
}

impl Decision {
    /// Whether the call may pass.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }
}

impl Quota {
    /// Decides for a bucket that would be empty at `empty_at`; moves that time on when the call may pass.
    fn decide(&self, empty_at: &mut u64, now: u64, cost: u32) -> Decision {
        let begin = (*empty_at).max(now);
        let next = begin.saturating_add(self.cost.saturating_mul(u64::from(cost)));
        let ahead = next - now;
        if ahead > self.burst {
            return Decision::Limited {
                retry_after: Duration::from_nanos(ahead - self.burst),
                reset: Duration::from_nanos(begin - now),
            };
        }
        *empty_at = next;
        Decision::Allowed { remaining: (self.burst - ahead) / self.cost, reset: Duration::from_nanos(ahead) }
    }
}

const SHARDS: usize = 64;

/// Rate limits of many keys.
#[derive(Debug)]
pub struct KeyedGcra {
    quota: Quota,
    born: Instant,
    keys_per_shard: usize,
    shards: [Mutex<Shard>; SHARDS],
}

type Shard = HashMap<u64, u64, BuildHasherDefault<Ready>>;

/// Keys are hashes already.
#[derive(Debug, Default, Clone, Copy)]
struct Ready(u64);

impl Hasher for Ready {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 ^= hash64(bytes);
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

impl KeyedGcra {
    /// Limits for up to `max_keys` keys.
    pub fn new(quota: Quota, max_keys: usize, now: Instant) -> Self {
        Self {
            quota,
            born: now,
            keys_per_shard: (max_keys / SHARDS).max(1),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Asks for a call of a key.
    pub fn check(&self, key: &[u8], now: Instant, cost: u32) -> Decision {
        let hash = hash64(key);
        let at = self.nanos(now);
        let mut shard = self.shard(hash);
        if let Some(empty_at) = shard.get_mut(&hash) {
            return self.quota.decide(empty_at, at, cost);
        }
        if shard.len() >= self.keys_per_shard {
            make_room(&mut shard, at);
        }
        let mut empty_at = at;
        let decision = self.quota.decide(&mut empty_at, at, cost);
        shard.insert(hash, empty_at);
        decision
    }

    /// Gives back what a call took that was then refused for another reason.
    pub fn give_back(&self, key: &[u8], cost: u32) {
        let hash = hash64(key);
        if let Some(empty_at) = self.shard(hash).get_mut(&hash) {
            *empty_at = empty_at.saturating_sub(self.quota.cost.saturating_mul(u64::from(cost)));
        }
    }

    /// Keys that are remembered.
    pub fn keys(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    fn shard(&self, hash: u64) -> std::sync::MutexGuard<'_, Shard> {
        // The low bits pick the bucket within a shard.
        self.shards[(hash >> 58) as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.born).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Forgets keys whose bucket is empty; when none is, the quarter that is closest to it.
fn make_room(shard: &mut Shard, now: u64) {
    let before = shard.len();
    shard.retain(|_, empty_at| *empty_at > now);
    if shard.len() < before {
        return;
    }
    let mut times: Vec<u64> = shard.values().copied().collect();
    let quarter = times.len() / 4;
    let (_, bound, _) = times.select_nth_unstable(quarter);
    let bound = *bound;
    shard.retain(|_, empty_at| *empty_at > bound);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limiter(limit: u64, window: Duration) -> (KeyedGcra, Instant) {
        let now = Instant::now();
        (KeyedGcra::new(Quota::new(limit, window, limit), 1000, now), now)
    }

    #[test]
    fn the_sixth_of_five_in_a_second_is_refused_and_told_when() {
        let (limiter, now) = limiter(5, Duration::from_secs(1));
        let remaining: Vec<_> = (0..5)
            .map(|_| match limiter.check(b"gold", now, 1) {
                Decision::Allowed { remaining, .. } => remaining,
                Decision::Limited { .. } => panic!("within the limit"),
            })
            .collect();
        assert_eq!(remaining, [4, 3, 2, 1, 0]);
        let refused = limiter.check(b"gold", now, 1);
        let (retry_after, reset) = (Duration::from_millis(200), Duration::from_secs(1));
        assert_eq!(refused, Decision::Limited { retry_after, reset });
        assert!(limiter.check(b"web", now, 1).is_allowed(), "another key has its own");
        assert!(limiter.check(b"gold", now + Duration::from_millis(200), 1).is_allowed());
    }

    #[test]
    fn what_is_given_back_can_be_used_again() {
        let (limiter, now) = limiter(1, Duration::from_secs(60));
        assert!(limiter.check(b"a", now, 1).is_allowed());
        limiter.give_back(b"a", 1);
        assert!(limiter.check(b"a", now, 1).is_allowed());
        assert!(!limiter.check(b"a", now, 1).is_allowed());
    }

    #[test]
    fn a_flood_of_keys_stays_within_bounds_and_the_busiest_stays_limited() {
        let (limiter, now) = limiter(5, Duration::from_secs(1));
        for number in 0..100_000u32 {
            (0..6).for_each(|_| _ = limiter.check(b"busy", now, 1));
            let _ = limiter.check(&number.to_be_bytes(), now, 1);
        }
        assert!(limiter.keys() <= 1000 + SHARDS, "{}", limiter.keys());
        assert!(!limiter.check(b"busy", now, 1).is_allowed());
    }

    proptest! {
        #[test]
        fn no_interval_sees_more_than_burst_and_rate(
            pauses in proptest::collection::vec(0u64..400, 1..300),
            limit in 1u64..20,
        ) {
            let (limiter, start) = limiter(limit, Duration::from_secs(1));
            let mut now = start;
            let mut passed: Vec<Instant> = Vec::new();
            for pause in pauses {
                now += Duration::from_millis(pause);
                if limiter.check(b"k", now, 1).is_allowed() {
                    passed.push(now);
                }
            }
            for first in 0..passed.len() {
                for last in first..passed.len() {
                    let seconds = (passed[last] - passed[first]).as_secs_f64();
                    let most = (limit as f64) * (1.0 + seconds) + 1e-6;
                    prop_assert!((last - first + 1) as f64 <= most.floor() + 1.0 - f64::from(u8::from(seconds == 0.0)));
                }
            }
        }

        #[test]
        fn whatever_calls_cost_they_pass_as_a_bucket_that_leaks_would_have_it(
            calls in proptest::collection::vec((0u64..3000, 1u32..6), 1..200),
            limit in 1u64..20,
            burst in 1u64..30,
        ) {
            let (start, cost) = (Instant::now(), 1_000_000_000 / limit);
            let limiter = KeyedGcra::new(Quota::new(limit, Duration::from_secs(1), burst), 1000, start);
            // The bucket itself, in nanoseconds of work that has not leaked out yet.
            let (mut level, mut millis) = (0u64, 0u64);
            for (pause, weight) in calls {
                millis += pause;
                level = level.saturating_sub(pause * 1_000_000);
                let fits = level + cost * u64::from(weight) <= cost * burst;
                let decision = limiter.check(b"k", start + Duration::from_millis(millis), weight);
                prop_assert_eq!(decision.is_allowed(), fits);
                if fits {
                    level += cost * u64::from(weight);
                }
                match decision {
                    Decision::Allowed { remaining, reset } => {
                        prop_assert_eq!(remaining, (cost * burst - level) / cost);
                        prop_assert_eq!(reset, Duration::from_nanos(level));
                    }
                    Decision::Limited { retry_after, reset } => {
                        let over = level + cost * u64::from(weight) - cost * burst;
                        prop_assert_eq!(retry_after, Duration::from_nanos(over));
                        prop_assert_eq!(reset, Duration::from_nanos(level), "a refusal takes nothing");
                    }
                }
            }
        }

        #[test]
        fn who_keeps_to_the_rate_or_waits_as_told_is_never_refused(limit in 1u64..1000, calls in 1usize..300) {
            let start = Instant::now();
            let limiter = KeyedGcra::new(Quota::new(limit, Duration::from_secs(1), 1), 1000, start);
            let mut now = start;
            for _ in 0..calls {
                prop_assert!(limiter.check(b"k", now, 1).is_allowed());
                let Decision::Limited { retry_after, .. } = limiter.check(b"k", now, 1) else {
                    return Err(TestCaseError::fail("a burst of one is one"));
                };
                prop_assert!(!limiter.check(b"k", now + retry_after - Duration::from_nanos(1), 1).is_allowed());
                now += retry_after;
            }
        }

        #[test]
        fn what_is_given_back_is_as_if_it_had_not_been_taken(before in 0u32..10, weight in 1u32..5) {
            let start = Instant::now();
            let quota = Quota::new(20, Duration::from_secs(1), 20);
            let (one, other) = (KeyedGcra::new(quota, 1000, start), KeyedGcra::new(quota, 1000, start));
            for _ in 0..before {
                let _ = (one.check(b"k", start, 1), other.check(b"k", start, 1));
            }
            prop_assert!(one.check(b"k", start, weight).is_allowed());
            one.give_back(b"k", weight);
            prop_assert_eq!(one.check(b"k", start, 1), other.check(b"k", start, 1));
        }
    }
}
