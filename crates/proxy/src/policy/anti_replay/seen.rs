//! Nonces that came, for as long as their requests could come again. Bounded, for all together and for each caller.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A nonce of somebody's, as a digest.
pub(super) type Mark = [u8; 16];

/// What became of a nonce.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It did not come before, and is remembered.
    New,
    /// It came before.
    Known,
    /// Its caller has no place for another, for so long.
    CallerFull(Duration),
    /// Nobody has, for so long.
    Full(Duration),
}

/// Nonces of all callers.
pub(super) struct Seen {
    lasts: Duration,
    marks_max: usize,
    per_caller_max: u32,
    forgets: bool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    marks: HashSet<Mark>,
    callers: HashMap<Mark, u32>,
    order: VecDeque<Entry>,
}

struct Entry {
    mark: Mark,
    caller: Mark,
    until: Instant,
}

impl Seen {
    pub(super) fn new(lasts: Duration, marks_max: usize, per_caller_max: u32, forgets: bool) -> Self {
        Self { lasts, marks_max: marks_max.max(1), per_caller_max, forgets, inner: Mutex::default() }
    }

    /// Remembers a nonce, unless it came before.
    pub(super) fn put(&self, caller: Mark, mark: Mark, now: Instant) -> Told {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        // All last equally long: the first is the first to go.
        while inner.order.front().is_some_and(|oldest| oldest.until <= now) {
            inner.forget();
        }
        if inner.marks.contains(&mark) {
            return Told::Known;
        }
        if inner.callers.get(&caller).is_some_and(|count| *count >= self.per_caller_max) {
            let first = inner.order.iter().find(|entry| entry.caller == caller);
            return Told::CallerFull(first.map_or(self.lasts, |entry| entry.until - now));
        }
        if inner.order.len() >= self.marks_max {
            if !self.forgets {
                let wait = inner.order.front().map_or(self.lasts, |oldest| oldest.until - now);
                return Told::Full(wait);
            }
            inner.forget();
        }
        inner.marks.insert(mark);
        *inner.callers.entry(caller).or_default() += 1;
        inner.order.push_back(Entry { mark, caller, until: now + self.lasts });
        Told::New
    }

    #[cfg(test)]
    fn len(&self) -> (usize, usize, usize) {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        (inner.marks.len(), inner.order.len(), inner.callers.len())
    }
}

impl Inner {
    fn forget(&mut self) {
        let Some(oldest) = self.order.pop_front() else { return };
        self.marks.remove(&oldest.mark);
        if let Some(count) = self.callers.get_mut(&oldest.caller) {
            *count -= 1;
            if *count == 0 {
                self.callers.remove(&oldest.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(number: u128) -> Mark {
        number.to_be_bytes()
    }

    fn seen(marks_max: usize, per_caller_max: u32, forgets: bool) -> Seen {
        Seen::new(Duration::from_secs(10), marks_max, per_caller_max, forgets)
    }

    #[test]
    fn a_nonce_is_new_once_until_its_time_is_over() {
        let (seen, now) = (seen(100, 100, false), Instant::now());
        assert_eq!(seen.put(mark(1), mark(7), now), Told::New);
        assert_eq!(seen.put(mark(1), mark(7), now + Duration::from_secs(9)), Told::Known);
        assert_eq!(seen.put(mark(1), mark(8), now + Duration::from_secs(9)), Told::New);
        assert_eq!(seen.put(mark(1), mark(7), now + Duration::from_secs(10)), Told::New);
        assert_eq!(seen.len(), (2, 2, 1));
        assert_eq!(seen.put(mark(2), mark(9), now + Duration::from_secs(60)), Told::New);
        assert_eq!(seen.len(), (1, 1, 1), "what is over takes no place");
    }

    #[test]
    fn when_it_is_full_nobody_passes_or_the_oldest_goes() {
        let (full, forgetful, now) = (seen(3, 100, false), seen(3, 100, true), Instant::now());
        for number in 0..3 {
            let at = now + Duration::from_secs(number);
            assert_eq!(full.put(mark(1), mark(number.into()), at), Told::New);
            assert_eq!(forgetful.put(mark(1), mark(number.into()), at), Told::New);
        }
        let at = now + Duration::from_secs(4);
        assert_eq!(full.put(mark(1), mark(9), at), Told::Full(Duration::from_secs(6)));
        assert_eq!(full.put(mark(1), mark(0), at), Told::Known);
        assert_eq!(forgetful.put(mark(1), mark(9), at), Told::New);
        assert_eq!(forgetful.put(mark(1), mark(1), at), Told::Known);
        assert_eq!(forgetful.put(mark(1), mark(0), at), Told::New, "the oldest was forgotten");
        assert_eq!(forgetful.len(), (3, 3, 1));
    }

    #[test]
    fn one_caller_takes_nobodys_place() {
        let (seen, now) = (seen(10, 2, false), Instant::now());
        for number in 0..2 {
            assert_eq!(seen.put(mark(1), mark(number), now), Told::New);
        }
        assert_eq!(seen.put(mark(1), mark(2), now), Told::CallerFull(Duration::from_secs(10)));
        assert_eq!(seen.put(mark(2), mark(3), now), Told::New);
        assert_eq!(seen.put(mark(1), mark(2), now + Duration::from_secs(10)), Told::New);
    }
}
