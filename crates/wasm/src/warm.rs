//! Instances that wait for their next call. The one that served last is taken first, so that those who wait longest are
//! those that nobody needs: after a while they go.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long one waits for a call.
pub(crate) const WAITS: Duration = Duration::from_secs(60);

/// What waits, the longest first.
pub(crate) struct Warm<T>(Mutex<VecDeque<(Instant, T)>>);

/// What has something that goes when nobody needs it.
pub(crate) trait Ages: Send + Sync {
    /// Drops one that has waited for too long; whether there was one.
    fn drop_aged(&self, now: Instant) -> bool;
}

impl<T> Default for Warm<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Warm<T> {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(Instant, T)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that served last.
    pub(crate) fn take(&self) -> Option<T> {
        self.lock().pop_back().map(|(_, one)| one)
    }

    /// It waits from now on.
    pub(crate) fn put(&self, one: T, now: Instant) {
        self.lock().push_back((now, one));
    }
}

impl<T: Send> Ages for Warm<T> {
    fn drop_aged(&self, now: Instant) -> bool {
        let mut all = self.lock();
        let is_aged = all.front().is_some_and(|(since, _)| now.saturating_duration_since(*since) >= WAITS);
        let aged = if is_aged { all.pop_front() } else { None };
        // What it has is given back when nobody waits for the others any more.
        drop(all);
        aged.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_is_taken_first_and_who_waits_for_a_minute_goes() {
        let warm = Warm::default();
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        for (number, seconds) in [(1, 0), (2, 10), (3, 20)] {
            warm.put(number, at(seconds));
        }
        assert!(!warm.drop_aged(at(59)), "none has waited for so long");
        assert_eq!(warm.take(), Some(3));
        warm.put(3, at(60));
        assert!(warm.drop_aged(at(71)) && warm.drop_aged(at(71)), "the first two");
        assert!(!warm.drop_aged(at(71)), "the third has just served");
        assert_eq!((warm.take(), warm.take()), (Some(3), None));
    }
}
