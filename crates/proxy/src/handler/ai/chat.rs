//! Answers conversations: target after target until one has begun to answer.

use std::{rc::Rc, sync::Arc, time::Duration};

use ai::{
    canon::{Error, ErrorKind, Loss, Losses, Request},
    dialect::{Dialect, Spoken, Telling},
    endpoint::{Endpoint, Operation},
    peek::Peek,
    rules::Target as Written,
    stream::Framing,
};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, Uri, header, uri::PathAndQuery};
use model::{AiRecord, Side};

use super::{
    AiGateway, Told, answer,
    gathered::{Ungathered, gather},
    metered::Metered,
    models::{Asked, Target},
    outgoing,
    translated::Translated,
};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem, Stage},
    upstream::tries::{self, Wish},
    worker::Worker,
};

/// Bytes of a provider's whole answer that is translated. Pictures in base64 are the largest that there is.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of a provider's error that are read.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// A conversation as it came.
struct Conversation<'c> {
    endpoint: &'c Endpoint,
    body: Bytes,
    peek: Peek,
    stream: bool,
    query: Option<String>,
    /// The conversation in the middle, read when the first target needs it.
    canonical: Option<Request>,
}

/// What one target is sent.
struct Prepared {
    path: String,
    body: Bytes,
    losses: Losses,
    headers: Vec<(&'static str, String)>,
    /// The dialect that is spoken to it.
    dialect: Dialect,
}

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
    let mut conversation = Conversation { endpoint: &endpoint, body, peek, stream, query, canonical: None };
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

/// A query without what some SDKs put their key in.
fn without_credentials(query: &str) -> Option<String> {
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| {
            !matches!(pair.split('=').next(), Some("key" | "api_key" | "api-key" | "access_token"))
        })
        .collect();
    (!kept.is_empty() && !kept[0].is_empty()).then(|| kept.join("&"))
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

fn prepare(
    conversation: &mut Conversation<'_>,
    asked: &Asked<'_>,
    target: &Target,
) -> Result<Prepared, Error> {
    let endpoint = conversation.endpoint;
    let model = asked.model(target);
    let dialect = target.provider.dialect_for(endpoint.dialect, &model);
    let stream = conversation.stream;
    let path = |own: &str| {
        let path = target.provider.path(dialect, endpoint.operation, &model, stream, own);
        path.map_err(|error| Error::new(ErrorKind::Server, error))
    };
    if dialect == endpoint.dialect {
        let mut path = path(&dialect.path(endpoint.operation, &model, conversation.stream))?;
        if let Some(query) = &conversation.query {
            path.push(if path.contains('?') { '&' } else { '?' });
            path.push_str(query);
        }
        let body = match (endpoint.model.is_some(), dialect) {
            (true, _) => conversation.body.clone(),
            (false, Dialect::OpenAiChat) => {
                conversation.peek.with_model_and_usage(&conversation.body, &model).into()
            }
            (false, _) => conversation.peek.with_model(&conversation.body, &model).into(),
        };
        let headers = dialect.headers();
        return Ok(Prepared { path, body, losses: Losses::default(), headers, dialect });
    }
    if endpoint.operation != Operation::Chat {
        let message =
            format!("`{model}` does not speak the dialect that {} is asked in", endpoint.operation.name());
        return Err(Error { status: 501, ..Error::new(ErrorKind::Invalid, message) });
    }
    if conversation.canonical.is_none() {
        let spoken = Spoken { model: endpoint.model.clone(), stream: endpoint.stream };
        conversation.canonical = Some(endpoint.dialect.read_request(&spoken, &conversation.body)?);
    }
    let Some(request) = &conversation.canonical else {
        return Err(Error::new(ErrorKind::Server, "the request was not read"));
    };
    let written = dialect.write_request(request, Written { model: &model, rules: &target.rules(&model) })?;
    Ok(Prepared {
        path: path(&written.path)?,
        body: written.body.into(),
        losses: written.losses,
        headers: written.headers,
        dialect,
    })
}

fn uri(path: String) -> Result<Uri, Failure> {
    let joined = PathAndQuery::try_from(path);
    joined.map(Uri::from).map_err(|error| {
        Failure::gateway(Stage::Pick, Problem::Invalid)
            .with_hint("the model's name cannot stand in a path")
            .with_detail(error.to_string())
    })
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
    let mut record = AiRecord::new(endpoint.operation.name(), endpoint.dialect.name(), name.into());
    record.provider = target.provider.name.clone();
    record.kind = &target.provider.kind.name;
    record.served = served;
    record.is_stream = conversation.stream;
    record.dropped = named(losses, endpoint.dialect);
    let told = Arc::new(record);
    call.record.ai = Some(told.clone());
    told
}

async fn finish(
    call: &Call,
    conversation: &Conversation<'_>,
    dialect: Dialect,
    target: &Target,
    response: Response<Body>,
    told: Told,
) -> Result<Response<Body>, Failure> {
    let caller = conversation.endpoint.dialect;
    let is_good = response.status().is_success();
    let mut response = if !is_good && (dialect != caller || is_our_fault(response.status())) {
        failed(caller, dialect, response).await?
    } else if dialect == caller {
        passed(conversation, dialect, response, &told)
    } else if is_stream(&response) {
        translated(call, conversation, dialect, response, &told)?
    } else {
        whole_answer(call, conversation, dialect, response, &told).await?
    };
    receipt(&mut response, target, &told);
    Ok(response)
}

/// The provider refuses the gateway's own credentials, which is nothing that the caller could mend.
fn is_our_fault(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED
    )
}

