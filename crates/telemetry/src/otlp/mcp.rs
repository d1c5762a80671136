//! A message of the Model Context Protocol as a span of its own, between the call's and those of its tries: to the servers
//! the gateway is the client. Names and attributes are those of OpenTelemetry's conventions for MCP and generative AI
//! (the version that the tests install).

use model::{CallRecord, McpRecord, TraceContext};

use super::{
    facts,
    proto::{KeyValue, Span, SpanKind, Status},
    resource::text,
    span::{after, id_within, nanos},
};

/// What makes the span's id of the call's.
const ID_MASK: [u8; 8] = *b"mcp\x01\x01\x01\x01\x01";

/// The id of the span.
pub(super) fn id(trace: &TraceContext) -> [u8; 8] {
    id_within(trace, ID_MASK)
}

/// The span.
pub(super) fn span(call: &CallRecord, mcp: &McpRecord, trace: &TraceContext, flags: u32) -> Span {
    let start = nanos(call.started);
    let error = error(call, mcp);
    let mut attributes = attributes(call, mcp);
    if let Some(error) = &error {
        attributes.push(text("error.type", error.as_str()));
    }
    Span {
        trace_id: trace.trace_id.to_vec(),
        span_id: id(trace).to_vec(),
        parent_span_id: trace.span_id.to_vec(),
        flags,
        name: match named(mcp) {
            Some((_, name)) => format!("{} {name}", mcp.method),
            None => mcp.method.to_string(),
        },
        // Tools that ask a model are the gateway's own.
        kind: if call.ai.is_some() { SpanKind::Internal } else { SpanKind::Client } as i32,
        start_time_unix_nano: start,
        end_time_unix_nano: after(start, call.timings.total),
        attributes,
        status: error.map(|message| Status { message, code: 2 }),
    }
}

/// The tool or prompt that the message names, and the attribute for it. URIs of resources are too many for names of spans.
fn named(mcp: &McpRecord) -> Option<(&'static str, &str)> {
    let attribute = match &*mcp.method {
        "tools/call" => "gen_ai.tool.name",
        "prompts/get" => "gen_ai.prompt.name",
        _ => return None,
    };
    Some((attribute, mcp.name.as_deref()?))
}

fn error(call: &CallRecord, mcp: &McpRecord) -> Option<String> {
    facts::error(call)
        .or_else(|| call.status.is_client_error().then(|| call.status.as_str().to_owned()))
        .or_else(|| mcp.failed().map(str::to_owned))
}

fn attributes(call: &CallRecord, mcp: &McpRecord) -> Vec<KeyValue> {
    let mut out = Vec::with_capacity(8);
    out.push(text("mcp.method.name", &*mcp.method));
    out.push(text("mcp.protocol.version", mcp.revision));
    if &*mcp.method == "tools/call" {
        out.push(text("gen_ai.operation.name", "execute_tool"));
        out.push(text("gen_ai.tool.type", "extension"));
    }
    match (named(mcp), mcp.name.as_deref()) {
        (Some((attribute, name)), _) => out.push(text(attribute, name)),
        (None, Some(uri)) if mcp.method.starts_with("resources/") => out.push(text("mcp.resource.uri", uri)),
        (None, _) => {}
    }
    for (name, value) in
        [("tidegate.mcp.server", mcp.server.as_deref()), ("mcp.session.id", mcp.session.as_deref())]
    {
        if let Some(value) = value {
            out.push(text(name, value));
        }
    }
    if let Some(consumer) = &call.consumer {
        out.push(text("tidegate.consumer", &**consumer));
    }
    out
}
