//! Buckets of tokens that are held first and settled later, for what a call takes is known only at its end.
//!
//! A bucket leaks evenly: its whole limit over its window. What is held does not leak, for it is not spent yet; what is
//! settled does, from then on. Amounts are whole numbers (a token is as many parts as its window has nanoseconds), so
//! that nothing is ever rounded away: when all is settled, what was taken is exactly what was spent.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

const SHARDS: usize = 16;

/// Token buckets of many keys.
#[derive(Debug)]
pub struct KeyedBuckets {
    limit: u64,
    /// Nanoseconds.
    window: u64,
    born: Instant,
    keys_per_shard: usize,
    shards: [Mutex<Shard>; SHARDS],
}

type Shard = HashMap<u64, Bucket, BuildHasherDefault<Ready>>;

#[derive(Debug, Default, Clone, Copy)]
struct Bucket {
    /// What was spent and has not leaked out, in parts of a token.
    level: u128,
    /// When that was so, in nanoseconds.
    at: u64,
    /// Tokens that are held.
    held: u64,
}

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

/// Tokens that are held for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// So many, to be settled.
    pub tokens: u64,
    /// Tokens that others could still take.
    pub left: u64,
    /// When the whole limit is there again, if the call takes all that it holds.
    pub reset: Duration,
}

/// There is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// Tokens that are left.
    pub left: u64,
    /// When there will be room, if what is held is taken.
    pub retry_after: Duration,
}

