//! Bodies flow: nothing waits for an end, and a slow side pushes back on the fast one, in bounded memory.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use super::{
    super::harness::{Client, Gateway, Upstream, eventually, h2, pause},
    front_with,
};

const ROUNDS: usize = 5;
/// More than any buffer on the way holds.
const LARGE: u64 = 200 << 20;
/// What the kernel's buffers and ours may hold of it while nobody reads.
const HELD: u64 = 40 << 20;
const GROWTH: u64 = 16 << 20;

/// An upstream that answers at once and then gives each piece of the request's body back as it comes.
fn pieces_back(version: u8) -> SocketAddr {
    if version == 2 {
        let upstream = h2::Upstream::start(|request, mut respond| async move {
            let mut body = request.into_body();
            let mut stream = respond.send_response(http::Response::new(()), false).expect("sent");
            while let Some(Ok(data)) = body.data().await {
                let _ = body.flow_control().release_capacity(data.len());
                let _ = stream.send_data(data, false);
            }
            let _ = stream.send_data(Bytes::new(), true);
        });
        return upstream.address;
    }
    let upstream = Upstream::raw(|mut reader, _| {
        let line = |reader: &mut std::io::BufReader<std::net::TcpStream>| {
            let mut line = String::new();
            std::io::BufRead::read_line(reader, &mut line).ok().filter(|count| *count > 0)?;
            Some(line.trim_end().to_owned())
        };
        let request = line(&mut reader).unwrap_or_default();
        while line(&mut reader).is_some_and(|line| !line.is_empty()) {}
        if request.starts_with("GET") {
            let _ = reader.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
            return;
        }
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let _ = reader.get_mut().write_all(head);
        while let Some(size) = line(&mut reader).and_then(|size| usize::from_str_radix(&size, 16).ok()) {
            let mut chunk = vec![0; size + 2];
            let _ = reader.read_exact(&mut chunk);
            let _ = reader.get_mut().write_all(format!("{size:x}\r\n").as_bytes());
            let _ = reader.get_mut().write_all(&chunk);
            if size == 0 {
                return;
            }
        }
    });
    let address = upstream.address;
    // It serves until the process of the test ends.
    std::mem::forget(upstream);
    address
}

#[test]
fn the_answer_flows_while_the_requests_body_still_does_piece_by_piece() {
    for (client, upstream) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
        let gateway = front_with("", pieces_back(upstream), &format!("protocol: http{upstream}"), "");
        if client == 1 {
            ping_pong_h1(&gateway);
        } else {
            h2::run(ping_pong_h2(&gateway));
        }
    }
}

fn ping_pong_h1(gateway: &Gateway) {
    let mut client = Client::connect(gateway.address);
    client.write("POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n");
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push_str(&client.read_line());
    }
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    // Whether the request would ever end was not known then.
    assert!(head.to_ascii_lowercase().contains("connection: close"), "{head}");
    for at in 0..ROUNDS {
        client.write(format!("7\r\npiece-{at}\r\n"));
        assert_eq!(client.read_line(), "7\r\n");
        assert_eq!(client.read_bytes(9), format!("piece-{at}\r\n").into_bytes());
    }
    client.write("0\r\n\r\n");
    assert_eq!((client.read_line().as_str(), client.read_line().as_str()), ("0\r\n", "\r\n"));
    assert!(client.is_closed());
}

async fn ping_pong_h2(gateway: &Gateway) {
    let client = h2::Client::connect(gateway.address).await;
    let mut send = client.send.clone().ready().await.expect("ready");
    let (response, mut stream) = send.send_request(h2::request("POST", "/"), false).expect("sent");
    let mut body = response.await.expect("an answer").into_body();
    for at in 0..ROUNDS {
        let piece = format!("piece-{at}");
        stream.send_data(piece.clone().into(), false).expect("sent");
        let mut back = Vec::new();
        while back.len() < piece.len() {
            let data = body.data().await.expect("more").expect("data");
            let _ = body.flow_control().release_capacity(data.len());
            back.extend_from_slice(&data);
        }
        assert_eq!(back, piece.as_bytes());
    }
    stream.send_data(Bytes::new(), true).expect("sent");
    assert!(body.data().await.is_none_or(|data| data.expect("no error").is_empty()));
}

