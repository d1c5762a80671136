//! WebSocket: by Upgrade on HTTP/1.1 and by extended CONNECT on HTTP/2 (RFC 8441), with real peers and byte by byte.

mod http2;

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use bytes::Bytes;

use super::{
    super::harness::{
        Client, Gateway, Peer, Seen, Upstream, eventually, free_port, h2, pause, python, read_request,
    },
    front, front_with,
};

const ASK: &str = "GET /chat HTTP/1.1\r\nhost: a.test\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The answer to a key (RFC 6455 §4.2.2).
fn accept(seen: &Seen) -> String {
    let key = seen.header("sec-websocket-key").expect("a key");
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest)
}

fn agreement(seen: &Seen) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {}\r\n\r\n",
        accept(seen)
    )
}

/// An upstream that agrees, and then does as a function says.
fn tunnel(then: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> Upstream {
    Upstream::raw(move |mut reader, seen| {
        if let Some(request) = read_request(&mut reader) {
            let agreement = agreement(&request);
            seen.lock().expect("not poisoned").push(request);
            let _ = reader.get_mut().write_all(agreement.as_bytes());
            then(reader.get_mut());
        }
    })
}

fn echo(stream: &mut TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        let _ = stream.write_all(&buffer[..count]);
    }
    let _ = stream.write_all(b"bye");
}

/// A client behind the 101.
fn upgraded(gateway: &Gateway) -> Client {
    let mut client = Client::connect(gateway.address);
    client.write(ASK);
    assert!(client.read_line().starts_with("HTTP/1.1 101"));
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && head != "\r\n" {
        head.push_str(&client.read_line());
    }
    let head = head.to_ascii_lowercase();
    assert!(head.contains("connection: upgrade") && head.contains("upgrade: websocket"), "{head}");
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    client
}

#[test]
fn real_peers_talk_and_close_with_their_codes() {
    let port = free_port();
    let mut server = Peer::start(python(include_str!("websocket_server.py"), &[&port.to_string()]));
    assert_eq!(server.line().as_deref(), Some("ready"));
    let gateway = front_with(
        "limits: {idleTimeout: 500ms, bodyTimeout: 500ms, headerTimeout: 500ms}",
        SocketAddr::from(([127, 0, 0, 1], port)),
        "timeouts: {request: 500ms, perTry: 500ms, idle: 500ms}",
        "",
    );
    let address = gateway.address.to_string();
    let client = Peer::start(python(include_str!("websocket_client.py"), &[&address]));
    let (ended_well, text) = client.finish();
    assert!(ended_well && text.trim_end() == "ok", "{text}\n{}", gateway.stderr());
    assert_eq!(server.line().as_deref(), Some("closed 4001"));
    assert_eq!(server.line().as_deref(), Some("closed 4002"));
}

