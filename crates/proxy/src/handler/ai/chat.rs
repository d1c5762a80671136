//! Answers conversations: target after target until one has begun to answer.

use std::{rc::Rc, sync::Arc};

use ai::{
    canon::{Error, ErrorKind, Loss, Losses},
    dialect::Dialect,
    endpoint::{Endpoint, Operation},
    peek::Peek,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use model::{AiRecord, Side};

use super::{
    AiGateway, Told, answer, cache, choice,
    counted::Counted,
    fallback,
    gathered::{Ungathered, gather},
    guards,
    keys::Away,
    meters::Bill,
    models::{Asked, Target},
    outgoing,
    prepare::{Conversation, prepare, uri, without_credentials},
    read, receipts,
    reply::{finish, receipt},
    sending::{self, Outgoing, Unanswered},
};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem, Stage},
    worker::Worker,
};

const FORM: &[u8] = b"multipart/form-data";

/// Answers a conversation, translated where caller and provider do not speak alike.
pub(super) async fn answer(
    gateway: &AiGateway,
    worker: &Rc<Worker>,
    call: &mut Call,
    endpoint: Endpoint,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let body = whole(body, gateway.body_bytes_max).await?;
    let peek = match form(&call.head.headers) {
        Some(kind) => Peek::of_form(kind.to_str().unwrap_or_default(), &body),
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
        is_composed: gateway.composes,
        canonical: None,
        watch: Default::default(),
        ticket: None,
        cached: None,
        pin: None,
    };
    if let Some(files) = &gateway.files {
        files.open_in(call, &mut conversation)?;
    }
    // Forms are files above all, which no rule reads.
    if !conversation.peek.is_form() {
        let refused = guards::request(gateway, worker, call, &mut conversation, &name).await?;
        if let Some(refused) = refused {
            return Ok(refused);
        }
    }
    if conversation.endpoint.operation == Operation::Completions && conversation.watch.reads_answers() {
        return Err(Failure::refused(Problem::NotImplemented).with_hint(
            "the answers of this endpoint cannot be read by the rules of this route: ask for a chat",
        ));
    }
    if let Some(known) = cache::look(gateway, worker, call, &mut conversation, &name).await? {
        return Ok(known);
    }
    serve(gateway, worker, call, &name, &asked, &mut conversation).await
}

/// Has a request answered by a provider that speaks the caller's dialect itself: what is not translated.
pub(super) async fn pass(
    gateway: &AiGateway,
    worker: &Rc<Worker>,
    call: &mut Call,
    endpoint: Endpoint,
    body: Body,
) -> Result<Response<Body>, Failure> {
    answer(gateway, worker, call, endpoint, body).await
}

/// The media type of a body that is a form.
fn form(headers: &HeaderMap) -> Option<&HeaderValue> {
    let kind = headers.get(header::CONTENT_TYPE)?;
    let begin = kind.as_bytes().get(..FORM.len())?;
    begin.eq_ignore_ascii_case(FORM).then_some(kind)
}

fn no_model(name: &str) -> Failure {
    let message = format!("no model `{name}` here; the list of models names those that there are");
    answer::refused(Error::new(ErrorKind::NotFound, message))
}

