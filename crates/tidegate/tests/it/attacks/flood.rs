//! HTTP/2 floods: rapid reset, MadeYouReset, CONTINUATION, settings, pings, priorities, empty frames, windows, HPACK.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    super::harness::{Gateway, Upstream, pause},
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, PRIORITY, RST_STREAM,
        SETTINGS, WINDOW_UPDATE, field, fields, frame, get,
    },
};

/// Memory that a flood may take for good.
const GROWTH_BYTES_MAX: u64 = 24 << 20;

/// A gateway whose clients may be idle for so long.
fn setup(idle: &str) -> (Gateway, Upstream) {
    let upstream = Upstream::fixed(200, &"x".repeat(200_000));
    let gateway = Gateway::with(
        &format!("limits: {{idleTimeout: {idle}, bodyTimeout: {idle}, headerTimeout: {idle}}}"),
        &format!(
            "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], timeouts: {{idle: {idle}}}, backends: [{{upstream: u}}]}}]
",
            upstream.address
        ),
    );
    (gateway, upstream)
}

/// Sends the frames of a flood until the other side says GOAWAY or closes; tells whether it did.
fn flood(gateway: &Gateway, frames: impl Iterator<Item = Vec<u8>>) -> bool {
    let mut stream = TcpStream::connect(gateway.address).expect("a connection");
    stream.set_write_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).expect("sent");
    let reader = stream.try_clone().expect("a socket");
    let ended = Arc::new(AtomicBool::new(false));
    let told = ended.clone();
    let reading = std::thread::spawn(move || {
        watch_for_the_end(reader);
        told.store(true, Ordering::Relaxed);
    });
    for bytes in frames {
        if ended.load(Ordering::Relaxed) || stream.write_all(&bytes).is_err() {
            break;
        }
    }
    let start = Instant::now();
    while !ended.load(Ordering::Relaxed) && start.elapsed() < Duration::from_secs(10) {
        pause(20);
    }
    let has_ended = ended.load(Ordering::Relaxed);
    let _ = stream.shutdown(std::net::Shutdown::Both);
    let _ = reading.join();
    has_ended
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

/// The gateway ended the flood for what it was (idle it might have been for long), works on, and kept its memory.
fn check(what: &str, frames: impl Iterator<Item = Vec<u8>>) {
    let (gateway, upstream) = setup("60s");
    assert_eq!(gateway.get("/").status, 200);
    let before = gateway.rss();
    assert!(flood(&gateway, frames), "{what}: the connection lives on");
    assert!(upstream.seen().len() < 500, "{what}: the upstream saw {}", upstream.seen().len());
    let grown = gateway.rss().saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "{what}: memory grew by {grown}");
    assert_eq!(gateway.get("/").status, 200, "{what}: others are still served");
}

/// The gateway took the flood, ended it or not, works on, and kept its memory.
fn endured(what: &str, frames: impl Iterator<Item = Vec<u8>>) {
    let (gateway, _upstream) = setup("2s");
    assert_eq!(gateway.get("/").status, 200);
    let before = gateway.rss();
    flood(&gateway, frames);
    let grown = gateway.rss().saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "{what}: memory grew by {grown}");
    assert_eq!(gateway.get("/").status, 200, "{what}: others are still served");
}

