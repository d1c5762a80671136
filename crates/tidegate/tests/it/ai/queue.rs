//! Calls that wait for a provider's key: bounded, by class, seen in the record and the metrics.

use serde_json::json;

use super::KEY;
use crate::harness::{Client, Gateway, Seen, Upstream, eventually, pause};

/// A provider that takes its time, and tells by the body who asked.
fn provider(millis: u64) -> Upstream {
    Upstream::scripted(move |_| {
        pause(millis);
        let body = r#"{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;
        let length = body.len();
        Some(
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
            )
            .into_bytes(),
        )
    })
}

fn gateway(upstream: &Upstream, keys: &str, queue: &str) -> Gateway {
    Gateway::start(&format!(
        "consumers: [{{name: app, keys: [{KEY}], groups: [gold]}}]\naccessLog: [{{kind: stdout, format: json}}]\nroutes:\n  - name: models\n    match: [{{path: {{prefix: /ai}}}}]\n    policies: [{{keyAuth: {{}}}}]\n    ai:\n      stripPrefix: /ai\n      priority: \"'gold' in consumer.groups ? request.headers['x-class'] : 'low'\"\nai:\n  providers:\n    - {{name: p, kind: openai, baseUrl: \"http://{}/v1\", keys: {keys}, keyQueue: {queue}}}\n  models: [{{name: smart, targets: [{{provider: p, model: a}}]}}]\n",
        upstream.address
    ))
}

