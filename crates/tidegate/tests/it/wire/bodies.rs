//! Bodies and time: what is kept is whole or not used, unfolding is bounded, and only what it is meant for is timed.

use std::{
    io::{Read, Write},
    time::{Duration, Instant},
};

use super::{
    super::harness::{Answer, Client, Upstream, h2, pause, read_request},
    front_with,
};

#[test]
fn a_body_that_is_too_large_to_keep_is_never_sent_again_in_part() {
    // Each try reads everything and breaks off, which asks for another one.
    let upstream = || {
        Upstream::raw(|mut reader, seen| {
            if let Some(request) = read_request(&mut reader) {
                seen.lock().expect("not poisoned").push(request);
            }
        })
    };
    for (size, framing, tries) in
        [(1_000, "length", 3), (1_000, "chunked", 3), (100_000, "length", 1), (100_000, "chunked", 1)]
    {
        let upstream = upstream();
        let gateway =
            front_with("", upstream.address, "retry: {maxAttempts: 3, on: [reset], maxBodySize: 64KiB}", "");
        let body = "b".repeat(size);
        let (header, bytes) = match framing {
            "length" => (format!("content-length: {size}"), body.clone()),
            _ => ("transfer-encoding: chunked".to_owned(), format!("{size:x}\r\n{body}\r\n0\r\n\r\n")),
        };
        let answer = gateway.send(&format!("PUT / HTTP/1.1\nhost: a.test\n{header}"), bytes.as_bytes());
        assert_eq!(answer.status, 502, "{size} {framing}");
        let seen = upstream.seen();
        assert_eq!(seen.len(), tries, "{size} {framing}");
        assert!(seen.iter().all(|seen| seen.body == body.as_bytes()), "{size} {framing}: a part of the body");
    }
}

#[test]
fn a_body_over_its_limit_is_refused_and_never_looks_whole() {
    let upstream = Upstream::echo();
    let gateway = front_with("", upstream.address, "", "policies: [{requestLimits: {maxBodySize: 1KiB}}]");
    let answer = gateway.send("POST / HTTP/1.1\nhost: a.test\ncontent-length: 2000", &[b'x'; 2000]);
    assert_eq!((answer.status, answer.problem().as_deref()), (413, Some("body-too-large")));
    let mut client = Client::connect(gateway.address);
    client.write("POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n");
    for _ in 0..3 {
        client.write(format!("200\r\n{}\r\n", "x".repeat(512)));
    }
    assert_eq!(client.read().expect("an answer").status, 413);
    h2::run(async {
        let client = h2::Client::connect(gateway.address).await;
        let answer = client.fetch(h2::request("POST", "/"), &[b'x'; 2000], None).await.expect("an answer");
        assert_eq!(answer.status, 413);
    });
    assert!(upstream.seen().is_empty(), "none of them came to an end");
    let fits = gateway.send("POST / HTTP/1.1\nhost: a.test\ncontent-length: 1000", &[b'x'; 1000]);
    assert_eq!(fits.status, 200);
    assert_eq!(upstream.seen()[0].body.len(), 1000);
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(data).expect("written");
    encoder.finish().expect("finished")
}

#[test]
fn decompression_is_bounded_in_size_and_ratio() {
    let upstream = Upstream::echo();
    let policy = "policies: [{decompress: {algorithms: [gzip], maxSize: 1MiB, maxRatio: 20}}]";
    let gateway = front_with("", upstream.address, "", policy);
    let ask = |body: &[u8]| {
        let head =
            format!("POST / HTTP/1.1\nhost: a.test\ncontent-encoding: gzip\ncontent-length: {}", body.len());
        gateway.send(&head, body).status
    };
    let text: Vec<u8> = (0..20_000u32).flat_map(|at| at.wrapping_mul(0x9e37_79b9).to_be_bytes()).collect();
    assert_eq!(ask(&gzip(&text)), 200);
    assert_eq!(upstream.seen().pop().expect("a request").body, text);
    let before = gateway.rss();
    // By ratio, and by size: half a gigabyte that came in half a megabyte, and two megabytes that hardly shrink.
    assert_eq!(ask(&gzip(&vec![0; 512 << 20])), 413);
    let large: Vec<u8> = (0..500_000u32).flat_map(|at| at.wrapping_mul(0x9e37_79b9).to_be_bytes()).collect();
    assert_eq!(ask(&gzip(&large)), 413);
    assert_eq!(upstream.seen().len(), 1, "no bomb came to an end");
    assert!(gateway.rss().saturating_sub(before) < 16 << 20);
}

#[test]
fn a_slow_upload_is_not_cut_by_the_timeout_for_the_answer() {
    for upstream in [1, 2] {
        let (h1, http2) = (Upstream::echo(), h2::Upstream::echo());
        let address = if upstream == 1 { h1.address } else { http2.address };
        let settings = format!("protocol: http{upstream}, timeouts: {{request: 400ms, perTry: 400ms}}");
        let gateway = front_with("", address, &settings, "");
        let mut client = Client::connect(gateway.address);
        client.write("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 1600\r\n\r\n");
        for _ in 0..8 {
            pause(150);
            client.write([b'x'; 200]);
        }
        assert_eq!(client.read().expect("an answer").status, 200, "HTTP/1 to HTTP/{upstream}");
        h2::run(async {
            let client = h2::Client::connect(gateway.address).await;
            let mut send = client.send.clone().ready().await.expect("ready");
            let (response, mut stream) = send.send_request(h2::request("POST", "/"), false).expect("sent");
            for at in 0..8 {
                tokio::time::sleep(Duration::from_millis(150)).await;
                stream.send_data("x".repeat(200).into(), at == 7).expect("sent");
            }
            let answer = h2::read_answer(response.await.expect("an answer")).await.expect("a body");
            assert_eq!(answer.status, 200, "HTTP/2 to HTTP/{upstream}");
        });
    }
}

