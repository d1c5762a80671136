//! HTTP/2 floods, frame by frame: rapid reset, MadeYouReset, CONTINUATION, settings, pings, empty frames, oversize.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use super::super::harness::{Gateway, Upstream};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// `GET /` to `a.test` in HPACK, without touching the dynamic table.
fn get() -> Vec<u8> {
    [&[0x82, 0x84, 0x86, 0x01, 6][..], b"a.test"].concat()
}

/// A field in HPACK, without touching the dynamic table.
fn field(name: &str, value: &str) -> Vec<u8> {
    [&[0, name.len() as u8][..], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
}

fn setup() -> (Gateway, Upstream) {
    let upstream = Upstream::fixed(200, &"x".repeat(200_000));
    let gateway = Gateway::with(
        "limits: {idleTimeout: 2s, bodyTimeout: 2s, headerTimeout: 2s}",
        &format!(
            "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], timeouts: {{idle: 2s}}, backends: [{{upstream: u}}]}}]
",
            upstream.address
        ),
    );
    (gateway, upstream)
}

/// What became of a flood.
#[derive(Debug)]
struct Outcome {
    /// Frames of the flood that went out before the connection ended.
    sent: usize,
    /// Whether the other side ended it.
    ended: bool,
}

/// Sends the frames of a flood until the other side says GOAWAY or closes.
fn flood(gateway: &Gateway, frames: impl Iterator<Item = Vec<u8>>) -> Outcome {
    let mut stream = TcpStream::connect(gateway.address).expect("a connection");
    stream.set_write_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("sent");
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).expect("sent");
    let reader = stream.try_clone().expect("a socket");
    let ended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let told = ended.clone();
    let reading = std::thread::spawn(move || {
        watch_for_the_end(reader);
        told.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let mut sent = 0;
    for bytes in frames {
        if ended.load(std::sync::atomic::Ordering::Relaxed) || stream.write_all(&bytes).is_err() {
            break;
        }
        sent += 1;
    }
    let start = Instant::now();
    while !ended.load(std::sync::atomic::Ordering::Relaxed) && start.elapsed() < Duration::from_secs(6) {
        super::super::harness::pause(20);
    }
    let outcome = Outcome { sent, ended: ended.load(std::sync::atomic::Ordering::Relaxed) };
    let _ = stream.shutdown(std::net::Shutdown::Both);
    let _ = reading.join();
    outcome
}

/// Returns when the other side says GOAWAY or closes.
fn watch_for_the_end(mut reader: TcpStream) {
    let mut head = [0; 9];
    while reader.read_exact(&mut head).is_ok() {
        if head[3] == GOAWAY {
            return;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        if reader.read_exact(&mut vec![0; length]).is_err() {
            return;
        }
    }
}

fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|at| at * 2 + 1)
}

/// The gateway ended the flood early (it is longer than what the sockets between hold), works on, and kept its memory.
fn check(what: &str, count: usize, frames: impl Iterator<Item = Vec<u8>>) {
    let (gateway, upstream) = setup();
    assert_eq!(gateway.get("/").status, 200);
    let before = gateway.rss();
    let outcome = flood(&gateway, frames);
    assert!(outcome.ended, "{what}: the connection lives on after {outcome:?}");
    assert!(outcome.sent < count, "{what}: all of it was taken: {outcome:?}");
    assert!(upstream.seen().len() < 500, "{what}: the upstream saw {}", upstream.seen().len());
    let grown = gateway.rss().saturating_sub(before);
    assert!(grown < 24 << 20, "{what}: memory grew by {grown}");
    assert_eq!(gateway.get("/").status, 200, "{what}: others are still served");
}

#[test]
fn rapid_reset_ends_the_connection() {
    // CVE-2023-44487.
    let frames = streams(400_000).map(|stream| {
        let open = frame(HEADERS, END_HEADERS | END_STREAM, stream, &get());
        [open, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    });
    check("rapid reset", 400_000, frames);
}

#[test]
fn made_you_reset_ends_the_connection() {
    // CVE-2025-8671: the client breaks a rule of the stream, so that the server resets it.
    let frames = streams(400_000).map(|stream| {
        let open = frame(HEADERS, END_HEADERS | END_STREAM, stream, &get());
        [open, frame(WINDOW_UPDATE, 0, stream, &0_u32.to_be_bytes())].concat()
    });
    check("MadeYouReset", 400_000, frames);
}

/// The frames that open a stream and break a rule of it.
type Breach<'a> = &'a dyn Fn(u32) -> Vec<u8>;

#[test]
fn every_way_to_make_us_reset_counts() {
    // The other breaches that CVE-2025-8671 names: each is an error of the stream alone.
    let open = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &get());
    let length = [get(), field("content-length", "1")].concat();
    let breaches: [(&str, Breach<'_>); 4] = [
        ("a window beyond its bound", &|stream| {
            [open(stream), frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes())].concat()
        }),
        ("data after the end", &|stream| [open(stream), frame(DATA, 0, stream, b"x")].concat()),
        ("a stream that depends on itself", &|stream| {
            [open(stream), frame(PRIORITY, 0, stream, &[&stream.to_be_bytes()[..], &[16]].concat())].concat()
        }),
        ("a length that the body does not have", &|stream| {
            frame(HEADERS, END_HEADERS | END_STREAM, stream, &length)
        }),
    ];
    for (what, breach) in breaches {
        check(what, 400_000, streams(400_000).map(breach));
    }
}

#[test]
fn a_priority_flood_ends_the_connection() {
    // CVE-2019-9513.
    let frames = (0..20_000).map(|_| frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16]).repeat(50));
    check("PRIORITY", 20_000, frames);
}

