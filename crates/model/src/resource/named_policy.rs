//! A policy with a name, shared by whoever uses it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::policy::Policy;

/// A shared policy. All its users share its state too: one limiter for a hundred routes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamedPolicy {
    /// Unique name, for `{use: name}`.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// The policy.
    pub policy: Policy,
}
