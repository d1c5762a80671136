//! `jwt`: lets in who shows a valid JSON Web Token.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, FilePath, HeaderName};

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
