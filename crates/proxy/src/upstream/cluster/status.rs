//! The state of a cluster as `/api/v1/status` and the metrics show it.

use std::{sync::Arc, time::Instant};

use resilience::Breaker;
use serde::Serialize;

use super::{Cluster, QueueStatus};

/// The state of an upstream.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Name of the upstream.
    pub name: Arc<str>,
    /// Its circuit breaker, if it has one.
    pub breaker: Option<BreakerStatus>,
    /// Its bulkhead, if it has one.
    pub bulkhead: Option<BulkheadStatus>,
    /// Calls that are held while it is on its way up, if that is asked for.
    pub request_queue: Option<QueueStatus>,
    /// Retries that its budget would allow now.
    pub retry_budget: f64,
    /// Its endpoints.
    pub endpoints: Vec<EndpointStatus>,
}

/// The state of a circuit breaker.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BreakerStatus {
    /// `CLOSED`, `OPEN`, `HALF_OPEN`, `FORCED_OPEN` or `DISABLED`.
    pub state: &'static str,
    /// Calls in the sliding window.
    pub calls: u64,
    /// Failed calls in the window, in percent.
    pub failure_rate: f64,
    /// Slow calls in the window, in percent.
    pub slow_call_rate: f64,
    /// Calls refused since the start.
    pub not_permitted: u64,
}

/// The state of a bulkhead.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkheadStatus {
    /// Calls in flight.
    pub in_flight: usize,
    /// Calls that wait for a place.
    pub waiting: usize,
    /// Places.
    pub max: usize,
}

/// The state of an endpoint.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointStatus {
    /// Its address.
    pub address: Arc<str>,
    /// What active checks say.
    pub healthy: bool,
    /// For how many seconds it is still ejected.
    pub ejected_seconds: Option<f64>,
    /// Ejections in a row.
    pub ejections: u32,
    /// Calls in flight.
    pub in_flight: u32,
    /// Moving average of its latency, in milliseconds.
    pub ewma_ms: f64,
    /// Its share against the others.
    pub weight: u32,
    /// Where it is.
    pub zone: Option<Arc<str>>,
    /// Whether it is used only when no other is healthy.
    pub backup: bool,
    /// Calls that were sent to it.
    pub requests: u64,
}

impl BreakerStatus {
    /// The state of a breaker at this moment.
    pub(super) fn of(breaker: &Breaker, now: Instant) -> Self {
        let status = breaker.status(now);
        Self {
            state: status.state.name(),
            calls: u64::from(status.calls),
            failure_rate: status.failure_rate,
            slow_call_rate: status.slow_rate,
            not_permitted: status.not_permitted,
        }
    }
}

impl Cluster {
    /// The state at this moment.
    pub(crate) fn status(&self, now: Instant) -> ClusterStatus {
        let set = self.set.load();
        ClusterStatus {
            name: self.name.clone(),
            breaker: self.breaker.as_ref().map(|breaker| BreakerStatus::of(breaker, now)),
            bulkhead: self.bulkhead.as_ref().map(|bulkhead| BulkheadStatus {
                in_flight: bulkhead.in_flight(),
                waiting: bulkhead.waiting(),
                max: bulkhead.max(),
            }),
            request_queue: self.queue.as_ref().map(|queue| queue.status()),
            retry_budget: self.budget.balance(now),
            endpoints: set
                .slots
                .iter()
                .map(|slot| {
                    let endpoint = &slot.endpoint;
                    EndpointStatus {
                        address: endpoint.label.clone(),
                        healthy: endpoint.is_healthy(),
                        ejected_seconds: endpoint.outlier.ejected_for(now).map(|left| left.as_secs_f64()),
                        ejections: endpoint.outlier.ejections(),
                        in_flight: endpoint.load.in_flight(),
                        ewma_ms: endpoint.load.ewma(now),
                        weight: slot.weight,
                        zone: slot.zone.clone(),
                        backup: slot.backup,
                        requests: endpoint.load.requests(),
                    }
                })
                .collect(),
        }
    }
}
