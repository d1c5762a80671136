//! What is counted goes on over a reload: ejections, places in use, the retry budget, latencies; both when something
//! beside the upstream changes and when the upstream itself does, in another part.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::{
    super::harness::{Client, Gateway, Upstream, eventually, pause},
    config,
};

/// A configuration of one upstream behind one route.
fn routed(endpoints: &[&Upstream], upstream: &str, route: &str) -> String {
    let endpoints: Vec<_> = endpoints.iter().map(|one| format!("{{address: \"{}\"}}", one.address)).collect();
    format!(
        "upstreams: [{{name: u, endpoints: [{}]{upstream}}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}]{route}, backends: [{{upstream: u}}]}}]\n",
        endpoints.join(", ")
    )
}

/// What changes with each reload: something beside the upstream, its settings without state, and those with.
const CHANGES: [(&str, &str); 3] = [
    ("", ", priority: 1"),
    (", timeouts: {request: 9s}, pool: {maxIdlePerWorker: 7}", ""),
    (", circuitBreaker: {minimumNumberOfCalls: 999}", ""),
];

fn state(gateway: &Gateway) -> serde_json::Value {
    gateway.admin_get("/api/v1/status").json()["upstreams"][0].clone()
}

fn apply(gateway: &Gateway, text: &str) {
    assert_eq!(gateway.reload(&config(gateway, text))["lastReload"], "ok");
}

/// An upstream that keeps its callers until it is told otherwise.
fn holding() -> (Upstream, Arc<AtomicBool>) {
    let gate = Arc::new(AtomicBool::new(false));
    let held = gate.clone();
    let upstream = Upstream::scripted(move |seen| {
        eventually("it is let go", || seen.target() != "/hang" || held.load(Ordering::Relaxed));
        Some(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec())
    });
    (upstream, gate)
}

#[test]
fn an_ejected_endpoint_stays_ejected_and_no_longer_than_it_was_to_be() {
    let (bad, good) = (Upstream::fixed(500, "bad"), Upstream::fixed(200, "good"));
    let outliers = ", retry: {maxAttempts: 1}, loadBalancing: {panicThreshold: 0}, outlierDetection: {consecutive5xx: 2, baseEjectionTime: 5m, maxEjectionPercent: 50}";
    let gateway = Gateway::start(&routed(&[&bad, &good], outliers, ""));
    let first = || state(&gateway)["endpoints"][0].clone();
    eventually("it is ejected", || {
        gateway.get("/");
        !first()["ejectedSeconds"].is_null()
    });
    let (mut left, seen) = (first()["ejectedSeconds"].as_f64().expect("a number"), bad.seen().len());
    for (upstream, route) in CHANGES {
        apply(&gateway, &routed(&[&bad, &good], &format!("{outliers}{upstream}"), route));
        assert!((0..10).all(|_| gateway.get("/").text() == "good"), "after {upstream}{route}");
        let now = first();
        let still = now["ejectedSeconds"].as_f64().unwrap_or_default();
        assert!(still > 200.0 && still < left, "its time runs on: {left} seconds, then {now}");
        assert_eq!((&now["ejections"], bad.seen().len()), (&1.into(), seen), "{now}");
        left = still;
    }
}

