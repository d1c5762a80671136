//! Upstreams that fail: retries, breaker, bulkhead, health, outages, connections.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::harness::{Client, Gateway, Upstream, eventually, free_port, pause};

fn gateway(upstream: &str) -> Gateway {
    Gateway::start(&format!(
        "accessLog: [{{kind: stdout, format: json}}]
upstreams: [{{name: u, {upstream}}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}]\n"
    ))
}

fn ok() -> Option<Vec<u8>> {
    Some(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec())
}

fn status(code: u16) -> Option<Vec<u8>> {
    Some(format!("HTTP/1.1 {code} X\r\ncontent-length: 0\r\n\r\n").into_bytes())
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[test]
fn one_dead_endpoint_of_four_costs_no_request() {
    let alive: Vec<_> = (0..3).map(|_| Upstream::fixed(200, "ok")).collect();
    let dead = local(free_port());
    let addresses: Vec<_> = alive
        .iter()
        .map(|one| one.address)
        .chain([dead])
        .map(|one| format!("{{address: \"{one}\"}}"))
        .collect();
    let gateway = gateway(&format!("endpoints: [{}], retry: {{maxAttempts: 2}}", addresses.join(", ")));
    for _ in 0..200 {
        assert_eq!(gateway.get("/").status, 200);
    }
    // Writes, too: nothing was sent where nobody listens.
    for _ in 0..20 {
        assert_eq!(gateway.send("POST / HTTP/1.1\nhost: a\ncontent-length: 1", b"x").status, 200);
    }
    let tries: f64 = gateway.metric("tidegate_retries_total{upstream=\"u\"}").unwrap_or(0.0);
    assert!(tries <= 4.0, "the dead one was tried {tries} times");
}

#[test]
fn an_outage_is_noticed_and_its_end_too() {
    let port = free_port();
    let other = Upstream::fixed(200, "other");
    let gateway = gateway(&format!(
        "endpoints: [{{address: \"127.0.0.1:{port}\"}}, {{address: \"{}\"}}],
        healthCheck: {{path: /, interval: 100ms, timeout: 100ms, healthyThreshold: 1, unhealthyThreshold: 1}}",
        other.address
    ));
    let healthy = || {
        let status = gateway.admin_get("/api/v1/status").json();
        let endpoints = status["upstreams"][0]["endpoints"].as_array().expect("endpoints").clone();
        endpoints
            .iter()
            .filter(|endpoint| endpoint["healthy"] == true && endpoint["ejectedSeconds"].is_null())
            .count()
    };
    eventually("the dead one is seen", || healthy() == 1);
    assert!((0..20).all(|_| gateway.get("/").text() == "other"));
    let _back = Upstream::on(local(port), |_| ok());
    eventually("the live one is seen", || healthy() == 2);
    let texts: Vec<_> = (0..20).map(|_| gateway.get("/").text()).collect();
    assert!(texts.contains(&"ok".to_owned()), "{texts:?}");
}

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
fn endpoints_that_fail_live_traffic_are_ejected() {
    let good = Upstream::fixed(200, "good");
    let bad = Upstream::fixed(500, "bad");
    let gateway = gateway(&format!(
        "endpoints: [{{address: \"{}\"}}, {{address: \"{}\"}}], retry: {{maxAttempts: 1}},
        outlierDetection: {{consecutive5xx: 3, baseEjectionTime: 1s, maxEjectionPercent: 50}}",
        good.address, bad.address
    ));
    let mut client = Client::connect(gateway.address);
    let failures = (0..100).filter(|_| client.get("/").expect("an answer").status == 500).count();
    assert_eq!(failures, 3);
    pause(1_200);
    let failures = (0..40).filter(|_| client.get("/").expect("an answer").status == 500).count();
    assert_eq!(failures, 3, "it is tried again after its time");
}

#[test]
fn a_connection_after_an_odd_answer_is_never_used_again() {
    for odd in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nrest",
    ] {
        let upstream = Upstream::scripted(move |_| Some(odd.to_vec()));
        let gateway = gateway(&format!("endpoints: [{{address: \"{}\"}}]", upstream.address));
        let mut client = Client::connect(gateway.address);
        for _ in 0..4 {
            assert_eq!(client.get("/").expect("an answer").text(), "ok");
        }
        assert_eq!(upstream.connections(), 4, "{}", String::from_utf8_lossy(odd));
    }
}

#[test]
fn answers_of_more_than_one_meaning_are_502() {
    for bad in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx y: z\r\n\r\n",
    ] {
        let upstream = Upstream::scripted(move |_| Some(bad.to_vec()));
        let gateway = gateway(&format!(
            "endpoints: [{{address: \"{}\"}}], retry: {{maxAttempts: 1}}",
            upstream.address
        ));
        let answer = gateway.get("/");
        assert_eq!(
            (answer.status, answer.problem().as_deref()),
            (502, Some("bad-upstream-answer")),
            "{}",
            String::from_utf8_lossy(bad)
        );
    }
}

