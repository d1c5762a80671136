//! Failed sign-ins by whoever they are counted by, and the locks that follow from them. Bounded; the clock is passed in.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// Who is counted, as a digest.
pub(super) type Mark = [u8; 16];

/// From where somebody tries, as a digest.
pub(super) type Place = [u8; 16];

/// How long a lock is remembered for the next to last longer.
pub(super) const MEMORY: Duration = Duration::from_secs(24 * 3600);
/// Entries that one failure looks at to find one that can go.
const LOOKED_AT_MAX: usize = 16;
/// Places of failures that are told apart in one entry; further ones are forgiven by nobody.
const PLACES_MAX: usize = 16;

/// When whom to lock, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) failures_max: u32,
    pub(super) window: Duration,
    pub(super) lock: Duration,
    pub(super) lock_max: Duration,
}

/// What is counted.
pub(super) struct Attempts {
    max: usize,
    /// How many there are, for a look without the lock.
    count: Arc<AtomicU32>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: HashMap<Mark, Entry>,
    /// In the order in which they came, and where they were found to be locked, again at the end.
    order: VecDeque<Mark>,
}

struct Entry {
    failures: u32,
    /// Of these, how many came from where.
    from: Vec<(Place, u32)>,
    /// When the first of them was.
    since: Instant,
    /// When one was last.
    last: Instant,
    until: Option<Instant>,
    /// Locks that followed one another.
    locks: u32,
    window: Duration,
}

impl Entry {
    fn note(&mut self, place: Place) {
        self.failures += 1;
        let known = self.from.iter_mut().find(|(known, _)| *known == place);
        if let Some((_, failures)) = known {
            *failures += 1;
        } else if self.from.len() < PLACES_MAX {
            self.from.push((place, 1));
        }
    }

    /// Forgets the failures of one place.
    fn forgive(&mut self, place: &Place) {
        if let Some(at) = self.from.iter().position(|(known, _)| known == place) {
            let (_, failures) = self.from.swap_remove(at);
            self.failures = self.failures.saturating_sub(failures);
        }
    }

    fn begin(&mut self, now: Instant) {
        (self.failures, self.since) = (0, now);
        self.from.clear();
    }

    fn is_locked(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Whether nothing would be different without it.
    fn is_over(&self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.last);
        !self.is_locked(now) && since > self.window && (self.locks == 0 || since > MEMORY)
    }
}

impl Attempts {
    pub(super) fn new(max: usize) -> Self {
        Self { max: max.max(1), count: Arc::default(), inner: Mutex::default() }
    }

    /// How many are counted, for whoever watches.
    pub(super) fn count(&self) -> &Arc<AtomicU32> {
        &self.count
    }

    /// For how long somebody is still locked out.
    pub(super) fn locked(&self, mark: &Mark, now: Instant) -> Option<Duration> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let until = inner.entries.get(mark)?.until?;
        (now < until).then(|| until.saturating_duration_since(now))
    }

    /// Locks somebody out whom others have found to fail too often.
    pub(super) fn lock(&self, mark: Mark, now: Instant, lasts: Duration, bounds: Bounds) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = inner.entry(mark, now, bounds, self.max);
        entry.until = entry.until.max(Some(now + lasts));
        entry.last = now + lasts;
        self.count.store(u32::try_from(inner.entries.len()).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Counts a failure; how long the lock lasts that follows from it.
    pub(super) fn fail(&self, mark: Mark, place: Place, now: Instant, bounds: Bounds) -> Option<Duration> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.entry(mark, now, bounds, self.max);
        self.count.store(u32::try_from(inner.entries.len()).unwrap_or(u32::MAX), Ordering::Relaxed);
        let entry = inner.entries.get_mut(&mark)?;
        if entry.is_locked(now) {
            // It was on its way when the lock began.
            return None;
        }
        if now.saturating_duration_since(entry.since) > bounds.window {
            entry.begin(now);
        }
        if now.saturating_duration_since(entry.last) > MEMORY {
            entry.locks = 0;
        }
        entry.note(place);
        entry.last = now;
        if entry.failures < bounds.failures_max {
            return None;
        }
        let lock = bounds.lock.saturating_mul(1 << entry.locks.min(20)).min(bounds.lock_max);
        entry.locks = entry.locks.saturating_add(1);
        entry.begin(now);
        entry.until = Some(now + lock);
        // The memory of a lock begins when it ends.
        entry.last = now + lock;
        Some(lock)
    }

    /// Forgets the failures of one place, for somebody there has shown who they are. What came from elsewhere stays, and so
    /// do locks: who signs in all the time would unlock whoever guesses.
    pub(super) fn succeed(&self, mark: &Mark, place: &Place) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = inner.entries.get_mut(mark) else { return };
        entry.forgive(place);
        let is_over = entry.failures == 0 && entry.until.is_none() && entry.locks == 0;
        if is_over && inner.entries.remove(mark).is_some() {
            // Its place in the order goes when it is come upon; too many of them are swept.
            if inner.order.len() > inner.entries.len().saturating_mul(2) + 64 {
                let Inner { entries, order } = &mut *inner;
                order.retain(|mark| entries.contains_key(mark));
            }
        }
        self.count.store(u32::try_from(inner.entries.len()).unwrap_or(u32::MAX), Ordering::Relaxed);
    }
}

impl Inner {
    /// What is known of somebody; who is new has room made for.
    fn entry(&mut self, mark: Mark, now: Instant, bounds: Bounds, max: usize) -> &mut Entry {
        if !self.entries.contains_key(&mark) {
            while self.entries.len() >= max && !self.order.is_empty() {
                self.make_room(now);
            }
            self.order.push_back(mark);
        }
        self.entries.entry(mark).or_insert_with(|| Entry {
            failures: 0,
            from: Vec::new(),
            since: now,
            last: now,
            until: None,
            locks: 0,
            window: bounds.window,
        })
    }

