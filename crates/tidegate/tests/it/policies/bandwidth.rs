//! `bandwidth`: transfers that take as long as their pace has them, both ways, on both versions, and after upgrades.
//!
//! Times are bounded from below by what the pace says, and from above generously: a machine may be slow, never fast.

use std::{
    io::{Read, Write},
    time::{Duration, Instant},
};

use super::super::harness::{Client, Gateway, Seen, Upstream, eventually, h2, pause, read_request};
use super::{refused, with_policies};

const KIB: usize = 1024;

/// An upstream that answers with as many bytes as the path says.
fn sender() -> Upstream {
    Upstream::scripted(|seen: &Seen| {
        let count: usize = seen.target().trim_start_matches('/').parse().unwrap_or(0);
        let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {count}\r\n\r\n").into_bytes();
        answer.resize(answer.len() + count, b'x');
        Some(answer)
    })
}

fn before(upstream: &Upstream, settings: &str) -> Gateway {
    Gateway::start(&format!(
        "accessLog: [{{kind: stdout}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{bandwidth: {settings}}}], backends: [{{upstream: u}}]}}]\n",
        upstream.address
    ))
}

/// That a transfer took what its pace says, to the tenth, and not many times as long.
fn took(began: Instant, seconds: f64) {
    let took = began.elapsed().as_secs_f64();
    assert!(took >= seconds * 0.9, "{took} seconds are too few for {seconds}");
    assert!(took < seconds * 4.0 + 3.0, "{took} seconds are too many for {seconds}");
}

#[test]
fn answers_and_requests_take_their_time_over_http1() {
    let upstream = sender();
    let gateway = before(
        &upstream,
        "{request: {perSecond: 200KiB, burst: 40KiB}, response: {perSecond: 400KiB, burst: 80KiB}}",
    );
    let began = Instant::now();
    let answer = gateway.get(&format!("/{}", 480 * KIB));
    assert_eq!((answer.status, answer.body.len()), (200, 480 * KIB));
    took(began, 1.0);
    let body = vec![b'y'; 240 * KIB];
    let began = Instant::now();
    let head = format!("POST /3 HTTP/1.1\nhost: a\ncontent-length: {}", body.len());
    assert_eq!(gateway.send(&head, &body).body.len(), 3);
    took(began, 1.0);
    assert_eq!(upstream.seen().last().map(|seen| seen.body.len()), Some(body.len()));
    let series = |what: &str, direction: &str| {
        let labels = format!("policy=\"routes/r/bandwidth\",direction=\"{direction}\"");
        gateway.metric(&format!("tidegate_bandwidth_{what}_total{{{labels}}}")).expect("a count")
    };
    assert_eq!(series("bytes", "request"), body.len() as f64);
    assert_eq!(series("bytes", "response"), (480 * KIB + 3) as f64);
    assert!(series("waited_seconds", "request") > 0.5 && series("waited_seconds", "response") > 0.5);
    let record = gateway.record("the upload", |record| record["method"] == "POST");
    assert!(record["request_paced_ms"].as_f64().is_some_and(|paced| paced > 500.0), "{record}");
    let record = gateway.record("the download", |record| record["method"] == "GET");
    assert!(record["response_paced_ms"].as_f64().is_some_and(|paced| paced > 500.0), "{record}");
}