#[test]
fn connections_are_kept_within_their_bounds() {
    let upstream = Upstream::fixed(200, "ok");
    let ask = |pool: &str, count: usize| {
        let gateway = Gateway::start(&format!(
            "runtime: {{workers: 1}}
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}], pool: {{{pool}}}}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}]\n",
            upstream.address
        ));
        let before = upstream.connections();
        for _ in 0..count {
            assert_eq!(gateway.get("/").status, 200);
        }
        upstream.connections() - before
    };
    assert_eq!(ask("", 20), 1);
    assert_eq!(ask("maxRequests: 5", 20), 4);
    assert_eq!(ask("maxIdlePerWorker: 0", 5), 5);
}

#[test]
fn a_stale_connection_costs_nobody_an_answer() {
    // Each connection serves one request and is closed a moment later, while it idles in the pool.
    let upstream = Upstream::raw(|mut reader, seen| {
        use std::io::Write;
        if let Some(request) = super::harness::read_request(&mut reader) {
            seen.lock().expect("not poisoned").push(request);
            let _ = reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            pause(3);
        }
    });
    let gateway =
        gateway(&format!("endpoints: [{{address: \"{}\"}}], retry: {{maxAttempts: 1}}", upstream.address));
    let mut client = Client::connect(gateway.address);
    for at in 0..200 {
        assert_eq!(client.get("/").expect("an answer").status, 200, "request {at}");
        pause(at % 6);
    }
}

#[test]
fn a_sticky_client_stays_and_a_forged_cookie_is_ignored() {
    let all: Vec<_> = (0..3).map(|at| Upstream::fixed(200, &at.to_string())).collect();
    let endpoints: Vec<_> = all.iter().map(|one| format!("{{address: \"{}\"}}", one.address)).collect();
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}], sticky: {{cookie: {{name: stick, secret: a-long-enough-secret-of-the-test}}}}}}]\n",
        endpoints.join(", ")
    ));
    let first = gateway.get("/");
    let cookie = first.header("set-cookie").expect("a cookie").split(';').next().expect("a pair").to_owned();
    assert!(
        first
            .header("set-cookie")
            .is_some_and(|cookie| cookie.contains("HttpOnly") && cookie.contains("SameSite"))
    );
    let ask = |cookie: &str| gateway.send(&format!("GET / HTTP/1.1\nhost: a\ncookie: x=1; {cookie}"), b"");
    for _ in 0..30 {
        assert_eq!(ask(&cookie).text(), first.text());
    }
    let forged: Vec<_> = (0..30).map(|_| ask("stick=AAAAAAAAAAAAAAAAAAAAAAAA").text()).collect();
    assert!(forged.iter().any(|text| *text != first.text()), "a forged cookie decides nothing");
}

#[test]
fn an_unknown_name_is_503_and_a_slow_start_is_no_failure() {
    let gateway = gateway("endpoints: [{address: \"no-such-host.invalid:80\"}], timeouts: {request: 4s}");
    let start = Instant::now();
    let answer = gateway.get("/");
    assert!([502, 503].contains(&answer.status), "{}", answer.status);
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn rolling_restarts_of_all_endpoints_lose_nothing() {
    let ports: Vec<_> = (0..3).map(|_| free_port()).collect();
    let mut servers: Vec<_> = ports.iter().map(|port| Some(Upstream::on(local(*port), |_| ok()))).collect();
    let endpoints: Vec<_> = ports.iter().map(|port| format!("{{address: \"127.0.0.1:{port}\"}}")).collect();
    let gateway = gateway(&format!(
        "endpoints: [{}], healthCheck: {{path: /, interval: 50ms, timeout: 200ms, healthyThreshold: 1, unhealthyThreshold: 1}}, retry: {{maxAttempts: 3}}",
        endpoints.join(", ")
    ));
    let (stop, failed, total) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let load = {
        let (stop, failed, total, address) = (stop.clone(), failed.clone(), total.clone(), gateway.address);
        std::thread::spawn(move || {
            let mut client = Client::connect(address);
            while !stop.load(Ordering::Relaxed) {
                let good = client.get("/").is_some_and(|answer| answer.status == 200);
                failed.fetch_add(usize::from(!good), Ordering::Relaxed);
                total.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    for (server, port) in servers.iter_mut().zip(&ports) {
        pause(200);
        drop(server.take());
        pause(300);
        *server = Some(Upstream::on(local(*port), |_| ok()));
        pause(300);
    }
    stop.store(true, Ordering::Relaxed);
    load.join().expect("load");
    assert_eq!(failed.load(Ordering::Relaxed), 0, "of {}", total.load(Ordering::Relaxed));
    assert!(total.load(Ordering::Relaxed) > 200);
}

#[test]
fn a_switch_of_protocols_that_nobody_asked_for_is_no_tunnel() {
    let upstream = Upstream::scripted(|_| Some(b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec()));
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}]\n",
        upstream.address
    ));
    let mut client = Client::connect(gateway.address);
    let answer = client.get("/first").expect("an answer");
    assert_eq!((answer.status, answer.problem().as_deref()), (502, Some("bad-upstream-answer")));
    client.write("GET /second HTTP/1.1\r\nhost: a\r\n\r\n");
    let _ = client.read();
    assert!(upstream.seen().iter().all(|seen| seen.header("x-request-id").is_some()), "past the gateway");
}
