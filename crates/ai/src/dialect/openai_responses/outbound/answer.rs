//! Reads a whole answer.

use serde_json::Value;

use crate::{
    canon::{Answer, Choice, Error, ErrorKind, Extra, Part, Proof, Source, scoped},
    dialect::{
        openai_chat::{outbound::error_of, probability_of},
        openai_responses::{NAME, content, finish_of, thought, usage_of},
    },
    fields::Fields,
    way::Way,
};

pub(in crate::dialect) fn read_answer(body: &[u8]) -> Result<Answer, Error> {
    let value: Value =
        serde_json::from_slice(body).map_err(|error| broken(&format!("the body is not JSON: {error}")))?;
    answer_of(value)
}

fn broken(why: &str) -> Error {
    Error { status: 502, ..Error::new(ErrorKind::Server, format!("the provider's answer: {why}")) }
}

/// Reads a response object.
pub(super) fn answer_of(response: Value) -> Result<Answer, Error> {
    if response.get("error").is_some_and(|error| !error.is_null()) {
        return Err(failure(&response));
    }
    let Some(output) = response.get("output").and_then(Value::as_array) else {
        return Err(broken("`output` is required"));
    };
    let mut choice = Choice::default();
    let mut mark = None;
    for item in output {
        read_item(item, &mut choice, &mut mark);
    }
    choice.parts.extend(mark.map(|proof| Part::Thinking { text: String::new(), proof: Some(proof) }));
    choice.finish = finish_of(&response, &choice.parts);
    let text = |key: &str| response.get(key).and_then(Value::as_str).map(str::to_owned);
    Ok(Answer {
        id: text("id").unwrap_or_default(),
        model: text("model").unwrap_or_default(),
        created: created_of(&response),
        usage: response.get("usage").and_then(usage_of),
        tier: text("service_tier"),
        choices: vec![choice],
        extra: extra_of(response)?,
    })
}

/// `created_at`, which some write with a fraction.
pub(super) fn created_of(response: &Value) -> Option<u64> {
    let created = response.get("created_at")?;
    created
        .as_u64()
        .or_else(|| created.as_f64().filter(|time| (0.0..9e15).contains(time)).map(|time| time as u64))
}

/// What a response that failed tells.
pub(super) fn failure(response: &Value) -> Error {
    let status = match response.at("/error/code").and_then(Value::as_str) {
        Some("rate_limit_exceeded" | "insufficient_quota") => 429,
        Some(code) if code.starts_with("invalid") || code == "context_length_exceeded" => 400,
        _ => 502,
    };
    error_of(status, response)
}

/// What this dialect alone tells: what an answer repeats of its request is left out.
fn extra_of(response: Value) -> Result<Extra, Error> {
    const KNOWN: [&str; 31] = [
        "id",
        "object",
        "created_at",
        "completed_at",
        "status",
        "error",
        "incomplete_details",
        "model",
        "output",
        "usage",
        "service_tier",
        "background",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "parallel_tool_calls",
        "previous_response_id",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "store",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    ];
    let mut fields = Fields::at(response, "response").map_err(|error| broken(&error.message))?;
    for key in KNOWN {
        fields.take(key);
    }
    let mut extra = Extra::new();
    fields.rest(&mut extra);
    Ok(extra)
}

fn read_item(item: &Value, choice: &mut Choice, mark: &mut Option<Proof>) {
    match item.get("type").and_then(Value::as_str) {
        Some("message") => {
            let pieces = item.get("content").and_then(Value::as_array).into_iter().flatten();
            for piece in pieces {
                choice.parts.extend(piece_of(piece));
                let tokens = piece.get("logprobs").and_then(Value::as_array).into_iter().flatten();
                choice.log_probabilities.extend(tokens.filter_map(probability_of));
            }
        }
        Some("reasoning") => thought::add(thought::read(item), &mut choice.parts, mark),
        Some("function_call" | "custom_tool_call") => choice.parts.extend(call_of(item, mark.take())),
        Some(_) => choice.parts.push(whole_of(item)),
        None => {}
    }
}

/// A piece of a message.
pub(super) fn piece_of(piece: &Value) -> Option<Part> {
    let text = |key: &str| piece.get(key).and_then(Value::as_str).map(str::to_owned);
    match piece.get("type").and_then(Value::as_str)? {
        "output_text" | "text" => {
            let annotations = piece.get("annotations").and_then(Value::as_array).into_iter().flatten();
            let citations = annotations.filter_map(content::citation_of).collect();
            Some(Part::Text { text: text("text")?, citations, cache: None, proof: None })
        }
        "refusal" => Some(Part::Refusal { text: text("refusal")? }),
        _ => None,
    }
}

/// A call.
pub(super) fn call_of(item: &Value, proof: Option<Proof>) -> Option<Part> {
    let text = |key: &str| item.get(key).and_then(Value::as_str).map(str::to_owned);
    let custom = item.get("type").and_then(Value::as_str) == Some("custom_tool_call");
    let arguments = text(if custom { "input" } else { "arguments" }).unwrap_or_default();
    let id = text("call_id").or_else(|| text("id")).unwrap_or_default();
    let name = scoped(text("namespace").as_deref(), &text("name")?);
    Some(Part::ToolCall { id, name, arguments, custom, proof, cache: None })
}

/// An item of a hosted tool: a picture, or what only this dialect knows.
pub(super) fn whole_of(item: &Value) -> Part {
    let text = |key: &str| item.get(key).and_then(Value::as_str);
    match (text("type"), text("result")) {
        (Some("image_generation_call"), Some(data)) => {
            let media_type = format!("image/{}", text("output_format").unwrap_or("png"));
            Part::Image {
                source: Source::Inline { media_type, data: data.to_owned() },
                detail: None,
                cache: None,
            }
        }
        _ => Part::Vendor { dialect: NAME, value: item.clone() },
    }
}
