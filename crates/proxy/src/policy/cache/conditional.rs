//! Answers made of kept ones: whole, as 304 for who has it already, and as the part that was asked for (RFC 9110 §13,
//! §14).

use std::time::Instant;

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use super::{
    control::{date, digits},
    entry::Stored,
};
use crate::body::Body;

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

/// Numbers of a range never have more digits than those of any body.
const LENGTH_DIGITS_MAX: usize = 19;

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
        part(range.as_bytes(), stored.body.len())
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

fn part(range: &[u8], length: usize) -> Part {
    let number = |text: &[u8]| -> Option<usize> {
        let text = text.trim_ascii();
        if text.len() > LENGTH_DIGITS_MAX || text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
            return None;
        }
        std::str::from_utf8(text).ok()?.parse().ok()
    };
    let Some((unit, spec)) = range.split_at_checked(6) else { return Part::Whole };
    if !unit.eq_ignore_ascii_case(b"bytes=") || spec.contains(&b',') {
        return Part::Whole;
    }
    let Some(dash) = spec.iter().position(|byte| *byte == b'-') else { return Part::Whole };
    let (first, last) = (spec[..dash].trim_ascii(), spec[dash + 1..].trim_ascii());
    if first.is_empty() {
        return match number(last) {
            Some(0) => Part::Beyond,
            Some(count) => Part::Bytes(length.saturating_sub(count), length - 1),
            None => Part::Whole,
        };
    }
    let end = if last.is_empty() { Some(usize::MAX) } else { number(last) };
    match (number(first), end) {
        (Some(first), Some(end)) if end < first => Part::Whole,
        (Some(first), Some(_)) if first >= length => Part::Beyond,
        (Some(first), Some(end)) => Part::Bytes(first, end.min(length - 1)),
        _ => Part::Whole,
    }
}

/// Whether a list of tags names this one, be it weak or not (RFC 9110 §8.8.3.2).
fn names(list: &[u8], etag: &[u8]) -> bool {
    let plain = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
    let wanted = plain(etag);
    let mut rest = list;
    while !rest.is_empty() {
        let begin = rest.trim_ascii_start();
        let quote = begin.iter().position(|byte| *byte == b'"');
        let comma = begin.iter().position(|byte| *byte == b',');
        // A tag in quotes may hold commas.
        let end = match (quote, comma) {
            (Some(open), comma) if comma.is_none_or(|comma| open < comma) => {
                let close = begin[open + 1..].iter().position(|byte| *byte == b'"');
                let close = close.map_or(begin.len(), |close| open + 1 + close + 1);
                let comma = begin.get(close..).unwrap_or_default().iter().position(|byte| *byte == b',');
                comma.map_or(begin.len(), |comma| close + comma)
            }
            (_, comma) => comma.unwrap_or(begin.len()),
        };
        if plain(begin[..end].trim_ascii()) == wanted {
            return true;
        }
        rest = begin.get(end + 1..).unwrap_or_default();
    }
    false
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_cut_to_what_there_is() {
        for (range, want) in [
            ("bytes=0-1", Part::Bytes(0, 1)),
            ("Bytes=1-", Part::Bytes(1, 9)),
            ("bytes=-1", Part::Bytes(9, 9)),
            ("bytes=-100", Part::Bytes(0, 9)),
            ("bytes=5-100", Part::Bytes(5, 9)),
            ("bytes=10-", Part::Beyond),
            ("bytes=-0", Part::Beyond),
            ("bytes=5-2", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("items=0-1", Part::Whole),
            ("bytes=", Part::Whole),
            ("bytes=99999999999999999999-", Part::Whole),
        ] {
            assert_eq!(part(range.as_bytes(), 10), want, "{range}");
        }
    }

    #[test]
    fn a_tag_is_found_in_a_list() {
        for (list, etag, want) in [
            ("\"a\"", "\"a\"", true),
            ("W/\"a\"", "\"a\"", true),
            ("\"b\", \"a\" , \"c\"", "W/\"a\"", true),
            ("\"b, \\\", a\"", "\"a\"", false),
            ("\"x,a\"", "\"x,a\"", true),
            ("\"x,a\"", "a", false),
            ("a", "a", true),
            ("a", "\"a\"", false),
            ("\"a", "\"b\"", false),
            ("", "\"a\"", false),
        ] {
            assert_eq!(names(list.as_bytes(), etag.as_bytes()), want, "{list} {etag}");
        }
    }

    proptest! {
        /// Whatever is asked for, what is given lies within the body.
        #[test]
        fn parts_lie_within(range in "[bytes=0-9, -]{0,20}", length in 1_usize..50) {
            if let Part::Bytes(first, last) = part(range.as_bytes(), length) {
                prop_assert!(first <= last && last < length);
            }
        }

        #[test]
        fn any_list_is_read(list in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = names(&list, b"\"a\"");
            let _ = part(&list, 7);
        }
    }
}
