//! What the cache did with a request, for `Cache-Status` (RFC 9211), the record and the metrics.

use std::{
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering},
};

use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::control::NAME;
use crate::body::Body;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Given as it is kept.
    Hit,
    /// Given though it was stale: a new one is being fetched, or the client takes it so.
    Stale,
    /// Given instead of an error.
    StaleIfError,
    /// Given after its origin had confirmed it.
    Revalidated,
    /// What was kept was stale, and a new answer came.
    Expired,
    /// Nothing that fits was kept.
    Miss,
    /// The cache had no part in it.
    Bypass,
    /// Only a kept answer was wanted, and there is none.
    Refused,
}

impl Outcome {
    const ALL: [Self; 8] = [
        Self::Hit,
        Self::Stale,
        Self::StaleIfError,
        Self::Revalidated,
        Self::Expired,
        Self::Miss,
        Self::Bypass,
        Self::Refused,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::StaleIfError => "stale-if-error",
            Self::Revalidated => "revalidated",
            Self::Expired => "expired",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
            Self::Refused => "refused",
        }
    }

    fn place(self) -> usize {
        Self::ALL.iter().position(|known| *known == self).unwrap_or(0)
    }
}

/// Why a request went on to the upstream: the words of RFC 9211 §2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Forward {
    Bypass,
    Method,
    UriMiss,
    VaryMiss,
    Stale,
    Request,
}

impl Forward {
    fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Stale => "stale",
            Self::Request => "request",
        }
    }
}

/// What `Cache-Status` says.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) is_hit: bool,
    pub(super) forward: Option<Forward>,
    pub(super) forward_status: Option<StatusCode>,
    /// Seconds for which the answer is still fresh; below zero when it is stale.
    pub(super) ttl: Option<i64>,
    pub(super) is_stored: bool,
    pub(super) is_collapsed: bool,
    pub(super) detail: Option<&'static str>,
}

impl Account {
    /// Adds it to what caches before this one said.
    pub(super) fn write(&self, answer: &mut Response<Body>) {
        let mut text = String::from(NAME);
        if self.is_hit {
            text.push_str("; hit");
        }
        if let Some(forward) = self.forward {
            let _ = write!(text, "; fwd={}", forward.as_str());
        }
        if let Some(status) = self.forward_status {
            let _ = write!(text, "; fwd-status={}", status.as_u16());
        }
        if let Some(ttl) = self.ttl {
            let _ = write!(text, "; ttl={ttl}");
        }
        if self.is_stored {
            text.push_str("; stored");
        }
        if self.is_collapsed {
            text.push_str("; collapsed");
        }
        if let Some(detail) = self.detail {
            let _ = write!(text, "; detail={detail}");
        }
        if let Ok(value) = HeaderValue::try_from(text) {
            answer.headers_mut().append(CACHE_STATUS, value);
        }
    }
}

/// How often each came of requests.
#[derive(Default)]
pub(super) struct Counts {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    pub(super) bytes_given: AtomicU64,
    pub(super) refreshes: AtomicU64,
    pub(super) failed_refreshes: AtomicU64,
    pub(super) collapsed: AtomicU64,
    pub(super) purged: AtomicU64,
}

impl Counts {
    pub(super) fn note(&self, outcome: Outcome) {
        if let Some(count) = self.outcomes.get(outcome.place()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Each outcome's name and number.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Outcome::ALL
            .iter()
            .zip(&self.outcomes)
            .map(|(outcome, count)| (outcome.as_str(), count.load(Ordering::Relaxed)))
    }
}
