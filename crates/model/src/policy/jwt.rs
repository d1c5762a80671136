//! `jwt`: lets in who shows a valid JSON Web Token.

use std::{collections::BTreeMap, net::IpAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Duration, FilePath, HeaderName,
    load::{Context, scope::Named},
    policy::headers::FRAMING,
};

/// Lets in who shows a valid JSON Web Token; otherwise 401, or 403 when a scope is missing. The key and the
/// configuration decide the algorithm, never the token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Jwt {
    /// The `iss` claim that is required.
    #[schemars(length(min = 1))]
    pub issuer: String,
    /// The `aud` claim must hold one of these; any when empty.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// Where the keys come from.
    pub jwks: Jwks,
    /// Algorithms that are accepted.
    #[serde(default = "algorithms")]
    #[schemars(length(min = 1))]
    pub algorithms: Vec<JwtAlgorithm>,
    /// How far clocks may differ.
    #[serde(default = "leeway")]
    pub leeway: Duration,
    /// Claims that must be there, and be equal when a value is given. `null` asks for presence alone.
    #[serde(default)]
    pub required_claims: BTreeMap<String, serde_json::Value>,
    /// Scopes that must all be in `scope` or `scp`.
    #[serde(default)]
    pub required_scopes: Vec<String>,
    /// Where the token is; `Authorization: Bearer` by default.
    #[serde(default)]
    pub source: JwtSource,
    /// Claims that are sent on as headers, by header name. Such headers from outside are removed first.
    #[serde(default)]
    pub claims_to_headers: BTreeMap<HeaderName, String>,
    /// The claim that names the consumer, for tokens that no consumer's `jwt` entry covers; off without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer_claim: Option<String>,
    /// Remove the token before the request goes on.
    #[serde(default)]
    pub hide_credentials: bool,
    /// Name of the consumer that calls without a token count as; without it they are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<String>,
}

/// Where the keys of tokens come from: a `file` or a `url`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Jwks {
    /// A JWKS file.
    pub file: Option<FilePath>,
    /// A JWKS address; `https`, or `http` on loopback.
    #[schemars(extend("format" = "url"))]
    pub url: Option<String>,
    /// Between two fetches in the background.
    pub refresh: Duration,
    /// Between two fetches that unknown key ids may cause.
    pub min_refresh: Duration,
    /// Bound of a fetch.
    pub timeout: Duration,
}

impl Default for Jwks {
    fn default() -> Self {
        Self {
            file: None,
            url: None,
            refresh: Duration::from_secs(600),
            min_refresh: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
        }
    }
}

/// A signature algorithm with public keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the names are those of RFC 7518 and RFC 8037")]
pub enum JwtAlgorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

/// Where a token is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct JwtSource {
    /// A header; `Bearer ` before the token is dropped.
    pub header: Option<HeaderName>,
    /// A cookie.
    pub cookie: Option<String>,
    /// A query parameter.
    pub query: Option<String>,
}

fn algorithms() -> Vec<JwtAlgorithm> {
    vec![JwtAlgorithm::RS256, JwtAlgorithm::ES256]
}

fn leeway() -> Duration {
    Duration::from_secs(60)
}

impl Jwt {
    pub(crate) fn validate(&self, at: &mut Context<'_, '_>) {
        at.field("jwks", |at| self.jwks.validate(at));
        if let Some(consumer) = &self.anonymous {
            at.field("anonymous", |at| at.refer(Named::Consumer, consumer));
        }
        let source = &self.source;
        if [source.header.is_some(), source.cookie.is_some(), source.query.is_some()]
            .iter()
            .filter(|one| **one)
            .count()
            > 1
        {
            at.field("source", |at| at.error("expected at most one of `header`, `cookie` and `query`"));
        }
        at.field("claimsToHeaders", |at| {
            for name in self.claims_to_headers.keys().filter(|name| FRAMING.contains(&name.as_str())) {
                at.field(name, |at| at.error(format!("`{name}` is the gateway's own to set")));
            }
        });
    }
}

impl Jwks {
    pub(crate) fn validate(&self, at: &mut Context<'_, '_>) {
        match (&self.file, &self.url) {
            (None, None) => at.error("expected `file` or `url`, found neither"),
            (Some(_), Some(_)) => at.error("expected either `file` or `url`, found both"),
            (None, Some(url)) if !is_private_enough(url) => {
                at.field("url", |at| at.error("keys come over https, or over http from a loopback address"));
            }
            _ => {}
        }
        for (key, time) in
            [("refresh", self.refresh), ("minRefresh", self.min_refresh), ("timeout", self.timeout)]
        {
            if time.is_zero() {
                at.field(key, |at| at.error("expected more than nothing"));
            }
        }
    }
}

/// Whether nobody on the way can put in keys of their own.
fn is_private_enough(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    uri.scheme_str() == Some("https") || loopback
}