fn is_stream(response: &Response<Body>) -> bool {
    response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|kind| {
        [Framing::Sse, Framing::EventStream].iter().any(|framing| kind.starts_with(framing.media_type()))
    })
}

/// Bytes as they are; the usage is read on the way.
fn passed(
    conversation: &Conversation<'_>,
    dialect: Dialect,
    response: Response<Body>,
    told: &Told,
) -> Response<Body> {
    if !response.status().is_success() || response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    let framing = if is_stream(&response) { Some(dialect.provider_framing()) } else { None };
    // The caller did not ask for the last event that tells the usage, so it does not get it.
    let hides_usage = framing.is_some() && dialect == Dialect::OpenAiChat && !conversation.peek.include_usage;
    response.map(|body| Body::boxed(Metered::new(body, dialect, framing, hides_usage, told.clone())))
}

fn telling(call: &Call, conversation: &Conversation<'_>, told: &Told) -> Telling {
    let seconds =
        call.record.started.duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let (include_usage, echo) = match &conversation.canonical {
        Some(request) => (request.include_usage, conversation.endpoint.dialect.echo(request)),
        None => (conversation.peek.include_usage, Default::default()),
    };
    Telling {
        model: told.model.to_string(),
        id: format!("tg-{}", call.record.request_id.to_str().unwrap_or_default()),
        created: seconds,
        include_usage,
        echo,
    }
}

fn translated(
    call: &Call,
    conversation: &Conversation<'_>,
    dialect: Dialect,
    response: Response<Body>,
    told: &Told,
) -> Result<Response<Body>, Failure> {
    let response = plain(response)?;
    let caller = conversation.endpoint.dialect;
    let writer = caller.stream_writer(telling(call, conversation, told));
    let mut response = response.map(|body| Body::boxed(Translated::new(body, dialect, writer, told.clone())));
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(caller.caller_framing().media_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// An answer whose bytes can be read.
fn plain(response: Response<Body>) -> Result<Response<Body>, Failure> {
    match response.headers().get(header::CONTENT_ENCODING) {
        Some(coding) if coding.as_bytes() != b"identity" => {
            let error = "the provider compressed its answer, which it was not asked for";
            Err(Failure::upstream(Stage::Body, Problem::BadUpstreamAnswer, error))
        }
        _ => Ok(response),
    }
}

async fn whole_answer(
    call: &Call,
    conversation: &Conversation<'_>,
    dialect: Dialect,
    response: Response<Body>,
    told: &Told,
) -> Result<Response<Body>, Failure> {
    let (mut parts, body) = plain(response)?.into_parts();
    let bytes = provided(body, ANSWER_BYTES_MAX).await?;
    let read = dialect.read_answer(&bytes).map_err(|error| {
        Failure::upstream(Stage::Body, Problem::BadUpstreamAnswer, error.message)
            .with_hint("the provider's answer could not be understood")
    })?;
    if let Some(usage) = &read.usage {
        super::metered::note(told, usage);
    }
    let caller = conversation.endpoint.dialect;
    let telling = telling(call, conversation, told);
    let (text, kind) = if conversation.stream {
        let mut writer = caller.stream_writer(telling);
        let mut out = Vec::new();
        ai::canon::events_of(read).into_iter().for_each(|event| writer.write(event, &mut out));
        (out, caller.caller_framing().media_type())
    } else {
        (caller.write_answer(read, &telling), "application/json")
    };
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    Ok(Response::from_parts(parts, Body::Full(text.into())))
}

async fn provided(body: Body, bytes_max: usize) -> Result<Bytes, Failure> {
    gather(body, bytes_max).await.map_err(|why| match why {
        Ungathered::TooLarge => Failure::upstream(
            Stage::Body,
            Problem::BadUpstreamAnswer,
            format!("the provider's answer is larger than {bytes_max} bytes"),
        ),
        Ungathered::Failed(failure) => failure,
    })
}

/// A provider's error, in the caller's dialect.
async fn failed(
    caller: Dialect,
    dialect: Dialect,
    response: Response<Body>,
) -> Result<Response<Body>, Failure> {
    let status = response.status();
    let after = response.headers().get(header::RETRY_AFTER).cloned();
    let body = provided(response.into_body(), ERROR_BYTES_MAX).await.unwrap_or_default();
    let mut error = dialect.read_error(status.as_u16(), &body);
    if is_our_fault(status) {
        error = Error {
            status: 502,
            ..Error::new(ErrorKind::Server, "the provider refuses the gateway's credentials")
        };
    }
    let mut answer = answer::response(caller, &error);
    if let Some(after) = after {
        answer.headers_mut().insert(header::RETRY_AFTER, after);
    }
    Ok(answer)
}

/// Tells the caller who served it, and what was left out.
fn receipt(response: &mut Response<Body>, target: &Target, told: &Told) {
    let headers = response.headers_mut();
    let mut put = |name: &'static str, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    };
    put("x-tidegate-provider", &target.provider.name);
    put("x-tidegate-model", &told.served);
    if !told.dropped.is_empty() {
        put("x-tidegate-dropped", &told.dropped.join(", "));
    }
}
