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
    decisions: HashMap<Key, Kept<D>>,
    /// In the order in which they came, each with its number. One whose number is not that of what is kept under its key has no
    /// meaning any more: it was decided anew.
    order: VecDeque<(Key, u64)>,
    count: u64,
}

struct Kept<D> {
    decision: D,
    until: Instant,
    number: u64,
}

impl<D> Default for Side<D> {
    fn default() -> Self {
        Self { decisions: HashMap::new(), order: VecDeque::new(), count: 0 }
    }
}

impl<D> Side<D> {
    /// Keeps the newest `max`.
    fn put(&mut self, key: Key, decision: D, until: Instant, max: usize) {
        self.count += 1;
        let number = self.count;
        self.decisions.insert(key, Kept { decision, until, number });
        self.order.push_back((key, number));
        while self.decisions.len() > max {
            let Some((oldest, number)) = self.order.pop_front() else { break };
            if self.decisions.get(&oldest).is_some_and(|kept| kept.number == number) {
                self.decisions.remove(&oldest);
            }
        }
        // Half of it has no meaning then, so that this is seldom.
        if self.order.len() > max.saturating_mul(2) {
            let decisions = &self.decisions;
            self.order.retain(|(key, number)| decisions.get(key).is_some_and(|kept| kept.number == *number));
        }
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
        found.filter(|kept| now < kept.until).map(|kept| kept.decision.clone())
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
        side.put(key, decision.clone(), Instant::now() + ttl, max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_decided_anew_is_new_and_what_is_old_goes_first() {
        let lasts = Duration::from_secs(60);
        let decided = Decided::new(Terms { ttl: lasts, negative_ttl: lasts, max: 3 });
        let put = |key: u8, lets_in| decided.put([key; 32], &key, lets_in);
        let are_kept = |keys: &[u8]| keys.iter().all(|key| decided.get(&[*key; 32]).is_some());
        for key in [1, 2, 3, 1, 4] {
            put(key, true);
        }
        assert!(are_kept(&[1, 3, 4]) && !are_kept(&[2]), "1 was asked about again, 2 is the oldest");
        // It changes sides and comes back: its old place in the order is not its place.
        put(3, false);
        put(3, true);
        put(5, true);
        assert!(are_kept(&[3, 4, 5]) && !are_kept(&[1]));
        for _ in 0..300 {
            for key in 3..6 {
                put(key, true);
            }
        }
        let sides = decided.sides.lock().expect("whole");
        assert!(sides.0.order.len() <= 6 && sides.0.decisions.len() == 3, "{}", sides.0.order.len());
    }

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
