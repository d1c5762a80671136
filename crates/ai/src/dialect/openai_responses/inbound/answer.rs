//! Writes a whole answer: a `response` object.

use serde_json::{Map, Value, json};

use crate::{
    canon::{Answer, Choice, Finish, Part, Source, TokenProbability, Usage, unscoped},
    dialect::{
        Telling,
        openai_chat::probability_value,
        openai_responses::{content, echo, hands::Hand, status_of, thought, tier_word, usage_value},
    },
};

pub(in crate::dialect) fn write_answer(answer: Answer, telling: &Telling) -> Vec<u8> {
    // The dialect knows one answer at a time.
    let Choice { parts, finish, log_probabilities } = answer.choices.into_iter().next().unwrap_or_default();
    let id = if answer.id.is_empty() { telling.id.clone() } else { answer.id };
    let output = output(&id, parts, log_probabilities, telling);
    let head = Head { id: &id, created: answer.created.unwrap_or(telling.created), telling };
    let outcome =
        Outcome { finish: finish.as_ref(), usage: answer.usage.as_ref(), tier: answer.tier.as_deref() };
    let value = head.complete(output, &outcome);
    serde_json::to_vec(&value).unwrap_or_default()
}

/// What a response object begins with.
pub(super) struct Head<'a> {
    pub(super) id: &'a str,
    pub(super) created: u64,
    pub(super) telling: &'a Telling,
}

/// How an answer ended.
pub(super) struct Outcome<'a> {
    pub(super) finish: Option<&'a Finish>,
    pub(super) usage: Option<&'a Usage>,
    pub(super) tier: Option<&'a str>,
}

impl Head<'_> {
    /// A response object in a state.
    pub(super) fn response(&self, status: &str, output: Vec<Value>) -> Map<String, Value> {
        let mut value = Map::new();
        value.insert("id".into(), self.id.into());
        value.insert("object".into(), "response".into());
        value.insert("created_at".into(), self.created.into());
        value.insert("status".into(), status.into());
        value.insert("error".into(), Value::Null);
        value.insert("incomplete_details".into(), Value::Null);
        value.insert("model".into(), self.telling.model.as_str().into());
        value.insert("output".into(), output.into());
        value.extend(echo::with_defaults(&self.telling.echo));
        value.insert("usage".into(), Value::Null);
        value
    }

    /// The response object of an answer that is complete, or as complete as it gets.
    pub(super) fn complete(&self, output: Vec<Value>, outcome: &Outcome<'_>) -> Map<String, Value> {
        let pieces = output.iter().filter_map(|item| item.get("content")?.as_array()).flatten();
        let is_refusal_told = pieces.into_iter().any(|piece| piece["type"] == "refusal");
        let (status, reason) = status_of(outcome.finish, is_refusal_told);
        let mut value = self.response(status, output);
        if let Some(reason) = reason {
            value.insert("incomplete_details".into(), json!({"reason": reason}));
        }
        if let Some(usage) = outcome.usage {
            value.insert("usage".into(), usage_value(usage));
        }
        if let Some(tier) = outcome.tier {
            value.insert("service_tier".into(), tier_word(tier).into());
        }
        value
    }
}

/// The id of an item that no vendor gave one: begins as OpenAI's do, tells whose it is, and is not too long for it.
pub(super) fn item_id(prefix: &str, response: &str, index: usize) -> String {
    const RESPONSE_BYTES_MAX: usize = 32;
    let plain: String = response.chars().filter(|letter| letter.is_ascii_alphanumeric()).collect();
    let tail = plain.get(plain.len().saturating_sub(RESPONSE_BYTES_MAX)..).unwrap_or_default();
    format!("{prefix}{}{tail}_{index}", thought::OWN_ID)
}

