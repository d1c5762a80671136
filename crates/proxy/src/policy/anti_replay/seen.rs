//! Nonces that came, for as long as their requests could come again. Bounded, for all together and for each caller.
//!
//! What is kept outlives changes of the bounds: each nonce has the time at which it came, and how long that counts is
//! asked anew each time. One call does a bounded piece of work under the lock, however many nonces there are.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A nonce of somebody's, as a digest.
pub(super) type Mark = [u8; 16];

/// Nonces of no use any more that one call forgets. More than come with a call, so that all are gone in the end.
const FORGOTTEN_AT_ONCE: usize = 64;

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

/// How much is remembered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) lasts: Duration,
    pub(super) marks_max: usize,
    /// Of one caller.
    pub(super) caller_max: usize,
    /// Whether the oldest of all goes when there is no place.
    pub(super) forgets: bool,
}

/// Nonces of all callers.
#[derive(Default)]
pub(super) struct Seen {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// When each came last.
    marks: HashMap<Mark, Instant>,
    /// When those of each caller came, the oldest first.
    callers: HashMap<Mark, VecDeque<Instant>>,
    order: VecDeque<Entry>,
}

struct Entry {
    mark: Mark,
    caller: Mark,
    came: Instant,
}

impl Seen {
    /// Remembers a nonce, unless it came before.
    pub(super) fn put(&self, caller: Mark, mark: Mark, now: Instant, bounds: Bounds) -> Told {
        let left = |came: Instant| bounds.lasts.saturating_sub(now.saturating_duration_since(came));
        let is_over = |came: Instant| left(came).is_zero();
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..FORGOTTEN_AT_ONCE {
            match inner.order.front() {
                Some(oldest) if is_over(oldest.came) => inner.forget(),
                _ => break,
            }
        }
        if inner.marks.get(&mark).is_some_and(|came| !is_over(*came)) {
            return Told::Known;
        }
        if let Some(own) = inner.callers.get(&caller) {
            let over = own.partition_point(|came| is_over(*came));
            if own.len() - over >= bounds.caller_max.max(1) {
                return Told::CallerFull(own.get(over).map_or(bounds.lasts, |came| left(*came)));
            }
        }
        if inner.order.len() >= bounds.marks_max.max(1) {
            let oldest = inner.order.front().map_or(now, |oldest| oldest.came);
            if !(bounds.forgets || is_over(oldest)) {
                return Told::Full(left(oldest));
            }
            inner.forget();
        }
        inner.marks.insert(mark, now);
        inner.callers.entry(caller).or_default().push_back(now);
        inner.order.push_back(Entry { mark, caller, came: now });
        Told::New
    }

    #[cfg(test)]
    fn len(&self) -> (usize, usize, usize) {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        (inner.marks.len(), inner.order.len(), inner.callers.len())
    }
}

impl Inner {
    /// Forgets the one that came first.
    fn forget(&mut self) {
        let Some(oldest) = self.order.pop_front() else { return };
        // One that came again since then stays.
        if self.marks.get(&oldest.mark) == Some(&oldest.came) {
            self.marks.remove(&oldest.mark);
        }
        if let Some(own) = self.callers.get_mut(&oldest.caller) {
            own.pop_front();
            if own.is_empty() {
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

    const LASTS: Duration = Duration::from_secs(10);

    fn bounds(marks_max: usize, caller_max: usize, forgets: bool) -> Bounds {
        Bounds { lasts: LASTS, marks_max, caller_max, forgets }
    }

    #[test]
    fn a_nonce_is_new_once_until_its_time_is_over() {
        let (seen, now, bounds) = (Seen::default(), Instant::now(), bounds(100, 100, false));
        let put = |caller, number, after| {
            seen.put(mark(caller), mark(number), now + Duration::from_secs(after), bounds)
        };
        assert_eq!(put(1, 7, 0), Told::New);
        assert_eq!(put(1, 7, 9), Told::Known);
        assert_eq!(put(2, 7, 9), Told::Known, "whoever sends it");
        assert_eq!(put(1, 8, 9), Told::New);
        assert_eq!(put(1, 7, 10), Told::New);
        assert_eq!(seen.len(), (2, 2, 1));
        assert_eq!(put(2, 9, 60), Told::New);
        assert_eq!(seen.len(), (1, 1, 1), "what is over takes no place");
    }

    #[test]
    fn when_it_is_full_nobody_passes_or_the_oldest_goes() {
        let (full, forgetful, now) = (Seen::default(), Seen::default(), Instant::now());
        let put_full = |number, at| full.put(mark(1), mark(number), at, bounds(3, 100, false));
        let put_forgetful = |number, at| forgetful.put(mark(1), mark(number), at, bounds(3, 100, true));
        for number in 0..3 {
            let at = now + Duration::from_secs(number);
            assert_eq!(put_full(number.into(), at), Told::New);
            assert_eq!(put_forgetful(number.into(), at), Told::New);
        }
        let at = now + Duration::from_secs(4);
        assert_eq!(put_full(9, at), Told::Full(Duration::from_secs(6)));
        assert_eq!(put_full(0, at), Told::Known);
        assert_eq!(put_forgetful(9, at), Told::New);
        assert_eq!(put_forgetful(1, at), Told::Known);
        assert_eq!(put_forgetful(0, at), Told::New, "the oldest was forgotten");
        assert_eq!(forgetful.len(), (3, 3, 1));
    }

    #[test]
    fn one_caller_takes_nobodys_place() {
        let (seen, now, bounds) = (Seen::default(), Instant::now(), bounds(10, 2, false));
        let put = |caller, number, after| {
            seen.put(mark(caller), mark(number), now + Duration::from_secs(after), bounds)
        };
        assert_eq!((put(1, 0, 0), put(1, 1, 3)), (Told::New, Told::New));
        assert_eq!(
            put(1, 2, 4),
            Told::CallerFull(Duration::from_secs(6)),
            "until the oldest of its own goes"
        );
        assert_eq!(put(2, 3, 4), Told::New);
        assert_eq!(put(1, 2, 10), Told::New);
        assert_eq!(put(1, 4, 12), Told::CallerFull(Duration::from_secs(1)));
    }

    #[test]
    fn bounds_may_change_and_what_came_stays_known() {
        let (seen, now) = (Seen::default(), Instant::now());
        let (short, long) =
            (bounds(10, 10, false), Bounds { lasts: Duration::from_secs(60), ..bounds(10, 10, false) });
        assert_eq!(seen.put(mark(1), mark(7), now, short), Told::New);
        let later = now + Duration::from_secs(20);
        assert_eq!(seen.put(mark(1), mark(7), later, long), Told::Known);
        assert_eq!(seen.put(mark(1), mark(7), later, Bounds { marks_max: 1, ..short }), Told::New);
    }

    #[test]
    fn what_is_over_goes_piece_by_piece_and_is_not_known_meanwhile() {
        let (seen, now, bounds) = (Seen::default(), Instant::now(), bounds(1000, 1000, false));
        for number in 0..500 {
            assert_eq!(seen.put(mark(1), mark(number), now, bounds), Told::New);
        }
        let later = now + LASTS;
        assert_eq!(seen.put(mark(1), mark(499), later, bounds), Told::New);
        assert_eq!(seen.len().1, 500 - FORGOTTEN_AT_ONCE + 1, "one call does a bounded piece of work");
        for number in 1000..1010 {
            assert_eq!(seen.put(mark(1), mark(number), later, bounds), Told::New);
        }
        assert_eq!(seen.put(mark(1), mark(499), later, bounds), Told::Known);
        assert_eq!(seen.len(), (11, 11, 1));
    }
}
