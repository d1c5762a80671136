//! Hedging: another try beside a slow one, for calls that may be repeated; the loser is cancelled at once.

use std::{
    io::{Read, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    endpoint_states, endpoints, gateway,
    http2_peer::{Peer, Reply},
    local, state, status, timed,
};
use crate::harness::{Client, Gateway, Upstream, eventually, free_port, read_request};

/// An upstream that answers after a while, and counts the connections that were closed on it before that.
fn sleeper(millis: u64) -> (Upstream, Arc<AtomicUsize>) {
    let left = Arc::new(AtomicUsize::new(0));
    let counted = left.clone();
    let upstream = Upstream::raw(move |mut reader, seen| {
        while let Some(request) = read_request(&mut reader) {
            seen.lock().expect("not poisoned").push(request);
            let stream = reader.get_mut();
            stream.set_read_timeout(Some(Duration::from_millis(millis))).expect("a timeout");
            if matches!(stream.read(&mut [0]), Ok(0)) {
                counted.fetch_add(1, Ordering::Relaxed);
                return;
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow");
            stream.set_read_timeout(None).expect("no timeout");
        }
    });
    (upstream, left)
}

/// A gateway whose first pick is the first of these.
fn hedged(upstreams: &[&Upstream], more: &str) -> Gateway {
    gateway(&format!("{}, {more}", endpoints(upstreams.iter().copied())))
}

const QUICK: &str = "hedging: {delay: 50ms}";

#[test]
fn the_first_answer_wins_and_the_slow_try_is_cancelled_at_once() {
    let (slow, left) = sleeper(10_000);
    let quick = Upstream::fixed(200, "quick");
    let gateway = hedged(&[&slow, &quick], QUICK);
    let (answer, took) = timed(|| gateway.get("/"));
    assert_eq!(answer.text(), "quick");
    assert!(took >= Duration::from_millis(50) && took < Duration::from_secs(5), "{took:?}");
    eventually("the loser is cancelled", || left.load(Ordering::Relaxed) == 1);
    let record = gateway.records(1).remove(0);
    assert_eq!((&record["attempts"], &record["hedges"]), (&2.into(), &1.into()), "{record}");
    assert_eq!(record["hedge_won"], true, "{record}");
    assert_eq!(record["endpoint"], quick.address.to_string());
    assert_eq!(record["failed_tries"][0]["reason"], "hedge-lost", "{record}");
    assert_eq!(record["failed_tries"][0]["endpoint"], slow.address.to_string());
    for (series, expected) in [
        ("tidegate_hedges_total{upstream=\"u\"}", 1.0),
        ("tidegate_hedges_won_total{upstream=\"u\"}", 1.0),
        ("tidegate_retries_total{upstream=\"u\"}", 0.0),
        ("tidegate_attempts_total{upstream=\"u\"}", 2.0),
    ] {
        eventually(series, || gateway.metric(series) == Some(expected));
    }
    eventually("nothing is in flight", || endpoint_states(&gateway).iter().all(|one| one["inFlight"] == 0));
    assert!(
        endpoint_states(&gateway)[0]["ewmaMs"].as_f64().expect("a number") >= 40.0,
        "its slowness is remembered"
    );
}

#[test]
fn a_try_that_is_quick_enough_has_nothing_beside_it() {
    let (first, second) = (Upstream::fixed(200, "ok"), Upstream::fixed(200, "ok"));
    let gateway = hedged(&[&first, &second], "hedging: {delay: 5s}");
    super::answers(&gateway, 20);
    assert_eq!(first.seen().len() + second.seen().len(), 20);
    assert!(gateway.records(20).iter().all(|record| record["hedges"].is_null()));
}

#[test]
fn without_the_setting_nothing_is_hedged() {
    let (slow, _) = sleeper(400);
    let quick = Upstream::fixed(200, "quick");
    let gateway = hedged(&[&slow, &quick], "timeouts: {request: 10s}");
    assert_eq!(gateway.get("/").text(), "slow");
    assert!(quick.seen().is_empty());
}

#[test]
fn the_first_try_still_wins_when_it_answers_first() {
    let (slow, _) = sleeper(300);
    let (slower, left) = sleeper(10_000);
    let gateway = hedged(&[&slow, &slower], QUICK);
    assert_eq!(gateway.get("/").text(), "slow");
    eventually("the other is cancelled", || left.load(Ordering::Relaxed) == 1);
    let record = gateway.records(1).remove(0);
    assert_eq!((&record["hedges"], &record["hedge_won"]), (&1.into(), &false.into()), "{record}");
    assert_eq!(record["endpoint"], slow.address.to_string());
}

#[test]
fn only_what_may_be_repeated_is_hedged() {
    for (head, body, is_hedged) in [
        ("GET / HTTP/1.1\nhost: a", &b""[..], true),
        ("DELETE / HTTP/1.1\nhost: a", b"", true),
        ("PUT / HTTP/1.1\nhost: a\ncontent-length: 5", b"whole", true),
        ("POST / HTTP/1.1\nhost: a\ncontent-length: 5", b"whole", false),
        ("POST / HTTP/1.1\nhost: a\nidempotency-key: k\ncontent-length: 5", b"whole", true),
    ] {
        let (slow, _) = sleeper(600);
        let quick = Upstream::fixed(200, "quick");
        let gateway = hedged(&[&slow, &quick], "retry: {maxAttempts: 1}, hedging: {delay: 50ms}");
        let answer = gateway.send(head, body);
        assert_eq!(answer.text(), if is_hedged { "quick" } else { "slow" }, "{head}");
        assert_eq!(quick.seen().len(), usize::from(is_hedged), "{head}");
        assert!(
            quick.seen().iter().chain(&slow.seen()).all(|seen| seen.body == body),
            "{head}: both have all of it"
        );
    }
}

#[test]
fn a_body_that_is_not_kept_is_not_hedged() {
    let (slow, _) = sleeper(400);
    let quick = Upstream::fixed(200, "quick");
    let gateway = hedged(&[&slow, &quick], "retry: {maxBodySize: 1KiB}, hedging: {delay: 50ms}");
    let body = vec![b'x'; 2_000];
    let answer = gateway.send("PUT / HTTP/1.1\nhost: a\ncontent-length: 2000", &body);
    assert_eq!((answer.text().as_str(), quick.seen().len()), ("slow", 0));
    assert_eq!(slow.seen()[0].body, body);
}

#[test]
fn hedges_draw_on_the_retry_budget() {
    let (slow, _) = sleeper(300);
    let quick = Upstream::fixed(200, "quick");
    let gateway =
        hedged(&[&slow, &quick], "retry: {budget: {percent: 0, minPerSecond: 0}}, hedging: {delay: 30ms}");
    assert_eq!(gateway.get("/").text(), "slow");
    assert!(quick.seen().is_empty(), "an empty budget grants none");
    let gateway =
        hedged(&[&slow, &quick], "retry: {budget: {percent: 0, minPerSecond: 1}}, hedging: {delay: 30ms}");
    let before = state(&gateway)["retryBudget"].as_f64().expect("a number");
    assert_eq!(gateway.get("/").text(), "quick");
    let after = state(&gateway)["retryBudget"].as_f64().expect("a number");
    assert_eq!(before - after, 1.0);
}

#[test]
fn no_endpoint_gets_a_second_try_while_there_is_another() {
    let all: Vec<_> = (0..3).map(|_| sleeper(1_500)).collect();
    let upstreams: Vec<_> = all.iter().map(|(upstream, _)| upstream).collect();
    let gateway = hedged(&upstreams, "hedging: {delay: 50ms, maxAttempts: 3}");
    assert_eq!(gateway.get("/").text(), "slow");
    assert_eq!(upstreams.iter().map(|one| one.seen().len()).collect::<Vec<_>>(), [1, 1, 1]);
    let cancelled = || all.iter().map(|(_, left)| left.load(Ordering::Relaxed)).sum::<usize>();
    eventually("both losers are cancelled", || cancelled() == 2);
}

#[test]
fn an_endpoint_that_is_ill_gets_no_hedge() {
    let (slow, _) = sleeper(500);
    let dead = local(free_port());
    let gateway = gateway(&format!(
        "endpoints: [{{address: \"{}\"}}, {{address: \"{dead}\"}}], hedging: {{delay: 50ms}},
        healthCheck: {{interval: 100ms, unhealthyThreshold: 1}}",
        slow.address
    ));
    eventually("its illness is known", || super::in_use(&gateway).len() == 1);
    assert_eq!(gateway.get("/").text(), "slow");
    let record = gateway.records(1).remove(0);
    assert!(record["hedges"].is_null(), "{record}");
    let ill = &endpoint_states(&gateway)[1];
    assert_eq!((&ill["requests"], &ill["inFlight"]), (&0.into(), &0.into()), "no call was sent there: {ill}");
    let series = format!("tidegate_upstream_endpoint_requests_total{{upstream=\"u\",endpoint=\"{dead}\"}}");
    assert_eq!(gateway.metric(&series), Some(0.0));
}

#[test]
fn a_failure_does_not_win_against_a_try_that_still_runs() {
    let (slow, _) = sleeper(500);
    for (broken, reason) in
        [(Upstream::scripted(|_| status(500)), "status"), (Upstream::scripted(|_| None), "upstream-reset")]
    {
        let gateway = hedged(&[&slow, &broken], &format!("{QUICK}, retry: {{on: [\"5xx\", reset]}}"));
        let answer = gateway.get("/");
        assert_eq!((answer.status, answer.text().as_str()), (200, "slow"), "{reason}");
        let record = gateway.records(1).remove(0);
        assert_eq!(record["failed_tries"][0]["reason"], reason, "{record}");
    }
}

#[test]
fn an_answer_that_would_not_be_tried_again_wins_whatever_its_status() {
    let (slow, left) = sleeper(10_000);
    let broken = Upstream::scripted(|_| status(501));
    let gateway = hedged(&[&slow, &broken], QUICK);
    let (answer, took) = timed(|| gateway.get("/"));
    assert_eq!(answer.status, 501);
    assert!(took < Duration::from_secs(5), "{took:?}");
    eventually("the slow one is cancelled", || left.load(Ordering::Relaxed) == 1);
}

#[test]
fn of_tries_that_all_fail_an_answer_is_better_than_none() {
    let (slow, _) = sleeper(20_000);
    let busy = Upstream::scripted(|_| status(503));
    let gateway = hedged(
        &[&slow, &busy],
        &format!("{QUICK}, timeouts: {{request: 800ms}}, retry: {{maxAttempts: 2, on: [\"503\"]}}"),
    );
    let answer = gateway.get("/");
    assert_eq!((answer.status, answer.problem()), (503, None), "the upstream's own answer");
    let record = gateway.records(1).remove(0);
    assert_eq!(record["endpoint"], busy.address.to_string(), "{record}");
    assert_eq!(record["failed_tries"][0]["reason"], "upstream-timeout", "{record}");
}

#[test]
fn a_first_try_that_fails_early_is_retried_and_not_hedged() {
    let broken = Upstream::scripted(|_| None);
    let good = Upstream::fixed(200, "good");
    let gateway = hedged(&[&broken, &good], "hedging: {delay: 5s}");
    for _ in 0..4 {
        assert_eq!(gateway.get("/").text(), "good");
    }
    assert!(gateway.records(4).iter().all(|record| record["hedges"].is_null()));
}

#[test]
fn a_client_that_leaves_takes_all_its_tries_along() {
    let all = [sleeper(20_000), sleeper(20_000)];
    let gateway =
        hedged(&[&all[0].0, &all[1].0], "bulkhead: {maxConcurrentCalls: 4}, hedging: {delay: 50ms}");
    let mut leaver = Client::connect(gateway.address);
    leaver.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("both tries are out", || all.iter().all(|(upstream, _)| upstream.seen().len() == 1));
    assert_eq!(state(&gateway)["bulkhead"]["inFlight"], 2, "each try has a place");
    drop(leaver);
    eventually("both are cancelled", || all.iter().all(|(_, left)| left.load(Ordering::Relaxed) == 1));
    eventually("their places are free", || state(&gateway)["bulkhead"]["inFlight"] == 0);
}

#[test]
fn the_loser_on_a_shared_connection_is_reset_and_the_connection_stays() {
    let slow = Peer::cleartext(|path, _| Reply::After(if path == "/slow" { 20_000 } else { 0 }, "one"));
    let quick = Peer::cleartext(|_, _| Reply::After(0, "two"));
    let gateway = gateway(&format!(
        "protocol: http2, endpoints: [{{address: \"{}\"}}, {{address: \"{}\"}}], hostHeader: upstream, hedging: {{delay: 50ms}}",
        slow.address, quick.address
    ));
    assert_eq!(gateway.get("/slow").text(), "two");
    eventually("its stream is reset", || slow.cancelled() == 1);
    assert_eq!(slow.open(), 1);
}

#[test]
fn hedged_calls_end_by_their_timeouts_like_all_others() {
    let all = [sleeper(20_000), sleeper(20_000)];
    let gateway = hedged(
        &[&all[0].0, &all[1].0],
        "hedging: {delay: 50ms}, timeouts: {request: 500ms}, retry: {maxAttempts: 1}",
    );
    let answer = gateway.get("/");
    assert_eq!((answer.status, answer.problem().as_deref()), (504, Some("upstream-timeout")));
}
