//! A connection that was passed on as it came, in a line of its own: there is no call in it that this gateway could see.

use model::{CallRecord, StreamRecord, resource::access_log::Redact};

use super::line::{client, duration, failed_tries, failure, field, number, optional, timings};
use crate::json;

/// Writes it as a JSON object.
pub(super) fn json(record: &CallRecord, stream: &StreamRecord, redact: &Redact, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"timestamp\":\"");
    json::time(record.started, out);
    out.push(b'"');
    field("level", if record.status.is_server_error() { "error" } else { "info" }, out);
    field("message", if stream.datagrams.is_some() { "session" } else { "connection" }, out);
    field("listener", &record.listener, out);
    optional("route", record.route.as_deref(), out);
    optional("upstream", record.upstream.as_deref(), out);
    optional("endpoint", record.endpoint.as_deref(), out);
    field("protocol", stream.protocol, out);
    optional("server_name", stream.server_name.as_deref(), out);
    field("client_ip", &client(record.client, redact), out);
    field("ended", stream.ended, out);
    number("request_bytes", record.request_bytes, out);
    number("response_bytes", record.response_bytes, out);
    if let Some((received, sent)) = stream.datagrams {
        number("request_datagrams", received, out);
        number("response_datagrams", sent, out);
    }
    duration("duration_ms", record.timings.total, out);
    timings(record, out);
    number("attempts", u64::from(record.attempts), out);
    failed_tries(record, out);
    failure(record, out);
    out.push(b'}');
}
