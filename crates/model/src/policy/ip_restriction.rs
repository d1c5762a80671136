//! `ipRestriction`: lets in client addresses.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Cidr, load::Context};

/// Lets in clients by address; otherwise 403. `deny` wins over `allow`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct IpRestriction {
    /// Networks that are let in; all when empty.
    pub allow: Vec<Cidr>,
    /// Networks that are refused.
    pub deny: Vec<Cidr>,
}

impl IpRestriction {
    pub(crate) fn validate(&self, at: &mut Context<'_, '_>) {
        if self.allow.is_empty() && self.deny.is_empty() {
            at.error("expected networks under `allow` or `deny`, found none");
        }
    }
}
