//! The fields of a line, and the line as JSON.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use http::Version;
use model::{
    AiRecord, CallRecord, Comparison, Continued, GuardFired, McpRecord, Usd, resource::access_log::Redact,
};

use crate::{json, trace::write_hex};

/// What stands in the place of a value that is not to be seen.
const REDACTED: &str = "[redacted]";

/// Writes a call as a JSON object.
pub(super) fn json(call: &CallRecord, redact: &Redact, out: &mut Vec<u8>) {
    if let Some(stream) = &call.stream {
        return super::stream::json(call, stream, redact, out);
    }
    out.extend_from_slice(b"{\"timestamp\":\"");
    json::time(call.started, out);
    out.push(b'"');
    let level = if call.status.is_server_error() { "error" } else { "info" };
    field("level", level, out);
    field("message", "request", out);
    if let Some(trace) = &call.trace {
        let mut digits = [0; 32];
        write_hex(&trace.trace_id, &mut digits);
        raw("trace_id", &digits, out);
        write_hex(&trace.span_id, &mut digits[..16]);
        raw("span_id", &digits[..16], out);
    }
    bytes("request_id", call.request_id.as_bytes(), out);
    field("listener", &call.listener, out);
    optional("route", call.route.as_deref(), out);
    optional("upstream", call.upstream.as_deref(), out);
    optional("endpoint", call.endpoint.as_deref(), out);
    optional("consumer", call.consumer.as_deref(), out);
    field("method", call.method.as_str(), out);
    field("path", call.uri.path(), out);
    if let Some(query) = call.uri.query() {
        field("query", &redacted_query(query, call, redact), out);
    }
    if let Some(host) = &call.host {
        bytes("host", host.as_bytes(), out);
    }
    field("protocol", protocol(call.version), out);
    out.extend_from_slice(if call.tls { b",\"tls\":true" } else { b",\"tls\":false" });
    field("client_ip", &client(call.client, redact), out);
    number("status", u64::from(call.status.as_u16()), out);
    if let Some(status) = call.grpc_status {
        number("grpc_status", u64::from(status), out);
    }
    number("request_bytes", call.request_bytes, out);
    number("response_bytes", call.response_bytes, out);
    duration("duration_ms", call.timings.total, out);
    timings(call, out);
    number("attempts", u64::from(call.attempts), out);
    if call.hedges > 0 {
        number("hedges", u64::from(call.hedges), out);
        let won: &[u8] = if call.hedge_won { b",\"hedge_won\":true" } else { b",\"hedge_won\":false" };
        out.extend_from_slice(won);
    }
    optional("prompt_version", call.prompt_version.as_deref(), out);
    if let Some(model) = &call.ai {
        ai(model, call, out);
    }
    if let Some(message) = &call.mcp {
        mcp(message, out);
    }
    if let Some(message) = &call.a2a {
        a2a(message, out);
    }
    if let Some(waf) = &call.waf {
        super::waf::write(waf, out);
    }
    if let Some(graphql) = &call.graphql {
        super::graphql::write(graphql, out);
    }
    super::judged::write(call, out);
    if let Some(content) = &call.content {
        super::content::write(content, out);
    }
    if let Some(composed) = &call.composed {
        super::composed::write(composed, out);
    }
    if let Some(transcoded) = &call.transcoded {
        super::transcoded::write(transcoded, out);
    }
    if let Some(published) = &call.published {
        super::published::write(published, out);
    }
    if let Some(fed) = &call.fed {
        super::fed::write(fed, out);
    }
    if let Some(delivered) = &call.delivered {
        super::delivered::write(delivered, out);
    }
    if let Some(traffic) = &call.traffic {
        super::traffic::write(traffic, out);
    }
    if let Some(mirrored) = &call.mirrored {
        super::mirrored::write(mirrored, out);
    }
    failed_tries(call, out);
    failure(call, out);
    optional("cache", call.cache, out);
    optional("sign_in", call.sign_in, out);
    optional("stopped_by", call.stopped_by, out);
    if let Some(agent) = &call.user_agent {
        bytes("user_agent", agent.as_bytes(), out);
    }
    out.push(b'}');
}

