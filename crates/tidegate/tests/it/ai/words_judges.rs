//! What Voyage, Jina, MiniMax and IBM publish for their callers judges the mock and the gateway: their packages understand what
//! the mock says, and whatever the gateway asks for, they ask for in the same words.

use serde_json::{Value, json};

use super::{KEY, post, words::said};
use crate::harness::{Gateway, Peer, Seen, Upstream, judge, node};

/// The key of the gateway's at every vendor.
const OURS: &str = "provider-key-of-the-test";

fn told(body: &Value) -> Option<Vec<u8>> {
    Some(super::parrot::http("application/json", body.to_string().as_bytes()))
}

/// All vendors, as their documents have them.
fn vendor(seen: &Seen) -> Option<Vec<u8>> {
    let path = seen.target().split('?').next().unwrap_or_default();
    assert_eq!(seen.header("authorization"), Some(&*format!("Bearer {OURS}")), "{path}");
    let vector = json!({"object": "list", "model": "m", "usage": {"total_tokens": 3, "prompt_tokens": 3},
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]});
    let ranks = json!([{"index": 1, "relevance_score": 0.75}]);
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5});
    match path {
        "/voyage/embeddings" | "/jina/v1/embeddings" => told(&vector),
        "/voyage/rerank" => {
            told(&json!({"object": "list", "data": ranks, "model": "m", "usage": {"total_tokens": 7}}))
        }
        "/jina/v1/rerank" => told(&json!({"model": "m", "results": ranks, "usage": {"total_tokens": 7}})),
        "/watsonx/ml/v1/text/rerank" => told(
            &json!({"model_id": "m", "results": [{"index": 1, "score": 0.75}], "created_at": "2026-11-30T00:00:00Z",
                    "input_token_count": 7}),
        ),
        "/watsonx/ml/v1/text/chat" => told(&json!({"id": "c", "model_id": "m", "created": 1,
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "At noon."}}],
            "usage": usage})),
        "/watsonx/ml/v1/text/chat_stream" => {
            let event = |number: usize, choices: &Value, usage: &Value| {
                let chunk =
                    json!({"id": "c", "model_id": "m", "created": 1, "choices": choices, "usage": usage});
                format!("id: {number}\nevent: message\ndata: {chunk}\n\n")
            };
            let delta = |text: &str, reason: Value| json!([{"index": 0, "finish_reason": reason, "delta": {"role": "assistant", "content": text}}]);
            let events = [
                event(1, &delta("At ", Value::Null), &Value::Null),
                event(2, &delta("noon.", json!("stop")), &Value::Null),
                event(3, &json!([]), &usage),
            ];
            Some(super::parrot::http("text/event-stream", events.concat().as_bytes()))
        }
        "/v1/t2a_v2" => told(&json!({"data": {"audio": "00ff".repeat(100), "status": 2},
            "extra_info": {"usage_characters": 10}, "base_resp": {"status_code": 0, "status_msg": "success"}})),
        "/v1/image_generation" => {
            told(&json!({"id": "i", "data": {"image_urls": ["https://pier.example/1"]},
            "base_resp": {"status_code": 0, "status_msg": "success"}}))
        }
        other => panic!("nobody asks for {other}: {}", String::from_utf8_lossy(&seen.body)),
    }
}

fn gateway(upstream: &Upstream) -> Gateway {
    let address = upstream.address;
    let mut text = format!(
        "consumers: [{{name: app, keys: [{KEY}]}}]\nroutes:\n  - name: models\n    match: [{{path: {{prefix: /ai}}}}]\n    policies: [{{keyAuth: {{headers: [x-api-key]}}}}]\n    ai: {{stripPrefix: /ai}}\nai:\n  providers:\n"
    );
    for (kind, path, more) in [
        ("voyage", "/voyage", ""),
        ("jina", "/jina/v1", ""),
        ("minimax", "/v1", ""),
        ("watsonx", "/watsonx", ", values: {project: tide}"),
    ] {
        text += &format!(
            "    - {{name: {kind}, kind: {kind}, baseUrl: \"http://{address}{path}\", keys: [{OURS}]{more}}}\n"
        );
    }
    text += "  models:\n";
    for (provider, model) in [
        ("voyage", "rerank-2.5"),
        ("voyage", "voyage-3.5"),
        ("jina", "jina-reranker-v3"),
        ("jina", "jina-embeddings-v5-text-small"),
        ("minimax", "speech-2.6-hd"),
        ("minimax", "image-01"),
        ("watsonx", "ibm/granite-4-h-small"),
        ("watsonx", "cross-encoder/ms-marco"),
    ] {
        text += &format!(
            "    - {{name: \"{model}\", targets: [{{provider: {provider}, model: \"{model}\"}}]}}\n"
        );
    }
    Gateway::start(&text)
}

