//! `oauth2Introspection`: lets in who shows a token that its issuer says is good (RFC 7662).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Authentication, Place, Settings,
    headers::FRAMING,
    jwt::{JwtSource, is_private_enough},
    oidc::ClientAuth,
};
use crate::{
    Duration, HeaderName, Secret,
    diff::{Asked, Asks, Demand, Terms, among, demand},
    load::{Context, scope::Named},
};

/// Lets in who shows a token that its issuer says is good, when asked (RFC 7662); otherwise 401, or 403 when a scope is
/// missing. For tokens that say nothing themselves, or that are taken back before they end. What the issuer says is kept
/// for a while, also that a token is no good; while it cannot be asked, tokens that nothing is known of get 503.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Oauth2Introspection {
    /// Where tokens are asked about: `https`, or `http` on loopback. Without it the `issuer` tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "url"))]
    pub url: Option<String>,
    /// The issuer; where it tells `iss` of a token, that has to be the same. Without `url` its
    /// `/.well-known/openid-configuration` tells where it is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "url"))]
    pub issuer: Option<String>,
    /// What the issuer knows the gateway by.
    #[schemars(length(min = 1))]
    pub client_id: String,
    /// What the gateway proves that with.
    pub client_secret: Secret,
    /// How it proves that.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// Where the token is; `Authorization: Bearer` by default.
    #[serde(default)]
    pub source: JwtSource,
    /// `aud` must hold one of these; any when empty.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// Scopes that must all be in `scope`.
    #[serde(default)]
    pub required_scopes: Vec<String>,
    /// How long what the issuer says of a good token is kept, up to the token's own end; `0s` asks each time.
    #[serde(default = "ttl")]
    pub ttl: Duration,
    /// How long it is kept that a token is no good.
    #[serde(default = "negative_ttl")]
    pub negative_ttl: Duration,
    /// Good tokens that are known at a time, and as many others.
    #[serde(default = "max_tokens")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_tokens: usize,
    /// Tokens that are asked about at a time; more get 503.
    #[serde(default = "max_in_flight")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_in_flight: usize,
    /// Bound of each request to the issuer.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// How far clocks may differ.
    #[serde(default = "leeway")]
    pub leeway: Duration,
    /// What the issuer says that is sent on as headers, by header name. Such headers from outside are removed first.
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

fn ttl() -> Duration {
    Duration::from_secs(60)
}

fn negative_ttl() -> Duration {
    Duration::from_secs(10)
}

fn max_tokens() -> usize {
    10_000
}

fn max_in_flight() -> usize {
    256
}

fn timeout() -> Duration {
    Duration::from_secs(5)
}

fn leeway() -> Duration {
    Duration::from_secs(10)
}

impl Settings for Oauth2Introspection {
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

    fn validate(&self, at: &mut Context<'_, '_>) {
        if self.url.is_none() && self.issuer.is_none() {
            at.error("expected `url` or `issuer`, found neither");
        }
        for (key, url) in [("url", &self.url), ("issuer", &self.issuer)] {
            if url.as_ref().is_some_and(|url| !is_private_enough(url)) {
                at.field(key, |at| {
                    at.error("tokens are shown over https, or over http at a loopback address")
                });
            }
        }
        self.source.validate(at);
        if self.timeout.is_zero() {
            at.field("timeout", |at| at.error("expected more than nothing"));
        }
        if let Some(consumer) = &self.anonymous {
            at.field("anonymous", |at| at.refer(Named::Consumer, consumer));
        }
        at.field("claimsToHeaders", |at| {
            for name in self.claims_to_headers.keys().filter(|name| FRAMING.contains(&name.as_str())) {
                at.field(name, |at| at.error(format!("`{name}` is the gateway's own to set")));
            }
        });
    }
}

impl Asks for Oauth2Introspection {
    fn asks(&self, _: &Asked<'_>) -> Option<Demand> {
        Some(demand(Active { rules: self.clone() }))
    }
}

/// A token that this issuer says is good.
struct Active {
    rules: Oauth2Introspection,
}

impl Terms for Active {
    fn implies(&self, other: &Self) -> bool {
        let (mine, theirs) = (&self.rules, &other.rules);
        mine.url == theirs.url
            && mine.issuer == theirs.issuer
            && among(&mine.audiences, &theirs.audiences)
            && theirs.required_scopes.iter().all(|scope| mine.required_scopes.contains(scope))
            && (theirs.consumer_claim.is_none() || mine.consumer_claim == theirs.consumer_claim)
    }

    fn words(&self) -> String {
        let place = self.rules.url.as_ref().or(self.rules.issuer.as_ref());
        let mut words = format!("oauth2Introspection at {}", place.map_or("", String::as_str));
        if !self.rules.required_scopes.is_empty() {
            words.push_str(&format!(" with {}", self.rules.required_scopes.join(", ")));
        }
        words
    }
}
