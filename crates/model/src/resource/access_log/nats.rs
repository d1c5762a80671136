//! A subject of a broker: a message per record.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AccessLog, Settings, timeout};
use crate::{Duration, load::Context};

/// A subject of a broker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Nats {
    /// The name of a broker of `brokers`, of kind `nats`.
    pub broker: String,
    /// The subject that records are published to.
    pub subject: String,
    /// Whether a stream of JetStream's has to confirm each message. Without that a record is gone when it was written
    /// to the connection.
    #[serde(default = "yes")]
    pub acknowledged: bool,
    /// Bound of one try to publish a batch.
    #[serde(default = "super::ten_seconds")]
    pub timeout: Duration,
}

impl Settings for Nats {
    fn validate(&self, _: &AccessLog, at: &mut Context<'_, '_>) {
        timeout(self.timeout, at);
        let is_token = |token: &str| {
            !token.is_empty()
                && !token.bytes().any(|byte| byte <= b' ' || byte == 0x7f || byte == b'*' || byte == b'>')
        };
        if self.subject.len() > 256 || !self.subject.split('.').all(is_token) {
            at.field("subject", |at| {
                at.error_with("expected a subject without wildcards", "such as `logs.access`");
            });
        }
    }
}

fn yes() -> bool {
    true
}
