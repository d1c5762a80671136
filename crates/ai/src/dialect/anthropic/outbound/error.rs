//! Reads errors of providers that speak like Anthropic.

use serde_json::Value;

use crate::{
    canon::{Error, ErrorKind},
    way::Way,
};

pub(in crate::dialect) fn read_error(status: u16, body: &[u8]) -> Error {
    match serde_json::from_slice(body) {
        Ok(value) => error_of(status, &value),
        Err(_) => Error::of_status(status, text_of(body)),
    }
}

/// The beginning of what is no JSON: proxies between answer in HTML or plain text.
pub(in crate::dialect) fn text_of(body: &[u8]) -> String {
    const TEXT_BYTES_MAX: usize = 500;
    let begin = body.get(..TEXT_BYTES_MAX).unwrap_or(body);
    let text = String::from_utf8_lossy(begin).trim().to_owned();
    if text.is_empty() { "the provider gave no reason".to_owned() } else { text }
}

/// Reads `{"type": "error", "error": {"type": …, "message": …}}`.
pub(super) fn error_of(status: u16, value: &Value) -> Error {
    let inner = value.get("error").unwrap_or(value);
    let text = |pointer: &str| inner.at(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let message =
        inner.as_str().or_else(|| text("/message")).map_or_else(|| inner.to_string(), str::to_owned);
    let code = text("/details/error_code").map(str::to_owned);
    let kind = kind(status, text("/type").unwrap_or_default(), code.as_deref(), &message);
    Error { kind, code, ..Error::of_status(status, message) }
}

fn kind(status: u16, word: &str, code: Option<&str>, message: &str) -> ErrorKind {
    match (word, code) {
        ("invalid_request_error", Some("context_length_exceeded")) => ErrorKind::ContextLength,
        ("invalid_request_error", Some("content_filter")) => ErrorKind::ContentFilter,
        // Anthropic has the sentences but no code.
        ("invalid_request_error", _) if is_too_long(message) => ErrorKind::ContextLength,
        ("invalid_request_error", _) if message.contains("credit balance is too low") => ErrorKind::Quota,
        ("invalid_request_error", _) if message.contains("content filtering policy") => {
            ErrorKind::ContentFilter
        }
        ("authentication_error", _) => ErrorKind::Authentication,
        ("billing_error", _) => ErrorKind::Quota,
        ("permission_error", _) => ErrorKind::Permission,
        ("not_found_error", _) => ErrorKind::NotFound,
        ("request_too_large", _) => ErrorKind::TooLarge,
        ("rate_limit_error", _) => ErrorKind::RateLimited,
        ("overloaded_error", _) => ErrorKind::Overloaded,
        ("timeout_error", _) => ErrorKind::Timeout,
        ("api_error", _) => ErrorKind::Server,
        _ => ErrorKind::of_status(status),
    }
}

/// Claude's words for a prompt beyond its context.
pub(in crate::dialect) fn is_too_long(message: &str) -> bool {
    message.contains("prompt is too long") || message.contains("exceed context limit")
}

/// The status that an error in a stream would have had.
pub(super) fn status_of(value: &Value) -> u16 {
    match value.at("/error/type").and_then(Value::as_str) {
        Some("invalid_request_error") => 400,
        Some("authentication_error") => 401,
        Some("billing_error") => 402,
        Some("permission_error") => 403,
        Some("not_found_error") => 404,
        Some("request_too_large") => 413,
        Some("rate_limit_error") => 429,
        Some("timeout_error") => 504,
        Some("overloaded_error") => 529,
        Some("api_error") => 500,
        _ => 502,
    }
}