/// A call to a model: who served it, and what was spent.
fn ai(call: &AiRecord, whole: &CallRecord, out: &mut Vec<u8>) {
    key("ai", out);
    out.extend_from_slice(b"{\"operation\":");
    json::text(call.operation, out);
    field("dialect", call.dialect, out);
    field("model", &call.model, out);
    for (name, value) in
        [("provider", &*call.provider), ("provider_kind", call.kind), ("served_model", &call.served)]
    {
        // Nobody was asked.
        if !value.is_empty() {
            field(name, value, out);
        }
    }
    if let Some(variant) = &call.variant {
        field("variant", variant, out);
    }
    if let Some(used) = call.key() {
        field("key", &used, out);
    }
    out.extend_from_slice(if call.is_stream { b",\"stream\":true" } else { b",\"stream\":false" });
    number("attempts", u64::from(whole.attempts), out);
    times(call, whole, out);
    let turns = call.turns.load(std::sync::atomic::Ordering::Relaxed);
    if turns > 0 {
        number("turns", turns, out);
    }
    if let Some(spending) = call.spending() {
        let spent = spending.usage;
        number("input_tokens", spent.input, out);
        number("cache_read_tokens", spent.cache_read, out);
        number("cache_write_tokens", spent.cache_write, out);
        number("output_tokens", spent.output, out);
        number("reasoning_tokens", spent.reasoning, out);
        let sound = [("input_audio_tokens", spent.input_audio), ("output_audio_tokens", spent.output_audio)];
        let besides = sound.into_iter().chain(spending.units.named());
        for (name, count) in besides.filter(|(_, count)| *count > 0) {
            number(name, count, out);
        }
        out.extend_from_slice(match spending.is_estimate {
            true => b",\"is_estimate\":true",
            false => b",\"is_estimate\":false",
        });
        if let Some(picodollars) = spending.picodollars {
            // As the decimal number that it is: exact to the last place.
            out.extend_from_slice(b",\"cost_usd\":");
            out.extend_from_slice(Usd::of(picodollars).to_string().as_bytes());
        }
        if let Some(prices) = &call.prices {
            field("price_table", prices.table(), out);
        }
    }
    continued(&call.continued(), out);
    optional("broke", call.broke(), out);
    let dropped = call.all_dropped();
    if !dropped.is_empty() {
        key("dropped", out);
        let mut separator = b'[';
        for dropped in &dropped {
            out.push(separator);
            separator = b',';
            json::text(dropped, out);
        }
        out.push(b']');
    }
    optional("cache", call.cache, out);
    guarded(&call.guarded(), out);
    let (asked, answered) = call.texts();
    optional("prompt_text", asked.as_deref(), out);
    optional("answer_text", answered.as_deref(), out);
    if let Some(comparison) = &call.comparison {
        compared(comparison, out);
    }
    out.push(b'}');
}

/// How an answer compares with the one that it shadows.
fn compared(comparison: &Comparison, out: &mut Vec<u8>) {
    let truth = |name: &str, value: Option<bool>, out: &mut Vec<u8>| {
        if let Some(value) = value {
            key(name, out);
            out.extend_from_slice(if value { b"true" } else { b"false" });
        }
    };
    let fraction = |name: &str, value: Option<f64>, out: &mut Vec<u8>| {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            key(name, out);
            out.extend_from_slice(format!("{value:.3}").as_bytes());
        }
    };
    let of = &comparison.of;
    key("shadow_of", out);
    out.extend_from_slice(b"{\"provider\":");
    json::text(&of.provider, out);
    field("served_model", &of.served, out);
    duration("duration_ms", comparison.took.0, out);
    optional("finish", comparison.finish.0.as_deref(), out);
    if let Some(spending) = of.spending() {
        number("input_tokens", spending.usage.input, out);
        number("output_tokens", spending.usage.output, out);
        if let Some(picodollars) = spending.picodollars {
            key("cost_usd", out);
            out.extend_from_slice(Usd::of(picodollars).to_string().as_bytes());
        }
    }
    out.push(b'}');
    key("comparison", out);
    out.extend_from_slice(b"{\"duration_ms\":");
    json::millis(comparison.took.1, out);
    optional("finish", comparison.finish.1.as_deref(), out);
    optional("error", comparison.error.as_deref(), out);
    truth("same_text", comparison.same_text, out);
    fraction("shared_words", comparison.words, out);
    truth("same_json", comparison.same_json, out);
    fraction("length_ratio", comparison.length_ratio, out);
    truth("same_tools", comparison.same_tools, out);
    if let Some((own, other)) = &comparison.texts {
        field("text", own, out);
        field("shadow_text", other, out);
    }
    out.push(b'}');
}

