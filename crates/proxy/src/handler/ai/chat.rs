//! Answers conversations: target after target until one has begun to answer.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use ai::{
    canon::{Error, ErrorKind, Losses},
    dialect::{Dialect, Spoken},
    endpoint::{Endpoint, Operation},
    peek::Peek,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use model::{AiRecord, Side, resource::ai::FallbackOn};

use super::{
    AiGateway, Told,
    again::{Retry, Rounds},
    answer, beside, betas, cache, choice,
    counted::Counted,
    counter::Counter,
    dropped::{listed, named},
    estimated, fallback,
    fault::Fault,
    gathered::{Ungathered, gather},
    guards,
    meters::Bill,
    models::{Asked, Target},
    onward::{Heirs, Next},
    outgoing, passed,
    prepare::{Conversation, Prepared, prepare, uri, without_credentials},
    read::{self, Looked},
    receipts, recorded,
    refusals::{Refusals, Refused, Verdict},
    reply::{finish, receipt},
    sending::{self, Outgoing, Unanswered},
    shadow, stored, transcripts, units,
    unpacked::unpacked,
    vectors, worded,
};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem, Stage},
    worker::Worker,
};

const FORM: &[u8] = b"multipart/form-data";

/// Answers a conversation, or what else a model does: translated where caller and provider do not speak alike and both have
/// words for it.
pub(super) async fn answer(
    gateway: &AiGateway,
    worker: &Rc<Worker>,
    call: &mut Call,
    endpoint: Endpoint,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let body = unpacked(call, body, gateway.body_bytes_max)?;
    let body = whole(body, gateway.body_bytes_max).await?;
    let form = form(&call.head.headers).filter(|_| takes_forms(endpoint.operation));
    let form = form.map(|kind| kind.to_str().unwrap_or_default().to_owned());
    let peek = match &form {
        Some(kind) => Peek::of_form(kind, &body),
        None => Peek::of(&body),
    };
    let peek = peek.map_err(answer::refused)?;
    let name = endpoint.model.clone().or_else(|| peek.model.clone());
    let Some(name) = name else {
        return Err(answer::refused(Error::invalid("model", "`model` is required")));
    };
    let Some(asked) = gateway.models.find(&name) else {
        return Err(no_model(&name));
    };
    // A prompt is an API of its own: its model is the operator's choice.
    if let Some(consumer) = &call.consumer
        && !gateway.composes
        && !consumer.may_use(&name)
    {
        return Err(Failure::refused(Problem::Forbidden)
            .with_hint(format!("the key that was shown is not for the model `{name}`")));
    }
    let stream = endpoint.stream || peek.stream;
    let query = call.head.uri.query().and_then(without_credentials);
    let mut conversation = Conversation {
        endpoint: &endpoint,
        body,
        peek,
        stream,
        query,
        form,
        is_interleaved: outgoing::is_interleaved(&call.head.headers),
        is_composed: gateway.composes,
        is_strict: gateway.strict,
        canonical: None,
        priority: Default::default(),
        between: None,
        heirs: None,
        watch: Default::default(),
        ticket: None,
        cached: None,
        bill: None,
        pin: None,
        beside: Vec::new(),
        owner: None,
    };
    stored::open_in(gateway, call, &mut conversation)?;
    // Who is asked beside the model costs, too: nobody is before there is room for the call.
    if asks_others(call) && !call.ai.meters.is_empty() {
        call.ai.asides = Some(Default::default());
        conversation.beside = beside::of(gateway, call, &conversation, &asked);
        conversation.bill = Some(Bill::open(call, &conversation, &asked).await?);
    }
    let recording = recorded::begin(gateway, call, &conversation);
    // Forms are files above all, which no rule reads.
    let refused = match conversation.peek.is_form() {
        true => guards::form(call, &mut conversation, &name)?,
        false => guards::request(gateway, worker, call, &mut conversation, &name).await?,
    };
    if let Some(refused) = refused {
        return Ok(refused);
    }
    if let Some(failure) = transcripts::unread(&conversation) {
        return Err(failure);
    }
    // Texts without a conversation's form, and conversations that only their vendor can read.
    let is_unread = matches!(conversation.endpoint.operation, Operation::Completions | Operation::Compact);
    if is_unread && conversation.watch.reads_answers() {
        return Err(Failure::refused(Problem::NotImplemented).with_hint(
            "the answers of this endpoint cannot be read by the rules of this route: ask for a chat",
        ));
    }
    if let Some(duty) = call.ai.cache.take() {
        // Boxed, as all is that is large and that most calls do without.
        let looking = Box::pin(cache::look(gateway, worker, call, &mut conversation, &name, duty));
        if let Some(known) = looking.await? {
            return Ok(recorded::keep(recording, call, &conversation, known));
        }
    }
    let response = serve(gateway, worker, call, &name, &asked, &mut conversation).await?;
    Ok(recorded::keep(recording, call, &conversation, response))
}