/// Whether what the gateway says is what a package says, too, which may say more. A package leaves these to the vendor.
fn is_said(theirs: &Value, ours: &Value) -> bool {
    const BY_DEFAULT: [&str; 4] = ["stream", "output_format", "response_format", "return_documents"];
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => ours.iter().all(|(name, value)| {
            BY_DEFAULT.contains(&name.as_str()) || theirs.get(name).is_some_and(|known| is_said(known, value))
        }),
        (Value::Number(theirs), Value::Number(ours)) => theirs.as_f64() == ours.as_f64(),
        _ => theirs == ours,
    }
}

#[test]
fn vendors_packages_understand_the_mock_and_ask_as_the_gateway_does() {
    let upstream = Upstream::scripted(vendor);
    let base = format!("http://{}", upstream.address);
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().display().to_string();
    let (well, javascript) =
        Peer::start(node("words-judges", include_str!("words_judges.mjs"), &[&base, OURS])).finish();
    assert!(well, "{javascript}");
    let (well, python) = Peer::start(judge(include_str!("words_judges.py"), &[&base, OURS, &place])).finish();
    assert!(well, "{python}");
    let understood = "voyage rank 1 0.75
voyage vector [0.5,0.25] 3
watsonx chat At noon. 2
watsonx stream At noon. 2
watsonx rank 1 0.75
jina rank 1 0.75
jina vector [0.5, 0.25]
minimax speech Success 200
minimax picture Success. Image URLs: ['https://pier.example/1']";
    assert_eq!(format!("{javascript}\n{python}").trim_end(), understood);
    let theirs: Vec<_> = upstream.seen().iter().map(said).collect();
    let gateway = gateway(&upstream);
    let content = json!([{"type": "text", "text": "high water?"}]);
    let messages = json!([{"role": "user", "content": content}]);
    let tools = json!([{"type": "function", "function": {"name": "get_tide", "parameters": {"type": "object", "properties": {}}}}]);
    let rank = |model: &str| json!({"model": model, "query": "tide", "documents": ["a", "b"], "top_n": 1});
    let granite = "ibm/granite-4-h-small";
    let asked = [
        ("rerank", rank("rerank-2.5")),
        ("embeddings", json!({"model": "voyage-3.5", "input": ["high water"]})),
        (
            "chat/completions",
            json!({"model": granite, "messages": messages, "tools": tools, "max_tokens": 50, "temperature": 0.5}),
        ),
        ("chat/completions", json!({"model": granite, "messages": messages, "stream": true})),
        ("rerank", rank("cross-encoder/ms-marco")),
        ("rerank", rank("jina-reranker-v3")),
        (
            "embeddings",
            json!({"model": "jina-embeddings-v5-text-small", "input": ["high water"], "dimensions": 2}),
        ),
        (
            "audio/speech",
            json!({"model": "speech-2.6-hd", "voice": "Wise_Woman", "input": "high water", "speed": 1.1}),
        ),
        (
            "images/generations",
            json!({"model": "image-01", "prompt": "a pier", "size": "1024x1024", "n": 2, "response_format": "url"}),
        ),
    ];
    assert_eq!(theirs.len(), asked.len());
    for ((path, body), (target, query, theirs)) in asked.iter().zip(&theirs) {
        let before = upstream.seen().len();
        let answer = post(&gateway, &format!("/ai/v1/{path}"), "", &body.to_string());
        assert_eq!(answer.status, 200, "{path} {body}: {}", answer.text());
        let (asked_at, asked_with, ours) = said(&upstream.seen()[before]);
        assert_eq!((&asked_at, &asked_with), (target, query), "{body}");
        assert!(is_said(theirs, &ours), "{target}: {ours} is not in {theirs}");
    }
    // What IBM has in words of its own is not asked for in others.
    for path in ["embeddings", "completions"] {
        let body = json!({"model": granite, "input": "high water", "prompt": "high water"});
        let answer = post(&gateway, &format!("/ai/v1/{path}"), "", &body.to_string());
        assert_eq!(answer.status, 501, "{path}: {}", answer.text());
    }
}
