//! The calls of a composed answer, as a list in a line.

use model::ComposeRecord;

use super::line::{duration, field, key, number, optional};
use crate::json;

pub(super) fn write(composed: &ComposeRecord, out: &mut Vec<u8>) {
    composed.with(|calls| {
        if calls.is_empty() {
            return;
        }
        key("calls", out);
        let mut separator = b'[';
        for call in calls {
            out.push(separator);
            separator = b',';
            out.extend_from_slice(b"{\"name\":");
            json::text(&call.name, out);
            if let Some(index) = call.index {
                number("index", index as u64, out);
            }
            field("upstream", &call.upstream, out);
            optional("endpoint", call.endpoint.as_deref(), out);
            if let Some(status) = call.status {
                number("status", u64::from(status.as_u16()), out);
            }
            duration("started_ms", call.started, out);
            duration("duration_ms", call.duration, out);
            number("bytes", call.bytes, out);
            number("attempts", u64::from(call.attempts), out);
            optional("failed", call.failed, out);
            out.push(b'}');
        }
        out.push(b']');
    });
}
