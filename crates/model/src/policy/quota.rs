//! `quota`: bounds calls per hour, day, week or month of the calendar.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings, budget::Period, rate_limit::RateLimitKey};
use crate::{
    Percent,
    load::Context,
    resource::redis::{Store, WhenAway},
};

/// Bounds calls per hour, day, week or month of the calendar, as plans of an API are sold: beyond it 429 with
/// `Retry-After` until the period ends, and the `RateLimit` headers. Each call that comes here counts, whatever becomes
/// of it; one that is refused does not. What is counted outlives reloads and, in `--data-dir`, restarts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Quota {
    /// Calls per period.
    #[schemars(range(min = 1))]
    pub limit: Option<u64>,
    /// The period.
    pub per: Period,
    /// In which days and hours begin, by its IANA name such as `Europe/Berlin`.
    pub time_zone: String,
    /// Whose calls are counted together.
    pub key: RateLimitKey,
    /// Leading bits of an IPv6 client address that count as one client.
    #[schemars(range(min = 1, max = 128))]
    pub ipv6_prefix: u8,
    /// Its name in the `RateLimit` headers and, beside its place, what it is counted under: a new name is a new quota, a
    /// new `limit` is not.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// Send the `RateLimit` and `RateLimit-Policy` headers.
    pub headers: bool,
    /// Keys that are counted per period; a call with one more is refused.
    #[schemars(range(min = 1))]
    pub max_keys: usize,
    /// Where it is counted: by each gateway for itself, or by all that share the `redis` of the configuration, exactly.
    pub store: Store,
    /// With `store: redis`: what is done with calls while it is away.
    pub when_away: WhenAway,
    /// With `whenAway: local`: the share of the limit that each gateway may use, what it has used itself so far
    /// counted in. Half of it for two gateways, a third for three, and together they stay within it.
    pub share: Percent,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            limit: None,
            per: Period::default(),
            time_zone: "UTC".to_owned(),
            key: RateLimitKey::Consumer,
            ipv6_prefix: 64,
            name: "quota".to_owned(),
            headers: true,
            max_keys: 100_000,
            store: Store::default(),
            when_away: WhenAway::default(),
            share: Percent(50.0),
        }
    }
}

impl Settings for Quota {
    fn place(&self) -> Place<'_> {
        Place::RateLimit
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        at.stored(self.store, self.when_away, self.share);
        if self.limit.is_none() {
            at.error_with(
                "expected a `limit` of calls per period",
                "such as `quota: {limit: 10000, per: month}`",
            );
        }
    }

    fn account(&self) -> Option<&str> {
        Some(&self.name)
    }
}
