//! Clients that take their time: heads, bodies, handshakes and idle connections have bounds.

use std::{io::Write, net::TcpStream, time::Instant};

use super::{
    super::harness::{Answer, Client, Gateway, Upstream, eventually, pause},
    frames::{
        CONTINUATION, DATA, END_HEADERS, HEADERS, PING, PREFACE, RESET, SETTINGS, ask, field, fields, frame,
        get,
    },
};

fn setup() -> (Gateway, Upstream) {
    let upstream = Upstream::fixed(200, "ok");
    let gateway = Gateway::with(
        "limits: {headerTimeout: 1s, bodyTimeout: 1s, idleTimeout: 1s, maxConnections: 50}",
        &format!(
            "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}]
",
            upstream.address
        ),
    );
    (gateway, upstream)
}

#[test]
fn a_head_that_drips_is_cut_off() {
    let (gateway, upstream) = setup();
    let mut client = Client::connect(gateway.address);
    let start = Instant::now();
    client.write("GET / HTTP/1.1\r\nHost: a.test\r\n");
    let mut stream = client.stream().try_clone().expect("a socket");
    std::thread::spawn(move || {
        for _ in 0..100 {
            if stream.write_all(b"X: y\r\n").is_err() {
                return;
            }
            pause(50);
        }
    });
    let answer = client.read();
    assert!(answer.is_none_or(|answer| answer.status == 408));
    assert!(start.elapsed().as_millis() < 4_000, "{:?}", start.elapsed());
    assert!(upstream.seen().is_empty());
}

#[test]
fn a_body_that_stops_is_cut_off() {
    let (gateway, _upstream) = setup();
    let mut client = Client::connect(gateway.address);
    client.write("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nhalf");
    let start = Instant::now();
    let answer: Option<Answer> = client.read();
    assert_eq!(answer.map(|answer| answer.status), Some(408));
    assert!(start.elapsed().as_millis() < 4_000);
}

/// Opens an HTTP/2 connection, sends these bytes at once, and others again and again; tells how long it lived.
fn lifetime(gateway: &Gateway, first: &[u8], again: &'static [u8]) -> std::time::Duration {
    let mut client = Client::connect(gateway.address);
    let start = Instant::now();
    client.write([PREFACE, &frame(SETTINGS, 0, 0, &[]), first].concat());
    let mut stream = client.stream().try_clone().expect("a socket");
    let dripping = std::thread::spawn(move || {
        while stream.write_all(again).is_ok() {
            pause(50);
        }
    });
    while !client.is_closed() {}
    let lived = start.elapsed();
    drop(client);
    dripping.join().expect("the drip ends with its connection");
    lived
}

