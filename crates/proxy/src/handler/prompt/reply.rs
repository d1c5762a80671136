//! What a caller is told for what came back: a whole typed answer, or a problem.

use ai::{
    canon::{Error, ErrorKind},
    dialect::Dialect,
};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use model::{Side, TokenUsage};
use serde_json::Value;

use super::output::Said;
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem, Stage},
    handler::ai::{
        gathered::{Ungathered, gather},
        guards::Blocked,
    },
};

/// The dialect that the machinery of `ai` routes is spoken to in.
pub(super) const SPOKEN: Dialect = Dialect::OpenAiChat;
/// Bytes of a model's answer.
pub(super) const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of an error that are read.
const ERROR_BYTES_MAX: usize = 64 * 1024;
/// Tells why the answer ended.
const FINISH: &str = "x-tidegate-finish";
const PROVIDER: &str = "x-tidegate-provider";

/// Who answers.
pub(super) struct Asked {
    pub(super) provider: String,
    pub(super) model: String,
}

impl Asked {
    pub(super) fn of(response: &Response<Body>) -> Self {
        let field = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        Self {
            provider: field(PROVIDER).unwrap_or_default().to_owned(),
            model: field("x-tidegate-model").unwrap_or_default().to_owned(),
        }
    }
}

/// A response that is an answer; what is not becomes a failure.
pub(in crate::handler) async fn good(response: Response<Body>) -> Result<Response<Body>, Failure> {
    let status = response.status();
    if status.is_success() {
        return match response.headers().get(header::CONTENT_ENCODING) {
            Some(coding) if coding.as_bytes() != b"identity" => Err(Failure::upstream(
                Stage::Body,
                Problem::BadUpstreamAnswer,
                "the provider compressed its answer, which it was not asked for",
            )),
            _ => Ok(response),
        };
    }
    let is_blocked = response.extensions().get::<Blocked>().is_some();
    let is_ours = !response.headers().contains_key(PROVIDER);
    let after = response.headers().get(header::RETRY_AFTER).cloned();
    let body = gather(response.into_body(), ERROR_BYTES_MAX).await.unwrap_or_default();
    let error = SPOKEN.read_error(status.as_u16(), &body);
    let failure = match is_ours {
        // Of a rule it is the same, whether it read the question or the answer.
        _ if is_blocked => Failure::refused(Problem::ContentBlocked).with_hint(error.message.clone()),
        true => refused(&error, status),
        false => failure(&error),
    };
    Err(match after {
        Some(after) => failure.with_header(header::RETRY_AFTER, after),
        None => failure,
    })
}

/// What the gateway itself refuses, in its own words.
fn refused(error: &Error, status: StatusCode) -> Failure {
    let problem = match error.kind {
        ErrorKind::RateLimited | ErrorKind::Quota => Problem::RateLimited,
        ErrorKind::Permission | ErrorKind::Authentication => Problem::Forbidden,
        ErrorKind::TooLarge => Problem::BodyTooLarge,
        _ if status.is_server_error() => Problem::Unavailable,
        _ => Problem::Invalid,
    };
    Failure::refused(problem).with_status(status).with_hint(error.message.clone())
}

/// What a provider says, as a failure: its words are for the log.
pub(super) fn failure(error: &Error) -> Failure {
    let (side, problem, hint) = match error.kind {
        ErrorKind::RateLimited | ErrorKind::Quota => {
            (Side::Upstream, Problem::RateLimited, "the model's provider takes no more calls now")
        }
        ErrorKind::ContextLength => {
            (Side::Client, Problem::Invalid, "the input makes the prompt longer than the model takes")
        }
        ErrorKind::ContentFilter => {
            (Side::Client, Problem::Invalid, "the model's provider refuses the content")
        }
        ErrorKind::TooLarge => (Side::Client, Problem::BodyTooLarge, "the input is too large for the model"),
        ErrorKind::Timeout => (Side::Upstream, Problem::UpstreamTimeout, "the model did not answer in time"),
        ErrorKind::Overloaded => (Side::Upstream, Problem::Unavailable, "the model's provider is busy"),
        ErrorKind::Invalid => {
            (Side::Upstream, Problem::BadUpstreamAnswer, "the model's provider does not take this prompt")
        }
        ErrorKind::Authentication | ErrorKind::Permission | ErrorKind::NotFound | ErrorKind::Server => {
            (Side::Upstream, Problem::BadUpstreamAnswer, "the model's provider failed")
        }
    };
    let failure = Failure::new(side, Stage::Body, problem).with_hint(hint).with_detail(error.message.clone());
    match error.retry_after {
        Some(after) => failure.with_retry_after(after),
        None => failure,
    }
}

/// The head of the caller's answer: of the model's head only what the gateway put there.
pub(super) fn head(response: &Response<Body>) -> Response<Body> {
    let mut answer = Response::new(Body::Empty);
    for (name, value) in response.headers() {
        if name.as_str().starts_with("x-tidegate-") {
            answer.headers_mut().append(name.clone(), value.clone());
        }
    }
    answer
}

/// What the model said.
pub(in crate::handler) async fn said(response: Response<Body>) -> Result<Said, Failure> {
    let bytes = gather(response.into_body(), ANSWER_BYTES_MAX).await.map_err(|why| match why {
        Ungathered::TooLarge => Failure::upstream(
            Stage::Body,
            Problem::BadUpstreamAnswer,
            format!("the model's answer is larger than {ANSWER_BYTES_MAX} bytes"),
        ),
        Ungathered::Failed(failure) => failure,
    })?;
    read(&bytes)
}

/// A whole answer, read.
pub(super) fn read(bytes: &[u8]) -> Result<Said, Failure> {
    SPOKEN.read_answer(bytes).map(Said::of).map_err(|error| {
        Failure::upstream(Stage::Body, Problem::BadUpstreamAnswer, error.message)
            .with_hint("the model's answer could not be understood")
    })
}

/// Puts the typed answer into its head.
pub(super) fn fill(answer: &mut Response<Body>, value: &Value, said: &Said) {
    let text = Bytes::from(value.to_string());
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    headers.insert(FINISH, HeaderValue::from_static(said.finish));
    *answer.body_mut() = Body::Full(text);
}

/// Adds what a first try spent to what the record has of the second.
pub(super) fn add_spent(call: &Call, before: Option<TokenUsage>) {
    if let (Some(told), Some(before)) = (&call.record.ai, before) {
        let now = told.spending().map(|spending| spending.usage).unwrap_or_default();
        let sum = |now: u64, before: u64| now.saturating_add(before);
        told.spend(TokenUsage {
            input: sum(now.input, before.input),
            cache_read: sum(now.cache_read, before.cache_read),
            cache_write: sum(now.cache_write, before.cache_write),
            cache_write_long: sum(now.cache_write_long, before.cache_write_long),
            input_audio: sum(now.input_audio, before.input_audio),
            input_image: sum(now.input_image, before.input_image),
            output: sum(now.output, before.output),
            reasoning: sum(now.reasoning, before.reasoning),
            output_audio: sum(now.output_audio, before.output_audio),
            output_image: sum(now.output_image, before.output_image),
        });
    }
}
