//! Active health checks: by HTTP, by gRPC, by a mere connection; and that they end with their endpoints.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use super::{
    config, endpoints, gateway,
    http2_peer::{Peer, Reply},
    in_use, local, ok, status,
};
use crate::harness::{Client, Gateway, Upstream, eventually, free_port, pause};

#[test]
fn an_http_check_asks_as_it_is_told_and_judges_by_status() {
    let code = Arc::new(AtomicUsize::new(204));
    let switch = code.clone();
    let upstream = Upstream::scripted(move |seen| {
        if seen.target() == "/health?deep=1" { status(switch.load(Ordering::Relaxed) as u16) } else { ok() }
    });
    let gateway = gateway(&format!(
        "{}, healthCheck: {{path: /health?deep=1, host: check.example, headers: {{x-probe: tide}}, expectedStatuses: [204, 418],
        interval: 50ms, healthyThreshold: 2, unhealthyThreshold: 2}}",
        endpoints([&upstream])
    ));
    eventually("it is checked", || upstream.seen().len() > 2);
    let seen = upstream.seen().remove(0);
    assert_eq!(seen.line, "GET /health?deep=1 HTTP/1.1");
    assert_eq!((seen.header("host"), seen.header("x-probe")), (Some("check.example"), Some("tide")));
    assert_eq!(seen.header("user-agent"), Some("tidegate-health-check"));
    for (answered, is_healthy) in [(200, false), (418, true), (500, false), (204, true)] {
        code.store(answered, Ordering::Relaxed);
        eventually(&format!("{answered} is judged"), || in_use(&gateway).len() == usize::from(is_healthy));
    }
    for change in ["is unhealthy: ", "is healthy"] {
        let line = format!("\"message\":\"endpoint {} of upstream `u` {change}", upstream.address);
        eventually(&line, || gateway.stderr().contains(&line));
    }
}

#[test]
fn one_bad_check_of_three_needed_changes_nothing() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    // Two of three checks fail, but never three in a row.
    let upstream =
        Upstream::scripted(
            move |_| if counted.fetch_add(1, Ordering::Relaxed) % 3 == 2 { ok() } else { status(500) },
        );
    let gateway = gateway(&format!(
        "{}, healthCheck: {{path: /, interval: 20ms, unhealthyThreshold: 3}}",
        endpoints([&upstream])
    ));
    while count.load(Ordering::Relaxed) < 30 {
        assert_eq!(in_use(&gateway).len(), 1);
        pause(10);
    }
}

#[test]
fn a_check_that_takes_too_long_has_failed() {
    let upstream = Upstream::scripted(|_| {
        pause(3_000);
        ok()
    });
    let gateway = gateway(&format!(
        "{}, healthCheck: {{path: /, interval: 50ms, timeout: 100ms, unhealthyThreshold: 2}}",
        endpoints([&upstream])
    ));
    eventually("it is seen to be ill", || in_use(&gateway).is_empty());
    assert!(gateway.stderr().contains("no answer within 100ms"), "{}", gateway.stderr());
}

#[test]
fn a_connection_is_enough_without_a_path() {
    let port = free_port();
    let listener = std::net::TcpListener::bind(local(port)).expect("a port");
    let gateway = gateway(&format!(
        "endpoints: [{{address: \"127.0.0.1:{port}\"}}], healthCheck: {{interval: 50ms, healthyThreshold: 1, unhealthyThreshold: 1}}"
    ));
    pause(300);
    assert_eq!(in_use(&gateway).len(), 1);
    drop(listener);
    eventually("its end is seen", || in_use(&gateway).is_empty());
    let _again = std::net::TcpListener::bind(local(port)).expect("a port");
    eventually("it is back", || in_use(&gateway).len() == 1);
}

