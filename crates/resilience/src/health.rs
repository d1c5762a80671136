//! What a row of active checks says about an endpoint.

use std::time::Duration;

/// A change of mind about an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is to be used again.
    BecameHealthy,
    /// It is not to be used.
    BecameUnhealthy,
}

/// What a row of active checks says about an endpoint.
#[derive(Debug, Clone)]
pub struct HealthState {
    healthy_threshold: u32,
    unhealthy_threshold: u32,
    is_healthy: bool,
    /// Results in a row that speak against the present state.
    against: u32,
}

impl HealthState {
    /// A state that changes after so many results in a row.
    pub fn new(healthy_threshold: u32, unhealthy_threshold: u32, is_healthy: bool) -> Self {
        Self {
            healthy_threshold: healthy_threshold.max(1),
            unhealthy_threshold: unhealthy_threshold.max(1),
            is_healthy,
            against: 0,
        }
    }

    /// Takes the result of a check.
    pub fn on_result(&mut self, is_good: bool) -> Option<Change> {
        if is_good == self.is_healthy {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let threshold = if is_good { self.healthy_threshold } else { self.unhealthy_threshold };
        if self.against < threshold {
            return None;
        }
        self.against = 0;
        self.is_healthy = is_good;
        Some(if is_good { Change::BecameHealthy } else { Change::BecameUnhealthy })
    }

    /// Whether the endpoint is to be used.
    pub fn is_healthy(&self) -> bool {
        self.is_healthy
    }
}

/// An interval with a random share of up to `percent` added; `unit` is drawn from 0 to 1.
pub fn jittered(interval: Duration, unit: f64, percent: f64) -> Duration {
    interval + interval.mul_f64(unit.clamp(0.0, 1.0) * percent.clamp(0.0, 100.0) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_check_of_two_needed_changes_nothing() {
        let mut state = HealthState::new(1, 2, true);
        assert_eq!(state.on_result(false), None);
        assert_eq!(state.on_result(true), None);
        assert_eq!(state.on_result(false), None, "the row begins anew");
        assert_eq!(state.on_result(false), Some(Change::BecameUnhealthy));
        assert_eq!(state.on_result(true), Some(Change::BecameHealthy));
        assert!(state.is_healthy());
    }

    #[test]
    fn jitter_adds_at_most_its_share() {
        let second = Duration::from_secs(1);
        assert_eq!(jittered(second, 0.0, 10.0), second);
        assert_eq!(jittered(second, 1.0, 10.0), Duration::from_millis(1100));
    }
}