/// Asks without waiting for the answer.
fn ask(gateway: &Gateway, name: &str, class: &str) -> Client {
    let body = json!({"model": "smart", "messages": [{"role": "user", "content": name}]}).to_string();
    let mut client = Client::connect(gateway.address);
    client.write(format!(
        "POST /ai/v1/chat/completions HTTP/1.1\r\nhost: gw\r\nx-api-key: {KEY}\r\nx-class: {class}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ));
    client
}

fn said(seen: &Seen) -> String {
    let body: serde_json::Value = serde_json::from_slice(&seen.body).expect("JSON");
    body["messages"][0]["content"].as_str().expect("text").to_owned()
}

fn metric(gateway: &Gateway, name: &str) -> f64 {
    gateway.metric(&format!("tidegate_ai_queue_{name}{{provider=\"p\"}}")).unwrap_or_default()
}

#[test]
fn a_key_takes_so_many_calls_and_the_more_urgent_of_those_that_wait_go_first() {
    let upstream = provider(500);
    let gateway = gateway(&upstream, "[k]", "{maxConcurrent: 1, size: 10, timeout: 20s}");
    let mut clients = vec![ask(&gateway, "first", "normal")];
    eventually("a call under way", || upstream.seen().len() == 1);
    for (at, class) in [(1, "low"), (2, "normal"), (3, "high")] {
        clients.push(ask(&gateway, class, class));
        eventually("it waits", || metric(&gateway, "waiting") == f64::from(at));
    }
    assert_eq!(upstream.seen().len(), 1, "a key takes one call at a time");
    for client in &mut clients {
        assert_eq!(client.read().expect("an answer").status, 200);
    }
    let order: Vec<String> = upstream.seen().iter().map(said).collect();
    assert_eq!(order, ["first", "high", "normal", "low"]);
    let mut waits: Vec<f64> = gateway
        .records(4)
        .iter()
        .map(|record| record["ai"]["time"]["queue_ms"].as_f64().expect("a time"))
        .collect();
    waits.sort_by(f64::total_cmp);
    assert!(waits[0] < 50.0 && waits[1] > 100.0 && waits[3] > 900.0, "{waits:?}");
    for record in gateway.records(4) {
        let first = record["ai"]["time"]["provider_first_byte_ms"].as_f64().expect("a time");
        assert!((450.0..1500.0).contains(&first), "{record}");
    }
    assert_eq!((metric(&gateway, "waited_total"), metric(&gateway, "in_flight")), (3.0, 0.0));
}

#[test]
fn calls_spread_over_keys_before_any_waits() {
    let upstream = provider(600);
    let gateway = gateway(&upstream, "[a, b, c]", "{maxConcurrent: 1, size: 10, timeout: 20s}");
    let clients: Vec<Client> = (0..3).map(|_| ask(&gateway, "x", "normal")).collect();
    eventually("all are under way", || upstream.seen().len() == 3);
    let mut keys: Vec<String> = upstream
        .seen()
        .iter()
        .map(|seen| seen.header("authorization").unwrap_or_default().to_owned())
        .collect();
    keys.sort();
    assert_eq!(keys, ["Bearer a", "Bearer b", "Bearer c"]);
    drop(clients);
}

#[test]
fn a_full_queue_and_a_long_wait_are_told_with_when_to_come_again() {
    let upstream = provider(1500);
    let gateway = gateway(&upstream, "[k]", "{maxConcurrent: 1, size: 1, timeout: 600ms}");
    let _first = ask(&gateway, "first", "normal");
    eventually("a call under way", || upstream.seen().len() == 1);
    let mut waits = ask(&gateway, "second", "normal");
    eventually("it waits", || metric(&gateway, "waiting") == 1.0);
    let full = ask(&gateway, "third", "normal").read().expect("an answer");
    assert_eq!((full.status, full.header("retry-after")), (429, Some("1")), "{}", full.text());
    assert_eq!(full.json()["error"]["type"], "rate_limit_error", "{}", full.text());
    let late = waits.read().expect("an answer");
    assert_eq!((late.status, late.header("retry-after")), (429, Some("1")), "{}", late.text());
    assert_eq!(upstream.seen().len(), 1);
    assert_eq!(metric(&gateway, "refused_total"), 2.0);
    assert!(gateway.metrics().contains("tidegate_ai_queue_refused_total"));
}

#[test]
fn a_client_that_leaves_leaves_the_queue() {
    let upstream = provider(800);
    let gateway = gateway(&upstream, "[k]", "{maxConcurrent: 1, size: 10, timeout: 20s}");
    let mut first = ask(&gateway, "first", "normal");
    eventually("a call under way", || upstream.seen().len() == 1);
    let gone = ask(&gateway, "gone", "high");
    eventually("it waits", || metric(&gateway, "waiting") == 1.0);
    drop(gone);
    eventually("it waits no more", || metric(&gateway, "waiting") == 0.0);
    assert_eq!(first.read().expect("an answer").status, 200);
    pause(200);
    assert_eq!(upstream.seen().len(), 1, "nobody asks for who has left");
    let left = gateway.record("who has left", |record| record["status"] == 499);
    assert_eq!(left["ai"]["provider"], "p", "{left}");
    assert!(left["ai"]["input_tokens"].is_null(), "nothing was sent, so nothing is owed: {left}");
    let asked = gateway.record("who was asked", |record| record["status"] == 200);
    assert_eq!(asked["ai"]["input_tokens"], 1, "{asked}");
}

#[test]
fn each_key_has_a_bound_of_its_own() {
    let upstream = provider(700);
    let gateway =
        gateway(&upstream, "[one, two]", "{maxConcurrent: 1, perKey: [1, 3], size: 10, timeout: 20s}");
    let mut clients: Vec<Client> =
        (0..6).map(|number| ask(&gateway, &number.to_string(), "normal")).collect();
    eventually("two wait", || metric(&gateway, "waiting") == 2.0);
    let with = |key: &str| {
        let bearer = format!("Bearer {key}");
        upstream.seen().iter().filter(|seen| seen.header("authorization") == Some(&*bearer)).count()
    };
    eventually("all places are taken", || upstream.seen().len() == 4);
    assert_eq!((with("one"), with("two")), (1, 3));
    for client in &mut clients {
        assert_eq!(client.read().expect("an answer").status, 200);
    }
}

#[test]
fn a_wait_for_a_key_is_no_silence_of_the_provider() {
    let slow = Upstream::scripted(|seen| {
        let is_first = said(seen) == "first";
        pause(if is_first { 900 } else { 0 });
        let body = r#"{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;
        Some(
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes(),
        )
    });
    let other = provider(0);
    let gateway = Gateway::start(&format!(
        "consumers: [{{name: app, keys: [{KEY}]}}]\nroutes:\n  - name: models\n    match: [{{path: {{prefix: /ai}}}}]\n    policies: [{{keyAuth: {{}}}}]\n    ai: {{stripPrefix: /ai}}\nai:\n  providers:\n    - {{name: p, kind: openai, baseUrl: \"http://{}/v1\", keys: [k], firstToken: 300ms, keyQueue: {{maxConcurrent: 1, size: 10, timeout: 20s}}}}\n    - {{name: q, kind: openai, baseUrl: \"http://{}/v1\", keys: [k]}}\n  models: [{{name: smart, targets: [{{provider: p, model: a}}, {{provider: q, model: a, weight: 0}}]}}]\n",
        slow.address, other.address
    ));
    let mut first = ask(&gateway, "first", "normal");
    eventually("a call under way", || slow.seen().len() == 1);
    let body = json!({"model": "smart", "stream": true, "messages": [{"role": "user", "content": "second"}]});
    let answer = super::post(&gateway, "/ai/v1/chat/completions", "", &body.to_string());
    assert_eq!((answer.status, answer.header("x-tidegate-provider")), (200, Some("p")), "{}", answer.text());
    assert!(other.seen().is_empty(), "nobody was silent");
    assert_eq!(first.read().expect("an answer").status, 200);
}
