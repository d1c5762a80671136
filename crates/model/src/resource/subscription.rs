//! Subscriptions: messages of a broker's are delivered to an upstream.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{publish::WrapEvent, tries::Backoff};
use crate::{Duration, HeaderName, Secret, Size};

/// Delivers what a broker keeps to an upstream, until that has answered with a 2xx or it was tried often enough. Every
/// message is delivered at least once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subscription {
    /// Unique name.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// Name of the broker in `brokers`.
    pub broker: String,
    /// What keeps the messages: a stream of NATS, a queue of RabbitMQ, a topic of Kafka.
    #[schemars(length(min = 1, max = 128))]
    pub stream: String,
    /// Which of them, by their subject, with wildcards: `orders.*.placed` or `orders.>`; all without it. For NATS alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What the broker keeps the place under, with Kafka the consumer group; `tidegate-` and the name without it. Gateways
    /// with the same one share the messages among them. RabbitMQ keeps it in the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub durable: Option<String>,
    /// Where it begins when the broker does not know it yet. A queue of RabbitMQ's is read as it is.
    #[serde(default)]
    pub from: SubscriptionStart,
    /// Name of the upstream that they are delivered to; its balancing, breaker and policies hold for each delivery, its
    /// retries do not.
    pub upstream: String,
    /// The path that each is sent to.
    #[serde(default = "root")]
    #[schemars(extend("format" = "absolute-path"))]
    pub path: String,
    /// Headers of a message that are delivered with it. `content-type` and those of events always are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderName>,
    /// Makes an event of a message that is none: its id is that of the message in its stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrap: Option<WrapEvent>,
    /// Deliveries at a time.
    #[serde(default = "concurrency")]
    #[schemars(range(min = 1, max = 1024))]
    pub concurrency: usize,
    /// What waits for what.
    #[serde(default)]
    pub ordering: Ordering,
    /// How long one delivery may take.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// How often a message is delivered before it is given up.
    #[serde(default = "max_deliveries")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_deliveries: u32,
    /// Pauses between the deliveries of a message. `Retry-After` of an answer makes one longer, up to `max`.
    #[serde(default = "backoff")]
    pub backoff: Backoff,
    /// The subject that messages are published to that were given up (of RabbitMQ a queue, or a routing key of
    /// `deadLetterExchange`; of Kafka a topic); without it they are only counted and logged, and rejected at RabbitMQ, whose
    /// queue may have a place of its own for such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<String>,
    /// The exchange of RabbitMQ that `deadLetter` is a routing key of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub dead_letter_exchange: Option<String>,
    /// What becomes of records that nobody can read: they are damaged, unfold to more than 16 MiB, or have a format of before
    /// Kafka 0.11. For Kafka alone, where such a batch holds up what stands behind it in its partition.
    #[serde(default)]
    pub when_unreadable: WhenUnreadable,
    /// Secrets that deliveries are signed with as Standard Webhooks have it: texts, or `whsec_` and base64. With several
    /// there are as many signatures, so that one can be replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub sign: Vec<Secret>,
    /// Bytes of a message that is delivered; a larger one is given up.
    #[serde(default = "message_size")]
    pub max_message_size: Size,
}

/// Where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SubscriptionStart {
    /// With what is published from now on.
    #[default]
    New,
    /// With everything that the stream still has.
    All,
}

/// What becomes of a batch of records that nobody can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum WhenUnreadable {
    /// Its partition stands still before it, and the others go on: nothing is lost that somebody could still mend.
    #[default]
    Stop,
    /// It is passed over, counted and logged.
    Skip,
}

/// What deliveries wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Ordering {
    /// Nothing: one that fails is delivered later, and others go on.
    #[default]
    None,
    /// Those of one key (Kafka's own, `Partition-Key`, or `partitionkey` of an event; else the subject) for each other, in
    /// this gateway.
    Key,
    /// Each for the one before: with NATS over all gateways that share the durable, with Kafka within a partition, with
    /// RabbitMQ within this gateway.
    All,
}

impl Subscription {
    /// What the broker keeps the place under.
    pub fn durable(&self) -> String {
        self.durable.clone().unwrap_or_else(|| format!("tidegate-{}", self.name.replace('.', "-")))
    }
}

fn root() -> String {
    "/".to_owned()
}

fn concurrency() -> usize {
    16
}

fn timeout() -> Duration {
    Duration::from_secs(30)
}

fn max_deliveries() -> u32 {
    10
}

fn backoff() -> Backoff {
    Backoff { initial: Duration::from_secs(1), multiplier: 3.0, max: Duration::from_secs(600) }
}

fn message_size() -> Size {
    Size::mib(1)
}
