//! The circuit breaker: opens, refuses, tries, closes, and obeys an operator.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::{config, endpoints, gateway, ok, state, status};
use crate::harness::{Answer, Client, Gateway, Upstream, eventually, h2, pause, raw};

#[test]
fn the_breaker_opens_refuses_and_closes_again() {
    let broken = Arc::new(AtomicBool::new(true));
    let switch = broken.clone();
    let upstream =
        Upstream::scripted(move |_| if switch.load(Ordering::Relaxed) { status(500) } else { ok() });
    let gateway = gateway(&format!(
        "endpoints: [{{address: \"{}\"}}], retry: {{maxAttempts: 1}},
        circuitBreaker: {{failureRateThreshold: 50, minimumNumberOfCalls: 10, slidingWindow: 10s, waitDurationInOpenState: 1s, permittedNumberOfCallsInHalfOpenState: 2}}",
        upstream.address
    ));
    for _ in 0..10 {
        assert_eq!(gateway.get("/").status, 500);
    }
    let seen = upstream.seen().len();
    let answer = gateway.get("/");
    assert_eq!((answer.status, answer.problem().as_deref()), (503, Some("circuit-open")));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(upstream.seen().len(), seen);
    let state = || {
        gateway.admin_get("/api/v1/status").json()["upstreams"][0]["breaker"]["state"]
            .as_str()
            .map(str::to_owned)
    };
    assert_eq!(state().as_deref(), Some("OPEN"));
    assert_eq!(gateway.metric("tidegate_upstream_breaker_state{upstream=\"u\",state=\"OPEN\"}"), Some(1.0));
    broken.store(false, Ordering::Relaxed);
    pause(1_100);
    assert_eq!(gateway.get("/").status, 200, "half-open lets some through");
    assert_eq!(gateway.get("/").status, 200);
    assert_eq!(state().as_deref(), Some("CLOSED"));
}

fn breaker(gateway: &Gateway) -> String {
    state(gateway)["breaker"]["state"].as_str().expect("a breaker").to_owned()
}

pub(crate) fn operate(gateway: &Gateway, upstream: &str, body: &str) -> Answer {
    let request = format!(
        "PUT /api/v1/upstreams/{upstream}/breaker HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer test-admin-token\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        gateway.admin,
        body.len()
    );
    Answer::parse(&raw(gateway.admin, request.as_bytes())).expect("an answer")
}

