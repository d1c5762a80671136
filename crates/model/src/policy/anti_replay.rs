//! `antiReplay`: lets each request in once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings, rate_limit::RateLimitKey};
use crate::{
    Duration, Enforcement, HeaderName, Percent,
    load::Context,
    resource::redis::{Store, WhenAway},
    rules::Around,
};

/// Lets each request in once: it has a nonce, which its caller makes up, and the time at which it was made; 400 without.
/// One that was made too long ago, or whose nonce came before, is 403. Whoever can change these headers can send a request
/// again: a signature has to cover them, as `hmac` with these headers among its `components` sees to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AntiReplay {
    /// Whether it refuses.
    pub mode: Enforcement,
    /// The header with the nonce: 1 to 128 visible characters.
    pub nonce_header: HeaderName,
    /// The header with the time: seconds or milliseconds since 1970, RFC 3339, or as in `Date`.
    pub timestamp_header: HeaderName,
    /// How long after it was made a request is good.
    pub window: Duration,
    /// How far in the future it may be made, where clocks differ.
    pub leeway: Duration,
    /// Methods that it is about; all when empty.
    pub methods: Vec<String>,
    /// Whose nonces they are: two callers may have the same. Whoever is no consumer has them in common with all others who are
    /// none, wherever they come from. A header has to be signed as the nonce is.
    pub key: RateLimitKey,
    /// Leading bits of an IPv6 client address that count as one client.
    #[schemars(range(min = 1, max = 128))]
    pub ipv6_prefix: u8,
    /// Characters that a nonce has at least.
    #[schemars(range(min = 1, max = 128))]
    pub min_nonce_length: u8,
    /// Nonces that are remembered at a time by this gateway.
    #[schemars(range(min = 1, max = 50_000_000))]
    pub max_nonces: u32,
    /// Those of one caller, who gets 429 beyond. An address of no consumer has a hundredth of `maxNonces` at most. In a
    /// shared store they are counted from the first on, for as long as it is remembered.
    #[schemars(range(min = 1, max = 50_000_000))]
    pub max_nonces_per_key: u32,
    /// What is done when there is no place for another.
    pub when_full: WhenFull,
    /// Where nonces are remembered.
    pub store: Store,
    /// With `store: redis`: what is done while it is away. With `local` each gateway knows what came to itself.
    pub when_away: WhenAway,
}

/// What is done when there is no place for another nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum WhenFull {
    /// Requests are refused with 503 until the oldest is of no use any more: none comes twice.
    #[default]
    Refuse,
    /// The oldest is forgotten: its request could come again.
    ForgetOldest,
}

impl Default for AntiReplay {
    fn default() -> Self {
        Self {
            mode: Enforcement::Enforce,
            nonce_header: HeaderName::from_static("x-nonce"),
            timestamp_header: HeaderName::from_static("x-timestamp"),
            window: Duration::from_secs(300),
            leeway: Duration::from_secs(30),
            methods: Vec::new(),
            key: RateLimitKey::Consumer,
            ipv6_prefix: 64,
            min_nonce_length: 16,
            max_nonces: 500_000,
            max_nonces_per_key: 100_000,
            when_full: WhenFull::Refuse,
            store: Store::Memory,
            when_away: WhenAway::Closed,
        }
    }
}

impl Settings for AntiReplay {
    fn place(&self) -> Place<'_> {
        // After authentication and limits: a request that did not get so far can be sent again as it is.
        Place::Validation
    }

    fn gives_way(&self) -> bool {
        true
    }

    fn judges_arrivals(&self) -> bool {
        true
    }

    fn validate_around(&self, around: &Around<'_>, at: &mut Context<'_, '_>) {
        // A component may look for signatures of its own.
        if around.has(|policy| policy.runs().is_some()) {
            return;
        }
        let headers = [("nonceHeader", &self.nonce_header), ("timestampHeader", &self.timestamp_header)];
        for (key, name) in headers {
            let signs = around.has(|policy| policy.covers(name).is_some());
            if signs && !around.has(|policy| policy.covers(name) == Some(true)) {
                at.field(key, |at| {
                    at.warning_with(
                        format!(
                            "no signature has to cover `{name}` here: who sends a request again may change it"
                        ),
                        format!("`{name}` among the `components` of `hmac`"),
                    );
                });
            }
        }
        // An upstream may look for a signature itself, and a certificate is none that a thief of requests has.
        let may_be_judged = !(around.route.handler.answers_itself() || around.route.handler.asks_models())
            || around.has(|policy| policy.authentication().is_some_and(|way| way.headers.is_empty()));
        if !may_be_judged
            && !around.has(|policy| headers.iter().any(|(_, name)| policy.covers(name).is_some()))
        {
            at.warning_with(
                format!(
                    "nothing here signs `{}` and `{}`: whoever sends a request again changes them",
                    self.nonce_header, self.timestamp_header
                ),
                "`hmac` with both among its `components`",
            );
        }
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if self.key == RateLimitKey::ClientAddress {
            at.field("key", |at| {
                at.error_with(
                    "whoever sends a request again does it from another address",
                    "leave it out, or take `consumer`, `claim` or a header that is signed",
                );
            });
        }
        at.stored(self.store, self.when_away, Percent(100.0));
        if self.nonce_header == self.timestamp_header {
            at.field("timestampHeader", |at| at.error("expected another header than the nonce's"));
        }
        if self.window.is_zero() {
            at.field("window", |at| at.error("expected more than nothing"));
        }
        if self.window > Duration::from_secs(24 * 3600) {
            at.field("window", |at| at.error("nonces are remembered as long: expected 24h or less"));
        }
        if self.leeway > Duration::from_secs(3600) {
            at.field("leeway", |at| at.error("clocks differ by less: expected 1h or less"));
        }
        at.each("methods", &self.methods, |at, method| {
            if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') {
                at.error_with(format!("`{method}` is no method"), "methods are upper-case, such as `POST`");
            }
        });
    }
}
