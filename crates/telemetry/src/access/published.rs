//! What a broker was given, in a line.

use model::PublishRecord;

use super::line::{field, key, number};
use crate::json;

pub(super) fn write(published: &PublishRecord, out: &mut Vec<u8>) {
    key("publish", out);
    out.extend_from_slice(b"{\"broker\":");
    json::text(&published.broker, out);
    field("subject", &published.subject, out);
    for (name, value) in [("stream", &published.stream), ("exchange", &published.exchange)] {
        if let Some(value) = value {
            field(name, value, out);
        }
    }
    if let Some(partition) = published.partition.and_then(|partition| u64::try_from(partition).ok()) {
        number("partition", partition, out);
    }
    if let Some(sequence) = published.sequence {
        number("sequence", sequence, out);
    }
    number("messages", u64::from(published.messages), out);
    number("duplicates", u64::from(published.duplicates), out);
    out.push(b'}');
}
