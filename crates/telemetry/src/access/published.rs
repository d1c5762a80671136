//! What a broker was given, in a line.

use model::PublishRecord;

use super::line::{field, key, number};
use crate::json;

pub(super) fn write(published: &PublishRecord, out: &mut Vec<u8>) {
    key("publish", out);
    out.extend_from_slice(b"{\"broker\":");
    json::text(&published.broker, out);
    field("subject", &published.subject, out);
    if published.messages > 0 {
        field("stream", &published.stream, out);
        number("sequence", published.sequence, out);
    }
    number("messages", u64::from(published.messages), out);
    number("duplicates", u64::from(published.duplicates), out);
    out.push(b'}');
}
