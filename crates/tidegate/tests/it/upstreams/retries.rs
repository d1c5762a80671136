//! Retries: what is tried again, how often, and what never is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{endpoints, gateway, local, ok, status, timed};
use crate::harness::{Client, Upstream, free_port, pause};

#[test]
fn only_what_may_be_repeated_is_repeated() {
    // The upstream breaks off after it has read the request.
    let upstream = Upstream::scripted(|_| None);
    let gateway =
        gateway(&format!("endpoints: [{{address: \"{}\"}}], retry: {{maxAttempts: 3}}", upstream.address));
    for (head, tries) in [
        ("GET /a HTTP/1.1\nhost: a", 3),
        ("DELETE /b HTTP/1.1\nhost: a", 3),
        ("PUT /c HTTP/1.1\nhost: a\ncontent-length: 1", 3),
        ("POST /d HTTP/1.1\nhost: a\ncontent-length: 1", 1),
        ("PATCH /e HTTP/1.1\nhost: a\ncontent-length: 1", 1),
        ("POST /f HTTP/1.1\nhost: a\ncontent-length: 1\nidempotency-key: k", 3),
    ] {
        let before = upstream.seen().len();
        let body: &[u8] = if head.contains("content-length") { b"x" } else { b"" };
        let answer = gateway.send(head, body);
        assert_eq!((answer.status, answer.problem().as_deref()), (502, Some("upstream-reset")), "{head}");
        let seen = upstream.seen();
        assert_eq!(seen.len() - before, tries, "{head}");
        assert!(seen[before..].iter().all(|seen| seen.body == body), "{head}");
    }
}

#[test]
fn a_status_is_repeated_where_it_is_asked_for_and_the_last_one_is_told() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let upstream = Upstream::scripted(move |seen| {
        let number = counted.fetch_add(1, Ordering::Relaxed);
        if seen.target() == "/always" || number.is_multiple_of(2) { status(503) } else { ok() }
    });
    let gateway = gateway(&format!(
        "endpoints: [{{address: \"{}\"}}], retry: {{maxAttempts: 2, on: [\"503\"], backoff: {{initial: 1ms}}}}",
        upstream.address
    ));
    assert_eq!(gateway.get("/").status, 200);
    assert_eq!(count.swap(0, Ordering::Relaxed), 2);
    assert_eq!(gateway.get("/always").status, 503);
    assert_eq!(count.load(Ordering::Relaxed), 2);
    let record = gateway.records(2).pop().expect("a record");
    assert_eq!(record["attempts"], 2, "{record}");
    assert_eq!(record["failed_tries"][0]["status"], 503, "{record}");
}

#[test]
fn retries_stay_within_their_budget() {
    let upstream = Upstream::scripted(|_| status(503));
    let gateway = gateway(&format!(
        "endpoints: [{{address: \"{}\"}}], retry: {{maxAttempts: 3, on: [\"503\"], backoff: {{initial: 1ms}}, budget: {{percent: 20, minPerSecond: 1}}}}",
        upstream.address
    ));
    let mut client = Client::connect(gateway.address);
    for _ in 0..400 {
        assert_eq!(client.get("/").expect("an answer").status, 503);
    }
    let retries = upstream.seen().len() - 400;
    assert!((40..=200).contains(&retries), "{retries} retries of 400 requests");
}

#[test]
fn what_was_never_sent_needs_no_budget_and_may_be_a_write() {
    let alive = Upstream::fixed(200, "ok");
    // Each gateway meets the dead endpoint once: after that it is set aside.
    for number in 0..4 {
        let gateway = gateway(&format!(
            "endpoints: [{{address: \"{}\"}}, {{address: \"{}\"}}], retry: {{maxAttempts: 2, budget: {{percent: 0, minPerSecond: 0}}}}",
            local(free_port()),
            alive.address
        ));
        for _ in 0..4 {
            let answer = gateway.send("POST / HTTP/1.1\nhost: a\ncontent-length: 1", b"x");
            assert_eq!(answer.status, 200, "gateway {number}");
        }
        let tried = gateway.records(4).iter().filter(|record| record["attempts"] == 2).count();
        assert!((1..=2).contains(&tried), "{tried} of 4 met the dead endpoint");
    }
}

