//! `jwt`: lets in who shows a valid JSON Web Token.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Authentication, Place, Settings};
use crate::{
    Duration, FilePath, HeaderName,
    diff::{Asked, Asks, Demand, Parts, Terms, among, demand},
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

impl JwtSource {
    /// Names one place at most.
    pub(crate) fn validate(&self, at: &mut Context<'_, '_>) {
        let given = [self.header.is_some(), self.cookie.is_some(), self.query.is_some()];
        if given.iter().filter(|one| **one).count() > 1 {
            at.field("source", |at| at.error("expected at most one of `header`, `cookie` and `query`"));
        }
    }

    /// The headers that may hold it.
    pub(crate) fn headers(&self) -> Vec<HeaderName> {
        match &self.header {
            Some(name) => vec![name.clone()],
            None => ["authorization", "cookie"].map(HeaderName::from_static).to_vec(),
        }
    }
}

fn algorithms() -> Vec<JwtAlgorithm> {
    vec![JwtAlgorithm::RS256, JwtAlgorithm::ES256]
}

fn leeway() -> Duration {
    Duration::from_secs(60)
}

impl Settings for Jwt {
    fn place(&self) -> Place<'_> {
        Place::Authentication(Authentication {
            anonymous: self.anonymous.as_deref(),
            headers: self.source.headers(),
            parameter: self.source.query.as_deref(),
            asks: self,
        })
    }

    fn tells_claims(&self) -> bool {
        true
    }

    /// Tokens of all people begin alike.
    fn reads_keys(&self) -> bool {
        false
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        at.field("jwks", |at| self.jwks.validate(at));
        if let Some(consumer) = &self.anonymous {
            at.field("anonymous", |at| at.refer(Named::Consumer, consumer));
        }
        self.source.validate(at);
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
pub(crate) fn is_private_enough(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    uri.scheme_str() == Some("https") || loopback
}

impl Asks for Jwt {
    fn asks(&self, of: &Asked<'_>) -> Option<Demand> {
        let keys = match &self.jwks.file {
            Some(file) => Keys::File(of.parts(file, keys)),
            None => Keys::Url(self.jwks.url.clone()),
        };
        Some(demand(Token { rules: self.clone(), keys }))
    }
}

/// A token that one of these keys signed and that meets these rules.
struct Token {
    rules: Jwt,
    keys: Keys,
}

/// Whose signature a token needs.
enum Keys {
    File(Parts),
    Url(Option<String>),
}

/// The keys of a key set; all of the file when it is none.
fn keys(content: &[u8]) -> BTreeSet<String> {
    let set: Option<serde_json::Value> = serde_json::from_slice(content).ok();
    match set.as_ref().and_then(|set| set.get("keys")).and_then(|keys| keys.as_array()) {
        Some(keys) => keys.iter().map(ToString::to_string).collect(),
        None => BTreeSet::from([String::from_utf8_lossy(content).into_owned()]),
    }
}

impl Keys {
    fn are_among(&self, others: &Self) -> bool {
        match (self, others) {
            (Self::File(mine), Self::File(theirs)) => mine.is_subset(theirs),
            (Self::Url(mine), Self::Url(theirs)) => mine == theirs,
            (Self::File(_), Self::Url(_)) | (Self::Url(_), Self::File(_)) => false,
        }
    }
}

impl Terms for Token {
    fn implies(&self, other: &Self) -> bool {
        let (mine, theirs) = (&self.rules, &other.rules);
        self.keys.are_among(&other.keys)
            && mine.issuer == theirs.issuer
            && among(&mine.audiences, &theirs.audiences)
            && theirs.required_scopes.iter().all(|scope| mine.required_scopes.contains(scope))
            && theirs.required_claims.iter().all(|(name, value)| match mine.required_claims.get(name) {
                Some(mine) => value.is_null() || mine == value,
                None => false,
            })
            // Where a claim has to name a consumer, a token that names none is refused.
            && (theirs.consumer_claim.is_none() || mine.consumer_claim == theirs.consumer_claim)
            && mine.leeway <= theirs.leeway
    }

    fn words(&self) -> String {
        let mut words = format!("jwt of {}", self.rules.issuer);
        if !self.rules.required_scopes.is_empty() {
            words.push_str(&format!(" with {}", self.rules.required_scopes.join(", ")));
        }
        if let Some(claim) = &self.rules.consumer_claim {
            words.push_str(&format!(" of a consumer by {claim}"));
        }
        words
    }
}
