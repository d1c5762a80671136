//! `idempotency`: a request that is sent again gets the answer of the first.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings, rate_limit::RateLimitKey};
use crate::{Duration, HeaderName, Size, load::Context, resource::redis::WhenAway};

/// Makes requests with an `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header) safe to be sent again: the first
/// with a key goes to the upstream, and goes on there should its client leave; those that come later get its answer,
/// with `Idempotency-Replayed: true`. While it is on its way others get 409; a key that comes again with another
/// method, target or body is 422. Answers of 500 and more, 408, 425, 429 and those that break off are not kept: then the
/// next request with the key is a first one again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Idempotency {
    /// The header with the key.
    pub header: HeaderName,
    /// Refuse requests of these methods without a key with 400.
    pub required: bool,
    /// Methods that it is about; others pass as they are.
    #[schemars(length(min = 1))]
    pub methods: Vec<String>,
    /// Whose keys they are: nobody gets another's answers.
    pub key: RateLimitKey,
    /// Leading bits of an IPv6 client address that count as one client.
    #[schemars(range(min = 1, max = 128))]
    pub ipv6_prefix: u8,
    /// How long an answer is kept.
    pub ttl: Duration,
    /// How long a first request may be on its way: after that the next one with its key is a first one. As long as the
    /// longest that the upstream may take.
    pub lease: Duration,
    /// The largest body of a request; a larger one is 413. It is read whole before it goes on, to be compared.
    pub max_body_size: Size,
    /// Answers with a longer body are passed on and not kept; a request that comes later is told so with 409.
    pub max_answer_size: Size,
    /// Room for all answers together, with `store: memory` or `sqlite`; beyond it the oldest go first.
    pub max_size: Size,
    /// Where answers are kept.
    pub store: AnswerStore,
    /// With `store: redis`: what is done with requests that have a key while it is away. `local` is not for this.
    pub when_away: WhenAway,
}

impl Default for Idempotency {
    fn default() -> Self {
        Self {
            header: HeaderName::from_static("idempotency-key"),
            required: false,
            methods: vec!["POST".to_owned(), "PATCH".to_owned()],
            key: RateLimitKey::Consumer,
            ipv6_prefix: 64,
            ttl: Duration::from_secs(24 * 3600),
            lease: Duration::from_secs(120),
            max_body_size: Size(1024 * 1024),
            max_answer_size: Size(1024 * 1024),
            max_size: Size(64 * 1024 * 1024),
            store: AnswerStore::default(),
            when_away: WhenAway::Closed,
        }
    }
}

/// Where answers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AnswerStore {
    /// In this process.
    #[default]
    Memory,
    /// In the data directory, where they outlive the process.
    Sqlite,
    /// In the `redis` of the configuration, together with all gateways that share it.
    Redis,
}

impl Settings for Idempotency {
    fn place(&self) -> Place<'_> {
        Place::Around
    }

    fn gives_way(&self) -> bool {
        true
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if self.store == AnswerStore::Redis {
            at.stored(crate::resource::redis::Store::Redis, WhenAway::Closed, crate::Percent(100.0));
        }
        if self.when_away == WhenAway::Local {
            at.field("whenAway", |at| {
                at.error_with(
                    "what others have answered cannot be known here alone",
                    "`closed` refuses with 503, `open` lets pass what may be done twice",
                );
            });
        }
        for (key, duration) in [("ttl", self.ttl), ("lease", self.lease)] {
            if duration.is_zero() {
                at.field(key, |at| at.error("expected more than nothing"));
            }
        }
        at.each("methods", &self.methods, |at, method| {
            if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') {
                at.error_with(format!("`{method}` is no method"), "methods are upper-case, such as `POST`");
            }
        });
    }
}
