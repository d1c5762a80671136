//! `acl`: lets in consumers and groups by name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::load::{Context, scope::Named};

/// Lets in consumers by their own name or a group's; otherwise 403. `deny` wins over `allow`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Acl {
    /// Consumers and groups that are let in; everyone who is authenticated when empty.
    pub allow: Vec<String>,
    /// Consumers and groups that are refused.
    pub deny: Vec<String>,
}

impl Acl {
    pub(crate) fn validate(&self, at: &mut Context<'_, '_>) {
        if self.allow.is_empty() && self.deny.is_empty() {
            at.error("expected names under `allow` or `deny`, found none");
        }
        for (key, names) in [("allow", &self.allow), ("deny", &self.deny)] {
            at.each(key, names, |at, name| at.refer(Named::Subject, name));
        }
    }
}
