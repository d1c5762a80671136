//! A topic of Kafka's: a record per record.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AccessLog, Settings, timeout};
use crate::{Duration, load::Context};

/// A topic of Kafka's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kafka {
    /// The name of a broker of `brokers`, of kind `kafka`.
    pub broker: String,
    /// The topic that records are published to. All replicas in step have a record before it counts as delivered.
    #[schemars(length(min = 1, max = 249))]
    pub topic: String,
    /// What records are keyed by; without it a batch goes to one partition, and the next one to the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KafkaKey>,
    /// Bound of one try to publish a batch.
    #[serde(default = "ten_seconds")]
    pub timeout: Duration,
}

/// What records are keyed by: those of one key are in one partition, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum KafkaKey {
    /// The route.
    Route,
    /// The consumer that called.
    Consumer,
    /// The id of the request.
    RequestId,
}

impl Settings for Kafka {
    fn validate(&self, _: &AccessLog, at: &mut Context<'_, '_>) {
        timeout(self.timeout, at);
        at.field("topic", |at| crate::rules::topic(&self.topic, at));
    }
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}
