//! Consumers: who calls, and how they prove it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Secret, policy::PolicyUse, types::Date};

/// An application or a person that calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Consumer {
    /// Unique name.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// Groups that `acl` may name.
    #[serde(default)]
    pub groups: Vec<String>,
    /// API keys, for `keyAuth`.
    #[serde(default)]
    pub keys: Vec<Secret>,
    /// API keys of which only a digest is known here, each with an end of its own where it has one, for `keyAuth`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hashed_keys: Vec<HashedKey>,
    /// User names and passwords, for `basicAuth`.
    #[serde(default)]
    pub basic: Vec<BasicCredential>,
    /// Claims of tokens that are this consumer, for `jwt`.
    #[serde(default)]
    pub jwt: Vec<JwtIdentity>,
    /// When its credentials end: from then on they are 401. A day is meant from its first moment, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-or-time"))]
    pub expires_at: Option<Date>,
    /// The models that it may use, by the names that clients use; a `*` at the end stands for anything. Others are 403
    /// and not in its list of models. All of them without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// Policies of this consumer's calls, whatever the route.
    #[serde(default)]
    pub policies: Vec<PolicyUse>,
}

/// A user name and its password.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BasicCredential {
    /// User name; unique among all consumers, without a colon.
    pub username: String,
    /// The password, `sha256:` and the hex digest of it, or its Argon2 hash (`$argon2id$…`), as `tidegate hash` makes them.
    pub password: Secret,
}

/// An API key of which only a digest is known: whoever reads the configuration cannot use it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HashedKey {
    /// SHA-256 of the key as 64 hexadecimal digits, as `tidegate hash` makes it. The key has to be random: a digest keeps
    /// nobody from trying words.
    #[schemars(extend("format" = "sha256"))]
    pub sha256: String,
    /// What it is for, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it ends: from then on it is 401. A day is meant from its first moment, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-or-time"))]
    pub expires_at: Option<Date>,
}

/// Whose token counts as this consumer: every field given must be equal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JwtIdentity {
    /// The `iss` claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The claim that is compared; `sub` by default.
    #[serde(default = "sub")]
    pub claim: String,
    /// Its value.
    pub value: String,
}

fn sub() -> String {
    "sub".to_owned()
}
