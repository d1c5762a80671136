//! Answers as they come: events of text, one with the whole typed answer, and errors as an event.

use ai::canon::{Finish, Part};
use serde_json::{Value, json};

use super::{
    gateway,
    model::{self, KINDS, answer, fails, read, says},
    post,
};
use crate::harness::{Answer, Upstream};

const PROMPT: &str = r#"{model: smart, input: {type: object, required: [text], properties: {text: {type: string}}},
      messages: [{role: user, content: "{{ text }}"}]}"#;
const TYPED: &str = r#"{model: smart, input: {type: object, required: [text], properties: {text: {type: string}}},
      messages: [{role: user, content: "{{ text }}"}], output: {type: object, required: [n], properties: {n: {type: integer}}}}"#;
const EVENTS: &str = "\naccept: application/json;q=0.5, text/event-stream";

/// The events of an answer: name and data.
fn events(answer: &Answer) -> Vec<(String, Value)> {
    assert_eq!(answer.header("content-type"), Some("text/event-stream"), "{}", answer.text());
    let text = answer.text();
    let blocks = text.split("\n\n").filter(|block| block.starts_with("event: "));
    blocks
        .map(|block| {
            let (event, data) = block.split_once("\ndata: ").expect("data");
            let event = event.trim_start_matches("event: ").to_owned();
            (event, serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}")))
        })
        .collect()
}

#[test]
fn a_stream_of_every_dialect_is_told_as_text_and_ends_with_the_whole_answer() {
    for (dialect, kind, path, name) in KINDS {
        let parts = || vec![Part::text("{\"n\""), Part::text(": 7}")];
        let upstream = says(move |request| {
            assert!(request.stream);
            answer(parts(), Finish::Stop)
        });
        let base = format!("http://{}{path}", upstream.address);
        let gateway = gateway(TYPED, &[("one", kind, base, name)]);
        let answer = post(&gateway, EVENTS, r#"{"text": "x"}"#);
        assert_eq!(answer.status, 200, "{}: {}", dialect.name(), answer.text());
        let mut told = events(&answer);
        let (event, done) = told.pop().expect("events");
        assert_eq!(event, "done", "{}: {}", dialect.name(), answer.text());
        assert_eq!(done["output"], json!({"n": 7}), "{}", dialect.name());
        assert_eq!(
            (&done["provider"], &done["model"], &done["finish"]),
            (&json!("one"), &json!(name), &json!("stop"))
        );
        assert_eq!(
            (&done["usage"]["inputTokens"], &done["usage"]["outputTokens"]),
            (&json!(11), &json!(7)),
            "{}",
            dialect.name()
        );
        assert!(told.iter().all(|(event, _)| event == "text"));
        let text: String = told.iter().filter_map(|(_, data)| data["text"].as_str()).collect();
        assert_eq!(text, "{\"n\": 7}", "{}", dialect.name());
        let record = gateway.records(1).pop().expect("a record");
        assert_eq!(
            (&record["ai"]["stream"], &record["ai"]["output_tokens"]),
            (&json!(true), &json!(7)),
            "{record}"
        );
    }
}

#[test]
fn without_a_schema_the_whole_answer_is_the_text_and_thoughts_are_not_told() {
    let upstream = says(|_| {
        let thought = Part::Thinking { text: "secret thought".into(), proof: None };
        answer(vec![thought, Part::text("Ebb.")], Finish::Stop)
    });
    let base = format!("http://{}", upstream.address);
    let gateway = gateway(PROMPT, &[("one", "anthropic", base, "claude-sonnet-4-5")]);
    let answer = post(&gateway, EVENTS, r#"{"text": "x"}"#);
    let told = events(&answer);
    assert_eq!(told[0], ("text".to_owned(), json!({"text": "Ebb."})));
    assert_eq!(told[1].1["output"], json!({"text": "Ebb."}));
    assert!(!answer.text().contains("secret thought"), "{}", answer.text());
}

#[test]
fn a_provider_that_does_not_stream_is_told_as_a_stream() {
    let whole = r#"{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Ebb."},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#;
    let upstream = Upstream::scripted(move |_| Some(fails(200, whole)));
    let base = format!("http://{}/v1", upstream.address);
    let gateway = gateway(PROMPT, &[("one", "openai-compatible", base, "m")]);
    let told = events(&post(&gateway, EVENTS, r#"{"text": "x"}"#));
    assert_eq!(told[0], ("text".to_owned(), json!({"text": "Ebb."})));
    assert_eq!(told[1].1["usage"]["outputTokens"], 2);
}

#[test]
fn errors_before_the_stream_are_problems_and_errors_in_it_are_events() {
    let upstream = model::text(|_| "no JSON at all".to_owned());
    let base = format!("http://{}/v1", upstream.address);
    let gateway = gateway(TYPED, &[("one", "openai-compatible", base, "m")]);
    let answer = post(&gateway, EVENTS, "{}");
    assert_eq!((answer.status, answer.problem().as_deref()), (400, Some("invalid")));
    let told = events(&post(&gateway, EVENTS, r#"{"text": "x"}"#));
    let (event, data) = told.last().expect("events");
    assert_eq!(event, "error");
    assert_eq!(
        (&data["type"], &data["status"]),
        (&json!("urn:tidegate:problem:bad-upstream-answer"), &json!(502))
    );
    assert!(data["detail"].as_str().is_some_and(|detail| detail.contains("not JSON")), "{data}");
    assert!(told.iter().all(|(event, _)| event != "done"));
}

#[test]
fn a_stream_that_breaks_off_ends_with_an_error() {
    let begin = "data: {\"id\":\"1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Eb\"},\"finish_reason\":null}]}\n\n";
    let upstream = Upstream::scripted(move |seen| {
        assert!(read(seen).1.stream);
        Some(
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n{begin}",
                begin.len()
            )
            .into_bytes(),
        )
    });
    let base = format!("http://{}/v1", upstream.address);
    let gateway = gateway(PROMPT, &[("one", "openai-compatible", base, "m")]);
    let told = events(&post(&gateway, EVENTS, r#"{"text": "x"}"#));
    assert_eq!(told[0], ("text".to_owned(), json!({"text": "Eb"})));
    assert_eq!(told[1].0, "error", "{told:?}");
    assert_eq!(told.len(), 2);
}
