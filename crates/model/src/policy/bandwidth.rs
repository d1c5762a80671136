//! `bandwidth`: bounds bytes per second.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings, rate_limit::RateLimitKey};
use crate::{HeaderName, Size, load::Context};

/// The slowest pace, in bytes per second: what is slower looks like a peer that is gone.
const PER_SECOND_MIN: u64 = 1024;

/// Lets so many bytes per second of requests' and answers' bodies pass: what is more waits, and nothing is gathered
/// meanwhile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Bandwidth {
    /// The pace of what clients send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<BytePace>,
    /// The pace of what they get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<BytePace>,
    /// Whose bytes are counted together.
    pub key: BandwidthKey,
    /// Leading bits of an IPv6 client address that count as one client.
    #[schemars(range(min = 1, max = 128))]
    pub ipv6_prefix: u8,
    /// Pace what flows after an upgrade (WebSocket, CONNECT), too.
    pub upgrades: bool,
    /// Keys that are remembered; those of calls on their way beyond that have a pace of their own.
    #[schemars(range(min = 1))]
    pub max_keys: usize,
}

impl Default for Bandwidth {
    fn default() -> Self {
        Self {
            request: None,
            response: None,
            key: BandwidthKey::Call,
            ipv6_prefix: 64,
            upgrades: true,
            max_keys: 100_000,
        }
    }
}

/// So many bytes per second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BytePace {
    /// Bytes per second.
    pub per_second: Size,
    /// Bytes at once; those of a tenth of a second without it. Never fewer than those of a tenth of a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<Size>,
}

/// Whose bytes are counted together.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = crate::schema::one_key)]
pub enum BandwidthKey {
    /// Each call has a pace of its own.
    #[default]
    Call,
    /// The consumer; the client's address when nobody is authenticated.
    Consumer,
    /// The client's address.
    ClientAddress,
    /// All that come to this policy.
    Global,
    /// The value of a header; calls without it count as one.
    Header(HeaderName),
    /// The value of a token's claim; calls without it count as one.
    Claim(String),
    /// The value of a CEL expression.
    #[schemars(extend("format" = "cel"))]
    Cel(String),
}

impl BandwidthKey {
    /// The same as a key of calls; none where each call has its own.
    pub fn shared(&self) -> Option<RateLimitKey> {
        Some(match self {
            Self::Call => return None,
            Self::Consumer => RateLimitKey::Consumer,
            Self::ClientAddress => RateLimitKey::ClientAddress,
            Self::Global => RateLimitKey::Global,
            Self::Header(name) => RateLimitKey::Header(name.clone()),
            Self::Claim(path) => RateLimitKey::Claim(path.clone()),
            Self::Cel(text) => RateLimitKey::Cel(text.clone()),
        })
    }
}

impl Settings for Bandwidth {
    fn place(&self) -> Place<'_> {
        Place::RateLimit
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if self.request.is_none() && self.response.is_none() {
            at.error_with("expected a pace", "`request` or `response` with `perSecond`");
        }
        for (key, pace) in [("request", &self.request), ("response", &self.response)] {
            let Some(pace) = pace else { continue };
            at.field(key, |at| {
                if pace.per_second.bytes() < PER_SECOND_MIN {
                    at.field("perSecond", |at| {
                        at.error(format!("expected {PER_SECOND_MIN} bytes or more"));
                    });
                }
            });
        }
    }
}
