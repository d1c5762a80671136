//! Asks the targets of a model, one after the other, until one answers or none is left.
//!
//! What becomes of each is an [`Outcome`]: the caller is given its answer, nobody else is asked, or it is [`Left`] for
//! another. Whatever it is left for, one place says what of the bill is owed, what the record has of the try, and what is kept
//! of it to be told when nobody does better.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use ai::{
    canon::{Error, ErrorKind, Losses},
    dialect::{Dialect, Spoken},
    endpoint::Operation,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use model::{AiRecord, Side, resource::ai::FallbackOn};

use super::{
    AiGateway, Told,
    again::{Retry, Rounds},
    answer, betas, chat,
    counted::Counted,
    counter::Counter,
    dropped::{listed, named},
    fallback,
    fault::Fault,
    given::{Tried, conclude, given},
    keys::Away,
    meters::Bill,
    models::{Asked, Target},
    onward::{Heirs, Next},
    outgoing, passed,
    prepare::{Conversation, Prepared, prepare, uri},
    read, receipts,
    refusals::{Refusals, Refused},
    sending::{self, Outgoing, Unanswered},
};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Stage},
    worker::Worker,
};

/// Who is asked for a call, by which name, and what is held for it.
pub(super) struct Asking<'q> {
    pub(super) name: &'q str,
    pub(super) asked: &'q Asked<'q>,
    pub(super) targets: Vec<&'q Target>,
    pub(super) bill: Bill,
    /// The head as it came.
    pub(super) came: &'q HeaderMap,
}

/// What becomes of a target that was asked.
#[expect(
    clippy::large_enum_variant,
    reason = "one of them lives for a moment, and an answer is the usual one"
)]
enum Outcome {
    /// The caller is given its answer.
    Given(Response<Body>),
    /// The caller itself is at fault: nobody else is asked.
    Over(Failure),
    /// Another may do better.
    Left(Left),
}

/// Why a target is left for another.
enum Left {
    /// A filter cut its stream before the first word. It would say the same again.
    Cut,
    /// Its answer was looked through, and is none to pass on while another may do better: nothing where it broke off. Else it
    /// would say the same again.
    Unwanted { status: StatusCode, is_due: bool, reason: &'static str, response: Option<Box<Response<Body>>> },
    /// It answered with a status that another may do better than.
    Refused(Box<Response<Body>>),
    /// None of its keys can be taken.
    Away(Away),
    /// It could not be reached, or broke off.
    Failed(Failure),
}

impl Left {
    /// Whether its provider took the request, and may bill it.
    fn is_due(&self) -> bool {
        match self {
            Self::Cut => true,
            Self::Unwanted { is_due, .. } => *is_due,
            Self::Refused(response) => fallback::is_due(response),
            Self::Away(_) => false,
            Self::Failed(failure) => sending::may_be_due(failure),
        }
    }

