//! What flowed to a client, in a line.

use model::FeedRecord;

use super::line::{field, key, number};
use crate::json;

pub(super) fn write(fed: &FeedRecord, out: &mut Vec<u8>) {
    key("subscribe", out);
    out.extend_from_slice(b"{\"broker\":");
    json::text(&fed.broker, out);
    field("subject", &fed.subject, out);
    number("messages", fed.messages(), out);
    out.push(b'}');
}
