//! What policies against abuse said of a call, what others showed upstreams of who calls, and where its client is, in a line.

use model::CallRecord;

use super::line::{field, key, number, optional};
use crate::json;

pub(super) fn write(call: &CallRecord, out: &mut Vec<u8>) {
    if !call.judged.is_empty() {
        key("judged", out);
        let mut separator = b'[';
        for judged in &call.judged {
            out.push(separator);
            separator = b',';
            out.extend_from_slice(b"{\"policy\":");
            json::text(judged.policy, out);
            field("outcome", judged.outcome, out);
            field("reason", &judged.reason, out);
            if let Some(score) = judged.score {
                number("score", u64::from(score), out);
            }
            out.push(b'}');
        }
        out.push(b']');
    }
    if !call.onward.is_empty() {
        key("onward", out);
        let mut separator = b'[';
        for onward in &call.onward {
            out.push(separator);
            separator = b',';
            out.extend_from_slice(b"{\"policy\":");
            json::text(onward.policy, out);
            field("outcome", onward.outcome, out);
            optional("key", onward.key.as_deref(), out);
            out.push(b'}');
        }
        out.push(b']');
    }
    if let Some(geo) = &call.geo {
        // Each field begins with a comma; the first of an object has none.
        let mut fields = Vec::new();
        optional("country", geo.country.as_deref(), &mut fields);
        optional("continent", geo.continent.as_deref(), &mut fields);
        if let Some(asn) = geo.asn {
            number("asn", u64::from(asn), &mut fields);
        }
        key("geo", out);
        out.push(b'{');
        out.extend_from_slice(fields.get(1..).unwrap_or_default());
        out.push(b'}');
    }
}
