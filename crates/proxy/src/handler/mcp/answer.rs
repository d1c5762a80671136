//! What clients are told: JSON-RPC answers, and what went wrong as a JSON-RPC error.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::message;
use crate::{
    body::Body,
    failure::{Failure, Problem},
};

/// The bytes are no JSON.
pub(super) const PARSE_ERROR: i32 = -32700;
/// The message is none.
pub(super) const INVALID_REQUEST: i32 = -32600;
/// Nobody here has such a method.
pub(super) const METHOD_NOT_FOUND: i32 = -32601;
/// The parameters do not fit.
pub(super) const INVALID_PARAMS: i32 = -32602;
/// The gateway or a server broke.
pub(super) const INTERNAL_ERROR: i32 = -32603;
/// The session is not known, as the SDKs' servers say it.
pub(super) const NO_SESSION: i32 = -32001;
/// A rule of the gateway's forbids it.
pub(super) const REFUSED: i32 = -32003;
/// A resource that nobody has.
pub(super) const NO_RESOURCE: i32 = -32002;
/// A header does not say what the message does.
pub(super) const HEADER_MISMATCH: i32 = -32020;
/// A revision that is not spoken.
pub(super) const UNSUPPORTED_REVISION: i32 = -32022;

/// One message as the whole answer.
pub(super) fn json(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let text: Bytes = text.into();
    let length = text.len();
    let mut response = Response::new(Body::Full(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A result.
pub(super) fn result(id: &str, result: &str) -> Response<Body> {
    json(StatusCode::OK, message::result(id, result))
}

/// An error of the protocol's, which is a good answer of HTTP's.
pub(super) fn error(id: &str, code: i32, text: &str) -> Response<Body> {
    json(StatusCode::OK, message::error(id, code, text, None))
}

/// A message that was taken and wants no answer.
pub(super) fn accepted() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::ACCEPTED;
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(0));
    response
}

/// A stream of events.
pub(super) fn stream(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    // Proxies further out that gather answers know this sign.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// A refusal with a code of the protocol's, told by the status, too.
pub(super) fn refusal(status: StatusCode, code: i32, hint: &str) -> Failure {
    let problem = match status {
        StatusCode::NOT_FOUND => Problem::NoRoute,
        StatusCode::FORBIDDEN => Problem::Forbidden,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Problem::UnsupportedMedia,
        _ => Problem::Invalid,
    };
    Failure::refused(problem).with_status(status).with_hint(hint).with_rpc_code(code)
}

/// A failure as a JSON-RPC error.
pub(crate) fn failed(id: &str, failure: &Failure) -> Response<Body> {
    let problem = failure.told();
    let code = failure.rpc_code().unwrap_or(match problem {
        Problem::Forbidden | Problem::RateLimited | Problem::ConcurrencyLimited => REFUSED,
        Problem::Invalid | Problem::BadRequest | Problem::BodyTooLarge => INVALID_REQUEST,
        _ => INTERNAL_ERROR,
    });
    let data = format!("{{\"type\":\"urn:tidegate:problem:{}\"}}", problem.slug());
    let text = message::error(id, code, failure.hint().unwrap_or(problem.title()), Some(&data));
    let mut response = json(failure.status(), text);
    failure.add_headers(response.headers_mut());
    response
}
