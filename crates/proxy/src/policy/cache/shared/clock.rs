//! The server's time, as far as this gateway knows: never later than it is there.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// What was told so long ago may be wrong by now: clocks do not go alike.
const GOOD_FOR: Duration = Duration::from_secs(30);

/// Tells it from what was told last.
pub(super) struct ServerClock {
    begun: Instant,
    /// Microseconds that it is ahead of `begun`.
    ahead: AtomicI64,
    /// When it was told, in microseconds after `begun`; never, as long as it is nothing.
    told: AtomicU64,
}

impl ServerClock {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), ahead: AtomicI64::new(0), told: AtomicU64::new(0) }
    }

    /// Never nothing, and as much more as time went on: one is added at every time.
    fn elapsed(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// The server has just told its time, in microseconds since 1970. The way here took a while, so that it is later
    /// there by now.
    pub(super) fn learn(&self, server: u64) {
        let elapsed = self.elapsed();
        let ahead = i64::try_from(server).unwrap_or(i64::MAX) - i64::try_from(elapsed).unwrap_or(0);
        self.ahead.store(ahead, Ordering::Relaxed);
        self.told.store(elapsed, Ordering::Release);
    }

    /// Its time now; none when it was not told, or too long ago.
    pub(super) fn now(&self) -> Option<u64> {
        let (told, elapsed) = (self.told.load(Ordering::Acquire), self.elapsed());
        let is_good = told > 0 && elapsed.saturating_sub(told) <= GOOD_FOR.as_micros() as u64;
        let now = i64::try_from(elapsed).ok()?.checked_add(self.ahead.load(Ordering::Relaxed))?;
        u64::try_from(now).ok().filter(|_| is_good)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_once_it_was_told_and_goes_on() {
        let clock = ServerClock::new();
        assert_eq!(clock.now(), None);
        clock.learn(1_700_000_000_000_000);
        let now = clock.now().expect("told");
        assert!((1_700_000_000_000_000..1_700_000_001_000_000).contains(&now), "{now}");
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(5) {
            std::thread::yield_now();
        }
        assert!(clock.now().is_some_and(|later| later >= now + 5_000));
        clock.told.store(0, Ordering::Release);
        assert_eq!(clock.now(), None);
    }
}