/// Whether somebody beside the model may be asked for a call: a judge, a moderation, an embedding.
fn asks_others(call: &Call) -> bool {
    let duties = &call.ai;
    let embeds = duties.cache.as_ref().is_some_and(|cache| cache.settings.semantic.is_some());
    embeds || duties.guards.iter().any(|guard| guard.asks_others())
}

/// Whether requests may be forms. Elsewhere a provider that ignores the media type would read something else in one than
/// was judged.
fn takes_forms(operation: Operation) -> bool {
    matches!(operation, Operation::ImageEdits | Operation::Transcriptions | Operation::Translations)
}

/// The media type of a body that is a form.
fn form(headers: &HeaderMap) -> Option<&HeaderValue> {
    let kind = headers.get(header::CONTENT_TYPE)?;
    let begin = kind.as_bytes().get(..FORM.len())?;
    begin.eq_ignore_ascii_case(FORM).then_some(kind)
}

/// A form goes on as the form that it is.
fn keep_form(headers: &mut HeaderMap, came: &HeaderMap, conversation: &Conversation<'_>) {
    if let Some(kind) = form(came).filter(|_| conversation.peek.is_form()) {
        headers.insert(header::CONTENT_TYPE, kind.clone());
    }
}

fn no_model(name: &str) -> Failure {
    let message = format!("no model `{name}` here; the list of models names those that there are");
    answer::refused(Error::new(ErrorKind::NotFound, message)).with_code("model_not_found")
}

pub(super) async fn whole(body: Body, bytes_max: usize) -> Result<Bytes, Failure> {
    gather(body, bytes_max).await.map_err(|why| match why {
        Ungathered::TooLarge => Failure::refused(Problem::BodyTooLarge)
            .with_hint(format!("the body is larger than {bytes_max} bytes")),
        Ungathered::Failed(failure) => failure,
    })
}

async fn serve(
    gateway: &AiGateway,
    worker: &Rc<Worker>,
    call: &mut Call,
    name: &str,
    asked: &Asked<'_>,
    conversation: &mut Conversation<'_>,
) -> Result<Response<Body>, Failure> {
    let targets = choice::order(asked, call, conversation, name, gateway.priority.as_ref())?;
    if let Some(counted) = estimated::count(call, conversation, name, asked, &targets) {
        return Ok(counted);
    }
    let bill = match conversation.bill.take() {
        Some(bill) => bill,
        None => Bill::open(call, conversation, asked).await?,
    };
    let uri = call.head.uri.clone();
    let came = std::mem::take(&mut call.head.headers);
    let asking = ask(gateway, worker, call, name, asked, conversation, targets, bill, &came);
    let answer = Box::pin(asking).await;
    // What policies do with the answer they do for the caller's own request.
    call.head.headers = came;
    call.head.uri = uri;
    match answer {
        Ok(response) if !asked.alias.shadows.is_empty() => {
            Ok(receipts::follow(call, shadow::beside(worker, call, asked, conversation, response)))
        }
        Ok(response) => Ok(receipts::follow(call, response)),
        Err(failure) => Err(failure),
    }
}