/// Where the time went: the gateway itself, waiting for a key, for providers' first bytes, and for the rest.
fn times(call: &AiRecord, whole: &CallRecord, out: &mut Vec<u8>) {
    let Some((targets, keys)) = call.waited() else { return };
    let total = whole.timings.total;
    let head = whole.timings.head.unwrap_or(total).min(total);
    key("time", out);
    out.extend_from_slice(b"{\"gateway_ms\":");
    json::millis(head.saturating_sub(targets), out);
    duration("queue_ms", keys, out);
    duration("provider_first_byte_ms", targets.saturating_sub(keys), out);
    duration("stream_ms", total.saturating_sub(head), out);
    out.push(b'}');
}

/// Who went on with an answer that broke off.
fn continued(all: &[Continued], out: &mut Vec<u8>) {
    if all.is_empty() {
        return;
    }
    key("continued", out);
    let mut separator = b'[';
    for one in all {
        out.push(separator);
        separator = b',';
        out.extend_from_slice(b"{\"provider\":");
        json::text(&one.record.provider, out);
        field("served_model", &one.record.served, out);
        field("reason", one.reason, out);
        out.extend_from_slice(if one.has_answered { b",\"answered\":true" } else { b",\"answered\":false" });
        if let Some(spending) = one.record.spending() {
            number("input_tokens", spending.usage.input, out);
            number("output_tokens", spending.usage.output, out);
        }
        out.push(b'}');
    }
    out.push(b']');
}

/// A message to servers of tools.
fn mcp(message: &McpRecord, out: &mut Vec<u8>) {
    key("mcp", out);
    out.extend_from_slice(b"{\"method\":");
    json::text(&message.method, out);
    optional("name", message.name.as_deref(), out);
    optional("server", message.server.as_deref(), out);
    optional("session", message.session.as_deref(), out);
    field("revision", message.revision, out);
    if let Some(is_error) = message.is_error() {
        out.extend_from_slice(if is_error { b",\"is_error\":true" } else { b",\"is_error\":false" });
    }
    if message.is_asked() {
        out.extend_from_slice(b",\"asked\":true");
    }
    out.push(b'}');
}

/// A message to an agent.
fn a2a(message: &model::A2aRecord, out: &mut Vec<u8>) {
    key("a2a", out);
    out.extend_from_slice(b"{\"agent\":");
    json::text(&message.agent, out);
    field("method", message.method, out);
    optional("task", message.task(), out);
    optional("context", message.context(), out);
    if message.events() > 0 {
        number("events", message.events(), out);
    }
    if let Some(code) = message.error() {
        key("error_code", out);
        out.extend_from_slice(code.to_string().as_bytes());
    }
    out.push(b'}');
}

/// What guardrails found.
fn guarded(fired: &[GuardFired], out: &mut Vec<u8>) {
    if fired.is_empty() {
        return;
    }
    key("guardrails", out);
    let mut separator = b'[';
    for fired in fired {
        out.push(separator);
        separator = b',';
        out.extend_from_slice(b"{\"rule\":");
        json::text(&fired.rule, out);
        field("kind", fired.kind, out);
        field("mode", fired.mode, out);
        field("side", fired.side, out);
        number("count", u64::from(fired.count), out);
        if !fired.texts.is_empty() {
            key("texts", out);
            let mut separator = b'[';
            for text in &fired.texts {
                out.push(separator);
                separator = b',';
                json::text(text, out);
            }
            out.push(b']');
        }
        out.push(b'}');
    }
    out.push(b']');
}

