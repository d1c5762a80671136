//! Sends a call to one target: with one of the provider's keys, and with the next when that one is refused or limited.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant, SystemTime},
};

use ai::{dialect::Dialect, words::Words};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri, header::RETRY_AFTER};
use model::{AiRecord, resource::ai::FallbackOn};
use resilience::turnstile::{Lanes, Priority};

use super::{
    Told,
    counted::Counted,
    fallback::{self, Began},
    fault::{ACCOUNTS, Fault, Signs},
    gathered::gather,
    keys::{Away, NoKey, Refusal, Taken},
    passed,
    provider::Provider,
    reply::{ANSWER_BYTES_MAX, is_stream, provided},
    resets,
};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem, Stage},
    upstream::tries::{self, Wish},
    worker::Worker,
};

/// Bytes of a refusal that are looked through for whose fault it is, and for when calls are taken again.
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
    /// Whose turn it is where calls wait for a key.
    pub(super) priority: Priority,
    /// The one key that may be taken, by its place, where there is one; then the one that was.
    pub(super) key: Option<&'o Cell<Option<usize>>>,
    /// The words of its own in which it refuses, where it is asked in such.
    pub(super) words: Option<Words>,
}

/// Why a target gave no answer.
pub(super) enum Unanswered {
    /// None of its keys can be taken; nothing was sent.
    Away(Away),
    /// The last try failed.
    Failed(Failure),
}

/// Whether a target that gave no answer may have worked on the request all the same.
pub(super) fn is_due(unanswered: &Unanswered) -> bool {
    matches!(unanswered, Unanswered::Failed(failure) if may_be_due(failure))
}

/// Whether a target may have worked on a request that failed so. Nobody knows what a provider did that had it and then was
/// silent.
pub(super) fn may_be_due(failure: &Failure) -> bool {
    matches!(failure.stage(), Stage::FirstByte | Stage::Body)
}

/// What providers tell of who asks.
const OF_ACCOUNTS: [&str; 5] =
    ["set-cookie", "openai-organization", "openai-project", "anthropic-organization-id", "cf-ray"];
/// How what is left of an account's limits begins.
const LIMITS_OF_ACCOUNTS: [&str; 3] = ["x-ratelimit-", "anthropic-ratelimit-", "anthropic-priority-"];

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
    let model = outgoing.model;
    let Sent { response, taken, .. } = sent(worker, call, outgoing, None).await?;
    if let Some(taken) = taken {
        taken.worked(model, Instant::now());
    }
    Ok(response)
}

/// An answer, and what is not settled by its head.
struct Sent<'p> {
    response: Response<Body>,
    /// The key that it was asked with, where nothing was told of it yet.
    taken: Option<Taken<'p>>,
    /// When it must have begun to speak.
    until: Option<tokio::time::Instant>,
    /// The caller named an account of its own.
    names_account: bool,
}

