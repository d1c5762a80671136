//! A call as spans: one of kind SERVER, and one of kind CLIENT for each try.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::{CallRecord, TraceContext, TryEnd, TrySpan, resource::access_log::Redact};

use super::{
    composed,
    facts::{self, Routes},
    gen_ai, mcp,
    proto::{KeyValue, Span, SpanKind, Status},
    resource::{boolean, int, text},
};
use crate::access::line;

/// Bits of `Span.flags` that say that whether the parent is remote is known, and that it is.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// Nanoseconds since 1970.
pub(super) fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The id of a span within the call's. It is made of the call's, so that both ends know it without a word.
pub(super) fn id_within(trace: &TraceContext, mask: [u8; 8]) -> [u8; 8] {
    let mut id = trace.span_id;
    id.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    // An id is never all zero.
    if id == [0; 8] { mask } else { id }
}

/// The spans of a call; none when its trace is not sampled.
pub(super) fn spans(call: &CallRecord, redact: &Redact, routes: &Routes) -> Vec<Span> {
    let Some(trace) = call.trace.filter(|trace| trace.sampled) else { return Vec::new() };
    let mut spans = Vec::with_capacity(1 + call.tries.len());
    spans.push(server(call, &trace, redact, routes));
    let tries = call.tries.iter().zip(0..);
    let mut parent = trace.span_id;
    if let Some(mcp) = &call.mcp {
        spans.push(mcp::span(call, mcp, &trace, 1 | HAS_IS_REMOTE));
        parent = mcp::id(&trace);
    }
    if let Some(ai) = gen_ai::asked(call) {
        let span = gen_ai::span(call, ai, &trace, 1 | HAS_IS_REMOTE);
        spans.push(Span { parent_span_id: parent.to_vec(), ..span });
        parent = gen_ai::id(&trace);
    }
    spans.extend(tries.map(|(tried, resends)| Span {
        parent_span_id: parent.to_vec(),
        ..client(call, &trace, tried, redact, resends)
    }));
    composed::spans(call, &trace, redact, 1 | HAS_IS_REMOTE, &mut spans);
    spans
}

fn server(call: &CallRecord, trace: &TraceContext, redact: &Redact, routes: &Routes) -> Span {
    let attributes = facts::call(call, redact, routes);
    let method = facts::method(&call.method, &mut Vec::new());
    let name = match routes.pattern(call) {
        Some(pattern) => format!("{method} {pattern}"),
        None => method.to_owned(),
    };
    let remote = if trace.parent_span_id.is_some() { HAS_IS_REMOTE | IS_REMOTE } else { HAS_IS_REMOTE };
    let start = nanos(call.started);
    Span {
        trace_id: trace.trace_id.to_vec(),
        span_id: trace.span_id.to_vec(),
        parent_span_id: trace.parent_span_id.map(|id| id.to_vec()).unwrap_or_default(),
        flags: 1 | remote,
        name,
        kind: SpanKind::Server as i32,
        start_time_unix_nano: start,
        end_time_unix_nano: after(start, call.timings.total),
        attributes,
        status: facts::error(call).map(|error| {
            let detail = call.failure.as_ref().and_then(|failure| failure.detail.clone());
            failed(detail.unwrap_or(error))
        }),
    }
}

pub(super) fn client(
    call: &CallRecord,
    trace: &TraceContext,
    tried: &TrySpan,
    redact: &Redact,
    resends: u64,
) -> Span {
    let start = after(nanos(call.started), tried.started);
    let total = call.timings.total.saturating_sub(tried.started);
    // The answer that was passed on ends with its body; one that was thrown away, or a failure, at once.
    let lasts = matches!(tried.end, TryEnd::Answered { is_passed_on: true, .. });
    let duration = tried.duration.filter(|_| !lasts).unwrap_or(total);
    let mut attributes = Vec::with_capacity(16);
    let method = facts::method(&call.method, &mut attributes);
    let error = try_error(call, &tried.end);
    try_facts(call, tried, redact, &mut attributes);
    if resends > 0 {
        attributes.push(int("http.request.resend_count", resends));
    }
    if let Some(error) = &error {
        attributes.push(text("error.type", error.as_str()));
    }
    Span {
        trace_id: trace.trace_id.to_vec(),
        span_id: tried.span_id.to_vec(),
        parent_span_id: trace.span_id.to_vec(),
        flags: 1 | HAS_IS_REMOTE,
        name: method.to_owned(),
        kind: SpanKind::Client as i32,
        start_time_unix_nano: start,
        end_time_unix_nano: after(start, duration),
        attributes,
        status: error.map(failed),
    }
}

fn try_error(call: &CallRecord, end: &TryEnd) -> Option<String> {
    match end {
        // To a client 4xx is an error too.
        TryEnd::Answered { status, .. } if status.is_client_error() || status.is_server_error() => {
            Some(status.as_str().to_owned())
        }
        // An answer that broke off in its body.
        TryEnd::Answered { is_passed_on: true, .. } => {
            let broke = call.failure.as_ref().filter(|failure| failure.stage == model::Stage::Body);
            broke.map(|failure| failure.reason.to_owned())
        }
        TryEnd::Failed(reason) => Some((*reason).to_owned()),
        // To lose a race that we started is nobody's fault.
        TryEnd::Answered { .. } | TryEnd::Overtaken => None,
        // Its client left, as a rule.
        TryEnd::CutOff => {
            Some(call.failure.as_ref().map_or("cancelled", |failure| failure.reason).to_owned())
        }
    }
}

fn try_facts(call: &CallRecord, tried: &TrySpan, redact: &Redact, out: &mut Vec<KeyValue>) {
    let scheme = if tried.tls { "https" } else { "http" };
    let host = tried.host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or(&tried.endpoint);
    let query = match tried.uri.query() {
        Some(query) => format!("?{}", line::redacted_query(query, call, redact)),
        None => String::new(),
    };
    out.push(text("url.full", format!("{scheme}://{host}{}{query}", tried.uri.path())));
    match &tried.host {
        Some(host) => facts::server(host, tried.tls, out),
        None => out.push(text("server.address", &*tried.endpoint)),
    }
    match tried.endpoint.parse::<std::net::SocketAddr>() {
        Ok(address) => {
            out.push(text("network.peer.address", address.ip().to_string()));
            out.push(int("network.peer.port", u64::from(address.port())));
        }
        Err(_) => {
            out.push(text("network.transport", "unix"));
            out.push(text("network.peer.address", tried.endpoint.trim_start_matches("unix:")));
        }
    }
    if let TryEnd::Answered { status, version, .. } = tried.end {
        out.push(text("network.protocol.version", facts::version(version)));
        out.push(int("http.response.status_code", u64::from(status.as_u16())));
    }
    for (name, is) in
        [("tidegate.hedge", tried.is_hedge), ("tidegate.overtaken", matches!(tried.end, TryEnd::Overtaken))]
    {
        if is {
            out.push(boolean(name, true));
        }
    }
    out.push(text("tidegate.endpoint", &*tried.endpoint));
    if let Some(route) = &call.route {
        out.push(text("tidegate.route", &**route));
    }
    out.push(text("tidegate.upstream", &*tried.upstream));
}

fn failed(message: String) -> Status {
    Status { message, code: 2 }
}

pub(super) fn after(start: u64, duration: Duration) -> u64 {
    start.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}
