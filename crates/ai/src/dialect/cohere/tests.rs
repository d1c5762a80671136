//! What Cohere's dialect promises beside its golden files.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    canon::{Event, Format, Message, Part, Proof, ProofKind, Request, Role, Tool, ToolChoice, ToolKind},
    dialect::{Dialect, Spoken, Telling},
    rules::{ReasoningRule, Rules, Target},
    stream::Frame,
};

const KEYS: &[&str] = &[
    "id",
    "type",
    "message",
    "role",
    "content",
    "text",
    "thinking",
    "tool_plan",
    "tool_calls",
    "function",
    "name",
    "arguments",
    "citations",
    "start",
    "end",
    "sources",
    "document",
    "data",
    "content_index",
    "usage",
    "billed_units",
    "tokens",
    "input_tokens",
    "finish_reason",
    "delta",
    "index",
    "error",
    "details",
    "logprobs",
    "messages",
    "model",
    "tools",
    "documents",
    "image_url",
    "url",
    "response_format",
    "thinking",
    "tool_call_id",
];
const WORDS: &[&str] = &[
    "assistant",
    "user",
    "tool",
    "text",
    "thinking",
    "message-start",
    "content-start",
    "content-delta",
    "content-end",
    "tool-call-start",
    "tool-call-delta",
    "tool-call-end",
    "citation-start",
    "message-end",
    "tool-plan-delta",
    "doc:0",
    "COMPLETE",
];

fn spoken() -> Spoken {
    Spoken::default()
}

fn written(request: &Request, rules: &Rules) -> Value {
    let outgoing = Dialect::Cohere.write_request(request, Target { model: "m", rules }).expect("written");
    serde_json::from_slice(&outgoing.body).expect("JSON")
}

fn tool(name: &str) -> Tool {
    Tool {
        kind: ToolKind::Function { parameters: None },
        name: name.to_owned(),
        description: None,
        strict: None,
        cache: None,
    }
}

#[test]
fn a_tool_that_must_be_called_is_offered_alone() {
    let request = Request {
        messages: vec![Message::text(Role::User, "go")],
        tools: vec![tool("a"), tool("b")],
        tool_choice: Some(ToolChoice::Named("b".to_owned())),
        format: Format::Json,
        ..Request::default()
    };
    let body = written(&request, &Rules::default());
    assert_eq!(body["tools"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&body["tools"][0]["function"]["name"], &body["tool_choice"]),
        (&json!("b"), &json!("REQUIRED"))
    );
    assert_eq!(body.get("response_format"), None, "tools exclude a form for the answer");
}

#[test]
fn a_proof_rides_on_the_id_of_the_first_call_and_comes_back() {
    let proof = Proof {
        issuer: "anthropic".to_owned(),
        kind: ProofKind::Signature,
        value: "sig".to_owned(),
        id: None,
    };
    let body = json!({"model": "m", "messages": [
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}], "tool_calls": [
            {"id": proof.ride("call_1"), "type": "function", "function": {"name": "f", "arguments": "{}"}},
        ]},
        {"role": "tool", "tool_call_id": proof.ride("call_1"), "content": "1"},
    ]});
    let request = Dialect::Cohere.read_request(&spoken(), body.to_string().as_bytes()).expect("a request");
    let thought = Part::Thinking { text: "hm".to_owned(), proof: Some(proof) };
    assert_eq!(request.messages[0].parts.first(), Some(&thought));
    let ids: Vec<&str> = request
        .messages
        .iter()
        .flat_map(|message| &message.parts)
        .filter_map(|part| match part {
            Part::ToolCall { id, .. } | Part::ToolResult { id, .. } => Some(id.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(ids, ["call_1", "call_1"]);
}

#[test]
fn thoughts_before_calls_are_a_plan_for_models_that_do_not_think() {
    let call = Part::ToolCall {
        id: "1".to_owned(),
        name: "f".to_owned(),
        arguments: String::new(),
        custom: false,
        proof: None,
        cache: None,
    };
    let thought = Part::Thinking { text: "first f".to_owned(), proof: None };
    let request = Request {
        messages: vec![Message { role: Role::Assistant, name: None, parts: vec![thought, call] }],
        ..Request::default()
    };
    let rules = Rules { reasoning: ReasoningRule::None, ..Rules::default() };
    let message = &written(&request, &rules)["messages"][0];
    assert_eq!(message["tool_plan"], "first f");
    assert_eq!(message.get("content"), None);
}

/// JSON of the dialect's own words in any order.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(WORDS).prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        let field = (prop::sample::select(KEYS), inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(Value::from),
            prop::collection::vec(field, 0..8)
                .prop_map(|fields| fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_json_is_too_strange(bodies in prop::collection::vec(any_json(), 1..6)) {
        let mut reader = Dialect::Cohere.stream_reader();
        let mut events = Vec::new();
        for body in &bodies {
            let bytes = serde_json::to_vec(body).expect("JSON");
            if let Ok(request) = Dialect::Cohere.read_request(&spoken(), &bytes) {
                let rules = Rules::default();
                let _ = Dialect::Cohere.write_request(&request, Target { model: "m", rules: &rules });
            }
            if let Ok(answer) = Dialect::Cohere.read_answer(&bytes) {
                Dialect::Cohere.write_answer(answer, &Telling::default());
            }
            Dialect::Cohere.read_error(500, &bytes);
            reader.read(Frame { data: bytes, ..Frame::default() }, &mut events);
        }
        reader.end(&mut events);
        prop_assert!(matches!(events.last(), Some(Event::End | Event::Error(_))));
        let last = events.len() - 1;
        prop_assert!(events[..last].iter().all(|event| !matches!(event, Event::End | Event::Error(_))));
        let mut writer = Dialect::Cohere.stream_writer(Telling::default());
        events.into_iter().for_each(|event| writer.write(event, &mut Vec::new()));
    }
}
