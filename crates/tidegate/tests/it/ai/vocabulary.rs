//! Usage that a provider does not tell is counted with the model's own vocabulary.

use serde_json::json;

use super::{
    limits::{ask, base, metered},
    post,
};
use crate::harness::{Gateway, Upstream, eventually};

const SENTENCE: &str = "The quick brown fox jumps over the lazy dog. ";

/// An answer, whole or in a stream, that tells no usage.
fn untold() -> Upstream {
    Upstream::scripted(|seen| {
        let is_stream = String::from_utf8_lossy(&seen.body).contains("\"stream\":true");
        let choice = |text: &str, field: &str, end: Option<&str>| {
            json!({"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o",
                "choices": [{"index": 0, field: {"role": "assistant", "content": text}, "finish_reason": end}]})
        };
        let (kind, body) = if is_stream {
            // More than is kept as text, in pieces that cut words.
            let text = SENTENCE.repeat(200);
            let pieces = text.as_bytes().chunks(7).map(|piece| String::from_utf8_lossy(piece).into_owned());
            let events = pieces.map(|piece| format!("data: {}\n\n", choice(&piece, "delta", None)));
            let last = format!("data: {}\n\ndata: [DONE]\n\n", choice("", "delta", Some("stop")));
            ("text/event-stream", events.collect::<String>() + &last)
        } else {
            ("application/json", choice(SENTENCE.trim(), "message", Some("stop")).to_string())
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        Some((head + &body).into_bytes())
    })
}

/// Asks until the vocabulary, which is unpacked when it is first wanted, is there.
fn counted(gateway: &Gateway) {
    eventually("it is counted and no more estimated", || {
        let answer = ask(gateway, 50, "");
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("x-tidegate-estimate"), Some("true"));
        // `case: text` has three tokens; a message has four around it, and the answer begins with three.
        answer.header("x-tidegate-input-tokens") == Some("10")
            && answer.header("x-tidegate-output-tokens") == Some("10")
    });
}

#[test]
fn what_is_not_told_is_counted_as_the_model_cuts_it() {
    let upstream = untold();
    let gateway = metered("", "", &[&base(&upstream)], "");
    counted(&gateway);
    let body = r#"{"model":"smart","stream":true,"messages":[{"role":"user","content":"Hello, world!"}]}"#;
    assert_eq!(post(&gateway, "/ai/v1/chat/completions", "", body).status, 200);
    eventually("the record of the stream", || {
        gateway.stdout().lines().any(|line| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            let ai = &record["ai"];
            // 200 times nine words and a point, and the blank at the end.
            ai["stream"] == true && ai["input_tokens"] == 11 && ai["output_tokens"] == 2_001
        })
    });
}