/// The same, `within` a time that counts from when there is a key and the provider is asked.
async fn sent<'o>(
    worker: &Rc<Worker>,
    call: &mut Call,
    outgoing: Outgoing<'o>,
    within: Option<Duration>,
) -> Result<Sent<'o>, Unanswered> {
    let Outgoing { provider, model, dialect, mut uri, mut headers, body, priority, key: only, words } =
        outgoing;
    let names_account = ACCOUNTS.iter().any(|name| headers.contains_key(*name) && !provider.sets(name));
    let mut tried: Vec<usize> = match only.and_then(Cell::get) {
        Some(only) => provider.keys.others(only),
        None => Vec::new(),
    };
    let method = call.head.method.clone();
    let mut last: Option<(Response<Body>, Instant)> = None;
    let mut away: Option<Away> = None;
    loop {
        let mut taken = match (provider.keys.take(model, &tried, Instant::now()), last.take()) {
            (Ok(taken), Some((response, began))) => {
                passed::key(call, response.status(), began);
                taken
            }
            (Ok(taken), None) => taken,
            (Err(_), Some((response, _))) => {
                return Ok(Sent { response, taken: None, until: None, names_account });
            }
            (Err(NoKey::Away(none)), None) => {
                return Err(Unanswered::Away(away.map_or(none, |away| away.and(none))));
            }
            (Err(NoKey::Full(lanes)), None) => match waited(call, provider, model, lanes, priority).await? {
                Some(taken) => taken,
                // It went away while it was waited for: another is looked for, and that in turn.
                None => continue,
            },
        };
        let place = taken.sends();
        tried.push(taken.index());
        if let Some(used) = only {
            used.set(Some(taken.index()));
        }
        // One key alone is tried once: nothing of the head is kept for another.
        let (mut uri, mut headers) = match provider.keys.are_several() {
            true => (uri.clone(), headers.clone()),
            false => (std::mem::take(&mut uri), std::mem::take(&mut headers)),
        };
        if let Some(key) = taken.key() {
            if let Err(error) = key.proof.add(method.as_str(), &mut uri, &mut headers, &body).await {
                tracing::warn!(provider = %provider.name, key = %key.place, error, "a call cannot show who pays: {error}");
                away = Some(Away::refused(Duration::from_secs(1)));
                continue;
            }
            if let (true, Some(record)) = (provider.keys.are_several(), &call.record.ai) {
                record.use_key(key.place.clone());
            }
        }
        call.head.headers = headers;
        call.head.uri = uri;
        let sent = if body.is_empty() { Body::Empty } else { Body::Full(body.clone()) };
        let began = Instant::now();
        call.asked = Some(began);
        let until = within.map(|within| tokio::time::Instant::now() + within);
        let result = in_time(worker, call, provider, sent, until).await;
        let mut response = result.map_err(Unanswered::Failed)?;
        let told = |response| Sent { response, taken: None, until, names_account };
        if let Some(place) = place {
            response = response.map(|body| Body::boxed(Counted::new(body, place)));
        }
        if let Some(words) = words.filter(|words| words.hides_errors() && response.status().is_success()) {
            response = shown(words, response).await.map_err(Unanswered::Failed)?;
        }
        match response.status() {
            StatusCode::UNAUTHORIZED
            | StatusCode::PAYMENT_REQUIRED
            | StatusCode::FORBIDDEN
            | StatusCode::TOO_MANY_REQUESTS => {}
            // What is wrong with the provider says nothing of the key.
            status if status.is_server_error() => return Ok(told(anonymous(response))),
            _ => return Ok(Sent { taken: Some(taken), ..told(anonymous(response)) }),
        }
        let tokens = ai::estimate::tokens(&body);
        let (response, refused) = refusal((dialect, words), response, names_account, tokens).await;
        let response = anonymous(response);
        let Some(fault) = refused.fault else { return Ok(told(response)) };
        let refusal = Refusal { model, fault, told: refused.until, caller: caller(call) };
        taken.refused(&refusal, Instant::now());
        if fault == Fault::Filtered {
            // What it says is the same with every key.
            return Ok(told(response));
        }
        last = Some((response, began));
    }
}

/// Asks a provider, and waits no longer than `until` for the head of its answer.
async fn in_time(
    worker: &Rc<Worker>,
    call: &mut Call,
    provider: &Provider,
    body: Body,
    until: Option<tokio::time::Instant>,
) -> Result<Response<Body>, Failure> {
    let wish = Wish::default();
    let Some(until) = until else {
        return tries::forward(worker, call, &provider.target, &wish, body).await;
    };
    call.trail.begin();
    let tried = call.record.failed_tries.len();
    let asking = tries::forward(worker, call, &provider.target, &wish, body);
    match tokio::time::timeout_at(until, asking).await {
        Ok(answered) => answered,
        // Whoever was not connected to has had nothing, unless a try before went further.
        Err(_) => {
            let was_there = call.trail.is_connected() || call.record.failed_tries.len() > tried;
            Err(fallback::silent(was_there))
        }
    }
}

/// An answer of a vendor that tells errors with a good status, with the status that it stands for. Nothing of it is told
/// before it is whole anyway.
async fn shown(words: Words, response: Response<Body>) -> Result<Response<Body>, Failure> {
    let (mut parts, body) = response.into_parts();
    let bytes = provided(body, ANSWER_BYTES_MAX).await?;
    if let Some(error) = words.hidden_error(&bytes) {
        parts.status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_GATEWAY);
    }
    parts.headers.remove(http::header::TRANSFER_ENCODING);
    parts.headers.insert(http::header::CONTENT_LENGTH, bytes.len().into());
    Ok(Response::from_parts(parts, Body::Full(bytes)))
}

/// An answer without what tells of the gateway's own account with the provider: cookies, names, what is left of its
/// limits, which are nobody else's.
fn anonymous(mut response: Response<Body>) -> Response<Body> {
    let is_ours = |name: &HeaderName| {
        let name = name.as_str();
        OF_ACCOUNTS.contains(&name) || LIMITS_OF_ACCOUNTS.iter().any(|begin| name.starts_with(begin))
    };
    let headers = response.headers_mut();
    // Most answers have at most a few.
    while let Some(name) = headers.keys().find(|name| is_ours(name)).cloned() {
        headers.remove(name);
    }
    response
}