    /// What the record says of the try: the status that it answered with, if it did, and the reason.
    fn told(&self) -> (Option<StatusCode>, &'static str) {
        match self {
            Self::Cut => (Some(StatusCode::OK), passed::why(None, StatusCode::OK)),
            Self::Unwanted { status, reason, .. } => (Some(*status), *reason),
            Self::Refused(response) => (Some(response.status()), passed::STATUS),
            Self::Away(away) => (None, sending::all_away(*away).problem().slug()),
            Self::Failed(failure) => (None, failure.problem().slug()),
        }
    }
}

/// Asks target after target.
pub(super) async fn ask(
    gateway: &AiGateway,
    worker: &Rc<Worker>,
    call: &mut Call,
    conversation: &mut Conversation<'_>,
    asking: Asking<'_>,
) -> Result<Response<Body>, Failure> {
    let Asking { name, asked, mut targets, mut bill, came } = asking;
    let choice = &asked.alias.choice;
    let heard = conversation.units().and_then(|units| units.input);
    let mut rounds = choice.retry.as_ref().map(Retry::begin);
    let (mut refusals, mut next, mut sent) = (Refusals::default(), 0, false);
    let (mut awaited, mut queued) = (Duration::ZERO, Duration::ZERO);
    loop {
        let Some(target) = targets.get(next).copied() else {
            let Some(pause) = pause(worker, rounds.as_mut(), &refusals, sent) else { break };
            tokio::time::sleep(pause).await;
            (awaited, queued) = (awaited + pause, queued + pause);
            refusals.begin_again();
            (next, sent) = (0, false);
            continue;
        };
        next += 1;
        // What one dialect cannot say another may.
        let carried = carried(gateway, conversation, asked, target, came);
        let Ok((prepared, headers)) = carried.map_err(|failure| refusals.uncarried(failure)) else {
            continue;
        };
        let model = asked.model(target);
        if let Err(kind) = bill.hold_for(&model).await {
            call.record.stopped_by = Some(kind);
            refusals.no_room(kind);
            break;
        }
        let told = Arc::new(told_of(conversation, name, asked, target, &prepared.losses, heard));
        note(call, target, &told);
        bill.asks(&told);
        let words = target.provider.words(conversation.endpoint.operation);
        let tried = Tried { target, model, dialect: prepared.dialect, words, told };
        let (began, mark, watch) = (Instant::now(), passed::Mark::set(call), target.standing.watch());
        let (more, again) = (next < targets.len(), rounds.as_ref().is_some_and(Rounds::are_left));
        let on = if more { &*choice.fallback_on } else { &[] };
        // Where no target is left its first word is waited for.
        let first = (more || again).then(|| choice.first_token(target).filter(|_| more));
        let result = sent_to(worker, call, conversation, &tried, (prepared, headers), first, on).await;
        (awaited, queued) = (awaited + began.elapsed(), queued + tried.told.queued());
        tried.told.wait_for(awaited, queued);
        if let Some(well) = fared(&result) {
            watch.answered(well);
            sent |= !matches!(&result, Err(Unanswered::Failed(failure)) if failure.stage() == Stage::Pick);
        }
        let left = match outcome(conversation, result, &tried, on, more).await {
            Outcome::Given(response) => {
                conversation.between = choice.between_tokens(target);
                if gateway.continues && more && conversation.stream && response.status().is_success() {
                    let rest = targets.iter().skip(next).filter_map(|target| next_of(asked, target));
                    conversation.heirs = heirs(worker, call, conversation, rest, came, &tried, &mut bill);
                }
                let response = given(gateway, worker, call, conversation, tried, response, bill).await?;
                let counted = |body| Body::boxed(Counted::new(body, watch.in_flight));
                return Ok(if choice.counts() { response.map(counted) } else { response });
            }
            Outcome::Over(failure) => {
                bill.set_aside(sending::may_be_due(&failure));
                return Err(failure);
            }
            Outcome::Left(left) => left,
        };
        bill.set_aside(left.is_due());
        let (status, reason) = left.told();
        mark.passed(call, status, reason);
        match left {
            // Another was there to be asked after it, so some are left for a further round.
            Left::Cut => {
                next -= 1;
                targets.remove(next);
            }
            Left::Unwanted { response: Some(response), .. } => {
                next -= 1;
                targets.remove(next);
                refusals.unwanted(Refused { tried, response: *response });
            }
            Left::Unwanted { response: None, .. } => {}
            Left::Refused(response) => refusals.answered(Refused { tried, response: *response }).await,
            Left::Away(away) => refusals.away(away),
            Left::Failed(failure) => {
                refusals.failed(failure, tried.told, target.provider.target.upstream.name.clone());
            }
        }
    }
    conclude(gateway, worker, call, conversation, refusals, bill).await
}

/// Sends a target its request. `first`: where others may be asked after it, a stream is waited for until it speaks, within
/// this time where there is a bound.
async fn sent_to(
    worker: &Rc<Worker>,
    call: &mut Call,
    conversation: &Conversation<'_>,
    tried: &Tried<'_>,
    (prepared, headers): (Prepared, HeaderMap),
    first: Option<Option<Duration>>,
    on: &[FallbackOn],
) -> Result<Option<Response<Body>>, Unanswered> {
    let provider = &tried.target.provider;
    let key = conversation.pin.as_ref().map(|pin| pin.key(provider));
    let outgoing = Outgoing {
        provider,
        model: &tried.model,
        dialect: tried.dialect,
        uri: uri(prepared.path).map_err(Unanswered::Failed)?,
        headers,
        body: prepared.body,
        priority: conversation.priority,
        key: key.as_ref(),
        words: tried.words,
    };
    match first.filter(|_| conversation.stream) {
        Some(within) => {
            let wanted = (on, conversation.answers());
            sending::speak(worker, call, outgoing, within, wanted, &tried.told).await
        }
        None => sending::send(worker, call, outgoing).await.map(Some),
    }
}

/// What becomes of a target by what it said. `more`: whether another can be asked after it, and `on` for what else than its
/// failures.
async fn outcome(
    conversation: &Conversation<'_>,
    result: Result<Option<Response<Body>>, Unanswered>,
    tried: &Tried<'_>,
    on: &[FallbackOn],
    more: bool,
) -> Outcome {
    let response = match result {
        Ok(Some(response)) => response,
        Ok(None) => return Outcome::Left(Left::Cut),
        Err(Unanswered::Away(away)) => return Outcome::Left(Left::Away(away)),
        Err(Unanswered::Failed(failure)) if failure.side() == Side::Client => return Outcome::Over(failure),
        Err(Unanswered::Failed(failure)) => return Outcome::Left(Left::Failed(failure)),
    };
    if is_looked_through(conversation, &response, on) {
        let (status, is_due) = (response.status(), fallback::is_due(&response));
        let (response, why) = match fallback::judged(response, (tried.dialect, tried.words), on).await {
            Ok((response, false)) => return Outcome::Given(response),
            Ok((response, true)) => {
                receipts::unwanted(&response, tried.dialect, &tried.told);
                (Some(Box::new(response)), None)
            }
            Err(failure) => (None, Some(failure)),
        };
        let reason = passed::why(why, status);
        return Outcome::Left(Left::Unwanted { status, is_due, reason, response });
    }
    match may_go_on(&response, on, more) {
        true => Outcome::Left(Left::Refused(Box::new(response))),
        false => Outcome::Given(response),
    }
}

/// Whether a target that was asked did well; nothing of one whose keys are all away.
fn fared(result: &Result<Option<Response<Body>>, Unanswered>) -> Option<bool> {
    match result {
        Ok(answer) => Some(answer.as_ref().is_none_or(|response| !is_failure(response.status()))),
        Err(Unanswered::Failed(_)) => Some(false),
        Err(Unanswered::Away(_)) => None,
    }
}

/// Notes whom a call is asked of.
fn note(call: &mut Call, target: &Target, told: &Told) {
    call.host_from_endpoint = false;
    call.record.upstream = Some(target.provider.target.upstream.name.clone());
    call.record.ai = Some(told.clone());
}

/// What a target is sent: the request in words that it knows, and the fields of its head. A failure is what cannot be
/// said to it.
fn carried(
    gateway: &AiGateway,
    conversation: &mut Conversation<'_>,
    asked: &Asked<'_>,
    target: &Target,
    came: &HeaderMap,
) -> Result<(Prepared, HeaderMap), Failure> {
    let mut prepared = prepare(conversation, asked, target).map_err(answer::refused)?;
    let (of, caller) = (&target.provider, conversation.endpoint.dialect);
    let left = betas::carried(came, caller, &target.rules(&asked.model(target)), &mut prepared);
    let came = &*left;
    let mut headers = outgoing::headers(came, of, caller, prepared.dialect, &mut prepared.losses);
    if gateway.strict && !prepared.losses.is_empty() {
        return Err(too_strict(&prepared.losses, conversation.endpoint.dialect));
    }
    outgoing::dialect_headers(&mut headers, &prepared.headers);
    match prepared.kind.as_deref().map(HeaderValue::try_from) {
        Some(Ok(kind)) => drop(headers.insert(header::CONTENT_TYPE, kind)),
        _ => keep_form(&mut headers, came, conversation),
    }
    target.provider.address(&mut headers);
    Ok((prepared, headers))
}

/// A form goes on as the form that it is.
fn keep_form(headers: &mut HeaderMap, came: &HeaderMap, conversation: &Conversation<'_>) {
    if let Some(kind) = chat::form(came).filter(|_| conversation.peek.is_form()) {
        headers.insert(header::CONTENT_TYPE, kind.clone());
    }
}

/// Whether an answer is looked through for whether another target is asked after it. Of streams that is done as they
/// begin.
fn is_looked_through(conversation: &Conversation<'_>, response: &Response<Body>, on: &[FallbackOn]) -> bool {
    // Sound is played while it comes.
    let is_played = conversation.stream || conversation.endpoint.operation == Operation::Speech;
    fallback::is_judged(response.status(), on) && !(is_played && response.status().is_success())
}

/// How long to wait before the targets are asked again, if they are.
fn pause(
    worker: &Worker,
    rounds: Option<&mut Rounds<'_>>,
    refusals: &Refusals<'_>,
    sent: bool,
) -> Option<Duration> {
    let drawn = (worker.random() >> 11) as f64 / (1_u64 << 53) as f64;
    rounds?.next(refusals.hope()?, sent, drawn)
}

/// A target that may be asked to go on with a stream.
fn next_of(asked: &Asked<'_>, target: &Target) -> Option<Next> {
    let choice = &asked.alias.choice;
    let (first_token, between) = (choice.first_token(target), choice.between_tokens(target));
    Some(Next { target: asked.alias.shared(target)?, model: asked.model(target), first_token, between })
}

/// Those who may go on with a stream when it breaks off.
fn heirs(
    worker: &Rc<Worker>,
    call: &Call,
    conversation: &mut Conversation<'_>,
    rest: impl Iterator<Item = Next>,
    came: &HeaderMap,
    speaker: &Tried<'_>,
    bill: &mut Bill,
) -> Option<Box<Heirs>> {
    if conversation.endpoint.operation != Operation::Chat {
        return None;
    }
    read::read_request(conversation);
    let request = conversation.canonical.as_ref().filter(|request| ai::resume::can_go_on(request))?.clone();
    let mut head = http::Request::new(()).into_parts().0;
    head.method = http::Method::POST;
    Some(Box::new(Heirs {
        worker: worker.clone(),
        call: call.errand(head),
        targets: rest.collect(),
        request,
        came: came.clone(),
        caller: conversation.endpoint.dialect,
        told: speaker.told.clone(),
        spoke: speaker.dialect,
        priority: conversation.priority,
        is_strict: conversation.is_strict,
        room: bill.room(),
        stopped_by: None,
    }))
}

/// Whether an answer is one that another target may do better than: nothing of it has gone to the caller. What a filter
/// refused is such a one only where that is wanted.
fn may_go_on(response: &Response<Body>, on: &[FallbackOn], more: bool) -> bool {
    match response.extensions().get::<Fault>() {
        Some(Fault::Filtered) => more && on.contains(&FallbackOn::ContentFilter),
        _ => is_failure(response.status()),
    }
}

fn is_failure(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                | StatusCode::PAYMENT_REQUIRED
                | StatusCode::NOT_FOUND
        )
}

