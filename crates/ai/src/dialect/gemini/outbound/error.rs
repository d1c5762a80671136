//! Reads Google's errors.

use std::time::Duration;

use serde_json::Value;

use crate::{
    canon::{Error, ErrorKind},
    way::Way,
};

/// Reasons by which the gateway tells kinds of failure that have no status of their own.
pub(in crate::dialect::gemini) const REASONS: [(&str, ErrorKind); 4] = [
    ("CONTEXT_LENGTH_EXCEEDED", ErrorKind::ContextLength),
    ("CONTENT_FILTERED", ErrorKind::ContentFilter),
    ("REQUEST_TOO_LARGE", ErrorKind::TooLarge),
    ("QUOTA_EXHAUSTED", ErrorKind::Quota),
];

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

/// Reads `{"error": {…}}`, in a list of one where a stream was asked for as an array.
pub(super) fn error_of(status: u16, value: &Value) -> Error {
    let value = value.get(0).unwrap_or(value);
    let inner = value.get("error").unwrap_or(value);
    let text = |key: &str| inner.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let message = text("message").or(inner.as_str()).map_or_else(|| inner.to_string(), str::to_owned);
    let details = Details::of(inner);
    let mut error = Error::of_status(status, message);
    error.kind = kind(status, text("status").unwrap_or_default(), &details, &error.message);
    if error.kind == ErrorKind::Authentication {
        // A wrong key is 400 here.
        error.status = 401;
    }
    error.code = details.reason.filter(|reason| !REASONS.iter().any(|(own, _)| own == reason));
    error.param = details.field;
    error.retry_after = details.retry_after;
    error
}

/// What `details` say.
#[derive(Default)]
struct Details {
    reason: Option<String>,
    field: Option<String>,
    retry_after: Option<Duration>,
    per_day: bool,
}

impl Details {
    fn of(error: &Value) -> Self {
        let mut found = Self::default();
        for detail in error.get("details").and_then(Value::as_array).into_iter().flatten() {
            let text = |pointer: &str| detail.at(pointer).and_then(Value::as_str);
            match text("/@type").and_then(|kind| kind.rsplit('.').next()) {
                Some("ErrorInfo") => found.reason = text("/reason").map(str::to_owned),
                Some("BadRequest") => found.field = text("/fieldViolations/0/field").map(str::to_owned),
                Some("RetryInfo") => found.retry_after = text("/retryDelay").and_then(duration),
                Some("QuotaFailure") => {
                    let violations = detail.get("violations").and_then(Value::as_array).into_iter().flatten();
                    let mut ids =
                        violations.filter_map(|violation| violation.get("quotaId").and_then(Value::as_str));
                    found.per_day = ids.any(|id| id.contains("PerDay"));
                }
                _ => {}
            }
        }
        found
    }
}

/// `3.5s`.
fn duration(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.strip_suffix('s')?.parse().ok()?).ok()
}

fn kind(status: u16, word: &str, details: &Details, message: &str) -> ErrorKind {
    let reason = details.reason.as_deref().unwrap_or_default();
    if let Some((_, kind)) = REASONS.iter().find(|(own, _)| *own == reason) {
        return *kind;
    }
    match word {
        _ if matches!(reason, "API_KEY_INVALID" | "API_KEY_EXPIRED") => ErrorKind::Authentication,
        "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" => {
            if message.contains("exceeds the maximum number of tokens") {
                ErrorKind::ContextLength
            } else if message.contains("API key not valid") || message.contains("API key expired") {
                ErrorKind::Authentication
            } else if status == 413 {
                ErrorKind::TooLarge
            } else {
                ErrorKind::Invalid
            }
        }
        "UNAUTHENTICATED" => ErrorKind::Authentication,
        "PERMISSION_DENIED" => ErrorKind::Permission,
        "NOT_FOUND" => ErrorKind::NotFound,
        // What is spent until tomorrow, or for good, is not a matter of speed.
        "RESOURCE_EXHAUSTED" if details.per_day || message.contains("credits are depleted") => {
            ErrorKind::Quota
        }
        "RESOURCE_EXHAUSTED" => ErrorKind::RateLimited,
        "UNAVAILABLE" => ErrorKind::Overloaded,
        "DEADLINE_EXCEEDED" => ErrorKind::Timeout,
        "INTERNAL" | "UNKNOWN" | "ABORTED" => ErrorKind::Server,
        _ => ErrorKind::of_status(status),
    }
}
