//! A process that is told to end: readiness fails first, then connections end, each in its way, before the deadline.

use std::{
    future::poll_fn,
    io::Write,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::super::harness::{Client, Gateway, Upstream, eventually, get, pause, read_request};

/// An upstream whose answers begin at once and end after `millis`.
fn slow(millis: u64) -> Upstream {
    Upstream::raw(move |mut reader, seen| {
        while let Some(request) = read_request(&mut reader) {
            seen.lock().expect("not poisoned").push(request);
            let stream = reader.get_mut();
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345").is_err() {
                return;
            }
            pause(millis);
            if stream.write_all(b"67890").is_err() {
                return;
            }
        }
    })
}

fn gateway(shutdown: &str, upstream: &Upstream) -> Gateway {
    Gateway::start(&format!(
        "shutdown: {{{shutdown}}}
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}]\n",
        upstream.address
    ))
}

#[test]
fn readiness_fails_before_the_listener_closes() {
    let upstream = Upstream::fixed(200, "ok");
    let mut gateway = gateway("drainDelay: 2s", &upstream);
    gateway.signal("TERM");
    eventually("readiness fails", || {
        get(gateway.admin, "/readyz").is_some_and(|answer| answer.status == 503)
    });
    let answer = gateway.get("/");
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert_eq!(gateway.wait().code(), Some(0));
    assert!(get(gateway.address, "/").is_none(), "nobody listens any more");
}

#[test]
fn a_request_in_flight_ends_and_so_does_its_connection() {
    let upstream = slow(1_000);
    let mut gateway = gateway("deadline: 20s", &upstream);
    let mut client = Client::connect(gateway.address);
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("the request is on its way", || !upstream.seen().is_empty());
    gateway.signal("TERM");
    assert_eq!(client.read().expect("the whole answer").text(), "1234567890");
    assert!(client.is_closed());
    assert_eq!(gateway.wait().code(), Some(0));
    assert!(!gateway.stderr().contains("ended calls"), "{}", gateway.stderr());
}

#[test]
fn a_kept_connection_is_told_to_close_with_its_next_answer() {
    let upstream = Upstream::fixed(200, "ok");
    let mut gateway = gateway("idleGrace: 15s", &upstream);
    let mut client = Client::connect(gateway.address);
    assert_eq!(client.get("/").expect("an answer").header("connection"), None);
    gateway.signal("TERM");
    eventually("the listener is closed", || get(gateway.address, "/").is_none());
    let answer = client.get("/").expect("an answer while draining");
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(client.is_closed());
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn an_idle_connection_is_closed_after_its_grace_and_holds_up_nothing() {
    let upstream = Upstream::fixed(200, "ok");
    let mut gateway = gateway("idleGrace: 500ms, deadline: 1h", &upstream);
    let (mut used, mut fresh) = (Client::connect(gateway.address), Client::connect(gateway.address));
    assert_eq!(used.get("/").expect("an answer").status, 200);
    let start = Instant::now();
    gateway.signal("TERM");
    assert!(used.is_closed() && start.elapsed() > Duration::from_millis(400), "{:?}", start.elapsed());
    assert!(fresh.is_closed());
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn connections_that_wait_to_be_accepted_are_answered() {
    let mut gateway = Gateway::start(
        "runtime: {workers: 1}
routes: [{name: r, match: [{path: {prefix: /}}], respond: {body: ok}}]\n",
    );
    gateway.signal("STOP");
    // More than a worker accepts before it hears of anything else.
    let mut waiting: Vec<_> = (0..600)
        .map(|_| {
            let mut client = Client::connect(gateway.address);
            client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
            client
        })
        .collect();
    gateway.signal("TERM");
    gateway.signal("CONT");
    let answered = waiting.iter_mut().filter_map(Client::read).filter(|answer| answer.status == 200).count();
    assert_eq!(answered, waiting.len());
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn http2_says_goaway_and_open_streams_end() {
    let upstream = slow(1_500);
    let mut gateway = gateway("deadline: 20s", &upstream);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(gateway.address).await.expect("a connection");
        let (mut send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        let connection = tokio::spawn(connection);
        let request = http::Request::get("http://a.test/").body(()).expect("a request");
        let (response, _) = send.send_request(request, true).expect("a stream");
        let mut body = response.await.expect("a head").into_body();
        gateway.signal("TERM");
        let mut text = Vec::new();
        while let Some(data) = body.data().await {
            let data: Bytes = data.expect("the stream is not cut");
            text.extend_from_slice(&data);
        }
        assert_eq!(text, b"1234567890");
        let refused = poll_fn(|cx| send.poll_ready(cx)).await;
        let refused = refused.expect_err("no further stream");
        assert!(refused.is_go_away() && refused.reason() == Some(h2::Reason::NO_ERROR), "{refused:?}");
        connection.await.expect("a task").expect("a clean end");
    });
    assert_eq!(gateway.wait().code(), Some(0));
}

/// An upstream that switches protocols and then echoes.
fn echo() -> Upstream {
    Upstream::raw(|mut reader, _| {
        use std::io::Read;
        if read_request(&mut reader).is_none_or(|request| request.header("upgrade").is_none()) {
            return;
        }
        let head = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        reader.get_mut().write_all(head).expect("written");
        let mut byte = [0];
        while reader.read_exact(&mut byte).is_ok() && reader.get_mut().write_all(&byte).is_ok() {}
    })
}

const UPGRADE: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
     sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn web_socket(gateway: &Gateway) -> Client {
    let mut client = Client::connect(gateway.address);
    client.write(UPGRADE);
    while client.read_line() != "\r\n" {}
    client.write("a");
    assert_eq!(client.read_bytes(1), b"a");
    client
}

#[test]
fn a_web_socket_lives_until_the_deadline_and_is_then_closed() {
    let upstream = echo();
    let mut gateway = gateway("deadline: 2s", &upstream);
    let mut client = web_socket(&gateway);
    let start = Instant::now();
    gateway.signal("TERM");
    eventually("the listener is closed", || get(gateway.address, "/").is_none());
    client.write("b");
    assert_eq!(client.read_bytes(1), b"b", "it lives on");
    assert!(client.is_closed());
    assert!(start.elapsed() >= Duration::from_millis(1_900), "{:?}", start.elapsed());
    assert_eq!(gateway.wait().code(), Some(0), "a deadline is no failure");
    assert!(gateway.stderr().contains("ended calls that were still in flight"), "{}", gateway.stderr());
}

#[test]
fn a_second_signal_ends_at_once_with_a_code_of_its_own() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let upstream = echo();
        let mut gateway = gateway("deadline: 1h, drainDelay: 1h", &upstream);
        let mut client = web_socket(&gateway);
        gateway.signal("TERM");
        eventually("readiness fails", || {
            get(gateway.admin, "/readyz").is_none_or(|ready| ready.status == 503)
        });
        gateway.signal(signal);
        assert_eq!(gateway.wait().code(), Some(code));
        assert!(client.is_closed());
    }
}