#[test]
fn checks_speak_what_calls_speak() {
    for (peer, settings) in [
        (Peer::cleartext(|_, _| Reply::After(0, "ok")), "protocol: http2"),
        (Peer::tls(&["h2", "http/1.1"], |_, _| Reply::After(0, "ok")), "tls: {verify: false}"),
        (Peer::tls(&["http/1.1"], |_, _| Reply::After(0, "ok")), "tls: {verify: false}"),
    ] {
        let gateway = gateway(&format!(
            "{settings}, endpoints: [{{address: \"{}\"}}], healthCheck: {{path: /health, interval: 50ms, unhealthyThreshold: 1}}",
            peer.address
        ));
        eventually("it is checked", || peer.seen().len() > 3);
        assert!(peer.seen().iter().all(|(method, path)| method == "GET" && path == "/health"));
        assert_eq!(in_use(&gateway).len(), 1, "{settings}: {}", gateway.stderr());
    }
}

#[test]
fn checks_of_endpoints_that_are_gone_end_even_while_old_calls_live() {
    let (first, second) = (
        Upstream::scripted(|seen| {
            if seen.target() == "/slow" {
                pause(3_000);
            }
            ok()
        }),
        Upstream::fixed(200, "second"),
    );
    let port = free_port();
    let text = |upstream: &Upstream| {
        format!(
            "listeners: [{{name: public, address: \"127.0.0.1:{port}\"}}]\n{}",
            config(&format!("{}, healthCheck: {{path: /health, interval: 50ms}}", endpoints([upstream])))
        )
    };
    let gateway = Gateway::from_text(&text(&first), local(port), |_| {});
    let mut client = Client::connect(gateway.address);
    client.write("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("the call is out", || first.seen().iter().any(|seen| seen.target() == "/slow"));
    gateway.reload(&text(&second));
    pause(200);
    let checked = first.seen().len();
    pause(500);
    assert_eq!(first.seen().len(), checked, "nobody checks it any more");
    assert!(second.seen().len() > 3, "the new one is checked");
    assert_eq!(client.read().expect("an answer").status, 200, "what was in flight ends well");
}

#[test]
fn a_refused_configuration_leaves_checks_and_state_as_they_are() {
    let upstream = Upstream::scripted(|seen| if seen.target() == "/health" { ok() } else { status(500) });
    let port = free_port();
    let text = |interval: &str, route: &str| {
        format!(
            "listeners: [{{name: public, address: \"127.0.0.1:{port}\"}}]
upstreams: [{{name: u, {}, retry: {{maxAttempts: 1}}, circuitBreaker: {{minimumNumberOfCalls: 2, waitDurationInOpenState: 600s}}, healthCheck: {{path: /health, interval: {interval}}}}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], {route}backends: [{{upstream: u}}]}}]\n",
            endpoints([&upstream])
        )
    };
    let gateway = Gateway::from_text(&text("50ms", ""), local(port), |_| {});
    for _ in 0..2 {
        assert_eq!(gateway.get("/").status, 500);
    }
    let breaker = || super::state(&gateway)["breaker"]["state"].as_str().map(str::to_owned);
    assert_eq!(breaker().as_deref(), Some("OPEN"));
    // The upstream could be built, but a key set of the route cannot: all of it is refused.
    std::fs::write(gateway.folder.path().join("jwks.json"), "no keys").expect("a file");
    let bad = "policies: [{jwt: {issuer: \"https://i.example\", jwks: {file: jwks.json}}}], ";
    let after = gateway.reload(&text("60ms", bad));
    assert_eq!(after["reloadsRefused"], 1, "{after}");
    assert_eq!(breaker().as_deref(), Some("OPEN"));
    let checked = upstream.seen().len();
    eventually("checks go on", || upstream.seen().len() > checked + 3);
    // The next good one still finds the state of what runs.
    let after = gateway.reload(&text("70ms", ""));
    assert_eq!(after["reloadsApplied"], 1, "{after}");
    assert_eq!(breaker().as_deref(), Some("OPEN"));
}

/// A real gRPC health server; it takes `SERVICE STATUS` lines and answers each.
struct Grpcio {
    child: Child,
    input: ChildStdin,
    output: BufReader<std::process::ChildStdout>,
}

