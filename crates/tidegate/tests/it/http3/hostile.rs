//! Hostile streams of HTTP/3: what is malformed is refused and never reaches an upstream, floods end the connection, and
//! memory stays bounded under all of them.

use std::{net::UdpSocket, time::Duration};

use bytes::Bytes;
use http::Request;
use http3::qpack;
use quinn::{Connection, ReadError, ReadToEndError};

use super::{
    Front, ONE_WORKER,
    client::{How, PATIENCE, dial, end, request},
};
use crate::harness::{Upstream, h2::run};

const FRAME_UNEXPECTED: u64 = 0x105;
const FRAME_ERROR: u64 = 0x106;
const EXCESSIVE_LOAD: u64 = 0x107;
const MESSAGE_ERROR: u64 = 0x10e;
const REQUEST_INCOMPLETE: u64 = 0x10d;

pub(super) type Fields = Vec<(String, String)>;

/// What becomes of a stream.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(super) enum Outcome {
    /// An answer.
    Status(u16),
    /// The stream was reset.
    Reset(u64),
    /// The connection was closed.
    Closed(u64),
}

fn varint(value: u64) -> Vec<u8> {
    match value {
        0..64 => vec![value as u8],
        64..16_384 => (value as u16 | 0x4000).to_be_bytes().to_vec(),
        _ => (value | 0xc000_0000_0000_0000).to_be_bytes().to_vec(),
    }
}

/// A frame.
fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    [varint(kind), varint(payload.len() as u64), payload.to_vec()].concat()
}

fn section(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    qpack::begin(&mut out);
    fields.iter().for_each(|(name, value)| qpack::encode(name, value.as_bytes(), &mut out));
    out
}

pub(super) fn headers(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(1, &section(fields))
}

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", "/")];

fn with(more: &[(&str, &str)]) -> Vec<u8> {
    headers(&[&GET[..], more].concat())
}

fn but(name: &str, instead: &[(&str, &str)]) -> Vec<u8> {
    let rest = GET.into_iter().filter(|(known, _)| *known != name);
    headers(&rest.chain(instead.iter().copied()).collect::<Vec<_>>())
}

/// The fields of a request, as they are.
pub(super) fn fields_of(asked: &Request<()>) -> Fields {
    vec![
        (":method".to_owned(), asked.method().to_string()),
        (":authority".to_owned(), asked.uri().authority().map(ToString::to_string).unwrap_or_default()),
    ]
}

/// Sends a head alone.
pub(super) async fn ask(connection: &Connection, fields: &Fields) -> Outcome {
    let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    send(connection, &headers(&fields)).await
}

/// Sends bytes as a stream of their own.
async fn send(connection: &Connection, bytes: &[u8]) -> Outcome {
    let (mut send, mut recv) = connection.open_bi().await.expect("a stream");
    let _ = send.write_all(bytes).await;
    let _ = send.finish();
    let read = tokio::time::timeout(PATIENCE, recv.read_to_end(1 << 20)).await.expect("it ends");
    match read {
        Ok(bytes) => Outcome::Status(status(&bytes)),
        Err(ReadToEndError::Read(ReadError::Reset(code))) => Outcome::Reset(code.into_inner()),
        Err(_) => Outcome::Closed(end(connection).await),
    }
}

/// The status of an answer: of its first frame, which holds the head.
pub(super) fn status(bytes: &[u8]) -> u16 {
    let length = match bytes[1] >> 6 {
        0 => (usize::from(bytes[1]), 2),
        _ => (usize::from(u16::from_be_bytes([bytes[1] & 0x3f, bytes[2]])), 3),
    };
    let (size, begin) = length;
    assert_eq!(bytes[0], 1, "the head comes first");
    let mut found = 0;
    let read = qpack::decode(&bytes[begin..begin + size], 1 << 20, |name, value| {
        if name == b":status" {
            found = std::str::from_utf8(value).expect("text").parse().expect("a number");
        }
        Ok(())
    });
    read.expect("a section");
    found
}

/// Asks for `/`.
pub(super) async fn get(connection: &Connection) -> Outcome {
    send(connection, &with(&[])).await
}

async fn raw(front: &Front) -> (quinn::Endpoint, Connection) {
    dial(front.gateway.address, &How::plain(&front.authority)).await.expect("a connection")
}

