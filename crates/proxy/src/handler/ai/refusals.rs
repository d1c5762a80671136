//! What a caller is told when no target answered: the most useful of what they said.
//!
//! First comes what can be tried again, soonest first: a limit or an overload that tells until when, then one that does
//! not, a time-out, a provider that is away. Then an answer that a filter cut, or a context that was too short, where
//! another was wanted for that; then what the gateway itself could not carry, and only then what is wrong with a target
//! and not with the call (a refused key, a model that is not there). The first of equals is told. A request that a
//! provider finds wrong is no matter for this: it is told at once.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use ai::canon::ErrorKind;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use super::{Told, gathered::gather, given::Tried, keys::Away, resets, sending};
use crate::{
    body::Body,
    failure::{Failure, Problem, Stage},
};

/// Bytes of a refusal that are kept.
const ERROR_BYTES_MAX: usize = 64 * 1024;
/// What vendors' SDKs read before they ask again on their own.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// How long they may take.
const ERROR_TIME_MAX: Duration = Duration::from_secs(2);
/// Stands for a hint where there is none.
const NEVER: Duration = Duration::MAX;

/// How useful it is to be told something: the least is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// It can be tried again, after so long.
    Again(Duration),
    /// It is an answer, or says why there is none, and another was to do better.
    Unwanted,
    /// It could not be carried.
    Uncarried,
    /// A target is not as it should be.
    Misconfigured,
}

/// What one target said.
pub(super) struct Refused<'t> {
    pub(super) tried: Tried<'t>,
    pub(super) response: Response<Body>,
}

/// What a caller is told.
pub(super) enum Verdict<'t> {
    /// A target's own answer.
    Answer(Box<Refused<'t>>),
    /// A failure, and the record and the upstream that belong to it.
    Failure(Failure, Option<(Told, Arc<str>)>),
}

/// What the targets said until now.
#[derive(Default)]
pub(super) struct Refusals<'t> {
    best: Option<(Rank, Verdict<'t>)>,
    away: Option<Away>,
    hope: Hope,
    /// What they said in the round before.
    before: Option<Box<Self>>,
}

/// When a target may do better.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Hope {
    /// The soonest of those that say when.
    pub(super) told: Option<Duration>,
    /// One does not say when.
    pub(super) untold: bool,
}

impl Hope {
    fn note(&mut self, after: Option<Duration>) {
        match after {
            Some(after) => self.told = Some(self.told.map_or(after, |known| known.min(after))),
            None => self.untold = true,
        }
    }
}

impl<'t> Refusals<'t> {
    fn add(&mut self, rank: Rank, verdict: Verdict<'t>) {
        if self.best.as_ref().is_none_or(|(best, _)| rank < *best) {
            self.best = Some((rank, verdict));
        }
    }

    /// A target answered with a status that another one may do better than.
    pub(super) async fn answered(&mut self, mut refused: Refused<'t>) {
        let (mut parts, body) = refused.response.into_parts();
        let body = match body {
            Body::Full(bytes) => bytes,
            body => {
                let read = tokio::time::timeout(ERROR_TIME_MAX, gather(body, ERROR_BYTES_MAX)).await;
                let bytes = read.ok().and_then(Result::ok).unwrap_or_default();
                parts.headers.remove(header::TRANSFER_ENCODING);
                parts.headers.insert(header::CONTENT_LENGTH, bytes.len().into());
                bytes
            }
        };
        let tried = &refused.tried;
        let error = sending::read_error((tried.dialect, tried.words), parts.status, &body);
        let rank = if is_for_later(parts.status) && error.kind != ErrorKind::Quota {
            let hint = resets::told(&parts.headers, SystemTime::now()).or(error.retry_after);
            if let Some(hint) = hint.filter(|_| !parts.headers.contains_key(header::RETRY_AFTER)) {
                let seconds = u64::try_from(hint.as_millis().div_ceil(1000)).unwrap_or(u64::MAX);
                parts.headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
            }
            // A provider may know that asking again is of no use.
            if parts.headers.get(SHOULD_RETRY).is_none_or(|said| said != "false") {
                self.hope.note(hint);
            }
            Rank::Again(hint.unwrap_or(NEVER))
        } else {
            Rank::Misconfigured
        };
        refused.response = Response::from_parts(parts, Body::Full(body));
        self.add(rank, Verdict::Answer(Box::new(refused)));
    }

    /// A target could not be reached, or broke off.
    pub(super) fn failed(&mut self, failure: Failure, told: Told, upstream: Arc<str>) {
        // Where nothing was sent, because a circuit is open or too many are under way, nobody waits for that to end.
        if failure.stage() != Stage::Pick {
            self.hope.note(failure.retry_after());
        }
        let rank = Rank::Again(failure.retry_after().unwrap_or(NEVER));
        self.add(rank, Verdict::Failure(failure, Some((told, upstream))));
    }

    /// A target's answer is whole, and none to pass on as long as another may do better.
    pub(super) fn unwanted(&mut self, answered: Refused<'t>) {
        self.add(Rank::Unwanted, Verdict::Answer(Box::new(answered)));
    }

    /// The request could not be carried to a target.
    pub(super) fn uncarried(&mut self, failure: Failure) {
        self.add(Rank::Uncarried, Verdict::Failure(failure, None));
    }

    /// The targets are asked once more: what they say now counts.
    pub(super) fn begin_again(&mut self) {
        let before = Self { before: None, ..std::mem::take(self) };
        self.before = Some(Box::new(before));
    }

    /// Another target might have been asked, and a policy has no room for that beside what was spent. Where this round said
    /// nothing yet, what was said in the round before is told.
    pub(super) fn no_room(&mut self, kind: &'static str) {
        if self.best.is_none()
            && self.away.is_none()
            && let Some(before) = self.before.take()
        {
            *self = *before;
        }
        let hint =
            format!("`{kind}` has no room for asking another model: what was asked before has cost, too");
        // Asked again it would cost as much again.
        let failure = Failure::refused(Problem::RateLimited)
            .with_header(SHOULD_RETRY, HeaderValue::from_static("false"))
            .with_hint(hint);
        self.add(Rank::Misconfigured, Verdict::Failure(failure, None));
    }

    /// None of a target's keys can be taken.
    pub(super) fn away(&mut self, away: Away) {
        // Refused keys are for the operator to mend; who was in line for a key has waited.
        if away.limited && !away.is_full {
            self.hope.note(Some(away.wait));
        }
        self.away = Some(self.away.map_or(away, |other| other.and(away)));
    }

    /// What there is to hope for when the targets are asked again, if anything.
    pub(super) fn hope(&self) -> Option<Hope> {
        Some(self.hope).filter(|hope| hope.untold || hope.told.is_some())
    }

    /// What is told.
    pub(super) fn verdict(mut self) -> Verdict<'t> {
        if let Some(away) = self.away {
            self.add(Rank::Again(away.wait), Verdict::Failure(sending::all_away(away), None));
        }
        self.best.map_or_else(
            || Verdict::Failure(Failure::gateway(Stage::Pick, Problem::NoHealthyEndpoint), None),
            |(_, verdict)| verdict,
        )
    }
}

fn is_for_later(status: StatusCode) -> bool {
    status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}
