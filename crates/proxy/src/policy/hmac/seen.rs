//! Signatures that were used, for as long as they could be used again. Bounded; what is old goes first.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use aws_lc_rs::digest;

/// Signatures that are remembered at a time.
const ENTRIES_MAX: usize = 100_000;

type Mark = [u8; 32];

/// What was used.
pub(super) struct Seen {
    lasts: Duration,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    until: HashMap<Mark, Instant>,
    order: VecDeque<Mark>,
}

impl Seen {
    pub(super) fn new(lasts: Duration) -> Self {
        Self { lasts, inner: Mutex::default() }
    }

    /// Notes that something is used, and whether it is for the first time.
    pub(super) fn is_new(&self, what: &[u8]) -> bool {
        self.is_new_at(what, Instant::now())
    }

    fn is_new_at(&self, what: &[u8], now: Instant) -> bool {
        let mut mark = [0; 32];
        mark.copy_from_slice(digest::digest(&digest::SHA256, what).as_ref());
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        // All last equally long: the first is the first to go.
        while let Some(oldest) = inner.order.front().copied() {
            let is_over = inner.until.get(&oldest).is_none_or(|until| *until <= now);
            if !is_over && inner.order.len() < ENTRIES_MAX {
                break;
            }
            inner.order.pop_front();
            inner.until.remove(&oldest);
        }
        if inner.until.contains_key(&mark) {
            return false;
        }
        inner.until.insert(mark, now + self.lasts);
        inner.order.push_back(mark);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_new_once_until_it_is_forgotten() {
        let (seen, now) = (Seen::new(Duration::from_secs(10)), Instant::now());
        assert!(seen.is_new_at(b"a", now));
        assert!(!seen.is_new_at(b"a", now) && !seen.is_new_at(b"a", now + Duration::from_secs(9)));
        assert!(seen.is_new_at(b"b", now));
        assert!(seen.is_new_at(b"a", now + Duration::from_secs(10)));
        assert_eq!(seen.inner.lock().expect("not poisoned").order.len(), 1);
    }
}
