//! Reads Cohere's errors.

use serde_json::Value;

use crate::{
    canon::{Error, ErrorKind},
    dialect::cohere::KINDS,
};

pub(in crate::dialect) fn read_error(status: u16, body: &[u8]) -> Error {
    match serde_json::from_slice(body) {
        Ok(value) => error_of(status, &value),
        Err(_) => Error::of_status(status, text_of(body)),
    }
}

/// The beginning of what is no JSON.
fn text_of(body: &[u8]) -> String {
    const TEXT_BYTES_MAX: usize = 500;
    let text = String::from_utf8_lossy(body.get(..TEXT_BYTES_MAX).unwrap_or(body)).trim().to_owned();
    if text.is_empty() { "the provider gave no reason".to_owned() } else { text }
}

/// Reads `{"message": "…"}`.
pub(super) fn error_of(status: u16, value: &Value) -> Error {
    let text = |key: &str| value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let message = text("message").or_else(|| text("data")).map_or_else(|| value.to_string(), str::to_owned);
    let told = text("type").and_then(|word| KINDS.iter().find(|(known, _)| *known == word));
    let mut error = Error::of_status(status, message);
    error.kind = told.map_or_else(|| kind(status, &error.message), |(_, kind)| *kind);
    if status == 498 {
        error.status = error.kind.status();
    }
    error.code = text("code").map(str::to_owned);
    error.param = text("param").map(str::to_owned);
    error
}

fn kind(status: u16, message: &str) -> ErrorKind {
    match status {
        // Keys for trials are for so many calls a month.
        429 if message.contains("/ month") || message.contains("per month") => ErrorKind::Quota,
        400 | 422 if message.contains("too many tokens") => ErrorKind::ContextLength,
        498 if message.contains("token") => ErrorKind::Authentication,
        498 => ErrorKind::ContentFilter,
        _ => ErrorKind::of_status(status),
    }
}
