//! Errors, as Google tells them: a status by name, and details with types of their own.

use serde_json::{Value, json};

use crate::{
    canon::{Error, ErrorKind},
    dialect::gemini::outbound::REASONS,
};

pub(in crate::dialect) fn write_error(error: &Error) -> Vec<u8> {
    serde_json::to_vec(&error_value(error)).unwrap_or_default()
}

/// `{"error": {…}}`.
pub(super) fn error_value(error: &Error) -> Value {
    let status = match error.kind {
        ErrorKind::Invalid | ErrorKind::TooLarge | ErrorKind::ContextLength | ErrorKind::ContentFilter => {
            "INVALID_ARGUMENT"
        }
        ErrorKind::Authentication => "UNAUTHENTICATED",
        ErrorKind::Permission => "PERMISSION_DENIED",
        ErrorKind::NotFound => "NOT_FOUND",
        ErrorKind::RateLimited | ErrorKind::Quota => "RESOURCE_EXHAUSTED",
        ErrorKind::Server => "INTERNAL",
        ErrorKind::Overloaded => "UNAVAILABLE",
        ErrorKind::Timeout => "DEADLINE_EXCEEDED",
    };
    let mut value = json!({"code": error.status, "message": error.message, "status": status});
    let details = details(error);
    if !details.is_empty() {
        value["details"] = details.into();
    }
    json!({"error": value})
}

fn details(error: &Error) -> Vec<Value> {
    let mut details = Vec::new();
    let own = REASONS.iter().find(|(_, kind)| *kind == error.kind).map(|(reason, _)| (*reason).to_owned());
    if let Some(reason) = own.or_else(|| error.code.as_ref().map(|code| code.to_ascii_uppercase())) {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason,
            "domain": "tidegate",
        }));
    }
    if let Some(param) = &error.param {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"field": param, "description": error.message}],
        }));
    }
    if let Some(wait) = error.retry_after {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": format!("{}s", wait.as_secs_f64()),
        }));
    }
    details
}
