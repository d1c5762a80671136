//! What components change of requests, and what that means for whoever sent them.

use std::time::Duration;

use super::{Plugged, changing, small};
use crate::harness::{Client, Gateway, Upstream, get, h2};

/// An upstream that answers as HTTP has it: to HEAD without a body.
fn upstream() -> Upstream {
    Upstream::scripted(|seen| {
        let body = if seen.line.starts_with("HEAD") { "" } else { "hello" };
        Some(format!("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{body}").into_bytes())
    })
}

#[test]
fn an_answer_has_a_body_by_what_its_client_has_sent_whatever_the_upstream_was_asked_by() {
    let upstream = upstream();
    let gateway = Plugged::start(
        &[("get.wasm", &changing("(call $get)")), ("head.wasm", &changing("(call $head)"))],
        &format!(
            "plugins: [{{name: get, file: get.wasm}}, {{name: head, file: head.wasm}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - {{name: get, match: [{{path: {{prefix: /get}}}}], policies: [{{wasm: {{plugin: get}}}}], backends: [{{upstream: u}}]}}
  - {{name: head, match: [{{path: {{prefix: /head}}}}], policies: [{{wasm: {{plugin: head}}}}], backends: [{{upstream: u}}]}}
",
            upstream.address
        ),
    );
    let address = gateway.gateway.address;
    let mut client = Client::connect(address);
    client.write("HEAD /get HTTP/1.1\r\nhost: a.test\r\n\r\n");
    let head = client.read_head().expect("an answer");
    assert_eq!((head.status, head.header("content-length")), (200, Some("5")));
    let whole = client.get("/get").expect("the connection goes on");
    assert_eq!((whole.status, whole.text().as_str()), (200, "hello"));
    let empty = client.get("/head").expect("an answer that has an end");
    assert_eq!((empty.status, empty.text().as_str()), (200, ""));
    assert_eq!(client.get("/get").expect("the connection goes on").text(), "hello");
    let lines: Vec<String> = upstream.seen().iter().map(|seen| seen.line.clone()).collect();
    let asked_by: Vec<&str> = lines.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(asked_by, ["GET", "GET", "HEAD", "GET"]);
    h2::run(async {
        let client = h2::Client::connect(address).await;
        let head = client.fetch(h2::request("HEAD", "/get"), b"", None).await.expect("an answer");
        assert_eq!((head.status, head.text().as_str()), (200, ""));
        let empty = client.get("/head").await.expect("an answer");
        assert_eq!(
            (empty.status, empty.header("content-length"), empty.text().as_str()),
            (200, Some("0"), "")
        );
    });
}

/// The status of what a client of HTTP/2 gets that wants WebSocket.
fn switched(gateway: &Gateway, path: &str) -> u16 {
    h2::run(async {
        let client = h2::Client::connect(gateway.address).await;
        let mut send = client.send.clone().ready().await.expect("ready");
        while !send.is_extended_connect_protocol_enabled() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut request = h2::request("CONNECT", path);
        request.headers_mut().insert("sec-websocket-version", http::HeaderValue::from_static("13"));
        request.extensions_mut().insert(::h2::ext::Protocol::from_static("websocket"));
        let (answer, _stream) = send.send_request(request, false).expect("sent");
        answer.await.expect("an answer").status().as_u16()
    })
}

#[test]
fn who_switches_protocols_over_http2_is_judged_like_everybody() {
    let upstream = Upstream::fixed(404, "no");
    // The verdict at 64 becomes an answer with status 403.
    let refuse = "(i32.store8 (i32.const 64) (i32.const 1)) (i32.store16 (i32.const 68) (i32.const 403))";
    let gateway = Plugged::start(
        &[("shut.wasm", &small(refuse)), ("open.wasm", &changing("(call $post) (call $new-body)"))],
        &format!(
            "plugins: [{{name: shut, file: shut.wasm}}, {{name: open, file: open.wasm}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - {{name: shut, match: [{{path: {{prefix: /shut}}}}], policies: [{{wasm: {{plugin: shut, phase: first}}}}], backends: [{{upstream: u}}]}}
  - {{name: open, match: [{{path: {{prefix: /open}}}}], policies: [{{wasm: {{plugin: open}}}}], backends: [{{upstream: u}}]}}
",
            upstream.address
        ),
    );
    let gateway = &gateway.gateway;
    assert_eq!(get(gateway.address, "/shut").expect("an answer").status, 403);
    assert_eq!(switched(gateway, "/shut"), 403);
    assert_eq!(upstream.seen().len(), 0, "nobody came past it");
    assert_eq!(switched(gateway, "/open"), 404);
    let seen = upstream.seen();
    assert!(seen[0].line.starts_with("GET /open"), "its method stays: {}", seen[0].line);
    assert_eq!((seen[0].header("upgrade"), seen[0].body.len()), (Some("websocket"), 0));
}

#[test]
fn what_is_stopped_halfway_is_a_500_whatever_it_had_changed() {
    let gateway = Plugged::start(
        &[
            ("half.wasm", &changing("(call $wrong-path) (unreachable)")),
            ("whole.wasm", &changing("(call $wrong-path)")),
        ],
        "plugins: [{name: half, file: half.wasm}, {name: whole, file: whole.wasm}]
routes:
  - {name: half, match: [{path: {prefix: /half}}], policies: [{wasm: {plugin: half}}], respond: {}}
  - {name: whole, match: [{path: {prefix: /whole}}], policies: [{wasm: {plugin: whole}}], respond: {}}
",
    );
    let gateway = &gateway.gateway;
    for (path, status, problem) in [("/half", 500, "internal"), ("/whole", 400, "bad-path")] {
        let answer = get(gateway.address, path).expect("an answer");
        assert_eq!((answer.status, answer.problem().as_deref()), (status, Some(problem)), "{path}");
    }
    let metric = "tidegate_wasm_calls_total{policy=\"routes/half/wasm\",outcome=\"trapped\"}";
    assert_eq!(gateway.metric(metric), Some(1.0), "{}", gateway.metrics());
}
