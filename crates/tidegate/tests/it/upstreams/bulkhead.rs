//! The bulkhead: a bound of calls at a time, and a queue for those who may wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{breaker::operate, endpoints, gateway, ok, state, timed};
use crate::harness::{Client, Upstream, eventually, pause};

#[test]
fn a_full_bulkhead_refuses_and_empties() {
    let upstream = Upstream::scripted(|_| {
        pause(400);
        ok()
    });
    let gateway = gateway(&format!(
        "endpoints: [{{address: \"{}\"}}], bulkhead: {{maxConcurrentCalls: 2}}",
        upstream.address
    ));
    let mut busy: Vec<_> = (0..2).map(|_| Client::connect(gateway.address)).collect();
    busy.iter_mut().for_each(|client| client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    eventually("both are in flight", || upstream.seen().len() == 2);
    let answer = gateway.get("/");
    assert_eq!((answer.status, answer.problem().as_deref()), (503, Some("bulkhead-full")));
    assert!(busy.iter_mut().all(|client| client.read().is_some_and(|answer| answer.status == 200)));
    assert_eq!(gateway.get("/").status, 200);
    // A caller that leaves gives its place back at once.
    let mut leaver = Client::connect(gateway.address);
    leaver.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    pause(50);
    drop(leaver);
    eventually("the place is free", || {
        gateway.admin_get("/api/v1/status").json()["upstreams"][0]["bulkhead"]["inFlight"] == 0
    });
}

#[test]
fn calls_wait_for_a_place_in_turn_and_no_longer_than_they_may() {
    let released = Arc::new(AtomicBool::new(false));
    let held = released.clone();
    let upstream = Upstream::scripted(move |_| {
        eventually("all have come", || held.load(Ordering::Relaxed));
        ok()
    });
    let gateway = gateway(&format!(
        "{}, bulkhead: {{maxConcurrentCalls: 1, maxWaitDuration: 60s}}",
        endpoints([&upstream])
    ));
    let mut clients: Vec<_> = (0..4).map(|_| Client::connect(gateway.address)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.write(format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n"));
        eventually("it has its place or waits", || {
            let bulkhead = &state(&gateway)["bulkhead"];
            bulkhead["inFlight"] == 1 && bulkhead["waiting"] == number
        });
    }
    released.store(true, Ordering::Relaxed);
    for client in &mut clients {
        assert_eq!(client.read().expect("an answer").status, 200);
    }
    let order: Vec<_> = upstream.seen().iter().map(|seen| seen.target().to_owned()).collect();
    assert_eq!(order, ["/0", "/1", "/2", "/3"], "first come, first served");
}

#[test]
fn an_open_circuit_is_told_before_anyone_queues() {
    let upstream = Upstream::scripted(|_| {
        pause(3_000);
        ok()
    });
    let gateway = gateway(&format!(
        "{}, bulkhead: {{maxConcurrentCalls: 1, maxWaitDuration: 60s}}, circuitBreaker: {{}}",
        endpoints([&upstream])
    ));
    let mut busy = Client::connect(gateway.address);
    busy.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("one is in flight", || state(&gateway)["bulkhead"]["inFlight"] == 1);
    operate(&gateway, "u", r#"{"state": "FORCED_OPEN"}"#);
    let answer = gateway.get("/");
    assert_eq!((answer.status, answer.problem().as_deref()), (503, Some("circuit-open")));
    assert_eq!(state(&gateway)["bulkhead"]["inFlight"], 1, "it did not wait for the place");
}

#[test]
fn who_waits_in_vain_is_told_so_and_who_leaves_frees_the_queue() {
    let upstream = Upstream::scripted(|_| {
        pause(3_000);
        ok()
    });
    let gateway = gateway(&format!(
        "{}, bulkhead: {{maxConcurrentCalls: 1, maxWaitDuration: 300ms}}",
        endpoints([&upstream])
    ));
    let mut busy = Client::connect(gateway.address);
    busy.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("one is in flight", || upstream.seen().len() == 1);
    let (answer, took) = timed(|| gateway.get("/"));
    assert_eq!((answer.status, answer.problem().as_deref()), (503, Some("bulkhead-full")));
    assert!(answer.header("retry-after").is_some());
    assert!(took >= Duration::from_millis(300), "{took:?}");
    let mut leaver = Client::connect(gateway.address);
    leaver.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    drop(leaver);
    eventually("nobody waits", || state(&gateway)["bulkhead"]["waiting"] == 0);
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn a_pause_between_two_tries_holds_no_place() {
    let upstream = Upstream::scripted(|seen| match seen.target() {
        "/again" => Some(b"HTTP/1.1 503 X\r\nretry-after: 60\r\ncontent-length: 0\r\n\r\n".to_vec()),
        _ => ok(),
    });
    let gateway = gateway(&format!(
        "{}, bulkhead: {{maxConcurrentCalls: 1}}, timeouts: {{request: 300s}}, retry: {{maxAttempts: 2, on: [\"503\"], backoff: {{initial: 60s, max: 60s}}}}",
        endpoints([&upstream])
    ));
    let mut client = Client::connect(gateway.address);
    client.write("GET /again HTTP/1.1\r\nhost: a\r\n\r\n");
    // A minute lies between its two tries.
    eventually("the first try is over", || {
        !upstream.seen().is_empty() && state(&gateway)["bulkhead"]["inFlight"] == 0
    });
    assert_eq!(gateway.get("/other").status, 200, "another call takes the place");
    assert_eq!(upstream.seen().iter().filter(|seen| seen.target() == "/again").count(), 1);
}

#[test]
fn a_further_try_beside_a_slow_one_needs_a_place_of_its_own() {
    let all = [0, 1].map(|_| {
        Upstream::scripted(|_| {
            pause(600);
            ok()
        })
    });
    let gateway = gateway(&format!(
        "{}, bulkhead: {{maxConcurrentCalls: 1}}, hedging: {{delay: 50ms}}",
        endpoints([&all[0], &all[1]])
    ));
    assert_eq!(gateway.get("/").status, 200);
    assert_eq!(
        all.iter().map(|upstream| upstream.seen().len()).sum::<usize>(),
        1,
        "there was no place for two"
    );
}
