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
    let problem = failure.told();
    let mut response = match told(request) {
        Told::Document => document(failure, method, request_id),
        Told::Grpc(content_type) => grpc(failure, content_type),
        Told::Connect(stream) => connect(failure, stream),
    };
    let headers = response.headers_mut();
    failure.add_headers(headers);
    if problem == super::Problem::RequestTimeout {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// How a caller is told.
enum Told {
    Document,
    /// In a head without a body, which gRPC-Web has, too.
    Grpc(&'static str),
    /// Of a stream it is what its messages are.
    Connect(Option<&'static str>),
}

fn told(request: &HeaderMap) -> Told {
    if is_grpc(request) {
        return Told::Grpc("application/grpc");
    }
    let content_type = request.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let begins =
        |kind: &[u8]| content_type.get(..kind.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(kind));
    if begins(b"application/grpc-web-text") {
        return Told::Grpc("application/grpc-web-text+proto");
    }
    if begins(b"application/grpc-web") {
        return Told::Grpc("application/grpc-web+proto");
    }
    for stream in ["application/connect+json", "application/connect+proto"] {
        if begins(stream.as_bytes()) {
            return Told::Connect(Some(stream));
        }
    }
    match request.contains_key("connect-protocol-version") {
        true => Told::Connect(None),
        false => Told::Document,
    }
}

/// An error as Connect has it (connectrpc.com/docs/protocol): its codes are those of gRPC in words.
fn connect(failure: &Failure, stream: Option<&'static str>) -> Response<Body> {
    let problem = failure.told();
    let code = CONNECT_CODES.get(usize::from(problem.grpc_status())).copied().unwrap_or("unknown");
    let message = failure.0.hint.as_deref().unwrap_or(problem.title());
    let error = serde_json::json!({"code": code, "message": message});
    let (status, kind, bytes) = match stream {
        None => (failure.status(), "application/json", error.to_string().into_bytes()),
        // Its envelope is JSON whatever messages are.
        Some(kind) => {
            let end = serde_json::json!({ "error": error }).to_string();
            let length = u32::try_from(end.len()).unwrap_or_default().to_be_bytes();
            let envelope = [&[2], length.as_slice(), end.as_bytes()].concat();
            (http::StatusCode::OK, kind, envelope)
        }
    };
    let mut response = Response::new(Body::Full(Bytes::new()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    *response.body_mut() = Body::Full(bytes.into());
    response
}

/// By the numbers of gRPC.
const CONNECT_CODES: [&str; 17] = [
    "ok",
    "canceled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
];

/// The problem document of a failure, as text.
pub(crate) fn problem_text(failure: &Failure, request_id: &HeaderValue) -> String {
    let problem = failure.told();
    let mut fields = serde_json::Map::new();
    fields.insert("type".into(), format!("urn:tidegate:problem:{}", problem.slug()).into());
    fields.insert("title".into(), problem.title().into());
    fields.insert("status".into(), failure.status().as_u16().into());
    if let Some(hint) = &failure.0.hint {
        fields.insert("detail".into(), hint.as_str().into());
    }
    if let Some(errors) = &failure.0.errors {
        fields.insert("errors".into(), errors.clone());
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
fn grpc(failure: &Failure, content_type: &'static str) -> Response<Body> {
    let problem = failure.told();
    let mut response = Response::new(Body::Empty);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
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
