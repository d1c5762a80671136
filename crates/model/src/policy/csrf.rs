//! `csrf`: refuses what other sites make browsers do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings, cors::is_origin};
use crate::{Enforcement, load::Context};

/// Refuses requests that another site makes a visitor's browser send (cross-site request forgery) with 403: by
/// `Sec-Fetch-Site`, which every current browser sends over https, else by `Origin`, else by `Referer`. Requests of the
/// same origin pass, and those of `allowOrigins`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Csrf {
    /// Whether it refuses.
    pub mode: Enforcement,
    /// Other origins whose pages may send requests: exact, or `https://*.example.com`.
    pub allow_origins: Vec<String>,
    /// Take requests from other origins of the same site, such as those of sibling subdomains, for one's own.
    pub allow_same_site: bool,
    /// What is done with requests that have none of these headers: programs send none, and browsers always send one.
    pub without_headers: WithoutHeaders,
    /// Look at `Referer` where `Sec-Fetch-Site` and `Origin` are missing.
    pub referer: bool,
    /// Methods that change nothing, and are not looked at.
    pub safe_methods: Vec<String>,
    /// Look at WebSocket handshakes, too: they are GET, and no browser asks whether another origin may open one.
    pub web_sockets: bool,
}

/// What is done with requests of which nobody says where they come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum WithoutHeaders {
    /// They pass.
    #[default]
    Allow,
    /// They are refused.
    Refuse,
}

impl Default for Csrf {
    fn default() -> Self {
        Self {
            mode: Enforcement::Enforce,
            allow_origins: Vec::new(),
            allow_same_site: false,
            without_headers: WithoutHeaders::Allow,
            referer: true,
            safe_methods: ["GET", "HEAD", "OPTIONS", "TRACE"].map(str::to_owned).to_vec(),
            web_sockets: true,
        }
    }
}

impl Settings for Csrf {
    fn place(&self) -> Place<'_> {
        Place::Waf
    }

    fn gives_way(&self) -> bool {
        true
    }

    fn judges_arrivals(&self) -> bool {
        true
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        at.each("allowOrigins", &self.allow_origins, |at, origin| match origin.as_str() {
            "*" => at.error_with("then nothing is refused", "name the origins whose pages may send requests"),
            "null" => at.error_with(
                "any site can send requests with the origin `null`, by a frame without rights",
                "leave it out",
            ),
            origin if !is_origin(origin) => {
                at.error("expected an origin such as `https://app.example.com` or `https://*.example.com`");
            }
            _ => {}
        });
        at.each("safeMethods", &self.safe_methods, |at, method| {
            if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') {
                at.error_with(format!("`{method}` is no method"), "methods are upper-case, such as `GET`");
            } else if ["POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str()) {
                at.error(format!("`{method}` is not safe: it is what other sites are kept from"));
            }
        });
    }
}
