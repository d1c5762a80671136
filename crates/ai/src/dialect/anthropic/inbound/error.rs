//! Errors, as Anthropic tells them.

use serde_json::{Value, json};

use crate::canon::{Error, ErrorKind};

pub(in crate::dialect) fn write_error(error: &Error) -> Vec<u8> {
    serde_json::to_vec(&error_value(error)).unwrap_or_default()
}

/// `{"type": "error", "error": {…}}`. A code of another vendor's stands where Anthropic has its own.
pub(super) fn error_value(error: &Error) -> Value {
    let (kind, code) = match error.kind {
        ErrorKind::Invalid => ("invalid_request_error", None),
        ErrorKind::ContextLength => ("invalid_request_error", Some("context_length_exceeded")),
        ErrorKind::ContentFilter => ("invalid_request_error", Some("content_filter")),
        ErrorKind::Authentication => ("authentication_error", None),
        ErrorKind::Permission => ("permission_error", None),
        ErrorKind::NotFound => ("not_found_error", None),
        ErrorKind::TooLarge => ("request_too_large", None),
        ErrorKind::RateLimited => ("rate_limit_error", None),
        ErrorKind::Quota => ("billing_error", None),
        ErrorKind::Server => ("api_error", None),
        ErrorKind::Overloaded => ("overloaded_error", None),
        ErrorKind::Timeout => ("timeout_error", None),
    };
    let mut value = json!({"type": "error", "error": {"type": kind, "message": error.message}});
    if let Some(code) = code.or(error.code.as_deref()) {
        value["error"]["details"] = json!({"error_code": code});
    }
    value
}
