//! Keys and answers in memory, bounded by what they weigh: the oldest answers go first.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::store::Begun;

/// What an entry takes beside its answer.
const ENTRY_BYTES: usize = 256;

/// Keys and answers of one policy.
pub(super) struct Memory {
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: HashMap<[u8; 32], Entry>,
    /// Answers in the order in which they came, which is that in which they end.
    kept: VecDeque<([u8; 32], u64)>,
    bytes: usize,
    next: u64,
}

struct Entry {
    fingerprint: [u8; 32],
    token: u64,
    ends: Instant,
    answer: Option<Bytes>,
}

impl Memory {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(
        &self,
        key: &[u8; 32],
        fingerprint: [u8; 32],
        lease: Duration,
        now: Instant,
    ) -> Begun {
        let mut state = self.lock();
        if let Some(entry) = state.entries.get(key).filter(|entry| entry.ends > now) {
            return match &entry.answer {
                _ if entry.fingerprint != fingerprint => Begun::Mismatch,
                Some(answer) => Begun::Done(answer.clone()),
                None => Begun::InFlight,
            };
        }
        state.forget(key);
        state.next += 1;
        let token = state.next;
        state.entries.insert(*key, Entry { fingerprint, token, ends: now + lease, answer: None });
        Begun::First(token.to_string())
    }

    /// Keeps an answer, unless its key is by now another request's.
    pub(super) fn finish(
        &self,
        key: &[u8; 32],
        fingerprint: [u8; 32],
        token: &str,
        answer: Bytes,
        ends: Instant,
    ) {
        let Ok(token) = token.parse::<u64>() else { return };
        let mut state = self.lock();
        if state.entries.get(key).is_some_and(|entry| entry.token != token) {
            return;
        }
        state.forget(key);
        state.bytes += answer.len() + ENTRY_BYTES;
        state.entries.insert(*key, Entry { fingerprint, token, ends, answer: Some(answer) });
        state.kept.push_back((*key, token));
        let now = Instant::now();
        while let Some((key, token)) = state.kept.front().copied() {
            let entry = state.entries.get(&key).filter(|entry| entry.token == token);
            let is_of_use = entry.is_some_and(|entry| entry.ends > now);
            if is_of_use && state.bytes <= self.bytes_max {
                break;
            }
            state.kept.pop_front();
            if entry_is(&state, &key, token) {
                state.forget(&key);
            }
        }
    }

    /// Gives a key free that its request has no answer for.
    pub(super) fn release(&self, key: &[u8; 32], token: &str) {
        let mut state = self.lock();
        let is_own = |entry: &Entry| entry.answer.is_none() && entry.token.to_string() == token;
        if state.entries.get(key).is_some_and(is_own) {
            state.forget(key);
        }
    }
}

fn entry_is(state: &State, key: &[u8; 32], token: u64) -> bool {
    state.entries.get(key).is_some_and(|entry| entry.token == token)
}

impl State {
    fn forget(&mut self, key: &[u8; 32]) {
        if let Some(answer) = self.entries.remove(key).and_then(|entry| entry.answer) {
            self.bytes = self.bytes.saturating_sub(answer.len() + ENTRY_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(10);

    fn first(begun: Begun) -> String {
        match begun {
            Begun::First(token) => token,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_wins_and_what_it_leaves_is_for_the_same_request_alone() {
        let (memory, now) = (Memory::new(1 << 20), Instant::now());
        let (key, print) = ([1; 32], [2; 32]);
        let token = first(memory.begin(&key, print, LEASE, now));
        assert_eq!(memory.begin(&key, print, LEASE, now), Begun::InFlight);
        assert_eq!(memory.begin(&key, [3; 32], LEASE, now), Begun::Mismatch);
        memory.finish(&key, print, &token, Bytes::from_static(b"answer"), now + LEASE);
        assert_eq!(memory.begin(&key, print, LEASE, now), Begun::Done(Bytes::from_static(b"answer")));
        assert_eq!(memory.begin(&key, [3; 32], LEASE, now), Begun::Mismatch);
        memory.release(&key, &token);
        assert!(
            matches!(memory.begin(&key, print, LEASE, now), Begun::Done(_)),
            "an answer is not given free"
        );
        let again = first(memory.begin(&key, [3; 32], LEASE, now + LEASE));
        memory.release(&key, &token);
        assert_eq!(memory.begin(&key, [3; 32], LEASE, now), Begun::InFlight, "it is another's by now");
        memory.finish(&key, print, &token, Bytes::new(), now + LEASE);
        assert_eq!(memory.begin(&key, [3; 32], LEASE, now), Begun::InFlight);
        memory.release(&key, &again);
        first(memory.begin(&key, print, LEASE, now));
    }

    #[test]
    fn what_is_kept_weighs_no_more_than_it_may_and_the_oldest_go() {
        let (memory, now) = (Memory::new(100_000), Instant::now());
        let key = |number: u32| {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&number.to_be_bytes());
            key
        };
        for number in 0..1000 {
            let token = first(memory.begin(&key(number), [0; 32], LEASE, now));
            memory.finish(&key(number), [0; 32], &token, vec![0; 1000].into(), now + LEASE * 10);
        }
        let state = memory.lock();
        assert!(
            state.bytes <= 100_000 && state.entries.len() < 100,
            "{} {}",
            state.bytes,
            state.entries.len()
        );
        assert_eq!(state.kept.len(), state.entries.len());
        assert!(state.entries.contains_key(&key(999)) && !state.entries.contains_key(&key(0)));
    }
}
