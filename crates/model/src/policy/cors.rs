//! `cors`: cross-origin resource sharing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings};
use crate::{Duration, HeaderName, load::Context};

/// Answers preflights and marks answers for the origins that may read them (the Fetch standard).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Cors {
    /// Origins: exact, `https://*.example.com`, or `*`.
    pub allow_origins: Vec<String>,
    /// Methods that may be asked for; those of the route when empty.
    pub allow_methods: Vec<String>,
    /// Headers that may be asked for; whatever is asked for when empty.
    pub allow_headers: Vec<HeaderName>,
    /// Headers of answers that scripts may read.
    pub expose_headers: Vec<HeaderName>,
    /// Whether cookies and credentials may come; never with origin `*`.
    pub allow_credentials: bool,
    /// How long a preflight's answer may be kept.
    pub max_age: Duration,
    /// Allow requests from public sites to a private network.
    pub allow_private_network: bool,
}

impl Default for Cors {
    fn default() -> Self {
        Self {
            allow_origins: Vec::new(),
            allow_methods: Vec::new(),
            allow_headers: Vec::new(),
            expose_headers: Vec::new(),
            allow_credentials: false,
            max_age: Duration::from_secs(600),
            allow_private_network: false,
        }
    }
}

impl Settings for Cors {
    fn place(&self) -> Place<'_> {
        Place::Cors
    }

    fn gives_way(&self) -> bool {
        true
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if self.allow_origins.is_empty() {
            at.error_with("no origin is allowed", "name some under `allowOrigins`");
        }
        at.each("allowOrigins", &self.allow_origins, |at, origin| {
            if origin == "*" && self.allow_credentials {
                at.error("with `allowCredentials` origins must be named");
            } else if !is_origin(origin) {
                at.error(
                    "expected an origin such as `https://app.example.com`, `https://*.example.com` or `*`",
                );
            }
        });
        at.each("allowMethods", &self.allow_methods, |at, method| {
            if http::Method::from_bytes(method.as_bytes()).is_err() {
                at.error("expected a method such as `GET`");
            }
        });
    }
}

/// Whether it is an origin, or stands for some.
pub(crate) fn is_origin(origin: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return matches!(origin, "*" | "null") };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let plain = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let good_port = port.is_none_or(|port| port.parse::<u16>().is_ok());
    !scheme.is_empty()
        && plain
        && good_port
        && crate::load::format::host(host.strip_prefix("*.").unwrap_or(host))
}
