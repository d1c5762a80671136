//! Timeouts: each bounds its own part of a call, and is told as 504.

use std::{
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use super::{endpoints, gateway, ok, timed};
use crate::harness::{Client, Upstream, eventually, pause, read_request};

const SOON: Duration = Duration::from_secs(4);

/// An address that takes connections no further than the kernel's queue, which is full.
fn black_hole() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&super::local(0).into()).expect("a port");
    socket.listen(1).expect("a listener");
    let listener: TcpListener = socket.into();
    let address = listener.local_addr().expect("an address");
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        queued.push(stream);
    }
    (address, listener, queued)
}

#[test]
fn connect_bounds_the_opening_of_a_connection() {
    let (address, _listener, _queued) = black_hole();
    let gateway = gateway(&format!(
        "endpoints: [{{address: \"{address}\"}}], timeouts: {{connect: 200ms}}, retry: {{maxAttempts: 1}}"
    ));
    let (answer, took) = timed(|| gateway.get("/"));
    assert_eq!((answer.status, answer.problem().as_deref()), (504, Some("upstream-timeout")));
    assert!(took < SOON, "{took:?}");
    let record = gateway.records(1).remove(0);
    assert_eq!(
        (&record["failure"]["side"], &record["failure"]["stage"]),
        (&"upstream".into(), &"connect".into())
    );
}

#[test]
fn request_bounds_the_opening_of_a_connection_too() {
    let (address, _listener, _queued) = black_hole();
    let gateway = gateway(&format!(
        "endpoints: [{{address: \"{address}\"}}], timeouts: {{connect: 20s, request: 300ms}}"
    ));
    let (answer, took) = timed(|| gateway.get("/"));
    assert_eq!((answer.status, answer.problem().as_deref()), (504, Some("upstream-timeout")));
    assert!(took < SOON, "{took:?}");
}

#[test]
fn tls_bounds_the_handshake() {
    // Takes connections and says nothing.
    let upstream = Upstream::raw(|_reader, _| pause(10_000));
    let gateway = gateway(&format!(
        "{}, tls: {{verify: false}}, timeouts: {{tls: 200ms}}, retry: {{maxAttempts: 1}}",
        endpoints([&upstream])
    ));
    let (answer, took) = timed(|| gateway.get("/"));
    assert_eq!((answer.status, answer.problem().as_deref()), (504, Some("upstream-timeout")));
    assert!(took < SOON, "{took:?}");
    assert_eq!(gateway.records(1)[0]["failure"]["stage"], "tls");
}

#[test]
fn per_try_bounds_each_try_and_request_all_of_them() {
    let upstream = Upstream::scripted(|_| {
        pause(10_000);
        ok()
    });
    let gateway = gateway(&format!(
        "{}, timeouts: {{perTry: 200ms, request: 500ms}}, retry: {{maxAttempts: 9, on: [timeout], backoff: {{initial: 1ms, max: 1ms}}}}",
        endpoints([&upstream])
    ));
    let (answer, took) = timed(|| gateway.get("/"));
    assert_eq!((answer.status, answer.problem().as_deref()), (504, Some("upstream-timeout")));
    assert!(took >= Duration::from_millis(400) && took < SOON, "{took:?}");
    let tries = upstream.seen().len();
    assert!((2..=3).contains(&tries), "{tries} tries of 200 ms fit into 500 ms");
}

/// An upstream that answers a head at once and then a byte every so many milliseconds, so many times.
fn dripping(count: usize, every: u64) -> Upstream {
    Upstream::raw(move |mut reader, seen| {
        if let Some(request) = read_request(&mut reader) {
            seen.lock().expect("not poisoned").push(request);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {count}\r\n\r\n");
            let _ = reader.get_mut().write_all(head.as_bytes());
            for _ in 0..count {
                pause(every);
                if reader.get_mut().write_all(b"x").is_err() {
                    return;
                }
            }
        }
    })
}

#[test]
fn what_streams_after_the_head_is_not_cut_by_request() {
    let upstream = dripping(10, 80);
    let gateway = gateway(&format!(
        "{}, timeouts: {{perTry: 200ms, request: 300ms, idle: 10s}}",
        endpoints([&upstream])
    ));
    let (answer, took) = timed(|| gateway.get("/"));
    assert_eq!((answer.status, answer.text().len()), (200, 10));
    assert!(took > Duration::from_millis(700), "{took:?}");
}

