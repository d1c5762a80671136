//! `rateLimit`: bounds calls per time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings};
use crate::{
    Duration, HeaderName, Percent,
    load::Context,
    resource::redis::{Store, WhenAway},
    rules::Around,
};

/// The most calls that a sliding window remembers.
const SLIDING_LIMIT_MAX: u64 = 10_000;

/// Bounds calls per time; beyond it 429 with `Retry-After` and the `RateLimit` headers. One limit by
/// `limit` and `window`, several by `limits`: all must have room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RateLimit {
    /// Calls per window.
    #[schemars(range(min = 1))]
    pub limit: Option<u64>,
    /// The window.
    pub window: Option<Duration>,
    /// Calls at once; `limit` without it.
    #[schemars(range(min = 1))]
    pub burst: Option<u64>,
    /// How calls come back.
    pub algorithm: Algorithm,
    /// Whose calls are counted together.
    pub key: RateLimitKey,
    /// Leading bits of an IPv6 client address that count as one client.
    #[schemars(range(min = 1, max = 128))]
    pub ipv6_prefix: u8,
    /// Further limits.
    pub limits: Vec<Limit>,
    /// Name of the quota in the `RateLimit` headers. With `store: redis` it tells limits of one place apart that are
    /// the same otherwise.
    #[schemars(extend("format" = "name"))]
    pub name: Option<String>,
    /// Send the `RateLimit` and `RateLimit-Policy` headers.
    pub headers: bool,
    /// Keys that are counted at a time; beyond it the oldest are forgotten. With `algorithm: slidingWindow`, also the
    /// calls that are remembered in all.
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

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            limit: None,
            window: None,
            burst: None,
            algorithm: Algorithm::default(),
            key: RateLimitKey::default(),
            ipv6_prefix: 64,
            limits: Vec::new(),
            name: None,
            headers: true,
            max_keys: 1_000_000,
            store: Store::default(),
            when_away: WhenAway::default(),
            share: Percent(50.0),
        }
    }
}

impl RateLimit {
    /// Its key, for whoever bounds something smaller than a route in the same words.
    pub const KEY: &'static str = "rateLimit";

    /// All limits, the short form first.
    pub fn all(&self) -> Vec<Limit> {
        let short = match (self.limit, self.window) {
            (Some(limit), Some(window)) => {
                Some(Limit { limit, window, burst: self.burst, key: None, name: None })
            }
            _ => None,
        };
        short.into_iter().chain(self.limits.iter().cloned()).collect()
    }
}

/// One of several limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limit {
    /// Calls per window.
    #[schemars(range(min = 1))]
    pub limit: u64,
    /// The window.
    pub window: Duration,
    /// Calls at once; `limit` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub burst: Option<u64>,
    /// Whose calls are counted together; the policy's `key` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<RateLimitKey>,
    /// Name of the quota in the `RateLimit` headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "name"))]
    pub name: Option<String>,
}

/// How calls come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Algorithm {
    /// Evenly over the window, one after the other (the generic cell rate algorithm); up to `burst` at once.
    #[default]
    Gcra,
    /// Each a window after it was made: no stretch of time as long as the window has more calls than the limit. Each is
    /// remembered for that, so that a limit is 10,000 at most.
    SlidingWindow,
}

/// Whose calls are counted together.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = crate::schema::one_key)]
pub enum RateLimitKey {
    /// The consumer; the client's address when nobody is authenticated.
    Consumer,
    /// The client's address.
    #[default]
    ClientAddress,
    /// Everybody's together.
    Global,
    /// The value of a header; calls without it count as one.
    Header(HeaderName),
    /// The value of a token's claim; calls without it count as one.
    Claim(String),
    /// The value of a CEL expression.
    #[schemars(extend("format" = "cel"))]
    Cel(String),
}

impl Settings for RateLimit {
    fn place(&self) -> Place<'_> {
        Place::RateLimit
    }

    fn counts(&self) -> bool {
        true
    }

    fn validate_around(&self, around: &Around<'_>, at: &mut Context<'_, '_>) {
        let warn = |at: &mut Context<'_, '_>, key: &RateLimitKey| {
            if let RateLimitKey::Claim(claim) = key {
                at.field("key", |at| {
                    at.warning(format!(
                        "no policy tells claims here: without `{claim}` all calls count as one"
                    ));
                });
            }
        };
        if around.has_claims() {
            return;
        }
        warn(at, &self.key);
        at.each("limits", &self.limits, |at, limit| {
            if let Some(key) = &limit.key {
                warn(at, key);
            }
        });
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        at.stored(self.store, self.when_away, self.share);
        if self.algorithm == Algorithm::SlidingWindow {
            slides(self.limit, self.burst, at);
            at.each("limits", &self.limits, |at, limit| slides(Some(limit.limit), limit.burst, at));
        }
        match (self.limit, self.window) {
            (Some(_), None) => at.error("`limit` needs a `window`"),
            (None, Some(_)) => at.error("`window` needs a `limit`"),
            (None, None) if self.limits.is_empty() => at.error("expected `limit` and `window`, or `limits`"),
            (None, None) if self.burst.is_some() => {
                at.field("burst", |at| at.error("`burst` belongs to `limit`"))
            }
            (_, Some(window)) if window.is_zero() => {
                at.field("window", |at| at.error("expected more than nothing"))
            }
            _ => {}
        }
        at.each("limits", &self.limits, |at, limit| {
            if limit.window.is_zero() {
                at.field("window", |at| at.error("expected more than nothing"));
            }
        });
    }
}

/// What a sliding window cannot do.
fn slides(limit: Option<u64>, burst: Option<u64>, at: &mut Context<'_, '_>) {
    if burst.is_some() {
        at.field("burst", |at| {
            at.error_with(
                "a sliding window has no `burst`",
                "`algorithm: gcra` has; here all of `limit` may come at once",
            );
        });
    }
    if limit.is_some_and(|limit| limit > SLIDING_LIMIT_MAX) {
        at.field("limit", |at| {
            at.error_with(
                format!("a sliding window remembers each call, up to {SLIDING_LIMIT_MAX} of them"),
                "`algorithm: gcra` takes any limit",
            );
        });
    }
}