    /// Forgets one: the oldest that is not locked, as far as is looked.
    fn make_room(&mut self, now: Instant) {
        for _ in 0..LOOKED_AT_MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            match self.entries.get(&oldest) {
                None => {}
                Some(entry) if entry.is_locked(now) && !entry.is_over(now) => self.order.push_back(oldest),
                Some(_) => {
                    self.entries.remove(&oldest);
                    return;
                }
            }
        }
        if let Some(oldest) = self.order.pop_front() {
            self.entries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        failures_max: 3,
        window: Duration::from_secs(60),
        lock: Duration::from_secs(10),
        lock_max: Duration::from_secs(35),
    };

    const HERE: Place = [9; 16];

    fn fail(attempts: &Attempts, mark: u8, now: Instant) -> Option<u64> {
        attempts.fail([mark; 16], HERE, now, BOUNDS).map(|lock| lock.as_secs())
    }

    #[test]
    fn failures_within_the_window_lock_and_each_lock_lasts_longer_up_to_a_bound() {
        let attempts = Attempts::new(100);
        let mut now = Instant::now();
        let mut locks = Vec::new();
        for _ in 0..4 {
            for failure in 1..=3 {
                let lock = fail(&attempts, 1, now);
                assert_eq!(lock.is_some(), failure == 3);
                locks.extend(lock);
            }
            let left = attempts.locked(&[1; 16], now).expect("locked");
            assert!(attempts.locked(&[2; 16], now).is_none(), "somebody else is not");
            assert_eq!(fail(&attempts, 1, now), None, "what was on its way counts no more");
            now += left;
            assert!(attempts.locked(&[1; 16], now).is_none(), "its time is over");
        }
        assert_eq!(locks, [10, 20, 35, 35]);
        now += MEMORY + Duration::from_secs(60);
        assert_eq!(
            [1, 1, 1].map(|mark| fail(&attempts, mark, now)),
            [None, None, Some(10)],
            "a day without one"
        );
    }

    #[test]
    fn failures_that_are_far_apart_do_not_add_up_and_success_begins_anew() {
        let attempts = Attempts::new(100);
        let mut now = Instant::now();
        for _ in 0..20 {
            assert_eq!(fail(&attempts, 1, now), None);
            now += Duration::from_secs(31);
        }
        let now = Instant::now();
        for _ in 0..20 {
            assert_eq!(fail(&attempts, 2, now), None);
            assert_eq!(fail(&attempts, 2, now), None);
            attempts.succeed(&[2; 16], &HERE);
        }
        assert_eq!(attempts.count.load(Ordering::Relaxed), 1, "nothing is left of it");
    }

    #[test]
    fn a_success_forgives_what_came_from_its_own_place_and_lifts_no_lock() {
        const ELSEWHERE: Place = [8; 16];
        let attempts = Attempts::new(100);
        let now = Instant::now();
        let from = |place| attempts.fail([1; 16], place, now, BOUNDS);
        assert_eq!([from(ELSEWHERE), from(HERE),], [None, None]);
        attempts.succeed(&[1; 16], &HERE);
        assert_eq!(from(ELSEWHERE), None);
        attempts.succeed(&[1; 16], &HERE);
        assert!(from(ELSEWHERE).is_some(), "whoever signs in all the time unlocks nobody who guesses");
        attempts.succeed(&[1; 16], &HERE);
        assert!(attempts.locked(&[1; 16], now).is_some());
        let later = now + Duration::from_secs(11);
        attempts.succeed(&[1; 16], &HERE);
        let again = |now| attempts.fail([1; 16], ELSEWHERE, now, BOUNDS).map(|lock| lock.as_secs());
        assert_eq!(
            [again(later), again(later), again(later)],
            [None, None, Some(20)],
            "the next lasts longer"
        );
        // Places that are not told apart any more are forgiven by nobody.
        let wide = Bounds { failures_max: 100, ..BOUNDS };
        for place in 0..PLACES_MAX as u8 + 4 {
            attempts.fail([3; 16], [place; 16], now, wide);
            attempts.succeed(&[3; 16], &[200; 16]);
        }
        for place in 0..PLACES_MAX as u8 + 4 {
            attempts.succeed(&[3; 16], &[place; 16]);
        }
        let inner = attempts.inner.lock().expect("not poisoned");
        assert_eq!(inner.entries.get(&[3; 16]).map(|entry| (entry.failures, entry.from.len())), Some((4, 0)));
    }

    #[test]
    fn room_is_bounded_and_floods_of_others_unlock_nobody() {
        let attempts = Attempts::new(100);
        let now = Instant::now();
        for _ in 0..3 {
            fail(&attempts, 1, now);
        }
        assert!(attempts.locked(&[1; 16], now).is_some());
        for n in 0..10_000_u32 {
            let mut mark = [9; 16];
            mark[..4].copy_from_slice(&n.to_be_bytes());
            attempts.fail(mark, HERE, now, BOUNDS);
            attempts.succeed(&[7; 16], &HERE);
        }
        assert!(attempts.locked(&[1; 16], now).is_some(), "it is still locked");
        let inner = attempts.inner.lock().expect("not poisoned");
        assert!(inner.entries.len() <= 100 && inner.order.len() <= 300);
        drop(inner);
        for n in 0..10_000_u32 {
            let mut mark = [8; 16];
            mark[..4].copy_from_slice(&n.to_be_bytes());
            attempts.fail(mark, HERE, now, BOUNDS);
            attempts.succeed(&mark, &HERE);
        }
        let inner = attempts.inner.lock().expect("not poisoned");
        assert!(inner.order.len() <= 400, "{}", inner.order.len());
    }
}