#[test]
fn places_that_are_taken_stay_taken_in_bulkheads_and_concurrency_limits() {
    let (upstream, gate) = holding();
    let bulkhead = ", bulkhead: {maxConcurrentCalls: 1}";
    let limit = |limit: u32| format!(", policies: [{{concurrencyLimit: {{limit: {limit}, key: global}}}}]");
    let gateway = Gateway::start(&routed(&[&upstream], bulkhead, ""));
    let mut busy = Client::connect(gateway.address);
    busy.write("GET /hang HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("the place is taken", || state(&gateway)["bulkhead"]["inFlight"] == 1);
    for (upstream_change, route) in CHANGES {
        apply(&gateway, &routed(&[&upstream], &format!("{bulkhead}{upstream_change}"), route));
        assert_eq!(gateway.get("/").problem().as_deref(), Some("bulkhead-full"), "{upstream_change}{route}");
        assert_eq!(state(&gateway)["endpoints"][0]["inFlight"], 1);
    }
    gate.store(true, Ordering::Relaxed);
    assert_eq!(busy.read().expect("what is in flight is not cut").status, 200);
    eventually("the place is free", || gateway.get("/").status == 200);
    assert_eq!(state(&gateway)["bulkhead"]["inFlight"], 0);

    gate.store(false, Ordering::Relaxed);
    apply(&gateway, &routed(&[&upstream], "", &limit(1)));
    busy.write("GET /hang HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("it is in flight", || state(&gateway)["endpoints"][0]["inFlight"] == 1);
    for (upstream_change, route) in CHANGES {
        apply(&gateway, &routed(&[&upstream], upstream_change, &format!("{}{route}", limit(1))));
        assert_eq!(
            gateway.get("/").problem().as_deref(),
            Some("concurrency-limited"),
            "{upstream_change}{route}"
        );
    }
    // Another limit counts the same calls.
    apply(&gateway, &routed(&[&upstream], "", &limit(2)));
    let mut second = Client::connect(gateway.address);
    second.write("GET /hang HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("both are in flight", || state(&gateway)["endpoints"][0]["inFlight"] == 2);
    assert_eq!(gateway.get("/").problem().as_deref(), Some("concurrency-limited"));
    gate.store(true, Ordering::Relaxed);
    assert!(
        [&mut busy, &mut second].into_iter().all(|one| one.read().is_some_and(|answer| answer.status == 200))
    );
    eventually("a place is free", || gateway.get("/").status == 200);
}

#[test]
fn what_was_drawn_from_the_retry_budget_does_not_come_back() {
    let broken = Upstream::fixed(503, "");
    let retry = |floor: u32| {
        format!(
            ", retry: {{maxAttempts: 2, on: ['503'], backoff: {{initial: 1ms}}, budget: {{percent: 0, minPerSecond: {floor}, window: 10m}}}}"
        )
    };
    let gateway = Gateway::start(&routed(&[&broken], &retry(1), ""));
    let left = || state(&gateway)["retryBudget"].as_f64().expect("a number");
    assert_eq!(left(), 600.0, "one a second, saved up over ten minutes");
    for _ in 0..5 {
        assert_eq!(gateway.get("/").status, 503);
    }
    assert_eq!((left(), broken.seen().len()), (595.0, 10));
    for (upstream, route) in CHANGES {
        apply(&gateway, &routed(&[&broken], &format!("{}{upstream}", retry(1)), route));
        assert_eq!(left(), 595.0, "after {upstream}{route}");
    }
    apply(&gateway, &routed(&[&broken], &retry(2), ""));
    assert_eq!(left(), 1200.0, "another budget begins anew");
}

#[test]
fn what_is_known_of_an_endpoints_latency_and_calls_stays_known() {
    let slow = Upstream::scripted(|_| {
        pause(200);
        Some(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow".to_vec())
    });
    let quick = Upstream::fixed(200, "quick");
    let balancing = ", loadBalancing: {algorithm: peakEwma, decay: 10h}";
    let gateway = Gateway::start(&routed(&[&slow, &quick], balancing, ""));
    let of_slow = || state(&gateway)["endpoints"][0].clone();
    eventually("both are measured", || {
        gateway.get("/");
        of_slow()["ewmaMs"].as_f64().is_some_and(|average| average > 100.0) && !quick.seen().is_empty()
    });
    let before = of_slow();
    for (upstream, route) in CHANGES {
        apply(&gateway, &routed(&[&slow, &quick], &format!("{balancing}{upstream}"), route));
        let now = of_slow();
        let (was, is) =
            (before["ewmaMs"].as_f64().expect("a number"), now["ewmaMs"].as_f64().expect("a number"));
        // In ten hours it fades to a third.
        assert!(is <= was && is > was * 0.99, "{before} became {now} after {upstream}{route}");
        assert_eq!(now["requests"], before["requests"]);
        assert!((0..10).all(|_| gateway.get("/").text() == "quick"), "after {upstream}{route}");
    }
}
