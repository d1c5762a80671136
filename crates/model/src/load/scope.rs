//! The names that a configuration defines, for references to them.

use std::collections::BTreeSet;

use super::tree::{Kind, Node};

/// What a reference refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    Listener,
    Upstream,
    Consumer,
    /// A consumer or a group of consumers.
    Subject,
    Policy,
    Provider,
    Model,
    Broker,
    TokenIssuer,
    Plugin,
    AcmeAuthority,
}

impl Named {
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Upstream => "upstream",
            Self::Consumer => "consumer",
            Self::Subject => "consumer or group",
            Self::Policy => "shared policy",
            Self::Provider => "AI provider",
            Self::Model => "model of `ai.models`",
            Self::Broker => "broker",
            Self::TokenIssuer => "token issuer",
            Self::Plugin => "plugin",
            Self::AcmeAuthority => "authority of `acme`",
        }
    }
}

/// All names, those of resources that are wrong elsewhere included.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    listeners: BTreeSet<String>,
    upstreams: BTreeSet<String>,
    consumers: BTreeSet<String>,
    subjects: BTreeSet<String>,
    policies: BTreeSet<String>,
    providers: BTreeSet<String>,
    models: BTreeSet<String>,
    brokers: BTreeSet<String>,
    token_issuers: BTreeSet<String>,
    plugins: BTreeSet<String>,
    acme_authorities: BTreeSet<String>,
    /// Upstreams that are spoken to by HTTP/1.1 alone.
    pub(super) of_http1: BTreeSet<String>,
    /// There is a `redis`.
    pub(super) redis: bool,
    /// There is a `postgres`.
    pub(super) postgres: bool,
}

impl Scope {
    pub(crate) fn new(tree: &Node) -> Self {
        let consumers = names(tree, "consumers");
        let groups = tree.get("consumers").into_iter().flat_map(Node::items);
        let groups = groups.filter_map(|consumer| consumer.get("groups")).flat_map(Node::items);
        let groups: BTreeSet<String> = groups.filter_map(Node::text).map(str::to_owned).collect();
        Self {
            listeners: names(tree, "listeners"),
            upstreams: names(tree, "upstreams"),
            subjects: consumers.union(&groups).cloned().collect(),
            consumers,
            policies: names(tree, "policies"),
            providers: tree.get("ai").map(|ai| names(ai, "providers")).unwrap_or_default(),
            models: tree.get("ai").map(|ai| names(ai, "models")).unwrap_or_default(),
            brokers: names(tree, "brokers"),
            token_issuers: names(tree, "tokenIssuers"),
            plugins: names(tree, "plugins"),
            acme_authorities: names(tree, "acme"),
            of_http1: of_http1(tree),
            postgres: tree.get("postgres").is_some(),
            redis: tree.get("redis").is_some(),
        }
    }

    pub(crate) fn of(&self, named: Named) -> &BTreeSet<String> {
        match named {
            Named::Listener => &self.listeners,
            Named::Upstream => &self.upstreams,
            Named::Consumer => &self.consumers,
            Named::Subject => &self.subjects,
            Named::Policy => &self.policies,
            Named::Provider => &self.providers,
            Named::Model => &self.models,
            Named::Broker => &self.brokers,
            Named::TokenIssuer => &self.token_issuers,
            Named::Plugin => &self.plugins,
            Named::AcmeAuthority => &self.acme_authorities,
        }
    }
}

/// Names of upstreams that are spoken to by HTTP/1.1 alone; what is wrong in itself is told elsewhere.
fn of_http1(tree: &Node) -> BTreeSet<String> {
    let all = tree.get("upstreams").into_iter().flat_map(Node::items).filter(|upstream| !upstream.tainted);
    let of_http1 = all.filter(|upstream| match upstream.get("protocol").map(Node::text) {
        None | Some(Some("auto")) => upstream.get("tls").is_none(),
        Some(protocol) => protocol == Some("http1"),
    });
    of_http1.filter_map(|upstream| upstream.get("name")).filter_map(Node::text).map(str::to_owned).collect()
}

fn names(tree: &Node, list: &str) -> BTreeSet<String> {
    let items = tree.get(list).into_iter().flat_map(|list| match &list.kind {
        Kind::List(items) => items.as_slice(),
        _ => &[],
    });
    items.filter_map(|item| item.get("name")).filter_map(Node::text).map(str::to_owned).collect()
}
