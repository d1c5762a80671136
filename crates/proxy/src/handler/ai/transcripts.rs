//! Answers of transcriptions and translations for the rules of a route: what was heard is read like what a model says.

use ai::endpoint::Operation;
use http::{HeaderValue, Response, header};
use model::AiRecord;

use super::{
    guards,
    prepare::Conversation,
    reply::{ANSWER_BYTES_MAX, is_stream, plain, provided},
};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem, Stage},
};

/// Whether an operation writes down what is said.
pub(super) fn are_made_by(operation: Operation) -> bool {
    matches!(operation, Operation::Transcriptions | Operation::Translations)
}

/// What a rule would have to read and cannot here.
pub(super) fn unread(conversation: &Conversation<'_>) -> Option<Failure> {
    let is_one = are_made_by(conversation.endpoint.operation);
    let watch = &conversation.watch;
    let hint = match (is_one && watch.reads_answers(), conversation.stream, watch.needs_whole_answers()) {
        (true, true, _) => "the rules of this route read answers: ask for the whole text, without `stream`",
        (true, _, true) => "what is heard cannot be judged by others, as a rule of this route wants",
        _ => return None,
    };
    Some(Failure::refused(Problem::NotImplemented).with_hint(hint))
}

/// Runs the rules over a whole answer, JSON or text of any form.
pub(super) async fn screened(
    call: &mut Call,
    conversation: &mut Conversation<'_>,
    response: Response<Body>,
    told: &AiRecord,
) -> Result<Response<Body>, Failure> {
    if is_stream(&response) {
        let failure = Failure::gateway(Stage::Body, Problem::BadUpstreamAnswer);
        return Err(
            failure.with_hint("the provider streams what was asked for whole, and no rule can read it")
        );
    }
    let (mut parts, body) = plain(response)?.into_parts();
    let bytes = provided(body, ANSWER_BYTES_MAX).await?;
    let Ok(text) = std::str::from_utf8(&bytes) else {
        let failure = Failure::gateway(Stage::Body, Problem::BadUpstreamAnswer);
        return Err(failure.with_hint("the provider's answer is no text, and no rule can read it"));
    };
    let mut text = text.to_owned();
    let refused = conversation.watch.read_text(&mut text);
    told.guard(conversation.watch.fired());
    if let Some(refusal) = refused {
        call.record.stopped_by = Some("guardrails");
        return Ok(guards::refused(conversation, &refusal));
    }
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    Ok(Response::from_parts(parts, Body::Full(text.into())))
}
