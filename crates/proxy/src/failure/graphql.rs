//! A failure as GraphQL tells errors (GraphQL over HTTP, §6.4): to whoever has asked for an operation.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, header};

use super::Failure;
use crate::{body::Body, call::Call};

const GRAPHQL: &str = "application/graphql-response+json";

/// The answer to a call whose operations are known or were to be.
pub(crate) fn answer(failure: &Failure, call: &Call) -> Response<Body> {
    let problem = failure.problem();
    let code = match failure.code() {
        Some(code) => code.to_owned(),
        None => problem.slug().to_ascii_uppercase().replace('-', "_"),
    };
    let request_id = String::from_utf8_lossy(call.record.request_id.as_bytes());
    let message = failure.hint().unwrap_or(problem.title());
    let error = serde_json::json!({
        "errors": [{"message": message, "extensions": {"code": code, "requestId": request_id}}]
    });
    let asked = call.record.graphql.as_ref();
    // Whoever asks for several gets an answer to each.
    let text = match asked.filter(|asked| asked.is_batch) {
        Some(asked) => serde_json::Value::Array(vec![error; asked.operations as usize]).to_string(),
        None => error.to_string(),
    };
    let length = text.len();
    let body = if call.head.method == Method::HEAD { Body::Empty } else { Body::Full(Bytes::from(text)) };
    let mut response = Response::new(body);
    *response.status_mut() = failure.status();
    let headers = response.headers_mut();
    let kind = if accepts_own(&call.head.headers) { GRAPHQL } else { "application/json" };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    failure.add_headers(headers);
    if problem == super::Problem::RequestTimeout {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Whether a client names GraphQL's own media type. Those that do not are older than it.
fn accepts_own(headers: &HeaderMap) -> bool {
    let all = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_own = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case(GRAPHQL));
        is_own && !parts.any(|parameter| matches!(parameter, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}