#[test]
fn idle_ends_an_answer_that_stalls() {
    let upstream = dripping(2, 30_000);
    let gateway = gateway(&format!("{}, timeouts: {{idle: 300ms}}", endpoints([&upstream])));
    let mut client = Client::connect(gateway.address);
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let (answer, took) = timed(|| client.read());
    assert!(answer.is_none(), "it is cut, so that nobody takes it for whole");
    assert!(took < SOON, "{took:?}");
    let record = gateway.records(1).remove(0);
    assert_eq!(
        (&record["failure"]["stage"], &record["failure"]["reason"]),
        (&"body".into(), &"upstream-timeout".into())
    );
}

#[test]
fn total_bounds_the_whole_exchange() {
    let upstream = dripping(1_000, 50);
    let gateway = gateway(&format!("{}, timeouts: {{total: 500ms}}", endpoints([&upstream])));
    let mut client = Client::connect(gateway.address);
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let (answer, took) = timed(|| client.read());
    assert!(answer.is_none(), "it is cut");
    assert!(took >= Duration::from_millis(400) && took < SOON, "{took:?}");
    eventually("the upstream is let go", || super::endpoint_states(&gateway)[0]["inFlight"] == 0);
}

#[test]
fn a_route_overrides_the_timeouts_of_its_upstream() {
    let upstream = Upstream::scripted(|_| {
        pause(600);
        ok()
    });
    let gateway = crate::harness::Gateway::start(&format!(
        "upstreams: [{{name: u, {}, timeouts: {{request: 200ms}}}}]
routes:
  - {{name: patient, match: [{{path: {{prefix: /patient}}}}], backends: [{{upstream: u}}], timeouts: {{request: 20s}}}}
  - {{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}\n",
        endpoints([&upstream])
    ));
    assert_eq!(gateway.get("/patient").status, 200);
    assert_eq!(gateway.get("/hasty").status, 504);
}

/// Sends a body in pieces with pauses, on a thread of its own, while it is taken.
fn drip(client: &Client, pieces: usize, bytes: usize, millis: u64) {
    let mut stream = client.stream().try_clone().expect("a socket");
    std::thread::spawn(move || {
        for _ in 0..pieces {
            if stream.write_all(&vec![b'x'; bytes]).is_err() {
                return;
            }
            pause(millis);
        }
    });
}

#[test]
fn a_body_that_trickles_does_not_stop_the_clock() {
    for protocol in ["http1", "http2"] {
        let upstream = crate::harness::h2::Upstream::echo();
        let plain = Upstream::fixed(200, "ok");
        let address = if protocol == "http2" { upstream.address } else { plain.address };
        for limit in ["request: 1s", "perTry: 1s, request: 60s"] {
            let gateway = gateway(&format!(
                "endpoints: [{{address: \"{address}\"}}], protocol: {protocol}, timeouts: {{{limit}}}"
            ));
            let mut client = Client::connect(gateway.address);
            client.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n");
            drip(&client, 300, 1, 50);
            let (answer, took) = timed(|| client.read().expect("an answer"));
            assert_eq!(answer.problem().as_deref(), Some("request-timeout"), "{protocol} {limit}");
            assert!(took >= Duration::from_millis(900) && took < SOON, "{protocol} {limit}: {took:?}");
            // It is the client's doing: nobody else is blamed.
            assert_eq!(gateway.records(1)[0]["failure"]["side"], "client");
        }
    }
}

#[test]
fn a_long_upload_is_not_cut_by_request() {
    for protocol in ["http1", "http2"] {
        let upstream = crate::harness::h2::Upstream::echo();
        let plain = Upstream::fixed(200, "ok");
        let address = if protocol == "http2" { upstream.address } else { plain.address };
        let gateway = gateway(&format!(
            "endpoints: [{{address: \"{address}\"}}], protocol: {protocol}, timeouts: {{request: 1s}}"
        ));
        let mut client = Client::connect(gateway.address);
        client.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 40000\r\n\r\n");
        drip(&client, 20, 2000, 150);
        let (answer, took) = timed(|| client.read().expect("an answer"));
        assert_eq!(answer.status, 200, "{protocol}");
        assert!(took >= Duration::from_millis(2500), "{took:?}");
    }
}

#[test]
fn an_upstream_that_takes_the_body_but_never_answers_is_bounded_from_its_end() {
    let upstream = Upstream::raw(|mut reader, _| {
        let _ = read_request(&mut reader);
        pause(30_000);
    });
    let gateway = gateway(&format!("{}, timeouts: {{request: 1s}}", endpoints([&upstream])));
    let mut client = Client::connect(gateway.address);
    client.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8000\r\n\r\n");
    drip(&client, 4, 2000, 150);
    let (answer, took) = timed(|| client.read().expect("an answer"));
    assert_eq!(answer.problem().as_deref(), Some("upstream-timeout"));
    assert!(took < SOON, "{took:?}");
}