/// Asks target after target.
#[expect(clippy::too_many_arguments, reason = "they are what a call to a model is")]
async fn ask(
    gateway: &AiGateway,
    worker: &Rc<Worker>,
    call: &mut Call,
    name: &str,
    asked: &Asked<'_>,
    conversation: &mut Conversation<'_>,
    mut targets: Vec<&Target>,
    mut bill: Bill,
    came: &HeaderMap,
) -> Result<Response<Body>, Failure> {
    let heard = conversation.units().and_then(|units| units.input);
    let mut rounds = asked.alias.choice.retry.as_ref().map(Retry::begin);
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
        let key = conversation.pin.as_ref().map(|pin| pin.key(&target.provider));
        let (provider, dialect, priority) = (&target.provider, prepared.dialect, conversation.priority);
        let (uri, body, key) = (uri(prepared.path)?, prepared.body, key.as_ref());
        let outgoing =
            Outgoing { provider, model: &model, dialect, uri, headers, body, priority, key, words };
        let (began, mark, watch) = (Instant::now(), passed::Mark::set(call), target.standing.watch());
        let (more, again) = (next < targets.len(), rounds.as_ref().is_some_and(Rounds::are_left));
        let on = if more { &*asked.alias.choice.fallback_on } else { &[] };
        // Where no target is left its first word is waited for.
        let within = asked.alias.choice.first_token(target).filter(|_| more);
        let result = match (more || again) && conversation.stream {
            true => sending::speak(worker, call, outgoing, within, (on, conversation.answers()), &told).await,
            false => sending::send(worker, call, outgoing).await.map(Some),
        };
        (awaited, queued) = (awaited + began.elapsed(), queued + told.queued());
        told.wait_for(awaited, queued);
        if let Some(well) = fared(&result) {
            watch.answered(well);
            sent |= !matches!(&result, Err(Unanswered::Failed(failure)) if failure.stage() == Stage::Pick);
        }
        match result {
            Ok(None) => {
                bill.set_aside(true);
                // It would say the same again.
                (next, _) = (next - 1, targets.remove(next - 1));
                mark.passed(call, Some(StatusCode::OK), passed::why(None, StatusCode::OK));
            }
            Ok(Some(response)) if is_judged(conversation, &response, on) => {
                let (status, is_due) = (response.status(), fallback::is_due(&response));
                let reason = match fallback::judged(response, (dialect, words), on).await {
                    Ok((response, false)) => {
                        let from = From { target, model: &model, dialect, told };
                        return given(gateway, worker, call, conversation, from, response, bill).await;
                    }
                    Ok((response, true)) => {
                        receipts::unwanted(&response, dialect, &told);
                        passed::why(None, status)
                    }
                    Err(failure) => passed::why(Some(failure), status),
                };
                bill.set_aside(is_due);
                mark.passed(call, Some(status), reason);
            }
            Ok(Some(response)) if may_go_on(&response, on, more) => {
                bill.set_aside(fallback::is_due(&response));
                mark.passed(call, Some(response.status()), passed::STATUS);
                let refused = Refused { target, model: model.clone(), dialect, words, told, response };
                refusals.answered(refused).await;
            }
            Ok(Some(response)) => {
                conversation.between = asked.alias.choice.between_tokens(target);
                if gateway.continues && more && conversation.stream && response.status().is_success() {
                    let rest = targets.iter().skip(next).copied();
                    let speaker = (&told, dialect, &mut bill);
                    conversation.heirs = heirs(worker, call, conversation, asked, rest, came, speaker);
                }
                let from = From { target, model: &model, dialect, told };
                let response = given(gateway, worker, call, conversation, from, response, bill).await?;
                let is_counted = asked.alias.choice.counts();
                let counted = |body| Body::boxed(Counted::new(body, watch.in_flight));
                return Ok(if is_counted { response.map(counted) } else { response });
            }
            Err(Unanswered::Away(one)) => {
                bill.refused();
                mark.passed(call, None, sending::all_away(one).problem().slug());
                refusals.away(one);
            }
            Err(Unanswered::Failed(failure)) => {
                bill.failed(&failure);
                if failure.side() == Side::Client {
                    return Err(failure);
                }
                mark.passed(call, None, failure.problem().slug());
                refusals.failed(failure, told, target.provider.target.upstream.name.clone());
            }
        }
    }
    conclude(gateway, worker, call, conversation, refusals, bill).await
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

