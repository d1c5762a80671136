//! Rules of what leaves the gateway about its calls: access logs and OTLP.

use crate::{
    AccessLog, Config, Size,
    load::{Context, scope::Named},
    resource::{
        access_log::{AccessLogKind, rotation::Rotation},
        broker::BrokerKind,
        telemetry::{Otlp, OtlpProtocol},
    },
};

pub(super) fn check(log: &AccessLog, config: &Config, at: &mut Context<'_, '_>) {
    own_settings(log, at);
    match (log.kind, &log.path) {
        (AccessLogKind::File, None) => at.error("an access log of kind `file` needs a `path`"),
        (kind, Some(_)) if kind != AccessLogKind::File => {
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
    if let Some(rotate) = &log.rotate {
        at.field("rotate", |at| rotation(rotate, log, at));
    }
    buffering(log, at);
    if let Some(filter) = &log.filter {
        at.field("filter", |at| {
            at.each("routes", &filter.routes, |at, name| {
                if config.routes.iter().all(|route| route.name != *name) {
                    at.error(format!("there is no route `{name}`"));
                }
            });
            at.each("listeners", &filter.listeners, |at, name| at.refer(Named::Listener, name));
            at.each("status", &filter.status, |at, text| {
                let (class, rest) = text.split_at_checked(1).unwrap_or_default();
                let is_rest =
                    rest == "xx" || rest.len() == 2 && rest.bytes().all(|byte| byte.is_ascii_digit());
                if !("1"..="5").contains(&class) || !is_rest {
                    at.error("expected a status such as `404`, or a class of them such as `5xx`");
                }
            });
        });
    }
    if let Some(nats) = &log.nats {
        at.field("nats", |at| broker(&nats.broker, BrokerKind::Nats, config, at));
    }
    if let Some(kafka) = &log.kafka {
        at.field("kafka", |at| broker(&kafka.broker, BrokerKind::Kafka, config, at));
    }
}

/// The broker that records go to is there, and of the kind that is meant.
fn broker(name: &str, wanted: BrokerKind, config: &Config, at: &mut Context<'_, '_>) {
    at.field("broker", |at| {
        at.refer(Named::Broker, name);
        let other = super::broker::kind(config, name).filter(|kind| *kind != wanted);
        if let Some(other) = other {
            at.error(format!(
                "expected a broker of kind `{}`, and this one is `{}`",
                wanted.as_str(),
                other.as_str()
            ));
        }
    });
}

/// The settings of a kind stand under its key, and no other kind has settings there.
fn own_settings(log: &AccessLog, at: &mut Context<'_, '_>) {
    let kind = log.kind.as_str();
    let settings = log.settings();
    if !log.is_local() && settings.iter().all(|(key, _)| *key != kind) {
        at.error_with(
            format!("an access log of kind `{kind}` needs its settings under `{kind}`"),
            "docs/sinks.md has an example of each kind",
        );
    }
    for (key, settings) in settings {
        at.field(key, |at| match key == kind {
            true => settings.validate(log, at),
            false => at.error(format!("settings of kind `{key}` in an access log of kind `{kind}`")),
        });
    }
}

fn rotation(rotate: &Rotation, log: &AccessLog, at: &mut Context<'_, '_>) {
    if log.kind != AccessLogKind::File {
        at.error("only an access log of kind `file` is rotated");
    }
    if rotate.size.is_none() && rotate.age.is_none() {
        at.error_with("expected `size` or `age`", "such as `size: 100MiB`");
    }
    if rotate.size.is_some_and(|size| size.bytes() == 0) {
        at.field("size", |at| at.error("expected more than nothing"));
    }
    if rotate.age.is_some_and(|age| age.get() < std::time::Duration::from_secs(1)) {
        at.field("age", |at| at.error("expected at least a second"));
    }
}

fn buffering(log: &AccessLog, at: &mut Context<'_, '_>) {
    let written = [
        ("batch", log.batch.is_some()),
        ("queue", log.queue.is_some()),
        ("retry", log.retry.is_some()),
        ("spill", log.spill.is_some()),
    ];
    for (key, _) in written.into_iter().filter(|(_, is_written)| *is_written && log.is_local()) {
        at.field(key, |at| at.error("standard streams and files are written at once, without a queue"));
    }
    let batch = log.batch.clone().unwrap_or_default();
    let queue = log.queue.clone().unwrap_or_default();
    at.field("batch", |at| {
        if batch.records > queue.records {
            let (batch, queue) = (batch.records, queue.records);
            at.field("records", |at| {
                at.error_with(
                    format!("a batch of {batch} records is more than `queue.records`, {queue}, has room for"),
                    format!("such as `batch: {{records: {queue}}}`, or a larger queue"),
                )
            });
        }
        if batch.size > queue.size {
            at.field("size", |at| at.error("a batch cannot be larger than `queue.size`"));
        }
        if batch.size.bytes() == 0 {
            at.field("size", |at| at.error("expected more than nothing"));
        }
    });
    if let Some(retry) = &log.retry {
        at.field("retry", |at| {
            if retry.first.is_zero() {
                at.field("first", |at| at.error("expected more than nothing"));
            }
            if retry.max < retry.first {
                at.field("max", |at| at.error("the longest pause cannot be shorter than the first"));
            }
        });
    }
    if let Some(spill) = &log.spill {
        at.field("spill", |at| {
            if spill.size < Size::kib(64) {
                at.field("size", |at| at.error("expected at least 64KiB"));
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

/// Paths of OTLP over HTTP, which stand in what other programs are given as an address.
const SIGNALS: [&str; 3] = ["/v1/traces", "/v1/metrics", "/v1/logs"];

/// A receiver listens for each of the two protocols at a port of its own.
pub(crate) fn otlp_port(uri: &http::Uri, protocol: OtlpProtocol, at: &mut Context<'_, '_>) {
    let (message, help) = match (uri.port_u16(), protocol) {
        (Some(4317), OtlpProtocol::HttpProtobuf) => (
            "receivers of OTLP take gRPC at port 4317, and this is sent over HTTP",
            "write port 4318, or `protocol: grpc`",
        ),
        (Some(4318), OtlpProtocol::Grpc) => (
            "receivers of OTLP take HTTP at port 4318, and this is sent over gRPC",
            "write port 4317, or `protocol: http/protobuf`",
        ),
        _ => return,
    };
    at.warning_with(message, help);
}

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
        let path = uri.path().trim_end_matches('/');
        if let Some(signal) = SIGNALS.into_iter().find(|signal| path.ends_with(signal)) {
            let wrong = format!("`{path}{signal}` would be asked: the path of each signal is added to this");
            at.warning_with(wrong, format!("leave `{signal}` out"));
        }
        otlp_port(&uri, otlp.protocol, at);
    });
    if otlp.tls.is_some() && uri.scheme_str() != Some("https") {
        at.field("tls", |at| at.error("`tls` is for an `https://` endpoint"));
    }
}
