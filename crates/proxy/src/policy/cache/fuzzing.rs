//! What the cache reads of strangers: fields of requests and of answers. Part of [`crate::fuzzing`].

use std::time::Instant;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use model::policy::cache::SetCookie;

use super::{
    Conditions, Rules, Stored, asked_for,
    entry::selecting,
    freshness::{Asked, Clock},
    store::Entry,
};
use crate::fuzzing::header_lines;

const NOW: u64 = 1_900_000_000;
const BODY: &[u8] = b"0123456789";

/// Header lines as those of an answer and of a request. What is told not to be kept is not; what is given lies within
/// what is kept; and an answer fits the request that it was given to.
pub(crate) fn cache_fields(bytes: &[u8]) {
    let headers = header_lines(bytes);
    let rules = Rules {
        targets: vec![HeaderName::from_static("cdn-cache-control")],
        heuristic: Some((0.1, 3600)),
        default_ttl: 1,
        stale_while_revalidate: 0,
        stale_if_error: 1,
        set_cookie: SetCookie::Strip,
    };
    let _ = asked_for(&headers);
    let Some(terms) = rules.judge(StatusCode::OK, &headers, Asked::default(), NOW) else { return };
    assert!(terms.lifetime <= 1 << 31 || headers.contains_key(header::EXPIRES), "{terms:?}");
    let mut barred = headers.clone();
    barred.append("cdn-cache-control", HeaderValue::from_static("private"));
    assert_eq!(rules.judge(StatusCode::OK, &barred, Asked::default(), NOW), None, "{barred:?}");
    let Some(selecting) = selecting(&headers, &headers, &headers) else { return };
    let now = Instant::now();
    let head = Stored::head(&headers, &terms.barred);
    assert!(!head.contains_key(header::SET_COOKIE) && !head.contains_key(header::CONNECTION));
    let clock = Clock::new(terms.age, now, now);
    let stored = Stored::new(StatusCode::OK, head, Bytes::from_static(BODY), terms, clock, selecting);
    assert!(stored.fits(&headers));
    let answer = Conditions::of(&headers).answer(&stored, &Method::GET, now);
    assert!(matches!(answer.status().as_u16(), 200 | 206 | 304 | 416), "{answer:?}");
    assert!(answer.body().length().is_some_and(|length| length <= BODY.len() as u64));
}
