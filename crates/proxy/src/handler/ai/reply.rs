//! What a caller is told for what a provider answered: the bytes as they are, or their translation, and who it was.

use std::time::Duration;

use ai::{
    canon::{Error, ErrorKind},
    dialect::{Dialect, Telling},
    endpoint::Operation,
    stream::Framing,
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use super::{
    Told, answer,
    dropped::{listed, named},
    fallback,
    fault::Fault,
    gathered::{Ungathered, gather},
    metered::Metered,
    meters::Bill,
    models::Target,
    prepare::Conversation,
    receipts,
    translated::Translated,
    units,
};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem, Stage},
};

/// Bytes of a provider's whole answer that is translated. Pictures in base64 are the largest that there is.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of a provider's error that are read.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// What the caller is told for what a provider answered.
pub(super) async fn finish(
    call: &Call,
    conversation: &Conversation<'_>,
    dialect: Dialect,
    target: &Target,
    response: Response<Body>,
    told: Told,
    mut bill: Bill,
) -> Result<Response<Body>, Failure> {
    let caller = conversation.endpoint.dialect;
    let is_good = response.status().is_success();
    if !is_good {
        bill.set_aside(fallback::is_due(&response));
    }
    let mut response = if !is_good && (dialect != caller || is_our_fault(&response)) {
        failed(caller, dialect, response).await?
    } else if dialect == caller {
        let response = receipts::read_whole(response, dialect, &told).await?;
        let response = passed(conversation, dialect, response, &told);
        match &conversation.owner {
            Some(owner) if is_good => owner.seal(response, target, &told),
            _ => response,
        }
    } else if is_stream(&response) {
        translated(call, conversation, dialect, response, &told)?
    } else {
        whole_answer(call, conversation, dialect, response, &told).await?
    };
    receipt(&mut response, target, &told);
    receipts::put(call, &mut response, &told);
    Ok(bill.travel(response))
}

/// The provider refuses the gateway's own credentials, which is nothing that the caller could mend.
fn is_our_fault(response: &Response<Body>) -> bool {
    match response.extensions().get() {
        Some(Fault::Filtered) => false,
        // Its money is spent; a request for more than is left is the caller's own.
        Some(Fault::Key) if response.status() == StatusCode::PAYMENT_REQUIRED => true,
        _ => refuses_us(response.status()),
    }
}

/// Whether a status says that the gateway's own credentials are refused.
pub(super) fn refuses_us(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED
    )
}

fn is_json(response: &Response<Body>) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_none_or(|kind| kind.as_bytes().windows(4).any(|four| four == b"json"))
}

pub(super) fn is_stream(response: &Response<Body>) -> bool {
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
    let is_read = matches!(response.body(), Body::Full(_));
    if is_read || !response.status().is_success() || response.headers().contains_key(header::CONTENT_ENCODING)
    {
        return response;
    }
    let is_stream = is_stream(&response);
    if !is_stream && !is_json(&response) {
        return units::listened(response, told);
    }
    let framing = if is_stream { Some(dialect.provider_framing()) } else { None };
    // The caller did not ask for the last event that tells the usage, so it does not get it.
    let is_chat = conversation.endpoint.operation == Operation::Chat;
    let hides_usage =
        framing.is_some() && is_chat && dialect == Dialect::OpenAiChat && !conversation.peek.include_usage;
    response.map(|body| {
        let metered = Metered::new(body, dialect, framing, hides_usage, told.clone());
        Body::boxed(metered.pausing(conversation.between))
    })
}

