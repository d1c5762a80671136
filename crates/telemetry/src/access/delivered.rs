//! A delivery of a subscription, in a line of its own.

use model::DeliveryRecord;

use super::line::{field, key, number};
use crate::json;

pub(super) fn write(delivered: &DeliveryRecord, out: &mut Vec<u8>) {
    key("delivery", out);
    out.extend_from_slice(b"{\"subscription\":");
    json::text(&delivered.subscription, out);
    field("subject", &delivered.subject, out);
    number("sequence", delivered.sequence, out);
    number("attempt", u64::from(delivered.attempt), out);
    out.push(b'}');
}
