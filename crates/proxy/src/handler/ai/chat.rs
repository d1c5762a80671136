//! Answers conversations: target after target until one has begun to answer.

use std::{rc::Rc, sync::Arc};

use ai::{
    canon::{Error, ErrorKind, Loss, Losses},
    dialect::Dialect,
    endpoint::Endpoint,
    peek::Peek,
};
use bytes::Bytes;
use http::{Response, StatusCode};
use model::{AiRecord, Side};

use super::{
    AiGateway, Told, answer,
    gathered::{Ungathered, gather},
    models::{Asked, Target},
    outgoing,
    prepare::{Conversation, prepare, uri, without_credentials},
    reply::finish,
};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem, Stage},
    upstream::tries::{self, Wish},
    worker::Worker,
};

/// Answers a conversation, translated where caller and provider do not speak alike.
pub(super) async fn answer(
    gateway: &AiGateway,
    worker: &Rc<Worker>,
    call: &mut Call,
    endpoint: Endpoint,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let body = whole(body, gateway.body_bytes_max).await?;
    let peek = Peek::of(&body).map_err(answer::refused)?;
    let name = endpoint.model.clone().or_else(|| peek.model.clone());
    let Some(name) = name else {
        return Err(answer::refused(Error::invalid("model", "`model` is required")));
    };
    let Some(asked) = gateway.models.find(&name) else {
        return Err(no_model(&name));
    };
    let stream = endpoint.stream || peek.stream;
    let query = call.head.uri.query().and_then(without_credentials);
    let is_composed = gateway.composes;
    let mut conversation =
        Conversation { endpoint: &endpoint, body, peek, stream, query, is_composed, canonical: None };
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
    let came = std::mem::take(&mut call.head.headers);
    let mut refused = None;
    let mut targets = asked.alias.order().peekable();
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
            outgoing::headers(&came, conversation.endpoint.dialect, prepared.dialect, &mut losses);
        if gateway.strict && !losses.is_empty() {
            refused = Some(too_strict(&losses, conversation.endpoint.dialect));
            continue;
        }
        outgoing::dialect_headers(&mut headers, &prepared.headers);
        target.provider.sign(&mut headers);
        call.head.headers = headers;
        call.head.uri = uri(prepared.path)?;
        call.host_from_endpoint = true;
        call.record.upstream = Some(target.provider.target.upstream.name.clone());
        let told = tell(call, conversation, name, asked.model(target), target, &losses);
        let body = Body::Full(prepared.body);
        let result = tries::forward(worker, call, &target.provider.target, &Wish::default(), body).await;
        let more = targets.peek().is_some();
        match result {
            Ok(response) if more && may_go_on(response.status()) => drop(response),
            Ok(response) => {
                return finish(call, conversation, prepared.dialect, target, response, told).await;
            }
            Err(failure) if more && failure.side() != Side::Client => {}
            Err(failure) => return Err(failure),
        }
    }
    Err(refused.unwrap_or_else(|| Failure::gateway(Stage::Pick, Problem::NoHealthyEndpoint)))
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
    call: &mut Call,
    conversation: &Conversation<'_>,
    name: &str,
    served: String,
    target: &Target,
    losses: &Losses,
) -> Told {
    let endpoint = conversation.endpoint;
    let spoken = if conversation.is_composed { "prompt" } else { endpoint.dialect.name() };
    let mut record = AiRecord::new(endpoint.operation.name(), spoken, name.into());
    record.provider = target.provider.name.clone();
    record.kind = &target.provider.kind.name;
    record.served = served;
    record.is_stream = conversation.stream;
    record.dropped = named(losses, endpoint.dialect);
    let told = Arc::new(record);
    call.record.ai = Some(told.clone());
    told
}
