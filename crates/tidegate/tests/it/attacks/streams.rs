//! HTTP/2 within its listener's bounds: streams at a time, heads that do not end, and HTTP/2 where it is off.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    super::harness::{Client, Gateway, Upstream, h2, pause, raw, read_request},
    frames::{
        END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS, ask, fields, frame, get,
    },
};

const ACK: u8 = 1;
const ENHANCE_YOUR_CALM: [u8; 4] = [0, 0, 0, 11];
const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];
const MAX_CONCURRENT_STREAMS: u16 = 3;

fn front(upstream: &Upstream, listener: &str) -> Gateway {
    Gateway::with(
        listener,
        &format!(
            "runtime: {{workers: 1}}
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}]
",
            upstream.address
        ),
    )
}

/// An upstream that answers once it may, and counts how many it has at a time.
fn held(may: Arc<AtomicBool>, most: Arc<AtomicUsize>) -> Upstream {
    let now = AtomicUsize::new(0);
    Upstream::raw(move |mut reader, seen| {
        while let Some(request) = read_request(&mut reader) {
            seen.lock().expect("not poisoned").push(request);
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            while !may.load(Ordering::SeqCst) {
                pause(5);
            }
            pause(20);
            now.fetch_sub(1, Ordering::SeqCst);
            let _ = reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    })
}

/// A connection after the preface, whose frames are read one by one.
struct Connection(TcpStream);

impl Connection {
    fn open(gateway: &Gateway) -> Self {
        let mut stream = TcpStream::connect(gateway.address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).expect("sent");
        Self(stream)
    }

    fn send(&mut self, frames: &[Vec<u8>]) {
        self.0.write_all(&frames.concat()).expect("sent");
    }

    /// The next frame: its kind, flags, stream and payload; none at the end.
    fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.0.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some((head[3], head[4], stream, payload))
    }

    /// The next frame of one of these kinds.
    fn until(&mut self, kinds: &[u8]) -> (u8, u8, u32, Vec<u8>) {
        loop {
            let next = self.next().expect("a frame");
            if kinds.contains(&next.0) {
                return next;
            }
        }
    }

    /// Whether it ends, and the other side says why before: the code of its GOAWAY.
    fn goodbye(&mut self) -> Option<[u8; 4]> {
        let mut code = None;
        while let Some((kind, _, _, payload)) = self.next() {
            if kind == GOAWAY {
                code = payload.get(4..8).and_then(|code| code.try_into().ok());
            }
        }
        code
    }
}

fn request(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &get())
}

