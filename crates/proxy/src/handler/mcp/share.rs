//! What one consumer has of a program: its pause after failures, and its bytes in the queues of processes.
//!
//! A program serves many, and what one of them does to it must cost the others nothing. So who makes it fail waits
//! alone, and whoever does not read, or has it not read, fills room of its own.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// The wait after the first failure in a row; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Consumers that are remembered; those without a process and beyond their pause go first.
const OWNERS_MAX: usize = 1024;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long nothing is started after failures in a row.
#[derive(Debug, Default)]
pub(super) struct Pause {
    failures: u32,
    not_before: Option<Instant>,
}

impl Pause {
    pub(super) fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let wait = PAUSE_FIRST.saturating_mul(1 << (self.failures - 1).min(10)).min(PAUSE_MAX);
        self.not_before = Some(now + wait);
    }

    pub(super) fn went_well(&mut self) {
        self.failures = 0;
    }

    /// How long it lasts, and after how many failures.
    pub(super) fn lasts(&self, now: Instant) -> Option<(Duration, u32)> {
        let wait = self.not_before?.saturating_duration_since(now);
        (!wait.is_zero()).then_some((wait, self.failures))
    }

    /// Whether nothing would be lost with it.
    fn is_forgotten(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|until| until + PAUSE_MAX < now)
    }
}

/// What one consumer has.
pub(super) struct Share {
    pub(super) pause: Mutex<Pause>,
    queued: AtomicUsize,
    queue_bytes_max: usize,
}

/// Bytes in a queue, until they are out of it.
pub(super) struct Held {
    share: Arc<Share>,
    bytes: usize,
}

impl Share {
    fn new(queue_bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { pause: Mutex::default(), queued: AtomicUsize::new(0), queue_bytes_max })
    }

    /// Room for bytes in a queue. One message has room, however large, where nothing else waits.
    pub(super) fn hold(self: &Arc<Self>, bytes: usize) -> Option<Held> {
        let with = |queued: usize| {
            let sum = queued.saturating_add(bytes);
            (queued == 0 || sum <= self.queue_bytes_max).then_some(sum)
        };
        self.queued.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with).ok()?;
        Some(Held { share: self.clone(), bytes })
    }

    pub(super) fn failed(&self) {
        locked(&self.pause).failed(Instant::now());
    }

    pub(super) fn went_well(&self) {
        locked(&self.pause).went_well();
    }

    pub(super) fn lasts(&self) -> Option<(Duration, u32)> {
        locked(&self.pause).lasts(Instant::now())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.share.queued.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What all consumers have.
pub(super) struct Shares {
    all: Mutex<HashMap<Box<str>, Arc<Share>>>,
    queue_bytes_max: usize,
}

impl Shares {
    pub(super) fn new(queue_bytes_max: usize) -> Self {
        Self { all: Mutex::default(), queue_bytes_max }
    }

    /// What a consumer has.
    pub(super) fn of(&self, owner: &str) -> Arc<Share> {
        let mut all = locked(&self.all);
        if let Some(known) = all.get(owner) {
            return known.clone();
        }
        if all.len() >= OWNERS_MAX {
            let now = Instant::now();
            all.retain(|_, share| Arc::strong_count(share) > 1 || !locked(&share.pause).is_forgotten(now));
        }
        let share = Share::new(self.queue_bytes_max);
        // Beyond the bound it is forgotten with its processes, of which there are only so many.
        if all.len() < OWNERS_MAX {
            all.insert(owner.into(), share.clone());
        }
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_up_to_a_minute_and_begins_anew_when_all_went_well() {
        let (now, mut pause) = (Instant::now(), Pause::default());
        assert!(pause.lasts(now).is_none());
        let mut waits = Vec::new();
        for _ in 0..9 {
            pause.failed(now);
            waits.push(pause.lasts(now).map_or(0, |(wait, _)| wait.as_millis()));
        }
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
        assert!(pause.lasts(now + PAUSE_MAX).is_none());
        pause.went_well();
        pause.failed(now);
        assert_eq!(pause.lasts(now), Some((PAUSE_FIRST, 1)));
    }

    #[test]
    fn bytes_are_held_within_a_bound_for_each_and_given_back() {
        let shares = Shares::new(10);
        let (gold, web) = (shares.of("gold"), shares.of("web"));
        let large = gold.hold(100).expect("the only one");
        assert!(gold.hold(1).is_none());
        assert!(web.hold(6).is_some(), "another's room");
        drop(large);
        let some = gold.hold(6).expect("room");
        assert!(shares.of("gold").hold(5).is_none() && gold.hold(4).is_some());
        drop(some);
        assert!(gold.hold(10).is_some());
    }

    #[test]
    fn consumers_are_remembered_within_a_bound() {
        let shares = Shares::new(10);
        let failed = shares.of("failed");
        failed.failed();
        drop(failed);
        for number in 0..3 * OWNERS_MAX {
            shares.of(&number.to_string());
        }
        assert!(locked(&shares.all).len() <= OWNERS_MAX);
        assert!(shares.of("failed").lasts().is_some());
    }
}
