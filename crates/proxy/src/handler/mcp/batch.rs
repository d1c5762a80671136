//! Batches, which the revision 2025-03-26 has and no later one: several messages as one list, one after the other, and
//! what all of them are answered together.

use std::rc::Rc;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use serde_json::value::RawValue;

use super::{
    McpGateway, answer,
    message::{Kind, Message},
    note,
    revision::Revision,
    sse, strict, way,
    wire::Sender,
};
use crate::{
    body::Body,
    call::Call,
    failure::Failure,
    handler::ai::gathered::{Ungathered, gather},
    worker::Worker,
};

/// Messages of one batch.
const MESSAGES_MAX: usize = 64;
/// Bytes of all that they are answered.
const ANSWERS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Whether a body, which is JSON, is a batch.
pub(super) fn is_one(text: &str) -> bool {
    text.trim_start().starts_with('[')
}

/// Answers a batch.
pub(super) async fn post(
    gateway: &McpGateway,
    worker: &Rc<Worker>,
    call: &mut Call,
    text: &str,
) -> Result<Response<Body>, Failure> {
    let wrong = |why: &str| answer::refusal(StatusCode::BAD_REQUEST, answer::INVALID_REQUEST, why);
    let one_by_one = || wrong("batches are of a session of 2025-03-26 alone: send each message by itself");
    let asked = super::revision_of(&call.head.headers)?;
    if asked.is_some_and(|asked| asked > Revision::V2025_03_26) {
        return Err(one_by_one());
    }
    let mut session = gateway.session(call)?;
    if session.seal.revision > Revision::V2025_03_26 {
        return Err(one_by_one());
    }
    let all: Vec<&RawValue> =
        serde_json::from_str(text).map_err(|_| wrong("a batch is a list of messages"))?;
    if all.is_empty() || all.len() > MESSAGES_MAX {
        return Err(wrong(&format!("a batch has 1 to {MESSAGES_MAX} messages")));
    }
    let mut messages = Vec::with_capacity(all.len());
    for raw in all {
        let message = Message::parse(raw.get()).map_err(wrong)?;
        strict::check(&message).map_err(wrong)?;
        if message.method == "initialize" {
            return Err(wrong("`initialize` is no part of a batch"));
        }
        messages.push((message, raw.get()));
    }
    session.in_batch = true;
    note(call, "batch", None, Some(&session));
    let sender = Sender::of(worker, call);
    let (inner, mut told, mut left) = (&gateway.inner, Vec::new(), ANSWERS_BYTES_MAX);
    for (message, text) in &messages {
        let id = message.id().unwrap_or("null");
        let answered = match message.kind {
            Kind::Request if message.method == "ping" => Ok(answer::result(id, "{}")),
            Kind::Request => Box::pin(way::request(inner, worker, &sender, &session, call, message)).await,
            Kind::Notification => {
                way::notification(inner, &sender, &session, message, text).await;
                continue;
            }
            Kind::Response => {
                way::response(inner, &sender, &session, message).await?;
                continue;
            }
        };
        // One that fails is no reason to leave the others.
        let answered = answered.unwrap_or_else(|failure| answer::failed(id, &failure));
        let spoken = match said(answered, left).await {
            Ok(spoken) => spoken,
            Err(failure) => said(answer::failed(id, &failure), ANSWERS_BYTES_MAX).await?,
        };
        left = left.saturating_sub(spoken.iter().map(String::len).sum());
        told.extend(spoken);
    }
    Ok(together(told))
}

/// The messages of an answer.
async fn said(answered: Response<Body>, bytes_max: usize) -> Result<Vec<String>, Failure> {
    let kind = answered.headers().get(header::CONTENT_TYPE);
    let is_stream = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let bytes = gather(answered.into_body(), bytes_max).await.map_err(|why| match why {
        Ungathered::TooLarge => too_large(),
        Ungathered::Failed(failure) => failure,
    })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !is_stream {
        return Ok(if bytes.is_empty() { Vec::new() } else { vec![text(&bytes)] });
    }
    let mut events = Vec::new();
    sse::Reader::default().push(&bytes, &mut events).map_err(|_| too_large())?;
    Ok(events.iter().filter(|event| !event.data.is_empty()).map(|event| text(&event.data)).collect())
}

fn too_large() -> Failure {
    let hint = format!("the answers of a batch are larger than {ANSWERS_BYTES_MAX} bytes: send less at once");
    answer::refusal(StatusCode::BAD_GATEWAY, answer::INTERNAL_ERROR, &hint)
}

/// One answer for all: a list, or a stream where servers said more than they were asked.
fn together(told: Vec<String>) -> Response<Body> {
    if told.is_empty() {
        return answer::accepted();
    }
    let is_answer = |text: &String| Message::parse(text).is_ok_and(|message| message.kind == Kind::Response);
    if told.iter().all(is_answer) {
        return answer::json(StatusCode::OK, format!("[{}]", told.join(",")));
    }
    let events: String = told.iter().map(|text| format!("event: message\ndata: {text}\n\n")).collect();
    answer::stream(Body::Full(Bytes::from(events)))
}