#[test]
fn what_is_within_the_burst_passes_at_once_and_the_rest_evenly() {
    let upstream = sender();
    let gateway = before(&upstream, "{response: {perSecond: 100KiB, burst: 160KiB}}");
    let began = Instant::now();
    assert_eq!(gateway.get(&format!("/{}", 160 * KIB)).body.len(), 160 * KIB);
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    let gateway = before(&upstream, "{response: {perSecond: 100KiB, burst: 10KiB}}");
    let mut client = Client::connect(gateway.address);
    client.write(format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", 110 * KIB));
    let (mut got, mut buffer, began) = (0, vec![0; 64 * KIB], Instant::now());
    let mut half = None;
    while got < 110 * KIB {
        got += client.read_some(&mut buffer);
        if got >= 60 * KIB && half.is_none() {
            half = Some(began.elapsed());
        }
    }
    took(began, 1.0);
    let share = half.expect("half of what waits").as_secs_f64() / began.elapsed().as_secs_f64();
    assert!((0.3..0.75).contains(&share), "half of what waits has come after half of the time: {share}");
}

#[test]
fn streams_of_one_connection_of_http2_share_a_pace_or_have_their_own() {
    h2::run(async {
        let upstream = sender();
        for (key, seconds) in [("call", 0.5), ("global", 2.0)] {
            let settings = format!("{{response: {{perSecond: 100KiB, burst: 10KiB}}, key: {key}}}");
            let gateway = before(&upstream, &settings);
            let client = h2::Client::connect(gateway.address).await;
            let began = Instant::now();
            let path = format!("/{}", 55 * KIB);
            let four = [client.get(&path), client.get(&path), client.get(&path), client.get(&path)];
            for answer in futures_util::future::join_all(four).await {
                assert_eq!(answer.expect("an answer").body.len(), 55 * KIB);
            }
            took(began, seconds);
            if key == "call" {
                assert!(
                    began.elapsed() < Duration::from_millis(1900),
                    "each has its own: {:?}",
                    began.elapsed()
                );
            }
        }
    });
}

#[test]
fn a_request_over_http2_takes_its_time() {
    h2::run(async {
        let upstream = sender();
        let gateway = before(&upstream, "{request: {perSecond: 100KiB, burst: 10KiB}}");
        let client = h2::Client::connect(gateway.address).await;
        let began = Instant::now();
        let body = vec![b'y'; 110 * KIB];
        let answer = client.fetch(h2::request("POST", "/3"), &body, None).await.expect("an answer");
        assert_eq!(answer.body, b"xxx");
        took(began, 1.0);
        assert_eq!(upstream.seen()[0].body.len(), body.len());
    });
}

#[test]
fn memory_stays_flat_while_much_waits() {
    let upstream = sender();
    let gateway = before(&upstream, "{response: {perSecond: 64KiB, burst: 8KiB}}");
    gateway.get("/1000");
    let before = gateway.rss();
    let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(gateway.address)).collect();
    for client in &mut clients {
        client.write(format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", 64 * KIB * KIB));
    }
    eventually("all have begun", || {
        let series = "tidegate_bandwidth_bytes_total{policy=\"routes/r/bandwidth\",direction=\"response\"}";
        gateway.metric(series).is_some_and(|bytes| bytes > 8.0 * 32_768.0)
    });
    pause(500);
    let grown = gateway.rss().saturating_sub(before);
    assert!(grown < 32 * 1024 * 1024, "{grown} bytes more, of 512 MiB that wait");
}

/// An upstream that agrees to an upgrade, sends so much, and reads what comes.
fn talker(count: usize) -> Upstream {
    Upstream::raw(move |mut reader, seen| {
        if read_request(&mut reader).is_none() {
            return;
        }
        let agreed = "HTTP/1.1 101 X\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
        let _ = reader.get_mut().write_all(agreed.as_bytes());
        let _ = reader.get_mut().write_all(&vec![b'x'; count]);
        let mut body = vec![0; count];
        if reader.read_exact(&mut body).is_ok() {
            seen.lock().expect("whole").push(Seen { body, ..Seen::default() });
            let _ = reader.get_mut().write_all(b"all");
        }
    })
}

#[test]
fn what_flows_after_an_upgrade_is_paced_both_ways_unless_it_is_not_to_be() {
    let count = 110 * KIB;
    let upstream = talker(count);
    let upgrade = "GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    for (rest, seconds) in [("", 1.0), (", upgrades: false", 0.0)] {
        let pace = "{perSecond: 100KiB, burst: 10KiB}";
        let gateway = before(&upstream, &format!("{{request: {pace}, response: {pace}{rest}}}"));
        let mut client = Client::connect(gateway.address);
        client.write(upgrade);
        assert_eq!(client.read().map(|answer| answer.status), Some(101));
        let began = Instant::now();
        assert!(client.read_bytes(count).iter().all(|byte| *byte == b'x'));
        match seconds {
            0.0 => assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed()),
            seconds => took(began, seconds),
        }
        let began = Instant::now();
        client.write(vec![b'y'; count]);
        assert_eq!(client.read_bytes(3), b"all");
        if seconds > 0.0 {
            took(began, seconds);
        }
        assert!(client.is_closed(), "the end comes through");
    }
    assert!(upstream.seen().iter().all(|seen| seen.body.iter().all(|byte| *byte == b'y')));
}

#[test]
fn clients_by_key_do_not_slow_each_other_down() {
    let upstream = sender();
    let gateway = before(&upstream, "{response: {perSecond: 50KiB, burst: 5KiB}, key: {header: x-tenant}}");
    let mut greedy = Client::connect(gateway.address);
    greedy.write(format!("GET /{} HTTP/1.1\r\nhost: a\r\nx-tenant: greedy\r\n\r\n", 10_000 * KIB));
    pause(300);
    let began = Instant::now();
    let answer = super::ask(&gateway, &format!("/{}", 10 * KIB), "\nx-tenant: modest");
    assert_eq!(answer.body.len(), 10 * KIB);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let bandwidth = |settings: &str| with_policies(&format!("[{{bandwidth: {settings}}}]"));
    refused(&bandwidth("{}"), &["expected a pace"]);
    refused(&bandwidth("{response: {perSecond: 100B}}"), &["response.perSecond", "1024 bytes"]);
    refused(&bandwidth("{response: {perSecond: 1MiB}, key: {cel: '1 +'}}"), &["bandwidth"]);
}
