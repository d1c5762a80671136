//! The whole configuration: one document, or several merged.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    a2a::A2aAgent,
    access_log::AccessLog,
    admin::Admin,
    ai::Ai,
    consumer::Consumer,
    listener::Listener,
    mcp::McpServer,
    named_policy::NamedPolicy,
    route::{Handler, Route},
    runtime::Runtime,
    runtime::Shutdown,
    telemetry::Telemetry,
    upstream::Upstream,
};
use crate::{Cidr, policy::PolicyUse};

impl Config {
    /// The servers of all `mcp` routes, each with the name of its route.
    pub fn mcp_servers(&self) -> impl Iterator<Item = (&str, &McpServer)> {
        self.routes.iter().flat_map(|route| match &route.handler {
            Handler::Mcp(mcp) => mcp.servers.iter().map(|server| (route.name.as_str(), server)).collect(),
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

    /// Those of them that are connected to.
    pub fn mcp_upstreams(&self) -> impl Iterator<Item = (&str, &McpServer)> {
        self.mcp_servers().filter(|(_, server)| !server.is_local())
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
    /// Policies with a name, shared by whoever writes `{use: name}`.
    pub policies: Vec<NamedPolicy>,
    /// Policies of every call, whatever its route.
    pub global_policies: Vec<PolicyUse>,
    /// Peers whose `Forwarded` and `X-Forwarded-*` headers are believed, on every listener.
    pub trusted_proxies: Vec<Cidr>,
    /// Providers of models, and the models that clients may name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ai: Option<Ai>,
    /// Where traces, metrics and logs are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Telemetry>,
    /// How the gateway ends.
    pub shutdown: Shutdown,
    /// Threads and limits of the process.
    pub runtime: Runtime,
}
