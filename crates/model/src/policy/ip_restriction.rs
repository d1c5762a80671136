//! `ipRestriction`: lets in client addresses.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Cidr;

/// Lets in clients by address; otherwise 403. `deny` wins over `allow`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct IpRestriction {
    /// Networks that are let in; all when empty.
    pub allow: Vec<Cidr>,
    /// Networks that are refused.
    pub deny: Vec<Cidr>,
}
