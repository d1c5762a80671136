//! How many calls at a time something can take, found out by how long it takes for them.
//!
//! What takes a call as long as it does when it has nothing else to do may have more of them; what takes longer has a
//! queue, and gets fewer. The time without a queue is measured, at the beginning and now and then, with few calls at a
//! time; in between the limit follows the ratio of that time and the time that calls take now (as Netflix's gradient
//! limits and Envoy's adaptive concurrency do).

use std::time::{Duration, Instant};

/// Samples and time that make a window.
const WINDOW_SAMPLES: u32 = 10;
const WINDOW: Duration = Duration::from_millis(100);
/// A window ends without enough samples after this, and what it has is used.
const WINDOW_MAX: Duration = Duration::from_secs(2);
/// How much of a new limit is taken over at a time.
const SMOOTHING: f64 = 0.2;
/// By how much the limit is cut while the time without a queue is measured.
const CUT: f64 = 0.5;

/// What a limit may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// The fewest calls, with which it begins.
    pub min: f64,
    /// The most.
    pub max: f64,
    /// How many times as long as without a queue calls may take.
    pub tolerance: f64,
    /// How often the time without a queue is measured.
    pub remeasure: Duration,
}

/// A limit that finds its level.
#[derive(Debug)]
pub struct Gradient {
    bounds: Bounds,
    limit: f64,
    /// Seconds that a call takes without a queue.
    base: Option<f64>,
    measured: Instant,
    window: Window,
    /// The limit to go back to, and whether what was on its way before has ended.
    measuring: Option<(f64, bool)>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    sum: f64,
    count: u32,
    in_flight: u32,
}

impl Window {
    fn new(began: Instant) -> Self {
        Self { began, sum: 0.0, count: 0, in_flight: 0 }
    }
}

impl Gradient {
    /// Begins with the fewest calls.
    pub fn new(bounds: Bounds, now: Instant) -> Self {
        Self {
            limit: bounds.min,
            bounds,
            base: None,
            measured: now,
            window: Window::new(now),
            measuring: None,
        }
    }

    /// Calls at a time.
    pub fn limit(&self) -> f64 {
        self.limit
    }

    /// Seconds that a call takes without a queue, as far as that is known.
    pub fn base(&self) -> Option<f64> {
        self.base
    }

    /// A call took so long, when so many were on their way with it. Tells whether the limit is another now.
    pub fn sample(&mut self, took: Duration, in_flight: u32, now: Instant) -> bool {
        self.window.sum += took.as_secs_f64();
        self.window.count += 1;
        self.window.in_flight = self.window.in_flight.max(in_flight);
        let age = now.saturating_duration_since(self.window.began);
        let is_full = self.window.count >= WINDOW_SAMPLES && age >= WINDOW;
        if !is_full && age < WINDOW_MAX {
            return false;
        }
        let window = std::mem::replace(&mut self.window, Window::new(now));
        let short = (window.sum / f64::from(window.count)).max(1e-6);
        self.close(short, f64::from(window.in_flight), now);
        true
    }

    fn close(&mut self, short: f64, in_flight: f64, now: Instant) {
        let Bounds { min, max, tolerance, remeasure } = self.bounds;
        if let Some((before, is_drained)) = self.measuring {
            match is_drained {
                false => self.measuring = Some((before, true)),
                true => {
                    (self.base, self.measured) = (Some(short), now);
                    self.limit = before;
                    self.measuring = None;
                }
            }
            return;
        }
        let Some(base) = self.base else {
            (self.base, self.measured) = (Some(short), now);
            return;
        };
        if short < base {
            (self.base, self.measured) = (Some(short), now);
        } else if now.saturating_duration_since(self.measured) >= remeasure {
            self.measuring = Some((self.limit, false));
            self.limit = (self.limit * CUT).max(min);
            return;
        }
        let gradient = (tolerance * base / short).clamp(0.5, 1.0);
        let root = self.limit.sqrt();
        let room = if gradient < 1.0 { root } else { root.max(self.limit * 0.25) };
        let wanted = self.limit * gradient + room;
        // Who does not need what there is gets no more of it.
        if wanted > self.limit && in_flight < self.limit * 0.5 {
            return;
        }
        self.limit = (self.limit * (1.0 - SMOOTHING) + wanted * SMOOTHING).clamp(min, max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds() -> Bounds {
        Bounds { min: 5.0, max: 1000.0, tolerance: 1.5, remeasure: Duration::from_secs(10) }
    }

    /// Something that takes `millis` for up to `capacity` calls at a time, and proportionally longer for more; asked for
    /// more than it can take, for so many windows.
    fn run(
        gradient: &mut Gradient,
        now: &mut Instant,
        capacity: f64,
        millis: f64,
        windows: usize,
    ) -> Vec<f64> {
        let mut limits = Vec::new();
        for _ in 0..windows {
            let in_flight = gradient.limit().floor();
            let took = Duration::from_secs_f64(millis / 1000.0 * (in_flight / capacity).max(1.0));
            for _ in 0..WINDOW_SAMPLES {
                *now += WINDOW / WINDOW_SAMPLES;
                gradient.sample(took, in_flight as u32, *now);
            }
            limits.push(gradient.limit());
        }
        limits
    }

    #[test]
    fn the_limit_finds_what_can_be_taken_and_stays_there() {
        let mut now = Instant::now();
        let mut gradient = Gradient::new(bounds(), now);
        for capacity in [40.0, 200.0, 20.0] {
            run(&mut gradient, &mut now, capacity, 50.0, 200);
            let limits = run(&mut gradient, &mut now, capacity, 50.0, 300);
            let mean = limits.iter().sum::<f64>() / limits.len() as f64;
            assert!((capacity..capacity * 2.6).contains(&mean), "{capacity}: {mean}");
            assert!(
                limits.iter().all(|limit| *limit >= 5.0 && *limit < capacity * 4.0),
                "{capacity}: {limits:?}"
            );
            assert!((0.045..0.08).contains(&gradient.base().expect("measured")), "{:?}", gradient.base());
        }
    }

    #[test]
    fn what_is_slower_for_good_is_taken_for_what_it_is() {
        let mut now = Instant::now();
        let mut gradient = Gradient::new(bounds(), now);
        run(&mut gradient, &mut now, 40.0, 20.0, 200);
        run(&mut gradient, &mut now, 40.0, 100.0, 400);
        assert!(gradient.base().expect("measured") > 0.09, "{:?}", gradient.base());
        assert!(gradient.limit() >= 35.0, "{}", gradient.limit());
    }

    #[test]
    fn who_asks_for_little_gets_no_large_limit() {
        let mut now = Instant::now();
        let mut gradient = Gradient::new(bounds(), now);
        for _ in 0..2000 {
            now += Duration::from_millis(20);
            gradient.sample(Duration::from_millis(5), 2, now);
        }
        assert!(gradient.limit() <= 5.0, "{}", gradient.limit());
    }
}
