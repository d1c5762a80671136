//! The examples in Rust and JavaScript: what they change, answer, ask for and tell.

use std::{fs, time::Duration};

use serde_json::json;

use super::{Plugged, built};
use crate::harness::{Answer, Gateway, Upstream, eventually, raw};

fn get(gateway: &Gateway, path: &str, headers: &str) -> Answer {
    gateway.send(&format!("GET {path} HTTP/1.1\nhost: a{headers}"), b"")
}

fn post(gateway: &Gateway, path: &str, headers: &str, body: &str) -> Answer {
    let head = format!("POST {path} HTTP/1.1\nhost: a{headers}\ncontent-length: {}", body.len());
    gateway.send(&head, body.as_bytes())
}

#[test]
fn a_component_in_rust_judges_and_answers() {
    let accounts = Upstream::scripted(|seen| {
        let status = if seen.target().contains("good") { 200 } else { 402 };
        Some(format!("HTTP/1.1 {status} x\r\ncontent-length: 2\r\n\r\nok").into_bytes())
    });
    let service = Upstream::scripted(|seen| {
        let body =
            json!({"secret": 1, "sent": String::from_utf8_lossy(&seen.body), "tag": seen.header("x-tag")});
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\netag: \"1\"\r\ncontent-length: {}",
            body.len()
        );
        Some(format!("{head}\r\n\r\n{body}").into_bytes())
    });
    let rust = fs::read(built("rust.wasm")).expect("a component");
    let gateway = &Plugged::start(
        &[("rust.wasm", &rust)],
        &format!(
            "plugins: [{{name: rust, file: rust.wasm, cpuTime: 2s}}]
consumers: [{{name: gold, keys: [the-key-of-gold]}}]
upstreams:
  - {{name: u, endpoints: [{{address: \"{}\"}}]}}
  - {{name: accounts, endpoints: [{{address: \"{}\"}}]}}
routes:
  - name: judged
    match: [{{path: {{prefix: /judged}}}}]
    policies:
      - keyAuth: {{anonymous: gold}}
      - wasm: {{plugin: rust, config: {{refuse: /judged/admin, tag: blue, shout: true, via: rust, hide: secret}}, plainAnswers: true}}
    backends: [{{upstream: u}}]
  - name: asked
    match: [{{path: {{prefix: /asked}}}}]
    policies: [{{wasm: {{plugin: rust, config: {{ask: accounts}}, upstreams: [accounts]}}}}]
    backends: [{{upstream: u}}]
  - name: forbidden
    match: [{{path: {{prefix: /forbidden}}}}]
    policies: [{{wasm: {{plugin: rust, config: {{ask: accounts}}}}}}]
    backends: [{{upstream: u}}]
  - name: tiny
    match: [{{path: {{prefix: /tiny}}}}]
    policies: [{{wasm: {{plugin: rust, config: {{ask: accounts}}, upstreams: [accounts], maxBodySize: 1B}}}}]
    backends: [{{upstream: u}}]
  - name: small
    match: [{{path: {{prefix: /small}}}}]
    policies: [{{wasm: {{plugin: rust, config: {{shout: true, hide: secret}}, maxBodySize: 64}}}}]
    backends: [{{upstream: u}}]
  - name: answered
    match: [{{path: {{prefix: /}}}}]
    wasm: {{plugin: rust, config: {{a: [1, null]}}}}
",
            service.address, accounts.address
        ),
    )
    .gateway;
    // Heads and bodies of requests and answers.
    let answer = post(gateway, "/judged/a", "\naccept-encoding: gzip", "quiet");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-via"), Some("rust"));
    assert_eq!(answer.header("etag"), Some("W/\"1\""), "the bytes are others than the service tagged");
    assert_eq!(answer.json(), json!({"sent": "QUIET", "tag": "blue gold"}));
    assert_eq!(service.seen()[0].header("accept-encoding"), None);
    // Answers of its own, and what it counts and logs.
    for count in 1..=2 {
        let answer = get(gateway, "/judged/admin/x", "");
        assert_eq!((answer.status, answer.json()), (403, json!({"refused": count})));
    }
    assert_eq!(service.seen().len(), 1);
    let metric = "tidegate_wasm_counter_total{plugin=\"rust\",counter=\"refused\"}";
    assert_eq!(gateway.metric(metric), Some(2.0), "{}", gateway.metrics());
    assert!(gateway.stderr().contains("refused /judged/admin/x of 127.0.0.1"), "{}", gateway.stderr());
    // Upstreams that are asked, and those that may not be.
    assert_eq!(get(gateway, "/asked/good", "").status, 200);
    let answer = get(gateway, "/asked/bad", "");
    assert_eq!((answer.status, answer.json()), (403, json!({"said": 402})));
    assert_eq!(accounts.seen().len(), 2);
    assert!(accounts.seen()[0].header("x-request-id").is_some());
    let answer = get(gateway, "/forbidden/good", "");
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("not among the upstreams"), "{}", answer.text());
    assert_eq!(accounts.seen().len(), 2);
    // Bodies that are too large.
    let answer = get(gateway, "/tiny/good", "");
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("more than 1 bytes"), "{}", answer.text());
    assert_eq!(post(gateway, "/small", "", &"x".repeat(65)).status, 413);
    assert_eq!(
        post(gateway, "/small", "", &"x".repeat(64)).status,
        502,
        "with what is sent the answer is too large"
    );
    // The handler.
    let answer = post(gateway, "/some/where?b=c", "\naccept: text/plain", "hello");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(
        answer.json(),
        json!({
            "method": "POST", "path": "/some/where", "query": "b=c", "accept": "text/plain", "route": "answered",
            "body": "hello", "config": {"a": [1, null]}, "random": 4,
        })
    );
    assert!(gateway.stderr().contains("POST /some/where"), "what it prints goes to the log");
    let head = raw(gateway.address, b"HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let head = String::from_utf8(head).expect("text");
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn a_component_in_javascript_judges_and_answers() {
    let service = Upstream::echo();
    // Its engine, twelve megabytes of it, is compiled when the gateway starts.
    let gateway = &Gateway::patiently(
        &format!(
            "plugins: [{{name: js, file: '{}', maxMemory: 128MiB, cpuTime: 4s}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - name: judged
    match: [{{path: {{prefix: /judged}}}}]
    policies: [{{wasm: {{plugin: js, config: {{named: true, greeting: moin}}}}}}]
    backends: [{{upstream: u}}]
  - {{name: answered, match: [{{path: {{prefix: /}}}}], wasm: {{plugin: js}}}}
",
            built("js.wasm").display(),
            service.address
        ),
        Duration::from_secs(180),
    );
    let answer = get(gateway, "/judged", "\nx-name: Ada");
    assert_eq!((answer.status, answer.header("x-made-by")), (200, Some("javascript")), "{}", answer.text());
    assert_eq!(service.seen()[0].header("x-greeting"), Some("moin Ada"));
    for count in 1..=2 {
        let answer = get(gateway, "/judged", "");
        assert_eq!((answer.status, answer.json()), (400, json!({"title": "Who are you?", "refused": count})));
    }
    assert!(gateway.stderr().contains("/judged came without a name"));
    let answer = post(gateway, "/", "\nx-name: Ada", "quiet");
    assert_eq!((answer.status, answer.json()), (200, json!({"hello": "Ada", "sent": "QUIET"})));
    // What it throws ends its own call alone.
    let answer = get(gateway, "/?fail", "");
    assert_eq!((answer.status, answer.problem().as_deref()), (500, Some("internal")));
    assert!(!answer.text().contains("js"), "the client is told nothing of the inside: {}", answer.text());
    assert_eq!(get(gateway, "/", "").status, 200);
    eventually("a count of what trapped", || {
        let metric = "tidegate_wasm_calls_total{policy=\"routes/answered/handler\",outcome=\"trapped\"}";
        gateway.metric(metric) == Some(1.0)
    });
}
