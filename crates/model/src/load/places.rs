//! Where each named resource is written.

use std::collections::BTreeMap;

use super::tree::Node;
use crate::diagnostic::Place;

/// Path and place of each resource, by its list and name.
pub(crate) type Places = BTreeMap<String, (String, Place)>;

const LISTS: [&str; 12] = [
    "listeners",
    "upstreams",
    "consumers",
    "routes",
    "streamRoutes",
    "policies",
    "plugins",
    "brokers",
    "subscriptions",
    "tokenIssuers",
    "accessLog",
    "acme",
];

/// Path and place of each resource, by its list and name: `routes/catalog`.
pub(super) fn of(tree: &Node) -> Places {
    let mut places = BTreeMap::new();
    for list in LISTS {
        for item in tree.get(list).map(Node::items).unwrap_or_default() {
            if let Some((node, name)) = item.get("name").and_then(|node| Some((node, node.text()?))) {
                places.insert(format!("{list}/{name}"), (format!("{list}[{}]", item.index), node.place));
            }
        }
    }
    for list in ["providers", "models"] {
        let items = tree.get("ai").and_then(|ai| ai.get(list)).map(Node::items).unwrap_or_default();
        for item in items {
            if let Some((node, name)) = item.get("name").and_then(|node| Some((node, node.text()?))) {
                places
                    .insert(format!("ai/{list}/{name}"), (format!("ai.{list}[{}]", item.index), node.place));
            }
        }
    }
    places
}
