//! Connections to upstreams: kept within bounds, and never used again after an odd answer.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{endpoints, gateway, gateway_of_one_worker, ok};
use crate::harness::{Client, Gateway, Upstream, eventually, pause, read_request};

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
        if let Some(request) = read_request(&mut reader) {
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
fn old_and_idle_connections_are_closed() {
    for pool in ["maxAge: 300ms", "idleTimeout: 300ms"] {
        let upstream = Upstream::fixed(200, "ok");
        let gateway = gateway_of_one_worker(&format!("{}, pool: {{{pool}}}", endpoints([&upstream])));
        for _ in 0..3 {
            assert_eq!(gateway.get("/").status, 200);
        }
        assert_eq!(upstream.connections(), 1, "{pool}");
        pause(600);
        assert_eq!(gateway.get("/").status, 200);
        assert_eq!(upstream.connections(), 2, "{pool}");
    }
}

/// An upstream that answers, and counts the connections that were closed on it.
fn closings() -> (Upstream, Arc<AtomicUsize>) {
    let closed = Arc::new(AtomicUsize::new(0));
    let counted = closed.clone();
    let upstream = Upstream::raw(move |mut reader, seen| {
        while let Some(request) = read_request(&mut reader) {
            seen.lock().expect("not poisoned").push(request);
            let _ = reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
        counted.fetch_add(1, Ordering::Relaxed);
    });
    (upstream, closed)
}

#[test]
fn idle_connections_are_closed_without_another_call_when_their_time_is_over_or_nothing_refers_to_them() {
    let ((idle, of_idle), (leaving, of_leaving), (kept, of_kept)) = (closings(), closings(), closings());
    let listener = crate::harness::free_port();
    let text = |gone: bool, pool: &str| {
        let second = if gone { String::new() } else { format!(", {{address: \"{}\"}}", leaving.address) };
        format!(
            "listeners: [{{name: public, address: \"127.0.0.1:{listener}\"}}]
upstreams:
  - {{name: a, {}, pool: {{{pool}}}}}
  - {{name: b, endpoints: [{{address: \"{}\"}}{second}], pool: {{idleTimeout: 10m}}}}
routes:
  - {{name: a, match: [{{path: {{prefix: /a}}}}], backends: [{{upstream: a}}]}}
  - {{name: b, match: [{{path: {{prefix: /b}}}}], backends: [{{upstream: b}}]}}\n",
            endpoints([&idle]),
            kept.address
        )
    };
    let gateway = Gateway::from_text(&text(false, "idleTimeout: 200ms"), super::local(listener), |_| {});
    let counts = || [&of_idle, &of_leaving, &of_kept].map(|count| count.load(Ordering::Relaxed));
    assert_eq!(gateway.get("/a").status, 200);
    let mut client = Client::connect(gateway.address);
    for _ in 0..2 {
        assert_eq!(client.get("/b").expect("an answer").status, 200);
    }
    eventually("the one whose time is over is closed", || counts() == [1, 0, 0]);
    gateway.reload(&text(true, "idleTimeout: 10m"));
    eventually("the one to an endpoint that is gone is closed", || counts() == [1, 1, 0]);
    // Another way to reach an endpoint makes connections of the old one useless.
    assert_eq!(gateway.get("/a").status, 200);
    let other_way = text(true, "idleTimeout: 10m").replacen("{name: a, ", "{name: a, proxyProtocol: v1, ", 1);
    assert_eq!(gateway.reload(&other_way)["lastReload"], "ok");
    eventually("the one that was opened in another way is closed", || counts() == [2, 1, 0]);
    assert_eq!(client.get("/b").expect("an answer").status, 200);
    assert_eq!((kept.connections(), counts()), (1, [2, 1, 0]), "the others are still in use");
}

#[test]
fn an_answer_before_the_request_has_ended_is_delivered_and_its_connection_is_not_used_again() {
    // The upstream answers as soon as it has the head, and reads no body.
    let upstream = Upstream::raw(|mut reader, seen| {
        use std::io::BufRead;
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
            line.clear();
        }
        seen.lock().expect("not poisoned").push(Default::default());
        let _ = reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly");
        pause(2_000);
    });
    let gateway = gateway_of_one_worker(&endpoints([&upstream]));
    for number in 1..=3 {
        let mut client = Client::connect(gateway.address);
        client.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n");
        client.write(vec![b'x'; 1000]);
        assert_eq!(client.read().expect("an answer").text(), "early");
        drop(client);
        assert_eq!(upstream.connections(), number);
    }
}

#[test]
fn an_answer_that_the_client_did_not_read_to_its_end_closes_the_connection() {
    let upstream = Upstream::raw(|mut reader, seen| {
        while let Some(request) = read_request(&mut reader) {
            seen.lock().expect("not poisoned").push(request.clone());
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 50000000\r\n\r\n";
            let answer: &[u8] = if request.target() == "/large" {
                head
            } else {
                b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
            };
            if reader.get_mut().write_all(answer).is_err() {
                return;
            }
            if request.target() == "/large" {
                while reader.get_mut().write_all(&[b'x'; 16_384]).is_ok() {}
                return;
            }
        }
    });
    let gateway = gateway_of_one_worker(&endpoints([&upstream]));
    let mut client = Client::connect(gateway.address);
    client.write("GET /large HTTP/1.1\r\nhost: a\r\n\r\n");
    client.read_bytes(1000);
    drop(client);
    for _ in 0..3 {
        assert_eq!(gateway.get("/").text(), "ok");
    }
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn an_answer_without_an_end_of_its_own_ends_with_its_connection() {
    let upstream = Upstream::raw(|mut reader, seen| {
        if let Some(request) = read_request(&mut reader) {
            seen.lock().expect("not poisoned").push(request);
            let _ = reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\n\r\nuntil the end");
        }
    });
    let gateway = gateway_of_one_worker(&endpoints([&upstream]));
    for number in 1..=3 {
        assert_eq!(gateway.get("/").text(), "until the end");
        assert_eq!(upstream.connections(), number);
    }
}

#[test]
fn an_upstream_that_answers_unasked_is_not_believed() {
    // A second answer that comes later, while the connection idles, must not meet the next request.
    let upstream = Upstream::raw(|mut reader, seen| {
        while let Some(request) = read_request(&mut reader) {
            seen.lock().expect("not poisoned").push(request);
            let _ = reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            pause(50);
            let _ = reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil");
        }
    });
    let gateway = gateway_of_one_worker(&endpoints([&upstream]));
    for _ in 0..5 {
        assert_eq!(gateway.get("/").text(), "ok");
        pause(120);
    }
    assert_eq!(upstream.connections(), 5);
}

#[test]
fn each_worker_keeps_its_own_connections() {
    let upstream = Upstream::scripted(|_| {
        pause(20);
        ok()
    });
    let gateway =
        Gateway::start(&format!("runtime: {{workers: 2}}\n{}", super::config(&endpoints([&upstream]))));
    let mut clients: Vec<_> = (0..8).map(|_| Client::connect(gateway.address)).collect();
    for _ in 0..10 {
        clients.iter_mut().for_each(|client| client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
        assert!(clients.iter_mut().all(|client| client.read().is_some_and(|answer| answer.status == 200)));
    }
    let connections = upstream.connections();
    assert!((8..=12).contains(&connections), "80 requests, 8 at a time, took {connections} connections");
}

#[test]
fn an_answer_with_trailers_does_not_cost_its_connection() {
    let upstream = Upstream::scripted(|_| {
        let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n";
        Some(answer.to_vec())
    });
    let gateway = gateway_of_one_worker(&endpoints([&upstream]));
    let mut client = Client::connect(gateway.address);
    for _ in 0..5 {
        assert_eq!(client.get("/").expect("an answer").trailers, [("x-sum".into(), "1".into())]);
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn changed_bounds_hold_for_connections_that_are_kept_already() {
    let upstream = Upstream::fixed(200, "ok");
    let listener = crate::harness::free_port();
    let text = |pool: &str| {
        format!(
            "listeners: [{{name: public, address: \"127.0.0.1:{listener}\"}}]\nruntime: {{workers: 1}}\n{}",
            super::config(&format!("{}, pool: {{{pool}}}", endpoints([&upstream])))
        )
    };
    let gateway = Gateway::from_text(&text("idleTimeout: 10m"), super::local(listener), |_| {});
    assert_eq!(gateway.get("/").status, 200);
    gateway.reload(&text("idleTimeout: 100ms"));
    pause(2_500);
    assert_eq!(gateway.get("/").status, 200);
    assert_eq!(upstream.connections(), 2, "the first had idled for too long");
    gateway.reload(&text("maxRequests: 1"));
    pause(1_500);
    let before = upstream.connections();
    for _ in 0..3 {
        assert_eq!(gateway.get("/").status, 200);
    }
    assert_eq!(upstream.connections() - before, 3);
}
