//! Realtime (OpenAI's) over a WebSocket: the caller's key stays here, targets are tried until one has agreed, and then
//! frames pass as they come while the answers' usage is read.

mod answers;
pub(in crate::handler) mod frames;
mod session;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::frames::law as frames_law;

use std::{rc::Rc, sync::Arc};

use ai::{
    ask::Ask,
    canon::{Error, ErrorKind, Losses},
    catalogue::Surface,
    dialect::Dialect,
    endpoint::{Endpoint, Operation},
    guard::screen::Screen,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use model::AiRecord;

use self::{
    answers::Terms,
    session::{Begun, Session},
};
use resilience::turnstile::Priority;

use super::{
    AiGateway, answer, choice,
    duties::Wanted,
    most::Most,
    outgoing, passed, prepare, reply,
    sending::{self, Outgoing, Unanswered},
};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem, Stage},
    worker::Worker,
};

/// What browsers put a key into, who cannot send header fields.
pub(crate) const KEY_PROTOCOL: &str = "openai-insecure-api-key.";

/// Opens a conversation.
pub(super) async fn open(
    gateway: &AiGateway,
    worker: &Rc<Worker>,
    call: &mut Call,
    endpoint: Endpoint,
) -> Result<Response<Body>, Failure> {
    if call.upgrade.is_none() {
        return Err(Failure::client(Stage::Guard, Problem::BadRequest)
            .with_status(StatusCode::UPGRADE_REQUIRED)
            .with_header(header::UPGRADE, HeaderValue::from_static("websocket"))
            .with_hint("this endpoint is a WebSocket"));
    }
    let query = call.head.uri.query().unwrap_or_default().to_owned();
    let name = query.split('&').find_map(|pair| pair.strip_prefix("model="));
    let name = name.map(ai::endpoint::decoded).filter(|name| !name.is_empty());
    let Some(name) = name else {
        return Err(answer::refused(Error::invalid("model", "`model` is required in the query")));
    };
    call.ai.wanted = Wanted { model: Some(name.as_str().into()), alias: None, stream: true };
    let Some(asked) = gateway.models.find(&name) else {
        return Err(answer::refused(Error::new(ErrorKind::NotFound, format!("no model `{name}` here"))));
    };
    call.ai.wanted.alias = Some(asked.alias.full_name().clone());
    if call.consumer.as_ref().is_some_and(|consumer| !consumer.may_use(&name)) {
        return Err(Failure::refused(Problem::Forbidden)
            .with_hint(format!("the key that was shown is not for the model `{name}`")));
    }
    let screens = screens(call)?;
    let mut meters = Vec::new();
    for metering in std::mem::take(&mut call.ai.meters) {
        let subjects = metering.subjects.resolve(asked.alias.full_name());
        meters.push((metering, subjects));
    }
    let uri = call.head.uri.clone();
    let came = std::mem::take(&mut call.head.headers);
    let mut opened = Box::pin(handshake(worker, call, &endpoint, &asked, &name, &query, &came)).await;
    call.head.headers = came;
    call.head.uri = uri;
    if let Ok((response, Some((told, most, prices)))) = &mut opened {
        let settings = &gateway.realtime;
        let begun = Begun {
            terms: Terms { told: told.clone(), most: most.clone(), prices: prices.clone(), meters },
            screens,
            random: call.random,
            idle: settings.idle_timeout.get(),
            lifetime: settings.max_duration.get(),
            message_bytes_max: settings.max_message_size.bytes(),
        };
        let body = std::mem::take(response.body_mut());
        let Some(mut tunnel) = body.into_tunnel() else {
            return Err(
                Failure::gateway(Stage::Body, Problem::Internal).with_detail("a switch without a tunnel")
            );
        };
        tunnel.watch = Some(Box::new(Session::new(begun)));
        *response.body_mut() = Body::Tunnel(Box::new(tunnel));
    }
    opened.map(|(response, _)| response)
}

/// The rules over what the client says. Those that read answers, or that ask others, cannot be at work here.
fn screens(call: &mut Call) -> Result<Vec<Screen>, Failure> {
    let mut screens = Vec::new();
    for guard in std::mem::take(&mut call.ai.guards) {
        let screen = guard.alone().filter(|screen| !screen.reads_answers());
        screens.push(screen.ok_or_else(|| {
            Failure::refused(Problem::NotImplemented).with_hint(
                "the rules of this route read answers or ask others, which no Realtime conversation can wait for",
            )
        })?);
    }
    Ok(screens)
}

type Opened = (Response<Body>, Option<(super::Told, Most, Option<Arc<super::prices::Priced>>)>);

