//! What docs/ai.md promises of losses, of streams that break, of models that a route has, and of keys.

use std::{
    io::Write,
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use ai::dialect::Dialect;
use serde_json::{Value, json};

use super::{KEY, gateway, post, provider};
use crate::harness::{Client, Gateway, Upstream, eventually, read_request};

/// What Anthropic's dialect cannot say.
const BIASED: &str = r#"{"model":"smart","max_tokens":50,"logit_bias":{"50256":-100},"messages":[{"role":"user","content":"case: text"}]}"#;

fn claude(upstream: &Upstream, route: &str) -> Gateway {
    let base = format!("http://{}", upstream.address);
    gateway(&[("p", "anthropic", base)], &[("smart", &[("p", "claude-sonnet-4-5", 1)])], route)
}

#[test]
fn what_cannot_be_carried_is_named_in_a_header_and_in_the_record() {
    let upstream = provider::of(Dialect::Anthropic);
    let gateway = claude(&upstream, "");
    let answer = post(&gateway, "/ai/v1/chat/completions", "\nopenai-organization: o1", BIASED);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-tidegate-dropped"), Some("logit_bias, openai-organization"));
    assert_eq!(
        answer.json()["model"],
        "claude-sonnet-4-5",
        "who answered, as in answers that pass as they are"
    );
    assert_eq!(upstream.seen()[0].header("openai-organization"), None);
    let record = gateway.records(1).pop().expect("a record");
    assert_eq!(record["ai"]["dropped"], json!(["logit_bias", "openai-organization"]));
}

#[test]
fn a_strict_route_refuses_what_it_cannot_carry_and_asks_nobody() {
    let upstream = provider::of(Dialect::Anthropic);
    let gateway = claude(&upstream, "strict: true");
    for (path, body, place, word) in [
        ("/ai/v1/chat/completions", BIASED, "/error/message", "logit_bias"),
        (
            "/ai/v1/responses",
            r#"{"model":"smart","input":"case: text","truncation":"auto"}"#,
            "/error/message",
            "truncation",
        ),
        (
            "/ai/v1beta/models/smart:generateContent",
            r#"{"contents":[{"role":"user","parts":[{"text":"case: text"}]}],"generationConfig":{"seed":7}}"#,
            "/error/message",
            "seed",
        ),
        (
            "/ai/v2/chat",
            r#"{"model":"smart","seed":7,"messages":[{"role":"user","content":"case: text"}]}"#,
            "/message",
            "seed",
        ),
    ] {
        let answer = post(&gateway, path, "", body);
        assert_eq!(answer.status, 422, "{path}: {}", answer.text());
        let message = answer.json().pointer(place).and_then(Value::as_str).unwrap_or_default().to_owned();
        assert!(message.contains(word), "{path}: {message}");
    }
    assert!(upstream.seen().is_empty());
    // What can be carried whole is.
    let plain = r#"{"model":"smart","max_tokens":50,"messages":[{"role":"user","content":"case: text"}]}"#;
    assert_eq!(post(&gateway, "/ai/v1/chat/completions", "", plain).status, 200);
}

/// A provider that begins a stream and breaks off in its middle.
fn breaks(dialect: Dialect) -> Upstream {
    let whole = provider::fixture(dialect, "streams", "text");
    let lines: Vec<&str> = whole.lines().collect();
    let half = lines[..lines.len() / 2].join("\n") + "\n";
    let framing = dialect.provider_framing();
    let bytes = provider::framed(&half, framing);
    Upstream::raw(move |mut reader, seen| {
        if let Some(request) = read_request(&mut reader) {
            seen.lock().expect("not poisoned").push(request);
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {}\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n",
                framing.media_type(),
                bytes.len()
            );
            let _ = reader.get_mut().write_all(&[head.as_bytes(), &bytes, b"\r\n"].concat());
        }
    })
}

