//! `mcp`: several servers of the Model Context Protocol as one endpoint.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    health::OutlierDetection,
    mcp_local::{McpModel, McpOpenapi},
    tls::UpstreamTls,
    tries::{Bulkhead, CircuitBreaker, TimeoutOverrides},
    upstream::Pool,
};
use crate::{Duration, HeaderName, Secret, Size, policy::RateLimit};

/// Several servers of the Model Context Protocol (MCP) as one endpoint at the route's path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct McpRoute {
    /// The servers, in the order in which their tools are listed.
    pub servers: Vec<McpServer>,
    /// Rules of single tools, by the name that clients see. The first rule that fits counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<McpTool>,
    /// Keep the description and the schemas that a tool had when it was first seen: one that changes is withheld until
    /// its `pin` says the new digest. What was seen first is forgotten with the process.
    #[serde(default)]
    pub pin_tools: bool,
    /// Refuse calls of tools that no rule in `tools` fits.
    #[serde(default)]
    pub only_listed_tools: bool,
    /// Values of `Origin` that browsers may come from, as `https://app.example.com`. Without it only pages of this very
    /// host may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_origins: Vec<String>,
    /// Names in `Host` that are served. Without it those of the route; on a route without `hosts` whoever comes from this
    /// machine or from a browser must ask for `localhost` or an address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_hosts: Vec<String>,
    /// Encrypts the ids of sessions, so that every gateway with this secret takes them; 16 characters at least. Without
    /// it a key that is kept in the data directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_key: Option<Secret>,
    /// Sessions at a time; beyond it new ones are refused.
    #[serde(default = "max_sessions")]
    #[schemars(range(min = 1))]
    pub max_sessions: usize,
    /// A session that is not used for so long is over.
    #[serde(default = "idle_timeout")]
    pub idle_timeout: Duration,
    /// A session is over after this time, however much it is used.
    #[serde(default = "lifetime")]
    pub lifetime: Duration,
    /// Messages of clients up to this size are taken.
    #[serde(default = "max_body_size")]
    pub max_body_size: Size,
    /// Tell clients where tokens are had: the route's metadata as a protected resource (RFC 9728).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth: Option<McpOauth>,
}

fn max_sessions() -> usize {
    10_000
}

fn idle_timeout() -> Duration {
    Duration::from_secs(30 * 60)
}

fn lifetime() -> Duration {
    Duration::from_secs(24 * 60 * 60)
}

fn max_body_size() -> Size {
    Size::kib(4 * 1024)
}

/// A server that speaks Streamable HTTP (`url`), whose state shows as the upstream `mcp:ROUTE:NAME`; or tools of the
/// gateway's own: `openapi`, or `prompts` and `models`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct McpServer {
    /// Unique name.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// Its endpoint, as `http://127.0.0.1:7006/mcp`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// In place of `url`: operations of an OpenAPI document as tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openapi: Option<McpOpenapi>,
    /// In place of `url`: prompts as tools, by the names of their routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prompts: Vec<String>,
    /// In place of `url`: models as tools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<McpModel>,
    /// Stands before the names of its tools and prompts; `NAME_` without it, nothing when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Header fields of every request to it, or to the API behind `openapi`, such as the credentials that it wants. Nothing of a caller's own
    /// credentials goes on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<HeaderName, Secret>,
    /// How long each part of a call may take. Tools work before they answer: `request` is 5m without it, and `idle` 5m.
    #[serde(default)]
    pub timeouts: TimeoutOverrides,
    /// Circuit breaker of the server; off without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Bound of calls at a time; off without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bulkhead: Option<Bulkhead>,
    /// Ejection of addresses that fail live traffic; off without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS towards a server with `https`.
    #[serde(default)]
    pub tls: UpstreamTls,
    /// Connections that are kept.
    #[serde(default)]
    pub pool: Pool,
}

impl McpServer {
    /// What stands before the names of its tools and prompts.
    pub fn prefix(&self) -> String {
        self.prefix.clone().unwrap_or_else(|| format!("{}_", self.name))
    }

    /// Its name as an upstream.
    pub fn upstream(&self, route: &str) -> String {
        format!("mcp:{route}:{}", self.name)
    }
}

/// A rule of a tool, or of several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct McpTool {
    /// The tool as clients see it, prefix and all. A `*` at its end stands for anything.
    pub name: String,
    /// Who may call it, in CEL over `consumer`, `jwt`, `request`, `client`, `tool` (its name) and `arguments`. Who may
    /// not is not told of it either, as far as that can be known without arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<String>,
    /// Bounds its calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Refuse arguments that do not fit the tool's own schema before they reach the server.
    #[serde(default)]
    pub validate_arguments: bool,
    /// The digest that its name, description and schemas must have, as `sha256:…`: one that differs is withheld.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<String>,
}

/// Metadata of a protected resource (RFC 9728).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct McpOauth {
    /// The URL of this endpoint as clients know it, which is the audience of their tokens: `https://api.example.com/mcp`.
    pub resource: String,
    /// Issuers of tokens.
    pub authorization_servers: Vec<String>,
    /// Scopes that a client may ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
}
