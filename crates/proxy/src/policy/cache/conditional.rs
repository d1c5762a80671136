//! Answers made of kept ones: whole, as 304 for who has it already, and as the part that was asked for (RFC 9110 §13,
//! §14).

use std::time::Instant;

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use super::{
    control::{date, digits},
    entry::Stored,
};
use crate::{
    body::Body,
    partial::{Ranges, names, ranges},
};

/// Fields of a body that a 304 does not have.
const NOT_IN_304: [&str; 8] = [
    "content-length",
    "content-type",
    "content-encoding",
    "content-language",
    "content-range",
    "content-md5",
    "content-digest",
    "repr-digest",
];

/// What a client has already and which part it wants.
#[derive(Debug, Default, Clone)]
pub(super) struct Conditions {
    /// `If-None-Match`, its lines as one list.
    none_match: Option<Vec<u8>>,
    modified_since: Option<HeaderValue>,
    range: Option<HeaderValue>,
    if_range: Option<HeaderValue>,
}

/// What part of a body is wanted.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Bytes(usize, usize),
    Beyond,
}

impl Conditions {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let lines: Vec<&[u8]> =
            headers.get_all(header::IF_NONE_MATCH).iter().map(HeaderValue::as_bytes).collect();
        let only = |name| headers.get(name).cloned();
        Self {
            none_match: (!lines.is_empty()).then(|| lines.join(&b","[..])),
            modified_since: only(header::IF_MODIFIED_SINCE),
            range: only(header::RANGE),
            if_range: only(header::IF_RANGE),
        }
    }

    /// Whether an upstream would give all of an answer to such a request.
    pub(super) fn want_all(&self) -> bool {
        self.none_match.is_none() && self.modified_since.is_none() && self.range.is_none()
    }

    /// Asks for what a kept answer has become, in the place of what the client wants to know.
    pub(super) fn ask_about(stored: &Stored, headers: &mut HeaderMap) {
        for name in [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::RANGE, header::IF_RANGE] {
            headers.remove(name);
        }
        let pairs =
            [(header::ETAG, header::IF_NONE_MATCH), (header::LAST_MODIFIED, header::IF_MODIFIED_SINCE)];
        for (of_answer, of_request) in pairs {
            if let Some(value) = stored.headers.get(of_answer) {
                headers.insert(of_request, value.clone());
            }
        }
    }

    /// The answer that a client gets from a kept one.
    pub(super) fn answer(&self, stored: &Stored, method: &Method, now: Instant) -> Response<Body> {
        let mut answer = Response::new(Body::Empty);
        *answer.headers_mut() = stored.headers.clone();
        if stored.status == StatusCode::OK && self.has_it(stored) {
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
            for name in NOT_IN_304 {
                answer.headers_mut().remove(name);
            }
        } else {
            self.give(stored, method, &mut answer);
        }
        answer.headers_mut().insert(header::AGE, HeaderValue::from(stored.age(now).as_secs()));
        answer
    }

    fn give(&self, stored: &Stored, method: &Method, answer: &mut Response<Body>) {
        let is_get = *method == Method::GET;
        let part = if is_get && stored.status == StatusCode::OK { self.part(stored) } else { Part::Whole };
        *answer.status_mut() = match part {
            Part::Whole => stored.status,
            Part::Bytes(..) => StatusCode::PARTIAL_CONTENT,
            Part::Beyond => StatusCode::RANGE_NOT_SATISFIABLE,
        };
        let whole = stored.body.len();
        let (body, range) = match part {
            Part::Whole => (stored.body.clone(), None),
            Part::Bytes(first, last) => {
                (stored.body.slice(first..=last), Some(format!("bytes {first}-{last}/{whole}")))
            }
            Part::Beyond => (Default::default(), Some(format!("bytes */{whole}"))),
        };
        if let Some(range) = range.and_then(|range| HeaderValue::try_from(range).ok()) {
            answer.headers_mut().insert(header::CONTENT_RANGE, range);
            answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        if is_get {
            *answer.body_mut() = Body::Full(body);
        }
    }

    /// Whether the client has what is kept (RFC 9110 §13.2.2).
    fn has_it(&self, stored: &Stored) -> bool {
        if let Some(list) = &self.none_match {
            return list.trim_ascii() == b"*"
                || stored.etag().is_some_and(|etag| names(list, etag.as_bytes()));
        }
        let since = self.modified_since.as_ref().and_then(date);
        since.zip(stored.modified()).is_some_and(|(since, modified)| modified <= since)
    }

    /// Which bytes are wanted. More ranges than one, and what is no range, is answered with the whole.
    fn part(&self, stored: &Stored) -> Part {
        let Some(range) = &self.range else { return Part::Whole };
        if stored.body.is_empty() || !self.is_of_this(stored) {
            return Part::Whole;
        }
        match ranges(range.as_bytes(), stored.body.len() as u64, 1) {
            Ranges::Whole => Part::Whole,
            Ranges::Beyond => Part::Beyond,
            Ranges::Parts(parts) => {
                match parts.first().map(|(first, last)| (usize::try_from(*first), usize::try_from(*last))) {
                    Some((Ok(first), Ok(last))) => Part::Bytes(first, last),
                    _ => Part::Whole,
                }
            }
        }
    }

    /// Whether `If-Range` names this very answer: a part of another would be of no use (RFC 9110 §13.1.5).
    fn is_of_this(&self, stored: &Stored) -> bool {
        let Some(wanted) = &self.if_range else { return true };
        let is_tag = wanted.as_bytes().starts_with(b"\"") || wanted.as_bytes().starts_with(b"W/");
        if is_tag {
            return stored.etag() == Some(wanted) && !wanted.as_bytes().starts_with(b"W/");
        }
        stored.headers.get(header::LAST_MODIFIED) == Some(wanted)
    }
}

/// Whether two heads are of the same bytes, as far as both say (RFC 9111 §4.3.5). A kept answer that was changed here,
/// compressed say, has a weak tag and a length of its own: what the upstream says of its bytes is then no other word.
pub(super) fn are_alike(stored: &Stored, newer: &HeaderMap) -> bool {
    let same = |name| match (stored.headers.get(&name), newer.get(&name)) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    };
    let plain = |tag: &HeaderValue| {
        let tag = tag.as_bytes();
        tag.strip_prefix(b"W/").unwrap_or(tag).to_vec()
    };
    let tags = stored.etag().zip(newer.get(header::ETAG));
    let coding = header::CONTENT_ENCODING;
    let is_changed_here = stored.headers.contains_key(&coding) && !newer.contains_key(&coding);
    let length = newer.get(header::CONTENT_LENGTH).and_then(|length| digits(length.as_bytes()));
    tags.is_none_or(|(one, other)| plain(one) == plain(other))
        && same(header::LAST_MODIFIED)
        && (is_changed_here || length.is_none_or(|length| length == stored.body.len() as u64))
}

/// Whether a head is of another answer than the kept one: its strong tag is another. One that is kept as weak, as
/// `compress` makes it, may have been strong when it came, and is compared weakly (RFC 9110 §8.8.3.2).
pub(super) fn is_of_another(stored: &Stored, newer: &HeaderMap) -> bool {
    let (Some(tag), Some(known)) = (newer.get(header::ETAG), stored.etag()) else { return false };
    let known = known.as_bytes();
    match (known.strip_prefix(b"W/"), tag.as_bytes().strip_prefix(b"W/")) {
        (Some(known), tag_as_weak) => known != tag_as_weak.unwrap_or(tag.as_bytes()),
        (None, Some(_)) => false,
        (None, None) => known != tag.as_bytes(),
    }
}
