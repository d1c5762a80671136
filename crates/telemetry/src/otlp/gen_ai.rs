//! A call to a model as a span of its own, between the call's and those of its tries, with the attributes of
//! OpenTelemetry's conventions for generative AI (the version that the tests install).

use model::{AiRecord, CallRecord, TraceContext};

use super::{
    facts, log,
    proto::{KeyValue, LogRecord, Span, SpanKind, Status},
    resource::{boolean, double, int, text},
    span::{after, id_within, nanos},
};
use crate::metrics::gen_ai::provider_name;

/// What makes the span's id of the call's.
const ID_MASK: [u8; 8] = *b"gen_ai\x01\x01";

/// The id of the span.
pub(super) fn id(trace: &TraceContext) -> [u8; 8] {
    id_within(trace, ID_MASK)
}

/// The span.
pub(super) fn span(call: &CallRecord, ai: &AiRecord, trace: &TraceContext, flags: u32) -> Span {
    let start = nanos(call.started);
    let error =
        facts::error(call).or_else(|| call.status.is_client_error().then(|| call.status.as_str().to_owned()));
    let mut attributes = attributes(call, ai);
    if let Some(error) = &error {
        attributes.push(text("error.type", error.as_str()));
    }
    Span {
        trace_id: trace.trace_id.to_vec(),
        span_id: id(trace).to_vec(),
        parent_span_id: trace.span_id.to_vec(),
        flags,
        name: name(ai),
        kind: SpanKind::Client as i32,
        start_time_unix_nano: start,
        end_time_unix_nano: after(start, call.timings.total),
        attributes,
        status: error.map(|message| Status { message, code: 2 }),
    }
}

/// What is said of a call to a model; nothing where it was refused before a provider was chosen. The conventions want a
/// provider, and the name of a model that there is not is the caller's own word: spans are grouped by their names.
pub(super) fn asked(call: &CallRecord) -> Option<&AiRecord> {
    call.ai.as_deref().filter(|ai| !ai.kind.is_empty())
}

fn name(ai: &AiRecord) -> String {
    match ai.model.is_empty() {
        true => ai.operation.to_owned(),
        false => format!("{} {}", ai.operation, ai.model),
    }
}

/// The call as the event of the conventions, in its span; nothing where no model was asked. It holds no text of prompts or
/// answers.
pub(super) fn event(call: &CallRecord) -> Option<LogRecord> {
    let ai = asked(call)?;
    let mut attributes = attributes(call, ai);
    if let Some(error) = facts::error(call) {
        attributes.push(text("error.type", error));
    }
    let trace = call.trace.as_ref();
    Some(LogRecord {
        attributes,
        span_id: trace.map(|trace| id(trace).to_vec()).unwrap_or_default(),
        body: None,
        event_name: "gen_ai.client.inference.operation.details".to_owned(),
        ..log::bare(call)
    })
}

fn attributes(call: &CallRecord, ai: &AiRecord) -> Vec<KeyValue> {
    let mut out = Vec::with_capacity(16);
    out.push(text("gen_ai.operation.name", ai.operation));
    out.push(text("gen_ai.provider.name", provider_name(ai.kind)));
    if !ai.model.is_empty() {
        out.push(text("gen_ai.request.model", &*ai.model));
    }
    if !ai.served.is_empty() {
        out.push(text("gen_ai.response.model", ai.served.as_str()));
    }
    if ai.is_stream {
        out.push(boolean("gen_ai.request.stream", true));
    }
    if let Some(first) = ai.first_token() {
        out.push(double("gen_ai.response.time_to_first_chunk", first.as_secs_f64()));
    }
    if let Some(spent) = ai.spending().map(|spending| spending.usage) {
        out.push(int("gen_ai.usage.input_tokens", spent.input));
        out.push(int("gen_ai.usage.output_tokens", spent.output));
        for (name, tokens) in [
            ("gen_ai.usage.cache_read.input_tokens", spent.cache_read),
            ("gen_ai.usage.cache_creation.input_tokens", spent.cache_write),
            ("gen_ai.usage.reasoning.output_tokens", spent.reasoning),
        ] {
            if tokens > 0 {
                out.push(int(name, tokens));
            }
        }
    }
    if !ai.provider.is_empty() {
        out.push(text("tidegate.ai.provider", &*ai.provider));
    }
    out.push(text("tidegate.ai.dialect", ai.dialect));
    if let Some(consumer) = &call.consumer {
        out.push(text("tidegate.consumer", &**consumer));
    }
    out
}
