//! Gemini's answers, where they hold something else than a conversation.

use serde_json::Value;

use super::broken;
use crate::{
    canon::{Error, ErrorKind, Usage},
    dialect::Dialect,
    name,
};

/// The path of a method of a model's.
pub(super) fn path(model: &str, method: &str) -> Result<String, Error> {
    let model = name::segments(model.strip_prefix("models/").unwrap_or(model))?;
    Ok(format!("/models/{model}:{method}"))
}

pub(super) fn answer(body: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(body).map_err(|_| broken("the provider's answer is no JSON"))
}

fn parts(answer: &Value) -> impl Iterator<Item = &Value> {
    let parts = answer.pointer("/candidates/0/content/parts").and_then(Value::as_array);
    // Pictures and texts of thoughts are drafts.
    parts.into_iter().flatten().filter(|part| part.get("thought").and_then(Value::as_bool) != Some(true))
}

/// What is in an answer of a media type, with the type.
pub(super) fn data<'v>(answer: &'v Value, begin: &'static str) -> impl Iterator<Item = (&'v str, &'v str)> {
    parts(answer).filter_map(move |part| {
        let blob = part.get("inlineData").or_else(|| part.get("inline_data"))?;
        let kind = blob.get("mimeType").or_else(|| blob.get("mime_type"))?.as_str()?;
        Some((kind, blob.get("data")?.as_str()?)).filter(|_| kind.starts_with(begin))
    })
}

/// The texts of an answer.
pub(super) fn text(answer: &Value) -> String {
    parts(answer).filter_map(|part| part.get("text")?.as_str()).collect()
}

/// What was heard, of a model that does nothing else.
pub(super) fn heard(answer: &Value) -> impl Iterator<Item = &Value> {
    parts(answer).filter_map(|part| part.get("audioTranscription"))
}

pub(super) fn usage(answer: &Value) -> Option<Usage> {
    let usage = answer.get("usageMetadata")?;
    Dialect::Gemini.peek_usage(format!("{{\"usageMetadata\":{usage}}}").as_bytes())
}

/// Why an answer holds nothing of what was asked for.
pub(super) fn silent(answer: &Value, what: &str) -> Error {
    let word = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str);
    let reason = word("/promptFeedback/blockReason").or_else(|| word("/candidates/0/finishReason"));
    match reason {
        Some(reason) if is_filter(reason) => {
            filtered(format!("the provider's filter refused this: {reason}"))
        }
        Some(reason) => broken(format!("the provider answered without {what}: {reason}")),
        None => broken(format!("the provider answered without {what}")),
    }
}

fn is_filter(reason: &str) -> bool {
    const FILTERS: [&str; 5] = ["SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "RECITATION", "SPII"];
    FILTERS.iter().any(|filter| reason.contains(filter)) || reason == "OTHER"
}

/// What a filter refused, in the word that OpenAI has for pictures.
pub(super) fn filtered(message: impl Into<String>) -> Error {
    Error { code: Some("moderation_blocked".to_owned()), ..Error::new(ErrorKind::ContentFilter, message) }
}
