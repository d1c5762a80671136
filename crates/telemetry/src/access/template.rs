//! A line after a template: text with `{{ field }}` places.

use model::{CallRecord, resource::access_log::Redact};

use super::line;
use crate::{json, trace::write_hex};

/// A parsed template.
pub(super) struct Template(Vec<Piece>);

enum Piece {
    Text(String),
    Field(Field),
}

macro_rules! fields {
    ($($name:literal => $variant:ident),+ $(,)?) => {
        #[derive(Clone, Copy)]
        enum Field { $($variant),+ }

        const NAMES: &[(&str, Field)] = &[$(($name, Field::$variant)),+];
    };
}

fields! {
    "timestamp" => Timestamp, "request_id" => RequestId, "trace_id" => TraceId, "listener" => Listener,
    "route" => Route, "upstream" => Upstream, "endpoint" => Endpoint, "consumer" => Consumer, "method" => Method,
    "path" => Path, "query" => Query, "host" => Host, "protocol" => Protocol, "client_ip" => ClientIp,
    "status" => Status, "grpc_status" => GrpcStatus, "request_bytes" => RequestBytes,
    "response_bytes" => ResponseBytes, "duration_ms" => DurationMs, "attempts" => Attempts,
    "failure" => Failure, "stopped_by" => StoppedBy, "cache" => Cache, "user_agent" => UserAgent,
}

impl Template {
    /// Parses a template; an unknown field is an error that names the known ones.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").ok_or("format: `{{` without `}}`")?;
            let name = name.trim();
            let known = NAMES.iter().find(|(known, _)| *known == name);
            let (_, field) = known.ok_or_else(|| {
                let all: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
                format!("format: `{name}` is none of {}", all.join(", "))
            })?;
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(Piece::Field(*field));
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self(pieces))
    }

    pub(super) fn write(&self, call: &CallRecord, redact: &Redact, out: &mut Vec<u8>) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Field(field) => write(*field, call, redact, out),
            }
        }
    }
}

/// Writes a field; one that is absent is `-`. What clients send is escaped, so that a line stays a line.
fn write(field: Field, call: &CallRecord, redact: &Redact, out: &mut Vec<u8>) {
    let text = |text: Option<&str>, out: &mut Vec<u8>| json::escaped(text.unwrap_or("-").as_bytes(), out);
    let bytes =
        |bytes: &[u8], out: &mut Vec<u8>| json::escaped(String::from_utf8_lossy(bytes).as_bytes(), out);
    match field {
        Field::Timestamp => json::time(call.started, out),
        Field::RequestId => bytes(call.request_id.as_bytes(), out),
        Field::TraceId => match &call.trace {
            Some(trace) => {
                let mut digits = [b'0'; 32];
                write_hex(&trace.trace_id, &mut digits);
                out.extend_from_slice(&digits);
            }
            None => out.push(b'-'),
        },
        Field::Listener => text(Some(&call.listener), out),
        Field::Route => text(call.route.as_deref(), out),
        Field::Upstream => text(call.upstream.as_deref(), out),
        Field::Endpoint => text(call.endpoint.as_deref(), out),
        Field::Consumer => text(call.consumer.as_deref(), out),
        Field::Method => text(Some(call.method.as_str()), out),
        Field::Path => text(Some(call.uri.path()), out),
        Field::Query => {
            text(call.uri.query().map(|query| line::redacted_query(query, call, redact)).as_deref(), out)
        }
        Field::Host => bytes(call.host.as_ref().map_or(b"-", |host| host.as_bytes()), out),
        Field::Protocol => text(Some(line::protocol(call.version)), out),
        Field::ClientIp => text(Some(&line::client(call.client, redact)), out),
        Field::Status => json::number(u64::from(call.status.as_u16()), out),
        Field::GrpcStatus => text(call.grpc_status.map(|status| status.to_string()).as_deref(), out),
        Field::RequestBytes => json::number(call.request_bytes, out),
        Field::ResponseBytes => json::number(call.response_bytes, out),
        Field::DurationMs => json::millis(call.timings.total, out),
        Field::Attempts => json::number(u64::from(call.attempts), out),
        Field::Failure => text(call.failure.as_ref().map(|failure| failure.reason), out),
        Field::StoppedBy => text(call.stopped_by, out),
        Field::Cache => text(call.cache, out),
        Field::UserAgent => bytes(call.user_agent.as_ref().map_or(b"-", |agent| agent.as_bytes()), out),
    }
}
