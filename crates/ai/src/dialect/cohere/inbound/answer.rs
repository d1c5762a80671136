//! Writes a whole answer.

use serde_json::{Map, Value, json};

use crate::{
    canon::{Answer, Finish, Part, Riders},
    dialect::{
        Telling,
        cohere::{citation::citation_values, finish_word, probability_value, usage_value},
    },
};

/// The first of the answers: this dialect has no others beside it.
pub(in crate::dialect) fn write_answer(answer: Answer, telling: &Telling) -> Vec<u8> {
    let choice = answer.choices.into_iter().next().unwrap_or_default();
    let finish = choice.finish.as_ref().unwrap_or(&Finish::Stop);
    let mut value = json!({
        "id": if answer.id.is_empty() { &telling.id } else { &answer.id },
        "finish_reason": finish_word(finish),
        "message": message_value(choice.parts),
    });
    if let Some(usage) = &answer.usage {
        value["usage"] = usage_value(usage);
    }
    if !choice.log_probabilities.is_empty() {
        value["logprobs"] = choice.log_probabilities.iter().map(probability_value).collect();
    }
    serde_json::to_vec(&value).unwrap_or_default()
}

fn message_value(parts: Vec<Part>) -> Map<String, Value> {
    let (mut content, mut calls, mut citations) = (Vec::new(), Vec::new(), Vec::new());
    let mut riders = Riders::default();
    for part in parts {
        match part {
            Part::Text { text, citations: cited, .. } => {
                if !text.is_empty() {
                    riders.said();
                }
                citations.extend(citation_values(&cited, &text, content.len()));
                content.push(json!({"type": "text", "text": text}));
            }
            Part::Refusal { text } => {
                riders.said();
                content.push(json!({"type": "text", "text": text}));
            }
            Part::Thinking { text, proof } => {
                proof.into_iter().for_each(|proof| riders.wait(proof));
                if !text.is_empty() {
                    content.push(json!({"type": "thinking", "thinking": text}));
                }
            }
            Part::ToolCall { id, name, arguments, proof, .. } => {
                let id = riders.mount(id, proof);
                let arguments = if arguments.is_empty() { "{}" } else { &arguments };
                calls.push(call_value(&id, &name, arguments));
            }
            Part::Image { .. }
            | Part::Audio { .. }
            | Part::Document { .. }
            | Part::Video { .. }
            | Part::ToolResult { .. }
            | Part::Vendor { .. } => {}
        }
    }
    let mut message = Map::new();
    message.insert("role".into(), "assistant".into());
    for (key, list) in [("content", content), ("tool_calls", calls), ("citations", citations)] {
        if !list.is_empty() {
            message.insert(key.into(), list.into());
        }
    }
    message
}

pub(super) fn call_value(id: &str, name: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}
