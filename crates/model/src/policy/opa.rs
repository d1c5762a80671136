//! `opa`: the Open Policy Agent says who is let in.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Place, Settings,
    ext_auth::{ExtAuthBody, OnError, check},
};
use crate::{
    Duration, HeaderName,
    diff::{Asked, Asks, Demand, Terms, demand},
    load::{Context, scope::Named},
};

/// Asks the Open Policy Agent, or whatever speaks its Data API, whether a call is let in, when it is known who calls. The
/// decision is `true` or `false`, or an object with `allow` and, by choice, `status`, `headers` and `body`. What is
/// undefined lets nobody in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Opa {
    /// The upstream that the agent is.
    #[schemars(extend("format" = "name"))]
    pub upstream: String,
    /// The path of the decision: `shop/authz/allow` asks for `/v1/data/shop/authz/allow`.
    #[schemars(length(min = 1))]
    pub decision: String,
    /// The form of the input document.
    #[serde(default)]
    pub shape: OpaShape,
    /// More of the input document: names at its top, with expressions (CEL) whose value is a text, a number or a truth value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("additionalProperties" = {"type": "string", "format": "cel"}))]
    pub with: BTreeMap<String, String>,
    /// The client's headers that it is shown; all without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_headers: Option<Vec<HeaderName>>,
    /// Show it the request's body: as JSON where it is JSON, otherwise as a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<ExtAuthBody>,
    /// Headers of a decision that lets in, which upstreams get. Such headers from outside are removed first.
    #[serde(default)]
    pub upstream_headers: Vec<HeaderName>,
    /// Headers of a refusal that the client gets.
    #[serde(default = "refusal_headers")]
    pub refusal_headers: Vec<HeaderName>,
    /// Keep decisions for the same input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<OpaCache>,
    /// Bound of each question, tries included.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// What is done with calls when it gives no answer.
    #[serde(default)]
    pub on_error: OnError,
}

/// The form of an input document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OpaShape {
    /// `request` (method, path, segments, host, scheme, query, headers, body), `client`, `consumer`, `jwt`, `route`, `tls`.
    #[default]
    Tidegate,
    /// As OPA's plugin for Envoy: `attributes.request.http`, `parsed_path`, `parsed_query`, `parsed_body`.
    Envoy,
    /// As Kong's `opa` plugin: `request.http`, `client_ip`, `consumer`, `route`.
    Kong,
    /// As APISIX's `opa` plugin: `type`, `request`, `var`, `consumer`, `route`.
    Apisix,
}

/// How long decisions are kept: for the very same input document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OpaCache {
    /// That a call is let in.
    pub ttl: Duration,
    /// That it is not; `0s` keeps none.
    pub negative_ttl: Duration,
    /// Decisions of each kind that are kept at a time.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_entries: usize,
}

impl Default for OpaCache {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(10), negative_ttl: Duration::from_secs(0), max_entries: 10_000 }
    }
}

fn refusal_headers() -> Vec<HeaderName> {
    ["content-type", "location", "retry-after", "www-authenticate"].map(HeaderName::from_static).to_vec()
}

fn timeout() -> Duration {
    Duration::from_secs(1)
}

impl Settings for Opa {
    fn place(&self) -> Place<'_> {
        Place::Authorization(self)
    }

    fn narrows(&self) -> bool {
        true
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        at.field("upstream", |at| at.refer(Named::Upstream, &self.upstream));
        let is_part = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        };
        if !self.decision.split('/').all(is_part) {
            at.field("decision", |at| {
                at.error("expected a path such as `shop/authz/allow`, without `/v1/data`")
            });
        }
        at.field("with", |at| {
            for (name, text) in &self.with {
                let is_name =
                    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                if !is_name || text.trim().is_empty() {
                    at.field(name, |at| {
                        at.error("expected a name of letters, digits and `_`, and an expression")
                    });
                }
            }
        });
        let names = [("upstreamHeaders", &*self.upstream_headers), ("refusalHeaders", &self.refusal_headers)];
        check(&names, self.body.as_ref(), self.timeout, at);
    }
}

impl Asks for Opa {
    fn asks(&self, _: &Asked<'_>) -> Option<Demand> {
        // Where calls go on when nobody answers, they do so when the agent is brought down.
        (self.on_error == OnError::Deny)
            .then(|| demand(Decided { upstream: self.upstream.clone(), decision: self.decision.clone() }))
    }
}

/// Somebody whom this decision lets in.
struct Decided {
    upstream: String,
    decision: String,
}

impl Terms for Decided {
    fn implies(&self, other: &Self) -> bool {
        self.upstream == other.upstream && self.decision == other.decision
    }

    fn words(&self) -> String {
        format!("opa {} by {}", self.decision, self.upstream)
    }
}