#[test]
fn malformed_requests_are_refused_on_their_stream_and_never_forwarded() {
    let upstream = Upstream::echo();
    let front = Front::before(upstream.address, "true", "", ONE_WORKER);
    let data = |text: &str| frame(0, text.as_bytes());
    let malformed = [Outcome::Reset(MESSAGE_ERROR)];
    let judged = [Outcome::Status(400)];
    let rows: Vec<(&str, Vec<u8>, &[Outcome])> = vec![
        ("no method", but(":method", &[]), &malformed),
        ("no path", but(":path", &[]), &malformed),
        ("no scheme", but(":scheme", &[]), &malformed),
        ("no authority", but(":authority", &[]), &malformed),
        ("two methods", with(&[(":method", "GET")]), &malformed),
        ("two paths", with(&[(":path", "/admin")]), &malformed),
        ("two authorities", with(&[(":authority", "b.test")]), &malformed),
        ("pseudo after regular", but(":path", &[("x", "y"), (":path", "/")]), &malformed),
        ("unknown pseudo", with(&[(":x", "y")]), &malformed),
        ("a status", with(&[(":status", "200")]), &malformed),
        ("a protocol", with(&[(":protocol", "websocket")]), &malformed),
        ("capitals", with(&[("X-A", "y")]), &malformed),
        ("an empty name", with(&[("", "y")]), &malformed),
        ("a line feed", with(&[("x", "a\nb")]), &malformed),
        ("a carriage return", with(&[("x", "a\rb")]), &malformed),
        ("a zero", with(&[("x", "a\0b")]), &malformed),
        ("connection", with(&[("connection", "close")]), &malformed),
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")]), &malformed),
        ("upgrade", with(&[("upgrade", "h2c")]), &malformed),
        ("te", with(&[("te", "gzip")]), &malformed),
        ("lengths that differ", with(&[("content-length", "1"), ("content-length", "2")]), &malformed),
        ("a length that is none", with(&[("content-length", "-1")]), &malformed),
        ("an empty path", but(":path", &[(":path", "")]), &malformed),
        ("a space in the path", but(":path", &[(":path", "/a b")]), &malformed),
        ("CONNECT with a path", but(":method", &[(":method", "CONNECT")]), &malformed),
        ("a host that differs", with(&[("host", "b.test")]), &judged),
        ("user information", but(":authority", &[(":authority", "u@a.test")]), &judged),
        ("another scheme", but(":scheme", &[(":scheme", "ftp")]), &judged),
        ("a star for GET", but(":path", &[(":path", "*")]), &judged),
        ("a path that climbs", but(":path", &[(":path", "/a/..%2fb")]), &judged),
        (
            "a length, and less",
            [with(&[("content-length", "5")]), data("1234")].concat(),
            &[Outcome::Status(400), Outcome::Reset(MESSAGE_ERROR)],
        ),
        (
            "a length, and more",
            [with(&[("content-length", "3")]), data("1234")].concat(),
            &[Outcome::Status(400), Outcome::Reset(MESSAGE_ERROR)],
        ),
        ("nothing", vec![], &[Outcome::Reset(REQUEST_INCOMPLETE)]),
        ("a huge head", with(&[("x", &"v".repeat(100_000))]), &[Outcome::Status(431)]),
        ("many fields", headers(&[&GET[..], &[("x", "y"); 1500]].concat()), &[Outcome::Status(431)]),
        (
            "a long path",
            but(":path", &[(":path", &format!("/{}", "p".repeat(20_000)))]),
            &[Outcome::Status(414)],
        ),
    ];
    run(async {
        let (_endpoint, connection) = raw(&front).await;
        for (name, bytes, outcomes) in &rows {
            let outcome = send(&connection, bytes).await;
            assert!(outcomes.contains(&outcome), "{name}: {outcome:?}");
        }
        assert_eq!(send(&connection, &with(&[])).await, Outcome::Status(200), "the connection goes on");
    });
    let seen = upstream.seen();
    assert!(seen.iter().all(|seen| seen.target() == "/" && seen.body.len() < 5), "{seen:?}");
    assert!(seen.len() <= 3, "{seen:?}");
}

