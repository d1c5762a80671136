//! What bodies are made into: [`steps`] over whole ones and over each of [`events`], by [`patch`]es, as [`xml`], without what a
//! [`mask`] hides, and what that means for the fields that describe them.

pub(crate) mod events;
pub(crate) mod mask;
mod patch;
pub(crate) mod steps;
mod xml;

use http::{HeaderMap, HeaderValue, StatusCode, header};

/// Fields that describe the exact bytes of a body that was.
const OF_THE_BYTES: [&str; 6] =
    ["content-length", "accept-ranges", "content-md5", "digest", "content-digest", "repr-digest"];

/// Whether an answer has no body by its status.
pub(crate) fn is_bodiless(status: StatusCode) -> bool {
    status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Makes fields true of a body that has become another: nothing is said of the bytes that were, and a tag is weak, for it
/// promises the same bytes no more (RFC 9110 §8.8.1).
pub(crate) fn changed(headers: &mut HeaderMap) {
    for name in OF_THE_BYTES {
        headers.remove(name);
    }
    weaken(headers);
}

fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(header::ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/")) else {
        return;
    };
    match HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()) {
        Ok(weak) => headers.insert(header::ETAG, weak),
        Err(_) => headers.remove(header::ETAG),
    };
}