#[test]
fn an_http_2_head_that_drips_and_pings_without_a_request_are_cut_off() {
    // CVE-2007-6750 on HTTP/2: a header block that never ends, and a connection that is kept up for nothing.
    let (gateway, upstream) = setup();
    let mut endless =
        [frame(HEADERS, 0, 1, &get()), frame(CONTINUATION, 0, 1, &field("x", &"y".repeat(15_000)))].concat();
    endless.truncate(endless.len() - 14_900);
    let lived = lifetime(&gateway, &endless, b"y");
    assert!(lived.as_millis() < 8_000, "{lived:?}");
    const EMPTY_PING: &[u8] = &[0, 0, 8, PING, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let lived = lifetime(&gateway, &[], EMPTY_PING);
    assert!(lived.as_millis() < 8_000, "{lived:?}");
    assert!(upstream.seen().is_empty());
    assert_eq!(gateway.get("/").status, 200);
}

#[test]
fn an_http_2_body_that_stops_is_cut_off() {
    let (gateway, upstream) = setup();
    let post = fields(&[(":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", "a.test")]);
    let start = Instant::now();
    let status =
        ask(gateway.address, &[frame(HEADERS, END_HEADERS, 1, &post), frame(DATA, 0, 1, b"half")].concat());
    assert!([408, RESET].contains(&status), "{status}");
    assert!(start.elapsed().as_millis() < 8_000, "{:?}", start.elapsed());
    assert!(upstream.seen().is_empty(), "it never had a whole request");
}

#[test]
fn an_idle_connection_is_closed() {
    let (gateway, _upstream) = setup();
    let mut client = Client::connect(gateway.address);
    assert_eq!(client.get("/").expect("an answer").status, 200);
    let start = Instant::now();
    assert!(client.is_closed());
    let took = start.elapsed().as_millis();
    assert!((500..4_000).contains(&took), "{took}");
}

#[test]
fn connections_beyond_the_bound_are_turned_away_and_room_comes_back() {
    let (gateway, _upstream) = setup();
    let held: Vec<_> = (0..50).map(|_| TcpStream::connect(gateway.address).expect("a connection")).collect();
    eventually("all places are taken", || {
        let mut extra = Client::connect(gateway.address);
        extra.patience(std::time::Duration::from_millis(500));
        extra.is_closed()
    });
    drop(held);
    eventually("a place is free again", || {
        std::panic::catch_unwind(|| gateway.get("/").status == 200).unwrap_or(false)
    });
}

#[test]
fn a_connection_that_says_nothing_is_closed() {
    // CVE-2007-6750, slowloris without a byte.
    let (gateway, upstream) = setup();
    let start = Instant::now();
    assert!(Client::connect(gateway.address).is_closed());
    assert!(start.elapsed().as_millis() < 8_000, "{:?}", start.elapsed());
    let mut half_of_a_preface = Client::connect(gateway.address);
    half_of_a_preface.write("PRI * HTTP/2.0\r\n");
    assert!(half_of_a_preface.is_closed());
    assert!(upstream.seen().is_empty());
}

#[test]
fn many_dripping_heads_take_little_memory_and_others_are_served() {
    // CVE-2007-6750, slowloris.
    let upstream = Upstream::fixed(200, "ok");
    let gateway = Gateway::with(
        "limits: {headerTimeout: 3s}",
        &format!(
            "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}]
",
            upstream.address
        ),
    );
    assert_eq!(gateway.get("/").status, 200);
    let before = gateway.rss();
    let mut slow: Vec<_> =
        (0..300).map(|_| TcpStream::connect(gateway.address).expect("a connection")).collect();
    for round in 0..20 {
        for stream in &mut slow {
            let _ = stream.write_all(if round == 0 {
                b"GET / HTTP/1.1\r\nHost: a.test\r\n"
            } else {
                b"X: y\r\n"
            });
        }
        assert_eq!(gateway.get("/").status, 200, "others are served in round {round}");
    }
    let grown = gateway.rss().saturating_sub(before);
    assert!(grown < 300 * 64 * 1024, "memory grew by {grown}");
    eventually("all of them are cut off", || {
        slow.iter_mut().all(|stream| stream.write_all(b"X: y\r\n").is_err())
    });
}

#[test]
fn an_answer_that_is_not_read_is_given_up_and_takes_little_memory() {
    // CVE-2019-9517 on HTTP/1.1: the kernel's buffers fill up, then the upstream is held back, then it ends.
    const ANSWER_BYTES: usize = 64 << 20;
    let upstream = Upstream::raw(|mut reader, _| {
        if super::super::harness::read_request(&mut reader).is_some() {
            let stream = reader.get_mut();
            let _ = stream
                .write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {ANSWER_BYTES}\r\n\r\n").as_bytes());
            let part = vec![b'x'; 64 * 1024];
            for _ in 0..ANSWER_BYTES / part.len() {
                if stream.write_all(&part).is_err() {
                    return;
                }
            }
        }
    });
    let gateway = Gateway::with(
        "limits: {bodyTimeout: 1s}",
        &format!(
            "accessLog: [{{kind: stdout, format: json}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], timeouts: {{idle: 20s}}, backends: [{{upstream: u}}]}}]
",
            upstream.address
        ),
    );
    let before = gateway.rss();
    let mut clients: Vec<_> = (0..8).map(|_| Client::connect(gateway.address)).collect();
    for client in &mut clients {
        client.write("GET /large HTTP/1.1\r\nHost: a.test\r\n\r\n");
    }
    let records = gateway.records(8);
    for record in &records {
        let failure = &record["failure"];
        assert!(failure.to_string().contains("client"), "{record}");
    }
    let grown = gateway.rss().saturating_sub(before);
    assert!(grown < 24 << 20, "memory grew by {grown}");
}

#[test]
fn a_client_that_reads_slowly_is_waited_for() {
    let upstream = Upstream::fixed(200, &"x".repeat(6 << 20));
    let gateway = Gateway::with(
        "limits: {bodyTimeout: 2s}",
        &format!(
            "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], timeouts: {{idle: 20s}}, backends: [{{upstream: u}}]}}]
",
            upstream.address
        ),
    );
    let mut client = Client::connect(gateway.address);
    client.write("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    while !client.read_line().trim().is_empty() {}
    for _ in 0..24 {
        assert_eq!(client.read_bytes(256 * 1024).len(), 256 * 1024);
        pause(250);
    }
}

#[test]
fn a_body_that_drips_ends_with_the_total_time_of_its_route() {
    // Slow POST (Wong Onn Chee, 2010): each byte is in time, the whole is not.
    let upstream = Upstream::fixed(200, "ok");
    let gateway = Gateway::with(
        "limits: {bodyTimeout: 2s}",
        &format!(
            "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], timeouts: {{total: 2s}}, backends: [{{upstream: u}}]}}]
",
            upstream.address
        ),
    );
    let mut client = Client::connect(gateway.address);
    client.write("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000\r\n\r\n");
    let start = Instant::now();
    let mut stream = client.stream().try_clone().expect("a socket");
    std::thread::spawn(move || {
        while stream.write_all(b"x").is_ok() {
            pause(100);
        }
    });
    let answer = client.read().expect("an answer");
    assert!([408, 504].contains(&answer.status), "{}", answer.status);
    assert!(start.elapsed().as_millis() < 12_000, "{:?}", start.elapsed());
    assert!(upstream.seen().is_empty(), "the upstream never had a whole request");
}

#[test]
fn chunks_that_drip_their_extensions_are_cut_off() {
    // CVE-2023-39326: bytes of framing are no progress of the body.
    let (gateway, upstream) = setup();
    let mut client = Client::connect(gateway.address);
    client.write("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5;a");
    let start = Instant::now();
    let mut stream = client.stream().try_clone().expect("a socket");
    std::thread::spawn(move || {
        while stream.write_all(b"a").is_ok() {
            pause(50);
        }
    });
    assert_eq!(client.read().map(|answer| answer.status), Some(408));
    assert!(start.elapsed().as_millis() < 8_000, "{:?}", start.elapsed());
    assert!(upstream.seen().is_empty());
}

#[test]
fn handshakes_that_stop_are_cut_off() {
    let upstream = Upstream::fixed(200, "ok");
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).expect("a certificate");
    std::fs::write(folder.path().join("cert.pem"), made.cert.pem()).expect("a file");
    std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).expect("a file");
    let (secure, proxied) = (super::super::harness::free_port(), super::super::harness::free_port());
    let text = format!(
        "listeners:
  - name: secure
    address: 127.0.0.1:{secure}
    limits: {{tlsTimeout: 1s}}
    tls: {{certificates: [{{certFile: cert.pem, keyFile: key.pem}}]}}
  - {{name: proxied, address: 127.0.0.1:{proxied}, limits: {{headerTimeout: 1s}}, proxyProtocol: require, trustedProxies: [127.0.0.1]}}
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}]
",
        upstream.address
    );
    let address = ([127, 0, 0, 1], secure).into();
    let gateway = Gateway::in_folder(folder, &text, address, |_| {});
    for (port, beginning) in
        [(secure, &b"\x16\x03\x01\x02\x00\x01"[..]), (proxied, b"PROXY TCP4 192.0.2.7 198.51")]
    {
        let start = Instant::now();
        let mut client = Client::connect(([127, 0, 0, 1], port).into());
        client.write(beginning);
        assert!(client.is_closed());
        assert!(start.elapsed().as_millis() < 8_000, "{:?}", start.elapsed());
    }
    assert!(gateway.rss() < 200 << 20);
    assert!(upstream.seen().is_empty());
}