#[test]
fn rapid_reset_ends_the_connection() {
    // CVE-2023-44487.
    let frames = streams(20_000).map(|stream| {
        let open = frame(HEADERS, END_HEADERS | END_STREAM, stream, &get());
        [open, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    });
    check("rapid reset", frames);
}

#[test]
fn made_you_reset_ends_the_connection() {
    // CVE-2025-8671: the client breaks a rule of the stream, so that the server resets it.
    let frames = streams(20_000).map(|stream| {
        let open = frame(HEADERS, END_HEADERS | END_STREAM, stream, &get());
        [open, frame(WINDOW_UPDATE, 0, stream, &0_u32.to_be_bytes())].concat()
    });
    check("MadeYouReset", frames);
}

#[test]
fn made_you_reset_by_any_rule_ends_the_connection() {
    // CVE-2025-8671 in its other forms: too large a window, DATA after the end, a length that is not kept.
    let too_wide = |stream| frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes());
    let late = |stream| frame(DATA, 0, stream, b"x");
    let frames = streams(20_000).map(|stream| {
        let open = frame(HEADERS, END_HEADERS | END_STREAM, stream, &get());
        [open, if stream % 4 == 1 { too_wide(stream) } else { late(stream) }].concat()
    });
    check("MadeYouReset by windows and late data", frames);
    let lying = streams(20_000).map(|stream| {
        let post = [get(), field("content-length", "1")].concat();
        [frame(HEADERS, END_HEADERS, stream, &post), frame(DATA, END_STREAM, stream, b"xx")].concat()
    });
    check("MadeYouReset by lengths", lying);
    let short = streams(20_000).map(|stream| {
        frame(HEADERS, END_HEADERS | END_STREAM, stream, &[get(), field("content-length", "1")].concat())
    });
    check("MadeYouReset by lengths without a body", short);
    let circular = streams(20_000).map(|stream| {
        let open = frame(HEADERS, END_HEADERS | END_STREAM, stream, &get());
        [open, frame(PRIORITY, 0, stream, &[&stream.to_be_bytes()[..], &[16]].concat())].concat()
    });
    check("MadeYouReset by streams that depend on themselves", circular);
}

#[test]
fn malformed_requests_add_up_and_end_the_connection() {
    // CVE-2025-8671: each is refused at the cost of a reset that is ours.
    let bad = fields(&[(":method", "GET"), (":path", "/"), (":scheme", "http"), ("connection", "close")]);
    let frames = streams(20_000).map(move |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &bad));
    check("malformed requests", frames);
}

#[test]
fn a_continuation_flood_ends_the_connection() {
    // CVE-2024-27316 and its kin.
    let part = field("x-long", &"y".repeat(100)).repeat(100);
    let open = std::iter::once(frame(HEADERS, END_STREAM, 1, &get()));
    let rest = std::iter::repeat_n(frame(CONTINUATION, 0, 1, &part), 5_000);
    check("CONTINUATION", open.chain(rest));
}

#[test]
fn empty_continuations_end_the_connection() {
    // CVE-2024-28182.
    let open = std::iter::once(frame(HEADERS, END_STREAM, 1, &get()));
    let rest = std::iter::repeat_n(frame(CONTINUATION, 0, 1, &[]).repeat(100), 5_000);
    check("empty CONTINUATION", open.chain(rest));
}

#[test]
fn a_settings_flood_ends_the_connection() {
    // CVE-2019-9515.
    check("settings", std::iter::repeat_n(frame(SETTINGS, 0, 0, &[]).repeat(50), 20_000));
}

#[test]
fn a_ping_flood_ends_the_connection() {
    // CVE-2019-9512.
    check("ping", std::iter::repeat_n(frame(PING, 0, 0, &[0; 8]).repeat(50), 20_000));
}

#[test]
fn a_priority_flood_ends_the_connection() {
    // CVE-2019-9513.
    let shuffle = streams(20_000).map(|stream| frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 255]).repeat(50));
    check("priority", shuffle);
    let same = std::iter::repeat_n(frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16]).repeat(50), 20_000);
    check("priority of one stream", same);
}

#[test]
fn window_updates_that_answer_nothing_end_the_connection() {
    let updates = std::iter::repeat_n(frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()).repeat(50), 20_000);
    check("window updates", updates);
}

#[test]
fn resets_of_a_stream_that_has_ended_end_the_connection() {
    let open = std::iter::once(frame(HEADERS, END_HEADERS | END_STREAM, 1, &get()));
    let rest = std::iter::repeat_n(frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes()).repeat(50), 20_000);
    check("late resets", open.chain(rest));
}

#[test]
fn a_flood_of_unknown_frames_ends_the_connection() {
    // RFC 9113 §5.5 has them ignored, §10.5 has their number judged.
    check("unknown frames", std::iter::repeat_n(frame(0xbb, 0, 0, b"x").repeat(50), 20_000));
}

