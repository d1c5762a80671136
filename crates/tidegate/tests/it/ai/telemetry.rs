//! Calls to models as OpenTelemetry's conventions tell them, at a real receiver that knows the official names.

use ai::dialect::Dialect;
use serde_json::{Value, json};

use super::{post_to, provider};
use crate::{
    harness::{Gateway, Peer, eventually, python},
    otlp::receiver::{PROTOCOLS, Receiver, list},
};

const KEY: &str = "the-callers-own-key";

fn setup(telemetry: &str) -> (Gateway, [crate::harness::Upstream; 2]) {
    let (claude, broken) =
        (provider::of(Dialect::Anthropic), crate::harness::Upstream::fixed(503, "{\"error\":{}}"));
    let gateway = Gateway::start(&format!(
        "consumers: [{{name: app, keys: [{KEY}]}}]
routes: [{{name: models, match: [{{path: {{prefix: /ai}}}}], policies: [{{keyAuth: {{}}}}], ai: {{stripPrefix: /ai}}}}]
ai:
  providers:
    - {{name: claude, kind: anthropic, baseUrl: \"http://{}\", keys: [k]}}
    - {{name: broken, kind: mistral, baseUrl: \"http://{}/v1\", keys: [k]}}
  models:
    - {{name: smart, targets: [{{provider: claude, model: claude-sonnet-4-5}}]}}
    - {{name: \"any/*\", targets: [{{provider: claude, model: \"*\"}}]}}
    - {{name: bad, targets: [{{provider: broken, model: mistral-large-latest}}]}}
{telemetry}",
        claude.address, broken.address
    ));
    (gateway, [claude, broken])
}

fn chat(gateway: &Gateway, model: &str, stream: bool) -> u16 {
    let body = format!(
        r#"{{"model":"{model}","stream":{stream},"messages":[{{"role":"user","content":"case: text"}}]}}"#
    );
    post_to(gateway, "/ai/v1/chat/completions", KEY, &body).status
}

fn span<'a>(spans: &'a [Value], name: &str) -> &'a Value {
    spans.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("no span {name}: {spans:#?}"))
}

#[test]
fn a_call_to_a_model_is_a_span_between_the_call_and_its_tries() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start(protocol);
        let (gateway, upstreams) = setup(&receiver.telemetry(protocol, "interval: 200ms"));
        assert_eq!(chat(&gateway, "smart", false), 200);
        assert_eq!(chat(&gateway, "any/claude-haiku-4-5", true), 200);
        assert_eq!(chat(&gateway, "bad", false), 503);
        let spans = receiver.spans(9);
        let told = provider::told(Dialect::Anthropic, "text").usage.expect("a usage");
        let call = span(&spans, "chat smart");
        let outer = spans.iter().find(|span| span["id"] == call["parent"]).expect("a parent");
        assert_eq!((&outer["kind"], &call["kind"]), (&json!("server"), &json!("client")));
        let tries: Vec<_> = spans.iter().filter(|span| span["parent"] == call["id"]).collect();
        assert_eq!(tries.len(), 1, "{spans:#?}");
        let sent = upstreams[0].seen()[0].header("traceparent").expect("a parent").to_owned();
        assert!(sent.contains(tries[0]["id"].as_str().expect("an id")), "the provider's parent is the try");
        let facts = &call["attributes"];
        assert_eq!(facts["gen_ai.provider.name"], "anthropic");
        assert_eq!(facts["gen_ai.response.model"], "claude-sonnet-4-5");
        assert!(facts["gen_ai.usage.input_tokens"].as_u64() > Some(0), "{facts}");
        assert!(facts.get("gen_ai.request.stream").is_none());
        let streamed = &span(&spans, "chat any/claude-haiku-4-5")["attributes"];
        assert_eq!(streamed["gen_ai.request.stream"], true);
        assert_eq!(streamed["gen_ai.usage.output_tokens"], told.output);
        assert!(streamed["gen_ai.response.time_to_first_chunk"].as_f64() > Some(0.0), "{streamed}");
        let failed = span(&spans, "chat bad");
        assert_eq!((&failed["status"], &failed["attributes"]["error.type"]), (&json!(2), &json!("503")));
        assert_eq!(failed["attributes"]["gen_ai.provider.name"], "mistral_ai");
        let event = "gen_ai.client.inference.operation.details";
        let of = |all: &Value| -> Vec<Value> {
            list(&all["logs"]).iter().filter(|log| log["event"] == event).cloned().collect()
        };
        let events = of(&receiver.until("an event of each call", |all| of(all).len() == 3));
        let told =
            |span: &Value| events.iter().find(|log| log["span"] == span["id"]).expect("in the call's span");
        assert_eq!(told(call)["attributes"], *facts);
        assert_eq!(told(failed)["attributes"]["error.type"], "503");
        assert!(!format!("{events:?}").contains("case: text"), "no texts");
    }
}

#[test]
fn a_call_that_is_refused_before_anybody_is_asked_is_no_span_of_a_models() {
    let receiver = Receiver::start("http/protobuf");
    let (gateway, _upstreams) = setup(&receiver.telemetry("http/protobuf", "interval: 200ms"));
    assert_eq!(chat(&gateway, "smrat", false), 404);
    assert_eq!(chat(&gateway, "any/claude-haiku-4-5", false), 200);
    // The one that was refused, and the other with its model's and its try's.
    let spans = receiver.spans(4);
    let of_models = spans.iter().filter(|span| !span["attributes"]["gen_ai.operation.name"].is_null());
    assert_eq!(of_models.count(), 1, "{spans:#?}");
    assert!(spans.iter().any(|span| span["attributes"]["http.response.status_code"] == 404), "{spans:#?}");
    assert!(!spans.iter().any(|span| span["name"].to_string().contains("smrat")), "{spans:#?}");
}

#[test]
fn metrics_have_the_names_of_the_conventions_and_models_the_configurations() {
    let receiver = Receiver::start("http/protobuf");
    let (gateway, _upstreams) = setup(&receiver.telemetry("http/protobuf", "interval: 200ms"));
    for _ in 0..3 {
        assert_eq!(chat(&gateway, "any/claude-haiku-4-5", true), 200);
    }
    assert_eq!(chat(&gateway, "bad", false), 503);
    let received = receiver.until("all calls are counted", |received| {
        let points = &received["metrics"]["gen_ai.client.operation.duration"]["points"];
        points
            .as_array()
            .is_some_and(|points| points.iter().filter_map(|point| point["count"].as_u64()).sum::<u64>() == 4)
    });
    let point = |metric: &str, wanted: Value| {
        let points = list(&received["metrics"][metric]["points"]);
        let found = points.iter().find(|point| point["attributes"] == wanted);
        found.unwrap_or_else(|| panic!("{metric} has no {wanted}: {points:#?}")).clone()
    };
    let of = |more: Value| {
        let mut all = json!({
            "gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.request.model": "any/*",
        });
        more.as_object().expect("attributes").iter().for_each(|(name, value)| all[name] = value.clone());
        all
    };
    assert_eq!(point("gen_ai.client.operation.duration", of(json!({})))["count"], 3);
    let told = provider::told(Dialect::Anthropic, "text").usage.expect("a usage");
    for (kind, tokens) in [("input", told.input), ("output", told.output)] {
        let usage = point("gen_ai.client.token.usage", of(json!({"gen_ai.token.type": kind})));
        assert_eq!((usage["count"].as_u64(), usage["sum"].as_f64()), (Some(3), Some(3.0 * tokens as f64)));
    }
    for metric in ["gen_ai.server.time_to_first_token", "gen_ai.server.time_per_output_token"] {
        assert_eq!(point(metric, of(json!({})))["count"], 3, "{metric}");
    }
    let failed = json!({
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "mistral_ai", "gen_ai.request.model": "bad",
        "error.type": "5xx",
    });
    assert_eq!(point("gen_ai.client.operation.duration", failed)["count"], 1);
    let page = gateway.metrics();
    let line = "gen_ai_client_operation_duration_seconds_count{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"anthropic\",gen_ai_request_model=\"any/*\"} 3";
    assert!(page.contains(line), "{page}");
    assert_eq!(chat(&gateway, "smrat", false), 404);
    let is_counted = || gateway.metrics().contains("gen_ai_request_model=\"\"");
    eventually("a call of no model is counted", is_counted);
    // A model that is configured no more has no series.
    let text = std::fs::read_to_string(gateway.config()).expect("the configuration");
    let text: String =
        text.lines().filter(|line| !line.starts_with("admin:")).map(|line| format!("{line}\n")).collect();
    assert_eq!(gateway.reload(&text.replace("any/*", "some/*"))["reloadsApplied"], 1);
    eventually("the series is gone", || !gateway.metrics().contains("\"any/*\""));
    assert!(is_counted(), "what is of no model stays");
}

/// What is asked for beside conversations by OpenAI's dialect, and conversations in others: the operation, the path, the
/// body, and the dialect that its span tells.
const OPERATIONS: [(&str, &str, &str, &str); 12] = [
    ("embeddings", "/ai/v1/embeddings", r#"{"model":"any","input":"tide"}"#, "openai-chat"),
    ("text_completion", "/ai/v1/completions", r#"{"model":"any","prompt":"tide"}"#, "openai-chat"),
    ("image_generation", "/ai/v1/images/generations", r#"{"model":"any","prompt":"tide"}"#, "openai-chat"),
    ("speech", "/ai/v1/audio/speech", r#"{"model":"any","input":"tide","voice":"alloy"}"#, "openai-chat"),
    ("moderation", "/ai/v1/moderations", r#"{"model":"any","input":"tide"}"#, "openai-chat"),
    ("chat", "/ai/v1/responses", r#"{"model":"any","input":"case: text"}"#, "openai-responses"),
    (
        "chat",
        "/ai/v1/messages",
        r#"{"model":"any","max_tokens":9,"messages":[{"role":"user","content":"x"}]}"#,
        "anthropic",
    ),
    ("chat", "/summary", r#"{"text":"tide"}"#, "prompt"),
    ("transcription", "/ai/v1/audio/transcriptions", SOUND, "openai-chat"),
    ("translation", "/ai/v1/audio/translations", SOUND, "openai-chat"),
    ("image_edit", "/ai/v1/images/edits", PICTURE, "openai-chat"),
    ("rerank", "/ai/v1/rerank", r#"{"model":"ranks","query":"tide","documents":["a"]}"#, "openai-chat"),
];
/// Forms, whose parts `b` bounds.
const SOUND: &str = "--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nany\r\n--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n--b--\r\n";
const PICTURE: &str = "--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nany\r\n--b\r\ncontent-disposition: form-data; name=\"prompt\"\r\n\r\ntide\r\n--b\r\ncontent-disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n\r\nPNG\r\n--b--\r\n";

#[test]
fn every_operation_is_a_span_of_its_own_name_with_its_tokens() {
    let usage = json!({"prompt_tokens": 5, "completion_tokens": 2, "input_tokens": 5, "output_tokens": 2, "total_tokens": 7});
    let upstream = crate::harness::Upstream::scripted(move |seen| {
        let chat = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "text": "high", "message": {"role": "assistant", "content": "high"}, "finish_reason": "stop"}],
            "data": [{"embedding": [0.5], "index": 0, "b64_json": "aGk="}], "results": [], "usage": usage});
        let responses = provider::fixture(Dialect::OpenAiResponses, "answers", "text");
        let body = if seen.target() == "/v1/responses" { responses } else { chat.to_string() };
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        Some(format!("{head}{body}").into_bytes())
    });
    let receiver = Receiver::start("http/protobuf");
    let gateway = Gateway::start(&format!(
        "consumers: [{{name: app, keys: [{KEY}]}}]
routes:
  - {{name: models, match: [{{path: {{prefix: /ai}}}}], policies: [{{keyAuth: {{}}}}], ai: {{stripPrefix: /ai}}}}
  - {{name: summary, match: [{{path: {{exact: /summary}}}}], policies: [{{keyAuth: {{}}}}], prompt: {{model: any,
      input: {{type: object, properties: {{text: {{type: string}}}}}}, messages: [{{role: user, content: \"{{{{ text }}}}\"}}]}}}}
ai:
  providers:
    - {{name: p, kind: openai, baseUrl: \"http://{0}/v1\", keys: [k]}}
    - {{name: q, kind: openai-compatible, baseUrl: \"http://{0}/v1\", keys: [k]}}
  models:
    - {{name: any, targets: [{{provider: p, model: gpt-4o}}]}}
    - {{name: ranks, targets: [{{provider: q, model: gpt-4o}}]}}
{1}",
        upstream.address,
        receiver.telemetry("http/protobuf", "interval: 200ms")
    ));
    for (operation, path, body, _) in OPERATIONS {
        let kind =
            if body.starts_with("--b") { "multipart/form-data; boundary=b" } else { "application/json" };
        let head = format!(
            "POST {path} HTTP/1.1\nhost: gw\nx-api-key: {KEY}\ncontent-type: {kind}\ncontent-length: {}",
            body.len()
        );
        let answer = gateway.send(&head, body.as_bytes());
        assert_eq!(answer.status, 200, "{operation} {path}: {}", answer.text());
    }
    // Of each call there are its own span, that of the operation, and that of the try.
    let spans = receiver.spans(3 * OPERATIONS.len());
    for (operation, path, _, dialect) in OPERATIONS {
        let model = if operation == "rerank" { "ranks" } else { "any" };
        let is_it = |span: &&Value| {
            span["name"] == format!("{operation} {model}")
                && span["attributes"]["tidegate.ai.dialect"] == dialect
        };
        let found =
            spans.iter().find(is_it).unwrap_or_else(|| panic!("no {operation} of {path}: {spans:#?}"));
        let facts = &found["attributes"];
        assert_eq!(facts["gen_ai.operation.name"], operation, "{path}");
        if model == "any" {
            assert_eq!(facts["gen_ai.provider.name"], "openai", "{path}");
        }
        assert_eq!(facts["gen_ai.response.model"], "gpt-4o", "{path}");
        // What is no text has tokens only where its provider says so.
        if !matches!(operation, "speech" | "moderation" | "rerank" | "translation") {
            assert!(facts["gen_ai.usage.input_tokens"].as_u64() > Some(0), "{path}: {facts}");
        }
    }
    let received = receiver.until("all calls are counted", |received| {
        let points = list(&received["metrics"]["gen_ai.client.operation.duration"]["points"]);
        points.iter().filter_map(|point| point["count"].as_u64()).sum::<u64>() == OPERATIONS.len() as u64
    });
    let points = list(&received["metrics"]["gen_ai.client.operation.duration"]["points"]);
    let counted = |operation: &str| -> u64 {
        let of = points.iter().filter(|point| point["attributes"]["gen_ai.operation.name"] == operation);
        of.filter_map(|point| point["count"].as_u64()).sum()
    };
    for (operation, ..) in OPERATIONS {
        let wanted = OPERATIONS.iter().filter(|(other, ..)| *other == operation).count() as u64;
        assert_eq!(counted(operation), wanted, "{operation}: {points:#?}");
    }
}

/// One answer of a conversation in sound, and its end.
const TALK: &str = r#"
import json, sys
from websockets.sync.client import connect
address, key = sys.argv[1:]
with connect(address, additional_headers={"x-api-key": key}) as connection:
    connection.recv()
    connection.send(json.dumps({"type": "response.create"}))
    while json.loads(connection.recv())["type"] != "response.done":
        pass
"#;

#[test]
fn a_conversation_in_sound_is_a_span_with_the_tokens_of_its_answers() {
    let (_server, base) = super::realtime::server();
    let receiver = Receiver::start("http/protobuf");
    let telemetry = receiver.telemetry("http/protobuf", "interval: 200ms");
    let gateway = super::realtime::gateway_of(&[("up", base)], "", "", "", &telemetry);
    let address = format!("ws://{}/ai/v1/realtime?model=rt", gateway.address);
    let (well, text) = Peer::start(python(TALK, &[&address, super::KEY])).finish();
    assert!(well, "{text}");
    let record = gateway.record("the conversation", |record| record["ai"]["operation"] == "realtime");
    for (name, tokens) in [
        ("input_tokens", 200),
        ("output_tokens", 100),
        ("input_audio_tokens", 50),
        ("output_audio_tokens", 60),
        ("turns", 1),
    ] {
        assert_eq!(record["ai"][name], tokens, "{name}: {record}");
    }
    let received = receiver
        .until("the span", |all| list(&all["spans"]).iter().any(|span| span["name"] == "realtime rt"));
    let spans = list(&received["spans"]);
    let call = span(spans, "realtime rt");
    let outer = spans.iter().find(|span| span["id"] == call["parent"]).expect("a parent");
    assert_eq!((&outer["kind"], &call["kind"]), (&json!("server"), &json!("client")));
    let facts = &call["attributes"];
    for (name, wanted) in [
        ("gen_ai.operation.name", json!("realtime")),
        ("gen_ai.provider.name", json!("openai")),
        ("gen_ai.request.model", json!("rt")),
        ("gen_ai.response.model", json!("gpt-realtime")),
        ("gen_ai.usage.input_tokens", json!(200)),
        ("gen_ai.usage.output_tokens", json!(100)),
        ("tidegate.ai.provider", json!("up")),
        ("tidegate.consumer", json!("app")),
    ] {
        assert_eq!(facts[name], wanted, "{name}: {facts}");
    }
    assert!(call["status"]["code"].as_u64().unwrap_or_default() == 0, "{call}");
}
