//! What an operator does to a circuit breaker by hand.

use std::time::Instant;

use resilience::breaker::State;

use super::{BreakerStatus, Cluster};

/// What an operator wants of a circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerWish {
    /// Refuse every call until told otherwise.
    ForcedOpen,
    /// Let every call through and count nothing, until told otherwise.
    Disabled,
    /// Close, forget every result and work as configured.
    Closed,
}

/// Why there is no breaker to operate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSuchBreaker {
    /// No upstream has that name.
    Upstream,
    /// The upstream has no `circuitBreaker`.
    Breaker,
}

impl Cluster {
    /// Does to the breaker what an operator wants; its state then, or none without a breaker.
    pub(crate) fn operate_breaker(&self, wish: BreakerWish, now: Instant) -> Option<BreakerStatus> {
        let breaker = self.breaker.as_ref()?;
        match wish {
            BreakerWish::ForcedOpen => _ = breaker.force(State::ForcedOpen, now),
            BreakerWish::Disabled => _ = breaker.force(State::Disabled, now),
            BreakerWish::Closed => breaker.reset(now),
        }
        let status = BreakerStatus::of(breaker, now);
        tracing::warn!(upstream = %self.name, state = status.state, "an operator set the circuit breaker");
        Some(status)
    }
}
