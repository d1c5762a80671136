//! Reads errors of providers that speak like OpenAI.

use serde_json::Value;

use crate::canon::{Error, ErrorKind};

pub(in crate::dialect) fn read_error(status: u16, body: &[u8]) -> Error {
    match serde_json::from_slice(body) {
        Ok(value) => error_of(status, &value),
        Err(_) => Error::of_status(status, text_of(body)),
    }
}

/// The beginning of what is no JSON: proxies between answer in HTML or plain text.
fn text_of(body: &[u8]) -> String {
    const TEXT_BYTES_MAX: usize = 500;
    let text = String::from_utf8_lossy(&body[..body.len().min(TEXT_BYTES_MAX)]).trim().to_owned();
    if text.is_empty() { "the provider gave no reason".to_owned() } else { text }
}

/// Reads `{"error": {…}}`, `{"error": "…"}`, `{"message": "…"}` or `{"detail": …}`.
pub(in crate::dialect) fn error_of(status: u16, value: &Value) -> Error {
    let inner = value.get("error").unwrap_or(value);
    let text = |key: &str| inner.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let message = inner.as_str().or_else(|| text("message")).or_else(|| text("detail")).map(str::to_owned);
    let message = message.unwrap_or_else(|| inner.to_string());
    let code = match inner.get("code") {
        Some(Value::String(code)) => Some(code.clone()),
        Some(Value::Number(code)) => Some(code.to_string()),
        _ => None,
    };
    let mut error = Error::of_status(status, message);
    error.kind =
        kind(status, code.as_deref().unwrap_or_default(), text("type").unwrap_or_default(), &error.message);
    if error.kind == ErrorKind::Server && error.status < 500 {
        // What failed is on the provider's side, whatever status it gave that.
        error.status = 502;
    }
    error.param = text("param").map(str::to_owned);
    error.code = code;
    error
}

fn kind(status: u16, code: &str, kind: &str, message: &str) -> ErrorKind {
    match (code, kind) {
        ("context_length_exceeded" | "string_above_max_length", _) => ErrorKind::ContextLength,
        ("content_filter" | "content_policy_violation", _) => ErrorKind::ContentFilter,
        ("insufficient_quota" | "billing_hard_limit_reached", _) | (_, "insufficient_quota") => {
            ErrorKind::Quota
        }
        ("invalid_api_key", _) | (_, "authentication_error") => ErrorKind::Authentication,
        ("model_not_found", _) => ErrorKind::NotFound,
        ("rate_limit_exceeded", _) => ErrorKind::RateLimited,
        ("overloaded" | "model_overloaded", _) | (_, "overloaded_error") => ErrorKind::Overloaded,
        ("timeout", _) | (_, "timeout") => ErrorKind::Timeout,
        ("server_error" | "internal_server_error", _) | (_, "server_error" | "internal_server_error")
            if !matches!(status, 408 | 429 | 503 | 504 | 529) =>
        {
            ErrorKind::Server
        }
        // Compatible providers have the sentence but not the code.
        _ if status == 400 && message.contains("maximum context length") => ErrorKind::ContextLength,
        _ => ErrorKind::of_status(status),
    }
}
