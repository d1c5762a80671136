//! `internalJwt`: tells upstreams who calls, by a token that the gateway signs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings, headers::FRAMING};
use crate::{
    HeaderName,
    load::{Context, scope::Named},
    rules::template,
};

/// Tells upstreams who calls, by a short-lived token that the gateway signs: a service checks it against the keys that
/// `respond: {jwks: …}` publishes, and need not believe headers. What clients send under that header is removed,
/// whether a token is made or not. A token is used again for the same caller until a quarter of its time is left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InternalJwt {
    /// Name in `tokenIssuers`.
    pub issuer: String,
    /// The header that carries it; in `authorization` it comes after `Bearer `, in another by itself.
    #[serde(default = "authorization")]
    pub header: HeaderName,
    /// Its `aud`; a list where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
    /// Its `sub`, a template. Without it the consumer's name, or the `sub` that a policy found the caller by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Further claims, each a template. One that is a single place alone keeps its type: `{{ jwt.roles }}` a list,
    /// `{{ consumer.groups }}` as well. What is not there is no claim.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, String>,
    /// Further claims, each in CEL over `consumer`, `jwt`, `request` and `client`: a text, a number or a truth value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("additionalProperties" = {"type": "string", "format": "cel"}))]
    pub expressions: BTreeMap<String, String>,
    /// What becomes of calls from nobody: no consumer, and no `sub`.
    #[serde(default)]
    pub unknown: UnknownCallers,
    /// Callers whose tokens are kept at a time.
    #[serde(default = "max_tokens")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_tokens: usize,
}

/// What becomes of calls from nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum UnknownCallers {
    /// They go on without a token.
    #[default]
    Pass,
    /// 401.
    Refuse,
    /// They get a token without `sub`.
    Token,
}

fn authorization() -> HeaderName {
    HeaderName::from_static("authorization")
}

fn max_tokens() -> usize {
    10_000
}

/// Claims that the gateway itself makes.
const OWN: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];

impl Settings for InternalJwt {
    fn place(&self) -> Place<'_> {
        Place::Transform
    }

    fn is_for_upstreams(&self) -> bool {
        true
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        at.field("issuer", |at| at.refer(Named::TokenIssuer, &self.issuer));
        header(&self.header, at);
        if let Some(subject) = &self.subject {
            at.field("subject", |at| template(subject, at));
        }
        for (key, claims) in [("claims", &self.claims), ("expressions", &self.expressions)] {
            at.field(key, |at| {
                for (name, text) in claims {
                    at.field(name, |at| {
                        if OWN.contains(&name.as_str()) {
                            at.error(format!("`{name}` is the gateway's own to set"));
                        }
                        if key == "claims" {
                            template(text, at);
                        }
                    });
                }
            });
        }
        for name in self.expressions.keys().filter(|name| self.claims.contains_key(*name)) {
            at.field("expressions", |at| at.field(name, |at| at.error("this is one of `claims` as well")));
        }
    }
}

/// A header that may carry a token.
pub(crate) fn header(name: &HeaderName, at: &mut Context<'_, '_>) {
    let others = ["host", "cookie", "content-type"];
    if FRAMING.contains(&name.as_str()) || others.contains(&name.as_str()) {
        at.field("header", |at| at.error(format!("`{name}` is no header for a token")));
    }
}
