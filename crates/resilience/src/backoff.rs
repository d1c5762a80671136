//! The pause before a further try: exponential, with full jitter.

use std::time::Duration;

/// Settings of the pause.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// Bound of the first pause.
    pub initial: Duration,
    /// Growth of the bound with each further pause.
    pub multiplier: f64,
    /// Largest bound.
    pub max: Duration,
}

impl Backoff {
    /// The largest pause after `tries` tries (1 or more).
    pub fn bound(&self, tries: u32) -> Duration {
        let growth =
            self.multiplier.max(1.0).powi(i32::try_from(tries.saturating_sub(1)).unwrap_or(i32::MAX));
        let seconds = self.initial.as_secs_f64() * growth;
        if seconds.is_finite() && seconds < self.max.as_secs_f64() {
            Duration::from_secs_f64(seconds)
        } else {
            self.max
        }
    }

    /// A pause after `tries` tries, drawn by `unit` (from 0 to 1) between nothing and the bound.
    pub fn delay(&self, tries: u32, unit: f64) -> Duration {
        self.bound(tries).mul_f64(unit.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Backoff =
        Backoff { initial: Duration::from_millis(25), multiplier: 2.0, max: Duration::from_secs(1) };

    #[test]
    fn the_bound_doubles_up_to_the_largest() {
        let bounds: Vec<_> = (1..9).map(|tries| DEFAULT.bound(tries).as_millis()).collect();
        assert_eq!(bounds, [25, 50, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(DEFAULT.bound(u32::MAX), DEFAULT.max, "no overflow however often");
    }

    #[test]
    fn the_pause_is_anywhere_from_nothing_to_the_bound() {
        assert_eq!(DEFAULT.delay(3, 0.0), Duration::ZERO);
        assert_eq!(DEFAULT.delay(3, 0.5), Duration::from_millis(50));
        assert_eq!(DEFAULT.delay(3, 7.0), Duration::from_millis(100), "out of range is clamped");
    }
}