#[test]
fn window_updates_that_answer_nothing_end_the_connection() {
    let frames = std::iter::repeat_n(frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()).repeat(50), 20_000);
    check("WINDOW_UPDATE", 20_000, frames);
}

#[test]
fn resets_of_a_stream_that_has_ended_end_the_connection() {
    let open = std::iter::once(frame(HEADERS, END_HEADERS | END_STREAM, 1, &get()));
    let rest = std::iter::repeat_n(frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes()).repeat(50), 20_000);
    check("RST_STREAM", 20_000, open.chain(rest));
}

#[test]
fn a_continuation_flood_ends_the_connection() {
    // CVE-2024-27316 and its kin.
    let part = field("x-long", &"y".repeat(100)).repeat(100);
    let open = std::iter::once(frame(HEADERS, END_STREAM, 1, &get()));
    let rest = std::iter::repeat_n(frame(CONTINUATION, 0, 1, &part), 5_000);
    check("CONTINUATION", 5_000, open.chain(rest));
}

#[test]
fn empty_continuations_end_the_connection() {
    let open = std::iter::once(frame(HEADERS, END_STREAM, 1, &get()));
    let rest = std::iter::repeat_n(frame(CONTINUATION, 0, 1, &[]).repeat(100), 5_000);
    check("empty CONTINUATION", 5_000, open.chain(rest));
}

#[test]
fn a_settings_flood_ends_the_connection() {
    // CVE-2019-9515.
    check("settings", 20_000, std::iter::repeat_n(frame(SETTINGS, 0, 0, &[]).repeat(50), 20_000));
}

#[test]
fn a_ping_flood_ends_the_connection() {
    // CVE-2019-9512.
    check("ping", 20_000, std::iter::repeat_n(frame(PING, 0, 0, &[0; 8]).repeat(50), 20_000));
}

#[test]
fn a_flood_of_empty_data_ends_the_connection() {
    // CVE-2019-9518.
    let post = [&[0x83, 0x84, 0x86, 0x01, 6][..], b"a.test"].concat();
    let open = std::iter::once(frame(HEADERS, END_HEADERS, 1, &post));
    let rest = std::iter::repeat_n(frame(DATA, 0, 1, &[]).repeat(50), 20_000);
    check("empty DATA", 20_000, open.chain(rest));
}

#[test]
fn a_header_list_is_bounded_with_its_overhead() {
    // Each field is small on the wire and costs 32 bytes more in memory (RFC 9113 §6.5.2).
    let (gateway, upstream) = setup();
    let block = [get(), field("x", "").repeat(4_000)].concat();
    let outcome = flood(&gateway, std::iter::once(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)));
    assert!(upstream.seen().is_empty(), "{outcome:?}");
    assert_eq!(gateway.get("/").status, 200);
}

#[test]
fn a_stalled_window_times_out() {
    // CVE-2019-9517: the answer is asked for and never taken.
    let (gateway, upstream) = setup();
    let narrow = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let ask = frame(HEADERS, END_HEADERS | END_STREAM, 1, &get());
    let start = Instant::now();
    let outcome = flood(&gateway, [narrow, ask].into_iter());
    assert!(outcome.ended, "the connection is held open");
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    assert_eq!(upstream.seen().len(), 1);
}
