//! Takes note of the targets and keys that a call went on from: who it was, why, and how long it took.

use std::time::Instant;

use http::StatusCode;
use model::TryRecord;

use crate::{call::Call, failure::Failure};

/// Why a target is left whose answer a filter cut.
const FILTERED: &str = "content-filter";
/// Why one is left that answered with a status that another may do better than.
pub(super) const STATUS: &str = "status";

/// Why a target is left whose answer was looked through, or could not be.
pub(super) fn why(failure: Option<Failure>, status: StatusCode) -> &'static str {
    match failure {
        Some(failure) => failure.problem().slug(),
        None if status.is_success() => FILTERED,
        None => STATUS,
    }
}

/// How a call stood before a target was asked.
pub(super) struct Mark {
    began: Instant,
    attempts: u16,
    tries: usize,
}

impl Mark {
    /// Before the next target is asked.
    pub(super) fn set(call: &mut Call) -> Self {
        call.record.endpoint = None;
        let record = &call.record;
        Self { began: Instant::now(), attempts: record.attempts, tries: record.failed_tries.len() }
    }

    /// The target that was asked since is left for another.
    pub(super) fn passed(self, call: &mut Call, status: Option<StatusCode>, reason: &'static str) {
        let record = &mut call.record;
        let Some(upstream) = record.upstream.clone() else { return };
        let mut noted = 0;
        for tried in record.failed_tries.iter_mut().skip(self.tries) {
            tried.upstream = Some(upstream.clone());
            noted += u16::from(tried.sent_elsewhere().is_some());
        }
        // Where its circuit is open or no key can be taken, nothing was sent.
        let was_sent = record.attempts.saturating_sub(self.attempts) > noted;
        let endpoint = record.endpoint.clone().filter(|_| was_sent).unwrap_or_else(|| "".into());
        let duration = self.began.elapsed();
        record.failed_tries.push(TryRecord {
            endpoint,
            status,
            reason,
            detail: None,
            duration,
            upstream: Some(upstream),
        });
    }
}

/// One key of a provider was refused, and another is tried.
pub(super) fn key(call: &mut Call, status: StatusCode, began: Instant) {
    let Some(endpoint) = call.record.endpoint.clone() else { return };
    let (status, duration) = (Some(status), began.elapsed());
    call.record.failed_tries.push(TryRecord {
        endpoint,
        status,
        reason: STATUS,
        detail: None,
        duration,
        upstream: None,
    });
}

/// None of the targets answered, and this one's word is told: it is the call's own, and no try before it.
pub(super) fn tells(call: &mut Call, said: Result<StatusCode, &Failure>) {
    let record = &mut call.record;
    let (status, reason) = match said {
        Ok(status) => (Some(status), why(None, status)),
        Err(failure) => (None, failure.problem().slug()),
    };
    let is_it = |tried: &TryRecord| {
        tried.upstream == record.upstream && tried.status == status && tried.reason == reason
    };
    if let Some(place) = record.failed_tries.iter().rposition(is_it) {
        let told = record.failed_tries.remove(place);
        record.endpoint = Some(told.endpoint).filter(|endpoint| !endpoint.is_empty());
    }
}
