//! What operators may tune of connections: windows, frames and signs of life of HTTP/2, on both sides, and how old a connection
//! may become.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    super::harness::{Client, Gateway, Upstream, eventually, h2, h2::run, pause},
    front_with,
};
use crate::policies::refused;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const SETTINGS_ACK: &[u8] = &[0, 0, 0, 4, 1, 0, 0, 0, 0];
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;

/// A frame: its kind, its flags and its payload.
type Frame = (u8, u8, Vec<u8>);

/// The next frame; none at the end.
fn frame(stream: &mut impl Read) -> Option<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload).ok()?;
    Some((head[3], head[4], payload))
}

/// What a frame of SETTINGS says, by the names of RFC 9113 §6.5.2.
fn settings(payload: &[u8]) -> Vec<(u16, u32)> {
    let pair = |six: &[u8]| {
        (u16::from_be_bytes([six[0], six[1]]), u32::from_be_bytes([six[2], six[3], six[4], six[5]]))
    };
    payload.chunks(6).map(pair).collect()
}

fn said(settings: &[(u16, u32)], name: u16) -> Option<u32> {
    settings.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

/// The settings that one side says first, and by how much it opens the connection's window.
fn greeting(stream: &mut impl Read) -> (Vec<(u16, u32)>, u32) {
    let (mut told, mut window) = (None, 0);
    while told.is_none() || window == 0 {
        match frame(stream).expect("a frame") {
            (SETTINGS, 0, payload) => told = Some(settings(&payload)),
            (WINDOW_UPDATE, _, payload) => {
                window = u32::from_be_bytes(payload.try_into().expect("four bytes"));
            }
            _ => {}
        }
    }
    (told.expect("settings"), window)
}

/// A connection to the gateway that says what it likes.
fn raw(gateway: &Gateway) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream.write_all(&[PREFACE, EMPTY_SETTINGS].concat()).expect("sent");
    stream
}

#[test]
fn a_listener_says_its_windows_frames_and_table_to_clients() {
    let upstream = Upstream::echo();
    let tuned = "http2: {streamWindow: 1MiB, connectionWindow: 4MiB, maxFrameSize: 64KiB, headerTableSize: 8KiB}, limits: {maxConcurrentStreams: 7, maxHeaderSize: 32KiB}";
    for (listener, wanted, window) in [
        ("", [None, Some(128), Some(262_144), None, Some(65_536)], 1 << 20),
        (tuned, [Some(8192), Some(7), Some(1 << 20), Some(65_536), Some(32_768)], 4 << 20),
    ] {
        let gateway = front_with(listener, upstream.address, "", "");
        let (told, opened) = greeting(&mut raw(&gateway));
        // What is not said has the protocol's own default.
        let read = [1, 3, 4, 5, 6].map(|name| said(&told, name));
        let defaults = [Some(4096), None, Some(65_535), Some(16_384), None];
        for (at, (read, wanted)) in read.iter().zip(wanted).enumerate() {
            assert!(*read == wanted || (wanted.is_none() && *read == defaults[at]), "{listener}: {told:?}");
        }
        assert_eq!(opened, window - 65_535, "{listener}");
    }
}

#[test]
fn large_bodies_pass_through_windows_and_frames_of_any_size() {
    let upstream = h2::Upstream::echo();
    let gateway = front_with(
        "http2: {streamWindow: 16KiB, connectionWindow: 64KiB, maxFrameSize: 1MiB}",
        upstream.address,
        "protocol: http2, http2: {streamWindow: 16KiB, connectionWindow: 64KiB, maxFrameSize: 1MiB, headerTableSize: 0}",
        "",
    );
    run(async {
        let client = h2::Client::connect(gateway.address).await;
        let body = vec![b'x'; 1 << 20];
        let answer = client.fetch(h2::request("POST", "/"), &body, None).await.expect("an answer");
        assert_eq!((answer.status, answer.body.len()), (200, body.len()));
    });
}