#[test]
fn what_breaks_the_protocol_ends_the_connection() {
    let upstream = Upstream::echo();
    let front = Front::before(upstream.address, "true", "", ONE_WORKER);
    let decompression = 0x200;
    let rows: Vec<(&str, Vec<u8>, u64)> = vec![
        ("data first", frame(0, b"x"), FRAME_UNEXPECTED),
        ("settings on a request", frame(4, b""), FRAME_UNEXPECTED),
        ("a frame of HTTP/2", frame(6, b"12345678"), FRAME_UNEXPECTED),
        ("a push", frame(5, b"\0"), FRAME_UNEXPECTED),
        ("a frame that is cut", vec![1, 50, 0, 0], FRAME_ERROR),
        ("the dynamic table", frame(1, &[0x02, 0x00, 0x80]), decompression),
        ("an index that is not there", frame(1, &[0x00, 0x00, 0xff, 0x24]), decompression),
        ("unknown frames without end", frame(0x21, b"").repeat(200), EXCESSIVE_LOAD),
        ("empty data without end", [with(&[]), frame(0, b"").repeat(200)].concat(), EXCESSIVE_LOAD),
    ];
    run(async {
        for (name, bytes, code) in rows {
            let (_endpoint, connection) = raw(&front).await;
            let (mut stream, _recv) = connection.open_bi().await.expect("a stream");
            let _ = stream.write_all(&bytes).await;
            let _ = stream.finish();
            assert_eq!(end(&connection).await, code, "{name}");
        }
        for (name, bytes, code) in [
            ("a control stream without settings", vec![0, 7, 1, 0], 0x10a),
            ("settings of HTTP/2", vec![0, 4, 2, 3, 1], 0x109),
            ("settings twice", vec![0, 4, 0, 4, 0], FRAME_UNEXPECTED),
            ("a push stream", vec![1, 0], 0x103),
            ("an insertion", vec![2, 0xc0, 1, b'x'], 0x201),
            ("a receipt that is not owed", vec![3, 0x80], 0x202),
        ] {
            let (_endpoint, connection) = raw(&front).await;
            let mut stream = connection.open_uni().await.expect("a stream");
            stream.write_all(&bytes).await.expect("sent");
            assert_eq!(end(&connection).await, code, "{name}");
        }
        for (name, count) in [("an end of the control stream", 1), ("two control streams", 2)] {
            let (_endpoint, connection) = raw(&front).await;
            let mut streams = Vec::new();
            for _ in 0..count {
                let mut stream = connection.open_uni().await.expect("a stream");
                stream.write_all(&[0, 4, 0]).await.expect("sent");
                streams.push(stream);
            }
            if count == 1 {
                streams[0].finish().expect("ended");
            }
            let code = if count == 1 { 0x104 } else { 0x103 };
            assert_eq!(end(&connection).await, code, "{name}");
        }
    });
    assert!(upstream.seen().len() <= 1, "{:?}", upstream.seen());
}

#[test]
fn a_flood_of_resets_ends_the_connection_and_costs_no_memory() {
    let upstream = Upstream::raw(|mut reader, seen| {
        // It never answers.
        while let Some(request) = crate::harness::read_request(&mut reader) {
            seen.lock().expect("not poisoned").push(request);
        }
    });
    let front = Front::before(upstream.address, "true", "limits: {maxResets: 50}", ONE_WORKER);
    let before = front.gateway.rss();
    run(async {
        let (_endpoint, connection) = raw(&front).await;
        let flood = async {
            while let Ok((mut send, mut recv)) = connection.open_bi().await {
                let _ = send.write_all(&with(&[])).await;
                let _ = send.reset(0x10cu32.into());
                let _ = recv.stop(0x10cu32.into());
            }
        };
        tokio::time::timeout(PATIENCE, flood).await.expect("it is ended");
        assert_eq!(end(&connection).await, EXCESSIVE_LOAD);
    });
    assert!(upstream.seen().len() < 1000, "{}", upstream.seen().len());
    assert!(front.gateway.rss() < before + (64 << 20));
}

#[test]
fn a_client_that_cancels_now_and_then_is_no_attack() {
    let upstream = Upstream::echo();
    let front = Front::before(upstream.address, "true", "limits: {maxResets: 5}", ONE_WORKER);
    run(async {
        let mut client = front.client().await;
        for round in 0..20 {
            let mut stream = client.begin(request("POST", "/cancelled")).await.expect("a stream");
            stream.stop_stream(h3::error::Code::H3_REQUEST_CANCELLED);
            stream.stop_sending(h3::error::Code::H3_REQUEST_CANCELLED);
            for _ in 0..2 {
                assert_eq!(client.get("/").await.expect("an answer").status, 200, "{round}");
            }
        }
    });
}