/// Whether an answer is looked through for whether another target is asked after it. Of streams that is done as they
/// begin.
fn is_judged(conversation: &Conversation<'_>, response: &Response<Body>, on: &[FallbackOn]) -> bool {
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

/// Tells the caller the most useful of what targets said that did not answer.
async fn conclude(
    gateway: &AiGateway,
    worker: &Rc<Worker>,
    call: &mut Call,
    conversation: &mut Conversation<'_>,
    refusals: Refusals<'_>,
    bill: Bill,
) -> Result<Response<Body>, Failure> {
    match refusals.verdict() {
        Verdict::Answer(refused) => {
            let Refused { target, model, dialect, told, response, .. } = *refused;
            call.record.upstream = Some(target.provider.target.upstream.name.clone());
            call.record.ai = Some(told.clone());
            passed::tells(call, Ok(response.status()));
            let from = From { target, model: &model, dialect, told };
            given(gateway, worker, call, conversation, from, response, bill).await
        }
        Verdict::Failure(failure, of) => {
            if let Some((told, upstream)) = of {
                call.record.upstream = Some(upstream);
                call.record.ai = Some(told);
                passed::tells(call, Err(&failure));
            }
            Err(failure)
        }
    }
}

/// Those who may go on with a stream when it breaks off.
fn heirs<'t>(
    worker: &Rc<Worker>,
    call: &Call,
    conversation: &mut Conversation<'_>,
    asked: &Asked<'_>,
    rest: impl Iterator<Item = &'t Target>,
    came: &HeaderMap,
    (told, spoke, bill): (&Told, Dialect, &mut Bill),
) -> Option<Box<Heirs>> {
    if conversation.endpoint.operation != Operation::Chat {
        return None;
    }
    read::read_request(conversation);
    let request = conversation.canonical.as_ref().filter(|request| ai::resume::can_go_on(request))?.clone();
    let choice = &asked.alias.choice;
    let next = |target: &Target| {
        let (first_token, between) = (choice.first_token(target), choice.between_tokens(target));
        Some(Next { target: asked.alias.shared(target)?, model: asked.model(target), first_token, between })
    };
    let targets = rest.filter_map(next).collect();
    let mut head = http::Request::new(()).into_parts().0;
    head.method = http::Method::POST;
    Some(Box::new(Heirs {
        worker: worker.clone(),
        call: call.errand(head),
        targets,
        request,
        came: came.clone(),
        caller: conversation.endpoint.dialect,
        told: told.clone(),
        spoke,
        priority: conversation.priority,
        is_strict: conversation.is_strict,
        room: bill.room(),
        stopped_by: None,
    }))
}

/// Who answered.
struct From<'f> {
    target: &'f Target,
    model: &'f str,
    dialect: Dialect,
    told: Told,
}

/// Gives an answer to the caller: read, where rules or the cache want that, else as it comes.
async fn given(
    gateway: &AiGateway,
    worker: &Rc<Worker>,
    call: &mut Call,
    conversation: &mut Conversation<'_>,
    from: From<'_>,
    response: Response<Body>,
    bill: Bill,
) -> Result<Response<Body>, Failure> {
    let From { target, model, mut dialect, told } = from;
    let mut response = response;
    if response.status().is_success() {
        units::note(conversation, &told);
        let caller = conversation.endpoint.dialect;
        if conversation.endpoint.operation == Operation::Embeddings && dialect != caller {
            response = Box::pin(vectors::told(conversation, dialect, model, response)).await?;
            dialect = caller;
        }
    }
    if let Some(words) = target.provider.words(conversation.endpoint.operation) {
        response = Box::pin(worded::told(call, conversation, words, response, &told)).await?;
        dialect = conversation.endpoint.dialect;
    }
    let is_heard =
        response.status().is_success() && transcripts::are_made_by(conversation.endpoint.operation);
    if is_heard && conversation.watch.reads_answers() {
        let bytes = Box::pin(transcripts::screened(call, conversation, response, &told)).await?;
        return finish(call, conversation, dialect, target, bytes, told, bill).await;
    }
    if !read::is_wanted(conversation, &response) {
        return finish(call, conversation, dialect, target, response, told, bill).await;
    }
    let response = match read::look(conversation, dialect, response).await? {
        Looked::Clear(response) => {
            return finish(call, conversation, dialect, target, response, told, bill).await;
        }
        Looked::Unsure(response) => response,
    };
    let of = Some((target, model));
    let read =
        Box::pin(read::finish(gateway, worker, call, conversation, dialect, of, response, told.clone()));
    let mut response = read.await?;
    receipt(&mut response, target, &told);
    receipts::put(call, &mut response, &told);
    Ok(bill.travel(response))
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