/// An upstream that sends as much as is taken, and counts it.
fn fountain(version: u8, framing: &'static str) -> (SocketAddr, Arc<AtomicU64>) {
    let sent = Arc::new(AtomicU64::new(0));
    let count = sent.clone();
    if version == 2 {
        let upstream = h2::Upstream::start(move |_, mut respond| {
            let count = count.clone();
            async move {
                let mut stream = respond.send_response(http::Response::new(()), false).expect("sent");
                let piece = Bytes::from(vec![b'x'; 16 * 1024]);
                while count.load(Ordering::Relaxed) < LARGE {
                    stream.reserve_capacity(piece.len());
                    while stream.capacity() < piece.len() {
                        match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
                            Some(Ok(_)) => {}
                            _ => return,
                        }
                    }
                    if stream.send_data(piece.clone(), false).is_err() {
                        return;
                    }
                    count.fetch_add(piece.len() as u64, Ordering::Relaxed);
                }
                let _ = stream.send_data(Bytes::new(), true);
            }
        });
        return (upstream.address, sent);
    }
    let upstream = Upstream::raw(move |mut reader, _| {
        if super::super::harness::read_request(&mut reader).is_none() {
            return;
        }
        let stream = reader.get_mut();
        let head = match framing {
            "length" => format!("content-length: {LARGE}"),
            _ => "transfer-encoding: chunked".to_owned(),
        };
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n").as_bytes());
        let piece = match framing {
            "length" => vec![b'x'; 64 * 1024],
            _ => [b"10000\r\n", &vec![b'x'; 64 * 1024][..], b"\r\n"].concat(),
        };
        while count.load(Ordering::Relaxed) < LARGE && stream.write_all(&piece).is_ok() {
            count.fetch_add(64 * 1024, Ordering::Relaxed);
        }
        if framing == "chunked" {
            let _ = stream.write_all(b"0\r\n\r\n");
        }
    });
    let address = upstream.address;
    std::mem::forget(upstream);
    (address, sent)
}

/// Waits until a count moves no more, and gives it.
fn settled(count: &AtomicU64) -> u64 {
    let mut last = u64::MAX;
    eventually("a standstill", || {
        let now = count.load(Ordering::Relaxed);
        let stands = now > 0 && now == last;
        last = now;
        pause(300);
        stands
    });
    last
}

/// A client whose window costs few round trips.
async fn wide(gateway: &Gateway) -> h2::Client {
    let io = tokio::net::TcpStream::connect(gateway.address).await.expect("a connection");
    let mut builder = ::h2::client::Builder::new();
    builder.initial_window_size(1 << 20).initial_connection_window_size(1 << 20);
    h2::Client::with(&builder, io).await
}

/// The gateway holds little of what nobody takes.
fn held_back(what: &str, gateway: &Gateway, before: u64, count: &AtomicU64) {
    let taken = settled(count);
    assert!(taken < HELD, "{what}: {taken} bytes left the fast side");
    let grown = gateway.rss().saturating_sub(before);
    assert!(grown < GROWTH, "{what}: memory grew by {grown}");
}

#[test]
fn a_slow_reader_pushes_back_on_the_upstream() {
    for (upstream, framing) in [(1, "length"), (1, "chunked"), (2, "h2")] {
        let what = format!("HTTP/1 from HTTP/{upstream} {framing}");
        let (address, sent) = fountain(upstream, framing);
        let gateway = front_with("", address, &format!("protocol: http{upstream}"), "");
        let before = gateway.rss();
        let mut client = Client::connect(gateway.address);
        client.write("GET / HTTP/1.0\r\nhost: a.test\r\n\r\n");
        held_back(&what, &gateway, before, &sent);
        let mut received = 0u64;
        let mut buffer = vec![0; 1 << 20];
        loop {
            let count = client.stream().read(&mut buffer).expect("bytes");
            if count == 0 {
                break;
            }
            received += count as u64;
        }
        assert!((LARGE..LARGE + 1000).contains(&received), "{what}: {received}");
        assert!(gateway.rss().saturating_sub(before) < GROWTH, "{what}");
    }
}

#[test]
fn a_slow_http_2_reader_pushes_back_on_the_upstream() {
    for (upstream, framing) in [(1, "length"), (2, "h2")] {
        let what = format!("HTTP/2 from HTTP/{upstream}");
        let (address, sent) = fountain(upstream, framing);
        let gateway = front_with("", address, &format!("protocol: http{upstream}"), "");
        let before = gateway.rss();
        h2::run(async {
            let client = wide(&gateway).await;
            let mut send = client.send.clone().ready().await.expect("ready");
            let (response, _) = send.send_request(h2::request("GET", "/"), true).expect("sent");
            let mut body = response.await.expect("an answer").into_body();
            tokio::time::sleep(Duration::from_millis(300)).await;
            held_back(&what, &gateway, before, &sent);
            let mut received = 0;
            while let Some(data) = body.data().await {
                let data = data.expect("data");
                let _ = body.flow_control().release_capacity(data.len());
                received += data.len() as u64;
            }
            assert_eq!(received, LARGE, "{what}");
        });
        assert!(gateway.rss().saturating_sub(before) < GROWTH, "{what}");
    }
}