/// Asks target after target until one agrees.
async fn handshake(
    worker: &Rc<Worker>,
    call: &mut Call,
    endpoint: &Endpoint,
    asked: &super::models::Asked<'_>,
    name: &str,
    query: &str,
    came: &HeaderMap,
) -> Result<Opened, Failure> {
    let dialect = Dialect::OpenAiChat;
    let targets = choice::for_realtime(asked, call);
    let mut targets =
        targets.into_iter().filter(|target| target.provider.offers(endpoint.operation)).peekable();
    if targets.peek().is_none() {
        let message = format!(
            "no provider of `{name}` has OpenAI's {}: give the model a target of one of the kinds that have: {}",
            endpoint.operation.name(),
            super::provider::kinds_with(Surface::Realtime).join(", "),
        );
        return Err(answer::refused(Error { status: 501, ..Error::new(ErrorKind::Invalid, message) }));
    }
    let mut last = None;
    while let Some(target) = targets.next() {
        let model = asked.model(target);
        let path = target.provider.path(dialect, Operation::Realtime, &model, false, "/realtime");
        let path = path.map_err(answer::refused)?;
        let named = format!("model={}", ai::name::segment(&model).map_err(answer::refused)?);
        // However its name is written, there is one model.
        let others = query.split('&').filter(|pair| !prepare::name_of(pair).eq_ignore_ascii_case("model"));
        let pairs: Vec<&str> = std::iter::once(&*named).chain(others).collect();
        let pairs = prepare::without_credentials(&pairs.join("&")).unwrap_or_default();
        let mut headers = outgoing::headers(came, &target.provider, dialect, dialect, &mut Losses::default());
        headers.remove(header::CONTENT_TYPE);
        // What is compressed could not be read.
        headers.remove("sec-websocket-extensions");
        hide_key(&mut headers);
        target.provider.address(&mut headers);
        call.host_from_endpoint = false;
        call.record.upstream = Some(target.provider.target.upstream.name.clone());
        let mut record = AiRecord::new(endpoint.operation.name(), dialect.name(), name.into());
        record.provider = target.provider.name.clone();
        record.kind = &target.provider.kind.name;
        record.served = model.clone();
        record.alias = asked.alias.full_name().clone();
        record.variant = target.standing.variant.clone();
        record.is_stream = true;
        let prices = target.prices.of(&model);
        record.prices = prices.clone().map(|prices| prices as Arc<dyn model::TokenPrices>);
        let told = Arc::new(record);
        call.record.ai = Some(told.clone());
        let separator = if path.contains('?') { '&' } else { '?' };
        let uri = prepare::uri(format!("{path}{separator}{pairs}"))?;
        let (provider, body, key) = (&*target.provider, Bytes::new(), None);
        let outgoing = Outgoing {
            provider,
            model: &model,
            dialect,
            uri,
            headers,
            body,
            key,
            priority: Priority::Normal,
            words: None,
        };
        let more = targets.peek().is_some();
        let mark = passed::Mark::set(call);
        match sending::send(worker, call, outgoing).await {
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                let most = Most::of_request(Ask::default(), target, &model, true);
                return Ok((response, Some((told, most, prices))));
            }
            Ok(response) if more && response.status() != StatusCode::BAD_REQUEST => {
                mark.passed(call, Some(response.status()), passed::STATUS);
            }
            Ok(response) if reply::refuses_us(response.status()) => {
                return reply::failed(dialect, dialect, response).await.map(|response| (response, None));
            }
            Ok(response) if response.status().is_success() || response.status().is_redirection() => {
                let failure = Failure::gateway(Stage::FirstByte, Problem::BadUpstreamAnswer);
                let detail = format!("{} instead of a switch to WebSocket", response.status());
                return Err(failure.with_hint("the provider does not speak Realtime").with_detail(detail));
            }
            Ok(response) => return Ok((response, None)),
            Err(Unanswered::Away(away)) => {
                let failure = sending::all_away(away);
                if more {
                    mark.passed(call, None, failure.problem().slug());
                }
                last = Some(failure);
            }
            Err(Unanswered::Failed(failure)) if more => {
                mark.passed(call, None, failure.problem().slug());
                last = Some(failure);
            }
            Err(Unanswered::Failed(failure)) => return Err(failure),
        }
    }
    Err(last.unwrap_or_else(|| Failure::gateway(Stage::Pick, Problem::NoHealthyEndpoint)))
}

/// Keys of callers among the subprotocols that are offered.
pub(crate) fn offered_keys(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    offered
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|one| one.trim_ascii().strip_prefix(KEY_PROTOCOL.as_bytes()))
}

/// Leaves out the subprotocol that is the caller's key.
pub(crate) fn hide_key(headers: &mut HeaderMap) {
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let offered: Vec<&str> = offered.filter_map(|value| value.to_str().ok()).collect();
    let all = offered.join(",");
    let kept: Vec<&str> = all
        .split(',')
        .map(str::trim)
        .filter(|one| !one.is_empty() && !one.starts_with(KEY_PROTOCOL))
        .collect();
    headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
    if let (false, Ok(value)) = (kept.is_empty(), HeaderValue::from_str(&kept.join(", "))) {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
}
