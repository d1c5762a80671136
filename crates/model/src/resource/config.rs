//! The whole configuration: one document, or several merged.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    a2a::A2aAgent,
    access_log::AccessLog,
    acme::AcmeAuthority,
    admin::Admin,
    ai::Ai,
    broker::Broker,
    consumer::Consumer,
    listener::Listener,
    mcp::McpServer,
    named_policy::NamedPolicy,
    plugin::Plugin,
    postgres::Postgres,
    redis::Redis,
    route::{Handler, Route},
    runtime::Runtime,
    runtime::Shutdown,
    stream_route::StreamRoute,
    subscription::Subscription,
    telemetry::Telemetry,
    token_issuer::TokenIssuer,
    upstream::Upstream,
    vault::Vault,
};
use crate::{Cidr, policy::PolicyUse};

impl Config {
    /// Whether a route is one of servers of tools.
    pub fn has_mcp(&self) -> bool {
        self.routes.iter().any(|route| matches!(route.handler, Handler::Mcp(_)))
    }

    /// The servers of tools that are upstreams, with their routes.
    pub fn mcp_servers(&self) -> impl Iterator<Item = (&str, &McpServer)> {
        self.routes.iter().flat_map(|route| match &route.handler {
            Handler::Mcp(mcp) => {
                let servers = mcp.servers.iter().filter(|server| server.url.is_some());
                servers.map(|server| (route.name.as_str(), server)).collect()
            }
            _ => Vec::new(),
        })
    }

    /// The agents of all `a2a` routes, each with the name of its route.
    pub fn a2a_agents(&self) -> impl Iterator<Item = (&str, &A2aAgent)> {
        self.routes.iter().flat_map(|route| match &route.handler {
            Handler::A2a(a2a) => a2a.agents.iter().map(|agent| (route.name.as_str(), agent)).collect(),
            _ => Vec::new(),
        })
    }
}

/// A configuration of Tidegate.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Sockets that clients connect to.
    pub listeners: Vec<Listener>,
    /// The admin API, metrics and health of the gateway itself.
    pub admin: Option<Admin>,
    /// Where a line per call is written; several are fine.
    pub access_log: Vec<AccessLog>,
    /// Services behind the gateway.
    pub upstreams: Vec<Upstream>,
    /// Who may call: applications and people, with their credentials.
    pub consumers: Vec<Consumer>,
    /// Which requests go where, and under which policies.
    pub routes: Vec<Route>,
    /// Which byte streams and datagrams go where, as they come.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stream_routes: Vec<StreamRoute>,
    /// Policies with a name, shared by whoever writes `{use: name}`.
    pub policies: Vec<NamedPolicy>,
    /// Policies of every call, whatever its route.
    pub global_policies: Vec<PolicyUse>,
    /// Peers whose `Forwarded` and `X-Forwarded-*` headers are believed, on every listener.
    pub trusted_proxies: Vec<Cidr>,
    /// Providers of models, and the models that clients may name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ai: Option<Ai>,
    /// What several gateways count together, in Redis or Valkey.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<Redis>,
    /// What several gateways keep together, in PostgreSQL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres: Option<Postgres>,
    /// Where secrets lie that `{vault: path#key}` names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vault: Option<Vault>,
    /// Brokers of messages, which `publish` and subscriptions name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub brokers: Vec<Broker>,
    /// What brokers keep and upstreams are given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscriptions: Vec<Subscription>,
    /// What the gateway signs tokens as that tell upstreams who calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub token_issuers: Vec<TokenIssuer>,
    /// WebAssembly components, which `wasm` policies and routes name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<Plugin>,
    /// Certificate authorities that listeners' certificates come from, without anybody's doing (ACME).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub acme: Vec<AcmeAuthority>,
    /// Where traces, metrics and logs are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Telemetry>,
    /// How the gateway ends.
    pub shutdown: Shutdown,
    /// Threads and limits of the process.
    pub runtime: Runtime,
}