fn too_strict(losses: &Losses, dialect: Dialect) -> Failure {
    let message = format!("the model that would serve this cannot take {}", listed(&named(losses, dialect)));
    answer::refused(Error { status: 422, ..Error::new(ErrorKind::Invalid, message) })
}

/// The record of what is asked of whom, with what counts its tokens.
fn told_of(
    conversation: &Conversation<'_>,
    name: &str,
    asked: &Asked<'_>,
    target: &Target,
    losses: &Losses,
    heard: Option<u64>,
) -> AiRecord {
    let mut told = tell(conversation, name, asked, target, losses);
    let endpoint = conversation.endpoint;
    told.counter = Some(match heard {
        Some(tokens) => Counter::told(&told.served, tokens),
        None => {
            let spoken = Spoken { model: endpoint.model.clone(), stream: conversation.stream };
            Counter::new(&told.served, endpoint.dialect, spoken, &conversation.body)
        }
    });
    told
}

/// Writes into the record what is asked of whom.
fn tell(
    conversation: &Conversation<'_>,
    name: &str,
    asked: &Asked<'_>,
    target: &Target,
    losses: &Losses,
) -> AiRecord {
    let endpoint = conversation.endpoint;
    let spoken = if conversation.is_composed { "prompt" } else { endpoint.dialect.name() };
    let mut record = AiRecord::new(endpoint.operation.name(), spoken, name.into());
    record.provider = target.provider.name.clone();
    record.kind = &target.provider.kind.name;
    record.served = asked.model(target);
    record.alias = asked.alias.full_name().clone();
    record.variant = target.standing.variant.clone();
    record.is_stream = conversation.stream;
    record.dropped = named(losses, endpoint.dialect);
    record.cache = conversation.cached;
    record.guard(conversation.watch.fired());
    if let Some(prices) = target.prices.of(&record.served) {
        record.prices = Some(prices);
    }
    record
}
