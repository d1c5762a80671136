//! Names of tools that a target refuses come back to the caller as its own.

use ai::{
    canon::{Answer, Choice, Finish, Part, events_of},
    dialect::{Dialect, Spoken, Telling},
    rules::{Rules, Target},
};
use serde_json::{Value, json};

use crate::fixtures::telling;

const STRANGE: &str = "weather.get/now (°C)";

fn asked() -> ai::canon::Request {
    let body = json!({
        "model": "m",
        "messages": [{"role": "user", "content": "how is it?"}],
        "tools": [{"type": "function", "function": {"name": STRANGE, "parameters": {"type": "object"}}}],
        "tool_choice": {"type": "function", "function": {"name": STRANGE}},
    });
    Dialect::OpenAiChat.read_request(&Spoken::default(), body.to_string().as_bytes()).expect("a request")
}

/// Every text in a document.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| texts(field, found)),
        _ => {}
    }
}

#[test]
fn a_strange_name_goes_out_fitting_and_comes_back_as_it_was() {
    let request = asked();
    for to in Dialect::ALL {
        let rules = Rules::default();
        let written = to.write_request(&request, Target { model: "m", rules: &rules }).expect("written");
        let mut found = Vec::new();
        texts(&serde_json::from_slice(&written.body).expect("JSON"), &mut found);
        assert!(!found.iter().any(|text| text == STRANGE), "{}: {found:?}", to.name());
        let told = found.iter().find(|text| text.starts_with("weather")).expect("the name").clone();
        let call = Part::ToolCall {
            id: "call_1".to_owned(),
            name: told,
            arguments: "{}".to_owned(),
            custom: false,
            proof: None,
            cache: None,
        };
        let choice = Choice { parts: vec![call], finish: Some(Finish::ToolCalls), ..Choice::default() };
        let answer = Answer { choices: vec![choice], ..Answer::default() };
        for from in Dialect::ALL {
            let telling = Telling { names: to.names(&request), ..telling() };
            let whole = from.write_answer(answer.clone(), &telling);
            assert!(String::from_utf8_lossy(&whole).contains(STRANGE), "{} for {}", to.name(), from.name());
            let mut writer = from.stream_writer(telling);
            let mut out = Vec::new();
            events_of(answer.clone()).into_iter().for_each(|event| writer.write(event, &mut out));
            assert!(String::from_utf8_lossy(&out).contains(STRANGE), "{} for {}", to.name(), from.name());
        }
    }
}
