//! TCP: both ways, each end for itself, with bounds, records and metrics.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    process::Command,
};

use super::{connect, free, open, rest, shouting};
use crate::harness::{Upstream, eventually, peers_folder};

fn text(listen: &str, upstream: &str, route: &str, endpoint: &str) -> String {
    format!(
        "listeners: [{{name: l, address: \"{listen}\", protocol: tcp}}]
upstreams: [{{name: u, endpoints: [{endpoint}]{upstream}}}]
streamRoutes: [{{name: r, listeners: [l], backends: [{{upstream: u}}]{route}}}]
"
    )
}

fn at(address: std::net::SocketAddr) -> String {
    format!("{{address: \"{address}\"}}")
}

#[test]
fn a_side_that_has_said_all_still_hears_and_the_record_says_what_flowed() {
    let (upstream, address) = (shouting(), free());
    let gateway = open(&text(&address.to_string(), "", "", &at(upstream.address)), address);
    let mut stream = connect(address);
    stream.write_all(b"hello").expect("sent");
    let mut five = [0; 5];
    stream.read_exact(&mut five).expect("an answer");
    assert_eq!(&five, b"HELLO");
    stream.write_all(b" world").expect("sent");
    stream.shutdown(Shutdown::Write).expect("half closed");
    assert_eq!(rest(&mut stream), " WORLD<11>");
    let record = gateway.record("the connection", |record| record["message"] == "connection");
    for (key, value) in [
        ("listener", "l"),
        ("route", "r"),
        ("upstream", "u"),
        ("protocol", "tcp"),
        ("ended", "closed"),
        ("client_ip", "127.0.0.1"),
    ] {
        assert_eq!(record[key], value, "{key}: {record}");
    }
    assert_eq!((record["request_bytes"].as_u64(), record["response_bytes"].as_u64()), (Some(11), Some(15)));
    assert_eq!(record["endpoint"], upstream.address.to_string());
    assert_eq!(gateway.metric("tidegate_stream_bytes_total{route=\"r\",direction=\"received\"}"), Some(11.0));
    assert_eq!(gateway.metric("tidegate_stream_bytes_total{route=\"r\",direction=\"sent\"}"), Some(15.0));
    assert_eq!(gateway.metric("tidegate_stream_connections_total{route=\"r\",ended=\"closed\"}"), Some(1.0));
    assert_eq!(gateway.metric("tidegate_stream_open{route=\"r\"}"), Some(0.0));
}

#[test]
fn megabytes_pass_whole_and_a_slow_reader_does_not_fill_the_gateway() {
    const SIZE: usize = 32 * 1024 * 1024;
    let upstream = Upstream::raw(|mut reader, _| {
        let block = [7; 64 * 1024];
        for _ in 0..SIZE / block.len() {
            if reader.get_mut().write_all(&block).is_err() {
                return;
            }
        }
    });
    let address = free();
    let gateway = open(&text(&address.to_string(), "", "", &at(upstream.address)), address);
    let before = gateway.rss();
    let mut stream = connect(address);
    crate::harness::pause(500);
    assert!(gateway.rss() < before + 8 * 1024 * 1024, "nothing piles up while nobody reads");
    let mut count = 0;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match stream.read(&mut buffer).expect("bytes") {
            0 => break,
            more => count += more,
        }
    }
    assert_eq!(count, SIZE);
}

