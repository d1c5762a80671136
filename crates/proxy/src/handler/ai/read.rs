//! Answers that must be read, for rules or for the cache: into events and told anew, whatever dialects are spoken.

use std::rc::Rc;

use ai::{
    canon::{Answer, Assembler},
    dialect::Dialect,
    stream::FrameReader,
};
use http::{HeaderValue, Response, header};
use http_body_util::BodyExt;

use super::{
    AiGateway, Told,
    guards::{self, Judged},
    metered::note,
    models::Target,
    prepare::Conversation,
    receipts,
    reply::{ANSWER_BYTES_MAX, hide, is_stream, plain, provided, telling, written},
    translated::Translated,
};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem, Stage},
    worker::Worker,
};

/// Whether an answer must be read.
pub(super) fn is_wanted(conversation: &Conversation<'_>, response: &Response<Body>) -> bool {
    let is_chat = conversation.endpoint.operation == ai::endpoint::Operation::Chat;
    let goes_on = conversation.heirs.is_some() && is_stream(response);
    let wanted = goes_on || conversation.watch.reads_answers() || conversation.ticket.is_some();
    is_chat && wanted && response.status().is_success()
}

/// A whole answer, looked over as it came.
pub(super) enum Looked {
    /// Nothing is in it for any rule: it may go on as it is.
    Clear(Response<Body>),
    /// It must be read.
    Unsure(Response<Body>),
}

/// Looks a whole answer over in the caller's own dialect, without reading it: most are clear.
pub(super) async fn look(
    conversation: &mut Conversation<'_>,
    dialect: Dialect,
    response: Response<Body>,
) -> Result<Looked, Failure> {
    let is_mere = dialect == conversation.endpoint.dialect
        && conversation.ticket.is_none()
        && !conversation.watch.needs_whole_answers()
        && !is_stream(&response);
    if !is_mere {
        return Ok(Looked::Unsure(response));
    }
    let (parts, body) = plain(response)?.into_parts();
    let bytes = provided(body, ANSWER_BYTES_MAX).await?;
    let is_clear = conversation.watch.clears(&bytes);
    let response = Response::from_parts(parts, Body::Full(bytes));
    Ok(if is_clear { Looked::Clear(response) } else { Looked::Unsure(response) })
}

/// What the caller is told for a provider's answer.
#[expect(clippy::too_many_arguments, reason = "they are what an answer depends on")]
pub(super) async fn finish(
    gateway: &AiGateway,
    worker: &Rc<Worker>,
    call: &mut Call,
    conversation: &mut Conversation<'_>,
    dialect: Dialect,
    target: Option<(&Target, &str)>,
    response: Response<Body>,
    told: Told,
) -> Result<Response<Body>, Failure> {
    let response = plain(response)?;
    read_request(conversation);
    if let (Some(ticket), Some(request)) = (&mut conversation.ticket, &conversation.canonical) {
        ticket.named(dialect.names(request));
    }
    if is_stream(&response) && !conversation.watch.needs_whole_answers() {
        return Ok(pieces(call, conversation, dialect, response, told));
    }
    let answer = if is_stream(&response) {
        let answer = assembled(dialect, response.into_body(), &told).await?;
        // All of it is heard below.
        told.hear_anew();
        answer
    } else {
        let bytes = provided(response.into_body(), ANSWER_BYTES_MAX).await?;
        dialect.read_answer(&bytes).map_err(unread)?
    };
    receipts::hear(&told, &answer);
    // What is judged whole may be mended, or refused: then it is not what is to be given again.
    let ticket = conversation.ticket.take().filter(|_| !conversation.watch.needs_whole_answers());
    if let Some(ticket) = ticket {
        ticket.keep_whole(&answer);
    }
    tell(gateway, worker, call, conversation, dialect, target, answer, &told).await
}

/// What the caller is told for an answer that is there whole, in the names of who gave it.
#[expect(clippy::too_many_arguments, reason = "they are what an answer depends on")]
pub(super) async fn tell(
    gateway: &AiGateway,
    worker: &Rc<Worker>,
    call: &mut Call,
    conversation: &mut Conversation<'_>,
    dialect: Dialect,
    target: Option<(&Target, &str)>,
    answer: Answer,
    told: &Told,
) -> Result<Response<Body>, Failure> {
    read_request(conversation);
    let judged = guards::judge(gateway, worker, call, conversation, target, answer, told).await?;
    let answer = match judged {
        Judged::Good(answer) => *answer,
        Judged::Refused(refusal) => return Ok(*refusal),
    };
    hide(conversation, &answer, told)?;
    let (text, kind) = written(conversation, answer, telling(call, conversation, dialect, told));
    let mut response = Response::new(Body::Full(text.into()));
    head(&mut response, kind);
    Ok(response)
}

/// Some dialects' answers repeat what was asked.
pub(super) fn read_request(conversation: &mut Conversation<'_>) {
    let endpoint = conversation.endpoint;
    if conversation.canonical.is_none() {
        let spoken = ai::dialect::Spoken { model: endpoint.model.clone(), stream: endpoint.stream };
        conversation.canonical = endpoint.dialect.read_request(&spoken, &conversation.body).ok();
    }
}

fn head(response: &mut Response<Body>, kind: &'static str) {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
}

fn unread(error: ai::canon::Error) -> Failure {
    Failure::upstream(Stage::Body, Problem::BadUpstreamAnswer, error.message)
        .with_hint("the provider's answer could not be understood")
}

/// A stream, event by event.
fn pieces(
    call: &Call,
    conversation: &mut Conversation<'_>,
    dialect: Dialect,
    response: Response<Body>,
    told: Told,
) -> Response<Body> {
    let caller = conversation.endpoint.dialect;
    let writer = caller.stream_writer(telling(call, conversation, dialect, &told));
    let watch = std::mem::take(&mut conversation.watch);
    let filter = watch.into_filter(told.clone()).keeping(conversation.ticket.take());
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let translated = Translated::new(body, dialect, caller, writer, told)
        .pausing(conversation.between)
        .going_on(conversation.heirs.take())
        .filtered(filter);
    let body = Body::boxed(translated);
    let mut response = Response::from_parts(parts, body);
    head(&mut response, caller.caller_framing(conversation.query.as_deref()).media_type());
    response
}

/// A stream as the answer that it tells. What comes is noted as it does, for it may break off, or its client leave.
async fn assembled(dialect: Dialect, mut body: Body, told: &Told) -> Result<Answer, Failure> {
    let broken = |error: String| Failure::upstream(Stage::Body, Problem::BadUpstreamAnswer, error);
    let mut frames = FrameReader::new(dialect.provider_framing());
    let (mut whole, mut events, mut bytes) = (Vec::new(), Vec::new(), 0_usize);
    let mut reader = dialect.stream_reader();
    let mut assembler = Assembler::default();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        bytes = bytes.saturating_add(data.len());
        if bytes > ANSWER_BYTES_MAX {
            return Err(broken(format!("the provider's answer is larger than {ANSWER_BYTES_MAX} bytes")));
        }
        frames.push(&data, &mut whole).map_err(|error| broken(error.to_string()))?;
        whole.drain(..).for_each(|frame| reader.read(frame, &mut events));
        events.drain(..).for_each(|event| {
            note(told, &event);
            assembler.push(event);
        });
    }
    frames.finish(&mut whole);
    whole.drain(..).for_each(|frame| reader.read(frame, &mut events));
    reader.end(&mut events);
    events.drain(..).for_each(|event| assembler.push(event));
    assembler.finish().map_err(unread)
}
