//! What was asked of a service of GraphQL, in a line.

use model::GraphqlRecord;

use super::line::{field, key, number};
use crate::json;

pub(super) fn write(asked: &GraphqlRecord, out: &mut Vec<u8>) {
    key("graphql", out);
    out.extend_from_slice(b"{\"type\":");
    json::text(asked.kind.unwrap_or("unknown"), out);
    if let Some(operation) = &asked.operation {
        field("operation", operation, out);
    }
    if asked.operations > 1 {
        number("operations", asked.operations.into(), out);
    }
    if asked.depth > 0 {
        number("depth", asked.depth.into(), out);
    }
    if asked.cost > 0.0 {
        key("cost", out);
        // More than can be counted is told as the most that can be.
        out.extend_from_slice(asked.cost.min(f64::from(u32::MAX)).to_string().as_bytes());
    }
    if let Some(persisted) = asked.persisted {
        field("persisted", persisted, out);
    }
    if let Some(refused) = asked.refused {
        field("refused", refused, out);
    }
    out.push(b'}');
}
