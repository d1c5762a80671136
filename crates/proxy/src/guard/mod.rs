//! What every request passes before anything looks at it: one meaning, one path, no header that lies.

pub(crate) mod headers;
pub(crate) mod path;
mod present;

use std::{net::IpAddr, rc::Rc, time::Instant};

use bytes::Bytes;
use http::{HeaderValue, Method, Uri, Version, header, request::Parts, uri::PathAndQuery};
use model::{TraceContext, resource::path_rules::PathRules};

pub(crate) use self::{
    headers::{clean_answer_trailers, clean_trailers},
    present::Present,
};
use crate::{
    call::{Call, Host, NO_LISTENER, Received, Upgrade, new_record},
    conn::peer::Peer,
    failure::{Failure, Problem, Stage},
    listener::forwarded,
    router::Captures,
    upstream::span::Trail,
    worker::{Plan, Worker},
};

/// A request id that a trusted peer may give is at most this long.
const REQUEST_ID_BYTES_MAX: usize = 128;
pub(crate) const X_REQUEST_ID: http::HeaderName = http::HeaderName::from_static("x-request-id");
pub(crate) const TRACEPARENT: http::HeaderName = http::HeaderName::from_static("traceparent");

/// Makes a call of a head. The call exists even when the request is refused, so that the refusal has a record.
pub(crate) fn admit(
    worker: &Rc<Worker>,
    peer: &Rc<Peer>,
    mut head: Parts,
    wants_upgrade: bool,
) -> (Box<Call>, Result<(), Failure>) {
    let plan = worker.plan();
    let present = Present::of(&head.headers);
    // The listener as it is now: a connection may be older than what it says, and outlive it.
    let place = plan.place_of(&peer.listener).unwrap_or(NO_LISTENER);
    let listener = plan.listeners.get(place).unwrap_or(&peer.listener);
    let trusted = listener.trusts(peer.ip());
    let client = if trusted {
        forwarded::client_address(peer.ip(), &listener.trusted, &head.headers)
    } else {
        peer.ip()
    };
    let received = plan.measures_heads.then(|| Received::of(&head.headers));
    let came = plan.keeps_heads.then(|| Box::new(head.headers.clone()));
    let request_id = request_id(worker, &mut head, trusted);
    let trace = trace_context(worker, &head, present);
    let mut call = call(worker, peer, (plan.clone(), place), head, client, request_id, trace);
    if let Some(received) = received {
        call.received = received;
    }
    if place == NO_LISTENER {
        return (call, Err(listener_gone()));
    }
    let admitted = judge(&mut call, present, trusted, wants_upgrade, &plan.protected_headers);
    if let Some(mut came) = came {
        // HTTP/2 and HTTP/3 say the host beside the fields, and cookies in pieces.
        if let (None, Some(host)) = (came.get(header::HOST), call.head.headers.get(header::HOST)) {
            came.insert(header::HOST, host.clone());
        }
        if is_multiplexed(call.head.version) {
            headers::join_cookies(&mut came);
        }
        call.received.head = Some(came);
    }
    (call, admitted)
}

/// What a connection of a listener that is no more is told: nothing is routed for it, and it ends.
pub(crate) fn listener_gone() -> Failure {
    Failure::client(Stage::Guard, Problem::NoRoute)
        .with_hint("this connection's listener is no longer configured")
        .with_header(header::CONNECTION, HeaderValue::from_static("close"))
}

/// A call for something that was not even a request.
pub(crate) fn refused(worker: &Rc<Worker>, peer: &Rc<Peer>, failure: &Failure) -> Box<Call> {
    let _ = failure;
    let (mut head, ()) = http::Request::new(()).into_parts();
    head.version = Version::HTTP_11;
    let request_id = mint_request_id(worker);
    call(worker, peer, (worker.plan(), NO_LISTENER), head, peer.ip(), request_id, None)
}