#[test]
fn a_silent_client_is_asked_and_closed_when_it_does_not_answer() {
    let upstream = Upstream::echo();
    let listener = "http2: {keepAlive: {interval: 400ms, timeout: 400ms}}";
    let gateway = front_with(listener, upstream.address, "", "");
    let began = Instant::now();
    let mut stream = raw(&gateway);
    stream.write_all(SETTINGS_ACK).expect("sent");
    let mut asked = None;
    while let Some((kind, flags, _)) = frame(&mut stream) {
        if kind == PING && flags & ACK == 0 {
            asked.get_or_insert(began.elapsed());
        }
    }
    let (asked, ended) = (asked.expect("it is asked"), began.elapsed());
    assert!(
        asked >= Duration::from_millis(390) && ended >= asked + Duration::from_millis(390),
        "{asked:?} {ended:?}"
    );
    assert!(ended < Duration::from_secs(10), "{ended:?}");
    // One that answers stays, with nothing else to say.
    run(async {
        let client = h2::Client::connect(gateway.address).await;
        tokio::time::sleep(Duration::from_millis(2000)).await;
        assert_eq!(client.get("/there").await.expect("an answer").text(), "/there");
    });
    // And while there are no streams, it is not asked where that is not wanted.
    let listener = "http2: {keepAlive: {interval: 200ms, timeout: 200ms, whileIdle: false}}, limits: {idleTimeout: 1500ms, headerTimeout: 1s}";
    let gateway = front_with(listener, upstream.address, "", "");
    let mut stream = raw(&gateway);
    let began = Instant::now();
    let mut asked = 0;
    while let Some((kind, flags, _)) = frame(&mut stream) {
        asked += u32::from(kind == PING && flags & ACK == 0 && began.elapsed() < Duration::from_millis(1400));
    }
    // Its end is that of an idle connection, which says goodbye with a PING of its own.
    assert!(asked == 0 && began.elapsed() > Duration::from_millis(1400), "{asked} in {:?}", began.elapsed());
}

#[test]
fn a_connection_that_is_old_ends_gracefully_whatever_its_version() {
    let upstream = Upstream::scripted(|seen| {
        if seen.target() == "/slow" {
            pause(2500);
        }
        Some(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec())
    });
    let gateway = front_with("limits: {maxConnectionAge: 1s}", upstream.address, "", "");
    let mut one = Client::connect(gateway.address);
    let answer = one.get("/").expect("an answer");
    assert_eq!((answer.status, answer.header("connection")), (200, None));
    let mut idle = Client::connect(gateway.address);
    assert_eq!(idle.get("/").map(|answer| answer.status), Some(200));
    run(async {
        let client = h2::Client::connect(gateway.address).await;
        let slow = client.clone();
        let answer = tokio::task::spawn_local(async move { slow.get("/slow").await });
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert!(client.get("/").await.is_err(), "it has said goodbye");
        let answer = answer.await.expect("no panic").expect("what was open ends");
        assert_eq!(answer.text(), "ok");
    });
    assert!(idle.is_closed(), "one without a request is closed");
    // One that is asked once more says that this was the last time.
    let mut late = Client::connect(gateway.address);
    late.write("GET / HTTP/1.1\r\nhost: a\r\n");
    pause(1300);
    late.write("\r\n");
    assert_eq!(late.read().expect("an answer").header("connection"), Some("close"));
}

/// An upstream that speaks HTTP/2 as far as a greeting, and keeps all frames that come.
fn listener() -> (SocketAddr, Arc<Mutex<Vec<Frame>>>, Arc<AtomicUsize>) {
    let frames: Arc<Mutex<Vec<Frame>>> = Arc::default();
    let ended = Arc::<AtomicUsize>::default();
    let (kept, count) = (frames.clone(), ended.clone());
    let upstream = Upstream::raw(move |mut reader, _| {
        let mut preface = [0; 24];
        if reader.read_exact(&mut preface).is_err() {
            return;
        }
        assert_eq!(preface, *PREFACE);
        let _ = reader.get_mut().write_all(&[EMPTY_SETTINGS, SETTINGS_ACK].concat());
        while let Some(frame) = frame(&mut reader) {
            kept.lock().expect("not poisoned").push(frame);
        }
        count.fetch_add(1, Ordering::SeqCst);
    });
    let address = upstream.address;
    std::mem::forget(upstream);
    (address, frames, ended)
}