/// Sends a request for a stream, and waits until it has begun to speak: one that does not in time, or breaks off
/// before, is no answer; one that tells an error before is a refusal like those that come with their status. Nothing where all of the answers that it was asked for were cut by a filter before, and `on`
/// says that another is asked then. What it tells of its usage by then is noted in `told`.
pub(super) async fn speak(
    worker: &Rc<Worker>,
    call: &mut Call,
    outgoing: Outgoing<'_>,
    within: Option<Duration>,
    (on, answers): (&[FallbackOn], u64),
    told: &Told,
) -> Result<Option<Response<Body>>, Unanswered> {
    let (dialect, model, body) = (outgoing.dialect, outgoing.model, outgoing.body.clone());
    let Sent { response, taken, until, names_account } = sent(worker, call, outgoing, within).await?;
    let works = |taken: Option<Taken<'_>>| {
        if let Some(taken) = taken {
            taken.worked(model, Instant::now());
        }
    };
    if !response.status().is_success() || !is_stream(&response) {
        works(taken);
        return Ok(Some(response));
    }
    let error = match fallback::spoken(response, dialect, until, (on, answers), told).await {
        Ok(Began::Refused(error)) => error,
        other => {
            works(taken);
            return match other {
                Ok(Began::Spoke(response)) => Ok(Some(response)),
                Ok(_) => Ok(None),
                Err(failure) => Err(Unanswered::Failed(failure)),
            };
        }
    };
    // The key is told of it as of a refusal by its status.
    let tokens = ai::estimate::tokens(&body);
    let signs = Signs { names_account, tokens, ..Signs::default() };
    let fault = Fault::of(fallback::status_of(&error), &error, &signs);
    match (taken, fault) {
        (Some(taken), Some(fault)) => {
            let refusal = Refusal { model, fault, told: error.retry_after, caller: caller(call) };
            taken.refused(&refusal, Instant::now());
        }
        (taken, _) => works(taken),
    }
    Ok(Some(fallback::refusal(dialect, error, fault)))
}

/// What a provider's error says, in whatever words it is asked.
pub(super) fn read_error(
    (dialect, words): (Dialect, Option<Words>),
    status: StatusCode,
    body: &[u8],
) -> ai::canon::Error {
    match words {
        Some(words) => words.read_error(status.as_u16(), body),
        None => dialect.read_error(status.as_u16(), body),
    }
}

/// Waits for a key. Nothing when the key has gone away meanwhile.
async fn waited<'p>(
    call: &Call,
    provider: &'p Provider,
    model: &str,
    lanes: Lanes,
    priority: Priority,
) -> Result<Option<Taken<'p>>, Unanswered> {
    let Some(queue) = &provider.keys.queue else { return Ok(None) };
    let (began, record) = (Instant::now(), call.record.ai.as_deref());
    // Nothing has been sent: whoever leaves the line owes nothing.
    let is_due = record.is_some_and(AiRecord::is_due);
    if let Some(record) = record {
        record.owe(false);
    }
    let waited = queue.wait(lanes, priority).await;
    if let Some(record) = record {
        record.owe(is_due);
        record.queue(began.elapsed());
    }
    let (place, _) = waited.map_err(Unanswered::Away)?;
    Ok(provider.keys.take_at(place, model, Instant::now()))
}

/// Stands for who calls: the consumer, else the address.
fn caller(call: &Call) -> u64 {
    match &call.consumer {
        Some(consumer) => resilience::hash::hash64(consumer.name.as_bytes()),
        None => resilience::hash::hash64(call.client.to_string().as_bytes()),
    }
}

/// Reads why a provider refuses. The answer is whole afterwards, and bears whose fault it is.
async fn refusal(
    (dialect, words): (Dialect, Option<Words>),
    response: Response<Body>,
    names_account: bool,
    tokens: u64,
) -> (Response<Body>, Refused) {
    let (mut parts, body) = response.into_parts();
    let gathered = tokio::time::timeout(ERROR_TIME_MAX, gather(body, ERROR_BYTES_MAX)).await;
    let bytes = gathered.ok().and_then(Result::ok).unwrap_or_default();
    let error = read_error((dialect, words), parts.status, &bytes);
    let until = resets::told(&parts.headers, SystemTime::now()).or(error.retry_after);
    let fault = Fault::of(parts.status, &error, &Signs::of(names_account, &parts.headers, tokens));
    parts.headers.remove(http::header::TRANSFER_ENCODING);
    parts.headers.insert(http::header::CONTENT_LENGTH, bytes.len().into());
    if let Some(fault) = fault {
        parts.extensions.insert(fault);
    }
    let is_limit = parts.status == StatusCode::TOO_MANY_REQUESTS;
    // Said in the way that everybody reads: how else it was told is the account's own.
    if let (true, Some(until), false) = (is_limit, until, parts.headers.contains_key(RETRY_AFTER)) {
        let seconds = until.as_secs_f64().ceil().max(1.0) as u64;
        parts.headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    (Response::from_parts(parts, Body::Full(bytes)), Refused { until: until.filter(|_| is_limit), fault })
}

/// How a provider refuses.
struct Refused {
    /// How long until it takes calls again.
    until: Option<Duration>,
    fault: Option<Fault>,
}
