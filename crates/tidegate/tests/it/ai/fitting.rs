//! What becomes of bodies on their way: streams framed as the caller asks, fields that one provider wants, and what
//! earlier turns hold of other vendors'.

use ai::{
    canon::{Proof, ProofKind},
    dialect::Dialect,
};
use serde_json::{Value, json};

use super::{gateway, post, provider};

#[test]
fn a_caller_of_gemini_gets_events_if_it_asks_for_them_and_else_an_array() {
    let openai = provider::of(Dialect::OpenAiChat);
    let base = format!("http://{}/v1", openai.address);
    let gateway = gateway(&[("p", "openai", base)], &[("smart", &[("p", "gpt-4o", 1)])], "");
    let path = "/ai/v1beta/models/smart:streamGenerateContent";
    let body = r#"{"contents":[{"role":"user","parts":[{"text":"case: text"}]}]}"#;
    let array = post(&gateway, path, "", body);
    assert_eq!(
        (array.status, array.header("content-type")),
        (200, Some("application/json")),
        "{}",
        array.text()
    );
    let pieces = array.json();
    let pieces = pieces.as_array().expect("an array");
    assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece["candidates"].is_array()), "{pieces:?}");
    let events = post(&gateway, &format!("{path}?alt=sse"), "", body);
    assert_eq!(events.header("content-type"), Some("text/event-stream"));
    assert!(events.text().starts_with("data: {"), "{}", events.text());
}

#[test]
fn a_provider_gets_the_fields_that_it_wants_and_no_others() {
    let watsonx = provider::of(Dialect::OpenAiChat);
    let kind = "watsonx, values: {project: p1}";
    let base = format!("http://{}", watsonx.address);
    let gateway = gateway(&[("p", kind, base)], &[("smart", &[("p", "ibm/granite", 1)])], "");
    let chat = r#"{"model":"smart","temperature":0.50,"messages":[{"role":"user","content":"case: text"}]}"#;
    let claude = r#"{"model":"smart","max_tokens":9,"messages":[{"role":"user","content":"case: text"}]}"#;
    // As bytes pass, and as they are translated.
    for (path, body) in [("/ai/v1/chat/completions", chat), ("/ai/v1/messages", claude)] {
        let answer = post(&gateway, path, "", body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let seen = watsonx.seen().pop().expect("a request");
        let body: Value = serde_json::from_slice(&seen.body).expect("JSON");
        assert_eq!((&body["model_id"], &body["project_id"]), (&json!("ibm/granite"), &json!("p1")), "{path}");
        assert!(body.get("model").is_none() && body.get("stream").is_none(), "{path}: {body}");
        assert!(seen.target().starts_with("/ml/v1/text/chat?version="), "{}", seen.target());
    }
}

#[test]
fn what_another_vendor_left_in_a_conversation_goes_no_further() {
    let openai = provider::of(Dialect::OpenAiChat);
    let base = format!("http://{}/v1", openai.address);
    let gateway = gateway(&[("p", "openai", base)], &[("smart", &[("p", "gpt-4o", 1)])], "");
    let proof = Proof {
        issuer: "anthropic".to_owned(),
        kind: ProofKind::Signature,
        value: "c2ln".to_owned(),
        id: None,
    };
    let id = proof.ride("call_1");
    let body = json!({"model": "smart", "messages": [
        {"role": "user", "content": "case: text"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}},
        ]},
        {"role": "tool", "tool_call_id": id, "content": "1"},
    ]});
    assert_eq!(post(&gateway, "/ai/v1/chat/completions", "", &body.to_string()).status, 200);
    let seen = openai.seen().pop().expect("a request");
    let told: Value = serde_json::from_slice(&seen.body).expect("JSON");
    assert_eq!(told["messages"][1]["tool_calls"][0]["id"], "call_1");
    assert_eq!(told["messages"][2]["tool_call_id"], "call_1");
}
