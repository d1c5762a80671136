//! One kept answer: its head as it is given again, its whole body, and what it was an answer to.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{
    control::date,
    freshness::{Clock, Terms},
    key::combined,
    store::{Entry, Weight},
};

/// Fields of one connection or of one client's way to it, which are not kept (RFC 9111 §3.1). Those of one hop are
/// removed from every answer before; these may be left, or set on the way.
const NOT_KEPT: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Fields that describe the kept body: what a 304 says of them is about another (RFC 9111 §3.2, RFC 9110 §8.6).
const OF_THE_BODY: [&str; 9] = [
    "content-encoding",
    "content-length",
    "content-md5",
    "content-range",
    "digest",
    "content-digest",
    "repr-digest",
    "etag",
    "trailer",
];

/// What an answer takes beside its bytes, roughly: tables, pointers, allocations.
const OVERHEAD_BYTES: usize = 512;
/// What a field takes beside its bytes.
const FIELD_BYTES: usize = 64;

/// What a request has to have in a field that `Vary` names.
pub(super) type Selecting = (HeaderName, Option<Box<[u8]>>);

/// A kept answer.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) terms: Terms,
    clock: Clock,
    selecting: Vec<Selecting>,
    /// What it is purged by, beside its address.
    tags: Vec<Box<str>>,
    /// Somebody wants it asked about before it is given again.
    spent: AtomicBool,
}

impl Stored {
    pub(super) fn new(
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
        terms: Terms,
        clock: Clock,
        selecting: Vec<Selecting>,
    ) -> Self {
        let tags = tags(&headers);
        Self { status, headers, body, terms, clock, selecting, tags, spent: AtomicBool::new(false) }
    }

    /// Has it asked about before it is given again if this holds.
    pub(super) fn spent_if(self, is_spent: bool) -> Self {
        Self { spent: AtomicBool::new(is_spent), ..self }
    }

    /// The head of an answer as it is kept.
    pub(super) fn head(headers: &HeaderMap, barred: &[HeaderName]) -> HeaderMap {
        let mut kept = HeaderMap::with_capacity(headers.len());
        let is_kept = |name: &HeaderName| {
            !NOT_KEPT.contains(&name.as_str()) && !barred.contains(name) && *name != header::AGE
        };
        for (name, value) in headers.iter().filter(|(name, _)| is_kept(name)) {
            // A copy: what came is a piece of a buffer that would stay with it.
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                kept.append(name.clone(), value);
            }
        }
        if !kept.contains_key(header::DATE) {
            kept.insert(header::DATE, crate::date::now());
        }
        kept
    }

    /// The same answer under a newer head, which [`Self::merged`] has made.
    pub(super) fn freshened(
        &self,
        headers: HeaderMap,
        terms: Terms,
        clock: Clock,
        selecting: Vec<Selecting>,
    ) -> Self {
        Self::new(self.status, headers, self.body.clone(), terms, clock, selecting)
    }

    /// Its head with the fields of a newer one (RFC 9111 §3.2), but for those that describe the body and those that are
    /// barred, whichever of the two has them.
    pub(super) fn merged(&self, newer: &HeaderMap, barred: &[HeaderName]) -> HeaderMap {
        let mut headers = self.headers.clone();
        for name in barred {
            headers.remove(name);
        }
        let newer = Self::head(newer, barred);
        for name in newer.keys().filter(|name| !OF_THE_BODY.contains(&name.as_str())) {
            headers.remove(name);
            for value in newer.get_all(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        headers
    }

    /// What a request had to have to be given it.
    pub(super) fn selecting(&self) -> &[Selecting] {
        &self.selecting
    }

    /// How old it is.
    pub(super) fn age(&self, now: Instant) -> Duration {
        self.clock.age(now)
    }

    /// How long it has been stale; none while it is fresh.
    pub(super) fn staleness(&self, now: Instant) -> Option<Duration> {
        let lifetime = Duration::from_secs(self.terms.lifetime);
        if self.spent.load(Ordering::Relaxed) {
            return Some(self.age(now).saturating_sub(lifetime));
        }
        let age = self.age(now);
        // Ages are told in whole seconds, and so is freshness.
        (age.as_secs() >= self.terms.lifetime).then(|| age.saturating_sub(lifetime))
    }

    /// For how long it may be given from now on, fresh or stale, without being asked about first.
    pub(super) fn usefulness(&self, now: Instant) -> Duration {
        let terms = &self.terms;
        if terms.no_cache || self.is_spent() {
            return Duration::ZERO;
        }
        let stale =
            if terms.must_revalidate { 0 } else { terms.stale_while_revalidate.max(terms.stale_if_error) };
        Duration::from_secs(terms.lifetime.saturating_add(stale)).saturating_sub(self.age(now))
    }

    /// Whether somebody wants it asked about before it is given again.
    pub(super) fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed)
    }

    /// The tags that it is purged by.
    pub(super) fn tags(&self) -> &[Box<str>] {
        &self.tags
    }

    pub(super) fn etag(&self) -> Option<&HeaderValue> {
        self.headers.get(header::ETAG)
    }

    /// Whether it can be asked about.
    pub(super) fn has_validator(&self) -> bool {
        self.etag().is_some() || self.headers.contains_key(header::LAST_MODIFIED)
    }

    /// When it was last changed, as far as it says; when it was given, otherwise (RFC 9111 §4.3.2).
    pub(super) fn modified(&self) -> Option<u64> {
        let of = |name| self.headers.get(name).and_then(date);
        of(header::LAST_MODIFIED).or_else(|| of(header::DATE))
    }
}