pub(super) fn telling(
    call: &Call,
    conversation: &Conversation<'_>,
    dialect: Dialect,
    told: &Told,
) -> Telling {
    let seconds =
        call.record.started.duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let caller = conversation.endpoint.dialect;
    let (include_usage, echo, names) = match &conversation.canonical {
        Some(request) => (request.include_usage, caller.echo(request), dialect.names(request)),
        None => (conversation.peek.include_usage, Default::default(), Default::default()),
    };
    Telling {
        model: told.served.to_string(),
        id: format!("tg-{}", call.record.request_id.to_str().unwrap_or_default()),
        created: seconds,
        include_usage,
        echo,
        framing: Some(caller.caller_framing(conversation.query.as_deref())),
        names,
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
    let writer = caller.stream_writer(telling(call, conversation, dialect, told));
    let mut response = response.map(|body| {
        let translated = Translated::new(body, dialect, caller, writer, told.clone());
        Body::boxed(translated.pausing(conversation.between))
    });
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    let framing = caller.caller_framing(conversation.query.as_deref());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(framing.media_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// An answer whose bytes can be read.
pub(super) fn plain(response: Response<Body>) -> Result<Response<Body>, Failure> {
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
    receipts::hear(told, &read);
    hide(conversation, &read, told)?;
    let (text, kind) = written(conversation, read, telling(call, conversation, dialect, told));
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    Ok(Response::from_parts(parts, Body::Full(text.into())))
}

/// Notes what the caller's dialect has no place for. Where nothing may be lost, the answer is not given.
pub(super) fn hide(
    conversation: &Conversation<'_>,
    answer: &ai::canon::Answer,
    told: &Told,
) -> Result<(), Failure> {
    let caller = conversation.endpoint.dialect;
    let losses = caller.unshown(answer);
    if losses.is_empty() {
        return Ok(());
    }
    let names = named(&losses, caller);
    if conversation.is_strict {
        let message = format!("this dialect cannot show {} of the answer", listed(&names));
        let error = Error { status: 422, ..Error::new(ErrorKind::Invalid, message) };
        return Err(answer::refused(error));
    }
    told.hide(names);
    Ok(())
}

/// An answer as the caller wants it, and its media type.
pub(super) fn written(
    conversation: &Conversation<'_>,
    read: ai::canon::Answer,
    telling: Telling,
) -> (Vec<u8>, &'static str) {
    let caller = conversation.endpoint.dialect;
    if conversation.stream {
        let mut writer = caller.stream_writer(telling);
        let mut out = Vec::new();
        ai::canon::events_of(read).into_iter().for_each(|event| writer.write(event, &mut out));
        (out, caller.caller_framing(conversation.query.as_deref()).media_type())
    } else {
        (caller.write_answer(read, &telling), "application/json")
    }
}

pub(super) async fn provided(body: Body, bytes_max: usize) -> Result<Bytes, Failure> {
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
pub(super) async fn failed(
    caller: Dialect,
    dialect: Dialect,
    response: Response<Body>,
) -> Result<Response<Body>, Failure> {
    refused(caller, |status, body| dialect.read_error(status, body), response).await
}

/// The same of a provider whose errors are read in another way.
pub(super) async fn refused(
    caller: Dialect,
    read: impl FnOnce(u16, &[u8]) -> Error,
    response: Response<Body>,
) -> Result<Response<Body>, Failure> {
    let (status, is_our_fault) = (response.status(), is_our_fault(&response));
    let after = response.headers().get(header::RETRY_AFTER).cloned();
    let body = provided(response.into_body(), ERROR_BYTES_MAX).await.unwrap_or_default();
    let mut error = read(status.as_u16(), &body);
    if is_our_fault {
        let what = match status {
            StatusCode::PAYMENT_REQUIRED => "the gateway's account at the provider has no money left",
            _ => "the provider refuses the gateway's credentials",
        };
        error = Error { status: 502, ..Error::new(ErrorKind::Server, what) };
    }
    let mut answer = answer::response(caller, &error);
    if let Some(after) = after {
        answer.headers_mut().insert(header::RETRY_AFTER, after);
    }
    Ok(answer)
}

const PROVIDER: HeaderName = HeaderName::from_static("x-tidegate-provider");
const MODEL: HeaderName = HeaderName::from_static("x-tidegate-model");
const CACHE: HeaderName = HeaderName::from_static("x-tidegate-cache");
const DROPPED: HeaderName = HeaderName::from_static("x-tidegate-dropped");

/// Tells the caller who served it, and what was left out.
pub(super) fn receipt(response: &mut Response<Body>, target: &Target, told: &Told) {
    let headers = response.headers_mut();
    let mut put = |name: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    };
    put(PROVIDER, &target.provider.name);
    put(MODEL, &told.served);
    if let Some(said) = told.cache {
        put(CACHE, said);
    }
    let dropped = told.all_dropped();
    if !dropped.is_empty() {
        put(DROPPED, &listed(&dropped));
    }
}
