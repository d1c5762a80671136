//! Issuers of tokens: the gateway itself, as services behind it know it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, Secret, types::Date};

/// What the gateway signs tokens as, and with which keys. The `internalJwt` policy has tokens made; `respond: {jwks: …}`
/// publishes the keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenIssuer {
    /// Unique name.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// The `iss` of its tokens.
    #[schemars(length(min = 1))]
    pub issuer: String,
    /// How tokens are signed, and with which kind of key.
    #[serde(default)]
    pub algorithm: SigningAlgorithm,
    /// Keys of one's own, the same on all gateways. Of those whose `from` has passed the latest signs; all others are
    /// published until nobody can have a token of theirs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<TokenKey>,
    /// In place of `keys`: keys that this gateway makes, keeps in its data directory and rotates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated: Option<GeneratedKeys>,
    /// How long a token is good.
    #[serde(default = "lifetime")]
    pub lifetime: Duration,
}

/// How tokens are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the names are those of RFC 7518 and RFC 8037")]
pub enum SigningAlgorithm {
    #[default]
    ES256,
    EdDSA,
    RS256,
}

/// A private key of an issuer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenKey {
    /// The key in PEM: `{file: …}` or `{env: …}`.
    pub key: Secret,
    /// From when on it signs, such as `2026-12-01T00:00:00Z`; published it is at once. Without it, since ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date"))]
    pub from: Option<Date>,
}

/// Keys that the gateway makes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GeneratedKeys {
    /// How long a key signs.
    pub rotate_every: Duration,
    /// How long a key is published before it signs, so that whoever keeps the key set for a while has it by then.
    pub publish_before: Duration,
}

impl Default for GeneratedKeys {
    fn default() -> Self {
        Self {
            rotate_every: Duration::from_secs(30 * 24 * 3600),
            publish_before: Duration::from_secs(24 * 3600),
        }
    }
}

fn lifetime() -> Duration {
    Duration::from_secs(300)
}
