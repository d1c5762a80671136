//! A delivery of a subscription, in a line of its own.

use model::DeliveryRecord;

use super::line::{field, key, number};
use crate::json;

pub(super) fn write(delivered: &DeliveryRecord, out: &mut Vec<u8>) {
    key("delivery", out);
    out.extend_from_slice(b"{\"subscription\":");
    json::text(&delivered.subscription, out);
    field("subject", &delivered.subject, out);
    if let Some(partition) = delivered.partition.and_then(|partition| u64::try_from(partition).ok()) {
        number("partition", partition, out);
    }
    if let Some(sequence) = delivered.sequence {
        number("sequence", sequence, out);
    }
    number("attempt", u64::from(delivered.attempt), out);
    out.push(b'}');
}
