//! Bulkhead: bounds the calls that are in flight at a time.
//!
//! It counts; waiting for a place is the caller's, who holds a [`Ticket`] meanwhile so that those who wait are
//! bounded too.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Calls that may wait for a place, for each place that there is.
const WAITING_PER_PLACE: usize = 4;

/// Bounds the calls that are in flight at a time.
#[derive(Debug)]
pub struct Bulkhead {
    max: usize,
    max_wait: Duration,
    in_flight: AtomicUsize,
    waiting: AtomicUsize,
}

/// A place; gives itself back when dropped.
#[derive(Debug)]
pub struct BulkheadPermit(Arc<Bulkhead>);

/// Leave to wait for a place; gives itself back when dropped.
#[derive(Debug)]
pub struct Ticket(Arc<Bulkhead>);

impl Bulkhead {
    /// A bulkhead of `max` places, for one of which a call may wait up to `max_wait`.
    pub fn new(max: usize, max_wait: Duration) -> Arc<Self> {
        Arc::new(Self { max, max_wait, in_flight: AtomicUsize::new(0), waiting: AtomicUsize::new(0) })
    }

    /// A place, if one is free.
    pub fn try_acquire(self: &Arc<Self>) -> Option<BulkheadPermit> {
        take(&self.in_flight, self.max).then(|| BulkheadPermit(self.clone()))
    }

    /// Leave to wait, if not too many do.
    pub fn try_wait(self: &Arc<Self>) -> Option<Ticket> {
        take(&self.waiting, self.max.saturating_mul(WAITING_PER_PLACE)).then(|| Ticket(self.clone()))
    }

    /// How long a call may wait for a place.
    pub fn max_wait(&self) -> Duration {
        self.max_wait
    }

    /// Places taken.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Places.
    pub fn max(&self) -> usize {
        self.max
    }

    /// Calls that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

fn take(count: &AtomicUsize, max: usize) -> bool {
    let next = |count| (count < max).then_some(count + 1);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
}

impl Drop for BulkheadPermit {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_bulkhead_refuses_and_a_dropped_permit_makes_room() {
        let bulkhead = Bulkhead::new(2, Duration::ZERO);
        let first = bulkhead.try_acquire();
        let second = bulkhead.try_acquire();
        assert!(first.is_some() && second.is_some());
        assert!(bulkhead.try_acquire().is_none());
        drop(first);
        assert_eq!(bulkhead.in_flight(), 1);
        assert!(bulkhead.try_acquire().is_some());
    }

    #[test]
    fn those_who_wait_are_bounded() {
        let bulkhead = Bulkhead::new(1, Duration::from_secs(1));
        let tickets: Vec<_> = std::iter::from_fn(|| bulkhead.try_wait()).take(100).collect();
        assert_eq!(tickets.len(), WAITING_PER_PLACE);
        drop(tickets);
        assert_eq!(bulkhead.waiting(), 0);
    }

    #[test]
    fn threads_never_get_more_places_than_there_are() {
        let bulkhead = Bulkhead::new(3, Duration::ZERO);
        let most = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        if let Some(_permit) = bulkhead.try_acquire() {
                            most.fetch_max(bulkhead.in_flight(), Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert!((1..=3).contains(&most.load(Ordering::Relaxed)));
        assert_eq!(bulkhead.in_flight(), 0);
    }
}
