//! Reads errors of Bedrock: `{"message": …}`, and the exception's name in `__type` or a header that is not seen here.

use serde_json::Value;

use crate::{
    canon::{Error, ErrorKind},
    dialect::anthropic::outbound::{is_too_long, text_of},
};

pub(in crate::dialect) fn read_error(status: u16, body: &[u8]) -> Error {
    match serde_json::from_slice(body) {
        Ok(value) => error_of(status, "", &value),
        Err(_) => Error::of_status(status, text_of(body)),
    }
}

/// Reads an error whose exception may be told beside it, as in a stream.
pub(super) fn error_of(status: u16, exception: &str, value: &Value) -> Error {
    let text = |key: &str| value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let message = text("message").or_else(|| text("Message")).or_else(|| text("originalMessage"));
    let message = message.map_or_else(|| value.to_string(), str::to_owned);
    // Some are told with their namespace: `com.amazon.coral.service#AccessDeniedException`.
    let exception = text("__type").unwrap_or(exception).rsplit('#').next().unwrap_or_default();
    let reason = text("reason");
    let kind = kind(status, exception, reason, &message);
    // 424 is AWS's word for a model that failed; to a caller it would be its own fault.
    let status = if status == 424 { 502 } else { status };
    Error { kind, code: reason.map(str::to_owned), ..Error::of_status(status, message) }
}

fn kind(status: u16, exception: &str, reason: Option<&str>, message: &str) -> ErrorKind {
    let bare = exception.strip_suffix("Exception").unwrap_or(exception).to_ascii_lowercase();
    match (bare.as_str(), reason) {
        ("validation", Some("context_length_exceeded")) => ErrorKind::ContextLength,
        ("validation", Some("content_filter")) => ErrorKind::ContentFilter,
        ("validation" | "", _) if status == 400 && is_beyond_context(message) => ErrorKind::ContextLength,
        ("validation", _) => ErrorKind::Invalid,
        (
            "unrecognizedclient"
            | "incompletesignature"
            | "invalidsignature"
            | "expiredtoken"
            | "missingauthenticationtoken",
            _,
        ) => ErrorKind::Authentication,
        ("accessdenied", _) => ErrorKind::Permission,
        ("resourcenotfound", _) => ErrorKind::NotFound,
        ("requestentitytoolarge", _) => ErrorKind::TooLarge,
        ("throttling", _) => ErrorKind::RateLimited,
        ("servicequotaexceeded", _) => ErrorKind::Quota,
        ("internalserver" | "modelerror", _) => ErrorKind::Server,
        ("serviceunavailable" | "modelnotready", _) => ErrorKind::Overloaded,
        ("modeltimeout", _) => ErrorKind::Timeout,
        // Without an exception's name a bad token is told by its sentence alone.
        ("", _) if status == 403 && message.contains("security token") => ErrorKind::Authentication,
        // The model failed, not the caller.
        _ if status == 424 => ErrorKind::Server,
        _ => ErrorKind::of_status(status),
    }
}

/// The models' words for a prompt beyond their context.
fn is_beyond_context(message: &str) -> bool {
    is_too_long(message)
        || message.contains("Input is too long")
        || message.contains("maximum context length")
}

/// The status that an exception in a stream would have had.
pub(super) fn status_of(exception: &str) -> u16 {
    match exception {
        "validationException" => 400,
        "throttlingException" => 429,
        "internalServerException" => 500,
        "serviceUnavailableException" => 503,
        "modelTimeoutException" => 408,
        _ => 502,
    }
}
