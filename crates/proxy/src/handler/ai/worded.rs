//! What is asked of a vendor in words of its own: speech, transcriptions, pictures, ranks. The words are the `ai` crate's
//! ([`ai::words`]); here they are sent, and what comes back is told in the caller's.

use std::time::{Duration, UNIX_EPOCH};

use ai::{
    canon::{Error, ErrorKind, Losses},
    words::{self, Asked, Came, To, Way, Words},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use model::{AiRecord, UnitUsage};

use super::{
    answer,
    begun::begun,
    metered,
    models::Target,
    outgoing,
    prepare::{Conversation, Prepared},
    reply::{ANSWER_BYTES_MAX, plain, provided, refused},
};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem, Stage},
};

/// Why Stability ended (Stability AI: REST API, responses).
const FINISH: HeaderName = HeaderName::from_static("finish-reason");

fn read<'c>(conversation: &'c Conversation<'_>) -> Result<Asked<'c>, Error> {
    words::read(conversation.endpoint.operation, conversation.form.as_deref(), &conversation.body)
}

/// What a target is sent.
pub(super) fn prepare(
    conversation: &Conversation<'_>,
    words: Words,
    target: &Target,
    model: &str,
) -> Result<Prepared, Error> {
    let (provider, operation) = (&target.provider, conversation.endpoint.operation);
    let mut losses = Losses::default();
    outgoing::query(conversation.query.as_deref(), provider, false, &mut losses);
    let to = To { words, model, voices: &provider.voices };
    let written = read(conversation)?.write(&to, &mut losses)?;
    let dialect = provider.kind.dialect;
    let path = provider.path(dialect, operation, model, false, &written.path)?;
    let is_json = written.kind == "application/json";
    let body = Bytes::from(written.body);
    let body = if is_json { provider.body(operation, body, model)? } else { body };
    Ok(Prepared { path, body, losses, headers: written.headers, kind: Some(written.kind), dialect })
}

/// What the caller is told for an answer.
pub(super) async fn told(
    call: &Call,
    conversation: &Conversation<'_>,
    words: Words,
    response: Response<Body>,
    told: &AiRecord,
) -> Result<Response<Body>, Failure> {
    let caller = conversation.endpoint.dialect;
    if !response.status().is_success() {
        return refused(caller, |status, body| words.read_error(status, body), response).await;
    }
    let response = plain(response)?;
    let asked = read(conversation).map_err(answer::refused)?;
    match asked.way(words) {
        Way::Passing { kind, head } => passing(response, kind, head),
        Way::Whole => {
            let (parts, body) = response.into_parts();
            let text = |name: &HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok());
            let bytes = provided(body, ANSWER_BYTES_MAX).await?;
            let kind = text(&header::CONTENT_TYPE).unwrap_or_default();
            let came = Came { kind, finish: text(&FINISH), body: &bytes };
            let now = call.record.started.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
            match asked.tell(words, &came, now) {
                Ok(found) => Ok(whole(found, told)),
                // It refuses with a good status.
                Err(error) if error.kind != ErrorKind::Server => {
                    told.measure(UnitUsage::default(), false);
                    told.owe(false);
                    Ok(answer::response(caller, &error))
                }
                Err(error) => Err(Failure::upstream(Stage::Body, Problem::BadUpstreamAnswer, error.message)
                    .with_hint("the provider's answer could not be understood")),
            }
        }
    }
}

/// Sound as it comes. What the provider says beside it is for the gateway alone.
fn passing(response: Response<Body>, kind: &'static str, head: Vec<u8>) -> Result<Response<Body>, Failure> {
    let (mut parts, body) = response.into_parts();
    let is_sound = parts.headers.get(header::CONTENT_TYPE).is_none_or(|kind| {
        let kind = kind.as_bytes();
        kind.starts_with(b"audio/") || kind.starts_with(b"application/octet-stream")
    });
    if !is_sound {
        let error = "the provider's answer is no sound";
        return Err(Failure::upstream(Stage::Body, Problem::BadUpstreamAnswer, error));
    }
    let length = body.length().filter(|_| head.is_empty());
    parts.headers = HeaderMap::new();
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(length) = length {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    let body = if head.is_empty() { body } else { begun([Bytes::from(head)], body) };
    Ok(Response::from_parts(parts, body))
}

fn whole(found: words::Told, told: &AiRecord) -> Response<Body> {
    if let Some(usage) = &found.usage {
        metered::spend(told, usage);
    }
    let units = told.units();
    // Of those that were asked for a filter may have taken some.
    if let Some(images) = found.images.filter(|_| units.images > 0) {
        told.measure(UnitUsage { images, ..units }, false);
    }
    match (found.seconds_in, found.seconds_out) {
        (Some(seconds_in), _) if units.seconds_in > 0 && seconds_in > 0 => {
            told.measure(UnitUsage { seconds_in, ..units }, false);
        }
        (_, Some(seconds_out)) if units.seconds_out > 0 => {
            told.measure(UnitUsage { seconds_out, ..units }, false);
        }
        _ => {}
    }
    told.end();
    let mut response = Response::new(Body::Full(Bytes::from(found.body)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(found.kind));
    response
}
