//! What vendors have beside conversations: through their SDKs, to a provider that checks what it is sent.

use serde_json::json;

use super::{KEY, gateway, post};
use crate::harness::{Peer, Seen, Upstream, python};

fn answered(kind: &str, body: &[u8]) -> Option<Vec<u8>> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
    Some([head.as_bytes(), body].concat())
}

/// A provider that has all of it, and none of whose answers is like another.
fn provider() -> Upstream {
    Upstream::scripted(|seen| {
        let usage = json!({"input_tokens": 11, "output_tokens": 7, "total_tokens": 18});
        let body = match seen.target() {
            "/v1/embeddings" => json!({
                "object": "list", "model": "m-1", "usage": {"prompt_tokens": 5, "total_tokens": 5},
                "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
            }),
            "/v1/completions" => json!({
                "id": "c", "object": "text_completion", "created": 1, "model": "m-1",
                "choices": [{"index": 0, "text": " rises", "finish_reason": "stop", "logprobs": null}],
                "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
            }),
            "/v1/images/generations" => {
                json!({"created": 1, "data": [{"b64_json": "cGllcg=="}], "usage": usage})
            }
            "/v1/images/edits" => json!({"created": 1, "data": [{"b64_json": "bmlnaHQ="}], "usage": usage}),
            "/v1/audio/speech" => return answered("audio/mpeg", &[0xff; 5000]),
            "/v1/audio/transcriptions" => {
                json!({"text": "written down", "usage": {"type": "tokens", "input_tokens": 9, "output_tokens": 4, "total_tokens": 13}})
            }
            "/v1/audio/translations" => json!({"text": "in English"}),
            "/v1/moderations" => json!({
                "id": "m", "model": "m-1",
                "results": [{"flagged": true, "categories": {}, "category_scores": {}, "category_applied_input_types": {}}],
            }),
            "/v1/rerank" | "/v2/rerank" => {
                json!({"id": "r", "results": [{"index": 1, "relevance_score": 0.75}]})
            }
            other => panic!("nobody asks for {other}"),
        };
        answered("application/json", body.to_string().as_bytes())
    })
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// The values of a form's fields, by a reader of its own that knows how the SDK writes it.
fn field(seen: &Seen, name: &str) -> Option<Vec<u8>> {
    let kind = seen.header("content-type").expect("a media type");
    let boundary = kind.split("boundary=").nth(1).expect("a boundary").trim_matches('"');
    let body = &seen.body;
    let begin = format!("name=\"{name}\"");
    let at = find(body, begin.as_bytes())?;
    let from = at + find(&body[at..], b"\r\n\r\n")? + 4;
    let end = find(&body[from..], format!("\r\n--{boundary}").as_bytes())?;
    Some(body[from..from + end].to_vec())
}

#[test]
fn official_sdks_find_everything_that_they_have_beside_conversations() {
    let (upstream, ranker) = (provider(), provider());
    let gateway = gateway(
        &[
            ("p", "openai", format!("http://{}/v1", upstream.address)),
            ("r", "cohere", format!("http://{}", ranker.address)),
        ],
        &[("any", &[("p", "m-1", 1)]), ("rank", &[("r", "rerank-v4", 1)])],
        "",
    );
    let base = format!("http://{}/ai", gateway.address);
    let client = Peer::start(python(include_str!("surfaces.py"), &[&base, KEY]));
    let (ended_well, text) = client.finish();
    assert!(ended_well, "{text}");
    let wanted = "embeddings 5\ncompletions  rises\nimages cGllcg==\nimage-edits bmlnaHQ=\nspeech 5000\n\
        transcriptions written down\ntranslations in English\nmoderations True\nrerank 1 0.75";
    assert_eq!(text.trim_end(), wanted);
    let seen = upstream.seen();
    assert_eq!(seen.len(), 8);
    for request in &seen {
        assert_eq!(request.header("authorization"), Some("Bearer provider-key-of-the-test"));
        let kind = request.header("content-type").expect("a media type");
        if kind.starts_with("application/json") {
            let body: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
            assert_eq!(body["model"], "m-1", "{}", request.target());
            assert!(body.get("stream_options").is_none(), "{}", request.target());
        } else {
            assert_eq!(field(request, "model").as_deref(), Some(&b"m-1"[..]), "{}", request.target());
        }
    }
    let sound = b"RIFF\r\n--boundary\r\n\x00\xff".repeat(1000);
    assert_eq!(field(&seen[5], "file"), Some(sound), "bytes of the file are as they were");
    assert_eq!(field(&seen[5], "language").as_deref(), Some(&b"en"[..]));
    let records = gateway.records(9);
    let told: Vec<_> = records
        .iter()
        .map(|record| {
            let ai = &record["ai"];
            (
                ai["operation"].as_str().unwrap_or(""),
                ai["input_tokens"].as_u64(),
                ai["output_tokens"].as_u64(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("embeddings", Some(5), Some(0)),
            ("text_completion", Some(3), Some(2)),
            ("image_generation", Some(11), Some(7)),
            ("image_edit", Some(11), Some(7)),
            ("speech", Some(0), Some(0)),
            ("transcription", Some(9), Some(4)),
            ("translation", Some(0), Some(0)),
            ("moderation", None, None),
            ("rerank", Some(0), Some(0)),
        ]
    );
    assert_eq!(ranker.seen()[0].target(), "/v2/rerank");
}

#[test]
fn ranks_are_asked_for_in_the_same_words_wherever_the_model_is() {
    let (jina, cohere) = (provider(), provider());
    let gateway = gateway(
        &[
            ("j", "jina", format!("http://{}/v1", jina.address)),
            ("c", "cohere", format!("http://{}", cohere.address)),
        ],
        &[("jr", &[("j", "jina-reranker", 1)]), ("cr", &[("c", "rerank-v4", 1)])],
        "",
    );
    for (path, model) in [("/ai/v1/rerank", "cr"), ("/ai/v2/rerank", "jr")] {
        let body = format!(r#"{{"model":"{model}","query":"q","documents":["a","b"]}}"#);
        let answer = post(&gateway, path, "", &body);
        assert_eq!((answer.status, answer.json()["results"][0]["index"].clone()), (200, json!(1)), "{path}");
    }
    assert_eq!((jina.seen()[0].target(), cohere.seen()[0].target()), ("/v1/rerank", "/v2/rerank"));
}

#[test]
fn what_a_provider_has_not_is_501_and_asks_nobody() {
    let upstream = provider();
    let gateway = gateway(
        &[("a", "anthropic", format!("http://{}", upstream.address))],
        &[("claude", &[("a", "claude-sonnet-4-5", 1)])],
        "",
    );
    for path in ["/ai/v1/moderations", "/ai/v1/images/generations", "/ai/v1/audio/speech"] {
        let answer = post(&gateway, path, "", r#"{"model":"claude","input":"x"}"#);
        assert_eq!(answer.status, 501, "{path}");
        let message = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.contains("claude-sonnet-4-5"), "{message}");
    }
    // Nor is a form that cannot be read sent to anybody.
    let broken = "\ncontent-type: multipart/form-data; boundary=x";
    let head = format!(
        "POST /ai/v1/audio/transcriptions HTTP/1.1\nhost: gw\nx-api-key: {KEY}\ncontent-length: 3{broken}"
    );
    let answer = gateway.send(&head, b"abc");
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("the body is no form"), "{}", answer.text());
    assert!(upstream.seen().is_empty());
}
