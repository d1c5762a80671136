//! Whoever was asked before the one that answered is in the record, and counted where it was.

use std::collections::BTreeMap;

use ai::dialect::Dialect;
use serde_json::Value;

use super::{KEY, post, provider};
use crate::harness::{Gateway, Upstream, eventually, free_port, pause, read_request};

/// A gateway that asks the provider `first`, at this base address and with these keys, and then `second`.
fn gateway(first: &str, keys: &str, second: &str) -> Gateway {
    Gateway::start(&format!(
        "consumers: [{{name: app, keys: [{KEY}]}}]
accessLog: [{{kind: stdout, format: json}}]
routes:
  - name: models
    match: [{{path: {{prefix: /ai}}}}]
    policies: [{{keyAuth: {{}}}}]
    ai: {{stripPrefix: /ai}}
ai:
  providers:
    - {{name: first, kind: openai, baseUrl: \"{first}\", keys: [{keys}], firstToken: 200ms, timeouts: {{request: 500ms}}}}
    - {{name: second, kind: openai, baseUrl: \"{second}\", keys: [k]}}
  models:
    - name: slow
      targets: [{{provider: first, model: gpt-4o}}, {{provider: second, model: gpt-4o, weight: 0}}]
"
    ))
}

fn base(upstream: &Upstream) -> String {
    format!("http://{}/v1", upstream.address)
}

fn ask(gateway: &Gateway, more: &str) -> (u16, Value) {
    let body = format!(r#"{{"model":"slow"{more},"messages":[{{"role":"user","content":"case: text"}}]}}"#);
    let answer = post(gateway, "/ai/v1/chat/completions", "", &body);
    (answer.status, gateway.records(1).pop().expect("a record"))
}

/// What a counter says of each upstream.
fn counted(gateway: &Gateway, family: &str) -> BTreeMap<String, u64> {
    let page = gateway.metrics();
    let start = format!("{family}{{upstream=\"");
    let lines = page.lines().filter_map(|line| line.strip_prefix(&start)?.split_once("\"} "));
    lines.map(|(name, count)| (name.to_owned(), count.parse().expect("a number"))).collect()
}

fn counts(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[test]
fn who_failed_before_the_one_that_answered_is_told_and_counted_where_it_was() {
    let silent = || {
        Upstream::raw(|mut reader, seen| {
            while let Some(request) = read_request(&mut reader) {
                seen.lock().expect("not poisoned").push(request);
                pause(3000);
            }
        })
    };
    let refusing = |status| Upstream::fixed(status, r#"{"error":{"message":"no"}}"#);
    for (first, more, reason, status) in [
        (refusing(500), "", "status", Some(500)),
        (refusing(429), "", "status", Some(429)),
        (refusing(401), ",\"stream\":true", "status", Some(401)),
        (silent(), "", "upstream-timeout", None),
        (silent(), ",\"stream\":true", "upstream-timeout", None),
    ] {
        let second = provider::of(Dialect::OpenAiChat);
        let gateway = gateway(&base(&first), "k", &base(&second));
        let (answered, record) = ask(&gateway, more);
        assert_eq!((answered, &record["upstream"]), (200, &"ai:second".into()), "{record}");
        let tries = record["failed_tries"].as_array().expect("those that failed");
        assert_eq!((tries.len(), &record["attempts"]), (1, &2.into()), "{record}");
        assert_eq!((&tries[0]["upstream"], &tries[0]["reason"]), (&"ai:first".into(), &reason.into()));
        assert_eq!(tries[0]["status"].as_u64(), status, "{record}");
        assert_eq!(tries[0]["endpoint"], first.address.to_string(), "{record}");
        let want = counts(&[("ai:first", 1), ("ai:second", 1)]);
        eventually("both are counted", || counted(&gateway, "tidegate_attempts_total") == want);
        let want = counts(&[("ai:first", 0), ("ai:second", 0)]);
        assert_eq!(counted(&gateway, "tidegate_retries_total"), want);
    }
}

#[test]
fn keys_that_were_refused_are_tries_and_a_provider_that_is_not_asked_is_none() {
    let (first, second) = (Upstream::fixed(401, "{}"), provider::of(Dialect::OpenAiChat));
    let gateway = gateway(&base(&first), "k1, k2", &base(&second));
    let (_, record) = ask(&gateway, "");
    let tries = record["failed_tries"].as_array().expect("those that failed");
    assert_eq!((tries.len(), &record["attempts"]), (2, &3.into()), "{record}");
    assert!(tries.iter().all(|tried| tried["upstream"] == "ai:first" && tried["status"] == 401), "{record}");
    // Both are set aside now.
    ask(&gateway, "");
    let record = gateway.records(2).pop().expect("a record");
    let tries = record["failed_tries"].as_array().expect("those that failed");
    assert_eq!((tries.len(), &record["attempts"]), (1, &1.into()), "{record}");
    assert_eq!((&tries[0]["upstream"], &tries[0]["reason"]), (&"ai:first".into(), &"unavailable".into()));
    assert!(tries[0].get("endpoint").is_none(), "{record}");
    let want = counts(&[("ai:first", 2), ("ai:second", 2)]);
    eventually("each where it was", || counted(&gateway, "tidegate_attempts_total") == want);
    let want = counts(&[("ai:first", 1), ("ai:second", 0)]);
    assert_eq!(counted(&gateway, "tidegate_retries_total"), want);
    let log = gateway.stderr();
    assert!(log.contains("`first` refuses `keys[0]`") && log.contains("\"provider\":\"first\""), "{log}");
}

#[test]
fn the_try_whose_word_is_told_is_none_of_those_before_it() {
    let first = Upstream::scripted(|_| {
        Some(b"HTTP/1.1 503 X\r\nretry-after: 3\r\ncontent-length: 2\r\n\r\n{}".to_vec())
    });
    let away = format!("http://127.0.0.1:{}/v1", free_port());
    let gateway = gateway(&base(&first), "k", &away);
    let (status, record) = ask(&gateway, "");
    assert_eq!((status, &record["upstream"]), (503, &"ai:first".into()), "{record}");
    assert_eq!(record["endpoint"], first.address.to_string(), "{record}");
    let tries = record["failed_tries"].as_array().expect("those that failed");
    let others = tries.iter().filter(|tried| tried["upstream"] == "ai:second").count();
    assert_eq!(others, tries.len(), "{record}");
    assert_eq!(tries.len() as u64 + 1, record["attempts"].as_u64().expect("a number"), "{record}");
    let want = counts(&[("ai:first", 1), ("ai:second", tries.len() as u64)]);
    eventually("each where it was", || counted(&gateway, "tidegate_attempts_total") == want);
}

#[test]
fn where_nobody_was_asked_no_provider_is_named() {
    let first = provider::of(Dialect::OpenAiChat);
    let text = format!(
        "consumers: [{{name: app, keys: [{KEY}]}}]
accessLog: [{{kind: stdout, format: json}}]
routes:
  - name: models
    match: [{{path: {{prefix: /ai}}}}]
    policies: [{{keyAuth: {{}}}}, {{guardrails: {{rules: [{{name: mails, mode: block, personalData: [email]}}]}}}}]
    ai: {{stripPrefix: /ai}}
ai:
  providers: [{{name: first, kind: openai, baseUrl: \"{}\", keys: [k]}}]
  models: [{{name: slow, targets: [{{provider: first, model: gpt-4o}}]}}]
",
        base(&first)
    );
    let gateway = Gateway::start(&text);
    let body = r#"{"model":"slow","messages":[{"role":"user","content":"ask ann@example.org"}]}"#;
    assert_eq!(post(&gateway, "/ai/v1/chat/completions", "", body).status, 400);
    let record = gateway.records(1).remove(0);
    assert_eq!(record["ai"]["model"], "slow", "{record}");
    for name in ["provider", "provider_kind", "served_model"] {
        assert!(record["ai"].get(name).is_none(), "{name}: {record}");
    }
}
