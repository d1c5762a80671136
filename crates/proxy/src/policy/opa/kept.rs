//! Decisions by the input that they were made on, kept for a while. Those that let in and refusals have room of their own.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use aws_lc_rs::digest;
use model::policy::opa::OpaCache;

use super::Decision;

/// The digest of a question.
pub(super) type Key = [u8; 32];

/// What a question is known by: all of it.
pub(super) fn key(question: &[u8]) -> Key {
    let mut key = [0; 32];
    key.copy_from_slice(digest::digest(&digest::SHA256, question).as_ref());
    key
}

/// Decisions.
pub(super) struct Kept {
    ttl: Duration,
    negative_ttl: Duration,
    max: usize,
    sides: Mutex<(Side, Side)>,
}

#[derive(Default)]
struct Side {
    decisions: HashMap<Key, (Decision, Instant)>,
    /// In the order in which they came.
    order: VecDeque<Key>,
}

impl Kept {
    pub(super) fn new(settings: &OpaCache) -> Self {
        Self {
            ttl: settings.ttl.get(),
            negative_ttl: settings.negative_ttl.get(),
            max: settings.max_entries.max(1),
            sides: Mutex::default(),
        }
    }

    pub(super) fn get(&self, key: &Key) -> Option<Decision> {
        let now = Instant::now();
        let sides = self.sides.lock().unwrap_or_else(PoisonError::into_inner);
        let found = sides.0.decisions.get(key).or_else(|| sides.1.decisions.get(key));
        found.filter(|(_, until)| now < *until).map(|(decision, _)| decision.clone())
    }

    pub(super) fn put(&self, key: Key, decision: &Decision) {
        let mut sides = self.sides.lock().unwrap_or_else(PoisonError::into_inner);
        let (good, bad) = &mut *sides;
        let (side, other, ttl) = match decision {
            Decision::Allowed { .. } => (good, bad, self.ttl),
            Decision::Refused { .. } | Decision::Undefined => (bad, good, self.negative_ttl),
        };
        other.decisions.remove(&key);
        if ttl.is_zero() {
            side.decisions.remove(&key);
            return;
        }
        if side.decisions.insert(key, (decision.clone(), Instant::now() + ttl)).is_none() {
            side.order.push_back(key);
        }
        // Of what was decided otherwise meanwhile the place in the order is left.
        while side.decisions.len() > self.max || side.order.len() > self.max.saturating_mul(2) {
            let Some(oldest) = side.order.pop_front() else { break };
            side.decisions.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_kept_than_there_is_room_for_and_refusals_only_by_choice() {
        let kept = Kept::new(&OpaCache { max_entries: 2, ..OpaCache::default() });
        let allowed = || Decision::Allowed { headers: Default::default() };
        for n in 0..5 {
            kept.put([n; 32], &allowed());
        }
        assert!(kept.get(&[4; 32]).is_some() && kept.get(&[0; 32]).is_none());
        kept.put([4; 32], &Decision::Undefined);
        assert!(kept.get(&[4; 32]).is_none(), "it is not let in any more, and asked about again");
        assert_ne!(key(b"a"), key(b"b"));
    }
}