impl Grpcio {
    fn start(port: u16) -> Self {
        let peers = std::env::var("TIDEGATE_PEERS")
            .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/peers").to_owned());
        let python = format!("{peers}/python/bin/python");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/upstreams/health_server.py");
        let mut child = Command::new(&python)
            .arg(script)
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{python}: {error}; run scripts/peers.sh"));
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut server = Self { child, input, output };
        server.expect("ready");
        server
    }

    fn expect(&mut self, line: &str) {
        let mut text = String::new();
        self.output.read_line(&mut text).expect("a line");
        assert_eq!(text.trim(), line, "the peer is not as it should be; run scripts/peers.sh");
    }

    fn set(&mut self, service: &str, status: &str) {
        writeln!(self.input, "{service} {status}").expect("it listens");
        self.expect("done");
    }
}

impl Drop for Grpcio {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_grpc_check_agrees_with_a_grpcio_health_server() {
    let port = free_port();
    let mut server = Grpcio::start(port);
    let long = "shop.v1.".to_owned() + &"Very".repeat(40) + "LongService";
    server.set("shop.v1.Orders", "SERVING");
    server.set(&long, "SERVING");
    let check = |service: &str| {
        gateway(&format!(
            "protocol: grpc, endpoints: [{{address: \"127.0.0.1:{port}\"}}],
            healthCheck: {{grpc: \"{service}\", interval: 50ms, healthyThreshold: 1, unhealthyThreshold: 1}}"
        ))
    };
    // The whole server, a service, a service with a long name, and one that the server does not know.
    let (whole, orders, longer, unknown) =
        (check(""), check("shop.v1.Orders"), check(&long), check("shop.v1.Nobody"));
    eventually("an unknown service is not healthy", || in_use(&unknown).is_empty());
    pause(500);
    for (gateway, what) in [(&whole, "server"), (&orders, "service"), (&longer, "long name")] {
        assert_eq!(in_use(gateway).len(), 1, "{what}: {}", gateway.stderr());
    }
    server.set("shop.v1.Orders", "NOT_SERVING");
    eventually("it is not serving", || in_use(&orders).is_empty());
    assert_eq!(in_use(&whole).len(), 1);
    server.set("shop.v1.Orders", "SERVING");
    eventually("it serves again", || in_use(&orders).len() == 1);
    drop(server);
    eventually("its end is seen", || in_use(&whole).is_empty());
}

#[test]
fn checks_of_many_endpoints_spread_by_their_jitter() {
    const ENDPOINTS: usize = 10;
    const GAPS: usize = 8;
    let seen = Arc::new(Mutex::new(vec![Vec::<Instant>::new(); ENDPOINTS]));
    let all: Vec<_> = (0..ENDPOINTS)
        .map(|at| {
            let seen = seen.clone();
            Upstream::scripted(move |_| {
                seen.lock().expect("not poisoned")[at].push(Instant::now());
                ok()
            })
        })
        .collect();
    let _gateway = gateway(&format!(
        "{}, healthCheck: {{path: /, interval: 150ms, jitter: 100}}",
        super::endpoints(&all)
    ));
    eventually("each is checked often", || {
        seen.lock().expect("not poisoned").iter().all(|times| times.len() > GAPS)
    });
    let seen = seen.lock().expect("not poisoned").clone();
    // From the first check to the ninth: at least eight intervals, and half as much again by chance. A busy machine
    // only makes it longer.
    let took: Vec<f64> = seen.iter().map(|times| (times[GAPS] - times[0]).as_secs_f64() / 0.15).collect();
    let mean = took.iter().sum::<f64>() / ENDPOINTS as f64 / GAPS as f64;
    assert!(mean >= 1.35, "{mean} intervals between two checks, of 1 to 2: {took:?}");
    let (first, last) =
        (took.iter().copied().fold(f64::MAX, f64::min), took.iter().copied().fold(0.0, f64::max));
    assert!(last - first >= 0.5, "all in step: {took:?}");
}
