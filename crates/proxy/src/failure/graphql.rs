//! A failure as GraphQL tells errors (GraphQL over HTTP, §6.4): to whoever has asked for an operation.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, header};

use super::Failure;
use crate::{body::Body, call::Call};

const GRAPHQL: &str = "application/graphql-response+json";
const JSON: &str = "application/json";

/// The answer to a call whose operations are known or were to be.
pub(crate) fn answer(failure: &Failure, call: &Call) -> Response<Body> {
    let problem = failure.told();
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
    // An error without data that is no failure is one of Apollo's protocol, which is older than that type.
    let is_own = accepts_own(&call.head.headers) && !failure.status().is_success();
    let kind = if is_own { GRAPHQL } else { JSON };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    failure.add_headers(headers);
    if problem == super::Problem::RequestTimeout {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Whether a client names GraphQL's own media type, and would not rather have JSON. Those that do not are older than it.
fn accepts_own(headers: &HeaderMap) -> bool {
    let own = weight(headers, GRAPHQL).unwrap_or(0.0);
    own > 0.0 && own >= weight(headers, JSON).unwrap_or(0.0)
}

/// The weight that `Accept` gives to a media type by its name.
fn weight(headers: &HeaderMap, wanted: &str) -> Option<f32> {
    let all = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(',')).find_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case(wanted) {
            return None;
        }
        let given = parts.find_map(|parameter| parameter.strip_prefix("q=").or(parameter.strip_prefix("Q=")));
        Some(given.map_or(1.0, |text| text.trim().parse().unwrap_or(0.0)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_media_type_is_the_one_that_a_client_would_have() {
        for (accept, is_own) in [
            ("", false),
            ("*/*", false),
            ("application/json", false),
            ("application/graphql-response+json", true),
            ("application/graphql-response+json, application/json;q=0.9", true),
            ("application/json, Application/GraphQL-Response+JSON", true),
            ("application/json, application/graphql-response+json;q=0.1", false),
            ("application/json;q=0.05, application/graphql-response+json; q=0.1", true),
            ("application/graphql-response+json;q=0", false),
            ("application/graphql-response+json;q=0.000, */*", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(accepts_own(&headers), is_own, "{accept}");
        }
    }
}