#[test]
fn a_stream_that_breaks_off_ends_with_an_error_of_the_callers_dialect() {
    let callers = [
        (
            "/ai/v1/chat/completions",
            r#"{"model":"smart","stream":true,"messages":[{"role":"user","content":"x"}]}"#,
            "data: {\"error\":",
        ),
        ("/ai/v1/responses", r#"{"model":"smart","stream":true,"input":"x"}"#, "event: error"),
        (
            "/ai/v1/messages",
            r#"{"model":"smart","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"x"}]}"#,
            "event: error",
        ),
        (
            "/ai/v1beta/models/smart:streamGenerateContent?alt=sse",
            r#"{"contents":[{"role":"user","parts":[{"text":"x"}]}]}"#,
            "\"error\":",
        ),
    ];
    for (dialect, kind, path, model) in [
        (Dialect::OpenAiChat, "openai-compatible", "/v1", "m"),
        (Dialect::Anthropic, "anthropic", "", "claude-sonnet-4-5"),
        (Dialect::Gemini, "gemini", "/v1beta", "gemini-2.5-flash"),
    ] {
        let upstream = breaks(dialect);
        let base = format!("http://{}{path}", upstream.address);
        let gateway = gateway(&[("p", kind, base)], &[("smart", &[("p", model, 1)])], "");
        for (path, body, error) in callers {
            let answer = post(&gateway, path, "", body);
            assert_eq!(answer.status, 200, "{path}");
            let text = answer.text();
            assert!(text.contains(error), "{} from {}: {text}", path, dialect.name());
            assert!(!text.contains("[DONE]") && !text.contains("message_stop"), "{path}: {text}");
        }
        for record in gateway.records(callers.len()) {
            assert_eq!(record["ai"]["broke"], "upstream-reset", "{record}");
        }
    }
}

#[test]
fn a_route_serves_the_models_that_it_names_and_no_other() {
    let upstream = provider::of(Dialect::OpenAiChat);
    let base = format!("http://{}/v1", upstream.address);
    let models: &[super::Named<'_>] = &[("smart", &[("p", "a", 1)]), ("secret", &[("p", "b", 1)])];
    let gateway = gateway(&[("p", "openai", base)], models, "models: [smart]");
    let ask = |model: &str| {
        let body = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"case: text"}}]}}"#);
        post(&gateway, "/ai/v1/chat/completions", "", &body).status
    };
    assert_eq!((ask("smart"), ask("secret")), (200, 404));
    let head = format!("GET /ai/v1/models HTTP/1.1\nhost: gw\nx-api-key: {KEY}");
    let listed = gateway.send(&head, b"").json();
    let names: Vec<_> =
        listed["data"].as_array().expect("models").iter().map(|model| model["id"].clone()).collect();
    assert_eq!(names, ["smart"]);
}

#[test]
fn several_keys_are_used_in_turn() {
    let upstream = provider::of(Dialect::OpenAiChat);
    let gateway = Gateway::start(&format!(
        "routes: [{{name: r, match: [{{path: {{prefix: /}}}}], ai: {{}}}}]
ai:
  providers: [{{name: p, kind: openai, baseUrl: \"http://{}/v1\", keys: [one, two, three]}}]
  models: [{{name: smart, targets: [{{provider: p, model: m}}]}}]
",
        upstream.address
    ));
    for _ in 0..9 {
        let body = r#"{"model":"smart","messages":[{"role":"user","content":"case: text"}]}"#;
        assert_eq!(post(&gateway, "/v1/chat/completions", "", body).status, 200);
    }
    let keys: Vec<_> =
        upstream.seen().iter().map(|seen| seen.header("authorization").expect("a key").to_owned()).collect();
    for key in ["Bearer one", "Bearer two", "Bearer three"] {
        assert_eq!(keys.iter().filter(|sent| *sent == key).count(), 3, "{keys:?}");
    }
}

/// A provider that speaks on until nobody listens.
fn talks(gone: Arc<AtomicUsize>) -> Upstream {
    Upstream::raw(move |mut reader, seen| {
        if let Some(request) = read_request(&mut reader) {
            seen.lock().expect("not poisoned").push(request);
            let stream: &mut TcpStream = reader.get_mut();
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            let mut spoken = stream.write_all(head.as_bytes());
            let event = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"on \"},\"finish_reason\":null}]}\n\n";
            let chunk = format!("{:x}\r\n{event}\r\n", event.len());
            while spoken.is_ok() {
                spoken = stream.write_all(chunk.as_bytes());
                crate::harness::pause(5);
            }
            gone.fetch_add(1, Ordering::SeqCst);
        }
    })
}

#[test]
fn a_client_that_leaves_a_stream_ends_the_providers_work() {
    let gone = Arc::new(AtomicUsize::new(0));
    let upstream = talks(gone.clone());
    let base = format!("http://{}/v1", upstream.address);
    let gateway = gateway(&[("p", "openai-compatible", base)], &[("smart", &[("p", "m", 1)])], "");
    for (at, path, body) in [
        (
            1,
            "/ai/v1/chat/completions",
            r#"{"model":"smart","stream":true,"messages":[{"role":"user","content":"x"}]}"#,
        ),
        (
            2,
            "/ai/v1/messages",
            r#"{"model":"smart","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"x"}]}"#,
        ),
    ] {
        let mut client = Client::connect(gateway.address);
        client.write(format!(
            "POST {path} HTTP/1.1\r\nhost: gw\r\nx-api-key: {KEY}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ));
        assert!(client.read_line().starts_with("HTTP/1.1 200"));
        assert!(!client.read_bytes(400).is_empty());
        drop(client);
        eventually("the provider is left too", || gone.load(Ordering::SeqCst) == at);
    }
    for record in gateway.records(2) {
        assert_eq!(record["failure"]["reason"], "client-left", "{record}");
    }
}
