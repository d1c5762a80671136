//! What a caller is told when something fails: an error object of its own dialect, never a problem document.

use ai::{
    canon::{Error, ErrorKind},
    dialect::Dialect,
};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::{
    body::Body,
    failure::{Failure, Problem},
};

/// The code of a prompt that is longer than any context.
const TOO_LONG: &str = "context_length_exceeded";

/// An error as a response.
pub(super) fn response(dialect: Dialect, error: &Error) -> Response<Body> {
    let text = dialect.write_error(error);
    let length = text.len();
    let mut response = Response::new(Body::Full(Bytes::from(text)));
    *response.status_mut() = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(after) = error.retry_after {
        headers
            .insert(header::RETRY_AFTER, HeaderValue::from(after.as_millis().div_ceil(1000).max(1) as u64));
    }
    response
}

/// A failure of the gateway's own, in a caller's dialect.
pub(crate) fn failed(dialect: Dialect, failure: &Failure) -> Response<Body> {
    let mut error = error_of(failure);
    // Elsewhere the kind of an error is all that there is.
    if matches!(dialect, Dialect::OpenAiChat | Dialect::OpenAiResponses) {
        error.code = failure.code().map(str::to_owned);
    }
    let mut response = response(dialect, &error);
    failure.add_headers(response.headers_mut());
    response
}

fn error_of(failure: &Failure) -> Error {
    let problem = failure.told();
    let kind = match problem {
        _ if failure.code() == Some(TOO_LONG) => ErrorKind::ContextLength,
        Problem::Unauthenticated => ErrorKind::Authentication,
        Problem::Forbidden => ErrorKind::Permission,
        Problem::NoRoute => ErrorKind::NotFound,
        Problem::BodyTooLarge => ErrorKind::TooLarge,
        Problem::RateLimited | Problem::ConcurrencyLimited => ErrorKind::RateLimited,
        Problem::NoHealthyEndpoint | Problem::CircuitOpen | Problem::BulkheadFull | Problem::Unavailable => {
            ErrorKind::Overloaded
        }
        Problem::BudgetSpent => ErrorKind::Quota,
        Problem::UpstreamTimeout | Problem::RequestTimeout => ErrorKind::Timeout,
        other => ErrorKind::of_status(other.status().as_u16()),
    };
    let message = failure.hint().unwrap_or(problem.title());
    Error { status: failure.status().as_u16(), ..Error::new(kind, message) }
}

/// An error of the dialects' as a failure of the caller's, for the record and the one way out.
pub(super) fn refused(error: Error) -> Failure {
    let problem = match error.kind {
        ErrorKind::NotFound => Problem::NoRoute,
        ErrorKind::TooLarge => Problem::BodyTooLarge,
        _ => Problem::Invalid,
    };
    let failure = match error.kind {
        ErrorKind::ContextLength => Failure::refused(problem).with_code(TOO_LONG),
        _ => Failure::refused(problem),
    };
    failure
        .with_status(StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST))
        .with_hint(error.message)
}
