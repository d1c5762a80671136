//! Answers conversations: reads what is asked, has rules and the cache look at it, and gives the rest to whoever is asked.

use std::rc::Rc;

use ai::{
    canon::{Error, ErrorKind},
    endpoint::{Endpoint, Operation},
    peek::Peek,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};

use super::{
    AiGateway, answer,
    asking::{Asking, ask},
    beside, cache, choice,
    dropped::cut,
    duties::Wanted,
    estimated,
    gathered::{Ungathered, gather},
    guards,
    meters::Bill,
    models::Asked,
    outgoing,
    prepare::{Conversation, without_credentials},
    receipts, recorded, shadow, stored, transcripts,
    unpacked::unpacked,
};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem},
    worker::Worker,
};

const FORM: &[u8] = b"multipart/form-data";
/// Bytes of a model's name. No model is called by more, and records, spans and refusals repeat what a caller calls it.
const MODEL_BYTES_MAX: usize = 1024;

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
    let stream = endpoint.stream || peek.stream;
    if name.len() > MODEL_BYTES_MAX {
        let name = cut(name);
        call.ai.wanted = Wanted { model: Some(name.as_str().into()), alias: None, stream };
        return Err(no_model(&name));
    }
    call.ai.wanted = Wanted { model: Some(name.as_str().into()), alias: None, stream };
    let Some(asked) = gateway.models.find(&name) else {
        return Err(no_model(&name));
    };
    call.ai.wanted.alias = Some(asked.alias.full_name().clone());
    // A prompt is an API of its own: its model is the operator's choice.
    if let Some(consumer) = &call.consumer
        && !gateway.composes
        && !consumer.may_use(&name)
    {
        return Err(Failure::refused(Problem::Forbidden)
            .with_hint(format!("the key that was shown is not for the model `{name}`")));
    }
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
pub(super) fn form(headers: &HeaderMap) -> Option<&HeaderValue> {
    let kind = headers.get(header::CONTENT_TYPE)?;
    let begin = kind.as_bytes().get(..FORM.len())?;
    begin.eq_ignore_ascii_case(FORM).then_some(kind)
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
    let asking = Asking { name, asked, targets, bill, came: &came };
    let answer = Box::pin(ask(gateway, worker, call, conversation, asking)).await;
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
