//! What operators see: `/api/v1/status` and metrics say the same.

use super::{endpoints, gateway, ok, state};
use crate::harness::{Client, Upstream, eventually, pause};

#[test]
fn the_state_of_everything_is_at_the_status_and_in_the_metrics() {
    let upstream = Upstream::scripted(|seen| {
        pause(if seen.target() == "/hang" { 5_000 } else { 20 });
        ok()
    });
    let gateway = gateway(&format!(
        "{}, circuitBreaker: {{}}, bulkhead: {{maxConcurrentCalls: 7}}, outlierDetection: {{}}, healthCheck: {{path: /}}",
        endpoints([&upstream])
    ));
    for _ in 0..3 {
        assert_eq!(gateway.get("/").status, 200);
    }
    let mut hanging = Client::connect(gateway.address);
    hanging.write("GET /hang HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("it is in flight", || state(&gateway)["endpoints"][0]["inFlight"] == 1);
    let state = state(&gateway);
    let endpoint = &state["endpoints"][0];
    assert_eq!(endpoint["address"], upstream.address.to_string());
    assert_eq!((&endpoint["healthy"], &endpoint["ejectedSeconds"]), (&true.into(), &serde_json::Value::Null));
    assert_eq!((&endpoint["requests"], &endpoint["weight"]), (&4.into(), &1.into()));
    assert!(endpoint["ewmaMs"].as_f64().expect("a number") >= 10.0, "{endpoint}");
    assert_eq!((&state["breaker"]["state"], &state["breaker"]["calls"]), (&"CLOSED".into(), &3.into()));
    assert_eq!((&state["bulkhead"]["inFlight"], &state["bulkhead"]["max"]), (&1.into(), &7.into()));
    assert!(state["retryBudget"].as_f64().expect("a number") >= 99.0, "{state}");

    let at = format!("{{upstream=\"u\",endpoint=\"{}\"}}", upstream.address);
    let of = "{upstream=\"u\"}";
    for (series, expected) in [
        (format!("tidegate_upstream_endpoint_healthy{at}"), 1.0),
        (format!("tidegate_upstream_endpoint_ejected{at}"), 0.0),
        (format!("tidegate_upstream_in_flight{at}"), 1.0),
        (format!("tidegate_upstream_endpoint_requests_total{at}"), 4.0),
        ("tidegate_upstream_breaker_state{upstream=\"u\",state=\"CLOSED\"}".into(), 1.0),
        (format!("tidegate_upstream_breaker_refused_total{of}"), 0.0),
        (format!("tidegate_upstream_bulkhead_in_flight{of}"), 1.0),
        (format!("tidegate_upstream_bulkhead_waiting{of}"), 0.0),
        (format!("tidegate_upstream_bulkhead_places{of}"), 7.0),
    ] {
        assert_eq!(gateway.metric(&series), Some(expected), "{series}");
    }
    let ewma = gateway.metric(&format!("tidegate_upstream_latency_ewma_seconds{at}"));
    assert!(ewma.is_some_and(|ewma| ewma > 0.01), "{ewma:?}");
    assert!(gateway.metric(&format!("tidegate_upstream_retry_budget{of}")).is_some_and(|left| left >= 99.0));
}