fn call(
    worker: &Rc<Worker>,
    peer: &Rc<Peer>,
    (plan, listener): (Plan, usize),
    head: Parts,
    client: IpAddr,
    request_id: HeaderValue,
    trace: Option<TraceContext>,
) -> Box<Call> {
    let record = new_record(peer, &head, client, request_id, trace);
    Box::new(Call {
        head,
        plan,
        peer: peer.clone(),
        listener,
        client,
        host: None,
        started: Instant::now(),
        asked: None,
        route: None,
        captures: Captures::default(),
        consumer: None,
        stands_in: false,
        is_stranger: false,
        authorization_is_judged: false,
        shown_key: None,
        token: None,
        claims: None,
        answer_headers: http::HeaderMap::new(),
        notes: Vec::new(),
        upgrade: None,
        expects_continue: false,
        host_from_endpoint: false,
        forms: path::Forms::default(),
        received: Received::default(),
        record,
        trail: Trail::default(),
        dialect: None,
        rpc: None,
        ai: Default::default(),
        interim: None,
        chain: Default::default(),
        random: worker.random(),
    })
}

fn judge(
    call: &mut Call,
    present: Present,
    trusted: bool,
    wants_upgrade: bool,
    protected: &[http::HeaderName],
) -> Result<(), Failure> {
    size(call)?;
    if is_multiplexed(call.head.version) {
        http2(call)?;
    }
    host(call)?;
    method(call)?;
    if present.has(Present::EXPECT) {
        expectation(call)?;
    }
    upgrade(call, wants_upgrade)?;
    target(call)?;
    headers::clean(&mut call.head.headers, present, protected);
    if is_multiplexed(call.head.version) && present.has(Present::COOKIE) {
        headers::join_cookies(&mut call.head.headers);
    }
    let peer = call.peer.clone();
    let host = call.head.headers.get(header::HOST).cloned();
    forwarded::rewrite(
        &mut call.head.headers,
        present,
        &peer.address_value,
        trusted,
        peer.tls.is_some(),
        host.as_ref(),
    );
    let headers = &mut call.head.headers;
    headers.insert(X_REQUEST_ID, call.record.request_id.clone());
    if let Some(trace) = &call.record.trace {
        if trace.parent_span_id.is_none() {
            // What stands in `tracestate` is about another trace (W3C Trace Context §3.3).
            present.remove(Present::TRACESTATE, headers);
        }
        state_trace(headers, trace);
    }
    Ok(())
}

/// What the HTTP/1 codec bounds while it reads is bounded here for HTTP/2 and HTTP/3, where only the list's size is.
fn size(call: &Call) -> Result<(), Failure> {
    let limits = &call.peer.listener.limits.http1;
    if call.head.headers.len() > limits.headers {
        return Err(Failure::client(Stage::Guard, Problem::HeadTooLarge).with_hint("too many header fields"));
    }
    let target = call.head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > limits.target_bytes {
        return Err(Failure::client(Stage::Guard, Problem::UriTooLong));
    }
    Ok(())
}

/// Whether a version says its requests in fields of its own, many at a time.
fn is_multiplexed(version: Version) -> bool {
    matches!(version, Version::HTTP_2 | Version::HTTP_3)
}

/// Holds an HTTP/2 or HTTP/3 head to what the codec holds HTTP/1.1 to: what it could say beyond that, the upstream would have to
/// guess at.
fn http2(call: &Call) -> Result<(), Failure> {
    let uri = &call.head.uri;
    let is_extended = call.head.extensions.get::<h2::ext::Protocol>().is_some();
    let hint = match uri.path() {
        _ if call.head.method == Method::CONNECT && !is_extended => return Ok(()),
        "*" if call.head.method != Method::OPTIONS => "`*` is a target of OPTIONS alone",
        path if path != "*" && !path.starts_with('/') => "the path does not begin with a slash",
        // With a Host in the place of an authority (RFC 9113 §8.3.1) nothing is told of the scheme: no URI can hold it.
        _ if uri.authority().is_some() && !matches!(uri.scheme_str(), Some("http" | "https")) => {
            "the scheme is neither http nor https"
        }
        _ if uri.query().is_some_and(|query| !http1::rules::is_query(query)) => {
            "the query holds a byte that must be percent-encoded"
        }
        _ if call.head.headers.get_all(header::CONTENT_LENGTH).iter().count() > 1 => {
            "more than one Content-Length"
        }
        _ => return Ok(()),
    };
    Err(Failure::client(Stage::Guard, Problem::BadRequest).with_hint(hint))
}

/// Names the span that the next hop is to take as its parent.
pub(crate) fn state_trace(headers: &mut http::HeaderMap, trace: &TraceContext) {
    if let Ok(value) = HeaderValue::from_bytes(&telemetry::trace::write_traceparent(trace)) {
        headers.insert(TRACEPARENT, value);
    }
}