#[test]
fn a_tunnel_that_cannot_be_opened_at_one_endpoint_is_opened_at_another() {
    let upstream = tunnel(echo);
    let gateway = Gateway::start(&format!(
        "runtime: {{workers: 1}}
accessLog: [{{kind: stdout, format: json}}]
upstreams: [{{name: u, endpoints: [{{address: \"127.0.0.1:{}\"}}, {{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}]
",
        free_port(),
        upstream.address
    ));
    // Each is the first once; the dead one is passed over, and out of the picks for a while then.
    for _ in 0..2 {
        let mut client = upgraded(&gateway);
        client.write("to and fro");
        assert_eq!(client.read_bytes(10), b"to and fro");
    }
    let attempts: u64 = gateway.records(2).iter().filter_map(|record| record["attempts"].as_u64()).sum();
    assert!(attempts > 2, "the dead endpoint was asked too: {attempts}");
}

#[test]
fn bytes_that_come_with_the_101_are_kept() {
    let upstream = Upstream::raw(|mut reader, _| {
        if let Some(request) = read_request(&mut reader) {
            let both = format!("{}first words", agreement(&request));
            let _ = reader.get_mut().write_all(both.as_bytes());
            let _ = reader.read(&mut [0]);
        }
    });
    let gateway = front(upstream.address);
    assert_eq!(upgraded(&gateway).read_bytes(11), b"first words");
    h2::run(async {
        let (_send, mut body) = extended(&gateway).await;
        assert_eq!(take(&mut body, 11).await, b"first words");
    });
}

#[test]
fn nothing_flows_as_a_tunnel_before_the_101() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let upstream = Upstream::raw(move |mut reader, _| {
        let Some(request) = read_request(&mut reader) else { return };
        let stream = reader.get_mut();
        stream.set_read_timeout(Some(Duration::from_millis(400))).expect("a timeout");
        let _ = tell.lock().expect("not poisoned").send(stream.read(&mut [0; 100]).is_ok());
        let _ = stream.write_all(agreement(&request).as_bytes());
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        let mut early = [0; 5];
        let _ = stream.read_exact(&mut early);
        let _ = stream.write_all(&early);
    });
    let gateway = front(upstream.address);
    let mut client = Client::connect(gateway.address);
    client.write(format!("{ASK}early"));
    assert_eq!(told.recv(), Ok(false), "the upstream saw bytes before it agreed");
    while client.read_line() != "\r\n" {}
    assert_eq!(client.read_bytes(5), b"early");
}

#[test]
fn an_upstream_that_does_not_agree_stays_http() {
    let upstream = Upstream::fixed(200, "no tunnel");
    let gateway = front(upstream.address);
    let mut client = Client::connect(gateway.address);
    client.write(ASK);
    assert_eq!(client.read().expect("an answer").text(), "no tunnel");
    // What comes next is a request and not a frame.
    assert_eq!(client.get("/next").expect("an answer").status, 200);
    client.write(format!("{ASK}\u{1}\u{2}garbage\r\n\r\n"));
    assert_eq!(client.read().expect("an answer").status, 200);
    assert_eq!(client.read().expect("an answer").status, 400);
    assert!(upstream.seen().iter().all(|seen| seen.body.is_empty()));
    // On HTTP/2 a 200 would open the tunnel, so it is not passed.
    h2::run(async {
        let answer = h2::read_answer(ask_extended(&gateway).await.1).await.expect("an answer");
        assert_eq!(answer.status, 502, "{answer:?}");
    });
    let refusing = Upstream::fixed(403, "no");
    let gateway = front(refusing.address);
    h2::run(async {
        let answer = h2::read_answer(ask_extended(&gateway).await.1).await.expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
    });
}

#[test]
fn a_101_that_nobody_asked_for_is_a_broken_answer() {
    let upstream = Upstream::scripted(|_| {
        Some(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n".to_vec(),
        )
    });
    let gateway = front(upstream.address);
    let answer = gateway.get("/");
    assert_eq!((answer.status, answer.problem().as_deref()), (502, Some("bad-upstream-answer")));
    h2::run(async {
        let client = h2::Client::connect(gateway.address).await;
        assert_eq!(client.get("/").await.expect("an answer").status, 502);
    });
}

#[test]
fn an_end_on_one_side_reaches_the_other_and_leaves_the_way_back_open() {
    let upstream = tunnel(echo);
    let gateway = front(upstream.address);
    let mut client = upgraded(&gateway);
    client.write("hi");
    assert_eq!(client.read_bytes(2), b"hi");
    client.stream().shutdown(Shutdown::Write).expect("half closed");
    assert_eq!(client.read_bytes(3), b"bye");
    assert!(client.is_closed());

    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let upstream = tunnel(move |stream| {
        let _ = stream.write_all(b"bye");
        let _ = stream.shutdown(Shutdown::Write);
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        let _ = tell.lock().expect("not poisoned").send(rest);
    });
    let gateway = front(upstream.address);
    let mut client = upgraded(&gateway);
    assert_eq!(client.read_bytes(3), b"bye");
    assert!(client.is_closed(), "the upstream's end is the client's");
    client.write("last words");
    client.stream().shutdown(Shutdown::Write).expect("closed");
    assert_eq!(told.recv().expect("an upstream"), b"last words");
    eventually("no connection is left", || gateway.metric("tidegate_connections") == Some(0.0));
}

#[test]
fn a_client_that_vanishes_ends_the_tunnel() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let upstream = tunnel(move |stream| {
        let _ = stream.read(&mut [0]);
        let _ = tell.lock().expect("not poisoned").send(());
    });
    let gateway = front(upstream.address);
    drop(upgraded(&gateway));
    told.recv_timeout(Duration::from_secs(10)).expect("the end reaches the upstream");
    h2::run(async {
        let (mut send, _body) = extended(&gateway).await;
        send.send_reset(::h2::Reason::CANCEL);
        tokio::time::sleep(Duration::from_millis(100)).await;
    });
    told.recv_timeout(Duration::from_secs(10)).expect("the reset reaches the upstream");
}

#[test]
fn a_slow_reader_pushes_back_through_the_tunnel() {
    const LARGE: u64 = 200 << 20;
    let sent = Arc::new(AtomicU64::new(0));
    let count = sent.clone();
    let upstream = tunnel(move |stream| {
        let piece = vec![b'x'; 64 * 1024];
        count.store(0, Ordering::Relaxed);
        while count.load(Ordering::Relaxed) < LARGE && stream.write_all(&piece).is_ok() {
            count.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
    });
    let gateway = front(upstream.address);
    let before = gateway.rss();
    let standstill = || {
        let mut last = 0;
        eventually("a standstill", || {
            let now = sent.load(Ordering::Relaxed);
            let stands = now > 0 && now == last;
            last = now;
            pause(300);
            stands
        });
        assert!(last < 40 << 20, "{last}");
        assert!(gateway.rss().saturating_sub(before) < 16 << 20);
    };
    let mut client = upgraded(&gateway);
    standstill();
    let mut received = 0;
    let mut buffer = vec![0; 1 << 20];
    while received < LARGE {
        let taken = client.read_some(&mut buffer);
        assert!(taken > 0, "it ends after {received}");
        received += taken as u64;
    }
    drop(client);
    h2::run(async {
        let (_send, mut body) = extended(&gateway).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        standstill();
        assert_eq!(take(&mut body, 1 << 20).await.len(), 1 << 20);
    });
}

/// Asks for a WebSocket by extended CONNECT.
async fn ask_extended(gateway: &Gateway) -> (::h2::SendStream<Bytes>, http::Response<::h2::RecvStream>) {
    let (response, stream) = ask_on(&h2::Client::connect(gateway.address).await).await;
    (stream, response.await.expect("an answer"))
}

async fn ask_on(client: &h2::Client) -> (::h2::client::ResponseFuture, ::h2::SendStream<Bytes>) {
    let mut send = client.send.clone().ready().await.expect("ready");
    while !send.is_extended_connect_protocol_enabled() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut request = http::Request::builder()
        .method("CONNECT")
        .uri("http://a.test/chat?x=1")
        .header("sec-websocket-version", "13")
        .header("origin", "http://a.test")
        .body(())
        .expect("a request");
    request.extensions_mut().insert(::h2::ext::Protocol::from_static("websocket"));
    send.send_request(request, false).expect("sent")
}

/// An open tunnel.
async fn extended(gateway: &Gateway) -> (::h2::SendStream<Bytes>, ::h2::RecvStream) {
    let (stream, response) = ask_extended(gateway).await;
    assert_eq!(response.status(), 200);
    for name in ["sec-websocket-accept", "upgrade", "connection"] {
        assert!(!response.headers().contains_key(name), "{name}");
    }
    (stream, response.into_body())
}

async fn take(body: &mut ::h2::RecvStream, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        let data = body.data().await.expect("more").expect("data");
        let _ = body.flow_control().release_capacity(data.len());
        bytes.extend_from_slice(&data);
    }
    bytes.truncate(count);
    bytes
}

#[test]
fn extended_connect_reaches_an_http_1_upstream() {
    let upstream = tunnel(echo);
    let gateway = front_with(
        "limits: {bodyTimeout: 500ms}",
        upstream.address,
        "timeouts: {request: 500ms, idle: 500ms}",
        "",
    );
    h2::run(async {
        let (mut send, mut body) = extended(&gateway).await;
        for at in 0..5 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let text = format!("message {at}");
            send.send_data(text.clone().into(), false).expect("sent");
            assert_eq!(take(&mut body, text.len()).await, text.as_bytes());
        }
        send.send_data(Bytes::new(), true).expect("sent");
        assert_eq!(take(&mut body, 3).await, b"bye");
        assert!(body.data().await.is_none_or(|end| end.expect("no error").is_empty()));
    });
    let seen = upstream.seen().remove(0);
    assert_eq!(seen.line, "GET /chat?x=1 HTTP/1.1");
    assert_eq!(seen.header("upgrade"), Some("websocket"));
    assert_eq!(seen.header("origin"), Some("http://a.test"));
    assert!(seen.header(":protocol").is_none());
}

#[test]
fn an_agreement_with_a_wrong_key_opens_no_tunnel_for_http_2() {
    let upstream = Upstream::scripted(|_| {
        let text = "HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: d3Jvbmc=\r\n\r\n";
        Some(text.as_bytes().to_vec())
    });
    let gateway = front(upstream.address);
    h2::run(async {
        let answer = h2::read_answer(ask_extended(&gateway).await.1).await.expect("an answer");
        assert_eq!(answer.status, 502);
    });
}

#[test]
fn other_upgrades_are_stripped_and_routes_may_refuse() {
    let upstream = Upstream::echo();
    let gateway = front(upstream.address);
    let answer = gateway.send(
        "GET /x HTTP/1.1\nhost: a.test\nconnection: upgrade, http2-settings, close\nupgrade: h2c\nhttp2-settings: AAMAAABkAAQAAP__",
        b"",
    );
    assert_eq!(answer.status, 200);
    let seen = upstream.seen().remove(0);
    for name in ["upgrade", "http2-settings"] {
        assert!(seen.header(name).is_none(), "{seen:?}");
    }
    let gateway = front_with("", upstream.address, "", "websocket: false");
    let mut client = Client::connect(gateway.address);
    client.write(ASK);
    assert_eq!(client.read().expect("an answer").status, 501);
}

#[test]
fn a_tunnel_counts_as_a_call_until_it_ends() {
    let upstream = tunnel(echo);
    let gateway = front_with(
        "",
        upstream.address,
        "bulkhead: {maxConcurrentCalls: 1}",
        "policies: [{concurrencyLimit: {limit: 2, key: clientAddress}}]",
    );
    let states = || gateway.admin_get("/api/v1/status").json()["upstreams"][0].clone();
    let client = upgraded(&gateway);
    assert_eq!(
        (&states()["bulkhead"]["inFlight"], &states()["endpoints"][0]["inFlight"]),
        (&1.into(), &1.into())
    );
    assert_eq!(gateway.get("/").problem().as_deref(), Some("bulkhead-full"));
    assert_eq!(gateway.records(1).len(), 1, "the tunnel is still on its way");
    drop(client);
    eventually("its places are free", || {
        states()["bulkhead"]["inFlight"] == 0 && states()["endpoints"][0]["inFlight"] == 0
    });
    assert_eq!(gateway.records(2)[1]["status"], 101);

    let gateway = front_with(
        "",
        upstream.address,
        "",
        "policies: [{concurrencyLimit: {limit: 1, key: clientAddress}}]",
    );
    let client = upgraded(&gateway);
    assert_eq!(gateway.get("/").problem().as_deref(), Some("concurrency-limited"));
    drop(client);
    eventually("the client's place is free", || {
        let mut again = Client::connect(gateway.address);
        again.write(ASK);
        again.read_line().starts_with("HTTP/1.1 101")
    });
}