fn output(
    response: &str,
    parts: Vec<Part>,
    mut tokens: Vec<TokenProbability>,
    telling: &Telling,
) -> Vec<Value> {
    let mut output: Vec<Value> = Vec::new();
    for part in parts {
        let index = output.len();
        match part {
            Part::Text { text, citations, proof, .. } => {
                let annotations: Vec<Value> = citations.iter().filter_map(content::annotation).collect();
                let piece = text_value(&text, annotations, &std::mem::take(&mut tokens));
                say(&mut output, response, piece);
                if let Some(proof) = proof {
                    let id = item_id("rs", response, output.len());
                    output.push(thought::item(&id, "", Some(thought::encrypted_after(&proof))).into());
                }
            }
            Part::Refusal { text } => say(&mut output, response, refusal_value(&text)),
            // Speech is told by its words.
            Part::Audio { transcript: Some(text), .. } => {
                say(&mut output, response, text_value(&text, Vec::new(), &[]));
            }
            Part::Thinking { text, proof } => {
                let own = item_id("rs", response, index);
                let id = thought::vendor_id(proof.as_ref()).unwrap_or(&own);
                output.push(thought::item(id, &text, proof.as_ref().and_then(thought::encrypted)).into());
            }
            Part::ToolCall { id, name, arguments, custom, proof, .. } => {
                if let Some(proof) = proof {
                    let id = item_id("rs", response, index);
                    output.push(thought::item(&id, "", Some(proof.seal())).into());
                }
                if let Some(hand) = Hand::among(telling.echo.get("tools"), &name) {
                    let item = item_id(hand.prefix(), response, output.len());
                    output.push(hand.call(Some(&item), &id, &arguments, "completed"));
                    continue;
                }
                let item = item_id(call_prefix(custom), response, output.len());
                output.push(call_value(&item, &id, &name, &arguments, custom, "completed"));
            }
            whole => output.extend(whole_value(whole, response, index)),
        }
    }
    output
}

/// Adds a piece to the message that stands last, or to a new one.
fn say(output: &mut Vec<Value>, response: &str, piece: Value) {
    let last = output.last_mut().filter(|last| last["type"] == "message");
    match last.and_then(|last| last["content"].as_array_mut()) {
        Some(content) => content.push(piece),
        None => output.push(message_value(&item_id("msg", response, output.len()), vec![piece], "completed")),
    }
}

pub(super) fn message_value(id: &str, content: Vec<Value>, status: &str) -> Value {
    json!({"id": id, "type": "message", "status": status, "role": "assistant", "content": content})
}

pub(super) fn text_value(text: &str, annotations: Vec<Value>, tokens: &[TokenProbability]) -> Value {
    let tokens: Vec<Value> = tokens.iter().map(probability_value).collect();
    json!({"type": "output_text", "text": text, "annotations": annotations, "logprobs": tokens})
}

pub(super) fn refusal_value(text: &str) -> Value {
    json!({"type": "refusal", "refusal": text})
}

pub(super) fn call_prefix(custom: bool) -> &'static str {
    if custom { "ctc" } else { "fc" }
}

pub(super) fn call_value(
    item: &str,
    id: &str,
    name: &str,
    arguments: &str,
    custom: bool,
    status: &str,
) -> Value {
    let (namespace, name) = unscoped(name);
    let mut value = match custom {
        true => {
            json!({"id": item, "type": "custom_tool_call", "status": status, "call_id": id, "name": name, "input": arguments})
        }
        false => json!({
            "id": item,
            "type": "function_call",
            "status": status,
            "call_id": id,
            "name": name,
            "arguments": if status == "completed" { content::arguments(arguments) } else { arguments },
        }),
    };
    if let Some(namespace) = namespace {
        value["namespace"] = namespace.into();
    }
    value
}

/// What comes whole: items of this dialect's own, and pictures.
pub(super) fn whole_value(part: Part, response: &str, index: usize) -> Option<Value> {
    match part {
        Part::Vendor { dialect: crate::dialect::openai_responses::NAME, value } => Some(value),
        Part::Image { source: Source::Inline { media_type, data }, .. } => {
            let format = media_type.strip_prefix("image/").unwrap_or("png");
            Some(json!({
                "id": item_id("ig", response, index),
                "type": "image_generation_call",
                "status": "completed",
                "output_format": format,
                "result": data,
            }))
        }
        _ => None,
    }
}
