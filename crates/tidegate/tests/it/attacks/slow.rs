//! Clients that take their time: heads, bodies, handshakes and idle connections have bounds.

use std::{io::Write, net::TcpStream, time::Instant};

use super::super::harness::{Answer, Client, Gateway, Upstream, eventually, pause};

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
