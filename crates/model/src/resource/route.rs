//! Routes: which requests go where, and under which policies.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

pub use super::handler::Handler;
use super::{
    path_rules::PathRules,
    route_document::RouteDocument,
    route_match::Match,
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

/// Keys of handlers that later builds have: they are refused by name.
pub const HANDLERS_NOT_IN_THIS_BUILD: &[&str] = &[];

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