impl KeyedBuckets {
    /// Buckets of `limit` tokens per `window`, for up to `max_keys` keys beside those that something is held for.
    pub fn new(limit: u64, window: Duration, max_keys: usize, now: Instant) -> Self {
        Self {
            limit: limit.max(1),
            window: u64::try_from(window.as_nanos()).unwrap_or(u64::MAX).max(1),
            born: now,
            keys_per_shard: (max_keys / SHARDS).max(1),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Holds tokens for a call. One that may take more than the whole limit holds the whole limit: it is begun only
    /// when nothing is taken, and what it takes beyond is owed by what comes later.
    pub fn hold(&self, key: u64, tokens: u64, now: Instant) -> Result<Held, Full> {
        let tokens = tokens.min(self.limit);
        let at = self.nanos(now);
        let mut shard = self.shard(key);
        let bucket = self.bucket(&mut shard, key, at);
        self.leak(bucket, at);
        let taken = bucket.level.saturating_add(self.parts(bucket.held));
        let wanted = taken.saturating_add(self.parts(tokens));
        let capacity = self.parts(self.limit);
        let left =
            u64::try_from(capacity.saturating_sub(taken) / u128::from(self.window)).unwrap_or(u64::MAX);
        if wanted > capacity {
            return Err(Full { left, retry_after: self.time(wanted - capacity) });
        }
        bucket.held = bucket.held.saturating_add(tokens);
        Ok(Held { tokens, left: left.saturating_sub(tokens), reset: self.time(wanted) })
    }

    /// Settles what was held for a call to what it took, which may be nothing, or more.
    pub fn settle(&self, key: u64, held: u64, spent: u64, now: Instant) {
        let at = self.nanos(now);
        let mut shard = self.shard(key);
        let bucket = self.bucket(&mut shard, key, at);
        self.leak(bucket, at);
        bucket.held = bucket.held.saturating_sub(held);
        bucket.level = bucket.level.saturating_add(self.parts(spent));
    }

    /// Tokens of a key that are held and that were spent and have not come back, begun ones whole.
    pub fn taken(&self, key: u64, now: Instant) -> (u64, u64) {
        let at = self.nanos(now);
        let mut shard = self.shard(key);
        let Some(bucket) = shard.get_mut(&key) else { return (0, 0) };
        self.leak(bucket, at);
        let spent = bucket.level.div_ceil(u128::from(self.window));
        (bucket.held, u64::try_from(spent).unwrap_or(u64::MAX))
    }

    /// Keys that are remembered.
    pub fn keys(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    fn bucket<'s>(&self, shard: &'s mut Shard, key: u64, at: u64) -> &'s mut Bucket {
        if !shard.contains_key(&key) && shard.len() >= self.keys_per_shard {
            self.make_room(shard, at);
        }
        shard.entry(key).or_default()
    }

    fn parts(&self, tokens: u64) -> u128 {
        u128::from(tokens) * u128::from(self.window)
    }

    /// How long parts take to leak, rounded up.
    fn time(&self, parts: u128) -> Duration {
        Duration::from_nanos(u64::try_from(parts.div_ceil(u128::from(self.limit))).unwrap_or(u64::MAX))
    }

    fn leak(&self, bucket: &mut Bucket, at: u64) {
        let passed = u128::from(at.saturating_sub(bucket.at));
        bucket.level = bucket.level.saturating_sub(passed * u128::from(self.limit));
        bucket.at = bucket.at.max(at);
    }

    /// Forgets keys that nothing is held for and whose bucket is empty; when there is none, the quarter of those
    /// without a hold that has the most room.
    fn make_room(&self, shard: &mut Shard, at: u64) {
        let before = shard.len();
        shard.retain(|_, bucket| {
            self.leak(bucket, at);
            bucket.held > 0 || bucket.level > 0
        });
        if shard.len() < before {
            return;
        }
        let mut levels: Vec<u128> =
            shard.values().filter(|bucket| bucket.held == 0).map(|bucket| bucket.level).collect();
        if levels.is_empty() {
            return;
        }
        let quarter = levels.len() / 4;
        let (_, bound, _) = levels.select_nth_unstable(quarter);
        let bound = *bound;
        shard.retain(|_, bucket| bucket.held > 0 || bucket.level > bound);
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, Shard> {
        // The low bits pick the place within a shard.
        let shard = &self.shards[(key >> 60) as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.born).as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: u64 = 7;

    fn buckets(limit: u64) -> (KeyedBuckets, Instant) {
        let now = Instant::now();
        (KeyedBuckets::new(limit, Duration::from_secs(60), 1000, now), now)
    }

    #[test]
    fn what_is_not_taken_is_there_for_others_at_once() {
        let (buckets, now) = buckets(1000);
        let held = buckets.hold(KEY, 900, now).expect("room");
        assert_eq!((held.tokens, held.left), (900, 100));
        let full = buckets.hold(KEY, 200, now).expect_err("held is not free");
        assert_eq!((full.left, full.retry_after), (100, Duration::from_secs(6)));
        buckets.settle(KEY, 900, 100, now);
        assert_eq!(buckets.hold(KEY, 900, now).expect("room").left, 0);
    }

    #[test]
    fn a_call_larger_than_the_limit_waits_for_all_of_it_and_owes_the_rest() {
        let (buckets, now) = buckets(1000);
        assert!(buckets.hold(KEY, 1, now).is_ok());
        assert!(buckets.hold(KEY, 5000, now).is_err());
        buckets.settle(KEY, 1, 0, now);
        assert_eq!(buckets.hold(KEY, 5000, now).expect("all of it").tokens, 1000);
        buckets.settle(KEY, 1000, 3000, now);
        let full = buckets.hold(KEY, 1, now + Duration::from_secs(60)).expect_err("in debt");
        assert_eq!(full.retry_after, Duration::from_millis(60_060));
        assert!(buckets.hold(KEY, 1, now + Duration::from_secs(121)).is_ok());
    }

    #[test]
    fn what_is_held_does_not_come_back_by_waiting() {
        let (buckets, now) = buckets(1000);
        buckets.hold(KEY, 600, now).expect("room");
        let later = now + Duration::from_secs(3600);
        assert!(buckets.hold(KEY, 600, later).is_err());
        buckets.settle(KEY, 600, 600, later);
        assert_eq!(buckets.taken(KEY, later), (0, 600), "it is spent when it is settled");
    }

    #[test]
    fn keys_that_hold_are_never_forgotten() {
        let (buckets, now) = buckets(1000);
        let key = |number: u64| number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        buckets.hold(key(1), 1000, now).expect("room");
        for number in 2..10_000 {
            buckets.settle(key(number), 0, 1 + number % 900, now);
            let _ = buckets.hold(key(number), 0, now);
        }
        assert!(buckets.keys() <= 1000 + 2 * SHARDS, "{}", buckets.keys());
        assert!(buckets.hold(key(1), 1, now).is_err());
    }

    proptest! {
        #[test]
        fn whatever_is_held_and_settled_the_bucket_is_what_was_spent(
            steps in proptest::collection::vec((0u64..5000, 1u64..700, 0u64..900, any::<bool>()), 1..200),
            limit in 1u64..2000,
        ) {
            let start = Instant::now();
            let buckets = KeyedBuckets::new(limit, Duration::from_secs(60), 1000, start);
            let window = 60_000_000_000u128;
            // A ledger of its own: parts that were spent and not leaked, and what is held.
            let (mut level, mut open, mut millis) = (0u128, Vec::<u64>::new(), 0u64);
            for (pause, want, spent, settles) in steps {
                millis += pause;
                level = level.saturating_sub(u128::from(pause) * 1_000_000 * u128::from(limit));
                let now = start + Duration::from_millis(millis);
                if settles && !open.is_empty() {
                    let held = open.remove(0);
                    buckets.settle(KEY, held, spent, now);
                    level += u128::from(spent) * window;
                } else {
                    let held: u64 = open.iter().sum();
                    let want = want.min(limit);
                    let fits = level + u128::from(held + want) * window <= u128::from(limit) * window;
                    let answer = buckets.hold(KEY, want, now);
                    prop_assert_eq!(answer.is_ok(), fits);
                    if fits { open.push(want) }
                }
                let held: u64 = open.iter().sum();
                prop_assert_eq!(buckets.taken(KEY, now), (held, u64::try_from(level.div_ceil(window)).unwrap()));
            }
        }
    }
}
