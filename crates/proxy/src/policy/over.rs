//! Keys that a shared store has refused: nothing that anybody does gives them room before the time that it said.
//!
//! They are refused here without a question, but for one now and then: operators may have made room by hand.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Maps that refused keys are spread over.
const SHARDS: usize = 16;
/// How long nobody asks.
const UNASKED: Duration = Duration::from_secs(5);

/// Keys that have no room, and until when.
pub(super) struct Over {
    hasher: RandomState,
    per_shard: usize,
    shards: [Mutex<HashMap<u64, Refused>>; SHARDS],
}

#[derive(Clone, Copy)]
struct Refused {
    until: Instant,
    asks_again: Instant,
}

impl Over {
    pub(super) fn new(max_keys: usize) -> Self {
        Self { hasher: RandomState::new(), per_shard: (max_keys / SHARDS).max(1), shards: Default::default() }
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, HashMap<u64, Refused>> {
        let at = usize::try_from(hash % SHARDS as u64).unwrap_or_default();
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first of these that is surely over its limit, and how long it will be.
    pub(super) fn find<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k String>,
        now: Instant,
    ) -> Option<(usize, Duration)> {
        keys.into_iter().enumerate().find_map(|(place, key)| {
            let hash = self.hasher.hash_one(key);
            let mut shard = self.shard(hash);
            let refused = *shard.get(&hash)?;
            if refused.asks_again <= now {
                shard.remove(&hash);
                return None;
            }
            Some((place, refused.until - now))
        })
    }

    /// The store said at this moment or later that a key has no room for so long.
    pub(super) fn put(&self, key: &str, at: Instant, wait: Duration) {
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash);
        if shard.len() >= self.per_shard {
            let now = Instant::now();
            shard.retain(|_, refused| refused.asks_again > now);
            // Those that are forgotten are asked about again.
            if shard.len() >= self.per_shard {
                shard.clear();
            }
        }
        shard.insert(hash, Refused { until: at + wait, asks_again: at + wait.min(UNASKED) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_refused_is_refused_until_it_may_have_room_and_memory_is_bounded() {
        let (over, now) = (Over::new(64), Instant::now());
        let key = |number: usize| format!("key {number}");
        over.put(&key(1), now, Duration::from_secs(2));
        let keys = [key(0), key(1)];
        assert_eq!(over.find(&keys, now + Duration::from_secs(1)), Some((1, Duration::from_secs(1))));
        assert_eq!(over.find(&keys, now + Duration::from_secs(2)), None);
        over.put(&key(1), now, Duration::from_secs(3600));
        assert_eq!(over.find(&keys, now), Some((1, Duration::from_secs(3600))));
        assert_eq!(over.find(&keys, now + UNASKED), None, "somebody may have made room");
        for number in 0..1000 {
            over.put(&key(number), now, Duration::from_secs(3600));
        }
        let all: usize = over.shards.iter().map(|shard| shard.lock().expect("whole").len()).sum();
        assert!(all <= 64, "{all}");
    }
}
