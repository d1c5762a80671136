//! The load of an endpoint: calls in flight, a peak-sensitive average of its latency, and since when it warms up.

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
    /// From when on it grows to its share, in nanoseconds after `born`; [`WARM`] when it has it.
    warming: AtomicU64,
}

/// An endpoint that never began to warm up.
const WARM: u64 = u64::MAX;

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
            warming: AtomicU64::new(WARM),
        }
    }

    /// It is new, or comes back: it grows to its share from `from` on.
    pub fn warm_up(&self, from: Instant) {
        self.warming.store(self.nanos(from).min(WARM - 1), Ordering::Relaxed);
    }

    /// The share of its weight, 0 to 1, that it has grown to when it grows over `window`.
    pub fn warmth(&self, now: Instant, window: Duration) -> f64 {
        match self.warming.load(Ordering::Relaxed) {
            WARM => 1.0,
            from => {
                let passed = self.nanos(now).saturating_sub(from) as f64;
                (passed / (window.as_nanos() as f64).max(1.0)).clamp(0.0, 1.0)
            }
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

    /// Takes note of a call that was given up after `waited`: its latency would have been at least that.
    pub fn observe_at_least(&self, now: Instant, waited: Duration) {
        if waited.as_secs_f64() * 1e3 > self.ewma(now) {
            self.observe(now, waited);
        }
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
    fn a_call_that_was_given_up_makes_its_endpoint_slower_and_never_faster() {
        let now = Instant::now();
        let load = EndpointLoad::new(Duration::from_secs(10), now);
        load.observe(now, Duration::from_millis(100));
        load.observe_at_least(now, Duration::from_millis(40));
        assert!((load.ewma(now) - 100.0).abs() < 1.0, "{}", load.ewma(now));
        load.observe_at_least(now, Duration::from_millis(300));
        assert!((load.ewma(now) - 300.0).abs() < 1.0, "{}", load.ewma(now));
    }

    #[test]
    fn warmth_grows_from_its_beginning_and_begins_anew() {
        let (now, window) = (Instant::now(), Duration::from_secs(10));
        let load = EndpointLoad::new(window, now);
        assert_eq!(load.warmth(now, window), 1.0, "one that was there from the start has its share");
        load.warm_up(now + Duration::from_secs(5));
        let at = |seconds| load.warmth(now + Duration::from_secs(seconds), window);
        assert_eq!([at(0), at(5), at(10), at(15), at(60)], [0.0, 0.0, 0.5, 1.0, 1.0]);
        load.warm_up(now + Duration::from_secs(60));
        assert_eq!(at(60), 0.0);
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