#[test]
fn an_endpoint_that_refuses_gives_way_to_another_and_one_alone_is_told() {
    let upstream = shouting();
    let dead = free();
    let endpoints = format!("{}, {}", at(dead), at(upstream.address));
    let address = free();
    let gateway = open(&text(&address.to_string(), ", retry: {maxAttempts: 3}", "", &endpoints), address);
    for _ in 0..4 {
        let mut stream = connect(address);
        stream.write_all(b"a").expect("sent");
        stream.shutdown(Shutdown::Write).expect("half closed");
        assert_eq!(rest(&mut stream), "A<1>");
    }
    assert_eq!(gateway.metric("tidegate_stream_connections_total{route=\"r\",ended=\"closed\"}"), Some(4.0));
    let alone = free();
    let gateway = open(&text(&alone.to_string(), "", "", &at(dead)), alone);
    assert_eq!(rest(&mut connect(alone)), "");
    let record = gateway.record("the connection", |record| record["ended"] == "unreachable");
    assert_eq!(record["failure"]["reason"], "connect-failed");
    assert_eq!(record["level"], "error");
    assert_eq!(record["endpoint"], dead.to_string());
    let (both, other) = (free(), free());
    let endpoints = format!("{}, {}", at(dead), at(other));
    let gateway = open(&text(&both.to_string(), ", retry: {maxAttempts: 2}", "", &endpoints), both);
    assert_eq!(rest(&mut connect(both)), "");
    let record = gateway.record("both tries", |record| record["ended"] == "unreachable");
    let tried = [&record["failed_tries"][0]["endpoint"], &record["endpoint"]];
    let mut tried = tried.map(|one| one.as_str().unwrap_or_default().to_owned());
    tried.sort();
    let mut all = [dead.to_string(), other.to_string()];
    all.sort();
    assert_eq!((tried, &record["attempts"]), (all, &2.into()), "{record}");
    assert!(
        record["failed_tries"][0]["detail"].as_str().is_some_and(|told| told.contains("refused")),
        "{record}"
    );
}

/// Which of the endpoints answers, by the letter that it says.
fn speaker(letter: &'static str) -> Upstream {
    Upstream::raw(move |mut reader, _| {
        let _ = reader.get_mut().write_all(letter.as_bytes());
    })
}

