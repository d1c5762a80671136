//! Errors, as AWS tells them: the type stands in `__type`, which SDKs read as they read the header
//! `x-amzn-errortype`.

use serde_json::{Value, json};

use crate::canon::{Error, ErrorKind};

pub(in crate::dialect) fn write_error(error: &Error) -> Vec<u8> {
    let (kind, code) = kind_of(error);
    let mut value = json!({"__type": kind, "message": error.message});
    if let Some(code) = code.or(error.code.as_deref()) {
        value["reason"] = code.into();
    }
    serde_json::to_vec(&value).unwrap_or_default()
}

/// The exception that says an error, and a reason for what the exception alone does not tell.
fn kind_of(error: &Error) -> (&'static str, Option<&'static str>) {
    match error.kind {
        ErrorKind::Invalid => ("ValidationException", None),
        ErrorKind::ContextLength => ("ValidationException", Some("context_length_exceeded")),
        ErrorKind::ContentFilter => ("ValidationException", Some("content_filter")),
        ErrorKind::Authentication => ("UnrecognizedClientException", None),
        ErrorKind::Permission => ("AccessDeniedException", None),
        ErrorKind::NotFound => ("ResourceNotFoundException", None),
        ErrorKind::TooLarge => ("RequestEntityTooLargeException", None),
        ErrorKind::RateLimited => ("ThrottlingException", None),
        ErrorKind::Quota => ("ServiceQuotaExceededException", None),
        ErrorKind::Server => ("InternalServerException", None),
        ErrorKind::Overloaded => ("ServiceUnavailableException", None),
        ErrorKind::Timeout => ("ModelTimeoutException", None),
    }
}

/// The exception that says an error within a stream, and what it carries.
pub(super) fn exception(error: &Error) -> (&'static str, Value) {
    let name = match error.kind {
        ErrorKind::RateLimited | ErrorKind::Quota => "throttlingException",
        ErrorKind::Overloaded => "serviceUnavailableException",
        ErrorKind::Timeout | ErrorKind::ContentFilter => "modelStreamErrorException",
        ErrorKind::Server => "internalServerException",
        ErrorKind::Invalid
        | ErrorKind::Authentication
        | ErrorKind::Permission
        | ErrorKind::NotFound
        | ErrorKind::TooLarge
        | ErrorKind::ContextLength => "validationException",
    };
    (name, json!({"message": error.message}))
}
