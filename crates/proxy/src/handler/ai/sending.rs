//! Sends a call to one target: with one of the provider's keys, and with the next when that one is refused or limited.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant, SystemTime},
};

use ai::{canon::ErrorKind, dialect::Dialect};
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, Uri};

use super::{fallback, gathered::gather, keys::Away, provider::Provider, reply::is_stream, resets};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem, Stage},
    upstream::tries::{self, Wish},
    worker::Worker,
};

/// Bytes of an error that are looked through for when the provider takes calls again.
const ERROR_BYTES_MAX: usize = 64 * 1024;
/// How long they may take.
const ERROR_TIME_MAX: Duration = Duration::from_secs(2);

/// A request that is whole but for its credentials.
pub(super) struct Outgoing<'o> {
    pub(super) provider: &'o Provider,
    /// The model, as the provider names it.
    pub(super) model: &'o str,
    pub(super) dialect: Dialect,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The one key that may be taken, by its place, where there is one; then the one that was.
    pub(super) key: Option<&'o Cell<Option<usize>>>,
}

/// Why a target gave no answer.
pub(super) enum Unanswered {
    /// None of its keys can be taken; nothing was sent.
    Away(Away),
    /// The last try failed.
    Failed(Failure),
}

/// What all targets being away is told as.
pub(super) fn all_away(away: Away) -> Failure {
    let (problem, hint) = if away.limited {
        (Problem::RateLimited, "every provider of this model is at its limit")
    } else {
        (Problem::Unavailable, "no provider of this model takes the gateway's calls at the moment")
    };
    Failure::gateway(Stage::Pick, problem).with_hint(hint).with_retry_after(away.wait)
}

/// Sends a request, with key after key while they are refused or limited. The answer to the last key is the answer.
pub(super) async fn send(
    worker: &Rc<Worker>,
    call: &mut Call,
    outgoing: Outgoing<'_>,
) -> Result<Response<Body>, Unanswered> {
    let Outgoing { provider, model, dialect, uri, headers, body, key: only } = outgoing;
    let mut tried: Vec<usize> = match only.and_then(Cell::get) {
        Some(only) => provider.keys.others(only),
        None => Vec::new(),
    };
    let method = call.head.method.clone();
    let mut last: Option<Response<Body>> = None;
    let mut away: Option<Away> = None;
    loop {
        let taken = match (provider.keys.take(model, &tried, Instant::now()), last.take()) {
            (Ok(taken), _) => taken,
            (Err(_), Some(response)) => return Ok(response),
            (Err(none), None) => return Err(Unanswered::Away(away.map_or(none, |away| away.and(none)))),
        };
        tried.push(taken.index());
        if let Some(used) = only {
            used.set(Some(taken.index()));
        }
        let (mut uri, mut headers) = (uri.clone(), headers.clone());
        if let Some(key) = taken.key() {
            if let Err(error) = key.proof.add(method.as_str(), &mut uri, &mut headers, &body).await {
                tracing::warn!(provider = %provider.name, key = %key.place, error, "a call cannot show who pays: {error}");
                away = Some(Away { wait: Duration::from_secs(1), limited: false });
                continue;
            }
            if let (true, Some(record)) = (provider.keys.are_several(), &call.record.ai) {
                record.use_key(key.place.clone());
            }
        }
        call.head.headers = headers;
        call.head.uri = uri;
        let sent = if body.is_empty() { Body::Empty } else { Body::Full(body.clone()) };
        let result = tries::forward(worker, call, &provider.target, &Wish::default(), sent).await;
        let response = result.map_err(Unanswered::Failed)?;
        let status = response.status();
        let (response, told) = match status {
            StatusCode::TOO_MANY_REQUESTS => reset(dialect, response).await,
            _ => (response, Limited::default()),
        };
        // Money that is spent is missed for every model.
        let status = if told.is_spent { StatusCode::PAYMENT_REQUIRED } else { status };
        if !taken.answered(status, told.until, Instant::now()) {
            return Ok(response);
        }
        last = Some(response);
    }
}

/// Sends a request for a stream, and waits until it has begun to speak: one that does not in time, or breaks off or
/// fails before, is no answer.
pub(super) async fn speak(
    worker: &Rc<Worker>,
    call: &mut Call,
    outgoing: Outgoing<'_>,
    within: Option<Duration>,
) -> Result<Response<Body>, Unanswered> {
    let dialect = outgoing.dialect;
    let until = within.map(|within| tokio::time::Instant::now() + within);
    let sent = send(worker, call, outgoing);
    let response = match until {
        Some(until) => tokio::time::timeout_at(until, sent)
            .await
            .map_err(|_| Unanswered::Failed(fallback::silent()))??,
        None => sent.await?,
    };
    if !response.status().is_success() || !is_stream(&response) {
        return Ok(response);
    }
    fallback::spoken(response, dialect, until).await.map_err(Unanswered::Failed)
}

/// When a provider that limits takes calls again: by its answer's fields, else by its body.
async fn reset(dialect: Dialect, response: Response<Body>) -> (Response<Body>, Limited) {
    if let Some(told) = resets::told(response.headers(), SystemTime::now()) {
        return (response, Limited { until: Some(told), is_spent: false });
    }
    let (mut parts, body) = response.into_parts();
    let gathered = tokio::time::timeout(ERROR_TIME_MAX, gather(body, ERROR_BYTES_MAX)).await;
    let bytes = gathered.ok().and_then(Result::ok).unwrap_or_default();
    let error = dialect.read_error(parts.status.as_u16(), &bytes);
    parts.headers.remove(http::header::TRANSFER_ENCODING);
    parts.headers.insert(http::header::CONTENT_LENGTH, bytes.len().into());
    let limited = Limited { until: error.retry_after, is_spent: error.kind == ErrorKind::Quota };
    (Response::from_parts(parts, Body::Full(bytes)), limited)
}

/// How a provider limits.
#[derive(Default)]
struct Limited {
    /// How long until it takes calls again.
    until: Option<Duration>,
    /// It is the money that is spent.
    is_spent: bool,
}
