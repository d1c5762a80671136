//! What somebody has decided, by the digest of the question: kept for a while. Those who are let in and those who are not
//! have room of their own, so that whoever makes questions up forgets nobody's good answer.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The digest of a question.
pub(super) type Key = [u8; 32];

/// How long what is kept, and how much of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// That somebody is let in.
    pub(super) ttl: Duration,
    /// That somebody is not.
    pub(super) negative_ttl: Duration,
    /// Of each kind.
    pub(super) max: usize,
}

/// What was decided.
pub(super) struct Decided<D> {
    terms: Terms,
    sides: Mutex<(Side<D>, Side<D>)>,
}

struct Side<D> {
    decisions: HashMap<Key, (D, Instant)>,
    /// In the order in which they came.
    order: VecDeque<Key>,
}

impl<D> Default for Side<D> {
    fn default() -> Self {
        Self { decisions: HashMap::new(), order: VecDeque::new() }
    }
}

impl<D: Clone> Decided<D> {
    pub(super) fn new(terms: Terms) -> Self {
        Self { terms, sides: Mutex::default() }
    }

    pub(super) fn get(&self, key: &Key) -> Option<D> {
        let now = Instant::now();
        let sides = self.sides.lock().unwrap_or_else(PoisonError::into_inner);
        let found = sides.0.decisions.get(key).or_else(|| sides.1.decisions.get(key));
        found.filter(|(_, until)| now < *until).map(|(decision, _)| decision.clone())
    }

    /// Keeps a decision, by which somebody is let in or is not.
    pub(super) fn put(&self, key: Key, decision: &D, lets_in: bool) {
        let max = self.terms.max.max(1);
        let mut sides = self.sides.lock().unwrap_or_else(PoisonError::into_inner);
        let (good, bad) = &mut *sides;
        let (side, other, ttl) = match lets_in {
            true => (good, bad, self.terms.ttl),
            false => (bad, good, self.terms.negative_ttl),
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
        while side.decisions.len() > max || side.order.len() > max.saturating_mul(2) {
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
        let terms = Terms { ttl: Duration::from_secs(60), negative_ttl: Duration::ZERO, max: 2 };
        let decided = Decided::new(terms);
        for n in 0..5 {
            decided.put([n; 32], &n, true);
        }
        assert!(decided.get(&[4; 32]) == Some(4) && decided.get(&[0; 32]).is_none());
        decided.put([4; 32], &9, false);
        assert_eq!(decided.get(&[4; 32]), None, "it is not let in any more, and asked about again");
        let both = Decided::new(Terms { negative_ttl: Duration::from_secs(60), ..terms });
        both.put([1; 32], &1, true);
        for n in 10..100 {
            both.put([n; 32], &n, false);
        }
        assert_eq!((both.get(&[1; 32]), both.get(&[99; 32])), (Some(1), Some(99)));
        both.put([1; 32], &2, false);
        assert_eq!(both.get(&[1; 32]), Some(2));
    }
}
