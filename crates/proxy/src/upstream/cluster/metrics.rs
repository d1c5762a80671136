//! The state of upstreams as metrics, read at the time of a scrape.

use std::sync::Weak;

use telemetry::{Collect, Exposition};

use super::{
    QueueStatus,
    status::{ClusterStatus, EndpointStatus},
};
use crate::worker::Shared;

/// What an endpoint's state says as a number.
type Reading = fn(&EndpointStatus) -> f64;

const STATES: [&str; 5] = ["CLOSED", "OPEN", "HALF_OPEN", "FORCED_OPEN", "DISABLED"];

/// Writes what the live upstreams are like. What the configuration no longer names is gone from the page.
pub(crate) struct UpstreamMetrics(pub(crate) Weak<Shared>);

impl Collect for UpstreamMetrics {
    fn collect(&self, out: &mut Exposition) {
        let Some(shared) = self.0.upgrade() else { return };
        let upstreams = shared.compiled.load().status();
        let gauges: [(&str, &str, Reading); 4] = [
            ("tidegate_upstream_endpoint_healthy", "Whether active checks pass.", |endpoint| {
                f64::from(u8::from(endpoint.healthy))
            }),
            ("tidegate_upstream_endpoint_ejected", "Whether it is ejected.", |endpoint| {
                f64::from(u8::from(endpoint.ejected_seconds.is_some()))
            }),
            ("tidegate_upstream_in_flight", "Calls in flight.", |endpoint| f64::from(endpoint.in_flight)),
            (
                "tidegate_upstream_latency_ewma_seconds",
                "Moving average of the time to an answer's head.",
                |endpoint| endpoint.ewma_ms / 1e3,
            ),
        ];
        for (name, help, value) in gauges {
            for (upstream, endpoint) in endpoints(&upstreams) {
                out.gauge(name, help, &labels(upstream, endpoint), value(endpoint));
            }
        }
        for (upstream, endpoint) in endpoints(&upstreams) {
            let help = "Calls that were sent to the endpoint.";
            let count = endpoint.requests as f64;
            out.counter(
                "tidegate_upstream_endpoint_requests_total",
                help,
                &labels(upstream, endpoint),
                count,
            );
        }
        for upstream in &upstreams {
            let help = "Further tries that the budget would allow now.";
            let labels = [("upstream", &*upstream.name)];
            out.gauge("tidegate_upstream_retry_budget", help, &labels, upstream.retry_budget);
        }
        breakers(&upstreams, out);
        bulkheads(&upstreams, out);
        queues(&upstreams, out);
    }
}

fn endpoints(upstreams: &[ClusterStatus]) -> impl Iterator<Item = (&ClusterStatus, &EndpointStatus)> {
    upstreams.iter().flat_map(|upstream| upstream.endpoints.iter().map(move |endpoint| (upstream, endpoint)))
}

fn labels<'a>(upstream: &'a ClusterStatus, endpoint: &'a EndpointStatus) -> [(&'a str, &'a str); 2] {
    [("upstream", &upstream.name), ("endpoint", &endpoint.address)]
}

fn breakers(upstreams: &[ClusterStatus], out: &mut Exposition) {
    let with = || upstreams.iter().filter_map(|one| Some((&*one.name, one.breaker.as_ref()?)));
    for (upstream, breaker) in with() {
        for state in STATES {
            let is = f64::from(u8::from(breaker.state == state));
            let labels = [("upstream", upstream), ("state", state)];
            out.gauge("tidegate_upstream_breaker_state", "1 for the state that it is in.", &labels, is);
        }
    }
    for (upstream, breaker) in with() {
        let help = "Calls that the breaker refused.";
        let count = breaker.not_permitted as f64;
        out.counter("tidegate_upstream_breaker_refused_total", help, &[("upstream", upstream)], count);
    }
}

fn bulkheads(upstreams: &[ClusterStatus], out: &mut Exposition) {
    let with = || upstreams.iter().filter_map(|one| Some((&*one.name, one.bulkhead.as_ref()?)));
    for (upstream, bulkhead) in with() {
        let used = bulkhead.in_flight as f64;
        out.gauge("tidegate_upstream_bulkhead_in_flight", "Places taken.", &[("upstream", upstream)], used);
    }
    for (upstream, bulkhead) in with() {
        let waiting = bulkhead.waiting as f64;
        out.gauge(
            "tidegate_upstream_bulkhead_waiting",
            "Calls that wait for a place.",
            &[("upstream", upstream)],
            waiting,
        );
    }
    for (upstream, bulkhead) in with() {
        let places = bulkhead.max as f64;
        out.gauge("tidegate_upstream_bulkhead_places", "Places in all.", &[("upstream", upstream)], places);
    }
}

fn queues(upstreams: &[ClusterStatus], out: &mut Exposition) {
    let with = || upstreams.iter().filter_map(|one| Some((&*one.name, one.request_queue.as_ref()?)));
    for (upstream, queue) in with() {
        for state in ["OPEN", "COLD", "DRAINING"] {
            let is = f64::from(u8::from(queue.state == state));
            let labels = [("upstream", upstream), ("state", state)];
            let help = "1 for the state that calls to it are in: open, held, or let go one after the other.";
            out.gauge("tidegate_upstream_queue_state", help, &labels, is);
        }
    }
    for (upstream, queue) in with() {
        let help = "Calls that wait for it to come up.";
        out.gauge("tidegate_upstream_queue_waiting", help, &[("upstream", upstream)], queue.waiting as f64);
    }
    type Count = fn(&QueueStatus) -> u64;
    let outcomes: [(&str, Count); 4] = [
        ("held", |queue| queue.held),
        ("released", |queue| queue.released),
        ("timed_out", |queue| queue.timed_out),
        ("full", |queue| queue.full),
    ];
    for (upstream, queue) in with() {
        for (outcome, count) in outcomes {
            let help = "Calls that were held for it to come up, and what came of that.";
            let labels = [("upstream", upstream), ("outcome", outcome)];
            out.counter("tidegate_upstream_queue_calls_total", help, &labels, count(queue) as f64);
        }
    }
    for (upstream, queue) in with() {
        let help = "How long calls have been held for it to come up, altogether.";
        let labels = [("upstream", upstream)];
        out.counter("tidegate_upstream_queue_waited_seconds_total", help, &labels, queue.waited_seconds);
    }
    for (upstream, queue) in with() {
        for (outcome, count) in [("told", queue.activations), ("failed", queue.failed_activations)] {
            let help = "How often somebody was told to start it.";
            let labels = [("upstream", upstream), ("outcome", outcome)];
            out.counter("tidegate_upstream_queue_activations_total", help, &labels, count as f64);
        }
    }
}