impl Entry for Stored {
    const KEYS_COUNT_FOR: usize = 0;

    fn fits(&self, request: &HeaderMap) -> bool {
        fits(&self.selecting, request)
    }

    fn replaces(&self, other: &Self) -> bool {
        self.selecting == other.selecting
    }

    fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|known| **known == *tag)
    }

    fn spend(&self) {
        self.spent.store(true, Ordering::Relaxed);
    }

    /// About how much memory it takes.
    fn weight(&self) -> Weight {
        let fields: usize =
            self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES).sum();
        [self.body.len() + fields + weight_beside(&self.selecting, &self.tags) + OVERHEAD_BYTES, 0]
    }
}

/// Whether an answer that was selected so would be the same for this request.
pub(super) fn fits(selecting: &[Selecting], request: &HeaderMap) -> bool {
    selecting.iter().all(|(name, wanted)| selected(request, name) == *wanted)
}

/// About how much memory selecting fields and tags take.
pub(super) fn weight_beside(selecting: &[Selecting], tags: &[Box<str>]) -> usize {
    let selecting =
        selecting.iter().map(|(_, value)| value.as_ref().map_or(0, |value| value.len()) + FIELD_BYTES);
    selecting.sum::<usize>() + tags.iter().map(|tag| tag.len() + 16).sum::<usize>()
}

/// A request's value of a field that `Vary` names.
pub(super) fn selected(request: &HeaderMap, name: &HeaderName) -> Option<Box<[u8]>> {
    let mut value = Vec::new();
    combined(request, name, &mut value).then(|| value.into_boxed_slice())
}

/// What a request has in the fields that an answer's `Vary` names. None when one of them was another when the request
/// went out: then whoever asks next cannot be compared.
pub(super) fn selecting(answer: &HeaderMap, asked: &HeaderMap, sent: &HeaderMap) -> Option<Vec<Selecting>> {
    let mut found: Vec<Selecting> = Vec::new();
    for line in answer.get_all(header::VARY) {
        for name in line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if name.is_empty() {
                continue;
            }
            let name = HeaderName::from_bytes(name).ok()?;
            let value = selected(asked, &name);
            if value != selected(sent, &name) {
                return None;
            }
            if !found.iter().any(|(known, _)| *known == name) {
                found.push((name, value));
            }
        }
    }
    found.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
    Some(found)
}

/// `Surrogate-Key` parts its tags by spaces, `Cache-Tag` by commas.
pub(super) fn tags(headers: &HeaderMap) -> Vec<Box<str>> {
    /// More say more about an upstream's fault than about the answer. (`shared/common.lua` knows the number.)
    const TAGS_MAX: usize = 1_000;
    let lines = |name: &'static str| headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    let keys = lines("surrogate-key").flat_map(|line| line.split_ascii_whitespace());
    let tags = lines("cache-tag").flat_map(|line| line.split(',').map(str::trim));
    keys.chain(tags).filter(|tag| !tag.is_empty()).take(TAGS_MAX).map(Into::into).collect()
}
