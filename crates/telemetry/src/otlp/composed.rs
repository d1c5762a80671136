//! The calls of a composed answer as spans of their own, between the call's and those of their tries.

use model::{CallRecord, ComposedCall, TraceContext, resource::access_log::Redact};

use super::{
    proto::{Span, SpanKind, Status},
    resource::{int, text},
    span::{self, after, nanos},
};

/// The spans of all calls, each with those of its tries.
pub(super) fn spans(
    call: &CallRecord,
    trace: &TraceContext,
    redact: &Redact,
    flags: u32,
    out: &mut Vec<Span>,
) {
    let Some(composed) = &call.composed else { return };
    composed.with(|calls| {
        for one in calls {
            out.push(span(call, one, trace, flags));
            // Its tries tell of its method and upstream, not of the client's.
            let mut own = call.clone();
            own.method = one.method.clone();
            own.upstream = Some(one.upstream.clone());
            out.extend(one.tries.iter().zip(0..).map(|(tried, resends)| Span {
                parent_span_id: one.span_id.to_vec(),
                ..span::client(&own, trace, tried, redact, resends)
            }));
        }
    });
}

/// How many there are.
pub(super) fn count(call: &CallRecord) -> u64 {
    call.composed
        .as_ref()
        .map_or(0, |composed| composed.with(|calls| calls.iter().map(|one| 1 + one.tries.len() as u64).sum()))
}

fn span(call: &CallRecord, one: &ComposedCall, trace: &TraceContext, flags: u32) -> Span {
    let start = after(nanos(call.started), one.started);
    let mut attributes = vec![
        text("tidegate.call", &*one.name),
        text("tidegate.upstream", &*one.upstream),
        text("http.request.method", one.method.as_str()),
    ];
    if let Some(index) = one.index {
        attributes.push(int("tidegate.call.index", index as u64));
    }
    if let Some(status) = one.status {
        attributes.push(int("http.response.status_code", u64::from(status.as_u16())));
    }
    if let Some(failed) = one.failed {
        attributes.push(text("error.type", failed));
    }
    Span {
        trace_id: trace.trace_id.to_vec(),
        span_id: one.span_id.to_vec(),
        parent_span_id: trace.span_id.to_vec(),
        flags,
        name: format!("call {}", one.name),
        kind: SpanKind::Internal as i32,
        start_time_unix_nano: start,
        end_time_unix_nano: after(start, one.duration),
        attributes,
        status: one.failed.map(|failed| Status { message: failed.to_owned(), code: 2 }),
    }
}
