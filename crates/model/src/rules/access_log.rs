//! Rules of what leaves the gateway about its calls: access logs and OTLP.

use crate::{
    AccessLog,
    load::Context,
    resource::{access_log::AccessLogKind, telemetry::Otlp},
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
    at.field("headers", |at| {
        for name in otlp.headers.keys().filter(|name| http::HeaderName::from_bytes(name.as_bytes()).is_err())
        {
            at.field(name, |at| at.error(format!("`{name}` is not the name of a header")));
        }
    });
}
