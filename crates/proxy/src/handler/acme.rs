//! Answers authorities that look over HTTP whether names are ours (RFC 8555 §8.3), before any route, policy and redirect.

use http::{HeaderValue, Method, Response, header};

use crate::{body::Body, call::Call, listener::Listener, tls::managed};

/// Where they look.
const PATH: &str = "/.well-known/acme-challenge/";

/// The answer to an authority that looks for something that was laid out for it. Whatever else is asked for there is an
/// upstream's business, which may have an authority of its own.
pub(crate) fn answer(call: &Call, listener: &Listener) -> Option<Response<Body>> {
    let token = call.head.uri.path().strip_prefix(PATH)?;
    if listener.tls.is_some() || !matches!(call.head.method, Method::GET | Method::HEAD) {
        return None;
    }
    let answer = managed::http_answer(token)?;
    let mut response = Response::new(Body::Full(bytes::Bytes::copy_from_slice(answer.as_bytes())));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(response)
}
