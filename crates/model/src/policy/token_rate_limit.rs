//! `tokenRateLimit`: bounds tokens of models per time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings};
use crate::{
    Duration, HeaderName, Percent,
    load::Context,
    resource::redis::{Store, WhenAway},
    rules::Around,
};

/// Bounds tokens of models per time. The most that a call may take is held before it is sent and settled to what it
/// took; beyond the limit 429 with `Retry-After` and the `RateLimit` headers. Tokens come back evenly over the window,
/// as calls do under `rateLimit`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TokenRateLimit {
    /// Tokens per window, of prompts and answers together.
    #[schemars(range(min = 1))]
    pub tokens: Option<u64>,
    /// Tokens of prompts per window.
    #[schemars(range(min = 1))]
    pub input: Option<u64>,
    /// Tokens of answers per window, thoughts among them.
    #[schemars(range(min = 1))]
    pub output: Option<u64>,
    /// The window.
    pub window: Option<Duration>,
    /// Whose tokens are counted together.
    pub key: MeterKey,
    /// Leading bits of an IPv6 client address that count as one client.
    #[schemars(range(min = 1, max = 128))]
    pub ipv6_prefix: u8,
    /// Tokens of the answer that are held for a call that names no limit of its own; the most that the model can
    /// answer with without it. An answer beyond it counts all the same, against what comes later.
    #[schemars(range(min = 1))]
    pub assumed_output: Option<u64>,
    /// Name of the quota in the `RateLimit` headers.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// Send the `RateLimit` and `RateLimit-Policy` headers.
    pub headers: bool,
    /// Keys that are counted at a time; beyond it the ones with the most room are forgotten.
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

impl Default for TokenRateLimit {
    fn default() -> Self {
        Self {
            tokens: None,
            input: None,
            output: None,
            window: None,
            key: MeterKey::default(),
            ipv6_prefix: 64,
            assumed_output: None,
            name: "tokens".to_owned(),
            headers: true,
            max_keys: 100_000,
            store: Store::default(),
            when_away: WhenAway::default(),
            share: Percent(50.0),
        }
    }
}

/// Whose tokens or money are counted together.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = crate::schema::one_key)]
pub enum MeterKey {
    /// The consumer; the client's address when nobody is authenticated.
    #[default]
    Consumer,
    /// Each group of the consumer: all of its groups must have room. As `consumer` for who has no group.
    Group,
    /// The model, by its name in `ai.models`.
    Model,
    /// The API key that was shown, by its place among the consumer's; as `consumer` for who showed none.
    Key,
    /// The client's address.
    ClientAddress,
    /// Everybody's together.
    Global,
    /// The value of a header; calls without it count as one.
    Header(HeaderName),
    /// The value of a token's claim; calls without it count as one.
    Claim(String),
    /// The value of a CEL expression; calls for which it has none count as one.
    #[schemars(extend("format" = "cel"))]
    Cel(String),
}

impl From<&super::rate_limit::RateLimitKey> for MeterKey {
    fn from(key: &super::rate_limit::RateLimitKey) -> Self {
        use super::rate_limit::RateLimitKey as Key;
        match key {
            Key::Consumer => Self::Consumer,
            Key::ClientAddress => Self::ClientAddress,
            Key::Global => Self::Global,
            Key::Header(name) => Self::Header(name.clone()),
            Key::Claim(path) => Self::Claim(path.clone()),
            Key::Cel(text) => Self::Cel(text.clone()),
        }
    }
}

impl MeterKey {
    /// A claim that nothing tells is the same one for all calls.
    pub(super) fn validate_around(&self, around: &Around<'_>, at: &mut Context<'_, '_>) {
        let Self::Claim(claim) = self else { return };
        if !around.has_claims() {
            at.field("key", |at| {
                at.warning(format!("no policy tells claims here: without `{claim}` all calls count as one"));
            });
        }
    }
}

impl Settings for TokenRateLimit {
    fn place(&self) -> Place<'_> {
        Place::RateLimit
    }

    fn validate_around(&self, around: &Around<'_>, at: &mut Context<'_, '_>) {
        self.key.validate_around(around, at);
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        at.stored(self.store, self.when_away, self.share);
        if self.tokens.is_none() && self.input.is_none() && self.output.is_none() {
            at.error("expected at least one of `tokens`, `input` and `output`");
        }
        match self.window {
            None => at.error("expected a `window`, such as `1m`"),
            Some(window) if window.is_zero() => {
                at.field("window", |at| at.error("expected more than nothing"))
            }
            Some(_) => {}
        }
    }

    fn is_of_ai(&self) -> bool {
        true
    }

    fn account(&self) -> Option<&str> {
        Some(&self.name)
    }
}