#[test]
fn an_upstream_is_told_what_it_may_send_and_asked_whether_it_is_there() {
    let (address, frames, ended) = listener();
    let gateway = front_with(
        "",
        address,
        "protocol: http2, pool: {warmUp: 1}, http2: {streamWindow: 128KiB, maxConcurrentStreams: 20, maxFrameSize: 32KiB, headerTableSize: 16KiB, keepAlive: {interval: 300ms, timeout: 700ms}}",
        "",
    );
    let seen = || frames.lock().expect("not poisoned").clone();
    eventually("it is greeted", || seen().iter().any(|(kind, flags, _)| (*kind, *flags) == (SETTINGS, 0)));
    let all = seen();
    let (.., payload) =
        all.iter().find(|(kind, flags, _)| (*kind, *flags) == (SETTINGS, 0)).expect("settings");
    let told = settings(payload);
    assert_eq!(
        [1, 4, 5].map(|name| said(&told, name)),
        [Some(16_384), Some(131_072), Some(32_768)],
        "{told:?}"
    );
    eventually("its window is opened", || {
        let all = 20 * 131_072 - 65_535_u32;
        seen().iter().any(|(kind, _, payload)| *kind == WINDOW_UPDATE && **payload == all.to_be_bytes())
    });
    // It answers nothing: without any call it is asked, and given up.
    eventually("it is asked", || seen().iter().any(|(kind, flags, _)| (*kind, flags & ACK) == (PING, 0)));
    eventually("it is given up", || ended.load(Ordering::SeqCst) > 0);
    drop(gateway);
}

#[test]
fn no_more_streams_share_a_connection_to_an_upstream_than_are_wanted() {
    let (now, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let seen = most.clone();
    let upstream = h2::Upstream::start(move |_, mut respond| {
        let (now, most) = (now.clone(), most.clone());
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(700)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            let _ = respond.send_response(http::Response::new(()), true);
        }
    });
    let gateway = front_with("", upstream.address, "protocol: http2, http2: {maxConcurrentStreams: 2}", "");
    run(async {
        let client = h2::Client::connect(gateway.address).await;
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let client = client.clone();
            asking.spawn_local(async move { client.get("/").await.expect("an answer").status });
        }
        while let Some(status) = asking.join_next().await {
            assert_eq!(status.expect("no panic"), 200);
        }
    });
    assert_eq!(upstream.connections(), 3, "two on each");
    assert_eq!(seen.load(Ordering::SeqCst), 6, "nobody waits");
}

#[test]
fn a_host_may_stand_in_the_place_of_an_authority() {
    let upstream = Upstream::echo();
    let gateway = front_with("", upstream.address, "", "");
    run(async {
        let client = h2::Client::connect(gateway.address).await;
        // What a proxy that was asked over HTTP/1.1 makes of it (RFC 9113 §8.3.1).
        let asked = http::Request::get("/x?y").version(http::Version::HTTP_11).header("host", "B.test:8080");
        let answer = client.fetch(asked.body(()).expect("a request"), b"", None).await.expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (200, "/x?y"));
        let asked = http::Request::get("/x").version(http::Version::HTTP_11);
        let answer = client.fetch(asked.body(()).expect("a request"), b"", None).await.expect("an answer");
        assert_eq!(answer.status, 400, "neither");
    });
    assert_eq!(upstream.seen()[0].header("host"), Some("B.test:8080"));
    assert_eq!(gateway.records(2)[0]["host"], "B.test:8080");
}

#[test]
fn what_the_protocol_cannot_say_is_refused() {
    let listener = |settings: &str, words: &[&str]| {
        let text = format!(
            "listeners: [{{name: p, address: \"127.0.0.1:8080\", {settings}}}]\nroutes: [{{name: r, match: [{{path: {{prefix: /}}}}], respond: {{}}}}]\n"
        );
        refused(&text, words);
    };
    listener("http2: {streamWindow: 1KiB}", &["http2.streamWindow", "16384"]);
    listener("http2: {streamWindow: 2MiB}", &["http2.connectionWindow", "at least `streamWindow`"]);
    listener("http2: {maxFrameSize: 16MiB}", &["http2.maxFrameSize", "16777215"]);
    listener("http2: {keepAlive: {interval: 1ms}}", &["keepAlive.interval", "100ms"]);
    listener("limits: {maxConnectionAge: 0s}", &["maxConnectionAge"]);
    let upstream = |settings: &str, words: &[&str]| {
        let text = format!(
            "listeners: [{{name: p, address: \"127.0.0.1:8080\"}}]\nupstreams: [{{name: u, endpoints: [{{address: \"127.0.0.1:1\"}}], http2: {settings}}}]\n"
        );
        refused(&text, words);
    };
    upstream("{maxConcurrentStreams: 0}", &["maxConcurrentStreams"]);
    upstream("{connectionWindow: 1KiB}", &["connectionWindow"]);
}
