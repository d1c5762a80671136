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
    /// Over how many nanoseconds the average forgets, as the bits of an `f64`.
    decay: AtomicU64,
    /// Average latency in nanoseconds, as the bits of an `f64`.
    average: AtomicU64,
    /// When the average was taken, in nanoseconds after `born`.
    taken: AtomicU64,
    /// From when on it grows to its share, in nanoseconds after `born`; [`WARM`] when it has it.
    warming: AtomicU64,
}

/// How much slower the average fades while calls are in flight: an endpoint that hangs would look idle otherwise. It
/// does fade, for a stream that lives for hours says nothing about the latency of others.
const FADE_IN_FLIGHT: f64 = 8.0;
/// What an endpoint is taken to need, in milliseconds, while calls are in flight and none has ended yet.
const UNKNOWN_MILLIS: f64 = 1000.0;

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
            decay: AtomicU64::new(nanos_of(decay).to_bits()),
            average: AtomicU64::new(0f64.to_bits()),
            taken: AtomicU64::new(0),
            warming: AtomicU64::new(WARM),
        }
    }

    /// From now on the average forgets over `decay`.
    pub fn set_decay(&self, decay: Duration) {
        self.decay.store(nanos_of(decay).to_bits(), Ordering::Relaxed);
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
            let keep = (-passed / self.decay_nanos()).exp();
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

    /// The average in milliseconds; what is not confirmed fades, and slowly while calls are in flight.
    pub fn ewma(&self, now: Instant) -> f64 {
        let average = f64::from_bits(self.average.load(Ordering::Relaxed));
        if average == 0.0 {
            return 0.0;
        }
        let passed = self.nanos(now).saturating_sub(self.taken.load(Ordering::Relaxed)) as f64;
        let slower = if self.in_flight() > 0 { FADE_IN_FLIGHT } else { 1.0 };
        average * (-passed / (self.decay_nanos() * slower)).exp() / 1e6
    }

    /// What one more call is likely to wait for, in milliseconds: the average, for each call that is in flight.
    pub fn cost(&self, now: Instant) -> f64 {
        let in_flight = self.in_flight();
        let average = match self.ewma(now) {
            0.0 if in_flight > 0 => UNKNOWN_MILLIS,
            known => known,
        };
        (average + 0.001) * f64::from(in_flight + 1)
    }

    fn decay_nanos(&self) -> f64 {
        f64::from_bits(self.decay.load(Ordering::Relaxed))
    }

    fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.born).as_nanos()).unwrap_or(u64::MAX)
    }
}

fn nanos_of(decay: Duration) -> f64 {
    (decay.as_nanos() as f64).max(1.0)
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
    fn what_hangs_does_not_look_idle() {
        let now = Instant::now();
        let (hung, quick) = (0, 1);
        let loads = [0, 1].map(|_| Arc::new(EndpointLoad::new(Duration::from_secs(10), now)));
        let cost = |which: usize, seconds| loads[which].cost(now + Duration::from_secs(seconds));
        loads[quick].observe(now, Duration::from_millis(20));
        assert!(cost(hung, 0) < cost(quick, 0), "of the unknown one something has to be learnt");
        let waiting = loads[hung].enter();
        assert!(cost(hung, 0) > 10.0 * cost(quick, 0), "but one call is enough for that");
        loads[hung].observe_at_least(now, Duration::from_secs(2));
        assert!(cost(hung, 20) > 1000.0, "{}", cost(hung, 20));
        drop(waiting);
        assert!(cost(hung, 60) < 10.0, "what is not used is tried again: {}", cost(hung, 60));
    }

    #[test]
    fn a_long_stream_does_not_keep_an_old_peak_for_ever() {
        let now = Instant::now();
        let load = Arc::new(EndpointLoad::new(Duration::from_secs(10), now));
        let _stream = load.enter();
        load.observe(now, Duration::from_secs(5));
        assert!(load.ewma(now + Duration::from_secs(600)) < 10.0);
    }

    #[test]
    fn another_decay_holds_at_once() {
        let now = Instant::now();
        let load = EndpointLoad::new(Duration::from_secs(1000), now);
        load.observe(now, Duration::from_secs(1));
        assert!(load.ewma(now + Duration::from_secs(10)) > 900.0);
        load.set_decay(Duration::from_secs(1));
        assert!(load.ewma(now + Duration::from_secs(10)) < 1.0);
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
