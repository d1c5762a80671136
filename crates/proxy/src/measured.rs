//! The benches' door to steps that are private otherwise. Nothing else uses it, and it promises no stability.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue};
use model::resource::path_rules::PathRules;

use crate::{
    guard::{Present, headers, path},
    listener::forwarded,
};

/// Cleans a request's headers; `protected` are names that policies read or set.
pub fn clean_request(headers: &mut HeaderMap, protected: &[HeaderName]) {
    let present = Present::of(headers);
    headers::clean(headers, present, protected);
}

/// Cleans the headers of an upstream's answer.
pub fn clean_answer(headers: &mut HeaderMap) {
    headers::clean_answer(headers);
}

/// States anew who the client is, as for a peer that is not trusted, over cleartext.
pub fn state_client(headers: &mut HeaderMap, peer: &HeaderValue, host: &HeaderValue) {
    let present = Present::of(headers);
    forwarded::rewrite(headers, present, peer, false, false, Some(host));
}

/// The canonical form of a path under the default rules; none when it is refused.
pub fn canonical_path(raw: &str) -> Option<Cow<'_, str>> {
    path::normalise(raw, &PathRules::default()).ok()
}
