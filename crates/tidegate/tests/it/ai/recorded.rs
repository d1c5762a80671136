//! Texts of calls in the access log, where a route wants them.

use ai::dialect::Dialect;
use serde_json::Value;

use super::{KEY, post, provider};
use crate::harness::{Gateway, Upstream};

fn gateway(base: &str, kind: &str, policies: &str, route: &str) -> Gateway {
    Gateway::start(&format!(
        "consumers: [{{name: app, keys: [{KEY}]}}]
accessLog: [{{kind: stdout, format: json}}]
routes:
  - name: models
    match: [{{path: {{prefix: /ai}}}}]
    policies: [{{keyAuth: {{headers: [x-api-key]}}}}{policies}]
    ai: {{stripPrefix: /ai{route}}}
ai:
  providers: [{{name: p, kind: {kind}, baseUrl: \"{base}\"}}]
  models: [{{name: smart, targets: [{{provider: p, model: gpt-4o}}]}}]
"
    ))
}

fn ask(gateway: &Gateway, text: &str, more: &str) -> Value {
    let body =
        serde_json::json!({"model": "smart", "messages": [{"role": "user", "content": text}]}).to_string();
    let body = body.replacen('{', &format!("{{{more}"), 1);
    let answer = post(gateway, "/ai/v1/chat/completions", "", &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    gateway.records(1).remove(0)["ai"].clone()
}

#[test]
fn texts_are_in_the_record_where_the_route_says_so_and_nowhere_else() {
    let (openai, claude) = (provider::of(Dialect::OpenAiChat), provider::of(Dialect::Anthropic));
    let said = |dialect: Dialect| {
        let answer = provider::fixture(dialect, "answers", "text");
        let read = dialect.read_answer(answer.as_bytes()).expect("an answer");
        ai::canon::events_of(read).iter().fold(String::new(), |mut text, event| {
            if let ai::canon::Event::Delta { delta: ai::canon::Delta::Text(more), .. } = event {
                text.push_str(more);
            }
            text
        })
    };
    for (kind, base, dialect) in [
        ("openai", format!("http://{}/v1", openai.address), Dialect::OpenAiChat),
        ("anthropic", format!("http://{}", claude.address), Dialect::Anthropic),
    ] {
        let silent = gateway(&base, kind, "", "");
        let told = ask(&silent, "case: text", "");
        assert!(told.get("prompt_text").is_none() && told.get("answer_text").is_none(), "{told}");
        let whole = ask(&gateway(&base, kind, "", ", recordText: 4KiB"), "case: text", "");
        assert_eq!(
            (&whole["prompt_text"], &whole["answer_text"]),
            (&"case: text".into(), &said(dialect).into())
        );
        let stream = ask(&gateway(&base, kind, "", ", recordText: 4KiB"), "case: text", "\"stream\":true,");
        let text = stream["answer_text"].as_str().expect("what was streamed");
        assert!(text.len() > 5, "{stream}");
    }
    let bounded = gateway(&format!("http://{}/v1", openai.address), "openai", "", ", recordText: 10B");
    let told = ask(&bounded, &format!("{} case: text", "long ".repeat(100)), "");
    assert_eq!(told["prompt_text"], "case: text", "the end of it");
    assert_eq!(told["answer_text"].as_str().map(str::len), Some(10), "{told}");
}

#[test]
fn what_guardrails_mask_is_masked_in_the_record_of_both_sides() {
    let answer = |text: &str| {
        serde_json::json!({"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]})
    };
    let upstream = Upstream::fixed(200, &answer("I write to <EMAIL_1> now.").to_string());
    let base = format!("http://{}/v1", upstream.address);
    let mask = ", {guardrails: {rules: [{name: mails, mode: mask, personalData: [email]}]}}";
    let gateway = gateway(&base, "openai", mask, ", recordText: 4KiB");
    let body = r#"{"model":"smart","messages":[{"role":"user","content":"write to ann@example.org"}]}"#;
    let told = post(&gateway, "/ai/v1/chat/completions", "", body);
    assert!(told.text().contains("ann@example.org"), "the caller is told what it said: {}", told.text());
    let record = gateway.records(1).remove(0)["ai"].clone();
    assert_eq!(record["prompt_text"], "write to <EMAIL_1>", "{record}");
    assert_eq!(record["answer_text"], "I write to <EMAIL_1> now.", "{record}");
}

#[test]
fn a_datum_that_is_cut_off_is_not_shown_where_masks_made_room_for_it() {
    let text = format!("{}@example.org ", "long.".repeat(12)).repeat(300);
    let answer = serde_json::json!({"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]});
    let upstream = Upstream::fixed(200, &answer.to_string());
    let mask = ", {guardrails: {rules: [{name: mails, on: request, mode: mask, personalData: [email]}]}}";
    let base = format!("http://{}/v1", upstream.address);
    for most in [400, 410, 420, 2000] {
        let gateway = gateway(&base, "openai", mask, &format!(", recordText: {most}B"));
        let told = ask(&gateway, "hello", "");
        let recorded = told["answer_text"].as_str().unwrap_or_default();
        assert!(recorded.starts_with("<EMAIL_1> ") && !recorded.contains("long"), "{most}: {recorded}");
    }
}