/// An upstream that reads nothing of a body until it is told to, and then answers with how much came.
fn sink(version: u8, go: Arc<tokio::sync::Semaphore>) -> SocketAddr {
    if version == 2 {
        let upstream = h2::Upstream::start(move |request, mut respond| {
            let go = go.clone();
            async move {
                let mut body = request.into_body();
                let _permit = go.acquire().await;
                let mut received = 0;
                while let Some(Ok(data)) = body.data().await {
                    let _ = body.flow_control().release_capacity(data.len());
                    received += data.len();
                }
                let mut stream = respond.send_response(http::Response::new(()), false).expect("sent");
                let _ = stream.send_data(received.to_string().into(), true);
            }
        });
        return upstream.address;
    }
    let upstream = Upstream::raw(move |mut reader, _| {
        while go.available_permits() == 0 {
            pause(20);
        }
        if let Some(seen) = super::super::harness::read_request(&mut reader) {
            let body = seen.body.len().to_string();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let _ = reader.get_mut().write_all(answer.as_bytes());
        }
    });
    let address = upstream.address;
    std::mem::forget(upstream);
    address
}

#[test]
fn a_slow_upstream_pushes_back_on_the_client() {
    for upstream in [1, 2] {
        let what = format!("HTTP/1 to HTTP/{upstream}");
        let go = Arc::new(tokio::sync::Semaphore::new(0));
        let gateway = front_with("", sink(upstream, go.clone()), &format!("protocol: http{upstream}"), "");
        let before = gateway.rss();
        let mut client = Client::connect(gateway.address);
        client.write(format!("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: {LARGE}\r\n\r\n"));
        let sent = Arc::new(AtomicU64::new(0));
        let count = sent.clone();
        let mut stream = client.stream().try_clone().expect("a socket");
        let writer = std::thread::spawn(move || {
            let piece = vec![b'x'; 64 * 1024];
            while count.load(Ordering::Relaxed) < LARGE {
                stream.write_all(&piece).expect("sent");
                count.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
        });
        held_back(&what, &gateway, before, &sent);
        go.add_permits(1);
        assert_eq!(client.read().expect("an answer").text(), LARGE.to_string(), "{what}");
        writer.join().expect("all was sent");
        assert!(gateway.rss().saturating_sub(before) < GROWTH, "{what}");
    }
}

#[test]
fn a_slow_upstream_pushes_back_on_an_http_2_client() {
    for upstream in [1, 2] {
        let what = format!("HTTP/2 to HTTP/{upstream}");
        let go = Arc::new(tokio::sync::Semaphore::new(0));
        let gateway = front_with("", sink(upstream, go.clone()), &format!("protocol: http{upstream}"), "");
        let before = gateway.rss();
        h2::run(async {
            let client = h2::Client::connect(gateway.address).await;
            let mut send = client.send.clone().ready().await.expect("ready");
            let (response, mut stream) = send.send_request(h2::request("POST", "/"), false).expect("sent");
            let sent = Arc::new(AtomicU64::new(0));
            let count = sent.clone();
            let writer = tokio::task::spawn_local(async move {
                let piece = Bytes::from(vec![b'x'; 16 * 1024]);
                while count.load(Ordering::Relaxed) < LARGE {
                    stream.reserve_capacity(piece.len());
                    while stream.capacity() < piece.len() {
                        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
                        room.expect("a stream").expect("room");
                    }
                    stream.send_data(piece.clone(), false).expect("sent");
                    count.fetch_add(piece.len() as u64, Ordering::Relaxed);
                }
                stream.send_data(Bytes::new(), true).expect("sent");
            });
            // Until as much is under way as there is room for.
            h2::eventually("bytes under way", || sent.load(Ordering::Relaxed) > 0).await;
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            held_back(&what, &gateway, before, &sent);
            go.add_permits(1);
            let answer = h2::read_answer(response.await.expect("an answer")).await.expect("a body");
            assert_eq!(answer.text(), LARGE.to_string(), "{what}");
            writer.await.expect("all was sent");
        });
        assert!(gateway.rss().saturating_sub(before) < GROWTH, "{what}");
    }
}

#[test]
fn what_flows_when_the_gateway_is_told_to_end_comes_whole() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let upstream = Upstream::raw(move |mut reader, _| {
        if super::super::harness::read_request(&mut reader).is_some() {
            let _ = reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf");
            let _ = wait.lock().expect("not poisoned").recv();
            let _ = reader.get_mut().write_all(b"half");
        }
    });
    let mut gateway = front_with("", upstream.address, "", "");
    let mut client = Client::connect(gateway.address);
    client.write("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
    assert!(client.read_line().starts_with("HTTP/1.1 200"));
    gateway.signal("TERM");
    eventually("no more connections", || std::net::TcpStream::connect(gateway.address).is_err());
    go.send(()).expect("an upstream");
    while client.read_line() != "\r\n" {}
    assert_eq!(client.read_bytes(8), b"halfhalf");
    assert!(gateway.wait().success());
}

#[test]
fn the_upload_flows_beside_an_answer_that_nobody_reads_whatever_wraps_it() {
    const UPLOAD: usize = 24 << 20;
    for (version, more) in [
        (1, "timeouts: {idle: 20s}"),
        (1, "timeouts: {total: 300s}"),
        (2, "timeouts: {total: 300s}"),
        (1, "policies: [{compress: {}}]"),
    ] {
        // The answer is larger than all buffers, and begins before the body has come.
        let taken = Arc::new(AtomicU64::new(0));
        let count = taken.clone();
        let upstream = Upstream::raw(move |mut reader, _| {
            let Some(_) = super::super::harness::read_head(&mut reader) else { return };
            let mut writer = reader.get_ref().try_clone().expect("a socket");
            std::thread::spawn(move || {
                let head = "content-type: text/plain\r\ntransfer-encoding: chunked";
                let _ = writer.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n").as_bytes());
                // Noise, which no coding makes small.
                let (mut state, mut noise) = (1u64, Vec::with_capacity(64 * 1024));
                while noise.len() < 64 * 1024 {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    noise.push((state >> 33) as u8);
                }
                let piece = [b"10000\r\n", &noise[..], b"\r\n"].concat();
                while writer.write_all(&piece).is_ok() {}
            });
            let mut buffer = [0; 64 * 1024];
            while let Ok(read @ 1..) = reader.read(&mut buffer) {
                count.fetch_add(read as u64, Ordering::Relaxed);
            }
        });
        let gateway = front_with("", upstream.address, "retry: {maxAttempts: 1}", more);
        let all_came = || taken.load(Ordering::Relaxed) >= UPLOAD as u64;
        if version == 1 {
            let client = Client::connect(gateway.address);
            let mut writer = client.stream().try_clone().expect("a socket");
            std::thread::spawn(move || {
                let head = format!(
                    "POST / HTTP/1.1\r\nhost: a.test\r\naccept-encoding: gzip\r\ncontent-length: {UPLOAD}\r\n\r\n"
                );
                let _ = writer.write_all(head.as_bytes());
                let _ = writer.write_all(&vec![b'x'; UPLOAD]);
            });
            eventually(&format!("all of the body has come: {more}"), all_came);
            drop(client);
        } else {
            h2::run(async {
                let client = h2::Client::connect(gateway.address).await;
                let mut send = client.send.clone().ready().await.expect("ready");
                let (_response, mut body) =
                    send.send_request(h2::request("POST", "/"), false).expect("a stream");
                body.send_data(vec![b'x'; UPLOAD].into(), true).expect("queued");
                h2::eventually(&format!("all of the body has come: {more}"), all_came).await;
            });
        }
    }
}

#[test]
fn clients_that_do_not_read_hold_up_no_other_call_on_their_upstreams_connection() {
    let sent = Arc::new(AtomicU64::new(0));
    let count = sent.clone();
    let upstream = h2::Upstream::start(move |request, mut respond| {
        let count = count.clone();
        async move {
            let mut stream = respond.send_response(http::Response::new(()), false).expect("sent");
            if request.uri().path() == "/small" {
                let _ = stream.send_data("ok".into(), true);
                return;
            }
            let piece = Bytes::from(vec![b'x'; 16 * 1024]);
            loop {
                stream.reserve_capacity(piece.len());
                while stream.capacity() < piece.len() {
                    match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
                        Some(Ok(_)) => {}
                        _ => return,
                    }
                }
                let _ = stream.send_data(piece.clone(), false);
                count.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
        }
    });
    let gateway = front_with("", upstream.address, "protocol: http2, timeouts: {request: 5s}", "");
    let readers: Vec<_> = (0..30)
        .map(|_| {
            let mut client = Client::connect(gateway.address);
            client.write("GET /large HTTP/1.1\r\nhost: a.test\r\n\r\n");
            client
        })
        .collect();
    settled(&sent);
    let answer = gateway.get("/small");
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert_eq!(upstream.connections(), 1);
    drop(readers);
}
