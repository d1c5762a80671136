//! Bodies that are forms: taken where forms belong, and nowhere else, for what a form says a rule does not read and a
//! list of models does not see.

use serde_json::json;

use super::KEY;
use crate::harness::{Answer, Gateway, Upstream};

fn gateway(upstream: &Upstream) -> Gateway {
    Gateway::start(&format!(
        "consumers: [{{name: app, keys: [{KEY}], models: [smart]}}]
routes:
  - name: models
    match: [{{path: {{prefix: /ai}}}}]
    policies:
      - keyAuth: {{}}
      - guardrails: {{rules: [{{name: rivals, words: [Acme Corp]}}]}}
    ai: {{stripPrefix: /ai}}
ai:
  providers: [{{name: p, kind: openai, baseUrl: \"http://{}/v1\"}}]
  models:
    - {{name: smart, targets: [{{provider: p, model: gpt-4o}}]}}
    - {{name: dear, targets: [{{provider: p, model: o1-pro}}]}}
",
        upstream.address
    ))
}

fn send(gateway: &Gateway, path: &str, kind: &str, body: &str) -> Answer {
    let head = format!(
        "POST /ai/v1{path} HTTP/1.1\nhost: gw\nx-api-key: {KEY}\ncontent-type: {kind}\ncontent-length: {}",
        body.len()
    );
    gateway.send(&head, body.as_bytes())
}

fn form(fields: &[(&str, &str)]) -> String {
    let part = |(name, value): &(&str, &str)| {
        format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    fields.iter().map(part).collect::<String>() + "--b--\r\n"
}

const FORM: &str = "multipart/form-data; boundary=b";
const JSON_ENDPOINTS: [&str; 8] = [
    "/chat/completions",
    "/responses",
    "/messages",
    "/completions",
    "/embeddings",
    "/images/generations",
    "/audio/speech",
    "/rerank",
];

#[test]
fn a_form_around_a_conversation_evades_neither_rules_nor_lists_of_models() {
    let upstream = Upstream::fixed(200, r#"{"text":"heard"}"#);
    let gateway = gateway(&upstream);
    let conversation = |model: &str, text: &str| {
        json!({"model": model, "max_tokens": 5, "messages": [{"role": "user", "content": text}]}).to_string()
    };
    let hidden = conversation("dear", "what does Acme Corp sell?");
    for path in JSON_ENDPOINTS {
        for fields in [
            &[("model", "smart"), ("messages", &*hidden)][..],
            &[("model", "smart"), ("input", "Acme Corp"), ("prompt", "Acme Corp")],
        ] {
            let answer = send(&gateway, path, FORM, &form(fields));
            assert_eq!(answer.status, 400, "{path}: {}", answer.text());
        }
    }
    // JSON that calls itself a form is read as the JSON that it is.
    for kind in [FORM, "application/x-www-form-urlencoded", "text/plain"] {
        let blocked = send(&gateway, "/chat/completions", kind, &conversation("smart", "ask Acme Corp"));
        assert!(blocked.text().contains("guardrail_blocked"), "{kind}: {}", blocked.text());
        let refused = send(&gateway, "/chat/completions", kind, &conversation("dear", "hello"));
        assert_eq!(refused.status, 403, "{kind}: {}", refused.text());
    }
    assert!(upstream.seen().is_empty(), "nothing of it has been sent: {:?}", upstream.seen());
}

#[test]
fn where_forms_belong_the_list_of_models_holds_for_them() {
    let upstream = Upstream::fixed(200, r#"{"text":"heard"}"#);
    let gateway = gateway(&upstream);
    let answer =
        send(&gateway, "/audio/transcriptions", FORM, &form(&[("model", "dear"), ("file", "sound")]));
    assert_eq!(answer.status, 403, "{}", answer.text());
    let twice = form(&[("model", "smart"), ("file", "sound"), ("model", "dear")]);
    assert_eq!(send(&gateway, "/audio/transcriptions", FORM, &twice).status, 400);
    assert!(upstream.seen().is_empty());
    let answer =
        send(&gateway, "/audio/transcriptions", FORM, &form(&[("model", "smart"), ("file", "sound")]));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(upstream.seen().len(), 1);
}
