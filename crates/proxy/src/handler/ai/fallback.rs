//! Whether an answer is one to pass on while another target could be asked: a stream that has begun to speak, an answer
//! that no filter cut.
//!
//! What was read of an answer for that is kept and goes on with the rest of it.

use std::collections::{BTreeSet, VecDeque};

use ai::{
    canon::{Choice, Error, ErrorKind, Event, Finish, Opening, Part},
    dialect::Dialect,
    stream::FrameReader,
    words::Words,
};
use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::BodyExt;
use model::resource::ai::FallbackOn;
use tokio::time::Instant;

use super::{Told, answer, begun::begun, fault::Fault, gathered::gather, metered, sending};
use crate::{
    body::Body,
    failure::{Failure, Problem, Stage},
};

/// Bytes of a stream's beginning that are kept. One that says nothing in so many is passed on.
const BEGINNING_BYTES_MAX: usize = 256 * 1024;
/// Bytes of an answer that is looked through for why it ended.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a stream that says nothing in time fails with: at a provider that may have had the call, or at one to which there
/// was no connection yet.
pub(super) fn silent(was_there: bool) -> Failure {
    let error = "the stream had not begun to speak within `firstToken`";
    let stage = if was_there { Stage::Body } else { Stage::Connect };
    Failure::upstream(stage, Problem::UpstreamTimeout, error)
}

/// How a stream began.
pub(super) enum Began {
    /// With a word, or with its end.
    Spoke(Response<Body>),
    /// All of its answers were cut by a filter, and another target is asked after that.
    Cut,
    /// With an error, which may be another's matter.
    Refused(Error),
}

/// Waits until a stream has begun to speak. One that breaks off before fails; one that tells an error before has refused;
/// one of which all `answers` end before, cut by a filter, is nothing where another target is asked after that.
pub(super) async fn spoken(
    response: Response<Body>,
    dialect: Dialect,
    until: Option<Instant>,
    (on, answers): (&[FallbackOn], u64),
    told: &Told,
) -> Result<Began, Failure> {
    let goes_on = on.contains(&FallbackOn::ContentFilter);
    let is_filtered = |finish: &Finish| goes_on && is_cut(finish, dialect, true);
    // Of several answers side by side one may be cut and another be told.
    let mut cut = BTreeSet::new();
    // What says why nothing is said is no word of an answer, where another target may be asked after it.
    let mut declines = false;
    let (parts, mut body) = response.into_parts();
    let mut frames = FrameReader::new(dialect.provider_framing());
    let mut reader = dialect.stream_reader();
    let (mut held, mut bytes) = (VecDeque::new(), 0);
    let (mut whole, mut events) = (Vec::new(), Vec::new());
    let mut is_over_bounds = false;
    loop {
        let next = match until {
            Some(until) => tokio::time::timeout_at(until, body.frame()).await.map_err(|_| silent(true))?,
            None => body.frame().await,
        };
        let Some(frame) = next.transpose()? else { break };
        let Ok(data) = frame.into_data() else { break };
        let is_framed = frames.push(&data, &mut whole).is_ok();
        bytes += data.len();
        held.push_back(data);
        whole.drain(..).for_each(|frame| reader.read(frame, &mut events));
        for event in events.drain(..) {
            if let Event::Open { opening, .. } = &event {
                declines = goes_on && is_of_filters(dialect) && matches!(opening, Opening::Refusal);
            }
            match event {
                // What is wrong with the request is so everywhere: the caller is told in the provider's words.
                Event::Error(error) if is_of_request(error.kind) => {
                    return Ok(spoke(parts, held, body));
                }
                Event::Error(error) => return Ok(Began::Refused(error)),
                Event::Finish { choice, ref finish } if is_filtered(finish) => {
                    cut.insert(choice);
                    if cut.len() as u64 >= answers {
                        return Ok(Began::Cut);
                    }
                }
                // What it told is paid, though it may say nothing more.
                Event::Usage(ref usage) => metered::spend(told, usage),
                // It came with fewer than were asked for.
                Event::End if !cut.is_empty() => return Ok(Began::Cut),
                Event::Delta { .. } if declines => {}
                event if speaks(&event) => return Ok(spoke(parts, held, body)),
                _ => {}
            }
        }
        if bytes > BEGINNING_BYTES_MAX || !is_framed {
            is_over_bounds = true;
            break;
        }
    }
    // Some say why a stream ends only with its end.
    reader.end(&mut events);
    let is_other = |event: &Event| matches!(event, Event::Finish { finish, .. } if !is_filtered(finish));
    let late =
        events.iter().filter(|event| matches!(event, Event::Finish { finish, .. } if is_filtered(finish)));
    let is_all_cut = !cut.is_empty() || late.count() > 0;
    if is_all_cut && !is_over_bounds && !events.iter().any(is_other) {
        return Ok(Began::Cut);
    }
    Ok(spoke(parts, held, body))
}