#[test]
fn a_body_that_is_kept_is_sent_whole_again_and_a_larger_one_is_not_repeated() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let upstream = Upstream::scripted(move |_| {
        if counted.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) { None } else { ok() }
    });
    let gateway = gateway(&format!("{}, retry: {{maxAttempts: 2}}", endpoints([&upstream])));
    let put = |size: usize| {
        let body: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let answer = gateway.send(&format!("PUT / HTTP/1.1\nhost: a\ncontent-length: {size}"), &body);
        (answer.status, body)
    };
    let (code, body) = put(64 * 1024);
    assert_eq!((code, count.swap(0, Ordering::Relaxed)), (200, 2), "64 KiB are kept");
    assert!(upstream.seen().iter().all(|seen| seen.body == body));
    assert_eq!(put(64 * 1024 + 1).0, 502, "one byte more is not");
    assert_eq!(count.swap(0, Ordering::Relaxed), 1);
    // Without a length, it shows only on the way.
    let chunk = |size: usize| format!("{size:x}\r\n{}\r\n", "x".repeat(size));
    let chunked = |size: usize| {
        let body = chunk(30_000) + &chunk(size) + "0\r\n\r\n";
        gateway.send("PUT / HTTP/1.1\nhost: a\ntransfer-encoding: chunked", body.as_bytes()).status
    };
    assert_eq!((chunked(30_000), count.swap(0, Ordering::Relaxed)), (200, 2));
    assert_eq!((chunked(60_000), count.swap(0, Ordering::Relaxed)), (502, 1));
}

#[test]
fn an_open_circuit_ends_the_tries() {
    let upstream = Upstream::scripted(|_| status(503));
    let gateway = gateway(&format!(
        "{}, retry: {{maxAttempts: 5, on: [\"503\"], backoff: {{initial: 1ms}}}},
        circuitBreaker: {{minimumNumberOfCalls: 2, waitDurationInOpenState: 60s}}",
        endpoints([&upstream])
    ));
    let answer = gateway.get("/");
    assert_eq!((answer.status, answer.problem().as_deref()), (503, Some("circuit-open")));
    assert_eq!(upstream.seen().len(), 2, "the third try would have been refused");
}

#[test]
fn a_try_that_takes_too_long_counts_as_504_for_retries_and_goes_elsewhere() {
    let slow = Arc::new(AtomicBool::new(true));
    let switch = slow.clone();
    let sleeper = Upstream::scripted(move |_| {
        if switch.load(Ordering::Relaxed) {
            pause(5_000);
        }
        ok()
    });
    let quick = Upstream::fixed(200, "quick");
    for on in ["\"504\"", "timeout", "\"5xx\""] {
        let gateway = gateway(&format!(
            "{}, timeouts: {{perTry: 200ms}}, retry: {{maxAttempts: 2, on: [{on}]}}",
            endpoints([&sleeper, &quick])
        ));
        for _ in 0..2 {
            assert_eq!(gateway.get("/").text(), "quick", "{on}");
        }
        let waited: Vec<_> = gateway
            .records(2)
            .into_iter()
            .filter(|record| record["failed_tries"][0]["reason"] == "upstream-timeout")
            .collect();
        assert!(!waited.is_empty(), "{on}: one of the two met the slow one first");
    }
    let gateway = gateway(&format!(
        "{}, timeouts: {{perTry: 200ms}}, retry: {{maxAttempts: 2, on: [reset]}}",
        endpoints([&sleeper])
    ));
    let answer = gateway.get("/");
    assert_eq!((answer.status, answer.problem().as_deref()), (504, Some("upstream-timeout")));
    slow.store(false, Ordering::Relaxed);
}

#[test]
fn a_retry_waits_as_long_as_it_is_told_to_up_to_the_longest_backoff() {
    for told in ["1", "Thu, 31 Dec 2099 23:59:59 GMT"] {
        let upstream = Upstream::scripted(move |_| {
            Some(format!("HTTP/1.1 503 X\r\nretry-after: {told}\r\ncontent-length: 0\r\n\r\n").into_bytes())
        });
        let gateway = gateway(&format!(
            "{}, retry: {{maxAttempts: 2, on: [\"503\"], backoff: {{initial: 1ms, max: 300ms}}}}",
            endpoints([&upstream])
        ));
        let (answer, took) = timed(|| gateway.get("/"));
        assert_eq!((answer.status, upstream.seen().len()), (503, 2), "{told}");
        assert!(took >= Duration::from_millis(300), "{told}: {took:?}");
    }
}

#[test]
fn a_route_overrides_the_tries_of_its_upstream() {
    let upstream = Upstream::scripted(|_| status(503));
    let gateway = crate::harness::Gateway::start(&format!(
        "upstreams: [{{name: u, {}, retry: {{maxAttempts: 1}}}}]
routes:
  - {{name: many, match: [{{path: {{prefix: /many}}}}], backends: [{{upstream: u}}], retry: {{maxAttempts: 3, on: [\"503\"], backoff: {{initial: 1ms}}}}}}
  - {{name: one, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}\n",
        endpoints([&upstream])
    ));
    assert_eq!(gateway.get("/one").status, 503);
    assert_eq!(upstream.seen().len(), 1);
    assert_eq!(gateway.get("/many").status, 503);
    assert_eq!(upstream.seen().len(), 4);
}