#[test]
fn heads_that_never_end_are_not_waited_for() {
    let upstream = Upstream::echo();
    let front = Front::before(upstream.address, "true", "limits: {headerTimeout: 500ms}", ONE_WORKER);
    let before = front.gateway.rss();
    run(async {
        // Byte by byte, and none at all.
        for begun in [&with(&[])[..10], &[1][..]] {
            let (_endpoint, connection) = raw(&front).await;
            let (mut stream, _recv) = connection.open_bi().await.expect("a stream");
            stream.write_all(begun).await.expect("sent");
            assert_eq!(end(&connection).await, EXCESSIVE_LOAD);
        }
        // A frame that says that it is endless is not begun.
        let (_endpoint, connection) = raw(&front).await;
        let (mut stream, mut recv) = connection.open_bi().await.expect("a stream");
        stream.write_all(&[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).await.expect("sent");
        let flood = async {
            let piece = Bytes::from(vec![0; 65_536]);
            while stream.write_chunk(piece.clone()).await.is_ok() {}
        };
        tokio::time::timeout(PATIENCE, flood).await.expect("it is stopped");
        assert_eq!(status(&recv.read_to_end(65_536).await.expect("an answer")), 431);
    });
    assert!(front.gateway.rss() < before + (64 << 20));
    assert!(upstream.seen().is_empty());
}

#[test]
fn streams_that_mean_nothing_are_borne_in_bounds() {
    let upstream = Upstream::echo();
    let front = Front::before(upstream.address, "true", "", ONE_WORKER);
    run(async {
        let mut client = front.client().await;
        for _ in 0..50 {
            let mut stream = client.connection.open_uni().await.expect("a stream");
            let _ = stream.write_all(&[0x21, 1, 2, 3]).await;
        }
        assert_eq!(client.get("/").await.expect("an answer").status, 200);
        let flood = async {
            while let Ok(mut stream) = client.connection.open_uni().await {
                let _ = stream.write_all(&[0x21]).await;
                let _ = stream.reset(0u32.into());
            }
        };
        tokio::time::timeout(Duration::from_secs(12), flood).await.expect("it is ended");
        assert_eq!(client.end().await, EXCESSIVE_LOAD);
    });
    assert_eq!(run(async { front.client().await.get("/").await.expect("an answer").status }), 200);
}

/// What clients send first, as it is: of so many attempts that nobody answers.
pub(super) fn first_datagrams(front: &Front, count: usize) -> Vec<Vec<u8>> {
    let ear = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    ear.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    let address = ear.local_addr().expect("an address");
    let mut datagrams = Vec::new();
    let mut buffer = [0; 2048];
    run(async {
        let endpoint = super::client::endpoint();
        let how = How::plain(&front.authority);
        // Whoever gives up says so, in a datagram that looks alike: none does before all are heard.
        let mut attempts = Vec::new();
        for _ in 0..count {
            let attempt = endpoint.connect_with(how.config(), address, "a.test").expect("a way");
            let mut attempt = Box::pin(attempt);
            let _ = tokio::time::timeout(Duration::from_millis(2), &mut attempt).await;
            attempts.push(attempt);
            let length = ear.recv(&mut buffer).expect("a datagram");
            datagrams.push(buffer[..length].to_vec());
        }
    });
    assert!(datagrams.iter().all(|first| first.len() >= 1200), "a first datagram is padded");
    datagrams
}

/// Sends each from a port of its own, and never answers.
pub(super) fn replay(datagrams: &[Vec<u8>], to: std::net::SocketAddr) {
    for (at, datagram) in datagrams.iter().enumerate() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.send_to(datagram, to).expect("sent");
        if at % 50 == 0 {
            crate::harness::pause(10);
        }
    }
}

#[test]
fn who_does_not_answer_gets_three_times_what_it_sent_and_a_goodbye() {
    let upstream = Upstream::echo();
    let front = Front::before(upstream.address, "true", "limits: {tlsTimeout: 2s}", ONE_WORKER);
    let first = first_datagrams(&front, 1).remove(0);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(4))).expect("a timeout");
    socket.send_to(&first, front.gateway.address).expect("sent");
    let mut received = 0;
    let mut buffer = [0; 65_536];
    while let Ok(length) = socket.recv(&mut buffer) {
        received += length;
    }
    assert!(received > 0, "it is answered");
    // Three times as much, and the word that the handshake took too long.
    assert!(received <= 3 * first.len() + 200, "{received} bytes for {}", first.len());
}

#[test]
fn a_flood_of_first_datagrams_is_met_with_retry_and_others_are_served() {
    let upstream = Upstream::echo();
    let http3 = "{maxHandshakesPerAddress: 1000}";
    let front = Front::before(upstream.address, http3, "limits: {tlsTimeout: 5s}", ONE_WORKER);
    let first = first_datagrams(&front, 300);
    let before = front.gateway.rss();
    assert_eq!(front.gateway.metric("tidegate_quic_retries_total"), Some(0.0));
    replay(&first, front.gateway.address);
    run(async {
        let mut client = front.client().await;
        assert_eq!(client.get("/").await.expect("an answer").status, 200);
    });
    let retries = front.gateway.metric("tidegate_quic_retries_total").expect("a count");
    assert!((100.0..=201.0).contains(&retries), "{retries} of 300 were asked to come again");
    let after = front.gateway.rss();
    assert!(after < before + (64 << 20), "{before} bytes before, {after} after");
}