#[test]
fn a_flood_of_empty_data_ends_the_connection() {
    // CVE-2019-9518.
    let post = fields(&[(":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", "a.test")]);
    let open = std::iter::once(frame(HEADERS, END_HEADERS, 1, &post));
    let rest = std::iter::repeat_n(frame(DATA, 0, 1, &[]).repeat(50), 20_000);
    check("empty DATA", open.chain(rest));
}

#[test]
fn a_flood_of_empty_headers_takes_no_memory() {
    // CVE-2019-9516: fields without a name cost more than they weigh.
    let nothing = [get(), [0, 0, 0].repeat(20_000)].concat();
    let open = nothing.chunks(16_000).enumerate().map(|(at, part)| match at {
        0 => frame(HEADERS, END_STREAM, 1, part),
        _ => frame(CONTINUATION, 0, 1, part),
    });
    endured("empty fields", open.collect::<Vec<_>>().into_iter());
}

#[test]
fn a_window_beyond_its_bound_ends_the_connection() {
    // RFC 9113 §6.9.1: the window may not pass 2^31-1.
    let updates = std::iter::repeat_n(frame(WINDOW_UPDATE, 0, 0, &0x00ff_ffff_u32.to_be_bytes()), 1_000);
    check("window overflow", updates);
}

#[test]
fn a_bomb_of_references_is_bounded() {
    // HPACK bomb, CVE-2016-6581: one large entry of the dynamic table, named again and again at a byte each.
    let large = [&[0x40][..], &field("x", &"y".repeat(3_900))[1..]].concat();
    let block = [get(), large, vec![0xbe; 15_000]].concat();
    let frames = streams(200).map(|stream| match stream {
        1 => frame(HEADERS, END_HEADERS | END_STREAM, 1, &block[..block.len().min(16_000)]),
        later => frame(HEADERS, END_HEADERS | END_STREAM, later, &[get(), vec![0xbe; 15_000]].concat()),
    });
    endured("HPACK bomb", frames);
}

#[test]
fn a_table_larger_than_allowed_ends_the_connection() {
    // RFC 7541 §6.3: updates of the size are allowed at the beginning of a block only, and never above what we set.
    let resize = [&[0x3f, 0xe1, 0xff, 0xff, 0x7f][..], &get()].concat();
    check("table size", std::iter::once(frame(HEADERS, END_HEADERS | END_STREAM, 1, &resize)));
}

#[test]
fn streams_beyond_the_bound_wait_for_nobody() {
    // RFC 9113 §5.1.2: more streams than allowed at a time are refused, and the refusals are counted as resets.
    let frames = streams(20_000).map(|stream| frame(HEADERS, END_HEADERS, stream, &get()));
    check("open streams", frames);
}

#[test]
fn a_header_list_is_bounded_with_its_overhead() {
    // Each field is small on the wire and costs 32 bytes more in memory (RFC 9113 §6.5.2).
    let (gateway, upstream) = setup("2s");
    let block = [get(), field("x", "").repeat(4_000)].concat();
    flood(&gateway, std::iter::once(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)));
    assert!(upstream.seen().is_empty());
    assert_eq!(gateway.get("/").status, 200);
}

#[test]
fn a_stalled_window_times_out() {
    // CVE-2019-9517: the answer is asked for and never taken.
    let (gateway, upstream) = setup("2s");
    let narrow = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let ask = frame(HEADERS, END_HEADERS | END_STREAM, 1, &get());
    let start = Instant::now();
    let ended = flood(&gateway, [narrow, ask].into_iter());
    assert!(ended, "the connection is held open");
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn a_dripping_window_takes_no_memory() {
    // CVE-2019-9511: one byte at a time is asked for on many streams of large answers.
    let narrow = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1]);
    let open = streams(100).map(|stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &get()));
    let drip = (0..40).flat_map(|_| {
        pause(50);
        streams(100).map(|stream| frame(WINDOW_UPDATE, 0, stream, &1_u32.to_be_bytes()))
    });
    endured("data dribble", std::iter::once(narrow).chain(open).chain(drip));
}