#[test]
fn an_upstream_that_is_silent_after_the_body_is_504_and_never_500() {
    for upstream in [1, 2] {
        let h1 = Upstream::raw(|mut reader, _| {
            let _ = read_request(&mut reader);
            let _ = reader.read(&mut [0]);
        });
        let http2 = h2::Upstream::start(|request, mut respond| async move {
            let mut body = request.into_body();
            let _ = h2::collect(&mut body).await;
            let _ = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
        });
        let address = if upstream == 1 { h1.address } else { http2.address };
        let settings = format!("protocol: http{upstream}, timeouts: {{request: 400ms}}");
        let gateway = front_with("", address, &settings, "");
        for head in ["GET / HTTP/1.1\nhost: a.test", "POST / HTTP/1.1\nhost: a.test\ncontent-length: 2"] {
            let start = Instant::now();
            let answer = gateway.send(head, b"ok");
            assert_eq!(
                (answer.status, answer.problem().as_deref()),
                (504, Some("upstream-timeout")),
                "{head}"
            );
            assert!(start.elapsed() >= Duration::from_millis(350), "{head}: {:?}", start.elapsed());
            assert!(start.elapsed() < Duration::from_secs(10), "{head}: {:?}", start.elapsed());
        }
        h2::run(async {
            let client = h2::Client::connect(gateway.address).await;
            let answer = client.fetch(h2::request("POST", "/"), b"ok", None).await.expect("an answer");
            assert_eq!(answer.status, 504);
        });
    }
}

#[test]
fn an_answer_that_stalls_is_cut_by_idle_and_one_that_flows_only_by_total() {
    let drip = || {
        Upstream::raw(|mut reader, _| {
            if let Some(seen) = read_request(&mut reader) {
                let stalls = seen.target() == "/stall";
                let _ = reader
                    .get_mut()
                    .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n");
                for _ in 0..10 {
                    pause(if stalls { 5_000 } else { 150 });
                    if reader.get_mut().write_all(b"1\r\nx\r\n").is_err() {
                        return;
                    }
                }
                let _ = reader.get_mut().write_all(b"0\r\n\r\n");
            }
        })
    };
    let ask = |gateway: &super::super::harness::Gateway, path: &str| -> (Option<Answer>, Duration) {
        let mut client = Client::connect(gateway.address);
        let start = Instant::now();
        client.write(format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n"));
        (client.read(), start.elapsed())
    };
    let upstream = drip();
    let gateway = front_with("", upstream.address, "timeouts: {request: 300ms, idle: 700ms}", "");
    let (answer, _) = ask(&gateway, "/flow");
    assert_eq!(answer.expect("the whole answer").body, b"xxxxxxxxxxx");
    let (answer, took) = ask(&gateway, "/stall");
    assert!(answer.is_none() && took < Duration::from_secs(4), "{took:?}");
    let record = gateway.records(2).remove(1);
    assert_eq!(record["failure"]["reason"], "upstream-timeout", "{record}");
    let gateway = front_with("", upstream.address, "timeouts: {total: 500ms, idle: 700ms}", "");
    let (answer, took) = ask(&gateway, "/flow");
    assert!(answer.is_none() && took < Duration::from_secs(4), "{took:?}");
}

#[test]
fn bodies_keep_their_framing_from_version_to_version() {
    let h1 = Upstream::echo();
    let gateway = front_with("", h1.address, "", "");
    gateway.send("POST / HTTP/1.1\nhost: a.test\ncontent-length: 5", b"hello");
    gateway.send("POST / HTTP/1.1\nhost: a.test\ntransfer-encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n");
    gateway.send("POST / HTTP/1.1\nhost: a.test\ncontent-length: 0", b"");
    h2::run(async {
        let client = h2::Client::connect(gateway.address).await;
        let mut request = h2::request("POST", "/");
        request.headers_mut().insert("content-length", "5".parse().expect("a value"));
        client.fetch(request, b"hello", None).await.expect("an answer");
        client.fetch(h2::request("POST", "/"), b"hello", None).await.expect("an answer");
        client.fetch(h2::request("POST", "/"), b"", None).await.expect("an answer");
    });
    let framing: Vec<_> = h1
        .seen()
        .iter()
        .map(|seen| {
            (
                seen.header("content-length").map(str::to_owned),
                seen.header("transfer-encoding").map(str::to_owned),
            )
        })
        .collect();
    let length = |length: &str| (Some(length.to_owned()), None);
    let chunked = (None, Some("chunked".to_owned()));
    assert_eq!(framing, [length("5"), chunked.clone(), length("0"), length("5"), chunked, length("0")]);
}
