//! Heads: HEAD, `OPTIONS *`, CONNECT, bounds, and how long a connection is kept.

use super::{
    super::harness::{Answer, Client, Upstream, h2, raw},
    front, front_with,
};

#[test]
fn an_answer_to_head_has_its_length_and_no_body() {
    let upstream = Upstream::scripted(|seen| {
        let body = if seen.line.starts_with("HEAD") { "" } else { "hello" };
        Some(format!("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{body}").into_bytes())
    });
    let gateway = front(upstream.address);
    let mut client = Client::connect(gateway.address);
    for _ in 0..3 {
        client.write("HEAD /a HTTP/1.1\r\nhost: a.test\r\n\r\n");
        let answer = client.read_head().expect("an answer");
        assert_eq!((answer.status, answer.header("content-length")), (200, Some("5")));
        assert_eq!(client.get("/a").expect("the next answer").text(), "hello");
    }
    h2::run(async {
        let client = h2::Client::connect(gateway.address).await;
        let answer = client.fetch(h2::request("HEAD", "/a"), b"", None).await.expect("an answer");
        assert_eq!((answer.status, answer.header("content-length")), (200, Some("5")));
        assert!(answer.body.is_empty());
    });
    assert_eq!(upstream.connections(), 1, "no connection was given up");
}

#[test]
fn options_star_is_about_the_gateway_and_goes_nowhere() {
    let upstream = Upstream::echo();
    let gateway = front(upstream.address);
    let answer = gateway.send("OPTIONS * HTTP/1.1\nhost: a.test", b"");
    assert_eq!(answer.status, 200);
    assert!(answer.header("allow").is_some_and(|allow| allow.contains("OPTIONS")));
    assert_eq!(gateway.send("GET * HTTP/1.1\nhost: a.test", b"").status, 400);
    assert!(upstream.seen().is_empty());
}

#[test]
fn connect_is_501_unless_it_is_enabled() {
    let upstream = Upstream::echo();
    let gateway = front(upstream.address);
    let answer = gateway.send("CONNECT a.test:443 HTTP/1.1\nhost: a.test:443", b"");
    assert_eq!((answer.status, answer.problem().as_deref()), (501, Some("not-implemented")));
    h2::run(async {
        let client = h2::Client::connect(gateway.address).await;
        let request = http::Request::connect("a.test:443").body(()).expect("a request");
        assert_eq!(client.fetch(request, b"", None).await.expect("an answer").status, 501);
    });
    assert!(upstream.seen().is_empty());
}

#[test]
fn large_heads_are_bounded_in_every_direction_and_version() {
    let upstream = Upstream::scripted(|seen| {
        let size: usize = seen.target()[1..].parse().unwrap_or(0);
        let long = "y".repeat(size);
        Some(format!("HTTP/1.1 200 OK\r\nx-long: {long}\r\ncontent-length: 0\r\n\r\n").into_bytes())
    });
    let gateway = front_with(
        "limits: {maxHeaderSize: 4KiB, maxHeaders: 20, maxUriSize: 1KiB}",
        upstream.address,
        "",
        "",
    );
    let ask = |more: &str| gateway.send(&format!("GET /0 HTTP/1.1\nhost: a.test{more}"), b"").status;
    assert_eq!(ask(&format!("\nx-long: {}", "y".repeat(3_000))), 200);
    assert_eq!(ask(&format!("\nx-long: {}", "y".repeat(5_000))), 431);
    assert_eq!(ask(&"\nx: y".repeat(19)), 431);
    assert_eq!(gateway.send(&format!("GET /{} HTTP/1.1\nhost: a.test", "y".repeat(1_100)), b"").status, 414);
    h2::run(async {
        let client = h2::Client::connect(gateway.address).await;
        for (size, want) in [(3_000, 200), (5_000, 431)] {
            let mut request = h2::request("GET", "/0");
            request.headers_mut().insert("x-long", "y".repeat(size).parse().expect("a value"));
            let answer = client.fetch(request, b"", None).await.expect("an answer");
            assert_eq!(answer.status, want, "{size} bytes");
        }
        let mut request = h2::request("GET", "/0");
        for _ in 0..21 {
            request.headers_mut().append("x", "y".parse().expect("a value"));
        }
        assert_eq!(client.fetch(request, b"", None).await.expect("an answer").status, 431, "too many fields");
        let long = h2::request("GET", &format!("/{}", "y".repeat(1_100)));
        assert_eq!(client.fetch(long, b"", None).await.expect("an answer").status, 414);
    });
    assert_eq!(upstream.seen().len(), 2);
    // An answer's head is bounded too, and more generously: it comes from our own side.
    assert_eq!(gateway.get("/30000").status, 200);
    let answer = gateway.get("/3000000");
    assert_eq!((answer.status, answer.problem().as_deref()), (502, Some("bad-upstream-answer")));
}

