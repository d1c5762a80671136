//! Routes: which requests go where, and under which policies.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::{
    a2a::A2aRoute,
    ai::AiRoute,
    compose::Compose,
    mcp::McpRoute,
    path_rules::PathRules,
    plugin_route::PluginRoute,
    prompt::Prompt,
    publish::Publish,
    route_document::RouteDocument,
    route_match::Match,
    static_files::StaticFiles,
    subscribe::Subscribe,
    transcode::Transcode,
    tries::{RetryOverrides, TimeoutOverrides},
};
use crate::{Duration, HeaderName, Secret, policy::PolicyUse};

/// Which requests go where, and under which policies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RouteDocument", into = "RouteDocument")]
pub struct Route {
    /// Unique name.
    pub name: String,
    /// Hosts, exact or `*.wildcard`; any when empty.
    pub hosts: Vec<String>,
    /// Listeners by name; all when `None`.
    pub listeners: Option<Vec<String>>,
    /// What matches: any of these; everything when empty.
    pub matches: Vec<Match>,
    /// Routes of a higher priority are tried first.
    pub priority: i32,
    /// Policies as written; their phases decide when each runs.
    pub policies: Vec<PolicyUse>,
    /// Timeouts over the upstream's.
    pub timeouts: TimeoutOverrides,
    /// Retries over the upstream's.
    pub retry: RetryOverrides,
    /// Ambiguous forms in paths, over the listener's.
    pub path: PathRules,
    /// The `Host` sent, over the upstream's.
    pub host_header: Option<String>,
    /// Whether WebSocket upgrades are allowed.
    pub websocket: bool,
    /// What answers.
    pub handler: Handler,
}

impl JsonSchema for Route {
    fn schema_name() -> Cow<'static, str> {
        RouteDocument::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        RouteDocument::json_schema(generator)
    }
}

/// What answers the requests of a route.
#[derive(Debug, Clone, PartialEq)]
pub enum Handler {
    /// Weighted upstreams.
    Backends {
        /// At least one.
        backends: Vec<Backend>,
        /// What keeps a client on one endpoint.
        sticky: Option<Sticky>,
    },
    /// A redirect.
    Redirect(Redirect),
    /// A fixed answer.
    Respond(Respond),
    /// The AI gateway.
    Ai(AiRoute),
    /// Servers of the Model Context Protocol.
    Mcp(Box<McpRoute>),
    /// A prompt and a model as an API.
    Prompt(Box<Prompt>),
    /// Agents of the Agent2Agent protocol.
    A2a(Box<A2aRoute>),
    /// One answer made of several calls.
    Compose(Box<Compose>),
    /// Files of a directory.
    Static(Box<StaticFiles>),
    /// A gRPC server for those who do not speak gRPC.
    Transcode(Box<Transcode>),
    /// A broker that keeps what is sent.
    Publish(Box<Publish>),
    /// What a broker keeps, as it comes.
    Subscribe(Box<Subscribe>),
    /// A WebAssembly component.
    Plugin(Box<PluginRoute>),
}

/// Keys of handlers that later builds have: they are refused by name.
pub const HANDLERS_NOT_IN_THIS_BUILD: &[&str] = &[];

impl Handler {
    /// The key of the handler in a route.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Backends { .. } => "backends",
            Self::Redirect(_) => "redirect",
            Self::Respond(_) => "respond",
            Self::Ai(_) => "ai",
            Self::Mcp(_) => "mcp",
            Self::Prompt(_) => "prompt",
            Self::A2a(_) => "a2a",
            Self::Compose(_) => "compose",
            Self::Static(_) => "static",
            Self::Transcode(_) => "transcode",
            Self::Publish(_) => "publish",
            Self::Subscribe(_) => "subscribe",
            Self::Plugin(_) => "wasm",
        }
    }
}

/// A share of a route's requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Backend {
    /// Name of an upstream.
    pub upstream: String,
    /// Its share against the other backends; 0 takes nothing.
    #[serde(default = "one")]
    #[schemars(range(max = 1000000))]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

/// What keeps a client on one backend and endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = crate::schema::one_key)]
pub enum Sticky {
    /// A signed cookie that the gateway sets.
    Cookie(StickyCookie),
    /// The value of a header.
    Header(HeaderName),
    /// The consumer; the switch must be `true`.
    Consumer(bool),
}

/// A signed cookie that names the endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StickyCookie {
    /// Name of the cookie.
    #[serde(default = "cookie_name")]
    pub name: String,
    /// Key of its signature, of 16 characters at least.
    pub secret: Secret,
    /// Lifetime; the browser's session without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
    /// Path of the cookie.
    #[serde(default = "slash")]
    pub path: String,
    /// `SameSite` of the cookie.
    #[serde(default)]
    pub same_site: SameSite,
    /// `Secure` of the cookie; when the client's side is TLS without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure: Option<bool>,
}

fn cookie_name() -> String {
    "tidegate-sticky".to_owned()
}

fn slash() -> String {
    "/".to_owned()
}

/// `SameSite` of a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SameSite {
    /// Also on top-level navigation.
    #[default]
    Lax,
    /// The own site alone.
    Strict,
    /// Everywhere; needs `Secure`.
    None,
}

/// A redirect. What is not given stays as it came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Redirect {
    /// Replaces the prefix that matched.
    pub path_prefix: Option<String>,
    /// Replaces the whole path.
    pub path: Option<String>,
    /// Replaces the host.
    pub host: Option<String>,
    /// Replaces the scheme.
    #[schemars(extend("enum" = ["http", "https", null]))]
    pub scheme: Option<String>,
    /// Replaces the port.
    pub port: Option<u16>,
    /// 301, 302, 303, 307 or 308.
    #[schemars(extend("enum" = [301, 302, 303, 307, 308]))]
    pub status: u16,
    /// Keep the query.
    pub keep_query: bool,
}

impl Default for Redirect {
    fn default() -> Self {
        Self {
            path_prefix: None,
            path: None,
            host: None,
            scheme: None,
            port: None,
            status: 302,
            keep_query: true,
        }
    }
}

/// A fixed answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Respond {
    /// Status.
    #[schemars(range(min = 200, max = 599))]
    pub status: u16,
    /// Headers.
    pub headers: BTreeMap<HeaderName, String>,
    /// Body.
    pub body: String,
    /// In place of all this: answers that an OpenAPI document describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub openapi: Option<super::mock::Mock>,
    /// In place of all this: the public keys of this issuer in `tokenIssuers` (a JWKS, RFC 7517).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
}

impl Default for Respond {
    fn default() -> Self {
        Self { status: 200, headers: BTreeMap::new(), body: String::new(), openapi: None, jwks: None }
    }
}
