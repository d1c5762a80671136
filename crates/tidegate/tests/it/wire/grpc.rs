//! gRPC, with the official client and server at both ends.

use std::time::{Duration, Instant};

use super::super::harness::{Gateway, Peer, eventually, free_port, h2, python};

struct Setup {
    gateway: Gateway,
    server: Peer,
}

/// The server behind a gateway whose timeouts are short.
fn setup(timeouts: &str) -> Setup {
    let port = free_port();
    let mut server = Peer::start(python(include_str!("grpc_server.py"), &[&port.to_string()]));
    assert_eq!(server.line().as_deref(), Some("ready"));
    let gateway = Gateway::start(&format!(
        "accessLog: [{{kind: stdout, format: json}}]
consumers: [{{name: c, keys: [the-key-of-the-test]}}]
upstreams:
  - {{name: u, protocol: grpc, endpoints: [{{address: \"127.0.0.1:{port}\"}}]{timeouts}}}
  - {{name: dead, protocol: grpc, endpoints: [{{address: \"127.0.0.1:{}\"}}]}}
routes:
  - {{name: guarded, match: [{{path: {{prefix: /guarded}}}}], policies: [{{keyAuth: {{}}}}], backends: [{{upstream: u}}]}}
  - {{name: limited, match: [{{path: {{prefix: /limited}}}}], policies: [{{rateLimit: {{limit: 1, window: 1h}}}}], backends: [{{upstream: u}}]}}
  - {{name: dead, match: [{{path: {{prefix: /dead}}}}], backends: [{{upstream: dead}}]}}
  - {{name: hasty, match: [{{path: {{prefix: /hasty}}}}], policies: [{{rewrite: {{path: {{replacePrefix: /}}}}}}], timeouts: {{request: 300ms}}, backends: [{{upstream: u}}]}}
  - {{name: all, match: [{{path: {{prefix: /demo.Test}}}}], backends: [{{upstream: u}}]}}
",
        free_port()
    ));
    Setup { gateway, server }
}

impl Setup {
    fn play(&self, scenario: &str) {
        let address = self.gateway.address.to_string();
        let client = Peer::start(python(include_str!("grpc_client.py"), &[&address, scenario]));
        let (ended_well, text) = client.finish();
        assert!(ended_well && text.trim_end() == "ok", "{scenario}: {text}\n{}", self.gateway.stderr());
    }
}

#[test]
fn unary_calls_pass_with_metadata_and_trailers() {
    setup("").play("unary");
}

#[test]
fn statuses_pass_with_messages_before_and_without_any() {
    let setup = setup("");
    setup.play("status");
    let records = setup.gateway.records(3);
    let statuses: Vec<_> = records.iter().map(|record| record["grpc_status"].as_u64()).collect();
    assert_eq!(statuses, [Some(9), Some(15), Some(12)], "{records:?}");
}

#[test]
fn all_three_kinds_of_streams_pass_message_by_message() {
    setup("").play("streams");
}

#[test]
fn long_streams_are_not_cut_by_timeouts_meant_for_first_bytes() {
    // A chat says nothing until it is spoken to, and that takes longer than `request`.
    setup(", timeouts: {request: 500ms, perTry: 500ms}").play("quiet");
}

#[test]
fn a_deadline_reaches_the_server_and_ends_its_work() {
    let mut setup = setup("");
    setup.play("remaining");
    setup.play("deadline");
    assert_eq!(setup.server.line().as_deref(), Some("slow ended early"));
}

#[test]
fn a_client_that_cancels_ends_the_servers_work_at_once() {
    let mut setup = setup("");
    let start = Instant::now();
    setup.play("cancel");
    assert_eq!(setup.server.line().as_deref(), Some("drip ended early"));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let record = setup.gateway.records(1).pop().expect("a record");
    assert_eq!(record["failure"]["reason"], "client-left", "{record}");
}

#[test]
fn the_gateways_own_failures_are_grpc_statuses() {
    setup("").play("refusals");
}

/// A call by hand, whose client has no clock of its own.
async fn by_hand(gateway: &Gateway, method: &str, timeout: &str) -> h2::Message {
    let client = h2::Client::connect(gateway.address).await;
    let mut request = h2::request("POST", &format!("/demo.Test/{method}"));
    let headers = request.headers_mut();
    headers.insert("content-type", "application/grpc".parse().expect("a value"));
    headers.insert("te", "trailers".parse().expect("a value"));
    headers.insert("grpc-timeout", timeout.parse().expect("a value"));
    client.fetch(request, &[0, 0, 0, 0, 0], None).await.expect("an answer")
}

#[test]
fn a_deadline_that_has_passed_is_told_by_the_gateway() {
    let setup = setup("");
    h2::run(async {
        let start = Instant::now();
        let answer = by_hand(&setup.gateway, "Slow", "300m").await;
        assert_eq!((answer.status, answer.header("grpc-status")), (200, Some("4")), "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/grpc"));
        assert!(start.elapsed() < Duration::from_secs(5));
        // In the midst of a stream it ends with trailers, after what had come.
        let answer = by_hand(&setup.gateway, "Drip", "500m").await;
        assert_eq!((answer.status, answer.trailer("grpc-status")), (200, Some("4")), "{answer:?}");
        assert!(answer.body.len() >= 9, "{answer:?}");
    });
    let mut server = setup.server;
    let ends: Vec<_> = (0..2).filter_map(|_| server.line()).collect();
    assert!(ends.contains(&"drip ended early".to_owned()) && ends.contains(&"slow ended early".to_owned()));
    eventually("both are recorded", || {
        setup.gateway.records(2).iter().all(|record| record["grpc_status"] == 4)
    });
}

#[test]
fn one_connection_carries_many_calls() {
    let upstream = h2::Upstream::echo();
    let gateway = Gateway::start(&format!(
        "runtime: {{workers: 1}}
upstreams: [{{name: u, protocol: grpc, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}]
",
        upstream.address
    ));
    h2::run(async {
        let client = h2::Client::connect(gateway.address).await;
        assert_eq!(client.get("/first").await.expect("an answer").status, 200);
        let calls = (0..50).map(|at| {
            let client = client.clone();
            async move { client.get(&format!("/{at}")).await.expect("an answer").status }
        });
        let statuses = futures_util::future::join_all(calls).await;
        assert_eq!(statuses, [200; 50]);
    });
    assert_eq!(upstream.connections(), 1);
    assert!(upstream.seen().iter().any(|seen| seen.line == "GET /49"));
}
