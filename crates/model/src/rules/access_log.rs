//! Rules of what leaves the gateway about its calls: access logs and OTLP.

use crate::{
    AccessLog,
    load::Context,
    resource::{
        access_log::AccessLogKind,
        telemetry::{Otlp, OtlpProtocol},
    },
};

pub(super) fn check(log: &AccessLog, at: &mut Context<'_, '_>) {
    match (log.kind, &log.path) {
        (AccessLogKind::File, None) => at.error("an access log of kind `file` needs a `path`"),
        (AccessLogKind::Stdout | AccessLogKind::Stderr, Some(_)) => {
            at.field("path", |at| at.error("only an access log of kind `file` has a path"));
        }
        _ => {}
    }
    if log.format != "json" {
        at.field("format", |at| {
            super::policies::template(&log.format, at);
            if !log.format.contains("{{") {
                at.error("expected `json` or a template such as `{{ status }} {{ path }}`");
            }
        });
    }
}

pub(super) fn otlp(otlp: &Otlp, at: &mut Context<'_, '_>) {
    endpoint(otlp, at);
    if otlp.interval.is_zero() {
        at.field("interval", |at| at.error("expected more than nothing"));
    }
    for (key, size) in [("maxBatch", otlp.max_batch), ("maxQueue", otlp.max_queue)] {
        if size == 0 {
            at.field(key, |at| at.error("expected at least 1"));
        }
    }
    if otlp.max_batch > otlp.max_queue {
        at.field("maxBatch", |at| at.error("a batch cannot be larger than `maxQueue`"));
    }
    if otlp.timeout.is_zero() {
        at.field("timeout", |at| at.error("expected more than nothing"));
    }
    at.field("headers", |at| {
        for name in otlp.headers.keys() {
            let wrong = match http::HeaderName::from_bytes(name.as_bytes()) {
                Err(_) => "is not the name of a header",
                Ok(name) if OWN_HEADERS.contains(&name.as_str()) => "is set by the exporter itself",
                Ok(_) => continue,
            };
            at.field(name, |at| at.error(format!("`{name}` {wrong}")));
        }
    });
}

/// Headers that the protocols need for themselves.
const OWN_HEADERS: [&str; 9] = [
    "host",
    "content-type",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "te",
    "grpc-encoding",
    "grpc-timeout",
];

fn endpoint(otlp: &Otlp, at: &mut Context<'_, '_>) {
    // What is no address at all, the schema has refused.
    let Ok(uri) = otlp.endpoint.parse::<http::Uri>() else { return };
    at.field("endpoint", |at| {
        if uri.query().is_some() {
            at.error("the address of a receiver has no query");
        }
        if otlp.protocol == OtlpProtocol::Grpc && !matches!(uri.path(), "" | "/") {
            at.error("with `grpc` the address of a receiver has no path");
        }
    });
    if otlp.tls.is_some() && uri.scheme_str() != Some("https") {
        at.field("tls", |at| at.error("`tls` is for an `https://` endpoint"));
    }
}
