//! `concurrencyLimit`: bounds calls at a time.
//!
//! A permit lives as long as the call that holds it, its answer's body included, and goes back however the call ends.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    Flow, Needs, NeedsOf, Policy,
    call_key::{CallKey, KeyHasher},
    needs::of_key,
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem},
};

/// Maps that the keys are spread over, so that workers seldom meet at one lock.
const SHARDS: usize = 32;
/// When a refused caller may come again: nobody knows, so soon.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The compiled policy.
pub(crate) struct ConcurrencyLimit {
    limit: u32,
    key: CallKey,
    counts: Arc<Counts>,
}

/// Calls in flight by key; a key without any is not kept.
#[derive(Default)]
struct Counts {
    hasher: KeyHasher,
    shards: [Mutex<HashMap<u64, u32>>; SHARDS],
}

/// Gives back its place when it is dropped.
struct Permit {
    counts: Arc<Counts>,
    key: u64,
}

impl Counts {
    fn shard(&self, key: u64) -> std::sync::MutexGuard<'_, HashMap<u64, u32>> {
        let at = usize::try_from(key % SHARDS as u64).unwrap_or_default();
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    fn take(counts: &Arc<Counts>, key: u64, limit: u32) -> Option<Self> {
        let mut shard = counts.shard(key);
        let count = shard.entry(key).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Self { counts: counts.clone(), key })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut shard = self.counts.shard(self.key);
        if let Some(count) = shard.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                shard.remove(&self.key);
            }
        }
    }
}

impl ConcurrencyLimit {
    pub(crate) fn compile(
        settings: &model::policy::ConcurrencyLimit,
        cx: &Building<'_>,
    ) -> Result<Self, String> {
        if settings.limit == 0 {
            return Err("`limit` is 0; expected at least 1".into());
        }
        Ok(Self {
            limit: settings.limit,
            key: CallKey::compile(&settings.key, settings.ipv6_prefix)?,
            // Only what the counts mean belongs to them: another limit goes on with the same calls in flight.
            counts: cx.keep("counts", &(&settings.key, settings.ipv6_prefix), Counts::default),
        })
    }
}

impl NeedsOf for model::policy::ConcurrencyLimit {
    fn needs(&self) -> Needs {
        Needs::headers(of_key(&self.key))
    }
}

impl Policy for ConcurrencyLimit {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        let key = self.key.of(call, &self.counts.hasher);
        match Permit::take(&self.counts, key, self.limit) {
            Some(permit) => {
                call.keep(self, permit);
                Flow::Continue
            }
            None => Flow::Fail(Failure::refused(Problem::ConcurrencyLimited).with_retry_after(RETRY_AFTER)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{building, call, outcome};

    #[test]
    fn a_place_comes_back_however_the_call_ends() {
        let settings = serde_json::from_value(serde_json::json!({"limit": 2})).expect("good settings");
        let policy = building("", |cx| ConcurrencyLimit::compile(&settings, cx)).expect("compiles");
        let enter = || {
            let mut call = call("GET", "/");
            outcome(&policy, &mut call).map(|()| call)
        };
        let (first, second) = (enter().expect("room"), enter().expect("room"));
        let refused = enter().err().expect("full");
        assert_eq!(refused.problem(), Problem::ConcurrencyLimited);
        assert!(refused.retry_after().is_some());
        drop(first);
        let third = enter().expect("room again");
        drop((second, third));
        assert!(policy.counts.shards.iter().all(|shard| shard.lock().expect("whole").is_empty()));
    }

    #[test]
    fn one_client_does_not_take_anothers_place() {
        let settings = serde_json::from_value(serde_json::json!({"limit": 1})).expect("good settings");
        let policy = building("", |cx| ConcurrencyLimit::compile(&settings, cx)).expect("compiles");
        let (mut one, mut other) = (call("GET", "/"), call("GET", "/"));
        other.client = "198.51.100.1".parse().expect("an address");
        outcome(&policy, &mut one).expect("room");
        outcome(&policy, &mut other).expect("room of its own");
    }
}