#[test]
fn a_connection_ends_gracefully_after_its_share_of_requests() {
    let upstream = Upstream::echo();
    let gateway = front_with("limits: {maxRequestsPerConnection: 3}", upstream.address, "", "");
    let mut client = Client::connect(gateway.address);
    for at in 1..=3 {
        let answer = client.get("/").expect("an answer");
        assert_eq!(answer.header("connection"), (at == 3).then_some("close"), "request {at}");
    }
    assert!(client.is_closed());
    h2::run(async {
        let client = h2::Client::connect(gateway.address).await;
        for _ in 0..3 {
            assert_eq!(client.get("/").await.expect("an answer").status, 200);
        }
        let error = client.get("/").await.expect_err("no fourth");
        assert!(error.is_go_away() || error.is_io(), "{error:?}");
    });
    assert_eq!(upstream.seen().len(), 6);
}

#[test]
fn http_1_0_is_answered_in_its_own_terms() {
    let upstream = Upstream::scripted(|_| {
        Some(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec())
    });
    let gateway = front(upstream.address);
    let bytes = super::super::harness::raw(gateway.address, b"GET / HTTP/1.0\r\nhost: a.test\r\n\r\n");
    let text = String::from_utf8(bytes).expect("text");
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(text.ends_with("\r\n\r\nabc") && !text.contains("transfer-encoding"), "{text}");
}

#[test]
fn a_request_of_http_1_0_without_a_host_reaches_an_upstream_that_is_named() {
    let upstream = Upstream::echo();
    let gateway = front(upstream.address);
    let answer = Answer::parse(&raw(gateway.address, b"GET /old HTTP/1.0\r\n\r\n")).expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (200, "/old"));
    assert_eq!(upstream.seen()[0].header("host"), Some(upstream.address.to_string().as_str()));
}

#[test]
fn a_head_of_an_http_2_upstream_that_is_too_large_is_502_and_nothing_is_done_twice() {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let upstream = h2::Upstream::start(move |request, mut respond| {
        let count = count.clone();
        async move {
            count.fetch_add(1, Ordering::Relaxed);
            let fields: usize = request.uri().path()[1..].parse().expect("a number");
            let mut answer = http::Response::builder();
            for field in 0..fields {
                answer = answer.header(format!("x-{field}"), "v".repeat(1000));
            }
            let _ = respond.send_response(answer.body(()).expect("an answer"), true);
        }
    });
    let retry = "protocol: http2, retry: {maxAttempts: 3, on: [reset, refusedStream, connectFailure]}";
    let gateway = front_with("", upstream.address, retry, "");
    let before = gateway.rss();
    // Under the bound, over it, and far over it.
    for (fields, status) in [(50, 200), (100, 502), (50, 200), (3000, 502), (50, 200)] {
        let asked_before = asked.load(Ordering::Relaxed);
        let answer = gateway.send(&format!("POST /{fields} HTTP/1.1\nhost: a.test\ncontent-length: 1"), b"x");
        assert_eq!(answer.status, status, "{fields}: {}", answer.text());
        let problem = answer.problem();
        assert!(problem.is_none() || status == 502, "{problem:?}");
        if fields == 100 {
            assert_eq!(problem.as_deref(), Some("bad-upstream-answer"));
        }
        assert_eq!(asked.load(Ordering::Relaxed), asked_before + 1, "{fields}");
    }
    assert!(gateway.rss().saturating_sub(before) < 16 << 20);
}

#[test]
fn a_101_of_an_http_2_upstream_is_no_tunnel_to_anyone() {
    // RFC 9113 §8.6: it has no meaning there, and a client of HTTP/1.1 would take it for the end of HTTP.
    let upstream = h2::Upstream::start(|_, mut respond| async move {
        for status in [100, 101, 103] {
            let interim = http::Response::builder().status(status).header("link", "</a>").body(());
            respond.send_informational(interim.expect("an answer")).expect("sent");
        }
        let mut stream = respond.send_response(http::Response::new(()), false).expect("sent");
        let _ = stream.send_data("ok".into(), true);
    });
    let gateway = front_with("", upstream.address, "protocol: http2", "");
    let answer = raw(gateway.address, b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n");
    let text = String::from_utf8(answer).expect("text");
    let lines: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)).collect();
    assert_eq!(lines, ["103", "200"], "{text}");
}
