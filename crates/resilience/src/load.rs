//! The load of an endpoint: calls in flight and a peak-sensitive average of its latency.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The load of an endpoint. Every field is an atomic of its own: a reader may see a mixture, which balancing bears.
#[derive(Debug)]
pub struct EndpointLoad {
    in_flight: AtomicU32,
    requests: AtomicU64,
    born: Instant,
    decay_nanos: f64,
    /// Average latency in nanoseconds, as the bits of an `f64`.
    average: AtomicU64,
    /// When the average was taken, in nanoseconds after `born`.
    taken: AtomicU64,
}

/// Counts a call at an endpoint until it is dropped.
#[derive(Debug)]
pub struct InFlight(Arc<EndpointLoad>);

impl EndpointLoad {
    /// No load; the average forgets over `decay`.
    pub fn new(decay: Duration, now: Instant) -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            born: now,
            decay_nanos: (decay.as_nanos() as f64).max(1.0),
            average: AtomicU64::new(0f64.to_bits()),
            taken: AtomicU64::new(0),
        }
    }

    /// Counts a call.
    pub fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// Calls in flight.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Calls since the start.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Takes note of a latency. A slower one counts at once, a faster one by and by.
    pub fn observe(&self, now: Instant, latency: Duration) {
        let latency = latency.as_nanos() as f64;
        let at = self.nanos(now);
        let before = f64::from_bits(self.average.load(Ordering::Relaxed));
        let passed = at.saturating_sub(self.taken.swap(at, Ordering::Relaxed)) as f64;
        let next = if latency > before {
            latency
        } else {
            let keep = (-passed / self.decay_nanos).exp();
            before * keep + latency * (1.0 - keep)
        };
        self.average.store(next.to_bits(), Ordering::Relaxed);
    }

    /// The average in milliseconds; what is not confirmed fades.
    pub fn ewma(&self, now: Instant) -> f64 {
        let passed = self.nanos(now).saturating_sub(self.taken.load(Ordering::Relaxed)) as f64;
        let average = f64::from_bits(self.average.load(Ordering::Relaxed));
        average * (-passed / self.decay_nanos).exp() / 1e6
    }

    fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.born).as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_counts_at_once_and_fades() {
        let now = Instant::now();
        let load = EndpointLoad::new(Duration::from_secs(10), now);
        load.observe(now, Duration::from_millis(10));
        load.observe(now, Duration::from_millis(500));
        assert!((load.ewma(now) - 500.0).abs() < 1.0);
        load.observe(now + Duration::from_secs(10), Duration::from_millis(10));
        let faded = load.ewma(now + Duration::from_secs(10));
        assert!((150.0..250.0).contains(&faded), "{faded}");
    }

    #[test]
    fn a_dropped_call_is_no_longer_in_flight() {
        let load = Arc::new(EndpointLoad::new(Duration::from_secs(10), Instant::now()));
        let (first, second) = (load.enter(), load.enter());
        assert_eq!(load.in_flight(), 2);
        drop((first, second));
        assert_eq!((load.in_flight(), load.requests()), (0, 2));
    }
}
