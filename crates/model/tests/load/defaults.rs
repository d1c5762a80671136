//! The resilience defaults that the design names: whoever changes one changes it here, in the documents and on purpose.

use serde_json::{Value, json};

use crate::support::load;

/// What an upstream has that asks for everything and sets nothing that has a default.
fn upstream() -> Value {
    let text = "upstreams:
  - name: u
    endpoints: [{address: '127.0.0.1:1'}]
    healthCheck: {path: /}
    outlierDetection: {}
    circuitBreaker: {}
    bulkhead: {maxConcurrentCalls: 1}
    hedging: {delay: 1s}
";
    let snapshot = load(text).expect("it loads");
    serde_json::to_value(&snapshot.config.upstreams[0]).expect("JSON")
}

#[test]
fn resilience_defaults_are_those_of_the_design() {
    let live = upstream();
    for (part, defaults) in [
        (
            "circuitBreaker",
            json!({
                "failureRateThreshold": "50",
                "slowCallRateThreshold": "100",
                "slowCallDurationThreshold": "10s",
                "slidingWindow": "10s",
                "minimumNumberOfCalls": 20,
                "waitDurationInOpenState": "10s",
                "permittedNumberOfCallsInHalfOpenState": 5,
                "maxWaitDurationInHalfOpenState": "30s",
            }),
        ),
        (
            "retry",
            json!({
                "maxAttempts": 2,
                "on": ["connectFailure", "reset", "refusedStream"],
                "backoff": {"initial": "25ms", "multiplier": 2.0, "max": "1s"},
                "budget": {"percent": "20", "window": "10s", "minPerSecond": 10},
                "maxBodySize": "64KiB",
            }),
        ),
        (
            "timeouts",
            json!({
                "connect": "1s", "tls": "5s", "perTry": null, "request": "15s", "idle": "1m", "total": null,
            }),
        ),
        ("bulkhead", json!({"maxConcurrentCalls": 1, "maxWaitDuration": "0s"})),
        ("hedging", json!({"delay": "1s", "maxAttempts": 2})),
        (
            // Envoy's names and caps.
            "outlierDetection",
            json!({
                "consecutive5xx": 5,
                "consecutiveGatewayFailure": 5,
                "consecutiveLocalOriginFailure": 5,
                "interval": "10s",
                "baseEjectionTime": "30s",
                "maxEjectionTime": "5m",
                "maxEjectionPercent": "10",
                "successRateMinimumHosts": 5,
                "successRateRequestVolume": 100,
                "successRateStdevFactor": 1900,
                "failurePercentageThreshold": null,
            }),
        ),
    ] {
        assert_eq!(live[part], defaults, "{part}");
    }
    assert_eq!(live["loadBalancing"]["panicThreshold"], "50");
    assert_eq!(live["loadBalancing"]["algorithm"], "roundRobin");
}

#[test]
fn breaker_bulkhead_ejection_and_hedging_are_off_until_they_are_asked_for() {
    let text = "upstreams: [{name: u, endpoints: [{address: '127.0.0.1:1'}]}]\n";
    let snapshot = load(text).expect("it loads");
    let live = serde_json::to_value(&snapshot.config.upstreams[0]).expect("JSON");
    for part in ["circuitBreaker", "bulkhead", "outlierDetection", "hedging", "healthCheck"] {
        assert!(live[part].is_null(), "{part}: {live}");
    }
    assert_eq!((&live["retry"], &live["timeouts"]), (&upstream()["retry"], &upstream()["timeouts"]));
}