/// Finds the one host that the request is for, and states it in `Host` (RFC 9112 §3.2).
fn host(call: &mut Call) -> Result<(), Failure> {
    let refuse = |text: &str| Failure::client(Stage::Guard, Problem::BadRequest).with_hint(text);
    let named = call.head.uri.authority().map(|authority| authority.as_str());
    let mut values = call.head.headers.get_all(header::HOST).iter();
    let header = values.next();
    if values.next().is_some() {
        return Err(refuse("more than one Host"));
    }
    let authority = match (named, header) {
        (Some(named), _) if named.contains('@') => return Err(refuse("user information in the authority")),
        (Some(named), Some(header)) if !named.as_bytes().eq_ignore_ascii_case(header.as_bytes()) => {
            return Err(refuse("Host differs from the authority of the target"));
        }
        (Some(named), _) => HeaderValue::from_str(named).map_err(|_| refuse("malformed authority"))?,
        (None, Some(header)) => header.clone(),
        (None, None) if is_multiplexed(call.head.version) => {
            return Err(refuse("no :authority and no Host"));
        }
        (None, None) => return Ok(()),
    };
    // On HTTP/1.1 the codec has judged it already.
    if is_multiplexed(call.head.version) && !http1::rules::is_host(authority.as_bytes()) {
        return Err(refuse("malformed :authority"));
    }
    call.host = Some(
        Host::from_authority(Bytes::copy_from_slice(authority.as_bytes()))
            .filter(|host| !host.as_str().is_empty())
            .ok_or_else(|| refuse("malformed Host"))?,
    );
    call.record.host = Some(authority.clone());
    misdirected(call)?;
    if named.is_some() {
        call.head.headers.insert(header::HOST, authority);
    }
    Ok(())
}

/// A connection was made for the name in its handshake: a host that another certificate of the listener is for has
/// to be asked on another connection (RFC 9110 §7.4).
fn misdirected(call: &Call) -> Result<(), Failure> {
    let (Some(tls), Some(host)) = (&call.peer.tls, &call.host) else { return Ok(()) };
    let (Some(sni), Some(certificates)) = (&tls.sni, &tls.certificates) else { return Ok(()) };
    if **sni == *host.as_str() || certificates.serve_alike(sni, host.as_str()) {
        return Ok(());
    }
    Err(Failure::client(Stage::Guard, Problem::Misdirected))
}

fn method(call: &Call) -> Result<(), Failure> {
    let is_tunnel = call.head.method == Method::CONNECT;
    let is_extended = call.head.extensions.get::<h2::ext::Protocol>().is_some();
    if is_tunnel && call.head.version == Version::HTTP_3 {
        return Err(Failure::client(Stage::Guard, Problem::NotImplemented)
            .with_hint("CONNECT is served over HTTP/1.1 and HTTP/2, not over HTTP/3"));
    }
    if is_tunnel && !is_extended && !call.listener().connect {
        return Err(Failure::client(Stage::Guard, Problem::NotImplemented)
            .with_hint("CONNECT is not enabled on this listener"));
    }
    Ok(())
}

/// The one expectation that there is (RFC 9110 §10.1.1).
fn expectation(call: &Call) -> Result<(), Failure> {
    let mut values = call.head.headers.get_all(header::EXPECT).iter();
    if values.all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Ok(());
    }
    Err(Failure::client(Stage::Guard, Problem::ExpectationFailed)
        .with_hint("the only expectation that is known is `100-continue`"))
}

/// Finds out whether the request asks for WebSocket; every other upgrade, `h2c` first of all, is dropped.
fn upgrade(call: &mut Call, wanted: bool) -> Result<(), Failure> {
    if let Some(protocol) = call.head.extensions.remove::<h2::ext::Protocol>() {
        if protocol.as_str() != "websocket" {
            return Err(Failure::client(Stage::Guard, Problem::NotImplemented)
                .with_hint("the only extended CONNECT protocol is `websocket`"));
        }
        // RFC 8441 §5: to the route and the upstream this is the GET that HTTP/1.1 would have sent.
        call.head.method = Method::GET;
        call.record.method = Method::GET;
        call.upgrade = Some(Upgrade::Stream);
        return Ok(());
    }
    if call.head.method == Method::CONNECT {
        call.upgrade = Some(Upgrade::Connect);
        return Ok(());
    }
    if wanted && call.head.method == Method::GET {
        let mut tokens = call.head.headers.get_all(header::UPGRADE).iter();
        let is_websocket =
            tokens.next().is_some_and(|token| token.as_bytes().eq_ignore_ascii_case(b"websocket"));
        if is_websocket && tokens.next().is_none() {
            call.upgrade = Some(Upgrade::Connection);
        }
    }
    Ok(())
}