#[test]
fn connections_are_balanced_over_endpoints_and_over_upstreams_by_weight() {
    let [a, b, c] = ["a", "b", "c"].map(speaker);
    let address = free();
    let all = format!(
        "listeners: [{{name: l, address: \"{address}\", protocol: tcp}}]
upstreams: [{{name: two, endpoints: [{}, {}]}}, {{name: one, endpoints: [{}]}}]
streamRoutes: [{{name: r, listeners: [l], backends: [{{upstream: two, weight: 2}}, {{upstream: one, weight: 1}}]}}]
",
        at(a.address),
        at(b.address),
        at(c.address)
    );
    let gateway = open(&all, address);
    let mut told: Vec<String> = (0..12).map(|_| rest(&mut connect(address))).collect();
    told.sort();
    assert_eq!(told.concat(), "aaaabbbbcccc");
    // A client stays where it is when the upstream hashes it.
    let hashing = all.replacen("[{name: two,", "[{name: two, loadBalancing: {algorithm: ringHash},", 1);
    let hashing = hashing.replace(", {upstream: one, weight: 1}", "");
    assert_eq!(gateway.reload(&format!("runtime: {{workers: 1}}\n{hashing}"))["lastReload"], "ok");
    let mut told: Vec<String> = (0..6).map(|_| rest(&mut connect(address))).collect();
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn an_endpoint_that_takes_connections_and_breaks_them_off_is_ejected() {
    // Closed with something unread: that is a reset.
    let ill = Upstream::raw(|reader, _| {
        let _ = reader.get_ref().peek(&mut [0]);
    });
    let well = shouting();
    let address = free();
    let outliers = ", outlierDetection: {consecutiveLocalOriginFailure: 2, baseEjectionTime: 60s, maxEjectionPercent: 50}";
    let endpoints = format!("{}, {}", at(ill.address), at(well.address));
    let gateway = open(&text(&address.to_string(), outliers, "", &endpoints), address);
    let talk = || {
        let mut stream = connect(address);
        let _ = stream.write_all(b"a");
        let _ = stream.shutdown(Shutdown::Write);
        rest(&mut stream)
    };
    let told: Vec<String> = (0..12).map(|_| talk()).collect();
    assert_eq!(told.iter().filter(|told| told.is_empty()).count(), 2, "{told:?}\n{}", gateway.stderr());
    let series = format!("tidegate_upstream_endpoint_ejected{{upstream=\"u\",endpoint=\"{}\"}}", ill.address);
    assert_eq!(gateway.metric(&series), Some(1.0));
    assert_eq!(gateway.metric("tidegate_stream_connections_total{route=\"r\",ended=\"reset\"}"), Some(2.0));
}

#[test]
fn a_reload_sends_new_connections_elsewhere_and_leaves_those_that_there_are() {
    let (upstream, other, address) = (shouting(), speaker("other"), free());
    let before = text(&address.to_string(), "", "", &at(upstream.address));
    let gateway = open(&before, address);
    let mut stream = connect(address);
    stream.write_all(b"a").expect("sent");
    stream.read_exact(&mut [0]).expect("an answer");
    let after = before.replace(&upstream.address.to_string(), &other.address.to_string());
    assert_eq!(gateway.reload(&format!("runtime: {{workers: 1}}\n{after}"))["lastReload"], "ok");
    assert_eq!(rest(&mut connect(address)), "other");
    stream.write_all(b"b").expect("sent");
    stream.shutdown(Shutdown::Write).expect("half closed");
    assert_eq!(rest(&mut stream), "B<2>");
}

#[test]
fn whoever_may_not_come_or_is_one_too_many_is_closed_and_silence_ends() {
    let upstream = shouting();
    let [denied, bounded, silent] = [free(), free(), free()];
    let listener = |name: &str, address: std::net::SocketAddr| {
        format!("{{name: {name}, address: \"{address}\", protocol: tcp}}")
    };
    let all = format!(
        "listeners: [{}, {}, {}]
upstreams: [{{name: u, endpoints: [{}]}}]
streamRoutes:
  - {{name: denied, listeners: [denied], backends: [{{upstream: u}}], allow: [127.0.0.0/8], deny: [127.0.0.1]}}
  - {{name: bounded, listeners: [bounded], backends: [{{upstream: u}}], maxConnections: 1}}
  - {{name: silent, listeners: [silent], backends: [{{upstream: u}}], idleTimeout: 200ms}}
",
        listener("denied", denied),
        listener("bounded", bounded),
        listener("silent", silent),
        at(upstream.address)
    );
    let gateway = open(&all, bounded);
    assert_eq!(rest(&mut connect(denied)), "");
    let mut first = connect(bounded);
    first.write_all(b"a").expect("sent");
    let mut one = [0];
    first.read_exact(&mut one).expect("an answer");
    assert_eq!(rest(&mut connect(bounded)), "", "one too many");
    drop(first);
    eventually("there is room again", || {
        let mut next = connect(bounded);
        next.write_all(b"a").is_ok() && next.read_exact(&mut [0]).is_ok()
    });
    let mut quiet = connect(silent);
    quiet.write_all(b"a").expect("sent");
    assert_eq!(rest(&mut quiet), "A");
    for (route, ended) in [("denied", "denied"), ("bounded", "full"), ("silent", "idle")] {
        let series = format!("tidegate_stream_connections_total{{route=\"{route}\",ended=\"{ended}\"}}");
        assert!(gateway.metric(&series) >= Some(1.0), "{series}");
        gateway.record(ended, |record| record["route"] == route && record["ended"] == ended);
    }
    assert_eq!(
        upstream.connections(),
        gateway.metric("tidegate_upstream_endpoint_requests_total").expect("one") as usize
    );
}

#[test]
fn the_client_is_told_onward_and_read_from_a_trusted_balancer() {
    let upstream = Upstream::raw(|mut reader, _| {
        let mut line = String::new();
        let _ = std::io::BufRead::read_line(&mut reader, &mut line);
        // What is unread when it closes would be a reset.
        let _ = reader.read_exact(&mut [0]);
        let _ = reader.get_mut().write_all(line.as_bytes());
    });
    let address = free();
    let all = format!(
        "trustedProxies: [127.0.0.1]
listeners: [{{name: l, address: \"{address}\", protocol: tcp, proxyProtocol: require}}]
upstreams: [{{name: u, endpoints: [{}], proxyProtocol: v1}}]
streamRoutes: [{{name: r, listeners: [l], backends: [{{upstream: u}}], allow: [192.0.2.0/24]}}]
",
        at(upstream.address)
    );
    let gateway = open(&all, address);
    let mut stream = connect(address);
    stream.write_all(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\nx").expect("sent");
    let told = rest(&mut stream);
    assert!(told.starts_with("PROXY TCP4 192.0.2.7 127.0.0.1 4711 "), "{told}");
    drop(stream);
    let record = gateway.record("the connection", |record| record["ended"] == "closed");
    assert_eq!(record["client_ip"], "192.0.2.7");
    let mut other = connect(address);
    other.write_all(b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\nx").expect("sent");
    assert_eq!(rest(&mut other), "", "its address may not come");
}

#[test]
fn a_drain_takes_nothing_new_and_lets_streams_end() {
    let (upstream, address) = (shouting(), free());
    let text = text(&address.to_string(), "", "", &at(upstream.address));
    let mut gateway = open(&format!("{text}shutdown: {{drainDelay: 0s}}\n"), address);
    let mut stream = connect(address);
    stream.write_all(b"a").expect("sent");
    stream.read_exact(&mut [0]).expect("an answer");
    gateway.signal("TERM");
    eventually("nothing new is taken", || TcpStream::connect(address).is_err());
    stream.write_all(b"b").expect("sent");
    stream.shutdown(Shutdown::Write).expect("half closed");
    assert_eq!(rest(&mut stream), "B<2>");
    assert!(gateway.wait().success());
}

#[test]
fn a_stream_that_the_deadline_cuts_has_its_record_and_is_counted() {
    let (upstream, address) = (shouting(), free());
    let text = text(&address.to_string(), "", "", &at(upstream.address));
    let all = format!("{text}shutdown: {{drainDelay: 0s, deadline: 500ms, idleGrace: 10ms}}\n");
    let mut gateway = open(&all, address);
    let mut streams: Vec<TcpStream> = (0..3).map(|_| connect(address)).collect();
    for stream in &mut streams {
        stream.write_all(b"abc").expect("sent");
        stream.read_exact(&mut [0; 3]).expect("an answer");
    }
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    // Whoever ends as a pool of connections does: not at all.
    for stream in &mut streams {
        assert_eq!(rest(stream), "", "it is cut");
    }
    let records: Vec<serde_json::Value> =
        gateway.stdout().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let cut: Vec<_> = records.iter().filter(|record| record["ended"] == "drained").collect();
    assert_eq!(cut.len(), 3, "{records:?}\n{}", gateway.stderr());
    for record in cut {
        assert_eq!((&record["route"], &record["upstream"]), (&"r".into(), &"u".into()), "{record}");
        assert_eq!((record["request_bytes"].as_u64(), record["response_bytes"].as_u64()), (Some(3), Some(3)));
        assert_eq!(record["endpoint"], upstream.address.to_string());
    }
}

#[test]
fn postgresql_is_spoken_through_it() {
    let bin = {
        let mut found = None;
        for python in std::fs::read_dir(peers_folder().join("python/lib")).into_iter().flatten().flatten() {
            let bin = python.path().join("site-packages/pgserver/pginstall/bin");
            if bin.join("postgres").exists() {
                found = Some(bin);
            }
        }
        found.expect("PostgreSQL is missing in the peers' Python environment: run scripts/peers.sh")
    };
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().display().to_string();
    let script = include_str!("../ai/postgres.py");
    let mut peer = crate::harness::Peer::start(crate::harness::python(script, &[&socket]));
    peer.line().expect("where it is");
    let address = free();
    let endpoint = format!("{{address: \"unix:{socket}/.s.PGSQL.5432\"}}");
    let gateway = open(&text(&address.to_string(), "", "", &endpoint), address);
    let psql = |query: &str| {
        let output = Command::new(bin.join("psql"))
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &address.port().to_string(),
                "-U",
                "postgres",
                "-d",
                "postgres",
                "-Atc",
                query,
            ])
            .env("PGCONNECT_TIMEOUT", "10")
            .output()
            .expect("psql runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(psql("select 40 + 2"), "42");
    assert_eq!(psql("select length(repeat('x', 3000000))"), "3000000");
    assert_eq!(psql("select repeat('y', 1000000)").len(), 1_000_000);
    eventually("three records", || {
        gateway.metric("tidegate_stream_connections_total{route=\"r\",ended=\"closed\"}") >= Some(3.0)
    });
}