#[test]
fn an_operator_forces_it_open_turns_it_off_and_has_it_begin_anew() {
    let broken = Arc::new(AtomicBool::new(false));
    let switch = broken.clone();
    let upstream =
        Upstream::scripted(move |_| if switch.load(Ordering::Relaxed) { status(500) } else { ok() });
    let breaker_settings = |calls: u32| {
        format!(
            "{}, retry: {{maxAttempts: 1}}, circuitBreaker: {{minimumNumberOfCalls: {calls}, waitDurationInOpenState: 60s}}",
            endpoints([&upstream])
        )
    };
    let port = crate::harness::free_port();
    let listen =
        |rest: String| format!("listeners: [{{name: public, address: \"127.0.0.1:{port}\"}}]\n{rest}");
    let gateway = Gateway::from_text(&listen(config(&breaker_settings(2))), super::local(port), |_| {});
    let answer = operate(&gateway, "u", r#"{"state": "FORCED_OPEN"}"#);
    assert_eq!(answer.json()["breaker"]["state"], "FORCED_OPEN", "{}", answer.text());
    for _ in 0..3 {
        let answer = gateway.get("/");
        assert_eq!((answer.status, answer.problem().as_deref()), (503, Some("circuit-open")));
    }
    assert!(upstream.seen().is_empty());
    let series = "tidegate_upstream_breaker_state{upstream=\"u\",state=\"FORCED_OPEN\"}";
    assert_eq!(gateway.metric(series), Some(1.0));
    // It stands over a reload, that of its thresholds included.
    gateway.reload(&listen(config(&breaker_settings(3))));
    assert_eq!(breaker(&gateway), "FORCED_OPEN");

    broken.store(true, Ordering::Relaxed);
    assert_eq!(operate(&gateway, "u", r#"{"state": "DISABLED"}"#).status, 200);
    for _ in 0..10 {
        assert_eq!(gateway.get("/").status, 500, "every call passes");
    }
    assert_eq!(breaker(&gateway), "DISABLED");

    assert_eq!(operate(&gateway, "u", r#"{"state": "CLOSED"}"#).status, 200);
    for _ in 0..3 {
        assert_eq!(gateway.get("/").status, 500);
    }
    assert_eq!(breaker(&gateway), "OPEN", "it counts again, from nothing");
    assert_eq!(operate(&gateway, "u", r#"{"state": "CLOSED"}"#).status, 200);
    broken.store(false, Ordering::Relaxed);
    assert_eq!(gateway.get("/").status, 200);

    for (name, body, expected) in
        [("u", r#"{"state": "AJAR"}"#, 400), ("nobody", r#"{"state": "CLOSED"}"#, 404)]
    {
        assert_eq!(operate(&gateway, name, body).status, expected, "{name} {body}");
    }
}

#[test]
fn slow_calls_open_it() {
    let upstream = Upstream::scripted(|_| {
        pause(120);
        ok()
    });
    let gateway = gateway(&format!(
        "{}, circuitBreaker: {{slowCallDurationThreshold: 50ms, slowCallRateThreshold: 50, minimumNumberOfCalls: 4, waitDurationInOpenState: 60s}}",
        endpoints([&upstream])
    ));
    for _ in 0..4 {
        assert_eq!(gateway.get("/").status, 200);
    }
    assert_eq!(gateway.get("/").problem().as_deref(), Some("circuit-open"));
    assert_eq!(breaker(&gateway), "OPEN");
}

/// A breaker that is half open, behind an upstream that answers `/hang` never and the rest well.
fn half_open(settings: &str) -> (Gateway, Upstream) {
    let broken = Arc::new(AtomicBool::new(true));
    let switch = broken.clone();
    let upstream = Upstream::scripted(move |seen| {
        if seen.target() == "/hang" {
            pause(30_000);
        }
        if switch.load(Ordering::Relaxed) { status(500) } else { ok() }
    });
    let gateway = gateway(&format!(
        "{}, retry: {{maxAttempts: 1}}, timeouts: {{request: 30s}},
        circuitBreaker: {{minimumNumberOfCalls: 2, waitDurationInOpenState: 300ms, permittedNumberOfCallsInHalfOpenState: 1, {settings}}}",
        endpoints([&upstream])
    ));
    for _ in 0..2 {
        assert_eq!(gateway.get("/").status, 500);
    }
    broken.store(false, Ordering::Relaxed);
    eventually("it is half open", || breaker(&gateway) == "HALF_OPEN");
    (gateway, upstream)
}

#[test]
fn a_half_open_permit_returns_when_the_client_leaves() {
    let (gateway, upstream) = half_open("maxWaitDurationInHalfOpenState: 60s");
    let before = upstream.seen().len();
    let mut leaver = Client::connect(gateway.address);
    leaver.write("GET /hang HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("the trial call is out", || upstream.seen().len() > before);
    assert_eq!(gateway.get("/").problem().as_deref(), Some("circuit-open"), "the one permit is taken");
    drop(leaver);
    eventually("the permit is free again", || gateway.get("/").status == 200);
    assert_eq!(breaker(&gateway), "CLOSED");
}

#[test]
fn half_open_does_not_last_for_ever() {
    let (gateway, upstream) = half_open("maxWaitDurationInHalfOpenState: 500ms");
    let before = upstream.seen().len();
    let mut hanging = Client::connect(gateway.address);
    hanging.write("GET /hang HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("the trial call is out", || upstream.seen().len() > before);
    assert_eq!(gateway.get("/").problem().as_deref(), Some("circuit-open"));
    // It opens, and is half open anew after its wait: then the next trial call decides.
    eventually("another trial call is let through", || gateway.get("/").status == 200);
    assert_eq!(breaker(&gateway), "CLOSED");
}

#[test]
fn its_own_refusals_and_calls_that_clients_leave_are_no_failures() {
    let upstream = Upstream::scripted(|seen| {
        if seen.target() == "/hang" {
            pause(2_000);
        }
        ok()
    });
    let gateway = gateway(&format!(
        "{}, bulkhead: {{maxConcurrentCalls: 1}}, circuitBreaker: {{minimumNumberOfCalls: 2}}",
        endpoints([&upstream])
    ));
    let mut leaver = Client::connect(gateway.address);
    leaver.write("GET /hang HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("one is in flight", || upstream.seen().len() == 1);
    for _ in 0..5 {
        assert_eq!(gateway.get("/").problem().as_deref(), Some("bulkhead-full"));
    }
    drop(leaver);
    eventually("the place is free", || gateway.get("/").status == 200);
    let state = state(&gateway);
    assert_eq!(state["breaker"]["state"], "CLOSED");
    assert_eq!(state["breaker"]["failureRate"], 0.0, "{state}");
}

#[test]
fn a_grpc_call_that_fails_before_any_message_counts_though_its_status_is_200() {
    let unavailable = h2::Upstream::start(|_, mut respond| async move {
        let answer = http::Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", "14")
            .body(())
            .expect("an answer");
        let _ = respond.send_response(answer, true);
    });
    let gateway = gateway(&format!(
        "endpoints: [{{address: \"{}\"}}], protocol: grpc, retry: {{maxAttempts: 1}},
        circuitBreaker: {{minimumNumberOfCalls: 4, waitDurationInOpenState: 5m}}",
        unavailable.address
    ));
    h2::run(async {
        let client = h2::Client::connect(gateway.address).await;
        for _ in 0..4 {
            let request = http::Request::post("http://test.example/demo.Test/Call")
                .header("content-type", "application/grpc")
                .body(())
                .expect("a request");
            let answer = client.fetch(request, b"\0\0\0\0\0", None).await.expect("an answer");
            assert_eq!((answer.status, answer.header("grpc-status")), (200, Some("14")));
        }
    });
    assert_eq!(state(&gateway)["breaker"]["state"], "OPEN");
}
