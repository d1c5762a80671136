//! Calls as components are shown them, and what they change, taken back.
//!
//! Heads are lent, not copied: while a component has one, the call has none.

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use wasm::{Request, Subject};

use crate::{
    body::Body,
    call::Call,
    content,
    failure::{Failure, Problem},
    guard::path::is_canonical,
    policy::credentials::set_target,
};

/// A call with its request.
pub(super) fn request(call: &mut Call, body: Option<Bytes>) -> Subject {
    let route = call.route.and_then(|route| call.plan.routes.get(route));
    Subject {
        request: Request {
            method: call.head.method.clone(),
            uri: call.head.uri.clone(),
            headers: std::mem::take(&mut call.head.headers),
            body,
            has_new_body: false,
            is_tunnel: call.body_is_tunnel(),
        },
        response: None,
        client: call.client,
        consumer: call.consumer.as_ref().map(|consumer| consumer.name.clone()),
        route: route.map(|route| route.name.clone()),
        id: call.record.request_id.clone(),
    }
}

/// The same with its answer.
pub(super) fn response(call: &mut Call, answer: &mut Response<Body>, body: Option<Bytes>) -> Subject {
    let mut subject = request(call, None);
    subject.response = Some(wasm::Response {
        status: answer.status(),
        headers: std::mem::take(answer.headers_mut()),
        body,
        has_new_body: false,
    });
    subject
}

/// Takes back a request. A path that is not in its normal form is the client's mistake as much as the component's: it does not go on.
pub(super) fn take_back(call: &mut Call, subject: Subject, body: &mut Body) -> Result<(), Failure> {
    let Request { method, uri, headers, body: shown, has_new_body, is_tunnel: _ } = subject.request;
    call.head.headers = headers;
    call.head.method = method;
    if has_new_body {
        let bytes = shown.unwrap_or_default();
        call.head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        call.head.headers.remove(header::EXPECT);
        call.expects_continue = false;
        *body = if bytes.is_empty() { Body::Empty } else { Body::Full(bytes) };
    }
    if uri == call.head.uri {
        return Ok(());
    }
    let route = call.route.and_then(|route| call.plan.routes.get(route));
    let listener = &call.listener().path;
    let rules = route.map_or_else(|| listener.clone(), |route| route.path.over(listener));
    let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    if is_canonical(uri.path(), &rules) && set_target(call, target) {
        return Ok(());
    }
    Err(Failure::refused(Problem::BadPath)
        .with_hint("the path is not in normal form once a plugin has changed it")
        .with_detail(format!("the changed path is `{}`", uri.path().escape_debug())))
}

/// Takes back an answer, and the request that it is to.
pub(super) fn take_back_answer(call: &mut Call, subject: Subject, answer: &mut Response<Body>) {
    call.head.headers = subject.request.headers;
    let Some(shown) = subject.response else { return };
    *answer.status_mut() = shown.status;
    *answer.headers_mut() = shown.headers;
    if content::is_bodiless(shown.status) {
        // A status without a body, which the answer may have had before. A 304 alone tells a length: that of a 200.
        if !answer.body().is_empty() {
            *answer.body_mut() = Body::Empty;
        }
        if shown.has_new_body || shown.status != StatusCode::NOT_MODIFIED {
            answer.headers_mut().remove(header::CONTENT_LENGTH);
        }
    } else if shown.has_new_body {
        let bytes = shown.body.unwrap_or_default();
        content::changed(answer.headers_mut());
        answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        let is_empty = bytes.is_empty() || call.head.method == Method::HEAD;
        *answer.body_mut() = if is_empty { Body::Empty } else { Body::Full(bytes) };
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::policy::testing::call;

    #[test]
    fn a_status_without_a_body_has_no_length_of_the_one_that_was() {
        for (status, new_body, length) in [
            (StatusCode::OK, false, Some("5")),
            (StatusCode::OK, true, Some("3")),
            (StatusCode::NO_CONTENT, false, None),
            (StatusCode::RESET_CONTENT, false, None),
            (StatusCode::NOT_MODIFIED, false, Some("5")),
            (StatusCode::NOT_MODIFIED, true, None),
        ] {
            let mut call = call("GET", "/");
            let mut answer = Response::new(Body::Full(Bytes::from_static(b"hello")));
            answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("5"));
            let mut subject = response(&mut call, &mut answer, None);
            let shown = subject.response.as_mut().expect("an answer");
            shown.status = status;
            if new_body {
                (shown.body, shown.has_new_body) = (Some(Bytes::from_static(b"new")), true);
            }
            take_back_answer(&mut call, subject, &mut answer);
            let told = answer.headers().get(header::CONTENT_LENGTH).map(|told| told.to_str().expect("text"));
            assert_eq!((answer.status(), told), (status, length), "{new_body}");
            assert_eq!(answer.body().is_empty(), content::is_bodiless(status));
        }
    }
}