#[test]
fn streams_beyond_the_bound_are_refused_and_others_take_their_place() {
    let (may, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let upstream = held(may.clone(), most);
    let gateway = front(&upstream, "limits: {maxConcurrentStreams: 2}");
    let mut connection = Connection::open(&gateway);
    let (_, _, _, settings) = connection.until(&[SETTINGS]);
    let announced = settings.chunks(6).find(|one| one[..2] == MAX_CONCURRENT_STREAMS.to_be_bytes());
    assert_eq!(announced.map(|one| &one[2..]), Some(&[0, 0, 0, 2][..]), "{settings:?}");
    connection.send(&[frame(SETTINGS, ACK, 0, &[]), request(1), request(3), request(5)]);
    // RFC 9113 §5.1.2: the one too many was never begun.
    let (kind, _, stream, payload) = connection.until(&[RST_STREAM, HEADERS]);
    assert_eq!((kind, stream, &payload[..]), (RST_STREAM, 5, &REFUSED_STREAM[..]));
    may.store(true, Ordering::SeqCst);
    let mut answered = [connection.until(&[HEADERS]).2, connection.until(&[HEADERS]).2];
    answered.sort_unstable();
    assert_eq!(answered, [1, 3]);
    connection.send(&[request(7)]);
    assert_eq!(connection.until(&[HEADERS]).2, 7);
    assert_eq!(upstream.seen().len(), 3);
}

#[test]
fn a_client_that_knows_the_bound_waits_for_its_turn() {
    let (may, most) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let upstream = held(may, most.clone());
    let gateway = front(&upstream, "limits: {maxConcurrentStreams: 2}");
    h2::run(async {
        let client = h2::Client::connect(gateway.address).await;
        assert_eq!(client.get("/first").await.expect("an answer").status, 200);
        let calls = (0..12).map(|_| {
            let client = client.clone();
            async move { client.get("/").await.expect("an answer").status }
        });
        assert_eq!(futures_util::future::join_all(calls).await, [200; 12]);
    });
    assert_eq!((upstream.seen().len(), most.load(Ordering::SeqCst)), (13, 2));
}

#[test]
fn a_head_that_does_not_end_is_bounded_by_the_header_timeout_whatever_else_goes_on() {
    // CVE-2007-6750 on HTTP/2: idle time is long, and another stream is open.
    let upstream = held(Arc::new(AtomicBool::new(false)), Arc::default());
    let gateway = front(&upstream, "limits: {headerTimeout: 1s, idleTimeout: 10m}");
    let whole = request(3);
    let unfinished = [frame(HEADERS, END_STREAM, 3, &get()), whole[..whole.len() - 4].to_vec()];
    for other in [true, false] {
        for head in &unfinished {
            let mut connection = Connection::open(&gateway);
            connection.send(&[frame(SETTINGS, ACK, 0, &[])]);
            if other {
                connection.send(&[request(1)]);
            }
            connection.send(std::slice::from_ref(head));
            let start = Instant::now();
            assert_eq!(connection.goodbye(), Some(ENHANCE_YOUR_CALM));
            assert!(start.elapsed() < Duration::from_secs(15), "{other} {:?}", start.elapsed());
        }
    }
    assert_eq!(upstream.seen().len(), 2, "no unfinished head is a request");
}

#[test]
fn the_header_timeout_is_of_one_head_and_not_of_many_in_a_row() {
    let upstream = Upstream::echo();
    let gateway = front(&upstream, "limits: {headerTimeout: 1s}");
    let mut connection = Connection::open(&gateway);
    connection.send(&[frame(SETTINGS, ACK, 0, &[])]);
    let parts = |at: u32| {
        let mut begun = request(2 * at + 1);
        let rest = begun.split_off(begun.len() - 4);
        (begun, rest)
    };
    // A slow link: whatever arrives ends in the middle of a head, each of which takes 0.3 s.
    let mut last = Vec::new();
    for at in 0..12 {
        let (begun, rest) = parts(at);
        connection.send(&[std::mem::replace(&mut last, rest), begun]);
        pause(300);
    }
    connection.send(&[last]);
    let answered: Vec<_> = (0..12).map(|_| connection.until(&[HEADERS]).2).collect();
    assert_eq!(answered, (0..12).map(|at| 2 * at + 1).collect::<Vec<_>>());
}

#[test]
fn options_star_over_http_2_is_about_the_gateway_and_goes_nowhere() {
    let upstream = Upstream::echo();
    let gateway = front(&upstream, "");
    let asked = |method: &str| {
        let head = [(":method", method), (":path", "*"), (":scheme", "http"), (":authority", "a.test")];
        ask(gateway.address, &frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&head)))
    };
    assert_eq!(asked("OPTIONS"), 200);
    assert_eq!(asked("GET"), 400);
    assert!(upstream.seen().is_empty());
}

#[test]
fn where_http_2_is_off_its_preface_is_no_request() {
    let upstream = Upstream::echo();
    let gateway = front(&upstream, "http2: false");
    let answer = raw(gateway.address, &[PREFACE, &frame(SETTINGS, 0, 0, &[]), &request(1)].concat());
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1.1 505 ") || text.starts_with("HTTP/1.1 400 "), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("HTTP/1.1 ")).count(), 1, "{text}");
    assert!(upstream.seen().is_empty());
    assert_eq!(Client::connect(gateway.address).get("/").expect("an answer").status, 200);
}
