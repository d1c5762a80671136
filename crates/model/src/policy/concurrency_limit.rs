//! `concurrencyLimit`: bounds calls at a time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings, rate_limit::RateLimitKey};
use crate::load::Context;

/// Bounds calls at a time; beyond it 429 with `Retry-After`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConcurrencyLimit {
    /// Calls at a time, for each key.
    #[schemars(range(min = 1))]
    pub limit: u32,
    /// Whose calls are counted together.
    #[serde(default)]
    pub key: RateLimitKey,
    /// Leading bits of an IPv6 client address that count as one client.
    #[serde(default = "ipv6_prefix")]
    #[schemars(range(min = 1, max = 128))]
    pub ipv6_prefix: u8,
}

fn ipv6_prefix() -> u8 {
    64
}

impl Settings for ConcurrencyLimit {
    fn place(&self) -> Place<'_> {
        Place::RateLimit
    }

    fn counts(&self) -> bool {
        true
    }

    // The schema says it all.
    fn validate(&self, _: &mut Context<'_, '_>) {}
}
