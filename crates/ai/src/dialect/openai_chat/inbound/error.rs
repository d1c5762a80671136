//! Errors, as OpenAI tells them.

use serde_json::{Value, json};

use crate::canon::{Error, ErrorKind};

pub(in crate::dialect) fn write_error(error: &Error) -> Vec<u8> {
    serde_json::to_vec(&error_value(error)).unwrap_or_default()
}

/// `{"error": {…}}`.
pub(in crate::dialect) fn error_value(error: &Error) -> Value {
    let (kind, code) = match error.kind {
        ErrorKind::Invalid | ErrorKind::TooLarge => ("invalid_request_error", None),
        ErrorKind::ContextLength => ("invalid_request_error", Some("context_length_exceeded")),
        ErrorKind::ContentFilter => ("invalid_request_error", Some("content_filter")),
        ErrorKind::Authentication => ("invalid_request_error", Some("invalid_api_key")),
        ErrorKind::Permission => ("invalid_request_error", Some("permission_denied")),
        ErrorKind::NotFound => ("invalid_request_error", Some("not_found")),
        ErrorKind::RateLimited => ("rate_limit_error", Some("rate_limit_exceeded")),
        ErrorKind::Quota => ("insufficient_quota", Some("insufficient_quota")),
        ErrorKind::Server => ("server_error", None),
        ErrorKind::Overloaded => ("server_error", Some("overloaded")),
        ErrorKind::Timeout => ("server_error", Some("timeout")),
    };
    json!({"error": {
        "message": error.message,
        "type": kind,
        "param": error.param,
        "code": error.code.as_deref().or(code),
    }})
}