/// A stream with what was read of it.
fn spoke(parts: http::response::Parts, held: VecDeque<Bytes>, inner: Body) -> Began {
    Began::Spoke(Response::from_parts(parts, begun(held, inner)))
}

/// Marks an answer that is made of a stream's first event: its provider took the request, and may bill it.
#[derive(Clone)]
struct OfAnEvent;

/// Whether an answer that nobody is given may be billed.
pub(super) fn is_due(response: &Response<Body>) -> bool {
    response.status().is_success() || response.extensions().get::<OfAnEvent>().is_some()
}

/// What a stream refused with, as the answer that it would have been before its head was told.
pub(super) fn refusal(dialect: Dialect, mut error: Error, fault: Option<Fault>) -> Response<Body> {
    error.status = status_of(&error).as_u16();
    let mut response = answer::response(dialect, &error);
    response.extensions_mut().insert(OfAnEvent);
    if let Some(fault) = fault {
        response.extensions_mut().insert(fault);
    }
    response
}

/// The status that an error has which was told without one: that of its kind, where its words say more than the status that
/// stands for any failure.
pub(super) fn status_of(error: &Error) -> StatusCode {
    let is_any = ErrorKind::of_status(error.status) == ErrorKind::Server;
    let told = if is_any && error.kind != ErrorKind::Server { error.kind.status() } else { error.status };
    let told = StatusCode::from_u16(told).ok();
    let told = told.filter(|status| status.is_client_error() || status.is_server_error());
    told.unwrap_or(StatusCode::BAD_GATEWAY)
}

/// Whether an error says that a request is wrong.
fn is_of_request(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Invalid | ErrorKind::TooLarge | ErrorKind::ContextLength)
}

/// Whether it is a filter that ended an answer. Claude's is told as a refusal; one that comes without a word of an answer
/// is the filter's.
fn is_cut(finish: &Finish, dialect: Dialect, is_wordless: bool) -> bool {
    match finish {
        Finish::ContentFilter => true,
        Finish::Refusal => is_wordless && is_of_filters(dialect),
        _ => false,
    }
}

/// Whether a dialect tells what a filter did as a refusal.
fn is_of_filters(dialect: Dialect) -> bool {
    matches!(dialect, Dialect::Anthropic | Dialect::Bedrock)
}

/// Whether a caller has something of the model's by this.
fn speaks(event: &Event) -> bool {
    match event {
        Event::Delta { .. } | Event::Finish { .. } | Event::End => true,
        Event::Open { opening, .. } => matches!(opening, Opening::ToolCall { .. } | Opening::Whole(_)),
        _ => false,
    }
}

/// An answer, whole, and whether it is one that another target is asked after. Of a vendor that is asked in words of its own
/// only what it refuses is.
pub(super) async fn judged(
    response: Response<Body>,
    (dialect, words): (Dialect, Option<Words>),
    on: &[FallbackOn],
) -> Result<(Response<Body>, bool), Failure> {
    let is_made = words.is_some() && response.status().is_success();
    if is_made || response.headers().contains_key(header::CONTENT_ENCODING) {
        return Ok((response, false));
    }
    let (parts, body) = response.into_parts();
    let bytes = gather(body, ANSWER_BYTES_MAX).await.map_err(|_| {
        let error = "the provider's answer broke off, or is too large";
        Failure::upstream(Stage::Body, Problem::BadUpstreamAnswer, error)
    })?;
    let wanted = |wanted: FallbackOn| on.contains(&wanted);
    let goes_on = match parts.status {
        status if status.is_success() => {
            let read = dialect.read_answer(&bytes);
            wanted(FallbackOn::ContentFilter)
                && read.is_ok_and(|answer| {
                    let cut = |choice: &Choice| {
                        let is_wordless =
                            choice.parts.iter().all(|part| matches!(part, Part::Refusal { .. }));
                        choice.finish.as_ref().is_some_and(|finish| is_cut(finish, dialect, is_wordless))
                    };
                    !answer.choices.is_empty() && answer.choices.iter().all(cut)
                })
        }
        status => match sending::read_error((dialect, words), status, &bytes).kind {
            ErrorKind::ContentFilter => wanted(FallbackOn::ContentFilter),
            ErrorKind::ContextLength => wanted(FallbackOn::ContextLength),
            _ => false,
        },
    };
    Ok((Response::from_parts(parts, Body::Full(bytes)), goes_on))
}

/// Whether an answer is looked through: one of a choice's that is whole and may have been cut or refused.
pub(super) fn is_judged(status: StatusCode, on: &[FallbackOn]) -> bool {
    !on.is_empty() && (status.is_success() || status == StatusCode::BAD_REQUEST)
}
