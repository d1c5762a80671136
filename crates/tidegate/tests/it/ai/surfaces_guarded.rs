//! Rules on what is asked for beside conversations: vectors, completions, pictures, speech, moderation, ranks.

use ai::dialect::Dialect;
use serde_json::{Value, json};

use super::{
    parrot::{self, says},
    post,
};

/// A surface, and the field in which its text stands.
const SURFACES: [(&str, &str); 6] = [
    ("/ai/v1/embeddings", "input"),
    ("/ai/v1/completions", "prompt"),
    ("/ai/v1/images/generations", "prompt"),
    ("/ai/v1/audio/speech", "input"),
    ("/ai/v1/moderations", "input"),
    ("/ai/v1/rerank", "query"),
];

fn body(field: &str, text: &str) -> String {
    let mut body = json!({"model": "openai-chat", "documents": ["a"], "voice": "alloy"});
    body[field] = text.into();
    body.to_string()
}

#[test]
fn rules_read_what_is_asked_for_on_every_surface() {
    let upstream = crate::harness::Upstream::fixed(200, r#"{"object":"list","data":[],"results":[]}"#);
    let chat = parrot::provider(Dialect::Anthropic, |_| says("ok"));
    let policies = "      - guardrails: {rules: [{name: rivals, words: [Acme Corp], on: request}, {name: pii, mode: mask, personalData: [email], on: request}]}\n";
    let providers = [(Dialect::OpenAiChat, &upstream), (Dialect::Anthropic, &chat)];
    let gateway = parrot::gateway(&providers, policies, "");
    for (path, field) in SURFACES {
        let refused = post(&gateway, path, "", &body(field, "of Acme Corp"));
        assert_eq!(refused.status, 400, "{path}: {}", refused.text());
        assert!(refused.text().contains("guardrail_blocked"), "{path}: {}", refused.text());
        let record = gateway.record(path, |record| record["path"] == path && record["status"] == 400);
        assert_eq!(record["ai"]["guardrails"][0]["rule"], "rivals", "{record}");
    }
    assert!(upstream.seen().is_empty());
    // Answers of completions cannot be read, and what was masked could not come back in them.
    let completions = post(&gateway, SURFACES[1].0, "", &body(SURFACES[1].1, "write to ann@example.org"));
    assert_eq!(completions.status, 501, "{}", completions.text());
    let others = SURFACES.iter().filter(|(path, _)| !path.ends_with("/completions"));
    for (at, (path, field)) in others.enumerate() {
        let answer = post(&gateway, path, "", &body(field, "write to ann@example.org"));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let seen = upstream.seen();
        assert_eq!(seen.len(), at + 1);
        let sent: Value = serde_json::from_slice(&seen[at].body).expect("JSON");
        assert_eq!(sent[*field], "write to <EMAIL_1>", "{path}: {sent}");
    }
}