async fn whole(body: Body, bytes_max: usize) -> Result<Bytes, Failure> {
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
    let targets = choice::order(asked, call, conversation, name)?;
    let bill = Bill::open(call, conversation, asked)?;
    let uri = call.head.uri.clone();
    let came = std::mem::take(&mut call.head.headers);
    let asking = ask(gateway, worker, call, name, asked, conversation, targets, bill, &came);
    let answer = Box::pin(asking).await;
    // What policies do with the answer they do for the caller's own request.
    call.head.headers = came;
    call.head.uri = uri;
    answer
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
    targets: Vec<&Target>,
    mut bill: Bill,
    came: &HeaderMap,
) -> Result<Response<Body>, Failure> {
    let mut targets = targets.into_iter().peekable();
    let prompt = ai::estimate::tokens(&conversation.body);
    let (mut refused, mut away) = (None, None);
    while let Some(target) = targets.next() {
        let prepared = match prepare(conversation, asked, target) {
            Ok(prepared) => prepared,
            Err(error) => {
                // What one dialect cannot say another may.
                refused = Some(answer::refused(error));
                continue;
            }
        };
        let mut losses = prepared.losses;
        let mut headers =
            outgoing::headers(came, conversation.endpoint.dialect, prepared.dialect, &mut losses);
        if gateway.strict && !losses.is_empty() {
            refused = Some(too_strict(&losses, conversation.endpoint.dialect));
            continue;
        }
        outgoing::dialect_headers(&mut headers, &prepared.headers);
        if let Some(kind) = form(came) {
            headers.insert(header::CONTENT_TYPE, kind.clone());
        }
        target.provider.address(&mut headers);
        call.host_from_endpoint = false;
        call.record.upstream = Some(target.provider.target.upstream.name.clone());
        let model = asked.model(target);
        let mut told = tell(conversation, name, asked, target, &losses);
        told.prompt = prompt;
        let told = Arc::new(told);
        call.record.ai = Some(told.clone());
        bill.asks(&told);
        let key = conversation.pin.as_ref().map(|pin| pin.key(&target.provider));
        let outgoing = Outgoing {
            provider: &target.provider,
            model: &model,
            dialect: prepared.dialect,
            uri: uri(prepared.path)?,
            headers,
            body: prepared.body,
            key: key.as_ref(),
        };
        let watch = target.standing.watch();
        let more = targets.peek().is_some();
        let on = if more { &*asked.alias.choice.fallback_on } else { &[] };
        let result = match more && conversation.stream {
            true => sending::speak(worker, call, outgoing, target.provider.first_token).await,
            false => sending::send(worker, call, outgoing).await,
        };
        if !matches!(result, Err(Unanswered::Away(_))) {
            watch.answered(result.as_ref().is_ok_and(|response| !may_go_on(response.status())));
        }
        match result {
            Ok(response) if !conversation.stream && fallback::is_judged(response.status(), on) => {
                let is_good = response.status().is_success();
                match fallback::judged(response, prepared.dialect, on).await {
                    Ok((_, true)) | Err(_) if is_good => bill.left(),
                    Ok((_, true)) | Err(_) => bill.refused(),
                    Ok((response, false)) => {
                        let from = From { target, model: &model, dialect: prepared.dialect, told };
                        return given(gateway, worker, call, conversation, from, response, bill).await;
                    }
                }
            }
            Ok(response) if more && may_go_on(response.status()) => {
                bill.refused();
                drop(response);
            }
            Ok(response) => {
                let from = From { target, model: &model, dialect: prepared.dialect, told };
                let response = given(gateway, worker, call, conversation, from, response, bill).await?;
                return Ok(match asked.alias.choice.counts() {
                    true => response.map(|body| Body::boxed(Counted::new(body, watch.in_flight))),
                    false => response,
                });
            }
            Err(Unanswered::Away(one)) => {
                bill.refused();
                away = Some(away.map_or(one, |other: Away| other.and(one)));
            }
            Err(Unanswered::Failed(failure)) => {
                bill.failed(&failure);
                if !more || failure.side() == Side::Client {
                    return Err(failure);
                }
            }
        }
    }
    if let Some(away) = away {
        return Err(sending::all_away(away));
    }
    Err(refused.unwrap_or_else(|| Failure::gateway(Stage::Pick, Problem::NoHealthyEndpoint)))
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
    let From { target, model, dialect, told } = from;
    if !read::is_wanted(conversation, &response) {
        return finish(call, conversation, dialect, target, response, told, bill).await;
    }
    let of = Some((target, model));
    let read = read::finish(gateway, worker, call, conversation, dialect, of, response, told.clone());
    let mut response = read.await?;
    receipt(&mut response, target, &told);
    receipts::put(call, &mut response, &told);
    Ok(bill.travel(response))
}

/// Whether another target is asked after an answer with this status: nothing of it has gone to the caller.
fn may_go_on(status: StatusCode) -> bool {
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
    let message =
        format!("the model that would serve this cannot take {}", named(losses, dialect).join(", "));
    answer::refused(Error { status: 422, ..Error::new(ErrorKind::Invalid, message) })
}

/// What was not carried, in the caller's words.
fn named(losses: &Losses, dialect: Dialect) -> Vec<String> {
    losses
        .iter()
        .map(|loss| match loss {
            Loss::Feature(feature, None) => dialect.feature_name(*feature).to_owned(),
            Loss::Feature(feature, Some(place)) => format!("{place}.{}", dialect.feature_name(*feature)),
            Loss::Field(path) => path.clone(),
        })
        .collect()
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
