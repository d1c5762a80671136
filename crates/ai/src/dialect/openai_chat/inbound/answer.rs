//! Writes a whole answer: a `chat.completion` object.

use serde_json::{Map, Value, json};

use crate::{
    canon::{Answer, Choice, Citation, Finish, Part, Proof, ProofKind, Riders, Source},
    dialect::{
        Telling,
        openai_chat::{finish_word, probability_value, usage_value},
    },
};

pub(in crate::dialect) fn write_answer(answer: Answer, telling: &Telling) -> Vec<u8> {
    let created = answer.created.unwrap_or(telling.created);
    let choices: Vec<Value> =
        (0u32..).zip(answer.choices).map(|(index, choice)| choice_value(index, choice, created)).collect();
    let mut value = json!({
        "id": if answer.id.is_empty() { &telling.id } else { &answer.id },
        "object": "chat.completion",
        "created": created,
        "model": telling.model,
        "choices": choices,
    });
    if let Some(usage) = &answer.usage {
        value["usage"] = usage_value(usage);
    }
    if let Some(tier) = answer.tier {
        value["service_tier"] = tier.into();
    }
    serde_json::to_vec(&value).unwrap_or_default()
}

fn choice_value(index: u32, choice: Choice, created: u64) -> Value {
    let finish = choice.finish.as_ref().unwrap_or(&Finish::Stop);
    let is_refusal_told =
        choice.parts.iter().any(|part| matches!(part, Part::Refusal { text } if !text.is_empty()));
    let mut value = json!({
        "index": index,
        "message": message_value(choice.parts, created),
        "logprobs": null,
        "finish_reason": finish_word(finish, is_refusal_told),
    });
    if !choice.log_probabilities.is_empty() {
        let content: Vec<Value> = choice.log_probabilities.iter().map(probability_value).collect();
        value["logprobs"] = json!({"content": content, "refusal": null});
    }
    value
}

/// An assistant's message. What has no field of OpenAI's own stands where compatible providers put it.
fn message_value(parts: Vec<Part>, created: u64) -> Map<String, Value> {
    let mut message = Map::new();
    message.insert("role".into(), "assistant".into());
    message.insert("content".into(), Value::Null);
    message.insert("refusal".into(), Value::Null);
    let (mut text, mut thoughts, mut refusal) = (String::new(), String::new(), String::new());
    let (mut details, mut calls, mut annotations, mut images) = (vec![], vec![], vec![], vec![]);
    let mut riders = Riders::default();
    let mut spoken = false;
    for part in parts {
        match part {
            Part::Text { text: more, citations, .. } => {
                let offset = text.chars().count() as u64;
                annotations.extend(citations.iter().filter_map(|citation| annotation(citation, offset)));
                if !more.is_empty() {
                    riders.said();
                }
                text.push_str(&more);
                spoken = true;
            }
            Part::Thinking { text: more, proof } => {
                if let Some(proof) = &proof {
                    details.push(detail(&more, proof, details.len()));
                    riders.wait(proof.clone());
                }
                thoughts.push_str(&more);
            }
            Part::ToolCall { id, name, arguments, custom, proof, .. } => {
                let id = riders.mount(id, proof);
                calls.push(call_value(&id, &name, &arguments, custom));
            }
            Part::Refusal { text: more } => {
                riders.said();
                refusal.push_str(&more);
            }
            Part::Image { source, .. } => images.extend(image_value(source, images.len())),
            Part::Audio { source: Source::Inline { data, .. }, transcript, id } => {
                // Sound that its provider does not keep has no name by which it could be asked for later.
                let (id, transcript) = (id.unwrap_or_default(), transcript.unwrap_or_default());
                let sound = json!({"id": id, "data": data, "transcript": transcript, "expires_at": created});
                message.insert("audio".into(), sound);
            }
            Part::Audio { .. }
            | Part::Document { .. }
            | Part::Video { .. }
            | Part::ToolResult { .. }
            | Part::Vendor { .. } => {}
        }
    }
    if spoken {
        message.insert("content".into(), text.into());
    }
    if !refusal.is_empty() {
        message.insert("refusal".into(), refusal.into());
    }
    if !thoughts.is_empty() {
        message.insert("reasoning_content".into(), thoughts.into());
    }
    for (key, list) in [
        ("reasoning_details", details),
        ("tool_calls", calls),
        ("annotations", annotations),
        ("images", images),
    ] {
        if !list.is_empty() {
            message.insert(key.into(), list.into());
        }
    }
    message
}

/// A thought with its proof, so that a caller who sends the message back whole sends it too.
pub(super) fn detail(text: &str, proof: &Proof, index: usize) -> Value {
    match proof.kind {
        ProofKind::Signature | ProofKind::Mark => {
            json!({"type": "reasoning.text", "text": text, "signature": proof.seal(), "index": index})
        }
        ProofKind::Encrypted => {
            json!({"type": "reasoning.encrypted", "text": text, "data": proof.seal(), "index": index})
        }
    }
}

pub(super) fn call_value(id: &str, name: &str, arguments: &str, custom: bool) -> Value {
    if custom {
        return json!({"id": id, "type": "custom", "custom": {"name": name, "input": arguments}});
    }
    // A call without arguments has none to say; callers parse the text as JSON all the same.
    let arguments = if arguments.is_empty() { "{}" } else { arguments };
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

/// `annotations` know addresses alone; other citations stand in the record of losses.
pub(super) fn annotation(citation: &Citation, offset: u64) -> Option<Value> {
    let (from, to) = citation.span.unwrap_or((0, 0));
    citation.url.as_ref().map(|url| {
        json!({"type": "url_citation", "url_citation": {
            "url": url,
            "title": citation.title.as_deref().unwrap_or_default(),
            "start_index": from + offset,
            "end_index": to + offset,
        }})
    })
}

pub(super) fn image_value(source: Source, index: usize) -> Option<Value> {
    let url = match source {
        Source::Inline { media_type, data } => format!("data:{media_type};base64,{data}"),
        Source::Url { url, .. } => url,
        Source::File { .. } | Source::Text { .. } => return None,
    };
    Some(json!({"type": "image_url", "image_url": {"url": url}, "index": index}))
}
