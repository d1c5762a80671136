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
    /// Sessions of one consumer at a time, or of one address where callers are nobody; beyond it new ones are refused.
    #[serde(default = "max_sessions_per_consumer")]
    #[schemars(range(min = 1))]
    pub max_sessions_per_consumer: usize,
    /// A session that is not used for so long is over.
    #[serde(default = "idle_timeout")]
    pub idle_timeout: Duration,
    /// A session is over after this time, however much it is used.
    #[serde(default = "lifetime")]
    pub lifetime: Duration,
    /// How long a client of 2026-07-28 may take to come back with its answer when a server with sessions asks it
    /// something in the middle of a call; all that one call asks may take four times as long. Then the call is cancelled.
    /// A day at most; nobody is asked with `0s`.
    #[serde(default = "question_timeout")]
    pub question_timeout: Duration,
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

fn max_sessions_per_consumer() -> usize {
    1_000
}

fn idle_timeout() -> Duration {
    Duration::from_secs(30 * 60)
}

fn lifetime() -> Duration {
    Duration::from_secs(24 * 60 * 60)
}

fn question_timeout() -> Duration {
    Duration::from_secs(5 * 60)
}

fn max_body_size() -> Size {
    Size::kib(4 * 1024)
}

/// A server: one that speaks Streamable HTTP (`url`), whose state shows as the upstream `mcp:ROUTE:NAME`; a program
/// (`command`); or tools of the gateway's own: `openapi`, or `prompts` and `models`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct McpServer {
    /// Unique name.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// Its endpoint, as `http://127.0.0.1:7006/mcp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// In place of `url`: a program of this machine that speaks the protocol over its standard input and output, its absolute
    /// path, and its arguments. It is run without a shell, and only if `runtime.allowedCommands` has its path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// How the program of `command` is run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<McpProcess>,
    /// Tokens that the server wants; in `Authorization`, in place of one in `headers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<McpAuth>,
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
    /// Ejection of addresses that fail live traffic; without it one that refuses a connection alone is set
    /// aside, for 30s.
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

/// How the program of a server is run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct McpProcess {
    /// Its environment, whole: nothing of the gateway's own goes on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Secret>,
    /// The folder that it runs in; the gateway's own without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// One process for all sessions, rather than one for each. What it says unasked reaches nobody then, but that lists
    /// have changed, and it cannot ask clients anything.
    #[serde(default)]
    pub shared: bool,
    /// Processes at a time; beyond it new sessions are refused.
    #[serde(default = "max_processes")]
    #[schemars(range(min = 1))]
    pub max: usize,
    /// Processes of one consumer at a time, or of one address where callers are nobody; half of `max` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_per_consumer: Option<usize>,
    /// What may wait in the queues of processes for one consumer: messages that a program has not read, and those of a
    /// program that the consumer has not. Beyond it messages to the program are refused, and a stream that is not read
    /// ends. A single message of any size has room where nothing else waits.
    #[serde(default = "max_queue_size")]
    pub max_queue_size: Size,
}

impl Default for McpProcess {
    fn default() -> Self {
        Self {
            env: BTreeMap::new(),
            folder: None,
            shared: false,
            max: max_processes(),
            max_per_consumer: None,
            max_queue_size: max_queue_size(),
        }
    }
}

impl McpProcess {
    /// Processes of one consumer.
    #[must_use]
    pub fn max_each(&self) -> usize {
        self.max_per_consumer.unwrap_or(self.max.div_ceil(2))
    }
}

fn max_queue_size() -> Size {
    Size::kib(64 * 1024)
}

fn max_processes() -> usize {
    64
}

/// Tokens that a server wants: one of the two.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct McpAuth {
    /// A token of the gateway's own (RFC 6749 §4.4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_credentials: Option<McpClientCredentials>,
    /// A token in exchange for the caller's (RFC 8693), which the route's `jwt` has checked. The caller's own goes to the
    /// token server alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_exchange: Option<McpTokenExchange>,
}

/// A token of the gateway's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct McpClientCredentials {
    /// Where tokens are had: `https://`, or `http://` on loopback.
    pub token_endpoint: String,
    /// The client's id.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: Secret,
    /// Send the two in the form, rather than in `Authorization`.
    #[serde(default)]
    pub client_in_form: bool,
    /// What the token is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Whom the token is for, where the token server wants to be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}

/// A token in exchange for the caller's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct McpTokenExchange {
    /// Where tokens are exchanged: `https://`, or `http://` on loopback.
    pub token_endpoint: String,
    /// The gateway's id as a client there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Its secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret>,
    /// Send the two in the form, rather than in `Authorization`.
    #[serde(default)]
    pub client_in_form: bool,
    /// Whom the token is for, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Whom the token is for, as a URL (RFC 8707).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// What the token is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// What the caller's token is; `urn:ietf:params:oauth:token-type:access_token` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_token_type: Option<String>,
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
    #[schemars(extend("format" = "cel"))]
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