/// Brings the path into its one normal form, which router, policies, log and upstream all see.
fn target(call: &mut Call) -> Result<(), Failure> {
    let uri = &call.head.uri;
    if uri.path() == "*" || call.head.method == Method::CONNECT {
        return Ok(());
    }
    let listener = call.listener();
    let path::Canonical { path: normal, forms } =
        path::canonical(uri.path(), listener.path.merge_slashes.unwrap_or(true)).map_err(bad_path)?;
    call.forms = forms;
    let changed = matches!(normal, std::borrow::Cow::Owned(_));
    let is_origin_form = uri.authority().is_none() && uri.scheme().is_none();
    if changed || !is_origin_form {
        let target = match uri.query() {
            Some(query) => format!("{normal}?{query}"),
            None => normal.into_owned(),
        };
        let target: PathAndQuery =
            target.parse().map_err(|_| Failure::client(Stage::Guard, Problem::BadPath))?;
        call.head.uri = Uri::from(target);
    }
    call.record.uri = call.head.uri.clone();
    Ok(())
}

/// Judges the ambiguous forms in a call's path, by the rules of what answers it: the route, or its listener.
pub(crate) fn judge_path(call: &Call, rules: &PathRules) -> Result<(), Failure> {
    call.forms.judge(rules).map_err(bad_path)
}

fn bad_path(refusal: path::PathRefusal) -> Failure {
    Failure::client(Stage::Guard, Problem::BadPath).with_hint(refusal.to_string())
}

fn request_id(worker: &Worker, head: &mut Parts, trusted: bool) -> HeaderValue {
    if trusted
        && let Some(given) = head.headers.get(X_REQUEST_ID)
        && (1..=REQUEST_ID_BYTES_MAX).contains(&given.len())
        && given.as_bytes().iter().all(u8::is_ascii_graphic)
        && head.headers.get_all(X_REQUEST_ID).iter().count() == 1
    {
        return given.clone();
    }
    mint_request_id(worker)
}

pub(crate) fn mint_request_id(worker: &Worker) -> HeaderValue {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 32];
    for half in text.chunks_exact_mut(16) {
        let bits = worker.random();
        for (byte, shift) in half.iter_mut().zip((0..64).step_by(4)) {
            *byte = HEX[(bits >> shift & 15) as usize];
        }
    }
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("none"))
}

/// Removes what an upstream's answer says about its own hop.
pub(crate) fn clean_answer(response: &mut http::Response<crate::body::Body>) {
    let upgrade = match response.status() {
        http::StatusCode::SWITCHING_PROTOCOLS => response.headers_mut().remove(header::UPGRADE),
        _ => None,
    };
    headers::clean_answer(response.headers_mut());
    if let Some(upgrade) = upgrade {
        response.headers_mut().insert(header::UPGRADE, upgrade);
    }
}

/// An id for a span, never all zero.
pub(crate) fn span_id(worker: &Worker) -> [u8; 8] {
    (worker.random() | 1).to_be_bytes()
}

/// Continues the caller's trace, or begins one.
fn trace_context(worker: &Worker, head: &Parts, present: Present) -> Option<TraceContext> {
    let span_id = span_id(worker);
    let mut given = head.headers.get_all(TRACEPARENT).iter();
    if present.has(Present::TRACEPARENT)
        && let Some(parent) =
            given.next().and_then(|value| telemetry::trace::parse_traceparent(value.as_bytes()))
        && given.next().is_none()
    {
        return Some(TraceContext {
            trace_id: parent.trace_id,
            span_id,
            parent_span_id: Some(parent.span_id),
            sampled: parent.sampled,
        });
    }
    let mut trace_id = [0; 16];
    trace_id[..8].copy_from_slice(&worker.random().to_be_bytes());
    trace_id[8..].copy_from_slice(&worker.random().to_be_bytes());
    trace_id[15] |= 1;
    Some(TraceContext { trace_id, span_id, parent_span_id: None, sampled: worker.samples_trace() })
}
