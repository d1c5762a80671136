//! Errors as problem documents (RFC 9457).

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

/// A refusal that says what to mend.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    kind: &'static str,
    detail: String,
    errors: Vec<Value>,
}

impl Problem {
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, kind: "not-found", detail: detail.into(), errors: Vec::new() }
    }

    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self { status, kind: "idempotency-key-reused", detail: detail.into(), errors: Vec::new() }
    }

    /// The body does not fit; each error names its place as a JSON pointer.
    pub(crate) fn invalid(errors: Vec<(String, &str)>) -> Self {
        let errors = errors.into_iter().map(|(at, message)| json!({"pointer": at, "detail": message}));
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            kind: "invalid",
            detail: "the body does not fit".into(),
            errors: errors.collect(),
        }
    }

    pub(crate) fn store(error: &rusqlite::Error) -> Self {
        eprintln!("store: {error}");
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self { status, kind: "internal", detail: "the store failed".into(), errors: Vec::new() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": format!("urn:shop:problem:{}", self.kind),
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if !self.errors.is_empty() {
            body["errors"] = self.errors.into();
        }
        (self.status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
    }
}
