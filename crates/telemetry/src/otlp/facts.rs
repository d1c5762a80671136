//! What a call's record says as attributes: HTTP's semantic conventions, and our own under `tidegate.`.

use std::{collections::HashMap, time::Duration};

use http::{HeaderValue, Method, Version};
use model::{
    CallRecord, Config, Side,
    resource::{access_log::Redact, route_match::PathMatch},
};

use super::{
    proto::KeyValue,
    resource::{boolean, double, int, text},
};
use crate::access::line;

/// The patterns of routes by the place of their match: what `http.route` is.
#[derive(Debug, Default)]
pub(crate) struct Routes(HashMap<String, Vec<Option<String>>>);

impl Routes {
    pub(crate) fn new(config: &Config) -> Self {
        let pattern = |path: &PathMatch| match path {
            PathMatch::Exact(path) | PathMatch::Template(path) | PathMatch::Regex(path) => path.clone(),
            PathMatch::Prefix(path) => format!("{}/*", path.trim_end_matches('/')),
        };
        let patterns = config.routes.iter().map(|route| {
            let matches = route.matches.iter().map(|one| one.path.as_ref().map(pattern));
            (route.name.clone(), matches.collect())
        });
        Self(patterns.collect())
    }

    /// The pattern that a call matched.
    pub(super) fn pattern(&self, call: &CallRecord) -> Option<&str> {
        self.0.get(&**call.route.as_ref()?)?.get(usize::from(call.rule?))?.as_deref()
    }
}

/// The method as conventions want it: a known one, and the original beside `_OTHER`.
pub(super) fn method(method: &Method, out: &mut Vec<KeyValue>) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];
    match KNOWN.into_iter().find(|known| *known == method.as_str()) {
        Some(known) => {
            out.push(text("http.request.method", known));
            known
        }
        None => {
            out.push(text("http.request.method", "_OTHER"));
            out.push(text("http.request.method_original", method.as_str()));
            // What stands in a span's name for a method that is not known.
            "HTTP"
        }
    }
}

/// The number of a protocol version.
pub(super) fn version(version: Version) -> &'static str {
    line::protocol(version).trim_start_matches("HTTP/")
}

/// `server.address` and `server.port` of an authority; the port of the scheme when it has none.
pub(super) fn server(host: &HeaderValue, tls: bool, out: &mut Vec<KeyValue>) {
    let Some(authority) = host.to_str().ok().and_then(|host| host.parse::<http::uri::Authority>().ok())
    else {
        return;
    };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    out.push(text("server.address", name));
    let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
    out.push(int("server.port", u64::from(port)));
}

/// Why a call counts as failed on our side; what a client did wrong is none of it.
pub(super) fn error(call: &CallRecord) -> Option<String> {
    if let Some(failure) = call.failure.as_ref().filter(|failure| failure.side != Side::Client) {
        return Some(failure.reason.to_owned());
    }
    if call.status.is_server_error() {
        return Some(call.status.as_str().to_owned());
    }
    // The statuses that gRPC's conventions hold against a server.
    let name = match call.grpc_status? {
        2 => "UNKNOWN",
        4 => "DEADLINE_EXCEEDED",
        12 => "UNIMPLEMENTED",
        13 => "INTERNAL",
        14 => "UNAVAILABLE",
        15 => "DATA_LOSS",
        _ => return None,
    };
    Some(name.to_owned())
}

/// Everything about a call but its name and its times.
pub(super) fn call(call: &CallRecord, redact: &Redact, routes: &Routes) -> Vec<KeyValue> {
    let mut out = Vec::with_capacity(32);
    method(&call.method, &mut out);
    out.push(text("url.scheme", if call.tls { "https" } else { "http" }));
    out.push(text("url.path", call.uri.path()));
    if let Some(query) = call.uri.query() {
        out.push(text("url.query", line::redacted_query(query, call, redact)));
    }
    if let Some(pattern) = routes.pattern(call) {
        out.push(text("http.route", pattern));
    }
    // 499 stands in records alone: nothing was sent.
    if call.status.as_u16() != 499 {
        out.push(int("http.response.status_code", u64::from(call.status.as_u16())));
    }
    if let Some(error) = error(call) {
        out.push(text("error.type", error));
    }
    out.push(text("network.protocol.version", version(call.version)));
    if let Some(host) = &call.host {
        server(host, call.tls, &mut out);
    }
    out.push(text("client.address", line::client(call.client, redact)));
    if let Some(agent) = &call.user_agent {
        out.push(text("user_agent.original", String::from_utf8_lossy(agent.as_bytes())));
    }
    own(call, &mut out);
    out
}

/// What only a gateway knows; the names are those of the access log after `tidegate.`.
fn own(call: &CallRecord, out: &mut Vec<KeyValue>) {
    out.push(text("tidegate.request_id", String::from_utf8_lossy(call.request_id.as_bytes())));
    out.push(text("tidegate.listener", &*call.listener));
    let names = [
        ("tidegate.route", call.route.as_deref()),
        ("tidegate.upstream", call.upstream.as_deref()),
        ("tidegate.endpoint", call.endpoint.as_deref()),
        ("tidegate.consumer", call.consumer.as_deref()),
        ("tidegate.stopped_by", call.stopped_by),
        ("tidegate.cache", call.cache),
    ];
    for (name, value) in names {
        if let Some(value) = value {
            out.push(text(name, value));
        }
    }
    out.push(int("tidegate.attempts", u64::from(call.attempts)));
    if call.hedges > 0 {
        out.push(int("tidegate.hedges", u64::from(call.hedges)));
        out.push(boolean("tidegate.hedge_won", call.hedge_won));
    }
    out.push(int("tidegate.request_bytes", call.request_bytes));
    out.push(int("tidegate.response_bytes", call.response_bytes));
    if let Some(status) = call.grpc_status {
        out.push(int("tidegate.grpc_status", u64::from(status)));
    }
    if let Some(asked) = &call.graphql {
        // OpenTelemetry's conventions for GraphQL; the document itself is told to nobody.
        if let Some(kind) = asked.kind {
            out.push(text("graphql.operation.type", kind));
        }
        if let Some(operation) = &asked.operation {
            out.push(text("graphql.operation.name", &**operation));
        }
        if asked.cost > 0.0 {
            out.push(double("tidegate.graphql.cost", asked.cost));
        }
    }
    let timings = &call.timings;
    let phases = [
        ("tidegate.policies_ms", timings.policies),
        ("tidegate.connect_ms", timings.connect),
        ("tidegate.upstream_first_byte_ms", timings.upstream_first_byte),
        ("tidegate.head_ms", timings.head),
    ];
    for (name, phase) in phases {
        if let Some(phase) = phase {
            out.push(double(name, millis(phase)));
        }
    }
    if let Some(failure) = &call.failure {
        out.push(text("tidegate.failure.side", failure.side.as_str()));
        out.push(text("tidegate.failure.stage", failure.stage.as_str()));
        out.push(text("tidegate.failure.reason", failure.reason));
        if let Some(detail) = &failure.detail {
            out.push(text("tidegate.failure.detail", detail.as_str()));
        }
    }
}

pub(super) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