pub(super) fn timings(call: &CallRecord, out: &mut Vec<u8>) {
    let timings = &call.timings;
    let phases = [
        ("policies_ms", timings.policies),
        ("connect_ms", timings.connect),
        ("upstream_first_byte_ms", timings.upstream_first_byte),
        ("head_ms", timings.head),
    ];
    for (name, phase) in phases {
        if let Some(phase) = phase {
            duration(name, phase, out);
        }
    }
}

pub(super) fn failed_tries(call: &CallRecord, out: &mut Vec<u8>) {
    if call.failed_tries.is_empty() {
        return;
    }
    key("failed_tries", out);
    let mut separator = b'[';
    for failed in &call.failed_tries {
        out.push(separator);
        separator = b',';
        out.extend_from_slice(b"{\"reason\":");
        json::text(failed.reason, out);
        optional("upstream", failed.upstream.as_deref(), out);
        if !failed.endpoint.is_empty() {
            field("endpoint", &failed.endpoint, out);
        }
        if let Some(status) = failed.status {
            number("status", u64::from(status.as_u16()), out);
        }
        optional("detail", failed.detail.as_deref(), out);
        duration("duration_ms", failed.duration, out);
        out.push(b'}');
    }
    out.push(b']');
}

pub(super) fn failure(call: &CallRecord, out: &mut Vec<u8>) {
    let Some(failure) = &call.failure else { return };
    key("failure", out);
    out.extend_from_slice(b"{\"side\":");
    json::text(failure.side.as_str(), out);
    field("stage", failure.stage.as_str(), out);
    field("reason", failure.reason, out);
    optional("detail", failure.detail.as_deref(), out);
    out.push(b'}');
}

pub(super) fn key(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

pub(super) fn field(name: &str, value: &str, out: &mut Vec<u8>) {
    key(name, out);
    json::text(value, out);
}

/// A value of plain ASCII without anything to escape.
fn raw(name: &str, value: &[u8], out: &mut Vec<u8>) {
    key(name, out);
    out.push(b'"');
    out.extend_from_slice(value);
    out.push(b'"');
}

fn bytes(name: &str, value: &[u8], out: &mut Vec<u8>) {
    key(name, out);
    json::bytes(value, out);
}

pub(super) fn optional(name: &str, value: Option<&str>, out: &mut Vec<u8>) {
    if let Some(value) = value {
        field(name, value, out);
    }
}

pub(super) fn number(name: &str, value: u64, out: &mut Vec<u8>) {
    key(name, out);
    json::number(value, out);
}

pub(super) fn duration(name: &str, value: Duration, out: &mut Vec<u8>) {
    key(name, out);
    json::millis(value, out);
}

/// The protocol as requests name it.
pub(crate) fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

/// Parameters that hold what an operation of GraphQL is about.
const OF_GRAPHQL: [&str; 3] = ["query", "variables", "extensions"];

/// A query without the values that are not to be seen.
pub(crate) fn redacted_query(query: &str, call: &CallRecord, redact: &Redact) -> String {
    let is_secret = |name: &str| {
        redact.query.iter().any(|secret| is_name(name, secret))
            || call.graphql.is_some() && OF_GRAPHQL.iter().any(|secret| is_name(name, secret))
    };
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}={REDACTED}"),
        _ => pair.to_owned(),
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// Whether a parameter has this name, escaped or not; the case does not count.
fn is_name(given: &str, name: &str) -> bool {
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut rest = given.as_bytes();
    let mut wanted = name.bytes();
    while let Some((&first, after)) = rest.split_first() {
        let (byte, after) = match (first, after) {
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (first, &rest[1..]),
            },
            (b'+', _) => (b' ', after),
            _ => (first, after),
        };
        if !wanted.next().is_some_and(|wanted| wanted.eq_ignore_ascii_case(&byte)) {
            return false;
        }
        rest = after;
    }
    wanted.next().is_none()
}

/// The client's address, or its network.
pub(crate) fn client(address: IpAddr, redact: &Redact) -> String {
    if !redact.client_address {
        return address.to_string();
    }
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & 0xffff_ff00).to_string(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 80 << 80).to_string(),
    }
}
