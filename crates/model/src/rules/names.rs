//! Names are unique among resources of a kind; both places are shown when they are not.

use std::collections::HashMap;

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    load::tree::Node,
};

/// Lists of resources with names, and what one of them is called.
const NAMED: [(&str, &str); 12] = [
    ("listeners", "listener"),
    ("accessLog", "access log"),
    ("upstreams", "upstream"),
    ("consumers", "consumer"),
    ("routes", "route"),
    ("streamRoutes", "stream route"),
    ("policies", "shared policy"),
    ("brokers", "broker"),
    ("tokenIssuers", "token issuer"),
    ("acme", "authority of `acme`"),
    ("subscriptions", "subscription"),
    ("plugins", "plugin"),
];

pub(super) fn check(tree: &Node, found: &mut Diagnostics) {
    for (list, noun) in NAMED {
        let mut seen: HashMap<&str, &Node> = HashMap::new();
        for item in tree.get(list).map(Node::items).unwrap_or_default() {
            let Some((node, name)) = item.get("name").and_then(|node| Some((node, node.text()?))) else {
                continue;
            };
            let Some(first) = seen.get(name) else {
                seen.insert(name, node);
                continue;
            };
            let path = format!("{list}[{}].name", item.index);
            let mut twice = Diagnostic::error(path, format!("the name `{name}` is that of another {noun}"))
                .at(node.place);
            twice.other = Some((first.place, "the first one".to_owned()));
            found.push(twice);
        }
    }
}
