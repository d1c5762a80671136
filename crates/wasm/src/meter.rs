//! How long a call has computed, by the clock of its thread: what the machine does meanwhile for others does not count.
//!
//! Most calls come to their end before the first tick, and are not measured at all.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// How long a call has computed since its first tick.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    nanos: AtomicU64,
    /// When it went on to compute, by its thread's clock; 0 while it does not, and before the first tick.
    since: AtomicU64,
}

impl Meter {
    /// A call begins.
    pub(crate) fn reset(&self) {
        self.nanos.store(0, Ordering::Relaxed);
        self.since.store(0, Ordering::Relaxed);
    }

    /// It goes on to compute.
    pub(crate) fn resume(&self) {
        self.since.store(now(), Ordering::Relaxed);
    }

    /// It stops to compute for now. Tells for how long it has.
    pub(crate) fn pause(&self) -> Duration {
        let since = self.since.swap(0, Ordering::Relaxed);
        let more = if since == 0 { 0 } else { now().saturating_sub(since) };
        Duration::from_nanos(self.nanos.fetch_add(more, Ordering::Relaxed).saturating_add(more))
    }
}

/// Nanoseconds for which this thread has computed.
fn now() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(now.tv_nsec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn computing_counts_and_sleeping_does_not() {
        let meter = Meter::default();
        assert_eq!(meter.pause(), Duration::ZERO, "what has not begun takes no time");
        meter.resume();
        std::thread::park_timeout(Duration::from_millis(30));
        assert!(meter.pause() < Duration::from_millis(20));
        meter.resume();
        while now() < meter.since.load(Ordering::Relaxed) + 30_000_000 {
            std::hint::spin_loop();
        }
        let spent = meter.pause();
        assert!(spent >= Duration::from_millis(30), "{spent:?}");
        assert_eq!(meter.pause(), spent, "paused is paused");
        meter.reset();
        assert_eq!(meter.pause(), Duration::ZERO);
    }
}
