//! What operators see: `/api/v1/status` and metrics say the same.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::{endpoints, gateway, ok, state, status};
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

#[test]
fn what_is_wrong_is_at_the_status_and_in_the_metrics() {
    let gate = Arc::new(AtomicBool::new(false));
    let held = gate.clone();
    let good = Upstream::scripted(move |seen| {
        eventually("it is let go", || seen.target() != "/hang" || held.load(Ordering::Relaxed));
        ok()
    });
    let failing = Upstream::scripted(|seen| if seen.target() == "/health" { ok() } else { status(500) });
    let ill = Upstream::scripted(|seen| if seen.target() == "/health" { status(503) } else { ok() });
    let gateway = gateway(&format!(
        "{}, retry: {{maxAttempts: 1}}, loadBalancing: {{panicThreshold: 0}}, circuitBreaker: {{}},
        bulkhead: {{maxConcurrentCalls: 1, maxWaitDuration: 60s}},
        outlierDetection: {{consecutive5xx: 2, baseEjectionTime: 5m, maxEjectionPercent: 50}},
        healthCheck: {{path: /health, interval: 10m, unhealthyThreshold: 1}}",
        endpoints([&good, &failing, &ill])
    ));
    // The next checks come in ten minutes.
    eventually("all are checked and the ill one is out", || {
        let is_checked = |one: &Upstream| one.seen().iter().any(|seen| seen.target() == "/health");
        [&good, &failing].into_iter().all(is_checked) && state(&gateway)["endpoints"][2]["healthy"] == false
    });
    eventually("the failing one is ejected", || {
        gateway.get("/");
        !state(&gateway)["endpoints"][1]["ejectedSeconds"].is_null()
    });
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(gateway.address)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.write("GET /hang HTTP/1.1\r\nhost: a\r\n\r\n");
        eventually("it has the place or waits", || {
            let bulkhead = &state(&gateway)["bulkhead"];
            bulkhead["inFlight"] == 1 && bulkhead["waiting"] == number
        });
    }
    super::breaker::operate(&gateway, "u", r#"{"state": "FORCED_OPEN"}"#);
    assert!((0..3).all(|_| gateway.get("/").problem().as_deref() == Some("circuit-open")));

    let state = state(&gateway);
    let (of_failing, of_ill) = (&state["endpoints"][1], &state["endpoints"][2]);
    assert!(
        of_failing["ejectedSeconds"].as_f64().is_some_and(|left| left > 0.0 && left <= 300.0),
        "{of_failing}"
    );
    assert_eq!((&of_failing["ejections"], &of_failing["healthy"]), (&1.into(), &true.into()));
    assert_eq!((&of_ill["healthy"], &of_ill["requests"]), (&false.into(), &0.into()), "{of_ill}");
    assert_eq!(
        (&state["breaker"]["state"], &state["breaker"]["notPermitted"]),
        (&"FORCED_OPEN".into(), &3.into())
    );
    assert_eq!((&state["bulkhead"]["inFlight"], &state["bulkhead"]["waiting"]), (&1.into(), &2.into()));

    let at = |one: &Upstream| format!("{{upstream=\"u\",endpoint=\"{}\"}}", one.address);
    for (series, expected) in [
        (format!("tidegate_upstream_endpoint_ejected{}", at(&failing)), 1.0),
        (format!("tidegate_upstream_endpoint_ejected{}", at(&good)), 0.0),
        (format!("tidegate_upstream_endpoint_ejected{}", at(&ill)), 0.0),
        (format!("tidegate_upstream_endpoint_healthy{}", at(&ill)), 0.0),
        (format!("tidegate_upstream_endpoint_healthy{}", at(&failing)), 1.0),
        (format!("tidegate_upstream_in_flight{}", at(&good)), 1.0),
        ("tidegate_upstream_breaker_state{upstream=\"u\",state=\"FORCED_OPEN\"}".into(), 1.0),
        ("tidegate_upstream_breaker_state{upstream=\"u\",state=\"CLOSED\"}".into(), 0.0),
        ("tidegate_upstream_breaker_refused_total{upstream=\"u\"}".into(), 3.0),
        ("tidegate_upstream_bulkhead_in_flight{upstream=\"u\"}".into(), 1.0),
        ("tidegate_upstream_bulkhead_waiting{upstream=\"u\"}".into(), 2.0),
    ] {
        assert_eq!(gateway.metric(&series), Some(expected), "{series}");
    }
    gate.store(true, Ordering::Relaxed);
}
