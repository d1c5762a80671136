//! Turns a failure into the one answer that the caller understands: a problem document, or a gRPC status.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, header};

use super::Failure;
use crate::body::Body;

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Whether the caller speaks gRPC, and so wants a gRPC status in trailers instead of a problem document.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        value
            .as_bytes()
            .strip_prefix(b"application/grpc")
            .is_some_and(|rest| rest.is_empty() || matches!(rest[0], b'+' | b';'))
    })
}

/// The response that a failed call gets.
pub(crate) fn answer(
    failure: &Failure,
    request: &HeaderMap,
    method: &Method,
    request_id: &HeaderValue,
) -> Response<Body> {
    let problem = failure.problem();
    let mut response = if is_grpc(request) { grpc(failure) } else { document(failure, method, request_id) };
    let headers = response.headers_mut();
    failure.add_headers(headers);
    if problem == super::Problem::RequestTimeout {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The problem document of a failure, as text.
pub(crate) fn problem_text(failure: &Failure, request_id: &HeaderValue) -> String {
    let problem = failure.problem();
    let mut fields = serde_json::Map::new();
    fields.insert("type".into(), format!("urn:tidegate:problem:{}", problem.slug()).into());
    fields.insert("title".into(), problem.title().into());
    fields.insert("status".into(), failure.status().as_u16().into());
    if let Some(hint) = &failure.0.hint {
        fields.insert("detail".into(), hint.as_str().into());
    }
    fields.insert("requestId".into(), String::from_utf8_lossy(request_id.as_bytes()).into());
    serde_json::Value::Object(fields).to_string()
}

fn document(failure: &Failure, method: &Method, request_id: &HeaderValue) -> Response<Body> {
    let text = problem_text(failure, request_id);
    let length = text.len();
    let body = if method == Method::HEAD { Body::Empty } else { Body::Full(Bytes::from(text)) };
    let mut response = Response::new(body);
    *response.status_mut() = failure.status();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A gRPC "Trailers-Only" answer: the status stands in the one head, with HTTP status 200.
fn grpc(failure: &Failure) -> Response<Body> {
    let problem = failure.problem();
    let mut response = Response::new(Body::Empty);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(problem.grpc_status()));
    let text = failure.0.hint.as_deref().unwrap_or(problem.title());
    if let Ok(message) = HeaderValue::from_str(&percent_encode(text)) {
        headers.insert("grpc-message", message);
    }
    response
}

/// Percent-encodes what gRPC does not allow in `grpc-message`.
fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (0x20..=0x7e).contains(&byte) && byte != b'%' {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
