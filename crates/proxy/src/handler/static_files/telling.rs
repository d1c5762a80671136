//! The answer for a file that was found: validators, conditions and parts (RFC 9110 §13, §14).

use std::{
    fs::{File, Metadata},
    io,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use super::{
    below::Wait,
    flow::{self, Piece},
};
use crate::{
    date,
    partial::{Ranges, names, names_strongly, ranges},
    policy::coding::Coding,
};

/// Files of so many bytes are read as they are opened.
const SMALL: u64 = 64 * 1024;
/// Parts that are given in one answer.
const PARTS_MAX: usize = 16;

/// What an answer is made of.
pub(super) enum Content {
    Nothing,
    Whole(Bytes),
    Flow(File, Vec<Piece>, Wait),
}

/// A file, in one of its forms.
pub(super) struct Form {
    pub(super) file: File,
    pub(super) metadata: Metadata,
    pub(super) coding: Option<Coding>,
    pub(super) kind: HeaderValue,
    pub(super) wait: Wait,
}

/// Seconds since 1970 of a change that does not lie ahead.
fn modified(metadata: &Metadata) -> Option<u64> {
    let modified = metadata.modified().ok()?.min(SystemTime::now());
    modified.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// The strong tag of a form: another time, size or coding is another tag.
fn etag(form: &Form) -> Option<HeaderValue> {
    let since = form.metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let coding = form.coding.map(|coding| format!("-{}", coding.name())).unwrap_or_default();
    HeaderValue::try_from(format!("\"{:x}-{:x}{coding}\"", since.as_nanos(), form.metadata.len())).ok()
}

/// The answer to a request, with the status that a file is to have.
pub(super) fn tell(
    form: Form,
    status: StatusCode,
    method: &Method,
    asked: &HeaderMap,
    mut headers: HeaderMap,
) -> io::Result<Response<Content>> {
    let (tag, since) = (etag(&form), modified(&form.metadata));
    if let Some(tag) = &tag {
        headers.insert(header::ETAG, tag.clone());
    }
    let date = since.and_then(|since| HeaderValue::try_from(date::format(since)).ok());
    if let Some(date) = &date {
        headers.insert(header::LAST_MODIFIED, date.clone());
    }
    let is_found = status == StatusCode::OK;
    match verdict(asked, tag.as_ref(), since).filter(|_| is_found) {
        Some(status) => {
            if status != StatusCode::NOT_MODIFIED {
                headers.remove(header::CACHE_CONTROL);
            }
            Ok(answer(status, headers, Content::Nothing))
        }
        None => {
            headers.insert(header::CONTENT_TYPE, form.kind.clone());
            if let Some(coding) = form.coding {
                headers.insert(header::CONTENT_ENCODING, coding.value());
            }
            let range = asked.get(header::RANGE).filter(|_| is_found && *method == Method::GET);
            let range = range.filter(|_| is_of_this(asked, tag.as_ref(), date.as_ref()));
            give(form, status, method, range, headers)
        }
    }
}

fn answer(status: StatusCode, headers: HeaderMap, content: Content) -> Response<Content> {
    let mut response = Response::new(content);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// What the conditions of a request come to, in the order of RFC 9110 §13.2.2.
fn verdict(asked: &HeaderMap, tag: Option<&HeaderValue>, since: Option<u64>) -> Option<StatusCode> {
    let list = |name| {
        let lines: Vec<&[u8]> = asked.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        (!lines.is_empty()).then(|| lines.join(&b","[..]))
    };
    let named = |list: &[u8], by: fn(&[u8], &[u8]) -> bool| {
        list.trim_ascii() == b"*" || tag.is_some_and(|tag| by(list, tag.as_bytes()))
    };
    let time = |name: header::HeaderName| {
        let text = asked.get(name)?.to_str().ok()?;
        let time = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(time.as_secs())
    };
    let is_changed = match list(header::IF_MATCH) {
        Some(list) => !named(&list, names_strongly),
        None => time(header::IF_UNMODIFIED_SINCE).zip(since).is_some_and(|(then, since)| since > then),
    };
    if is_changed {
        return Some(StatusCode::PRECONDITION_FAILED);
    }
    let is_known = match list(header::IF_NONE_MATCH) {
        Some(list) => named(&list, names),
        None => time(header::IF_MODIFIED_SINCE).zip(since).is_some_and(|(then, since)| since <= then),
    };
    is_known.then_some(StatusCode::NOT_MODIFIED)
}

/// Whether `If-Range` names this very form: a part of another would be of no use (RFC 9110 §13.1.5).
fn is_of_this(asked: &HeaderMap, tag: Option<&HeaderValue>, date: Option<&HeaderValue>) -> bool {
    let Some(wanted) = asked.get(header::IF_RANGE) else { return true };
    Some(wanted) == tag || Some(wanted) == date
}

/// The bytes that are wanted.
fn give(
    form: Form,
    status: StatusCode,
    method: &Method,
    range: Option<&HeaderValue>,
    mut headers: HeaderMap,
) -> io::Result<Response<Content>> {
    let whole = form.metadata.len();
    let wanted = range.map_or(Ranges::Whole, |range| ranges(range.as_bytes(), whole, PARTS_MAX));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let (status, pieces) = match wanted {
        Ranges::Whole => (status, vec![Piece::Span(0, whole)]),
        Ranges::Beyond => {
            headers.remove(header::CONTENT_TYPE);
            headers.remove(header::CONTENT_ENCODING);
            headers.remove(header::CACHE_CONTROL);
            put(&mut headers, header::CONTENT_RANGE, format!("bytes */{whole}"));
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
            return Ok(answer(StatusCode::RANGE_NOT_SATISFIABLE, headers, Content::Nothing));
        }
        Ranges::Parts(parts) => match parts.as_slice() {
            [(first, last)] => {
                put(&mut headers, header::CONTENT_RANGE, format!("bytes {first}-{last}/{whole}"));
                (StatusCode::PARTIAL_CONTENT, vec![Piece::Span(*first, last + 1)])
            }
            // Parts that overlap could make much of a little.
            several if sum(several).is_none_or(|sum| sum > whole) => (status, vec![Piece::Span(0, whole)]),
            several => (StatusCode::PARTIAL_CONTENT, parted(several, whole, &form.kind, &mut headers)),
        },
    };
    let length = flow::length(&pieces);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    let content = match pieces.as_slice() {
        _ if *method == Method::HEAD || length == 0 => Content::Nothing,
        [Piece::Span(from, to)] if length <= SMALL => {
            Content::Whole(flow::read(&form.file, *from, *to, form.wait)?)
        }
        _ => Content::Flow(form.file, pieces, form.wait),
    };
    Ok(answer(status, headers, content))
}

/// Bytes of all parts; nothing when nobody could count them.
fn sum(parts: &[(u64, u64)]) -> Option<u64> {
    parts.iter().try_fold(0_u64, |sum, (first, last)| sum.checked_add(last - first)?.checked_add(1))
}

/// Several parts as one body (RFC 9110 §14.6).
fn parted(parts: &[(u64, u64)], whole: u64, kind: &HeaderValue, headers: &mut HeaderMap) -> Vec<Piece> {
    // Nobody can write it into a file beforehand.
    let bound = format!("{:016x}{:016x}", rand(), rand());
    let mut pieces = Vec::with_capacity(parts.len() * 2 + 1);
    for (number, (first, last)) in parts.iter().enumerate() {
        let mut text = Vec::new();
        text.extend_from_slice(if number == 0 { b"--" } else { b"\r\n--" });
        text.extend_from_slice(bound.as_bytes());
        text.extend_from_slice(b"\r\nContent-Type: ");
        text.extend_from_slice(kind.as_bytes());
        text.extend_from_slice(format!("\r\nContent-Range: bytes {first}-{last}/{whole}\r\n\r\n").as_bytes());
        pieces.push(Piece::Text(text.into()));
        pieces.push(Piece::Span(*first, last + 1));
    }
    pieces.push(Piece::Text(format!("\r\n--{bound}--\r\n").into()));
    put(headers, header::CONTENT_TYPE, format!("multipart/byteranges; boundary={bound}"));
    pieces
}

fn put(headers: &mut HeaderMap, name: header::HeaderName, text: String) {
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(name, value);
    }
}

/// A random number.
fn rand() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}
